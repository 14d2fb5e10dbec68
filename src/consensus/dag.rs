//! The DAG: accepted vertices by round and author, and the vertices that wait for their parents.

mod entry;
mod recall;
mod shun;

pub use entry::{Insert, Spot};

use super::retention::Retention;
use super::schedule::Schedule;
use super::waiting::{Demand, Waiting, WaitingFull};
use crate::types::{Committee, Round, Seat, SeatSet, SettlementRecord, Standing, VertexRef};
use crate::wire::SignedVertex;
use entry::{Entry, Row};
use std::collections::VecDeque;
use std::sync::Arc;

/// The DAG of one epoch.
#[derive(Debug)]
pub struct Dag {
    schedule: Schedule,
    depth: u64,
    me: Option<Seat>,
    kept: Retention,
    /// Whose vertices the own ones do not name if they need not.
    shunned: SeatSet,
    /// The round of `rows[0]`.
    base: Round,
    rows: VecDeque<Row>,
    /// The highest accepted round of each seat.
    latest: Vec<Round>,
    floor: Round,
    /// The floor that the DAG began with, 0 from the genesis on.
    began: Round,
    waiting: Waiting,
    walks: u64,
    uncommitted_bytes: usize,
    /// Memory that all accepted vertices take, roughly.
    bytes: usize,
    /// A slot came to be decided since the last look.
    news: bool,
    /// Rounds above the last emitted leader were read anew since the last look.
    reread: bool,
}

impl Dag {
    /// An empty DAG as seen by a seat (`None`: an onlooker).
    pub fn new(committee: Committee, depth: u64, me: Option<Seat>) -> Dag {
        let waiting = Waiting::new(depth, committee.size());
        let (base, rows) = (Round(1), VecDeque::new());
        let latest = vec![Round(0); committee.size()];
        Dag {
            schedule: Schedule::new(committee),
            depth,
            me,
            kept: Retention::default(),
            shunned: SeatSet::default(),
            base,
            rows,
            latest,
            floor: Round(0),
            began: Round(0),
            waiting,
            walks: 0,
            uncommitted_bytes: 0,
            bytes: 0,
            news: false,
            reread: false,
        }
    }

    /// The DAG as a record's leader leaves it behind, before any vertex above its floor is here.
    pub(super) fn from_record(
        committee: Committee,
        depth: u64,
        me: Option<Seat>,
        record: &SettlementRecord,
    ) -> Dag {
        let mut dag = Dag::new(committee, depth, me);
        dag.schedule.restore(&record.standings);
        dag.floor = record.leader.round.back(depth);
        dag.base = dag.floor.next();
        dag.began = dag.floor;
        // What lies at or below the floor counts as accepted: nobody needs to send it.
        dag.latest.fill(dag.floor);
        for authors in &record.output {
            dag.add_row().output = authors.clone();
        }
        dag
    }

    /// How much is kept for peers that are behind.
    pub(super) fn keep(&mut self, kept: Retention) {
        self.kept = kept;
    }

    pub(super) fn kept(&self) -> Retention {
        self.kept
    }

    /// Goes on with what this node chose for itself: how much it keeps, and whom it shuns.
    pub(super) fn take_habits(&mut self, of: &Dag) {
        (self.kept, self.shunned) = (of.kept, of.shunned.clone());
    }

    /// For each round above the floor up to this one: of whom a vertex was output.
    pub(super) fn output_slots(&self, last: Round) -> Vec<SeatSet> {
        let rounds = (self.floor.0 + 1..=last.0).map(Round);
        rounds.map(|round| self.row(round).map_or_else(SeatSet::default, |row| row.output.clone())).collect()
    }

    /// How each seat has done as leader lately.
    pub(super) fn standings(&self) -> &[Standing] {
        self.schedule.standings()
    }

    /// The committee.
    pub fn committee(&self) -> &Committee {
        self.schedule.committee()
    }

    /// The seat that leads a round, as far as the emitted leaders tell: final once all lower slots are decided.
    pub fn leader(&self, round: Round) -> Seat {
        self.row(round).map_or_else(|| self.schedule.leader(round), |row| row.leader)
    }

