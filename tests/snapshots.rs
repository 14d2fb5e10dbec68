//! Going on from a snapshot: exactly as who replayed everything.

mod common;

use bytes::Bytes;
use common::directory::{Log, OFTEN, blocks, played, pump_guard, small, verified, written};
use common::{Pump, genesis, seat_key, transfers};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use throng::audit::{AuditError, Fault, Options, Question, Shown, Verified, export_state, inspect, verify};
use throng::node::{Base, Node, NodeConfig, Shared, Snapshots, TABLE_BYTES_MAX};
use throng::store::{Guard, GuardState, Opened, RecordKind, Store, StoreError};
use throng::types::{
    Account, AccountNumber, Block, Epoch, Height, Policy, Root, RootKind, Round, Seat, Time, Vertex,
};
use throng::wire::{Evidence, Message, chain_id, decode_block, encode_genesis, record_root, sign_vertex};
use zerocopy::IntoBytes;

/// What becomes of a file's bytes.
type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

const EVERY: u64 = 8;

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
    let guard = GuardState::Intact(guard);
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
                    let guard = GuardState::Intact(guard);
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

#[test]
fn a_pruning_that_failed_is_wanted_again_with_a_later_snapshot_and_then_takes_all() {
    let mut pump = played(1, OFTEN, 500);
    let live = |pump: &mut Pump, blocks: u64| {
        let target = pump.height(0) + blocks;
        while pump.height(0) < target {
            let before = pump.height(0);
            for account in 1..=8 {
                let known = pump.shared(0).unwrap().ledger.account(AccountNumber(account)).unwrap();
                pump.submit(0, &transfers(&pump.genesis, account, known.nonce_high.get() + 1, 4));
            }
            assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) > before), "{before}");
        }
    };
    let (wanted, gone) = (pump.prunings, pump.pruned(0));
    pump.no_pruning = true;
    live(&mut pump, 100);
    assert!(pump.prunings > wanted + 2, "{} and {wanted} before", pump.prunings);
    assert_eq!(pump.pruned(0), gone);
    pump.no_pruning = false;
    let wanted = pump.prunings;
    while pump.prunings == wanted {
        live(&mut pump, 1);
    }
    assert!(pump.pruned(0) > gone + 100, "{} and {gone} before", pump.pruned(0));
    // What is left leads to the same state.
    pump.crash(0, 0);
    pump.start(0);
    live(&mut pump, 10);
}

/// A validator that was away for long asks what it may have forgotten, and has to go by what one answers that began later.
#[test]
fn a_start_does_not_wait_for_what_a_peer_on_a_snapshot_cannot_know() {
    let keeps_all = NodeConfig { keep_blocks: None, ..OFTEN };
    let mut pump = played(4, keeps_all, 60);
    let (guard, mut nonce) = (pump.node(2).unwrap().guard().round, 1_000);
    pump.crash(2, 0);
    let mut live = |pump: &mut Pump, blocks: u64| {
        let target = pump.height(0) + blocks;
        while pump.height(0) < target {
            let rows = transfers(&pump.genesis, 1, nonce, 2);
            nonce += 2;
            (0..2).for_each(|seat| _ = pump.submit(seat, &rows));
            let before = pump.height(0);
            assert!(
                pump.run(Duration::from_secs(60), |pump| pump.height(0) > before),
                "{before} of {target}"
            );
        }
    };
    live(&mut pump, 150);
    pump.crash(1, 0);
    pump.start(1);
    let began = pump.node(1).unwrap().began();
    assert!(began > guard, "it began at {began:?}, and the other one left at {guard:?}");
    live(&mut pump, 10);
    // From here on three of four run, of which one comes back.
    pump.crash(3, 0);
    pump.start(2);
    live(&mut pump, 40);
    let returned = pump.node(2).unwrap();
    assert!(returned.guard().round > began && !returned.guard().lost, "{:?}", returned.guard());
    pump.assert_agreed();
    assert!(pump.misbehaved.is_empty() && pump.diverged.is_empty());
}

