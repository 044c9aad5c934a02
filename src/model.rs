//! The records everything else speaks of: plain data, no I/O.
//!
//! Owns the vocabulary (project, commit, session, turn, visual), the ids and the times. Must not use any other module.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, TimeZone, Timelike, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Milliseconds since the Unix epoch, UTC: the resolution the agents log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The current time.
    #[must_use]
    pub fn now() -> Self {
        crate::clock::now()
    }

    /// Parses an RFC 3339 timestamp as the agents write it; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|t| Self(t.timestamp_millis()))
    }

    /// The time as a date; a time outside the calendar's range is shown as the epoch.
    #[must_use]
    pub fn utc(self) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(self.0).single().unwrap_or_default()
    }

    /// `2026-08-19T14:03:22.123Z`, for JSON.
    #[must_use]
    pub fn iso(self) -> String {
        let at = self.utc();
        if !(0..=9999).contains(&at.year()) {
            return at.to_rfc3339_opts(SecondsFormat::Millis, true);
        }
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put_date(&mut text[..10], at);
        put_clock(&mut text[11..19], at);
        put_digits(&mut text[20..23], at.timestamp_subsec_millis());
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `2026-08-19 14:03:22`, for people.
    #[must_use]
    pub fn readable(self) -> String {
        let at = self.utc();
        if !(0..=9999).contains(&at.year()) {
            return at.format("%Y-%m-%d %H:%M:%S").to_string();
        }
        // Stands in every turn: digit by digit takes a tenth of what formatting takes.
        let mut text = *b"0000-00-00 00:00:00";
        put_date(&mut text[..10], at);
        put_clock(&mut text[11..], at);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `14:03:22`.
    #[must_use]
    pub fn clock(self) -> String {
        let mut text = *b"00:00:00";
        put_clock(&mut text, self.utc());
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `2026-08-19T14-03-22Z`, for file names: sorts by time, holds no colon.
    #[must_use]
    pub fn file_name(self) -> String {
        self.utc().format("%Y-%m-%dT%H-%M-%SZ").to_string()
    }

    /// `2026-08-19`.
    #[must_use]
    pub fn date(self) -> String {
        self.utc().format("%Y-%m-%d").to_string()
    }
}

fn put_date(text: &mut [u8], at: DateTime<Utc>) {
    put_digits(&mut text[..4], at.year().unsigned_abs());
    put_digits(&mut text[5..7], at.month());
    put_digits(&mut text[8..10], at.day());
}

fn put_clock(text: &mut [u8], at: DateTime<Utc>) {
    put_digits(&mut text[..2], at.hour());
    put_digits(&mut text[3..5], at.minute());
    put_digits(&mut text[6..8], at.second());
}

/// Writes a number with as many digits as there is room for.
fn put_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Derives an id of parts that are too long to be held in memory.
#[derive(Default)]
pub struct IdBuilder(Sha256);

impl IdBuilder {
    /// Begins a part of so many bytes: the length in front keeps ("ab","c") and ("a","bc") apart.
    pub fn begin_part(&mut self, length: u64) {
        self.0.update(length.to_le_bytes());
    }

    /// Adds bytes of the part.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id.
    #[must_use]
    pub fn finish(self) -> Id {
        let digest = self.0.finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Id(bytes)
    }
}

/// A record's identity on every machine: 128 bits derived from (source, native ids), printed as a UUID (version 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// Derives the id of a record from the parts that name it at its source.
    #[must_use]
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut builder = IdBuilder::default();
        for part in parts {
            builder.begin_part(part.len() as u64);
            builder.add(part);
        }
        builder.finish()
    }

    /// Reads an id back from the database; `None` when it is not 16 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads a printed id back: 32 hex digits, hyphens between them or not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut count = 0;
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            let place = bytes.get_mut(count / 2)?;
            *place = *place << 4 | hex_digit(byte)?;
            count += 1;
        }
        (count == 32).then_some(Self(bytes))
    }

    /// The first six hex digits: what names end in.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2])
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(IdText)
    }
}

/// Reads an id without copying its text.
struct IdText;

impl serde::de::Visitor<'_> for IdText {
    type Value = Id;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an id")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
        Id::parse(text).ok_or_else(|| E::custom(format_args!("{text:?} is no id")))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: formatting each byte takes longer than reading the record, and a listing shows 100,000.
        let (mut text, mut at) = ([b'-'; 36], 0);
        for (i, byte) in self.0.iter().enumerate() {
            at += usize::from(matches!(i, 4 | 6 | 8 | 10));
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// The program that wrote a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    ClaudeCode,
    Codex,
    OpenCode,
    Gemini,
    Copilot,
    #[serde(rename = "chatgpt")]
    ChatGpt,
    ClaudeAi,
    Cursor,
    Antigravity,
}

