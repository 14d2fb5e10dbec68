//! Checkpoints: votes ride in vertices until they count, certificates are kept, served and asked for, and a node that
//! others contradict stops.

use super::*;
use crate::consensus::verify_certificate;
use crate::crypto::KeySet;
use crate::types::{Certificate, CheckpointVote, Epoch, Part};
use crate::types::{RootKind, SettlementRecord};
use crate::wire::{
    committee_root, decode_block, decode_certificate, decode_record, encode_certificate, record_root,
    sign_checkpoint,
};

const EVERY: u64 = 4;

fn world() -> World {
    let mut genesis = genesis(Policy::Quorum);
    genesis.rules.checkpoint_blocks = EVERY;
    let disk = Disk::new(chain_id(&genesis));
    let mut world = World::open(Arc::new(genesis), disk, Time(1_000_000));
    world.answer();
    world
}

impl World {
    /// The hash of the own block of a height.
    fn hash(&self, height: u64) -> BlockHash {
        let found = self.durable.iter().find(|notice| notice.height == Height(height));
        found.expect("the block is durable").hash
    }

    fn vote_of(&self, seat: u16, height: u64, hash: BlockHash) -> CheckpointVote {
        sign_checkpoint(&seat_key(seat), &self.shared.chain, Epoch(0), Height(height), hash)
    }

    /// A vertex of the next round of another validator, with votes.
    fn voting(&self, author: u16, votes: Vec<CheckpointVote>) -> Arc<SignedVertex> {
        let round = self.last.first().map_or(1, |v| v.round.0 + 1);
        let mut vertex = self.vertex((round, author), &self.last, &[], round).vertex.clone();
        vertex.parts = vec![Part::Checkpoints(votes)];
        Arc::new(sign_vertex(&seat_key(author), &self.shared.chain, vertex))
    }

    /// The next round, in which these seats vote for a block with this hash.
    fn round_of_votes(&mut self, seats: &[u16], height: u64, hash: BlockHash) {
        let made: Vec<Arc<SignedVertex>> = (1..4)
            .map(|author| match seats.contains(&author) {
                true => self.voting(author, vec![self.vote_of(author, height, hash)]),
                false => self.vertex((self.last[0].round.0 + 1, author), &self.last, &[], 1),
            })
            .collect();
        self.last = made.iter().map(|v| v.reference()).collect();
        made.into_iter().for_each(|v| self.receive(v.vertex.author.0, Message::Vertex(v)));
        self.pass(Duration::from_millis(30));
    }

    /// In which rounds the node voted for a height, and for what.
    fn voted(&self, height: u64) -> Vec<(Round, BlockHash)> {
        let votes =
            self.own.iter().flat_map(|v| v.vertex.checkpoint_votes().iter().map(|c| (v.vertex.round, c)));
        votes.filter(|(_, vote)| vote.height.0 == height).map(|(round, vote)| (round, vote.hash)).collect()
    }

    fn certificates(&self) -> Vec<Certificate> {
        let records = self.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Certificate);
        records.map(|(_, bytes)| decode_certificate(bytes).unwrap()).collect()
    }

    fn keys(&self) -> KeySet {
        KeySet::new(self.genesis.seats.iter().map(|seat| &seat.key.0))
    }

    /// Rounds until a block is durable.
    fn until_durable(&mut self, height: u64) {
        while self.node.tip().0.0 < height {
            self.rounds(1);
            assert!(self.now < Time(1_000_000_000), "{:?}", self.node.progress());
        }
    }
}

#[test]
fn a_durable_checkpoint_is_voted_for_and_a_quorum_of_votes_is_kept_through_a_restart() {
    let mut world = world();
    world.until_durable(EVERY);
    world.rounds(1);
    let hash = world.hash(EVERY);
    assert_eq!(world.voted(EVERY).first().map(|vote| vote.1), Some(hash));
    assert_eq!(world.voted(EVERY - 1), [], "only checkpoints");
    world.round_of_votes(&[1], EVERY, hash);
    assert_eq!(world.node.progress().certified, 0, "two votes of four");
    world.round_of_votes(&[3], EVERY, hash);
    assert_eq!(world.node.progress().certified, EVERY);
    let certificates = world.certificates();
    assert_eq!(certificates.len(), 1);
    assert_eq!(verify_certificate(&certificates[0], &world.shared.chain, Epoch(0), &world.keys()), Ok(()));
    let known = world.node.certificate(Height(0)).cloned();
    let world = world.reopen();
    assert_eq!(world.node.certificate(Height(EVERY)).cloned(), known);
    assert_eq!(world.certificates().len(), 1, "it is on disk once");
    assert_eq!(known.as_deref(), certificates.first());
}

