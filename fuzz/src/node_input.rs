//! Any bytes as the life of one node of four: messages of any seat, raw or well made, honest or not; time; clients; jobs
//! that are done in any order, disk writes that are answered in theirs, at any time; restarts. It does not panic, what
//! it holds stays under its bounds, what it says is on its disk, and it says nothing twice.
//!
//! The first byte chooses who verifies; then three bytes make a step: what, and two arguments.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use throng::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use throng::node::jobs::{ExecuteJob, Job};
use throng::node::{Input, Node, NodeConfig, Output, Setup, Shared, ingress};
use throng::store::{Append, Guard, GuardState, RecordKind};
use throng::types::{
    AccountNumber, Ack, BatchId, BatchRef, ChainId, Effect, Epoch, Genesis, GenesisAccount, Key, Parent,
    Policy, Round, Rules, Seat, SeatInfo, Sequence, Time, Verdict, Vertex, VertexId, VertexRef, Witness,
};
use throng::wire::client::Submission;
use throng::wire::{
    Batch, Frame, Message, Rows, SignedVertex, chain_id, seal, sign_vertex, transaction_digest,
};

const NODES: u16 = 4;
const ACCOUNTS: u32 = 4;
const DEPTH: u64 = 4;
const WINDOW: u64 = 2;
/// Steps of one input at most.
const STEPS_MAX: usize = 600;
/// Checks that the driver has under way at most; then it reads nothing more from peers.
const UNDER_WAY_MAX: usize = 64;

static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| (0..8).map(|tag| signing_key_from_seed([tag + 1; 32])).collect());
static CHAINS: LazyLock<[(Arc<Genesis>, ChainId); 2]> = LazyLock::new(|| {
    [Policy::Quorum, Policy::All].map(|policy| {
        let genesis = genesis(policy);
        let chain = chain_id(&genesis);
        (Arc::new(genesis), chain)
    })
});

fn genesis(policy: Policy) -> Genesis {
    let key = |number: u16| public_key(&KEYS[usize::from(number)]);
    let seat = |seat: u16| SeatInfo { key: Key(key(seat)), fee_account: AccountNumber(1) };
    let account = |number: u32| GenesisAccount { key: key(NODES + number as u16), balance: 1_000 };
    Genesis {
        name: "fuzz".into(),
        time: Time(1),
        rules: Rules { depth: DEPTH, window: WINDOW, policy, checkpoint_blocks: 2, ..Rules::default() },
        seats: (0..NODES).map(seat).collect(),
        accounts: (0..ACCOUNTS).map(account).collect(),
    }
}

/// The node, its driver, and what its peers have made.
struct World {
    genesis: Arc<Genesis>,
    chain: ChainId,
    node: Node,
    shared: Arc<Shared>,
    now: Time,
    jobs: VecDeque<Job>,
    blocks: VecDeque<ExecuteJob>,
    /// Records that the disk has not answered, and all that it has, by number.
    writing: VecDeque<Append>,
    written: BTreeMap<u64, (RecordKind, Bytes)>,
    /// What earlier lives left.
    log: Vec<(RecordKind, Bytes)>,
    /// What the guard says by now.
    guard: Guard,
    /// What the node has said, over all lives.
    vertices: BTreeMap<u64, VertexId>,
    batches: BTreeMap<u64, BatchId>,
    /// By round: what peers, and the node, have made.
    made: BTreeMap<u64, Vec<VertexRef>>,
    sealed: Vec<Batch>,
    durable: u64,
}

fn open(genesis: &Arc<Genesis>, log: &[(RecordKind, Bytes)], guard: Guard, now: Time) -> (Node, Arc<Shared>) {
    let config = NodeConfig { mempool_rows_max: 64, ..NodeConfig::default() };
    let setup = Setup { genesis: genesis.clone(), seat: Seat(0), key: KEYS[0].clone(), config, seed: 1 };
    Node::open(setup, log.iter().cloned(), GuardState::Intact(guard), now)
        .expect("what a node wrote opens again")
}

