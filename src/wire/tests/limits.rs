//! Limits hold at their edge: the largest value decodes, one more is refused before space is set aside.

use super::{CHAIN, frame, signer};
use crate::types::params::*;
use crate::types::*;
use crate::wire::client::{
    CLIENT_FRAME_BYTES_MAX, REFUSALS_MAX, Refusal, Reply, Request, SUBMIT_BLOB_BYTES_MAX, SUBMIT_ROWS_MAX,
    Submission,
};
use crate::wire::*;
use bytes::Bytes;
use std::sync::Arc;

fn effects(count: usize) -> Vec<Effect> {
    vec![Effect::open(1, 1, 1, 100); count]
}

/// Seals or packs `count` open rows.
fn with_rows<R>(count: usize, read: impl FnOnce(Rows<'_>) -> R) -> R {
    let (effects, keys, witnesses) = (effects(count), vec![[1; 32]; count], vec![Witness([0; 64]); count]);
    read(Rows { effects: &effects, keys: &keys, witnesses: &witnesses })
}

fn limit<T>(result: Result<T, WireError>) -> Option<&'static str> {
    match result {
        Err(WireError::Limit { what, .. }) => Some(what),
        _ => None,
    }
}

fn batch(rows: usize) -> Batch {
    with_rows(rows, |rows| seal(&signer(), &CHAIN, (Epoch(0), Seat(0), Sequence(1)), 2, rows))
}

fn full_vertex() -> Vertex {
    let seats = || (0..SEATS_MAX as u16).map(Seat);
    let batch = |number: u64| BatchRef { author: Seat(0), sequence: Sequence(number), id: BatchId([0; 32]) };
    let older = |author| VertexRef { round: Round(1), author, id: VertexId([0; 32]) };
    Vertex {
        epoch: Epoch(0),
        round: Round(3),
        author: Seat(SEATS_MAX as u16 - 1),
        time: Time(0),
        strong: seats().map(|author| Parent { author, id: VertexId([0; 32]) }).collect(),
        weak: seats().map(older).collect(),
        acks: (0..ACKS_MAX as u64).map(|n| Ack { batch: batch(n), verdict: Verdict::Held }).collect(),
        parts: vec![Part::Other(0, vec![0; PARTS_BYTES_MAX - 5])],
    }
}

fn recode(vertex: Vertex) -> Result<SignedVertex, WireError> {
    SignedVertex::decode(sign_vertex(&signer(), &CHAIN, vertex).bytes)
}

#[test]
fn an_ack_with_an_unknown_verdict_makes_a_vertex_malformed() {
    let batch = BatchRef { author: Seat(0), sequence: Sequence(1), id: BatchId([7; 32]) };
    let acks = vec![Ack { batch, verdict: Verdict::Held }];
    let vertex = Vertex { acks, parts: Vec::new(), strong: Vec::new(), weak: Vec::new(), ..full_vertex() };
    let good = sign_vertex(&signer(), &CHAIN, vertex).bytes;
    // Behind it the number of parts and the signature, which is checked later.
    let verdict = good.len() - 64 - 4 - 1;
    for byte in 0..=255 {
        let mut bytes = good.to_vec();
        bytes[verdict] = byte;
        let read = SignedVertex::decode(bytes.into()).map(|read| read.vertex.acks[0].verdict as u8);
        let known = if byte < 3 { Ok(byte) } else { Err(WireError::Value("verdict")) };
        assert_eq!(read, known);
    }
}

#[test]
fn the_largest_batch_fits_its_frame_and_one_more_row_is_refused() {
    let full = batch(ROWS_MAX as usize);
    assert_eq!(full.bytes().len(), BATCH_BYTES_MAX);
    const { assert!(BATCH_BYTES_MAX <= PEER_FRAME_BYTES_MAX && vertex_bytes_max() <= PEER_FRAME_BYTES_MAX) };
    assert!(Batch::decode(full.bytes().clone()).is_ok());
    let mut header = batch(1).bytes().to_vec();
    header[20..24].copy_from_slice(&(ROWS_MAX + 1).to_le_bytes());
    assert_eq!(limit(Batch::decode(Bytes::from(header.clone()))), Some("batch rows"));
    header[20..28].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(limit(Batch::decode(Bytes::from(header))), Some("batch rows"), "more keys than rows");
}

