//! Each lie in a short world of four, whose last node tells it for the first two seconds. Each test says which line of
//! defence it would find missing; that the lie was told at all, the report shows.

use super::*;
use crate::crypto::signing_key_from_seed;
use crate::sim::world::World;
use crate::sim::{Crypto, Fault, PLAN_VERSION, Plan, RunReport, SimConfig, Tail, Verdict, What, run};
use crate::store::RecordKind;
use crate::types::{Epoch, Time};

const LIAR: u16 = 3;

fn world(nodes: u16, seed: u64) -> SimConfig {
    let crypto = Crypto::Cached;
    SimConfig { nodes, seed, duration_ms: 4_000, load: 100, accounts: 40, crypto, ..SimConfig::default() }
}

/// What the liar's layer works with in such a world.
pub(super) fn hand() -> Hand {
    let genesis = Arc::clone(&World::new(plan(Vec::new())).expect("it can be played").genesis);
    let (key, chain) = (signing_key_from_seed([3; 32]), crate::wire::chain_id(&genesis));
    Hand { seat: Seat(LIAR), key, chain, genesis, seed: 1, leads: false }
}

fn lying(lie: Lie) -> Fault {
    Fault { at_us: 0, for_us: 2_000_000, what: What::Liar { node: LIAR, lie } }
}

fn plan(faults: Vec<Fault>) -> Plan {
    let plan = Plan { version: PLAN_VERSION, config: world(4, 7), faults };
    plan.check().expect("it can be played");
    plan
}

/// Plays it; the others agree and go on, and the liar is convicted of this, or of nothing.
fn play(faults: Vec<Fault>, of: Option<&str>) -> RunReport {
    let story = format!("{faults:?}");
    let report = play_to_the_end(faults);
    assert_eq!(convicted(&report), of.map(|kind| (LIAR, kind)).into_iter().collect::<Vec<_>>(), "{story}");
    report
}

fn convicted(report: &RunReport) -> Vec<(u16, &'static str)> {
    report.convicted.iter().map(|c| (c.node, c.kind)).collect()
}

/// Plays it; the others agree and go on.
fn play_to_the_end(faults: Vec<Fault>) -> RunReport {
    let story = format!("{faults:?}");
    let report = run(plan(faults), &|_| false).expect("it is played to its end");
    assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{story}");
    assert_eq!((&report.liars[..], report.beyond), (&[LIAR][..], false));
    assert!(report.settled > 200 && report.height > 40, "{story}: {report:?}");
    report
}

/// Plays two seconds of it, for a look at the world as it is then.
fn stop(faults: Vec<Fault>) -> World {
    let mut world = World::new(plan(faults)).expect("it can be played");
    world.run(&|now| now.as_millis() >= 1_900).expect_err("it was stopped");
    world
}

const TWO_VERTICES: Option<&str> = Some("two vertices of one round");

#[test]
fn twins_are_named() {
    // Evidence of two vertices, spread to all; and a decision rule that bears one seat that votes for two leaders.
    play(vec![lying(Lie::Twins { peers: vec![] })], TWO_VERTICES);
}

#[test]
fn two_vertices_are_named_wherever_the_second_is_shown() {
    // The twin that an honest vertex names is fetched by who was shown the other; both are compared; of twins one is output.
    for to in [vec![0], vec![0, 1]] {
        play(vec![lying(Lie::TwoVertices { to, chain: false })], TWO_VERTICES);
    }
}

/// The slots of which an honest node took two vertices. The second of a slot is taken only if another author's vertex names
/// it, or what that needs.
fn twins(world: &World, seat: usize) -> Vec<(Round, Seat)> {
    let vertices = world.places[seat].disk.log().iter().filter(|(kind, _)| *kind == RecordKind::Vertex);
    let mut slots: Vec<_> = vertices
        .map(|(_, bytes)| SignedVertex::decode(bytes.clone()).unwrap().reference())
        .map(|vertex| (vertex.round, vertex.author))
        .collect();
    slots.sort_unstable();
    let pairs = slots.windows(2).filter(|pair| pair[0] == pair[1]);
    let mut twins: Vec<_> = pairs.map(|pair| pair[0]).collect();
    twins.dedup();
    twins
}

