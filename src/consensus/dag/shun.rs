//! What becomes of the vertices of a seat that is proven to lie.
//!
//! - **Own vertices name none of it**, as long as there is a quorum without.
//! - **Twins that only shunned authors name** are taken up to a number of each slot: otherwise two of them that name each other's
//!   twins fill the memory of all others.
//!
//! All else is as for any author: where there is no quorum without it, rounds go on with it, and then whatever it names has to
//! be fetched like what others name. Such an author, if it does as it should from now on, names one vertex of a slot, so that
//! `f` of them need `f` twins beside the first that came. One whose twins are beyond that cannot be gone on with: it has
//! chosen to be as good as silent.

use super::Dag;
use crate::types::{Round, Seat};

impl Dag {
    /// A seat is proven to lie: own vertices name none of it any more, as long as a quorum of others is there. Each node is
    /// free in whom it names, so that no rule of deciding changes; but who has two faces makes others wait for the face that
    /// they were not shown, in each round anew, and its slots can be neither committed nor skipped at once. The own seat is
    /// never shunned, and nobody is once more than `f` would be: then there is no quorum without them.
    pub fn shun(&mut self, seat: Seat) {
        if self.me != Some(seat) {
            self.shunned.insert(seat);
        }
    }

    /// Whether a seat is shunned.
    pub fn shuns(&self, seat: Seat) -> bool {
        self.shunned.contains(seat) && self.shunned.count() <= self.committee().faulty_max()
    }

    /// How many vertices of one slot are taken, if none but shunned authors need more: the first, and one for each of these.
    pub(super) fn faces_max(&self) -> usize {
        1 + self.committee().faulty_max()
    }

    /// The vertices of a slot that are accepted or wait.
    pub(super) fn faces(&self, round: Round, author: Seat) -> usize {
        let accepted = self.row(round).map_or(0, |row| row.slots[author.index()].len());
        accepted + self.waiting.in_slot(round, author).count()
    }

    /// How many authors that are not shunned have an accepted vertex of a round.
    pub fn count_trusted(&self, round: Round) -> usize {
        let shunned = self.shunned.iter().filter(|&seat| self.shuns(seat) && self.has(round, seat)).count();
        self.count(round) - shunned
    }
}
