//! Snapshots of the account table, and what may be removed once they are there.
//!
//! - **Upon a checkpoint** whose block goes to the executor, when enough was written to the log since the last snapshot and
//!   none is on its way: the executor copies the table after it. By bytes of log and not by blocks, since what a start
//!   has to replay costs by the byte; and seldom enough that snapshots are a small part of what is written.
//! - **Upon that block being durable**: what is older than its floor and still needed is written to the log once more, and
//!   the table leaves as [`Output::Snapshot`]. It comes back as [`super::Input::Snapshotted`]. One that failed is forgotten; the
//!   next one comes in its time.
//! - **Upon the second good snapshot**, if not all blocks are kept: [`Output::Prune`] with the highest round of which no
//!   vertex is needed any more: by the older one of the two, by the blocks that are kept, or by peers that are behind.
//!
//! Why that is safe: a start goes on from the newer snapshot, or, if that is damaged, from the older one. From a checkpoint
//! on it needs the vertices above its floor, the batches that were not executed there and the proofs against liars. The log
//! is in the order of acceptance, so that all before the first vertex above the floor was there when that came. What of it
//! is needed is a batch that lay open longer than a collection depth, as when its author fell silent, or a proof: these are
//! written again behind the floor, before the snapshot is told of. So nobody's silence keeps the log from being pruned.

use super::jobs::Executed;
use super::{Node, Output};
use crate::store::{Fate, RecordKind};
use crate::types::params::KEPT_DEPTHS;
use crate::types::{Account, Height, Round};
use crate::wire::vertex_slot;
use bytes::Bytes;
use std::collections::BTreeMap;

/// So many bytes of log for each of the table lie between two snapshots at least.
const LOG_BYTES_PER_TABLE_BYTE: u64 = 4;

/// What is known of snapshots and of what the log holds.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    after_bytes: u64,
    keep_blocks: Option<u64>,
    /// Payload written to the log since the last snapshot was taken.
    log_bytes: u64,
    /// The highest round of a vertex in the log.
    pub highest: Round,
    /// The checkpoint whose table is being copied, or waits for its block, or is being written.
    taking: Option<Height>,
    table: Option<Bytes>,
    /// The newest good snapshots, at most two, ascending.
    good: Vec<Height>,
    /// The leader's round of each checkpoint of which everything may still be there.
    leaders: BTreeMap<Height, Round>,
    /// Up to which round was pruned, and whether that is still going on.
    pruned: Round,
    pruning: bool,
}

/// Says what may become of a record of the log when nothing of a round up to `last` is needed as a whole.
pub fn fate(last: Round) -> impl Fn(RecordKind, &[u8]) -> Fate + Send {
    move |kind, bytes| match kind {
        RecordKind::Vertex => match vertex_slot(bytes) {
            Some((round, _)) if round <= last => Fate::Go,
            _ => Fate::Stay,
        },
        RecordKind::Block => Fate::Keep,
        RecordKind::Batch | RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => {
            Fate::Go
        }
    }
}

impl Keeping {
    pub(super) fn new(config: &super::NodeConfig) -> Keeping {
        let super::NodeConfig { snapshot_after_bytes, keep_blocks, .. } = *config;
        Keeping { after_bytes: snapshot_after_bytes, keep_blocks, ..Keeping::default() }
    }

    /// A record goes to the log, or was found in it.
    pub(super) fn logged(&mut self, kind: RecordKind, bytes: &[u8]) {
        self.log_bytes = self.log_bytes.saturating_add(bytes.len() as u64);
        if kind == RecordKind::Vertex
            && let Some((round, _)) = vertex_slot(bytes)
        {
            self.highest = self.highest.max(round);
        }
    }

    /// The node begins at the snapshot of this height, which is good.
    pub(super) fn begun_at(&mut self, height: Height, leader: Round) {
        self.good = vec![height];
        self.leaders.insert(height, leader);
    }