#[test]
fn blobs_keep_to_their_sizes_and_an_opaque_header_to_its_fields() {
    let mut gathered = Gathered::new(BLOB_BYTES_MAX);
    assert_eq!(gathered.gather(&vec![3; OPAQUE_BYTES_MAX + 5]), OPAQUE_BYTES_MAX);
    let full = seal_blobs(&signer(), &CHAIN, (Epoch(0), Seat(0), Sequence(1)), gathered);
    assert_eq!(Batch::decode(full.bytes().clone()), Ok(full.clone()));
    assert!(full.roots_match() && full.rows().is_empty() && batch(1).blobs().is_empty());
    let header = |at: usize, words: &[u32]| {
        let mut bytes = full.bytes()[..BATCH_HEADER_BYTES].to_vec();
        let words = words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        bytes[at..at + words.len()].copy_from_slice(&words);
        Batch::decode(bytes.into())
    };
    let count = full.header.rows;
    assert_eq!(limit(header(20, &[count + 1])), Some("bytes of all blobs"));
    assert_eq!(limit(header(20, &[u32::MAX, 0, u32::MAX])), Some("bytes of a blob"));
    assert_eq!(limit(header(28, &[BLOB_BYTES_MAX + 1])), Some("bytes of a blob"));
    assert_eq!(header(28, &[0]), Err(WireError::Value("blobs without bytes")));
    assert_eq!(header(20, &[0]), Err(WireError::Value("batch without rows or sequence")));
    for field_of_rows in [16, 24, 64, 96, 124] {
        let refused = Err(WireError::Value("a field of rows in an opaque batch"));
        assert_eq!(header(field_of_rows, &[1]), refused, "byte {field_of_rows}");
    }
    let mut rows = batch(1).bytes().to_vec();
    rows[28] = 1;
    assert_eq!(Batch::decode(rows.into()), Err(WireError::Value("blob bytes of a batch of rows")));

    let pack = |size, bytes| Blobs::pack(size, vec![0; bytes]);
    assert!(pack(1, SUBMIT_BLOB_BYTES_MAX).is_ok());
    assert_eq!(limit(pack(1, SUBMIT_BLOB_BYTES_MAX + 1)), Some("bytes of all blobs"));
    assert_eq!(limit(pack(BLOB_BYTES_MAX + 1, 1)), Some("bytes of a blob"));
    for (size, bytes) in [(0, 0), (0, 5), (5, 0), (5, 4), (5, 11)] {
        assert!(matches!(pack(size, bytes), Err(WireError::Value(_))), "{bytes} bytes of blobs of {size}");
    }
}

#[test]
fn the_largest_vertex_has_the_stated_length_and_one_more_of_anything_is_refused() {
    let full = recode(full_vertex()).expect("the largest vertex");
    assert_eq!(full.bytes.len(), vertex_bytes_max());
    let mut vertex = full_vertex();
    vertex.acks.push(Ack { batch: BatchRef { author: Seat(1), ..vertex.acks[0].batch }, ..vertex.acks[0] });
    assert_eq!(limit(recode(vertex)), Some("acks"));
    let mut vertex = full_vertex();
    vertex.parts = vec![Part::Other(0, vec![0; PARTS_BYTES_MAX - 4])];
    assert_eq!(limit(recode(vertex)), Some("parts"));
    let mut vertex = full_vertex();
    vertex.strong.push(vertex.strong[0]);
    assert_eq!(limit(recode(vertex)), Some("strong parents"));
    let mut vertex = full_vertex();
    vertex.weak.push(vertex.weak[0]);
    assert_eq!(limit(recode(vertex)), Some("weak parents"));
    let payload = Bytes::from(vec![0; vertex_bytes_max() + 1]);
    assert_eq!(limit(Message::decode(frame(1, payload))), Some("vertex"));
}

