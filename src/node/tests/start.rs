//! Starts: nothing is signed before others have told what they know, and a validator that forgot comes back above all that
//! it may have signed.

use super::*;
use crate::store::guard::GUARD_BYTES;

/// The highest round that was signed in all lives.
fn signed(world: &World) -> Round {
    world.own.iter().map(|v| v.vertex.round).max().unwrap_or_default()
}

fn frontier(own: u64, others: u64) -> Message {
    knows_from(0, own, others)
}

/// The frontier of one that began at a round.
fn knows_from(began: u64, own: u64, others: u64) -> Message {
    let rounds = [own, others, others, others].map(Round).to_vec();
    Message::Frontier { began: Round(began), rounds }
}

/// A world after some rounds and batches.
fn lived() -> World {
    let mut world = World::new(Policy::Quorum);
    for step in 1..5 {
        world.seal(mine(step), 1..3);
        world.rounds(3);
    }
    assert!(signed(&world).0 >= 12 && world.node.guard().sequence.0 == 4);
    world
}

/// The same node after its disk was harmed; nobody has answered yet.
fn restarted(mut world: World, harm: impl FnOnce(&mut Disk)) -> World {
    harm(&mut world.disk);
    let opened = World::open(world.genesis.clone(), world.disk.clone(), world.now);
    World { own: world.own, last: world.last, made: world.made, ..opened }
}

/// The others push what they have: all that they made, and all that they were sent.
fn push_all(world: &mut World) {
    let mut all: Vec<_> = world.made.iter().chain(&world.own).cloned().collect();
    all.sort_by_key(|vertex| vertex.vertex.round);
    for vertex in all {
        world.receive(1, Message::Vertex(vertex));
    }
    world.pass(DELAY);
}

/// It comes back above `least`, and with a batch above all that it had sealed.
fn assert_returns(world: &mut World, least: Round, before: usize) {
    world.rounds(12);
    let first = world.own.get(before).expect("it comes back").vertex.round;
    assert!(first >= least, "in round {first} instead of {least} or later");
    let sealed = world.seal(mine(8), 1..3);
    assert!(sealed.sequence.0 > 16, "{sealed:?}");
    assert!(!world.node.guard().lost);
    let rounds: std::collections::BTreeSet<Round> = world.own.iter().map(|v| v.vertex.round).collect();
    assert_eq!(rounds.len(), world.own.len(), "one vertex per round");
}

#[test]
fn nothing_is_signed_before_two_of_three_others_have_answered() {
    let mut world = lived();
    world.disk.dead = true;
    let mut world = restarted(world, |_| ());
    let before = world.own.len();
    let (own, last) = (signed(&world).0, world.last[0].round.0);
    let rows = rows(&world.genesis, 8, 1..3, None);
    ingress::admit(&world.shared, &[Submission::pack(columns(&rows)).unwrap()]);
    world.handle(Input::Rows);
    world.round(&[]);
    world.pass(DELAY * 9);
    assert_eq!((world.own.len(), world.node.guard().sequence.0), (before, 4), "nobody has answered");
    let asked = |world: &World| world.sent.iter().filter(|(_, m)| *m == Message::WantFrontier).count();
    assert!(asked(&world) >= 9, "all three are asked again and again: {}", asked(&world));
    // Twice the same is one, and who claims to know more without showing it is none.
    world.receive(1, frontier(own, last));
    world.receive(1, frontier(own, last));
    world.receive(2, frontier(own + 1, last));
    world.pass(DELAY * 9);
    assert_eq!(world.own.len(), before);
    world.receive(3, frontier(own - 1, last));
    world.pass(DELAY * 9);
    assert!(world.own.len() > before, "two have answered");
    assert_eq!(world.own[before].vertex.round.0, own + 1, "it goes on after the guard");
    let asked_before = asked(&world);
    world.pass(DELAY * 9);
    assert_eq!(asked(&world), asked_before, "nobody is asked any more");
}

#[test]
fn a_guard_of_yesterday_is_noticed_by_what_the_others_show() {
    let mut world = World::new(Policy::Quorum);
    world.seal(1, 1..3);
    world.rounds(3);
    let (records, guard) = (world.disk.log.len(), world.disk.guard.clone());
    for step in 2..5 {
        world.seal(mine(step), 1..3);
        world.rounds(3);
    }
    for with_log in [false, true] {
        let copy = World { disk: world.disk.clone(), own: world.own.clone(), ..World::new(Policy::Quorum) };
        let copy = World { last: world.last.clone(), made: world.made.clone(), now: world.now, ..copy };
        let mut old = restarted(copy, |disk| {
            disk.guard.clone_from(&guard);
            if with_log {
                disk.log.truncate(records);
            }
        });
        let (before, own, last) = (old.own.len(), signed(&old), old.last[0].round);
        (1..4).for_each(|seat| old.receive(seat, frontier(own.0, last.0)));
        if with_log {
            assert!(!old.node.guard().lost, "words prove nothing");
            old.pass(DELAY * 9);
            assert_eq!(old.own.len(), before, "but count for nothing either");
            push_all(&mut old);
            assert!(old.node.guard().lost);
            assert_returns(&mut old, Round(last.0 + 2), before);
        } else {
            // The log knows as much as anybody.
            old.rounds(4);
            assert_eq!(old.own[before].vertex.round, own.next());
        }
    }
}

