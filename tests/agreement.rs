//! Several machines in a small world: they settle, agree, and get over losses, partitions and restarts. And agreement
//! alone, in random worlds, against the plain rules: `THRONG_DAGS=100000 cargo test --release --test agreement dags`
//! plays as many.

mod common;
mod dags;

use common::{Link, Pump, genesis, seat_key, transfers};
use std::sync::Arc;
use std::time::Duration;
use throng::consensus::{Consensus, verify_certificate};
use throng::crypto::KeySet;
use throng::node::OpenError;
use throng::store::RecordKind;
use throng::types::{AccountNumber, Block, Content, Epoch, Height, Policy, RootKind, Seat, Sequence};
use throng::wire::{
    Batch, Blobs, Gathered, Message, SignedVertex, chain_id, decode_block, decode_record, record_root,
    seal_blobs,
};

/// The kind of a frame that carries a vertex.
const VERTEX_KIND: u8 = 1;
const MINUTE: Duration = Duration::from_secs(60);

/// Sends `each` transfers to every node and waits until all nodes settled all.
fn settle(pump: &mut Pump, round: u64, each: u64) {
    let nodes = pump.genesis.seats.len();
    let before: Vec<u64> = (0..nodes).map(|seat| pump.settled_ok(seat)).collect();
    for seat in 0..nodes {
        let rows = transfers(&pump.genesis, seat as u32 + 1, 1 + round * each, each);
        assert_eq!(pump.submit(seat, &rows), each as u32, "node {seat} admits all rows");
    }
    let total = each * nodes as u64;
    let done = pump.run(MINUTE, |p| (0..nodes).all(|seat| p.settled_ok(seat) >= before[seat] + total));
    let state: Vec<_> =
        (0..nodes).map(|s| (pump.settled_ok(s), pump.node(s).map(|n| n.progress()))).collect();
    assert!(done, "all rows settle on all nodes: {state:#?}");
    pump.assert_agreed();
}

#[test]
fn chains_of_every_small_size_settle_under_both_policies() {
    for nodes in [1, 2, 3, 4, 7] {
        for policy in [Policy::All, Policy::Quorum] {
            let mut pump = Pump::new(genesis(nodes, 20, policy), u64::from(nodes));
            for round in 0..3 {
                settle(&mut pump, round, 20);
            }
            assert!(pump.misbehaved.is_empty(), "{:?}", pump.misbehaved);
        }
    }
}

#[test]
fn latency_of_a_lone_transfer_is_a_few_message_delays() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 1);
    settle(&mut pump, 0, 1);
    pump.run(Duration::from_secs(5), |_| false);
    let start = pump.now;
    settle(&mut pump, 1, 1);
    let took = pump.now.since(start);
    assert!(took < Duration::from_millis(600), "{took:?}");
}

#[test]
fn an_idle_chain_beats_slowly_and_goes_on() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 2);
    settle(&mut pump, 0, 5);
    let before = pump.height(0);
    pump.run(MINUTE, |_| false);
    let blocks = pump.height(0) - before;
    assert!((60..=150).contains(&blocks), "{blocks} blocks in an idle minute");
    settle(&mut pump, 1, 5);
}

#[test]
fn checkpoints_of_an_idle_chain_are_certified_within_a_few_beats_without_hurrying_it() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 2);
    settle(&mut pump, 0, 5);
    pump.run(MINUTE, |_| false);
    for _ in 0..3 {
        let next = pump.height(0).next_multiple_of(8);
        assert!(pump.run(MINUTE, |p| p.height(0) >= next));
        let (reached, certified) = (pump.now, |p: &Pump| {
            (0..4).all(|seat| p.node(seat).is_some_and(|node| node.progress().certified >= next))
        });
        assert!(pump.run(MINUTE, certified), "block {next} is certified");
        assert!(pump.now.since(reached) < Duration::from_millis(2_000), "{:?}", pump.now.since(reached));
        assert!(pump.height(0) <= next + 4, "{} after {next}", pump.height(0));
    }
    let known = pump.node(0).unwrap().certificate(Height(0)).unwrap().clone();
    let keys = KeySet::new(pump.genesis.seats.iter().map(|seat| &seat.key.0));
    assert_eq!(verify_certificate(&known, &chain_id(&pump.genesis), Epoch(0), &keys), Ok(()));
    assert!(pump.misbehaved.is_empty() && pump.diverged.is_empty());
}