    /// How many rounds below itself a leader still outputs.
    pub(super) fn depth(&self) -> u64 {
        self.depth
    }

    /// Vertices at or below this round are not taken any more.
    pub fn floor(&self) -> Round {
        self.floor
    }

    /// The highest round with an accepted vertex, 0 if there is none.
    pub fn highest(&self) -> Round {
        Round(self.base.0 + self.rows.len() as u64 - 1)
    }

    /// Bytes of accepted vertices above the floor that own ones build on and no leader has output. What own ones do not build
    /// on need not be output: liars could otherwise fill the cap with old slots of theirs that nobody names.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// How many vertices wait for parents.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Of these, the most of one author that came unasked, and the most that are demanded in one seat's name.
    pub fn waiting_of_one(&self) -> (usize, usize) {
        self.waiting.most_of_one()
    }

    /// Whether the form fits the committee: what [`SignedVertex::decode`] cannot know. Errors name the rule.
    pub fn well_formed(&self, signed: &SignedVertex) -> Result<(), &'static str> {
        let vertex = &signed.vertex;
        let n = self.committee().size();
        if vertex.epoch != self.committee().epoch || !self.committee().has(vertex.author) {
            return Err("a vertex of another epoch or without a seat");
        }
        if vertex.strong.last().is_some_and(|p| p.author.index() >= n)
            || vertex.weak.last().is_some_and(|p| p.author.index() >= n)
            || vertex.acks.iter().any(|a| !self.committee().has(a.batch.author) || a.batch.sequence.0 == 0)
        {
            return Err("a vertex that names a seat outside of the committee");
        }
        if vertex.round.0 > 1 && vertex.strong.len() < self.committee().quorum() {
            return Err("a vertex with fewer strong parents than a quorum");
        }
        if vertex.weak.iter().any(|p| p.round < vertex.round.back(self.depth)) {
            return Err("a vertex with a weak parent below the collection depth");
        }
        Ok(())
    }

    /// Whether a vertex of this slot and id is worth checking: not known, above the floor, the first of its slot or
    /// a twin that another author's vertex names. Of what only shunned authors name, no more than one for each of them beside the first.
    pub fn wants(&self, vertex: VertexRef) -> bool {
        if !self.is_new(vertex) {
            return false;
        }
        !self.slot_taken(vertex)
            || match self.waiting.demand(vertex, |seat| !self.shuns(seat)) {
                Demand::None => false,
                Demand::Shunned => self.faces(vertex.round, vertex.author) < self.faces_max(),
                Demand::Trusted => true,
            }
    }

    /// Whether a vertex that is wanted would be kept: its parents are accepted, or there is room to wait for them. What would
    /// be dropped is not worth the check of its signature: a flood of vertices that nobody can accept costs no more than
    /// reading it.
    pub fn would_keep(&self, signed: &SignedVertex) -> bool {
        let reference = signed.reference();
        self.waiting.has_room(reference, !self.slot_taken(reference)) || self.locate_parents(signed).is_ok()
    }

    /// A vertex of the same slot with another id that is accepted or waits here.
    pub fn twin_of(&self, vertex: VertexRef) -> Option<&Arc<SignedVertex>> {
        let known = self.first(vertex.round, vertex.author).into_iter();
        let waiting = self.waiting.in_slot(vertex.round, vertex.author);
        known.chain(waiting).find(|known| known.id != vertex.id)
    }

    fn slot_taken(&self, vertex: VertexRef) -> bool {
        self.has(vertex.round, vertex.author) || self.waiting.has_slot(vertex.round, vertex.author)
    }

    /// Offers a well-formed vertex whose signature holds.
    pub fn insert(&mut self, signed: Arc<SignedVertex>) -> Insert {
        if self.wants(signed.reference()) { self.take(signed) } else { Insert::Ignored }
    }

    /// Takes a vertex again that was accepted in an earlier life of this node. Twins are not asked for a demand: the
    /// vertices that demanded them come after them in the order of acceptance.
    pub fn restore(&mut self, signed: Arc<SignedVertex>) -> Insert {
        if self.is_new(signed.reference()) { self.take(signed) } else { Insert::Ignored }
    }

    /// Whether a vertex lies above the floor and is not known.
    fn is_new(&self, vertex: VertexRef) -> bool {
        vertex.round > self.floor && self.find(vertex).is_none() && !self.waiting.contains(&vertex)
    }

    fn take(&mut self, signed: Arc<SignedVertex>) -> Insert {
        let missing = match self.locate_parents(&signed) {
            Ok(parents) => return Insert::Accepted(self.accept_all(signed, parents)),
            Err(missing) => missing,
        };
        let unasked = !self.slot_taken(signed.reference());
        let absent: Vec<_> = missing.iter().copied().filter(|p| !self.waiting.contains(p)).collect();
        match self.waiting.add(signed, missing, unasked) {
            Ok(charged) => Insert::Waiting { charged, absent },
            Err(WaitingFull) => Insert::Dropped,
        }
    }

    /// Where a vertex' parents above the floor stand, strong ones first and how many these are; or which of them are
    /// missing.
    fn locate_parents(&self, signed: &SignedVertex) -> Result<(Vec<Spot>, usize), Vec<VertexRef>> {
        let vertex = &signed.vertex;
        let mut found = Vec::with_capacity(vertex.strong.len() + vertex.weak.len());
        let (mut missing, mut strong) = (Vec::new(), 0);
        for (place, parent) in vertex.parents().enumerate().filter(|(_, p)| p.round > self.floor) {
            match self.find(parent) {
                Some(spot) => found.push(spot),
                None => missing.push(parent),
            }
            strong += usize::from(place < vertex.strong.len());
        }
        if missing.is_empty() { Ok((found, strong)) } else { Err(missing) }
    }

    /// A leader is emitted, after these skipped slots, lowest first: raises the floor, lets go of what lies far below,
    /// and reads the rounds above anew where they are led by other seats now. Vertices that waited only for parents
    /// below the new floor are accepted and returned.
    pub(super) fn emitted(&mut self, skipped: &[Round], leader: Spot) -> Vec<Arc<SignedVertex>> {
        let skipped: Vec<(Round, Seat)> = skipped.iter().map(|&round| (round, self.leader(round))).collect();
        self.schedule.emitted(&skipped, leader.author);
        let mut changed = Vec::new();
        for round in (leader.round.0 + 1..=self.highest().0).map(Round) {
            let seat = self.schedule.leader(round);
            if let Some(row) = self.row_mut(round).filter(|row| row.leader != seat) {
                row.leader = seat;
                changed.push(round);
            }
        }
        if !changed.is_empty() {
            self.reread = true;
            self.recount(&changed);
        }
        self.raise_floor(leader.round.back(self.depth))
    }

    fn raise_floor(&mut self, floor: Round) -> Vec<Arc<SignedVertex>> {
        if floor <= self.floor {
            return Vec::new();
        }
        for round in (self.floor.0 + 1..=floor.0).map(Round) {
            let mut bytes = 0;
            for entry in self.row_mut(round).into_iter().flat_map(|row| row.slots.iter_mut().flatten()) {
                bytes += if std::mem::take(&mut entry.uncommitted) { entry.vertex.bytes.len() } else { 0 };
                // No walk goes below the floor.
                (entry.parents, entry.strong) = (Vec::new(), 0);
            }
            self.uncommitted_bytes -= bytes;
        }
        self.floor = floor;
        self.let_go();
        let mut accepted = Vec::new();
        for vertex in self.waiting.raise_floor(floor) {
            if self.find(vertex.reference()).is_none()
                && let Ok(parents) = self.locate_parents(&vertex)
            {
                accepted.extend(self.accept_all(vertex, parents));
            }
        }
        accepted
    }

    /// Lets go of the lowest rounds: of those that must be kept for peers that are behind none, of those below them what
    /// takes too much memory.
    fn let_go(&mut self) {
        let Retention { depths, bytes } = self.kept;
        let kept_from = self.floor.back(self.depth * depths.saturating_sub(1)).next();
        while self.base < kept_from && self.rows.len() > 1 && self.bytes > bytes {
            self.bytes -= self.rows.pop_front().map_or(0, |row| row.bytes);
            self.base = self.base.next();
        }
    }

    /// Whether an author has an accepted vertex of a round.
    pub fn has(&self, round: Round, author: Seat) -> bool {
        self.row(round).is_some_and(|row| row.authors.contains(author))
    }

    /// How many authors have an accepted vertex of a round; slots before round 1 count as present.
    pub fn count(&self, round: Round) -> usize {
        if round.0 == 0 {
            self.committee().size()
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

    /// Nothing is known here of what lies at or below this round: the DAG goes on from a record. 0 from the genesis on.
    pub fn began(&self) -> Round {
        self.began
    }

    /// The highest accepted round of each seat, [`Dag::began`] where there is none.
    pub fn frontier(&self) -> &[Round] {
        &self.latest
    }

    /// The highest accepted round of a seat, 0 if there is none.
    pub fn latest(&self, seat: Seat) -> Round {
        self.latest.get(seat.index()).copied().unwrap_or_default()
    }

    /// Parents that waiting vertices miss and that are nowhere at hand: for each seat in whose name vertices wait at
    /// most `each` of each kind of space, those that its lowest rounds miss.
    pub fn absent(&self, each: usize) -> Vec<(Seat, VertexRef)> {
        self.waiting.absent(each)
    }

    /// Accepted vertices above a peer's frontier, lowest round first, at most `most`.
    pub fn above(&self, frontier: &[Round], most: usize) -> Vec<Arc<SignedVertex>> {
        // A seat that has been silent for long makes nobody look through all that is kept.
        let lacking = frontier.iter().zip(&self.latest).filter(|(known, latest)| known < latest);
        let Some(lowest) = lacking.map(|(known, _)| known.next().max(self.base)).min() else {
            return Vec::new();
        };
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

    /// Accepts a vertex and, one after the other, all that waited for nothing else.
    fn accept_all(
        &mut self,
        signed: Arc<SignedVertex>,
        parents: (Vec<Spot>, usize),
    ) -> Vec<Arc<SignedVertex>> {
        let mut accepted = vec![signed.clone()];
        self.accept(signed, parents);
        let mut next = 0;
        while let Some(reference) = accepted.get(next).map(|vertex| vertex.reference()) {
            for ready in self.waiting.release(&reference) {
                let parents = self.locate_parents(&ready).expect("it waited for nothing else");
                accepted.push(ready.clone());
                self.accept(ready, parents);
            }
            next += 1;
        }
        accepted
    }

    fn accept(&mut self, signed: Arc<SignedVertex>, parents: (Vec<Spot>, usize)) {
        let VertexRef { round, author, .. } = signed.reference();
        while self.highest() < round {
            self.add_row();
        }
        let reference = signed.reference();
        let spot = self.place(signed, parents);
        self.count_vote(spot);
        self.count_certificate(spot);
        if self.me == Some(author) {
            self.mark_history(reference);
        }
    }

    fn add_row(&mut self) -> &mut Row {
        let row = self.new_row(self.highest().next());
        self.rows.push_back_mut(row)
    }

    /// A row for the round before all others.
    fn add_row_before(&mut self) {
        self.base = self.base.back(1);
        let row = self.new_row(self.base);
        self.rows.push_front(row);
    }

    fn new_row(&self, round: Round) -> Row {
        let slots = (0..self.committee().size()).map(|_| Vec::new()).collect();
        let leader = self.schedule.leader(round);
        let (authors, output, ballot) = Default::default();
        Row { slots, authors, twins: false, output, bytes: 0, leader, ballot }
    }

    fn place(&mut self, vertex: Arc<SignedVertex>, (parents, strong): (Vec<Spot>, usize)) -> Spot {
        let VertexRef { round, author, .. } = vertex.reference();
        let held = memory(&vertex);
        self.bytes += held;
        self.latest[author.index()] = self.latest[author.index()].max(round);
        let mut strong_authors = SeatSet::default();
        for parent in &vertex.vertex.strong {
            strong_authors.insert(parent.author);
        }
        let row = self.row_mut(round).expect("rows up to the round were made");
        row.twins |= !row.authors.insert(author);
        row.bytes += held;
        let slot = &mut row.slots[author.index()];
        let spot = Spot { round, author, twin: slot.len() as u32 };
        let (vote, output, uncommitted, in_history, walk) = (None, false, false, false, 0);
        slot.push(Entry {
            vertex,
            parents,
            strong,
            strong_authors,
            vote,
            output,
            uncommitted,
            in_history,
            walk,
        });
        spot
    }

    /// Whether the accepted vertex of this slot that came first names this author as a parent.
    pub fn names(&self, round: Round, seat: Seat, author: Seat) -> bool {
        let first = self.row(round).and_then(|row| row.slots.get(seat.index())).and_then(|slot| slot.first());
        first.is_some_and(|entry| {
            entry.strong_authors.contains(author)
                || entry.vertex.vertex.weak.binary_search_by_key(&author, |p| p.author).is_ok()
        })
    }

    /// All vertices of a round.
    pub(super) fn spots(&self, round: Round) -> Vec<Spot> {
        let slots = self.row(round).into_iter().flat_map(|row| &row.slots).zip(0..);
        slots
            .flat_map(|(slot, author)| {
                (0..slot.len() as u32).map(move |twin| Spot { round, author: Seat(author), twin })
            })
            .collect()
    }

    /// Notes that there may be something to decide.
    pub(super) fn note_news(&mut self, news: bool) {
        self.news |= news;
    }

    /// Whether there may be something to decide that was not there at the last look.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether rounds above the last emitted leader were read anew since the last look.
    pub(super) fn take_reread(&mut self) -> bool {
        std::mem::take(&mut self.reread)
    }

    /// A number that no earlier walk had.
    pub(super) fn new_walk(&mut self) -> u64 {
        self.walks += 1;
        self.walks
    }

    /// The own vertices build on this one now: a leader has to output it, if none has output one of its slot.
    pub(super) fn count_uncommitted(&mut self, spot: Spot) {
        let Some(row) = self.row_mut(spot.round) else { return };
        let done = row.output.contains(spot.author);
        let entry = &mut row.slots[spot.author.index()][spot.twin as usize];
        if !done && !std::mem::replace(&mut entry.uncommitted, true) {
            let bytes = entry.vertex.bytes.len();
            self.uncommitted_bytes += bytes;
        }
    }

    /// Marks a vertex as output and its slot as done.
    pub(super) fn mark_output(&mut self, spot: Spot) {
        let entry = self.entry_mut(spot);
        entry.output = true;
        let bytes = if std::mem::take(&mut entry.uncommitted) { entry.vertex.bytes.len() } else { 0 };
        self.uncommitted_bytes -= bytes;
        if let Some(row) = self.row_mut(spot.round) {
            row.output.insert(spot.author);
        }
    }

    pub(super) fn find(&self, vertex: VertexRef) -> Option<Spot> {
        let slot = self.row(vertex.round)?.slots.get(vertex.author.index())?;
        let twin = slot.iter().position(|entry| entry.vertex.id == vertex.id)?;
        Some(Spot { round: vertex.round, author: vertex.author, twin: twin as u32 })
    }

    pub(super) fn row(&self, round: Round) -> Option<&Row> {
        self.rows.get(usize::try_from(round.0.checked_sub(self.base.0)?).ok()?)
    }

    pub(super) fn row_mut(&mut self, round: Round) -> Option<&mut Row> {
        self.rows.get_mut(usize::try_from(round.0.checked_sub(self.base.0)?).ok()?)
    }

    /// # Panics
    /// If the spot is no longer kept: spots are only followed above the floor.
    pub(super) fn entry(&self, spot: Spot) -> &Entry {
        &self.row(spot.round).expect("spots are followed above the floor only").slots[spot.author.index()]
            [spot.twin as usize]
    }

    pub(super) fn entry_mut(&mut self, spot: Spot) -> &mut Entry {
        &mut self.row_mut(spot.round).expect("spots are followed above the floor only").slots
            [spot.author.index()][spot.twin as usize]
    }
}

/// Memory that an accepted vertex takes, roughly: its bytes, decoded once more, and its entry.
fn memory(vertex: &SignedVertex) -> usize {
    2 * vertex.bytes.len() + 512
}
