//! Lies: what a validator that is against the others says instead of what its node says.
//!
//! A liar is the honest machine of its seat with a layer between it and its peers. The layer has the seat's key: it rewrites,
//! adds and keeps back what leaves ([`Liar::say`]), and sees first what comes in ([`Liar::hear`]). Each family of lies has a
//! file, and each lie is a [`Tells`] of a few lines.
//!
//! - Upon an own vertex or batch that is new: each *face* of the liar shows its own version of it. Face 0 is what most are
//!   shown; a lie may show some peers another. What was shown once is shown again whenever it is asked for: so a lie in a
//!   vertex is one vertex with one id, and only a lie that means to be two-faced is.
//! - Upon an own vertex of a face that a peer is not shown, where each face is a chain of its own: nothing leaves, whether the
//!   machine answers, pushes or passes it on. Who needs the other chain gets it from an honest node that was shown it.
//! - Upon a vertex that names an own one as it was shown: the machine, which made another, is given it as well, so that it
//!   follows the others. Its own two vertices are no evidence to it: it does not speak against itself, nor against others.
//! - Upon the end of a lie: the seat tells the truth again. It counts as a liar for the whole run.
//!
//! A lie that lasts to the end of the run is part of the world: nothing heals, and the others have to go on beside it.

mod acks;
mod draw;
mod evidence;
mod faces;
mod replay;
mod rows;
mod sources;
mod twins;
mod vertices;
mod withhold;

#[cfg(test)]
mod tests;

pub(super) use draw::{draw, for_ever};
pub use sources::Ware;
pub(super) use twins::copies;

use super::queue::Nanos;
use crate::crypto::SigningKey;
use crate::node::evidence::EvidenceError;
use crate::node::jobs::{Done, Job};
use crate::types::{BatchId, ChainId, Genesis, Round, Seat, Vertex, VertexId, VertexRef};
use crate::wire::{Batch, Message, SignedVertex, sign_vertex};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lies by name, as the command line takes them.
pub const LIES: [&str; 18] = [
    "twins",
    "two-vertices",
    "two-batches",
    "two-votes",
    "withhold",
    "blind-acks",
    "two-acks",
    "idle-acks",
    "forged-rows",
    "false-accusation",
    "bad-vertices",
    "silent-leader",
    "flood",
    "replay",
    "false-source",
    "false-evidence",
    "swallow",
    "echo-rows",
];
/// Own vertices and batches of which it is remembered how they were shown, the oldest go first.
const SHOWN_MAX: usize = 4096;
/// A vertex that was shown is given to the own machine so many times, upon vertices that name it.
const GIVEN_MAX: u8 = 4;

/// What a liar does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tells", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Lie {
    /// A second copy of the node runs under the same key, on a copy of the directory as it was when the lie began.
    Twins {
        /// Who is connected to the copy instead of the original; nobody named: everybody to both.
        peers: Vec<u16>,
    },
    /// A second vertex of each round.
    TwoVertices {
        /// Who is shown the second one.
        to: Vec<u16>,
        /// The second ones are a chain of their own, and nobody gets one of the other chain, whatever it asks for.
        chain: bool,
    },
    /// A second batch of each sequence.
    TwoBatches {
        /// Who is shown the second one.
        to: Vec<u16>,
    },
    /// Of each checkpoint a vote for a hash that it does not have, and in the next vertex one for the hash that it has.
    TwoVotes,
    /// Batches are kept back, own ones and others'.
    Withhold {
        /// From whom.
        from: Vec<u16>,
    },
    /// `Valid` for whatever others ack, held or not; what others wrote is never served.
    BlindAcks,
    /// An invented id is acked for every slot to come, and then the batch that is there, as valid.
    TwoAcks,
    /// What is drawn to it to be verified it never says to be valid.
    IdleAcks {
        /// Nor does it say that it holds any.
        mute: bool,
    },
    /// Own batches have a row whose signature is bad.
    ForgedRows,
    /// `Invalid` for good batches of others.
    FalseAccusation {
        /// With the row that is said to be bad, which anybody can check.
        proof: bool,
    },
    /// Besides each own vertex one that is malformed, or names what it may not, of each kind in turn.
    BadVertices {
        /// The bad one only, in every other round.
        instead: bool,
    },
    /// The vertex of a round that the seat leads is kept back.
    SilentLeader {
        /// From whom.
        from: Vec<u16>,
        /// It comes so much later, in microseconds; 0: never.
        late_us: u64,
    },
    /// With each own vertex old ones, and some of rounds far ahead whose parents nobody has.
    Flood {
        /// How many.
        each: u32,
    },
    /// With each own vertex messages that were received before, some with flipped bits.
    Replay {
        /// How many.
        each: u32,
    },
    /// Who catches up is given something else than what it asked for.
    FalseSource {
        /// What is false.
        about: Ware,
    },
    /// With each own vertex evidence that proves nothing, or a certificate that does not hold.
    FalseEvidence,
    /// Rows that clients and others give it are never sealed.
    Swallow,
    /// Rows that others seal are handed on to everybody, as if clients had brought them.
    EchoRows,
}

