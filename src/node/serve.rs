//! What peers ask for that is no longer in memory: named here, found by the driver in its store, answered by one
//! function for all drivers.

use crate::store::{Index, RecordKind};
use crate::types::{BatchId, BatchRef, Height, RootKind};
use crate::wire::{
    Batch, HashedBlock, Message, TablePiece, TablePieces, blocks_that_fit, decode_block, decode_certificate,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::convert::Infallible;
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
    /// A piece of the account table of the checkpoint of this height.
    Piece {
        /// The height.
        height: Height,
        /// The number of the piece.
        piece: u32,
    },
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
    /// A piece of the snapshot of a height, with its proof.
    fn piece(&mut self, height: Height, piece: u32) -> Option<TablePiece>;
}

impl Wanted {
    /// What to send to whom wants this. Blocks, records and pieces are answered with nothing in them when they are not
    /// there, so that the peer asks another one at once.
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
            Wanted::Piece { height, piece } => {
                let found = archive.piece(*height, *piece);
                vec![Message::Piece(found.unwrap_or_else(|| TablePiece::absent(*height, *piece)))]
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

/// What is known of a log in memory and of the snapshots beside it: the names of the first so many records, and what
/// proves the pieces of the snapshots that were asked for.
#[derive(Debug, Default)]
pub struct LogNames {
    known: usize,
    pruned: usize,
    index: Index<usize>,
    pieces: BTreeMap<Height, (Bytes, TablePieces)>,
}

/// A log in memory, with the snapshots beside it, as what peers are answered from.
#[derive(Debug)]
pub struct LogArchive<'a> {
    log: &'a [(RecordKind, Bytes)],
    names: &'a mut LogNames,
    /// So many records at the beginning were removed.
    pruned: usize,
    snapshots: &'a BTreeMap<Height, Bytes>,
    /// Bytes that were read so far.
    pub bytes: usize,
}

impl<'a> LogArchive<'a> {
    /// A log of which the first `pruned` records were removed, and names of the beginning of it at least; they are brought up
    /// to the end.
    pub fn new(
        log: &'a [(RecordKind, Bytes)],
        names: &'a mut LogNames,
        pruned: usize,
        snapshots: &'a BTreeMap<Height, Bytes>,
    ) -> LogArchive<'a> {
        for (place, (kind, bytes)) in log.iter().enumerate().skip(names.known) {
            names.index.note(*kind, bytes, place);
        }
        names.known = log.len();
        let mut after = None;
        while std::mem::replace(&mut names.pruned, pruned) < pruned || after.is_some() {
            after = names.index.forget(after, |place| *place < pruned);
        }
        names.pieces.retain(|height, (bytes, _)| {
            snapshots.get(height).is_some_and(|found| found.as_ptr() == bytes.as_ptr())
        });
        LogArchive { log, names, pruned, snapshots, bytes: 0 }
    }

    fn read(&mut self, place: Option<usize>) -> Option<Bytes> {
        let (_, bytes) = self.log.get(place.filter(|place| *place >= self.pruned)?)?;
        self.bytes += bytes.len();
        Some(bytes.clone())
    }

    /// What proves the pieces of a snapshot, which is that of its checkpoint or not here.
    fn pieces(&mut self, height: Height) -> Option<&(Bytes, TablePieces)> {
        if !self.names.pieces.contains_key(&height) {
            let table = self.snapshots.get(&height)?.clone();
            self.bytes += table.len();
            let read = |at: u64, out: &mut [u8]| {
                out.copy_from_slice(&table[at as usize..at as usize + out.len()]);
                Ok::<(), Infallible>(())
            };
            let Ok(pieces) = TablePieces::new(table.len(), read);
            let block = self.read(self.names.index.block(height))?;
            let named = decode_block(&block).ok()?.root(RootKind::Accounts);
            (named == Some(pieces.root())).then(|| self.names.pieces.insert(height, (table, pieces)))?;
        }
        self.names.pieces.get(&height)
    }
}

impl Archive for LogArchive<'_> {
    fn block(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.names.index.block(height))
    }

    fn batch(&mut self, id: &BatchId) -> Option<Bytes> {
        self.read(self.names.index.batch(id))
    }

    fn record(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.names.index.record(height))
    }

    fn certificate(&mut self, height: Height) -> Option<Bytes> {
        self.read(self.names.index.certificate(height))
    }

    fn piece(&mut self, height: Height, piece: u32) -> Option<TablePiece> {
        let (table, pieces) = self.pieces(height)?;
        let place = pieces.place(piece);
        let bytes = &table[place.start as usize..place.end as usize];
        let piece = pieces.prove(height, piece, bytes).ok()?;
        self.bytes += piece.proof().len();
        Some(piece)
    }
}
