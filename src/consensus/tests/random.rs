//! Thousands of random DAGs with equivocation, gaps and late parents, in several orders of arrival, against the plain
//! rules.

use super::oracle::{Link, Oracle};
use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// A world: every vertex that anybody made.
struct World {
    genesis: Genesis,
    byzantine: BTreeSet<Seat>,
    rounds: Vec<Vec<Arc<SignedVertex>>>,
}

/// How a world is made, in percent.
struct Taste {
    present: u64,
    strong: u64,
    leader: u64,
    weak: u64,
    twin: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let n = 1 + dice.below(7) as u16;
        let policy = if dice.chance(50) { Policy::All } else { Policy::Quorum };
        let genesis = genesis(n, 4 + dice.below(5), 1 + dice.below(3), policy);
        let committee = genesis.committee();
        let mut seats: Vec<Seat> = committee.iter().collect();
        dice.shuffle(&mut seats);
        let byzantine = seats.into_iter().take(committee.faulty_max()).collect();
        let taste = Taste {
            present: 60 + dice.below(41),
            strong: dice.below(101),
            leader: dice.below(101),
            weak: dice.below(60),
            twin: dice.below(70),
        };
        let mut world = World { genesis, byzantine, rounds: Vec::new() };
        for round in 1..=12 + dice.below(14) {
            world.add_round(round, &taste, &mut dice);
        }
        world
    }

    fn add_round(&mut self, round: u64, taste: &Taste, dice: &mut Dice) {
        let committee = self.genesis.committee();
        let mut authors: Vec<Seat> = committee.iter().collect();
        dice.shuffle(&mut authors);
        let mut made = Vec::new();
        for (place, author) in authors.into_iter().enumerate() {
            // A quorum writes in every round, else the world would end.
            if place >= committee.quorum() && !dice.chance(taste.present) {
                continue;
            }
            let twins = self.byzantine.contains(&author) && dice.chance(taste.twin);
            for face in 0..if twins { 2 + dice.below(2) as u8 } else { 1 } {
                let (strong, weak) = (self.strong(round, taste, dice), self.weak(round, taste, dice));
                made.push(vertex((round, author.0, face), &strong, &weak, self.acks(dice)));
            }
        }
        self.rounds.push(made);
    }

    fn strong(&self, round: u64, taste: &Taste, dice: &mut Dice) -> Vec<VertexRef> {
        let Some(below) = (round as usize).checked_sub(2).and_then(|r| self.rounds.get(r)) else {
            return Vec::new();
        };
        let committee = self.genesis.committee();
        let authors: BTreeSet<Seat> = below.iter().map(|v| v.vertex.author).collect();
        let mut authors: Vec<Seat> = authors.into_iter().collect();
        dice.shuffle(&mut authors);
        // Sometimes the leader comes last, so that it is left out where a quorum is there without it.
        let leader = committee.leader(Round(round - 1));
        let first = dice.chance(taste.leader);
        authors.sort_by_key(|a| (*a == leader) != first);
        let more = authors.len() - committee.quorum();
        let more = (0..more).filter(|_| dice.chance(taste.strong)).count();
        let mut chosen: Vec<VertexRef> = authors[..committee.quorum() + more]
            .iter()
            .map(|a| {
                let faces: Vec<_> = below.iter().filter(|v| v.vertex.author == *a).collect();
                faces[dice.below(faces.len() as u64) as usize].reference()
            })
            .collect();
        chosen.sort_by_key(|p| p.author);
        chosen
    }

    fn weak(&self, round: u64, taste: &Taste, dice: &mut Dice) -> Vec<VertexRef> {
        let lowest = round.saturating_sub(self.genesis.rules.depth).max(1);
        let older = lowest..round.saturating_sub(1);
        let mut weak = Vec::new();
        for author in self.genesis.committee().iter().filter(|_| !older.is_empty()) {
            let at = older.start + dice.below(older.end - older.start);
            let slot: Vec<_> =
                self.rounds[at as usize - 1].iter().filter(|v| v.vertex.author == author).collect();
            if !slot.is_empty() && dice.chance(taste.weak) {
                weak.push(slot[dice.below(slot.len() as u64) as usize].reference());
            }
        }
        weak
    }

    fn acks(&self, dice: &mut Dice) -> Vec<Ack> {
        let mut acks: BTreeMap<(u16, u64), Ack> = BTreeMap::new();
        for _ in 0..dice.below(6) {
            let author = dice.below(self.genesis.seats.len() as u64) as u16;
            let (sequence, id) = (1 + dice.below(9), dice.below(8) as u8 / 7);
            let verdict = [Verdict::Held, Verdict::Valid, Verdict::Valid, Verdict::Invalid];
            let verdict = verdict[dice.below(4) as usize];
            acks.insert((author, sequence), ack(author, sequence, id, verdict));
        }
        acks.into_values().collect()
    }

    /// What honest validators made, and everything that it names.
    fn honest_history(&self) -> BTreeMap<VertexId, Arc<SignedVertex>> {
        let all: BTreeMap<VertexId, _> = self.rounds.iter().flatten().map(|v| (v.id, v.clone())).collect();
        assert_eq!(all.len(), self.rounds.iter().flatten().count(), "ids differ");
        let honest = all.values().filter(|v| !self.byzantine.contains(&v.vertex.author));
        let mut stack: Vec<VertexId> = honest.map(|v| v.id).collect();
        let mut history = BTreeMap::new();
        while let Some(id) = stack.pop() {
            if history.insert(id, all[&id].clone()).is_none() {
                stack.extend(all[&id].vertex.parents().map(|p| p.id));
            }
        }
        history
    }
}

