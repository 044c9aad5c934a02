//! Nodes and their inode numbers: computed, not allocated. 7 bits say which file of which kind of entity (bits 56 to 62),
//! 56 bits the entity's row. Nothing grows with what was visited, and a number means the same after a remount or a move.

use crate::model::Agent;

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    Root,
    Readme,
    Ignore,
    ControlDir,
    Status,
    ProjectsDir,
    ByDir,
    ByDateDir,
    ByAgentDir,
    ByIdDir,
    Project(i64),
    ProjectJson(i64),
    ProjectLatest(i64),
    Commit(i64),
    CommitMetaMd(i64),
    CommitMetaJson(i64),
    CommitTranscript(i64),
    SessionsDir(i64),
    VisualsDir(i64),
    Visual(i64),
    Session(i64),
    SessionTranscript(i64),
    SessionMetaJson(i64),
    SessionRaw(i64),
    TurnsDir(i64),
    SubagentsDir(i64),
    /// Row of the turn: session row << 16 | number.
    Turn(i64),
    /// A day in `by/date/`, counted from the epoch.
    Day(i64),
    /// A commit in its day.
    DayLink(i64),
    Agent(Agent),
    AgentLink(Agent, i64),
    IdCommit(i64),
    IdSession(i64),
}

const ROW_BITS: u32 = 56;
const ROW_MASK: u64 = (1 << ROW_BITS) - 1;

/// Days before the epoch have numbers too.
const DAY_ZERO: i64 = 1 << 40;

/// An agent link's row has 48 bits; the agent stands above.
const AGENT_SHIFT: u32 = 48;

impl Node {
    /// The inode number.
    #[must_use]
    pub fn ino(self) -> u64 {
        let (kind, row): (u64, i64) = match self {
            // Numbers of the first kind are the fixed nodes; the kernel wants 1 for the root.
            Self::Root => (0, 1),
            Self::Readme => (0, 2),
            Self::Ignore => (0, 3),
            Self::ControlDir => (0, 4),
            Self::Status => (0, 5),
            Self::ProjectsDir => (0, 6),
            Self::ByDir => (0, 7),
            Self::ByDateDir => (0, 8),
            Self::ByAgentDir => (0, 9),
            Self::ByIdDir => (0, 10),
            Self::Project(row) => (1, row),
            Self::ProjectJson(row) => (2, row),
            Self::ProjectLatest(row) => (3, row),
            Self::Commit(row) => (4, row),
            Self::CommitMetaMd(row) => (5, row),
            Self::CommitMetaJson(row) => (6, row),
            Self::CommitTranscript(row) => (7, row),
            Self::SessionsDir(row) => (8, row),
            Self::VisualsDir(row) => (9, row),
            Self::Visual(row) => (10, row),
            Self::Session(row) => (11, row),
            Self::SessionTranscript(row) => (12, row),
            Self::SessionMetaJson(row) => (13, row),
            Self::SessionRaw(row) => (14, row),
            Self::TurnsDir(row) => (15, row),
            Self::SubagentsDir(row) => (16, row),
            Self::Turn(row) => (17, row),
            Self::Day(day) => (18, day + DAY_ZERO),
            Self::DayLink(row) => (19, row),
            Self::Agent(agent) => (20, agent_number(agent)),
            Self::AgentLink(agent, row) => (21, agent_number(agent) << AGENT_SHIFT | row),
            Self::IdCommit(row) => (22, row),
            Self::IdSession(row) => (23, row),
        };
        kind << ROW_BITS | (row.cast_unsigned() & ROW_MASK)
    }

    /// The node of an inode number; `None` when no node has it. Whether the entity exists is the store's to say.
    #[must_use]
    pub fn from_ino(ino: u64) -> Option<Self> {
        let row = (ino & ROW_MASK).cast_signed();
        Some(match ino >> ROW_BITS {
            0 => match row {
                1 => Self::Root,
                2 => Self::Readme,
                3 => Self::Ignore,
                4 => Self::ControlDir,
                5 => Self::Status,
                6 => Self::ProjectsDir,
                7 => Self::ByDir,
                8 => Self::ByDateDir,
                9 => Self::ByAgentDir,
                10 => Self::ByIdDir,
                _ => return None,
            },
            1 => Self::Project(row),
            2 => Self::ProjectJson(row),
            3 => Self::ProjectLatest(row),
            4 => Self::Commit(row),
            5 => Self::CommitMetaMd(row),
            6 => Self::CommitMetaJson(row),
            7 => Self::CommitTranscript(row),
            8 => Self::SessionsDir(row),
            9 => Self::VisualsDir(row),
            10 => Self::Visual(row),
            11 => Self::Session(row),
            12 => Self::SessionTranscript(row),
            13 => Self::SessionMetaJson(row),
            14 => Self::SessionRaw(row),
            15 => Self::TurnsDir(row),
            16 => Self::SubagentsDir(row),
            17 => Self::Turn(row),
            18 => Self::Day(row - DAY_ZERO),
            19 => Self::DayLink(row),
            20 => Self::Agent(agent_of(row)?),
            21 => Self::AgentLink(agent_of(row >> AGENT_SHIFT)?, row & ((1 << AGENT_SHIFT) - 1)),
            22 => Self::IdCommit(row),
            23 => Self::IdSession(row),
            _ => return None,
        })
    }
}

fn agent_number(agent: Agent) -> i64 {
    Agent::ALL.iter().position(|a| *a == agent).and_then(|n| i64::try_from(n).ok()).unwrap_or_default()
}

fn agent_of(number: i64) -> Option<Agent> {
    Agent::ALL.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_node_has_a_number_of_its_own_and_is_found_by_it() {
        let row = (1 << 40) - 1;
        let nodes = [
            Node::Root,
            Node::Readme,
            Node::Ignore,
            Node::ControlDir,
            Node::Status,
            Node::ProjectsDir,
            Node::ByDir,
            Node::ByDateDir,
            Node::ByAgentDir,
            Node::ByIdDir,
            Node::Project(row),
            Node::ProjectJson(row),
            Node::ProjectLatest(row),
            Node::Commit(row),
            Node::CommitMetaMd(row),
            Node::CommitMetaJson(row),
            Node::CommitTranscript(row),
            Node::SessionsDir(row),
            Node::VisualsDir(row),
            Node::Visual(row),
            Node::Session(row),
            Node::SessionTranscript(row),
            Node::SessionMetaJson(row),
            Node::SessionRaw(row),
            Node::TurnsDir(row),
            Node::SubagentsDir(row),
            Node::Turn(row << 16 | 65_535),
            Node::Day(-3),
            Node::Day(20_000),
            Node::DayLink(row),
            Node::Agent(Agent::Codex),
            Node::AgentLink(Agent::Codex, row),
            Node::AgentLink(Agent::ClaudeCode, row),
            Node::IdCommit(row),
            Node::IdSession(row),
        ];
        let numbers: HashSet<u64> = nodes.iter().map(|n| n.ino()).collect();
        assert_eq!(numbers.len(), nodes.len(), "no two nodes share a number");
        for node in nodes {
            assert_eq!(Node::from_ino(node.ino()), Some(node));
            assert!(node.ino() < 1 << 63, "{node:?}: the kernel's numbers are signed in places");
        }
        assert_eq!(Node::Root.ino(), 1);
    }

    #[test]
    fn a_number_that_is_no_node_is_refused() {
        for ino in [0, 11, 24 << 56, u64::MAX] {
            assert_eq!(Node::from_ino(ino), None, "{ino}");
        }
    }
}
