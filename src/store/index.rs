//! Where what peers may still want stands: blocks by height, batches by id, certificates and settlement records by the
//! height of their checkpoint.
//!
//! It lives in memory, is filled by the one pass of opening and kept up by whoever appends; what was pruned is forgotten. Memory:
//! 16 bytes a block, about 60 a batch, certificate or record; so a million batches on disk take 60 MB.

use super::RecordKind;
use crate::types::{BatchId, Height, Root, RootKind};
use crate::wire::{Batch, decode_block, decode_certificate, record_root};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Batches that are looked at in one step of forgetting: whoever appends waits for one step at most, which is far less than a
/// sync.
const STEP: usize = 256;

/// Names of records and their places, of whatever kind a place is.
#[derive(Debug)]
pub struct Index<P> {
    /// The height of the first block, and the places of it and those that follow.
    first: u64,
    blocks: VecDeque<P>,
    batches: BTreeMap<BatchId, P>,
    certificates: BTreeMap<Height, P>,
    records: BTreeMap<Height, P>,
    /// The settlement record that was met last: the block that names it comes after it.
    last_record: Option<(Root, P)>,
}

impl<P> Default for Index<P> {
    fn default() -> Index<P> {
        let (blocks, batches, certificates, records) = Default::default();
        Index { first: 1, blocks, batches, certificates, records, last_record: None }
    }
}

impl<P: Copy> Index<P> {
    /// Takes note of a record, in the order of the log. What does not decode is not found later.
    pub fn note(&mut self, kind: RecordKind, bytes: &Bytes, place: P) {
        match kind {
            RecordKind::Batch => {
                if let Ok(batch) = Batch::decode(bytes.clone()) {
                    self.batches.insert(batch.id, place);
                }
            }
            RecordKind::Block => self.note_block(bytes, place),
            RecordKind::Certificate => {
                if let Ok(certificate) = decode_certificate(bytes) {
                    self.certificates.insert(certificate.height, place);
                }
            }
            RecordKind::Settlement => self.last_record = Some((record_root(bytes), place)),
            RecordKind::Vertex | RecordKind::Evidence => {}
        }
    }

    fn note_block(&mut self, bytes: &[u8], place: P) {
        let Ok(block) = decode_block(bytes) else { return };
        let height = block.height.0;
        let next = height.checked_sub(self.first).and_then(|next| usize::try_from(next).ok());
        match next {
            // The log is looked through again.
            Some(known) if known < self.blocks.len() => self.blocks[known] = place,
            Some(next) if next == self.blocks.len() => self.blocks.push_back(place),
            _ => (self.first, self.blocks) = (height, VecDeque::from([place])),
        }
        let named = |root: &Root| block.roots.contains(&(RootKind::Settlement, *root));
        if let Some((_, record)) = self.last_record.take_if(|(root, _)| named(root)) {
            self.records.insert(block.height, record);
        }
    }

    /// Forgets what stands at places that are gone: the oldest blocks, certificates and records, and of the batches a number of
    /// those behind `after` in the order of their ids. Where to go on, `None` when that was the last.
    pub fn forget(&mut self, after: Option<BatchId>, gone: impl Fn(&P) -> bool) -> Option<BatchId> {
        while self.blocks.front().is_some_and(&gone) {
            self.blocks.pop_front();
            self.first += 1;
        }
        for places in [&mut self.certificates, &mut self.records] {
            while places.first_key_value().is_some_and(|(_, place)| gone(place)) {
                places.pop_first();
            }
        }
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let step = self.batches.range((start, Bound::Unbounded)).take(STEP);
        let step: Vec<(BatchId, bool)> = step.map(|(id, place)| (*id, gone(place))).collect();
        step.iter().filter(|(_, gone)| *gone).for_each(|(id, _)| _ = self.batches.remove(id));
        step.last().filter(|_| step.len() == STEP).map(|(id, _)| *id)
    }

    /// Blocks, batches, certificates and records that are known.
    #[cfg(test)]
    pub fn counts(&self) -> [usize; 4] {
        [self.blocks.len(), self.batches.len(), self.certificates.len(), self.records.len()]
    }

    /// The height of the first block, or where it would be.
    pub fn first_block(&self) -> Height {
        Height(self.first)
    }

    /// Where the block of a height stands.
    pub fn block(&self, height: Height) -> Option<P> {
        let place = usize::try_from(height.0.checked_sub(self.first)?).ok()?;
        self.blocks.get(place).copied()
    }

    /// Where a batch stands.
    pub fn batch(&self, id: &BatchId) -> Option<P> {
        self.batches.get(id).copied()
    }

    /// Where the certificate of the lowest checkpoint at or above a height stands.
    pub fn certificate(&self, least: Height) -> Option<P> {
        self.certificates.range(least..).next().map(|(_, place)| *place)
    }

    /// Where the settlement record stands that the block of a height names.
    pub fn record(&self, height: Height) -> Option<P> {
        self.records.get(&height).copied()
    }
}
