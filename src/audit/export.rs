//! Taking the account table out of a directory.

use super::AuditError;
use super::open::Directory;
use super::replay::Replay;
use super::verify::replay_all;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zerocopy::IntoBytes;

/// Why a table was not written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The directory.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is a file already.
    #[error("{} exists; choose another name", .0.display())]
    Exists(PathBuf),
    /// The file.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A table that was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Exported {
    /// The file.
    pub file: PathBuf,
    /// The block after which it is the state.
    pub height: u64,
    /// Accounts in it, 64 bytes each, the sentinel first.
    pub accounts: u32,
    /// The state root: the BLAKE3 hash of the file, as `b3sum` prints it.
    pub root: String,
}

/// Replays a directory, signatures aside, and writes the account table after its last block. The file is there only
/// when it is whole and synced; one that exists is left alone.
///
/// # Errors
/// [`ExportError`]; a directory that is faulty gives no table.
pub fn export_state(
    dir: &Path,
    file: &Path,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Exported, ExportError> {
    if file.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(file.to_owned()));
    }
    let mut directory = Directory::open(dir).map_err(AuditError::from)?;
    let mut replay = Replay::begin(&directory)?;
    replay_all(&mut directory, &mut replay, watch, &mut |_, _, _| true)?;
    let root = replay.ledger.root();
    let failed = |source| ExportError::Write { file: file.to_owned(), source };
    let beside = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        let mut out = tempfile::NamedTempFile::new_in(beside)?;
        replay.ledger.read(|accounts| out.write_all(accounts.as_bytes()))?;
        out.as_file().sync_all()?;
        out.persist_noclobber(file).map_err(|error| error.error)?;
        std::fs::File::open(beside)?.sync_all()
    };
    write().map_err(failed)?;
    let (height, accounts) = (replay.tip.0.0, replay.ledger.len());
    Ok(Exported { file: file.to_owned(), height, accounts, root: root.to_string() })
}
