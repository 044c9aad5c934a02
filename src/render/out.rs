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

/// Text with the places where prefixes go left open, so that it is rendered once for pages that lie elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    text: Vec<u8>,
    /// Where a prefix goes, in order.
    places: Vec<(usize, Prefix)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Turn,
    Visual,
}

impl Template {
    /// Bytes without prefixes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes it with these prefixes.
    pub fn write(&self, out: &mut Vec<u8>, turn_prefix: &str, visual_prefix: &str) {
        let mut written = 0;
        for (place, prefix) in &self.places {
            out.extend_from_slice(&self.text[written..*place]);
            out.put(match prefix {
                Prefix::Turn => turn_prefix,
                Prefix::Visual => visual_prefix,
            });
            written = *place;
        }
        out.extend_from_slice(&self.text[written..]);
    }
}

impl Out for Template {
    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn turn_prefix(&mut self, _prefix: &str) {
        self.places.push((self.text.len(), Prefix::Turn));
    }

    fn visual_prefix(&mut self, _prefix: &str) {
        self.places.push((self.text.len(), Prefix::Visual));
    }
}

/// The length of what `write` writes.
pub fn length(write: impl FnOnce(&mut Counter)) -> u64 {
    let mut counter = Counter::default();
    write(&mut counter);
    counter.0
}
