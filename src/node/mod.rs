//! The machine without I/O: it wires agreement, batches, execution and the store together.
//!
//! Rules of this room. [`Node`] makes no system call, reads no clock, draws no global randomness and starts no thread.
//! Whatever happens outside comes in through [`Node::handle`] with the time; whatever is to be done goes out through
//! [`Node::poll`]. Heavy work (check, verify, seal, execute) leaves as a [`jobs::Job`] or [`jobs::ExecuteJob`] and
//! comes back as [`jobs::Done`]; what must survive leaves as [`Output::Persist`] and comes back as
//! [`Input::Persisted`]. The same inputs give the same outputs, so that a simulator can play any world to it.
//!
//! - **Upon rows in the mempool**: seal them once a batch is full or the oldest is old enough. A batch is synced, then
//!   pushed to all, and pushed again until a quorum acked it. Rows whose turn is another's are handed on ([`home`]).
//! - **Upon a batch** of another author: check header, roots and rows; sync; say `Held`. If the policy draws this seat,
//!   check every signature and say `Valid` or `Invalid`. Acks ride in the next vertex. If it does not settle though a quorum
//!   holds it, the next in the draw checks it, too, unless acks of `f + 1` that it is valid are counted or may yet be.
//! - **Upon a vertex**: check its signature, hand it to agreement, ask for parents that are missing.
//! - **Upon a committed leader**: settle the batches that its output acks, execute them once their bytes are here, build
//!   the block, make it durable, tell.
//! - **Upon having been away for longer than others keep vertices**: adopt blocks that a quorum certified (`catch_up.rs`).
//! - **Upon a peer that wants what is on disk**: name it to the driver ([`Output::Serve`]).
//! - **Upon a peer without a seat**: serve it; without a seat of one's own: follow, verify, never sign (`observe.rs`).
//! - **Upon a lie that can be proven** ([`evidence`]): convict its author, tell all, ack nothing more of it.
//! - **Upon a full disk**: neither sign nor take in anything, serve, and go on when there is room (`full.rs`).
//! - **Upon a start**: begin at the newest good snapshot ([`Base`]), or at the genesis, and replay the rest of the log.
//! - **Upon a checkpoint that is durable**: sign its hash in the next vertex. When `f + 1` others signed another one,
//!   say so ([`Output::Diverged`]) and do nothing any more.
//!
//! Why that is safe: an own vertex, and everything that it vouches for, is durable before it is sent, and the log on
//! disk is in the order of acceptance. So a restart replays the log and stands where it stood; it cannot forget what it
//! signed, nor ack what it no longer has. What was signed last stands in the guard as well, so that it is not signed
//! anew where the log lost its end.

mod base;
mod batches;
mod bulk;
mod by_table;
mod catch_up;
mod chain;
mod checkpoints;
mod config;
pub mod evidence;
mod fetch;
mod full;
mod gap;
pub mod home;
pub mod ingress;
mod io;
pub mod jobs;
mod leg;
mod observe;
mod offers;
mod record;
mod recover;
mod serve;
mod shared;
pub mod snapshots;
mod spacing;
mod spread;
mod start;
mod table;
mod verify;
mod votes;

#[cfg(test)]
mod tests;

pub use base::{Base, BaseError, Refused, Snapshots, TABLE_BYTES_MAX};
pub use config::{NodeConfig, Setup};
pub use io::{Holdings, Input, OpenError, Output, Progress};
pub use observe::Forged;
pub use serve::{Archive, LogArchive, LogNames, Wanted};
pub use shared::Shared;

use crate::consensus::{Checkpoints, Consensus, Divergence, Pace, epoch_seed};
use crate::ledger::Ledger;
use crate::store::{Append, Guard, GuardState, RecordKind};
use crate::types::{
    Ack, BatchId, BatchRef, BlockHash, Genesis, Height, Round, Seat, SeatSet, Sequence, Time, VertexId,
    VertexRef,
};
use crate::wire::client::BlockNotice;
use crate::wire::{SignedVertex, block_hash, block_height};
use batches::Batches;
use bytes::Bytes;
use catch_up::CatchUp;
use chain::{Built, Chain};
use checkpoints::Signing;
use evidence::Court;
use fetch::{Dice, Fetcher};
use home::Homes;
use jobs::Done;
use recover::Passing;
use snapshots::Keeping;
use start::Start;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use verify::Lateness;

