//! Reading and writing for many connections in one turn of the loop, on more than one thread if there is enough to do.
//!
//! What is dear about a connection touches nothing but that connection: its system calls, the opening and sealing of
//! records, the parsing of frames, the exchange of keys. So the loop says whose turn it is, lends what is large to the
//! other threads, takes part itself, and draws the conclusions when all is done, in the order in which it had said it.
//!
//! - Upon a turn in which at least two connections have much to do: these are lent, whoever is free takes the next, and the
//!   loop, when nothing is left to take, waits for those that are being worked on.
//! - Upon any other turn, and always with one thread: the loop does it all. To wake a thread took the loop 5 µs where it was
//!   measured, as long as reading nine thousand bytes, and it was 5 to 50 µs until that thread ran, in one of a hundred half a
//!   millisecond.
//! - Upon a panic in another thread: it goes on in the loop, which ends the node with its words.
//!
//! Why that is safe: a connection is moved to whom it is lent, and the loop does nothing else before all are back. Each has
//! one turn at most at a time, so its bytes stay in their order; and what the machine is told, and in which order, does
//! not depend on the threads.

use super::config::{CLIENT_READ_BUDGET, LENT_LOAD_MIN, PEER_READ_BUDGET};
use super::conn::{Conn, Gone, flush, receive};
use super::peer::PeerEvent;
use super::slab::Slab;
use crate::metrics::{Metrics, Stage, thread_cpu};
use crate::types::Seat;
use crossbeam::channel::{Receiver, Sender, unbounded};
use mio::Token;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What is to be done on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// To read from a peer, as much as one has in a turn.
    Read,
    /// To write at most so many bytes.
    Write(usize),
}

/// A connection's turn, and what came of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) token: Token,
    task: Task,
    /// About how much there is to do, in bytes.
    load: usize,
    /// Bytes read, or written.
    pub(super) bytes: usize,
    /// What the bytes read have brought.
    pub(super) come: Vec<PeerEvent>,
    /// Whether there is more to do at once.
    pub(super) more: bool,
    pub(super) result: Result<(), Gone>,
}

impl Job {
    pub(super) fn new(token: Token, task: Task, load: usize) -> Job {
        Job { token, task, load, bytes: 0, come: Vec::new(), more: false, result: Ok(()) }
    }

    fn is_large(&self) -> bool {
        self.load >= LENT_LOAD_MIN
    }

    fn run_here(&mut self, conns: &mut Slab<Conn>, buffer: &mut [u8]) {
        if let Some(conn) = conns.get_mut(self.token) {
            self.run(conn, buffer);
        }
    }

    fn run(&mut self, conn: &mut Conn, buffer: &mut [u8]) {
        self.result = match self.task {
            Task::Read => receive(conn, buffer, &mut self.bytes, &mut self.come),
            Task::Write(bytes_max) => flush(conn, bytes_max, &mut self.bytes),
        };
        self.more = match self.task {
            Task::Read => conn.has_input(),
            Task::Write(_) => conn.has_output(),
        };
    }
}

/// A job with the connection that it is about, and its place in the turn.
struct Lent {
    place: usize,
    job: Job,
    conn: Conn,
}

/// The threads that read and write: the loop's own, and `net_threads` - 1 others.
pub(super) struct IoThreads {
    /// What the loop itself reads into.
    pub(super) buffer: Box<[u8]>,
    others: Option<Others>,
}

struct Others {
    /// None once the threads are to end.
    lend: Option<Sender<Lent>>,
    /// The loop takes part.
    lent: Receiver<Lent>,
    done: Receiver<std::thread::Result<Lent>>,
    threads: Vec<JoinHandle<()>>,
}

fn buffer() -> Box<[u8]> {
    vec![0; PEER_READ_BUDGET.max(CLIENT_READ_BUDGET)].into()
}

impl IoThreads {
    /// So many threads, of which the loop's is the first.
    pub(super) fn start(threads: usize, seat: Seat, metrics: &Arc<Metrics>) -> io::Result<IoThreads> {
        let others = (threads > 1).then(|| Others::start(threads - 1, seat, metrics)).transpose()?;
        Ok(IoThreads { buffer: buffer(), others })
    }

    /// Does all jobs; they come back in their order.
    pub(super) fn run(&mut self, conns: &mut Slab<Conn>, mut jobs: Vec<Job>) -> Vec<Job> {
        if let Some(others) = &self.others
            && jobs.iter().filter(|job| job.is_large()).count() > 1
        {
            return others.run(conns, jobs, &mut self.buffer);
        }
        jobs.iter_mut().for_each(|job| job.run_here(conns, &mut self.buffer));
        jobs
    }
}

impl Others {
    fn start(threads: usize, seat: Seat, metrics: &Arc<Metrics>) -> io::Result<Others> {
        // Neither needs a bound of its own: a turn lends each connection once, and waits for all.
        let ((lend, lent), (report, done)) = (unbounded(), unbounded());
        let mut others = Others { lend: Some(lend), lent, done, threads: Vec::with_capacity(threads) };
        for number in 1..=threads {
            let (lent, report, metrics) = (others.lent.clone(), report.clone(), metrics.clone());
            let thread = std::thread::Builder::new().name(format!("net-{seat}-{number}"));
            others.threads.push(thread.spawn(move || work(&lent, &report, &metrics))?);
        }
        Ok(others)
    }

    fn run(&self, conns: &mut Slab<Conn>, jobs: Vec<Job>, buffer: &mut [u8]) -> Vec<Job> {
        let (mut own, mut away) = (Vec::with_capacity(jobs.len()), 0);
        let lend = self.lend.as_ref().expect("it is there until the threads are to end");
        for (place, job) in jobs.into_iter().enumerate() {
            match job.is_large().then(|| conns.lend(job.token)).flatten() {
                Some(conn) => {
                    lend.send(Lent { place, job, conn }).expect("its other end is kept here");
                    away += 1;
                }
                None => own.push((place, job)),
            }
        }
        own.iter_mut().for_each(|(_, job)| job.run_here(conns, buffer));
        for _ in 0..away {
            let Lent { place, job, conn } = match self.lent.try_recv() {
                Ok(mut lent) => {
                    lent.job.run(&mut lent.conn, buffer);
                    lent
                }
                Err(_) => match self.done.recv().expect("the threads outlive their panics") {
                    Ok(lent) => lent,
                    Err(panic) => resume_unwind(panic),
                },
            };
            conns.give_back(job.token, conn);
            own.push((place, job));
        }
        own.sort_unstable_by_key(|(place, _)| *place);
        own.into_iter().map(|(_, job)| job).collect()
    }
}

/// Another thread's life: one lent connection after the other.
fn work(lent: &Receiver<Lent>, report: &Sender<std::thread::Result<Lent>>, metrics: &Metrics) {
    let (mut buffer, mut counted) = (buffer(), Duration::ZERO);
    for mut lent in lent {
        let done = catch_unwind(AssertUnwindSafe(|| {
            lent.job.run(&mut lent.conn, &mut buffer);
            lent
        }));
        let spent = thread_cpu();
        metrics.add_cpu(Stage::Net, spent.saturating_sub(counted));
        counted = spent;
        // A loop that has gone needs nothing back.
        let _ = report.send(done);
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.lend = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
