//! In whose names vertices are demanded, against a plain search through all that waits.

use super::*;
use crate::consensus::waiting::{Demand, Waiting};
use proptest::prelude::*;
use std::collections::BTreeSet;

const SEATS: u16 = 4;
/// Two vertices for each slot of six rounds.
const SLOTS: usize = 2 * SEATS as usize * 6;

/// One that waits, as a reader of the rules would keep it.
struct Plain {
    reference: VertexRef,
    missing: Vec<VertexRef>,
    /// In whose name it was taken, if somebody had to demand it.
    charged: Option<Seat>,
}

/// Walks up from a vertex through all that names it.
fn demanders(waiting: &[Plain], vertex: VertexRef) -> BTreeSet<Seat> {
    let (mut stack, mut seen, mut found) = (vec![vertex], BTreeSet::new(), BTreeSet::new());
    while let Some(wanted) = stack.pop() {
        for child in waiting.iter().filter(|child| child.missing.contains(&wanted)) {
            found.extend(child.charged);
            found.extend(Some(child.reference.author).filter(|author| *author != wanted.author));
            if seen.insert(child.reference) {
                stack.push(child.reference);
            }
        }
    }
    found
}

/// All vertices of some rounds, two of each slot, each with what it names: any of the rounds below, by the bits.
fn all(bits: &[u64]) -> Vec<(Arc<SignedVertex>, Vec<VertexRef>)> {
    let mut made: Vec<(Arc<SignedVertex>, Vec<VertexRef>)> = Vec::new();
    for (index, bits) in bits.iter().enumerate() {
        let (round, author) = (1 + index as u64 / u64::from(2 * SEATS), (index as u16 / 2) % SEATS);
        let signed = vertex((round, author, (index % 2) as u8), &[], &[], Vec::new());
        let below = made.iter().map(|(v, _)| v.reference()).filter(|v| v.round.0 < round);
        let near = below.filter(|v| v.round.0 + 3 > round).enumerate();
        let named = near.filter(|(place, _)| bits >> place & 1 == 1).map(|(_, v)| v).collect();
        made.push((signed, named));
    }
    made
}

proptest! {
    #[test]
    fn demanders_are_those_whose_vertices_lead_here(
        bits in proptest::collection::vec(any::<u64>().prop_map(|bits| bits & bits >> 16), SLOTS),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 1..90),
    ) {
        let made = all(&bits);
        // Room for all: nothing gives way, so that every demand is that of a vertex which waits.
        let (mut waiting, mut plain, mut accepted) = (Waiting::new(100, SEATS.into()), Vec::new(), BTreeSet::new());
        for which in order {
            let (signed, named) = which.get(&made);
            let reference = signed.reference();
            let missing: Vec<VertexRef> = named.iter().filter(|v| !accepted.contains(*v)).copied().collect();
            if accepted.contains(&reference) || waiting.contains(&reference) {
                continue;
            }
            if missing.is_empty() {
                // Accepted, and all that waited for nothing else.
                let mut ready = vec![reference];
                while let Some(one) = ready.pop() {
                    accepted.insert(one);
                    plain.iter_mut().for_each(|p: &mut Plain| p.missing.retain(|parent| *parent != one));
                    plain.retain(|p| !p.missing.is_empty());
                    ready.extend(waiting.release(&one).iter().map(|v| v.reference()));
                }
                continue;
            }
            let names = demanders(&plain, reference);
            // The first of a slot is taken unasked, another if it is demanded.
            let unasked = !waiting.has_slot(reference.round, reference.author);
            let added = waiting.add(signed.clone(), missing.clone(), unasked);
            prop_assert_eq!(added.is_ok(), unasked || !names.is_empty());
            let Ok(charged) = added else { continue };
            let fair = if unasked { charged == reference.author } else { names.contains(&charged) };
            prop_assert!(fair, "charged to {:?}", charged);
            plain.push(Plain { reference, missing, charged: Some(charged).filter(|_| !unasked) });
            for (signed, _) in &made {
                let vertex = signed.reference();
                let names = demanders(&plain, vertex);
                for liars in 0..1u16 << SEATS {
                    let trusted = |seat: Seat| liars >> seat.0 & 1 == 0;
                    let expected = match names.iter().any(|seat| trusted(*seat)) {
                        true => Demand::Trusted,
                        false if names.is_empty() => Demand::None,
                        false => Demand::Shunned,
                    };
                    prop_assert_eq!(waiting.demand(vertex, trusted), expected, "{:?}", vertex);
                }
            }
        }
    }
}