impl Lie {
    /// Every node that it names.
    pub fn nodes(&self) -> &[u16] {
        match self {
            Lie::Twins { peers: nodes }
            | Lie::TwoVertices { to: nodes, .. }
            | Lie::TwoBatches { to: nodes }
            | Lie::Withhold { from: nodes }
            | Lie::SilentLeader { from: nodes, .. } => nodes,
            _ => &[],
        }
    }

    /// The most copies of a message that it adds, so that a plan cannot ask for more than a machine bears.
    pub fn each(&self) -> u32 {
        if let Lie::Flood { each } | Lie::Replay { each } = self { *each } else { 0 }
    }
}

/// What a liar's layer works with.
pub struct Hand {
    pub seat: Seat,
    pub key: SigningKey,
    pub chain: ChainId,
    pub genesis: Arc<Genesis>,
    pub seed: u64,
    /// Whether the seat leads the round of what its machine says now, as far as that can tell.
    pub leads: bool,
}

/// Bytes on their way to one peer.
#[derive(Clone, Debug)]
pub struct Letter {
    /// To whom.
    pub to: Seat,
    /// So much later.
    pub after: Nanos,
    /// The kind of the frame.
    pub kind: u8,
    /// Its payload, which need not decode.
    pub payload: Bytes,
}

impl Letter {
    fn new(to: Seat, message: &Message) -> Letter {
        Letter { to, after: 0, kind: message.kind(), payload: message.payload() }
    }
}

/// One lie. What it does not speak of stays as it is.
trait Tells {
    /// Which face of the own vertices a peer is shown.
    fn vertex_face(&self, _to: Seat) -> u8 {
        0
    }

    /// Whether a face's vertices are a chain of their own.
    fn has_chain(&self) -> bool {
        false
    }

    /// Which face of the own batches a peer is shown.
    fn batch_face(&self, _to: Seat) -> u8 {
        0
    }

    /// Changes an own vertex for a face, before it is signed.
    fn vertex(&mut self, _hand: &Hand, _face: u8, _vertex: &mut Vertex) {}

    /// Another batch for a face.
    fn batch(&mut self, _hand: &Hand, _face: u8, _batch: &Batch) -> Option<Batch> {
        None
    }

    /// What is sent instead of a message to a peer; `None`: the message.
    fn tell(&mut self, _hand: &Hand, _to: Seat, _message: &Message) -> Option<Vec<Letter>> {
        None
    }

    /// Whether rows do not come to the own machine.
    fn swallows_rows(&self) -> bool {
        false
    }

    /// A message came in.
    fn hear(&mut self, _hand: &Hand, _message: &Message) {}
}

/// What the machine of a liar gets to hear.
#[derive(Default)]
pub struct Heard {
    /// The message itself is kept from it.
    pub kept_back: bool,
    /// What else it is told.
    pub besides: Vec<Message>,
    /// What the layer answers by itself.
    pub answers: Vec<Letter>,
}

