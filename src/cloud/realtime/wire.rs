//! Messages of Realtime, version 1.0.0: JSON objects with topic, event, payload and ref. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::secret::{Secret, without};
use crate::model::Id;

/// The version of the form that is asked for: text alone.
pub const VERSION: &str = "1.0.0";

/// The topic of the connection itself.
const CONNECTION: &str = "phoenix";

/// The table of `migrations/cloud` that rings.
const TABLE: &str = "sync_heads";

/// No more of a server's words is repeated.
const SHOWN: usize = 200;

/// What the server said, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// To the message with this number: accepted, or why not.
    Reply { to: String, outcome: Result<Joined, String> },
    /// The database is listened to.
    Subscribed,
    /// The channel is over, or soon will be, and why.
    Over(String),
    /// The head moved.
    Moved { seq: Option<i64> },
    /// Anything else.
    Nothing,
}

/// What a reply grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// How many subscriptions.
    pub subscriptions: usize,
}

/// A message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage;

#[derive(Deserialize)]
struct Envelope {
    topic: String,
    event: String,
    #[serde(default)]
    payload: Value,
    #[serde(default, rename = "ref")]
    number: Value,
}

/// The channel of a user.
#[must_use]
pub fn topic(user: Id) -> String {
    format!("realtime:{TABLE}:{user}")
}

/// Reads a message to the channel of a user.
///
/// # Errors
/// When it is none.
pub fn read(text: &str, user: Id) -> Result<Said, Garbage> {
    let Envelope { topic: to, event, payload, number } = serde_json::from_str(text).map_err(|_| Garbage)?;
    if event == "phx_reply" {
        let number = number.as_str().map_or_else(|| number.to_string(), str::to_owned);
        return Ok(Said::Reply { to: number, outcome: outcome(&payload) });
    }
    if to != topic(user) {
        return Ok(Said::Nothing);
    }
    Ok(match event.as_str() {
        "system" => system(&payload),
        "phx_error" => Said::Over("the channel failed".to_owned()),
        "phx_close" => Said::Over("the channel was closed".to_owned()),
        "postgres_changes" => moved(&payload["data"], user),
        _ => Said::Nothing,
    })
}

fn outcome(payload: &Value) -> Result<Joined, String> {
    if payload["status"] == "ok" {
        let granted = payload["response"]["postgres_changes"].as_array().map_or(0, Vec::len);
        return Ok(Joined { subscriptions: granted });
    }
    let response = &payload["response"];
    let why = response["reason"].as_str().or_else(|| response.as_str()).or_else(|| payload["status"].as_str());
    Err(shown(why.unwrap_or("no reason given")))
}

fn system(payload: &Value) -> Said {
    match (payload["status"].as_str(), payload["extension"].as_str()) {
        (Some("ok"), Some("postgres_changes")) => Said::Subscribed,
        // Whether the server closes the channel after it depends on the extension: it rings no more in either case.
        (Some("error"), _) => Said::Over(shown(payload["message"].as_str().unwrap_or("no reason given"))),
        _ => Said::Nothing,
    }
}

fn moved(data: &Value, user: Id) -> Said {
    let of_whom = data["record"]["user_id"].as_str();
    if data["table"] != TABLE || of_whom.is_some_and(|id| Id::parse(id) != Some(user)) {
        return Said::Nothing;
    }
    // A large row comes without its values.
    Said::Moved { seq: data["record"]["seq"].as_i64() }
}

/// Joins the channel.
#[must_use]
pub fn join(user: Id, token: &Secret, number: u64) -> Secret {
    let changes = json!([{"event": "*", "schema": "public", "table": TABLE, "filter": format!("user_id=eq.{user}")}]);
    let config = json!({
        "broadcast": {"ack": false, "self": false}, "presence": {"enabled": false, "key": ""}, "postgres_changes": changes,
        "private": false,
    });
    let payload = json!({ "config": config, "access_token": token.reveal() });
    message(&topic(user), "phx_join", &payload, number, number)
}

/// Gives the channel another token.
#[must_use]
pub fn access_token(user: Id, token: &Secret, number: u64, join: u64) -> Secret {
    message(&topic(user), "access_token", &json!({ "access_token": token.reveal() }), number, join)
}

/// Asks whether somebody is there.
#[must_use]
pub fn heartbeat(number: u64) -> Secret {
    let text = json!({"topic": CONNECTION, "event": "heartbeat", "payload": {}, "ref": number.to_string()});
    Secret::new(text.to_string())
}

fn message(topic: &str, event: &str, payload: &Value, number: u64, join: u64) -> Secret {
    let text = json!({
        "topic": topic, "event": event, "payload": payload, "ref": number.to_string(), "join_ref": join.to_string(),
    });
    Secret::new(text.to_string())
}

/// Why a handshake was refused: the server's words, without what was sent.
#[must_use]
pub fn refusal(body: &[u8], secrets: &[&str]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let why = ["error", "message", "msg"].iter().find_map(|key| body[*key].as_str()).unwrap_or_default();
    shown(&without(why, secrets))
}

