//! What stands beside the log on a disk in memory: snapshots of the account table, and how much of the log was removed.
//!
//! A snapshot has its name only after its sync; a crash amid that leaves none, or, on a disk that had promised more than
//! it kept, one that is torn: then an older one has to do.

use super::disk::Tail;
use super::queue::Event;
use super::random::{below, draw};
use super::world::World;
use crate::node::snapshots::fate;
use crate::node::{Input, NodeConfig};
use crate::store::{Fate, RecordKind};
use crate::types::{Height, Round};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Bytes of log between two snapshots: runs are short.
const AFTER_BYTES: u64 = 64 << 10;
/// Blocks of which everything is kept, unless nodes are forgetful: more than pass while the longest of faults lasts.
const KEEP_BLOCKS: u64 = 1_500;
/// Bytes of log that are removed together.
const SEGMENT_BYTES: usize = 64 << 10;
/// The kind of the event in the trace.
const SNAPSHOT: u8 = 7;
/// The purpose of draws.
const TORN: u64 = 47;

/// How nodes of a world conduct themselves.
pub fn node_config() -> NodeConfig {
    NodeConfig { snapshot_after_bytes: AFTER_BYTES, keep_blocks: Some(KEEP_BLOCKS), ..NodeConfig::default() }
}

/// A snapshot on its way to a disk.
#[derive(Clone, Debug)]
struct Writing {
    height: Height,
    bytes: Bytes,
    kept: Option<Height>,
}

/// What stands beside a log.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    files: BTreeMap<Height, Bytes>,
    writing: Option<Writing>,
    /// Records at the beginning of the log that were removed.
    pruned: usize,
}

impl Shelf {
    /// The heights of the snapshots.
    pub fn heights(&self) -> Vec<Height> {
        self.files.keys().copied().collect()
    }

    /// The snapshots.
    pub fn files(&self) -> &BTreeMap<Height, Bytes> {
        &self.files
    }

    /// A snapshot's bytes.
    pub fn read(&self, height: Height) -> Result<Vec<u8>, String> {
        self.files.get(&height).map(|bytes| bytes.to_vec()).ok_or_else(|| "it is not there".to_owned())
    }

    /// How many records of the log were removed.
    pub fn pruned(&self) -> usize {
        self.pruned
    }

    /// All is set aside, with the log.
    pub fn abandon(&mut self) {
        *self = Shelf::default();
    }

    /// A snapshot is durable: older ones go. Which it was.
    fn written(&mut self) -> Option<Height> {
        let Writing { height, bytes, kept } = self.writing.take()?;
        self.files.retain(|of, _| Some(*of) == kept || *of > height);
        self.files.insert(height, bytes);
        Some(height)
    }

    /// The node stopped: what was being written is there, or not, or torn.
    pub fn crash(&mut self, tail: Tail, seed: u64) {
        let Some(writing) = self.writing.clone() else { return };
        match tail {
            Tail::Lost | Tail::Partial => self.writing = None,
            Tail::Kept => _ = self.written(),
            Tail::Torn | Tail::Flipped => {
                let mut bytes = writing.bytes.to_vec();
                let at = below(draw(seed, &[TORN]), bytes.len() as u64) as usize;
                match tail {
                    Tail::Torn => bytes.truncate(at),
                    _ => bytes[at] ^= 1 << (seed % 8),
                }
                self.files.insert(writing.height, bytes.into());
                self.writing = None;
            }
        }
    }

    /// Removes records from the front of a log, as many together as a segment holds, as far as they may go.
    pub fn prune(&mut self, log: &[(RecordKind, Bytes)], (first, last): (Height, Round)) {
        let may_go = fate(first, last);
        let mut bytes = 0;
        let mut end = self.pruned;
        for (kind, record) in &log[self.pruned..] {
            if may_go(*kind, record) == Fate::Stay {
                return;
            }
            (bytes, end) = (bytes + record.len(), end + 1);
            if bytes >= SEGMENT_BYTES {
                (self.pruned, bytes) = (end, 0);
            }
        }
    }
}

impl World {
    /// A snapshot goes to a node's disk, unless that is full.
    pub(super) fn write_snapshot(&mut self, seat: u16, height: Height, bytes: Bytes, kept: Option<Height>) {
        let place = &mut self.places[usize::from(seat)];
        if place.disk_full {
            return self.report(seat, Input::Snapshotted { height, written: false });
        }
        let time = self.plan.config.calibration.sync(bytes.len()) * place.disk_factor;
        place.disk.shelf.writing = Some(Writing { height, bytes, kept });
        self.queue.push(self.now + time, Event::Snapshot { seat, life: place.life });
    }

    pub(super) fn snapshot_written(&mut self, seat: u16) {
        if let Some(height) = self.places[usize::from(seat)].disk.shelf.written() {
            self.trace.note(self.now, SNAPSHOT, seat, &height.0.to_le_bytes());
            self.report(seat, Input::Snapshotted { height, written: true });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(heights: &[u64]) -> Shelf {
        let files = heights.iter().map(|height| (Height(*height), Bytes::from(vec![*height as u8; 100])));
        Shelf { files: files.collect(), ..Shelf::default() }
    }

    #[test]
    fn older_ones_go_only_when_the_new_one_is_durable_and_a_crash_leaves_it_whole_torn_or_absent() {
        let bytes = Bytes::from(vec![9; 100]);
        for seed in 0..50 {
            for tail in [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped] {
                let mut shelf = shelf(&[1, 2]);
                let writing = Writing { height: Height(3), bytes: bytes.clone(), kept: Some(Height(2)) };
                shelf.writing = Some(writing);
                shelf.crash(tail, seed);
                assert!(shelf.writing.is_none() && shelf.written().is_none());
                let whole = shelf.read(Height(3)).is_ok_and(|found| found == bytes);
                match tail {
                    Tail::Kept => assert!(whole && shelf.heights() == [Height(2), Height(3)]),
                    Tail::Lost | Tail::Partial => assert_eq!(shelf.heights(), [Height(1), Height(2)]),
                    Tail::Torn | Tail::Flipped => assert!(!whole && shelf.heights().len() == 3),
                }
            }
        }
    }
}
