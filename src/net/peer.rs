//! One connection to another peer, without its socket: bytes in, events and bytes out.
//!
//! Records carry a lane byte before their plaintext: votes and requests share the *small* lane; batches, and what a node
//! that catches up is given, have the *bulk* lane; and each lane is a stream of frames of its own. So a vote is never
//! stuck behind the rest of a batch that was begun: it waits at most for what is sealed already ([`SEALED_BYTES_MAX`]).

use super::config::*;
use super::noise::*;
use super::queue::{ClassQueue, OutBuffer};
use super::records::*;
use crate::types::Seat;
use crate::wire::{
    FRAME_HEADER_BYTES, FrameReader, Message, PEER_FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX, frame_header,
};
use bytes::Bytes;
use std::sync::Arc;

const LANES: usize = 2;
const SMALL: usize = 0;
const BULK: usize = 1;

/// What came out of received bytes.
#[derive(Debug)]
pub enum PeerEvent {
    /// The other side has proved to be a validator.
    Opened(Seat),
    /// The other side has no seat, and has proved that it has this key. It has to be [named](PeerLink::name).
    Guest([u8; 32]),
    /// It sent a message.
    Message(Message),
}

enum Stage {
    /// Waits for the preface; a dialer has begun its exchange already.
    Preface(Option<Exchange>),
    /// Waits for the other side's message of the exchange.
    Exchange(Exchange),
    /// Waits for the other side's identity.
    Identity(Box<Channel>, [u8; 32]),
    /// Both are known to each other.
    Open(Box<Channel>),
    /// Failed; takes nothing more.
    Closed,
}

/// A frame that is partly sealed.
struct Outgoing {
    header: [u8; FRAME_HEADER_BYTES],
    payload: Bytes,
    sent: usize,
}

/// One connection.
pub struct PeerLink {
    identity: Arc<Identity>,
    role: Role,
    expected: Option<Seat>,
    /// Who the other side has proved to be; the number under which a guest is known here.
    seat: Option<Seat>,
    stage: Stage,
    /// The unfinished record.
    partial: Vec<u8>,
    /// Frames that were opened and not taken yet, with their lane; and records that came behind them.
    opened: Option<(usize, Vec<u8>)>,
    unopened: Vec<u8>,
    readers: [FrameReader; LANES],
    votes: ClassQueue,
    requests: ClassQueue,
    bulk: ClassQueue,
    current: [Option<Outgoing>; LANES],
    /// Bytes for the socket.
    pub out: OutBuffer,
}

impl PeerLink {
    /// A connection to `seat`, which was dialed.
    pub fn dial(identity: Arc<Identity>, seat: Seat) -> Result<PeerLink, PeerError> {
        let mut exchange = identity.exchange(Role::Dialer)?;
        let mut out = OutBuffer::default();
        out.bytes.extend_from_slice(&identity.preface());
        put_record(&mut out.bytes, &exchange.write()?);
        Ok(PeerLink::new(identity, Role::Dialer, Some(seat), Stage::Preface(Some(exchange)), out))
    }

    /// A connection to an address where anybody may answer.
    pub fn dial_anyone(identity: Arc<Identity>) -> Result<PeerLink, PeerError> {
        let link = PeerLink::dial(identity, Seat::NONE)?;
        Ok(PeerLink { expected: None, ..link })
    }

    /// A connection that was accepted.
    pub fn accept(identity: Arc<Identity>) -> PeerLink {
        PeerLink::new(identity, Role::Acceptor, None, Stage::Preface(None), OutBuffer::default())
    }

    fn new(
        identity: Arc<Identity>,
        role: Role,
        expected: Option<Seat>,
        stage: Stage,
        out: OutBuffer,
    ) -> PeerLink {
        PeerLink {
            identity,
            role,
            expected,
            seat: None,
            stage,
            partial: Vec::new(),
            opened: None,
            unopened: Vec::new(),
            readers: [FrameReader::new(SMALL_FRAME_BYTES_MAX), FrameReader::new(PEER_FRAME_BYTES_MAX)],
            votes: ClassQueue::new(VOTES_BYTES_MAX),
            requests: ClassQueue::new(REQUESTS_BYTES_MAX),
            bulk: ClassQueue::new(BULK_BYTES_MAX),
            current: [None, None],
            out,
        }
    }

    /// Who the other side is, once it has proved it.
    pub fn seat(&self) -> Option<Seat> {
        self.seat
    }

    /// Gives a guest the number under which it is known here.
    pub fn name(&mut self, guest: Seat) {
        self.seat = Some(guest);
    }

    /// Whether the other side dialed.
    pub fn is_inbound(&self) -> bool {
        self.role == Role::Acceptor
    }

    /// Who was dialed, if that was known.
    pub fn expected(&self) -> Option<Seat> {
        self.expected
    }

    /// Takes bytes from the socket; records are opened where they lie. After an error the connection is of no use; `out`
    /// may still hold bytes that tell the other side why.
    pub fn receive(&mut self, bytes: &mut [u8], events: &mut Vec<PeerEvent>) -> Result<(), PeerError> {
        self.receive_some(bytes, usize::MAX, events)
    }

