//! Checkpoints: counting votes, making and checking certificates, and the alarm when others sign another chain.
//!
//! - **Upon an accepted vertex with votes**: their signatures were checked with the vertex' own. Of a seat the first
//!   vote for a height counts; a second one for another hash is kept beside it as a fact against that seat.
//! - **Upon `Q` votes for one hash**: a [`Certificate`] ([`verify_certificate`] is all that others need to believe it).
//! - **Upon `f + 1` other seats that sign another hash than one's own**: [`Divergence`]. One of them is honest, so that
//!   here or there the chain was executed wrongly; whoever goes on builds on it.
//!
//! A vote that is not for a multiple of the interval is ignored, and one that lies further than [`CHECKPOINTS_KEPT`]
//! checkpoints below or above the newest one that is executed or certified here. All others are kept, so that nobody votes
//! twice for a height and hides it behind votes for heights that will never be. Of one's own blocks and of certificates the
//! newest [`CHECKPOINTS_KEPT`] are kept.
//! Nothing here has a part in deciding or settling.

use crate::crypto::{Claim, KeySet};
use crate::types::params::CHECKPOINTS_KEPT;
use crate::types::{BlockHash, Certificate, ChainId, CheckpointVote, Committee, Epoch, Height, Seat};
use crate::wire::checkpoint_digest;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// The keys are of another epoch's committee.
    #[error("the certificate is of epoch {found}, the keys are of epoch {keys}")]
    Epoch {
        /// The certificate's.
        found: u32,
        /// The keys'.
        keys: u32,
    },
    /// Fewer votes than a quorum.
    #[error("the certificate has {found} votes; a quorum is {quorum}")]
    Quorum {
        /// How many it has.
        found: usize,
        /// How many it needs.
        quorum: usize,
    },
    /// Seats that are not strictly ascending: one could count twice.
    #[error("the certificate's votes are not in the order of seats")]
    Order,
    /// A vote that its seat did not sign, or of no seat.
    #[error("the vote of seat {0} in the certificate does not hold")]
    Vote(u16),
}

/// Checks that a quorum of the committee whose keys these are, in the order of seats, signed a checkpoint. Needs nothing
/// else of the chain but its id and the epoch that the committee serves.
///
/// # Errors
/// [`CertificateError`]: what is wrong with it.
pub fn verify_certificate(
    certificate: &Certificate,
    chain: &ChainId,
    epoch: Epoch,
    keys: &KeySet,
) -> Result<(), CertificateError> {
    if certificate.epoch != epoch {
        return Err(CertificateError::Epoch { found: certificate.epoch.0, keys: epoch.0 });
    }
    let (found, quorum) = (certificate.votes.len(), keys.len() - keys.len().saturating_sub(1) / 3);
    if keys.is_empty() || found < quorum {
        return Err(CertificateError::Quorum { found, quorum });
    }
    if !certificate.votes.is_sorted_by(|one, next| one.0 < next.0) {
        return Err(CertificateError::Order);
    }
    let message = checkpoint_digest(chain, epoch, certificate.height, &certificate.hash);
    let votes = certificate.votes.iter();
    let claims: Vec<Claim<'_>> =
        votes.map(|(seat, signature)| Claim { signer: seat.index(), message, signature }).collect();
    let bad = keys.bad(&claims).first().map(|place| certificate.votes[*place].0);
    bad.map_or(Ok(()), |seat| Err(CertificateError::Vote(seat.0)))
}

/// Others hold another chain than this node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "this node's chain differs from the others': its block {height} has hash {own}, but seats {} signed {other}; it \
     stops, since whatever it built on that block may be wrong",
    listed(seats)
)]
pub struct Divergence {
    /// The height of the checkpoint.
    pub height: Height,
    /// The hash of the node's own block.
    pub own: BlockHash,
    /// The hash that the others signed.
    pub other: BlockHash,
    /// Who signed it, ascending; at least `f + 1`.
    pub seats: Vec<Seat>,
}

fn listed(seats: &[Seat]) -> String {
    seats.iter().map(Seat::to_string).collect::<Vec<_>>().join(", ")
}

/// What a vote leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Nothing yet.
    Nothing,
    /// It completes a certificate.
    Certificate(Arc<Certificate>),
    /// Its seat signed another hash for this height before: this vote. The two signatures prove it to anybody.
    Conflict(CheckpointVote),
}

/// The votes, certificates and own blocks of the newest checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    interval: u64,
    epoch: Epoch,
    quorum: usize,
    /// How many of the others cannot all be faulty.
    honest_among: usize,
    me: Seat,
    /// By height: the first vote of each seat.
    votes: BTreeMap<Height, BTreeMap<Seat, CheckpointVote>>,
    seats: usize,
    /// One's own durable blocks.
    own: BTreeMap<Height, BlockHash>,
    certificates: BTreeMap<Height, Arc<Certificate>>,
}

impl Checkpoints {
    /// Nothing is signed yet.
    pub fn new(committee: &Committee, interval: u64, me: Seat) -> Checkpoints {
        let (votes, own, certificates) = Default::default();
        Checkpoints {
            interval,
            epoch: committee.epoch,
            quorum: committee.quorum(),
            honest_among: committee.faulty_max() + 1,
            me,
            votes,
            seats: committee.size(),
            own,
            certificates,
        }
    }

