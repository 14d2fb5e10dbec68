//! Batches: acked, repeated, pushed again, verified, refused.

use super::*;
use crate::consensus::draw;
use crate::types::params::ACCOUNTS_AHEAD_MAX;
use Verdict::{Held, Valid};

#[test]
fn an_ack_whose_vertex_fell_below_the_floor_is_said_again() {
    let mut world = World::new(Policy::All);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.round(&[]);
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[]);
    world.pass(DELAY * 3);
    let first = world.said(batch.id);
    assert_eq!(first.last().map(|said| said.1), Some(Valid), "{first:?}");
    // The others never name what this node says.
    world.rounds(12);
    let floor = world.node.consensus.dag().floor();
    assert!(first.iter().all(|said| said.0 <= floor), "{first:?} at floor {floor}");
    let again = world.said(batch.id);
    assert!(again.iter().any(|said| said.0 > floor && said.1 == Valid), "{again:?} at floor {floor}");
    // Once it counts, it is not said any more.
    let count = world.said(batch.id).len();
    let acks = [1, 2, 3].map(|by| (by, ack(batch.reference(), Valid)));
    world.round(&acks);
    world.rounds(16);
    assert_eq!(world.settled_ok(), 3);
    assert!(world.said(batch.id).len() <= count + 1, "{:?}", world.said(batch.id));
}

#[test]
fn an_own_batch_is_pushed_again_until_a_quorum_acked_it() {
    let mut world = World::new(Policy::Quorum);
    let batch = world.seal(1, 1..4);
    assert_eq!(world.pushes(batch.id), [1, 2, 3]);
    world.pass(DELAY * 3);
    assert!(world.pushes(batch.id).is_empty(), "not at once");
    world.pass(DELAY * 2);
    assert_eq!(world.pushes(batch.id), [1, 2, 3]);
    world.round(&[(2, ack(batch, Held))]);
    world.pass(DELAY * 5);
    assert_eq!(world.pushes(batch.id), [1, 3], "only to whom has not acked it");
    world.round(&[(1, ack(batch, Held))]);
    world.pass(DELAY * 20);
    assert!(world.pushes(batch.id).is_empty(), "with its author's that is a quorum");
}

#[test]
fn a_peer_that_connects_is_given_what_it_has_not_acked() {
    let mut world = World::new(Policy::Quorum);
    let batch = world.seal(1, 1..4);
    world.round(&[(2, ack(batch, Held))]);
    world.sent.clear();
    for seat in [2, 3] {
        world.handle(Input::Disconnected(Seat(seat)));
        world.handle(Input::Connected(Seat(seat)));
    }
    assert_eq!(world.pushes(batch.id), [3]);
}

/// A batch of seat 1 whose draw puts this node at a place, 1 being the first after the author.
fn batch_of_rank(world: &World, rank: usize) -> Batch {
    let (committee, seed) = (&world.shared.committee, &world.node.draw_seed);
    let sequence = (1..=16)
        .find(|&s| draw(seed, committee, (Seat(1), Sequence(s)), Seat(0)).before.count() == rank)
        .expect("each rank is drawn now and then");
    let nonces = rank as u64 * 8..rank as u64 * 8 + 2;
    world.batch(1, sequence, &rows(&world.genesis, 2, nonces, None))
}

#[test]
fn who_is_not_drawn_verifies_only_what_a_quorum_holds_and_does_not_settle() {
    let mut world = World::new(Policy::Quorum);
    for (rank, delays) in [(1, 0), (2, 8), (3, 16)] {
        let batch = batch_of_rank(&world, rank);
        world.receive(1, Message::Batch(batch.clone()));
        if delays > 0 {
            world.pass(DELAY * 40);
            assert!(!world.verified.contains(&batch.id), "rank {rank}: no quorum holds it");
            world.round(&[1, 2].map(|by| (by, ack(batch.reference(), Held))));
            world.pass(DELAY * delays - DELAY);
            assert!(!world.verified.contains(&batch.id), "rank {rank}: too early");
            world.pass(DELAY * 2);
        }
        assert!(world.verified.contains(&batch.id), "rank {rank}");
    }
    assert_eq!(world.verified.len(), 3, "each once");
}

