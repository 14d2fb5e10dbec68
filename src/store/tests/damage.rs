//! Torn tails are cut, everything else is reported with its place, and then nothing is changed.

use super::*;
use crate::store::format::{RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, record_bytes};

/// Records of one group each, so that every record but the last is known to be durable.
fn singles(lengths: &[usize]) -> Vec<Records> {
    let seeds = 1..;
    seeds.zip(lengths).map(|(seed, len)| vec![(RecordKind::Vertex, payload(seed, *len))]).collect()
}

/// A directory with these records, and the offset of each in the first segment.
fn written(groups: &[Records]) -> (tempfile::TempDir, Vec<usize>, Records) {
    let dir = tempfile::tempdir().unwrap();
    write_groups(dir.path(), groups);
    let records: Records = groups.concat();
    let offsets = records.iter().scan(SEGMENT_HEAD_BYTES, |end, (_, bytes)| {
        let start = *end;
        *end += record_bytes(bytes.len());
        Some(start)
    });
    let offsets = offsets.collect();
    (dir, offsets, records)
}

/// Writes bytes to a file in place, opens the store, and says what came of it; the reader without a lock must agree.
fn open_with(dir: &Path, file: &Path, bytes: &[u8]) -> Result<(Records, Option<TornTail>), StoreError> {
    fs::write(file, bytes).unwrap();
    let before = files(dir);
    let mut reader = Store::records(dir, Some(&chain()));
    let read = reader
        .as_mut()
        .map_err(|error| error.clone())
        .and_then(|reader| reader.collect::<Result<Records, _>>());
    let torn = reader.ok().and_then(|reader| reader.torn().cloned());
    let opened = open(dir);
    match (&read, &opened) {
        (Ok(_), Ok(_)) => {}
        (Err(read), Err(opened)) => {
            assert_eq!(read.to_string(), opened.to_string());
            assert!(files(dir) == before, "an error changes nothing");
        }
        _ => panic!("the reader and the store disagree: {:?}", opened.map(|opened| opened.cut)),
    }
    let opened = opened?;
    assert_eq!(opened.cut, torn);
    let records: Records = opened.records.collect();
    assert_eq!(read?, records);
    Ok((records, opened.cut))
}

