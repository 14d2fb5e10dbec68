//! Vertices from below the floor of a record, for peers that are behind. Nothing is decided, ordered or settled by them.

use super::Dag;
use crate::types::params::{KEPT_BYTES, KEPT_DEPTHS};
use crate::types::{Round, VertexRef};
use crate::wire::SignedVertex;
use std::sync::Arc;

/// What a vertex takes in memory at the least: so many rounds fit into what is kept.
const VERTEX_BYTES_LEAST: u64 = 1024;

impl Dag {
    /// From which round on vertices below a floor are worth recalling: those that must be kept, and of those below them
    /// what may fit.
    pub fn recalled_from(&self, floor: Round) -> Round {
        let fitting = KEPT_BYTES as u64 / (VERTEX_BYTES_LEAST * self.committee().size() as u64);
        floor.back(fitting.max(self.depth * (KEPT_DEPTHS - 1))).next()
    }

    /// Keeps a vertex at or below the floor that was accepted in an earlier life of this node. One above it, or from too
    /// far below, is ignored.
    pub fn recall(&mut self, signed: Arc<SignedVertex>) {
        let VertexRef { round, author, .. } = signed.reference();
        let wanted = round <= self.floor && round >= self.recalled_from(self.floor);
        if !wanted || !self.committee().has(author) || self.find(signed.reference()).is_some() {
            return;
        }
        while round < self.base {
            self.add_row_before();
        }
        let latest = self.latest[author.index()];
        self.place(signed, (Vec::new(), 0));
        // It was accepted when others were: that it is here says nothing new.
        self.latest[author.index()] = latest;
        self.let_go();
    }
}
