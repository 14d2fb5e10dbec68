//! Whether every kind of hostile peer came and did what it is there for: an attack that does nothing proves nothing.
//!
//! Counters of nodes are of all kinds together, and several kinds show by the same ones. So a kind counts as seen only if it has
//! something to show of its own as well: who is dropped has been dropped, who is made to wait has asked more than it was answered.

use super::bounds::Bound;
use super::document::{Part, Saw, Seen};
use crate::lab::hostile::{Counts, Kind, Sign, Told, arrival};
use crate::metrics::Dismissal;
use crate::wire::client::Refusal;
use std::time::Duration;

/// How long a connection may take on a busy machine, after the turn of its peer.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// How a crowd of identities is refused.
const CROWD: [Dismissal; 3] = [Dismissal::Full, Dismissal::Rate, Dismissal::Refused];
/// Kinds of whose rows none may be admitted, and why.
const WORTHLESS: [(Kind, &str, &str); 2] = [
    (Kind::Forged, "forged rows admitted", "a signature is checked, whoever sends it"),
    (Kind::NonceGap, "rows far ahead admitted", "no row waits for those before it"),
];

/// What a run of so many peers is judged by of what they did by their own account.
pub(super) fn theirs(duration: Duration, peers: usize, told: &Told) -> Vec<Bound> {
    let of = |kind: Kind| told.kinds.iter().find(|(other, _)| *other == kind).map(|(_, counts)| counts);
    let admitted = |(kind, what, why)| {
        of(kind).map(|counts| Bound::most(what, Some(counts.admitted as f64), 0.0, "", why))
    };
    std::iter::once(absent(duration, peers, told)).chain(WORTHLESS.into_iter().filter_map(admitted)).collect()
}

/// Peers that were not connected even once.
fn absent(duration: Duration, peers: usize, told: &Told) -> Bound {
    const WHAT: &str = "hostile peers that never came";
    let needed = arrival(peers) + CONNECT_MAX;
    if duration < needed {
        let why = format!("not all had their turn: --duration {} is enough", seconds(needed));
        return Bound::unjudged(WHAT, 0.0, "", why);
    }
    let absent = |counts: &Counts| counts.peers.saturating_sub(counts.came);
    let some = told.kinds.iter().filter(|(_, counts)| absent(counts) > 0);
    let some: Vec<String> =
        some.map(|(kind, counts)| format!("{} of {}", absent(counts), kind.name())).collect();
    let count = peers.saturating_sub(told.kinds.iter().map(|(_, counts)| counts.came as usize).sum());
    let why = match (count, some.is_empty()) {
        (0, _) => "all of them were connected".to_owned(),
        (_, true) => "their process told nothing of them".to_owned(),
        (_, false) => format!("never connected: {}", some.join(", ")),
    };
    Bound::most(WHAT, Some(count as f64), 0.0, "", why)
}

/// Kinds of which nothing is seen, although they were there for long enough; and those that were not, by name.
pub(super) fn unseen(
    duration: Duration,
    peers: usize,
    before: &Part,
    during: &Part,
    told: &Told,
) -> Vec<Bound> {
    const WHAT: &str = "kinds that nodes saw nothing of";
    let (Seen::Counted(calm), Seen::Counted(saw)) = (&before.seen, &during.seen) else {
        return vec![Bound::unjudged(WHAT, 0.0, "", "not told over the client port")];
    };
    let shows_by = |kind: Kind| kind.about().shows_after.max(arrival(peers) + CONNECT_MAX);
    let is_due = |kind: Kind| duration >= shows_by(kind);
    let names = |of: &dyn Fn(Kind, &Counts) -> bool| {
        let kinds = told.kinds.iter().filter(|(kind, counts)| of(*kind, counts));
        kinds.map(|(kind, _)| kind.name()).collect::<Vec<_>>()
    };
    let unseen = names(&|kind, counts| is_due(kind) && !shows(kind.about().sign, counts, calm, saw));
    let early = names(&|kind, _| !is_due(kind));
    let mut bounds = Vec::new();
    if early.len() < told.kinds.len() || early.is_empty() {
        let why = match unseen.is_empty() {
            true if early.is_empty() => "each kind is seen for what it is".to_owned(),
            true => "each of the others is seen for what it is".to_owned(),
            false => format!("nothing was seen of {}", unseen.join(", ")),
        };
        bounds.push(Bound::most(WHAT, Some(unseen.len() as f64), 0.0, "", why));
    }
    if !early.is_empty() {
        let needed = told.kinds.iter().map(|(kind, _)| shows_by(*kind)).max().unwrap_or_default();
        let why = format!("{} show later: --duration {} is enough", early.join(", "), seconds(needed));
        bounds.push(Bound::unjudged("kinds that were not there for long enough", 0.0, "", why));
    }
    bounds
}

