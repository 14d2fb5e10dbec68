//! A node's turn: inputs in, outputs out, each with its modelled time.

use super::check::Violation;
use super::disk::Finished;
use super::lies::Letter;
use super::net::{Flight, Parcel, Trouble};
use super::plan::What;
use super::queue::{Event, Nanos, SECOND};
use super::random::{below, draw};
use super::report::Conviction;
use super::work::{self, Work};
use super::world::World;
use crate::node::{Input, Node, Output, Shared, ingress};
use crate::store::Append;
use crate::types::Seat;
use crate::wire::{ADDRESS_BYTES, Evidence, Frame, Message, WireError};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The purpose of draws about when a crash hits a sync.
const IN_SYNC: u64 = 31;
/// The kind of a frame with a piece of an account table.
const PIECE: u8 = 17;
/// Kinds of events in the trace.
const MESSAGE: u8 = 1;
const TURN: u8 = 2;
const DONE: u8 = 3;
const DISK: u8 = 4;
const TOLD: u8 = 5;

/// What a turn begins with.
struct Turn {
    inputs: VecDeque<Input>,
    /// What reading them costs.
    cost: Nanos,
    /// What a liar's layer answers by itself.
    answers: Vec<Letter>,
    /// Who sent what does not decode.
    malformed: BTreeSet<u16>,
}

impl World {
    /// A message's first byte reaches its receiver.
    pub(super) fn reach(&mut self, flight: Flight) {
        let (from, to) = (usize::from(flight.from), usize::from(flight.to));
        let trouble = self.trouble(flight.from, flight.to);
        let left = self.places[from].had_sent(flight.lives.0, flight.departed);
        let alive = self.places[to].machine.is_some() && self.places[to].life == flight.lives.1;
        if !left || !alive || trouble.cut {
            self.network.lost += 1;
            return self.network.consumed(&flight);
        }
        let Some(ready) = self.network.arrive(&flight, self.now) else { return };
        let seat = flight.to;
        let place = &mut self.places[to];
        place.inbox_bytes += flight.parcel.bytes();
        place.inbox.push_back((ready, flight));
        if !place.disk.is_behind() {
            let at = ready.max(place.cpu.loop_free_at());
            self.plan_turn_at(seat, at);
        }
    }

    /// A node's loop takes everything that waits, does what it says, and is done when the modelled time is over.
    pub(super) fn turn(&mut self, seat: u16) {
        let Some((mut node, shared)) = self.places[usize::from(seat)].machine.take() else { return };
        let Turn { inputs, mut cost, answers, malformed } = self.collect(seat, &mut node);
        let mut later = Vec::new();
        if !inputs.is_empty() {
            cost += self.feed(seat, &mut node, &shared, inputs, &mut later);
        }
        let place = &mut self.places[usize::from(seat)];
        place.note(node.progress());
        place.machine = Some((node, shared));
        let end = place.cpu.turn(self.now, cost);
        self.trace.note(self.now, TURN, seat, &(later.len() as u32).to_le_bytes());
        for output in later {
            self.perform(seat, output, end);
        }
        answers.into_iter().for_each(|letter| self.post(seat, letter, end));
        for peer in malformed {
            // Who sends what does not decode is cut off, as on sockets.
            self.places[usize::from(seat)].tally.cut_off += 1;
            self.break_pair(seat, peer);
            self.plan_dial(seat, peer);
        }
        self.plan_turn(seat);
    }

