//! What is signed of the chain is true: a validator votes only for checkpoint blocks that are durable on it, with the
//! hash that the block of this height has everywhere; every certificate that a node keeps names that hash and holds
//! under the committee's keys.

use super::chain::ChainCheck;
use crate::crypto::{Domain, PreparedKey, hash, verify};
use crate::types::{BlockHash, Genesis, Height, Seat};
use crate::wire::{SignedVertex, chain_id, decode_block, decode_certificate};
use std::collections::BTreeMap;

/// Who has which block, and whose signatures are good.
pub struct CertifiedCheck {
    chain: [u8; 32],
    interval: u64,
    keys: Vec<Option<PreparedKey>>,
    /// By node: the highest block that is durable there.
    durable: BTreeMap<u16, u64>,
    /// The highest height of which a certificate was written.
    pub certified: u64,
}

impl CertifiedCheck {
    /// Nothing is signed.
    pub fn new(genesis: &Genesis) -> CertifiedCheck {
        CertifiedCheck {
            chain: chain_id(genesis).0,
            interval: genesis.rules.checkpoint_blocks,
            keys: genesis.seats.iter().map(|seat| PreparedKey::new(&seat.key.0)).collect(),
            durable: BTreeMap::new(),
            certified: 0,
        }
    }

    /// A block is durable on a node.
    pub fn durable(&mut self, node: u16, bytes: &[u8]) {
        if let Ok(block) = decode_block(bytes) {
            let highest = self.durable.entry(node).or_default();
            *highest = block.height.0.max(*highest);
        }
    }

    /// A vertex was sent for the first time.
    ///
    /// # Errors
    /// A vote in it that its author may not cast.
    pub fn vertex(&self, vertex: &SignedVertex, chain: &ChainCheck) -> Result<(), String> {
        let author = vertex.vertex.author;
        let durable = self.durable.get(&author.0).copied().unwrap_or(0);
        for vote in vertex.vertex.checkpoint_votes() {
            let (height, epoch) = (vote.height, vertex.vertex.epoch.0);
            if height.0 % self.interval != 0 || height.0 > durable {
                return Err(format!(
                    "node {author} votes for block {height}, but has blocks up to {durable} on disk and checkpoints \
                     every {}",
                    self.interval
                ));
            }
            self.is_of_chain(chain, height, vote.hash, &format!("node {author} votes for"))?;
            self.holds(epoch, height, vote.hash, author, &vote.signature)?;
        }
        Ok(())
    }

    /// A node writes a certificate.
    ///
    /// # Errors
    /// It proves nothing, or something else than the chain.
    pub fn certificate(&mut self, node: u16, bytes: &[u8], chain: &ChainCheck) -> Result<(), String> {
        let certificate = decode_certificate(bytes)
            .map_err(|error| format!("node {node} writes a certificate: {error}"))?;
        let (height, hash) = (certificate.height, certificate.hash);
        self.is_of_chain(chain, height, hash, &format!("a certificate of node {node} names"))?;
        let n = self.keys.len();
        let mut seats: Vec<u16> = certificate.votes.iter().map(|vote| vote.0.0).collect();
        seats.dedup();
        if seats.len() < n - (n - 1) / 3 {
            return Err(format!("node {node} writes a certificate of {} of {n} seats", seats.len()));
        }
        for (seat, signature) in &certificate.votes {
            self.holds(certificate.epoch.0, height, hash, *seat, signature)?;
        }
        self.certified = self.certified.max(height.0);
        Ok(())
    }

    fn is_of_chain(
        &self,
        chain: &ChainCheck,
        height: Height,
        hash: BlockHash,
        who: &str,
    ) -> Result<(), String> {
        match chain.hash(height) {
            Some(known) if known == hash => Ok(()),
            Some(known) => Err(format!("{who} block {height} as {hash}, but it is {known}")),
            None => Err(format!("{who} block {height}, which nobody has written")),
        }
    }

    fn holds(
        &self,
        epoch: u32,
        height: Height,
        block: BlockHash,
        seat: Seat,
        signature: &[u8; 64],
    ) -> Result<(), String> {
        let fields = [&self.chain[..], &epoch.to_le_bytes(), &height.0.to_le_bytes(), &block.0].concat();
        let digest = hash(Domain::Checkpoint, &[&fields]);
        let key = self.keys.get(seat.index()).and_then(Option::as_ref);
        match key.is_some_and(|key| verify(key, &digest, signature)) {
            true => Ok(()),
            false => Err(format!("a vote of node {seat} for block {height} has a bad signature")),
        }
    }
}
