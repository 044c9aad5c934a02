//! Where rendered text goes: into a buffer, or into a count of its bytes.

use crate::model::SectionSize;

/// A sink for rendered text.
pub trait Out {
    /// Appends text.
    fn put(&mut self, text: &str);

    /// Appends the prefix of a link to a turn file.
    fn turn_prefix(&mut self, prefix: &str) {
        self.put(prefix);
    }

    /// Appends the prefix of a link to a visual.
    fn visual_prefix(&mut self, prefix: &str) {
        self.put(prefix);
    }
}

impl Out for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

impl Out for String {
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Counts bytes and keeps none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter(pub u64);

impl Out for Counter {
    fn put(&mut self, text: &str) {
        self.0 += text.len() as u64;
    }
}

/// Counts bytes, and apart from them how often each prefix would be written: sizes that hold wherever the page lies.
impl Out for SectionSize {
    fn put(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    fn turn_prefix(&mut self, _prefix: &str) {
        self.turn_links += 1;
    }

    fn visual_prefix(&mut self, _prefix: &str) {
        self.visual_links += 1;
    }
}

/// The length of what `write` writes.
pub fn length(write: impl FnOnce(&mut Counter)) -> u64 {
    let mut counter = Counter::default();
    write(&mut counter);
    counter.0
}
