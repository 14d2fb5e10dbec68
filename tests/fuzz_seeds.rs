//! Replays the committed fuzz seeds through the functions that the fuzzer runs, and makes the first of them from
//! real values: `THRONG_WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes them anew after a change of format.

#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use throng::crypto::signing_key_from_seed;
use throng::types::params::VERSION;
use throng::types::*;
use throng::wire::client::{Absent, BlockNotice, Refusal, Reply, Request, Status, Submission};
use throng::wire::{
    Batch, Blobs, Gathered, HashedBlock, Message, Rows, SignedVertex, TablePiece, encode_block,
    encode_record, frame_header, seal, seal_blobs, sign_checkpoint, sign_vertex,
};

/// What a target does with bytes: whether they decoded.
type Check = fn(&[u8]) -> bool;

const TARGETS: [(&str, Check); 14] = [
    ("batch", checks::batch),
    ("block", checks::block),
    ("client_protocol", checks::client_protocol::client_protocol),
    ("config", checks::config::config),
    ("consensus_dag", checks::consensus_dag::consensus_dag),
    ("frame", checks::frame),
    ("handshake", checks::handshake::handshake),
    ("http", checks::http::http),
    ("node_input", checks::node_input::node_input),
    ("record", checks::record),
    ("signatures", checks::signatures::signatures),
    ("store", checks::store::store),
    ("tree_proof", checks::tree_proof::tree_proof),
    ("vertex", checks::vertex),
];

const CHAIN: ChainId = ChainId([7; 32]);

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

fn rows<R>(count: u32, opens: u32, read: impl FnOnce(Rows<'_>) -> R) -> R {
    let transfers = (0..count).map(|n| Effect::transfer(1 + n % 3, 1 + (n + 1) % 3, 5, 1 + u64::from(n), 2));
    let opened = (0..opens).map(|n| Effect::open(3, 50, 40 + u64::from(n), 100));
    let effects: Vec<_> = opened.chain(transfers).collect();
    let keys: Vec<_> = (0..opens).map(|n| [9 + (n / 2) as u8; 32]).collect();
    let witnesses = vec![Witness([6; 64]); effects.len()];
    read(Rows { effects: &effects, keys: &keys, witnesses: &witnesses })
}

fn batch(count: u32, opens: u32) -> Batch {
    let key = signing_key_from_seed([1; 32]);
    rows(count, opens, |rows| seal(&key, &CHAIN, (Epoch(0), Seat(2), Sequence(7)), 4, rows))
}

fn opaque_batch(blob_bytes: u32, count: u8) -> Batch {
    let mut gathered = Gathered::new(blob_bytes);
    (0..count).for_each(|tag| _ = gathered.gather(&vec![tag; blob_bytes as usize]));
    seal_blobs(&signing_key_from_seed([1; 32]), &CHAIN, (Epoch(0), Seat(2), Sequence(7)), gathered)
}

fn reference(tag: u8) -> BatchRef {
    BatchRef { author: Seat(tag.into()), sequence: Sequence(u64::from(tag) + 1), id: BatchId([tag; 32]) }
}

fn vertex(round: u64, acks: u8) -> SignedVertex {
    let linked = |round: u64, least: u64| if round > least { 0..3u8 } else { 0..0 };
    let ack = |tag: u8| Ack {
        batch: reference(tag),
        verdict: [Verdict::Held, Verdict::Valid][usize::from(tag % 2)],
    };
    let strong = |tag: u8| Parent { author: Seat(tag.into()), id: VertexId([tag; 32]) };
    let weak = |tag: u8| VertexRef { round: Round(1), author: Seat(tag.into()), id: VertexId([tag; 32]) };
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(round),
        author: Seat(1),
        time: Time(1_700_000_000_000_000),
        strong: linked(round, 1).map(strong).collect(),
        weak: linked(round, 3).skip(2).map(weak).collect(),
        acks: (0..acks).map(ack).collect(),
        parts: linked(round, 3)
            .skip(2)
            .flat_map(|tag| [votes(), Part::Other(tag + 1, vec![tag; 8])])
            .collect(),
    };
    sign_vertex(&signing_key_from_seed([1; 32]), &CHAIN, vertex)
}

fn vote(height: u64) -> CheckpointVote {
    let key = signing_key_from_seed([1; 32]);
    sign_checkpoint(&key, &CHAIN, Epoch(0), Height(height), BlockHash([3; 32]))
}

