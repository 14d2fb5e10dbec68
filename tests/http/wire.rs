//! HTTP as bytes on a socket, so that a test can say whatever no client library would.

#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// What an error says.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error says what is wrong").to_owned()
    }
}

pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Everything up to the end of the connection.
pub fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // Who is cut off while it still sends may hear of it so.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("neither an answer nor an end: {error}"),
    }
    bytes
}

/// Takes the bytes of one answer apart, whose body is all that follows its head; `None` if there is none.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    let mut lines = head.split("\r\n");
    let (version, status) = lines.next()?.split_once(' ').expect("a version and a status");
    assert!(["HTTP/1.1", "HTTP/1.0"].contains(&version), "{version}");
    let status = status.split(' ').next()?.parse().expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_lowercase(), value.to_owned())
    };
    let body = bytes[end + 4..].to_vec();
    Some(Answer { status, headers: lines.map(header).collect(), body })
}

/// Takes the bytes of the answers apart that came one after the other over one connection, each as long as it says.
pub fn parse_all(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some(mut answer) = parse(bytes) {
        let length = answer.header("content-length").expect("it says its length");
        let length: usize = length.parse().expect("a number");
        assert!(length <= answer.body.len(), "cut short: {answer:?}");
        let rest = answer.body.split_off(length);
        bytes = &bytes[bytes.len() - rest.len()..];
        all.push(answer);
    }
    assert!(bytes.is_empty(), "not a whole answer: {bytes:?}");
    all
}

/// Says these bytes, and nothing more; the answer, if there is one.
pub fn say(server: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(server);
    // The server may have answered and gone before it has all.
    let _ = stream.write_all(bytes);
    parse(&read_all(&mut stream))
}

pub fn request(server: SocketAddr, method: &str, path: &str, media: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: {media}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let answer = say(server, &[head.as_bytes(), body].concat()).expect("an answer");
    if let Some(length) = answer.header("content-length").filter(|_| method != "HEAD") {
        assert_eq!(length, answer.body.len().to_string());
    }
    answer
}

pub fn get(server: SocketAddr, path: &str) -> Answer {
    let bytes = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    say(server, bytes.as_bytes()).expect("an answer")
}

pub fn post(server: SocketAddr, body: &[u8]) -> Answer {
    request(server, "POST", "/v1/tx", "application/json", body)
}
