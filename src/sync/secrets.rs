//! Secrets are taken out of what is sent, and it is told how many.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::Id;
use crate::redact::{Redactor, Report};
use crate::store::{self, Result, Transaction, Writer, told};
use crate::sync::facts::Redact;
use crate::sync::fields;

/// The key in `state` of what was found when something was last sent: kinds and counts, as JSON.
const FOUND: &str = "redacted";

/// The key in `state` of how the cloud was told: "true" without secrets.
const TOLD: &str = "told_redacted";

/// Takes secrets out of what is sent, or leaves everything as it is.
#[derive(Debug)]
pub struct Secrets {
    redacts: bool,
    found: Mutex<Report>,
}

impl Secrets {
    /// As the user set it.
    #[must_use]
    pub fn new(redacts: bool) -> Self {
        Self { redacts, found: Mutex::default() }
    }

    /// Whether things were sent in this way until now.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn are_as_told(&self, conn: &rusqlite::Connection) -> Result<bool> {
        Ok(store::state(conn, TOLD)?.is_some_and(|told| told == self.redacts.to_string()))
    }

    /// Says how things are sent from now on. If they were sent otherwise until now, all are to be sent anew: lengths that were
    /// told are those of what was sent.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn begin(&self, tx: &mut Transaction<'_>) -> Result<()> {
        let now = self.redacts.to_string();
        let before = store::state(tx, TOLD)?;
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        if before.is_some() {
            told::nothing(tx)?;
            fields::tell_anew(tx)?;
        }
        store::set_state(tx, TOLD, &now)
    }

    /// How many secrets of each kind were taken out.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).counts()
    }

    /// Keeps what was found, for `cogfs status`; nothing was found: what was last found stays.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn keep(&self, writer: &mut Writer) -> Result<()> {
        let counts = self.counts();
        if counts.is_empty() {
            return Ok(());
        }
        // Words and numbers: that can be written.
        let json = serde_json::to_string(&counts).map_err(|error| store::StoreError::Source(error.into()))?;
        let tx = writer.begin()?;
        store::set_state(&tx, FOUND, &json)?;
        tx.commit()
    }
}

/// What was found when secrets were last taken out of something.
///
/// # Errors
/// When SQLite cannot read.
pub fn last_found(conn: &rusqlite::Connection) -> Result<BTreeMap<String, u64>> {
    Ok(store::state(conn, FOUND)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

impl Secrets {
    fn clean<'a>(&self, clean: impl FnOnce(&mut Report) -> Cow<'a, str>) -> Cow<'a, str> {
        let mut report = Report::default();
        let text = clean(&mut report);
        if matches!(text, Cow::Owned(_)) {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).add(report);
        }
        text
    }
}

impl Redact for Secrets {
    fn text<'a>(&self, _: &Id, text: &'a str) -> Cow<'a, str> {
        if self.redacts { self.clean(|report| Redactor.text(text, report)) } else { Cow::Borrowed(text) }
    }

    fn record<'a>(&self, _: &Id, line: &'a str) -> Cow<'a, str> {
        if self.redacts { self.clean(|report| Redactor.record(line, report)) } else { Cow::Borrowed(line) }
    }

    fn is_identity(&self) -> bool {
        !self.redacts
    }
}
