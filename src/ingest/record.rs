//! What a parser says of a log: the one vocabulary all formats are translated to.
//!
//! A parser turns each JSON record into [`Item`]s, in the order of the file; the assembler makes turns and commits of them.

use std::path::Path;

use serde_json::Value;

use crate::model::{Agent, Millis, Role, Tokens, ToolStatus};
use crate::store::commits::GitCommit;

/// Who a log file is: known from its path and its first records, before any item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHead {
    pub agent: Agent,
    /// The agent's own id of the session; for a subagent, of the subagent (`agent-a2271d1`).
    pub native_id: String,
    /// Set when the file is a subagent's: the native id of the session that started it.
    pub parent: Option<String>,
    /// `general-purpose`, `Explore`, ..., where the log says so.
    pub subagent_kind: Option<String>,
    /// The task given to the subagent, where the log says so: its title.
    pub description: Option<String>,
}

/// One format's reader. It keeps what it must remember between records; [`Parser::state`] saves that, so that an import can
/// go on at an offset.
pub trait Parser: Send {
    /// Translates one JSON record. What is not understood becomes [`Item::Ignored`]; nothing is an error.
    fn record(&mut self, record: &Value, out: &mut Vec<Item>);

    /// Takes a document that is one JSON value apart into its records, each of which is stored and translated by itself: of a
    /// document that is written anew only what changed is new.
    fn split(&self, document: Value) -> Vec<Value> {
        vec![document]
    }

    /// Says what was held back, at the end of what there is to read for now.
    fn finish(&mut self, _out: &mut Vec<Item>) {}

    /// What must be remembered to go on later at this place of the file; `Value::Null` when nothing.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Goes on where [`Parser::state`] was taken.
    fn restore(&mut self, _state: &Value) {}
}

/// Recognises a file by its path and its first records, and opens its parser. Each format has one such function.
pub type Open = fn(path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)>;

/// A translated piece of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Facts about the session from here on.
    Context(Context),
    /// Something said, or a tool called.
    Turn(NewTurn),
    /// The result of a call made earlier.
    Result(ToolResult),
    /// What a message cost; the largest of several for one key holds.
    Usage { key: String, model: Option<String>, tokens: Tokens },
    /// The agent's own title of a session.
    Title(Title),
    /// A git commit that succeeded here, where the log tells of it otherwise than by a shell's output.
    /// By the call whose turn has this native id.
    Committed { native: String, made: GitCommit },
    /// A record that makes no turn. It stays in `raw.jsonl`; `known` is false when its kind was never seen before.
    Ignored { kind: String, known: bool },
}

/// The longest text of a turn, in bytes: every page of a mount and every row of the database can be held in memory.
pub const LONGEST_TEXT: usize = 16 * 1024 * 1024;

impl Item {
    /// Cuts texts that are too long for a page, and says so in them. Nothing is lost: `raw.jsonl` has the record whole.
    pub fn bound(&mut self) {
        match self {
            Self::Turn(turn) => {
                bound(&mut turn.text);
                if let Some(call) = &mut turn.call {
                    bound(&mut call.input);
                }
            }
            Self::Result(result) => bound(&mut result.output),
            _ => {}
        }
    }
}

fn bound(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let kept = text.floor_char_boundary(LONGEST_TEXT);
        let more = text.len() - kept;
        text.truncate(kept);
        text.shrink_to_fit();
        text.push_str(&format!("\n\n[{more} more bytes of this text stand in raw.jsonl]"));
    }
}

/// Facts about a session. `None` leaves what was known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    pub cwd: Option<String>,
    pub git_branch: Option<String>,
    /// The remote's URL as the log has it.
    pub git_remote: Option<String>,
    /// SHA-256 of the project's folder in hexadecimal digits, where the log has no more of it than that.
    pub project_hash: Option<String>,
    /// The project, where the log knows of one that is no folder.
    pub collection: Option<NamedProject>,
    pub agent_version: Option<String>,
    pub started_at: Option<Millis>,
}

/// A project that is no folder: a service's on the web, or one that only its name is left of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProject {
    /// What tells it from others everywhere: `chatgpt.com`, `claude.ai/<id>`.
    pub key: String,
    pub name: String,
    /// The folder it is taken to be in: names the project, and is not said to be where the session ran.
    pub folder: Option<String>,
}

/// Where a turn belongs inside its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stream {
    /// The session itself.
    #[default]
    Main,
    /// A subagent logged inside its parent's file: the key that all records of one subagent share.
    Inline(String),
}

/// A turn to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTurn {
    /// The record's own id at its source, with the block's index (`<uuid>#0`). `None` when the record has none.
    pub native: Option<String>,
    /// The id of the API message it is part of: tells a copied history whose records got new ids.
    pub message_key: Option<String>,
    pub stream: Stream,
    pub role: Role,
    /// `None`: the time of the turn before.
    pub at: Option<Millis>,
    pub model: Option<String>,
    /// Verbatim.
    pub text: String,
    /// For `Role::System`: `compaction`, `command`, `hook`, `notice`, ...
    pub label: Option<String>,
    pub images: Vec<Image>,
    /// For `Role::Tool`.
    pub call: Option<Call>,
    /// A later record with the same native id says it anew: the stored turn takes the new contents in place, and its call the
    /// new result. What names it stays: a turn of another role or tool is another turn.
    pub revises: bool,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub call_id: String,
    pub name: String,
    /// JSON text, or plain text for tools that take free text.
    pub input: String,
    /// The shell command line, when the tool is a shell: what the search for git commits reads.
    pub shell: Option<String>,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    pub call_id: String,
    pub stream: Stream,
    pub at: Option<Millis>,
    /// Verbatim.
    pub output: String,
    pub status: ToolStatus,
    pub images: Vec<Image>,
    /// The native id of the subagent that this call started, as in [`SessionHead::native_id`].
    pub subagent: Option<String>,
}

/// A picture found in a record, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub mime: String,
    pub bytes: Vec<u8>,
}

/// A title given by the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    pub text: String,
    /// The native id of the record it is about, when that may lie in another session.
    pub leaf: Option<String>,
}

/// The texts as one; a single one is not copied, which matters for one of 60 MB.
#[must_use]
pub fn joined(mut texts: Vec<String>, between: &str) -> String {
    match texts.len() {
        1 => texts.remove(0),
        _ => texts.join(between),
    }
}

/// Decodes an image's base64 text; `None` when it is damaged (the record stays in `raw.jsonl`).
#[must_use]
pub fn decode_base64(data: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(data.trim()).ok()
}
