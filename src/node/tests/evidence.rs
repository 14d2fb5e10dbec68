//! Liars: caught, convicted, and no honest seat among them.

use super::*;
use crate::node::evidence::{EvidenceError, check};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{BlockHash, Epoch, Height, Part};
use crate::wire::{Accusation, Evidence, SignedHeader, sign_checkpoint};

pub(super) fn convicted(world: &World) -> Vec<(u16, &'static str)> {
    world.node.evidence().map(|evidence| (evidence.accused().0, evidence.words())).collect()
}

/// The machine died after the lie was on disk and before the verdict was: it judges at the next start.
pub(super) fn assert_judged_again(mut world: World) {
    let before = convicted(&world);
    assert_eq!(before.len(), 1);
    let proofs =
        |world: &World| world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Evidence).count();
    assert_eq!(proofs(&world), 1);
    world.disk.log.retain(|(kind, _)| *kind != RecordKind::Evidence);
    let world = world.reopen();
    assert_eq!((convicted(&world), proofs(&world)), (before.clone(), 1));
    assert_eq!(told(&world)[..3], [Seat(1), Seat(2), Seat(3)]);
    // With the verdict on disk there is nothing to judge.
    let world = world.reopen();
    assert_eq!((convicted(&world), proofs(&world)), (before, 1));
}

fn told(world: &World) -> Vec<Seat> {
    let told = world.sent.iter().filter(|(_, message)| matches!(message, Message::Evidence(_)));
    told.map(|(to, _)| *to).collect()
}

#[test]
fn two_vertices_of_one_round_convict_their_author_for_ever() {
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let first = world.last[1];
    world.sent.clear();
    let twin = world.vertex((1, 2), &[], &[], 99);
    // Whoever shows it: here another peer.
    world.receive(3, Message::Vertex(twin.clone()));
    assert_eq!(convicted(&world), [(2, "two vertices of one round")]);
    assert!(world.node.consensus.dag().get(first).is_some());
    assert!(world.node.consensus.dag().get(twin.reference()).is_none(), "nobody demands it");
    assert_eq!(told(&world), [Seat(1), Seat(2), Seat(3)]);
    assert_eq!(world.misbehaved, []);
    // Once is enough.
    world.receive(3, Message::Vertex(world.vertex((1, 2), &[], &[], 100)));
    assert_eq!(told(&world).len(), 3);
    // Its batches are not acked any more, others' are.
    let lost = world.batch(2, 1, &rows(&world.genesis, 2, 1..3, None));
    let other = world.batch(1, 1, &rows(&world.genesis, 3, 1..3, None));
    for (by, batch) in [(2, &lost), (1, &other)] {
        world.receive(by, Message::Batch(batch.clone()));
    }
    world.rounds(4);
    assert_eq!(world.said(lost.id), []);
    assert!(!world.said(other.id).is_empty());
    // And after a restart, and to who comes late.
    let mut world = world.reopen();
    assert_eq!(convicted(&world), [(2, "two vertices of one round")]);
    world.sent.clear();
    world.handle(Input::Connected(Seat(1)));
    assert_eq!(told(&world), [Seat(1)]);
}

#[test]
fn of_two_vertices_the_first_may_still_wait_for_its_parents() {
    let mut world = World::new(Policy::Quorum);
    let parents = [1, 2, 3].map(|author| world.vertex((1, author), &[], &[], 1).reference());
    let twins = [5, 6].map(|time| world.vertex((2, 2), &parents, &[], time));
    world.receive(2, Message::Vertex(twins[0].clone()));
    assert_eq!((world.node.holdings().waiting_vertices, convicted(&world)), (1, vec![]));
    world.receive(3, Message::Vertex(twins[1].clone()));
    assert_eq!(convicted(&world), [(2, "two vertices of one round")]);
    assert!(twins.iter().all(|twin| world.node.consensus.dag().get(twin.reference()).is_none()));
    assert_eq!((told(&world), world.misbehaved.len()), (vec![Seat(1), Seat(2), Seat(3)], 0));
}

#[test]
fn two_batches_of_one_sequence_convict_their_author() {
    let mut world = World::new(Policy::Quorum);
    let one = world.batch(1, 1, &rows(&world.genesis, 2, 1..3, None));
    let other = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(1, Message::Batch(one));
    world.receive(3, Message::Batch(other));
    assert_eq!(convicted(&world), [(1, "two batches of one sequence")]);
    assert_eq!(world.misbehaved, []);
}

