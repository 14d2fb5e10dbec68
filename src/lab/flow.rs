//! The counts and signals between the generator, the observers, and whoever directs a run.

use crate::metrics::thread_cpu;
use crate::wire::client::Refusal;
use crossbeam::channel::{Sender, TrySendError};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The counts and signals that the lanes of one cluster share with whoever directs them.
#[derive(Debug, Default)]
pub struct Flow {
    pub(super) fresh: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) later: AtomicU64,
    pub(super) for_good: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) cpu_ns: AtomicU64,
    pub(super) stop: AtomicBool,
    pub(super) dry: AtomicBool,
    pub(super) broken: Mutex<Option<String>>,
    pub(super) wake: Mutex<Vec<Sender<Event>>>,
}

/// What a lane waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// The node's answer to a submission.
    Reply { id: u64, accepted: u32, refused: Vec<(u32, Refusal)> },
    /// The node's answer to a submission of blobs.
    Taken { id: u64, accepted: u32 },
    /// The node has ended the connection.
    Closed(String),
    /// Something has settled, or the lane is to stop.
    Wake,
}

/// The generator's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows sent for the first time.
    pub fresh: u64,
    /// Rows sent, those sent again included.
    pub sent: u64,
    /// Rows admitted.
    pub accepted: u64,
    /// Refusals of rows that are sent again.
    pub later: u64,
    /// Rows refused for good.
    pub for_good: u64,
    /// CPU time of the generator's and observers' threads, in nanoseconds.
    pub cpu_ns: u64,
}

impl Flow {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        Counts {
            fresh: self.fresh.load(Relaxed),
            sent: self.sent.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            later: self.later.load(Relaxed),
            for_good: self.for_good.load(Relaxed),
            cpu_ns: self.cpu_ns.load(Relaxed),
        }
    }

    /// Whether a lane has run out of signed rows.
    pub fn is_dry(&self) -> bool {
        self.dry.load(Relaxed)
    }

    /// Why a lane ended before it was stopped, if one did.
    pub fn broken(&self) -> Option<String> {
        self.broken.lock().clone()
    }

    /// The chain has settled so many rows in all. Wakes the lanes, each time another one first.
    pub fn settled(&self, rows: u64) {
        if self.settled.fetch_max(rows, Relaxed) >= rows {
            return;
        }
        let mut lanes = self.wake.lock();
        for lane in lanes.iter() {
            // Full: the lane has something to wake up for. Gone: it needs no waking.
            let _: Result<(), TrySendError<Event>> = lane.try_send(Event::Wake);
        }
        let turn = lanes.len().min(1);
        lanes.rotate_left(turn);
    }

    /// Rows sent and not settled, as far as known.
    pub fn in_flight(&self) -> u64 {
        let gone = self.later.load(Relaxed) + self.for_good.load(Relaxed) + self.settled.load(Relaxed);
        self.sent.load(Relaxed).saturating_sub(gone)
    }
}

/// Adds a thread's CPU time to the generator's.
pub struct CpuMeter<'a> {
    flow: &'a Flow,
    last: Duration,
}

impl<'a> CpuMeter<'a> {
    /// Counts from now on, for the calling thread.
    pub fn start(flow: &'a Flow) -> CpuMeter<'a> {
        CpuMeter { flow, last: thread_cpu() }
    }

    /// Adds what the thread has used since the last time.
    pub fn tick(&mut self) {
        let now = thread_cpu();
        let spent = now.saturating_sub(self.last).as_nanos();
        self.flow.cpu_ns.fetch_add(spent as u64, Relaxed);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_leaves_out_refusals_and_what_has_settled() {
        let flow = Flow::default();
        flow.sent.store(1000, Relaxed);
        flow.later.store(100, Relaxed);
        flow.for_good.store(1, Relaxed);
        flow.settled(400);
        flow.settled(300); // a slower node's notice takes nothing back
        assert_eq!(flow.in_flight(), 499);
    }
}
