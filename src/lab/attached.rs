//! A node in a process of its own, seen from inside: the line to the process that started it.
//!
//! The line is the child's standard input, one end of a pair of Unix sockets. So nothing has to be agreed beforehand, and
//! neither side can outlive the other unnoticed, however it ends.
//!
//! - Upon the start, the parent hands over the two sockets on which the node listens: they are bound before anybody is told
//!   of them, so that no port is lost to another program in between.
//! - Upon a byte of the parent, and twenty times a second, the child says in one line of JSON where it stands.
//! - Upon the end of the line (the parent asks it to stop, or is gone), or a signal, the node is stopped cleanly. The last line
//!   says where it stood, or why it died.

use super::Interrupt;
use crate::metrics::process_cpu;
use crate::net::{RunningNode, Stopped};
use crate::node::Progress;
use crate::types::{BlockHash, Height, Root};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How often a child says where it stands, unasked.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// What the message with the sockets says, so that it is not an empty one.
const HANDED_OVER: u8 = b'L';

/// What a child tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The node runs.
    Running {
        /// How many bytes the child has read: a parent that has sent so many has its answer.
        answered: u64,
        /// CPU time of the whole child, in microseconds.
        cpu_us: u64,
        /// [`crate::metrics::Metrics::values`].
        counters: Vec<u64>,
        /// Where it stands.
        progress: Progress,
    },
    /// The node has stopped, and stood there: two heights, and a hash and a root in hexadecimal digits.
    Stopped {
        /// The last durable block.
        height: Height,
        /// Its hash.
        hash: String,
        /// The last block that executed a row.
        last_full: Height,
        /// The root of the account table after that.
        root: String,
    },
    /// The node did not start, or died.
    Died {
        /// Why.
        reason: String,
    },
}

impl Report {
    /// Of a node that has ended.
    pub fn ended(end: &Result<Stopped, String>) -> Report {
        match end {
            Ok(Stopped { height, hash, last_full, root }) => Report::Stopped {
                height: *height,
                hash: hash.to_string(),
                last_full: *last_full,
                root: root.to_string(),
            },
            Err(reason) => Report::Died { reason: reason.clone() },
        }
    }

    /// How the node has ended, if it has; `None` for one that runs, or for what is no hash.
    pub fn end(self) -> Option<Result<Stopped, String>> {
        let digest = |text: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).is_ok().then_some(bytes)
        };
        match self {
            Report::Running { .. } => None,
            Report::Stopped { height, hash, last_full, root } => {
                let (hash, root) = (BlockHash(digest(&hash)?), Root(digest(&root)?));
                Some(Ok(Stopped { height, hash, last_full, root }))
            }
            Report::Died { reason } => Some(Err(reason)),
        }
    }
}

/// Hands over the sockets on which a child listens for peers and for clients.
pub fn hand_over(line: &UnixStream, listeners: [&TcpListener; 2]) -> io::Result<()> {
    let descriptors = listeners.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(line, &[IoSlice::new(&[HANDED_OVER])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The child's end of the line.
pub struct Line {
    stream: UnixStream,
    answered: u64,
}

impl Line {
    /// Takes over standard input and what the parent hands over: the sockets for peers and for clients.
    ///
    /// # Errors
    /// Standard input is no such line.
    pub fn take_over() -> io::Result<(Line, [TcpListener; 2])> {
        Line::of(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    fn of(stream: UnixStream) -> io::Result<(Line, [TcpListener; 2])> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut handed: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                handed.extend(descriptors);
            }
        }
        let listeners: Result<[OwnedFd; 2], _> = handed.try_into();
        match listeners {
            Ok(listeners) if word == [HANDED_OVER] => {
                stream.set_read_timeout(Some(REPORT_EVERY))?;
                Ok((Line { stream, answered: 0 }, listeners.map(TcpListener::from)))
            }
            _ => Err(io::Error::new(ErrorKind::InvalidData, "two listening sockets were expected on it")),
        }
    }

    /// Tells of a node until the line ends, the node dies or somebody interrupts; then stops it, and says how it ended. (A
    /// parent that is gone does not hear it.)
    pub fn serve(&mut self, node: RunningNode, interrupt: &Interrupt) -> Result<Stopped, String> {
        while self.running(&node).is_ok()
            && self.listen()
            && !interrupt.is_raised()
            && node.failure().is_none()
        {}
        let metrics = node.metrics().clone();
        let progress = node.progress();
        let end = node.stop();
        let _ = self.say(&self.report(metrics.values(), progress));
        self.ended(&end);
        end
    }

    /// Says how the node has ended, also if it never ran.
    pub fn ended(&mut self, end: &Result<Stopped, String>) {
        let _ = self.say(&Report::ended(end)); // nobody may be there
    }

    fn running(&mut self, node: &RunningNode) -> io::Result<()> {
        self.say(&self.report(node.metrics().values(), node.progress()))
    }

    fn report(&self, counters: Vec<u64>, progress: Progress) -> Report {
        let cpu_us = u64::try_from(process_cpu().as_micros()).unwrap_or(u64::MAX);
        Report::Running { answered: self.answered, cpu_us, counters, progress }
    }

    /// Waits for a question, no longer than until the next report is due; `false` once the line has ended.
    fn listen(&mut self) -> bool {
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => false,
            Ok(count) => {
                self.answered += count as u64;
                true
            }
            Err(error) => {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
            }
        }
    }

    fn say(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        (&self.stream).write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn listening_sockets_go_over_the_line_and_nothing_else_is_taken_for_them() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (parent, child) = UnixStream::pair().unwrap();
        let (peers, clients) = (listener(), listener());
        let addresses = [&peers, &clients].map(|listener| listener.local_addr().unwrap());
        hand_over(&parent, [&peers, &clients]).unwrap();
        drop((peers, clients));
        let (_line, taken) = Line::of(child).unwrap();
        for (listener, address) in taken.iter().zip(addresses) {
            assert_eq!(listener.local_addr().unwrap(), address);
            let caller = TcpStream::connect(address).unwrap();
            assert_eq!(listener.accept().unwrap().1, caller.local_addr().unwrap());
        }

        let (mut parent, child) = UnixStream::pair().unwrap();
        parent.write_all(b"L").unwrap();
        assert!(Line::of(child).is_err(), "no sockets came with it");
        let (parent, child) = UnixStream::pair().unwrap();
        drop(parent);
        assert!(Line::of(child).is_err(), "nobody is there");
    }

    #[test]
    fn an_end_is_told_as_it_was() {
        let stopped = Stopped {
            height: Height(9),
            hash: BlockHash([7; 32]),
            last_full: Height(8),
            root: Root([1; 32]),
        };
        for end in [Ok(stopped), Err("the disk is gone".to_owned())] {
            let line = serde_json::to_string(&Report::ended(&end)).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&line).unwrap().end(), Some(end));
        }
        let short =
            Report::Stopped { height: Height(1), hash: "07".into(), last_full: Height(1), root: "01".into() };
        assert_eq!(short.end(), None);
    }
}
