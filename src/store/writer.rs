//! The writer thread: takes what waits, writes it as one group, syncs once, and only then reports. The disk is set to work
//! on a large group while the rest of it is hashed: what is written before the sync is promised to nobody.
//!
//! The next segment is made ahead of time (`prepare.rs`). When the disk has no room for it, that is told while much of the
//! present one is still free: for what is under way.

use super::cache::Cached;
use super::disk::{self, Disk};
use super::error::SYNC;
use super::format::{
    self, KIND_SEAL, RECORD_ALIGN, RECORD_HEAD_BYTES, RecordHead, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead,
};
use super::guard::GuardFile;
use super::handle::{OnSynced, Queue, StoreMeter};
use super::prepare::Preparer;
use super::room::{Next, Room};
use super::segment::Segment;
use super::walk::Place;
use super::{Append, Index, RecordKind, StoreConfig, StoreError, Synced};
use bytes::Bytes;
use crossbeam::channel::Receiver;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use zerocopy::IntoBytes;

pub(super) const WRITER_THREAD: &str = "store-writer";
/// The next segment is ordered when the present one is filled to one part in this many: early enough for the
/// helper to be done in time, late enough that a short run does not pay for a second segment.
const PREPARE_AT_PART: u64 = 4;
/// The disk begins with what is laid of a part once it is so much.
const AHEAD_BYTES: usize = 512 << 10;
/// From here on the helper does not wait for the writer to pause: what is left is filled in about the time that the next
/// segment takes.
const HURRY_AT_PART: u64 = 2;

/// A header for a segment, with a salt of its own.
pub(super) fn fresh_head(
    number: u32,
    bytes: u64,
    chain: &[u8; 32],
    previous: [u8; 32],
) -> Result<SegmentHead, StoreError> {
    let mut salt = [0; 32];
    let drawn = getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()));
    drawn.map_err(StoreError::io("draw a salt from", "the operating system".as_ref()))?;
    Ok(SegmentHead::new(number, bytes, chain, salt, previous))
}

/// Everything the writer thread owns.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) config: StoreConfig,
    pub(super) current: Segment,
    pub(super) key: RecordKey,
    pub(super) guard: GuardFile,
    /// Where the next record goes.
    pub(super) end: usize,
    /// Empty segments after the current one.
    pub(super) prepared: VecDeque<Segment>,
    /// Full segments that are in memory.
    pub(super) cached: Cached,
    pub(super) queue: Arc<Queue>,
    pub(super) receiver: Receiver<Vec<Append>>,
    pub(super) meter: Arc<StoreMeter>,
    pub(super) index: Arc<Mutex<Index<Place>>>,
    pub(super) room: Room,
}

impl Writer {
    /// Starts the thread. It ends when the queue is closed and empty, or with the first error.
    pub(super) fn start(self, on_synced: OnSynced) -> Result<JoinHandle<Result<(), StoreError>>, StoreError> {
        let preparer = Preparer::start(self.disk.clone(), self.dir.clone(), self.meter.clone())?;
        let dir = self.dir.clone();
        std::thread::Builder::new()
            .name(WRITER_THREAD.into())
            .spawn(move || self.run(preparer, &on_synced))
            .map_err(StoreError::io("start the writer of", &dir))
    }

    fn run(mut self, mut preparer: Preparer, on_synced: &OnSynced) -> Result<(), StoreError> {
        let mut cpu = CpuClock::new();
        let mut result = Ok(());
        loop {
            let written = match self.room.next(&self.receiver, &preparer.made) {
                Next::End => break,
                Next::Made(made) => {
                    preparer.busy = false;
                    self.take(made).map(|()| Vec::new())
                }
                Next::Look => self.look(&mut preparer).map(|()| Vec::new()),
                Next::Write(first) => {
                    let group = take_group(first, &self.receiver, self.config.group_bytes_max);
                    let (bytes, records) = (payload_bytes(&group), group.len() as u64);
                    preparer.writing(true);
                    let written = self.write_group(group, &mut preparer);
                    preparer.writing(false);
                    let written = written.and_then(|synced| self.order_next(&mut preparer).map(|()| synced));
                    self.queue.release(bytes, records);
                    written
                }
            };
            self.meter.add_cpu(cpu.since_last());
            match written {
                Ok(synced) if synced.is_empty() => {}
                Ok(synced) => on_synced(Ok(synced)),
                Err(error) => {
                    self.queue.stop();
                    on_synced(Err(error.clone()));
                    result = Err(error);
                    break;
                }
            }
        }
        let joined = preparer.join();
        self.meter.add_cpu(cpu.since_last());
        result.and(joined)
    }