#[test]
fn who_executes_differently_stops_and_says_where_and_the_others_go_on() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 17);
    settle(&mut pump, 0, 5);
    // A bit of node 2's account table turns, so to say: it executes a payment that no block has.
    let stray = transfers(&pump.genesis, 7, 1, 1);
    pump.shared(2).unwrap().ledger.execute(&[(stray.rows(), AccountNumber(1))]);
    assert!(pump.run(MINUTE, |p| !p.diverged.is_empty()), "it is found");
    let (node, divergence) = pump.diverged[0].clone();
    assert_eq!(node, 2);
    let height = divergence.height.0;
    assert!(height.is_multiple_of(8) && divergence.seats.len() >= 2 && !divergence.seats.contains(&Seat(2)));
    let block = |seat: usize| pump.blocks(seat)[height as usize - 1];
    assert_eq!((divergence.own, divergence.other), (block(2), block(0)));
    let before = pump.settled_ok(0);
    let rows = transfers(&pump.genesis, 1, 6, 5);
    assert_eq!(pump.submit(0, &rows), 5);
    assert!(pump.run(MINUTE, |p| [0, 1, 3].iter().all(|seat| p.settled_ok(*seat) >= before + 5)));
    assert_eq!(pump.diverged.len(), 1, "nobody else");
    // Nor does it go on by being started again: executed anew, the block on its disk comes out otherwise.
    let again = pump.reopen(2, pump.log(2).len()).err();
    assert!(matches!(again, Some(OpenError::Replay { .. })), "{again:?}");
}

#[test]
fn from_the_record_of_a_certified_checkpoint_agreement_goes_on_as_in_the_chain() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 18);
    pump.link = Link { delay_ms: 5, jitter_ms: 40, loss_percent: 10 };
    (0..4).for_each(|round| settle(&mut pump, round, 10));
    let known = pump.node(1).unwrap().certificate(Height(0)).unwrap().height;
    let bytes = pump.node(1).unwrap().settlement_record(known).unwrap().clone();
    // Rows go on while the joiner would be on its way.
    (4..6).for_each(|round| settle(&mut pump, round, 10));
    let blocks: Vec<Block> = pump
        .log(1)
        .iter()
        .filter(|(kind, _)| *kind == RecordKind::Block)
        .map(|(_, bytes)| decode_block(bytes).unwrap())
        .collect();
    let checkpoint = &blocks[known.0 as usize - 1];
    assert!(checkpoint.roots.contains(&(RootKind::Settlement, record_root(&bytes))));
    let record = decode_record(&bytes).unwrap();
    let mut joiner = Consensus::from_record(&pump.genesis, &record, None).unwrap();
    let mut emitted = Vec::new();
    for (_, bytes) in pump.log(1).iter().filter(|(kind, _)| *kind == RecordKind::Vertex) {
        joiner.restore(Arc::new(SignedVertex::decode(bytes.clone()).unwrap()));
        emitted.extend(std::iter::from_fn(|| joiner.next_emitted()));
    }
    let later = &blocks[known.0 as usize..];
    assert!(later.len() > 5 && later.iter().any(|block| !block.settled.is_empty()));
    for (block, link) in later.iter().zip(&emitted) {
        assert_eq!((block.leader, block.time), (link.leader, link.time), "block {}", block.height);
        assert_eq!(block.settled, link.settled, "block {}", block.height);
    }
    assert!(emitted.len() >= later.len());
}

#[test]
fn losses_of_a_fifth_of_all_messages_delay_but_do_not_stop() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 3);
    pump.link = Link { delay_ms: 5, jitter_ms: 40, loss_percent: 20 };
    for round in 0..4 {
        settle(&mut pump, round, 15);
    }
    assert!(pump.misbehaved.is_empty(), "{:?}", pump.misbehaved);
}

