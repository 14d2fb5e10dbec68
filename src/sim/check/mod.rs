//! The checkers: each restates a rule of the protocol by itself, from what leaves the nodes, and never asks the code
//! under test whether it did right. They share the parser and the hashes with it, nothing else.
//!
//! | checker | holds |
//! | --- | --- |
//! | [`chain`] | one block hash per height over all nodes and restarts, each block on the one before |
//! | [`certified`] | votes and certificates name that hash, for blocks that are durable, and hold under the keys |
//! | [`rows`] | every block's rows replayed on a plain model: each nonce once, the outcome codes, the root of the table at checkpoints, constant supply |
//! | [`held`] | a settled batch is durable on at least `Q - f` nodes and has the acks that the policy wants; nobody acks what its disk may lose |
//! | [`home`] | a row is sealed by `f + 1` honest nodes at most |
//! | [`slots`] | never two vertices of one author and round, or two batches of one author and number |
//! | [`faces`] | evidence names liars only; whoever showed two faces is named; who is proven to lie is not helped any more |
//! | [`records`] | a settlement record is the one that its checkpoint names, the same on all nodes |
//! | [`memory`] | whatever waits stays under its bound |
//!
//! They look at honest nodes only: what a liar has or says proves nothing. Of its acks they count whatever honest nodes took
//! into their logs, once for each vertex; a settled batch is wanted on as many honest disks as if it had acked for nothing.
//!
//! Progress after the faults is judged at the end of a run ([`super::verdict`]).

pub mod certified;
pub mod chain;
pub mod faces;
pub mod held;
pub mod home;
pub mod memory;
pub mod records;
pub mod rows;
pub mod slots;

#[cfg(test)]
mod tests;

use crate::store::RecordKind;
use crate::types::{Block, Genesis, Seat};
use crate::wire::{Batch, Evidence, SignedVertex, decode_block};
use bytes::Bytes;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What it saw.
    pub words: String,
}

/// All checkers.
pub struct Checks {
    chain: chain::ChainCheck,
    certified: certified::CertifiedCheck,
    rows: rows::RowsCheck,
    held: held::HeldCheck,
    home: home::HomeCheck,
    slots: slots::SlotsCheck,
    nodes: usize,
    faces: faces::FacesCheck,
    records: records::RecordsCheck,
}

/// A block that no node had before, and what its rows used.
pub struct NewBlock {
    /// The block.
    pub block: Block,
    /// Account and nonce of every row that used one.
    pub used: Vec<(u32, u64)>,
    /// Rows that moved something.
    pub ok: u64,
}

impl Checks {
    /// Checkers at the genesis of a world with these liars.
    pub fn new(genesis: &Genesis, liars: &[u16]) -> Checks {
        Checks {
            chain: chain::ChainCheck::new(genesis),
            certified: certified::CertifiedCheck::new(genesis),
            rows: rows::RowsCheck::new(genesis, liars),
            held: held::HeldCheck::new(genesis),
            home: home::HomeCheck::new(genesis.committee().faulty_max()),
            slots: slots::SlotsCheck::default(),
            nodes: genesis.seats.len(),
            faces: faces::FacesCheck::new(genesis, liars),
            records: records::RecordsCheck::default(),
        }
    }

    /// Whether what stands or happens at a place counts: it is one of an honest seat.
    fn counts(&self, place: u16) -> bool {
        usize::from(place) < self.nodes && !self.faces.lies(Seat(place))
    }

    /// A node sends a vertex, its own or another's.
    pub fn vertex_sent(&mut self, node: u16, vertex: &SignedVertex) -> Result<(), Violation> {
        if !self.counts(node) || self.faces.lies(vertex.vertex.author) {
            return Ok(());
        }
        if self.slots.vertex(node, vertex).map_err(as_violation("slots"))? {
            self.held.vertex(vertex).map_err(as_violation("held"))?;
            self.certified.vertex(vertex, &self.chain).map_err(as_violation("certified"))?;
        }
        Ok(())
    }

    /// A node sends a batch, its own or another's.
    pub fn batch_sent(&mut self, node: u16, batch: &Batch) -> Result<(), Violation> {
        if !self.counts(node) || self.faces.lies(batch.header.author) {
            return Ok(());
        }
        self.slots.batch(node, batch).map_err(as_violation("slots"))
    }

