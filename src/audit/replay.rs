//! The chain once more, from its records: the order from the vertices, the blocks from the order and the batches.

mod passed;

use super::Fault;
use super::fault::fault;
use super::open::Directory;
use crate::consensus::Consensus;
use crate::crypto::KeySet;
use crate::ledger::Ledger;
use crate::node::evidence::{EvidenceError, Law, check};
use crate::store::{Place, RecordKind};
use crate::types::{
    AccountNumber, BatchId, BatchRef, Block, BlockHash, Certificate, ChainId, Committee, Content, Genesis,
    Height, LeaderRef, Root, RootKind, Seat, Time,
};
use crate::wire::{
    Batch, Evidence, Rows, SignedVertex, block_hash, committee_root, decode_block, decode_certificate,
    decode_record, encode_record, outcomes_hash, record_root,
};
use bytes::Bytes;
use passed::Passing;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Batches that wait to be settled, for each seat, before those that never will be are let go.
const WAITING_PER_SEAT: usize = 64;

/// A batch that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub place: Place,
    pub batch: Batch,
    /// Its header's signature is being checked.
    pub checked: bool,
}

/// What the vertices say the next block is.
struct Ordered {
    leader: LeaderRef,
    time: Time,
    settled: Vec<BatchRef>,
    /// At a checkpoint, the root of the settlement record.
    settlement: Option<Root>,
    /// No vertices order it; a certificate above it is to prove it.
    adopted: bool,
}

/// What a record was.
pub(super) enum Step {
    Vertex(Arc<SignedVertex>),
    /// The caller says whether it checks the header's signature now.
    Batch(Batch),
    /// Of a block that is here, or is still to come.
    Certificate(Certificate),
    /// A proof against a validator that holds.
    Evidence,
    /// The settlement record that the next block names.
    Settlement,
    /// A block before the snapshot at which the replay began: a link of the chain and no more.
    Passed {
        block: Block,
        hash: BlockHash,
    },
    /// A block that is as it must be, and what it settled, in order, with the outcome of each row.
    Block {
        block: Block,
        hash: BlockHash,
        settled: Vec<Read>,
        outcomes: Vec<u8>,
    },
}

/// Counts of what was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub vertices: u64,
    pub batches: u64,
    pub rows: u64,
    pub ok: u64,
    pub checkpoints: u64,
    /// The last height whose roots were compared.
    pub checkpoint: u64,
    pub certificates: u64,
    /// The last height that a quorum signed.
    pub certified: u64,
    /// Validators that are proven to have lied.
    pub liars: u64,
    /// Blocks that are not there, since the node began anew at a later checkpoint.
    pub missing: u64,
}

/// The chain as far as it was replayed.
pub(super) struct Replay {
    dir: PathBuf,
    pub genesis: Genesis,
    pub chain: ChainId,
    committee: Committee,
    consensus: Consensus,
    ordered: VecDeque<Ordered>,
    /// The height of the last of them.
    last_ordered: Height,
    waiting: BTreeMap<BatchId, Read>,
    /// Hash and account root of every checkpoint block.
    checkpoints: BTreeMap<Height, (BlockHash, Option<Root>)>,
    /// The settlement record that was met last, if no vertices order the block that is to name it.
    record: Option<Bytes>,
    /// Certificates of checkpoints that are still to come.
    promised: BTreeMap<Height, (Place, BlockHash)>,
    pub ledger: Arc<Ledger>,
    pub tip: (Height, BlockHash),
    pub totals: Totals,
    passing: Passing,
}

impl Replay {
    fn new(directory: &Directory) -> Replay {
        let (genesis, chain) = (directory.genesis.clone(), directory.chain);
        Replay {
            dir: directory.dir.clone(),
            committee: genesis.committee(),
            consensus: Consensus::new(&genesis, None),
            ordered: VecDeque::new(),
            last_ordered: Height(0),
            waiting: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            record: None,
            promised: BTreeMap::new(),
            ledger: Arc::new(Ledger::new(genesis.table())),
            tip: (Height(0), BlockHash(chain.0)),
            totals: Totals::default(),
            passing: Passing::none(&chain),
            genesis,
            chain,
        }
    }

    /// The height of the block that is not there yet.
    pub(super) fn next(&self) -> Height {
        if self.passing.goes_on() { self.passing.last.0.next() } else { self.tip.0.next() }
    }

    /// The height of the snapshot at which the replay began; 0 stands for the genesis.
    pub(super) fn began(&self) -> Height {
        self.passing.height
    }