/// What a record on its way to disk stands for.
#[derive(Debug)]
enum OnDisk {
    OwnVertex(Arc<SignedVertex>),
    Batch(BatchId),
    Block(Built),
    /// The block of a checkpoint at which the node began anew, with the round of its leader.
    Base {
        leader: Round,
        notice: BlockNotice,
    },
}

/// One validator's machine.
pub struct Node {
    genesis: Arc<Genesis>,
    shared: Arc<Shared>,
    draw_seed: [u8; 32],
    consensus: Consensus,
    pace: Pace,
    batches: Batches,
    lateness: Lateness,
    chain: Chain,
    checkpoints: Checkpoints,
    signing: Signing,
    court: Court,
    catch_up: CatchUp,
    /// Once the others are known to hold another chain, nothing goes in or out any more.
    diverged: Option<Divergence>,
    now: Time,
    dice: Dice,
    connected: SeatSet,
    /// Peers without a seat that are served.
    guests: SeatSet,
    /// What an observer found, after which it follows the chain no further.
    forged: Option<Forged>,
    want_vertices: Fetcher<VertexRef>,
    want_batches: Fetcher<BatchRef>,
    /// Vertices whose signature is being checked; bounded by what the driver lets in at once. The id does not cover
    /// the signature: a copy with a broken one must not keep out the good one.
    checking: BTreeSet<(VertexId, [u8; 64])>,
    /// Batches whose form is being checked, and who sent them: the id covers neither signature nor columns, so that
    /// one peer's broken copy must not keep out another's good one.
    checking_batches: BTreeSet<(Seat, BatchId)>,
    /// The number of the next own batch, and those sealed and not settled.
    next_sequence: Sequence,
    outstanding: BTreeMap<Sequence, BatchId>,
    sealing: bool,
    homes: Homes,
    /// Since when rows wait to be sealed.
    rows_since: Option<Time>,
    /// An own vertex is on its way to disk.
    voting: bool,
    /// Acks of own vertices that are not output yet.
    own_acks: BTreeMap<Round, Vec<Ack>>,
    /// When something new to settle was last seen, or something settled.
    stirred: Time,
    /// When the last new round was seen, and what it was.
    progressed: (Round, Time),
    relayed: BTreeMap<(Seat, Seat), Time>,
    /// When a peer's frontier was answered last.
    pushed: BTreeMap<Seat, Time>,
    next_sweep: Time,
    asked_frontier: Time,
    /// The disk has no room.
    full: bool,
    /// Whether it may sign yet.
    start: Start,
    keeping: Keeping,
    /// What of the log lies before the node's base.
    passing: Passing,
    /// What the guard says with the next own vertex or batch, at the least.
    guard: Guard,
    next_record: u64,
    on_disk: BTreeMap<u64, OnDisk>,
    outputs: VecDeque<Output>,
}

impl Node {
    /// Opens the machine on what its store recovered, oldest record first, and on what its guard says; and the parts that
    /// its jobs share.
    ///
    /// # Errors
    /// [`OpenError`] if the records contradict each other.
    pub fn open(
        setup: Setup,
        recovered: impl Iterator<Item = (RecordKind, Bytes)>,
        guard: GuardState,
        now: Time,
    ) -> Result<(Node, Arc<Shared>), OpenError> {
        let shared = Arc::new(Shared::new(&setup));
        let node = Node::new(&setup, shared.clone(), now);
        Ok((node.recovered(recovered, guard)?, shared))
    }

