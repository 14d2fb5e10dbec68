//! Each checker catches the rule that it is for: good input passes, and with one thing wrong it does not.

use super::*;
use crate::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use crate::ledger::Ledger;
use crate::types::{
    AccountNumber, Ack, BlockHash, Certificate, Effect, Epoch, GenesisAccount, Height, Key, LeaderRef,
    Outcome, Part, RootKind, Round, Rules, Seat, SeatInfo, Sequence, Time, Verdict, Vertex, VertexId,
    Witness,
};
use crate::wire::{
    Rows, block_hash, chain_id, encode_block, encode_certificate, outcomes_hash, seal, sign_checkpoint,
    sign_vertex, transaction_digest,
};

fn key(number: u8) -> SigningKey {
    signing_key_from_seed([number; 32])
}

fn genesis() -> Genesis {
    let seat = |s: u8| SeatInfo { key: Key(public_key(&key(100 + s))), fee_account: AccountNumber(1) };
    let account = |a: u8| GenesisAccount { key: public_key(&key(a)), balance: 1_000 };
    let genesis = Genesis {
        name: "checked".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: (0..4).map(seat).collect(),
        accounts: (1..=4).map(account).collect(),
    };
    genesis.check().unwrap();
    genesis
}

fn batch(author: u16, sequence: u64, effects: &[Effect]) -> Batch {
    let genesis = genesis();
    let chain = chain_id(&genesis);
    let account = |number: u32| public_key(&key(number as u8));
    let witness = |effect: &Effect| {
        let digest =
            transaction_digest(&chain, effect, &account(effect.from.get()), &account(effect.to.get()));
        Witness(sign(&key(effect.from.get() as u8), &digest))
    };
    let witnesses: Vec<_> = effects.iter().map(witness).collect();
    let rows = Rows { effects, keys: &[], witnesses: &witnesses };
    seal(&key(100 + author as u8), &chain, (Epoch(0), Seat(author), Sequence(sequence)), 5, rows)
}

fn block(height: u64, previous: BlockHash, settled: &[&Batch], outcomes: &[Outcome]) -> Block {
    let codes: Vec<u8> = outcomes.iter().map(|outcome| *outcome as u8).collect();
    Block {
        epoch: Epoch(0),
        height: Height(height),
        previous,
        leader: LeaderRef { round: Round(height), author: Seat(0), id: VertexId([1; 32]) },
        time: Time(height),
        accounts: 5,
        settled: settled.iter().map(|batch| batch.reference()).collect(),
        outcomes: outcomes_hash(&codes),
        roots: Vec::new(),
    }
}

fn vertex(author: u16, round: u64, acks: Vec<Ack>) -> SignedVertex {
    let chain = chain_id(&genesis());
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(round),
        author: Seat(author),
        time: Time(acks.len() as u64),
        strong: Vec::new(),
        weak: Vec::new(),
        acks,
        parts: Vec::new(),
    };
    sign_vertex(&key(100 + author as u8), &chain, vertex)
}

#[test]
fn a_second_block_of_a_height_and_a_broken_link_are_caught() {
    let genesis = genesis();
    let start = BlockHash(chain_id(&genesis).0);
    let first = encode_block(&block(1, start, &[], &[]));
    let second = encode_block(&block(2, block_hash(&first), &[], &[]));
    let mut check = chain::ChainCheck::new(&genesis);
    assert!(check.block(0, &first).unwrap().is_some());
    assert!(check.block(1, &first).unwrap().is_none());
    assert!(check.block(1, &second).unwrap().is_some());
    assert_eq!(check.height(), 2);
    let fork = encode_block(&Block { time: Time(77), ..block(2, block_hash(&first), &[], &[]) });
    assert!(check.block(2, &fork).unwrap_err().starts_with("at height 2 node 1 has"));
    let torn = encode_block(&block(3, start, &[], &[]));
    assert!(check.block(2, &torn).unwrap_err().contains("as the one before"));
    let ahead = encode_block(&block(5, block_hash(&second), &[], &[]));
    assert!(check.block(2, &ahead).unwrap_err().contains("the last written anywhere is 2"));
    let leader = LeaderRef { round: Round(2), author: Seat(0), id: VertexId([1; 32]) };
    let again = encode_block(&Block { leader, ..block(3, block_hash(&second), &[], &[]) });
    assert!(check.block(2, &again).unwrap_err().contains("leader of round 2"));
    assert!(check.block(2, &first[1..]).is_err());
}

