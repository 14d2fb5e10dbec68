//! Damage in the middle of a log whose owner gets back from others what is lost.

use super::*;
use crate::store::format::{RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, record_bytes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Records of three segments, each a group of its own, with the place of each: segment and offset.
fn three_segments() -> (tempfile::TempDir, Vec<(u32, usize)>, Records) {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [3000, 40, 700, 3000, 2500, 2000, 100, 4000, 3000, 9, 3500, 60, 2000, 50];
    let records: Records =
        (1..).zip(lengths).map(|(seed, len)| (RecordKind::Vertex, payload(seed, len))).collect();
    write_groups(dir.path(), &records.iter().map(|record| vec![record.clone()]).collect::<Vec<_>>());
    let (mut segment, mut end, mut places) = (1, SEGMENT_HEAD_BYTES, Vec::new());
    for (_, bytes) in &records {
        if end + record_bytes(bytes.len()) + RECORD_HEAD_BYTES > 16384 {
            (segment, end) = (segment + 1, SEGMENT_HEAD_BYTES);
        }
        places.push((segment, end));
        end += record_bytes(bytes.len());
    }
    assert_eq!(segment, 3);
    (dir, places, records)
}

/// Nothing above damage is of use.
struct Nothing;

impl Salvage for Nothing {
    fn begins(&self, _: Recovered, _: &[u64]) -> Option<u64> {
        None
    }
    fn takes_back(&self) -> bool {
        false
    }
    fn links(&self, _: Remaining) -> Judge {
        unreachable!("nothing is kept")
    }
}

/// Whatever lies above damage is enough with the newest snapshot, if a record is there; of what lies below, every record of
/// odd length proves the rest.
struct Newest;

impl Salvage for Newest {
    fn begins(&self, mut above: Recovered, snapshots: &[u64]) -> Option<u64> {
        above.next()?;
        snapshots.last().copied()
    }
    fn takes_back(&self) -> bool {
        false
    }
    fn links(&self, _: Remaining) -> Judge {
        Box::new(|_, bytes| if is_link(bytes) { Fate::Keep } else { Fate::Go })
    }
}

fn is_link(bytes: &[u8]) -> bool {
    bytes.len() % 2 == 1
}

fn open_aside(disk: Arc<dyn Disk>, dir: &Path) -> Result<Opened, StoreError> {
    Store::open_on(disk, dir, GENESIS, &small(), OnDamage::SetAside(&Nothing))
}

fn open_above(disk: Arc<dyn Disk>, dir: &Path) -> Result<Opened, StoreError> {
    Store::open_on(disk, dir, GENESIS, &small(), OnDamage::SetAside(&Newest))
}

fn remaining(dir: &Path) -> Records {
    let remaining = Store::remaining(dir, Some(&chain())).unwrap();
    remaining.map(|remain| remain.map(|remain| (remain.kind, remain.bytes)).unwrap()).collect()
}

pub(super) fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, &bytes).unwrap();
    bytes
}

/// Copies all files.
pub(super) fn copied(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files(from).iter().for_each(|(path, bytes)| {
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    });
    dir
}

