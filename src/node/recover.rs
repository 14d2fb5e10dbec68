//! Replaying what the store recovered: the log is in the order of acceptance, so that agreement comes to the same
//! order again, and every block on disk is executed again and must come out the same.
//!
//! From a base on ([`super::Base`]) it is the same, but for what lies before: of that only the own signatures, proofs and what
//! peers that are behind may ask for are taken.

use super::batches::Check;
use super::chain::Chain;
use super::jobs::{ExecuteJob, Job};
use super::{Node, OpenError, Output};
use crate::consensus::{Consensus, Insert};
use crate::store::RecordKind;
use crate::types::{Block, BlockHash, Height, Round, Sequence, Verdict};
use crate::wire::{
    Batch, Evidence, SignedVertex, WireError, block_hash, block_height, decode_block, decode_certificate,
    record_root, vertex_slot,
};
use bytes::Bytes;
use std::sync::Arc;

/// What of the log lies before the node's base; nothing, if that is the genesis.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// The base's height.
    pub height: Height,
    /// Its floor.
    floor: Round,
    /// The last block that was passed.
    seen: Height,
}

fn unreadable(kind: &'static str, error: WireError) -> OpenError {
    OpenError::Record { kind, reason: error.to_string() }
}

impl Node {
    /// Begins behind a checkpoint instead of at the genesis; the account table is that after it.
    pub(super) fn begin_at(&mut self, block: &Block, hash: BlockHash, record: Bytes, consensus: Consensus) {
        let shared = &self.shared;
        let own = consensus.settlement().highest(shared.seat);
        self.passing = Passing { height: block.height, floor: consensus.dag().floor(), ..Passing::default() };
        self.chain = Chain::at(&shared.committee, block, hash, shared.rules.checkpoint_blocks);
        let kept = self.consensus.kept();
        self.consensus = consensus;
        self.consensus.keep(kept);
        self.next_sequence = Sequence(own.0.saturating_add(1));
        let count = block.height.0 / shared.rules.checkpoint_blocks;
        self.keeping.begun_at(block.height, count, block.leader.round);
        self.signing.begin_with(block.height, record);
        self.note_checkpoint(block.height, hash);
    }

    pub(super) fn recover(&mut self, kind: RecordKind, bytes: Bytes) -> Result<(), OpenError> {
        self.keeping.logged(kind, &bytes);
        if self.pass(kind, &bytes)? {
            return Ok(());
        }
        match kind {
            RecordKind::Batch => {
                let batch = Batch::decode(bytes).map_err(|error| unreadable("batch", error))?;
                let (committee, header) = (&self.shared.committee, &batch.header);
                if header.epoch != committee.epoch || !committee.has(header.author) {
                    let reason =
                        format!("seat {} in epoch {} is not in the genesis", header.author, header.epoch);
                    return Err(OpenError::Record { kind: "batch", reason });
                }
                self.recover_batch(batch);
            }
            RecordKind::Vertex => {
                let vertex = SignedVertex::decode(bytes).map_err(|error| unreadable("vertex", error))?;
                if let Err(reason) = self.consensus.dag().well_formed(&vertex) {
                    return Err(OpenError::Record { kind: "vertex", reason: reason.to_owned() });
                }
                self.recover_vertex(Arc::new(vertex));
            }
            RecordKind::Block => self.recover_block(bytes)?,
            RecordKind::Certificate => {
                let certificate =
                    decode_certificate(&bytes).map_err(|error| unreadable("certificate", error))?;
                self.recover_certificate(certificate);
            }
            RecordKind::Evidence => {
                let evidence = Evidence::decode(&bytes).map_err(|error| unreadable("evidence", error))?;
                self.consensus.shun(evidence.accused());
                self.court.recovered(evidence);
            }
            RecordKind::Settlement => self.recover_settlement(bytes)?,
        }
        Ok(())
    }

