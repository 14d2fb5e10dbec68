//! What is left of a segment that was removed: its header, so that the chain of headers stays whole, and those of its
//! records that prove the rest.
//!
//! ```text
//! file: magic 8 | version u32 | records u32 | segment head 160 | record | record | … | check 32
//! record: kind u8 | len u32 | payload
//! ```
//!
//! Integers are little-endian, the check is BLAKE3 of all before it. The file is small, written once, and has its name only
//! when all of it is on disk.

use super::disk::{self, Cache, Disk};
use super::format::{HEAD_BYTES, SegmentHead};
use super::segment::{self, NEW_SUFFIX};
use super::{Damage, RecordKind, StoreError};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};

const PREFIX: &str = "pruned-";
const SUFFIX: &str = ".blk";
const MAGIC: [u8; 8] = *b"THRONGPR";
const VERSION: u32 = 1;
const CONTEXT: &str = "throng store remains v1";
/// Before the segment's header: magic, version, number of records.
const FRONT_BYTES: usize = 16;
/// Before a record's payload.
const RECORD_FRONT_BYTES: usize = 5;
const CHECK_BYTES: usize = 32;
/// What is left takes less room than what was there.
const BYTES_MAX: u64 = 1 << 31;

/// The path of what is left of a segment.
pub(super) fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{number:06}{SUFFIX}"))
}

/// The number in a file name; only the one spelling that `path_of` gives counts.
pub(super) fn number_of(name: &str, suffix: &str) -> Option<u32> {
    segment::number_in(name, PREFIX, suffix)
}

/// The end of a name of such a file that is whole.
pub(super) const WHOLE: &str = SUFFIX;

/// What was read of a removed segment.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) head: SegmentHead,
    /// The records, with the offset of each in the file.
    pub(super) records: Vec<(u64, RecordKind, Bytes)>,
}

/// Writes what is to be left of a segment.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    head: &SegmentHead,
    records: &[(RecordKind, &[u8])],
) -> Result<(), StoreError> {
    // Into what is kept free for that: it makes room.
    let bytes = encode(head, records);
    let path = path_of(dir, head.number());
    let unfinished = path.with_extension(&NEW_SUFFIX[1..]);
    let fill = || {
        let file = disk.create(&unfinished, Cache::Through)?;
        disk::write_all(disk, &file, &unfinished, &mut [IoSlice::new(&bytes)], 0)?;
        disk.sync(&file, &unfinished)?;
        disk.rename(&unfinished, &path)
    };
    fill().map_err(|error| segment::unfilled(disk, &unfinished, error))?;
    segment::sync_dir(disk, dir)
}

fn encode(head: &SegmentHead, records: &[(RecordKind, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    out.extend_from_slice(head.bytes_of());
    for (kind, payload) in records {
        out.push(*kind as u8);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(payload);
    }
    let check = blake3::derive_key(CONTEXT, &out);
    out.extend_from_slice(&check);
    out
}

/// Reads and checks what is left of a segment; only its header is held against the number and the chain.
pub(super) fn read(dir: &Path, number: u32, chain: Option<&[u8; 32]>) -> Result<Remains, StoreError> {
    let path = path_of(dir, number);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { file: path.clone() },
        _ => StoreError::io("open", &path)(error),
    })?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
    let damaged = |offset: usize| StoreError::Damaged {
        file: path.clone(),
        offset: offset as u64,
        damage: Damage::Remains,
    };
    let version = bytes.get(8..12).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    match version {
        Some(found) if bytes.starts_with(&MAGIC) && found > VERSION => {
            return Err(StoreError::NewerFormat { file: path, found, supported: VERSION });
        }
        Some(VERSION) if bytes.starts_with(&MAGIC) => {}
        _ => return Err(damaged(0)),
    }
    let end = bytes.len().checked_sub(CHECK_BYTES).filter(|end| *end >= FRONT_BYTES + HEAD_BYTES);
    let end = end.ok_or_else(|| damaged(0))?;
    if blake3::derive_key(CONTEXT, &bytes[..end]) != bytes[end..] {
        return Err(damaged(0));
    }
    let head = SegmentHead::of_bytes(&bytes[FRONT_BYTES..FRONT_BYTES + HEAD_BYTES]);
    let head = head.filter(|head| head.number() == number).ok_or_else(|| damaged(FRONT_BYTES))?;
    if let Some(expected) = chain.filter(|expected| *expected != head.chain()) {
        return Err(StoreError::OtherChain { file: path, found: *head.chain(), expected: *expected });
    }
    let records = records_of(&bytes.into(), end).map_err(damaged)?;
    Ok(Remains { head, records })
}

/// The records in checked bytes up to `end`, or where one does not fit.
fn records_of(bytes: &Bytes, end: usize) -> Result<Vec<(u64, RecordKind, Bytes)>, usize> {
    let count = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    let mut at = FRONT_BYTES + HEAD_BYTES;
    let mut records = Vec::new();
    while at < end {
        let front = bytes[..end].get(at..at + RECORD_FRONT_BYTES).ok_or(at)?;
        let kind = RecordKind::from_u8(front[0]).ok_or(at)?;
        let len = u32::from_le_bytes([front[1], front[2], front[3], front[4]]) as usize;
        let start = at + RECORD_FRONT_BYTES;
        let next = start.checked_add(len).filter(|next| *next <= end).ok_or(at)?;
        records.push((at as u64, kind, bytes.slice(start..next)));
        at = next;
    }
    if records.len() == count { Ok(records) } else { Err(12) }
}

/// The records that are left of all removed segments, in order, each with the file and the offset where it stands. At
/// damage it yields the error once and ends.
pub struct Remaining {
    dir: PathBuf,
    chain: Option<[u8; 32]>,
    /// Of the next file, and of the first segment.
    next: u32,
    first: u32,
    /// Check of the header of the file before.
    previous: [u8; 32],
    records: std::vec::IntoIter<(u64, RecordKind, Bytes)>,
}

/// A record that is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remain {
    /// The number of its segment.
    pub segment: u32,
    /// The file that holds it now.
    pub file: PathBuf,
    /// Where it begins there, in bytes.
    pub offset: u64,
    /// What it is.
    pub kind: RecordKind,
    /// Its payload.
    pub bytes: Bytes,
}

impl Remaining {
    pub(super) fn new(dir: &Path, chain: Option<&[u8; 32]>) -> Result<Self, StoreError> {
        let first = segment::list(dir)?.first;
        let (dir, chain, records) = (dir.to_owned(), chain.copied(), Vec::new().into_iter());
        Ok(Self { dir, chain, next: 1, first, previous: [0; 32], records })
    }

    /// Files that are not read yet, and files in all.
    pub fn progress(&self) -> (u32, u32) {
        (self.first - self.next.min(self.first), self.first - 1)
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let read = read(&self.dir, self.next, self.chain.as_ref())?;
        if read.head.previous() != &self.previous {
            let file = path_of(&self.dir, self.next);
            return Err(StoreError::Damaged { file, offset: FRONT_BYTES as u64, damage: Damage::Remains });
        }
        self.previous = *read.head.check();
        self.records = read.records.into_iter();
        self.next += 1;
        Ok(())
    }
}

impl Iterator for Remaining {
    type Item = Result<Remain, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((offset, kind, bytes)) = self.records.next() {
                let segment = self.next - 1;
                let file = path_of(&self.dir, segment);
                return Some(Ok(Remain { segment, file, offset, kind, bytes }));
            }
            if self.next >= self.first {
                return None;
            }
            if let Err(error) = self.load() {
                self.next = self.first;
                return Some(Err(error));
            }
        }
    }
}
