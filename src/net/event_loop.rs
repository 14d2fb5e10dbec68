//! The thread that owns the machine: one turn after the other, everything else reports to it.

use super::book_file::BookFile;
use super::config::*;
use super::disk::Disk;
use super::inbound::Gate;
use super::listener::Listener;
use super::names::Resolver;
use super::serve::Server;
use super::sockets::{Event, Sockets};
use super::workers::{Executor, Mailbox, Report, Verifiers};
use super::{State, Stopped};
use crate::metrics::{Metrics, Stage, thread_cpu};
use crate::net::clock::Clock;
use crate::node::jobs::{Done, Job};
use crate::node::snapshots::fate;
use crate::node::{Input, Node, Output, Shared};
use crate::store::{Errand, Kept, Unwritten};
use crate::types::{Height, Time};
use crate::wire::Message;
use crate::wire::client::Reply;
use crossbeam::channel::Receiver;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The token of the waker; those of connections lie far below.
pub const WAKER: Token = Token(usize::MAX);
/// The token of the listener for validators.
pub const PEER_DOOR: Token = Token(usize::MAX - 1);
/// The token of the listener for clients.
pub const CLIENT_DOOR: Token = Token(usize::MAX - 2);

/// Why the loop ends.
pub enum End {
    /// Somebody asked for it.
    Asked,
    /// The node cannot go on.
    Died(String),
}

/// Everything that the thread owns.
pub struct EventLoop {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) node: Node,
    pub(super) shared: Arc<Shared>,
    pub(super) sockets: Sockets,
    pub(super) listeners: [Listener; 2],
    pub(super) verifiers: Verifiers,
    pub(super) executor: Executor,
    pub(super) disk: Disk,
    pub(super) server: Server,
    pub(super) resolver: Resolver,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reports: Receiver<Report>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: Arc<State>,
    pub(super) inputs: VecDeque<Input>,
    pub(super) outputs: Vec<Output>,
    /// Urgent checks that wait for the end of the node's outputs.
    pub(super) checks: Vec<Job>,
    pub(super) events: Vec<Event>,
    /// The last block that executed a row.
    pub(super) last_full: Height,
    /// The last height that was new here, and when it was.
    pub(super) moved: (Height, Time),
    pub(super) book_file: BookFile,
    /// While the node stops, its time stands still, so that it begins nothing new.
    pub(super) frozen: Option<Time>,
    /// CPU time of this thread in this turn that belongs to another stage than the network.
    pub(super) elsewhere: Duration,
    pub(super) counted: Duration,
}

impl EventLoop {
    /// Turns until the node is asked to stop or dies; then, unless it died, lets what was begun come to its end.
    pub fn run(mut self) -> Result<Stopped, String> {
        let mut polled = Events::with_capacity(1024);
        let end = loop {
            if let Err(end) = self.turn(&mut polled) {
                break end;
            }
        };
        let result = match end {
            End::Died(reason) => Err(reason),
            End::Asked => self.settle(),
        };
        if let Some(text) = self.sockets.book_text(self.clock.now(), true).filter(|text| !text.is_empty()) {
            self.book_file.finish(&text);
        }
        drop(self.executor);
        drop(self.verifiers);
        drop(self.server);
        let closed = self.disk.close();
        result.and_then(|stopped| closed.map(|()| stopped))
    }

    fn now(&self) -> Time {
        self.frozen.unwrap_or_else(|| self.clock.now())
    }

    fn turn(&mut self, polled: &mut Events) -> Result<(), End> {
        self.wait(polled)?;
        let now = self.now();
        for event in polled.iter() {
            match event.token() {
                WAKER => {}
                PEER_DOOR => self.listeners[0].ready = true,
                CLIENT_DOOR => self.listeners[1].ready = true,
                _ => self.sockets.note(event, now, &mut self.events),
            }
        }
        self.take_reports()?;
        self.sockets.tick(now, &mut self.events);
        if let Some(asked) = self.sockets.names.next(now) {
            self.resolver.ask(asked);
        }
        for listener in &mut self.listeners {
            listener.accept(&mut self.sockets, now, &mut self.events);
        }
        let mut gate = self.gate();
        self.sockets.read(&mut gate, now, &mut self.events);
        self.take_events();
        self.pump()?;
        self.verifiers.dispatch();
        self.sockets.write(self.now(), &mut self.events);
        // Connections that ended while writing are news for the node in the next turn.
        self.take_events();
        self.note_progress();
        self.keep_book();
        self.account();
        Ok(())
    }

