//! The rules of deciding, ordering and settling once more, as plainly as they can be said, to hold the engine against.
//! Nothing here calls the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use throng::types::{BatchId, BatchRef, Policy, Round, Seat, Time, Verdict, VertexId};
use throng::wire::SignedVertex;

/// What an emitted leader brought, in plain values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub leader: (Round, Seat, VertexId),
    pub time: Time,
    pub output: Vec<VertexId>,
    pub settled: Vec<BatchRef>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Undecided,
    Skip,
    Commit(VertexId),
}

/// A set of accepted vertices and the chain's parameters.
pub struct Oracle<'a> {
    pub n: usize,
    pub depth: u64,
    pub window: u64,
    pub policy: Policy,
    pub genesis_time: Time,
    pub vertices: &'a BTreeMap<VertexId, Arc<SignedVertex>>,
}

/// What became of a slot that the chain has passed.
#[derive(Clone, Copy)]
struct Passed {
    round: u64,
    leader: u64,
    committed: bool,
}

/// The slots up to the last emitted leader, and what is decided above it, as far as it was asked for.
#[derive(Default)]
struct Reading {
    passed: Vec<Passed>,
    memo: BTreeMap<u64, Slot>,
}

impl Oracle<'_> {
    fn quorum(&self) -> usize {
        self.n - (self.n - 1) / 3
    }

    fn of_round(&self, round: u64) -> impl Iterator<Item = &Arc<SignedVertex>> {
        self.vertices.values().filter(move |v| v.vertex.round.0 == round)
    }

    /// Who leads a round above the last emitted leader, from what became of the slots up to that one.
    fn leader(&self, round: u64, passed: &[Passed]) -> u64 {
        let n = self.n as u64;
        // Of each seat: its skips in a row, no more than five, and up to which round it gives way for them.
        let mut away: Vec<(u64, u64, u64)> = Vec::new();
        for seat in 0..n {
            let own = passed.iter().rev().filter(|slot| slot.leader == seat);
            let skips: Vec<u64> = own.take_while(|slot| !slot.committed).map(|slot| slot.round).collect();
            if let Some(last) = skips.first() {
                let count = skips.len().min(5) as u64;
                let until = last + n * 2u64.pow(count as u32);
                if until >= round {
                    away.push((count, until, n - seat));
                }
            }
        }
        // Most skips first, then the longest, then the lowest seat.
        away.sort();
        away.reverse();
        let away: Vec<u64> =
            away.into_iter().take((self.n - 1) / 3).map(|(.., from_top)| n - from_top).collect();
        let turn = round % n;
        if !away.contains(&turn) {
            return turn;
        }
        let here: Vec<u64> = (0..n).filter(|seat| !away.contains(seat)).collect();
        here[((round / n + turn) % here.len() as u64) as usize]
    }

    fn is_leader(&self, v: &SignedVertex, reading: &Reading) -> bool {
        u64::from(v.vertex.author.0) == self.leader(v.vertex.round.0, &reading.passed)
    }

    fn highest(&self) -> u64 {
        self.vertices.values().map(|v| v.vertex.round.0).max().unwrap_or(0)
    }

    /// The vertex of the leader slot below that `v` names as a strong parent.
    fn vote(&self, v: &SignedVertex, reading: &Reading) -> Option<VertexId> {
        let parents = v.vertex.strong.iter().filter_map(|p| self.vertices.get(&p.id));
        parents.into_iter().find(|p| self.is_leader(p, reading)).map(|p| p.id)
    }

    fn certifies(&self, v: &SignedVertex, leader: VertexId, reading: &Reading) -> bool {
        let parents = v.vertex.strong.iter().filter_map(|p| self.vertices.get(&p.id));
        parents.filter(|p| self.vote(p, reading) == Some(leader)).count() >= self.quorum()
    }

    fn is_ancestor(&self, of: &SignedVertex, wanted: VertexId, seen: &mut BTreeSet<VertexId>) -> bool {
        of.vertex.parents().any(|p| {
            p.id == wanted
                || seen.insert(p.id)
                    && self.vertices.get(&p.id).is_some_and(|parent| self.is_ancestor(parent, wanted, seen))
        })
    }

    fn decide(&self, round: u64, reading: &mut Reading) -> Slot {
        if let Some(known) = reading.memo.get(&round) {
            return *known;
        }
        let slot = self.decide_anew(round, reading);
        reading.memo.insert(round, slot);
        slot
    }

    fn decide_anew(&self, round: u64, reading: &mut Reading) -> Slot {
        if round > self.highest() {
            return Slot::Undecided;
        }
        let blanks: BTreeSet<Seat> = self
            .of_round(round + 1)
            .filter(|v| self.vote(v, reading).is_none())
            .map(|v| v.vertex.author)
            .collect();
        if blanks.len() >= self.quorum() {
            return Slot::Skip;
        }
        let candidates: Vec<&Arc<SignedVertex>> =
            self.of_round(round).filter(|v| self.is_leader(v, reading)).collect();
        for candidate in &candidates {
            let certifiers: BTreeSet<Seat> = self
                .of_round(round + 2)
                .filter(|v| self.certifies(v, candidate.id, reading))
                .map(|v| v.vertex.author)
                .collect();
            if certifiers.len() >= self.quorum() {
                return Slot::Commit(candidate.id);
            }
        }
        for later in round + 3..=self.highest() {
            let anchor = match self.decide(later, reading) {
                Slot::Skip => continue,
                Slot::Undecided => return Slot::Undecided,
                Slot::Commit(anchor) => &self.vertices[&anchor],
            };
            let certified = candidates.iter().find(|candidate| {
                self.of_round(round + 2).any(|v| {
                    self.certifies(v, candidate.id, reading)
                        && (v.id == anchor.id || self.is_ancestor(anchor, v.id, &mut BTreeSet::new()))
                })
            });
            return certified.map_or(Slot::Skip, |candidate| Slot::Commit(candidate.id));
        }
        Slot::Undecided
    }

    /// All ancestors of rounds above `lowest`, itself included.
    fn history(&self, v: &Arc<SignedVertex>, lowest: u64, found: &mut BTreeMap<VertexId, Arc<SignedVertex>>) {
        if v.vertex.round.0 <= lowest || found.insert(v.id, v.clone()).is_some() {
            return;
        }
        for parent in v.vertex.parents() {
            if let Some(parent) = self.vertices.get(&parent.id) {
                self.history(parent, lowest, found);
            }
        }
    }

    fn time(&self, leader: &SignedVertex) -> Option<Time> {
        let parents = leader.vertex.strong.iter().filter_map(|p| self.vertices.get(&p.id));
        let mut times: Vec<Time> = parents.map(|p| p.vertex.time).collect();
        times.sort();
        (!times.is_empty()).then(|| times[(times.len() - 1) / 2])
    }

    /// The whole chain.
    pub fn chain(&self) -> Vec<Link> {
        let (mut reading, mut links) = (Reading::default(), Vec::<Link>::new());
        let mut skipped: Vec<Passed> = Vec::new();
        let mut spoken: BTreeSet<(Round, Seat)> = BTreeSet::new();
        let mut counting = Counting::new(self);
        for round in 1..=self.highest() {
            let passed = |committed| Passed { round, leader: self.leader(round, &reading.passed), committed };
            let (skip, commit) = (passed(false), passed(true));
            let leader = match self.decide(round, &mut reading) {
                Slot::Undecided => break,
                Slot::Skip => {
                    skipped.push(skip);
                    continue;
                }
                Slot::Commit(id) => self.vertices[&id].clone(),
            };
            // Only now do they count, and all above is read anew.
            reading.passed.append(&mut skipped);
            reading.passed.push(commit);
            reading.memo.clear();
            let mut history = BTreeMap::new();
            self.history(&leader, round.saturating_sub(self.depth), &mut history);
            let mut slots: BTreeMap<(Round, Seat), Arc<SignedVertex>> = BTreeMap::new();
            // By ascending id: the first of a slot is the lowest.
            for v in history.values() {
                slots.entry((v.vertex.round, v.vertex.author)).or_insert_with(|| v.clone());
            }
            slots.retain(|slot, _| spoken.insert(*slot));
            let before = links.last().map_or(self.genesis_time, |link| link.time);
            links.push(Link {
                leader: (leader.vertex.round, leader.vertex.author, leader.id),
                time: before.max(self.time(&leader).unwrap_or(self.genesis_time)),
                output: slots.values().map(|v| v.id).collect(),
                settled: counting.block(slots.values()),
            });
        }
        links
    }
}

