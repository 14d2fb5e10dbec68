//! Newtypes for every index and digest.

use super::params::SEATS_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

number!(/// A validator's place in the committee, from 0.
    Seat(u16));
number!(/// A round of the DAG, from 1; 0 stands for "before the first".
    Round(u64));
number!(/// The number of a block, from 1; 0 is the genesis.
    Height(u64));
number!(/// The number of a batch among its author's, from 1.
    Sequence(u64));
number!(/// The span of one committee, from 0.
    Epoch(u32));
number!(/// An account's number; 0 is the sentinel, which neither sends nor receives.
    AccountNumber(u32));

digest!(/// The id of a vertex: a hash of its bytes without the signature.
    VertexId);
digest!(/// The id of a batch: a hash of its header without the signature.
    BatchId);
digest!(/// The hash of a block's canonical bytes.
    BlockHash);
digest!(/// The hash of the genesis' canonical bytes: names the chain.
    ChainId);
digest!(/// A BLAKE3 tree root over plain bytes, equal to what `b3sum` prints for them.
    Root);
digest!(/// An Ed25519 public key.
    Key);

impl Seat {
    /// Of who has no seat: an observer, to itself.
    pub const NONE: Seat = Seat(u16::MAX);

    /// The number of a guest: a peer without a seat, which is told apart from others by it on one node only.
    pub const fn guest(number: u16) -> Seat {
        Seat(SEATS_MAX as u16 + number)
    }

    /// The seat, if it is one.
    pub fn taken(self) -> Option<Seat> {
        (self != Seat::NONE).then_some(self)
    }

    /// The seat as an index into arrays of length `n`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Round {
    /// The round after this one; saturates, so that a hostile number cannot wrap.
    pub fn next(self) -> Round {
        Round(self.0.saturating_add(1))
    }

    /// `count` rounds earlier, 0 at the least.
    pub fn back(self, count: u64) -> Round {
        Round(self.0.saturating_sub(count))
    }
}

impl Height {
    /// The height after this one.
    pub fn next(self) -> Height {
        Height(self.0.saturating_add(1))
    }
}
