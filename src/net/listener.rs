//! Accepting connections, within limits, also when descriptors run out.
//!
//! What a caller costs that is turned away is what a flood of them costs, so the cheapest question comes first: whether its
//! address may call at all, from what is known here; then, on the peer port, whether the bytes that have come already are
//! those of a peer, by a look at them in the socket. Only who passes both is given memory and a place in the poll, and only
//! for it somebody else makes room. (A socket that is closed with bytes unread is reset: that is the cheapest way too.)

use super::config::*;
use super::conn::{Gone, Link};
use super::crowd::makes_room;
use super::limits::{Denied, Source};
use super::noise::{PREFACE_BYTES, PeerError, opens_as_peer};
use super::peer::PeerLink;
use super::sockets::{Event, Sockets};
use crate::metrics::{Dismissal, Metrics};
use crate::types::Time;
use mio::Token;
use mio::net::{TcpListener, TcpStream};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Who comes in through a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// Validators.
    Peers,
    /// Clients, at most so many.
    Clients {
        /// The limit.
        most: usize,
    },
}

/// A listening socket.
pub struct Listener {
    socket: TcpListener,
    door: Door,
    /// Someone may wait to be accepted.
    pub ready: bool,
    /// Nobody is accepted before.
    pub rests_until: Option<Time>,
    /// What the spare descriptor is a copy of.
    null: Option<File>,
    spare: Option<OwnedFd>,
    /// Callers whose descriptor has this number or a higher one are turned away.
    descriptor_end: i32,
}

impl Listener {
    /// A listener on a socket that is registered already.
    pub fn new(socket: TcpListener, door: Door) -> Listener {
        let null = File::open("/dev/null").ok();
        let spare = spare(null.as_ref());
        let descriptor_end = descriptor_end(getrlimit(Resource::Nofile).current, door);
        Listener { socket, door, ready: true, rests_until: None, null, spare, descriptor_end }
    }

    /// Whether it could accept right now.
    pub fn has_work(&self, now: Time) -> bool {
        self.ready && self.rests_until.is_none_or(|time| time <= now)
    }

    /// Accepts who waits, up to the budget of a turn.
    pub fn accept(&mut self, sockets: &mut Sockets, now: Time, events: &mut Vec<Event>) {
        if !self.has_work(now) {
            return;
        }
        self.rests_until = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = self.socket.accept();
            Metrics::add(&sockets.metrics.connections_accepted, u64::from(accepted.is_ok()));
            match accepted {
                // Dropping it hangs up.
                Ok((stream, _)) if stream.as_raw_fd() >= self.descriptor_end => {
                    sockets.metrics.dismiss(Dismissal::Full);
                }
                Ok((stream, address)) => sockets.admit(self.door, stream, address, now, events),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                Err(error) if out_of_descriptors(&error) => {
                    if !self.turn_away(&sockets.metrics) {
                        self.rests_until = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                    if !self.ready {
                        return;
                    }
                }
                // The caller has hung up before it was accepted.
                Err(_) => {}
            }
        }
    }

    /// Gives up the spare descriptor for a moment to take a caller and hang up, so that it does not wait for ever
    /// and the listener does not report it again and again. (Without a descriptor the system does not even say that
    /// nobody waits.) `false` if there is no spare one.
    fn turn_away(&mut self, metrics: &Metrics) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare(self.null.as_ref());
            return self.spare.is_some();
        }
        match (self.socket.accept(), &self.null) {
            (Ok((stream, _)), Some(null)) => {
                metrics.dismiss(Dismissal::Full);
                // Hangs up and has the spare one back in one step: nobody else can take the descriptor in between.
                let mut taken = OwnedFd::from(stream);
                self.spare = rustix::io::dup2(null, &mut taken).is_ok().then_some(taken);
                return true;
            }
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
            _ => {}
        }
        self.spare = spare(self.null.as_ref());
        true
    }
}

impl Door {
    /// Its number among the ports.
    fn port(self) -> usize {
        usize::from(self != Door::Peers)
    }
}

impl Sockets {
    fn admit(
        &mut self,
        door: Door,
        stream: TcpStream,
        address: SocketAddr,
        now: Time,
        events: &mut Vec<Event>,
    ) {
        let own = door != Door::Peers && self.visits.expect(&address);
        if let Err(gone) = self.let_in((door, own), &stream, address.ip(), now, events) {
            tracing::debug!(%address, reason = %gone, "connection not taken");
            if let Some((reason, points)) = gone.dismissal() {
                self.metrics.dismiss(reason);
                self.blame_address(address.ip(), if own { 0 } else { points }, now);
            }
            return;
        }
        let link = match door {
            Door::Peers => Link::Peer(Box::new(PeerLink::accept(self.identity.clone()))),
            Door::Clients { .. } => Link::Client(Box::default()),
        };
        match self.add(stream, address, link, Some(door.port()), now) {
            Ok(token) if own => self.conns.get_mut(token).into_iter().for_each(|conn| conn.counted = None),
            Ok(_) => {}
            Err(error) => {
                if !own {
                    self.limits.left(address.ip(), door.port(), now);
                }
                tracing::debug!(%address, %error, "connection not taken");
                return;
            }
        }
        match door {
            Door::Peers => self.inbound_strangers += 1,
            Door::Clients { .. } => {
                self.clients += 1;
                self.silent_clients += 1;
            }
        }
    }

