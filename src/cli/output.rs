//! What several commands print alike.

use std::io::{self, Write};

use serde::Serialize;

pub use crate::render::thousands;

/// Prints a value as one JSON document.
///
/// # Errors
/// When stdout cannot be written.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// `1 session`, `2,000 sessions`.
#[must_use]
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", thousands(n)) }
}

/// Text of a log made fit for a terminal: what would move the cursor, colour the line or turn its direction is spelled out.
#[must_use]
pub fn printable(text: &str) -> String {
    let turns_direction = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_direction(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// `12.3 MB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // Two digits are shown.
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A program that prints into a pipe nobody reads any more is ended by the signal, as `cat` is; Rust ignores it by default
/// and panics in `println!`.
pub fn end_quietly_on_closed_pipe() {
    // SAFETY: sets the default action of a signal, before any thread is started.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Makes the allocator give every large piece of memory back when it is freed. By itself glibc keeps pieces of up to 32 MiB
/// once one of that size was freed (mallopt(3), `M_MMAP_THRESHOLD`): a record with a screenshot would stay in memory for good.
pub fn give_large_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: called before any other thread is started, with a parameter that glibc knows.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1, "turn"), "1 turn");
        assert_eq!(count(2000, "turn"), "2,000 turns");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_300_000), "12.3 MB");
    }

    #[test]
    fn text_of_a_log_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nü\u{202e}z"), "a\\u{1b}[31m\\u{a}ü\\u{202e}z");
    }
}
