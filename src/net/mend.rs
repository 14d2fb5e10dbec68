//! Fetching what was lost below the log: a thread of its own, which asks peers as any guest does.
//!
//! - **Upon a start over segments that were set aside**, on a node that keeps all blocks: look for what is lost in them
//!   ([`Mending`]), and ask one peer after another for it, one request at a time, under a key that is good for this alone: a
//!   second connection under the node's own would look like a second node. Then rest, and ask again.
//! - **Upon a block, a settlement record or a batch**: it counts if it bears a name that was asked for, and a batch if its columns
//!   and its author's signature are good as well. Upon anything else that must be asked for: the connection ends.
//! - **Upon silence about batches**: who has them not says nothing, so behind each request the first block is asked for, and
//!   that is answered in any case.
//! - **Upon nothing being left that has a name**: say what is mended and what cannot be, and end.
//!
//! Why that is safe: nothing of the machine, the log or the loop is touched; what is written is what was lost. Why it disturbs
//! nobody: peers serve guests behind validators and at a rate of their own, an answer is at most one block or what a peer gives of
//! some batches at once, and it rests many times as long as it looks.

use super::clock::Clock;
use super::noise::{Identity, PeerError};
use super::peer::{PeerEvent, PeerLink};
use super::workers::panic_words;
use crate::crypto::{KeySet, signing_key_from_seed};
use crate::store::{Beyond, Brought, Lost, Mending, RecordKind, StoreError};
use crate::types::{BatchRef, ChainId, Height, Seat, Time};
use crate::wire::{Batch, Message};
use bytes::Bytes;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// How long a peer may take to be reached.
const REACH_MAX: Duration = Duration::from_secs(1);
/// How long a peer may take to answer, or to prove who it is.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether the node stops.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Batches asked for at once.
const BATCHES_MAX: usize = 64;
/// Bytes read of a peer for one request at most: many times what an answer has, since it tells guests of vertices too.
const READ_BYTES_MAX: usize = 64 << 20;
/// The first rest; doubles up to [`REST_MAX`].
const REST_MIN: Duration = Duration::from_secs(2);
/// The longest rest, unless looking took long.
const REST_MAX: Duration = Duration::from_secs(60);
/// Spots that cannot be mended, of which it is told one by one.
const TOLD_MAX: usize = 16;
/// It rests so many times as long as it looked.
const REST_FACTOR: u32 = 20;

/// The thread and the way to it.
pub struct Mender {
    closes: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Mender {
    /// Starts the thread. `peers` are asked in turn; `seats` sign batches on this chain.
    pub fn start(
        mending: Mending,
        peers: Vec<SocketAddr>,
        (chain, seats): (ChainId, Arc<KeySet>),
        seat: Seat,
    ) -> io::Result<Mender> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let identity = Identity { chain, seat: Seat::NONE, key: signing_key_from_seed(secret), seats };
        let (closes, closing) = bounded(0);
        let (peers, identity, clock) = (peers.into(), Arc::new(identity), Clock::start());
        let work = Work { mending, peers, identity, closing: Closing(closing), clock };
        let run = move || match catch_unwind(AssertUnwindSafe(|| work.run())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what was set aside is not mended any further"),
            Err(panic) => tracing::error!(reason = panic_words(&*panic), "mending panicked"),
        };
        let thread = std::thread::Builder::new().name(format!("mend-{seat}")).spawn(run)?;
        Ok(Mender { closes: Some(closes), thread: Some(thread) })
    }
}

impl Drop for Mender {
    fn drop(&mut self) {
        self.closes = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was said.
            let _ = thread.join();
        }
    }
}

/// Closed when the node stops.
struct Closing(Receiver<Infallible>);

impl Closing {
    fn is(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn wait(&self, rest: Duration) {
        let Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) = self.0.recv_timeout(rest);
    }
}

/// Why nothing more comes of a peer for now.
#[derive(Debug, Error)]
enum Fault {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Peer(#[from] PeerError),
    #[error("does not answer")]
    Silent,
    #[error("sent what was not asked for")]
    Unasked,
    #[error("sent a batch that is not what its header says, or that its author did not sign")]
    Forged,
    #[error("the node stops")]
    Closing,
    #[error(transparent)]
    Store(StoreError),
}

struct Work {
    mending: Mending,
    peers: VecDeque<SocketAddr>,
    identity: Arc<Identity>,
    closing: Closing,
    clock: Clock,
}

impl Work {
    fn run(mut self) -> Result<(), StoreError> {
        let mut rest = REST_MIN;
        let mut begun = false;
        loop {
            let since = self.clock.now();
            self.mending.look(&|| self.closing.is())?;
            let mut looked = self.clock.now().since(since);
            if !std::mem::replace(&mut begun, true) {
                self.say_begin();
            }
            let (_, before) = self.mending.state();
            let mut unanswered = self.ask_all()?;
            loop {
                let since = self.clock.now();
                if !self.mending.look_further(&|| self.closing.is())? {
                    break;
                }
                looked += self.clock.now().since(since);
                unanswered += self.ask_all()?;
            }
            if self.closing.is() {
                return Ok(());
            }
            let (_, left) = self.mending.state();
            if left < before {
                // What was written is read once more, and a block that is back names others.
                rest = REST_MIN;
            } else if unanswered == 0 {
                self.say_end();
                return Ok(());
            }
            if left > 0 {
                self.closing.wait(rest.max(looked * REST_FACTOR));
                rest = (rest * 2).min(REST_MAX);
            }
        }
    }