    /// Takes the next record of the log. Everything is checked but signatures and the roots of columns. After a fault
    /// the replay is over.
    pub(super) fn record(
        &mut self,
        place: Place,
        kind: RecordKind,
        bytes: Bytes,
    ) -> Result<Step, Box<Fault>> {
        match kind {
            RecordKind::Vertex => self.vertex(place, bytes),
            RecordKind::Batch => self.batch(place, bytes),
            RecordKind::Block if self.passing.goes_on() => self.pass_block(place, &bytes),
            RecordKind::Block => self.block(place, &bytes),
            RecordKind::Certificate => self.certificate(place, &bytes),
            RecordKind::Evidence => self.evidence(place, &bytes),
            RecordKind::Settlement => self.settlement(place, bytes),
        }
    }

    fn is_checkpoint(&self, height: Height) -> bool {
        height.0.is_multiple_of(self.genesis.rules.checkpoint_blocks)
    }

    /// Says that the header's signature of a batch that waits is being checked.
    pub(super) fn mark_checked(&mut self, id: &BatchId) {
        if let Some(read) = self.waiting.get_mut(id) {
            read.checked = true;
        }
    }

    fn fault(&self, place: Place, found: impl Into<String>, expected: impl Into<String>) -> Box<Fault> {
        fault(&self.dir, place, self.next(), found, expected)
    }

    fn vertex(&mut self, place: Place, bytes: Bytes) -> Result<Step, Box<Fault>> {
        let decoded = SignedVertex::decode(bytes);
        let vertex =
            decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of a vertex"))?;
        if let Err(reason) = self.consensus.dag().well_formed(&vertex) {
            return Err(self.fault(place, reason, "a well-formed vertex"));
        }
        self.totals.vertices += 1;
        let vertex = Arc::new(vertex);
        if vertex.vertex.round <= self.passing.floor {
            return Ok(Step::Vertex(vertex));
        }
        self.consensus.restore(vertex.clone());
        while let Some(emitted) = self.consensus.next_emitted() {
            let (leader, time, settled) = (emitted.leader, emitted.time, emitted.settled);
            self.last_ordered = self.last_ordered.next();
            let record = self.is_checkpoint(self.last_ordered).then(|| self.consensus.record()).flatten();
            let settlement = record.map(|record| record_root(&encode_record(&record)));
            self.ordered.push_back(Ordered { leader, time, settled, settlement, adopted: false });
        }
        Ok(Step::Vertex(vertex))
    }

    fn batch(&mut self, place: Place, bytes: Bytes) -> Result<Step, Box<Fault>> {
        let decoded = Batch::decode(bytes);
        let batch = decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of a batch"))?;
        let header = &batch.header;
        if !self.committee.has(header.author) || header.epoch != self.committee.epoch {
            let found = format!("a batch of seat {} in epoch {}", header.author, header.epoch);
            return Err(self.fault(place, found, "a seat of the committee"));
        }
        if header.content != self.genesis.rules.content {
            return Err(self.fault(
                place,
                "a batch of other content",
                "what the genesis says that batches carry",
            ));
        }
        self.totals.batches += 1;
        self.forget_dead();
        if !self.may_settle(&batch) {
            return Ok(Step::Batch(batch));
        }
        self.waiting.entry(batch.id).or_insert(Read { place, batch: batch.clone(), checked: false });
        Ok(Step::Batch(batch))
    }

    /// Lets go of batches that can never settle, once there are many: so memory follows what is open, not the log.
    fn forget_dead(&mut self) {
        let most = WAITING_PER_SEAT * self.committee.size();
        if self.waiting.len() < most || !self.waiting.len().is_multiple_of(most) {
            return;
        }
        // What settled by vertices whose block is still to come is not open any more, and yet needed.
        let needed: BTreeSet<_> =
            self.ordered.iter().flat_map(|next| &next.settled).map(|batch| batch.id).collect();
        let settlement = self.consensus.settlement();
        self.waiting.retain(|id, read| {
            let header = &read.batch.header;
            needed.contains(id) || !settlement.dead(header.author, header.sequence)
        });
    }

    fn certificate(&mut self, place: Place, bytes: &[u8]) -> Result<Step, Box<Fault>> {
        let decoded = decode_certificate(bytes);
        let certificate =
            decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of a certificate"))?;
        let (height, hash) = (certificate.height, certificate.hash);
        if height.0 == 0 || !self.is_checkpoint(height) {
            return Err(self.fault(
                place,
                format!("a certificate of height {height}"),
                "one of a checkpoint",
            ));
        }
        match self.checkpoints.get(&height) {
            Some((own, _)) => self.certified(place, height, (hash, *own))?,
            None => _ = self.promised.insert(height, (place, hash)),
        }
        self.totals.certificates += 1;
        Ok(Step::Certificate(certificate))
    }

