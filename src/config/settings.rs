//! What a user sets: `config.toml`, whose comments and order are kept, and the environment, which comes first.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use toml_edit::{DocumentMut, Item, Table};
use url::{Host, Url};

use super::{Folders, file, units};

/// Something that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    SyncUrl,
    SyncKey,
    SyncRedact,
    SyncContinuous,
    SyncInterval,
    FetchImages,
    FetchTimeout,
    CacheMaxBytes,
    CacheTtl,
    AnalyticsShare,
}

impl Setting {
    /// Every setting there is.
    pub const ALL: [Self; 10] = [
        Self::SyncUrl,
        Self::SyncKey,
        Self::SyncRedact,
        Self::SyncContinuous,
        Self::SyncInterval,
        Self::FetchImages,
        Self::FetchTimeout,
        Self::CacheMaxBytes,
        Self::CacheTtl,
        Self::AnalyticsShare,
    ];

    /// The table and the key in `config.toml`, with a dot between them.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyncUrl => "sync.url",
            Self::SyncKey => "sync.key",
            Self::SyncRedact => "sync.redact",
            Self::SyncContinuous => "sync.continuous",
            Self::SyncInterval => "sync.interval",
            Self::FetchImages => "fetch.images",
            Self::FetchTimeout => "fetch.timeout",
            Self::CacheMaxBytes => "cache.max_bytes",
            Self::CacheTtl => "cache.ttl",
            Self::AnalyticsShare => "analytics.share",
        }
    }

    /// The environment variable that comes first.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::SyncUrl => "COGFS_SYNC_URL",
            Self::SyncKey => "COGFS_SYNC_KEY",
            Self::SyncRedact => "COGFS_SYNC_REDACT",
            Self::SyncContinuous => "COGFS_SYNC_CONTINUOUS",
            Self::SyncInterval => "COGFS_SYNC_INTERVAL",
            Self::FetchImages => "COGFS_FETCH_IMAGES",
            Self::FetchTimeout => "COGFS_FETCH_TIMEOUT",
            Self::CacheMaxBytes => "COGFS_CACHE_MAX_BYTES",
            Self::CacheTtl => "COGFS_CACHE_TTL",
            Self::AnalyticsShare => "COGFS_ANALYTICS_SHARE",
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::SyncUrl => "the server that conversations are synced with",
            Self::SyncKey => "the server's anon or publishable key",
            Self::SyncRedact => "whether secrets are taken out of what is sent (true, false; else: true)",
            Self::SyncContinuous => "whether a mount and `cogfs watch` sync by themselves (true, false; else: true)",
            Self::SyncInterval => "how often the server is asked when nothing happens: 10s",
            Self::FetchImages => "when pictures of other machines are fetched: on-open, never or always",
            Self::FetchTimeout => "how long a program that reads waits for another machine's contents: 10s",
            Self::CacheMaxBytes => "what copies of other machines' contents may take: 1GiB",
            Self::CacheTtl => "how long they stay when nobody reads them: 30d, or never to keep them",
            Self::AnalyticsShare => {
                "whether counts of each week are sent to the server, with noise: `cogfs analytics` (true, false; else: false)"
            }
        }
    }

    /// The setting of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(name: &str) -> Result<Self, SettingsError> {
        Self::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| SettingsError::Unknown { name: name.to_owned() })
    }

    /// The value as it is kept, or why it cannot be.
    fn check(self, value: &str) -> Result<String, String> {
        match self {
            Self::SyncUrl => server_url(value.trim()),
            Self::SyncKey => public_key(value.trim()),
            Self::SyncRedact | Self::SyncContinuous | Self::AnalyticsShare => one_of(value.trim(), &["true", "false"]),
            Self::SyncInterval => match units::span(value.trim()) {
                Some(span) if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&span) => Ok(value.trim().to_owned()),
                _ => Err("it has to be a time between 1s and 1d, like 10s".to_owned()),
            },
            Self::FetchImages => one_of(value.trim(), &["on-open", "never", "always"]),
            Self::FetchTimeout => match units::span(value.trim()) {
                Some(span) if (SHORTEST_WAIT..=LONGEST_WAIT).contains(&span) => Ok(value.trim().to_owned()),
                _ => Err("it has to be a time between 100ms and 60s, like 10s".to_owned()),
            },
            Self::CacheMaxBytes => match units::bytes(value.trim()) {
                Some(_) => Ok(value.trim().to_owned()),
                None => Err("it has to be a size like 500MB or 1GiB".to_owned()),
            },
            Self::CacheTtl if value.trim() == NEVER => Ok(NEVER.to_owned()),
            Self::CacheTtl => match units::span(value.trim()) {
                Some(_) => Ok(value.trim().to_owned()),
                None => Err("it has to be a time like 12h or 30d, or never".to_owned()),
            },
        }
    }
}

