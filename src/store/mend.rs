//! Mending what was set aside below a log: what was lost there is looked for by its name, and written again once somebody has
//! brought it.
//!
//! - **Upon a start**: look at the segments that stand set aside directly below the log, from the newest down (`ruin.rs`), up to
//!   the first that is beyond mending. What lies below that one would be of no use: a log has no gap.
//! - **Upon a spot that may have been a block, or a settlement record**: the block after it names it. **Upon one that may have been
//!   a batch**: its name is one that a block after it settles, and that no segment holds. Some thousand of these are looked for
//!   at a time.
//! - **Upon a record that somebody brings**: if it bears a name that is looked for, and is what stood in a spot, it is written
//!   there and synced.
//! - **Upon the next opening**, if the owner wants it ([`super::Salvage::takes_back`]): what is whole is taken back.
//!
//! Why that is safe: a spot that was written in part is as bad as before, and is looked for again. Nothing of the log itself
//! is written to, and no map is on what was set aside.
//!
//! Memory: one segment at a time, the names, and a few bytes for each spot.

use super::format;
use super::ruin::{Beyond, Look, Ruin, SPOTS_MAX, Site, Spot};
use super::{Finder, RecordKind, StoreError, segment};
use crate::types::{BatchId, BatchRef, Block, BlockHash, Height, Root, RootKind};
use crate::wire::{Batch, HashedBlock, decode_block, record_root};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// See [`Mending::names_max`].
const NAMES_MAX: usize = 4096;

/// Segments that were set aside, and what is looked for in order to mend them.
pub struct Mending {
    site: Site,
    finder: Finder,
    /// Ascending; each directly below the next, the last directly below the log.
    ruins: Vec<Ruin>,
    /// What cannot be mended, and why nothing below it is.
    beyond: Option<Beyond>,
    blocks: Vec<LostBlock>,
    records: BTreeMap<Height, Root>,
    batches: BTreeMap<BatchId, BatchRef>,
    /// The block from which on names of batches come next; `None` after the last.
    next: Option<Height>,
    /// So many batches are looked for at a time, beside those of one block.
    pub(super) names_max: usize,
    /// Nobody else may write meanwhile, also when the store is closed.
    _lock: Arc<File>,
}

/// A record that is looked for, by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lost {
    /// A block.
    Block {
        /// Its height.
        height: Height,
        /// Its hash, as the block after it says.
        hash: BlockHash,
    },
    /// A settlement record.
    Record {
        /// The height of the checkpoint that names it.
        height: Height,
        /// Its root.
        root: Root,
    },
    /// A batch.
    Batch(BatchRef),
}

/// What became of a record that was brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Brought {
    /// It bears no name that is looked for.
    Unknown,
    /// It fits nowhere: it was lost where several were.
    Fitless,
    /// It stands where it stood.
    Mended {
        /// The segment, by the name that it has.
        file: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
    },
}

/// The highest of some blocks that are lost.
struct LostBlock {
    height: Height,
    hash: BlockHash,
    /// How many they are.
    count: u64,
}

impl Mending {
    pub(super) fn new(site: Site, finder: Finder, lock: Arc<File>) -> Mending {
        let (ruins, beyond, blocks, records, batches) = Default::default();
        let (next, names_max) = (None, NAMES_MAX);
        Mending { site, finder, ruins, beyond, blocks, records, batches, next, names_max, _lock: lock }
    }

    /// Looks through what is set aside, mends what says itself what it was, and finds the names of what is lost; or leaves off
    /// when `closing` says so.
    ///
    /// # Errors
    /// A segment cannot be written, or the directory not be read.
    pub fn look(&mut self, closing: &dyn Fn() -> bool) -> Result<(), StoreError> {
        (self.ruins, self.beyond) = (Vec::new(), None);
        let first = segment::list(&self.site.dir)?.first;
        for number in (1..first).rev() {
            if closing() || self.spots().count() >= SPOTS_MAX {
                break;
            }
            match self.site.ruin(number)? {
                Look::Ruin(ruin) => self.ruins.push(ruin),
                Look::Beyond(beyond) => {
                    self.beyond = Some(beyond);
                    break;
                }
                Look::Nothing => break,
            }
        }
        self.ruins.reverse();
        self.name_lost(Height(1), closing)
    }

