//! The sending half of the sockets: queues in, coalesced writes out.

use super::config::*;
use super::conn::{Conn, Gone, Link, flush};
use super::meet::Guest;
use super::sockets::{Event, Sockets};
use crate::metrics::Metrics;
use crate::types::{Seat, Time};
use crate::wire::Message;
use crate::wire::client::Reply;
use bytes::Bytes;
use mio::Token;
use std::io::Write;

/// Whether a peer is one that is only served: a guest, and no source of this node.
fn is_served(guests: &[Option<Guest>], peer: Seat) -> bool {
    let number = peer.0.checked_sub(Seat::guest(0).0);
    let guest = number.and_then(|number| guests.get(usize::from(number)).copied().flatten());
    guest.is_some_and(|guest| !guest.is_source)
}

impl Sockets {
    /// Writes to everybody who has something to write, each within its budget.
    pub fn write(&mut self, now: Time, events: &mut Vec<Event>) {
        for _ in 0..self.dirty.len() {
            let Some(token) = self.dirty.pop() else { break };
            let Some(conn) = self.conns.get_mut(token) else { continue };
            conn.in_dirty = false;
            if conn.busy_until > now {
                self.busy.insert((conn.busy_until, token));
                continue;
            }
            let peer = if let Link::Peer(link) = &conn.link { link.seat() } else { None };
            let served = peer.is_some_and(|peer| is_served(&self.guests, peer));
            if served && self.guests_until > now {
                // It keeps its mark: it stands in the line, and is written to when its turn comes.
                conn.in_dirty = true;
                self.guests_line.push(token);
                continue;
            }
            let most = if served { GUEST_WRITE_BUDGET } else { WRITE_BUDGET };
            let shaper = self.shaper.as_ref().filter(|_| matches!(conn.link, Link::Peer(_)));
            match flush(conn, shaper.map_or(most, |shaper| shaper.budget(most))) {
                Ok((sent, more)) => {
                    if served {
                        let wait = self.guests_pace.charge(sent as u64, &self.guests_rate, now);
                        self.guests_until = now + wait;
                    }
                    if let Some(shaper) = shaper {
                        conn.busy_until = now + conn.sending.charge(sent as u64, &shaper.rate, now);
                    }
                    Metrics::add(&self.metrics.bytes_sent, sent as u64);
                    let waits = !conn.out().pending().is_empty();
                    conn.stuck = if !waits {
                        None
                    } else if sent > 0 {
                        Some(now)
                    } else {
                        conn.stuck.or(Some(now))
                    };
                    if more {
                        self.dirty.add(token, &mut conn.in_dirty);
                    }
                    self.rouse(token);
                }
                Err(gone) => self.drop_conn(token, &gone, now, events),
            }
        }
    }

    /// One attempt to get out what tells the other side why it is dropped.
    pub(super) fn flush_once(&mut self, token: Token) {
        if let Some(conn) = self.conns.get_mut(token) {
            let sent = conn.stream.write(match &conn.link {
                Link::Peer(link) => link.out.pending(),
                Link::Client(link) => link.out.pending(),
            });
            Metrics::add(&self.metrics.bytes_sent, sent.unwrap_or(0) as u64);
        }
    }

    pub(super) fn mark_dirty(&mut self, token: Token) {
        if let Some(conn) = self.conns.get_mut(token)
            && conn.writable
        {
            self.dirty.add(token, &mut conn.in_dirty);
        }
    }

    /// Reads on from a client or a guest that its own bounds had held back.
    fn rouse(&mut self, token: Token) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let wants = match &conn.link {
            Link::Client(link) => link.may_ask(),
            Link::Peer(link) => conn.choked && link.waiting_bytes() <= GUEST_OUT_PAUSE,
        };
        conn.choked &= !wants;
        if wants && !conn.in_waiting && conn.has_input() {
            self.ready.add(token, &mut conn.in_ready);
        }
    }

    /// The guests that wait for their turn have it again.
    pub(super) fn tick_guests(&mut self, now: Time) {
        if self.guests_until <= now {
            for token in std::mem::take(&mut self.guests_line) {
                if let Some(conn) = self.conns.get_mut(token) {
                    conn.in_dirty = false;
                    self.dirty.add(token, &mut conn.in_dirty);
                }
            }
        }
    }

    /// What is due on shaped links: messages that were on their way for long enough, links that are free, and resets.
    pub(super) fn tick_shape(&mut self, now: Time, events: &mut Vec<Event>) {
        while let Some((due, token)) = self.busy.first().copied().filter(|(due, _)| *due <= now) {
            self.busy.remove(&(due, token));
            self.mark_dirty(token);
        }
        while let Some((to, message, payload)) = self.shaper.as_mut().and_then(|shaper| shaper.release(now)) {
            self.queue(to, &message, payload);
        }
        while let Some(seat) = self.shaper.as_mut().and_then(|shaper| shaper.reset(now)) {
            if let Some(token) = self.token_of(seat) {
                self.drop_conn(token, &Gone::Shaped, now, events);
            }
        }
    }

    /// Sends a message to one peer; drops it when there is no room, or no connection.
    pub fn send(&mut self, to: Seat, message: &Message, now: Time) {
        self.send_payload(to, message, message.payload(), now);
    }

    /// Sends a message to all validators; its bytes are shared.
    pub fn broadcast(&mut self, message: &Message, now: Time) {
        let payload = message.payload();
        for seat in 0..self.seats.len() {
            self.send_payload(Seat(seat as u16), message, payload.clone(), now);
        }
    }

    fn send_payload(&mut self, to: Seat, message: &Message, payload: Bytes, now: Time) {
        // Where there is no connection there is no way either.
        let stands = self.token_of(to).is_some();
        let Some(shaper) = &mut self.shaper else { return self.queue(to, message, payload) };
        if stands && !shaper.hold(to, message.clone(), payload, now) {
            Metrics::add(&self.metrics.messages_dropped, 1);
        }
    }

    /// Queues a message at the connection to a peer.
    fn queue(&mut self, to: Seat, message: &Message, payload: Bytes) {
        let Some(token) = self.token_of(to) else { return };
        let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get_mut(token) else { return };
        if !link.send(message, payload) {
            Metrics::add(&self.metrics.messages_dropped, 1);
        }
        self.mark_dirty(token);
    }

    /// Answers a client; `rows` of it are not waiting any more.
    pub fn reply(&mut self, client: Token, reply: &Reply, rows: usize, now: Time, events: &mut Vec<Event>) {
        let Some(Conn { link: Link::Client(link), .. }) = self.conns.get_mut(client) else { return };
        link.rows_waiting -= rows.min(link.rows_waiting);
        match link.reply(reply) {
            Ok(()) => {
                self.mark_dirty(client);
                self.rouse(client);
            }
            Err(error) => self.drop_conn(client, &error.into(), now, events),
        }
    }

    /// From now on the client hears of every block.
    pub fn subscribe(&mut self, client: Token) {
        if let Some(conn) = self.conns.get_mut(client)
            && !std::mem::replace(&mut conn.subscribed, true)
        {
            self.subscribers.push(client);
        }
    }

    /// Tells all subscribers; one that does not read is dropped.
    pub fn publish(&mut self, reply: &Reply, now: Time, events: &mut Vec<Event>) {
        let (kind, payload) = reply.encode();
        for client in self.subscribers.clone() {
            let Some(Conn { link: Link::Client(link), .. }) = self.conns.get_mut(client) else { continue };
            match link.push(kind, &payload) {
                Ok(()) => self.mark_dirty(client),
                Err(error) => self.drop_conn(client, &error.into(), now, events),
            }
        }
    }
}
