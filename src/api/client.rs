//! A client that asks and waits.

use crate::types::{Account, AccountNumber, Certificate, ChainId, Height, Seat};
use crate::wire::client::{
    ABSENT_MAX, ABSENT_TEXT_MAX, Absent, BlockNotice, Refusal, Reply, Request, Status, Submission,
};
use crate::wire::{CERTIFICATE_BYTES_MAX, FrameReader, WireError};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The largest answer: a certificate, or the refusals of a full submission.
const REPLY_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX + (64 << 10);
const _: () = assert!(8 + ABSENT_MAX * (4 + 2 * ABSENT_TEXT_MAX) <= REPLY_BYTES_MAX);
/// Blocks that came while something else was waited for; the oldest goes.
const NOTICES_MAX: usize = 1024;

/// Why a node did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach a node at {node}: {source}; is it the client address, and does the node run?")]
    Connect {
        /// Who was asked.
        node: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection ended, or the answer took too long.
    #[error("the node at {node} {what}")]
    Lost {
        /// Who was asked.
        node: String,
        /// How it ended.
        what: String,
    },
    /// Who listens there speaks something else.
    #[error("what listens at {node} does not speak the client protocol of this version: {source}")]
    Protocol {
        /// Who was asked.
        node: String,
        /// What it said.
        source: WireError,
    },
    /// Who listens there did not answer the hello.
    #[error(
        "what listens at {node} does not answer as a node does its clients: {what}; is it the client address?"
    )]
    Stranger {
        /// Who was asked.
        node: String,
        /// How it ended.
        what: String,
    },
    /// The node is of another chain than it should be.
    #[error(
        "the node at {node} is of chain {found}, but the genesis is of chain {wanted}: use the address or the genesis of the other"
    )]
    Chain {
        /// Who was asked.
        node: String,
        /// Its chain.
        found: ChainId,
        /// The chain of the genesis.
        wanted: ChainId,
    },
    /// An answer to another question.
    #[error("the node at {node} gave an answer to another question")]
    Answer {
        /// Who was asked.
        node: String,
    },
}

/// A connection to a node's client port.
#[derive(Debug)]
pub struct Client {
    node: String,
    stream: TcpStream,
    reader: FrameReader,
    notices: VecDeque<BlockNotice>,
    chain: ChainId,
    seat: Seat,
    seats: u16,
    submitted: u64,
}

impl Client {
    /// Connects to an address such as `127.0.0.1:27101` and says hello; every answer may take `patience`.
    ///
    /// # Errors
    /// Nobody is there, or it does not speak this protocol.
    pub fn connect(node: &str, patience: Duration) -> Result<Client, ClientError> {
        let refused = |source| ClientError::Connect { node: node.to_owned(), source };
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        let mut stream = None;
        for address in node.to_socket_addrs().map_err(refused)? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = stream.ok_or_else(|| refused(last))?;
        for set in [
            stream.set_nodelay(true),
            stream.set_write_timeout(Some(patience)),
            stream.set_read_timeout(Some(patience)),
        ] {
            set.map_err(refused)?;
        }
        let mut client = Client {
            node: node.to_owned(),
            stream,
            reader: FrameReader::new(REPLY_BYTES_MAX),
            notices: VecDeque::new(),
            chain: ChainId([0; 32]),
            seat: Seat(0),
            seats: 0,
            submitted: 0,
        };
        let welcome = client.ask(&Request::Hello).map_err(|error| match error {
            ClientError::Lost { node, what } => ClientError::Stranger { node, what },
            error => error,
        });
        match welcome? {
            Reply::Welcome { chain, seat, seats } => {
                (client.chain, client.seat, client.seats) = (chain, seat, seats);
                Ok(client)
            }
            _ => Err(client.other_answer()),
        }
    }

    /// The chain that the node says it is of.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Refuses a node of another chain.
    ///
    /// # Errors
    /// [`ClientError::Chain`].
    pub fn must_be_of(&self, wanted: ChainId) -> Result<(), ClientError> {
        let (node, found) = (self.node.clone(), self.chain);
        if found == wanted { Ok(()) } else { Err(ClientError::Chain { node, found, wanted }) }
    }

