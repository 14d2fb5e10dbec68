//! The heavy work as pure functions: a driver runs them on its threads, a simulator inline.

use super::Shared;
use super::evidence::{self, Charge, EvidenceError};
use super::ingress::{self, TakenOver};
use crate::consensus::verify_certificate;
use crate::crypto::{self, Claim, KeyTable, ProofError};
use crate::ledger::LaterTableError;
use crate::mempool::Taken;
use crate::metrics::Stage;
use crate::types::{Account, BatchRef, Certificate, ChainId, Content, Height, Kind, Root, Seat, Sequence};
use crate::wire::client::Submission;
use crate::wire::{self, Batch, Gathered, ProvenPiece, Row, Rows, SignedVertex, TablePiece};
use bytes::Bytes;
use std::iter::once;
use std::sync::Arc;
use thiserror::Error;

/// Work that the machine puts out.
#[derive(Debug)]
pub enum Job {
    /// Check a vertex' signature, and those of the checkpoint votes in it.
    CheckVertex {
        /// Who sent it.
        from: Seat,
        /// The vertex; its author has a seat.
        vertex: Arc<SignedVertex>,
    },
    /// Check a batch' rows, roots and header signature.
    CheckBatch {
        /// Who sent it.
        from: Seat,
        /// The batch; its author has a seat.
        batch: Batch,
    },
    /// Check a certificate.
    CheckCertificate {
        /// Who sent it.
        from: Seat,
        /// The certificate.
        certificate: Arc<Certificate>,
    },
    /// Check what is said to prove a lie.
    CheckEvidence(Charge),
    /// Check a piece of an account table against its root.
    CheckPiece {
        /// Who sent it.
        from: Seat,
        /// The piece with its proof.
        piece: TablePiece,
        /// The root of the table.
        root: Root,
        /// Its length.
        table_bytes: u64,
    },
    /// Let the ledger go on from the account table of a checkpoint further ahead; nothing executes meanwhile.
    TakeTable {
        /// The height of the checkpoint.
        height: Height,
        /// The table.
        table: Arc<Vec<Account>>,
    },
    /// Check every signature of a checked batch.
    VerifyRows(Batch),
    /// Check and admit rows that a validator handed on.
    TakeOver {
        /// Who.
        from: Seat,
        /// The rows.
        submissions: Vec<Submission>,
    },
    /// Seal rows of the mempool into a batch.
    Seal {
        /// The number of the batch.
        sequence: Sequence,
        /// The accounts that the header promises.
        accounts: u32,
        /// The rows.
        rows: Taken,
    },
    /// Seal blobs into a batch.
    SealBlobs {
        /// The number of the batch.
        sequence: Sequence,
        /// The blobs, at least one.
        blobs: Gathered,
    },
}

/// The result of a [`Job`].
#[derive(Debug)]
pub enum Done {
    /// A vertex' signature was checked.
    Vertex {
        /// Who sent it.
        from: Seat,
        /// The vertex.
        vertex: Arc<SignedVertex>,
        /// Whether every signature is good.
        good: bool,
    },
    /// A certificate was checked.
    Certificate {
        /// Who sent it.
        from: Seat,
        /// The certificate.
        certificate: Arc<Certificate>,
        /// Whether it holds.
        good: bool,
    },
    /// What is said to prove a lie was checked.
    Evidence {
        /// What was said, and by whom.
        charge: Charge,
        /// `Err`: why it proves nothing.
        verdict: Result<(), EvidenceError>,
    },
    /// A piece of an account table was checked.
    Piece {
        /// Who sent it.
        from: Seat,
        /// The height of the table's checkpoint.
        height: Height,
        /// Which piece.
        piece: u32,
        /// Its bytes. `Err`: why they are not of the table.
        result: Result<ProvenPiece, ProofError>,
    },
    /// The ledger went on from a table.
    TableTaken {
        /// The height of its checkpoint.
        height: Height,
        /// `Err`: it is no later one of this chain; then nothing changed.
        result: Result<(), LaterTableError>,
    },
    /// A batch was checked.
    Batch {
        /// Who sent it.
        from: Seat,
        /// The batch.
        batch: Batch,
        /// `Err`: what makes it malformed.
        result: Result<(), BatchError>,
    },
    /// A batch' signatures were checked.
    Verified {
        /// Which batch.
        batch: BatchRef,
        /// The first bad row.
        bad_row: Option<usize>,
    },
    /// Rows that a validator handed on were admitted, or passed over.
    TakenOver(TakenOver),
    /// A batch was sealed.
    Sealed(Batch),
    /// A block was executed.
    Executed(Executed),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{reason}")]
pub struct BatchError {
    /// What is wrong with it.
    pub reason: &'static str,
    /// Whether its header is its author's all the same: who sends it may have made up the rest, but not that.
    pub signed: bool,
}

/// A block to execute.
#[derive(Debug)]
pub struct ExecuteJob {
    /// Its height.
    pub height: Height,
    /// The settled batches in order.
    pub batches: Vec<Batch>,
    /// Whether the block is a checkpoint and needs the root of the account table.
    pub checkpoint: bool,
    /// The account table after it is to be copied for a snapshot if it takes no more than so many bytes.
    pub table_bytes_max: Option<u64>,
}

/// What executing a block gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// The height.
    pub height: Height,
    /// Hash of the outcome codes.
    pub outcomes: [u8; 32],
    /// Rows executed, or blobs, which are only counted.
    pub rows: u32,
    /// Rows with the outcome `ok`, or blobs.
    pub ok: u32,
    /// Accounts in the table afterwards.
    pub accounts: u32,
    /// The root of the account table, at a checkpoint.
    pub root: Option<Root>,
    /// A copy of the account table, if a snapshot was asked for.
    pub table: Option<Bytes>,
}

