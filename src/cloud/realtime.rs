//! The doorbell: the socket of Supabase Realtime that says when the account's head moved. It tells nothing that a pull would not
//! find, so it may be late, doubled or lost; must not know of the store.
//!
//! `machine` decides, `wire` has the messages, `socket` the connection, `wake` the waiting; here is the thread between them.

pub mod machine;
mod socket;
mod wake;
pub mod wire;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::auth::session::Session;
use super::http::HttpCloud;
use super::retry::dice;
use crate::model::Millis;
use machine::{Action, Down, Input, Machine, Token};
use socket::{Heard, Line};
use wake::Wake;

/// How long a drop waits for the thread. It takes longer only where nothing can wake it: in a look-up of a name, or in a request for
/// a new token. It ends after that, and rings no more.
const ENDS_WITHIN: Duration = Duration::from_millis(800);

/// What the doorbell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// Subscribed and listening: what happened before was not told: pull.
    Joined,
    /// The account's head moved; its number when the event says it.
    Rang { seq: Option<i64> },
    /// The socket is gone, and why; it is tried again by itself. Told once: attempts that fail for the same reason are silent.
    Lost { why: String },
}

/// A socket that is held open. Dropping it closes the socket and ends its thread.
#[derive(Debug)]
pub struct Doorbell {
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
    /// Says nothing; ends with the thread.
    ended: Mutex<Receiver<()>>,
}

impl Doorbell {
    /// Connects, for whoever is logged in, and calls `ring` from a thread of its own; `ring` must not block. Another login wants
    /// another doorbell.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(cloud: Arc<HttpCloud>, ring: Arc<dyn Fn(Ring) + Send + Sync>) -> io::Result<Self> {
        let wake = Arc::new(Wake::new()?);
        let (alive, ended) = mpsc::channel();
        let mut listener = Listener { wake: Arc::clone(&wake), cloud, ring, line: None, began: Instant::now() };
        let thread = thread::Builder::new().name("cogfs-realtime".to_owned()).spawn(move || {
            listener.run();
            drop(listener);
            drop(alive);
        })?;
        Ok(Self { wake, thread: Some(thread), ended: Mutex::new(ended) })
    }

    /// The network is back: the pause ends, and a socket that is open has to show that it lives. A pause that the server asked for
    /// goes on.
    pub fn retry_now(&self) {
        self.wake.retry();
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.wake.stop();
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() == thread::current().id() {
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Disconnected) {
            // A panic was told by the thread itself.
            drop(thread.join());
        }
    }
}

/// The thread.
struct Listener {
    wake: Arc<Wake>,
    cloud: Arc<HttpCloud>,
    ring: Arc<dyn Fn(Ring) + Send + Sync>,
    line: Option<Line>,
    began: Instant,
}

impl Listener {
    fn run(&mut self) {
        let mut machine = Machine::default();
        let mut input = Input::Begin;
        loop {
            let mut actions = VecDeque::from(machine.step(self.now(), dice(), input));
            while let Some(action) = actions.pop_front() {
                if self.wake.stopped() {
                    return;
                }
                if let Some(input) = self.act(action) {
                    actions.extend(machine.step(self.now(), dice(), input));
                }
            }
            input = self.next(machine.due());
            if self.wake.stopped() {
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Does what was decided; what came of it, if that matters.
    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Ring(ring) => {
                if let Ring::Lost { why } = &ring {
                    tracing::info!(%why, "the doorbell is gone");
                } else {
                    tracing::debug!(?ring, "the doorbell");
                }
                (self.ring)(ring);
                None
            }
            Action::Connect { instead_of } => Some(self.connect(instead_of.as_ref())),
            Action::Token => Some(Input::Token(self.cloud.auth().current().map(|session| token(&session)))),
            Action::Send(text) => {
                let why = self.line.as_mut()?.send(text.reveal()).err()?;
                Some(Input::Down(Down::Lost(why)))
            }
            Action::Hangup => {
                self.line = None;
                None
            }
        }
    }

    fn connect(&mut self, instead_of: Option<&Token>) -> Input {
        let auth = self.cloud.auth();
        let session = auth.current().and_then(|session| match instead_of {
            Some(refused) if refused.secret == session.access_token => auth.renew(&session),
            _ => Ok(session),
        });
        let session = match session {
            Ok(session) => session,
            Err(error) => return Input::Down(Down::NoToken(error)),
        };
        if self.wake.stopped() {
            return Input::Tick;
        }
        match Line::connect(self.cloud.server(), &self.wake) {
            Ok(line) => {
                self.line = Some(line);
                Input::Up(token(&session))
            }
            Err(down) => Input::Down(down),
        }
    }

    /// Waits for the next thing that happens.
    fn next(&mut self, due: Option<Duration>) -> Input {
        if self.wake.take_retry() {
            return Input::Retry;
        }
        if due.is_some_and(|due| due <= self.now()) {
            return Input::Tick;
        }
        let until = due.map(|due| self.began + due);
        let Some(line) = &mut self.line else {
            self.wake.wait(None, until);
            return Input::Tick;
        };
        match line.hear(until) {
            Heard::Text(text) => Input::Text(text),
            Heard::Nothing => Input::Tick,
            Heard::Lost(why) => Input::Down(Down::Lost(why)),
        }
    }
}

fn token(session: &Session) -> Token {
    Token {
        secret: session.access_token.clone(),
        user: session.user,
        renew_in: session.left(Millis::now()).saturating_sub(session.margin()),
    }
}
