//! Virtual time and the total order of events: by time, then by the order in which they were planned.

use super::lies::Letter;
use super::net::Flight;
use super::work::Work;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds since the world began.
pub type Nanos = u64;

/// One microsecond.
pub const US: Nanos = 1_000;
/// One millisecond.
pub const MS: Nanos = 1_000_000;
/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Something that is going to happen. A `life` counts the starts of a node: what was planned for an earlier one is void.
#[derive(Debug)]
pub enum Event {
    /// A message reaches its receiver.
    Reach(Flight),
    /// A node's loop has something to do.
    Turn { seat: u16, life: u32 },
    /// A pool or the executor of a node has finished a piece of work.
    Done { seat: u16, life: u32, work: Box<Work> },
    /// A node's disk has synced its group.
    Synced { seat: u16, life: u32, group: u64 },
    /// A node's disk has synced its snapshot.
    Snapshot { seat: u16, life: u32 },
    /// Two nodes try to connect.
    Dial { a: u16, b: u16 },
    /// A node notices that a connection is gone.
    Lost { seat: u16, peer: u16 },
    /// Clients send what is due.
    Clients,
    /// A fault begins.
    Begin { fault: usize },
    /// A fault ends.
    End { fault: usize },
    /// What a liar kept back leaves now.
    Late { seat: u16, life: u32, letter: Letter },
    /// The directory of a node is copied, to be put back by a fault.
    Copy { fault: usize },
    /// A crash that waited for its moment.
    Crash { seat: u16, life: u32, fault: usize },
    /// The checkers look at the nodes.
    Sample,
}

struct Planned {
    at: Nanos,
    sequence: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// Reversed: the heap gives the greatest first, the world wants the earliest.
    fn cmp(&self, other: &Planned) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// What is going to happen, earliest first.
#[derive(Default)]
pub struct EventQueue {
    heap: BinaryHeap<Planned>,
    sequence: u64,
}

impl EventQueue {
    /// Plans an event.
    pub fn push(&mut self, at: Nanos, event: Event) {
        self.sequence += 1;
        self.heap.push(Planned { at, sequence: self.sequence, event });
    }

    /// The earliest event.
    pub fn pop(&mut self) -> Option<(Nanos, Event)> {
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }

    /// How many are planned.
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_of_planning() {
        let mut queue = EventQueue::default();
        for (at, seat) in [(5, 0), (3, 1), (5, 2), (3, 3), (4, 4)] {
            queue.push(at, Event::Lost { seat, peer: 0 });
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop())
            .map(|(at, event)| match event {
                Event::Lost { seat, .. } => (at, seat),
                _ => unreachable!("only these were planned"),
            })
            .collect();
        assert_eq!(order, [(3, 1), (3, 3), (4, 4), (5, 0), (5, 2)]);
    }
}
