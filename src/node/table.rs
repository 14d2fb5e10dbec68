//! The account table of a certified checkpoint, piece by piece from several peers.
//!
//! - Upon the start: root and number of accounts are those of a block that a quorum signed, so the length of the table
//!   is known, and each piece can be judged alone. The memory is that of the table itself.
//! - Upon a source, which is a peer that is connected and was not found wanting: it is asked for some pieces at once,
//!   the lowest that nobody was asked for.
//! - Upon a piece that was asked for: its proof is checked against the root ([`Job::CheckPiece`]); then it stands in the
//!   table. A piece that nobody asked for costs nothing but its bytes.
//! - Upon a piece whose proof fails: its source is dropped from this table and reported by the caller; others are asked.
//! - Upon no answer in time: others are asked; the source gets one request at a time until it answers, then more and more
//!   again. Upon an answer that is late: it is as good as any, if the piece is not here; and all have longer from then on, for
//!   a link may be slow. Upon the answer that it has not got the table: it is dropped from this table, without reproach.
//! - Upon no source left: all that are connected count as sources again, but for those that lied; how often that was so
//!   without a piece in between the caller is told.
//!
//! Why that is safe: nothing that is kept depends on whom it came from, and exactly one string of bytes passes as a proof
//! of a piece. A liar among the sources costs one request, and the piece is asked for again.

use super::fetch::Dice;
use super::jobs::Job;
use crate::crypto::ProofError;
use crate::types::{Account, Height, Root, Seat, SeatSet, Time};
use crate::wire::{ProvenPiece, TABLE_PIECE_BYTES, TablePiece};
use std::collections::BTreeMap;
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

/// Pieces that one source is asked for at a time: at first, and at most. One more with each that comes, so that its link is
/// busy while answers travel; a server takes a few requests more of one peer at once, which are left for blocks and records.
const ROOM_FIRST: usize = 2;
const ROOM_MAX: usize = 6;
/// So often the time for an answer is doubled at most: then a few liars that are late on purpose, or mum, cannot make an attempt
/// fail for nothing having come.
const DOUBLED_MAX: u32 = 2;

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Missing,
    Asked { of: Seat, due: Time },
    Checking,
    Here,
}

/// What is known of a peer as a source of this table.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// Pieces that it was asked for, or that it gave and that are being checked.
    asked: usize,
    /// How many requests it may have at a time; 0 stands for the first number.
    room: usize,
    /// It said that it has not got the table.
    lacks: bool,
    /// It sent what is not of the table.
    lied: bool,
}

/// A table on its way.
#[derive(Debug)]
pub(super) struct TableFetch {
    height: Height,
    root: Root,
    table: Vec<Account>,
    pieces: Vec<Piece>,
    /// All below are not [`Piece::Missing`].
    from: usize,
    here: usize,
    sources: BTreeMap<Seat, Source>,
    /// Of pieces that are not here: who was asked and did not answer in time.
    late: BTreeMap<usize, SeatSet>,
    patience: Duration,
    /// How often the time for an answer was doubled.
    doubled: u32,
    /// How often nobody had it since a piece came.
    barren: u32,
}

impl TableFetch {
    /// The table of `accounts` accounts with this root, of the checkpoint of this height. A request that is not answered
    /// within `patience`, or a few times that on a slow link, is another's.
    pub(super) fn new(height: Height, root: Root, accounts: u32, patience: Duration) -> TableFetch {
        let table = vec![Account::new_zeroed(); accounts as usize];
        let bytes = table.as_bytes().len() as u64;
        let pieces = vec![Piece::Missing; bytes.div_ceil(TABLE_PIECE_BYTES) as usize];
        let (sources, late) = Default::default();
        let (from, here, doubled, barren) = (0, 0, 0, 0);
        TableFetch { height, root, table, pieces, from, here, sources, late, patience, doubled, barren }
    }

