//! Opening a data directory: the node on what its log and its snapshots hold, or on as much of it as is good.
//!
//! - **Upon damage in the log**: alone, refuse. Among others, go on above it, if a snapshot there and the log after it carry a
//!   node, else before it; say what was set aside ([`crate::store::Salvage`]).
//! - **Upon what stands aside below the log**, on a node that keeps all blocks: what is whole of it is taken back before the log
//!   is read; what was lost in the rest is fetched while the node runs (`mend.rs`), for the next start to take back.
//! - **Upon a log with nothing to begin with**, since what lies before was removed and no snapshot is good: alone, refuse.
//!   Among others, set all of it aside, say so, and begin anew, as one that lost its records; what was signed last stands in the
//!   guard.
//!
//! Why that is safe: whatever is missing at the end of the log others have, and give back as to any node that was away; a start
//! signs nothing before they have answered. What is missing below a snapshot it goes on without: of it blocks, batches
//! and settlement records come back; a segment in which a vertex was lost stays aside for good, and that is said.

use super::clock::Clock;
use super::running::StartError;
use crate::node::snapshots::links;
use crate::node::{Node, OpenError, Refused, Setup, Shared, Snapshots, TABLE_BYTES_MAX};
use crate::store::{
    Abandoned, Aside, GuardState, Judge, Mending, OnDamage, Opened, Part, RecordKind, Recovered, Remaining,
    Salvage, Store, StoreConfig, SystemDisk,
};
use crate::types::{Height, Seat};
use crate::wire;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened directory.
pub(super) struct Opening {
    /// Not started yet.
    pub store: Store,
    pub node: Node,
    pub shared: Arc<Shared>,
    /// The last block that settled rows.
    pub last_full: Height,
    /// What gets back, while the node runs, what was lost below the log, if all of it is wanted.
    pub mending: Option<Mending>,
}

/// Opens a directory, and makes of it what can be made.
///
/// # Errors
/// [`StartError`]: then nothing was changed but what was set aside.
pub(super) fn open(
    setup: &Setup,
    dir: &Path,
    config: &StoreConfig,
    clock: &Clock,
) -> Result<Opening, StartError> {
    let genesis = wire::encode_genesis(&setup.genesis);
    let others = setup.genesis.seats.len() > 1 || setup.seat == Seat::NONE;
    let owner = Owner { setup, dir, clock };
    // Alone, nobody gives back what is lost.
    let on_damage = if others { OnDamage::SetAside(&owner) } else { OnDamage::Refuse };
    let mut asides: Vec<Aside> = Vec::new();
    loop {
        let opened = Store::open_on(Arc::new(SystemDisk), dir, &genesis, config, on_damage)?;
        let Opened { mut store, records, cut: _, aside, abandoned, removed, guard, snapshots } = opened;
        aside.iter().for_each(|aside| report(aside, owner.takes_back()));
        abandoned.iter().for_each(|abandoned| report_abandoned(dir, abandoned));
        asides.extend(aside);
        let last_full = Cell::new(Height(0));
        let records = records.inspect(|record| note_full(record, &last_full));
        let read = reader(dir);
        let snapshots = Snapshots { heights: heights(&snapshots), removed, read: &read };
        let opened = Node::open_newest(setup.clone(), snapshots, records, guard, clock.now());
        let (mut node, shared, refused) = match opened {
            // What is begun anew has nothing before it, and no second life of this kind.
            Err(reason @ OpenError::NoBase { .. }) if others && abandoned.is_none() => {
                tracing::error!(dir = %dir.display(), %reason, "the log has nothing to begin with: it is set aside");
                store.abandon()?;
                continue;
            }
            opened => opened.map_err(|reason| StartError::Recovery { dir: dir.to_owned(), reason })?,
        };
        for Refused { height, reason } in refused {
            let file = Store::snapshot_path(dir, height.0);
            tracing::warn!(file = %file.display(), %reason, "a snapshot was passed over");
        }
        node.give_back(asides.iter().flat_map(Aside::records));
        node.give_back(abandoned.iter().flat_map(Abandoned::records));
        // An observer signs nothing, and has nothing to say about what a validator signed who had this directory.
        if let GuardState::Intact(guard) = guard
            && setup.seat != Seat::NONE
        {
            store.raise_guard(&guard, &node.guard())?;
        }
        let mending = if others && owner.takes_back() { store.mending()? } else { None };
        return Ok(Opening { store, node, shared, last_full: last_full.get(), mending });
    }
}

/// What a node knows of its damaged log.
struct Owner<'a> {
    setup: &'a Setup,
    dir: &'a Path,
    clock: &'a Clock,
}

impl Salvage for Owner<'_> {
    fn begins(&self, above: Recovered, snapshots: &[u64]) -> Option<u64> {
        let read = reader(self.dir);
        let snapshots = Snapshots { heights: heights(snapshots), removed: true, read: &read };
        Node::begins_at(self.setup, snapshots, above, self.clock.now()).map(|height| height.0)
    }

    fn takes_back(&self) -> bool {
        self.setup.config.keep_blocks.is_none()
    }

    fn links(&self, removed: Remaining) -> Judge {
        let blocks = removed.flatten().filter_map(|remain| wire::block_height(&remain.bytes));
        let tip = blocks.last().unwrap_or_default();
        Box::new(links(self.setup.genesis.rules.checkpoint_blocks, tip))
    }
}

fn heights(heights: &[u64]) -> Vec<Height> {
    heights.iter().copied().map(Height).collect()
}

fn reader(dir: &Path) -> impl Fn(Height) -> Result<Vec<u8>, String> + '_ {
    |height| Store::snapshot(dir, height.0, TABLE_BYTES_MAX).map_err(|error| error.to_string())
}

/// Remembers the height of a block that settled rows; what does not decode is the node's to report.
fn note_full(record: &(RecordKind, bytes::Bytes), last_full: &Cell<Height>) {
    if record.0 == RecordKind::Block
        && let Ok(block) = wire::decode_block(&record.1)
        && !block.settled.is_empty()
    {
        last_full.set(block.height);
    }
}

/// Says what of the log was set aside, and what becomes of what is lost.
fn report(aside: &Aside, keeps_all: bool) {
    let becomes = match aside.part {
        Part::UpTo if keeps_all => {
            "the log is damaged: it begins behind it, at a snapshot, and what comes before is set aside; what of it is lost is \
             asked of other nodes, and a start after that takes back what is whole; check the disk, and keep what was set aside \
             until then"
        }
        Part::UpTo => {
            "the log is damaged: it begins behind it, at a snapshot, and what comes before is set aside; this node does not keep \
             all blocks, and does without; check the disk, and remove what was set aside"
        }
        Part::Behind => {
            "the log is damaged: it ends before this record, the rest is set aside, and the other validators give back what is \
             lost; check the disk, and remove what was set aside once the node is with the others again"
        }
    };
    tracing::error!(
        file = %aside.file.display(),
        offset = aside.offset,
        record = aside.record,
        damage = %aside.damage,
        set_aside = names(&aside.kept),
        "{becomes}"
    );
}

fn report_abandoned(dir: &Path, abandoned: &Abandoned) {
    tracing::error!(
        dir = %dir.display(),
        set_aside = names(&abandoned.kept),
        "the log is set aside as a whole, and the node begins anew: the other validators give back what is lost; remove what \
         was set aside once the node is with the others again"
    );
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}
