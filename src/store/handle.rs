//! The store as its user holds it: opening, the bounded queue in front of the writer, closing.

use super::cache::Cached;
use super::disk::{Disk, SystemDisk};
use super::format::SEGMENT_HEAD_BYTES;
use super::guard::{Guard, GuardFile, GuardState};
use super::keeper::{Errand, Keeper, OnKept, Place as KeeperPlace};
use super::pieces::Proofs;
use super::recover::{self, Log, Recovered, TornTail};
use super::room::{OnRoom, Room};
use super::segment::{self, Segment};
use super::walk::{self, Place, RecordIter};
use super::writer::{self, WRITER_THREAD, Writer};
use super::{
    Abandoned, Append, AppendError, Aside, Damage, Finder, Index, Mending, Remaining, Salvage, StoreConfig,
    StoreError, Synced, aside, genesis, guard, ruin, snapshot,
};
use crate::wire::chain_id_of;
use crossbeam::channel::{Sender, TrySendError, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Called by the writer thread once per group: with all its records, in the order of their `append`, when they are
/// durable; or once with the error that ended the store. It must not block: the disk waits meanwhile.
pub type OnSynced = Box<dyn Fn(Result<Vec<Synced>, StoreError>) + Send>;

/// An open store. Dropping it closes it; call [`Store::close`] to learn whether all went well.
pub struct Store {
    config: StoreConfig,
    queue: Arc<Queue>,
    meter: Arc<StoreMeter>,
    dir: PathBuf,
    pub(super) index: Arc<Mutex<Index<Place>>>,
    sender: Option<Sender<Vec<Append>>>,
    /// Let go when the store is closed: so the writer does not wait for room any more.
    closes: Option<Sender<Infallible>>,
    /// Until `start`.
    pub(super) idle: Option<Writer>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
    keeper: Option<Keeper>,
    proofs: Proofs,
    /// Held until the writer has ended, also when it ended by an error.
    _lock: Arc<File>,
}

/// An opened store and what was found in it.
pub struct Opened {
    /// The store; call [`Store::start`] on it.
    pub store: Store,
    /// Everything durable, in order.
    pub records: Recovered,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<TornTail>,
    /// What was set aside for damage, if there was some: the log ends before it, or begins above it.
    pub aside: Option<Aside>,
    /// The log that was set aside as a whole before this one was begun ([`Store::abandon`]), if one was.
    pub abandoned: Option<Abandoned>,
    /// Whether records before the first were removed.
    pub removed: bool,
    /// What the guard says.
    pub guard: GuardState,
    /// The heights of the snapshots in the directory, ascending; nothing is known of them but that they are there.
    pub snapshots: Vec<u64>,
}

/// What opening does with damage in the middle of the log.
#[derive(Clone, Copy)]
pub enum OnDamage<'a> {
    /// It is an error, and nothing is changed.
    Refuse,
    /// The log begins above it or ends before it, and the rest is set aside: for who gets back from others what is lost.
    SetAside(&'a dyn Salvage),
}

/// A directory that no store opens meanwhile.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// Counters of a store since it was opened. They may be kept after the store is closed.
#[derive(Debug, Default)]
pub struct StoreMeter {
    cpu_ns: AtomicU64,
    bytes_stored: AtomicU64,
}

impl StoreMeter {
    /// CPU time of the store's own threads, in nanoseconds; counted once per group.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }

    /// Bytes appended: payloads, headers, padding and seals; not what is only preallocated.
    pub fn bytes_stored(&self) -> u64 {
        self.bytes_stored.load(Ordering::Relaxed)
    }

    pub(super) fn add_cpu(&self, ns: u64) {
        self.cpu_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What waits for the disk, or is being written: counted so that it is bounded.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: u64,
    records: u64,
    stopped: bool,
}

enum Refused {
    Full,
    Stopped,
}

impl Queue {
    fn reserve(&self, bytes: u64, records: u64, config: &StoreConfig) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        if waiting.stopped {
            return Err(Refused::Stopped);
        }
        let fits = waiting.bytes.saturating_add(bytes) <= config.queue_bytes_max
            && waiting.records.saturating_add(records) <= config.queue_records_max;
        // What is larger than the queue goes through when nothing else waits: else it never would.
        if !fits && waiting.records > 0 {
            return Err(Refused::Full);
        }
        waiting.bytes += bytes;
        waiting.records += records;
        Ok(())
    }

    pub(super) fn release(&self, bytes: u64, records: u64) {
        let mut waiting = self.waiting.lock();
        waiting.bytes -= bytes;
        waiting.records -= records;
    }

    pub(super) fn stop(&self) {
        self.waiting.lock().stopped = true;
    }
}

impl Store {
    /// Opens or creates the store of a chain in `dir`, takes its lock, checks every record and cuts a torn tail. The
    /// chain is named by the bytes of its genesis, which are kept in the directory.
    ///
    /// Another chain, a newer format, a foreign file, a missing segment or damage is an error and changes nothing.
    /// All of the log is read once, sealed segments by up to four threads; memory is one segment for each.
    pub fn open(dir: &Path, genesis: &[u8], config: &StoreConfig) -> Result<Opened, StoreError> {
        Store::open_on(Arc::new(SystemDisk), dir, genesis, config, OnDamage::Refuse)
    }

    /// The same on a disk that tests may have made up, and with what is to become of damage in the middle of the log: where it is
    /// set aside, what was set aside before below the log, and is whole again, is taken back first if its owner wants it.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        genesis: &[u8],
        config: &StoreConfig,
        on_damage: OnDamage<'_>,
    ) -> Result<Opened, StoreError> {
        config.validate()?;
        let chain = chain_id_of(genesis).0;
        create_dir(&*disk, dir)?;
        check_chain(&*disk, dir, &chain, genesis, on_damage)?;
        let lock = Arc::new(segment::lock(dir)?);
        // Looked at again: before the lock, another process may have been at work.
        let (listing, known) = check_chain(&*disk, dir, &chain, genesis, on_damage)?;
        let (mut aside, mut abandoned) = (None, None);
        // Before the first segment: a log without a guard has lost it.
        let fresh = listing.segments == 0 && listing.abandoned.is_none();
        let guard = GuardFile::open(disk.clone(), dir, &chain, fresh)?;
        if let Some(files) = &listing.abandoned {
            abandoned = Some(aside::abandon(&*disk, dir, files)?);
        }
        if let OnDamage::SetAside(salvage) = on_damage
            && listing.segments > 0
            && salvage.takes_back()
        {
            ruin::take_back(&ruin::Site { disk: disk.clone(), dir: dir.to_owned(), chain })?;
        }
        let log = if listing.segments > 0 {
            match (recover::recover(&disk, dir, &chain, &lock), on_damage) {
                // What links the log to its beginning is gone: all of it is set aside.
                (Err(fault @ StoreError::Damaged { damage: Damage::Remains, .. }), OnDamage::SetAside(_)) => {
                    tracing::error!(dir = %dir.display(), %fault, "the log does not link to what was removed: it is set aside");
                    aside::mark(&*disk, dir)?;
                    let files = segment::list(dir)?.abandoned.unwrap_or_default();
                    abandoned = Some(aside::abandon(&*disk, dir, &files)?);
                    create(&*disk, dir, (genesis, known), config, &lock)?
                }
                (Err(fault), OnDamage::SetAside(salvage)) => {
                    let place = aside::Place { disk: &disk, dir, chain: &chain, lock: &lock };
                    aside = Some(aside::set_aside(&place, config, salvage, fault)?);
                    recover::recover(&disk, dir, &chain, &lock)?
                }
                (log, _) => log?,
            }
        } else {
            create(&*disk, dir, (genesis, known), config, &lock)?
        };
        for path in &listing.unfinished {
            match disk.remove(path) {
                // Made anew and given its name meanwhile, after a start that was interrupted at the same place.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(StoreError::io("remove", path))?,
            }
        }
        if listing.segments > 0 && !known {
            tracing::warn!(dir = %dir.display(), "the genesis was missing beside the segments; written again");
            genesis::write(&*disk, dir, genesis)?;
        }
        let segment::Listing { snapshots, first, .. } = segment::list(dir)?;
        Ok(Opened {
            snapshots,
            aside,
            abandoned,
            removed: first > 1,
            ..Self::assemble(disk, dir, config, lock, log, guard)
        })
    }

    fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &StoreConfig,
        lock: Arc<File>,
        log: Log,
        (file, guard): (GuardFile, GuardState),
    ) -> Opened {
        let (queue, meter) = (Arc::new(Queue::default()), Arc::new(StoreMeter::default()));
        // Each message holds at least one record, so the count of records bounds the messages.
        let (sender, receiver) = bounded(config.queue_records_max as usize);
        let (closes, closing) = bounded(0);
        let writer = Writer {
            room: Room::new(closing, Duration::from_millis(config.full_retry_ms)),
            disk,
            dir: dir.to_owned(),
            config: config.clone(),
            key: log.current.head.record_key(),
            current: log.current,
            guard: file,
            end: log.end,
            prepared: log.prepared,
            cached: Cached::new(config.cached_bytes),
            queue: queue.clone(),
            receiver,
            meter: meter.clone(),
            index: log.records.index().clone(),
        };
        let config = config.clone();
        let store = Self {
            config,
            queue,
            meter,
            dir: dir.to_owned(),
            index: log.records.index().clone(),
            sender: Some(sender),
            closes: Some(closes),
            idle: Some(writer),
            thread: None,
            keeper: None,
            proofs: Proofs::default(),
            _lock: lock,
        };
        if let Some(torn) = &log.cut {
            tracing::warn!(file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes, "cut a torn tail");
        }
        let (aside, abandoned, removed, snapshots) = (None, None, false, Vec::new());
        Opened { store, records: log.records, cut: log.cut, aside, abandoned, removed, guard, snapshots }
    }

    /// Raises the guard from what was found to what the log tells, before anything is sent on the strength of the log.
    ///
    /// # Errors
    /// It cannot be written.
    ///
    /// # Panics
    /// After `start`.
    pub fn raise_guard(&mut self, found: &Guard, told: &Guard) -> Result<(), StoreError> {
        let writer = self.idle.as_mut().expect("the guard is raised before the store is started");
        if found == told { Ok(()) } else { writer.guard.write(told) }
    }

    /// Gives up a log that has nothing to begin with, and closes the store: the next opening sets aside all of the log with its
    /// snapshots, and begins a new one. Genesis and guard stay.
    ///
    /// # Errors
    /// It cannot be noted; then the log is as it was.
    ///
    /// # Panics
    /// After `start`.
    pub fn abandon(mut self) -> Result<(), StoreError> {
        let writer = self.idle.take().expect("a log is given up before the store is started");
        aside::mark(&*writer.disk, &self.dir)
    }

    /// What mends segments that were set aside directly below the log; `None` if there are none.
    ///
    /// # Errors
    /// The directory cannot be read.
    ///
    /// # Panics
    /// After `start`.
    pub fn mending(&self) -> Result<Option<Mending>, StoreError> {
        let writer =
            self.idle.as_ref().expect("what was set aside is looked for before the store is started");
        let below = segment::list(&self.dir)?.first - 1;
        if aside::files_of(&self.dir, below)?.is_empty() {
            return Ok(None);
        }
        let (disk, chain) = (writer.disk.clone(), *writer.current.head.chain());
        let site = ruin::Site { disk, dir: self.dir.clone(), chain };
        Ok(Some(Mending::new(site, self.finder(), self._lock.clone())))
    }

    /// Starts the writer thread. What was appended before is written first. Panics when called twice.
    pub fn start(&mut self, on_synced: OnSynced) -> Result<(), StoreError> {
        let writer = self.idle.take().expect("a store is started once");
        self.thread = Some(writer.start(on_synced)?);
        Ok(())
    }

    /// Who is told when the disk has no room for the next segment, and when it has again. Meanwhile what was appended waits,
    /// and nothing of it is lost unless the store is closed.
    ///
    /// # Panics
    /// After `start`.
    pub fn on_room(&mut self, on_room: OnRoom) {
        self.idle.as_mut().expect("who is told of room is named before the store is started").room.on_room =
            on_room;
    }

    /// Starts the keeper's thread, if the store is to write snapshots or to remove old segments.
    ///
    /// # Panics
    /// After `start`.
    pub fn start_keeper(&mut self, on_kept: OnKept) -> Result<(), StoreError> {
        let writer = self.idle.as_ref().expect("the keeper is started before the store");
        let (disk, dir, chain) = (writer.disk.clone(), writer.dir.clone(), *writer.current.head.chain());
        let (meter, proofs, index) = (self.meter.clone(), self.proofs.clone(), self.index.clone());
        let place = KeeperPlace { disk, dir, chain, meter, proofs, index };
        self.keeper = Some(Keeper::start(place, on_kept)?);
        Ok(())
    }

    /// Hands an errand to the keeper, without blocking; false if it has too many, or was not started. An answer follows
    /// through its callback unless the store is closed before.
    pub fn errand(&self, errand: Errand) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.send(errand))
    }

    /// Queues records for the writer, all or none, without blocking; the order is kept. An answer follows through the
    /// callback. When as much waits as the configuration allows, the records come back.
    pub fn append(&self, records: Vec<Append>) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let max = self.config.payload_bytes_max;
        if let Some(record) = records.iter().find(|record| record.bytes.len() as u64 > max) {
            return Err(AppendError::TooLarge { bytes: record.bytes.len() as u64, max, records });
        }
        let Some(sender) = &self.sender else { return Err(AppendError::Stopped(records)) };
        match self.queue.reserve(writer::payload_bytes(&records), records.len() as u64, &self.config) {
            Err(Refused::Full) => return Err(AppendError::Full(records)),
            Err(Refused::Stopped) => return Err(AppendError::Stopped(records)),
            Ok(()) => {}
        }
        sender.try_send(records).map_err(|error| match error {
            TrySendError::Full(records) => AppendError::Full(records),
            TrySendError::Disconnected(records) => AppendError::Stopped(records),
        })
    }

    /// Holds a directory that is only read against nodes that would start on it, for as long as the answer is kept.
    /// `None` where no store ever took its lock. Refused while a node runs on it.
    pub fn hold(dir: &Path) -> Result<Option<Held>, StoreError> {
        Ok(segment::hold(dir)?.map(|lock| Held { _lock: lock }))
    }

    /// The bytes of the genesis in a directory, read without a lock; nothing is checked but their number.
    pub fn genesis(dir: &Path) -> Result<Vec<u8>, StoreError> {
        genesis::read(dir)?.ok_or_else(|| StoreError::Missing { file: genesis::path_of(dir) })
    }

    /// Checks the guard of a directory for a tool: it is whole, if there is one. A power cut amid a write of it leaves one
    /// slot that is not, which opening bears and this reports.
    pub fn check_guard(dir: &Path, chain: &[u8; 32]) -> Result<(), StoreError> {
        let path = dir.join(guard::GUARD_NAME);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            bytes => bytes.map_err(StoreError::io("read", &path))?,
        };
        match guard::flaw(chain, &bytes) {
            None => Ok(()),
            Some(offset) => {
                Err(StoreError::Damaged { file: path, offset: offset as u64, damage: Damage::Guard })
            }
        }
    }

    /// Where the genesis of a directory lies.
    pub fn genesis_path(dir: &Path) -> PathBuf {
        genesis::path_of(dir)
    }

    /// The heights of the snapshots in a directory, ascending.
    pub fn snapshots(dir: &Path) -> Result<Vec<u64>, StoreError> {
        Ok(segment::list(dir)?.snapshots)
    }

    /// The bytes of a snapshot, as they stand there; one longer than `bytes_max` is an error.
    pub fn snapshot(dir: &Path, height: u64, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        snapshot::read(dir, height, bytes_max)
    }

    /// Where the snapshot of a height lies.
    pub fn snapshot_path(dir: &Path, height: u64) -> PathBuf {
        snapshot::path_of(dir, height)
    }

    /// The records that are left of removed segments, in order, checked; read without a lock.
    pub fn remaining(dir: &Path, chain: Option<&[u8; 32]>) -> Result<Remaining, StoreError> {
        Remaining::new(dir, chain)
    }

    /// Reads the records of a directory for a checking tool, without a lock and without maps; see [`RecordIter`].
    /// With a chain id, another chain's directory is an error.
    pub fn records(dir: &Path, chain: Option<&[u8; 32]>) -> Result<RecordIter, StoreError> {
        RecordIter::new(dir, chain)
    }

    /// What finds records by name, for a thread that may wait for the disk: those that [`Recovered`] has passed, and those
    /// that became durable since.
    pub fn finder(&self) -> Finder {
        Finder::new(self.dir.clone(), self.index.clone(), self.proofs.clone())
    }

    /// CPU time of the store's own threads so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.meter.cpu_ns()
    }

    /// Bytes appended since opening, with headers and padding.
    pub fn bytes_stored(&self) -> u64 {
        self.meter.bytes_stored()
    }

    /// The counters behind `cpu_ns` and `bytes_stored`, to read from another thread.
    pub fn meter(&self) -> Arc<StoreMeter> {
        self.meter.clone()
    }

    /// Writes and syncs what was appended, ends the threads and releases the lock once no [`Recovered`] is held.
    /// The error is the one that the callback was told, or a panic in it; what waits for room on a full disk is not written,
    /// and the error says so. A store that was never started forgets
    /// what waits.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        (self.sender, self.closes) = (None, None);
        self.idle = None;
        let kept = self.keeper.take().map_or(Ok(()), |mut keeper| keeper.end());
        self.end_writer().and(kept)
    }

    fn end_writer(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| StoreError::Panicked { thread: WRITER_THREAD })?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the store ended with an error");
        }
    }
}

fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => segment::sync_dir(disk, parent),
        None => Ok(()),
    }
}

/// Refuses a directory of another chain, or with another genesis than its segments'; what lies in it, and whether the
/// genesis does. Only reads.
fn check_chain(
    disk: &dyn Disk,
    dir: &Path,
    chain: &[u8; 32],
    genesis: &[u8],
    on_damage: OnDamage<'_>,
) -> Result<(segment::Listing, bool), StoreError> {
    let listing = segment::list(dir)?;
    if listing.segments > 0 {
        let first = walk::check_first(disk, dir, chain, listing.first);
        return match (first, on_damage) {
            // Whose it is, only the genesis beside it can say.
            (Err(StoreError::Damaged { file, offset, damage }), OnDamage::SetAside(_)) => {
                match genesis::check(dir, genesis)? {
                    true => Ok((listing, true)),
                    false => Err(StoreError::Damaged { file, offset, damage }),
                }
            }
            (first, _) => first.and_then(|()| Ok((listing, genesis::check(dir, genesis)?))),
        };
    }
    match genesis::read(dir)? {
        Some(found) if found != genesis => {
            let (found, expected) = (chain_id_of(&found).0, *chain);
            Err(StoreError::OtherChain { file: genesis::path_of(dir), found, expected })
        }
        found => Ok((listing, found.is_some())),
    }
}

/// The genesis, unless it is there, and the first segment of a new log.
fn create(
    disk: &dyn Disk,
    dir: &Path,
    (genesis, known): (&[u8], bool),
    config: &StoreConfig,
    lock: &Arc<File>,
) -> Result<Log, StoreError> {
    let head = writer::fresh_head(1, config.segment_bytes, &chain_id_of(genesis).0, [0; 32])?;
    segment::preflight(disk, dir, head.bytes() + genesis.len() as u64)?;
    if !known {
        genesis::write(disk, dir, genesis)?;
    }
    Ok(Log {
        current: Segment::create(disk, dir, head, &|| ())?,
        end: SEGMENT_HEAD_BYTES,
        prepared: VecDeque::new(),
        records: Recovered::empty(lock.clone()),
        cut: None,
    })
}
