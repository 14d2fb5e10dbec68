//! Segment files on disk: their names, the directory's lock, and how a new one comes to be.

use super::disk::{self, Cache, Disk};
use super::error::SYNC;
use super::format::{HeadFault, SEGMENT_HEAD_BYTES, SegmentHead};
use super::guard::{GUARD_NAME, GUARD_NEW_NAME};
use super::map::Map;
use super::{Damage, StoreError, aside, genesis, remains, snapshot};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK_NAME: &str = "lock";
/// Begins the name of a segment.
pub(super) const PREFIX: &str = "segment-";
const SUFFIX: &str = ".blk";
/// Ends the name of a file that is not whole yet.
pub(super) const NEW_SUFFIX: &str = ".new";
/// Bytes of zeros per write while a segment is filled.
const ZEROS_BYTES: usize = 1 << 20;
/// Kept free beside a new segment, so that a store is not what fills a disk to its last byte.
const FREE_BYTES_KEPT: u64 = 16 << 20;

/// What lies in a store's directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The number of the first segment; what is left of all before it is there. 1 where there is no segment.
    pub(super) first: u32,
    /// The number of the last segment, 0 if there is none: there is no gap.
    pub(super) segments: u32,
    /// The heights of the snapshots, ascending.
    pub(super) snapshots: Vec<u64>,
    /// Files whose creation was interrupted; nothing of value is in them.
    pub(super) unfinished: Vec<PathBuf>,
    /// The files of a log that is to be set aside as a whole, by name: then none of them counts as one.
    pub(super) abandoned: Option<Vec<PathBuf>>,
}

/// The book of addresses that the driver keeps beside the log, and its next version while it is written. The store does
/// not look into it.
pub const BOOK_NAME: &str = "addresses";
/// See [`BOOK_NAME`].
pub const BOOK_NEW_NAME: &str = "addresses.new";

/// The path of a segment.
pub(super) fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{number:06}{SUFFIX}"))
}

/// The number in a segment's file name; only the one spelling that `path_of` gives counts.
fn number_of(name: &str, suffix: &str) -> Option<u32> {
    number_in(name, PREFIX, suffix)
}

/// The number between a prefix and a suffix, if it has six digits or as many more as it needs.
pub(super) fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let number: u32 = digits.parse().ok()?;
    (number > 0 && format!("{number:06}") == digits).then_some(number)
}

/// Reads the directory and refuses what does not belong there. Changes nothing.
pub(super) fn list(dir: &Path) -> Result<Listing, StoreError> {
    let (mut numbers, mut pruned, mut all, mut marked) = (Vec::new(), Vec::new(), Vec::new(), false);
    let mut listing = Listing { first: 1, ..Listing::default() };
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        let entry = entry.map_err(StoreError::io("read", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(StoreError::io("look at", &path))?;
        let name = entry.file_name();
        match name.to_str().filter(|_| kind.is_file()) {
            Some(LOCK_NAME | GUARD_NAME | genesis::NAME | BOOK_NAME | BOOK_NEW_NAME) => {}
            Some(aside::MARK_NAME) => marked = true,
            Some(GUARD_NEW_NAME) => listing.unfinished.push(path),
            Some(name) if is_unfinished(name) => listing.unfinished.push(path),
            Some(name) if aside::is_aside(name) => {}
            Some(name) => {
                match whole(name) {
                    Some(Whole::Segment(number)) => numbers.push(number),
                    Some(Whole::Remains(number)) => pruned.push(number),
                    Some(Whole::Snapshot(height)) => listing.snapshots.push(height),
                    None => return Err(StoreError::Foreign { file: path }),
                }
                all.push(path);
            }
            None => return Err(StoreError::Foreign { file: path }),
        }
    }
    if marked {
        all.sort_unstable();
        let unfinished = listing.unfinished;
        return Ok(Listing { first: 1, unfinished, abandoned: Some(all), ..Listing::default() });
    }
    listing.snapshots.sort_unstable();
    numbers.sort_unstable();
    pruned.sort_unstable();
    // A pruning that was interrupted leaves the remains of a segment that is there: then the segment counts.
    listing.first = numbers.first().copied().unwrap_or(1);
    let before = pruned.iter().take_while(|number| numbers.is_empty() || **number < listing.first);
    let all: Vec<u32> = before.chain(&numbers).copied().collect();
    for (expected, number) in (1..).zip(&all) {
        if *number != expected {
            return Err(StoreError::Missing { file: path_of(dir, expected) });
        }
        listing.segments = expected;
    }
    match numbers.is_empty() && !pruned.is_empty() {
        true => Err(StoreError::Missing { file: path_of(dir, listing.segments + 1) }),
        false => Ok(listing),
    }
}

/// A file of the store that is whole.
enum Whole {
    Segment(u32),
    Remains(u32),
    Snapshot(u64),
}

fn whole(name: &str) -> Option<Whole> {
    let segment = number_of(name, SUFFIX).map(Whole::Segment);
    let remains = || remains::number_of(name, remains::WHOLE).map(Whole::Remains);
    segment.or_else(remains).or_else(|| snapshot::height_of(name).map(Whole::Snapshot))
}

fn is_unfinished(name: &str) -> bool {
    let numbered = number_of(name, NEW_SUFFIX).or_else(|| remains::number_of(name, NEW_SUFFIX));
    numbered.is_some() || name == genesis::unfinished() || snapshot::is_unfinished(name)
}

/// Takes the directory's lock; it is released when the file is dropped, also when the process dies.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_NAME);
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &path)(source)),
    }
}

