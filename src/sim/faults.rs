//! What faults do: nodes stop and start, connections break and are made, clocks jump.

use super::check::Violation;
use super::disk::{Disk, Tail};
use super::lies::Lie;
use super::plan::What;
use super::queue::{Event, MS, Nanos, US};
use super::random::{below, draw};
use super::world::{NODE_SEED, World};
use crate::node::{Input, Node, OpenError, Setup, Shared, Snapshots};
use crate::store::{GuardState, RecordKind};
use crate::types::{Seat, Time};
use std::sync::Arc;

/// A peer notices this much later than the latency that the other side is gone.
const NOTICE: Nanos = 10 * MS;
/// Who lost a connection dials again within this time.
const REDIAL: Nanos = 500 * MS;
/// The purposes of draws.
const TORN: u64 = 41;
const DIAL: u64 = 42;
/// Kinds of events in the trace.
const START: u8 = 11;
const STOP: u8 = 12;
const LINK: u8 = 13;
const FAULT: u8 = 14;

/// What a start makes of a disk.
fn open(disk: &Disk, setup: Setup, guard: GuardState, clock: Time) -> Result<(Node, Arc<Shared>), OpenError> {
    let shelf = &disk.shelf;
    let read = |height| shelf.read(height);
    let snapshots = Snapshots { heights: shelf.heights(), removed: shelf.pruned() > 0, read: &read };
    let opened = Node::open_newest(setup, snapshots, disk.log().iter().cloned(), guard, clock);
    opened.map(|(node, shared, _)| (node, shared))
}

impl World {
    /// A fault begins.
    pub(super) fn begin_fault(&mut self, number: usize) {
        self.trace.note(self.now, FAULT, number as u16, &[0]);
        self.active.push(number);
        let end = self.ends_at(number);
        match self.plan.faults[number].what.clone() {
            What::Crash { node, while_syncing, .. } => {
                let place = &mut self.places[usize::from(node)];
                if while_syncing {
                    place.crash_at_sync = Some(number);
                } else {
                    place.down_until = place.down_until.max(end);
                    self.crash_by(node, number);
                }
            }
            What::Amnesia { node, loses, .. } => self.forget(node, loses, number),
            What::Partition { side, reconnect: true, .. } => self.break_between(&side),
            What::Reset { node, peer } => self.break_pair(node, peer),
            What::FullDisk { node } => {
                self.places[usize::from(node)].disk_full = true;
                self.report(node, Input::DiskFull(true));
            }
            What::Liar { node, lie } => {
                for place in self.faces(node) {
                    if let Some(liar) = self.liars.get_mut(&place) {
                        liar.begin(number, &lie);
                    }
                }
                if matches!(lie, Lie::Twins { .. }) {
                    self.begin_twin(number, node);
                }
            }
            _ => {}
        }
        self.apply_levels();
    }

