//! Beginning anew at a checkpoint whose account table peers have, played by hand.

use super::*;
use crate::crypto::plain;
use crate::node::snapshots::fate;
use crate::store::Fate;
use crate::types::{
    Account, AuthorRecord, Block, Certificate, Content, Epoch, LeaderRef, Root, RootKind, SettlementRecord,
    Standing, VertexId,
};
use crate::wire::{
    Blobs, HashedBlock, TablePiece, TablePieces, block_height, committee_root, encode_block, encode_record,
    record_root, sign_checkpoint,
};
use std::convert::Infallible;
use zerocopy::IntoBytes;

pub(super) const HEIGHT: Height = Height(640);

/// A checkpoint far ahead, and all that proves it.
pub(super) struct Ahead {
    pub table: Vec<Account>,
    pub record: Bytes,
    pub block: HashedBlock,
    pub certificate: Arc<Certificate>,
    pieces: TablePieces,
}

pub(super) fn ahead(world: &World) -> Ahead {
    ahead_with(world, Sequence(0), BlockHash([4; 32]))
}

/// The same where so many batches of the node itself have settled, on top of this block.
pub(super) fn ahead_with(world: &World, settled: Sequence, previous: BlockHash) -> Ahead {
    let mut table = world.genesis.table();
    (table[1].balance, table[2].balance) = (995.into(), 1_005.into());
    ahead_to(world, settled, previous, table)
}

/// The same where the account table has become this one.
pub(super) fn ahead_to(world: &World, settled: Sequence, previous: BlockHash, table: Vec<Account>) -> Ahead {
    let (committee, chain) = (&world.shared.committee, &world.shared.chain);
    let leader = LeaderRef { round: Round(900), author: Seat(2), id: VertexId([9; 32]) };
    let mut all = SeatSet::default();
    committee.iter().for_each(|seat| _ = all.insert(seat));
    let nothing = AuthorRecord { highest: Sequence(0), settled: 0, slots: Vec::new() };
    let mut record = SettlementRecord {
        epoch: committee.epoch,
        leader,
        time: Time(5_000_000),
        output: vec![all; world.genesis.rules.depth as usize],
        standings: vec![Standing { skips: 0, until: Round(0) }; 4],
        authors: vec![nothing; 4],
    };
    record.authors[0].highest = settled;
    record.authors[0].settled = u64::from(settled.0 > 0);
    let record = Bytes::from(encode_record(&record));
    let roots = vec![
        (RootKind::Accounts, Root(plain(table.as_bytes()))),
        (RootKind::Settlement, record_root(&record)),
        (RootKind::Committee, committee_root(committee)),
    ];
    let block = Block {
        epoch: committee.epoch,
        height: HEIGHT,
        previous,
        leader,
        time: Time(5_000_000),
        accounts: table.len() as u32,
        settled: Vec::new(),
        outcomes: [0; 32],
        roots,
    };
    let block = HashedBlock::decode(encode_block(&block).into()).unwrap();
    let vote = |seat: u16| {
        let vote = sign_checkpoint(&seat_key(seat), chain, committee.epoch, HEIGHT, block.hash);
        (Seat(seat), vote.signature)
    };
    let votes = (1..4).map(vote).collect();
    let certificate = Certificate { epoch: committee.epoch, height: HEIGHT, hash: block.hash, votes };
    let bytes = table.as_bytes();
    let pieces = TablePieces::new(bytes.len(), |at, out| {
        out.copy_from_slice(&bytes[at as usize..][..out.len()]);
        Ok::<(), Infallible>(())
    });
    let Ok(pieces) = pieces;
    Ahead { table, record, block, certificate: Arc::new(certificate), pieces }
}

