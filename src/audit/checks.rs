//! Signatures and roots, checked by a pool in pieces as large as pay.

use super::fault::fault;
use super::replay::{Read, Replay};
use super::{AuditError, Fault};
use crate::consensus::verify_certificate;
use crate::crypto::{Claim, KeySet};
use crate::ledger::Ledger;
use crate::node::jobs::verify_rows;
use crate::store::Place;
use crate::types::{Certificate, ChainId, Epoch, Height, Rules};
use crate::wire::{Batch, SignedVertex, checkpoint_digest};
use crossbeam::channel::{Receiver, Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of one piece for each thread: the longest multiplication that still pays.
const ROWS_PER_THREAD: usize = 4096;
/// Batches, or rows in them, of one piece of roots and headers.
const HEADS: usize = 32;
const HEAD_ROWS: usize = 16_384;
/// Vertices of one piece.
const VERTICES: usize = 256;

/// What the pieces read.
struct Context {
    dir: PathBuf,
    chain: ChainId,
    epoch: Epoch,
    rules: Rules,
    seats: KeySet,
    ledger: Arc<Ledger>,
}

/// A record and the block that cannot be trusted without it.
struct Of<T> {
    place: Place,
    height: Height,
    what: T,
}

/// What was checked of a record. Of several faults of one record the lowest counts, whichever thread was the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    Signature,
    Columns,
    Rows,
}

/// Which fault counts: that in the first record.
type Order = (Place, Check);

type Faults = Vec<(Order, Box<Fault>)>;

/// The pool, what waits for it, and what it found.
pub(super) struct Checks {
    pool: ThreadPool,
    context: Arc<Context>,
    verdicts: (Sender<std::thread::Result<Faults>>, Receiver<std::thread::Result<Faults>>),
    in_flight: usize,
    in_flight_max: usize,
    rows_max: usize,
    /// Settled batches whose rows wait, and how many these are.
    settled: (Vec<Of<Batch>>, usize),
    /// Batches whose roots wait, with whether the header's signature does too, and their rows.
    heads: (Vec<Of<(Batch, bool)>>, usize),
    vertices: Vec<Of<Arc<SignedVertex>>>,
    faults: Faults,
    /// Signatures handed to the pool: of rows, of batches, of vertices, in certificates.
    counts: [u64; 4],
}