#[test]
fn pushes_that_are_lost_without_any_later_message_are_made_up_for() {
    // Everything in a second is lost, vertices and batches; then nobody has anything new to send, since every node
    // waits for the others' vertices of its round.
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 13);
    settle(&mut pump, 0, 5);
    let rows = transfers(&pump.genesis, 1, 6, 5);
    assert_eq!(pump.submit(0, &rows), 5);
    let before = pump.settled_ok(2);
    pump.link.loss_percent = 100;
    pump.run(Duration::from_secs(1), |_| false);
    assert_eq!(pump.settled_ok(2), before);
    pump.link.loss_percent = 0;
    let healed = pump.now;
    assert!(pump.run(MINUTE, |p| (0..4).all(|seat| p.settled_ok(seat) >= before + 5)));
    let took = pump.now.since(healed);
    assert!(took < Duration::from_secs(3), "{took:?}");
    pump.assert_agreed();
}

#[test]
fn without_faults_a_vertex_goes_to_each_peer_once() {
    let n = 7;
    let mut pump = Pump::new(genesis(n, 20, Policy::Quorum), 14);
    (0..5).for_each(|round| settle(&mut pump, round, 5));
    let rounds = pump.node(0).map_or(0, |node| node.progress().highest);
    let (sent, once) = (pump.sent[usize::from(VERTEX_KIND)], rounds * u64::from(n) * u64::from(n - 1));
    assert!(sent <= once + once / 5, "{sent} messages for {rounds} rounds; once each is {once}");
}

#[test]
fn one_silent_node_of_four_does_not_stop_the_others() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 4);
    settle(&mut pump, 0, 5);
    pump.crash(3, 0);
    for nonce in 0..4 {
        let rows = transfers(&pump.genesis, 2, 6 + nonce * 5, 5);
        assert_eq!(pump.submit(1, &rows), 5);
        let before = pump.settled_ok(0);
        assert!(
            pump.run(MINUTE, |p| p.settled_ok(0) >= before + 5),
            "{:#?}",
            pump.node(0).map(|n| n.progress())
        );
    }
    pump.assert_agreed();
}

#[test]
fn a_partition_without_a_quorum_halts_and_heals() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 5);
    settle(&mut pump, 0, 5);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        pump.cut.insert((a, b));
        pump.cut.insert((b, a));
    }
    let rows = transfers(&pump.genesis, 1, 6, 5);
    assert_eq!(pump.submit(0, &rows), 5);
    let before = pump.settled_ok(2);
    assert!(!pump.run(Duration::from_secs(20), |p| p.settled_ok(2) > before), "no quorum, no block");
    pump.cut.clear();
    assert!(pump.run(MINUTE, |p| (0..4).all(|seat| p.settled_ok(seat) >= before + 5)));
    pump.assert_agreed();
}

#[test]
fn restarted_nodes_replay_their_log_and_go_on() {
    for nodes in [1, 2, 4] {
        let mut pump = Pump::new(genesis(nodes, 20, Policy::Quorum), 6);
        settle(&mut pump, 0, 10);
        for victim in 0..usize::from(nodes) {
            let rows = transfers(&pump.genesis, victim as u32 + 1, 11, 10);
            pump.submit(victim, &rows);
            pump.run(Duration::from_millis(70), |_| false);
            pump.crash(victim, 0);
            pump.run(Duration::from_secs(2), |_| false);
            pump.start(victim);
            let up = pump.run(MINUTE, |p| p.height(victim) > 0 && p.height(victim) >= p.height(0));
            assert!(up, "node {victim} of {nodes} comes back");
        }
        pump.run(Duration::from_secs(3), |_| false);
        pump.assert_agreed();
        settle(&mut pump, 2, 10);
    }
}

#[test]
fn all_nodes_restarted_at_once_go_on() {
    let mut pump = Pump::new(genesis(4, 20, Policy::All), 7);
    settle(&mut pump, 0, 10);
    for round in 1..4 {
        for seat in 0..4 {
            let rows = transfers(&pump.genesis, seat as u32 + 1, 1 + round * 10, 10);
            pump.submit(seat, &rows);
        }
        pump.run(Duration::from_millis(15 * round), |_| false);
        (0..4).for_each(|seat| pump.crash(seat, 0));
        (0..4).for_each(|seat| pump.start(seat));
        pump.run(Duration::from_secs(5), |_| false);
        pump.assert_agreed();
    }
    settle(&mut pump, 4, 10);
}

