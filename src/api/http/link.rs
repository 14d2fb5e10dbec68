//! The HTTP server as a client of its node: one question at a time over the client port.

use super::parse::Refused;
use crate::net::{NodeView, Visit};
use crate::wire::client::{Reply, Request};
use crate::wire::{CERTIFICATE_BYTES_MAX, FrameReader};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The largest answer: a certificate, or the refusals of a full submission.
const REPLY_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX + (64 << 10);

/// A connection to the node's client port, after the hello. It waits without an end: whoever waits sets one.
pub(super) struct Link {
    stream: TcpStream,
    reader: FrameReader,
    buffer: Vec<u8>,
    /// It comes for many people, and has no address that is limited for one of them.
    _visit: Option<Visit>,
}

/// Connects from an address that is announced to the node. Where no port is left to be bound, the system may still find one that
/// it can use for this connection alone.
async fn connect(view: &NodeView, node: SocketAddr) -> io::Result<(TcpStream, Option<Visit>)> {
    let socket = if node.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let mut from = node;
    from.set_port(0);
    match socket.bind(from).and_then(|()| socket.local_addr()) {
        Ok(from) => {
            let visit = view.announce(from);
            Ok((socket.connect(node).await?, Some(visit)))
        }
        Err(_) => Ok((TcpStream::connect(node).await?, None)),
    }
}

fn gone(what: &str) -> Refused {
    Refused::busy(&format!("the node does not answer on its client port: {what}"))
}

impl Link {
    /// Connects and says hello.
    pub async fn open(view: &NodeView, node: SocketAddr) -> Result<Link, Refused> {
        let connected = connect(view, node).await;
        let (stream, visit) = connected.map_err(|error| gone(&error.to_string()))?;
        let (reader, buffer) = (FrameReader::new(REPLY_BYTES_MAX), vec![0; 16 << 10]);
        let mut link = Link { stream, reader, buffer, _visit: visit };
        // Questions are small and wait for their answer.
        link.stream.set_nodelay(true).map_err(|error| gone(&error.to_string()))?;
        match link.ask(&Request::Hello).await? {
            Reply::Welcome { .. } => Ok(link),
            _ => Err(gone("it did not say welcome")),
        }
    }

    /// Says something that has no answer of its own.
    pub async fn say(&mut self, request: &Request) -> Result<(), Refused> {
        self.stream.write_all(&request.frame()).await.map_err(|error| gone(&error.to_string()))
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, Refused> {
        self.say(request).await?;
        self.read().await
    }

    /// The next answer.
    pub async fn read(&mut self) -> Result<Reply, Refused> {
        loop {
            if let Some(frame) = self.reader.next().map_err(|error| gone(&error.to_string()))? {
                return Reply::decode(&frame).map_err(|error| gone(&error.to_string()));
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(0) => return Err(gone("it ended the connection")),
                Ok(count) => self.reader.push(&self.buffer[..count]),
                Err(error) => return Err(gone(&error.to_string())),
            }
        }
    }
}
