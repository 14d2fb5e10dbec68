//! Late comers: a node that was away for longer than its peers keep vertices and batches comes back by certified blocks,
//! settles what comes next as all others do, and is not led astray by liars among its sources.

mod common;

use common::{Pump, genesis, transfers};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use throng::audit::{Options, Verified, verify};
use throng::consensus::Retention;
use throng::node::NodeConfig;
use throng::store::{Append, Errand, Kept, RecordKind, Store, StoreConfig};
use throng::types::{BlockHash, Content, Height, Policy, Rules, Seat};
use throng::wire::{
    Batch, Blobs, HashedBlock, Message, Rows, TablePiece, block_hash, decode_block, encode_block,
    encode_genesis, record_root, seal,
};

/// Little is kept, so that a short absence is a long one.
fn forgetful() -> NodeConfig {
    NodeConfig { vertices_kept: Retention { depths: 3, bytes: 0 }, batches_kept: 8, ..NodeConfig::default() }
}

/// Four nodes that keep little.
fn world(seed: u64) -> Pump {
    Pump::with(genesis(4, 8, Policy::Quorum), seed, forgetful())
}

/// Lets clients send for some virtual seconds; `account` pays from `nonce` on.
fn live(pump: &mut Pump, seconds: u64, nonces: &mut u64) {
    for _ in 0..seconds * 5 {
        for account in 1..=8u32 {
            let rows = transfers(&pump.genesis, account, *nonces, 2);
            (0..3).for_each(|seat| _ = pump.submit((account as usize + seat) % 3, &rows));
        }
        *nonces += 2;
        pump.run(Duration::from_millis(200), |_| false);
    }
}

/// The settlement records on a node's disk, by the height of the block that names them.
fn records(pump: &Pump, seat: usize) -> BTreeMap<u64, [u8; 32]> {
    let (mut last, mut named) = (None, BTreeMap::new());
    for (kind, bytes) in pump.log(seat) {
        match kind {
            RecordKind::Settlement => last = Some(record_root(bytes).0),
            RecordKind::Block => {
                let height = decode_block(bytes).unwrap().height.0;
                last.take().map(|root| named.insert(height, root));
            }
            _ => {}
        }
    }
    named
}

/// The heights and hashes of the blocks on a node's disk.
fn chain(pump: &Pump, seat: usize) -> BTreeMap<u64, BlockHash> {
    chain_of(pump.log(seat))
}

fn chain_of(log: &[(RecordKind, bytes::Bytes)]) -> BTreeMap<u64, BlockHash> {
    let blocks = log.iter().filter(|(kind, _)| *kind == RecordKind::Block);
    blocks.map(|(_, bytes)| (decode_block(bytes).unwrap().height.0, block_hash(bytes))).collect()
}

/// Node 3 arrives: it has all blocks, makes vertices that the others name, and its next records are theirs.
fn assert_arrived(pump: &mut Pump, nonces: &mut u64) {
    let target = pump.height(0);
    let arrived = pump.run(Duration::from_secs(60), |pump| {
        pump.height(3) >= target && !pump.node(3).unwrap().progress().catching_up
    });
    assert!(arrived, "of {target} blocks: {:?}", pump.node(3).unwrap().progress());
    live(pump, 3, nonces);
    let (mine, theirs) = (pump.node(3).unwrap().progress(), pump.node(0).unwrap().progress());
    assert!(mine.round + 10 > theirs.round, "it signs again: {mine:?} beside {theirs:?}");
    let (ours, veterans) = (chain(pump, 3), chain(pump, 0));
    assert_eq!(ours.keys().next(), Some(&1));
    assert_eq!(ours.len() as u64, *ours.keys().last().unwrap(), "no height is missing or twice");
    assert!(ours.iter().all(|(height, hash)| veterans.get(height).is_none_or(|known| known == hash)));
    let (ours, veterans) = (records(pump, 3), records(pump, 0));
    let common: Vec<_> = ours.keys().filter(|height| veterans.contains_key(height)).collect();
    assert!(common.len() >= 3 && common.iter().all(|height| ours[height] == veterans[height]), "{common:?}");
    assert_eq!(pump.diverged.len(), 0);
}

