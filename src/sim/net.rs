//! The network: a connection between every two nodes, latencies, what each node can send and receive, and what faults
//! do to messages on the way.
//!
//! A connection keeps order within each of its two lanes (votes and requests; batches) and loses nothing, as TCP does,
//! until a fault says otherwise. What waits for one peer is bounded; the newest message is dropped when full.

use super::config::{LOCAL_DELAY_US, LOCAL_JITTER_US, SimConfig, SimError};
use super::queue::{Nanos, US};
use super::random::{below, draw};
use crate::types::regions;
use crate::wire::{FRAME_HEADER_BYTES, Message, is_bulk};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of votes and requests on their way to one peer at most.
const SMALL_BYTES_MAX: usize = 8 << 20;
/// Bytes of batches on their way to one peer at most.
const BULK_BYTES_MAX: usize = 32 << 20;
/// Bytes that a record of the encrypted channel and the packets add to a frame, roughly.
const OVERHEAD_BYTES: usize = 60;
/// The most that a duplicate comes later.
const DUPLICATE_LATER: Nanos = 200_000 * US;

/// The purposes of draws about one message.
const JITTER: u64 = 11;
const LOSS: u64 = 12;
const OVERTAKE: u64 = 13;
const TWICE: u64 = 14;

/// A message as it travels: bytes, shared by all its copies.
#[derive(Debug)]
pub struct Parcel {
    /// The kind of the frame.
    pub kind: u8,
    /// Its payload.
    pub payload: Bytes,
    /// BLAKE3 of the payload.
    pub digest: [u8; 32],
    /// The sender's own decoded message, when receivers are spared decoding.
    pub decoded: Option<Message>,
}

impl Parcel {
    /// Bytes that need not be a message.
    pub fn raw(kind: u8, payload: Bytes) -> Arc<Parcel> {
        let digest = crate::crypto::plain(&payload);
        Arc::new(Parcel { kind, payload, digest, decoded: None })
    }

    /// Encodes a message.
    pub fn new(message: &Message, keep_decoded: bool) -> Arc<Parcel> {
        let payload = message.payload();
        let digest = crate::crypto::plain(&payload);
        let decoded = keep_decoded.then(|| message.clone());
        Arc::new(Parcel { kind: message.kind(), payload, digest, decoded })
    }

    /// Bytes on the wire.
    pub fn bytes(&self) -> usize {
        self.payload.len() + FRAME_HEADER_BYTES + OVERHEAD_BYTES
    }

    fn lane(&self) -> usize {
        usize::from(is_bulk(self.kind))
    }
}

/// A message on its way to one receiver.
#[derive(Clone, Debug)]
pub struct Flight {
    pub from: u16,
    pub to: u16,
    /// The lives of both at the sending.
    pub lives: (u32, u32),
    /// The connection that it travels on.
    pub connection: u32,
    /// When its last byte left the sender.
    pub departed: Nanos,
    pub parcel: Arc<Parcel>,
    /// Not the first copy: it does not count as waiting.
    pub copy: bool,
}

/// What is wrong with a message's way now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub cut: bool,
    pub loss_per_mille: u64,
    pub duplicate_per_mille: u64,
    pub reorder_ns: Nanos,
}

/// One direction of a connection.
#[derive(Clone, Copy, Default)]
struct Lane {
    /// Messages so far, whatever became of them.
    number: u64,
    /// When the last of each lane arrives.
    last: [Nanos; 2],
    /// Bytes on their way, in each lane.
    waiting: [usize; 2],
}

/// A connection of two nodes.
#[derive(Clone, Copy, Default)]
struct Connection {
    up: bool,
    /// Counts connections of this pair: what travelled on an earlier one is lost.
    number: u32,
}

/// One node's way into the network.
#[derive(Clone, Copy, Default)]
struct Port {
    small_free_at: Nanos,
    bulk_free_at: Nanos,
    down_free_at: Nanos,
    sent: u64,
    received: u64,
}