impl Checks {
    pub(super) fn new(replay: &Replay, dir: PathBuf, threads: usize) -> Result<Checks, AuditError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|thread| format!("audit-{thread}"))
            .build()
            .map_err(|error| AuditError::Threads(error.to_string()))?;
        let context = Context {
            dir,
            chain: replay.chain,
            epoch: replay.genesis.committee().epoch,
            rules: replay.genesis.rules,
            seats: KeySet::new(replay.genesis.seats.iter().map(|seat| &seat.key.0)),
            ledger: replay.ledger.clone(),
        };
        // So many that no thread ever waits for the replay; each holds at most a piece of records.
        let in_flight_max = threads + 2;
        Ok(Checks {
            pool,
            context: Arc::new(context),
            verdicts: bounded(in_flight_max),
            in_flight: 0,
            in_flight_max,
            rows_max: ROWS_PER_THREAD * threads,
            settled: (Vec::new(), 0),
            heads: (Vec::new(), 0),
            vertices: Vec::new(),
            faults: Vec::new(),
            counts: [0; 4],
        })
    }

    /// A vertex: its signature.
    pub(super) fn vertex(&mut self, place: Place, height: Height, vertex: Arc<SignedVertex>) {
        self.counts[2] += 1;
        self.vertices.push(Of { place, height, what: vertex });
        if self.vertices.len() >= VERTICES {
            self.flush_vertices();
        }
    }

    /// A batch: roots and form, and the signature of its header if `signed`.
    pub(super) fn head(&mut self, place: Place, height: Height, batch: Batch, signed: bool) {
        self.counts[1] += u64::from(signed);
        self.heads.1 += batch.header.rows as usize;
        self.heads.0.push(Of { place, height, what: (batch, signed) });
        if self.heads.0.len() >= HEADS || self.heads.1 >= HEAD_ROWS {
            self.flush_heads();
        }
    }

    /// A settled batch: the signatures of its rows.
    pub(super) fn rows(&mut self, height: Height, read: Read) {
        let rows = read.batch.rows().len();
        self.counts[0] += rows as u64;
        self.settled.1 += rows;
        self.settled.0.push(Of { place: read.place, height, what: read.batch });
        if self.settled.1 >= self.rows_max {
            self.flush_rows();
        }
    }

    /// A certificate: the votes of a quorum. There are few.
    pub(super) fn certificate(&mut self, place: Place, height: Height, certificate: Certificate) {
        self.counts[3] += certificate.votes.len() as u64;
        self.spawn(vec![Of { place, height, what: certificate }], check_certificates);
    }

    /// Whether something bad was found already.
    pub(super) fn failed(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Waits for everything and returns the first fault in the order of the log.
    pub(super) fn finish(mut self) -> (Option<(Place, Box<Fault>)>, [u64; 4]) {
        self.flush_vertices();
        self.flush_heads();
        self.flush_rows();
        while self.in_flight > 0 {
            self.hear();
        }
        let first = std::mem::take(&mut self.faults).into_iter().min_by_key(|(order, _)| *order);
        (first.map(|((place, _), fault)| (place, fault)), self.counts)
    }

    fn flush_vertices(&mut self) {
        let vertices = std::mem::take(&mut self.vertices);
        self.spawn(vertices, check_vertices);
    }

    fn flush_heads(&mut self) {
        let (heads, _) = std::mem::take(&mut self.heads);
        self.spawn(heads, check_heads);
    }

    fn flush_rows(&mut self) {
        let (settled, _) = std::mem::take(&mut self.settled);
        self.spawn(settled, check_rows);
    }

    /// Hands a piece to the pool; waits while that has enough to do.
    fn spawn<T: Send + 'static>(&mut self, piece: Vec<Of<T>>, check: fn(&Context, &[Of<T>]) -> Faults) {
        if piece.is_empty() {
            return;
        }
        while self.in_flight >= self.in_flight_max {
            self.hear();
        }
        self.in_flight += 1;
        let (context, verdicts) = (self.context.clone(), self.verdicts.0.clone());
        self.pool.spawn(move || {
            let faults = catch_unwind(AssertUnwindSafe(|| check(&context, &piece)));
            let _ = verdicts.send(faults); // nobody listens after a panic
        });
    }

    fn hear(&mut self) {
        let verdict = self.verdicts.1.recv().expect("this end holds a sender too");
        self.in_flight -= 1;
        match verdict {
            Ok(faults) => self.faults.extend(faults),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Context {
    fn fault<T>(&self, of: &Of<T>, check: Check, found: String, expected: &str) -> (Order, Box<Fault>) {
        ((of.place, check), fault(&self.dir, of.place, of.height, found, expected))
    }
}

/// The signatures of vertices and of the checkpoint votes in them.
fn check_vertices(context: &Context, vertices: &[Of<Arc<SignedVertex>>]) -> Faults {
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for (place, of) in vertices.iter().enumerate() {
        let vertex = &of.what.vertex;
        let (signer, signature) = (vertex.author.index(), &of.what.signature);
        claims.push(Claim { signer, message: of.what.digest(&context.chain), signature });
        for vote in vertex.checkpoint_votes() {
            let message = checkpoint_digest(&context.chain, vertex.epoch, vote.height, &vote.hash);
            claims.push(Claim { signer, message, signature: &vote.signature });
        }
        places.resize(claims.len(), place);
    }
    let mut bad: Vec<usize> = context.seats.bad(&claims).into_iter().map(|claim| places[claim]).collect();
    bad.dedup();
    let fault = |at: usize| {
        let of = &vertices[at];
        let (round, author) = (of.what.vertex.round, of.what.vertex.author);
        let found = format!("a vertex of round {round} with a signature that does not hold");
        context.fault(of, Check::Signature, found, &format!("signatures of seat {author}"))
    };
    bad.into_iter().map(fault).collect()
}

fn check_heads(context: &Context, heads: &[Of<(Batch, bool)>]) -> Faults {
    let claims = heads.iter().filter(|of| of.what.1).map(|of| Claim {
        signer: of.what.0.header.author.index(),
        message: of.what.0.digest(&context.chain),
        signature: &of.what.0.header.signature,
    });
    let bad = context.seats.bad(&claims.collect::<Vec<_>>());
    let signed: Vec<_> = heads.iter().filter(|of| of.what.1).collect();
    let mut faults: Faults = Vec::new();
    for at in bad {
        let of = signed[at];
        let expected = format!("a signature of its author, seat {}", of.what.0.header.author);
        let found = "a batch whose header is not signed by its author".to_owned();
        faults.push(context.fault(of, Check::Signature, found, &expected));
    }
    for of in heads {
        let batch = &of.what.0;
        if !batch.roots_match() {
            let found = "a batch whose columns do not have the roots of its header".to_owned();
            faults.push(context.fault(of, Check::Columns, found, "columns with those roots"));
        } else if let Err(error) = batch.rows().check(&context.rules, batch.header.accounts) {
            let found = format!("a batch whose {error}");
            faults.push(context.fault(of, Check::Columns, found, "rows that the rules allow"));
        }
    }
    faults
}

fn check_rows(context: &Context, settled: &[Of<Batch>]) -> Faults {
    let rows = settled.iter().flat_map(|of| of.what.rows().iter());
    let bad = verify_rows(&context.chain, context.ledger.keys(), rows);
    let mut faults = Faults::new();
    let mut first = 0;
    for of in settled {
        let rows = of.what.rows();
        let row = bad.iter().find(|at| (first..first + rows.len()).contains(*at)).map(|at| at - first);
        if let Some(row) = row {
            let (id, from) = (of.what.id, rows.effects[row].from.get());
            let found = format!("batch {id}, settled, whose row {row} is not signed by its sender");
            faults.push(context.fault(of, Check::Rows, found, &format!("a signature of account {from}")));
        }
        first += rows.len();
    }
    faults
}

fn check_certificates(context: &Context, certificates: &[Of<Certificate>]) -> Faults {
    let fault = |of: &Of<Certificate>| {
        let error = verify_certificate(&of.what, &context.chain, context.epoch, &context.seats).err()?;
        Some(context.fault(of, Check::Signature, error.to_string(), "the votes of a quorum"))
    };
    certificates.iter().filter_map(fault).collect()
}