    /// Evidence about accounts that are opened by a later record is not judged; it was when it was written.
    fn evidence(&mut self, place: Place, bytes: &[u8]) -> Result<Step, Box<Fault>> {
        let decoded = Evidence::decode(bytes);
        let evidence =
            decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of evidence"))?;
        let law = Law {
            chain: &self.chain,
            committee: &self.committee,
            rules: &self.genesis.rules,
            seats: &KeySet::new(self.genesis.seats.iter().map(|seat| &seat.key.0)),
            accounts: self.ledger.keys(),
        };
        match check(law, &evidence) {
            Ok(()) | Err(EvidenceError::TooEarly { .. }) => self.totals.liars += 1,
            Err(error) => return Err(self.fault(place, error.to_string(), "a proof against a validator")),
        }
        Ok(Step::Evidence)
    }

    /// A settlement record stands before the block that names it; twice, if a crash came between the two.
    /// The one from which agreement goes on after adopted blocks is held against the last of these.
    fn settlement(&mut self, place: Place, bytes: Bytes) -> Result<Step, Box<Fault>> {
        let root = record_root(&bytes);
        if self.passing.goes_on() {
            self.passing.settlement = Some((place, root));
            return Ok(Step::Settlement);
        }
        let Some(next) = self.ordered.front() else {
            self.record = Some(bytes);
            return Ok(Step::Settlement);
        };
        match next.settlement {
            Some(named) if named == root => Ok(Step::Settlement),
            // Of a checkpoint further on, at which the node was about to begin anew.
            _ if self.promised.range(self.next().next()..).next().is_some() => Ok(Step::Settlement),
            Some(named) => {
                let found = format!("a settlement record with the root {root}");
                Err(self.fault(place, found, format!("the root {named} that the vertices before it give")))
            }
            None => {
                Err(self.fault(place, "a settlement record", "one before the block of a checkpoint only"))
            }
        }
    }

    /// Holds a certificate against the block of its height.
    fn certified(
        &mut self,
        place: Place,
        height: Height,
        (signed, own): (BlockHash, BlockHash),
    ) -> Result<(), Box<Fault>> {
        if signed != own {
            let found = format!("a certificate of another block {height}, {signed}");
            return Err(self.fault(place, found, format!("the hash {own} of the block in this directory")));
        }
        self.totals.certified = self.totals.certified.max(height.0);
        Ok(())
    }

    fn block(&mut self, place: Place, bytes: &[u8]) -> Result<Step, Box<Fault>> {
        let decoded = decode_block(bytes);
        let block = decoded.map_err(|error| self.fault(place, error.to_string(), "the bytes of a block"))?;
        let (height, previous) = (self.next(), self.tip.1);
        if block.height > height {
            return self.begin_anew(place, block, bytes);
        }
        let Some(ordered) = self.ordered.pop_front().or_else(|| self.adopted(&block)) else {
            return Err(self.fault(
                place,
                format!("block {}", block.height),
                "vertices before it that commit its leader, or a certificate that proves it",
            ));
        };
        let Ordered { leader, time, settled, settlement, adopted } = ordered;
        let epoch = self.committee.epoch;
        let say = |block: &dyn std::fmt::Debug| format!("{block:?}");
        let fields = [
            ("height", block.height == height, block.height.to_string(), height.to_string()),
            (
                "hash of the block before",
                block.previous == previous,
                block.previous.to_string(),
                previous.to_string(),
            ),
            ("epoch", block.epoch == epoch, block.epoch.to_string(), epoch.to_string()),
            ("leader", block.leader == leader, say(&block.leader), say(&leader)),
            ("time", block.time == time, block.time.0.to_string(), time.0.to_string()),
            ("settled batches", block.settled == settled, say(&block.settled), say(&settled)),
        ];
        self.compare(place, &fields)?;
        let settled = settled.iter().map(|batch| self.take(place, batch)).collect::<Result<Vec<_>, _>>()?;
        let outcomes = self.execute(place, &block, &settled, settlement)?;
        let hash = block_hash(bytes);
        if self.is_checkpoint(height) {
            self.checkpoints.insert(height, (hash, super::kept::account_root(&block)));
            if let Some((place, signed)) = self.promised.remove(&height) {
                self.certified(place, height, (signed, hash))?;
            }
        }
        if adopted {
            self.go_on(place, settlement)?;
        }
        self.tip = (height, hash);
        Ok(Step::Block { block, hash, settled, outcomes })
    }

