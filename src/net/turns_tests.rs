//! Turns: everything comes out once and in its client's order, who forged shares with nobody, shares of the work hold.

use super::*;
use proptest::prelude::*;

/// A client that is proven, with nothing waiting.
fn prove(turns: &mut Turns<u64>, client: Token) {
    turns.push(client, 1, 0);
    while turns.next().is_some() {}
    assert_eq!(turns.answered(client, 1, PROVEN_ROWS, false), Some(Standing::Proven));
}

/// A client that is suspect, with nothing waiting.
fn suspect(turns: &mut Turns<u64>, client: Token) {
    turns.push(client, 1, 0);
    while turns.next().is_some() {}
    assert_eq!(turns.answered(client, 1, 0, true), Some(Standing::Suspect));
}

fn tokens(together: &Together<u64>) -> Vec<usize> {
    together.parts.iter().map(|(token, _)| token.0).collect()
}

#[test]
fn clients_of_a_standing_go_round_and_fill_a_batch() {
    let mut turns = Turns::default();
    for number in 0..3 {
        (0..3).for_each(|item| turns.push(Token(number), 500, item));
    }
    let first = turns.next().unwrap();
    assert_eq!((first.standing, first.rows), (Standing::Newcomer, 2000));
    assert_eq!(tokens(&first), [0, 1, 2, 0]);
    assert_eq!(tokens(&turns.next().unwrap()), [1, 2, 0, 1]);
    assert_eq!(tokens(&turns.next().unwrap()), [2]);
    assert_eq!((turns.next(), turns.rows()), (None, 4500), "they are being verified");
}

#[test]
fn who_forges_is_alone_until_enough_good_rows_were_admitted() {
    let (mut turns, forger, other) = (Turns::default(), Token(1), Token(2));
    suspect(&mut turns, forger);
    for item in 0..2 {
        turns.push(forger, 10, item);
        turns.push(other, 10, item);
    }
    let batches: Vec<_> = std::iter::from_fn(|| turns.next()).map(|batch| tokens(&batch)).collect();
    assert_eq!(batches, [vec![1, 1], vec![2, 2]]);
    turns.push(forger, PROVEN_ROWS, 9);
    assert_eq!(turns.answered(forger, 10, 10, false), None);
    assert_eq!(turns.answered(forger, 10, 0, false), None, "what is not admitted does not count");
    assert_eq!(turns.answered(forger, PROVEN_ROWS, PROVEN_ROWS - 10, false), Some(Standing::Proven));
    turns.push(forger, 1, 10);
    assert_eq!(turns.answered(forger, 1, 0, true), Some(Standing::Suspect));
    assert_eq!(turns.rows_of(Standing::Suspect), 0);
}

#[test]
fn what_waits_moves_with_its_client() {
    let (mut turns, forger) = (Turns::default(), Token(1));
    (0..300).for_each(|item| turns.push(forger, 8, item));
    turns.push(Token(2), 8, 0);
    assert_eq!(turns.next().unwrap().rows, INGRESS_ROWS_MAX);
    assert_eq!(turns.answered(forger, 8, 7, true), Some(Standing::Suspect));
    assert_eq!(turns.rows_of(Standing::Suspect), 299 * 8);
    let next = turns.next().unwrap();
    assert!(next.standing == Standing::Suspect && next.rows <= SUSPECT_ROWS_MAX && next.parts.len() == 32);
}

#[test]
fn bad_rows_make_newcomers_batches_small_and_good_ones_large_again() {
    let mut turns = Turns::default();
    let rows_next = |turns: &mut Turns<u64>| {
        (0..INGRESS_ROWS_MAX).for_each(|item| turns.push(Token(item), 1, 0));
        let rows = turns.next().unwrap().rows;
        while turns.next().is_some() {}
        rows
    };
    assert_eq!(rows_next(&mut turns), INGRESS_ROWS_MAX);
    (0..20).for_each(|_| turns.verified(Standing::Newcomer, 10, true));
    assert_eq!(rows_next(&mut turns), NEWCOMER_ROWS_MIN);
    (0..100).for_each(|_| turns.verified(Standing::Newcomer, 10, false));
    assert_eq!(rows_next(&mut turns), INGRESS_ROWS_MAX);
}