impl Ahead {
    /// What a peer answers that has removed all before the checkpoint.
    pub(super) fn answer(&self, message: &Message) -> Option<Message> {
        let table = self.table.as_bytes();
        Some(match message {
            Message::WantCertificate(_) => Message::Certificate(self.certificate.clone()),
            Message::WantBlocks { first: HEIGHT, .. } => {
                Message::Blocks { first: HEIGHT, blocks: Arc::new(vec![self.block.clone()]) }
            }
            Message::WantBlocks { first, .. } => Message::Blocks { first: *first, blocks: Arc::default() },
            Message::WantSnapshots => Message::Snapshots { first: HEIGHT.next(), heights: vec![HEIGHT] },
            Message::WantRecord(height) => Message::Record { height: *height, bytes: self.record.clone() },
            Message::WantPiece { height, piece } => {
                let place = self.pieces.place(*piece);
                let part = &table[place.start as usize..place.end as usize];
                Message::Piece(self.pieces.prove(*height, *piece, part).unwrap())
            }
            _ => return None,
        })
    }

    /// Lets the peers answer for so long; `change` is what one of them makes of its answer. What was asked of whom.
    pub(super) fn play(
        &self,
        world: &mut World,
        seconds: u64,
        change: impl Fn(Seat, Message) -> Option<Message>,
    ) -> Vec<(Seat, Message)> {
        (0..seconds * 20).flat_map(|_| self.play_step(world, &change)).collect()
    }

    /// The same for 50 ms.
    pub(super) fn play_step(
        &self,
        world: &mut World,
        change: impl Fn(Seat, Message) -> Option<Message>,
    ) -> Vec<(Seat, Message)> {
        world.pass(Duration::from_millis(50));
        let asked = std::mem::take(&mut world.sent);
        for (to, message) in &asked {
            if let Some(answer) = self.answer(message).and_then(|answer| change(*to, answer)) {
                world.receive(to.0, answer);
            }
        }
        asked
    }

    pub(super) fn assert_reached(&self, world: &World) {
        assert_eq!(world.node.tip(), (HEIGHT, self.block.hash), "{:?}", world.node.progress());
        assert!(!world.node.progress().catching_up);
        assert_eq!(world.shared.ledger.root().0, plain(self.table.as_bytes()));
        assert_eq!(world.node.settlement_record(HEIGHT), Some(&self.record));
        assert!(world.diverged.is_empty());
    }
}

pub(super) fn pieces_asked(asked: &[(Seat, Message)]) -> Vec<Seat> {
    asked
        .iter()
        .filter(|(_, message)| matches!(message, Message::WantPiece { .. }))
        .map(|(to, _)| *to)
        .collect()
}

#[test]
fn what_all_have_removed_is_left_out_and_the_log_tells_of_the_checkpoint_when_the_snapshot_is_there() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    ahead.play(&mut world, 20, |_, answer| Some(answer));
    ahead.assert_reached(&world);
    assert_eq!(world.misbehaved, []);
    let place = |kind: RecordKind| world.disk.log.iter().position(|(of, _)| *of == kind);
    let order = [RecordKind::Certificate, RecordKind::Settlement, RecordKind::Block].map(place);
    assert!(order[0].is_some() && order.is_sorted(), "{order:?}");
    let [(height, table, records)] = &world.snapshots[..] else { panic!("one snapshot") };
    assert_eq!((*height, &table[..]), (HEIGHT, ahead.table.as_bytes()));
    assert!(order[1].is_some_and(|settlement| settlement >= *records), "it was there first");
    assert_eq!(world.durable.last().map(|notice| notice.hash), Some(ahead.block.hash));
    // What it tells others by now.
    world.receive(1, Message::WantSnapshots);
    let told = Message::Snapshots { first: HEIGHT.next(), heights: vec![HEIGHT] };
    assert_eq!(world.sent.pop(), Some((Seat(1), told)));
}

#[test]
fn one_alone_who_says_that_blocks_are_gone_is_not_believed() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let asked = ahead.play(&mut world, 40, |from, answer| match answer {
        Message::Snapshots { heights, .. } if from != Seat(2) => {
            Some(Message::Snapshots { first: Height(1), heights })
        }
        answer => Some(answer),
    });
    assert!(asked.iter().any(|(_, message)| *message == Message::WantSnapshots));
    assert_eq!((pieces_asked(&asked), world.node.tip().0), (vec![], Height(0)));
}