/// What stays for ever.
const NEVER: &str = "never";

/// Shorter, nothing would ever come; longer, a program would seem to hang, and the kernel with it.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A server is not asked more often.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_hours(24);

fn one_of(value: &str, known: &[&str]) -> Result<String, String> {
    if known.contains(&value) { Ok(value.to_owned()) } else { Err(format!("it has to be one of {}", known.join(", "))) }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    File,
    Environment,
}

/// Why a setting cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("there is no setting `{name}`: there are {known}", known = known())]
    Unknown { name: String },
    #[error("{place} has `{name}`, which is no setting: there are {known}", known = known())]
    UnknownInFile { place: String, name: String },
    #[error("{name} ({place}) cannot be that: {reason}")]
    Bad { name: String, place: String, reason: String },
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is no TOML: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("another process is changing {}: try again", .0.display())]
    Locked(PathBuf),
}

fn known() -> String {
    Setting::ALL.map(Setting::name).join(", ")
}

/// The settings as they are now.
#[derive(Debug)]
pub struct Settings {
    values: Vec<(Setting, String, Origin)>,
}

impl Settings {
    /// Reads the file, if it is there, and the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or a value cannot be what it is.
    pub fn load(folders: &Folders) -> Result<Self, SettingsError> {
        Self::read(&folders.settings(), |name| env::var(name).ok())
    }

    fn read(path: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut values = values_of(&document(path)?, path)?;
        for setting in Setting::ALL {
            let Some(value) = variable(setting.variable()).filter(|v| !v.is_empty()) else { continue };
            let value = checked(setting, &value, setting.variable())?;
            values.retain(|(s, ..)| *s != setting);
            values.push((setting, value, Origin::Environment));
        }
        Ok(Self { values })
    }

    /// The value of a setting, and where it comes from; `None`: it is not set.
    #[must_use]
    pub fn get(&self, setting: Setting) -> Option<(&str, Origin)> {
        self.values.iter().find(|(s, ..)| *s == setting).map(|(_, value, origin)| (value.as_str(), *origin))
    }

    /// Between two cycles when nothing happens; `None`: it is not set.
    #[must_use]
    pub fn sync_interval(&self) -> Option<Duration> {
        self.get(Setting::SyncInterval).and_then(|(value, _)| units::span(value))
    }

    /// Whether something that is on by itself was not turned off.
    #[must_use]
    pub fn is_on(&self, setting: Setting) -> bool {
        self.get(setting).is_none_or(|(value, _)| value == "true")
    }

    /// Whether counts of weeks are shared: only who said so does.
    #[must_use]
    pub fn shares_counts(&self) -> bool {
        self.get(Setting::AnalyticsShare).is_some_and(|(value, _)| value == "true")
    }

    /// How long a reader waits; `None`: it is not set.
    #[must_use]
    pub fn fetch_timeout(&self) -> Option<Duration> {
        self.get(Setting::FetchTimeout).and_then(|(value, _)| units::span(value))
    }

    /// What copies of other machines' contents may take; `None`: it is not set.
    #[must_use]
    pub fn cache_max_bytes(&self) -> Option<u64> {
        self.get(Setting::CacheMaxBytes).and_then(|(value, _)| units::bytes(value))
    }

    /// How long copies stay, `Some(None)`: for ever; `None`: it is not set.
    #[must_use]
    #[allow(clippy::option_option)] // "Not set" and "no limit" are two things.
    pub fn cache_ttl(&self) -> Option<Option<Duration>> {
        self.get(Setting::CacheTtl).map(|(value, _)| units::span(value))
    }
}