/// A server's words: one line, of some length.
#[must_use]
pub fn shown(text: &str) -> String {
    // A token that the server repeats is no word of its own.
    let words = text.split_whitespace().map(|word| if is_token(word) { "(secret)" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// Whether it looks like a JWT.
fn is_token(word: &str) -> bool {
    word.contains("eyJ") || (word.len() > 60 && word.matches('.').count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "6e2f6f9a-3c1c-4b8e-9d55-0a1b2c3d4e5f";

    fn user() -> Id {
        Id::parse(USER).unwrap()
    }

    fn said(event: &str, payload: &Value) -> Said {
        let text = json!({"topic": topic(user()), "event": event, "payload": payload, "ref": null}).to_string();
        read(&text, user()).unwrap()
    }

    #[test]
    fn a_join_asks_for_the_head_of_the_user_with_the_token() {
        let text: Value = serde_json::from_str(join(user(), &Secret::new("t0ken"), 3).reveal()).unwrap();
        assert_eq!((&text["event"], &text["ref"], &text["join_ref"]), (&json!("phx_join"), &json!("3"), &json!("3")));
        assert_eq!(text["topic"], format!("realtime:sync_heads:{USER}"));
        let wanted =
            json!([{"event": "*", "schema": "public", "table": "sync_heads", "filter": format!("user_id=eq.{USER}")}]);
        assert_eq!(text["payload"]["config"]["postgres_changes"], wanted);
        assert_eq!(text["payload"]["access_token"], "t0ken");
    }

    #[test]
    fn replies_are_told_apart_by_what_they_answer() {
        let reply = |payload: &Value| said("phx_reply", payload);
        let text = r#"{"topic":"phoenix","event":"phx_reply","ref":"7","payload":{"status":"ok","response":{}}}"#;
        let alive = Said::Reply { to: "7".to_owned(), outcome: Ok(Joined { subscriptions: 0 }) };
        assert_eq!(read(text, user()), Ok(alive));
        let granted = reply(&json!({"status": "ok", "response": {"postgres_changes": [{"id": 1}]}}));
        assert!(matches!(granted, Said::Reply { outcome: Ok(Joined { subscriptions: 1 }), .. }), "{granted:?}");
        let refused = reply(&json!({"status": "error", "response": {"reason": "InvalidJWTToken: no\nexp"}}));
        assert!(
            matches!(&refused, Said::Reply { outcome: Err(why), .. } if why == "InvalidJWTToken: no exp"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_move_is_of_the_users_own_head_and_its_number_may_be_missing() {
        let data = |data: Value| said("postgres_changes", &json!({"ids": [1], "data": data}));
        let whole = json!({"table": "sync_heads", "type": "UPDATE", "record": {"user_id": USER, "seq": 41}});
        assert_eq!(data(whole), Said::Moved { seq: Some(41) });
        assert_eq!(data(json!({"table": "sync_heads", "record": {}})), Said::Moved { seq: None });
        let another = json!({"table": "sync_heads", "record": {"user_id": USER.replace('6', "7"), "seq": 41}});
        assert_eq!(data(another), Said::Nothing);
        assert_eq!(data(json!({"table": "turns", "record": {}})), Said::Nothing);
        let elsewhere = r#"{"topic":"realtime:other","event":"phx_close","payload":{},"ref":null}"#;
        assert_eq!(read(elsewhere, user()), Ok(Said::Nothing));
    }

    #[test]
    fn systems_words_say_that_it_listens_or_is_over() {
        let system = |status: &str, extension: &str| {
            said("system", &json!({"status": status, "extension": extension, "message": "m"}))
        };
        assert_eq!(system("ok", "postgres_changes"), Said::Subscribed);
        assert_eq!(system("ok", "system"), Said::Nothing);
        assert_eq!(system("error", "system"), Said::Over("m".to_owned()));
        assert_eq!(system("error", "postgres_changes"), Said::Over("m".to_owned()));
        assert!(matches!(said("phx_close", &json!({})), Said::Over(_)));
        assert_eq!(said("presence_state", &json!({})), Said::Nothing);
        assert_eq!(said("an_event_of_tomorrow", &json!([1])), Said::Nothing);
    }

    #[test]
    fn what_is_no_message_is_garbage() {
        for text in ["", "{", "null", "[]", r#"{"topic":"x"}"#, r#"{"topic":1,"event":"x"}"#, "\u{0}"] {
            assert_eq!(read(text, user()), Err(Garbage), "{text}");
        }
    }

    #[test]
    fn a_servers_words_are_one_short_line_without_what_was_sent() {
        assert_eq!(refusal(br#"{"error":"bad k3y-k3y-k3y"}"#, &["k3y-k3y-k3y"]), "bad (secret)");
        assert_eq!(refusal(b"<html>", &[]), "");
        assert_eq!(shown("token eyJhbGciOiJIUzI1NiJ9.e30.sig\u{7} is bad"), "token (secret) is bad");
        assert_eq!(shown(&"x".repeat(999)).len(), SHOWN);
    }
}