/// That no honest node came over something by adopting blocks that others had certified.
fn assert_ordered_all(world: &World, story: &str) {
    for (seat, place) in (0..).zip(&world.places).filter(|(_, place)| !place.lies) {
        assert_eq!(place.tally.adoptions, 0, "{story}: node {seat}");
    }
}

#[test]
fn a_second_chain_that_nobody_serves_is_fetched_from_who_was_shown_it() {
    // A demand goes on from what an honest vertex names to all that lies below it. Without it nobody would have two vertices
    // of a slot.
    for to in [vec![0], vec![1, 2]] {
        let faults = vec![lying(Lie::TwoVertices { to, chain: true })];
        let story = format!("{faults:?}");
        let mut world = World::new(plan(faults.clone())).expect("it can be played");
        world.run(&|_| false).expect("it is played to its end");
        assert_eq!(world.verdict(), (Verdict::Agreed, None), "{story}");
        for seat in 0..3 {
            let twins = twins(&world, seat);
            assert!(!twins.is_empty(), "{story}: node {seat} holds no twins");
            assert!(twins.iter().all(|(_, author)| *author == Seat(LIAR)), "{story}: {twins:?}");
        }
        assert_ordered_all(&world, &story);
        play(faults, TWO_VERTICES);
    }
}

#[test]
fn each_chain_of_two_is_shown_to_those_only_who_are_to_see_it() {
    let hand = hand();
    let (key, chain) = (hand.key.clone(), hand.chain);
    let mut liar = Liar::new(hand);
    liar.begin(0, &Lie::TwoVertices { to: vec![0], chain: true });
    let (epoch, round, author, time) = (Epoch(0), Round(1), Seat(LIAR), Time(1));
    let (strong, weak, acks, parts) = Default::default();
    let made = sign_vertex(&key, &chain, Vertex { epoch, round, author, time, strong, weak, acks, parts });
    let all = [Seat(0), Seat(1), Seat(2)];
    let read = |letters: Vec<Letter>| -> Vec<(u16, VertexRef)> {
        let read = letters
            .into_iter()
            .map(|letter| (letter.to.0, SignedVertex::decode(letter.payload).expect("a vertex").reference()));
        read.collect()
    };
    let shown = read(liar.say(&all, &Message::Vertex(Arc::new(made)), true));
    assert_eq!(shown.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [0, 1, 2]);
    let [second, first] = [shown[0].1, shown[1].1];
    assert!(first != second && shown[2].1 == first);
    // The machine takes both, since others name them, and answers or pushes what it has.
    for (vertex, to) in [(first, vec![1, 2]), (second, vec![0])] {
        let has = liar.shown[&vertex.id].vertex.clone();
        let said = read(liar.say(&all, &Message::Vertex(has), false));
        let right: Vec<_> = said.iter().filter(|(_, said)| *said == vertex).map(|(to, _)| *to).collect();
        assert_eq!(right, to, "{said:?}");
        for peer in all {
            let answers = read(liar.hear(peer, &Message::WantVertices(vec![vertex])).answers);
            let served = to.contains(&peer.0).then_some((peer.0, vertex));
            assert_eq!(answers, Vec::from_iter(served), "to node {peer}");
        }
    }
}

