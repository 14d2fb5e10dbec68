//! Liars: what proves their lies, and what follows from it.
//!
//! - Upon a second vertex or batch in a slot that is taken, or a second vote for a checkpoint, well signed: both together
//!   are evidence. Of a batch the header alone speaks, though its columns be refused. It is compared with the first
//!   one of its slot while that is here: one that is executed, as long as it is among the last
//!   [`super::NodeConfig::batches_kept`] and not removed from disk; one that can settle no more, not any longer. What is shown
//!   later is dropped unread. To have one compared costs the check of its header's signature, for which its sender answers;
//!   a copy of what is here costs nothing, nor does anything of an author who is convicted.
//! - Upon a row of a batch that is bad: the row, proven against the header, is evidence; it also rides in the next own
//!   vertex, beside the ack that says `Invalid`.
//! - Upon an accusation in an accepted vertex: the one row is checked. If it is bad, its batch' author is convicted; if it
//!   is good or does not stand there, the accuser is. Of who was right about a seat once nothing more about it is checked.
//! - Upon evidence from a peer: checked like one's own. What proves nothing is held against the peer that sent it.
//! - Upon a start: what of this stands in the log and has no verdict there is charged anew.
//! - Upon a conviction, which is the first proof against a seat: it is kept on disk, told to all and to whoever connects,
//!   and the seat's batches get no further acks in this epoch. Own vertices name none of its vertices any more, unless there
//!   is no quorum without ([`crate::consensus::Dag::shun`]): so that a liar costs the others what a silent seat costs. Those
//!   that others name count as before: the rules of agreement bear liars, and nothing that is settled is undone.
//! - Every few message delays: one peer, another each time, is asked for proofs against whomever this node does not know of
//!   as a liar. What is told once can be lost: on the way, or because there was no room for it here; and what a liar did
//!   while somebody was away, it need not do again.
//!
//! Bounds: one piece of evidence for each seat is kept ([`EVIDENCE_BYTES_MAX`]); of each peer one piece against each seat is
//! checked at a time, and of at most `f` seats one waits for accounts that are not executed here yet: an honest peer has no
//! more. Who asks for proofs gets one at a time, and not more often than an honest peer may ask.

use super::jobs::Job;
use super::{Node, Output, Shared};
use crate::crypto::{self, Claim, KeySet, KeyTable, PreparedKey};
use crate::store::RecordKind;
use crate::types::{ChainId, Committee, Rules, Seat, Time};
use crate::wire::{
    Accusation, AccusedRow, EVIDENCE_BYTES_MAX, Evidence, Message, Row, SignedHeader, SignedVertex,
    checkpoint_digest, transaction_digest,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use thiserror::Error;

/// Own accusations that wait for a vertex; the oldest goes first, more are let go, for the evidence itself was told.
const ACCUSATIONS_MAX: usize = 16;

/// After how many message delays the next peer is asked for proofs: all of them within `n` times that.
const ASK_EVERY: u32 = 4;
/// For how many message delays a peer gets no other proof: a little less, since messages take longer at one time than at another.
const ANSWER_EVERY: u32 = 3;

/// Bytes of charges of one sender that wait for accounts: most take some hundred, and a vertex with an accusation up to
/// [`EVIDENCE_BYTES_MAX`]. Who sends more is asked again later.
pub(super) const EARLY_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(EARLY_BYTES_MAX >= 2 * EVIDENCE_BYTES_MAX);

/// Whether a charge of so many bytes may wait beside the others of its sender, which are of so many; at most `most` may.
pub(super) fn may_wait(others: impl Iterator<Item = usize>, bytes: usize, most: usize) -> bool {
    let (count, all) = others.fold((0, 0), |(count, all), other| (count + 1, all + other));
    count < most && all + bytes <= EARLY_BYTES_MAX
}

/// Why evidence proves nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EvidenceError {
    /// It speaks of another epoch or of a seat that does not exist.
    #[error("evidence of another epoch or against no seat")]
    Seat,
    /// A signature of the accused under it is bad.
    #[error("evidence that the accused did not sign")]
    Signature,
    /// The accused row does not stand in the batch, or is malformed, which no honest node would have acked.
    #[error("an accusation whose row does not stand in the batch")]
    NoRow,
    /// The accused row is good.
    #[error("an accusation of a good row")]
    GoodRow,
    /// The accusation is true: it does not speak against its author.
    #[error("evidence against a true accusation")]
    TrueAccusation,
    /// The row names accounts that are not executed here: to be checked later.
    #[error("evidence about accounts that are not executed here yet")]
    TooEarly {
        /// How many accounts have to be executed.
        needed: u32,
    },
}

