//! Spreading what peers lack and asking for what is missing here.

use super::{Node, Wanted};
use crate::types::{Round, Seat, VertexRef};
use crate::wire::{Message, REFS_MAX, SignedVertex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most vertices pushed in answer to one frontier; the peer shows its next one when it has worked through them.
const PUSHED_MAX: usize = 512;

/// How often within a message delay what a peer lacks is pushed to it: more than an honest one asks for.
const PUSHES_PER_DELAY: u32 = 4;

/// The most absent parents noted again at a time in the name of each seat; below its share of what is wanted.
const ABSENT_EACH: usize = 64;

impl Node {
    pub(super) fn on_connected(&mut self, seat: Seat) {
        if seat == self.shared.seat || !self.observes() && !self.shared.committee.has(seat) {
            return;
        }
        self.connected.insert(seat);
        self.send_frontier(seat);
        self.show_evidence(seat);
        let me = self.shared.seat;
        let mine: Vec<_> = self
            .batches
            .unsettled()
            .filter(|held| held.durable && held.batch.header.author == me && !held.acked_by.contains(seat))
            .filter(|held| self.may_show(&held.batch))
            .map(|held| held.batch.clone())
            .collect();
        mine.into_iter().for_each(|batch| self.send(seat, Message::Batch(batch)));
    }

    pub(super) fn on_disconnected(&mut self, peer: Seat) {
        self.connected.remove(peer);
        if !self.shared.committee.has(peer) {
            self.court.forget_from(peer);
        }
    }

    pub(super) fn on_message(&mut self, from: Seat, message: Message) {
        if self.guests.contains(from) && !Node::is_request(&message) {
            return;
        }
        match message {
            Message::Vertex(vertex) => self.on_vertex(from, vertex),
            Message::Batch(batch) => self.on_batch(from, batch),
            Message::WantVertices(wanted) => self.serve_vertices(from, &wanted),
            Message::WantBatches(wanted) => self.serve_batches(from, &wanted),
            Message::Frontier { began, rounds } => self.on_frontier(from, began, &rounds),
            Message::WantCertificate(height) => self.serve_certificate(from, height),
            Message::Certificate(certificate) => self.on_certificate(from, certificate),
            Message::WantFrontier => self.send_frontier(from),
            Message::Evidence(evidence) => self.on_evidence(from, evidence),
            Message::WantBlocks { first, count } => self.serve(from, Wanted::Blocks { first, count }),
            Message::Blocks { first, blocks } => self.on_blocks(from, first, &blocks),
            Message::WantRecord(height) => self.serve(from, Wanted::Record(height)),
            Message::Record { height, bytes } => self.on_record(from, height, bytes),
            Message::WantSnapshots => self.say_snapshots(from),
            Message::Snapshots { first, heights } => self.on_snapshots(from, first, heights),
            Message::WantPiece { height, piece } => self.serve(from, Wanted::Piece { height, piece }),
            Message::Piece(piece) => self.on_piece(from, piece),
            Message::Rows(rows) => self.on_rows(from, rows),
            Message::WantEvidence(known) => self.on_want_evidence(from, &known),
            // The driver's own.
            Message::WantAddresses | Message::Addresses(_) => {}
        }
    }

    fn serve_vertices(&mut self, to: Seat, wanted: &[VertexRef]) {
        // Each once, however often it is named.
        let wanted: BTreeSet<VertexRef> = wanted.iter().copied().collect();
        let found: Vec<_> = wanted.iter().filter_map(|&v| self.consensus.dag().get(v).cloned()).collect();
        found.into_iter().for_each(|vertex| self.send(to, Message::Vertex(vertex)));
    }

    fn on_frontier(&mut self, from: Seat, began: Round, rounds: &[Round]) {
        if rounds.len() != self.shared.committee.size() {
            return self.misbehaved(from, "a frontier of another committee");
        }
        self.answered(from, began, rounds);
        // So that who shows its frontier again and again takes no more of this node's link than who needs it.
        let pushes = if self.guests.contains(from) { 1 } else { PUSHES_PER_DELAY };
        let pause = self.shared.rules.delay() / pushes;
        if self.pushed.get(&from).is_some_and(|&at| self.now < at + pause) {
            return;
        }
        self.pushed.insert(from, self.now);
        // Its own vertices among them: it sends none that it lacks itself, unless it lost them.
        let lacking = self.consensus.dag().above(rounds, PUSHED_MAX);
        lacking.into_iter().for_each(|vertex| self.send(from, Message::Vertex(vertex)));
    }

    pub(super) fn send_frontier(&mut self, to: Seat) {
        let dag = self.consensus.dag();
        let (began, rounds) = (dag.began(), dag.frontier().to_vec());
        self.send(to, Message::Frontier { began, rounds });
    }

    /// Passes another author's vertex on to peers that seem cut off from that author: whose latest vertex names
    /// none of its author, neither of the round before nor, as a weak parent, one that came late: which is one that the peer
    /// had not seen when it made the vertex before. Not again to the same peer within two message delays.
    pub(super) fn relay(&mut self, vertex: &Arc<SignedVertex>) {
        if self.observes() {
            return;
        }
        let (author, round) = (vertex.vertex.author, vertex.vertex.round);
        let peers: Vec<Seat> = self.connected.iter().filter(|&peer| peer != author).collect();
        for peer in peers {
            let dag = self.consensus.dag();
            let latest = dag.latest(peer);
            if latest.0 < 2 || round < latest {
                continue;
            }
            let cut_off = !dag.names(latest, peer, author);
            let pause = self.shared.rules.delay() * 2;
            let lately = self.relayed.get(&(peer, author)).is_some_and(|&at| self.now < at + pause);
            if cut_off && !lately {
                self.relayed.insert((peer, author), self.now);
                self.send(peer, Message::Vertex(vertex.clone()));
            }
        }
    }

    /// The regular look at everything that waits for others.
    pub(super) fn sweep(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        let delay = self.shared.rules.delay();
        self.next_sweep = self.now + delay / 2;
        self.look_for_gap();
        self.want_absent_parents();
        self.want_absent_batches();
        self.ask();
        self.ask_what_is_known();
        self.push_again();
        self.ask_certificate();
        self.ask_for_evidence();
        self.widen();
        let (dag, last_asked) = (self.consensus.dag(), self.asked_frontier);
        let behind = dag.waiting() > 0 && self.now >= last_asked + delay / 2;
        let stuck = self.now >= self.progressed.1 + delay * 2 && self.now >= last_asked + delay * 2;
        if (stuck || behind) && !self.catch_up.is_behind() {
            self.asked_frontier = self.now;
            self.show_frontier(stuck);
        }
    }

    pub(super) fn show_frontier(&mut self, to_all: bool) {
        let peers: Vec<Seat> = self.connected.iter().collect();
        if to_all {
            peers.into_iter().for_each(|peer| self.send_frontier(peer));
        } else if !peers.is_empty() {
            let peer = peers[self.dice.below(peers.len())];
            self.send_frontier(peer);
        }
    }

    /// Parents whose request was forgotten for lack of space are noted again.
    fn want_absent_parents(&mut self) {
        if self.catch_up.is_behind() {
            return;
        }
        let floor = self.consensus.dag().floor();
        self.want_vertices.retain(|vertex| vertex.round > floor);
        let dag = self.consensus.dag();
        // What would not be taken is not asked for.
        for (charged, parent) in dag.absent(ABSENT_EACH).into_iter().filter(|(_, parent)| dag.wants(*parent))
        {
            self.want_vertices.want(parent, charged, parent.author, self.now);
        }
    }

    pub(super) fn ask(&mut self) {
        let vertices = self.want_vertices.due(self.now, &self.connected, &mut self.dice);
        for (to, wanted) in by_peer(vertices) {
            wanted.chunks(REFS_MAX).for_each(|refs| self.send(to, Message::WantVertices(refs.to_vec())));
        }
        let batches = self.want_batches.due(self.now, &self.connected, &mut self.dice);
        for (to, wanted) in by_peer(batches) {
            wanted.chunks(REFS_MAX).for_each(|refs| self.send(to, Message::WantBatches(refs.to_vec())));
        }
    }
}

fn by_peer<K>(asks: Vec<(Seat, K)>) -> BTreeMap<Seat, Vec<K>> {
    let mut by_peer: BTreeMap<Seat, Vec<K>> = BTreeMap::new();
    for (seat, key) in asks {
        by_peer.entry(seat).or_default().push(key);
    }
    by_peer
}
