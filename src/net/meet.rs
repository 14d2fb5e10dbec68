//! Peers without a seat, and how peers find each other.
//!
//! - **Upon a peer that has proved a key and no seat**: it gets a number ([`Seat::guest`]) as long as there is one; the same
//!   key again takes the place of its older connection. It is a guest, to be served; or, if this node is an observer and
//!   dialed it, a source.
//! - **Upon more of them than places**: they are shared out by network (`crowd.rs`).
//! - **Upon a connection**: one's own address record goes out first, if there is one, and the question for others where the
//!   book is of use. A record that the peer did not make itself is taken only when it was asked for, and its signature is
//!   checked before anything else; who brings one that does not hold is dropped.
//! - **Upon too few connections**: an observer dials who stands in the book, and so does a validator that misses others; see
//!   [`super::book`]. Never whom it is connected to already; and one place is for those that the configuration names.
//! - **Upon places that are all taken and still nothing that comes**: the oldest of these connections gives way to another.

use super::book::Book;
use super::config::*;
use super::conn::{Conn, Gone, Link};
use super::crowd::{Place, place_of};
use super::debts::Debtor;
use super::limits::{Limits, Reach, Source};
use super::peer::PeerLink;
use super::sockets::{Event, Sockets};
use crate::types::{Seat, Time};
use crate::wire::{ADDRESSES_MAX, AddressRecord, Message};
use mio::Token;
use mio::net::TcpStream;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What a node knows of where others are, and says of itself.
pub struct Acquaintance {
    /// The book.
    pub book: Book,
    /// The own record, if the node wants to be called.
    pub own: Option<AddressRecord>,
    /// The keys of the seats, in order.
    pub seats: Vec<[u8; 32]>,
    /// Connections and attempts that this node chose from the book.
    pub(super) outbound: BTreeSet<SocketAddr>,
    /// A repeatable source of arbitrary numbers.
    pub(super) draws: u64,
    /// When the book is to be written.
    pub(super) write_at: Time,
    /// When the connections that it chose are looked at again.
    pub(super) look_at: Time,
    /// An observer: the chain did not move since the last look.
    pub(super) stuck: bool,
}

/// A connected peer without a seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    pub token: Token,
    pub key: [u8; 32],
    /// An observer follows the chain by it; all others are served.
    pub is_source: bool,
}

/// Whether a peer is one that is only served: a guest, and no source of this node. An observer serves as a validator does, so
/// this is asked of what a connection is and not of what the node is.
pub(super) fn is_served(guests: &[Option<Guest>], link: &PeerLink) -> bool {
    let number = link.seat().and_then(|peer| peer.0.checked_sub(Seat::guest(0).0));
    let guest = number.and_then(|number| guests.get(usize::from(number)).copied().flatten());
    guest.is_some_and(|guest| !guest.is_source)
}

/// Under what it is kept what a guest owes.
fn guest_debtor(limits: &Limits, address: IpAddr, key: [u8; 32]) -> Debtor {
    limits.limited(address).map_or(Debtor::Key(key), Debtor::Source)
}

impl Acquaintance {
    /// Of a node that knows what the book says.
    pub fn new(book: Book, own: Option<AddressRecord>, seats: Vec<[u8; 32]>, seed: u64) -> Acquaintance {
        let (outbound, write_at, look_at) = (BTreeSet::new(), Time(0), Time(0));
        Acquaintance { book, own, seats, outbound, draws: seed, write_at, look_at, stuck: false }
    }

