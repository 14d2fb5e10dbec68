//! Vertices that wait for parents, bounded per author.

use crate::types::{Round, Seat, VertexId, VertexRef};
use crate::wire::SignedVertex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Waiting vertices per author, as a multiple of the collection depth: an author writes one per round, so that this
/// covers a node that lags by two depths; twins that were demanded share the space. Worst case per author at depth 50:
/// 100 vertices of at most 167 KiB; of an honest author in a committee of 100 about 0.5 MiB.
const DEPTHS_PER_AUTHOR: u64 = 2;

/// The author's space is full of vertices of lower rounds. When full, the highest round gives way: it is asked for
/// again later, while the lower ones are needed first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WaitingFull;

#[derive(Debug)]
struct Wait {
    vertex: Arc<SignedVertex>,
    missing: Vec<VertexRef>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    per_author: usize,
    vertices: BTreeMap<VertexId, Wait>,
    /// By author, then round: what each author's space holds.
    slots: BTreeSet<(Seat, Round, VertexId)>,
    /// Which vertices wait for an id.
    children: BTreeMap<VertexId, Vec<VertexId>>,
}

impl Waiting {
    pub(super) fn new(depth: u64) -> Waiting {
        let per_author = usize::try_from(depth * DEPTHS_PER_AUTHOR).unwrap_or(usize::MAX);
        Waiting { per_author, vertices: BTreeMap::new(), slots: BTreeSet::new(), children: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.vertices.len()
    }

    pub(super) fn contains(&self, id: &VertexId) -> bool {
        self.vertices.contains_key(id)
    }

    pub(super) fn has_slot(&self, round: Round, author: Seat) -> bool {
        let from = (author, round, VertexId([0; 32]));
        self.slots.range(from..).next().is_some_and(|slot| (slot.0, slot.1) == (author, round))
    }

    /// Whether a waiting vertex of another author names this one, or a waiting twin that is itself demanded does.
    pub(super) fn demands(&self, vertex: VertexRef) -> bool {
        let mut stack = vec![vertex];
        let mut seen = BTreeSet::new();
        while let Some(wanted) = stack.pop() {
            for child in self.children.get(&wanted.id).into_iter().flatten() {
                let Some(wait) = self.vertices.get(child) else { continue };
                if wait.vertex.vertex.author != wanted.author {
                    return true;
                }
                if seen.insert(*child) {
                    stack.push(wait.vertex.reference());
                }
            }
        }
        false
    }

    /// Takes a vertex that misses at least one parent.
    pub(super) fn add(
        &mut self,
        vertex: Arc<SignedVertex>,
        missing: Vec<VertexRef>,
    ) -> Result<(), WaitingFull> {
        let VertexRef { round, author, id } = vertex.reference();
        let space = (author, Round(0), VertexId([0; 32]))..=(author, Round(u64::MAX), VertexId([255; 32]));
        if self.slots.range(space.clone()).count() >= self.per_author {
            let highest = self.slots.range(space).next_back().copied();
            match highest {
                Some((_, top, victim)) if top > round => self.forget(&victim),
                _ => return Err(WaitingFull),
            }
        }
        for parent in &missing {
            self.children.entry(parent.id).or_default().push(id);
        }
        self.slots.insert((author, round, id));
        self.vertices.insert(id, Wait { vertex, missing });
        Ok(())
    }

    /// A vertex was accepted: returns those that waited for nothing else.
    pub(super) fn release(&mut self, accepted: &VertexId) -> Vec<Arc<SignedVertex>> {
        let mut ready = Vec::new();
        for child in self.children.remove(accepted).unwrap_or_default() {
            let Some(wait) = self.vertices.get_mut(&child) else { continue };
            wait.missing.retain(|parent| parent.id != *accepted);
            if wait.missing.is_empty() {
                ready.extend(self.remove(&child));
            }
        }
        ready
    }

    /// Parents at or below the floor count as accepted; vertices at or below it are let go. Returns those that are
    /// ready now, lowest round first.
    pub(super) fn raise_floor(&mut self, floor: Round) -> Vec<Arc<SignedVertex>> {
        let below: Vec<VertexId> =
            self.slots.iter().filter(|slot| slot.1 <= floor).map(|slot| slot.2).collect();
        below.iter().for_each(|id| self.forget(id));
        let mut ready_ids = Vec::new();
        for (id, wait) in &mut self.vertices {
            let children = &mut self.children;
            wait.missing.retain(|parent| {
                let keep = parent.round > floor;
                if !keep && let Some(list) = children.get_mut(&parent.id) {
                    list.retain(|child| child != id);
                    if list.is_empty() {
                        children.remove(&parent.id);
                    }
                }
                keep
            });
            if wait.missing.is_empty() {
                ready_ids.push(*id);
            }
        }
        let mut ready: Vec<_> = ready_ids.iter().filter_map(|id| self.remove(id)).collect();
        ready.sort_by_key(|vertex| (vertex.vertex.round, vertex.vertex.author));
        ready
    }

    fn remove(&mut self, id: &VertexId) -> Option<Arc<SignedVertex>> {
        let wait = self.vertices.remove(id)?;
        self.slots.remove(&(wait.vertex.vertex.author, wait.vertex.vertex.round, *id));
        Some(wait.vertex)
    }

    fn forget(&mut self, id: &VertexId) {
        let Some(wait) = self.vertices.get(id) else { return };
        for parent in &wait.missing {
            if let Some(list) = self.children.get_mut(&parent.id) {
                list.retain(|child| child != id);
                if list.is_empty() {
                    self.children.remove(&parent.id);
                }
            }
        }
        self.remove(id);
    }

    /// Parents that waiting vertices miss and that are not waiting themselves, at most `most`.
    pub(super) fn absent(&self, most: usize) -> Vec<VertexRef> {
        let all = self.vertices.values().flat_map(|wait| &wait.missing);
        let absent: BTreeSet<VertexRef> =
            all.filter(|p| !self.vertices.contains_key(&p.id)).copied().collect();
        absent.into_iter().take(most).collect()
    }
}
