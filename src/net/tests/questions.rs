//! Questions of clients beyond what is answered a second.

use super::*;
use crate::net::config::{QUESTIONS_BURST, QUESTIONS_TOGETHER};

#[test]
fn questions_have_a_rate_and_who_asks_for_the_first_time_does_not_wait_for_a_flood() {
    let config = NetConfig { client_questions_per_second: 1000, ..NetConfig::default() };
    let mut side = Side::with(identity(1, 0, 1), Side::bind(), &["127.0.0.1:1".parse().unwrap()], &config);
    let mut flood = Raw::connect(side.addresses[1]);
    flood.ask(&Request::Hello);
    flood.send(&frame_header(4, 0).repeat(1000));
    let asked = |events: &[Event]| {
        let question = |event: &&Event| matches!(event, Event::Request { request: Request::Status, .. });
        events.iter().filter(question).count()
    };
    let mut events = side.until_it(|side| Metrics::read(&side.metrics.throttled) > 0);
    (0..20).for_each(|_| events.extend(side.turn()));
    let burst = QUESTIONS_BURST.as_millis() as usize + 1;
    assert_eq!(asked(&events), burst, "what comes at once, and the one that is ahead");
    let mut honest = Raw::connect(side.addresses[1]);
    honest.ask(&Request::Hello);
    honest.ask(&Request::Status);
    side.until(|event| matches!(event, Event::Request { request: Request::Status, .. }));
    let mut later = Vec::new();
    for _ in 0..100 {
        side.now = side.now + Duration::from_millis(10);
        later.extend(side.turn());
    }
    assert!((900..=1000).contains(&(asked(&later) + burst)), "{}", asked(&later));
    assert_eq!((side.dropped(), side.sockets.clients), (0, 2), "nothing is held against it");
}

#[test]
fn who_asks_and_goes_again_and_again_leaves_nothing_for_others_to_wait_for() {
    // Of an address that has limits few questions of newcomers are answered ahead of the rate; of this machine all are.
    for limit_local in [true, false] {
        let config = NetConfig { client_questions_per_second: 1000, limit_local, ..NetConfig::default() };
        let config = NetConfig { client_calls_per_second: 1000, ..config };
        let nowhere: [SocketAddr; 1] = ["127.0.0.1:1".parse().unwrap()];
        let mut side = Side::with(identity(1, 0, 1), Side::bind(), &nowhere, &config);
        let question = |event: &Event| matches!(event, Event::Request { request: Request::Status, .. });
        let mut answered = 0;
        for _ in 0..500 {
            let mut caller = Raw::connect(side.addresses[1]);
            caller.ask(&Request::Hello);
            caller.send(&frame_header(4, 0).repeat(16));
            let events = side.until(|event| matches!(event, Event::Request { request: Request::Hello, .. }));
            answered += events.iter().filter(|event| question(event)).count();
            drop(caller);
            let events = side.until_it(|side| side.sockets.clients == 0);
            answered += events.iter().filter(|event| question(event)).count();
        }
        let most = QUESTIONS_BURST.as_millis() as usize + 1 + 2 * QUESTIONS_TOGETHER as usize;
        assert!(!limit_local || answered <= most, "{answered} were answered");
        let mut honest = Raw::connect(side.addresses[1]);
        honest.ask(&Request::Hello);
        honest.ask(&Request::Status);
        honest.ask(&ports::submission(10));
        let mut events = side.until_it(|side| side.sockets.clients == 1);
        (0..20).for_each(|_| events.extend(side.turn()));
        side.now = side.now + Duration::from_secs(2);
        (0..20).for_each(|_| events.extend(side.turn()));
        let submitted =
            |event: &Event| matches!(event, Event::Request { request: Request::Submit { .. }, .. });
        assert!(events.iter().any(question) && events.iter().any(submitted), "{events:?}");
    }
}

#[test]
fn who_waits_with_a_question_has_its_rows_read_that_come_before_it() {
    let config = NetConfig { client_questions_per_second: 1000, ..NetConfig::default() };
    let mut side = Side::with(identity(1, 0, 1), Side::bind(), &["127.0.0.1:1".parse().unwrap()], &config);
    let mut client = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    client.send(&frame_header(4, 0).repeat(500));
    side.until_it(|side| Metrics::read(&side.metrics.throttled) > 0);
    // What it has asked is worked off at the rate, and its rows go in as soon as they are next.
    client.ask(&ports::submission(10));
    client.send(&frame_header(4, 0).repeat(500));
    let mut events = Vec::new();
    for _ in 0..45 {
        side.now = side.now + Duration::from_millis(10);
        (0..3).for_each(|_| events.extend(side.turn()));
    }
    let is_submit = |event: &Event| matches!(event, Event::Request { request: Request::Submit { .. }, .. });
    let place = events.iter().position(is_submit).expect("its rows were read");
    assert!((390..=400).contains(&place), "behind what it had asked before: {place}");
    assert!(events.len() < 550, "and what it asks after them waits: {}", events.len());
}
