//! A node's other threads: the verification pool, the executor, and the way back from them and from the disk.

use super::config::*;
use super::turns::{Standing, Turns};
use crate::metrics::{Metrics, Stage, thread_cpu};
use crate::node::Shared;
use crate::node::ingress::{Admission, admit};
use crate::node::jobs::{Done, ExecuteJob, Job};
use crate::store::{Kept, StoreError, Synced};
use crate::wire::Message;
use crate::wire::client::{Refusal, Submission};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use mio::Token;
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What other threads report to the event loop.
#[derive(Debug)]
pub enum Report {
    /// A job of the pool is finished.
    Verified(Done),
    /// Clients' rows were worked through.
    Admitted(Admitted),
    /// A block was executed.
    Executed(Done),
    /// Records are durable.
    Synced(Vec<Synced>),
    /// Why the disk has no room for what comes next; `None`: it has again.
    Room(Option<StoreError>),
    /// An errand beside the log is done, or failed.
    Kept(Kept),
    /// What a peer wanted was looked up on disk.
    Served(Vec<Message>),
    /// A name was looked up: its number, and its addresses or why there are none.
    Found {
        /// Its number.
        number: usize,
        /// What came of it.
        found: Result<Vec<SocketAddr>, String>,
    },
    /// A thread cannot go on; why.
    Died(String),
    /// Somebody wants the node to stop.
    Stop,
}

/// Clients' rows that were verified together, and what became of them.
#[derive(Debug)]
pub struct Admitted {
    standing: Standing,
    /// Every submission's answer.
    pub answers: Vec<(Origin, Admission)>,
}

/// Where rows came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client.
    pub client: Token,
    /// Its number for the submission.
    pub id: u64,
    /// How many rows.
    pub rows: usize,
}

/// The way back to the event loop. It needs no bound of its own, because each sender limits itself: the pool has as
/// many tasks as threads, the executor [`EXECUTE_QUEUE`] blocks, the disk what its queue holds, the keeper one errand, the resolver one name.
pub struct Mailbox {
    sender: Sender<Report>,
    waker: mio::Waker,
    woken: AtomicBool,
}

impl Mailbox {
    /// A mailbox that wakes through `waker`, and its reading end.
    pub fn new(waker: mio::Waker) -> (Arc<Mailbox>, Receiver<Report>) {
        let (sender, receiver) = unbounded();
        (Arc::new(Mailbox { sender, waker, woken: AtomicBool::new(false) }), receiver)
    }

    /// Reports, and wakes the loop unless it was woken already and has not looked yet.
    pub fn post(&self, report: Report) {
        // The loop is gone only when the node has stopped.
        let _ = self.sender.send(report);
        if !self.woken.swap(true, Ordering::SeqCst) {
            let _ = self.waker.wake();
        }
    }

    /// The loop is about to look: whatever is posted from now on wakes it again. Of two exchanges of one word one comes first: if
    /// it is the other's, what was posted before it is seen by the look after this one; if it is this one, the other finds that
    /// nobody was woken. (After a mere store the look could come too early.)
    pub fn looking(&self) {
        self.woken.swap(false, Ordering::SeqCst);
    }
}

/// What a panic said.
pub fn panic_words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// The verification pool with its queues: at most one task per thread is handed to it, so that batches of validators
/// go before clients' rows whatever waits.
pub struct Verifiers {
    pool: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    mailbox: Arc<Mailbox>,
    free: usize,
    /// Bounded by what the protocol lets be unsettled: a window per author.
    jobs: VecDeque<Job>,
    /// Rows that validators handed on: one job of each.
    handed: VecDeque<Job>,
    /// Whether clients' rows went first the last time: they and those take turns.
    clients_first: bool,
    /// Bounded by the mempool's room, which is reserved before a row is read.
    submissions: Turns<(Origin, Submission)>,
}

