//! What clients ask, and what they are told.
//!
//! - Upon rows: they are handed to the verification pool, which answers for the mempool; or refused at once, by a node that
//!   has no seat or no room on its disk.
//! - Upon blobs: they are queued, all or none, and the answer says which.
//! - Upon a question: it is answered in the same turn, from what is in memory.

use super::event_loop::EventLoop;
use crate::metrics::Metrics;
use crate::node::Input;
use crate::types::{Content, Seat, Time};
use crate::wire::Blobs;
use crate::wire::client::{Refusal, Reply, Request, Status};
use mio::Token;
use std::num::NonZeroU32;

impl EventLoop {
    /// Answers a client, at once or, where it brings rows, when they are verified.
    pub(super) fn answer(&mut self, client: Token, request: Request, now: Time) {
        let reply = match request {
            Request::Hello => Reply::Welcome {
                chain: self.shared.chain,
                seat: self.shared.seat,
                seats: self.shared.committee.size() as u16,
            },
            Request::Submit { id, rows } => {
                let count = rows.rows().len();
                Metrics::add(&self.metrics.rows_submitted, count as u64);
                let refusal = match self.shared.rules.content {
                    _ if self.shared.seat == Seat::NONE => Refusal::NoSeat,
                    _ if self.disk.full => Refusal::DiskFull,
                    Content::Rows => return self.verifiers.submit(client, id, rows),
                    Content::Opaque => Refusal::Malformed,
                };
                self.metrics.refuse(refusal, count as u64);
                let refused = (0..count as u32).map(|index| (index, refusal)).collect();
                let reply = Reply::Submitted { id, accepted: 0, refused };
                return self.sockets.reply(client, &reply, count, now, &mut self.events);
            }
            Request::SubmitBlobs { id, blobs } => Reply::Taken { id, accepted: self.take_blobs(&blobs) },
            Request::Subscribe => return self.sockets.subscribe(client),
            Request::Status => {
                let (height, hash) = self.node.tip();
                let pending = self.shared.mempool.len() + self.shared.mempool.held();
                let pending = u32::try_from(pending).unwrap_or(u32::MAX);
                let peers = self.sockets.peers() as u16;
                Reply::Status(Status { height, hash, accounts: self.shared.ledger.len(), pending, peers })
            }
            Request::Absent => self.sockets.absent(now),
            Request::Account(number) => Reply::Account(number, self.shared.ledger.account(number)),
            Request::Certificate(height) => {
                Reply::Certificate(height, self.node.certificate(height).cloned())
            }
        };
        self.sockets.reply(client, &reply, 0, now, &mut self.events);
    }

    /// Queues a client's blobs, all or none: how many, or why they were not taken.
    fn take_blobs(&mut self, blobs: &Blobs) -> Result<NonZeroU32, Refusal> {
        let count = blobs.len() as u64;
        Metrics::add(&self.metrics.rows_submitted, count);
        let taken = match self.shared.rules.content {
            _ if self.shared.seat == Seat::NONE => Err(Refusal::NoSeat),
            _ if self.disk.full => Err(Refusal::DiskFull),
            Content::Rows => Err(Refusal::Malformed),
            Content::Opaque if self.shared.blobs.push(blobs) => {
                NonZeroU32::new(count as u32).ok_or(Refusal::Malformed)
            }
            Content::Opaque => Err(Refusal::Full),
        };
        match &taken {
            Ok(_) => Metrics::add(&self.metrics.rows_admitted, count),
            Err(refusal) => self.metrics.refuse(*refusal, count),
        }
        if taken.is_ok() && !matches!(self.inputs.back(), Some(Input::Rows)) {
            self.inputs.push_back(Input::Rows);
        }
        taken
    }
}
