//! Beginning anew at a checkpoint: what a node does that lacks blocks, or batches, which its peers have removed.
//!
//! - **Upon a run of catching up in which nothing comes any more**: ask all for what they have. Once `f + 1` of them say that
//!   what comes next here is gone there, and one has the account table of a certified checkpoint that is not reached here,
//!   begin anew at that: at the highest that `f + 1` name, else at the highest that anybody names. Whoever named one that was
//!   tried in vain is believed again only when nobody else names any.
//! - **Upon beginning anew**: go on as in any run, but from the checkpoint: fetch a certificate above it and the blocks down
//!   to it ([`super::leg`]); that proves its block, and with that the roots of its settlement record and of its account
//!   table. Fetch both, the table in pieces from all that have it ([`super::table`]). Adopt nothing meanwhile.
//! - **Upon having it all**: let what executes end, and execute nothing more. Write the table as a snapshot; once that is
//!   durable, write record and block to the log, and let the ledger go on from the table; then chain and agreement go on
//!   from the checkpoint, and the rest of the run adopts the blocks above it.
//! - **Upon a wrong piece, a wrong record, a block that does not link**: its sender lied; it is named, and asked nothing
//!   more in this run. Upon nobody who has the table: ask anew what there is.
//! - **Upon execution having passed the checkpoint meanwhile**, by batches that came after all: leave the table. A ledger never
//!   goes back.
//! - **Upon a run that moves, but whose gap does not shrink by half within a minute** (at the usual message delay): ask what
//!   others have all the same. Else one source that others have left alone could let true blocks trickle for ever. For the
//!   same reason single pieces do not count as a table that comes.
//!
//! Why nobody can bring this about alone: of `f + 1` that say that something is gone one is honest. And nothing is lost by
//! it but history: the table is that which a quorum signed.
//!
//! Why a restart finds its way at any moment: the snapshot counts only with record and block in the log, and these come
//! after it, the block last. Before it stands there, the log goes on where it was; from then on the start is at the new
//! checkpoint, and what lies before it is passed over. The certificate that proves the block stands before both.
//!
//! Memory: beside what a run takes, the table once more, and the blocks of one leg.

use super::catch_up::Skipped;
use super::gap::Gap;
use super::jobs::Job;
use super::offers::Offers;
use super::record::{Record, RecordWanted};
use super::table::TableFetch;
use super::{Node, OnDisk, Output};
use crate::consensus::Divergence;
use crate::crypto::ProofError;
use crate::ledger::LaterTableError;
use crate::store::RecordKind;
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, Certificate, Height, RootKind, Round, Seat, SeatSet, Sequence, Time};
use crate::wire::client::BlockNotice;
use crate::wire::{HashedBlock, Message, ProvenPiece, TablePiece};
use bytes::Bytes;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// So many message delays without anything that came make a node ask what its peers have; and so many lie between two
/// questions.
const ASK_AFTER_DELAYS: u32 = 8;
/// How long a peer has for a piece, in message delays.
const PIECE_DELAYS: u32 = 10;
/// So many message delays without anything that came end the attempt to begin anew at a checkpoint.
const GIVE_UP_DELAYS: u32 = 100;
/// So many pieces of a table count as something that came, and its last one.
const PIECES_OF_A_MOVE: usize = 4;
/// Within so many message delays the gap of a run has to shrink by half.
const HALVE_WITHIN_DELAYS: u32 = 600;
/// A table of which nobody had a piece when all were asked so often is given up.
const BARREN_MAX: u32 = 3;

/// Where a table stands.
#[derive(Debug)]
enum Stage {
    /// It is not known what it has to be.
    Unknown,
    Fetching(Box<TableFetch>),
    Here(Table),
    /// It is being written, and nothing is executed.
    Writing(Table),
    /// The ledger goes on from it.
    Taking,
}

/// A table that is whole, shared by the file that it is written to and the ledger.
pub(super) type Table = Arc<Vec<Account>>;

/// The bytes of a table, as they stand in a snapshot.
struct TableBytes(Table);

