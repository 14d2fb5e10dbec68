//! Records are found by name, before and after a restart, as they were written or not at all.

use super::*;
use crate::crypto::{signing_key_from_seed, verify_range_of};
use crate::types::{
    AccountNumber, BatchId, BatchRef, Block, BlockHash, Certificate, ChainId, Effect, Epoch, Height,
    LeaderRef, Root, RootKind, Round, Seat, Sequence, Time, VertexId, Witness,
};
use crate::wire::{Batch, Rows, encode_block, encode_certificate, record_root, seal, table_piece};
use std::os::unix::fs::FileExt;

const BLOCKS: u64 = 60;

fn batch(number: u64) -> Batch {
    let effects = [Effect::transfer(1, 2, 5, number, 1)];
    let rows = Rows { effects: &effects, keys: &[], witnesses: &[Witness([7; 64])] };
    seal(&signing_key_from_seed([1; 32]), &ChainId([3; 32]), (Epoch(0), Seat(0), Sequence(number)), 3, rows)
}

/// Not a record that agreement could go on from; the index does not look into it.
fn record(height: u64) -> Bytes {
    payload(height as u8, 300)
}

fn block(height: u64) -> Bytes {
    let roots = if height.is_multiple_of(8) {
        vec![(RootKind::Settlement, record_root(&record(height)))]
    } else {
        vec![]
    };
    let settled: Vec<BatchRef> = vec![batch(height).reference()];
    encode_block(&Block {
        epoch: Epoch(0),
        height: Height(height),
        previous: BlockHash([1; 32]),
        leader: LeaderRef { round: Round(height), author: Seat(0), id: VertexId([2; 32]) },
        time: Time(height),
        accounts: 3,
        settled,
        outcomes: [0; 32],
        roots: [roots, vec![(RootKind::Committee, Root([0; 32]))]].concat(),
    })
    .into()
}

fn certificate(height: u64) -> Bytes {
    let (height, hash) = (Height(height), BlockHash([9; 32]));
    encode_certificate(&Certificate { epoch: Epoch(0), height, hash, votes: vec![(Seat(0), [5; 64])] }).into()
}

/// Every 16th block has a certificate.
fn log() -> Records {
    let mut log = Records::new();
    for height in 1..=BLOCKS {
        log.push((RecordKind::Vertex, payload(height as u8, 200)));
        log.push((RecordKind::Batch, batch(height).bytes().clone()));
        if height.is_multiple_of(8) {
            log.push((RecordKind::Settlement, record(height)));
        }
        log.push((RecordKind::Block, block(height)));
        if height.is_multiple_of(16) {
            log.push((RecordKind::Certificate, certificate(height)));
        }
    }
    log
}

fn assert_finds_all(finder: &mut Finder) {
    for height in 1..=BLOCKS {
        assert_eq!(finder.block(Height(height)).unwrap(), Some(block(height)));
        assert_eq!(finder.batch(&batch(height).id).unwrap().as_ref(), Some(batch(height).bytes()));
        let named = height.is_multiple_of(8).then(|| record(height));
        assert_eq!(finder.record(Height(height)).unwrap(), named, "height {height}");
        let next = height.next_multiple_of(16);
        let above = (next <= BLOCKS).then(|| certificate(next));
        assert_eq!(finder.certificate(Height(height)).unwrap(), above, "height {height}");
    }
    assert_eq!(finder.block(Height(0)).unwrap(), None);
    assert_eq!(finder.block(Height(BLOCKS + 1)).unwrap(), None);
    assert_eq!(finder.batch(&BatchId([4; 32])).unwrap(), None);
}

#[test]
fn what_became_durable_is_found_by_name_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let told = start(&mut store);
    let mut finder = store.finder();
    for (kind, bytes) in log() {
        store.append(vec![append_of(0, kind, &bytes)]).unwrap();
        told.recv().unwrap().unwrap();
    }
    assert_finds_all(&mut finder);
    store.close().unwrap();
    assert!(segment::list(dir.path()).unwrap().segments > 2);
    let mut opened = open(dir.path()).unwrap();
    let mut finder = opened.store.finder();
    assert_eq!(finder.block(Height(1)).unwrap(), None, "nothing was passed yet");
    // Looked through twice, as by a start that looks for a base first.
    let again = opened.records.clone();
    assert_eq!(again.count(), log().len());
    assert_finds_all(&mut finder);
    assert_eq!(opened.records.by_ref().count(), log().len());
    assert_finds_all(&mut finder);
}

