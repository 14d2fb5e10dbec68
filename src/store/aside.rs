//! Setting aside what a log cannot go on with: under names that are no part of it. Nothing is lost by it: what stands aside below
//! the log may be mended (`mend.rs`), and who knows better may still look at the files.
//!
//! - Upon damage in a segment, if what lies above it is whole and, as its owner says, enough to go on from ([`Salvage`]): that
//!   stays the log. The segments up to the last damaged one get names such as `damaged-000007-1.blk`, and in their place stands
//!   what would be left of them had they been removed, as far as it can be read. Snapshots below the one to go on from are set
//!   aside as well: nothing leads on from them.
//! - Upon damage in a segment otherwise: the good records before it are written to a new segment of the same number, at the same
//!   places; the damaged segment and all after it are set aside.
//! - Upon a log with nothing to begin with, as its owner finds: a mark is made, and the next opening sets aside all segments,
//!   what is left of removed ones, and snapshots, takes the mark away, and begins anew. Genesis and guard stay.
//! - Upon damage elsewhere, or a record of a kind that is not known: nothing.
//!
//! Why that is safe: what is left lacks records, and its owner has to bear that anyhow: what was signed last stands in the
//! guard. Where the end goes, the last segment goes first, where the beginning goes, the first, each durably: whenever that is
//! interrupted, the log still ends, or begins, at the damage. The damaged segment keeps its old name until all the others have
//! gone. Where all goes, the order does not matter: as long as the mark stands, no file is taken for a log.

use super::disk::{self, Cache, Disk};
use super::error::SYNC;
use super::format::{self, KIND_SEAL, RECORD_HEAD_BYTES, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead, Slot};
use super::segment::{self, Listing, NEW_SUFFIX, path_of};
use super::{
    Damage, Fate, Judge, RecordKind, Recovered, Remaining, StoreConfig, StoreError, recover, remains,
    snapshot, walk, writer,
};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::IntoBytes;

const PREFIX: &str = "damaged-";
const SUFFIX: &str = ".blk";
/// While a file of this name is there, all of the log is to be set aside.
pub(super) const MARK_NAME: &str = "abandoned";

/// What the owner of a damaged log knows of it, and the store does not.
pub trait Salvage {
    /// Whether the records above the damage, with the snapshots of these heights, are enough to go on from: the height of
    /// the snapshot to begin at.
    fn begins(&self, above: Recovered, snapshots: &[u64]) -> Option<u64>;

    /// Whether it wants back what lies below, once that is whole again.
    fn takes_back(&self) -> bool;

    /// What of the records below, of which some are missing, proves the rest, and is kept. They follow those that are left of
    /// segments that were removed before.
    fn links(&self, removed: Remaining) -> Judge;
}

/// Which part of a log was set aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All up to the damage: the log begins above it.
    UpTo,
    /// All from the damage on: the log ends before it.
    Behind,
}

/// What is no part of a damaged log any more.
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
    /// What was set aside for it.
    pub part: Part,
    /// The names that the segments of that part have now, in order.
    pub kept: Vec<PathBuf>,
    /// Where the good records before the damage end in the first of them, if they are in the log as well.
    good: usize,
}

/// A log that had nothing to begin with.
#[derive(Clone, Debug)]
pub struct Abandoned {
    /// The names that its files have now, in the order of their former names.
    pub kept: Vec<PathBuf>,
}

/// Whether a name is that of something set aside; only the one spelling that is given counts.
pub(super) fn is_aside(name: &str) -> bool {
    let parts = || {
        let (stem, turn) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.rsplit_once('-')?;
        let turn: u32 = turn.parse().ok()?;
        let numbered = segment::number_in(stem, "", "").or_else(|| remains::number_of(stem, ""));
        let known = numbered.is_some() || snapshot::height_of(stem).is_some();
        Some(known && name_of(stem, turn) == name && turn > 0)
    };
    parts() == Some(true)
}

fn name_of(stem: &str, turn: u32) -> String {
    format!("{PREFIX}{stem}-{turn}{SUFFIX}")
}

