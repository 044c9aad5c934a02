//! The tree as a kernel mount: a thin adapter from `fuser` to [`crate::fs`], with mounting, unmounting and telling the
//! kernel what changed.
//!
//! Nothing else imports `fuser`. Knows nothing of the store or of what the files hold.

mod adapter;
mod ahead;
mod mount;
mod mountinfo;
mod notifier;
mod requests;
mod settler;
mod unmount;

pub use mount::{Ended, MountError, MountOptions, Mounted, Prepared, StopSignals, mount, prepare};
pub use mountinfo::{MountEntry, mounts};
pub use requests::RequestCounts;
pub use unmount::{Unmounted, unmount};
