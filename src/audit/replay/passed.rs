//! What of a log lies before the snapshot at which its replay begins: links of the chain, and signatures.

use super::{Replay, Step};
use crate::audit::Fault;
use crate::audit::kept::{self, KeptBlocks, Start, linked};
use crate::audit::open::Directory;
use crate::audit::{AuditError, fault};
use crate::consensus::Consensus;
use crate::ledger::Ledger;
use crate::store::{Place, Store};
use crate::types::{Block, BlockHash, ChainId, Height, Root, RootKind, Round};
use crate::wire::{Batch, block_hash, decode_block, decode_record};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// What is passed over.
#[derive(Debug)]
pub(super) struct Passing {
    /// The height of the snapshot, 0 if the replay begins at the genesis.
    pub height: Height,
    /// The floor of its settlement record.
    pub floor: Round,
    /// The last block that was passed.
    pub last: (Height, BlockHash),
    /// It is the last that is left of removed segments: where these were damaged, more of them may be missing behind it.
    pub removed: bool,
    /// The root of the last settlement record that was passed, and where it stands.
    pub settlement: Option<(Place, Root)>,
}

impl Passing {
    pub(super) fn none(chain: &ChainId) -> Passing {
        let last = (Height(0), BlockHash(chain.0));
        Passing { height: Height(0), floor: Round(0), last, removed: false, settlement: None }
    }

    /// Whether the records are still those before the snapshot.
    pub(super) fn goes_on(&self) -> bool {
        self.last.0 < self.height
    }
}

impl Replay {
    /// The replay of a directory from its beginning: the genesis, or the oldest snapshot if segments were removed. The
    /// blocks that are left of those are checked here.
    pub(in crate::audit) fn begin(directory: &Directory) -> Result<Replay, AuditError> {
        let kept = kept::blocks(directory, |_, _, _| ())?;
        let mut replay = Replay::new(directory);
        if let Some(start) = kept::start(directory, &kept)? {
            replay.begin_at(directory, &kept, start).map_err(AuditError::Fault)?;
        }
        Ok(replay)
    }

    fn begin_at(&mut self, directory: &Directory, kept: &KeptBlocks, start: Start) -> Result<(), Box<Fault>> {
        let Start { block, hash, record, table } = start;
        let wrong = |found: String| unfit(&directory.dir, block.height, found);
        let decoded = decode_record(&record).map_err(|error| wrong(error.to_string()))?;
        let consensus = Consensus::from_record(&self.genesis, &decoded, None);
        self.consensus = consensus.map_err(|error| wrong(error.to_string()))?;
        let supply = |balances: &mut dyn Iterator<Item = u64>| balances.map(u128::from).sum::<u128>();
        let before = supply(&mut self.genesis.accounts.iter().map(|account| account.balance));
        if table.is_empty() || supply(&mut table.iter().map(|account| account.balance.get())) != before {
            return Err(wrong("a table with another supply than the genesis".to_owned()));
        }
        self.ledger = Arc::new(Ledger::new(table));
        self.tip = (block.height, hash);
        self.last_ordered = block.height;
        self.checkpoints = kept.checkpoints.clone();
        self.totals.missing = kept.missing;
        let floor = self.consensus.dag().floor();
        self.passing =
            Passing { height: block.height, floor, last: kept.tip, removed: true, settlement: None };
        Ok(())
    }

