//! Whether facts from elsewhere are what they can be. What comes over the wire is data: it names no file here unless it is a name.

use crate::cloud::wire::{CommitFacts, GitFacts, Kind, MachineFacts, ProjectFacts, SessionFacts, VisualFacts};
use crate::curation::names;
use crate::model::{Agent, Id, Millis};
use crate::store::index::{ENTRY_BYTES, MAX_TURNS};

/// Why a record is not taken.
pub(super) type Refusal = String;

type Checked = Result<(), Refusal>;

/// More is no count, no size and no number of tokens that anybody had.
const MOST: u64 = 1 << 50;

/// Of texts that stand in a row: titles, paths, names.
const LONGEST_TEXT: usize = 64 * 1024;

/// The years 0 and 9999, in milliseconds.
const TIMES: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// A name as a directory's or a file's, if it may be one.
pub(super) fn safe_name(name: &str) -> Option<&str> {
    names::check(name).is_ok().then_some(name)
}

fn holds(condition: bool, what: &str) -> Checked {
    if condition { Ok(()) } else { Err(format!("{what} is not what it can be")) }
}

fn times(times: &[Millis]) -> Checked {
    holds(times.iter().all(|at| TIMES.contains(&at.0)), "a time")
}

fn texts<'a>(mut texts: impl Iterator<Item = &'a str>) -> Checked {
    holds(texts.all(|text| text.len() <= LONGEST_TEXT), "the length of a text")
}

pub(super) fn machine(facts: &MachineFacts) -> Checked {
    texts([facts.name.as_str(), &facts.dir_name].into_iter())
}

pub(super) fn project(id: &Id, facts: &ProjectFacts) -> Checked {
    holds(*id == Id::derive(&[b"project", facts.identity.as_bytes()]), "the id of a project")?;
    texts(facts.paths.iter().chain([&facts.identity, &facts.name]).map(String::as_str))?;
    holds(facts.paths.len() <= 10_000, "the number of folders")?;
    times(&[facts.created_at, facts.updated_at])
}

pub(super) fn commit(facts: &CommitFacts) -> Checked {
    texts([facts.title.as_str(), facts.git_subject.as_deref().unwrap_or_default()].into_iter())?;
    times(&[facts.started_at, facts.closed_at, facts.updated_at])?;
    holds(facts.title_rank < 5, "the rank of a title")?;
    holds(facts.git_hash.as_deref().is_none_or(is_hash), "a git hash")?;
    facts.git_commits.iter().try_for_each(git)
}

fn git(facts: &GitFacts) -> Checked {
    holds(is_hash(&facts.hash), "a git hash")?;
    texts([facts.subject.as_str(), facts.branch.as_deref().unwrap_or_default()].into_iter())?;
    times(&[facts.at])
}

fn is_hash(hash: &str) -> bool {
    (4..=64).contains(&hash.len()) && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A link's name in `by/git/`: a hash, and what tells it from another behind.
pub(super) fn is_git_name(name: &str) -> bool {
    (4..=120).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && !name.starts_with('-')
}

pub(super) fn session(id: &Id, facts: &SessionFacts) -> Result<Agent, Refusal> {
    let agent = Agent::parse(&facts.agent)
        .ok_or_else(|| format!("{:?} is an agent that this version does not know", facts.agent))?;
    let own =
        Id::derive(&[b"session", agent.as_str().as_bytes(), facts.native_id.as_bytes(), &facts.part.to_le_bytes()]);
    holds(*id == own, "the id of a session")?;
    let optional =
        [&facts.title, &facts.cwd, &facts.git_branch, &facts.git_remote, &facts.agent_version, &facts.subagent_kind];
    texts(
        optional
            .into_iter()
            .flatten()
            .chain(&facts.models)
            .chain(&facts.tool_names)
            .chain(&facts.files)
            .map(String::as_str),
    )?;
    texts(std::iter::once(facts.native_id.as_str()))?;
    times(&[facts.started_at, facts.ended_at, facts.updated_at])?;
    holds(facts.last_turn <= MAX_TURNS && facts.turns <= facts.last_turn, "the number of turns")?;
    holds(facts.prompts.max(facts.tool_calls) <= facts.turns, "the number of turns of a kind")?;
    holds(facts.turn_index.0.len() == facts.last_turn as usize * ENTRY_BYTES, "the length of the index of turns")?;
    let numbers = facts.tokens.iter().chain(&facts.sections).chain([&facts.raw_bytes, &facts.raw_records]);
    holds(numbers.max().is_none_or(|most| *most <= MOST), "a size")?;
    holds(facts.ordinal <= 1_000_000 && facts.part >= 1, "a number")?;
    facts.visuals.iter().try_for_each(|visual| self::visual(facts.last_turn, visual))?;
    Ok(agent)
}

fn visual(last_turn: u32, facts: &VisualFacts) -> Checked {
    let is_digest = facts.sha256.len() == 64 && facts.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    holds(is_digest, "the hash of a picture")?;
    holds((1..=last_turn).contains(&facts.turn) && facts.ordinal <= 1_000_000, "a number of a picture")?;
    holds(facts.bytes <= MOST, "the size of a picture")?;
    holds(facts.mime.len() <= 200, "the type of a picture")?;
    times(&[facts.captured_at])
}

/// The words of a message about a record.
pub(super) fn named(kind: Kind, id: &Id) -> String {
    let kind = match kind {
        Kind::Machine => "machine",
        Kind::Project => "project",
        Kind::Commit => "commit",
        Kind::Session => "session",
        Kind::Turn => "turn",
    };
    format!("{kind} {id} from the cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_none() {
        for name in ["", ".", "..", "a/b", "/etc", ".hidden", "a\nb", "a\0b", "latest", &"x".repeat(256)] {
            assert_eq!(safe_name(name), None, "{name:?}");
        }
        assert_eq!(safe_name("2026-08-19T14-03-22Z_fix_7f3a9c"), Some("2026-08-19T14-03-22Z_fix_7f3a9c"));
    }

    #[test]
    fn a_link_of_by_git_is_called_by_digits() {
        for name in ["../../x", "abc", "-abcd", "abcd/e", "abcg"] {
            assert!(!is_git_name(name), "{name}");
        }
        assert!(is_git_name("4be91d7-7f3a9c"));
    }
}
