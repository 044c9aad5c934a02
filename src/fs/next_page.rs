//! The names that a listing of many links goes on with, read while its reader takes in those it was given: the two work side by side
//! instead of waiting for each other. Keeps one page, of one state of the database; knows nothing of requests.

use std::sync::{Mutex, MutexGuard};

use super::{DirEntry, lock};

/// Names of a directory from a place on.
pub struct Page {
    pub dir: u64,
    /// The place that they are behind.
    pub behind: u64,
    /// The state of the database that they are of.
    pub epoch: u64,
    pub entries: Vec<DirEntry>,
}

/// The page that was read last. Who asks while it is being read waits for it.
#[derive(Default)]
pub struct NextPage(Mutex<Option<Page>>);

impl NextPage {
    /// Keeps others waiting until the page is there.
    pub fn begin(&self) -> MutexGuard<'_, Option<Page>> {
        lock(&self.0)
    }

    /// The names of a directory behind a place, where they were read ahead, and nothing was published since.
    pub fn take(&self, dir: u64, behind: u64, epoch: u64) -> Option<Vec<DirEntry>> {
        let mut page = self.begin();
        let fits = |page: &&mut Page| (page.dir, page.behind, page.epoch) == (dir, behind, epoch);
        page.as_mut().filter(fits)?;
        page.take().map(|page| page.entries)
    }
}