#[test]
fn two_votes_for_one_checkpoint_convict_their_author() {
    let mut world = World::new(Policy::Quorum);
    let (chain, height) = (world.shared.chain, Height(world.genesis.rules.checkpoint_blocks));
    let vote = |hash| sign_checkpoint(&seat_key(2), &chain, Epoch(0), height, BlockHash([hash; 32]));
    let mut parents = Vec::new();
    // Said in two vertices, and the second also once more.
    for (round, hash) in [(1, 1), (2, 2), (3, 2)] {
        let made: Vec<_> = (1..4)
            .map(|author| {
                let votes = (author == 2).then(|| Part::Checkpoints(vec![vote(hash)]));
                world.vertex_with((round, author), &parents, votes.into_iter().collect())
            })
            .collect();
        parents = made.iter().map(|vertex| vertex.reference()).collect();
        made.into_iter().for_each(|vertex| world.receive(vertex.vertex.author.0, Message::Vertex(vertex)));
    }
    assert_eq!(convicted(&world), [(2, "two votes for one checkpoint")]);
    assert_eq!((told(&world), world.misbehaved.len()), (vec![Seat(1), Seat(2), Seat(3)], 0));
    for evidence in world.node.evidence() {
        assert_eq!(check(World::new(Policy::Quorum).shared.law(), evidence), Ok(()));
    }
    assert_judged_again(world);
}

#[test]
fn a_second_batch_that_is_only_named_by_an_ack_is_fetched_and_convicts() {
    let mut world = World::new(Policy::Quorum);
    let one = world.batch(1, 1, &rows(&world.genesis, 2, 1..3, None));
    let other = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.round(&[]);
    world.receive(1, Message::Batch(one));
    world.round(&[(3, ack(other.reference(), Verdict::Held))]);
    world.pass(DELAY * 6);
    let asked = world
        .sent
        .iter()
        .find(|(_, m)| matches!(m, Message::WantBatches(wanted) if wanted.contains(&other.reference())));
    assert_eq!(asked.map(|(to, _)| *to), Some(Seat(3)), "who acked it has it");
    world.receive(3, Message::Batch(other));
    assert_eq!(convicted(&world), [(1, "two batches of one sequence")]);
}

#[test]
fn two_batches_of_one_slot_in_the_log_convict_though_no_verdict_stands_there() {
    let mut world = World::new(Policy::Quorum);
    let [first, second] = [4, 6].map(|end| world.batch(1, 1, &rows(&world.genesis, 2, 1..end, None)));
    world.receive(1, Message::Batch(first));
    // What f + 1 others hold is fetched and kept.
    world.round(&[1, 2].map(|by| (by, ack(second.reference(), Verdict::Held))));
    world.pass(DELAY * 6);
    world.receive(2, Message::Batch(second));
    assert_judged_again(world);
}

#[test]
fn a_bad_row_convicts_its_sealer_and_the_accusation_rides_in_the_next_vertex() {
    let mut world = World::new(Policy::All);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..9, Some(5)));
    world.round(&[]);
    world.receive(1, Message::Batch(batch.clone()));
    world.rounds(3);
    assert_eq!(convicted(&world), [(1, "a batch with a bad row")]);
    let accusations: Vec<_> = world.own.iter().filter_map(|vertex| vertex.accusation()).collect();
    assert_eq!(accusations.len(), 1, "said once");
    assert_eq!((accusations[0].header.id, accusations[0].row), (batch.id, 4));
    // Anybody can check it who has the keys, and the accounts of the genesis.
    let stranger = World::new(Policy::All).shared;
    for evidence in world.node.evidence() {
        assert_eq!(check(stranger.law(), evidence), Ok(()));
    }
    // The own vertex is enough, though the batch is gone.
    world.disk.log.retain(|(kind, _)| *kind != RecordKind::Batch);
    assert_judged_again(world);
}

#[test]
fn who_accuses_falsely_is_convicted_and_the_accused_is_not() {
    let mut world = World::new(Policy::Quorum);
    let good = world.batch(1, 1, &rows(&world.genesis, 2, 1..9, None));
    world.round(&[]);
    let accusation = Accusation::new(&good, 3).unwrap().encode();
    let parents = world.last.clone();
    let liar = world.vertex_with((2, 3), &parents, vec![Part::Accusation(accusation)]);
    world.receive(3, Message::Vertex(liar.clone()));
    assert_eq!(convicted(&world), [(3, "a false accusation")]);
    assert_eq!(world.misbehaved, [], "the vertex itself is as good as any");
    assert!(world.node.consensus.dag().get(liar.reference()).is_some());
    assert_judged_again(world);
}