impl AsRef<[u8]> for TableBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A checkpoint to begin anew at.
#[derive(Debug)]
struct Anew {
    height: Height,
    /// Who said that the table of it is there.
    named_by: Vec<Seat>,
    block: Option<HashedBlock>,
    record: Option<Record>,
    stage: Stage,
    /// When writing is tried again.
    rests: Time,
}

/// What a run of catching up knows of beginning anew.
#[derive(Debug, Default)]
pub(super) struct ByTable {
    /// How much had come, and when that was last more.
    came: (u64, Time),
    /// How far the newest certified block was from the last executed one, and when.
    gap: Option<Gap>,
    next_ask: Time,
    asked: SeatSet,
    offers: Offers,
    anew: Option<Anew>,
}

impl ByTable {
    /// Whether the run is about to begin anew, so that nothing is adopted.
    pub(super) fn is_on(&self) -> bool {
        self.anew.is_some()
    }

    /// Whether nothing may be executed, since the ledger is about to be another.
    pub(super) fn holds_execution(&self) -> bool {
        let stage = self.anew.as_ref().map(|anew| &anew.stage);
        matches!(stage, Some(Stage::Writing(_) | Stage::Taking))
    }

    /// Whether an attempt may be given up for nothing having come: not when all is here, and waits for the disk.
    fn may_give_up(&self) -> bool {
        let has_all = |anew: &Anew| {
            let has_record = anew.record.as_ref().is_some_and(|record| record.bytes().is_some());
            has_record && matches!(anew.stage, Stage::Here(_))
        };
        !self.holds_execution() && !self.anew.as_ref().is_some_and(has_all)
    }

    /// Whether a checkpoint to begin anew at was passed by what was executed meanwhile.
    fn is_passed(&self, executed: Height) -> bool {
        !self.holds_execution() && self.anew.as_ref().is_some_and(|anew| anew.height <= executed)
    }

    /// Since when its gap has not shrunk by half.
    #[cfg(test)]
    pub(super) fn gap_since(&self) -> Option<Time> {
        self.gap.map(|gap| gap.since)
    }

    /// The record that is being fetched.
    pub(super) fn record(&mut self) -> Option<&mut Record> {
        self.anew.as_mut()?.record.as_mut()
    }

    /// How many pieces of a table that is being fetched are here, and of how many.
    pub(super) fn pieces(&self) -> (usize, usize) {
        match self.anew.as_ref().map(|anew| &anew.stage) {
            Some(Stage::Fetching(fetch)) => fetch.progress(),
            _ => (0, 0),
        }
    }
}

impl Node {
    /// The look at a run: whether anything comes, and if not, what others have.
    pub(super) fn look_for_table(&mut self) {
        let (executed, delay, now) = (self.chain.executed_height(), self.shared.rules.delay(), self.now);
        let left = self.checkpoints.certified().0.saturating_sub(executed.0);
        let peers = self.sources();
        let Some(run) = &mut self.catch_up.run else { return };
        // Blocks are nothing where those before them wait for batches: a chain goes on making them for ever.
        let stands = self.chain.waiting() > 0 && !run.table.is_on();
        let came = if stands { executed.0 } else { executed.0 + run.top.0 + run.blocks() as u64 };
        let table = &mut run.table;
        let creeps = Gap::creeps(&mut table.gap, left, now, delay * HALVE_WITHIN_DELAYS) && !table.is_on();
        if came != table.came.0 || table.came.1 == Time(0) {
            table.came = (came, now);
            if !creeps {
                table.offers.clear();
                return;
            }
        }
        if table.is_on() {
            if table.may_give_up() && now >= table.came.1 + delay * GIVE_UP_DELAYS {
                self.begin_again();
            }
            return;
        }
        let stands = now >= table.came.1 + delay * ASK_AFTER_DELAYS;
        if now < table.next_ask || !(stands || creeps) {
            return;
        }
        // Who has not answered by now is not waited for.
        self.choose_table();
        let Some(run) = self.catch_up.run.as_mut().filter(|run| !run.table.is_on()) else { return };
        run.table.next_ask = now + delay * ASK_AFTER_DELAYS;
        peers.iter().for_each(|peer| _ = run.table.asked.insert(*peer));
        peers.into_iter().for_each(|peer| self.send(peer, Message::WantSnapshots));
    }

