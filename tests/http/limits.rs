//! What slow, large and many requests meet.

use super::sockets::Chain;
use super::{One, body, serve, wide, wire};
use serde_json::json;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use throng::api::http::HttpLimits;
use throng::net::{NetConfig, NodeSetup, RunningNode};
use throng::types::{Policy, Seat};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn what_is_too_large_is_refused() {
    let one = One::start(wide());
    let long = format!("GET /{} HTTP/1.1\r\nhost: node\r\n\r\n", "x".repeat(20 << 10));
    let refused = wire::say(one.address(), long.as_bytes()).expect("an answer");
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (431, "the head of a request has at most 16384 bytes and 64 headers")
    );
    assert_eq!(refused.header("connection"), Some("close"));
    let many: String = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect();
    let refused = wire::say(one.address(), format!("GET /health HTTP/1.1\r\n{many}\r\n").as_bytes());
    let refused = refused.expect("an answer");
    assert_eq!((refused.status, refused.error().contains("64 headers")), (431, true));

    let large = vec![b' '; (512 << 10) + 1];
    let refused = wire::post(one.address(), &large);
    assert_eq!((refused.status, refused.error().contains("at most 524288 bytes")), (413, true));
    let head = "POST /v1/tx HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n";
    let chunks: String = (0..9).map(|_| format!("10000\r\n{}\r\n", " ".repeat(1 << 16))).collect();
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    assert_eq!(wire::say(one.address(), chunked.as_bytes()).expect("an answer").status, 413);
    let rows = body(&one.chain.transfers(1, 1, 60));
    assert_eq!(wire::post(one.address(), rows.to_string().as_bytes()).json()["accepted"], 60);
}

/// Everything on a connection after these bytes, and how often an answer begins in it.
fn answers(server: std::net::SocketAddr, bytes: &[u8]) -> (usize, Vec<u8>) {
    let mut stream = wire::connect(server);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let all = wire::read_all(&mut stream);
    (all.windows(9).filter(|window| window == b"HTTP/1.1 ").count(), all)
}