#[test]
fn widening_waits_for_spare_time_and_ends_when_enough_are_valid() {
    let mut world = World::new(Policy::Quorum);
    let late = batch_of_rank(&world, 2);
    let (first, own) = (batch_of_rank(&world, 3), batch_of_rank(&world, 1));
    world.round(&[]);
    world.receive(1, Message::Batch(late.clone()));
    world.receive(1, Message::Batch(first.clone()));
    world.round(&[1, 2].map(|by| (by, ack(late.reference(), Held))));
    // A check that does not end: the machine is busy.
    let input = Input::Received { from: Seat(1), message: Message::Batch(own.clone()) };
    world.node.handle(world.now, input);
    let mut held_back = Vec::new();
    while let Some(output) = world.node.poll() {
        match output {
            Output::Job(Job::VerifyRows(batch)) => held_back.push(batch),
            Output::Job(job) => {
                let done = job.run(&world.shared);
                world.node.handle(world.now, Input::Done(done));
            }
            Output::Persist(records) => {
                for Append { number, bytes, .. } in records {
                    world.node.handle(world.now, Input::Persisted { number, view: bytes });
                }
            }
            _ => {}
        }
    }
    assert_eq!(held_back.len(), 1);
    world.pass(DELAY * 30);
    assert!(!world.verified.contains(&late.id), "not while checks run, however late it is");
    let done = Job::VerifyRows(held_back.remove(0)).run(&world.shared);
    world.handle(Input::Done(done));
    assert!(world.verified.contains(&late.id), "at once when there is time");
    // Two say that the other one is valid; only the order is missing.
    world.round(&[(1, ack(first.reference(), Valid)), (2, ack(first.reference(), Valid))]);
    world.pass(DELAY * 60);
    assert!(!world.verified.contains(&first.id));
}

#[test]
fn acks_that_the_order_will_never_count_do_not_keep_the_next_from_verifying() {
    let mut world = World::new(Policy::Quorum);
    let batch = batch_of_rank(&world, 2);
    let (committee, seed) = (&world.shared.committee, &world.node.draw_seed);
    let before = draw(seed, committee, (Seat(1), batch.header.sequence), Seat(0)).before;
    let drawn = before.iter().find(|seat| *seat != Seat(1)).expect("two come before").0;
    let third = [2, 3].into_iter().find(|seat| *seat != drawn).unwrap();
    // Before the batch is there, the other drawn one has acked an id of that slot which does not exist.
    let invented = BatchRef { id: BatchId([9; 32]), ..batch.reference() };
    world.round(&[(drawn, ack(invented, Held))]);
    world.rounds(6);
    assert!(world.node.consensus.settlement().counts_another(Seat(drawn), &batch.reference()));
    world.receive(1, Message::Batch(batch.clone()));
    assert!(world.verified.contains(&batch.id), "it is passed over");
    // So it is if the order tells of it only later.
    let batch = batch_of_rank(&world, 3);
    world.receive(1, Message::Batch(batch.clone()));
    let invented = BatchRef { id: BatchId([9; 32]), ..batch.reference() };
    world.round(&[(drawn, ack(invented, Held))]);
    let [valid, held] = [Valid, Held].map(|verdict| ack(batch.reference(), verdict));
    world.round(&[(1, valid), (drawn, valid), (third, held)]);
    let held = world.node.batches.get(&batch.id).unwrap();
    assert_eq!(world.node.valid_or_pending(held), 2, "as far as is known");
    world.rounds(6);
    let held = world.node.batches.get(&batch.id).unwrap();
    assert_eq!(world.node.valid_or_pending(held), 1, "f + 1 say that it is valid, of whom one counts");
    world.pass(DELAY * 40);
    assert!(world.verified.contains(&batch.id));
}

#[test]
fn an_ack_in_a_vertex_that_no_leader_can_output_any_more_does_not_keep_the_next_from_verifying() {
    let mut world = World::new(Policy::Quorum);
    let batch = batch_of_rank(&world, 3);
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), if by == 3 { Held } else { Valid }))));
    let held = world.node.batches.get(&batch.id).unwrap();
    assert_eq!(world.node.valid_or_pending(held), 2, "the order is to come");
    // As if nobody had named the vertex of seat 2 until now: leaders output what is less than a depth below them.
    let depth = world.shared.rules.depth;
    let said = held.valid_by[&Seat(2)];
    world.node.chain.last_round = Round(said.0 + depth - 1);
    assert_eq!(world.node.valid_or_pending(world.node.batches.get(&batch.id).unwrap()), 2);
    world.node.chain.last_round = Round(said.0 + depth);
    assert_eq!(world.node.valid_or_pending(world.node.batches.get(&batch.id).unwrap()), 0);
}