    /// A peer says what it has.
    pub(super) fn on_snapshots(&mut self, from: Seat, first: Height, heights: Vec<Height>) {
        if heights.iter().any(|height| !self.checkpoints.is_checkpoint(*height)) {
            return self.misbehaved(from, "snapshots of heights that are no checkpoints");
        }
        let Some(run) = &mut self.catch_up.run else { return };
        if run.table.is_on() || !run.table.asked.contains(from) {
            return;
        }
        run.table.asked.remove(from);
        run.table.offers.take(from, first, heights);
        if run.table.asked.count() == 0 {
            self.choose_table();
        }
    }

    fn choose_table(&mut self) {
        let needed = self.chain.executed_height().next();
        // Blocks that were adopted and cannot be executed are given up.
        let reached = if self.catch_up.is_behind() {
            self.chain.executed_height()
        } else {
            self.chain.ordered_height()
        };
        let between = (reached, self.checkpoints.certified());
        // An observer that has few peers loses nothing but history if one of them lies.
        let honest_among = if self.observes() { 1 } else { self.shared.committee.faulty_max() + 1 };
        let run = self.catch_up.run.as_mut();
        let chosen = run.map(|run| run.table.offers.choose(needed, between, honest_among));
        if let Some(height) = chosen.flatten() {
            self.begin_anew(height);
        }
    }

    /// The disk has room again: what did not come meanwhile could not be taken.
    pub(super) fn wait_anew(&mut self) {
        let now = self.now;
        self.catch_up.run.iter_mut().for_each(|run| run.table.came.1 = now);
    }

    /// What the run wanted cannot be had, and who named it is believed last from now on.
    fn begin_again(&mut self) {
        if let Some(run) = &mut self.catch_up.run
            && let Some(anew) = run.table.anew.take()
        {
            anew.named_by.into_iter().for_each(|seat| _ = run.table.offers.in_vain.insert(seat));
        }
        self.begin_from_here();
    }

    /// The run begins from where the chain is here.
    fn begin_from_here(&mut self) {
        let Some(run) = self.catch_up.run.take() else { return };
        let (in_vain, gap) = (run.table.offers.in_vain, run.table.gap);
        self.begin(self.newest_goal(run.goal), run.banned);
        if let Some(run) = &mut self.catch_up.run {
            (run.table.offers.in_vain, run.table.gap) = (in_vain, gap);
        }
    }

    /// The newest certificate, if it lies further than this one.
    fn newest_goal(&self, goal: Arc<Certificate>) -> Arc<Certificate> {
        let newest = self.checkpoints.certificate(Height(0));
        newest.filter(|newest| newest.height > goal.height).cloned().unwrap_or(goal)
    }

    /// Turns the run to a checkpoint whose table is to be had.
    fn begin_anew(&mut self, height: Height) {
        let Some(run) = &mut self.catch_up.run else { return };
        let named_by = run.table.offers.named_by(height);
        let (stage, rests) = (Stage::Unknown, Time(0));
        run.table.anew = Some(Anew { height, named_by, block: None, record: None, stage, rests });
        run.table.offers.clear();
        run.go_to(Height(height.0 - 1));
        let goal = run.goal.clone();
        if height > goal.height {
            // The block of it is proved from above: by a certificate that may have come since the run began.
            let newest = self.newest_goal(goal);
            self.catch_up.run.iter_mut().for_each(|run| run.goal = newest.clone());
        }
        self.stop_ordering();
        self.go_on_catching_up();
    }