    /// The block of a checkpoint is in the log; what comes before the node's base does not count as written since.
    pub(super) fn found_block(&mut self, height: Height, leader: Round) {
        if self.good.last() == Some(&height) {
            self.log_bytes = 0;
        }
        self.checkpoint(height, leader);
    }

    /// The block of a checkpoint is durable.
    fn checkpoint(&mut self, height: Height, leader: Round) {
        if self.keep_blocks.is_some() {
            self.leaders.insert(height, leader);
        }
    }
}

impl Node {
    /// Whether the executor is to copy the table after this checkpoint.
    pub(super) fn takes_snapshot(&mut self, height: Height, has_record: bool) -> bool {
        let table = u64::from(self.chain.accounts) * size_of::<Account>() as u64;
        let keeping = &mut self.keeping;
        let due = keeping.after_bytes.max(table.saturating_mul(LOG_BYTES_PER_TABLE_BYTE));
        let takes = has_record && keeping.taking.is_none() && keeping.log_bytes >= due;
        if takes {
            (keeping.taking, keeping.log_bytes) = (Some(height), 0);
        }
        takes
    }

    /// A block was executed: perhaps with a copy of the table.
    pub(super) fn keep_table(&mut self, executed: &Executed) {
        if self.keeping.taking == Some(executed.height) {
            self.keeping.table.clone_from(&executed.table);
            if executed.table.is_none() {
                self.keeping.taking = None;
            }
        }
    }

    /// A checkpoint is durable: its table may go to disk.
    pub(super) fn snapshot(&mut self, height: Height, leader: Round) {
        self.keeping.checkpoint(height, leader);
        if self.keeping.taking != Some(height) {
            return;
        }
        let Some(table) = self.keeping.table.take() else { return };
        self.carry_over(leader.back(self.shared.rules.depth));
        let kept = self.keeping.good.last().copied();
        self.outputs.push_back(Output::Snapshot { height, table, kept });
    }

    /// Writes again what was written before the first vertex above a floor and is still needed.
    fn carry_over(&mut self, floor: Round) {
        let highest = self.keeping.highest;
        let batches = self.batches.logged_up_to(floor, highest);
        batches.into_iter().for_each(|bytes| self.persist(RecordKind::Batch, bytes, None));
        let proofs: Vec<Bytes> = self.court.proofs().map(|proof| proof.encode().into()).collect();
        proofs.into_iter().for_each(|bytes| self.persist(RecordKind::Evidence, bytes, None));
    }

    /// A snapshot was written, or not.
    pub(super) fn on_snapshotted(&mut self, height: Height, written: bool) {
        if self.keeping.taking != Some(height) {
            return;
        }
        self.keeping.taking = None;
        if written {
            let good = &mut self.keeping.good;
            good.push(height);
            let older = good.len().saturating_sub(2);
            good.drain(..older);
            self.prune();
        }
    }

    pub(super) fn on_pruned(&mut self) {
        self.keeping.pruning = false;
    }

    /// Removes what neither the snapshots nor the configuration nor peers need.
    fn prune(&mut self) {
        let (tip, depth) = (self.chain.durable.0, self.shared.rules.depth);
        let served = self.chain.last_round.back(depth * KEPT_DEPTHS);
        let keeping = &mut self.keeping;
        let (Some(blocks), [older, _]) = (keeping.keep_blocks, &keeping.good[..]) else { return };
        let first = Height(tip.0.saturating_sub(blocks)).min(*older);
        let Some((first, leader)) = keeping.leaders.range(..=first).next_back() else { return };
        let (first, last) = (*first, leader.back(depth).min(served));
        keeping.leaders = keeping.leaders.split_off(&first);
        if last > keeping.pruned && !keeping.pruning {
            (keeping.pruned, keeping.pruning) = (last, true);
            self.batches.let_go(first);
            self.outputs.push_back(Output::Prune { last });
        }
    }
}
