//! Segments that were set aside below a log, mended from another's records, and taken back.

use super::aside::{Failing, copied, flip};
use super::*;
use crate::crypto::{SigningKey, signing_key_from_seed};
use crate::store::format::{RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, record_bytes};
use crate::types::{
    BatchRef, Block, BlockHash, ChainId, Effect, Epoch, Height, LeaderRef, RootKind, Round, Seat, Sequence,
    Time, VertexId, Witness,
};
use crate::wire::{Batch, Rows, block_hash, encode_block, record_root, seal};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whatever lies above damage is enough with the newest snapshot, and blocks prove the rest; what lies below is wanted back,
/// or not.
struct Wants(bool);

impl Salvage for Wants {
    fn begins(&self, mut above: Recovered, snapshots: &[u64]) -> Option<u64> {
        above.next()?;
        snapshots.last().copied()
    }
    fn takes_back(&self) -> bool {
        self.0
    }
    fn links(&self, _: Remaining) -> Judge {
        Box::new(|kind, _| if kind == RecordKind::Block { Fate::Keep } else { Fate::Go })
    }
}

fn key() -> SigningKey {
    signing_key_from_seed([5; 32])
}

fn batch(sequence: u64, rows: u64) -> Batch {
    let effects: Vec<Effect> = (1..=rows).map(|nonce| Effect::transfer(1, 2, 3, nonce, 1)).collect();
    let witnesses: Vec<Witness> = (0..rows).map(|row| Witness([(row * 7 + sequence) as u8; 64])).collect();
    let rows = Rows { effects: &effects, keys: &[], witnesses: &witnesses };
    seal(&key(), &ChainId(chain()), (Epoch(0), Seat(0), Sequence(sequence)), 3, rows)
}

fn block(height: u64, previous: BlockHash, settled: Vec<BatchRef>, record: Option<&Bytes>) -> Bytes {
    let leader = LeaderRef { round: Round(height), author: Seat(0), id: VertexId([height as u8; 32]) };
    let (epoch, height, time) = (Epoch(0), Height(height), Time(height));
    let outcomes = [3; 32];
    let roots = record.map(|record| (RootKind::Settlement, record_root(record))).into_iter().collect();
    encode_block(&Block { epoch, height, previous, leader, time, accounts: 3, settled, outcomes, roots })
        .into()
}

/// A record, and where it stands.
#[derive(Clone)]
struct Placed {
    segment: u32,
    offset: usize,
    kind: RecordKind,
    bytes: Bytes,
}

/// Blocks, each behind the batch that it settles and a vertex, in some segments, with a snapshot that is newer than most.
fn written_chain() -> (tempfile::TempDir, Vec<Placed>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, mut previous) = (Records::new(), BlockHash(chain()));
    for height in 1..=14 {
        let batch = batch(height, 3 + height % 4 * 8);
        // A checkpoint now and then.
        let record = (height % 4 == 2).then(|| payload(height as u8, 90));
        let block = block(height, previous, vec![batch.reference()], record.as_ref());
        previous = block_hash(&block);
        records.push((RecordKind::Batch, batch.bytes().clone()));
        records.push((RecordKind::Vertex, payload(height as u8, 300 + height as usize % 8)));
        records.extend(record.map(|record| (RecordKind::Settlement, record)));
        records.push((RecordKind::Block, block));
    }
    write_groups(dir.path(), &records.chunks(2).map(<[_]>::to_vec).collect::<Vec<_>>());
    fs::write(dir.path().join("snapshot-14"), "a table").unwrap();
    let mut found = Store::records(dir.path(), None).unwrap();
    let mut placed = Vec::new();
    while let Some(record) = found.next() {
        let ((kind, bytes), place) = (record.unwrap(), found.place());
        placed.push(Placed { segment: place.segment, offset: place.offset as usize, kind, bytes });
    }
    assert_eq!(placed.last().unwrap().segment, 3);
    (dir, placed)
}

