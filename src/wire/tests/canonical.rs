//! One encoding per value: samples of every format, cut short and changed byte by byte, and their golden hashes.

use super::{CHAIN, frame, signer};
use crate::crypto::{self, Domain};
use crate::types::*;
use crate::wire::client::{Absent, BlockNotice, Refusal, Reply, Request, Status, Submission};
use crate::wire::*;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// A format by name, the bytes of a small value, and what decodes and encodes again (`None`: refused).
pub(super) type Sample = (&'static str, Vec<u8>, fn(&[u8]) -> Option<Vec<u8>>);

fn recode_batch(bytes: &[u8]) -> Option<Vec<u8>> {
    let batch = Batch::decode(Bytes::copy_from_slice(bytes)).ok()?;
    let mut out = Vec::new();
    crate::wire::batch::encode_header(&batch.header, &mut out);
    out.extend(batch.blobs());
    for row in batch.rows().effects {
        out.extend_from_slice(row.as_bytes());
    }
    out.extend(batch.rows().keys.concat());
    batch.rows().witnesses.iter().for_each(|witness| out.extend(witness.0));
    Some(out)
}

fn recode_vertex(bytes: &[u8]) -> Option<Vec<u8>> {
    let vertex = SignedVertex::decode(Bytes::copy_from_slice(bytes)).ok()?;
    let mut out = Vec::new();
    crate::wire::vertex::encode_fields(&vertex.vertex, &mut out);
    out.extend(vertex.signature);
    Some(out)
}

/// Kind and payload in one, as in a frame without its length.
fn recode_message(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&kind, payload) = bytes.split_first()?;
    let message = Message::decode(frame(kind, payload.to_vec())).ok()?;
    Some([&[message.kind()], &message.payload()[..]].concat())
}

fn recode_request(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&kind, payload) = bytes.split_first()?;
    let (kind, payload) = Request::decode(frame(kind, payload.to_vec())).ok()?.encode();
    Some([vec![kind], payload].concat())
}

fn recode_reply(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&kind, payload) = bytes.split_first()?;
    let (kind, payload) = Reply::decode(&frame(kind, payload.to_vec())).ok()?.encode();
    Some([vec![kind], payload].concat())
}

fn batch_ref(tag: u8) -> BatchRef {
    BatchRef { author: Seat(tag.into()), sequence: Sequence(300 + u64::from(tag)), id: BatchId([tag; 32]) }
}

fn vertex_ref(tag: u8) -> VertexRef {
    VertexRef { round: Round(5), author: Seat(tag.into()), id: VertexId([tag; 32]) }
}

fn genesis() -> Genesis {
    Genesis {
        name: "golden".to_owned(),
        time: Time(1_700_000_000_000_000),
        rules: Rules::default(),
        seats: vec![SeatInfo { key: Key([1; 32]), fee_account: AccountNumber(1) }],
        accounts: vec![
            GenesisAccount { key: [1; 32], balance: 10 },
            GenesisAccount { key: [2; 32], balance: 20 },
        ],
    }
}

fn rows<R>(read: impl FnOnce(Rows<'_>) -> R) -> R {
    let effects = [Effect::transfer(1, 2, 3, 4, 5), Effect::open(2, 300, 1, 100)];
    read(Rows { effects: &effects, keys: &[[9; 32]], witnesses: &[Witness([6; 64]), Witness([7; 64])] })
}

fn batch() -> Batch {
    rows(|rows| seal(&signer(), &CHAIN, (Epoch(0), Seat(3), Sequence(17)), 3, rows))
}

fn blobs() -> Blobs {
    Blobs::pack(5, vec![8; 15]).expect("three blobs of five bytes")
}

fn opaque_batch() -> Batch {
    let mut gathered = Gathered::new(5);
    gathered.gather(blobs().column());
    seal_blobs(&signer(), &CHAIN, (Epoch(0), Seat(3), Sequence(17)), gathered)
}

fn vertex() -> SignedVertex {
    let parent = |tag: u8| Parent { author: Seat(tag.into()), id: VertexId([tag; 32]) };
    let ack = |tag, verdict| Ack { batch: batch_ref(tag), verdict };
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(9),
        author: Seat(2),
        time: Time(1_700_000_000_000_000),
        strong: vec![parent(0), parent(2), parent(3)],
        weak: vec![vertex_ref(1)],
        acks: vec![ack(3, Verdict::Valid), ack(1, Verdict::Held)],
        parts: vec![Part::Checkpoints(vec![vote(32), vote(96)]), Part::Other(4, vec![1, 2, 3])],
    };
    sign_vertex(&signer(), &CHAIN, vertex)
}

