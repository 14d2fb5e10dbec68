//! A small seeded world in memory: it drives several machines with virtual time, delays, losses and restarts, so that
//! agreement is debugged here and not on sockets. Total event order (time, sequence); the same seed plays the same.
#![allow(dead_code, reason = "each test file uses its part of the world")]

pub mod directory;

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use throng::consensus::Divergence;
use throng::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use throng::node::jobs::Job;
use throng::node::{
    Input, LogArchive, LogNames, Node, NodeConfig, OpenError, Output, Setup, Shared, Snapshots, ingress,
    snapshots,
};
use throng::store::{Fate, Guard, GuardState, RecordKind};
use throng::types::{
    AccountNumber, BlockHash, Effect, Genesis, GenesisAccount, Height, Key, Policy, Rules, Seat, SeatInfo,
    Time, Witness,
};
use throng::wire::client::{BlockNotice, Submission};
use throng::wire::{
    Blobs, Frame, KINDS, Message, PEER_FRAME_BYTES_MAX, Rows, SMALL_FRAME_BYTES_MAX, chain_id,
    transaction_digest,
};

/// A repeatable source of numbers.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (u128::from(self.0 ^ (self.0 >> 29)).wrapping_mul(u128::from(sides)) >> 64) as u64 % sides.max(1)
    }
}

pub fn account_key(number: u32) -> SigningKey {
    let mut seed = [7u8; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    signing_key_from_seed(seed)
}

pub fn seat_key(seat: u16) -> SigningKey {
    let mut seed = [9u8; 32];
    seed[..2].copy_from_slice(&seat.to_le_bytes());
    signing_key_from_seed(seed)
}

pub fn genesis(nodes: u16, accounts: u32, policy: Policy) -> Genesis {
    let seats = (0..nodes)
        .map(|seat| SeatInfo { key: Key(public_key(&seat_key(seat))), fee_account: AccountNumber(1) })
        .collect();
    let accounts = (1..=accounts)
        .map(|number| GenesisAccount { key: public_key(&account_key(number)), balance: 1_000_000 })
        .collect();
    let rules = Rules { policy, checkpoint_blocks: 8, ..Rules::default() };
    let genesis = Genesis { name: "pump".into(), time: Time(1), rules, seats, accounts };
    genesis.check().unwrap();
    genesis
}

/// Signed transfers of one account, nonces `from_nonce..from_nonce + count`, to the next account each.
pub fn transfers(genesis: &Genesis, from: u32, from_nonce: u64, count: u64) -> Submission {
    let chain = chain_id(genesis);
    let key = account_key(from);
    let n = genesis.accounts.len() as u32;
    let mut effects = Vec::new();
    let mut witnesses = Vec::new();
    for nonce in from_nonce..from_nonce + count {
        let to = from % n + 1;
        let effect = Effect::transfer(from, to, 5, nonce, 1);
        let to_key = genesis.accounts[to as usize - 1].key;
        let digest = transaction_digest(&chain, &effect, &public_key(&key), &to_key);
        effects.push(effect);
        witnesses.push(Witness(sign(&key, &digest)));
    }
    Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses }).unwrap()
}

enum Event {
    Input(usize, u64, Input),
    Wake(usize, u64),
}

struct Place {
    machine: Option<(Node, Arc<Shared>)>,
    /// Counts restarts: events of an earlier life are lost.
    life: u64,
    log: Vec<(RecordKind, Bytes)>,
    index: LogNames,
    /// What the guard said with each record that raised it, by the length of the log: it is written after them.
    guards: Vec<(usize, Guard)>,
    /// How many records of the log the machine was told to be durable.
    durable: usize,
    /// Records at the beginning of the log that were removed.
    pruned: usize,
    snapshots: BTreeMap<Height, Bytes>,
    notices: Vec<BlockNotice>,
    wake_at: Option<Time>,
}

/// Records of the log that are removed together.
const SEGMENT_RECORDS: usize = 32;

