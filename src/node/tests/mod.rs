//! One machine by itself, seat 0 of four; the test plays the other three validators by hand.

mod anew;
mod anew_late;
mod base;
mod bulk;
mod caps;
mod checkpoints;
mod checks;
mod disk;
mod evidence;
mod full;
mod guard;
mod home;
mod observe;
mod proofs;
mod spread;
mod start;
mod twins;
mod two_batches;
mod verify;
mod window;

use super::*;
use crate::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use crate::mempool::Taken;
use crate::types::{
    AccountNumber, Effect, Genesis, GenesisAccount, Key, Parent, Part, Policy, Rules, SeatInfo, Verdict,
    Vertex, Witness,
};
use crate::wire::client::{BlockNotice, Submission};
use crate::wire::{Batch, Message, Rows, chain_id, seal, sign_vertex, transaction_digest};
use jobs::Job;
use std::time::Duration;

use disk::Disk;

pub(super) const DELAY: Duration = Duration::from_millis(100);
const ACCOUNTS: u32 = 32;

pub(super) fn seat_key(seat: u16) -> SigningKey {
    signing_key_from_seed([seat as u8 + 100; 32])
}

fn account_key(number: u32) -> SigningKey {
    signing_key_from_seed([number as u8; 32])
}

fn genesis(policy: Policy) -> Genesis {
    let seat = |s| SeatInfo { key: Key(public_key(&seat_key(s))), fee_account: AccountNumber(1) };
    let account = |a| GenesisAccount { key: public_key(&account_key(a)), balance: 1_000 };
    let genesis = Genesis {
        name: "one machine".into(),
        time: Time(1),
        rules: Rules { policy, depth: 4, delay_ms: 100, ..Rules::default() },
        seats: (0..4).map(seat).collect(),
        accounts: (1..=ACCOUNTS).map(account).collect(),
    };
    genesis.check().unwrap();
    genesis
}

/// The `k`-th account, from 1, that has its home at seat 0.
pub(super) const fn mine(k: u32) -> u32 {
    4 * k - 3
}

/// Transfers of one account to the next; `bad` names a row whose signature is forged.
pub(super) fn rows(genesis: &Genesis, from: u32, nonces: std::ops::Range<u64>, bad: Option<u64>) -> Taken {
    let (chain, key, to) = (chain_id(genesis), account_key(from), from % ACCOUNTS + 1);
    let mut taken = Taken::default();
    for nonce in nonces {
        let effect = Effect::transfer(from, to, 5, nonce, 1);
        let digest =
            transaction_digest(&chain, &effect, &public_key(&key), &genesis.accounts[to as usize - 1].key);
        let mut witness = Witness(sign(&key, &digest));
        if bad == Some(nonce) {
            witness.0[0] ^= 1;
        }
        taken.effects.push(effect);
        taken.witnesses.push(witness);
    }
    taken
}

pub(super) fn columns(taken: &Taken) -> Rows<'_> {
    Rows { effects: &taken.effects, keys: &taken.keys, witnesses: &taken.witnesses }
}

pub(super) struct World {
    pub genesis: Arc<Genesis>,
    pub node: Node,
    pub shared: Arc<Shared>,
    pub now: Time,
    pub disk: Disk,
    /// Own vertices that were broadcast.
    pub own: Vec<Arc<SignedVertex>>,
    pub sent: Vec<(Seat, Message)>,
    /// Batches whose signatures were checked.
    pub verified: Vec<BatchId>,
    pub misbehaved: Vec<(Seat, &'static str)>,
    pub durable: Vec<BlockNotice>,
    pub diverged: Vec<Divergence>,
    pub forged: Vec<Forged>,
    /// Account tables that were written, and how long the log was then.
    pub snapshots: Vec<(Height, Bytes, usize)>,
    /// The others' vertices of their last round, and of all rounds.
    pub last: Vec<VertexRef>,
    pub made: Vec<Arc<SignedVertex>>,
}

impl World {
    pub fn new(policy: Policy) -> World {
        World::with(|genesis| genesis.rules.policy = policy)
    }

    pub fn with(change: impl FnOnce(&mut Genesis)) -> World {
        let mut genesis = genesis(Policy::Quorum);
        change(&mut genesis);
        genesis.check().unwrap();
        let genesis = Arc::new(genesis);
        let disk = Disk::new(chain_id(&genesis));
        let mut world = World::open(genesis, disk, Time(1_000_000));
        world.answer();
        world
    }

    fn open(genesis: Arc<Genesis>, disk: Disk, now: Time) -> World {
        World::open_as(Seat(0), genesis, disk, now)
    }

    /// A node without a seat, which is connected to seats 1 to 3.
    pub fn observing() -> World {
        let genesis = Arc::new(genesis(Policy::Quorum));
        let disk = Disk::new(chain_id(&genesis));
        World::open_as(Seat::NONE, genesis, disk, Time(1_000_000))
    }

