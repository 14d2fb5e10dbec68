//! A client that submits forged rows: existing accounts, acceptable nonces, well-formed signatures, of which none is
//! over its row. Nothing cheaper than a check of the signature tells such a row from a good one.
//!
//! It asks for an account's nonce, submits one row, and counts what the answer says of it. After
//! `ROWS_PER_CONNECTION` rows it hangs up and comes back as somebody new.

use super::peers::PeerCounts;
use crate::crypto::{self, SigningKey};
use crate::types::{AccountNumber, Effect, Witness};
use crate::wire::client::{CLIENT_FRAME_BYTES_MAX, Refusal, Reply, Request, Submission};
use crate::wire::{FrameReader, Rows};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;

/// Forged rows that a peer submits on one connection.
const ROWS_PER_CONNECTION: usize = 8;
/// How far ahead of an account's nonce a forged row's is: inside the window, and still there when honest rows of the
/// same account were executed in between.
const NONCE_AHEAD: u64 = 48;

/// What forgers need to know of the chain.
#[derive(Clone, Copy, Debug)]
pub struct Forgery {
    /// Accounts 1 to this one exist.
    pub accounts: u32,
    /// The fee of a row.
    pub fee: u32,
}

/// One connection of a forger.
pub struct Forger {
    forgery: Forgery,
    key: SigningKey,
    reader: FrameReader,
    welcomed: bool,
    asked: usize,
    answered: usize,
}

/// How a forger's turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forged {
    /// It goes on.
    More,
    /// It has done its part on this connection and hangs up.
    Done,
    /// The node has hung up, or does not speak as a node does.
    Dropped,
}

impl Forger {
    /// Says hello on a new connection that does not block. `draw` picks the key that signs: nobody's.
    pub fn greet(forgery: Forgery, draw: u64, stream: &mut TcpStream, counts: &PeerCounts) -> Forger {
        let mut seed = [0xF0; 32];
        seed[..8].copy_from_slice(&draw.to_le_bytes());
        send(stream, &Request::Hello, counts);
        Forger {
            forgery,
            key: crypto::signing_key_from_seed(seed),
            reader: FrameReader::new(CLIENT_FRAME_BYTES_MAX),
            welcomed: false,
            asked: 0,
            answered: 0,
        }
    }

    /// Reads answers, and begins so many forged rows more; each is submitted when the node has told the nonce of the
    /// account that `draw` picks.
    pub fn turn(&mut self, rows: usize, draw: u64, stream: &mut TcpStream, counts: &PeerCounts) -> Forged {
        if !self.read(stream, counts) {
            return Forged::Dropped;
        }
        if self.answered == ROWS_PER_CONNECTION {
            return Forged::Done;
        }
        let rows = if self.welcomed { rows.min(ROWS_PER_CONNECTION - self.asked) } else { 0 };
        for row in 0..rows as u64 {
            self.asked += 1;
            let number = 1 + draw.wrapping_add(row) % u64::from(self.forgery.accounts.max(1));
            if !send(stream, &Request::Account(AccountNumber(number as u32)), counts) {
                return Forged::Dropped;
            }
        }
        Forged::More
    }

    /// Reads what there is; false when the connection is over.
    fn read(&mut self, stream: &mut TcpStream, counts: &PeerCounts) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.reader.push(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        loop {
            match self.reader.next().map(|frame| frame.map(|frame| Reply::decode(&frame))) {
                Ok(None) => return true,
                Ok(Some(Ok(reply))) => {
                    if !self.take(reply, stream, counts) {
                        return false;
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    }

    fn take(&mut self, reply: Reply, stream: &mut TcpStream, counts: &PeerCounts) -> bool {
        match reply {
            Reply::Welcome { .. } => self.welcomed = true,
            Reply::Account(_, None) => self.answered += 1,
            Reply::Account(number, Some(account)) => {
                let Some(rows) = self.forge(number, account.nonce_high.get()) else { return false };
                counts.forged.fetch_add(1, Relaxed);
                return send(stream, &Request::Submit { id: self.answered as u64, rows }, counts);
            }
            Reply::Submitted { accepted, refused, .. } => {
                self.answered += 1;
                counts.taken_in.fetch_add(accepted.into(), Relaxed);
                let seen_through = |(_, refusal): &&(u32, Refusal)| *refusal == Refusal::BadSignature;
                counts.seen_through.fetch_add(refused.iter().filter(seen_through).count() as u64, Relaxed);
            }
            _ => {}
        }
        true
    }

    /// One row of an account, under a signature over something else.
    fn forge(&self, from: AccountNumber, nonce_high: u64) -> Option<Submission> {
        let to = from.0 % self.forgery.accounts + 1;
        let nonce = nonce_high.saturating_add(NONCE_AHEAD);
        let effect = Effect::transfer(from.0, to, 1, nonce, self.forgery.fee);
        let digest = crypto::plain(&[from.0.to_le_bytes().as_slice(), &nonce.to_le_bytes()].concat());
        let witness = Witness(crypto::sign(&self.key, &digest));
        Submission::pack(Rows { effects: &[effect], keys: &[], witnesses: &[witness] })
    }
}

/// Writes a request whole; false where the node does not take it: so little always fits, unless nobody reads.
fn send(stream: &mut TcpStream, request: &Request, counts: &PeerCounts) -> bool {
    let bytes = request.frame();
    counts.sent.fetch_add(bytes.len() as u64, Relaxed);
    stream.write_all(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Account, ChainId, Seat};
    use crate::wire::frame_header;
    use std::net::TcpListener;

    #[test]
    fn a_forger_asks_submits_counts_and_leaves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut node, _) = listener.accept().unwrap();
        let counts = PeerCounts::default();
        let mut forger = Forger::greet(Forgery { accounts: 5, fee: 1 }, 9, &mut stream, &counts);
        stream.set_nonblocking(true).unwrap();
        let mut reader = FrameReader::new(1 << 20);
        let mut submitted = 0;
        let mut forged = Forged::More;
        while forged == Forged::More {
            forged = forger.turn(3, 1, &mut stream, &counts);
            node.set_nonblocking(true).unwrap();
            let mut buffer = [0; 4096];
            if let Ok(count) = node.read(&mut buffer) {
                reader.push(&buffer[..count]);
            }
            while let Some(frame) = reader.next().unwrap() {
                let reply = match Request::decode(frame).unwrap() {
                    Request::Hello => Reply::Welcome { chain: ChainId([1; 32]), seat: Seat(0), seats: 1 },
                    Request::Account(number) => Reply::Account(number, Some(Account::new([3; 32], 100))),
                    Request::Submit { id, rows } => {
                        submitted += 1;
                        let effect = rows.rows().effects[0];
                        assert!((1..=5).contains(&effect.from.get()) && effect.nonce.get() == NONCE_AHEAD);
                        assert_ne!(effect.from, effect.to);
                        Reply::Submitted { id, accepted: 0, refused: vec![(0, Refusal::BadSignature)] }
                    }
                    other => panic!("{other:?}"),
                };
                let (kind, payload) = reply.encode();
                node.write_all(&[&frame_header(kind, payload.len())[..], &payload].concat()).unwrap();
            }
        }
        assert_eq!((forged, submitted), (Forged::Done, ROWS_PER_CONNECTION));
        assert_eq!(counts.forged.load(Relaxed), counts.seen_through.load(Relaxed));
        drop(node);
        assert_eq!(forger.turn(1, 1, &mut stream, &counts), Forged::Dropped);
    }
}