    /// Goes on to the names that come after those that are looked for; false if there are none.
    ///
    /// # Errors
    /// As [`Mending::look`].
    pub fn look_further(&mut self, closing: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        let Some(next) = self.next else { return Ok(false) };
        self.name_lost(next, closing)?;
        Ok(true)
    }

    /// What is looked for.
    pub fn lost(&self) -> Vec<Lost> {
        let blocks = self.blocks.iter().map(|lost| Lost::Block { height: lost.height, hash: lost.hash });
        let records = self.records.iter().map(|(height, root)| Lost::Record { height: *height, root: *root });
        blocks.chain(records).chain(self.batches.values().copied().map(Lost::Batch)).collect()
    }

    /// Segments that are whole, from the log down, and spots that are not mended.
    pub fn state(&self) -> (usize, usize) {
        let whole = self.ruins.iter().rev().take_while(|ruin| ruin.spots.is_empty());
        (whole.count(), self.spots().count())
    }

    /// The spot that was seen to be beyond mending, if there is one: all segments below it stay aside.
    pub fn beyond(&self) -> Option<&Beyond> {
        self.beyond.as_ref()
    }

    /// The spots that are not mended, the newest first: what they are once nothing more is lost by name.
    pub fn unmended(&self) -> impl Iterator<Item = Beyond> + '_ {
        self.ruins.iter().rev().flat_map(|ruin| ruin.spots.iter().rev().map(move |spot| (ruin, spot))).map(
            |(ruin, spot)| {
                let (file, offset) = (ruin.path.clone(), spot.range.start as u64);
                Beyond { file, offset, reason: "what stood there has no name that a block tells".to_owned() }
            },
        )
    }

    fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.ruins.iter().flat_map(|ruin| &ruin.spots)
    }

    /// Takes a record that somebody has, and writes it where it was lost. Its name is checked, and of a batch nothing else: the
    /// caller sees to its columns and its signature.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn bring(&mut self, kind: RecordKind, bytes: &Bytes) -> Result<Brought, StoreError> {
        let lost = match kind {
            RecordKind::Batch => {
                Batch::decode(bytes.clone()).is_ok_and(|batch| self.batches.remove(&batch.id).is_some())
            }
            RecordKind::Block => self.lost_block(bytes),
            RecordKind::Settlement => {
                let (before, root) = (self.records.len(), record_root(bytes));
                self.records.retain(|_, lost| *lost != root);
                self.records.len() < before
            }
            _ => false,
        };
        if lost { self.write(kind, bytes) } else { Ok(Brought::Unknown) }
    }

    /// Whether a block is looked for; if it is, the one before it is next.
    fn lost_block(&mut self, bytes: &Bytes) -> bool {
        let Ok(found) = HashedBlock::decode(bytes.clone()) else { return false };
        let Some(place) = self.blocks.iter().position(|lost| lost.hash == found.hash) else { return false };
        let lost = &mut self.blocks[place];
        (lost.height, lost.hash) = (Height(lost.height.0.saturating_sub(1)), found.block.previous);
        lost.count -= 1;
        if lost.count == 0 {
            self.blocks.swap_remove(place);
        }
        true
    }

    fn write(&mut self, kind: RecordKind, bytes: &[u8]) -> Result<Brought, StoreError> {
        let length = format::record_bytes(bytes.len());
        for ruin in &mut self.ruins {
            for at in 0..ruin.spots.len() {
                let range = &ruin.spots[at].range;
                if range.len() == length && self.site.renew(&ruin.path, &ruin.head, range, (kind, bytes))? {
                    let offset = ruin.spots.remove(at).range.start as u64;
                    return Ok(Brought::Mended { file: ruin.path.clone(), offset });
                }
            }
        }
        Ok(Brought::Fitless)
    }

    /// Finds the names of what is lost: from the lowest spot up, and on in the log; of batches those of blocks from a height on.
    fn name_lost(&mut self, from: Height, closing: &dyn Fn() -> bool) -> Result<(), StoreError> {
        (self.blocks, self.records, self.batches) = Default::default();
        self.next = None;
        let Some(lowest) = self.ruins.iter().position(|ruin| !ruin.spots.is_empty()) else { return Ok(()) };
        let mut names = Names {
            most: self.names_max,
            from: self.spots().any(|spot| spot.may_be(RecordKind::Batch)).then_some(from),
            last: (self.ruins[lowest].number == 1).then_some(Height(0)),
            ..Names::default()
        };
        for ruin in &self.ruins[lowest..] {
            if closing() {
                return Ok(());
            }
            let (key, bytes) = self.site.load(&ruin.path, &ruin.head)?;
            let mut spots = ruin.spots.iter().peekable();
            for (offset, found) in key.all_good(&bytes, 0) {
                while let Some(spot) = spots.next_if(|spot| spot.range.start < offset) {
                    names.spot(spot);
                }
                if format::kind_of(&found) == Some(RecordKind::Block)
                    && let Ok(block) = decode_block(&bytes[found.start..found.start + found.len])
                {
                    names.block(&block, &self.finder);
                }
            }
            spots.for_each(|spot| names.spot(spot));
        }
        names.go_on_in_log(&mut self.finder, closing);
        (self.blocks, self.records, self.batches) = (names.blocks, names.records, names.batches);
        self.next = names.next;
        self.pass_over_present(closing)
    }

    /// Takes from the names of batches those that stand in the segments. A copy of one that was lost is as good as another's.
    fn pass_over_present(&mut self, closing: &dyn Fn() -> bool) -> Result<(), StoreError> {
        for place in 0..self.ruins.len() {
            if closing() || self.batches.is_empty() {
                break;
            }
            let (key, bytes) = self.site.load(&self.ruins[place].path, &self.ruins[place].head)?;
            for (_, found) in key.all_good(&bytes, 0) {
                let payload = bytes.slice(found.start..found.start + found.len);
                if format::kind_of(&found) == Some(RecordKind::Batch)
                    && let Ok(batch) = Batch::decode(payload.clone())
                    && self.batches.remove(&batch.id).is_some()
                    && self.spots().any(|spot| spot.told == Some((RecordKind::Batch, found.len)))
                {
                    self.write(RecordKind::Batch, &payload)?;
                }
            }
        }
        Ok(())
    }
}

