//! What a store asks of the file system when it changes something: the seam at which tests let writes fail, tear and
//! get lost.

use super::StoreError;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Which way the writes to a file go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Through the system's page cache.
    Through,
    /// Past it, straight to the disk.
    Past,
}

/// The changes that a store makes, the reads with which it checks a log, and the question how much room is left. All else is
/// read through plain files and maps. An implementation must do what it says before it returns; a caller believes nothing
/// after an error.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes an empty file for writing, or empties the one that is there. Past the cache, writes want memory, offset and
    /// length in whole blocks; where the file system has no such thing, it or the first write is an invalid argument.
    fn create(&self, path: &Path, cache: Cache) -> io::Result<File> {
        let flags = if cache == Cache::Past { OFlags::DIRECT } else { OFlags::empty() };
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        OpenOptions::new().create(true).truncate(true).write(true).custom_flags(flags).open(path)
    }

    /// Writes some of the pieces, one after the other, from `offset` on; how many bytes.
    fn write(&self, file: &File, path: &Path, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let _ = path;
        Ok(rustix::io::pwritev(file, pieces, offset)?)
    }

    /// Reads some bytes from `offset` on; how many, 0 at the end of the file.
    fn read(&self, file: &File, path: &Path, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = path;
        file.read_at(bytes, offset)
    }

    /// Sets the disk to work on a range that was written, without waiting: the sync that follows has less to do. Promises
    /// nothing, and may do nothing.
    fn begin_sync(&self, file: &File, path: &Path, range: Range<u64>) {
        let _ = (file, path, range);
    }

    /// Makes durable what was written to a file, and its length.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        let _ = path;
        file.sync_data()
    }

    /// Gives a file its name, in place of one that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Gives a file a second name that nothing has; where the file system has no such thing, copies it.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let copy = |_| fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
        fs::hard_link(from, to).or_else(copy)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes durable what was created, renamed or removed in a directory.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Bytes that this user may still write to the disk on which a directory lies.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    #[cfg(target_os = "linux")]
    fn begin_sync(&self, file: &File, _: &Path, range: Range<u64>) {
        let (Ok(offset), Ok(bytes)) = (range.start.try_into(), (range.end - range.start).try_into()) else {
            return;
        };
        // SAFETY: the call takes a descriptor, which is open as long as `file` is borrowed, and numbers; it touches no memory
        // of this process. Whatever it returns, the sync decides.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    }
}

/// Most pieces that the system takes in one write.
const PIECES_MAX: usize = 1024;
/// Bytes of one read; and those of one where a larger read failed, to find the place.
const READ_BYTES: usize = 1 << 20;
const READ_BYTES_LEAST: usize = 4096;

/// Fills `bytes`, which hold the beginning of a file, until they are `length` or the file ends.
///
/// # Errors
/// [`StoreError::Unreadable`], with the page that cannot be read.
pub(super) fn read_up_to(
    disk: &dyn Disk,
    file: &File,
    path: &Path,
    bytes: &mut Vec<u8>,
    length: u64,
) -> Result<(), StoreError> {
    let mut step = READ_BYTES;
    loop {
        let start = bytes.len();
        let piece = (length.saturating_sub(start as u64)).min(step as u64) as usize;
        if piece == 0 {
            return Ok(());
        }
        bytes.resize(start + piece, 0);
        let read = disk.read(file, path, &mut bytes[start..], start as u64);
        bytes.truncate(start + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if step > READ_BYTES_LEAST => step = READ_BYTES_LEAST,
            Err(source) => {
                let (file, offset, source) = (path.to_owned(), start as u64, Arc::new(source));
                return Err(StoreError::Unreadable { file, offset, source });
            }
        }
    }
}

/// Writes all pieces one after the other from `offset` on, in as few calls as the disk allows.
pub(super) fn write_all(
    disk: &dyn Disk,
    file: &File,
    path: &Path,
    mut pieces: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    while !pieces.is_empty() {
        let some = &pieces[..pieces.len().min(PIECES_MAX)];
        match disk.write(file, path, some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut pieces, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
