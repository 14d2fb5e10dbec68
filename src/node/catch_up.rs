//! Catching up by blocks: what a node does that was away for longer than its peers keep vertices.
//!
//! - **Upon an order that does not move**: ask somebody for the newest certificate, again and again. Is one more than a checkpoint interval
//!   above what is ordered here, and the order still does not move, or hardly, begin; also if one is less far above, and the order has
//!   not moved for some seconds: what it lacks may be gone as vertices where intervals are long.
//! - **Upon beginning**: go from one certified height to the next, some hundred blocks a time. Fetch the certificate, then
//!   the blocks up to it from several peers at once, and prove them from above ([`super::leg`]). Then hand them to the
//!   chain as if agreement had ordered them; fetch their batches, which are known by their ids, execute, and hold every
//!   block that comes out against the one that was certified.
//! - **Upon the newest certified block**: fetch the settlement record that it names, before it is executed. Once the
//!   block is executed, agreement goes on from the record, and the rest comes as vertices.
//! - **Upon what is needed having been removed at the peers**: begin anew at a checkpoint whose account table they have
//!   ([`super::by_table`]).
//! - **While blocks are adopted**: order nothing, take no vertices, sign nothing. Serve what is here.
//! - **Upon what was not asked for**: nothing. Upon a block that does not link: score its sender, and ask it no more.
//!
//! Why nobody can make a node do this, or end up elsewhere: nothing is adopted that a certificate does not prove, which
//! takes a quorum; and whether the order moves is seen here, not told by others. A single liar can neither make up a
//! certificate nor hold back the vertices that honest peers still have. Who lets a node creep forward by old
//! vertices to keep it busy is not believed for long: the gap has to shrink by half within some seconds. What a liar can do
//! is to give a true certificate when the node would have caught up by vertices a little later: that costs nothing but the
//! way.
//!
//! Why it ends: executing takes a fraction of the time that making blocks takes. If the chain moves on meanwhile, the
//! goal moves with it; if the vertices above the last record are gone by then, it begins again.
//!
//! On disk: the certificate, then batches and blocks, then the settlement record before the last block. A restart
//! accepts a block that no vertices order if a certificate above it stands before it, and goes on from the record where
//! it meets its block. In between it knows that agreement is behind the chain, and catches up at once.
//!
//! Memory: at most three legs of blocks, each of 512 or of one checkpoint interval, whichever is more; a block takes
//! 42 bytes for each batch that it settles and some 300 beside. So many batches are under way as [`ABSENT_MAX`] says.

use super::by_table::ByTable;
use super::gap::Gap;
use super::jobs::Job;
use super::leg::Leg;
use super::record::Record;
use super::{Built, Node, OpenError, Output};
use crate::consensus::Divergence;
use crate::store::RecordKind;
use crate::types::params::IDLE_BEAT;
use crate::types::{Certificate, Height, Root, RootKind, Seat, SeatSet, Time};
use crate::wire::{HashedBlock, Message, decode_record, encode_certificate, record_root};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Blocks of one leg, unless checkpoints lie further apart.
const LEG_BLOCKS: u64 = 512;
/// A certificate that ends a leg may lie so many times further than asked for, where a peer lacks the nearer ones.
const LEG_STRETCH: u64 = 2;
/// Settled batches whose bytes are under way at most: at most 64 MiB, mostly far less.
const ABSENT_MAX: usize = 128;
/// So many message delays without a move of the order, beside the beat of an idle chain, make a node ask for
/// certificates; and so many lie between two questions.
const ASK_AFTER_DELAYS: u32 = 4;
/// So many more without a move, though others are far ahead, make it begin.
const BEGIN_AFTER_DELAYS: u32 = 6;
/// Within so many message delays the gap has to shrink by half.
const HALVE_WITHIN_DELAYS: u32 = 60;
/// How long a peer has to answer, in message delays: at first, and doubled so many times at most.
const ANSWER_DELAYS: u32 = 4;
const DOUBLED_MAX: u32 = 5;

/// What lies between where the order stood and where it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skipped {
    /// Nothing: it is known of every batch whether it settled.
    Nothing,
    /// Blocks that are not here: any batch may have settled in them.
    Blocks,
}

