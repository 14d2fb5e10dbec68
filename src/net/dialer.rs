//! When to dial which validator. Of two the one with the lower seat dials, and the other only when that does not come.

use super::config::{DIAL_LOWER_AFTER, REDIAL_MAX, REDIAL_MIN, STEADY_AFTER};
use crate::types::{Seat, Time};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Stands for an address that is not known.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

struct Target {
    /// As the configuration says, and as the validator has said itself; tried in turn.
    addresses: [Option<SocketAddr>; 2],
    attempts: usize,
    wait: Duration,
    due: Option<Time>,
    said: Option<String>,
}

/// The other validators, with the time of the next attempt for each that is not connected.
pub struct Dialer {
    own: Seat,
    targets: Vec<Target>,
    due: BTreeSet<(Time, Seat)>,
}

impl Dialer {
    /// All other seats, the higher ones due at once. Where there is no address yet, an attempt finds none.
    pub fn new(own: Seat, addresses: impl Iterator<Item = Option<SocketAddr>>, now: Time) -> Dialer {
        let target = |address: Option<SocketAddr>| Target {
            addresses: [address.filter(|address| *address != NOWHERE), None],
            attempts: 0,
            wait: REDIAL_MIN,
            due: None,
            said: None,
        };
        let mut dialer = Dialer { own, targets: addresses.map(target).collect(), due: BTreeSet::new() };
        // Who has no seat chooses whom to dial among all addresses that it knows.
        let seats = if own == Seat::NONE { 0 } else { dialer.targets.len() };
        for seat in (0..seats).filter_map(|seat| u16::try_from(seat).ok()) {
            dialer.schedule(Seat(seat), now);
        }
        dialer
    }

    /// When the next attempt is due.
    pub fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(time, _)| *time)
    }

    /// Someone whose time has come, and where it is reached, if that is known.
    pub fn next(&mut self, now: Time) -> Option<(Seat, Option<SocketAddr>)> {
        let (time, seat) = *self.due.first()?;
        if time > now {
            return None;
        }
        self.due.pop_first();
        let target = &mut self.targets[seat.index()];
        target.due = None;
        target.attempts += 1;
        let [configured, said] = target.addresses;
        let first = if target.attempts.is_multiple_of(2) { configured } else { said };
        Some((seat, first.or(said).or(configured)))
    }

    /// A validator has said where it is reached.
    pub fn moved(&mut self, seat: Seat, address: SocketAddr, now: Time) {
        self.reached(seat, 1, address, now);
    }

    /// The configuration's name of a validator leads to this address.
    pub fn renamed(&mut self, seat: Seat, address: SocketAddr, now: Time) {
        self.reached(seat, 0, address, now);
    }

    fn reached(&mut self, seat: Seat, source: usize, address: SocketAddr, now: Time) {
        let Some(target) = self.targets.get_mut(seat.index()) else { return };
        let news = !target.addresses.contains(&Some(address));
        target.addresses[source] = Some(address);
        if news && let Some(due) = target.due.take() {
            // It is waited for already, where nobody may be any more.
            self.due.remove(&(due, seat));
            (target.wait, target.attempts) = (REDIAL_MIN, 0);
            self.schedule(seat, now);
        }
    }

    /// Where the configuration says that validators are reached.
    pub fn configured(&self) -> impl Iterator<Item = SocketAddr> {
        self.targets.iter().filter_map(|target| target.addresses[0])
    }

    /// Where a validator is reached, as far as is known, and why there is no connection to it, if one was attempted.
    pub fn of_seat(&self, seat: Seat) -> (Option<SocketAddr>, Option<&str>) {
        let Some(target) = self.targets.get(seat.index()) else { return (None, None) };
        (target.addresses[0].or(target.addresses[1]), target.said.as_deref())
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
        let due = if seat < self.own { due + DIAL_LOWER_AFTER } else { due };
        let target = &mut self.targets[seat.index()];
        if seat != self.own && self.own != Seat::NONE && target.due.is_none() {
            target.due = Some(due);
            self.due.insert((due, seat));
        }
    }
}