impl World {
    fn new(policy: usize) -> World {
        let (genesis, chain) = CHAINS[policy].clone();
        let now = Time(1_000_000);
        let (node, shared) = open(&genesis, &[], Guard::default(), now);
        World {
            genesis,
            chain,
            node,
            shared,
            now,
            jobs: VecDeque::new(),
            blocks: VecDeque::new(),
            writing: VecDeque::new(),
            written: BTreeMap::new(),
            log: Vec::new(),
            guard: Guard::default(),
            vertices: BTreeMap::new(),
            batches: BTreeMap::new(),
            made: BTreeMap::new(),
            sealed: Vec::new(),
            durable: 0,
        }
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(self.now, input);
        while let Some(output) = self.node.poll() {
            self.perform(output);
        }
        self.node.deadline();
        self.check();
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { message, .. } | Output::Broadcast(message) => self.said(&message),
            Output::Job(job) => self.jobs.push_back(job),
            Output::Execute(job) => self.blocks.push_back(job),
            Output::Persist(records) => self.writing.extend(records),
            Output::Snapshot { .. } | Output::Prune { .. } => panic!("nobody asked for snapshots"),
            Output::Durable(notice) => {
                assert_eq!(notice.height.0, self.durable + 1, "blocks become durable one after the other");
                self.durable += 1;
            }
            Output::Serve { .. } => {}
            Output::Convicted(evidence) => assert!(evidence.accused() != Seat(0), "it is honest"),
            Output::Forged(forged) => panic!("nobody forges: {forged}"),
            Output::Diverged(divergence) => panic!("nobody signs another chain: {divergence}"),
            Output::Misbehaved { peer, .. } => assert!(peer != Seat(0), "a node does not accuse itself"),
        }
    }

    /// The node says one thing in each place, and only what is on its disk.
    fn said(&mut self, message: &Message) {
        match message {
            Message::Vertex(vertex) if vertex.vertex.author == Seat(0) => {
                let round = vertex.vertex.round;
                let first = *self.vertices.entry(round.0).or_insert(vertex.id);
                assert_eq!(first, vertex.id, "two vertices of round {round}");
                assert!(self.on_disk(&vertex.bytes), "a vertex of round {round} that a crash would forget");
                self.note(vertex.reference());
            }
            Message::Batch(batch) if batch.header.author == Seat(0) => {
                let sequence = batch.header.sequence;
                let first = *self.batches.entry(sequence.0).or_insert(batch.id);
                assert_eq!(first, batch.id, "two batches {sequence}");
                assert!(self.on_disk(batch.bytes()), "a batch {sequence} that a crash would forget");
            }
            _ => {}
        }
    }

    fn on_disk(&self, bytes: &Bytes) -> bool {
        self.written.values().chain(&self.log).any(|(_, written)| written == bytes)
    }

    fn note(&mut self, vertex: VertexRef) {
        let round = self.made.entry(vertex.round.0).or_default();
        if !round.contains(&vertex) {
            round.push(vertex);
        }
    }

    fn check(&self) {
        let (held, nodes) = (self.node.holdings(), usize::from(NODES));
        let slots = nodes * 3 * WINDOW as usize;
        assert!(held.waiting_vertices <= nodes * 4 * DEPTH as usize, "{held:?}");
        assert!(held.wanted_vertices <= nodes * 256 && held.wanted_batches <= nodes * 256, "{held:?}");
        assert!(held.checking <= self.jobs.len(), "{held:?}");
        assert!(held.unwritten <= self.writing.len(), "{held:?}");
        assert!(held.unsettled_batches <= slots && held.named_batches <= slots * nodes, "{held:?}");
        assert!(held.executed_batches <= 32_768 && held.waiting_blocks <= 1_024, "{held:?}");
        // One more than a window at most comes back to an author who lost it.
        assert!(held.outstanding <= 3 * WINDOW as usize, "{held:?}");
        assert!(self.blocks.len() <= 4, "blocks at the executor");
        assert!(self.jobs.len() <= 2 * UNDER_WAY_MAX + slots, "{} jobs", self.jobs.len());
    }

    fn receive(&mut self, from: u8, message: Message) {
        if self.jobs.len() < UNDER_WAY_MAX {
            let from = Seat(u16::from(from) % NODES);
            self.handle(Input::Received { from, message });
        }
    }

    /// A vertex of a peer on what was made of the round before: `how` says which round, and what is odd about it.
    fn vertex(&mut self, author: u8, how: u8) {
        let author = 1 + u16::from(author) % (NODES - 1);
        let top = self.made.iter().rev().find(|(_, made)| distinct(made) >= 3).map_or(0, |(round, _)| *round);
        let round = (top + 1).saturating_sub(u64::from(how % 3)).max(1);
        let below = self.made.get(&(round - 1)).cloned().unwrap_or_default();
        let mut faces: BTreeMap<Seat, VertexRef> = BTreeMap::new();
        for vertex in &below {
            // Of twins now the first, now the last.
            match how & 4 {
                0 => _ = faces.entry(vertex.author).or_insert(*vertex),
                _ => _ = faces.insert(vertex.author, *vertex),
            }
        }
        let mut strong: Vec<Parent> = faces.values().map(|p| Parent { author: p.author, id: p.id }).collect();
        if how & 8 != 0 && strong.len() > 3 {
            strong.remove(usize::from(author) % strong.len());
        }
        if how & 16 != 0 && !strong.is_empty() {
            // Nobody has it.
            let odd = usize::from(how) % strong.len();
            strong[odd].id = VertexId([how; 32]);
        }
        let verdict = if how & 32 == 0 { Verdict::Valid } else { Verdict::Held };
        let acked = self.sealed.iter().rev().take(8).map(Batch::reference);
        let known = self.batches.iter().rev().take(4).map(|(&sequence, &id)| BatchRef {
            author: Seat(0),
            sequence: Sequence(sequence),
            id,
        });
        let slots: BTreeMap<_, _> = acked.chain(known).map(|b| ((b.author, b.sequence), b)).collect();
        let mut acks: Vec<Ack> = slots.into_values().map(|batch| Ack { batch, verdict }).collect();
        if how & 64 != 0 {
            acks.iter_mut().for_each(|ack| ack.batch.id = BatchId([how; 32]));
        }
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(round),
            author: Seat(author),
            time: Time(self.now.0 + u64::from(how)),
            strong,
            weak: Vec::new(),
            acks,
            parts: Vec::new(),
        };
        let mut signed = sign_vertex(&KEYS[usize::from(author)], &self.chain, vertex);
        if how & 128 != 0 {
            signed = broken(signed);
        } else {
            self.note(signed.reference());
        }
        self.receive(author as u8, Message::Vertex(Arc::new(signed)));
    }

    /// A batch of any seat, the node's own too: `how` says which number, and what is odd about it.
    fn batch(&mut self, author: u8, how: u8) {
        let author = u16::from(author) % NODES;
        let rows = self.rows(u32::from(how >> 3) % ACCOUNTS, u64::from(how % 8), how & 128 != 0);
        let columns = Rows { effects: &rows.0, keys: &[], witnesses: &rows.1 };
        let slot = (Epoch(0), Seat(author), Sequence(1 + u64::from(how % 8)));
        let accounts = ACCOUNTS + 1 + u32::from(how & 64 != 0);
        let batch = seal(&KEYS[usize::from(author)], &self.chain, slot, accounts, columns);
        // What carries the node's own name and is not its own: nobody can make that without its key.
        if author != 0 {
            self.sealed.push(batch.clone());
            self.receive(author as u8, Message::Batch(batch));
        }
    }

    fn rows(&self, from: u32, nonce: u64, forged: bool) -> (Vec<Effect>, Vec<Witness>) {
        let key = |number: u32| &KEYS[usize::from(NODES) + number as usize];
        let to = (from + 1) % ACCOUNTS;
        let effect = Effect::transfer(from + 1, to + 1, 3, nonce + 1, 1);
        let digest = transaction_digest(
            &self.chain,
            &effect,
            &public_key(key(from)),
            &self.genesis.accounts[to as usize].key,
        );
        let mut witness = Witness(sign(key(from), &digest));
        witness.0[9] ^= u8::from(forged);
        (vec![effect], vec![witness])
    }

    fn submit(&mut self, from: u8, nonce: u8) {
        let rows = self.rows(u32::from(from) % ACCOUNTS, u64::from(nonce), false);
        let columns = Rows { effects: &rows.0, keys: &[], witnesses: &rows.1 };
        if let Some(submission) = Submission::pack(columns) {
            ingress::admit(&self.shared, &[submission]);
            self.handle(Input::Rows);
        }
    }

    /// What a peer asks for: of what there is and of what nobody made.
    fn ask(&mut self, from: u8, how: u8) {
        let message = match how % 3 {
            _ if how >= 0xf0 => Message::WantEvidence((0..u16::from(how % 5)).map(Seat).collect()),
            0 => {
                let known = self.made.values().flatten().copied().take(1 + usize::from(how));
                let nobody = VertexRef { round: Round(how.into()), author: Seat(3), id: VertexId([how; 32]) };
                Message::WantVertices(known.chain([nobody]).collect())
            }
            1 => Message::WantBatches(
                self.sealed.iter().map(Batch::reference).take(1 + usize::from(how)).collect(),
            ),
            _ => Message::Frontier {
                began: Round(u64::from(how % 4 / 3) * 4),
                rounds: (0..u64::from(how >> 5)).map(|seat| Round(u64::from(how % 32) * seat)).collect(),
            },
        };
        self.receive(from, message);
    }

    /// Some job, or the first ones, are done.
    fn work(&mut self, which: u8, count: u8) {
        for _ in 0..=count % 32 {
            let place = usize::from(which) % self.jobs.len().max(1);
            let Some(job) = self.jobs.remove(place) else { return };
            let done = job.run(&self.shared);
            self.handle(Input::Done(done));
        }
    }

    fn execute(&mut self) {
        if let Some(job) = self.blocks.pop_front() {
            let executed = job.run(&self.shared);
            self.handle(Input::Done(executed.into()));
        }
    }

    /// The first records that wait are durable.
    fn persist(&mut self, count: u8) {
        for _ in 0..=count % 32 {
            let Some(Append { number, kind, bytes, guard }) = self.writing.pop_front() else { return };
            self.written.insert(number, (kind, bytes.clone()));
            self.guard = guard.unwrap_or(self.guard);
            self.handle(Input::Persisted { number, view: bytes });
        }
    }

    /// The node stops and starts on its disk, which may have kept some of what it has not answered.
    fn restart(&mut self, kept: u8) {
        // Their guard is written after them: it may be lost though they are not.
        let kept = std::mem::take(&mut self.writing).into_iter().take(kept.into());
        for Append { number, kind, bytes, .. } in kept {
            self.written.insert(number, (kind, bytes));
        }
        self.log.extend(std::mem::take(&mut self.written).into_values());
        self.jobs.clear();
        self.blocks.clear();
        let (node, shared) = open(&self.genesis, &self.log, self.guard, self.now);
        (self.node, self.shared) = (node, shared);
        self.guard = self.node.guard();
        let height = self.node.tip().0.0;
        assert!(
            height >= self.durable,
            "block {} was durable, and the node starts at {height}",
            self.durable
        );
        self.durable = height;
        self.handle(Input::Tick);
    }
}

