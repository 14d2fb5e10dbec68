//! What must hold for any bytes, one function for each fuzz target. `cargo test` of the engine replays the committed
//! seeds through the same functions.
//!
//! Each takes bytes as a peer, a client or a disk could bring them, and says whether they decoded. What decodes must
//! encode to the same bytes, and must respect every limit that the formats name.

pub mod client_protocol;
pub mod config;
pub mod consensus_dag;
pub mod handshake;
pub mod http;
pub mod node_input;
pub mod paper_disk;
pub mod signatures;
pub mod store;
pub mod tree_proof;

use bytes::Bytes;
use throng::consensus::{Consensus, verify_certificate};
use throng::crypto::{KeySet, PATH_STEP_BYTES, public_key, signing_key_from_seed};
use throng::ledger::Ledger;
use throng::types::params::{
    ACCUSATION_BYTES_MAX, ACKS_MAX, BATCH_BYTES_MAX, BLOB_BYTES_MAX, CHECKPOINT_VOTES_MAX, OPAQUE_BYTES_MAX,
    PARTS_BYTES_MAX, ROWS_MAX, SEATS_MAX, SETTLED_MAX, VERSION, WINDOW_MAX,
};
use throng::types::{
    Account, AccountNumber, Certificate, ChainId, Content, Genesis, GenesisAccount, Key, Part, Rules,
    SeatInfo, Time,
};
use throng::wire::client::{REFUSALS_MAX, Reply, Request, SUBMIT_BLOB_BYTES_MAX, SUBMIT_ROWS_MAX};
use throng::wire::{
    Accusation, BLOCKS_MAX, Batch, CERTIFICATE_BYTES_MAX, Frame, FrameReader, Message, PEER_FRAME_BYTES_MAX,
    PIECES_MAX, REFS_MAX, SNAPSHOTS_MAX, SignedVertex, TABLE_PIECE_BYTES, TABLE_PROOF_BYTES_MAX, WireError,
    decode_block, decode_certificate, decode_record, encode_block, encode_certificate, encode_record,
    frame_header, sign_vertex, vertex_bytes_max,
};

/// The bytes of a block.
pub fn block(bytes: &[u8]) -> bool {
    let Ok(block) = decode_block(bytes) else { return false };
    assert_eq!(encode_block(&block), bytes);
    assert!(block.height.0 >= 1 && block.leader.round.0 >= 1 && block.leader.author.index() < SEATS_MAX);
    assert!(block.settled.len() <= SETTLED_MAX);
    assert!(block.settled.iter().all(|batch| batch.author.index() < SEATS_MAX));
    assert!(block.roots.is_sorted_by(|one, next| one.0 < next.0));
    true
}

/// The bytes of a settlement record; agreement that goes on from it has that record again.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = decode_record(bytes) else { return false };
    assert_eq!(encode_record(&record), bytes);
    let seats = record.standings.len();
    assert!((1..=SEATS_MAX).contains(&seats) && record.authors.len() == seats);
    let seat = |tag: usize| SeatInfo { key: Key([tag as u8; 32]), fee_account: AccountNumber(1) };
    let genesis = Genesis {
        name: "record".into(),
        time: Time(0),
        rules: Rules { depth: record.output.len() as u64, window: WINDOW_MAX, ..Rules::default() },
        seats: (0..seats).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    };
    if let Ok(mut consensus) = Consensus::from_record(&genesis, &record, None) {
        assert!(consensus.next_emitted().is_none());
        assert_eq!(consensus.record(), Some(record));
    }
    true
}

/// The bytes of a batch: form, columns, rows or blobs, and execution, which takes whatever rows come.
pub fn batch(bytes: &[u8]) -> bool {
    let Ok(batch) = Batch::decode(Bytes::copy_from_slice(bytes)) else { return false };
    let (header, rows) = (&batch.header, batch.rows());
    assert!(bytes.len() <= BATCH_BYTES_MAX && header.rows >= 1);
    assert!(header.keys <= header.rows && header.author.index() < SEATS_MAX && header.sequence.0 >= 1);
    assert_eq!(encode_batch(&batch), bytes);
    batch.roots_match();
    let count = header.rows as usize;
    match header.content {
        Content::Rows => {
            assert!(count <= ROWS_MAX as usize && batch.blobs().is_empty());
            assert_eq!((rows.len(), rows.keys.len()), (count, header.keys as usize));
        }
        Content::Opaque => {
            let (column, size) = (batch.blobs(), header.blob_bytes as usize);
            assert!(rows.is_empty() && rows.keys.is_empty() && rows.witnesses.is_empty());
            assert!((1..=BLOB_BYTES_MAX as usize).contains(&size) && column.len() == count * size);
            assert!(column.len() <= OPAQUE_BYTES_MAX);
        }
    }

    if rows.check(&Rules::default(), header.accounts).is_ok() {
        assert_eq!(rows.iter().filter(|row| row.key.is_some()).count(), rows.keys.len());
        assert!(rows.effects.iter().all(|effect| effect.from.get() < header.accounts));
    }
    let table = (0..4).map(|tag| Account::new([tag; 32], 1_000 * u64::from(tag))).collect();
    let ledger = Ledger::new(table);
    let (codes, ok) = ledger.execute(&[(rows, AccountNumber(1)), (rows, AccountNumber(2))]);
    assert!(codes.len() == 2 * rows.len() && ok as usize <= codes.len());
    ledger.root();
    true
}