/// Takes a share of the directory's lock, to read; changes nothing. `None` if there is no lock to take.
pub(super) fn hold(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join(LOCK_NAME);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(StoreError::io("open", &path))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &path)(source)),
    }
}

/// Makes what was created, renamed or removed in a directory durable.
pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    disk.sync_dir(dir).map_err(StoreError::io(SYNC, dir))
}

/// Checks that a header belongs here: the number that the file's name says, this chain, this successor.
pub(super) fn check_head(
    path: &Path,
    page: &[u8],
    number: u32,
    chain: Option<&[u8; 32]>,
    previous: &[u8; 32],
) -> Result<SegmentHead, StoreError> {
    let damaged = || StoreError::Damaged { file: path.to_owned(), offset: 0, damage: Damage::Head };
    let head = SegmentHead::read(page).map_err(|fault| match fault {
        HeadFault::Bad => damaged(),
        HeadFault::Newer(found) => {
            StoreError::NewerFormat { file: path.to_owned(), found, supported: super::format::FORMAT_VERSION }
        }
    })?;
    if let Some(expected) = chain.filter(|expected| *expected != head.chain()) {
        let (found, expected) = (*head.chain(), *expected);
        return Err(StoreError::OtherChain { file: path.to_owned(), found, expected });
    }
    if head.number() != number || head.previous() != previous {
        return Err(damaged());
    }
    Ok(head)
}

/// A segment that is written to: the file, its header, and the map that views are taken from.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) head: SegmentHead,
    pub(super) map: Arc<Map>,
}

impl Segment {
    /// Opens a segment whose header was checked, for writing.
    pub(super) fn open(dir: &Path, head: SegmentHead) -> Result<Self, StoreError> {
        let path = path_of(dir, head.number());
        let open = OpenOptions::new().read(true).write(true).open(&path);
        let file = open.map_err(StoreError::io("open", &path))?;
        let map = map_of(&file, &path, &head)?;
        Ok(Self { file, path, head, map })
    }

    /// Maps a segment whose header was checked, for reading only.
    pub(super) fn map(dir: &Path, head: &SegmentHead) -> Result<Arc<Map>, StoreError> {
        let path = path_of(dir, head.number());
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        map_of(&file, &path, head)
    }

