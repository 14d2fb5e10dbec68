//! All sockets of a node: listeners, connections, deadlines. Bytes become [`Event`]s here; what they mean to the chain
//! is not known here.

use super::config::*;
use super::conn::{Conn, Gone, Link, connected, read_some};
use super::dialer::Dialer;
use super::noise::Identity;
use super::peer::{PeerEvent, PeerLink};
use super::queue::ReadyList;
use super::slab::Slab;
use super::turns::{STANDINGS, Standing};
use crate::metrics::Metrics;
use crate::types::{Seat, Time};
use crate::wire::Message;
use crate::wire::client::{Request, SUBMIT_BLOB_BYTES_MAX, SUBMIT_ROWS_MAX};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

/// What the sockets have to tell.
#[derive(Debug)]
pub enum Event {
    /// An authenticated connection to a validator stands.
    Opened(Seat),
    /// It is gone. (Where a newer one of the same seat replaces it, that one is told of next.)
    Closed(Seat),
    /// A validator sent a message.
    Message {
        /// Who.
        from: Seat,
        /// What.
        message: Message,
    },
    /// A client is gone.
    Left(Token),
    /// A client asks.
    Request {
        /// Which client.
        client: Token,
        /// What.
        request: Request,
    },
}

/// What may be read in this turn.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// From validators; not while the disk is behind.
    pub peers: bool,
    /// Rows that still find room, by the standing of the client that brings them; all of them take from the first.
    pub rows: [usize; 3],
    /// Bytes of clients' blobs that still find room.
    pub blobs: usize,
}

impl Gate {
    /// Whether submissions of clients of this standing may be read. A chain carries rows or blobs: the other's room is
    /// never used up.
    fn open(&self, standing: Standing) -> bool {
        let room = self.rows[0].min(self.rows[standing as usize]);
        self.peers && room >= SUBMIT_ROWS_MAX && self.blobs >= SUBMIT_BLOB_BYTES_MAX
    }

    fn take(&mut self, standing: Standing, rows: usize) {
        self.rows[0] -= rows;
        if standing != Standing::Proven {
            self.rows[standing as usize] -= rows;
        }
    }
}

/// What became of a connection's turn.
enum Turn {
    /// It has more.
    More,
    /// Nothing until the next event.
    Done,
    /// It waits for room that all share.
    Wait,
}

/// All sockets.
pub struct Sockets {
    pub(super) registry: Registry,
    pub(super) identity: Arc<Identity>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) conns: Slab<Conn>,
    dialer: Dialer,
    /// The current connection of each seat.
    pub(super) seats: Vec<Option<Token>>,
    pub(super) opened: usize,
    /// Those that had input to be read.
    pub(super) ready: ReadyList,
    /// Those that have output and a socket that takes it.
    pub(super) dirty: ReadyList,
    /// Those that have input and wait for room: validators for the disk, clients, by standing, for the mempool.
    waiting_peers: Vec<Token>,
    waiting_clients: [Vec<Token>; 3],
    /// Those without identity or hello, by their deadline.
    pub(super) strangers: VecDeque<(Time, Token)>,
    pub(super) subscribers: Vec<Token>,
    pub(super) inbound_strangers: usize,
    pub(super) silent_clients: usize,
    pub(super) clients: usize,
    stall_check: Time,
    buffer: Box<[u8]>,
    peer_events: Vec<PeerEvent>,
}

impl Sockets {
    /// No connections yet; dials are due.
    pub fn new(
        registry: Registry,
        identity: Arc<Identity>,
        peers: &[SocketAddr],
        metrics: Arc<Metrics>,
        now: Time,
    ) -> Sockets {
        Sockets {
            registry,
            metrics,
            conns: Slab::default(),
            dialer: Dialer::new(identity.seat, peers, now),
            seats: vec![None; identity.seats.len()],
            identity,
            opened: 0,
            ready: ReadyList::default(),
            dirty: ReadyList::default(),
            waiting_peers: Vec::new(),
            waiting_clients: Default::default(),
            strangers: VecDeque::new(),
            subscribers: Vec::new(),
            inbound_strangers: 0,
            silent_clients: 0,
            clients: 0,
            stall_check: now + STALL_CHECK,
            buffer: vec![0; PEER_READ_BUDGET.max(CLIENT_READ_BUDGET)].into(),
            peer_events: Vec::new(),
        }
    }

