//! What stands beside the log: the blocks of removed segments, and snapshots.
//!
//! A directory of which segments were removed is replayed from its oldest good snapshot on. What lies before is held
//! together by the chain of blocks alone: each is named by the hash in the next, from the chain id on, or from a checkpoint
//! on at which the node began anew ([`crate::node`]) and before which blocks are missing.

use super::fault::{self, fault};
use super::open::Directory;
use super::{AuditError, Fault};
use crate::crypto;
use crate::node::TABLE_BYTES_MAX;
use crate::store::{RecordKind, Remain, Store, StoreError};
use crate::types::{Account, Block, BlockHash, ChainId, Height, Root, RootKind};
use crate::wire::{block_hash, block_height, decode_block, record_root};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use zerocopy::FromBytes;

/// The blocks of removed segments, as links of the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptBlocks {
    /// The last one; the chain id at height 0 if there is none.
    pub tip: (Height, BlockHash),
    /// How many blocks are missing up to there.
    pub missing: u64,
    /// Hash and account root of each checkpoint among them.
    pub checkpoints: BTreeMap<Height, (BlockHash, Option<Root>)>,
}

/// A checkpoint at which the replay of a directory begins.
pub(super) struct Start {
    pub block: Block,
    pub hash: BlockHash,
    /// The settlement record's bytes.
    pub record: Bytes,
    pub table: Vec<Account>,
}

/// The account root in a block, if it is a checkpoint.
pub(super) fn account_root(block: &Block) -> Option<Root> {
    block.root(RootKind::Accounts)
}

fn of_store(error: StoreError, height: Height) -> AuditError {
    fault::of_store(error, height).map_or_else(AuditError::Store, AuditError::Fault)
}

/// Calls `see` with each block that is left of removed segments, in order, once its place in the chain was checked.
pub(super) fn blocks(
    directory: &Directory,
    mut see: impl FnMut(&Remain, &Block, &BlockHash),
) -> Result<KeptBlocks, AuditError> {
    let mut kept = KeptBlocks { tip: (Height(0), BlockHash(directory.chain.0)), ..KeptBlocks::default() };
    let remaining = Store::remaining(&directory.dir, Some(&directory.chain.0));
    for remain in remaining.map_err(|error| of_store(error, Height(1)))? {
        let next = kept.tip.0.next();
        let remain = remain.map_err(|error| of_store(error, next))?;
        let wrong = |found: String, expected: String| {
            let (file, offset, height) = (remain.file.clone(), remain.offset, next.0);
            AuditError::Fault(Box::new(Fault { file, offset, height, found, expected }))
        };
        if remain.kind != RecordKind::Block {
            return Err(wrong(format!("a record of kind {:?}", remain.kind), "a block".to_owned()));
        }
        let decoded = decode_block(&remain.bytes);
        let block = decoded.map_err(|error| wrong(error.to_string(), "the bytes of a block".to_owned()))?;
        kept.missing += linked(&block, kept.tip, directory.genesis.rules.checkpoint_blocks)
            .map_err(|(found, expected)| wrong(found, expected))?;
        let hash = block_hash(&remain.bytes);
        kept.tip = (block.height, hash);
        if directory.is_checkpoint(block.height) {
            kept.checkpoints.insert(block.height, (hash, account_root(&block)));
        }
        see(&remain, &block, &hash);
    }
    Ok(kept)
}

/// Whether a block follows another, or is a checkpoint further on, at which a node may have begun anew; how many are missing
/// between the two. What is found and what was expected, if not.
pub(super) fn linked(
    block: &Block,
    before: (Height, BlockHash),
    interval: u64,
) -> Result<u64, (String, String)> {
    let next = before.0.next();
    if block.height > next && block.height.0.is_multiple_of(interval) {
        return Ok(block.height.0 - next.0);
    }
    if block.height != next {
        return Err((format!("a block whose height: {}", block.height), next.to_string()));
    }
    if block.previous != before.1 {
        let found = format!("a block whose hash of the block before: {}", block.previous);
        return Err((found, before.1.to_string()));
    }
    Ok(0)
}

/// The oldest good snapshot of a directory of which segments were removed; `None` if none was.
///
/// # Errors
/// What is wrong with the first one, if none is good.
pub(super) fn start(directory: &Directory, kept: &KeptBlocks) -> Result<Option<Start>, AuditError> {
    if directory.records.place().segment == 1 {
        return Ok(None);
    }
    oldest_from(&directory.dir, &directory.chain, kept.tip.0.next()).map(Some)
}

