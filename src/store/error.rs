//! What can go wrong with files, each with the place and what to do about it.

use super::{Append, ConfigError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a failed sync was doing.
pub(super) const SYNC: &str = "sync";

/// Why a store could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting is out of bounds.
    #[error("store configuration: {0}")]
    Config(#[from] ConfigError),
    /// The operating system refused an operation.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// Another process, or another store of this one, has the directory open.
    #[error("{} is in use by another process; stop it or choose another directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another chain.
    #[error("{} belongs to chain {}, not to chain {}", file.display(), hex::encode(found), hex::encode(expected))]
    OtherChain {
        /// The segment or genesis that says so.
        file: PathBuf,
        /// The chain id in the file.
        found: [u8; 32],
        /// The chain id that was asked for.
        expected: [u8; 32],
    },
    /// The files were written by a later version.
    #[error("{} has format {found}; this version reads up to {supported}: use a newer version", file.display())]
    NewerFormat {
        /// The segment that says so.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// A file that is not the store's lies in its directory.
    #[error("{} is not a file of the store; move it away or choose another directory", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// There is no log in the directory.
    #[error("{} holds no segments", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// A segment between others, or after a sealed one, is gone; or another file that was there.
    #[error("{} is missing", file.display())]
    Missing {
        /// The file that should be there.
        file: PathBuf,
    },
    /// Bytes that were durable are not what was written.
    #[error("{} is damaged at offset {offset}: {damage}", file.display())]
    Damaged {
        /// The segment, what is left of one, the genesis or the guard.
        file: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The disk does not give back what stands in a segment.
    #[error(
        "{} cannot be read at offset {offset}: {source}; nothing was changed: check the disk, and copy the directory to a \
         good one",
        file.display()
    )]
    Unreadable {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes from its start: the page that cannot be read.
        offset: u64,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The disk has too little room for the next segment.
    #[error("{} has {free} bytes free, but {needed} are needed for the next segment", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free to this user.
        free: u64,
    },
    /// A thread of the store ended by a panic: a defect of the program, most likely in the callback.
    #[error("the {thread} thread panicked")]
    Panicked {
        /// Its name.
        thread: &'static str,
    },
}

/// What is wrong at a damaged spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header of the segment does not pass its check or contradicts the file's name or neighbours.
    #[error("the segment's header is not what was written")]
    Head,
    /// The file has another length than its header says.
    #[error("the file's length is not what its header says")]
    Length,
    /// A record does not pass its check, and what follows shows that it was durable once.
    #[error("a record is not what was written")]
    Record,
    /// Bytes after the seal that should be zero are not.
    #[error("there are bytes where nothing was written")]
    NotZero,
    /// The genesis is not the one whose hash the segments name.
    #[error("the genesis is not what was written")]
    Genesis,
    /// The guard is not two whole slots, one written after the other.
    #[error("the guard is not what was written")]
    Guard,
    /// What was kept of a removed segment does not pass its check.
    #[error("what was kept of a removed segment is not what was written")]
    Remains,
    /// A snapshot is not the table of its checkpoint.
    #[error("the snapshot is not the table of its checkpoint")]
    Snapshot,
    /// The record is whole, but of a kind that no version so far writes.
    #[error("a record of unknown kind")]
    Kind,
}

impl StoreError {
    /// Whether the disk, or the user's share of it, had no room: nothing is broken, and the same may work later. A sync
    /// that failed is never that, whatever the system says: what it left behind is not known. (Of a file that was not whole
    /// yet it may be: that is removed and made anew.)
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { doing, source, .. } => {
                *doing != SYNC && matches!(source.kind(), StorageFull | QuotaExceeded)
            }
            _ => false,
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Why records were not queued. They come back unchanged: none of them was taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// As much waits for the disk as is allowed. Offer them again after the next group is synced.
    #[error("the store's queue is full")]
    Full(Vec<Append>),
    /// One record is larger than any record may be; offering it again is of no use.
    #[error("a record of {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Its payload, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        max: u64,
        /// All records of the call.
        records: Vec<Append>,
    },
    /// The writer has failed, as its callback was told, or ended: nothing more will be durable.
    #[error("the store has stopped")]
    Stopped(Vec<Append>),
}
