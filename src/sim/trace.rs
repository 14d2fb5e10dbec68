//! The hash of everything that happened, in order: two runs with one hash played alike.

use super::queue::Nanos;

/// Events are hashed in pieces of this many bytes.
const PIECE: usize = 1 << 14;

/// A running hash of the events of a world.
#[derive(Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    piece: Vec<u8>,
    events: u64,
}

impl Trace {
    /// Notes an event: when, of which kind, at which node, and a digest or the numbers of its content.
    pub fn note(&mut self, at: Nanos, kind: u8, seat: u16, content: &[u8]) {
        self.piece.extend_from_slice(&at.to_le_bytes());
        self.piece.push(kind);
        self.piece.extend_from_slice(&seat.to_le_bytes());
        self.piece.extend_from_slice(&(content.len() as u32).to_le_bytes());
        self.piece.extend_from_slice(content);
        self.events += 1;
        if self.piece.len() >= PIECE {
            self.hasher.update(&self.piece);
            self.piece.clear();
        }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far, in hexadecimal.
    pub fn hash(&mut self) -> String {
        self.hasher.update(&self.piece);
        self.piece.clear();
        self.hasher.finalize().to_hex().to_string()
    }
}