fn vote(height: u64) -> CheckpointVote {
    sign_checkpoint(&signer(), &CHAIN, Epoch(0), Height(height), BlockHash([height as u8; 32]))
}

fn certificate() -> Certificate {
    let votes = [0, 2, 3].map(|seat| (Seat(seat), vote(32).signature)).to_vec();
    Certificate { epoch: Epoch(0), height: Height(32), hash: BlockHash([32; 32]), votes }
}

fn block() -> Block {
    Block {
        epoch: Epoch(0),
        height: Height(12),
        previous: BlockHash([1; 32]),
        leader: LeaderRef { round: Round(40), author: Seat(1), id: VertexId([2; 32]) },
        time: Time(1_700_000_000_000_001),
        accounts: 3,
        settled: vec![batch_ref(1), batch_ref(0)],
        outcomes: [3; 32],
        roots: vec![(RootKind::Accounts, Root([4; 32]))],
    }
}

fn record() -> SettlementRecord {
    let set = |seats: &[u16]| {
        let mut set = SeatSet::default();
        seats.iter().for_each(|seat| _ = set.insert(Seat(*seat)));
        set
    };
    let slot = |sequence, acks| SlotRecord { sequence: Sequence(sequence), acks };
    let acked = |tag, acks: &[(u16, Verdict)]| {
        (BatchId([tag; 32]), acks.iter().map(|(seat, verdict)| (Seat(*seat), *verdict)).collect())
    };
    let slots = vec![
        slot(2, vec![acked(7, &[(0, Verdict::Valid), (2, Verdict::Held)])]),
        slot(5, vec![acked(1, &[(1, Verdict::Held)]), acked(6, &[(0, Verdict::Valid)])]),
    ];
    SettlementRecord {
        epoch: Epoch(0),
        leader: LeaderRef { round: Round(40), author: Seat(1), id: VertexId([2; 32]) },
        time: Time(1_700_000_000_000_001),
        output: vec![set(&[0, 2]), set(&[]), set(&[1])],
        standings: vec![Standing::default(), Standing::default(), Standing { skips: 2, until: Round(60) }],
        authors: vec![
            AuthorRecord { highest: Sequence(3), settled: 0b101, slots },
            AuthorRecord::default(),
            AuthorRecord { highest: Sequence(100), settled: 1 | 1 << 63, slots: vec![] },
        ],
    }
}

fn hashed(height: u64) -> HashedBlock {
    let block = Block { height: Height(height), ..block() };
    HashedBlock::decode(encode_block(&block).into()).unwrap()
}

fn address(text: &str) -> AddressRecord {
    AddressRecord::sign(&signer(), &CHAIN, text.parse().unwrap(), Time(5))
}

