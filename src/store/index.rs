//! The packed turn index of a session row: 16 bytes a turn, so that listing a million files never touches their text.
//!
//! ```text
//! byte 0      role; its highest bit: the turn is deleted, and the entry is read as none
//! byte 1      links to visuals in the turn's file (255 at most)
//! bytes 2-3   number of the tool's name in the session's `tool_names` (little endian, like all that follows)
//! bytes 4-7   bytes of the rendered turn file with empty link prefixes
//! bytes 8-15  time, milliseconds since the epoch
//! ```

use crate::model::{Millis, Role};

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 16;

/// In the byte of the role.
const DELETED: u8 = 0x80;

/// The largest number of turns in one session part: the number has 16 bits of the row.
pub const MAX_TURNS: u32 = 65_535;

/// One turn as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub role: Role,
    pub visual_links: u8,
    pub tool_name: u16,
    pub bytes: u32,
    pub at: Millis,
}

impl Entry {
    /// The entry's 16 bytes.
    #[must_use]
    pub fn pack(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0] = self.role as u8;
        out[1] = self.visual_links;
        out[2..4].copy_from_slice(&self.tool_name.to_le_bytes());
        out[4..8].copy_from_slice(&self.bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.at.0.to_le_bytes());
        out
    }

    /// Reads an entry; `None` when it is none (a forgotten turn, a number that was given and never used, a damaged database).
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        Some(Self {
            role: Role::from_u8(bytes[0])?,
            visual_links: bytes[1],
            tool_name: u16::from_le_bytes([bytes[2], bytes[3]]),
            bytes: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            at: Millis(i64::from_le_bytes([
                bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
            ])),
        })
    }
}

/// A session's index with the names it refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnIndex {
    pub packed: Vec<u8>,
    pub tool_names: Vec<String>,
    /// Of the renderer that the lengths are by.
    pub render_version: u32,
}

impl TurnIndex {
    /// Turns in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.packed.len() / ENTRY_BYTES).unwrap_or(u32::MAX)
    }

    /// True without turns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The entry of a turn, counted from 1.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Entry> {
        let start = (number.checked_sub(1)? as usize).checked_mul(ENTRY_BYTES)?;
        Entry::unpack(self.packed.get(start..start + ENTRY_BYTES)?)
    }

    /// The name of the tool of an entry.
    #[must_use]
    pub fn tool_name(&self, entry: &Entry) -> Option<&str> {
        (entry.role == Role::Tool).then(|| self.tool_names.get(entry.tool_name as usize).map_or("tool", String::as_str))
    }

    /// The number of a tool's name, given on first use.
    pub fn name_number(&mut self, name: &str) -> u16 {
        let at = self.tool_names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.tool_names.push(name.to_owned());
            self.tool_names.len() - 1
        });
        // More than 65,535 different tools in one session: the rest share the last name's number.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Makes room for turns up to this number: those without an entry are not shown.
    pub fn grow_to(&mut self, number: u32) {
        self.packed.resize(self.packed.len().max(number as usize * ENTRY_BYTES), 0);
    }

    /// Sets the entry of a turn; the index grows as needed.
    pub fn set(&mut self, number: u32, entry: &Entry) {
        self.grow_to(number);
        let start = number.saturating_sub(1) as usize * ENTRY_BYTES;
        let deleted = self.packed[start] & DELETED;
        self.packed[start..start + ENTRY_BYTES].copy_from_slice(&entry.pack());
        self.packed[start] |= deleted;
    }

    /// Marks a turn as deleted, or takes that back. Its number stays taken; [`Self::get`] does not find it.
    pub fn set_deleted(&mut self, number: u32, deleted: bool) {
        let start = number.saturating_sub(1) as usize * ENTRY_BYTES;
        if let Some(byte) = self.packed.get_mut(start) {
            *byte = if deleted { *byte | DELETED } else { *byte & !DELETED };
        }
    }

    /// Whether a turn is marked as deleted.
    #[must_use]
    pub fn is_deleted(&self, number: u32) -> bool {
        let start = number.saturating_sub(1) as usize * ENTRY_BYTES;
        self.packed.get(start).is_some_and(|byte| byte & DELETED != 0)
    }
}

/// Marks no turn of a packed index as deleted.
pub fn set_none_deleted(packed: &mut [u8]) {
    for entry in packed.chunks_mut(ENTRY_BYTES) {
        entry[0] &= !DELETED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_packing() {
        let entry = Entry { role: Role::Tool, visual_links: 3, tool_name: 700, bytes: 4_000_000_000, at: Millis(-5) };
        assert_eq!(Entry::unpack(&entry.pack()), Some(entry));
    }

    #[test]
    fn entries_are_found_by_number_and_unused_numbers_are_none() {
        let mut index = TurnIndex::default();
        let number = index.name_number("Bash");
        assert_eq!(index.name_number("Bash"), number, "a name has one number");
        let entry = Entry { role: Role::Tool, visual_links: 0, tool_name: number, bytes: 7, at: Millis(1) };
        index.set(3, &entry);
        assert_eq!(index.len(), 3);
        assert_eq!(index.get(3), Some(entry));
        assert_eq!(index.get(1), None, "a number that was never used has no role");
        assert_eq!(index.get(0), None);
        assert_eq!(index.get(4), None);
        assert_eq!(index.tool_name(&entry), Some("Bash"));
    }
}