#[test]
fn the_largest_evidence_is_two_vertices_and_a_longer_vertex_in_it_is_refused() {
    let twins = [0, 1].map(|time| {
        let vertex = Vertex { time: Time(time), ..full_vertex() };
        Arc::new(sign_vertex(&signer(), &CHAIN, vertex))
    });
    let evidence = Evidence::of_vertices(&twins[0], &twins[1]).expect("two of one slot");
    let bytes = evidence.encode();
    assert_eq!((bytes.len(), Evidence::decode(&bytes)), (EVIDENCE_BYTES_MAX, Ok(evidence)));
    let mut longer = bytes.clone();
    longer[1..5].copy_from_slice(&(vertex_bytes_max() as u32 + 1).to_le_bytes());
    longer.push(0);
    assert_eq!(limit(Evidence::decode(&longer)), Some("vertex"));
    // In a frame, too, whatever it claims.
    assert_eq!(limit(Message::decode(frame(9, longer))), Some("vertex"));
    let mut alone = vec![4];
    alone.resize(vertex_bytes_max() + 2, 0);
    assert_eq!(limit(Evidence::decode(&alone)), Some("vertex"));
    let mut more = bytes;
    more.push(0);
    assert_eq!(Evidence::decode(&more), Err(WireError::Trailing("evidence")));
}

#[test]
fn a_vertex_keeps_to_its_order_and_its_rounds() {
    let refused = |change: fn(&mut Vertex)| {
        let mut vertex = full_vertex();
        vertex.acks.truncate(3);
        vertex.parts = vec![Part::Other(0, vec![]), Part::Other(3, vec![5])];
        assert!(recode(vertex.clone()).is_ok());
        change(&mut vertex);
        recode(vertex).err()
    };
    let value = |what| Some(WireError::Value(what));
    assert_eq!(refused(|v| v.round = Round(0)), value("round of a weak parent"));
    assert_eq!(refused(|v| v.weak[3].round = Round(2)), value("round of a weak parent"));
    assert_eq!(refused(|v| v.weak[3].round = Round(0)), value("round of a weak parent"));
    assert_eq!(refused(|v| v.strong.swap(0, 1)), value("order of strong parents"));
    assert_eq!(refused(|v| v.strong[1] = v.strong[0]), value("order of strong parents"));
    assert_eq!(refused(|v| v.weak.swap(4, 5)), value("order of weak parents"));
    assert_eq!(refused(|v| v.acks[2].batch.sequence = Sequence(0)), value("two acks for one batch slot"));
    assert_eq!(refused(|v| v.parts.swap(0, 1)), value("order of parts"));
    assert_eq!(refused(|v| v.author = Seat(SEATS_MAX as u16)), value("seat"));
    let first = |v: &mut Vertex| (v.round, v.weak) = (Round(1), vec![]);
    assert_eq!(refused(first), value("parents before round 1"));
}

#[test]
fn checkpoint_votes_are_few_and_in_order_or_the_vertex_is_malformed() {
    let vote = |height: u64| {
        let (height, hash) = (Height(height), BlockHash([1; 32]));
        CheckpointVote { height, hash, signature: [2; 64] }
    };
    let with = |heights: &[u64]| {
        let votes = heights.iter().map(|height| vote(*height)).collect();
        recode(Vertex { parts: vec![Part::Checkpoints(votes)], ..full_vertex() })
    };
    let most: Vec<u64> = (1..=CHECKPOINT_VOTES_MAX as u64).collect();
    assert_eq!(with(&most).map(|signed| signed.vertex.checkpoint_votes().len()), Ok(CHECKPOINT_VOTES_MAX));
    assert_eq!(limit(with(&[&most[..], &[99]].concat())), Some("checkpoint votes"));
    let order = Err(WireError::Value("order of checkpoint votes"));
    assert_eq!((with(&[0]), with(&[2, 2]), with(&[3, 2])), (order.clone(), order.clone(), order));
    assert_eq!(with(&[]), Err(WireError::Value("checkpoint votes")));
    for bytes in [1, 103, 105] {
        let part = Part::Other(Part::CHECKPOINTS, vec![1; bytes]);
        let short = recode(Vertex { parts: vec![part], ..full_vertex() });
        assert_eq!(short, Err(WireError::Short("checkpoint vote")), "{bytes} bytes");
    }
}