#[test]
fn every_refusal_has_a_body_that_says_what_is_wrong() {
    let one = One::start(wide());
    for (head, status, says) in [
        ("GET\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("GET /health\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("GET /health HTTP/3.0\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("GET /health HTTP/1.1\r\nno header\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("G\0T /health HTTP/1.1\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("GET http://[ HTTP/1.1\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("POST /v1/tx HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not one of HTTP/1.1"),
        ("\u{16}\u{3}\u{1}\u{2}", 400, "not one of HTTP/1.1"),
        ("GET /health HTTP/1.1\r\nhost: no", 400, "ended within the head"),
        ("OPTIONS * HTTP/1.1\r\nhost: node\r\n\r\n", 404, "no such path"),
        ("CONNECT node:1 HTTP/1.1\r\nhost: node\r\n\r\n", 404, "no such path"),
        ("GET http://node/nowhere HTTP/1.1\r\nhost: node\r\n\r\n", 404, "no such path"),
        ("DELETE /status HTTP/1.0\r\n\r\n", 405, "does not take this method"),
    ] {
        let (count, all) = answers(one.address(), head.as_bytes());
        let answer = wire::parse(&all).unwrap_or_else(|| panic!("{head:?} has no answer"));
        assert_eq!((answer.status, count <= 1), (status, true), "{head:?}: {answer:?}");
        assert!(answer.error().contains(says), "{head:?}: {answer:?}");
    }
    // What was answered before is answered, and nothing is said twice; an end between two requests is none to talk of.
    let good = "GET /v1/account/1 HTTP/1.1\r\nhost: node\r\n\r\n";
    let (count, all) = answers(one.address(), format!("{good}{good}GET\r\n\r\n").as_bytes());
    let all = String::from_utf8(all).unwrap();
    assert!(count == 3 && all.ends_with("headers `name: value`\"}"), "{all}");
    // Also to who closes its side while the answer is looked up.
    for _ in 0..20 {
        let (count, all) = answers(one.address(), good.as_bytes());
        assert_eq!((count, wire::parse(&all).map(|answer| answer.status)), (1, Some(200)));
    }
    assert_eq!(answers(one.address(), b"").0, 0);
}

#[test]
fn what_is_too_slow_ends() {
    let limits = HttpLimits { head_deadline: SHORT, body_deadline: SHORT, stall_max: SHORT, ..wide() };
    let one = One::start(limits);
    // A head byte by byte, and a connection that rests.
    for begins in ["GET /health HTTP/1.1\r\nhost: no", "", "GET /health HTTP/1.1\r\nhost: node\r\n\r\n"] {
        let mut stream = wire::connect(one.address());
        stream.write_all(begins.as_bytes()).unwrap();
        let all = wire::read_all(&mut stream);
        let answer = wire::parse(&all);
        match begins {
            "" => assert!(answer.is_none(), "who says nothing hears nothing"),
            begins if begins.ends_with("\r\n\r\n") => {
                let answered = all.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
                assert_eq!(
                    (answered, answer.expect("an answer").header("content-type")),
                    (1, Some("application/json"))
                );
            }
            _ => {
                let refused = answer.expect("a refusal");
                let says = "the head of the request did not come in time";
                assert_eq!((refused.status, refused.error().as_str()), (408, says));
            }
        }
    }
    let slow =
        b"POST /v1/tx HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let refused = wire::say(one.address(), slow).expect("an answer");
    assert_eq!((refused.status, refused.error().as_str()), (408, "the body did not come in time"));

    // Who asks on and on and reads nothing is let go: its socket takes no more, and what is written to it fails.
    let mut stream = wire::connect(one.address());
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let question = b"GET /v1/openapi.json HTTP/1.1\r\nhost: node\r\n\r\n".repeat(64);
    let began = Instant::now();
    let ended = loop {
        match stream.write_all(&question) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => break error,
        }
        assert!(began.elapsed() < super::sockets::PATIENCE, "it is served for ever");
    };
    assert!(
        matches!(ended.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "{ended}"
    );
    assert_eq!(wire::get(one.address(), "/v1/account/1").status, 200);
}

#[test]
fn an_address_that_asks_too_much_waits_and_others_do_not_pay_for_it() {
    let one = One::start(HttpLimits { requests_per_second: 2, ..HttpLimits::default() });
    let statuses: Vec<u16> = (0..30).map(|_| wire::get(one.address(), "/v1/account/1").status).collect();
    assert!(statuses[..20].iter().all(|status| *status == 200), "{statuses:?}");
    let refused = (0..10).map(|_| wire::get(one.address(), "/health")).find(|answer| answer.status == 429);
    let refused = refused.expect("the allowance is used up");
    assert!(refused.error().contains("slow down") && refused.header("retry-after") == Some("1"));

    // A transaction costs as much as twenty accounts.
    let other = serve(&one.nodes[0], HttpLimits { requests_per_second: 3, ..HttpLimits::default() });
    let key = throng::crypto::public_key(&super::key_of(2, 1));
    let by_key = format!("/v1/account/by-key/{}", hex::encode(key));
    assert_eq!(wire::get(other.address(), &by_key).status, 200);
    let rows = body(&one.chain.transfers(1, 1, 1));
    assert_eq!(wire::post(other.address(), rows.to_string().as_bytes()).status, 200);
    let view = one.nodes[0].view();
    let began = Instant::now();
    while view.account(throng::types::AccountNumber(1)).is_some_and(|account| account.accepts(1)) {
        assert!(began.elapsed() < super::sockets::PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    let found = (0..5).map(|_| wire::get(other.address(), "/v1/tx/1/1").status).collect::<Vec<_>>();
    assert!(found.contains(&429) && !found.iter().any(|status| *status >= 500), "{found:?}");
}

#[test]
fn there_are_so_many_connections_and_listeners() {
    let limits = HttpLimits { connections_max: 3, listeners_max: 2, ..wide() };
    let one = One::start(limits);
    let question = b"GET /v1/blocks/stream HTTP/1.1\r\nhost: node\r\n\r\n";
    let mut listeners: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = wire::connect(one.address());
            stream.write_all(question).unwrap();
            let mut first = [0; 15];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200 OK");
            stream
        })
        .collect();
    let refused = wire::get(one.address(), "/v1/blocks/stream");
    assert_eq!((refused.status, refused.error().contains("as many listen")), (503, true));
    let mut third = wire::connect(one.address());
    third.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let began = Instant::now();
    let refused = loop {
        // The third is counted when the server has accepted it.
        let answer = wire::get(one.address(), "/status");
        if answer.status == 503 && answer.error().contains("too many connections") {
            break answer;
        }
        assert!(began.elapsed() < super::sockets::PATIENCE);
    };
    assert_eq!(refused.header("connection"), Some("close"));
    let health = wire::get(one.address(), "/health");
    assert!(health.json()["height"].is_u64(), "who asks how the node is hears of the node: {health:?}");
    listeners.clear();
    drop(third);
    let served = || wire::get(one.address(), "/v1/account/1").status == 200;
    while !served() {
        assert!(began.elapsed() < super::sockets::PATIENCE, "who leaves makes room");
    }
}

/// A connection from another address of this machine.
#[cfg(target_os = "linux")]
fn connect_from(last: u8, server: std::net::SocketAddr) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = std::net::TcpStream::from(socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    bind(&stream, &std::net::SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    connect(&stream, &server).unwrap();
    stream.set_read_timeout(Some(super::sockets::PATIENCE)).unwrap();
    stream
}

#[cfg(target_os = "linux")]
#[test]
fn one_address_takes_neither_all_listeners_nor_all_connections() {
    let one = One::start(HttpLimits { requests_per_second: 1 << 20, ..HttpLimits::default() });
    // The first line of the answer, on a connection that stays.
    let listen = |last| {
        let mut stream = connect_from(last, one.address());
        stream.write_all(b"GET /v1/blocks/stream HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (String::from_utf8(first.to_vec()).unwrap(), stream)
    };
    let listeners: Vec<_> = (0..9).map(|_| listen(2)).collect();
    let of = |status: &str| listeners.iter().filter(|(first, _)| first.ends_with(status)).count();
    assert_eq!((of("200"), of("429")), (8, 1));
    assert_eq!(listen(3).0, "HTTP/1.1 200", "others listen");

    // Four addresses take what they can get, and it is not all.
    let greedy: Vec<_> = (4..8).flat_map(|last| (0..64).map(move |_| last)).collect();
    let taken: Vec<_> = greedy.into_iter().map(|last| connect_from(last, one.address())).collect();
    let ask = |last, path: &str| {
        let mut stream = connect_from(last, one.address());
        let head = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        wire::parse(&wire::read_all(&mut stream)).map(|answer| answer.status)
    };
    assert_eq!(ask(9, "/v1/account/1"), Some(200), "who comes from elsewhere is served");
    assert_ne!(ask(9, "/health"), None);
    assert_ne!(ask(4, "/v1/account/1"), Some(200), "and they themselves have enough");
    drop(taken);
}

#[test]
fn who_submits_over_http_shares_no_allowance_with_all_others_who_do() {
    let (chain, mut nodes) = Chain::start(1, Policy::Quorum);
    nodes.pop().expect("there is one").stop().unwrap();
    // One call a second of an address, some more where a validator lives as here, and those of a few seconds saved up. Loopback
    // stands for the address of a machine.
    let listener = std::net::TcpListener::bind(chain.peers[0]).unwrap();
    let strict = NetConfig { limit_local: true, client_calls_per_second: 1, ..NetConfig::default() };
    let new = chain.setup(Seat(0), &chain.path(0), listener);
    let setup = NodeSetup { net: strict, peers: chain.peers.clone(), ..new };
    let node = RunningNode::start(setup).unwrap();
    let server = serve(&node, wide());
    let rows = (1..=5).flat_map(|account| (1..=40).map(move |nonce| (account, nonce)));
    let refused = rows.filter(|(account, nonce)| {
        let rows = body(&chain.transfers(*account, *nonce, 1)).to_string();
        wire::post(server.address(), rows.as_bytes()).status != 200
    });
    assert_eq!(refused.count(), 0);
    // Nobody else from there is spared.
    let hello = throng::wire::client::Request::Hello.frame();
    let called = (0..300).filter(|_| {
        let mut stream = wire::connect(node.client_address());
        stream.write_all(&hello).is_ok() && stream.read(&mut [0; 64]).is_ok_and(|count| count > 0)
    });
    assert!((1..300).contains(&called.count()));
}

#[test]
fn a_node_that_is_gone_is_told_as_not_ready() {
    let One { server, mut nodes, chain: _chain } = One::start(wide());
    nodes.pop().expect("there is one").stop().unwrap();
    let status = wire::get(server.address(), "/status");
    assert_eq!((status.status, status.error().contains("client port")), (503, true));
    let rows = json!({ "rows": [{ "kind": "transfer", "from": 1, "to": 2, "amount": 1, "nonce": 1, "fee": 1, "signature": "00".repeat(64) }] });
    assert_eq!(wire::post(server.address(), rows.to_string().as_bytes()).status, 503);
    assert_eq!(wire::get(server.address(), "/v1/account/1").status, 200, "what was there stays");
}