#[test]
fn a_checkpoint_names_the_settlement_record_of_its_own_leader_and_the_committee() {
    let mut world = world();
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[1, 2].map(|by| (by, ack(batch.reference(), Verdict::Held))));
    world.until_durable(2 * EVERY);
    let records = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Block);
    let mut checked = 0;
    for block in records.map(|(_, bytes)| decode_block(bytes).unwrap()) {
        let kinds: Vec<RootKind> = block.roots.iter().map(|(kind, _)| *kind).collect();
        if !block.height.0.is_multiple_of(EVERY) {
            assert_eq!(kinds, []);
            continue;
        }
        assert_eq!(kinds, [RootKind::Accounts, RootKind::Settlement, RootKind::Committee]);
        let bytes = world.node.settlement_record(block.height).expect("not certified yet");
        assert_eq!(block.roots[1].1, record_root(bytes));
        assert_eq!(block.roots[2].1, committee_root(&world.shared.committee));
        let record: SettlementRecord = decode_record(bytes).unwrap();
        assert_eq!((record.leader, record.time), (block.leader, block.time));
        let acks: usize = record.authors[1].slots.iter().map(|slot| slot.acks.len()).sum();
        assert_eq!(acks, 1, "two acks of one batch wait for a third");
        checked += 1;
    }
    assert_eq!(checked, 2);
    // Once a newer one is certified, nobody begins with the older one any more.
    let hash = world.hash(2 * EVERY);
    world.round_of_votes(&[1, 2, 3], 2 * EVERY, hash);
    assert!(world.node.settlement_record(Height(EVERY)).is_none());
    assert!(world.node.settlement_record(Height(2 * EVERY)).is_some());
}

#[test]
fn the_settlement_record_is_on_disk_before_its_block_whatever_is_lost_in_a_crash() {
    let mut world = world();
    world.until_durable(2 * EVERY);
    let named = |world: &World, height: u64| -> Vec<bool> {
        let is = |kind: RecordKind, bytes: &Bytes| match kind {
            RecordKind::Settlement => Some(record_root(bytes)),
            _ => None,
        };
        let block = |(kind, bytes): &(RecordKind, Bytes)| {
            *kind == RecordKind::Block && decode_block(bytes).unwrap().height.0 == height
        };
        let at = world.disk.log.iter().position(block).unwrap();
        let root = decode_block(&world.disk.log[at].1).unwrap().roots[1].1;
        world.disk.log[..at]
            .iter()
            .filter_map(|(kind, bytes)| is(*kind, bytes))
            .map(|is| is == root)
            .collect()
    };
    assert_eq!((named(&world, EVERY), named(&world, 2 * EVERY)), (vec![true], vec![false, true]));
    // The last record that is left is the settlement record, and its block comes again.
    let last = world.disk.log.iter().rposition(|(kind, _)| *kind == RecordKind::Settlement).unwrap();
    world.disk.log.truncate(last + 1);
    let mut world = world.reopen();
    world.until_durable(2 * EVERY);
    assert_eq!(named(&world, 2 * EVERY), [false, true, true]);
    let mut world = world.reopen();
    let at = world.disk.log.iter().position(|(kind, _)| *kind == RecordKind::Settlement).unwrap();
    world.disk.log[at].1 = Bytes::from_static(b"another");
    let config = NodeConfig::default();
    let setup = Setup { genesis: world.genesis.clone(), seat: Seat(0), key: seat_key(0), config, seed: 1 };
    let opened = Node::open(setup, world.disk.log.clone().into_iter(), world.disk.open(), world.now);
    assert!(matches!(opened.err(), Some(OpenError::Record { kind: "settlement", .. })));
}

#[test]
fn a_certificate_whose_record_was_lost_in_a_crash_is_written_after_the_restart() {
    let mut world = world();
    world.until_durable(EVERY);
    world.rounds(1);
    let hash = world.hash(EVERY);
    world.round_of_votes(&[1, 3], EVERY, hash);
    let record = world.disk.log.iter().position(|(kind, _)| *kind == RecordKind::Certificate).unwrap();
    world.disk.log.truncate(record);
    let world = world.reopen();
    assert_eq!(world.certificates().len(), 1);
}

#[test]
fn a_vote_whose_vertex_fell_below_the_floor_is_said_again_until_it_is_certified() {
    let mut world = world();
    world.until_durable(EVERY);
    // The others never name what this node says.
    world.rounds(20);
    let (floor, hash) = (world.node.consensus.dag().floor(), world.hash(EVERY));
    let voted = world.voted(EVERY);
    assert!(voted.len() >= 2 && voted.iter().any(|vote| vote.0 > floor), "{voted:?} at floor {floor}");
    assert!(voted.len() <= 6, "not in every vertex: {voted:?}");
    assert!(voted.iter().all(|vote| vote.1 == hash));
    let mut world = world.reopen();
    world.durable.clear();
    world.rounds(20);
    assert!(!world.voted(EVERY).is_empty(), "also after a restart");
    world.round_of_votes(&[1, 2, 3], EVERY, hash);
    let count = world.voted(EVERY).len();
    world.rounds(20);
    assert_eq!(world.voted(EVERY).len(), count);
}