#[test]
fn a_leader_that_splits_its_peers_and_goes_silent_at_once_is_gone_on_without() {
    // Each side of the split names what the other was not shown, and nobody is left who could show it: who does not fetch it
    // from the other side does not accept the other side's vertices any more, and three of four are needed.
    let mut led = 0;
    for at_ms in (1_000..1_200).step_by(17) {
        let story = format!("at {at_ms} ms");
        // A round takes some sixteen milliseconds: one vertex, or two.
        let silent_ms = at_ms + 20;
        let lie = Lie::TwoVertices { to: vec![0], chain: true };
        let crash = What::Crash { node: LIAR, while_syncing: false, tail: Tail::Lost };
        let fault = |at_ms: u64, what| Fault { at_us: at_ms * 1000, for_us: 60_000_000, what };
        let lying = fault(at_ms, What::Liar { node: LIAR, lie });
        let mut world = World::new(plan(vec![lying, fault(silent_ms, crash)])).unwrap();
        world.run(&|now| now.as_millis() >= u128::from(silent_ms)).expect_err("it was stopped");
        let before: Vec<u64> = world.places.iter().map(|place| place.told).collect();
        world.run(&|now| now.as_millis() >= 3_500).expect_err("it was stopped");
        assert_eq!(world.violation, None, "{story}");
        for (place, before) in world.places[..3].iter().zip(&before) {
            assert!(place.told > before + 10, "{story}: {} after {before}", place.told);
        }
        assert_ordered_all(&world, &story);
        let split: Vec<_> = (0..3).map(|seat| twins(&world, seat)).collect();
        assert!(split.iter().all(|twins| !twins.is_empty()), "{story}: {split:?}");
        let (node, _) = world.places[0].machine.as_ref().expect("it runs");
        let leads =
            |twins: &[(Round, Seat)]| matches!(twins, [(round, author)] if node.leader(*round) == *author);
        led += u64::from(split.iter().all(|twins| leads(twins)));
    }
    assert!(led > 0, "in some it led the one round that it split");
}

#[test]
fn two_batches_of_one_sequence_are_named_and_one_of_them_settles_at_most() {
    // The first id that a validator acks in a slot is the only one that counts; the other one is fetched, and compared.
    for to in [vec![0], vec![0, 1]] {
        play(vec![lying(Lie::TwoBatches { to })], Some("two batches of one sequence"));
    }
}

#[test]
fn who_was_cut_off_without_a_sign_when_a_liar_was_convicted_finds_out_by_itself() {
    // What it was told is lost; but the acks that it catches up on name both batches, and it asks for proofs.
    let cut = What::Partition { side: vec![2], one_way: false, reconnect: false };
    let cut = Fault { at_us: 0, for_us: 2_500_000, what: cut };
    play(vec![lying(Lie::TwoBatches { to: vec![0] }), cut], Some("two batches of one sequence"));
}

#[test]
fn two_votes_on_a_checkpoint_are_named_and_certify_nothing_false() {
    // The first vote of a seat counts; f + 1 others have to contradict a node before it stops.
    play(vec![lying(Lie::TwoVotes)], Some("two votes for one checkpoint"));
}

#[test]
fn a_batch_that_few_were_sent_is_fetched_or_dies_and_its_rows_travel_through_others() {
    // What f + 1 ack is fetched from them. What nobody but its author has cannot settle, and blocks nothing.
    let shown_to_two = play(vec![lying(Lie::Withhold { from: vec![0] })], None);
    assert_eq!(shown_to_two.repeated, 0, "all settle");
    let shown_to_nobody = play(vec![lying(Lie::Withhold { from: vec![0, 1, 2] })], None);
    assert!(shown_to_nobody.repeated > 0, "what was kept back is sent again");
}

#[test]
fn acks_of_what_was_never_held_do_not_keep_others_from_getting_it() {
    // A node that nothing reaches of what another writes fetches from all who ack, not from one of them.
    let lost = What::Loss { from: Some(1), to: Some(0), per_mille: 1000 };
    let lost = Fault { at_us: 0, for_us: 2_000_000, what: lost };
    let mut world = stop(vec![lying(Lie::BlindAcks), lost.clone()]);
    let behind = world.places[1].told - world.places[0].told;
    assert!(world.places[0].told > 10, "{} and {behind} behind", world.places[0].told);
    assert_eq!(world.report_now().convicted, []);
    play(vec![lying(Lie::BlindAcks), lost], None);
}

#[test]
fn forged_rows_never_settle_and_convict_who_sealed_them() {
    // f + 1 check every row: two of four, of whom the author is one.
    play(vec![lying(Lie::ForgedRows)], Some("a batch with a bad row"));
    // Nor where another liar says of everything that it is valid: with the author two of three.
    let lies = [(5, Lie::ForgedRows), (6, Lie::BlindAcks)];
    let lying = |(node, lie)| Fault { at_us: 0, for_us: 2_000_000, what: What::Liar { node, lie } };
    let plan = Plan { version: PLAN_VERSION, config: world(7, 7), faults: lies.map(lying).to_vec() };
    let report = run(plan, &|_| false).unwrap();
    assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None));
    assert_eq!(convicted(&report), [(5, "a batch with a bad row")]);
}