#[test]
fn seats_that_are_silent_for_long_are_passed_over() {
    let mut world = World::new(Policy::Quorum);
    let batch = batch_of_rank(&world, 2);
    let slot = (Seat(1), batch.header.sequence);
    let before = draw(&world.node.draw_seed, &world.shared.committee, slot, Seat(0)).before;
    let silent = before.iter().find(|seat| *seat != Seat(1)).expect("one other comes before");
    let others: Vec<u16> = (1..4).filter(|&seat| Seat(seat) != silent).collect();
    for round in 1..12 {
        let mut parents = world.last.clone();
        parents.extend(world.own.last().filter(|_| round > 1).map(|v| v.reference()));
        parents.sort_by_key(|p| p.author);
        let made: Vec<_> = others.iter().map(|&a| world.vertex((round, a), &parents, &[], round)).collect();
        world.last = made.iter().map(|v| v.reference()).collect();
        for v in made {
            world.receive(v.vertex.author.0, Message::Vertex(v));
        }
        world.pass(DELAY * 3);
    }
    assert!(world.node.consensus.dag().highest() >= Round(10));
    world.receive(1, Message::Batch(batch.clone()));
    assert!(world.verified.contains(&batch.id), "{silent:?} would never do it");
}

#[test]
fn an_author_that_lost_its_records_goes_on_above_the_window_and_gets_its_batch_back() {
    let mut world = World::new(Policy::Quorum);
    // Sealed in an earlier life of which nothing is left.
    let slot = (world.shared.committee.epoch, Seat(0), Sequence(3));
    let taken = rows(&world.genesis, 2, 1..4, None);
    let lost = seal(&seat_key(0), &world.shared.chain, slot, ACCOUNTS + 1, columns(&taken));
    world.receive(2, Message::Batch(lost.clone()));
    assert!(world.node.batches.get(&lost.id).is_none(), "nobody asked for it");
    world.round(&[1, 2].map(|by| (by, ack(lost.reference(), Held))));
    world.pass(DELAY * 6);
    let asked = |world: &World| {
        let wants = |m: &Message| matches!(m, Message::WantBatches(refs) if refs.contains(&lost.reference()));
        world.sent.iter().any(|(_, m)| wants(m))
    };
    assert!(asked(&world));
    let window = world.shared.rules.window;
    let next = world.seal(1, 1..4);
    assert_eq!(next.sequence, Sequence(window + 1), "above all that may be used, and still counted");
    world.receive(2, Message::Batch(lost.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(lost.reference(), Valid))));
    world.round(&[1, 2, 3].map(|by| (by, ack(next, Valid))));
    world.rounds(8);
    assert_eq!(world.settled_ok(), 6, "both settle, and the chain does not wait for the bytes");
    assert_eq!(world.node.progress().outstanding, 0);
    assert_eq!(world.seal(mine(3), 1..2).sequence, Sequence(window + 2));
}

#[test]
fn a_forged_row_is_called_invalid_and_never_valid() {
    let mut world = World::new(Policy::All);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, Some(2)));
    world.round(&[]);
    world.receive(1, Message::Batch(batch.clone()));
    world.pass(DELAY * 3);
    world.round(&[]);
    world.pass(DELAY * 3);
    let said = world.said(batch.id);
    assert_eq!(said.last().map(|s| s.1), Some(Verdict::Invalid), "{said:?}");
    assert!(said.iter().all(|s| s.1 != Valid));
    assert_eq!(world.node.evidence().map(|proof| proof.accused()).collect::<Vec<_>>(), [Seat(1)]);
    assert_eq!(world.misbehaved, [], "who sent it may have been deceived itself");
}