    fn open_as(seat: Seat, genesis: Arc<Genesis>, mut disk: Disk, now: Time) -> World {
        let config = NodeConfig::default();
        let setup = Setup { genesis: genesis.clone(), seat, key: seat_key(0), config, seed: 1 };
        let guard = disk.open();
        let (node, shared) =
            Node::open(setup, disk.log.clone().into_iter(), guard, now).expect("the log replays");
        if let GuardState::Intact(found) = guard {
            disk.raise(&found, &node.guard());
        }
        let mut world = World {
            genesis,
            node,
            shared,
            now,
            disk,
            own: Vec::new(),
            sent: Vec::new(),
            verified: Vec::new(),
            misbehaved: Vec::new(),
            durable: Vec::new(),
            diverged: Vec::new(),
            forged: Vec::new(),
            snapshots: Vec::new(),
            last: Vec::new(),
            made: Vec::new(),
        };
        for seat in 1..4 {
            world.handle(Input::Connected(Seat(seat)));
        }
        world
    }

    /// The same node after a restart.
    pub fn reopen(self) -> World {
        let World { genesis, disk, now, last, made, .. } = self;
        let mut world = World { last, made, ..World::open(genesis, disk, now) };
        world.answer();
        world
    }

    /// Restarts if the machine died with its disk: what it sent stays sent, and the others push all they have made.
    pub fn revive(&mut self) {
        if self.disk.dead {
            let (own, sent) = (std::mem::take(&mut self.own), std::mem::take(&mut self.sent));
            let world = World::open(self.genesis.clone(), self.disk.clone(), self.now);
            let (last, made) = (std::mem::take(&mut self.last), self.made.clone());
            *self = World { last, made, own, sent, ..world };
            self.answer();
            for vertex in self.made.clone() {
                self.receive(vertex.vertex.author.0, Message::Vertex(vertex));
            }
        }
    }

    /// The others' frontiers: what they have made, and know of this node.
    pub fn answer(&mut self) {
        let own = self.own.last().map_or(Round(0), |v| v.vertex.round);
        let last = self.last.first().map_or(Round(0), |v| v.round);
        for seat in 1..4 {
            self.receive(seat, Message::Frontier { began: Round(0), rounds: vec![own, last, last, last] });
        }
    }

    pub fn handle(&mut self, input: Input) {
        if !self.disk.dead {
            self.node.handle(self.now, input);
            self.work();
        }
    }

    /// Does what the machine asks for, until it asks for nothing more.
    pub fn work(&mut self) {
        while let Some(output) = self.node.poll() {
            match output {
                Output::Send { to, message } => self.sent.push((to, message)),
                Output::Broadcast(Message::Vertex(vertex)) => self.own.push(vertex),
                Output::Broadcast(message) => {
                    self.sent.extend((1..4).map(|seat| (Seat(seat), message.clone())));
                }
                Output::Job(job) => {
                    if let Job::VerifyRows(batch) = &job {
                        self.verified.push(batch.id);
                    }
                    let done = job.run(&self.shared);
                    self.node.handle(self.now, Input::Done(done));
                }
                Output::Execute(job) => {
                    let executed = job.run(&self.shared);
                    self.node.handle(self.now, Input::Done(executed.into()));
                }
                Output::Persist(records) => {
                    for Append { number, bytes, .. } in self.disk.write(records) {
                        self.node.handle(self.now, Input::Persisted { number, view: bytes });
                    }
                    if self.disk.dead {
                        while self.node.poll().is_some() {}
                    }
                }
                Output::Snapshot { height, table, .. } => {
                    self.snapshots.push((height, table, self.disk.log.len()));
                    self.node.handle(self.now, Input::Snapshotted { height, written: true });
                }
                Output::Prune { .. } => panic!("everything is kept"),
                Output::Serve { to, wanted } => {
                    let mut index = LogNames::default();
                    let answer = wanted.answer(&mut LogArchive::new(
                        &self.disk.log,
                        &mut index,
                        0,
                        &Default::default(),
                    ));
                    self.sent.extend(answer.into_iter().map(|message| (to, message)));
                }
                Output::Durable(notice) => self.durable.push(notice),
                Output::Misbehaved { peer, reason } => self.misbehaved.push((peer, reason)),
                Output::Convicted(_) => {}
                Output::Diverged(divergence) => self.diverged.push(divergence),
                Output::Forged(forged) => self.forged.push(forged),
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while !self.disk.dead
            && let Some(deadline) = self.node.deadline().filter(|deadline| *deadline <= end)
        {
            self.now = deadline.max(self.now + Duration::from_micros(1));
            self.handle(Input::Tick);
        }
        self.now = self.now.max(end);
    }

    pub fn receive(&mut self, from: u16, message: Message) {
        self.handle(Input::Received { from: Seat(from), message });
    }

    /// A signed vertex of another validator.
    pub fn vertex(
        &self,
        (round, author): (u64, u16),
        strong: &[VertexRef],
        acks: &[Ack],
        time: u64,
    ) -> Arc<SignedVertex> {
        let vertex = Vertex {
            epoch: self.shared.committee.epoch,
            round: Round(round),
            author: Seat(author),
            time: Time(time),
            strong: strong.iter().map(|p| Parent { author: p.author, id: p.id }).collect(),
            weak: Vec::new(),
            acks: acks.to_vec(),
            parts: Vec::new(),
        };
        Arc::new(sign_vertex(&seat_key(author), &self.shared.chain, vertex))
    }

    /// The same with optional parts.
    pub fn vertex_with(
        &self,
        (round, author): (u64, u16),
        strong: &[VertexRef],
        parts: Vec<Part>,
    ) -> Arc<SignedVertex> {
        let vertex = Vertex { parts, ..self.vertex((round, author), strong, &[], round).vertex.clone() };
        Arc::new(sign_vertex(&seat_key(author), &self.shared.chain, vertex))
    }

    /// The next round of the other three, who name only each other: each says these acks.
    pub fn round(&mut self, acks: &[(u16, Ack)]) {
        self.round_upon(self.last.clone(), acks);
    }

    /// The same, but they name this node too, if it has made the round before.
    pub fn round_together(&mut self, acks: &[(u16, Ack)]) {
        let mut parents = self.last.clone();
        let own = self
            .own
            .iter()
            .map(|v| v.reference())
            .find(|v| Some(v.round) == parents.first().map(|p| p.round));
        parents.splice(0..0, own);
        self.round_upon(parents, acks);
    }

    fn round_upon(&mut self, parents: Vec<VertexRef>, acks: &[(u16, Ack)]) {
        let round = self.last.first().map_or(1, |v| v.round.0 + 1);
        self.last.clear();
        for author in 1..4 {
            let said: Vec<Ack> = acks.iter().filter(|a| a.0 == author).map(|a| a.1).collect();
            let vertex = self.vertex((round, author), &parents, &said, round);
            self.last.push(vertex.reference());
            self.made.push(vertex.clone());
            self.receive(author, Message::Vertex(vertex));
        }
        self.pass(Duration::from_millis(30));
    }

    pub fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round(&[]));
    }

