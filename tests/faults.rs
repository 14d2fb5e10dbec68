//! Faults in the small world: crashes at every moment and in any number, losses, and a validator that lies.

mod common;

use common::{Dice, Link, Pump, genesis, seat_key, transfers};
use std::sync::Arc;
use std::time::Duration;
use throng::store::RecordKind;
use throng::types::{
    Ack, BatchRef, Epoch, Height, Parent, Policy, Round, Rules, Seat, Sequence, Time, Verdict, Vertex,
    VertexRef,
};
use throng::wire::{
    Batch, Message, Rows, SignedVertex, chain_id, decode_block, seal, sign_vertex, vertex_slot,
};

const MINUTE: Duration = Duration::from_secs(60);

/// All nodes run and can talk: they settle something new from everybody, and have one chain.
fn assert_live_and_agreed(pump: &mut Pump, nonces: &mut [u64], story: &str) {
    let nodes = pump.genesis.seats.len();
    let balances = |pump: &Pump, seat: usize| -> Vec<u64> {
        let shared = pump.shared(seat).expect("all run");
        shared.ledger.read(|accounts| accounts.iter().map(|account| account.nonce_high.get()).collect())
    };
    for (seat, nonce) in nonces.iter_mut().enumerate() {
        let rows = transfers(&pump.genesis, seat as u32 + 1, *nonce, 1);
        assert_eq!(pump.submit(seat, &rows), 1, "{story}: node {seat} admits a row");
        *nonce += 1;
    }
    let wanted: Vec<u64> = nonces.iter().map(|nonce| nonce - 1).collect();
    let done = pump.run(MINUTE, |p| (0..nodes).all(|seat| balances(p, seat)[1..=nodes] == wanted[..]));
    let state: Vec<_> = (0..nodes).map(|s| pump.node(s).map(|n| n.progress())).collect();
    assert!(done, "{story}: all settle\n{state:#?}");
    pump.assert_agreed();
}

/// Plays one seed: rows, losses, crashes of any number of nodes that forget what was not synced, restarts.
fn crashes_and_losses(nodes: u16, policy: Policy, seed: u64) {
    let story = format!("{nodes} nodes, {policy:?}, seed {seed}");
    let mut dice = Dice(seed.wrapping_mul(77) + u64::from(nodes));
    let mut genesis = genesis(nodes, u32::from(nodes), policy);
    genesis.rules = Rules { depth: [20, 50][dice.below(2) as usize], ..genesis.rules };
    let mut pump = Pump::new(genesis, seed);
    let mut nonces = vec![1u64; usize::from(nodes)];
    for _ in 0..12 {
        let seat = dice.below(u64::from(nodes)) as usize;
        let running = pump.node(seat).is_some();
        match dice.below(5) {
            0 | 1 if running => {
                let rows = transfers(&pump.genesis, seat as u32 + 1, nonces[seat], 3);
                pump.submit(seat, &rows);
                nonces[seat] += 3;
            }
            2 if running => {
                let torn = dice.below(pump.unsynced(seat) as u64 + 1) as usize;
                pump.crash(seat, torn);
            }
            3 | 4 if !running => pump.start(seat),
            _ => {
                let (loss_percent, jitter_ms) = (dice.below(3) * 15, dice.below(40));
                pump.link = Link { loss_percent, jitter_ms, ..pump.link };
            }
        }
        let micros = dice.below(200_000);
        pump.run(Duration::from_micros(micros), |_| false);
        pump.assert_agreed();
    }
    pump.link = Link { delay_ms: 5, jitter_ms: 5, loss_percent: 0 };
    for seat in (0..usize::from(nodes)).filter(|&seat| pump.node(seat).is_none()).collect::<Vec<_>>() {
        pump.start(seat);
    }
    assert_live_and_agreed(&mut pump, &mut nonces, &story);
    assert!(pump.misbehaved.is_empty() && pump.convicted.is_empty(), "{story}: {:?}", pump.misbehaved);
}

#[test]
fn random_crashes_and_losses_end_agreed_and_live() {
    for seed in 0..100 {
        let policy = if seed % 2 == 0 { Policy::Quorum } else { Policy::All };
        crashes_and_losses(4, policy, seed);
        if seed % 2 == 0 {
            crashes_and_losses(7, if seed % 4 == 0 { Policy::Quorum } else { Policy::All }, seed);
        }
    }
}

