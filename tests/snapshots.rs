//! Going on from a snapshot: exactly as who replayed everything.

mod common;

use bytes::Bytes;
use common::{Pump, genesis, transfers};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use throng::node::{Base, Node, NodeConfig, Shared};
use throng::store::{Guard, RecordKind};
use throng::types::{Account, Block, Height, Policy, Root, RootKind};
use throng::wire::{decode_block, record_root};
use zerocopy::IntoBytes;

type Log = Vec<(RecordKind, Bytes)>;

const EVERY: u64 = 8;

/// A chain under load for so long, with losses and restarts.
fn played(nodes: u16, config: NodeConfig, height: u64) -> Pump {
    let mut pump = Pump::with(genesis(nodes, 8, Policy::Quorum), 11, config);
    pump.link.loss_percent = 2;
    let mut nonce = 1;
    for turn in 0u64.. {
        for account in 1..=8 {
            let rows = transfers(&pump.genesis, account, nonce, 4);
            pump.submit(usize::from((u64::from(account) + turn) as u16 % nodes), &rows);
        }
        nonce += 4;
        let target = (turn + 1) * 12;
        assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) >= target.min(height)), "{turn}");
        if pump.height(0) >= height {
            return pump;
        }
        if turn % 3 == 2 {
            let seat = (turn as usize / 3) % usize::from(nodes);
            let torn = pump.unsynced(seat) / 2;
            pump.crash(seat, torn);
            pump.run(Duration::from_millis(300), |_| false);
            pump.start(seat);
        }
    }
    unreachable!()
}

fn blocks(log: &Log) -> BTreeMap<u64, (usize, Block, Bytes)> {
    let blocks = log.iter().enumerate().filter(|(_, (kind, _))| *kind == RecordKind::Block);
    let decoded = blocks.map(|(at, (_, bytes))| (at, decode_block(bytes).unwrap(), bytes.clone()));
    decoded.map(|(at, block, bytes)| (block.height.0, (at, block, bytes))).collect()
}

fn root(block: &Block, kind: RootKind) -> Root {
    block.roots.iter().find(|(found, _)| *found == kind).unwrap().1
}

fn settlement(log: &Log, named: Root) -> Bytes {
    let records = log.iter().filter(|(kind, _)| *kind == RecordKind::Settlement);
    records.map(|(_, bytes)| bytes.clone()).find(|bytes| record_root(bytes) == named).unwrap()
}

/// Everything about a node that must not depend on where it began.
fn state(node: &Node, shared: &Shared, checkpoint: u64) -> String {
    let (table, root) = (shared.ledger.read(|accounts| accounts.as_bytes().to_vec()), shared.ledger.root());
    let record = node.settlement_record(Height(checkpoint)).cloned();
    let holdings = node.holdings();
    let open =
        (holdings.unsettled_batches, holdings.batches, holdings.named_batches, holdings.waiting_blocks);
    let own = (node.tip(), node.progress(), node.guard());
    format!("{own:?} {} {root} {record:?} {open:?} {}", blake3::hash(&table), shared.ledger.len())
}

fn replayed(pump: &Pump, seat: usize, log: &[(RecordKind, Bytes)], guard: Guard) -> (Node, Arc<Shared>) {
    let guard = throng::store::GuardState::Intact(guard);
    Node::open(pump.setup(seat), log.iter().cloned(), guard, pump.now).expect("the log replays")
}

#[test]
fn from_a_snapshot_at_any_checkpoint_the_rest_of_the_log_leads_to_the_same_state_at_every_height() {
    let never = NodeConfig { snapshot_after_bytes: u64::MAX, ..NodeConfig::default() };
    for nodes in [1, 4] {
        let pump = played(nodes, never, 120);
        let log = pump.log(0).to_vec();
        let blocks = blocks(&log);
        let tip = *blocks.keys().last().unwrap();
        let mut compared = 0;
        for height in (EVERY..=tip).step_by(EVERY as usize) {
            let (at, block, bytes) = &blocks[&height];
            // The table after the block is what a node that replays up to there has.
            let (_, shared) = replayed(&pump, 0, &log[..=*at], Guard::default());
            let table: Vec<Account> = shared.ledger.read(<[_]>::to_vec);
            assert_eq!(shared.ledger.root(), root(block, RootKind::Accounts));
            let record = settlement(&log, root(block, RootKind::Settlement));
            for end in *at + 1..=log.len() {
                let ends_a_block = log[end - 1].0 == RecordKind::Block || end == log.len();
                if end % 13 != 0 && !(ends_a_block && end < at + 120) {
                    continue;
                }
                let mut guard = Guard::default();
                let whole = loop {
                    // As the guard of a disk with this log says.
                    let (node, shared) = replayed(&pump, 0, &log[..end], guard);
                    if node.guard() == guard {
                        break state(&node, &shared, tip / EVERY * EVERY);
                    }
                    guard = node.guard();
                };
                let base = Base { block: bytes.clone(), record: record.clone(), table: table.clone() };
                let state_of = |from: usize| {
                    let guard = throng::store::GuardState::Intact(guard);
                    let rest = log[from..end].iter().cloned();
                    let opened = Node::open_on(pump.setup(0), base.clone(), rest, guard, pump.now);
                    let (node, shared) = opened.unwrap_or_else(|error| panic!("{height} to {end}: {error}"));
                    state(&node, &shared, tip / EVERY * EVERY)
                };
                assert_eq!(state_of(0), whole, "{nodes} nodes, from {height}, records up to {end}");
                compared += 1;
            }
        }
        assert!(compared > 500, "{compared}");
    }
}

/// Snapshots as often as can be, and of blocks only the newest few kept.
const OFTEN: NodeConfig =
    NodeConfig { mempool_rows_max: 32_768, snapshot_after_bytes: 1, keep_blocks: Some(20) };

#[test]
fn nodes_that_start_from_snapshots_and_prune_stay_with_the_others() {
    for nodes in [1, 4] {
        let mut pump = played(nodes, OFTEN, 700);
        for seat in 0..usize::from(nodes) {
            let heights: Vec<u64> = pump.snapshots(seat).keys().map(|height| height.0).collect();
            assert!(heights.len() == 2 && heights.iter().all(|height| height % EVERY == 0), "{heights:?}");
            assert!(pump.pruned(seat) > 300, "{}", pump.pruned(seat));
            pump.crash(seat, 0);
            // What both snapshots lead to is the same.
            let (node, shared) = pump.open(seat).unwrap();
            let newest = pump.snapshots(seat).pop_last().unwrap();
            let (other, its) = pump.open(seat).unwrap();
            assert_eq!(state(&node, &shared, heights[1]), state(&other, &its, heights[1]));
            assert_eq!(other.guard(), node.guard());
            pump.snapshots(seat).extend([newest]);
            pump.start(seat);
        }
        let height = pump.height(0);
        let rows = transfers(&pump.genesis, 1, 100_000, 1);
        assert_eq!(pump.submit(0, &rows), 0, "nonces went on");
        assert!(pump.run(Duration::from_secs(60), |pump| {
            (0..usize::from(nodes)).all(|seat| pump.height(seat) > height + 40)
        }));
        pump.assert_agreed();
        assert!(pump.misbehaved.is_empty() && pump.diverged.is_empty());
    }
}