    /// A fault ends: what it broke is whole again.
    pub(super) fn end_fault(&mut self, number: usize) {
        self.trace.note(self.now, FAULT, number as u16, &[1]);
        self.active.retain(|active| *active != number);
        match self.plan.faults[number].what.clone() {
            What::Crash { node, .. } => {
                let place = &mut self.places[usize::from(node)];
                place.crash_at_sync = place.crash_at_sync.filter(|fault| *fault != number);
                self.start(node);
            }
            What::Amnesia { node, .. } | What::Late { node } => self.start(node),
            What::FullDisk { node } => {
                let still = self.another_full(node);
                self.places[usize::from(node)].disk_full = still;
                if !still {
                    self.report(node, Input::DiskFull(false));
                    self.start_sync(node);
                }
            }
            What::Liar { node, lie } => {
                for place in self.faces(node) {
                    if let Some(liar) = self.liars.get_mut(&place) {
                        liar.end(number);
                    }
                }
                if matches!(lie, Lie::Twins { .. }) {
                    self.end_twin(number, node);
                }
            }
            What::Partition { side, reconnect: true, .. } => {
                let nodes = self.places.len() as u16;
                for (a, b) in (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))) {
                    if side.contains(&a) != side.contains(&b) {
                        self.plan_dial(a, b);
                    }
                }
            }
            What::Reset { node, peer } => self.plan_dial(node, peer),
            _ => {}
        }
        self.apply_levels();
    }

    pub(super) fn ends_at(&self, number: usize) -> Nanos {
        let fault = &self.plan.faults[number];
        (fault.at_us + fault.for_us) * US
    }

    fn another_full(&self, seat: u16) -> bool {
        let full = |fault: &usize| self.plan.faults[*fault].what == What::FullDisk { node: seat };
        self.active.iter().any(full)
    }

    /// Factors and skews follow the faults that are active.
    fn apply_levels(&mut self) {
        for place in &mut self.places {
            (place.cpu.factor, place.disk_factor, place.skew_us) = (1, 1, 0);
        }
        for number in self.active.clone() {
            match self.plan.faults[number].what {
                What::Slow { node, factor } => {
                    let cpu = &mut self.places[usize::from(node)].cpu;
                    cpu.factor = cpu.factor.max(factor.into());
                }
                What::SlowDisk { node, factor } => {
                    let place = &mut self.places[usize::from(node)];
                    place.disk_factor = place.disk_factor.max(factor.into());
                }
                What::Skew { node, offset_us } => self.places[usize::from(node)].skew_us += offset_us,
                _ => {}
            }
        }
        (0..self.plan.config.nodes).for_each(|seat| self.plan_turn(seat));
    }

    /// A crash of the plan happens now.
    pub(super) fn crash_by(&mut self, seat: u16, number: usize) {
        let end = self.ends_at(number);
        let place = &mut self.places[usize::from(seat)];
        place.down_until = place.down_until.max(end);
        if let What::Crash { tail, .. } = self.plan.faults[number].what {
            self.crash(seat, tail);
        }
    }

    /// A node stops at once.
    pub(super) fn crash(&mut self, seat: u16, tail: Tail) {
        let now = self.now;
        let place = &mut self.places[usize::from(seat)];
        if place.machine.take().is_none() {
            return;
        }
        self.trace.note(now, STOP, seat, &[]);
        place.tally.crashes += 1;
        place.ends.push(now);
        place.life += 1;
        place.turn_at = None;
        place.inputs.clear();
        place.inbox_bytes = 0;
        place.cpu.stop(now);
        place.knows.fill(false);
        place.crash_at_sync = None;
        let inbox = std::mem::take(&mut place.inbox);
        let torn = draw(self.plan.config.seed, &[TORN, seat.into(), place.life.into()]);
        let survived = place.disk.crash(tail, torn);
        inbox.iter().for_each(|(_, flight)| self.network.consumed(flight));
        match survived {
            Ok(records) => {
                for record in records {
                    if let Err(violation) = self.checks.durable(seat, record.kind, &record.bytes) {
                        self.broken(violation);
                    }
                }
            }
            Err(words) => self.broken(Violation { checker: "store", words }),
        }
        for peer in (0..self.places.len() as u16).filter(|&peer| peer != seat) {
            if self.network.is_up(seat, peer) {
                self.network.disconnect(seat, peer, false);
                let at = now + self.network.latency(seat, peer) + NOTICE;
                self.queue.push(at, Event::Lost { seat: peer, peer: seat });
            }
        }
    }

    /// A node starts on what its disk holds, unless something still keeps it down.
    pub(super) fn start(&mut self, seat: u16) {
        let place = &mut self.places[usize::from(seat)];
        if place.silent || place.machine.is_some() || place.down_until > self.now {
            return;
        }
        let guard = match place.disk.open_guard() {
            Ok(guard) => guard,
            Err(words) => return self.broken(Violation { checker: "store", words }),
        };
        let place = &self.places[usize::from(seat)];
        let setup = Setup {
            genesis: self.genesis.clone(),
            seat: Seat(place.seat),
            key: self.keys[usize::from(place.seat)].clone(),
            config: self.node_config(),
            seed: draw(self.plan.config.seed, &[NODE_SEED, seat.into(), place.life.into()]),
        };
        let log = place.disk.log();
        let (records, cost) = (log.len() as u64, self.replay_cost(log));
        self.trace.note(self.now, START, seat, &records.to_le_bytes());
        let mut opened = open(&place.disk, setup.clone(), guard, place.clock(self.now));
        if matches!(opened, Err(OpenError::NoBase { .. })) && place.forgot {
            // Of a damaged log too little is left: as a driver does, it is set aside, and the node begins anew.
            self.abandon_log(seat);
            let place = &self.places[usize::from(seat)];
            opened = open(&place.disk, setup, guard, place.clock(self.now));
        }
        let place = &mut self.places[usize::from(seat)];
        let apart = std::mem::take(&mut place.apart);
        match opened {
            Ok(mut machine) => {
                machine.0.give_back(apart.into_iter());
                if let GuardState::Intact(found) = guard {
                    place.disk.raise_guard(&found, &machine.0.guard());
                }
                let height = machine.0.tip().0.0;
                let known = machine.0.evidence().map(|evidence| evidence.accused());
                self.checks.starts(seat, known);
                let place = &mut self.places[usize::from(seat)];
                place.tally.replayed += records;
                place.machine = Some(machine);
                place.cpu.turn(self.now, cost);
                place.inputs.push_back(if place.disk_full { Input::DiskFull(true) } else { Input::Tick });
                if height < place.told && !place.forgot && !place.lies {
                    let told = place.told;
                    let words =
                        format!("node {seat} told that block {told} is durable and starts at {height}");
                    self.broken(Violation { checker: "durable", words });
                }
                self.told(seat, height);
            }
            Err(_) if place.lies => {}
            Err(error) => {
                let words = format!("node {seat} does not start again: {error}");
                self.broken(Violation { checker: "restart", words });
            }
        }
        self.plan_turn(seat);
        if self.now > 0 || seat >= self.plan.config.nodes {
            (0..self.places.len() as u16)
                .filter(|&peer| peer != seat)
                .for_each(|peer| self.plan_dial(seat, peer));
        }
    }

    /// All of a node's log is set aside.
    fn abandon_log(&mut self, seat: u16) {
        let place = &mut self.places[usize::from(seat)];
        let mut apart = place.disk.abandon();
        apart.append(&mut place.apart);
        place.apart = apart;
        place.tally.abandoned += 1;
        self.checks.disk_lost(seat);
    }

    /// What replaying a log costs: as its vertices and rows cost when they came.
    fn replay_cost(&self, log: &[(RecordKind, bytes::Bytes)]) -> Nanos {
        let calibration = &self.plan.config.calibration;
        let cost = |(kind, bytes): &(RecordKind, bytes::Bytes)| match kind {
            RecordKind::Batch => {
                calibration.hash(bytes.len()) + calibration.execute_row_ns * bytes.len() as u64 / 96
            }
            RecordKind::Vertex => calibration.vertex_ns + calibration.reference_ns * bytes.len() as u64 / 40,
            RecordKind::Block | RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => {
                calibration.record_ns
            }
        };
        log.iter().map(cost).sum()
    }

    pub(super) fn plan_dial(&mut self, a: u16, b: u16) {
        let drawn = draw(self.plan.config.seed, &[DIAL, a.into(), b.into(), self.now]);
        let at = self.now + self.network.latency(a, b) * 3 + below(drawn, REDIAL);
        self.queue.push(at, Event::Dial { a, b });
    }

    /// Two nodes try to connect: it works if both run and nothing keeps them apart.
    pub(super) fn dial(&mut self, a: u16, b: u16) {
        let both = [a, b].iter().all(|seat| self.places[usize::from(*seat)].machine.is_some());
        if !both || self.network.is_up(a, b) || self.kept_apart(a, b) {
            return;
        }
        self.network.connect(a, b);
        self.trace.note(self.now, LINK, a, &b.to_le_bytes());
        for (seat, peer) in [(a, b), (b, a)] {
            let knew = std::mem::replace(&mut self.places[usize::from(seat)].knows[usize::from(peer)], true);
            let peer = Seat(self.places[usize::from(peer)].seat);
            if knew {
                self.report(seat, Input::Disconnected(peer));
            }
            self.report(seat, Input::Connected(peer));
        }
    }

    /// Whether a fault that broke the connection of two nodes still lasts.
    fn kept_apart(&self, a: u16, b: u16) -> bool {
        !self.meet(a, b)
            || self.active.iter().any(|fault| match &self.plan.faults[*fault].what {
                What::Partition { side, reconnect: true, .. } => side.contains(&a) != side.contains(&b),
                What::Reset { node, peer } => (*node, *peer) == (a, b) || (*node, *peer) == (b, a),
                _ => false,
            })
    }

    fn break_between(&mut self, side: &[u16]) {
        let nodes = self.places.len() as u16;
        for (a, b) in (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))) {
            if side.contains(&a) != side.contains(&b) {
                self.break_pair(a, b);
            }
        }
    }

    /// A connection breaks with all that is on its way; both sides notice at once.
    pub(super) fn break_pair(&mut self, a: u16, b: u16) {
        if self.network.is_up(a, b) {
            self.network.disconnect(a, b, true);
            self.lost(a, b);
            self.lost(b, a);
        }
    }

    /// A node notices that a peer is gone, unless it is connected to it again.
    pub(super) fn lost(&mut self, seat: u16, peer: u16) {
        let knows = &mut self.places[usize::from(seat)].knows[usize::from(peer)];
        if *knows && !self.network.is_up(seat, peer) {
            *knows = false;
            self.trace.note(self.now, LINK, seat, &[0xff, peer as u8]);
            let of = self.places[usize::from(peer)].seat;
            let twin = self.faces(of).any(|face| self.places[usize::from(seat)].knows[usize::from(face)]);
            if !twin {
                self.report(seat, Input::Disconnected(Seat(of)));
            }
        }
    }

    /// A node's chain is durable up to a height.
    pub(super) fn told(&mut self, seat: u16, height: u64) {
        let place = &mut self.places[usize::from(seat)];
        // What a liar has is not counted upon.
        for height in (place.told + 1..=height).filter(|_| !place.lies) {
            self.stats.durable(height, self.now);
        }
        place.told = place.told.max(height);
    }
}
