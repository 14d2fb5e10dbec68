//! Vertices: taking others', making one's own, and what their order brings.

use super::jobs::{Done, ExecuteJob, Executed, Job};
use super::{Node, OnDisk, Output};
use crate::consensus::{Emitted, Insert, Load};
use crate::store::RecordKind;
use crate::types::params::{RECORD_BYTES_MAX, UNCOMMITTED_BYTES_MAX};
use crate::types::{Ack, Parent, Part, Round, Seat, Time, Verdict, Vertex};
use crate::wire::client::BlockNotice;
use crate::wire::{Evidence, Message, SignedVertex, sign_vertex};
use std::sync::Arc;
use std::time::Duration;

/// How long something unsettled keeps a node from idling after the last news of it: a batch that cannot settle must
/// not keep the chain at full pace for ever.
const STIR_MAX: Duration = Duration::from_secs(10);

impl Node {
    pub(super) fn on_vertex(&mut self, from: Seat, vertex: Arc<SignedVertex>) {
        if let Err(reason) = self.consensus.dag().well_formed(&vertex) {
            return self.misbehaved(from, reason);
        }
        if self.catch_up.is_behind() {
            // Pushed again when agreement has gone on from a record.
            return;
        }
        // What carries the own name and is not here was forgotten, and is taken back as everybody's. A second vertex of a
        // slot is looked at once, whether anybody needs it or not: it proves that its author lies.
        let (dag, reference) = (self.consensus.dag(), vertex.reference());
        let twin = dag.twin_of(reference).is_some() && !self.court.is_convicted(reference.author);
        if !(dag.wants(reference) && dag.would_keep(&vertex) || twin)
            || !self.checking.insert((vertex.id, vertex.signature))
        {
            return;
        }
        self.outputs.push_back(Output::Job(Job::CheckVertex { from, vertex }));
    }

    pub(super) fn on_vertex_checked(&mut self, from: Seat, vertex: Arc<SignedVertex>, good: bool) {
        self.checking.remove(&(vertex.id, vertex.signature));
        if !good {
            return self.misbehaved(from, "a vertex with a bad signature");
        }
        if let Some(known) = self.consensus.dag().twin_of(vertex.reference()) {
            self.found(Evidence::of_vertices(known, &vertex));
        }
        self.want_vertices.got(&vertex.reference());
        if vertex.vertex.author == self.shared.seat {
            self.shown(&vertex);
        }
        if !self.catch_up.is_behind() {
            self.offer(from, vertex);
        }
    }

    /// Hands a checked vertex to agreement.
    pub(super) fn offer(&mut self, from: Seat, vertex: Arc<SignedVertex>) {
        match self.consensus.insert(vertex) {
            Insert::Accepted(accepted) => accepted.iter().for_each(|vertex| self.on_accepted(vertex, false)),
            Insert::Waiting { charged, absent } => {
                absent.into_iter().for_each(|p| _ = self.want_vertices.want(p, charged, from, self.now))
            }
            Insert::Ignored | Insert::Dropped => {}
        }
        self.emit();
    }

    /// A vertex is accepted; whether it is `durable` already.
    fn on_accepted(&mut self, vertex: &Arc<SignedVertex>, durable: bool) {
        let author = vertex.vertex.author;
        self.want_vertices.got(&vertex.reference());
        self.tell_guests(vertex);
        if author == self.shared.seat && !durable {
            self.signed_before(vertex);
            self.persist_own(RecordKind::Vertex, vertex.bytes.clone(), None);
        } else if !durable {
            self.persist(RecordKind::Vertex, vertex.bytes.clone(), None);
            self.relay(vertex);
        }
        for ack in &vertex.vertex.acks {
            self.note_ack(ack, (author, vertex.vertex.round));
        }
        self.count_checkpoint_votes(vertex);
        self.on_accusation(vertex);
        let highest = self.consensus.dag().highest();
        if highest > self.progressed.0 {
            self.progressed = (highest, self.now);
        }
    }

    /// Follows the order as far as it is decided.
    pub(super) fn emit(&mut self) {
        while !self.chain.full() && !self.catch_up.is_behind() {
            let Some(emitted) = self.consensus.next_emitted() else { return };
            self.on_emitted(&emitted);
        }
    }

    pub(super) fn on_emitted(&mut self, emitted: &Emitted) {
        self.settle_order(emitted);
        for vertex in &emitted.accepted {
            self.on_accepted(vertex, false);
        }
    }

    /// What an emitted leader changes, live and in replay alike.
    pub(super) fn settle_order(&mut self, emitted: &Emitted) {
        let settlement = self.take_record();
        self.chain.push(emitted, settlement);
        for batch in &emitted.settled {
            self.stirred = self.now;
            if !self.batches.settle(batch) {
                self.want_settled(*batch);
            }
            if batch.author == self.shared.seat {
                self.outstanding.remove(&batch.sequence);
            }
        }
        let mine = emitted.output.iter().filter(|signed| signed.vertex.author == self.shared.seat);
        for signed in mine {
            self.own_acks.remove(&signed.vertex.round);
        }
        self.repeat_acks_below_floor();
        self.repeat_lost_votes(emitted);
        if !emitted.settled.is_empty() {
            // Windows move only when something settles.
            self.forget_dead();
        }
    }

    /// Acks in own vertices at or below the floor will never be output: they are said again.
    fn repeat_acks_below_floor(&mut self) {
        let live = self.own_acks.split_off(&self.consensus.dag().floor().next());
        for (_, acks) in std::mem::replace(&mut self.own_acks, live) {
            self.batches.repeat(&acks);
        }
    }

    /// Whatever own vertices at or below the floor said is said again.
    pub(super) fn repeat_below_floor(&mut self) {
        self.repeat_acks_below_floor();
        self.repeat_votes_below_floor();
    }

