//! The command line: one file a command.

pub mod mount;
pub mod unmount;