    fn say_begin(&self) {
        if let Some(Beyond { file, offset, reason }) = self.mending.beyond() {
            let file = file.display();
            tracing::warn!(%file, offset, reason, "this segment stays aside, and those below it");
        }
        if let (_, spots @ 1..) = self.mending.state() {
            tracing::info!(spots, "what is lost of segments that were set aside is asked of peers");
        }
    }

    fn say_end(&self) {
        for Beyond { file, offset, reason } in self.mending.unmended().take(TOLD_MAX) {
            let file = file.display();
            tracing::warn!(%file, offset, reason, "this segment stays aside, and those below it");
        }
        if let (segments @ 1.., _) = self.mending.state() {
            tracing::info!(
                segments,
                "segments that were set aside are whole: the next start takes them back"
            );
        }
    }

    /// Asks each peer for what is lost, until nothing is; for how many names nobody had anything.
    fn ask_all(&mut self) -> Result<usize, StoreError> {
        for _ in 0..self.peers.len() {
            if self.mending.lost().is_empty() || self.closing.is() {
                break;
            }
            let peer = self.peers[0];
            self.peers.rotate_left(1);
            match self.ask(peer) {
                Ok(()) => {}
                Err(Fault::Store(error)) => return Err(error),
                Err(reason) => tracing::debug!(%peer, %reason, "a peer gives back nothing more"),
            }
        }
        Ok(self.mending.lost().len())
    }

    /// Asks one peer for all that it has of what is lost.
    fn ask(&mut self, peer: SocketAddr) -> Result<(), Fault> {
        let Work { mending, identity, closing, clock, .. } = self;
        let mut talk = Talk::dial(peer, identity.clone(), closing, clock)?;
        let mut lacks = BTreeSet::new();
        loop {
            let mut lost = mending.lost();
            lost.retain(|lost| !lacks.contains(lost));
            let (kind, found) = match lost.first() {
                None => return Ok(()),
                Some(Lost::Block { height, .. }) => (RecordKind::Block, talk.block(*height)?),
                Some(Lost::Record { height, .. }) => (RecordKind::Settlement, talk.record(*height)?),
                Some(Lost::Batch(_)) => {
                    lost.truncate(BATCHES_MAX);
                    // If some come, there was no room for the others perhaps: they are asked for again.
                    if !ask_batches(mending, identity, &mut talk, &lost)? {
                        lacks.extend(lost);
                    }
                    continue;
                }
            };
            match found {
                Some(bytes) => take(mending, kind, &bytes)?,
                None => lacks.extend(lost.first()),
            }
        }
    }
}

/// Asks for batches; whether some came.
fn ask_batches(
    mending: &mut Mending,
    identity: &Identity,
    talk: &mut Talk<'_>,
    lost: &[Lost],
) -> Result<bool, Fault> {
    let asked =
        lost.iter().filter_map(|lost| if let Lost::Batch(batch) = lost { Some(*batch) } else { None });
    let mut asked: BTreeSet<BatchRef> = asked.collect();
    let count = asked.len();
    talk.want_batches(asked.iter().copied().collect())?;
    while let Some(batch) = talk.batch()? {
        if !asked.remove(&batch.reference()) {
            return Err(Fault::Unasked);
        }
        let (signer, digest) = (batch.header.author.index(), batch.digest(&identity.chain));
        let signed =
            signer < identity.seats.len() && identity.seats.verify(signer, &digest, &batch.header.signature);
        if !signed || !batch.roots_match() {
            return Err(Fault::Forged);
        }
        take(mending, RecordKind::Batch, batch.bytes())?;
    }
    Ok(asked.len() < count)
}

/// Takes what a peer gave.
fn take(mending: &mut Mending, kind: RecordKind, bytes: &Bytes) -> Result<(), Fault> {
    match mending.bring(kind, bytes).map_err(Fault::Store)? {
        Brought::Unknown => Err(Fault::Unasked),
        Brought::Fitless => {
            tracing::debug!(?kind, "a lost record came back whose place is not known");
            Ok(())
        }
        Brought::Mended { file, offset } => {
            tracing::debug!(file = %file.display(), offset, "a lost record is in its place again");
            Ok(())
        }
    }
}

/// A connection to a peer, on which one thing at a time is asked.
struct Talk<'a> {
    stream: TcpStream,
    link: PeerLink,
    events: Vec<PeerEvent>,
    buffer: Vec<u8>,
    closing: &'a Closing,
    clock: &'a Clock,
    /// Until when an answer may come, and how many bytes may come before it.
    until: Time,
    room: usize,
}

