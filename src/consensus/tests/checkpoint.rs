//! Checkpoints: votes, certificates, conflicts, the alarm.

use super::*;
use crate::consensus::checkpoint::{CertificateError, Checkpoints, Counted, verify_certificate};
use crate::crypto::{KeySet, SigningKey, public_key, signing_key_from_seed};
use crate::types::params::CHECKPOINTS_KEPT;
use crate::types::{BlockHash, Certificate, ChainId, CheckpointVote, Height};
use crate::wire::{decode_certificate, encode_certificate, sign_checkpoint};

const CHAIN: ChainId = ChainId([5; 32]);
const THIS: BlockHash = BlockHash([1; 32]);
const OTHER: BlockHash = BlockHash([2; 32]);

fn key(seat: u16) -> SigningKey {
    signing_key_from_seed([seat as u8 + 1; 32])
}

fn keys(n: u16) -> KeySet {
    let keys: Vec<[u8; 32]> = (0..n).map(|seat| public_key(&key(seat))).collect();
    KeySet::new(&keys)
}

fn vote(seat: u16, height: u64, hash: BlockHash) -> CheckpointVote {
    sign_checkpoint(&key(seat), &CHAIN, Epoch(0), Height(height), hash)
}

fn checkpoints(n: u16) -> Checkpoints {
    Checkpoints::new(&genesis(n, 10, 4, Policy::Quorum).committee(), 8, Seat(0))
}

/// Counts the votes of these seats; the certificate, if one comes about.
fn count(
    checkpoints: &mut Checkpoints,
    seats: &[u16],
    height: u64,
    hash: BlockHash,
) -> Option<Arc<Certificate>> {
    let counted = seats.iter().map(|&seat| checkpoints.count(Seat(seat), &vote(seat, height, hash)));
    let certificate = |counted| match counted {
        Counted::Certificate(certificate) => Some(certificate),
        Counted::Nothing | Counted::Conflict(_) => None,
    };
    counted.collect::<Vec<_>>().into_iter().find_map(certificate)
}

#[test]
fn exactly_a_quorum_of_votes_makes_a_certificate_that_the_keys_alone_prove() {
    for n in [1, 2, 3, 4, 7, 10, 13] {
        let committee = genesis(n, 10, 4, Policy::Quorum).committee();
        let mut checkpoints = checkpoints(n);
        let seats: Vec<u16> = (0..n).rev().collect();
        let quorum = committee.quorum();
        assert_eq!(count(&mut checkpoints, &seats[1..quorum], 16, THIS), None, "n={n}");
        let first = seats[0];
        // Saying it again, or of a block that is no checkpoint, adds nothing.
        assert_eq!(count(&mut checkpoints, &seats[1..quorum], 16, THIS), None);
        assert_eq!(count(&mut checkpoints, &seats, 15, THIS), None);
        let certificate = count(&mut checkpoints, &[first], 16, THIS).expect("a quorum");
        assert_eq!((certificate.votes.len(), checkpoints.certified()), (quorum, Height(16)));
        assert_eq!(verify_certificate(&certificate, &CHAIN, Epoch(0), &keys(n)), Ok(()));
        assert_eq!(checkpoints.certificate(Height(0)), Some(&certificate));
        assert_eq!(count(&mut checkpoints, &seats, 16, THIS), None, "once");
    }
}

#[test]
fn a_certificate_with_anything_changed_proves_nothing() {
    let mut checkpoints = checkpoints(4);
    let certificate = count(&mut checkpoints, &[0, 1, 3], 8, THIS).unwrap();
    let check = |c: &Certificate| verify_certificate(c, &CHAIN, Epoch(0), &keys(4));
    let bytes = encode_certificate(&certificate);
    for place in 0..bytes.len() {
        for change in [1, 0x10, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            let holds = decode_certificate(&changed).is_ok_and(|c| check(&c).is_ok());
            assert!(!holds, "byte {place} ^ {change}");
        }
    }
    let with = |change: fn(&mut Certificate)| {
        let mut changed = (*certificate).clone();
        change(&mut changed);
        check(&changed)
    };
    assert_eq!(with(|c| _ = c.votes.pop()), Err(CertificateError::Quorum { found: 2, quorum: 3 }));
    assert_eq!(with(|c| c.votes[1] = c.votes[0]), Err(CertificateError::Order), "one seat counts once");
    assert_eq!(with(|c| c.votes.swap(0, 1)), Err(CertificateError::Order));
    assert_eq!(with(|c| c.votes[2].0 = Seat(4)), Err(CertificateError::Vote(4)), "no such seat");
    assert_eq!(with(|c| c.epoch = Epoch(1)), Err(CertificateError::Epoch { found: 1, keys: 0 }));
    let of_other_chain = verify_certificate(&certificate, &ChainId([6; 32]), Epoch(0), &keys(4));
    assert_eq!(of_other_chain, Err(CertificateError::Vote(0)));
    // More than a quorum may sign, but then all of them must have.
    let more = |last: CheckpointVote| {
        let votes = certificate.votes.iter().copied().filter(|vote| vote.0 != Seat(3));
        let votes = votes.chain([(Seat(2), vote(2, 8, THIS).signature), (Seat(3), last.signature)]);
        check(&Certificate { votes: votes.collect(), ..(*certificate).clone() })
    };
    assert_eq!(more(vote(3, 8, THIS)), Ok(()));
    assert_eq!(more(vote(3, 8, OTHER)), Err(CertificateError::Vote(3)));
    assert_eq!(
        verify_certificate(&certificate, &CHAIN, Epoch(0), &KeySet::new([])).unwrap_err(),
        CertificateError::Quorum { found: 3, quorum: 0 },
        "nobody is no quorum"
    );
}

