//! Reading files. Never waits for what is elsewhere, but in [`CogFs::read`].

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::{CogFs, FsError, Missing, Piece, Result, Used};
use crate::store::raw::{self, Chunk};
use crate::tree::{self, Contents, Node};

/// That a picture was used is noted once in this time.
const USED_AGAIN: Duration = Duration::from_secs(3600);

impl CogFs {
    /// Reads a part of a file; less than asked for, or nothing, at its end. Waits for what is elsewhere.
    ///
    /// # Errors
    /// When the node is no file or its contents cannot be had.
    pub fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        let read = match self.read_for(0, ino, offset, size) {
            Err(FsError::Elsewhere { missing }) => {
                self.fetch(ino, 0, &missing)?;
                self.read_here(0, ino, offset, size)
            }
            read => read,
        };
        read.map(Piece::into_vec)
    }

    /// The same behind [`Self::fetch`]. Never waits.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_here(&self, thread: u32, ino: u64, offset: u64, size: u32) -> Result<Piece> {
        match self.read_for(thread, ino, offset, size) {
            // It went away again, or there was more of it than was told of.
            Err(FsError::Elsewhere { .. }) => {
                Err(FsError::Unreachable { reason: "it was fetched, and is not here".to_owned() })
            }
            read => read,
        }
    }

    /// The same for a thread: what an editor was shown is what its save is compared with. Never waits.
    ///
    /// # Errors
    /// As [`Self::read`]; [`FsError::Elsewhere`] for contents that are to be fetched first.
    pub fn read_for(&self, thread: u32, ino: u64, offset: u64, size: u32) -> Result<Piece> {
        if let Some(bytes) = self.overlay_read(ino, offset, size, thread)? {
            return Ok(bytes.into());
        }
        let node = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        let epoch = self.gate.epoch();
        if let Some(used) = Used::by_reading(node) {
            self.fetching.used(used);
        }
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Piece::of(document, offset, size));
        }
        // The kernel reads a large document in pieces, the next before it has the last: it is made by who comes first.
        let _claim = self.documents.claim(ino);
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Piece::of(document, offset, size));
        }
        let found = self.query(|conn| {
            let elsewhere = tree::elsewhere(conn, node)?;
            if elsewhere.is_empty() { tree::contents(conn, &self.view(), node).map(Ok) } else { Ok(Err(elsewhere)) }
        })?;
        let contents = found.map_err(|sessions| {
            let missing = sessions.into_iter().map(Missing::Session).collect();
            FsError::Elsewhere { missing }
        })?;
        match contents {
            None => Err(FsError::NotFound),
            Some(Contents::Bytes(bytes)) => {
                let is_all = range(bytes.len(), offset, size).len() == bytes.len();
                let document = Arc::new(bytes);
                if !is_all {
                    self.documents.keep(ino, epoch, Arc::clone(&document));
                }
                Ok(Piece::of(document, offset, size))
            }
            Some(Contents::Raw { session_row }) => self.read_raw(session_row, offset, size),
            Some(Contents::Blob { sha256, from_elsewhere }) => {
                self.read_blob(sha256, from_elsewhere, offset, size).map(Piece::from)
            }
        }
    }

    fn read_raw(&self, session_row: i64, offset: u64, size: u32) -> Result<Piece> {
        let mut out = Vec::new();
        while out.len() < size as usize {
            let at = offset + out.len() as u64;
            let Some(chunk) = self.chunk(session_row, at)? else { break };
            let left = u32::try_from(size as usize - out.len()).unwrap_or(u32::MAX);
            let piece = Piece::of_chunk(chunk, at, left);
            // Nearly always one chunk has all of it.
            if out.is_empty() && piece.len() == size as usize {
                return Ok(piece);
            }
            out.extend_from_slice(&piece);
        }
        Ok(out.into())
    }

    /// The chunk of a session's records that holds an offset; `None` past the end.
    fn chunk(&self, session_row: i64, offset: u64) -> Result<Option<Arc<Chunk>>> {
        let epoch = self.gate.epoch();
        if let Some(chunk) = self.documents.chunk(session_row, offset, epoch) {
            return Ok(Some(chunk));
        }
        let read = self.query(|conn| raw::chunk_at(conn, session_row, offset))?;
        Ok(read.map(|chunk| self.documents.keep_chunk(session_row, epoch, chunk)))
    }

    fn read_blob(&self, sha256: String, from_elsewhere: Option<String>, offset: u64, size: u32) -> Result<Vec<u8>> {
        let path = self.layout.blob(&sha256);
        let read = || {
            let file = File::open(path)?;
            if offset == 0 && from_elsewhere.is_some() {
                note_use(&file);
            }
            let mut out = vec![0; size as usize];
            let mut filled = 0;
            while filled < out.len() {
                match file.read_at(&mut out[filled..], offset + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            out.truncate(filled);
            Ok(out)
        };
        read().map_err(|source: std::io::Error| match (source.kind(), from_elsewhere) {
            (std::io::ErrorKind::NotFound, Some(mime)) => {
                FsError::Elsewhere { missing: vec![Missing::Blob { sha256, mime }] }
            }
            _ => FsError::Blob { sha256, source },
        })
    }
}

/// A file's time says when it was used, to within an hour: which of the pictures that were fetched give way follows from it. The time of
/// the last access is not kept by most disks.
fn note_use(file: &File) {
    let now = std::time::SystemTime::now();
    let used = file.metadata().and_then(|metadata| metadata.modified());
    if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|since| since > USED_AGAIN)) {
        // A picture that gives way too early comes again.
        let _ = file.set_modified(now);
    }
}

pub(super) fn slice(bytes: &[u8], offset: u64, size: u32) -> &[u8] {
    &bytes[range(bytes.len(), offset, size)]
}

/// Which of so many bytes a read gets.
pub(super) fn range(length: usize, offset: u64, size: u32) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
    start..start.saturating_add(size as usize).min(length)
}