    /// Tells the sockets of an observer whether the chain moves here.
    fn note_progress(&mut self) {
        let height = self.node.tip().0;
        if height > self.moved.0 {
            self.moved = (height, self.now());
        }
        self.sockets.acquaintance.stuck = self.now() >= self.moved.1 + LOOK_EVERY;
    }

    /// Writes the book of addresses now and then.
    fn keep_book(&mut self) {
        if self.book_file.is_free()
            && let Some(text) =
                self.sockets.book_text(self.clock.now(), false).filter(|text| !text.is_empty())
        {
            self.book_file.write(text);
        }
    }

    /// What may be read: nothing while the disk is behind, and rows as far as the mempool has room for all that are
    /// read already. While the disk is full everything, since nothing of it is kept.
    fn gate(&self) -> Gate {
        if self.disk.full {
            return Gate { peers: true, rows: [usize::MAX; 3], blobs: usize::MAX };
        }
        let behind = self.executor.is_behind();
        let [all, newcomers, suspects] = self.verifiers.rows_in_flight();
        let room = if behind { 0 } else { self.shared.mempool.room().saturating_sub(all) };
        let blobs = if behind { 0 } else { self.shared.blobs.room() };
        let (newcomers, suspects) =
            (NEWCOMERS_ROOM.saturating_sub(newcomers), SUSPECTS_ROOM.saturating_sub(suspects));
        Gate { peers: !self.disk.is_behind(), rows: [room, newcomers, suspects], blobs }
    }

    fn wait(&mut self, polled: &mut Events) -> Result<(), End> {
        let now = self.clock.now();
        let busy = !self.sockets.is_idle()
            || !self.inputs.is_empty()
            || self.listeners.iter().any(|listener| listener.has_work(now))
            || self.sockets.could_resume(&self.gate());
        let rests =
            self.listeners.iter().filter_map(|listener| listener.rests_until.filter(|_| listener.ready));
        let deadlines = [self.node.deadline(), Some(self.sockets.deadline(now))].into_iter().flatten();
        let timeout = match deadlines.chain(rests).min() {
            _ if busy => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.since(now)),
        };
        match self.poll.poll(polled, timeout) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                Err(End::Died(format!("the event poll failed: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn take_reports(&mut self) -> Result<(), End> {
        self.mailbox.looking();
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Verified(done) => {
                    self.verifiers.finished();
                    if let Done::TakenOver(taken) = &done {
                        Metrics::add(&self.metrics.rows_taken_over, taken.admitted.into());
                        Metrics::add(&self.metrics.signatures_checked, taken.checked.into());
                    }
                    self.inputs.push_back(Input::Done(done));
                }
                Report::Admitted(admitted) => {
                    self.verifiers.finished();
                    for (client, standing) in self.verifiers.admitted(&admitted) {
                        self.sockets.set_standing(client, standing);
                    }
                    let now = self.now();
                    for (origin, admission) in admitted.answers {
                        Metrics::add(&self.metrics.rows_admitted, u64::from(admission.accepted));
                        admission.refused.iter().for_each(|(_, refusal)| self.metrics.refuse(*refusal, 1));
                        Metrics::add(&self.metrics.signatures_checked, admission.checked.into());
                        let (accepted, refused) = (admission.accepted, admission.refused);
                        let reply = Reply::Submitted { id: origin.id, accepted, refused };
                        self.sockets.reply(origin.client, &reply, origin.rows, now, &mut self.events);
                    }
                    self.inputs.push_back(Input::Rows);
                }
                Report::Executed(done) => {
                    self.executor.finished();
                    self.inputs.push_back(Input::Done(done));
                }
                Report::Synced(records) => {
                    self.disk.synced(records.len()).map_err(End::Died)?;
                    let persisted = |synced: crate::store::Synced| Input::Persisted {
                        number: synced.number,
                        view: synced.view,
                    };
                    self.inputs.extend(records.into_iter().map(persisted));
                }
                Report::Room(lacking) => {
                    self.disk.room(lacking.as_ref());
                    self.inputs.push_back(Input::DiskFull(lacking.is_some()));
                }
                Report::Kept(kept) => self.take_kept(kept)?,
                Report::Served(messages) => {
                    let now = self.now();
                    if let Some(to) = self.server.finished() {
                        messages.iter().for_each(|message| self.sockets.send(to, message, now));
                    }
                }
                Report::Found { number, found } => {
                    let now = self.clock.now();
                    self.sockets.found(number, found, now);
                }
                Report::Died(reason) => return Err(End::Died(reason)),
                Report::Stop if self.frozen.is_none() => return Err(End::Asked),
                Report::Stop => {}
            }
        }
        Ok(())
    }

