//! The mempool against a plain model, and under threads.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// An entry that carries a tag in its witness, by which tests know it again.
fn entry(from: u32, nonce: u64, fee: u32, tag: u32) -> Entry {
    let mut witness = [0; 64];
    witness[..4].copy_from_slice(&tag.to_le_bytes());
    // Every third account opens accounts, so that columns have to keep together.
    let key = from.is_multiple_of(3).then_some([tag as u8; 32]);
    let effect = match key {
        Some(_) => Effect::open(from, 1, nonce, fee),
        None => Effect::transfer(from, 1, 1, nonce, fee),
    };
    Entry { effect, key, witness: Witness(witness) }
}

fn rows(taken: &Taken) -> Rows<'_> {
    Rows { effects: &taken.effects, keys: &taken.keys, witnesses: &taken.witnesses }
}

fn tags(taken: &Taken) -> Vec<u32> {
    let tag = |witness: &Witness| u32::from_le_bytes([0, 1, 2, 3].map(|byte| witness.0[byte]));
    taken.witnesses.iter().map(tag).collect()
}

/// All rows of the pool, whatever they are.
fn drain(pool: &Mempool) -> Taken {
    pool.take(usize::MAX, &|_| true)
}

/// Rows to be sealed here, of clients.
fn offers(rows: &[(Entry, u64)]) -> Vec<Offer> {
    rows.iter()
        .map(|&(entry, balance)| Offer { entry, balance, from: Seat::NONE, sealed_here: true })
        .collect()
}

/// Seats of the pools here.
const SEATS: usize = 4;

/// The plain model: lists, searched from end to end.
#[derive(Default)]
struct Model {
    rows_max: usize,
    waiting: Vec<Waits>,
    /// Fees of rows that were taken, by account and place in the ring.
    taken: BTreeMap<(u32, u64), u64>,
    arrivals: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Queue {
    Sealed(u32),
    Fresh,
    Held(Held),
}

#[derive(Clone, Copy)]
struct Waits {
    queue: Queue,
    arrival: usize,
    entry: Entry,
    from: Seat,
    /// Others may seal it as well.
    shared: bool,
}

impl Model {
    fn place(effect: &Effect) -> (u32, u64) {
        (effect.from.get(), effect.nonce.get() % 128)
    }

    fn waits(&self, effect: &Effect) -> bool {
        self.waiting.iter().any(|other| Self::place(&other.entry.effect) == Self::place(effect))
    }

    fn add(&mut self, queue: Queue, entry: Entry, from: Seat) {
        let shared = queue == Queue::Fresh || from != Seat::NONE;
        self.waiting.push(Waits { queue, arrival: self.arrivals, entry, from, shared });
        self.arrivals += 1;
    }

    fn class(entry: &Entry) -> Queue {
        Queue::Sealed((0..32).rev().find(|bit| entry.effect.fee.get() >> bit != 0).unwrap_or(0))
    }

    fn room(&self, from: Seat) -> usize {
        let free = self.rows_max - self.waiting.len();
        let of_peer = |seat: Seat| self.waiting.iter().filter(|waits| waits.from == seat).count();
        let share_left = |seat: Seat| (self.rows_max / 4 / SEATS).saturating_sub(of_peer(seat));
        let kept_free: usize = (0..SEATS as u16).map(|seat| share_left(Seat(seat))).sum();
        match from {
            Seat::NONE => free.saturating_sub(kept_free),
            peer if free > self.rows_max.div_ceil(2) => {
                (free - self.rows_max.div_ceil(2)).max(share_left(peer))
            }
            // Rows of dead batches come back into what is kept free, too.
            peer => share_left(peer).min(free),
        }
    }

    fn full(&self, from: Seat) -> bool {
        self.room(from) == 0
    }

    fn insert(&mut self, offer: &Offer) -> Admit {
        let Offer { entry, balance, from, sealed_here } = offer;
        let account = entry.effect.from.get();
        let waiting = self.waiting.iter().filter(|waits| waits.entry.effect.from.get() == account);
        let waiting: u64 = waiting.map(|waits| u64::from(waits.entry.effect.fee.get())).sum();
        let taken: u64 = self.taken.iter().filter(|((f, _), _)| *f == account).map(|(_, fee)| fee).sum();
        if self.waits(&entry.effect) || self.taken.contains_key(&Self::place(&entry.effect)) {
            Admit::Duplicate
        } else if waiting + taken + u64::from(entry.effect.fee.get()) > *balance {
            Admit::NotCovered
        } else if self.full(*from) {
            Admit::Full
        } else {
            self.add(if *sealed_here { Self::class(entry) } else { Queue::Fresh }, *entry, *from);
            Admit::Admitted
        }
    }