#[test]
fn without_a_guard_or_a_directory_it_returns_two_rounds_above_what_others_prove() {
    let no_guard: fn(&mut Disk) = |disk| disk.guard = vec![0; GUARD_BYTES];
    let nothing: fn(&mut Disk) = |disk| *disk = Disk::new(crate::types::ChainId(disk.chain));
    for (harm, story) in [(no_guard, "no guard"), (nothing, "no directory")] {
        let mut world = restarted(lived(), harm);
        let (before, own, last) = (world.own.len(), signed(&world), world.last[0].round);
        (1..4).for_each(|seat| world.receive(seat, frontier(own.0, last.0)));
        world.pass(DELAY * 9);
        assert_eq!(world.own.len(), before, "{story}: words prove nothing");
        push_all(&mut world);
        assert!(world.node.guard().lost, "{story}");
        assert_eq!(world.own.len(), before, "{story}: the order has not passed it");
        assert_returns(&mut world, Round(last.0 + 2), before);
    }
}

#[test]
fn a_lost_validator_that_crashes_again_is_still_lost() {
    let mut world = restarted(lived(), |disk| *disk = Disk::new(crate::types::ChainId(disk.chain)));
    let (before, last) = (world.own.len(), world.last[0].round);
    push_all(&mut world);
    let GuardState::Intact(guard) = world.disk.open() else { panic!("it was written") };
    assert!(guard.lost && guard.round == signed(&world), "{guard:?}");
    // What was given back stands in the log now. Others who know nothing beyond do not make it a memory.
    let mut world = restarted(world, |_| ());
    let own = signed(&world).0;
    (1..4).for_each(|seat| world.receive(seat, frontier(own, last.0)));
    world.pass(DELAY * 9);
    assert_eq!(world.own.len(), before);
    assert_returns(&mut world, Round(last.0 + 2), before);
}

#[test]
fn who_hears_a_newer_vertex_of_its_own_name_stops_signing() {
    let mut world = lived();
    let (own, last) = (signed(&world), world.last.clone());
    let elsewhere = world.vertex((own.0 + 5, 0), &last, &[], 1);
    let forged = Arc::new(SignedVertex { signature: [7; 64], ..(*elsewhere).clone() });
    world.receive(2, Message::Vertex(forged));
    assert!(!world.node.guard().lost, "a forged one is nothing");
    world.receive(2, Message::Vertex(elsewhere));
    assert!(world.node.guard().lost);
    let before = world.own.len();
    world.rounds(3);
    assert_eq!(world.own.len(), before);
}

#[test]
fn a_first_start_signs_round_one_and_a_late_one_is_lost_until_it_knows() {
    let mut late = World::new(Policy::Quorum);
    assert!(late.node.guard().round.0 <= 1);
    late.pass(DELAY * 9);
    assert_eq!(signed(&late), Round(1));
    let genesis = late.genesis.clone();
    let disk = Disk::new(chain_id(&genesis));
    let mut late = World::open(genesis, disk, Time(1_000_000));
    (1..4).for_each(|seat| late.receive(seat, frontier(0, 3)));
    late.rounds(3);
    assert!(late.own.is_empty() && late.node.guard().lost);
    late.rounds(8);
    assert!(late.own[0].vertex.round.0 >= 5);
}

#[test]
fn who_began_above_the_guard_knows_of_no_forgotten_vertex_but_cannot_vouch_below_either() {
    let mut world = restarted(lived(), |_| ());
    let (before, own, last) = (world.own.len(), signed(&world).0, world.last[0].round.0);
    world.receive(1, frontier(own, last));
    world.receive(2, frontier(own + 1, last));
    world.receive(3, knows_from(last + 9, last + 9, last + 9));
    world.pass(DELAY * 9);
    assert_eq!(world.own.len(), before, "the order is not there yet, and the second one remembers a vertex");
    world.rounds(12);
    let first = world.own.get(before).expect("the order has passed it").vertex.round.0;
    assert!(first > last + 9, "signed in round {first}, of which one of two cannot know");
    assert!(!world.node.guard().lost);
    let sealed = world.seal(mine(8), 1..3);
    assert!(sealed.sequence.0 > 16, "{sealed:?}");
}

