//! Values of every format, as proptest draws them.

use super::{CHAIN, signer};
use crate::types::params::{ACCOUNTS_MAX, CHECKPOINT_VOTES_MAX, GIVE_WAY_STEPS_MAX, SEATS_MAX};
use crate::types::*;
use crate::wire::client::{
    Absent, BlockNotice, Refusal, Reply, Request, SUBMIT_ROWS_MAX, Status, Submission,
};
use crate::wire::{
    AddressRecord, BLOCKS_MAX, Batch, Blobs, Gathered, HashedBlock, Message, PIECES_MAX, Rows, SNAPSHOTS_MAX,
    TablePiece, encode_block, encode_record, seal, seal_blobs, sign_vertex,
};
use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

fn id() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn seat() -> impl Strategy<Value = Seat> {
    (0..SEATS_MAX as u16).prop_map(Seat)
}

fn batch_ref() -> impl Strategy<Value = BatchRef> {
    (seat(), any::<u64>(), id()).prop_map(|(author, sequence, id)| BatchRef {
        author,
        sequence: Sequence(sequence),
        id: BatchId(id),
    })
}

fn vertex_ref() -> impl Strategy<Value = VertexRef> {
    (seat(), any::<u64>(), id()).prop_map(|(author, round, id)| VertexRef {
        round: Round(round),
        author,
        id: VertexId(id),
    })
}

fn effect() -> impl Strategy<Value = Effect> {
    (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), 0..2u8).prop_map(
        |(from, to, amount, nonce, fee, kind)| Effect {
            kind,
            ..Effect::transfer(from, to, amount, nonce, fee)
        },
    )
}

/// Columns that fit each other: effects with as many keys as there are open rows, and a witness for each.
fn columns(rows_max: usize) -> impl Strategy<Value = (Vec<Effect>, Vec<[u8; 32]>, Vec<Witness>)> {
    vec((effect(), id(), any::<[u8; 32]>()), 1..=rows_max).prop_map(|rows| {
        let effects: Vec<Effect> = rows.iter().map(|row| row.0).collect();
        let keys = rows.iter().filter(|row| row.0.kind == Kind::Open as u8).map(|row| row.1).collect();
        let witness = |half: &[u8; 32]| Witness([*half, *half].concat().try_into().expect("64 bytes"));
        (effects, keys, rows.iter().map(|row| witness(&row.2)).collect())
    })
}

/// Blobs of one size.
fn blobs() -> impl Strategy<Value = Blobs> {
    (1..40u32, 1..20usize).prop_flat_map(|(size, count)| {
        vec(any::<u8>(), size as usize * count)
            .prop_map(move |column| Blobs::pack(size, column).expect("whole blobs"))
    })
}

pub(super) fn batch() -> impl Strategy<Value = Batch> {
    prop_oneof![batch_of_rows(), batch_of_blobs()]
}

fn batch_of_blobs() -> impl Strategy<Value = Batch> {
    (blobs(), seat(), any::<u32>(), 1..=u64::MAX).prop_map(|(blobs, author, epoch, sequence)| {
        let mut gathered = Gathered::new(blobs.blob_bytes());
        gathered.gather(blobs.column());
        seal_blobs(&signer(), &CHAIN, (Epoch(epoch), author, Sequence(sequence)), gathered)
    })
}

fn batch_of_rows() -> impl Strategy<Value = Batch> {
    (columns(12), seat(), any::<u32>(), 1..=u64::MAX, 0..=ACCOUNTS_MAX).prop_map(
        |((effects, keys, witnesses), author, epoch, sequence, accounts)| {
            let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
            seal(&signer(), &CHAIN, (Epoch(epoch), author, Sequence(sequence)), accounts, rows)
        },
    )
}

pub(super) fn vertex() -> impl Strategy<Value = Vertex> {
    let seats = || 0..SEATS_MAX as u16;
    let acks = btree_map((seats(), any::<u64>()), (id(), 0..3u8), 0..6).prop_map(|acks| {
        let ack = |((author, sequence), (id, verdict)): ((u16, u64), ([u8; 32], u8))| Ack {
            batch: BatchRef { author: Seat(author), sequence: Sequence(sequence), id: BatchId(id) },
            verdict: Verdict::from_byte(verdict).expect("three verdicts"),
        };
        acks.into_iter().map(ack).rev().collect::<Vec<_>>()
    });
    let weak = btree_map(seats(), (any::<prop::sample::Index>(), id()), 0..5);
    let head = (any::<u32>(), 1..=u64::MAX, seat(), any::<u64>());
    (head, btree_map(seats(), id(), 0..5), weak, acks, parts()).prop_map(
        |(head, strong, weak, acks, parts)| {
            let (epoch, round, author, time) = head;
            let parent = |(author, id)| Parent { author: Seat(author), id: VertexId(id) };
            let older = |(author, (at, id)): (u16, (prop::sample::Index, [u8; 32]))| VertexRef {
                round: Round(1 + at.index(usize::try_from(round - 2).expect("64 bits")) as u64),
                author: Seat(author),
                id: VertexId(id),
            };
            Vertex {
                epoch: Epoch(epoch),
                round: Round(round),
                author,
                time: Time(time),
                strong: if round > 1 { strong.into_iter().map(parent).collect() } else { vec![] },
                weak: if round > 2 { weak.into_iter().map(older).collect() } else { vec![] },
                acks,
                parts,
            }
        },
    )
}

