//! A record as its source has it: its bytes, or for a very large one the place where they stand, so that it need not be held
//! in memory beside what was read of it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::model::{Id, IdBuilder};

/// Bytes read at once from a record that stays in its file.
const PIECE: usize = 256 * 1024;

/// The bytes of a record, without the newline.
#[derive(Clone)]
pub enum RawRecord {
    Bytes(Vec<u8>),
    /// They stay in the file. A log only grows: what stood there when it was parsed still does.
    InFile {
        path: PathBuf,
        start: u64,
        length: u64,
        hash: Id,
    },
}

impl RawRecord {
    /// A record that stays in its file: it is read once, for its hash.
    ///
    /// # Errors
    /// When the file cannot be read, or ends before the record does.
    pub fn in_file(path: PathBuf, start: u64, length: u64) -> io::Result<Self> {
        let mut builder = IdBuilder::default();
        builder.begin_part(length);
        let mut record = Self::InFile { path, start, length, hash: Id([0; 16]) };
        record.pieces(|piece| {
            builder.add(piece);
            Ok::<_, io::Error>(())
        })?;
        if let Self::InFile { hash, .. } = &mut record {
            *hash = builder.finish();
        }
        Ok(record)
    }

    /// Bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::InFile { length, .. } => *length,
        }
    }

    /// The hash of its bytes, wherever they stand.
    pub fn hash(&self) -> Id {
        match self {
            Self::Bytes(bytes) => Id::derive(&[bytes]),
            Self::InFile { hash, .. } => *hash,
        }
    }

    /// Gives its bytes to `each`, in pieces where they stand in a file.
    ///
    /// # Errors
    /// What `each` returns; when the file cannot be read, or ends before the record does.
    pub fn pieces<E: From<io::Error>>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (path, start, length) = match self {
            Self::Bytes(bytes) => return each(bytes),
            Self::InFile { path, start, length, .. } => (path, *start, *length),
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut rest = length;
        let mut buffer = vec![0; PIECE];
        while rest > 0 {
            let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..wanted])?;
            each(&buffer[..wanted])?;
            rest -= wanted as u64;
        }
        Ok(())
    }

    /// A reader of a part of a file.
    pub fn reader(path: &Path, start: u64, length: u64) -> io::Result<impl Read + use<>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::with_capacity(PIECE, file.take(length)))
    }
}
