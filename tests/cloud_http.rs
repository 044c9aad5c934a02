//! The real implementation of the cloud, against a double of Supabase: what each fault becomes, how tokens are renewed, and that
//! no secret gets into an error.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cogfs::cloud::auth::Auth;
use cogfs::cloud::auth::session::{Session, Sessions};
use cogfs::cloud::http::transport::{Server, Transport};
use cogfs::cloud::http::{Deadlines, HttpCloud};
use cogfs::cloud::secret::Secret;
use cogfs::cloud::wire::{Change, Kind};
use cogfs::cloud::{Cloud, CloudError};
use cogfs::model::{Id, Millis};
use common::cloud::{Answer, Asked, Double, KEY, USER, status};
use serde_json::{Value, json};

/// A machine that is logged in at a double.
struct Machine {
    double: Double,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { double: Double::start(), dir: tempfile::tempdir().unwrap() };
        let (access, refresh) = machine.double.give();
        machine.sessions().save(&machine.session(&access, &refresh, Millis::now())).unwrap();
        machine
    }

    fn session(&self, access: &str, refresh: &str, received_at: Millis) -> Session {
        Session {
            url: self.double.url.clone(),
            user: Id::parse(USER).unwrap(),
            email: None,
            name: Some("mira".to_owned()),
            provider: None,
            access_token: Secret::new(access),
            refresh_token: Secret::new(refresh),
            expires_in: 3600,
            received_at,
            ended: None,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("session.json")
    }

    fn sessions(&self) -> Sessions {
        Sessions::new(self.file())
    }

    /// The session that is kept.
    fn kept(&self) -> Session {
        self.sessions().load().unwrap().unwrap()
    }

    /// The client, as another process would have it too.
    fn cloud(&self) -> HttpCloud {
        self.cloud_at(&self.double.url)
    }

    fn cloud_at(&self, url: &str) -> HttpCloud {
        let transport = Arc::new(Transport::new(Server { url: url.to_owned(), key: Secret::new(KEY) }));
        let second = Duration::from_secs(1);
        let deadlines =
            Deadlines { status: second * 20, push: second * 20, pull: second * 20, fetch: second, object: second * 20 };
        HttpCloud::new(Arc::clone(&transport), Auth::new(transport, self.sessions())).within(deadlines)
    }

    /// The kept token came so many seconds ago.
    fn age(&self, seconds: i64) {
        let session = self.kept();
        let received_at = Millis(Millis::now().0 - seconds * 1000);
        self.sessions().save(&Session { received_at, ..session }).unwrap();
    }
}

const REFRESH: &str = "/auth/v1/token?grant_type=refresh_token";

fn change() -> Change {
    Change::Forget { kind: Kind::Commit, id: Id([7; 16]) }
}

fn is_rpc(asked: &Asked) -> bool {
    asked.path.starts_with("/rest/")
}

#[test]
fn a_call_has_the_key_the_token_and_the_arguments_of_the_function() {
    let machine = Machine::new();
    machine.double.answers(|asked| {
        asked.path.contains("/sync_push?").then(|| Answer::Json(200, json!([{"status": "forgotten"}])))
    });
    let outcomes = machine.cloud().push(Id([1; 16]), Millis(7), &[change()]).unwrap();
    assert_eq!(outcomes.len(), 1);
    let asked = machine.double.asked().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/rest/v1/rpc/sync_push?columns=protocol,machine,as_of,changes")
    );
    assert_eq!(asked.headers["apikey"], KEY);
    assert_eq!(asked.token(), Some(machine.kept().access_token.reveal()));
    assert_eq!(asked.headers["content-type"], "application/json");
    let wanted = json!({"protocol": 1, "machine": "01010101-0101-0101-0101-010101010101", "as_of": 7,
        "changes": [{"op": "forget", "kind": "commit", "id": "07070707-0707-0707-0707-070707070707"}]});
    assert_eq!(asked.json(), wanted);
    drop(machine.cloud().fetch(&[Id([1; 16])], None));
    let asked = machine.double.asked().pop().unwrap();
    assert_eq!(asked.json(), json!({"protocol": 1, "ids": ["01010101-0101-0101-0101-010101010101"], "after": null}));
    drop(machine.cloud().pull(4, 9));
    assert_eq!(machine.double.asked().pop().unwrap().json(), json!({"protocol": 1, "since": 4, "max": 9}));
}