/// Catching up in its course.
#[derive(Debug)]
pub(super) struct Run {
    /// The newest certificate that is to be reached.
    pub(super) goal: Arc<Certificate>,
    /// What is being fetched.
    leg: Option<Leg>,
    /// When the certificate for the next leg is asked for again.
    ask_leg: Time,
    /// Proved and not handed to the chain, ascending.
    pub(super) proved: VecDeque<HashedBlock>,
    /// The highest block proved.
    pub(super) top: Height,
    pub(super) record: Option<Record>,
    /// The block after whose execution agreement goes on, and the record.
    last: Option<(Height, Bytes)>,
    /// Who lied is not asked any more.
    pub(super) banned: SeatSet,
    /// Beginning anew at a checkpoint, if what is needed is gone.
    pub(super) table: ByTable,
}

impl Run {
    /// Blocks that are here and not handed to the chain.
    pub(super) fn blocks(&self) -> usize {
        self.proved.len() + self.leg.as_ref().map_or(0, Leg::len)
    }

    /// Goes on from another height.
    pub(super) fn go_to(&mut self, top: Height) {
        (self.top, self.leg, self.record, self.last) = (top, None, None, None);
        (self.ask_leg, self.proved) = (Time(0), VecDeque::new());
    }
}

/// Catching up, and whether it is needed.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The height up to which blocks are ordered, and since when.
    moved: (Height, Time),
    /// Between the order here and what others have certified.
    gap: Option<Gap>,
    ask_newest: Time,
    /// Who was asked for a certificate, and of which height at the least.
    asked: BTreeMap<Seat, Height>,
    pub(super) run: Option<Run>,
    /// Blocks were adopted that agreement did not order: it stands still until it goes on from a record.
    behind: bool,
    /// In a replay: the settlement record that was met last, of a block that is still to come.
    recovered: Option<Bytes>,
}

impl CatchUp {
    pub(super) fn new(now: Time) -> CatchUp {
        let (gap, asked, run, recovered) = Default::default();
        CatchUp { moved: (Height(0), now), gap, ask_newest: now, asked, run, behind: false, recovered }
    }

    /// Whether agreement is behind the chain, so that it neither orders nor signs.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Blocks that are here and not handed to the chain.
    pub(super) fn blocks(&self) -> usize {
        self.run.as_ref().map_or(0, Run::blocks)
    }

    /// Whether nothing may be executed, since the ledger is about to go on from another table.
    pub(super) fn holds_execution(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.table.holds_execution())
    }

    /// How many pieces of an account table are here while one is fetched, and of how many.
    pub(super) fn pieces(&self) -> (usize, usize) {
        self.run.as_ref().map_or((0, 0), |run| run.table.pieces())
    }
}

/// How long a peer has to answer when somebody was too late so many times.
pub(super) fn answer_wait(delay: Duration, late: u32) -> Duration {
    delay * (ANSWER_DELAYS << late.min(DOUBLED_MAX))
}

impl Node {
    /// The regular look: whether the order moves, and whether others are far ahead.
    pub(super) fn look_for_gap(&mut self) {
        let (ordered, delay, now) = (self.chain.ordered_height(), self.shared.rules.delay(), self.now);
        let state = &mut self.catch_up;
        if ordered != state.moved.0 {
            state.moved = (ordered, now);
        }
        let still = now >= state.moved.1 + delay * ASK_AFTER_DELAYS + IDLE_BEAT;
        let wanted = still || state.behind || state.gap.is_some() || state.run.is_some();
        if wanted && now >= state.ask_newest {
            state.ask_newest = now + delay * ASK_AFTER_DELAYS;
            self.ask_newest_certificate();
        }
        self.judge_gap();
        self.look_for_table();
        self.ask_pieces();
    }

    fn ask_newest_certificate(&mut self) {
        let peers = self.sources();
        if let Some(&seat) = peers.get(self.dice.below(peers.len())) {
            let least = self.chain.ordered_height().next();
            self.catch_up.asked.insert(seat, least);
            self.send(seat, Message::WantCertificate(Height(0)));
        }
    }

    /// Who misbehaved is no source of this run any more.
    pub(super) fn ban(&mut self, peer: Seat) {
        if let Some(run) = &mut self.catch_up.run {
            run.banned.insert(peer);
        }
    }

    /// Connected peers that have not misbehaved.
    pub(super) fn sources(&mut self) -> Vec<Seat> {
        let connected: Vec<Seat> = self.connected.iter().collect();
        let Some(run) = &mut self.catch_up.run else { return connected };
        let honest: Vec<Seat> =
            connected.iter().filter(|seat| !run.banned.contains(**seat)).copied().collect();
        if honest.is_empty() {
            // Nobody else is there.
            run.banned = SeatSet::default();
            return connected;
        }
        honest
    }

