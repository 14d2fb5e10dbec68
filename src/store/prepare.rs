//! The helper that makes the next segment ahead of time, so that the writer seldom waits for zeros.
//!
//! - Upon an order: write zeros, a piece at a time, while the writer writes nothing: it and the disk are not to be slowed by
//!   what has time.
//! - Upon a writer that is soon at the end of its segment, or waits: no lull is waited for any more.

use super::StoreError;
use super::disk::Disk;
use super::format::SegmentHead;
use super::handle::StoreMeter;
use super::segment::Segment;
use super::writer::CpuClock;
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const PREPARER_THREAD: &str = "store-prepare";
/// The writer has paused when it has written nothing for so long: longer than it takes from one group to the next.
const LULL: Duration = Duration::from_millis(1);

/// When the helper may use the disk.
#[derive(Default)]
struct Lull {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    writing: bool,
    hurry: bool,
}

impl Lull {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }

    fn hurry(&self, hurry: bool) {
        self.set(|state| state.hurry = hurry);
    }

    /// Waits until the writer has paused, or there is no time to wait.
    fn wait(&self) {
        let mut state = self.state.lock();
        while !state.hurry {
            if state.writing {
                self.changed.wait(&mut state);
            } else if self.changed.wait_for(&mut state, LULL).timed_out() {
                return;
            }
        }
    }
}

/// The helper thread that fills the next segment with zeros.
pub(super) struct Preparer {
    orders: Option<Sender<SegmentHead>>,
    pub(super) made: Receiver<Result<Segment, StoreError>>,
    lull: Arc<Lull>,
    thread: JoinHandle<()>,
    /// An order was given and its segment not yet taken.
    pub(super) busy: bool,
}

impl Preparer {
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        meter: Arc<StoreMeter>,
    ) -> Result<Self, StoreError> {
        // One order at a time, so neither side ever waits to send.
        let (orders, ordered) = bounded::<SegmentHead>(1);
        let (done, made) = bounded(1);
        let lull = Arc::new(Lull::default());
        let failed = StoreError::io("start the helper of", &dir);
        let awaited = lull.clone();
        let work = move |dir: PathBuf| {
            let mut cpu = CpuClock::new();
            for head in ordered {
                let segment = Segment::create(&*disk, &dir, head, &|| awaited.wait());
                meter.add_cpu(cpu.since_last());
                if done.send(segment).is_err() {
                    break;
                }
            }
        };
        let place = dir.clone();
        let thread = std::thread::Builder::new()
            .name(PREPARER_THREAD.into())
            .spawn(move || work(place))
            .map_err(failed)?;
        Ok(Self { orders: Some(orders), made, lull, thread, busy: false })
    }

    pub(super) fn order(&mut self, head: SegmentHead) {
        self.lull.hurry(false);
        // When the helper is gone, `wait` says so.
        self.busy = self.orders.as_ref().is_some_and(|orders| orders.send(head).is_ok());
    }

    /// The writer begins to write, or has done so.
    pub(super) fn writing(&self, writing: bool) {
        self.lull.set(|state| state.writing = writing);
    }

    /// What was ordered is needed soon: no lull is waited for any more.
    pub(super) fn hurry(&self) {
        self.lull.hurry(true);
    }

    /// What was ordered, or why there is none; waits for it.
    ///
    /// # Errors
    /// The helper is gone.
    pub(super) fn wait(&mut self) -> Result<Result<Segment, StoreError>, StoreError> {
        self.busy = false;
        self.lull.hurry(true);
        self.made.recv().map_err(|_| StoreError::Panicked { thread: PREPARER_THREAD })
    }

    /// Lets the helper finish what it was ordered: the segment is found prepared by the next start.
    pub(super) fn join(mut self) -> Result<(), StoreError> {
        self.orders = None;
        self.lull.hurry(true);
        self.thread.join().map_err(|_| StoreError::Panicked { thread: PREPARER_THREAD })
    }
}
