//! Logging in and staying logged in. One process at a time gets new tokens, and they are kept before they are used, so that no
//! crash loses the session.

pub mod gotrue;
pub mod loopback;
pub mod pkce;
pub mod session;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::http::errors::Failure;
use super::http::transport::Transport;
use super::secret::Secret;
use super::{CloudError, Result};
use crate::model::Millis;
use gotrue::Grant;
use session::{Session, Sessions};

/// The codes with which GoTrue says that a session is over for good. Any other leaves it alone.
const ENDED: [&str; 9] = [
    "refresh_token_already_used",
    "refresh_token_not_found",
    "session_not_found",
    "session_expired",
    "user_banned",
    "user_not_found",
    "bad_jwt",
    // A refresh token that is none, by its form.
    "validation_failed",
    "invalid_grant",
];

/// Longer than another process needs to get new tokens.
const LOCKED_WITHIN: Duration = Duration::from_secs(20);

/// A token that holds for at least so long is good for a call.
const USABLE: Duration = Duration::from_secs(5);

/// After a failure, how long a token that is still good is used without trying for another.
const COOLS_FOR: Duration = Duration::from_mins(1);

/// The session with one server.
#[derive(Debug)]
pub struct Auth {
    transport: Arc<Transport>,
    sessions: Sessions,
    seen: Mutex<Seen>,
}

/// What this process knows beside the file.
#[derive(Debug, Default)]
struct Seen {
    /// The token, since when it is known here, and how long it was to hold then: by a clock that nobody sets.
    token: Option<(Secret, Instant, Duration)>,
    failed_at: Option<Instant>,
}

/// What became of a logout.
#[derive(Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// Nobody was logged in.
    Already,
    /// Here and on the server.
    Everywhere(Box<Session>),
    /// Here; the server could not be told.
    Here(Box<Session>, CloudError),
}

impl Auth {
    /// Of a server, with the session that is kept in a file.
    #[must_use]
    pub fn new(transport: Arc<Transport>, sessions: Sessions) -> Self {
        Self { transport, sessions, seen: Mutex::default() }
    }