/// The layout of a batch, written out once more.
fn encode_batch(batch: &Batch) -> Vec<u8> {
    let header = &batch.header;
    let mut out = vec![VERSION, u8::from(header.content == Content::Opaque)];
    out.extend(header.author.0.to_le_bytes());
    out.extend(header.epoch.0.to_le_bytes());
    out.extend(header.sequence.0.to_le_bytes());
    let words = [header.accounts, header.rows, header.keys, header.blob_bytes];
    words.iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend(header.roots.concat());
    out.extend(header.signature);
    for effect in batch.rows().effects {
        [effect.from, effect.to].iter().for_each(|word| out.extend(word.to_bytes()));
        [effect.amount, effect.nonce].iter().for_each(|word| out.extend(word.to_bytes()));
        out.extend(effect.fee.to_bytes());
        out.push(effect.kind);
        out.extend(effect.zero);
    }
    out.extend(batch.rows().keys.concat());
    batch.rows().witnesses.iter().for_each(|witness| out.extend(witness.0));
    out.extend(batch.blobs());
    out
}

/// The bytes of a signed vertex.
pub fn vertex(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedVertex::decode(Bytes::copy_from_slice(bytes)) else { return false };
    let again = sign_vertex(&signing_key_from_seed([1; 32]), &ChainId([0; 32]), signed.vertex.clone());
    let body = bytes.len() - signed.signature.len();
    assert_eq!(&again.bytes[..body], &bytes[..body]);
    assert_eq!((again.id, &signed.signature[..]), (signed.id, &bytes[body..]));

    let vertex = &signed.vertex;
    assert!(bytes.len() <= vertex_bytes_max() && vertex.author.index() < SEATS_MAX && vertex.round.0 >= 1);
    assert!(vertex.strong.is_sorted_by(|one, next| one.author < next.author));
    assert!(vertex.weak.is_sorted_by(|one, next| one.author < next.author));
    assert!(vertex.parents().all(|parent| parent.author.index() < SEATS_MAX && parent.round < vertex.round));
    assert!(vertex.acks.len() <= ACKS_MAX);
    let part_bytes = |part: &Part| match part {
        Part::Checkpoints(votes) => {
            assert!((1..=CHECKPOINT_VOTES_MAX).contains(&votes.len()) && votes[0].height.0 >= 1);
            assert!(votes.is_sorted_by(|one, next| one.height < next.height));
            5 + votes.len() * 104
        }
        Part::Accusation(bytes) => {
            let accusation = Accusation::decode(bytes).expect("it was decoded before");
            assert!(accusation.encode() == *bytes && bytes.len() <= ACCUSATION_BYTES_MAX);
            5 + bytes.len()
        }
        Part::Other(tag, bytes) => {
            assert!(*tag != Part::CHECKPOINTS && *tag != Part::ACCUSATION);
            5 + bytes.len()
        }
    };
    assert!(vertex.parts.iter().map(part_bytes).sum::<usize>() <= PARTS_BYTES_MAX);
    true
}

/// A certificate that decoded. Nothing that a fuzzer finds was signed by anybody.
fn certificate(certificate: &Certificate) {
    assert!(certificate.height.0 >= 1 && certificate.votes.len() <= SEATS_MAX);
    assert!(certificate.votes.is_sorted_by(|one, next| one.0 < next.0));
    assert!(certificate.votes.iter().all(|(seat, _)| seat.index() < SEATS_MAX));
    let bytes = encode_certificate(certificate);
    assert!(bytes.len() <= CERTIFICATE_BYTES_MAX);
    assert_eq!(decode_certificate(&bytes).as_ref(), Ok(certificate));
    let keys = [1, 2, 3, 4].map(|seed| public_key(&signing_key_from_seed([seed; 32])));
    assert!(
        verify_certificate(certificate, &ChainId([9; 32]), certificate.epoch, &KeySet::new(&keys)).is_err()
    );
}

