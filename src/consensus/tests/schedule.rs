//! Seats that were skipped lately give way.

use super::*;
use std::collections::BTreeSet;

/// Rounds in which some seats are silent from `from` on, everybody else naming everybody.
fn rounds_without(n: u16, silent: &[u16], from: u64, to: u64) -> Vec<Vec<Arc<SignedVertex>>> {
    let mut all: Vec<Vec<Arc<SignedVertex>>> = Vec::new();
    for round in 1..=to {
        let below: Vec<VertexRef> = all.last().into_iter().flatten().map(|v| v.reference()).collect();
        let here = (0..n).filter(|seat| round < from || !silent.contains(seat));
        all.push(here.map(|seat| vertex((round, seat, 0), &below, &[], Vec::new())).collect());
    }
    all
}

/// The rounds whose leaders are emitted.
fn emitted_rounds(consensus: &mut Consensus) -> Vec<u64> {
    emit_all(consensus).iter().map(|emitted| emitted.leader.round.0).collect()
}

fn skipped_share(n: u16, silent: &[u16], rounds: u64) -> f64 {
    let mut consensus = Consensus::new(&genesis(n, 10, 4, Policy::Quorum), None);
    let mut committed = BTreeSet::new();
    for v in rounds_without(n, silent, 1, rounds).into_iter().flatten() {
        consensus.insert(v);
        committed.extend(emitted_rounds(&mut consensus));
    }
    let passed = *committed.last().expect("the others go on");
    assert!(passed + 6 > rounds, "{passed} of {rounds}");
    (passed - committed.len() as u64) as f64 / passed as f64
}

#[test]
fn silent_seats_cost_few_slots() {
    // By plain turns these would be 0.25 and 0.3 of all slots.
    let one_of_four = skipped_share(4, &[3], 600);
    assert!((0.005..0.03).contains(&one_of_four), "{one_of_four}");
    let three_of_ten = skipped_share(10, &[2, 3, 7], 900);
    assert!((0.005..0.04).contains(&three_of_ten), "{three_of_ten}");
}

#[test]
fn turns_go_round_among_the_others() {
    let mut schedule = super::schedule_of(10);
    schedule.emitted(&[(Round(2), Seat(2)), (Round(3), Seat(3)), (Round(7), Seat(7))], Seat(8));
    let leads = |from: u64, to: u64| -> Vec<usize> {
        let mut leads = vec![0; 10];
        (from..to).for_each(|round| leads[schedule.leader(Round(round)).index()] += 1);
        leads
    };
    // Skipped once: away for twenty rounds.
    let first = leads(9, 19);
    assert_eq!((first[2], first[3], first[7]), (0, 0, 0));
    assert!(first.iter().all(|&count| count <= 2), "{first:?}");
    assert_eq!(leads(30, 40), vec![1; 10], "it is over by itself");
    for cycle in 0..12 {
        let round = 30 + cycle;
        let skipped = [2, 3, 7].map(|seat| (Round(round), Seat(seat)));
        schedule.emitted(&skipped, Seat(8));
    }
    let long: Vec<usize> = {
        let mut leads = vec![0; 10];
        (42..42 + 280).for_each(|round| leads[schedule.leader(Round(round)).index()] += 1);
        leads
    };
    assert_eq!((long[2], long[3], long[7]), (0, 0, 0));
    assert!(
        long.iter().enumerate().all(|(s, &c)| [2, 3, 7].contains(&s) || (36..=44).contains(&c)),
        "{long:?}"
    );
    assert_eq!(schedule.leader(Round(41 + 320 + 1)), Seat(2), "32 cycles at the most");
}

#[test]
fn at_most_f_seats_give_way_those_that_failed_most() {
    let mut schedule = super::schedule_of(4);
    schedule.emitted(
        &[(Round(1), Seat(1)), (Round(2), Seat(2)), (Round(3), Seat(3)), (Round(6), Seat(2))],
        Seat(0),
    );
    assert_eq!(schedule.leader(Round(9)), Seat(1), "one of four may be away, and seat 2 was skipped twice");
    assert_eq!(schedule.leader(Round(11)), Seat(3));
    assert_ne!(schedule.leader(Round(10)), Seat(2));
    schedule.emitted(&[], Seat(2));
    assert_eq!(schedule.leader(Round(10)), Seat(2), "a commit clears it");
    assert_ne!(schedule.leader(Round(11)), Seat(3), "now seat 3 is the one: skipped later than seat 1");
    for (n, seats) in [(1, 1), (2, 2), (3, 3)] {
        let mut schedule = super::schedule_of(n);
        schedule.emitted(&[(Round(1), Seat(1 % n))], Seat(0));
        let leaders: BTreeSet<Seat> = (2..9).map(|round| schedule.leader(Round(round))).collect();
        assert_eq!(leaders.len(), seats, "without tolerance nobody gives way");
    }
}

#[test]
fn nodes_agree_on_the_schedule_whenever_they_learn_of_the_vertices() {
    // Seat 3 falls silent in round 9 and comes back in round 60; seat 1 is silent from round 60 on.
    let mut all = rounds_without(4, &[3], 9, 59);
    for round in 60..=120 {
        let below: Vec<VertexRef> = all.last().into_iter().flatten().map(|v| v.reference()).collect();
        all.push([0, 2, 3].map(|seat| vertex((round, seat, 0), &below, &[], Vec::new())).to_vec());
    }
    let play = |emit_every: usize, backwards: bool| {
        let mut consensus = Consensus::new(&genesis(4, 200, 4, Policy::Quorum), None);
        let mut vertices: Vec<_> = all.iter().flatten().cloned().collect();
        if backwards {
            vertices.reverse();
        }
        let mut emitted = Vec::new();
        for (place, v) in vertices.iter().enumerate() {
            consensus.insert(v.clone());
            if place % emit_every == emit_every - 1 {
                emitted.extend(emitted_rounds(&mut consensus));
            }
        }
        emitted.extend(emitted_rounds(&mut consensus));
        let leaders: Vec<Seat> = (1..140).map(|round| consensus.dag().leader(Round(round))).collect();
        (emitted, leaders)
    };
    let live = play(1, false);
    assert!(live.0.len() > 100, "{live:?}");
    for (emit_every, backwards) in [(2, false), (7, false), (100_000, false), (1, true), (5, true)] {
        assert_eq!(play(emit_every, backwards), live, "every {emit_every}, backwards: {backwards}");
    }
}
