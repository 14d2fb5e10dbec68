//! The store under power cuts and failing disks: every point at which a script can be stopped, not a sample of them.
//!
//! After Pillai et al., "All File Systems Are Not Created Equal" (2014): the changes that the store makes are written
//! down, and every state that they may leave behind is laid out and opened.

#[path = "../fuzz/src/paper_disk.rs"]
mod paper_disk;
#[path = "../fuzz/src/store.rs"]
mod store;

use paper_disk::{Failure, PaperDisk, PowerCut};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use store::{GENESIS, Records, World, config, record};
use throng::store::{
    Append, Errand, Fate, Judge, Kept, OnDamage, Opened, RecordKind, Recovered, Remaining, Salvage, Store,
    StoreError, Unwritten,
};

/// Groups of records by their lengths: single ones, many small, some that change segments in their middle.
const SCRIPT: [&[usize]; 14] = [
    &[40],
    &[0, 1, 7, 8, 9],
    &[700],
    &[300, 300, 300],
    &[4096, 4096],
    &[100],
    &[4000, 20, 4000],
    &[1],
    &[511, 512, 513],
    &[3000, 3000, 3000, 3000, 3000],
    &[64],
    &[0],
    &[2000, 2000],
    &[10, 20, 30],
];
/// Above so many sectors that may be there or not, prefixes and holes are taken in steps.
const SECTORS_EACH: usize = 12;

/// Whether a sector is kept, by its number.
type Keep = Box<dyn Fn(usize) -> bool>;

/// Runs the script to its end, or until the store fails.
fn run(world: &mut World) {
    let _ = SCRIPT.iter().all(|lengths| world.append(lengths));
}

/// Which sectors a cut may keep: none, all, every second one, each prefix, each suffix, all but one, one alone.
fn choices(sectors: usize) -> Vec<Keep> {
    let mut choices: Vec<Keep> = vec![Box::new(|_| false)];
    if sectors == 0 {
        return choices;
    }
    choices.push(Box::new(|_| true));
    choices.push(Box::new(|sector| sector % 2 == 0));
    choices.push(Box::new(|sector| sector % 2 == 1));
    for at in (0..sectors).step_by(sectors.div_ceil(SECTORS_EACH)) {
        choices.push(Box::new(move |sector| sector < at));
        choices.push(Box::new(move |sector| sector >= at));
        choices.push(Box::new(move |sector| sector != at));
        choices.push(Box::new(move |sector| sector == at));
    }
    choices
}

/// Every state of a cut, with the number of changed names that it keeps.
fn states(cut: &PowerCut) -> Vec<(usize, Keep)> {
    let names = 0..=cut.names();
    names.flat_map(|names| choices(cut.sectors()).into_iter().map(move |keep| (names, keep))).collect()
}

#[test]
fn after_every_crash_point_what_was_acknowledged_is_there_and_nothing_is_half_there() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut world = World::open(first.path(), Records::new(), 0).unwrap();
    run(&mut world);
    let all: usize = SCRIPT.iter().map(|lengths| lengths.len()).sum();
    assert_eq!(world.acknowledged, all);
    world.stop();
    let (mut images, mut shorter, mut again) = (0, 0, 0);
    for changes in 0..=world.paper.changes() {
        let cut = world.paper.cut(changes);
        let least = world.paper.acknowledged(changes);
        for (names, keep) in states(&cut) {
            cut.lay_out(second.path(), names, &keep);
            let mut after = World::open(second.path(), world.records.clone(), least)
                .unwrap_or_else(|error| panic!("after {changes} changes, {names} names: {error}"));
            shorter += usize::from(after.records.len() > least);
            images += 1;
            // Some go on from there; and the power may be cut again while a tail is being cut.
            if images % 16 == 0 {
                let found = after.records.len();
                let recovering = after.paper.changes();
                assert!(after.append(&[33, 4000]));
                let mut later = after.reopened().unwrap();
                assert_eq!(later.records.len(), found + 2);
                later.stop();
                cut.lay_out(second.path(), names, &keep);
                for stopped in 0..=recovering {
                    let mut twice = World::open(second.path(), world.records.clone(), least).unwrap();
                    let mut third = twice.cut(stopped, stopped, &|sector| sector % 3 == 1).unwrap();
                    third.stop();
                    again += 1;
                }
            } else {
                after.stop();
            }
        }
    }
    assert!(images > 1_000 && shorter > 50 && again > 100, "{images} {shorter} {again}");
}

#[test]
fn after_every_change_that_fails_what_was_acknowledged_is_there() {
    let mut failed = 0;
    for failure in [Failure::Refused, Failure::Full] {
        for after in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let mut world = World::open(dir.path(), Records::new(), 0).unwrap();
            world.paper.fail_after(after, failure);
            run(&mut world);
            if !world.paper.failed() {
                break;
            }
            failed += 1;
            // The process ends, or the machine does.
            if after % 2 == 0 {
                let least = world.acknowledged;
                let again = world.reopened().unwrap();
                assert!(again.records.len() >= least);
            } else {
                let changes = world.paper.changes();
                world.cut(changes, 0, &|sector| sector % 2 == 0).unwrap().stop();
            }
        }
    }
    assert!(failed > 60, "{failed}");
}