    /// A certificate from a peer: if it was asked for here, it is used, and checked before if it is new.
    pub(super) fn on_asked_certificate(&mut self, from: Seat, certificate: Arc<Certificate>) {
        let height = certificate.height;
        let new = height > self.chain.ordered_height() && self.checkpoints.is_checkpoint(height);
        if !new || self.catch_up.asked.get(&from).is_none_or(|least| *least > height) {
            return;
        }
        self.catch_up.asked.remove(&from);
        match self.checkpoints.certificate(height).cloned() {
            Some(known) => self.note_certificate(&known),
            None => self.outputs.push_back(Output::Job(Job::CheckCertificate { from, certificate })),
        }
    }

    /// A certificate was checked and holds: it may be what the next leg waits for.
    pub(super) fn note_certificate(&mut self, certificate: &Arc<Certificate>) {
        let most = self.leg_blocks() * LEG_STRETCH;
        let Some(run) = &mut self.catch_up.run else { return };
        let (height, top) = (certificate.height, run.top);
        if run.leg.is_none() && height > top && height.0 - top.0 <= most && height <= run.goal.height {
            run.leg = Some(Leg::new(top, certificate.clone()));
        }
    }

    fn leg_blocks(&self) -> u64 {
        LEG_BLOCKS.max(self.shared.rules.checkpoint_blocks)
    }

    /// Whether others are so far ahead that blocks are the way, and begins if they are.
    fn judge_gap(&mut self) {
        let ordered = self.chain.ordered_height();
        let newest =
            self.checkpoints.certificate(Height(0)).filter(|newest| newest.height > ordered).cloned();
        let Some(newest) = newest.filter(|_| self.catch_up.run.is_none()) else {
            self.catch_up.gap = None;
            return;
        };
        let (blocks, delay) = (newest.height.0 - ordered.0, self.shared.rules.delay());
        let state = &mut self.catch_up;
        if state.behind {
            return self.begin(newest, SeatSet::default());
        }
        // So few mostly come as vertices still.
        let interval = self.shared.rules.checkpoint_blocks;
        let few = blocks <= interval;
        state.gap = state.gap.filter(|gap| (gap.blocks <= interval) == few);
        let creeps = Gap::creeps(&mut state.gap, blocks, self.now, delay * HALVE_WITHIN_DELAYS);
        let since = state.gap.map_or(self.now, |gap| gap.since).max(state.moved.1);
        let patience = if few { HALVE_WITHIN_DELAYS } else { BEGIN_AFTER_DELAYS };
        let stands = self.now >= since + delay * patience;
        if stands || (creeps && !few) {
            self.begin(newest, SeatSet::default());
        }
    }

    /// Begins a run from where the chain is here; some are known to have lied.
    pub(super) fn begin(&mut self, goal: Arc<Certificate>, banned: SeatSet) {
        let top = self.chain.ordered_height();
        self.catch_up.gap = None;
        self.catch_up.run = Some(Run {
            goal,
            leg: None,
            ask_leg: self.now,
            proved: VecDeque::new(),
            top,
            record: None,
            last: None,
            banned,
            table: ByTable::default(),
        });
        self.go_on_catching_up();
    }

    /// Goes on as far as what is here carries.
    pub(super) fn go_on_catching_up(&mut self) {
        if self.catch_up.run.is_none() {
            return;
        }
        let ordered = self.chain.ordered_height();
        if !self.catch_up.behind && self.catch_up.run.as_ref().is_some_and(|run| ordered >= run.goal.height) {
            // The vertices came after all.
            self.catch_up.run = None;
            return;
        }
        self.fetch_blocks();
        self.go_on_anew();
        self.fetch_record();
        self.adopt();
    }

