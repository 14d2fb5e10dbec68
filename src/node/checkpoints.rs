//! Checkpoints: voting for one's own blocks, keeping and serving certificates, and stopping when others sign another
//! chain. What is counted and how: [`crate::consensus::Checkpoints`].

use super::jobs::Job;
use super::{Node, Output, Wanted};
use crate::consensus::{Counted, Emitted};
use crate::store::RecordKind;
use crate::types::params::{CHECKPOINT_VOTES_MAX, CHECKPOINTS_KEPT};
use crate::types::{BlockHash, Certificate, Height, Part, Root, Round, Seat, Time};
use crate::wire::{
    Evidence, Message, SignedVertex, encode_certificate, encode_record, record_root, sign_checkpoint,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many message delays after a checkpoint became durable here without a certificate, peers are asked for it one
/// after the other: others may have seen votes that never reached this node.
const ASK_AFTER_DELAYS: u32 = 20;

/// A node's own part in certifying checkpoints.
#[derive(Debug)]
pub(super) struct Signing {
    /// Checkpoints to vote for in the next vertices; when there are too many, the oldest go.
    to_say: BTreeMap<Height, BlockHash>,
    /// Votes in own vertices that are not output yet.
    said: BTreeMap<Round, Vec<Height>>,
    /// Certificates that are new; in a replay until their record is met in the log.
    unwritten: Vec<Height>,
    /// Who was asked last for a certificate, and of which height.
    asked: Option<(Seat, Height)>,
    ask_at: Time,
    /// The settlement records of ordered checkpoints, from the newest certified one on; when there are too many, the
    /// oldest go.
    records: BTreeMap<Height, Bytes>,
}

impl Signing {
    pub(super) fn new(now: Time) -> Signing {
        let (to_say, said, unwritten, records) = Default::default();
        Signing { to_say, said, unwritten, asked: None, ask_at: now, records }
    }

    fn say(&mut self, height: Height, hash: BlockHash) {
        self.to_say.insert(height, hash);
        if self.to_say.len() > CHECKPOINTS_KEPT {
            self.to_say.pop_first();
        }
    }

    /// The settlement record of the checkpoint that the node begins at.
    pub(super) fn begin_with(&mut self, height: Height, record: Bytes) {
        self.records.insert(height, record);
    }

    /// What an own vertex of an earlier life of this node carried.
    pub(super) fn found(&mut self, vertex: &SignedVertex) {
        let heights: Vec<Height> = vertex.vertex.checkpoint_votes().iter().map(|vote| vote.height).collect();
        heights.iter().for_each(|height| _ = self.to_say.remove(height));
        if !heights.is_empty() {
            self.said.insert(vertex.vertex.round, heights);
        }
    }
}

impl Node {
    /// The certificate of a checkpoint, of height 0 the newest one, if it is at hand.
    pub fn certificate(&self, height: Height) -> Option<&Arc<Certificate>> {
        self.checkpoints.certificate(height)
    }

    /// The bytes of the settlement record that the block of a checkpoint names, from the newest certified checkpoint on.
    pub fn settlement_record(&self, height: Height) -> Option<&Bytes> {
        self.signing.records.get(&height)
    }

    /// A leader was just emitted: if its block is to be a checkpoint, keeps the settlement record and returns it with its root.
    pub(super) fn take_record(&mut self) -> Option<(Root, Bytes)> {
        let height = self.chain.ordered_height().next();
        if !self.checkpoints.is_checkpoint(height) {
            return None;
        }
        let record = self.consensus.record()?;
        let bytes = Bytes::from(encode_record(&record));
        let root = record_root(&bytes);
        let records = &mut self.signing.records;
        records.insert(height, bytes.clone());
        if records.len() > CHECKPOINTS_KEPT {
            records.pop_first();
        }
        Some((root, bytes))
    }

    /// A block is durable here: if it is a checkpoint, that is to be said, and held against what the others said.
    pub(super) fn note_checkpoint(&mut self, height: Height, hash: BlockHash) {
        if !self.checkpoints.is_checkpoint(height) {
            return;
        }
        self.checkpoints.executed(height, hash);
        // A certificate above it certifies an adopted block too.
        let behind = self.catch_up.is_behind() && height <= self.checkpoints.certified();
        if self.checkpoints.certificate(height).is_none() && !behind {
            self.signing.say(height, hash);
        }
        self.signing.ask_at = self.now + self.shared.rules.delay() * ASK_AFTER_DELAYS;
        self.compare(height);
    }

    /// The votes for the own vertex of a round: of all that are to be said the newest that fit.
    pub(super) fn take_checkpoint_votes(&mut self, round: Round) -> Option<Part> {
        let to_say = &mut self.signing.to_say;
        let older = to_say.len().saturating_sub(CHECKPOINT_VOTES_MAX);
        let lowest = *to_say.keys().nth(older)?;
        let taken = to_say.split_off(&lowest);
        self.signing.said.insert(round, taken.keys().copied().collect());
        let (key, chain, epoch) = (&self.shared.key, &self.shared.chain, self.shared.committee.epoch);
        let votes = taken.into_iter().map(|(height, hash)| sign_checkpoint(key, chain, epoch, height, hash));
        Some(Part::Checkpoints(votes.collect()))
    }

    /// Counts the votes of an accepted vertex.
    pub(super) fn count_checkpoint_votes(&mut self, vertex: &SignedVertex) {
        for vote in vertex.vertex.checkpoint_votes() {
            let author = vertex.vertex.author;
            match self.checkpoints.count(author, vote) {
                Counted::Nothing => {}
                Counted::Certificate(certificate) => {
                    self.signing.unwritten.push(certificate.height);
                    self.on_certified(certificate.height);
                }
                Counted::Conflict(first) => {
                    self.found(Evidence::of_votes(vertex.vertex.epoch, author, &first, vote));
                }
            }
            self.compare(vote.height);
        }
    }

    /// What a leader's output changes: votes whose vertex it left below the floor are said again.
    pub(super) fn repeat_lost_votes(&mut self, emitted: &Emitted) {
        let mine = emitted.output.iter().filter(|signed| signed.vertex.author == self.shared.seat);
        for signed in mine {
            self.signing.said.remove(&signed.vertex.round);
        }
        self.repeat_votes_below_floor();
    }

    /// Votes in own vertices at or below the floor will never be output: they are said again, unless that is pointless.
    pub(super) fn repeat_votes_below_floor(&mut self) {
        let live = self.signing.said.split_off(&self.consensus.dag().floor().next());
        let lost = std::mem::replace(&mut self.signing.said, live);
        for height in lost.into_values().flatten() {
            let certified = self.checkpoints.certificate(height).is_some();
            if let Some(hash) = self.checkpoints.own(height).filter(|_| !certified) {
                self.signing.say(height, hash);
            }
        }
    }

    fn on_certified(&mut self, height: Height) {
        self.signing.to_say.remove(&height);
        let certified = self.checkpoints.certified();
        self.signing.records.retain(|height, _| *height >= certified);
        self.compare(height);
    }

    /// Writes certificates that are not on disk yet.
    pub(super) fn write_certificates(&mut self) {
        for height in std::mem::take(&mut self.signing.unwritten) {
            if let Some(bytes) = self.checkpoints.certificate(height).map(|known| encode_certificate(known)) {
                self.persist(RecordKind::Certificate, bytes.into(), None);
            }
        }
    }

    /// A certificate in the log.
    pub(super) fn recover_certificate(&mut self, certificate: Certificate) {
        let height = certificate.height;
        self.signing.unwritten.retain(|unwritten| *unwritten != height);
        if self.checkpoints.keep(Arc::new(certificate)) {
            self.on_certified(height);
        }
    }

    /// Asks for the certificate of the newest own checkpoint, if it is late.
    pub(super) fn ask_certificate(&mut self) {
        let newest = self.checkpoints.newest_own().filter(|newest| *newest > self.checkpoints.certified());
        let peers: Vec<Seat> = self.connected.iter().collect();
        let (Some(height), false) = (newest, self.now < self.signing.ask_at || peers.is_empty()) else {
            return;
        };
        let peer = peers[self.dice.below(peers.len())];
        self.signing.asked = Some((peer, height));
        self.signing.ask_at = self.now + self.shared.rules.delay() * ASK_AFTER_DELAYS;
        self.send(peer, Message::WantCertificate(height));
    }

    pub(super) fn serve_certificate(&mut self, to: Seat, height: Height) {
        match self.checkpoints.certificate(height).cloned() {
            Some(certificate) => self.send(to, Message::Certificate(certificate)),
            // Older ones are on disk, not of every checkpoint.
            None if height.0 > 0 && height <= self.checkpoints.certified() => {
                self.serve(to, Wanted::Certificate(height));
            }
            None => {}
        }
    }

    /// Only what was asked for is looked at: nobody makes this node check signatures at will.
    pub(super) fn on_certificate(&mut self, from: Seat, certificate: Arc<Certificate>) {
        match self.signing.asked.take_if(|asked| *asked == (from, certificate.height)) {
            Some(_) => self.outputs.push_back(Output::Job(Job::CheckCertificate { from, certificate })),
            None => self.on_asked_certificate(from, certificate),
        }
    }

    pub(super) fn on_certificate_checked(&mut self, from: Seat, certificate: Arc<Certificate>, good: bool) {
        if !good {
            return self.misbehaved(from, "a certificate that does not hold");
        }
        let height = certificate.height;
        if self.checkpoints.keep(certificate.clone()) {
            self.signing.unwritten.push(height);
            self.on_certified(height);
        }
        self.note_certificate(&certificate);
    }

    /// Holds the own block of a height against what the others signed.
    fn compare(&mut self, height: Height) {
        if self.diverged.is_none() {
            self.diverged = self.checkpoints.divergence(height);
        }
    }

    /// Says that the node cannot go on, if it cannot.
    pub(super) fn report_divergence(&mut self) {
        self.outputs.extend(self.diverged.clone().map(Output::Diverged));
    }
}