fn damaged_at(result: Result<(Records, Option<TornTail>), StoreError>) -> (PathBuf, u64, Damage) {
    match result {
        Err(StoreError::Damaged { file, offset, damage }) => (file, offset, damage),
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn a_last_record_torn_anywhere_is_cut() {
    let (dir, offsets, records) = written(&singles(&[30, 0, 45]));
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    let start = offsets[2];
    let len = RECORD_HEAD_BYTES + 45;
    for kept in 0..len {
        // Either end of the write may have reached the disk.
        for lost in [start + kept..start + len, start..start + len - kept] {
            let mut bytes = whole.clone();
            bytes[lost.clone()].fill(0);
            // A header begins with random bytes, of which the first may be zero.
            let torn = bytes[start..].iter().any(|byte| *byte != 0);
            assert!(torn || kept < 9, "more than that is never zero");
            let (found, cut) = open_with(dir.path(), &file, &bytes).unwrap();
            assert_eq!(found, records[..2], "lost {lost:?}");
            assert_eq!(cut.is_some(), torn);
            assert_eq!(cut.map_or(start as u64, |cut| cut.offset), start as u64);
            let after = fs::read(&file).unwrap();
            assert!(after[..start] == whole[..start] && after[start..].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn after_a_cut_the_log_goes_on() {
    let (dir, offsets, mut records) = written(&singles(&[30, 500]));
    let file = segment_1(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[offsets[1] + 200] ^= 1;
    let (_, cut) = open_with(dir.path(), &file, &bytes).unwrap();
    let torn = TornTail { file, offset: offsets[1] as u64, bytes: RECORD_HEAD_BYTES as u64 + 500 };
    assert_eq!(cut, Some(torn));
    records.truncate(1);
    let more = vec![(RecordKind::Block, payload(9, 77))];
    write_groups(dir.path(), std::slice::from_ref(&more));
    records.extend(more);
    assert_eq!(read(dir.path()).unwrap(), records);
}

#[test]
fn a_flip_in_the_last_record_is_a_torn_tail() {
    let (dir, offsets, records) = written(&singles(&[30, 13]));
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    for place in offsets[1]..offsets[1] + record_bytes(13) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let (found, cut) = open_with(dir.path(), &file, &bytes).unwrap();
        assert_eq!(found, records[..1], "flip at {place}");
        assert_eq!(cut.unwrap().offset, offsets[1] as u64);
    }
}

#[test]
fn a_flip_in_an_earlier_record_is_damage_with_file_and_offset() {
    let (dir, offsets, _) = written(&singles(&[30, 61, 0, 20]));
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    for place in offsets[0]..offsets[3] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let record = *offsets.iter().rfind(|offset| **offset <= place).unwrap();
        let found = damaged_at(open_with(dir.path(), &file, &bytes));
        assert_eq!(found, (file.clone(), record as u64, Damage::Record), "flip at {place}");
    }
}

#[test]
fn a_wiped_record_before_good_ones_is_damage() {
    let (dir, offsets, _) = written(&singles(&[30, 61, 20]));
    let file = segment_1(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[offsets[1]..offsets[2]].fill(0);
    assert_eq!(damaged_at(open_with(dir.path(), &file, &bytes)), (file, offsets[1] as u64, Damage::Record));
}

/// The disk may write the sectors of one unsynced group in any order: a good record of the same group proves nothing.
#[test]
fn a_hole_in_the_last_group_is_a_torn_tail() {
    let group: Records = (1..5).map(|seed| (RecordKind::Batch, payload(seed, 100))).collect();
    let (dir, offsets, records) = written(&[singles(&[10]).concat(), group]);
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    for hole in 1..5 {
        let mut bytes = whole.clone();
        bytes[offsets[hole] + 70..offsets[hole] + 90].fill(0);
        let (found, cut) = open_with(dir.path(), &file, &bytes).unwrap();
        assert_eq!(found, records[..hole]);
        assert_eq!(cut.unwrap().offset, offsets[hole] as u64);
    }
}

/// Whoever chooses a payload must not be able to turn a torn tail into damage, or into a record.
#[test]
fn a_record_inside_a_payload_is_no_record() {
    let (dir, offsets, _) = written(&singles(&[30, 61]));
    let stolen = fs::read(segment_1(dir.path())).unwrap()[offsets[0]..].to_vec();
    let stolen = Bytes::from(stolen[..2000].to_vec());
    write_groups(dir.path(), &[vec![(RecordKind::Batch, stolen)]]);
    let file = segment_1(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let start = offsets[1] + record_bytes(61);
    bytes[start..start + RECORD_HEAD_BYTES].fill(0);
    let (found, cut) = open_with(dir.path(), &file, &bytes).unwrap();
    assert_eq!((found.len(), cut.unwrap().offset), (2, start as u64));
}

/// Two segments: the first sealed, the second with a record.
fn two_segments() -> (tempfile::TempDir, Records, usize) {
    let groups = singles(&[4000, 4000, 3000, 4000]);
    let (dir, offsets, records) = written(&groups);
    let seal = offsets[2] + record_bytes(3000);
    (dir, records, seal)
}

#[test]
fn a_sealed_segment_cannot_lose_its_end() {
    let (dir, _, seal) = two_segments();
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    let last = seal - record_bytes(3000);
    for from in [last, seal] {
        let mut bytes = whole.clone();
        bytes[from..].fill(0);
        assert_eq!(
            damaged_at(open_with(dir.path(), &file, &bytes)),
            (file.clone(), from as u64, Damage::Record)
        );
    }
    for place in [seal + RECORD_HEAD_BYTES, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] = 1;
        assert_eq!(
            damaged_at(open_with(dir.path(), &file, &bytes)),
            (file.clone(), place as u64, Damage::NotZero)
        );
    }
}

#[test]
fn no_byte_of_a_sealed_segment_changes_unseen() {
    let (dir, records, _) = two_segments();
    let file = segment_1(dir.path());
    let whole = fs::read(&file).unwrap();
    for place in (0..200).chain((200..whole.len()).step_by(7)) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x80;
        fs::write(&file, &bytes).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. } | StoreError::NewerFormat { .. }),
            "{place}: {error}"
        );
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(read(dir.path()).unwrap(), records);
}

#[test]
fn segments_that_are_cut_swapped_exchanged_or_missing_are_told() {
    let (dir, records, _) = two_segments();
    let (other, _, _) = two_segments();
    let (first, second) = (segment_1(dir.path()), segment::path_of(dir.path(), 2));
    let (one, two) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let length = |len: usize| (first.clone(), len as u64, Damage::Length);
    assert_eq!(damaged_at(open_with(dir.path(), &first, &one[..one.len() - 1])), length(one.len() - 1));
    assert_eq!(
        damaged_at(open_with(dir.path(), &first, &[one.as_slice(), &[0]].concat())),
        length(one.len() + 1)
    );
    assert_eq!(damaged_at(open_with(dir.path(), &first, &[])), length(0));
    assert_eq!(damaged_at(open_with(dir.path(), &first, &two)), (first.clone(), 0, Damage::Head));
    fs::write(&first, &one).unwrap();
    assert_eq!(damaged_at(open_with(dir.path(), &second, &one)), (second.clone(), 0, Damage::Head));
    let foreign = fs::read(segment::path_of(other.path(), 2)).unwrap();
    assert_eq!(damaged_at(open_with(dir.path(), &second, &foreign)), (second.clone(), 0, Damage::Head));
    fs::remove_file(&second).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Missing { file }) if file == second));
    fs::write(&second, &two).unwrap();
    fs::remove_file(&first).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Missing { file }) if file == first));
    fs::write(&first, &one).unwrap();
    assert_eq!(open(dir.path()).unwrap().records.collect::<Records>(), records);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let (dir, _, _) = written(&singles(&[30]));
    fs::remove_file(dir.path().join("lock")).unwrap();
    let before = files(dir.path());
    let other = Store::open(dir.path(), b"another", &small());
    assert!(matches!(other, Err(StoreError::OtherChain { found, expected, .. })
            if found == chain() && expected == crate::wire::chain_id_of(b"another").0));
    assert!(matches!(Store::records(dir.path(), Some(&[8; 32])), Err(StoreError::OtherChain { .. })));
    assert_eq!(Store::records(dir.path(), None).unwrap().count(), 1);
    assert!(files(dir.path()) == before);

    let file = segment_1(dir.path());
    let mut newer = fs::read(&file).unwrap();
    newer[8] = 2;
    assert!(matches!(
        open_with(dir.path(), &file, &newer),
        Err(StoreError::NewerFormat { found: 2, supported: 1, .. })
    ));
    fs::write(&file, &before[&file]).unwrap();

    for name in ["notes.txt", "segment-1.blk", "segment-000000.blk", "segment-000001.blk.bak"] {
        let foreign = dir.path().join(name);
        fs::write(&foreign, "mine").unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Foreign { file }) if file == foreign));
        fs::remove_file(&foreign).unwrap();
    }
    fs::create_dir(dir.path().join("segment-000003.blk")).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Foreign { .. })));
    assert!(files(dir.path()) == before);

    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Store::records(empty.path(), None), Err(StoreError::Empty { .. })));
    fs::write(empty.path().join("letter"), "mine").unwrap();
    assert!(matches!(open(empty.path()), Err(StoreError::Foreign { .. })));
    assert_eq!(files(empty.path()).len(), 1);
}

