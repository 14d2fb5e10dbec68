//! Removing the oldest segments. What a record means, and so which may go, is the caller's to say.
//!
//! - Upon a sealed segment of which no record has to stay: what is to be left of it is written and synced under a name of
//!   its own ([`super::remains`]), then the segment is removed, then the next one is looked at. Oldest first, whole segments
//!   only.
//! - Upon the first that has to stay, is damaged, or is still written to: stop.
//!
//! Why that is safe: at every instant each number has its segment, or what is left of it, or both; where both are there
//! the segment counts, and the next pruning finishes what was begun. Views on a removed segment stay good while they are
//! held: its file is gone from the directory, not from the disk.

use super::disk::Disk;
use super::format::{self, KIND_SEAL, SEGMENT_HEAD_BYTES, Slot};
use super::segment::{self, path_of};
use super::walk::{self, Loaded};
use super::{RecordKind, StoreError, remains};
use std::path::Path;

/// What may become of a record whose segment is looked at for removal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is needed: its segment stays, and all after it.
    Stay,
    /// It may go.
    Go,
    /// It may leave the segment, but is kept beside the others.
    Keep,
}

/// Says what may become of a record.
pub type Judge = Box<dyn Fn(RecordKind, &[u8]) -> Fate + Send>;

/// What a pruning removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pruned {
    /// Segments.
    pub segments: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes what may go, unless `closing` says to leave off.
pub(super) fn prune(
    disk: &dyn Disk,
    dir: &Path,
    chain: &[u8; 32],
    judge: &dyn Fn(RecordKind, &[u8]) -> Fate,
    closing: &dyn Fn() -> bool,
) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let listing = segment::list(dir)?;
    let mut previous = walk::check_before(dir, Some(chain), listing.first)?;
    for number in listing.first..listing.segments {
        if closing() {
            break;
        }
        let loaded = walk::load(disk, dir, number, Some(chain), &previous, Vec::new())?;
        let Some(kept) = judged(&loaded, judge) else { break };
        remains::write(disk, dir, &loaded.head, &kept)?;
        let path = path_of(dir, number);
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        segment::sync_dir(disk, dir)?;
        previous = *loaded.head.check();
        pruned = Pruned { segments: pruned.segments + 1, bytes: pruned.bytes + loaded.head.bytes() };
    }
    Ok(pruned)
}

/// The records of a sealed segment that are kept when it goes; `None` if it must stay.
fn judged<'a>(
    loaded: &'a Loaded,
    judge: &dyn Fn(RecordKind, &[u8]) -> Fate,
) -> Option<Vec<(RecordKind, &'a [u8])>> {
    let (mut offset, mut kept) = (SEGMENT_HEAD_BYTES, Vec::new());
    loop {
        let Slot::Good(found) = loaded.key.slot(&loaded.bytes, offset) else { return None };
        if found.kind == KIND_SEAL {
            return Some(kept);
        }
        let (kind, payload) = (format::kind_of(&found)?, &loaded.bytes[found.start..found.start + found.len]);
        match judge(kind, payload) {
            Fate::Stay => return None,
            Fate::Go => {}
            Fate::Keep => kept.push((kind, payload)),
        }
        offset = found.next();
    }
}
