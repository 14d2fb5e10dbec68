//! The rule against an independent implementation of it, batches against single checks, golden vectors.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::verify::{bad_in_pieces, coefficients};
use super::*;

/// The order of the base point, little-endian (RFC 8032, §5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A signature with everything that a verdict depends on.
#[derive(Clone, Debug)]
struct Case {
    key: [u8; 32],
    message: [u8; 32],
    signature: [u8; 64],
}

impl Case {
    fn honest(number: u64, signer: u64) -> Self {
        let key = signing_key_from_seed(plain(&signer.to_le_bytes()));
        let message = hash(Domain::Transaction, &[&number.to_le_bytes()]);
        Self { key: public_key(&key), message, signature: sign(&key, &message) }
    }

    /// A signature as an adversary makes it: with a chosen secret scalar, and small-order points added to A and R.
    fn with_torsion(in_key: EdwardsPoint, in_r: EdwardsPoint, message: [u8; 32]) -> Self {
        let (secret, nonce) = (Scalar::from(0x1234_5678_9abc_u64), Scalar::from(0xfeed_beef_u64));
        let key = (EdwardsPoint::mul_base(&secret) + in_key).compress().to_bytes();
        let r = (EdwardsPoint::mul_base(&nonce) + in_r).compress().to_bytes();
        let k = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&k.into()) * secret;
        Self { key, message, signature: joined(r, s.to_bytes()) }
    }

    fn bits() -> usize {
        8 * (32 + 32 + 64)
    }

    fn flipped(mut self, bit: usize) -> Self {
        let byte = match bit / 8 {
            at @ 0..32 => &mut self.key[at],
            at @ 32..64 => &mut self.message[at - 32],
            at => &mut self.signature[at - 64],
        };
        *byte ^= 1 << (bit % 8);
        self
    }

    /// The same signature with `s` replaced by `s + l`, which proves the same but is out of range.
    fn with_s_out_of_range(mut self) -> Self {
        let mut carry = 0;
        for (byte, add) in self.signature[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        self
    }

    fn verdict(&self) -> bool {
        self.item().is_some_and(|item| verify(&item.key, &item.message, item.signature))
    }

    /// `None` when the key is not a point.
    fn item(&self) -> Option<Item<'_>> {
        let key = PreparedKey::new(&self.key)?;
        Some(Item { key, message: self.message, signature: &self.signature })
    }

    fn verdict_of_zebra(&self) -> bool {
        let signature = ed25519_zebra::Signature::from_bytes(&self.signature);
        ed25519_zebra::VerificationKey::try_from(self.key)
            .is_ok_and(|key| key.verify(&signature, &self.message).is_ok())
    }
}

fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// The cases whose key is a point, as items.
fn items(cases: &[Case]) -> Vec<Item<'_>> {
    cases.iter().filter_map(Case::item).collect()
}

/// Single, batch of one and among `company`, ours and zebra: one verdict, which is returned.
fn verdict_everywhere(case: &Case, company: &[Case]) -> bool {
    let verdict = case.verdict();
    assert_eq!(verdict, case.verdict_of_zebra(), "differs from ed25519-zebra: {case:?}");
    if PreparedKey::new(&case.key).is_some() {
        let alone = std::slice::from_ref(case);
        assert_eq!(verify_batch(&items(alone)).is_ok(), verdict, "batch of one: {case:?}");
        let at = company.len() / 2;
        let together = [&company[..at], alone, &company[at..]].concat();
        let expected = if verdict { Ok(()) } else { Err(vec![at]) };
        assert_eq!(verify_batch(&items(&together)), expected, "in company: {case:?}");
    }
    verdict
}

fn honest_company() -> Vec<Case> {
    (0..4).map(|i| Case::honest(i, i % 3)).collect()
}

/// The little-endian encoding of `p + y` (`y` < 19) or, without `above`, of `y`; `sign` is the sign bit of x.
fn encoding(y: u8, above: bool, sign: bool) -> [u8; 32] {
    let mut bytes = [0; 32];
    if above {
        bytes = [0xff; 32];
        bytes[31] = 0x7f;
        bytes[0] = 0xed + y; // p = 2^255 - 19 ends in 0xed; y below 19 carries nothing
    } else {
        bytes[0] = y;
    }
    bytes[31] |= u8::from(sign) << 7;
    bytes
}

