//! Checking a directory from genesis to tip.

use super::checks::Checks;
use super::fault;
use super::open::{Directory, Unopened};
use super::replay::{Replay, Step};
use super::{AuditError, Fault};
use crate::store::{Place, RecordKind, Store, StoreError, TornTail};
use crate::types::Height;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::Serialize;
use std::path::Path;

/// Records between the thread that reads and the one that replays: at most 64 batches of 512 KiB.
const READ_AHEAD: usize = 64;
/// How many records are replayed between two looks at the caller's watch.
const LOOK: u64 = 64;

/// How much is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Signatures are checked of what belongs to this block and later ones; everything before is read, hashed and
    /// executed all the same, for the state follows from it. From 1.
    pub from_height: u64,
    /// Whether signatures are checked at all.
    pub signatures: bool,
    /// Threads that check signatures.
    pub threads: usize,
}

/// Signatures that were checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Signatures {
    /// Of transactions.
    pub transactions: u64,
    /// Of batches, by their authors.
    pub batches: u64,
    /// Of vertices, by theirs.
    pub vertices: u64,
    /// In certificates of checkpoints.
    pub certificates: u64,
}

/// What was checked, up to the end or to the first fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The name in the genesis.
    pub name: String,
    /// The chain id.
    pub chain: String,
    /// The last block that was replayed.
    pub height: u64,
    /// Its hash.
    pub hash: String,
    /// Transactions (or blobs) that blocks settled.
    pub transactions: u64,
    /// Those with the outcome `ok`.
    pub ok: u64,
    /// Batches read, settled or not.
    pub batches: u64,
    /// Vertices read.
    pub vertices: u64,
    /// Blocks whose state root was compared, and the height of the last of them.
    pub checkpoints: u64,
    /// See above; 0 without any.
    pub last_checkpoint: u64,
    /// Certificates of checkpoints, and the last height that one of them is of: up to there a quorum has signed the
    /// chain itself.
    pub certificates: u64,
    /// See above; 0 without any.
    pub certified: u64,
    /// Validators that are proven to have lied.
    pub liars: u64,
    /// Signatures checked.
    pub signatures: Signatures,
    /// Accounts after the last block.
    pub accounts: u32,
    /// The root of the account table after the last block: what `b3sum` prints for its bytes.
    pub root: String,
    /// Bytes of block files read.
    pub bytes: u64,
    /// The height of the snapshot at which the replay began, or began anew, since what lies before was removed or never here;
    /// 0 if it began at the genesis. What blocks of removed segments are left were checked as links of the chain.
    pub began: u64,
    /// Blocks that are not here, since the node began anew at the account table of a checkpoint after them.
    pub missing: u64,
    /// Snapshots that have the account root of their checkpoint.
    pub snapshots: u64,
}

/// The verdict on a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verified {
    /// What was checked.
    pub report: Report,
    /// The first thing that is wrong, if anything is.
    pub fault: Option<Fault>,
}

/// What the reading thread has for the replay.
enum Read {
    Record(Place, RecordKind, Bytes),
    Progress(u64, u64),
    End(Option<TornTail>),
    Failed(StoreError),
}

