//! The bytes of a segment: its header and its records. All integers are little-endian.
//!
//! ```text
//! segment: head 160 | zeros to 4096 | record | record | … | seal | zeros to the end
//! record:  head 64 | payload | zeros to a multiple of 8
//! ```
//!
//! The segment's header has a page of its own, so that no later write touches its sector. A seal is a record of kind
//! 255 without payload; it leaves room for a footer in a later version.

use super::RecordKind;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of everything described here.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const HEAD_BYTES: usize = size_of::<SegmentHead>();
/// Room of a segment's header: the offset of the first record.
pub(super) const SEGMENT_HEAD_BYTES: usize = 4096;
/// Size of a record's header.
pub(super) const RECORD_HEAD_BYTES: usize = size_of::<RecordHead>();
/// Records begin at multiples of this.
pub(super) const RECORD_ALIGN: usize = 8;
/// Kind of the record that ends a full segment.
pub(super) const KIND_SEAL: u8 = 255;

const MAGIC: [u8; 8] = *b"THRONGSG";
const HEAD_CONTEXT: &str = "throng store segment head v1";
const KEY_CONTEXT: &str = "throng store record key v1";
const MARK_CONTEXT: &str = "throng store record mark v1";

/// The first bytes of a segment file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SegmentHead {
    magic: [u8; 8],
    version: U32,
    number: U32,
    bytes: U64,
    chain: [u8; 32],
    /// Random: records left over from an earlier life of the file, or made up by a peer inside a payload, do not pass.
    salt: [u8; 32],
    /// Check of the header of the segment before; zero in the first.
    previous: [u8; 32],
    check: [u8; 32],
}

/// Why the first page of a file is not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    Bad,
    Newer(u32),
}

impl SegmentHead {
    pub(super) fn new(number: u32, bytes: u64, chain: &[u8; 32], salt: [u8; 32], previous: [u8; 32]) -> Self {
        let mut head = Self {
            magic: MAGIC,
            version: U32::new(FORMAT_VERSION),
            number: U32::new(number),
            bytes: U64::new(bytes),
            chain: *chain,
            salt,
            previous,
            check: [0; 32],
        };
        head.check = head.expected_check();
        head
    }

    fn expected_check(&self) -> [u8; 32] {
        let covered = self.as_bytes();
        blake3::derive_key(HEAD_CONTEXT, &covered[..covered.len() - 32])
    }

    /// Reads the header from the first page of a file. A newer version may check itself in another way, so its
    /// number is believed first.
    pub(super) fn read(page: &[u8]) -> Result<Self, HeadFault> {
        let page = page.get(..SEGMENT_HEAD_BYTES).ok_or(HeadFault::Bad)?;
        let (head, rest) = Self::read_from_prefix(page).map_err(|_| HeadFault::Bad)?;
        if head.magic != MAGIC {
            return Err(HeadFault::Bad);
        }
        if head.version.get() > FORMAT_VERSION {
            return Err(HeadFault::Newer(head.version.get()));
        }
        let whole = head.version.get() == FORMAT_VERSION && head.check == head.expected_check();
        if whole && first_nonzero(rest).is_none() { Ok(head) } else { Err(HeadFault::Bad) }
    }

    /// A header in bytes that were checked otherwise, if it passes its own check.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let head = Self::read_from_bytes(bytes).ok()?;
        (head.magic == MAGIC && head.check == head.expected_check()).then_some(head)
    }

    /// The header's bytes.
    pub(super) fn bytes_of(&self) -> &[u8] {
        self.as_bytes()
    }

    /// The header's page, as written.
    pub(super) fn page(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut page = [0; SEGMENT_HEAD_BYTES];
        page[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        page
    }

    pub(super) fn number(&self) -> u32 {
        self.number.get()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    pub(super) fn chain(&self) -> &[u8; 32] {
        &self.chain
    }

    pub(super) fn previous(&self) -> &[u8; 32] {
        &self.previous
    }

    pub(super) fn check(&self) -> &[u8; 32] {
        &self.check
    }

    /// What binds records to this segment.
    pub(super) fn record_key(&self) -> RecordKey {
        let mark = blake3::derive_key(MARK_CONTEXT, self.as_bytes());
        RecordKey {
            key: blake3::derive_key(KEY_CONTEXT, self.as_bytes()),
            mark: [mark[0], mark[1], mark[2], mark[3], mark[4], mark[5], mark[6], mark[7]],
            number: self.number(),
        }
    }
}

/// The first bytes of a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RecordHead {
    /// The same in all records of a segment, derived from its salt: a search for records after a bad one hashes only
    /// where this stands, and who chooses a payload cannot make it up.
    mark: [u8; 8],
    /// Segment number in the high half, offset in the low half.
    position: U64,
    /// Length of the payload.
    len: U32,
    /// Offset up to which this segment was durable when the record was written.
    durable: U32,
    kind: u8,
    zero: [u8; 7],
    /// Keyed BLAKE3 of payload, then all fields above.
    check: [u8; 32],
}

