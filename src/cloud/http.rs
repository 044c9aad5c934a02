//! The cloud over HTTP: Supabase's functions (PostgREST) and its storage of objects.

pub mod errors;
pub mod transport;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::auth::Auth;
use super::auth::session::Session;
use super::wire::{Change, Fetched, Mark, Outcome, PROTOCOL, Protocol, Pulled, Status};
use super::{Cloud, CloudError, Result, nul};
use crate::model::{Id, Millis};
use errors::{Failure, Service};
use transport::{Method, Reply, Request, Server, Transport};

/// Where pictures lie.
const BUCKET: &str = "visuals";

/// Sending changes. PostgREST reads a body of megabytes to learn which arguments are in it, unless it is told.
const PUSH: &str = "sync_push?columns=protocol,machine,as_of,changes";

/// The names that are sent in one request at the most (Storage takes 1000).
const OBJECTS_AT_ONCE: usize = 100;

/// How long each call may take, from the connection to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    pub status: Duration,
    pub push: Duration,
    pub pull: Duration,
    /// Somebody waits in a `read`.
    pub fetch: Duration,
    pub object: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            status: Duration::from_secs(10),
            push: Duration::from_mins(1),
            pull: Duration::from_secs(30),
            fetch: Duration::from_secs(10),
            object: Duration::from_mins(1),
        }
    }
}

/// The real cloud. Clones share connections and login.
#[derive(Debug, Clone)]
pub struct HttpCloud {
    transport: Arc<Transport>,
    auth: Arc<Auth>,
    deadlines: Deadlines,
    /// Whose calls these are, if they are to be one user's: another process may log in as somebody else meanwhile.
    user: Option<Arc<OnceLock<Id>>>,
}

impl HttpCloud {
    /// With a session that is read anew for every call: another process may have refreshed or ended it.
    #[must_use]
    pub fn new(transport: Arc<Transport>, auth: Auth) -> Self {
        Self { transport, auth: Arc::new(auth), deadlines: Deadlines::default(), user: None }
    }

    /// With other deadlines.
    #[must_use]
    pub fn within(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// For what belongs together: calls are made as the user of the first one, or not at all.
    #[must_use]
    pub fn of_one_user(mut self) -> Self {
        self.user = Some(Arc::default());
        self
    }

    /// Who is logged in, and where.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.transport.server()
    }

    /// Makes a call with the user's token; with a new one, once, if that is not taken.
    fn call<T>(&self, make: impl Fn(&Session) -> std::result::Result<T, Failure>) -> Result<T> {
        let session = self.auth.current()?;
        if self.user.as_ref().is_some_and(|user| *user.get_or_init(|| session.user) != session.user) {
            let message = "another account was logged in meanwhile".to_owned();
            return Err(CloudError::Refused { code: "account".to_owned(), message });
        }
        match make(&session) {
            Err(Failure::Expired) => {
                let renewed = self.auth.renew(&session)?;
                make(&renewed).map_err(error)
            }
            done => done.map_err(error),
        }
    }

    fn send(&self, service: Service, session: &Session, request: &Request<'_>) -> std::result::Result<Reply, Failure> {
        let request = Request { token: Some(&session.access_token), ..request.clone() };
        let reply = self.transport.send(&request)?;
        let key = &self.transport.server().key;
        errors::check(service, &reply, &[session.access_token.reveal(), session.refresh_token.reveal(), key.reveal()])?;
        Ok(reply)
    }

    /// Calls a function of `migrations/cloud`.
    fn rpc<T: DeserializeOwned>(&self, name: &str, arguments: &impl Serialize, within: Duration) -> Result<T> {
        let body = serde_json::to_vec(arguments)
            .map_err(|_| CloudError::Refused { code: "invalid".to_owned(), message: "it is no JSON".to_owned() })?;
        self.rpc_with(name, &nul::escape(&body), within)
    }

    /// The same, with a body that is sent as it is.
    fn rpc_with<T: DeserializeOwned>(&self, name: &str, body: &[u8], within: Duration) -> Result<T> {
        let path = format!("/rest/v1/rpc/{name}");
        let request = Request {
            method: Method::Post,
            path: &path,
            token: None,
            content_type: "application/json",
            headers: &[("accept", "application/json")],
            body: Some(body),
            within,
        };
        self.call(|session| {
            let mut reply = self.send(Service::Rest, session, &request)?;
            if let Cow::Owned(body) = nul::unescape(&reply.body) {
                reply.body = body;
            }
            Ok(errors::json(&reply)?)
        })
    }

    fn object(&self, session: &Session, method: Method, object: &Object<'_>) -> std::result::Result<Reply, Failure> {
        let path = format!("/storage/v1/object/{BUCKET}/{}/{}", session.user, object.name);
        let cached = [("cache-control", "max-age=31536000")];
        let request = Request {
            method,
            path: &path,
            token: None,
            content_type: object.mime,
            headers: if object.bytes.is_some() { &cached } else { &[] },
            body: object.bytes,
            within: self.deadlines.object,
        };
        self.send(Service::Storage, session, &request)
    }
}

/// A picture, as Storage has it below the user's folder.
struct Object<'a> {
    name: String,
    mime: &'a str,
    bytes: Option<&'a [u8]>,
}

impl<'a> Object<'a> {
    fn new(sha256: &str, mime: &'a str, bytes: Option<&'a [u8]>) -> Result<Self> {
        // It becomes a part of an address.
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(CloudError::Refused { code: "invalid".to_owned(), message: "it is no SHA-256".to_owned() });
        }
        // The rest is of no known kind: as is, it might be no header.
        let (extension, mime) = match mime {
            "image/png" => ("png", mime),
            "image/jpeg" => ("jpg", mime),
            "image/gif" => ("gif", mime),
            "image/webp" => ("webp", mime),
            "image/svg+xml" => ("svg", mime),
            _ => ("bin", "application/octet-stream"),
        };
        Ok(Self { name: format!("{}.{extension}", sha256.to_ascii_lowercase()), mime, bytes })
    }
}