/// What a face shows of an own vertex, and how often the own machine was given it.
struct Shown {
    vertex: Arc<SignedVertex>,
    face: u8,
    given: u8,
}

/// A liar's layer.
pub struct Liar {
    hand: Hand,
    /// The lies that are told now, by their place in the plan.
    lies: BTreeMap<usize, Box<dyn Tells>>,
    /// The seat has a twin: what the other signs above the own latest vertex is kept from the machine, which would stop.
    has_twin: bool,
    /// The own latest round.
    signed: u64,
    /// A copy that has not signed yet: it must not hear how far the others are, or it would take itself for lost.
    fresh: bool,
    /// By own vertex as the machine made it, and face: what is shown of it.
    vertices: BTreeMap<(VertexId, u8), VertexId>,
    shown: BTreeMap<VertexId, Shown>,
    order: Vec<VertexId>,
    batches: BTreeMap<(BatchId, u8), Batch>,
    /// All faces' batches by their id.
    shown_batches: BTreeMap<BatchId, Batch>,
}

impl Liar {
    /// A liar that tells the truth so far.
    pub fn new(hand: Hand) -> Liar {
        let (lies, vertices, shown, order, batches, shown_batches) = Default::default();
        Liar {
            hand,
            lies,
            has_twin: false,
            signed: 0,
            fresh: false,
            vertices,
            shown,
            order,
            batches,
            shown_batches,
        }
    }

    /// Begins a lie of the plan.
    pub fn begin(&mut self, number: usize, lie: &Lie) {
        self.has_twin |= matches!(lie, Lie::Twins { .. });
        let tells: Box<dyn Tells> = match lie.clone() {
            Lie::Twins { .. } => return,
            Lie::TwoVertices { to, chain } => Box::new(faces::TwoVertices { to, chain }),
            Lie::TwoBatches { to } => Box::new(faces::TwoBatches { to }),
            Lie::TwoVotes => Box::new(faces::TwoVotes::default()),
            Lie::Withhold { from } => Box::new(withhold::Withhold { from }),
            Lie::BlindAcks => Box::new(acks::BlindAcks::default()),
            Lie::TwoAcks => Box::new(acks::TwoAcks::default()),
            Lie::IdleAcks { mute } => Box::new(acks::IdleAcks { mute }),
            Lie::ForgedRows => Box::new(rows::ForgedRows),
            Lie::FalseAccusation { proof } => Box::new(acks::FalseAccusation::new(proof)),
            Lie::BadVertices { instead } => Box::new(vertices::BadVertices { instead }),
            Lie::SilentLeader { from, late_us } => Box::new(withhold::SilentLeader { from, late_us }),
            Lie::Flood { each } => Box::new(vertices::Flood::new(each)),
            Lie::Replay { each } => Box::new(replay::Replay::new(each)),
            Lie::FalseSource { about } => Box::new(sources::FalseSource::new(about)),
            Lie::FalseEvidence => Box::new(evidence::FalseEvidence::default()),
            Lie::Swallow => Box::new(withhold::Swallow),
            Lie::EchoRows => Box::new(rows::EchoRows::default()),
        };
        self.lies.insert(number, tells);
    }

    /// Whether the author of the vertex that comes next leads its round.
    pub fn leads(&mut self, leads: bool) {
        self.hand.leads = leads;
    }

    /// The machine behind this layer is a copy of one whose latest own vertex is of this round.
    pub fn is_copy(&mut self, signed: u64) {
        (self.signed, self.fresh) = (signed, true);
    }

    /// Ends a lie.
    pub fn end(&mut self, number: usize) {
        self.lies.remove(&number);
    }

