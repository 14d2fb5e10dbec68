//! The event loop's side of the store: records out, views back, and patience when the disk is behind.

use super::workers::{Mailbox, Report};
use crate::metrics::{Metrics, Stage};
use crate::store::{Append, AppendError, Errand, Pruned, Store, StoreError, StoreMeter};
use crate::types::Time;
use std::sync::Arc;
use std::time::Duration;

/// A pruning that fails is tried again with every snapshot, and told of no more often than this.
const UNPRUNED_TOLD_EVERY: Duration = Duration::from_secs(3600);

/// An open store, and what its queue had no room for.
pub struct Disk {
    store: Store,
    meter: Arc<StoreMeter>,
    metrics: Arc<Metrics>,
    counted_ns: u64,
    counted_bytes: u64,
    /// Bounded by what one turn brings in: while something waits here, nobody is read from.
    unwritten: Vec<Append>,
    /// Records that are not durable yet.
    pub in_flight: usize,
    /// It has no room for more.
    pub full: bool,
    /// When it is told again that old segments cannot be removed, if that was told.
    unpruned_told_again: Option<Time>,
}

impl Disk {
    /// Starts the store's threads.
    pub fn start(mut store: Store, metrics: Arc<Metrics>, mailbox: Arc<Mailbox>) -> Result<Disk, StoreError> {
        let keeper = mailbox.clone();
        store.start_keeper(Box::new(move |kept| keeper.post(Report::Kept(kept))))?;
        let room = mailbox.clone();
        store.on_room(Box::new(move |lacking| room.post(Report::Room(lacking))));
        store.start(Box::new(move |synced| {
            mailbox.post(match synced {
                Ok(synced) => Report::Synced(synced),
                Err(error) => Report::Died(format!("the store failed: {error}")),
            });
        }))?;
        let meter = store.meter();
        Ok(Disk {
            store,
            meter,
            metrics,
            counted_ns: 0,
            counted_bytes: 0,
            unwritten: Vec::new(),
            in_flight: 0,
            full: false,
            unpruned_told_again: None,
        })
    }

    /// Whether the disk is behind, so that nothing more should be taken in.
    pub fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// There is no room for what comes next, or there is again.
    pub fn room(&mut self, lacking: Option<&StoreError>) {
        self.full = lacking.is_some();
        Metrics::set(&self.metrics.disk_full, self.full.into());
        match lacking {
            Some(reason) => tracing::error!(
                %reason,
                "the disk is full: the node neither votes nor accepts anything, but serves what it has, until there is room; \
                 remove other files from this disk, or give it more room: it goes on by itself"
            ),
            None => tracing::warn!("the disk has room again: the node goes on"),
        }
    }

    /// What became of a pruning; of failures one in a while is told. True if this one was.
    pub fn pruned(&mut self, result: Result<Pruned, StoreError>, now: Time) -> bool {
        match result {
            Ok(Pruned { segments, bytes }) => {
                tracing::info!(segments, bytes, "old segments were removed");
                self.unpruned_told_again = None;
                false
            }
            Err(error) if self.unpruned_told_again.is_none_or(|again| now >= again) => {
                tracing::warn!(%error, "old segments stay; it is tried again with the next snapshot");
                self.unpruned_told_again = Some(now + UNPRUNED_TOLD_EVERY);
                true
            }
            Err(_) => false,
        }
    }

    /// Hands an errand to the store's keeper; false if that does not take it.
    pub fn errand(&self, errand: Errand) -> bool {
        self.store.errand(errand)
    }

    /// Queues records behind those that wait.
    ///
    /// # Errors
    /// The store has stopped, or takes no record of this size.
    pub fn append(&mut self, mut records: Vec<Append>) -> Result<(), String> {
        self.in_flight += records.len();
        if self.is_behind() {
            self.unwritten.append(&mut records);
            return Ok(());
        }
        self.offer(records)
    }

    /// Some records are durable: there may be room again.
    ///
    /// # Errors
    /// As [`Disk::append`].
    pub fn synced(&mut self, records: usize) -> Result<(), String> {
        self.in_flight -= records;
        let waiting = std::mem::take(&mut self.unwritten);
        if waiting.is_empty() { Ok(()) } else { self.offer(waiting) }
    }

    fn offer(&mut self, records: Vec<Append>) -> Result<(), String> {
        match self.store.append(records) {
            Ok(()) => Ok(()),
            Err(AppendError::Full(records)) => {
                self.unwritten = records;
                Ok(())
            }
            Err(error) => Err(format!("the store failed: {error}")),
        }
    }

    /// Brings the node's counters up to the store's.
    pub fn count(&mut self) {
        let (ns, bytes) = (self.meter.cpu_ns(), self.meter.bytes_stored());
        self.metrics.add_cpu(Stage::Store, Duration::from_nanos(ns.saturating_sub(self.counted_ns)));
        Metrics::add(&self.metrics.bytes_stored, bytes.saturating_sub(self.counted_bytes));
        (self.counted_ns, self.counted_bytes) = (ns, bytes);
    }

    /// Writes and syncs what was queued and ends the store's threads.
    ///
    /// # Errors
    /// What ended the store before.
    pub fn close(mut self) -> Result<(), String> {
        self.count();
        self.store.close().map_err(|error| format!("the store failed: {error}"))
    }
}
