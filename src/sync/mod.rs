//! Keeps the machines of a user in step by way of the cloud: what waits here is pushed, what others pushed is pulled.
//!
//! Owns the rules by which two changes of one field become one (`merge`), the way between the store and the contract of
//! `cloud::wire`, and the order of a cycle (`engine`). Knows the cloud as the trait alone: no HTTP, no accounts' tokens. No
//! transaction waits for the cloud.

pub mod cache;
pub mod contents;
pub mod continuous;
pub mod engine;
pub mod facts;
pub mod fetch;
pub mod fields;
pub mod ignored;
pub mod merge;
pub mod prune;
pub mod secrets;
pub mod shared_counts;