    /// Goes on with beginning anew as far as what is here carries.
    pub(super) fn go_on_anew(&mut self) {
        let executed = self.chain.executed_height();
        if self.catch_up.run.as_ref().is_some_and(|run| run.table.is_passed(executed)) {
            return self.begin_from_here();
        }
        self.know_table();
        self.fetch_base_record();
        self.write_table();
    }

    /// Once the block is proved, it is known what record and table have to be.
    fn know_table(&mut self) {
        let patience = self.shared.rules.delay() * PIECE_DELAYS;
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(anew) = run.table.anew.as_mut().filter(|anew| anew.block.is_none()) else { return };
        let Some(first) = run.proved.front().filter(|first| first.block.height == anew.height) else {
            return;
        };
        let (accounts, settlement) =
            (first.block.root(RootKind::Accounts), first.block.root(RootKind::Settlement));
        let count = first.block.accounts;
        if let (Some(root), Some(record), 1..=ACCOUNTS_MAX) = (accounts, settlement, count) {
            anew.record = Some(Record::new(anew.height, record));
            anew.stage = Stage::Fetching(Box::new(TableFetch::new(anew.height, root, count, patience)));
            anew.block = Some(first.clone());
            self.ask_pieces();
        } else {
            // A checkpoint without roots has no table to be had.
            self.begin_again();
        }
    }

    fn fetch_base_record(&mut self) {
        let Some(run) = &mut self.catch_up.run else { return };
        if run.table.record().is_some() {
            self.ask_record(RecordWanted::Base);
        }
    }

    /// Asks for pieces of the table.
    pub(super) fn ask_pieces(&mut self) {
        let now = self.now;
        let mut peers = SeatSet::default();
        self.sources().into_iter().for_each(|peer| _ = peers.insert(peer));
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(Anew { height, stage: Stage::Fetching(fetch), .. }) = &mut run.table.anew else { return };
        let height = *height;
        let asks = fetch.due(now, &peers, &mut self.dice);
        if fetch.barren() > BARREN_MAX {
            // Nobody has it any more.
            return self.begin_again();
        }
        asks.into_iter().for_each(|(seat, piece)| self.send(seat, Message::WantPiece { height, piece }));
    }

    pub(super) fn on_piece(&mut self, from: Seat, piece: TablePiece) {
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(Anew { stage: Stage::Fetching(fetch), .. }) = &mut run.table.anew else { return };
        if let Some(job) = fetch.came(from, piece) {
            self.outputs.push_back(Output::Job(job));
        }
        self.ask_pieces();
    }

    pub(super) fn on_piece_checked(
        &mut self,
        from: Seat,
        height: Height,
        piece: u32,
        result: Result<ProvenPiece, ProofError>,
    ) {
        let now = self.now;
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(Anew { stage, .. }) = &mut run.table.anew else { return };
        let Stage::Fetching(fetch) = stage else { return };
        if !fetch.checked(from, height, piece, result) {
            self.misbehaved(from, "a piece that is not of the account table");
            return self.ask_pieces();
        }
        if fetch.progress().0.is_multiple_of(PIECES_OF_A_MOVE) {
            run.table.came.1 = now;
        }
        if let Some(table) = fetch.take() {
            *stage = Stage::Here(Arc::new(table));
            run.table.came.1 = now;
        }
        self.ask_pieces();
    }

    /// Writes the table, once all is here and nothing executes.
    fn write_table(&mut self) {
        let idle = self.chain.is_idle() && self.keeping.may_take();
        let now = self.now;
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(anew) = run.table.anew.as_mut().filter(|anew| idle && now >= anew.rests) else { return };
        let has_record = anew.record.as_ref().is_some_and(|record| record.bytes().is_some());
        let Stage::Here(table) = &anew.stage else { return };
        if !has_record {
            return;
        }
        let (height, table) = (anew.height, table.clone());
        anew.stage = Stage::Writing(table.clone());
        let kept = self.keeping.takes(height);
        self.outputs.push_back(Output::Snapshot {
            height,
            table: Bytes::from_owner(TableBytes(table)),
            kept,
        });
    }

