//! Snapshots and pruning against real files.

use super::*;
use crate::store::remains;

/// Starts a store with its keeper.
fn keeping(dir: &Path) -> (Store, Told, Receiver<Kept>) {
    let mut store = open(dir).unwrap().store;
    let (sender, kept) = unbounded();
    store.start_keeper(Box::new(move |done| sender.send(done).unwrap_or_default())).unwrap();
    let told = start(&mut store);
    (store, told, kept)
}

/// Appends records that say their number, and waits.
fn append(store: &Store, told: &Told, numbers: std::ops::Range<u64>) {
    let count = numbers.clone().count();
    for number in numbers {
        let bytes = [&number.to_le_bytes()[..], &payload(number as u8, 2000)].concat();
        store.append(vec![append_of(number, kind(number), &bytes.into())]).unwrap();
    }
    let mut durable = 0;
    while durable < count {
        durable += told.recv().unwrap().unwrap().len();
    }
}

fn kind(number: u64) -> RecordKind {
    [RecordKind::Batch, RecordKind::Vertex, RecordKind::Block][number as usize % 3]
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// Vertices above `last` have to stay, blocks are kept.
fn judge(last: u64) -> Judge {
    Box::new(move |kind, bytes| match kind {
        RecordKind::Vertex if number(bytes) > last => Fate::Stay,
        RecordKind::Block => Fate::Keep,
        _ => Fate::Go,
    })
}

fn prune(store: &Store, kept: &Receiver<Kept>, last: u64) -> Pruned {
    assert!(store.errand(Errand::Prune(judge(last))));
    match kept.recv().unwrap() {
        Kept::Pruned(pruned) => pruned.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn numbers(dir: &Path) -> Vec<u64> {
    read(dir).unwrap().iter().map(|(_, bytes)| number(bytes)).collect()
}

fn left(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let left = Store::remaining(dir, Some(&chain()))?;
    left.map(|remain| remain.map(|remain| number(&remain.bytes))).collect()
}

#[test]
fn segments_whose_records_may_go_are_removed_and_what_is_kept_of_them_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told, kept) = keeping(dir.path());
    append(&store, &told, 0..60);
    assert_eq!(prune(&store, &kept, 0).segments, 0, "vertex 1 stays, in the first one");
    let before = read(dir.path()).unwrap();
    let pruned = prune(&store, &kept, 30);
    assert!(pruned.segments >= 2 && pruned.bytes == u64::from(pruned.segments) * 16384, "{pruned:?}");
    // The log goes on, and is the rest of what it was.
    append(&store, &told, 60..70);
    store.close().unwrap();
    let rest = numbers(dir.path());
    let first = rest[0];
    assert!((20..=31).contains(&first) && rest.iter().copied().eq(first..70), "{rest:?}");
    assert_eq!(left(dir.path()).unwrap(), (0..first).filter(|number| number % 3 == 2).collect::<Vec<_>>());
    let opened = open(dir.path()).unwrap();
    let found: Records = opened.records.collect();
    assert_eq!(found[..found.len() - 10], before[first as usize..]);
    drop(opened.store);
    // And once more, from there; all but what is still written to may go.
    let (store, told, kept) = keeping(dir.path());
    append(&store, &told, 70..100);
    assert!(prune(&store, &kept, u64::MAX).segments >= 4);
    assert_eq!(prune(&store, &kept, u64::MAX).segments, 0);
    store.close().unwrap();
    let rest = numbers(dir.path());
    assert!(rest.iter().copied().eq(rest[0]..100) && rest[0] > 85, "{rest:?}");
    assert_eq!(left(dir.path()).unwrap(), (0..rest[0]).filter(|number| number % 3 == 2).collect::<Vec<_>>());
}

#[test]
fn views_of_a_removed_segment_stay_good() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told, kept) = keeping(dir.path());
    let bytes = payload(9, 3000);
    store.append(vec![append_of(1, RecordKind::Batch, &bytes)]).unwrap();
    let view = told.recv().unwrap().unwrap().remove(0).view;
    append(&store, &told, 0..40);
    assert!(prune(&store, &kept, 20).segments > 0);
    assert!(!segment_1(dir.path()).exists());
    assert_eq!(view, bytes);
}