/// A span as the command line takes it, not shorter than this one.
fn seconds(span: Duration) -> String {
    format!("{:.0}s", span.as_secs_f64().ceil())
}

/// Whether counters show a kind: those of the nodes, and its own.
fn shows(sign: Sign, counts: &Counts, calm: &Saw, saw: &Saw) -> bool {
    let dismissed = |reasons: &[Dismissal]| {
        let more = |reason: &Dismissal| saw.dismissed[*reason as usize] > calm.dismissed[*reason as usize];
        counts.ended > 0 && reasons.iter().any(more)
    };
    let throttled = saw.throttled > calm.throttled && counts.requests > counts.answers;
    let kept = counts.held == counts.peers && counts.ended == 0;
    let came = counts.connected > 0;
    came && match sign {
        Sign::Dismissed(reasons) => dismissed(reasons),
        Sign::Refused(reasons) => reasons
            .iter()
            .any(|reason: &Refusal| saw.refused[reason.place()] > 0 && counts.refused[reason.place()] > 0),
        Sign::Throttled => throttled,
        Sign::Stalled(reasons) => throttled || dismissed(reasons),
        Sign::Accepted => counts.connected > 2 * counts.peers && saw.accepted > 2 * counts.peers,
        // As few as there is room for are served, as observers are.
        Sign::Crowd => kept || dismissed(&CROWD),
        Sign::Kept => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::stress::document::Cpu;

    const LONG: Duration = Duration::from_secs(60);

    /// Nine peers of a kind that came, were dropped and came again.
    fn dropped(kind: Kind) -> (Kind, Counts) {
        let counts = Counts { peers: 9, came: 9, connected: 27, held: 9, ended: 18, ..Counts::default() };
        (kind, counts)
    }

    fn told(kinds: Vec<(Kind, Counts)>) -> Told {
        Told { kinds, ..Told::default() }
    }

    fn part(saw: Saw) -> Part {
        Part::of_target("a part", LONG, Cpu::default(), Seen::Counted(saw))
    }

    /// What nodes saw of somebody silent.
    fn silent() -> Saw {
        let mut saw = Saw::default();
        saw.dismissed[Dismissal::Silent as usize] = 40;
        saw
    }

    /// The names of what is not kept, of what is not judged, and the words of both.
    fn judged(duration: Duration, saw: Saw, told: &Told) -> (Vec<&'static str>, Vec<&'static str>, String) {
        let peers = 9 * told.kinds.len();
        let seen = unseen(duration, peers, &part(Saw::default()), &part(saw), told);
        let bounds = [theirs(duration, peers, told), seen].concat();
        let those = |kept| bounds.iter().filter(move |bound| bound.kept == kept);
        let words = those(Some(false)).chain(those(None)).map(Bound::words).collect::<Vec<_>>().join("; ");
        (
            those(Some(false)).map(|bound| bound.what).collect(),
            those(None).map(|bound| bound.what).collect(),
            words,
        )
    }

    #[test]
    fn a_kind_that_shows_by_the_counters_of_another_is_not_seen() {
        let both = told(vec![dropped(Kind::Idle), dropped(Kind::SlowWrite)]);
        assert_eq!(judged(LONG, silent(), &both), (vec![], vec![], String::new()));

        let nobody = Counts { peers: 9, ..Counts::default() };
        let (broken, _, words) =
            judged(LONG, silent(), &told(vec![dropped(Kind::Idle), (Kind::SlowWrite, nobody)]));
        assert_eq!(broken, ["hostile peers that never came", "kinds that nodes saw nothing of"]);
        assert!(words.contains("never connected: 9 of slow-write"), "{words}");
        assert!(words.contains("nothing was seen of slow-write"), "{words}");

        let kept = Counts { peers: 9, came: 9, connected: 9, held: 9, ..Counts::default() };
        let (broken, ..) =
            judged(LONG, silent(), &told(vec![dropped(Kind::Idle), (Kind::SlowWrite, kept.clone())]));
        assert_eq!(broken, ["kinds that nodes saw nothing of"], "it came, and nobody dropped it");

        let saw = Saw { throttled: 5, ..silent() };
        let asked = |requests, answers| Counts { requests, answers, ..kept.clone() };
        let flood = |counts| told(vec![dropped(Kind::Idle), (Kind::Flood, counts)]);
        assert!(judged(LONG, saw.clone(), &flood(asked(100, 20))).0.is_empty());
        let (broken, ..) = judged(LONG, saw.clone(), &flood(asked(100, 100)));
        assert_eq!(broken, ["kinds that nodes saw nothing of"], "it was answered all that it asked");
        // Who does not read its answers is dropped, or not even read from.
        let slow = |counts| told(vec![dropped(Kind::Idle), (Kind::SlowRead, counts)]);
        assert!(judged(LONG, saw.clone(), &slow(asked(100, 0))).0.is_empty());
        assert_eq!(judged(LONG, saw, &slow(asked(0, 0))).0, ["kinds that nodes saw nothing of"]);
        assert_eq!(judged(LONG, silent(), &slow(asked(100, 0))).0, ["kinds that nodes saw nothing of"]);
    }

    #[test]
    fn one_peer_that_stays_away_is_missed_though_others_come_again_and_again() {
        let mut idle = dropped(Kind::Idle);
        idle.1.came = 8;
        let (broken, _, words) = judged(LONG, silent(), &told(vec![idle]));
        assert_eq!(broken, ["hostile peers that never came"]);
        assert!(words.contains("1 of idle"), "{words}");

        let nothing = theirs(LONG, 9, &Told::default());
        assert_eq!(
            (nothing[0].measured, nothing[0].kept),
            (Some(9.0), Some(false)),
            "nothing was heard of them"
        );
    }

    #[test]
    fn what_a_run_is_too_short_for_is_named_and_not_judged() {
        let short = Duration::from_secs(3);
        let garbage = |saw: &mut Saw| saw.dismissed[Dismissal::Foreign as usize] = 1;
        let mut saw = Saw::default();
        garbage(&mut saw);
        let kinds = told(vec![dropped(Kind::Idle), dropped(Kind::Garbage), dropped(Kind::SlowRead)]);
        let (broken, unjudged, words) = judged(short, saw, &kinds);
        assert_eq!((broken, unjudged), (vec![], vec!["kinds that were not there for long enough"]));
        assert!(words.contains("idle, slow-read show later: --duration 12s is enough"), "{words}");

        let (broken, unjudged, _) = judged(short, Saw::default(), &kinds);
        assert_eq!(broken, ["kinds that nodes saw nothing of"], "garbage shows at once");
        assert_eq!(unjudged, ["kinds that were not there for long enough"]);

        let (broken, unjudged, _) =
            judged(Duration::from_millis(499), Saw::default(), &told(vec![dropped(Kind::Idle)]));
        assert!(broken.is_empty(), "{broken:?}");
        assert_eq!(unjudged, ["hostile peers that never came", "kinds that were not there for long enough"]);
    }

    #[test]
    fn no_row_that_is_worth_nothing_may_be_admitted() {
        for (kind, what) in
            [(Kind::Forged, "forged rows admitted"), (Kind::NonceGap, "rows far ahead admitted")]
        {
            let mut kinds = dropped(kind);
            kinds.1.admitted = 1;
            let (broken, ..) = judged(LONG, Saw::default(), &told(vec![kinds]));
            assert!(broken.contains(&what), "{broken:?}");
        }
        let mut paid = dropped(Kind::Duplicate);
        paid.1.admitted = 1;
        assert_eq!(
            judged(LONG, Saw::default(), &told(vec![paid])).0,
            ["kinds that nodes saw nothing of"],
            "once it is a good row"
        );
    }
}