    /// A snapshot was written, or not; whether it is that of a checkpoint to begin anew at.
    pub(super) fn on_table_written(&mut self, height: Height, written: bool) -> bool {
        let again = self.now + self.shared.rules.delay() * ASK_AFTER_DELAYS;
        let Some(run) = &mut self.catch_up.run else { return false };
        let Some(anew) = run.table.anew.as_mut().filter(|anew| anew.height == height) else { return false };
        let Stage::Writing(table) = &anew.stage else { return false };
        let table = table.clone();
        let record = anew.record.as_ref().and_then(|record| record.bytes().cloned());
        let (true, Some(block), Some(record)) = (written, anew.block.clone(), record) else {
            // It is not fetched again because there is no room for it.
            anew.stage = Stage::Here(table);
            (anew.rests, run.table.came.1) = (again, self.now);
            return true;
        };
        anew.stage = Stage::Taking;
        self.persist(RecordKind::Settlement, record, None);
        let HashedBlock { block, hash, bytes } = block;
        let notice = BlockNotice {
            height,
            hash,
            durable: self.now,
            batches: block.settled.len() as u32,
            rows: 0,
            ok: 0,
        };
        self.persist(RecordKind::Block, bytes, Some(OnDisk::Base { leader: block.leader.round, notice }));
        // What stands before it may be removed with it.
        self.write_again(Round(u64::MAX));
        self.outputs.push_back(Output::Job(Job::TakeTable { height, table }));
        true
    }

    /// The ledger went on from the table, and all else does.
    pub(super) fn on_table_taken(&mut self, height: Height, result: Result<(), LaterTableError>) {
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(anew) = run.table.anew.take_if(|anew| anew.height == height) else { return };
        let record = anew.record.and_then(|record| record.bytes().cloned());
        let (Some(block), Some(record)) = (anew.block, record) else { return };
        run.proved.pop_front();
        run.table.came.1 = self.now;
        let reached = height >= run.goal.height;
        if result.is_err() {
            // A quorum signed what cannot follow from what was executed here.
            let seats = run.goal.votes.iter().map(|vote| vote.0).collect();
            let (height, own) = self.chain.durable;
            self.diverged = Some(Divergence { height, own, other: block.hash, seats });
            return;
        }
        let accounts = self.chain.accounts;
        self.chain.go_on_at(&self.shared.committee, &block.block, block.hash);
        self.batches.leave_behind();
        self.want_batches.retain(|_| false);
        if self.go_on_from(&record, Skipped::Blocks).is_err() {
            // It was tried when it came.
            return;
        }
        let own = self.consensus.settlement().highest(self.shared.seat);
        self.next_sequence = self.next_sequence.max(Sequence(own.0.saturating_add(1)));
        let count = height.0 / self.shared.rules.checkpoint_blocks;
        self.keeping.begun_anew_at(height, count, block.block.leader.round);
        self.signing.begin_with(height, record);
        if reached {
            self.catch_up.run = None;
            self.asked_frontier = self.now;
            self.show_frontier(true);
        }
        if self.chain.accounts > accounts {
            self.verify_deferred();
            self.check_early();
        }
    }

    /// The block at which the node began anew is in the log.
    pub(super) fn on_base_durable(&mut self, leader: crate::types::Round, notice: BlockNotice) {
        let (height, hash) = (notice.height, notice.hash);
        self.chain.durable = (height, hash);
        self.note_checkpoint(height, hash);
        self.keeping.checkpoint(height, leader);
        self.outputs.push_back(Output::Durable(BlockNotice { durable: self.now, ..notice }));
    }

    /// Batches that settled before the checkpoint, though their blocks are not here, are let go.
    pub(super) fn leave_settled(&mut self) {
        let settlement = self.consensus.settlement();
        let gone = self.batches.forget(|author, sequence| {
            !settlement.open(author, sequence) && sequence <= settlement.highest(author)
        });
        for batch in gone.iter().filter(|batch| batch.header.author == self.shared.seat) {
            self.shared.mempool.release(batch.rows().effects);
        }
    }
}
