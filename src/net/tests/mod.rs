//! The transport on loopback and on bytes alone, with the time handed in.

mod book;
mod crowd;
mod guests;
mod handshake;
mod limits;
mod meet;
mod ports;
mod questions;
mod shaped;
mod threads;

use super::book::Book;
use super::config::NetConfig;
use super::inbound::Gate;
use super::listener::{Door, Listener};
use super::meet::Acquaintance;
use super::noise::Identity;
use super::sockets::{Event, Sockets};
use crate::crypto::{KeySet, SigningKey, public_key, signing_key_from_seed};
use crate::metrics::Metrics;
use crate::types::{ChainId, Effect, Epoch, Seat, Sequence, Time, Witness};
use crate::wire::client::{Reply, Request};
use crate::wire::{Batch, Frame, FrameReader, Message, Rows, frame_header, seal};
use mio::{Interest, Poll, Token};
use parking_lot::Mutex;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PEERS: Token = Token(usize::MAX);
const CLIENTS: Token = Token(usize::MAX - 1);
/// Turns after which a test gives up waiting for its event.
const TURNS_MAX: usize = 20_000;

fn key(seat: u8) -> SigningKey {
    signing_key_from_seed([seat + 1; 32])
}

/// The identity of a seat in a committee of `seats` on the chain named by a byte.
fn identity(chain: u8, seat: u8, seats: u8) -> Identity {
    let keys: Vec<[u8; 32]> = (0..seats).map(|seat| public_key(&key(seat))).collect();
    let seats = Arc::new(KeySet::new(&keys));
    Identity { chain: ChainId([chain; 32]), seat: Seat(seat.into()), key: key(seat), seats }
}

/// The sockets of one node, turned by hand.
struct Side {
    poll: Poll,
    sockets: Sockets,
    listeners: [Listener; 2],
    addresses: [SocketAddr; 2],
    metrics: Arc<Metrics>,
    /// The time; moves only when a test moves it.
    now: Time,
    /// Rows that find room.
    rows: usize,
    /// Whether peers are read from.
    peers: bool,
}

impl Side {
    fn bind() -> [TcpListener; 2] {
        [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A node alone: it dials nobody.
    fn alone(identity: Identity) -> Side {
        let nowhere = vec!["127.0.0.1:1".parse().unwrap(); identity.seat.index() + 1];
        Side::new(identity, Side::bind(), &nowhere, 100)
    }

    fn new(identity: Identity, bound: [TcpListener; 2], peers: &[SocketAddr], clients_max: usize) -> Side {
        Side::with(identity, bound, peers, &NetConfig { clients_max, ..NetConfig::default() })
    }

    fn with(identity: Identity, bound: [TcpListener; 2], peers: &[SocketAddr], config: &NetConfig) -> Side {
        let poll = Poll::new().unwrap();
        let metrics = Arc::new(Metrics::default());
        let addresses = [bound[0].local_addr().unwrap(), bound[1].local_addr().unwrap()];
        let mut doors =
            [(PEERS, Door::Peers), (CLIENTS, Door::Clients { most: config.clients_max })].into_iter();
        let listeners = bound.map(|listener| {
            let (token, door) = doors.next().unwrap();
            listener.set_nonblocking(true).unwrap();
            let mut socket = mio::net::TcpListener::from_std(listener);
            poll.registry().register(&mut socket, token, Interest::READABLE).unwrap();
            Listener::new(socket, door)
        });
        let now = Time(1_000_000);
        let registry = poll.registry().try_clone().unwrap();
        let seats = (0..identity.seats.len() as u8).map(|seat| public_key(&key(seat))).collect();
        let acquaintance = Acquaintance::new(Book::default(), None, seats, 1);
        let identity = Arc::new(identity);
        let sockets =
            Sockets::new(registry, identity, (peers, Vec::new()), acquaintance, config, metrics.clone(), now);
        let sockets = sockets.unwrap();
        Side { poll, sockets, listeners, addresses, metrics, now, rows: 10_000, peers: true }
    }

    /// One turn as the event loop makes it, without a machine.
    fn turn(&mut self) -> Vec<Event> {
        let mut polled = mio::Events::with_capacity(256);
        let mut events = Vec::new();
        let wait = if self.sockets.is_idle() { Duration::from_millis(1) } else { Duration::ZERO };
        self.poll.poll(&mut polled, Some(wait)).unwrap();
        for event in polled.iter() {
            match event.token() {
                PEERS => self.listeners[0].ready = true,
                CLIENTS => self.listeners[1].ready = true,
                _ => self.sockets.note(event, self.now, &mut events),
            }
        }
        self.sockets.tick(self.now, &mut events);
        for listener in &mut self.listeners {
            listener.accept(&mut self.sockets, self.now, &mut events);
        }
        let mut gate = Gate { peers: self.peers, rows: [self.rows; 3], blobs: usize::MAX };
        self.sockets.read(&mut gate, self.now, &mut events);
        self.sockets.write(self.now, &mut events);
        events
    }

    /// Turns until an event is as wanted, and returns all events up to it.
    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        for _ in 0..TURNS_MAX {
            all.extend(self.turn());
            if all.iter().any(&wanted) {
                return all;
            }
        }
        panic!("it never came; before it: {all:?}");
    }

    /// Turns until something holds.
    fn until_it(&mut self, mut holds: impl FnMut(&mut Side) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        for _ in 0..TURNS_MAX {
            all.extend(self.turn());
            if holds(self) {
                return all;
            }
        }
        panic!("it never came to hold; events: {all:?}");
    }

    fn send(&mut self, to: Seat, message: &Message) {
        self.sockets.send(to, message, self.now);
    }

    fn broadcast(&mut self, message: &Message) {
        self.sockets.broadcast(message, self.now);
    }

    fn dropped(&self) -> u64 {
        self.metrics.connections_dropped()
    }
}

/// What is said in the log meanwhile, from `info` on.
fn logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let said = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(said, act);
    String::from_utf8(log.0.lock().clone()).unwrap()
}