/// What evidence is held against.
#[derive(Clone, Copy)]
pub struct Law<'a> {
    /// The chain.
    pub chain: &'a ChainId,
    /// Its committee.
    pub committee: &'a Committee,
    /// Its rules.
    pub rules: &'a Rules,
    /// The keys of the seats, in their order.
    pub seats: &'a KeySet,
    /// The keys of accounts, as far as they are executed.
    pub accounts: &'a KeyTable,
}

impl Shared {
    /// What evidence is held against here.
    pub fn law(&self) -> Law<'_> {
        Law {
            chain: &self.chain,
            committee: &self.committee,
            rules: &self.rules,
            seats: &self.seat_keys,
            accounts: self.ledger.keys(),
        }
    }
}

/// Checks evidence with nothing but the chain, the committee's keys and the keys of accounts, whose table only grows.
/// Pure: the same for everybody who has executed the accounts that it names.
///
/// # Errors
/// Why it proves nothing, or nothing yet.
pub fn check(law: Law<'_>, evidence: &Evidence) -> Result<(), EvidenceError> {
    if evidence.epoch() != law.committee.epoch || !law.committee.has(evidence.accused()) {
        return Err(EvidenceError::Seat);
    }
    match evidence {
        Evidence::Vertices(vertices) => vertices.iter().try_for_each(|vertex| signed_vertex(law, vertex)),
        Evidence::Batches(headers) => headers.iter().try_for_each(|header| signed_header(law, header)),
        Evidence::BadRow(accusation) => bad_row(law, accusation),
        Evidence::Checkpoints { epoch, seat, votes } => votes.iter().try_for_each(|vote| {
            let message = checkpoint_digest(law.chain, *epoch, vote.height, &vote.hash);
            signed(law, *seat, message, &vote.signature)
        }),
        Evidence::FalseAccusation(vertex) => {
            signed_vertex(law, vertex)?;
            let accusation = vertex.accusation().ok_or(EvidenceError::NoRow)?;
            match bad_row(law, &accusation) {
                Ok(()) => Err(EvidenceError::TrueAccusation),
                Err(early @ EvidenceError::TooEarly { .. }) => Err(early),
                Err(_) => Ok(()),
            }
        }
    }
}

fn signed_vertex(law: Law<'_>, vertex: &SignedVertex) -> Result<(), EvidenceError> {
    signed(law, vertex.vertex.author, vertex.digest(law.chain), &vertex.signature)
}

fn signed_header(law: Law<'_>, header: &SignedHeader) -> Result<(), EvidenceError> {
    signed(law, header.header.author, header.digest(law.chain), &header.header.signature)
}

fn signed(law: Law<'_>, seat: Seat, message: [u8; 32], signature: &[u8; 64]) -> Result<(), EvidenceError> {
    let claim = Claim { signer: seat.index(), message, signature };
    if law.seats.bad(&[claim]).is_empty() { Ok(()) } else { Err(EvidenceError::Signature) }
}

