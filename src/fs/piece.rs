//! A part of a file on its way to a reader: of a document that is kept nothing is copied.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::reading::range;
use crate::store::raw::Chunk;

/// A part of a file.
pub struct Piece(Source);

enum Source {
    Own(Vec<u8>),
    Document(Arc<Vec<u8>>, Range<usize>),
    Chunk(Arc<Chunk>, Range<usize>),
}

impl Piece {
    /// A part of a document.
    pub(super) fn of(document: Arc<Vec<u8>>, offset: u64, size: u32) -> Self {
        let part = range(document.len(), offset, size);
        Self(Source::Document(document, part))
    }

    /// What a chunk has of a part of its file.
    pub(super) fn of_chunk(chunk: Arc<Chunk>, offset: u64, size: u32) -> Self {
        let part = range(chunk.bytes.len(), offset.saturating_sub(chunk.start), size);
        Self(Source::Chunk(chunk, part))
    }

    /// The bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Source::Own(bytes) => bytes,
            _ => self.to_vec(),
        }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Own(bytes))
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Own(bytes) => bytes,
            Source::Document(document, part) => &document[part.clone()],
            Source::Chunk(chunk, part) => &chunk.bytes[part.clone()],
        }
    }
}
