//! What to do when: the state of the doorbell. Pure: the caller has the clock, the dice and the socket.
//!
//! Whatever goes wrong, with the socket or with the channel on it, ends both; after a pause there are new ones. So nothing that was
//! said on an old channel can be taken for a new one's.

use std::time::Duration;

use super::super::CloudError;
use super::super::retry::jittered;
use super::super::secret::Secret;
use super::Ring;
use super::wire::{self, Said};
use crate::model::Id;

/// Between two heartbeats, as the protocol wants it.
const BEATS: Duration = Duration::from_secs(25);

/// Until a heartbeat is answered.
const ANSWERS: Duration = Duration::from_secs(10);

/// Until a heartbeat is answered that is to show whether the socket outlived a sleep or another network.
const PROVES: Duration = Duration::from_secs(5);

/// Until a join is answered.
const JOINS: Duration = Duration::from_secs(10);

/// Until the database is listened to: a server that was asleep needs some time for it.
const SUBSCRIBES: Duration = Duration::from_secs(30);

/// The pauses after failures, in seconds; the last one goes on. Those of the official clients.
const PAUSES: [u64; 4] = [1, 2, 5, 10];

/// The pauses after the server said that it is too much, in seconds.
const BUSY: [u64; 4] = [30, 60, 120, 300];

/// The pauses after the server refused the key, the project or the address: only people can help.
const DENIED: [u64; 3] = [60, 60, 300];

/// Between two looks whether somebody logged in.
const LOGIN: Duration = Duration::from_mins(1);

/// The longest pause that a server is obeyed in.
const LONGEST: Duration = Duration::from_hours(1);

/// Between two tokens that are got because the server did not take one.
const RENEWS: Duration = Duration::from_mins(1);

/// A token, and what is to be known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub secret: Secret,
    pub user: Id,
    /// When to get the next one.
    pub renew_in: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    Begin,
    /// A time came ([`Machine::due`]), or nothing at all.
    Tick,
    /// The network is back.
    Retry,
    /// The socket is open, to be used with this token.
    Up(Token),
    /// There is no socket, or no more.
    Down(Down),
    /// A message.
    Text(String),
    /// The token to go on with.
    Token(Result<Token, CloudError>),
}

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    Lost(String),
    /// The handshake was answered by something else.
    Refused {
        status: u16,
        wait: Option<Duration>,
        why: String,
    },
    NoToken(CloudError),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a socket, with another token than this one; say `Up` or `Down`.
    Connect {
        instead_of: Option<Token>,
    },
    /// Get the token to go on with; say `Token`.
    Token,
    Send(Secret),
    Hangup,
    Ring(Ring),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    New,
    /// `obeys`: the server wants it so.
    Waiting {
        until: Duration,
        obeys: bool,
    },
    Connecting,
    Joining {
        until: Duration,
    },
    Subscribing {
        until: Duration,
    },
    Listening,
}

/// What kind of failure it was: it makes the pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lost,
    /// The token is not taken.
    Token,
    Busy(Option<Duration>),
    Denied,
    Login,
}

/// The socket that is open.
#[derive(Debug)]
struct Open {
    token: Token,
    /// The number of the join.
    join: u64,
    beat_at: Duration,
    /// The heartbeat that is not answered, and until when it has to be.
    beat: Option<(u64, Duration)>,
    token_at: Duration,
}

/// The doorbell's state.
#[derive(Debug, Default)]
pub struct Machine {
    state: State,
    open: Option<Open>,
    /// The number of the last message sent.
    number: u64,
    /// Since it last went well for a while.
    failures: usize,
    /// Why it failed, when that was told.
    told: Option<String>,
    /// The token that was not taken.
    refused: Option<Token>,
    renewed_at: Option<Duration>,
}

