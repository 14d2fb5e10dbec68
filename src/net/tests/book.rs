//! The book of addresses: what is kept, what is named next, what goes to a file and comes back.

use super::*;
use crate::net::book::{ANCHORS, ENTRIES_MAX, Learned, PER_GROUP_MAX, PER_SOURCE_MAX};
use crate::net::config::{REDIAL_ADDRESS_MAX, REDIAL_ADDRESS_MIN};
use crate::wire::AddressRecord;
use std::collections::BTreeSet;

const CHAIN: ChainId = ChainId([1; 32]);
const NOW: Time = Time(1_000_000_000);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn signed(number: u32, address: SocketAddr, time: u64) -> AddressRecord {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    AddressRecord::sign(&signing_key_from_seed(seed), &CHAIN, address, Time(time))
}

/// A record of a public address in a group of its own.
fn public(number: u32) -> AddressRecord {
    let [_, low, high, _] = (number << 8).to_le_bytes();
    signed(number, SocketAddr::from(([20 + high, low, 1, 1], 4_000)), 1)
}

fn book(named: &[&str]) -> Book {
    let named: Vec<SocketAddr> = named.iter().map(|text| at(text)).collect();
    Book::new([0; 32], BTreeSet::from([public(1).key]), &named)
}

#[test]
fn a_record_holds_for_its_maker_and_its_chain_only() {
    let record = public(5);
    assert!(record.holds(&CHAIN) && !record.holds(&ChainId([2; 32])));
    let moved = AddressRecord { address: at("1.2.3.4:5"), ..record };
    let later = AddressRecord { time: Time(2), ..record };
    let claimed = AddressRecord { key: public(6).key, ..record };
    assert!([moved, later, claimed].iter().all(|changed| !changed.holds(&CHAIN)));
}

#[test]
fn of_two_records_by_one_key_the_later_counts_and_the_earlier_address_is_forgotten() {
    let mut book = book(&["30.0.0.1:1"]);
    let (first, second) = (signed(7, at("20.1.1.1:1"), 5), signed(7, at("21.1.1.1:1"), 6));
    assert_eq!(book.learn(&second, [3; 32], NOW), Learned::New);
    assert_eq!(book.learn(&first, [4; 32], NOW), Learned::Nothing);
    assert_eq!((book.of_key(&first.key), book.len()), (Some(second.address), 2));
    assert_eq!(book.learn(&signed(7, at("22.1.1.1:1"), 7), [4; 32], NOW), Learned::New);
    assert_eq!((book.of_key(&first.key), book.len()), (Some(at("22.1.1.1:1")), 2));
    // One of the configuration stays, also when whoever lived there moves.
    assert_eq!(book.learn(&signed(8, at("30.0.0.1:1"), 1), [4; 32], NOW), Learned::New);
    assert_eq!(book.learn(&signed(8, at("31.0.0.1:1"), 2), [4; 32], NOW), Learned::New);
    assert_eq!((book.of_key(&signed(8, at("1.1.1.1:1"), 0).key), book.len()), (Some(at("31.0.0.1:1")), 3));
    // Nobody takes by words the place of somebody who has answered.
    book.answered(&at("22.1.1.1:1"), first.key, NOW);
    assert_eq!(book.learn(&signed(9, at("22.1.1.1:1"), 9), [4; 32], NOW), Learned::NoRoom);
    assert_eq!(book.of_key(&first.key), Some(at("22.1.1.1:1")));
}