/// What a start makes of a directory: the state, and the snapshots that it passed over.
fn opened(pump: &Pump, dir: &Path) -> Result<(String, Vec<Height>), String> {
    let Opened { records, guard, snapshots, removed, store, .. } =
        Store::open(dir, &encode_genesis(&pump.genesis), &small()).map_err(|error| error.to_string())?;
    let read = |height: Height| Store::snapshot(dir, height.0, TABLE_BYTES_MAX).map_err(|e| e.to_string());
    let newest = *snapshots.iter().rfind(|height| height.is_multiple_of(EVERY)).unwrap();
    let snapshots = Snapshots { heights: snapshots.into_iter().map(Height).collect(), removed, read: &read };
    let opened = Node::open_newest(pump.setup(0), snapshots, records, guard, pump.now);
    drop(store);
    let (node, shared, refused) = opened.map_err(|error| error.to_string())?;
    Ok((state(&node, &shared, newest), refused.into_iter().map(|refused| refused.height).collect()))
}

fn fault(dir: &Path) -> Fault {
    verified(dir).fault.expect("something is wrong")
}

/// A pruned directory of a chain of four and the chain that it is of.
fn pruned() -> (Pump, tempfile::TempDir) {
    let mut pump = played(4, OFTEN, 200);
    let dir = written(&mut pump, 0, true);
    (pump, dir)
}

#[test]
fn a_pruned_directory_is_good_shows_what_it_keeps_and_gives_the_same_state() {
    let (mut pump, dir) = pruned();
    let chain = pump.blocks(0);
    let heights: Vec<u64> = pump.snapshots(0).keys().map(|height| height.0).collect();
    let Verified { report, fault } = verified(dir.path());
    assert_eq!(fault, None);
    assert_eq!((report.height, report.began, report.snapshots), (chain.len() as u64, heights[0], 2));
    assert_eq!(report.hash, chain.last().unwrap().to_string());
    let (node, shared) = pump.open(0).unwrap();
    assert_eq!(report.root, shared.ledger.root().to_string());
    assert!(report.certified >= heights[0] && report.signatures.vertices == report.vertices, "{report:?}");
    let (state_there, refused) = opened(&pump, dir.path()).unwrap();
    assert_eq!((state_there, refused), (state(&node, &shared, heights[1]), Vec::new()));
    let whole = pump.log(0).to_vec();
    let (node, shared) = replayed(&pump, 0, &whole, pump_guard(&pump, 0));
    assert_eq!(report.root, shared.ledger.root().to_string());
    assert_eq!(node.tip().1, *chain.last().unwrap());

    let ask = |question: Question| inspect(dir.path(), &question, &|_, _| false);
    let Shown::Overview(overview) = ask(Question::Overview).unwrap() else { panic!("an overview") };
    assert_eq!((overview.height, &overview.snapshots), (report.height, &heights));
    assert!(overview.pruned > 50 && overview.segments[0].segment > 1);
    // A block of a removed segment, one that is passed over, one that is replayed.
    for height in [1, overview.pruned, overview.pruned + 1, heights[0], heights[0] + 1, report.height] {
        let Shown::Block(block) = ask(Question::Height(height)).unwrap() else { panic!("a block") };
        assert_eq!((block.height, block.hash), (height, chain[height as usize - 1].to_string()));
        assert_eq!(block.at.file.to_str().unwrap().contains("pruned-"), height <= overview.pruned);
        assert!(block.settled.iter().all(|batch| batch.rows.is_some() == (height > heights[0])));
    }
    assert!(matches!(ask(Question::Height(report.height + 1)), Err(AuditError::NotFound(_))));
    let Shown::Segment(segment) = ask(Question::Segment(1)).unwrap() else { panic!("a segment") };
    assert!(segment.records.iter().all(|record| record.kind == "block") && !segment.records.is_empty());
    let Shown::Account(account) = ask(Question::Account(3)).unwrap() else { panic!("an account") };
    assert_eq!((account.height, account.root), (report.height, report.root.clone()));
    let old =
        decode_block(&blocks(&whole).values().find(|(_, block, _)| !block.settled.is_empty()).unwrap().2)
            .unwrap();
    let gone = ask(Question::Batch(old.settled[0].id.to_string()));
    assert!(gone.is_err_and(|error| error.to_string().contains("is kept here from height")));
    let file = dir.path().parent().unwrap().join(format!("state-{}", std::process::id()));
    let exported = export_state(dir.path(), &file, &|_, _| false).unwrap();
    assert_eq!(exported.root, report.root);
    assert_eq!(blake3::hash(&fs::read(&file).unwrap()).to_hex().to_string(), report.root);
    fs::remove_file(file).unwrap();
}

