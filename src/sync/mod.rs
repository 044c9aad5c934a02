//! The cloud and the store: what leaves this machine, and what comes from others.

pub mod contents;
pub mod facts;