#[test]
fn outcomes_that_the_plain_model_does_not_give_are_caught() {
    use Outcome::{AmountNotCovered, BadNonce, FeeNotCovered, Ok as Done, UnknownAccount};
    let rows = [
        (Effect::transfer(2, 3, 10, 1, 1), Done),
        (Effect::transfer(2, 3, 10, 1, 1), BadNonce),
        (Effect::transfer(2, 3, 10, 66, 1), BadNonce),
        (Effect::transfer(2, 3, 10, 65, 1), Done),
        (Effect::transfer(2, 4, 10, 1 + 64 - 63, 1), Done),
        (Effect::transfer(3, 4, 5_000, 1, 1), AmountNotCovered),
        (Effect::transfer(3, 4, 1, 2, 1_000), FeeNotCovered),
        (Effect::transfer(3, 4, 999, 3, 0), Done),
        (Effect::transfer(9, 4, 1, 3, 1), UnknownAccount),
        (Effect::transfer(1, 9, 1, 3, 1), UnknownAccount),
    ];
    let mut effects: Vec<Effect> = rows.iter().map(|(effect, _)| *effect).collect();
    effects.retain(|effect| effect.from.get() != 9 && effect.to.get() != 9);
    let outcomes: Vec<Outcome> = rows.iter().map(|(_, outcome)| *outcome).collect();
    let batch = batch(0, 1, &effects);
    let known: Vec<Outcome> = outcomes[..effects.len()].to_vec();
    let start = BlockHash(chain_id(&genesis()).0);
    let run = |block: &Block| {
        let mut check = rows::RowsCheck::new(&genesis(), &[]);
        check.batch(batch.bytes());
        check.block(block)
    };
    let good = block(1, start, &[&batch], &known);
    let (used, ok) = run(&good).unwrap();
    assert_eq!((used.len(), ok), (5, 4));
    let mut wrong = known.clone();
    wrong[1] = Done; // a nonce used twice
    assert!(run(&block(1, start, &[&batch], &wrong)).unwrap_err().contains("other outcomes"));
    assert!(run(&Block { accounts: 6, ..good.clone() }).unwrap_err().contains("counts 6 accounts"));
    assert!(run(&block(1, start, &[&batch, &batch], &known)).unwrap_err().contains("once more"));
    // The engine's own table gives the root; one unit too many in it does not.
    let ledger = Ledger::new(genesis().table());
    ledger.execute(&[(batch.rows(), AccountNumber(1))]);
    let with = |root| Block { roots: vec![(RootKind::Accounts, root)], ..good.clone() };
    assert_eq!(run(&with(ledger.root())), Ok((used, ok)));
    let mut table = ledger.read(<[_]>::to_vec);
    table[4].balance += 1;
    assert!(run(&with(Ledger::new(table).root())).unwrap_err().contains("another root"));
    let unseen = rows::RowsCheck::new(&genesis(), &[]).block(&good).unwrap_err();
    assert!(unseen.contains("which nobody wrote"), "{unseen}");
}

