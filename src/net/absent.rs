//! Who is not connected though the configuration names it, and the last reason for it, in words.
//!
//! - **Upon a failed attempt, or the end of a connection**: its reason is kept, the last one of each seat and of each address
//!   that the configuration names, until somebody answers there.
//! - **Upon connections of one seat that replace one another again and again**: two nodes seem to use its key. Nobody can know
//!   which of them is the right one, so both are let in as before, and it is said.
//! - **Upon the question**: the seats first, then the other addresses and names; what does not fit is counted.

use super::config::{REPLACED_POINTS, SCORE_MAX};
use super::conn::Gone;
use super::names::{Moved, Named};
use super::sockets::Sockets;
use crate::types::{Seat, Time};
use crate::wire::client::{ABSENT_MAX, Absent, Reply};
use crate::wire::{AddressRecord, Message, is_callable};
use mio::Token;
use std::net::SocketAddr;

impl Sockets {
    /// Who is not connected, and why.
    pub fn absent(&self, now: Time) -> Reply {
        let own = self.identity.seat;
        let seats = (0..self.seats.len()).map(|seat| Seat(seat as u16));
        // An observer chooses whom it is connected to: no seat in particular is missed.
        let missed = seats.filter(|seat| own != Seat::NONE && *seat != own);
        let mut absent: Vec<Absent> = missed.filter_map(|seat| self.absent_seat(seat, now)).collect();
        let named = |address: &SocketAddr| self.names.at(*address).map(str::to_owned);
        absent.extend(self.troubles.iter().map(|(address, reason)| {
            let place = named(address).unwrap_or_else(|| address.to_string());
            Absent::new(Seat::NONE, &place, reason)
        }));
        let unknown = self.names.unknown();
        absent.extend(unknown.map(|(name, reason)| Absent::new(Seat::NONE, name, &unresolved(reason))));
        let more = absent.len().saturating_sub(ABSENT_MAX) as u32;
        absent.truncate(ABSENT_MAX);
        Reply::Absent { absent, more }
    }

    fn absent_seat(&self, seat: Seat, now: Time) -> Option<Absent> {
        let twin = self.twins.get(&seat).filter(|(score, _)| score.left(now) >= SCORE_MAX / 2);
        // Most are connected, and nothing more is looked up of those.
        if twin.is_none() && self.seats[seat.index()].is_some() {
            return None;
        }
        let (address, said) = self.dialer.of_seat(seat);
        let (name, failure) = self.names.of_seat(seat).unzip();
        let place = name.map(str::to_owned).or_else(|| address.map(|address| address.to_string()));
        let place = place.unwrap_or_default();
        if let Some((_, places)) = twin {
            return Some(Absent::new(seat, &place, &twin_words(places)));
        }
        let reason = match (failure.flatten(), said) {
            (Some(failure), _) => unresolved(failure),
            (None, Some(said)) => said.to_owned(),
            (None, None) => "no connection yet".to_owned(),
        };
        Some(Absent::new(seat, &place, &reason))
    }

    /// A newer connection of a seat takes the place of one that stands.
    pub(super) fn note_twin(&mut self, seat: Seat, tokens: [Token; 2], now: Time) {
        let places = tokens.map(|token| self.conns.get(token).map(|conn| conn.address));
        let [Some(first), Some(second)] = places else { return };
        let (score, places) = self.twins.entry(seat).or_insert_with(|| (Default::default(), [first; 2]));
        *places = [first, second];
        let before = score.left(now);
        if score.add(REPLACED_POINTS, now).min(2 * SCORE_MAX) >= SCORE_MAX && before < SCORE_MAX {
            tracing::warn!(seat = seat.0, reason = twin_words(places), "a validator is in two places");
        }
    }

    /// A name was looked up.
    pub fn found(&mut self, number: usize, found: Result<Vec<SocketAddr>, String>, now: Time) {
        let Some(Moved { of, before, address }) = self.names.answered(number, found, now) else { return };
        match of {
            Named::Seat(seat) => {
                self.dialer.renamed(seat, address, now);
                let validators: Vec<_> = self.dialer.configured().map(|address| address.ip()).collect();
                self.limits.set_validators(validators.into_iter());
            }
            Named::Bootstrap => {
                before.iter().for_each(|before| _ = self.troubles.remove(before));
                self.acquaintance.book.renamed(before, address);
            }
            Named::Own => self.announce(address, now),
        }
    }

    /// Tells all from now on that this node is reached at an address.
    fn announce(&mut self, address: SocketAddr, now: Time) {
        if !is_callable(&address) {
            return;
        }
        let own = AddressRecord::sign(&self.identity.key, &self.identity.chain, address, now);
        self.acquaintance.own = Some(own);
        self.peer_tokens().into_iter().for_each(|token| self.say(token, &Message::Addresses(vec![own])));
    }

    /// Somebody with this key answered at an address.
    pub(super) fn answered(&mut self, address: SocketAddr, key: [u8; 32], now: Time) {
        self.troubles.remove(&address);
        self.names.opened_at(address);
        self.acquaintance.book.answered(&address, key, now);
    }

    /// Nobody answers at an address of the book, or not as it should; or the connection there has ended.
    pub(super) fn trouble(&mut self, address: SocketAddr, gone: &Gone, now: Time) {
        if self.acquaintance.book.is_named(&address) {
            // As many as the configuration names: what leads nowhere any more is taken out with its name.
            self.troubles.insert(address, gone.to_string());
            self.names.lost_at(address, now);
        }
    }
}

fn unresolved(reason: &str) -> String {
    format!("no address can be found for the name: {reason}")
}

fn twin_words([first, second]: &[SocketAddr; 2]) -> String {
    format!(
        "connects again and again from two places, {first} and {second}: its key seems to be in use twice"
    )
}