#[test]
fn a_height_that_nothing_certifies_keeps_nobody_from_the_table_that_one_peer_has() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    // Each tells of what it alone has; one of what nobody can have.
    let asked = ahead.play(&mut world, 40, |from, answer| match answer {
        Message::Snapshots { first, .. } => {
            let heights = [vec![HEIGHT], Vec::new(), vec![Height(64_000_000)]];
            Some(Message::Snapshots { first, heights: heights[usize::from(from.0) - 1].clone() })
        }
        answer => Some(answer),
    });
    assert!(asked.iter().any(|(_, message)| *message == Message::WantSnapshots));
    ahead.assert_reached(&world);
}

#[test]
fn own_batches_that_may_have_settled_in_blocks_left_out_are_not_sealed_again() {
    let mut world = World::with(|genesis| genesis.rules.content = Content::Opaque);
    assert!(world.shared.blobs.push(&Blobs::pack(64, vec![3; 64 * 5]).unwrap()));
    world.handle(Input::Rows);
    world.pass(DELAY);
    assert_eq!(world.node.outstanding.len(), 1, "{:?}", world.node.outstanding);
    // By the record the window has moved far beyond it.
    let ahead = ahead_with(&world, Sequence(500), BlockHash([4; 32]));
    ahead.play(&mut world, 30, |_, answer| Some(answer));
    ahead.assert_reached(&world);
    assert!(world.node.outstanding.is_empty() && world.shared.blobs.is_empty());
}

#[test]
fn who_gives_a_wrong_piece_a_wrong_record_or_another_block_is_named_and_asked_no_more() {
    type Change = fn(Message) -> Message;
    let wrong: [(&str, Change); 3] = [
        ("a piece that is not of the account table", |message| match message {
            Message::Piece(piece) => {
                let mut proof = piece.proof().to_vec();
                proof[20] ^= 1;
                Message::Piece(TablePiece::of(piece.height(), piece.number(), &proof))
            }
            other => other,
        }),
        ("a settlement record that its checkpoint does not name", |message| match message {
            Message::Record { height, bytes } => {
                let mut record = crate::wire::decode_record(&bytes).unwrap();
                record.time.0 += 1;
                Message::Record { height, bytes: encode_record(&record).into() }
            }
            other => other,
        }),
        ("blocks that do not link to a certified one", |message| match message {
            Message::Blocks { first, blocks } if !blocks.is_empty() => {
                let mut other = blocks[0].block.clone();
                other.accounts += 1;
                let other = HashedBlock::decode(encode_block(&other).into()).unwrap();
                Message::Blocks { first, blocks: Arc::new(vec![other]) }
            }
            other => other,
        }),
    ];
    for (reason, change) in wrong {
        let mut world = World::new(Policy::Quorum);
        let ahead = ahead(&world);
        // Whoever is asked first lies.
        let liar = std::cell::Cell::new(None);
        ahead.play(&mut world, 30, |from, answer| {
            let changed = change(answer.clone());
            if changed != answer && liar.get().is_none() {
                liar.set(Some(from));
            }
            Some(if liar.get() == Some(from) { changed } else { answer })
        });
        ahead.assert_reached(&world);
        assert_eq!(world.misbehaved, [(liar.get().expect("somebody was asked"), reason)]);
    }
}

#[test]
fn who_misbehaves_in_whatever_way_is_no_source_any_more() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let is_certificate = |answer: &Message| matches!(answer, Message::Certificate(_));
    let asked = ahead.play(&mut world, 10, |_, answer| Some(answer).filter(is_certificate));
    let asks = |asked: &[(Seat, Message)]| {
        let of_run = |message: &Message| {
            use Message::{WantBlocks, WantPiece, WantRecord, WantSnapshots};
            matches!(message, WantBlocks { .. } | WantPiece { .. } | WantRecord(_) | WantSnapshots)
        };
        asked.iter().filter(|(to, message)| *to == Seat(2) && of_run(message)).count()
    };
    assert!(asks(&asked) > 0, "the run has begun and asks everybody");
    world.receive(2, Message::Frontier { began: Round(0), rounds: vec![Round(0); 3] });
    assert_eq!(world.misbehaved, [(Seat(2), "a frontier of another committee")]);
    let asked = ahead.play(&mut world, 60, |_, answer| Some(answer));
    assert_eq!(asks(&asked), 0, "{asked:?}");
    ahead.assert_reached(&world);
}