    /// The inputs of a turn, and what reading them costs.
    fn collect(&mut self, seat: u16, node: &mut Node) -> Turn {
        let now = self.now;
        let place = &mut self.places[usize::from(seat)];
        let inputs = std::mem::take(&mut place.inputs);
        let mut turn = Turn { inputs, cost: 0, answers: Vec::new(), malformed: BTreeSet::new() };
        let mut read = Vec::new();
        while let Some((ready, _)) = place.inbox.front()
            && *ready <= now
            && !place.disk.is_behind()
        {
            let Some((_, flight)) = place.inbox.pop_front() else { break };
            place.inbox_bytes -= flight.parcel.bytes();
            place.tally.messages += 1;
            place.tally.pieces += u64::from(flight.parcel.kind == PIECE);
            turn.cost += self.plan.config.calibration.message(flight.parcel.bytes());
            self.network.consumed(&flight);
            let Parcel { kind, payload, digest, decoded } = &*flight.parcel;
            self.trace.note(now, MESSAGE, seat, &[&flight.from.to_le_bytes()[..], digest].concat());
            let message = match decoded {
                Some(message) => Ok(message.clone()),
                None => Message::decode(Frame { kind: *kind, payload: payload.clone() }),
            };
            read.push((flight.from, message));
        }
        for (from, message) in read {
            match message {
                Ok(message) => self.receive(seat, from, message, &mut turn),
                Err(error) => self.malformed(from, &error, &mut turn),
            }
        }
        let place = &mut self.places[usize::from(seat)];
        if node.deadline().is_some_and(|deadline| deadline <= place.clock(now)) {
            turn.inputs.push_back(Input::Tick);
        }
        turn
    }

    /// A message that decodes; of a liar the layer hears it first.
    fn receive(&mut self, seat: u16, from: u16, message: Message, turn: &mut Turn) {
        let from = Seat(self.places[usize::from(from)].seat);
        let heard = self.liars.get_mut(&seat).map(|liar| liar.hear(from, &message)).unwrap_or_default();
        if !heard.kept_back {
            turn.inputs.push_back(Input::Received { from, message });
        }
        turn.inputs.extend(heard.besides.into_iter().map(|message| Input::Received { from, message }));
        turn.answers.extend(heard.answers);
    }

    fn malformed(&mut self, from: u16, error: &WireError, turn: &mut Turn) {
        if self.places[usize::from(from)].lies {
            turn.malformed.insert(from);
        } else {
            let words = format!("node {from} sent what does not decode: {error}");
            self.broken(Violation { checker: "wire", words });
        }
    }

    /// Feeds a machine until it has nothing more to say; short jobs are run in between, as the loop does. Returns the
    /// cost.
    fn feed(
        &mut self,
        seat: u16,
        node: &mut Node,
        shared: &Arc<Shared>,
        mut inputs: VecDeque<Input>,
        later: &mut Vec<Output>,
    ) -> Nanos {
        let clock = self.places[usize::from(seat)].clock(self.now);
        let calibration = self.plan.config.calibration;
        let mut cost = 0;
        while let Some(input) = inputs.pop_front() {
            cost += input_cost(&input, &calibration);
            node.handle(clock, input);
            if !inputs.is_empty() {
                continue;
            }
            while let Some(output) = node.poll() {
                match output {
                    Output::Job(job) if job.urgent() => {
                        cost += work::job_cost(&job, &calibration);
                        let answer = self.liars.get(&seat).and_then(|liar| liar.answer(&job));
                        let done = answer.unwrap_or_else(|| self.verdicts.run(job, shared));
                        inputs.push_back(Input::Done(done));
                    }
                    output => {
                        cost += output_cost(&output, self.plan.config.nodes, &calibration);
                        later.push(output);
                    }
                }
            }
        }
        cost
    }