fn messages() -> [Message; 24] {
    let blocks = |heights: std::ops::Range<u64>| {
        let first = Height(heights.start);
        Message::Blocks { first, blocks: Arc::new(heights.map(hashed).collect()) }
    };
    [
        Message::Vertex(Arc::new(vertex())),
        Message::Batch(batch()),
        Message::WantVertices(vec![vertex_ref(1), vertex_ref(0)]),
        Message::WantBatches(vec![batch_ref(1)]),
        Message::Frontier { began: Round(1), rounds: vec![Round(1), Round(2), Round(0)] },
        Message::WantCertificate(Height(64)),
        Message::Certificate(Arc::new(certificate())),
        Message::WantFrontier,
        Message::Evidence(Arc::new(super::evidence::samples().swap_remove(1))),
        Message::WantBlocks { first: Height(9), count: 3 },
        blocks(9..11),
        blocks(9..9),
        Message::WantRecord(Height(64)),
        Message::Record { height: Height(64), bytes: encode_record(&record()).into() },
        Message::WantSnapshots,
        Message::Snapshots { first: Height(3), heights: vec![Height(64), Height(128)] },
        Message::WantPiece { height: Height(64), piece: 2 },
        Message::Piece(TablePiece::of(Height(64), 2, &[7; 40])),
        Message::Piece(TablePiece::absent(Height(64), 2)),
        Message::WantAddresses,
        Message::Addresses(vec![address("10.1.2.3:4000"), address("[2001:db8::7]:65535")]),
        Message::Rows(rows(Submission::pack).expect("two rows")),
        Message::WantEvidence(vec![]),
        Message::WantEvidence(vec![Seat(1), Seat(3)]),
    ]
}

fn requests() -> [Request; 8] {
    let rows = rows(Submission::pack).expect("two rows");
    [
        Request::Hello,
        Request::Submit { id: 77, rows },
        Request::SubmitBlobs { id: 78, blobs: blobs() },
        Request::Subscribe,
        Request::Status,
        Request::Account(AccountNumber(9)),
        Request::Certificate(Height(32)),
        Request::Absent,
    ]
}

fn replies() -> [Reply; 11] {
    let (height, hash, durable) = (Height(3), BlockHash([3; 32]), Time(4));
    [
        Reply::Welcome { chain: CHAIN, seat: Seat(1), seats: 4 },
        Reply::Submitted { id: 77, accepted: 5, refused: vec![(1, Refusal::BadNonce), (4, Refusal::Full)] },
        Reply::Block(BlockNotice { height, hash, durable, batches: 1, rows: 2, ok: 1 }),
        Reply::Status(Status { height, hash, accounts: 4, pending: 5, peers: 3 }),
        Reply::Taken { id: 78, accepted: NonZeroU32::new(3).ok_or(Refusal::Full) },
        Reply::Taken { id: 78, accepted: Err(Refusal::DiskFull) },
        Reply::Account(AccountNumber(9), None),
        Reply::Account(AccountNumber(9), Some(Account::new([5; 32], 70))),
        Reply::Certificate(Height(33), None),
        Reply::Certificate(Height(0), Some(Arc::new(certificate()))),
        Reply::Absent {
            absent: vec![Absent::new(Seat(2), "host:1", "gone"), Absent::new(Seat::NONE, "", "é")],
            more: 3,
        },
    ]
}

/// A sample of every format and of every kind within it.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> = vec![
        ("genesis", encode_genesis(&genesis()), |bytes| {
            decode_genesis(bytes).ok().map(|g| encode_genesis(&g))
        }),
        ("block", encode_block(&block()), |bytes| decode_block(bytes).ok().map(|b| encode_block(&b))),
        ("batch", batch().bytes().to_vec(), recode_batch),
        ("batch", opaque_batch().bytes().to_vec(), recode_batch),
        ("vertex", vertex().bytes.to_vec(), recode_vertex),
        ("record", encode_record(&record()), |bytes| decode_record(bytes).ok().map(|r| encode_record(&r))),
        ("certificate", encode_certificate(&certificate()), |bytes| {
            decode_certificate(bytes).ok().map(|c| encode_certificate(&c))
        }),
    ];
    let of_evidence = |evidence: Evidence| {
        let recode: fn(&[u8]) -> Option<Vec<u8>> = |bytes| Evidence::decode(bytes).ok().map(|e| e.encode());
        ("evidence", evidence.encode(), recode)
    };
    samples.extend(super::evidence::samples().into_iter().map(of_evidence));
    let joined = |(kind, payload): (u8, Vec<u8>)| [vec![kind], payload].concat();
    let of_message = |m: &Message| joined((m.kind(), m.payload().to_vec()));
    samples.extend(messages().iter().map(|m| ("message", of_message(m), recode_message as _)));
    samples.extend(requests().iter().map(|r| ("request", joined(r.encode()), recode_request as _)));
    samples.extend(replies().iter().map(|r| ("reply", joined(r.encode()), recode_reply as _)));
    samples
}

