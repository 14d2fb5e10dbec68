//! All sockets of a node: listeners, connections, deadlines. Bytes become [`Event`]s here; what they mean to the chain
//! is not known here.

use super::config::*;
use super::conn::{Conn, Gone, Link, connected};
use super::debts::{Debtor, Debts};
use super::dialer::Dialer;
use super::io_threads::IoThreads;
use super::limits::Limits;
use super::meet::{Acquaintance, Guest};
use super::names::{Name, Names};
use super::noise::Identity;
use super::pace::{Pace, Rate, Score};
use super::peer::PeerLink;
use super::questions::Questions;
use super::queue::ReadyList;
use super::shape::Shaper;
use super::slab::Slab;
use super::visits::Visits;
use crate::metrics::Metrics;
use crate::types::{Seat, Time};
use crate::wire::Message;
use crate::wire::client::Request;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

/// What the sockets have to tell.
#[derive(Debug)]
pub enum Event {
    /// An authenticated connection to a validator stands, or to somebody without a seat whom this node dialed.
    Opened(Seat),
    /// It is gone. (Where a newer one of the same seat replaces it, that one is told of next.)
    Closed(Seat),
    /// Somebody without a seat has come, under this number.
    GuestOpened(Seat),
    /// It is gone.
    GuestClosed(Seat),
    /// A peer sent a message.
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

/// All sockets.
pub struct Sockets {
    pub(super) registry: Registry,
    pub(super) identity: Arc<Identity>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) conns: Slab<Conn>,
    pub(super) dialer: Dialer,
    /// Peers without a seat, by number.
    pub(super) guests: Vec<Option<Guest>>,
    pub(super) guests_max: usize,
    /// Where others are.
    pub(super) acquaintance: Acquaintance,
    /// Those that the configuration names by a name.
    pub(super) names: Names,
    /// Why nobody of the chain answers at an address that the configuration names.
    pub(super) troubles: BTreeMap<SocketAddr, String>,
    /// Seats whose connections replace one another, with the places from which the last two came.
    pub(super) twins: BTreeMap<Seat, (Score, [SocketAddr; 2])>,
    /// The current connection of each seat.
    pub(super) seats: Vec<Option<Token>>,
    /// What each seat did wrong, and until when it is refused.
    pub(super) standings: Vec<(Score, Time)>,
    /// What strangers may take.
    pub(super) limits: Limits,
    /// Connections of this process to its own client port, for which those do not hold.
    pub(super) visits: Visits,
    /// Bytes and messages per second of one peer.
    pub(super) rates: [Rate; 2],
    /// The same of one guest.
    pub(super) guest_rates: [Rate; 2],
    /// What those still owe of these rates who have gone.
    pub(super) debts: Debts,
    /// Bytes per second to all guests together.
    pub(super) guests_rate: Rate,
    pub(super) guests_pace: Pace,
    /// No guest is written to before, for they have had their share.
    pub(super) guests_until: Time,
    /// Guests that have output and wait for that time, in their turn.
    pub(super) guests_line: Vec<Token>,
    /// Questions of all clients together.
    pub(super) questions: Questions,
    /// Peers that sent more than their rate, by when they are read from again.
    pub(super) paused: BTreeSet<(Time, Token)>,
    /// What makes the links to validators worse, if anything.
    pub(super) shaper: Option<Shaper>,
    /// Peers whose links are busy, by when they are free.
    pub(super) busy: BTreeSet<(Time, Token)>,
    pub(super) opened: usize,
    /// Those that had input to be read.
    pub(super) ready: ReadyList,
    /// Those that have output and a socket that takes it.
    pub(super) dirty: ReadyList,
    /// Those that have input and wait for room: validators for the disk, clients, by standing, for the mempool.
    pub(super) waiting_peers: Vec<Token>,
    pub(super) waiting_clients: [Vec<Token>; 3],
    /// Those without identity or hello, by their deadline.
    pub(super) strangers: VecDeque<(Time, Token)>,
    pub(super) subscribers: Vec<Token>,
    pub(super) inbound_strangers: usize,
    pub(super) silent_clients: usize,
    pub(super) clients: usize,
    stall_check: Time,
    /// Who reads and writes.
    pub(super) io: IoThreads,
}

/// Lets the system find out when a client has vanished, and keep only so much for it. Where a system does not know these
/// options, its own bounds hold.
fn bound_by_system(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
    let _ = sockopt::set_socket_send_buffer_size(stream, CLIENT_SEND_BUFFER);
}

