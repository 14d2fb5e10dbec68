//! Any bytes as a DAG: whatever its shape and the order in which it arrives, nodes agree on what they emit, and what
//! waits stays within its space.
//!
//! The first byte says how many seats there are (1 to 7) and the second shuffles; then five bytes make a vertex each.
//! Vertices are well-formed by construction, and only the first `f` seats write more than one of a round: more liars
//! than that may split the nodes.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use throng::consensus::{Consensus, Insert};
use throng::types::{
    AccountNumber, Ack, BatchId, BatchRef, Epoch, Genesis, GenesisAccount, Key, Parent, Policy, Round, Rules,
    Seat, SeatInfo, Sequence, Time, Verdict, Vertex, VertexId, VertexRef,
};
use throng::wire::SignedVertex;

/// The collection depth of the small chain.
const DEPTH: u64 = 4;
/// The most vertices made of one input.
const VERTICES_MAX: usize = 400;
/// How often the vertices are offered again: what was let go for space is asked for again.
const PASSES: usize = 4;

/// Round by round, author by author, the faces that were made.
#[derive(Default)]
struct Made {
    slots: BTreeMap<(u64, u16), Vec<Arc<SignedVertex>>>,
    in_order: Vec<Arc<SignedVertex>>,
}

impl Made {
    fn authors(&self, round: u64, n: u16) -> Vec<u16> {
        (0..n).filter(|&author| self.slots.contains_key(&(round, author))).collect()
    }

    fn face(&self, round: u64, author: u16, choice: u8) -> Option<VertexRef> {
        let faces = self.slots.get(&(round, author))?;
        faces.get(usize::from(choice) % faces.len()).map(|v| v.reference())
    }

    /// The highest round in which a quorum wrote.
    fn top(&self, n: u16, quorum: usize) -> u64 {
        let highest = self.slots.last_key_value().map_or(0, |(slot, _)| slot.0);
        (1..=highest).rev().find(|&round| self.authors(round, n).len() >= quorum).unwrap_or(0)
    }

    /// Makes a vertex, unless its author may not.
    fn add(&mut self, n: u16, record: [u8; 5]) {
        let [author, place, left_out, faces, more] = record;
        let (author, f) = (u16::from(author) % n, (n - 1) / 3);
        let quorum = usize::from(n - f);
        let round = (self.top(n, quorum) + 1).saturating_sub(u64::from(place % 8)).max(1);
        let written = self.slots.get(&(round, author)).map_or(0, Vec::len);
        if written > 0 && (author >= f || written > 200) {
            return;
        }
        let mut below = self.authors(round - 1, n);
        // Left out are those that the bits name, as far as a quorum remains.
        for leave in (0..n).filter(|leave| left_out & (1 << leave) != 0) {
            if below.len() > quorum {
                below.retain(|&author| author != leave);
            }
        }
        let strong = below.iter().filter_map(|&a| self.face(round - 1, a, faces >> a));
        let strong: Vec<Parent> = strong.map(|p| Parent { author: p.author, id: p.id }).collect();
        let older = u64::from(more % 4) + 2;
        let mut weak: Vec<VertexRef> = (more & 4 != 0 && round > older && older <= DEPTH)
            .then(|| self.face(round - older, u16::from(more >> 4) % n, faces))
            .flatten()
            .into_iter()
            .collect();
        if place & 8 != 0 && round > 2 {
            // Nobody has it.
            weak =
                vec![VertexRef { round: Round(round - 2), author: Seat(author), id: VertexId([more; 32]) }];
        }
        let ack = Ack {
            batch: BatchRef {
                author: Seat(u16::from(faces) % n),
                sequence: Sequence(1 + u64::from(more >> 5)),
                id: BatchId([left_out & 1; 32]),
            },
            verdict: if place & 16 == 0 { Verdict::Valid } else { Verdict::Held },
        };
        let mut id = [written as u8; 32];
        id[0] = (written as u8).wrapping_mul(101) ^ faces;
        id[1..9].copy_from_slice(&round.to_le_bytes());
        id[9..11].copy_from_slice(&author.to_le_bytes());
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(round),
            author: Seat(author),
            time: Time(round * 100 + u64::from(left_out)),
            strong,
            weak,
            acks: vec![ack],
            parts: Vec::new(),
        };
        let bytes = Bytes::from_static(&[0; 64]);
        let signed = Arc::new(SignedVertex { vertex, id: VertexId(id), signature: [0; 64], bytes });
        self.slots.entry((round, author)).or_default().push(signed.clone());
        self.in_order.push(signed);
    }
}

fn genesis(n: u16) -> Genesis {
    let seat = |s: u16| SeatInfo { key: Key([s as u8 + 1; 32]), fee_account: AccountNumber(1) };
    Genesis {
        name: "fuzz".into(),
        time: Time(1),
        rules: Rules { depth: DEPTH, window: 2, policy: Policy::Quorum, ..Rules::default() },
        seats: (0..n).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    }
}

/// A link of the order: leader, time, output, settled.
type Link = (VertexId, Time, Vec<VertexId>, Vec<BatchRef>);

/// What a node emits that is offered these vertices in this order, again and again.
fn play(genesis: &Genesis, vertices: &[Arc<SignedVertex>], emit_every: usize) -> Vec<Link> {
    let n = genesis.seats.len();
    let mut consensus = Consensus::new(genesis, None);
    let mut links = Vec::new();
    let mut emit = |consensus: &mut Consensus| {
        while let Some(emitted) = consensus.next_emitted() {
            let output = emitted.output.iter().map(|v| v.id).collect();
            links.push((emitted.leader.id, emitted.time, output, emitted.settled));
        }
    };
    for _ in 0..PASSES {
        for (place, vertex) in vertices.iter().enumerate() {
            if consensus.dag().well_formed(vertex).is_err() {
                continue;
            }
            if let Insert::Waiting { charged, .. } = consensus.insert(vertex.clone()) {
                assert!(charged.index() < n);
            }
            if place % emit_every == 0 {
                emit(&mut consensus);
            }
            // Two spaces for each seat, two depths each.
            assert!(consensus.dag().waiting() <= n * 4 * DEPTH as usize);
            assert!(consensus.dag().absent(3).len() <= 2 * 3 * n);
        }
        emit(&mut consensus);
    }
    links
}

/// Bytes as a DAG and its arrival. True if a leader is emitted.
pub fn consensus_dag(bytes: &[u8]) -> bool {
    let [seats, shuffle, records @ ..] = bytes else { return false };
    let genesis = genesis(1 + u16::from(seats % 7));
    let n = genesis.seats.len() as u16;
    let mut made = Made::default();
    for record in records.chunks_exact(5).take(VERTICES_MAX) {
        made.add(n, [record[0], record[1], record[2], record[3], record[4]]);
    }
    let straight = play(&genesis, &made.in_order, 1);
    let mut shuffled = made.in_order;
    let mut state = u64::from(*shuffle) + 1;
    for end in (1..shuffled.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        shuffled.swap(end, (state >> 33) as usize % (end + 1));
    }
    let other = play(&genesis, &shuffled, 7);
    let common = straight.len().min(other.len());
    assert_eq!(straight[..common], other[..common], "two nodes fork");
    !straight.is_empty()
}
