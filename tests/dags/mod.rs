//! Thousands of random DAGs with equivocation, gaps and late parents, in several orders of arrival, against the plain
//! rules.

mod oracle;
mod record;

use bytes::Bytes;
use oracle::{Link, Oracle};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use throng::consensus::{Consensus, Insert};
use throng::types::{
    AccountNumber, Ack, BatchId, BatchRef, Epoch, Genesis, GenesisAccount, Key, Parent, Policy, Round, Rules,
    Seat, SeatInfo, Sequence, SettlementRecord, Time, Verdict, Vertex, VertexId, VertexRef,
};
use throng::wire::SignedVertex;

/// A repeatable source of numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

fn genesis(n: u16, depth: u64, window: u64, policy: Policy) -> Genesis {
    let seat = |s| SeatInfo { key: Key([s as u8 + 1; 32]), fee_account: AccountNumber(1) };
    Genesis {
        name: "test".into(),
        time: Time(1_000),
        rules: Rules { depth, window, policy, ..Rules::default() },
        seats: (0..n).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    }
}

/// A vertex of this slot; `face` tells twins apart.
fn vertex(
    (round, author, face): (u64, u16, u8),
    strong: &[VertexRef],
    weak: &[VertexRef],
    acks: Vec<Ack>,
) -> Arc<SignedVertex> {
    let mut id = [face; 32];
    // Faces differ in the first byte, so that the order of ids is not the order of faces.
    id[0] = (round as u8).wrapping_mul(31) ^ (author as u8).wrapping_mul(57) ^ face.wrapping_mul(101);
    id[1..9].copy_from_slice(&round.to_le_bytes());
    id[9..11].copy_from_slice(&author.to_le_bytes());
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(round),
        author: Seat(author),
        time: Time(1_000 + round * 10 + u64::from(author)),
        strong: strong.iter().map(|p| Parent { author: p.author, id: p.id }).collect(),
        weak: weak.to_vec(),
        acks,
        parts: Vec::new(),
    };
    Arc::new(SignedVertex {
        vertex,
        id: VertexId(id),
        signature: [0; 64],
        bytes: Bytes::from_static(&[0; 100]),
    })
}

fn ack(author: u16, sequence: u64, id: u8, verdict: Verdict) -> Ack {
    let batch = BatchRef { author: Seat(author), sequence: Sequence(sequence), id: BatchId([id; 32]) };
    Ack { batch, verdict }
}

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
        // Some are long enough for seats that gave way to lead again.
        let rounds = if dice.chance(10) { 60 + dice.below(60) } else { 12 + dice.below(14) };
        for round in 1..=rounds {
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
    Shuffled {
        emit_percent: u64,
    },
    /// A node that catches up: it has everything before it emits anything.
    AllAtOnce,
}

/// What a node saw.
struct Seen {
    consensus: Consensus,
    accepted: BTreeMap<VertexId, Arc<SignedVertex>>,
    /// The same in the order of acceptance.
    order: Vec<Arc<SignedVertex>>,
    links: Vec<Link>,
    /// After each link: the settlement record.
    records: Vec<SettlementRecord>,
}

impl Seen {
    fn new(consensus: Consensus) -> Seen {
        let (accepted, order, links, records) = Default::default();
        Seen { consensus, accepted, order, links, records }
    }

    fn note(&mut self, accepted: Vec<Arc<SignedVertex>>) {
        for v in accepted {
            let parents = v.vertex.parents();
            let floor = self.consensus.dag().floor();
            for p in parents.filter(|p| p.round > floor) {
                assert!(self.accepted.contains_key(&p.id), "accepted after its parents");
            }
            self.order.push(v.clone());
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
            self.records.push(self.consensus.record().expect("a leader was emitted"));
            self.note(emitted.accepted);
        }
    }
}

/// Offers the world to a node, again and again as a network does, until nothing more is taken.
fn play(world: &World, arrival: Arrival, dice: &mut Dice) -> Seen {
    let consensus = Consensus::new(&world.genesis, Some(Seat(0)));
    let mut seen = Seen::new(consensus);
    let mut offered: Vec<Arc<SignedVertex>> = world.rounds.iter().flatten().cloned().collect();
    let mut vain = 0;
    while vain < 6 {
        match arrival {
            Arrival::InOrder | Arrival::AllAtOnce => {}
            Arrival::Backwards => offered.reverse(),
            Arrival::Shuffled { .. } => dice.shuffle(&mut offered),
        }
        let before = seen.accepted.len();
        for v in &offered {
            seen.consensus.dag().well_formed(v).expect("the world is well-formed");
            if let Insert::Accepted(accepted) = seen.consensus.insert(v.clone()) {
                seen.note(accepted);
            }
            let emits = match arrival {
                Arrival::Shuffled { emit_percent } => dice.chance(emit_percent),
                Arrival::AllAtOnce => false,
                Arrival::InOrder | Arrival::Backwards => true,
            };
            if emits {
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

/// Plays one world: how many links its chain has, how many of them by a seat whose turn it was not, and how many batches
/// settle.
fn check(seed: u64) -> [usize; 3] {
    let world = World::new(seed);
    let mut dice = Dice(seed ^ 0xd1ce);
    let arrivals = [
        Arrival::InOrder,
        Arrival::Backwards,
        Arrival::Shuffled { emit_percent: 100 },
        Arrival::Shuffled { emit_percent: 5 },
        Arrival::AllAtOnce,
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
    let committee = world.genesis.committee();
    let stood_in = longest.iter().filter(|link| committee.leader(link.leader.0) != link.leader.1).count();
    [longest.len(), stood_in, settled]
}

/// How many worlds to play: `THRONG_DAGS`, or some hundreds.
fn worlds() -> u64 {
    std::env::var("THRONG_DAGS").map_or(600, |count| count.parse().expect("THRONG_DAGS is a number"))
}

#[test]
fn random_worlds_give_the_chain_of_the_plain_rules_in_any_order_of_arrival() {
    let count = worlds();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Every thread its share of the seeds.
    let share = |first: usize| {
        let mut sums = [0; 3];
        for seed in (first as u64..count).step_by(threads) {
            sums.iter_mut().zip(check(seed)).for_each(|(sum, more)| *sum += more as u64);
            if seed % 10_000 == 9_999 {
                println!("seed {seed} done");
            }
        }
        sums
    };
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("every world holds")).collect::<Vec<_>>()
    });
    let [links, stood_in, settled] = [0, 1, 2].map(|sum| shares.iter().map(|sums| sums[sum]).sum::<u64>());
    println!("{count} worlds: {links} links, {stood_in} of them by stand-ins, {settled} batches settled");
    assert!(
        links > count * 4 && stood_in > count / 10 && settled > count / 2,
        "not empty: {links}, {stood_in}, {settled} of {count}"
    );
}
