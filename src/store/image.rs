//! A segment in memory, for a simulated disk: what recovery finds after a crash, judged by the code that reads real
//! segments.

use super::format::{RECORD_HEAD_BYTES, RecordKey, SEGMENT_HEAD_BYTES, SegmentHead, Slot, record_bytes};
use super::{Damage, RecordKind};
use zerocopy::IntoBytes;

/// Lays the last durable records and one group that was being written into a segment, lets `tear` do to the bytes what
/// the crash did (they are given whole, with the offset where the group begins; before it nothing may be touched), and
/// walks the segment as recovery does.
///
/// Returns how many records of the group recovery takes for durable: the first so many.
///
/// # Errors
/// Recovery takes the segment for damaged instead of torn. After a tear of the last group that is a fault of the store.
pub fn surviving(
    chain: &[u8; 32],
    salt: [u8; 32],
    durable: &[(RecordKind, &[u8])],
    group: &[(RecordKind, &[u8])],
    tear: impl FnOnce(&mut [u8], usize),
) -> Result<usize, Damage> {
    let (key, segment) = laid(chain, salt, durable, group, tear);
    let found = walk(&key, &segment)?;
    assert!(found >= durable.len(), "a tear of the last group leaves what was synced before");
    Ok(found - durable.len())
}

/// A segment with durable records, each synced for itself, and one group, after what `tear` did to it.
fn laid(
    chain: &[u8; 32],
    salt: [u8; 32],
    durable: &[(RecordKind, &[u8])],
    group: &[(RecordKind, &[u8])],
    tear: impl FnOnce(&mut [u8], usize),
) -> (RecordKey, Vec<u8>) {
    let records = || durable.iter().chain(group);
    let room: usize = records().map(|(_, bytes)| record_bytes(bytes.len())).sum();
    let size = SEGMENT_HEAD_BYTES + room + 2 * RECORD_HEAD_BYTES;
    let mut segment = vec![0; size.next_multiple_of(SEGMENT_HEAD_BYTES)];
    let head = SegmentHead::new(1, segment.len() as u64, chain, salt, [0; 32]);
    segment[..SEGMENT_HEAD_BYTES].copy_from_slice(&head.page());
    let key = head.record_key();
    let mut offset = SEGMENT_HEAD_BYTES;
    let mut start = offset;
    for (place, (kind, bytes)) in records().enumerate() {
        if place <= durable.len() {
            start = offset;
        }
        let head = key.head(offset, start, *kind as u8, bytes);
        segment[offset..offset + RECORD_HEAD_BYTES].copy_from_slice(head.as_bytes());
        let from = offset + RECORD_HEAD_BYTES;
        segment[from..from + bytes.len()].copy_from_slice(bytes);
        offset += record_bytes(bytes.len());
    }
    if group.is_empty() {
        start = offset;
    }
    tear(&mut segment, start);
    (key, segment)
}

/// Lays records into a segment, each synced for itself, flips a bit of the one at a place, and walks the segment as recovery
/// does: the damage that it finds; `None` if it takes that for a torn tail.
pub fn damaged(
    chain: &[u8; 32],
    salt: [u8; 32],
    records: &[(RecordKind, &[u8])],
    place: usize,
    seed: u64,
) -> Option<Damage> {
    let before: usize = records[..place].iter().map(|(_, bytes)| record_bytes(bytes.len())).sum();
    let length = RECORD_HEAD_BYTES + records[place].1.len();
    let flip = |segment: &mut [u8], _| {
        let at = SEGMENT_HEAD_BYTES + before + (seed % length as u64) as usize;
        segment[at] ^= 1 << (seed % 8);
    };
    let (key, segment) = laid(chain, salt, records, &[], flip);
    walk(&key, &segment).err()
}

/// How many records the segment holds, as opening it would find.
fn walk(key: &RecordKey, segment: &[u8]) -> Result<usize, Damage> {
    let (mut offset, mut found) = (SEGMENT_HEAD_BYTES, 0);
    while let Slot::Good(record) = key.slot(segment, offset) {
        offset = record.next();
        found += 1;
    }
    if key.proves_durable(segment, offset, offset) { Err(Damage::Record) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(from: u8, count: u8) -> Vec<(RecordKind, Vec<u8>)> {
        (from..from + count).map(|k| (RecordKind::Vertex, vec![k; 300 + usize::from(k) * 100])).collect()
    }

    fn view(records: &[(RecordKind, Vec<u8>)]) -> Vec<(RecordKind, &[u8])> {
        records.iter().map(|(kind, bytes)| (*kind, bytes.as_slice())).collect()
    }

    #[test]
    fn a_group_survives_up_to_its_first_torn_record() {
        let (before, group) = (records(1, 3), records(4, 4));
        let run = |tear: &dyn Fn(&mut [u8], usize)| {
            surviving(&[1; 32], [2; 32], &view(&before), &view(&group), tear)
        };
        assert_eq!(run(&|_, _| ()), Ok(4));
        assert_eq!(run(&|bytes, start| bytes[start..].fill(0)), Ok(0));
        let second = record_bytes(group[0].1.len());
        assert_eq!(run(&|bytes, start| bytes[start + second + 100] ^= 1), Ok(1));
        // Later sectors of the group may be there while an earlier one is not.
        assert_eq!(run(&|bytes, start| bytes[start..start + 512].fill(0)), Ok(0));
        assert_eq!(surviving(&[1; 32], [2; 32], &[], &[], |_, _| ()), Ok(0));
    }

    #[test]
    fn a_spot_that_was_synced_is_damage() {
        let (before, group) = (records(1, 3), records(4, 2));
        let tear = |bytes: &mut [u8], start: usize| bytes[start - 8] ^= 1;
        let found = surviving(&[1; 32], [2; 32], &view(&before), &view(&group), tear);
        assert_eq!(found, Err(Damage::Record));
    }
}
