//! Nobody says two things in one place: one vertex per author and round, one batch per author and number, over all
//! restarts of the author and whoever passes them on.

use crate::types::{BatchId, VertexId};
use crate::wire::{Batch, SignedVertex};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What was seen on the wire.
#[derive(Default)]
pub struct SlotsCheck {
    vertices: BTreeMap<(u16, u64), VertexId>,
    batches: BTreeMap<(u16, u64), BatchId>,
}

impl SlotsCheck {
    /// A node sends a vertex; whether it is the first time that it was seen.
    ///
    /// # Errors
    /// Another one of its author and round was sent before.
    pub fn vertex(&mut self, node: u16, vertex: &SignedVertex) -> Result<bool, String> {
        let (author, round) = (vertex.vertex.author.0, vertex.vertex.round.0);
        match self.vertices.entry((author, round)) {
            Entry::Vacant(entry) => {
                entry.insert(vertex.id);
                Ok(true)
            }
            Entry::Occupied(entry) if *entry.get() == vertex.id => Ok(false),
            Entry::Occupied(_) => {
                Err(format!("node {node} sends a second vertex of node {author} for round {round}"))
            }
        }
    }

    /// Whether this vertex was seen.
    pub fn has(&self, vertex: &SignedVertex) -> bool {
        let slot = (vertex.vertex.author.0, vertex.vertex.round.0);
        self.vertices.get(&slot) == Some(&vertex.id)
    }

    /// A node sends a batch.
    ///
    /// # Errors
    /// Another one of its author and number was sent before.
    pub fn batch(&mut self, node: u16, batch: &Batch) -> Result<(), String> {
        let (author, sequence) = (batch.header.author.0, batch.header.sequence.0);
        let first = *self.batches.entry((author, sequence)).or_insert(batch.id);
        match first == batch.id {
            true => Ok(()),
            false => Err(format!("node {node} sends a second batch {sequence} of node {author}")),
        }
    }
}