#[test]
fn a_second_batch_on_one_slot_is_not_acked_but_executed_if_it_settles() {
    let mut world = World::new(Policy::Quorum);
    let first = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    let second = world.batch(1, 1, &rows(&world.genesis, 2, 1..6, None));
    world.round(&[]);
    world.receive(1, Message::Batch(first.clone()));
    world.round(&[]);
    world.receive(1, Message::Batch(second.clone()));
    world.pass(DELAY * 3);
    assert!(world.node.batches.get(&second.id).is_none(), "not even taken");
    world.sent.clear();
    world.round(&[1, 2, 3].map(|by| (by, ack(second.reference(), Valid))));
    world.pass(DELAY * 6);
    let wanted = world
        .sent
        .iter()
        .any(|(_, m)| matches!(m, Message::WantBatches(wanted) if wanted.contains(&second.reference())));
    assert!(wanted, "what f + 1 others hold is fetched");
    world.receive(2, Message::Batch(second.clone()));
    world.rounds(8);
    assert_eq!(world.settled_ok(), 5);
    assert!(!world.said(first.id).is_empty() && world.said(second.id).is_empty());
    // The first one goes when its slot is far behind.
    assert!(world.node.batches.get(&first.id).is_some());
    for sequence in 2..=18u64 {
        let nonce = 4 + sequence;
        let batch = world.batch(1, sequence, &rows(&world.genesis, 2, nonce..nonce + 1, None));
        world.receive(1, Message::Batch(batch.clone()));
        world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Valid))));
    }
    world.rounds(6);
    assert!(world.node.batches.get(&first.id).is_none());
    assert_eq!(world.node.batches.unsettled().count(), 0);
}

#[test]
fn malformed_batches_are_refused_and_leave_the_slot_free() {
    let mut world = World::new(Policy::Quorum);
    let good = rows(&world.genesis, 2, 1..4, None);
    let mut nothing = good.clone();
    nothing.effects[1].amount = 0.into();
    let mut unknown = good.clone();
    unknown.effects[2].to = (ACCOUNTS + 1).into();
    let mut malformed = vec![world.batch(1, 1, &nothing), world.batch(1, 1, &unknown)];
    let batch = world.batch(1, 1, &good);
    for byte in [batch.bytes().len() - 1, crate::types::params::BATCH_HEADER_BYTES - 1] {
        // A column that does not match its root; a header signature that does not hold. Both have the good id.
        let mut bytes = batch.bytes().to_vec();
        bytes[byte] ^= 1;
        malformed.push(Batch::decode(bytes.into()).unwrap());
    }
    for bad in malformed {
        world.misbehaved.clear();
        world.receive(3, Message::Batch(bad));
        assert_eq!(world.misbehaved.len(), 1);
        assert_eq!(world.misbehaved[0].0, Seat(3));
    }
    world.round(&[]);
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[]);
    world.pass(DELAY * 3);
    assert!(!world.said(batch.id).is_empty());
    assert_eq!(world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch).count(), 1);
}

#[test]
fn a_broken_copy_of_a_batch_does_not_keep_out_the_good_one() {
    let mut world = World::new(Policy::Quorum);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    let mut bytes = batch.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let broken = Batch::decode(bytes.into()).unwrap();
    assert_eq!(broken.id, batch.id);
    // Both are being checked at one time.
    for (from, message) in [(3, broken), (1, batch.clone())] {
        let input = Input::Received { from: Seat(from), message: Message::Batch(message) };
        world.node.handle(world.now, input);
    }
    world.work();
    assert!(world.node.batches.get(&batch.id).is_some());
    assert_eq!(world.misbehaved.len(), 1);
}

#[test]
fn a_batch_from_the_log_is_not_asked_for() {
    let mut world = World::new(Policy::Quorum);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    // The acks come first, then the bytes: in the log too.
    world.round(&[2, 3].map(|by| (by, ack(batch.reference(), Held))));
    world.receive(1, Message::Batch(batch.clone()));
    let mut world = world.reopen();
    world.pass(DELAY * 30);
    assert!(!world.sent.iter().any(|(_, m)| matches!(m, Message::WantBatches(_))));
}

