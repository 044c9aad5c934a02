//! Where things lie: `COGFS_HOME`, if set, is the one folder that holds everything; otherwise the XDG folders do. And what is set.

pub mod file;
pub mod settings;
pub mod units;

use std::env;
use std::path::{Path, PathBuf};

use crate::store::Layout;

/// The folders of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    data: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    config: PathBuf,
    demo: PathBuf,
}

/// Neither `COGFS_HOME` nor `HOME` says where to keep things.
#[derive(Debug, thiserror::Error)]
#[error("neither COGFS_HOME nor HOME is set: set COGFS_HOME to the folder that is to hold your conversations")]
pub struct NoHome;

impl Folders {
    /// The folders as the environment has them.
    ///
    /// # Errors
    /// When the environment names no place.
    pub fn from_env() -> Result<Self, NoHome> {
        let var = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self::resolve(var)
    }

    fn resolve(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, NoHome> {
        if let Some(home) = var("COGFS_HOME") {
            return Ok(Self::below(&home));
        }
        // Relative values are to be ignored (XDG Base Directory Specification 0.8).
        let xdg = |name: &str, default: &str| {
            var(name)
                .filter(|p| p.is_absolute())
                .or_else(|| var("HOME").map(|home| home.join(default)))
                .map(|p| p.join("cogfs"))
                .ok_or(NoHome)
        };
        let data = xdg("XDG_DATA_HOME", ".local/share")?;
        let state = xdg("XDG_STATE_HOME", ".local/state")?;
        let cache = xdg("XDG_CACHE_HOME", ".cache")?;
        let config = xdg("XDG_CONFIG_HOME", ".config")?;
        Ok(Self { demo: data.join("demo"), state, cache, config, data })
    }

    /// The folders below one home.
    #[must_use]
    pub fn below(home: &Path) -> Self {
        let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
        let [data, state, cache, config, demo] =
            ["data", "state", "cache", "config", "demo"].map(|name| home.join(name));
        Self { data, state, cache, config, demo }
    }

    /// Where the database and the blobs lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::new(&self.data)
    }

    /// The home of the demo's own database.
    #[must_use]
    pub fn demo_home(&self) -> PathBuf {
        self.demo.clone()
    }

    /// The background mount's log.
    #[must_use]
    pub fn mount_log(&self) -> PathBuf {
        self.state.join("mount.log")
    }

    /// The log of refused writes, shown as `.cogfs/errors.jsonl`.
    #[must_use]
    pub fn errors_log(&self) -> PathBuf {
        self.state.join("errors.jsonl")
    }

    /// The log of values that lost against another machine's.
    #[must_use]
    pub fn conflicts_log(&self) -> PathBuf {
        self.state.join("conflicts.log")
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Which folders' conversations stay on this machine: patterns as in a `.gitignore`.
    #[must_use]
    pub fn ignored(&self) -> PathBuf {
        self.config.join("cogfsignore")
    }

    /// Who is logged in, with the tokens.
    #[must_use]
    pub fn session(&self) -> PathBuf {
        self.state.join("session.json")
    }

    /// Where commands ask the engine that syncs.
    #[must_use]
    pub fn engine_socket(&self) -> PathBuf {
        self.state.join("engine.sock")
    }

    /// The files that editors make beside those they write.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.cache.join("scratch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(vars: &[(&str, &str)]) -> Result<Folders, NoHome> {
        Folders::resolve(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
    }

    #[test]
    fn one_home_holds_everything() {
        let folders = resolve(&[("COGFS_HOME", "/x"), ("HOME", "/home/u"), ("XDG_DATA_HOME", "/d")]).unwrap();
        assert_eq!(folders.layout().database(), Path::new("/x/data/cogfs.db"));
        assert_eq!(folders.mount_log(), Path::new("/x/state/mount.log"));
        assert_eq!(folders.errors_log(), Path::new("/x/state/errors.jsonl"));
        assert_eq!(folders.scratch(), Path::new("/x/cache/scratch"));
        assert_eq!(folders.settings(), Path::new("/x/config/config.toml"));
        assert_eq!(folders.session(), Path::new("/x/state/session.json"));
    }

    #[test]
    fn xdg_folders_are_used_and_relative_ones_are_not() {
        let folders = resolve(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/d"), ("XDG_STATE_HOME", "rel")]).unwrap();
        assert_eq!(folders.layout().dir(), Path::new("/d/cogfs"));
        assert_eq!(folders.mount_log(), Path::new("/home/u/.local/state/cogfs/mount.log"));
        assert_eq!(folders.errors_log(), Path::new("/home/u/.local/state/cogfs/errors.jsonl"));
        assert_eq!(folders.scratch(), Path::new("/home/u/.cache/cogfs/scratch"));
        assert_eq!(folders.settings(), Path::new("/home/u/.config/cogfs/config.toml"));
        assert!(resolve(&[]).is_err());
    }

    #[test]
    fn the_cache_has_its_own_xdg_folder() {
        let folders = resolve(&[("HOME", "/home/u"), ("XDG_CACHE_HOME", "/c")]).unwrap();
        assert_eq!(folders.scratch(), Path::new("/c/cogfs/scratch"));
        let relative = resolve(&[("HOME", "/home/u"), ("XDG_CACHE_HOME", "c")]).unwrap();
        assert_eq!(relative.scratch(), Path::new("/home/u/.cache/cogfs/scratch"));
    }
}
