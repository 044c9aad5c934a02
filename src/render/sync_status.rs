//! How a running cogfs keeps itself in step with the cloud: what `.cogfs/status.json` and `cogfs status` tell of it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::Millis;

/// What it is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Nothing syncs: there is no account, or it was told not to.
    #[default]
    Off,
    /// It has not spoken with the cloud yet.
    Connecting,
    /// The last cycle went well.
    Synced,
    Syncing,
    /// The last cycle did not go well, and it is tried again soon.
    Retrying,
    /// The cloud has not been reached for a while.
    Offline,
    /// The session has ended; what is edited waits.
    LoginNeeded,
    /// Something a person has to look at.
    Error,
}

impl SyncState {
    /// The word for it, in JSON and in text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Synced => "synced",
            Self::Syncing => "syncing",
            Self::Retrying => "retrying",
            Self::Offline => "offline",
            Self::LoginNeeded => "login_needed",
            Self::Error => "error",
        }
    }
}

/// How far a cycle is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncProgress {
    pub pulled: u64,
    pub pushed: u64,
    pub pictures: u64,
    pub bytes: u64,
}

/// How things stand between this machine and the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    pub state: SyncState,
    /// Why it is so, in words; `None` where there is nothing to say.
    pub reason: Option<String>,
    /// The end of the last cycle that went well, since the program started.
    pub last_sync: Option<Millis>,
    /// When the next cycle is due, after one that did not go well.
    pub next_try: Option<Millis>,
    /// The server tells of changes at once; otherwise it is asked regularly.
    pub doorbell: bool,
    pub progress: Option<SyncProgress>,
    /// Cycles since the program started, and those of them that did not go well.
    pub cycles: u64,
    pub failures: u64,
    /// From a change on this machine until the cloud had it, the mean of the last twenty, in milliseconds.
    pub latency_ms: Option<u64>,
    /// The process that syncs.
    pub pid: Option<u32>,
}

impl SyncStatus {
    /// As it is shown to programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "state": self.state.as_str(),
            "reason": self.reason,
            "last_sync": self.last_sync.map(Millis::iso),
            "next_try": self.next_try.map(Millis::iso),
            "doorbell": self.doorbell,
            "progress": self.progress,
            "cycles": self.cycles,
            "failures": self.failures,
            "latency_ms": self.latency_ms,
            "pid": self.pid,
        })
    }
}