    /// The same on the newest snapshot that is good, and on what the log holds after it; also newer snapshots that are
    /// not. Records before the base are passed over, but for what is still of use. The log is looked through twice.
    ///
    /// # Errors
    /// As [`Node::open`]; and if the log does not begin at the genesis and no snapshot is good.
    pub fn open_newest(
        setup: Setup,
        snapshots: Snapshots<'_>,
        recovered: impl Iterator<Item = (RecordKind, Bytes)> + Clone,
        guard: GuardState,
        now: Time,
    ) -> Result<(Node, Arc<Shared>, Vec<Refused>), OpenError> {
        let removed = snapshots.removed;
        let found = base::find(&setup.genesis, setup.seat, snapshots, recovered.clone())?;
        let opened = match found.ready {
            Some(ready) => {
                let (mut node, shared) = Node::open_ready(&setup, ready, recovered, guard, now)?;
                if removed {
                    // Where no block is missing, the batches that they settled may be.
                    node.keeping.lacks_up_to(node.passing.height);
                }
                (node, shared)
            }
            None => Node::open(setup, recovered, guard, now)?,
        };
        Ok((opened.0, opened.1, found.refused))
    }

    /// Whether the newest snapshot that is good and the records after it carry a node: its height. They are replayed to
    /// know that; what a guard and peers would add is not needed.
    pub fn begins_at(
        setup: &Setup,
        snapshots: Snapshots<'_>,
        recovered: impl Iterator<Item = (RecordKind, Bytes)> + Clone,
        now: Time,
    ) -> Option<Height> {
        let found = base::find(&setup.genesis, setup.seat, snapshots, recovered.clone()).ok()?;
        let ready = found.ready?;
        let height = ready.block.height;
        Node::open_ready(setup, ready, recovered, GuardState::Missing, now).ok().map(|_| height)
    }

    /// The same on a base from elsewhere, and on a log that may be empty, or hold anything from before the base on.
    ///
    /// # Errors
    /// As [`Node::open`]; and if the base contradicts itself or the genesis.
    pub fn open_on(
        setup: Setup,
        base: Base,
        recovered: impl Iterator<Item = (RecordKind, Bytes)>,
        guard: GuardState,
        now: Time,
    ) -> Result<(Node, Arc<Shared>), OpenError> {
        let height = block_height(&base.block).unwrap_or_default().0;
        let ready = base.ready(&setup.genesis, setup.seat);
        let ready = ready.map_err(|reason| OpenError::Base { height, reason })?;
        Node::open_ready(&setup, ready, recovered, guard, now)
    }

    fn open_ready(
        setup: &Setup,
        ready: base::Ready,
        recovered: impl Iterator<Item = (RecordKind, Bytes)>,
        guard: GuardState,
        now: Time,
    ) -> Result<(Node, Arc<Shared>), OpenError> {
        let base::Ready { block, base, consensus } = ready;
        let shared = Arc::new(Shared::with(setup, Ledger::new(base.table)));
        let mut node = Node::new(setup, shared.clone(), now);
        node.begin_at(&block, block_hash(&base.block), base.record, consensus);
        Ok((node.recovered(recovered, guard)?, shared))
    }

    fn recovered(
        mut self,
        recovered: impl Iterator<Item = (RecordKind, Bytes)>,
        guard: GuardState,
    ) -> Result<Node, OpenError> {
        for (kind, bytes) in recovered {
            self.recover(kind, bytes)?;
        }
        self.take_guard(guard)?;
        self.resume();
        Ok(self)
    }