/// Two nodes of one committee that know each other's addresses.
fn pair(first: Identity, second: Identity) -> (Side, Side) {
    let bound = [Side::bind(), Side::bind()];
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    let [a, b] = bound;
    (Side::new(first, a, &peers, 100), Side::new(second, b, &peers, 100))
}

/// Turns both until both are connected.
fn connect(a: &mut Side, b: &mut Side) {
    for _ in 0..TURNS_MAX {
        a.turn();
        b.turn();
        if a.sockets.peers() == 1 && b.sockets.peers() == 1 {
            return;
        }
    }
    panic!("they never connected");
}

/// Somebody on a plain socket, who never blocks.
struct Raw {
    stream: TcpStream,
    reader: FrameReader,
}

impl Raw {
    fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Raw { stream, reader: FrameReader::new(1 << 20) }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn ask(&mut self, request: &Request) {
        let (kind, payload) = request.encode();
        self.send(&frame_header(kind, payload.len()));
        self.send(&payload);
    }

    /// Whether the other side has hung up; what came before is kept for [`Raw::reply`].
    fn hung_up(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.reader.push(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// The next reply, while `side` turns.
    fn reply(&mut self, side: &mut Side) -> Reply {
        for _ in 0..TURNS_MAX {
            self.hung_up();
            if let Some(frame) = self.reader.next().unwrap() {
                return Reply::decode(&frame).unwrap();
            }
            side.turn();
        }
        panic!("no reply came");
    }
}

/// A batch of so many rows, well-formed and worth nothing.
fn batch(sequence: u64, rows: usize) -> Message {
    let effects = vec![Effect::transfer(1, 2, 3, sequence, 1); rows];
    let witnesses = vec![Witness([sequence as u8; 64]); rows];
    let columns = Rows { effects: &effects, keys: &[], witnesses: &witnesses };
    let slot = (Epoch(0), Seat(0), Sequence(sequence));
    Message::Batch(seal(&key(0), &ChainId([1; 32]), slot, 10, columns))
}

fn batch_of(message: &Message) -> Option<&Batch> {
    if let Message::Batch(batch) = message { Some(batch) } else { None }
}

fn frame(message: &Message) -> Frame {
    Frame { kind: message.kind(), payload: message.payload() }
}
