//! `search/`: a name looked up there is a query, and its directory lists what is found.
//!
//! Searches that are kept are the database's. Those that were asked for are remembered here, the last ones; what was found is
//! kept until anything changes, and the kernel is told to forget it then. A search runs when its directory is listed, not when
//! its name is looked up, so that whoever looks for names costs nothing.

mod caller;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::{Attr, CogFs, FsError, Lookup, RenameMode, Result, lock};
use crate::model::Millis;
use crate::search::{self, SearchError};
use crate::store::search::SearchReader;
use crate::store::{Layout, StoreError, searches};
use crate::tree::{self, HitLink, Node, Stale};

/// Turns that a directory lists.
const LISTED: usize = 200;

/// Searches that are remembered and not kept.
const REMEMBERED: usize = 64;

/// Connections to the index that wait for the next search.
const READERS: usize = 4;

/// What programs look for in any directory. A name with a dot in front is no search anyway.
const PROBED: [&str; 7] =
    ["autorun.inf", "desktop.ini", "thumbs.db", "lost+found", "folder.jpg", "cover.jpg", "@eadir"];

/// What was found, as it is listed.
type Links = Arc<Vec<HitLink>>;

/// The searches of a mount.
#[derive(Default)]
pub(super) struct Searches {
    state: Mutex<State>,
    readers: Mutex<Vec<Reader>>,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct State {
    /// Rows of searches that are not kept, with what they are of and when they were used.
    passing: HashMap<i64, (String, u64)>,
    uses: u64,
    /// The last row given to one.
    last: i64,
    /// What the kernel was told of.
    found: HashMap<i64, Links>,
    refused: Option<String>,
}

/// A connection, and the number of the file it is to: the index may be removed and made again.
struct Reader {
    index: SearchReader,
    file: u64,
}

/// What the notifier knows of the index.
#[derive(Default)]
struct Watch {
    reader: Option<Reader>,
    version: i64,
}

fn file_of(layout: &Layout) -> u64 {
    std::fs::metadata(layout.search_index()).map_or(0, |file| file.ino())
}

impl Reader {
    fn open(layout: &Layout, turns: &Connection) -> std::result::Result<Option<Self>, StoreError> {
        let file = file_of(layout);
        Ok(SearchReader::open(layout, turns)?.map(|index| Self { index, file }))
    }
}

impl State {
    fn row_of(&mut self, query: &str) -> i64 {
        self.uses += 1;
        let uses = self.uses;
        if let Some((row, (_, used))) = self.passing.iter_mut().find(|(_, (known, _))| known == query) {
            *used = uses;
            return *row;
        }
        if self.passing.len() >= REMEMBERED
            && let Some(oldest) = self.passing.iter().min_by_key(|(_, (_, used))| *used).map(|(row, _)| *row)
        {
            self.passing.remove(&oldest);
        }
        self.last += 1;
        let row = Node::FIRST_PASSING_SEARCH + self.last;
        self.passing.insert(row, (query.to_owned(), uses));
        row
    }
}

impl CogFs {
    /// Finds a name in `search/` that is not kept: any query. Who is about to make a directory is told that there is none, for
    /// the kernel asks that first, and makes none where there is one.
    pub(super) fn look_up_search(&self, name: &str, thread: u32) -> Result<Lookup> {
        if name.starts_with('.') {
            return Ok(Lookup::Absent { for_good: true });
        }
        if PROBED.contains(&name.to_ascii_lowercase().as_str()) || caller::is_making_a_directory(thread) {
            return Ok(Lookup::Absent { for_good: false });
        }
        if let Err(error) = search::parse(name, Millis::now()) {
            return Err(self.refuse_search("lookup", name, &error));
        }
        let row = lock(&self.searches.state).row_of(name);
        self.search_attr(row).map(Lookup::Found)
    }

