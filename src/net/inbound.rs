//! The receiving half of the sockets: who is read from, how much of it, and what it brings.

use super::config::*;
use super::conn::{Conn, Gone, Link, read_some};
use super::io_threads::{Job, Task};
use super::meet::is_served;
use super::peer::PeerEvent;
use super::sockets::{Event, Sockets};
use super::turns::{STANDINGS, Standing};
use crate::metrics::Metrics;
use crate::types::Time;
use crate::wire::Message;
use crate::wire::client::{Request, SUBMIT_BLOB_BYTES_MAX, SUBMIT_ROWS_MAX};
use mio::Token;

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

impl Sockets {
    /// Whether somebody who waited for room finds it now.
    pub fn could_resume(&self, gate: &Gate) -> bool {
        let client = |standing| gate.open(standing) && !self.waiting_clients[standing as usize].is_empty();
        gate.peers && !self.waiting_peers.is_empty() || STANDINGS.into_iter().any(client)
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
        let is_peer =
            |token: &Token| matches!(self.conns.get(*token), Some(Conn { link: Link::Peer(_), .. }));
        let (peers, clients): (Vec<_>, Vec<_>) = turn.into_iter().partition(is_peer);
        self.read_peers(peers, gate, now, events);
        let mut served = Vec::new();
        for token in clients {
            let room = (gate.rows[0], gate.blobs);
            let turn = self.read_client(token, gate, now, events);
            let Some(conn) = self.conns.get_mut(token) else { continue };
            match turn {
                Ok(Turn::More) => self.ready.add(token, &mut conn.in_ready),
                Ok(Turn::Wait) if !std::mem::replace(&mut conn.in_waiting, true) => {
                    match (gate.rows[0], gate.blobs) == room {
                        true => self.await_room(token),
                        false => served.push(token),
                    }
                }
                Ok(Turn::Wait | Turn::Done) => {}
                Err(gone) => self.drop_conn(token, &gone, now, events),
            }
        }
        for token in served {
            self.await_room(token);
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

    /// Reads from peers: from all of them first, and only then is done what they say.
    fn read_peers(&mut self, peers: Vec<Token>, gate: &Gate, now: Time, events: &mut Vec<Event>) {
        let mut jobs = Vec::with_capacity(peers.len());
        for token in peers {
            jobs.extend(self.may_read(token, gate, now));
        }
        for job in self.io.run(&mut self.conns, jobs) {
            self.take_read(job, now, events);
        }
    }

    /// Whether this peer's is the turn to be read from.
    fn may_read(&mut self, token: Token, gate: &Gate, now: Time) -> Option<Job> {
        let conn = self.conns.get_mut(token)?;
        let Link::Peer(link) = &conn.link else { return None };
        if is_served(&self.guests, link) && link.waiting_bytes() > GUEST_OUT_PAUSE {
            conn.choked = true;
        } else if !gate.peers {
            if !std::mem::replace(&mut conn.in_waiting, true) {
                self.waiting_peers.push(token);
            }
        } else if conn.paused_until > now {
            self.paused.insert((conn.paused_until, token));
        } else if conn.has_input() {
            let load = if conn.established() { conn.brought } else { HANDSHAKE_LOAD };
            return Some(Job::new(token, Task::Read, load));
        }
        None
    }

    /// Does what a peer that was read from has said.
    fn take_read(&mut self, job: Job, now: Time, events: &mut Vec<Event>) {
        let Job { token, bytes, mut come, more, result, .. } = job;
        Metrics::add(&self.metrics.bytes_received, bytes as u64);
        // Who it is comes alone in its turn, so that what follows is reckoned by that.
        match come.pop_if(|event| !matches!(event, PeerEvent::Message(_))) {
            Some(PeerEvent::Opened(seat)) => self.open_seat(token, seat, now, events),
            Some(PeerEvent::Guest(key)) => self.open_guest(token, key, now, events),
            _ => {}
        }
        self.charge_read(token, bytes, &come, now);
        for event in come {
            // What another one has said, or it itself, may have been its end.
            let Some(Conn { link: Link::Peer(link), .. }) = self.conns.get(token) else { return };
            match (event, link.seat()) {
                (PeerEvent::Message(Message::WantAddresses), _) => self.tell_addresses(token, now),
                (PeerEvent::Message(Message::Addresses(records)), _) => {
                    self.hear_addresses(token, &records, now, events);
                }
                (PeerEvent::Message(message), Some(from)) => events.push(Event::Message { from, message }),
                _ => {}
            }
        }
        self.mark_dirty(token);
        match result {
            Ok(()) => {
                if let Some(conn) = self.conns.get_mut(token).filter(|_| more) {
                    self.ready.add(token, &mut conn.in_ready);
                }
            }
            Err(gone) => {
                self.flush_once(token);
                self.drop_conn(token, &gone, now, events);
            }
        }
    }

    /// Counts what a peer has brought. What was read is handed on; whoever is ahead of its rate is read from again only when that
    /// is worked off, so that the rest waits in its own buffers.
    fn charge_read(&mut self, token: Token, bytes: usize, come: &[PeerEvent], now: Time) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Conn { link: Link::Peer(link), paces, paused_until, brought, .. } = conn else { return };
        let served = is_served(&self.guests, link);
        let rates = if served { &self.guest_rates } else { &self.rates };
        let messages = if served { come.iter().map(weight).sum() } else { come.len() };
        let ahead = paces.iter_mut().zip(rates).zip([bytes, messages]);
        let ahead = ahead.map(|((pace, rate), count)| pace.charge(count as u64, rate, now));
        let pause = ahead.max().unwrap_or_default();
        (*paused_until, *brought) = (now + pause, bytes);
        Metrics::add(&self.metrics.throttled, u64::from(!pause.is_zero()));
    }

    fn read_client(
        &mut self,
        token: Token,
        gate: &mut Gate,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<Turn, Gone> {
        let turn = self.take_requests(token, gate, now, events);
        if let Some(Conn { link: Link::Client(link), .. }) = self.conns.get_mut(token) {
            link.asker.end();
        }
        turn
    }

    /// Takes what a client asks, up to its bounds.
    fn take_requests(
        &mut self,
        token: Token,
        gate: &mut Gate,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<Turn, Gone> {
        let Some(conn) = self.conns.get_mut(token) else { return Ok(Turn::Done) };
        let Conn { stream, link: Link::Client(link), readable, read_closed, address, .. } = conn else {
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
                    Request::Subscribe => {}
                    Request::Status | Request::Account(_) | Request::Certificate(_) | Request::Absent => {
                        let (ip, limits, stood) = (address.ip(), &mut self.limits, link.asker.waits());
                        let weight = question_weight(&request, self.seats.len());
                        let first = || limits.take_first_question(ip, now);
                        if !self.questions.ask(&mut link.asker, token, weight, first, now) {
                            Metrics::add(&self.metrics.throttled, u64::from(!stood));
                            link.postpone(request);
                            // It goes on when it is its turn, unless nobody is there any more to be answered.
                            return if *read_closed { Err(Gone::Closed) } else { Ok(Turn::Done) };
                        }
                    }
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
            let Some(bytes) = read_some(stream, &mut self.io.buffer[..budget], readable)? else { continue };
            budget -= bytes.len();
            Metrics::add(&self.metrics.bytes_received, bytes.len() as u64);
            link.receive(bytes);
        }
    }
}

/// As how many messages of a guest one counts: what is looked up block by block is as dear as what it asks for.
fn weight(event: &PeerEvent) -> usize {
    match event {
        PeerEvent::Message(Message::WantBlocks { count, .. }) => 1 + *count as usize / BLOCKS_PER_MESSAGE,
        _ => 1,
    }
}

/// As how many questions of a client one counts: who is absent is looked up seat by seat, and told in as many lines.
fn question_weight(request: &Request, seats: usize) -> u64 {
    match request {
        Request::Absent => 1 + (seats / SEATS_PER_QUESTION) as u64,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Height;

    #[test]
    fn many_blocks_weigh_more_than_few() {
        let want = |count| PeerEvent::Message(Message::WantBlocks { first: Height(1), count });
        assert_eq!([1, 7, 8, 256].map(|count| weight(&want(count))), [1, 1, 2, 33]);
        assert_eq!(weight(&PeerEvent::Message(Message::WantSnapshots)), 1);
    }

    #[test]
    fn the_question_who_is_absent_weighs_more_where_there_are_many_seats() {
        let absent = [1, 15, 16, 1024].map(|seats| question_weight(&Request::Absent, seats));
        assert_eq!(absent, [1, 1, 2, 65]);
        assert_eq!(question_weight(&Request::Status, 1024), 1);
    }
}
