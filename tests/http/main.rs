//! The HTTP server of a node that runs: every route as it is described, hostile and slow clients, proofs, metrics, blocks as
//! they come.
#![allow(clippy::disallowed_methods, reason = "a server on real sockets is waited for by the real clock")]

#[path = "../common/sockets.rs"]
mod sockets;

mod limits;
mod prometheus;
mod properties;
mod schema;
mod wire;

use serde_json::{Value, json};
use sockets::{ACCOUNTS, Chain, key_of};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use throng::api::http::{Body, HttpLimits, HttpServer, Place, ROUTES, description};
use throng::api::{AccountEvidence, Unproven};
use throng::crypto::public_key;
use throng::net::RunningNode;
use throng::node::NodeConfig;
use throng::types::{AccountNumber, Genesis, Height, Policy};
use throng::wire::client::Submission;
use wire::{get, post, request};

/// Limits that a test does not meet unless it means to.
pub fn wide() -> HttpLimits {
    HttpLimits { requests_per_second: 1 << 20, ..HttpLimits::default() }
}

pub fn serve(node: &RunningNode, limits: HttpLimits) -> HttpServer {
    HttpServer::start(TcpListener::bind("127.0.0.1:0").unwrap(), node.view(), limits).unwrap()
}

/// A chain of one, served over HTTP. The server ends before its node.
pub struct One {
    pub server: HttpServer,
    pub nodes: Vec<RunningNode>,
    pub chain: Chain,
}

