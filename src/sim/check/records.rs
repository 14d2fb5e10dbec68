//! Whoever holds a settlement record of a checkpoint holds the same one: it stands before the block that names it, and a
//! node that joined has what the veterans have.

use crate::types::{Block, RootKind};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The records that were written, by height and by node.
#[derive(Default)]
pub struct RecordsCheck {
    known: BTreeMap<u64, Bytes>,
    /// Written by a node, and not named by a block of it yet.
    waiting: BTreeMap<u16, Bytes>,
}

impl RecordsCheck {
    /// A node starts: what it wrote before without its block it writes again.
    pub fn started(&mut self, node: u16) {
        self.waiting.remove(&node);
    }

    /// A node writes a record.
    pub fn record(&mut self, node: u16, bytes: &Bytes) {
        self.waiting.insert(node, bytes.clone());
    }

    /// A node writes a block.
    ///
    /// # Errors
    /// The record that it wrote before is not the one that the block names, or not the one that others have.
    pub fn block(&mut self, node: u16, block: &Block) -> Result<(), String> {
        let Some(bytes) = self.waiting.remove(&node) else { return Ok(()) };
        let (height, root) = (block.height.0, crate::crypto::plain(&bytes));
        if !block.roots.iter().any(|named| named.0 == RootKind::Settlement && named.1.0 == root) {
            return Err(format!(
                "node {node} writes a settlement record before block {height}, which names another"
            ));
        }
        let known = self.known.entry(height).or_insert_with(|| bytes.clone());
        if *known != bytes {
            return Err(format!("node {node} has another settlement record of block {height} than others"));
        }
        Ok(())
    }
}