#[test]
fn a_page_that_cannot_be_read_is_named_whatever_is_to_become_of_damage_and_nothing_is_changed() {
    struct Nothing;
    impl Salvage for Nothing {
        fn begins(&self, _: Recovered, _: &[u64]) -> Option<u64> {
            None
        }
        fn takes_back(&self) -> bool {
            true
        }
        fn links(&self, _: Remaining) -> Judge {
            unreachable!("what cannot be read is no damage")
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(dir.path(), Records::new(), 0).unwrap();
    run(&mut world);
    world.stop();
    let names = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let segments: Vec<_> = names().filter(|path| path.to_str().unwrap().contains("segment-")).collect();
    assert!(segments.len() > 2);
    let before: Vec<_> = names().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    for file in &segments {
        let length = file.metadata().unwrap().len();
        for byte in (0..length).step_by(1024) {
            let paper = Arc::new(PaperDisk::of(dir.path()));
            paper.fail_read(file, byte);
            for on_damage in [OnDamage::Refuse, OnDamage::SetAside(&Nothing)] {
                let error = Store::open_on(paper.clone(), dir.path(), GENESIS, &config(), on_damage);
                let error = error.map(drop).unwrap_err();
                let StoreError::Unreadable { file: named, offset, .. } = &error else { panic!("{error}") };
                assert_eq!((named, *offset), (file, byte / 4096 * 4096));
                let words = error.to_string();
                assert!(words.contains("check the disk") && !words.contains('\n'), "{words}");
            }
            assert!(
                names().map(|path| (path.clone(), std::fs::read(path).unwrap())).eq(before.iter().cloned())
            );
        }
    }
    let least = world.acknowledged;
    assert_eq!(World::open(dir.path(), world.records.clone(), least).unwrap().records.len(), least);
}

/// A step of a script with snapshots and prunings.
#[derive(Clone, Copy)]
enum Step {
    /// So many records of this length, each for itself.
    Append(usize, usize),
    /// The snapshot of a height; the last one that is durable stays beside it.
    Snapshot(u64),
    /// Vertices up to this number may go.
    Prune(usize),
}

const KEEPING: [Step; 11] = [
    Step::Append(12, 2000),
    Step::Snapshot(64),
    Step::Append(6, 3000),
    Step::Snapshot(128),
    Step::Prune(6),
    Step::Append(9, 1500),
    Step::Snapshot(192),
    Step::Prune(14),
    Step::Append(1, 40),
    Step::Prune(20),
    Step::Append(3, 40),
];

/// What a script has had acknowledged, after how many changes.
#[derive(Default)]
struct Acknowledged {
    records: Vec<(usize, usize)>,
    snapshots: Vec<(usize, u64, Option<u64>)>,
    /// The last vertex that may be gone, from when the errand was given on.
    prunings: Vec<(usize, usize)>,
}

fn table(height: u64) -> Vec<u8> {
    (0..1500).map(|at| (height as usize * 3 + at * 7) as u8 | 1).collect()
}

/// Vertices above `last` have to stay, blocks are kept. Every third record is a vertex, the next one a block.
fn judge(last: usize) -> Judge {
    Box::new(move |kind, bytes| match kind {
        RecordKind::Vertex if (0..=last).all(|number| record(number, bytes.len()).1 != bytes) => Fate::Stay,
        RecordKind::Block => Fate::Keep,
        _ => Fate::Go,
    })
}

/// Plays the script on paper; the records in order, and what was acknowledged when. It ends where a change fails.
fn keep(paper: &Arc<PaperDisk>, dir: &Path) -> (Records, Acknowledged) {
    let (mut records, mut acknowledged) = (Records::new(), Acknowledged::default());
    let Ok(Opened { mut store, .. }) =
        Store::open_on(paper.clone(), dir, GENESIS, &config(), OnDamage::Refuse)
    else {
        return (records, acknowledged);
    };
    let ((sender, told), (keeper, kept)) = (channel(), channel());
    store.start_keeper(Box::new(move |done| keeper.send(done).unwrap_or_default())).unwrap();
    store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).unwrap();
    'script: for step in KEEPING {
        match step {
            Step::Append(count, len) => {
                for number in records.len()..records.len() + count {
                    let (kind, bytes) = record(number, len);
                    records.push((kind, bytes.clone()));
                    let append = Append { number: 0, kind, bytes, guard: None };
                    if store.append(vec![append]).is_err() || told.recv().unwrap().is_err() {
                        break 'script;
                    }
                    acknowledged.records.push((paper.changes(), records.len()));
                }
            }
            Step::Snapshot(height) => {
                let older = acknowledged.snapshots.last().map(|(_, height, _)| *height);
                assert!(store.errand(Errand::Snapshot { height, bytes: table(height).into(), kept: older }));
                match kept.recv().unwrap() {
                    Kept::Snapshot { written: Ok(()), .. } => {
                        acknowledged.snapshots.push((paper.changes(), height, older));
                    }
                    Kept::Snapshot { written: Err(Unwritten::Failed(_)), .. } => assert!(paper.failed()),
                    other => {
                        assert!(paper.failed(), "{other:?}");
                        break 'script;
                    }
                }
            }
            Step::Prune(last) => {
                acknowledged.prunings.push((paper.changes(), last));
                assert!(store.errand(Errand::Prune(judge(last))));
                let Kept::Pruned(pruned) = kept.recv().unwrap() else { panic!("a pruning") };
                if pruned.is_err() {
                    assert!(paper.failed());
                    break 'script;
                }
            }
        }
    }
    let _ = store.close();
    (records, acknowledged)
}

