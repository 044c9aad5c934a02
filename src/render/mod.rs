//! Records to bytes: names, Markdown, HTML, JSON. Pure: the same record gives the same bytes on every machine.
//!
//! Every document is written by one function over an [`Out`], so that its length (counted, nothing built) and its bytes
//! cannot differ. Uses `model` alone; must not read the store, the clock or the environment.

mod conflict;
mod fixed;
mod guard;
mod header;
mod input;
mod json;
mod markdown;
mod meta;
mod names;
mod out;
mod page;
mod resume;
mod section;
mod sync_status;
#[cfg(test)]
pub(crate) mod testing;
mod turn;

pub use conflict::{ConflictPage, conflict_md};
pub use fixed::{IGNORE_FILE, RootState, root_readme};
pub use header::{
    commit_header, commit_header_len, commit_session_heading, commit_session_heading_len, session_header,
    session_header_len, session_transcript_len,
};
pub use json::{
    FollowState, Following, ProjectCounts, Status, commit_meta_json, json_document, json_lines, project_json,
    session_meta_json, status_json, turn_json,
};
pub use markdown::thousands;
pub use meta::meta_md;
pub use names::{
    commit_dir_name, machine_dir_name, mime_extension, model_dir_name, path_part_name, project_dir_name,
    session_dir_name, slug, subagent_dir_name, tag_dir_name, tool_slug, turn_file_name, visual_file_name,
};
pub use out::{Counter, Out, Template, length};
pub use page::{
    PAGE_END, PAGE_INDEX_END, PAGE_INDEX_SESSION_END, PAGE_SESSION_END, PageLinks, page_index_entry,
    page_index_session, page_key, page_len, page_session, page_start, page_turn,
};
pub use resume::{Resumed, resume_sh};
pub use section::{section, section_size};
pub use sync_status::{SyncProgress, SyncState, SyncStatus};
pub use turn::{turn_file, turn_len, turn_sizes};

/// The renderer's version. Lengths are stored with it, so it grows with any change of any document's bytes.
pub const VERSION: u32 = 2;
