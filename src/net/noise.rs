//! How two peers come to trust a connection, without sockets.
//!
//! ```text
//! dialer                                  acceptor
//! preface ─────────────────────────────▶  checked before anything is computed
//! Noise message 1 (e) ─────────────────▶  only now a key exchange
//!                      ◀───────────────── preface, Noise message 2 (e, ee)
//! identity (sealed) ───────────────────▶  verified
//!                      ◀───────────────── identity (sealed), verified
//! ```
//!
//! The exchange is `Noise_NN_25519_ChaChaPoly_BLAKE2s` (Perrin, "The Noise Protocol Framework", revision 34) with
//! the preface and the whole chain id as prologue. It authenticates nobody; that is done inside of it: each side
//! signs chain, handshake hash, role and seat with the key of its seat; who has no seat sends a key along, and has proved
//! with it that it is the same peer as the last time. The handshake hash binds the signature to
//! this one exchange of keys, so a third party in the middle, who has two different hashes, cannot pass one on;
//! the role keeps a signature from being reflected to its maker.
//!
//! The exchange ends where Noise splits its chaining key into a secret for each direction. From there on records are
//! sealed by [`super::records`], under a faster cipher than the one in the name of the exchange.

use super::records::Channel;
use crate::crypto::{self, Domain, KeySet, PreparedKey, SigningKey};
use crate::types::params::VERSION;
use crate::types::{ChainId, Seat};
use snow::{Builder, HandshakeState};
use std::sync::Arc;
use thiserror::Error;

/// Bytes that open a connection, from either side: magic, version, the beginning of the chain id.
pub const PREFACE_BYTES: usize = 16;
/// The longest record of a stranger.
pub const STRANGER_RECORD_BYTES_MAX: usize = 256;

const MAGIC: &[u8; 7] = b"throngp";
const PATTERN: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";
/// The longest identity: seat, key of who has no seat, signature.
const IDENTITY_BYTES_MAX: usize = 98;
const _: () = assert!(IDENTITY_BYTES_MAX < STRANGER_RECORD_BYTES_MAX);

/// Whether the first bytes of a connection, however few, are those of a peer of any version and chain.
pub fn opens_as_peer(said: &[u8]) -> bool {
    said.iter().zip(MAGIC).all(|(said, magic)| said == magic)
}

/// Why a connection between peers is given up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PeerError {
    /// The first bytes are not those of a peer.
    #[error("not a peer of this kind")]
    Magic,
    /// Another version of the rules.
    #[error("another version: it speaks {0}, this node {VERSION}")]
    Version(u8),
    /// Another chain.
    #[error("another chain: it belongs to {theirs}…, this node to {ours}…")]
    Chain {
        /// The beginning of its chain id.
        theirs: String,
        /// The beginning of ours.
        ours: String,
    },
    /// The exchange of keys failed, or a record was not sealed with the agreed keys.
    #[error("broken encryption")]
    Noise,
    /// A record of a length that is not allowed at this point.
    #[error("a record of {0} bytes is not allowed here")]
    RecordLength(usize),
    /// It claims a seat that does not exist.
    #[error("claims seat {0}, which this chain does not have")]
    Seat(u16),
    /// It has the own key.
    #[error("has this node's own key: the address is this node's, or its key is in use twice")]
    OwnKey,
    /// It is not the validator that was dialed.
    #[error("claims seat {found}, but {expected} was dialed")]
    OtherSeat {
        /// Who was dialed.
        expected: u16,
        /// Who answered.
        found: u16,
    },
    /// The signature under its identity is bad; [`Seat::NONE`] stands for the key that it sent.
    #[error("cannot prove to be {}", if *_0 == u16::MAX { "who it says".to_owned() } else { format!("seat {_0}") })]
    Identity(u16),
    /// A frame or message that does not decode.
    #[error("sent a malformed message: {0}")]
    Wire(#[from] crate::wire::WireError),
    /// A record of an unknown lane.
    #[error("used an unknown lane")]
    Lane,
}

/// Who this node is towards others.
pub struct Identity {
    /// The chain.
    pub chain: ChainId,
    /// Its seat; [`Seat::NONE`] of an observer.
    pub seat: Seat,
    /// The seat's key, or the observer's.
    pub key: SigningKey,
    /// The keys of all seats.
    pub seats: Arc<KeySet>,
}

/// Who a peer has proved to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A validator.
    Seat(Seat),
    /// Somebody without a seat, who has this key.
    Guest([u8; 32]),
}

/// The side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Dialed; speaks first.
    Dialer,
    /// Was dialed.
    Acceptor,
}

impl Role {
    fn byte(self) -> u8 {
        match self {
            Role::Dialer => 0,
            Role::Acceptor => 1,
        }
    }

    fn other(self) -> Role {
        match self {
            Role::Dialer => Role::Acceptor,
            Role::Acceptor => Role::Dialer,
        }
    }
}