#[test]
fn a_damaged_snapshot_is_named_and_the_one_before_it_does() {
    let (mut pump, dir) = pruned();
    let heights: Vec<u64> = pump.snapshots(0).keys().map(|height| height.0).collect();
    let (sound, _) = opened(&pump, dir.path()).unwrap();
    let path = |height: u64| Store::snapshot_path(dir.path(), height);
    let whole: Vec<Vec<u8>> = heights.iter().map(|height| fs::read(path(*height)).unwrap()).collect();
    let damaged: [Damage; 6] = [
        &|whole| [&whole[..whole.len() - 1], &[whole[whole.len() - 1] ^ 1]].concat(),
        &|whole| [&[whole[0] ^ 128], &whole[1..]].concat(),
        &|whole| whole[..whole.len() / 2].to_vec(),
        &|whole| whole[..64].to_vec(),
        &|whole| [whole, &[0; 64]].concat(),
        &|_| Vec::new(),
    ];
    for damage in damaged {
        for (at, height) in heights.iter().enumerate() {
            fs::write(path(*height), damage(&whole[at])).unwrap();
            let found = fault(dir.path());
            assert_eq!((&found.file, found.offset, found.height), (&path(*height), 0, *height), "{found}");
            assert!(found.expected.contains("account root") && found.found.contains("root"), "{found}");
            let refused = if at == 1 { vec![Height(*height)] } else { Vec::new() };
            assert_eq!(opened(&pump, dir.path()).unwrap(), (sound.clone(), refused));
            fs::write(path(*height), &whole[at]).unwrap();
        }
        heights
            .iter()
            .zip(&whole)
            .for_each(|(height, whole)| fs::write(path(*height), damage(whole)).unwrap());
        let none = opened(&pump, dir.path()).unwrap_err();
        assert!(none.contains("no snapshot is good") && none.contains(&heights[0].to_string()), "{none}");
        assert_eq!(fault(dir.path()).file, path(heights[0]));
        heights.iter().zip(&whole).for_each(|(height, whole)| fs::write(path(*height), whole).unwrap());
    }
    // One of another height than it is of, one of no checkpoint, and none at all.
    fs::write(path(heights[1]), &whole[0]).unwrap();
    assert_eq!(fault(dir.path()).file, path(heights[1]));
    assert_eq!(opened(&pump, dir.path()).unwrap().0, sound);
    fs::write(path(heights[1]), &whole[1]).unwrap();
    fs::write(path(heights[1] + 1), &whole[1]).unwrap();
    assert_eq!(fault(dir.path()).file, path(heights[1] + 1));
    assert_eq!(opened(&pump, dir.path()).unwrap(), (sound, vec![Height(heights[1] + 1)]));
    for height in [heights[0], heights[1], heights[1] + 1] {
        fs::remove_file(path(height)).unwrap();
    }
    let found = fault(dir.path());
    assert!(found.found.contains("begins after block") && found.expected.contains("snapshot"), "{found}");
}

#[test]
fn what_is_missing_or_changed_around_a_pruned_log_is_named() {
    let (pump, dir) = pruned();
    let part = |name: &str, number: usize| dir.path().join(format!("{name}-{number:06}.blk"));
    let first = (1..).find(|number| part("segment", *number).exists()).unwrap();
    let last = (first..).take_while(|number| part("segment", *number).exists()).last().unwrap();
    assert!(first > 3 && last > first + 1, "{first} to {last}");
    let missing =
        [part("pruned", 2), part("pruned", first - 1), part("segment", first), part("segment", first + 1)];
    for path in missing {
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // What should stand at that place is a segment, or what is left of it.
        let number = path.file_name().unwrap().to_str().unwrap()[7..].trim_start_matches('-').to_owned();
        let found = fault(dir.path());
        assert!(
            found.file.to_str().unwrap().ends_with(&number) && found.found.contains("missing"),
            "{found}"
        );
        assert!(opened(&pump, dir.path()).is_err());
        fs::write(&path, &whole).unwrap();
    }
    for number in [1, first - 1] {
        let path = part("pruned", number);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(61) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            match verify(dir.path(), &Options { from_height: 1, signatures: false, threads: 1 }, &|_, _| {
                false
            }) {
                Ok(Verified { fault, .. }) => assert_eq!(fault.expect("a flip is found").file, path),
                Err(AuditError::Store(StoreError::NewerFormat { file, .. })) => assert_eq!(file, path),
                Err(error) => panic!("{at}: {error}"),
            }
        }
        // A block changed behind a check that fits is no link of the chain.
        let mut bytes = whole.clone();
        let end = bytes.len() - 32;
        bytes[end - 6] ^= 1; // in its last root, or in the hash of its outcomes
        let check = blake3::derive_key("throng store remains v1", &bytes[..end]);
        bytes[end..].copy_from_slice(&check);
        fs::write(&path, &bytes).unwrap();
        let found = fault(dir.path());
        let link = found.expected.len() == 64 && found.found.contains("hash of the block before");
        // Which comes first depends on what stands at the beginning of the next segment.
        assert!(link || found.found.contains("a certificate of another block"), "{found}");
        assert!(found.height > 1);
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(verified(dir.path()).fault, None);
}

