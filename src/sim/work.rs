//! Heavy work: what it costs on the modelled hardware, and running it, in full or with a verdict that is known.

use super::calibration::Calibration;
use super::config::Crypto;
use crate::node::Shared;
use crate::node::jobs::{BatchError, Done, ExecuteJob, Job};
use crate::types::{BatchId, VertexId};
use crate::wire::Batch;
use crate::wire::client::Submission;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Verdicts remembered at most, of each kind; then all are forgotten, and come about again.
const REMEMBERED_MAX: usize = 1 << 18;

/// A piece of work on its way through a node's cores.
#[derive(Debug)]
pub enum Work {
    /// For the verification pool.
    Job(Job),
    /// For the executor.
    Execute(ExecuteJob),
    /// Clients' rows, to be verified and admitted.
    Admit(Vec<Submission>),
}

/// What a job costs, in nanoseconds.
pub fn job_cost(job: &Job, calibration: &Calibration) -> u64 {
    match job {
        Job::CheckVertex { vertex, .. } => {
            calibration.verify_single_ns * (1 + vertex.vertex.checkpoint_votes().len() as u64)
        }
        Job::CheckEvidence(_) => rows_cost(2, calibration),
        Job::CheckCertificate { certificate, .. } => rows_cost(certificate.votes.len(), calibration),
        Job::CheckBatch { batch, .. } => calibration.verify_single_ns + calibration.hash(batch.bytes().len()),
        Job::CheckPiece { piece, .. } => calibration.hash(piece.proof().len()),
        Job::TakeTable { table, .. } => calibration.execute_row_ns * table.len() as u64,
        Job::VerifyRows(batch) => rows_cost(batch.rows().len(), calibration),
        Job::TakeOver { submissions, .. } => {
            rows_cost(submissions.iter().map(|rows| rows.rows().len()).sum(), calibration)
        }
        Job::Seal { rows, .. } => calibration.sign_ns + calibration.hash(rows.effects.len() * 96),
        Job::SealBlobs { blobs, .. } => calibration.sign_ns + calibration.hash(blobs.column().len()),
    }
}

/// What checking so many rows as one batch costs.
pub fn rows_cost(rows: usize, calibration: &Calibration) -> u64 {
    match rows as u64 {
        0 => 0,
        1 => calibration.verify_single_ns,
        rows => rows * calibration.verify_batch_ns + calibration.verify_single_ns,
    }
}

/// What executing a block costs: its rows, and at a checkpoint hashing the account table.
pub fn execute_cost(job: &ExecuteJob, shared: &Shared, calibration: &Calibration) -> u64 {
    let rows: usize = job.batches.iter().map(|batch| batch.rows().len()).sum();
    let table = if job.checkpoint { shared.ledger.len() as usize * 64 } else { 0 };
    rows as u64 * calibration.execute_row_ns + calibration.hash(table)
}

/// Runs jobs for all nodes of a world. With [`Crypto::Cached`] the first verdict on a vertex or batch serves all: it is
/// a pure function of bytes that are the same everywhere. (Rows are verified only once the accounts that the header
/// counts are executed, and those are the same on every node; the checkers hold this.)
pub struct Verdicts {
    crypto: Crypto,
    vertices: BTreeMap<(VertexId, [u8; 64]), bool>,
    /// The bytes that the verdict is about are kept and compared: an id does not cover the columns.
    batches: BTreeMap<BatchId, (Bytes, Result<(), BatchError>)>,
    rows: BTreeMap<BatchId, (Bytes, Option<usize>)>,
}

impl Verdicts {
    /// Nothing is known yet.
    pub fn new(crypto: Crypto) -> Verdicts {
        Verdicts { crypto, vertices: BTreeMap::new(), batches: BTreeMap::new(), rows: BTreeMap::new() }
    }

    /// Does a job.
    pub fn run(&mut self, job: Job, shared: &Shared) -> Done {
        if self.crypto == Crypto::Real {
            return job.run(shared);
        }
        self.known(&job).unwrap_or_else(|| {
            let bytes = match &job {
                Job::CheckBatch { batch, .. } | Job::VerifyRows(batch) => Some(batch.bytes().clone()),
                _ => None,
            };
            let done = job.run(shared);
            self.remember(&done, bytes);
            done
        })
    }

    fn known(&self, job: &Job) -> Option<Done> {
        match job {
            Job::CheckVertex { from, vertex } => {
                let good = *self.vertices.get(&(vertex.id, vertex.signature))?;
                Some(Done::Vertex { from: *from, vertex: vertex.clone(), good })
            }
            Job::CheckBatch { from, batch } => {
                let result = verdict(&self.batches, batch)?;
                Some(Done::Batch { from: *from, batch: batch.clone(), result })
            }
            Job::VerifyRows(batch) => {
                Some(Done::Verified { batch: batch.reference(), bad_row: verdict(&self.rows, batch)? })
            }
            Job::CheckCertificate { .. }
            | Job::CheckEvidence(_)
            | Job::CheckPiece { .. }
            | Job::TakeTable { .. }
            | Job::TakeOver { .. }
            | Job::Seal { .. }
            | Job::SealBlobs { .. } => None,
        }
    }

    fn remember(&mut self, done: &Done, bytes: Option<Bytes>) {
        match (done, bytes) {
            (Done::Vertex { vertex, good, .. }, _) => {
                room(&mut self.vertices).insert((vertex.id, vertex.signature), *good);
            }
            (Done::Batch { batch, result, .. }, Some(bytes)) => {
                room(&mut self.batches).insert(batch.id, (bytes, *result));
            }
            (Done::Verified { batch, bad_row }, Some(bytes)) => {
                room(&mut self.rows).insert(batch.id, (bytes, *bad_row));
            }
            _ => {}
        }
    }
}

fn verdict<V: Copy>(known: &BTreeMap<BatchId, (Bytes, V)>, batch: &Batch) -> Option<V> {
    let (bytes, verdict) = known.get(&batch.id)?;
    (bytes == batch.bytes()).then_some(*verdict)
}

fn room<K: Ord, V>(map: &mut BTreeMap<K, V>) -> &mut BTreeMap<K, V> {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
    map
}