/// A batch of seat 1, signed by a seat, with so many accounts; its rows are as they come.
fn sealed(world: &World, (signer, epoch, author): (u16, u32, u16), accounts: u32, taken: &Taken) -> Batch {
    let slot = (Epoch(epoch), Seat(author), Sequence(1));
    seal(&seat_key(signer), &world.shared.chain, slot, accounts, columns(taken))
}

/// Accusations against seat 1, or a seat that does not exist, and what a check of each says.
fn accusations(world: &World) -> Vec<(&'static str, Accusation, Result<(), EvidenceError>)> {
    use EvidenceError::{GoodRow, NoRow, Seat as NoSeat, Signature, TooEarly};
    let (honest, promised) = ((1, 0, 1), ACCOUNTS + 1);
    let accuse = |batch: &Batch, row| Accusation::new(batch, row).expect("there is such a row");
    let transfers = rows(&world.genesis, 2, 1..50, None);
    let of_transfers = |who| accuse(&sealed(world, who, promised, &transfers), 3);
    let of_row = |effect, accounts| {
        let taken = Taken { effects: vec![effect], witnesses: vec![Witness([1; 64])], ..Taken::default() };
        accuse(&sealed(world, honest, accounts, &taken), 0)
    };
    let good = of_transfers(honest);
    let mut header = *good.header.bytes();
    *header.last_mut().unwrap() ^= 1;
    let mut forged = good.clone();
    forged.header = SignedHeader::decode(&header).unwrap();
    let mut moved = good.clone();
    moved.row = 40;
    // Behind header, row, length of the proof and of the column, and the nodes of the tree the chunk ends the first proof.
    let mut bytes = good.encode();
    let proof = u32::from_le_bytes(bytes[196..200].try_into().unwrap()) as usize;
    bytes[200 + proof - 1] ^= 1;
    let changed = Accusation::decode(&bytes).unwrap();
    let zero = Effect { amount: 0.into(), ..Effect::transfer(2, 3, 5, 1, 1) };
    let keyless = Taken { keys: vec![[7; 32]], ..transfers.clone() };
    vec![
        (
            "it is true",
            accuse(&sealed(world, honest, promised, &rows(&world.genesis, 2, 1..9, Some(4))), 3),
            Ok(()),
        ),
        ("the row is good", good, Err(GoodRow)),
        ("an opening row is good", accuse(&world.batch_of_open(1, &account_key(99)), 0), Err(GoodRow)),
        ("the signature under the header is bad", forged, Err(Signature)),
        ("another signed the header", of_transfers((2, 0, 1)), Err(Signature)),
        ("the header is of another epoch", of_transfers((1, 1, 1)), Err(NoSeat)),
        ("the header is of nobody", of_transfers((1, 0, 9)), Err(NoSeat)),
        ("the proof is not of the row", changed, Err(NoRow)),
        ("the proofs are of another row", moved, Err(NoRow)),
        (
            "the row opens nothing beside a key",
            accuse(&sealed(world, honest, promised, &keyless), 0),
            Err(NoRow),
        ),
        ("the row is malformed", of_row(zero, promised), Err(NoRow)),
        ("the row names more than the header", of_row(Effect::transfer(2, 9, 5, 1, 1), 9), Err(NoRow)),
        (
            "the row names accounts that nobody has",
            of_row(Effect::transfer(2, promised, 5, 1, 1), promised + 1),
            Err(TooEarly { needed: promised + 1 }),
        ),
    ]
}