#[test]
fn the_largest_certificate_has_the_stated_length_and_no_seat_votes_twice() {
    let (epoch, height, hash) = (Epoch(0), Height(1), BlockHash([1; 32]));
    let votes = (0..SEATS_MAX as u16).map(|seat| (Seat(seat), [3; 64])).collect();
    let full = Certificate { epoch, height, hash, votes };
    let bytes = encode_certificate(&full);
    assert_eq!((bytes.len(), decode_certificate(&bytes)), (CERTIFICATE_BYTES_MAX, Ok(full.clone())));
    let refused = |change: fn(&mut Certificate)| {
        let mut certificate = full.clone();
        change(&mut certificate);
        decode_certificate(&encode_certificate(&certificate))
    };
    let order = Err(WireError::Value("order of a certificate's votes"));
    assert_eq!(refused(|c| c.votes.swap(3, 4)), order);
    assert_eq!(refused(|c| c.votes[4].0 = Seat(3)), order);
    assert_eq!(refused(|c| c.votes[1023].0 = Seat(1024)), Err(WireError::Value("seat")));
    assert_eq!(limit(refused(|c| c.votes.push((Seat(1024), [0; 64])))), Some("votes of a certificate"));
    assert_eq!(refused(|c| c.height = Height(0)), Err(WireError::Value("height of a certificate")));
}

#[test]
fn a_record_keeps_to_its_seats_its_order_and_its_window() {
    let set = |seat| {
        let mut set = SeatSet::default();
        set.insert(Seat(seat));
        set
    };
    let acks = |tag, seats: &[u16]| {
        let acks = seats.iter().map(|seat| (Seat(*seat), Verdict::Held)).collect();
        (BatchId([tag; 32]), acks)
    };
    let slot = |sequence, acks| SlotRecord { sequence: Sequence(sequence), acks };
    let open = vec![slot(4, vec![acks(1, &[0, 3])]), slot(6, vec![acks(1, &[1, 2]), acks(2, &[0])])];
    let author = AuthorRecord { highest: Sequence(5), settled: 0b1, slots: open };
    let good = SettlementRecord {
        epoch: Epoch(0),
        leader: LeaderRef { round: Round(9), author: Seat(2), id: VertexId([1; 32]) },
        time: Time(1),
        output: vec![set(1), set(2)],
        standings: vec![Standing { skips: GIVE_WAY_STEPS_MAX, until: Round(1) }; 5],
        authors: vec![author; 5],
    };
    let refused = |change: &dyn Fn(&mut SettlementRecord)| {
        let mut record = good.clone();
        change(&mut record);
        decode_record(&encode_record(&record)).err()
    };
    assert_eq!(refused(&|_| ()), None);
    let value = |what| Some(WireError::Value(what));
    assert_eq!(refused(&|r| r.leader.author = Seat(1)), value("output of the leader"));
    assert_eq!(refused(&|r| r.leader.round = Round(1)), value("output of the leader"));
    assert_eq!(refused(&|r| r.output.clear()), value("output of the leader"));
    assert_eq!(refused(&|r| r.standings[1].skips += 1), value("standing"));
    assert_eq!(refused(&|r| r.standings[1].skips = 0), value("standing"));
    assert_eq!(refused(&|r| r.authors[0].settled = 0b10), value("settled sequences"));
    assert_eq!(refused(&|r| r.authors[0].settled = 0b100001), value("settled sequences"));
    assert_eq!(refused(&|r| r.authors[0].highest = Sequence(0)), value("settled sequences"));
    assert_eq!(refused(&|r| r.authors[0].settled = 0b11), value("order of open slots"));
    assert_eq!(refused(&|r| r.authors[0].slots.swap(0, 1)), value("order of open slots"));
    assert_eq!(refused(&|r| r.authors[0].slots[0].acks.clear()), value("acks of a slot"));
    assert_eq!(refused(&|r| r.authors[0].slots[1].acks.swap(0, 1)), value("order of ids"));
    assert_eq!(refused(&|r| r.authors[0].slots[1].acks[1].1.clear()), value("order of ids"));
    let first = |r: &mut SettlementRecord, ack: (Seat, Verdict)| r.authors[0].slots[1].acks[0].1[0] = ack;
    let order = value("order of counted acks");
    assert_eq!(refused(&|r| first(r, (Seat(2), Verdict::Held))), order);
    assert_eq!(refused(&|r| first(r, (Seat(0), Verdict::Held))), order, "under two ids");
    assert_eq!(refused(&|r| r.authors[0].slots[0].acks[0].1[1].0 = Seat(5)), order, "of no seat");
    assert_eq!(refused(&|r| first(r, (Seat(1), Verdict::Invalid))), value("counted verdict"));
    let bytes = encode_record(&good);
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        decode_record(&bytes).err()
    };
    assert_eq!(changed(61, 0b10_0010), value("output of a seat"), "a bit of no seat");
    assert_eq!(changed(5, 0), value("seats"));
    assert_eq!(limit(changed(6, 5).map_or(Ok(()), Err)), Some("seats"));
    assert_eq!(limit(changed(59, 1).map_or(Ok(()), Err)), Some("rounds of output"));
    let many = |r: &mut SettlementRecord| {
        r.authors[4].slots = (6..=6 + 3 * WINDOW_MAX).map(|s| slot(s, vec![acks(1, &[0])])).collect();
    };
    assert_eq!(limit(refused(&many).map_or(Ok(()), Err)), Some("open slots"));
}