#[test]
fn a_lost_directory_is_made_good_by_the_others_also_without_tolerance() {
    for (nodes, policy) in [(2, Policy::All), (3, Policy::Quorum), (4, Policy::Quorum), (7, Policy::All)] {
        let mut pump = Pump::new(genesis(nodes, nodes.into(), policy), u64::from(nodes));
        let mut nonces = vec![1u64; usize::from(nodes)];
        let story = format!("{nodes} nodes, {policy:?}");
        for _ in 0..3 {
            assert_live_and_agreed(&mut pump, &mut nonces, &story);
        }
        pump.crash(1, 0);
        pump.lose(1);
        // What was on its way arrives: the others know all that was sent.
        pump.run(Duration::from_millis(100), |_| false);
        pump.start(1);
        assert_live_and_agreed(&mut pump, &mut nonces, &story);
        assert!(pump.misbehaved.is_empty(), "{story}: {:?}", pump.misbehaved);
        let node = pump.node(1).expect("it runs");
        assert!(!node.guard().lost && node.guard().sequence.0 > 16, "{story}: {:?}", node.guard());
    }
}

/// The world until the log of node 1 has `cut` records, and everybody's next nonces; `None` if the story ends before.
fn play_until_cut(cut: usize) -> Option<(Pump, Vec<u64>)> {
    let mut pump = Pump::new(genesis(4, 4, Policy::Quorum), 17);
    let mut nonces = vec![1; 4];
    for step in 0..12 {
        let seat = step % 4;
        let rows = transfers(&pump.genesis, seat as u32 + 1, nonces[seat], 3);
        nonces[seat] += u64::from(pump.submit(seat, &rows));
        if pump.run(Duration::from_millis(35), |p| p.log(1).len() >= cut) {
            return Some((pump, nonces));
        }
    }
    None
}

#[test]
fn a_log_cut_at_every_record_opens_and_goes_on_with_the_others() {
    let (mut cut, mut blocks) = (0, 0);
    while let Some((mut pump, mut nonces)) = play_until_cut(cut) {
        // What the machine was told to be durable stays; of the rest the disk keeps what lies before the cut.
        let torn = (pump.log(1).len() - cut).min(pump.unsynced(1));
        pump.crash(1, torn);
        blocks = pump.log(1).iter().filter(|(kind, _)| *kind == RecordKind::Block).count();
        pump.run(Duration::from_millis(30), |_| false);
        pump.start(1);
        assert_live_and_agreed(&mut pump, &mut nonces, &format!("cut at record {cut}"));
        cut += 1;
    }
    assert!(cut > 60 && blocks > 3, "the log has {cut} records and {blocks} blocks");
}

#[test]
fn every_prefix_of_a_log_with_restarts_and_losses_opens() {
    let mut pump = Pump::new(genesis(4, 4, Policy::Quorum), 23);
    pump.link = Link { delay_ms: 5, jitter_ms: 30, loss_percent: 10 };
    for step in 0..6u64 {
        let rows = transfers(&pump.genesis, step as u32 % 4 + 1, 1 + (step / 4) * 3, 3);
        pump.submit(step as usize % 4, &rows);
        pump.run(Duration::from_millis(150), |_| false);
        pump.crash(2, pump.unsynced(2));
        pump.run(Duration::from_millis(50), |_| false);
        pump.start(2);
    }
    pump.run(Duration::from_secs(2), |_| false);
    for seat in [0, 2] {
        for records in 0..=pump.log(seat).len() {
            let blocks =
                pump.log(seat)[..records].iter().filter(|(kind, _)| *kind == RecordKind::Block).count();
            let node =
                pump.reopen(seat, records).unwrap_or_else(|fatal| panic!("{records} records: {fatal}"));
            assert_eq!(node.tip().0.0 as usize, blocks);
        }
    }
}

/// A Byzantine author with its key, playing by hand beside three honest machines.
struct Liar {
    seat: u16,
    last: Option<VertexRef>,
    /// The time that its vertices tell: another one makes another face.
    time: u64,
}

impl Liar {
    /// Says this in a vertex of its own, on whatever the first machine has accepted of the round before.
    fn say(&mut self, pump: &mut Pump, acks: Vec<Ack>, to: &[usize]) {
        let round = self.last.map_or(1, |last| last.round.0 + 1);
        let shown = pump.log(0).iter().filter(|(kind, _)| *kind == RecordKind::Vertex);
        let before: Vec<_> = shown
            .map(|(_, bytes)| SignedVertex::decode(bytes.clone()).unwrap())
            .filter(|v| v.vertex.round.0 + 1 == round)
            .collect();
        let mut strong: Vec<Parent> =
            before.iter().map(|v| Parent { author: v.vertex.author, id: v.id }).collect();
        strong.sort_by_key(|p| p.author);
        strong.dedup_by_key(|p| p.author);
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(round),
            author: Seat(self.seat),
            time: Time(self.time),
            strong,
            weak: Vec::new(),
            acks,
            parts: Vec::new(),
        };
        let signed = sign_vertex(&seat_key(self.seat), &chain_id(&pump.genesis), vertex);
        self.last = Some(signed.reference());
        let signed = Arc::new(signed);
        to.iter().for_each(|&to| pump.inject(self.seat.into(), to, Message::Vertex(signed.clone())));
    }
}