#[test]
fn a_liar_who_acks_what_nobody_has_hides_nothing() {
    let mut world = World::new(Policy::Quorum);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    for id in 0..9u8 {
        let nothing = BatchRef { id: BatchId([id; 32]), ..batch.reference() };
        world.round(&[(3, ack(nothing, Held))]);
    }
    world.sent.clear();
    world.round(&[1, 2].map(|by| (by, ack(batch.reference(), Held))));
    world.pass(DELAY * 6);
    let wanted: Vec<&BatchRef> = world
        .sent
        .iter()
        .filter_map(|(_, m)| if let Message::WantBatches(wanted) = m { Some(wanted) } else { None })
        .flatten()
        .collect();
    assert!(!wanted.is_empty() && wanted.iter().all(|w| **w == batch.reference()), "{wanted:?}");
}

#[test]
fn a_batch_that_names_accounts_which_are_not_executed_here_is_held_and_verified_later() {
    let mut world = World::new(Policy::All);
    let slot = (world.shared.committee.epoch, Seat(1), Sequence(1));
    let taken = rows(&world.genesis, 2, 1..4, None);
    let early = seal(&seat_key(1), &world.shared.chain, slot, ACCOUNTS + 2, columns(&taken));
    world.round(&[]);
    world.receive(1, Message::Batch(early.clone()));
    world.round(&[]);
    world.pass(DELAY * 3);
    assert_eq!(world.said(early.id).last().map(|said| said.1), Some(Held));
    assert!(!world.verified.contains(&early.id));
    // The account opens.
    let key = public_key(&account_key(77));
    let effect = Effect::open(3, 50, 1, world.shared.rules.fee_open);
    let digest = transaction_digest(&world.shared.chain, &effect, &public_key(&account_key(3)), &key);
    let witness = Witness(sign(&account_key(3), &digest));
    let opening = Taken { effects: vec![effect], keys: vec![key], witnesses: vec![witness] };
    let opening = world.batch(2, 1, &opening);
    world.receive(2, Message::Batch(opening.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(opening.reference(), Valid))));
    world.rounds(8);
    assert_eq!((world.settled_ok(), world.shared.ledger.len()), (1, ACCOUNTS + 2));
    assert!(world.verified.contains(&early.id));
    assert_eq!(world.said(early.id).last().map(|said| said.1), Some(Valid));
}

/// A node of which the others have settled batches, one of seat 1 after the other, and that has none of them.
fn without_bytes(count: u64) -> (World, Vec<Batch>) {
    let mut world = World::new(Policy::Quorum);
    let batch = |sequence: u64| {
        let (account, nonce) = (2 + (sequence % 7) as u32, sequence / 7 + 1);
        world.batch(1, sequence, &rows(&world.genesis, account, nonce..nonce + 1, None))
    };
    let batches: Vec<Batch> = (1..=count).map(batch).collect();
    for _ in 0..count {
        let settled = world.node.consensus.settlement().highest(Seat(1)).0 as usize;
        let open = batches.iter().skip(settled).take(16);
        let acks: Vec<_> = open.flat_map(|b| [1, 2, 3].map(|by| (by, ack(b.reference(), Valid)))).collect();
        world.round(&acks);
        world.rounds(2);
    }
    assert_eq!(world.node.consensus.settlement().highest(Seat(1)).0, count);
    assert!(world.settled_ok() == 0 && world.node.progress().waiting_blocks > 0);
    (world, batches)
}

#[test]
fn settled_batches_are_asked_for_however_many_are_absent() {
    for restarts in [false, true] {
        let (mut world, batches) = without_bytes(600);
        if restarts {
            world = world.reopen();
        }
        for _ in 0..100 {
            world.pass(DELAY * 2);
            let sent = std::mem::take(&mut world.sent);
            let wanted = sent.iter().filter_map(|(_, message)| match message {
                Message::WantBatches(wanted) => Some(wanted),
                _ => None,
            });
            let wanted: std::collections::BTreeSet<BatchId> =
                wanted.flatten().map(|batch| batch.id).collect();
            for batch in batches.iter().filter(|batch| wanted.contains(&batch.id)) {
                world.receive(1, Message::Batch(batch.clone()));
            }
        }
        assert_eq!((world.node.progress().waiting_blocks, world.settled_ok()), (0, 600), "{restarts}");
    }
}

