//! The machine without I/O.

pub mod ingress;
mod io;
pub mod jobs;

pub use io::{Fatal, Input, Output, Progress};

use crate::crypto::{PreparedKey, SigningKey};
use crate::ledger::Ledger;
use crate::mempool::Mempool;
use crate::store::RecordKind;
use crate::types::{Block, BlockHash, ChainId, Committee, Genesis, Height, Rules, Seat, Time};
use crate::wire::chain_id;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A node's own conduct: nothing here is a rule that others must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The most rows in the mempool; rows beyond are refused, and clients are not read from.
    pub mempool_rows_max: usize,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig { mempool_rows_max: 32_768 }
    }
}

/// Who a node is.
pub struct Setup {
    /// The genesis; checked.
    pub genesis: Arc<Genesis>,
    /// Its seat.
    pub seat: Seat,
    /// The key of that seat.
    pub key: SigningKey,
    /// Its conduct.
    pub config: NodeConfig,
    /// From which it draws what may be arbitrary but must be repeatable.
    pub seed: u64,
}

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
    /// The account table; written by [`jobs::ExecuteJob`] only.
    pub ledger: Ledger,
    /// The mempool.
    pub mempool: Mempool,
    seat_keys: Vec<Option<PreparedKey>>,
}

impl Shared {
    /// The shared parts of a node at the genesis.
    pub fn new(setup: &Setup) -> Shared {
        let genesis = &setup.genesis;
        Shared {
            chain: chain_id(genesis),
            rules: genesis.rules,
            committee: genesis.committee(),
            seat: setup.seat,
            key: setup.key.clone(),
            ledger: Ledger::new(genesis.table()),
            mempool: Mempool::new(setup.config.mempool_rows_max),
            seat_keys: genesis.seats.iter().map(|seat| PreparedKey::new(&seat.key.0)).collect(),
        }
    }

    /// The prepared key of a seat; `None` if there is no such seat or its key is not a point.
    pub fn seat_key(&self, seat: Seat) -> Option<&PreparedKey> {
        self.seat_keys.get(seat.index())?.as_ref()
    }
}

/// One validator's machine.
pub struct Node {}

impl Node {
    /// Opens the machine on what its store recovered, oldest record first, and the parts that its jobs share.
    pub fn open(
        setup: Setup,
        recovered: impl Iterator<Item = (RecordKind, Bytes)>,
        now: Time,
    ) -> Result<(Node, Arc<Shared>), Fatal> {
        let _ = (setup, recovered.count(), now);
        unreachable!()
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        let _ = (now, input);
    }

    /// The next thing to do, `None` if there is nothing until the next input or the deadline.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// The last block durable here.
    pub fn tip(&self) -> (Height, BlockHash) {
        unreachable!()
    }

    /// Where the node stands.
    pub fn progress(&self) -> Progress {
        Progress::default()
    }

    #[allow(dead_code)]
    fn last_block(&self) -> Option<Block> {
        None
    }
}