#[test]
fn a_node_away_for_longer_than_the_collection_depth_catches_up_and_votes_again() {
    let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 8);
    settle(&mut pump, 0, 2);
    pump.crash(2, 0);
    for step in 0..40 {
        let rows = transfers(&pump.genesis, 1, 3 + step, 1);
        pump.submit(0, &rows);
        pump.run(Duration::from_millis(200), |_| false);
    }
    let away_until = pump.height(0);
    assert!(away_until > 60, "the others went on: {away_until}");
    pump.start(2);
    assert!(pump.run(MINUTE, |p| p.height(2) > away_until), "{:#?}", pump.node(2).map(|n| n.progress()));
    pump.assert_agreed();
    // Without another one the chain needs it again.
    pump.crash(3, 0);
    let before = pump.settled_ok(0);
    let rows = transfers(&pump.genesis, 2, 3, 5);
    assert_eq!(pump.submit(1, &rows), 5);
    assert!(pump.run(MINUTE, |p| p.settled_ok(0) >= before + 5), "{:#?}", pump.node(2).map(|n| n.progress()));
}

#[test]
fn the_same_seed_plays_the_same() {
    let play = || {
        let mut pump = Pump::new(genesis(4, 20, Policy::Quorum), 9);
        pump.link = Link { delay_ms: 3, jitter_ms: 30, loss_percent: 5 };
        settle(&mut pump, 0, 10);
        (pump.now, pump.sent, pump.blocks(0))
    };
    assert_eq!(play(), play());
}

#[test]
fn blobs_settle_with_a_quorum_that_holds_them_and_nobody_verifies_anything() {
    let mut genesis = genesis(4, 4, Policy::Quorum);
    genesis.rules.content = Content::Opaque;
    let mut pump = Pump::new(genesis, 5);
    let blobs = |tag: u8| Blobs::pack(50, vec![tag; 50 * 300]).unwrap();
    // Seat 3 is cut off: what the other three hold settles.
    for other in 0..3 {
        pump.cut.extend([(3, other), (other, 3)]);
    }
    for seat in 0..3 {
        assert!(pump.submit_blobs(seat, &blobs(seat as u8)));
    }
    let settled = |pump: &Pump, seats: std::ops::Range<usize>| {
        seats.into_iter().all(|seat| pump.settled_ok(seat) == 900)
    };
    assert!(pump.run(Duration::from_secs(20), |pump| settled(pump, 0..3)));
    pump.cut.clear();
    assert!(pump.run(Duration::from_secs(60), |pump| settled(pump, 0..4)), "who was away catches up");
    pump.assert_agreed();
    assert_eq!(pump.misbehaved, []);
    assert_eq!(pump.verified, 0);
    // Rows do not enter a chain of blobs through a peer either.
    let log = pump.log(0).to_vec();
    let batches = log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let contents = batches.map(|(_, bytes)| Batch::decode(bytes.clone()).unwrap().header.content);
    assert!(contents.into_iter().all(|content| content == Content::Opaque));
    // A restart replays the log to the same chain.
    let tip = pump.node(1).unwrap().tip();
    assert_eq!(pump.reopen(1, pump.log(1).len()).unwrap().tip(), tip);
}

#[test]
fn a_chain_of_rows_refuses_blobs_of_a_peer() {
    let mut pump = Pump::new(genesis(4, 4, Policy::Quorum), 6);
    let mut gathered = Gathered::new(10);
    gathered.gather(&[7; 100]);
    let slot = (Epoch(0), Seat(2), Sequence(1));
    let batch = seal_blobs(&seat_key(2), &chain_id(&pump.genesis), slot, gathered);
    pump.inject(2, 0, Message::Batch(batch));
    pump.run(Duration::from_secs(2), |_| false);
    assert_eq!(pump.misbehaved, [(Seat(2), "content that this chain does not carry")]);
    assert!(pump.log(0).iter().all(|(kind, _)| *kind != RecordKind::Batch));
}