    /// An errand of the store's keeper has ended. What failed for want of room, or on a single file, comes again in its
    /// time; a sync that failed ends the node.
    fn take_kept(&mut self, kept: Kept) -> Result<(), End> {
        match kept {
            Kept::Snapshot { height, written } => {
                match &written {
                    Ok(()) => tracing::info!(height, "a snapshot is durable"),
                    Err(Unwritten::Failed(error)) => {
                        tracing::warn!(height, %error, "no snapshot was written")
                    }
                    Err(Unwritten::Broken(error)) => {
                        return Err(End::Died(format!("the store failed: {error}")));
                    }
                    Err(Unwritten::Closing) => {}
                }
                self.inputs
                    .push_back(Input::Snapshotted { height: Height(height), written: written.is_ok() });
            }
            Kept::Pruned(pruned) => {
                self.disk.pruned(pruned, self.clock.now());
                self.inputs.push_back(Input::Pruned);
            }
        }
        Ok(())
    }

    /// Events of the sockets become inputs of the node, or answers.
    fn take_events(&mut self) {
        let now = self.now();
        // Answering can end a connection, which is an event again.
        while !self.events.is_empty() {
            for event in std::mem::take(&mut self.events) {
                match event {
                    Event::Opened(seat) => self.inputs.push_back(Input::Connected(seat)),
                    Event::Closed(seat) => self.inputs.push_back(Input::Disconnected(seat)),
                    Event::GuestOpened(guest) => self.inputs.push_back(Input::GuestCame(guest)),
                    Event::GuestClosed(guest) => {
                        self.server.left(guest);
                        self.inputs.push_back(Input::GuestLeft(guest));
                    }
                    Event::Message { from, message } => {
                        self.inputs.push_back(Input::Received { from, message });
                    }
                    Event::Left(client) => self.verifiers.left(client),
                    Event::Request { client, request } => self.answer(client, request, now),
                }
            }
        }
    }

    /// Feeds the node and does what it says, until it has nothing more to say.
    fn pump(&mut self) -> Result<(), End> {
        if self.frozen.is_none() && self.node.deadline().is_some_and(|deadline| deadline <= self.clock.now())
        {
            self.inputs.push_back(Input::Tick);
        }
        while !self.inputs.is_empty() {
            let before = thread_cpu();
            while let Some(input) = self.inputs.pop_front() {
                self.node.handle(self.now(), input);
            }
            while let Some(output) = self.node.poll() {
                self.outputs.push(output);
            }
            self.charge(Stage::Consensus, before);
            for output in std::mem::take(&mut self.outputs) {
                self.carry_out(output)?;
            }
            self.check();
        }
        Ok(())
    }