#[test]
fn votes_and_certificates_for_anything_but_the_chain_are_caught() {
    let genesis = Genesis { rules: Rules { checkpoint_blocks: 2, ..Rules::default() }, ..genesis() };
    let (id, start) = (chain_id(&genesis), BlockHash(chain_id(&genesis).0));
    let (mut chain, mut hash) = (chain::ChainCheck::new(&genesis), start);
    let mut check = certified::CertifiedCheck::new(&genesis);
    for height in 1..=4 {
        let bytes = encode_block(&block(height, hash, &[], &[]));
        hash = block_hash(&bytes);
        chain.block(0, &bytes).unwrap();
        check.durable(1, &bytes);
    }
    let vote =
        |seat: u8, height, hash| sign_checkpoint(&key(100 + seat), &id, Epoch(0), Height(height), hash);
    let voted = |author: u16, vote| {
        let mut vertex = vertex(author, 9, vec![]);
        vertex.vertex.parts = vec![Part::Checkpoints(vec![vote])];
        check.vertex(&vertex, &chain)
    };
    assert_eq!(voted(1, vote(1, 4, hash)), Ok(()));
    assert!(voted(2, vote(2, 4, hash)).unwrap_err().contains("has blocks up to 0"));
    assert!(voted(1, vote(1, 3, hash)).unwrap_err().contains("checkpoints every 2"));
    assert!(voted(1, vote(1, 4, start)).unwrap_err().contains("but it is"));
    assert!(voted(1, vote(2, 4, hash)).unwrap_err().contains("bad signature"));
    let certificate = |seats: &[u8], hash| {
        let vote = |seat: &u8| (Seat((*seat).into()), vote(*seat, 4, hash).signature);
        let votes = seats.iter().map(vote).collect();
        Certificate { epoch: Epoch(0), height: Height(4), hash, votes }
    };
    let mut kept = |certificate: Certificate| check.certificate(0, &encode_certificate(&certificate), &chain);
    assert_eq!(kept(certificate(&[0, 1, 3], hash)), Ok(()));
    assert!(kept(certificate(&[0, 3], hash)).unwrap_err().contains("2 of 4 seats"));
    assert!(kept(certificate(&[0, 1, 3], start)).unwrap_err().contains("but it is"));
    let forged = Certificate { votes: certificate(&[0, 1, 2], start).votes, ..certificate(&[0, 1, 2], hash) };
    assert!(kept(forged).unwrap_err().contains("bad signature"));
    assert_eq!(check.certified, 4);
}

#[test]
fn a_settled_batch_without_enough_copies_or_acks_is_caught() {
    let batch = batch(0, 1, &[Effect::transfer(2, 3, 1, 1, 1)]);
    let block = block(1, BlockHash([0; 32]), &[&batch], &[Outcome::Ok]);
    let run = |durable: u16, held: u16, valid: u16| {
        let mut check = held::HeldCheck::new(&genesis());
        (0..durable).for_each(|node| check.durable(node, batch.bytes()));
        for author in 0..held {
            let verdict = if author < valid { Verdict::Valid } else { Verdict::Held };
            let ack = Ack { batch: batch.reference(), verdict };
            check.vertex(&vertex(author, 1, vec![ack]))?;
        }
        check.block(&block)
    };
    assert_eq!(run(3, 3, 2), Ok(()));
    assert!(run(1, 0, 0).unwrap_err().contains("durable on 1 nodes instead of 2"));
    assert!(run(3, 2, 2).unwrap_err().contains("acked by 2 nodes instead of 3"));
    assert!(run(3, 3, 1).unwrap_err().contains("verified by 1 nodes instead of 2"));
    assert!(run(2, 3, 2).unwrap_err().contains("node 2 acks batch 1 of node 0, which its disk may lose"));
}

#[test]
fn what_an_author_wrote_and_never_sent_counts_as_said() {
    let acked = batch(0, 1, &[Effect::transfer(2, 3, 1, 1, 1)]);
    let ack = Ack { batch: acked.reference(), verdict: Verdict::Held };
    let (first, second) = (vertex(1, 7, vec![]), vertex(1, 7, vec![ack]));
    let mut checks = Checks::new(&genesis(), &[]);
    assert_eq!(checks.durable(1, RecordKind::Batch, acked.bytes()), Ok(()));
    assert_eq!(checks.durable(1, RecordKind::Vertex, &first.bytes), Ok(()));
    assert_eq!(
        checks.durable(2, RecordKind::Vertex, &first.bytes),
        Ok(()),
        "a copy of another's binds nobody"
    );
    assert_eq!(checks.vertex_sent(1, &first), Ok(()));
    let broken = checks.vertex_sent(1, &second).unwrap_err();
    assert_eq!((broken.checker, broken.words.contains("node 1 for round 7")), ("slots", true), "{broken:?}");
}