    /// Counts a connection of an address, unless it is one of this process' own. Where that has too many, or all have, a stranger
    /// of them makes room.
    pub(super) fn let_in(
        &mut self,
        (door, own): (Door, bool),
        stream: &TcpStream,
        address: IpAddr,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        let port = door.port();
        let admitted = if own { Ok(()) } else { self.limits.admit(address, port, now) };
        if let Err(denied @ (Denied::Refused | Denied::Rate | Denied::GroupRate)) = admitted {
            return Err(denied.into());
        }
        let mut placed = if door == Door::Peers { knock(stream) } else { Ok(()) };
        if placed.is_ok()
            && let Err(denied) = admitted
        {
            self.make_room(door, denied, address, now, events)?;
            // What was refused a moment ago was not counted.
            return self.limits.admit(address, port, now).map_err(Gone::from);
        }
        let full = match door {
            Door::Peers => self.inbound_strangers >= STRANGERS_MAX,
            Door::Clients { most } => self.clients >= most || self.silent_clients >= SILENT_CLIENTS_MAX,
        };
        if placed.is_ok() && full && !self.evict(door, &Gone::Crowded, |_| true, now, events) {
            placed = Err(Gone::Crowded);
        }
        if placed.is_err() && admitted.is_ok() && !own {
            self.limits.left(address, port, now);
        }
        placed
    }

    /// Lets a stranger go of an address, or of the network around it, that has too many.
    fn make_room(
        &mut self,
        door: Door,
        denied: Denied,
        address: IpAddr,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        let source = Source::of(address);
        let same = |other: IpAddr| match denied {
            Denied::Group => Source::of(other).group() == source.group(),
            _ => Source::of(other) == source,
        };
        if self.evict(door, &denied.into(), same, now, events) { Ok(()) } else { Err(denied.into()) }
    }

    /// Drops a stranger of a door that comes from such an address, of where there are the most of them (`crowd.rs`), and only if
    /// there are no others one from where a validator lives; `false` if there is none.
    fn evict(
        &mut self,
        door: Door,
        reason: &Gone,
        from: impl Fn(IpAddr) -> bool,
        now: Time,
        events: &mut Vec<Event>,
    ) -> bool {
        if self.strangers.len() > 2 * (STRANGERS_MAX + SILENT_CLIENTS_MAX) {
            let conns = &self.conns;
            self.strangers.retain(|(_, token)| conns.get(*token).is_some_and(|conn| !conn.established()));
        }
        let come = self.strangers.iter().filter_map(|(_, token)| {
            let conn = self.conns.get(*token)?;
            let stranger = match &conn.link {
                Link::Peer(link) => door == Door::Peers && link.is_inbound() && link.seat().is_none(),
                Link::Client(link) => door != Door::Peers && !link.welcomed(),
            };
            (stranger && from(conn.address.ip())).then(|| (*token, Source::of(conn.address.ip())))
        });
        let come: Vec<_> = come.collect();
        let spared = |(_, source): &(Token, Source)| self.limits.shelters(*source, now);
        let loose: Vec<_> = come.iter().filter(|stranger| !spared(stranger)).copied().collect();
        let Some((token, _)) = makes_room(&loose).or_else(|| makes_room(&come)) else { return false };
        self.drop_conn(token, reason, now, events);
        true
    }
}

/// Looks at what a caller has said so far, and leaves it in the socket.
fn knock(stream: &TcpStream) -> Result<(), Gone> {
    let mut said = [0; PREFACE_BYTES];
    match stream.peek(&mut said) {
        Ok(0) => Err(Gone::Closed),
        Ok(count) if !opens_as_peer(&said[..count]) => Err(PeerError::Magic.into()),
        // It has not spoken yet, or as a peer does; whatever else is the matter shows when it is read.
        _ => Ok(()),
    }
}

/// From which number of a descriptor on a door takes nobody any more. Systems give out the lowest free number, so this
/// keeps some back that callers cannot use up: for the block files, without which the node would die, and from
/// clients also for validators.
fn descriptor_end(limit: Option<u64>, door: Door) -> i32 {
    let Some(limit) = limit else { return i32::MAX };
    let kept = DESCRIPTORS_KEPT_MIN.max(limit / DESCRIPTORS_KEPT_SHARE);
    let kept = if door == Door::Peers { kept } else { 2 * kept };
    limit.saturating_sub(kept).try_into().unwrap_or(i32::MAX)
}

fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

fn spare(null: Option<&File>) -> Option<OwnedFd> {
    null?.try_clone().ok().map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_leave_descriptors_for_files_and_clients_leave_some_for_validators() {
        let clients = Door::Clients { most: 1 };
        assert_eq!((descriptor_end(Some(256), Door::Peers), descriptor_end(Some(256), clients)), (240, 224));
        assert_eq!(
            (descriptor_end(Some(3200), Door::Peers), descriptor_end(Some(3200), clients)),
            (3100, 3000)
        );
        assert_eq!((descriptor_end(Some(8), clients), descriptor_end(None, clients)), (0, i32::MAX));
        assert_eq!(descriptor_end(Some(u64::MAX), Door::Peers), i32::MAX);
    }
}
