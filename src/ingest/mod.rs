//! Agents' logs into the store.

pub mod lines;
pub mod record;