#[test]
fn what_was_changed_or_removed_is_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    write_groups(dir.path(), &log().into_iter().map(|record| vec![record]).collect::<Vec<_>>());
    let opened = open(dir.path()).unwrap();
    let mut finder = opened.store.finder();
    assert_eq!(opened.records.count(), log().len());
    let path = segment_1(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let wanted = block(3);
    let at = bytes.windows(wanted.len()).position(|window| window == &wanted[..]).unwrap();
    bytes[at + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = finder.block(Height(3)).unwrap_err();
    assert!(matches!(damaged, StoreError::Damaged { damage: Damage::Record, .. }), "{damaged}");
    assert_eq!(finder.block(Height(4)).unwrap(), Some(block(4)));
    // The length in a header is held against the segment before it is believed.
    bytes[at + 20] ^= 1;
    let head = at - format::RECORD_HEAD_BYTES;
    bytes[head + 16..head + 20].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(finder.block(Height(3)).is_err());
    fs::remove_file(&path).unwrap();
    let mut finder = Store::finder(&opened.store);
    assert_eq!(finder.block(Height(3)).unwrap(), None, "its segment was pruned");
    assert_eq!(finder.block(Height(BLOCKS)).unwrap(), Some(block(BLOCKS)));
}

#[test]
fn what_was_pruned_is_forgotten_and_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let (sender, kept) = unbounded();
    store.start_keeper(Box::new(move |done| sender.send(done).unwrap_or_default())).unwrap();
    let told = start(&mut store);
    // Small batches besides, more than are looked at in one step.
    let more = (1_001..3_001).map(|number| (RecordKind::Batch, batch(number).bytes().clone()));
    let (mut durable, mut sent) = (0, 0);
    for (kind, bytes) in more.chain(log()) {
        store.append(vec![append_of(0, kind, &bytes)]).unwrap();
        sent += 1;
        while durable + 16 < sent {
            durable += told.recv().unwrap().unwrap().len();
        }
    }
    while durable < sent {
        durable += told.recv().unwrap().unwrap().len();
    }
    let blocks = BLOCKS as usize;
    assert_eq!(store.index.lock().counts(), [blocks, blocks + 2_000, 3, 7]);
    // The last segment is never removed: what stands there stays known.
    assert!(store.errand(Errand::Prune(Box::new(|_, _| Fate::Go))));
    assert!(matches!(kept.recv().unwrap(), Kept::Pruned(Ok(_))));
    let listing = segment::list(dir.path()).unwrap();
    assert!(listing.first > 10 && listing.first + 1 >= listing.segments, "{listing:?}");
    let here = |height: &u64| store.finder().block(Height(*height)).unwrap().is_some();
    let kept_blocks: Vec<u64> = (1..=BLOCKS).filter(here).collect();
    let counts = store.index.lock().counts();
    assert!(kept_blocks.len() < 40 && counts[0] == kept_blocks.len(), "{counts:?} {kept_blocks:?}");
    assert!(counts[1].abs_diff(counts[0]) <= 1 && counts[2] <= 2 && counts[3] <= 5, "{counts:?}");
    let mut finder = store.finder();
    assert_eq!(finder.batch(&batch(1_001).id).unwrap(), None);
    assert_eq!(finder.batch(&batch(BLOCKS).id).unwrap().as_ref(), Some(batch(BLOCKS).bytes()));
    // What comes next is found as before.
    store.append(vec![append_of(0, RecordKind::Block, &block(BLOCKS + 1))]).unwrap();
    told.recv().unwrap().unwrap();
    assert_eq!(finder.block(Height(BLOCKS + 1)).unwrap(), Some(block(BLOCKS + 1)));
    assert_eq!(finder.block(Height(BLOCKS)).unwrap(), Some(block(BLOCKS)));
}

