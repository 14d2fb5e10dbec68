//! The store against real files, and against files that something else has touched.

mod aside;
mod damage;
mod finder;
mod full;
mod guard;
mod keeping;
mod mend;
mod model;

use super::*;
use crossbeam::channel::{Receiver, unbounded};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What these stores take for a genesis: to them it is only bytes.
const GENESIS: &[u8] = b"a genesis";

fn chain() -> [u8; 32] {
    crate::wire::chain_id_of(GENESIS).0
}

type Records = Vec<(RecordKind, Bytes)>;
type Told = Receiver<Result<Vec<Synced>, StoreError>>;

/// Small segments, so that few records fill several.
fn small() -> StoreConfig {
    StoreConfig {
        segment_bytes: 16384,
        payload_bytes_max: 4096,
        queue_bytes_max: 1 << 20,
        ..StoreConfig::default()
    }
}

fn open(dir: &Path) -> Result<Opened, StoreError> {
    Store::open(dir, GENESIS, &small())
}

fn start(store: &mut Store) -> Told {
    let (sender, receiver) = unbounded();
    // A test that is over no longer listens.
    store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).unwrap();
    receiver
}

fn append_of(number: u64, kind: RecordKind, bytes: &Bytes) -> Append {
    Append { number, kind, bytes: bytes.clone(), guard: None }
}

/// Bytes that are never zero, so that zeroing any of them is a change.
fn payload(seed: u8, len: usize) -> Bytes {
    (0..len).map(|index| seed.wrapping_mul(31).wrapping_add(index as u8) | 1).collect()
}

/// Opens `dir`, appends each inner list as a group of its own, and closes.
fn write_groups(dir: &Path, groups: &[Records]) {
    let mut store = open(dir).unwrap().store;
    let told = start(&mut store);
    for group in groups {
        let records = (0..).zip(group).map(|(number, (kind, bytes))| append_of(number, *kind, bytes));
        store.append(records.collect()).unwrap();
        let synced = told.recv().unwrap().unwrap();
        assert!(synced.iter().map(|synced| &synced.view).eq(group.iter().map(|(_, bytes)| bytes)));
    }
    store.close().unwrap();
}

fn read(dir: &Path) -> Result<Records, StoreError> {
    Store::records(dir, Some(&chain()))?.collect()
}

fn segment_1(dir: &Path) -> PathBuf {
    segment::path_of(dir, 1)
}

/// All files of a directory with their bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Records::new();
    for round in 0..3_u64 {
        let mut opened = open(dir.path()).unwrap();
        assert_eq!(opened.cut, None);
        assert_eq!(opened.records.by_ref().collect::<Records>(), model);
        let told = start(&mut opened.store);
        let kinds = [RecordKind::Batch, RecordKind::Vertex, RecordKind::Block];
        for number in 0..20_u64 {
            let bytes = payload(number as u8, (100 * number + round) as usize);
            let kind = kinds[number as usize % 3];
            model.push((kind, bytes.clone()));
            opened.store.append(vec![append_of(number, kind, &bytes)]).unwrap();
        }
        let meter = opened.store.meter();
        opened.store.close().unwrap();
        let synced: Vec<Synced> = told.iter().flat_map(Result::unwrap).collect();
        let last = &model[model.len() - 20..];
        assert!(synced.iter().map(|synced| synced.number).eq(0..20));
        assert!(synced.iter().map(|synced| &synced.view).eq(last.iter().map(|(_, bytes)| bytes)));
        let stored: usize = last.iter().map(|(_, bytes)| format::record_bytes(bytes.len())).sum();
        let seals = meter.bytes_stored() as usize - stored;
        assert!(seals > 0 && seals.is_multiple_of(format::RECORD_HEAD_BYTES));
        assert!(meter.cpu_ns() > 0);
    }
    assert!(segment::list(dir.path()).unwrap().segments > 3);
    assert_eq!(read(dir.path()).unwrap(), model);
}

#[test]
fn views_stay_good_when_their_segment_leaves_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { cached_bytes: 0, ..small() };
    let mut store = Store::open(dir.path(), GENESIS, &config).unwrap().store;
    let told = start(&mut store);
    let mut views = Vec::new();
    for number in 0..60 {
        let bytes = payload(number as u8, 1500);
        store.append(vec![append_of(number, RecordKind::Batch, &bytes)]).unwrap();
        let synced = told.recv().unwrap().unwrap().remove(0);
        // Read once, so that the map knows its pages before they go.
        assert_eq!(synced.view, bytes);
        views.push((synced.view, bytes));
    }
    store.close().unwrap();
    assert!(segment::list(dir.path()).unwrap().segments > 4);
    assert!(views.iter().all(|(view, bytes)| view == bytes));
}

