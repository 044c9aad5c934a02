//! The cloud that the settings name, with the session that is kept.

use std::sync::Arc;

use super::auth::Auth;
use super::auth::session::{Session, Sessions};
use super::http::HttpCloud;
use super::http::transport::{Server, Transport};
use super::secret::Secret;
use crate::config::Folders;
use crate::config::settings::{Setting, Settings, SettingsError};

/// Why there is no cloud to speak with.
#[derive(Debug, thiserror::Error)]
pub enum NotSetUp {
    #[error(
        "no server is set: `cogfs config set sync.url https://PROJECT.supabase.co`, then `cogfs config set sync.key KEY`, with the \
         address and the publishable (anon) key of your project's API settings"
    )]
    NoUrl,
    #[error(
        "no key is set: `cogfs config set sync.key KEY`, with the publishable (anon) key of your project's API settings"
    )]
    NoKey,
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The server that the settings name.
///
/// # Errors
/// When they name none; the text says what to do.
pub fn server(folders: &Folders) -> Result<Server, NotSetUp> {
    let settings = Settings::load(folders)?;
    let (url, _) = settings.get(Setting::SyncUrl).ok_or(NotSetUp::NoUrl)?;
    let (key, _) = settings.get(Setting::SyncKey).ok_or(NotSetUp::NoKey)?;
    Ok(Server { url: url.to_owned(), key: Secret::new(key) })
}

/// The cloud. Nothing is sent yet, and nobody needs to be logged in.
///
/// # Errors
/// When the settings name no server; the text says what to do.
pub fn cloud(folders: &Folders) -> Result<HttpCloud, NotSetUp> {
    Ok(cloud_at(folders, server(folders)?))
}

/// The cloud of a server.
#[must_use]
pub fn cloud_at(folders: &Folders, server: Server) -> HttpCloud {
    let transport = Arc::new(Transport::new(server));
    let auth = auth_of(folders, &transport);
    HttpCloud::new(transport, auth)
}

/// The login at the server that a session is of, whatever the settings name now: without its key the server cannot be told of a
/// logout, which is done here all the same.
#[must_use]
pub fn auth_of_session(folders: &Folders, session: &Session) -> Auth {
    let key = server(folders).map_or_else(|_| Secret::new(""), |server| server.key);
    let transport = Arc::new(Transport::new(Server { url: session.url.clone(), key }));
    auth_of(folders, &transport)
}

/// Where the session is kept.
#[must_use]
pub fn sessions(folders: &Folders) -> Sessions {
    Sessions::new(folders.session())
}

fn auth_of(folders: &Folders, transport: &Arc<Transport>) -> Auth {
    Auth::new(Arc::clone(transport), sessions(folders))
}
