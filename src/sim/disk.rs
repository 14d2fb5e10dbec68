//! A disk in memory: what was appended is durable once the modelled sync is over; a crash loses the rest wholly or in
//! part, torn inside a record or with flipped bits. The torn bytes are judged by the store's own recovery.
//!
//! The log is kept as records, whose bytes all nodes share; the bytes of a segment are laid out only for the group
//! that a crash interrupts. The guard is kept as the bytes of its file: written after the group that raises it, with a sync
//! of its own.

use super::calibration::Calibration;
use super::queue::Nanos;
use super::random::{below, draw};
use super::snapshots::Shelf;
use crate::node::{LogArchive, LogNames};
use crate::store::guard::{self, NextSlot, SLOT_BYTES};
use crate::store::{Append, Guard, GuardState, RecordKind, damaged, surviving};
use crate::types::{Height, Round};
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

/// The guard's file: its bytes, and the write that comes next.
struct GuardImage {
    bytes: Vec<u8>,
    next: NextSlot,
}

/// What a sync was for.
#[derive(Debug)]
pub enum Finished {
    /// Nothing that still matters.
    Nothing,
    /// The group is durable, but its guard is not yet: that takes so long.
    Guard(Nanos),
    /// All of it: these records may be told of.
    Records(Vec<Append>),
}

/// A copy of a directory as it was: how long the log was, and the guard.
pub struct DirectoryCopy {
    records: usize,
    guard: Vec<u8>,
    shelf: Shelf,
}

/// One node's disk.
pub struct Disk {
    chain: [u8; 32],
    guard: GuardImage,
    /// The slot that is being written, and where: the group before it is durable, and not told of yet.
    slot: Option<([u8; SLOT_BYTES], usize)>,
    /// What stands beside the log.
    pub shelf: Shelf,
    /// Durable, in order, from the first record on that ever was.
    log: Vec<(RecordKind, Bytes)>,
    names: LogNames,
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
    /// A new disk: an empty log and the guard of round 0.
    pub fn new(chain: [u8; 32]) -> Disk {
        let (bytes, next) = guard::whole(&chain, &Guard::default());
        Disk {
            chain,
            guard: GuardImage { bytes, next },
            slot: None,
            shelf: Shelf::default(),
            log: Vec::new(),
            names: Default::default(),
            group: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            groups: 0,
            bytes: 0,
        }
    }

    /// What the guard says to who opens the directory; the next write goes over the other slot.
    ///
    /// # Errors
    /// The store would refuse it, in words.
    pub fn open_guard(&mut self) -> Result<GuardState, String> {
        let found = guard::read(&self.chain, &self.guard.bytes)
            .map_err(|fault| format!("the guard is refused: {fault:?}"))?;
        let Some((content, next)) = found else { return Ok(GuardState::Damaged) };
        self.guard.next = next;
        Ok(GuardState::Intact(content))
    }

    /// Raises the guard at a start, as [`crate::store::Store::raise_guard`].
    pub fn raise_guard(&mut self, found: &Guard, told: &Guard) {
        if found != told {
            let (slot, place) = self.guard.next.write(&self.chain, told);
            self.guard.bytes[place..place + SLOT_BYTES].copy_from_slice(&slot);
        }
    }

    /// Another disk with the same directory.
    pub fn fork(&self) -> Disk {
        let mut fork = Disk::new(self.chain);
        fork.log.clone_from(&self.log);
        fork.guard.bytes.clone_from(&self.guard.bytes);
        fork
    }

    /// The directory as it is now.
    pub fn copy(&self) -> DirectoryCopy {
        let (guard, shelf) = (self.guard.bytes.clone(), self.shelf.clone());
        DirectoryCopy { records: self.log.len(), guard, shelf }
    }

    /// A copy of the guard's file is put back.
    pub fn restore_guard(&mut self, copy: &DirectoryCopy) {
        self.guard.bytes.clone_from(&copy.guard);
    }

    /// A copy of the whole directory is put back.
    pub fn restore(&mut self, copy: &DirectoryCopy) {
        self.log.truncate(copy.records);
        self.shelf = copy.shelf.clone();
        self.shelf.crash(Tail::Lost, 0);
        self.names = Default::default();
        self.restore_guard(copy);
    }

    /// Bits of both slots of the guard flip.
    pub fn damage_guard(&mut self, seed: u64) {
        let half = self.guard.bytes.len() / 2;
        for (slot, page) in self.guard.bytes.chunks_mut(half).zip(0..) {
            slot[below(draw(seed, &[10, page]), SLOT_BYTES as u64) as usize] ^= 1 << (seed % 8);
        }
    }