#[test]
fn what_a_convicted_validator_was_drawn_to_verify_is_verified_by_others() {
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    // Drawn are the author, seat 1, and one of two others, before this node.
    let batch = batch_of_rank(&world, 2);
    let (committee, seed) = (&world.shared.committee, &world.node.draw_seed);
    let before = draw(seed, committee, (Seat(1), batch.header.sequence), Seat(0)).before;
    let drawn = before.iter().find(|seat| *seat != Seat(1)).unwrap();
    world.receive(1, Message::Batch(batch.clone()));
    // It says that the batch is valid, and then shows a second face: its vertices are named by nobody any more.
    world.round(&[(1, ack(batch.reference(), Valid)), (drawn.0, ack(batch.reference(), Valid))]);
    world.pass(DELAY * 20);
    assert_eq!(world.verified, [], "enough have");
    world.receive(drawn.0, Message::Vertex(world.vertex((1, drawn.0), &[], &[], 99)));
    world.pass(DELAY * 20);
    assert_eq!(world.verified, [batch.id]);
    // The next one is not left to it in the first place.
    let next = (batch.header.sequence.0 + 1..=32)
        .find(|&s| {
            let slot = (Seat(1), Sequence(s));
            draw(&world.node.draw_seed, &world.shared.committee, slot, Seat(0)).before == before
        })
        .expect("drawn again");
    let next = world.batch(1, next, &rows(&world.genesis, 3, 1..3, None));
    world.receive(1, Message::Batch(next.clone()));
    assert_eq!(world.verified, [batch.id, next.id]);
}

#[test]
fn what_names_far_more_accounts_than_there_are_is_acked_only_when_others_hold_it() {
    let mut world = World::new(Policy::All);
    let most = world.shared.ledger.len() + ACCOUNTS_AHEAD_MAX;
    let [near, far] = [(1, most), (2, most + 1)].map(|(author, accounts)| {
        let slot = (world.shared.committee.epoch, Seat(author), Sequence(1));
        let rows = rows(&world.genesis, 2, 1..3, None);
        seal(&seat_key(author), &world.shared.chain, slot, accounts, columns(&rows))
    });
    world.round(&[]);
    world.receive(1, Message::Batch(near.clone()));
    world.receive(2, Message::Batch(far.clone()));
    world.rounds(2);
    let verdicts = |world: &World, id| -> Vec<Verdict> { world.said(id).iter().map(|said| said.1).collect() };
    assert_eq!((verdicts(&world, near.id), verdicts(&world, far.id)), (vec![Held], vec![]));
    assert_eq!((world.node.batches.has(&far.id), &world.misbehaved[..]), (false, &[][..]));
    // One honest validator is further ahead: what f + 1 hold is fetched and held, and verified by whoever can.
    world.round(&[1, 2].map(|by| (by, ack(far.reference(), Held))));
    world.pass(DELAY * 6);
    world.receive(2, Message::Batch(far.clone()));
    world.rounds(2);
    assert_eq!(verdicts(&world, far.id), [Held]);
    assert_eq!(world.verified, []);
}

#[test]
fn rows_that_came_back_and_name_accounts_that_are_not_executed_here_are_not_sealed() {
    let mut world = World::new(Policy::Quorum);
    // As of a batch that was sealed in an earlier life, when more was executed.
    let good = rows(&world.genesis, 1, 1..2, None);
    let mut back = rows(&world.genesis, 1, 2..3, None);
    back.effects[0].to = (ACCOUNTS + 3).into();
    for taken in [&back, &good] {
        assert_eq!(world.shared.mempool.put_back(columns(taken)), 0);
    }
    world.handle(Input::Rows);
    world.rounds(4);
    let sealed: Vec<Batch> = world
        .disk
        .log
        .iter()
        .filter(|(kind, _)| *kind == RecordKind::Batch)
        .map(|(_, bytes)| Batch::decode(bytes.clone()).unwrap())
        .filter(|batch| batch.header.author == Seat(0))
        .collect();
    let [batch] = &sealed[..] else { panic!("one batch: {sealed:?}") };
    assert_eq!(batch.rows().effects, &good.effects[..]);
    assert_eq!(batch.rows().check(&world.genesis.rules, batch.header.accounts), Ok(()), "others take it");
}