    /// A batch of another validator.
    pub fn batch(&self, author: u16, sequence: u64, rows: &Taken) -> Batch {
        let slot = (self.shared.committee.epoch, Seat(author), Sequence(sequence));
        seal(&seat_key(author), &self.shared.chain, slot, ACCOUNTS + 1, columns(rows))
    }

    /// A batch of another validator by which account 1 opens an account for a key.
    pub fn batch_of_open(&self, author: u16, key: &SigningKey) -> Batch {
        let (from, key) = (account_key(1), public_key(key));
        let effect = Effect::open(1, 5, 1, 100);
        let digest = transaction_digest(&self.shared.chain, &effect, &public_key(&from), &key);
        let witness = Witness(sign(&from, &digest));
        let taken = Taken { effects: vec![effect], keys: vec![key], witnesses: vec![witness] };
        self.batch(author, 1, &taken)
    }

    /// What the node has said about a batch, by round.
    pub fn said(&self, id: BatchId) -> Vec<(Round, Verdict)> {
        let acks = self.own.iter().flat_map(|v| v.vertex.acks.iter().map(|a| (v.vertex.round, a)));
        acks.filter(|(_, a)| a.batch.id == id).map(|(round, a)| (round, a.verdict)).collect()
    }

    /// Whom the batch was sent to since the last look.
    pub fn pushes(&mut self, id: BatchId) -> Vec<u16> {
        let sent = std::mem::take(&mut self.sent);
        sent.iter()
            .filter(|(_, m)| matches!(m, Message::Batch(batch) if batch.id == id))
            .map(|(to, _)| to.0)
            .collect()
    }

    pub fn settled_ok(&self) -> u32 {
        self.durable.iter().map(|notice| notice.ok).sum()
    }

    /// Gives the node rows of its own clients, of an account that has its home here, and waits until they are sealed.
    pub fn seal(&mut self, from: u32, nonces: std::ops::Range<u64>) -> BatchRef {
        let rows = rows(&self.genesis, from, nonces, None);
        let submission = Submission::pack(columns(&rows)).unwrap();
        let admitted = ingress::admit(&self.shared, std::slice::from_ref(&submission));
        assert_eq!(admitted[0].accepted as usize, rows.effects.len());
        self.handle(Input::Rows);
        self.pass(Duration::from_millis(60));
        let batches = self.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
        Batch::decode(batches.last().unwrap().1.clone()).unwrap().reference()
    }
}

pub(super) fn ack(batch: BatchRef, verdict: Verdict) -> Ack {
    Ack { batch, verdict }
}
