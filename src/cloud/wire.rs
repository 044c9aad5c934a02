//! What goes over the wire: the JSON of the functions in `migrations/cloud`, as types. Plain data, no I/O.
//!
//! A record has two halves. Its *facts* follow from the agents' logs: they are sent whole, by whoever imported them, and the
//! server keeps those of the higher rank. Its *fields* are what people change: each is sent alone, with the version of the record
//! that the change was made on, and the server refuses a change of a version that is not the newest.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::model::{Id, Millis};

/// The version of this contract. A server says which versions it speaks ([`Protocol`]).
pub const PROTOCOL: u32 = 1;

/// The kinds of records, parents first: the order in which a batch has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Machine,
    Project,
    Commit,
    Session,
    /// A turn is a record of its own only when it was deleted or restored; its contents come with its session.
    Turn,
}

/// Facts of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    pub name: String,
    pub dir_name: String,
}

/// Facts of a project. Field: `name` (null: the one that follows from the identity).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFacts {
    /// `git:host/owner/name`, or `path:/folder`.
    pub identity: String,
    pub name: String,
    pub dir_name: String,
    pub remote: Option<String>,
    /// The folders it was seen in, oldest first.
    pub paths: Vec<String>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// Facts of a commit. Fields: `title` (null: the one that was found), `hidden`, `published`, `order`, `tags`, `note`,
/// `project` (an id), `deleted_at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFacts {
    /// Where it was found. The field `project` says where it is.
    pub project: Id,
    pub dir_name: String,
    pub title: String,
    pub title_rank: u8,
    pub git_hash: Option<String>,
    pub git_subject: Option<String>,
    pub closed_by: String,
    pub started_at: Millis,
    pub closed_at: Millis,
    pub parallel: bool,
    pub git_commits: Vec<GitFacts>,
    pub updated_at: Millis,
}

/// A git commit that was made during a cognitive commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitFacts {
    pub hash: String,
    pub name: String,
    pub branch: Option<String>,
    pub subject: String,
    pub at: Millis,
}

/// Facts of a session, or the part of one that belongs to one commit. Field: `deleted_at`.
///
/// All that listings and `stat` need is here, so that nothing of the contents has to be fetched for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    pub agent: String,
    pub native_id: String,
    pub machine: Id,
    pub part: u32,
    pub commit: Id,
    pub parent: Option<Id>,
    pub subagent_kind: Option<String>,
    pub ordinal: u32,
    pub dir_name: String,
    pub title: Option<String>,
    pub title_rank: u8,
    pub cwd: Option<String>,
    pub git_branch: Option<String>,
    pub git_remote: Option<String>,
    pub agent_version: Option<String>,
    pub models: Vec<String>,
    pub closed: bool,
    pub started_at: Millis,
    pub ended_at: Millis,
    pub updated_at: Millis,
    /// The highest number of a turn.
    pub last_turn: u32,
    pub turns: u32,
    pub prompts: u32,
    pub tool_calls: u32,
    pub images: u32,
    /// Input, output, cache read, cache write.
    pub tokens: [u64; 4],
    /// Bytes, links to turns, links to visuals of the transcript's turns; bytes and links to turns on the commit's page:
    /// `model::SectionSize`.
    pub sections: [u64; 5],
    pub raw_bytes: u64,
    pub raw_records: u64,
    /// The version of the renderer that `sections` and `turn_index` are by.
    pub render_version: u32,
    pub tool_names: Vec<String>,
    /// 16 bytes a turn: `store::index`. Base64. No turn in it is marked deleted: that is a field of the turn.
    pub turn_index: Bytes,
    /// The files it wrote, relative to the project.
    pub files: Vec<String>,
    pub visuals: Vec<VisualFacts>,
}

/// A picture; its bytes are the object `<user>/<sha256>.<extension>` in the bucket `visuals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisualFacts {
    pub id: Id,
    pub turn: u32,
    pub ordinal: u32,
    pub file_name: String,
    pub sha256: String,
    pub mime: String,
    pub bytes: u64,
    pub captured_at: Millis,
}

/// A turn with its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnContents {
    pub number: u32,
    pub id: Id,
    pub role: u8,
    pub at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero_u8")]
    pub tool_status: u8,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_output: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero_u8(number: &u8) -> bool {
    *number == 0
}

/// A piece of a session's `raw.jsonl`, compressed with zstd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawChunk {
    pub number: u32,
    pub start: u64,
    pub length: u64,
    pub data: Bytes,
}

/// What a message cost; counted once, whatever the records that repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageContents {
    pub key: Id,
    pub model: Option<String>,
    pub tokens: [u64; 4],
}