/// A node's disk as the directory that the store makes of it: the log, and the snapshots beside it.
fn written(pump: &mut Pump, seat: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let genesis = encode_genesis(&pump.genesis);
    let mut store = Store::open(dir.path(), &genesis, &StoreConfig::default()).unwrap().store;
    let (keeper, kept) = crossbeam::channel::unbounded();
    store.start_keeper(Box::new(move |done| keeper.send(done).unwrap_or_default())).unwrap();
    let (sender, receiver) = crossbeam::channel::unbounded();
    store
        .start(Box::new(move |synced| sender.send(synced.map(|all| all.len())).unwrap_or_default()))
        .unwrap();
    let records = pump.log(seat).iter().map(|(kind, bytes)| Append {
        number: 0,
        kind: *kind,
        bytes: bytes.clone(),
        guard: None,
    });
    let records: Vec<_> = records.collect();
    for part in records.chunks(1_000) {
        let mut left = part.len();
        store.append(part.to_vec()).unwrap();
        while left > 0 {
            left -= receiver.recv().unwrap().unwrap();
        }
    }
    let mut older = None;
    for (height, bytes) in pump.snapshots(seat).clone() {
        assert!(store.errand(Errand::Snapshot { height: height.0, bytes, kept: older }));
        assert!(matches!(kept.recv().unwrap(), Kept::Snapshot { written: Ok(()), .. }));
        older = Some(height.0);
    }
    store.close().unwrap();
    dir
}

fn audited(dir: &Path) -> Verified {
    let options = Options { from_height: 1, signatures: true, threads: 2 };
    verify(dir, &options, &|_, _| false).unwrap()
}

/// What an auditor says of a node's disk.
fn verified(pump: &mut Pump, seat: usize) -> Verified {
    let dir = written(pump, seat);
    audited(dir.path())
}

/// A chain of some hundred blocks that node 3 has seen the beginning of only, or nothing.
fn away(seed: u64, loses: bool) -> (Pump, u64) {
    let (mut pump, mut nonces) = (world(seed), 1);
    live(&mut pump, 2, &mut nonces);
    pump.crash(3, 0);
    if loses {
        pump.lose(3);
    }
    live(&mut pump, 12, &mut nonces);
    assert!(pump.height(0) > 300, "{}", pump.height(0));
    (pump, nonces)
}

#[test]
fn a_node_that_was_away_comes_back_by_blocks_and_settles_what_comes_next_as_the_others() {
    for (seed, loses, snapshots) in [(1, false, false), (2, true, false), (3, true, true)] {
        let (mut pump, mut nonces) = away(seed, loses);
        let before = pump.sent;
        if snapshots {
            // At each checkpoint that has its settlement record: not at those that were adopted without.
            pump.config.snapshot_after_bytes = 1;
        }
        pump.start(3);
        assert_arrived(&mut pump, &mut nonces);
        assert!(pump.sent[10] > before[10] && pump.sent[12] > before[12], "by blocks and a record");
        assert_eq!(pump.misbehaved, []);
        assert_eq!(verified(&mut pump, 3).fault, None, "what it wrote is sound");
        // And is what it starts on.
        pump.crash(3, 0);
        pump.start(3);
        assert_arrived(&mut pump, &mut nonces);
    }
}

#[test]
fn a_short_absence_needs_no_blocks() {
    let (mut pump, mut nonces) = (world(4), 1);
    live(&mut pump, 2, &mut nonces);
    pump.crash(3, 0);
    live(&mut pump, 1, &mut nonces);
    pump.start(3);
    live(&mut pump, 3, &mut nonces);
    assert_arrived(&mut pump, &mut nonces);
    assert_eq!(pump.sent[10], 0, "vertices were enough");
}

#[test]
fn a_crash_at_any_moment_of_catching_up_loses_nothing() {
    let (mut pump, mut nonces) = away(5, true);
    pump.start(3);
    let mut crashes = 0;
    for stop in (0..40).map(|crash| 1 + crash * 37 % 300) {
        let mut events = 0;
        let amid = pump.run(Duration::from_secs(5), |pump| {
            events += u64::from(pump.node(3).unwrap().progress().catching_up);
            events > stop
        });
        if !amid || !pump.node(3).unwrap().progress().catching_up {
            break;
        }
        let torn = pump.unsynced(3);
        pump.crash(3, if crashes % 3 == 0 { 0 } else { torn.saturating_sub(crashes % 3 - 1) });
        pump.start(3);
        crashes += 1;
    }
    assert!(crashes >= 8, "{crashes}");
    assert_arrived(&mut pump, &mut nonces);
    assert_eq!(verified(&mut pump, 3).fault, None);
}

