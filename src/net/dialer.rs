//! When to dial whom. Of two validators the one with the lower seat dials.

use super::config::{REDIAL_MAX, REDIAL_MIN, STEADY_AFTER};
use crate::types::{Seat, Time};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

struct Target {
    address: SocketAddr,
    wait: Duration,
    due: Option<Time>,
    said: Option<String>,
}

/// The validators that this node dials, with the time of the next attempt for each that is not connected.
pub struct Dialer {
    own: Seat,
    targets: Vec<Target>,
    due: BTreeSet<(Time, Seat)>,
}

impl Dialer {
    /// All higher seats, due at once.
    pub fn new(own: Seat, peers: &[SocketAddr], now: Time) -> Dialer {
        let target =
            |address: &SocketAddr| Target { address: *address, wait: REDIAL_MIN, due: None, said: None };
        let mut dialer = Dialer { own, targets: peers.iter().map(target).collect(), due: BTreeSet::new() };
        for seat in (0..peers.len()).filter_map(|seat| u16::try_from(seat).ok()) {
            dialer.schedule(Seat(seat), now);
        }
        dialer
    }

    /// When the next attempt is due.
    pub fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(time, _)| *time)
    }

    /// Someone whose time has come.
    pub fn next(&mut self, now: Time) -> Option<(Seat, SocketAddr)> {
        let (time, seat) = *self.due.first()?;
        if time > now {
            return None;
        }
        self.due.pop_first();
        let target = &mut self.targets[seat.index()];
        target.due = None;
        Some((seat, target.address))
    }

    /// The connection to `seat` stands: what went wrong before is worth saying again.
    pub fn opened(&mut self, seat: Seat) {
        if let Some(target) = self.targets.get_mut(seat.index()) {
            target.said = None;
        }
    }

    /// There is no connection to `seat` any more, or the attempt failed; `stood`: how long there was one; `earliest`:
    /// not to be dialed before. Says whether the reason is news.
    pub fn lost(&mut self, seat: Seat, stood: Duration, reason: &str, earliest: Time, now: Time) -> bool {
        let Some(target) = self.targets.get_mut(seat.index()) else { return true };
        if stood >= STEADY_AFTER {
            target.wait = REDIAL_MIN;
        }
        let due = (now + target.wait).max(earliest);
        target.wait = (target.wait * 2).min(REDIAL_MAX);
        let news = target.said.as_deref() != Some(reason);
        target.said = Some(reason.to_owned());
        self.schedule(seat, due);
        news
    }

    fn schedule(&mut self, seat: Seat, due: Time) {
        let target = &mut self.targets[seat.index()];
        if seat > self.own && target.due.is_none() {
            target.due = Some(due);
            self.due.insert((due, seat));
        }
    }
}