/// The files that were set aside of a segment.
pub(super) fn files_of(dir: &Path, number: u32) -> Result<Vec<PathBuf>, StoreError> {
    let stem = format!("{PREFIX}{number:06}-");
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        let name = entry.map_err(StoreError::io("read", dir))?.file_name();
        files.extend(
            name.to_str().filter(|name| name.starts_with(&stem) && is_aside(name)).map(|name| dir.join(name)),
        );
    }
    files.sort_unstable();
    Ok(files)
}

/// The first name for a file that is not taken.
fn free_path(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.trim_end_matches(SUFFIX).trim_start_matches(segment::PREFIX);
    let paths = (1..).map(|turn| path.with_file_name(name_of(stem, turn)));
    paths.into_iter().find(|path| !path.exists()).expect("there are fewer files than numbers")
}

/// Gives a file a name under which nobody reads it, durably; which one.
fn rename(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let to = free_path(path);
    disk.rename(path, &to).map_err(StoreError::io("set aside", path))?;
    segment::sync_dir(disk, dir)?;
    Ok(to)
}

/// A directory whose lock is held.
pub(super) struct Place<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) dir: &'a Path,
    pub(super) chain: &'a [u8; 32],
    pub(super) lock: &'a Arc<File>,
}

/// Sets aside what cannot be used for the damage that opening a log found.
///
/// # Errors
/// The fault itself, if it is none of a segment; or a change that failed.
pub(super) fn set_aside(
    place: &Place<'_>,
    config: &StoreConfig,
    salvage: &dyn Salvage,
    fault: StoreError,
) -> Result<Aside, StoreError> {
    let StoreError::Damaged { file, offset, damage } = &fault else { return Err(fault) };
    let listing = segment::list(place.dir)?;
    let Some(number) = number_of(place.dir, &listing, file).filter(|_| *damage != Damage::Kind) else {
        return Err(fault);
    };
    let bytes = fs::read(file).map_err(StoreError::io("read", file))?;
    let (good, record) = good_part(&bytes, number, *offset as usize);
    let aside = Aside {
        file: file.clone(),
        offset: *offset,
        record,
        damage: *damage,
        part: Part::UpTo,
        kept: Vec::new(),
        good: 0,
    };
    if let Some((last, begins)) = whole_above(place, &listing, number, salvage)? {
        return go_on_above(place, &listing, (last, begins), salvage, aside);
    }
    end_before(place, &listing, config, (number, &bytes), Aside { part: Part::Behind, good, ..aside })
}

fn number_of(dir: &Path, listing: &Listing, file: &Path) -> Option<u32> {
    (listing.first..=listing.segments).find(|number| path_of(dir, *number) == *file)
}

