//! Agents' logs into the store.
//!
//! One file an agent's format (`claude_code`, `codex`, `opencode`, `gemini`, `copilot`), which all speak the vocabulary of
//! `record`; everything behind that is the same for all: `assemble` makes turns, parts and commits, `carve` finds git commits,
//! `link` ties sessions together.
//! Import copies: a source that disappears never deletes anything, and importing twice changes nothing.

mod assemble;
pub mod carve;
pub mod claude_code;
pub mod codex;
pub mod copilot;
pub mod discover;
mod drift;
pub mod files;
mod filing;
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

pub use filing::{files as files_of, places as views_of, this_machine};
pub use link::rename_commit;
pub use run::{ImportError, Options, Progress, import, import_files, index_words};
pub use source::{Recognised, Stamp, recognise, stamp};
pub use summary::{FileRead, Skipped, Summary};