    /// Validators connected.
    pub fn peers(&self) -> usize {
        self.opened
    }

    /// Whether nothing can be done before the next event or deadline.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.dirty.is_empty()
    }

    /// Whether somebody who waited for room finds it now.
    pub fn could_resume(&self, gate: &Gate) -> bool {
        let client = |standing| gate.open(standing) && !self.waiting_clients[standing as usize].is_empty();
        gate.peers && !self.waiting_peers.is_empty() || STANDINGS.into_iter().any(client)
    }

    /// The next deadline.
    pub fn deadline(&self) -> Time {
        let stranger = self.strangers.front().map(|(time, _)| *time);
        [stranger, self.dialer.deadline()].into_iter().flatten().fold(self.stall_check, Time::min)
    }

    /// Adds a connection whose socket is made.
    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        link: Link,
        connecting: bool,
        now: Time,
    ) -> io::Result<Token> {
        let _ = stream.set_nodelay(true);
        let registry = &self.registry;
        let token = self.conns.insert(|token| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            io::Result::Ok(Conn {
                stream,
                link,
                address,
                since: now,
                stuck: None,
                connecting,
                readable: false,
                writable: false,
                in_ready: false,
                in_dirty: false,
                in_waiting: false,
                subscribed: false,
            })
        })?;
        self.strangers.push_back((now + HANDSHAKE_DEADLINE, token));
        Ok(token)
    }

    /// Takes note of what the poll says about a connection.
    pub fn note(&mut self, event: &mio::event::Event, now: Time, events: &mut Vec<Event>) {
        let token = event.token();
        let Some(conn) = self.conns.get_mut(token) else { return };
        if event.is_writable() || event.is_error() || event.is_write_closed() {
            if conn.connecting {
                match connected(&conn.stream) {
                    Ok(true) => conn.connecting = false,
                    Ok(false) => return,
                    Err(error) => return self.drop_conn(token, &error.into(), now, events),
                }
            }
            conn.writable = true;
            // A writer finds out by itself that there is nothing to write.
            self.dirty.add(token, &mut conn.in_dirty);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            conn.readable = true;
            self.ready.add(token, &mut conn.in_ready);
        }
    }

    /// Reads from everybody who is ready, each within its budget.
    pub fn read(&mut self, gate: &mut Gate, now: Time, events: &mut Vec<Event>) {
        let mut resumed = if gate.peers { std::mem::take(&mut self.waiting_peers) } else { Vec::new() };
        for standing in STANDINGS.into_iter().filter(|standing| gate.open(*standing)) {
            resumed.append(&mut self.waiting_clients[standing as usize]);
        }
        // Those who waited come before those who are ready, and among those who must wait on, those who had
        // nothing this time before those who had something: so scarce room goes round.
        let mut turn = Vec::with_capacity(resumed.len() + self.ready.len());
        for token in resumed {
            if let Some(conn) = self.conns.get_mut(token) {
                conn.in_waiting = false;
                turn.push(token);
            }
        }
        while let Some(token) = self.ready.pop() {
            if let Some(conn) = self.conns.get_mut(token) {
                conn.in_ready = false;
                turn.push(token);
            }
        }
        let mut served = Vec::new();
        for token in turn {
            self.read_one(token, gate, now, &mut served, events);
        }
        for token in served {
            self.await_room(token);
        }
    }

    fn read_one(
        &mut self,
        token: Token,
        gate: &mut Gate,
        now: Time,
        served: &mut Vec<Token>,
        events: &mut Vec<Event>,
    ) {
        let (room, is_peer) = match self.conns.get(token) {
            Some(conn) => ((gate.rows[0], gate.blobs), matches!(conn.link, Link::Peer(_))),
            None => return,
        };
        let turn = if is_peer {
            self.read_peer(token, gate, now, events)
        } else {
            self.read_client(token, gate, events)
        };
        let Some(conn) = self.conns.get_mut(token) else { return };
        match turn {
            Ok(Turn::More) => self.ready.add(token, &mut conn.in_ready),
            Ok(Turn::Wait) if !std::mem::replace(&mut conn.in_waiting, true) => match is_peer {
                true => self.waiting_peers.push(token),
                false if (gate.rows[0], gate.blobs) != room => served.push(token),
                false => self.await_room(token),
            },
            Ok(Turn::Wait | Turn::Done) => {}
            Err(gone) => self.drop_conn(token, &gone, now, events),
        }
    }

    fn await_room(&mut self, token: Token) {
        if let Some(Conn { link: Link::Client(link), .. }) = self.conns.get(token) {
            self.waiting_clients[link.standing as usize].push(token);
        }
    }

    /// A client's rows have shown something else than before.
    pub fn set_standing(&mut self, token: Token, standing: Standing) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Link::Client(link) = &mut conn.link else { return };
        let before = std::mem::replace(&mut link.standing, standing);
        if conn.in_waiting {
            self.waiting_clients[before as usize].retain(|waiting| *waiting != token);
            self.waiting_clients[standing as usize].push(token);
        }
    }

    fn read_peer(
        &mut self,
        token: Token,
        gate: &Gate,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<Turn, Gone> {
        let Some(Conn { stream, link: Link::Peer(link), readable, .. }) = self.conns.get_mut(token) else {
            return Ok(Turn::Done);
        };
        if !gate.peers {
            return Ok(Turn::Wait);
        }
        let mut budget = PEER_READ_BUDGET;
        let mut result = Ok(());
        while *readable && budget > 0 && result.is_ok() {
            let Some(bytes) = read_some(stream, &mut self.buffer[..budget], readable)? else { break };
            budget -= bytes.len();
            Metrics::add(&self.metrics.bytes_received, bytes.len() as u64);
            result = link.receive(bytes, &mut self.peer_events);
        }
        let turn = if *readable { Turn::More } else { Turn::Done };
        for event in std::mem::take(&mut self.peer_events) {
            match event {
                PeerEvent::Opened(seat) => self.open_seat(token, seat, now, events),
                PeerEvent::Message(message) => {
                    let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get(token) else { break };
                    let Some(from) = link.seat() else { break };
                    events.push(Event::Message { from, message });
                }
            }
        }
        self.mark_dirty(token);
        if let Err(error) = result {
            self.flush_once(token);
            return Err(error.into());
        }
        Ok(turn)
    }

    fn read_client(&mut self, token: Token, gate: &mut Gate, events: &mut Vec<Event>) -> Result<Turn, Gone> {
        let Some(Conn { stream, link: Link::Client(link), readable, .. }) = self.conns.get_mut(token) else {
            return Ok(Turn::Done);
        };
        let mut budget = CLIENT_READ_BUDGET;
        loop {
            // First what was read before, then the socket: the reader holds one read at most.
            link.held = true;
            while link.may_ask() {
                let Some(request) = link.next()? else {
                    link.held = false;
                    break;
                };
                match &request {
                    Request::Hello => self.silent_clients -= 1,
                    Request::Submit { .. } | Request::SubmitBlobs { .. } if !gate.open(link.standing) => {
                        link.postpone(request);
                        return Ok(Turn::Wait);
                    }
                    Request::Submit { rows, .. } => {
                        gate.take(link.standing, rows.rows().len());
                        link.rows_waiting += rows.rows().len();
                    }
                    // Answered in this very turn: nothing of it waits.
                    Request::SubmitBlobs { blobs, .. } => gate.blobs -= blobs.column().len(),
                    _ => {}
                }
                events.push(Event::Request { client: token, request });
            }
            if link.held {
                // What its own bounds hold back goes on when it is answered or has read.
                return Ok(Turn::Done);
            }
            if !*readable {
                return Ok(Turn::Done);
            }
            if budget == 0 {
                return Ok(Turn::More);
            }
            let Some(bytes) = read_some(stream, &mut self.buffer[..budget], readable)? else { continue };
            budget -= bytes.len();
            Metrics::add(&self.metrics.bytes_received, bytes.len() as u64);
            link.receive(bytes);
        }
    }

    /// `seat` has proved itself on a connection; an older one of the same seat goes.
    fn open_seat(&mut self, token: Token, seat: Seat, now: Time, events: &mut Vec<Event>) {
        if let Some(older) = self.seats[seat.index()] {
            self.drop_conn(older, &Gone::Replaced, now, events);
        }
        let Some(conn) = self.conns.get_mut(token) else { return };
        conn.since = now;
        let Link::Peer(link) = &conn.link else { return };
        self.inbound_strangers -= usize::from(link.expected().is_none());
        self.seats[seat.index()] = Some(token);
        self.opened += 1;
        self.dialer.opened(seat);
        tracing::info!(seat = seat.0, address = %conn.address, "validator connected");
        events.push(Event::Opened(seat));
    }

    /// Does what is due: deadlines, dials, the look for stalls.
    pub fn tick(&mut self, now: Time, events: &mut Vec<Event>) {
        while let Some((due, token)) = self.strangers.front().copied() {
            let gone = self.conns.get(token).is_none_or(Conn::established);
            if !gone && due > now {
                break;
            }
            self.strangers.pop_front();
            if !gone {
                self.drop_conn(token, &Gone::Silent, now, events);
            }
        }
        while let Some((seat, address)) = self.dialer.next(now) {
            self.dial(seat, address, now);
        }
        if now >= self.stall_check {
            self.stall_check = now + STALL_CHECK;
            let stuck = |conn: &Conn| conn.stuck.is_some_and(|since| now.since(since) >= STALL_MAX);
            let stalled: Vec<_> =
                self.conns.tokens().filter(|token| self.conns.get(*token).is_some_and(stuck)).collect();
            for token in stalled {
                self.drop_conn(token, &Gone::Stalled, now, events);
            }
        }
    }

    fn dial(&mut self, seat: Seat, address: SocketAddr, now: Time) {
        if self.seats[seat.index()].is_some() {
            return;
        }
        let dialed = PeerLink::dial(self.identity.clone(), seat).map_err(Gone::from).and_then(|link| {
            let stream = TcpStream::connect(address)?;
            Ok(self.add(stream, address, Link::Peer(Box::new(link)), true, now)?)
        });
        if let Err(gone) = dialed {
            self.redial(seat, std::time::Duration::ZERO, &gone, now);
        }
    }

    fn redial(&mut self, seat: Seat, stood: std::time::Duration, gone: &Gone, now: Time) {
        if self.dialer.lost(seat, stood, &gone.to_string(), now) {
            tracing::info!(seat = seat.0, reason = %gone, "validator not connected");
        }
    }

    /// Ends a connection, counts it, and plans a new one where that is this node's part.
    pub(super) fn drop_conn(&mut self, token: Token, gone: &Gone, now: Time, events: &mut Vec<Event>) {
        let Some(mut conn) = self.conns.remove(token) else { return };
        let _ = self.registry.deregister(&mut conn.stream);
        let _ = conn.stream.shutdown(Shutdown::Both);
        let ordinary = matches!(gone, Gone::Closed | Gone::Io(_) | Gone::Replaced);
        if !ordinary {
            Metrics::add(&self.metrics.connections_dropped, 1);
            match &conn.link {
                Link::Peer(link) if link.seat().is_some() => {
                    tracing::warn!(seat = ?link.seat(), reason = %gone, "validator dropped");
                }
                _ => tracing::debug!(address = %conn.address, reason = %gone, "connection dropped"),
            }
        }
        match &conn.link {
            Link::Client(link) => {
                self.clients -= 1;
                self.silent_clients -= usize::from(!link.welcomed());
                events.push(Event::Left(token));
                if conn.subscribed {
                    self.subscribers.retain(|client| *client != token);
                }
            }
            Link::Peer(link) => {
                let seat = link.seat();
                self.inbound_strangers -= usize::from(link.expected().is_none() && seat.is_none());
                if let Some(seat) = seat.filter(|seat| self.seats[seat.index()] == Some(token)) {
                    self.seats[seat.index()] = None;
                    self.opened -= 1;
                    if matches!(gone, Gone::Peer(_)) {
                        Metrics::add(&self.metrics.peer_faults, 1);
                    }
                    events.push(Event::Closed(seat));
                }
                if let Some(dialed) =
                    link.expected().or(seat).filter(|seat| self.seats[seat.index()].is_none())
                {
                    let stood = if seat.is_some() { now.since(conn.since) } else { Default::default() };
                    if !matches!(gone, Gone::Replaced) {
                        self.redial(dialed, stood, gone, now);
                    }
                }
            }
        }
    }
}
