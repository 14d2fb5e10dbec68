//! The load generator: an outside client of every node, over TCP and the client port.
//!
//! One lane per node: a thread that sends and a thread that reads the replies, with a connection of their own. The
//! lane's rows are signed beforehand, so that sending costs little beside what the nodes do.
//!
//! - **Closed loop** ([`Pace::Saturate`]): a lane sends while fewer than [`UNACKED_ROWS_MAX`] of its rows are without
//!   a reply and fewer than `in_flight_max` rows are sent and not settled in the whole chain. So queues stay full and bounded, and what comes out is what the chain sustains.
//!   The room that settled rows leave is shared: a lane takes its part of it, then lets the others go first.
//! - **Open loop** ([`Pace::Rate`]): every row has a time at which it is meant to be sent, whatever the chain does. A lane
//!   that is late sends at once, and the row's latency counts from its intended time: nothing slows down in silence.
//! - Rows refused for want of room, or because their nonce is ahead of what is executed, are sent again after
//!   [`RETRY_PAUSE`]; rows refused for another reason are counted and let go.

use super::clock::Clock;
use super::flow::{CpuMeter, Event, Flow};
use super::lane::{Again, Lane, Parcel};
use super::observe::Link;
use super::payload::{FRAME_BYTES, Payload};
use crate::types::Time;
use crate::wire::client::{Refusal, Reply, Submission};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The most rows in one submission.
pub const FRAME_ROWS: usize = 256;
/// The most rows of a lane that wait for the node's reply, about 1 MB; when full the lane waits.
pub const UNACKED_ROWS_MAX: usize = 8192;
/// In a closed loop, unless it is set: the most rows that are sent and not settled, in the whole chain
/// together. Fewer leave verification with small batches, more only wait longer.
pub const IN_FLIGHT_ROWS: u64 = 16_384;
/// The same for blobs, in bytes: half of what the nodes' windows of unsettled batches hold at n = 4.
const IN_FLIGHT_BYTES: u64 = 16 << 20;
/// The most blobs in flight, unless it is set.
const IN_FLIGHT_BLOBS_MAX: u64 = 1 << 19;
/// The most bytes of a lane's blobs that wait for the node's reply; when full the lane waits.
const UNACKED_BYTES_MAX: usize = 1 << 20;
/// How long a refused row waits before it is sent again.
pub const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// After so many refusals a row is let go.
const TRIES_MAX: u16 = 2000;
/// Replies and wake-ups that wait for a lane; the reading thread waits when it is full.
const EVENTS_MAX: usize = 1024;
/// The longest that a lane sleeps or a write blocks before it looks about.
const LOOK_ABOUT: Duration = Duration::from_millis(20);
/// The shortest time from one frame of an open loop to the next, unless it is full: rows due within it travel together.
const TURN_MIN: Duration = Duration::from_millis(2);
/// The shortest sleep.
const SLEEP_MIN: Duration = Duration::from_micros(500);
/// How long a lane that was stopped waits for the replies to what it has sent.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// In a closed loop, unless it is set: how many rows or blobs are sent and not settled.
pub fn in_flight_default(payload: Payload) -> u64 {
    match payload {
        Payload::Transfers => IN_FLIGHT_ROWS,
        Payload::Opaque(bytes) => (IN_FLIGHT_BYTES / u64::from(bytes.max(1))).min(IN_FLIGHT_BLOBS_MAX),
    }
}

/// The most rows in one submission of this payload.
pub fn frame_rows(payload: Payload) -> usize {
    payload.blob_bytes().map_or(FRAME_ROWS, |bytes| (FRAME_BYTES / bytes.max(1) as usize).max(1))
}

/// When rows are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// As fast as bounded queues take them.
    Saturate {
        /// Rows sent and not settled, of all lanes together.
        in_flight_max: u64,
    },
    /// By a schedule.
    Rate {
        /// When it begins.
        start: Time,
        /// Transactions per second over all lanes together.
        per_second: f64,
    },
}

/// Lanes under way.
pub struct Running {
    flow: Arc<Flow>,
    lanes: Vec<JoinHandle<Lane>>,
}