impl<'a> Talk<'a> {
    /// Connects, and lets the peer prove that it is one of the chain.
    fn dial(
        peer: SocketAddr,
        identity: Arc<Identity>,
        closing: &'a Closing,
        clock: &'a Clock,
    ) -> Result<Talk<'a>, Fault> {
        let stream = TcpStream::connect_timeout(&peer, REACH_MAX)?;
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.set_write_timeout(Some(REACH_MAX))?;
        let (link, buffer) = (PeerLink::dial_anyone(identity)?, vec![0; 64 << 10]);
        let (until, events) = (clock.now() + ANSWER_MAX, Vec::new());
        let mut talk = Talk { stream, link, events, buffer, closing, clock, until, room: READ_BYTES_MAX };
        match talk.next()? {
            PeerEvent::Opened(_) => {}
            PeerEvent::Guest(_) => talk.link.name(Seat::guest(0)),
            PeerEvent::Message(_) => return Err(Fault::Unasked),
        }
        Ok(talk)
    }

    /// Asks for a block; `None`: it is not there.
    fn block(&mut self, height: Height) -> Result<Option<Bytes>, Fault> {
        self.send(&Message::WantBlocks { first: height, count: 1 })?;
        match self.answer()? {
            Message::Blocks { first, blocks } if first == height && blocks.len() <= 1 => {
                Ok(blocks.first().map(|block| block.bytes.clone()))
            }
            _ => Err(Fault::Unasked),
        }
    }

    /// Asks for the settlement record of a checkpoint; `None`: it is not there.
    fn record(&mut self, height: Height) -> Result<Option<Bytes>, Fault> {
        self.send(&Message::WantRecord(height))?;
        match self.answer()? {
            Message::Record { height: of, bytes } if of == height => {
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            _ => Err(Fault::Unasked),
        }
    }

    /// Asks for batches, of which some may come, and for what is answered behind them.
    fn want_batches(&mut self, batches: Vec<BatchRef>) -> Result<(), Fault> {
        self.send(&Message::WantBatches(batches))?;
        self.send(&Message::WantBlocks { first: Height(1), count: 1 })
    }

    /// The next of the batches that were asked for; `None` after the last.
    fn batch(&mut self) -> Result<Option<Batch>, Fault> {
        match self.answer()? {
            Message::Batch(batch) => Ok(Some(batch)),
            Message::Blocks { first: Height(1), blocks } if blocks.len() <= 1 => Ok(None),
            _ => Err(Fault::Unasked),
        }
    }

    fn send(&mut self, message: &Message) -> Result<(), Fault> {
        (self.until, self.room) = (self.clock.now() + ANSWER_MAX, READ_BYTES_MAX);
        if !self.link.send(message, message.payload()) {
            return Err(Fault::Silent);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Fault> {
        loop {
            self.link.seal()?;
            let pending = self.link.out.pending();
            if pending.is_empty() {
                return Ok(());
            }
            self.stream.write_all(pending)?;
            let written = pending.len();
            self.link.out.consume(written);
        }
    }

    /// The next message that is an answer. What peers tell guests by themselves is passed over.
    fn answer(&mut self) -> Result<Message, Fault> {
        loop {
            match self.next()? {
                // What peers say without being asked.
                PeerEvent::Message(message) if !message.is_bulk() => {}
                PeerEvent::Message(message) => return Ok(message),
                PeerEvent::Opened(_) | PeerEvent::Guest(_) => return Err(Fault::Unasked),
            }
        }
    }

    fn next(&mut self) -> Result<PeerEvent, Fault> {
        loop {
            if !self.events.is_empty() {
                return Ok(self.events.remove(0));
            }
            if self.link.is_behind() {
                self.link.go_on(1, &mut self.events)?;
                continue;
            }
            self.flush()?;
            if self.closing.is() {
                return Err(Fault::Closing);
            }
            if self.room == 0 || self.clock.now() > self.until {
                return Err(Fault::Silent);
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.room = self.room.saturating_sub(count);
                    self.link.receive_some(&mut self.buffer[..count], 1, &mut self.events)?;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