    /// The session that is kept, whatever its state, if it is one with this server.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kept(&self) -> Result<Option<Session>> {
        let session = self.sessions.load().map_err(|e| local("the session cannot be read", &e))?;
        Ok(session.filter(|s| s.url == self.transport.server().url))
    }

    /// A session whose token is good for a call. It is got anew shortly before its end.
    ///
    /// # Errors
    /// `LoginNeeded`, or why there is no new token while the old one is over.
    pub fn current(&self) -> Result<Session> {
        let session = self.usable()?;
        let left = self.left(&session);
        if left > session.margin() || (left > USABLE && self.failed_lately()) {
            return Ok(session);
        }
        match self.renew(&session) {
            Err(CloudError::Unreachable(_) | CloudError::Busy { .. } | CloudError::Garbled(_)) if left > USABLE => {
                self.seen().failed_at = Some(Instant::now());
                Ok(session)
            }
            done => done,
        }
    }

    /// Another token than the one that was not taken; the one that another process got meanwhile, if there is.
    ///
    /// # Errors
    /// `LoginNeeded` when the server says that the session is over; else the session stays, whatever happened.
    pub fn renew(&self, refused: &Session) -> Result<Session> {
        let _lock = self.lock()?;
        let session = self.usable()?;
        if session.access_token != refused.access_token && self.left(&session) > session.margin() {
            return Ok(session);
        }
        match gotrue::session(&self.transport, Grant::Refresh(&session.refresh_token)) {
            Ok(new) if new.user != session.user => {
                Err(CloudError::Garbled("the new token is another user's".to_owned()))
            }
            Ok(new) => {
                let new = with_names(new, session);
                self.save(&new)?;
                self.seen().failed_at = None;
                Ok(new)
            }
            Err(Failure::Auth { code, .. }) if ENDED.contains(&code.as_str()) => {
                self.save(&Session { ended: Some(code), ..session })?;
                Err(CloudError::LoginNeeded)
            }
            Err(failure) => Err(cloud(failure)),
        }
    }

    /// The server's address.
    #[must_use]
    pub fn server_url(&self) -> &str {
        &self.transport.server().url
    }

    /// Whether the server can be spoken with and has this login, as far as it tells: before a browser is opened for nothing.
    ///
    /// # Errors
    /// When it cannot be reached, does not take the key, or has no such login.
    pub fn check_provider(&self, provider: &str) -> Result<()> {
        match gotrue::providers(&self.transport) {
            Ok(known) if known.get(provider) == Some(&false) => Err(CloudError::Refused {
                code: "provider_disabled".to_owned(),
                message: format!(
                    "the server has no login with {provider}: switch it on in its settings, or use another"
                ),
            }),
            Err(Failure::Cloud(error @ (CloudError::Unreachable(_) | CloudError::Refused { .. }))) => Err(error),
            // A server that does not tell may have it.
            _ => Ok(()),
        }
    }

    /// Asks for a session. It is not kept yet: the caller looks whose it is.
    ///
    /// # Errors
    /// The server's code, or why there is no answer.
    pub fn log_in(&self, grant: Grant<'_>) -> std::result::Result<Session, Failure> {
        gotrue::session(&self.transport, grant)
    }

    /// Keeps a session, and ends the one in whose place it comes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, session: &Session) -> Result<()> {
        let _lock = self.lock()?;
        let old = self.kept().ok().flatten();
        self.save(session)?;
        if let Some(old) = old.filter(|old| old.ended.is_none()) {
            self.give_up(&old);
        }
        Ok(())
    }

    /// Ends a session that is not kept. If the server cannot be told, nobody has its tokens.
    pub fn give_up(&self, session: &Session) {
        if let Err(failure) = gotrue::log_out(&self.transport, &session.access_token) {
            tracing::debug!(error = %cloud(failure), "a session that nobody uses could not be ended");
        }
    }

    /// Ends the session, here in any case.
    ///
    /// # Errors
    /// When the file cannot be read or removed.
    pub fn log_out(&self) -> Result<LoggedOut> {
        let Some(session) = self.kept()? else {
            self.clear()?;
            return Ok(LoggedOut::Already);
        };
        // Before the lock is taken, as it is taken for a new token. An old token ends nothing.
        let told = match self.current() {
            Ok(current) => match gotrue::log_out(&self.transport, &current.access_token) {
                Err(Failure::Auth { code, .. }) if ENDED.contains(&code.as_str()) => Ok(()),
                done => done.map_err(cloud),
            },
            // The server ended it before.
            Err(CloudError::LoginNeeded) => Ok(()),
            Err(error) => Err(error),
        };
        self.clear()?;
        let session = Box::new(session);
        Ok(match told {
            Ok(()) => LoggedOut::Everywhere(session),
            Err(error) => LoggedOut::Here(session, error),
        })
    }

    fn clear(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.sessions.clear().map_err(|e| local("the session cannot be removed", &e))
    }

    fn usable(&self) -> Result<Session> {
        self.kept()?.filter(|session| session.ended.is_none()).ok_or(CloudError::LoginNeeded)
    }

    /// How long the token still holds: the less of what the clock says and what has passed since it was seen here first.
    fn left(&self, session: &Session) -> Duration {
        let by_clock = session.left(Millis::now());
        let mut seen = self.seen();
        match &seen.token {
            Some((token, since, left)) if *token == session.access_token => {
                by_clock.min(left.saturating_sub(since.elapsed()))
            }
            _ => {
                seen.token = Some((session.access_token.clone(), Instant::now(), by_clock));
                by_clock
            }
        }
    }

    fn failed_lately(&self) -> bool {
        self.seen().failed_at.is_some_and(|at| at.elapsed() < COOLS_FOR)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> Result<crate::config::file::Lock> {
        let lock = self.sessions.lock(LOCKED_WITHIN).map_err(|e| local("the session cannot be locked", &e))?;
        lock.ok_or_else(|| CloudError::Unreachable("another cogfs process holds the session".to_owned()))
    }

    fn save(&self, session: &Session) -> Result<()> {
        self.sessions.save(session).map_err(|e| local("the session cannot be kept", &e))
    }
}

/// GoTrue gives the user with every token; a server that does not must not make them nameless.
fn with_names(new: Session, old: Session) -> Session {
    Session {
        email: new.email.or(old.email),
        name: new.name.or(old.name),
        provider: new.provider.or(old.provider),
        ..new
    }
}

/// This machine is in the way, for the moment: a full disk, a folder that is not there.
fn local(what: &str, error: &io::Error) -> CloudError {
    CloudError::Unreachable(format!("{what}: {error}"))
}

fn cloud(failure: Failure) -> CloudError {
    match failure {
        Failure::Cloud(error) => error,
        Failure::Expired => CloudError::LoginNeeded,
        Failure::Duplicate => CloudError::Garbled("409 for no reason".to_owned()),
        Failure::Auth { code, message } => CloudError::Refused { code, message },
    }
}
