//! Snapshots of the account table, and what may be removed once they are there.
//!
//! - **Upon a checkpoint** whose block goes to the executor, when one is due (`spacing.rs`) and none is on its way: the
//!   executor copies the table after it, if that is small beside what was written to the log since the last one. By bytes
//!   of log and not by blocks, since what a start has to replay costs by the byte; and seldom enough that snapshots are a
//!   small part of what is written. Until the length of the table is known the next block waits.
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
use super::spacing::Spacing;
use super::{Node, Output};
use crate::store::{Fate, RecordKind};
use crate::types::params::KEPT_DEPTHS;
use crate::types::{Height, Round, Seat};
use crate::wire::{Batch, Message, block_height, record_round, vertex_slot};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::BTreeMap;

/// So many bytes of log for each of the table lie between two snapshots at least.
const LOG_BYTES_PER_TABLE_BYTE: u64 = 4;

/// What is known of snapshots and of what the log holds.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    after_bytes: u64,
    keep_blocks: Option<u64>,
    /// Where snapshots are due.
    spacing: Spacing,
    /// A checkpoint in execution at which one is due if the table takes no more than so many bytes.
    weighed: Option<(Height, u64)>,
    /// From where on all blocks are here with their batches.
    first: Height,
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

/// Says what may become of a record of the log when nothing of blocks below `first` and of rounds up to `last` is needed as a
/// whole. (Where a node has adopted blocks, no vertices stand between them.)
pub fn fate(first: Height, last: Round) -> impl Fn(RecordKind, &[u8]) -> Fate + Send {
    move |kind, bytes| match kind {
        RecordKind::Vertex => match vertex_slot(bytes) {
            Some((round, _)) if round <= last => Fate::Go,
            _ => Fate::Stay,
        },
        // Where no vertices stand, it is the first block and the settlement record of it that hold their segment, with the batches
        // of blocks after it.
        RecordKind::Block if block_height(bytes).is_some_and(|height| height >= first) => Fate::Stay,
        RecordKind::Block => Fate::Keep,
        RecordKind::Settlement if record_round(bytes).is_some_and(|round| round > last) => Fate::Stay,
        RecordKind::Batch | RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => {
            Fate::Go
        }
    }
}

/// Says which records below damage prove the rest as links of the chain, though some are missing: blocks that follow each on
/// the one before, from `tip` on, and behind a gap those from the next checkpoint on.
pub fn links(checkpoint_blocks: u64, tip: Height) -> impl Fn(RecordKind, &[u8]) -> Fate + Send {
    let last = Cell::new(tip);
    move |kind, bytes| {
        let height = block_height(bytes).filter(|_| kind == RecordKind::Block);
        let links = |height: &Height| {
            let last = last.get();
            *height == last.next() || (*height > last && height.0.is_multiple_of(checkpoint_blocks))
        };
        match height.filter(links) {
            Some(height) => {
                last.set(height);
                Fate::Keep
            }
            None => Fate::Go,
        }
    }
}

impl Keeping {
    pub(super) fn new(config: &super::NodeConfig) -> Keeping {
        let super::NodeConfig { snapshot_after_bytes, keep_blocks, .. } = *config;
        Keeping { after_bytes: snapshot_after_bytes, keep_blocks, first: Height(1), ..Keeping::default() }
    }

    /// A record goes to the log, or was found in it.
    pub(super) fn logged(&mut self, kind: RecordKind, bytes: &[u8]) {
        if kind == RecordKind::Vertex
            && let Some((round, _)) = vertex_slot(bytes)
        {
            self.highest = self.highest.max(round);
        }
    }

    /// The node begins at the snapshot of this height, the `count`-th checkpoint, which is good.
    pub(super) fn begun_at(&mut self, height: Height, count: u64, leader: Round) {
        self.good = vec![height];
        self.leaders.insert(height, leader);
        (self.spacing, self.weighed) = (Spacing::at(count, leader), None);
    }

    /// The same for a node that ran before: what it had lies behind, with a gap in between.
    pub(super) fn begun_anew_at(&mut self, height: Height, count: u64, leader: Round) {
        let good = std::mem::take(&mut self.good);
        self.begun_at(height, count, leader);
        self.good = good;
        self.lacks_up_to(height);
    }