    /// The node's seat, and how many there are.
    pub fn seat(&self) -> (Seat, u16) {
        (self.seat, self.seats)
    }

    /// Where the node stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            _ => Err(self.other_answer()),
        }
    }

    /// Which peers of its configuration the node has no connection to, and how many more there are than it names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn absent(&mut self) -> Result<(Vec<Absent>, u32), ClientError> {
        match self.ask(&Request::Absent)? {
            Reply::Absent { absent, more } => Ok((absent, more)),
            _ => Err(self.other_answer()),
        }
    }

    /// The record of an account as it stands on the node, if there is such an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn account(&mut self, number: AccountNumber) -> Result<Option<Account>, ClientError> {
        match self.ask(&Request::Account(number))? {
            Reply::Account(found, account) if found == number => Ok(account),
            _ => Err(self.other_answer()),
        }
    }

    /// The certificate of a checkpoint, or of height 0 the newest, if the node has it at hand. It is not checked here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn certificate(&mut self, height: Height) -> Result<Option<Arc<Certificate>>, ClientError> {
        match self.ask(&Request::Certificate(height))? {
            Reply::Certificate(found, certificate) if found == height => Ok(certificate),
            _ => Err(self.other_answer()),
        }
    }

    /// Submits rows: which of them were refused, and why. All others wait in the node's mempool.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn submit(&mut self, rows: Submission) -> Result<Vec<(u32, Refusal)>, ClientError> {
        self.submitted += 1;
        let asked = self.submitted;
        match self.ask(&Request::Submit { id: asked, rows })? {
            Reply::Submitted { id, refused, .. } if id == asked => Ok(refused),
            _ => Err(self.other_answer()),
        }
    }

    /// From now on the node tells of every block that becomes durable there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn subscribe(&mut self) -> Result<(), ClientError> {
        self.say(&Request::Subscribe)
    }

    /// The next block, if one comes within this time.
    ///
    /// # Errors
    /// [`ClientError`], but for the time that passed.
    pub fn next_block(&mut self, within: Duration) -> Result<Option<BlockNotice>, ClientError> {
        if let Some(notice) = self.notices.pop_front() {
            return Ok(Some(notice));
        }
        let patience = self.stream.read_timeout().ok().flatten();
        let wait = self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1))));
        wait.map_err(|error| self.lost(&error.to_string()))?;
        let read = self.read();
        let restored = self.stream.set_read_timeout(patience);
        restored.map_err(|error| self.lost(&error.to_string()))?;
        match read? {
            Some(Reply::Block(notice)) => Ok(Some(notice)),
            Some(_) => Err(self.other_answer()),
            None => Ok(None),
        }
    }

    fn say(&mut self, request: &Request) -> Result<(), ClientError> {
        let frame = request.frame();
        self.stream
            .write_all(&frame)
            .map_err(|error| self.lost(&format!("does not listen any more: {error}")))
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.say(request)?;
        loop {
            match self.read()? {
                Some(Reply::Block(notice)) => {
                    if self.notices.len() == NOTICES_MAX {
                        self.notices.pop_front();
                    }
                    self.notices.push_back(notice);
                }
                Some(reply) => return Ok(reply),
                None => return Err(self.lost("does not answer in time")),
            }
        }
    }

    /// The next answer; `None` if none comes in time.
    fn read(&mut self) -> Result<Option<Reply>, ClientError> {
        let mut buffer = [0; 16 << 10];
        loop {
            let strange = |source| ClientError::Protocol { node: self.node.clone(), source };
            if let Some(frame) = self.reader.next().map_err(strange)? {
                return Reply::decode(&frame).map(Some).map_err(strange);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.lost("ended the connection")),
                Ok(count) => self.reader.push(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&format!("is gone: {error}"))),
            }
        }
    }

    fn lost(&self, what: &str) -> ClientError {
        ClientError::Lost { node: self.node.clone(), what: what.to_owned() }
    }

    fn other_answer(&self) -> ClientError {
        ClientError::Answer { node: self.node.clone() }
    }
}