fn open_on(disk: Arc<dyn Disk>, dir: &Path, wants: bool) -> Result<Opened, StoreError> {
    Store::open_on(disk, dir, GENESIS, &small(), OnDamage::SetAside(&Wants(wants)))
}

fn opened(dir: &Path) -> Opened {
    open_on(Arc::new(SystemDisk), dir, true).unwrap()
}

/// What mends a directory, once it was opened and its log read.
fn mending(dir: &Path) -> Option<Mending> {
    let Opened { store, records, .. } = opened(dir);
    records.for_each(drop);
    store.mending().unwrap()
}

/// Brings whatever is lost from records of somebody else; how many were mended.
fn bring_all(mending: &mut Mending, records: &[Placed]) -> usize {
    let mut mended = 0;
    loop {
        let Some(lost) = mending.lost().first().copied() else { return mended };
        let found = records.iter().find(|record| match (lost, record.kind) {
            (Lost::Block { hash, .. }, RecordKind::Block) => block_hash(&record.bytes) == hash,
            (Lost::Record { root, .. }, RecordKind::Settlement) => record_root(&record.bytes) == root,
            (Lost::Batch(batch), RecordKind::Batch) => {
                Batch::decode(record.bytes.clone()).unwrap().reference() == batch
            }
            _ => false,
        });
        let found = found.expect("only what was there is looked for");
        match mending.bring(found.kind, &found.bytes).unwrap() {
            Brought::Unknown => panic!("it was looked for"),
            Brought::Fitless => {}
            Brought::Mended { .. } => mended += 1,
        }
    }
}

/// Whether a directory is what it was before the damage: the log, and nothing but the log, but for snapshots.
fn is_as_before(dir: &Path, whole: &Path) -> bool {
    let segments = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let all =
            files(dir).into_iter().map(|(path, bytes)| (PathBuf::from(path.file_name().unwrap()), bytes));
        all.filter(|(name, _)| name.to_str().unwrap().ends_with(".blk")).collect()
    };
    segments(dir) == segments(whole)
}

fn look(mending: &mut Mending) -> (usize, usize) {
    mending.look(&|| false).unwrap();
    mending.state()
}

#[test]
fn whatever_byte_was_hit_below_the_log_it_is_as_before_once_others_have_given_it_or_nobody_can() {
    let (whole, placed) = written_chain();
    let (mut by_others, mut alone, mut beyond) = (0, 0, 0);
    for record in placed.iter().filter(|record| record.segment < 3).step_by(5) {
        let length = record_bytes(record.bytes.len());
        // Mark, position, length, durable, kind, zeros, check, and bytes of the payload and of what is behind it.
        let places = [1, 9, 13, 16, 20, 24, 28, 40, 63, 64, 64 + record.bytes.len() / 2, length - 1];
        for at in places {
            let dir = copied(whole.path());
            let file = segment::path_of(dir.path(), record.segment);
            flip(&file, record.offset + at);
            let mut mending = mending(dir.path()).unwrap();
            let (_, spots) = look(&mut mending);
            let mended = bring_all(&mut mending, &placed);
            assert!(mended == spots && spots <= 1, "{:?} {at}: {mended} of {spots}", record.kind);
            let is_beyond = mending.beyond().cloned();
            drop(mending);
            let again = opened(dir.path());
            if let Some(found) = is_beyond {
                assert!(
                    record.kind == RecordKind::Vertex && (at >= 64 || (20..24).contains(&at) || at >= 32),
                    "{at}"
                );
                assert_eq!(found.offset, record.offset as u64);
                assert_eq!(found.file, dir.path().join(format!("damaged-00000{}-1.blk", record.segment)));
                assert!(again.removed);
                beyond += 1;
                continue;
            }
            (by_others, alone) = (by_others + mended, alone + 1 - spots);
            assert!(!again.removed && again.aside.is_none(), "{:?} {at}", record.kind);
            assert!(
                again.records.map(|record| record.1).eq(placed.iter().map(|record| record.bytes.clone()))
            );
            drop(again.store);
            let same = is_as_before(dir.path(), whole.path());
            assert!(
                same || (20..24).contains(&at),
                "{:?} {at}: another header, but where it said what was durable",
                record.kind
            );
        }
    }
    assert!(by_others > 15 && alone > 30 && beyond > 2, "{by_others} {alone} {beyond}");
}

