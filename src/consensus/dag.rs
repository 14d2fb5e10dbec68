//! The DAG: accepted vertices by round and author, and the vertices that wait for their parents.

use super::waiting::{Waiting, WaitingFull};
use crate::types::params::KEPT_DEPTHS;
use crate::types::{Committee, Round, Seat, SeatSet, VertexRef};
use crate::wire::SignedVertex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where an accepted vertex stands. `twin` counts the vertices of one author and round in order of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spot {
    /// Its round.
    pub round: Round,
    /// Its author.
    pub author: Seat,
    /// 0 for the first one accepted.
    pub twin: u16,
}

/// An accepted vertex with what deciding and ordering need to know of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub vertex: Arc<SignedVertex>,
    /// Its parents above the floor, strong and weak.
    pub parents: Vec<Spot>,
    /// How many of `parents` are strong; they come first.
    pub strong: usize,
    /// The vertex of the leader slot of the round before that it votes for.
    pub vote: Option<Spot>,
    /// Authors of the next round that vote for this vertex of a leader slot.
    pub votes: SeatSet,
    /// Certificates for this vertex of a leader slot: authors, and where they stand.
    pub certifiers: SeatSet,
    pub certificates: Vec<Spot>,
    /// Whether a leader has output it.
    pub output: bool,
    /// Whether it is an ancestor of the node's own latest vertex.
    pub in_history: bool,
    /// The walk that saw it last.
    pub walk: u64,
}

#[derive(Debug, Default)]
pub(super) struct Row {
    /// By author; more than one entry means twins.
    pub slots: Vec<Vec<Entry>>,
    /// Authors with an accepted vertex.
    pub authors: SeatSet,
    /// Authors of which a vertex was output.
    pub output: SeatSet,
    /// Authors of the *next* round whose vertex votes for no vertex of this round's leader slot.
    pub blanks: SeatSet,
}

/// What became of a vertex that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Insert {
    /// It and possibly others that waited for it are accepted now, in this order.
    Accepted(Vec<Arc<SignedVertex>>),
    /// It waits for these parents, of which none is at hand.
    Waiting(Vec<VertexRef>),
    /// It is known, too old to matter, or a twin that nobody demands.
    Ignored,
    /// Its author's waiting space is full; it will be asked for again.
    Dropped,
}

/// The DAG of one epoch.
#[derive(Debug)]
pub struct Dag {
    committee: Committee,
    depth: u64,
    me: Option<Seat>,
    /// The round of `rows[0]`.
    base: Round,
    rows: VecDeque<Row>,
    /// The highest accepted round of each seat.
    latest: Vec<Round>,
    floor: Round,
    waiting: Waiting,
    walks: u64,
    uncommitted_bytes: usize,
}

impl Dag {
    /// An empty DAG as seen by a seat (`None`: an onlooker).
    pub fn new(committee: Committee, depth: u64, me: Option<Seat>) -> Dag {
        let waiting = Waiting::new(depth);
        let (base, rows) = (Round(1), VecDeque::new());
        let latest = vec![Round(0); committee.size()];
        Dag {
            committee,
            depth,
            me,
            base,
            rows,
            latest,
            floor: Round(0),
            waiting,
            walks: 0,
            uncommitted_bytes: 0,
        }
    }

    /// The committee.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// Vertices at or below this round are not taken any more.
    pub fn floor(&self) -> Round {
        self.floor
    }

    /// The highest round with an accepted vertex, 0 if there is none.
    pub fn highest(&self) -> Round {
        Round(self.base.0 + self.rows.len() as u64 - 1)
    }