    /// Says once why a query cannot be read: programs ask several times.
    fn refuse_search(&self, operation: &'static str, name: &str, error: &search::QueryError) -> FsError {
        let is_said = lock(&self.searches.state).refused.replace(name.to_owned()).as_deref() == Some(name);
        if !is_said {
            let what_to_do = "correct the search; `cogfs search --help` tells what it can say";
            self.log_refusal(operation, format!("search/{name}"), "EINVAL", error.to_string(), what_to_do, None);
        }
        FsError::Invalid
    }

    /// The attributes of a search that is not kept.
    pub(super) fn search_attr(&self, row: i64) -> Result<Attr> {
        if !lock(&self.searches.state).passing.contains_key(&row) {
            return Err(FsError::NotFound);
        }
        let facts = self.query(|conn| tree::facts(conn, &self.view(), Node::SearchDir))?.ok_or(FsError::NotFound)?;
        Ok(self.attr(Node::Search(row), &facts))
    }

    /// What a search finds.
    pub(super) fn found(&self, row: i64) -> Result<Links> {
        if let Some(links) = lock(&self.searches.state).found.get(&row) {
            return Ok(Arc::clone(links));
        }
        let text = lock(&self.searches.state).passing.get(&row).map(|(query, _)| query.clone());
        let text = match text {
            Some(text) => text,
            None => self.query(|conn| searches::get(conn, row))?.ok_or(FsError::NotFound)?.query,
        };
        let now = Millis::now();
        let query = search::parse(&text, now).map_err(|error| self.refuse_search("readdir", &text, &error))?;
        let reader = self.search_reader()?;
        let links = self.query(|conn| {
            let found = search::run(conn, reader.as_ref().map(|r| &r.index), &query, LISTED, now);
            match found {
                Ok(found) => tree::hit_links(conn, &found.hits),
                Err(SearchError::Store(error)) => Err(error),
                // It was parsed above.
                Err(SearchError::Query(_)) => Ok(Vec::new()),
            }
        })?;
        if let Some(reader) = reader {
            let mut readers = lock(&self.searches.readers);
            if readers.len() < READERS {
                readers.push(reader);
            }
        }
        let links = Arc::new(links);
        lock(&self.searches.state).found.insert(row, Arc::clone(&links));
        Ok(links)
    }

    /// A connection to the index; `None` while there is none. From here on the index is watched.
    fn search_reader(&self) -> Result<Option<Reader>> {
        let mut watch = lock(&self.searches.watch);
        if watch.reader.is_none() {
            watch.reader = self.query(|conn| Reader::open(&self.layout, conn))?;
            watch.version = watch.reader.as_ref().map_or(Ok(0), |reader| reader.index.version())?;
        }
        drop(watch);
        let file = file_of(&self.layout);
        let mut readers = lock(&self.searches.readers);
        readers.retain(|reader| reader.file == file);
        match readers.pop() {
            Some(reader) => Ok(Some(reader)),
            None => self.query(|conn| Reader::open(&self.layout, conn)),
        }
    }

    /// Whether the index changed since it was last asked, while somebody knows what was found in it. For the notifier.
    pub(super) fn index_is_news(&self) -> bool {
        if lock(&self.searches.state).found.is_empty() {
            return false;
        }
        let mut watch = lock(&self.searches.watch);
        let file = file_of(&self.layout);
        let Some(reader) = watch.reader.as_ref().filter(|reader| reader.file == file) else {
            // It may be there by now, or another.
            watch.reader = None;
            return file != 0;
        };
        match reader.index.version() {
            Ok(version) if version == watch.version => false,
            Ok(version) => {
                watch.version = version;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the search index cannot be read");
                watch.reader = None;
                true
            }
        }
    }

    /// Forgets what was found: what the kernel knows of it is stale. For the notifier, behind the state it is of.
    pub(super) fn forget_found(&self, out: &mut Vec<Stale>) {
        let found = std::mem::take(&mut lock(&self.searches.state).found);
        for (row, links) in found {
            let dir = Node::Search(row).ino();
            out.push(Stale::Node(dir));
            for link in links.iter() {
                out.push(Stale::Name { parent: dir, name: link.name.clone() });
                out.push(Stale::Node(Node::Hit(link.turn_row).ino()));
            }
        }
    }

