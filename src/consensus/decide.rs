//! Deciding leader slots: commit, skip, or not yet.
//!
//! A slot is decided *directly* when a quorum of the next round votes for nothing in it (skip), or a quorum of the
//! round after that certifies its vertex (commit). Otherwise the first later slot, three rounds above or more, that is
//! not skipped decides: if it is committed, the slot commits exactly if a certificate for its vertex is among that
//! leader's ancestors.
//!
//! Under one schedule of leaders decisions are final, so that they are remembered and only the open slots are looked
//! at again, when a vote or a certificate completed a quorum. When an emitted leader changes the schedule, what was
//! decided above it is forgotten and decided anew ([`super::schedule`] says why all nodes still emit the same).

use super::dag::{Dag, Spot};
use crate::types::Round;
use std::collections::BTreeMap;

/// The state of a leader slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Open,
    Skip,
    Commit(Spot),
}

/// Remembers what is decided above the cursor.
#[derive(Debug, Default)]
pub(super) struct Decider {
    /// The last slot that was passed, committed or skipped.
    cursor: Round,
    decided: BTreeMap<Round, Slot>,
    /// The slots that were skipped since the last commit.
    skipped: Vec<Round>,
}

impl Decider {
    /// Nothing is decided above an emitted leader.
    pub(super) fn at(leader: Round) -> Decider {
        Decider { cursor: leader, ..Decider::default() }
    }

    /// Decides what can be decided and returns the leader of the next committed slot, and the slots that are skipped
    /// before it. `None`: the slot after the cursor is open. Whoever calls tells the DAG of it before calling again.
    pub(super) fn next(&mut self, dag: &mut Dag) -> Option<(Vec<Round>, Spot)> {
        let (news, reread) = (dag.take_news(), dag.take_reread());
        if reread {
            self.decided.clear();
        }
        if news || reread {
            self.decide(dag);
        }
        loop {
            let next = self.cursor.next();
            let slot = self.decided.remove(&next)?;
            self.cursor = next;
            match slot {
                Slot::Commit(leader) => return Some((std::mem::take(&mut self.skipped), leader)),
                Slot::Skip | Slot::Open => self.skipped.push(next),
            }
        }
    }

    /// From the highest round down, so that a slot's anchor is decided before the slot.
    fn decide(&mut self, dag: &mut Dag) {
        // The first slot that is not skipped, from one, two and three rounds above on.
        let mut above = [Slot::Open; 3];
        let mut walk: Option<Walk> = None;
        for round in (self.cursor.0 + 1..=dag.highest().0).rev().map(Round) {
            let slot = match (self.decided.get(&round), direct(dag, round), above[2]) {
                (Some(&decided), ..) => decided,
                (None, Slot::Open, Slot::Commit(anchor)) => {
                    let walk = match &mut walk {
                        Some(walk) if walk.anchor == anchor => walk,
                        other => other.insert(Walk::new(dag, anchor)),
                    };
                    certified_below(dag, round, walk)
                }
                (None, direct, _) => direct,
            };
            if slot != Slot::Open {
                self.decided.insert(round, slot);
            }
            above = [if slot == Slot::Skip { above[0] } else { slot }, above[0], above[1]];
        }
    }
}

fn direct(dag: &Dag, round: Round) -> Slot {
    let Some(row) = dag.row(round) else { return Slot::Open };
    let quorum = dag.committee().quorum();
    if row.ballot.blanks.count() >= quorum {
        return Slot::Skip;
    }
    let certified = row.ballot.candidates.iter().find(|candidate| candidate.certifiers.count() >= quorum);
    certified.map_or(Slot::Open, |candidate| Slot::Commit(candidate.spot))
}

/// Commits the vertex of the slot that has a certificate among the anchor's ancestors, else skips.
fn certified_below(dag: &mut Dag, round: Round, walk: &mut Walk) -> Slot {
    let candidates = dag.row(round).map_or(&[][..], |row| &row.ballot.candidates);
    let candidates: Vec<(Spot, Vec<Spot>)> = candidates
        .iter()
        .filter(|candidate| !candidate.certificates.is_empty())
        .map(|candidate| (candidate.spot, candidate.certificates.clone()))
        .collect();
    if candidates.is_empty() {
        return Slot::Skip;
    }
    walk.down_to(dag, round.next().next());
    let is_ancestor = |spot: &Spot| dag.entry(*spot).walk == walk.number;
    let certified = candidates.iter().find(|(_, certificates)| certificates.iter().any(is_ancestor));
    certified.map_or(Slot::Skip, |(leader, _)| Slot::Commit(*leader))
}

/// A walk through the ancestors of an anchor, downwards as far as it was asked for: the slots that one anchor decides
/// share it.
struct Walk {
    anchor: Spot,
    /// What marks the vertices that it saw.
    number: u64,
    /// Ancestors that lie below what was asked for.
    below: Vec<Spot>,
}

impl Walk {
    fn new(dag: &mut Dag, anchor: Spot) -> Walk {
        Walk { anchor, number: dag.new_walk(), below: vec![anchor] }
    }

    /// Marks the ancestors of rounds from `lowest` on.
    fn down_to(&mut self, dag: &mut Dag, lowest: Round) {
        let mut stack = std::mem::take(&mut self.below);
        while let Some(spot) = stack.pop() {
            if spot.round < lowest {
                self.below.push(spot);
                continue;
            }
            let entry = dag.entry_mut(spot);
            if entry.walk != self.number {
                entry.walk = self.number;
                stack.extend_from_slice(&entry.parents);
            }
        }
    }
}

/// Whether the leader slot of `round` has a quorum of votes for one vertex, or of votes for none, among the accepted
/// vertices of the next round: what a node waits for before it leaves that next round.
pub(super) fn leader_settled(dag: &Dag, round: Round) -> bool {
    let Some(row) = dag.row(round) else { return false };
    let quorum = dag.committee().quorum();
    let ballot = &row.ballot;
    ballot.blanks.count() >= quorum || ballot.candidates.iter().any(|c| c.votes.count() >= quorum)
}
