//! Observers: one subscription to every node, which gathers the notices of durable blocks.

use super::flow::{CpuMeter, Flow};
use crate::types::{BlockHash, Time};
use crate::wire::FrameReader;
use crate::wire::client::{BlockNotice, CLIENT_FRAME_BYTES_MAX, Reply, Request};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a connection may take on loopback.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 << 10;

/// A client's connection: frames out, replies in.
pub struct Link {
    stream: TcpStream,
    reader: FrameReader,
    buffer: Vec<u8>,
}

impl Link {
    /// Connects, says hello and waits for the welcome.
    pub fn open(address: SocketAddr) -> io::Result<Link> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
        stream.set_nodelay(true)?;
        let mut link =
            Link { stream, reader: FrameReader::new(CLIENT_FRAME_BYTES_MAX), buffer: vec![0; READ_BYTES] };
        link.send(&Request::Hello)?;
        link.stream.set_read_timeout(Some(CONNECT_MAX))?;
        match link.receive()? {
            Some(Reply::Welcome { .. }) => link.stream.set_read_timeout(None).map(|()| link),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the node did not welcome its client")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes a request.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&request.frame())
    }

    /// Waits for the next reply; `None` once the node has closed the connection.
    pub fn receive(&mut self) -> io::Result<Option<Reply>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        loop {
            if let Some(frame) = self.reader.next().map_err(invalid)? {
                return Reply::decode(&frame).map(Some).map_err(invalid);
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.reader.push(&self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// Another handle on the connection, to write while this one waits, or to shut it down.
    pub fn stream(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }
}

/// What the observers have seen so far.
#[derive(Debug, Default)]
pub struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// The notices of every node, in the order of height, and what they add up to.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By node.
    pub notices: Vec<Vec<BlockNotice>>,
    /// Rows settled, by node.
    pub rows: Vec<u64>,
    /// Rows settled `ok`, by node.
    pub ok: Vec<u64>,
    /// Nodes whose subscription ended before its time.
    pub lost: Vec<bool>,
}

impl Board {
    /// Reads what was seen.
    pub fn read<R>(&self, read: impl FnOnce(&Seen) -> R) -> R {
        read(&self.seen.lock())
    }

    /// Waits until it holds, or no longer than `span`; says whether it holds.
    #[allow(clippy::disallowed_methods, reason = "the observer's driver waits by the steady clock")]
    pub fn wait(&self, span: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + span;
        let mut seen = self.seen.lock();
        while !holds(&seen) {
            if self.changed.wait_until(&mut seen, deadline).timed_out() {
                return holds(&seen);
            }
        }
        true
    }

    fn note(&self, node: usize, notice: BlockNotice) -> u64 {
        let mut seen = self.seen.lock();
        seen.rows[node] += u64::from(notice.rows);
        seen.ok[node] += u64::from(notice.ok);
        seen.notices[node].push(notice);
        self.changed.notify_all();
        seen.rows.iter().copied().max().unwrap_or(0)
    }

    fn lose(&self, node: usize) {
        self.seen.lock().lost[node] = true;
        self.changed.notify_all();
    }
}

/// The observers of a cluster; they end when they are stopped or the nodes are.
pub struct Observers {
    board: Arc<Board>,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Observers {
    /// Subscribes to every node. What settles is told to `flow` as well, so that a closed loop goes on.
    pub fn start(addresses: &[SocketAddr], flow: &Arc<Flow>) -> io::Result<Observers> {
        let count = addresses.len();
        let seen = Seen {
            notices: vec![Vec::new(); count],
            rows: vec![0; count],
            ok: vec![0; count],
            lost: vec![false; count],
        };
        let board = Arc::new(Board { seen: Mutex::new(seen), changed: Condvar::new() });
        let mut observers = Observers { board, streams: Vec::new(), threads: Vec::new() };
        for (node, address) in addresses.iter().enumerate() {
            let mut link = Link::open(*address)?;
            link.send(&Request::Subscribe)?;
            observers.streams.push(link.stream()?);
            let (board, flow) = (observers.board.clone(), flow.clone());
            let thread = thread::Builder::new().name(format!("observe-{node}"));
            observers.threads.push(thread.spawn(move || observe(node, link, &board, &flow))?);
        }
        Ok(observers)
    }

    /// What they see.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Ends them; what they saw.
    pub fn stop(mut self) -> Seen {
        self.end();
        self.board.read(Seen::clone)
    }

    fn end(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // fails only where the node was faster
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an observer panicked");
            }
        }
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        self.end();
    }
}

fn observe(node: usize, mut link: Link, board: &Board, flow: &Flow) {
    let mut meter = CpuMeter::start(flow);
    loop {
        match link.receive() {
            Ok(Some(Reply::Block(notice))) => {
                let rows = board.note(node, notice);
                flow.settled(rows);
            }
            Ok(Some(_)) => (),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(node, %error, "subscription ended");
                break;
            }
        }
        meter.tick();
    }
    board.lose(node);
}

/// A height that became durable on a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Its number.
    pub height: u64,
    /// When the last node of the fastest quorum had it on disk.
    pub time: Time,
    /// Rows settled.
    pub rows: u32,
    /// Of them with the outcome `ok`.
    pub ok: u32,
}

/// The heights that became durable on a quorum, ascending: each at the `quorum`-th smallest of its times over the nodes
/// that agree with the first of them on its hash.
pub fn on_quorum(notices: &[Vec<BlockNotice>], quorum: usize) -> Vec<Settled> {
    let mut heights: BTreeMap<u64, Vec<&BlockNotice>> = BTreeMap::new();
    for notice in notices.iter().flatten() {
        heights.entry(notice.height.0).or_default().push(notice);
    }
    let settled = heights.into_iter().filter_map(|(height, notices)| {
        let hash: BlockHash = notices.first()?.hash;
        let mut times: Vec<Time> = notices.iter().filter(|n| n.hash == hash).map(|n| n.durable).collect();
        times.sort_unstable();
        let time = *times.get(quorum.checked_sub(1)?)?;
        notices.first().map(|first| Settled { height, time, rows: first.rows, ok: first.ok })
    });
    settled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Height;

    fn notice(height: u64, hash: u8, durable: u64) -> BlockNotice {
        BlockNotice {
            height: Height(height),
            hash: BlockHash([hash; 32]),
            durable: Time(durable),
            batches: 1,
            rows: 10,
            ok: 9,
        }
    }

    #[test]
    fn a_height_settles_when_the_last_node_of_the_fastest_quorum_has_it() {
        let nodes = [
            vec![notice(1, 1, 100), notice(2, 2, 200)],
            vec![notice(1, 1, 130), notice(2, 2, 190)],
            vec![notice(1, 1, 110)],
            vec![notice(1, 1, 999), notice(2, 7, 195)],
        ];
        let settled = on_quorum(&nodes, 3);
        assert_eq!(settled, [Settled { height: 1, time: Time(130), rows: 10, ok: 9 }]);
        assert_eq!(on_quorum(&nodes, 2).last().map(|s| (s.height, s.time)), Some((2, Time(200))));
        assert_eq!(on_quorum(&nodes[..1], 1).len(), 2);
    }
}