    /// What leaves when the machine says a message to some peers. Only what it says to `all` is new.
    pub fn say(&mut self, to: &[Seat], message: &Message, all: bool) -> Vec<Letter> {
        if matches!(message, Message::Evidence(_)) {
            return Vec::new();
        }
        let mut letters = Vec::new();
        for &to in to {
            let message = match message {
                Message::Vertex(vertex) if vertex.vertex.author == self.hand.seat => {
                    let shown = self.show_vertex(to, vertex, all);
                    if self.withholds(to, shown.id) {
                        continue;
                    }
                    Message::Vertex(shown)
                }
                Message::Batch(batch) if batch.header.author == self.hand.seat => {
                    Message::Batch(self.show_batch(to, batch, all))
                }
                message => message.clone(),
            };
            let hand = &self.hand;
            let told = self.lies.values_mut().find_map(|lie| lie.tell(hand, to, &message));
            letters.extend(told.unwrap_or_else(|| vec![Letter::new(to, &message)]));
        }
        letters
    }

    /// Which face of the own vertices a peer is shown.
    fn face_for(&self, to: Seat) -> u8 {
        self.lies.values().map(|lie| lie.vertex_face(to)).max().unwrap_or(0)
    }

    /// Whether an own vertex is one of a chain that a peer is not to see. The machine has both chains, once others name them.
    fn withholds(&self, to: Seat, id: VertexId) -> bool {
        let other = |shown: &Shown| shown.face != self.face_for(to);
        self.lies.values().any(|lie| lie.has_chain()) && self.shown.get(&id).is_some_and(other)
    }

    fn show_vertex(&mut self, to: Seat, vertex: &Arc<SignedVertex>, new: bool) -> Arc<SignedVertex> {
        let face = self.face_for(to);
        let known = |face| self.vertices.get(&(vertex.id, face)).and_then(|id| self.shown.get(id));
        if let Some(shown) = known(face).or_else(|| if new { None } else { known(0) }) {
            return shown.vertex.clone();
        }
        if vertex.vertex.round.0 > self.signed {
            (self.signed, self.fresh) = (vertex.vertex.round.0, false);
        }
        if !new {
            return vertex.clone();
        }
        let mut changed = vertex.vertex.clone();
        let chain = self.lies.values().any(|lie| lie.has_chain());
        let as_shown = |id: VertexId| {
            let of = |face| self.vertices.get(&(id, face)).copied();
            of(if chain { face } else { 0 }).or_else(|| of(0)).unwrap_or(id)
        };
        for parent in changed.strong.iter_mut().filter(|parent| parent.author == self.hand.seat) {
            parent.id = as_shown(parent.id);
        }
        for ack in changed.acks.iter_mut().filter(|ack| ack.batch.author == self.hand.seat) {
            let of = |face| self.batches.get(&(ack.batch.id, face)).map(|batch| batch.id);
            ack.batch.id = of(face).or_else(|| of(0)).unwrap_or(ack.batch.id);
        }
        self.lies.values_mut().for_each(|lie| lie.vertex(&self.hand, face, &mut changed));
        let shown = match changed == vertex.vertex {
            true => vertex.clone(),
            false => Arc::new(sign_vertex(&self.hand.key, &self.hand.chain, changed)),
        };
        self.vertices.insert((vertex.id, face), shown.id);
        if !self.shown.contains_key(&shown.id) {
            self.order.push(shown.id);
            self.shown.insert(shown.id, Shown { vertex: shown.clone(), face, given: 0 });
        }
        self.forget_oldest();
        shown
    }

    fn forget_oldest(&mut self) {
        if self.order.len() > SHOWN_MAX {
            let gone: Vec<VertexId> = self.order.drain(..SHOWN_MAX / 2).collect();
            gone.iter().for_each(|id| _ = self.shown.remove(id));
            let shown = &self.shown;
            self.vertices.retain(|_, id| shown.contains_key(id));
        }
        if self.batches.len() > SHOWN_MAX {
            self.batches.clear();
            self.shown_batches.clear();
        }
    }