#[test]
fn seats_beyond_the_largest_committee_are_refused_wherever_they_stand() {
    let beyond = (SEATS_MAX as u16).to_le_bytes();
    let mut bytes = batch(1).bytes().to_vec();
    bytes[2..4].copy_from_slice(&beyond);
    assert_eq!(Batch::decode(bytes.into()), Err(WireError::Value("seat")));
    let mut payload = vec![1, 0, 0, 0];
    payload.extend([&beyond[..], &[0; 40]].concat());
    for kind in [3, 4] {
        let refused = Message::decode(frame(kind, payload.clone()));
        assert_eq!(refused, Err(WireError::Value("seat")));
    }
    assert_eq!(known([SEATS_MAX as u16]), Err(WireError::Value("seat")));
}

/// What a request for proofs that lists these seats decodes to.
fn known<const N: usize>(seats: [u16; N]) -> Result<Message, WireError> {
    let message = Message::WantEvidence(seats.map(Seat).to_vec());
    Message::decode(frame(message.kind(), message.payload().to_vec()))
}

#[test]
fn who_asks_for_proofs_lists_each_seat_once_and_in_order() {
    let last = SEATS_MAX as u16 - 1;
    assert_eq!(known([0, 7, last]), Ok(Message::WantEvidence([0, 7, last].map(Seat).to_vec())));
    for seats in [[0, 7, 7], [7, 0, last], [0, last, 7]] {
        assert_eq!(known(seats), Err(WireError::Value("order of seats")));
    }
}

