//! A leg of catching up: a stretch of blocks up to a certified one, fetched from several peers at once.
//!
//! Blocks come in any order and are proved from above: the certificate names the hash of the highest, and each proved
//! block that of the one before it. What does not link is dropped with all else that its sender gave, and fetched
//! elsewhere. Nothing is executed before the whole leg is proved, since an execution cannot be taken back.

use super::fetch::Dice;
use crate::types::{BlockHash, Certificate, Height, Seat, SeatSet, Time};
use crate::wire::HashedBlock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Blocks asked for at once.
const RANGE: u64 = 64;
/// Ranges that one peer is asked for at the same time.
const RANGES_PER_PEER: usize = 2;

/// Consecutive blocks that are not here.
#[derive(Debug, Default)]
struct Range {
    count: u64,
    /// Who was asked, and until when it may answer.
    asked: Option<(Seat, Time)>,
    /// Who does not have them, or did not answer.
    passed: SeatSet,
    /// Everybody who was ever asked: what is late is as good.
    ever: SeatSet,
    /// In how many rounds of asking everybody somebody was too late, and whether in the present one.
    late: (u32, bool),
    /// Nobody is asked before this.
    rests: Time,
}

/// The blocks above a height up to a certified one.
#[derive(Debug)]
pub(super) struct Leg {
    certificate: Arc<Certificate>,
    base: Height,
    /// By the height of their first block.
    ranges: BTreeMap<Height, Range>,
    /// Here, not proved, and who gave it.
    unproved: BTreeMap<Height, (HashedBlock, Seat)>,
    /// Proved, ascending.
    proved: VecDeque<HashedBlock>,
    /// The next block that can be proved, and the hash that it must have.
    next: (Height, BlockHash),
}

impl Leg {
    /// Everything above `base` up to the block of a certificate, which lies above it.
    pub(super) fn new(base: Height, certificate: Arc<Certificate>) -> Leg {
        let next = (certificate.height, certificate.hash);
        let (ranges, unproved, proved) = Default::default();
        let mut leg = Leg { certificate, base, ranges, unproved, proved, next };
        leg.want(base.0 + 1, next.0.0);
        leg
    }

    /// The certificate of its highest block.
    pub(super) fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// Blocks that are here.
    pub(super) fn len(&self) -> usize {
        self.unproved.len() + self.proved.len()
    }

    /// All its blocks, ascending, once they are proved.
    pub(super) fn take_proved(&mut self) -> Option<VecDeque<HashedBlock>> {
        (self.next.0 == self.base).then(|| std::mem::take(&mut self.proved))
    }

    fn want(&mut self, first: u64, last: u64) {
        for start in (first..=last).step_by(RANGE as usize) {
            let count = RANGE.min(last - start + 1);
            self.ranges.insert(Height(start), Range { count, ..Range::default() });
        }
    }

    /// Whom to ask now for which blocks. Who does not answer in time is passed over; once all were, they are asked again after a
    /// pause. `wait` says how long somebody has when somebody was late in so many rounds.
    pub(super) fn ask(
        &mut self,
        now: Time,
        peers: &[Seat],
        wait: impl Fn(u32) -> Duration,
        dice: &mut Dice,
    ) -> Vec<(Seat, Height, u32)> {
        let mut busy: BTreeMap<Seat, usize> = peers.iter().map(|peer| (*peer, 0)).collect();
        for range in self.ranges.values_mut() {
            match range.asked {
                Some((seat, due)) if due <= now || !busy.contains_key(&seat) => {
                    range.passed.insert(seat);
                    range.asked = None;
                    range.late.1 |= due <= now;
                }
                Some((seat, _)) => *busy.entry(seat).or_default() += 1,
                None => {}
            }
        }
        let mut asks = Vec::new();
        for (first, range) in self.ranges.iter_mut().filter(|(_, r)| r.asked.is_none() && r.rests <= now) {
            if !peers.is_empty() && peers.iter().all(|peer| range.passed.contains(*peer)) {
                (range.passed, range.rests) = (SeatSet::default(), now + wait(0));
                range.late = (range.late.0 + u32::from(range.late.1), false);
                continue;
            }
            let open = |peer: &&Seat| busy[*peer] < RANGES_PER_PEER && !range.passed.contains(**peer);
            let open: Vec<Seat> = peers.iter().filter(open).copied().collect();
            let least = open.iter().map(|peer| busy[peer]).min();
            let idle: Vec<Seat> = open.into_iter().filter(|peer| Some(busy[peer]) == least).collect();
            let Some(&seat) = idle.get(dice.below(idle.len())) else { continue };
            *busy.entry(seat).or_default() += 1;
            range.asked = Some((seat, now + wait(range.late.0)));
            range.ever.insert(seat);
            asks.push((seat, *first, range.count as u32));
        }
        asks
    }

    /// Takes what a peer gives; nothing, if it was not asked for it. What could be proved by it is; returns those who
    /// gave what does not link.
    pub(super) fn given(&mut self, from: Seat, first: Height, blocks: &[HashedBlock]) -> Vec<Seat> {
        let Some(range) = self.ranges.get_mut(&first).filter(|range| range.ever.contains(from)) else {
            return Vec::new();
        };
        if blocks.is_empty() {
            range.passed.insert(from);
            range.asked = range.asked.filter(|(seat, _)| *seat != from);
            return Vec::new();
        }
        let count = range.count;
        self.ranges.remove(&first);
        for given in blocks.iter().take(count as usize) {
            self.unproved.insert(given.block.height, (given.clone(), from));
        }
        self.want(first.0 + blocks.len() as u64, first.0 + count - 1);
        self.prove()
    }