#[test]
fn who_has_no_reason_to_begin_anew_takes_nothing_and_tells_that_it_has_all() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    world.receive(1, Message::WantSnapshots);
    let told = Message::Snapshots { first: Height(1), heights: Vec::new() };
    assert_eq!(world.sent.pop(), Some((Seat(1), told)));
    world.sent.clear();
    let piece = ahead.answer(&Message::WantPiece { height: HEIGHT, piece: 0 }).unwrap();
    world.receive(2, piece);
    world.receive(2, Message::Snapshots { first: HEIGHT.next(), heights: vec![HEIGHT] });
    assert!(world.misbehaved.is_empty() && world.sent.is_empty(), "{:?}", world.sent);
    assert_eq!(world.node.holdings().table_pieces, 0);
    world.receive(2, Message::Snapshots { first: Height(1), heights: vec![Height(641)] });
    assert_eq!(world.misbehaved, [(Seat(2), "snapshots of heights that are no checkpoints")]);
    // A piece that is not here is said not to be.
    world.receive(3, Message::WantPiece { height: HEIGHT, piece: 7 });
    let nothing = Message::Piece(TablePiece::absent(HEIGHT, 7));
    assert_eq!(world.sent.pop(), Some((Seat(3), nothing)));
}

#[test]
fn a_block_that_the_committee_cannot_make_is_refused_whole() {
    let mut world = World::new(Policy::Quorum);
    let ahead = ahead(&world);
    let most = 4 * 3 * world.genesis.rules.window as usize;
    let batch = |number: usize| BatchRef {
        author: Seat(0),
        sequence: Sequence(number as u64 + 1),
        id: BatchId([number as u8; 32]),
    };
    let with = |epoch: u32, settled: usize| {
        let settled = (0..settled).map(batch).collect();
        let block = Block { epoch: Epoch(epoch), settled, ..ahead.block.block.clone() };
        HashedBlock::decode(encode_block(&block).into()).unwrap()
    };
    for (epoch, settled, refused) in [(0, most, 0), (0, most + 1, 1), (1, 0, 2)] {
        let blocks = Arc::new(vec![with(epoch, settled)]);
        world.receive(2, Message::Blocks { first: HEIGHT, blocks });
        assert_eq!(world.misbehaved.len(), refused, "epoch {epoch}, {settled} batches");
        assert!(
            world
                .misbehaved
                .iter()
                .all(|(peer, why)| { *peer == Seat(2) && *why == "a block that this committee cannot make" })
        );
    }
}

#[test]
fn of_a_segment_without_vertices_nothing_goes_that_blocks_above_the_pruned_ones_need() {
    // As where a node has adopted blocks: batches and blocks alone.
    let mut world = World::new(Policy::Quorum);
    for sequence in 1..4 {
        let nonces = sequence * 4..sequence * 4 + 2;
        let batch = world.batch(1, sequence, &rows(&world.genesis, 2, nonces, None));
        world.receive(1, Message::Batch(batch.clone()));
        world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
        world.rounds(6);
    }
    let may_go = fate(Height(3), Round(u64::MAX));
    let (mut kept, mut stay) = (Vec::new(), Vec::new());
    for (kind, bytes) in &world.disk.log {
        let height = block_height(bytes).filter(|_| *kind == RecordKind::Block);
        match may_go(*kind, bytes) {
            Fate::Keep => kept.extend(height.map(|height| height.0)),
            Fate::Stay => stay.extend(height.map(|height| height.0)),
            Fate::Go => assert_eq!(height, None),
        }
    }
    assert_eq!(kept, [1, 2]);
    assert!(stay.len() > 3 && stay[0] == 3, "{stay:?}");
    // The record that the first of them names may stand in the segment before it.
    let ahead = ahead(&world);
    let of = |last: u64| fate(HEIGHT, Round(last))(RecordKind::Settlement, &ahead.record);
    assert_eq!([899, 900].map(of), [Fate::Stay, Fate::Go]);
    assert_eq!(fate(HEIGHT, Round(1))(RecordKind::Settlement, &ahead.record[..14]), Fate::Go);
}
