//! The pictures of an export, found by the ids that its conversations name them by.
//!
//! What an export says is compared with the names of the files that are there; no path is made of it. Read when they are wanted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use walkdir::WalkDir;
use zip::ZipArchive;

use super::unzipped;
use crate::ingest::collection::is_zip;
use crate::ingest::record::Image;

/// A larger file is no picture that somebody would look at.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Folders below an export's that its files lie in (`dalle-generations/`, `user-<id>/`).
const DEPTH: usize = 3;

/// Files beside an export that are looked at, at the most.
const MOST: usize = 200_000;

/// Where the files of an export are.
pub struct Assets {
    export: PathBuf,
    /// Made with the first question.
    found: Mutex<Option<Files>>,
}

struct Files {
    archive: Option<ZipArchive<File>>,
    /// The files by the beginnings of their names, in order.
    places: HashMap<String, Place>,
}

#[derive(Clone)]
enum Place {
    Member(usize),
    File(PathBuf),
}

impl Assets {
    /// The files of an archive, or those beside a list.
    #[must_use]
    pub fn beside(export: &Path) -> Self {
        Self { export: export.to_owned(), found: Mutex::new(None) }
    }

    /// None at all, for what needs no pictures.
    #[must_use]
    pub fn none() -> Self {
        Self { export: PathBuf::new(), found: Mutex::new(Some(Files::none())) }
    }

    /// Whether it is [`Assets::none`].
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.export.as_os_str().is_empty()
    }

    /// The picture with an id; `None` where there is no such file, or it is no picture.
    #[must_use]
    pub fn image(&self, id: &str) -> Option<Image> {
        // A panic while the lock was held has ended the reader.
        let mut found = self.found.lock().ok()?;
        let files = found.get_or_insert_with(|| Files::of(&self.export).unwrap_or_else(|_| Files::none()));
        let bytes = files.read(files.places.get(id)?.clone()).ok()?;
        let mime = mime_of(&bytes)?;
        Some(Image { mime: mime.to_owned(), bytes })
    }
}

impl Files {
    fn none() -> Self {
        Self { archive: None, places: HashMap::new() }
    }

    fn of(export: &Path) -> io::Result<Self> {
        let mut files = Self::none();
        if is_zip(export) {
            let archive = ZipArchive::new(File::open(export)?).map_err(unzipped)?;
            let names: Vec<String> = archive.file_names().flatten().map(std::borrow::Cow::into_owned).collect();
            for name in names {
                if let Some(place) = archive.index_for_name(&name) {
                    files.add(name.rsplit('/').next().unwrap_or_default(), &Place::Member(place));
                }
            }
            files.archive = Some(archive);
        } else {
            let folder = export.parent().unwrap_or(Path::new("."));
            for entry in WalkDir::new(folder).max_depth(DEPTH).sort_by_file_name().into_iter().flatten().take(MOST) {
                if entry.file_type().is_file() {
                    files.add(&entry.file_name().to_string_lossy(), &Place::File(entry.path().to_owned()));
                }
            }
        }
        Ok(files)
    }

    /// `file-AbC-photo.png`, `file_0123.dat`: the id ends at a dot or a dash. An id may have a dash itself.
    fn add(&mut self, name: &str, place: &Place) {
        if !name.starts_with("file-") && !name.starts_with("file_") {
            return;
        }
        let ends = name.char_indices().skip(5).filter(|(_, c)| matches!(c, '-' | '.')).map(|(at, _)| at);
        for end in ends.chain([name.len()]) {
            self.places.entry(name[..end].to_owned()).or_insert_with(|| place.clone());
        }
    }

    fn read(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match (place, &mut self.archive) {
            (Place::Member(member), Some(archive)) => {
                archive.by_index(member).map_err(unzipped)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
            }
            (Place::File(path), _) => {
                File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
            }
            (Place::Member(_), None) => {}
        }
        if bytes.len() as u64 > LARGEST { Err(io::Error::other("too large")) } else { Ok(bytes) }
    }
}

/// The kind of picture by its first bytes: names of exports often say nothing (`.dat`), or something else.
#[must_use]
pub fn mime_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