    /// Bytes of accepted vertices above the floor that no leader has output.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// How many vertices wait for parents.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the form fits the committee: what [`SignedVertex::decode`] cannot know. Errors name the rule.
    pub fn well_formed(&self, signed: &SignedVertex) -> Result<(), &'static str> {
        let vertex = &signed.vertex;
        let n = self.committee.size();
        if vertex.epoch != self.committee.epoch || !self.committee.has(vertex.author) {
            return Err("a vertex of another epoch or without a seat");
        }
        if vertex.strong.last().is_some_and(|p| p.author.index() >= n)
            || vertex.weak.last().is_some_and(|p| p.author.index() >= n)
            || vertex.acks.iter().any(|a| !self.committee.has(a.batch.author) || a.batch.sequence.0 == 0)
        {
            return Err("a vertex that names a seat outside of the committee");
        }
        if vertex.round.0 > 1 && vertex.strong.len() < self.committee.quorum() {
            return Err("a vertex with fewer strong parents than a quorum");
        }
        if vertex.weak.iter().any(|p| p.round < vertex.round.back(self.depth)) {
            return Err("a vertex with a weak parent below the collection depth");
        }
        Ok(())
    }

    /// Whether a vertex of this slot and id is worth checking: not known, above the floor, the first of its slot or
    /// a twin that another author's vertex names.
    pub fn wants(&self, vertex: VertexRef) -> bool {
        if vertex.round <= self.floor || self.find(vertex).is_some() || self.waiting.contains(&vertex.id) {
            return false;
        }
        let slot_taken =
            self.has(vertex.round, vertex.author) || self.waiting.has_slot(vertex.round, vertex.author);
        !slot_taken || self.waiting.demands(vertex)
    }

    /// Offers a well-formed vertex whose signature holds.
    pub fn insert(&mut self, signed: Arc<SignedVertex>) -> Insert {
        let reference = signed.reference();
        if !self.wants(reference) {
            return Insert::Ignored;
        }
        let missing: Vec<VertexRef> = signed.vertex.parents().filter(|&p| self.is_missing(p)).collect();
        if missing.is_empty() {
            return Insert::Accepted(self.accept_all(signed));
        }
        let absent: Vec<_> = missing.iter().copied().filter(|p| !self.waiting.contains(&p.id)).collect();
        match self.waiting.add(signed, missing) {
            Ok(()) => Insert::Waiting(absent),
            Err(WaitingFull) => Insert::Dropped,
        }
    }

    /// Raises the floor and lets go of what lies far below. Vertices that waited only for parents below the new floor
    /// are accepted and returned.
    pub fn raise_floor(&mut self, floor: Round) -> Vec<Arc<SignedVertex>> {
        if floor <= self.floor {
            return Vec::new();
        }
        for round in self.floor.0 + 1..=floor.0 {
            let entries = self.row(Round(round)).into_iter().flat_map(|row| row.slots.iter().flatten());
            let bytes: usize = entries.filter(|e| !e.output).map(|e| e.vertex.bytes.len()).sum();
            self.uncommitted_bytes -= bytes;
        }
        self.floor = floor;
        let kept_from = floor.back(self.depth * (KEPT_DEPTHS - 1)).next();
        while self.base < kept_from && self.rows.len() > 1 {
            self.rows.pop_front();
            self.base = self.base.next();
        }
        let mut accepted = Vec::new();
        for vertex in self.waiting.raise_floor(floor) {
            if self.find(vertex.reference()).is_none() {
                accepted.extend(self.accept_all(vertex));
            }
        }
        accepted
    }

    /// Whether an author has an accepted vertex of a round.
    pub fn has(&self, round: Round, author: Seat) -> bool {
        self.row(round).is_some_and(|row| row.authors.contains(author))
    }

    /// How many authors have an accepted vertex of a round; slots before round 1 count as present.
    pub fn count(&self, round: Round) -> usize {
        if round.0 == 0 {
            self.committee.size()
        } else {
            self.row(round).map_or(0, |row| row.authors.count())
        }
    }

    /// The first accepted vertex of a slot.
    pub fn first(&self, round: Round, author: Seat) -> Option<&Arc<SignedVertex>> {
        self.row(round)?.slots.get(author.index())?.first().map(|entry| &entry.vertex)
    }

    /// The accepted vertex of this slot and id, if it is still kept.
    pub fn get(&self, vertex: VertexRef) -> Option<&Arc<SignedVertex>> {
        self.find(vertex).map(|spot| &self.entry(spot).vertex)
    }

    /// The highest accepted round of each seat, 0 where there is none.
    pub fn frontier(&self) -> &[Round] {
        &self.latest
    }

    /// The highest accepted round of a seat, 0 if there is none.
    pub fn latest(&self, seat: Seat) -> Round {
        self.latest.get(seat.index()).copied().unwrap_or_default()
    }

    /// Parents that waiting vertices miss and that are nowhere at hand, at most `most`.
    pub fn absent(&self, most: usize) -> Vec<VertexRef> {
        self.waiting.absent(most)
    }

    /// Accepted vertices above a peer's frontier, lowest round first, at most `most`.
    pub fn above(&self, frontier: &[Round], most: usize) -> Vec<Arc<SignedVertex>> {
        let lowest = frontier.iter().min().copied().unwrap_or(Round(0)).next().max(self.base);
        let mut found = Vec::new();
        for round in lowest.0..=self.highest().0 {
            let Some(row) = self.row(Round(round)) else { break };
            for (slot, known) in row.slots.iter().zip(frontier) {
                if known.0 < round {
                    found.extend(slot.iter().map(|entry| entry.vertex.clone()));
                }
            }
            if found.len() >= most {
                found.truncate(most);
                break;
            }
        }
        found
    }

    /// Parents for the node's own vertex of a round: strong ones (every author of the round before, of twins the
    /// first), and weak ones (accepted, not yet in the own history, never a twin of one that is). Marks the history.
    pub fn choose_parents(&mut self, round: Round) -> (Vec<VertexRef>, Vec<VertexRef>) {
        let before = round.back(1);
        let strong: Vec<VertexRef> = self
            .committee
            .iter()
            .filter_map(|seat| self.first(before, seat).map(|v| v.reference()))
            .collect();
        for parent in &strong {
            self.mark_history(*parent);
        }
        let mut weak: Vec<VertexRef> = Vec::new();
        for seat in self.committee.iter() {
            let lowest = round.back(self.depth).max(self.floor.next());
            let newest = (lowest.0..before.0).rev().find_map(|r| self.loose(Round(r), seat));
            if let Some(vertex) = newest {
                self.mark_history(vertex);
                weak.push(vertex);
            }
        }
        (strong, weak)
    }

    /// The first vertex of a slot, if the own history knows none of that slot.
    fn loose(&self, round: Round, seat: Seat) -> Option<VertexRef> {
        let slot = self.row(round)?.slots.get(seat.index())?;
        let first = slot.first()?;
        slot.iter().all(|entry| !entry.in_history).then(|| first.vertex.reference())
    }

    fn mark_history(&mut self, vertex: VertexRef) {
        let mut stack: Vec<Spot> = self.find(vertex).into_iter().collect();
        while let Some(spot) = stack.pop() {
            if spot.round <= self.floor {
                continue;
            }
            let entry = self.entry_mut(spot);
            if !entry.in_history {
                entry.in_history = true;
                stack.extend_from_slice(&entry.parents);
            }
        }
    }

    fn is_missing(&self, parent: VertexRef) -> bool {
        parent.round > self.floor && self.find(parent).is_none()
    }

    /// Accepts a vertex and, one after the other, all that waited for nothing else.
    fn accept_all(&mut self, signed: Arc<SignedVertex>) -> Vec<Arc<SignedVertex>> {
        let mut accepted = vec![signed];
        let mut next = 0;
        while let Some(vertex) = accepted.get(next).cloned() {
            let id = vertex.id;
            self.accept(vertex);
            accepted.extend(self.waiting.release(&id));
            next += 1;
        }
        accepted
    }

    fn accept(&mut self, signed: Arc<SignedVertex>) {
        let VertexRef { round, author, .. } = signed.reference();
        while self.highest() < round {
            let slots = (0..self.committee.size()).map(|_| Vec::new()).collect();
            self.rows.push_back(Row { slots, ..Row::default() });
        }
        let locate = |dag: &Dag, p: VertexRef| if p.round > dag.floor { dag.find(p) } else { None };
        let strong: Vec<Spot> = {
            let before = round.back(1);
            let parents = signed.vertex.strong.iter();
            let refs = parents.map(|p| VertexRef { round: before, author: p.author, id: p.id });
            refs.filter_map(|p| locate(self, p)).collect()
        };
        let mut parents = strong.clone();
        parents.extend(signed.vertex.weak.iter().filter_map(|&p| locate(self, p)));
        let spot = self.place(&signed, parents, strong.len());
        self.count_vote(spot, &strong);
        self.count_certificate(spot, &strong);
        if self.me == Some(author) {
            self.mark_history(signed.reference());
        }
    }

    fn place(&mut self, signed: &Arc<SignedVertex>, parents: Vec<Spot>, strong: usize) -> Spot {
        let VertexRef { round, author, .. } = signed.reference();
        self.uncommitted_bytes += signed.bytes.len();
        self.latest[author.index()] = self.latest[author.index()].max(round);
        let row = self.row_mut(round).expect("rows up to the round were made");
        row.authors.insert(author);
        let slot = &mut row.slots[author.index()];
        let spot = Spot { round, author, twin: slot.len() as u16 };
        slot.push(Entry {
            vertex: signed.clone(),
            parents,
            strong,
            vote: None,
            votes: SeatSet::default(),
            certifiers: SeatSet::default(),
            certificates: Vec::new(),
            output: false,
            in_history: false,
            walk: 0,
        });
        spot
    }

    /// Counts the vertex' vote for the leader slot of the round before: for the slot's vertex among its strong
    /// parents, or for none.
    fn count_vote(&mut self, spot: Spot, strong: &[Spot]) {
        let slot = spot.round.back(1);
        if slot.0 == 0 || slot <= self.floor {
            return;
        }
        let leader = self.committee.leader(slot);
        let vote = strong.iter().copied().find(|parent| parent.author == leader);
        match vote {
            Some(parent) => {
                self.entry_mut(parent).votes.insert(spot.author);
                self.entry_mut(spot).vote = Some(parent);
            }
            None => {
                if let Some(row) = self.row_mut(slot) {
                    row.blanks.insert(spot.author);
                }
            }
        }
    }

    /// A vertex whose strong parents hold a quorum of votes for one vertex of the leader slot two rounds below is a
    /// certificate for it.
    fn count_certificate(&mut self, spot: Spot, strong: &[Spot]) {
        let mut tally: Vec<(Spot, usize)> = Vec::new();
        for vote in strong.iter().filter_map(|&parent| self.entry(parent).vote) {
            match tally.iter_mut().find(|(candidate, _)| *candidate == vote) {
                Some((_, count)) => *count += 1,
                None => tally.push((vote, 1)),
            }
        }
        let quorum = self.committee.quorum();
        if let Some(&(certified, _)) = tally.iter().find(|(_, count)| *count >= quorum)
            && certified.round >= self.base
        {
            let entry = self.entry_mut(certified);
            entry.certifiers.insert(spot.author);
            entry.certificates.push(spot);
        }
    }

    /// A number that no earlier walk had.
    pub(super) fn new_walk(&mut self) -> u64 {
        self.walks += 1;
        self.walks
    }

    /// Marks a vertex as output and its slot as done.
    pub(super) fn mark_output(&mut self, spot: Spot) {
        let entry = self.entry_mut(spot);
        entry.output = true;
        let bytes = entry.vertex.bytes.len();
        if let Some(row) = self.row_mut(spot.round) {
            row.output.insert(spot.author);
        }
        if spot.round > self.floor {
            self.uncommitted_bytes -= bytes;
        }
    }

    pub(super) fn find(&self, vertex: VertexRef) -> Option<Spot> {
        let slot = self.row(vertex.round)?.slots.get(vertex.author.index())?;
        let twin = slot.iter().position(|entry| entry.vertex.id == vertex.id)?;
        Some(Spot { round: vertex.round, author: vertex.author, twin: twin as u16 })
    }

    pub(super) fn row(&self, round: Round) -> Option<&Row> {
        self.rows.get(usize::try_from(round.0.checked_sub(self.base.0)?).ok()?)
    }

    fn row_mut(&mut self, round: Round) -> Option<&mut Row> {
        self.rows.get_mut(usize::try_from(round.0.checked_sub(self.base.0)?).ok()?)
    }

    /// # Panics
    /// If the spot is no longer kept: spots are only followed above the floor.
    pub(super) fn entry(&self, spot: Spot) -> &Entry {
        &self.row(spot.round).expect("spots are followed above the floor only").slots[spot.author.index()]
            [usize::from(spot.twin)]
    }

    pub(super) fn entry_mut(&mut self, spot: Spot) -> &mut Entry {
        &mut self.row_mut(spot.round).expect("spots are followed above the floor only").slots
            [spot.author.index()][usize::from(spot.twin)]
    }
}