/// All 14 encodings of points of small order: 8 canonical ones and 6 that are not.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> =
        EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let mut minus_one = encoding(0, true, true);
    minus_one[0] -= 1; // y = p - 1, x = 0 with a sign
    encodings.push(minus_one);
    encodings.push(encoding(1, false, true)); // y = 1, x = 0 with a sign
    encodings.extend([0, 1].iter().flat_map(|&y| [encoding(y, true, false), encoding(y, true, true)]));
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}

#[test]
fn every_pair_of_small_order_encodings_is_a_valid_signature_with_s_zero() {
    let encodings = small_order_encodings();
    assert_eq!(encodings.len(), 14);
    let company = honest_company();
    for key in &encodings {
        assert!(PreparedKey::new(key).is_some());
        for r in &encodings {
            let case = Case { key: *key, message: plain(b"small order"), signature: joined(*r, [0; 32]) };
            assert!(verdict_everywhere(&case, &company));
        }
    }
}

#[test]
fn encodings_above_p_are_keys_exactly_when_their_y_is_on_the_curve() {
    let company = honest_company();
    for y in 0..19 {
        for sign in [false, true] {
            let bytes = encoding(y, true, sign);
            let ours = PreparedKey::new(&bytes);
            assert_eq!(ours.is_some(), ed25519_zebra::VerificationKey::try_from(bytes).is_ok());
            assert_eq!(ours.is_some(), PreparedKey::new(&encoding(y, false, sign)).is_some());
            let honest = Case::honest(1, 1);
            verdict_everywhere(&Case { key: bytes, ..honest.clone() }, &company);
            let (_, s) = honest.signature.split_at(32);
            let signature = joined(bytes, s.try_into().expect("half of 64"));
            verdict_everywhere(&Case { signature, ..honest }, &company);
        }
    }
}

#[test]
fn torsion_in_the_key_in_r_or_in_both_does_not_matter() {
    let company = honest_company();
    for (i, in_key) in EIGHT_TORSION.into_iter().enumerate() {
        for (j, in_r) in EIGHT_TORSION.into_iter().enumerate() {
            let case = Case::with_torsion(in_key, in_r, plain(&[i as u8, j as u8]));
            assert!(verdict_everywhere(&case, &company));
            assert!(!verdict_everywhere(&case.clone().flipped(8 * 40), &company));
            assert!(!verdict_everywhere(&case.with_s_out_of_range(), &company));
        }
    }
}

#[test]
fn an_s_of_l_or_more_is_refused_although_the_equation_holds() {
    let company = honest_company();
    assert!(!verdict_everywhere(&Case::honest(7, 7).with_s_out_of_range(), &company));
    let identity = encoding(1, false, false);
    for s in [L, [0xff; 32]] {
        let case = Case { key: identity, message: [0; 32], signature: joined(identity, s) };
        assert!(!verdict_everywhere(&case, &company));
    }
}

#[test]
fn a_flipped_bit_at_any_place_is_noticed() {
    let company = honest_company();
    for bit in 0..Case::bits() {
        assert!(!verdict_everywhere(&Case::honest(3, 2).flipped(bit), &company), "bit {bit}");
    }
}

#[test]
fn errors_that_would_cancel_out_without_secret_coefficients_are_all_found() {
    let mut cases: Vec<Case> = (0..8).map(|i| Case::honest(i, 0)).collect();
    for (index, by) in [(2, Scalar::ONE), (5, -Scalar::ONE)] {
        let (r, s) = cases[index].signature.split_at(32);
        let s = Scalar::from_bytes_mod_order(s.try_into().expect("half of 64")) + by;
        cases[index].signature = joined(r.try_into().expect("half of 64"), s.to_bytes());
    }
    assert_eq!(verify_batch(&items(&cases)), Err(vec![2, 5]));
}

