//! Setting aside what lies behind damage, so that a log ends where it is still whole.
//!
//! - Upon damage in a segment: the good records before it are written to a new segment of the same number, at the same
//!   places; the damaged segment and all after it get names under which nobody reads them (`damaged-000007-1.blk`). Nothing
//!   is lost: who knows better may still look at them.
//! - Upon damage elsewhere, or a record of a kind that is not known: nothing.
//!
//! Why that is safe: what is left is a log that lost its end, and its owner has to bear that anyhow: what was signed last
//! stands in the guard. The segments behind the damage go first, the last one first, each durably: whenever that is
//! interrupted, the log still ends at the damage, or before it. The damaged one keeps its old name until the new one takes
//! it.

use super::disk::{self, Cache, Disk};
use super::format::{self, KIND_SEAL, RECORD_HEAD_BYTES, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead, Slot};
use super::segment::{self, NEW_SUFFIX, path_of};
use super::{Damage, RecordKind, StoreConfig, StoreError, walk, writer};
use bytes::Bytes;
use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

const PREFIX: &str = "damaged-";
const SUFFIX: &str = ".blk";

/// What lay behind damage and is no part of the log any more.
#[derive(Clone, Debug)]
pub struct Aside {
    /// The segment that is damaged, by the name that it had.
    pub file: PathBuf,
    /// Where in it, in bytes from its start.
    pub offset: u64,
    /// Which record of the segment it is, from 1.
    pub record: u64,
    /// What is wrong there.
    pub damage: Damage,
    /// The names that the damaged segment and all after it have now, in order.
    pub kept: Vec<PathBuf>,
    /// Where the good records before the damage end in the damaged segment.
    good: usize,
}

/// Whether a name is that of something set aside; only the one spelling that is given counts.
pub(super) fn is_aside(name: &str) -> bool {
    let parts = || {
        let (number, turn) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
        let (number, turn): (u32, u32) = (number.parse().ok()?, turn.parse().ok()?);
        Some(name_of(number, turn) == name && number > 0 && turn > 0)
    };
    parts() == Some(true)
}

fn name_of(number: u32, turn: u32) -> String {
    format!("{PREFIX}{number:06}-{turn}{SUFFIX}")
}

/// The first name for a segment that is not taken.
fn free_path(dir: &Path, number: u32) -> PathBuf {
    let paths = (1..).map(|turn| dir.join(name_of(number, turn)));
    paths.into_iter().find(|path| !path.exists()).expect("there are fewer files than numbers")
}

/// Ends the log of a directory, whose lock is held, at the damage that opening it found.
///
/// # Errors
/// The fault itself, if it is none of a segment; or a change that failed.
pub(super) fn set_aside(
    disk: &dyn Disk,
    dir: &Path,
    chain: &[u8; 32],
    config: &StoreConfig,
    fault: StoreError,
) -> Result<Aside, StoreError> {
    let StoreError::Damaged { file, offset, damage } = &fault else { return Err(fault) };
    let listing = segment::list(dir)?;
    let number = (listing.first..=listing.segments).find(|number| path_of(dir, *number) == *file);
    let Some(number) = number.filter(|_| *damage != Damage::Kind) else { return Err(fault) };
    let previous = match number == listing.first {
        true => walk::check_before(dir, Some(chain), listing.first)?,
        false => *walk::head(dir, number - 1)?.check(),
    };
    let bytes = fs::read(file).map_err(StoreError::io("read", file))?;
    let (good, record) = good_part(&bytes, number, *offset as usize);
    // Larger than a new one where the damaged one was.
    let size = config.segment_bytes.max((good + RECORD_HEAD_BYTES) as u64);
    let head = writer::fresh_head(number, size.next_multiple_of(SEGMENT_HEAD_BYTES as u64), chain, previous)?;
    let new = file.with_extension(&NEW_SUFFIX[1..]);
    write_new(disk, &new, &head, &bytes[..], good)?;
    let mut aside =
        Aside { file: file.clone(), offset: *offset, record, damage: *damage, kept: Vec::new(), good };
    for later in (number + 1..=listing.segments).rev() {
        let (path, to) = (path_of(dir, later), free_path(dir, later));
        disk.rename(&path, &to).map_err(StoreError::io("set aside", &path))?;
        segment::sync_dir(disk, dir)?;
        aside.kept.push(to);
    }
    let to = free_path(dir, number);
    disk.link(file, &to).map_err(StoreError::io("set aside", file))?;
    segment::sync_dir(disk, dir)?;
    disk.rename(&new, file).map_err(StoreError::io("rename", &new))?;
    segment::sync_dir(disk, dir)?;
    aside.kept.push(to);
    aside.kept.reverse();
    Ok(aside)
}

