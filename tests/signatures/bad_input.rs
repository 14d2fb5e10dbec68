//! Keys that are no points, where a file or a row brings them: a verdict or a refusal that says why, never a panic.

use std::net::TcpListener;
use std::sync::Arc;

use throng::crypto::{KeyTable, PreparedKey, public_key, sign, signing_key_from_seed};
use throng::net::{NodeSetup, RunningNode, StartError};
use throng::node::jobs::{Done, Job};
use throng::node::{NodeConfig, Setup, Shared};
use throng::types::*;
use throng::wire::{Rows, seal, transaction_digest};

use crate::curve::{encoding, small_order_encodings};
use crate::oracle::decodes;

fn off_curve() -> [u8; 32] {
    let bytes = encoding(2, false, false);
    assert!(!decodes(&bytes));
    bytes
}

/// A chain of one seat whose accounts 1 to 3 have an honest key, one off the curve, and one of small order.
fn setup(seat_keys: &[[u8; 32]]) -> Setup {
    let key = signing_key_from_seed([1; 32]);
    let accounts = [public_key(&key), off_curve(), small_order_encodings()[2]];
    let genesis = Genesis {
        name: "bad keys".to_owned(),
        time: Time(1),
        rules: Rules::default(),
        seats: seat_keys
            .iter()
            .map(|key| SeatInfo { key: Key(*key), fee_account: AccountNumber(1) })
            .collect(),
        accounts: accounts.map(|key| GenesisAccount { key, balance: 1_000 }).to_vec(),
    };
    Setup { genesis: Arc::new(genesis), seat: Seat(0), key, config: NodeConfig::default(), seed: 1 }
}

fn own_key() -> [u8; 32] {
    public_key(&signing_key_from_seed([1; 32]))
}

/// Why a node does not start with these seats' keys.
fn refusal(seat_keys: &[[u8; 32]]) -> Option<StartError> {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let peers = vec!["127.0.0.1:1".parse().expect("an address"); seat_keys.len()];
    let new = NodeSetup::new(setup(seat_keys), dir.path(), listeners);
    RunningNode::start(NodeSetup { peers, ..new }).err()
}

#[test]
fn a_genesis_whose_seat_has_no_possible_key_is_refused_by_name() {
    let refusal = refusal(&[own_key(), off_curve()]).expect("refused");
    assert!(refusal.to_string().contains("seat 1"), "{refusal}");
    assert!(refusal.to_string().contains("not a point"), "{refusal}");
}

#[test]
fn a_genesis_that_contradicts_itself_does_not_start_either() {
    let refusal = refusal(&[own_key(), own_key()]).expect("refused");
    assert!(refusal.to_string().contains("distinct"), "{refusal}");
}

/// Whether the node's own check finds the one row bad, signed by `signer` as if it had the sender's key.
fn is_bad(
    shared: &Shared,
    effect: Effect,
    opened: Option<[u8; 32]>,
    signature: impl Fn(&[u8; 32]) -> [u8; 64],
) -> bool {
    let keys = shared.ledger.keys();
    let from = keys.key(effect.from.get()).expect("an account");
    let to = opened.unwrap_or_else(|| keys.key(effect.to.get()).expect("an account"));
    let witness = Witness(signature(&transaction_digest(&shared.chain, &effect, &from, &to)));
    let opened: Vec<[u8; 32]> = opened.into_iter().collect();
    let rows = Rows { effects: &[effect], keys: &opened, witnesses: &[witness] };
    let batch = seal(&shared.key, &shared.chain, (Epoch(0), Seat(0), Sequence(1)), shared.ledger.len(), rows);
    match Job::VerifyRows(batch).run(shared) {
        Done::Verified { bad_row, .. } => bad_row.inspect(|row| assert_eq!(*row, 0)).is_some(),
        other => panic!("rows were to be verified: {other:?}"),
    }
}

#[test]
fn every_row_of_an_account_whose_key_is_no_point_is_bad_and_rows_to_it_are_not() {
    let shared = Shared::new(&setup(&[own_key()]));
    let honest = |digest: &[u8; 32]| sign(&signing_key_from_seed([1; 32]), digest);
    let pay = |from, to| Effect::transfer(from, to, 10, 1, 1);
    assert!(!is_bad(&shared, pay(1, 3), None, honest));
    assert!(!is_bad(&shared, pay(1, 2), None, honest));
    assert!(!is_bad(&shared, Effect::open(1, 10, 1, 100), Some(encoding(7, false, false)), honest));
    for from in [2, 3] {
        assert!(is_bad(&shared, pay(from, 1), None, honest));
        assert!(is_bad(&shared, pay(from, 1), None, |_| [0xff; 64]));
    }
    // That is what a key of small order means: some R of small order and s = 0 pass for anybody, all zeros among them.
    assert!(!is_bad(&shared, pay(3, 1), None, |_| [0; 64]));
    assert!(is_bad(&shared, pay(2, 1), None, |_| [0; 64]));
}

#[test]
fn equal_keys_of_several_accounts_are_keys_of_each() {
    let table = KeyTable::new(2);
    for number in 0..6 {
        let key = [own_key(), off_curve()][number as usize % 2];
        assert_eq!(table.push(&key), Some(number));
    }
    for number in (0..6).chain(0..6) {
        let fresh = PreparedKey::new(&table.key(number).expect("pushed"));
        assert_eq!(table.prepared(number).map(|key| *key.bytes()), fresh.map(|key| *key.bytes()));
        assert_eq!(fresh.is_some(), number % 2 == 0);
    }
}
