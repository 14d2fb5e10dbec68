//! The guard: what a validator has signed last, kept apart from the log, so that a log whose end was lost cannot make it
//! sign the same slot twice.
//!
//! ```text
//! file: slot 0 | zeros to 4096 | slot 1 | zeros to 8192
//! slot: magic 8 | version u32 | epoch u32 | lost u32 | number u64 | chain 32 | round u64 | sequence u64 | id 32 | check 32
//! ```
//!
//! Writes go to the two slots in turn, each with the next running number; the whole slot with the highest number counts.
//! So a write that is torn leaves the one before it, which is what counts until the new one is synced. A slot is smaller
//! than a sector and has a page of its own. Integers are little-endian, the check is BLAKE3 of all before it; magic, version
//! and check stay where they are in every later version.
//!
//! The code that makes and judges the bytes does no I/O: a simulated disk runs it too.

use super::StoreError;
use super::disk::{self, Cache, Disk};
use super::error::SYNC;
use super::format::first_nonzero;
use super::segment;
use crate::types::{Epoch, Round, Sequence, VertexId};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The guard's name in the store's directory.
pub(super) const GUARD_NAME: &str = "guard";
/// Its name while it is made.
pub(super) const GUARD_NEW_NAME: &str = "guard.new";
/// Version of the slots.
const GUARD_VERSION: u32 = 1;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = size_of::<SlotBytes>();
/// From slot to slot: no disk writes two pages as one.
const SLOT_STEP: usize = 4096;
/// Bytes of the whole guard.
pub const GUARD_BYTES: usize = 2 * SLOT_STEP;

const MAGIC: [u8; 8] = *b"THRONGGD";
const CONTEXT: &str = "throng store guard slot v1";

/// What a validator has signed last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Guard {
    /// The epoch that all of it belongs to.
    pub epoch: Epoch,
    /// The round of the latest own vertex, 0 if there is none.
    pub round: Round,
    /// Its id.
    pub id: VertexId,
    /// The highest sequence of an own batch that was sealed, 0 if there is none.
    pub sequence: Sequence,
    /// What was signed is not known here, and nothing is signed until others have told enough.
    pub lost: bool,
}

/// What is known of the guard when a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardState {
    /// Its last synced content, or a later one.
    Intact(Guard),
    /// There is a log but no guard.
    Missing,
    /// No slot passes its check.
    Damaged,
}

/// Which write of the guard is the next: its running number says into which slot it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextSlot(u64);

impl NextSlot {
    /// The bytes of this write and where they go; afterwards it is the next one's turn.
    pub fn write(&mut self, chain: &[u8; 32], guard: &Guard) -> ([u8; SLOT_BYTES], usize) {
        let number = self.0;
        self.0 = number.wrapping_add(1);
        let mut slot = SlotBytes {
            magic: MAGIC,
            version: U32::new(GUARD_VERSION),
            epoch: U32::new(guard.epoch.0),
            lost: U32::new(guard.lost.into()),
            number: U64::new(number),
            chain: *chain,
            round: U64::new(guard.round.0),
            sequence: U64::new(guard.sequence.0),
            id: guard.id.0,
            check: [0; 32],
        };
        slot.check = slot.expected_check();
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(slot.as_bytes());
        (bytes, (number % 2) as usize * SLOT_STEP)
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SlotBytes {
    magic: [u8; 8],
    version: U32,
    epoch: U32,
    lost: U32,
    number: U64,
    chain: [u8; 32],
    round: U64,
    sequence: U64,
    id: [u8; 32],
    check: [u8; 32],
}

impl SlotBytes {
    fn expected_check(&self) -> [u8; 32] {
        let covered = self.as_bytes();
        blake3::derive_key(CONTEXT, &covered[..covered.len() - 32])
    }

    fn guard(&self) -> Guard {
        Guard {
            epoch: Epoch(self.epoch.get()),
            round: Round(self.round.get()),
            id: VertexId(self.id),
            sequence: Sequence(self.sequence.get()),
            lost: self.lost.get() != 0,
        }
    }
}

/// Why the bytes are no guard of this chain, though they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardFault {
    /// It belongs to another chain.
    OtherChain([u8; 32]),
    /// A later version wrote it.
    Newer(u32),
}

/// A whole guard with this content in both slots, and the write that comes next.
pub fn whole(chain: &[u8; 32], guard: &Guard) -> (Vec<u8>, NextSlot) {
    let (mut bytes, mut next) = (vec![0; GUARD_BYTES], NextSlot(0));
    for _ in 0..2 {
        let (slot, place) = next.write(chain, guard);
        bytes[place..place + SLOT_BYTES].copy_from_slice(&slot);
    }
    (bytes, next)
}

/// Reads a guard: what counts, and the write that comes next, which never goes over the slot that counts. `None` if
/// neither slot is whole.
///
/// # Errors
/// A slot is whole but not ours.
pub fn read(chain: &[u8; 32], bytes: &[u8]) -> Result<Option<(Guard, NextSlot)>, GuardFault> {
    let (mut best, mut fault) = (None, None);
    for (place, start) in [0, SLOT_STEP].into_iter().enumerate() {
        let page = bytes.get(start..start + SLOT_STEP).filter(|_| bytes.len() == GUARD_BYTES);
        let Some(Ok((slot, rest))) = page.map(SlotBytes::read_from_prefix) else { continue };
        if slot.magic != MAGIC || slot.check != slot.expected_check() {
            continue;
        }
        let (version, number) = (slot.version.get(), slot.number.get());
        if version > GUARD_VERSION {
            fault = Some(GuardFault::Newer(version));
            continue;
        }
        if version != GUARD_VERSION || number % 2 != place as u64 || first_nonzero(rest).is_some() {
            continue;
        }
        if slot.chain != *chain {
            fault = fault.or(Some(GuardFault::OtherChain(slot.chain)));
        } else if best.as_ref().is_none_or(|(best, _)| number > *best) {
            best = Some((number, slot.guard()));
        }
    }
    match (best, fault) {
        (Some((number, guard)), None) => Ok(Some((guard, NextSlot(number.wrapping_add(1))))),
        (_, Some(fault)) => Err(fault),
        (None, None) => Ok(None),
    }
}

/// The first place where the bytes are not what a store writes that is never interrupted: both slots whole and of this
/// chain, one the write after the other, zeros around them. Stricter than [`read`], for who audits.
pub(super) fn flaw(chain: &[u8; 32], bytes: &[u8]) -> Option<usize> {
    if bytes.len() != GUARD_BYTES {
        return Some(bytes.len().min(GUARD_BYTES));
    }
    let mut numbers = [0; 2];
    for (place, number) in numbers.iter_mut().enumerate() {
        let start = place * SLOT_STEP;
        let Ok((slot, rest)) = SlotBytes::read_from_prefix(&bytes[start..start + SLOT_STEP]) else {
            return Some(start);
        };
        let ours = slot.magic == MAGIC && slot.version.get() == GUARD_VERSION && slot.chain == *chain;
        if !ours || slot.check != slot.expected_check() || slot.number.get() % 2 != place as u64 {
            return Some(start);
        }
        if let Some(index) = first_nonzero(rest) {
            return Some(start + SLOT_BYTES + index);
        }
        *number = slot.number.get();
    }
    let [even, odd] = numbers;
    let follow = odd == even.wrapping_add(1) || even == odd.wrapping_add(1);
    (!follow).then_some(0)
}

/// The guard's file.
#[derive(Debug)]
pub(super) struct GuardFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    chain: [u8; 32],
    /// Absent until the first write, if the file was missing or damaged: so that it stays so, and is found so again,
    /// until there is something true to say.
    file: Option<(File, NextSlot)>,
}

