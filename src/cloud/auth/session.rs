//! Who is logged in, with the tokens; and the file that says so. What is in it is in no log and no error.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::super::secret::Secret;
use super::super::{CloudError, Result};
use crate::config::file::{self, Lock};
use crate::model::{Id, Millis};

/// A session of a user with a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The server, as `sync.url` has it. The tokens are sent to no other.
    pub url: String,
    pub user: Id,
    pub email: Option<String>,
    pub name: Option<String>,
    pub provider: Option<String>,
    pub access_token: Secret,
    pub refresh_token: Secret,
    /// How long the access token holds from `received_at` on, in seconds.
    pub expires_in: u64,
    /// By this machine's clock, which may be wrong: what counts is how long ago that is.
    pub received_at: Millis,
    /// Why the server ended it: the code it gave. The user has to log in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Session {
    /// How long the access token still holds. A clock that was set back says nothing: then it is over.
    #[must_use]
    pub fn left(&self, now: Millis) -> Duration {
        let age = u64::try_from(now.0 - self.received_at.0).map_or(Duration::MAX, Duration::from_millis);
        Duration::from_secs(self.expires_in).saturating_sub(age)
    }

    /// When to get another token: 90 seconds before the end (as the official clients do), or half of a very short life.
    #[must_use]
    pub fn margin(&self) -> Duration {
        Duration::from_secs((self.expires_in / 2).min(90))
    }

    /// What to call the user.
    #[must_use]
    pub fn who(&self) -> String {
        self.name.clone().or_else(|| self.email.clone()).unwrap_or_else(|| self.user.to_string())
    }
}

/// GoTrue's answer that is a session.
#[derive(Deserialize)]
pub(super) struct TokenReply {
    access_token: String,
    refresh_token: String,
    expires_in: Option<u64>,
    user: Option<UserReply>,
}

#[derive(Deserialize)]
struct UserReply {
    email: Option<String>,
    #[serde(default)]
    app_metadata: Metadata,
    #[serde(default)]
    user_metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    provider: Option<String>,
    user_name: Option<String>,
    preferred_username: Option<String>,
    full_name: Option<String>,
    name: Option<String>,
}

/// What is read of an access token. It is the server's to verify.
#[derive(Deserialize)]
struct Claims {
    sub: Id,
    exp: Option<i64>,
}

fn claims(token: &str) -> Option<Claims> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

impl TokenReply {
    /// The session, which began now.
    pub(super) fn session(self, url: &str, now: Millis) -> Result<Session> {
        let claims = claims(&self.access_token)
            .ok_or_else(|| CloudError::Garbled("the access token does not say whose it is".to_owned()))?;
        let by_clock = || claims.exp.and_then(|exp| u64::try_from(exp - now.0 / 1000).ok()).unwrap_or(60);
        let expires_in = self.expires_in.unwrap_or_else(by_clock);
        let user = self.user;
        let email = user.as_ref().and_then(|u| u.email.clone()).filter(|e| !e.is_empty());
        let provider = user.as_ref().and_then(|u| u.app_metadata.provider.clone());
        let name = user.and_then(|u| {
            let names = u.user_metadata;
            names.user_name.or(names.preferred_username).or(names.full_name).or(names.name).filter(|n| !n.is_empty())
        });
        Ok(Session {
            url: url.to_owned(),
            user: claims.sub,
            email,
            name,
            provider,
            access_token: Secret::new(self.access_token),
            refresh_token: Secret::new(self.refresh_token),
            expires_in,
            received_at: now,
            ended: None,
        })
    }
}

/// Where the session is kept: a file for the owner alone, replaced as a whole.
#[derive(Debug, Clone)]
pub struct Sessions {
    path: PathBuf,
}

impl Sessions {
    /// In a file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The session that is kept; `None`: nobody is logged in. A file that makes no sense is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(&self) -> io::Result<Option<Session>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let session = serde_json::from_slice(&bytes).ok();
        if session.is_none() {
            tracing::warn!("{} holds no session that this version knows", self.path.display());
        }
        Ok(session)
    }

    /// Keeps a session, durably.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there.
    pub fn save(&self, session: &Session) -> io::Result<()> {
        file::replace(&self.path, &serde_json::to_vec_pretty(session)?)
    }

    /// Keeps none.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets one process at a time change it; `None` when another takes longer than `wait`.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn lock(&self, wait: Duration) -> io::Result<Option<Lock>> {
        file::lock(&self.path.with_extension("lock"), wait)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub fn token(user: &str, exp: i64) -> String {
        format!(
            "e30.{}.sig",
            URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}","exp":{exp},"role":"authenticated"}}"#))
        )
    }

    pub const USER: &str = "6e2f6f9a-3c1c-4b8e-9d55-0a1b2c3d4e5f";

    fn session() -> Session {
        let reply = serde_json::json!({
            "access_token": token(USER, 99), "refresh_token": "refresh-1", "expires_in": 3600, "token_type": "bearer",
            "user": {"id": USER, "email": "mira@example.org", "app_metadata": {"provider": "github"},
                     "user_metadata": {"user_name": "mira", "full_name": "Mira M."}},
        });
        let reply: TokenReply = serde_json::from_value(reply).unwrap();
        reply.session("https://a.example", Millis(1_000_000)).unwrap()
    }

    #[test]
    fn a_session_is_read_from_gotrues_answer() {
        let session = session();
        assert_eq!((session.user.to_string().as_str(), session.who().as_str()), (USER, "mira"));
        assert_eq!(session.provider.as_deref(), Some("github"));
        let opaque = TokenReply {
            access_token: "opaque".to_owned(),
            refresh_token: String::new(),
            expires_in: None,
            user: None,
        };
        assert!(matches!(opaque.session("u", Millis(0)), Err(CloudError::Garbled(_))));
    }

    #[test]
    fn what_counts_is_how_long_ago_the_token_came_and_not_the_clock() {
        let session = session();
        let at = |seconds: i64| session.left(Millis(1_000_000 + seconds * 1000)).as_secs();
        assert_eq!([at(0), at(3000), at(3600), at(9000)], [3600, 600, 0, 0]);
        assert_eq!(at(-1), 0, "a clock that was set back says nothing");
        assert_eq!(session.margin().as_secs(), 90);
        assert_eq!(Session { expires_in: 60, ..session.clone() }.margin().as_secs(), 30);
    }

    #[test]
    fn the_file_is_for_the_owner_alone_and_shows_no_token_when_it_is_printed() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(dir.path().join("state/session.json"));
        assert_eq!(sessions.load().unwrap(), None);
        sessions.save(&session()).unwrap();
        assert_eq!(sessions.load().unwrap(), Some(session()));
        let mode = fs::metadata(dir.path().join("state/session.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shown = format!("{:?}", session());
        assert!(!shown.contains("refresh-1") && !shown.contains("e30."), "{shown}");
        sessions.clear().unwrap();
        sessions.clear().unwrap();
        assert_eq!(sessions.load().unwrap(), None);
    }
}