    /// Makes a segment of zeros with this header. It has its name only when all of it is durable. `turn` is called before each
    /// piece and may wait for the disk to be free.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        head: SegmentHead,
        turn: &dyn Fn(),
    ) -> Result<Self, StoreError> {
        preflight(disk, dir, head.bytes())?;
        let path = path_of(dir, head.number());
        let unfinished = path.with_extension(&NEW_SUFFIX[1..]);
        let filled = fill(disk, &unfinished, &head, turn).and_then(|()| disk.rename(&unfinished, &path));
        filled.map_err(|error| unfilled(disk, &unfinished, error))?;
        sync_dir(disk, dir)?;
        Self::open(dir, head)
    }
}

/// A file could not be made whole: it is removed, so that it takes no room and is never taken for one that is whole.
pub(super) fn unfilled(disk: &dyn Disk, unfinished: &Path, error: io::Error) -> StoreError {
    if unfinished.exists() {
        // Else the next start removes it.
        let _ = disk.remove(unfinished);
    }
    StoreError::io("fill", unfinished)(error)
}

/// A map reaches exactly to the end of its file: an access beyond it would end the process.
fn map_of(file: &File, path: &Path, head: &SegmentHead) -> Result<Arc<Map>, StoreError> {
    let length = file.metadata().map_err(StoreError::io("look at", path))?.len();
    if length != head.bytes() {
        return Err(StoreError::Damaged { file: path.to_owned(), offset: length, damage: Damage::Length });
    }
    Map::new(file, path, length as usize).map_err(StoreError::io("map", path))
}

/// Zeros are written, not only reserved: a sync of reserved room converts extents each time and is many times slower.
///
/// They go past the page cache where the file system lets them: nobody reads them, and one piece after the other leaves
/// the disk to the writer's syncs in between, where a whole segment of dirty pages would hold them up.
fn fill(disk: &dyn Disk, path: &Path, head: &SegmentHead, turn: &dyn Fn()) -> io::Result<()> {
    match fill_with(disk, path, head, Cache::Past, turn) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            fill_with(disk, path, head, Cache::Through, turn)
        }
        filled => filled,
    }
}

fn fill_with(
    disk: &dyn Disk,
    path: &Path,
    head: &SegmentHead,
    cache: Cache,
    turn: &dyn Fn(),
) -> io::Result<()> {
    let file = disk.create(path, cache)?;
    // Direct writes want memory, offset and length in whole blocks, and no disk has larger ones than a page.
    let mut memory = vec![0; SEGMENT_HEAD_BYTES + ZEROS_BYTES];
    let aligned = memory.as_ptr().align_offset(SEGMENT_HEAD_BYTES);
    let piece = &mut memory[aligned..aligned + ZEROS_BYTES];
    piece[..SEGMENT_HEAD_BYTES].copy_from_slice(&head.page());
    let mut offset = 0;
    while offset < head.bytes() {
        let length = (head.bytes() - offset).min(ZEROS_BYTES as u64);
        turn();
        disk::write_all(disk, &file, path, &mut [IoSlice::new(&piece[..length as usize])], offset)?;
        piece[..SEGMENT_HEAD_BYTES].fill(0);
        offset += length;
    }
    disk.sync(&file, path)
}

/// Writes zeros over a range of a file.
pub(super) fn write_zeros(disk: &dyn Disk, file: &File, path: &Path, range: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min((range.end - range.start) as usize)];
    let mut offset = range.start;
    while offset < range.end {
        let piece = (range.end - offset).min(ZEROS_BYTES as u64);
        disk::write_all(disk, file, path, &mut [IoSlice::new(&zeros[..piece as usize])], offset)?;
        offset += piece;
    }
    Ok(())
}

/// Says how much is needed before the disk does so in the middle of a write.
pub(super) fn preflight(disk: &dyn Disk, dir: &Path, bytes: u64) -> Result<(), StoreError> {
    let free = disk.free_bytes(dir).map_err(StoreError::io("measure the free space of", dir))?;
    let needed = bytes + FREE_BYTES_KEPT;
    if free < needed {
        return Err(StoreError::NoSpace { dir: dir.to_owned(), needed, free });
    }
    Ok(())
}
