//! One connection with its socket: reading a piece, writing a piece, and the reasons to end it.

use super::client::{ClientError, ClientLink};
use super::noise::PeerError;
use super::peer::PeerLink;
use super::queue::OutBuffer;
use crate::types::Time;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use thiserror::Error;

/// Why a connection ends.
#[derive(Debug, Error)]
pub enum Gone {
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A validator, or who wants to pass for one, broke a rule.
    #[error("{0}")]
    Peer(#[from] PeerError),
    /// A client did.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// No identity, or no hello, in time.
    #[error("said nothing valid within the deadline")]
    Silent,
    /// It had to make room.
    #[error("too many strangers at once")]
    Crowded,
    /// It takes no bytes.
    #[error("takes no bytes")]
    Stalled,
    /// The same seat connected anew.
    #[error("replaced by a newer connection of the same seat")]
    Replaced,
}

/// Who is at the other end.
pub(super) enum Link {
    Peer(Box<PeerLink>),
    Client(Box<ClientLink>),
}

pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) link: Link,
    pub(super) address: SocketAddr,
    /// Of the authentication, or of the acceptance before it.
    pub(super) since: Time,
    /// Since when the socket takes nothing although something waits.
    pub(super) stuck: Option<Time>,
    pub(super) connecting: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) in_ready: bool,
    pub(super) in_dirty: bool,
    pub(super) in_waiting: bool,
    pub(super) subscribed: bool,
}

impl Conn {
    pub(super) fn out(&mut self) -> &mut OutBuffer {
        match &mut self.link {
            Link::Peer(link) => &mut link.out,
            Link::Client(link) => &mut link.out,
        }
    }

    pub(super) fn established(&self) -> bool {
        match &self.link {
            Link::Peer(link) => link.seat().is_some(),
            Link::Client(link) => link.welcomed(),
        }
    }

    /// Whether reading it would give anything.
    pub(super) fn has_input(&self) -> bool {
        self.readable || matches!(&self.link, Link::Client(link) if link.held)
    }
}

/// Whether a dialed socket is connected by now.
pub(super) fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// One read; `None` when the socket has nothing, which alone clears its readiness.
pub(super) fn read_some<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut [u8],
    readable: &mut bool,
) -> Result<Option<&'a mut [u8]>, Gone> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(Gone::Closed),
            Ok(count) => return Ok(Some(&mut buffer[..count])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *readable = false;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Seals and writes until nothing is left, the socket is full, or the budget is used up. Bytes sent, and whether
/// there is more for a socket that would still take it.
pub(super) fn flush(conn: &mut Conn, budget: usize) -> Result<(usize, bool), Gone> {
    let mut sent = 0;
    loop {
        if let Link::Peer(link) = &mut conn.link {
            link.seal()?;
        }
        if conn.out().pending().is_empty() {
            return Ok((sent, false));
        }
        if sent >= budget || !conn.writable || conn.connecting {
            return Ok((sent, conn.writable && !conn.connecting));
        }
        let Conn { stream, link, .. } = conn;
        let out = match link {
            Link::Peer(link) => &mut link.out,
            Link::Client(link) => &mut link.out,
        };
        match stream.write(out.pending()) {
            Ok(0) => return Err(Gone::Closed),
            Ok(count) => {
                out.consume(count);
                sent += count;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => conn.writable = false,
            Err(error) => return Err(error.into()),
        }
    }
}
