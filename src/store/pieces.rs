//! Pieces of snapshots, each with its proof, for peers that begin anew.
//!
//! - Upon a snapshot being written: what proves its pieces is kept, a sixteenth of its bytes. Who asks for a table asks several
//!   peers at once, and would wait for each of them to read all of it first.
//! - Upon the first piece of a snapshot: its root is held against the one that its block names. One of an earlier life is
//!   read through for that. One that is not its checkpoint's is remembered as such, so that nobody makes this node read it
//!   again and again.
//! - Upon a piece: plain reads, as of records ([`super::Finder`]), and the bytes are held against their checksum before they go
//!   out.
//! - A snapshot stays open when a newer one takes its place: who has begun to fetch it gets it whole. So the files of so many
//!   removed snapshots at most take room on disk as [`OPEN_MAX`] says, until others are asked for.

use super::snapshot::path_of;
use super::{Damage, StoreError};
use crate::crypto::ProveError;
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, Height, Root};
use crate::wire::TablePieces;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Snapshots that stay open.
const OPEN_MAX: usize = 2;
/// The most bytes of a snapshot.
const TABLE_BYTES_MAX: u64 = ACCOUNTS_MAX as u64 * size_of::<Account>() as u64;

/// A snapshot of which pieces are handed out.
struct OpenSnapshot {
    height: Height,
    /// `None`: it is not the table of its checkpoint.
    good: Option<(File, Arc<TablePieces>)>,
}

/// Snapshots by height, with what proves their pieces.
type Proven = VecDeque<(Height, Arc<TablePieces>)>;

/// What proves the pieces of the snapshots that were written or read through last: from who writes to all who serve.
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs(Arc<Mutex<Proven>>);

impl Proofs {
    /// A snapshot of these bytes is on disk.
    pub(super) fn written(&self, height: u64, table: &[u8]) {
        let read = |at: u64, out: &mut [u8]| {
            out.copy_from_slice(&table[at as usize..][..out.len()]);
            Ok::<(), Infallible>(())
        };
        let Ok(pieces) = TablePieces::new(table.len(), read);
        self.keep(Height(height), Arc::new(pieces));
    }

    fn keep(&self, height: Height, pieces: Arc<TablePieces>) {
        let mut proofs = self.0.lock();
        proofs.retain(|(kept, _)| *kept != height);
        proofs.push_back((height, pieces));
        if proofs.len() > OPEN_MAX {
            proofs.pop_front();
        }
    }

    fn of(&self, height: Height) -> Option<Arc<TablePieces>> {
        let proofs = self.0.lock();
        proofs.iter().find(|(kept, _)| *kept == height).map(|(_, pieces)| pieces.clone())
    }
}

/// The snapshots that were asked for last.
#[derive(Default)]
pub(super) struct OpenSnapshots {
    open: VecDeque<OpenSnapshot>,
    proofs: Proofs,
    /// What was read last: memory that is warm already, for the next read.
    read: Vec<u8>,
}

impl OpenSnapshots {
    /// None is open.
    pub(super) fn new(proofs: Proofs) -> OpenSnapshots {
        OpenSnapshots { proofs, ..OpenSnapshots::default() }
    }

    /// What `prove` makes of the snapshot of a height, from the bytes at `place`; `None`: it is not here. `root` is what its
    /// block names.
    pub(super) fn prove<T>(
        &mut self,
        dir: &Path,
        height: Height,
        root: impl FnOnce() -> Result<Option<Root>, StoreError>,
        place: impl FnOnce(&TablePieces) -> Range<u64>,
        prove: impl FnOnce(&TablePieces, &[u8]) -> Result<T, ProveError>,
    ) -> Result<Option<T>, StoreError> {
        let path = path_of(dir, height.0);
        if self.open.iter().all(|open| open.height != height) {
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(StoreError::io("open", &path))?,
            };
            let Some(root) = root()? else { return Ok(None) };
            let found = match self.proofs.of(height).filter(|pieces| pieces.root() == root) {
                Some(pieces) => Ok((file, pieces)),
                None => read_through(file, &path, root).map(|(file, pieces)| (file, Arc::new(pieces))),
            };
            if let Ok((_, pieces)) = &found {
                self.proofs.keep(height, pieces.clone());
            }
            let (good, error) = match found {
                Ok(good) => (Some(good), None),
                Err(error) => (None, Some(error)),
            };
            self.open.push_back(OpenSnapshot { height, good });
            if self.open.len() > OPEN_MAX {
                self.open.pop_front();
            }
            if let Some(error) = error {
                return Err(error);
            }
        }
        let open = self.open.iter().find(|open| open.height == height).and_then(|open| open.good.as_ref());
        let Some((file, pieces)) = open else { return Ok(None) };
        let place = place(pieces);
        let bytes = &mut self.read;
        bytes.resize((place.end - place.start) as usize, 0);
        file.read_exact_at(bytes, place.start).map_err(StoreError::io("read", &path))?;
        match prove(pieces, bytes) {
            Ok(proof) => Ok(Some(proof)),
            // No such account, though its chunk holds others.
            Err(ProveError::PastEnd { .. }) => Ok(None),
            Err(_) if bytes.is_empty() => Ok(None),
            Err(_) => Err(StoreError::Damaged { file: path, offset: place.start, damage: Damage::Snapshot }),
        }
    }
}

fn read_through(file: File, path: &Path, root: Root) -> Result<(File, TablePieces), StoreError> {
    let damaged = |damage| StoreError::Damaged { file: path.to_owned(), offset: 0, damage };
    let length = file.metadata().map_err(StoreError::io("look at", path))?.len();
    if length > TABLE_BYTES_MAX {
        return Err(damaged(Damage::Length));
    }
    let read = |at: u64, out: &mut [u8]| file.read_exact_at(out, at).map_err(StoreError::io("read", path));
    let pieces = TablePieces::new(length as usize, read)?;
    if pieces.root() == root { Ok((file, pieces)) } else { Err(damaged(Damage::Snapshot)) }
}