/// Sets a setting in the file; the value as it is kept.
///
/// # Errors
/// When it cannot be that, or the file cannot be read or written.
pub fn set(folders: &Folders, setting: Setting, value: &str) -> Result<String, SettingsError> {
    let path = folders.settings();
    let value = setting.check(value).map_err(|reason| SettingsError::Bad {
        name: setting.name().to_owned(),
        place: "not set".to_owned(),
        reason,
    })?;
    let to_write = |source| SettingsError::Write { path: path.clone(), source };
    let lock = file::lock(&path.with_extension("lock"), Duration::from_secs(5)).map_err(to_write)?;
    let Some(_lock) = lock else { return Err(SettingsError::Locked(path)) };
    let mut document = document(&path)?;
    put(&mut document, setting, &value);
    // What is written can be read again, by this version.
    values_of(&document, &path)?;
    file::replace(&path, document.to_string().as_bytes()).map_err(to_write)?;
    Ok(value)
}

fn put(document: &mut DocumentMut, setting: Setting, value: &str) {
    let Some((table, key)) = setting.name().split_once('.') else { return };
    if document.get(table).is_none_or(|item| !item.is_table_like()) {
        document.insert(table, Item::Table(Table::new()));
    }
    let Some(entries) = document.get_mut(table).and_then(Item::as_table_like_mut) else { return };
    let mut new = toml_edit::Value::from(value);
    // A comment behind the value stays.
    if let Some(old) = entries.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
        entries.insert(key, Item::Value(new));
    } else {
        entries.insert(key, toml_edit::value(new));
    }
}

fn document(path: &Path) -> Result<DocumentMut, SettingsError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|source| SettingsError::Read { path: path.to_owned(), source })?,
    };
    text.parse().map_err(|error: toml_edit::TomlError| {
        // Its own text shows the line; the line is the user's, and the place is enough.
        let line = error.span().map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
        let message = format!("line {line}: {}", error.message().replace('\n', ", "));
        SettingsError::Syntax { path: path.to_owned(), message }
    })
}

fn values_of(document: &DocumentMut, path: &Path) -> Result<Vec<(Setting, String, Origin)>, SettingsError> {
    let mut values = Vec::new();
    let place = path.display().to_string();
    let unknown = |name: String| SettingsError::UnknownInFile { place: place.clone(), name };
    for (table, item) in document.iter() {
        let entries = item.as_table_like().ok_or_else(|| unknown(table.to_owned()))?;
        for (key, item) in entries.iter() {
            let name = format!("{table}.{key}");
            let setting = Setting::of(&name).map_err(|_| unknown(name))?;
            // A switch or a number may stand without quotes.
            let plain = item.as_bool().map(|b| b.to_string()).or_else(|| item.as_integer().map(|n| n.to_string()));
            let value = item.as_str().map(str::to_owned).or(plain).ok_or_else(|| SettingsError::Bad {
                name: setting.name().to_owned(),
                place: place.clone(),
                reason: "it has to be a text in quotes".to_owned(),
            })?;
            values.push((setting, checked(setting, &value, &place)?, Origin::File));
        }
    }
    Ok(values)
}

fn checked(setting: Setting, value: &str, place: &str) -> Result<String, SettingsError> {
    let bad = |reason| SettingsError::Bad { name: setting.name().to_owned(), place: place.to_owned(), reason };
    setting.check(value).map_err(bad)
}

