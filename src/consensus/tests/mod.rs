//! Worlds of vertices for the tests of agreement: named by slots, unsigned, since agreement trusts its caller with
//! signatures.

mod accept;
mod checkpoint;
mod decide;
mod demand;
mod pace;
mod parents;
mod record;
mod schedule;
mod settle;
mod waiting;

use super::*;
use crate::types::{
    AccountNumber, Ack, BatchId, Epoch, GenesisAccount, Key, Parent, Policy, Round, Rules, SeatInfo,
    Sequence, Verdict, Vertex, VertexId,
};
use bytes::Bytes;

pub(super) fn genesis(n: u16, depth: u64, window: u64, policy: Policy) -> Genesis {
    let seat = |s| SeatInfo { key: Key([s as u8 + 1; 32]), fee_account: AccountNumber(1) };
    Genesis {
        name: "test".into(),
        time: Time(1_000),
        rules: Rules { depth, window, policy, ..Rules::default() },
        seats: (0..n).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    }
}

/// A vertex of this slot; `face` tells twins apart.
pub(super) fn vertex(
    (round, author, face): (u64, u16, u8),
    strong: &[VertexRef],
    weak: &[VertexRef],
    acks: Vec<Ack>,
) -> Arc<SignedVertex> {
    let mut id = [face; 32];
    // Faces differ in the first byte, so that the order of ids is not the order of faces.
    id[0] = (round as u8).wrapping_mul(31) ^ (author as u8).wrapping_mul(57) ^ face.wrapping_mul(101);
    id[1..9].copy_from_slice(&round.to_le_bytes());
    id[9..11].copy_from_slice(&author.to_le_bytes());
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(round),
        author: Seat(author),
        time: Time(1_000 + round * 10 + u64::from(author)),
        strong: strong.iter().map(|p| Parent { author: p.author, id: p.id }).collect(),
        weak: weak.to_vec(),
        acks,
        parts: Vec::new(),
    };
    Arc::new(SignedVertex {
        vertex,
        id: VertexId(id),
        signature: [0; 64],
        bytes: Bytes::from_static(&[0; 100]),
    })
}

pub(super) fn ack(author: u16, sequence: u64, id: u8, verdict: Verdict) -> Ack {
    let batch = BatchRef { author: Seat(author), sequence: Sequence(sequence), id: BatchId([id; 32]) };
    Ack { batch, verdict }
}

/// The vertices of one full round above `below`, everybody naming everybody.
pub(super) fn full_round(n: u16, round: u64, below: &[Arc<SignedVertex>]) -> Vec<Arc<SignedVertex>> {
    let parents: Vec<VertexRef> = below.iter().map(|v| v.reference()).collect();
    (0..n).map(|author| vertex((round, author, 0), &parents, &[], Vec::new())).collect()
}

/// Full rounds from 1 to `rounds`, in order.
pub(super) fn full_rounds(n: u16, rounds: u64) -> Vec<Vec<Arc<SignedVertex>>> {
    let mut all: Vec<Vec<Arc<SignedVertex>>> = Vec::new();
    for round in 1..=rounds {
        let below = all.last().cloned().unwrap_or_default();
        all.push(full_round(n, round, &below));
    }
    all
}

/// Everything that is emitted by now.
pub(super) fn emit_all(consensus: &mut Consensus) -> Vec<Emitted> {
    std::iter::from_fn(|| consensus.next_emitted()).collect()
}

/// A schedule of `n` seats before anything is emitted.
pub(super) fn schedule_of(n: u16) -> super::schedule::Schedule {
    super::schedule::Schedule::new(genesis(n, 10, 4, Policy::Quorum).committee())
}
