//! What a node that catches up asks for and is given: blocks by height, settlement records, and what tables there are (pieces of
//! them: `table.rs`).
//!
//! ```text
//! want blocks: first height u64 · count u32
//! blocks: first height u64 · count u32, then (length u32 · bytes of a block), heights ascending by one; none: not here
//! want record: height u64
//! record: height u64 · length u32 · bytes of a settlement record; none: not here
//! want snapshots: nothing
//! snapshots: first u64, from where on all blocks are here with their batches · count u32, then heights u64 ascending
//! ```

use super::cursor::{Put, Reader};
use super::{WireError, block_hash, decode_block, decode_record};
use crate::types::params::{RECORD_BYTES_MAX, SETTLED_MAX};
use crate::types::{Block, BlockHash, Height};
use bytes::Bytes;

/// The most blocks in one answer, and asked for at once.
pub const BLOCKS_MAX: usize = 256;
/// The most snapshots that a node names.
pub const SNAPSHOTS_MAX: usize = 4;
/// The most bytes of a block: every author's whole window settles in it.
const BLOCK_BYTES_MAX: usize = 143 + SETTLED_MAX * 42 + 8 * 33;
/// The most bytes of an answer: a few blocks of any size, or a settlement record.
pub(super) const ANSWER_BYTES_MAX: usize =
    16 + if BLOCK_BYTES_MAX > RECORD_BYTES_MAX { BLOCK_BYTES_MAX } else { RECORD_BYTES_MAX };

/// A block with the bytes that it came in, and their hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashedBlock {
    /// What it says.
    pub block: Block,
    /// Its hash.
    pub hash: BlockHash,
    /// Its canonical bytes.
    pub bytes: Bytes,
}

impl HashedBlock {
    /// Decodes a block's canonical bytes and hashes them.
    ///
    /// # Errors
    /// They are no block.
    pub fn decode(bytes: Bytes) -> Result<HashedBlock, WireError> {
        let (block, hash) = (decode_block(&bytes)?, block_hash(&bytes));
        Ok(HashedBlock { block, hash, bytes })
    }
}

pub(super) fn put_blocks(first: Height, blocks: &[HashedBlock], out: &mut Vec<u8>) {
    out.put_u64(first.0).put_count(blocks.len());
    for HashedBlock { bytes, .. } in blocks {
        out.put_count(bytes.len()).put(bytes);
    }
}

/// How many blocks, by their lengths, fit into one answer; one of any size does.
pub fn blocks_that_fit(lengths: impl Iterator<Item = usize>) -> usize {
    let mut room = ANSWER_BYTES_MAX - 12;
    let fits = lengths.take(BLOCKS_MAX).take_while(|length| {
        let fits = room >= length + 4;
        room = room.saturating_sub(length + 4);
        fits
    });
    fits.count()
}

pub(super) fn read_want_blocks(reader: &mut Reader<'_>) -> Result<(Height, u32), WireError> {
    let (first, count) = (reader.u64()?, reader.u32()?);
    if first == 0 || count == 0 || first.checked_add(count.into()).is_none() {
        return Err(WireError::Value("wanted blocks"));
    }
    if count as usize > BLOCKS_MAX {
        return Err(WireError::Limit { what: "wanted blocks", found: count.into(), most: BLOCKS_MAX as u64 });
    }
    Ok((Height(first), count))
}

pub(super) fn read_blocks(payload: &Bytes) -> Result<(Height, Vec<HashedBlock>), WireError> {
    let mut reader = Reader::new("blocks", payload);
    let first = reader.u64()?;
    let count = reader.count("blocks", BLOCKS_MAX, 4)?;
    if first == 0 || first.checked_add(count as u64).is_none() {
        return Err(WireError::Value("height of blocks"));
    }
    let mut blocks = Vec::with_capacity(count);
    for height in first..first + count as u64 {
        let length = reader.u32()? as usize;
        let block = HashedBlock::decode(payload.slice_ref(reader.bytes(length)?))?;
        if block.block.height.0 != height {
            return Err(WireError::Value("height of blocks"));
        }
        blocks.push(block);
    }
    reader.end()?;
    Ok((Height(first), blocks))
}

pub(super) fn put_record(height: Height, bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u64(height.0).put_count(bytes.len()).put(bytes);
}

pub(super) fn read_record(payload: &Bytes) -> Result<(Height, Bytes), WireError> {
    let mut reader = Reader::new("record", payload);
    let height = Height(reader.u64()?);
    let length = reader.count("settlement record", RECORD_BYTES_MAX, 1)?;
    let bytes = payload.slice_ref(reader.bytes(length)?);
    reader.end()?;
    if height.0 == 0 {
        return Err(WireError::Value("height of a record"));
    }
    if !bytes.is_empty() {
        decode_record(&bytes)?;
    }
    Ok((height, bytes))
}

pub(super) fn put_snapshots(first: Height, heights: &[Height], out: &mut Vec<u8>) {
    out.put_u64(first.0).put_count(heights.len());
    heights.iter().for_each(|height| _ = out.put_u64(height.0));
}

pub(super) fn read_snapshots(reader: &mut Reader<'_>) -> Result<(Height, Vec<Height>), WireError> {
    let first = Height(reader.u64()?);
    let count = reader.count("snapshots", SNAPSHOTS_MAX, 8)?;
    let heights = (0..count).map(|_| reader.u64().map(Height)).collect::<Result<Vec<_>, _>>()?;
    let ascend = heights.is_sorted_by(|one, next| one < next);
    if first.0 == 0 || !ascend || heights.first() == Some(&Height(0)) {
        return Err(WireError::Value("heights of snapshots"));
    }
    Ok((first, heights))
}
