//! Bounded queues towards one connection, and the list of connections that have something to do.

use bytes::Bytes;
use std::collections::VecDeque;

/// Space of an emptied buffer above this is given back.
const KEPT_BYTES: usize = 512 << 10;

/// Frames of one class that wait for one peer: bounded by bytes, the newest is refused when full.
#[derive(Debug)]
pub struct ClassQueue {
    frames: VecDeque<(u8, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl ClassQueue {
    /// An empty queue.
    pub fn new(bytes_max: usize) -> ClassQueue {
        ClassQueue { frames: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Queues a frame; `false` if there is no room for it.
    #[must_use]
    pub fn push(&mut self, kind: u8, payload: Bytes) -> bool {
        let cost = cost(&payload);
        if self.bytes + cost > self.bytes_max {
            return false;
        }
        self.bytes += cost;
        self.frames.push_back((kind, payload));
        true
    }

    /// The oldest frame.
    pub fn pop(&mut self) -> Option<(u8, Bytes)> {
        let (kind, payload) = self.frames.pop_front()?;
        self.bytes -= cost(&payload);
        Some((kind, payload))
    }

    /// What all that waits counts, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// What a frame counts: its payload and the entry itself, so that many empty ones are bounded too.
fn cost(payload: &Bytes) -> usize {
    payload.len() + size_of::<(u8, Bytes)>()
}

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub struct OutBuffer {
    /// Bytes are appended here.
    pub bytes: Vec<u8>,
    sent: usize,
}

impl OutBuffer {
    /// What the socket has not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The socket took `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.bytes.len() / 2 {
            // Moves fewer bytes than were sent since the last move.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Connections that have something to do, each at most once per turn, first come first served.
#[derive(Debug, Default)]
pub struct ReadyList {
    tokens: VecDeque<mio::Token>,
}

impl ReadyList {
    /// Adds a connection; `listed` is its own mark that it is in here.
    pub fn add(&mut self, token: mio::Token, listed: &mut bool) {
        if !std::mem::replace(listed, true) {
            self.tokens.push_back(token);
        }
    }

    /// How many stand here now: a turn serves so many, and not those that were added meanwhile.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The next one; whoever takes it clears its mark.
    pub fn pop(&mut self) -> Option<mio::Token> {
        self.tokens.pop_front()
    }
}
