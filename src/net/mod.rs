//! The driver that runs a node on real sockets, a real disk and a real clock.
//!
//! **Owns** the threads of a node: the event loop (sockets, the machine), the executor, the verification pool, more threads
//! for the sockets if they are wanted; the store brings its own writer. **May not** know a rule of the protocol: what the
//! machine puts out is carried out, what happens is handed in, and nothing is decided here but whom to read from, and when.
//!
//! A turn of the loop: wait for events → reports of the other threads → reads, a budget for each connection →
//! the machine: all inputs, then all outputs → work for the pool → writes, coalesced per connection.
//!
//! - Upon readiness: keep it until the system says *would block*; a connection with more to read than its budget goes
//!   to the end of the ready list, and nobody sleeps while that list is not empty.
//! - Upon bytes of a stranger: the preface is checked before any key is exchanged; strangers are bounded in number,
//!   in bytes and in time, and of the network that has the most of them the oldest makes room (`crowd.rs`). A validator proves
//!   its seat inside of the encrypted channel.
//! - Upon a connection of a stranger: its address, and the network around it, have so many connections, and so many handshakes
//!   a second; whoever does wrong brings points to its address, a validator to its seat, and too many points mean a while
//!   without a connection: short for a seat, and never for an address where a validator lives (`limits.rs`, `blame.rs`).
//!   Honest peers behind an address that is refused keep the connections that they have, and one call in five seconds is let in:
//!   who calls is not known before keys are exchanged, and that is what a refusal is to save.
//!   What the HTTP server of this process brings for others is no stranger's (`visits.rs`).
//! - Upon a peer that sends more than its rate: it is not read from until that is worked off, and to connect anew is of no use
//!   (`debts.rs`). Nothing is held against it. Few messages are taken of one in a turn, the rest stays as bytes.
//! - Upon bytes of a peer: a record is opened in the buffer that it was read into, and every frame gets memory of its own, just
//!   as much as it is long. So a byte of a batch is copied twice, by the system into that buffer and from there into its frame,
//!   of which the batch is a view; once more if a read, or the end of a turn, cuts its record. What is under way is kept: a
//!   record, a frame of each lane, and what was read beyond a turn.
//! - Upon many connections with much to read or to write: other threads do some of it, if there are any, and the loop goes on
//!   when all is done (`io_threads.rs`).
//! - Upon a message for a validator: it goes to the queue of its class (votes, requests, bulk); a full queue drops
//!   the newest and counts it, since the protocol asks again. Only little is sealed ahead, so that votes overtake, and it
//!   is sealed where it was laid, in the bytes that go to the socket. These lie in one piece, for sealing needs its own copy of
//!   each payload anyhow; so one plain write takes them all, and a vectored one would have nothing to gather.
//! - Upon a client's rows: they are read only if the mempool has room for them and for all that were read before;
//!   otherwise they stay in the client's own send buffer. Who asks and does not read the answers is not read from
//!   either; a subscriber that does not read is dropped.
//! - Upon clients that ask more than is answered a second: they stand in line with their questions, while rows that come before
//!   these are read on, and newcomers have a few that do not wait (`questions.rs`).
//! - Upon rows that a validator hands on (`node/home.rs`): they are verified in turn with clients' rows, both behind batches.
//! - Upon a bad signature among a client's rows: what it brings is verified apart from everybody else's, in turns that
//!   leave the others most of the time, until it has brought enough good ones (see `turns.rs`).
//! - Upon a peer without a seat: it has a key and gets a number; who came by itself is served as a guest, by validators and
//!   observers alike, few at a time, and of one network no more than half of them. Who is reached where peers tell each other by
//!   signed records (`meet.rs`, `book.rs`); one whose signature does not hold ends the connection that brought it.
//! - Upon a validator or a named node that is not connected: the last reason is kept in words, for whoever asks the node for
//!   its status (`absent.rs`); and its name, if it was given by one, is looked up again, off the loop (`names.rs`).
//! - Upon guests that ask for much: what goes out to all of them together has a rate and they take turns at it, so that votes
//!   do not wait behind it; and whoever has too much waiting for it is not read from.
//! - Upon a peer that wants what only the disk has: another thread reads it, one request at a time, validators' first; guests
//!   have half of the room for requests that wait. It travels as bulk.
//! - Upon what was lost below the log, on a node that keeps all blocks: a thread of its own asks peers for it, as a guest, and
//!   mends what was set aside (`mend.rs`).
//! - Upon a disk that is behind: nobody is read from until it has caught up.
//! - Upon a full disk: the machine is told, clients are refused, and everybody is read from, for who asks is still served.
//! - Upon a failure of the disk, of the machine or of any thread: the node stops and says why; the process lives.
//!
//! Why that is safe: every queue between two threads is bounded by what its writer may have outstanding; nothing in
//! the loop waits for another thread; a message that is dropped or late is, for the protocol, one that was lost.

mod absent;
mod answers;
mod blame;
mod book;
mod book_file;
mod client;
mod clock;
mod config;
mod conn;
mod crowd;
mod debts;
mod dialer;
mod disk;
mod event_loop;
mod inbound;
mod io_threads;
mod limits;
mod listener;
mod meet;
mod mend;
mod names;
mod noise;
mod opening;
mod outbound;
mod pace;
mod peer;
mod questions;
mod queue;
mod records;
mod running;
mod serve;
mod shape;
mod slab;
mod sockets;
mod turns;
mod view;
mod visits;
mod workers;

#[cfg(test)]
mod tests;

pub use config::{NetConfig, NetConfigError, ShapeConfig};
pub use dialer::NOWHERE;
pub use names::{Name, Named, Resolve, SystemResolver};
pub use noise::{Exchange, Identity, PeerError, Role};
pub use peer::{PeerEvent, PeerLink};
pub use records::Channel;
pub use running::{NodeSetup, RunningNode, StartError, Stopped};
pub use view::NodeView;
pub use visits::Visit;

use crate::node::Progress;
use parking_lot::Mutex;
use visits::Visits;

/// What a running node shows to other threads, and what these show to it.
#[derive(Debug, Default)]
struct State {
    progress: Mutex<Progress>,
    failure: Mutex<Option<String>>,
    visits: Visits,
}
