//! One chain: whoever writes a block of a height, and whenever, writes the same bytes; each block names the one before.

use crate::types::{Block, BlockHash, Genesis, Height};
use crate::wire::{block_hash, chain_id, decode_block};

/// What was written so far.
pub struct ChainCheck {
    genesis: BlockHash,
    /// By height from 1: the hash, and who wrote it first.
    blocks: Vec<(BlockHash, u16)>,
    rounds: u64,
}

impl ChainCheck {
    /// A chain without a block.
    pub fn new(genesis: &Genesis) -> ChainCheck {
        ChainCheck { genesis: BlockHash(chain_id(genesis).0), blocks: Vec::new(), rounds: 0 }
    }

    /// The last height written.
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The hash of a height, if any node wrote a block of it.
    pub fn hash(&self, height: Height) -> Option<BlockHash> {
        self.blocks.get((height.0 as usize).checked_sub(1)?).map(|(hash, _)| *hash)
    }

    /// A node writes a block; returns it if it is the first of its height.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn block(&mut self, node: u16, bytes: &[u8]) -> Result<Option<Block>, String> {
        let block = decode_block(bytes).map_err(|error| format!("node {node} writes a block: {error}"))?;
        let (hash, height) = (block_hash(bytes), block.height.0);
        if let Some((first, by)) = self.blocks.get(height as usize - 1) {
            return match *first == hash {
                true => Ok(None),
                false => {
                    Err(format!("at height {height} node {by} has block {first} and node {node} has {hash}"))
                }
            };
        }
        if height != self.height() + 1 {
            let last = self.height();
            return Err(format!(
                "node {node} writes block {height}, but the last written anywhere is {last}"
            ));
        }
        let previous = self.blocks.last().map_or(self.genesis, |(hash, _)| *hash);
        if block.previous != previous {
            let named = block.previous;
            return Err(format!(
                "block {height} of node {node} names {named} as the one before, not {previous}"
            ));
        }
        if block.leader.round.0 <= self.rounds {
            let (round, before) = (block.leader.round, self.rounds);
            return Err(format!(
                "block {height} has the leader of round {round}, the one before of {before}"
            ));
        }
        self.rounds = block.leader.round.0;
        self.blocks.push((hash, node));
        Ok(Some(block))
    }
}