    /// Whether a record lies before the base: then takes of it what is of use.
    fn pass(&mut self, kind: RecordKind, bytes: &Bytes) -> Result<bool, OpenError> {
        match kind {
            RecordKind::Vertex => match vertex_slot(bytes) {
                Some((round, author)) if round <= self.passing.floor => {
                    let kept = round >= self.consensus.dag().recalled_from(self.passing.floor);
                    if kept || author == self.shared.seat {
                        self.recall_vertex(bytes)?;
                    }
                    Ok(true)
                }
                _ => Ok(false),
            },
            RecordKind::Block => match block_height(bytes) {
                Some(height) if height <= self.passing.height => {
                    self.pass_block(height, bytes).map(|()| true)
                }
                _ => Ok(false),
            },
            // It stands before its block.
            RecordKind::Settlement => Ok(self.passing.seen < self.passing.height),
            RecordKind::Batch | RecordKind::Certificate | RecordKind::Evidence => Ok(false),
        }
    }

    fn recall_vertex(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        // A copy: it is kept for long, and shall not keep its segment on disk.
        let vertex = SignedVertex::decode(Bytes::copy_from_slice(bytes));
        let vertex = vertex.map_err(|error| unreadable("vertex", error))?;
        if vertex.vertex.author == self.shared.seat {
            self.pace.found(vertex.vertex.round);
            self.guard_vertex(&vertex);
        }
        self.consensus.recall(Arc::new(vertex));
        Ok(())
    }

    fn pass_block(&mut self, height: Height, bytes: &[u8]) -> Result<(), OpenError> {
        let (hash, (base, own)) = (block_hash(bytes), self.chain.durable);
        if height == base && hash != own {
            let (stored, replayed) = (hash.to_string(), own.to_string());
            return Err(OpenError::Replay { height: height.0, stored, replayed });
        }
        if height != self.passing.seen.next() {
            // What lies before was removed, or never here.
            self.keeping.lacks_up_to(base);
        }
        self.passing.seen = height;
        if self.checkpoints.is_checkpoint(height) {
            let block = decode_block(bytes).map_err(|error| unreadable("block", error))?;
            self.checkpoints.executed(height, hash);
            self.keeping.checkpoint(height, block.leader.round);
        }
        Ok(())
    }

    /// Whether a block that is not executed here may need a batch, as far as the order before it in the log tells.
    fn may_settle(&self, batch: &Batch) -> bool {
        let (author, sequence) = (batch.header.author, batch.header.sequence);
        let settlement = self.consensus.settlement();
        let waits = self.batches.get(&batch.id).is_some() || self.batches.is_absent(&batch.id);
        waits || settlement.open(author, sequence) || sequence > settlement.highest(author)
    }

    fn recover_batch(&mut self, batch: Batch) {
        let (reference, bytes) = (batch.reference(), batch.bytes().clone());
        let mine = reference.author == self.shared.seat;
        if mine {
            self.guard_batch(reference.sequence);
            self.next_sequence = self.next_sequence.max(Sequence(reference.sequence.0.saturating_add(1)));
        }
        if !self.may_settle(&batch) {
            return self.batches.recall(batch, Height(0));
        }
        self.compare_slot(&batch);
        // The acks before it in the log made it wanted.
        self.want_batches.got(&reference);
        let draw = self.draw(reference.author, reference.sequence);
        let check = if mine { Check::Valid } else { Check::No };
        self.batches.add(batch, check, draw, (self.now, self.keeping.highest));
        self.batches.durable(&reference.id, bytes);
        // One that others gave back after it had settled is not outstanding any more.
        if mine && self.consensus.settlement().open(reference.author, reference.sequence) {
            self.outstanding.insert(reference.sequence, reference.id);
        }
    }

    fn recover_vertex(&mut self, vertex: Arc<SignedVertex>) {
        if vertex.vertex.author == self.shared.seat {
            self.signed_before(&vertex);
        }
        if let Some(known) = self.consensus.dag().twin_of(vertex.reference()) {
            self.found(Evidence::of_vertices(known, &vertex));
        }
        if let Insert::Accepted(accepted) = self.consensus.restore(vertex) {
            for vertex in accepted {
                self.recover_said(&vertex);
            }
        }
        while let Some(emitted) = self.consensus.next_emitted() {
            self.settle_order(&emitted);
            for vertex in &emitted.accepted {
                self.recover_said(vertex);
            }
        }
    }

    fn recover_said(&mut self, vertex: &Arc<SignedVertex>) {
        self.count_checkpoint_votes(vertex);
        match vertex.accusation() {
            // It was to be charged as well; whether it was judged is told by what comes after it.
            Some(own) if vertex.vertex.author == self.shared.seat => self.found(Some(Evidence::BadRow(own))),
            _ => self.on_accusation(vertex),
        }
        for ack in vertex.vertex.acks.iter().filter(|ack| ack.verdict != Verdict::Invalid) {
            self.note_ack(ack, (vertex.vertex.author, vertex.vertex.round));
        }
    }