#[test]
fn a_document_of_counts_is_the_body_of_the_request_byte_for_byte() {
    let machine = Machine::new();
    machine.double.answers(|asked| match asked.path.as_str() {
        "/rest/v1/rpc/share_counts" => Some(Answer::Json(200, json!(false))),
        "/rest/v1/rpc/unshare_counts" => Some(Answer::Json(200, json!(3))),
        _ => None,
    });
    let document = "{\n  \"protocol\": 1,\n  \"week\": \"2026-11-09\",\n  \"counts\": {\n    \"turns\": 7\n  }\n}";
    machine.cloud().share_counts(document).unwrap();
    assert_eq!(machine.double.asked().pop().unwrap().body, document.as_bytes());
    assert_eq!(machine.cloud().unshare_counts(), Ok(3));
    assert_eq!(machine.double.asked().pop().unwrap().json(), json!({"protocol": 1}));
}

#[test]
fn a_push_whose_outcomes_are_not_as_many_as_its_changes_is_not_believed() {
    let machine = Machine::new();
    machine.double.answers(|asked| is_rpc(asked).then(|| Answer::Json(200, json!([]))));
    assert!(matches!(machine.cloud().push(Id([1; 16]), Millis(7), &[change()]), Err(CloudError::Garbled(_))));
}

#[test]
fn a_token_that_is_refused_is_renewed_once_and_the_call_made_again() {
    let machine = Machine::new();
    machine.double.expire();
    assert_eq!(machine.cloud().status().unwrap().head, 7);
    assert_eq!(machine.double.count(REFRESH), 1);
    assert_eq!(machine.double.count("/rest/"), 2);
    let refreshing = machine.double.asked().into_iter().find(|a| a.path == REFRESH).unwrap();
    assert_eq!(refreshing.headers["apikey"], KEY);
    assert_eq!(refreshing.token(), None, "a token that is over is sent to nobody");
    assert_eq!(machine.kept().refresh_token.reveal(), "refreshtoken2");
    assert_eq!(machine.kept().name.as_deref(), Some("mira"));
}

#[test]
fn new_tokens_are_kept_before_they_are_used() {
    let machine = Machine::new();
    let file = machine.file();
    machine.double.answers(move |asked| {
        let kept = fs::read_to_string(&file).unwrap();
        assert!(!is_rpc(asked) || kept.contains(asked.token().unwrap()), "the token is used and not kept");
        None
    });
    machine.double.expire();
    machine.cloud().status().unwrap();
    machine.age(3590);
    machine.cloud().status().unwrap();
    assert_eq!(machine.double.count(REFRESH), 2);
}

#[test]
fn new_tokens_that_cannot_be_kept_are_not_used() {
    let machine = Machine::new();
    machine.double.expire();
    let file = machine.file();
    machine.double.answers(move |asked| {
        // A directory cannot be replaced by a file.
        if asked.path == REFRESH {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }
        None
    });
    let error = machine.cloud().status().unwrap_err();
    assert!(matches!(&error, CloudError::Unreachable(why) if why.contains("cannot be kept")), "{error}");
    assert_eq!(machine.double.count("/rest/"), 1);
}

#[test]
fn a_token_that_is_refused_again_needs_a_login_and_the_session_stays() {
    let machine = Machine::new();
    machine.double.answers(|asked| {
        is_rpc(asked).then(|| Answer::Json(401, json!({"code": "PGRST303", "message": "JWT expired"})))
    });
    assert_eq!(machine.cloud().status(), Err(CloudError::LoginNeeded));
    assert_eq!((machine.double.count("/rest/"), machine.double.count(REFRESH)), (2, 1));
    assert_eq!(machine.kept().ended, None);
}