    /// A block further on than the next, which a certificate stands before: the node began anew there, and so does the
    /// replay, or at the oldest snapshot after it. Keys that were known stay known.
    pub(super) fn begin_anew(
        &mut self,
        place: Place,
        block: Block,
        bytes: &[u8],
    ) -> Result<Step, Box<Fault>> {
        let (height, next) = (block.height, self.next());
        if !self.is_checkpoint(height) || self.promised.range(height..).next().is_none() {
            let found = format!("a block whose height: {height}");
            return Err(self.fault(
                place,
                found,
                format!("{next}, or a certificate that proves a later checkpoint"),
            ));
        }
        let start = kept::oldest_from(&self.dir, &self.chain, height).map_err(|error| match error {
            AuditError::Fault(fault) => fault,
            error => self.fault(place, error.to_string(), "a snapshot to go on from"),
        })?;
        let unfit = |found: String| unfit(&self.dir, start.block.height, found);
        let decoded = decode_record(&start.record).map_err(|error| unfit(error.to_string()))?;
        let gone_on = self.consensus.go_on_from(&self.genesis, &decoded, None);
        gone_on.map_err(|error| unfit(error.to_string()))?;
        self.ledger.go_on_from(start.table).map_err(|error| unfit(error.to_string()))?;
        let hash = block_hash(bytes);
        self.totals.missing += height.0 - next.0;
        (self.tip, self.last_ordered) = ((start.block.height, start.hash), start.block.height);
        (self.ordered, self.record) = (VecDeque::new(), None);
        let (floor, last) = (self.consensus.dag().floor(), (height, hash));
        self.passing = Passing { height: start.block.height, floor, last, removed: false, settlement: None };
        self.pass_checkpoint(place, &block, hash)?;
        Ok(Step::Passed { block, hash })
    }

    /// A block before the snapshot, or its own: a link of the chain.
    pub(super) fn pass_block(&mut self, place: Place, bytes: &[u8]) -> Result<Step, Box<Fault>> {
        let decoded = decode_block(bytes);
        let block = decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of a block"))?;
        let (last, interval) = (self.passing.last, self.genesis.rules.checkpoint_blocks);
        let missing = match std::mem::take(&mut self.passing.removed) && block.height > last.0.next() {
            true => Ok(block.height.0 - last.0.next().0),
            false => linked(&block, last, interval),
        };
        let missing = missing.map_err(|(found, expected)| self.fault(place, found, expected))?;
        self.totals.missing += missing;
        let (height, hash) = (block.height, block_hash(bytes));
        let named = block.root(RootKind::Settlement);
        if let (Some((place, found)), Some(named)) = (self.passing.settlement.take(), named)
            && found != named
        {
            let found = format!("a settlement record with the root {found}");
            return Err(self.fault(place, found, format!("the root {named} that the next block names")));
        }
        self.pass_checkpoint(place, &block, hash)?;
        self.passing.last = (height, hash);
        Ok(Step::Passed { block, hash })
    }

    fn pass_checkpoint(&mut self, place: Place, block: &Block, hash: BlockHash) -> Result<(), Box<Fault>> {
        let (height, own) = (block.height, self.tip);
        if height == own.0 && hash != own.1 {
            return Err(self.fault(place, format!("a block with the hash {hash}"), own.1.to_string()));
        }
        if self.is_checkpoint(height) {
            self.checkpoints.insert(height, (hash, kept::account_root(block)));
            if let Some((place, signed)) = self.promised.remove(&height) {
                self.certified(place, height, (signed, hash))?;
            }
        }
        Ok(())
    }

    /// Whether a block that is still to be replayed may settle a batch.
    pub(super) fn may_settle(&self, batch: &Batch) -> bool {
        let (author, sequence) = (batch.header.author, batch.header.sequence);
        let settlement = self.consensus.settlement();
        !self.passing.goes_on()
            || settlement.open(author, sequence)
            || sequence > settlement.highest(author)
            || self.ordered.iter().flat_map(|next| &next.settled).any(|settled| settled.id == batch.id)
    }

    /// Holds the snapshots against the checkpoints that were replayed or passed; how many there are.
    pub(in crate::audit) fn check_snapshots(&self) -> Result<Result<u64, Box<fault::Fault>>, AuditError> {
        kept::check_snapshots(
            &self.dir,
            (self.tip.0, self.genesis.rules.checkpoint_blocks),
            &self.checkpoints,
        )
    }
}

/// What is wrong with the snapshot of a height.
fn unfit(dir: &Path, height: Height, found: String) -> Box<Fault> {
    let file = Store::snapshot_path(dir, height.0);
    let expected = "the state of a checkpoint of this chain".to_owned();
    Box::new(Fault { file, offset: 0, height: height.0, found, expected })
}
