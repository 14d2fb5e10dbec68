//! Whoever lies and can be caught is named, and nobody else.
//!
//! - Evidence names liars of the plan only. An honest node's key is safe even where the node forgets: as long as at most `f`
//!   forget or lie, a start signs nothing twice ([`crate::node`]). Beyond that bound, or where none of those who answer heard
//!   what was signed since a copy was made, it may sign twice, and the checker of slots says so before any evidence does.
//! - A liar of which honest nodes took two vertices of one round into their logs, or two batches of one sequence, or one of
//!   them two votes for one checkpoint, showed two faces to those who can compare: in the end every honest node that runs has
//!   proof against it. The two make evidence here as well, held against the committee's keys alone.
//! - Whatever a node holds for proof bears the signatures of who it accuses.
//! - Who has proof against a seat makes no vertex any more that acks a batch of it.

use crate::crypto::{PreparedKey, verify};
use crate::types::{CheckpointVote, Epoch, Genesis, Height, Round, Seat, Sequence, Verdict};
use crate::wire::{Batch, Evidence, SignedHeader, SignedVertex, chain_id, checkpoint_digest};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who showed what, and who knows it.
pub struct FacesCheck {
    chain: crate::types::ChainId,
    keys: Vec<Option<PreparedKey>>,
    liars: BTreeSet<u16>,
    epoch: Epoch,
    vertices: BTreeMap<(u16, Round), Arc<SignedVertex>>,
    batches: BTreeMap<(u16, Sequence), SignedHeader>,
    /// By honest node and author: the votes in what it took in its present life.
    votes: BTreeMap<(u16, u16, Height), CheckpointVote>,
    /// Who is two-faced, by what honest nodes took.
    two_faced: BTreeMap<u16, Evidence>,
    /// By node: against whom it has proof.
    proofs: BTreeMap<u16, BTreeSet<u16>>,
}

impl FacesCheck {
    /// Nobody has lied yet.
    pub fn new(genesis: &Genesis, liars: &[u16]) -> FacesCheck {
        let (vertices, batches, votes, two_faced, proofs) = Default::default();
        FacesCheck {
            chain: chain_id(genesis),
            keys: genesis.seats.iter().map(|seat| PreparedKey::new(&seat.key.0)).collect(),
            liars: liars.iter().copied().collect(),
            epoch: genesis.committee().epoch,
            vertices,
            batches,
            votes,
            two_faced,
            proofs,
        }
    }

    /// Whether a seat lies at some time.
    pub fn lies(&self, seat: Seat) -> bool {
        self.liars.contains(&seat.0)
    }