#[test]
fn counts_are_refused_before_anything_is_allocated() {
    // A frontier says first where it begins.
    for (kind, before, most) in [(3, 0, REFS_MAX), (4, 0, REFS_MAX), (5, 8, SEATS_MAX), (21, 0, SEATS_MAX)] {
        let counted = |count: usize| {
            Message::decode(frame(kind, [&vec![0; before][..], &(count as u32).to_le_bytes()].concat()))
        };
        assert!(matches!(counted(most), Err(WireError::Short(_))));
        assert!(limit(counted(most + 1)).is_some());
        assert!(limit(counted(u32::MAX as usize)).is_some());
    }
    assert_eq!(Message::decode(frame(22, vec![0; 4])), Err(WireError::Kind(22)));
    let addresses = |count: usize| Message::decode(frame(19, (count as u32).to_le_bytes().to_vec()));
    assert_eq!(limit(addresses(ADDRESSES_MAX + 1)), Some("addresses"));
    assert!(matches!(addresses(ADDRESSES_MAX), Err(WireError::Short(_))) && addresses(0).is_ok());
    let blocks = |first: u64, count: usize| {
        let payload = [&first.to_le_bytes()[..], &(count as u32).to_le_bytes()].concat();
        [10, 11].map(|kind| Message::decode(frame(kind, payload.clone())))
    };
    let [asked, given] = blocks(1, BLOCKS_MAX);
    assert!(asked.is_ok() && matches!(given, Err(WireError::Short("blocks"))));
    assert_eq!(blocks(1, BLOCKS_MAX + 1).map(limit), [Some("wanted blocks"), Some("blocks")]);
    assert!(blocks(u64::MAX, 2).into_iter().all(|refused| refused.is_err()));
    assert!(blocks(0, 1).into_iter().all(|refused| refused.is_err()));
    let record =
        |length: usize| Message::decode(frame(13, [&[1; 8][..], &(length as u32).to_le_bytes()].concat()));
    assert_eq!(limit(record(RECORD_BYTES_MAX + 1)), Some("settlement record"));
    assert!(matches!(record(RECORD_BYTES_MAX), Err(WireError::Short("settlement record"))));
    assert!(record(0).is_ok());
    let snapshots = |heights: &[u64]| {
        let message =
            Message::Snapshots { first: Height(1), heights: heights.iter().copied().map(Height).collect() };
        Message::decode(frame(message.kind(), message.payload().to_vec()))
    };
    assert!(snapshots(&[]).is_ok() && snapshots(&[1, 2, 3, 4]).is_ok());
    assert_eq!(limit(snapshots(&[1, 2, 3, 4, 5])), Some("snapshots"));
    assert!([&[0][..], &[2, 2], &[3, 1]].iter().all(|heights| snapshots(heights).is_err()));
    assert!(Message::decode(frame(15, vec![0; 12])).is_err(), "first 0");
    let piece = |height: u64, piece: u32, length: usize| {
        let head = [&height.to_le_bytes()[..], &piece.to_le_bytes()].concat();
        let given = [&head[..], &(length as u32).to_le_bytes()].concat();
        [Message::decode(frame(16, head)), Message::decode(frame(17, given))]
    };
    assert!(piece(1, PIECES_MAX - 1, 0).iter().all(Result::is_ok));
    assert_eq!(piece(1, PIECES_MAX, 0).map(limit), [Some("piece"); 2]);
    assert!(piece(0, 0, 0).iter().all(Result::is_err));
    assert_eq!(piece(1, 0, TABLE_PROOF_BYTES_MAX + 1).map(limit), [None, Some("proof of a piece")]);
    assert!(matches!(&piece(1, 0, TABLE_PROOF_BYTES_MAX)[1], Err(WireError::Short(_))));
    let mut genesis = Genesis {
        name: "x".repeat(NAME_BYTES_MAX + 1),
        time: Time(0),
        rules: Rules::default(),
        seats: vec![],
        accounts: vec![],
    };
    assert_eq!(limit(decode_genesis(&encode_genesis(&genesis))), Some("name"));
    genesis.name.pop();
    assert!(decode_genesis(&encode_genesis(&genesis)).is_ok());
    genesis.seats = vec![SeatInfo { key: Key([0; 32]), fee_account: AccountNumber(0) }; SEATS_MAX + 1];
    assert_eq!(limit(decode_genesis(&encode_genesis(&genesis))), Some("seats"));
}

#[test]
fn the_largest_block_fits_an_answer_and_blocks_that_are_given_follow_one_another() {
    let block = |height, settled: usize| {
        let batch = |n| BatchRef { author: Seat(0), sequence: Sequence(n), id: BatchId([1; 32]) };
        let roots = [RootKind::Accounts, RootKind::Settlement, RootKind::Committee];
        let bytes = encode_block(&Block {
            epoch: Epoch(0),
            height: Height(height),
            previous: BlockHash([1; 32]),
            leader: LeaderRef { round: Round(12), author: Seat(1), id: VertexId([2; 32]) },
            time: Time(1),
            accounts: 4,
            settled: (0..settled as u64).map(batch).collect(),
            outcomes: [3; 32],
            roots: roots.map(|kind| (kind, Root([0; 32]))).to_vec(),
        });
        HashedBlock::decode(bytes.into()).unwrap()
    };
    let given = |first, blocks: Vec<HashedBlock>| {
        let message = Message::Blocks { first: Height(first), blocks: blocks.into() };
        let payload = message.payload();
        assert!(payload.len() <= PEER_FRAME_BYTES_MAX);
        Message::decode(Frame { kind: message.kind(), payload }) == Ok(message)
    };
    let full = block(3, SETTLED_MAX);
    let length = full.bytes.len();
    assert_eq!(blocks_that_fit([length, length].into_iter()), 1);
    assert_eq!(blocks_that_fit(std::iter::repeat_n(200, 1_000)), BLOCKS_MAX);
    assert!(given(3, vec![full]) && given(3, vec![block(3, 1), block(4, 0)]));
    assert!(!given(3, vec![block(3, 1), block(5, 0)]) && !given(4, vec![block(3, 1)]));
}