    fn take(&mut self, rows_max: usize, keep: &dyn Fn(&Effect) -> bool) -> Vec<Entry> {
        let priority = |waits: &Waits| match waits.queue {
            Queue::Sealed(priority) => 32 - priority,
            Queue::Fresh | Queue::Held(_) => 33,
        };
        self.waiting.sort_by_key(|waits| (priority(waits), waits.arrival));
        let mut kept = Vec::new();
        while kept.len() < rows_max
            && self.waiting.first().is_some_and(|waits| matches!(waits.queue, Queue::Sealed(_)))
        {
            let entry = self.waiting.remove(0).entry;
            if keep(&entry.effect) {
                self.taken.insert(Self::place(&entry.effect), entry.effect.fee.get().into());
                kept.push(entry);
            }
        }
        kept.sort_by_key(|entry| entry.key.is_none());
        kept
    }

    fn put_back(&mut self, entry: Entry) {
        self.taken.remove(&Self::place(&entry.effect));
        if !self.waits(&entry.effect) && self.waiting.len() < self.rows_max {
            self.add(Queue::Sealed(32), entry, Seat::NONE);
        }
    }

    fn pass_on(&mut self, now: Time, decide: &mut dyn FnMut(&Entry, Seat, Held) -> Fate) {
        self.waiting.sort_by_key(|waits| (waits.queue != Queue::Fresh, waits.arrival));
        for waits in self.waiting.clone() {
            let held = match waits.queue {
                Queue::Fresh => Held::default(),
                Queue::Held(held) if held.until <= now => held,
                _ => continue,
            };
            let queue = match decide(&waits.entry, waits.from, held) {
                Fate::Hold(held) => Some(Queue::Held(held)),
                Fate::Seal => Some(Self::class(&waits.entry)),
                Fate::LetGo => None,
            };
            self.waiting.retain(|other| other.arrival != waits.arrival);
            if let Some(queue) = queue {
                self.waiting.push(Waits { queue, arrival: self.arrivals, ..waits });
                self.arrivals += 1;
            }
        }
    }

    fn executed(&mut self, rows: &[(u32, u64)]) {
        if !self.waiting.iter().any(|waits| waits.shared) {
            return;
        }
        let is = |effect: &Effect| rows.contains(&(effect.from.get(), effect.nonce.get()));
        self.waiting.retain(|waits| !is(&waits.entry.effect));
    }