fn distinct(made: &[VertexRef]) -> usize {
    made.iter().map(|vertex| vertex.author).collect::<BTreeSet<_>>().len()
}

/// The same vertex under a signature that does not hold.
fn broken(signed: SignedVertex) -> SignedVertex {
    let mut bytes = signed.bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    SignedVertex::decode(bytes.into()).expect("a signature is any 64 bytes")
}

/// Bytes as the life of a node. True if it said a vertex.
pub fn node_input(bytes: &[u8]) -> bool {
    let Some((&policy, mut rest)) = bytes.split_first() else { return false };
    let mut world = World::new(usize::from(policy % 2));
    for _ in 0..STEPS_MAX {
        let [what, first, second, tail @ ..] = rest else { break };
        rest = tail;
        let (first, second) = (*first, *second);
        match what % 12 {
            0 => {
                world.now =
                    world.now + Duration::from_millis(u64::from(first) * (1 + u64::from(second % 16)));
                world.handle(Input::Tick);
            }
            1 => world.work(first, second),
            2 => world.persist(second),
            3 => world.execute(),
            4 | 5 => world.vertex(first, second),
            6 => world.batch(first, second),
            7 => world.ask(first, second),
            8 => world.submit(first, second % 8),
            9 if second & 1 == 0 => world.handle(Input::Connected(Seat(u16::from(first) % NODES))),
            9 => world.handle(Input::Disconnected(Seat(u16::from(first) % NODES))),
            10 if second % 8 == 0 => world.restart(first % 8),
            10 => {}
            _ => {
                // Raw bytes as a frame.
                let (raw, after) = rest.split_at(rest.len().min(usize::from(second)));
                rest = after;
                let frame = Frame { kind: first % 14, payload: Bytes::copy_from_slice(raw) };
                if let Ok(message) = Message::decode(frame) {
                    world.receive(first >> 4, message);
                }
            }
        }
    }
    !world.vertices.is_empty()
}