fn root_kind(tag: u8) -> RootKind {
    RootKind::from_byte(tag).expect("three kinds")
}

fn signature() -> impl Strategy<Value = [u8; 64]> {
    id().prop_map(|half| [half, half].concat().try_into().expect("64 bytes"))
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let votes = btree_map(1..=u64::MAX, (id(), signature()), 1..=CHECKPOINT_VOTES_MAX);
    let others = btree_map(any::<u8>(), vec(any::<u8>(), 0..20), 0..4);
    (prop::option::of(votes), others).prop_map(|(votes, others)| {
        let vote = |(height, (hash, signature))| CheckpointVote {
            height: Height(height),
            hash: BlockHash(hash),
            signature,
        };
        let other = |(tag, bytes)| (tag, Part::Other(tag, bytes));
        let mut parts: BTreeMap<u8, Part> = others.into_iter().map(other).collect();
        [Part::CHECKPOINTS, Part::ACCUSATION].iter().for_each(|tag| _ = parts.remove(tag));
        let votes = votes.map(|votes| Part::Checkpoints(votes.into_iter().map(vote).collect()));
        parts.extend(votes.map(|votes| (Part::CHECKPOINTS, votes)));
        parts.into_values().collect()
    })
}

pub(super) fn certificate() -> impl Strategy<Value = Certificate> {
    let votes = btree_map(0..SEATS_MAX as u16, signature(), 0..9);
    (any::<u32>(), 1..=u64::MAX, id(), votes).prop_map(|(epoch, height, hash, votes)| Certificate {
        epoch: Epoch(epoch),
        height: Height(height),
        hash: BlockHash(hash),
        votes: votes.into_iter().map(|(seat, signature)| (Seat(seat), signature)).collect(),
    })
}

/// A record of at most nine seats.
pub(super) fn record() -> impl Strategy<Value = SettlementRecord> {
    (1..10u16).prop_flat_map(|seats| {
        let output = vec(btree_map(0..seats, Just(()), 0..=usize::from(seats)), 1..6);
        let standings = vec(prop::option::of((1..=GIVE_WAY_STEPS_MAX, 1..=u64::MAX)), usize::from(seats));
        let leader = (6..=u64::MAX, 0..seats, id());
        let authors = vec(author_record(seats), usize::from(seats));
        let head = (any::<u32>(), any::<u64>());
        (head, leader, output, standings, authors).prop_map(|(head, leader, output, standings, authors)| {
            let set = |authors: BTreeMap<u16, ()>| {
                let mut set = SeatSet::default();
                authors.into_keys().for_each(|seat| _ = set.insert(Seat(seat)));
                set
            };
            let mut output: Vec<SeatSet> = output.into_iter().map(set).collect();
            output.last_mut().expect("a round at least").insert(Seat(leader.1));
            let standing = |standing: Option<(u32, u64)>| {
                standing
                    .map_or_else(Standing::default, |(skips, until)| Standing { skips, until: Round(until) })
            };
            SettlementRecord {
                epoch: Epoch(head.0),
                leader: LeaderRef { round: Round(leader.0), author: Seat(leader.1), id: VertexId(leader.2) },
                time: Time(head.1),
                output,
                standings: standings.into_iter().map(standing).collect(),
                authors,
            }
        })
    })
}

