//! Logs as lines, and lines as JSON records: streaming, with offsets to go on at, and forgiving of damage.
//!
//! One line costs at most itself. Knows nothing of any agent's format.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

pub use repair::{Records, records, split};

mod repair;

/// The longest line that is kept. The longest seen in real logs hold a few screenshots in base64: some 20 MiB.
pub const LONGEST_LINE: u64 = 128 * 1024 * 1024;

/// A buffer that grew beyond this for one line is given back before the next.
const KEPT_BUFFER: usize = 4 * 1024 * 1024;

/// The first bytes of every zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A log's bytes, plain or decompressed: Codex compresses logs that have grown cold.
pub enum Source<R: Read> {
    Plain(BufReader<Peeked<R>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Peeked<R>>>>),
}

/// A reader whose first bytes were looked at.
type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> Source<R> {
    /// Looks at the first bytes and decompresses if they are zstd's, whatever the file is called.
    ///
    /// # Errors
    /// When the reader cannot be read, or the decompressor has no memory.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(ZSTD_MAGIC.len());
        reader.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
        let compressed = head == ZSTD_MAGIC;
        let whole = BufReader::with_capacity(64 * 1024, Cursor::new(head).chain(reader));
        if compressed { Ok(Self::Zstd(Box::new(zstd::Decoder::with_buffer(whole)?))) } else { Ok(Self::Plain(whole)) }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buf),
            Self::Zstd(reader) => reader.read(buf),
        }
    }
}

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// 1 for the first line of the file.
    pub number: u64,
    /// Where it starts in the (decompressed) file.
    pub start: u64,
    /// Where the next one starts.
    pub end: u64,
    /// Without the newline; empty when the line is too long.
    pub bytes: &'a [u8],
    /// A newline ends it. Where none does, the agent may still be writing.
    pub terminated: bool,
    /// It is longer than [`LONGEST_LINE`] and was passed over.
    pub too_long: bool,
}

/// Reads a log line by line into one buffer.
pub struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    offset: u64,
    number: u64,
    longest: u64,
}

impl<R: Read> Lines<R> {
    /// Reads lines from a reader that stands at `start_offset` of the file, before the line `first_line_number` (from 1).
    pub fn new(reader: R, start_offset: u64, first_line_number: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(256 * 1024, reader),
            buffer: Vec::new(),
            offset: start_offset,
            number: first_line_number,
            longest: LONGEST_LINE,
        }
    }

    /// The same with another limit to the length of a line.
    #[must_use]
    pub fn with_longest(mut self, bytes: u64) -> Self {
        self.longest = bytes;
        self
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When the reader fails. A compressed file that was cut short ends in `UnexpectedEof` after its last whole line.
    #[allow(clippy::should_implement_trait)] // A line borrows the buffer: an iterator cannot.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        // One byte more than the limit for the newline.
        let limit = self.longest.saturating_add(1);
        let mut length = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? as u64;
        if length == 0 {
            return Ok(None);
        }
        let mut terminated = self.buffer.last() == Some(&b'\n');
        let too_long = !terminated && length == limit;
        if too_long {
            self.buffer.clear();
            let (rest, ended) = self.pass_over()?;
            length += rest;
            terminated = ended;
        } else if terminated {
            self.buffer.pop();
        }
        let (start, number) = (self.offset, self.number);
        self.offset += length;
        self.number += 1;
        Ok(Some(Line { number, start, end: self.offset, bytes: &self.buffer, terminated, too_long }))
    }

    /// Consumes the rest of a line: how many bytes, and whether a newline ended it.
    fn pass_over(&mut self) -> io::Result<(u64, bool)> {
        let mut passed = 0;
        loop {
            let piece = self.reader.fill_buf();
            let piece = match piece {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if piece.is_empty() {
                return Ok((passed, false));
            }
            if let Some(at) = piece.iter().position(|b| *b == b'\n') {
                self.reader.consume(at + 1);
                return Ok((passed + at as u64 + 1, true));
            }
            let length = piece.len();
            self.reader.consume(length);
            passed += length as u64;
        }
    }
}

