//! cogfs: AI coding conversations as files. See `docs/ARCHITECTURE.md` for the way of the data through these modules.

pub mod cli;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod counts;
pub mod curation;
pub mod demo;
pub mod derived;
pub mod export;
pub mod follow;
pub mod forget;
pub mod fs;
pub mod fuse;
pub mod git_notes;
pub mod ingest;
pub mod model;
pub mod redact;
pub mod render;
pub mod search;
pub mod store;
pub mod sync;
pub mod tree;
pub mod upkeep;
pub mod when;
