//! Searching: a query ([`query`]), what it means in this database ([`names`]), which turns fit and in which order ([`run`]), and
//! where in them (`words`, [`snippet`]).
//!
//! Reads the store; must not know of the tree, of paths or of terminals.

pub mod names;
pub mod query;
mod run;
mod score;
pub mod snippet;
mod words;

pub use query::{Filters, Key, Phrase, Query, QueryError, Words, filter_text, parse};
pub use run::{Found, Hit, SearchError, run};
