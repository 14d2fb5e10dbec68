//! Vertices that wait for parents, bounded per author.
//!
//! Two spaces for each seat, so that no author's vertices ever displace another's. One holds the vertices of that seat
//! that were taken unasked, one per round. The other holds what is *demanded* in its name: vertices whose slot is
//! taken by a twin, or that found their author's space full, and that a waiting vertex of that seat needs. A demand
//! begins at a waiting vertex that names a vertex of another author, and goes on through what that one names, of
//! whichever author. It is charged to the author of the vertex where it began: so a two-faced author can waste the
//! space of its own vertices only, while what an honest vertex needs is fetched in the name of its honest author. In whose
//! names something is demanded is handed down once, when a vertex begins to wait, and not looked for whenever something
//! comes: otherwise liars with full spaces could have them all walked for every vertex that they send.
//!
//! Either space, when full, lets go of its highest round: the deepest is needed first, and what was let go is asked
//! for again by what still needs it. So a chain or a cascade of twins of any length is worked through from below.

use crate::types::{Round, Seat, SeatSet, VertexId, VertexRef};
use crate::wire::SignedVertex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Waiting vertices per space, as a multiple of the collection depth: an author writes one per round, so that this
/// covers a node that lags by two depths. Worst case per author at depth 50: 200 vertices of at most 167 KiB; of an
/// honest author in a committee of 100 about 0.5 MiB.
const DEPTHS_PER_SPACE: u64 = 2;

/// There is no room: every space that it could be charged to is full of vertices of lower rounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WaitingFull;

/// Who needs a vertex whose slot is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Demand {
    /// Nobody.
    None,
    /// Only who is proven to lie.
    Shunned,
    /// Somebody who is not.
    Trusted,
}

/// Whose space, and which of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Space {
    charged: Seat,
    demanded: bool,
}

#[derive(Debug)]
struct Wait {
    vertex: Arc<SignedVertex>,
    missing: Vec<VertexRef>,
    space: Space,
}

#[derive(Debug)]
pub(super) struct Waiting {
    per_space: usize,
    /// The most parents of waiting vertices that [`Waiting::absent`] looks at for each space: as many as the lowest
    /// vertex of a space can name, and as many as lead down from it.
    looked_at: usize,
    vertices: BTreeMap<VertexId, Wait>,
    /// What each space holds, by round.
    spaces: BTreeSet<(Space, Round, VertexId)>,
    /// What waits, by slot.
    slots: BTreeSet<(Round, Seat, VertexId)>,
    /// What is missing. By the whole reference: an id under a wrong round or author names nothing, and must not be taken
    /// for the vertex that has the id.
    missing: BTreeMap<VertexRef, Missing>,
}

/// A vertex that others wait for, be it here or not.
#[derive(Debug, Default)]
struct Missing {
    children: Vec<VertexId>,
    /// In whose names it is demanded. Whoever signed a demand keeps it as long as anybody waits for the same, though the
    /// vertex where it began may have given way.
    demanders: SeatSet,
}

const LEAST: VertexId = VertexId([0; 32]);
const MOST: VertexId = VertexId([255; 32]);

