//! A JSON list element by element, however long the list is. Knows brackets and strings and no more of JSON: a damaged element
//! costs itself. Reads nothing but what it is given.

use std::io::{self, BufRead};

/// A longer element is passed over.
pub const LONGEST: usize = 128 * 1024 * 1024;

/// What stands at a place of the list.
#[derive(Debug, PartialEq, Eq)]
pub enum Element {
    /// Its bytes, and where they begin.
    Bytes(Vec<u8>, u64),
    /// One that is longer than [`LONGEST`], and where it begins.
    TooLong(u64),
    /// The file ends within one that begins here, or before the list does.
    CutOff(u64),
}

/// Reads a list; what is no list is one element.
pub struct Elements<R> {
    reader: R,
    offset: u64,
    at: At,
    longest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// Between elements. `list`: of a list, whose end is told by a bracket.
    Between {
        list: bool,
    },
    End,
}

/// Where in an element the reader is.
#[derive(Default)]
struct Inside {
    depth: usize,
    string: bool,
    escaped: bool,
}

impl<R: BufRead> Elements<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, offset: 0, at: At::Start, longest: LONGEST }
    }

    #[cfg(test)]
    fn with_longest(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// The next element; `None` behind the last.
    ///
    /// # Errors
    /// When the file cannot be read.
    #[allow(clippy::should_implement_trait, reason = "it may fail, like that of lines")]
    pub fn next(&mut self) -> io::Result<Option<Element>> {
        loop {
            let list = match self.at {
                At::End => return Ok(None),
                At::Start => false,
                At::Between { list } => list,
            };
            let Some(byte) = self.peek()? else {
                let cut = list.then_some(Element::CutOff(self.offset));
                self.at = At::End;
                return Ok(cut);
            };
            match (self.at, byte) {
                // White space, and the mark that some editors put in front of a file.
                (_, b' ' | b'\n' | b'\r' | b'\t') | (At::Start, 0xef | 0xbb | 0xbf) => self.skip(),
                (At::Start, b'[') => {
                    self.skip();
                    self.at = At::Between { list: true };
                }
                (At::Between { list: true }, b',') => self.skip(),
                (At::Between { list: true }, b']') => self.at = At::End,
                // A bracket or comma that ends nothing.
                (_, b'}' | b']' | b',') => {
                    self.skip();
                    self.at = At::Between { list };
                }
                _ => {
                    self.at = At::Between { list };
                    return self.element().map(Some);
                }
            }
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn skip(&mut self) {
        self.reader.consume(1);
        self.offset += 1;
    }

    fn element(&mut self) -> io::Result<Element> {
        let begins = self.offset;
        let (mut bytes, mut too_long, mut inside) = (Vec::new(), false, Inside::default());
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                self.at = At::End;
                return Ok(Element::CutOff(begins));
            }
            let end = inside.end_in(chunk);
            let used = end.unwrap_or(chunk.len());
            too_long |= bytes.len() + used > self.longest;
            if too_long {
                bytes = Vec::new();
            } else {
                bytes.extend_from_slice(&chunk[..used]);
            }
            self.reader.consume(used);
            self.offset += used as u64;
            if end.is_some() {
                return Ok(if too_long { Element::TooLong(begins) } else { Element::Bytes(bytes, begins) });
            }
        }
    }
}

impl Inside {
    /// How many bytes of a piece are of the element, if it ends there.
    fn end_in(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            if self.string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                // The bracket of the list, behind a number or a word.
                b'}' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' if self.depth == 0 => return Some(at),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, buffer: usize) -> Vec<Element> {
        let mut elements = Elements::new(BufReader::with_capacity(buffer, text.as_bytes())).with_longest(100);
        std::iter::from_fn(|| elements.next().unwrap()).collect()
    }

    fn texts(found: &[Element]) -> Vec<String> {
        found
            .iter()
            .map(|element| match element {
                Element::Bytes(bytes, _) => String::from_utf8(bytes.clone()).unwrap(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn each_element_is_given_as_its_bytes_stand_there() {
        let list = "\u{feff} [ {\"a\": \"]}\\\"\"} ,[1, 2],\n3 ,\"x,y\", null]  rest";
        for buffer in [1, 2, 7, 1000] {
            assert_eq!(
                texts(&read(list, buffer)),
                ["{\"a\": \"]}\\\"\"}", "[1, 2]", "3 ", "\"x,y\"", "null"],
                "{buffer}"
            );
        }
    }

    #[test]
    fn what_is_no_list_is_one_element() {
        assert_eq!(texts(&read("{\"a\": [1]}\n", 3)), ["{\"a\": [1]}"]);
        assert_eq!(read("", 3), []);
        assert_eq!(read("[]", 3), []);
    }

    #[test]
    fn a_list_that_is_cut_off_says_where() {
        assert_eq!(read("[{},{\"a\": 1", 4).last(), Some(&Element::CutOff(4)));
        assert_eq!(read("[{},", 4).last(), Some(&Element::CutOff(4)));
        assert_eq!(read("[{}", 4).len(), 2);
    }

    #[test]
    fn an_element_that_is_too_long_costs_itself() {
        let list = format!("[1,{{\"a\":\"{}\"}},2]", "x".repeat(200));
        assert_eq!(texts(&read(&list, 16)), ["1", "TooLong(3)", "2"]);
    }

    #[test]
    fn a_damaged_element_costs_itself() {
        assert_eq!(texts(&read("[{\"a\": nope},{\"b\":1}]", 5)), ["{\"a\": nope}", "{\"b\":1}"]);
    }

    proptest! {
        #[test]
        fn any_list_is_read_as_json_reads_it(values in proptest::collection::vec(".{0,20}", 0..6), buffer in 1_usize..40) {
            let list: Vec<serde_json::Value> =
                values.iter().map(|text| serde_json::json!({ "text": text, "list": [text, 1] })).collect();
            let text = serde_json::to_string_pretty(&list).unwrap();
            let mut elements = Elements::new(BufReader::with_capacity(buffer, text.as_bytes()));
            let mut read = Vec::new();
            while let Some(Element::Bytes(bytes, _)) = elements.next().unwrap() {
                read.push(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
            }
            prop_assert_eq!(read, list);
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), buffer in 1_usize..10) {
            let mut elements = Elements::new(BufReader::with_capacity(buffer, bytes.as_slice()));
            let mut found = 0;
            while elements.next().unwrap().is_some() {
                found += 1;
                prop_assert!(found <= bytes.len() + 1);
            }
        }
    }
}