impl Agent {
    /// Every agent. Inode numbers are made of the places here: new ones are added at the end.
    pub const ALL: [Self; 9] = [
        Self::ClaudeCode,
        Self::Codex,
        Self::OpenCode,
        Self::Gemini,
        Self::Copilot,
        Self::ChatGpt,
        Self::ClaudeAi,
        Self::Cursor,
        Self::Antigravity,
    ];

    /// The name in the database, in JSON and in ids.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude_code",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
            Self::Gemini => "gemini",
            Self::Copilot => "copilot",
            Self::ChatGpt => "chatgpt",
            Self::ClaudeAi => "claude_ai",
            Self::Cursor => "cursor",
            Self::Antigravity => "antigravity",
        }
    }

    /// The name in file names.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
            Self::Gemini => "gemini-cli",
            Self::Copilot => "copilot-cli",
            Self::ChatGpt => "chatgpt",
            Self::ClaudeAi => "claude-ai",
            Self::Cursor => "cursor",
            Self::Antigravity => "antigravity",
        }
    }

    /// The name as its maker writes it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::OpenCode => "OpenCode",
            Self::Gemini => "Gemini CLI",
            Self::Copilot => "Copilot CLI",
            Self::ChatGpt => "ChatGPT",
            Self::ClaudeAi => "Claude.ai",
            Self::Cursor => "Cursor",
            Self::Antigravity => "Antigravity",
        }
    }

    /// Reads [`Agent::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }
}

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Role {
    /// A prompt a human typed.
    User = 1,
    /// Text the model said.
    Assistant = 2,
    /// The model's readable reasoning.
    Thinking = 3,
    /// A tool call with its result.
    Tool = 4,
    /// Text the agent put in: notices, slash commands, compaction summaries, injected context.
    System = 5,
}

impl Role {
    /// Reads the database value back.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::User, Self::Assistant, Self::Thinking, Self::Tool, Self::System].into_iter().find(|r| *r as u8 == value)
    }

    /// The word in file names and headings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Thinking => "thinking",
            Self::Tool => "tool",
            Self::System => "system",
        }
    }
}

/// How a tool call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ToolStatus {
    /// No result is in the log (yet).
    #[default]
    Pending = 0,
    Ok = 1,
    Error = 2,
}

impl ToolStatus {
    /// Reads the database value back.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Pending, Self::Ok, Self::Error].into_iter().find(|s| *s as u8 == value)
    }

    /// The word in JSON and headings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// What ended a cognitive commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    GitCommit,
    SessionEnd,
    Explicit,
}

impl ClosedBy {
    /// The name in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitCommit => "git_commit",
            Self::SessionEnd => "session_end",
            Self::Explicit => "explicit",
        }
    }

    /// Reads [`ClosedBy::as_str`] back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::GitCommit, Self::SessionEnd, Self::Explicit].into_iter().find(|c| c.as_str() == text)
    }
}

/// Where the contents of a session are: its turns, records and costs. What listings show of it is always here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ContentsAt {
    /// Here, from a log of this machine.
    #[default]
    Here = 0,
    /// In the cloud.
    Elsewhere = 1,
    /// Here, from the cloud: a copy.
    Fetched = 2,
}

impl ContentsAt {
    /// Reads the database value back.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Here, Self::Elsewhere, Self::Fetched].into_iter().find(|at| *at as u8 == value)
    }

    /// The word in JSON. Both have one length: a document is as long before a fetch as after it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elsewhere => "cloud",
            Self::Here | Self::Fetched => "local",
        }
    }
}

/// Tokens as the model's provider counts them. `input` is what was neither read from nor written to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

impl Tokens {
    /// The larger of each count.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
        }
    }

    /// The smaller of each count.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        Self {
            input: self.input.min(other.input),
            output: self.output.min(other.output),
            cache_read: self.cache_read.min(other.cache_read),
            cache_write: self.cache_write.min(other.cache_write),
        }
    }

    /// What `self` has more than `before`, which it is at least as large as.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            input: self.input.saturating_sub(before.input),
            output: self.output.saturating_sub(before.output),
            cache_read: self.cache_read.saturating_sub(before.cache_read),
            cache_write: self.cache_write.saturating_sub(before.cache_write),
        }
    }
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
    }
}