/// One counted ack: who, on which slot, for which id, with which verdict.
type Counted = (Seat, (Seat, u64), BatchId, Verdict);

/// Settling by going through everything counted so far, every time.
pub struct Counting {
    window: i128,
    quorum: usize,
    valid: usize,
    counted: Vec<Counted>,
    settled: BTreeSet<(Seat, u64)>,
}

impl Counting {
    fn new(oracle: &Oracle<'_>) -> Counting {
        let f = (oracle.n - 1) / 3;
        let valid = if oracle.policy == Policy::All { oracle.quorum() } else { f + 1 };
        let (counted, settled) = (Vec::new(), BTreeSet::new());
        Counting { window: oracle.window.into(), quorum: oracle.quorum(), valid, counted, settled }
    }

    fn block<'v>(&mut self, output: impl Iterator<Item = &'v Arc<SignedVertex>>) -> Vec<BatchRef> {
        let before = self.settled.clone();
        let mut settled = Vec::new();
        for v in output {
            for ack in &v.vertex.acks {
                let slot = (ack.batch.author, ack.batch.sequence.0);
                let highest =
                    before.iter().filter(|s| s.0 == slot.0).map(|s| i128::from(s.1)).max().unwrap_or(0);
                let at = i128::from(slot.1);
                let counts = ack.verdict != Verdict::Invalid
                    && at > highest - self.window
                    && at <= highest + 2 * self.window
                    && !self.settled.contains(&slot);
                if counts {
                    self.counted.push((v.vertex.author, slot, ack.batch.id, ack.verdict));
                    if self.settles(slot, ack.batch.id) {
                        self.settled.insert(slot);
                        settled.push(ack.batch);
                    }
                }
            }
        }
        settled
    }

    fn settles(&self, slot: (Seat, u64), id: BatchId) -> bool {
        let mut first: BTreeMap<Seat, BatchId> = BTreeMap::new();
        let mut valid: BTreeSet<Seat> = BTreeSet::new();
        for (by, _, said, verdict) in self.counted.iter().filter(|counted| counted.1 == slot) {
            let fixed = *first.entry(*by).or_insert(*said);
            if fixed == *said && *said == id && *verdict == Verdict::Valid {
                valid.insert(*by);
            }
        }
        first.values().filter(|said| **said == id).count() >= self.quorum && valid.len() >= self.valid
    }
}