#[test]
fn pieces_of_a_snapshot_are_proved_as_long_as_it_is_that_of_its_checkpoint_even_if_it_was_removed() {
    let table = |tag: u8| -> Vec<u8> { (0..300_000u32).map(|at| (at / 7) as u8 ^ tag).collect() };
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let told = start(&mut store);
    let mut finder = store.finder();
    let named = |height: u64, tag: u8| {
        let root = Root(crate::crypto::plain(&table(tag)));
        let block = crate::wire::decode_block(&block(height)).unwrap();
        encode_block(&Block { roots: vec![(RootKind::Accounts, root)], ..block })
    };
    for (height, tag) in [(7, 1), (8, 2), (9, 3)] {
        store.append(vec![append_of(0, RecordKind::Block, &named(height, tag).into())]).unwrap();
        told.recv().unwrap().unwrap();
    }
    let path = |height: u64| Store::snapshot_path(dir.path(), height);
    std::fs::write(path(7), table(1)).unwrap();
    // Another table under this name.
    std::fs::write(path(8), table(9)).unwrap();
    std::fs::write(path(99), table(1)).unwrap();
    let root = Root(crate::crypto::plain(&table(1)));
    let gives = |finder: &mut Finder, number: u32| {
        let (piece, mut came) = (finder.piece(Height(7), number).unwrap().unwrap(), vec![0; 300_000]);
        piece.verify(&root, 300_000).unwrap().put_into(&mut came);
        let here = table_piece(number, 300_000);
        let here = here.start as usize..here.end as usize;
        came[here.clone()] == table(1)[here]
    };
    assert!(gives(&mut finder, 0) && gives(&mut finder, 1));
    // A bit of it changes on the disk while it is open, and changes back.
    let flip = |tag: u8| {
        let file = std::fs::File::options().write(true).open(path(7)).unwrap();
        file.write_all_at(&[table(tag)[270_000]], 270_000).unwrap();
    };
    flip(9);
    let damaged = finder.piece(Height(7), 1);
    let at = |offset| matches!(damaged, Err(StoreError::Damaged { offset: o, damage: Damage::Snapshot, .. }) if o == offset);
    assert!(at(256 << 10), "{damaged:?}");
    assert!(gives(&mut finder, 0), "the rest of it is good");
    flip(1);
    assert!(gives(&mut finder, 1));
    assert_eq!(finder.piece(Height(7), 2).unwrap(), None, "beyond the end");
    assert_eq!(finder.piece(Height(9), 0).unwrap(), None, "no such file");
    assert_eq!(finder.piece(Height(99), 0).unwrap(), None, "no such block");
    assert!(matches!(finder.piece(Height(8), 0), Err(StoreError::Damaged { damage: Damage::Snapshot, .. })));
    assert_eq!(finder.piece(Height(8), 0).unwrap(), None, "that is said once");
    // Single records come from the same snapshot, also by another finder, which reads nothing through.
    let mut other = store.finder();
    for number in [0, 15, 16, 4_686] {
        let proof = other.account(Height(7), AccountNumber(number)).unwrap().unwrap();
        let record = number as usize * 64..(number as usize + 1) * 64;
        let proven = verify_range_of(&root.0, 300_000, record.start as u64..record.end as u64, &proof);
        assert_eq!(proven.unwrap(), table(1)[record]);
    }
    // 300,000 bytes hold 4,687 records and a half.
    assert_eq!(other.account(Height(7), AccountNumber(4_687)).unwrap(), None, "no whole record");
    assert_eq!(other.account(Height(7), AccountNumber(u32::MAX)).unwrap(), None, "beyond the end");
    assert_eq!(other.account(Height(9), AccountNumber(1)).unwrap(), None, "no such file");
    assert_eq!(other.snapshots().unwrap(), [Height(7), Height(8), Height(99)]);
    std::fs::remove_file(path(7)).unwrap();
    assert!(gives(&mut finder, 0), "it is still open");
}
