//! Blocks.
//!
//! ```text
//! version u8 · epoch u32 · height u64 · previous · leader (round u64 · author u16 · id) · time u64 · accounts u32
//! settled: count u32, then (author u16 · sequence u64 · id) · outcomes hash
//! roots: count u32, then (tag u8 · root)
//! ```

use super::WireError;
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain};
use crate::types::params::{SETTLED_MAX, VERSION};
use crate::types::{
    BatchId, BatchRef, Block, BlockHash, Epoch, Height, LeaderRef, Root, RootKind, Round, Sequence, Time,
    VertexId,
};

const SETTLED_BYTES: usize = 42;
const ROOT_BYTES: usize = 33;

/// The hash of a block's canonical bytes: what the next block names.
pub fn block_hash(bytes: &[u8]) -> BlockHash {
    BlockHash(crypto::hash(Domain::Block, &[bytes]))
}

/// The hash of the outcome codes of a block's rows.
pub fn outcomes_hash(codes: &[u8]) -> [u8; 32] {
    crypto::hash(Domain::Outcomes, &[codes])
}

/// The canonical bytes of a block.
pub fn encode_block(block: &Block) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u8(VERSION).put_u32(block.epoch.0).put_u64(block.height.0).put(&block.previous.0);
    out.put_u64(block.leader.round.0).put_u16(block.leader.author.0).put(&block.leader.id.0);
    out.put_u64(block.time.0).put_u32(block.accounts).put_count(block.settled.len());
    for batch in &block.settled {
        out.put_u16(batch.author.0).put_u64(batch.sequence.0).put(&batch.id.0);
    }
    out.put(&block.outcomes).put_count(block.roots.len());
    for (kind, root) in &block.roots {
        out.put_u8(*kind as u8).put(&root.0);
    }
    out
}

/// The height in what may be the bytes of a block, without decoding the rest.
pub fn block_height(bytes: &[u8]) -> Option<Height> {
    let mut reader = Reader::new("block", bytes);
    reader.version().ok()?;
    reader.u32().ok()?;
    Some(Height(reader.u64().ok()?))
}

/// Decodes a block's canonical bytes.
pub fn decode_block(bytes: &[u8]) -> Result<Block, WireError> {
    let mut reader = Reader::new("block", bytes);
    reader.version()?;
    let epoch = Epoch(reader.u32()?);
    let height = Height(reader.u64()?);
    let previous = BlockHash(reader.array()?);
    let leader =
        LeaderRef { round: Round(reader.u64()?), author: reader.seat()?, id: VertexId(reader.array()?) };
    let time = Time(reader.u64()?);
    let accounts = reader.u32()?;
    let count = reader.count("settled batches", SETTLED_MAX, SETTLED_BYTES)?;
    let mut settled = Vec::with_capacity(count);
    for _ in 0..count {
        let (author, sequence) = (reader.seat()?, Sequence(reader.u64()?));
        settled.push(BatchRef { author, sequence, id: BatchId(reader.array()?) });
    }
    let outcomes = reader.array()?;
    let count = reader.count("roots", 8, ROOT_BYTES)?;
    let mut roots: Vec<(RootKind, Root)> = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = RootKind::from_byte(reader.u8()?).ok_or(WireError::Value("root kind"))?;
        if roots.last().is_some_and(|last| last.0 >= kind) {
            return Err(WireError::Value("order of roots"));
        }
        roots.push((kind, Root(reader.array()?)));
    }
    reader.end()?;
    if height.0 == 0 || leader.round.0 == 0 {
        return Err(WireError::Value("block height or leader round"));
    }
    Ok(Block { epoch, height, previous, leader, time, accounts, settled, outcomes, roots })
}