    /// A byte of a record in the middle of the log flips: the log ends before it, and may have nothing to begin with any more.
    /// What lay behind it, as it is set aside.
    ///
    /// # Errors
    /// Recovery would take the damage for a torn tail though records lie behind it, in words.
    pub fn damage_log(&mut self, seed: u64) -> Result<Vec<(RecordKind, Bytes)>, String> {
        let least = self.shelf.pruned();
        if least >= self.log.len() {
            return Ok(Vec::new());
        }
        let at = least + below(draw(seed, &[11]), (self.log.len() - least) as u64) as usize;
        let around: Vec<_> = self.log[at.saturating_sub(BEFORE)..self.log.len().min(at + 2)]
            .iter()
            .map(|(kind, bytes)| (*kind, &bytes[..]))
            .collect();
        let (before, behind) = (at.min(BEFORE), at + 1 < self.log.len());
        let salt = super::random::bytes(seed, 7, 1);
        let found = damaged(&self.chain, salt, &around, before, seed);
        if found.is_some() != behind {
            return Err(format!("a flip in record {at} of {} is taken for {found:?}", self.log.len()));
        }
        let behind = self.log.split_off(at);
        self.names = Default::default();
        Ok(behind.into_iter().skip(1).collect())
    }

    /// A log with nothing to begin with is set aside with its snapshots; its records.
    pub fn abandon(&mut self) -> Vec<(RecordKind, Bytes)> {
        let apart = self.log.split_off(self.shelf.pruned());
        self.log.clear();
        self.shelf.abandon();
        self.names = Default::default();
        apart
    }

    /// The directory is gone; a new one is made.
    pub fn lose(&mut self) {
        *self = Disk { groups: self.groups, bytes: self.bytes, ..Disk::new(self.chain) };
    }

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

    /// How long the sync of the guard takes after the present group, 0 if that does not raise it.
    pub fn guard_time(&self, calibration: &Calibration, factor: u64) -> Nanos {
        let raised = self.group.iter().any(|record| record.guard.is_some());
        if raised { calibration.sync(SLOT_BYTES) * factor } else { 0 }
    }

    /// A sync is over, if it is that of the group that was being synced: of the group, then of the guard.
    pub fn finish(&mut self, group: u64, guard_time: Nanos) -> Finished {
        if group != self.groups || self.group.is_empty() {
            return Finished::Nothing;
        }
        if let Some((slot, place)) = self.slot.take() {
            self.guard.bytes[place..place + SLOT_BYTES].copy_from_slice(&slot);
            return Finished::Records(std::mem::take(&mut self.group));
        }
        for record in &self.group {
            self.bytes += record.bytes.len() as u64;
            self.log.push((record.kind, record.bytes.clone()));
        }
        match self.group.iter().rev().find_map(|record| record.guard) {
            Some(guard) => {
                self.slot = Some(self.guard.next.write(&self.chain, &guard));
                Finished::Guard(guard_time)
            }
            None => Finished::Records(std::mem::take(&mut self.group)),
        }
    }

    /// Whether so much waits that nothing more should be taken in.
    pub fn is_behind(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX
    }

    /// Everything durable that was not removed.
    pub fn log(&self) -> &[(RecordKind, Bytes)] {
        &self.log[self.shelf.pruned()..]
    }

    /// Removes what the oldest records may be removed of.
    pub fn prune(&mut self, up_to: (Height, Round)) {
        self.shelf.prune(&self.log, up_to);
    }

    /// What the disk has for peers, and the bytes that were read for it.
    pub fn archive(&mut self) -> LogArchive<'_> {
        LogArchive::new(&self.log, &mut self.names, self.shelf.pruned(), self.shelf.files())
    }

    /// The node stopped in the middle: what was not written yet is lost, of the group that was being synced the disk
    /// keeps what `tail` says, drawn from `seed`. Returns the records that became durable by it.
    ///
    /// # Errors
    /// Recovery would take the tear for damage, in words.
    pub fn crash(&mut self, tail: Tail, seed: u64) -> Result<Vec<Append>, String> {
        self.shelf.crash(tail, seed);
        self.waiting.clear();
        self.waiting_bytes = 0;
        let mut group = std::mem::take(&mut self.group);
        self.groups += 1;
        if group.is_empty() {
            return Ok(group);
        }
        if let Some((slot, place)) = self.slot.take() {
            // All of the group was synced before its guard was written.
            let page = &mut self.guard.bytes[place..place + SLOT_BYTES];
            tear_slot(page, &slot, tail, seed);
            return Ok(group);
        }
        let before: Vec<_> = self.log[self.log.len().saturating_sub(BEFORE)..]
            .iter()
            .map(|(kind, bytes)| (*kind, &bytes[..]))
            .collect();
        let written: Vec<_> = group.iter().map(|record| (record.kind, &record.bytes[..])).collect();
        let salt = super::random::bytes(seed, 7, 0);
        let kept =
            surviving(&self.chain, salt, &before, &written, |bytes, start| tear(bytes, start, tail, seed))
                .map_err(|damage| format!("recovery takes a torn tail for damage: {damage}"))?;
        group.truncate(kept);
        for record in &group {
            self.bytes += record.bytes.len() as u64;
            self.log.push((record.kind, record.bytes.clone()));
        }
        Ok(group)
    }
}

