//! The document of one week that a user may share: the body of a request, as it is.
//!
//! Its numbers are differentially private: with a conversation more or less in the week, no document becomes more than e times as
//! likely (epsilon 1). What a conversation with its subagents may add to each count is clamped; epsilon is split evenly over the
//! kinds of counts, and each number gets discrete Laplace noise of the scale clamp × kinds. Sessions are counted by agent, and are
//! one kind together: a conversation is one agent's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};

use super::Week;
use super::gather::Bit;
use super::noise::{Random, discrete_laplace};
use crate::cloud::wire::PROTOCOL;
use crate::model::Agent;

/// The most that a count may be: the server takes no more.
const MOST: u64 = 1_000_000_000_000;

/// A kind of counts: its key, and the most that one conversation adds to it.
struct Kind {
    key: &'static str,
    clamp: u64,
    of: fn(&Bit) -> u64,
}

/// All kinds but sessions (of which a conversation is one) and commits (it may be in several).
const KINDS: [Kind; 6] = [
    Kind { key: "prompts", clamp: 20, of: |bit| bit.prompts },
    Kind { key: "turns", clamp: 400, of: |bit| bit.turns },
    Kind { key: "tool_calls", clamp: 200, of: |bit| bit.tool_calls },
    Kind { key: "failed_calls", clamp: 20, of: |bit| bit.failed_calls },
    Kind { key: "tokens_input", clamp: 500_000, of: |bit| bit.tokens_input },
    Kind { key: "tokens_output", clamp: 100_000, of: |bit| bit.tokens_output },
];

/// The commits of one conversation that are counted.
const COMMITS_CLAMP: usize = 4;

/// The kinds that epsilon, which is 1, is split over.
const SHARES: u64 = KINDS.len() as u64 + 2;

/// What is sent, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub protocol: u32,
    /// The Monday that the week began with.
    pub week: String,
    pub counts: BTreeMap<String, u64>,
}

impl Document {
    /// Of what was done in a week, with noise. What may not leave this machine is not counted.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(week: Week, bits: &[Bit], random: &mut dyn Random) -> io::Result<Self> {
        let mut counts = BTreeMap::new();
        for (key, (count, clamp)) in clamped(week, bits) {
            let noise = discrete_laplace(random, clamp * SHARES)?;
            let noisy = count.min(MOST).saturating_add_signed(noise).min(MOST);
            counts.insert(key, noisy);
        }
        Ok(Self { protocol: PROTOCOL, week: week.date(), counts })
    }

    /// The bytes that are shown and sent.
    ///
    /// # Errors
    /// Never: it has no key that is no text.
    pub fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// One conversation in the week.
#[derive(Default)]
struct Conversation {
    commits: BTreeSet<i64>,
    counts: [u64; KINDS.len()],
}

