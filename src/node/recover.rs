//! Replaying what the store recovered: the log is in the order of acceptance, so that agreement comes to the same
//! order again, and every block on disk is executed again and must come out the same.

use super::batches::Check;
use super::jobs::ExecuteJob;
use super::{Node, OpenError};
use crate::consensus::Insert;
use crate::store::RecordKind;
use crate::types::{Sequence, Verdict};
use crate::wire::{Batch, Evidence, SignedVertex, WireError, block_hash, decode_certificate};
use bytes::Bytes;
use std::sync::Arc;

impl Node {
    pub(super) fn recover(&mut self, kind: RecordKind, bytes: Bytes) -> Result<(), OpenError> {
        let unreadable = |kind, error: WireError| OpenError::Record { kind, reason: error.to_string() };
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
            RecordKind::Block => self.recover_block(&bytes)?,
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
        }
        Ok(())
    }

    fn recover_batch(&mut self, batch: Batch) {
        let (reference, bytes) = (batch.reference(), batch.bytes().clone());
        let mine = reference.author == self.shared.seat;
        // The acks before it in the log made it wanted.
        self.want_batches.got(&reference);
        let before = self.before(reference.author, reference.sequence);
        self.batches.add(batch, if mine { Check::Valid } else { Check::No }, before, self.now);
        self.batches.durable(&reference.id, bytes);
        if mine {
            // One that others gave back after it had settled is not outstanding any more.
            if self.consensus.settlement().open(reference.author, reference.sequence) {
                self.outstanding.insert(reference.sequence, reference.id);
            }
            self.guard_batch(reference.sequence);
            self.next_sequence = self.next_sequence.max(Sequence(reference.sequence.0 + 1));
        }
    }

    fn recover_vertex(&mut self, vertex: Arc<SignedVertex>) {
        if vertex.vertex.author == self.shared.seat {
            self.signed_before(&vertex);
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

    fn recover_said(&mut self, vertex: &SignedVertex) {
        self.count_checkpoint_votes(vertex);
        for ack in vertex.vertex.acks.iter().filter(|ack| ack.verdict != Verdict::Invalid) {
            self.note_ack(ack, vertex.vertex.author);
        }
    }

    fn recover_block(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let Some(next) = self.chain.next() else {
            let reason = "no vertex on disk before it commits its leader".to_owned();
            return Err(OpenError::Record { kind: "block", reason });
        };
        let batches: Option<Vec<Batch>> =
            next.settled.iter().map(|b| self.batches.get(&b.id).map(|held| held.batch.clone())).collect();
        let batches = batches.ok_or(OpenError::MissingBatch { height: next.height.0 })?;
        let Some((height, checkpoint)) = self.chain.start() else { return Ok(()) };
        let executed = ExecuteJob { height, batches, checkpoint }.run(&self.shared);
        let Some((built, replayed)) = self.chain.finish(&executed) else { return Ok(()) };
        if replayed != bytes {
            let (stored, replayed) = (block_hash(bytes).to_string(), built.hash.to_string());
            return Err(OpenError::Replay { height: height.0, stored, replayed });
        }
        for batch in &built.settled {
            self.batches.executed(batch);
        }
        self.chain.durable = (built.height, built.hash);
        self.note_checkpoint(built.height, built.hash);
        Ok(())
    }

    /// Goes on where the log ends: what was sealed or held and not said yet is said, what was to be verified is
    /// verified.
    pub(super) fn resume(&mut self) {
        self.outputs.clear();
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