#[test]
fn seals_and_what_stands_behind_them_are_made_good_without_others() {
    let (whole, placed) = written_chain();
    let last = placed.iter().rfind(|record| record.segment == 2).unwrap();
    let seal = last.offset + record_bytes(last.bytes.len());
    // Mark, length, durable, zeros, check; and behind it.
    for at in [1, 17, 20, 28, 40, 200] {
        let dir = copied(whole.path());
        flip(&segment::path_of(dir.path(), 2), seal + at);
        drop(opened(dir.path()));
        let again = opened(dir.path());
        assert!(!again.removed && again.records.count() == placed.len(), "{at}");
        drop(again.store);
        // What it said of how much was durable may stand as it was hit: all before it is by now.
        assert!(is_as_before(dir.path(), whole.path()) || at == 20, "{at}");
    }
    // A tail that was wiped says nothing.
    let dir = copied(whole.path());
    let file = segment::path_of(dir.path(), 2);
    let mut bytes = fs::read(&file).unwrap();
    bytes[last.offset..].fill(0);
    fs::write(&file, &bytes).unwrap();
    let mut mending = mending(dir.path()).unwrap();
    assert_eq!((look(&mut mending), mending.lost()), ((0, 0), Vec::new()));
    assert_eq!(mending.beyond().unwrap().offset, last.offset as u64);
}

/// Spoils the payloads of some records.
fn spoil(dir: &Path, records: &[&Placed]) {
    for record in records {
        flip(&segment::path_of(dir, record.segment), record.offset + RECORD_HEAD_BYTES + 5);
    }
}

fn of_kind(placed: &[Placed], kind: RecordKind, segment: u32) -> Vec<&Placed> {
    placed.iter().filter(|record| record.kind == kind && record.segment == segment).collect()
}

#[test]
fn several_that_are_lost_in_several_segments_come_back_also_side_by_side_and_a_few_names_at_a_time() {
    let (whole, placed) = written_chain();
    let blocks = |segment| of_kind(&placed, RecordKind::Block, segment);
    let batches = |segment| of_kind(&placed, RecordKind::Batch, segment);
    let (first, last) = (blocks(1), *blocks(2).last().unwrap());
    let cases = [
        vec![first[0]],
        vec![last],
        vec![first[1], first[2], first[3]],
        vec![batches(1)[0], blocks(2)[1], *batches(2).last().unwrap()],
        batches(1).into_iter().chain(blocks(2)).collect(),
        vec![blocks(2)[0], batches(2)[1]],
        [of_kind(&placed, RecordKind::Settlement, 1), of_kind(&placed, RecordKind::Settlement, 2)].concat(),
    ];
    for (number, lost) in cases.iter().enumerate() {
        for names_max in [2, 100] {
            let dir = copied(whole.path());
            spoil(dir.path(), lost);
            let mut mending = mending(dir.path()).unwrap();
            mending.names_max = names_max;
            assert_eq!(look(&mut mending).1, lost.len(), "case {number}");
            let mut mended = bring_all(&mut mending, &placed);
            while mending.look_further(&|| false).unwrap() {
                mended += bring_all(&mut mending, &placed);
            }
            assert_eq!((mended, mending.unmended().count()), (lost.len(), 0), "case {number}");
            let whole_now = mending.state().0;
            assert_eq!(whole_now as u32, 2 - (2 - lost.iter().map(|lost| lost.segment).max().unwrap()));
            drop(mending);
            assert!(!opened(dir.path()).removed);
            assert!(is_as_before(dir.path(), whole.path()), "case {number}");
        }
    }
    // Of a record of which the header is gone too, enough of the rest has to stand there.
    for (wiped, mends) in [(400, true), (3000, false)] {
        let large = placed.iter().filter(|record| record.segment == 1 && record.kind == RecordKind::Batch);
        let large = large.max_by_key(|record| record.bytes.len()).unwrap();
        assert!(large.bytes.len() > 1500);
        let dir = copied(whole.path());
        let file = segment::path_of(dir.path(), 1);
        let mut bytes = fs::read(&file).unwrap();
        let end = (large.offset + record_bytes(large.bytes.len())).min(large.offset + wiped);
        bytes[large.offset..end].fill(0xee);
        fs::write(&file, &bytes).unwrap();
        let mut mending = mending(dir.path()).unwrap();
        assert_eq!(look(&mut mending).1, 1);
        assert_eq!(bring_all(&mut mending, &placed), usize::from(mends));
        assert_eq!(mending.unmended().count(), usize::from(!mends));
        drop(mending);
        assert_eq!(!opened(dir.path()).removed, mends);
    }
}