impl Waiting {
    pub(super) fn new(depth: u64, seats: usize) -> Waiting {
        let per_space = usize::try_from(depth * DEPTHS_PER_SPACE).unwrap_or(usize::MAX);
        let (vertices, spaces, slots, missing) = Default::default();
        Waiting {
            per_space,
            looked_at: (2 * seats).saturating_add(per_space),
            vertices,
            spaces,
            slots,
            missing,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.vertices.len()
    }

    /// The most vertices of one author that came unasked, and the most that are demanded in one seat's name.
    pub(super) fn most_of_one(&self) -> (usize, usize) {
        let mut of: BTreeMap<(bool, Seat), usize> = BTreeMap::new();
        for Wait { vertex, space, .. } in self.vertices.values() {
            let whose = if space.demanded { space.charged } else { vertex.vertex.author };
            *of.entry((space.demanded, whose)).or_default() += 1;
        }
        let most = |demanded| of.iter().filter(|(of, _)| of.0 == demanded).map(|(_, count)| *count).max();
        (most(false).unwrap_or(0), most(true).unwrap_or(0))
    }

    pub(super) fn contains(&self, vertex: &VertexRef) -> bool {
        self.vertices.get(&vertex.id).is_some_and(|wait| wait.vertex.reference() == *vertex)
    }

    pub(super) fn has_slot(&self, round: Round, author: Seat) -> bool {
        self.in_slot(round, author).next().is_some()
    }

    /// The vertices of a slot that wait.
    pub(super) fn in_slot(&self, round: Round, author: Seat) -> impl Iterator<Item = &Arc<SignedVertex>> {
        let held = self.slots.range((round, author, LEAST)..=(round, author, MOST));
        held.filter_map(|(.., id)| self.vertices.get(id).map(|wait| &wait.vertex))
    }

    /// Whether a waiting vertex of another author names this one, or one that leads to it, or what is held on demand does;
    /// and whether any of them does so in the name of a seat that is `trusted`.
    pub(super) fn demand(&self, vertex: VertexRef, trusted: impl Fn(Seat) -> bool) -> Demand {
        self.demanders(vertex).fold(Demand::None, |demand, seat| {
            if demand == Demand::Trusted || trusted(seat) { Demand::Trusted } else { Demand::Shunned }
        })
    }

    /// In whose names a vertex is demanded.
    fn demanders(&self, vertex: VertexRef) -> impl Iterator<Item = Seat> {
        self.missing.get(&vertex).into_iter().flat_map(|missing| missing.demanders.iter())
    }

    /// Hands on to what a vertex misses, and to what that misses in its turn, in whose names it is demanded. Each seat is
    /// handed on once for each missing parent, so that all of it is in proportion to what was taken.
    fn hand_down(&mut self, begin: VertexId) {
        let mut stack = vec![begin];
        while let Some(Wait { vertex, missing, space }) = stack.pop().and_then(|id| self.vertices.get(&id)) {
            let reference = vertex.reference();
            let mut names =
                self.missing.get(&reference).map_or_else(SeatSet::default, |m| m.demanders.clone());
            if space.demanded {
                names.insert(space.charged);
            }
            for parent in missing {
                let Some(below) = self.missing.get_mut(parent) else { continue };
                let begins = reference.author != parent.author && below.demanders.insert(reference.author);
                if (below.demanders.extend(&names) || begins) && self.vertices.contains_key(&parent.id) {
                    stack.push(parent.id);
                }
            }
        }
    }

    /// Takes a vertex that misses at least one parent: into its author's space if it comes `unasked`, or in the name of
    /// an author whose waiting vertices demand it. Tells whom it is charged to.
    pub(super) fn add(
        &mut self,
        vertex: Arc<SignedVertex>,
        missing: Vec<VertexRef>,
        unasked: bool,
    ) -> Result<Seat, WaitingFull> {
        let VertexRef { round, author, id } = vertex.reference();
        let space = self.make_room(vertex.reference(), unasked).ok_or(WaitingFull)?;
        for parent in &missing {
            self.missing.entry(*parent).or_default().children.push(id);
        }
        self.spaces.insert((space, round, id));
        self.slots.insert((round, author, id));
        self.vertices.insert(id, Wait { vertex, missing, space });
        self.hand_down(id);
        Ok(space.charged)
    }

    /// Whether a vertex could wait here.
    pub(super) fn has_room(&self, vertex: VertexRef, unasked: bool) -> bool {
        self.find_room(vertex, unasked).is_some()
    }

    /// A space with room for a vertex; if none has any, one that lets go of a higher round for it.
    fn make_room(&mut self, vertex: VertexRef, unasked: bool) -> Option<Space> {
        let (space, victim) = self.find_room(vertex, unasked)?;
        victim.iter().for_each(|victim| self.forget(victim));
        Some(space)
    }

    /// The space, and what it lets go of.
    fn find_room(&self, vertex: VertexRef, unasked: bool) -> Option<(Space, Option<VertexId>)> {
        let own = Space { charged: vertex.author, demanded: false };
        if unasked && self.held(own) < self.per_space {
            return Some((own, None));
        }
        let demanded = || self.demanders(vertex).map(|charged| Space { charged, demanded: true });
        if let Some(space) = demanded().find(|space| self.held(*space) < self.per_space) {
            return Some((space, None));
        }
        let mut full = unasked.then_some(own).into_iter().chain(demanded());
        full.find_map(|space| {
            let highest = self.spaces.range(within(space)).next_back();
            highest.filter(|held| held.1 > vertex.round).map(|held| (space, Some(held.2)))
        })
    }

    fn held(&self, space: Space) -> usize {
        self.spaces.range(within(space)).count()
    }

    /// A vertex was accepted: returns those that waited for nothing else.
    pub(super) fn release(&mut self, accepted: &VertexRef) -> Vec<Arc<SignedVertex>> {
        let mut ready = Vec::new();
        for child in self.missing.remove(accepted).unwrap_or_default().children {
            let Some(wait) = self.vertices.get_mut(&child) else { continue };
            wait.missing.retain(|parent| parent != accepted);
            if wait.missing.is_empty() {
                ready.extend(self.remove(&child));
            }
        }
        ready
    }

    /// Parents at or below the floor count as accepted; vertices at or below it are let go. Returns those that are
    /// ready now, lowest round first.
    pub(super) fn raise_floor(&mut self, floor: Round) -> Vec<Arc<SignedVertex>> {
        let above = self.slots.split_off(&(floor.next(), Seat(0), LEAST));
        let below = std::mem::replace(&mut self.slots, above);
        below.iter().for_each(|(_, _, id)| self.forget(id));
        let lowest = VertexRef { round: floor.next(), author: Seat(0), id: LEAST };
        let above = self.missing.split_off(&lowest);
        let passed = std::mem::replace(&mut self.missing, above);
        let waiting: BTreeSet<VertexId> = passed.into_values().flat_map(|passed| passed.children).collect();
        let mut ready = Vec::new();
        for id in waiting {
            let Some(wait) = self.vertices.get_mut(&id) else { continue };
            wait.missing.retain(|parent| parent.round > floor);
            if wait.missing.is_empty() {
                ready.extend(self.remove(&id));
            }
        }
        ready.sort_by_key(|vertex| (vertex.vertex.round, vertex.vertex.author));
        ready
    }

    fn remove(&mut self, id: &VertexId) -> Option<Arc<SignedVertex>> {
        let wait = self.vertices.remove(id)?;
        let VertexRef { round, author, .. } = wait.vertex.reference();
        self.spaces.remove(&(wait.space, round, *id));
        self.slots.remove(&(round, author, *id));
        Some(wait.vertex)
    }

    fn forget(&mut self, id: &VertexId) {
        let Some(wait) = self.vertices.get(id) else { return };
        for parent in &wait.missing {
            if let Some(Missing { children, .. }) = self.missing.get_mut(parent) {
                children.retain(|child| child != id);
                if children.is_empty() {
                    self.missing.remove(parent);
                }
            }
        }
        self.remove(id);
    }

    /// What waiting vertices miss and what is not waiting itself, with the seat in whose name: at most `each` for each
    /// space, lowest waiting rounds first. What a waiting parent misses in its turn is needed as well, and is named in the
    /// name of whoever needs that parent: so nobody's junk, though it fills all that may be asked for in its own name,
    /// keeps what another's vertex needs from being named.
    pub(super) fn absent(&self, each: usize) -> Vec<(Seat, VertexRef)> {
        let mut absent = BTreeSet::new();
        let mut next = self.spaces.first().map(|held| held.0);
        while let Some(space) = next {
            absent.extend(self.absent_below(space, each).into_iter().map(|parent| (space.charged, parent)));
            next =
                self.spaces.range((space, Round(u64::MAX), MOST)..).map(|held| held.0).find(|s| *s != space);
        }
        absent.into_iter().collect()
    }

    /// Goes down from what a space holds, from its lowest round on and at once to what is missing lowest, so that the way
    /// ends at what is absent after as many steps as rounds wait.
    fn absent_below(&self, space: Space, each: usize) -> BTreeSet<VertexRef> {
        let (mut found, mut seen, mut looked_at) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut stack: Vec<VertexRef> = Vec::new();
        for (.., id) in self.spaces.range(within(space)) {
            stack.extend(self.missing_of(id));
            while let Some(parent) = stack.pop() {
                if looked_at == self.looked_at || found.len() == each {
                    return found;
                }
                looked_at += 1;
                if !self.contains(&parent) {
                    found.insert(parent);
                } else if seen.insert(parent.id) {
                    stack.extend(self.missing_of(&parent.id));
                }
            }
        }
        found
    }

    /// The parents that a waiting vertex misses, the lowest last.
    fn missing_of(&self, id: &VertexId) -> Vec<VertexRef> {
        let mut missing = self.vertices.get(id).map_or_else(Vec::new, |wait| wait.missing.clone());
        missing.sort_unstable_by_key(|parent| std::cmp::Reverse(*parent));
        missing
    }
}

/// Everything in a space, lowest round first.
fn within(space: Space) -> std::ops::RangeInclusive<(Space, Round, VertexId)> {
    (space, Round(0), LEAST)..=(space, Round(u64::MAX), MOST)
}
