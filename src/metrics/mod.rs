//! Counters and CPU time by stage.
//!
//! Rules of this room:
//! - Counting never decides anything: no rule of the protocol reads a counter.
//! - CPU time is thread CPU time around leaf jobs, added once per job and not once per transaction, so that the
//!   measuring costs less than it measures.
//! - Nothing here is shared between nodes, even in one process.

use crate::wire::client::Refusal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Where CPU time goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Stage {
    /// Signatures and roots of what comes from outside.
    Verify = 0,
    /// Executing blocks and hashing the account table.
    Execute = 1,
    /// The machine itself: DAG, decision, order, settlement, sealing.
    Consensus = 2,
    /// Sockets, encryption, framing, parsing.
    Net = 3,
    /// Writing block files.
    Store = 4,
}

/// All stages in order.
pub const STAGES: [Stage; 5] = [Stage::Verify, Stage::Execute, Stage::Consensus, Stage::Net, Stage::Store];

impl Stage {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        ["verify", "execute", "consensus", "net", "store"][self as usize]
    }
}

/// Why a node ends a connection, or does not let it in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Dismissal {
    /// Other software, another version or another chain.
    Foreign = 0,
    /// A frame or message that does not decode.
    Malformed = 1,
    /// A record that was not sealed with the agreed keys.
    Record = 2,
    /// A length above the limit.
    Oversize = 3,
    /// No proof of the identity that was claimed or dialed.
    Identity = 4,
    /// A validator broke rules of the protocol too often.
    Rules = 5,
    /// No identity or hello within the deadline.
    Silent = 6,
    /// Takes no bytes, or does not read its answers.
    Slow = 7,
    /// More handshakes from one address than its rate.
    Rate = 8,
    /// No room: in all, for the address, for its network, for want of descriptors.
    Full = 9,
    /// Refused for a while for what it did before.
    Refused = 10,
}

/// How many reasons there are.
const DISMISSALS: usize = 11;
/// How many reasons there are to refuse a row.
const REFUSALS: usize = Refusal::ALL.len();

impl Dismissal {
    /// All of them in order.
    pub const ALL: [Dismissal; DISMISSALS] = [
        Dismissal::Foreign,
        Dismissal::Malformed,
        Dismissal::Record,
        Dismissal::Oversize,
        Dismissal::Identity,
        Dismissal::Rules,
        Dismissal::Silent,
        Dismissal::Slow,
        Dismissal::Rate,
        Dismissal::Full,
        Dismissal::Refused,
    ];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        [
            "foreign",
            "malformed",
            "record",
            "oversize",
            "identity",
            "rules",
            "silent",
            "slow",
            "rate",
            "full",
            "refused",
        ][self as usize]
    }
}

/// One node's counters; shared by its threads, read by whoever reports.
#[derive(Debug, Default)]
pub struct Metrics {
    cpu_ns: [AtomicU64; 5],
    /// Bytes written to sockets of peers and clients.
    pub bytes_sent: AtomicU64,
    /// Bytes read from sockets of peers and clients.
    pub bytes_received: AtomicU64,
    /// Bytes appended to block files: records with their headers and padding.
    pub bytes_stored: AtomicU64,
    /// Whether the disk has no room at present: 1 or 0.
    pub disk_full: AtomicU64,
    /// Rows that clients submitted.
    pub rows_submitted: AtomicU64,
    /// Rows admitted to the mempool.
    pub rows_admitted: AtomicU64,
    /// Rows refused, by reason.
    refused: [AtomicU64; REFUSALS],
    /// Rows that were handed on to the node whose turn it is to seal them; counted again for the next one.
    pub rows_handed_on: AtomicU64,
    /// Rows that others handed on, admitted to the mempool.
    pub rows_taken_over: AtomicU64,
    /// Rows that others handed on, passed over: mostly copies of what is in flight. One that is offered again counts again.
    pub rows_passed_over: AtomicU64,
    /// Rows of clients that were admitted and let go because they were not executed in time.
    pub rows_let_go: AtomicU64,
    /// Rows or blobs settled by blocks that became durable.
    pub rows_settled: AtomicU64,
    /// Of these the ones with the outcome `ok`.
    pub rows_ok: AtomicU64,
    /// Signatures of rows checked, in submissions and in batches of others.
    pub signatures_checked: AtomicU64,
    /// Frames or messages of peers refused as malformed or against a rule.
    pub peer_faults: AtomicU64,
    /// Connections accepted from peers and clients, those that were dismissed at once included.
    pub connections_accepted: AtomicU64,
    /// How often a peer or a client was not read from for a while, for it asked or sent more than its rate.
    pub throttled: AtomicU64,
    /// Connections refused or dropped, by reason.
    dismissed: [AtomicU64; DISMISSALS],
    /// Messages dropped because a peer's queue was full.
    pub messages_dropped: AtomicU64,
}