    /// Keeps a search: `mkdir`.
    pub(super) fn keep_search(&self, parent: u64, name: &OsStr) -> Result<Attr> {
        let query = name.to_str().ok_or(FsError::Invalid)?;
        if query.starts_with('.') {
            let reason = "a search does not begin with a dot".to_owned();
            return Err(self.refuse("mkdir", self.path(parent, name), FsError::NotPermitted { reason }, None));
        }
        if let Err(error) = search::parse(query, Millis::now()) {
            return Err(self.refuse_search("mkdir", query, &error));
        }
        if !self.edit(|tx| Ok(searches::keep(tx, query, Millis::now())?))? {
            return Err(FsError::Exists);
        }
        self.forget_passing(query);
        let kept = self.query(|conn| searches::by_query(conn, query))?.ok_or(FsError::NotFound)?;
        self.getattr(Node::Search(kept.row).ino())
    }

    /// Keeps a search no longer: `rmdir`, whatever it finds.
    pub(super) fn drop_search(&self, name: &OsStr) -> Result<()> {
        let query = name.to_str().ok_or(FsError::NotFound)?;
        let kept = self.query(|conn| searches::by_query(conn, query))?;
        let passing = self.forget_passing(query);
        if kept.is_some() {
            self.edit(|tx| Ok(searches::drop(tx, query)?))?;
        }
        let rows: Vec<i64> = kept.map(|kept| kept.row).into_iter().chain(passing).collect();
        if rows.is_empty() {
            return Err(FsError::NotFound);
        }
        // `rm -r` removed its links first. Other searches have the same ones.
        let gone = |parent: u64| rows.iter().any(|row| Node::Search(*row).ino() == parent);
        lock(&self.writing()?.overlay).removed.retain(|_, removed| !gone(removed.parent));
        Ok(())
    }

    /// Keeps another search in place of one that is kept, or was asked for: `mv`.
    pub(super) fn rename_search(&self, parent: u64, name: &OsStr, new_name: &OsStr, mode: RenameMode) -> Result<()> {
        let is_kept = |name: &str| self.query(|conn| searches::by_query(conn, name)).map(|kept| kept.is_some());
        let query = name.to_str().ok_or(FsError::NotFound)?;
        if name == new_name {
            return Ok(());
        }
        match mode {
            RenameMode::Exchange => return Err(FsError::Invalid),
            RenameMode::NoReplace if new_name.to_str().is_some_and(|new| is_kept(new).unwrap_or(false)) => {
                return Err(FsError::Exists);
            }
            RenameMode::NoReplace | RenameMode::Replace => {}
        }
        match self.keep_search(parent, new_name) {
            Ok(_) | Err(FsError::Exists) => {}
            Err(error) => return Err(error),
        }
        if is_kept(query)? {
            self.edit(|tx| Ok(searches::drop(tx, query)?))?;
        }
        self.forget_passing(query);
        Ok(())
    }

    fn forget_passing(&self, query: &str) -> Option<i64> {
        let mut state = lock(&self.searches.state);
        let row = state.passing.iter().find(|(_, (known, _))| known == query).map(|(row, _)| *row)?;
        state.passing.remove(&row);
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_searches_that_were_used_last_are_remembered() {
        let mut state = State::default();
        let first = state.row_of("first");
        let second = state.row_of("second");
        for n in 0..REMEMBERED - 2 {
            state.row_of(&n.to_string());
        }
        assert_eq!(state.row_of("first"), first);
        state.row_of("one more");
        assert_eq!(state.passing.len(), REMEMBERED);
        assert_eq!(state.row_of("first"), first);
        assert!(!state.passing.contains_key(&second), "the one that was not used for the longest time is forgotten");
        assert!(state.row_of("second") > second, "a number is not given again");
    }
}
