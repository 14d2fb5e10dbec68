//! Votes and certificates for leader slots, counted as vertices are accepted.
//!
//! A vertex of round `r + 1` votes for the vertex of the leader slot of `r` among its strong parents, or for none; a
//! vertex of `r + 2` whose strong parents hold a quorum of such votes certifies. Both are read from parents: nobody
//! signs a vote. So they can be read anew when another seat turns out to lead the round ([`super::schedule`]).

use super::dag::{Dag, Spot};
use crate::types::{Round, SeatSet};

/// What counts for one vertex of a leader slot.
#[derive(Debug)]
pub(super) struct Candidate {
    pub spot: Spot,
    /// Authors of the next round that vote for it.
    pub votes: SeatSet,
    /// Authors of the round after that certify it, and where they do.
    pub certifiers: SeatSet,
    pub certificates: Vec<Spot>,
}

/// What counts for a leader slot.
#[derive(Default, Debug)]
pub(super) struct Ballot {
    /// Its vertices that somebody votes for: one, unless the leader has twins.
    pub candidates: Vec<Candidate>,
    /// Authors of the next round that vote for none.
    pub blanks: SeatSet,
}

impl Ballot {
    fn candidate(&mut self, spot: Spot) -> &mut Candidate {
        let place = self.candidates.iter().position(|candidate| candidate.spot == spot);
        let place = place.unwrap_or_else(|| {
            let (votes, certifiers, certificates) = Default::default();
            self.candidates.push(Candidate { spot, votes, certifiers, certificates });
            self.candidates.len() - 1
        });
        &mut self.candidates[place]
    }
}

impl Dag {
    /// Counts the vote of a vertex for the leader slot of the round before.
    pub(super) fn count_vote(&mut self, spot: Spot) {
        let slot = spot.round.back(1);
        if slot.0 == 0 || slot <= self.floor() {
            return;
        }
        let quorum = self.committee().quorum();
        let leader = self.leader(slot);
        let vote = self.entry(spot).strong_parent(leader);
        let Some(ballot) = self.ballot_mut(slot) else { return };
        let decides = match vote {
            // A quorum of votes decides nothing by itself.
            Some(parent) => {
                ballot.candidate(parent).votes.insert(spot.author);
                false
            }
            None => ballot.blanks.insert(spot.author) && ballot.blanks.count() == quorum,
        };
        self.note_news(decides);
        self.entry_mut(spot).vote = vote;
    }

    /// Counts a vertex as a certificate for a vertex of the leader slot two rounds below, if its strong parents hold
    /// a quorum of votes for it.
    pub(super) fn count_certificate(&mut self, spot: Spot) {
        let slot = spot.round.back(2);
        if slot.0 == 0 || slot <= self.floor() {
            return;
        }
        let Some(row) = self.row(slot) else { return };
        let quorum = self.committee().quorum();
        let voters_have_twins = self.row(slot.next()).is_none_or(|row| row.twins);
        let entry = self.entry(spot);
        let certified = row.ballot.candidates.iter().position(|candidate| {
            // An author without twins votes once: the set of voters says all.
            let most = candidate.votes.count_common(&entry.strong_authors);
            let votes = |p: &&Spot| self.entry(**p).vote == Some(candidate.spot);
            most >= quorum
                && (!voters_have_twins || entry.strong_parents().iter().filter(votes).count() >= quorum)
        });
        if let (Some(place), Some(ballot)) = (certified, self.ballot_mut(slot)) {
            let candidate = &mut ballot.candidates[place];
            candidate.certificates.push(spot);
            let decides = candidate.certifiers.insert(spot.author) && candidate.certifiers.count() == quorum;
            self.note_news(decides);
        }
    }

    /// Other seats lead these rounds now: counts anew what the accepted vertices say about them.
    pub(super) fn recount(&mut self, slots: &[Round]) {
        for &slot in slots {
            if let Some(ballot) = self.ballot_mut(slot) {
                *ballot = Ballot::default();
            }
            for spot in self.spots(slot.next()) {
                self.count_vote(spot);
            }
        }
        for &slot in slots {
            for spot in self.spots(slot.next().next()) {
                self.count_certificate(spot);
            }
        }
    }

    fn ballot_mut(&mut self, slot: Round) -> Option<&mut Ballot> {
        self.row_mut(slot).map(|row| &mut row.ballot)
    }
}
