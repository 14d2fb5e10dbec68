//! Reading single records back by name, for peers that lack them.
//!
//! By plain reads and not through maps: what is asked for lies mostly far back and is not in memory, where a read is
//! several times faster than a fault, and it fails as an error where a map would end the process. Each record is checked
//! as it is read.

use super::format::{RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, SegmentHead};
use super::pieces::{OpenSnapshots, Proofs};
use super::segment::{list, path_of};
use super::{Damage, Index, Place, StoreError};
use crate::crypto::ProveError;
use crate::types::{AccountNumber, BatchId, Height, RootKind};
use crate::wire::{TablePiece, TablePieces, decode_block};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Segments that stay open.
const OPEN_MAX: usize = 4;

/// Finds records of an open store. It may block on the disk.
pub struct Finder {
    dir: PathBuf,
    index: Arc<Mutex<Index<Place>>>,
    /// The last used last.
    open: VecDeque<(u32, File, SegmentHead)>,
    snapshots: OpenSnapshots,
}

impl Finder {
    pub(super) fn new(dir: PathBuf, index: Arc<Mutex<Index<Place>>>, proofs: Proofs) -> Finder {
        Finder { dir, index, open: VecDeque::new(), snapshots: OpenSnapshots::new(proofs) }
    }

    /// The block of a height; `None`: it is not here.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn block(&mut self, height: Height) -> Result<Option<Bytes>, StoreError> {
        let place = self.index.lock().block(height);
        self.look(place)
    }

    /// A batch.
    ///
    /// # Errors
    /// As [`Finder::block`].
    pub fn batch(&mut self, id: &BatchId) -> Result<Option<Bytes>, StoreError> {
        let place = self.index.lock().batch(id);
        self.look(place)
    }

    /// Whether a batch is here; nothing is read.
    pub(super) fn has_batch(&self, id: &BatchId) -> bool {
        self.index.lock().batch(id).is_some()
    }

    /// The height of the first block from which on all are here.
    pub(super) fn first_block(&self) -> Height {
        self.index.lock().first_block()
    }

    /// The certificate of the lowest checkpoint at or above a height.
    ///
    /// # Errors
    /// As [`Finder::block`].
    pub fn certificate(&mut self, least: Height) -> Result<Option<Bytes>, StoreError> {
        let place = self.index.lock().certificate(least);
        self.look(place)
    }

    /// The settlement record that the block of a height names.
    ///
    /// # Errors
    /// As [`Finder::block`].
    pub fn record(&mut self, height: Height) -> Result<Option<Bytes>, StoreError> {
        let place = self.index.lock().record(height);
        self.look(place)
    }

    /// A piece of the snapshot of a height, with its proof.
    ///
    /// # Errors
    /// It cannot be read, or the snapshot is not the table of its checkpoint; that is said once.
    pub fn piece(&mut self, height: Height, piece: u32) -> Result<Option<TablePiece>, StoreError> {
        let prove = |pieces: &TablePieces, bytes: &[u8]| pieces.prove(height, piece, bytes);
        self.prove(height, |pieces| pieces.place(piece), prove)
    }

    /// The proof of an account's record as it stands in the snapshot of a height: a Bao slice, as
    /// [`crate::crypto::verify_range_of`] takes it.
    ///
    /// # Errors
    /// As [`Finder::piece`].
    pub fn account(&mut self, height: Height, number: AccountNumber) -> Result<Option<Bytes>, StoreError> {
        self.prove(
            height,
            |pieces| pieces.chunk_of(number),
            |pieces, chunk| pieces.prove_account(number, chunk),
        )
    }

    /// The heights of the snapshots that are on disk, ascending.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Height>, StoreError> {
        Ok(list(&self.dir)?.snapshots.into_iter().map(Height).collect())
    }

    fn prove<T>(
        &mut self,
        height: Height,
        place: impl FnOnce(&TablePieces) -> Range<u64>,
        prove: impl FnOnce(&TablePieces, &[u8]) -> Result<T, ProveError>,
    ) -> Result<Option<T>, StoreError> {
        let (dir, mut snapshots) = (self.dir.clone(), std::mem::take(&mut self.snapshots));
        let root = || {
            let block = self.block(height)?.and_then(|bytes| decode_block(&bytes).ok());
            Ok(block.and_then(|block| block.root(RootKind::Accounts)))
        };
        let found = snapshots.prove(&dir, height, root, place, prove);
        self.snapshots = snapshots;
        found
    }

    /// What stands at a place; `None` also where its segment was removed.
    fn look(&mut self, place: Option<Place>) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = place else { return Ok(None) };
        match self.read(place) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn read(&mut self, place: Place) -> Result<Bytes, StoreError> {
        let path = path_of(&self.dir, place.segment);
        let damaged =
            || StoreError::Damaged { file: path.clone(), offset: place.offset, damage: Damage::Record };
        let (file, head) = self.segment(place.segment)?;
        let mut record = vec![0; RECORD_HEAD_BYTES];
        file.read_exact_at(&mut record, place.offset).map_err(StoreError::io("read", &path))?;
        let key = head.record_key();
        let length = key.length(&record, place.offset).ok_or_else(damaged)?;
        if place.offset + (RECORD_HEAD_BYTES + length) as u64 > head.bytes() {
            return Err(damaged());
        }
        let mut payload = vec![0; length];
        file.read_exact_at(&mut payload, place.offset + RECORD_HEAD_BYTES as u64)
            .map_err(StoreError::io("read", &path))?;
        if key.passes(&record, &payload) { Ok(payload.into()) } else { Err(damaged()) }
    }

    fn segment(&mut self, number: u32) -> Result<(&File, SegmentHead), StoreError> {
        let known = self.open.iter().position(|open| open.0 == number);
        let open = match known.and_then(|at| self.open.remove(at)) {
            Some(open) => open,
            None => {
                let path = path_of(&self.dir, number);
                let file = File::open(&path).map_err(StoreError::io("open", &path))?;
                let mut page = vec![0; SEGMENT_HEAD_BYTES];
                file.read_exact_at(&mut page, 0).map_err(StoreError::io("read", &path))?;
                let damaged = |_| StoreError::Damaged { file: path, offset: 0, damage: Damage::Head };
                (number, file, SegmentHead::read(&page).map_err(damaged)?)
            }
        };
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(open);
        let (_, file, head) = self.open.back().expect("it was just put there");
        Ok((file, *head))
    }
}
