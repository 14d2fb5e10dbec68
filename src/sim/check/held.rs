//! A settled batch can be read again, and was checked: it is durable on so many disks that `f` of them may go, and as
//! many validators as the policy wants said in their vertices that every signature is good. Nobody says that it holds
//! what is not durable on its disk. A vertex is said once it is sent, or durable on its author's disk: a crash between
//! the two keeps the author's word.

use crate::types::{BatchId, Block, Genesis, Policy, SeatSet, Verdict};
use crate::wire::{Batch, SignedVertex};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Known {
    durable: SeatSet,
    held: SeatSet,
    valid: SeatSet,
}

/// Who holds what, and who said what.
pub struct HeldCheck {
    nodes: usize,
    policy: Policy,
    batches: BTreeMap<BatchId, Known>,
    /// What was judged: nothing more is remembered of it.
    settled: BTreeSet<BatchId>,
}

impl HeldCheck {
    /// Nothing is held.
    pub fn new(genesis: &Genesis) -> HeldCheck {
        HeldCheck {
            nodes: genesis.seats.len(),
            policy: genesis.rules.policy,
            batches: BTreeMap::new(),
            settled: BTreeSet::new(),
        }
    }

    /// A batch is durable on a node.
    pub fn durable(&mut self, node: u16, bytes: &Bytes) {
        if let Ok(batch) = Batch::decode(bytes.clone())
            && !self.settled.contains(&batch.id)
        {
            self.batches.entry(batch.id).or_default().durable.insert(crate::types::Seat(node));
        }
    }

    /// A node's disk lost what was durable on it, or a part: nothing of it is counted any more.
    pub fn disk_lost(&mut self, node: u16) {
        self.batches.values_mut().for_each(|known| known.durable.remove(crate::types::Seat(node)));
    }

    /// A vertex was said for the first time: what its author says in it.
    ///
    /// # Errors
    /// It acks what is not durable on its author's disk.
    pub fn vertex(&mut self, vertex: &SignedVertex) -> Result<(), String> {
        let author = vertex.vertex.author;
        for ack in vertex.vertex.acks.iter().filter(|ack| !self.settled.contains(&ack.batch.id)) {
            let known = self.batches.entry(ack.batch.id).or_default();
            if !known.durable.contains(author) {
                let (of, sequence) = (ack.batch.author, ack.batch.sequence);
                return Err(format!(
                    "node {author} acks batch {sequence} of node {of}, which its disk may lose"
                ));
            }
            if ack.verdict != Verdict::Invalid {
                known.held.insert(author);
            }
            if ack.verdict == Verdict::Valid {
                known.valid.insert(author);
            }
        }
        Ok(())
    }

    /// An honest node took a vertex of a liar into its log: what it says may count.
    pub fn liar(&mut self, vertex: &SignedVertex) {
        for ack in vertex.vertex.acks.iter().filter(|ack| !self.settled.contains(&ack.batch.id)) {
            let known = self.batches.entry(ack.batch.id).or_default();
            if ack.verdict != Verdict::Invalid {
                known.held.insert(vertex.vertex.author);
            }
            if ack.verdict == Verdict::Valid {
                known.valid.insert(vertex.vertex.author);
            }
        }
    }

    /// The first node wrote this block.
    ///
    /// # Errors
    /// A batch that it settles lacks copies or acks.
    pub fn block(&mut self, block: &Block) -> Result<(), String> {
        let faulty = (self.nodes - 1) / 3;
        let quorum = self.nodes - faulty;
        let valid = match self.policy {
            Policy::All => quorum,
            Policy::Quorum => faulty + 1,
        };
        for settled in &block.settled {
            let nothing = Known::default();
            let known = self.batches.get(&settled.id).unwrap_or(&nothing);
            let wants = [
                ("durable on", known.durable.count(), quorum - faulty),
                ("acked by", known.held.count(), quorum),
                ("verified by", known.valid.count(), valid),
            ];
            for (what, count, least) in wants {
                if count < least {
                    let (height, author, sequence) = (block.height, settled.author, settled.sequence);
                    return Err(format!(
                        "block {height} settles batch {sequence} of node {author}, {what} {count} nodes instead of {least}"
                    ));
                }
            }
            self.batches.remove(&settled.id);
            self.settled.insert(settled.id);
        }
        Ok(())
    }
}
