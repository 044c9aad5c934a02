//! Agents' logs into the store.

pub mod claude_code;
pub mod record;