    /// Whether the block of a height is a checkpoint.
    pub fn is_checkpoint(&self, height: Height) -> bool {
        height.0 > 0 && height.0.is_multiple_of(self.interval)
    }

    /// Counts a vote of an accepted vertex: the first of its seat for a height.
    pub fn count(&mut self, seat: Seat, vote: &CheckpointVote) -> Counted {
        let possible = self.is_checkpoint(vote.height) && self.is_near(vote.height);
        if !possible || seat.index() >= self.seats {
            return Counted::Nothing;
        }
        let first = self.votes.get(&vote.height).and_then(|votes| votes.get(&seat));
        if let Some(first) = first.copied() {
            return if first.hash == vote.hash { Counted::Nothing } else { Counted::Conflict(first) };
        }
        self.votes.entry(vote.height).or_default().insert(seat, *vote);
        if self.certificates.contains_key(&vote.height) {
            return Counted::Nothing;
        }
        let signed = self.signed(vote.height, vote.hash);
        if signed.len() < self.quorum {
            return Counted::Nothing;
        }
        let (epoch, height, hash) = (self.epoch, vote.height, vote.hash);
        let certificate = Arc::new(Certificate { epoch, height, hash, votes: signed });
        if self.keep(certificate.clone()) { Counted::Certificate(certificate) } else { Counted::Nothing }
    }

    /// Whether votes for a height are kept.
    fn is_near(&self, height: Height) -> bool {
        let (newest, reach) = (self.newest(), CHECKPOINTS_KEPT as u64 * self.interval);
        height.0.saturating_add(reach) > newest.0 && height.0 <= newest.0.saturating_add(reach)
    }

    /// The newest checkpoint that is executed or certified here.
    fn newest(&self) -> Height {
        self.newest_own().unwrap_or_default().max(self.certified())
    }

    /// Votes that lie too far below are let go.
    fn forget_votes(&mut self) {
        let reach = CHECKPOINTS_KEPT as u64 * self.interval;
        let lowest = Height(self.newest().0.saturating_sub(reach) + 1);
        self.votes = self.votes.split_off(&lowest);
    }

    /// Who voted for this hash, by seat.
    fn signed(&self, height: Height, hash: BlockHash) -> Vec<(Seat, [u8; 64])> {
        let votes = self.votes.get(&height).into_iter().flatten();
        votes.filter(|(_, vote)| vote.hash == hash).map(|(seat, vote)| (*seat, vote.signature)).collect()
    }

    /// Keeps a checked certificate; false if there is one of its height, or newer ones take all the room.
    pub fn keep(&mut self, certificate: Arc<Certificate>) -> bool {
        let height = certificate.height;
        if self.certificates.contains_key(&height) {
            return false;
        }
        self.certificates.insert(height, certificate);
        if self.certificates.len() > CHECKPOINTS_KEPT {
            self.certificates.pop_first();
        }
        self.forget_votes();
        self.certificates.contains_key(&height)
    }

    /// The own block of a checkpoint is executed and durable.
    pub fn executed(&mut self, height: Height, hash: BlockHash) {
        self.own.insert(height, hash);
        if self.own.len() > CHECKPOINTS_KEPT {
            self.own.pop_first();
        }
        self.forget_votes();
    }

    /// The hash of the own block of a checkpoint, if it is executed and not long ago.
    pub fn own(&self, height: Height) -> Option<BlockHash> {
        self.own.get(&height).copied()
    }

    /// The newest checkpoint executed here.
    pub fn newest_own(&self) -> Option<Height> {
        self.own.last_key_value().map(|(height, _)| *height)
    }

    /// The certificate of a height; of height 0: the newest one.
    pub fn certificate(&self, height: Height) -> Option<&Arc<Certificate>> {
        match height {
            Height(0) => self.certificates.last_key_value().map(|(_, certificate)| certificate),
            height => self.certificates.get(&height),
        }
    }

    /// The height of the newest certificate, 0 if there is none. It certifies all blocks below it.
    pub fn certified(&self) -> Height {
        self.certificates.last_key_value().map_or(Height(0), |(height, _)| *height)
    }

    /// How many votes, own blocks and certificates are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> [usize; 3] {
        [self.votes.values().map(BTreeMap::len).sum(), self.own.len(), self.certificates.len()]
    }

    /// What tells that the own block of a height is not that of the others.
    pub fn divergence(&self, height: Height) -> Option<Divergence> {
        let own = self.own(height)?;
        let mut others: BTreeMap<BlockHash, Vec<Seat>> = BTreeMap::new();
        let said = self.votes.get(&height).into_iter().flatten().map(|(seat, vote)| (*seat, vote.hash));
        for (seat, hash) in said.filter(|(seat, hash)| *seat != self.me && *hash != own) {
            others.entry(hash).or_default().push(seat);
        }
        if let Some(certificate) = self.certificates.get(&height).filter(|known| known.hash != own) {
            let seats = certificate.votes.iter().map(|vote| vote.0).filter(|seat| *seat != self.me);
            others.insert(certificate.hash, seats.collect());
        }
        let (other, seats) = others.into_iter().find(|(_, seats)| seats.len() >= self.honest_among)?;
        Some(Divergence { height, own, other, seats })
    }
}