/// Whether the accused row stands in a batch of the accused and its signature is bad.
fn bad_row(law: Law<'_>, accusation: &Accusation) -> Result<(), EvidenceError> {
    let header = &accusation.header.header;
    if header.epoch != law.committee.epoch || !law.committee.has(header.author) {
        return Err(EvidenceError::NoRow);
    }
    signed_header(law, &accusation.header)?;
    let AccusedRow { effect, key, witness } = accusation.prove().ok_or(EvidenceError::NoRow)?;
    let row = Row { effect: &effect, key: key.as_ref(), witness: &witness };
    let named = effect.from.get().max(effect.to.get());
    if row.check_form(law.rules).is_err() || named >= header.accounts {
        return Err(EvidenceError::NoRow);
    }
    let keys = law.accounts;
    let early = EvidenceError::TooEarly { needed: named.saturating_add(1) };
    let from = keys.key(effect.from.get()).ok_or(early)?;
    let to = match key {
        Some(key) => key,
        None => keys.key(effect.to.get()).ok_or(early)?,
    };
    let digest = transaction_digest(law.chain, &effect, &from, &to);
    let good = PreparedKey::new(&from).is_some_and(|key| crypto::verify(&key, &digest, &witness.0));
    if good { Err(EvidenceError::GoodRow) } else { Ok(()) }
}

/// Evidence on its way to a verdict.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Who brought it: a peer, the author of the vertex that holds the accusation, or this node.
    pub from: Seat,
    /// What it says.
    pub evidence: Arc<Evidence>,
    /// The accepted vertex that holds it, if it is an accusation in one.
    pub vertex: Option<Arc<SignedVertex>>,
}

impl Charge {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let vertex = self.vertex.as_ref().map_or(0, |vertex| vertex.bytes.len());
        self.evidence.encode().len() + vertex
    }
}

/// Who was convicted, and what is still to be decided.
#[derive(Debug, Default)]
pub(super) struct Court {
    /// The first proof against each.
    convicted: BTreeMap<Seat, Arc<Evidence>>,
    /// Whose charges are being checked, and against whom.
    checking: BTreeSet<(Seat, Seat)>,
    /// By whom and against whom: charges about accounts that are not executed here yet, with how many have to be.
    early: BTreeMap<(Seat, Seat), (u32, Charge)>,
    /// Who has accused whom and was right: once is enough, however often it says so.
    right: BTreeSet<(Seat, Seat)>,
    /// Own accusations for the next own vertices.
    accusations: VecDeque<Accusation>,
    /// Who was asked for proofs last, and when the next one is.
    asked: Option<Seat>,
    next_ask: Time,
    /// When a peer that asks for proofs was answered last.
    answered: BTreeMap<Seat, Time>,
}

impl Court {
    /// Whether there is proof against a seat.
    pub(super) fn is_convicted(&self, seat: Seat) -> bool {
        self.convicted.contains_key(&seat)
    }

    /// Whether a verdict on a charge could still convict somebody: the accused, or an accuser who said it in a vertex.
    pub(super) fn is_open(&self, charge: &Charge) -> bool {
        let judged = self.is_convicted(charge.evidence.accused());
        !judged && (charge.vertex.is_none() || !self.is_convicted(charge.from))
    }

    /// All proofs, by seat.
    pub(super) fn proofs(&self) -> impl Iterator<Item = &Arc<Evidence>> {
        self.convicted.values()
    }

    /// A proof of an earlier life, which was checked then.
    pub(super) fn recovered(&mut self, evidence: Evidence) {
        self.convicted.entry(evidence.accused()).or_insert_with(|| Arc::new(evidence));
    }

    /// Charges that wait for accounts.
    pub(super) fn waiting(&self) -> usize {
        self.early.len()
    }

    /// What somebody without a seat brought and that is not decided: who comes again has another number.
    pub(super) fn forget_from(&mut self, gone: Seat) {
        self.early.retain(|(from, _), _| *from != gone);
        self.answered.remove(&gone);
    }

