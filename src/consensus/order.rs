//! The fixed order of a committed leader's history.

use super::dag::{Dag, Spot};
use crate::types::VertexId;
use crate::wire::SignedVertex;
use std::sync::Arc;

/// Outputs the leader's ancestors of rounds above its own minus the depth that were not output before, by round,
/// author and id. Of twins the lowest id in this history, and none if one was output before: their acks would let an
/// author speak twice. The walk goes through suppressed twins, not through output vertices.
pub(super) fn output(dag: &mut Dag, leader: Spot, depth: u64) -> Vec<Arc<SignedVertex>> {
    let lowest = leader.round.back(depth).next();
    let walk = dag.new_walk();
    let mut found: Vec<(Spot, VertexId)> = Vec::new();
    let mut stack = vec![leader];
    while let Some(spot) = stack.pop() {
        if spot.round < lowest {
            continue;
        }
        let entry = dag.entry_mut(spot);
        if entry.output || entry.walk == walk {
            continue;
        }
        entry.walk = walk;
        found.push((spot, entry.vertex.id));
        stack.extend_from_slice(&entry.parents);
    }
    found.sort_unstable_by_key(|(spot, id)| (spot.round, spot.author, *id));
    found.dedup_by_key(|(spot, _)| (spot.round, spot.author));
    found.retain(|(spot, _)| !dag.row(spot.round).is_some_and(|row| row.output.contains(spot.author)));
    for (spot, _) in &found {
        dag.mark_output(*spot);
    }
    found.iter().map(|(spot, _)| dag.entry(*spot).vertex.clone()).collect()
}