#[test]
fn a_session_that_the_server_ended_needs_a_login_and_is_not_asked_for_again() {
    for (status, code) in [
        (400, "refresh_token_already_used"),
        (400, "refresh_token_not_found"),
        (403, "session_not_found"),
        (400, "session_expired"),
        (403, "user_banned"),
        (400, "validation_failed"),
    ] {
        let machine = Machine::new();
        machine.double.expire();
        machine.double.answers(move |asked| {
            (asked.path == REFRESH)
                .then(|| Answer::Json(status, json!({"code": status, "error_code": code, "msg": "x"})))
        });
        assert_eq!(machine.cloud().status(), Err(CloudError::LoginNeeded), "{code}");
        assert_eq!(machine.cloud().status(), Err(CloudError::LoginNeeded), "{code}");
        assert_eq!(machine.double.count(REFRESH), 1, "{code}");
        assert_eq!(machine.kept().ended.as_deref(), Some(code));
        assert_eq!(machine.kept().user.to_string(), USER);
    }
}

#[test]
fn a_fault_while_renewing_never_ends_the_session() {
    let faults = [
        Answer::Json(500, json!({"code": 500, "error_code": "unexpected_failure", "msg": "x"})),
        Answer::Json(429, json!({"code": 429, "error_code": "over_request_rate_limit", "msg": "x"})),
        Answer::Json(401, json!({"message": "Invalid API key"})),
        Answer::Json(400, json!({"code": "something_new", "message": "x"})),
        Answer::Json(200, json!({"access_token": "opaque", "refresh_token": "x"})),
        Answer::Raw(200, vec![("Content-Type", "text/html".to_owned())], b"<html>hotel</html>".to_vec()),
        Answer::Raw(302, vec![("Location", "/elsewhere".to_owned())], Vec::new()),
        Answer::CutOff(br#"{"access_token":"a"#.to_vec()),
        Answer::Hangup,
    ];
    for fault in faults {
        let machine = Machine::new();
        machine.double.expire();
        let before = fs::read(machine.file()).unwrap();
        let answer = fault.clone();
        machine.double.answers(move |asked| (asked.path == REFRESH).then(|| answer.clone()));
        let error = machine.cloud().status().unwrap_err();
        assert_ne!(error, CloudError::LoginNeeded, "{fault:?}");
        assert_eq!(fs::read(machine.file()).unwrap(), before, "{fault:?}");
    }
}

#[test]
fn a_token_is_renewed_shortly_before_its_end_whatever_the_clock_says() {
    let machine = Machine::new();
    let status = || machine.cloud().status().unwrap();
    machine.age(3500);
    status();
    assert_eq!(machine.double.count(REFRESH), 0, "100 s are left");
    machine.age(3520);
    status();
    assert_eq!(machine.double.count(REFRESH), 1, "80 s are left");
    status();
    assert_eq!(machine.double.count(REFRESH), 1);
    // The clock was set back by two hours since the token came: how old it is nobody knows.
    machine.age(-7200);
    status();
    assert_eq!(machine.double.count(REFRESH), 2);
    // Its end by the server's clock is in the past by this machine's, which is two hours fast: it came a moment ago.
    let claims = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        json!({"sub": USER, "exp": Millis::now().0 / 1000 - 3600}).to_string(),
    );
    let session = machine.session(&format!("e30.{claims}.s"), "refreshtoken3", Millis::now());
    machine.sessions().save(&session).unwrap();
    machine.double.answers(|asked| is_rpc(asked).then(|| Answer::Json(200, common::cloud::status())));
    status();
    assert_eq!(machine.double.count(REFRESH), 2);
}

#[test]
fn a_token_that_is_still_good_is_used_when_no_other_can_be_had() {
    let machine = Machine::new();
    machine.age(3560);
    machine.double.answers(|asked| (asked.path == REFRESH).then_some(Answer::Hangup));
    let cloud = machine.cloud();
    for _ in 0..3 {
        cloud.status().unwrap();
    }
    assert!(machine.double.count(REFRESH) <= 2, "a failure is not repeated with each call");
    machine.age(3599);
    assert!(matches!(machine.cloud().status(), Err(CloudError::Unreachable(_))));
}

#[test]
fn one_of_many_gets_new_tokens_and_all_go_on_with_them() {
    let machine = Machine::new();
    machine.age(4000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // Each with its own client, as processes have: they share the file alone.
            scope.spawn(|| machine.cloud().status().unwrap());
        }
    });
    assert_eq!(machine.double.count(REFRESH), 1);
    machine.double.expire();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| machine.cloud().status().unwrap());
        }
    });
    assert_eq!(machine.double.count(REFRESH), 2);
}