#[test]
fn samples_decode_and_encode_to_the_same_bytes() {
    for (name, bytes, recode) in samples() {
        assert_eq!(recode(&bytes), Some(bytes), "{name}");
    }
    let kinds: BTreeSet<u8> = messages().iter().map(Message::kind).collect();
    assert!(kinds.into_iter().eq(1..=KINDS), "one of each kind at least");
}

#[test]
fn a_truncated_or_prolonged_sample_is_refused_or_canonical() {
    for (name, bytes, recode) in samples() {
        let prolonged = [&bytes[..], &[0]].concat();
        let cuts = (0..bytes.len()).map(|length| &bytes[..length]);
        for changed in cuts.chain([&prolonged[..]]) {
            if let Some(again) = recode(changed) {
                assert_eq!(again, changed, "{name} of {} bytes", changed.len());
            }
        }
    }
}

#[test]
fn only_an_absent_account_is_the_beginning_of_another_value() {
    for (name, bytes, recode) in samples() {
        let decodes = (1..bytes.len()).filter(|&length| recode(&bytes[..length]).is_some());
        let expected: &[usize] = if name == "reply" && bytes[0] == 5 && bytes.len() > 5 { &[5] } else { &[] };
        assert_eq!(decodes.collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn every_change_of_one_byte_is_refused_or_canonical() {
    for (name, bytes, recode) in samples() {
        let mut changed = bytes.clone();
        for place in 0..bytes.len() {
            for change in 1..=u8::MAX {
                changed[place] = bytes[place] ^ change;
                if let Some(again) = recode(&changed) {
                    assert_eq!(again, changed, "{name}: byte {place} ^ {change}");
                }
            }
            changed[place] = bytes[place];
        }
    }
}

#[test]
fn every_byte_of_a_batch_is_bound_by_its_id_or_its_roots() {
    for batch in [batch(), opaque_batch()] {
        every_byte_is_bound(&batch);
    }
}

fn every_byte_is_bound(batch: &Batch) {
    let signature = 128..192;
    for place in (0..batch.bytes().len()).filter(|place| !signature.contains(place)) {
        let mut bytes = batch.bytes().to_vec();
        bytes[place] ^= 1;
        let Ok(other) = Batch::decode(Bytes::from(bytes)) else { continue };
        assert!(other.id != batch.id || !other.roots_match(), "byte {place}");
        assert_eq!(other.id == batch.id, place >= 192);
    }
}

#[test]
fn ids_leave_the_signature_out() {
    let (vertex, batch) = (vertex(), batch());
    let mut bytes = vertex.bytes.to_vec();
    *bytes.last_mut().expect("64 bytes at least") ^= 1;
    let other = SignedVertex::decode(bytes.into()).expect("a signature has no form");
    assert_eq!((other.id, other.digest(&CHAIN)), (vertex.id, vertex.digest(&CHAIN)));
    let mut bytes = batch.bytes().to_vec();
    bytes[190] ^= 1;
    let other = Batch::decode(bytes.into()).expect("a signature has no form");
    assert_eq!((other.id, other.digest(&CHAIN)), (batch.id, batch.digest(&CHAIN)));
}

/// Golden vectors: changed only by hand, with a new version of the format and the reason in the commit.
#[test]
fn golden_hashes_of_the_formats() {
    let block = encode_block(&block());
    let found = [
        ("genesis", chain_id(&genesis()).0),
        ("batch", batch().id.0),
        ("opaque batch", opaque_batch().id.0),
        ("vertex", vertex().id.0),
        ("block", block_hash(&block).0),
        ("batch bytes", crypto::plain(batch().bytes())),
        ("opaque batch bytes", crypto::plain(opaque_batch().bytes())),
        ("vertex bytes", crypto::plain(&vertex().bytes)),
        ("record", record_root(&encode_record(&record())).0),
        ("committee", committee_root(&genesis().committee()).0),
        ("certificate", crypto::plain(&encode_certificate(&certificate()))),
        ("checkpoint", checkpoint_digest(&CHAIN, Epoch(1), Height(32), &BlockHash([32; 32]))),
        (
            "evidence",
            crypto::plain(&super::evidence::samples().iter().flat_map(|e| e.encode()).collect::<Vec<_>>()),
        ),
        ("transaction", transaction_digest(&CHAIN, &Effect::transfer(1, 2, 3, 4, 5), &[1; 32], &[2; 32])),
    ];
    let golden = [
        ("genesis", "bf613e3f42da8804f07bbe8b9297b7addae6be98f81d0887dd2d5217d8747db0"),
        ("batch", "368e73e48c2063b12c84e194fd464618ee54d41b2c3e0985a23d2205e44de528"),
        ("opaque batch", "bdb20801bca8264a2c58047fb367c35cc955223917ee6ff502239b16889badf2"),
        ("vertex", "5b8f7d3a593187a3e9150f88a2a492d1a0ff9eda940cccd2d0753596423c4ac8"),
        ("block", "7f9025a92f96274d38bf8419b26dbeb4002fb0f4cf04701e60e08d6dffaa8d69"),
        ("batch bytes", "416b5b19eab5423171168fb043f40b06feca10e870e77dc3acd3f550279b446d"),
        ("opaque batch bytes", "97da617e74e8c96b54d11c716eb225dd69eff3f5078bcbfce7eae5e4773306b5"),
        ("vertex bytes", "35761d9139152ed4ee5190d1517d0fd299115ec0eb9936c0ba160737d25d1a9b"),
        ("record", "1818639936dba8694bbc7dd941a7dd498850b9ba855631c52ea89334f216ce4a"),
        ("committee", "011ee6e07b3e7fe4dda9ab220902ec4787a9cb1356508ab48a7b0252e677db50"),
        ("certificate", "ff8451793c4a480cfd973fa344dc477a57eb51fa8fffb82bdbfb960c68419974"),
        ("checkpoint", "3c900eaa739cc52d70f70a6c71ad1585bbe91ac9dd88573fc235dc5240bb8215"),
        ("evidence", "8c4e53de1d2219a8114d5f813a08774704de097ecfced8fc1ae1ef9449bf4222"),
        ("transaction", "3c13d3eba7f17c77974bd1849fdd1530b2ad17496485312e33053ea3e82b3afe"),
    ];
    for ((name, found), (_, golden)) in found.into_iter().zip(golden) {
        assert_eq!(hex::encode(found), golden, "{name}");
    }
}

#[test]
fn a_block_is_laid_out_as_written() {
    let words = concat!(
        "01",
        "00000000",
        "0c00000000000000", // version, epoch, height
        "0101010101010101010101010101010101010101010101010101010101010101", // previous
        "2800000000000000",
        "0100", // leader: round, author, id
        "0202020202020202020202020202020202020202020202020202020202020202",
        "01401e18240a0600",
        "03000000",
        "02000000", // time, accounts, settled batches
        "0100",
        "2d01000000000000",
        "0101010101010101010101010101010101010101010101010101010101010101",
        "0000",
        "2c01000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0303030303030303030303030303030303030303030303030303030303030303", // outcomes
        "01000000",
        "01", // roots
        "0404040404040404040404040404040404040404040404040404040404040404",
    );
    let bytes = encode_block(&block());
    assert_eq!(hex::encode(&bytes), words);
    assert_eq!(block_hash(&bytes).0, blake3::derive_key(Domain::Block.context(), &bytes));
}

#[test]
fn what_a_sender_signs_is_laid_out_as_written() {
    let fields = [&3u64.to_le_bytes()[..], &4u64.to_le_bytes(), &5u32.to_le_bytes(), &[0]].concat();
    let words = [&CHAIN.0[..], &[1; 32], &[2; 32], &fields].concat();
    let digest = transaction_digest(&CHAIN, &Effect::transfer(8, 9, 3, 4, 5), &[1; 32], &[2; 32]);
    assert_eq!(digest, blake3::derive_key(Domain::Transaction.context(), &words), "keys, not numbers");
}