fn batch_of_the_liar(pump: &Pump, sequence: u64, nonce: u64, rows: u64, forged: bool) -> Batch {
    let submission = transfers(&pump.genesis, 4, nonce, rows);
    let columns = submission.rows();
    let mut witnesses = columns.witnesses.to_vec();
    if forged {
        witnesses[1].0[7] ^= 1;
    }
    let columns = Rows { witnesses: &witnesses, ..columns };
    let slot = (Epoch(0), Seat(3), Sequence(sequence));
    seal(&seat_key(3), &chain_id(&pump.genesis), slot, 5, columns)
}

fn settled(pump: &Pump, seat: usize) -> Vec<BatchRef> {
    let blocks = pump.log(seat).iter().filter(|(kind, _)| *kind == RecordKind::Block);
    blocks.flat_map(|(_, bytes)| decode_block(bytes).unwrap().settled).collect()
}

#[test]
fn a_forged_row_never_settles_whatever_its_author_says() {
    for policy in [Policy::All, Policy::Quorum] {
        let mut pump = Pump::new(genesis(4, 4, policy), 31);
        pump.crash(3, 0);
        let mut liar = Liar { seat: 3, last: None, time: 1 };
        let forged: Vec<Batch> = (1..=4).map(|s| batch_of_the_liar(&pump, s, 10 * s, 3, true)).collect();
        let good = batch_of_the_liar(&pump, 5, 1, 3, false);
        for batch in forged.iter().chain([&good]) {
            (0..3).for_each(|to| pump.inject(3, to, Message::Batch(batch.clone())));
        }
        let say = |batch: &Batch| Ack { batch: batch.reference(), verdict: Verdict::Valid };
        liar.say(&mut pump, forged.iter().chain([&good]).map(say).collect(), &[0, 1, 2]);
        pump.run(Duration::from_secs(20), |_| false);
        for seat in 0..3 {
            // The good one may have its acks before the lie is found out; afterwards the liar gets none.
            assert!(settled(&pump, seat).iter().all(|batch| *batch == good.reference()), "{policy:?}");
            assert!(pump.convicted.contains(&(seat, Seat(3))), "{policy:?}: {:?}", pump.convicted);
        }
        assert!(pump.convicted.iter().all(|(_, seat)| *seat == Seat(3)), "nobody else");
        pump.assert_agreed();
    }
}

#[test]
fn an_author_that_shows_two_faces_is_ordered_once_everywhere() {
    let mut held = 0;
    for seed in 0..10 {
        let mut pump = Pump::new(genesis(4, 4, Policy::Quorum), seed);
        pump.crash(3, 0);
        let (x, y) = (batch_of_the_liar(&pump, 1, 1, 3, false), batch_of_the_liar(&pump, 1, 1, 5, false));
        pump.inject(3, 0, Message::Batch(x.clone()));
        (1..3).for_each(|to| pump.inject(3, to, Message::Batch(y.clone())));
        let say = |batch: &Batch| vec![Ack { batch: batch.reference(), verdict: Verdict::Valid }];
        // One face to node 0, another to the others; the chains of both go on for some rounds.
        let face = |time| Liar { seat: 3, last: None, time };
        let (mut first, mut second) = (face(1), face(1));
        first.say(&mut pump, say(&x), &[0]);
        second.say(&mut pump, say(&y), &[1, 2]);
        let rows = transfers(&pump.genesis, 1, 1, 3);
        assert_eq!(pump.submit(0, &rows), 3);
        for _ in 0..8 {
            pump.run(Duration::from_millis(25 + seed), |_| false);
            first.say(&mut pump, Vec::new(), &[0]);
            second.say(&mut pump, Vec::new(), &[1, 2]);
        }
        let done = pump.run(MINUTE, |p| (0..3).all(|seat| p.settled_ok(seat) >= 3));
        assert!(done, "seed {seed}: {:#?}", pump.node(0).map(|n| n.progress()));
        pump.run(Duration::from_secs(20), |_| false);
        pump.assert_agreed();
        let of_liar = settled(&pump, 0).iter().filter(|b| b.author == Seat(3)).count();
        assert!(of_liar <= 1, "one slot settles once");
        let convict = |seat: usize| pump.convicted.contains(&(seat, Seat(3)));
        assert!((0..3).all(convict), "seed {seed}: {:?}", pump.convicted);
        assert!(pump.convicted.iter().all(|(_, seat)| *seat == Seat(3)), "nobody else");
        // (How a restart takes twins in its log: `src/node/tests/twins.rs`.)
        held += (0..3).filter(|&seat| !twins(&pump, seat).is_empty()).count();
        (0..3).for_each(|seat| pump.crash(seat, 0));
        (0..3).for_each(|seat| pump.start(seat));
        let rows = transfers(&pump.genesis, 2, 1, 3);
        let before = pump.settled_ok(1);
        assert_eq!(pump.submit(1, &rows), 3);
        let done = pump.run(MINUTE, |p| (0..3).all(|seat| p.settled_ok(seat) >= before + 3));
        assert!(done, "seed {seed}: {:#?}", pump.node(0).map(|n| n.progress()));
        pump.assert_agreed();
    }
    assert_eq!(held, 0, "it was convicted before anybody named it, so that nobody needed its other face");
}