#[test]
fn what_lay_open_and_what_was_proven_before_all_that_is_kept_survives_pruning() {
    let mut pump = Pump::with(genesis(4, 8, Policy::Quorum), 5, OFTEN);
    assert!(pump.run(Duration::from_secs(10), |pump| pump.height(0) >= 10));
    // The last validator seals a batch, of which the first one alone hears, and falls silent; another has
    // shown two faces.
    pump.cut.extend([(3, 1), (3, 2)]);
    let rows = transfers(&pump.genesis, 3, 1, 4);
    assert_eq!(pump.submit(3, &rows), 4);
    let batch = |pump: &Pump| pump.log(0).iter().rposition(|(kind, _)| *kind == RecordKind::Batch);
    assert!(pump.run(Duration::from_secs(10), |pump| batch(pump).is_some()));
    let at = batch(&pump).unwrap();
    pump.crash(3, 0);
    pump.cut.clear();
    let faces = [1, 2].map(|time| {
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(1),
            author: Seat(2),
            time: Time(time),
            strong: Vec::new(),
            weak: Vec::new(),
            acks: Vec::new(),
            parts: Vec::new(),
        };
        Arc::new(sign_vertex(&seat_key(2), &chain_id(&pump.genesis), vertex))
    });
    let proof = Evidence::of_vertices(&faces[0], &faces[1]).expect("two faces");
    pump.inject(1, 0, Message::Evidence(Arc::new(proof)));
    assert!(pump.run(Duration::from_secs(5), |pump| !pump.convicted.is_empty()));
    let proven = pump.log(0).iter().position(|(kind, _)| *kind == RecordKind::Evidence).unwrap();
    let enough = |pump: &Pump| pump.pruned(0) > at.max(proven) + 1_000;
    for turn in 0..200 {
        let rows = transfers(&pump.genesis, turn % 2 + 1, u64::from(turn / 2 + 1), 1);
        pump.submit(0, &rows);
        pump.run(Duration::from_secs(2), enough);
    }
    assert!(enough(&pump), "{}", pump.pruned(0));
    // What was sent last settles, so that one batch alone is open.
    pump.run(Duration::from_secs(5), |_| false);
    pump.crash(0, 0);
    let (node, _) = pump.open(0).unwrap();
    assert_eq!((node.holdings().unsettled_batches, node.evidence().count()), (1, 1));
    pump.start(0);
    // It comes back, and what it had sealed settles.
    let before = pump.settled_ok(0);
    pump.start(3);
    assert!(pump.run(Duration::from_secs(60), |pump| pump.settled_ok(0) >= before + 4));
    pump.assert_agreed();
}

#[test]
fn a_snapshot_that_cannot_be_written_keeps_nothing_from_going_on_and_the_next_one_is_tried() {
    let mut pump = Pump::with(genesis(1, 8, Policy::Quorum), 3, OFTEN);
    assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) >= 70));
    let before = pump.snapshots(0).clone();
    // An idle chain of one writes little: in four intervals as much as four times its table.
    assert_eq!(before.keys().map(|height| height.0).collect::<Vec<_>>(), [32, 64]);
    pump.no_room = true;
    assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) >= 140));
    assert_eq!(*pump.snapshots(0), before, "the good ones stay");
    pump.crash(0, 0);
    pump.start(0);
    pump.no_room = false;
    assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) >= 200));
    let heights: Vec<u64> = pump.snapshots(0).keys().map(|height| height.0).collect();
    assert_eq!(heights, [160, 192], "{heights:?}");
}