impl Machine {
    /// When to say [`Input::Tick`].
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let of_state = match self.state {
            State::Waiting { until, .. } | State::Joining { until } | State::Subscribing { until } => Some(until),
            State::New | State::Connecting | State::Listening => None,
        };
        let of_open = self.open.as_ref().map(|open| {
            let beat = open.beat.map_or(open.beat_at, |(_, until)| until);
            beat.min(open.token_at)
        });
        of_state.into_iter().chain(of_open).min()
    }

    /// Takes what happened at a time. `dice` is a number of 0 to 1, anew each time.
    pub fn step(&mut self, now: Duration, dice: f64, input: Input) -> Vec<Action> {
        match input {
            Input::Begin => self.connect(),
            Input::Tick => self.tick(now, dice),
            Input::Retry => self.retry(now),
            Input::Up(token) => self.up(now, token),
            Input::Down(down) => self.down(now, dice, down),
            Input::Text(text) => self.text(now, dice, &text),
            Input::Token(token) => self.token(now, dice, token),
        }
    }

    fn connect(&mut self) -> Vec<Action> {
        self.state = State::Connecting;
        vec![Action::Connect { instead_of: self.refused.take() }]
    }

    fn up(&mut self, now: Duration, token: Token) -> Vec<Action> {
        let join = self.next_number();
        let text = wire::join(token.user, &token.secret, join);
        self.state = State::Joining { until: now + JOINS };
        let token_at = now + token.renew_in.max(Duration::from_secs(1));
        self.open = Some(Open { token, join, beat_at: now + BEATS, beat: None, token_at });
        vec![Action::Send(text)]
    }

    fn tick(&mut self, now: Duration, dice: f64) -> Vec<Action> {
        match self.state {
            State::Waiting { until, .. } if now >= until => return self.connect(),
            State::Joining { until } if now >= until => return self.lost(now, dice, "no answer to the join"),
            State::Subscribing { until } if now >= until => {
                return self.lost(now, dice, "the server does not listen to its database");
            }
            _ => {}
        }
        let Some(open) = &mut self.open else { return Vec::new() };
        let mut actions = Vec::new();
        match open.beat {
            Some((_, until)) if now >= until => return self.lost(now, dice, "no answer to a heartbeat"),
            None if now >= open.beat_at => actions.push(self.beat(now, ANSWERS)),
            _ => {}
        }
        if let Some(open) = self.open.as_mut().filter(|open| now >= open.token_at) {
            // Until the answer is there.
            open.token_at = now + RENEWS;
            actions.push(Action::Token);
        }
        actions
    }

    /// A heartbeat, to be answered within a time.
    fn beat(&mut self, now: Duration, within: Duration) -> Action {
        let number = self.next_number();
        if let Some(open) = &mut self.open {
            open.beat = Some((number, now + within));
            open.beat_at = now + BEATS;
        }
        Action::Send(wire::heartbeat(number))
    }

    fn retry(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::Waiting { obeys: false, .. } => {
                self.failures = 0;
                self.connect()
            }
            State::Joining { .. } | State::Subscribing { .. } | State::Listening => {
                match self.open.as_mut().map(|open| &mut open.beat) {
                    Some(Some((_, until))) => {
                        *until = (*until).min(now + PROVES);
                        Vec::new()
                    }
                    _ => vec![self.beat(now, PROVES)],
                }
            }
            State::New | State::Connecting | State::Waiting { .. } => Vec::new(),
        }
    }

    fn down(&mut self, now: Duration, dice: f64, down: Down) -> Vec<Action> {
        match down {
            Down::Lost(why) => self.failed(now, dice, Kind::Lost, why),
            Down::NoToken(error) => {
                let kind = match error {
                    CloudError::LoginNeeded => Kind::Login,
                    CloudError::Busy { wait } => Kind::Busy(wait),
                    CloudError::Refused { .. } | CloudError::Gone | CloudError::Protocol(_) => Kind::Denied,
                    CloudError::Unreachable(_) | CloudError::Garbled(_) => Kind::Lost,
                };
                self.failed(now, dice, kind, error.to_string())
            }
            Down::Refused { status, wait, why } => {
                let kind = match status {
                    429 => Kind::Busy(wait),
                    300..=499 => Kind::Denied,
                    // As a gateway says it while there is nobody behind it.
                    _ => wait.map_or(Kind::Lost, |wait| Kind::Busy(Some(wait))),
                };
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.failed(now, dice, kind, format!("the server has no Realtime for this (HTTP {status}{why})"))
            }
        }
    }

    fn text(&mut self, now: Duration, dice: f64, text: &str) -> Vec<Action> {
        let Some(open) = &mut self.open else { return Vec::new() };
        let Ok(said) = wire::read(text, open.token.user) else {
            return self.lost(now, dice, "the server sent what is no message");
        };
        match said {
            Said::Reply { to, outcome } if to == open.join.to_string() => match outcome {
                Ok(joined) if joined.subscriptions == 1 => {
                    if matches!(self.state, State::Joining { .. }) {
                        self.state = State::Subscribing { until: now + SUBSCRIBES };
                    }
                    Vec::new()
                }
                Ok(_) => self.lost(now, dice, "the server did not take the subscription"),
                Err(why) => self.over(now, dice, why),
            },
            Said::Reply { to, .. } => {
                if open.beat.is_some_and(|(number, _)| number.to_string() == to) {
                    open.beat = None;
                    // It went well for a while: the next failure is the first. A server that lets in and throws out at once is not
                    // asked each second.
                    if self.state == State::Listening {
                        self.failures = 0;
                    }
                }
                Vec::new()
            }
            Said::Subscribed if self.state == State::Listening => Vec::new(),
            Said::Subscribed => {
                self.state = State::Listening;
                self.told = None;
                vec![Action::Ring(Ring::Joined)]
            }
            Said::Moved { seq } => vec![Action::Ring(Ring::Rang { seq })],
            Said::Over(why) => self.over(now, dice, why),
            Said::Nothing => Vec::new(),
        }
    }

    /// The server ended the channel, and said why.
    fn over(&mut self, now: Duration, dice: f64, why: String) -> Vec<Action> {
        let kind = if why.contains("RateLimit") || why.contains("Too many") {
            Kind::Busy(None)
        } else if why.to_lowercase().contains("jwt") || why.contains("oken has expired") {
            Kind::Token
        } else {
            Kind::Lost
        };
        self.failed(now, dice, kind, why)
    }

    fn token(&mut self, now: Duration, dice: f64, token: Result<Token, CloudError>) -> Vec<Action> {
        let Some(open) = &mut self.open else { return Vec::new() };
        match token {
            Ok(token) if token.user != open.token.user => self.lost(now, dice, "another account was logged in"),
            Ok(token) if token.secret == open.token.secret => {
                // There is no other one yet.
                open.token_at = now + token.renew_in.max(Duration::from_secs(10));
                Vec::new()
            }
            Ok(token) => {
                open.token_at = now + token.renew_in.max(Duration::from_secs(1));
                let (user, secret, join) = (token.user, token.secret.clone(), open.join);
                open.token = token;
                vec![Action::Send(wire::access_token(user, &secret, self.next_number(), join))]
            }
            Err(CloudError::LoginNeeded) => self.down(now, dice, Down::NoToken(CloudError::LoginNeeded)),
            Err(_) => {
                // The old one may still be good; the server says when it is not.
                open.token_at = now + Duration::from_secs(10);
                Vec::new()
            }
        }
    }

    fn lost(&mut self, now: Duration, dice: f64, why: &str) -> Vec<Action> {
        self.failed(now, dice, Kind::Lost, why.to_owned())
    }

    /// The end of the socket and its channel.
    fn failed(&mut self, now: Duration, dice: f64, kind: Kind, why: String) -> Vec<Action> {
        if matches!(self.state, State::Waiting { .. }) {
            return Vec::new();
        }
        let open = self.open.take();
        let mut actions = Vec::new();
        if self.state == State::Listening || (kind != Kind::Login && self.told.as_ref() != Some(&why)) {
            actions.push(Action::Ring(Ring::Lost { why: why.clone() }));
        }
        self.told = Some(why);
        if let (Kind::Token, Some(open)) = (kind, &open)
            && self.renewed_at.is_none_or(|at| now >= at + RENEWS)
        {
            self.renewed_at = Some(now);
            self.refused = Some(open.token.clone());
        }
        if open.is_some() {
            actions.push(Action::Hangup);
        }
        self.state = State::Waiting { until: now + self.pause(kind, dice), obeys: matches!(kind, Kind::Busy(_)) };
        actions
    }

    fn pause(&mut self, kind: Kind, dice: f64) -> Duration {
        let nth = self.failures;
        let of = |pauses: &[u64]| jittered(Duration::from_secs(pauses[nth.min(pauses.len() - 1)]), dice);
        let pause = match kind {
            Kind::Login => return jittered(LOGIN, dice),
            Kind::Lost | Kind::Token => of(&PAUSES),
            // As told, and a little later than the others who were told the same.
            Kind::Busy(Some(wait)) => {
                wait.clamp(Duration::from_secs(1), LONGEST) + jittered(Duration::from_secs(1), dice)
            }
            Kind::Busy(None) => of(&BUSY),
            Kind::Denied => of(&DENIED),
        };
        self.failures = nth.saturating_add(1);
        pause
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

#[cfg(test)]
mod tests;
