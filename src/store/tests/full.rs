//! A disk that is full for a while.

use super::*;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk of which the test says what there is no room for.
#[derive(Debug, Default)]
struct Tight {
    /// It says beforehand that there is no room for another file.
    says_so: AtomicBool,
    /// New files are taken in part.
    files: AtomicBool,
    /// Writes over what is there are taken in part, as where every write goes to a new place.
    writes: AtomicBool,
    /// Syncs find that there is no room.
    syncs: AtomicBool,
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

fn set(flag: &AtomicBool, to: bool) {
    flag.store(to, Ordering::Relaxed);
}

impl Disk for Tight {
    fn write(&self, file: &File, path: &Path, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let new = path.extension().is_some_and(|extension| extension == "new");
        let (full, reason) = match new {
            true => (is(&self.files), io::ErrorKind::StorageFull),
            false => (is(&self.writes), io::ErrorKind::QuotaExceeded),
        };
        if !full {
            return SystemDisk.write(file, path, pieces, offset);
        }
        // Only the first piece, and of that a half.
        let half = &pieces[0][..pieces[0].len() / 2];
        SystemDisk.write(file, path, &[IoSlice::new(half)], offset)?;
        Err(reason.into())
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        if is(&self.syncs) { Err(io::ErrorKind::StorageFull.into()) } else { SystemDisk.sync(file, path) }
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(if is(&self.says_so) { 100 } else { 1 << 40 })
    }
}

type Rooms = Receiver<Option<StoreError>>;

fn tight(dir: &Path) -> (Arc<Tight>, Store, Told, Rooms) {
    let disk = Arc::new(Tight::default());
    let config = StoreConfig { full_retry_ms: 1, ..small() };
    let mut store = Store::open_on(disk.clone(), dir, GENESIS, &config, OnDamage::Refuse).unwrap().store;
    let (sender, rooms) = unbounded();
    store.on_room(Box::new(move |lacking| sender.send(lacking).unwrap_or_default()));
    let told = start(&mut store);
    (disk, store, told, rooms)
}

/// Bytes of a record: a segment has room for five.
const EACH: usize = 2000;

/// Appends records, each for itself.
fn append(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (kind, bytes) = (RecordKind::Batch, payload(number as u8, EACH));
        store.append(vec![append_of(number, kind, &bytes)]).unwrap();
    }
}

fn synced(told: &Told, numbers: std::ops::Range<u64>) {
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        for synced in told.recv().unwrap().unwrap() {
            assert_eq!(Some(synced.number), numbers.next());
            assert_eq!(synced.view, payload(synced.number as u8, EACH));
        }
    }
}

fn logged(dir: &Path) -> usize {
    read(dir).unwrap().len()
}

type Flag = fn(&Tight) -> &AtomicBool;

#[test]
fn what_a_full_disk_has_no_room_for_waits_and_is_written_when_there_is_some() {
    let flags: [Flag; 3] = [|d| &d.says_so, |d| &d.files, |d| &d.writes];
    for flag in flags {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store, told, rooms) = tight(dir.path());
        set(flag(&disk), true);
        append(&store, 0..40);
        let reason = rooms.recv().unwrap().expect("there is no room");
        assert!(reason.is_no_space(), "{reason}");
        // It is told once, however often it is tried again; and of what is told all is durable.
        std::thread::park_timeout(std::time::Duration::from_millis(30));
        assert!(rooms.is_empty());
        let some = told.try_iter().map(|some| some.unwrap().len()).sum::<usize>() as u64;
        assert!(some <= 5, "a segment has room for so many: {some}");
        set(flag(&disk), false);
        assert!(rooms.recv().unwrap().is_none(), "there is room again");
        synced(&told, some..40);
        store.close().unwrap();
        assert_eq!(logged(dir.path()), 40);
        assert!(rooms.is_empty());
    }
}

#[test]
fn room_for_what_is_under_way_is_left_when_it_is_told_and_a_close_waits_for_no_more() {
    let flags: [Flag; 2] = [|d| &d.says_so, |d| &d.files];
    for flag in flags {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store, told, rooms) = tight(dir.path());
        set(flag(&disk), true);
        append(&store, 0..1);
        synced(&told, 0..1);
        assert!(rooms.recv().unwrap().is_some());
        for number in 1..5 {
            append(&store, number..number + 1);
            synced(&told, number..number + 1);
        }
        append(&store, 5..9);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        assert!(told.is_empty() && rooms.is_empty());
        // What waits was never told of, and that is said.
        assert!(store.close().unwrap_err().is_no_space());
        let unfinished = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "new");
        assert!(!files(dir.path()).keys().any(unfinished), "what could not be filled is not left behind");
        assert_eq!(open(dir.path()).unwrap().records.count(), 5);
    }
}

#[test]
fn a_guard_that_finds_no_room_is_written_again_over_the_same_slot() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store, told, rooms) = tight(dir.path());
    let sign = |round| {
        let guard = Guard { round: crate::types::Round(round), ..Guard::default() };
        let record = append_of(round, RecordKind::Vertex, &payload(1, 10));
        store.append(vec![Append { guard: Some(guard), ..record }]).unwrap();
    };
    for round in 1..4 {
        sign(round);
        assert_eq!(told.recv().unwrap().unwrap().len(), 1);
    }
    let path = dir.path().join(crate::store::guard::GUARD_NAME);
    let found = || crate::store::guard::read(&chain(), &fs::read(&path).unwrap()).unwrap().unwrap().0.round.0;
    set(&disk.writes, true);
    sign(4);
    assert!(rooms.recv().unwrap().is_some());
    // Whenever the process ends: the last that was promised is there.
    assert_eq!(found(), 3);
    set(&disk.writes, false);
    assert_eq!(told.recv().unwrap().unwrap().len(), 1);
    assert!(rooms.recv().unwrap().is_none());
    store.close().unwrap();
    assert_eq!(found(), 4);
    assert_eq!(logged(dir.path()), 4);
}

#[test]
fn a_sync_that_fails_ends_the_store_even_for_want_of_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store, told, rooms) = tight(dir.path());
    set(&disk.syncs, true);
    append(&store, 0..1);
    let error = told.recv().unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Io { doing: "sync", .. }) && rooms.is_empty(), "{error}");
    assert!(store.close().is_err());
}

#[test]
fn a_pruning_finds_the_room_that_is_kept_free_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Tight::default());
    let mut store =
        Store::open_on(disk.clone(), dir.path(), GENESIS, &small(), OnDamage::Refuse).unwrap().store;
    let (sender, kept) = unbounded();
    store.start_keeper(Box::new(move |done| sender.send(done).unwrap_or_default())).unwrap();
    let told = start(&mut store);
    append(&store, 0..20);
    synced(&told, 0..20);
    let prune = || {
        assert!(store.errand(Errand::Prune(Box::new(|_, _| Fate::Go))));
        let Kept::Pruned(pruned) = kept.recv().unwrap() else { panic!("a pruning") };
        pruned
    };
    // Not even that is left; nothing is half done, and the next one finds it all.
    set(&disk.files, true);
    assert!(prune().unwrap_err().is_no_space());
    set(&disk.files, false);
    set(&disk.says_so, true);
    assert!(prune().unwrap().segments >= 3);
    store.close().unwrap();
}