    /// Writes a group and syncs it, then the guard if it is raised; the views of all records, in order. In this order: a
    /// guard above the log would tell of a vertex that nobody has.
    fn write_group(
        &mut self,
        group: Vec<Append>,
        preparer: &mut Preparer,
    ) -> Result<Vec<Synced>, StoreError> {
        let mut synced = Vec::with_capacity(group.len());
        let mut part = Part::new(self.end);
        let guard = group.iter().rev().find_map(|record| record.guard);
        for Append { number, kind, bytes, .. } in group {
            while !self.has_room(part.end, bytes.len()) {
                // First the successor, then the seal: a sealed segment without one is damage.
                let next = self.next_segment(preparer)?;
                part.push(&self.key, KIND_SEAL, 0, Bytes::new());
                self.commit(&mut part, &mut synced)?;
                self.change_to(next);
                part = Part::new(self.end);
            }
            part.push(&self.key, kind as u8, number, bytes);
            self.write_ahead(&mut part)?;
        }
        self.commit(&mut part, &mut synced)?;
        if let Some(guard) = guard {
            let file = &mut self.guard;
            self.room.patiently(|| file.write(&guard))?;
        }
        Ok(synced)
    }

    /// Whether a record fits at `end` with the seal after it.
    fn has_room(&self, end: usize, payload: usize) -> bool {
        let after = end + format::record_bytes(payload) + RECORD_HEAD_BYTES;
        after as u64 <= self.current.head.bytes()
    }

    /// Of a large part, lets the disk begin with what is laid already: it is busy while the rest is hashed and copied.
    fn write_ahead(&mut self, part: &mut Part) -> Result<(), StoreError> {
        let ahead = part.written.1..part.end;
        if ahead.len() < AHEAD_BYTES {
            return Ok(());
        }
        self.write(part, false)?;
        self.disk.begin_sync(&self.current.file, &self.current.path, ahead.start as u64..ahead.end as u64);
        Ok(())
    }

    fn write(&mut self, part: &mut Part, last: bool) -> Result<(), StoreError> {
        let (disk, segment) = (&*self.disk, &self.current);
        let write = || part.write_to(disk, segment, last).map_err(StoreError::io("write", &segment.path));
        self.room.patiently(write)?;
        part.written = (part.records.len(), part.end);
        Ok(())
    }

    /// Writes the rest, and syncs once; then the records are durable.
    fn commit(&mut self, part: &mut Part, synced: &mut Vec<Synced>) -> Result<(), StoreError> {
        if part.records.is_empty() {
            return Ok(());
        }
        self.write(part, true)?;
        let (disk, segment) = (&*self.disk, &self.current);
        disk.sync(&segment.file, &segment.path).map_err(StoreError::io(SYNC, &segment.path))?;
        self.meter.add_bytes((part.end - part.start) as u64);
        self.end = part.end;
        for record in part.records.drain(..).filter(|record| record.kind != KIND_SEAL) {
            let range = record.start..record.start + record.payload.len();
            let view = segment.map.view(range).expect("records lie within their segment");
            if let Some(kind) = RecordKind::from_u8(record.kind) {
                let offset = (record.start - RECORD_HEAD_BYTES) as u64;
                self.index.lock().note(kind, &view, Place { segment: segment.head.number(), offset });
            }
            synced.push(Synced { number: record.number, view });
        }
        Ok(())
    }

    fn change_to(&mut self, next: Segment) {
        tracing::debug!(segment = %next.path.display(), "next segment");
        self.key = next.head.record_key();
        self.end = format::SEGMENT_HEAD_BYTES;
        self.cached.add(std::mem::replace(&mut self.current, next));
    }

    /// An empty segment: one that was prepared, or else waits for the helper, and while the disk is full for room.
    fn next_segment(&mut self, preparer: &mut Preparer) -> Result<Segment, StoreError> {
        loop {
            if let Some(segment) = self.prepared.pop_front() {
                return Ok(segment);
            }
            self.look(preparer)?;
            if self.prepared.is_empty() {
                self.room.wait()?;
            }
        }
    }

    /// Has the next segment made, and waits for the helper.
    fn look(&mut self, preparer: &mut Preparer) -> Result<(), StoreError> {
        if !preparer.busy {
            self.order(preparer)?;
        }
        let made = preparer.wait()?;
        self.take(made)
    }