#[test]
fn the_log_ends_before_the_damaged_record_and_nothing_behind_it_is_lost() {
    let (whole, places, records) = three_segments();
    for (number, (segment, offset)) in places.iter().enumerate().take(places.len() - 1) {
        let dir = copied(whole.path());
        let file = segment::path_of(dir.path(), *segment);
        let damaged = flip(&file, offset + 70);
        let before = files(dir.path());
        assert!(open(dir.path()).is_err());
        let Opened { mut store, records: found, aside, cut, .. } =
            open_aside(Arc::new(SystemDisk), dir.path()).unwrap();
        let aside = aside.unwrap();
        assert_eq!((&aside.file, aside.offset, aside.damage), (&file, *offset as u64, Damage::Record));
        let first = places.iter().position(|place| place.0 == *segment).unwrap();
        assert_eq!(aside.record as usize, number - first + 1);
        assert_eq!(cut, None);
        assert_eq!(found.collect::<Records>(), records[..number]);
        // The files are there, and what was good in them can be read.
        // One that was made ahead may be among them.
        assert!(aside.kept.len() >= 4 - *segment as usize);
        assert_eq!(fs::read(&aside.kept[0]).unwrap(), damaged);
        for (later, path) in (*segment..).zip(&aside.kept).skip(1) {
            assert_eq!(fs::read(path).unwrap(), before[&segment::path_of(dir.path(), later)]);
        }
        assert_eq!(aside.records().collect::<Records>(), records[number + 1..]);
        // It goes on from there, and may be damaged again.
        let told = start(&mut store);
        let new = payload(99, 300);
        store.append(vec![append_of(1, RecordKind::Block, &new)]).unwrap();
        told.recv().unwrap().unwrap();
        store.append(vec![append_of(2, RecordKind::Block, &new)]).unwrap();
        told.recv().unwrap().unwrap();
        store.close().unwrap();
        let mut expected = records[..number].to_vec();
        expected.extend([(RecordKind::Block, new.clone()), (RecordKind::Block, new)]);
        assert_eq!(open(dir.path()).unwrap().records.collect::<Records>(), expected);
        assert_eq!(read(dir.path()).unwrap(), expected);
        flip(&segment::path_of(dir.path(), 1), SEGMENT_HEAD_BYTES + 1);
        let again = open_aside(Arc::new(SystemDisk), dir.path()).unwrap();
        assert_eq!(again.records.count(), 0);
        assert!(again.aside.unwrap().kept.len() as u32 >= *segment);
    }
}

#[test]
fn damage_of_headers_seals_lengths_and_zeros_is_set_aside_and_other_faults_are_refused() {
    let (whole, places, records) = three_segments();
    let in_second = places.iter().position(|place| place.0 == 2).unwrap();
    let in_third = places.iter().position(|place| place.0 == 3).unwrap();
    let last = places[in_third - 1];
    let seal = last.1 + record_bytes(records[in_third - 1].1.len());
    type Change = fn(&mut Vec<u8>, usize);
    let cases: [(Change, usize); 5] = [
        (|bytes, _| bytes[20] ^= 1, in_second),
        (|bytes, _| bytes.truncate(100), in_second),
        (|bytes, _| bytes.truncate(8000), in_second + 1),
        (|bytes, seal| bytes[seal + 3] ^= 1, in_third),
        (|bytes, seal| bytes[seal + 100] ^= 1, in_third),
    ];
    for (change, left) in cases {
        let dir = copied(whole.path());
        let file = segment::path_of(dir.path(), 2);
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes, seal);
        fs::write(&file, &bytes).unwrap();
        let opened = open_aside(Arc::new(SystemDisk), dir.path()).unwrap();
        assert!(opened.aside.is_some_and(|aside| aside.file == file));
        assert!(opened.records.collect::<Records>().len().abs_diff(left) <= 1, "{left}");
    }
    let dir = copied(whole.path());
    fs::remove_file(segment::path_of(dir.path(), 2)).unwrap();
    let before = files(dir.path());
    assert!(matches!(open_aside(Arc::new(SystemDisk), dir.path()), Err(StoreError::Missing { .. })));
    assert!(files(dir.path()) == before, "nothing is changed");
}

/// A disk that fails at one of its changes, and at all after it.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) left: AtomicUsize,
}

