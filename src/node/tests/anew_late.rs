//! Beginning anew where things come late, seldom, or when they are not needed any more, played by hand.

use super::anew::{Ahead, HEIGHT, ahead, ahead_to, ahead_with, pieces_asked};
use super::*;
use crate::node::catch_up::answer_wait;
use crate::types::{Account, Block, Certificate, Epoch, LeaderRef, VertexId};
use crate::wire::{HashedBlock, encode_block, sign_checkpoint};
use std::collections::VecDeque;

/// A block of no other use than to stand in a chain.
fn block(height: u64, previous: BlockHash) -> HashedBlock {
    let block = Block {
        epoch: Epoch(0),
        height: Height(height),
        previous,
        leader: LeaderRef { round: Round(height + 100), author: Seat(0), id: VertexId([7; 32]) },
        time: Time(0),
        accounts: 1,
        settled: Vec::new(),
        outcomes: [0; 32],
        roots: Vec::new(),
    };
    HashedBlock::decode(encode_block(&block).into()).unwrap()
}

fn certificate(world: &World, of: &HashedBlock) -> Arc<Certificate> {
    let (chain, epoch) = (&world.shared.chain, of.block.epoch);
    let vote = |seat: u16| {
        (Seat(seat), sign_checkpoint(&seat_key(seat), chain, epoch, of.block.height, of.hash).signature)
    };
    let votes = (1..4).map(vote).collect();
    Arc::new(Certificate { epoch, height: of.block.height, hash: of.hash, votes })
}

/// As [`Ahead::play`], with each answer so many steps of 50 ms after its question.
fn play_late(ahead: &Ahead, world: &mut World, seconds: u64, late: u64) {
    let mut under_way = VecDeque::new();
    for step in 0..seconds * 20 {
        world.pass(Duration::from_millis(50));
        for (to, message) in std::mem::take(&mut world.sent) {
            under_way.extend(ahead.answer(&message).map(|answer| (step + late, to, answer)));
        }
        while under_way.front().is_some_and(|(due, ..)| *due <= step) {
            let (_, from, answer) = under_way.pop_front().unwrap();
            world.receive(from.0, answer);
        }
    }
}

fn records_asked(asked: &[(Seat, Message)]) -> Vec<Seat> {
    let asked = asked.iter().filter(|(_, message)| matches!(message, Message::WantRecord(_)));
    asked.map(|(to, _)| *to).collect()
}

/// A node that has asked for the pieces of a table, of which none came.
fn without_pieces() -> (World, Ahead) {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let asked = ahead.play(&mut world, 20, |_, answer| match answer {
        Message::Piece(_) => None,
        answer => Some(answer),
    });
    assert!(!pieces_asked(&asked).is_empty());
    (world, ahead)
}

/// A checkpoint far ahead whose account table has so many pieces.
fn ahead_in_pieces(world: &World, pieces: u32) -> Ahead {
    let mut table = world.genesis.table();
    let key = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
    table.extend((table.len() as u32..pieces * 4_096).map(|number| Account::new(key(number), 0)));
    ahead_to(world, Sequence(0), BlockHash([4; 32]), table)
}

#[test]
fn a_table_that_execution_has_passed_is_left_and_nothing_goes_back() {
    let (mut world, ahead) = without_pieces();
    // What it lacked came after all, and all up to here was executed.
    let later = block(HEIGHT.0 + 3, BlockHash([5; 32]));
    world.node.chain.go_on_at(&world.shared.committee, &later.block, later.hash);
    let asked = ahead.play(&mut world, 20, |_, answer| Some(answer));
    assert_eq!(pieces_asked(&asked), [], "it is not asked for any more");
    assert_eq!((world.snapshots.len(), world.node.chain.executed_height()), (0, later.block.height));
    assert!(world.diverged.is_empty() && world.misbehaved.is_empty());
}

