//! Accepting connections, within limits, also when descriptors run out.

use super::config::*;
use super::conn::{Gone, Link};
use super::limits::{Denied, Source};
use super::peer::PeerLink;
use super::sockets::{Event, Sockets};
use crate::metrics::{Dismissal, Metrics};
use crate::types::Time;
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
        let full = match door {
            Door::Peers => self.inbound_strangers >= STRANGERS_MAX,
            Door::Clients { most } => self.clients >= most || self.silent_clients >= SILENT_CLIENTS_MAX,
        };
        if full && !self.evict(door, &Gone::Crowded, |_| true, now, events) {
            return self.metrics.dismiss(Dismissal::Full);
        }
        if let Err(denied) = self.let_in(door, address.ip(), now, events) {
            tracing::debug!(%address, reason = %denied, "connection not taken");
            return self.metrics.dismiss(match denied {
                Denied::Refused => Dismissal::Refused,
                Denied::Rate => Dismissal::Rate,
                Denied::Address | Denied::Group => Dismissal::Full,
            });
        }
        let link = match door {
            Door::Peers => Link::Peer(Box::new(PeerLink::accept(self.identity.clone()))),
            Door::Clients { .. } => Link::Client(Box::default()),
        };
        if let Err(error) = self.add(stream, address, link, Some(door.port()), now) {
            self.limits.left(address.ip(), door.port(), now);
            tracing::debug!(%address, %error, "connection not taken");
            return;
        }
        match door {
            Door::Peers => self.inbound_strangers += 1,
            Door::Clients { .. } => {
                self.clients += 1;
                self.silent_clients += 1;
            }
        }
    }

    /// Counts a connection of an address; where that has too many, its own oldest stranger makes room.
    fn let_in(
        &mut self,
        door: Door,
        address: IpAddr,
        now: Time,
        events: &mut Vec<Event>,
    ) -> Result<(), Denied> {
        let (port, handshake) = (door.port(), door == Door::Peers);
        let denied = match self.limits.admit(address, port, handshake, now) {
            Err(denied @ (Denied::Address | Denied::Group)) => denied,
            other => return other,
        };
        let source = Source::of(address);
        let same = |other: IpAddr| match denied {
            Denied::Group => Source::of(other).group() == source.group(),
            _ => Source::of(other) == source,
        };
        if !self.evict(door, &denied.into(), same, now, events) {
            return Err(denied);
        }
        self.limits.admit(address, port, handshake, now)
    }

    /// Drops the oldest stranger of a door that comes from such an address; `false` if there is none.
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
        let found = self.strangers.iter().map(|(_, token)| *token).find(|token| {
            self.conns.get(*token).is_some_and(|conn| {
                let stranger = match &conn.link {
                    Link::Peer(link) => door == Door::Peers && link.is_inbound() && link.seat().is_none(),
                    Link::Client(link) => door != Door::Peers && !link.welcomed(),
                };
                stranger && from(conn.address.ip())
            })
        });
        let Some(token) = found else { return false };
        self.drop_conn(token, reason, now, events);
        true
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
