//! Codex writes what is said twice, as an event and as a response item: keeps the one that comes first, drops its twin once.
//!
//! In logs of 0.34 to 0.142 the item comes first for a prompt, the event for an answer and for reasoning, up to three records
//! apart. Keeping the first loses nothing, wherever the log ends, and a text truly said twice stays twice.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::content::{Content, digest};
use crate::model::Role;

/// How many texts wait for a twin. Texts that have none (instructions) leave at the far end.
const WAITING: usize = 32;

/// The stream that a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Item,
    Event,
}

/// What was said lately and has not been said by the other stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Twins {
    waiting: VecDeque<Said>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    side: Side,
    role: u8,
    whole: u64,
    /// The other stream may say each part for itself.
    parts: Vec<u64>,
    images: bool,
}

impl Twins {
    /// The texts that the other stream has not given, and whether it gave the pictures. What is new waits for its twin.
    pub(super) fn without_twins<'a>(&mut self, role: Role, side: Side, content: &'a Content) -> (Vec<&'a str>, bool) {
        let whole = digest(&content.texts.concat());
        let texts = content.texts.iter().map(String::as_str);
        if let Some(images) = self.take_whole(role, side, whole) {
            return (Vec::new(), images);
        }
        let rest: Vec<&str> = texts.filter(|text| !self.take_part(role, side, digest(text))).collect();
        if !rest.is_empty() || !content.images.is_empty() {
            let parts = if rest.len() > 1 { rest.iter().map(|t| digest(t)).collect() } else { Vec::new() };
            let whole = digest(&rest.concat());
            self.waiting.push_back(Said { side, role: role as u8, whole, parts, images: !content.images.is_empty() });
            if self.waiting.len() > WAITING {
                self.waiting.pop_front();
            }
        }
        (rest, false)
    }

    /// Takes the twin of a whole text; whether it had pictures.
    fn take_whole(&mut self, role: Role, side: Side, whole: u64) -> Option<bool> {
        let at = self.waiting.iter().position(|said| said.is_other(role, side) && said.whole == whole)?;
        self.waiting.remove(at).map(|said| said.images)
    }

    /// Takes a text that is part of what the other stream said, or all of it.
    fn take_part(&mut self, role: Role, side: Side, part: u64) -> bool {
        if self.take_whole(role, side, part).is_some() {
            return true;
        }
        for said in self.waiting.iter_mut().filter(|said| said.is_other(role, side)) {
            if let Some(at) = said.parts.iter().position(|p| *p == part) {
                said.parts.swap_remove(at);
                // In pieces now: the whole will not come any more.
                said.whole = if said.parts.len() == 1 { said.parts[0] } else { 0 };
                return true;
            }
        }
        false
    }
}

impl Said {
    fn is_other(&self, role: Role, side: Side) -> bool {
        self.side != side && self.role == role as u8
    }
}
