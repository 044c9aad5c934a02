//! What an answer means that is no success: PostgREST's, Storage's, GoTrue's and the gateway's, each in its own form. Pure.

use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;

use super::super::secret::without;
use super::super::{CloudError, Result};
use super::transport::Reply;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// PostgREST.
    Rest,
    Storage,
    /// GoTrue.
    Auth,
}

/// Why it is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The token is not taken (any more): another one may be.
    Expired,
    /// Storage has an object of that name.
    Duplicate,
    /// GoTrue's own errors, which mean what the caller asked for.
    Auth {
        code: String,
        message: String,
    },
    Cloud(CloudError),
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        Self::Cloud(error)
    }
}

/// The longest text of a server that is passed on.
const LONGEST: usize = 300;

/// The error in an answer.
#[derive(Debug, Default)]
struct Said {
    status: u16,
    code: String,
    message: String,
    is_json: bool,
}

impl Said {
    /// Reads the forms of all services: `code` and `message` (PostgREST, Storage, newer GoTrue), `error_code` and `msg` (GoTrue),
    /// `error` and `error_description` (OAuth). Storage answers 400 and has the true status in the body, as a text.
    fn of(service: Service, reply: &Reply, secrets: &[&str]) -> Self {
        let body = serde_json::from_slice::<Value>(&reply.body).ok().filter(Value::is_object);
        let text = |key: &str| body.as_ref()?.get(key)?.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let inner = text("statusCode").and_then(|s| s.parse().ok()).filter(|s| (400..600).contains(s));
        let code = reply.error_code.clone().or_else(|| text("error_code")).or_else(|| text("code"));
        let message = text("message").or_else(|| text("msg")).or_else(|| text("error_description"));
        Self {
            status: if service == Service::Storage && reply.status == 400 {
                inner.unwrap_or(400)
            } else {
                reply.status
            },
            code: short(&without(&code.or_else(|| text("error")).unwrap_or_default(), secrets), 60),
            message: short(&without(&message.unwrap_or_default(), secrets), LONGEST),
            is_json: body.is_some(),
        }
    }

    fn refused(self) -> Failure {
        let code = if self.code.is_empty() { self.status.to_string() } else { self.code };
        Failure::Cloud(CloudError::Refused { message: public_words(&code, &self.message), code })
    }

    fn is_about_the_key(&self) -> bool {
        let words = self.message.to_lowercase();
        words.contains("api key") || words.contains("invalid authentication credentials")
    }
}