    /// A settlement record stands before the block that names it.
    fn recover_settlement(&mut self, bytes: Bytes) -> Result<(), OpenError> {
        let root = record_root(&bytes);
        let Some(next) = self.chain.next() else {
            self.recover_record(bytes);
            return Ok(());
        };
        if next.settlement.as_ref().is_some_and(|(named, _)| *named == root) {
            return Ok(());
        }
        if self.checkpoints.certified() > next.height {
            // Of a checkpoint at which the node was about to begin anew when it stopped.
            return Ok(());
        }
        let reason = format!("its root {root} is not the one that the next block names");
        Err(OpenError::Record { kind: "settlement", reason })
    }

    fn recover_block(&mut self, bytes: Bytes) -> Result<(), OpenError> {
        if self.chain.next().is_none() {
            self.recover_adopted(&bytes)?;
        }
        let Some(next) = self.chain.next() else {
            let reason =
                "no vertex on disk before it commits its leader, and no certificate proves it".to_owned();
            return Err(OpenError::Record { kind: "block", reason });
        };
        let batches: Option<Vec<Batch>> =
            next.settled.iter().map(|b| self.batches.get(&b.id).map(|held| held.batch.clone())).collect();
        let batches = batches.ok_or(OpenError::MissingBatch { height: next.height.0 })?;
        let leader = next.leader.round;
        let Some((height, checkpoint)) = self.chain.start() else { return Ok(()) };
        self.weigh((height, checkpoint), leader, &batches);
        let executed = ExecuteJob { height, batches, checkpoint, table_bytes_max: None }.run(&self.shared);
        self.keep_table(&executed);
        let Some((built, replayed)) = self.chain.finish(&executed) else { return Ok(()) };
        if replayed != bytes {
            let (stored, replayed) = (block_hash(&bytes).to_string(), built.hash.to_string());
            return Err(OpenError::Replay { height: height.0, stored, replayed });
        }
        for batch in &built.settled {
            self.batches.executed(batch, built.height);
        }
        self.chain.durable = (built.height, built.hash);
        self.note_checkpoint(built.height, built.hash);
        if checkpoint {
            self.keeping.checkpoint(built.height, built.round);
        }
        self.recovered_adopted(&built)
    }

    /// Of records that the log lost and that were found apart from it: takes back the own vertices of the last rounds, as if
    /// a peer had given them back. One that was signed and not sent nobody else has; with no tolerance the others wait for
    /// it.
    pub fn give_back(&mut self, apart: impl Iterator<Item = (RecordKind, Bytes)>) {
        let me = self.shared.seat;
        let own = |bytes: &Bytes| vertex_slot(bytes).is_some_and(|(_, author)| author == me);
        let vertices = apart.filter(|(kind, bytes)| *kind == RecordKind::Vertex && own(bytes));
        let vertices = vertices.filter_map(|(_, bytes)| SignedVertex::decode(bytes).ok());
        let vertices: Vec<_> = vertices.filter(|v| self.consensus.dag().well_formed(v).is_ok()).collect();
        // Above the guard only where that was lost as well.
        vertices.iter().for_each(|vertex| self.shown(vertex));
        let recent = self.guard.round.back(self.shared.rules.depth);
        for vertex in vertices.into_iter().filter(|v| v.vertex.round >= recent) {
            if !self.catch_up.is_behind() && self.consensus.dag().wants(vertex.reference()) {
                self.want_vertices.got(&vertex.reference());
                self.offer(me, Arc::new(vertex));
            }
        }
    }

    /// Goes on where the log ends: what was sealed or held and not said yet is said, what was to be verified is
    /// verified, and who is proven to lie by what is on disk is judged, if that was not done before the log ends.
    pub(super) fn resume(&mut self) {
        let court = &self.court;
        self.outputs.retain(
            |output| matches!(output, Output::Job(Job::CheckEvidence(charge)) if court.is_open(charge)),
        );
        if self.diverged.is_some() {
            return self.report_divergence();
        }
        self.write_certificates();
        self.verify_deferred();
        self.emit();
        self.go_on_starting();
        self.execute_ready();
    }
}