/// One change of a push. Changes of a batch are made in their order, all in one transaction; each has its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Change {
    /// A record with its facts. Facts of a lower rank than those there change nothing, and are answered with those; equal facts
    /// change nothing either, nor do those of the same rank that were read before those there. A session whose `facts`
    /// are left out is made known so that its contents can be sent; it is given to nobody until its facts come. Where there is
    /// more of it already, by the rank, its contents are not taken.
    Facts {
        kind: Kind,
        id: Id,
        /// Of a session: its turns and records; of a commit: when it closed. More is newer.
        rank: i64,
        facts: Option<Value>,
        /// Of a session without facts, the commit; of a commit without facts, the project.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Id>,
    },
    /// New values of fields.
    Fields {
        kind: Kind,
        id: Id,
        /// The version that the change was made on.
        base_version: i64,
        fields: Map<String, Value>,
        /// Of a turn: the session it is in, and its number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<(Id, u32)>,
    },
    /// Turns of a session, new or revised.
    Turns { session: Id, turns: Vec<TurnContents> },
    /// Records of a session.
    Raw { session: Id, chunks: Vec<RawChunk> },
    /// Costs of a session's messages.
    Usage { session: Id, usage: Vec<UsageContents> },
    /// The record turned out to be a part of another, of the same kind.
    Merged { kind: Kind, id: Id, into: Id },
    /// For good: contents and facts go, a marker stays.
    Forget { kind: Kind, id: Id },
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// It is made, or was made before.
    Applied {
        version: i64,
        seq: i64,
        /// Objects of the bucket that nothing refers to any more: the client removes them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unused: Vec<String>,
    },
    /// The record is at another version; of facts: there are some of a higher rank.
    Conflict { row: Box<Row> },
    /// The record is a part of another now.
    Merged { into: Id },
    /// The record was forgotten: nothing of it is taken.
    Forgotten,
    /// `code`: `quota_commits`, `quota_bytes`, `unknown_parent`, `invalid`.
    Refused { code: String, message: String },
}

/// Above so many bits of a commit's or session's version stands which life of it that is: a record that is sent anew, after the cloud
/// removed it, counts on from the number up to which tombstones were removed then. Below them are counted the changes of its fields.
pub const LIFE: u32 = 20;

/// The changes that a version counts.
#[must_use]
pub fn changes_of(version: i64) -> i64 {
    version & ((1 << LIFE) - 1)
}

/// Whether a version is of another life of its record than one that was seen before.
#[must_use]
pub fn is_another_life(version: i64, seen: i64) -> bool {
    seen != 0 && version >> LIFE != seen >> LIFE
}

/// A record as a pull gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub kind: Kind,
    pub id: Id,
    pub seq: i64,
    /// Counts changes of the fields; see [`LIFE`].
    pub version: i64,
    /// When its fields changed last, by the server's clock.
    pub fields_at: Option<Millis>,
    /// The machine that changed its fields last.
    pub fields_by: Option<Id>,
    /// The machine whose facts these are.
    pub facts_by: Option<Id>,
    pub rank: i64,
    pub facts: Option<Value>,
    /// Every field that was ever changed, with its value.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// Of a turn: the session it is in, and its number.
    #[serde(default)]
    pub turn: Option<(Id, u32)>,
    #[serde(default)]
    pub merged_into: Option<Id>,
    #[serde(default)]
    pub forgotten: bool,
}

impl Row {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn bare(kind: Kind, id: Id) -> Self {
        Self {
            kind,
            id,
            seq: 0,
            version: 0,
            fields_at: None,
            fields_by: None,
            facts_by: None,
            rank: 0,
            facts: None,
            fields: Map::new(),
            turn: None,
            merged_into: None,
            forgotten: false,
        }
    }
}

/// A page of records behind a cursor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    pub protocol: Protocol,
    pub rows: Vec<Row>,
    /// The cursor for the next page.
    pub next: i64,
    /// The highest number given. `next == head`: nothing more.
    pub head: i64,
    /// A cursor below it missed removed tombstones: begin again at 0.
    pub min_seq: i64,
    /// The server's clock.
    pub now: Millis,
}

/// The versions of the contract that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub min: u32,
    pub max: u32,
}

/// The account's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub protocol: Protocol,
    pub user: String,
    pub plan: String,
    pub head: i64,
    pub min_seq: i64,
    pub usage: Usage,
    /// `None`: without limit.
    pub limits: Limits,
    pub now: Millis,
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub commits: u64,
    pub bytes: u64,
}

/// What an account may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    pub commits: Option<u64>,
    pub bytes: Option<u64>,
}

/// Contents of sessions, as far as one answer holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    pub sessions: Vec<FetchedSession>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Mark>,
}

/// A session's contents, with the row that they belong to: it may have changed since it was pulled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FetchedSession {
    pub row: Row,
    pub turns: Vec<TurnContents>,
    pub raw: Vec<RawChunk>,
    pub usage: Vec<UsageContents>,
}

/// A place in the contents of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub session: Id,
    /// Turns up to this number were given.
    pub turn: u32,
    /// Chunks up to this number were given.
    pub chunk: i64,
}

/// Bytes, as base64 in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        to.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use base64::Engine;
        // PostgreSQL's encode(…, 'base64') breaks lines.
        let mut text = String::deserialize(from)?;
        text.retain(|c| c != '\n');
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
