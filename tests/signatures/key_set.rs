//! Keys that stay, with tables: the verdicts are those of everybody else, few claims or many, one key or hundreds.

use throng::crypto::{Claim, KeySet, TABLES_MAX};

use crate::cases::{Case, Judged, all, honest};
use crate::curve::encoding;

fn claims(cases: &[Judged], first_signer: usize) -> Vec<Claim<'_>> {
    let claim = |(place, (case, _)): (usize, &'_ Judged)| (first_signer + place, case.message);
    let of = cases.iter().enumerate().map(claim).zip(cases);
    of.map(|((signer, message), (case, _))| Claim { signer, message, signature: &case.signature }).collect()
}

fn bad(cases: &[Judged]) -> Vec<usize> {
    (0..cases.len()).filter(|&place| !cases[place].1).collect()
}

#[test]
fn claims_few_or_many_by_keys_of_every_kind_get_the_verdicts_of_single_checks() {
    let mut cases = all();
    // The whole table is used only by a scalar of all sizes of digits: more honest ones.
    cases.extend(honest(200, 50).into_iter().map(|case| (case, true)));
    for cases in cases.chunks(TABLES_MAX.min(48)) {
        let set = KeySet::new(cases.iter().map(|(case, _)| &case.key));
        assert_eq!(set.len(), cases.len());
        for size in [1, 2, 3, 7, 8, 9, 48] {
            for (number, some) in cases.chunks(size).enumerate() {
                assert_eq!(set.bad(&claims(some, number * size)), bad(some), "{size} claims of {some:?}");
            }
        }
        for (signer, (case, valid)) in cases.iter().enumerate() {
            assert_eq!(set.verify(signer, &case.message, &case.signature), *valid, "{case:?}");
        }
    }
}

#[test]
fn a_set_without_tables_says_the_same() {
    let cases: Vec<Judged> = all().into_iter().take(TABLES_MAX + 60).collect();
    let set = KeySet::new(cases.iter().map(|(case, _)| &case.key));
    assert!(set.len() > TABLES_MAX);
    for size in [1, 5, 30, cases.len()] {
        for (number, some) in cases.chunks(size).enumerate() {
            assert_eq!(set.bad(&claims(some, number * size)), bad(some));
        }
    }
}

#[test]
fn claims_of_nobody_of_another_or_twice_are_judged_each_by_itself() {
    let good = honest(4, 4);
    let keys: Vec<[u8; 32]> = good.iter().map(|case| case.key).chain([encoding(2, false, false)]).collect();
    let set = KeySet::new(&keys);
    assert!(set.key(3).is_some() && set.key(4).is_none() && set.key(5).is_none());
    let claim = |signer: usize, case: &'_ Case| (signer, case.message, case.signature);
    let made = [
        claim(0, &good[0]),
        claim(4, &good[1]), // a key off the curve
        claim(2, &good[2]),
        claim(5, &good[3]), // nobody
        claim(usize::MAX, &good[3]),
        claim(1, &good[3]), // another's
        claim(2, &good[2]), // twice
    ];
    let claims: Vec<Claim<'_>> = made
        .iter()
        .map(|(signer, message, signature)| Claim { signer: *signer, message: *message, signature })
        .collect();
    assert_eq!(set.bad(&claims), [1, 3, 4, 5]);
    let many: Vec<Claim<'_>> = claims.iter().chain(&claims).copied().collect();
    assert_eq!(set.bad(&many), [1, 3, 4, 5, 8, 10, 11, 12]);
    assert!(set.bad(&[]).is_empty() && KeySet::new([]).bad(&[]).is_empty());
    assert_eq!(KeySet::new([]).bad(&claims), (0..7).collect::<Vec<_>>());
}