/// Where the good records of a segment end that come before an offset, 0 if not even its header is good, and the number of
/// the record there.
fn good_part(bytes: &[u8], number: u32, end: usize) -> (usize, u64) {
    let (mut offset, mut record) = (SEGMENT_HEAD_BYTES, 1);
    let head = SegmentHead::read(bytes).ok().filter(|head| head.number() == number);
    let Some(key) = head.map(|head| head.record_key()) else { return (0, record) };
    while offset < end
        && let Slot::Good(found) = key.slot(bytes, offset)
        && found.kind != KIND_SEAL
    {
        (offset, record) = (found.next(), record + 1);
    }
    (offset, record)
}

/// Writes a segment of the good records of a damaged one of the same number, each at its place, and syncs it.
fn write_new(
    disk: &dyn Disk,
    path: &Path,
    head: &SegmentHead,
    damaged: &[u8],
    good: usize,
) -> Result<(), StoreError> {
    let mut bytes = vec![0; head.bytes() as usize];
    bytes[..SEGMENT_HEAD_BYTES].copy_from_slice(&head.page());
    if let Ok(old) = SegmentHead::read(&damaged[..good]) {
        let (old, key) = (old.record_key(), head.record_key());
        let mut offset = SEGMENT_HEAD_BYTES;
        while offset < good
            && let Slot::Good(found) = old.slot(damaged, offset)
        {
            let payload = found.start..found.start + found.len;
            let front = key.head(offset, found.durable, found.kind, &damaged[payload.clone()]);
            bytes[offset..found.start].copy_from_slice(front.as_bytes());
            bytes[payload.clone()].copy_from_slice(&damaged[payload]);
            offset = found.next();
        }
    }
    let fill = || {
        let file = disk.create(path, Cache::Through)?;
        disk::write_all(disk, &file, path, &mut [IoSlice::new(&bytes)], 0)?;
        disk.sync(&file, path)
    };
    fill().map_err(|error| segment::unfilled(disk, path, error))
}

impl Aside {
    /// The records behind the damage that are good, in order, as far as they can be read: no part of the log, but whoever
    /// made one may know it again.
    pub fn records(&self) -> impl Iterator<Item = (RecordKind, Bytes)> + '_ {
        let behind = |place: usize| if place == 0 { self.good } else { 0 };
        self.kept.iter().enumerate().flat_map(move |(place, path)| good_records(path, behind(place)))
    }
}

/// The good records of a segment from an offset on, wherever they begin.
fn good_records(path: &Path, from: usize) -> Vec<(RecordKind, Bytes)> {
    let read = || {
        let bytes = Bytes::from(fs::read(path).ok()?);
        let key: RecordKey = SegmentHead::read(&bytes).ok()?.record_key();
        let (mut records, mut offset) = (Vec::new(), from.max(SEGMENT_HEAD_BYTES));
        while let Some((at, found)) = key.next_good(&bytes, offset) {
            debug_assert!(at >= offset);
            if let Some(kind) = format::kind_of(&found) {
                records.push((kind, bytes.slice(found.start..found.start + found.len)));
            }
            offset = found.next();
        }
        Some(records)
    };
    read().unwrap_or_default()
}
