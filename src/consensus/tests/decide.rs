//! Deciding by hand: the cases that random worlds seldom meet.

use super::*;

/// Four seats. The leader of round 1 has three votes but a single certificate, by seat 3 in round 3, whom nobody names
/// as a strong parent; the leaders of rounds 2 to 4 are skipped; the leader of round 5 commits. `weak`: it names the
/// certificate as a weak parent.
fn leaders(weak: bool) -> Vec<u64> {
    let mut consensus = Consensus::new(&genesis(4, 10, 4, Policy::Quorum), None);
    let mut rounds: Vec<Vec<VertexRef>> = vec![Vec::new()];
    // Whom each seat names in each round.
    let strong: [[&[u16]; 4]; 7] = [
        [&[]; 4],
        [&[0, 1, 2], &[0, 1, 2], &[0, 1, 2], &[0, 2, 3]],
        [&[0, 1, 3], &[0, 1, 3], &[0, 1, 3], &[0, 1, 2]],
        [&[0, 1, 2]; 4],
        [&[1, 2, 3]; 4],
        [&[0, 1, 2, 3]; 4],
        [&[0, 1, 2, 3]; 4],
    ];
    for (round, names) in (1..).zip(strong) {
        let below = rounds.last().cloned().unwrap_or_default();
        let made = (0..4u16).map(|seat| {
            let strong: Vec<VertexRef> =
                names[usize::from(seat)].iter().map(|&p| below[usize::from(p)]).collect();
            let links = if weak && (round, seat) == (5, 1) { vec![rounds[3][3]] } else { Vec::new() };
            vertex((round, seat, 0), &strong, &links, Vec::new())
        });
        let made: Vec<_> = made.collect();
        rounds.push(made.iter().map(|v| v.reference()).collect());
        for v in made {
            assert!(matches!(consensus.insert(v), Insert::Accepted(_)));
        }
    }
    emit_all(&mut consensus).iter().map(|emitted| emitted.leader.round.0).collect()
}

#[test]
fn a_certificate_that_only_a_weak_parent_reaches_commits() {
    assert_eq!(leaders(true), [1, 5]);
}

#[test]
fn a_certificate_outside_of_the_anchors_history_does_not_commit() {
    assert_eq!(leaders(false), [5]);
}

#[test]
fn one_lying_clock_does_not_move_the_time_of_a_block() {
    let mut consensus = Consensus::new(&genesis(4, 10, 4, Policy::Quorum), None);
    let mut below: Vec<VertexRef> = Vec::new();
    for round in 1..=12 {
        let made = (0..4).map(|seat| {
            let mut v = (*vertex((round, seat, 0), &below, &[], Vec::new())).clone();
            if seat == 2 {
                v.vertex.time = Time(if round % 2 == 0 { u64::MAX } else { 0 });
            }
            Arc::new(v)
        });
        let made: Vec<_> = made.collect();
        below = made.iter().map(|v| v.reference()).collect();
        made.into_iter().for_each(|v| _ = consensus.insert(v));
    }
    let times: Vec<u64> = emit_all(&mut consensus).iter().map(|emitted| emitted.time.0).collect();
    assert_eq!(times.len(), 10);
    assert!(times.is_sorted() && times.last().is_some_and(|last| (1_080..1_100).contains(last)), "{times:?}");
}
