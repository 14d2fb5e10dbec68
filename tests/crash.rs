//! The store under power cuts and failing disks: every point at which a script can be stopped, not a sample of them.
//!
//! After Pillai et al., "All File Systems Are Not Created Equal" (2014): the changes that the store makes are written
//! down, and every state that they may leave behind is laid out and opened.

#[path = "../fuzz/src/paper_disk.rs"]
mod paper_disk;
#[path = "../fuzz/src/store.rs"]
mod store;

use paper_disk::{Failure, PowerCut};
use proptest::prelude::*;
use store::{Records, World};

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_appends_crashes_failures_and_flips_is_a_list(steps in prop::collection::vec(any::<u8>(), 0..72)) {
        store::store(&steps);
    }
}
