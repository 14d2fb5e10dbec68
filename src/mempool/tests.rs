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

/// The plain model: lists, searched from end to end.
#[derive(Default)]
struct Model {
    rows_max: usize,
    /// Rows that wait: priority, arrival, entry.
    waiting: Vec<(u32, usize, Entry)>,
    /// Fees of rows that were taken, by account and place in the ring.
    taken: BTreeMap<(u32, u64), u64>,
    arrivals: usize,
}

impl Model {
    fn place(effect: &Effect) -> (u32, u64) {
        (effect.from.get(), effect.nonce.get() % 128)
    }

    fn waits(&self, effect: &Effect) -> bool {
        self.waiting.iter().any(|(.., other)| Self::place(&other.effect) == Self::place(effect))
    }

    fn add(&mut self, priority: u32, entry: Entry) {
        self.waiting.push((priority, self.arrivals, entry));
        self.arrivals += 1;
    }

    fn insert(&mut self, entry: &Entry, balance: u64) -> Admit {
        let from = entry.effect.from.get();
        let waiting = self.waiting.iter().filter(|(.., e)| e.effect.from.get() == from);
        let waiting: u64 = waiting.map(|(.., e)| u64::from(e.effect.fee.get())).sum();
        let taken: u64 = self.taken.iter().filter(|((f, _), _)| *f == from).map(|(_, fee)| fee).sum();
        if self.waits(&entry.effect) || self.taken.contains_key(&Self::place(&entry.effect)) {
            Admit::Duplicate
        } else if waiting + taken + u64::from(entry.effect.fee.get()) > balance {
            Admit::NotCovered
        } else if self.waiting.len() >= self.rows_max {
            Admit::Full
        } else {
            let doublings = (0..32).rev().find(|bit| entry.effect.fee.get() >> bit != 0).unwrap_or(0);
            self.add(doublings, *entry);
            Admit::Admitted
        }
    }

