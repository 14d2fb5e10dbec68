//! Reading a log from its first record to its last, by plain reads: for opening and for checking tools. Only reads.

use super::disk::{self, Disk, SystemDisk};
use super::format::{self, Found, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead, Slot};
use super::segment::{self, Listing, path_of};
use super::{Damage, RecordKind, StoreError, TornTail, remains};
use bytes::Bytes;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the log ends.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Number of the segment that is written next.
    pub(super) number: u32,
    /// Offset of the next record in it.
    pub(super) end: usize,
    /// What has to be cut from there.
    pub(super) torn: Option<TornTail>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of its segment, from 1.
    pub segment: u32,
    /// The offset of its header in the segment's file, in bytes.
    pub offset: u64,
}

impl Place {
    /// The segment's file in a data directory.
    pub fn file(&self, dir: &Path) -> PathBuf {
        path_of(dir, self.segment)
    }
}

/// A segment in memory.
pub(super) struct Loaded {
    pub(super) head: SegmentHead,
    pub(super) key: RecordKey,
    path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Loaded {
    fn damaged(&self, offset: usize, damage: Damage) -> StoreError {
        StoreError::Damaged { file: self.path.clone(), offset: offset as u64, damage }
    }
}

/// A walk over all segments of a directory. It holds one segment in memory.
pub(super) struct Walk {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    chain: Option<[u8; 32]>,
    /// The numbers of the first and of the last segment.
    first: u32,
    segments: u32,
    /// Check of the header before the first.
    before: [u8; 32],
    heads: Vec<SegmentHead>,
    loaded: Option<Loaded>,
    offset: usize,
    /// Of the record that `step` returned last.
    place: Place,
    tail: Option<Tail>,
}

impl Walk {
    /// Lists the directory and reads the first segment; an empty directory is an error.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, chain: Option<&[u8; 32]>) -> Result<Self, StoreError> {
        let Listing { first, segments, .. } = segment::list(dir)?;
        if segments == 0 {
            return Err(StoreError::Empty { dir: dir.to_owned() });
        }
        let before = check_before(dir, chain, first)?;
        Walk::between(disk, dir, chain, (first, segments), before, Vec::new())
    }

    /// A walk from one segment to another. `before` is the check of the header before the first; the walk begins behind
    /// sealed segments that were checked otherwise: those of these headers.
    pub(super) fn between(
        disk: Arc<dyn Disk>,
        dir: &Path,
        chain: Option<&[u8; 32]>,
        (first, segments): (u32, u32),
        before: [u8; 32],
        heads: Vec<SegmentHead>,
    ) -> Result<Self, StoreError> {
        let mut walk = Self {
            disk,
            dir: dir.to_owned(),
            chain: chain.copied(),
            first,
            segments,
            before,
            heads,
            loaded: None,
            offset: SEGMENT_HEAD_BYTES,
            place: Place { segment: first, offset: SEGMENT_HEAD_BYTES as u64 },
            tail: None,
        };
        walk.load(first + walk.heads.len() as u32, Vec::new())?;
        Ok(walk)
    }

    /// Bytes read so far, and of all segments, taken to be as large as the last one read.
    fn progress(&self) -> (u64, u64) {
        let read: u64 = self.heads.iter().map(SegmentHead::bytes).sum();
        let last = self.heads.last().map_or(0, SegmentHead::bytes);
        let ahead = u64::from(self.segments + 1 - self.first) - self.heads.len() as u64;
        (read - last + self.offset as u64, read + last * ahead)
    }

    /// The headers of the segments read so far, in order.
    pub(super) fn heads(&self) -> &[SegmentHead] {
        &self.heads
    }

    /// Where the log ends; known when `step` has returned `None`.
    pub(super) fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// The next record, or `None` at the end of the log. After an error the walk is over.
    pub(super) fn step(&mut self) -> Result<Option<(RecordKind, &[u8])>, StoreError> {
        let (kind, found) = loop {
            let Some(loaded) = &self.loaded else { return Ok(None) };
            match loaded.key.slot(&loaded.bytes, self.offset) {
                Slot::Good(found) if found.kind == format::KIND_SEAL => self.pass_seal(found)?,
                Slot::Good(found) => match format::kind_of(&found) {
                    Some(kind) => break (kind, found),
                    None => return Err(self.stop(Damage::Kind)),
                },
                Slot::Free | Slot::Bad => return self.finish().map(|()| None),
            }
        };
        let loaded = self.loaded.as_ref().expect("the record was found in it");
        self.place = Place { segment: loaded.head.number(), offset: self.offset as u64 };
        self.offset = found.next();
        Ok(Some((kind, &loaded.bytes[found.start..found.start + found.len])))
    }