    /// A block that no vertices order, if a certificate of a later block stands before it: then that proves it, once it is
    /// reached.
    fn adopted(&mut self, block: &Block) -> Option<Ordered> {
        self.promised.range(block.height..).next()?;
        self.last_ordered = block.height;
        Some(Ordered {
            leader: block.leader,
            time: block.time,
            settled: block.settled.clone(),
            settlement: block.root(RootKind::Settlement),
            adopted: true,
        })
    }

    /// After an adopted block agreement goes on from its settlement record, if that stands before it.
    fn go_on(&mut self, place: Place, settlement: Option<Root>) -> Result<(), Box<Fault>> {
        let named = |bytes: &Bytes| settlement == Some(record_root(bytes));
        let Some(bytes) = self.record.take().filter(named) else { return Ok(()) };
        let gone_on = decode_record(&bytes).map_err(|error| error.to_string()).and_then(|record| {
            self.consensus.go_on_from(&self.genesis, &record, None).map_err(|error| error.to_string())
        });
        gone_on
            .map_err(|reason| self.fault(place, reason, "a settlement record that agreement can go on from"))
    }

    /// A batch that a block settles.
    fn take(&mut self, place: Place, batch: &BatchRef) -> Result<Read, Box<Fault>> {
        let Some(read) = self.waiting.remove(&batch.id) else {
            let found = format!("a block that settles batch {}", batch.id);
            return Err(self.fault(place, found, "that batch before it in the directory"));
        };
        let (named, known) = (read.batch.header.accounts, self.ledger.len());
        if named > known {
            let found = format!("a settled batch that names {named} accounts");
            return Err(self.fault(read.place, found, format!("at most the {known} that exist")));
        }
        Ok(read)
    }

    /// Executes what a block settles; the outcome of every row.
    fn execute(
        &mut self,
        place: Place,
        block: &Block,
        settled: &[Read],
        settlement: Option<Root>,
    ) -> Result<Vec<u8>, Box<Fault>> {
        let fees = |author: Seat| self.committee.seats[author.index()].fee_account;
        let parts: Vec<(Rows<'_>, AccountNumber)> =
            settled.iter().map(|read| (read.batch.rows(), fees(read.batch.header.author))).collect();
        let (outcomes, ok) = self.ledger.execute(&parts);
        let opaque = settled.iter().filter(|read| read.batch.header.content == Content::Opaque);
        let blobs: u64 = opaque.map(|read| u64::from(read.batch.header.rows)).sum();
        self.totals.rows += outcomes.len() as u64 + blobs;
        self.totals.ok += u64::from(ok) + blobs;
        let checkpoint = self.is_checkpoint(block.height);
        let (accounts, hash) = (self.ledger.len(), outcomes_hash(&outcomes));
        let roots = [
            (RootKind::Accounts, checkpoint.then(|| self.ledger.root())),
            (RootKind::Settlement, settlement),
            (RootKind::Committee, settlement.map(|_| committee_root(&self.committee))),
        ];
        let roots: Vec<_> = roots.into_iter().filter_map(|(kind, root)| Some((kind, root?))).collect();
        let fields = [
            ("accounts", block.accounts == accounts, block.accounts.to_string(), accounts.to_string()),
            ("outcomes of its rows", block.outcomes == hash, hex::encode(block.outcomes), hex::encode(hash)),
            ("roots", block.roots == roots, words(&block.roots), words(&roots)),
        ];
        self.compare(place, &fields)?;
        if checkpoint {
            self.totals.checkpoints += 1;
            self.totals.checkpoint = block.height.0;
        }
        Ok(outcomes)
    }

    /// The first field of a block that is not as it must be.
    fn compare(&self, place: Place, fields: &[(&str, bool, String, String)]) -> Result<(), Box<Fault>> {
        match fields.iter().find(|field| !field.1) {
            None => Ok(()),
            Some((name, _, found, expected)) => {
                Err(self.fault(place, format!("a block whose {name}: {found}"), expected.clone()))
            }
        }
    }
}

fn words(roots: &[(RootKind, Root)]) -> String {
    let each = roots.iter().map(|(kind, root)| format!("{kind:?} {root}"));
    if roots.is_empty() { "none".to_owned() } else { each.collect::<Vec<_>>().join(", ") }
}
