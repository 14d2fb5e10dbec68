//! What a node's jobs read on other threads.

use super::Setup;
use crate::crypto::{KeySet, PreparedKey, SigningKey};
use crate::ledger::Ledger;
use crate::mempool::{BlobQueue, Mempool};
use crate::types::params::HOME_TURN_GRACE;
use crate::types::{AccountNumber, ChainId, Committee, Height, Rules, Seat};
use crate::wire::chain_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The parts of a node that its jobs read on other threads.
pub struct Shared {
    /// The chain.
    pub chain: ChainId,
    /// Its rules.
    pub rules: Rules,
    /// Its committee.
    pub committee: Committee,
    /// The node's own seat.
    pub seat: Seat,
    /// The node's own key.
    pub key: SigningKey,
    /// The account table; written by [`super::jobs::ExecuteJob`] only.
    pub ledger: Ledger,
    /// The mempool.
    pub mempool: Mempool,
    /// The last height executed, as the machine last told: from it follows whose turn it is to seal a row.
    executed: AtomicU64,
    /// Whether the node could sign a batch of its own, as the machine last told.
    sealing: AtomicBool,
    /// What waits instead of rows where the chain carries blobs.
    pub blobs: BlobQueue,
    /// The keys of the seats, in their order.
    pub seat_keys: Arc<KeySet>,
}

impl Shared {
    /// The shared parts of a node at the genesis.
    pub fn new(setup: &Setup) -> Shared {
        Shared::with(setup, Ledger::new(setup.genesis.table()))
    }

    /// The shared parts of a node whose account table is this.
    pub fn with(setup: &Setup, ledger: Ledger) -> Shared {
        let genesis = &setup.genesis;
        Shared {
            chain: chain_id(genesis),
            rules: genesis.rules,
            committee: genesis.committee(),
            seat: setup.seat,
            key: setup.key.clone(),
            ledger,
            mempool: Mempool::new(setup.config.mempool_rows_max, genesis.seats.len()),
            executed: AtomicU64::new(0),
            sealing: AtomicBool::new(false),
            blobs: BlobQueue::default(),
            seat_keys: Arc::new(KeySet::new(genesis.seats.iter().map(|seat| &seat.key.0))),
        }
    }

    /// Whether the own seat is the home of an account now (see [`Committee::home_rank`]) and can seal its rows. With `f = 0` nobody
    /// else may: they wait until it can.
    pub fn seals_first(&self, account: AccountNumber) -> bool {
        let executed = Height(self.executed.load(Ordering::Relaxed));
        let can = self.sealing.load(Ordering::Relaxed) || self.committee.faulty_max() == 0;
        can && self.committee.home_rank(account, executed, self.seat) == 0
    }

    /// Whether the own seat is among those that seal an account's rows: now, or shortly ago, before homes moved on.
    pub fn seals(&self, account: AccountNumber) -> bool {
        let now = self.executed.load(Ordering::Relaxed);
        let ago = now.saturating_sub(HOME_TURN_GRACE);
        let rank = |height| self.committee.home_rank(account, Height(height), self.seat);
        rank(now).min(rank(ago)) <= self.committee.faulty_max()
    }

    /// The last height executed is this one now.
    pub(super) fn tell_executed(&self, height: Height) {
        self.executed.store(height.0, Ordering::Relaxed);
    }

    /// Whether the node could sign a batch of its own is this now.
    pub(super) fn tell_sealing(&self, sealing: bool) {
        self.sealing.store(sealing, Ordering::Relaxed);
    }

    /// The prepared key of a seat; `None` if there is no such seat or its key is not a point.
    pub fn seat_key(&self, seat: Seat) -> Option<&PreparedKey> {
        self.seat_keys.key(seat.index())
    }
}
