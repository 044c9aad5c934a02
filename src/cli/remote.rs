//! What a mount and `cogfs fetch` have of the cloud: the one that the settings name, at the moment they ask.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::sync;
use crate::cloud::http::transport::Server;
use crate::cloud::http::{Deadlines, HttpCloud};
use crate::cloud::{Cloud, open};
use crate::config::Folders;
use crate::config::settings::{Setting, Settings};
use crate::fs::CogFs;
use crate::sync::cache::{Images, Limits};
use crate::sync::engine::Way;
use crate::sync::fetch::{FromCloud, Source};

/// The cloud and the limits that the settings name.
pub struct FromSettings {
    folders: Folders,
    /// Its connections are kept while the settings name the same server.
    known: Mutex<Option<(Server, HttpCloud)>>,
}

impl FromSettings {
    pub fn new(folders: &Folders) -> Self {
        Self { folders: folders.clone(), known: Mutex::default() }
    }
}

impl Source for FromSettings {
    fn cloud(&self, within: Duration) -> Result<Arc<dyn Cloud>, String> {
        let server = open::server(&self.folders).map_err(|error| error.to_string())?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let cloud = match known.take_if(|(former, _)| *former == server) {
            Some((_, cloud)) => cloud,
            None => open::cloud_at(&self.folders, server.clone()),
        };
        *known = Some((server, cloud.clone()));
        Ok(Arc::new(cloud.within(Deadlines { fetch: within, object: within, ..Deadlines::default() })))
    }

    fn limits(&self) -> Limits {
        // Settings that cannot be read are told where they are used for more.
        Settings::load(&self.folders).map_or_else(|_| Limits::default(), |settings| limits(&settings))
    }
}

fn limits(settings: &Settings) -> Limits {
    let usual = Limits::default();
    Limits {
        max_bytes: settings.cache_max_bytes().unwrap_or(usual.max_bytes),
        ttl: settings.cache_ttl().unwrap_or(usual.ttl),
        images: match settings.get(Setting::FetchImages) {
            Some(("never", _)) => Images::Never,
            Some(("always", _)) => Images::Always,
            _ => Images::OnOpen,
        },
    }
}

/// Room is made so long after a mount answers, and then as often: copies grow old while nobody fetches anything.
const TIDY_AFTER: Duration = Duration::from_secs(1);
const TIDY_AGAIN: Duration = Duration::from_secs(3600);

/// Does something after a while, and again and again, until it says that it is over.
fn regularly(after: Duration, again: Duration, mut work: impl FnMut() -> bool + Send + 'static) {
    let run = move || {
        thread::sleep(after);
        while work() {
            thread::sleep(again);
        }
    };
    if let Err(error) = thread::Builder::new().name("cogfs-tidy".to_owned()).spawn(run) {
        tracing::warn!(%error, "room for what is fetched is made behind fetches alone");
    }
}

/// Lets a mount fetch what it does not have, and sync when it is told to. Nothing is asked until somebody reads.
pub fn connect(fs: &Arc<CogFs>, folders: &Folders) {
    if let Some(limit) = Settings::load(folders).ok().and_then(|settings| settings.fetch_timeout()) {
        fs.wait_at_most(limit);
    }
    fs.fetch_with(Arc::new(FromCloud::new(folders.layout(), Box::new(FromSettings::new(folders)))));
    let tidied = Arc::downgrade(fs);
    regularly(TIDY_AFTER, TIDY_AGAIN, move || tidied.upgrade().map(|fs| fs.tidy_fetched()).is_some());
    let (folders, running, to_tell) = (folders.clone(), Arc::new(AtomicBool::new(false)), Arc::downgrade(fs));
    fs.sync_with(Box::new(move || {
        open::server(&folders).map_err(|error| error.to_string())?;
        if running.swap(true, Ordering::SeqCst) {
            // The one that runs does what this one would.
            return Ok(());
        }
        let (folders, running, to_tell) = (folders.clone(), Arc::clone(&running), to_tell.clone());
        let run = {
            let running = Arc::clone(&running);
            move || {
                let done = sync::silently(&folders, Way::Both);
                running.store(false, Ordering::SeqCst);
                if let (Err(error), Some(fs)) = (done, to_tell.upgrade()) {
                    fs.tell_of_sync(error.to_string());
                }
            }
        };
        thread::Builder::new().name("cogfs-sync".to_owned()).spawn(run).map(drop).map_err(|error| {
            running.store(false, Ordering::SeqCst);
            error.to_string()
        })
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_done_regularly_is_done_until_it_is_over() {
        let (send, receive) = channel();
        let mut times = 0;
        regularly(Duration::ZERO, Duration::from_millis(1), move || {
            times += 1;
            let _ = send.send(times);
            times < 3
        });
        assert_eq!(receive.iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