    fn draw(&mut self) -> u64 {
        // splitmix64 (Steele et al. 2014)
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Sockets {
    /// The connection of a peer, by its seat or its number.
    pub(super) fn token_of(&self, peer: Seat) -> Option<Token> {
        if peer.index() < self.seats.len() {
            return self.seats[peer.index()];
        }
        self.guest(peer).map(|guest| guest.token)
    }

    fn guest(&self, peer: Seat) -> Option<Guest> {
        let number = peer.0.checked_sub(Seat::guest(0).0)?;
        self.guests.get(usize::from(number)).copied().flatten()
    }

    /// Somebody without a seat has proved a key on a connection.
    pub(super) fn open_guest(&mut self, token: Token, key: [u8; 32], now: Time, events: &mut Vec<Event>) {
        let older = self.guests.iter().flatten().find(|guest| guest.key == key).map(|guest| guest.token);
        let chosen = self.conns.get(token).is_some_and(|conn| conn.dialed.is_some());
        match older {
            Some(_) if chosen => {
                let dialed = self.conns.get(token).and_then(|conn| conn.dialed);
                dialed.iter().for_each(|address| self.answered(*address, key, now));
                return self.drop_conn(token, &Gone::Double, now, events);
            }
            Some(older) => self.drop_conn(older, &Gone::Replaced, now, events),
            None => {}
        }
        let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get(token) else { return };
        let inbound = link.is_inbound();
        let has_place = !inbound || self.find_place(token, now, events);
        let free = self.guests.iter().position(Option::is_none);
        let Some(number) = free.filter(|_| has_place) else {
            return self.drop_conn(token, &Gone::Crowded, now, events);
        };
        let peer = Seat::guest(number as u16);
        let is_source = !inbound && self.identity.seat == Seat::NONE;
        self.guests[number] = Some(Guest { token, key, is_source });
        let Some(conn) = self.conns.get_mut(token) else { return };
        conn.since = now;
        if !is_source {
            conn.paces = self.debts.of(&guest_debtor(&self.limits, conn.address.ip(), key));
        }
        let (address, dialed) = (conn.address, conn.dialed);
        let Link::Peer(link) = &mut conn.link else { return };
        link.name(peer);
        self.inbound_strangers -= usize::from(inbound);
        tracing::info!(key = %hex::encode(key), %address, inbound, "a peer without a seat connected");
        dialed.iter().for_each(|address| self.answered(*address, key, now));
        events.push(if is_source { Event::Opened(peer) } else { Event::GuestOpened(peer) });
        self.greet(token, now);
    }

    /// Whether there is a place for a guest that has come on this connection; another may have to make it free.
    fn find_place(&mut self, token: Token, now: Time, events: &mut Vec<Event>) -> bool {
        let come = |token: Token| {
            let conn = self.conns.get(token)?;
            let inbound = matches!(&conn.link, Link::Peer(link) if link.is_inbound());
            inbound.then(|| (conn.since, token, Source::of(conn.address.ip())))
        };
        let Some((_, _, source)) = come(token) else { return false };
        let mut guests: Vec<_> = self.guests.iter().flatten().filter_map(|guest| come(guest.token)).collect();
        guests.sort_by_key(|(since, ..)| *since);
        let guests: Vec<_> = guests.into_iter().map(|(_, token, source)| (token, source)).collect();
        match place_of(&guests, source, self.guests_max) {
            Place::Free => true,
            Place::Of(other) => {
                self.drop_conn(other, &Gone::Crowded, now, events);
                true
            }
            Place::None => false,
        }
    }

    /// Under what it is kept what a peer owes; none of whom this node follows the chain by.
    pub(super) fn debtor(&self, conn: &Conn) -> Option<Debtor> {
        let Link::Peer(link) = &conn.link else { return None };
        let peer = link.seat()?;
        if peer.index() < self.seats.len() {
            return Some(Debtor::Seat(peer));
        }
        let guest = self.guest(peer).filter(|guest| !guest.is_source)?;
        Some(guest_debtor(&self.limits, conn.address.ip(), guest.key))
    }

    /// The connection of somebody without a seat has ended.
    pub(super) fn close_guest(&mut self, token: Token, peer: Seat, events: &mut Vec<Event>) {
        let Some(guest) = self.guest(peer).filter(|guest| guest.token == token) else { return };
        self.guests[usize::from(peer.0 - Seat::guest(0).0)] = None;
        if let Some(shaper) = &mut self.shaper {
            shaper.closed(peer);
        }
        events.push(if guest.is_source { Event::Closed(peer) } else { Event::GuestClosed(peer) });
    }

    /// Says where this node is reached, and asks where others are.
    pub(super) fn greet(&mut self, token: Token, now: Time) {
        if let Some(own) = self.acquaintance.own {
            self.say(token, &Message::Addresses(vec![own]));
        }
        if self.looks_for_peers() || self.identity.seat == Seat::NONE {
            if let Some(conn) = self.conns.get_mut(token) {
                conn.asked_addresses = Some(now);
            }
            self.say(token, &Message::WantAddresses);
        }
    }

    pub(super) fn say(&mut self, token: Token, message: &Message) {
        let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get_mut(token) else { return };
        // Of what is lost here nothing depends.
        let _ = link.send(message, message.payload());
        self.mark_dirty(token);
    }

    /// The key that a connected peer has proved.
    fn key_of(&self, token: Token) -> Option<[u8; 32]> {
        let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get(token) else { return None };
        let peer = link.seat()?;
        self.acquaintance.seats.get(peer.index()).copied().or_else(|| self.guest(peer).map(|guest| guest.key))
    }

    /// A peer asks where others are: it is told of some, and seldom.
    pub(super) fn tell_addresses(&mut self, token: Token, now: Time) {
        let (key, draw) = (self.key_of(token), self.acquaintance.draw());
        let Some(conn) = self.conns.get_mut(token) else { return };
        if conn.told_addresses.is_some_and(|told| now < told + ADDRESSES_EVERY) {
            return;
        }
        conn.told_addresses = Some(now);
        let mut records: Vec<AddressRecord> = self.acquaintance.own.into_iter().collect();
        records.extend(self.acquaintance.book.share(key, ADDRESSES_MAX - records.len(), draw));
        self.say(token, &Message::Addresses(records));
    }

    /// A peer says where it is, or where others are, if it was asked.
    pub(super) fn hear_addresses(
        &mut self,
        token: Token,
        records: &[AddressRecord],
        now: Time,
        events: &mut Vec<Event>,
    ) {
        let Some(source) = self.key_of(token) else { return };
        let Some(conn) = self.conns.get_mut(token) else { return };
        let from = conn.address.ip();
        let own_word = matches!(records, [record] if record.key == source) && !conn.said_address;
        conn.said_address |= own_word;
        if !own_word && conn.asked_addresses.take().is_none() {
            return;
        }
        for record in records {
            let known = self.acquaintance.book.of_key(&record.key) == Some(record.address);
            // Who comes over the network has no word in what this machine, or its own network, is asked.
            let foreign = Reach::of(record.address.ip()) < Reach::of(from);
            if foreign || (known && record.key != source) {
                continue;
            }
            if !record.holds(&self.identity.chain) {
                // Nobody who is honest hands on what it has not checked, and each check costs as much as a handshake's.
                return self.drop_conn(token, &Gone::Forged, now, events);
            }
            self.acquaintance.book.learn(record, source, now);
            self.note_moved(record, now);
        }
    }

    fn note_moved(&mut self, record: &AddressRecord, now: Time) {
        let seat = self.acquaintance.seats.iter().position(|key| *key == record.key);
        if let Some(seat) =
            seat.filter(|_| self.acquaintance.book.of_key(&record.key) == Some(record.address))
        {
            self.dialer.moved(Seat(seat as u16), record.address, now);
        }
    }

    /// Whether there are fewer connections than this node wants.
    fn looks_for_peers(&self) -> bool {
        match self.identity.seat {
            Seat::NONE => self.acquaintance.outbound.len() < OUTBOUND_MAX,
            _ => self.opened + 1 < self.seats.len() && self.acquaintance.outbound.len() < OUTBOUND_MAX,
        }
    }

    /// When somebody in the book is to be dialed, or the connections are to be looked at.
    pub(super) fn book_deadline(&self) -> Option<Time> {
        let due = || self.acquaintance.book.due((&self.acquaintance.outbound, &self.keys()));
        let dial = self.looks_for_peers().then(due).flatten();
        [dial, self.misses_peers().then_some(self.acquaintance.look_at)].into_iter().flatten().min()
    }

    /// The keys of all that are connected.
    fn keys(&self) -> BTreeSet<[u8; 32]> {
        let seats = self.seats.iter().zip(&self.acquaintance.seats).filter(|(token, _)| token.is_some());
        seats.map(|(_, key)| *key).chain(self.guests.iter().flatten().map(|guest| guest.key)).collect()
    }

    /// Whether there is something that more connections would bring.
    fn misses_peers(&self) -> bool {
        match self.identity.seat {
            Seat::NONE => true,
            _ => self.opened + 1 < self.seats.len() && self.acquaintance.book.len() > 0,
        }
    }

    /// The regular look at the connections that this node chose: where they bring nothing, the one that stands longest gives
    /// way; and somebody is asked where others are.
    pub(super) fn look_for_peers(&mut self, now: Time, events: &mut Vec<Event>) {
        if now < self.acquaintance.look_at {
            return;
        }
        self.acquaintance.look_at = now + LOOK_EVERY;
        if !self.misses_peers() {
            return;
        }
        let full = self.acquaintance.outbound.len() >= OUTBOUND_MAX;
        let stuck = self.identity.seat != Seat::NONE || self.acquaintance.stuck;
        let chosen = |conn: &&Conn| {
            let guest = matches!(&conn.link, Link::Peer(link) if link.seat().is_some_and(|s| s.index() >= self.seats.len()));
            conn.dialed.is_some() && (guest || self.identity.seat == Seat::NONE)
        };
        let tokens: Vec<Token> = self.conns.tokens().collect();
        let mine = tokens.iter().filter(|token| self.conns.get(**token).as_ref().is_some_and(chosen));
        let oldest = mine.min_by_key(|token| self.conns.get(**token).map(|conn| conn.since)).copied();
        if let Some(oldest) = oldest.filter(|_| full && stuck) {
            self.drop_conn(oldest, &Gone::Useless, now, events);
        }
        let peers: Vec<Token> = self.peer_tokens();
        let draw = self.acquaintance.draw() as usize;
        if let Some(token) = peers.get(draw % peers.len().max(1)).copied()
            && let Some(conn) = self.conns.get_mut(token)
            && conn.asked_addresses.is_none_or(|asked| now >= asked + ADDRESSES_EVERY)
        {
            conn.asked_addresses = Some(now);
            self.say(token, &Message::WantAddresses);
        }
    }

    pub(super) fn peer_tokens(&self) -> Vec<Token> {
        let guests = self.guests.iter().flatten().map(|guest| guest.token);
        self.seats.iter().flatten().copied().chain(guests).collect()
    }

    /// Dials who stands in the book, as long as there are too few connections; a few at a time.
    pub(super) fn dial_from_book(&mut self, now: Time) {
        for _ in 0..OUTBOUND_MAX {
            if !self.looks_for_peers() {
                return;
            }
            let (draw, keys) = (self.acquaintance.draw(), self.keys());
            let Acquaintance { book, outbound, .. } = &mut self.acquaintance;
            let last = outbound.len() + 1 == OUTBOUND_MAX;
            let pick = |named| book.pick(now, (outbound, &keys), named, draw);
            // One place at least is for those that a person named.
            let address = if last { pick(true).or_else(|| pick(false)) } else { pick(false) };
            let Some(address) = address else { return };
            book.dialed(&address, now);
            let dialed = PeerLink::dial_anyone(self.identity.clone()).map_err(Gone::from).and_then(|link| {
                let stream = TcpStream::connect(address)?;
                Ok(self.add(stream, address, Link::Peer(Box::new(link)), None, now)?)
            });
            match dialed {
                Ok(token) => {
                    self.acquaintance.outbound.insert(address);
                    if let Some(conn) = self.conns.get_mut(token) {
                        conn.dialed = Some(address);
                    }
                }
                Err(gone) => {
                    tracing::debug!(%address, reason = %gone, "cannot dial");
                    self.trouble(address, &gone, now);
                    self.acquaintance.book.failed(&address, now);
                }
            }
        }
    }

    /// A connection to an address of the book has ended.
    pub(super) fn left_address(&mut self, address: &SocketAddr, proved: bool, gone: &Gone, now: Time) {
        self.acquaintance.outbound.remove(address);
        self.trouble(*address, gone, now);
        if !proved || matches!(gone, Gone::Double | Gone::Useless | Gone::Rules(_) | Gone::Forged) {
            tracing::info!(%address, reason = %gone, "no peer there");
            self.acquaintance.book.failed(address, now);
        }
    }

    /// The book as a file, when it is time to write it, or at the end.
    pub fn book_text(&mut self, now: Time, at_once: bool) -> Option<String> {
        let connected: BTreeSet<SocketAddr> = self.acquaintance.outbound.clone();
        if self.acquaintance.write_at == Time(0) {
            self.acquaintance.write_at = now + BOOK_EVERY;
        }
        if !at_once && now < self.acquaintance.write_at {
            return None;
        }
        self.acquaintance.write_at = now + BOOK_EVERY;
        Some(self.acquaintance.book.to_text(&connected))
    }
}
