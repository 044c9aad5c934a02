//! Agents' logs into the store.
//!
//! One file an agent's format (`claude_code`, `codex`, `opencode`, `gemini`, `copilot`, `cursor`, `antigravity`; `chatgpt` and
//! `claude_ai` on the web; `cogcommit`, which kept logs of Claude Code's), which all speak the vocabulary of `record`; everything behind that is the same for all: `assemble` makes turns, parts and commits, `carve` finds git commits,
//! `link` ties sessions together.
//! Import copies: a source that disappears never deletes anything, and importing twice changes nothing.

pub mod antigravity;
mod assemble;
mod branches;
pub mod carve;
pub mod chatgpt;
pub mod claude_ai;
pub mod claude_code;
pub mod codex;
pub mod cogcommit;
pub mod collection;
pub mod copilot;
pub mod cursor;
pub mod discover;
mod drift;
pub mod exports;
pub mod files;
mod filing;
pub mod foreign;
pub mod gemini;
pub mod lines;
mod link;
pub mod opencode;
mod part;
pub mod project;
mod raw_record;
pub mod record;
mod replay;
mod run;
mod source;
mod summary;
pub mod title;

pub use collection::Format;
pub use filing::{files as files_of, places as views_of, this_machine};
pub use link::rename_commit;
pub use run::{ImportError, Options, Progress, import, import_files, import_from, index_words};
pub use source::{Recognised, Stamp, recognise, stamp};
pub use summary::{FileRead, Skipped, Summary};
