//! Links made worse on purpose, so that nodes on one machine see each other as if they were far apart.
//!
//! - Upon a message for a peer: it is held back for the delay of its link, and only then comes to the queues of the
//!   connection, in the order in which it was sent. What is held for one link is bounded; the newest is dropped.
//! - Upon bytes for a peer: no more of them go out than the rate of its link, so that what is urgent still overtakes.
//! - From time to time, at random: a connection that this node dialed is reset, and what was under way on it is lost.
//!
//! Only what one node sends is shaped: the other shapes its own. A peer without a seat has no region: it counts as one that is
//! where this node is, and a node without a seat as one in the first region. Not shaped are the handshake, clients, and what the
//! system does below: a long link has TCP windows of its own. Without a shape none of this costs anything.

use super::config::{SHAPED_BYTES_MAX, ShapeConfig};
use super::pace::Rate;
use crate::types::{Seat, Time, regions};
use crate::wire::Message;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How long a link saves up what it does not send.
const RATE_BURST: Duration = Duration::from_millis(10);

/// A message that is held back.
struct Held {
    due: Time,
    message: Message,
    payload: Bytes,
}

/// What is on its way to one peer.
#[derive(Default)]
struct Way {
    delay: Duration,
    last: Time,
    held: VecDeque<Held>,
    bytes: usize,
    reset: Option<Time>,
}

/// The links of a node.
pub struct Shaper {
    /// To the seats, then to the guests.
    ways: Vec<Way>,
    seats: usize,
    jitter: Duration,
    /// Bytes per second to one peer.
    pub rate: Rate,
    reset_mean: Duration,
    /// Messages and resets that are due, by their time.
    due: BTreeSet<(Time, Seat)>,
    resets: BTreeSet<(Time, Seat)>,
    random: u64,
}

impl Shaper {
    /// The links of a node to all seats, and to as many guests; `None` where nothing is shaped.
    pub fn new(config: &ShapeConfig, own: Seat, seats: usize, guests: usize) -> Option<Shaper> {
        if *config == ShapeConfig::default() {
            return None;
        }
        // Unknown names were refused before.
        let places = regions::places(&config.regions).unwrap_or_default();
        let place = |seat: usize| places.get(seat % places.len().max(1));
        let here = own.taken().map_or(0, Seat::index);
        let far = |seat: usize| match (place(here), place(seat)) {
            (Some(&a), Some(&b)) => Duration::from_micros(regions::one_way_us(a, b)),
            _ => Duration::ZERO,
        };
        let least = Duration::from_millis(config.delay_ms);
        let delays = (0..seats).map(|seat| least + far(seat)).chain((0..guests).map(|_| least));
        Some(Shaper {
            ways: delays.map(|delay| Way { delay, ..Way::default() }).collect(),
            seats,
            jitter: Duration::from_millis(config.jitter_ms),
            rate: Rate { per_second: config.bytes_per_second, burst: RATE_BURST },
            reset_mean: Duration::from_secs(config.reset_after_s),
            due: BTreeSet::new(),
            resets: BTreeSet::new(),
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(own.0),
        })
    }