#[test]
fn of_every_accusation_it_is_known_who_lied() {
    let mut seen = [false; 6];
    let world = World::new(Policy::Quorum);
    for (why, accusation, verdict) in accusations(&world) {
        let evidence = Evidence::BadRow(accusation.clone());
        assert_eq!(check(world.shared.law(), &evidence), verdict, "{why}");
        let mut world = World::new(Policy::Quorum);
        world.round(&[]);
        let parents = world.last.clone();
        let accuser = world.vertex_with((2, 3), &parents, vec![Part::Accusation(accusation.encode())]);
        world.receive(3, Message::Vertex(accuser.clone()));
        let (liars, kind): (&[_], _) = match verdict {
            Ok(()) => (&[(1, "a batch with a bad row")], 0),
            Err(EvidenceError::TooEarly { .. }) => (&[], 1),
            Err(EvidenceError::Seat) => (&[(3, "a false accusation")], 2),
            Err(EvidenceError::Signature) => (&[(3, "a false accusation")], 3),
            Err(EvidenceError::NoRow) => (&[(3, "a false accusation")], 4),
            Err(EvidenceError::GoodRow) => (&[(3, "a false accusation")], 5),
            Err(EvidenceError::TrueAccusation) => panic!("{why}: nobody accuses an accuser of that"),
        };
        seen[kind] = true;
        assert_eq!((&convicted(&world)[..], &world.misbehaved[..]), (liars, &[][..]), "{why}");
        assert!(world.node.consensus.dag().get(accuser.reference()).is_some(), "{why}: it is as good as any");
        // Turned round by a peer it proves the same, or nothing.
        let turned = check(world.shared.law(), &Evidence::FalseAccusation(accuser));
        let expected = match verdict {
            Ok(()) => Err(EvidenceError::TrueAccusation),
            Err(early @ EvidenceError::TooEarly { .. }) => Err(early),
            Err(_) => Ok(()),
        };
        assert_eq!(turned, expected, "{why}");
    }
    assert_eq!(seen, [true; 6]);
}

#[test]
fn a_true_accusation_in_a_vertex_convicts_the_accused() {
    let mut world = World::new(Policy::Quorum);
    let bad = world.batch(1, 1, &rows(&world.genesis, 2, 1..9, Some(2)));
    world.round(&[]);
    let accusation = Accusation::new(&bad, 1).unwrap();
    let parents = world.last.clone();
    let accuser = world.vertex_with((2, 3), &parents, vec![Part::Accusation(accusation.encode())]);
    world.receive(3, Message::Vertex(accuser.clone()));
    assert_eq!(convicted(&world), [(1, "a batch with a bad row")]);
    let turned = Evidence::FalseAccusation(accuser);
    assert_eq!(check(world.shared.law(), &turned), Err(EvidenceError::TrueAccusation));
    assert_judged_again(world);
}

#[test]
fn evidence_that_proves_nothing_is_held_against_who_sends_it() {
    let mut world = World::new(Policy::Quorum);
    let good = world.batch(1, 1, &rows(&world.genesis, 2, 1..9, None));
    let one = world.vertex((1, 2), &[], &[], 1);
    let mut forged = world.vertex((1, 2), &[], &[], 2).bytes.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Arc::new(SignedVertex::decode(forged.into()).unwrap());
    let mut other_root = SignedHeader::of(&good).bytes().to_vec();
    other_root[40] ^= 1;
    let other_root = SignedHeader::decode(&other_root).unwrap();
    let vote = |signer, hash| {
        sign_checkpoint(&seat_key(signer), &world.shared.chain, Epoch(0), Height(64), BlockHash([hash; 32]))
    };
    let cases = [
        Evidence::of_vertices(&one, &forged).unwrap(),
        Evidence::of_batches(&SignedHeader::of(&good), &other_root).unwrap(),
        Evidence::BadRow(Accusation::new(&good, 0).unwrap()),
        Evidence::of_votes(Epoch(0), Seat(1), &vote(2, 1), &vote(1, 2)).unwrap(),
        // Of another epoch; against nobody; of a true accusation, against whom made it.
        Evidence::of_votes(Epoch(1), Seat(1), &vote(1, 1), &vote(1, 2)).unwrap(),
        Evidence::of_votes(Epoch(0), Seat(9), &vote(1, 1), &vote(1, 2)).unwrap(),
        Evidence::FalseAccusation({
            let bad = world.batch(1, 1, &rows(&world.genesis, 2, 1..9, Some(2)));
            let parts = vec![Part::Accusation(Accusation::new(&bad, 1).unwrap().encode())];
            world.vertex_with((1, 2), &[], parts)
        }),
    ];
    for evidence in cases {
        world.receive(3, Message::Evidence(Arc::new(evidence)));
    }
    assert_eq!(convicted(&world), []);
    assert_eq!(world.misbehaved.len(), 7);
    assert!(world.misbehaved.iter().all(|(peer, _)| *peer == Seat(3)));
    assert!(told(&world).is_empty());
}

