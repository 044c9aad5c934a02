//! Prompts typed while the agent is at work, before 2.1.100: an `enqueue` holds the text, and where a `remove` follows, the
//! agent took it during a tool call and left no other record of it. (A `dequeue` is followed by an ordinary prompt; later
//! versions write a `queued_command`.) Measured on files of 2.1.15 to 2.1.49, eleven prompts in five files.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Place, str_at};
use crate::ingest::record::{Item, NewTurn};
use crate::model::{Millis, Role};

/// The first version that records such a prompt itself.
const RECORDED_SINCE: [u32; 3] = [2, 1, 100];

/// More are not typed ahead by anybody.
const MOST: usize = 100;

/// The prompts that wait.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// `None` for the tool's own messages, which wait in the same queue.
    prompt: Option<String>,
    at: Option<Millis>,
}

impl Queue {
    /// Follows one `queue-operation`; gives the prompt that the agent took with it.
    pub fn follow(&mut self, record: &Value, version: Option<&str>, place: &Place<'_>) -> Option<Item> {
        match str_at(record, "operation")? {
            "enqueue" if self.waiting.len() < MOST => {
                let prompt = str_at(record, "content").filter(|text| is_prompt(text)).map(str::to_owned);
                self.waiting.push_back(Waiting { prompt, at: place.at });
                None
            }
            "dequeue" => {
                self.waiting.pop_front();
                None
            }
            // Back into the line the user types in: sent later, or not at all.
            "popAll" => {
                self.waiting.clear();
                None
            }
            "remove" => {
                let taken = self.waiting.pop_front()?;
                let text = taken.prompt.filter(|_| version.is_none_or(is_before_recording))?;
                Some(turn(record, text, taken.at.or(place.at), place))
            }
            _ => None,
        }
    }
}

fn is_prompt(text: &str) -> bool {
    !text.trim().is_empty() && !text.starts_with("<task-notification>") && !text.starts_with("{\"task_id\"")
}

fn is_before_recording(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    std::array::from_fn::<u32, 3, _>(|_| numbers.next().unwrap_or(0)) < RECORDED_SINCE
}

fn turn(record: &Value, text: String, at: Option<Millis>, place: &Place<'_>) -> Item {
    // These records have no id of their own; session and time to the millisecond are one.
    let session = str_at(record, "sessionId").unwrap_or_default();
    Item::Turn(NewTurn {
        native: at.map(|at| format!("queue/{session}/{}#0", at.iso())),
        message_key: None,
        stream: place.stream.clone(),
        role: Role::User,
        at,
        model: None,
        text,
        label: None,
        images: Vec::new(),
        call: None,
        revises: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ingest::record::Stream;

    fn follow(queue: &mut Queue, version: &str, operation: &str, content: Option<&str>) -> Option<String> {
        let record = json!({ "type": "queue-operation", "operation": operation, "sessionId": "s", "content": content });
        let place = Place { uuid: None, at: Some(Millis(7)), stream: Stream::Main };
        match queue.follow(&record, Some(version), &place) {
            Some(Item::Turn(turn)) => Some(turn.text),
            _ => None,
        }
    }

    #[test]
    fn a_prompt_that_the_agent_took_at_work_is_kept() {
        let mut queue = Queue::default();
        assert_eq!(follow(&mut queue, "2.1.39", "enqueue", Some("first")), None);
        assert_eq!(follow(&mut queue, "2.1.39", "enqueue", Some("<task-notification>x")), None);
        assert_eq!(follow(&mut queue, "2.1.39", "enqueue", Some("second")), None);
        assert_eq!(follow(&mut queue, "2.1.39", "remove", None).as_deref(), Some("first"));
        assert_eq!(follow(&mut queue, "2.1.39", "remove", None), None, "the tool's own message");
        assert_eq!(follow(&mut queue, "2.1.39", "dequeue", None), None, "an ordinary prompt follows");
        assert_eq!(follow(&mut queue, "2.1.39", "remove", None), None, "nothing waits");
    }

    #[test]
    fn versions_that_record_it_themselves_do_not_give_it_twice() {
        let mut queue = Queue::default();
        follow(&mut queue, "2.1.104", "enqueue", Some("first"));
        assert_eq!(follow(&mut queue, "2.1.104", "remove", None), None);
    }
}