#[test]
fn a_kind_that_nobody_writes_is_told() {
    let (dir, offsets, _) = written(&singles(&[30]));
    let file = segment_1(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let key = format::SegmentHead::read(&bytes).unwrap().record_key();
    let end = offsets[0] + record_bytes(30);
    let head = key.head(end, end, 77, b"");
    bytes[end..end + RECORD_HEAD_BYTES].copy_from_slice(zerocopy::IntoBytes::as_bytes(&head));
    assert_eq!(damaged_at(open_with(dir.path(), &file, &bytes)), (file, end as u64, Damage::Kind));
}

#[test]
fn the_genesis_is_kept_and_a_wrong_one_is_refused() {
    let (dir, _, records) = written(&singles(&[30]));
    let path = dir.path().join("genesis");
    assert_eq!(Store::genesis(dir.path()).unwrap(), GENESIS);
    for wrong in [&b"a genesiz"[..], b"a genesi", b"a genesis ", b""] {
        fs::write(&path, wrong).unwrap();
        let before = files(dir.path());
        let same = wrong.iter().zip(GENESIS).take_while(|(a, b)| a == b).count() as u64;
        let found = damaged_at(open(dir.path()).map(|_| unreachable!()));
        assert_eq!(found, (path.clone(), same, Damage::Genesis));
        assert!(files(dir.path()) == before);
    }
    // Whoever opens the directory knows the genesis: a lost one is written again.
    fs::remove_file(&path).unwrap();
    assert!(matches!(Store::genesis(dir.path()), Err(StoreError::Missing { file }) if file == path));
    assert_eq!(open(dir.path()).unwrap().records.collect::<Records>(), records);
    assert_eq!(Store::genesis(dir.path()).unwrap(), GENESIS);

    let begun = tempfile::tempdir().unwrap();
    fs::write(begun.path().join("genesis"), "another").unwrap();
    assert!(
        matches!(open(begun.path()), Err(StoreError::OtherChain { expected, .. }) if expected == chain())
    );
    assert_eq!(files(begun.path()).len(), 1);
    fs::write(begun.path().join("genesis"), GENESIS).unwrap();
    assert_eq!(open(begun.path()).unwrap().records.count(), 0);
}