impl Sockets {
    /// No connections yet; dials are due.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new(
        registry: Registry,
        identity: Arc<Identity>,
        (peers, names): (&[SocketAddr], Vec<Name>),
        acquaintance: Acquaintance,
        config: &NetConfig,
        metrics: Arc<Metrics>,
        now: Time,
    ) -> io::Result<Sockets> {
        let seats = identity.seats.len();
        let rate = |per_second: usize| Rate { per_second: per_second as u64, burst: PEER_BURST };
        let connections_max = config.clients_max + STRANGERS_MAX + seats + config.guests_max + OUTBOUND_MAX;
        let addresses = (0..seats).map(|seat| peers.get(seat).copied());
        let mut dialer = Dialer::new(identity.seat, addresses, now);
        for (seat, key) in acquaintance.seats.iter().enumerate() {
            if let Some(address) = acquaintance.book.of_key(key) {
                dialer.moved(Seat(seat as u16), address, now);
            }
        }
        let io = IoThreads::start(config.net_threads, identity.seat, &metrics)?;
        Ok(Sockets {
            registry,
            metrics,
            standings: vec![Default::default(); seats],
            limits: Limits::new(config, connections_max, dialer.configured().map(|address| address.ip())),
            visits: Visits::default(),
            rates: [rate(config.peer_bytes_per_second), rate(config.peer_messages_per_second)],
            guest_rates: [rate(GUEST_BYTES_PER_SECOND), rate(GUEST_MESSAGES_PER_SECOND)],
            debts: Debts::default(),
            guests_rate: Rate { per_second: config.guests_bytes_per_second as u64, burst: GUESTS_BURST },
            guests_pace: Pace::default(),
            guests_until: Time(0),
            guests_line: Vec::new(),
            questions: Questions::new(Rate {
                per_second: config.client_questions_per_second as u64,
                burst: QUESTIONS_BURST,
            }),
            paused: BTreeSet::new(),
            shaper: Shaper::new(&config.shape, identity.seat, seats, config.guests_max + OUTBOUND_MAX),
            busy: BTreeSet::new(),
            conns: Slab::default(),
            dialer,
            guests: vec![None; config.guests_max + OUTBOUND_MAX],
            guests_max: config.guests_max,
            acquaintance,
            names: Names::new(names, now),
            troubles: BTreeMap::new(),
            twins: BTreeMap::new(),
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
            io,
        })
    }

    /// Validators connected.
    pub fn peers(&self) -> usize {
        self.opened
    }

    /// Whether nothing can be done before the next event or deadline.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.dirty.is_empty()
    }

    /// The next deadline.
    pub fn deadline(&self, now: Time) -> Time {
        let stranger = self.strangers.front().map(|(time, _)| *time);
        let timed = |list: &BTreeSet<(Time, Token)>| list.first().map(|(time, _)| *time);
        let (paused, busy) = (timed(&self.paused), timed(&self.busy));
        let dials = [self.dialer.deadline(), self.book_deadline()].into_iter().flatten().min();
        let shaped = self.shaper.as_ref().and_then(Shaper::deadline);
        let names = self.names.deadline();
        let guests = (!self.guests_line.is_empty()).then_some(self.guests_until);
        let questions = self.questions.deadline(now);
        [stranger, paused, busy, guests, shaped, names, questions, dials]
            .into_iter()
            .flatten()
            .fold(self.stall_check, Time::min)
    }

    /// Adds a connection whose socket is made; `counted`: the port that it came to, none if it was dialed.
    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        link: Link,
        counted: Option<usize>,
        now: Time,
    ) -> io::Result<Token> {
        let _ = stream.set_nodelay(true);
        if let Link::Client(_) = &link {
            bound_by_system(&stream);
        }
        let registry = &self.registry;
        let token = self.conns.insert(|token| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            io::Result::Ok(Conn {
                stream,
                link,
                address,
                since: now,
                stuck: None,
                connecting: counted.is_none(),
                readable: false,
                writable: false,
                read_closed: false,
                in_ready: false,
                in_dirty: false,
                in_waiting: false,
                subscribed: false,
                counted,
                paces: [Pace::default(); 2],
                paused_until: Time(0),
                dialed: None,
                asked_addresses: None,
                told_addresses: None,
                said_address: false,
                choked: false,
                sending: Pace::default(),
                busy_until: Time(0),
                brought: 0,
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
            (conn.readable, conn.read_closed) = (true, conn.read_closed | event.is_read_closed());
            self.ready.add(token, &mut conn.in_ready);
        }
    }

    /// `seat` has proved itself on a connection; an older one of the same seat goes.
    pub(super) fn open_seat(&mut self, token: Token, seat: Seat, now: Time, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Link::Peer(link) = &conn.link else { return };
        let inbound = link.is_inbound();
        self.inbound_strangers -= usize::from(inbound);
        conn.since = now;
        if let Some(port) = conn.counted.take() {
            self.limits.proved(conn.address.ip(), port, now);
        }
        let (address, dialed) = (conn.address, conn.dialed);
        if self.standings[seat.index()].1 > now {
            return self.drop_conn(token, &Gone::Refused, now, events);
        }
        // Also of those whom the configuration of seats names.
        let key = self.acquaintance.seats.get(seat.index()).copied();
        if let Some(key) = key.filter(|_| !inbound) {
            self.answered(dialed.unwrap_or(address), key, now);
        }
        if dialed.is_some() && self.seats[seat.index()].is_some() {
            return self.drop_conn(token, &Gone::Double, now, events);
        }
        if let Some(older) = self.seats[seat.index()] {
            self.note_twin(seat, [older, token], now);
            self.drop_conn(older, &Gone::Replaced, now, events);
        }
        if let Some(conn) = self.conns.get_mut(token) {
            conn.paces = self.debts.of(&Debtor::Seat(seat));
        }
        self.seats[seat.index()] = Some(token);
        self.opened += 1;
        self.dialer.opened(seat);
        self.names.opened(seat);
        if let Some(shaper) = &mut self.shaper {
            shaper.opened(seat, !inbound, now);
        }
        tracing::info!(seat = seat.0, %address, "validator connected");
        events.push(Event::Opened(seat));
        self.greet(token, now);
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
                let unread = self.conns.get(token).is_some_and(|conn| conn.in_waiting);
                let reason = if unread { Gone::Unread } else { Gone::Silent };
                self.drop_conn(token, &reason, now, events);
            }
        }
        while let Some((due, token)) = self.paused.first().copied().filter(|(due, _)| *due <= now) {
            self.paused.remove(&(due, token));
            if let Some(conn) = self.conns.get_mut(token) {
                self.ready.add(token, &mut conn.in_ready);
            }
        }
        for token in self.questions.turns(now) {
            if let Some(conn) = self.conns.get_mut(token)
                && let Link::Client(link) = &mut conn.link
            {
                link.asker.begin();
                self.ready.add(token, &mut conn.in_ready);
            }
        }
        self.tick_guests(now);
        self.tick_shape(now, events);
        while let Some((seat, address)) = self.dialer.next(now) {
            match address {
                Some(address) => self.dial(seat, address, now),
                None => self.redial(seat, std::time::Duration::ZERO, &Gone::Nowhere, now),
            }
        }
        self.look_for_peers(now, events);
        self.dial_from_book(now);
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
            Ok(self.add(stream, address, Link::Peer(Box::new(link)), None, now)?)
        });
        if let Err(gone) = dialed {
            self.redial(seat, std::time::Duration::ZERO, &gone, now);
        }
    }

    fn redial(&mut self, seat: Seat, stood: std::time::Duration, gone: &Gone, now: Time) {
        let earliest = self.standings[seat.index()].1;
        self.names.lost(seat, now);
        if self.dialer.lost(seat, stood, &gone.to_string(), earliest, now) {
            tracing::info!(seat = seat.0, reason = %gone, "validator not connected");
        }
    }

    /// Ends a connection, counts it, and plans a new one where that is this node's part.
    pub(super) fn drop_conn(&mut self, token: Token, gone: &Gone, now: Time, events: &mut Vec<Event>) {
        let Some(mut conn) = self.conns.remove(token) else { return };
        let _ = self.registry.deregister(&mut conn.stream);
        let _ = conn.stream.shutdown(Shutdown::Both);
        self.paused.remove(&(conn.paused_until, token));
        self.busy.remove(&(conn.busy_until, token));
        if let Some(debtor) = self.debtor(&conn) {
            self.debts.keep(debtor, conn.paces, now);
        }
        if let Some(port) = conn.counted {
            self.limits.left(conn.address.ip(), port, now);
        }
        if let Some((reason, points)) = gone.dismissal() {
            self.metrics.dismiss(reason);
            self.blame(&conn, points, now);
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
                self.questions.left(&link.asker);
                events.push(Event::Left(token));
                if conn.subscribed {
                    self.subscribers.retain(|client| *client != token);
                }
            }
            Link::Peer(link) => {
                let seat = link.seat();
                self.inbound_strangers -= usize::from(link.is_inbound() && seat.is_none());
                if let Some(address) = &conn.dialed {
                    self.left_address(address, seat.is_some(), gone, now);
                }
                seat.iter().for_each(|seat| self.close_guest(token, *seat, events));
                let seat = seat.filter(|seat| seat.index() < self.seats.len());
                if let Some(seat) = seat.filter(|seat| self.seats[seat.index()] == Some(token)) {
                    self.seats[seat.index()] = None;
                    self.opened -= 1;
                    if let Some(shaper) = &mut self.shaper {
                        shaper.closed(seat);
                    }
                    if matches!(gone, Gone::Peer(_)) {
                        Metrics::add(&self.metrics.peer_faults, 1);
                    }
                    events.push(Event::Closed(seat));
                }
                if let Some(dialed) =
                    link.expected().or(seat).filter(|seat| self.seats[seat.index()].is_none())
                {
                    let stood = if seat.is_some() { now.since(conn.since) } else { Default::default() };
                    if !matches!(gone, Gone::Replaced | Gone::Double) {
                        self.redial(dialed, stood, gone, now);
                    }
                }
            }
        }
    }
}
