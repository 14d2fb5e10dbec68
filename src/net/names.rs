//! The names by which the configuration names others, looked up again when they lead nowhere.
//!
//! - **Upon a name that has no address, or whose address does not answer as it should**: it is due to be looked up, but not
//!   sooner than a while after the last time. The wait doubles, and begins anew with another address or a connection.
//! - **Upon a name that is due**: a thread looks it up, one name at a time, since the system may take long for it.
//! - **Upon the answer**: the address that follows the one that did not answer takes its place; of a name that has not got
//!   one, the first. So of a name with several addresses one after the other is tried.
//!
//! Why that is safe: an address is a hint, and who answers there has to prove its key. Why it is bounded: a name is asked for
//! once at a time, and one answer is under way.

use super::config::{NAME_WAIT_MAX, NAME_WAIT_MIN};
use super::workers::{Mailbox, Report, panic_words};
use crate::types::{Seat, Time};
use crossbeam::channel::{Sender, bounded};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Of one answer so many addresses are looked at.
const ADDRESSES_MAX: usize = 16;

/// What finds the addresses of a name such as `node-0.example:27100`.
pub trait Resolve: Send + Sync {
    /// The addresses, the best first. May block.
    ///
    /// # Errors
    /// What the system says.
    fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own way.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(name.to_socket_addrs()?.take(ADDRESSES_MAX).collect())
    }
}

/// Whom a name of the configuration stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// A validator.
    Seat(Seat),
    /// Any node of the chain.
    Bootstrap,
    /// The node itself, where it is to be announced.
    Own,
}

/// A name of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// Whom it stands for.
    pub of: Named,
    /// Host and port, as a person wrote it.
    pub name: String,
    /// Its address, if it had one at the start.
    pub address: Option<SocketAddr>,
}

struct Entry {
    name: Name,
    wait: Duration,
    /// When it was looked up last.
    asked: Time,
    due: Option<Time>,
    /// Why there is no address.
    failure: Option<String>,
}

/// A name that leads elsewhere now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Whom it stands for.
    pub of: Named,
    /// Where it led before; none also where another name still leads there.
    pub before: Option<SocketAddr>,
    /// Where it leads now.
    pub address: SocketAddr,
}

/// The names of a node.
pub struct Names {
    entries: Vec<Entry>,
    under_way: bool,
}

impl Names {
    /// Names that were looked up a moment ago.
    pub fn new(names: Vec<Name>, now: Time) -> Names {
        let entry = |name: Name| {
            let failure = name.address.is_none().then(|| "no address was found".to_owned());
            let due = name.address.is_none().then_some(now + NAME_WAIT_MIN);
            Entry { name, wait: NAME_WAIT_MIN, asked: now, due, failure }
        };
        Names { entries: names.into_iter().map(entry).collect(), under_way: false }
    }

    /// A validator is not reached.
    pub fn lost(&mut self, seat: Seat, now: Time) {
        self.each(|name| name.of == Named::Seat(seat), |entry| entry.want(now));
    }

    /// Nobody of the chain answers at an address to which a name leads.
    pub fn lost_at(&mut self, address: SocketAddr, now: Time) {
        self.each(|name| name.address == Some(address), |entry| entry.want(now));
    }

    /// There is a connection to a validator.
    pub fn opened(&mut self, seat: Seat) {
        self.each(|name| name.of == Named::Seat(seat), Entry::settle);
    }

    /// Somebody of the chain answers at an address.
    pub fn opened_at(&mut self, address: SocketAddr) {
        self.each(|name| name.address == Some(address), Entry::settle);
    }

    fn each(&mut self, of: impl Fn(&Name) -> bool, change: impl Fn(&mut Entry)) {
        self.entries.iter_mut().filter(|entry| of(&entry.name)).for_each(change);
    }

    /// When a name is due.
    pub fn deadline(&self) -> Option<Time> {
        self.entries.iter().filter_map(|entry| entry.due).min().filter(|_| !self.under_way)
    }

    /// A name to be looked up now: its number, and itself.
    pub fn next(&mut self, now: Time) -> Option<(usize, String)> {
        if self.under_way {
            return None;
        }
        let due = self.entries.iter().enumerate().filter_map(|(number, entry)| Some((entry.due?, number)));
        let (_, number) = due.min().filter(|(due, _)| *due <= now)?;
        self.under_way = true;
        let entry = &mut self.entries[number];
        (entry.due, entry.asked) = (None, now);
        Some((number, entry.name.name.clone()))
    }

    /// What came of a name; where it leads now, if that is another address.
    pub fn answered(
        &mut self,
        number: usize,
        found: Result<Vec<SocketAddr>, String>,
        now: Time,
    ) -> Option<Moved> {
        self.under_way = false;
        let entry = self.entries.get_mut(number)?;
        let found = found.map(|found| follower(&found, entry.name.address));
        let before = entry.name.address;
        let address = match found {
            Ok(Some(address)) => address,
            other => {
                entry.failure = Some(other.err().unwrap_or_else(|| "the name has no address".to_owned()));
                if before.is_none() {
                    entry.want(now);
                }
                return None;
            }
        };
        entry.failure = None;
        if before == Some(address) {
            return None;
        }
        (entry.name.address, entry.wait) = (Some(address), NAME_WAIT_MIN);
        let of = entry.name.of;
        tracing::info!(name = entry.name.name, %address, "a name leads to another address");
        let shared = self.entries.iter().any(|other| other.name.address == before);
        Some(Moved { of, before: before.filter(|_| !shared), address })
    }