#[test]
fn what_an_interrupted_pruning_leaves_opens_and_the_next_one_finishes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told, kept) = keeping(dir.path());
    append(&store, &told, 0..60);
    let first = fs::read(segment_1(dir.path())).unwrap();
    prune(&store, &kept, 20);
    store.close().unwrap();
    let rest = numbers(dir.path());
    // The power was cut before the removal, or amid the writing of what is left.
    let remains = remains::path_of(dir.path(), 1);
    let second = segment::path_of(dir.path(), 2);
    assert!(!second.exists(), "two were removed");
    let removed = fs::read(remains::path_of(dir.path(), 2)).unwrap();
    fs::remove_file(remains::path_of(dir.path(), 2)).unwrap();
    let missing = open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { file } if file == second));
    fs::write(remains::path_of(dir.path(), 2), &removed).unwrap();
    assert_eq!(numbers(dir.path()), rest);
    fs::write(dir.path().join("pruned-000003.new"), b"half").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!dir.path().join("pruned-000003.new").exists());
    // A segment that is there counts for more than what is said to be left of it.
    fs::write(&remains, b"anything").unwrap();
    let damage = Store::remaining(dir.path(), None).unwrap().next().unwrap().unwrap_err();
    assert!(matches!(damage, StoreError::Damaged { file, damage: Damage::Remains, .. } if file == remains));
    fs::write(segment_1(dir.path()), first).unwrap();
    assert!(open(dir.path()).is_err(), "the second is missing between the first and the third");
}

#[test]
fn every_flip_in_what_is_left_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told, kept) = keeping(dir.path());
    append(&store, &told, 0..60);
    prune(&store, &kept, 30);
    store.close().unwrap();
    let last = (1..).take_while(|number| remains::path_of(dir.path(), *number).exists()).last().unwrap();
    for number in [1, last] {
        let path = remains::path_of(dir.path(), number);
        let whole = fs::read(&path).unwrap();
        for at in (0..300).chain((300..whole.len()).step_by(97)).chain(whole.len() - 32..whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            match left(dir.path()) {
                Err(StoreError::Damaged { file, .. } | StoreError::NewerFormat { file, .. }) => {
                    assert_eq!(file, path);
                }
                other => panic!("{at}: {other:?}"),
            }
            // What comes before the log is needed to open it, the rest only to prove the chain.
            assert_eq!(open(dir.path()).is_err(), number == last, "{at}");
        }
        for len in [0, 7, 100, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(left(dir.path()).is_err());
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(left(dir.path()).is_ok());
}

#[test]
fn a_snapshot_is_there_whole_and_older_ones_go_but_the_one_that_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told, kept) = keeping(dir.path());
    append(&store, &told, 0..3);
    for (height, keep) in [(64, None), (128, Some(64)), (256, Some(128)), (320, Some(128))] {
        let bytes = payload(height as u8, 5_000_000 + height as usize);
        assert!(store.errand(Errand::Snapshot { height, bytes: bytes.clone(), kept: keep }));
        let done = kept.recv().unwrap();
        assert!(matches!(done, Kept::Snapshot { height: of, written: Ok(()) } if of == height), "{done:?}");
        assert_eq!(Store::snapshot(dir.path(), height, 6_000_000).unwrap(), bytes);
    }
    assert_eq!(Store::snapshots(dir.path()).unwrap(), [128, 320]);
    assert!(Store::snapshot(dir.path(), 128, 100).is_err(), "longer than any table");
    store.close().unwrap();
    fs::write(dir.path().join("snapshot-400.new"), b"half").unwrap();
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.snapshots, [128, 320]);
    assert!(!dir.path().join("snapshot-400.new").exists());
    drop(opened);
    for name in
        ["snapshot-0", "snapshot-007", "snapshot-", "snapshot-1x", "pruned-1.blk", "pruned-000000.blk"]
    {
        fs::write(dir.path().join(name), b"?").unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Foreign { .. })), "{name}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
}