impl RecordHead {
    fn check_over(&self, mut payload: blake3::Hasher) -> [u8; 32] {
        payload.update(&self.as_bytes()[..RECORD_HEAD_BYTES - 32]);
        *payload.finalize().as_bytes()
    }

    /// What it says of how much was durable, if that can be so; else all before it, which is so by now.
    fn durable_below(&self, offset: usize) -> usize {
        let durable = self.durable.get() as usize;
        if (SEGMENT_HEAD_BYTES..=offset).contains(&durable) { durable } else { offset }
    }
}

/// A record as found in a segment, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: u8,
    /// Where the payload starts.
    pub(super) start: usize,
    /// Length of the payload.
    pub(super) len: usize,
    /// Offset up to which the segment was durable when this was written.
    pub(super) durable: usize,
}

impl Found {
    /// Where the next record starts.
    pub(super) fn next(&self) -> usize {
        self.start + padded(self.len)
    }
}

/// What stands at a place where a record may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A record that passes its check, or the seal.
    Good(Found),
    /// Nothing was written here.
    Free,
    /// Neither.
    Bad,
}

/// The key of one segment's records.
#[derive(Clone)]
pub(super) struct RecordKey {
    key: [u8; 32],
    mark: [u8; 8],
    number: u32,
}

impl RecordKey {
    /// The header of a record at `offset`. Both offsets and the length fit, as segments end below 4 GiB.
    pub(super) fn head(&self, offset: usize, durable: usize, kind: u8, payload: &[u8]) -> RecordHead {
        self.head_over(self.over(payload), (offset, durable), kind, payload.len())
    }

    /// The same, for a payload that was hashed.
    fn head_over(
        &self,
        payload: blake3::Hasher,
        (offset, durable): (usize, usize),
        kind: u8,
        len: usize,
    ) -> RecordHead {
        let mut head = RecordHead {
            mark: self.mark,
            position: U64::new(u64::from(self.number) << 32 | offset as u64),
            len: U32::new(len as u32),
            durable: U32::new(durable as u32),
            kind,
            zero: [0; 7],
            check: [0; 32],
        };
        head.check = head.check_over(payload);
        head
    }

    /// The payload comes first: so its chunks are whole and hash at full width.
    fn over(&self, payload: &[u8]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(payload);
        hasher
    }

    fn check(&self, head: &RecordHead, payload: &[u8]) -> [u8; 32] {
        head.check_over(self.over(payload))
    }

    /// The length of the payload behind the header of a record at `offset`, if it can be one of this segment.
    pub(super) fn length(&self, head: &[u8], offset: u64) -> Option<usize> {
        let (head, _) = RecordHead::read_from_prefix(head).ok()?;
        let here = u64::from(self.number) << 32 | offset;
        (head.mark == self.mark && head.position.get() == here).then_some(head.len.get() as usize)
    }

    /// Whether a record passes its check, by its header and payload.
    pub(super) fn passes(&self, head: &[u8], payload: &[u8]) -> bool {
        RecordHead::read_from_prefix(head).is_ok_and(|(head, _)| head.check == self.check(&head, payload))
    }

    /// What stands at `offset` of a whole segment.
    pub(super) fn slot(&self, segment: &[u8], offset: usize) -> Slot {
        let Some(bytes) = segment.get(offset..offset.saturating_add(RECORD_HEAD_BYTES)) else {
            return Slot::Bad;
        };
        if first_nonzero(bytes).is_none() {
            return Slot::Free;
        }
        match self.read(segment, offset) {
            Some((head, found)) => {
                let payload = &segment[found.start..found.start + found.len];
                let padding = &segment[found.start + found.len..found.next()];
                let whole = first_nonzero(padding).is_none() && head.check == self.check(&head, payload);
                if whole { Slot::Good(found) } else { Slot::Bad }
            }
            None => Slot::Bad,
        }
    }

    /// The header at `offset` when it can be one: everything but the check, which costs a hash. What it returns lies
    /// within the segment.
    fn read(&self, segment: &[u8], offset: usize) -> Option<(RecordHead, Found)> {
        let (head, _) = RecordHead::read_from_prefix(segment.get(offset..)?).ok()?;
        let here = u64::from(self.number) << 32 | offset as u64;
        let start = offset + RECORD_HEAD_BYTES;
        let len = head.len.get() as usize;
        let durable = head.durable.get() as usize;
        // A seal is the last record and empty; every other leaves room for it.
        let seal = head.kind == KIND_SEAL;
        let after = if seal { 0 } else { RECORD_HEAD_BYTES };
        let fits = segment.len().checked_sub(start).is_some_and(|room| padded(len) + after <= room);
        let plain =
            head.zero == [0; 7] && (SEGMENT_HEAD_BYTES..=offset).contains(&durable) && !(seal && len > 0);
        let ours = head.mark == self.mark && head.position.get() == here;
        (ours && fits && plain).then_some((head, Found { kind: head.kind, start, len, durable }))
    }