    fn take(&mut self, rows_max: usize, keep: &dyn Fn(&Effect) -> bool) -> Vec<Entry> {
        self.waiting.sort_by_key(|(priority, arrival, _)| (u32::MAX - priority, *arrival));
        let mut kept = Vec::new();
        while kept.len() < rows_max && !self.waiting.is_empty() {
            let (.., entry) = self.waiting.remove(0);
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
            self.add(32, entry);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Rows (account, nonce, fee) and the balance that all of them meet.
    Insert(Vec<(u32, u64, u32)>, u64),
    /// How many, and which remainder of the nonce is not kept.
    Take(usize, u64),
    /// The rows of an earlier take, executed.
    Release(usize),
    /// The rows of an earlier take, in a batch that died.
    PutBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fee = prop_oneof![4 => 0..20u32, 1 => any::<u32>()];
    let row = (1..6u32, prop_oneof![3 => 1..20u64, 1 => 1..300u64], fee);
    let step = prop_oneof![
        4 => (prop::collection::vec(row, 0..20), 0..200u64).prop_map(|(rows, balance)| Step::Insert(rows, balance)),
        3 => (0..25usize, 0..6u64).prop_map(|(count, odd)| Step::Take(count, odd)),
        2 => (0..8usize).prop_map(Step::Release),
        1 => (0..8usize).prop_map(Step::PutBack),
    ];
    prop::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_steps_agree_with_the_plain_model(steps in steps(), rows_max in 0..60usize) {
        let pool = Mempool::new(rows_max);
        let mut model = Model { rows_max, ..Model::default() };
        let (mut batches, mut tag): (Vec<Taken>, u32) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Insert(rows, balance) => {
                    let numbered = rows.iter().zip(tag..);
                    let entries: Vec<_> =
                        numbered.map(|(&(from, nonce, fee), tag)| (entry(from, nonce, fee, tag), balance)).collect();
                    tag += entries.len() as u32;
                    let expected: Vec<_> = entries.iter().map(|(entry, _)| model.insert(entry, balance)).collect();
                    prop_assert_eq!(pool.insert(&entries), expected);
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
            }
            prop_assert_eq!(pool.len(), model.waiting.len());
            prop_assert_eq!(pool.room(), rows_max - model.waiting.len());
        }
        // Whatever happened: once nothing is in flight, no nonce and no fee is left behind; to release twice is idle.
        batches.push(drain(&pool));
        batches.iter().chain(&batches).for_each(|batch| pool.release(&batch.effects));
        let clean = |account: &InFlight| account.waiting | account.taken == 0 && account.fees == 0;
        prop_assert!(pool.pool.lock().accounts.iter().all(clean));
    }
}

#[test]
fn higher_fee_classes_go_first_and_a_class_keeps_its_order() {
    let pool = Mempool::new(10);
    let fees = [1, 2, 3, 9, 8, 15, 1, 0];
    let entries: Vec<_> =
        fees.iter().zip(0..).map(|(&fee, tag)| (entry(tag + 1, 1, fee, tag), 100)).collect();
    assert_eq!(pool.insert(&entries), [Admit::Admitted; 8]);
    assert_eq!(tags(&pool.take(4, &|_| true)), [5, 3, 4, 1], "an open row first, then by class");
    assert_eq!(tags(&pool.take(9, &|_| true)), [2, 0, 6, 7]);
}

#[test]
fn rows_of_a_dead_batch_go_out_first_and_count_once() {
    let pool = Mempool::new(3);
    pool.insert(&[(entry(1, 1, 1, 0), 9), (entry(2, 1, 1, 1), 9)]);
    let dead = drain(&pool);
    assert_eq!(pool.insert(&[(entry(4, 1, 100, 2), 100), (entry(5, 1, 100, 3), 100)]), [Admit::Admitted; 2]);
    pool.put_back(rows(&dead));
    assert_eq!(pool.len(), 3, "one of the two is let go beyond the bound");
    assert_eq!(
        pool.insert(&[(entry(1, 1, 1, 4), 9), (entry(2, 1, 1, 5), 9)]),
        [Admit::Duplicate, Admit::Full]
    );
    assert_eq!(tags(&drain(&pool)), [0, 2, 3]);
    assert_eq!(pool.insert(&[(entry(2, 1, 1, 6), 1)]), [Admit::Admitted], "its fee came free with it");
}

#[test]
fn fees_in_flight_are_reserved_until_release() {
    let pool = Mempool::new(10);
    let answers = pool.insert(&[(entry(1, 1, 6, 0), 10), (entry(1, 2, 5, 1), 10), (entry(1, 3, 4, 2), 10)]);
    assert_eq!(answers, [Admit::Admitted, Admit::NotCovered, Admit::Admitted]);
    let taken = drain(&pool);
    assert_eq!(pool.insert(&[(entry(1, 4, 1, 3), 10)]), [Admit::NotCovered]);
    pool.release(&taken.effects);
    assert_eq!(pool.insert(&[(entry(1, 4, 1, 3), 1)]), [Admit::Admitted]);
}

#[test]
fn executed_rows_of_another_life_do_not_free_those_that_wait() {
    let pool = Mempool::new(10);
    pool.insert(&[(entry(1, 5, 6, 0), 10)]);
    pool.release(&[Effect::transfer(1, 1, 1, 5, 1), Effect::transfer(9_999_999, 1, 1, 5, 1)]);
    assert_eq!(
        pool.insert(&[(entry(1, 5, 1, 1), 10), (entry(1, 6, 5, 1), 10)]),
        [Admit::Duplicate, Admit::NotCovered]
    );
}

#[test]
fn senders_that_cannot_exist_are_refused_without_space_for_them() {
    let pool = Mempool::new(10);
    assert_eq!(pool.insert(&[(entry(u32::MAX, 1, 1, 0), u64::MAX)]), [Admit::NotCovered]);
    pool.release(&[Effect::transfer(u32::MAX, 1, 1, 1, 1)]);
    assert_eq!((pool.len(), pool.pool.lock().accounts.len()), (0, 0));
}

#[test]
fn every_row_of_many_threads_comes_out_once() {
    const THREADS: u32 = 4;
    const ROWS: u32 = 5_000;
    let pool = Mempool::new(512);
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
                match pool.insert(&[(row, u64::MAX), (row, u64::MAX)])[..] {
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
    assert!(pool.pool.lock().accounts.iter().all(|account| account.fees == 0));
    assert!(pool.pool.lock().slots.len() <= 512);
}