#[test]
fn votes_for_different_hashes_are_not_added_up_and_the_second_of_a_seat_is_a_fact() {
    let mut checkpoints = checkpoints(4);
    assert_eq!(count(&mut checkpoints, &[1, 2], 8, THIS), None);
    assert_eq!(checkpoints.count(Seat(3), &vote(3, 8, OTHER)), Counted::Nothing);
    let second = checkpoints.count(Seat(2), &vote(2, 8, OTHER));
    assert_eq!(second, Counted::Conflict(vote(2, 8, THIS)), "two each");
    assert_eq!(checkpoints.count(Seat(2), &vote(2, 8, THIS)), Counted::Nothing, "said again");
    let certificate = count(&mut checkpoints, &[0], 8, THIS).expect("the first vote of a seat counts");
    assert_eq!(certificate.votes.iter().map(|vote| vote.0.0).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn who_votes_for_countless_heights_takes_no_more_room_and_pushes_nobody_out() {
    let mut checkpoints = checkpoints(4);
    count(&mut checkpoints, &[1, 2], 8, THIS);
    for number in (2..5_000).rev().chain(2..5_000) {
        count(&mut checkpoints, &[3], number * 8, THIS);
        count(&mut checkpoints, &[3], 1_000_000 + number * 8, THIS);
        count(&mut checkpoints, &[3], u64::MAX / 8 * 8 - number * 8, THIS);
    }
    assert_eq!(checkpoints.kept(), [1 + CHECKPOINTS_KEPT, 0, 0]);
    assert!(count(&mut checkpoints, &[0], 8, THIS).is_some());
    for number in 2..500 {
        checkpoints.executed(Height(number * 8), THIS);
        count(&mut checkpoints, &[0, 1, 2, 3], number * 8, THIS);
    }
    assert_eq!(checkpoints.kept(), [4, 1, 1].map(|each| each * CHECKPOINTS_KEPT));
    assert_eq!(checkpoints.certificate(Height(8)), None, "only the newest are kept");
}

#[test]
fn who_votes_twice_cannot_hide_the_first_vote_behind_others() {
    let mut checkpoints = checkpoints(4);
    (1..=20).for_each(|number| checkpoints.executed(Height(number * 8), THIS));
    assert_eq!(checkpoints.count(Seat(3), &vote(3, 160, OTHER)), Counted::Nothing);
    for number in (1..1_000).rev().chain(1..1_000).filter(|number| *number != 20) {
        count(&mut checkpoints, &[3], number * 8, THIS);
    }
    assert_eq!(checkpoints.count(Seat(3), &vote(3, 160, THIS)), Counted::Conflict(vote(3, 160, OTHER)));
}

#[test]
fn f_plus_one_others_with_another_hash_are_an_alarm_and_f_are_none() {
    for (n, enough) in [(2, 1), (3, 1), (4, 2), (7, 3), (10, 4)] {
        let mut checkpoints = checkpoints(n);
        let others: Vec<u16> = (1..=enough).collect();
        count(&mut checkpoints, &others[1..], 8, OTHER);
        count(&mut checkpoints, &[0], 8, THIS);
        assert_eq!(checkpoints.divergence(Height(8)), None, "nothing to compare with");
        checkpoints.executed(Height(8), THIS);
        assert_eq!(checkpoints.divergence(Height(8)), None, "n={n}: f may lie");
        count(&mut checkpoints, &others[..1], 8, OTHER);
        let divergence = checkpoints.divergence(Height(8)).expect("f + 1");
        let seats: Vec<Seat> = others.iter().copied().map(Seat).collect();
        assert_eq!(divergence, Divergence { height: Height(8), own: THIS, other: OTHER, seats });
    }
    // One's own vote of another life does not count, nor do votes for the same hash.
    let mut checkpoints = checkpoints(4);
    checkpoints.executed(Height(8), THIS);
    count(&mut checkpoints, &[0, 1], 8, OTHER);
    count(&mut checkpoints, &[2, 3], 8, THIS);
    assert_eq!(checkpoints.divergence(Height(8)), None);
}

#[test]
fn a_certificate_of_another_hash_is_an_alarm_too_and_names_height_hashes_and_seats() {
    let mut others = checkpoints(4);
    let certificate = count(&mut others, &[1, 2, 3], 8, OTHER).unwrap();
    let mut checkpoints = checkpoints(4);
    checkpoints.executed(Height(8), THIS);
    assert!(checkpoints.keep(certificate));
    let words = checkpoints.divergence(Height(8)).expect("a quorum").to_string();
    for part in ["block 8", &THIS.to_string(), &OTHER.to_string(), "seats 1, 2, 3"] {
        assert!(words.contains(part), "{words}");
    }
}