#[test]
fn a_false_accusation_convicts_the_accuser_and_a_bare_one_is_nothing() {
    // Whoever reads an accusation checks the one row; Invalid neither counts nor bars.
    play(vec![lying(Lie::FalseAccusation { proof: true })], Some("a false accusation"));
    play(vec![lying(Lie::FalseAccusation { proof: false })], None);
}

#[test]
fn bad_vertices_of_every_kind_are_refused_and_do_not_keep_the_good_ones_out() {
    // Form before anything else; a parent that does not exist keeps only its own author's vertex waiting.
    for instead in [false, true] {
        let report = play_to_the_end(vec![lying(Lie::BadVertices { instead })]);
        assert!(report.places[usize::from(LIAR)].round > 100, "it took part: {report:?}");
        // Some are bad only in being the second ones of their rounds. If they come instead of the good ones, it is a matter of luck
        // whether anybody sees both.
        let named = convicted(&report);
        assert!(named == [(LIAR, TWO_VERTICES.unwrap())] || instead && named.is_empty(), "{named:?}");
    }
    let world = stop(vec![lying(Lie::BadVertices { instead: false })]);
    let tallies = world.places[..3].iter().map(|place| &place.tally);
    let [refused, cut_off] = tallies.fold([0; 2], |[r, c], t| [r + t.accusations, c + t.cut_off]);
    // Half of the forms do not decode. Each time somebody is cut off, what follows is lost; and whoever is convicted is not
    // checked any more.
    assert!(refused > 5 && cut_off > 20, "{refused} refused, {cut_off} times cut off");
}

#[test]
fn a_leader_that_keeps_its_vertex_back_is_skipped_and_gives_way() {
    // The wait for a leader ends, and who was skipped leads less and less often: rounds take little longer than beside a silent
    // seat. One that comes just before the wait ends is never skipped: it costs at most that wait in each round that it leads.
    let config = || SimConfig { load: 400, ..world(4, 7) };
    let of = |what: What| {
        let faults = vec![Fault { at_us: 0, for_us: 60_000_000, what }];
        let report = run(Plan { version: PLAN_VERSION, config: config(), faults }, &|_| false).unwrap();
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None));
        (report.height, report.settled)
    };
    let silent = of(What::Silent { node: LIAR });
    for (from, late_us, share) in [(vec![0, 1, 2], 0, 3), (vec![0, 1], 0, 2), (vec![0, 1, 2], 190_000, 4)] {
        let (height, settled) = of(What::Liar { node: LIAR, lie: Lie::SilentLeader { from, late_us } });
        assert!(height * share > silent.0, "late by {late_us} us: {height} of {} blocks", silent.0);
        assert!(settled * 2 > silent.1, "late by {late_us} us: {settled} of {} rows", silent.1);
    }
}

#[test]
fn a_flood_waits_in_its_author_s_space_only() {
    // What waits is bounded for each author, and what would be dropped is not checked: else a flood of a liar's good
    // signatures takes all the time of the others' loops. The checker of memory looks ten times a second.
    let world = stop(vec![lying(Lie::Flood { each: 400 })]);
    let waiting = |seat: usize| world.places[seat].progress.waiting_vertices;
    assert!((0..3).all(|seat| waiting(seat) >= 50), "it came: {}", waiting(0));
    for place in &world.places[..3] {
        let holds = place.machine.as_ref().expect("it runs").0.holdings();
        let (of_author, on_demand) = (holds.waiting_of_author, holds.waiting_on_demand);
        // More came in each round than one author has room for. Of the others one or two may be on their way.
        assert!((50..=100).contains(&of_author) && on_demand == 0, "{holds:?}");
        assert!(holds.waiting_vertices - of_author < 10, "{holds:?}");
    }
    let rounds = (0..3).map(|seat| world.places[seat].progress.round).min();
    assert!(rounds > Some(40), "the others go on: {rounds:?}");
    play(vec![lying(Lie::Flood { each: 20 })], TWO_VERTICES);
}