#[test]
fn a_liar_fills_its_own_share_and_no_network_fills_the_book_but_validators_have_room() {
    let mut book = book(&[]);
    let taken =
        (100..400).filter(|number| book.learn(&public(*number), [3; 32], NOW) == Learned::New).count();
    assert_eq!(taken, PER_SOURCE_MAX);
    let neighbour = |number: u32| {
        signed(number, SocketAddr::from(([99, 1, (number / 200) as u8, (number % 200) as u8], 7)), 1)
    };
    let brought = |book: &mut Book, records: &mut dyn Iterator<Item = AddressRecord>| {
        let mut source = 0u32;
        records
            .filter(|record| {
                source += 1;
                let mut key = [5; 32];
                key[..4].copy_from_slice(&source.to_le_bytes());
                book.learn(record, key, NOW) == Learned::New
            })
            .count()
    };
    assert_eq!(brought(&mut book, &mut (1_000..1_300).map(neighbour)), PER_GROUP_MAX);
    // Private networks have no groups.
    let private = |number: u32| {
        signed(number, SocketAddr::from(([10, 0, (number / 200) as u8, (number % 200) as u8], 7)), 1)
    };
    assert_eq!(brought(&mut book, &mut (2_000..2_200).map(private)), 200);
    brought(&mut book, &mut (10_000..10_000 + ENTRIES_MAX as u32).map(public));
    assert_eq!(book.len(), ENTRIES_MAX);
    assert_eq!(book.learn(&public(1), [3; 32], NOW), Learned::New, "a validator");
    assert_eq!(book.len(), ENTRIES_MAX + 1);
    // Who never answers makes room for others, who answered does not.
    let stays = public(10_000);
    let before = book.of_key(&stays.key).unwrap();
    book.answered(&before, stays.key, NOW);
    assert!(brought(&mut book, &mut (20_000..20_500).map(public)) > 400);
    assert_eq!((book.len(), book.of_key(&stays.key)), (ENTRIES_MAX + 1, Some(before)));
}

#[test]
fn whom_to_dial_is_somebody_of_another_network_and_who_does_not_answer_is_tried_more_and_more_seldom() {
    let mut book = book(&["20.0.0.1:1", "20.0.0.2:1", "21.0.0.1:1"]);
    let (mut connected, none) = (BTreeSet::from([at("20.0.0.1:1")]), BTreeSet::new());
    for draw in 0..20 {
        assert_eq!(book.pick(NOW, (&connected, &none), false, draw), Some(at("21.0.0.1:1")));
    }
    connected.insert(at("21.0.0.1:1"));
    // Better one of the same network than none.
    assert_eq!(book.pick(NOW, (&connected, &none), false, 3), Some(at("20.0.0.2:1")));
    let (mut now, mut waits) = (NOW, Vec::new());
    for _ in 0..14 {
        book.failed(&at("20.0.0.2:1"), now);
        assert_eq!(book.pick(now, (&connected, &none), false, 3), None);
        let due = book.due((&connected, &none)).unwrap();
        waits.push(due.since(now));
        now = due;
        assert_eq!(book.pick(now, (&connected, &none), false, 3), Some(at("20.0.0.2:1")));
    }
    assert!(waits.is_sorted() && waits[0] == REDIAL_ADDRESS_MIN && waits[13] == REDIAL_ADDRESS_MAX);
    // Nor whom there is a connection to elsewhere, once it is known who lives there.
    book.answered(&at("20.0.0.2:1"), [7; 32], now);
    let keys = BTreeSet::from([[7; 32]]);
    assert_eq!((book.pick(now, (&connected, &keys), false, 1), book.due((&connected, &keys))), (None, None));
    connected.insert(at("20.0.0.2:1"));
    assert_eq!((book.pick(now, (&connected, &none), false, 1), book.due((&connected, &none))), (None, None));
}

#[test]
fn nobody_takes_a_validators_address_and_one_place_is_for_those_that_a_person_named() {
    let mut book = book(&["30.0.0.1:1"]);
    let validator = public(1);
    book.learn(&validator, validator.key, NOW);
    assert_eq!(book.learn(&signed(66, validator.address, 99), [66; 32], NOW), Learned::NoRoom);
    assert_eq!(book.of_key(&validator.key), Some(validator.address));
    for number in 100..130 {
        let record = public(number);
        book.learn(&record, record.key, NOW);
        book.answered(&record.address, record.key, NOW);
    }
    let nobody = (&BTreeSet::new(), &BTreeSet::new());
    assert!((0..50).all(|draw| book.pick(NOW, nobody, true, draw) == Some(at("30.0.0.1:1"))));
    assert!((0..50).any(|draw| book.pick(NOW, nobody, false, draw) != Some(at("30.0.0.1:1"))));
}