/// The network of a world.
pub struct Network {
    nodes: usize,
    seed: u64,
    /// Nanoseconds per byte, in 1/1024.
    byte_cost: u64,
    regions: Vec<usize>,
    lanes: Vec<Lane>,
    connections: Vec<Connection>,
    ports: Vec<Port>,
    /// Messages that found no room on their way.
    pub dropped: u64,
    /// Messages that faults took.
    pub lost: u64,
}

impl Network {
    /// A network without a connection: of the seats, and of copies of these seats.
    pub fn new(config: &SimConfig, copies: &[u16]) -> Result<Network, SimError> {
        let seats: Vec<u16> = (0..config.nodes).chain(copies.iter().copied()).collect();
        let nodes = seats.len();
        let places = regions::places(&config.regions)?;
        let region = |seat: &u16| places.get(usize::from(*seat) % places.len().max(1)).copied();
        Ok(Network {
            nodes,
            seed: config.seed,
            byte_cost: 8 * 1024 * 1_000_000_000 / config.bandwidth,
            regions: seats.iter().filter_map(region).collect(),
            lanes: vec![Lane::default(); nodes * nodes],
            connections: vec![Connection::default(); nodes * nodes],
            ports: vec![Port::default(); nodes],
            dropped: 0,
            lost: 0,
        })
    }

    /// The least latency from one node to another, without jitter.
    pub fn latency(&self, from: u16, to: u16) -> Nanos {
        match (self.regions.get(usize::from(from)), self.regions.get(usize::from(to))) {
            (Some(&a), Some(&b)) => regions::one_way_us(a, b) * US,
            _ => LOCAL_DELAY_US * US,
        }
    }

    /// The mean latency from one node to another.
    pub fn latency_mean(&self, from: u16, to: u16) -> Nanos {
        self.latency(from, to) + self.jitter(from, to) / 2
    }

    /// The region of a node, as its place in the table.
    pub fn region(&self, seat: u16) -> Option<usize> {
        self.regions.get(usize::from(seat)).copied()
    }

    /// The most that jitter adds.
    fn jitter(&self, from: u16, to: u16) -> Nanos {
        match self.regions.is_empty() {
            true => LOCAL_JITTER_US * US,
            false => self.latency(from, to) / 20 + 200 * US,
        }
    }

    /// The longest latency between two nodes with its jitter.
    pub fn latency_max(&self) -> Nanos {
        let all = (0..self.nodes as u16).flat_map(|a| (0..self.nodes as u16).map(move |b| (a, b)));
        all.map(|(a, b)| self.latency(a, b) + self.jitter(a, b)).max().unwrap_or(0)
    }

    fn pair(&mut self, a: u16, b: u16) -> &mut Connection {
        let (low, high) = (usize::from(a.min(b)), usize::from(a.max(b)));
        &mut self.connections[low * self.nodes + high]
    }

    /// Whether two nodes are connected.
    pub fn is_up(&mut self, a: u16, b: u16) -> bool {
        self.pair(a, b).up
    }

    /// Two nodes are connected anew.
    pub fn connect(&mut self, a: u16, b: u16) {
        let pair = self.pair(a, b);
        pair.up = true;
        pair.number += 1;
        for (from, to) in [(a, b), (b, a)] {
            self.lane(from, to).waiting = [0; 2];
        }
    }

    /// The connection breaks. What is on its way is lost, unless it is only that one side stopped.
    pub fn disconnect(&mut self, a: u16, b: u16, loses: bool) {
        let pair = self.pair(a, b);
        pair.up = false;
        pair.number += u32::from(loses);
    }

    fn lane(&mut self, from: u16, to: u16) -> &mut Lane {
        &mut self.lanes[usize::from(from) * self.nodes + usize::from(to)]
    }

