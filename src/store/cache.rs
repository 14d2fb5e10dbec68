//! Which segments the system is asked to keep in memory: the newest.
//!
//! Every page that is written takes a page of memory, and nothing but want of memory would ever give one back. So a log
//! that only grows takes memory that was never touched before for each of its pages, although hardly anybody reads
//! what lies far behind. Where memory is lent by a host that takes back what lies idle, that first touch is dearer than
//! all the rest of a write (measured: 1.7 ns a byte beside 0.3); elsewhere the log drives out what others could use.
//! So a full segment beyond the newest few leaves memory, and its pages serve the next one.
//!
//! Views on it stay good: whoever reads them waits for the disk.

use super::map::Map;
use super::segment::Segment;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// Full segments that are in memory, the oldest first. Bounded by bytes.
#[derive(Debug)]
pub(super) struct Cached {
    bytes_max: u64,
    bytes: u64,
    full: VecDeque<Full>,
}

#[derive(Debug)]
struct Full {
    path: PathBuf,
    bytes: u64,
    /// Held only by views.
    map: Weak<Map>,
}

impl Cached {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, full: VecDeque::new() }
    }

    /// A segment is full and synced; what is older than the bound allows leaves memory.
    pub(super) fn add(&mut self, segment: Segment) {
        let Segment { path, head, map, .. } = segment;
        self.bytes += head.bytes();
        self.full.push_back(Full { path, bytes: head.bytes(), map: Arc::downgrade(&map) });
        drop(map);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.full.pop_front()
        {
            self.bytes -= oldest.bytes;
            if let Err(error) = oldest.leave() {
                let file = oldest.path.display();
                tracing::debug!(%file, %error, "the pages of a full segment stay in memory");
            }
        }
    }
}

impl Full {
    /// Pages that a map still names would stay: so the map forgets them first.
    fn leave(&self) -> std::io::Result<()> {
        if let Some(map) = self.map.upgrade() {
            map.forget_pages()?;
        }
        drop_pages(&self.path)
    }
}

fn drop_pages(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?)
}
