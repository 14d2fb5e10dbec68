//! Links with a delay, a rate, and resets, over real sockets and with the time handed in.

use super::*;
use crate::net::config::{REDIAL_MAX, ShapeConfig};
use crate::types::Round;

fn shaped(shape: ShapeConfig) -> (Side, Side) {
    let bound = [Side::bind(), Side::bind()];
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    let [first, second] = bound;
    let config = NetConfig { shape, ..NetConfig::default() };
    let a = Side::with(identity(1, 0, 2), first, &peers, &config);
    let b = Side::new(identity(1, 1, 2), second, &peers, 100);
    (a, b)
}

/// Turns both for a while; the messages that came to the second.
fn pass(a: &mut Side, b: &mut Side) -> Vec<Message> {
    let mut came = Vec::new();
    for _ in 0..8 {
        a.turn();
        for event in b.turn() {
            match event {
                Event::Message { message, .. } => came.push(message),
                other => panic!("{other:?}"),
            }
        }
    }
    came
}

fn frontier(number: u64) -> Message {
    Message::Frontier { began: Round(number), rounds: vec![Round(number)] }
}

#[test]
fn a_message_on_a_long_link_comes_when_its_delay_is_over() {
    let (mut a, mut b) = shaped(ShapeConfig { delay_ms: 40, ..ShapeConfig::default() });
    connect(&mut a, &mut b);
    a.broadcast(&frontier(1));
    a.now = a.now + Duration::from_millis(39);
    a.send(Seat(1), &frontier(2));
    assert_eq!(pass(&mut a, &mut b), []);
    assert!(a.sockets.deadline(a.now) <= a.now + Duration::from_millis(1), "it wakes in time");
    a.now = a.now + Duration::from_millis(1);
    assert_eq!(pass(&mut a, &mut b), [frontier(1)]);
    a.now = a.now + Duration::from_millis(39);
    assert_eq!(pass(&mut a, &mut b), [frontier(2)]);
    // The other direction is the other node's to shape.
    b.send(Seat(0), &frontier(3));
    b.turn();
    a.until(|event| matches!(event, Event::Message { .. }));
}

#[test]
fn a_narrow_link_takes_its_rate_and_what_is_urgent_overtakes() {
    let rate = 4 << 20;
    let (mut a, mut b) = shaped(ShapeConfig { bytes_per_second: rate, ..ShapeConfig::default() });
    connect(&mut a, &mut b);
    let sent = |side: &Side| Metrics::read(&side.metrics.bytes_sent);
    let before = sent(&a);
    let batches = 10;
    (1..=batches).for_each(|number| a.send(Seat(1), &batch(number, 2000)));
    let mut came = pass(&mut a, &mut b);
    a.send(Seat(1), &frontier(1));
    let start = a.now;
    while came.len() <= batches as usize {
        a.now = a.now + Duration::from_millis(5);
        came.extend(pass(&mut a, &mut b));
        let allowed = rate * a.now.since(start).as_millis() as u64 / 1000;
        // A burst, and one write beyond it.
        assert!(sent(&a) - before <= allowed + rate / 20, "{} of {allowed}", sent(&a) - before);
        assert!(a.now.since(start) < Duration::from_secs(30), "{} came", came.len());
    }
    let bytes = sent(&a) - before;
    let least = Duration::from_millis(bytes * 1000 / rate).mul_f64(0.9);
    assert!(a.now.since(start) >= least, "{bytes} bytes in {:?}", a.now.since(start));
    let place = came.iter().position(|message| *message == frontier(1)).unwrap();
    assert!(place < 5, "it came after {place} batches");
}

#[test]
fn a_connection_that_is_reset_comes_back() {
    let (mut a, mut b) = shaped(ShapeConfig { reset_after_s: 5, ..ShapeConfig::default() });
    let mut resets = 0;
    for _ in 0..TURNS_MAX {
        a.now = a.now + REDIAL_MAX / 4;
        let gone = |event: &Event| matches!(event, Event::Closed(_));
        b.turn();
        resets += a.turn().iter().filter(|event| gone(event)).count();
        if resets == 5 {
            break;
        }
    }
    assert_eq!(resets, 5);
    for _ in 0..TURNS_MAX {
        a.now = a.now + Duration::from_millis(100);
        a.turn();
        b.turn();
        if a.sockets.peers() == 1 && b.sockets.peers() == 1 {
            break;
        }
    }
    assert_eq!((a.dropped(), b.dropped()), (0, 0), "it is nobody's fault");
}
