//! The rules of settling, one by one.

use super::*;
use Verdict::{Held, Invalid, Valid};

fn settlement(n: u16, window: u64, policy: Policy) -> Settlement {
    Settlement::new(&genesis(n, 10, window, policy).committee(), policy, window)
}

/// One output: what each seat says, in order.
fn output(said: &[(u16, &[Ack])]) -> Vec<Arc<SignedVertex>> {
    let vertices = said.iter().zip(0..);
    vertices.map(|((seat, acks), face)| vertex((5, *seat, face), &[], &[], acks.to_vec())).collect()
}

fn sequences(settled: &[BatchRef]) -> Vec<u64> {
    settled.iter().map(|batch| batch.sequence.0).collect()
}

/// Everybody of a quorum of four says `Valid` on these sequences of seat 0.
fn all_valid(these: &[u64]) -> Vec<Arc<SignedVertex>> {
    let acks: Vec<Ack> = these.iter().map(|&s| ack(0, s, 0, Valid)).collect();
    output(&[(0, &acks), (1, &acks), (2, &acks)])
}

#[test]
fn policies_need_a_quorum_held_and_their_share_valid() {
    let mut all = settlement(4, 4, Policy::All);
    let held = [ack(0, 1, 0, Held)];
    let valid = [ack(0, 1, 0, Valid)];
    assert!(all.count(&output(&[(0, &valid), (1, &valid), (2, &held), (3, &held)])).is_empty());
    assert_eq!(sequences(&all.count(&output(&[(3, &valid)]))), [1]);
    let mut quorum = settlement(4, 4, Policy::Quorum);
    assert!(
        quorum.count(&output(&[(0, &valid), (1, &held), (2, &held), (3, &held)])).is_empty(),
        "one valid"
    );
    assert_eq!(sequences(&quorum.count(&output(&[(3, &valid)]))), [1]);
    let mut quorum = settlement(4, 4, Policy::Quorum);
    assert!(quorum.count(&output(&[(0, &valid), (1, &valid)])).is_empty(), "two of four hold it");
    assert_eq!(sequences(&quorum.count(&output(&[(2, &held)]))), [1]);
    for (n, policy) in [(1, Policy::All), (1, Policy::Quorum), (3, Policy::Quorum)] {
        let mut small = settlement(n, 4, policy);
        let said: Vec<(u16, &[Ack])> =
            (0..n).map(|s| (s, if s == 0 { &valid[..] } else { &held[..] })).collect();
        assert_eq!(
            sequences(&small.count(&output(&said))),
            [1],
            "without tolerance the author's check is enough"
        );
    }
}

#[test]
fn the_first_id_of_a_validator_counts_and_no_other() {
    let mut settlement = settlement(4, 4, Policy::Quorum);
    let (x, y) = ([ack(0, 1, 1, Valid)], [ack(0, 1, 2, Valid)]);
    assert!(settlement.count(&output(&[(1, &x), (2, &y), (3, &y)])).is_empty());
    assert!(settlement.count(&output(&[(1, &y)])).is_empty(), "seat 1 has said x");
    assert_eq!(settlement.count(&output(&[(0, &y)])), [y[0].batch]);
    assert!(
        settlement.count(&output(&[(0, &x), (1, &x), (2, &x), (3, &x)])).is_empty(),
        "a slot settles once"
    );
}

#[test]
fn a_verdict_rises_from_held_to_valid_and_does_not_fall() {
    let mut settlement = settlement(4, 4, Policy::All);
    let (held, valid) = ([ack(0, 1, 0, Held)], [ack(0, 1, 0, Valid)]);
    assert!(settlement.count(&output(&[(0, &valid), (1, &valid), (2, &held)])).is_empty());
    assert!(settlement.count(&output(&[(1, &held), (0, &held), (0, &held)])).is_empty());
    assert!(settlement.anything_open());
    assert_eq!(sequences(&settlement.count(&output(&[(2, &valid)]))), [1]);
    assert!(!settlement.anything_open());
}

#[test]
fn invalid_neither_counts_nor_fixes_nor_undoes() {
    let mut settlement = settlement(4, 4, Policy::Quorum);
    let (valid, other) = ([ack(0, 1, 0, Valid)], [ack(0, 1, 9, Invalid)]);
    assert!(settlement.count(&output(&[(0, &other), (1, &other), (2, &other), (3, &other)])).is_empty());
    assert!(!settlement.anything_open(), "invalid acks open nothing");
    assert!(settlement.count(&output(&[(0, &valid), (1, &valid), (1, &[ack(0, 1, 0, Invalid)])])).is_empty());
    assert_eq!(sequences(&settlement.count(&output(&[(2, &valid)]))), [1]);
}