impl Failing {
    fn change<T>(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { make() } else { Err(io::Error::other("the disk fails")) }
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path, cache: Cache) -> io::Result<fs::File> {
        self.change(|| SystemDisk.create(path, cache))
    }
    fn write(
        &self,
        file: &fs::File,
        path: &Path,
        pieces: &[io::IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.change(|| SystemDisk.write(file, path, pieces, offset))
    }
    fn sync(&self, file: &fs::File, path: &Path) -> io::Result<()> {
        self.change(|| SystemDisk.sync(file, path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| SystemDisk.rename(from, to))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| SystemDisk.link(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|| SystemDisk.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|| SystemDisk.sync_dir(dir))
    }
}

#[test]
fn whenever_it_is_interrupted_the_next_start_comes_to_the_same_end() {
    let (whole, places, records) = three_segments();
    for number in [0, 3, places.len() - 3] {
        let (segment, offset) = places[number];
        let mut interrupted = 0;
        for changes in 0.. {
            let dir = copied(whole.path());
            flip(&segment::path_of(dir.path(), segment), offset + 70);
            let disk = Arc::new(Failing { left: AtomicUsize::new(changes) });
            let failed = open_aside(disk, dir.path()).is_err();
            let found = open_aside(Arc::new(SystemDisk), dir.path()).unwrap();
            assert!(found.records.collect::<Records>() == records[..number], "after {changes} changes");
            drop(found.store);
            let kept = files(dir.path());
            let good = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("damaged-");
            assert!(kept.keys().filter(|path| good(path)).count() >= 4 - segment as usize);
            interrupted += usize::from(failed);
            if !failed {
                break;
            }
        }
        assert!(interrupted > 5, "{interrupted}");
    }
}

#[test]
fn what_is_whole_above_damage_stays_the_log_and_links_below_are_kept() {
    let (whole, places, records) = three_segments();
    for (height, name) in [(7, "older"), (40, "newer")] {
        fs::write(whole.path().join(format!("snapshot-{height}")), name).unwrap();
    }
    let lasts: Vec<usize> = (1..=3).map(|n| places.iter().rposition(|place| place.0 == n).unwrap()).collect();
    for (number, (segment, offset)) in places.iter().enumerate() {
        let dir = copied(whole.path());
        let file = segment::path_of(dir.path(), *segment);
        flip(&file, offset + 70);
        let above = lasts[*segment as usize - 1] + 1;
        let mut interrupted = 0;
        for changes in 0.. {
            let dir = copied(dir.path());
            let file = segment::path_of(dir.path(), *segment);
            let failed =
                open_above(Arc::new(Failing { left: AtomicUsize::new(changes) }), dir.path()).is_err();
            let opened = open_above(Arc::new(SystemDisk), dir.path()).unwrap();
            let found: Records = opened.records.collect();
            drop(opened.store);
            if *segment == 3 {
                // Nothing is above the last one.
                assert!(!opened.removed && opened.snapshots == [7, 40]);
                assert_eq!(found, records[..number]);
            } else {
                assert_eq!(found, records[above..], "after {changes} changes");
                assert!(opened.removed && opened.snapshots == [40]);
                let good = records[..above].iter().enumerate().filter(|(at, _)| *at != number);
                let links = good.filter(|(_, (_, bytes))| is_link(bytes));
                assert_eq!(
                    remaining(dir.path()),
                    links.map(|(_, record)| record.clone()).collect::<Records>()
                );
                assert!(dir.path().join("damaged-snapshot-7-1.blk").exists() && !file.exists());
                if let Some(aside) = opened.aside {
                    assert_eq!((aside.part, &aside.file, aside.offset), (Part::UpTo, &file, *offset as u64));
                }
                let again = open(dir.path()).unwrap();
                assert!(again.removed && again.records.collect::<Records>() == found);
            }
            interrupted += usize::from(failed);
            if !failed {
                break;
            }
        }
        assert!(interrupted > 3, "{interrupted}");
    }
    // Two are damaged; and where a header is, nothing links what comes next.
    let dir = copied(whole.path());
    for number in [1, 2] {
        flip(&segment::path_of(dir.path(), number), SEGMENT_HEAD_BYTES + 70);
    }
    let opened = open_above(Arc::new(SystemDisk), dir.path()).unwrap();
    assert_eq!(opened.records.collect::<Records>(), records[lasts[1] + 1..]);
    let dir = copied(whole.path());
    flip(&segment::path_of(dir.path(), 1), 20);
    let opened = open_above(Arc::new(SystemDisk), dir.path()).unwrap();
    assert_eq!((opened.records.count(), opened.removed), (0, false));
    assert_eq!(opened.aside.unwrap().part, Part::Behind);
}

#[test]
fn a_log_with_nothing_to_begin_with_is_set_aside_as_a_whole_whenever_that_is_interrupted() {
    let (whole, places, records) = three_segments();
    fs::write(whole.path().join("snapshot-40"), "a table").unwrap();
    flip(&segment::path_of(whole.path(), 1), SEGMENT_HEAD_BYTES + 70);
    // So that something is left of a removed segment.
    drop(open_above(Arc::new(SystemDisk), whole.path()).unwrap());
    assert!(remains::path_of(whole.path(), 1).exists());
    let guard = fs::read(whole.path().join("guard")).unwrap();
    let mut interrupted = 0;
    for changes in 0.. {
        let dir = copied(whole.path());
        let disk = Arc::new(Failing { left: AtomicUsize::new(usize::MAX) });
        let opened = Store::open_on(disk.clone(), dir.path(), GENESIS, &small(), OnDamage::Refuse).unwrap();
        drop(opened.records);
        disk.left.store(changes, Ordering::Relaxed);
        let marked = opened.store.abandon().is_ok();
        let failed = open_aside(disk, dir.path()).is_err();
        let opened = open(dir.path()).unwrap();
        let begun = opened.records.collect::<Records>();
        assert!(matches!(opened.guard, GuardState::Intact(_)));
        drop(opened.store);
        if marked || begun.is_empty() {
            assert_eq!(begun, [], "after {changes} changes");
            assert!(!opened.removed && opened.snapshots.is_empty());
            assert_eq!(fs::read(dir.path().join("guard")).unwrap(), guard);
            let names = files(dir.path());
            let aside = names.keys().filter(|path| path.to_str().unwrap().contains("/damaged-"));
            assert!(aside.count() >= 5, "two segments, what is left of one and itself, the snapshot");
            assert_eq!(remaining(dir.path()), []);
        } else {
            assert_eq!(begun, records[places.iter().position(|place| place.0 == 2).unwrap()..]);
        }
        if let Some(abandoned) = opened.abandoned {
            assert!(abandoned.records().all(|record| records.contains(&record)));
        }
        interrupted += usize::from(failed);
        if marked && !failed {
            assert!(read(dir.path()).unwrap().is_empty() && Store::remaining(dir.path(), None).is_ok());
            break;
        }
    }
    assert!(interrupted > 8, "{interrupted}");
}

#[test]
fn a_bad_header_of_the_first_segment_is_damage_only_where_the_genesis_says_whose_it_is() {
    let (whole, _, records) = three_segments();
    let changes: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[0] ^= 1,
        |bytes| bytes[30] ^= 1,
        |bytes| bytes[150] ^= 1,
        |bytes| bytes[4000] = 1,
        |bytes| bytes.truncate(100),
    ];
    for change in changes {
        let dir = copied(whole.path());
        let file = segment_1(dir.path());
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        let before = files(dir.path());
        assert!(matches!(open(dir.path()), Err(StoreError::Damaged { file: of, .. }) if of == file));
        // Without a genesis, or with another one, it may be anybody's.
        let genesis = dir.path().join("genesis");
        fs::remove_file(&genesis).unwrap();
        assert!(matches!(open_aside(Arc::new(SystemDisk), dir.path()), Err(StoreError::Damaged { .. })));
        fs::write(&genesis, "another").unwrap();
        let refused = open_aside(Arc::new(SystemDisk), dir.path());
        assert!(matches!(refused, Err(StoreError::Damaged { damage: Damage::Genesis, .. })));
        fs::write(&genesis, GENESIS).unwrap();
        assert!(files(dir.path()) == before, "nothing is changed");
        let opened = open_aside(Arc::new(SystemDisk), dir.path()).unwrap();
        let aside = opened.aside.unwrap();
        assert_eq!((&aside.file, aside.record, opened.records.count()), (&file, 1, 0));
        assert!(aside.offset == 0 || aside.damage == Damage::Length);
        assert_eq!(fs::read(&aside.kept[0]).unwrap(), bytes);
        let behind = records.len() - aside.records().count();
        assert!(behind > 0 && behind < records.len(), "what the damaged one held cannot be read");
    }
    // A header that passes its check says itself whose it is.
    let dir = copied(whole.path());
    let before = files(dir.path());
    let nothing = OnDamage::SetAside(&Nothing);
    let other = Store::open_on(Arc::new(SystemDisk), dir.path(), b"another", &small(), nothing);
    assert!(matches!(other, Err(StoreError::OtherChain { .. })));
    let mut newer = before[&segment_1(dir.path())].clone();
    newer[8] = 2;
    fs::write(segment_1(dir.path()), newer).unwrap();
    let refused = open_aside(Arc::new(SystemDisk), dir.path());
    assert!(matches!(refused, Err(StoreError::NewerFormat { found: 2, .. })));
    assert_eq!(files(dir.path()).len(), before.len());
}