    fn new(setup: &Setup, shared: Arc<Shared>, now: Time) -> Node {
        let (rules, committee) = (shared.rules, &shared.committee);
        let genesis_hash = BlockHash(shared.chain.0);
        let delay = rules.delay();
        let mut consensus = Consensus::new(&setup.genesis, setup.seat.taken());
        consensus.keep(setup.config.vertices_kept);
        Node {
            genesis: setup.genesis.clone(),
            draw_seed: epoch_seed(&shared.chain, committee.epoch),
            consensus,
            pace: Pace::new(setup.seat, committee.size(), &rules),
            batches: Batches::new(setup.config.batches_kept),
            lateness: Lateness::new(committee.size(), committee.faulty_max()),
            chain: Chain::new(committee, genesis_hash, rules.checkpoint_blocks, shared.ledger.len()),
            checkpoints: Checkpoints::new(committee, rules.checkpoint_blocks, setup.seat),
            signing: Signing::new(now),
            court: Court::default(),
            catch_up: CatchUp::new(now),
            diverged: None,
            now,
            dice: Dice(setup.seed),
            connected: SeatSet::default(),
            guests: SeatSet::default(),
            forged: None,
            want_vertices: Fetcher::new(delay),
            want_batches: Fetcher::new(delay * 2),
            checking: BTreeSet::new(),
            checking_batches: BTreeSet::new(),
            next_sequence: Sequence(1),
            outstanding: BTreeMap::new(),
            sealing: false,
            homes: Homes::default(),
            rows_since: None,
            voting: false,
            own_acks: BTreeMap::new(),
            stirred: now,
            progressed: (Round(0), now),
            relayed: BTreeMap::new(),
            pushed: BTreeMap::new(),
            next_sweep: now,
            asked_frontier: now,
            full: false,
            start: Start::new(committee, setup.seat, now),
            keeping: Keeping::new(&setup.config),
            passing: Passing::default(),
            guard: Guard { epoch: committee.epoch, ..Guard::default() },
            next_record: 1,
            on_disk: BTreeMap::new(),
            outputs: VecDeque::new(),
            shared,
        }
    }