    /// Ends the walk with an error about the present place.
    fn stop(&mut self, damage: Damage) -> StoreError {
        let loaded = self.loaded.take().expect("a walk that is over finds nothing");
        loaded.damaged(self.offset, damage)
    }

    /// Goes on to the segment after a sealed one. Behind the seal there must be nothing.
    fn pass_seal(&mut self, seal: Found) -> Result<(), StoreError> {
        let loaded = self.loaded.take().expect("the seal was found in it");
        let rest = seal.next();
        if let Some(index) = format::first_nonzero(&loaded.bytes[rest..]) {
            return Err(loaded.damaged(rest + index, Damage::NotZero));
        }
        let next = loaded.head.number() + 1;
        self.offset = SEGMENT_HEAD_BYTES;
        self.load(next, loaded.bytes)
    }

    /// The log ends at the present place: decides whether cleanly, torn or damaged.
    fn finish(&mut self) -> Result<(), StoreError> {
        let loaded = self.loaded.take().expect("the end was found in it");
        let end = self.offset;
        let written = end + format::nonzero_end(&loaded.bytes[end..]);
        let used = self.later_segment_used(loaded.head.number(), &loaded)?;
        if used || (written > end && loaded.key.proves_durable(&loaded.bytes, end, end)) {
            return Err(loaded.damaged(end, Damage::Record));
        }
        let torn = (written > end).then(|| TornTail {
            file: loaded.path.clone(),
            offset: end as u64,
            bytes: (written - end) as u64,
        });
        self.tail = Some(Tail { number: loaded.head.number(), end, torn });
        Ok(())
    }

    /// Whether a record stands in a segment after this unsealed one: none is written there before the seal is durable.
    /// Bytes that are none have no business there either, and are damage of their own.
    fn later_segment_used(&mut self, number: u32, unsealed: &Loaded) -> Result<bool, StoreError> {
        let mut previous = *unsealed.head.check();
        for later in number + 1..=self.segments {
            let loaded = load(&*self.disk, &self.dir, later, self.chain.as_ref(), &previous, Vec::new())?;
            if let Some(index) = format::first_nonzero(&loaded.bytes[SEGMENT_HEAD_BYTES..]) {
                let from = SEGMENT_HEAD_BYTES;
                return match loaded.key.proves_durable(&loaded.bytes, from, 0) {
                    true => Ok(true),
                    false => Err(loaded.damaged(from + index, Damage::NotZero)),
                };
            }
            previous = *loaded.head.check();
            self.heads.push(loaded.head);
        }
        Ok(false)
    }

    fn load(&mut self, number: u32, buffer: Vec<u8>) -> Result<(), StoreError> {
        let previous = self.heads.last().map_or(self.before, |head| *head.check());
        let loaded = load(&*self.disk, &self.dir, number, self.chain.as_ref(), &previous, buffer)?;
        self.heads.push(loaded.head);
        self.loaded = Some(loaded);
        Ok(())
    }
}

/// Checks the first segment's header alone: enough to refuse another chain or a newer format before anything else.
pub(super) fn check_first(
    disk: &dyn Disk,
    dir: &Path,
    chain: &[u8; 32],
    first: u32,
) -> Result<(), StoreError> {
    let before = check_before(dir, Some(chain), first)?;
    open_checked(disk, &path_of(dir, first), first, Some(chain), &before, &mut Vec::new()).map(drop)
}

/// The check of the header before the first segment: of what is left of the one removed last, zero where none was.
pub(super) fn check_before(dir: &Path, chain: Option<&[u8; 32]>, first: u32) -> Result<[u8; 32], StoreError> {
    match first {
        0 | 1 => Ok([0; 32]),
        first => Ok(*remains::read(dir, first - 1, chain)?.head.check()),
    }
}

