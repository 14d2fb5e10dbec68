//! Execution against an oracle that restates the rules with sets and big integers, and the edges by hand.

use super::*;
use crate::crypto::ProofError;
use crate::types::Witness;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Effects, keys of the open rows, and the fee account: one batch, owned.
type OwnedBatch = (Vec<Effect>, Vec<[u8; 32]>, u32);

fn key(tag: u8) -> [u8; 32] {
    [tag; 32]
}

/// A table of accounts 1, 2, … with these balances and the keys `key(1)`, `key(2)`, …
fn table(balances: &[u64]) -> Vec<Account> {
    let accounts = balances.iter().zip(1..).map(|(&balance, tag)| Account::new(key(tag), balance));
    std::iter::once(Account::new([0; 32], 0)).chain(accounts).collect()
}

fn run(ledger: &Ledger, batches: &[OwnedBatch]) -> Vec<u8> {
    let witnesses: Vec<_> = batches.iter().map(|batch| vec![Witness([0; 64]); batch.0.len()]).collect();
    let views = batches.iter().zip(&witnesses).map(|((effects, keys, fee_account), witnesses)| {
        (Rows { effects, keys, witnesses }, AccountNumber(*fee_account))
    });
    let (codes, ok) = ledger.execute(&views.collect::<Vec<_>>());
    assert_eq!(ok as usize, codes.iter().filter(|&&code| code == 0).count());
    codes
}

fn balance(ledger: &Ledger, number: u32) -> u64 {
    ledger.account(AccountNumber(number)).expect("an account of this test").balance.get()
}

/// An account of the oracle.
#[derive(Clone, Debug)]
struct Naive {
    key: [u8; 32],
    balance: i128,
    used: BTreeSet<u64>,
}

/// The rules in their plainest words: no bit windows, no table, no lock.
#[derive(Clone, Debug)]
struct Oracle {
    accounts: BTreeMap<u32, Naive>,
    most: usize,
}

impl Oracle {
    fn new(table: &[Account], most: usize) -> Oracle {
        let naive =
            |a: &Account| Naive { key: a.key, balance: a.balance.get().into(), used: BTreeSet::from([0]) };
        let accounts = table.iter().zip(0..).skip(1).map(|(account, number)| (number, naive(account)));
        Oracle { accounts: accounts.collect(), most }
    }

    fn execute(&mut self, batches: &[OwnedBatch]) -> Vec<u8> {
        let before: BTreeSet<u32> = self.accounts.keys().copied().collect();
        let (mut codes, mut gifts) = (Vec::new(), Vec::new());
        for (effects, keys, fee_account) in batches {
            let mut keys = keys.iter();
            for effect in effects {
                let key = if effect.kind == 1 { keys.next() } else { None };
                let (code, fee, moved) = self.row(effect, key, &before);
                gifts.push((*fee_account, fee));
                gifts.extend(moved);
                codes.push(code);
            }
        }
        for (number, amount) in gifts {
            self.accounts.get_mut(&number).expect("receivers exist").balance += amount;
        }
        codes
    }