#[test]
fn what_was_not_lost_is_not_written_and_nothing_is_taken_back_that_is_not_whole_or_not_wanted() {
    let (whole, placed) = written_chain();
    let dir = copied(whole.path());
    let lost = of_kind(&placed, RecordKind::Batch, 2)[1];
    spoil(dir.path(), &[lost]);
    let mut mending = mending(dir.path()).unwrap();
    assert_eq!(look(&mut mending), (0, 1));
    let before = files(dir.path());
    let other = batch(99, 5);
    for (kind, bytes) in [
        (RecordKind::Batch, other.bytes().clone()),
        (RecordKind::Block, lost.bytes.clone()),
        (RecordKind::Vertex, lost.bytes.clone()),
        (RecordKind::Batch, Bytes::from_static(b"nothing")),
        (RecordKind::Block, block(4, BlockHash([1; 32]), Vec::new(), None)),
        (RecordKind::Batch, of_kind(&placed, RecordKind::Batch, 1)[0].bytes.clone()),
    ] {
        assert_eq!(mending.bring(kind, &bytes).unwrap(), Brought::Unknown);
    }
    // The name does not cover the signature: another one is not what was lost.
    let mut forged = lost.bytes.to_vec();
    forged[crate::types::params::BATCH_HEADER_BYTES - 1] ^= 1;
    assert_eq!(mending.bring(RecordKind::Batch, &forged.into()).unwrap(), Brought::Fitless);
    assert!(files(dir.path()) == before, "nothing was written");
    drop(mending);
    assert!(opened(dir.path()).removed);
    assert!(files(dir.path()) == before);
    // Whole, but not wanted.
    fs::copy(segment::path_of(whole.path(), 2), dir.path().join("damaged-000002-1.blk")).unwrap();
    let unwanted = open_on(Arc::new(SystemDisk), dir.path(), false).unwrap();
    assert!(unwanted.removed);
    drop(unwanted);
    // A whole segment that is another one, or other than what is left of it says, does not count.
    fs::copy(dir.path().join("damaged-000001-1.blk"), dir.path().join("damaged-000002-1.blk")).unwrap();
    let mut other = self::mending(dir.path()).unwrap();
    assert_eq!(look(&mut other), (0, 0));
    assert!(other.beyond().unwrap().reason.contains("header"));
    drop(other);
    assert!(opened(dir.path()).removed);
    // One that is whole is taken back though the one below is not.
    fs::copy(segment::path_of(whole.path(), 2), dir.path().join("damaged-000002-2.blk")).unwrap();
    flip(&dir.path().join("damaged-000001-1.blk"), SEGMENT_HEAD_BYTES + RECORD_HEAD_BYTES + 9);
    let half = opened(dir.path());
    assert!(half.removed && segment::list(dir.path()).unwrap().first == 2);
    let from = placed.iter().position(|record| record.segment == 2).unwrap();
    assert!(half.records.map(|record| record.1).eq(placed[from..].iter().map(|record| record.bytes.clone())));
}

