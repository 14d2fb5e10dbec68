//! The guard: its slots against everything that a crash or a stranger may do to them, and its file in the directory.

use super::*;
use crate::store::guard::{GUARD_BYTES, GUARD_NAME, GuardFault, NextSlot, SLOT_BYTES, read, whole};
use crate::types::{Epoch, Round, Sequence, VertexId};

fn at(round: u64) -> Guard {
    Guard {
        epoch: Epoch(3),
        round: Round(round),
        id: VertexId([round as u8; 32]),
        sequence: Sequence(round / 2),
        lost: round % 5 == 4,
    }
}

fn content(bytes: &[u8]) -> Option<Guard> {
    read(&chain(), bytes).unwrap().map(|(guard, _)| guard)
}

/// A guard after writes for rounds 1 to `last`, and what comes next. That of round 6 stands in slot 1.
fn after(last: u64) -> (Vec<u8>, NextSlot) {
    let (mut bytes, mut next) = whole(&chain(), &at(0));
    for round in 1..=last {
        let (slot, place) = next.write(&chain(), &at(round));
        bytes[place..place + SLOT_BYTES].copy_from_slice(&slot);
        assert_eq!(read(&chain(), &bytes), Ok(Some((at(round), next))), "it goes on where it was");
    }
    (bytes, next)
}

#[test]
fn a_write_torn_at_any_byte_leaves_the_old_or_the_new() {
    let (before, mut next) = after(5);
    let (slot, place) = next.write(&chain(), &at(6));
    for cut in 0..=SLOT_BYTES {
        let mut torn = before.clone();
        torn[place..place + cut].copy_from_slice(&slot[..cut]);
        let found = content(&torn);
        assert_eq!(found, Some(if torn[place..place + SLOT_BYTES] == slot { at(6) } else { at(5) }), "{cut}");
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_both_slots_gone_is_damage() {
    let (bytes, _) = after(6);
    for index in (0..SLOT_BYTES).chain([SLOT_BYTES, 4095]) {
        let place = 4096 + index;
        for bit in 0..8 {
            let mut newest = bytes.clone();
            newest[place] ^= 1 << bit;
            match read(&chain(), &newest) {
                Ok(Some((guard, _))) => assert_eq!(guard, at(5), "{index}.{bit}"),
                other => panic!("{index}.{bit}: {other:?}"),
            }
        }
    }
    for bad in [vec![], vec![0; GUARD_BYTES], bytes[..GUARD_BYTES - 1].to_vec(), [&bytes[..], &[0]].concat()]
    {
        assert_eq!(read(&chain(), &bad), Ok(None));
    }
    let mut both = bytes.clone();
    (both[30], both[4096 + 30]) = (!both[30], !both[4096 + 30]);
    assert_eq!(read(&chain(), &both), Ok(None));
}

#[test]
fn a_slot_in_the_wrong_place_or_of_another_chain_or_version_does_not_count() {
    let (bytes, _) = after(6);
    let mut copied = bytes.clone();
    copied.copy_within(4096.., 0);
    copied[4096..].fill(0);
    assert_eq!(content(&copied), None, "its number says where it belongs");
    let foreign = read(&[8; 32], &bytes);
    assert_eq!(foreign, Err(GuardFault::OtherChain(chain())));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(content(&newer), Some(at(6)), "that is no version but a flipped bit");
    let check = blake3::derive_key("throng store guard slot v1", &newer[..SLOT_BYTES - 32]);
    newer[SLOT_BYTES - 32..SLOT_BYTES].copy_from_slice(&check);
    assert_eq!(read(&chain(), &newer), Err(GuardFault::Newer(2)));
}

/// Appends one vertex that raises the guard.
fn sign(dir: &Path, round: u64) {
    let mut store = open(dir).unwrap().store;
    let told = start(&mut store);
    let record = append_of(round, RecordKind::Vertex, &payload(round as u8, 50));
    store.append(vec![Append { guard: Some(at(round)), ..record }]).unwrap();
    assert_eq!(told.recv().unwrap().unwrap()[0].number, round);
    // Before it was told, not at closing.
    assert_eq!(content(&fs::read(dir.join(GUARD_NAME)).unwrap()), Some(at(round)));
    store.close().unwrap();
}

#[test]
fn the_guard_is_made_with_the_directory_and_raised_before_a_record_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).unwrap().guard, GuardState::Intact(Guard::default()));
    for round in 1..5 {
        sign(dir.path(), round);
        assert_eq!(open(dir.path()).unwrap().guard, GuardState::Intact(at(round)));
    }
    let Opened { mut store, guard, .. } = open(dir.path()).unwrap();
    assert_eq!(guard, GuardState::Intact(at(4)));
    store.raise_guard(&at(4), &at(9)).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).unwrap().guard, GuardState::Intact(at(9)));
}

#[test]
fn the_last_record_of_a_group_says_what_the_guard_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap().store;
    for round in 0..40_u64 {
        let record = append_of(round, RecordKind::Vertex, &payload(round as u8, 900));
        let guard = (round % 3 == 1).then(|| at(round));
        store.append(vec![Append { guard, ..record }]).unwrap();
    }
    let told = start(&mut store);
    assert_eq!(told.recv().unwrap().unwrap().len(), 40);
    assert_eq!(content(&fs::read(dir.path().join(GUARD_NAME)).unwrap()), Some(at(37)));
    store.close().unwrap();
    assert!(segment::list(dir.path()).unwrap().segments > 2, "over more than one segment");
}

#[test]
fn a_lost_guard_stays_lost_until_there_is_something_to_say() {
    for (harm, state) in [(None, GuardState::Missing), (Some(vec![7; 100]), GuardState::Damaged)] {
        let dir = tempfile::tempdir().unwrap();
        sign(dir.path(), 1);
        let path = dir.path().join(GUARD_NAME);
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = &harm {
            fs::write(&path, bytes).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(open(dir.path()).unwrap().guard, state, "opening mends nothing");
        }
        sign(dir.path(), 8);
        assert_eq!(open(dir.path()).unwrap().guard, GuardState::Intact(at(8)));
    }
}

/// Removes every segment, and the genesis beside them.
fn lose_log(dir: &Path) {
    for number in 1..=segment::list(dir).unwrap().segments {
        fs::remove_file(segment::path_of(dir, number)).unwrap();
    }
    fs::remove_file(dir.join("genesis")).unwrap();
}

#[test]
fn a_guard_without_its_log_is_believed_and_one_of_another_chain_refused() {
    let dir = tempfile::tempdir().unwrap();
    sign(dir.path(), 6);
    lose_log(dir.path());
    fs::write(dir.path().join("guard.new"), "half").unwrap();
    assert_eq!(open(dir.path()).unwrap().guard, GuardState::Intact(at(6)));
    assert!(!dir.path().join("guard.new").exists());
    lose_log(dir.path());
    let other = Store::open(dir.path(), b"another", &small());
    let path = dir.path().join(GUARD_NAME);
    assert!(
        matches!(other, Err(StoreError::OtherChain { file, found, .. }) if file == path && found == chain())
    );
}
