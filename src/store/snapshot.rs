//! Snapshots: raw copies of a table as it was at a height, in files of their own beside the segments.
//!
//! A snapshot has its name only when all of it is on disk. It carries no check: what it must hash to stands in the log, at
//! its height, and who reads it holds it against that.

use super::disk::{self, Cache, Disk};
use super::error::SYNC;
use super::segment::{self, NEW_SUFFIX};
use super::{Damage, StoreError};
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};

const PREFIX: &str = "snapshot-";
/// Bytes between two syncs while a snapshot is written: what the log's next sync waits behind at most.
const SLICE_BYTES: usize = 4 << 20;

/// Why a snapshot was not written.
#[derive(Clone, Debug)]
pub enum Unwritten {
    /// There is no room, or the file could not be made or written: the next one may succeed.
    Failed(StoreError),
    /// A sync failed: nothing on this disk can be relied on any more.
    Broken(StoreError),
    /// The store is being closed.
    Closing,
}

/// The path of a height's snapshot.
pub(super) fn path_of(dir: &Path, height: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{height}"))
}

/// The height in a snapshot's file name; only the one spelling that `path_of` gives counts.
pub(super) fn height_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let height: u64 = digits.parse().ok()?;
    (height > 0 && height.to_string() == digits).then_some(height)
}

/// Whether a name is that of a snapshot that is not whole.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(NEW_SUFFIX).and_then(height_of).is_some()
}

/// Writes a snapshot, unless `closing` says to leave it. It has its name only when all of it is durable.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    height: u64,
    bytes: &[u8],
    closing: &dyn Fn() -> bool,
) -> Result<(), Unwritten> {
    let path = path_of(dir, height);
    let unfinished = dir.join(format!("{PREFIX}{height}{NEW_SUFFIX}"));
    let written = fill(disk, dir, &unfinished, bytes, closing);
    if let Err(failed) = written {
        if !matches!(failed, Unwritten::Broken(_)) && unfinished.exists() {
            // So that it takes no room; else the next start removes it.
            let _ = disk.remove(&unfinished);
        }
        return Err(failed);
    }
    let renamed = disk.rename(&unfinished, &path);
    renamed.map_err(|error| Unwritten::Failed(StoreError::io("rename", &unfinished)(error)))?;
    segment::sync_dir(disk, dir).map_err(Unwritten::Broken)
}

fn fill(
    disk: &dyn Disk,
    dir: &Path,
    unfinished: &Path,
    bytes: &[u8],
    closing: &dyn Fn() -> bool,
) -> Result<(), Unwritten> {
    segment::preflight(disk, dir, bytes.len() as u64).map_err(Unwritten::Failed)?;
    let file = disk.create(unfinished, Cache::Through);
    let file = file.map_err(|error| Unwritten::Failed(StoreError::io("create", unfinished)(error)))?;
    for (slice, number) in bytes.chunks(SLICE_BYTES).zip(0u64..) {
        if closing() {
            return Err(Unwritten::Closing);
        }
        let offset = number * SLICE_BYTES as u64;
        let written = disk::write_all(disk, &file, unfinished, &mut [IoSlice::new(slice)], offset);
        written.map_err(|error| Unwritten::Failed(StoreError::io("write", unfinished)(error)))?;
        let synced = disk.sync(&file, unfinished);
        synced.map_err(|error| Unwritten::Broken(StoreError::io(SYNC, unfinished)(error)))?;
    }
    // Its pages stay in memory as long as the system has room for them: whoever begins anew asks for the newest snapshots.
    Ok(())
}

/// Removes the snapshots below a height that are none of `kept`, oldest first.
pub(super) fn remove_others(disk: &dyn Disk, dir: &Path, kept: &[u64], below: u64) -> Result<(), StoreError> {
    let heights = segment::list(dir)?.snapshots;
    for height in heights.into_iter().filter(|height| *height < below && !kept.contains(height)) {
        let path = path_of(dir, height);
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
    }
    segment::sync_dir(disk, dir)
}

/// The bytes of a snapshot, if there are at most so many.
pub(super) fn read(dir: &Path, height: u64, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let path = path_of(dir, height);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { file: path.clone() },
        _ => StoreError::io("open", &path)(error),
    })?;
    let length = file.metadata().map_err(StoreError::io("look at", &path))?.len();
    if length > bytes_max {
        return Err(StoreError::Damaged { file: path, offset: bytes_max, damage: Damage::Length });
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(bytes_max).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
    Ok(bytes)
}