    /// Does what a machine said, at `at`.
    fn perform(&mut self, seat: u16, output: Output, at: Nanos) {
        match output {
            Output::Send { to, message } if self.places[usize::from(seat)].lies => {
                self.say(seat, &[to], &message, false, at);
            }
            Output::Broadcast(message) if self.places[usize::from(seat)].lies => {
                let own = Seat(self.places[usize::from(seat)].seat);
                let others: Vec<Seat> = self.genesis.committee().iter().filter(|to| *to != own).collect();
                self.say(seat, &others, &message, true, at);
            }
            Output::Send { to, message } => {
                let parcel = self.pack(seat, &message);
                self.faces(to.0).for_each(|to| self.transmit(seat, to, &parcel, at));
            }
            Output::Broadcast(message) => {
                let parcel = self.pack(seat, &message);
                for to in (0..self.places.len() as u16).filter(|&to| to != seat) {
                    self.transmit(seat, to, &parcel, at);
                }
            }
            Output::Job(job) => {
                let cost = work::job_cost(&job, &self.plan.config.calibration);
                self.plan_work(seat, Work::Job(job), cost, at);
            }
            Output::Execute(job) => {
                let Some((_, shared)) = &self.places[usize::from(seat)].machine else { return };
                let cost = work::execute_cost(&job, shared, &self.plan.config.calibration);
                self.plan_work(seat, Work::Execute(job), cost, at);
            }
            Output::Persist(records) => self.write(seat, records),
            Output::Snapshot { height, table, kept } => self.write_snapshot(seat, height, table, kept),
            Output::Prune { first, last } => {
                self.places[usize::from(seat)].disk.prune((first, last));
                self.report(seat, Input::Pruned);
            }
            Output::Serve { to, wanted } => {
                // A read costs what a sync of as many bytes does.
                let place = &mut self.places[usize::from(seat)];
                let factor = place.disk_factor;
                let mut archive = place.disk.archive();
                let messages = wanted.answer(&mut archive);
                let read = self.plan.config.calibration.sync(archive.bytes) * factor;
                for message in messages {
                    if self.places[usize::from(seat)].lies {
                        self.say(seat, &[to], &message, false, at + read);
                        continue;
                    }
                    let parcel = self.pack(seat, &message);
                    self.faces(to.0).for_each(|to| self.transmit(seat, to, &parcel, at + read));
                }
            }
            Output::Durable(notice) => {
                self.trace.note(self.now, TOLD, seat, &notice.hash.0);
                self.told(seat, notice.height.0);
            }
            Output::Misbehaved { peer, reason } => {
                self.places[usize::from(seat)].tally.accusations += 1;
                if !self.places[peer.index()].lies && !self.places[usize::from(seat)].lies {
                    let words = format!("node {seat} accuses node {peer} of {reason}, but both are honest");
                    self.broken(Violation { checker: "honesty", words });
                }
            }
            Output::Convicted(evidence) => self.convicted(seat, &evidence),
            Output::Forged(_) => {}
            Output::Diverged(_) if self.places[usize::from(seat)].lies => {}
            Output::Diverged(divergence) => {
                let words = format!("node {seat} stops: {divergence}");
                self.broken(Violation { checker: "node", words });
            }
        }
    }

    fn convicted(&mut self, seat: u16, evidence: &Evidence) {
        if self.places[usize::from(seat)].lies {
            return;
        }
        if let Err(violation) = self.checks.convicted(seat, evidence) {
            self.broken(violation);
        }
        let (node, kind) = (evidence.accused().0, evidence.words());
        if self.convictions.iter().all(|conviction| conviction.node != node) {
            let at_s = self.now as f64 / SECOND as f64;
            self.convictions.push(Conviction { node, kind, by: seat, at_s });
        }
    }

    /// What a liar's machine says leaves as its layer has it.
    fn say(&mut self, seat: u16, to: &[Seat], message: &Message, all: bool, at: Nanos) {
        let Some(liar) = self.liars.get_mut(&seat) else { return };
        if let (Message::Vertex(vertex), Some((node, _))) = (message, &self.places[usize::from(seat)].machine)
        {
            liar.leads(node.leader(vertex.vertex.round) == vertex.vertex.author);
        }
        let letters = liar.say(to, message, all);
        if let (Message::Vertex(vertex), true) = (message, all) {
            self.stats.vertex_sent(vertex.vertex.round.0, vertex.vertex.author.0, self.now);
        }
        letters.into_iter().for_each(|letter| self.post(seat, letter, at));
    }

    /// A liar's letter leaves.
    pub(super) fn post(&mut self, seat: u16, letter: Letter, at: Nanos) {
        if letter.after > 0 {
            let life = self.places[usize::from(seat)].life;
            let later = at + letter.after;
            return self.queue.push(later, Event::Late { seat, life, letter: Letter { after: 0, ..letter } });
        }
        let parcel = Parcel::raw(letter.kind, letter.payload);
        self.faces(letter.to.0).for_each(|to| self.transmit(seat, to, &parcel, at));
    }

    pub(super) fn plan_work(&mut self, seat: u16, work: Work, cost: Nanos, at: Nanos) {
        let place = &mut self.places[usize::from(seat)];
        let done = match work {
            Work::Execute(_) => place.cpu.execute(at, cost),
            Work::Job(_) | Work::Admit(_) => place.cpu.pool(at, cost),
        };
        self.queue.push(done, Event::Done { seat, life: place.life, work: Box::new(work) });
    }

