//! A client that makes its requests from the description, as it is and spoiled: the server says nothing else than what is
//! described, and never that it has failed.

use super::schema::{Dice, check, resolve, sample, spoil};
use super::{One, as_described, body, wide, wire};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// A request that was made from the description.
#[derive(Debug)]
struct Made {
    route: String,
    method: String,
    path: String,
    body: Option<Vec<u8>>,
    /// Whether nothing of it was spoiled.
    whole: bool,
}

/// Text as a part of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn odd(dice: &mut Dice) -> String {
    let odds = [
        "0",
        "-1",
        "00",
        "1e3",
        "latest",
        "LATEST",
        "é",
        "\0",
        "..",
        "a/b",
        "{number}",
        "?",
        "18446744073709551616",
        "%",
    ];
    match dice.below(3) {
        0 => (0..1 + dice.below(40)).map(|_| char::from(32 + dice.below(95) as u8)).collect(),
        1 => (0..1 + dice.below(80)).map(|_| char::from(b'0' + dice.below(10) as u8)).collect(),
        _ => odds[dice.below(odds.len() as u64) as usize].to_owned(),
    }
}

/// Draws a request; `signed` rows are used now and then, so that some are admitted.
fn make(document: &Value, signed: &Value, seed: u64) -> Made {
    let mut dice = Dice(seed);
    let operations: Vec<(&String, &String, &Value)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().expect("methods").iter().map(move |(method, it)| (path, method, it))
        })
        .filter(|(path, ..)| !path.ends_with("/stream"))
        .collect();
    let (route, method, operation) = operations[dice.below(operations.len() as u64) as usize];
    let (mut path, mut query, mut whole) = (route.clone(), Vec::new(), true);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let optional = parameter["in"] == "query";
        assert!(optional != (parameter["required"] == true), "{parameter}");
        if optional && dice.below(2) == 0 {
            continue;
        }
        let text = if dice.below(3) == 0 {
            let text = odd(&mut dice);
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u64>().ok().filter(|_| digits);
            let read = number.map_or_else(|| json!(text), |number| json!(number));
            whole &= check(document, &parameter["schema"], &read).is_ok();
            text
        } else {
            let value = sample(document, &parameter["schema"], &mut dice);
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        let (name, text) = (parameter["name"].as_str().expect("a name"), encoded(&text));
        match optional {
            true => query.push(format!("{name}={text}")),
            false => path = path.replace(&format!("{{{name}}}"), &text),
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let schema = operation.pointer("/requestBody/content/application~1json/schema");
    let body = schema.map(|schema| {
        let mut body = if dice.below(3) == 0 { signed.clone() } else { sample(document, schema, &mut dice) };
        if dice.below(2) == 0 {
            spoil(&mut body, &mut dice);
        }
        whole &= check(document, schema, &body).is_ok();
        let mut bytes = body.to_string().into_bytes();
        if dice.below(6) == 0 {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] = bytes[at].wrapping_add(1 + dice.below(255) as u8);
            let read = serde_json::from_slice(&bytes);
            whole &= read.is_ok_and(|read: Value| check(document, resolve(document, schema), &read).is_ok());
        }
        bytes
    });
    Made { route: route.clone(), method: method.to_uppercase(), path, body, whole }
}

#[test]
fn requests_made_from_the_description_are_answered_as_described_and_never_fail() {
    let one = One::start(wide());
    one.settle(2, 1);
    let document = wire::get(one.address(), "/v1/openapi.json").json();
    let signed = body(&one.chain.transfers(11, 1, 3));
    one.until("/health", |health| (health["status"] == "ok").then_some(()));
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&any::<u64>(), |seed| {
        let made = make(&document, &signed, seed);
        let body = made.body.as_deref().unwrap_or_default();
        let answer = wire::request(one.address(), &made.method, &made.path, "application/json", body);
        // A proof that has to be there may be due only.
        let due = answer.status == 503 && made.path.ends_with("?proof=required");
        prop_assert!(answer.status < 500 || due, "{made:?}: {answer:?}");
        prop_assert!(!(made.whole && answer.status == 400), "{made:?}: {answer:?}");
        prop_assert!(made.whole || matches!(answer.status, 400 | 404), "{made:?}: {answer:?}");
        as_described(&document, &made.route, &made.method, &answer);
        Ok(())
    });
    result.unwrap();
    // The draw reaches what it is for.
    let mut dice = Dice(1);
    for _ in 0..200 {
        let made = make(&document, &signed, dice.below(u64::MAX));
        let body = made.body.as_deref().unwrap_or_default();
        let answer = wire::request(one.address(), &made.method, &made.path, "application/json", body);
        *statuses.entry(answer.status).or_default() += 1;
    }
    assert!([200, 400, 404].iter().all(|status| statuses.contains_key(status)), "{statuses:?}");
    one.until("/health", |health| (health["status"] == "ok").then_some(()));
    assert!(one.nodes[0].failure().is_none());
}

#[test]
fn bytes_that_are_no_request_end_in_a_refusal_or_in_nothing() {
    let one = One::start(wide());
    let good = b"GET /v1/account/1 HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n".to_vec();
    let drawn = (
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
    );
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&drawn, |(changes, cut)| {
            let mut bytes = good.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - cut.index(4));
            let mut stream = wire::connect(one.address());
            use std::io::Write;
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // Of two, if a byte made an end of the request in its midst.
            for answer in wire::parse_all(&wire::read_all(&mut stream)) {
                prop_assert!((200..500).contains(&answer.status), "{bytes:?}: {answer:?}");
                let document = answer.json();
                let refused = answer.status >= 400;
                prop_assert!(document["error"].is_string() == refused, "{bytes:?}: {answer:?}");
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(wire::get(one.address(), "/v1/account/1").status, 200);
}

#[test]
fn what_follows_the_end_of_a_request_is_another_one_with_an_answer_of_its_own() {
    let one = One::start(wide());
    let said = |bytes: &[u8]| {
        let mut stream = wire::connect(one.address());
        use std::io::Write;
        stream.write_all(bytes).expect("it is read");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        let all = wire::parse_all(&wire::read_all(&mut stream));
        all.into_iter().map(|answer| answer.status).collect::<Vec<u16>>()
    };
    let request = "GET /v1/account/1 HTTP/1.1\r\nhost: node\r\n\r\n";
    assert_eq!(said(request.repeat(3).as_bytes()), [200, 200, 200]);
    // A line that would be a header, and the beginning of a request, are none.
    assert_eq!(said(format!("{request}connection: close\r\n\r\n").as_bytes()), [200, 400]);
    assert_eq!(said(format!("{request}GET").as_bytes()), [200, 400]);
}