thread_local! {
    /// CPU time of this thread that was counted already.
    static COUNTED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Counts what this thread of a pool has used since it was counted last. Parts of a task that another thread took
/// over are counted when that thread finishes a task or ends; nothing is counted twice.
fn count_cpu(metrics: &Metrics) {
    let now = thread_cpu();
    let before = COUNTED.replace(now);
    metrics.add_cpu(Stage::Verify, now.saturating_sub(before));
}

impl Verifiers {
    /// Starts the threads.
    pub fn start(
        threads: usize,
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
        mailbox: Arc<Mailbox>,
    ) -> io::Result<Verifiers> {
        let mut handles = Vec::with_capacity(threads);
        let (counted, seat) = (metrics.clone(), shared.seat);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .exit_handler(move |_| count_cpu(&counted))
            .spawn_handler(|thread| {
                let name = format!("verify-{seat}-{}", thread.index());
                handles.push(std::thread::Builder::new().name(name).spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .map_err(io::Error::other)?;
        Ok(Verifiers {
            pool: Some(pool),
            threads: handles,
            shared,
            metrics,
            mailbox,
            free: threads,
            jobs: VecDeque::new(),
            handed: VecDeque::new(),
            clients_first: false,
            submissions: Turns::default(),
        })
    }

    /// A batch of a validator to be verified, or rows that it handed on.
    pub fn verify(&mut self, job: Job) {
        let queue = if matches!(job, Job::TakeOver { .. }) { &mut self.handed } else { &mut self.jobs };
        queue.push_back(job);
    }

    /// A client's rows.
    pub fn submit(&mut self, client: Token, id: u64, rows: Submission) {
        let origin = Origin { client, id, rows: rows.rows().len() };
        self.submissions.push(client, origin.rows, (origin, rows));
    }

    /// A client has hung up.
    pub fn left(&mut self, client: Token) {
        self.submissions.left(client);
    }

    /// Rows of clients read and not yet admitted or refused: of all, of newcomers, of suspects.
    pub fn rows_in_flight(&self) -> [usize; 3] {
        let of = |standing| self.submissions.rows_of(standing);
        [self.submissions.rows(), of(Standing::Newcomer), of(Standing::Suspect)]
    }

    /// Clients' rows were worked through: lets each client's next turns follow from that. Who has another standing now.
    pub fn admitted(&mut self, admitted: &Admitted) -> Vec<(Token, Standing)> {
        let is_bad =
            |answer: &Admission| answer.refused.iter().any(|(_, refusal)| *refusal == Refusal::BadSignature);
        let rows = admitted.answers.iter().map(|(origin, _)| origin.rows).sum();
        let any_bad = admitted.answers.iter().any(|(_, answer)| is_bad(answer));
        self.submissions.verified(admitted.standing, rows, any_bad);
        let changed = |(origin, answer): &(Origin, Admission)| {
            let (client, accepted) = (origin.client, answer.accepted as usize);
            let standing = self.submissions.answered(client, origin.rows, accepted, is_bad(answer))?;
            Some((client, standing))
        };
        admitted.answers.iter().filter_map(changed).collect()
    }

    /// A task reported: its thread is free.
    pub fn finished(&mut self) {
        self.free += 1;
    }

    /// Hands out work to free threads.
    pub fn dispatch(&mut self) {
        while self.free > 0 {
            if let Some(job) = self.jobs.pop_front() {
                let rows = if let Job::VerifyRows(batch) = &job { batch.rows().len() } else { 0 };
                Metrics::add(&self.metrics.signatures_checked, rows as u64);
                self.spawn(move |shared| Report::Verified(job.run(shared)));
            } else {
                self.clients_first = !self.clients_first;
                let done = match self.clients_first {
                    true => self.admit_next() || self.take_over_next(),
                    false => self.take_over_next() || self.admit_next(),
                };
                if !done {
                    return;
                }
            }
        }
    }

    /// Hands out clients' rows, if some wait.
    fn admit_next(&mut self) -> bool {
        let Some(together) = self.submissions.next() else { return false };
        self.spawn(move |shared| {
            let parts = together.parts.into_iter().map(|(_, part)| part);
            let (origins, rows): (Vec<_>, Vec<_>) = parts.unzip();
            let answers = origins.into_iter().zip(admit(shared, &rows)).collect();
            Report::Admitted(Admitted { standing: together.standing, answers })
        });
        true
    }

    /// Hands out what a validator handed on, if some waits.
    fn take_over_next(&mut self) -> bool {
        let Some(job) = self.handed.pop_front() else { return false };
        self.spawn(move |shared| Report::Verified(job.run(shared)));
        true
    }

    pub(super) fn spawn(&mut self, work: impl FnOnce(&Shared) -> Report + Send + 'static) {
        self.free -= 1;
        let (shared, metrics, mailbox) = (self.shared.clone(), self.metrics.clone(), self.mailbox.clone());
        let Some(pool) = &self.pool else { return };
        pool.spawn(move || {
            let report = catch_unwind(AssertUnwindSafe(|| work(&shared)));
            count_cpu(&metrics);
            mailbox.post(report.unwrap_or_else(|panic| {
                Report::Died(format!("the verification pool panicked: {}", panic_words(&*panic)))
            }));
        });
    }
}

impl Drop for Verifiers {
    fn drop(&mut self) {
        self.pool = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The executor: one thread, one block after the other.
pub struct Executor {
    sender: Option<Sender<ExecuteJob>>,
    thread: Option<JoinHandle<()>>,
    /// Blocks that the thread's queue has no room for yet.
    backlog: VecDeque<ExecuteJob>,
    /// Blocks that were not reported yet.
    pub in_flight: usize,
}

impl Executor {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>, metrics: Arc<Metrics>, mailbox: Arc<Mailbox>) -> io::Result<Executor> {
        let (sender, receiver) = bounded::<ExecuteJob>(EXECUTE_QUEUE);
        let name = format!("execute-{}", shared.seat);
        let run = move || {
            for job in receiver {
                let before = thread_cpu();
                let done = catch_unwind(AssertUnwindSafe(|| Done::Executed(job.run(&shared))));
                metrics.add_cpu(ExecuteJob::STAGE, thread_cpu().saturating_sub(before));
                match done {
                    Ok(done) => mailbox.post(Report::Executed(done)),
                    Err(panic) => {
                        let words = panic_words(&*panic);
                        return mailbox.post(Report::Died(format!("the executor panicked: {words}")));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Executor { sender: Some(sender), thread: Some(thread), backlog: VecDeque::new(), in_flight: 0 })
    }

    /// Queues a block.
    pub fn push(&mut self, job: ExecuteJob) {
        self.in_flight += 1;
        self.backlog.push_back(job);
        self.feed();
    }

    /// A block was reported.
    pub fn finished(&mut self) {
        self.in_flight -= 1;
        self.feed();
    }

    /// Whether so many blocks wait that no more rows should come in.
    pub fn is_behind(&self) -> bool {
        self.in_flight > EXECUTE_BACKLOG_MAX
    }

    fn feed(&mut self) {
        let Some(sender) = &self.sender else { return };
        while let Some(job) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = sender.try_send(job) {
                self.backlog.push_front(job);
                return;
            }
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