#[test]
fn a_session_is_shown_to_its_own_server_alone() {
    let machine = Machine::new();
    let other = Double::start();
    assert_eq!(machine.cloud_at(&other.url).status(), Err(CloudError::LoginNeeded));
    assert_eq!(other.asked().len(), 0);
    let address = other.url.clone();
    machine.double.answers(move |_| Some(Answer::Raw(307, vec![("Location", address.clone())], Vec::new())));
    assert!(matches!(machine.cloud().status(), Err(CloudError::Garbled(_))));
    assert_eq!(other.asked().len(), 0, "a redirection is not followed");
}

#[test]
fn each_fault_of_the_line_is_told_for_what_it_is() {
    let html = || vec![("Content-Type", "text/html".to_owned())];
    type IsRight = fn(&CloudError) -> bool;
    let faults: Vec<(Answer, IsRight)> = vec![
        (Answer::Hangup, |e| matches!(e, CloudError::Unreachable(_))),
        (Answer::CutOff(status().to_string().into_bytes()), |e| matches!(e, CloudError::Unreachable(_))),
        (Answer::Raw(200, html(), b"<html></html>".to_vec()), |e| matches!(e, CloudError::Garbled(_))),
        (Answer::Raw(200, vec![("Content-Type", "application/json".to_owned())], b"{\"prot".to_vec()), |e| {
            matches!(e, CloudError::Garbled(_))
        }),
        (Answer::Json(200, json!({"protocol": 1})), |e| matches!(e, CloudError::Garbled(_))),
        (Answer::Raw(503, vec![("Retry-After", "2".to_owned())], Vec::new()), |e| {
            matches!(e, CloudError::Unreachable(_))
        }),
        (Answer::Raw(429, vec![("Retry-After", "2".to_owned())], Vec::new()), |e| {
            *e == CloudError::Busy { wait: Some(Duration::from_secs(2)) }
        }),
        (Answer::Json(426, json!({"code": "PT426", "message": "2 to 2"})), |e| matches!(e, CloudError::Protocol(_))),
        (
            Answer::Json(403, json!({"code": "42501", "message": "no"})),
            |e| matches!(e, CloudError::Refused { code, .. } if code == "42501"),
        ),
    ];
    let machine = Machine::new();
    for (answer, is_right) in faults {
        let said = answer.clone();
        machine.double.answers(move |asked| is_rpc(asked).then(|| said.clone()));
        let error = machine.cloud().status().unwrap_err();
        assert!(is_right(&error), "{answer:?} is {error:?}");
    }
    let mut newer = status();
    newer["protocol"] = json!({"min": 2, "max": 3});
    machine.double.answers(move |asked| is_rpc(asked).then(|| Answer::Json(200, newer.clone())));
    assert!(matches!(machine.cloud().status(), Err(CloudError::Protocol(why)) if why.contains("update cogfs")));
}