/// What may go wrong on a link, decided per message.
#[derive(Clone, Copy)]
pub struct Link {
    pub delay_ms: u64,
    pub jitter_ms: u64,
    pub loss_percent: u64,
}

/// What a liar makes of its messages: from, to, message.
pub type Change = Box<dyn FnMut(usize, usize, Message) -> Option<Message>>;

pub struct Pump {
    pub genesis: Arc<Genesis>,
    /// Of all nodes that start from now on.
    pub config: NodeConfig,
    pub now: Time,
    pub link: Link,
    places: Vec<Place>,
    queue: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    dice: Dice,
    /// Pairs that cannot talk, in this direction.
    pub cut: BTreeSet<(usize, usize)>,
    pub misbehaved: Vec<(Seat, &'static str)>,
    /// Which node convicted which seat.
    pub convicted: Vec<(usize, Seat)>,
    /// Nodes that stopped since the others hold another chain.
    pub diverged: Vec<(usize, Divergence)>,
    /// What becomes of a message from one to another node; nothing: it is lost.
    pub change: Option<Change>,
    /// Every message that was sent, by kind.
    pub sent: [u64; KINDS as usize + 1],
    /// Batches whose rows some node was told to verify.
    pub verified: u64,
    /// No snapshot can be written.
    pub no_room: bool,
    /// No log can be pruned.
    pub no_pruning: bool,
    /// How often a node wanted its log pruned.
    pub prunings: u64,
}

impl Pump {
    pub fn new(genesis: Genesis, seed: u64) -> Pump {
        Pump::with(genesis, seed, NodeConfig::default())
    }

    /// The same with a configuration.
    pub fn with(genesis: Genesis, seed: u64, config: NodeConfig) -> Pump {
        let genesis = Arc::new(genesis);
        let places = (0..genesis.seats.len())
            .map(|_| Place {
                machine: None,
                life: 0,
                log: Vec::new(),
                index: LogNames::default(),
                guards: Vec::new(),
                durable: 0,
                pruned: 0,
                snapshots: BTreeMap::new(),
                notices: Vec::new(),
                wake_at: None,
            })
            .collect();
        let mut pump = Pump {
            genesis,
            config,
            change: None,
            now: Time(1_000_000),
            link: Link { delay_ms: 5, jitter_ms: 5, loss_percent: 0 },
            places,
            queue: BTreeMap::new(),
            sequence: 0,
            dice: Dice(seed ^ 0x5eed),
            cut: BTreeSet::new(),
            misbehaved: Vec::new(),
            convicted: Vec::new(),
            diverged: Vec::new(),
            sent: [0; KINDS as usize + 1],
            verified: 0,
            no_room: false,
            no_pruning: false,
            prunings: 0,
        };
        (0..pump.places.len()).for_each(|seat| pump.start(seat));
        pump
    }

    pub fn setup(&self, seat: usize) -> Setup {
        Setup {
            genesis: self.genesis.clone(),
            seat: Seat(seat as u16),
            key: seat_key(seat as u16),
            config: self.config,
            seed: seat as u64,
        }
    }

    /// Starts (again) on what is on disk, and connects to all that run.
    pub fn start(&mut self, seat: usize) {
        let machine = self.open(seat).expect("the log replays");
        self.places[seat].life += 1;
        self.places[seat].durable = self.places[seat].log.len();
        self.places[seat].wake_at = None;
        self.places[seat].machine = Some(machine);
        for other in 0..self.places.len() {
            if other != seat && self.places[other].machine.is_some() {
                self.push(Duration::ZERO, seat, Input::Connected(Seat(other as u16)));
                self.push(Duration::ZERO, other, Input::Connected(Seat(seat as u16)));
            }
        }
        self.push(Duration::ZERO, seat, Input::Tick);
    }