    /// Against whom a peer need not send proof: it is here, or what that peer sent is still to be judged.
    fn known_from(&self, peer: Seat) -> Vec<Seat> {
        let of_peer = |&(from, accused): &(Seat, Seat)| (from == peer).then_some(accused);
        let sent = self.checking.iter().chain(self.early.keys()).filter_map(of_peer);
        self.convicted.keys().copied().chain(sent).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the next own vertex accuses another of.
    pub(super) fn take_accusation(&mut self) -> Option<Accusation> {
        self.accusations.pop_front()
    }
}

impl Node {
    /// The proofs that this node has, one for each liar.
    pub fn evidence(&self) -> impl Iterator<Item = &Arc<Evidence>> {
        self.court.proofs()
    }

    /// Something found here proves a lie.
    pub(super) fn found(&mut self, evidence: Option<Evidence>) {
        let from = self.shared.seat;
        if let Some(evidence) = evidence.map(Arc::new) {
            self.charge(Charge { from, evidence, vertex: None });
        }
    }

    /// A peer says that it has evidence.
    pub(super) fn on_evidence(&mut self, from: Seat, evidence: Arc<Evidence>) {
        let pair = (from, evidence.accused());
        if !self.court.checking.contains(&pair) && !self.court.early.contains_key(&pair) {
            self.charge(Charge { from, evidence, vertex: None });
        }
    }

    /// An accepted vertex accuses somebody.
    pub(super) fn on_accusation(&mut self, vertex: &Arc<SignedVertex>) {
        let from = vertex.vertex.author;
        let Some(accusation) = vertex.accusation().filter(|_| !self.court.is_convicted(from)) else { return };
        if from == self.shared.seat || self.court.right.contains(&(from, accusation.header.header.author)) {
            return;
        }
        let job =
            Charge { from, evidence: Arc::new(Evidence::BadRow(accusation)), vertex: Some(vertex.clone()) };
        self.outputs.push_back(Output::Job(Job::CheckEvidence(job)));
    }

    fn charge(&mut self, charge: Charge) {
        let accused = charge.evidence.accused();
        if !self.court.is_convicted(accused) {
            if charge.from != self.shared.seat {
                self.court.checking.insert((charge.from, accused));
            }
            self.outputs.push_back(Output::Job(Job::CheckEvidence(charge)));
        }
    }

    /// A charge was checked.
    pub(super) fn on_charge_checked(&mut self, charge: Charge, verdict: Result<(), EvidenceError>) {
        self.court.checking.remove(&(charge.from, charge.evidence.accused()));
        match (verdict, charge.vertex.clone()) {
            (Ok(()), vertex) => {
                let accused = charge.evidence.accused();
                vertex.iter().for_each(|_| _ = self.court.right.insert((charge.from, accused)));
                self.convict(charge.evidence);
            }
            (Err(EvidenceError::TooEarly { needed }), _) => self.postpone(charge, needed),
            (Err(_), Some(vertex)) => self.found(Some(Evidence::FalseAccusation(vertex))),
            (Err(error), None) => self.misbehaved(charge.from, error.reason()),
        }
    }

    /// Keeps a charge until so many accounts are executed, however many that are: who comes late is told of each proof when it
    /// connects, and has executed none.
    fn postpone(&mut self, charge: Charge, needed: u32) {
        let (from, accused) = (charge.from, charge.evidence.accused());
        let most = self.shared.committee.faulty_max().max(1);
        let early = self.court.early.range((from, Seat(0))..=(from, Seat(u16::MAX)));
        let others = early.filter(|((_, other), _)| *other != accused).map(|(_, (_, held))| held.bytes());
        if may_wait(others, charge.bytes(), most) {
            self.court.early.insert((from, accused), (needed, charge));
        }
    }