/// The header of a segment that was read before.
pub(super) fn head(disk: &dyn Disk, dir: &Path, number: u32) -> Result<SegmentHead, StoreError> {
    head_at(disk, &path_of(dir, number))
}

/// The header of a segment that has another name.
pub(super) fn head_at(disk: &dyn Disk, path: &Path) -> Result<SegmentHead, StoreError> {
    let (file, mut page) = (File::open(path).map_err(StoreError::io("open", path))?, Vec::new());
    disk::read_up_to(disk, &file, path, &mut page, SEGMENT_HEAD_BYTES as u64)?;
    let damaged = |_| StoreError::Damaged { file: path.to_owned(), offset: 0, damage: Damage::Head };
    SegmentHead::read(&page).map_err(damaged)
}

/// Opens a segment and reads its first page into `page`, which is left holding just that.
fn open_checked(
    disk: &dyn Disk,
    path: &Path,
    number: u32,
    chain: Option<&[u8; 32]>,
    previous: &[u8; 32],
    page: &mut Vec<u8>,
) -> Result<(File, SegmentHead), StoreError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::Missing { file: path.to_owned() },
        _ => StoreError::io("open", path)(error),
    })?;
    page.clear();
    disk::read_up_to(disk, &file, path, page, SEGMENT_HEAD_BYTES as u64)?;
    if page.len() < SEGMENT_HEAD_BYTES {
        let offset = page.len() as u64;
        return Err(StoreError::Damaged { file: path.to_owned(), offset, damage: Damage::Length });
    }
    let head = segment::check_head(path, page, number, chain, previous)?;
    Ok((file, head))
}

/// Reads a whole segment. The length is taken from the file and held against the header before it is believed.
pub(super) fn load(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    chain: Option<&[u8; 32]>,
    previous: &[u8; 32],
    bytes: Vec<u8>,
) -> Result<Loaded, StoreError> {
    load_at(disk, path_of(dir, number), number, chain, previous, bytes)
}

/// Reads a whole segment that has another name.
pub(super) fn load_at(
    disk: &dyn Disk,
    path: PathBuf,
    number: u32,
    chain: Option<&[u8; 32]>,
    previous: &[u8; 32],
    mut bytes: Vec<u8>,
) -> Result<Loaded, StoreError> {
    let (file, head) = open_checked(disk, &path, number, chain, previous, &mut bytes)?;
    let length = file.metadata().map_err(StoreError::io("look at", &path))?.len();
    if length == head.bytes() {
        bytes.reserve_exact(length as usize - SEGMENT_HEAD_BYTES);
        disk::read_up_to(disk, &file, &path, &mut bytes, length)?;
    }
    if bytes.len() as u64 != head.bytes() {
        return Err(StoreError::Damaged { file: path, offset: length, damage: Damage::Length });
    }
    Ok(Loaded { key: head.record_key(), head, path, bytes })
}

/// The records of a directory, in order, each with bytes of its own: read without a lock, without maps and without
/// changing anything. At damage it yields the error once and ends. On a directory that is being written, the
/// end of the log moves while it is read, and can look torn or damaged.
pub struct RecordIter {
    walk: Walk,
    over: bool,
}

impl RecordIter {
    pub(super) fn new(dir: &Path, chain: Option<&[u8; 32]>) -> Result<Self, StoreError> {
        Ok(Self { walk: Walk::new(Arc::new(SystemDisk), dir, chain)?, over: false })
    }

    /// Where the record stands that the iterator returned last.
    pub fn place(&self) -> Place {
        self.walk.place
    }

    /// The chain that the segments name.
    pub fn chain_id(&self) -> &[u8; 32] {
        self.walk.heads[0].chain()
    }

    /// Bytes of all segments read so far, and of those that there are.
    pub fn progress(&self) -> (u64, u64) {
        self.walk.progress()
    }

    /// The torn tail that opening the store would cut; known once the iterator has ended.
    pub fn torn(&self) -> Option<&TornTail> {
        self.walk.tail().and_then(|tail| tail.torn.as_ref())
    }
}

impl Iterator for RecordIter {
    type Item = Result<(RecordKind, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step =
            self.walk.step().map(|step| step.map(|(kind, bytes)| (kind, Bytes::copy_from_slice(bytes))));
        self.over = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