#[test]
fn those_to_which_there_was_a_connection_come_first_after_a_restart_and_a_changed_file_does_no_harm() {
    let mut before = book(&[]);
    for number in 0..40 {
        let record = public(100 + number);
        before.learn(&record, record.key, NOW);
        before.answered(&record.address, record.key, Time(u64::from(number) + 1));
    }
    let connected: BTreeSet<SocketAddr> = (120..126).map(|number| public(number).address).collect();
    let text = before.to_text(&connected);
    let restored = |text: &str| {
        let mut book = book(&["30.0.0.1:1"]);
        let refused = book.read_text(text, |record| record.holds(&CHAIN));
        (book, refused)
    };
    let (after, refused) = restored(&text);
    assert_eq!((after.len(), refused), (41, 0));
    let first: BTreeSet<_> = (0..100)
        .filter_map(|draw| after.pick(NOW, (&BTreeSet::new(), &BTreeSet::new()), false, draw))
        .collect();
    let last: BTreeSet<SocketAddr> =
        (126 - ANCHORS as u32..126).map(|number| public(number).address).collect();
    assert_eq!(first, last, "the anchors");
    for place in (0..text.len()).step_by(37) {
        let mut changed = text.clone().into_bytes();
        changed[place] = if changed[place] == b'7' { b'3' } else { b'7' };
        let (book, refused) = restored(&String::from_utf8_lossy(&changed));
        assert!(book.len() >= 39 && refused <= 1, "byte {place}");
    }
    assert_eq!(restored("{}\nnonsense\n\u{1F980}\n").1, 3);
    // Of another chain nothing is believed.
    let mut other = book(&[]);
    assert_eq!(other.read_text(&text, |record| record.holds(&ChainId([2; 32]))), 40);
}

#[test]
fn others_are_told_of_who_answered_or_spoke_for_itself_and_never_of_hearsay() {
    let mut book = book(&[]);
    let (hearsay, own_word, answered) = (public(50), public(51), public(52));
    book.learn(&hearsay, [3; 32], NOW);
    book.learn(&own_word, own_word.key, NOW);
    book.learn(&answered, [3; 32], NOW);
    book.answered(&answered.address, answered.key, NOW);
    let told: BTreeSet<_> = book.share(None, 32, 5).iter().map(|record| record.key).collect();
    assert_eq!(told, BTreeSet::from([own_word.key, answered.key]));
    assert_eq!(book.share(Some(answered.key), 32, 5), [own_word], "nobody is told of itself");
    assert_eq!(book.share(None, 1, 7).len(), 1);
}

#[test]
fn nobody_claims_by_words_an_address_that_the_configuration_names() {
    let named = at("30.0.0.1:1");
    let (liar, owner) = (signed(66, named, 1), signed(77, named, 1));
    let keys = BTreeSet::from([liar.key]);
    let none = BTreeSet::new();
    let is_dialed = |book: &Book| {
        (0..8).all(|draw| book.pick(NOW, (&none, &keys), true, draw) == Some(named))
            && book.due((&none, &keys)) == Some(Time(0))
    };
    let mut never = book(&["30.0.0.1:1"]);
    never.learn(&liar, liar.key, NOW);
    assert!(is_dialed(&never), "although the liar is connected");
    // Who lives there has proved it, before or after the lie.
    let mut before = book(&["30.0.0.1:1"]);
    before.answered(&named, owner.key, NOW);
    assert_eq!(before.learn(&liar, liar.key, NOW), Learned::NoRoom);
    assert!(is_dialed(&before) && before.share(None, 9, 0).is_empty());
    never.answered(&named, owner.key, NOW);
    assert!(is_dialed(&never) && never.share(None, 9, 0).is_empty() && never.of_key(&liar.key).is_none());
    // Nor does a lie keep a validator from saying that it lives there.
    let mut lied = book(&["30.0.0.1:1"]);
    let validator = signed(1, named, 2);
    lied.learn(&liar, liar.key, NOW);
    assert_eq!(lied.learn(&validator, [3; 32], NOW), Learned::New);
    assert_eq!((lied.of_key(&validator.key), lied.of_key(&liar.key)), (Some(named), None));
    for mut book in [before, never] {
        assert_eq!(book.learn(&owner, owner.key, NOW), Learned::New);
        assert_eq!((book.of_key(&owner.key), book.share(None, 9, 0)), (Some(named), vec![owner]));
        let keys = BTreeSet::from([owner.key]);
        assert_eq!(book.pick(NOW, (&none, &keys), true, 0), None, "there is a connection to who lives there");
        // The liar says that it has moved: that is nothing to this address.
        book.learn(&signed(66, at("31.0.0.1:1"), 2), liar.key, NOW);
        assert_eq!((book.pick(NOW, (&none, &keys), true, 0), book.is_named(&named)), (None, true));
    }
}
