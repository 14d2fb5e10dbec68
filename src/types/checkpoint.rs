//! Checkpoints: what validators sign of the chain itself, so that others need not follow it to believe it.

use super::ids::{BlockHash, Epoch, Height, Seat};

/// A validator's statement that the checkpoint block of a height has this hash and is executed and durable on it. Who
/// says it, and of which epoch, is told by the vertex that carries it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointVote {
    /// The height: a multiple of the rules' interval.
    pub height: Height,
    /// The hash of the block.
    pub hash: BlockHash,
    /// The author's signature, of its own domain.
    pub signature: [u8; 64],
}

/// A checkpoint with the votes of a quorum: whoever knows the committee's keys can check it without the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The epoch of the committee.
    pub epoch: Epoch,
    /// The height.
    pub height: Height,
    /// The hash of the block.
    pub hash: BlockHash,
    /// Who signed it, and the signatures; seats ascending.
    pub votes: Vec<(Seat, [u8; 64])>,
}