#[test]
fn whenever_it_is_interrupted_nothing_is_lost_and_the_next_time_comes_to_the_same_end() {
    let (whole, placed) = written_chain();
    let (block, batch) =
        (of_kind(&placed, RecordKind::Block, 2)[0], of_kind(&placed, RecordKind::Batch, 1)[1]);
    let set_aside = copied(whole.path());
    spoil(set_aside.path(), &[block, batch]);
    drop(opened(set_aside.path()));
    let mut interrupted = [0, 0];
    for changes in 0.. {
        let dir = copied(set_aside.path());
        let disk = Arc::new(Failing { left: AtomicUsize::new(usize::MAX) });
        let Opened { store, records, .. } = open_on(disk.clone(), dir.path(), true).unwrap();
        records.for_each(drop);
        let mut mending = store.mending().unwrap().unwrap();
        assert_eq!(look(&mut mending), (0, 2));
        drop(store);
        // While it is written.
        disk.left.store(changes, Ordering::Relaxed);
        let wrote = [batch, block].map(|lost| mending.bring(lost.kind, &lost.bytes));
        let failed = wrote.iter().any(|wrote| !matches!(wrote, Ok(Brought::Mended { .. })));
        interrupted[0] += usize::from(failed);
        drop(mending);
        drop(opened(dir.path()));
        if let Some(mut again) = self::mending(dir.path()) {
            look(&mut again);
            bring_all(&mut again, &placed);
        }
        // While it is taken back.
        for changes in 0.. {
            let dir = copied(dir.path());
            let disk = Arc::new(Failing { left: AtomicUsize::new(changes) });
            let failed = open_on(disk, dir.path(), true).is_err();
            let between = open(dir.path()).unwrap();
            let from = placed.len() - between.records.count();
            assert!(from == 0 || placed[from].segment > placed[from - 1].segment, "whole segments");
            drop(between.store);
            assert!(read(dir.path()).is_ok());
            let again = opened(dir.path());
            assert!(!again.removed && again.records.count() == placed.len());
            drop(again.store);
            assert!(is_as_before(dir.path(), whole.path()), "after {changes} changes");
            interrupted[1] += usize::from(failed);
            if !failed {
                break;
            }
        }
        if !failed {
            break;
        }
    }
    assert!(interrupted[0] >= 4 && interrupted[1] >= 8, "{interrupted:?}");
}

#[test]
fn whatever_stands_in_what_was_set_aside_it_is_looked_through_without_a_panic() {
    let (whole, placed) = written_chain();
    spoil(
        whole.path(),
        &[of_kind(&placed, RecordKind::Batch, 1)[1], of_kind(&placed, RecordKind::Block, 2)[0]],
    );
    drop(opened(whole.path()));
    let mut dice = 77_u64;
    let mut draw = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % below
    };
    for turn in 0..150 {
        let dir = copied(whole.path());
        for number in [1, 2] {
            let file = dir.path().join(format!("damaged-00000{number}-1.blk"));
            let mut bytes = fs::read(&file).unwrap();
            let page = if turn % 5 == 0 { 0 } else { SEGMENT_HEAD_BYTES };
            for _ in 0..draw(6) {
                let at = page + draw(bytes.len() - page);
                let end = bytes.len().min(at + 1 + draw(if turn % 3 == 0 { 3 } else { 300 }));
                let what = draw(256) as u8;
                bytes[at..end].fill(what);
            }
            match turn % 10 {
                7 => bytes.truncate(draw(bytes.len())),
                8 => bytes.resize(bytes.len() + draw(9000), 1),
                _ => {}
            }
            fs::write(&file, &bytes).unwrap();
        }
        if let Some(mut mending) = mending(dir.path()) {
            look(&mut mending);
            bring_all(&mut mending, &placed);
            while mending.look_further(&|| false).unwrap() {}
            assert!(mending.unmended().count() <= mending.state().1);
        }
        // What is taken back is what was there.
        drop(opened(dir.path()));
        let log = read(dir.path()).unwrap();
        let from = placed.len() - log.len();
        assert!(log.iter().map(|record| &record.1).eq(placed[from..].iter().map(|record| &record.bytes)));
    }
}
