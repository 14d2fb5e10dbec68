//! One connection with its socket: reading a piece, writing a piece, and the reasons to end it.

use super::client::{ClientError, ClientLink};
use super::config::{GUEST_MESSAGES_PER_TURN, MESSAGES_PER_TURN, PEER_READ_BUDGET, SCORE_MAX};
use super::limits::Denied;
use super::noise::PeerError;
use super::pace::Pace;
use super::peer::{PeerEvent, PeerLink};
use super::queue::OutBuffer;
use crate::metrics::Dismissal;
use crate::types::Time;
use crate::types::params::SEATS_MAX;
use crate::wire::WireError;
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
    /// No identity in time, while this node did not read.
    #[error("was not read from within the deadline, for want of room here")]
    Unread,
    /// It had to make room.
    #[error("too many strangers at once")]
    Crowded,
    /// It takes no bytes.
    #[error("takes no bytes")]
    Stalled,
    /// There is a connection to it already, under another address.
    #[error("there is a connection to the same peer already")]
    Double,
    /// It brought nothing, and another is tried in its place.
    #[error("brought nothing for a while")]
    Useless,
    /// Nobody has said where it is reached.
    #[error("it is not known where it is reached")]
    Nowhere,
    /// The shape of the link says so.
    #[error("reset, as its link is shaped")]
    Shaped,
    /// The same seat connected anew.
    #[error("replaced by a newer connection of the same peer")]
    Replaced,
    /// A validator broke rules of the protocol, often enough.
    #[error("broke the rules too often, last: {0}")]
    Rules(&'static str),
    /// It told of an address what nobody has signed.
    #[error("told of an address in another's name: the signature does not hold")]
    Forged,
    /// A validator that is refused for now came again.
    #[error("refused for now, for what it did before")]
    Refused,
    /// The limits of its address or network are reached: it is not taken, or makes room for one that comes later.
    #[error("{0}")]
    Denied(#[from] Denied),
}

impl Gone {
    /// As what it is counted, and the points that it brings; `None`: nothing to blame anybody for.
    pub fn dismissal(&self) -> Option<(Dismissal, u64)> {
        Some(match self {
            Gone::Closed
            | Gone::Io(_)
            | Gone::Replaced
            | Gone::Double
            | Gone::Useless
            | Gone::Nowhere
            | Gone::Shaped => {
                return None;
            }
            Gone::Peer(error) => match error {
                PeerError::Magic => (Dismissal::Foreign, SCORE_MAX / 5),
                PeerError::Version(_) | PeerError::Chain { .. } => (Dismissal::Foreign, SCORE_MAX / 20),
                PeerError::Noise => (Dismissal::Record, SCORE_MAX / 4),
                PeerError::RecordLength(_) => (Dismissal::Oversize, SCORE_MAX / 4),
                PeerError::Seat(_)
                | PeerError::OwnKey
                | PeerError::OtherSeat { .. }
                | PeerError::Identity(_) => (Dismissal::Identity, SCORE_MAX / 4),
                PeerError::Wire(error) => of_wire(*error),
                PeerError::Lane => (Dismissal::Malformed, SCORE_MAX / 4),
            },
            Gone::Client(ClientError::Wire(error)) => of_wire(*error),
            Gone::Forged | Gone::Client(ClientError::Hello) => (Dismissal::Malformed, SCORE_MAX / 4),
            // What follows is for want of room or of time, here or there, and nobody's fault for certain.
            Gone::Silent => (Dismissal::Silent, SCORE_MAX / 50),
            Gone::Unread => (Dismissal::Silent, 0),
            Gone::Client(ClientError::Slow) | Gone::Stalled => (Dismissal::Slow, 0),
            Gone::Denied(Denied::Refused) => (Dismissal::Refused, 0),
            Gone::Denied(Denied::Rate | Denied::GroupRate) => (Dismissal::Rate, 0),
            Gone::Crowded | Gone::Denied(Denied::Address | Denied::Group) => (Dismissal::Full, 0),
            Gone::Rules(_) => (Dismissal::Rules, 0),
            Gone::Refused => (Dismissal::Refused, 0),
        })
    }
}

fn of_wire(error: WireError) -> (Dismissal, u64) {
    match error {
        WireError::Limit { .. } => (Dismissal::Oversize, SCORE_MAX / 4),
        _ => (Dismissal::Malformed, SCORE_MAX / 4),
    }
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
    /// The system says that nothing more will come than what there is.
    pub(super) read_closed: bool,
    pub(super) in_ready: bool,
    pub(super) in_dirty: bool,
    pub(super) in_waiting: bool,
    pub(super) subscribed: bool,
    /// The port whose limits it counts towards; none once it has proved an identity, and if it was dialed.
    pub(super) counted: Option<usize>,
    /// Bytes and messages of a peer.
    pub(super) paces: [Pace; 2],
    /// It is not read from before, for it sent more than its rate.
    pub(super) paused_until: Time,
    /// It was dialed at this address of the book.
    pub(super) dialed: Option<SocketAddr>,
    /// When it was asked where others are, if it has not answered.
    pub(super) asked_addresses: Option<Time>,
    /// When it was told.
    pub(super) told_addresses: Option<Time>,
    /// It has said where it is itself.
    pub(super) said_address: bool,
    /// It is not read from until less waits for it.
    pub(super) choked: bool,
    /// Bytes to a peer whose link has a rate.
    pub(super) sending: Pace,
    /// It is not written to before, for its link is busy.
    pub(super) busy_until: Time,
    /// Bytes that its last turn of reading brought.
    pub(super) brought: usize,
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

    /// Whether there is more to write to a socket that would take it.
    pub(super) fn has_output(&mut self) -> bool {
        self.writable && !self.connecting && !self.out().pending().is_empty()
    }

    /// Whether reading it would give anything.
    pub(super) fn has_input(&self) -> bool {
        self.readable
            || match &self.link {
                Link::Peer(link) => link.is_behind(),
                Link::Client(link) => link.held,
            }
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

/// What one peer may bring in a turn: of a stranger who it is, and nothing else before it is known what it may send.
fn messages_max(link: &PeerLink) -> usize {
    match link.seat() {
        None => 1,
        Some(seat) if seat.index() < SEATS_MAX => MESSAGES_PER_TURN,
        Some(_) => GUEST_MESSAGES_PER_TURN,
    }
}

/// Reads from a peer until its socket has nothing, or what it has in a turn is used up. Counts the bytes, and hands over what
/// they bring; what came before an error is still to be told.
pub(super) fn receive(
    conn: &mut Conn,
    buffer: &mut [u8],
    count: &mut usize,
    come: &mut Vec<PeerEvent>,
) -> Result<(), Gone> {
    let Conn { stream, link: Link::Peer(link), readable, .. } = conn else { return Ok(()) };
    let most = messages_max(link);
    link.go_on(most, come)?;
    while *readable
        && *count < PEER_READ_BUDGET
        && come.len() < most
        && !link.is_behind()
        && let Some(bytes) = read_some(stream, &mut buffer[..PEER_READ_BUDGET - *count], readable)?
    {
        *count += bytes.len();
        link.receive_some(bytes, most, come)?;
    }
    Ok(())
}

/// Seals and writes until nothing is left, the socket is full, or the budget is used up. Counts the bytes.
pub(super) fn flush(conn: &mut Conn, bytes_max: usize, count: &mut usize) -> Result<(), Gone> {
    loop {
        if let Link::Peer(link) = &mut conn.link {
            link.seal()?;
        }
        let Conn { stream, link, connecting, writable, .. } = conn;
        let out = match link {
            Link::Peer(link) => &mut link.out,
            Link::Client(link) => &mut link.out,
        };
        let pending = out.pending();
        if pending.is_empty() || *count >= bytes_max || !*writable || *connecting {
            return Ok(());
        }
        match stream.write(&pending[..pending.len().min(bytes_max - *count)]) {
            Ok(0) => return Err(Gone::Closed),
            Ok(sent) => {
                out.consume(sent);
                *count += sent;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => *writable = false,
            Err(error) => return Err(error.into()),
        }
    }
}