impl GuardFile {
    /// Opens the guard of a directory; of a `fresh` one, which has no log, it is made, as that of round 0.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        chain: &[u8; 32],
        fresh: bool,
    ) -> Result<(Self, GuardState), StoreError> {
        let path = dir.join(GUARD_NAME);
        let mut guard = Self { disk, path, chain: *chain, file: None };
        let bytes = match fs::read(&guard.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && fresh => {
                guard.make(&Guard::default())?;
                return Ok((guard, GuardState::Intact(Guard::default())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((guard, GuardState::Missing)),
            Err(error) => return Err(StoreError::io("read", &guard.path)(error)),
        };
        let found = read(chain, &bytes).map_err(|fault| refusal(&guard.path, chain, fault))?;
        let Some((content, next)) = found else { return Ok((guard, GuardState::Damaged)) };
        let file = OpenOptions::new().write(true).open(&guard.path);
        let file = file.map_err(StoreError::io("open", &guard.path))?;
        // A process that was killed between write and sync leaves a slot that is only in memory.
        guard.disk.sync(&file, &guard.path).map_err(StoreError::io(SYNC, &guard.path))?;
        guard.file = Some((file, next));
        Ok((guard, GuardState::Intact(content)))
    }

    /// Makes the content durable. A write that fails leaves the turn as it is: the next one goes over the same slot, and
    /// never over the whole one.
    pub(super) fn write(&mut self, guard: &Guard) -> Result<(), StoreError> {
        let Some((file, turn)) = &mut self.file else { return self.make(guard) };
        let mut next = *turn;
        let (slot, place) = next.write(&self.chain, guard);
        let (disk, path) = (&*self.disk, &self.path);
        let written = disk::write_all(disk, file, path, &mut [IoSlice::new(&slot)], place as u64);
        written.map_err(StoreError::io("write", path))?;
        disk.sync(file, path).map_err(StoreError::io(SYNC, path))?;
        *turn = next;
        Ok(())
    }

    /// Makes the file under another name; it has its own only when all of it is durable.
    fn make(&mut self, guard: &Guard) -> Result<(), StoreError> {
        let (bytes, next) = whole(&self.chain, guard);
        let (disk, unfinished) = (&*self.disk, self.path.with_file_name(GUARD_NEW_NAME));
        let fill = || {
            let file = disk.create(&unfinished, Cache::Through)?;
            disk::write_all(disk, &file, &unfinished, &mut [IoSlice::new(&bytes)], 0)?;
            disk.sync(&file, &unfinished)?;
            disk.rename(&unfinished, &self.path)?;
            Ok(file)
        };
        let file = fill().map_err(|error| segment::unfilled(disk, &unfinished, error))?;
        segment::sync_dir(disk, self.path.parent().unwrap_or(Path::new(".")))?;
        self.file = Some((file, next));
        Ok(())
    }
}

fn refusal(path: &Path, chain: &[u8; 32], fault: GuardFault) -> StoreError {
    let file = path.to_owned();
    match fault {
        GuardFault::OtherChain(found) => StoreError::OtherChain { file, found, expected: *chain },
        GuardFault::Newer(found) => StoreError::NewerFormat { file, found, supported: GUARD_VERSION },
    }
}
