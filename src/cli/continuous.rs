//! What the engine that syncs continuously has around it: the settings, the login, the cloud that they name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mount::BoxError;
use super::{forget, sync};
use crate::cloud::auth::session::Session;
use crate::cloud::open;
use crate::cloud::realtime::Doorbell;
use crate::config::Folders;
use crate::config::settings::{Setting, Settings};
use crate::store::{Writer, conflicts};
use crate::sync::continuous::{Account, Bell, Connection, Continuous, Listen, Options, Surroundings, Told};
use crate::sync::engine::Summary;
use crate::sync::ignored;
use crate::sync::secrets::Secrets;

/// Between two cycles when nothing happens.
const INTERVAL: Duration = Duration::from_secs(10);

/// Begins to sync; what it comes to is told.
///
/// # Errors
/// When there can be no further thread.
pub fn start(folders: &Folders, begin_after: Duration, told: Told) -> io::Result<Continuous> {
    let options = Options {
        layout: folders.layout(),
        socket: folders.engine_socket(),
        ignored: Some(folders.ignored()),
        begin_after,
    };
    Continuous::start(options, Box::new(FromFolders::new(folders)), told)
}

/// How often the `.cogfsignore` files are read where nothing changed.
const IGNORED_LOOKS: Duration = Duration::from_secs(10 * 60);

/// What a file is known by without reading it: its number, its length and when it was changed.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).ok().map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// The settings and the login of a home. Files are read again only when they changed.
struct FromFolders {
    folders: Folders,
    known: Option<((Stamp, Stamp), Account)>,
    /// When the `.cogfsignore` files were read, and what SQLite counted other connections' changes by then.
    ignored: Option<(Instant, i64)>,
    /// The last conflict before the cycle.
    conflicts: i64,
}

impl FromFolders {
    fn new(folders: &Folders) -> Self {
        Self { folders: folders.clone(), known: None, ignored: None, conflicts: 0 }
    }

    fn read(&self) -> Account {
        let settings = match Settings::load(&self.folders) {
            Ok(settings) => settings,
            Err(error) => return Account::Off(error.to_string()),
        };
        if !settings.is_on(Setting::SyncContinuous) {
            return Account::Off("sync.continuous is false".to_owned());
        }
        let Some((url, _)) = settings.get(Setting::SyncUrl) else { return Account::Off("no server is set".to_owned()) };
        match open::sessions(&self.folders).load() {
            Ok(Some(session)) if session.url != url => {
                Account::Off(format!("not logged in at {url}: run `cogfs login`"))
            }
            Ok(Some(Session { ended: Some(_), .. })) => Account::LoginNeeded,
            Ok(Some(session)) => {
                let about = |setting| settings.get(setting).map_or("", |(value, _)| value);
                let settings = [Setting::SyncUrl, Setting::SyncKey, Setting::SyncInterval].map(about).join(" ");
                let login = format!("{} {}", session.user, session.received_at.0);
                Account::Ready { connection: format!("{} {settings}", session.user), login }
            }
            Ok(None) => Account::Off("not logged in".to_owned()),
            Err(error) => Account::Off(format!("the login cannot be read: {error}")),
        }
    }
}

impl Bell for Doorbell {
    fn retry_now(&self) {
        Self::retry_now(self);
    }
}

impl Surroundings for FromFolders {
    fn account(&mut self) -> Account {
        let stamps = (stamp(&self.folders.settings()), stamp(&self.folders.session()));
        match &self.known {
            Some((known, account)) if *known == stamps => account.clone(),
            _ => {
                let account = self.read();
                self.known = Some((stamps, account.clone()));
                account
            }
        }
    }

    fn connect(&mut self) -> Result<Connection, String> {
        let settings = Settings::load(&self.folders).map_err(|error| error.to_string())?;
        let cloud = open::cloud(&self.folders).map_err(|error| error.to_string())?.of_one_user();
        let interval = settings.sync_interval().unwrap_or(INTERVAL);
        // The doorbell refreshes the login as the rest does, with connections of its own.
        let for_bell = Arc::new(cloud.clone());
        let listen: Listen = Box::new(move |ring| Ok(Box::new(Doorbell::start(for_bell, ring)?) as Box<dyn Bell>));
        Ok(Connection { cloud: Arc::new(cloud), listen: Some(listen), interval })
    }

    fn prepare(&mut self, writer: &mut Writer) -> Result<(Secrets, Vec<String>), String> {
        let failed = |error: BoxError| error.to_string();
        let version =
            writer.conn().pragma_query_value(None, "data_version", |r| r.get(0)).map_err(|e| failed(e.into()))?;
        // All sessions are compared with all lines: not where nothing can have come that is to be sent.
        let is_read = self.ignored.is_some_and(|(at, known)| known == version && at.elapsed() < IGNORED_LOOKS);
        let complaints = if is_read {
            Vec::new()
        } else {
            ignored::refresh(writer, &self.folders.ignored()).map_err(|e| failed(e.into()))?
        };
        if !is_read {
            self.ignored = Some((Instant::now(), version));
        }
        self.conflicts = conflicts::last(writer.conn()).map_err(|e| failed(e.into()))?;
        Ok((sync::ready(&self.folders, writer).map_err(failed)?, complaints))
    }

    fn finish(&mut self, writer: &mut Writer, summary: &Summary) -> Result<(), String> {
        let failed = |error: BoxError| error.to_string();
        if summary.conflicts > 0 {
            sync::log_conflicts(&self.folders, writer.conn(), self.conflicts).map_err(failed)?;
        }
        if summary.forgotten > 0 {
            forget::erase_rest(writer).map_err(failed)?;
            forget::forget_beside(&self.folders, writer.conn()).map_err(failed)?;
        }
        Ok(())
    }

    fn shares_counts(&mut self) -> Option<bool> {
        Settings::load(&self.folders).ok().map(|settings| settings.shares_counts())
    }
}
