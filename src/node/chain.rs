//! From the order to the chain: settled batches are executed, blocks built, hashed and made durable, in this order.

use super::jobs::Executed;
use crate::consensus::Emitted;
use crate::types::{
    BatchRef, Block, BlockHash, Committee, Epoch, Height, LeaderRef, Root, RootKind, Round, Time,
};
use crate::wire::{HashedBlock, block_hash, committee_root, encode_block};
use bytes::Bytes;
use std::collections::VecDeque;

/// Blocks handed to the executor at once: enough to keep it busy while results travel.
pub(super) const EXECUTING_MAX: usize = 4;
/// Blocks that may wait for execution. When full, no more leaders are emitted until some are executed; the vertices
/// wait in the DAG, and above its cap on bytes they carry no new acks.
pub(super) const ORDERED_MAX: usize = 1024;

/// A block whose place in the chain is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    pub height: Height,
    pub leader: LeaderRef,
    pub time: Time,
    pub settled: Vec<BatchRef>,
    /// At a checkpoint: the root of the settlement record as of the leader, and the record, taken when the leader was
    /// emitted, since agreement goes on while the block waits for its execution. Of blocks that were adopted only the
    /// last has its record.
    pub settlement: Option<(Root, Option<Bytes>)>,
    /// The hash that a certificate proves, if the block was adopted by that.
    pub certified: Option<BlockHash>,
}

/// A block that is executed and on its way to disk.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub height: Height,
    pub hash: BlockHash,
    /// The round of its leader.
    pub round: Round,
    pub settled: Vec<BatchRef>,
    /// At a checkpoint: the settlement record that the block names.
    pub settlement: Option<Bytes>,
    /// The hash that it must have, if it was adopted by a certificate.
    pub certified: Option<BlockHash>,
    pub rows: u32,
    pub ok: u32,
}

/// The end of the chain.
#[derive(Debug)]
pub(super) struct Chain {
    epoch: Epoch,
    /// The root of the committee.
    committee: Root,
    checkpoint_blocks: u64,
    last_ordered: Height,
    /// The round of the last emitted leader.
    pub last_round: Round,
    ordered: VecDeque<Ordered>,
    executing: VecDeque<Ordered>,
    /// The last executed block.
    last: (Height, BlockHash),
    /// The last durable block.
    pub durable: (Height, BlockHash),
    /// Accounts after the last executed block.
    pub accounts: u32,
}

impl Chain {
    /// The chain before its first block.
    pub(super) fn new(
        committee: &Committee,
        genesis: BlockHash,
        checkpoint_blocks: u64,
        accounts: u32,
    ) -> Chain {
        let start = (Height(0), genesis);
        let (ordered, executing) = (VecDeque::new(), VecDeque::new());
        let (last_ordered, last_round) = (Height(0), Round(0));
        Chain {
            epoch: committee.epoch,
            committee: committee_root(committee),
            checkpoint_blocks,
            last_ordered,
            last_round,
            ordered,
            executing,
            last: start,
            durable: start,
            accounts,
        }
    }

    /// The chain behind a checkpoint.
    pub(super) fn at(committee: &Committee, block: &Block, hash: BlockHash, checkpoint_blocks: u64) -> Chain {
        let last = (block.height, hash);
        Chain {
            last_ordered: block.height,
            last_round: block.leader.round,
            last,
            durable: last,
            ..Chain::new(committee, hash, checkpoint_blocks, block.accounts)
        }
    }

    /// Goes on behind a checkpoint that lies further ahead. What was ordered and not executed is given up; the last durable
    /// block stays what it is.
    pub(super) fn go_on_at(&mut self, committee: &Committee, block: &Block, hash: BlockHash) {
        let durable = self.durable;
        *self = Chain { durable, ..Chain::at(committee, block, hash, self.checkpoint_blocks) };
    }

    /// Whether the executor has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.executing.is_empty()
    }

    /// Whether there is no room for another ordered block.
    pub(super) fn full(&self) -> bool {
        self.ordered.len() >= ORDERED_MAX
    }

    /// Blocks that wait to be executed.
    pub(super) fn waiting(&self) -> usize {
        self.ordered.len()
    }

    /// The last height that has its place.
    pub(super) fn ordered_height(&self) -> Height {
        self.last_ordered
    }

    /// The last height executed.
    pub(super) fn executed_height(&self) -> Height {
        self.last.0
    }

    /// Appends what a leader brought; at a checkpoint with the settlement record and its root.
    pub(super) fn push(&mut self, emitted: &Emitted, settlement: Option<(Root, Bytes)>) {
        self.last_ordered = self.last_ordered.next();
        self.last_round = emitted.leader.round;
        self.ordered.push_back(Ordered {
            height: self.last_ordered,
            leader: emitted.leader,
            time: emitted.time,
            settled: emitted.settled.clone(),
            settlement: settlement.map(|(root, record)| (root, Some(record))),
            certified: None,
        });
    }

    /// Appends a block that a certificate proves, though no leader brought it here; the one after the last ordered.
    pub(super) fn adopt(&mut self, proved: &HashedBlock, settlement: Option<(Root, Option<Bytes>)>) {
        let HashedBlock { block, hash, .. } = proved;
        self.last_ordered = block.height;
        self.last_round = block.leader.round;
        self.ordered.push_back(Ordered {
            height: block.height,
            leader: block.leader,
            time: block.time,
            settled: block.settled.clone(),
            settlement,
            certified: Some(*hash),
        });
    }

    /// The next block to execute, if the executor has room for it.
    pub(super) fn next(&self) -> Option<&Ordered> {
        self.ordered.front().filter(|_| self.executing.len() < EXECUTING_MAX)
    }

    /// The batches of the blocks that wait, in the order of execution.
    pub(super) fn to_execute(&self) -> impl Iterator<Item = &BatchRef> {
        self.ordered.iter().flat_map(|block| &block.settled)
    }

    /// The next block goes to the executor; tells its height and whether it is a checkpoint.
    pub(super) fn start(&mut self) -> Option<(Height, bool)> {
        let next = self.ordered.pop_front()?;
        let height = next.height;
        self.executing.push_back(next);
        Some((height, height.0.is_multiple_of(self.checkpoint_blocks)))
    }

    /// The oldest block in execution is executed: builds it and returns its bytes. `None` if the result belongs to
    /// no block in execution.
    pub(super) fn finish(&mut self, executed: &Executed) -> Option<(Built, Vec<u8>)> {
        let ordered = self.executing.pop_front().filter(|block| block.height == executed.height)?;
        let (settlement, record) = ordered.settlement.unzip();
        let roots = [
            (RootKind::Accounts, executed.root),
            (RootKind::Settlement, settlement),
            (RootKind::Committee, settlement.map(|_| self.committee)),
        ];
        let block = Block {
            epoch: self.epoch,
            height: ordered.height,
            previous: self.last.1,
            leader: ordered.leader,
            time: ordered.time,
            accounts: executed.accounts,
            settled: ordered.settled,
            outcomes: executed.outcomes,
            roots: roots.into_iter().filter_map(|(kind, root)| Some((kind, root?))).collect(),
        };
        let bytes = encode_block(&block);
        let hash = block_hash(&bytes);
        self.last = (block.height, hash);
        self.accounts = executed.accounts;
        let built = Built {
            height: block.height,
            hash,
            round: block.leader.round,
            settled: block.settled,
            settlement: record.flatten(),
            certified: ordered.certified,
            rows: executed.rows,
            ok: executed.ok,
        };
        Some((built, bytes))
    }
}