#[test]
fn a_vertex_with_a_vote_that_its_author_did_not_sign_is_a_bad_vertex() {
    let mut world = world();
    world.rounds(2);
    let good = world.vote_of(2, 8, BlockHash([1; 32]));
    let bad = world.voting(2, vec![world.vote_of(2, 4, BlockHash([1; 32])), world.vote_of(3, 8, good.hash)]);
    world.receive(2, Message::Vertex(bad.clone()));
    assert_eq!(world.misbehaved, [(Seat(2), "a vertex with a bad signature")]);
    assert!(world.node.consensus.dag().get(bad.reference()).is_none());
    // Checked together with others, only the bad one is refused; of another epoch's domain the vote is bad, too.
    let stale = sign_checkpoint(&seat_key(1), &world.shared.chain, Epoch(1), Height(8), good.hash);
    let jobs = [world.voting(1, vec![stale]), world.voting(2, vec![good]), bad]
        .map(|vertex| Job::CheckVertex { from: Seat(1), vertex });
    let done = Job::run_all(jobs.into(), &world.shared);
    let verdicts = done.iter().map(|done| matches!(done, Done::Vertex { good: true, .. }));
    assert_eq!(verdicts.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn certificates_are_given_to_whom_asks_and_asked_for_when_they_are_late() {
    let mut world = world();
    world.until_durable(EVERY);
    world.rounds(1);
    let hash = world.hash(EVERY);
    let late = DELAY * 25;
    let certificate = |world: &World, hash| {
        let vote = |seat| (Seat(seat), world.vote_of(seat, EVERY, hash).signature);
        let votes = [1, 2, 3].map(vote).to_vec();
        Message::Certificate(Arc::new(Certificate { epoch: Epoch(0), height: Height(EVERY), hash, votes }))
    };
    let asked = |world: &mut World| -> Vec<u16> {
        let asks = std::mem::take(&mut world.sent).into_iter();
        asks.filter(|(_, m)| *m == Message::WantCertificate(Height(EVERY))).map(|(to, _)| to.0).collect()
    };
    world.receive(2, certificate(&world, hash));
    assert_eq!(world.node.progress().certified, 0, "nobody asked for it");
    assert!(asked(&mut world).is_empty());
    world.pass(late);
    let peer = asked(&mut world)[0];
    // A bad one is held against its sender; nothing is asked of it again at once.
    let Message::Certificate(mut bad) = certificate(&world, hash) else { panic!() };
    Arc::make_mut(&mut bad).votes[1].1[7] ^= 1;
    world.receive(peer, Message::Certificate(bad));
    assert_eq!(world.misbehaved, [(Seat(peer), "a certificate that does not hold")]);
    world.receive(peer, certificate(&world, hash));
    assert_eq!(world.node.progress().certified, 0);
    world.pass(late);
    let peer = asked(&mut world)[0];
    world.receive(peer, certificate(&world, hash));
    assert_eq!((world.node.progress().certified, world.certificates().len()), (EVERY, 1));
    world.pass(late);
    assert!(asked(&mut world).is_empty());
    for (height, served) in [(EVERY, true), (0, true), (EVERY + 1, false)] {
        world.sent.clear();
        world.receive(2, Message::WantCertificate(Height(height)));
        let given = world.sent.iter().any(|(to, m)| *to == Seat(2) && matches!(m, Message::Certificate(_)));
        assert_eq!(given, served, "height {height}");
    }
    let bytes = encode_certificate(world.node.certificate(Height(0)).unwrap());
    assert_eq!(world.disk.log.iter().find(|(kind, _)| *kind == RecordKind::Certificate).unwrap().1, bytes);
}

#[test]
fn a_node_that_two_others_contradict_stops_and_stays_stopped() {
    let mut world = world();
    world.until_durable(EVERY);
    world.round_of_votes(&[1], EVERY, BlockHash([9; 32]));
    assert_eq!(world.diverged, [], "one of four may lie");
    world.round_of_votes(&[3], EVERY, BlockHash([9; 32]));
    let expected = Divergence {
        height: Height(EVERY),
        own: world.hash(EVERY),
        other: BlockHash([9; 32]),
        seats: vec![Seat(1), Seat(3)],
    };
    assert_eq!(world.diverged, std::slice::from_ref(&expected));
    let (tip, said) = (world.node.tip(), world.own.len());
    world.rounds(10);
    assert_eq!((world.node.tip(), world.own.len(), world.node.deadline()), (tip, said, None));
    // What told it is on disk: it says the same when it is started again.
    let world = world.reopen();
    assert_eq!(world.diverged, [expected]);
    assert!(world.own.is_empty());
}

#[test]
fn what_the_others_said_before_is_held_against_a_block_that_comes_late() {
    let mut world = world();
    world.rounds(1);
    world.round_of_votes(&[1, 2], EVERY, BlockHash([9; 32]));
    assert_eq!(world.diverged, []);
    while world.diverged.is_empty() {
        world.rounds(1);
        assert!(world.node.tip().0.0 <= EVERY, "it stops at the checkpoint");
    }
    assert_eq!(world.diverged[0].seats, [Seat(1), Seat(2)]);
}
