//! Rows whose turn is another's: handed on, held, sealed here after all, or let go.

use super::*;
use crate::node::home::{DEAF_FOR, HANDED_ROWS_MAX};
use crate::types::params::{HOME_GRACE_STEPS, HOME_OFFERS, HOME_TURN, HOME_TURN_GRACE, HOME_WAIT_DELAYS};
use crate::wire::client::{Refusal, SUBMIT_ROWS_MAX};

/// How long a seat has for its turn.
const WAIT: Duration = Duration::from_millis(100 * HOME_WAIT_DELAYS as u64);

/// Seat 0 of seven, which may sign, with these others connected.
fn of_seven(connected: &[u16]) -> World {
    let mut world = of_seven_at_its_start(&[1, 2, 3, 4, 5, 6]);
    answer(&mut world);
    (1..7)
        .filter(|seat| !connected.contains(seat))
        .for_each(|seat| world.handle(Input::Disconnected(Seat(seat))));
    world
}

/// The others say that they know of nothing.
fn answer(world: &mut World) {
    for seat in 1..7 {
        world.receive(seat, Message::Frontier { began: Round(0), rounds: vec![Round(0); 7] });
    }
}

/// A world whose committee has seven seats, so that two may be silent; the node is connected to these.
fn of_seven_at_its_start(connected: &[u16]) -> World {
    let mut world = World::with(|genesis| {
        let seat = |s| SeatInfo { key: Key(public_key(&seat_key(s))), fee_account: AccountNumber(1) };
        genesis.seats = (0..7).map(seat).collect();
    });
    for seat in 1..7 {
        let input = if connected.contains(&seat) { Input::Connected } else { Input::Disconnected };
        world.handle(input(Seat(seat)));
    }
    world
}

fn submission(world: &World, from: u32, nonces: std::ops::Range<u64>) -> Submission {
    Submission::pack(columns(&rows(&world.genesis, from, nonces, None))).unwrap()
}

/// A client brings rows.
fn bring(world: &mut World, submissions: &[Submission]) {
    let admitted = ingress::admit(&world.shared, submissions);
    assert!(admitted.iter().all(|admission| admission.refused.is_empty()), "{admitted:?}");
    world.handle(Input::Rows);
}

/// What was handed on since the last look: to whom, and how many rows.
fn handed_on(world: &mut World) -> Vec<(u16, usize)> {
    let sent = std::mem::take(&mut world.sent);
    let rows = |(to, message): &(Seat, Message)| match message {
        Message::Rows(rows) => Some((to.0, rows.rows().len())),
        _ => None,
    };
    sent.iter().filter_map(rows).collect()
}

/// Rows that wait to be sealed here, and rows that are held.
fn counts(world: &World) -> (usize, usize) {
    (world.shared.mempool.len(), world.shared.mempool.held())
}

#[test]
fn rows_go_to_their_homes_in_one_message_each_and_are_held() {
    let mut world = World::new(Policy::Quorum);
    let rows = [submission(&world, 2, 1..31), submission(&world, 6, 1..3), submission(&world, 3, 1..2)];
    bring(&mut world, &rows);
    assert_eq!(handed_on(&mut world), [(1, 32), (2, 1)]);
    assert_eq!(counts(&world), (0, 33));
    world.pass(WAIT - Duration::from_millis(1));
    // Offered again within that time, should the home have been a block behind.
    assert_eq!(handed_on(&mut world), [(1, 32), (2, 1)].repeat(usize::from(HOME_OFFERS) - 1));
    assert!(!world.disk.log.iter().any(|(kind, _)| *kind == RecordKind::Batch));
}

#[test]
fn many_rows_for_one_home_travel_in_full_messages_with_their_keys() {
    let mut world = World::with(|genesis| {
        let account = |number| GenesisAccount { key: public_key(&account_key(number)), balance: 1_000_000 };
        genesis.accounts = (1..=72).map(account).collect();
    });
    for account in (2..=70).step_by(4) {
        let (key, mut taken) = (account_key(account), Taken::default());
        for nonce in 1..=60 {
            let (effect, opened) = (Effect::open(account, 1, nonce, 100), [nonce as u8; 32]);
            let digest = transaction_digest(&world.shared.chain, &effect, &public_key(&key), &opened);
            taken.effects.push(effect);
            taken.keys.push(opened);
            taken.witnesses.push(Witness(sign(&key, &digest)));
        }
        let rows = Submission::pack(columns(&taken)).unwrap();
        assert_eq!(ingress::admit(&world.shared, &[rows])[0].accepted, 60);
    }
    world.handle(Input::Rows);
    let messages: Vec<_> = world.sent.iter().filter(|(_, m)| matches!(m, Message::Rows(_))).collect();
    let keyed = |row: crate::wire::Row<'_>| row.key.unwrap()[0] == row.effect.nonce.get() as u8;
    let mut lengths = Vec::new();
    for (to, message) in messages {
        let Message::Rows(rows) = message else { continue };
        assert!(*to == Seat(1) && rows.rows().iter().all(keyed));
        lengths.push(rows.rows().len());
    }
    assert_eq!(lengths, [SUBMIT_ROWS_MAX, 18 * 60 - SUBMIT_ROWS_MAX]);
}