#[test]
fn evidence_from_a_peer_convicts_without_having_seen_the_lie() {
    let mut world = World::new(Policy::Quorum);
    let (one, other) = (world.vertex((9, 2), &[], &[], 1), world.vertex((9, 2), &[], &[], 2));
    let strong: Vec<_> = (1..4).map(|author| world.vertex((8, author), &[], &[], 1).reference()).collect();
    let of = |time| world.vertex((9, 2), &strong, &[], time);
    let evidence = Evidence::of_vertices(&of(1), &of(2)).unwrap();
    assert_ne!(one.id, other.id);
    world.receive(1, Message::Evidence(Arc::new(evidence)));
    assert_eq!(convicted(&world), [(2, "two vertices of one round")]);
    let log: Vec<_> = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Evidence).collect();
    assert_eq!(log.len(), 1);
}

#[test]
fn an_accusation_about_accounts_that_are_not_executed_here_waits_for_them() {
    let mut world = World::new(Policy::Quorum);
    // A row of an account that the batch promises and nobody has yet.
    let effect = Effect::transfer(ACCOUNTS + 1, 1, 5, 1, 1);
    let taken = Taken { effects: vec![effect], keys: Vec::new(), witnesses: vec![Witness([1; 64])] };
    let slot = (world.shared.committee.epoch, Seat(1), Sequence(1));
    let batch = seal(&seat_key(1), &world.shared.chain, slot, ACCOUNTS + 2, columns(&taken));
    let evidence = Evidence::BadRow(Accusation::new(&batch, 0).unwrap());
    assert_eq!(check(world.shared.law(), &evidence), Err(EvidenceError::TooEarly { needed: ACCOUNTS + 2 }));
    world.receive(3, Message::Evidence(Arc::new(evidence)));
    assert_eq!((convicted(&world), world.misbehaved.len()), (vec![], 0));
    // What speaks of accounts that nobody has opened yet waits beside it, however far off they are: to who comes late all are.
    let far = Effect::transfer(ACCOUNTS_MAX - 1, 1, 5, 1, 1);
    let taken = Taken { effects: vec![far], keys: Vec::new(), witnesses: vec![Witness([1; 64])] };
    let slot = (world.shared.committee.epoch, Seat(2), Sequence(1));
    let batch = seal(&seat_key(2), &world.shared.chain, slot, ACCOUNTS_MAX, columns(&taken));
    world.receive(2, Message::Evidence(Arc::new(Evidence::BadRow(Accusation::new(&batch, 0).unwrap()))));
    assert_eq!((world.node.court.waiting(), world.node.holdings().charges), (2, 2));
    // The account is opened: the row is checked.
    let opener = world.batch_of_open(2, &account_key(ACCOUNTS + 1));
    world.receive(2, Message::Batch(opener.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(opener.reference(), Verdict::Valid))));
    world.rounds(6);
    assert_eq!(world.shared.ledger.len(), ACCOUNTS + 2);
    assert_eq!(convicted(&world), [(1, "a batch with a bad row")]);
    assert_eq!(world.node.court.waiting(), 1);
}

#[test]
fn of_proofs_that_come_together_none_is_let_go() {
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let proof = |author: u16| {
        let twins = [5, 6].map(|time| world.vertex((1, author), &[], &[], time));
        Message::Evidence(Arc::new(Evidence::of_vertices(&twins[0], &twins[1]).unwrap()))
    };
    // Before any of them is checked.
    for message in [1, 2].map(proof) {
        world.node.handle(world.now, Input::Received { from: Seat(3), message });
    }
    world.work();
    let accused: Vec<u16> = convicted(&world).iter().map(|(seat, _)| *seat).collect();
    assert_eq!((accused, &world.misbehaved[..]), (vec![1, 2], &[][..]));
}

#[test]
fn charges_that_wait_for_accounts_are_few_and_small_together() {
    use crate::node::evidence::{EARLY_BYTES_MAX, may_wait};
    let wait = |others: &[usize], bytes| may_wait(others.iter().copied(), bytes, 3);
    assert!(wait(&[], EARLY_BYTES_MAX) && wait(&[7, 9], EARLY_BYTES_MAX - 16));
    assert!(!wait(&[], EARLY_BYTES_MAX + 1) && !wait(&[7, 9], EARLY_BYTES_MAX - 15));
    assert!(!wait(&[1, 1, 1], 1), "as many as there may be liars");
}