/// A stream of frames: the first byte says how the rest is cut. However it is cut, the same frames come out; and
/// each of them is offered to peers, nodes and clients.
pub fn frame(bytes: &[u8]) -> bool {
    let Some((&cut, stream)) = bytes.split_first() else { return false };
    let (frames, end) = read(stream, usize::from(cut).max(1));
    assert_eq!((&frames, &end), (&read(stream, stream.len().max(1)).0, &read(stream, stream.len().max(1)).1));

    let mut taken = 0;
    for frame in &frames {
        let header = frame_header(frame.kind, frame.payload.len());
        assert!(frame.payload.len() <= PEER_FRAME_BYTES_MAX);
        assert_eq!(stream[taken..taken + header.len()], header);
        taken += header.len();
        assert_eq!(&stream[taken..taken + frame.payload.len()], &frame.payload);
        taken += frame.payload.len();
    }
    let decoded: Vec<bool> = frames.into_iter().map(messages).collect();
    decoded.contains(&true)
}

/// The frames of a stream that comes in pieces, and how it ended: the same, whether a reader is given all bytes or takes
/// what it needs.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<WireError>) {
    let pushed = pushed(stream, piece);
    let (mut reader, mut frames, mut end) = (FrameReader::new(PEER_FRAME_BYTES_MAX), Vec::new(), None);
    'stream: for mut bytes in stream.chunks(piece) {
        while !bytes.is_empty() {
            match reader.read(&mut bytes) {
                Ok(frame) => frames.extend(frame),
                Err(error) => {
                    end = Some(error);
                    break 'stream;
                }
            }
        }
    }
    assert_eq!((&frames, &end), (&pushed.0, &pushed.1));
    pushed
}

fn pushed(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<WireError>) {
    let (mut reader, mut frames) = (FrameReader::new(PEER_FRAME_BYTES_MAX), Vec::new());
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        loop {
            match reader.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// A request that decoded from a frame.
fn request(request: &Request, frame: &Frame) {
    assert_eq!(request.encode(), (frame.kind, frame.payload.to_vec()));
    match request {
        Request::Submit { rows, .. } => assert!((1..=SUBMIT_ROWS_MAX).contains(&rows.rows().len())),
        Request::SubmitBlobs { blobs, .. } => {
            let bytes = blobs.column().len();
            assert!((1..=SUBMIT_BLOB_BYTES_MAX).contains(&bytes));
            assert_eq!(blobs.len() * blobs.blob_bytes() as usize, bytes);
        }
        _ => {}
    }
}

/// One frame as whatever it may be.
fn messages(frame: Frame) -> bool {
    let mut decoded = false;
    if let Ok(message) = Message::decode(frame.clone()) {
        assert_eq!((message.kind(), message.payload()), (frame.kind, frame.payload.clone()));
        decoded = true;
        match message {
            Message::Vertex(_) => assert!(vertex(&frame.payload)),
            Message::Batch(_) => assert!(batch(&frame.payload)),
            Message::WantVertices(refs) => assert!(refs.len() <= REFS_MAX),
            Message::WantBatches(refs) => assert!(refs.len() <= REFS_MAX),
            Message::Frontier { rounds, .. } => assert!(rounds.len() <= SEATS_MAX),
            Message::Certificate(found) => certificate(&found),
            Message::WantFrontier => {}
            Message::WantBlocks { count, .. } => assert!((1..=BLOCKS_MAX as u32).contains(&count)),
            Message::Blocks { blocks, .. } => {
                assert!(blocks.len() <= BLOCKS_MAX && blocks.iter().all(|given| block(&given.bytes)));
            }
            Message::Record { bytes, .. } => assert!(bytes.is_empty() || record(&bytes)),
            Message::Snapshots { heights, .. } => assert!(heights.len() <= SNAPSHOTS_MAX),
            Message::Piece(piece) => {
                assert!(piece.number() < PIECES_MAX && piece.proof().len() <= TABLE_PROOF_BYTES_MAX);
                // As the last one of a table, with a path of each length, so that one of them reaches the hashes.
                let before = u64::from(piece.number()) * TABLE_PIECE_BYTES;
                let steps = PIECES_MAX.next_power_of_two().ilog2() as usize;
                for path in (0..=piece.proof().len()).step_by(PATH_STEP_BYTES).take(steps + 1) {
                    let table = before + (piece.proof().len() - path) as u64;
                    if let Ok(proven) = piece.verify(&throng::types::Root([0; 32]), table) {
                        panic!("nobody knows what hashes to zeros: {proven:?}");
                    }
                }
            }
            Message::WantEvidence(known) => assert!(known.len() <= SEATS_MAX),
            Message::Rows(rows) => assert!((1..=SUBMIT_ROWS_MAX).contains(&rows.rows().len())),
            #[allow(unreachable_patterns, reason = "a kind that is added later")]
            _ => {}
        }
    }
    if let Ok(said) = Request::decode(frame.clone()) {
        request(&said, &frame);
        decoded = true;
    }
    if let Ok(reply) = Reply::decode(&frame) {
        assert_eq!(reply.encode(), (frame.kind, frame.payload.to_vec()));
        decoded = true;
        match reply {
            Reply::Submitted { refused, .. } => assert!(refused.len() <= REFUSALS_MAX),
            Reply::Certificate(_, Some(found)) => certificate(&found),
            _ => {}
        }
    }
    decoded
}