#[test]
fn what_a_home_swallows_is_sealed_by_the_next_in_rank_after_the_wait() {
    // Account 4 has its home at seat 3, and seat 0 comes next.
    let mut world = World::new(Policy::Quorum);
    let rows = [submission(&world, 4, 1..3)];
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![(3, 2)], (0, 2)));
    world.pass(WAIT - Duration::from_millis(1));
    assert_eq!(counts(&world), (0, 2));
    handed_on(&mut world);
    world.pass(Duration::from_millis(61));
    assert_eq!(counts(&world), (0, 0));
    let batches = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let sealed = Batch::decode(batches.last().unwrap().1.clone()).unwrap();
    assert_eq!((sealed.header.author, sealed.rows().len()), (Seat(0), 2));
    assert!(handed_on(&mut world).is_empty(), "it is nobody else's");
}

#[test]
fn seats_of_later_ranks_have_their_turn_one_after_the_other_and_then_a_row_is_let_go() {
    // Account 3 has its home at seat 2; with f = 2 seats 3 and 4 come next.
    let mut world = of_seven(&[1, 2, 3, 4, 5, 6]);
    let rows = [submission(&world, 3, 1..2)];
    bring(&mut world, &rows);
    for (turn, seat) in [2, 3, 4].into_iter().enumerate() {
        world.pass(WAIT - Duration::from_millis(1));
        assert_eq!(handed_on(&mut world), [(seat, 1)].repeat(usize::from(HOME_OFFERS)), "turn {turn}");
        assert_eq!(counts(&world), (0, 1));
        world.pass(Duration::from_millis(1));
    }
    assert!(handed_on(&mut world).is_empty());
    assert_eq!(counts(&world), (0, 0));
    bring(&mut world, &rows);
    assert_eq!(handed_on(&mut world), [(2, 1)], "its client may send it again");
}

#[test]
fn who_is_not_connected_is_passed_over_at_once() {
    let mut world = of_seven(&[1, 3, 4, 5, 6]);
    let rows = [submission(&world, 3, 1..2)];
    bring(&mut world, &rows);
    assert_eq!(handed_on(&mut world), [(3, 1)]);
    let mut world = of_seven(&[1, 5, 6]);
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![], (0, 1)));
    world.handle(Input::Connected(Seat(2)));
    world.pass(WAIT / u32::from(HOME_OFFERS));
    assert_eq!(handed_on(&mut world), [(2, 1)], "the first who came back");
    // Home at seat 5, then 6, then this one.
    let mut world = of_seven(&[1, 2]);
    let rows = [submission(&world, 6, 1..2)];
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![], (1, 0)));
}

#[test]
fn a_home_that_is_convicted_is_passed_over_at_once() {
    // Account 3 has its home at seat 2, and seat 3 comes next.
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let twin = world.vertex((1, 2), &[], &[], 99);
    world.receive(3, Message::Vertex(twin));
    assert!(world.node.evidence().any(|evidence| evidence.accused() == Seat(2)));
    let rows = [submission(&world, 3, 1..3)];
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![(3, 2)], (0, 2)));
}

#[test]
fn a_home_that_cannot_sign_hands_its_own_clients_rows_to_the_next_in_rank() {
    // It has not learnt yet what it may have signed before.
    let mut world = of_seven_at_its_start(&[1, 2]);
    let rows = [submission(&world, 1, 1..3)];
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![(1, 2)], (0, 2)));
    (3..7).for_each(|seat| world.handle(Input::Connected(Seat(seat))));
    answer(&mut world);
    let rows = [submission(&world, 1, 3..6)];
    bring(&mut world, &rows);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![], (3, 2)), "it can");
    world.pass(WAIT / u32::from(HOME_OFFERS));
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![], (2, 0)), "and seals the others, too");
    world.pass(Duration::from_millis(100));
    let batches = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let sealed: usize = batches.map(|(_, bytes)| Batch::decode(bytes.clone()).unwrap().rows().len()).sum();
    assert_eq!(sealed, 5);
}