#[test]
fn coefficients_are_fresh_for_each_call_and_have_128_bits() {
    let (first, second) = (coefficients(64), coefficients(64));
    assert_ne!(first, second);
    for z in [first, second].into_iter().flatten().flatten() {
        assert_ne!(z, Scalar::ZERO);
        assert_eq!(z.as_bytes()[16..], [0; 16]);
    }
}

#[test]
fn an_empty_batch_is_valid_and_a_repeated_item_counts_each_time() {
    assert_eq!(verify_batch(&[]), Ok(()));
    let bad = Case::honest(1, 1).flipped(8 * 33);
    let cases = [Case::honest(1, 1), bad.clone(), Case::honest(1, 1), bad];
    assert_eq!(verify_batch(&items(&cases)), Err(vec![1, 3]));
}

#[test]
fn a_batch_in_several_pieces_names_the_bad_ones_at_the_edges_of_each() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a small pool starts");
    let mut cases: Vec<Case> = (0..1100).map(|i| Case::honest(i, i % 5)).collect();
    assert_eq!(pool.install(|| verify_batch(&items(&cases))), Ok(()));
    let bad = vec![0, 549, 550, 1099];
    for &index in &bad {
        cases[index] = cases[index].clone().flipped(8 * 32);
    }
    assert_eq!(pool.install(|| verify_batch(&items(&cases))), Err(bad));
}