/// The oldest good snapshot of a height from `least` on, whose block and settlement record stand in the log.
///
/// # Errors
/// What is wrong with the first one, if none is good.
pub(super) fn oldest_from(dir: &Path, chain: &ChainId, least: Height) -> Result<Start, AuditError> {
    let mut snapshots = snapshots(dir)?;
    snapshots.retain(|height| *height >= least);
    let (mut found, mut settlements) = (BTreeMap::new(), BTreeMap::new());
    let records = Store::records(dir, Some(&chain.0));
    let mut records = records.map_err(|error| of_store(error, least))?;
    let first = records.place();
    // What is wrong with the log the replay says in its place.
    while let Some(Ok((kind, bytes))) = records.next() {
        match kind {
            RecordKind::Settlement => _ = settlements.insert(record_root(&bytes), bytes),
            RecordKind::Block => {
                if let Some(height) = block_height(&bytes).filter(|height| snapshots.contains(height)) {
                    found.insert(height, bytes);
                }
            }
            _ => {}
        }
    }
    let mut worst = None;
    for height in snapshots {
        let Some(bytes) = found.get(&height) else { continue };
        let Ok(block) = decode_block(bytes) else { continue };
        let record = block.root(RootKind::Settlement).and_then(|root| settlements.get(&root).cloned());
        let (Some(record), Some(named)) = (record, account_root(&block)) else { continue };
        match table(dir, height, named)? {
            Ok(table) => return Ok(Start { hash: block_hash(bytes), block, record, table }),
            Err(fault) => _ = worst.get_or_insert(fault),
        }
    }
    let found = format!("a log that begins after block {}", least.0 - 1);
    let nothing = || fault(dir, first, least, found, "a snapshot to begin with");
    Err(AuditError::Fault(worst.unwrap_or_else(nothing)))
}

/// The heights of the snapshots, ascending.
pub(super) fn snapshots(dir: &Path) -> Result<Vec<Height>, AuditError> {
    Ok(Store::snapshots(dir)?.into_iter().map(Height).collect())
}

/// The table in a snapshot, if it has the root that its block names.
fn table(dir: &Path, height: Height, named: Root) -> Result<Result<Vec<Account>, Box<Fault>>, AuditError> {
    let wrong = |found: String| {
        let file = Store::snapshot_path(dir, height.0);
        let expected = format!("the account root {named} of block {height}");
        Box::new(Fault { file, offset: 0, height: height.0, found, expected })
    };
    let bytes = match Store::snapshot(dir, height.0, TABLE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return fault::of_store(error, height).map(Err).map_err(AuditError::Store),
    };
    let found = Root(crypto::plain(&bytes));
    if found != named {
        return Ok(Err(wrong(format!("a snapshot with the root {found}"))));
    }
    match <[Account]>::ref_from_bytes(&bytes) {
        Ok(table) => Ok(Ok(table.to_vec())),
        Err(_) => Ok(Err(wrong("a snapshot that is no whole number of accounts long".to_owned()))),
    }
}

/// Holds every snapshot of a directory against the checkpoint of its height; how many there are, or the first that is wrong.
/// One of a checkpoint above the tip proves nothing and is passed over: a node stopped that was about to begin anew there.
pub(super) fn check_snapshots(
    dir: &Path,
    (tip, interval): (Height, u64),
    checkpoints: &BTreeMap<Height, (BlockHash, Option<Root>)>,
) -> Result<Result<u64, Box<Fault>>, AuditError> {
    let mut heights = snapshots(dir)?;
    heights.retain(|height| *height <= tip || !height.0.is_multiple_of(interval));
    for height in &heights {
        let named = checkpoints.get(height).and_then(|(_, root)| *root);
        let Some(named) = named else {
            let (file, found) =
                (Store::snapshot_path(dir, height.0), format!("a snapshot of height {height}"));
            let expected = "one of a checkpoint in this directory".to_owned();
            return Ok(Err(Box::new(Fault { file, offset: 0, height: height.0, found, expected })));
        };
        if let Err(fault) = table(dir, *height, named)? {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(heights.len() as u64))
}
