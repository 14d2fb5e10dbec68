//! Peers that misbehave: they connect to the ports of a node as anyone on the network can.
//!
//! One thread drives them all, with a bounded rate of bytes and of connections, so that what is measured is how the
//! nodes bear them and not how much of the machine they burn.

use super::flow::{CpuMeter, Flow};
use super::forger::{Forged, Forger, Forgery};
use super::interrupt::{Interrupt, Trigger};
use crate::wire::client::Request;
use crate::wire::frame_header;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a peer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerKind {
    /// Connects and says nothing.
    Idle,
    /// Connects as a client, says hello and then nothing more: it stays connected.
    Quiet,
    /// Connects and sends random bytes; connects again when it is dropped.
    Garbage,
    /// Connects as a client and submits well-formed rows with wrong signatures; see [`super::forger`].
    Forged,
}

impl PeerKind {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            PeerKind::Idle => "idle",
            PeerKind::Quiet => "quiet",
            PeerKind::Garbage => "garbage",
            PeerKind::Forged => "forged",
        }
    }
}

/// How often every peer gets its turn.
const TURN: Duration = Duration::from_millis(20);
/// Random bytes that a garbage peer sends in a turn: 200 of them are 10 MB/s.
const TURN_BYTES: usize = 1024;
/// Forged rows that all forging peers together submit in a turn: 100 per second.
const TURN_FORGED_ROWS: usize = 2;
/// The most connections that all peers together make in a turn: 1,600 per second.
const CONNECTS_PER_TURN: usize = 32;
/// How long a connection may take before the peer tries again in a later turn.
const CONNECT_MAX: Duration = Duration::from_millis(50);

/// Misbehaving peers at work.
pub struct Peers {
    stop: Trigger,
    counts: Arc<PeerCounts>,
    thread: Option<JoinHandle<()>>,
}

/// What they did so far.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Connections made.
    pub connected: AtomicU64,
    /// Connections that a node ended or refused.
    pub dropped: AtomicU64,
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Connections held now.
    pub held: AtomicU64,
    /// Forged rows submitted.
    pub forged: AtomicU64,
    /// Of them, refused for their signature.
    pub seen_through: AtomicU64,
    /// Of them, admitted: none, unless signatures are not checked.
    pub taken_in: AtomicU64,
}

/// Where peers go, and what forgers among them need to know.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Ports of either kind.
    pub ports: Vec<SocketAddr>,
    /// Of them, those for clients.
    pub client_ports: Vec<SocketAddr>,
    /// The chain as forgers see it.
    pub forgery: Forgery,
}

impl Peers {
    /// Lets `count` peers of these kinds, in turn, loose on the ports, in turn; forgers on those for clients. Their CPU
    /// time counts as the generator's.
    pub fn start(
        count: usize,
        kinds: &[PeerKind],
        targets: &Targets,
        seed: u64,
        flow: &Arc<Flow>,
    ) -> io::Result<Peers> {
        let peer = |number: usize| {
            let kind = kinds[number % kinds.len()];
            let ports = match kind {
                PeerKind::Forged | PeerKind::Quiet => &targets.client_ports,
                PeerKind::Idle | PeerKind::Garbage => &targets.ports,
            };
            Peer { kind, address: ports[(number / kinds.len()) % ports.len()], stream: None, forger: None }
        };
        let mut crowd = Crowd {
            peers: (0..count).map(peer).collect(),
            counts: Arc::default(),
            random: seed,
            forgery: targets.forgery,
            turns: 0,
        };
        let (stop, stopped) = Interrupt::pair();
        let (counts, flow) = (crowd.counts.clone(), flow.clone());
        let thread = thread::Builder::new().name("peers".to_owned()).spawn(move || {
            let mut meter = CpuMeter::start(&flow);
            loop {
                crowd.turn();
                meter.tick();
                if stopped.wait(TURN) {
                    return;
                }
            }
        })?;
        Ok(Peers { stop, counts, thread: Some(thread) })
    }

    /// What they did so far.
    pub fn counts(&self) -> &PeerCounts {
        &self.counts
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.raise();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the peers' thread panicked");
        }
    }
}

struct Peer {
    kind: PeerKind,
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// Of a forger that is connected.
    forger: Option<Forger>,
}

struct Crowd {
    peers: Vec<Peer>,
    counts: Arc<PeerCounts>,
    random: u64,
    forgery: Forgery,
    turns: usize,
}