/// The slots of which a node's log holds two vertices.
fn twins(pump: &Pump, seat: usize) -> Vec<(Round, Seat)> {
    let vertices = pump.log(seat).iter().filter(|(kind, _)| *kind == RecordKind::Vertex);
    let mut slots: Vec<_> = vertices
        .map(|(_, bytes)| SignedVertex::decode(bytes.clone()).unwrap().vertex)
        .map(|vertex| (vertex.round, vertex.author))
        .collect();
    slots.sort_unstable();
    slots.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
}

#[test]
fn a_leader_that_splits_its_peers_and_goes_silent_at_once_holds_nobody_up() {
    // Each side names the face that it was shown, and nobody is left who would show the other one: it is fetched from who
    // names it. Without that neither side would accept the other's vertices any more, and no side is a quorum.
    let sides: [[&[usize]; 2]; 3] = [[&[0], &[1, 2]], [&[1], &[0, 2]], [&[0, 1], &[2]]];
    for (seed, [one, two]) in (0..12).zip(sides.into_iter().cycle()) {
        let story = format!("seed {seed}, {one:?} and {two:?}");
        let mut pump = Pump::new(genesis(4, 4, Policy::Quorum), seed);
        pump.crash(3, 0);
        let rows = transfers(&pump.genesis, 1, 1, 3);
        assert_eq!(pump.submit(0, &rows), 3, "{story}");
        let mut liar = Liar { seat: 3, last: None, time: 1 };
        for round in 1..3 {
            liar.say(&mut pump, Vec::new(), &[0, 1, 2]);
            let done = pump.run(MINUTE, |p| vertices_of(p, 0, Round(round)) == 4);
            assert!(done, "{story}: all have a vertex of round {round}");
        }
        assert_eq!(pump.node(0).expect("it runs").leader(Round(3)), Seat(3), "{story}");
        let mut other = Liar { time: 2, ..liar };
        liar.say(&mut pump, Vec::new(), one);
        other.say(&mut pump, Vec::new(), two);
        let done = pump.run(Duration::from_secs(10), |p| (0..3).all(|seat| p.settled_ok(seat) >= 3));
        assert!(done, "{story}: {:#?}", pump.node(0).map(|n| n.progress()));
        pump.run(Duration::from_secs(1), |_| false);
        for seat in 0..3 {
            assert_eq!(twins(&pump, seat), [(Round(3), Seat(3))], "{story}: node {seat} has both");
            assert!(pump.convicted.contains(&(seat, Seat(3))), "{story}: {:?}", pump.convicted);
        }
        assert!(pump.convicted.iter().all(|(_, seat)| *seat == Seat(3)), "{story}: nobody else");
        assert!(pump.misbehaved.is_empty(), "{story}: {:?}", pump.misbehaved);
        let asks_blocks = usize::from(Message::WantBlocks { first: Height(1), count: 1 }.kind());
        assert_eq!(pump.sent[asks_blocks], 0, "{story}: all of it was ordered, nothing adopted");
        pump.assert_agreed();
        // The logs, with twins in them, are gone on with.
        (0..3).for_each(|seat| pump.crash(seat, 0));
        (0..3).for_each(|seat| pump.start(seat));
        let before = pump.settled_ok(1);
        let rows = transfers(&pump.genesis, 2, 1, 3);
        assert_eq!(pump.submit(1, &rows), 3, "{story}");
        let done = pump.run(MINUTE, |p| (0..3).all(|seat| p.settled_ok(seat) >= before + 3));
        assert!(done, "{story}: {:#?}", pump.node(0).map(|n| n.progress()));
        pump.assert_agreed();
    }
}

/// How many vertices of a round a node's log holds.
fn vertices_of(pump: &Pump, seat: usize, round: Round) -> usize {
    let vertices = pump.log(seat).iter().filter(|(kind, _)| *kind == RecordKind::Vertex);
    vertices.filter(|(_, bytes)| vertex_slot(bytes).is_some_and(|slot| slot.0 == round)).count()
}