    /// An honest node took a vertex of a liar into its log.
    ///
    /// # Errors
    /// The liar did not sign it.
    pub fn vertex(&mut self, node: u16, vertex: &SignedVertex) -> Result<(), String> {
        let (author, round) = (vertex.vertex.author, vertex.vertex.round);
        for vote in vertex.vertex.checkpoint_votes() {
            let first = self.votes.entry((node, author.0, vote.height)).or_insert(*vote);
            let evidence = Evidence::of_votes(self.epoch, author, first, vote);
            self.shown_two(evidence)?;
        }
        self.signed(author, &vertex.digest(&self.chain), &vertex.signature, || {
            format!("node {node} takes a vertex of round {round} that node {author} did not sign")
        })?;
        match self.vertices.entry((author.0, round)) {
            Entry::Occupied(first) => {
                let evidence = Evidence::of_vertices(first.get(), &Arc::new(vertex.clone()));
                self.shown_two(evidence)
            }
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(vertex.clone()));
                Ok(())
            }
        }
    }

    /// An honest node took a batch of a liar into its log.
    ///
    /// # Errors
    /// The liar did not sign it.
    pub fn batch(&mut self, node: u16, batch: &Batch) -> Result<(), String> {
        let (author, sequence) = (batch.header.author, batch.header.sequence);
        self.signed(author, &batch.digest(&self.chain), &batch.header.signature, || {
            format!("node {node} takes a batch {sequence} that node {author} did not sign")
        })?;
        match self.batches.entry((author.0, sequence)) {
            Entry::Occupied(first) => {
                let evidence = Evidence::of_batches(first.get(), &SignedHeader::of(batch));
                self.shown_two(evidence)
            }
            Entry::Vacant(entry) => {
                entry.insert(SignedHeader::of(batch));
                Ok(())
            }
        }
    }

    /// Two of one slot were taken, if there is evidence.
    fn shown_two(&mut self, evidence: Option<Evidence>) -> Result<(), String> {
        let Some(evidence) = evidence.filter(|e| !self.two_faced.contains_key(&e.accused().0)) else {
            return Ok(());
        };
        self.bears_signatures(&evidence)?;
        self.two_faced.insert(evidence.accused().0, evidence);
        Ok(())
    }

    /// Whether evidence is signed by whom it accuses.
    fn bears_signatures(&self, evidence: &Evidence) -> Result<(), String> {
        let accused = evidence.accused();
        let words = || format!("evidence of {} that node {accused} did not sign", evidence.words());
        let by_accused =
            |digest: &[u8; 32], signature: &[u8; 64]| self.signed(accused, digest, signature, words);
        let vertex = |v: &SignedVertex| by_accused(&v.digest(&self.chain), &v.signature);
        let header = |h: &SignedHeader| by_accused(&h.digest(&self.chain), &h.header.signature);
        match evidence {
            Evidence::Vertices(both) => both.iter().try_for_each(|v| vertex(v)),
            Evidence::Batches(both) => both.iter().try_for_each(header),
            Evidence::FalseAccusation(v) => vertex(v),
            Evidence::BadRow(accusation) => {
                header(&accusation.header)?;
                accusation.prove().map(drop).ok_or_else(|| format!("a row that node {accused} did not seal"))
            }
            Evidence::Checkpoints { epoch, votes, .. } => votes.iter().try_for_each(|vote| {
                by_accused(&checkpoint_digest(&self.chain, *epoch, vote.height, &vote.hash), &vote.signature)
            }),
        }
    }

    fn signed(
        &self,
        seat: Seat,
        digest: &[u8; 32],
        signature: &[u8; 64],
        words: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let key = self.keys.get(seat.index()).and_then(Option::as_ref);
        if key.is_some_and(|key| verify(key, digest, signature)) { Ok(()) } else { Err(words()) }
    }

    /// A node starts with proofs from its log.
    pub fn starts(&mut self, node: u16, known: impl Iterator<Item = Seat>) {
        self.proofs.insert(node, known.map(|seat| seat.0).collect());
        self.votes.retain(|(taker, ..), _| *taker != node);
    }

    /// A node has proof against a seat.
    ///
    /// # Errors
    /// The seat is honest, or did not sign it.
    pub fn convicted(&mut self, node: u16, evidence: &Evidence) -> Result<(), String> {
        let accused = evidence.accused();
        self.bears_signatures(evidence).map_err(|words| format!("node {node} takes for proof {words}"))?;
        self.proofs.entry(node).or_default().insert(accused.0);
        match self.lies(accused) {
            true => Ok(()),
            false => {
                Err(format!("node {node} convicts node {accused} of {}, but it is honest", evidence.words()))
            }
        }
    }

    /// A node makes a vertex.
    ///
    /// # Errors
    /// It acks a batch of a seat against which it has proof.
    pub fn made(&self, node: u16, vertex: &SignedVertex) -> Result<(), String> {
        let Some(proofs) = self.proofs.get(&node) else { return Ok(()) };
        let helps = |ack: &&crate::types::Ack| {
            ack.verdict != Verdict::Invalid && proofs.contains(&ack.batch.author.0)
        };
        match vertex.vertex.acks.iter().find(helps) {
            None => Ok(()),
            Some(ack) => {
                let (author, sequence) = (ack.batch.author, ack.batch.sequence);
                Err(format!("node {node} acks batch {sequence} of node {author}, against which it has proof"))
            }
        }
    }

    /// A liar that honest nodes took two faces of, and one of these nodes without proof of it.
    pub fn unnamed(&self, honest: &[u16]) -> Option<(u16, u16)> {
        let lacks =
            |node: &u16, liar: u16| self.proofs.get(node).is_none_or(|proofs| !proofs.contains(&liar));
        let mut liars = self.two_faced.keys();
        liars.find_map(|&liar| honest.iter().find(|node| lacks(node, liar)).map(|&node| (liar, node)))
    }

    /// Who is proven to lie by evidence made of what honest nodes have on disk, and of what.
    pub fn proven(&self) -> Vec<(u16, &'static str)> {
        self.two_faced.iter().map(|(seat, evidence)| (*seat, evidence.words())).collect()
    }
}