#[test]
fn a_table_above_what_was_certified_when_the_run_began_is_proved_by_what_was_certified_since() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let first = certificate(&world, &block(HEIGHT.0 - 64, BlockHash([3; 32])));
    ahead.play(&mut world, 10, |_, answer| match answer {
        Message::Certificate(_) => Some(Message::Certificate(first.clone())),
        Message::Snapshots { first, .. } => Some(Message::Snapshots { first, heights: Vec::new() }),
        answer => Some(answer),
    });
    assert!(world.node.catch_up.run.as_ref().is_some_and(|run| run.goal.height < HEIGHT));
    // The chain makes one checkpoint more and then waits, for this node among others.
    ahead.play(&mut world, 20, |_, answer| Some(answer));
    ahead.assert_reached(&world);
}

#[test]
fn who_lets_true_blocks_trickle_keeps_nobody_from_the_table_for_long() {
    let mut world = World::new(Policy::Quorum);
    let mut chain = vec![block(1, BlockHash([2; 32]))];
    for height in 2..HEIGHT.0 {
        chain.push(block(height, chain.last().unwrap().hash));
    }
    let ahead = ahead_with(&world, Sequence(0), chain.last().unwrap().hash);
    chain.push(ahead.block.clone());
    let (mut step, mut given, mut asked) = (0, 0, Vec::new());
    // All others have removed them. This one gives a single block each time, at its leisure.
    let mut questions = Vec::new();
    let mut play = |world: &mut World, seconds: u64| {
        for _ in 0..seconds * 20 {
            step += 1;
            world.pass(Duration::from_millis(50));
            for (to, message) in std::mem::take(&mut world.sent) {
                match message {
                    Message::WantBlocks { first, .. } if to == Seat(1) && first < HEIGHT => {
                        questions.push(first)
                    }
                    ref other => {
                        ahead.answer(other).into_iter().for_each(|answer| world.receive(to.0, answer))
                    }
                }
                asked.push((to, message));
            }
            if step % 12 == 0
                && let Some(first) = questions.pop()
            {
                questions.clear();
                let blocks = Arc::new(vec![chain[first.0 as usize - 1].clone()]);
                world.receive(1, Message::Blocks { first, blocks });
                given += 1;
            }
        }
        given
    };
    let given = play(&mut world, 50);
    assert!(given > 50 && world.node.tip().0 == Height(0), "{given} {:?}", world.node.progress());
    play(&mut world, 40);
    assert!(asked.iter().any(|(_, message)| *message == Message::WantSnapshots));
    ahead.assert_reached(&world);
    assert_eq!(world.misbehaved, []);
}

#[test]
fn who_was_late_has_twice_as_long_each_time_up_to_a_limit() {
    let waits = [0, 1, 2, 5, 6, u32::MAX].map(|late| answer_wait(DELAY, late).div_duration_f64(DELAY));
    assert_eq!(waits, [4.0, 8.0, 16.0, 128.0, 128.0, 128.0]);
}

#[test]
fn answers_that_all_come_late_are_taken() {
    for late in [10, 30] {
        let mut world = World::new(Policy::Quorum);
        let ahead = ahead(&world);
        play_late(&ahead, &mut world, 60, late);
        ahead.assert_reached(&world);
        assert_eq!(world.misbehaved, []);
    }
}

#[test]
fn a_table_that_is_all_here_is_not_fetched_again_while_the_disk_is_busy_or_full() {
    let (mut world, ahead) = without_pieces();
    // Another snapshot is on its way to a slow disk.
    world.node.keeping.takes(Height(64));
    let asked = ahead.play(&mut world, 5, |_, answer| Some(answer));
    assert!(!pieces_asked(&asked).is_empty());
    let asked = ahead.play(&mut world, 15, |_, answer| Some(answer));
    assert_eq!(pieces_asked(&asked), []);
    world.handle(Input::DiskFull(true));
    ahead.play(&mut world, 15, |_, answer| Some(answer));
    world.handle(Input::DiskFull(false));
    world.handle(Input::Snapshotted { height: Height(64), written: true });
    let asked = ahead.play(&mut world, 10, |_, answer| Some(answer));
    assert_eq!(pieces_asked(&asked), []);
    ahead.assert_reached(&world);
}

