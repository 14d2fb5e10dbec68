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

fn open_aside(disk: Arc<dyn Disk>, dir: &Path) -> Result<Opened, StoreError> {
    Store::open_on(disk, dir, GENESIS, &small(), OnDamage::SetAside)
}

fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, &bytes).unwrap();
    bytes
}

/// Copies all files.
fn copied(from: &Path) -> tempfile::TempDir {
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
struct Failing {
    left: AtomicUsize,
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
