//! The sending half of the sockets: queues in, coalesced writes out.

use super::config::*;
use super::conn::{Conn, Gone, Link};
use super::io_threads::{Job, Task};
use super::meet::is_served;
use super::pace::Pace;
use super::sockets::{Event, Sockets};
use crate::metrics::Metrics;
use crate::types::{Seat, Time};
use crate::wire::Message;
use crate::wire::client::Reply;
use bytes::Bytes;
use mio::Token;
use std::io::Write;
use std::time::Duration;

impl Sockets {
    /// Writes to everybody who has something to write, each within its budget.
    pub fn write(&mut self, now: Time, events: &mut Vec<Event>) {
        let mut jobs = Vec::with_capacity(self.dirty.len());
        // Guests take from a rate of all of them: nobody is written to that those before it may leave nothing for.
        let mut guests = self.guests_pace;
        while let Some(token) = self.dirty.pop() {
            jobs.extend(self.may_write(token, &mut guests, now));
        }
        for job in self.io.run(&mut self.conns, jobs) {
            self.take_written(job, now, events);
        }
    }

    /// Whether it is the turn of this connection to be written to; `guests`: what guests have had, with all that they may
    /// have in this turn.
    fn may_write(&mut self, token: Token, guests: &mut Pace, now: Time) -> Option<Job> {
        let conn = self.conns.get_mut(token)?;
        conn.in_dirty = false;
        if conn.busy_until > now {
            self.busy.insert((conn.busy_until, token));
            return None;
        }
        let Link::Peer(link) = &conn.link else {
            return Some(Job::new(token, Task::Write(WRITE_BUDGET), conn.out().pending().len()));
        };
        let served = is_served(&self.guests, link);
        let budget = if served { GUEST_WRITE_BUDGET } else { WRITE_BUDGET };
        let budget = self.shaper.as_ref().map_or(budget, |shaper| shaper.budget(budget));
        let load = link.waiting_bytes().min(budget);
        if served {
            if self.guests_until > now || guests.charge(0, &self.guests_rate, now) > Duration::ZERO {
                // It keeps its mark: it stands in the line, and is written to when its turn comes.
                conn.in_dirty = true;
                self.guests_line.push(token);
                return None;
            }
            guests.charge(load as u64, &self.guests_rate, now);
        }
        Some(Job::new(token, Task::Write(budget), load))
    }

    /// Takes note of what a connection has taken.
    fn take_written(&mut self, job: Job, now: Time, events: &mut Vec<Event>) {
        let Job { token, bytes, more, result, .. } = job;
        Metrics::add(&self.metrics.bytes_sent, bytes as u64);
        let Some(conn) = self.conns.get_mut(token) else { return };
        if let Err(gone) = result {
            return self.drop_conn(token, &gone, now, events);
        }
        if let Link::Peer(link) = &conn.link {
            if is_served(&self.guests, link) {
                let wait = self.guests_pace.charge(bytes as u64, &self.guests_rate, now);
                self.guests_until = now + wait;
            }
            if let Some(shaper) = &self.shaper {
                conn.busy_until = now + conn.sending.charge(bytes as u64, &shaper.rate, now);
            }
        }
        let waits = !conn.out().pending().is_empty();
        conn.stuck = match waits {
            false => None,
            true if bytes > 0 => Some(now),
            true => conn.stuck.or(Some(now)),
        };
        if more {
            self.dirty.add(token, &mut conn.in_dirty);
        }
        self.rouse(token);
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