/// A project: a git repository, or a folder where none is known.
#[derive(Debug, Clone)]
pub struct Project {
    pub row: i64,
    pub id: Id,
    pub name: String,
    pub dir_name: String,
    /// `github.com/owner/name`, when a remote is known.
    pub remote: Option<String>,
    /// The folders it was seen in, oldest first.
    pub paths: Vec<String>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// A cognitive commit: the work between two git commits.
#[derive(Debug, Clone)]
pub struct Commit {
    pub row: i64,
    pub id: Id,
    pub project_row: i64,
    pub dir_name: String,
    /// What links to it are called in the views.
    pub link_name: String,
    pub title: String,
    pub git_hash: Option<String>,
    pub git_subject: Option<String>,
    pub closed_by: ClosedBy,
    pub started_at: Millis,
    pub closed_at: Millis,
    /// Sessions in it overlap in time.
    pub parallel: bool,
    pub hidden: bool,
    pub published: bool,
    pub display_order: i64,
    pub tags: Vec<String>,
    pub note: String,
    /// When the record last changed.
    pub updated_at: Millis,
    /// When a user last edited it.
    pub curated_at: Option<Millis>,
    pub deleted_at: Option<Millis>,
}

/// A session, or the part of one that belongs to one commit: what one directory under `sessions/` or `subagents/` shows.
#[derive(Debug, Clone)]
pub struct Session {
    pub row: i64,
    pub id: Id,
    pub agent: Agent,
    /// The agent's own id of the session.
    pub native_id: String,
    /// 1 for the first part of a session, counting on at each git commit.
    pub part: u32,
    pub dir_name: String,
    pub commit_row: Option<i64>,
    /// The session (part) that started this subagent.
    pub parent_row: Option<i64>,
    /// A subagent's type (`general-purpose`, ...); `None` for a session of its own.
    pub subagent_kind: Option<String>,
    pub title: Option<String>,
    pub cwd: Option<String>,
    pub git_branch: Option<String>,
    pub agent_version: Option<String>,
    /// The models that spoke, in order of appearance.
    pub models: Vec<String>,
    pub started_at: Millis,
    pub ended_at: Millis,
    pub turns: u32,
    pub prompts: u32,
    pub tool_calls: u32,
    pub images: u32,
    pub tokens: Tokens,
    /// Size of the transcript's turns, without the header, with empty link prefixes.
    pub sections: SectionSize,
    /// The version of the renderer that `sections` is by.
    pub render_version: u32,
    pub raw_bytes: u64,
    pub raw_records: u64,
    pub contents: ContentsAt,
    /// When the record last changed.
    pub updated_at: Millis,
}

/// The size of rendered turns, independent of where the page that holds them lies: a link to a turn file or to a visual is
/// counted without the prefix that leads to its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SectionSize {
    pub bytes: u64,
    pub turn_links: u64,
    pub visual_links: u64,
    /// Of the same turns on the commit's page, with empty prefixes of links to turn files.
    pub page_bytes: u64,
    pub page_links: u64,
}

impl SectionSize {
    /// Bytes of the page when links carry these prefixes.
    #[must_use]
    pub fn total(&self, turn_prefix: &str, visual_prefix: &str) -> u64 {
        self.bytes + self.turn_links * turn_prefix.len() as u64 + self.visual_links * visual_prefix.len() as u64
    }

    /// Bytes of the turns on the commit's page when links to their files carry this prefix.
    #[must_use]
    pub fn page_total(&self, turn_prefix: &str) -> u64 {
        self.page_bytes + self.page_links * turn_prefix.len() as u64
    }
}

impl std::ops::AddAssign for SectionSize {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.turn_links += other.turn_links;
        self.visual_links += other.visual_links;
        self.page_bytes += other.page_bytes;
        self.page_links += other.page_links;
    }
}

impl std::ops::SubAssign for SectionSize {
    fn sub_assign(&mut self, other: Self) {
        // A stored size may be damaged: a wrong sum is found and repaired, a panic ends an import.
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.turn_links = self.turn_links.saturating_sub(other.turn_links);
        self.visual_links = self.visual_links.saturating_sub(other.visual_links);
        self.page_bytes = self.page_bytes.saturating_sub(other.page_bytes);
        self.page_links = self.page_links.saturating_sub(other.page_links);
    }
}

/// One thing said or done in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// 1 for the first turn of the session (part).
    pub number: u32,
    pub role: Role,
    pub at: Millis,
    pub model: Option<String>,
    /// What was said, verbatim. Empty for a tool call.
    pub text: String,
    /// What kind of system turn it is (`compaction`, `command`, ...).
    pub label: Option<String>,
    pub tool: Option<Tool>,
    /// File names in the commit's `visuals/`, in order.
    pub visuals: Vec<String>,
}

/// A tool call with its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /// The input: JSON text, or plain text for tools that take free text (Codex's `apply_patch`).
    pub input: String,
    /// The output as text, verbatim.
    pub output: String,
    pub status: ToolStatus,
}

/// A screenshot or picture that a turn holds.
#[derive(Debug, Clone)]
pub struct Visual {
    pub row: i64,
    pub commit_row: i64,
    pub file_name: String,
    /// Hex SHA-256 of the bytes: the blob's name.
    pub sha256: String,
    pub mime: String,
    pub bytes: u64,
    pub captured_at: Millis,
}
