//! The keeper's thread: it writes snapshots and removes old segments, beside the log and not in its way.

use super::StoreError;
use super::disk::Disk;
use super::handle::StoreMeter;
use super::index::Index;
use super::pieces::Proofs;
use super::prune::{self, Judge, Pruned};
use super::snapshot::{self, Unwritten};
use super::writer::CpuClock;
use super::{segment, walk};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub(super) const KEEPER_THREAD: &str = "store-keeper";
/// Errands that wait at most; beyond, they are refused.
const WAITING_MAX: usize = 4;

/// Something to be done beside the log.
pub enum Errand {
    /// Write the snapshot of a height; once it is durable, remove all older ones but those that are kept.
    Snapshot {
        /// The height, from 1.
        height: u64,
        /// The table.
        bytes: Bytes,
        /// The height of an older one that stays.
        kept: Option<u64>,
    },
    /// Remove the oldest segments as far as the judge lets them go.
    Prune(Judge),
}

/// What became of an errand.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Of a snapshot.
    Snapshot {
        /// Its height.
        height: u64,
        /// Whether it is durable.
        written: Result<(), Unwritten>,
    },
    /// Of a pruning. After an error nothing more was removed; what is there is as good as before.
    Pruned(Result<Pruned, StoreError>),
}

/// Called by the keeper's thread once for each errand. It must not block.
pub type OnKept = Box<dyn Fn(Kept) + Send>;

/// The thread and the way to it.
pub(super) struct Keeper {
    sender: Option<Sender<Errand>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works on.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) chain: [u8; 32],
    pub(super) meter: Arc<StoreMeter>,
    pub(super) proofs: Proofs,
    pub(super) index: Arc<Mutex<Index<walk::Place>>>,
}

impl Keeper {
    pub(super) fn start(place: Place, on_kept: OnKept) -> Result<Keeper, StoreError> {
        let (sender, errands) = bounded(WAITING_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let (closes, dir) = (closing.clone(), place.dir.clone());
        let run = move || place.run(&errands, &closes, &on_kept);
        let thread = std::thread::Builder::new().name(KEEPER_THREAD.into()).spawn(run);
        let thread = thread.map_err(StoreError::io("start the keeper of", &dir))?;
        Ok(Keeper { sender: Some(sender), closing, thread: Some(thread) })
    }

    /// Hands over an errand; false if too many wait or the thread has ended.
    pub(super) fn send(&self, errand: Errand) -> bool {
        let sent = self.sender.as_ref().map(|sender| sender.try_send(errand));
        !matches!(sent, None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))))
    }

    /// Ends the thread; what it has not finished it leaves.
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        self.closing.store(true, Ordering::Relaxed);
        self.sender = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| StoreError::Panicked { thread: KEEPER_THREAD })
    }
}

impl Place {
    fn run(&self, errands: &Receiver<Errand>, closes: &AtomicBool, on_kept: &OnKept) {
        let mut cpu = CpuClock::new();
        let closing = || closes.load(Ordering::Relaxed);
        let mut first = 0;
        for errand in errands {
            let kept = match errand {
                Errand::Snapshot { height, bytes, kept } => {
                    let written = self.snapshot(height, &bytes, kept, &closing);
                    Kept::Snapshot { height, written }
                }
                Errand::Prune(judge) => {
                    let pruned = prune::prune(&*self.disk, &self.dir, &self.chain, &*judge, &closing);
                    self.forget_pruned(&mut first);
                    Kept::Pruned(pruned)
                }
            };
            self.meter.add_cpu(cpu.since_last());
            if closing() {
                return;
            }
            on_kept(kept);
        }
    }

    /// Brings the index up to what is there, also after a pruning that failed half-way. `first`: the first segment of the last
    /// time.
    fn forget_pruned(&self, first: &mut u32) {
        let Ok(listing) = segment::list(&self.dir) else { return };
        if listing.first == std::mem::replace(first, listing.first) {
            return;
        }
        let mut after = None;
        loop {
            let mut index = self.index.lock();
            after = index.forget(after, |place| place.segment < listing.first);
            // Whoever appends comes between two steps.
            MutexGuard::unlock_fair(index);
            if after.is_none() {
                return;
            }
        }
    }

    fn snapshot(
        &self,
        height: u64,
        bytes: &[u8],
        kept: Option<u64>,
        closing: &dyn Fn() -> bool,
    ) -> Result<(), Unwritten> {
        let (disk, dir) = (&*self.disk, &self.dir);
        snapshot::write(disk, dir, height, bytes, closing)?;
        self.proofs.written(height, bytes);
        let kept: Vec<u64> = kept.into_iter().collect();
        if let Err(error) = snapshot::remove_others(disk, dir, &kept, height) {
            tracing::warn!(%error, "an older snapshot stays");
        }
        Ok(())
    }
}