/// The last damaged segment, if all above it is whole and enough to go on from; and the height of the snapshot to begin at.
fn whole_above(
    place: &Place<'_>,
    listing: &Listing,
    damaged: u32,
    salvage: &dyn Salvage,
) -> Result<Option<(u32, u64)>, StoreError> {
    let Place { disk, dir, chain, lock } = *place;
    let mut last = damaged;
    while last < listing.segments {
        match recover::behind(disk, dir, chain, (last, listing.segments), lock) {
            Ok(above) => return Ok(salvage.begins(above, &listing.snapshots).map(|begins| (last, begins))),
            Err(StoreError::Damaged { file, damage, .. }) if damage != Damage::Kind => {
                match number_of(dir, listing, &file).filter(|later| *later > last) {
                    Some(later) => last = later,
                    // Its header, which links what comes next.
                    None => return Ok(None),
                }
            }
            // An earlier start was interrupted when it let the log end before the damage.
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// Lets the log begin behind a segment.
fn go_on_above(
    place: &Place<'_>,
    listing: &Listing,
    (last, begins): (u32, u64),
    salvage: &dyn Salvage,
    mut aside: Aside,
) -> Result<Aside, StoreError> {
    let (disk, dir) = (&**place.disk, place.dir);
    // Whatever links them was checked by the walks, but for the headers of those that are damaged.
    let mut previous = walk::check_before(dir, Some(place.chain), listing.first)?;
    let mut heads = Vec::new();
    for number in listing.first..=last {
        let (path, head) = (path_of(dir, number), walk::head(disk, dir, number)?);
        segment::check_head(&path, &head.page(), number, Some(place.chain), &previous)?;
        previous = *head.check();
        heads.push(head);
    }
    let old = listing.snapshots.iter().filter(|height| **height < begins);
    for height in old {
        rename(disk, dir, &snapshot::path_of(dir, *height))?;
    }
    let links = salvage.links(Remaining::new(dir, Some(place.chain))?);
    for head in &heads {
        let path = path_of(dir, head.number());
        let mut kept = good_records(&path, 0);
        kept.retain(|(kind, bytes)| links(*kind, bytes) == Fate::Keep);
        let kept: Vec<_> = kept.iter().map(|(kind, bytes)| (*kind, &bytes[..])).collect();
        remains::write(disk, dir, head, &kept)?;
        aside.kept.push(rename(disk, dir, &path)?);
    }
    Ok(aside)
}

/// Lets the log end where the damage begins.
fn end_before(
    place: &Place<'_>,
    listing: &Listing,
    config: &StoreConfig,
    (number, damaged): (u32, &[u8]),
    mut aside: Aside,
) -> Result<Aside, StoreError> {
    let Place { disk, dir, chain, .. } = *place;
    let previous = match number == listing.first {
        true => walk::check_before(dir, Some(chain), listing.first)?,
        false => *walk::head(&**disk, dir, number - 1)?.check(),
    };
    let (disk, file, good) = (&**disk, &path_of(dir, number), aside.good);
    // Larger than a new one where the damaged one was.
    let size = config.segment_bytes.max((good + RECORD_HEAD_BYTES) as u64);
    let head = writer::fresh_head(number, size.next_multiple_of(SEGMENT_HEAD_BYTES as u64), chain, previous)?;
    let new = file.with_extension(&NEW_SUFFIX[1..]);
    write_new(disk, &new, &head, damaged, good)?;
    for later in (number + 1..=listing.segments).rev() {
        aside.kept.push(rename(disk, dir, &path_of(dir, later))?);
    }
    let to = free_path(file);
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

/// Says durably that all of a log is to be set aside.
pub(super) fn mark(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(MARK_NAME);
    let file = disk.create(&path, Cache::Through).map_err(StoreError::io("create", &path))?;
    disk.sync(&file, &path).map_err(StoreError::io(SYNC, &path))?;
    segment::sync_dir(disk, dir)
}

/// Sets aside the files of a log that is marked, and takes the mark away.
pub(super) fn abandon(disk: &dyn Disk, dir: &Path, files: &[PathBuf]) -> Result<Abandoned, StoreError> {
    let kept = files.iter().map(|path| rename(disk, dir, path)).collect::<Result<_, _>>()?;
    let path = dir.join(MARK_NAME);
    disk.remove(&path).map_err(StoreError::io("remove", &path))?;
    segment::sync_dir(disk, dir)?;
    Ok(Abandoned { kept })
}

impl Aside {
    /// The records of what was set aside that are good and not in the log, in order, as far as they can be read: whoever made
    /// one may know it again.
    pub fn records(&self) -> impl Iterator<Item = (RecordKind, Bytes)> + '_ {
        let behind = |place: usize| if place == 0 { self.good } else { 0 };
        self.kept.iter().enumerate().flat_map(move |(place, path)| good_records(path, behind(place)))
    }
}

impl Abandoned {
    /// As [`Aside::records`].
    pub fn records(&self) -> impl Iterator<Item = (RecordKind, Bytes)> + '_ {
        self.kept.iter().flat_map(|path| good_records(path, 0))
    }
}

/// The good records of a segment from an offset on, wherever they begin; of another file none.
fn good_records(path: &Path, from: usize) -> Vec<(RecordKind, Bytes)> {
    let read = || {
        let bytes = Bytes::from(fs::read(path).ok()?);
        let key: RecordKey = SegmentHead::read(&bytes).ok()?.record_key();
        let records = key.all_good(&bytes, from).filter_map(|(_, found)| {
            Some((format::kind_of(&found)?, bytes.slice(found.start..found.start + found.len)))
        });
        Some(records.collect())
    };
    read().unwrap_or_default()
}