    /// Begins the next leg when there is room for it, and asks for what the present one lacks.
    fn fetch_blocks(&mut self) {
        let leg_blocks = self.leg_blocks();
        let interval = self.shared.rules.checkpoint_blocks;
        let newest = self.checkpoints.certificate(Height(0)).cloned();
        let Some(run) = &mut self.catch_up.run else { return };
        if let Some((certificate, proved)) =
            run.leg.as_mut().and_then(|leg| Some((leg.certificate().clone(), leg.take_proved()?)))
        {
            run.top = certificate.height;
            run.proved.extend(proved);
            run.leg = None;
            self.keep_certificate(&certificate);
        }
        let Some(run) = &mut self.catch_up.run else { return };
        // The goal moves on, unless it is as good as reached: then the rest comes as vertices.
        let further = newest.filter(|newest| newest.height.0 > run.goal.height.0 + 2 * interval);
        if let Some(further) = further {
            run.goal = further;
        }
        let room = (run.proved.len() as u64) < leg_blocks;
        if run.leg.is_none() && run.top < run.goal.height && room {
            if run.goal.height.0 - run.top.0 <= leg_blocks {
                run.leg = Some(Leg::new(run.top, run.goal.clone()));
            } else {
                self.ask_leg();
            }
        }
        let (peers, delay) = (self.sources(), self.shared.rules.delay());
        let (now, dice) = (self.now, &mut self.dice);
        let leg = self.catch_up.run.as_mut().and_then(|run| run.leg.as_mut());
        let asks =
            leg.map(|leg| leg.ask(now, &peers, |late| answer_wait(delay, late), dice)).unwrap_or_default();
        for (seat, first, count) in asks {
            self.send(seat, Message::WantBlocks { first, count });
        }
    }

    /// Asks somebody for the certificate that ends the next leg.
    fn ask_leg(&mut self) {
        let (interval, leg_blocks) = (self.shared.rules.checkpoint_blocks, self.leg_blocks());
        let wait = self.shared.rules.delay() * ANSWER_DELAYS;
        let peers = self.sources();
        let Some(run) = &mut self.catch_up.run else { return };
        let height = Height((run.top.0 + leg_blocks) / interval * interval);
        if let Some(known) = self.checkpoints.certificate(height) {
            run.leg = Some(Leg::new(run.top, known.clone()));
            return;
        }
        if self.now < run.ask_leg {
            return;
        }
        run.ask_leg = self.now + wait;
        if let Some(&seat) = peers.get(self.dice.below(peers.len())) {
            self.catch_up.asked.insert(seat, height);
            self.send(seat, Message::WantCertificate(height));
        }
    }

    /// A certificate that blocks are adopted by stands before them on disk.
    fn keep_certificate(&mut self, certificate: &Arc<Certificate>) {
        if self.checkpoints.certificate(certificate.height).is_none() {
            self.persist(RecordKind::Certificate, encode_certificate(certificate).into(), None);
        }
    }

    /// Hands proved blocks to the chain, as many as may wait for their batches; the last one with its record.
    fn adopt(&mut self) {
        let mut wanted = false;
        while let Some(run) = self.catch_up.run.as_mut().filter(|run| !run.table.is_on()) {
            let Some(next) = run.proved.front() else { break };
            let height = next.block.height;
            if height <= self.chain.ordered_height() {
                // Vertices ordered it meanwhile.
                run.proved.pop_front();
                continue;
            }
            if self.chain.full() || self.batches.absent() >= ABSENT_MAX {
                break;
            }
            let is_last = height == run.goal.height;
            let record = run.record.as_ref().filter(|record| record.height == height);
            let record = record.and_then(|record| record.bytes().cloned()).filter(|_| is_last);
            if is_last && record.is_none() {
                break;
            }
            let Some(next) = run.proved.pop_front() else { break };
            if let Some(record) = &record {
                (run.last, run.record) = (Some((height, record.clone())), None);
            }
            self.stop_ordering();
            wanted |= self.adopt_block(&next, record);
        }
        if wanted {
            self.ask();
        }
    }

    /// From the first adopted block on agreement stands still.
    pub(super) fn stop_ordering(&mut self) {
        if !std::mem::replace(&mut self.catch_up.behind, true) {
            self.want_vertices.retain(|_| false);
        }
    }

    /// A block that a certificate proves takes its place in the order; whether batches of it are not here.
    fn adopt_block(&mut self, proved: &HashedBlock, record: Option<Bytes>) -> bool {
        let settlement = settlement_root(proved).map(|root| (root, record));
        self.chain.adopt(proved, settlement);
        let mut wanted = false;
        for batch in &proved.block.settled {
            self.stirred = self.now;
            if !self.batches.settle(batch) {
                wanted = true;
                self.want_adopted(*batch);
            }
            if batch.author == self.shared.seat {
                self.outstanding.remove(&batch.sequence);
            }
        }
        wanted
    }

