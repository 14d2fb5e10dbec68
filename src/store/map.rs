//! Memory maps of segments: with `bus.rs` the only unsafe code of the store.
//!
//! Views point into the kernel's page cache. What remains possible: another program that truncates a segment while it
//! is mapped, or a medium that cannot read a page back, makes the access to it end the process with SIGBUS, after a line
//! that names the file (`bus.rs`). The
//! directory's lock keeps other nodes away, but not other programs; hence every segment is read by plain reads, which
//! fail as errors, before it is mapped at opening.

use super::bus::Named;
use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A read-only map of one segment. Only ranges that are durable may be looked at.
#[derive(Debug)]
pub(super) struct Map {
    // Before the map: its name goes first, so that nothing else that is mapped there later has it.
    _named: Named,
    raw: MmapRaw,
}

/// A range of a map that keeps the map alive.
struct View {
    map: Arc<Map>,
    range: Range<usize>,
}

impl Map {
    /// Maps the first `len` bytes of `file`, which must be as long as that and never become shorter; `path` is its name
    /// for people.
    pub(super) fn new(file: &File, path: &Path, len: usize) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        let start = raw.as_ptr() as usize;
        let named = Named::new(start..start + len, path);
        Ok(Arc::new(Self { _named: named, raw }))
    }

    /// The bytes of a durable range; `None` when it does not lie within the map. The caller guarantees that the
    /// range is synced: the store writes every byte of a record once, and never again after its sync. (What it writes
    /// again is zeros over the zeros behind the last record, where nothing is durable yet.)
    pub(super) fn slice(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.raw.len() {
            return None;
        }
        // SAFETY: the range lies within the map (checked above), and the map lives as long as the borrow of `self`. The
        // bytes do not change meanwhile: only durable ranges are asked for, the writer never writes those again, and
        // the directory's lock keeps every other store away. The file is never truncated by a store, so the pages
        // exist. No reference to the map as a whole is ever made, so the writer's ranges are never borrowed.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(range.start), range.len()) })
    }

    /// Takes all pages out of the map; an access brings them back from the file.
    pub(super) fn forget_pages(&self) -> io::Result<()> {
        // SAFETY: the map is shared and read-only, so nothing of it lives in its pages alone: what they held stands in
        // the page cache and in the file, and an access finds the same bytes there. So no borrow of a range sees a
        // change.
        unsafe { self.raw.unchecked_advise(UncheckedAdvice::DontNeed) }
    }

    /// A view of a durable range, without a copy, valid while it is held.
    pub(super) fn view(self: &Arc<Self>, range: Range<usize>) -> Option<Bytes> {
        self.slice(range.clone())?;
        Some(Bytes::from_owner(View { map: self.clone(), range }))
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.map.slice(self.range.clone()).expect("checked when the view was made")
    }
}