impl One {
    pub fn start(limits: HttpLimits) -> One {
        let (chain, nodes) = Chain::start(1, Policy::Quorum);
        One { server: serve(&nodes[0], limits), nodes, chain }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits for an answer that is as it should be.
    pub fn until<T>(&self, path: &str, mut good: impl FnMut(&Value) -> Option<T>) -> T {
        let began = std::time::Instant::now();
        loop {
            let answer = get(self.address(), path);
            if let Some(found) = good(&answer.json()) {
                return found;
            }
            assert!(began.elapsed() < sockets::PATIENCE, "{path}: {answer:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Submits, and waits until the rows are executed.
    pub fn settle(&self, from: u32, nonce: u64) {
        let answer = post(self.address(), body(&self.chain.transfers(from, nonce, 1)).to_string().as_bytes());
        assert_eq!((answer.status, answer.json()), (200, json!({ "accepted": 1, "refused": [] })));
        self.until(&format!("/v1/account/{from}"), |account| (account["nonce"] == nonce).then_some(()));
    }
}

/// Transfers as a document.
pub fn body(submission: &Submission) -> Value {
    let rows = submission.rows();
    throng::api::transfers_document(rows.effects, rows.witnesses)
}

#[test]
fn the_description_names_the_routes_that_are_there_and_no_other() {
    let document = description();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let table: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, table);
    let ids: BTreeSet<_> = ROUTES.iter().map(|route| route.id).collect();
    assert_eq!(ids.len(), ROUTES.len(), "names are distinct");
    for route in &ROUTES {
        let in_path: Vec<_> =
            route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = route.parameters.iter().filter(|parameter| parameter.place == Place::Path);
        let named: Vec<_> = parameters.map(|parameter| parameter.name).collect();
        assert_eq!(in_path, named, "{}", route.path);
    }

    // The router knows each of them, and with no other method.
    let one = One::start(wide());
    for path in ROUTES.iter().map(|route| route.path).collect::<BTreeSet<_>>() {
        let concrete = path.replace("{height}", "1").replace("{key}", &"ab".repeat(32));
        let concrete = concrete.replace("{number}", "1").replace("{account}", "1").replace("{nonce}", "1");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if path.ends_with("stream") && method == "GET" {
                continue;
            }
            let answer = request(one.address(), method, &concrete, "application/json", b"");
            let known = table.contains(&(method.to_owned(), path.to_owned()));
            assert_eq!(answer.status != 405, known, "{method} {concrete}: {answer:?}");
            assert_eq!(answer.header("allow").is_some(), !known, "{method} {concrete}: {answer:?}");
        }
    }
    let nowhere = get(one.address(), "/v2");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.error().contains("/v1/openapi.json"));
}

/// Holds an answer against what is described for a route.
pub fn as_described(document: &Value, path: &str, method: &str, answer: &wire::Answer) {
    let operation = &document["paths"][path][method.to_lowercase()];
    let content = &operation["responses"][answer.status.to_string()]["content"];
    assert!(
        content.is_object(),
        "{method} {path} is answered {}, which is not described: {answer:?}",
        answer.status
    );
    let media = answer.header("content-type").expect("answers have a type");
    let schema = &content[media]["schema"];
    assert!(schema.is_object(), "{method} {path}: {media} is not described");
    if media == "application/json" {
        schema::check(document, schema, &answer.json())
            .unwrap_or_else(|why| panic!("{method} {path}: {why}"));
    }
}

#[test]
fn every_route_answers_as_it_is_described() {
    let one = One::start(wide());
    let document = get(one.address(), "/v1/openapi.json").json();
    assert_eq!(document, description());
    one.settle(3, 1);
    let ask = |route: &str, path: &str, status: u16| {
        let answer = get(one.address(), path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        as_described(&document, route, "GET", &answer);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer
    };
    let status = ask("/status", "/status", 200).json();
    assert_eq!(
        (&status["seat"], &status["seats"], &status["accounts"]),
        (&json!(0), &json!(1), &json!(ACCOUNTS))
    );
    one.until("/health", |health| (health["status"] == "ok").then_some(()));
    ask("/health", "/health", 200);
    ask("/metrics", "/metrics", 200);

    let account = ask("/v1/account/{number}", "/v1/account/3", 200).json();
    assert_eq!((&account["balance"], &account["nonce"]), (&json!(1_000_000 - 4), &json!(1)));
    let key = hex::encode(public_key(&key_of(2, 3)));
    assert_eq!(account["key"], json!(key));
    let by_key = ask("/v1/account/by-key/{key}", &format!("/v1/account/by-key/{}", key.to_uppercase()), 200);
    assert_eq!(by_key.json()["account"], 3);
    ask("/v1/account/by-key/{key}", &format!("/v1/account/by-key/{}", "00".repeat(32)), 404);
    ask("/v1/account/{number}", &format!("/v1/account/{}", ACCOUNTS + 1), 404);
    for bad in ["0", "x", "-1", "16777216", "%ff", "1%20"] {
        ask("/v1/account/{number}", &format!("/v1/account/{bad}"), 400);
    }

    let latest = ask("/v1/block/{height}", "/v1/block/latest", 200).json();
    let height = latest["height"].as_u64().unwrap();
    let again = ask("/v1/block/{height}", &format!("/v1/block/{height}"), 200).json();
    assert_eq!(latest, again);
    assert_eq!(
        ask("/v1/block/{height}", &format!("/v1/block/{}", u64::MAX), 404).json()["error"]
            .as_str()
            .map(|words| words.contains("not here yet")),
        Some(true)
    );
    ask("/v1/block/{height}", "/v1/block/0", 400);

    let transaction = ask("/v1/tx/{account}/{nonce}", "/v1/tx/3/1", 200).json();
    let place = &transaction["places"][0];
    assert_eq!((&place["to"], &place["amount"], &place["fee"]), (&json!(4), &json!(3), &json!(1)));
    let sent = &body(&one.chain.transfers(3, 1, 1))["rows"][0];
    assert_eq!(place["signature"], sent["signature"]);
    let block = get(one.address(), &format!("/v1/block/{}", place["height"])).json();
    assert_eq!(block["settled"][0]["batch"], place["batch"]);
    let unused = ask("/v1/tx/{account}/{nonce}", "/v1/tx/3/2", 404);
    assert_eq!(unused.error(), "account 3 has not used nonce 2 yet");
    ask("/v1/tx/{account}/{nonce}", "/v1/tx/99/1", 404);
    ask("/v1/tx/{account}/{nonce}", "/v1/tx/3/0", 400);
    for bad in ["below=1", "below=x", "below=", "above=3", "below=3&below=3"] {
        ask("/v1/tx/{account}/{nonce}", &format!("/v1/tx/3/1?{bad}"), 400);
    }
    for bad in ["proof=yes", "proof", "prove=none"] {
        ask("/v1/account/{number}", &format!("/v1/account/3?{bad}"), 400);
        ask("/v1/account/by-key/{key}", &format!("/v1/account/by-key/{key}?{bad}"), 400);
    }
    let plain = ask("/v1/account/{number}", "/v1/account/3?proof=none", 200).json();
    assert_eq!((&plain["no_proof"], &plain["nonce"]), (&json!("it was not asked for"), &json!(1)));
    ask("/status", "/status?whatever=1", 200);

    // Each row has its own fate.
    let mut rows = body(&one.chain.transfers(3, 1, 3));
    rows["rows"][1]["amount"] = json!(4);
    let answer = post(one.address(), rows.to_string().as_bytes());
    as_described(&document, "/v1/tx", "POST", &answer);
    let refused = answer.json();
    assert_eq!((answer.status, &refused["accepted"]), (200, &json!(1)));
    let why: Vec<_> =
        refused["refused"].as_array().unwrap().iter().map(|row| (&row["row"], &row["reason"])).collect();
    assert_eq!(why, [(&json!(0), &json!("bad_nonce")), (&json!(1), &json!("bad_signature"))]);
    for (media, body, status) in [
        ("text/plain", "{}", 415),
        ("application/json", "{}", 400),
        ("application/json; charset=utf-8", "", 400),
    ] {
        let answer = request(one.address(), "POST", "/v1/tx", media, body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        as_described(&document, "/v1/tx", "POST", &answer);
    }
    let head = request(one.address(), "HEAD", "/v1/account/3", "text/plain", b"");
    assert!(head.status == 200 && head.body.is_empty());
    assert!(ROUTES.iter().all(|route| route.answers.iter().any(|answer| answer.body != Body::Json("Error"))));
}

#[test]
fn a_transaction_that_settled_long_ago_is_told_of_and_found_by_going_on() {
    let one = One::start(HttpLimits { search_blocks_max: 3, ..wide() });
    let document = description();
    one.settle(3, 1);
    let ask = |more: &str| {
        let answer = get(one.address(), &format!("/v1/tx/3/1{more}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        as_described(&document, "/v1/tx/{account}/{nonce}", "GET", &answer);
        answer.json()
    };
    let place = one.until("/v1/tx/3/1", |found| found["places"].get(0).cloned());
    assert!(ask("")["note"].is_null());
    let height = place["height"].as_u64().unwrap();
    one.until("/status", |status| (status["height"].as_u64()? > height + 6).then_some(()));
    let mut found = ask("");
    let note = found["note"].as_str().expect("it says what that means").to_owned();
    let below = found["below"].as_u64().expect("it goes on");
    let says = format!("settled, in a block below height {below}, older than what was looked through");
    assert!(note.starts_with(&says) && note.ends_with(&format!("go on with ?below={below}")), "{note}");
    assert_eq!((&found["used"], &found["looked_from"]), (&json!(true), &json!(below)));
    assert_eq!(found["looked_to"].as_u64().unwrap(), below + 2, "three blocks a question");
    let mut questions = 1;
    while let Some(below) = found["below"].as_u64() {
        found = ask(&format!("?below={below}"));
        assert_eq!(found["looked_to"].as_u64().unwrap(), below - 1);
        questions += 1;
    }
    assert_eq!((&found["places"][0], &found["note"]), (&place, &Value::Null));
    assert!(questions >= 3);

    // Below its block it is not, and the first block ends the way.
    let mut found = ask(&format!("?below={height}"));
    while let Some(below) = found["below"].as_u64() {
        found = ask(&format!("?below={below}"));
    }
    assert_eq!((&found["looked_from"], &found["places"]), (&json!(1), &json!([])));
    assert!(found["note"].as_str().unwrap().starts_with("settled, in another block; not in blocks 1 to"));

    // A nonce far below the highest: the account does not remember which way it went.
    let passed = get(one.address(), "/v1/tx/3/2");
    assert_eq!((passed.status, passed.error().as_str()), (404, "account 3 has not used nonce 2 yet"));
    let far = post(one.address(), body(&one.chain.transfers(3, 65, 1)).to_string().as_bytes());
    assert_eq!(far.json()["accepted"], 1);
    one.until("/v1/account/3", |account| (account["nonce"] == 65).then_some(()));
    let old = ask("");
    assert!(
        old["used"].is_null() && old["note"].as_str().unwrap().starts_with("settled, or passed over and")
    );
}

#[test]
fn before_the_first_checkpoint_an_account_says_when_a_proof_is_due() {
    let mut genesis = Genesis::clone(&sockets::genesis(1, Policy::Quorum));
    genesis.rules.checkpoint_blocks = 16;
    let (chain, nodes) = Chain::start_on(genesis.into(), NodeConfig::default(), 16 << 20);
    let one = One { server: serve(&nodes[0], wide()), nodes, chain };
    let (document, route) = (description(), "/v1/account/{number}");
    let refused = get(one.address(), "/v1/account/3?proof=required");
    as_described(&document, route, "GET", &refused);
    let says = "no checkpoint is certified yet: ask again when block 16 is certified, the last one here is ";
    assert!(refused.status == 503 && refused.error().starts_with(says), "{refused:?}");
    let again: u64 = refused.header("retry-after").expect("it is said when").parse().unwrap();
    assert!((1..=10).contains(&again), "16 blocks of half a second each at most, and their votes: {again} s");
    // Who takes it without gets it, with the same words.
    let without = get(one.address(), "/v1/account/3");
    as_described(&document, route, "GET", &without);
    assert!(without.status == 200 && without.json()["no_proof"].as_str().unwrap().starts_with(says));
    let proven = one.until("/v1/account/3?proof=required", |account| account.get("proof").cloned());
    let evidence: AccountEvidence = serde_json::from_value(proven).unwrap();
    assert_eq!(evidence.check(&one.chain.genesis, AccountNumber(3)).unwrap().height.0 % 16, 0);
    let asked = get(one.address(), "/v1/account/3?proof=none").json();
    assert!(asked.get("proof").is_none() && asked["no_proof"] == "it was not asked for");
}

/// Blocks, as a listener gets them.
fn blocks(one: &One, count: usize) -> Vec<Value> {
    let mut stream = wire::connect(one.address());
    stream.write_all(b"GET /v1/blocks/stream HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    let data = lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    data.take(count).map(|data| serde_json::from_str(&data).expect("JSON")).collect()
}

#[test]
fn a_listener_gets_every_block_in_order() {
    let one = One::start(wide());
    let document = description();
    let notices = blocks(&one, 4);
    let heights: Vec<u64> = notices.iter().map(|notice| notice["height"].as_u64().unwrap()).collect();
    assert_eq!(heights, (heights[0]..heights[0] + 4).collect::<Vec<_>>());
    for notice in &notices {
        schema::check(&document, &json!({ "$ref": "#/components/schemas/BlockNotice" }), notice).unwrap();
        let block = get(one.address(), &format!("/v1/block/{}", notice["height"])).json();
        assert_eq!(block["hash"], notice["hash"]);
    }
    let One { server, nodes, chain: _chain } = one;
    let mut stream = wire::connect(server.address());
    stream.write_all(b"GET /v1/blocks/stream HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let begun = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.starts_with("data: "));
    assert!(lines.by_ref().any(|line| begun(&line)));
    drop(server);
    assert!(
        lines.any(|line| line.is_ok_and(|line| line.contains("the node is stopping"))),
        "the end is told"
    );
    drop(nodes);
}

/// What a node gives as proof of an account, once it has one.
fn evidence(one: &One, account: u32, least: u64) -> AccountEvidence {
    one.until(&format!("/v1/account/{account}"), |document| {
        assert!(document["proof"].is_object() != document["no_proof"].is_string(), "{document}");
        let evidence: AccountEvidence =
            serde_json::from_value(document.get("proof")?.clone()).expect("a proof");
        (evidence.height.0 >= least).then_some(evidence)
    })
}

#[test]
fn an_account_is_proven_to_whoever_has_the_genesis_and_nothing_else_is() {
    let one = One::start(wide());
    one.settle(5, 1);
    let height = get(one.address(), "/status").json()["height"].as_u64().unwrap();
    let good = evidence(&one, 5, height);
    let genesis = &one.chain.genesis;
    let proven = good.check(genesis, AccountNumber(5)).unwrap();
    assert_eq!((proven.height, proven.votes), (good.height, 1));
    assert_eq!((proven.account.balance.get(), proven.account.nonce_high.get()), (1_000_000 - 4, 1));
    assert_eq!(proven.account.key, public_key(&key_of(2, 5)));

    // Whatever is changed, or meant for another account, another chain or another height, proves nothing.
    assert!(matches!(good.check(genesis, AccountNumber(21)), Err(Unproven::Slice(_))));
    let other = Genesis { name: "another".into(), ..Genesis::clone(genesis) };
    assert!(matches!(good.check(&other, AccountNumber(5)), Err(Unproven::Certificate(_))));
    let parts: [fn(&mut AccountEvidence) -> &mut Vec<u8>; 3] =
        [|it| &mut it.certificate, |it| &mut it.block, |it| &mut it.slice];
    for part in parts {
        let length = part(&mut good.clone()).len();
        for at in (0..length).step_by(7) {
            let mut bad = good.clone();
            part(&mut bad)[at] ^= 1;
            assert!(bad.check(genesis, AccountNumber(5)).is_err(), "byte {at} of {length}");
        }
        let mut bad = good.clone();
        part(&mut bad).pop();
        assert!(bad.check(genesis, AccountNumber(5)).is_err());
    }
    let later = evidence(&one, 5, good.height.0 + 1);
    let mixed = AccountEvidence { block: later.block.clone(), ..good.clone() };
    assert_eq!(mixed.check(genesis, AccountNumber(5)), Err(Unproven::Block));
    assert_eq!(later.check(genesis, AccountNumber(5)).unwrap().account, proven.account);
}

#[test]
fn while_rows_are_executed_a_snapshot_proves_accounts() {
    // A snapshot at every checkpoint, and no checkpoint whose table is still the present one: a row after each.
    let config = NodeConfig { snapshot_after_bytes: 1, ..NodeConfig::default() };
    let (chain, nodes) = Chain::start_with(1, Policy::Quorum, config);
    let one = One { server: serve(&nodes[0], wide()), nodes, chain };
    let view = one.nodes[0].view();
    let (mut nonce, mut from_snapshot) = (0, None);
    let began = std::time::Instant::now();
    while from_snapshot.is_none() {
        assert!(began.elapsed() < sockets::PATIENCE, "no snapshot was of use");
        nonce += 1;
        one.settle(7, nonce);
        let document = get(one.address(), "/v1/account/7").json();
        let found: Option<AccountEvidence> =
            document.get("proof").map(|proof| serde_json::from_value(proof.clone()).unwrap());
        let Some(found) = found else { continue };
        let proven = found.check(&one.chain.genesis, AccountNumber(7)).unwrap();
        assert!(proven.account.nonce_high.get() <= nonce);
        from_snapshot = Some(found.height).filter(|_| proven.account.nonce_high.get() < nonce);
    }
    let height = from_snapshot.unwrap_or(Height(0));
    assert!(view.snapshots().unwrap().iter().any(|snapshot| *snapshot >= height));
    assert_eq!(view.prove_in_snapshot(height, AccountNumber(ACCOUNTS + 1)).unwrap(), None, "no such account");
    assert_eq!(get(one.address(), &format!("/v1/account/{}", ACCOUNTS + 1)).status, 404);
}

#[test]
fn a_node_that_does_not_follow_the_chain_says_why() {
    // At first it follows; then three of four are gone, and there is no quorum and no block.
    let genesis = sockets::genesis(4, Policy::Quorum);
    let (_chain, mut nodes) = Chain::start_on(genesis, NodeConfig::default(), 16 << 20);
    let server = serve(&nodes[0], wide());
    let health = || get(server.address(), "/health");
    while health().status == 503 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    nodes.truncate(1);
    let began = std::time::Instant::now();
    while health().status == 200 {
        assert!(began.elapsed() < sockets::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let unhealthy = health();
    as_described(&description(), "/health", "GET", &unhealthy);
    let why = unhealthy.error();
    assert!(why.starts_with("no block for ") && why.contains("connected to 0 of 4 validators"), "{why}");
}

#[test]
fn the_metrics_pass_a_strict_reader_and_counters_only_grow() {
    let one = One::start(wide());
    let scrape = || {
        let answer = get(one.address(), "/metrics");
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        prometheus::read(std::str::from_utf8(&answer.body).unwrap(), "throng_")
    };
    let before = scrape();
    one.settle(9, 1);
    let blocks = one.until("/status", |status| status["height"].as_u64().filter(|height| *height > 4));
    let after = scrape();
    assert_eq!(before.kinds, after.kinds);
    assert_eq!(before.samples.keys().collect::<Vec<_>>(), after.samples.keys().collect::<Vec<_>>());
    let of = |page: &prometheus::Page, series: &str| page.samples[series];
    for (series, value) in &before.samples {
        let family = series.split('{').next().unwrap();
        if after.kinds[family] == "counter" {
            assert!(after.samples[series] >= *value, "{series} fell");
        }
    }
    let grew = |series: &str| of(&after, series) - of(&before, series);
    for series in [
        "throng_rows_submitted_total{}",
        "throng_rows_admitted_total{}",
        "throng_rows_settled_total{}",
        "throng_rows_ok_total{}",
    ] {
        assert_eq!(grew(series), 1.0, "{series}");
    }
    assert!(grew("throng_http_answers_total{\"class\": \"2xx\"}") >= 3.0);
    assert!(
        grew("throng_stored_bytes_total{}") > 0.0
            && grew("throng_cpu_seconds_total{\"stage\": \"verify\"}") > 0.0
    );
    assert!(of(&after, "throng_height{}") >= blocks as f64);
    assert_eq!(of(&after, "throng_accounts{}"), f64::from(ACCOUNTS));
}
