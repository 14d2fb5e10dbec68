//! A virtual world: the same machines that run on sockets, driven through faults by a clock that is only a number.
//!
//! **Owns** virtual time, and everything that a machine meets in it: network, disks, cores, clients, faults; and the
//! checkers that watch. **May not** read a clock, draw a random number that is not from the seed, or let an order of
//! addresses or hashes decide anything; may not know [`crate::net`].
//!
//! - Everything is an event with a time; events of one time happen in the order in which they were planned.
//! - Upon a seed: draw a plan (the world and every fault with its time); the plan is what is played, kept and shrunk.
//! - Upon a message: it travels as bytes; its delay is a hash of seed, way and number, so that leaving out a fault
//!   does not move the messages that it does not touch.
//! - Upon a job: run it, and let its result come when the modelled cores would have it.
//! - Upon a crash: the disk keeps what was synced, and of the last group what the tear leaves, as the store's own
//!   recovery reads it. The node starts again on that.
//! - Upon amnesia: a crash after which the directory, or only the guard, is gone, damaged, or a copy of an earlier time; or
//!   after which the log ends at a flipped byte in its middle, while the guard is whole.
//! - Upon a full disk: nothing is written until the fault ends, and the machine is told of both.
//! - Upon a lie: a layer between the machine of a seat and its peers rewrites, adds and keeps back what leaves ([`Lie`]); or
//!   the seat has a twin. Of the last `f` nodes of a drawn plan each lies, or forgets, or neither: together they are `f` at
//!   most, as agreement promises. A plan file may have more: then the checkers tell what came of it.
//! - Upon a late node: it starts for the first time when the chain is far ahead, and has to come to the same blocks.
//! - Upon a broken rule: stop, tell which, keep the plan.
//!
//! Why a trace can be trusted: one thread plays a world, nothing in it depends on addresses or on time outside, and each
//! event enters the trace hash. The random coefficients of batch verification come from the operating system, but
//! the verdict does not depend on them. Several worlds may run at once, each on a thread of its own.
//!
//! What a world does not have: TCP's own congestion control and retransmission (a lossy way loses whole
//! messages, as a broken connection does), preemption of a job that runs.

mod amnesia;
mod calibration;
mod check;
mod clients;
mod config;
mod cpu;
mod disk;
mod faults;
mod lies;
mod many;
mod net;
mod place;
mod plan;
mod queue;
mod random;
mod report;
mod shrink;
mod snapshots;
mod stats;
mod trace;
mod turn;
mod verdict;
mod work;
mod world;

#[cfg(test)]
mod tests;

pub use amnesia::Amnesia;
pub use calibration::Calibration;
pub use config::{Crypto, REAL_CRYPTO_NODES, SimConfig, SimError};
pub use disk::Tail;
pub use lies::{LIES, Lie, Ware};
pub use many::many;
pub use plan::{Fault, KINDS, Kinds, PLAN_VERSION, Plan, What};
pub use report::{Conviction, Latency, NodeReport, RunReport, Shrunk};
pub use shrink::shrink;
pub use verdict::{FOLLOW, RESUME, RESUME_PER_NODE, Verdict};
pub use world::Interrupted;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use thiserror::Error;
use world::World;

/// Why a run has no report.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RunError {
    /// The world cannot be.
    #[error(transparent)]
    BadInput(#[from] SimError),
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
}

/// Plays a plan. `watch` is told the virtual time now and then, and ends the run by returning true.
///
/// # Errors
/// [`RunError`]; a rule that was broken, or a machine that panicked, is no error but a verdict.
pub fn run(plan: Plan, watch: &dyn Fn(Duration) -> bool) -> Result<RunReport, RunError> {
    let mut world = World::new(plan)?;
    let played = catch_unwind(AssertUnwindSafe(|| world.run(watch)));
    match played {
        Ok(Ok(())) => Ok(world.report_now()),
        Ok(Err(Interrupted)) => Err(RunError::Interrupted),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            world.panicked(&words);
            Ok(world.report_now())
        }
    }
}