#[test]
fn what_waits_goes_out_as_one_group() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let one = payload(1, 40);
    for number in 0..100 {
        store.append(vec![append_of(number, RecordKind::Vertex, &one)]).unwrap();
    }
    let told = start(&mut store);
    assert!(told.recv().unwrap().unwrap().iter().map(|synced| synced.number).eq(0..100));
    store.close().unwrap();
    assert_eq!(told.iter().count(), 0);
}

#[test]
fn a_group_larger_than_a_segment_is_one_callback() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let records: Records = (0..40).map(|seed| (RecordKind::Batch, payload(seed, 1500))).collect();
    store
        .append((0..).zip(&records).map(|(number, (kind, bytes))| append_of(number, *kind, bytes)).collect())
        .unwrap();
    let told = start(&mut store);
    store.close().unwrap();
    let synced: Vec<_> = told.iter().map(Result::unwrap).collect();
    assert_eq!(synced.len(), 1);
    assert!(synced[0].iter().map(|synced| &synced.view).eq(records.iter().map(|(_, bytes)| bytes)));
    assert_eq!(open(dir.path()).unwrap().records.collect::<Records>(), records);
}

#[test]
fn views_outlive_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    let told = start(&mut store);
    let bytes = payload(3, 3000);
    store.append(vec![append_of(9, RecordKind::Batch, &bytes)]).unwrap();
    let synced = told.recv().unwrap().unwrap().remove(0);
    store.close().unwrap();
    let again = open(dir.path()).unwrap().records.next().unwrap().1;
    drop(dir);
    assert_eq!((synced.number, synced.view), (9, bytes.clone()));
    assert_eq!(again, bytes);
}

#[test]
fn a_directory_has_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    let Opened { store, records, .. } = first;
    store.close().unwrap();
    assert!(
        matches!(open(dir.path()), Err(StoreError::Locked { .. })),
        "recovered views are still being made"
    );
    drop(records);
    open(dir.path()).unwrap();
}

#[test]
fn a_full_queue_hands_the_records_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { queue_bytes_max: 10_000, queue_records_max: 8, ..small() };
    let mut store = Store::open(dir.path(), GENESIS, &config).unwrap().store;
    let big = payload(1, 4096);
    let appends = |numbers: std::ops::Range<u64>, bytes: &Bytes| -> Vec<Append> {
        numbers.map(|number| append_of(number, RecordKind::Batch, bytes)).collect()
    };
    store.append(appends(0..2, &big)).unwrap();
    let refused = store.append(appends(2..3, &big)).unwrap_err();
    assert!(matches!(refused, AppendError::Full(records) if records == appends(2..3, &big)));
    let little = payload(1, 1);
    store.append(appends(2..8, &little)).unwrap();
    assert!(matches!(store.append(appends(8..9, &little)), Err(AppendError::Full(_))));
    let large = store.append(appends(8..9, &payload(1, 4097)));
    assert!(matches!(large, Err(AppendError::TooLarge { bytes: 4097, max: 4096, .. })));
    let told = start(&mut store);
    assert_eq!(told.recv().unwrap().unwrap().len(), 8);
    // What exceeds the whole queue is taken when nothing waits: it would wait for ever otherwise.
    store.append(appends(8..20, &little)).unwrap();
    assert_eq!(told.recv().unwrap().unwrap().len(), 12);
}

#[test]
fn a_failed_write_is_told_once_and_ends_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    store.idle.as_mut().unwrap().current.file = fs::File::open(segment_1(dir.path())).unwrap();
    let told = start(&mut store);
    let one = payload(1, 10);
    store.append(vec![append_of(1, RecordKind::Block, &one)]).unwrap();
    let error = told.recv().unwrap().unwrap_err();
    assert!(matches!(&error, StoreError::Io { doing: "write", path, .. } if *path == segment_1(dir.path())));
    assert!(told.recv().is_err(), "nothing more is told");
    let refused = store.append(vec![append_of(2, RecordKind::Block, &one)]).unwrap_err();
    assert!(matches!(refused, AppendError::Stopped(records) if records.len() == 1));
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    assert!(matches!(store.close(), Err(StoreError::Io { .. })));
    assert_eq!(open(dir.path()).unwrap().records.count(), 0);
}