#[test]
fn a_row_for_which_nobody_is_connected_is_let_go_in_the_end() {
    let mut world = of_seven(&[1]);
    let rows = [submission(&world, 3, 1..2)];
    bring(&mut world, &rows);
    world.pass(WAIT * 4 - Duration::from_millis(1));
    assert_eq!(counts(&world), (0, 1));
    world.pass(Duration::from_millis(2));
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![], (0, 0)));
    assert_eq!(world.node.progress().rows_let_go, 1);
}

#[test]
fn a_held_row_is_left_off_as_soon_as_it_is_executed() {
    let mut world = World::new(Policy::Quorum);
    let rows = rows(&world.genesis, 2, 1..4, None);
    bring(&mut world, &[Submission::pack(columns(&rows)).unwrap()]);
    assert_eq!((handed_on(&mut world), counts(&world)), (vec![(1, 3)], (0, 3)));
    let batch = world.batch(1, 1, &rows);
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
    world.rounds(8);
    assert_eq!((world.settled_ok(), counts(&world)), (3, (0, 0)));
    handed_on(&mut world);
    world.pass(WAIT * 2);
    assert!(handed_on(&mut world).is_empty());
}

#[test]
fn what_is_handed_on_is_sealed_here_and_never_handed_on_again() {
    let mut world = World::new(Policy::Quorum);
    // Homes at seats 0 and 3, at 1, and at 2.
    for account in [1, 4, 2, 3] {
        let rows = submission(&world, account, 1..2);
        world.receive(2, Message::Rows(rows.clone()));
        world.receive(1, Message::Rows(rows));
    }
    assert_eq!(counts(&world), (1, 1), "the row of rank 1 may be sealed already by its home");
    assert!(handed_on(&mut world).is_empty() && world.misbehaved.is_empty());
    world.pass(WAIT / u32::from(HOME_OFFERS) * u32::from(HOME_GRACE_STEPS) + Duration::from_millis(60));
    assert_eq!(counts(&world), (0, 0));
    let batches = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let sealed: Vec<_> = batches.map(|(_, bytes)| Batch::decode(bytes.clone()).unwrap()).collect();
    assert_eq!(sealed.iter().map(|batch| batch.rows().len()).sum::<usize>(), 2, "each once");
}

#[test]
fn who_hands_on_a_forged_row_has_misbehaved_and_is_not_heard_for_a_while() {
    let mut world = World::new(Policy::Quorum);
    let forged = rows(&world.genesis, 1, 1..3, Some(2));
    let forged = Submission::pack(columns(&forged)).unwrap();
    world.receive(2, Message::Rows(forged.clone()));
    assert_eq!(world.misbehaved, [(Seat(2), "handed on a row whose signature is bad")]);
    assert_eq!(counts(&world), (1, 0), "the good row beside it is good");
    assert!(world.node.court.proofs().next().is_none(), "it proves nothing to others");
    world.receive(2, Message::Rows(forged.clone()));
    let good = submission(&world, mine(2), 1..3);
    world.receive(2, Message::Rows(good.clone()));
    assert_eq!((counts(&world), world.misbehaved.len()), ((1, 0), 1));
    world.receive(3, Message::Rows(good));
    assert_eq!(counts(&world), (3, 0), "of another it is taken");
    world.now = world.now + DEAF_FOR;
    world.receive(2, Message::Rows(forged));
    assert_eq!(world.misbehaved.len(), 2);
}

