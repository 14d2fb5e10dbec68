//! Keys by account number, for the workers that check signatures while the executor opens accounts.
//!
//! Keys live in segments that double in size and never move, as plain atomic words. The one appender writes the
//! words and then publishes the new length; a reader loads the length first and so sees whole keys only. Points
//! live in a direct-mapped cache: the slot of account a is a mod the cache's size, whoever was read last owns it.
//! A reader never waits for a slot: finding it busy, it decompresses for itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use curve25519_dalek::edwards::EdwardsPoint;
use parking_lot::{Mutex, RwLock};

use super::verify::{PreparedKey, decompress};

/// Keys of the first segment, as a power of two; each further segment is twice as long.
const SEGMENT_FIRST_LOG: u32 = 10;
const SEGMENTS: usize = 18;

/// Most keys in a table: 268,434,432, which take 8 GiB. When full, [`KeyTable::push`] refuses.
pub const KEYS_MAX: u32 = ((1 << SEGMENTS) - 1) << SEGMENT_FIRST_LOG;

/// Points are given memory in blocks of this many slots (about 180 KiB), so that a large cache costs nothing
/// before accounts use it.
const BLOCK_SLOTS: usize = 1024;

/// A 32-byte key as words.
type Words = [AtomicU64; 4];

/// What a slot of the cache remembers: a number, and the point of its key (`None`: the key is not a point).
type Slot = RwLock<Option<(u32, Option<EdwardsPoint>)>>;

/// Keys by account number: append-only, read by many threads while one appends.
pub struct KeyTable {
    segments: [OnceLock<Box<[Words]>>; SEGMENTS],
    len: AtomicU32,
    appending: Mutex<()>,
    blocks: Box<[OnceLock<Box<[Slot]>>]>,
    points_max: usize,
}