/// A failure that nothing is left to be done about.
fn error(failure: Failure) -> CloudError {
    match failure {
        Failure::Cloud(error) => error,
        Failure::Expired => CloudError::LoginNeeded,
        Failure::Duplicate => CloudError::Refused { code: "409".to_owned(), message: "it is there already".to_owned() },
        Failure::Auth { code, message } => CloudError::Refused { code, message },
    }
}

/// Whether both sides understand each other.
fn spoken(protocol: Protocol) -> Result<()> {
    if (protocol.min..=protocol.max).contains(&PROTOCOL) {
        return Ok(());
    }
    let Protocol { min, max } = protocol;
    let which = if PROTOCOL < min { "update cogfs" } else { "update the server's functions (migrations/cloud)" };
    Err(CloudError::Protocol(format!("the server speaks protocol {min} to {max}, this cogfs {PROTOCOL}: {which}")))
}

impl Cloud for HttpCloud {
    fn url(&self) -> &str {
        &self.transport.server().url
    }

    fn user(&self) -> Option<Id> {
        let kept = self.auth.kept().ok().flatten().map(|session| session.user)?;
        // From here on.
        Some(self.user.as_ref().map_or(kept, |user| *user.get_or_init(|| kept)))
    }

    fn status(&self) -> Result<Status> {
        let status: Status = self.rpc("sync_status", &json!({ "protocol": PROTOCOL }), self.deadlines.status)?;
        spoken(status.protocol)?;
        Ok(status)
    }

    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        #[derive(Serialize)]
        struct Push<'a> {
            protocol: u32,
            machine: Id,
            as_of: Millis,
            changes: &'a [Change],
        }
        let push = Push { protocol: PROTOCOL, machine, as_of, changes };
        let outcomes: Vec<Outcome> = self.rpc(PUSH, &push, self.deadlines.push)?;
        if outcomes.len() != changes.len() {
            let (has, wants) = (outcomes.len(), changes.len());
            return Err(CloudError::Garbled(format!("it has {has} outcomes for {wants} changes")));
        }
        Ok(outcomes)
    }

    fn pull(&self, since: i64, max: u32) -> Result<Pulled> {
        let wanted = json!({ "protocol": PROTOCOL, "since": since, "max": max });
        let pulled: Pulled = self.rpc("sync_pull", &wanted, self.deadlines.pull)?;
        spoken(pulled.protocol)?;
        Ok(pulled)
    }

    fn fetch(&self, sessions: &[Id], after: Option<&Mark>) -> Result<Fetched> {
        let wanted = json!({ "protocol": PROTOCOL, "ids": sessions, "after": after });
        self.rpc("fetch_contents", &wanted, self.deadlines.fetch)
    }

    fn upload(&self, sha256: &str, mime: &str, bytes: &[u8]) -> Result<()> {
        let object = Object::new(sha256, mime, Some(bytes))?;
        self.call(|session| match self.object(session, Method::Post, &object) {
            // Names are made of the contents: what is there is the same.
            Ok(_) | Err(Failure::Duplicate) => Ok(()),
            Err(failure) => Err(failure),
        })
    }

    fn download(&self, sha256: &str, mime: &str) -> Result<Vec<u8>> {
        let object = Object::new(sha256, mime, None)?;
        self.call(|session| Ok(self.object(session, Method::Get, &object)?.body))
    }

    fn remove(&self, objects: &[String]) -> Result<()> {
        for some in objects.chunks(OBJECTS_AT_ONCE) {
            let body = json!({ "prefixes": some }).to_string();
            let path = format!("/storage/v1/object/{BUCKET}");
            let request = Request {
                method: Method::Delete,
                path: &path,
                token: None,
                content_type: "application/json",
                headers: &[],
                body: Some(body.as_bytes()),
                within: self.deadlines.object,
            };
            match self.call(|session| self.send(Service::Storage, session, &request)) {
                // Gone already, all of them.
                Ok(_) | Err(CloudError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn share_counts(&self, document: &str) -> Result<()> {
        // Whether it was there already makes no difference.
        let _: bool = self.rpc_with("share_counts", document.as_bytes(), self.deadlines.status)?;
        Ok(())
    }

    fn unshare_counts(&self) -> Result<u64> {
        self.rpc("unshare_counts", &json!({ "protocol": PROTOCOL }), self.deadlines.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_after_its_contents_and_nothing_else_gets_into_an_address() {
        let sha = "AB".repeat(32);
        let name = |mime: &'static str| Object::new(&sha, mime, None).map(|o| (o.name, o.mime)).unwrap();
        assert_eq!(name("image/png").0, format!("{}.png", "ab".repeat(32)));
        assert_eq!(name("image/jpeg").0, format!("{}.jpg", "ab".repeat(32)));
        assert_eq!(name("text/html\r\nx: y"), (format!("{}.bin", "ab".repeat(32)), "application/octet-stream"));
        for bad in ["", "../../other", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(Object::new(bad, "image/png", None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_of_another_protocol_is_not_gone_on_with() {
        assert!(spoken(Protocol { min: PROTOCOL, max: PROTOCOL + 3 }).is_ok());
        let newer = spoken(Protocol { min: PROTOCOL + 1, max: PROTOCOL + 1 }).unwrap_err().to_string();
        assert!(newer.contains("update cogfs"), "{newer}");
        assert!(spoken(Protocol { min: 0, max: PROTOCOL - 1 }).unwrap_err().to_string().contains("server's functions"));
    }
}