impl Job {
    /// Short work that agreement waits for, as against work by the thousand signatures.
    pub fn urgent(&self) -> bool {
        !matches!(
            self,
            Job::VerifyRows(_) | Job::TakeOver { .. } | Job::TakeTable { .. } | Job::CheckPiece { .. }
        )
    }

    /// Where its CPU time belongs.
    pub fn stage(&self) -> Stage {
        match self {
            Job::Seal { .. } | Job::SealBlobs { .. } => Stage::Consensus,
            _ => Stage::Verify,
        }
    }

    /// Does the work of some jobs, with the results in their order: those that [`Job::run`] gives one by one. The
    /// signatures of vertices are checked together.
    pub fn run_all(jobs: Vec<Job>, shared: &Shared) -> Vec<Done> {
        let vertices = jobs.iter().filter_map(|job| match job {
            Job::CheckVertex { vertex, .. } => Some(vertex.as_ref()),
            _ => None,
        });
        let bad = check_vertices(shared, vertices);
        let mut place = 0;
        let run = |job| match job {
            Job::CheckVertex { from, vertex } => {
                let good = bad.binary_search(&place).is_err();
                place += 1;
                Done::Vertex { from, vertex, good }
            }
            other => other.run(shared),
        };
        jobs.into_iter().map(run).collect()
    }

    /// Does the work.
    pub fn run(self, shared: &Shared) -> Done {
        match self {
            Job::CheckVertex { from, vertex } => {
                let good = check_vertices(shared, once(vertex.as_ref())).is_empty();
                Done::Vertex { from, vertex, good }
            }
            Job::CheckBatch { from, batch } => {
                let result = check_batch(shared, &batch);
                Done::Batch { from, batch, result }
            }
            Job::CheckCertificate { from, certificate } => {
                let (chain, epoch) = (&shared.chain, shared.committee.epoch);
                let good = verify_certificate(&certificate, chain, epoch, &shared.seat_keys).is_ok();
                Done::Certificate { from, certificate, good }
            }
            Job::CheckEvidence(charge) => {
                let verdict = evidence::check(shared.law(), &charge.evidence);
                Done::Evidence { charge, verdict }
            }
            Job::CheckPiece { from, piece, root, table_bytes } => {
                let result = piece.verify(&root, table_bytes);
                Done::Piece { from, height: piece.height(), piece: piece.number(), result }
            }
            Job::TakeTable { height, table } => {
                let table = Arc::try_unwrap(table).unwrap_or_else(|table| table.to_vec());
                Done::TableTaken { height, result: shared.ledger.go_on_from(table) }
            }
            Job::VerifyRows(batch) => Done::Verified {
                batch: batch.reference(),
                bad_row: verify_rows(&shared.chain, shared.ledger.keys(), batch.rows().iter())
                    .first()
                    .copied(),
            },
            Job::TakeOver { from, submissions } => {
                Done::TakenOver(ingress::take_over(shared, from, &submissions))
            }
            Job::Seal { sequence, accounts, rows } => {
                let columns = Rows { effects: &rows.effects, keys: &rows.keys, witnesses: &rows.witnesses };
                let slot = (shared.committee.epoch, shared.seat, sequence);
                Done::Sealed(wire::seal(&shared.key, &shared.chain, slot, accounts, columns))
            }
            Job::SealBlobs { sequence, blobs } => {
                let slot = (shared.committee.epoch, shared.seat, sequence);
                Done::Sealed(wire::seal_blobs(&shared.key, &shared.chain, slot, blobs))
            }
        }
    }
}

