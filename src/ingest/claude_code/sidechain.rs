//! Which subagent a sidechain record belongs to, where several share one file (versions up to 1.0.x). Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many records are remembered. A record's parent is a few lines above it, more only where agents run side by side.
const REMEMBERED: usize = 1024;

/// The chains of a file: each is named by the uuid of its first record.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sidechains {
    /// `(record, chain)`, oldest first.
    recent: VecDeque<(String, String)>,
    /// The chain of the record before.
    last: Option<String>,
}

impl Sidechains {
    /// The chain of a record, which is remembered for those that follow it.
    pub fn follow(&mut self, uuid: Option<&str>, parent: Option<&str>) -> String {
        let chain = match parent {
            Some(parent) => self.find(parent).or_else(|| self.last.clone()),
            None if uuid.is_none() => self.last.clone(),
            None => None,
        };
        let chain = chain.unwrap_or_else(|| uuid.unwrap_or("sidechain").to_owned());
        if let Some(uuid) = uuid {
            if self.recent.len() == REMEMBERED {
                self.recent.pop_front();
            }
            self.recent.push_back((uuid.to_owned(), chain.clone()));
        }
        self.last = Some(chain.clone());
        chain
    }

    fn find(&self, record: &str) -> Option<String> {
        self.recent.iter().rev().find(|(known, _)| known == record).map(|(_, chain)| chain.clone())
    }
}