/// What node 1 makes of what it sends to node 3.
type Lie = fn(Message, &mut u64) -> Option<Message>;

const LIES: [(&str, Lie, Option<&str>); 6] = [
    (
        "blocks of another chain",
        |message, told| match message {
            Message::Blocks { first, blocks } if !blocks.is_empty() => {
                *told += 1;
                let other = |block: &HashedBlock| {
                    let mut block = block.block.clone();
                    block.accounts += 1;
                    HashedBlock::decode(encode_block(&block).into()).unwrap()
                };
                Some(Message::Blocks { first, blocks: Arc::new(blocks.iter().map(other).collect()) })
            }
            other => Some(other),
        },
        Some("blocks that do not link to a certified one"),
    ),
    (
        "batches whose columns were changed",
        |message, told| match message {
            Message::Batch(batch) => {
                *told += 1;
                let mut bytes = batch.bytes().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                Batch::decode(bytes.into()).ok().map(Message::Batch)
            }
            other => Some(other),
        },
        Some("columns do not match the roots"),
    ),
    (
        "batches of its own making",
        |message, told| match message {
            Message::Batch(batch) => {
                *told += 1;
                let rows: Rows<'_> = batch.rows();
                let one = Rows { effects: &rows.effects[..1], keys: &[], witnesses: &rows.witnesses[..1] };
                let header = &batch.header;
                let slot = (header.epoch, header.author, header.sequence);
                let chain = throng::wire::chain_id(&genesis(4, 8, Policy::Quorum));
                Some(Message::Batch(seal(&common::seat_key(1), &chain, slot, header.accounts, one)))
            }
            other => Some(other),
        },
        None,
    ),
    (
        "another record",
        |message, told| match message {
            Message::Record { height, bytes } if !bytes.is_empty() => {
                *told += 1;
                let mut record = throng::wire::decode_record(&bytes).unwrap();
                record.time.0 += 1;
                Some(Message::Record { height, bytes: throng::wire::encode_record(&record).into() })
            }
            other => Some(other),
        },
        Some("a settlement record that its checkpoint does not name"),
    ),
    (
        "nothing at all",
        |message, told| match message {
            Message::Blocks { .. } | Message::Batch(_) | Message::Record { .. } | Message::Certificate(_) => {
                *told += 1;
                None
            }
            other => Some(other),
        },
        None,
    ),
    (
        "a forged certificate",
        |message, told| match message {
            Message::Certificate(mut certificate) => {
                *told += 1;
                let forged = Arc::make_mut(&mut certificate);
                forged.height = Height(forged.height.0 + 8_000);
                Some(Message::Certificate(certificate))
            }
            other => Some(other),
        },
        Some("a certificate that does not hold"),
    ),
];

#[test]
fn a_liar_among_the_sources_is_named_where_it_can_be_and_leads_nobody_astray() {
    for (words, lie, reason) in LIES {
        let told = Arc::new(Mutex::new(0));
        let (mut named, mut seeds) = (false, 0);
        // Whom a node asks is drawn: until the liar, another one in each world, was asked for what it lies about.
        while !named && seeds < 6 {
            let liar = [1, 2, 0][seeds as usize % 3];
            let (mut pump, mut nonces) = away(10 + seeds, true);
            let count = told.clone();
            pump.change = Some(Box::new(move |from, to, message| match (from, to) {
                (from, 3) if from == liar => lie(message, &mut count.lock().unwrap()),
                _ => Some(message),
            }));
            pump.start(3);
            let target = pump.height(0);
            let arrived = pump.run(Duration::from_secs(60), |pump| {
                pump.height(3) >= target && !pump.node(3).unwrap().progress().catching_up
            });
            assert!(arrived, "{words}: {:?}", pump.node(3).unwrap().progress());
            assert!(
                pump.misbehaved.iter().all(|(seat, _)| *seat == Seat(liar as u16)),
                "{words}: {:?}",
                pump.misbehaved
            );
            named = *told.lock().unwrap() > 0
                && reason.is_none_or(|reason| pump.misbehaved.iter().any(|(_, said)| *said == reason));
            pump.change = None;
            assert_arrived(&mut pump, &mut nonces);
            seeds += 1;
        }
        assert!(named, "{words}: not named in {seeds} worlds");
    }
}