    /// Code, fee paid, and what is moved to whom.
    fn row(
        &mut self,
        effect: &Effect,
        key: Option<&[u8; 32]>,
        before: &BTreeSet<u32>,
    ) -> (u8, i128, Option<(u32, i128)>) {
        let (from, nonce) = (effect.from.get(), effect.nonce.get());
        let (amount, fee) = (i128::from(effect.amount.get()), i128::from(effect.fee.get()));
        let to = match (effect.kind, key) {
            (0, _) => Some(effect.to.get()).filter(|to| before.contains(to)),
            (1, Some(key)) if *key != [0; 32] => {
                let holder = self.accounts.iter().find(|(_, account)| account.key == *key);
                let free = (self.accounts.len() + 1 < self.most).then_some(self.accounts.len() as u32 + 1);
                holder.map(|(&number, _)| number).or(free)
            }
            _ => None,
        };
        let (Some(to), true) = (to, before.contains(&from)) else { return (1, 0, None) };
        let account = self.accounts.get_mut(&from).expect("it was there before the block");
        let high = *account.used.last().expect("nonce 0 is used from the start");
        let reach = i128::from(nonce) - i128::from(high);
        if account.used.contains(&nonce) || !(-63..=64).contains(&reach) {
            return (2, 0, None);
        }
        if account.balance < fee {
            return (3, 0, None);
        }
        account.used.insert(nonce);
        if account.balance < fee + amount {
            account.balance -= fee;
            return (4, fee, None);
        }
        account.balance -= fee + amount;
        if let (1, Some(key)) = (effect.kind, key) {
            let fresh = Naive { key: *key, balance: 0, used: BTreeSet::from([0]) };
            self.accounts.entry(to).or_insert(fresh);
        }
        (0, fee, Some((to, amount)))
    }
}

fn assert_same(ledger: &Ledger, oracle: &Oracle) -> Result<(), TestCaseError> {
    prop_assert_eq!(ledger.len() as usize, oracle.accounts.len() + 1);
    for (&number, naive) in &oracle.accounts {
        let account = ledger.account(AccountNumber(number)).expect("the lengths agree");
        prop_assert_eq!(account.key, naive.key);
        prop_assert_eq!(ledger.keys().key(number), Some(naive.key));
        prop_assert_eq!(i128::from(account.balance.get()), naive.balance);
        let high = account.nonce_high.get();
        prop_assert_eq!(Some(&high), naive.used.last());
        let near = high.saturating_sub(70)..=high.saturating_add(70);
        for nonce in near.filter(|nonce| nonce + 63 >= high && *nonce <= high) {
            prop_assert_eq!(account.accepts(nonce), !naive.used.contains(&nonce));
        }
    }
    ledger.root();
    Ok(())
}

fn rows() -> impl Strategy<Value = Vec<Effect>> {
    let nonce = prop_oneof![6 => 0..12u64, 2 => 0..140u64, 1 => (u64::MAX - 2)..=u64::MAX];
    let amount = prop_oneof![6 => 0..60u64, 1 => any::<u64>()];
    let fee = prop_oneof![6 => 0..9u32, 1 => any::<u32>()];
    let kind = prop_oneof![6 => Just(0u8), 3 => Just(1u8), 1 => any::<u8>()];
    let row = (0..9u32, 0..9u32, amount, nonce, fee, kind);
    let row = row.prop_map(|(from, to, amount, nonce, fee, kind)| Effect {
        kind,
        ..Effect::transfer(from, to, amount, nonce, fee)
    });
    prop::collection::vec(row, 0..40)
}

fn blocks() -> impl Strategy<Value = Vec<Vec<OwnedBatch>>> {
    let keys = prop::collection::vec((0..12u8).prop_map(key), 0..20);
    let batch = (rows(), keys, 1..=3u32);
    prop::collection::vec(prop::collection::vec(batch, 0..4), 1..6)
}

/// A row between accounts that are chosen by number, taken modulo the size of the table.
#[derive(Clone, Debug)]
struct AnyRow {
    from: u32,
    to: u32,
    amount: u64,
    nonce: u64,
    opens: bool,
}

