//! What the own next vertex names: its parents, and the history that they bring with them.

use super::dag::{Dag, Spot};
use crate::types::{Round, Seat, VertexRef};

impl Dag {
    /// Parents for the node's own vertex of a round: strong ones (every author of the round before, of twins the
    /// first), and weak ones (accepted, not yet in the own history, never a twin of one that is). Who is shunned is named
    /// only where there is no quorum without. Marks the history.
    pub fn choose_parents(&mut self, round: Round) -> (Vec<VertexRef>, Vec<VertexRef>) {
        let before = round.back(1);
        let trusted = self.count_trusted(before) >= self.committee().quorum();
        let strong: Vec<VertexRef> = self
            .committee()
            .iter()
            .filter(|&seat| !(trusted && self.shuns(seat)))
            .filter_map(|seat| self.first(before, seat).map(|v| v.reference()))
            .collect();
        for parent in &strong {
            self.mark_history(*parent);
        }
        let mut weak: Vec<VertexRef> = Vec::new();
        for seat in self.committee().iter().filter(|&seat| !self.shuns(seat)).collect::<Vec<_>>() {
            let lowest = round.back(self.depth()).max(self.floor().next());
            let newest = (lowest.0..before.0).rev().find_map(|r| self.loose(Round(r), seat));
            if let Some(vertex) = newest {
                self.mark_history(vertex);
                weak.push(vertex);
            }
        }
        (strong, weak)
    }

    /// The first vertex of a slot, if the own history knows none of that slot.
    fn loose(&self, round: Round, seat: Seat) -> Option<VertexRef> {
        let slot = self.row(round)?.slots.get(seat.index())?;
        let first = slot.first()?;
        slot.iter().all(|entry| !entry.in_history).then(|| first.vertex.reference())
    }

    pub(super) fn mark_history(&mut self, vertex: VertexRef) {
        let mut stack: Vec<Spot> = self.find(vertex).into_iter().collect();
        while let Some(spot) = stack.pop() {
            if spot.round <= self.floor() {
                continue;
            }
            let entry = self.entry_mut(spot);
            if !std::mem::replace(&mut entry.in_history, true) {
                stack.extend_from_slice(&entry.parents);
                self.count_uncommitted(spot);
            }
        }
    }
}
