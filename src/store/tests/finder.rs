//! Records are found by name, before and after a restart, as they were written or not at all.

use super::*;
use crate::crypto::signing_key_from_seed;
use crate::types::{
    BatchId, BatchRef, Block, BlockHash, Certificate, ChainId, Effect, Epoch, Height, LeaderRef, Root,
    RootKind, Round, Seat, Sequence, Time, VertexId, Witness,
};
use crate::wire::{Batch, Rows, encode_block, encode_certificate, record_root, seal};

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