fn any_row() -> impl Strategy<Value = AnyRow> {
    let row = (any::<u32>(), any::<u32>(), 0..400u64, 1..40u64, prop::bool::weighted(0.3));
    row.prop_map(|(from, to, amount, nonce, opens)| AnyRow { from, to, amount, nonce, opens })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_rows_give_the_codes_and_balances_of_the_oracle(
        blocks in blocks(),
        balances in prop::collection::vec(0..200u64, 3..7),
        most in 4..14usize,
    ) {
        let table = table(&balances);
        let most = most.max(table.len());
        let (ledger, mut oracle) = (Ledger::with_limit(table.clone(), most), Oracle::new(&table, most));
        for block in &blocks {
            prop_assert_eq!(run(&ledger, block), oracle.execute(block));
            assert_same(&ledger, &oracle)?;
        }
    }

    #[test]
    fn after_any_blocks_the_root_is_the_plain_hash_of_the_table(
        accounts in 1..3_000u32,
        blocks in prop::collection::vec((prop::collection::vec(any_row(), 0..60), any::<bool>()), 1..12),
    ) {
        let key = |number: u32| *blake3::hash(&number.to_be_bytes()).as_bytes();
        let many = (1..=accounts).map(|number| Account::new(key(number), 1_000));
        let ledger = Ledger::new(table(&[]).into_iter().chain(many).collect());
        for (rows, root) in blocks {
            let ends = |row: &AnyRow| (row.from % ledger.len(), row.to % ledger.len());
            let effect = |row: &AnyRow| match (ends(row), row.opens) {
                ((from, _), true) => Effect::open(from, row.amount, row.nonce, 1),
                ((from, to), false) => Effect::transfer(from, to, row.amount, row.nonce, 1),
            };
            // Some of these keys have an account already.
            let keys = rows.iter().filter(|row| row.opens).map(|row| key(row.to % 10_000));
            run(&ledger, &[(rows.iter().map(effect).collect(), keys.collect(), 1)]);
            if root {
                let expected = ledger.read(|accounts| blake3::hash(accounts.as_bytes()));
                prop_assert_eq!(ledger.root(), Root(*expected.as_bytes()));
            }
        }
        let expected = ledger.read(|accounts| blake3::hash(accounts.as_bytes()));
        prop_assert_eq!(ledger.root(), Root(*expected.as_bytes()));
    }

    #[test]
    fn rows_of_different_senders_commute(seed in prop::collection::vec((0..6u32, 1..50u64, 0..5u32), 6)) {
        // One row for each sender, so that no two debits meet: any order of the block has one result.
        let row = |(from, &(to, amount, fee)): (u32, &(u32, u64, u32))| {
            Effect::transfer(from, to + 1, amount, 1, fee)
        };
        let forward: Vec<_> = (1..).zip(&seed).map(row).collect();
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        let (one, other) = (Ledger::new(table(&[40; 6])), Ledger::new(table(&[40; 6])));
        run(&one, &[(forward, vec![], 2)]);
        run(&other, &[(backward, vec![], 2)]);
        prop_assert_eq!(one.root(), other.root());
    }
}

#[test]
fn what_arrives_in_a_block_can_be_spent_only_in_the_next_one() {
    let ledger = Ledger::new(table(&[1_000, 5, 0]));
    let pay = Effect::transfer(1, 2, 500, 1, 1);
    let codes = run(&ledger, &[(vec![pay, Effect::transfer(2, 1, 100, 1, 1)], vec![], 3)]);
    assert_eq!(codes, [Outcome::Ok as u8, Outcome::AmountNotCovered as u8]);
    assert_eq!([balance(&ledger, 1), balance(&ledger, 2), balance(&ledger, 3)], [499, 504, 2]);
    assert_eq!(run(&ledger, &[(vec![Effect::transfer(2, 1, 100, 2, 1)], vec![], 3)]), [0]);
    assert_eq!([balance(&ledger, 1), balance(&ledger, 2), balance(&ledger, 3)], [599, 403, 3]);
}

#[test]
fn a_nonce_counts_from_63_below_to_64_above_the_highest() {
    let code = |high: u64, nonce: u64| {
        let mut table = table(&[1_000, 0]);
        table[1].nonce_high = U64::new(high);
        run(&Ledger::new(table), &[(vec![Effect::transfer(1, 2, 1, nonce, 1)], vec![], 2)])[0]
    };
    let (ok, bad) = (Outcome::Ok as u8, Outcome::BadNonce as u8);
    assert_eq!(
        [36, 37, 99, 100, 101, 164, 165].map(|nonce| code(100, nonce)),
        [bad, ok, ok, bad, ok, ok, bad]
    );
    assert_eq!([0, 1, 64, 65].map(|nonce| code(0, nonce)), [bad, ok, ok, bad]);
    let top = u64::MAX;
    assert_eq!([top - 63, top - 62, top - 1, top, 0].map(|nonce| code(top, nonce)), [ok, ok, ok, bad, bad]);
}