    fn carry_out(&mut self, output: Output) -> Result<(), End> {
        match output {
            Output::Send { to, message } => {
                if let Message::Rows(rows) = &message {
                    Metrics::add(&self.metrics.rows_handed_on, rows.rows().len() as u64);
                }
                self.sockets.send(to, &message, self.now());
            }
            Output::Broadcast(message) => self.sockets.broadcast(&message, self.now()),
            Output::Job(job) if job.urgent() && job.stage() == Stage::Verify => self.checks.push(job),
            Output::Job(job) if job.urgent() => {
                let (stage, before) = (job.stage(), thread_cpu());
                let done = job.run(&self.shared);
                self.charge(stage, before);
                self.inputs.push_back(Input::Done(done));
            }
            Output::Job(job) => self.verifiers.verify(job),
            Output::Execute(job) => self.executor.push(job),
            Output::Persist(records) => self.disk.append(records).map_err(End::Died)?,
            Output::Snapshot { height, table, kept } => {
                let kept = kept.map(|height| height.0);
                if !self.disk.errand(Errand::Snapshot { height: height.0, bytes: table, kept }) {
                    self.inputs.push_back(Input::Snapshotted { height, written: false });
                }
            }
            Output::Prune { first, last } => {
                if !self.disk.errand(Errand::Prune(Box::new(fate(first, last)))) {
                    self.inputs.push_back(Input::Pruned);
                }
            }
            Output::Serve { to, wanted } => {
                if !self.server.push(to, wanted) {
                    Metrics::add(&self.metrics.messages_dropped, 1);
                }
            }
            Output::Durable(notice) => {
                if notice.rows > 0 {
                    self.last_full = notice.height;
                    Metrics::add(&self.metrics.rows_settled, notice.rows.into());
                    Metrics::add(&self.metrics.rows_ok, notice.ok.into());
                }
                let now = self.now();
                self.sockets.publish(&Reply::Block(notice), now, &mut self.events);
            }
            Output::Misbehaved { peer, reason } => {
                Metrics::add(&self.metrics.peer_faults, 1);
                tracing::warn!(seat = peer.0, reason, "a validator broke a rule");
                let now = self.now();
                self.sockets.broke_rule(peer, reason, now, &mut self.events);
            }
            Output::Convicted(evidence) => {
                let (seat, lie) = (evidence.accused().0, evidence.words());
                tracing::warn!(seat, lie, "a validator is proven to have lied");
            }
            Output::Diverged(divergence) => return Err(End::Died(divergence.to_string())),
            Output::Forged(forged) => return Err(End::Died(forged.to_string())),
        }
        Ok(())
    }

    /// Checks together what one turn has brought.
    fn check(&mut self) {
        if self.checks.is_empty() {
            return;
        }
        let before = thread_cpu();
        let done = Job::run_all(std::mem::take(&mut self.checks), &self.shared);
        self.charge(Stage::Verify, before);
        self.inputs.extend(done.into_iter().map(Input::Done));
    }

    fn charge(&mut self, stage: Stage, before: Duration) {
        let spent = thread_cpu().saturating_sub(before);
        self.metrics.add_cpu(stage, spent);
        self.elsewhere += spent;
    }

    /// Counts the turn's remaining CPU time as the network's, and shows where the node stands.
    fn account(&mut self) {
        let total = thread_cpu();
        let net = total.saturating_sub(self.counted).saturating_sub(self.elsewhere);
        self.metrics.add_cpu(Stage::Net, net);
        (self.counted, self.elsewhere) = (total, Duration::ZERO);
        self.disk.count();
        let progress = self.node.progress();
        Metrics::set(&self.metrics.rows_passed_over, progress.rows_passed_over);
        Metrics::set(&self.metrics.rows_let_go, progress.rows_let_go);
        *self.state.progress.lock() = progress;
    }

    /// Reads nothing more, and waits until what was handed to the executor and the disk is done, so that the ledger,
    /// the node and the disk tell of the same block.
    fn settle(&mut self) -> Result<Stopped, String> {
        self.frozen = Some(self.clock.now());
        let deadline = self.clock.now() + STOP_DEADLINE;
        let mut polled = Events::with_capacity(64);
        let died = |end| match end {
            End::Died(reason) => reason,
            End::Asked => "stopped".to_owned(),
        };
        loop {
            self.take_reports().map_err(died)?;
            self.take_events();
            self.pump().map_err(died)?;
            self.account();
            let idle = self.executor.in_flight == 0 && self.inputs.is_empty();
            if idle && self.disk.in_flight == 0 {
                break;
            }
            if idle && self.disk.full {
                let records = self.disk.in_flight;
                return Err(format!("stopped while its disk was full: {records} records were never written"));
            }
            let now = self.clock.now();
            if now >= deadline {
                return Err("the disk or the executor did not finish in time for the stop".to_owned());
            }
            if self.reports.is_empty() {
                let _ = self.poll.poll(&mut polled, Some(deadline.since(now)));
            }
        }
        let (height, hash) = self.node.tip();
        Ok(Stopped { height, hash, last_full: self.last_full, root: self.shared.ledger.root() })
    }
}
