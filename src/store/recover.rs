//! Opening a log that exists: everything is checked, a torn tail is cut, and what is durable is handed out as views.

use super::disk::Disk;
use super::error::SYNC;
use super::format::{self, RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES};
use super::map::Map;
use super::segment::{self, Listing, Segment};
use super::walk::{self, Place, Tail, Walk};
use super::{Index, RecordKind, StoreError, sealed};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The end of the log that was never acknowledged, and was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the tail began.
    pub offset: u64,
    /// How far written bytes reached from there.
    pub bytes: u64,
}

/// What opening found: the segment to go on with and where, prepared ones after it, and the records.
pub(super) struct Log {
    pub(super) current: Segment,
    pub(super) end: usize,
    pub(super) prepared: VecDeque<Segment>,
    pub(super) records: Recovered,
    pub(super) cut: Option<TornTail>,
}

/// Checks all of an existing log, then cuts a torn tail and makes the rest durable. Nothing is changed when there is damage.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    chain: &[u8; 32],
    lock: &Arc<File>,
) -> Result<Log, StoreError> {
    let Listing { first, segments, .. } = segment::list(dir)?;
    let before = walk::check_before(dir, Some(chain), first)?;
    let walk = walked(disk, dir, chain, (first, segments), before)?;
    let tail = walk.tail().expect("a walk without an error ends at a tail").clone();
    // Mapped only now: every page was just read without an error.
    let (sealed, open) = walk.heads().split_at((tail.number - first) as usize);
    let mut prepared =
        open.iter().map(|head| Segment::open(dir, *head)).collect::<Result<VecDeque<_>, _>>()?;
    let current = prepared.pop_front().expect("the tail lies in a segment that was read");
    let mut maps = sealed.iter().map(|head| Segment::map(dir, head)).collect::<Result<VecDeque<_>, _>>()?;
    maps.push_back(current.map.clone());
    if let Some(torn) = &tail.torn {
        cut(&**disk, &current, torn)?;
    }
    settle(&**disk, dir, first, tail.number)?;
    let records = Recovered::new(maps, first, &tail, lock.clone());
    Ok(Log { current, end: tail.end, prepared, records, cut: tail.torn })
}

/// Checks the segments of a log behind one of them, and changes nothing; their records.
pub(super) fn behind(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    chain: &[u8; 32],
    (last, segments): (u32, u32),
    lock: &Arc<File>,
) -> Result<Recovered, StoreError> {
    let before = *walk::head(&**disk, dir, last)?.check();
    let first = last + 1;
    let walk = walked(disk, dir, chain, (first, segments), before)?;
    let tail = walk.tail().expect("a walk without an error ends at a tail");
    let used = &walk.heads()[..=(tail.number - first) as usize];
    let maps = used.iter().map(|head| Segment::map(dir, head)).collect::<Result<VecDeque<_>, _>>()?;
    Ok(Recovered::new(maps, first, tail, lock.clone()))
}

/// A walk over segments that has come to the end of the log.
fn walked(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    chain: &[u8; 32],
    (first, segments): (u32, u32),
    before: [u8; 32],
) -> Result<Walk, StoreError> {
    let sound = sealed::sound(&**disk, dir, chain, (first, segments), before);
    let mut walk = Walk::between(disk.clone(), dir, Some(chain), (first, segments), before, sound)?;
    while walk.step()?.is_some() {}
    Ok(walk)
}

/// Makes durable what was read. A process that was killed between write and sync leaves good records that are only in
/// memory; handed out, or built upon, they must survive a power cut like all others. Before the last record only
/// the seal of the segment before can be in that state.
fn settle(disk: &dyn Disk, dir: &Path, first: u32, last: u32) -> Result<(), StoreError> {
    for number in last.saturating_sub(1).max(first)..=last {
        let path = segment::path_of(dir, number);
        File::open(&path).and_then(|file| disk.sync(&file, &path)).map_err(StoreError::io(SYNC, &path))?;
    }
    segment::sync_dir(disk, dir)
}

/// Writes zeros over a torn tail, and syncs: the file keeps its length, since it is mapped.
fn cut(disk: &dyn Disk, segment: &Segment, torn: &TornTail) -> Result<(), StoreError> {
    let Segment { file, path, .. } = segment;
    let range = torn.offset..torn.offset + torn.bytes;
    segment::write_zeros(disk, file, path, range).map_err(StoreError::io("cut the torn tail of", path))?;
    disk.sync(file, path).map_err(StoreError::io(SYNC, path))
}

/// Everything that was durable when the store was opened, in order, as views on the maps. A map is let go when the
/// iterator has passed it and none of its views is held. Whatever it has passed stands in the store's index. A clone begins
/// where this one is.
#[derive(Clone)]
pub struct Recovered {
    maps: VecDeque<Arc<Map>>,
    /// The number of the first of them.
    number: u32,
    index: Arc<Mutex<Index<Place>>>,
    offset: usize,
    /// Where the log ended in the last map.
    end: usize,
    /// Nobody else may write while views of checked bytes are being made.
    _lock: Arc<File>,
}

impl Recovered {
    pub(super) fn empty(lock: Arc<File>) -> Self {
        Self { maps: VecDeque::new(), number: 1, index: Arc::default(), offset: 0, end: 0, _lock: lock }
    }

    fn new(maps: VecDeque<Arc<Map>>, number: u32, tail: &Tail, lock: Arc<File>) -> Self {
        let (offset, index) = (SEGMENT_HEAD_BYTES, Arc::default());
        Self { maps, number, index, offset, end: tail.end, _lock: lock }
    }

    /// The index that it fills.
    pub(super) fn index(&self) -> &Arc<Mutex<Index<Place>>> {
        &self.index
    }
}

impl Iterator for Recovered {
    type Item = (RecordKind, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let map = self.maps.front()?;
            if self.maps.len() == 1 && self.offset >= self.end {
                self.maps.clear();
                return None;
            }
            // The header was checked under the lock that is still held; a map that differs now ends the iterator.
            let start = self.offset + RECORD_HEAD_BYTES;
            let (kind, len) = format::peek(map.slice(self.offset..start)?)?;
            if kind == format::KIND_SEAL {
                self.maps.pop_front();
                self.number += 1;
                self.offset = SEGMENT_HEAD_BYTES;
                continue;
            }
            let view = map.view(start..start.checked_add(len)?)?;
            let place = Place { segment: self.number, offset: self.offset as u64 };
            self.offset = start + format::padded(len);
            let kind = RecordKind::from_u8(kind)?;
            self.index.lock().note(kind, &view, place);
            return Some((kind, view));
        }
    }
}
