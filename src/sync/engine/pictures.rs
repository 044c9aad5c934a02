//! Pictures go before the facts that name them, so that facts never name what the cloud does not have; each goes once. A picture whose
//! bytes are not here, or that the cloud does not take, holds nothing up and is told.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cycle, Progress, Result, Step};
use crate::cloud::CloudError;
use crate::cloud::wire::{Change, Kind};
use crate::store::objects::{self, Object, State};
use crate::store::visuals;

/// Pictures that are looked for at once.
const SOME: usize = 200;

/// After so many that the cloud does not take, one after the other, the rest waits for the next cycle: it may take none.
const REFUSALS: u32 = 3;

/// What a cycle did with pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    pub sent: u64,
    pub bytes: u64,
    /// Their bytes are not here, or damaged.
    pub missing: u64,
    /// The cloud does not take them.
    pub refused: u64,
    /// Why not, of the last one.
    pub reason: Option<String>,
    #[serde(skip)]
    refusals: u32,
}

/// The hash in an object's name.
pub(super) fn sha256_of(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.split('.').next().unwrap_or(file)
}

impl Cycle<'_> {
    /// Stores the pictures that the facts of a request name.
    pub(super) fn upload_named(&mut self, changes: &[Change]) -> Step {
        for change in changes {
            let Change::Facts { kind: Kind::Session, facts: Some(facts), .. } = change else { continue };
            let Some(named) = facts.get("visuals").and_then(Value::as_array) else { continue };
            for visual in named {
                let text = |key: &str| visual.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                if self.upload(&Object { sha256: text("sha256"), mime: text("mime") })?.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// Stores what was left out: of sessions that were told to the cloud before it could be stored.
    pub(super) fn upload_rest(&mut self) -> Step {
        loop {
            let mut some = objects::untold(self.writer.conn(), SOME)?;
            let is_last = some.len() < SOME;
            some.retain(|(_, project)| self.options.projects.as_ref().is_none_or(|meant| meant.contains(project)));
            // Where nothing of a page is meant or done, the next one would be the same.
            let before = (self.summary.pictures.sent, self.summary.pictures.missing, self.summary.pictures.refused);
            for (object, _) in &some {
                if self.upload(object)?.is_none() {
                    return Ok(None);
                }
            }
            let pictures = &self.summary.pictures;
            if is_last || before == (pictures.sent, pictures.missing, pictures.refused) {
                return Ok(Some(()));
            }
        }
    }

    fn upload(&mut self, object: &Object) -> Step {
        let path = self.writer.layout().blob(&object.sha256);
        match objects::state(self.writer.conn(), object)? {
            None => {}
            // It may have been read from the logs again.
            Some(State::Missing) if path.exists() => {}
            Some(_) => return Ok(Some(())),
        }
        if self.summary.pictures.refusals >= REFUSALS {
            return Ok(Some(()));
        }
        if self.is_over() {
            return Ok(None);
        }
        // An object is for good: bytes that are not its own must not get there.
        let bytes = visuals::is_digest(&object.sha256).then(|| fs::read(&path).ok()).flatten();
        let Some(bytes) = bytes.filter(|bytes| visuals::digest(bytes) == object.sha256) else {
            self.summary.pictures.missing += 1;
            return self.note(object, State::Missing);
        };
        match self.cloud.upload(&object.sha256, &object.mime, &bytes) {
            Ok(()) => {
                let pictures = &mut self.summary.pictures;
                pictures.refusals = 0;
                pictures.sent += 1;
                pictures.bytes += bytes.len() as u64;
                (self.progress)(Progress::Pictures { sent: pictures.sent, bytes: pictures.bytes });
                self.note(object, State::Uploaded)
            }
            // A server without storage of objects has no such address.
            Err(error @ (CloudError::Refused { .. } | CloudError::Gone | CloudError::Garbled(_))) => {
                let pictures = &mut self.summary.pictures;
                pictures.refusals += 1;
                pictures.refused += 1;
                pictures.reason = Some(error.to_string());
                self.note(object, State::Refused)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, object: &Object, state: State) -> Step {
        let tx = self.writer.begin()?;
        objects::set(&tx, object, state)?;
        tx.commit()?;
        Ok(Some(()))
    }

    /// What is about to be removed there is not known to be there.
    pub(super) fn forget_objects(&mut self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let tx = self.writer.begin()?;
        for name in names {
            objects::remove(&tx, sha256_of(name))?;
        }
        Ok(tx.commit()?)
    }
}
