//! How it is, in a word, and what a person should look at.

use std::env;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Status;
use crate::cli::output::{bytes, thousands};
use crate::render::SyncState;

/// So many waiting edits are not to be expected where the cloud is reached now and then.
const MANY_WAITING: u64 = 1_000;
/// Less room than this is soon none.
const LITTLE_ROOM: u64 = 1 << 30;
/// A token is renewed 90 seconds before its end; one that has less is not, for some reason.
const NOT_RENEWED: Duration = Duration::from_secs(60);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Ok,
    /// It will come right by itself, or is worth a look.
    Attention,
    /// Something has to be done.
    Trouble,
}

impl Health {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Attention => "attention",
            Self::Trouble => "trouble",
        }
    }

    const fn color(self) -> AnsiColor {
        match self {
            Self::Ok => AnsiColor::Green,
            Self::Attention => AnsiColor::Yellow,
            Self::Trouble => AnsiColor::Red,
        }
    }
}

/// The word, in its color where somebody sees it and has not said no (<https://no-color.org>).
pub fn painted(health: Health, is_terminal: bool) -> String {
    if !is_terminal || env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return health.word().to_owned();
    }
    let style = Style::new().fg_color(Some(health.color().into())).bold();
    format!("{style}{}{style:#}", health.word())
}

/// The state, and the sentences for it.
pub fn of(status: &Status, free_bytes: u64) -> (Health, Vec<String>) {
    let mut found: Vec<(Health, String)> = Vec::new();
    let mut say = |health, text: String| found.push((health, text));
    if status.account.as_ref().is_some_and(|account| account.login_needed) {
        say(Health::Trouble, "the login has ended: log in again with `cogfs login`; what is edited waits".to_owned());
    }
    if let Some(sync) = &status.engine {
        let reason = sync.reason.clone().unwrap_or_default();
        match sync.state {
            SyncState::Error => say(Health::Trouble, reason),
            SyncState::Offline | SyncState::Retrying => say(Health::Attention, reason),
            _ => {}
        }
        if let Some(text) = status.account.as_ref().and_then(|account| token(sync.state, account.token_left)) {
            say(Health::Attention, text.to_owned());
        }
    }
    if status.waiting_edits > MANY_WAITING {
        say(Health::Attention, format!("edits of {} records wait for the cloud", thousands(status.waiting_edits)));
    }
    if status.refused > 0 {
        let text = "the cloud did not take everything: `cogfs sync status` says what and why";
        say(Health::Attention, text.to_owned());
    }
    if let Some(kept) = &status.usage {
        let near = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit / 10 * 9);
        if near(kept.usage.commits, kept.limits.commits) || near(kept.usage.bytes, kept.limits.bytes) {
            say(Health::Attention, "the account is nearly full: the newest go first, the rest stays here".to_owned());
        }
    }
    if status.drafts.iter().any(|draft| draft.refusal.is_some()) {
        say(Health::Attention, "a document that was saved could not be taken as it is: see `draft`".to_owned());
    }
    for mount in status.mounts.iter().filter(|mount| !mount.answers) {
        let dir = mount.dir.display();
        say(Health::Trouble, format!("{dir} does not answer: `cogfs unmount {dir}` clears it"));
    }
    if free_bytes < LITTLE_ROOM {
        say(Health::Trouble, format!("the disk is nearly full: {} left", bytes(free_bytes)));
    }
    let health = found.iter().map(|(health, _)| *health).max().unwrap_or(Health::Ok);
    (health, found.into_iter().map(|(_, text)| text).collect())
}

/// Of a token that is about to be of no use while the server is not reached.
fn token(state: SyncState, left: Duration) -> Option<&'static str> {
    let is_away = matches!(state, SyncState::Offline | SyncState::Retrying);
    match is_away && left < NOT_RENEWED {
        false => None,
        true if left.is_zero() => {
            Some("the login's token is over; it is renewed once the server answers, and what is edited waits")
        }
        true => Some("the login's token is nearly over, and could not be renewed yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_could_not_be_renewed_is_told_of_while_the_server_is_away() {
        assert!(token(SyncState::Offline, Duration::ZERO).unwrap().contains("is over"));
        assert!(token(SyncState::Retrying, Duration::from_secs(59)).unwrap().contains("nearly over"));
        assert_eq!(token(SyncState::Offline, Duration::from_secs(90)), None);
        assert_eq!(token(SyncState::Synced, Duration::ZERO), None);
    }

    #[test]
    fn the_word_has_no_color_where_it_is_piped() {
        assert_eq!(painted(Health::Trouble, false), "trouble");
        assert!(Health::Trouble > Health::Attention && Health::Attention > Health::Ok);
    }
}