/// What the crash makes of a slot that was being written over `page`. A sector is kept or lost as a whole by good disks;
/// others leave a part of it.
fn tear_slot(page: &mut [u8], slot: &[u8], tail: Tail, seed: u64) {
    let length = match tail {
        Tail::Lost => 0,
        Tail::Kept | Tail::Flipped => slot.len(),
        Tail::Partial => below(draw(seed, &[6]), slot.len() as u64) as usize,
        Tail::Torn => slot.len() * (draw(seed, &[7]) & 1) as usize,
    };
    page[..length].copy_from_slice(&slot[..length]);
    if tail == Tail::Flipped {
        page[below(draw(seed, &[8]), slot.len() as u64) as usize] ^= 1 << below(draw(seed, &[9]), 8);
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
        Append { number, kind: RecordKind::Vertex, bytes: vec![number as u8 + 1; 700].into(), guard: None }
    }

    /// Ends a sync that raises no guard.
    fn finish(disk: &mut Disk, group: u64) -> Vec<Append> {
        match disk.finish(group, 1) {
            Finished::Nothing => Vec::new(),
            Finished::Guard(_) => panic!("no guard is raised"),
            Finished::Records(records) => records,
        }
    }

    #[test]
    fn a_guard_is_written_after_its_group_and_says_the_old_or_the_new_whatever_tears_it() {
        let calibration = Calibration::default();
        let at = |round| Guard { round: Round(round), ..Guard::default() };
        let mut seen = [false; 2];
        for seed in 0..60 {
            for tail in [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped] {
                let mut disk = Disk::new([3; 32]);
                for round in 1..4 {
                    disk.append(vec![Append { guard: Some(at(round)), ..append(round) }, append(9)]);
                    let (_, group) = disk.start(&calibration, 1).unwrap();
                    assert!(matches!(disk.finish(group, 5), Finished::Guard(5)));
                    assert_eq!(disk.log().len() as u64, 2 * round, "the group comes first");
                    assert_eq!(disk.open_guard(), Ok(GuardState::Intact(at(round - 1))));
                    if round == 3 {
                        assert_eq!(disk.crash(tail, seed).unwrap().len(), 2);
                        assert!(matches!(disk.finish(group, 5), Finished::Nothing));
                    } else {
                        assert!(matches!(disk.finish(group, 5), Finished::Records(_)));
                    }
                }
                let GuardState::Intact(found) = disk.open_guard().unwrap() else { panic!("one is whole") };
                assert!([2, 3].contains(&found.round.0), "{tail:?} {found:?}");
                seen[found.round.0 as usize - 2] = true;
                // The next write spares what counts.
                disk.raise_guard(&found, &at(7));
                assert_eq!(disk.open_guard(), Ok(GuardState::Intact(at(7))));
            }
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn what_was_synced_stays_and_a_prefix_of_the_rest_may() {
        let calibration = Calibration::default();
        let mut kept = [0; 6];
        for seed in 0..100 {
            for tail in [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped] {
                let mut disk = Disk::new([3; 32]);
                disk.append((0..3).map(append).collect());
                let (_, group) = disk.start(&calibration, 1).unwrap();
                disk.append((3..8).map(append).collect());
                assert!(disk.start(&calibration, 1).is_none(), "one sync at a time");
                assert_eq!(finish(&mut disk, group).len(), 3);
                let (_, group) = disk.start(&calibration, 1).unwrap();
                disk.append(vec![append(8)]);
                let survived = disk.crash(tail, seed).unwrap();
                assert_eq!(finish(&mut disk, group), [], "its end comes too late");
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