    /// How many wait to be sealed, and how many are held.
    fn counts(&self) -> (usize, usize) {
        let sealed = self.waiting.iter().filter(|waits| matches!(waits.queue, Queue::Sealed(_))).count();
        (sealed, self.waiting.len() - sealed)
    }
}

/// What a holder might say: anything, but the same of the same.
fn fate(entry: &Entry, now: Time, held: Held) -> Fate {
    match (entry.effect.nonce.get() + u64::from(held.waits)) % 5 {
        0 => Fate::LetGo,
        1 => Fate::Seal,
        _ => Fate::Hold(Held { until: Time(now.0 + 10), rank: held.rank + 2, waits: held.waits + 1, ..held }),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Rows (account, nonce, fee), the balance that all of them meet, who hands them on, whether they are sealed here.
    Insert(Vec<(u32, u64, u32)>, u64, Seat, bool),
    /// How many, and which remainder of the nonce is not kept.
    Take(usize, u64),
    /// The rows of an earlier take, executed.
    Release(usize),
    /// The rows of an earlier take, in a batch that died.
    PutBack(usize),
    /// So much later somebody looks after what is held.
    PassOn(u64),
    /// Account and nonce of rows that somebody sealed.
    Executed(Vec<(u32, u64)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fee = prop_oneof![4 => 0..20u32, 1 => any::<u32>()];
    let nonce = || prop_oneof![3 => 1..20u64, 1 => 1..300u64];
    let row = (1..6u32, nonce(), fee);
    let from = prop_oneof![Just(Seat::NONE), (0..4u16).prop_map(Seat)];
    let step = prop_oneof![
        4 => (prop::collection::vec(row, 0..20), 0..200u64, from, any::<bool>())
            .prop_map(|(rows, balance, from, here)| Step::Insert(rows, balance, from, here)),
        3 => (0..25usize, 0..6u64).prop_map(|(count, odd)| Step::Take(count, odd)),
        2 => (0..8usize).prop_map(Step::Release),
        1 => (0..8usize).prop_map(Step::PutBack),
        3 => (0..20u64).prop_map(Step::PassOn),
        2 => prop::collection::vec((1..6u32, nonce()), 0..20).prop_map(Step::Executed),
    ];
    prop::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_steps_agree_with_the_plain_model(steps in steps(), rows_max in 0..60usize) {
        let pool = Mempool::new(rows_max, SEATS);
        let mut model = Model { rows_max, ..Model::default() };
        let (mut batches, mut tag, mut now): (Vec<Taken>, u32, Time) = (Vec::new(), 0, Time(1));
        for step in steps {
            match step {
                Step::Insert(rows, balance, from, sealed_here) => {
                    let numbered = rows.iter().zip(tag..);
                    let offers: Vec<_> = numbered
                        .map(|(&(account, nonce, fee), tag)| entry(account, nonce, fee, tag))
                        .map(|entry| Offer { entry, balance, from, sealed_here })
                        .collect();
                    tag += offers.len() as u32;
                    let known: Vec<bool> = offers.iter().map(|offer| model.waits(&offer.entry.effect)
                        || model.taken.contains_key(&Model::place(&offer.entry.effect))).collect();
                    prop_assert_eq!(pool.in_flight(offers.iter().map(|offer| &offer.entry.effect)), known);
                    prop_assert_eq!(pool.room_for(from), model.room(from));
                    let expected: Vec<_> = offers.iter().map(|offer| model.insert(offer)).collect();
                    prop_assert_eq!(pool.insert(&offers), expected);
                }
                Step::Take(count, odd) => {
                    let keep = |effect: &Effect| effect.nonce.get() % 7 != odd;
                    let (taken, expected) = (pool.take(count, &keep), model.take(count, &keep));
                    let mut columns = Taken::default();
                    expected.iter().for_each(|entry| columns.push(entry));
                    prop_assert_eq!(tags(&taken), tags(&columns));
                    prop_assert_eq!((&taken.effects, &taken.keys), (&columns.effects, &columns.keys));
                    batches.push(taken);
                }
                Step::Release(batch) => {
                    if batch < batches.len() {
                        let batch = batches.remove(batch);
                        pool.release(&batch.effects);
                        batch.effects.iter().for_each(|effect| { model.taken.remove(&Model::place(effect)); });
                    }
                }
                Step::PutBack(batch) => {
                    if batch < batches.len() {
                        let batch = batches.remove(batch);
                        pool.put_back(rows(&batch));
                        for row in rows(&batch).iter() {
                            let entry = Entry { effect: *row.effect, key: row.key.copied(), witness: *row.witness };
                            model.put_back(entry);
                        }
                    }
                }
                Step::PassOn(later) => {
                    now = Time(now.0 + later);
                    let (mut seen, mut expected) = (Vec::new(), Vec::new());
                    pool.pass_on(now, &mut |entry, _, held| {
                        seen.push((entry.witness, held));
                        fate(entry, now, held)
                    });
                    model.pass_on(now, &mut |entry, _, held| {
                        expected.push((entry.witness, held));
                        fate(entry, now, held)
                    });
                    prop_assert_eq!(seen, expected);
                    prop_assert!(pool.due() > now);
                }
                Step::Executed(rows) => {
                    let effect = |(from, nonce): &(u32, u64)| Effect::transfer(*from, 1, 1, *nonce, 1);
                    pool.executed(&rows.iter().map(effect).collect::<Vec<_>>());
                    model.executed(&rows);
                }
            }
            prop_assert_eq!((pool.len(), pool.held()), model.counts());
            prop_assert_eq!(pool.room(), model.room(Seat::NONE));
            let fresh = model.waiting.iter().any(|waits| waits.queue == Queue::Fresh);
            prop_assert_eq!(pool.due() == Time(0), fresh);
        }
        // Whatever happened: once nothing is in flight, no nonce and no fee is left behind; to release twice is idle.
        pool.pass_on(Time(u64::MAX - 1), &mut |entry, _, _| if entry.key.is_some() { Fate::Seal } else { Fate::LetGo });
        batches.push(drain(&pool));
        batches.iter().chain(&batches).for_each(|batch| pool.release(&batch.effects));
        prop_assert!(pool.pool.lock().is_clean());
    }
}

#[test]
fn a_held_row_reserves_its_fee_and_nonce_until_it_is_executed_by_whomever() {
    let pool = Mempool::new(10, SEATS);
    let held =
        |tag, nonce, fee| Offer { sealed_here: false, ..offers(&[(entry(1, nonce, fee, tag), 10)])[0] };
    assert_eq!(pool.insert(&[held(0, 1, 6), held(1, 2, 5)]), [Admit::Admitted, Admit::NotCovered]);
    assert_eq!((pool.due(), pool.len(), pool.held()), (Time(0), 0, 1));
    pool.pass_on(Time(5), &mut |_, _, _| {
        Fate::Hold(Held { until: Time(25), rank: 1, waits: 1, ..Held::default() })
    });
    assert_eq!(pool.due(), Time(25));
    pool.pass_on(Time(24), &mut |_, _, _| panic!("nothing is due"));
    assert_eq!(pool.insert(&[held(2, 1, 1), held(3, 129, 1)]), [Admit::Duplicate; 2]);
    assert!(drain(&pool).effects.is_empty(), "it is not to be sealed here");
    pool.executed(&[Effect::transfer(1, 1, 1, 129, 1)]);
    assert_eq!(pool.held(), 1, "another row with its place in the ring");
    pool.executed(&[Effect::transfer(1, 1, 1, 1, 1)]);
    assert_eq!((pool.due(), pool.held(), pool.room()), (Time(u64::MAX), 0, 10));
    assert_eq!(pool.insert(&[held(4, 2, 10)]), [Admit::Admitted], "its fee came free with it");
}

#[test]
fn what_another_sealed_does_not_free_what_is_sealed_here() {
    let pool = Mempool::new(10, SEATS);
    pool.insert(&offers(&[(entry(1, 1, 6, 0), 10)]));
    let taken = drain(&pool);
    pool.executed(&taken.effects);
    assert_eq!(pool.insert(&offers(&[(entry(1, 2, 5, 1), 10)])), [Admit::NotCovered]);
}

#[test]
fn one_validator_cannot_keep_out_what_others_hand_on() {
    let pool = Mempool::new(80, SEATS);
    let handed_on = |from: u16, account: u32| Offer {
        from: Seat(from),
        ..offers(&[(entry(account, 1, 1, account), 10)])[0]
    };
    let of = |from: u16, accounts: std::ops::Range<u32>| {
        let offers: Vec<Offer> = accounts.map(|account| handed_on(from, account)).collect();
        pool.insert(&offers).iter().filter(|answer| **answer == Admit::Admitted).count()
    };
    assert_eq!(of(1, 1..80), 40, "half is for whoever comes");
    assert_eq!((pool.room_for(Seat(1)), pool.room_for(Seat(2)), pool.room()), (0, 5, 25));
    assert_eq!(of(2, 100..180), 5, "and of a quarter everybody has a share");
    assert_eq!((of(1, 200..201), of(3, 300..380), of(2, 400..401)), (0, 5, 0));
    let clients: Vec<_> = (500..540).map(|account| (entry(account, 1, 1, 0), 10)).collect();
    let admitted = pool.insert(&offers(&clients)).iter().filter(|answer| **answer == Admit::Admitted).count();
    assert_eq!(admitted, 25, "all the rest, but for the share of seat 0");
    drain(&pool);
    assert_eq!(pool.room_for(Seat(1)), 40);
}

#[test]
fn clients_cannot_keep_out_what_validators_hand_on() {
    let pool = Mempool::new(80, SEATS);
    let clients: Vec<_> = (0..100).map(|account| (entry(account, 1, 1, 0), 10)).collect();
    let admitted =
        |offers: &[Offer]| pool.insert(offers).iter().filter(|answer| **answer == Admit::Admitted).count();
    assert_eq!(admitted(&offers(&clients)), 60, "a quarter is kept free");
    assert_eq!((pool.room(), pool.room_for(Seat(2))), (0, 5));
    let handed_on: Vec<Offer> = (200..220)
        .map(|account| Offer { from: Seat(2), ..offers(&[(entry(account, 1, 1, 0), 10)])[0] })
        .collect();
    assert_eq!(admitted(&handed_on), 5);
    assert_eq!((pool.room(), pool.room_for(Seat(2)), pool.room_for(Seat(3))), (0, 0, 5));
    let alone = Mempool::new(80, 1);
    assert_eq!(alone.insert(&offers(&clients)).iter().filter(|a| **a == Admit::Admitted).count(), 80);
}

#[test]
fn higher_fee_classes_go_first_and_a_class_keeps_its_order() {
    let pool = Mempool::new(10, SEATS);
    let fees = [1, 2, 3, 9, 8, 15, 1, 0];
    let entries: Vec<_> =
        fees.iter().zip(0..).map(|(&fee, tag)| (entry(tag + 1, 1, fee, tag), 100)).collect();
    assert_eq!(pool.insert(&offers(&entries)), [Admit::Admitted; 8]);
    assert_eq!(tags(&pool.take(4, &|_| true)), [5, 3, 4, 1], "an open row first, then by class");
    assert_eq!(tags(&pool.take(9, &|_| true)), [2, 0, 6, 7]);
}

#[test]
fn rows_of_a_dead_batch_go_out_first_and_count_once() {
    let pool = Mempool::new(3, SEATS);
    pool.insert(&offers(&[(entry(1, 1, 1, 0), 9), (entry(2, 1, 1, 1), 9)]));
    let dead = drain(&pool);
    assert_eq!(
        pool.insert(&offers(&[(entry(4, 1, 100, 2), 100), (entry(5, 1, 100, 3), 100)])),
        [Admit::Admitted; 2]
    );
    pool.put_back(rows(&dead));
    assert_eq!(pool.len(), 3, "one of the two is let go beyond the bound");
    assert_eq!(
        pool.insert(&offers(&[(entry(1, 1, 1, 4), 9), (entry(2, 1, 1, 5), 9)])),
        [Admit::Duplicate, Admit::Full]
    );
    assert_eq!(tags(&drain(&pool)), [0, 2, 3]);
    assert_eq!(
        pool.insert(&offers(&[(entry(2, 1, 1, 6), 1)])),
        [Admit::Admitted],
        "its fee came free with it"
    );
}

#[test]
fn fees_in_flight_are_reserved_until_release() {
    let pool = Mempool::new(10, SEATS);
    let answers =
        pool.insert(&offers(&[(entry(1, 1, 6, 0), 10), (entry(1, 2, 5, 1), 10), (entry(1, 3, 4, 2), 10)]));
    assert_eq!(answers, [Admit::Admitted, Admit::NotCovered, Admit::Admitted]);
    let taken = drain(&pool);
    assert_eq!(pool.insert(&offers(&[(entry(1, 4, 1, 3), 10)])), [Admit::NotCovered]);
    pool.release(&taken.effects);
    assert_eq!(pool.insert(&offers(&[(entry(1, 4, 1, 3), 1)])), [Admit::Admitted]);
}

#[test]
fn executed_rows_of_another_life_do_not_free_those_that_wait() {
    let pool = Mempool::new(10, SEATS);
    pool.insert(&offers(&[(entry(1, 5, 6, 0), 10)]));
    pool.release(&[Effect::transfer(1, 1, 1, 5, 1), Effect::transfer(9_999_999, 1, 1, 5, 1)]);
    assert_eq!(
        pool.insert(&offers(&[(entry(1, 5, 1, 1), 10), (entry(1, 6, 5, 1), 10)])),
        [Admit::Duplicate, Admit::NotCovered]
    );
}

#[test]
fn senders_that_cannot_exist_are_refused_without_space_for_them() {
    let pool = Mempool::new(10, SEATS);
    assert_eq!(pool.insert(&offers(&[(entry(u32::MAX, 1, 1, 0), u64::MAX)])), [Admit::NotCovered]);
    pool.release(&[Effect::transfer(u32::MAX, 1, 1, 1, 1)]);
    assert_eq!((pool.len(), pool.pool.lock().accounts_seen()), (0, 0));
}

#[test]
fn every_row_of_many_threads_comes_out_once() {
    const THREADS: u32 = 4;
    const ROWS: u32 = 5_000;
    let pool = Mempool::new(512, SEATS);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Acquire) || !pool.is_empty() {
                let taken = pool.take(100, &|_| true);
                if taken.effects.is_empty() {
                    std::thread::yield_now();
                }
                seen.extend(tags(&taken));
                pool.release(&taken.effects);
            }
            seen
        });
        let insert_all = |thread: u32| {
            let mut next = 0;
            while next < ROWS {
                // Every nonce twice in one slice: the second is refused whoever else is at work.
                let row = entry(1 + thread, u64::from(next), 1 + next % 40, thread * ROWS + next);
                match pool.insert(&offers(&[(row, u64::MAX), (row, u64::MAX)]))[..] {
                    [Admit::Admitted, Admit::Duplicate] => next += 1,
                    [Admit::Duplicate | Admit::Full, Admit::Duplicate | Admit::Full] => {
                        std::thread::yield_now();
                    }
                    ref other => panic!("{other:?}"),
                }
                assert!(pool.len() <= 512);
            }
        };
        let inserters: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || insert_all(thread))).collect();
        let ends: Vec<_> = inserters.into_iter().map(|inserter| inserter.join()).collect();
        done.store(true, Ordering::Release);
        assert!(ends.iter().all(Result::is_ok));
        taker.join().expect("the taker ends once the inserters have")
    });
    let mut seen = seen;
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..THREADS * ROWS));
    assert!(pool.pool.lock().is_clean());
    assert!(pool.pool.lock().slots_made() <= 512);
}