impl Metrics {
    /// Adds CPU time to a stage.
    pub fn add_cpu(&self, stage: Stage, spent: Duration) {
        self.cpu_ns[stage as usize].fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// CPU time of every stage so far, in nanoseconds, in the order of [`STAGES`].
    pub fn cpu_ns(&self) -> [u64; 5] {
        std::array::from_fn(|stage| self.cpu_ns[stage].load(Relaxed))
    }

    /// Counts a connection that was refused or dropped.
    pub fn dismiss(&self, reason: Dismissal) {
        self.dismissed[reason as usize].fetch_add(1, Relaxed);
    }

    /// Connections refused or dropped for a reason.
    pub fn dismissed(&self, reason: Dismissal) -> u64 {
        self.dismissed[reason as usize].load(Relaxed)
    }

    /// Connections refused or dropped for any reason.
    pub fn connections_dropped(&self) -> u64 {
        Dismissal::ALL.into_iter().map(|reason| self.dismissed(reason)).sum()
    }

    /// Counts rows that were refused for a reason.
    pub fn refuse(&self, reason: Refusal, rows: u64) {
        self.refused[reason.place()].fetch_add(rows, Relaxed);
    }

    /// Rows refused for a reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason.place()].load(Relaxed)
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// Sets what is no counter but a state.
    pub fn set(state: &AtomicU64, now: u64) {
        state.store(now, Relaxed);
    }

    /// Every counter and state, in an order of this version's own: to be carried to another process and [`Metrics::mirror`]ed.
    pub fn values(&self) -> Vec<u64> {
        self.all().map(Metrics::read).collect()
    }

    /// Takes over the values of another one; `false`, and nothing is changed, if they are not as many as there are counters.
    pub fn mirror(&self, values: &[u64]) -> bool {
        let fits = self.all().count() == values.len();
        if fits {
            self.all().zip(values).for_each(|(counter, value)| Metrics::set(counter, *value));
        }
        fits
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        // By name, so that a new counter cannot be forgotten here.
        let Metrics {
            cpu_ns,
            bytes_sent,
            bytes_received,
            bytes_stored,
            disk_full,
            rows_submitted,
            rows_admitted,
            refused,
            rows_handed_on,
            rows_taken_over,
            rows_passed_over,
            rows_let_go,
            rows_settled,
            rows_ok,
            signatures_checked,
            peer_faults,
            connections_accepted,
            throttled,
            dismissed,
            messages_dropped,
        } = self;
        let single = [
            bytes_sent,
            bytes_received,
            bytes_stored,
            disk_full,
            rows_submitted,
            rows_admitted,
            rows_handed_on,
            rows_taken_over,
            rows_passed_over,
            rows_let_go,
            rows_settled,
            rows_ok,
            signatures_checked,
            peer_faults,
            connections_accepted,
            throttled,
            messages_dropped,
        ];
        cpu_ns.iter().chain(single).chain(refused).chain(dismissed)
    }

    /// Reads a counter.
    pub fn read(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }
}

/// The CPU time that the calling thread has used so far.
pub fn thread_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// The CPU time that the whole process has used so far.
pub fn process_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_shows_every_counter_and_takes_no_other_number_of_them() {
        let (real, mirror) = (Metrics::default(), Metrics::default());
        for (value, counter) in (1..).zip(real.all()) {
            Metrics::set(counter, value);
        }
        assert!(mirror.mirror(&real.values()));
        assert_eq!(mirror.values(), (1..=42).collect::<Vec<_>>());
        assert_eq!((mirror.cpu_ns(), mirror.dismissed(Dismissal::Refused)), (real.cpu_ns(), 42));
        assert!(!mirror.mirror(&[7; 41]) && !mirror.mirror(&[7; 43]));
        assert_eq!(mirror.values(), real.values());
    }
}
