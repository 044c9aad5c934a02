//! Why an operation on a scratch file failed, and the errno for it.

use rustix::io::Errno;

/// Why an operation on a scratch file failed.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("no such file or directory")]
    NotFound,
    #[error("file exists")]
    Exists,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("not a symbolic link")]
    NotASymlink,
    #[error("not a regular file")]
    NotAFile,
    #[error("directory not empty")]
    NotEmpty,
    #[error("not a name")]
    InvalidName,
    #[error("name too long")]
    NameTooLong,
    #[error("directories too deep within each other")]
    TooDeep,
    /// Scratch files stay where they were made: EXDEV, or what the caller makes of it.
    #[error("a scratch file cannot be moved to another directory of the tree")]
    OtherPlace,
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    #[error("the scratch file would be longer than is allowed")]
    FileTooLarge,
    #[error("there is no room for more scratch files")]
    Full,
    #[error("not supported for a symbolic link")]
    NotSupported,
    #[error("the folder of the scratch files: {0}")]
    Io(std::io::Error),
}

impl ScratchError {
    /// The errno the caller sees. Of the disk's own, those that say something to the user pass; the rest is EIO, since some
    /// of them mislead programs (EINTR and EAGAIN make them try for ever).
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::NotASymlink | Self::NotAFile | Self::InvalidName | Self::IntoItself => libc::EINVAL,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::NameTooLong | Self::TooDeep => libc::ENAMETOOLONG,
            Self::OtherPlace => libc::EXDEV,
            Self::FileTooLarge => libc::EFBIG,
            Self::Full => libc::ENOSPC,
            Self::NotSupported => libc::EOPNOTSUPP,
            Self::Io(source) => match source.raw_os_error() {
                Some(errno @ (libc::ENOSPC | libc::EDQUOT | libc::EROFS)) => errno,
                _ => libc::EIO,
            },
        }
    }
}

impl From<Errno> for ScratchError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST => Self::Exists,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NAMETOOLONG => Self::NameTooLong,
            other => Self::Io(other.into()),
        }
    }
}

impl From<std::io::Error> for ScratchError {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::Io(error),
        }
    }
}
