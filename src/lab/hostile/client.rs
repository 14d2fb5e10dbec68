//! Those who speak as clients, and how answers are read.

use super::conduct::{Birth, Conduct, Hand, Next, Occasion};
use crate::types::{AccountNumber, Height};
use crate::wire::client::{CLIENT_FRAME_BYTES_MAX, Reply, Request};
use crate::wire::{CERTIFICATE_BYTES_MAX, FrameReader};
use std::time::Duration;

/// The largest answer that is waited for.
const REPLY_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX + CLIENT_FRAME_BYTES_MAX;
/// Between two turns of a flood.
const FLOOD_EVERY: Duration = Duration::from_millis(10);
/// Requests of a turn: 25,600 per second.
const FLOOD_REQUESTS: usize = 256;
/// Between two bytes that a slow reader reads.
const SIP_EVERY: Duration = Duration::from_secs(1);

/// The answers of a node, as they come.
pub(super) struct Answers {
    reader: FrameReader,
    /// Whether it has welcomed its client.
    pub welcomed: bool,
}

impl Answers {
    pub fn new() -> Answers {
        Answers { reader: FrameReader::new(REPLY_BYTES_MAX), welcomed: false }
    }

    /// Takes bytes; gives every whole answer to `take`. False if the node speaks strangely, or `take` says so.
    pub fn hear(
        &mut self,
        bytes: &[u8],
        hand: &mut Hand<'_>,
        mut take: impl FnMut(Reply, &mut Hand<'_>) -> bool,
    ) -> bool {
        self.reader.push(bytes);
        loop {
            match self.reader.next().map(|frame| frame.map(|frame| Reply::decode(&frame))) {
                Ok(None) => return true,
                Ok(Some(Ok(Reply::Welcome { .. }))) => self.welcomed = true,
                Ok(Some(Ok(Reply::Block(_)))) => {}
                Ok(Some(Ok(reply))) => {
                    hand.counts.answers += 1;
                    if !take(reply, hand) {
                        return false;
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    }
}

/// Asks.
pub(super) fn ask(request: &Request, hand: &mut Hand<'_>) {
    hand.out.extend(request.frame());
    hand.counts.requests += 1;
}

/// Says hello, and then nothing.
struct Quiet;

/// Says hello, and then nothing.
pub(super) fn quiet(_: &Birth<'_>) -> Box<dyn Conduct> {
    Box::new(Quiet)
}

impl Conduct for Quiet {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        if let Occasion::Connected = occasion {
            ask(&Request::Hello, hand);
        }
        Next::Stay
    }
}

/// Asks as fast as it is let, and reads the answers.
struct Flood {
    answers: Answers,
}

/// Asks as fast as it is let.
pub(super) fn flood(_: &Birth<'_>) -> Box<dyn Conduct> {
    Box::new(Flood { answers: Answers::new() })
}

impl Conduct for Flood {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        match occasion {
            Occasion::Connected => {
                ask(&Request::Hello, hand);
                Next::Wake(FLOOD_EVERY)
            }
            Occasion::Heard(bytes) if self.answers.hear(bytes, hand, |_, _| true) => Next::Stay,
            Occasion::Heard(_) => Next::HangUp,
            Occasion::Due => {
                if self.answers.welcomed {
                    ask_much(hand);
                }
                Next::Wake(FLOOD_EVERY)
            }
        }
    }
}

/// A turn's requests, unless the node has not taken those of the turn before.
fn ask_much(hand: &mut Hand<'_>) {
    if hand.out.is_empty() {
        for number in 0..FLOOD_REQUESTS {
            let request = match number % 4 {
                0 | 1 => Request::Certificate(Height(0)),
                2 => Request::Status,
                _ => Request::Account(AccountNumber(1 + number as u32)),
            };
            ask(&request, hand);
        }
    }
}

/// Asks as much, and reads nothing, or a byte a second.
struct SlowRead {
    sips: bool,
}

/// Does not read what it asks for.
pub(super) fn slow_read(birth: &Birth<'_>) -> Box<dyn Conduct> {
    Box::new(SlowRead { sips: birth.number % 2 == 1 })
}

impl Conduct for SlowRead {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        match occasion {
            Occasion::Connected => {
                ask(&Request::Hello, hand);
                ask(&Request::Subscribe, hand);
                Next::Wake(FLOOD_EVERY)
            }
            Occasion::Heard(_) => Next::Stay,
            Occasion::Due => {
                if hand.out.is_empty() {
                    ask_much(hand);
                    return Next::Wake(FLOOD_EVERY);
                }
                hand.sip = self.sips;
                Next::Wake(SIP_EVERY)
            }
        }
    }

    fn reads(&self) -> bool {
        false
    }
}
