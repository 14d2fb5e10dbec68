//! What a running node shows to whoever serves people, on a thread of their own.
//!
//! - Upon any question: it is answered from what the node's threads share anyway; the event loop is not asked, and does not
//!   wait. What may wait for the disk says so.
//! - Upon a node that has stopped: the last answers stay.

use super::State;
use super::visits::Visit;
use crate::metrics::Metrics;
use crate::node::{Progress, Shared};
use crate::store::{Finder, StoreError};
use crate::types::{Account, AccountNumber, BatchId, ChainId, Height, Root, Rules, Seat};
use bytes::Bytes;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;

/// A view of a running node that other threads may keep.
#[derive(Clone)]
pub struct NodeView {
    pub(super) client_address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: Arc<State>,
    /// Of its own, so that nobody waits for peers that are served from disk.
    pub(super) finder: Arc<Mutex<Finder>>,
}

impl NodeView {
    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Announces a connection of this process to the client port, from an address that its socket is bound to already. Limits for
    /// addresses do not hold for it while the visit lasts: it speaks for others.
    pub fn announce(&self, from: SocketAddr) -> Visit {
        self.state.visits.announce(from)
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.shared.chain
    }

    /// Its rules.
    pub fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// The node's seat; [`Seat::NONE`] of an observer.
    pub fn seat(&self) -> Seat {
        self.shared.seat
    }

    /// Seats in the committee.
    pub fn seats(&self) -> usize {
        self.shared.committee.size()
    }

    /// Its counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where it stands, as of its last turn.
    pub fn progress(&self) -> Progress {
        *self.state.progress.lock()
    }

    /// Why it died, if it did.
    pub fn failure(&self) -> Option<String> {
        self.state.failure.lock().clone()
    }

    /// Accounts in the table, the sentinel counted.
    pub fn accounts(&self) -> u32 {
        self.shared.ledger.len()
    }

    /// Rows in the mempool: those to be sealed here, and those held for others to seal.
    pub fn pending(&self) -> (usize, usize) {
        (self.shared.mempool.len(), self.shared.mempool.held())
    }

    /// An account's record after the last executed block. May wait for a block that executes: milliseconds.
    pub fn account(&self, number: AccountNumber) -> Option<Account> {
        self.shared.ledger.account(number)
    }

    /// The number of the account with a key. May wait as [`NodeView::account`].
    pub fn number_of(&self, key: &[u8; 32]) -> Option<AccountNumber> {
        self.shared.ledger.number_of(key)
    }

    /// The proof of an account's record, if the table is still the one with this root. May wait as [`NodeView::account`].
    pub fn prove_at(&self, root: &Root, number: AccountNumber) -> Option<Vec<u8>> {
        self.shared.ledger.prove_at(root, number)
    }

    /// The proof of an account's record in the snapshot of a height. May wait for the disk.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is not the table of its checkpoint.
    pub fn prove_in_snapshot(
        &self,
        height: Height,
        number: AccountNumber,
    ) -> Result<Option<Bytes>, StoreError> {
        self.finder.lock().account(height, number)
    }

    /// The heights of the snapshots on disk, ascending. May wait for the disk.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Height>, StoreError> {
        self.finder.lock().snapshots()
    }

    /// The bytes of the block of a height; `None`: it is not here. May wait for the disk.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn block(&self, height: Height) -> Result<Option<Bytes>, StoreError> {
        self.finder.lock().block(height)
    }

    /// The bytes of a batch. May wait for the disk.
    ///
    /// # Errors
    /// As [`NodeView::block`].
    pub fn batch(&self, id: &BatchId) -> Result<Option<Bytes>, StoreError> {
        self.finder.lock().batch(id)
    }

    /// The bytes of the certificate of the lowest checkpoint at or above a height. May wait for the disk.
    ///
    /// # Errors
    /// As [`NodeView::block`].
    pub fn certificate(&self, least: Height) -> Result<Option<Bytes>, StoreError> {
        self.finder.lock().certificate(least)
    }
}