#[test]
fn a_step_of_64_forgets_every_older_nonce() {
    let ledger = Ledger::new(table(&[1_000, 0]));
    let nonces = [64, 1, 2, 0, 65, 1];
    let effects = nonces.map(|nonce| Effect::transfer(1, 2, 1, nonce, 1)).to_vec();
    assert_eq!(run(&ledger, &[(effects, vec![], 2)]), [0, 0, 0, 2, 0, 2]);
}

#[test]
fn a_fee_is_paid_though_the_amount_is_not_covered() {
    let ledger = Ledger::new(table(&[10, 0]));
    let effects = vec![
        Effect::transfer(1, 2, 5, 1, 11),
        Effect::transfer(1, 2, 9, 1, 2),
        Effect::transfer(1, 2, 1, 1, 1),
        Effect::transfer(1, 2, u64::MAX, 2, 1),
        Effect::transfer(1, 2, 6, 3, 1),
    ];
    assert_eq!(run(&ledger, &[(effects, vec![], 2)]), [3, 4, 2, 4, 0]);
    assert_eq!([balance(&ledger, 1), balance(&ledger, 2)], [0, 10]);
}

#[test]
fn the_first_open_of_a_key_opens_and_the_second_pays_in() {
    let ledger = Ledger::new(table(&[1_000, 1_000]));
    let first = (vec![Effect::open(1, 10, 1, 1), Effect::open(1, 20, 2, 1)], vec![key(9), key(8)], 1);
    let second = (vec![Effect::open(2, 30, 1, 1), Effect::open(2, 40, 2, 1)], vec![key(9), key(1)], 2);
    let early = (vec![Effect::transfer(1, 3, 1, 3, 1)], vec![], 1);
    assert_eq!(run(&ledger, &[first, second, early]), [0, 0, 0, 0, 1], "not to be named in its own block");
    assert_eq!(ledger.len(), 5);
    assert_eq!([1, 2, 3, 4].map(|number| balance(&ledger, number)), [1_010, 930, 40, 20]);
    assert_eq!([3, 4].map(|number| ledger.keys().key(number)), [Some(key(9)), Some(key(8))]);
    assert_eq!(run(&ledger, &[(vec![Effect::transfer(3, 4, 39, 1, 1)], vec![], 1)]), [0]);
}

#[test]
fn an_open_that_is_not_ok_opens_nothing() {
    let ledger = Ledger::new(table(&[50, 1_000]));
    let effects = vec![Effect::open(1, 50, 1, 1), Effect::open(1, 1, 1, 1), Effect::open(2, 1, 1, 1)];
    assert_eq!(run(&ledger, &[(effects, vec![key(9), key(9), key(8)], 1)]), [4, 2, 0]);
    assert_eq!(ledger.keys().key(3), Some(key(8)));
}

#[test]
fn a_full_table_opens_no_new_key_but_pays_into_old_ones() {
    let ledger = Ledger::with_limit(table(&[100, 100]), 4);
    let effects: Vec<_> = (1..=4).map(|nonce| Effect::open(1, 1, nonce, 1)).collect();
    let keys = vec![key(7), key(8), key(2), key(7)];
    assert_eq!(run(&ledger, &[(effects, keys, 2)]), [0, Outcome::UnknownAccount as u8, 0, 0]);
    assert_eq!(ledger.len(), 4);
    assert_eq!([1, 2, 3].map(|number| balance(&ledger, number)), [94, 104, 2]);
}