    /// What a start makes of what is on disk.
    pub fn open(&self, seat: usize) -> Result<(Node, Arc<Shared>), OpenError> {
        let place = &self.places[seat];
        let guard = self.guard(seat, place.log.len());
        let read = |height: Height| Ok(place.snapshots[&height].to_vec());
        let (heights, removed) = (place.snapshots.keys().copied().collect(), place.pruned > 0);
        let snapshots = Snapshots { heights, removed, read: &read };
        let log = place.log[place.pruned..].to_vec();
        let opened = Node::open_newest(self.setup(seat), snapshots, log.into_iter(), guard, self.now);
        opened.map(|(node, shared, _)| (node, shared))
    }

    /// The same of the beginning of its log.
    pub fn open_prefix(&self, seat: usize, records: usize) -> Result<Node, OpenError> {
        let place = &self.places[seat];
        let read = |height: Height| Ok(place.snapshots[&height].to_vec());
        let (heights, removed) = (place.snapshots.keys().copied().collect(), place.pruned > 0);
        let snapshots = Snapshots { heights, removed, read: &read };
        let (log, guard) = (place.log[place.pruned..records].to_vec(), self.guard(seat, records));
        Node::open_newest(self.setup(seat), snapshots, log.into_iter(), guard, self.now)
            .map(|(node, _, _)| node)
    }

    /// The snapshots on a node's disk.
    pub fn snapshots(&mut self, seat: usize) -> &mut BTreeMap<Height, Bytes> {
        &mut self.places[seat].snapshots
    }

    /// How many records at the beginning of a node's log were removed.
    pub fn pruned(&self, seat: usize) -> usize {
        self.places[seat].pruned
    }

    /// Removes what the oldest records may be removed of.
    fn prune(&mut self, seat: usize, fate: impl Fn(RecordKind, &[u8]) -> Fate) {
        let place = &mut self.places[seat];
        while let Some(segment) = place.log[place.pruned..place.durable].get(..SEGMENT_RECORDS)
            && segment.iter().all(|(kind, bytes)| fate(*kind, bytes) != Fate::Stay)
        {
            place.pruned += SEGMENT_RECORDS;
        }
    }

    /// Stops at once; what was not durable is lost. `torn`: the newest records that the disk forgets.
    pub fn crash(&mut self, seat: usize, torn: usize) {
        self.places[seat].machine = None;
        self.places[seat].life += 1;
        let kept = self.places[seat].log.len().saturating_sub(torn);
        self.places[seat].log.truncate(kept);
        self.places[seat].index = LogNames::default();
        self.places[seat].guards.retain(|(at, _)| *at <= kept);
        for other in (0..self.places.len()).filter(|&other| other != seat) {
            self.push(Duration::ZERO, other, Input::Disconnected(Seat(seat as u16)));
        }
    }

    /// What was on the disk of a node that is down is gone.
    pub fn lose(&mut self, seat: usize) {
        let place = &mut self.places[seat];
        assert!(place.machine.is_none(), "node {seat} runs");
        place.log.clear();
        place.snapshots.clear();
        place.pruned = 0;
        place.index = LogNames::default();
        place.guards.clear();
    }

    /// Records that a crash may forget: the machine was not told yet that they are durable.
    pub fn unsynced(&self, seat: usize) -> usize {
        self.places[seat].log.len() - self.places[seat].durable
    }

    /// What the guard said when the log had so many records.
    pub fn guard(&self, seat: usize, records: usize) -> GuardState {
        let guards = self.places[seat].guards.iter().rev();
        let last = guards.map(|(at, guard)| (*at, *guard)).find(|(at, _)| *at <= records);
        GuardState::Intact(last.map_or(Guard::default(), |(_, guard)| guard))
    }

    /// Another reader of a prefix of a node's log: what a restart would make of it.
    pub fn reopen(&self, seat: usize, records: usize) -> Result<Node, OpenError> {
        let log = self.places[seat].log[..records].to_vec();
        Node::open(self.setup(seat), log.into_iter(), self.guard(seat, records), self.now)
            .map(|(node, _)| node)
    }

