//! What a node's jobs read on other threads.

use super::Setup;
use crate::crypto::{KeySet, PreparedKey, SigningKey};
use crate::ledger::Ledger;
use crate::mempool::{BlobQueue, Mempool};
use crate::types::{ChainId, Committee, Rules, Seat};
use crate::wire::chain_id;
use std::sync::Arc;

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
            mempool: Mempool::new(setup.config.mempool_rows_max),
            blobs: BlobQueue::default(),
            seat_keys: Arc::new(KeySet::new(genesis.seats.iter().map(|seat| &seat.key.0))),
        }
    }

    /// The prepared key of a seat; `None` if there is no such seat or its key is not a point.
    pub fn seat_key(&self, seat: Seat) -> Option<&PreparedKey> {
        self.seat_keys.key(seat.index())
    }
}