    /// Whether there is something to settle.
    fn load(&self) -> Load {
        let dag = self.consensus.dag();
        let unsettled = self.sealing
            || !self.outstanding.is_empty()
            || self.batches.unsettled().next().is_some()
            || self.consensus.settlement().anything_open();
        let caps = u32::try_from(dag.uncommitted_bytes() / UNCOMMITTED_BYTES_MAX).unwrap_or(u32::MAX);
        Load { busy: unsettled && self.now < self.stirred + STIR_MAX, caps }
    }

    pub(super) fn vote_due(&mut self) -> Option<Time> {
        if self.voting || !self.start.signs() || self.catch_up.is_behind() {
            return None;
        }
        let load = self.load();
        self.pace.due(self.now, self.consensus.dag(), load)
    }

    pub(super) fn vote_if_due(&mut self) {
        if self.vote_due().is_some_and(|due| due <= self.now) {
            self.vote();
        }
    }

    fn vote(&mut self) {
        let round = self.pace.next();
        let (strong, weak) = self.consensus.choose_parents(round);
        let acks = if self.consensus.dag().uncommitted_bytes() > UNCOMMITTED_BYTES_MAX {
            Vec::new()
        } else {
            let settlement = self.consensus.settlement();
            let court = &self.court;
            self.batches.take_acks(|Ack { batch, verdict }| {
                let trusted = *verdict == Verdict::Invalid || !court.is_convicted(batch.author);
                trusted && settlement.open(batch.author, batch.sequence)
            })
        };
        if !acks.is_empty() {
            self.own_acks.insert(round, acks.clone());
        }
        let vertex = Vertex {
            epoch: self.shared.committee.epoch,
            round,
            author: self.shared.seat,
            time: self.now,
            strong: strong.iter().map(|p| Parent { author: p.author, id: p.id }).collect(),
            weak,
            acks,
            parts: self.take_parts(round),
        };
        let signed = Arc::new(sign_vertex(&self.shared.key, &self.shared.chain, vertex));
        self.voting = true;
        self.pace.made(round, self.now);
        self.guard_vertex(&signed);
        self.persist_own(RecordKind::Vertex, signed.bytes.clone(), Some(OnDisk::OwnVertex(signed)));
    }

    /// The optional parts of the own vertex of a round, tags ascending.
    fn take_parts(&mut self, round: Round) -> Vec<Part> {
        let votes = self.take_checkpoint_votes(round);
        let accusation = self.court.take_accusation().map(|a| Part::Accusation(a.encode()));
        votes.into_iter().chain(accusation).collect()
    }

    pub(super) fn on_own_vertex_durable(&mut self, vertex: Arc<SignedVertex>) {
        self.voting = false;
        self.outputs.push_back(Output::Broadcast(Message::Vertex(vertex.clone())));
        // Its parents are accepted, so it is as well, before what waited for it.
        if let Insert::Accepted(accepted) = self.consensus.insert(vertex) {
            for (vertex, place) in accepted.iter().zip(0..) {
                self.on_accepted(vertex, place == 0);
            }
        }
        self.emit();
    }

    /// Hands blocks to the executor whose batches are all here.
    pub(super) fn execute_ready(&mut self) {
        while let Some(next) = self.chain.next() {
            if self.is_weighing() || self.catch_up.holds_execution() {
                return;
            }
            let batches: Option<Vec<_>> =
                next.settled.iter().map(|b| self.batches.get(&b.id).map(|held| held.batch.clone())).collect();
            let Some(batches) = batches else { return };
            // A block that was adopted has none, but for the last one.
            let record = next.settlement.as_ref().and_then(|(_, record)| record.as_ref());
            let has_record = record.is_some_and(|record| record.len() <= RECORD_BYTES_MAX);
            let leader = next.leader.round;
            if self.observes() && !self.has_verified(&batches) {
                return;
            }
            let Some((height, checkpoint)) = self.chain.start() else { return };
            self.weigh((height, checkpoint), leader, &batches);
            let table_bytes_max = self.takes_snapshot(has_record);
            self.outputs.push_back(Output::Execute(ExecuteJob {
                height,
                batches,
                checkpoint,
                table_bytes_max,
            }));
        }
    }

    pub(super) fn on_executed(&mut self, executed: &Executed) {
        let accounts = self.chain.accounts;
        self.keep_table(executed);
        if let Some((built, bytes)) = self.chain.finish(executed) {
            self.adopted_wrongly(&built);
            if self.diverged.is_some() {
                return;
            }
            let (height, leader) = (built.height, built.round);
            if let Some(record) = &built.settlement
                && record.len() <= RECORD_BYTES_MAX
            {
                self.persist(RecordKind::Settlement, record.clone(), None);
            }
            self.persist(RecordKind::Block, bytes.into(), Some(OnDisk::Block(built)));
            self.carry_over(height, leader);
            if self.chain.accounts > accounts {
                self.verify_deferred();
                self.check_early();
            }
            self.finish_catching_up(height);
        }
        self.emit();
    }

    pub(super) fn on_block_durable(&mut self, built: super::Built) {
        for batch in &built.settled {
            self.batches.executed(batch, built.height);
        }
        self.chain.durable = (built.height, built.hash);
        self.note_checkpoint(built.height, built.hash);
        if self.checkpoints.is_checkpoint(built.height) {
            self.snapshot(built.height, built.round);
        }
        self.outputs.push_back(Output::Durable(BlockNotice {
            height: built.height,
            hash: built.hash,
            durable: self.now,
            batches: built.settled.len() as u32,
            rows: built.rows,
            ok: built.ok,
        }));
    }
}

impl From<Executed> for Done {
    fn from(executed: Executed) -> Done {
        Done::Executed(executed)
    }
}