    /// A message out of nowhere, as if a validator had sent it.
    pub fn inject(&mut self, from: usize, to: usize, message: Message) {
        self.push(Duration::ZERO, to, Input::Received { from: Seat(from as u16), message });
    }

    pub fn submit(&mut self, seat: usize, submission: &Submission) -> u32 {
        let Some((_, shared)) = &self.places[seat].machine else { return 0 };
        let admitted = ingress::admit(shared, std::slice::from_ref(submission));
        self.push(Duration::ZERO, seat, Input::Rows);
        admitted[0].accepted
    }

    /// Blobs of a client, where the chain carries such; whether they were taken.
    pub fn submit_blobs(&mut self, seat: usize, blobs: &Blobs) -> bool {
        let taken = self.shared(seat).is_some_and(|shared| shared.blobs.push(blobs));
        self.push(Duration::ZERO, seat, Input::Rows);
        taken
    }

    fn push(&mut self, after: Duration, seat: usize, input: Input) {
        let life = self.places[seat].life;
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), Event::Input(seat, life, input));
    }

    /// Plays until `until` says so (checked after every event) or the virtual time is over; true if it did.
    pub fn run(&mut self, limit: Duration, mut until: impl FnMut(&Pump) -> bool) -> bool {
        let end = self.now + limit;
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            let event = entry.remove();
            let (seat, life) = match &event {
                Event::Input(seat, life, _) | Event::Wake(seat, life) => (*seat, *life),
            };
            if self.places[seat].life != life {
                continue;
            }
            let input = match event {
                Event::Input(_, _, input) => input,
                Event::Wake(..) => {
                    self.places[seat].wake_at = None;
                    Input::Tick
                }
            };
            self.step(seat, input);
            if until(self) {
                return true;
            }
        }
        self.now = self.now.max(end);
        false
    }

    fn step(&mut self, seat: usize, input: Input) {
        let now = self.now;
        self.places[seat].durable += usize::from(matches!(input, Input::Persisted { .. }));
        let Some((node, shared)) = self.places[seat].machine.as_mut() else { return };
        let shared = shared.clone();
        node.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = node.poll() {
            outputs.push(output);
        }
        let deadline = node.deadline();
        outputs.into_iter().for_each(|output| self.perform(seat, &shared, output));
        if let Some(deadline) = deadline {
            let place = &mut self.places[seat];
            let at = deadline.max(now + Duration::from_micros(1));
            if place.wake_at.is_none_or(|wake| wake > at) {
                place.wake_at = Some(at);
                self.sequence += 1;
                self.queue.insert((at, self.sequence), Event::Wake(seat, self.places[seat].life));
            }
        }
    }

    fn perform(&mut self, seat: usize, shared: &Shared, output: Output) {
        match output {
            Output::Send { to, message } => self.transmit(seat, to.index(), &message),
            Output::Broadcast(message) => {
                (0..self.places.len())
                    .filter(|&to| to != seat)
                    .for_each(|to| self.transmit(seat, to, &message));
            }
            Output::Job(job) => {
                self.verified += u64::from(matches!(job, Job::VerifyRows(_)));
                let done = job.run(shared);
                self.push(Duration::from_micros(200), seat, Input::Done(done));
            }
            Output::Execute(job) => {
                let executed = job.run(shared);
                self.push(Duration::from_micros(300), seat, Input::Done(executed.into()));
            }
            Output::Persist(records) => {
                for record in records {
                    let place = &mut self.places[seat];
                    place.log.push((record.kind, record.bytes.clone()));
                    place.guards.extend(record.guard.map(|guard| (place.log.len(), guard)));
                    let input = Input::Persisted { number: record.number, view: record.bytes };
                    self.push(Duration::from_millis(1), seat, input);
                }
            }
            Output::Snapshot { height, table, kept } => {
                let written = !self.no_room;
                if written {
                    let snapshots = &mut self.places[seat].snapshots;
                    snapshots.retain(|of, _| Some(*of) == kept);
                    snapshots.insert(height, table);
                }
                self.push(Duration::from_millis(5), seat, Input::Snapshotted { height, written });
            }
            Output::Prune { first, last } => {
                self.prunings += 1;
                if !self.no_pruning {
                    self.prune(seat, snapshots::fate(first, last));
                }
                self.push(Duration::from_millis(5), seat, Input::Pruned);
            }
            Output::Serve { to, wanted } => {
                let place = &mut self.places[seat];
                let answer = wanted.answer(&mut LogArchive::new(
                    &place.log,
                    &mut place.index,
                    place.pruned,
                    &place.snapshots,
                ));
                answer.iter().for_each(|message| self.transmit(seat, to.index(), message));
            }
            Output::Durable(notice) => self.places[seat].notices.push(notice),
            Output::Misbehaved { peer, reason } => self.misbehaved.push((peer, reason)),
            Output::Convicted(evidence) => self.convicted.push((seat, evidence.accused())),
            Output::Forged(forged) => panic!("{forged}"),
            Output::Diverged(divergence) => {
                self.diverged.push((seat, divergence));
                self.crash(seat, 0);
            }
        }
    }

    /// A message travels as bytes: what cannot be decoded would be lost here.
    fn transmit(&mut self, from: usize, to: usize, message: &Message) {
        self.sent[usize::from(message.kind())] += 1;
        let lost = self.dice.below(100) < self.link.loss_percent;
        if lost || self.cut.contains(&(from, to)) || self.places[to].machine.is_none() {
            return;
        }
        let frame = Frame { kind: message.kind(), payload: message.payload() };
        let most = if message.is_bulk() { PEER_FRAME_BYTES_MAX } else { SMALL_FRAME_BYTES_MAX };
        assert!(frame.payload.len() <= most, "who gets so long a message ends the connection");
        let message = Message::decode(frame).expect("what a node sends decodes");
        let changed = match &mut self.change {
            Some(change) => change(from, to, message),
            None => Some(message),
        };
        let Some(message) = changed else { return };
        let delay = self.link.delay_ms * 1000 + self.dice.below(self.link.jitter_ms * 1000 + 1);
        let input = Input::Received { from: Seat(from as u16), message };
        self.push(Duration::from_micros(delay), to, input);
    }

    /// Rows settled with `ok` in the life of a node.
    pub fn settled_ok(&self, seat: usize) -> u64 {
        self.places[seat].notices.iter().map(|notice| u64::from(notice.ok)).sum()
    }

    pub fn height(&self, seat: usize) -> u64 {
        self.node(seat).map_or(0, |node| node.tip().0.0)
    }

    pub fn node(&self, seat: usize) -> Option<&Node> {
        self.places[seat].machine.as_ref().map(|(node, _)| node)
    }

    pub fn shared(&self, seat: usize) -> Option<&Arc<Shared>> {
        self.places[seat].machine.as_ref().map(|(_, shared)| shared)
    }

    pub fn log(&self, seat: usize) -> &[(RecordKind, Bytes)] {
        &self.places[seat].log
    }

    /// The hash of every block on a node's disk, by height.
    pub fn blocks(&self, seat: usize) -> Vec<BlockHash> {
        let blocks = self.places[seat].log.iter().filter(|(kind, _)| *kind == RecordKind::Block);
        blocks.map(|(_, bytes)| throng::wire::block_hash(bytes)).collect()
    }

    /// All nodes have one chain, as far as each has come.
    pub fn assert_agreed(&self) {
        let chains: Vec<_> = (0..self.places.len()).map(|seat| self.blocks(seat)).collect();
        for (seat, chain) in chains.iter().enumerate() {
            let common = chain.len().min(chains[0].len());
            assert_eq!(chain[..common], chains[0][..common], "node {seat} differs from node 0");
        }
    }
}
