//! Deciding leader slots: commit, skip, or not yet.
//!
//! A slot is decided *directly* when a quorum of the next round votes for nothing in it (skip), or a quorum of the
//! round after that certifies its vertex (commit). Otherwise the first later slot, three rounds above or more, that is
//! not skipped decides: if it is committed, the slot commits exactly if a certificate for its vertex is among that
//! leader's ancestors. Decisions are final, so that they are remembered and only the open slots are looked at again.

use super::dag::{Dag, Spot};
use crate::types::{Round, SeatSet};
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
}

impl Decider {
    /// Decides what can be decided and returns the leader of the next committed slot, passing skipped ones. `None`:
    /// the slot after the cursor is open.
    pub(super) fn next(&mut self, dag: &mut Dag) -> Option<Spot> {
        loop {
            let next = self.cursor.next();
            if !self.decided.contains_key(&next) {
                self.decide(dag);
            }
            let slot = self.decided.remove(&next)?;
            self.cursor = next;
            if let Slot::Commit(leader) = slot {
                return Some(leader);
            }
        }
    }

    fn decide(&mut self, dag: &mut Dag) {
        for round in (self.cursor.0 + 1..=dag.highest().0).rev().map(Round) {
            if self.decided.contains_key(&round) {
                continue;
            }
            let slot = match direct(dag, round) {
                Slot::Open => self.indirect(dag, round),
                decided => decided,
            };
            if slot != Slot::Open {
                self.decided.insert(round, slot);
            }
        }
    }

    fn indirect(&self, dag: &mut Dag, round: Round) -> Slot {
        for later in round.0 + 3..=dag.highest().0 {
            match self.decided.get(&Round(later)) {
                Some(Slot::Skip) => {}
                Some(Slot::Commit(anchor)) => return certified_below(dag, round, *anchor),
                Some(Slot::Open) | None => return Slot::Open,
            }
        }
        Slot::Open
    }
}

fn direct(dag: &Dag, round: Round) -> Slot {
    let Some(row) = dag.row(round) else { return Slot::Open };
    let quorum = dag.committee().quorum();
    if row.blanks.count() >= quorum {
        return Slot::Skip;
    }
    let author = dag.committee().leader(round);
    let certified = row.slots[author.index()].iter().position(|entry| entry.certifiers.count() >= quorum);
    certified.map_or(Slot::Open, |twin| Slot::Commit(Spot { round, author, twin: twin as u16 }))
}

/// Commits the vertex of the slot that has a certificate among the anchor's ancestors, else skips.
fn certified_below(dag: &mut Dag, round: Round, anchor: Spot) -> Slot {
    let author = dag.committee().leader(round);
    let candidates: Vec<(Spot, Vec<Spot>)> = dag
        .row(round)
        .into_iter()
        .flat_map(|row| row.slots[author.index()].iter().enumerate())
        .map(|(twin, entry)| (Spot { round, author, twin: twin as u16 }, entry.certificates.clone()))
        .filter(|(_, certificates)| !certificates.is_empty())
        .collect();
    if candidates.is_empty() {
        return Slot::Skip;
    }
    let walk = walk_down(dag, anchor, Round(round.0 + 2));
    for (leader, certificates) in candidates {
        if certificates.iter().any(|&spot| dag.entry(spot).walk == walk) {
            return Slot::Commit(leader);
        }
    }
    Slot::Skip
}

/// Marks the ancestors of `from` down to `lowest` with the number of this walk, and returns it.
fn walk_down(dag: &mut Dag, from: Spot, lowest: Round) -> u64 {
    let walk = dag.new_walk();
    let mut stack = vec![from];
    while let Some(spot) = stack.pop() {
        if spot.round < lowest {
            continue;
        }
        let entry = dag.entry_mut(spot);
        if entry.walk != walk {
            entry.walk = walk;
            stack.extend_from_slice(&entry.parents);
        }
    }
    walk
}

/// Whether the leader slot of `round` has a quorum of votes for one vertex, or of votes for none, among the accepted
/// vertices of the next round: what a node waits for before it leaves that next round.
pub(super) fn leader_settled(dag: &Dag, round: Round) -> bool {
    let Some(row) = dag.row(round) else { return false };
    let quorum = dag.committee().quorum();
    let votes = |set: &SeatSet| set.count() >= quorum;
    let author = dag.committee().leader(round);
    votes(&row.blanks) || row.slots[author.index()].iter().any(|entry| votes(&entry.votes))
}