impl Lines<Source<File>> {
    /// Whether offsets are those of the decompressed bytes.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        matches!(self.reader.get_ref(), Source::Zstd(_))
    }

    /// Opens a log, plain or compressed, at `start_offset` of its (decompressed) bytes.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open(path: &Path, start_offset: u64, first_line_number: u64) -> io::Result<Self> {
        let mut source = Source::new(File::open(path)?)?;
        match &mut source {
            Source::Plain(_) if start_offset > 0 => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(start_offset))?;
                source = Source::Plain(BufReader::new(Cursor::new(Vec::new()).chain(file)));
            }
            Source::Plain(_) => {}
            // A frame has no index: what lies before must be decompressed.
            Source::Zstd(_) => {
                io::copy(&mut source.by_ref().take(start_offset), &mut io::sink())?;
            }
        }
        Ok(Self::new(source, start_offset, first_line_number))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn all<R: Read>(mut lines: Lines<R>) -> Vec<(u64, u64, u64, Vec<u8>, bool, bool)> {
        let mut found = Vec::new();
        while let Some(line) = lines.next().expect("readable") {
            found.push((line.number, line.start, line.end, line.bytes.to_vec(), line.terminated, line.too_long));
        }
        found
    }

    #[test]
    fn lines_carry_their_number_and_offsets_and_the_last_may_lack_its_newline() {
        let found = all(Lines::new(&b"{}\n\nab"[..], 0, 1));
        assert_eq!(
            found,
            vec![
                (1, 0, 3, b"{}".to_vec(), true, false),
                (2, 3, 4, b"".to_vec(), true, false),
                (3, 4, 6, b"ab".to_vec(), false, false),
            ]
        );
    }

    #[test]
    fn a_line_beyond_the_limit_is_passed_over_and_the_next_is_whole() {
        let found = all(Lines::new(&b"abcd\nabcde\nabcdefghijk\nx\nabcdefg"[..], 0, 1).with_longest(4));
        let brief: Vec<_> = found.iter().map(|l| (l.0, l.1, l.2, l.3.as_slice(), l.4, l.5)).collect();
        assert_eq!(
            brief,
            vec![
                (1, 0, 5, &b"abcd"[..], true, false),
                (2, 5, 11, &b""[..], true, true),
                (3, 11, 23, &b""[..], true, true),
                (4, 23, 25, &b"x"[..], true, false),
                (5, 25, 32, &b""[..], false, true),
            ]
        );
    }

    #[test]
    fn a_compressed_log_reads_like_the_plain_one_and_both_go_on_at_an_offset() {
        let text = b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n";
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("log.jsonl");
        let packed = folder.path().join("log.jsonl.zst");
        std::fs::write(&plain, text).expect("written");
        // Two frames: an appended log is packed piece by piece.
        let mut frames = zstd::encode_all(&text[..8], 0).expect("packed");
        frames.write_all(&zstd::encode_all(&text[8..], 0).expect("packed")).expect("joined");
        std::fs::write(&packed, frames).expect("written");
        for start in [(0, 1), (8, 2), (24, 4)] {
            let expected = all(Lines::new(&text[start.0 as usize..], start.0, start.1));
            assert_eq!(all(Lines::open(&plain, start.0, start.1).expect("opens")), expected);
            assert_eq!(all(Lines::open(&packed, start.0, start.1).expect("opens")), expected);
        }
    }

    #[test]
    fn a_compressed_log_that_was_cut_short_gives_an_error_not_an_end() {
        let text: String = (0..20_000).map(|i| format!("{{\"n\":{}}}\n", i * 7919 % 10_007)).collect();
        let packed = zstd::encode_all(text.as_bytes(), 0).expect("packed");
        let mut lines = Lines::new(Source::new(&packed[..packed.len() / 2]).expect("opens"), 0, 1);
        let failed = loop {
            match lines.next() {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(failed, "half a frame must not look like a whole log");
    }

    proptest! {
        #[test]
        fn lines_joined_again_are_the_file(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400)) {
            let mut joined = Vec::new();
            let mut expected_start = 0;
            for (_, start, end, line, terminated, _) in all(Lines::new(&bytes[..], 0, 1)) {
                prop_assert_eq!(start, expected_start);
                expected_start = end;
                joined.extend_from_slice(&line);
                if terminated {
                    joined.push(b'\n');
                }
                prop_assert_eq!(joined.len() as u64, end);
            }
            prop_assert_eq!(joined, bytes);
        }
    }
}
