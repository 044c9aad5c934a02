//! Agents' logs into the store.

pub mod record;