fn votes() -> Part {
    Part::Checkpoints(vec![vote(64), vote(128)])
}

fn certificate() -> Arc<Certificate> {
    let votes = (0..3).map(|seat| (Seat(seat), vote(64).signature)).collect();
    Arc::new(Certificate { epoch: Epoch(0), height: Height(64), hash: BlockHash([3; 32]), votes })
}

fn block(settled: u8, checkpoint: bool) -> Vec<u8> {
    let roots = [RootKind::Accounts, RootKind::Settlement, RootKind::Committee];
    encode_block(&Block {
        epoch: Epoch(0),
        height: Height(9),
        previous: BlockHash([1; 32]),
        leader: LeaderRef { round: Round(12), author: Seat(1), id: VertexId([2; 32]) },
        time: Time(1_700_000_000_000_000),
        accounts: 4,
        settled: (0..settled).map(reference).collect(),
        outcomes: [3; 32],
        roots: if checkpoint { roots.map(|kind| (kind, Root([kind as u8; 32]))).to_vec() } else { vec![] },
    })
}

/// A record of five seats; what it says of a slot, `open` times for each author.
fn record(open: u8) -> Vec<u8> {
    let mut authors = SeatSet::default();
    (0..3).for_each(|seat| _ = authors.insert(Seat(seat)));
    let slot = |number: u8| SlotRecord {
        sequence: Sequence(10 + u64::from(number)),
        acks: vec![
            (BatchId([1; 32]), vec![(Seat(1), Verdict::Held), (Seat(4), Verdict::Valid)]),
            (BatchId([2; 32]), vec![(Seat(0), Verdict::Valid)]),
        ],
    };
    let author = AuthorRecord { highest: Sequence(9), settled: 0b1011, slots: (0..open).map(slot).collect() };
    encode_record(&SettlementRecord {
        epoch: Epoch(0),
        leader: LeaderRef { round: Round(12), author: Seat(1), id: VertexId([2; 32]) },
        time: Time(1_700_000_000_000_000),
        output: vec![authors; 4],
        standings: (0..5).map(|n| Standing { skips: n, until: Round(u64::from(n) * 20) }).collect(),
        authors: vec![author; 5],
    })
}

/// What a client says to a node, and what it is answered.
fn talks() -> ([Request; 8], [Reply; 12]) {
    let rows = rows(2, 1, Submission::pack).expect("three rows");
    let requests = [
        Request::Hello,
        Request::Submit { id: 1, rows },
        Request::SubmitBlobs { id: 2, blobs: Blobs::pack(3, vec![5; 6]).expect("two blobs") },
        Request::Subscribe,
        Request::Status,
        Request::Account(AccountNumber(2)),
        Request::Certificate(Height(0)),
        Request::Absent,
    ];
    let refused = Absent::new(Seat(3), "node-3.example:27100", "Connection refused (os error 111)");
    let (height, hash, durable) = (Height(3), BlockHash([3; 32]), Time(4));
    let replies = [
        Reply::Welcome { chain: CHAIN, seat: Seat(1), seats: 4 },
        Reply::Submitted { id: 1, accepted: 2, refused: vec![(1, Refusal::BadNonce)] },
        Reply::Block(BlockNotice { height, hash, durable, batches: 1, rows: 2, ok: 1 }),
        Reply::Status(Status { height, hash, accounts: 4, pending: 5, peers: 3 }),
        Reply::Taken { id: 2, accepted: NonZeroU32::new(2).ok_or(Refusal::Full) },
        Reply::Taken { id: 2, accepted: Err(Refusal::DiskFull) },
        Reply::Account(AccountNumber(2), None),
        Reply::Account(AccountNumber(2), Some(Account::new([5; 32], 70))),
        Reply::Certificate(Height(7), None),
        Reply::Certificate(Height(0), Some(certificate())),
        Reply::Absent { absent: Vec::new(), more: 0 },
        Reply::Absent { absent: vec![refused, Absent::new(Seat::NONE, "", "no address")], more: 7 },
    ];
    (requests, replies)
}