    /// The place of a peer among the ways.
    fn place(&self, peer: Seat) -> usize {
        if peer.index() < self.seats {
            peer.index()
        } else {
            self.seats + usize::from(peer.0 - Seat::guest(0).0)
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Time> {
        [self.due.first(), self.resets.first()].into_iter().flatten().map(|(time, _)| *time).min()
    }

    /// Bytes that one write may have, so that a link is not busy for long with what is not urgent.
    pub fn budget(&self, most: usize) -> usize {
        match self.rate.per_second {
            0 => most,
            rate => usize::try_from(rate / 100).unwrap_or(most).clamp(1500, most.max(1500)),
        }
    }

    /// Takes a message on its way; `false` if too much is on it.
    #[must_use]
    pub fn hold(&mut self, to: Seat, message: Message, payload: Bytes, now: Time) -> bool {
        let jitter = self.jitter.mul_f64(self.draw());
        let place = self.place(to);
        let way = &mut self.ways[place];
        let cost = payload.len() + size_of::<Held>();
        if way.bytes + cost > SHAPED_BYTES_MAX {
            return false;
        }
        way.bytes += cost;
        // A later one does not overtake.
        way.last = way.last.max(now + way.delay + jitter);
        if way.held.is_empty() {
            self.due.insert((way.last, to));
        }
        way.held.push_back(Held { due: way.last, message, payload });
        true
    }

    /// A message that has been on its way for long enough.
    pub fn release(&mut self, now: Time) -> Option<(Seat, Message, Bytes)> {
        let (_, to) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        let place = self.place(to);
        let way = &mut self.ways[place];
        let held = way.held.pop_front()?;
        way.bytes -= held.payload.len() + size_of::<Held>();
        if let Some(next) = way.held.front() {
            self.due.insert((next.due, to));
        }
        Some((to, held.message, held.payload))
    }

    /// A connection stands; `dialed`: by this node, which is the one that resets it in its time.
    pub fn opened(&mut self, seat: Seat, dialed: bool, now: Time) {
        if dialed && self.reset_mean > Duration::ZERO {
            // Exponential, so that a reset says nothing about the next one.
            let after = self.reset_mean.mul_f64(-(1.0 - self.draw()).ln());
            let place = self.place(seat);
            self.ways[place].reset = Some(now + after);
            self.resets.insert((now + after, seat));
        }
    }

    /// A connection is gone, and with it what was on its way.
    pub fn closed(&mut self, seat: Seat) {
        let place = self.place(seat);
        let way = &mut self.ways[place];
        if let Some(held) = way.held.front() {
            self.due.remove(&(held.due, seat));
        }
        if let Some(reset) = way.reset.take() {
            self.resets.remove(&(reset, seat));
        }
        way.held.clear();
        way.bytes = 0;
    }

    /// A connection whose time to be reset has come.
    pub fn reset(&mut self, now: Time) -> Option<Seat> {
        let (due, seat) = *self.resets.first().filter(|(due, _)| *due <= now)?;
        self.resets.remove(&(due, seat));
        let place = self.place(seat);
        self.ways[place].reset = None;
        Some(seat)
    }

    /// From 0 up to, not including, 1: SplitMix64 (Steele, Lea and Flood 2014). Nobody is harmed who can guess it.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Round;

    const NOW: Time = Time(1_700_000_000_000_000);

    fn message(number: u64) -> Message {
        Message::Frontier { began: Round(number), rounds: Vec::new() }
    }

    fn shaper(config: ShapeConfig) -> Shaper {
        Shaper::new(&config, Seat(0), 3, 2).unwrap()
    }

    fn send(shaper: &mut Shaper, to: u16, number: u64, now: Time) -> bool {
        let message = message(number);
        let payload = message.payload();
        shaper.hold(Seat(to), message, payload, now)
    }

    #[test]
    fn nothing_is_shaped_unless_it_is_asked_for() {
        assert!(Shaper::new(&ShapeConfig::default(), Seat(0), 3, 2).is_none());
    }

    #[test]
    fn a_message_comes_after_its_delay_and_in_its_order() {
        let mut shaper = shaper(ShapeConfig { delay_ms: 40, jitter_ms: 20, ..ShapeConfig::default() });
        for number in 0..100 {
            assert!(send(&mut shaper, 1, number, NOW + Duration::from_millis(number)));
        }
        let mut came = Vec::new();
        for ms in 0..200 {
            let now = NOW + Duration::from_millis(ms);
            while let Some((to, released, _)) = shaper.release(now) {
                assert_eq!((to, &released), (Seat(1), &message(came.len() as u64)));
                let late = ms - came.len() as u64;
                assert!((40..=80).contains(&late), "{late} ms");
                came.push(late);
            }
        }
        assert_eq!((came.len(), shaper.deadline()), (100, None));
        assert!(came.iter().any(|late| *late > 45) && came.iter().min().unwrap() < &50, "{came:?}");
    }

    #[test]
    fn regions_are_as_far_apart_as_the_table_says() {
        let regions = ["virginia".into(), "tokyo".into()].into();
        let mut shaper = shaper(ShapeConfig { regions, ..ShapeConfig::default() });
        assert!(send(&mut shaper, 1, 1, NOW) && send(&mut shaper, 2, 2, NOW));
        // The third seat is in the first region again.
        assert_eq!(shaper.deadline(), Some(NOW + Duration::from_micros(500)));
        assert_eq!(shaper.release(NOW + Duration::from_millis(1)).unwrap().0, Seat(2));
        assert_eq!(shaper.deadline(), Some(NOW + Duration::from_millis(74)));
    }

    #[test]
    fn a_guest_is_where_the_node_is_and_who_has_no_seat_is_in_the_first_region() {
        let regions: Vec<String> = ["virginia".into(), "tokyo".into()].into();
        let config = ShapeConfig { regions, delay_ms: 3, ..ShapeConfig::default() };
        let mut shaper = self::shaper(config.clone());
        let (guest, message) = (Seat::guest(1), message(1));
        assert!(shaper.hold(guest, message.clone(), message.payload(), NOW));
        assert_eq!(shaper.deadline(), Some(NOW + Duration::from_millis(3)));
        shaper.closed(guest);
        assert_eq!(shaper.deadline(), None);
        let mut observer = Shaper::new(&config, Seat::NONE, 2, 1).unwrap();
        assert!(observer.hold(Seat(1), message.clone(), message.payload(), NOW));
        assert_eq!(observer.deadline(), Some(NOW + Duration::from_millis(77)));
    }

    #[test]
    fn what_is_on_its_way_is_bounded_and_lost_with_its_connection() {
        let mut shaper = shaper(ShapeConfig { delay_ms: 1000, ..ShapeConfig::default() });
        let payload = Bytes::from(vec![0; 1 << 20]);
        let sent = (0..1000).filter(|_| shaper.hold(Seat(1), message(0), payload.clone(), NOW)).count();
        assert!(sent < SHAPED_BYTES_MAX >> 20 && sent > SHAPED_BYTES_MAX >> 21, "{sent}");
        assert!(send(&mut shaper, 2, 5, NOW), "each way has its own bound");
        shaper.closed(Seat(1));
        assert!(shaper.hold(Seat(1), message(7), payload, NOW));
        let later = NOW + Duration::from_secs(2);
        let mut came: Vec<_> =
            std::iter::from_fn(|| shaper.release(later)).map(|(to, m, _)| (to, m)).collect();
        came.sort_by_key(|(to, _)| *to);
        assert_eq!(came, [(Seat(1), message(7)), (Seat(2), message(5))]);
    }

    #[test]
    fn connections_are_reset_at_random_with_the_mean_that_was_asked_for() {
        let mut shaper = shaper(ShapeConfig { reset_after_s: 10, ..ShapeConfig::default() });
        shaper.opened(Seat(2), false, NOW);
        assert_eq!(shaper.deadline(), None, "the other side resets what it dialed");
        let (mut now, count) = (NOW, 2000);
        for _ in 0..count {
            shaper.opened(Seat(1), true, now);
            now = shaper.deadline().unwrap();
            assert_eq!(shaper.reset(now), Some(Seat(1)));
        }
        let mean = now.since(NOW) / count;
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&mean), "{mean:?}");
        shaper.opened(Seat(1), true, now);
        shaper.closed(Seat(1));
        assert_eq!(shaper.deadline(), None);
    }
}
