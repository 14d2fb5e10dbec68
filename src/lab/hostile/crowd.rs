//! The event loop that drives hostile peers: sockets, times, and the rate at which they come.

use super::conduct::{Birth, Conduct, Hand, Next, Occasion, draw};
use super::{Door, Kind, Plan, World};
use crate::lab::clock::Clock;
use crate::types::Time;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The most connections that all peers together make in a second.
const CONNECTS_PER_SECOND: u64 = 2_000;
/// How long a peer waits before it comes back.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// The same of those who do nothing else than to come and go.
const CHURN_AFTER: Duration = Duration::from_millis(50);
/// Bytes read of one peer before the others have their turn.
const READ_BUDGET: usize = 64 << 10;
/// What the system keeps for a peer that does not read.
const SMALL_BUFFER: usize = 4 << 10;
/// The longest wait of the loop.
const LOOK_ABOUT: Duration = Duration::from_millis(100);

/// What the peers of a kind did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Peers of this kind.
    pub peers: u64,
    /// Of them those that were connected at least once.
    pub came: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections held now.
    pub held: u64,
    /// Connections that a node ended, or refused.
    pub ended: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Requests and messages sent.
    pub requests: u64,
    /// Answers to them.
    pub answers: u64,
    /// Rows submitted.
    pub rows: u64,
    /// Of them admitted.
    pub admitted: u64,
    /// Of them refused, by reason: the first is [`crate::wire::client::Refusal`] 1.
    pub refused: [u64; 9],
}

/// What all of them did so far, and what that took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// By kind.
    pub kinds: Vec<(Kind, Counts)>,
    /// CPU time of their process, in microseconds.
    pub cpu_us: u64,
}

/// How long it takes until so many have had their turn to connect: first all come once, and only then anybody again.
pub fn arrival(peers: usize) -> Duration {
    Duration::from_micros(1_000_000 / CONNECTS_PER_SECOND) * u32::try_from(peers).unwrap_or(u32::MAX)
}

struct Peer {
    kind: Kind,
    door: Door,
    /// Among those of its kind.
    number: usize,
    target: SocketAddr,
    source: Option<IpAddr>,
    talk: Option<Talk>,
    due: Option<Time>,
    /// It has had its place among those who connect, and does so when it is due.
    may_come: bool,
    /// It was connected at least once.
    came: bool,
}

/// A connection.
struct Talk {
    stream: TcpStream,
    conduct: Box<dyn Conduct>,
    connected: bool,
    out: Vec<u8>,
}

/// Hostile peers, and the loop that drives them.
pub struct Crowd {
    poll: Poll,
    clock: Clock,
    world: Arc<World>,
    peers: Vec<Peer>,
    counts: Vec<Counts>,
    kinds: Vec<Kind>,
    /// Who is due when.
    times: BTreeSet<(Time, usize)>,
    /// Who has more to be read.
    hungry: BTreeSet<usize>,
    /// No connection is made before.
    next_connect: Time,
    random: u64,
    buffer: Box<[u8]>,
}

impl Crowd {
    /// The peers of a plan; nobody is connected yet.
    ///
    /// # Errors
    /// The plan names what is not there, or no port for a kind; or the system has no event poll.
    pub fn new(plan: &Plan) -> Result<Crowd, String> {
        let world = Arc::new(World::of(plan)?);
        let poll = Poll::new().map_err(|error| format!("cannot open an event poll: {error}"))?;
        let clock = Clock::system();
        let now = clock.now();
        let mut crowd = Crowd {
            poll,
            clock,
            world,
            peers: Vec::with_capacity(plan.peers),
            counts: vec![Counts::default(); plan.kinds.len()],
            kinds: plan.kinds.clone(),
            times: BTreeSet::new(),
            hungry: BTreeSet::new(),
            next_connect: now,
            random: plan.seed,
            buffer: vec![0; 16 << 10].into(),
        };
        for place in 0..plan.peers {
            let (kind, number) = (plan.kinds[place % plan.kinds.len()], place / plan.kinds.len());
            let doors = kind.about().doors;
            let of = |door: &Door| if *door == Door::Peer { &plan.peer_ports } else { &plan.client_ports };
            let ports: Vec<_> =
                doors.iter().flat_map(|door| of(door).iter().map(|port| (*door, *port))).collect();
            let (door, target) = *ports
                .get(number % ports.len().max(1))
                .ok_or(format!("there is no port for {}", kind.name()))?;
            let source = source(kind, place, target);
            crowd.counts[place % plan.kinds.len()].peers += 1;
            crowd.peers.push(Peer {
                kind,
                door,
                number,
                target,
                source,
                talk: None,
                due: Some(now),
                may_come: false,
                came: false,
            });
            crowd.times.insert((now, place));
        }
        Ok(crowd)
    }