#[test]
fn while_all_wait_the_proven_get_most_of_the_work_and_nobody_starves() {
    let mut turns = Turns::default();
    prove(&mut turns, Token(0));
    suspect(&mut turns, Token(2));
    let mut work = [0; 3];
    for item in 0..40_000 {
        for client in (0..3).map(Token) {
            if turns.clients.get(&client).is_none_or(|client| client.waiting.len() < 40) {
                (0..40).for_each(|_| turns.push(client, 64, item));
            }
        }
        let batch = turns.next().unwrap();
        let bad = batch.standing != Standing::Proven; // newcomers whose every batch is spoilt, too
        work[batch.standing as usize] += batch.rows as u64 * if bad { WORK_BAD } else { WORK_GOOD };
        turns.verified(batch.standing, batch.rows, bad);
    }
    let all = work.iter().sum::<u64>() as f64;
    let parts = work.map(|work| work as f64 / all * 13.0);
    for (part, share) in parts.into_iter().zip([8.0, 4.0, 1.0]) {
        assert!((part - share).abs() < 0.3, "{parts:?}");
    }
}

#[test]
fn who_has_hung_up_is_forgotten_once_its_rows_are_answered() {
    let mut turns = Turns::default();
    turns.push(Token(1), 5, 0);
    turns.left(Token(1));
    assert_eq!(tokens(&turns.next().unwrap()), [1]);
    assert_eq!(turns.answered(Token(1), 5, 0, true), Some(Standing::Suspect));
    assert!(turns.clients.is_empty() && turns.rows() == 0);
    turns.left(Token(1));
    turns.left(Token(9));
    assert_eq!(turns.answered(Token(9), 5, 0, true), None);
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        client: usize,
        rows: usize,
    },
    Next,
    /// Answers the oldest batch under way; every client that forges has a bad row in it.
    Answer,
    Leave {
        client: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..8usize, 1..1025usize).prop_map(|(client, rows)| Step::Push { client, rows }),
        3 => Just(Step::Next),
        3 => Just(Step::Answer),
        1 => (0..8usize).prop_map(|client| Step::Leave { client }),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn every_submission_comes_out_once_in_its_clients_order_and_no_suspect_is_mixed(
        steps in steps(), forgers in 0..256usize,
    ) {
        let mut turns: Turns<(u64, usize)> = Turns::default();
        let (mut pushed, mut taken) = (vec![0; 8], vec![0; 8]);
        let mut suspects = std::collections::BTreeSet::new();
        let mut under_way = VecDeque::new();
        let mut generation = [0; 8]; // who has left comes back under another token
        let all = steps.into_iter().chain((0..2000).flat_map(|_| [Step::Next, Step::Answer]));
        for step in all {
            match step {
                Step::Push { client, rows } => {
                    turns.push(Token(client + generation[client] * 8), rows, (pushed[client], rows));
                    pushed[client] += 1;
                }
                Step::Leave { client } => {
                    turns.left(Token(client + generation[client] * 8));
                    // Its submissions may now stand beside those of its next token: count those anew.
                    generation[client] += 1;
                    pushed[client] = 1_000_000 * generation[client] as u64;
                }
                Step::Next => {
                    let Some(batch) = turns.next() else { continue };
                    prop_assert!(!batch.parts.is_empty());
                    let rows = batch.parts.iter().map(|(_, (_, rows))| rows).sum::<usize>();
                    prop_assert!(rows == batch.rows);
                    prop_assert!(rows <= INGRESS_ROWS_MAX);
                    let first = batch.parts[0].0;
                    for (token, (number, _)) in &batch.parts {
                        prop_assert_eq!(suspects.contains(token), batch.standing == Standing::Suspect);
                        prop_assert!(batch.standing != Standing::Suspect || *token == first);
                        taken.resize(taken.len().max(token.0 + 1), 0);
                        let offset = 1_000_000 * (token.0 / 8) as u64;
                        prop_assert_eq!(*number, taken[token.0] + offset, "order of {:?}", token);
                        taken[token.0] += 1;
                    }
                    under_way.push_back(batch);
                }
                Step::Answer => {
                    let Some(batch) = under_way.pop_front() else { continue };
                    let forges = |token: &Token| forgers >> (token.0 % 8) & 1 == 1;
                    let any_bad = batch.parts.iter().any(|(token, _)| forges(token));
                    turns.verified(batch.standing, batch.rows, any_bad);
                    for (token, (_, rows)) in batch.parts {
                        let bad = forges(&token);
                        match turns.answered(token, rows, rows, bad) {
                            Some(Standing::Suspect) => _ = suspects.insert(token),
                            Some(_) => _ = suspects.remove(&token),
                            None => {}
                        }
                    }
                }
            }
        }
        prop_assert!(turns.is_empty() && turns.rows() == 0 && under_way.is_empty());
    }
}