    /// More accounts are executed: what waited for just these is checked again, unless its accused is convicted by now.
    pub(super) fn check_early(&mut self) {
        let executed = self.shared.ledger.len();
        let Court { early, convicted, .. } = &mut self.court;
        early.retain(|(_, accused), _| !convicted.contains_key(accused));
        let due: Vec<_> = early.extract_if(.., |_, (needed, _)| *needed <= executed).collect();
        for (_, (_, charge)) in due {
            self.outputs.push_back(Output::Job(Job::CheckEvidence(charge)));
        }
    }

    fn convict(&mut self, evidence: Arc<Evidence>) {
        let accused = evidence.accused();
        if self.court.is_convicted(accused) {
            return;
        }
        self.court.convicted.insert(accused, evidence.clone());
        self.consensus.shun(accused);
        self.persist(RecordKind::Evidence, evidence.encode().into(), None);
        self.outputs.push_back(Output::Broadcast(Message::Evidence(evidence.clone())));
        let guests: Vec<Seat> = self.guests.iter().collect();
        guests.into_iter().for_each(|guest| self.send(guest, Message::Evidence(evidence.clone())));
        self.outputs.push_back(Output::Convicted(evidence));
    }

    /// Asks the next of its peers, in the order of seats, for a proof that is not here; one that lied, and may be mum, only
    /// if there are no others.
    pub(super) fn ask_for_evidence(&mut self) {
        if self.now < self.court.next_ask {
            return;
        }
        let (mut peers, liars): (Vec<Seat>, Vec<Seat>) =
            self.connected.iter().partition(|seat| !self.court.is_convicted(*seat));
        if peers.is_empty() {
            peers = liars;
        }
        let last = self.court.asked.unwrap_or(self.shared.seat);
        let next = peers.iter().find(|seat| **seat > last).or(peers.first());
        let Some(&peer) = next else { return };
        self.court.asked = Some(peer);
        self.court.next_ask = self.now + self.shared.rules.delay() * ASK_EVERY;
        self.send(peer, Message::WantEvidence(self.court.known_from(peer)));
    }

    /// A peer wants proofs against others than these.
    pub(super) fn on_want_evidence(&mut self, from: Seat, known: &[Seat]) {
        let pause = self.shared.rules.delay() * ANSWER_EVERY;
        if self.court.answered.get(&from).is_some_and(|&at| self.now < at + pause) {
            return;
        }
        let lacks = |evidence: &&Arc<Evidence>| known.binary_search(&evidence.accused()).is_err();
        let lacking = self.court.proofs().find(lacks).cloned();
        if let Some(evidence) = lacking {
            self.court.answered.insert(from, self.now);
            self.send(from, Message::Evidence(evidence));
        }
    }

    /// Sends all proofs to a peer that has come.
    pub(super) fn show_evidence(&mut self, to: Seat) {
        let proofs: Vec<_> = self.court.proofs().cloned().collect();
        proofs.into_iter().for_each(|evidence| self.send(to, Message::Evidence(evidence)));
    }

    /// A row of a batch is bad: its author is charged, and accused in the next own vertex.
    pub(super) fn accuse(&mut self, accusation: Accusation) {
        if self.court.is_convicted(accusation.header.header.author) {
            return;
        }
        if self.court.accusations.len() < ACCUSATIONS_MAX {
            self.court.accusations.push_back(accusation.clone());
        }
        self.found(Some(Evidence::BadRow(accusation)));
    }
}

impl EvidenceError {
    /// The same in words that stay.
    fn reason(self) -> &'static str {
        match self {
            EvidenceError::Seat => "evidence of another epoch or against no seat",
            EvidenceError::Signature => "evidence that the accused did not sign",
            EvidenceError::NoRow => "an accusation whose row does not stand in the batch",
            EvidenceError::GoodRow => "an accusation of a good row",
            EvidenceError::TrueAccusation => "evidence against a true accusation",
            EvidenceError::TooEarly { .. } => "evidence about accounts that are not executed here yet",
        }
    }
}