/// Rounds in which all four name each other, until it seals the rows of an account, and some more.
fn seals(world: &mut World, from: u32) -> Batch {
    let rows = rows(&world.genesis, from, 1..3, None);
    ingress::admit(&world.shared, &[Submission::pack(columns(&rows)).unwrap()]);
    world.handle(Input::Rows);
    let of = |(kind, bytes): &(RecordKind, Bytes)| {
        let batch = (*kind == RecordKind::Batch).then(|| Batch::decode(bytes.clone()).unwrap())?;
        (batch.header.author == Seat(0) && batch.rows().effects[0].from.get() == from).then_some(batch)
    };
    for _ in 0..20 {
        world.round_together(&[]);
        world.pass(DELAY * 2);
        if let Some(batch) = world.disk.log.iter().find_map(of) {
            return batch;
        }
    }
    panic!("it seals nothing: {:?}", world.node.progress());
}

/// It lost its disk, and the others push what they have.
fn loses_all(world: World) -> World {
    let mut world = restarted(world, |disk| *disk = Disk::new(crate::types::ChainId(disk.chain)));
    let last = world.last[0].round;
    assert_eq!(world.node.guard().sequence.0, 0);
    (1..4).for_each(|seat| world.receive(seat, frontier(0, last.0)));
    push_all(&mut world);
    world
}

#[test]
fn however_often_the_directory_goes_no_number_that_others_saw_is_used_twice() {
    let mut world = loses_all(lived());
    let mut seen: Vec<Batch> = Vec::new();
    for (life, seat) in [(5, 1), (6, 2), (7, 3)] {
        let batch = seals(&mut world, mine(life));
        // It reaches one peer; who acks it.
        world.pass(DELAY * 2);
        for _ in 0..6 {
            world.round_together(&[]);
            world.pass(DELAY * 2);
        }
        assert!(world.pushes(batch.id).contains(&seat), "the order names it: it may be shown");
        world.round_together(&[(seat, ack(batch.reference(), Verdict::Held))]);
        assert!(!world.node.consensus.settlement().dead(Seat(0), batch.header.sequence));
        seen.push(batch);
        world = loses_all(world);
    }
    seen.push(seals(&mut world, mine(8)));
    let numbers: Vec<u64> = seen.iter().map(|batch| batch.header.sequence.0).collect();
    assert_eq!(numbers, [17, 18, 19, 20], "each loss costs one");
    let mut judge = World::new(Policy::Quorum);
    let headers: Vec<Arc<SignedVertex>> = world.own.clone();
    headers.into_iter().for_each(|vertex| judge.receive(1, Message::Vertex(vertex)));
    for batch in seen {
        judge.receive(1, Message::Batch(batch));
    }
    assert_eq!(judge.node.evidence().count(), 0);
}

#[test]
fn after_a_loss_nobody_sees_a_batch_whose_number_the_order_does_not_name() {
    let mut world = loses_all(lived());
    let batch = {
        world.rounds(12);
        let reference = world.seal(5, 1..3);
        let records = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
        let batch = Batch::decode(records.last().unwrap().1.clone()).unwrap();
        assert_eq!((batch.reference(), reference.sequence.0), (reference, 17));
        batch
    };
    // The others never name what it says: they push, ask, and connect anew.
    world.rounds(9);
    world.receive(2, Message::WantBatches(vec![batch.reference()]));
    world.handle(Input::Disconnected(Seat(3)));
    world.handle(Input::Connected(Seat(3)));
    assert!(world.pushes(batch.id).is_empty());
    assert!(!world.said(batch.id).is_empty(), "its own vertices ack it");
    let another = rows(&world.genesis, mine(6), 1..3, None);
    ingress::admit(&world.shared, &[Submission::pack(columns(&another)).unwrap()]);
    world.handle(Input::Rows);
    // A restart changes nothing about it.
    let (own, last) = (signed(&world).0, world.last[0].round.0);
    let mut world = restarted(world, |_| ());
    (1..4).for_each(|seat| world.receive(seat, frontier(own, last)));
    world.rounds(3);
    assert!(world.own.last().unwrap().vertex.round.0 > own, "it goes on");
    assert!(world.pushes(batch.id).is_empty());
    assert_eq!(world.node.guard().sequence.0, 17, "one at a time");
    // Now they name it.
    for _ in 0..9 {
        world.round_together(&[]);
        world.pass(DELAY * 2);
    }
    let pushed: std::collections::BTreeSet<u16> = world.pushes(batch.id).into_iter().collect();
    assert_eq!(pushed, [1, 2, 3].into());
    world.receive(2, Message::WantBatches(vec![batch.reference()]));
    assert_eq!(world.pushes(batch.id), [2]);
    world.round_together(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
    for _ in 0..6 {
        world.round_together(&[]);
    }
    assert_eq!(world.node.progress().outstanding, 0, "it settles");
    assert_eq!(world.seal(mine(7), 1..3).sequence.0, 18);
}