    /// Where other sources of events are added, with tokens from [`Crowd::token_end`] on.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The first token that no peer has.
    pub fn token_end(&self) -> Token {
        Token(self.peers.len())
    }

    /// The time by which they act.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// What they did so far.
    pub fn told(&self) -> Told {
        let held =
            |kind: Kind| self.peers.iter().filter(|peer| peer.kind == kind && peer.talk.is_some()).count();
        let kinds = self.kinds.iter().zip(&self.counts);
        Told {
            kinds: kinds
                .map(|(kind, counts)| (*kind, Counts { held: held(*kind) as u64, ..counts.clone() }))
                .collect(),
            cpu_us: u64::try_from(crate::metrics::process_cpu().as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// One turn: waits for what comes, and lets everybody act to whom something happens. Events of others come back.
    ///
    /// # Errors
    /// The poll failed.
    pub fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.clock.now();
        let first = self.times.first().map_or(LOOK_ABOUT, |(time, _)| time.since(now).min(LOOK_ABOUT));
        let wait = if self.hungry.is_empty() { first } else { Duration::ZERO };
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut readable = std::mem::take(&mut self.hungry);
        for event in events.iter() {
            let place = event.token().0;
            if place >= self.peers.len() {
                continue;
            }
            if event.is_writable() || event.is_error() {
                self.writable(place);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                readable.insert(place);
            }
        }
        for place in readable {
            self.read(place);
        }
        let now = self.clock.now();
        while let Some((time, place)) = self.times.first().copied().filter(|(time, _)| *time <= now) {
            self.times.remove(&(time, place));
            self.peers[place].due = None;
            match self.peers[place].talk {
                Some(_) => self.act(place, Occasion::Due),
                None => self.come(place, now),
            }
        }
        Ok(())
    }

    /// A peer connects, or waits until it may.
    fn come(&mut self, place: usize, now: Time) {
        if !std::mem::take(&mut self.peers[place].may_come) {
            let at = self.next_connect.max(now);
            self.next_connect = at + Duration::from_micros(1_000_000 / CONNECTS_PER_SECOND);
            self.peers[place].may_come = true;
            return self.set_due(place, at);
        }
        let draw = draw(&mut self.random);
        let peer = &mut self.peers[place];
        let birth = Birth { world: &self.world, door: peer.door, number: peer.number, draw };
        let conduct = (peer.kind.about().begin)(&birth);
        let opened = open(peer.target, peer.source, conduct.reads()).and_then(|mut stream| {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(place), both)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => peer.talk = Some(Talk { stream, conduct, connected: false, out: Vec::new() }),
            Err(error) => {
                tracing::debug!(%error, "a hostile peer could not connect");
                self.leave(place, true, false);
            }
        }
    }

    fn writable(&mut self, place: usize) {
        let Some(talk) = &mut self.peers[place].talk else { return };
        if !talk.connected {
            match talk.stream.take_error() {
                Ok(None) if talk.stream.peer_addr().is_ok() => talk.connected = true,
                Ok(None) => return,
                Ok(Some(_)) | Err(_) => return self.leave(place, true, false),
            }
            let first = !std::mem::replace(&mut self.peers[place].came, true);
            let counts = self.count(place);
            counts.connected += 1;
            counts.came += u64::from(first);
            return self.act(place, Occasion::Connected);
        }
        self.flush(place);
    }

    fn read(&mut self, place: usize) {
        let mut left = READ_BUDGET;
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0
            && let Some(talk) =
                self.peers[place].talk.as_mut().filter(|talk| talk.conduct.reads() && talk.connected)
        {
            match talk.stream.read(&mut buffer) {
                Ok(0) => self.leave(place, true, false),
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.act(place, Occasion::Heard(&mut buffer[..count]));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.leave(place, true, false),
            }
        }
        self.buffer = buffer;
        if left == 0 {
            self.hungry.insert(place);
        }
    }

    /// Lets a peer act, and does what it says.
    fn act(&mut self, place: usize, occasion: Occasion<'_>) {
        let kind = self.peers[place].kind;
        let Some(index) = self.kinds.iter().position(|other| *other == kind) else { return };
        let Some(talk) = &mut self.peers[place].talk else { return };
        let mut hand = Hand {
            out: &mut talk.out,
            counts: &mut self.counts[index],
            random: &mut self.random,
            sip: false,
        };
        let next = talk.conduct.act(occasion, &mut hand);
        let sips = hand.sip;
        let deaf = !talk.conduct.reads();
        match next {
            Next::Stay => {}
            Next::Wake(after) => self.set_due(place, self.clock.now() + after),
            Next::HangUp => return self.leave(place, false, false),
            Next::Reset => return self.leave(place, false, true),
        }
        // Who does not read still finds out, by the way, whether the node has hung up.
        if deaf && sips && !self.sip(place) {
            return self.leave(place, true, false);
        }
        self.flush(place);
    }

    /// Reads one byte and throws it away; false once the connection is over.
    fn sip(&mut self, place: usize) -> bool {
        let Some(talk) = &mut self.peers[place].talk else { return true };
        match talk.stream.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn flush(&mut self, place: usize) {
        let Some(talk) = self.peers[place].talk.as_mut().filter(|talk| talk.connected) else { return };
        let (mut sent, mut fails) = (0, false);
        while sent < talk.out.len() {
            match talk.stream.write(&talk.out[sent..]) {
                Ok(0) => break,
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    fails = true;
                    break;
                }
            }
        }
        talk.out.drain(..sent);
        self.count(place).sent_bytes += sent as u64;
        if fails {
            self.leave(place, true, false);
        }
    }

    /// A connection is over; the peer comes back.
    fn leave(&mut self, place: usize, by_node: bool, reset: bool) {
        if let Some(mut talk) = self.peers[place].talk.take() {
            let _ = self.poll.registry().deregister(&mut talk.stream);
            if reset {
                let _ = set_socket_linger(&talk.stream, Some(Duration::ZERO)); // else it ends in the ordinary way
            }
        }
        self.count(place).ended += u64::from(by_node);
        self.hungry.remove(&place);
        let pause = if self.peers[place].kind == Kind::Churn { CHURN_AFTER } else { AGAIN_AFTER };
        // Not all together.
        let share = 0.5 + draw(&mut self.random) as f64 / u64::MAX as f64;
        self.set_due(place, self.clock.now() + pause.mul_f64(share));
    }

    fn set_due(&mut self, place: usize, at: Time) {
        if let Some(before) = self.peers[place].due.replace(at) {
            self.times.remove(&(before, place));
        }
        self.times.insert((at, place));
    }

    fn count(&mut self, place: usize) -> &mut Counts {
        let kind = self.peers[place].kind;
        let index = self.kinds.iter().position(|other| *other == kind).unwrap_or(0);
        &mut self.counts[index]
    }
}

/// The address that a peer comes from, where it comes to this machine: one of its own, but for those that share one.
fn source(kind: Kind, place: usize, target: SocketAddr) -> Option<IpAddr> {
    let here = matches!(target.ip(), IpAddr::V4(address) if address.is_loopback());
    let (high, low) = ((place / 250) as u8, (place % 250) as u8);
    let own = Ipv4Addr::new(127, 67, high, low + 1);
    here.then_some(IpAddr::V4(if kind == Kind::Identities { Ipv4Addr::new(127, 66, 0, 1) } else { own }))
}

/// Begins a connection. Who reads nothing has little kept for it by the system.
fn open(target: SocketAddr, source: Option<IpAddr>, reads: bool) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let stream = std::net::TcpStream::from(socket(family, SocketType::STREAM, None)?);
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    stream.set_nonblocking(true)?;
    if !reads {
        set_socket_recv_buffer_size(&stream, SMALL_BUFFER)?;
    }
    if let Some(source) = source {
        // Systems that have one address alone of this machine do without.
        let _ = bind(&stream, &SocketAddr::new(source, 0));
    }
    match connect(&stream, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from_std(stream)),
        Err(error) => Err(error.into()),
    }
}