impl Running {
    /// Starts a lane's two threads for each.
    pub fn start(lanes: Vec<Lane>, flow: &Arc<Flow>, clock: Clock, pace: Pace) -> io::Result<Running> {
        flow.stop.store(false, Relaxed);
        flow.dry.store(false, Relaxed);
        let count = lanes.len() as u64;
        let mut running = Running { flow: flow.clone(), lanes: Vec::new() };
        for lane in lanes {
            let link = Link::open(lane.address)?;
            let stream = link.stream()?;
            stream.set_write_timeout(Some(LOOK_ABOUT))?;
            let (events, inbox) = bounded(EVENTS_MAX);
            flow.wake.lock().push(events.clone());
            let (node, reader_flow) = (lane.node, flow.clone());
            let reader = thread::Builder::new().name(format!("client-read-{node}"));
            reader.spawn(move || read_replies(link, &events, &reader_flow))?;
            let frame_rows = lane.frame_rows();
            // At least two frames, so that the next one is on its way while the first is answered.
            let frames = (UNACKED_ROWS_MAX / FRAME_ROWS).min(UNACKED_BYTES_MAX / FRAME_BYTES);
            let unacked_max = if frame_rows == FRAME_ROWS { UNACKED_ROWS_MAX } else { frames * frame_rows };
            let sender = LaneSender {
                frame_rows,
                unacked_max,
                lane,
                stream,
                inbox,
                flow: flow.clone(),
                clock,
                pace,
                lanes: count,
                unacked: BTreeMap::new(),
                unacked_rows: 0,
                next_id: 0,
                scheduled: 0,
                next_turn: Time(0),
                retry_at: Time(0),
                quota: 0,
            };
            let thread = thread::Builder::new().name(format!("client-send-{node}"));
            running.lanes.push(thread.spawn(move || sender.run())?);
        }
        Ok(running)
    }

    /// Stops sending, waits for the replies to what was sent, and gives the lanes back.
    pub fn stop(mut self) -> Vec<Lane> {
        self.end()
    }