#[test]
fn a_server_that_is_not_there_is_told_at_once_and_one_that_drips_within_the_deadline() {
    let machine = Machine::new();
    machine.double.answers(|asked| is_rpc(asked).then_some(Answer::Drip));
    let start = Instant::now();
    let error = machine.cloud().fetch(&[Id([1; 16])], None).unwrap_err();
    assert!(matches!(&error, CloudError::Unreachable(why) if why.contains("within 1 s")), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // A port that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let session = Session { url: format!("http://{free}"), ..machine.kept() };
    machine.sessions().save(&session).unwrap();
    let error = machine.cloud_at(&session.url).status().unwrap_err();
    assert!(
        matches!(&error, CloudError::Unreachable(why) if why.contains("refused") && why.contains("127.0.0.1")),
        "{error}"
    );
}

#[test]
fn pictures_are_stored_under_their_contents_and_one_that_is_there_stays() {
    let machine = Machine::new();
    let (sha, path) = ("ab".repeat(32), format!("/storage/v1/object/visuals/{USER}/{}.png", "ab".repeat(32)));
    let expected = path.clone();
    machine.double.answers(move |asked| {
        assert_eq!(asked.path, expected);
        Some(match asked.method.as_str() {
            "POST" if asked.body == b"new" => Answer::Json(200, json!({"Key": "k", "Id": "i"})),
            "POST" => Answer::Json(400, json!({"statusCode": "409", "error": "Duplicate", "message": "it exists"})),
            _ => Answer::Raw(200, vec![("Content-Type", "image/png".to_owned())], b"\x89PNG".to_vec()),
        })
    });
    machine.cloud().upload(&sha, "image/png", b"new").unwrap();
    let asked = machine.double.asked().pop().unwrap();
    assert_eq!((asked.headers["content-type"].as_str(), asked.headers.get("x-upsert")), ("image/png", None));
    assert_eq!(asked.body, b"new");
    machine.cloud().upload(&sha, "image/png", b"old").unwrap();
    assert_eq!(machine.cloud().download(&sha, "image/png").unwrap(), b"\x89PNG");
    machine.double.answers(|_| {
        Some(Answer::Json(400, json!({"statusCode": "404", "code": "NoSuchKey", "message": "Object not found"})))
    });
    assert_eq!(machine.cloud().download(&sha, "image/png"), Err(CloudError::Gone));
}

#[test]
fn storage_says_in_words_alone_that_a_token_is_over() {
    let machine = Machine::new();
    machine.double.expire();
    assert!(matches!(
        machine.cloud().download(&"ab".repeat(32), "image/png"),
        Err(CloudError::Refused { .. } | CloudError::Gone)
    ));
    assert_eq!((machine.double.count(REFRESH), machine.double.count("/storage/")), (1, 2));
}

#[test]
fn pictures_are_removed_some_at_a_time_and_those_gone_already_are_no_error() {
    let machine = Machine::new();
    machine.double.answers(|asked| asked.path.starts_with("/storage/").then(|| Answer::Json(200, json!([]))));
    let names: Vec<String> = (0..250).map(|n| format!("{USER}/{n:064x}.png")).collect();
    machine.cloud().remove(&names).unwrap();
    let asked = machine.double.asked();
    let sent: Vec<Value> = asked.iter().flat_map(|a| a.json()["prefixes"].as_array().unwrap().clone()).collect();
    assert_eq!(sent, names);
    assert!(asked.len() >= 3 && asked.iter().all(|a| a.method == "DELETE" && a.path == "/storage/v1/object/visuals"));
}

#[test]
fn no_secret_and_nothing_of_a_body_gets_into_an_error() {
    let machine = Machine::new();
    let words = "what was said between us";
    let change = Change::Fields {
        kind: Kind::Commit,
        id: Id([7; 16]),
        base_version: 0,
        fields: serde_json::Map::from_iter([("note".to_owned(), json!(words))]),
        turn: None,
    };
    for http in [200, 302, 400, 401, 403, 404, 409, 413, 418, 426, 429, 500, 503] {
        // A debugging proxy that repeats everything.
        machine.double.answers(move |asked| {
            let everything = format!("{:?}", asked.headers);
            let token = asked.token().unwrap_or_default().to_owned();
            let body = String::from_utf8_lossy(&asked.body).into_owned();
            Some(match http {
                302 => Answer::Raw(302, vec![("Location", format!("/?{token}"))], everything.into_bytes()),
                418 => {
                    Answer::Raw(418, vec![("Content-Type", "text/plain".to_owned())], (everything + &body).into_bytes())
                }
                _ => Answer::Json(
                    http,
                    json!({"code": token, "message": everything, "msg": everything, "details": body, "protocol": body}),
                ),
            })
        });
        let cloud = machine.cloud();
        let errors = [
            cloud.push(Id([1; 16]), Millis(7), std::slice::from_ref(&change)).unwrap_err(),
            cloud.status().unwrap_err(),
            cloud.upload(&"ab".repeat(32), "image/png", words.as_bytes()).err().unwrap_or(CloudError::Gone),
        ];
        for error in errors {
            let shown = format!("{error} {error:?} {cloud:?}");
            for secret in machine.double.secrets().iter().map(String::as_str).chain([KEY, words]) {
                assert!(!shown.contains(secret), "{http}: {secret} is in {shown}");
            }
        }
    }
}