#[test]
fn the_largest_submission_fits_its_frame_and_one_more_row_is_refused() {
    let rows = with_rows(SUBMIT_ROWS_MAX, Submission::pack).expect("the largest");
    let handed_on = Message::Rows(rows.clone());
    assert_eq!(handed_on.payload().len(), rows.encoded_bytes());
    assert!(rows.encoded_bytes() <= PEER_FRAME_BYTES_MAX && handed_on.is_bulk());
    let (kind, payload) = Request::Submit { id: 1, rows }.encode();
    assert_eq!(payload.len(), CLIENT_FRAME_BYTES_MAX);
    assert!(Request::decode(frame(kind, payload)).is_ok());
    assert!(
        with_rows(SUBMIT_ROWS_MAX + 1, Submission::pack).is_none()
            && with_rows(0, Submission::pack).is_none()
    );
    let head = [&1u64.to_le_bytes()[..], &(SUBMIT_ROWS_MAX as u32 + 1).to_le_bytes(), &[0; 4]].concat();
    assert_eq!(limit(Request::decode(frame(2, head.clone()))), Some("submitted rows"));
    assert_eq!(limit(Message::decode(frame(20, head[8..].to_vec()))), Some("submitted rows"));
    let none = Message::decode(frame(20, vec![0; 8]));
    assert_eq!(none, Err(WireError::Value("submitted rows")), "nobody hands on nothing");
}

#[test]
fn the_largest_reply_fits_a_client_frame_and_refusals_ascend() {
    let refused = |indices: Vec<u32>| Reply::Submitted {
        id: 1,
        accepted: 0,
        refused: indices.into_iter().map(|index| (index, Refusal::Full)).collect(),
    };
    let recode = |reply: Reply| {
        let (kind, payload) = reply.encode();
        assert!(payload.len() <= CLIENT_FRAME_BYTES_MAX);
        Reply::decode(&frame(kind, payload))
    };
    assert!(recode(refused((0..REFUSALS_MAX as u32).collect())).is_ok());
    assert_eq!(limit(recode(refused((0..=REFUSALS_MAX as u32).collect()))), Some("refusals"));
    assert_eq!(recode(refused(vec![2, 2])), Err(WireError::Value("order of refusals")));
}

#[test]
fn a_frame_is_refused_as_soon_as_its_header_announces_too_much() {
    let mut reader = FrameReader::new(100);
    reader.push(&frame_header(9, 101)[..4]);
    assert_eq!(reader.next(), Ok(None));
    reader.push(&[9]);
    assert_eq!(limit(reader.next()), Some("frame"));
    reader.set_payload_bytes_max(101);
    assert_eq!(reader.next(), Ok(None));
    assert_eq!(reader.waiting(), FRAME_HEADER_BYTES);
    for piece in [1, 4, 9] {
        let (header, mut reader) = (frame_header(9, 101), FrameReader::new(100));
        let read = header.chunks(piece).map(|mut piece| reader.read(&mut piece)).last();
        assert_eq!(read.and_then(limit), Some("frame"));
    }
}