    fn end(&mut self) -> Vec<Lane> {
        self.flow.stop.store(true, Relaxed);
        for lane in self.flow.wake.lock().drain(..) {
            let _: Result<(), TrySendError<Event>> = lane.try_send(Event::Wake); // full or gone: it wakes anyway
        }
        let join = |lane: JoinHandle<Lane>| lane.join().map_err(|_| tracing::error!("a lane panicked")).ok();
        self.lanes.drain(..).filter_map(join).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_replies(mut link: Link, events: &Sender<Event>, flow: &Flow) {
    let mut meter = CpuMeter::start(flow);
    loop {
        let event = match link.receive() {
            Ok(Some(Reply::Submitted { id, accepted, refused })) => Event::Reply { id, accepted, refused },
            Ok(Some(Reply::Taken { id, accepted })) => {
                Event::Taken { id, accepted: accepted.map_or(0, NonZeroU32::get) }
            }
            Ok(Some(_)) => continue,
            Ok(None) => Event::Closed("closed by the node".to_owned()),
            Err(error) => Event::Closed(error.to_string()),
        };
        let over = matches!(event, Event::Closed(_));
        meter.tick();
        if events.send(event).is_err() || over {
            return;
        }
    }
}

struct LaneSender {
    lane: Lane,
    stream: TcpStream,
    inbox: Receiver<Event>,
    flow: Arc<Flow>,
    clock: Clock,
    pace: Pace,
    lanes: u64,
    /// The most rows of one submission.
    frame_rows: usize,
    /// The most rows without a reply.
    unacked_max: usize,
    unacked: BTreeMap<u64, Unacked>,
    unacked_rows: usize,
    next_id: u64,
    scheduled: u64,
    /// In an open loop: when the next frame goes out, if it is not full before.
    next_turn: Time,
    retry_at: Time,
    /// In a closed loop: rows that the lane may still send before it lets the others go first.
    quota: u64,
}

/// A submission without a reply.
enum Unacked {
    /// Rows, which may have to be sent again, and how often they were sent.
    Rows(Submission, u16),
    /// So many blobs: they are taken or let go.
    Blobs(usize),
}

impl LaneSender {
    fn run(mut self) -> Lane {
        let flow = self.flow.clone();
        let mut meter = CpuMeter::start(&flow);
        let result = self.send_until_stopped(&mut meter).and_then(|()| self.flush());
        if let Err(reason) = result {
            let node = self.lane.node;
            flow.broken.lock().get_or_insert(format!("the client connection to node {node} broke: {reason}"));
        }
        let _ = self.stream.shutdown(Shutdown::Both); // ends the reading thread; the node may have been faster
        meter.tick();
        self.lane
    }

    fn send_until_stopped(&mut self, meter: &mut CpuMeter<'_>) -> Result<(), String> {
        while !self.flow.stop.load(Relaxed) {
            self.take_events()?;
            let now = self.clock.now();
            match self.next(now) {
                Some((parcel, tries)) => self.submit(parcel, tries)?,
                None => {
                    meter.tick();
                    self.share();
                    if let Ok(event) = self.inbox.recv_timeout(self.pause(now)) {
                        self.take_event(event)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The lane's part of the room that there is now, for when it wakes up again.
    fn share(&mut self) {
        if let Pace::Saturate { in_flight_max } = self.pace {
            let room = in_flight_max.saturating_sub(self.flow.in_flight());
            self.quota = (room / self.lanes).max(self.frame_rows as u64);
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let deadline = self.clock.now() + FLUSH_MAX;
        while !self.unacked.is_empty() && self.clock.now() < deadline {
            if let Ok(event) = self.inbox.recv_timeout(self.clock.until(deadline)) {
                self.take_event(event)?;
            }
        }
        Ok(())
    }

    /// What to send now, and how often its rows were sent before.
    fn next(&mut self, now: Time) -> Option<(Parcel, u16)> {
        let frame = self.frame_rows as u64;
        if self.unacked_rows + self.frame_rows > self.unacked_max {
            return None;
        }
        if !self.lane.retry.is_empty() && now >= self.retry_at {
            return self.lane.take_retries().map(|(rows, tries)| (Parcel::Rows(rows), tries));
        }
        let (pace, lanes, node) = (self.pace, self.lanes, self.lane.node as u64);
        let fresh = match pace {
            Pace::Saturate { in_flight_max } => {
                let in_flight = self.flow.in_flight();
                let full = in_flight > 0 && in_flight + frame > in_flight_max;
                if full || self.quota == 0 {
                    return None;
                }
                self.quota = self.quota.saturating_sub(frame);
                self.lane.take(self.frame_rows, |_| now)
            }
            Pace::Rate { start, per_second } => {
                let elapsed = now.since(start).as_secs_f64();
                let due = due(elapsed, per_second, lanes, node).saturating_sub(self.scheduled);
                // A reply wakes the lane: it must not cut what is due into smaller and smaller frames.
                if due == 0 || due < frame && now < self.next_turn {
                    return None;
                }
                self.next_turn = now + TURN_MIN;
                let first = self.scheduled;
                let most = due.min(frame) as usize;
                let fresh = self.lane.take(most, |row| start + offset(first + row, per_second, lanes, node));
                self.scheduled += fresh.as_ref().map_or(0, |parcel| parcel.len() as u64);
                fresh
            }
        };
        match &fresh {
            Some(parcel) => self.flow.fresh.fetch_add(parcel.len() as u64, Relaxed),
            None => u64::from(self.flow.dry.swap(true, Relaxed)),
        };
        fresh.map(|parcel| (parcel, 0))
    }

    /// How long nothing will be due, unless something comes in.
    fn pause(&self, now: Time) -> Duration {
        let retry = if self.lane.retry.is_empty() { LOOK_ABOUT } else { self.retry_at.since(now) };
        let due = match self.pace {
            Pace::Saturate { in_flight_max }
                if self.flow.in_flight() + (self.frame_rows as u64) < in_flight_max
                    && self.unacked_rows + self.frame_rows <= self.unacked_max =>
            {
                TURN_MIN // there is room, but it is the others' turn
            }
            Pace::Saturate { .. } => LOOK_ABOUT,
            Pace::Rate { start, per_second } => {
                let due = start + offset(self.scheduled, per_second, self.lanes, self.lane.node as u64);
                due.max(self.next_turn).since(now)
            }
        };
        retry.min(due).clamp(SLEEP_MIN, LOOK_ABOUT)
    }

    fn submit(&mut self, parcel: Parcel, tries: u16) -> Result<(), String> {
        let id = self.next_id;
        self.next_id += 1;
        let count = parcel.len();
        let unacked = match &parcel {
            Parcel::Rows(rows) => Unacked::Rows(rows.clone(), tries),
            Parcel::Blobs(_) => Unacked::Blobs(count),
        };
        let bytes = parcel.request(id).frame();
        self.unacked.insert(id, unacked);
        self.unacked_rows += count;
        self.flow.sent.fetch_add(count as u64, Relaxed);
        let mut rest = &bytes[..];
        let mut deadline = None;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err("it takes no more bytes".to_owned()),
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) => self.take_events()?,
                Err(error) => return Err(error.to_string()),
            }
            if self.flow.stop.load(Relaxed) {
                let deadline = *deadline.get_or_insert_with(|| self.clock.now() + FLUSH_MAX);
                if self.clock.now() > deadline {
                    return Err("it took no bytes for seconds".to_owned());
                }
            }
        }
        Ok(())
    }

    fn take_events(&mut self) -> Result<(), String> {
        while let Ok(event) = self.inbox.try_recv() {
            self.take_event(event)?;
        }
        Ok(())
    }

    fn take_event(&mut self, event: Event) -> Result<(), String> {
        let (id, accepted, refused) = match event {
            Event::Wake => return Ok(()),
            Event::Closed(reason) => return Err(reason),
            Event::Reply { id, accepted, refused } => (id, accepted, refused),
            Event::Taken { id, accepted } => (id, accepted, Vec::new()),
        };
        let (submission, tries) = match self.unacked.remove(&id) {
            Some(Unacked::Rows(submission, tries)) => (submission, tries),
            Some(Unacked::Blobs(count)) => {
                self.unacked_rows -= count;
                self.flow.accepted.fetch_add(accepted.into(), Relaxed);
                self.flow.for_good.fetch_add((count as u64).saturating_sub(accepted.into()), Relaxed);
                return Ok(());
            }
            None => return Err(format!("it answered submission {id}, which does not wait for an answer")),
        };
        let rows = submission.rows();
        self.unacked_rows -= rows.len();
        self.flow.accepted.fetch_add(accepted.into(), Relaxed);
        for (index, refusal) in refused {
            let again =
                matches!(refusal, Refusal::Full | Refusal::BadNonce | Refusal::DiskFull) && tries < TRIES_MAX;
            let (Some(&effect), Some(&witness)) =
                (rows.effects.get(index as usize), rows.witnesses.get(index as usize))
            else {
                return Err(format!("it refused row {index} of {}", rows.len()));
            };
            if again {
                self.lane.retry.push_back(Again { effect, witness, tries: tries + 1 });
                self.retry_at = self.clock.now() + RETRY_PAUSE;
                self.flow.later.fetch_add(1, Relaxed);
            } else {
                tracing::debug!(node = self.lane.node, ?refusal, "a row was refused for good");
                self.flow.for_good.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// When a lane's `row` is due after the start: lanes take turns at the common rate.
fn offset(row: u64, per_second: f64, lanes: u64, lane: u64) -> Duration {
    Duration::try_from_secs_f64((row * lanes + lane) as f64 / per_second).unwrap_or(Duration::MAX)
}

/// How many rows of a lane are due after so many seconds.
fn due(elapsed: f64, per_second: f64, lanes: u64, lane: u64) -> u64 {
    let turns = (elapsed * per_second) as u64; // turns of all lanes that lie wholly in the past
    (turns + lanes - lane) / lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_of_all_lanes_together_has_the_rate_and_no_row_is_early() {
        for (rate, lanes) in [(1000.0, 4), (3.0, 2), (50_000.0, 1), (7.5, 8)] {
            for elapsed in [0.0, 0.1, 1.0, 2.5, 60.0] {
                let all: u64 = (0..lanes).map(|lane| due(elapsed, rate, lanes, lane)).sum();
                assert_eq!(all, (elapsed * rate) as u64 + 1, "{rate} over {lanes} after {elapsed}");
                for lane in 0..lanes {
                    let next = due(elapsed, rate, lanes, lane);
                    assert!(offset(next, rate, lanes, lane).as_secs_f64() > elapsed - 1e-6);
                    assert!(next == 0 || offset(next - 1, rate, lanes, lane).as_secs_f64() <= elapsed + 1e-6);
                }
            }
        }
    }
}
