//! What the DAG holds of an accepted vertex and of a round, and what becomes of a vertex that is offered.

use crate::consensus::ballot::Ballot;
use crate::types::{Round, Seat, SeatSet, VertexRef};
use crate::wire::SignedVertex;
use std::sync::Arc;

/// Where an accepted vertex stands. `twin` counts the vertices of one author and round in order of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spot {
    /// Its round.
    pub round: Round,
    /// Its author.
    pub author: Seat,
    /// 0 for the first one accepted.
    pub twin: u32,
}

/// An accepted vertex with what deciding and ordering need to know of it.
#[derive(Debug)]
pub(in crate::consensus) struct Entry {
    pub vertex: Arc<SignedVertex>,
    /// Its parents above the floor, strong ones first, by author; none once the floor has passed the vertex itself.
    pub parents: Vec<Spot>,
    /// How many of `parents` are strong.
    pub(super) strong: usize,
    /// Whom it names as strong parents, above the floor or not.
    pub strong_authors: SeatSet,
    /// The vertex of the leader slot of the round before that it votes for.
    pub vote: Option<Spot>,
    /// Whether a leader has output it.
    pub output: bool,
    /// Whether its bytes count as uncommitted.
    pub(super) uncommitted: bool,
    /// Whether it is an ancestor of the node's own latest vertex.
    pub in_history: bool,
    /// The walk that saw it last.
    pub walk: u64,
}

impl Entry {
    /// Its strong parents above the floor.
    pub fn strong_parents(&self) -> &[Spot] {
        &self.parents[..self.strong]
    }

    /// Its strong parent by this author, if that lies above the floor.
    pub fn strong_parent(&self, author: Seat) -> Option<Spot> {
        let strong = self.strong_parents();
        strong.binary_search_by_key(&author, |parent| parent.author).ok().map(|place| strong[place])
    }
}

/// A round of accepted vertices.
#[derive(Debug)]
pub(in crate::consensus) struct Row {
    /// By author; more than one entry means twins.
    pub slots: Vec<Vec<Entry>>,
    /// Authors with an accepted vertex.
    pub(super) authors: SeatSet,
    /// Whether any of them has twins.
    pub twins: bool,
    /// Authors of which a vertex was output.
    pub output: SeatSet,
    /// Memory that its vertices take, roughly.
    pub(super) bytes: usize,
    /// Who leads this round, as far as is known.
    pub(super) leader: Seat,
    /// What the next rounds say about this round's leader slot.
    pub ballot: Ballot,
}

/// What became of a vertex that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Insert {
    /// It and possibly others that waited for it are accepted now, in this order.
    Accepted(Vec<Arc<SignedVertex>>),
    /// It waits.
    Waiting {
        /// The seat in whose name it waits: its author, or, for what was taken on demand, the author of the vertex
        /// where the demand began.
        charged: Seat,
        /// The parents that it misses and that are nowhere at hand.
        absent: Vec<VertexRef>,
    },
    /// It is known, too old to matter, or a twin that nobody demands.
    Ignored,
    /// The space that it would wait in is full; it will be asked for again.
    Dropped,
}