/// Conversations for the target `client_protocol`.
fn conversations() -> [(&'static str, Vec<u8>); 3] {
    let (requests, replies) = talks();
    let requests = requests.each_ref().map(Request::encode);
    [
        ("client", stream(14, &requests)),
        ("client_no_hello", stream(254, &[&requests[..1], &requests[4..5], &requests[..1]].concat())),
        ("node", stream(255, &replies.each_ref().map(Reply::encode))),
    ]
}

/// Texts and bodies for the target `http`.
fn questions() -> [(&'static str, Vec<u8>); 5] {
    let document = rows(2, 1, checks::http::document);
    let of = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    [
        ("number", of(0, "0070")),
        ("key", of(1, &"0aF9".repeat(16))),
        ("rows", of(2, &document)),
        ("query", of(3, "below=70&proof=none")),
        ("rows_spaced", of(2, &document.replace(',', " ,\n"))),
    ]
}

/// Files for the target `config`.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let of = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let config = "genesis = \"../genesis\"\nlisten_peers = \"127.0.0.1:4000\"\nhttp = \"127.0.0.1:5000\"\n\
                  peers = [\"a:1\", \"b:2\"]\n[node]\nkeep_blocks = 9\n[net.shape]\nregions = [\"frankfurt\"]\n";
    let key = signing_key_from_seed([5; 32]);
    let digits = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (public, secret) = (digits(throng::crypto::public_key(&key)), digits([5; 32]));
    let seat = SeatInfo { key: Key([3; 32]), fee_account: AccountNumber(1) };
    let genesis = Genesis {
        name: "seed".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: vec![seat],
        accounts: vec![GenesisAccount { key: [4; 32], balance: 5 }],
    };
    vec![
        ("configuration", of(0, config.as_bytes())),
        ("validators", of(1, format!("[[validator]]\nkey = \"{public}\"\naddress = \"a:1\"\n").as_bytes())),
        ("key", of(2, format!("public = \"{public}\"\nsecret = \"{secret}\"\n").as_bytes())),
        ("keyring", of(2, format!("accounts = 7\nsecret = \"{secret}\"\n").as_bytes())),
        ("genesis", of(3, &throng::wire::encode_genesis(&genesis))),
    ]
}

/// A stream for the target `frame`: how it is cut, then whole frames.
fn stream(cut: u8, frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let framed =
        frames.iter().flat_map(|(kind, payload)| [&frame_header(*kind, payload.len())[..], payload].concat());
    std::iter::once(cut).chain(framed).collect()
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let reference = |tag| VertexRef { round: Round(3), author: Seat(tag), id: VertexId([5; 32]) };
    let of = |message: &Message| (message.kind(), message.payload().to_vec());
    let given = HashedBlock::decode(block(2, true).into()).expect("a block");
    let peers = [
        Message::Vertex(Arc::new(vertex(4, 2))),
        Message::Batch(batch(1, 1)),
        Message::WantVertices(vec![reference(0), reference(1)]),
        Message::WantBatches(vec![self::reference(1)]),
        Message::Frontier { began: Round(2), rounds: vec![Round(4), Round(3)] },
        Message::WantCertificate(Height(64)),
        Message::WantFrontier,
        Message::WantAddresses,
        Message::Certificate(certificate()),
        Message::WantBlocks { first: Height(9), count: 3 },
        Message::Blocks { first: Height(9), blocks: Arc::new(vec![given]) },
        Message::WantRecord(Height(64)),
        Message::Record { height: Height(64), bytes: record(1).into() },
        Message::WantSnapshots,
        Message::Snapshots { first: Height(3), heights: vec![Height(64), Height(128)] },
        Message::WantPiece { height: Height(64), piece: 1 },
        Message::Piece(TablePiece::of(Height(64), 1, &[6; 80])),
        Message::Rows(rows(3, 1, Submission::pack).expect("four rows")),
        Message::WantEvidence(vec![Seat(1), Seat(3)]),
    ];
    let (requests, replies) = talks();
    vec![
        ("peers", stream(0, &peers.each_ref().map(of))),
        ("peers_cut", stream(7, &peers.each_ref().map(of))),
        ("requests", stream(64, &requests.each_ref().map(Request::encode))),
        ("replies", stream(3, &replies.each_ref().map(Reply::encode))),
    ]
}

/// Recipes for the target `signatures`: the length of chunks, then entries (0 honest: signer, number; 1 with a bit
/// flipped; 2 with s lifted by a multiple of l; 3 of small order: key, R, message; 4 with torsion in key and R; 5 raw
/// bytes; 6 two errors that cancel out: signer, number, error; 7 an earlier one again: which, how often).
fn recipes() -> [(&'static str, Vec<u8>); 6] {
    let each = |count: u8, entry: fn(u8) -> Vec<u8>| (0..count).flat_map(entry).collect::<Vec<u8>>();
    let honest = each(9, |n| vec![0, n, n]);
    [
        ("honest", [vec![4], honest.clone()].concat()),
        (
            "flipped",
            [vec![3], honest.clone(), each(16, |n| vec![1, n, n, n.wrapping_mul(37), n % 4])].concat(),
        ),
        ("out_of_range", [vec![5], honest.clone(), each(16, |n| vec![2, n, n, n])].concat()),
        ("small_order", [vec![64], each(80, |n| vec![3, n % 14, n / 14 * 5 % 14 + n % 3, 0])].concat()),
        ("torsion", [vec![7], each(64, |n| vec![4, n, n, n % 8, n / 8])].concat()),
        (
            "cancelling",
            [vec![1], honest, vec![6, 1, 20, 9, 7, 3, 60, 6, 2, 30, 1, 5], vec![0xff; 140]].concat(),
        ),
    ]
}

/// Recipes for the target `handshake`: the cut, the kind of attack, what it says.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let preface = [&b"throngp"[..], &[VERSION], &CHAIN.0[..8]].concat();
    let recipe = |cut: u8, kind: u8, rest: &[u8]| [&[cut, kind], rest].concat();
    let record = |length: u16| [&length.to_le_bytes()[..], &vec![5; length.into()]].concat();
    let exchange = [&preface[..], &record(32), &record(82)].concat();
    let of = |message: &Message| {
        let payload = message.payload();
        [&frame_header(message.kind(), payload.len())[..], &payload].concat()
    };
    let lanes = |message: &Message| [&[u8::from(message.is_bulk())][..], &of(message)].concat();
    let plain = |bytes: Vec<u8>| [&[bytes.len() as u8][..], &bytes].concat();
    let small = lanes(&Message::Frontier { began: Round(2), rounds: vec![Round(4), Round(3)] });
    let split = [plain(small[..9].to_vec()), plain([&[0], &small[9..]].concat())].concat();
    let bulk = plain(lanes(&Message::Record { height: Height(64), bytes: vec![7; 40].into() }));
    vec![
        ("stranger", recipe(7, 0, &exchange)),
        ("stranger_long", recipe(0, 0, &[&preface[..], &u16::MAX.to_le_bytes()].concat())),
        ("answerer", recipe(1, 1, &[&preface[..], &record(48), &record(82)].concat())),
        ("honest", recipe(5, 2, &[])),
        ("changed_identity", recipe(200, 2, &[90, 1])),
        ("changed_answer", recipe(3, 3, &[20, 0x80])),
        ("changed_length", recipe(255, 2, &[51, 1])),
        ("proof", recipe(9, 4, &[0; 66])),
        ("false_proof", recipe(9, 4, &[[0; 40], [8; 40]].concat())),
        ("records", recipe(30, 5, &[plain(small), split, bulk].concat())),
    ]
}

/// Recipes for the target `tree_proof`: the first length, then steps (0 write, 1 grow, 2 root, 3 prove, 4 a changed
/// proof, 5 a proof for another range, 253 a subtree, 254 shrink), all numbers of three bytes.
fn tree_recipes() -> Vec<(&'static str, Vec<u8>)> {
    let number = |n: u32| [n as u8, (n >> 8) as u8, (n >> 16) as u8];
    let recipe = |len: u32, steps: &[(u8, &[u32], &[u8])]| {
        let step = |(kind, numbers, bytes): &(u8, &[u32], &[u8])| {
            [&[*kind], &numbers.iter().flat_map(|n| number(*n)).collect::<Vec<_>>()[..], bytes].concat()
        };
        number(len).into_iter().chain(steps.iter().flat_map(step)).collect()
    };
    let (root, write): ((u8, &[u32], &[u8]), _) = ((2, &[], &[]), (0, &[70_000, 2_000][..], &[9][..]));
    let (grow, empty): ((u8, &[u32], &[u8]), _) = ((1, &[1_024], &[]), (254, &[0][..], &[][..]));
    vec![
        ("empty", recipe(0, &[root, (3, &[0, 1], &[]), (1, &[1], &[]), root, (3, &[0, 1], &[])])),
        ("writes_and_grows", recipe(100_000, &[root, write, (1, &[7_000], &[]), root, write, root])),
        ("proves", recipe(65_537, &[root, (3, &[1_024, 1_024], &[]), (3, &[65_000, 537], &[]), root])),
        ("changed_proof", recipe(33_000, &[(4, &[5_000, 64], &[1]), (3, &[100, 7], &[]), root])),
        ("claims_another_length", recipe(4_096, &[(4, &[100, 64, 9], &[0, 4, 0, 16, 0, 0, 0, 0, 0, 0])])),
        (
            "subtrees",
            recipe(90_000, &[(253, &[0, 87, 400], &[1]), (253, &[5, 1, 40], &[0]), (253, &[6, 1, 9], &[8])]),
        ),
        ("for_another_range", recipe(16_384, &[(5, &[1_000, 10, 3_000, 10], &[]), root])),
        (
            "shrinks",
            recipe(70_000, &[root, (254, &[3_000], &[]), (3, &[2_990, 10], &[]), grow, root, empty, grow]),
        ),
    ]
}

/// A DAG of four seats for the target `consensus_dag`: rounds of those who write, then what else one vertex of seat 0
/// in each round is made of.
fn dag(rounds: u8, writing: &[u8], odd: &[[u8; 5]]) -> Vec<u8> {
    let mut out = vec![3, 5];
    for _ in 0..rounds {
        for (place, &author) in writing.iter().enumerate() {
            // The fourth of a round comes when a quorum of it has opened the next one.
            out.extend([author, u8::from(place >= 3), 0, place as u8, 0]);
        }
        odd.iter().for_each(|record| out.extend(record));
    }
    out
}

/// The life of a node for the target `node_input`: peers write `rounds` rounds of which `odd` says what is odd, and all
/// that the node asks for is done in between.
fn life(
    policy: u8,
    before: &[[u8; 3]],
    rounds: u8,
    odd: &dyn Fn(u8, u8) -> u8,
    after: &[[u8; 3]],
) -> Vec<u8> {
    // Peers connect, and show frontiers in which nobody has said anything: then the node may sign.
    const CONNECT: [[u8; 3]; 6] = [[9, 1, 0], [9, 2, 0], [9, 3, 0], [7, 1, 128], [7, 2, 128], [7, 3, 128]];
    // Jobs, records and blocks in their order, twice: what one brings is done by the other.
    const WORK: [[u8; 3]; 6] = [[1, 0, 31], [2, 0, 31], [3, 0, 0], [2, 0, 31], [1, 0, 31], [2, 0, 31]];
    let mut out = vec![policy];
    let mut step = |steps: &[[u8; 3]]| steps.iter().for_each(|step| out.extend(step));
    step(&CONNECT);
    step(before);
    step(&[[0, 60, 0]]);
    step(&WORK);
    for round in 0..rounds {
        (1..4).for_each(|peer| step(&[[4, peer - 1, odd(round, peer)]]));
        step(&WORK);
        step(&[[0, 30, 0]]);
        step(&WORK);
    }
    step(after);
    step(&WORK);
    out
}

fn lives() -> Vec<(&'static str, Vec<u8>)> {
    let nothing = |_, _| 0;
    let raw = vertex(2, 3).bytes.to_vec();
    let clients = [[8, 0, 0], [8, 1, 0], [6, 1, 0], [6, 2, 1], [6, 3, 0x82]];
    let restarts = [[10, 0, 0], [2, 3, 0], [1, 1, 1], [10, 0, 0], [7, 2, 0], [7, 1, 1], [7, 3, 0x9f]];
    vec![
        ("settles", life(0, &clients, 12, &nothing, &[])),
        ("everybody_verifies", life(1, &clients, 12, &nothing, &[])),
        ("restarts", life(0, &clients, 10, &nothing, &restarts)),
        (
            "twins",
            life(0, &clients, 10, &|round, peer| if peer == 3 { 1 + round % 2 * 4 } else { 4 }, &restarts),
        ),
        (
            "odd_parents",
            life(0, &[], 10, &|round, peer| if peer == 2 { 16 * (round % 2) + 128 } else { 8 }, &[]),
        ),
        ("raw", [life(0, &[], 2, &nothing, &[]), vec![11, 0x11, raw.len() as u8], raw].concat()),
    ]
}

/// Steps for the target `store`, three bytes each (0 to 3 append a group, 4 restart, 5 power cut, 6 a change that fails,
/// 7 a flipped bit).
fn store_steps() -> [(&'static str, Vec<u8>); 5] {
    let groups = |count: u8| (0..count).flat_map(|n| [0, n, n.wrapping_mul(29)]).collect::<Vec<u8>>();
    let with = |steps: &[[u8; 3]]| [groups(5), steps.concat(), groups(3)].concat();
    [
        ("appends", groups(20)),
        ("restarts", with(&[[4, 0, 0], [0, 3, 250], [4, 0, 0]])),
        ("power_cuts", with(&[[5, 255, 0x55], [0, 1, 90], [5, 200, 0xf0], [5, 128, 0]])),
        ("failures", with(&[[6, 0, 3], [0, 3, 200], [6, 1, 1], [0, 2, 9], [6, 0, 12]])),
        ("flips", with(&[[7, 0, 128], [7, 1, 30], [0, 0, 4], [7, 1, 80], [7, 9, 0]])),
    ]
}

/// The seeds made here: target, name, bytes.
fn made() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("batch", "transfer", batch(1, 0).bytes().to_vec()),
        ("batch", "opens", batch(2, 3).bytes().to_vec()),
        ("batch", "blobs", opaque_batch(24, 3).bytes().to_vec()),
        ("block", "empty", block(0, false)),
        ("block", "settles", block(2, false)),
        ("block", "checkpoint", block(1, true)),
        ("record", "nothing_open", record(0)),
        ("record", "open_slots", record(2)),
        ("vertex", "first_round", vertex(1, 0).bytes.to_vec()),
        ("vertex", "linked", vertex(2, 3).bytes.to_vec()),
        ("vertex", "all_lists", vertex(9, 2).bytes.to_vec()),
    ];
    let twins = [[0, 1, 2, 1, 4], [0, 1, 4, 2, 0x15]];
    seeds.extend([
        ("consensus_dag", "full", dag(12, &[1, 2, 3, 0], &[])),
        ("consensus_dag", "silent_seat", dag(40, &[0, 1, 2], &[])),
        ("consensus_dag", "twins", dag(20, &[1, 2, 3, 0], &twins)),
        ("consensus_dag", "lost_parents", dag(20, &[1, 2, 3, 0], &[[0, 9, 0, 0, 7], [0, 2, 0, 0, 0]])),
    ]);
    seeds.extend(lives().into_iter().map(|(name, bytes)| ("node_input", name, bytes)));
    seeds.extend(streams().into_iter().map(|(name, bytes)| ("frame", name, bytes)));
    seeds.extend(conversations().into_iter().map(|(name, bytes)| ("client_protocol", name, bytes)));
    seeds.extend(questions().into_iter().map(|(name, bytes)| ("http", name, bytes)));
    seeds.extend(files().into_iter().map(|(name, bytes)| ("config", name, bytes)));
    seeds.extend(attacks().into_iter().map(|(name, bytes)| ("handshake", name, bytes)));
    seeds.extend(recipes().into_iter().map(|(name, bytes)| ("signatures", name, bytes)));
    seeds.extend(store_steps().into_iter().map(|(name, bytes)| ("store", name, bytes)));
    seeds.extend(tree_recipes().into_iter().map(|(name, bytes)| ("tree_proof", name, bytes)));
    seeds
}

#[test]
fn the_seeds_of_real_values_are_of_this_format_and_decode() {
    for (target, name, bytes) in made() {
        let path = folder(target).join(name);
        if std::env::var_os("THRONG_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(folder(target)).expect("the seeds' folder can be made");
            std::fs::write(&path, &bytes).expect("the seed can be written");
        }
        assert_eq!(std::fs::read(&path).ok(), Some(bytes.clone()), "{}", path.display());
        let (_, check) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
        assert!(check(&bytes), "{target}/{name} decodes");
    }
}

#[test]
fn every_committed_seed_holds_in_every_target() {
    let mut replayed = 0;
    for (target, _) in TARGETS {
        let entries = std::fs::read_dir(folder(target)).expect("every target has seeds");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort_unstable();
        for path in paths {
            let bytes = std::fs::read(&path).expect("a readable seed");
            assert!(bytes.len() <= 4_096, "{}: seeds are small", path.display());
            TARGETS.iter().for_each(|(_, check)| _ = check(&bytes));
            replayed += 1;
        }
    }
    assert!(replayed >= made().len());
}