    /// The name of a validator, and why it has no address if it has none.
    pub fn of_seat(&self, seat: Seat) -> Option<(&str, Option<&str>)> {
        let entry = self.entries.iter().find(|entry| entry.name.of == Named::Seat(seat))?;
        Some((&entry.name.name, entry.failure.as_deref()))
    }

    /// The name that leads to an address.
    pub fn at(&self, address: SocketAddr) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.name.address == Some(address))?;
        Some(&entry.name.name)
    }

    /// Names of any nodes that have no address, and why.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        let bootstrap = self.entries.iter().filter(|entry| entry.name.of == Named::Bootstrap);
        bootstrap.filter_map(|entry| Some((entry.name.name.as_str(), entry.failure.as_deref()?)))
    }
}

impl Entry {
    fn want(&mut self, now: Time) {
        if self.due.is_none() {
            self.due = Some((self.asked + self.wait).max(now));
            self.wait = (self.wait * 2).min(NAME_WAIT_MAX);
        }
    }

    fn settle(&mut self) {
        (self.wait, self.due, self.failure) = (NAME_WAIT_MIN, None, None);
    }
}

/// The address after the one that did not answer.
fn follower(found: &[SocketAddr], before: Option<SocketAddr>) -> Option<SocketAddr> {
    let found = &found[..found.len().min(ADDRESSES_MAX)];
    let place = found.iter().position(|address| Some(*address) == before);
    found.get(place.map_or(0, |place| (place + 1) % found.len())).copied()
}

/// The thread that looks names up.
pub struct Resolver {
    requests: Sender<(usize, String)>,
}

impl Resolver {
    /// Starts the thread. It ends by itself when this is dropped, and is not waited for: the system may keep it for long,
    /// and it holds nothing of the node but its mailbox.
    pub fn start(resolve: Arc<dyn Resolve>, seat: Seat, mailbox: Arc<Mailbox>) -> io::Result<Resolver> {
        let (requests, receiver) = bounded::<(usize, String)>(1);
        let run = move || {
            for (number, name) in receiver {
                let found = catch_unwind(AssertUnwindSafe(|| resolve.resolve(&name)));
                let found = match found {
                    Ok(found) => found.map_err(|error| error.to_string()),
                    Err(panic) => Err(panic_words(&*panic)),
                };
                mailbox.post(Report::Found { number, found });
            }
        };
        std::thread::Builder::new().name(format!("names-{seat}")).spawn(run)?;
        Ok(Resolver { requests })
    }

    /// Has a name looked up. One is under way at a time, so there is room.
    pub fn ask(&self, asked: (usize, String)) {
        let _ = self.requests.try_send(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_700_000_000_000_000);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn names(address: Option<&str>) -> Names {
        let name = |seat| Name {
            of: Named::Seat(Seat(seat)),
            name: format!("node-{seat}.example:1"),
            address: address.map(at),
        };
        Names::new(vec![name(0), name(1)], NOW)
    }

    #[test]
    fn a_name_that_leads_nowhere_is_looked_up_more_and_more_seldom_and_only_once_at_a_time() {
        let mut names = names(None);
        let (mut now, mut waits) = (NOW, Vec::new());
        for _ in 0..20 {
            let before = now;
            now = names.deadline().unwrap();
            let (number, name) = names.next(now).unwrap();
            assert_eq!(name, format!("node-{number}.example:1"));
            assert_eq!((names.next(now), names.deadline()), (None, None), "one is under way");
            if number == 0 {
                waits.push(now.since(before));
            }
            assert_eq!(names.answered(number, Err("no such host".into()), now), None);
            assert_eq!(names.of_seat(Seat(number as u16)).unwrap().1, Some("no such host"));
        }
        assert_eq!((waits.len(), waits[0]), (10, NAME_WAIT_MIN));
        assert!(waits.is_sorted() && *waits.last().unwrap() == NAME_WAIT_MAX, "{waits:?}");
    }

    #[test]
    fn of_several_addresses_the_next_one_is_tried_and_a_connection_ends_the_looking() {
        let mut names = names(Some("10.0.0.1:1"));
        assert_eq!(names.deadline(), None, "nothing is the matter");
        let found = || Ok(vec![at("10.0.0.1:1"), at("10.0.0.2:1")]);
        let mut now = NOW;
        for (next, before) in [("10.0.0.2:1", None), ("10.0.0.1:1", Some(at("10.0.0.2:1")))] {
            names.lost(Seat(1), now);
            now = names.deadline().unwrap();
            assert_eq!(names.next(now).unwrap().0, 1);
            // The first name still leads to where the second did: that address is not forgotten.
            let moved = Moved { of: Named::Seat(Seat(1)), before, address: at(next) };
            assert_eq!(names.answered(1, found(), now), Some(moved));
        }
        names.lost(Seat(1), now);
        names.opened(Seat(1));
        assert_eq!(names.deadline(), None);
        // Of an address that stands nothing is lost where the name is not found for a while.
        names.lost(Seat(1), now);
        now = names.deadline().unwrap();
        names.next(now);
        assert_eq!(names.answered(1, Err("try again".into()), now), None);
        assert_eq!(names.at(at("10.0.0.1:1")), Some("node-0.example:1"));
        assert_eq!(names.deadline(), None, "the next failed attempt brings it up again");
    }
}