    pub(super) fn on_blocks(&mut self, from: Seat, first: Height, blocks: &[HashedBlock]) {
        let (epoch, most) = (self.shared.committee.epoch, self.settled_max());
        if blocks.iter().any(|given| given.block.epoch != epoch || given.block.settled.len() > most) {
            return self.misbehaved(from, "a block that this committee cannot make");
        }
        let Some(run) = &mut self.catch_up.run else { return };
        let Some(leg) = &mut run.leg else { return };
        let liars = leg.given(from, first, blocks);
        liars.iter().for_each(|liar| _ = run.banned.insert(*liar));
        for liar in liars {
            self.misbehaved(liar, "blocks that do not link to a certified one");
        }
    }

    /// The most batches that one block can settle here: all open slots of every author.
    fn settled_max(&self) -> usize {
        self.shared.committee.size() * 3 * self.shared.rules.window as usize
    }

    /// An adopted block is executed; it came out otherwise than a quorum certified.
    pub(super) fn adopted_wrongly(&mut self, built: &Built) {
        let Some(other) = built.certified.filter(|certified| *certified != built.hash) else { return };
        let certificate = self.catch_up.run.as_ref().map(|run| run.goal.clone());
        let certificate = certificate.or_else(|| self.checkpoints.certificate(Height(0)).cloned());
        let seats = certificate.iter().flat_map(|known| known.votes.iter().map(|vote| vote.0)).collect();
        self.diverged = Some(Divergence { height: built.height, own: built.hash, other, seats });
    }

    /// A block is executed: if it is the last one to be adopted, agreement goes on from its record.
    pub(super) fn finish_catching_up(&mut self, height: Height) {
        let Some(run) = &self.catch_up.run else { return };
        let Some((_, record)) = run.last.as_ref().filter(|(last, _)| *last == height) else { return };
        if run.top > height {
            // The goal moved on meanwhile.
            return;
        }
        let record = record.clone();
        if self.go_on_from(&record, Skipped::Nothing).is_ok() {
            self.catch_up.run = None;
            self.asked_frontier = self.now;
            self.show_frontier(true);
        }
    }

    /// Agreement goes on from a record that the chain names.
    pub(super) fn go_on_from(&mut self, bytes: &[u8], skipped: Skipped) -> Result<(), OpenError> {
        let refuse = |reason: String| OpenError::Record { kind: "settlement", reason };
        let record = decode_record(bytes).map_err(|error| refuse(error.to_string()))?;
        let me = self.shared.seat.taken();
        self.consensus.go_on_from(&self.genesis, &record, me).map_err(|error| refuse(error.to_string()))?;
        self.catch_up.behind = false;
        self.catch_up.moved = (self.chain.ordered_height(), self.now);
        self.progressed = (self.consensus.dag().highest(), self.now);
        self.repeat_below_floor();
        if skipped == Skipped::Blocks {
            // First of all: what settled there looks like what died, and would be sealed once more.
            self.leave_settled();
        }
        self.forget_dead();
        let settlement = self.consensus.settlement();
        self.outstanding.retain(|sequence, _| settlement.open(self.shared.seat, *sequence));
        Ok(())
    }

    /// In a replay: a settlement record before a block that no vertices order.
    pub(super) fn recover_record(&mut self, bytes: Bytes) {
        self.catch_up.recovered = Some(bytes);
    }

    /// In a replay: a block that no vertices order takes its place if a certificate above it stands before it.
    pub(super) fn recover_adopted(&mut self, bytes: &Bytes) -> Result<(), OpenError> {
        let refuse = |reason: String| OpenError::Record { kind: "block", reason };
        let block = HashedBlock::decode(bytes.clone()).map_err(|error| refuse(error.to_string()))?;
        let height = block.block.height;
        if height != self.chain.ordered_height().next() || height > self.checkpoints.certified() {
            return Ok(());
        }
        let record = self.catch_up.recovered.take();
        let record = record.filter(|bytes| settlement_root(&block) == Some(record_root(bytes)));
        self.stop_ordering();
        self.adopt_block(&block, record);
        Ok(())
    }

    /// In a replay: an adopted block was executed.
    pub(super) fn recovered_adopted(&mut self, built: &Built) -> Result<(), OpenError> {
        match &built.settlement {
            Some(record) if built.certified.is_some() => self.go_on_from(record, Skipped::Nothing),
            _ => Ok(()),
        }
    }
}

pub(super) fn settlement_root(block: &HashedBlock) -> Option<Root> {
    block.block.root(RootKind::Settlement)
}
