//! What was done in each week, as numbers; and of one week the document that a user may share: clamped, with noise. Pure but for
//! reading the database: nothing here sends anything (`sync::shared_counts` does) or prints.

pub mod document;
pub mod gather;
pub mod noise;
mod week;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::Agent;
use gather::Bit;
pub use week::Week;

/// What was done in a week, or by an agent in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub commits: u64,
    pub sessions: u64,
    pub prompts: u64,
    pub turns: u64,
    pub tool_calls: u64,
    pub failed_calls: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
}

/// Counts while they are made: a commit or a session counts once.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    commits: BTreeSet<i64>,
    sessions: BTreeSet<i64>,
    counts: Counts,
}

impl Sum {
    pub(crate) fn add(&mut self, bit: &Bit) {
        self.commits.insert(bit.commit_row);
        self.sessions.insert(bit.conversation);
        let sum = &mut self.counts;
        sum.prompts += bit.prompts;
        sum.turns += bit.turns;
        sum.tool_calls += bit.tool_calls;
        sum.failed_calls += bit.failed_calls;
        sum.tokens_input = sum.tokens_input.saturating_add(bit.tokens_input);
        sum.tokens_output = sum.tokens_output.saturating_add(bit.tokens_output);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { commits: self.commits.len() as u64, sessions: self.sessions.len() as u64, ..self.counts }
    }
}

/// Counts by week and agent, and those of all of it.
#[must_use]
pub fn by_week(bits: &[Bit]) -> (BTreeMap<(Week, Agent), Counts>, Counts) {
    let (mut sums, mut total) = (BTreeMap::<(Week, Agent), Sum>::new(), Sum::default());
    for bit in bits {
        sums.entry((bit.week, bit.agent)).or_default().add(bit);
        total.add(bit);
    }
    (sums.into_iter().map(|(key, sum)| (key, sum.counts())).collect(), total.counts())
}
