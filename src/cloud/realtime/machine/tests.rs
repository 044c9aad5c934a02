//! The machine by itself: messages in, actions out, a clock that the test has.

use serde_json::{Value, json};

use super::*;

const USER: &str = "6e2f6f9a-3c1c-4b8e-9d55-0a1b2c3d4e5f";

fn token(name: &str) -> Token {
    let user = Id::parse(USER).unwrap();
    Token { secret: Secret::new(name), user, renew_in: Duration::from_secs(3510) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A machine, its clock, and what it sent.
#[derive(Default)]
struct Bell {
    machine: Machine,
    now: Duration,
    sent: Vec<Value>,
}

impl Bell {
    /// One that waits for its socket.
    fn new() -> Self {
        let mut bell = Self::default();
        assert_eq!(bell.step(Input::Begin), [Action::Connect { instead_of: None }]);
        bell
    }

    /// One that listens.
    fn listening() -> Self {
        let mut bell = Self::new();
        bell.listens();
        bell
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let actions = self.machine.step(self.now, 0.5, input);
        for action in &actions {
            if let Action::Send(text) = action {
                self.sent.push(serde_json::from_str(text.reveal()).unwrap());
            }
        }
        actions
    }

    fn listens(&mut self) {
        self.step(Input::Up(token("t1")));
        assert_eq!(self.last()["event"], "phx_join");
        assert_eq!(self.joined(), []);
        assert_eq!(self.system("ok", "Subscribed to PostgreSQL"), [Action::Ring(Ring::Joined)]);
    }

    fn last(&self) -> &Value {
        self.sent.last().unwrap()
    }

    fn says(&mut self, message: &Value) -> Vec<Action> {
        self.step(Input::Text(message.to_string()))
    }

    /// A message to the channel.
    fn tells(&mut self, event: &str, payload: &Value) -> Vec<Action> {
        let topic = wire::topic(Id::parse(USER).unwrap());
        self.says(&json!({"topic": topic, "event": event, "payload": payload, "ref": null}))
    }

    /// The answer to what was sent last.
    fn answers(&mut self, payload: &Value) -> Vec<Action> {
        let reply = json!({"topic": "any", "event": "phx_reply", "payload": payload, "ref": self.last()["ref"]});
        self.says(&reply)
    }

    fn joined(&mut self) -> Vec<Action> {
        self.answers(&json!({"status": "ok", "response": {"postgres_changes": [{"id": 9}]}}))
    }

    fn system(&mut self, status: &str, message: &str) -> Vec<Action> {
        self.tells("system", &json!({"extension": "postgres_changes", "status": status, "message": message}))
    }

    /// Goes on to when something is due.
    fn passes(&mut self) -> Vec<Action> {
        self.now = self.now.max(self.machine.due().unwrap());
        self.step(Input::Tick)
    }

    /// How long it pauses now.
    fn pause(&self) -> Duration {
        assert!(matches!(self.machine.state, State::Waiting { .. }), "{:?}", self.machine.state);
        self.machine.due().unwrap() - self.now
    }
}

fn lost(why: &str) -> Action {
    Action::Ring(Ring::Lost { why: why.to_owned() })
}

#[test]
fn joined_is_said_when_the_database_is_listened_to_and_not_before() {
    let mut bell = Bell::new();
    bell.step(Input::Up(token("t1")));
    assert_eq!(bell.last()["payload"]["access_token"], "t1");
    assert_eq!(bell.joined(), []);
    assert_eq!(bell.tells("presence_state", &json!({})), []);
    assert_eq!(bell.system("ok", "Subscribed to PostgreSQL"), [Action::Ring(Ring::Joined)]);
    assert_eq!(bell.system("ok", "Subscribed to PostgreSQL"), [], "told once");
    let data = json!({"data": {"table": "sync_heads", "record": {"user_id": USER, "seq": 3}}});
    assert_eq!(bell.tells("postgres_changes", &data), [Action::Ring(Ring::Rang { seq: Some(3) })]);
}

#[test]
fn a_server_that_answers_nothing_is_left() {
    let mut bell = Bell::new();
    bell.step(Input::Up(token("t1")));
    assert_eq!(bell.passes(), [lost("no answer to the join"), Action::Hangup]);
    assert_eq!(bell.now, JOINS);
    assert_eq!(bell.passes(), [Action::Connect { instead_of: None }]);
    bell.step(Input::Up(token("t1")));
    bell.joined();
    let mut actions = Vec::new();
    // Heartbeats go on meanwhile.
    while actions.is_empty() {
        actions = bell.passes();
        if bell.last()["event"] == "heartbeat" && bell.machine.open.as_ref().is_some_and(|open| open.beat.is_some()) {
            bell.answers(&json!({"status": "ok"}));
            actions.clear();
        }
    }
    assert_eq!(actions, [lost("the server does not listen to its database"), Action::Hangup]);
}

#[test]
fn heartbeats_go_out_every_25_seconds_and_one_without_an_answer_is_the_end() {
    let mut bell = Bell::listening();
    for nth in 1..=3 {
        bell.passes();
        assert_eq!((bell.now, &bell.last()["topic"]), (BEATS * nth, &json!("phoenix")));
        assert_eq!(bell.answers(&json!({"status": "ok", "response": {}})), []);
    }
    bell.passes();
    assert_eq!(bell.passes(), [lost("no answer to a heartbeat"), Action::Hangup]);
    assert_eq!(bell.now, BEATS * 4 + ANSWERS);
}

#[test]
fn pauses_are_1_2_5_and_10_seconds_and_the_reason_is_told_once() {
    let mut bell = Bell::new();
    let down = || Input::Down(Down::Lost("no connection".to_owned()));
    assert_eq!(bell.step(down()), [lost("no connection")]);
    for expected in [1, 2, 5, 10, 10, 10] {
        assert_eq!(bell.pause(), seconds(expected));
        assert_eq!(bell.passes(), [Action::Connect { instead_of: None }]);
        assert_eq!(bell.step(down()), []);
    }
    bell.passes();
    assert_eq!(bell.step(Input::Down(Down::Lost("TLS".to_owned()))), [lost("TLS")], "another reason");
}

#[test]
fn a_server_that_lets_in_and_throws_out_is_asked_less_and_less_often() {
    let mut bell = Bell::new();
    for expected in [1, 2, 5, 10, 10] {
        bell.listens();
        assert_eq!(bell.tells("phx_close", &json!({})), [lost("the channel was closed"), Action::Hangup]);
        assert_eq!(bell.pause(), seconds(expected));
        bell.passes();
    }
    bell.listens();
    bell.passes();
    bell.answers(&json!({"status": "ok"}));
    bell.tells("phx_error", &json!({}));
    assert_eq!(bell.pause(), seconds(1), "it went well for a heartbeat");
}

#[test]
fn pauses_are_off_by_a_quarter_at_the_most() {
    for (dice, expected) in [(0.0, 0.75), (1.0, 1.25)] {
        let mut bell = Bell::new();
        bell.machine.step(seconds(0), dice, Input::Down(Down::Lost("x".to_owned())));
        assert_eq!(bell.pause().as_secs_f64(), expected);
    }
}

#[test]
fn the_network_coming_back_ends_a_pause_but_not_one_that_the_server_asked_for() {
    let mut bell = Bell::new();
    for _ in 0..4 {
        bell.step(Input::Down(Down::Lost("x".to_owned())));
        assert_eq!(bell.step(Input::Retry), [Action::Connect { instead_of: None }]);
        assert_eq!(bell.step(Input::Retry), [], "it is being tried");
    }
    bell.step(Input::Down(Down::Refused { status: 429, wait: Some(seconds(90)), why: String::new() }));
    assert_eq!(bell.step(Input::Retry), []);
    assert_eq!(bell.pause(), seconds(91));
}

#[test]
fn the_network_coming_back_puts_an_open_socket_to_the_proof() {
    let mut bell = Bell::listening();
    bell.now = seconds(7);
    assert!(matches!(bell.step(Input::Retry)[..], [Action::Send(_)]));
    assert_eq!(bell.step(Input::Retry), [], "once at a time");
    bell.answers(&json!({"status": "ok"}));
    assert_eq!(bell.machine.state, State::Listening);
    bell.step(Input::Retry);
    assert_eq!(bell.passes(), [lost("no answer to a heartbeat"), Action::Hangup]);
    assert_eq!(bell.now, seconds(7) + PROVES);
}

#[test]
fn a_token_is_pushed_before_the_old_one_ends() {
    let mut bell = Bell::listening();
    let actions = loop {
        let actions = bell.passes();
        if actions.contains(&Action::Token) {
            break actions;
        }
        bell.answers(&json!({"status": "ok"}));
    };
    assert_eq!((bell.now, actions), (seconds(3510), vec![Action::Token]));
    bell.step(Input::Token(Ok(token("t2"))));
    let sent = bell.last();
    assert_eq!((&sent["event"], &sent["payload"]), (&json!("access_token"), &json!({"access_token": "t2"})));
    assert_eq!(sent["join_ref"], "1");
    assert_eq!(bell.machine.open.as_ref().unwrap().token_at, seconds(7020));

    // None yet, and an account that is gone.
    let unreachable = CloudError::Unreachable("x".to_owned());
    assert_eq!(bell.step(Input::Token(Err(unreachable))), []);
    assert_eq!(bell.machine.open.as_ref().unwrap().token_at, bell.now + seconds(10));
    assert_eq!(bell.step(Input::Token(Ok(Token { renew_in: seconds(0), ..token("t2") }))), [], "the same again");
    assert_eq!(bell.machine.open.as_ref().unwrap().token_at, bell.now + seconds(10));
    let actions = bell.step(Input::Token(Err(CloudError::LoginNeeded)));
    assert!(matches!(actions[..], [Action::Ring(Ring::Lost { .. }), Action::Hangup]), "{actions:?}");
    assert_eq!(bell.pause(), LOGIN);
}

#[test]
fn another_accounts_token_is_never_sent_on_this_ones_channel() {
    let mut bell = Bell::listening();
    let sent = bell.sent.len();
    let other = Token { user: Id::parse(&USER.replace('6', "7")).unwrap(), ..token("t2") };
    let actions = bell.step(Input::Token(Ok(other)));
    assert_eq!(actions, [lost("another account was logged in"), Action::Hangup]);
    assert_eq!(bell.sent.len(), sent);
}

#[test]
fn a_token_that_is_not_taken_is_replaced_at_most_once_a_minute() {
    let mut bell = Bell::new();
    let mut renewals = Vec::new();
    while bell.now < seconds(200) {
        bell.step(Input::Up(token("t1")));
        bell.answers(
            &json!({"status": "error", "response": {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"}}),
        );
        if bell.passes() != [(Action::Connect { instead_of: None })] {
            renewals.push(bell.now.as_secs());
        }
    }
    assert_eq!(renewals, [1, 78, 138, 198], "a minute, and what is left of the pause");
}

#[test]
fn a_channel_whose_token_expired_is_joined_anew_with_another_one() {
    let mut bell = Bell::listening();
    let why = "Token has expired 2 seconds ago";
    let system = json!({"extension": "system", "status": "error", "message": why});
    assert_eq!(bell.tells("system", &system), [lost(why), Action::Hangup]);
    assert_eq!(bell.tells("phx_close", &json!({})), [], "it is no channel any more");
    assert_eq!(bell.passes(), [Action::Connect { instead_of: Some(token("t1")) }]);
}

#[test]
fn limits_and_refusals_make_longer_pauses() {
    let mut bell = Bell::new();
    for expected in [30, 60, 120, 300, 300] {
        bell.step(Input::Up(token("t1")));
        bell.answers(&json!({"status": "error", "response": {"reason": "ClientJoinRateLimitReached: too many joins"}}));
        assert_eq!(bell.pause(), seconds(expected));
        bell.passes();
    }
    for (status, expected) in [(401, 60), (403, 60), (404, 60), (429, 30), (503, 1)] {
        let mut bell = Bell::new();
        let actions = bell.step(Input::Down(Down::Refused { status, wait: None, why: "no".to_owned() }));
        assert_eq!(actions, [lost(&format!("the server has no Realtime for this (HTTP {status}: no)"))]);
        assert_eq!(bell.pause(), seconds(expected), "{status}");
    }
}

#[test]
fn without_a_login_it_is_silent_and_looks_once_a_minute() {
    let mut bell = Bell::new();
    for _ in 0..3 {
        assert_eq!(bell.step(Input::Down(Down::NoToken(CloudError::LoginNeeded))), []);
        assert_eq!(bell.pause(), LOGIN);
        assert_eq!(bell.passes(), [Action::Connect { instead_of: None }]);
    }
    bell.step(Input::Down(Down::NoToken(CloudError::LoginNeeded)));
    assert_eq!(bell.step(Input::Retry), [Action::Connect { instead_of: None }]);
}

#[test]
fn garbage_is_the_end_of_the_socket_and_what_is_unknown_is_nothing() {
    let mut bell = Bell::listening();
    assert_eq!(bell.tells("an_event_of_tomorrow", &json!({"x": 1})), []);
    assert_eq!(bell.says(&json!({"topic": "t", "event": "phx_reply", "payload": {}, "ref": "77"})), []);
    assert_eq!(bell.step(Input::Text("{".to_owned())), [lost("the server sent what is no message"), Action::Hangup]);
    assert_eq!(bell.step(Input::Text("{".to_owned())), []);
    assert_eq!(bell.step(Input::Down(Down::Lost("late".to_owned()))), [], "it is waiting already");
}

#[test]
fn a_subscription_that_is_not_granted_is_no_join() {
    let mut bell = Bell::new();
    bell.step(Input::Up(token("t1")));
    let actions = bell.answers(&json!({"status": "ok", "response": {"postgres_changes": []}}));
    assert_eq!(actions, [lost("the server did not take the subscription"), Action::Hangup]);
}

#[test]
fn nothing_is_due_while_it_connects_and_a_beat_or_token_while_it_listens() {
    let mut bell = Bell::new();
    assert_eq!(bell.machine.due(), None);
    bell.listens();
    assert_eq!(bell.machine.due(), Some(BEATS));
}

#[test]
fn what_it_sends_is_shown_nowhere() {
    let mut bell = Bell::new();
    let actions = bell.step(Input::Up(token("t0ken")));
    let shown = format!("{actions:?} {:?} {:?}", bell.machine, Input::Up(token("t0ken")));
    assert!(!shown.contains("t0ken"), "{shown}");
}