#[test]
fn two_vertices_or_batches_of_one_slot_are_caught_whoever_sends_them() {
    let mut check = slots::SlotsCheck::default();
    let ack =
        Ack { batch: batch(0, 1, &[Effect::transfer(2, 3, 1, 1, 1)]).reference(), verdict: Verdict::Held };
    assert_eq!(check.vertex(1, &vertex(1, 7, vec![])), Ok(true));
    assert_eq!(check.vertex(2, &vertex(1, 7, vec![])), Ok(false));
    assert_eq!(check.vertex(2, &vertex(1, 8, vec![ack])), Ok(true));
    assert!(check.vertex(3, &vertex(1, 7, vec![ack])).unwrap_err().contains("node 1 for round 7"));
    let other = batch(0, 1, &[Effect::transfer(2, 3, 2, 1, 1)]);
    assert_eq!(check.batch(0, &batch(0, 1, &[Effect::transfer(2, 3, 1, 1, 1)])), Ok(()));
    assert_eq!(check.batch(0, &batch(0, 2, &[Effect::transfer(2, 3, 1, 1, 1)])), Ok(()));
    assert!(check.batch(3, &other).unwrap_err().contains("second batch 1 of node 0"));
}

#[test]
fn whatever_is_above_its_bound_is_caught() {
    let rules = Rules::default();
    let holds = memory::Holds { mempool: (5, 5), batches_kept: 32_768, ..memory::Holds::default() };
    assert_eq!(memory::check(0, 4, &rules, &holds), Ok(()));
    let with = |change: fn(&mut memory::Holds)| {
        let mut holds = holds;
        change(&mut holds);
        memory::check(0, 4, &rules, &holds).unwrap_err()
    };
    assert!(with(|h| h.node.waiting_blocks = 1025).contains("blocks"));
    assert!(with(|h| h.node.waiting_vertices = 801).contains("wait for parents"));
    assert!(with(|h| h.node.waiting_of_author = 101).contains("of one author"));
    assert!(with(|h| h.node.waiting_on_demand = 101).contains("in one seat's name"));
    assert!(with(|h| h.node.wanted_vertices = 1025).contains("vertices asked for"));
    assert!(with(|h| h.node.wanted_batches = 1025).contains("batches asked for"));
    assert!(with(|h| h.node.unsettled_batches = 193).contains("not settled"));
    assert!(with(|h| h.node.named_batches = 769).contains("absent"));
    assert!(with(|h| h.node.executed_batches = 32_769).contains("executed"));
    assert!(with(|h| h.node.to_adopt = 1_537).contains("adopted"));
    assert!(with(|h| h.node.outstanding = 49).contains("outstanding"));
    assert!(with(|h| h.node.charges = 5).contains("charges"));
    assert!(with(|h| h.mempool.0 = 6).contains("mempool"));
    assert!(with(|h| h.inbox_bytes = usize::MAX).contains("unread"));
}

#[test]
fn evidence_against_the_honest_help_for_the_convicted_and_a_liar_that_nobody_names_are_caught() {
    use crate::wire::Evidence;
    let mut checks = Checks::new(&genesis(), &[3]);
    let acked = batch(3, 1, &[Effect::transfer(2, 3, 1, 1, 1)]);
    let ack = Ack { batch: acked.reference(), verdict: Verdict::Held };
    let evidence = |author| {
        let pair = [vertex(author, 7, vec![]), vertex(author, 7, vec![ack])].map(std::sync::Arc::new);
        Evidence::of_vertices(&pair[0], &pair[1]).unwrap()
    };
    let mut written =
        |node, vertex: &SignedVertex| checks.written(node, RecordKind::Vertex, &vertex.bytes).map(drop);
    // Two faces of node 3 in the logs of two honest nodes; what is in its own log proves nothing.
    assert_eq!(written(3, &vertex(3, 7, vec![ack])), Ok(()));
    assert_eq!(written(0, &vertex(3, 7, vec![])), Ok(()));
    let forged = SignedVertex { signature: [1; 64], ..vertex(3, 8, vec![]) };
    let forged = [&forged.bytes[..forged.bytes.len() - 64], &[1; 64]].concat();
    let forged = SignedVertex::decode(forged.into()).unwrap();
    assert!(written(0, &forged).unwrap_err().words.contains("did not sign"));
    assert_eq!(checks.unnamed(&[0, 1]), None);
    assert_eq!(checks.written(1, RecordKind::Vertex, &vertex(3, 7, vec![ack]).bytes).map(drop), Ok(()));
    assert_eq!(
        (checks.unnamed(&[0, 1]), checks.proven()),
        (Some((3, 0)), vec![(3, "two vertices of one round")])
    );
    // Both name it; then one of them helps it all the same.
    assert_eq!([0, 1].map(|node| checks.convicted(node, &evidence(3))), [Ok(()), Ok(())]);
    assert_eq!((checks.unnamed(&[0, 1]), checks.unnamed(&[0, 1, 2])), (None, Some((3, 2))));
    let helps = checks.written(1, RecordKind::Vertex, &vertex(1, 9, vec![ack]).bytes).map(drop).unwrap_err();
    assert!(helps.words.contains("node 1 acks batch 1 of node 3, against which it has proof"), "{helps:?}");
    let invalid = Ack { verdict: Verdict::Invalid, ..ack };
    assert_eq!(checks.written(1, RecordKind::Vertex, &vertex(1, 9, vec![invalid]).bytes).map(drop), Ok(()));
    // A restart forgets what is not in the log.
    checks.starts(1, std::iter::empty());
    assert_eq!(checks.unnamed(&[0, 1]), Some((3, 1)));
    let wrong = checks.convicted(0, &evidence(2)).unwrap_err();
    assert_eq!((wrong.checker, wrong.words.contains("convicts node 2 of two vertices")), ("honesty", true));
}

