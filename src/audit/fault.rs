//! What is wrong with a directory, and why one cannot be looked at.

use crate::store::{Place, Store, StoreError};
use crate::types::{GenesisError, Height};
use crate::wire::WireError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The first thing that is wrong in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in it the record begins, or the damage, in bytes.
    pub offset: u64,
    /// The block that cannot be trusted for it: all before it were checked and are good.
    pub height: u64,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault { file, offset, height, found, expected } = self;
        write!(f, "{} at offset {offset}, height {height}: {found}; expected {expected}", file.display())
    }
}

/// Why a directory cannot be looked at: nothing is known about what is in it.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The directory or a file of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds the directories of nodes and is none.
    #[error("{} holds nodes' data directories; name one of them, such as {}", dir.display(), example.display())]
    Several {
        /// What was named.
        dir: PathBuf,
        /// One in it.
        example: PathBuf,
    },
    /// A height that the chain has not reached.
    #[error("--from-height {asked}: the chain in this directory ends at height {tip}")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// The last block.
        tip: u64,
    },
    /// Threads for the checks.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// Something was asked for that is not in the directory.
    #[error("there is no {0} in this directory")]
    NotFound(String),
    /// Something was asked for that lies where this directory keeps nothing of its kind.
    #[error("{what} is not kept in this directory: {whole} is kept here from height {from} on")]
    NotKept {
        /// What was asked for.
        what: String,
        /// What it would be part of.
        whole: &'static str,
        /// From where on that is there.
        from: u64,
    },
    /// The directory is faulty where it had to be sound.
    #[error("fault: {0}")]
    Fault(Box<Fault>),
    /// It was ended from outside.
    #[error("interrupted")]
    Interrupted,
}

impl AuditError {
    /// Whether this speaks against what is in the directory, and not against what was asked.
    pub fn is_fault(&self) -> bool {
        matches!(self, AuditError::Fault(_))
    }
}

/// A fault of a record.
pub(super) fn fault(
    dir: &Path,
    place: Place,
    height: Height,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> Box<Fault> {
    let (file, offset) = (place.file(dir), place.offset);
    Box::new(Fault { file, offset, height: height.0, found: found.into(), expected: expected.into() })
}

/// What the store found: a fault if the directory's bytes are not what was written, else the error.
pub(super) fn of_store(error: StoreError, height: Height) -> Result<Box<Fault>, StoreError> {
    let height = height.0;
    Ok(Box::new(match error {
        StoreError::Damaged { file, offset, damage } => {
            let expected = "the bytes that were written".to_owned();
            Fault { file, offset, height, found: damage.to_string(), expected }
        }
        StoreError::Missing { file } => {
            let expected = "the segment that stood between the others".to_owned();
            Fault { file, offset: 0, height, found: "the file is missing".to_owned(), expected }
        }
        StoreError::OtherChain { file, found, expected } => {
            let [found, expected] = [found, expected].map(hex::encode);
            Fault {
                file,
                offset: 0,
                height,
                found: format!("chain {found}"),
                expected: format!("chain {expected}"),
            }
        }
        other => return Err(other),
    }))
}

/// Why a genesis that has the right hash is none.
pub(super) fn of_genesis(dir: &Path, reason: GenesisFault) -> Box<Fault> {
    Box::new(Fault {
        file: Store::genesis_path(dir),
        offset: 0,
        height: 0,
        found: reason.to_string(),
        expected: "a genesis that a chain can start from".to_owned(),
    })
}

/// What is wrong with a genesis.
#[derive(Debug, Error)]
pub(super) enum GenesisFault {
    #[error("it does not decode: {0}")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Rules(#[from] GenesisError),
}