    /// A node writes a record; the block in it, if no node wrote one of its height before.
    pub fn written(
        &mut self,
        node: u16,
        kind: RecordKind,
        bytes: &Bytes,
    ) -> Result<Option<NewBlock>, Violation> {
        if !self.counts(node) {
            return Ok(None);
        }
        match kind {
            RecordKind::Batch => {
                let Some(batch) = self.rows.batch(bytes) else { return Ok(None) };
                if self.faces.lies(batch.header.author) {
                    self.faces.batch(node, &batch).map_err(as_violation("faces"))?;
                } else if batch.header.author.0 == node {
                    self.home.batch(node, &batch).map_err(as_violation("home"))?;
                }
                Ok(None)
            }
            RecordKind::Vertex => self.vertex_written(node, bytes).map(|()| None),
            RecordKind::Evidence => Ok(None),
            RecordKind::Settlement => {
                self.records.record(node, bytes);
                Ok(None)
            }
            RecordKind::Certificate => {
                let checked = self.certified.certificate(node, bytes, &self.chain);
                checked.map(|()| None).map_err(as_violation("certified"))
            }
            RecordKind::Block => {
                if let Ok(block) = decode_block(bytes) {
                    self.records.block(node, &block).map_err(as_violation("records"))?;
                }
                let Some(block) = self.chain.block(node, bytes).map_err(as_violation("chain"))? else {
                    return Ok(None);
                };
                self.held.block(&block).map_err(as_violation("held"))?;
                let (used, ok) = self.rows.block(&block).map_err(as_violation("rows"))?;
                Ok(Some(NewBlock { block, used, ok }))
            }
        }
    }

    fn vertex_written(&mut self, node: u16, bytes: &Bytes) -> Result<(), Violation> {
        let author = vertex_author(bytes);
        let (own, lies) = (author == Some(Seat(node)), author.is_some_and(|author| self.faces.lies(author)));
        if !own && !lies {
            return Ok(());
        }
        let Ok(vertex) = SignedVertex::decode(bytes.clone()) else { return Ok(()) };
        if lies {
            self.held.liar(&vertex);
            return self.faces.vertex(node, &vertex).map_err(as_violation("faces"));
        }
        // One that was said before is not made now: peers gave it back.
        if self.slots.has(&vertex) {
            Ok(())
        } else {
            self.faces.made(node, &vertex).map_err(as_violation("faces"))
        }
    }

    /// A node starts, and its log holds proofs against these.
    pub fn starts(&mut self, node: u16, known: impl Iterator<Item = Seat>) {
        self.records.started(node);
        self.faces.starts(node, known);
    }

    /// A node has proof against a seat.
    pub fn convicted(&mut self, node: u16, evidence: &Evidence) -> Result<(), Violation> {
        self.faces.convicted(node, evidence).map_err(as_violation("honesty"))
    }

    /// See [`faces::FacesCheck::unnamed`].
    pub fn unnamed(&self, honest: &[u16]) -> Option<(u16, u16)> {
        self.faces.unnamed(honest)
    }

    /// See [`faces::FacesCheck::proven`].
    pub fn proven(&self) -> Vec<(u16, &'static str)> {
        self.faces.proven()
    }

    /// A node's disk lost what was durable on it, or a part.
    pub fn disk_lost(&mut self, node: u16) {
        self.held.disk_lost(node);
    }

    /// A record is durable on a node's disk. An own vertex binds its author from then on, though it may never be sent.
    pub fn durable(&mut self, node: u16, kind: RecordKind, bytes: &Bytes) -> Result<(), Violation> {
        if !self.counts(node) {
            return Ok(());
        }
        match kind {
            RecordKind::Batch => self.held.durable(node, bytes),
            RecordKind::Vertex => {
                if let Ok(vertex) = SignedVertex::decode(bytes.clone())
                    && vertex.vertex.author.0 == node
                {
                    return self.vertex_sent(node, &vertex);
                }
            }
            RecordKind::Block => self.certified.durable(node, bytes),
            RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => {}
        }
        Ok(())
    }

    /// How often an honest node sealed a row that another honest one had sealed.
    pub fn sealed_again(&self) -> u64 {
        self.home.sealed_again
    }

    /// The highest height of which any node wrote a certificate.
    pub fn certified(&self) -> u64 {
        self.certified.certified
    }
}

/// Whose vertex some bytes are: what stands where its format says, without decoding the rest.
fn vertex_author(bytes: &[u8]) -> Option<Seat> {
    let author = bytes.get(13..15)?;
    Some(Seat(u16::from_le_bytes([author[0], author[1]])))
}

fn as_violation(checker: &'static str) -> impl Fn(String) -> Violation {
    move |words| Violation { checker, words }
}
