//! What somebody did wrong, and who is refused for it.
//!
//! - Upon a fault of a validator: points for its seat; too many, and it is refused for a moment.
//! - Upon a fault of a stranger, a guest or a client: points for its address ([`super::limits`]); whom this node dialed has not
//!   come by itself, and is only dropped.
//! - Upon a refusal: it is said in the log, once, with how long it lasts.

use super::config::{RULE_POINTS, SCORE_MAX, SEAT_REFUSAL};
use super::conn::{Conn, Gone, Link};
use super::sockets::{Event, Sockets};
use crate::types::{Seat, Time};
use std::net::IpAddr;

impl Sockets {
    /// Counts what somebody did wrong: a validator's towards its seat, a stranger's towards its address.
    pub(super) fn blame(&mut self, conn: &Conn, points: u64, now: Time) {
        match &conn.link {
            Link::Peer(link) if link.seat().is_some_and(|seat| seat.index() < self.seats.len()) => {
                if let Some(seat) = link.seat() {
                    self.blame_seat(seat, points, now);
                }
            }
            // Whom this node dialed has not come by itself.
            Link::Peer(link) if !link.is_inbound() => {}
            // One of this process' own speaks for others.
            Link::Client(_) if conn.counted.is_none() => {}
            _ => self.blame_address(conn.address.ip(), points, now),
        }
    }

    /// Counts what a stranger did wrong towards its address.
    pub(super) fn blame_address(&mut self, address: IpAddr, points: u64, now: Time) {
        if let Some(span) = self.limits.fault(address, points, now) {
            tracing::warn!(%address, seconds = span.as_secs(), "too many faults: the address is refused");
        }
    }

    /// Whether the seat is refused from now on.
    fn blame_seat(&mut self, seat: Seat, points: u64, now: Time) -> bool {
        let Some((score, refused_until)) = self.standings.get_mut(seat.index()) else { return false };
        let refused = points > 0 && score.add(points, now) >= SCORE_MAX;
        if refused {
            score.clear();
            *refused_until = now + SEAT_REFUSAL;
            tracing::warn!(
                seat = seat.0,
                seconds = SEAT_REFUSAL.as_secs(),
                "too many faults: the seat is refused"
            );
        }
        refused
    }

    /// The machine says that a validator broke a rule of the protocol: too often, and it is refused for a moment.
    /// Somebody without a seat is not held on to.
    pub fn broke_rule(&mut self, seat: Seat, reason: &'static str, now: Time, events: &mut Vec<Event>) {
        if seat.index() >= self.seats.len() {
            let Some(token) = self.token_of(seat) else { return };
            let came = self.conns.get(token).filter(|conn| conn.dialed.is_none());
            if let Some(address) = came.map(|conn| conn.address.ip()) {
                self.blame_address(address, SCORE_MAX / 4, now);
            }
            return self.drop_conn(token, &Gone::Rules(reason), now, events);
        }
        if self.blame_seat(seat, RULE_POINTS, now)
            && let Some(token) = self.seats.get(seat.index()).copied().flatten()
        {
            self.drop_conn(token, &Gone::Rules(reason), now, events);
        }
    }
}