/// Good signatures and every kind of bad one that an adversary can make.
fn any_case() -> impl Strategy<Value = Case> {
    (any::<u64>(), 0..4_u64, 0..8_usize, 0..8_usize, 0..Case::bits(), 0..10_u8).prop_map(
        |(number, signer, i, j, bit, kind)| match kind {
            0 => Case::honest(number, signer).flipped(bit),
            1 => Case::honest(number, signer).with_s_out_of_range(),
            2 => Case::with_torsion(EIGHT_TORSION[i], EIGHT_TORSION[j], plain(&number.to_le_bytes())),
            3 => Case { key: Case::honest(0, signer + 1).key, ..Case::honest(number, signer) },
            _ => Case::honest(number, signer),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_in_any_split_gives_the_verdicts_of_single_checks(
        cases in prop::collection::vec(any_case(), 0..24),
        size in 1..26_usize,
    ) {
        let cases: Vec<Case> = cases.into_iter().filter(|case| PreparedKey::new(&case.key).is_some()).collect();
        let bad: Vec<usize> = (0..cases.len()).filter(|&i| !cases[i].verdict_of_zebra()).collect();
        prop_assert_eq!(bad_in_pieces(&items(&cases), size), bad.clone());
        prop_assert_eq!(verify_batch(&items(&cases)).err().unwrap_or_default(), bad);
    }

    #[test]
    fn random_bytes_get_the_verdict_of_zebra(key: [u8; 32], message: [u8; 32], r: [u8; 32], s: [u8; 32]) {
        let case = Case { key, message, signature: joined(r, s) };
        prop_assert!(!verdict_everywhere(&case, &[]));
        prop_assert_eq!(
            PreparedKey::new(&key).is_some(),
            ed25519_zebra::VerificationKey::try_from(key).is_ok()
        );
    }
}

#[test]
fn keys_and_signatures_are_those_of_rfc_8032() {
    let seed: [u8; 32] = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let key = signing_key_from_seed(seed);
    assert_eq!(
        hex::encode(public_key(&key)),
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
    let message = plain(b"message");
    let of_zebra: [u8; 64] = ed25519_zebra::SigningKey::from(seed).sign(&message).to_bytes();
    assert_eq!(sign(&key, &message), of_zebra);
    assert_eq!(PreparedKey::new(&public_key(&key)).map(|key| *key.bytes()), Some(public_key(&key)));
}

fn from_hex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).expect("a constant of the test")
}

/// Changed by hand only, together with the version in the context.
const GOLDEN: [(Domain, &str, &str); 16] = [
    (
        Domain::Transaction,
        "throng 2026 transaction v1",
        "5b242c589176743b5f956531e51f09f2e375a0d3efc1b7f795f8b0957f842c5c",
    ),
    (
        Domain::BatchHeader,
        "throng 2026 batch header v1",
        "e12fb37d983227ecaf789de922ec2002c4aa2aec1b36b42a45eabb9be00130a1",
    ),
    (
        Domain::BatchId,
        "throng 2026 batch id v1",
        "f310bdc8a10f44223a653c25d1e6eb0d30eb5e2b45f7335057dfc9884d0ba907",
    ),
    (
        Domain::Vertex,
        "throng 2026 vertex v1",
        "b4e91ea2c0db87f7cbbe208c0d734d90e618be2f036d3fb69ab341a691b9f10b",
    ),
    (
        Domain::VertexId,
        "throng 2026 vertex id v1",
        "ea58a33a21a23e3f93d38088023376778d59dec25c047c3a3a21d5f0ab2ce6c3",
    ),
    (
        Domain::Block,
        "throng 2026 block v1",
        "0cc3495e26fb2eb077eab9ab982da37152bfb74fe6e92a81068ff673199cd496",
    ),
    (
        Domain::Outcomes,
        "throng 2026 outcomes v1",
        "8bf37caa27f7236d0eec8b63e240a8733c456bcbd4a189dbc55f086e3b342e1e",
    ),
    (
        Domain::Genesis,
        "throng 2026 genesis v1",
        "af4185f845027494341a4a10a3ba23500a9b1837ac4df7f9f3fbebe176154620",
    ),
    (
        Domain::PeerHello,
        "throng 2026 peer hello v1",
        "535f6c060c1ab0613b55bd227d499544a1ed288026785b21ee439b4740d609f0",
    ),
    (
        Domain::PeerSecret,
        "throng 2026 peer secret v1",
        "0176f38c6e2c91207cfb542098c79945d7eb7d7b0229101b96ff54a68c7715ae",
    ),
    (
        Domain::PeerKey,
        "throng 2026 peer key v1",
        "08bdb08a6e6d812205d998cbaa015ab2767f0a5f0ab709e54d95c493ce686b0a",
    ),
    (
        Domain::PeerAddress,
        "throng 2026 peer address v1",
        "9e07a3b364f285d10cefe49e9cda264ed3fe090d76671831c02f1c91353be601",
    ),
    (Domain::Draw, "throng 2026 draw v1", "52e471ef78882b6f6c51e23b59fbdf0c35bb2a052fc90f9bf660039c5b0a1b00"),
    (
        Domain::EpochSeed,
        "throng 2026 epoch seed v1",
        "87c8ca81f947209e0fec73cf29af866d36f57a15b8d13f886f59abbc745d3f3e",
    ),
    (
        Domain::Checkpoint,
        "throng 2026 checkpoint v1",
        "df034d5790c2eee6fa869a400b54eccd0de1d09828425a874278b6c29c7aa938",
    ),
    (
        Domain::Keyring,
        "throng 2026 keyring v1",
        "ff517380d5f39d0e5cc79c4d2ff58551e92b024854a618d52b4cb91689ca7229",
    ),
];

#[test]
fn each_domain_has_its_own_context_and_its_golden_hash() {
    for ((domain, context, golden), listed) in GOLDEN.into_iter().zip(Domain::ALL) {
        assert_eq!(domain, listed);
        assert_eq!(domain.context(), context);
        let of_throng = hash(domain, &[b"thr", b"", b"ong"]);
        assert_eq!(of_throng, blake3::derive_key(context, b"throng"));
        assert_eq!(of_throng, DomainHasher::new(domain).update(b"throng").finish());
        assert_eq!(hex::encode(of_throng), golden, "{domain:?}");
    }
    let mut hashes: Vec<&str> = GOLDEN.iter().map(|(_, _, golden)| *golden).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), Domain::ALL.len());
}

#[test]
fn the_plain_hash_is_that_of_b3sum() {
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    assert_eq!(hex::encode(plain(b"")), empty);
    assert_eq!(hex::encode(plain(b"abc")), abc);
}