impl ExecuteJob {
    /// Where its CPU time belongs.
    pub const STAGE: Stage = Stage::Execute;

    /// Executes the block on the node's ledger and lets go of what its mempool had reserved. Blobs are not executed:
    /// that the block names their batches is all that becomes of them; they have no outcome codes.
    pub fn run(self, shared: &Shared) -> Executed {
        let ledger = &shared.ledger;
        let parts: Vec<_> = self
            .batches
            .iter()
            .map(|batch| (batch.rows(), shared.committee.seats[batch.header.author.index()].fee_account))
            .collect();
        let (codes, ok) = ledger.execute(&parts);
        for batch in &self.batches {
            let effects = batch.rows().effects;
            if batch.header.author == shared.seat {
                shared.mempool.release(effects);
            }
            shared.mempool.executed(effects);
        }
        let opaque = self.batches.iter().filter(|batch| batch.header.content == Content::Opaque);
        let blobs = opaque.map(|batch| batch.header.rows).fold(0, u32::saturating_add);
        let snapshot = self.table_bytes_max.is_some_and(|most| table_bytes(ledger.len()) <= most);
        Executed {
            height: self.height,
            outcomes: wire::outcomes_hash(&codes),
            rows: (codes.len() as u32).saturating_add(blobs),
            ok: ok.saturating_add(blobs),
            accounts: ledger.len(),
            root: self.checkpoint.then(|| ledger.root()),
            table: snapshot.then(|| ledger.copy()),
        }
    }
}

impl Executed {
    /// Bytes of the account table afterwards.
    pub fn table_bytes(&self) -> u64 {
        table_bytes(self.accounts)
    }
}

fn table_bytes(accounts: u32) -> u64 {
    u64::from(accounts) * size_of::<Account>() as u64
}

/// The places of the vertices with a bad signature, be it their own or that of a vote in them, ascending.
fn check_vertices<'a>(shared: &Shared, vertices: impl Iterator<Item = &'a SignedVertex>) -> Vec<usize> {
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for (place, signed) in vertices.enumerate() {
        let vertex = &signed.vertex;
        let signer = vertex.author.index();
        claims.push(Claim { signer, message: signed.digest(&shared.chain), signature: &signed.signature });
        for vote in vertex.checkpoint_votes() {
            let message = wire::checkpoint_digest(&shared.chain, vertex.epoch, vote.height, &vote.hash);
            claims.push(Claim { signer, message, signature: &vote.signature });
        }
        places.resize(claims.len(), place);
    }
    let mut bad: Vec<usize> = shared.seat_keys.bad(&claims).into_iter().map(|claim| places[claim]).collect();
    bad.dedup();
    bad
}

fn check_batch(shared: &Shared, batch: &Batch) -> Result<(), BatchError> {
    let author = batch.header.author;
    let unsigned = |reason| Err(BatchError { reason, signed: false });
    if !shared.committee.has(author) {
        return unsigned("author without a seat");
    }
    // Before the columns are hashed: whoever invents a batch pays for no more than this.
    if !shared.seat_keys.verify(author.index(), &batch.digest(&shared.chain), &batch.header.signature) {
        return unsigned("bad header signature");
    }
    let signed = |reason| BatchError { reason, signed: true };
    if batch.header.content != shared.rules.content {
        return Err(signed("content that this chain does not carry"));
    }
    if !batch.roots_match() {
        return Err(signed("columns do not match the roots"));
    }
    batch.rows().check(&shared.rules, batch.header.accounts).map_err(|error| signed(error.reason))
}

/// The positions of all rows whose signature is bad, ascending: one verification batch, wherever the rows come
/// from. Every account number must have its key in the table; a number that does not counts as bad, and so does an open
/// row without a key.
pub fn verify_rows<'a>(
    chain: &ChainId,
    keys: &KeyTable,
    rows: impl IntoIterator<Item = Row<'a>>,
) -> Vec<usize> {
    let (mut items, mut places, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (place, Row { effect, key, witness }) in rows.into_iter().enumerate() {
        let to_key = match Kind::from_byte(effect.kind) {
            Some(Kind::Open) => key.copied(),
            _ => keys.key(effect.to.get()),
        };
        let (Some(from), Some(to_key)) = (keys.prepared(effect.from.get()), to_key) else {
            bad.push(place);
            continue;
        };
        let message = wire::transaction_digest(chain, effect, from.bytes(), &to_key);
        items.push(crypto::Item { key: from, message, signature: &witness.0 });
        places.push(place);
    }
    if let Err(indices) = crypto::verify_batch(&items) {
        bad.extend(indices.into_iter().map(|index| places[index]));
        bad.sort_unstable();
    }
    bad
}