#[test]
fn a_settled_batch_with_a_forged_row_is_caught_and_one_that_liars_ack_needs_honest_disks() {
    let effects = [Effect::transfer(2, 3, 1, 1, 1), Effect::transfer(3, 2, 1, 1, 1)];
    let good = batch(3, 1, &effects);
    let mut witnesses = good.rows().witnesses.to_vec();
    witnesses[1].0[7] ^= 1;
    let rows = Rows { witnesses: &witnesses, ..good.rows() };
    let forged = seal(&key(103), &chain_id(&genesis()), (Epoch(0), Seat(3), Sequence(1)), 5, rows);
    for (batch, holds) in [(&good, true), (&forged, false)] {
        let mut check = rows::RowsCheck::new(&genesis(), &[3]);
        check.batch(batch.bytes());
        let executed = check.block(&block(1, BlockHash([0; 32]), &[batch], &[Outcome::Ok; 2]));
        assert_eq!(executed.is_ok(), holds);
        let forged = |words: String| words.contains("whose row 1 has a forged signature");
        assert!(holds || executed.is_err_and(forged));
    }
    // Three acks, one of them a liar's; the policy of a quorum wants two that checked it.
    let block = block(1, BlockHash([0; 32]), &[&good], &[Outcome::Ok; 2]);
    let ack = Ack { batch: good.reference(), verdict: Verdict::Valid };
    for (honest, holds) in [(2, true), (1, false)] {
        let mut check = held::HeldCheck::new(&genesis());
        for author in 0..honest {
            check.durable(author, good.bytes());
            check.vertex(&vertex(author, 1, vec![ack])).unwrap();
        }
        check.liar(&vertex(3, 1, vec![ack]));
        assert_eq!(check.block(&block).is_ok(), holds);
    }
}

#[test]
fn a_settlement_record_that_its_block_does_not_name_or_others_do_not_have_is_caught() {
    let block = |height, record: &[u8]| Block {
        height: Height(height),
        roots: vec![(RootKind::Settlement, crate::types::Root(crate::crypto::plain(record)))],
        ..block(height, BlockHash([0; 32]), &[], &[])
    };
    let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    let mut check = records::RecordsCheck::default();
    check.record(1, &one);
    assert_eq!(check.block(1, &block(8, b"one")), Ok(()));
    assert_eq!(check.block(1, &block(16, b"two")), Ok(()), "adopted, without its record");
    check.record(2, &one);
    assert!(check.block(2, &block(8, b"two")).unwrap_err().contains("names another"));
    check.record(2, &two);
    assert!(check.block(2, &block(8, b"two")).unwrap_err().contains("than others"));
    check.record(3, &two);
    check.started(3);
    assert_eq!(check.block(3, &block(9, b"")), Ok(()), "a crash came between the two");
}
