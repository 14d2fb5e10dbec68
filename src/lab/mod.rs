//! Workloads, clusters, measuring: an engine run for real, observed from outside, and what it did as data.
//!
//! **Owns** what a client and an experimenter are: wallets, signed transfers, load, observers, figures, verdicts. **May
//! not** print, parse flags, or reach into a node: it speaks to nodes through their ports and reads what a driver
//! publishes (counters, progress, block files). Only [`crate::cli`] talks to people.
//!
//! - Upon a run: [`preflight`] refuses what this machine cannot carry before anything is started; a [`cluster`] of
//!   nodes starts, all in this process or each in one of its own ([`processes`], and [`attached`] on their side); [`workload`] signs transfers before they are needed; [`generator`] sends them as an outside client
//!   would; [`observe`] gathers every block's notice from every node; [`figures`] turns notices and block files into
//!   throughput, latency and cost; [`verdict`] compares the chains of all nodes.
//! - Upon a claim of throughput: only rows that the nodes' own blocks settled with the outcome `ok`, durable on a
//!   quorum, inside the window. What was sent, or acknowledged, is reported beside it and never instead.
//! - Upon an interrupt, a node that died, or a run that stands still: stop everything that was started, keep the figures
//!   so far, and name the stage that stopped.
//!
//! Why the figures can be trusted: the window is cut by the nodes' own clocks of durability (all nodes of one machine
//! share its clock), a transaction's latency counts from when it was meant to be sent, and the generator's own CPU time
//! is kept apart from that of the nodes.

pub mod attached;
pub mod bench;
pub mod clock;
pub mod cluster;
pub mod figures;
pub mod flow;
pub mod generator;
pub mod history;
pub mod hostile;
pub mod interrupt;
pub mod lane;
pub mod machine;
pub mod observe;
pub mod payload;
pub mod preflight;
pub mod processes;
pub mod results;
pub mod session;
pub mod stress;
pub mod verdict;
pub mod workload;

pub use bench::discard_passing_data;
pub use interrupt::{Interrupt, Trigger};
pub use preflight::BadInput;

/// What a run is doing, told to whoever watches; never part of the results.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// Deriving the accounts' keys.
    Keys,
    /// Starting nodes and connecting them.
    Starting,
    /// Finding out roughly what the chain sustains.
    Probing,
    /// Signing transfers ahead of the window: done, of how many.
    Signing(u64, u64),
    /// Under load, not measured yet.
    WarmingUp,
    /// Measured: transactions settled per second so far.
    Measuring(f64),
    /// A part of a stress run, by its name, with transactions settled per second so far.
    Part(&'static str, f64),
    /// No more load: waiting for what is under way.
    Draining,
    /// Reading the chain back from the block files.
    Reading,
}

/// Is told what a run with so many nodes is doing; called from several threads.
pub type Watch<'a> = &'a (dyn Fn(usize, Step) + Sync);
