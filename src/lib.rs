//! cogfs: AI coding conversations as files. See `docs/ARCHITECTURE.md` for the way of the data through these modules.

pub mod demo;
pub mod fs;
pub mod ingest;
pub mod model;