#[test]
fn what_could_not_come_while_the_disk_was_full_ends_no_attempt() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead_in_pieces(&world, 3);
    // All but the last piece.
    let asked = ahead.play(&mut world, 12, |_, answer| match answer {
        Message::Piece(piece) if piece.number() == 2 => None,
        answer => Some(answer),
    });
    assert!(!pieces_asked(&asked).is_empty());
    assert_eq!(world.node.holdings().table_pieces, 2);
    world.handle(Input::DiskFull(true));
    ahead.play(&mut world, 60, |_, answer| Some(answer));
    world.handle(Input::DiskFull(false));
    let asked = ahead.play(&mut world, 10, |_, answer| Some(answer));
    let again = |message: &Message| {
        *message == Message::WantSnapshots || matches!(message, Message::WantPiece { piece: 0 | 1, .. })
    };
    assert!(!asked.iter().any(|(_, message)| again(message)));
    ahead.assert_reached(&world);
}

#[test]
fn who_lets_pieces_trickle_does_not_keep_an_attempt_alive_and_giving_it_up_makes_the_gap_no_younger() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead_in_pieces(&world, 12);
    let (mut step, mut last, mut asked) = (0, 0, Vec::new());
    let mut begun = Vec::new();
    while step < 40 * 20 {
        step += 1;
        world.pass(Duration::from_millis(50));
        let gap = world.node.catch_up.run.as_ref().and_then(|run| run.table.gap_since());
        begun.extend(gap.filter(|since| begun.last() != Some(since)));
        for (to, message) in std::mem::take(&mut world.sent) {
            let answer = ahead.answer(&message);
            asked.push((to, message));
            match answer {
                // One piece in three seconds.
                Some(Message::Piece(_)) if step < last + 60 => {}
                Some(answer) => {
                    last = if matches!(answer, Message::Piece(_)) { step } else { last };
                    world.receive(to.0, answer);
                }
                None => {}
            }
        }
    }
    let first = asked.iter().position(|(_, message)| matches!(message, Message::WantPiece { .. })).unwrap();
    assert!(asked[first..].iter().any(|(_, message)| *message == Message::WantSnapshots), "it was given up");
    assert_eq!(begun.len(), 1, "{begun:?}");
    assert_eq!(world.misbehaved, []);
    ahead.play(&mut world, 20, |_, answer| Some(answer));
    ahead.assert_reached(&world);
}

#[test]
fn a_record_of_who_was_passed_over_for_being_late_is_taken() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let asked = ahead.play(&mut world, 20, |_, answer| match answer {
        Message::Record { .. } => None,
        answer => Some(answer),
    });
    let asked: Vec<Seat> = records_asked(&asked);
    let [.., earlier, last] = asked[..] else { panic!("{asked:?}") };
    assert_ne!(earlier, last);
    world.receive(earlier.0, ahead.answer(&Message::WantRecord(HEIGHT)).unwrap());
    let asked = ahead.play(&mut world, 10, |_, answer| Some(answer));
    assert_eq!(records_asked(&asked), []);
    ahead.assert_reached(&world);
}

#[test]
fn who_does_not_answer_with_a_record_has_twice_as_long_each_time_all_were_asked() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    // What lies between two questions, by steps of 50 ms, once the first was asked.
    let (mut gaps, mut since) = (Vec::new(), None);
    for _ in 0..400 {
        let asked = ahead.play_step(&mut world, |_, answer| match answer {
            Message::Record { .. } => None,
            answer => Some(answer),
        });
        since = since.map(|steps| steps + 1);
        for _ in records_asked(&asked) {
            gaps.extend(since.replace(0));
        }
    }
    // Three were asked in turn, for four message delays each; then, after a moment, for eight.
    assert!(gaps.len() > 5 && gaps[..3].iter().all(|gap| (7..=9).contains(gap)), "{gaps:?}");
    assert!(gaps[3..6].iter().all(|gap| (16..=17).contains(gap)), "{gaps:?}");
}

#[test]
fn where_checkpoints_lie_far_apart_less_than_one_interval_is_caught_up_too() {
    let mut world = World::with(|genesis| genesis.rules.checkpoint_blocks = HEIGHT.0);
    let ahead = ahead(&world);
    ahead.play(&mut world, 40, |_, answer| Some(answer));
    ahead.assert_reached(&world);
}