/// How vertices arrive: the order, and whether leaders are emitted at every chance or only now and then.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    InOrder,
    Backwards,
    Shuffled { emit_percent: u64 },
}

/// What a node saw.
struct Seen {
    consensus: Consensus,
    accepted: BTreeMap<VertexId, Arc<SignedVertex>>,
    links: Vec<Link>,
}

impl Seen {
    fn note(&mut self, accepted: Vec<Arc<SignedVertex>>) {
        for v in accepted {
            let parents = v.vertex.parents();
            let floor = self.consensus.dag().floor();
            for p in parents.filter(|p| p.round > floor) {
                assert!(self.accepted.contains_key(&p.id), "accepted after its parents");
            }
            assert!(self.accepted.insert(v.id, v).is_none(), "accepted once");
        }
    }

    fn emit(&mut self) {
        while let Some(emitted) = self.consensus.next_emitted() {
            let leader = emitted.leader;
            self.links.push(Link {
                leader: (leader.round, leader.author, leader.id),
                time: emitted.time,
                output: emitted.output.iter().map(|v| v.id).collect(),
                settled: emitted.settled,
            });
            self.note(emitted.accepted);
        }
    }
}

/// Offers the world to a node, again and again as a network does, until nothing more is taken.
fn play(world: &World, arrival: Arrival, dice: &mut Dice) -> Seen {
    let consensus = Consensus::new(&world.genesis, Some(Seat(0)));
    let mut seen = Seen { consensus, accepted: BTreeMap::new(), links: Vec::new() };
    let mut offered: Vec<Arc<SignedVertex>> = world.rounds.iter().flatten().cloned().collect();
    let mut vain = 0;
    while vain < 6 {
        match arrival {
            Arrival::InOrder => {}
            Arrival::Backwards => offered.reverse(),
            Arrival::Shuffled { .. } => dice.shuffle(&mut offered),
        }
        let before = seen.accepted.len();
        for v in &offered {
            seen.consensus.dag().well_formed(v).expect("the world is well-formed");
            if let Insert::Accepted(accepted) = seen.consensus.insert(v.clone()) {
                seen.note(accepted);
            }
            if !matches!(arrival, Arrival::Shuffled { emit_percent } if !dice.chance(emit_percent)) {
                seen.emit();
            }
        }
        seen.emit();
        offered.retain(|v| !seen.accepted.contains_key(&v.id));
        // A pass without progress is not the end: a twin is taken only while a vertex that names it waits, and that
        // one may have had to give way to lower rounds.
        vain = if seen.accepted.len() == before { vain + 1 } else { 0 };
    }
    seen
}

fn check(seed: u64) -> (usize, usize) {
    let world = World::new(seed);
    let mut dice = Dice(seed ^ 0xd1ce);
    let arrivals = [
        Arrival::InOrder,
        Arrival::Backwards,
        Arrival::Shuffled { emit_percent: 100 },
        Arrival::Shuffled { emit_percent: 5 },
    ];
    let needed = world.honest_history();
    let mut longest: Vec<Link> = Vec::new();
    let rules = &world.genesis.rules;
    for arrival in arrivals {
        let seen = play(&world, arrival, &mut dice);
        let oracle = Oracle {
            n: world.genesis.seats.len(),
            depth: rules.depth,
            window: rules.window,
            policy: rules.policy,
            genesis_time: world.genesis.time,
            vertices: &seen.accepted,
        };
        assert_eq!(seen.links, oracle.chain(), "seed {seed}, {arrival:?}: the engine and the rules differ");
        let floor = seen.consensus.dag().floor();
        for v in needed.values().filter(|v| v.vertex.round > floor) {
            assert!(
                seen.accepted.contains_key(&v.id),
                "seed {seed}, {arrival:?}: {:?} is never taken",
                v.reference()
            );
        }
        let common = longest.len().min(seen.links.len());
        assert_eq!(seen.links[..common], longest[..common], "seed {seed}, {arrival:?}: two nodes fork");
        if longest.len() < seen.links.len() {
            longest = seen.links;
        }
    }
    let settled = longest.iter().map(|link| link.settled.len()).sum();
    (longest.len(), settled)
}

#[test]
fn random_worlds_give_the_chain_of_the_plain_rules_in_any_order_of_arrival() {
    let (mut links, mut settled) = (0, 0);
    for seed in 0..1_200 {
        let (l, s) = check(seed);
        links += l;
        settled += s;
    }
    assert!(links > 5_000 && settled > 600, "the worlds are not empty: {links} links, {settled} settled");
}
