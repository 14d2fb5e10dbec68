//! Checking sealed segments side by side, so that opening a long log takes the time of one core's share of it.
//!
//! This only finds what is sound. Everything else is left to the walk, which goes on where the sound ones end and says
//! what is wrong, or where the log ends, as if it had read them all.

use super::disk::{self, Disk};
use super::format::{self, KIND_SEAL, SEGMENT_HEAD_BYTES, SegmentHead, Slot};
use super::segment::path_of;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, available_parallelism, scope};

/// Threads at most; each holds a segment in memory.
const THREADS_MAX: usize = 4;

/// The headers of the segments from the first one on that are sealed and sound, and follow each other and the header with
/// the check `before`.
pub(super) fn sound(
    disk: &dyn Disk,
    dir: &Path,
    chain: &[u8; 32],
    (first, segments): (u32, u32),
    before: [u8; 32],
) -> Vec<SegmentHead> {
    let count = (segments + 1 - first) as usize;
    let threads = available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(count);
    let next = AtomicU32::new(first);
    let mut found = BTreeMap::new();
    scope(|scope| {
        let work = || check_some(disk, dir, segments, &next);
        let spawn = |_| Builder::new().name("store-check".into()).spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        found.extend(work());
        // What a thread has not found it has not found sound.
        others.into_iter().filter_map(|thread| thread.join().ok()).for_each(|more| found.extend(more));
    });
    let mut previous = before;
    let mut heads = Vec::new();
    for (number, head) in (first..).zip(found.into_values()) {
        if head.number() != number || head.previous() != &previous || head.chain() != chain {
            break;
        }
        previous = *head.check();
        heads.push(head);
    }
    heads
}

/// Checks the next segment that nobody has taken, and so on; those that are sound, by number.
fn check_some(disk: &dyn Disk, dir: &Path, segments: u32, next: &AtomicU32) -> Vec<(u32, SegmentHead)> {
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        // What comes after one that is not sealed and sound is of no use.
        let head =
            (number <= segments).then(|| check(disk, &path_of(dir, number), number, &mut bytes)).flatten();
        match head {
            Some(head) => found.push((number, head)),
            None => {
                next.store(segments.saturating_add(1), Ordering::Relaxed);
                return found;
            }
        }
    }
}

/// The header of a segment if all of it is what was written, up to its seal and the zeros behind that.
fn check(disk: &dyn Disk, path: &Path, number: u32, bytes: &mut Vec<u8>) -> Option<SegmentHead> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    bytes.clear();
    disk::read_up_to(disk, &file, path, bytes, SEGMENT_HEAD_BYTES as u64).ok()?;
    let head =
        SegmentHead::read(bytes).ok().filter(|head| head.number() == number && head.bytes() == length)?;
    let rest = length.checked_sub(SEGMENT_HEAD_BYTES as u64)?;
    bytes.reserve_exact(rest as usize);
    disk::read_up_to(disk, &file, path, bytes, length).ok()?;
    if bytes.len() as u64 != length {
        return None;
    }
    let key = head.record_key();
    let mut offset = SEGMENT_HEAD_BYTES;
    loop {
        let Slot::Good(found) = key.slot(bytes, offset) else { return None };
        offset = found.next();
        match found.kind {
            KIND_SEAL => return format::first_nonzero(&bytes[offset..]).is_none().then_some(head),
            _ => format::kind_of(&found)?,
        };
    }
}
