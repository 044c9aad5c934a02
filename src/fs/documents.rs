//! The documents read last: a large one is read in pieces of 128 KiB, and made once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::lock;
use crate::store::raw::Chunk;

/// Bytes kept at the most; one larger document is kept alone.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Documents and chunks of one state of the database.
#[derive(Default)]
pub struct Documents {
    kept: Mutex<Kept>,
    /// Files being made at the moment.
    in_work: Mutex<Vec<u64>>,
    done: Condvar,
}

/// Held by who makes a file.
pub struct Claim<'a> {
    documents: &'a Documents,
    ino: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.documents.in_work).retain(|ino| *ino != self.ino);
        self.documents.done.notify_all();
    }
}

#[derive(Default)]
struct Kept {
    epoch: u64,
    bytes: usize,
    /// The latest in front.
    entries: VecDeque<(Key, Document)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Node(u64),
    Chunk { session_row: i64, start: u64 },
}

#[derive(Clone)]
enum Document {
    Bytes(Arc<Vec<u8>>),
    Chunk(Arc<Chunk>),
}

impl Document {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Chunk(chunk) => chunk.bytes.len(),
        }
    }
}

impl Documents {
    /// Waits until nobody else makes this file.
    pub fn claim(&self, ino: u64) -> Claim<'_> {
        let in_work = lock(&self.in_work);
        let free = self.done.wait_while(in_work, |in_work| in_work.contains(&ino));
        free.unwrap_or_else(PoisonError::into_inner).push(ino);
        Claim { documents: self, ino }
    }

    /// A document as it was made in this epoch.
    pub fn get(&self, ino: u64, epoch: u64) -> Option<Arc<Vec<u8>>> {
        let kept = lock(&self.kept);
        let found = kept.entries.iter().find(|(key, _)| kept.epoch == epoch && *key == Key::Node(ino));
        match found {
            Some((_, Document::Bytes(bytes))) => Some(Arc::clone(bytes)),
            _ => None,
        }
    }

    /// Keeps a document.
    pub fn keep(&self, ino: u64, epoch: u64, bytes: Arc<Vec<u8>>) {
        lock(&self.kept).keep(epoch, Key::Node(ino), Document::Bytes(bytes));
    }

    /// The chunk of a session's records that holds an offset.
    pub fn chunk(&self, session_row: i64, offset: u64, epoch: u64) -> Option<Arc<Chunk>> {
        let kept = lock(&self.kept);
        if kept.epoch != epoch {
            return None;
        }
        kept.entries.iter().find_map(|(key, document)| match (key, document) {
            (Key::Chunk { session_row: row, start }, Document::Chunk(chunk))
                if *row == session_row && *start <= offset && offset < *start + chunk.bytes.len() as u64 =>
            {
                Some(Arc::clone(chunk))
            }
            _ => None,
        })
    }

    /// Keeps a chunk.
    pub fn keep_chunk(&self, session_row: i64, epoch: u64, chunk: Chunk) -> Arc<Chunk> {
        let chunk = Arc::new(chunk);
        let key = Key::Chunk { session_row, start: chunk.start };
        lock(&self.kept).keep(epoch, key, Document::Chunk(Arc::clone(&chunk)));
        chunk
    }
}

impl Kept {
    fn keep(&mut self, epoch: u64, key: Key, document: Document) {
        if epoch != self.epoch {
            *self = Self { epoch, ..Self::default() };
        }
        if self.entries.iter().any(|(known, _)| *known == key) {
            return;
        }
        self.bytes += document.len();
        self.entries.push_front((key, document));
        while self.bytes > MOST_BYTES && self.entries.len() > 1 {
            if let Some((_, dropped)) = self.entries.pop_back() {
                self.bytes -= dropped.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_kept_for_one_state_and_the_oldest_give_way() {
        let documents = Documents::default();
        documents.keep(1, 5, Arc::new(vec![1; MOST_BYTES / 2]));
        assert!(documents.get(1, 5).is_some());
        assert!(documents.get(1, 6).is_none(), "another state has other bytes");
        documents.keep(2, 5, Arc::new(vec![2; MOST_BYTES]));
        assert!(documents.get(1, 5).is_none(), "there is no room for both");
        assert!(documents.get(2, 5).is_some(), "the latest stays whatever its size");
        documents.keep(3, 6, Arc::new(vec![3]));
        assert!(documents.get(2, 5).is_none(), "what an older state made is gone");
    }

    #[test]
    fn a_file_is_made_by_one_at_a_time_and_others_by_others() {
        let documents = Documents::default();
        let first = documents.claim(1);
        let _other = documents.claim(2);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let _second = documents.claim(1);
                documents.get(1, 0).is_some()
            });
            documents.keep(1, 0, Arc::new(vec![1]));
            drop(first);
            assert!(second.join().unwrap(), "the second waited until the first had made it");
        });
        drop(documents.claim(1));
    }

    #[test]
    fn a_chunk_is_found_by_any_offset_in_it() {
        let documents = Documents::default();
        documents.keep_chunk(7, 0, Chunk { start: 100, bytes: vec![0; 10] });
        assert!(documents.chunk(7, 109, 0).is_some());
        assert!(documents.chunk(7, 110, 0).is_none());
        assert!(documents.chunk(7, 99, 0).is_none());
        assert!(documents.chunk(8, 100, 0).is_none());
    }
}