/// Holds what lies in a directory against what had been acknowledged after so many changes; how many records are gone.
fn check_kept(dir: &Path, records: &Records, acknowledged: &Acknowledged, changes: usize) -> usize {
    let least = acknowledged.records.iter().rfind(|(at, _)| *at <= changes).map_or(0, |(_, count)| *count);
    let Opened { store, records: found, snapshots, .. } =
        Store::open(dir, GENESIS, &config()).unwrap_or_else(|error| panic!("after {changes}: {error}"));
    let found: Records = found.collect();
    drop(store);
    // The log is a stretch of what was written, up to what was acknowledged at the least.
    let mut starts = (0..=records.len()).filter(|start| records[*start..].starts_with(&found));
    let start = starts.next_back().unwrap_or_else(|| panic!("after {changes}: not what was written"));
    let start = if found.is_empty() { 0 } else { start };
    assert!(start + found.len() >= least, "after {changes}: {start} and {} of {least}", found.len());
    // Nothing is gone that had to stay, and of what is gone the blocks are there.
    let last = acknowledged.prunings.iter().rfind(|(at, _)| *at <= changes).map(|(_, last)| *last);
    let vertex = |number: &usize| records[*number].0 == RecordKind::Vertex;
    assert!((0..start).filter(vertex).all(|number| last.is_some_and(|last| number <= last)));
    let left: Vec<_> = Store::remaining(dir, None).unwrap().map(|remain| remain.unwrap().bytes).collect();
    let blocks = records[..start].iter().filter(|(kind, _)| *kind == RecordKind::Block);
    assert!(left.iter().eq(blocks.map(|(_, bytes)| bytes)), "after {changes}: the blocks before {start}");
    // Every snapshot is whole; the newest that was acknowledged and the one that stays beside it are there.
    for height in &snapshots {
        assert_eq!(Store::snapshot(dir, *height, 1 << 20).unwrap(), table(*height), "after {changes}");
    }
    if let Some((_, height, older)) = acknowledged.snapshots.iter().rfind(|(at, ..)| *at <= changes) {
        let newer = snapshots.iter().any(|found| found > height);
        assert!(snapshots.contains(height));
        assert!(newer || older.is_none_or(|older| snapshots.contains(&older)), "{snapshots:?}");
    }
    start
}

#[test]
fn after_every_crash_point_of_snapshots_and_prunings_what_is_needed_is_there() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paper = Arc::new(PaperDisk::of(first.path()));
    let (records, acknowledged) = keep(&paper, first.path());
    assert_eq!((acknowledged.records.len(), acknowledged.snapshots.len()), (31, 3));
    let (mut images, mut gone) = (0, std::collections::BTreeSet::new());
    for changes in 0..=paper.changes() {
        let cut = paper.cut(changes);
        // Of each moment's states some: other ones at the next.
        for (names, keep) in states(&cut).into_iter().skip(changes % 5).step_by(5) {
            cut.lay_out(second.path(), names, &keep);
            gone.insert(check_kept(second.path(), &records, &acknowledged, changes));
            images += 1;
        }
    }
    assert!(images > 300 && gone.len() > 3, "{images} {gone:?}");
}

#[test]
fn after_every_change_that_fails_amid_snapshots_and_prunings_what_is_needed_is_there() {
    let mut failed = 0;
    for failure in [Failure::Refused, Failure::Full] {
        for after in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let paper = Arc::new(PaperDisk::of(dir.path()));
            paper.fail_after(after, failure);
            let (records, acknowledged) = keep(&paper, dir.path());
            if !paper.failed() {
                break;
            }
            failed += 1;
            check_kept(dir.path(), &records, &acknowledged, usize::MAX);
        }
    }
    assert!(failed > 100, "{failed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_appends_crashes_failures_and_flips_is_a_list(steps in prop::collection::vec(any::<u8>(), 0..72)) {
        store::store(&steps);
    }
}
