//! Why an operation failed, and its errno.

use super::fetch::Missing;
use super::scratch::ScratchError;
use crate::curation::CurationError;
use crate::store::StoreError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    #[error("no such file or directory")]
    NotFound,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("not a symbolic link")]
    NotASymlink,
    /// What the kernel remembered a name by is gone: it looks the name up once more, and whoever asked hears nothing of it
    /// (`retry_estale` of Linux's fs/namei.c).
    #[error("not there any more under this number")]
    Gone,
    #[error("name too long")]
    NameTooLong,
    #[error("file exists")]
    Exists,
    #[error("directory not empty")]
    NotEmpty,
    #[error("invalid argument")]
    Invalid,
    #[error("operation not permitted: {reason}")]
    NotPermitted { reason: String },
    #[error("not supported")]
    NotSupported,
    #[error("read-only mount")]
    ReadOnly,
    #[error("in another directory")]
    OtherDevice,
    #[error("file too large")]
    TooLarge,
    /// What was written is refused. EIO, never EINVAL: emacs takes EINVAL of an fsync for success, `mv` misreads it.
    #[error("refused: {reason}")]
    Refused { reason: String },
    /// A line written to the control file is no command, or failed.
    #[error("{reason}")]
    BadCommand { reason: String },
    #[error("the database could not be read or written: {0}")]
    Store(#[from] StoreError),
    #[error("the picture {sha256} could not be read: {source}")]
    Blob { sha256: String, source: std::io::Error },
    /// The contents are elsewhere, and nobody asked for them yet.
    #[error("the contents are on another machine")]
    Elsewhere { missing: Vec<Missing> },
    #[error("the contents are on another machine and cannot be had: {reason}")]
    Unreachable { reason: String },
    #[error("the contents are on another machine and did not come in time")]
    TimedOut,
    /// While it waited for contents that are elsewhere: the reader was sent a signal, and has it with this answer.
    #[error("interrupted")]
    Interrupted,
    #[error("the log of refused writes could not be read: {0}")]
    Log(std::io::Error),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
}

impl FsError {
    /// The errno the caller sees.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::NotASymlink | Self::Invalid | Self::BadCommand { .. } => libc::EINVAL,
            Self::Gone => libc::ESTALE,
            Self::NameTooLong => libc::ENAMETOOLONG,
            Self::Exists => libc::EEXIST,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::NotPermitted { .. } => libc::EPERM,
            Self::NotSupported => libc::EOPNOTSUPP,
            Self::ReadOnly => libc::EROFS,
            Self::OtherDevice => libc::EXDEV,
            Self::TooLarge => libc::EFBIG,
            Self::Elsewhere { .. } | Self::Unreachable { .. } => libc::ENETUNREACH,
            Self::TimedOut => libc::ETIMEDOUT,
            Self::Interrupted => libc::EINTR,
            Self::Refused { .. } | Self::Store(_) | Self::Blob { .. } | Self::Log(_) => libc::EIO,
            Self::Scratch(error) => error.errno(),
        }
    }

    /// The errno's name, for the log of refused writes.
    #[must_use]
    pub fn errno_name(&self) -> &'static str {
        match self.errno() {
            libc::EPERM => "EPERM",
            libc::EEXIST => "EEXIST",
            libc::ENOTEMPTY => "ENOTEMPTY",
            libc::EINVAL => "EINVAL",
            libc::EFBIG => "EFBIG",
            libc::EXDEV => "EXDEV",
            libc::ENOENT => "ENOENT",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::ETIMEDOUT => "ETIMEDOUT",
            _ => "EIO",
        }
    }
}

impl From<CurationError> for FsError {
    fn from(error: CurationError) -> Self {
        match error {
            CurationError::NotFound { .. } => Self::NotFound,
            CurationError::NameTaken { .. } => Self::NotEmpty,
            CurationError::Store(error) => Self::Store(error),
            other => Self::NotPermitted { reason: other.to_string() },
        }
    }
}