/// Checks a directory. `watch` is told bytes done and bytes in all, and ends the work by answering true.
///
/// A torn tail, which opening a node would cut, counts as a fault: after a crash it is to be expected, but it cannot be
/// told from meddling with the newest records.
///
/// # Errors
/// [`AuditError`] if nothing can be said about the directory.
pub fn verify(
    dir: &Path,
    options: &Options,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Verified, AuditError> {
    let mut directory = match Directory::open(dir) {
        Ok(directory) => directory,
        Err(Unopened::Refused(error)) => return Err(error),
        Err(Unopened::Faulty(fault)) => {
            return Ok(Verified { report: Report::nothing(), fault: Some(*fault) });
        }
    };
    let mut replay = match Replay::begin(&directory) {
        Ok(replay) => replay,
        Err(AuditError::Fault(fault)) => {
            return Ok(Verified { report: Report::nothing(), fault: Some(*fault) });
        }
        Err(error) => return Err(error),
    };
    let mut checks = Checks::new(&replay, dir.to_owned(), options.threads)?;
    let (sender, receiver) = bounded(READ_AHEAD);
    let (ended, bytes) = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new().name("audit-read".to_owned());
        let records = &mut directory.records;
        let spawned = reading.spawn_scoped(scope, move || read(records, &sender));
        spawned.map_err(|error| AuditError::Threads(error.to_string()))?;
        let mut run = Run { options, replay: &mut replay, checks: &mut checks, bytes: 0 };
        // The receiver goes with the end of this scope, which ends the reading.
        run.follow(receiver, watch).map(|fault| (fault, run.bytes))
    })?;
    let (bad, counts) = checks.finish();
    if ended.is_none() && options.from_height > replay.tip.0.0.max(1) {
        return Err(AuditError::Beyond { asked: options.from_height, tip: replay.tip.0.0 });
    }
    // A signature may be bad in a record before the one where the replay stopped.
    let first = bad.into_iter().chain(ended).min_by_key(|(place, _)| *place);
    let mut fault = first.map(|(_, fault)| *fault);
    let mut snapshots = 0;
    if fault.is_none() {
        match replay.check_snapshots()? {
            Ok(count) => snapshots = count,
            Err(wrong) => fault = Some(*wrong),
        }
    }
    if fault.is_none() {
        // Last, for nothing of the chain depends on it.
        let guard = Store::check_guard(dir, &replay.chain.0);
        let found = guard.map_or_else(|error| fault::of_store(error, replay.next()).map(Some), |()| Ok(None));
        fault = found.map_err(AuditError::Store)?.map(|fault| *fault);
    }
    Ok(Verified { report: Report { snapshots, ..Report::of(&replay, counts, bytes) }, fault })
}

