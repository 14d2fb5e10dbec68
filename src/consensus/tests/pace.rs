//! When a validator makes its next vertex.

use super::*;
use crate::types::params::IDLE_BEAT;
use std::time::Duration;

const N: u16 = 4;
const BUSY: Load = Load { busy: true, caps: 0 };
const IDLE: Load = Load { busy: false, caps: 0 };

struct World {
    consensus: Consensus,
    pace: Pace,
    rules: Rules,
    now: Time,
    last: Vec<VertexRef>,
}

impl World {
    /// Seat 0's view.
    fn new() -> World {
        let genesis = genesis(N, 4, 4, Policy::Quorum);
        let rules = genesis.rules;
        let consensus = Consensus::new(&genesis, Some(Seat(0)));
        let pace = Pace::new(Seat(0), usize::from(N), &rules);
        World { consensus, pace, rules, now: Time(1_000_000), last: Vec::new() }
    }

    /// These seats' vertices of a round on these of the round before.
    fn add(&mut self, round: u64, seats: &[u16], parents: &[VertexRef]) -> Vec<VertexRef> {
        let made: Vec<_> = seats.iter().map(|&s| vertex((round, s, 0), parents, &[], Vec::new())).collect();
        for v in &made {
            assert!(matches!(self.consensus.insert(v.clone()), Insert::Accepted(_)), "{:?}", v.reference());
        }
        emit_all(&mut self.consensus);
        self.last = made.iter().map(|v| v.reference()).collect();
        self.last.clone()
    }

    fn due(&mut self, load: Load) -> Option<Duration> {
        let due = self.pace.due(self.now, self.consensus.dag(), load)?;
        Some(due.since(self.now))
    }

    fn made(&mut self, round: u64) {
        assert_eq!(self.pace.next(), Round(round));
        self.pace.made(Round(round), self.now);
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    fn delays(&self, count: u32) -> Option<Duration> {
        Some(self.rules.delay() * count)
    }

    fn interval(&self) -> Option<Duration> {
        Some(Rules::round_interval(usize::from(N)))
    }
}

#[test]
fn nobody_jumps_rounds() {
    let mut world = World::new();
    for round in 1..=3 {
        let parents = world.last.clone();
        world.add(round, &[1, 2, 3], &parents);
    }
    assert_eq!(
        (world.due(IDLE), world.pace.next()),
        (Some(Duration::ZERO), Round(1)),
        "the others are ahead"
    );
    world.made(1);
    assert_eq!(world.due(IDLE), None, "one's own vertex is not accepted yet");
    world.add(1, &[0], &[]);
    assert_eq!((world.due(IDLE), world.pace.next()), (Some(Duration::ZERO), Round(2)));
}

#[test]
fn a_round_needs_a_quorum_of_the_one_before() {
    let mut world = World::new();
    world.made(1);
    world.add(1, &[0, 1], &[]);
    assert_eq!(world.due(BUSY), None);
    world.add(1, &[2], &[]);
    assert_eq!(world.due(BUSY), world.interval(), "the leader of round 1 is there");
}

#[test]
fn a_leader_is_waited_for_twice_the_message_delay() {
    let mut world = World::new();
    world.made(1);
    world.add(1, &[0, 2, 3], &[]);
    assert_eq!(world.due(BUSY), world.delays(2), "seat 1 leads round 1");
    assert_eq!(world.due(Load { busy: true, caps: 1 }), world.delays(4), "longer above the cap");
    assert_eq!(world.due(Load { busy: true, caps: u32::MAX }), world.delays(2048), "but bounded");
    world.wait(world.rules.delay());
    assert_eq!(world.due(BUSY), world.delays(1));
    world.add(1, &[1], &[]);
    assert_eq!(world.due(BUSY), Some(Duration::ZERO));
}

#[test]
fn the_leader_before_is_waited_for_until_it_has_votes_or_blanks() {
    let mut world = World::new();
    let first = world.add(1, &[0, 1, 2, 3], &[]);
    world.made(1);
    let without_leader: Vec<_> = first.iter().filter(|v| v.author != Seat(1)).copied().collect();
    world.add(2, &[0, 1], &first);
    world.add(2, &[2], &without_leader);
    world.made(2);
    assert_eq!(world.due(BUSY), world.delays(2), "two votes and a blank, and the leader of round 2 is here");
    world.add(2, &[3], &first);
    assert_eq!(world.due(BUSY), world.interval());
}

#[test]
fn idle_nodes_beat_until_somebody_goes_on() {
    let mut world = World::new();
    world.made(1);
    let first = world.add(1, &[0, 2, 3], &[]);
    assert_eq!(world.due(IDLE), Some(IDLE_BEAT));
    world.wait(IDLE_BEAT / 2);
    assert_eq!(world.due(IDLE), Some(IDLE_BEAT / 2));
    assert_eq!(world.due(BUSY), world.delays(2), "leader waits start when idling ends");
    assert_eq!(world.due(IDLE), Some(IDLE_BEAT / 2));
    world.add(2, &[2], &first);
    assert_eq!(world.due(IDLE), world.delays(2), "somebody goes on");
}

/// The others go on without seat 0 up to a round.
fn go_on(world: &mut World, from: u64, to: u64) {
    for round in from..=to {
        let parents = world.last.clone();
        world.add(round, &[1, 2, 3], &parents);
    }
}

#[test]
fn a_validator_whose_round_fell_to_the_floor_goes_on_at_the_top() {
    let mut world = World::new();
    world.add(1, &[0, 1, 2, 3], &[]);
    world.made(1);
    go_on(&mut world, 2, 12);
    assert!(world.consensus.dag().floor() >= Round(2));
    assert_eq!((world.due(BUSY).is_some(), world.pace.next()), (true, Round(13)), "without an own parent");
    world.made(13);
    assert_eq!(world.due(BUSY), None);
    let parents = world.last.clone();
    world.add(13, &[0, 1, 2, 3], &parents);
    assert_eq!((world.due(BUSY).is_some(), world.pace.next()), (true, Round(14)));
}

#[test]
fn a_validator_within_the_depth_makes_every_round() {
    let mut world = World::new();
    world.add(1, &[0, 1, 2, 3], &[]);
    world.made(1);
    go_on(&mut world, 2, 4);
    assert_eq!((world.due(BUSY), world.pace.next()), (Some(Duration::ZERO), Round(2)));
}

#[test]
fn a_validator_whose_last_vertex_fell_to_the_floor_unaccepted_is_not_stuck() {
    let mut world = World::new();
    go_on(&mut world, 1, 8);
    let floor = world.consensus.dag().floor();
    assert!(floor.0 > 0);
    // It was on its way to disk when the floor came: nobody has it, and its successor lies just above the floor.
    world.pace.found(floor);
    assert_eq!(world.pace.next(), floor.next());
    assert_eq!((world.due(BUSY).is_some(), world.pace.next()), (true, Round(9)));
}
