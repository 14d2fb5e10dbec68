//! What peers ask for that is no longer in memory: named here, found by the driver in its store, answered by one
//! function for all drivers.

use crate::store::{Index, RecordKind};
use crate::types::{BatchId, BatchRef, Height};
use crate::wire::{Batch, HashedBlock, Message, blocks_that_fit, decode_certificate};
use bytes::Bytes;
use std::sync::Arc;

/// The most bytes of batches in one answer, beside the first: the rest is asked for again. By bytes and not by number:
/// who was away lacks many small ones, and would get them more slowly than new ones come.
pub(super) const REPLY_BYTES_MAX: usize = 4 << 20;

/// Something that a peer wants from disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Blocks from a height on.
    Blocks {
        /// The height of the first.
        first: Height,
        /// How many.
        count: u32,
    },
    /// Batches; those that are not there are passed over.
    Batches(Vec<BatchRef>),
    /// The settlement record of the checkpoint of this height.
    Record(Height),
    /// The certificate of the lowest checkpoint at or above this height.
    Certificate(Height),
}

/// What lies on a disk, by name: the bytes of records as they were written. Nothing is found that was not durable, or
/// that does not pass its check any more.
pub trait Archive {
    /// The block of a height.
    fn block(&mut self, height: Height) -> Option<Bytes>;
    /// A batch.
    fn batch(&mut self, id: &BatchId) -> Option<Bytes>;
    /// The settlement record that the block of a height names.
    fn record(&mut self, height: Height) -> Option<Bytes>;
    /// The certificate of the lowest checkpoint at or above a height that has one.
    fn certificate(&mut self, height: Height) -> Option<Bytes>;
}

impl Wanted {
    /// What to send to whom wants this. Blocks and records are answered with nothing in them when they are not there,
    /// so that the peer asks another one at once.
    pub fn answer(&self, archive: &mut dyn Archive) -> Vec<Message> {
        match self {
            Wanted::Blocks { first, count } => vec![blocks(*first, *count, archive)],
            Wanted::Batches(wanted) => batches(wanted, archive),
            Wanted::Record(height) => {
                let bytes = archive.record(*height).unwrap_or_default();
                vec![Message::Record { height: *height, bytes }]
            }
            Wanted::Certificate(height) => {
                let found = archive.certificate(*height).and_then(|bytes| decode_certificate(&bytes).ok());
                found.into_iter().map(|certificate| Message::Certificate(Arc::new(certificate))).collect()
            }
        }
    }
}

fn blocks(first: Height, count: u32, archive: &mut dyn Archive) -> Message {
    let heights = (first.0..first.0.saturating_add(count.into())).map(Height);
    let found = heights.map_while(|height| {
        let block = HashedBlock::decode(archive.block(height)?).ok()?;
        (block.block.height == height).then_some(block)
    });
    // A few more than fit are read at most.
    let mut bytes = 0;
    let mut blocks: Vec<HashedBlock> = Vec::new();
    for block in found {
        bytes += block.bytes.len();
        blocks.push(block);
        if bytes >= REPLY_BYTES_MAX {
            break;
        }
    }
    blocks.truncate(blocks_that_fit(blocks.iter().map(|block| block.bytes.len())));
    Message::Blocks { first, blocks: Arc::new(blocks) }
}

fn batches(wanted: &[BatchRef], archive: &mut dyn Archive) -> Vec<Message> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for batch in wanted {
        if bytes >= REPLY_BYTES_MAX {
            break;
        }
        let read = archive.batch(&batch.id).and_then(|bytes| Batch::decode(bytes).ok());
        if let Some(batch) = read.filter(|read| read.id == batch.id) {
            bytes += batch.bytes().len();
            found.push(Message::Batch(batch));
        }
    }
    found
}

/// The names of the first so many records of a log in memory.
#[derive(Debug, Default)]
pub struct LogNames {
    known: usize,
    index: Index<usize>,
}

/// A log in memory as what peers are answered from.
#[derive(Debug)]
pub struct LogArchive<'a> {
    log: &'a [(RecordKind, Bytes)],
    index: &'a Index<usize>,
    /// Of so many records at the beginning only the blocks are left.
    pruned: usize,
    /// Bytes that were read so far.
    pub bytes: usize,
}

impl<'a> LogArchive<'a> {
    /// A log, and an index that knows the beginning of it at least; it is brought up to the end. Of the first
    /// `pruned` records only the blocks are left.
    pub fn new(log: &'a [(RecordKind, Bytes)], index: &'a mut LogNames, pruned: usize) -> LogArchive<'a> {
        for (place, (kind, bytes)) in log.iter().enumerate().skip(index.known) {
            index.index.note(*kind, bytes, place);
        }
        index.known = log.len();
        LogArchive { log, index: &index.index, pruned, bytes: 0 }
    }

    fn read(&mut self, place: Option<usize>) -> Option<Bytes> {
        let place = place?;
        let (kind, bytes) = self.log.get(place)?;
        if place < self.pruned && *kind != RecordKind::Block {
            return None;
        }
        self.bytes += bytes.len();
        Some(bytes.clone())
    }
}

impl Archive for LogArchive<'_> {
    fn block(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.index.block(height))
    }

    fn batch(&mut self, id: &BatchId) -> Option<Bytes> {
        self.read(self.index.batch(id))
    }

    fn record(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.index.record(height))
    }

    fn certificate(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.index.certificate(height))
    }
}