/// Of everything little is kept, on disk too: blocks of the last seconds, and snapshots as often as can be.
fn pruning() -> NodeConfig {
    NodeConfig { snapshot_after_bytes: 40_000, keep_blocks: Some(30), ..forgetful() }
}

/// A chain of which node 3 has seen nothing, or the beginning, and whose others have removed what it lacks.
fn pruned(seed: u64, loses: bool) -> (Pump, u64) {
    let mut genesis = genesis(4, 8, Policy::Quorum);
    // Vertices are kept on disk for ten times as many rounds.
    genesis.rules.depth = 10;
    let (mut pump, mut nonces) = (Pump::with(genesis, seed, pruning()), 1);
    live(&mut pump, 2, &mut nonces);
    pump.crash(3, 0);
    if loses {
        pump.lose(3);
    }
    live(&mut pump, 14, &mut nonces);
    let first = |seat: usize, pump: &Pump| {
        let left = &pump.log(seat)[pump.pruned(seat)..];
        let block = left.iter().find(|(kind, _)| *kind == RecordKind::Block).unwrap();
        decode_block(&block.1).unwrap().height.0
    };
    let removed: Vec<u64> = (0..3).map(|seat| first(seat, &pump)).collect();
    assert!(removed.iter().all(|first| *first > 100), "{removed:?} of {}", pump.height(0));
    (pump, nonces)
}

/// The heights of the blocks on node 3's disk, ascending, in stretches without a gap.
fn stretches(pump: &Pump) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for height in chain(pump, 3).into_keys() {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == height => *last = height,
            _ => stretches.push((height, height)),
        }
    }
    stretches
}

/// Node 3 arrives by the table of a checkpoint, and stays with the others.
fn assert_arrived_anew(pump: &mut Pump, nonces: &mut u64) {
    let target = pump.height(0);
    let arrived = pump.run(Duration::from_secs(60), |pump| {
        pump.height(3) >= target && !pump.node(3).unwrap().progress().catching_up
    });
    assert!(arrived, "of {target} blocks: {:?} {:?}", pump.node(3).unwrap().progress(), pump.misbehaved);
    live(pump, 3, nonces);
    let (mine, theirs) = (pump.node(3).unwrap().progress(), pump.node(0).unwrap().progress());
    assert!(mine.round + 10 > theirs.round, "it signs again: {mine:?} beside {theirs:?}");
    let (ours, veterans) = (chain(pump, 3), chain(pump, 0));
    assert!(ours.iter().all(|(height, hash)| veterans.get(height).is_none_or(|known| known == hash)));
    let (ours, veterans) = (records(pump, 3), records(pump, 0));
    let common: Vec<_> = ours.keys().filter(|height| veterans.contains_key(height)).collect();
    assert!(common.len() >= 3 && common.iter().all(|height| ours[height] == veterans[height]), "{common:?}");
    let lowest = (0..4).map(|seat| pump.height(seat)).min().unwrap();
    assert!(lowest + 50 > pump.height(0));
    assert!(pump.diverged.is_empty());
}

#[test]
fn a_node_whose_peers_removed_what_it_lacks_begins_anew_at_the_table_of_a_checkpoint() {
    for (seed, loses) in [(31, true), (32, false), (33, true), (34, false)] {
        let (mut pump, mut nonces) = pruned(seed, loses);
        let before = chain(&pump, 3).last_key_value().map_or(0, |(height, _)| *height);
        pump.start(3);
        assert_arrived_anew(&mut pump, &mut nonces);
        assert!(pump.sent[17] > 0 && pump.sent[12] > 0, "by pieces and a record");
        assert_eq!(pump.misbehaved, []);
        let stretches = stretches(&pump);
        assert!(stretches.len() == if loses { 1 } else { 2 }, "{stretches:?}");
        let (began, missing) = (stretches.last().unwrap().0, stretches.last().unwrap().0 - 1 - before);
        assert!(missing > 100, "{stretches:?}");
        let verified = verified(&mut pump, 3);
        assert_eq!(verified.fault, None, "what it wrote is sound");
        assert_eq!(verified.report.missing, missing, "{stretches:?}");
        assert!(verified.report.began >= began && verified.report.height == stretches.last().unwrap().1);
        // And is what it starts on.
        pump.crash(3, 0);
        pump.start(3);
        assert_arrived_anew(&mut pump, &mut nonces);
    }
}