impl KeyTable {
    /// An empty table that keeps at most `points_max` decompressed points, each about 180 bytes. With 0 it
    /// keeps none.
    pub fn new(points_max: usize) -> Self {
        Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            len: AtomicU32::new(0),
            appending: Mutex::new(()),
            blocks: (0..points_max.div_ceil(BLOCK_SLOTS)).map(|_| OnceLock::new()).collect(),
            points_max,
        }
    }

    /// Appends a key, whatever its bytes, and says its number: 0, 1, 2 and so on. `None` when the table holds
    /// [`KEYS_MAX`] keys. Appenders wait for one another; readers do not wait for them.
    pub fn push(&self, key: &[u8; 32]) -> Option<u32> {
        let _one_appender = self.appending.lock();
        let number = self.len.load(Ordering::Relaxed);
        if number >= KEYS_MAX {
            return None;
        }
        let (segment, offset) = place(number);
        let segment = self.segments[segment].get_or_init(|| new_segment(segment));
        let (words, _) = key.as_chunks::<8>();
        for (slot, word) in segment[offset].iter().zip(words) {
            slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.len.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// How many keys stand in the table.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// Whether no key was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of an account; `None` when there is no such number (yet).
    pub fn key(&self, number: u32) -> Option<[u8; 32]> {
        if number >= self.len() {
            return None;
        }
        let (segment, offset) = place(number);
        let words = &self.segments[segment].get()?[offset];
        let mut key = [0; 32];
        for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        Some(key)
    }

    /// The key of an account ready for verification, from the cache where it can be. `None` when there is no
    /// such number (yet) or its key is not a point: no signature under it is valid.
    pub fn prepared(&self, number: u32) -> Option<PreparedKey> {
        let key = self.key(number)?;
        let point = self.point(number, &key)?;
        Some(PreparedKey::from_parts(key, point))
    }

    fn point(&self, number: u32, key: &[u8; 32]) -> Option<EdwardsPoint> {
        let Some(slot) = self.slot(number) else { return decompress(key) };
        if let Some(seen) = slot.try_read()
            && let Some((owner, point)) = *seen
            && owner == number
        {
            return point;
        }
        let point = decompress(key);
        if let Some(mut slot) = slot.try_write() {
            *slot = Some((number, point));
        }
        point
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        let index = (number as usize).checked_rem(self.points_max)?;
        let block = self.blocks[index / BLOCK_SLOTS]
            .get_or_init(|| (0..BLOCK_SLOTS).map(|_| RwLock::default()).collect());
        Some(&block[index % BLOCK_SLOTS])
    }
}

/// Where a number stands: segment, and offset in it. Segment i begins at number (2ⁱ − 1)·2¹⁰.
fn place(number: u32) -> (usize, usize) {
    let shifted = number + (1 << SEGMENT_FIRST_LOG);
    let log = shifted.ilog2();
    ((log - SEGMENT_FIRST_LOG) as usize, (shifted - (1 << log)) as usize)
}

fn new_segment(segment: usize) -> Box<[Words]> {
    (0..1_usize << (SEGMENT_FIRST_LOG as usize + segment)).map(|_| Words::default()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::crypto::{public_key, signing_key_from_seed};

    /// A y that is on no point of the curve.
    const NOT_A_POINT: [u8; 32] = {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        bytes
    };

    fn real_keys(count: u8) -> Vec<[u8; 32]> {
        (0..count).map(|i| public_key(&signing_key_from_seed([i; 32]))).collect()
    }

    #[test]
    fn numbers_find_their_places_in_segments_without_a_gap() {
        let mut expected = 0;
        for segment in 0..SEGMENTS {
            let length = 1_u32 << (SEGMENT_FIRST_LOG as usize + segment);
            assert_eq!(place(expected), (segment, 0));
            assert_eq!(place(expected + length - 1), (segment, length as usize - 1));
            expected += length;
        }
        assert_eq!(expected, KEYS_MAX);
    }

    #[test]
    fn keys_come_back_by_number_and_unknown_numbers_do_not() {
        let table = KeyTable::new(0);
        assert!(table.is_empty());
        assert_eq!(table.key(0), None);
        for i in 0..5_000_u32 {
            assert_eq!(table.push(&blake3::hash(&i.to_le_bytes()).into()), Some(i));
        }
        assert_eq!(table.len(), 5_000);
        for i in 0..5_000_u32 {
            assert_eq!(table.key(i), Some(blake3::hash(&i.to_le_bytes()).into()));
        }
        for unknown in [5_000, KEYS_MAX, u32::MAX] {
            assert_eq!(table.key(unknown), None);
            assert!(table.prepared(unknown).is_none());
        }
    }

    #[test]
    fn the_cache_keeps_the_latest_account_of_a_slot_and_never_answers_for_another() {
        let keys = real_keys(8);
        for points_max in [0, 1, 3, 100] {
            let table = KeyTable::new(points_max);
            keys.iter().for_each(|key| assert!(table.push(key).is_some()));
            for number in [0, 3, 3, 6, 0, 7, 1, 4, 7, 2, 5] {
                let prepared = table.prepared(number).expect("a real key");
                let fresh = PreparedKey::new(&keys[number as usize]).expect("a real key");
                assert_eq!(prepared.bytes(), fresh.bytes());
                assert_eq!(Some(fresh), table.prepared(number));
                let kept = table.slot(number).map(|slot| slot.read().map(|(owner, _)| owner));
                assert_eq!(kept, (points_max > 0).then_some(Some(number)));
            }
        }
    }

    #[test]
    fn a_key_that_is_not_a_point_has_a_number_but_is_never_prepared() {
        let table = KeyTable::new(4);
        assert_eq!(table.push(&NOT_A_POINT), Some(0));
        assert_eq!(table.key(0), Some(NOT_A_POINT));
        for _ in 0..2 {
            assert!(table.prepared(0).is_none());
        }
    }

    #[test]
    fn readers_see_whole_keys_and_right_points_while_one_appends() {
        const COUNT: u32 = 40_000;
        const READERS: usize = 3;
        let keys = real_keys(13);
        let key_of = |number: u32| keys[number as usize % keys.len()];
        let table = KeyTable::new(5); // many accounts to a slot
        let start = Barrier::new(1 + READERS);
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    start.wait();
                    loop {
                        let len = table.len();
                        for number in [len / 3, len.saturating_sub(1)].into_iter().filter(|&n| n < len) {
                            assert_eq!(table.key(number), Some(key_of(number)));
                            let fresh = PreparedKey::new(&key_of(number));
                            assert_eq!(table.prepared(number), fresh);
                        }
                        if len == COUNT {
                            break;
                        }
                    }
                });
            }
            start.wait();
            for number in 0..COUNT {
                assert_eq!(table.push(&key_of(number)), Some(number));
            }
        });
    }
}