impl Identity {
    /// The bytes that open a connection.
    pub fn preface(&self) -> [u8; PREFACE_BYTES] {
        let mut preface = [0; PREFACE_BYTES];
        preface[..7].copy_from_slice(MAGIC);
        preface[7] = VERSION;
        preface[8..].copy_from_slice(&self.chain.0[..8]);
        preface
    }

    /// Checks the other side's preface.
    pub fn check_preface(&self, preface: &[u8; PREFACE_BYTES]) -> Result<(), PeerError> {
        if &preface[..7] != MAGIC {
            return Err(PeerError::Magic);
        }
        if preface[7] != VERSION {
            return Err(PeerError::Version(preface[7]));
        }
        if preface[8..] != self.chain.0[..8] {
            let (theirs, ours) = (hex::encode(&preface[8..]), hex::encode(&self.chain.0[..8]));
            return Err(PeerError::Chain { theirs, ours });
        }
        Ok(())
    }

    /// Begins an exchange of keys.
    pub fn exchange(&self, role: Role) -> Result<Exchange, PeerError> {
        let params = PATTERN.parse().map_err(|_| PeerError::Noise)?;
        let prologue = [&self.preface()[..], &self.chain.0].concat();
        let builder = Builder::new(params).prologue(&prologue).map_err(|_| PeerError::Noise)?;
        let state = match role {
            Role::Dialer => builder.build_initiator(),
            Role::Acceptor => builder.build_responder(),
        };
        Ok(Exchange { state: state.map_err(|_| PeerError::Noise)? })
    }

    /// What proves this node's identity on a connection.
    pub fn prove(&self, role: Role, binding: &[u8; 32]) -> Vec<u8> {
        let mut proof = self.seat.0.to_le_bytes().to_vec();
        if self.seat == Seat::NONE {
            proof.extend_from_slice(&crypto::public_key(&self.key));
        }
        let digest = self.digest(role, binding, self.seat);
        proof.extend_from_slice(&crypto::sign(&self.key, &digest));
        proof
    }

    /// Who the other side is. `role` is one's own.
    pub fn verify(&self, role: Role, binding: &[u8; 32], proof: &[u8]) -> Result<Who, PeerError> {
        let wrong = PeerError::RecordLength(proof.len());
        let (named, proof) = proof.split_first_chunk().ok_or(wrong.clone())?;
        let seat = Seat(u16::from_le_bytes(*named));
        let digest = self.digest(role.other(), binding, seat);
        if seat == Seat::NONE {
            let (key, signature) = proof.split_first_chunk::<32>().ok_or(wrong.clone())?;
            let signature = signature.try_into().map_err(|_| wrong)?;
            if *key == crypto::public_key(&self.key) {
                return Err(PeerError::OwnKey);
            }
            let good = PreparedKey::new(key).is_some_and(|key| crypto::verify(&key, &digest, signature));
            return if good { Ok(Who::Guest(*key)) } else { Err(PeerError::Identity(seat.0)) };
        }
        let signature = proof.try_into().map_err(|_| wrong)?;
        if seat.index() >= self.seats.len() {
            return Err(PeerError::Seat(seat.0));
        }
        match self.seats.verify(seat.index(), &digest, signature) {
            true if seat == self.seat => Err(PeerError::OwnKey),
            true => Ok(Who::Seat(seat)),
            false => Err(PeerError::Identity(seat.0)),
        }
    }

    fn digest(&self, role: Role, binding: &[u8; 32], seat: Seat) -> [u8; 32] {
        let parts: [&[u8]; 4] = [&self.chain.0, binding, &[role.byte()], &seat.0.to_le_bytes()];
        crypto::hash(Domain::PeerHello, &parts)
    }
}

/// An exchange of keys that is under way.
pub struct Exchange {
    state: HandshakeState,
}

impl Exchange {
    /// The next message to the other side.
    pub fn write(&mut self) -> Result<Vec<u8>, PeerError> {
        let mut message = [0; STRANGER_RECORD_BYTES_MAX];
        let length = self.state.write_message(&[], &mut message).map_err(|_| PeerError::Noise)?;
        Ok(message[..length].to_vec())
    }

    /// Takes the other side's message, which carries nothing but the exchange.
    pub fn read(&mut self, message: &[u8]) -> Result<(), PeerError> {
        let mut payload = [0; STRANGER_RECORD_BYTES_MAX];
        match self.state.read_message(message, &mut payload) {
            Ok(0) => Ok(()),
            _ => Err(PeerError::Noise),
        }
    }

    /// The sealed channel and what binds an identity to it, once both messages have passed.
    pub fn finish(mut self) -> Result<(Channel, [u8; 32]), PeerError> {
        if !self.state.is_handshake_finished() {
            return Err(PeerError::Noise);
        }
        let binding = self.state.get_handshake_hash().try_into().map_err(|_| PeerError::Noise)?;
        let (of_dialer, of_acceptor) = self.state.dangerously_get_raw_split();
        let channel = if self.state.is_initiator() {
            Channel::new(&of_dialer, &of_acceptor, &binding)
        } else {
            Channel::new(&of_acceptor, &of_dialer, &binding)
        };
        Ok((channel, binding))
    }
}