#[test]
fn a_crash_at_any_moment_of_beginning_anew_loses_nothing() {
    for (seed, loses) in [(41, true), (42, false)] {
        let (mut pump, mut nonces) = pruned(seed, loses);
        pump.start(3);
        let mut crashes = 0;
        for stop in (0..60).map(|crash| 1 + crash * 53 % 200) {
            let mut events = 0;
            let amid = pump.run(Duration::from_secs(8), |pump| {
                let node = pump.node(3).unwrap();
                events += u64::from(node.progress().catching_up);
                events > stop
            });
            if !amid || !pump.node(3).unwrap().progress().catching_up {
                break;
            }
            let torn = pump.unsynced(3);
            pump.crash(3, if crashes % 3 == 0 { 0 } else { torn.saturating_sub(crashes % 3 - 1) });
            // What is on disk at every such moment is sound as well.
            assert_eq!(verified(&mut pump, 3).fault, None, "crash {crashes}");
            pump.start(3);
            crashes += 1;
        }
        assert!(crashes >= 8, "{crashes}");
        assert_arrived_anew(&mut pump, &mut nonces);
        assert_eq!(verified(&mut pump, 3).fault, None);
    }
}

#[test]
fn a_log_that_ends_at_any_record_of_beginning_anew_is_what_a_start_goes_on_from() {
    for (seed, loses) in [(43, true), (44, false)] {
        let (mut pump, _) = pruned(seed, loses);
        let before = pump.log(3).len();
        pump.start(3);
        let anew = |pump: &Pump| {
            stretches(pump).last().is_some_and(|(first, last)| *first > 100 && *last > *first + 20)
        };
        assert!(pump.run(Duration::from_secs(60), anew), "{:?}", stretches(&pump));
        pump.crash(3, 0);
        let whole = pump.log(3).to_vec();
        let base = whole.iter().rposition(|(kind, bytes)| {
            *kind == RecordKind::Block
                && decode_block(bytes).unwrap().height.0 == stretches(&pump).last().unwrap().0
        });
        for end in before..=(base.unwrap() + 40).min(whole.len()) {
            let torn = pump.log(3).len() - end;
            // The snapshot is on disk before what names it, and later ones are not there yet.
            let opened = pump.open_prefix(3, end);
            let node =
                opened.unwrap_or_else(|error| panic!("{end} of {}, {torn} torn: {error}", whole.len()));
            let expected = chain_of(&whole[..end]).last_key_value().map_or(0, |(height, _)| *height);
            assert_eq!(node.tip().0.0, expected, "{end}");
        }
    }
}

const WRONG_PIECE: &str = "a piece that is not of the account table";

/// What node 1 makes of what it sends to somebody who begins anew, and what it is reproached for.
const LIES_ANEW: [(&str, Lie, Option<&str>); 4] = [
    (
        "pieces with a flipped bit",
        |message, told| match message {
            Message::Piece(piece) if !piece.is_absent() => {
                *told += 1;
                let mut bytes = piece.proof().to_vec();
                bytes[40] ^= 1;
                Some(Message::Piece(TablePiece::of(piece.height(), piece.number(), &bytes)))
            }
            other => Some(other),
        },
        Some(WRONG_PIECE),
    ),
    (
        "another record",
        |message, told| match message {
            Message::Record { height, bytes } if !bytes.is_empty() => {
                *told += 1;
                let mut record = throng::wire::decode_record(&bytes).unwrap();
                record.time.0 += 1;
                Some(Message::Record { height, bytes: throng::wire::encode_record(&record).into() })
            }
            other => Some(other),
        },
        Some("a settlement record that its checkpoint does not name"),
    ),
    (
        "snapshots of no checkpoints",
        |message, told| match message {
            Message::Snapshots { first, .. } => {
                *told += 1;
                Some(Message::Snapshots { first, heights: vec![Height(1_001)] })
            }
            other => Some(other),
        },
        Some("snapshots of heights that are no checkpoints"),
    ),
    (
        "snapshots that are not there, and blocks that it has not",
        |message, told| match message {
            Message::Snapshots { heights, .. } => {
                *told += 1;
                let newest = heights.last().map_or(8_000, |height| height.0 + 80);
                Some(Message::Snapshots { first: Height(1), heights: vec![Height(newest)] })
            }
            Message::Blocks { first, .. } => Some(Message::Blocks { first, blocks: Arc::default() }),
            other => Some(other),
        },
        None,
    ),
];