/// `https://host`, without a slash at its end.
fn server_url(value: &str) -> Result<String, String> {
    let url = Url::parse(value).map_err(|_| "it has to look like https://PROJECT.supabase.co".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave out the user and the password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("leave out what follows `?` or `#`".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err("over http your conversations would travel in the clear: use https".to_owned()),
        _ => return Err("it has to begin with https://".to_owned()),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether a server is on this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A key that may lie on every machine. One that opens the data of all users is refused.
fn public_key(value: &str) -> Result<String, String> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it has to be one word: copy it from your project's API settings".to_owned());
    }
    if value.starts_with("sb_secret_") || role_of(value).as_deref() == Some("service_role") {
        return Err("this key opens the data of every user: use the anon or publishable key".to_owned());
    }
    Ok(value.to_owned())
}

/// The role that a legacy key, a JWT, is for.
fn role_of(key: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(key.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("role")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        (dir, folders)
    }

    fn read(folders: &Folders) -> Result<Settings, SettingsError> {
        Settings::read(&folders.settings(), |_| None)
    }

    fn write(folders: &Folders, text: &str) {
        fs::create_dir_all(folders.settings().parent().unwrap()).unwrap();
        fs::write(folders.settings(), text).unwrap();
    }

    #[test]
    fn a_setting_is_kept_and_comments_and_order_stay() {
        let (_dir, folders) = folders();
        write(
            &folders,
            "# mine\n[sync] # the cloud\nkey = 'sb_publishable_x' # public\nurl = \"https://a.example\" # old\n",
        );
        assert_eq!(set(&folders, Setting::SyncUrl, "https://B.example/").unwrap(), "https://b.example");
        let text = fs::read_to_string(folders.settings()).unwrap();
        assert_eq!(
            text,
            "# mine\n[sync] # the cloud\nkey = 'sb_publishable_x' # public\nurl = \"https://b.example\" # old\n"
        );
        let settings = read(&folders).unwrap();
        assert_eq!(settings.get(Setting::SyncUrl), Some(("https://b.example", Origin::File)));
        assert_eq!(settings.get(Setting::SyncKey), Some(("sb_publishable_x", Origin::File)));
    }

    #[test]
    fn the_file_is_made_when_it_is_not_there() {
        let (_dir, folders) = folders();
        assert_eq!(read(&folders).unwrap().get(Setting::SyncUrl), None);
        set(&folders, Setting::SyncUrl, "http://127.0.0.1:54321").unwrap();
        assert_eq!(fs::read_to_string(folders.settings()).unwrap(), "[sync]\nurl = \"http://127.0.0.1:54321\"\n");
    }

    #[test]
    fn the_environment_comes_first() {
        let (_dir, folders) = folders();
        set(&folders, Setting::SyncUrl, "https://a.example").unwrap();
        let variable = |name: &str| (name == "COGFS_SYNC_URL").then(|| "https://b.example".to_owned());
        let settings = Settings::read(&folders.settings(), variable).unwrap();
        assert_eq!(settings.get(Setting::SyncUrl), Some(("https://b.example", Origin::Environment)));
        let bad = Settings::read(&folders.settings(), |_| Some("ftp://x".to_owned())).unwrap_err().to_string();
        assert!(bad.contains("COGFS_SYNC_URL"), "{bad}");
    }

    #[test]
    fn bad_values_are_refused_with_a_reason() {
        let (_dir, folders) = folders();
        let service = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(r#"{"role":"service_role"}"#));
        for (setting, value, why) in [
            (Setting::SyncUrl, "project", "look like"),
            (Setting::SyncUrl, "http://db.example", "in the clear"),
            (Setting::SyncUrl, "https://u:p@db.example", "password"),
            (Setting::SyncUrl, "https://db.example?x=1", "`?`"),
            (Setting::SyncUrl, "file:///etc", "https://"),
            (Setting::SyncKey, "", "one word"),
            (Setting::SyncKey, "two words", "one word"),
            (Setting::SyncKey, "sb_secret_abc", "every user"),
            (Setting::SyncKey, &service, "every user"),
        ] {
            let error = set(&folders, setting, value).unwrap_err().to_string();
            assert!(error.contains(why), "{value}: {error}");
            assert!(!value.starts_with("sb_") || !error.contains(value), "the key is repeated: {error}");
        }
        assert!(!folders.settings().exists());
    }

    #[test]
    fn what_the_file_has_and_is_no_setting_is_named_with_the_known_ones() {
        let (_dir, folders) = folders();
        for (text, says) in [
            ("[sync]\nulr = 'https://a.example'\n", "sync.ulr"),
            ("colour = 1\n", "colour"),
            ("[sync]\nurl = ['a']\n", "in quotes"),
            ("[sync\n", "line 1"),
        ] {
            write(&folders, text);
            let error = read(&folders).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("config.toml"), "{error}");
            assert!(set(&folders, Setting::SyncKey, "k").is_err(), "{text}");
            assert_eq!(fs::read_to_string(folders.settings()).unwrap(), text);
        }
        assert!(Setting::of("sync.ulr").unwrap_err().to_string().contains("sync.url, sync.key"));
    }
}