#[test]
fn the_window_stands_still_inside_one_output() {
    let mut settlement = settlement(4, 2, Policy::Quorum);
    assert_eq!(sequences(&settlement.count(&all_valid(&[1, 2, 3, 4, 5, 6]))), [1, 2, 3, 4], "up to 2 W");
    assert_eq!(settlement.highest(Seat(0)), Sequence(4));
    // What lay outside fixed nothing: the same validators can speak of other bytes now.
    let other: Vec<Ack> = [5, 6].map(|s| ack(0, s, 7, Valid)).to_vec();
    let settled = settlement.count(&output(&[(0, &other), (1, &other), (2, &other)]));
    assert_eq!(settled, [other[0].batch, other[1].batch]);
}

#[test]
fn sequences_below_the_window_are_dead() {
    let mut settlement = settlement(4, 2, Policy::Quorum);
    let early = [ack(0, 1, 0, Valid), ack(0, 3, 0, Valid)];
    assert!(settlement.count(&output(&[(0, &early), (1, &early)])).is_empty());
    assert_eq!(sequences(&settlement.count(&all_valid(&[4]))), [4]);
    let dead = |settlement: &Settlement| -> Vec<u64> {
        (1..9).filter(|&s| settlement.dead(Seat(0), Sequence(s))).collect()
    };
    let open = |settlement: &Settlement| -> Vec<u64> {
        (0..12).filter(|&s| settlement.open(Seat(0), Sequence(s))).collect()
    };
    assert_eq!((dead(&settlement), open(&settlement)), (vec![1, 2], vec![3, 5, 6, 7, 8]));
    let late = [ack(0, 1, 0, Valid), ack(0, 2, 0, Valid), ack(0, 3, 0, Valid)];
    assert_eq!(
        sequences(&settlement.count(&output(&[(2, &late), (3, &late)]))),
        [3],
        "1 needed one more ack"
    );
    assert_eq!((settlement.highest(Seat(0)), settlement.highest(Seat(1))), (Sequence(4), Sequence(0)));
    assert!(!settlement.open(Seat(4), Sequence(1)), "nobody's seat");
    for hostile in [u64::MAX, u64::MAX - 1, 0] {
        assert!(!settlement.open(Seat(0), Sequence(hostile)));
        assert!(settlement.count(&all_valid(&[hostile])).is_empty());
    }
}

#[test]
fn batches_settle_in_the_order_of_their_last_needed_ack() {
    let mut settlement = settlement(4, 4, Policy::Quorum);
    let two_one = [ack(0, 2, 0, Valid), ack(0, 1, 0, Valid)];
    let one_two = [ack(0, 1, 0, Valid), ack(0, 2, 0, Valid)];
    let settled = settlement.count(&output(&[(0, &one_two), (1, &one_two), (2, &two_one)]));
    assert_eq!(sequences(&settled), [2, 1]);
}

#[test]
fn what_is_reserved_follows_what_settled_and_the_authors_own_acks_and_never_falls() {
    let mut settlement = settlement(4, 4, Policy::Quorum);
    let reserved = |settlement: &Settlement| settlement.reserved(Seat(0)).0;
    assert_eq!(reserved(&settlement), 4, "a window above nothing");
    let others = [ack(0, 8, 1, Valid), ack(0, 6, 1, Held)];
    settlement.count(&output(&[(1, &others), (2, &others[..1])]));
    assert_eq!(reserved(&settlement), 4, "whatever others say");
    settlement.count(&output(&[(0, &[ack(0, 9, 1, Valid), ack(0, 7, 1, Invalid)])]));
    assert_eq!(reserved(&settlement), 4, "nor what does not count");
    settlement.count(&output(&[(0, &[ack(0, 6, 2, Held)])]));
    assert_eq!(reserved(&settlement), 6);
    settlement.count(&all_valid(&[1]));
    assert_eq!((reserved(&settlement), settlement.reserved(Seat(1)).0), (6, 4));
    settlement.count(&output(&[(0, &[ack(0, 7, 2, Held)]), (3, &[ack(0, 7, 2, Held)])]));
    let kept = reserved(&settlement);
    settlement.count(&output(&[
        (0, &[ack(0, 5, 0, Valid)]),
        (1, &[ack(0, 5, 0, Valid)]),
        (2, &[ack(0, 5, 0, Valid)]),
    ]));
    assert_eq!((kept, reserved(&settlement)), (7, 9), "a window above the highest settled one");
}