#[test]
fn the_sentinel_and_the_zero_key_take_no_part() {
    let ledger = Ledger::new(table(&[100]));
    let mut nothing = Effect::transfer(1, 1, 0, 1, 0);
    nothing.kind = 7;
    let effects = vec![
        Effect::transfer(0, 1, 0, 1, 0),
        Effect::transfer(1, 0, 1, 1, 1),
        Effect::open(1, 1, 1, 1),
        Effect::open(1, 1, 1, 1),
        Effect::transfer(1, 9, 1, 1, 1),
        Effect::transfer(u32::MAX, 1, 1, 1, 1),
        nothing,
    ];
    assert_eq!(run(&ledger, &[(effects, vec![[0; 32]], 1)]), [1; 7]);
    assert_eq!((ledger.len(), balance(&ledger, 0), balance(&ledger, 1)), (2, 0, 100));
}

#[test]
fn a_table_root_is_the_plain_hash_of_its_bytes() {
    let ledger = Ledger::new(table(&[100, 7]));
    run(&ledger, &[(vec![Effect::open(1, 10, 3, 1)], vec![key(9)], 2)]);
    let mut bytes = vec![0; 64];
    bytes[48] = 1;
    for (tag, balance, high, window) in [(1u8, 89u64, 3u64, 0b1001u64), (2, 8, 0, 1), (9, 10, 0, 1)] {
        bytes.extend([tag; 32]);
        bytes.extend([balance, high, window, 0].map(u64::to_le_bytes).concat());
    }
    assert_eq!(ledger.root(), Root(*blake3::hash(&bytes).as_bytes()));
    assert_eq!(ledger.read(|accounts| accounts.as_bytes().to_vec()), bytes);
}

#[test]
fn a_record_is_proven_against_the_root_and_no_other_record_passes_for_it() {
    let ledger = Ledger::new(table(&[1_000; 200]));
    let before = ledger.prove_at(&ledger.root(), AccountNumber(150)).expect("an account");
    run(&ledger, &[(vec![Effect::transfer(1, 150, 5, 1, 1)], vec![], 2)]);
    let (root, accounts) = (ledger.root(), ledger.len());
    let proof = ledger.prove_at(&root, AccountNumber(150)).expect("an account");
    let proven = verify_account(&root, accounts, AccountNumber(150), &proof);
    assert_eq!(proven.map(|account| account.balance.get()), Ok(1_005));
    // Another account's number, the old proof, another count, and an account that is not there.
    assert!(verify_account(&root, accounts, AccountNumber(20), &proof).is_err());
    assert!(verify_account(&root, accounts, AccountNumber(150), &before).is_err());
    assert!(verify_account(&root, 202, AccountNumber(150), &proof).is_err());
    let missing = verify_account(&root, accounts, AccountNumber(201), &proof);
    assert!(matches!(missing, Err(ProofError::PastEnd { .. })));
    assert_eq!(ledger.prove_at(&root, AccountNumber(201)), None);
}

#[test]
fn a_record_is_proven_at_a_checkpoint_until_the_next_row_and_nothing_is_hashed_for_it() {
    for accounts in [3, 200] {
        let ledger = Ledger::new(table(&vec![1_000; accounts]));
        let genesis = ledger.root();
        let last = AccountNumber(accounts as u32);
        let proof = ledger.prove_at(&genesis, last).expect("the table is that of the root");
        assert!(verify_account(&genesis, ledger.len(), last, &proof).is_ok());
        assert_eq!(ledger.prove_at(&genesis, AccountNumber(accounts as u32 + 1)), None);
        run(&ledger, &[(vec![Effect::transfer(1, 2, 5, 1, 1)], vec![], 2)]);
        assert_eq!(ledger.prove_at(&genesis, last), None, "the table has changed");
        let root = ledger.root();
        assert_eq!(ledger.prove_at(&genesis, last), None, "this is another root");
        let proof = ledger.prove_at(&root, AccountNumber(2)).expect("it is the present one");
        let proven = verify_account(&root, ledger.len(), AccountNumber(2), &proof).unwrap();
        assert_eq!(Some(proven), ledger.account(AccountNumber(2)));
        assert_eq!(ledger.number_of(&proven.key), Some(AccountNumber(2)));
        assert_eq!(ledger.number_of(&[0; 32]), None, "the sentinel is nobody's");
    }
}