fn author_record(seats: u16) -> impl Strategy<Value = AuthorRecord> {
    // By sequence: who acked which of three ids, and whether as valid.
    let acks = btree_map(0..seats, (0..3u8, any::<bool>()), 1..=usize::from(seats));
    let slots = btree_map(1..400u64, acks, 0..4);
    (0..300u64, any::<u64>(), slots).prop_map(|(highest, bits, slots)| {
        let possible = 1u64.checked_shl(highest.min(64) as u32).map_or(u64::MAX, |bit| bit - 1);
        let settled = (bits | 1) & possible;
        let open = |sequence: u64| {
            highest.checked_sub(sequence).is_none_or(|below| below >= 64 || settled & (1 << below) == 0)
        };
        let slot = |(sequence, acks): (u64, BTreeMap<u16, (u8, bool)>)| {
            let mut ids: BTreeMap<BatchId, Vec<(Seat, Verdict)>> = BTreeMap::new();
            for (seat, (tag, valid)) in acks {
                let verdict = if valid { Verdict::Valid } else { Verdict::Held };
                ids.entry(BatchId([tag; 32])).or_default().push((Seat(seat), verdict));
            }
            SlotRecord { sequence: Sequence(sequence), acks: ids.into_iter().collect() }
        };
        let slots = slots.into_iter().filter(|slot| open(slot.0)).map(slot).collect();
        AuthorRecord { highest: Sequence(highest), settled, slots }
    })
}

pub(super) fn block() -> impl Strategy<Value = Block> {
    let leader = (1..=u64::MAX, seat(), id());
    let head = (any::<u32>(), 1..=u64::MAX, id(), any::<u64>(), any::<u32>());
    (head, leader, vec(batch_ref(), 0..5), id(), vec(id(), 0..4)).prop_map(
        |((epoch, height, previous, time, accounts), (round, author, leader), settled, outcomes, roots)| {
            Block {
                epoch: Epoch(epoch),
                height: Height(height),
                previous: BlockHash(previous),
                leader: LeaderRef { round: Round(round), author, id: VertexId(leader) },
                time: Time(time),
                accounts,
                settled,
                outcomes,
                roots: (1..).zip(roots).map(|(tag, root)| (root_kind(tag), Root(root))).collect(),
            }
        },
    )
}

pub(super) fn genesis() -> impl Strategy<Value = Genesis> {
    let rules = (any::<[u64; 3]>(), any::<[u32; 3]>(), any::<[bool; 2]>()).prop_map(
        |(longs, shorts, [all, opaque])| Rules {
            content: if opaque { Content::Opaque } else { Content::Rows },
            depth: longs[0],
            window: longs[1],
            delay_ms: shorts[0],
            policy: if all { Policy::All } else { Policy::Quorum },
            fee_min: shorts[1],
            fee_open: shorts[2],
            checkpoint_blocks: longs[2],
        },
    );
    let seats = vec((id(), any::<u32>()), 0..4);
    let accounts = vec((id(), any::<u64>()), 0..6);
    ("[a-zé ]{0,32}", any::<u64>(), rules, seats, accounts).prop_map(
        |(name, time, rules, seats, accounts)| {
            let seat = |(key, account)| SeatInfo { key: Key(key), fee_account: AccountNumber(account) };
            let account = |(key, balance)| GenesisAccount { key, balance };
            Genesis {
                name,
                time: Time(time),
                rules,
                seats: seats.into_iter().map(seat).collect(),
                accounts: accounts.into_iter().map(account).collect(),
            }
        },
    )
}

fn address_record() -> impl Strategy<Value = AddressRecord> {
    let ip = prop_oneof![
        (1..0xe000_0000u32).prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        (1..0xff00u128 << 112).prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)).to_canonical()),
    ];
    let usable = ip.prop_filter("one host", |ip| !ip.is_unspecified() && !ip.is_multicast());
    (usable, 1..=u16::MAX, any::<u64>()).prop_map(|(ip, port, time)| {
        AddressRecord::sign(&signer(), &CHAIN, SocketAddr::new(ip, port), Time(time))
    })
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        vertex().prop_map(|vertex| Message::Vertex(Arc::new(sign_vertex(&signer(), &CHAIN, vertex)))),
        batch().prop_map(Message::Batch),
        vec(vertex_ref(), 0..5).prop_map(Message::WantVertices),
        vec(batch_ref(), 0..5).prop_map(Message::WantBatches),
        (any::<u64>().prop_map(Round), vec(any::<u64>().prop_map(Round), 0..9))
            .prop_map(|(began, rounds)| Message::Frontier { began, rounds }),
        any::<u64>().prop_map(|height| Message::WantCertificate(Height(height))),
        certificate().prop_map(|certificate| Message::Certificate(Arc::new(certificate))),
        (1..u64::MAX >> 1, 1..=BLOCKS_MAX as u32)
            .prop_map(|(first, count)| Message::WantBlocks { first: Height(first), count }),
        (1..u64::MAX >> 1, vec(block(), 0..4)).prop_map(|(first, blocks)| {
            let block = |(block, height)| Block { height: Height(height), ..block };
            let blocks = blocks.into_iter().zip(first..).map(block);
            let blocks = blocks.map(|block| HashedBlock::decode(encode_block(&block).into()).unwrap());
            Message::Blocks { first: Height(first), blocks: Arc::new(blocks.collect()) }
        }),
        any::<u64>().prop_map(|height| Message::WantRecord(Height(height))),
        (1..u64::MAX, prop::option::of(record())).prop_map(|(height, record)| {
            let bytes = record.map_or(Bytes::new(), |record| encode_record(&record).into());
            Message::Record { height: Height(height), bytes }
        }),
        Just(Message::WantSnapshots),
        (1..u64::MAX, prop::collection::btree_set(1..u64::MAX, 0..=SNAPSHOTS_MAX)).prop_map(
            |(first, heights)| Message::Snapshots {
                first: Height(first),
                heights: heights.into_iter().map(Height).collect()
            }
        ),
        (1..u64::MAX, 0..PIECES_MAX)
            .prop_map(|(height, piece)| Message::WantPiece { height: Height(height), piece }),
        (1..u64::MAX, 0..PIECES_MAX, vec(any::<u8>(), 0..99)).prop_map(|(height, piece, proof)| {
            Message::Piece(TablePiece::of(Height(height), piece, &proof))
        }),
        Just(Message::WantAddresses),
        vec(address_record(), 0..4).prop_map(Message::Addresses),
        submission().prop_map(Message::Rows),
        prop::collection::btree_set(0..SEATS_MAX as u16, 0..9)
            .prop_map(|seats| Message::WantEvidence(seats.into_iter().map(Seat).collect())),
    ]
}