/// One line of visible characters, not too long.
fn short(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// PostgreSQL repeats values in its messages (`invalid input syntax for type uuid: "…"`): a value may be what somebody said.
/// What our own functions and PostgREST say holds none.
fn public_words(code: &str, message: &str) -> String {
    let is_ours = code.starts_with("PT") || code.starts_with("PGRST") || code == "P0001" || code.len() != 5;
    match message.find(": \"") {
        Some(end) if !is_ours => message[..end].to_owned(),
        _ if message.is_empty() => "it does not say why".to_owned(),
        _ => message.to_owned(),
    }
}

/// The failure of an answer; `Ok`: it is a success.
///
/// # Errors
/// The failure.
pub fn check(service: Service, reply: &Reply, secrets: &[&str]) -> std::result::Result<(), Failure> {
    if (200..300).contains(&reply.status) {
        return Ok(());
    }
    Err(failure(service, reply, Said::of(service, reply, secrets)))
}

fn failure(service: Service, reply: &Reply, said: Said) -> Failure {
    let unreachable = |why: String| Failure::Cloud(CloudError::Unreachable(why));
    let answered = if said.code.is_empty() { String::new() } else { format!(", {}", said.code) };
    match said.status {
        429 => Failure::Cloud(CloudError::Busy { wait: wait(reply) }),
        // Hosted projects that are not used are put to sleep.
        540 => unreachable("the project is paused: wake it up in its dashboard".to_owned()),
        408 | 423 | 500..=599 => unreachable(format!("the server failed (HTTP {}{answered})", said.status)),
        426 => Failure::Cloud(CloudError::Protocol(protocol_words(&said.message))),
        300..=399 => garbled(format!("it leads elsewhere (HTTP {}): is sync.url right?", said.status)),
        401 if said.is_about_the_key() => key_refused(),
        // A full database is read-only for everything that is sent, not for one record.
        405 if said.code == "25006" => unreachable("the server's database is read-only".to_owned()),
        _ if said.code == "DatabaseReadOnly" => unreachable("the server's storage is read-only".to_owned()),
        _ if !said.is_json && !reply.body.is_empty() => {
            garbled(format!("HTTP {}, {}: is sync.url right?", said.status, kind(reply)))
        }
        _ => by_service(service, said),
    }
}

fn by_service(service: Service, said: Said) -> Failure {
    match (service, said.status) {
        (Service::Auth, _) => Failure::Auth { code: said.code, message: said.message },
        // PGRST301, 302, 303, and 42501 of somebody whose token is not known.
        (Service::Rest, 401) => Failure::Expired,
        (Service::Rest, 404) if said.code == "PGRST202" => Failure::Cloud(CloudError::Refused {
            code: said.code,
            message: "the server lacks cogfs's functions: install migrations/cloud on it".to_owned(),
        }),
        (Service::Storage, _) if is_expiry(&said) => Failure::Expired,
        (Service::Storage, 404) if said.code != "NoSuchBucket" => Failure::Cloud(CloudError::Gone),
        (Service::Storage, 409) => Failure::Duplicate,
        _ => said.refused(),
    }
}

/// Storage has no status of its own for it: `"exp" claim timestamp check failed`, as 400 or 403.
fn is_expiry(said: &Said) -> bool {
    let words = said.message.to_lowercase();
    said.status == 401 || words.contains("\"exp\" claim") || words.contains("jwt expired") || said.code == "InvalidJWT"
}

fn key_refused() -> Failure {
    let message = "the server does not take the key: look at `cogfs config get sync.key`".to_owned();
    Failure::Cloud(CloudError::Refused { code: "api_key".to_owned(), message })
}

fn garbled(why: String) -> Failure {
    Failure::Cloud(CloudError::Garbled(why))
}

fn protocol_words(message: &str) -> String {
    let rest = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("the server speaks another version of the protocol: update cogfs, or the server's functions{rest}")
}

fn kind(reply: &Reply) -> String {
    let kind = reply.content_type.split(';').next().unwrap_or_default().trim();
    if kind.is_empty() { "of no type".to_owned() } else { short(kind, 60) }
}

/// The pause that `Retry-After` asks for. A date is compared with the server's own: this machine's clock may be wrong.
fn wait(reply: &Reply) -> Option<Duration> {
    let told = reply.retry_after.as_deref()?.trim();
    if let Ok(seconds) = told.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(told).ok()?;
    let now = DateTime::parse_from_rfc2822(reply.date.as_deref()?).ok()?;
    Some((until - now).to_std().unwrap_or_default())
}

/// The JSON of a success.
///
/// # Errors
/// When it is none, or not what is expected; where is told, not what.
pub fn json<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T> {
    let kind = kind(reply);
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(CloudError::Garbled(format!("HTTP {}, {kind}: is sync.url right?", reply.status)));
    }
    serde_json::from_slice(&reply.body).map_err(|error| {
        use serde_json::error::Category;
        // Its text may repeat a value of the answer.
        let what = match error.classify() {
            Category::Eof => "it is cut off",
            Category::Syntax => "it is no JSON",
            Category::Data => "it is not what this version expects",
            Category::Io => "it cannot be read",
        };
        CloudError::Garbled(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let content_type = if body.starts_with('{') { "application/json; charset=utf-8" } else { "text/html" };
        Reply { status, content_type: content_type.to_owned(), body: body.as_bytes().to_vec(), ..Reply::default() }
    }

    fn of(service: Service, status: u16, body: &str) -> Failure {
        check(service, &reply(status, body), &["the-token"]).unwrap_err()
    }

    /// The failure in one word, with its code.
    fn word(failure: &Failure) -> String {
        match failure {
            Failure::Expired => "expired".to_owned(),
            Failure::Duplicate => "duplicate".to_owned(),
            Failure::Auth { code, .. } => format!("auth {code}"),
            Failure::Cloud(CloudError::Unreachable(_)) => "unreachable".to_owned(),
            Failure::Cloud(CloudError::Busy { wait }) => format!("busy {:?}", wait.map(|w| w.as_secs())),
            Failure::Cloud(CloudError::LoginNeeded) => "login".to_owned(),
            Failure::Cloud(CloudError::Refused { code, .. }) => format!("refused {code}"),
            Failure::Cloud(CloudError::Gone) => "gone".to_owned(),
            Failure::Cloud(CloudError::Protocol(_)) => "protocol".to_owned(),
            Failure::Cloud(CloudError::Garbled(_)) => "garbled".to_owned(),
        }
    }

    #[test]
    fn each_answer_of_postgrest_means_what_it_is_known_to_mean() {
        let table: &[(u16, &str, &str)] = &[
            (500, r#"{"code":"57014","message":"canceling statement due to statement timeout"}"#, "unreachable"),
            (500, "<html>boom</html>", "unreachable"),
            (502, "", "unreachable"),
            (503, r#"{"code":"PGRST000","message":"Database connection error"}"#, "unreachable"),
            (503, r#"{"code":"PGRST001","message":"x"}"#, "unreachable"),
            (503, r#"{"code":"53300","message":"too many connections"}"#, "unreachable"),
            (504, r#"{"code":"PGRST003","message":"Timed out acquiring connection"}"#, "unreachable"),
            (540, "", "unreachable"),
            (408, "", "unreachable"),
            (405, r#"{"code":"25006","message":"cannot execute INSERT in a read-only transaction"}"#, "unreachable"),
            (429, r#"{"message":"slow down"}"#, "busy None"),
            (401, r#"{"code":"PGRST301","message":"JWT expired"}"#, "expired"),
            (401, r#"{"code":"PGRST303","message":"JWT expired"}"#, "expired"),
            (401, r#"{"code":"PGRST302","message":"Anonymous access is disabled"}"#, "expired"),
            (401, r#"{"code":"42501","message":"permission denied for function sync_push"}"#, "expired"),
            (401, r#"{"message":"Invalid API key","hint":"Double check"}"#, "refused api_key"),
            (401, r#"{"message":"No API key found in request"}"#, "refused api_key"),
            (403, r#"{"code":"42501","message":"new row violates row-level security policy"}"#, "refused 42501"),
            (400, r#"{"code":"22P02","message":"invalid input syntax for type uuid: \"x\""}"#, "refused 22P02"),
            (400, r#"{"code":"PGRST102","message":"Empty or invalid json"}"#, "refused PGRST102"),
            (404, r#"{"code":"PGRST202","message":"Could not find the function"}"#, "refused PGRST202"),
            (409, r#"{"code":"23505","message":"duplicate key value"}"#, "refused 23505"),
            (413, r#"{"message":"Payload too large"}"#, "refused 413"),
            (413, "", "refused 413"),
            (426, r#"{"code":"PT426","message":"protocol 2 to 3"}"#, "protocol"),
            (404, "<html>nginx</html>", "garbled"),
            (400, "not json", "garbled"),
            (302, "", "garbled"),
            (308, "", "garbled"),
        ];
        for (status, body, wanted) in table {
            assert_eq!(&word(&of(Service::Rest, *status, body)), wanted, "{status} {body}");
        }
    }

    #[test]
    fn storage_has_the_true_status_in_the_body() {
        let table: &[(u16, &str, &str)] = &[
            (
                400,
                r#"{"statusCode":"404","error":"not_found","message":"Object not found","code":"NoSuchKey"}"#,
                "gone",
            ),
            (404, r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#, "gone"),
            (
                400,
                r#"{"statusCode":"404","error":"x","message":"Bucket not found","code":"NoSuchBucket"}"#,
                "refused NoSuchBucket",
            ),
            (400, r#"{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}"#, "duplicate"),
            (409, r#"{"statusCode":"409","code":"KeyAlreadyExists","message":"x"}"#, "duplicate"),
            (
                400,
                r#"{"statusCode":"403","error":"Unauthorized","message":"\"exp\" claim timestamp check failed"}"#,
                "expired",
            ),
            (
                400,
                r#"{"statusCode":"403","code":"AccessDenied","message":"new row violates row-level security policy"}"#,
                "refused AccessDenied",
            ),
            (400, r#"{"statusCode":"413","code":"EntityTooLarge","message":"too large"}"#, "refused EntityTooLarge"),
            (400, r#"{"statusCode":"415","code":"InvalidMimeType","message":"x"}"#, "refused InvalidMimeType"),
            (400, r#"{"statusCode":"400","code":"InvalidKey","message":"x"}"#, "refused InvalidKey"),
            (400, r#"{"statusCode":"500","code":"DatabaseError","message":"x"}"#, "unreachable"),
            (400, r#"{"statusCode":"400","code":"DatabaseReadOnly","message":"x"}"#, "unreachable"),
            (429, r#"{"code":"SlowDown","message":"x"}"#, "busy None"),
            (503, "", "unreachable"),
            (400, "<html></html>", "garbled"),
        ];
        for (status, body, wanted) in table {
            assert_eq!(&word(&of(Service::Storage, *status, body)), wanted, "{status} {body}");
        }
    }

    #[test]
    fn the_codes_of_gotrue_are_read_in_every_form_it_has() {
        let table: &[(u16, &str, &str)] = &[
            (
                400,
                r#"{"code":400,"error_code":"refresh_token_already_used","msg":"x"}"#,
                "auth refresh_token_already_used",
            ),
            (400, r#"{"code":"invalid_credentials","message":"x"}"#, "auth invalid_credentials"),
            (400, r#"{"error":"invalid_grant","error_description":"x"}"#, "auth invalid_grant"),
            (403, r#"{"code":403,"error_code":"session_not_found","msg":"x"}"#, "auth session_not_found"),
            (429, r#"{"code":429,"error_code":"over_request_rate_limit","msg":"x"}"#, "busy None"),
            (401, r#"{"message":"Invalid API key"}"#, "refused api_key"),
            (500, r#"{"code":500,"error_code":"unexpected_failure","msg":"x"}"#, "unreachable"),
        ];
        for (status, body, wanted) in table {
            assert_eq!(&word(&of(Service::Auth, *status, body)), wanted, "{status} {body}");
        }
        let with_header = Reply { error_code: Some("user_banned".to_owned()), ..reply(400, r#"{"code":400}"#) };
        assert_eq!(word(&check(Service::Auth, &with_header, &[]).unwrap_err()), "auth user_banned");
    }

    #[test]
    fn a_pause_is_told_in_seconds_or_as_a_date_by_the_servers_clock() {
        let told = |retry_after: &str| Reply {
            retry_after: Some(retry_after.to_owned()),
            date: Some("Wed, 21 Oct 2015 07:28:00 GMT".to_owned()),
            ..reply(429, "{}")
        };
        let wait_of = |text: &str| word(&check(Service::Rest, &told(text), &[]).unwrap_err());
        assert_eq!(wait_of("7"), "busy Some(7)");
        assert_eq!(wait_of("Wed, 21 Oct 2015 07:28:30 GMT"), "busy Some(30)");
        assert_eq!(wait_of("Wed, 21 Oct 2015 07:00:00 GMT"), "busy Some(0)");
        assert_eq!(wait_of("soon"), "busy None");
    }

    #[test]
    fn neither_tokens_nor_values_get_into_an_error() {
        let bodies = [
            r#"{"code":"PGRST102","message":"bad header Bearer the-token"}"#,
            r#"{"code":"the-token","message":"x"}"#,
            r#"{"code":"22P02","message":"invalid input syntax for type uuid: \"the words\""}"#,
            "the words of a page",
        ];
        for body in bodies {
            let shown = format!("{:?}", of(Service::Rest, 400, body));
            assert!(!shown.contains("the-token") && !shown.contains("the words"), "{shown}");
        }
        let answer = reply(200, r#"{"rows":"the words"}"#);
        let shown = format!("{:?}", json::<super::super::super::wire::Pulled>(&answer));
        assert!(!shown.contains("the words"), "{shown}");
    }

    #[test]
    fn a_success_that_is_no_json_is_garbled() {
        for (content_type, body) in [
            ("text/html", "<html>log in to the hotel's network</html>"),
            ("application/json", "<html>"),
            ("application/json", r#"{"min":1"#),
            ("application/json", r#"{"min":"one","max":2}"#),
            ("", r#"{"min":1,"max":2}"#),
        ] {
            let answer = Reply { content_type: content_type.to_owned(), ..reply(200, body) };
            let read = json::<super::super::super::wire::Protocol>(&answer);
            assert!(matches!(read, Err(CloudError::Garbled(_))), "{content_type} {body}: {read:?}");
        }
    }
}