#[test]
fn what_one_validator_has_unchecked_is_bounded_and_checked_together() {
    let mut world = World::new(Policy::Quorum);
    let rows = submission(&world, mine(1), 1..65);
    let count = rows.rows().len();
    let mut jobs = Vec::new();
    let mut handle = |node: &mut Node, input: Input| {
        node.handle(world.now, input);
        while let Some(output) = node.poll() {
            if let Output::Job(job @ Job::TakeOver { .. }) = output {
                jobs.push(job);
            }
        }
        std::mem::take(&mut jobs)
    };
    let receive = |from: u16| Input::Received { from: Seat(from), message: Message::Rows(rows.clone()) };
    let node = &mut world.node;
    let first = handle(node, receive(2)).pop().expect("at once");
    for _ in 0..2 * HANDED_ROWS_MAX / count {
        assert!(handle(node, receive(2)).is_empty());
    }
    assert_eq!(node.holdings().handed_rows, HANDED_ROWS_MAX / count * count);
    assert_eq!(handle(node, receive(3)).len(), 1, "another has its own");
    let mut second = handle(node, Input::Done(first.run(&world.shared)));
    let Some(Job::TakeOver { from: Seat(2), submissions }) = second.first() else { panic!("{second:?}") };
    assert_eq!(submissions.len(), HANDED_ROWS_MAX / count - 1, "all that waited");
    let Done::TakenOver(taken) = second.remove(0).run(&world.shared) else { panic!("another job") };
    assert_eq!((taken.admitted, taken.checked), (0, 0));
}

#[test]
fn guests_and_chains_of_blobs_are_not_handed_rows_and_observers_take_none() {
    let mut world = World::new(Policy::Quorum);
    let rows = submission(&world, 1, 1..3);
    world.handle(Input::GuestCame(Seat::guest(3)));
    world.receive(Seat::guest(3).0, Message::Rows(rows.clone()));
    assert_eq!(counts(&world), (0, 0), "a guest may only ask");
    let mut observer = World::observing();
    observer.receive(1, Message::Rows(rows.clone()));
    observer.receive(Seat::guest(3).0, Message::Rows(rows.clone()));
    assert_eq!(counts(&observer), (0, 0));
    let mut blobs = World::with(|genesis| genesis.rules.content = crate::types::Content::Opaque);
    blobs.receive(1, Message::Rows(rows));
    assert_eq!(blobs.misbehaved, [(Seat(1), "handed on rows in a chain of blobs")]);
}

#[test]
fn a_client_that_repeats_itself_costs_one_check_and_hears_why() {
    let mut world = World::new(Policy::Quorum);
    let rows = [submission(&world, 2, 1..3)];
    bring(&mut world, &rows);
    let again = ingress::admit(&world.shared, &rows);
    assert_eq!((again[0].checked, again[0].refused[0].1), (0, Refusal::Duplicate));
}

#[test]
fn rows_of_anothers_batch_that_are_handed_on_are_not_sealed_once_more() {
    // Account 4 has its home at seat 3; seat 2 hands the rows of its batch on to the next in rank.
    let mut world = World::new(Policy::Quorum);
    let rows = rows(&world.genesis, 4, 1..4, None);
    let batch = world.batch(3, 1, &rows);
    world.receive(3, Message::Batch(batch.clone()));
    world.receive(2, Message::Rows(Submission::pack(columns(&rows)).unwrap()));
    assert_eq!(counts(&world), (0, 3));
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
    world.rounds(8);
    assert_eq!((world.settled_ok(), counts(&world)), (3, (0, 0)));
    world.pass(WAIT);
    let own = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let own = own.filter(|(_, bytes)| Batch::decode(bytes.clone()).unwrap().header.author == Seat(0));
    assert_eq!(own.count(), 0);
}

#[test]
fn what_no_balance_covers_costs_no_check_however_much_of_it_is_handed_on() {
    let mut world = World::with(|genesis| genesis.accounts[0].balance = 7);
    // Each by itself is paid for, two are not: 5 and a fee of 1.
    let rows = submission(&world, 1, 1..31);
    let taken = ingress::take_over(&world.shared, Seat(2), std::slice::from_ref(&rows));
    assert_eq!((taken.checked, taken.admitted, taken.fault), (7, 7, None), "as far as fees are covered");
    let again = ingress::take_over(&world.shared, Seat(2), &[rows]);
    assert_eq!((again.checked, again.admitted), (0, 0));
    world.handle(Input::Rows);
}

#[test]
fn seats_of_the_turn_before_still_take_what_is_under_way_to_them_and_no_longer() {
    let world = World::new(Policy::Quorum);
    // Account 1 has its home at seat 0, then at 1, 2 and 3: of seat 0 the ranks are 0, 3, 2 and 1.
    let account = AccountNumber(1);
    for (height, seals) in [
        (HOME_TURN - 1, true),
        (HOME_TURN, true),
        (HOME_TURN + HOME_TURN_GRACE, false),
        (3 * HOME_TURN, true),
    ] {
        world.shared.tell_executed(Height(height));
        assert_eq!(world.shared.seals(account), seals, "{height}");
    }
}
