//! A segment that was set aside: what in it is not good, and writing that again.
//!
//! - **Upon a spot where nothing good stands**, up to the next good record: it is taken for one record, or for as long as the
//!   header there says, if that can be read and another record follows. If the check there passes for what stands there,
//!   only some of its header was hit, or zeros behind it: it is written again as it was. So is a seal behind which nothing
//!   stands; and what stands behind a seal is cleared.
//! - **Upon a spot that was a vertex, evidence or a certificate**, or that nothing good follows: it is beyond mending. Of the
//!   first two nobody keeps all, and certificates differ from node to node.
//! - **Upon a record for a spot**: it is written there if it is the one that stood there ([`RecordKey::renewed`]).
//! - **Upon taking back**: while the segment directly below the log is whole, and its header is the one that stands in what
//!   was left of it, it gets its name back; then what was left of it goes.
//!
//! Why that is safe: where a segment and what is left of it are both there, the segment counts: wherever taking back is
//! interrupted, the log is whole, and the next opening goes on.

use super::disk::{self, Disk};
use super::error::SYNC;
use super::format::{
    self, KIND_SEAL, RECORD_HEAD_BYTES, RecordHead, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead, Slot,
};
use super::segment::{self, path_of};
use super::{RecordKind, StoreError, aside, remains, walk};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// What others have, and just as it was.
const GIVEN_BACK: [RecordKind; 3] = [RecordKind::Batch, RecordKind::Block, RecordKind::Settlement];
/// Spots that are mended in one segment, and in all at a time.
pub(super) const SPOTS_MAX: usize = 4096;

/// A spot that cannot be mended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beyond {
    /// The segment, by the name that it has.
    pub file: PathBuf,
    /// Where in it, in bytes from its start.
    pub offset: u64,
    /// Why.
    pub reason: String,
}

/// Where the files are.
pub(super) struct Site {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) chain: [u8; 32],
}

/// A segment that was set aside, and is as whole as its spots are mended.
pub(super) struct Ruin {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) head: SegmentHead,
    pub(super) spots: Vec<Spot>,
}

/// Where something is not good.
pub(super) struct Spot {
    pub(super) range: Range<usize>,
    /// Kind and length, as the header there says, if it can be read.
    pub(super) told: Option<(RecordKind, usize)>,
}

impl Spot {
    pub(super) fn may_be(&self, kind: RecordKind) -> bool {
        self.told.is_none_or(|(told, _)| told == kind)
    }

    /// The spot that begins at an offset where nothing good stands; `None` if nothing good comes after it.
    fn at(key: &RecordKey, bytes: &[u8], offset: usize) -> Option<Spot> {
        let next = key.next_good(bytes, offset).map(|(next, _)| next);
        let follows = |end: usize| next == Some(end) || key.length(&bytes[end..], end as u64).is_some();
        let told = key.told(bytes, offset).filter(|told| told.kind != KIND_SEAL && follows(told.next()));
        match told {
            Some(found) => {
                let told = format::kind_of(&found).map(|kind| (kind, found.len));
                Some(Spot { range: offset..found.next(), told })
            }
            None => Some(Spot { range: offset..next?, told: None }),
        }
    }
}

/// What was found of a segment that lies below the log.
pub(super) enum Look {
    Ruin(Ruin),
    Beyond(Beyond),
    /// It was not set aside.
    Nothing,
}

impl Site {
    /// Looks for the segment of a number among what was set aside, and for what is not good in it; mends what it can alone.
    pub(super) fn ruin(&self, number: u32) -> Result<Look, StoreError> {
        let Site { disk, dir, chain } = self;
        let files = aside::files_of(dir, number)?;
        // What is wrong with what is left of removed segments, opening finds.
        let Ok(left) = remains::read(dir, number, Some(chain)) else { return Ok(Look::Nothing) };
        let links =
            walk::check_before(dir, Some(chain), number).is_ok_and(|before| before == *left.head.previous());
        let (Some(file), true) = (files.first(), links) else { return Ok(Look::Nothing) };
        let is_it = |head: SegmentHead| head.bytes_of() == left.head.bytes_of();
        let Some(path) = files.iter().find(|path| walk::head_at(&**disk, path).is_ok_and(is_it)) else {
            let reason = "its header is not the one of the segment that was set aside".to_owned();
            return Ok(Look::Beyond(Beyond { file: file.clone(), offset: 0, reason }));
        };
        match self.load(path, &left.head) {
            Ok((key, bytes)) => self.spots_of(path, left.head, &key, &bytes),
            Err(error) => {
                Ok(Look::Beyond(Beyond { file: path.clone(), offset: 0, reason: error.to_string() }))
            }
        }
    }

    /// Reads a segment that was set aside, whose header is known: it is no longer than that says.
    pub(super) fn load(&self, path: &Path, head: &SegmentHead) -> Result<(RecordKey, Bytes), StoreError> {
        let (path, number, previous) = (path.to_owned(), head.number(), head.previous());
        let loaded = walk::load_at(&*self.disk, path, number, Some(&self.chain), previous, Vec::new())?;
        Ok((loaded.key, loaded.bytes.into()))
    }