#[test]
fn a_panic_in_the_callback_ends_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    store.start(Box::new(|_| panic!("a defect"))).unwrap();
    store.append(vec![append_of(1, RecordKind::Block, &payload(1, 10))]).unwrap();
    assert!(matches!(store.close(), Err(StoreError::Panicked { .. })));
}

#[test]
fn an_unfinished_segment_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    write_groups(dir.path(), &[vec![(RecordKind::Block, payload(1, 100))]]);
    let unfinished = dir.path().join("segment-000002.new");
    fs::write(&unfinished, [1; 5000]).unwrap();
    assert_eq!(read(dir.path()).unwrap().len(), 1);
    assert!(unfinished.exists());
    open(dir.path()).unwrap();
    assert!(!unfinished.exists());
}

#[test]
fn a_smaller_segment_of_an_earlier_configuration_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    write_groups(
        dir.path(),
        &[vec![(RecordKind::Batch, payload(1, 4000)), (RecordKind::Batch, payload(2, 4000))]],
    );
    let config =
        StoreConfig { segment_bytes: 65536, payload_bytes_max: 50_000, queue_bytes_max: 1 << 20, ..small() };
    let mut store = Store::open(dir.path(), GENESIS, &config).unwrap().store;
    let told = start(&mut store);
    let large = payload(3, 50_000);
    store.append(vec![append_of(1, RecordKind::Batch, &large)]).unwrap();
    assert_eq!(told.recv().unwrap().unwrap()[0].view, large);
    store.close().unwrap();
    let records: Records = open(dir.path()).unwrap().records.collect();
    assert_eq!(records.last().unwrap().1, large);
    assert_eq!(read(dir.path()).unwrap(), records);
}

#[test]
fn limits_are_held_against_each_other() {
    StoreConfig::default().validate().unwrap();
    small().validate().unwrap();
    let room = 16384 - 4096 - 128;
    StoreConfig { payload_bytes_max: room, ..small() }.validate().unwrap();
    let wrong = [
        StoreConfig { payload_bytes_max: room + 1, ..small() },
        StoreConfig { segment_bytes: 0, ..small() },
        StoreConfig { segment_bytes: 16384 + 8, ..small() },
        StoreConfig { segment_bytes: u64::MAX, ..small() },
        StoreConfig { queue_bytes_max: 4095, ..small() },
        StoreConfig { queue_records_max: 0, ..small() },
        StoreConfig { group_bytes_max: 0, ..small() },
    ];
    for config in wrong {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            matches!(Store::open(dir.path(), GENESIS, &config), Err(StoreError::Config(_))),
            "{config:?}"
        );
        assert!(files(dir.path()).is_empty());
    }
}

#[test]
fn a_record_as_large_as_allowed_fills_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { payload_bytes_max: 16384 - 4096 - 128, ..small() };
    let mut store = Store::open(dir.path(), GENESIS, &config).unwrap().store;
    let full = payload(5, config.payload_bytes_max as usize);
    store.append((0..3).map(|number| append_of(number, RecordKind::Batch, &full)).collect()).unwrap();
    let told = start(&mut store);
    store.close().unwrap();
    assert_eq!(told.recv().unwrap().unwrap().len(), 3);
    assert_eq!(read(dir.path()).unwrap(), vec![(RecordKind::Batch, full); 3]);
}

#[test]
fn too_little_space_says_how_much_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let error = segment::preflight(&SystemDisk, dir.path(), 1 << 62).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { needed, free, .. } if needed > 1 << 62 && free > 0));
}

/// Golden bytes: changed only by hand, together with the format version.
#[test]
fn the_format_is_what_it_was() {
    let head = format::SegmentHead::new(3, 1 << 20, &[7; 32], [9; 32], [5; 32]);
    let page = head.page();
    assert_eq!(&page[..24], b"THRONGSG\x01\0\0\0\x03\0\0\0\0\0\x10\0\0\0\0\0");
    let record = head.record_key().head(8192, 4096, 2, b"payload");
    let record = zerocopy::IntoBytes::as_bytes(&record);
    assert_eq!(&record[8..32], b"\0\x20\0\0\x03\0\0\0\x07\0\0\0\0\x10\0\0\x02\0\0\0\0\0\0\0");
    let mut hasher = blake3::Hasher::new();
    hasher.update(&page).update(record);
    assert_eq!(
        hasher.finalize().to_hex().as_str(),
        "e8bfba23632b1f265990ebbaf799e1c5d41e5392fbc11aada6df3fe7594e4c91"
    );
}
