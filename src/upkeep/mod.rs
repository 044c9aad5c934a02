//! Keeping what is stored true: lengths that another version of the renderer left, and repairs.
//!
//! Owns the long work on a database that may be mounted and written to meanwhile: small transactions, each leaving a state
//! that is right; stopped anywhere, the next run goes on. Changes nothing that does not follow from what is kept.

pub mod lengths;
pub mod pictures;
pub mod repair;

/// Bytes of text that are rendered in one transaction: what a writer elsewhere waits for.
const STEP_BYTES: u64 = 16 * 1024 * 1024;
