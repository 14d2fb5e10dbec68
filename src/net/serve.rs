//! The thread that answers peers from the store: it may wait for the disk, the event loop may not.
//!
//! One request is under way at a time, so that one answer at most is in memory; the others wait here, few of each peer,
//! and whoever asks for more is not heard: the protocol asks again, or somebody else.

use super::config::{WANTED_PER_PEER, WANTED_TOTAL};
use super::workers::{Mailbox, Report, panic_words};
use crate::metrics::{Metrics, Stage, thread_cpu};
use crate::node::{Archive, Wanted};
use crate::store::{Finder, StoreError};
use crate::types::params::SEATS_MAX;
use crate::types::{BatchId, Height, Seat};
use crate::wire::TablePiece;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The event loop's side of the thread.
pub struct Server {
    requests: Option<Sender<Wanted>>,
    waiting: VecDeque<(Seat, Wanted)>,
    /// Whose request is under way; without a name if that one has gone.
    busy: Option<Option<Seat>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the thread.
    pub fn start(
        finder: Finder,
        seat: Seat,
        metrics: Arc<Metrics>,
        mailbox: Arc<Mailbox>,
    ) -> io::Result<Server> {
        let (requests, receiver) = bounded(1);
        let run = move || {
            let answering = AssertUnwindSafe(|| answer_all(finder, &receiver, &metrics, &mailbox));
            if let Err(panic) = catch_unwind(answering) {
                mailbox.post(Report::Died(format!("serving panicked: {}", panic_words(&*panic))));
            }
        };
        let thread = std::thread::Builder::new().name(format!("serve-{seat}")).spawn(run)?;
        Ok(Server { requests: Some(requests), waiting: VecDeque::new(), busy: None, thread: Some(thread) })
    }

    /// Takes a request; `false` if too much waits. Guests leave half of the room to validators.
    pub fn push(&mut self, to: Seat, wanted: Wanted) -> bool {
        let of_peer = self.waiting.iter().filter(|(peer, _)| *peer == to).count();
        let of_guests = self.waiting.iter().filter(|(peer, _)| is_guest(*peer)).count();
        let is_full = self.waiting.len() >= WANTED_TOTAL || is_guest(to) && of_guests >= WANTED_TOTAL / 2;
        if of_peer >= WANTED_PER_PEER || is_full {
            return false;
        }
        self.waiting.push_back((to, wanted));
        self.dispatch();
        true
    }

    /// The request that was under way is answered. Whom the answer is for, unless that one has gone.
    pub fn finished(&mut self) -> Option<Seat> {
        let answered = self.busy.take().flatten();
        self.dispatch();
        answered
    }

    /// A guest has gone: whoever has its number next did not ask for any of it.
    pub fn left(&mut self, guest: Seat) {
        self.waiting.retain(|(peer, _)| *peer != guest);
        if self.busy == Some(Some(guest)) {
            self.busy = Some(None);
        }
    }

    /// The oldest request of a validator, else the oldest of a guest: who catches up does not wait behind strangers.
    fn next(&mut self) -> Option<(Seat, Wanted)> {
        let validator = self.waiting.iter().position(|(to, _)| !is_guest(*to));
        self.waiting.remove(validator.unwrap_or(0))
    }

    fn dispatch(&mut self) {
        if self.busy.is_none()
            && let Some((to, wanted)) = self.next()
            && let Some(requests) = &self.requests
        {
            self.busy = requests.send(wanted).is_ok().then_some(Some(to));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported.
            let _ = thread.join();
        }
    }
}

fn is_guest(peer: Seat) -> bool {
    peer.index() >= SEATS_MAX
}

fn answer_all(finder: Finder, requests: &Receiver<Wanted>, metrics: &Metrics, mailbox: &Mailbox) {
    let mut archive = Files(finder);
    let mut counted = thread_cpu();
    for wanted in requests {
        let messages = wanted.answer(&mut archive);
        let now = thread_cpu();
        metrics.add_cpu(Stage::Store, now.saturating_sub(std::mem::replace(&mut counted, now)));
        mailbox.post(Report::Served(messages));
    }
}