    /// Takes in something that happened. `now` never runs backwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        if self.is_over() {
            return;
        }
        match input {
            Input::Connected(seat) => self.on_connected(seat),
            Input::Disconnected(seat) => self.on_disconnected(seat),
            Input::GuestCame(guest) => self.on_guest(guest),
            Input::GuestLeft(guest) => self.on_guest_left(guest),
            Input::DiskFull(full) => self.on_disk_full(full),
            Input::Received { from, message } if self.full => self.on_message_when_full(from, message),
            Input::Received { from, message } => self.on_message(from, message),
            Input::Done(done) if self.full => self.on_done_when_full(done),
            Input::Done(done) => self.on_done(done),
            Input::Persisted { number, view } => self.on_persisted(number, view),
            Input::Snapshotted { height, written } => self.on_snapshotted(height, written),
            Input::Pruned => self.on_pruned(),
            Input::Rows | Input::Tick => {}
        }
        self.write_certificates();
        match self.diverged {
            Some(_) => self.report_divergence(),
            None if self.full => {}
            None => {
                self.advance();
                self.report_forged();
            }
        }
    }

    /// Whether nothing goes in or out any more.
    fn is_over(&self) -> bool {
        self.diverged.is_some() || self.forged.is_some()
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Vertex { from, vertex, good } => self.on_vertex_checked(from, vertex, good),
            Done::Batch { from, batch, result } => self.on_batch_checked(from, batch, result),
            Done::Verified { batch, bad_row } => self.on_batch_verified(batch, bad_row),
            Done::Certificate { from, certificate, good } => {
                self.on_certificate_checked(from, certificate, good)
            }
            Done::Piece { from, height, piece, result } => {
                self.on_piece_checked(from, height, piece, result);
            }
            Done::TableTaken { height, result } => self.on_table_taken(height, result),
            Done::Evidence { charge, verdict } => self.on_charge_checked(charge, verdict),
            Done::TakenOver(taken) => self.on_taken_over(&taken),
            Done::Sealed(batch) => self.on_sealed(batch),
            Done::Executed(executed) => self.on_executed(&executed),
        }
    }

    /// The next thing to do, `None` if there is nothing until the next input or the deadline.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn deadline(&mut self) -> Option<Time> {
        if self.is_over() || self.full {
            return None;
        }
        let times = [Some(self.next_sweep), self.vote_due(), self.seal_due(), self.hand_on_due()];
        times.into_iter().flatten().min()
    }

    /// The last block durable here.
    pub fn tip(&self) -> (Height, BlockHash) {
        self.chain.durable
    }

    /// The seat that leads a round, as far as this node can tell.
    pub fn leader(&self, round: Round) -> Seat {
        self.consensus.dag().leader(round)
    }

    /// Where the node stands.
    pub fn progress(&self) -> Progress {
        let dag = self.consensus.dag();
        Progress {
            round: self.pace.next().back(1).0,
            highest: dag.highest().0,
            emitted: self.chain.last_round.0,
            ordered: self.chain.ordered_height().0,
            executed: self.chain.executed_height().0,
            durable: self.chain.durable.0.0,
            certified: self.checkpoints.certified().0,
            outstanding: self.outstanding.len(),
            waiting_blocks: self.chain.waiting(),
            waiting_vertices: dag.waiting(),
            peers: self.connected.count(),
            catching_up: self.catch_up.is_behind(),
            table_pieces: self.catch_up.pieces(),
            disk_full: self.full,
            rows_passed_over: self.homes.passed_over,
            rows_let_go: self.homes.let_go,
        }
    }

    /// What the machine holds in memory.
    pub fn holdings(&self) -> Holdings {
        let batches = self.batches.counts();
        let (waiting_of_author, waiting_on_demand) = self.consensus.dag().waiting_of_one();
        Holdings {
            waiting_vertices: self.consensus.dag().waiting(),
            waiting_of_author,
            waiting_on_demand,
            wanted_vertices: self.want_vertices.len(),
            wanted_batches: self.want_batches.len(),
            checking: self.checking.len() + self.checking_batches.len(),
            handed_rows: self.handed_rows(),
            unsettled_batches: self.batches.unsettled().count(),
            batches: batches.held,
            named_batches: batches.named,
            executed_batches: batches.executed,
            outstanding: self.outstanding.len(),
            waiting_blocks: self.chain.waiting(),
            unwritten: self.on_disk.len(),
            to_adopt: self.catch_up.blocks(),
            table_pieces: self.catch_up.pieces().0,
            charges: self.court.waiting(),
        }
    }

    /// What follows from everything known: whoever calls need not remember what its input might have changed.
    fn advance(&mut self) {
        self.sweep();
        self.go_on_starting();
        self.go_on_catching_up();
        self.shared.tell_executed(self.chain.executed_height());
        self.shared.tell_sealing(self.can_seal());
        self.hand_on_if_due();
        self.seal_if_due();
        self.vote_if_due();
        self.execute_ready();
    }

    fn persist(&mut self, kind: RecordKind, bytes: Bytes, meaning: Option<OnDisk>) {
        let number = self.next_record;
        self.next_record += 1;
        self.keeping.logged(kind, &bytes);
        if let Some(meaning) = meaning {
            self.on_disk.insert(number, meaning);
        }
        let record = Append { number, kind, bytes, guard: None };
        if let Some(Output::Persist(records)) = self.outputs.back_mut() {
            records.push(record);
        } else {
            self.outputs.push_back(Output::Persist(vec![record]));
        }
    }

    /// Persists what the own key signed: the guard tells of it before anybody else hears of it.
    fn persist_own(&mut self, kind: RecordKind, bytes: Bytes, meaning: Option<OnDisk>) {
        self.persist(kind, bytes, meaning);
        let guard = self.guard;
        if let Some(Output::Persist(records)) = self.outputs.back_mut()
            && let Some(record) = records.last_mut()
        {
            record.guard = Some(guard);
        }
    }

    fn on_persisted(&mut self, number: u64, view: Bytes) {
        match self.on_disk.remove(&number) {
            Some(OnDisk::OwnVertex(vertex)) => self.on_own_vertex_durable(vertex),
            Some(OnDisk::Batch(id)) => self.on_batch_durable(&id, view),
            Some(OnDisk::Block(built)) => self.on_block_durable(built),
            Some(OnDisk::Base { leader, notice }) => self.on_base_durable(leader, notice),
            None => {}
        }
    }

    /// Whoever misbehaved is named, and not asked any more by the run that catches up.
    fn misbehaved(&mut self, peer: Seat, reason: &'static str) {
        if peer != self.shared.seat {
            self.ban(peer);
            self.outputs.push_back(Output::Misbehaved { peer, reason });
        }
    }

    fn send(&mut self, to: Seat, message: crate::wire::Message) {
        self.outputs.push_back(Output::Send { to, message });
    }
}
