//! Agents' logs into the store.

pub mod codex;
pub mod lines;
pub mod record;
