//! What people change about their commits: typed edits, and how a saved file or a new name becomes one. Uses `model` and `store`;
//! must not know of FUSE, inodes or open files.

pub mod front_matter;