    fn transmission(&self, bytes: usize) -> Nanos {
        bytes as u64 * self.byte_cost / 1024
    }

    /// Sends a message at `at`; returns its copies with the times when they reach the receiver.
    pub fn send(
        &mut self,
        (from, to): (u16, u16),
        lives: (u32, u32),
        parcel: &Arc<Parcel>,
        at: Nanos,
        trouble: Trouble,
    ) -> Vec<(Nanos, Flight)> {
        let Connection { up, number: connection } = *self.pair(from, to);
        if !up {
            return Vec::new();
        }
        let (lane, bytes) = (parcel.lane(), parcel.bytes());
        let most = if lane == 0 { SMALL_BYTES_MAX } else { BULK_BYTES_MAX };
        let link = self.lane(from, to);
        link.number += 1;
        if link.waiting[lane] + bytes > most {
            self.dropped += 1;
            return Vec::new();
        }
        let number = link.number;
        let decide = |purpose: u64| draw(self.seed, &[purpose, from.into(), to.into(), number]);
        let (jitter, loss) = (decide(JITTER), decide(LOSS));
        let (overtake, twice) = (decide(OVERTAKE), decide(TWICE));
        let departed = self.depart(from, lane, bytes, at);
        if trouble.cut || below(loss, 1000) < trouble.loss_per_mille {
            self.lost += 1;
            return Vec::new();
        }
        let reach = departed + self.latency(from, to) + below(jitter, self.jitter(from, to) + 1);
        let link = self.lane(from, to);
        link.waiting[lane] += bytes;
        let reach = if trouble.reorder_ns > 0 {
            reach + below(overtake, trouble.reorder_ns)
        } else {
            link.last[lane] = link.last[lane].max(reach);
            link.last[lane]
        };
        let flight = Flight { from, to, lives, connection, departed, parcel: parcel.clone(), copy: false };
        let mut flights = vec![(reach, flight.clone())];
        if below(twice, 1000) < trouble.duplicate_per_mille {
            let later = reach + below(draw(twice, &[0]), DUPLICATE_LATER);
            flights.push((later, Flight { copy: true, ..flight }));
        }
        flights
    }

    /// When the last byte has left: votes go before batches that wait, and take their time from them.
    fn depart(&mut self, from: u16, lane: usize, bytes: usize, at: Nanos) -> Nanos {
        let time = self.transmission(bytes);
        let port = &mut self.ports[usize::from(from)];
        port.sent += bytes as u64;
        port.bulk_free_at = port.bulk_free_at.max(at) + time;
        if lane == 0 {
            port.small_free_at = port.small_free_at.max(at) + time;
            port.small_free_at
        } else {
            port.bulk_free_at
        }
    }

    /// A message reaches its receiver: when its last byte is in, or `None` if its connection is gone.
    pub fn arrive(&mut self, flight: &Flight, now: Nanos) -> Option<Nanos> {
        if self.pair(flight.from, flight.to).number != flight.connection {
            self.lost += 1;
            return None;
        }
        let time = self.transmission(flight.parcel.bytes());
        let port = &mut self.ports[usize::from(flight.to)];
        port.received += flight.parcel.bytes() as u64;
        port.down_free_at = port.down_free_at.max(now) + time;
        Some(port.down_free_at)
    }

    /// The receiver has read the message, or will never.
    pub fn consumed(&mut self, flight: &Flight) {
        if !flight.copy && self.pair(flight.from, flight.to).number == flight.connection {
            let (lane, bytes) = (flight.parcel.lane(), flight.parcel.bytes());
            let waiting = &mut self.lane(flight.from, flight.to).waiting[lane];
            *waiting = waiting.saturating_sub(bytes);
        }
    }

    /// Bytes that a node sent and received.
    pub fn traffic(&self, seat: u16) -> (u64, u64) {
        let port = &self.ports[usize::from(seat)];
        (port.sent, port.received)
    }
}