/// Replays a whole directory without checking signatures or column roots, and tells `see` of every record
/// until that answers false.
///
/// # Errors
/// The first fault, or what kept the directory from being read.
pub(super) fn replay_all(
    directory: &mut Directory,
    replay: &mut Replay,
    watch: &dyn Fn(u64, u64) -> bool,
    see: &mut dyn FnMut(&Replay, Place, Step) -> bool,
) -> Result<(), AuditError> {
    let mut count = 0u64;
    while let Some(record) = directory.records.next() {
        let (done, total) = directory.records.progress();
        if count.is_multiple_of(LOOK) && watch(done, total) {
            return Err(AuditError::Interrupted);
        }
        count += 1;
        let (kind, bytes) = record.map_err(|error| match fault::of_store(error, replay.next()) {
            Ok(fault) => AuditError::Fault(fault),
            Err(error) => AuditError::Store(error),
        })?;
        let place = directory.records.place();
        let step = replay.record(place, kind, bytes).map_err(AuditError::Fault)?;
        if !see(replay, place, step) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads and checks records until the end, a fault, or nobody listens.
fn read(records: &mut crate::store::RecordIter, sender: &Sender<Read>) {
    let mut segment = 0;
    loop {
        let next = match records.next() {
            Some(Ok((kind, bytes))) => Read::Record(records.place(), kind, bytes),
            Some(Err(error)) => Read::Failed(error),
            None => Read::End(records.torn().cloned()),
        };
        let over = !matches!(next, Read::Record(..));
        let (done, total) = records.progress();
        if (records.place().segment != segment || over) && sender.send(Read::Progress(done, total)).is_err() {
            return;
        }
        segment = records.place().segment;
        if sender.send(next).is_err() || over {
            return;
        }
    }
}

/// The replay of a log while it is read.
struct Run<'a> {
    options: &'a Options,
    replay: &'a mut Replay,
    checks: &'a mut Checks,
    bytes: u64,
}

type Ended = Option<(Place, Box<Fault>)>;

impl Run<'_> {
    /// Follows the log to its end or to its first fault.
    fn follow(
        &mut self,
        receiver: Receiver<Read>,
        watch: &dyn Fn(u64, u64) -> bool,
    ) -> Result<Ended, AuditError> {
        let mut last = Place { segment: 1, offset: 0 };
        let (mut before, mut total, mut count) = (0, 0, 0u64);
        for read in receiver {
            if count.is_multiple_of(LOOK) && watch(before + last.offset, total) {
                return Err(AuditError::Interrupted);
            }
            count += 1;
            match read {
                Read::Progress(done, of) => (before, total) = (done, of),
                Read::Record(place, kind, bytes) => {
                    self.bytes += bytes.len() as u64;
                    last = place;
                    if let Err(fault) = self.record(place, kind, bytes) {
                        return Ok(Some((place, fault)));
                    }
                }
                Read::End(torn) => return Ok(torn.map(|torn| (after(last), self.torn(torn)))),
                Read::Failed(error) => {
                    let fault = fault::of_store(error, self.replay.next()).map_err(AuditError::Store)?;
                    return Ok(Some((after(last), fault)));
                }
            }
            if self.checks.failed() {
                // What was handed to the pool is all before this place.
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn torn(&self, torn: TornTail) -> Box<Fault> {
        let TornTail { file, offset, bytes } = torn;
        let found = format!(
            "{bytes} bytes that are no whole record, as after a crash: a node that starts here cuts them"
        );
        let expected = "a whole record or zeros".to_owned();
        Box::new(Fault { file, offset, height: self.replay.next().0, found, expected })
    }

    fn record(&mut self, place: Place, kind: RecordKind, bytes: Bytes) -> Result<(), Box<Fault>> {
        let height = self.replay.next();
        let signed = self.signed(height);
        match self.replay.record(place, kind, bytes)? {
            Step::Vertex(vertex) if signed => self.checks.vertex(place, height, vertex),
            Step::Certificate(certificate) if signed => self.checks.certificate(place, height, certificate),
            Step::Vertex(_) | Step::Certificate(_) | Step::Evidence => {}
            Step::Settlement | Step::Passed { .. } => {}
            Step::Batch(batch) => {
                if signed {
                    self.replay.mark_checked(&batch.id);
                }
                self.checks.head(place, height, batch, signed);
            }
            Step::Block { block, settled, .. } if self.signed(block.height) => {
                for read in settled {
                    if !read.checked {
                        self.checks.head(read.place, height, read.batch.clone(), true);
                    }
                    self.checks.rows(height, read);
                }
            }
            Step::Block { .. } => {}
        }
        Ok(())
    }

    fn signed(&self, height: Height) -> bool {
        self.options.signatures && height.0 >= self.options.from_height
    }
}

/// A place behind a record and before the next.
fn after(place: Place) -> Place {
    Place { offset: place.offset + 1, ..place }
}

impl Report {
    fn nothing() -> Report {
        Report {
            name: String::new(),
            chain: String::new(),
            height: 0,
            hash: String::new(),
            transactions: 0,
            ok: 0,
            batches: 0,
            vertices: 0,
            checkpoints: 0,
            last_checkpoint: 0,
            certificates: 0,
            certified: 0,
            liars: 0,
            signatures: Signatures::default(),
            accounts: 0,
            root: String::new(),
            bytes: 0,
            began: 0,
            missing: 0,
            snapshots: 0,
        }
    }

    fn of(replay: &Replay, [transactions, batches, vertices, certificates]: [u64; 4], bytes: u64) -> Report {
        let totals = &replay.totals;
        Report {
            name: replay.genesis.name.clone(),
            chain: replay.chain.to_string(),
            height: replay.tip.0.0,
            hash: replay.tip.1.to_string(),
            transactions: totals.rows,
            ok: totals.ok,
            batches: totals.batches,
            vertices: totals.vertices,
            checkpoints: totals.checkpoints,
            last_checkpoint: totals.checkpoint,
            certificates: totals.certificates,
            certified: totals.certified,
            liars: totals.liars,
            signatures: Signatures { transactions, batches, vertices, certificates },
            accounts: replay.ledger.len(),
            root: replay.ledger.root().to_string(),
            bytes,
            began: replay.began().0,
            missing: totals.missing,
            snapshots: 0,
        }
    }
}