    /// Whether no snapshot is on its way.
    pub(super) fn may_take(&self) -> bool {
        self.taking.is_none()
    }

    /// The snapshot of this height is on its way; which older one stays.
    pub(super) fn takes(&mut self, height: Height) -> Option<Height> {
        self.taking = Some(height);
        self.good.last().copied()
    }

    /// Blocks up to this height, or the batches that they settle, are not here.
    pub(super) fn lacks_up_to(&mut self, height: Height) {
        self.first = self.first.max(height.next());
    }

    /// The block of a checkpoint is durable.
    pub(super) fn checkpoint(&mut self, height: Height, leader: Round) {
        if self.keep_blocks.is_some() {
            self.leaders.insert(height, leader);
        }
    }
}

impl Node {
    /// A block is to be executed: how large a table may be of which a snapshot is due after it.
    pub(super) fn weigh(
        &mut self,
        (height, is_checkpoint): (Height, bool),
        leader: Round,
        batches: &[Batch],
    ) {
        let keeping = &mut self.keeping;
        let bytes = batches.iter().map(|batch| batch.bytes().len() as u64).sum();
        keeping.spacing.block(leader, bytes, self.shared.committee.quorum());
        if is_checkpoint {
            let weight = keeping.spacing.checkpoint();
            let table_bytes_max = weight / LOG_BYTES_PER_TABLE_BYTE;
            keeping.weighed = (weight >= keeping.after_bytes).then_some((height, table_bytes_max));
        }
    }

    /// Whether a block must not be executed yet, since it is not known whether a snapshot was due before it.
    pub(super) fn is_weighing(&self) -> bool {
        self.keeping.weighed.is_some()
    }

    /// How large the table may be that the executor is to copy after this checkpoint; `None`: it copies none.
    pub(super) fn takes_snapshot(&mut self, has_record: bool) -> Option<u64> {
        let keeping = &mut self.keeping;
        let (height, table_bytes_max) = keeping.weighed.filter(|_| has_record && keeping.taking.is_none())?;
        keeping.taking = Some(height);
        Some(table_bytes_max)
    }

    /// A block was executed: perhaps with a copy of the table.
    pub(super) fn keep_table(&mut self, executed: &Executed) {
        let keeping = &mut self.keeping;
        if let Some((_, table_bytes_max)) = keeping.weighed.take_if(|(height, _)| *height == executed.height)
            && executed.table_bytes() <= table_bytes_max
        {
            keeping.spacing.was_due();
        }
        if keeping.taking == Some(executed.height) {
            keeping.table.clone_from(&executed.table);
            if executed.table.is_none() {
                keeping.taking = None;
            }
        }
    }

    /// Says what there is for a peer that begins anew.
    pub(super) fn say_snapshots(&mut self, to: Seat) {
        let Keeping { first, good, .. } = &self.keeping;
        let (first, heights) = (*first, good.clone());
        self.send(to, Message::Snapshots { first, heights });
    }

    /// A checkpoint is durable: its table may go to disk.
    pub(super) fn snapshot(&mut self, height: Height, leader: Round) {
        self.keeping.checkpoint(height, leader);
        if self.keeping.taking != Some(height) {
            return;
        }
        let Some(table) = self.keeping.table.take() else { return };
        let kept = self.keeping.good.last().copied();
        self.outputs.push_back(Output::Snapshot { height, table, kept });
    }

    /// If a snapshot is taken after this block, which went to the log just now: writes again what is needed and may be removed
    /// with what comes before. Before the next block, which may settle it.
    pub(super) fn carry_over(&mut self, height: Height, leader: Round) {
        if self.keeping.taking != Some(height) || self.keeping.table.is_none() {
            return;
        }
        self.write_again(leader.back(self.shared.rules.depth));
    }

    /// Writes again what was written before the first vertex above a floor and is still needed.
    pub(super) fn write_again(&mut self, floor: Round) {
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
        }
        // The log knows nothing yet of a checkpoint to begin anew at.
        if !self.on_table_written(height, written) && written {
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
            keeping.lacks_up_to(first);
            self.batches.let_go(first);
            self.outputs.push_back(Output::Prune { first, last });
        }
    }
}