    fn take(&mut self, made: Result<Segment, StoreError>) -> Result<(), StoreError> {
        match made {
            Ok(segment) => {
                self.prepared.push_back(segment);
                self.room.found();
                Ok(())
            }
            Err(error) if error.is_no_space() => {
                self.room.lacks(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Orders the next segment when the present one is getting full and none is at hand. What the disk had no room for is
    /// ordered again in its time.
    fn order_next(&mut self, preparer: &mut Preparer) -> Result<(), StoreError> {
        let filled = |part| self.end as u64 >= self.current.head.bytes() / part;
        if preparer.busy && filled(HURRY_AT_PART) {
            preparer.hurry();
        }
        let due = filled(PREPARE_AT_PART);
        let wanted = due && self.prepared.is_empty() && !preparer.busy && !self.room.is_lacking();
        if wanted { self.order(preparer) } else { Ok(()) }
    }

    fn order(&self, preparer: &mut Preparer) -> Result<(), StoreError> {
        let head = &self.current.head;
        let bytes = self.config.segment_bytes;
        preparer.order(fresh_head(head.number() + 1, bytes, head.chain(), *head.check())?);
        Ok(())
    }
}

/// Takes what else is there behind the first records.
fn take_group(mut group: Vec<Append>, receiver: &Receiver<Vec<Append>>, group_bytes_max: u64) -> Vec<Append> {
    let mut bytes = payload_bytes(&group);
    while bytes < group_bytes_max {
        let Ok(more) = receiver.try_recv() else { break };
        bytes += payload_bytes(&more);
        group.extend(more);
    }
    group
}

pub(super) fn payload_bytes(records: &[Append]) -> u64 {
    records.iter().map(|record| record.bytes.len() as u64).sum()
}

/// One record with its header made.
struct Laid {
    head: RecordHead,
    kind: u8,
    number: u64,
    /// Where the payload goes.
    start: usize,
    payload: Bytes,
}

/// The part of a group that goes to one segment with one sync.
struct Part {
    start: usize,
    end: usize,
    records: Vec<Laid>,
    /// How many of the records are written, and up to where.
    written: (usize, usize),
}

impl Part {
    fn new(start: usize) -> Self {
        Self { start, end: start, records: Vec::new(), written: (0, start) }
    }

    /// Lays a record at the end. All before the part's start is durable, and says so.
    fn push(&mut self, key: &RecordKey, kind: u8, number: u64, payload: Bytes) {
        let head = key.head(self.end, self.start, kind, &payload);
        let start = self.end + RECORD_HEAD_BYTES;
        self.end += format::record_bytes(payload.len());
        self.records.push(Laid { head, kind, number, start, payload });
    }

    /// Writes what is not written yet at its place. Payloads go from where they lie to the system, without a copy in between.
    fn write_to(&self, disk: &dyn Disk, segment: &Segment, last: bool) -> io::Result<()> {
        const PADDING: [u8; RECORD_ALIGN] = [0; RECORD_ALIGN];
        let (written, at) = self.written;
        let mut pieces = Vec::with_capacity(3 * (self.records.len() - written) + 1);
        for record in &self.records[written..] {
            let padding = format::padded(record.payload.len()) - record.payload.len();
            pieces.push(IoSlice::new(record.head.as_bytes()));
            pieces.push(IoSlice::new(&record.payload));
            pieces.push(IoSlice::new(&PADDING[..padding]));
        }
        // Zeros over zeros, up to the end of the page: so the page need not be read to be written.
        const PAGE: [u8; SEGMENT_HEAD_BYTES] = [0; SEGMENT_HEAD_BYTES];
        if last {
            pieces.push(IoSlice::new(&PAGE[..self.end.next_multiple_of(PAGE.len()) - self.end]));
        }
        pieces.retain(|piece| !piece.is_empty());
        disk::write_all(disk, &segment.file, &segment.path, &mut pieces, at as u64)
    }
}

/// CPU time of the calling thread, read once per piece of work.
pub(super) struct CpuClock {
    last_ns: u64,
}

impl CpuClock {
    pub(super) fn new() -> Self {
        Self { last_ns: thread_cpu_ns() }
    }

    pub(super) fn since_last(&mut self) -> u64 {
        let now = thread_cpu_ns();
        now.saturating_sub(std::mem::replace(&mut self.last_ns, now))
    }
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