    fn show_batch(&mut self, to: Seat, batch: &Batch, new: bool) -> Batch {
        let face = self.lies.values().map(|lie| lie.batch_face(to)).max().unwrap_or(0);
        let known = |face| self.batches.get(&(batch.id, face)).cloned();
        if let Some(shown) = known(face).or_else(|| if new { None } else { known(0) }) {
            return shown;
        }
        if !new {
            return batch.clone();
        }
        let hand = &self.hand;
        let other = self.lies.values_mut().find_map(|lie| lie.batch(hand, face, batch));
        let shown = other.unwrap_or_else(|| batch.clone());
        self.batches.insert((batch.id, face), shown.clone());
        self.shown_batches.insert(shown.id, shown.clone());
        shown
    }

    /// A message comes in: what the machine gets to hear of it.
    pub fn hear(&mut self, from: Seat, message: &Message) -> Heard {
        let hand = &self.hand;
        self.lies.values_mut().for_each(|lie| lie.hear(hand, message));
        let kept_back = matches!(message, Message::Rows(_)) && self.swallows_rows();
        let mut heard = Heard { kept_back, ..Heard::default() };
        match message {
            Message::Vertex(vertex) if vertex.vertex.author == self.hand.seat => {
                heard.kept_back = self.has_twin && vertex.vertex.round.0 > self.signed;
            }
            Message::Vertex(vertex) => {
                heard.kept_back = self.fresh && vertex.vertex.round.0 > self.signed + 1;
                heard.besides = self.named_by(vertex);
            }
            Message::Frontier { began, rounds } if self.has_twin => {
                let most = if self.fresh { self.signed } else { u64::MAX };
                let mut rounds: Vec<Round> = rounds.iter().map(|round| Round(round.0.min(most))).collect();
                let own = rounds.get_mut(self.hand.seat.index());
                own.into_iter().for_each(|own| own.0 = own.0.min(self.signed));
                heard.kept_back = true;
                heard.besides = vec![Message::Frontier { began: *began, rounds }];
            }
            Message::WantVertices(wanted) => {
                let found: Vec<_> =
                    wanted.iter().filter_map(|wanted| self.serve_vertex(from, wanted)).collect();
                let found = found.into_iter().map(Message::Vertex);
                heard.answers = found.flat_map(|message| self.say(&[from], &message, false)).collect();
            }
            Message::WantBatches(wanted) => {
                let found = wanted.iter().filter_map(|wanted| self.shown_batches.get(&wanted.id).cloned());
                let found: Vec<Batch> = found.collect();
                heard.answers = found
                    .iter()
                    .flat_map(|batch| self.say(&[from], &Message::Batch(batch.clone()), false))
                    .collect();
            }
            _ => {}
        }
        heard
    }

    /// Whether rows do not come to the machine.
    pub fn swallows_rows(&self) -> bool {
        self.lies.values().any(|lie| lie.swallows_rows())
    }

    /// The own vertices as they were shown that a vertex names.
    fn named_by(&mut self, vertex: &SignedVertex) -> Vec<Message> {
        let mine = |parent: &VertexRef| parent.author == self.hand.seat;
        let mut named = Vec::new();
        for parent in vertex.vertex.parents().filter(mine) {
            if let Some(shown) = self.shown.get_mut(&parent.id).filter(|shown| shown.given < GIVEN_MAX) {
                shown.given += 1;
                named.push(Message::Vertex(shown.vertex.clone()));
            }
        }
        named
    }

    fn serve_vertex(&self, to: Seat, wanted: &VertexRef) -> Option<Arc<SignedVertex>> {
        let shown = self.shown.get(&wanted.id).filter(|_| !self.withholds(to, wanted.id))?;
        (shown.vertex.reference() == *wanted).then(|| shown.vertex.clone())
    }

    /// What the layer says to a job of the machine by itself: nothing speaks against the own seat.
    pub fn answer(&self, job: &Job) -> Option<Done> {
        match job {
            Job::CheckEvidence(charge) if charge.evidence.accused() == self.hand.seat => {
                Some(Done::Evidence { charge: charge.clone(), verdict: Err(EvidenceError::Signature) })
            }
            _ => None,
        }
    }
}
