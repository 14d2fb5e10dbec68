//! A disk in memory: what was appended is durable once the modelled sync is over; a crash loses the rest wholly or in
//! part, torn inside a record or with flipped bits. The torn bytes are judged by the store's own recovery.
//!
//! The log is kept as records, whose bytes all nodes share; the bytes of a segment are laid out only for the group
//! that a crash interrupts.

use super::calibration::Calibration;
use super::queue::Nanos;
use super::random::{below, draw};
use crate::store::{Append, RecordKind, surviving};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes of one sync at most, as the store's groups.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Above so many bytes that wait for the disk a node reads nothing more from its peers.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Records of the durable log that are laid out before an interrupted group.
const BEFORE: usize = 4;
/// What a disk writes at once, wholly or not.
const SECTOR: usize = 512;

/// What becomes of writes that were not synced when a node crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tail {
    /// All lost.
    Lost,
    /// All kept, though nobody was told.
    Kept,
    /// Kept up to some byte.
    Partial,
    /// Some sectors kept, others lost, in any order.
    Torn,
    /// Kept but for some flipped bits.
    Flipped,
}

/// One node's disk.
#[derive(Default)]
pub struct Disk {
    /// Durable, in order.
    log: Vec<(RecordKind, Bytes)>,
    /// Being synced.
    group: Vec<Append>,
    waiting: VecDeque<Append>,
    waiting_bytes: usize,
    /// Counts groups, so that the end of one is not taken for the end of another.
    groups: u64,
    /// Bytes that became durable.
    pub bytes: u64,
}

impl Disk {
    /// Takes records; they wait for the next sync.
    pub fn append(&mut self, records: Vec<Append>) {
        self.waiting_bytes += records.iter().map(|record| record.bytes.len()).sum::<usize>();
        self.waiting.extend(records);
    }

    /// Begins to sync what waits, if nothing is being synced: how long that takes, and the number of the group.
    pub fn start(&mut self, calibration: &Calibration, factor: u64) -> Option<(Nanos, u64)> {
        if !self.group.is_empty() || self.waiting.is_empty() {
            return None;
        }
        let mut bytes = 0;
        while let Some(record) = self.waiting.front()
            && (self.group.is_empty() || bytes + record.bytes.len() <= GROUP_BYTES_MAX)
        {
            bytes += record.bytes.len();
            self.group.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= bytes;
        self.groups += 1;
        Some((calibration.sync(bytes) * factor, self.groups))
    }

    /// A group is synced: its records, if it is the one that was being synced.
    pub fn finish(&mut self, group: u64) -> Vec<Append> {
        if group != self.groups {
            return Vec::new();
        }
        let records = std::mem::take(&mut self.group);
        for record in &records {
            self.bytes += record.bytes.len() as u64;
            self.log.push((record.kind, record.bytes.clone()));
        }
        records
    }

    /// Whether so much waits that nothing more should be taken in.
    pub fn is_behind(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX
    }

    /// Everything durable.
    pub fn log(&self) -> &[(RecordKind, Bytes)] {
        &self.log
    }

    /// The node stopped in the middle: what was not written yet is lost, of the group that was being synced the disk
    /// keeps what `tail` says, drawn from `seed`. Returns the records that became durable by it.
    ///
    /// # Errors
    /// Recovery would take the tear for damage, in words.
    pub fn crash(&mut self, tail: Tail, chain: &[u8; 32], seed: u64) -> Result<Vec<Append>, String> {
        self.waiting.clear();
        self.waiting_bytes = 0;
        let mut group = std::mem::take(&mut self.group);
        self.groups += 1;
        if group.is_empty() {
            return Ok(group);
        }
        let before: Vec<_> = self.log[self.log.len().saturating_sub(BEFORE)..]
            .iter()
            .map(|(kind, bytes)| (*kind, &bytes[..]))
            .collect();
        let written: Vec<_> = group.iter().map(|record| (record.kind, &record.bytes[..])).collect();
        let salt = super::random::bytes(seed, 7, 0);
        let kept = surviving(chain, salt, &before, &written, |bytes, start| tear(bytes, start, tail, seed))
            .map_err(|damage| format!("recovery takes a torn tail for damage: {damage}"))?;
        group.truncate(kept);
        for record in &group {
            self.bytes += record.bytes.len() as u64;
            self.log.push((record.kind, record.bytes.clone()));
        }
        Ok(group)
    }
}

/// What the crash does to the bytes from `start` on.
fn tear(bytes: &mut [u8], start: usize, tail: Tail, seed: u64) {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1).max(start);
    let length = (end - start) as u64;
    match tail {
        Tail::Kept => {}
        Tail::Lost => bytes[start..].fill(0),
        Tail::Partial => bytes[start + below(draw(seed, &[1]), length) as usize..].fill(0),
        Tail::Torn => {
            let first = start / SECTOR;
            for sector in first..end.div_ceil(SECTOR) {
                if draw(seed, &[2, sector as u64]) & 1 == 0 {
                    bytes[(sector * SECTOR).max(start)..((sector + 1) * SECTOR).min(end)].fill(0);
                }
            }
        }
        Tail::Flipped => {
            for flip in 0..=below(draw(seed, &[3]), 3) {
                let place = start + below(draw(seed, &[4, flip]), length.max(1)) as usize;
                bytes[place] ^= 1 << below(draw(seed, &[5, flip]), 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(number: u64) -> Append {
        Append { number, kind: RecordKind::Vertex, bytes: vec![number as u8 + 1; 700].into() }
    }

    #[test]
    fn what_was_synced_stays_and_a_prefix_of_the_rest_may() {
        let calibration = Calibration::default();
        let mut kept = [0; 6];
        for seed in 0..100 {
            for tail in [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped] {
                let mut disk = Disk::default();
                disk.append((0..3).map(append).collect());
                let (_, group) = disk.start(&calibration, 1).unwrap();
                disk.append((3..8).map(append).collect());
                assert!(disk.start(&calibration, 1).is_none(), "one sync at a time");
                assert_eq!(disk.finish(group).len(), 3);
                let (_, group) = disk.start(&calibration, 1).unwrap();
                disk.append(vec![append(8)]);
                let survived = disk.crash(tail, &[3; 32], seed).unwrap();
                assert_eq!(disk.finish(group), [], "its end comes too late");
                assert_eq!(disk.log().len(), 3 + survived.len());
                for (record, number) in disk.log().iter().zip(0..) {
                    assert_eq!(record.1, append(number).bytes);
                }
                match tail {
                    Tail::Lost => assert!(survived.is_empty()),
                    Tail::Kept => assert_eq!(survived.len(), 5),
                    _ => kept[survived.len()] += 1,
                }
            }
        }
        assert!(kept[..5].iter().all(|count| *count > 0), "every length was seen: {kept:?}");
    }
}
