//! Twins: two copies of a node under one key. The second stands in a place of its own behind those of the seats, with a disk,
//! cores and connections of its own; to its peers it is the same seat. Partitions of the plan name places of seats only: the
//! copies are on the other side.
//!
//! What stands against it: two vertices of one round are evidence; the decision rule bears `f` seats that vote for two
//! leaders, as of an author's twins each counts with the vertex that names it.

use super::Lie;
use crate::sim::disk::Tail;
use crate::sim::plan::{Plan, What};
use crate::sim::queue::{Event, Nanos};
use crate::sim::world::World;

/// The places of a plan's copies: the fault, and the seat that it copies.
pub fn copies(plan: &Plan) -> Vec<(usize, u16)> {
    let twins = plan.faults.iter().enumerate().filter_map(|(number, fault)| match &fault.what {
        What::Liar { node, lie: Lie::Twins { .. } } => Some((number, *node)),
        _ => None,
    });
    twins.collect()
}

impl World {
    /// The place of a fault's copy.
    fn copy_place(&self, number: usize) -> Option<u16> {
        let place = copies(&self.plan).iter().position(|(fault, _)| *fault == number)?;
        Some(self.plan.config.nodes + place as u16)
    }

    /// The second copy of a seat starts on what the first has on disk.
    pub(in crate::sim) fn begin_twin(&mut self, number: usize, node: u16) {
        let Some(copy) = self.copy_place(number) else { return };
        let fork = self.places[usize::from(node)].disk.fork();
        let place = &mut self.places[usize::from(copy)];
        place.disk = fork;
        place.down_until = 0;
        let signed =
            self.places[usize::from(node)].machine.as_ref().map_or(0, |(node, _)| node.progress().round);
        if let Some(liar) = self.liars.get_mut(&copy) {
            liar.is_copy(signed);
        }
        for peer in 0..self.places.len() as u16 {
            if peer != node && !self.meet(node, peer) {
                self.break_pair(node, peer);
            }
        }
        self.start(copy);
        // At once: before the others are further than what the copy knows.
        let peers = (0..copy).chain(copy + 1..self.places.len() as u16);
        peers.for_each(|peer| self.queue.push(self.now, Event::Dial { a: copy, b: peer }));
    }

    /// The second copy stops for good.
    pub(in crate::sim) fn end_twin(&mut self, number: usize, node: u16) {
        let Some(copy) = self.copy_place(number) else { return };
        self.places[usize::from(copy)].down_until = Nanos::MAX;
        self.crash(copy, Tail::Lost);
        (0..self.plan.config.nodes).filter(|&peer| peer != node).for_each(|peer| self.plan_dial(node, peer));
    }

    /// The places of a seat.
    pub(in crate::sim) fn faces(&self, seat: u16) -> impl Iterator<Item = u16> + use<> {
        let copies = (usize::from(self.plan.config.nodes)..self.places.len()).map(|place| place as u16);
        let faces: Vec<u16> = copies.filter(|&place| self.places[usize::from(place)].seat == seat).collect();
        std::iter::once(seat).chain(faces)
    }

    /// Whether two places are ever connected, as twins go: the copies of a seat do not know each other, a peer is connected
    /// to the one that the plan says, and of two seats with twins each copy is connected to its like.
    pub(in crate::sim) fn meet(&self, a: u16, b: u16) -> bool {
        let seat = |place: u16| self.places[usize::from(place)].seat;
        let is_copy = |place: u16| place >= self.plan.config.nodes;
        if seat(a) == seat(b) {
            return false;
        }
        let shows = |peers: &[u16], of: u16, to: u16| peers.is_empty() || peers.contains(&to) == is_copy(of);
        match (self.twin_peers(seat(a)), self.twin_peers(seat(b))) {
            (None, None) => true,
            (Some(peers), None) => shows(peers, a, b),
            (None, Some(peers)) => shows(peers, b, a),
            (Some(_), Some(_)) => is_copy(a) == is_copy(b),
        }
    }

    fn twin_peers(&self, seat: u16) -> Option<&[u16]> {
        self.active.iter().find_map(|&fault| match &self.plan.faults[fault].what {
            What::Liar { node, lie: Lie::Twins { peers } } if *node == seat => Some(&peers[..]),
            _ => None,
        })
    }
}