    /// As [`PeerLink::receive`], until `events` holds `most`: what else there is stays as bytes, since a frame can be many times
    /// as large when it is a message. It comes next, by [`PeerLink::go_on`].
    pub fn receive_some(
        &mut self,
        mut bytes: &mut [u8],
        most: usize,
        events: &mut Vec<PeerEvent>,
    ) -> Result<(), PeerError> {
        while !bytes.is_empty() {
            if events.len() >= most || self.is_behind() {
                self.unopened.extend_from_slice(bytes);
                return Ok(());
            }
            if self.partial.is_empty() {
                match self.unit(bytes)? {
                    Some(length) if length <= bytes.len() => {
                        let (whole, rest) = bytes.split_at_mut(length);
                        self.take(whole, most, events)?;
                        bytes = rest;
                    }
                    _ => {
                        self.partial.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            } else {
                let target = self.unit(&self.partial)?.unwrap_or(RECORD_HEADER_BYTES);
                let (more, rest) = bytes.split_at_mut(bytes.len().min(target - self.partial.len()));
                self.partial.extend_from_slice(more);
                bytes = rest;
                if self.unit(&self.partial)? == Some(self.partial.len()) {
                    let mut whole = std::mem::take(&mut self.partial);
                    self.take(&mut whole, most, events)?;
                    whole.clear();
                    self.partial = whole;
                }
            }
        }
        Ok(())
    }

    /// Takes what was left, until `events` holds `most`.
    pub fn go_on(&mut self, most: usize, events: &mut Vec<PeerEvent>) -> Result<(), PeerError> {
        if let Some((lane, frames)) = self.opened.take() {
            self.take_frames(lane, &frames, most, events)?;
        }
        if self.opened.is_none() && events.len() < most {
            let mut bytes = std::mem::take(&mut self.unopened);
            self.receive_some(&mut bytes, most, events)?;
        }
        Ok(())
    }

    /// Whether something was left. Nothing else may be received before.
    pub fn is_behind(&self) -> bool {
        self.opened.is_some() || !self.unopened.is_empty()
    }

    /// The length of the preface or record that `bytes` begin with; `None` while that is unknown.
    fn unit(&self, bytes: &[u8]) -> Result<Option<usize>, PeerError> {
        let most = match self.stage {
            Stage::Preface(_) => return Ok(Some(PREFACE_BYTES)),
            Stage::Open(_) => RECORD_BYTES_MAX,
            _ => STRANGER_RECORD_BYTES_MAX,
        };
        let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*header));
        if (TAG_BYTES..=most).contains(&length) {
            Ok(Some(RECORD_HEADER_BYTES + length))
        } else {
            Err(PeerError::RecordLength(length))
        }
    }