    /// How many pieces stand in the table, and of how many.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.here, self.pieces.len())
    }

    /// How often nobody that is connected had it since a piece came.
    pub(super) fn barren(&self) -> u32 {
        self.barren
    }

    /// Whom to ask now for which piece.
    pub(super) fn due(&mut self, now: Time, connected: &SeatSet, dice: &mut Dice) -> Vec<(Seat, u32)> {
        self.give_up(now, connected);
        let mut sources: Vec<Seat> = connected.iter().filter(|seat| self.is_source(*seat)).collect();
        if sources.is_empty() && connected.count() > 0 {
            self.barren += 1;
            self.sources.values_mut().for_each(|source| source.lacks = false);
            sources = connected.iter().filter(|seat| self.is_source(*seat)).collect();
        }
        let mut asks = Vec::new();
        while !sources.is_empty() {
            let at = dice.below(sources.len());
            let seat = sources[at];
            let source = self.sources.entry(seat).or_default();
            if source.asked >= if source.room == 0 { ROOM_FIRST } else { source.room } {
                sources.swap_remove(at);
                continue;
            }
            let Some(piece) = self.next_missing() else { break };
            self.pieces[piece] = Piece::Asked { of: seat, due: now + self.patience * (1 << self.doubled) };
            self.sources.entry(seat).or_default().asked += 1;
            asks.push((seat, piece as u32));
        }
        asks
    }

    fn is_source(&self, seat: Seat) -> bool {
        self.sources.get(&seat).is_none_or(|source| !source.lacks && !source.lied)
    }

    fn next_missing(&mut self) -> Option<usize> {
        while self.pieces.get(self.from).is_some_and(|piece| *piece != Piece::Missing) {
            self.from += 1;
        }
        (self.from < self.pieces.len()).then_some(self.from)
    }

    /// What was asked of who is gone or late is asked of others.
    fn give_up(&mut self, now: Time, connected: &SeatSet) {
        for at in 0..self.pieces.len() {
            if let Piece::Asked { of, due } = self.pieces[at]
                && (due <= now || !connected.contains(of))
            {
                self.miss(at, of);
                self.sources.entry(of).or_default().room = 1;
                self.late.entry(at).or_default().insert(of);
            }
        }
    }

    fn miss(&mut self, piece: usize, of: Seat) {
        self.pieces[piece] = Piece::Missing;
        self.from = self.from.min(piece);
        let source = self.sources.entry(of).or_default();
        source.asked = source.asked.saturating_sub(1);
    }

    /// A piece came, or the answer that the peer has not got it. Returns what is to be checked.
    pub(super) fn came(&mut self, from: Seat, piece: TablePiece) -> Option<Job> {
        let at = piece.number() as usize;
        let asked = match self.pieces.get(at)? {
            Piece::Missing => None,
            Piece::Asked { of, .. } => Some(*of),
            Piece::Checking | Piece::Here => return None,
        };
        let in_time = asked == Some(from);
        if piece.height() != self.height || !in_time && !self.is_late(from, at) {
            return None;
        }
        if piece.is_absent() {
            if in_time {
                self.miss(at, from);
            }
            self.sources.entry(from).or_default().lacks = true;
            return None;
        }
        if !in_time {
            self.take_late(from, at, asked);
        }
        self.pieces[at] = Piece::Checking;
        let bytes = self.table.as_bytes().len() as u64;
        Some(Job::CheckPiece { from, piece, root: self.root, table_bytes: bytes })
    }

    /// Whether a peer was asked for a piece and did not answer in time; not one that lied, from which nothing is taken.
    fn is_late(&self, peer: Seat, piece: usize) -> bool {
        let lied = self.sources.get(&peer).is_some_and(|source| source.lied);
        !lied && self.late.get(&piece).is_some_and(|late| late.contains(peer))
    }

    /// A piece comes late; who was asked for it since may come later still.
    fn take_late(&mut self, from: Seat, piece: usize, asked: Option<Seat>) {
        if let Some(other) = asked {
            self.miss(piece, other);
            self.late.entry(piece).or_default().insert(other);
        }
        self.sources.entry(from).or_default().asked += 1;
        self.doubled = (self.doubled + 1).min(DOUBLED_MAX);
    }

    /// A piece was checked. False: its source lied.
    pub(super) fn checked(
        &mut self,
        from: Seat,
        height: Height,
        piece: u32,
        result: Result<ProvenPiece, ProofError>,
    ) -> bool {
        let at = piece as usize;
        if height != self.height || self.pieces.get(at) != Some(&Piece::Checking) {
            return true;
        }
        self.miss(at, from);
        let source = self.sources.entry(from).or_default();
        let Ok(proven) = result else {
            source.lied = true;
            return false;
        };
        source.room = (source.room.max(ROOM_FIRST) + 1).min(ROOM_MAX);
        proven.put_into(self.table.as_mut_bytes());
        self.pieces[at] = Piece::Here;
        self.late.remove(&at);
        self.here += 1;
        self.barren = 0;
        true
    }

    /// The table, once all of it is here.
    pub(super) fn take(&mut self) -> Option<Vec<Account>> {
        let whole = self.here == self.pieces.len() && !self.table.is_empty();
        whole.then(|| std::mem::take(&mut self.table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Threads, Tree};
    use crate::wire::table_piece;
    use bytes::Bytes;

    const WAIT: Duration = Duration::from_millis(200);
    const HEIGHT: Height = Height(64);

    /// A table, its tree, and a fetch of it by somebody who is connected to three others.
    struct World {
        table: Vec<Account>,
        tree: Tree,
        fetch: TableFetch,
        connected: SeatSet,
        dice: Dice,
        now: Time,
        liars: Vec<Seat>,
    }

    impl TableFetch {
        fn asked_of(&self, seat: Seat) -> Vec<u32> {
            let asked = |(_, piece): &(u32, &Piece)| matches!(piece, Piece::Asked { of, .. } if *of == seat);
            (0..).zip(&self.pieces).filter(asked).map(|(at, _)| at).collect()
        }
    }

    impl World {
        fn new(accounts: u32) -> World {
            let key = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
            let table: Vec<Account> = (0..accounts).map(|n| Account::new(key(n), n.into())).collect();
            let mut tree = Tree::new();
            let root = Root(tree.root(table.as_bytes(), Threads::Caller));
            let fetch = TableFetch::new(HEIGHT, root, accounts, WAIT);
            let mut connected = SeatSet::default();
            [1, 2, 3].map(Seat).into_iter().for_each(|seat| _ = connected.insert(seat));
            World { table, tree, fetch, connected, dice: Dice(7), now: Time(0), liars: Vec::new() }
        }

        fn proof(&self, piece: u32) -> Bytes {
            let table = self.table.as_bytes();
            let range = table_piece(piece, table.len() as u64);
            let mut proof = Vec::new();
            self.tree.put_path(range.clone(), &mut proof).unwrap();
            proof.extend_from_slice(&table[range.start as usize..range.end as usize]);
            proof.into()
        }

        fn ask(&mut self) -> Vec<(Seat, u32)> {
            self.fetch.due(self.now, &self.connected, &mut self.dice)
        }

        fn answer(&mut self, from: Seat, piece: u32, proof: Bytes) {
            let came = self.fetch.came(from, TablePiece::of(HEIGHT, piece, &proof));
            let Some(Job::CheckPiece { from, piece, root, table_bytes }) = came else { return };
            let result = piece.verify(&root, table_bytes);
            if !self.fetch.checked(from, piece.height(), piece.number(), result) {
                self.liars.push(from);
            }
        }

        /// Asks and lets each answer as `say` says, until the table is whole.
        fn play(&mut self, say: impl Fn(&World, Seat, u32) -> Option<Bytes>) -> usize {
            let mut asked = 0;
            for _ in 0..1_000 {
                for (seat, piece) in self.ask() {
                    asked += 1;
                    if let Some(proof) = say(self, seat, piece) {
                        self.answer(seat, piece, proof);
                    }
                }
                if let Some(table) = self.fetch.take() {
                    assert!(table == self.table);
                    return asked;
                }
                self.now = self.now + WAIT;
            }
            panic!("not whole: {:?}", self.fetch.progress());
        }
    }

    #[test]
    fn tables_of_every_shape_come_whole_and_each_piece_is_asked_for_once() {
        for accounts in [1, 15, 16, 17, 4_095, 4_096, 4_097, 3 * 4_096, 50_000] {
            let mut world = World::new(accounts);
            let asked = world.play(|world, _, piece| Some(world.proof(piece)));
            assert_eq!(asked, (accounts as usize).div_ceil(4_096), "{accounts} accounts");
            assert!(world.proof(0).len() <= crate::wire::TABLE_PROOF_BYTES_MAX);
        }
    }

    #[test]
    fn all_that_are_connected_are_asked_and_none_for_more_than_its_share() {
        let mut world = World::new(50 * 4_096);
        let asks = world.ask();
        for seat in [1, 2, 3].map(Seat) {
            assert_eq!(asks.iter().filter(|ask| ask.0 == seat).count(), ROOM_FIRST);
        }
        assert_eq!(world.ask(), [], "all are busy");
        // Who answers is asked for more and more.
        for _ in 0..ROOM_MAX {
            let open: Vec<u32> = world.fetch.asked_of(Seat(2));
            let proof = world.proof(open[0]);
            world.answer(Seat(2), open[0], proof);
            world.ask();
        }
        assert_eq!([1, 2].map(|seat| world.fetch.asked_of(Seat(seat)).len()), [ROOM_FIRST, ROOM_MAX]);
    }

    #[test]
    fn a_liar_is_named_once_and_dropped_and_the_table_comes_from_the_others() {
        let mut world = World::new(50_000);
        world.play(|world, seat, piece| {
            let mut proof = world.proof(piece).to_vec();
            if seat == Seat(2) {
                *proof.last_mut().unwrap() ^= 1;
            }
            Some(proof.into())
        });
        assert!(!world.liars.is_empty() && world.liars.iter().all(|liar| *liar == Seat(2)));
        assert!(world.liars.len() <= ROOM_MAX);
    }

    #[test]
    fn who_says_nothing_or_has_not_got_it_delays_but_does_not_stop() {
        let mut world = World::new(100_000);
        let asked = world.play(|world, seat, piece| match seat {
            Seat(1) => None,
            Seat(2) => Some(Bytes::new()),
            _ => Some(world.proof(piece)),
        });
        assert!(asked > 25 && world.liars.is_empty());
        // All at once have not got it for a while: they are asked again, and it is told.
        let mut world = World::new(9_000);
        world.play(|world, _, piece| {
            Some(if world.fetch.barren() < 4 { Bytes::new() } else { world.proof(piece) })
        });
        assert_eq!(world.fetch.barren(), 0, "a piece came");
    }

    /// Seven sources whose answers take a time that falls on the whole link, so that each comes after it was given up. How many
    /// pieces were asked for, and how many there are.
    fn over_a_slow_link(each: Duration) -> (usize, usize) {
        let mut world = World::new(60 * 4_096);
        [4, 5, 6, 7].map(Seat).into_iter().for_each(|seat| _ = world.connected.insert(seat));
        let (mut asked, mut link) = (0, std::collections::VecDeque::new());
        let mut free = Time(0);
        loop {
            for (seat, piece) in world.ask() {
                asked += 1;
                free = free.max(world.now) + each;
                link.push_back((free, seat, piece));
            }
            let (at, seat, piece) = link.pop_front().expect("somebody is asked until it is whole");
            world.now = world.now.max(at);
            let proof = world.proof(piece);
            world.answer(seat, piece, proof);
            if world.fetch.take().is_some_and(|table| table == world.table) {
                assert!(world.liars.is_empty());
                return (asked, world.fetch.progress().1);
            }
            assert!(asked < 10_000);
        }
    }

    #[test]
    fn answers_that_come_late_over_a_slow_link_are_as_good_as_any() {
        // Fourteen requests at a time wait for one another: at once, for twice the time that they have, and for seven times.
        // If what is late is not taken, it is 540 requests in the second case.
        for (each, most) in [(Duration::ZERO, 60), (WAIT / 7, 130), (WAIT / 2, 300)] {
            let (asked, pieces) = over_a_slow_link(each);
            assert!((pieces..=most).contains(&asked), "{asked} requests for {pieces} pieces, {each:?} each");
        }
    }

    #[test]
    fn who_is_late_may_say_what_it_was_asked_for_and_no_more() {
        let mut world = World::new(50_000);
        let seats = [1, 2, 3].map(Seat);
        let mut before = world.ask();
        // One that was asked of another, and never of the third.
        let (late, asked, stranger, piece) = (0..100)
            .find_map(|_| {
                world.now = world.now + WAIT;
                let again = world.ask();
                let was_asked = |seat: Seat, piece: u32| before.contains(&(seat, piece));
                let found = again.iter().find_map(|&(asked, piece)| {
                    let late = seats.into_iter().find(|seat| *seat != asked && was_asked(*seat, piece))?;
                    let stranger = seats.into_iter().find(|seat| ![late, asked].contains(seat))?;
                    (!was_asked(stranger, piece)).then_some((late, asked, stranger, piece))
                });
                before.extend(again);
                found
            })
            .expect("three sources that say nothing");
        let proof = world.proof(piece);
        let came = |world: &mut World, from, proof: &[u8]| {
            world.fetch.came(from, TablePiece::of(HEIGHT, piece, proof)).is_some()
        };
        assert!(!came(&mut world, stranger, &proof), "it was never asked for this one");
        // That one lacks the piece takes nothing from who was asked since.
        assert!(!came(&mut world, late, &[]));
        assert!(world.fetch.asked_of(asked).contains(&piece));
        // A lie is a lie when it is late, and the last word of who said it.
        let mut false_proof = proof.to_vec();
        *false_proof.last_mut().unwrap() ^= 1;
        world.answer(late, piece, false_proof.into());
        assert_eq!(world.liars, [late]);
        assert!(!came(&mut world, late, &proof));
        // Who was asked since is late now, and honest.
        assert!(came(&mut world, asked, &proof));
        assert!(!came(&mut world, asked, &proof), "once");
    }

    #[test]
    fn what_nobody_asked_for_is_not_looked_at() {
        let mut world = World::new(9_000);
        let proof = world.proof(0);
        let of = |height, number| TablePiece::of(height, number, &proof);
        assert!(world.fetch.came(Seat(1), of(HEIGHT, 0)).is_none(), "not asked");
        let (seat, piece) = world.ask()[0];
        let other = Seat(seat.0 % 3 + 1);
        assert!(world.fetch.came(other, of(HEIGHT, piece)).is_none(), "asked of another");
        assert!(world.fetch.came(seat, of(Height(128), piece)).is_none());
        assert!(world.fetch.came(seat, of(HEIGHT, 99)).is_none());
        assert!(world.fetch.came(seat, of(HEIGHT, piece)).is_some());
        assert!(world.fetch.came(seat, of(HEIGHT, piece)).is_none(), "it is being checked");
        assert!(
            world.fetch.checked(seat, HEIGHT, 77, Err(ProofError::TooShort)),
            "nobody is reproached for it"
        );
    }

    #[test]
    fn what_was_asked_of_a_peer_that_is_gone_is_asked_of_others_at_once() {
        let mut world = World::new(50_000);
        let first = world.ask();
        let (gone, lost) = first[0];
        world.connected.remove(gone);
        assert_eq!(world.ask(), [], "the others are busy");
        for (seat, piece) in first.into_iter().filter(|(seat, _)| *seat != gone) {
            let proof = world.proof(piece);
            world.answer(seat, piece, proof);
        }
        let again = world.ask();
        assert!(again.iter().all(|(seat, _)| *seat != gone));
        assert!(again.iter().any(|(_, piece)| *piece == lost), "{again:?}");
    }
}