/// Each count without noise, and what one conversation may add to it. All keys there are, also those of agents that nobody used:
/// that one is named says nothing.
fn clamped(week: Week, bits: &[Bit]) -> BTreeMap<String, (u64, u64)> {
    let mut conversations = BTreeMap::<(Agent, i64), Conversation>::new();
    for bit in bits.iter().filter(|bit| bit.week == week && bit.may_leave) {
        let conversation = conversations.entry((bit.agent, bit.conversation)).or_default();
        conversation.commits.insert(bit.commit_row);
        for (count, kind) in conversation.counts.iter_mut().zip(&KINDS) {
            *count = count.saturating_add((kind.of)(bit));
        }
    }
    let mut counts: BTreeMap<String, (u64, u64)> =
        Agent::ALL.map(|agent| (format!("sessions_{}", agent.as_str()), (0, 1))).into();
    let mut commits: BTreeSet<i64> = BTreeSet::new();
    for ((agent, _), conversation) in &conversations {
        commits.extend(conversation.commits.iter().take(COMMITS_CLAMP));
        if let Some((sessions, _)) = counts.get_mut(&format!("sessions_{}", agent.as_str())) {
            *sessions += 1;
        }
    }
    counts.insert("commits".to_owned(), (commits.len() as u64, COMMITS_CLAMP as u64));
    for (at, kind) in KINDS.iter().enumerate() {
        let sum = conversations.values().map(|conversation| conversation.counts[at].min(kind.clamp)).sum();
        counts.insert(kind.key.to_owned(), (sum, kind.clamp));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::noise::tests::Seeded;
    use super::*;
    use crate::model::Millis;

    fn week() -> Week {
        Week::of(Millis(1_780_000_000_000))
    }

    fn bit(conversation: i64, commit_row: i64) -> Bit {
        let (agent, may_leave) = (Agent::Codex, true);
        let (prompts, turns, tool_calls, failed_calls) = (3, 10, 5, 1);
        let (tokens_input, tokens_output, week) = (1000, 100, week());
        Bit {
            week,
            conversation,
            agent,
            commit_row,
            may_leave,
            prompts,
            turns,
            tool_calls,
            failed_calls,
            tokens_input,
            tokens_output,
        }
    }

    fn count(bits: &[Bit], key: &str) -> u64 {
        clamped(week(), bits)[key].0
    }

    #[test]
    fn a_conversation_adds_no_more_than_its_clamp_to_any_count() {
        let huge = Bit { prompts: 10_000, turns: u64::MAX, tokens_input: u64::MAX, ..bit(1, 1) };
        // In seven commits, with as much in each.
        let bits: Vec<Bit> = (0..7).map(|row| Bit { commit_row: row, ..huge.clone() }).chain([bit(2, 100)]).collect();
        let (with, without) = (clamped(week(), &bits), clamped(week(), &bits[7..]));
        for (key, (count, clamp)) in &with {
            assert!(count - without[key].0 <= *clamp, "{key}: {count}");
        }
        assert_eq!((count(&bits, "commits"), count(&bits, "prompts"), count(&bits, "turns")), (5, 23, 410));
        assert_eq!((count(&bits, "sessions_codex"), count(&bits, "sessions_gemini")), (2, 0));
    }

    #[test]
    fn other_weeks_and_what_may_not_leave_are_not_counted() {
        let bits = [
            bit(1, 1),
            Bit { week: week().next(), ..bit(2, 2) },
            Bit { week: week().before(1), ..bit(3, 3) },
            Bit { may_leave: false, ..bit(4, 4) },
        ];
        assert_eq!((count(&bits, "commits"), count(&bits, "sessions_codex"), count(&bits, "turns")), (1, 1, 10));
    }

    #[test]
    fn a_document_has_every_key_in_the_server_s_list_and_none_is_negative() {
        let list = include_str!("../../migrations/cloud/0010_counts.sql");
        let list = &list[list.find("array[").unwrap()..list.find("])").unwrap()];
        let listed: BTreeSet<&str> = list.split('\'').skip(1).step_by(2).collect();
        for seed in 0..50 {
            let document = Document::new(week(), &[bit(1, 1)], &mut Seeded(seed)).unwrap();
            assert_eq!(document.counts.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
            let text = document.text().unwrap();
            assert!(!text.contains('-') || text.matches('-').count() == 2, "{text}");
            assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
        }
    }

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn the_noise_of_each_number_has_the_scale_of_its_clamp_and_of_all_kinds() {
        const DOCUMENTS: u64 = 2_000;
        // So much that nothing is cut off at 0.
        let bits: Vec<Bit> = (0..20_000).map(|n| Bit { prompts: 20, turns: 400, ..bit(n, n) }).collect();
        let exact = clamped(week(), &bits);
        let mut sums = BTreeMap::<&str, f64>::new();
        let mut random = Seeded(1);
        for _ in 0..DOCUMENTS {
            for key in ["commits", "prompts", "turns", "sessions_codex"] {
                let (count, clamp) = exact[key];
                let noisy = count.saturating_add_signed(discrete_laplace(&mut random, clamp * SHARES).unwrap());
                *sums.entry(key).or_default() += noisy.abs_diff(count) as f64;
            }
        }
        for (key, sum) in sums {
            // The mean distance from 0 is close to the scale.
            let (found, scale) = (sum / DOCUMENTS as f64, (exact[key].1 * 8) as f64);
            assert!((found / scale - 1.0).abs() < 0.12, "{key}: {found}, not {scale}");
        }
    }
}
