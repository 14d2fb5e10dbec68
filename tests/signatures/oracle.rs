//! Verdicts: of the engine, of `ed25519-zebra` and of `ed25519-consensus`.

use throng::crypto::{Item, KeySet, KeyTable, PreparedKey, verify, verify_batch};

use crate::cases::Case;
use crate::random::Stream;

/// The engine's verdict on one signature, with a fresh key, one from a table by number and one of a set, which must be those of both oracles.
pub fn verdict(case: &Case) -> bool {
    let valid = PreparedKey::new(&case.key).is_some_and(|key| verify(&key, &case.message, &case.signature));
    assert_eq!((valid, valid), (of_zebra(case), of_consensus(case)), "engine, zebra, consensus: {case:?}");
    let table = KeyTable::new(1);
    table.push(&case.key).expect("room for one key");
    for _ in 0..2 {
        let key = table.prepared(0);
        assert_eq!(key.is_some_and(|key| verify(&key, &case.message, &case.signature)), valid, "{case:?}");
    }
    let set = KeySet::new([&case.key]);
    assert_eq!(set.verify(0, &case.message, &case.signature), valid, "in a set: {case:?}");
    valid
}

/// Whether bytes are a point to everybody.
pub fn decodes(bytes: &[u8; 32]) -> bool {
    let ours = PreparedKey::new(bytes).inspect(|key| assert_eq!(key.bytes(), bytes)).is_some();
    assert_eq!(ours, ed25519_zebra::VerificationKey::try_from(*bytes).is_ok(), "{bytes:?}");
    assert_eq!(ours, ed25519_consensus::VerificationKey::try_from(*bytes).is_ok(), "{bytes:?}");
    ours
}

/// The engine's bad ones of a batch. What has no key cannot stand in a batch; it counts as bad.
pub fn bad_of(batch: &[Case]) -> Vec<usize> {
    let (mut items, mut places, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (place, case) in batch.iter().enumerate() {
        match PreparedKey::new(&case.key) {
            Some(key) => {
                items.push(Item { key, message: case.message, signature: &case.signature });
                places.push(place);
            }
            None => bad.push(place),
        }
    }
    if let Err(indices) = verify_batch(&items) {
        assert!(!indices.is_empty() && indices.is_sorted_by(|one, next| one < next), "{indices:?}");
        bad.extend(indices.into_iter().map(|index| places[index]));
        bad.sort_unstable();
    }
    bad
}

pub fn of_zebra(case: &Case) -> bool {
    let signature = ed25519_zebra::Signature::from_bytes(&case.signature);
    ed25519_zebra::VerificationKey::try_from(case.key)
        .is_ok_and(|key| key.verify(&signature, &case.message).is_ok())
}

fn of_consensus(case: &Case) -> bool {
    let signature = ed25519_consensus::Signature::from(case.signature);
    ed25519_consensus::VerificationKey::try_from(case.key)
        .is_ok_and(|key| key.verify(&signature, &case.message).is_ok())
}

pub fn bad_of_zebra(batch: &[Case]) -> Vec<usize> {
    (0..batch.len()).filter(|&i| !of_zebra(&batch[i])).collect()
}

pub fn bad_of_consensus(batch: &[Case]) -> Vec<usize> {
    (0..batch.len()).filter(|&i| !of_consensus(&batch[i])).collect()
}

/// Whether a batch is valid as a whole to `ed25519-zebra`.
pub fn batch_of_zebra(batch: &[Case]) -> bool {
    let mut verifier = ed25519_zebra::batch::Verifier::new();
    for case in batch {
        let signature = ed25519_zebra::Signature::from_bytes(&case.signature);
        verifier.queue((case.key.into(), signature, &case.message));
    }
    verifier.verify(Stream::new()).is_ok()
}

/// Whether a batch is valid as a whole to `ed25519-consensus`.
pub fn batch_of_consensus(batch: &[Case]) -> bool {
    let mut verifier = ed25519_consensus::batch::Verifier::new();
    for case in batch {
        let signature = ed25519_consensus::Signature::from(case.signature);
        verifier.queue((case.key.into(), signature, &case.message));
    }
    verifier.verify(Stream::new()).is_ok()
}