/// Names that are being found.
#[derive(Default)]
struct Names {
    most: usize,
    /// Where those of batches begin, if any are to be found; and from where on none are taken any more.
    from: Option<Height>,
    next: Option<Height>,
    /// The last block, if one was met, how many spots after it may have been blocks, and whether one may have been a record.
    last: Option<Height>,
    spots: u64,
    record: bool,
    blocks: Vec<LostBlock>,
    records: BTreeMap<Height, Root>,
    batches: BTreeMap<BatchId, BatchRef>,
}

impl Names {
    /// Takes note of a spot.
    fn spot(&mut self, spot: &Spot) {
        self.spots += u64::from(spot.may_be(RecordKind::Block));
        self.record |= spot.may_be(RecordKind::Settlement);
    }

    /// Takes note of a block that is here.
    fn block(&mut self, block: &Block, finder: &Finder) {
        let (height, before) = (block.height, block.height.0.saturating_sub(1));
        // Where it is not known which one came before, as many may be missing as there are spots.
        let missing = self.last.map_or(before, |last| before.saturating_sub(last.0));
        let count = missing.min(self.spots);
        if count > 0 {
            self.blocks.push(LostBlock { height: Height(before), hash: block.previous, count });
        }
        (self.last, self.spots) = (Some(height), 0);
        let record = std::mem::take(&mut self.record);
        let root = block.root(RootKind::Settlement).filter(|_| record);
        self.records.extend(root.map(|root| (height, root)));
        if self.next.is_some() || self.from.is_none_or(|from| height < from) {
            return;
        }
        if self.batches.len() >= self.most {
            self.next = Some(height);
            return;
        }
        let absent = block.settled.iter().filter(|batch| !finder.has_batch(&batch.id));
        self.batches.extend(absent.map(|batch| (batch.id, *batch)));
    }

    /// Goes on with the blocks of the log: the first names the last one below, the others batches.
    fn go_on_in_log(&mut self, finder: &mut Finder, closing: &dyn Fn() -> bool) {
        let mut height = finder.first_block();
        while !closing() && (self.spots > 0 || self.record || self.from.is_some() && self.next.is_none()) {
            // What of the log cannot be read is said where it is needed.
            let Ok(Some(bytes)) = finder.block(height) else { return };
            let Ok(block) = decode_block(&bytes) else { return };
            self.block(&block, finder);
            height = height.next().max(self.from.unwrap_or_default());
        }
    }
}