    fn spots_of(
        &self,
        path: &Path,
        head: SegmentHead,
        key: &RecordKey,
        bytes: &[u8],
    ) -> Result<Look, StoreError> {
        let (number, mut offset, mut spots) = (head.number(), SEGMENT_HEAD_BYTES, Vec::new());
        let beyond = |offset: usize, reason: &str| {
            Ok(Look::Beyond(Beyond {
                file: path.to_owned(),
                offset: offset as u64,
                reason: reason.to_owned(),
            }))
        };
        loop {
            match key.slot(bytes, offset) {
                Slot::Good(found) if found.kind == KIND_SEAL => {
                    self.clear_behind(path, bytes, found.next())?;
                    return Ok(Look::Ruin(Ruin { number, path: path.to_owned(), head, spots }));
                }
                Slot::Good(found) if format::kind_of(&found).is_some() => offset = found.next(),
                Slot::Good(_) => return beyond(offset, "a record of unknown kind stands there"),
                Slot::Free | Slot::Bad => {
                    let Some(spot) = Spot::at(key, bytes, offset) else {
                        if self.renew_seal(path, key, bytes, offset)? {
                            return Ok(Look::Ruin(Ruin { number, path: path.to_owned(), head, spots }));
                        }
                        return beyond(offset, "nothing good comes after what was lost there");
                    };
                    offset = spot.range.end;
                    if self.renew_alone(path, key, bytes, &spot.range)? {
                        continue;
                    }
                    if !GIVEN_BACK.iter().any(|kind| spot.may_be(*kind)) {
                        let reason =
                            "a vertex, evidence or a certificate was lost there: nobody gives it back";
                        return beyond(spot.range.start, reason);
                    }
                    if spots.len() >= SPOTS_MAX {
                        return beyond(spot.range.start, "too much was lost in it");
                    }
                    spots.push(spot);
                }
            }
        }
    }

    /// Writes zeros where a seal says that nothing else stands.
    fn clear_behind(&self, path: &Path, bytes: &[u8], from: usize) -> Result<(), StoreError> {
        let Some(first) = format::first_nonzero(&bytes[from..]) else { return Ok(()) };
        let range = (from + first) as u64..(from + format::nonzero_end(&bytes[from..])) as u64;
        self.change(path, |file| segment::write_zeros(&*self.disk, file, path, range))
    }

    /// Writes a record again that says itself what it was; whether it did.
    fn renew_alone(
        &self,
        path: &Path,
        key: &RecordKey,
        bytes: &[u8],
        range: &Range<usize>,
    ) -> Result<bool, StoreError> {
        let old = &bytes[range.clone()];
        let Some((head, len)) = key.told_by_check(old, range.start) else { return Ok(false) };
        let payload = RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + len;
        self.write_record(path, range.start, &head, &old[payload])?;
        Ok(true)
    }

    /// The same of a seal, behind which nothing stands.
    fn renew_seal(
        &self,
        path: &Path,
        key: &RecordKey,
        bytes: &[u8],
        start: usize,
    ) -> Result<bool, StoreError> {
        let Some((old, behind)) = bytes[start..].split_at_checked(RECORD_HEAD_BYTES) else {
            return Ok(false);
        };
        let seal = key.renewed(old, start, (KIND_SEAL, &[]));
        let Some(seal) = seal.filter(|_| format::first_nonzero(behind).is_none()) else { return Ok(false) };
        self.write_record(path, start, &seal, &[])?;
        Ok(true)
    }

    /// Writes a record where it was lost, if it is the one; whether it did.
    pub(super) fn renew(
        &self,
        path: &Path,
        head: &SegmentHead,
        range: &Range<usize>,
        (kind, payload): (RecordKind, &[u8]),
    ) -> Result<bool, StoreError> {
        let (file, mut old) = (File::open(path).map_err(StoreError::io("open", path))?, vec![0; range.len()]);
        file.read_exact_at(&mut old, range.start as u64).map_err(StoreError::io("read", path))?;
        let Some(head) = head.record_key().renewed(&old, range.start, (kind as u8, payload)) else {
            return Ok(false);
        };
        self.write_record(path, range.start, &head, payload)?;
        Ok(true)
    }

    fn write_record(
        &self,
        path: &Path,
        start: usize,
        head: &RecordHead,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let padding = vec![0; format::padded(payload.len()) - payload.len()];
        let mut pieces = [head.as_bytes(), payload, &padding].map(IoSlice::new);
        self.change(path, |file| disk::write_all(&*self.disk, file, path, &mut pieces, start as u64))
    }

    /// Makes a change to a file, durably.
    fn change(&self, path: &Path, make: impl FnOnce(&File) -> io::Result<()>) -> Result<(), StoreError> {
        let file = OpenOptions::new().write(true).open(path).map_err(StoreError::io("open", path))?;
        make(&file).map_err(StoreError::io("mend", path))?;
        self.disk.sync(&file, path).map_err(StoreError::io(SYNC, path))
    }
}

/// Gives the segments that stand directly below the log, and are whole, their names back, from the newest down.
///
/// # Errors
/// A change that failed; then the log is as whole as before, or more.
pub(super) fn take_back(site: &Site) -> Result<(), StoreError> {
    let Site { disk, dir, .. } = site;
    loop {
        let first = segment::list(dir)?.first;
        let left = remains::path_of(dir, first);
        if left.exists() {
            disk.remove(&left).map_err(StoreError::io("remove", &left))?;
            segment::sync_dir(&**disk, dir)?;
        }
        let Some(number) = first.checked_sub(1).filter(|number| *number > 0) else { return Ok(()) };
        let Look::Ruin(ruin) = site.ruin(number)? else { return Ok(()) };
        if !ruin.spots.is_empty() {
            return Ok(());
        }
        let file = path_of(dir, number);
        disk.rename(&ruin.path, &file).map_err(StoreError::io("take back", &ruin.path))?;
        segment::sync_dir(&**disk, dir)?;
        tracing::info!(file = %file.display(), "a segment that was set aside is whole, and in the log again");
    }
}