#[test]
fn what_is_replayed_is_held_against_nobody_but_who_sent_it() {
    // Signatures and roots cover every byte: a changed one is nobody's word, and ids make a repeated one no news.
    let world = stop(vec![lying(Lie::Replay { each: 6 })]);
    let refused: u64 = world.places[..3].iter().map(|place| place.tally.accusations).sum();
    assert!(refused > 5, "{refused} refused");
    play(vec![lying(Lie::Replay { each: 6 })], None);
}

#[test]
fn evidence_that_proves_nothing_convicts_nobody_but_whom_it_should_and_is_held_against_its_sender() {
    let world = stop(vec![lying(Lie::FalseEvidence)]);
    let refused: u64 = world.places[..3].iter().map(|place| place.tally.accusations).sum();
    assert!(refused > 20, "{refused} refused");
    // The liar's own batch with a bad row is among it, of which nobody can tell yet.
    play(vec![lying(Lie::FalseEvidence)], None);
}

#[test]
fn rows_that_are_handed_on_after_others_sealed_them_are_not_sealed_again() {
    // Their home knows them; the next in rank hold what they are handed until it is executed.
    let passed_over = |world: &World| -> Vec<u64> {
        world.places[..3].iter().map(|place| place.progress.rows_passed_over).collect()
    };
    // Some rows go to all nodes anyway, which hand them on.
    let calm = passed_over(&stop(vec![lying(Lie::Withhold { from: vec![] })]));
    let echoed = passed_over(&stop(vec![lying(Lie::EchoRows)]));
    assert!(
        echoed.iter().zip(&calm).all(|(echoed, calm)| *echoed > calm + 40),
        "{echoed:?}, {calm:?} without"
    );
    let report = play(vec![lying(Lie::EchoRows)], None);
    assert_eq!(report.sealed_again, 0);
}

#[test]
fn a_lie_to_the_end_of_the_run_is_gone_on_beside() {
    // Whatever the lie, more settles than half of what settles beside who says nothing at all.
    let config = || SimConfig { duration_ms: 3_000, load: 400, ..world(4, 5) };
    let silent = Fault { at_us: 0, for_us: 60_000_000, what: What::Silent { node: LIAR } };
    let silent = Plan { version: PLAN_VERSION, config: config(), faults: vec![silent] };
    let silent = run(silent, &|_| false).unwrap().settled;
    assert!(silent > 400, "{silent} rows");
    for kind in LIES {
        let config = config();
        let plan = Plan { version: PLAN_VERSION, config, faults: Vec::new() }.with_liars(kind).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        assert_eq!(plan.healed(), 0, "{kind}");
        let report = run(plan, &|_| false).unwrap();
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{kind}");
        assert!(report.settled * 2 > silent, "{kind}: {} of {silent} rows", report.settled);
    }
    let calm = Plan { version: PLAN_VERSION, config: world(4, 5), faults: Vec::new() };
    let error = calm.with_liars("white-lie").unwrap_err().to_string();
    assert!(error.contains("white-lie") && error.contains("two-vertices"), "{error}");
}

#[test]
fn drawn_liars_and_forgetful_ones_are_f_together() {
    let kinds = crate::sim::Kinds::read(&["all".into()]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        for nodes in [1, 4, 7, 10] {
            let plan = Plan::draw(world(nodes, seed), &kinds);
            plan.check().unwrap();
            let f = (usize::from(nodes) - 1) / 3;
            assert!(plan.faulty().len() <= f, "n={nodes} seed {seed}");
            let lies = plan.liars();
            assert!(plan.faulty().iter().all(|node| usize::from(*node) >= usize::from(nodes) - f));
            for fault in &plan.faults {
                if let What::Liar { lie, .. } = &fault.what {
                    seen.insert(serde_json::to_value(lie).unwrap()["tells"].to_string());
                }
                let forgets = matches!(&fault.what, What::Amnesia { node, .. } if lies.contains(node));
                assert!(!forgets, "n={nodes} seed {seed}: one cause for each seat");
            }
        }
    }
    assert_eq!(seen.len(), LIES.len(), "{seen:?}");
}