#[test]
fn a_liar_among_the_sources_of_a_table_is_named_and_leads_nobody_astray() {
    for (words, lie, reason) in LIES_ANEW {
        let told = Arc::new(Mutex::new(0));
        let (mut named, mut seeds) = (false, 0);
        while !named && seeds < 15 {
            let liar = [1, 2, 0][seeds as usize % 3];
            let (mut pump, mut nonces) = pruned(50 + seeds, true);
            let count = told.clone();
            pump.change = Some(Box::new(move |from, to, message| match (from, to) {
                (from, 3) if from == liar => lie(message, &mut count.lock().unwrap()),
                _ => Some(message),
            }));
            pump.start(3);
            assert_arrived_anew(&mut pump, &mut nonces);
            let fair = |(seat, _): &(Seat, &str)| *seat == Seat(liar as u16);
            assert!(pump.misbehaved.iter().all(fair), "{words}: {:?}", pump.misbehaved);
            named = *told.lock().unwrap() > 0
                && reason.is_none_or(|reason| pump.misbehaved.iter().any(|(_, said)| *said == reason));
            seeds += 1;
        }
        assert!(named, "{words}: not named in {seeds} worlds");
    }
}

#[test]
fn the_pieces_of_a_large_table_come_from_several_peers_and_a_liar_among_them_is_asked_no_more() {
    let mut genesis = genesis(4, 30_000, Policy::Quorum);
    // Blobs fill the log fast, so that snapshots of a large table are not rare.
    genesis.rules = Rules { content: Content::Opaque, depth: 10, ..genesis.rules };
    genesis.check().unwrap();
    let mut pump = Pump::with(genesis, 61, NodeConfig { snapshot_after_bytes: 1 << 20, ..pruning() });
    pump.run(Duration::from_secs(1), |_| false);
    pump.crash(3, 0);
    pump.lose(3);
    let blobs = Blobs::pack(16 << 10, vec![5; 128 << 10]).unwrap();
    let live = |pump: &mut Pump, turns: u32| {
        for _ in 0..turns {
            (0..3).for_each(|seat| _ = pump.submit_blobs(seat, &blobs));
            pump.run(Duration::from_millis(100), |_| false);
        }
    };
    live(&mut pump, 150);
    assert!((0..3).all(|seat| pump.pruned(seat) > 500), "all have removed the beginning");
    let given: Arc<Mutex<BTreeMap<usize, u32>>> = Arc::default();
    let count = given.clone();
    pump.change = Some(Box::new(move |from, _, message| match message {
        Message::Piece(piece) => {
            *count.lock().unwrap().entry(from).or_default() += 1;
            let mut proof = piece.proof().to_vec();
            if from == 1 && !proof.is_empty() {
                *proof.last_mut().unwrap() ^= 1;
            }
            Some(Message::Piece(TablePiece::of(piece.height(), piece.number(), &proof)))
        }
        other => Some(other),
    }));
    pump.start(3);
    let target = pump.height(0);
    for _ in 0..200 {
        live(&mut pump, 1);
        if pump.height(3) >= target && !pump.node(3).unwrap().progress().catching_up {
            break;
        }
    }
    assert!(pump.height(3) >= target, "{:?}", pump.node(3).unwrap().progress());
    let given = given.lock().unwrap().clone();
    // 30,001 accounts are eight pieces.
    assert!(given[&0] >= 2 && given[&2] >= 2 && given[&0] + given[&2] >= 8, "{given:?}");
    assert!(given[&1] <= 2, "it was asked for two at once, and then no more: {given:?}");
    assert!(
        !pump.misbehaved.is_empty() && pump.misbehaved.iter().all(|said| *said == (Seat(1), WRONG_PIECE))
    );
    assert!(pump.diverged.is_empty());
    let root = |seat: usize| pump.shared(seat).unwrap().ledger.root();
    assert_eq!(root(3), root(0));
}