    /// A piece of work is done: now it is run.
    pub(super) fn finish(&mut self, seat: u16, work: Work) {
        let Some((_, shared)) = &self.places[usize::from(seat)].machine else { return };
        let shared = shared.clone();
        let (input, kind) = match work {
            Work::Job(job) => (Input::Done(self.verdicts.run(job, &shared)), 0),
            Work::Execute(job) => (Input::Done(job.run(&shared).into()), 1),
            Work::Admit(submissions) => {
                let admitted = ingress::admit(&shared, &submissions);
                self.stats.admitted += admitted.iter().map(|a| u64::from(a.accepted)).sum::<u64>();
                self.stats.refused += admitted.iter().map(|a| a.refused.len() as u64).sum::<u64>();
                (Input::Rows, 2)
            }
        };
        self.trace.note(self.now, DONE, seat, &[kind]);
        self.report(seat, input);
    }

    /// Encodes a message, for the checkers to see.
    fn pack(&mut self, seat: u16, message: &Message) -> Arc<Parcel> {
        let seen = match message {
            Message::Vertex(vertex) => self.checks.vertex_sent(seat, vertex),
            Message::Batch(batch) => self.checks.batch_sent(seat, batch),
            _ => Ok(()),
        };
        if let Err(violation) = seen {
            self.broken(violation);
        }
        if let Message::Vertex(vertex) = message {
            self.stats.vertex_sent(vertex.vertex.round.0, vertex.vertex.author.0, self.now);
        }
        Parcel::new(message, self.keeps_decoded())
    }

    fn transmit(&mut self, from: u16, to: u16, parcel: &Arc<Parcel>, at: Nanos) {
        let trouble = self.trouble(from, to);
        let lives = (self.places[usize::from(from)].life, self.places[usize::from(to)].life);
        for (reach, flight) in self.network.send((from, to), lives, parcel, at, trouble) {
            self.queue.push(reach, Event::Reach(flight));
        }
    }

    /// What the faults of now do to a message of this way.
    fn trouble(&self, sender: u16, receiver: u16) -> Trouble {
        let mut trouble = Trouble::default();
        for fault in &self.active {
            match &self.plan.faults[*fault].what {
                What::Partition { side, one_way, .. } => {
                    let (out, into) = (side.contains(&sender), side.contains(&receiver));
                    trouble.cut |= out && !into || !one_way && into && !out;
                }
                What::Loss { from, to, per_mille }
                    if from.is_none_or(|from| from == sender) && to.is_none_or(|to| to == receiver) =>
                {
                    trouble.loss_per_mille = trouble.loss_per_mille.max((*per_mille).into());
                }
                What::Duplicate { per_mille } => {
                    trouble.duplicate_per_mille = trouble.duplicate_per_mille.max((*per_mille).into());
                }
                What::Reorder { extra_us } => {
                    trouble.reorder_ns = trouble.reorder_ns.max(extra_us * 1000);
                }
                _ => {}
            }
        }
        trouble
    }

    /// Records go to the disk.
    fn write(&mut self, seat: u16, records: Vec<Append>) {
        for record in &records {
            match self.checks.written(seat, record.kind, &record.bytes) {
                Ok(None) => {}
                Ok(Some(new)) => self.stats.block(new, &mut self.clients),
                Err(violation) => self.broken(violation),
            }
        }
        self.places[usize::from(seat)].disk.append(records);
        self.start_sync(seat);
    }

    /// Writes what waits, while there is room. What was begun comes to its end.
    pub(super) fn start_sync(&mut self, seat: u16) {
        let place = &mut self.places[usize::from(seat)];
        if place.disk_full {
            return;
        }
        let factor = place.disk_factor;
        let Some((time, group)) = place.disk.start(&self.plan.config.calibration, factor) else { return };
        let life = place.life;
        self.queue.push(self.now + time, Event::Synced { seat, life, group });
        if let Some(fault) = place.crash_at_sync.take() {
            let drawn = draw(self.plan.config.seed, &[IN_SYNC, fault as u64]);
            let time = time + place.disk.guard_time(&self.plan.config.calibration, factor);
            self.queue.push(self.now + below(drawn, time), Event::Crash { seat, life, fault });
        }
    }