fn submission() -> impl Strategy<Value = Submission> {
    columns(9).prop_map(|(effects, keys, witnesses)| {
        let rows = Submission::pack(Rows { effects: &effects, keys: &keys, witnesses: &witnesses });
        rows.expect("columns that fit")
    })
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let submit = (any::<u64>(), submission()).prop_map(|(id, rows)| Request::Submit { id, rows });
    prop_oneof![
        Just(Request::Hello),
        submit,
        (any::<u64>(), blobs()).prop_map(|(id, blobs)| Request::SubmitBlobs { id, blobs }),
        Just(Request::Subscribe),
        Just(Request::Status),
        any::<u32>().prop_map(|number| Request::Account(AccountNumber(number))),
        any::<u64>().prop_map(|height| Request::Certificate(Height(height))),
        Just(Request::Absent),
    ]
}

pub(super) fn reply() -> impl Strategy<Value = Reply> {
    use Refusal::*;
    let reasons =
        [Malformed, UnknownAccount, BadSignature, BadNonce, Duplicate, NotCovered, Full, DiskFull, NoSeat];
    let reason = (0..reasons.len()).prop_map(move |index| reasons[index]);
    let welcome = (id(), prop_oneof![seat(), Just(Seat::NONE)], any::<u16>());
    let notice = (any::<[u64; 2]>(), id(), any::<[u32; 3]>());
    let status = (any::<u64>(), id(), any::<[u32; 2]>(), any::<u16>());
    let account = (any::<u32>(), prop::option::of((id(), any::<u64>())));
    prop_oneof![
        welcome.prop_map(|(chain, seat, seats)| Reply::Welcome { chain: ChainId(chain), seat, seats }),
        (any::<[u32; 2]>(), btree_map(0..SUBMIT_ROWS_MAX as u32, reason, 0..9)).prop_map(|(n, refused)| {
            Reply::Submitted { id: n[0].into(), accepted: n[1], refused: refused.into_iter().collect() }
        }),
        notice.prop_map(|([height, time], hash, [batches, rows, ok])| Reply::Block(BlockNotice {
            height: Height(height),
            hash: BlockHash(hash),
            durable: Time(time),
            batches,
            rows,
            ok,
        })),
        status.prop_map(|(height, hash, [accounts, pending], peers)| Reply::Status(Status {
            height: Height(height),
            hash: BlockHash(hash),
            accounts,
            pending,
            peers,
        })),
        (any::<u64>(), prop::option::of(certificate())).prop_map(|(height, certificate)| {
            Reply::Certificate(Height(height), certificate.map(Arc::new))
        }),
        (prop::collection::vec((seat(), any::<[String; 2]>()), 0..5), any::<u32>()).prop_map(
            |(absent, more)| {
                let absent = absent.iter().map(|(seat, [place, reason])| Absent::new(*seat, place, reason));
                Reply::Absent { absent: absent.collect(), more }
            }
        ),
        any::<[u32; 2]>().prop_map(|[id, accepted]| Reply::Taken {
            id: id.into(),
            accepted: NonZeroU32::new(accepted % 3).ok_or(Refusal::DiskFull),
        }),
        account.prop_map(|(number, account)| {
            Reply::Account(AccountNumber(number), account.map(|(key, balance)| Account::new(key, balance)))
        }),
    ]
}