impl Crowd {
    fn turn(&mut self) {
        let mut connects = 0;
        let mut noise = [0; TURN_BYTES];
        let forgers = self.peers.iter().filter(|peer| peer.kind == PeerKind::Forged).count();
        let mut forger_number = 0;
        for peer in &mut self.peers {
            fill(&mut noise[..8], &mut self.random);
            let draw = self.random;
            match (&mut peer.stream, &mut peer.forger) {
                (Some(stream), forger) => {
                    let outcome = match (peer.kind, forger) {
                        (PeerKind::Garbage, _) => {
                            fill(&mut noise, &mut self.random);
                            is_open(stream) && send(stream, &noise, &self.counts)
                        }
                        (PeerKind::Forged, Some(forger)) => {
                            let rows = rows_of(forger_number, forgers, self.turns);
                            match forger.turn(rows, draw, stream, &self.counts) {
                                Forged::More => true,
                                Forged::Dropped => false,
                                Forged::Done => {
                                    (peer.stream, peer.forger) = (None, None);
                                    forger_number += 1;
                                    continue;
                                }
                            }
                        }
                        _ => is_open(stream),
                    };
                    if !outcome {
                        (peer.stream, peer.forger) = (None, None);
                        self.counts.dropped.fetch_add(1, Relaxed);
                    }
                }
                (None, _) if connects < CONNECTS_PER_TURN => {
                    connects += 1;
                    match connect(peer.address) {
                        Ok(mut stream) => {
                            if peer.kind == PeerKind::Quiet {
                                let (kind, payload) = Request::Hello.encode();
                                let hello = [&frame_header(kind, payload.len())[..], &payload].concat();
                                send(&mut stream, &hello, &self.counts);
                            }
                            if peer.kind == PeerKind::Forged {
                                let greet = Forger::greet(self.forgery, draw, &mut stream, &self.counts);
                                peer.forger = Some(greet);
                            }
                            peer.stream = Some(stream);
                            self.counts.connected.fetch_add(1, Relaxed);
                        }
                        Err(_) => {
                            self.counts.dropped.fetch_add(1, Relaxed);
                        }
                    }
                }
                (None, _) => (),
            }
            forger_number += usize::from(peer.kind == PeerKind::Forged);
        }
        self.turns = self.turns.wrapping_add(1);
        let held = self.peers.iter().filter(|peer| peer.stream.is_some()).count();
        self.counts.held.store(held as u64, Relaxed);
    }
}

/// How many of a turn's forged rows are this forger's: they go round.
fn rows_of(forger: usize, forgers: usize, turn: usize) -> usize {
    let first = turn.wrapping_mul(TURN_FORGED_ROWS);
    (0..TURN_FORGED_ROWS).filter(|row| first.wrapping_add(*row) % forgers == forger).count()
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Reads away what a node says, within bounds; false once it has closed.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8], counts: &PeerCounts) -> bool {
    match stream.write(bytes) {
        Ok(written) => {
            counts.sent.fetch_add(written as u64, Relaxed);
            true
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Xorshift64* (Vigna 2016): noise, not secrets.
fn fill(noise: &mut [u8], state: &mut u64) {
    for word in noise.chunks_mut(8) {
        *state |= 1; // zero would stay zero
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let bytes = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_garbage_peer_connects_again_when_it_is_dropped_and_an_idle_one_says_nothing() {
        let [garbage, idle] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let targets = |listener: &TcpListener| Targets {
            ports: vec![listener.local_addr().unwrap()],
            client_ports: Vec::new(),
            forgery: Forgery { accounts: 1, fee: 1 },
        };
        let flow = Arc::new(Flow::default());
        let noisy = Peers::start(1, &[PeerKind::Garbage], &targets(&garbage), 1, &flow).unwrap();
        let silent = Peers::start(1, &[PeerKind::Idle], &targets(&idle), 1, &flow).unwrap();
        for _ in 0..3 {
            let (mut stream, _) = garbage.accept().unwrap();
            let mut byte = [0; 16];
            stream.read_exact(&mut byte).unwrap();
        }
        let (mut quiet, _) = idle.accept().unwrap();
        drop((noisy, silent)); // ends their connections
        assert_eq!(quiet.read(&mut [0; 16]).unwrap(), 0);
        assert!(flow.counts().cpu_ns > 0);
    }

    #[test]
    fn the_forged_rows_of_a_turn_go_round() {
        for forgers in [1, 2, 3, 50] {
            let mut rows = vec![0; forgers];
            for turn in 0..100 {
                (0..forgers).for_each(|forger| rows[forger] += rows_of(forger, forgers, turn));
            }
            assert_eq!(rows.iter().sum::<usize>(), 100 * TURN_FORGED_ROWS);
            assert!(rows.iter().max().unwrap() - rows.iter().min().unwrap() <= TURN_FORGED_ROWS, "{rows:?}");
        }
    }
}