    pub(super) fn synced(&mut self, seat: u16, group: u64) {
        let place = &mut self.places[usize::from(seat)];
        let guard_time = place.disk.guard_time(&self.plan.config.calibration, place.disk_factor);
        let records = match place.disk.finish(group, guard_time) {
            Finished::Nothing => return,
            Finished::Guard(time) => {
                let life = place.life;
                return self.queue.push(self.now + time, Event::Synced { seat, life, group });
            }
            Finished::Records(records) => records,
        };
        self.trace.note(self.now, DISK, seat, &(records.len() as u32).to_le_bytes());
        for record in records {
            if let Err(violation) = self.checks.durable(seat, record.kind, &record.bytes) {
                self.broken(violation);
            }
            self.report(seat, Input::Persisted { number: record.number, view: record.bytes });
        }
        self.start_sync(seat);
    }

    pub(super) fn clients_send(&mut self) {
        let running = self.running();
        for (seat, submissions) in self.clients.tick(self.now, &running) {
            if self.places[usize::from(seat)].disk_full {
                // Refused, as on sockets.
                self.stats.refused += submissions.iter().map(|s| s.rows().len() as u64).sum::<u64>();
                continue;
            }
            if self.liars.get(&seat).is_some_and(|liar| liar.swallows_rows()) {
                continue;
            }
            let rows = submissions.iter().map(|submission| submission.rows().len()).sum();
            let cost = work::rows_cost(rows, &self.plan.config.calibration);
            self.plan_work(seat, Work::Admit(submissions), cost, self.now);
        }
        self.queue.push(self.now + super::clients::TICK, Event::Clients);
    }
}

/// What taking an input in costs the loop, beside the message that brought it.
fn input_cost(input: &Input, calibration: &super::calibration::Calibration) -> Nanos {
    match input {
        Input::Done(crate::node::jobs::Done::Vertex { vertex, .. }) => {
            let references = vertex.vertex.strong.len() + vertex.vertex.weak.len() + vertex.vertex.acks.len();
            calibration.vertex_ns + calibration.reference_ns * references as u64
        }
        Input::Persisted { .. } => calibration.record_ns,
        _ => 0,
    }
}

/// What an output costs the loop: messages to be framed and encrypted, records to be handed over, and the signature
/// under an own vertex, which the machine makes itself.
fn output_cost(output: &Output, nodes: u16, calibration: &super::calibration::Calibration) -> Nanos {
    match output {
        Output::Send { message, .. } => calibration.message(message_bytes(message)),
        Output::Broadcast(message) => {
            let signing = if matches!(message, Message::Vertex(_)) { calibration.sign_ns } else { 0 };
            u64::from(nodes - 1) * calibration.message(message_bytes(message)) + signing
        }
        Output::Persist(records) => records.len() as u64 * calibration.record_ns,
        _ => 0,
    }
}

fn message_bytes(message: &Message) -> usize {
    match message {
        Message::Vertex(vertex) => vertex.bytes.len(),
        Message::Batch(batch) => batch.bytes().len(),
        Message::WantVertices(refs) => refs.len() * 42,
        Message::WantBatches(refs) => refs.len() * 42,
        Message::Frontier { rounds, .. } => 12 + rounds.len() * 8,
        Message::WantCertificate(_) => 8,
        Message::Certificate(certificate) => 49 + certificate.votes.len() * 66,
        Message::WantFrontier => 0,
        Message::WantBlocks { .. } => 12,
        Message::WantRecord(_) => 8,
        Message::WantSnapshots => 0,
        Message::WantEvidence(known) => 4 + known.len() * 2,
        Message::Snapshots { heights, .. } => 12 + heights.len() * 8,
        Message::WantPiece { .. } => 12,
        Message::WantAddresses => 0,
        Message::Addresses(records) => 4 + records.len() * ADDRESS_BYTES,
        Message::Piece(piece) => 16 + piece.proof().len(),
        Message::Rows(rows) => rows.encoded_bytes(),
        Message::Evidence(_) | Message::Blocks { .. } | Message::Record { .. } => message.payload().len(),
    }
}