    fn prove(&mut self) -> Vec<Seat> {
        let mut liars = Vec::new();
        while let Some((given, from)) = self.unproved.remove(&self.next.0) {
            if given.hash == self.next.1 {
                self.next = (Height(self.next.0.0 - 1), given.block.previous);
                self.proved.push_front(given);
                continue;
            }
            self.want(self.next.0.0, self.next.0.0);
            let dropped: Vec<Height> =
                self.unproved.iter().filter(|(_, (_, by))| *by == from).map(|(height, _)| *height).collect();
            for height in dropped {
                self.unproved.remove(&height);
                self.want(height.0, height.0);
            }
            liars.push(from);
        }
        liars
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Block, Epoch, LeaderRef, Round, VertexId};
    use crate::wire::encode_block;

    const WAIT: Duration = Duration::from_millis(100);

    fn chain(blocks: u64, tag: u8) -> Vec<HashedBlock> {
        let mut previous = BlockHash([0; 32]);
        let block = |height| {
            let block = Block {
                epoch: Epoch(0),
                height: Height(height),
                previous,
                leader: LeaderRef { round: Round(height), author: Seat(0), id: VertexId([tag; 32]) },
                time: Time(0),
                accounts: 1,
                settled: Vec::new(),
                outcomes: [0; 32],
                roots: Vec::new(),
            };
            let hashed = HashedBlock::decode(encode_block(&block).into()).unwrap();
            previous = hashed.hash;
            hashed
        };
        (1..=blocks).map(block).collect()
    }

    fn leg(chain: &[HashedBlock], base: u64) -> Leg {
        let top = chain.last().unwrap();
        let (height, hash) = (top.block.height, top.hash);
        Leg::new(Height(base), Arc::new(Certificate { epoch: Epoch(0), height, hash, votes: Vec::new() }))
    }

    /// Lets peers answer until all is proved or nobody is asked; who was found to lie, in order.
    fn play(
        leg: &mut Leg,
        peers: &[Seat],
        mut answer: impl FnMut(Seat, Height, u32) -> Option<Vec<HashedBlock>>,
    ) -> Vec<Seat> {
        let (mut liars, mut dice) = (Vec::new(), Dice(5));
        for step in 0..200 {
            let peers: Vec<Seat> = peers.iter().filter(|peer| !liars.contains(*peer)).copied().collect();
            for (seat, first, count) in leg.ask(Time(step * 200_000), &peers, |_| WAIT, &mut dice) {
                if let Some(blocks) = answer(seat, first, count) {
                    liars.extend(leg.given(seat, first, &blocks));
                }
            }
        }
        liars.sort_unstable();
        liars.dedup();
        liars
    }

    #[test]
    fn blocks_from_several_peers_are_proved_from_above_whatever_some_of_them_give() {
        let (good, other) = (chain(300, 1), chain(300, 2));
        let slice = |chain: &[HashedBlock], first: Height, count: u32| {
            chain[first.0 as usize - 1..][..count as usize].to_vec()
        };
        let mut leg = leg(&good, 20);
        let mut asked = SeatSet::default();
        let liars = play(&mut leg, &[1, 2, 3, 4].map(Seat), |seat, first, count| {
            asked.insert(seat);
            match seat.0 {
                1 => Some(slice(&other, first, count)),
                2 => None,
                3 => Some(Vec::new()),
                // As much as fits.
                _ => Some(slice(&good, first, count.min(50))),
            }
        });
        assert_eq!((liars, asked.count()), (vec![Seat(1)], 4));
        assert_eq!(leg.len(), 280);
        assert_eq!(leg.take_proved().unwrap(), &good[20..]);
    }

    #[test]
    fn what_nobody_asked_for_is_not_taken_and_without_a_source_nothing_is_proved() {
        let good = chain(100, 1);
        let mut leg = leg(&good, 0);
        assert!(leg.given(Seat(1), Height(1), &good).is_empty() && leg.len() == 0);
        let nobody = play(&mut leg, &[1, 2].map(Seat), |_, _, _| Some(Vec::new()));
        assert!(nobody.is_empty() && leg.take_proved().is_none() && leg.len() == 0);
        assert_eq!(play(&mut leg, &[], |_, _, _| None), []);
    }

    #[test]
    fn who_was_late_may_still_answer_and_when_all_were_late_all_have_more_time() {
        let (chain, peers, mut dice) = (chain(5, 1), [1, 2].map(Seat), Dice(7));
        let mut leg = leg(&chain, 0);
        let (mut now, mut first, mut waits) = (Time(0), None, Vec::new());
        // Nobody answers; after two questions there is a pause.
        while waits.len() < 4 {
            for (seat, height, _) in leg.ask(now, &peers, |late| WAIT * (late + 1), &mut dice) {
                first = first.or(Some((seat, height)));
                waits.push((seat, leg.ranges[&height].asked.unwrap().1.since(now)));
            }
            now = now + WAIT;
        }
        let (seats, waits): (Vec<Seat>, Vec<Duration>) = waits.into_iter().unzip();
        assert!(seats[0] != seats[1] && seats[2] != seats[3], "each in its turn: {seats:?}");
        assert_eq!(waits, [WAIT, WAIT, WAIT * 2, WAIT * 2]);
        // The first one's answer comes, while it is another's turn.
        let (seat, height) = first.unwrap();
        leg.ranges.get_mut(&height).unwrap().asked = Some((peers[usize::from(seat == peers[0])], now));
        assert_eq!(leg.given(seat, height, &chain), []);
        assert_eq!(leg.take_proved().map(|proved| proved.len()), Some(5));
        // Never asked for it.
        let mut other = self::leg(&chain, 0);
        let asked = other.ask(Time(0), &peers[..1], |_| WAIT, &mut dice);
        assert_eq!(other.given(peers[1], asked[0].1, &chain), []);
        assert!(other.take_proved().is_none());
    }
}