#[test]
#[should_panic(expected = "supply is constant")]
fn a_root_notices_money_that_no_block_gave() {
    let ledger = Ledger::new(table(&[100; 64]));
    ledger.root();
    ledger.state.write().accounts[40].balance = U64::new(101);
    ledger.tree.lock().mark_at(40 * 64);
    ledger.root();
}

#[test]
fn readers_see_whole_blocks_only() {
    // Every block moves one unit from 1 to 2: the sum that a reader sees never changes.
    let ledger = Ledger::new(table(&[1_000, 1_000, 0]));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for nonce in 1..=300 {
                run(&ledger, &[(vec![Effect::transfer(1, 2, 1, nonce, 0)], vec![], 3)]);
            }
        });
        while !writer.is_finished() {
            let sum = ledger.read(|accounts| accounts[1].balance.get() + accounts[2].balance.get());
            assert_eq!(sum, 2_000);
        }
    });
    assert_eq!(balance(&ledger, 2), 1_300);
}

#[test]
fn a_copy_is_the_table_of_its_moment_and_its_memory_serves_the_next_one() {
    let ledger = Ledger::new(table(&[10, 20, 30]));
    let first = ledger.copy();
    assert_eq!(Root(*blake3::hash(&first).as_bytes()), ledger.root());
    let (before, place) = (first.to_vec(), first.as_ptr());
    let second = ledger.copy();
    assert_ne!(second.as_ptr(), place, "the first is still held");
    drop(first);
    drop(second);
    let third = ledger.copy();
    assert_eq!(third, before);
    ledger.read(|accounts| assert_eq!(third, accounts.as_bytes()));
}

#[test]
fn a_later_table_of_the_chain_takes_the_place_of_this_one_and_no_other_does() {
    let table = |keys: &[u8], balances: &[u64]| -> Vec<Account> {
        keys.iter().zip(balances).map(|(key, balance)| Account::new([*key; 32], *balance)).collect()
    };
    let ledger = Ledger::with_limit(table(&[0, 1, 2], &[0, 60, 40]), 4);
    ledger.root();
    let refused = [
        (table(&[0, 1], &[0, 100]), LaterTableError::Accounts { found: 2, known: 3, most: 4 }),
        (
            table(&[0, 1, 2, 3, 4], &[0, 60, 40, 0, 0]),
            LaterTableError::Accounts { found: 5, known: 3, most: 4 },
        ),
        (table(&[0, 1, 2, 3], &[0, 60, 40, 1]), LaterTableError::Supply),
        (table(&[0, 2, 1, 3], &[0, 60, 40, 0]), LaterTableError::Key(1)),
    ];
    for (later, error) in refused {
        assert_eq!(ledger.go_on_from(later), Err(error));
    }
    assert_eq!(ledger.root().0, crate::crypto::plain(table(&[0, 1, 2], &[0, 60, 40]).as_bytes()));
    let later = table(&[0, 1, 2, 3], &[0, 10, 70, 20]);
    assert_eq!(ledger.go_on_from(later.clone()), Ok(()));
    assert_eq!((ledger.len(), ledger.keys().key(3)), (4, Some([3; 32])));
    assert_eq!(ledger.root().0, crate::crypto::plain(later.as_bytes()));
    // And it executes from there: key 3 has its number.
    let (effects, keys, witnesses) = ([Effect::open(2, 5, 1, 1)], [[3; 32]], [Witness([0; 64])]);
    let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
    assert_eq!(ledger.execute(&[(rows, AccountNumber(1))]).0, [0]);
    assert_eq!(ledger.account(AccountNumber(3)).unwrap().balance.get(), 25);
    ledger.root();
}