#[test]
fn every_rule_of_form_names_its_row() {
    let [transfer, open] = [Effect::transfer(1, 2, 1, 1, 1), Effect::open(2, 1, 1, 100)];
    let check = |effects: &[Effect], keys: &[[u8; 32]]| {
        let witnesses = vec![Witness([0; 64]); effects.len()];
        let rows = Rows { effects, keys, witnesses: &witnesses };
        rows.check(&Rules::default(), 3).err().map(|error| (error.row, error.reason))
    };
    assert_eq!(check(&[open, transfer], &[[1; 32]]), None);
    let with = |bad: Effect| check(&[transfer, bad], &[]).map(|(row, reason)| (row == 1).then_some(reason));
    let bad = |bad: Effect| with(bad).flatten().expect("refused at the second row");
    assert_eq!(bad(Effect { kind: 2, ..transfer }), "unknown kind");
    assert_eq!(bad(Effect { zero: [0, 0, 1], ..transfer }), "a reserved byte is not zero");
    assert_eq!(bad(Effect::transfer(1, 2, 0, 1, 1)), "the amount is zero");
    assert_eq!(bad(Effect::transfer(0, 2, 1, 1, 1)), "account 0 cannot send");
    assert_eq!(bad(Effect::transfer(1, 0, 1, 1, 1)), "account 0 cannot receive");
    assert_eq!(bad(Effect::transfer(1, 2, 1, 1, 0)), "the fee lies below the least fee");
    let beyond = "an account number lies beyond the accounts of the header";
    assert_eq!([bad(Effect::transfer(3, 1, 1, 1, 1)), bad(Effect::transfer(1, 3, 1, 1, 1))], [beyond; 2]);
    assert_eq!(bad(open), "an open row has no key");
    assert_eq!(
        check(&[Effect { to: 1.into(), ..open }], &[[1; 32]]),
        Some((0, "an open row names a receiver"))
    );
    assert_eq!(
        check(&[Effect::open(1, 1, 1, 99)], &[[1; 32]]),
        Some((0, "the fee lies below the least fee"))
    );
    assert_eq!(check(&[open, transfer], &[[0; 32]]), Some((0, "the zero key")));
    let beside = "a key beside a row that opens nothing: open rows come first";
    assert_eq!(check(&[transfer, open], &[[1; 32]]), Some((0, beside)));
    assert_eq!(check(&[open, transfer], &[[1; 32]; 2]), Some((1, beside)));
    assert_eq!(check(&[open, transfer, open], &[[1; 32]]), Some((2, "an open row has no key")));
}

/// The largest record that `f` liars can bring about: see [`record_bytes_max`].
fn crowded_record(seats: usize, window: u64, depth: u64) -> SettlementRecord {
    let liars = (seats - 1) / 3;
    let made_up = |seat: usize| (BatchId([seat as u8 + 1; 32]), vec![(Seat(seat as u16), Verdict::Held)]);
    let slot = |author: usize, sequence: u64| {
        let mut acks: Vec<_> = (0..liars).map(made_up).collect();
        let honest = liars..seats;
        if author < liars {
            acks.extend(honest.map(made_up));
        } else {
            let all = honest.map(|seat| (Seat(seat as u16), Verdict::Valid)).collect();
            acks.push((BatchId([255; 32]), all));
        }
        SlotRecord { sequence: Sequence(sequence), acks }
    };
    // With a highest settled sequence far up all of three windows are open but for that one.
    let author = |author: usize| AuthorRecord {
        highest: Sequence(1_000),
        settled: 1,
        slots: (1_000 - window + 1..=1_000 + 2 * window)
            .filter(|sequence| *sequence != 1_000)
            .map(|sequence| slot(author, sequence))
            .collect(),
    };
    let mut all = SeatSet::default();
    (0..seats as u16).for_each(|seat| _ = all.insert(Seat(seat)));
    SettlementRecord {
        epoch: Epoch(0),
        leader: LeaderRef { round: Round(5_000), author: Seat(0), id: VertexId([1; 32]) },
        time: Time(1),
        output: vec![all; depth as usize],
        standings: vec![Standing { skips: 1, until: Round(9) }; seats],
        authors: (0..seats).map(author).collect(),
    }
}

#[test]
fn whatever_liars_do_a_settlement_record_is_small_enough_to_be_handed_on() {
    for (seats, depth) in [(1, 50), (4, 4), (7, 50), (31, 50), (64, 1_000), (100, 50), (200, 50)] {
        let window = window_max(seats, depth);
        let record = crowded_record(seats, window, depth);
        let bytes = encode_record(&record);
        assert_eq!(decode_record(&bytes).as_ref(), Ok(&record));
        let bound = record_bytes_max(seats, window, depth);
        assert!(
            bytes.len() <= bound && bound <= RECORD_BYTES_MAX,
            "{seats} seats: {} of {bound}",
            bytes.len()
        );
        // All slots but the one that settled.
        assert!(bytes.len() > bound / 4 * 3 || window == 1, "{seats} seats: {} of {bound}", bytes.len());
    }
    assert_eq!([4, 50, 100].map(|seats| Rules::of(seats).window), [16, 16, 6]);
}
