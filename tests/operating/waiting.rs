//! Commands that wait for a node: an interrupt ends them at once, with how far it is; a busy node does not.
#![allow(clippy::disallowed_methods, reason = "processes are waited for by the real clock")]

use super::{Chain, bad, good, text};
use crate::command::{Running, ports};
use crate::wire;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Half of a chain of two: nothing is ever settled there. It serves HTTP.
fn half_a_chain(chain: &Chain) -> (Running, SocketAddr) {
    let http = format!("127.0.0.1:{}", ports(1)[0]);
    let flags = [chain.flags(0), vec!["--http".to_owned(), http.clone()]].concat();
    (Running::start(&flags, "clients"), http.parse().expect("an address"))
}

fn begin(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test")
}

/// Interrupts it; exit status, and what it said on standard output and on standard error. It must end soon.
fn interrupt(child: Child) -> (Option<i32>, String, String) {
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
    let output = child.wait_with_output().expect("it ended");
    assert!(began.elapsed() < Duration::from_secs(20), "it went on waiting");
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), said(output.stdout), said(output.stderr))
}

fn until(what: &str, mut good: impl FnMut() -> bool) {
    let began = Instant::now();
    while !good() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_send_says_how_far_it_is() {
    let chain = Chain::new(2);
    let (_node, http) = half_a_chain(&chain);
    let (node, keys) = (chain.node(0), chain.path("accounts.toml"));
    let send = ["send", "--node", &node, "--keys", text(&keys), "--timeout", "120s"];
    let send = [&send[..], &["--from", "1", "--to", "2", "--amount", "5", "--count", "3"]].concat();
    let child = begin(&send);
    until("its rows are admitted", || {
        let page = String::from_utf8(wire::get(http, "/metrics").body).expect("text");
        page.contains("\nthrong_rows_admitted_total 3\n")
    });
    let (status, said, complaint) = interrupt(child);
    assert_eq!(status, Some(130), "{said} {complaint}");
    assert_eq!(
        said,
        "interrupted: accepted nonces 1 to 3, 0 of 3 settled so far: `throng account 1` tells later\n"
    );
}

#[test]
fn an_interrupted_wait_for_a_proof_ends() {
    let chain = Chain::new(2);
    let (_node, http) = half_a_chain(&chain);
    let (genesis, http) = (chain.path("genesis"), http.to_string());
    let prove = ["account", "2", "--prove", "--genesis", text(&genesis), "--timeout", "120s", "--http"];
    let (status, _, complaint) = {
        let child = begin(&[&prove[..], &[&http]].concat());
        // Whether it has asked yet or not, the end is the same.
        std::thread::sleep(Duration::from_secs(1));
        interrupt(child)
    };
    assert_eq!(status, Some(130), "{complaint}");
    assert!(complaint.contains("interrupted: there is no proof yet"), "{complaint}");

    // A server that takes the question and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = mute.local_addr().expect("its address").to_string();
    let child = begin(&[&prove[..], &[&address]].concat());
    let (_asked, _) = mute.accept().expect("it asks");
    let (status, _, complaint) = interrupt(child);
    assert_eq!(status, Some(130), "{complaint}");
}

#[test]
fn a_node_that_is_busy_for_a_moment_is_asked_again_for_a_proof() {
    let chain = Chain::new(1);
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("its address").to_string();
    let answers = [
        ("503 Service Unavailable", "{\"error\":\"there are too many connections: try again\"}".to_owned()),
        ("429 Too Many Requests", "{\"error\":\"slow down\"}".to_owned()),
        ("200 OK", format!("{{\"chain\":\"{}\"}}", "ab".repeat(32))),
    ];
    let serving = std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = server.accept().expect("asked");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).expect("a head");
                asked.extend_from_slice(&bytes[..count]);
            }
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).expect("answered");
        }
        server
    });
    let genesis = chain.path("genesis");
    let prove = ["account", "2", "--prove", "--genesis", text(&genesis), "--http", &address, "--timeout"];
    bad(2, "but the genesis is of chain", &[&prove[..], &["60s"]].concat());
    // Where it stays so, time is up in the end.
    let server = serving.join().expect("all were asked for");
    let busy = std::thread::spawn(move || {
        let body = "{\"error\":\"the disk is busy\"}";
        for stream in server.incoming().take(2) {
            let mut stream = stream.expect("asked");
            let _ = stream.read(&mut [0; 4096]).expect("a head");
            let head =
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).expect("answered");
        }
    });
    bad(1, "no proof within 1.5s: the disk is busy", &[&prove[..], &["1500ms"]].concat());
    busy.join().expect("it asked twice");
}

#[test]
fn a_submission_that_is_refused_in_part_says_what_was_accepted() {
    let chain = Chain::new(1);
    let _node = chain.start(0);
    let (node, keys) = (chain.node(0), chain.path("accounts.toml"));
    let send = ["send", "--node", &node, "--keys", text(&keys), "--from", "1", "--to", "2", "--amount", "1"];
    bad(
        1,
        "of nonce 65 was refused: the nonce was used, or lies too far from the highest used, and 1 more; \
         62 were accepted and settle by themselves: nonces 3 to 64",
        &[&send[..], &["--nonce", "3", "--count", "64"]].concat(),
    );
    until("what was accepted settles", || chain.balance(0, "2") == super::FIRST + 62);
    assert!(good(&["account", "1", "--node", &node]).contains("nonce    64 is the highest used"));
}