    /// One whole preface or record.
    fn take(&mut self, whole: &mut [u8], most: usize, events: &mut Vec<PeerEvent>) -> Result<(), PeerError> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Preface(exchange) => Stage::Exchange(self.take_preface(whole, exchange)?),
            Stage::Exchange(exchange) => self.take_exchange(&whole[RECORD_HEADER_BYTES..], exchange)?,
            Stage::Identity(mut channel, binding) => {
                let who = self.take_identity(channel.open(whole)?, &binding);
                // Also towards one's own key: so that the other side can say what is wrong.
                if self.role == Role::Acceptor && matches!(who, Ok(_) | Err(PeerError::OwnKey)) {
                    self.prove(&mut channel, &binding)?;
                }
                events.push(match who? {
                    Who::Seat(seat) => {
                        self.seat = Some(seat);
                        PeerEvent::Opened(seat)
                    }
                    Who::Guest(key) => PeerEvent::Guest(key),
                });
                Stage::Open(channel)
            }
            Stage::Open(mut channel) => {
                let (lane, frames) = channel.open(whole)?.split_first().ok_or(PeerError::Lane)?;
                self.take_frames(usize::from(*lane), frames, most, events)?;
                Stage::Open(channel)
            }
            Stage::Closed => Stage::Closed,
        };
        Ok(())
    }

    fn take_preface(&mut self, preface: &[u8], exchange: Option<Exchange>) -> Result<Exchange, PeerError> {
        let preface = preface.try_into().map_err(|_| PeerError::Magic)?;
        let checked = self.identity.check_preface(preface);
        if self.role == Role::Acceptor && checked != Err(PeerError::Magic) {
            // Also towards another chain: so that its side can say what is wrong.
            self.out.bytes.extend_from_slice(&self.identity.preface());
        }
        checked?;
        exchange.map_or_else(|| self.identity.exchange(self.role), Ok)
    }

    fn take_exchange(&mut self, record: &[u8], mut exchange: Exchange) -> Result<Stage, PeerError> {
        exchange.read(record)?;
        if self.role == Role::Acceptor {
            put_record(&mut self.out.bytes, &exchange.write()?);
        }
        let (channel, binding) = exchange.finish()?;
        let mut channel = Box::new(channel);
        if self.role == Role::Dialer {
            self.prove(&mut channel, &binding)?;
        }
        Ok(Stage::Identity(channel, binding))
    }

    fn prove(&mut self, channel: &mut Channel, binding: &[u8; 32]) -> Result<(), PeerError> {
        let start = Channel::begin(&mut self.out.bytes);
        self.out.bytes.extend_from_slice(&self.identity.prove(self.role, binding));
        channel.seal(&mut self.out.bytes, start)
    }

    fn take_identity(&self, proof: &[u8], binding: &[u8; 32]) -> Result<Who, PeerError> {
        let who = self.identity.verify(self.role, binding, proof)?;
        let found = if let Who::Seat(seat) = who { seat } else { Seat::NONE };
        match self.expected {
            Some(expected) if expected != found => {
                Err(PeerError::OtherSeat { expected: expected.0, found: found.0 })
            }
            _ => Ok(who),
        }
    }

    fn take_frames(
        &mut self,
        lane: usize,
        mut bytes: &[u8],
        most: usize,
        events: &mut Vec<PeerEvent>,
    ) -> Result<(), PeerError> {
        let reader = self.readers.get_mut(lane).ok_or(PeerError::Lane)?;
        while events.len() < most
            && let Some(frame) = reader.read(&mut bytes)?
        {
            let message = Message::decode(frame)?;
            if lane_of(&message) != lane {
                return Err(PeerError::Lane);
            }
            events.push(PeerEvent::Message(message));
        }
        if !bytes.is_empty() {
            self.opened = Some((lane, bytes.to_vec()));
        }
        Ok(())
    }

    /// Bytes that wait for the other side to read.
    pub fn waiting_bytes(&self) -> usize {
        let queued: usize = [&self.votes, &self.requests, &self.bulk].map(ClassQueue::bytes).iter().sum();
        queued + self.out.pending().len()
    }

    /// Queues a message; `false` if its class is full and it was dropped.
    #[must_use]
    pub fn send(&mut self, message: &Message, payload: Bytes) -> bool {
        let queue = match message {
            Message::Vertex(_) => &mut self.votes,
            message if message.is_bulk() => &mut self.bulk,
            _ => &mut self.requests,
        };
        queue.push(message.kind(), payload)
    }

    /// Seals as much of what waits as the socket is likely to take soon, in the bytes that go to the socket.
    pub fn seal(&mut self) -> Result<(), PeerError> {
        let mut channel = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Open(channel) => channel,
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        let mut result = Ok(());
        while result.is_ok()
            && self.out.pending().len() < SEALED_BYTES_MAX
            && let Some(lane) = self.waiting_lane()
        {
            let start = Channel::begin(&mut self.out.bytes);
            self.fill(lane, start + RECORD_HEADER_BYTES + PLAIN_BYTES_MAX);
            result = channel.seal(&mut self.out.bytes, start);
        }
        self.stage = Stage::Open(channel);
        result
    }

    /// The lane of the next record; `None` if nothing waits.
    fn waiting_lane(&self) -> Option<usize> {
        if self.current[SMALL].is_some() || !self.votes.is_empty() || !self.requests.is_empty() {
            Some(SMALL)
        } else {
            (self.current[BULK].is_some() || !self.bulk.is_empty()).then_some(BULK)
        }
    }

    /// Appends the plaintext of a record, up to where it may end.
    fn fill(&mut self, lane: usize, end: usize) {
        self.out.bytes.push(lane as u8);
        while self.out.bytes.len() < end {
            let Some(mut outgoing) = self.current[lane].take().or_else(|| self.next_frame(lane)) else {
                break;
            };
            outgoing.write(&mut self.out.bytes, end);
            if outgoing.left() > 0 {
                self.current[lane] = Some(outgoing);
            }
        }
    }

    fn next_frame(&mut self, lane: usize) -> Option<Outgoing> {
        let (kind, payload) = match lane {
            SMALL => self.votes.pop().or_else(|| self.requests.pop())?,
            _ => self.bulk.pop()?,
        };
        Some(Outgoing { header: frame_header(kind, payload.len()), payload, sent: 0 })
    }
}

impl Outgoing {
    fn left(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len() - self.sent
    }

    /// Appends as much as fits before `end`.
    fn write(&mut self, out: &mut Vec<u8>, end: usize) {
        let start = out.len();
        let header = self.header.get(self.sent..).unwrap_or_default();
        out.extend_from_slice(&header[..header.len().min(end - out.len())]);
        let payload = &self.payload[self.sent.saturating_sub(FRAME_HEADER_BYTES)..];
        out.extend_from_slice(&payload[..payload.len().min(end - out.len())]);
        self.sent += out.len() - start;
    }
}

fn lane_of(message: &Message) -> usize {
    if message.is_bulk() { BULK } else { SMALL }
}

fn put_record(out: &mut Vec<u8>, record: &[u8]) {
    let length = u16::try_from(record.len()).expect("messages of the exchange are under 256 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(record);
}