/// The store as what peers are answered from. What cannot be read is not here, and is said once in the log.
struct Files(Finder);

fn told<T>(found: Result<Option<T>, StoreError>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "a record that a peer asked for cannot be read");
        None
    })
}

impl Archive for Files {
    fn block(&mut self, height: Height) -> Option<Bytes> {
        told(self.0.block(height))
    }

    fn batch(&mut self, id: &BatchId) -> Option<Bytes> {
        told(self.0.batch(id))
    }

    fn record(&mut self, height: Height) -> Option<Bytes> {
        told(self.0.record(height))
    }

    fn certificate(&mut self, height: Height) -> Option<Bytes> {
        told(self.0.certificate(height))
    }

    fn piece(&mut self, height: Height, piece: u32) -> Option<TablePiece> {
        told(self.0.piece(height, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_are_answered_before_guests_and_each_in_the_order_of_asking() {
        let (requests, receiver) = bounded(1);
        let waiting = VecDeque::new();
        let mut server = Server { requests: Some(requests), waiting, busy: None, thread: None };
        let record = |height| Wanted::Record(Height(height));
        // The first is under way before others ask.
        let order =
            [(Seat::guest(0), 1), (Seat::guest(1), 2), (Seat(3), 3), (Seat::guest(0), 4), (Seat(1), 5)];
        assert!(order.into_iter().all(|(peer, height)| server.push(peer, record(height))));
        let answered = order.map(|_| {
            let wanted = receiver.try_recv().unwrap();
            assert!(receiver.is_empty(), "one is under way at a time");
            let Wanted::Record(Height(height)) = wanted else { panic!("another request") };
            (server.finished().unwrap(), height)
        });
        assert!(answered.iter().all(|answer| order.contains(answer)), "{answered:?}");
        assert_eq!(answered.map(|(_, height)| height), [1, 3, 5, 2, 4]);
        assert!(receiver.is_empty() && server.busy.is_none());
    }

    #[test]
    fn a_peer_has_few_requests_waiting_and_all_peers_not_many() {
        let (requests, _receiver) = bounded(1);
        let waiting = VecDeque::new();
        let mut server = Server { requests: Some(requests), waiting, busy: Some(None), thread: None };
        let mut taken = |peer| (0..100).filter(|_| server.push(peer, Wanted::Record(Height(1)))).count();
        assert_eq!((taken(Seat::guest(0)), taken(Seat(1))), (WANTED_PER_PEER, WANTED_PER_PEER));
        let all: usize = (2..100).map(|seat| taken(Seat(seat))).sum();
        assert_eq!(all, WANTED_TOTAL - 2 * WANTED_PER_PEER);
    }
    #[test]
    fn guests_leave_half_of_the_room_and_nothing_to_who_has_their_number_next() {
        let (requests, receiver) = bounded(1);
        let waiting = VecDeque::new();
        let mut server = Server { requests: Some(requests), waiting, busy: None, thread: None };
        let taken = |server: &mut Server, peer| {
            (0..100).filter(|_| server.push(peer, Wanted::Record(Height(1)))).count()
        };
        assert_eq!(taken(&mut server, Seat::guest(0)), WANTED_PER_PEER + 1, "one is under way");
        let all: usize = (1..100).map(|number| taken(&mut server, Seat::guest(number))).sum();
        assert_eq!(all, WANTED_TOTAL / 2 - WANTED_PER_PEER);
        assert_eq!(taken(&mut server, Seat(1)), WANTED_PER_PEER);
        server.left(Seat::guest(0));
        assert_eq!(server.waiting.len(), WANTED_TOTAL / 2);
        assert!(server.waiting.iter().all(|(peer, _)| *peer != Seat::guest(0)));
        // What is under way is answered, and to nobody.
        assert_eq!(taken(&mut server, Seat::guest(0)), WANTED_PER_PEER, "another guest has the number");
        assert!(receiver.try_recv().is_ok());
        assert_eq!(server.finished(), None);
        assert!(receiver.try_recv().is_ok());
        assert_eq!(server.finished(), Some(Seat(1)));
    }
}