    /// What the header at `offset` says of its record, which is not good, if all of it but the check can be so.
    pub(super) fn told(&self, segment: &[u8], offset: usize) -> Option<Found> {
        self.read(segment, offset).map(|(_, found)| found)
    }

    /// The header with which a lost record is written again at `offset`, and by it the record whole, if it is the one of which
    /// `old` is left: the check there is its check; or all of its payload stands there, and only the header was hit; or that
    /// cannot be read, and at least half of the payload's bytes stand there.
    pub(super) fn renewed(
        &self,
        old: &[u8],
        offset: usize,
        (kind, payload): (u8, &[u8]),
    ) -> Option<RecordHead> {
        let (told, stands) = RecordHead::read_from_prefix(old).ok()?;
        if stands.len() != padded(payload.len()) {
            return None;
        }
        let head = self.head(offset, told.durable_below(offset), kind, payload);
        if head.check == told.check {
            return Some(head);
        }
        let readable = told.mark == self.mark && told.position == head.position;
        let same = readable && (told.len, told.kind, told.zero) == (head.len, kind, [0; 7]);
        let equal = stands.iter().zip(payload).filter(|(stands, byte)| stands == byte).count();
        let proves = match readable {
            true => equal == payload.len() && (same || equal > 0),
            false => equal > 0 && 2 * equal >= payload.len(),
        };
        proves.then_some(head)
    }

    /// The header of the record that stands in `old`, and its length, if the check there says what it was: only other bytes of
    /// the header were hit, or zeros behind the payload.
    pub(super) fn told_by_check(&self, old: &[u8], offset: usize) -> Option<(RecordHead, usize)> {
        let (told, stands) = RecordHead::read_from_prefix(old).ok()?;
        let least = stands.len().saturating_sub(RECORD_ALIGN - 1);
        (least..=stands.len()).filter(|len| *len > 0).find_map(|len| {
            let hasher = self.over(&stands[..len]);
            (0..KIND_SEAL).filter(|kind| RecordKind::from_u8(*kind).is_some()).find_map(|kind| {
                let head = self.head_over(hasher.clone(), (offset, told.durable_below(offset)), kind, len);
                (head.check == told.check).then_some((head, len))
            })
        })
    }

    /// The first good record at or after `from`, whatever stands before it, and where it begins.
    pub(super) fn next_good(&self, segment: &[u8], from: usize) -> Option<(usize, Found)> {
        let first = from.next_multiple_of(RECORD_ALIGN);
        (first..segment.len()).step_by(RECORD_ALIGN).find_map(|offset| {
            match segment[offset..].starts_with(&self.mark).then(|| self.slot(segment, offset)) {
                Some(Slot::Good(found)) => Some((offset, found)),
                _ => None,
            }
        })
    }

    /// All good records from an offset on, whatever stands between them, and where each begins.
    pub(super) fn all_good(&self, segment: &[u8], from: usize) -> impl Iterator<Item = (usize, Found)> {
        let mut offset = from.max(SEGMENT_HEAD_BYTES);
        std::iter::from_fn(move || {
            let (at, found) = self.next_good(segment, offset)?;
            offset = found.next();
            Some((at, found))
        })
    }

    /// Whether any good record at or after `from` shows that `below` had been durable.
    pub(super) fn proves_durable(&self, segment: &[u8], from: usize, below: usize) -> bool {
        let first = from.next_multiple_of(RECORD_ALIGN);
        (first..segment.len()).step_by(RECORD_ALIGN).any(|offset| {
            // The mark is compared first: it is the only thing done at most places.
            segment[offset..].starts_with(&self.mark)
                && matches!(self.slot(segment, offset), Slot::Good(found) if found.durable > below)
        })
    }
}

/// The kind and payload of a record header that was checked before, for walking a map.
pub(super) fn peek(head: &[u8]) -> Option<(u8, usize)> {
    let head = RecordHead::ref_from_bytes(head).ok()?;
    Some((head.kind, head.len.get() as usize))
}

/// The user's kind of a record.
pub(super) fn kind_of(found: &Found) -> Option<RecordKind> {
    RecordKind::from_u8(found.kind)
}

/// A payload's length with its padding.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(RECORD_ALIGN)
}

/// What a record takes in a segment.
pub(super) fn record_bytes(payload: usize) -> usize {
    RECORD_HEAD_BYTES + padded(payload)
}

/// Index of the first byte that is not zero; by words, since mostly it looks at megabytes of zeros.
pub(super) fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    const STEP: usize = 64;
    let (blocks, _) = bytes.as_chunks::<STEP>();
    let clear = blocks.iter().take_while(|block| block.iter().fold(0, |all, byte| all | byte) == 0).count();
    let start = clear * STEP;
    bytes[start..].iter().position(|byte| *byte != 0).map(|index| start + index)
}

/// One past the index of the last byte that is not zero.
pub(super) fn nonzero_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |index| index + 1)
}
