//! Refusals before there is a request: of heads that are out of form or bounds, or that do not come whole in time.
//!
//! The HTTP library answers some of them by a status and nothing else, ends the rest without a word, and has no hook for more.
//!
//! - Upon an answer of the library's own: it is kept from the connection, and its status is remembered ([`Unsaid`]).
//! - Upon the end of a connection that had begun a head: its refusal is said in JSON like every other, and whoever still sends is
//!   listened to for a moment, so that the answer is not lost with the reset that unread bytes cause.
//!
//! Why no other answer is taken for one of these: all others have a body or, to `HEAD`, its length.

use super::parse::Refused;
use super::site::{HEAD_BYTES_MAX, HEADERS_MAX};
use axum::http::StatusCode;
use serde_json::json;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// How long whoever still sends is listened to, and for how many bytes.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 << 10;

/// A connection on which the library's own refusals stay unsaid.
pub(super) struct Unsaid<S> {
    stream: S,
    status: Option<u16>,
    said: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Unsaid<S> {
    /// A connection on which nothing was said yet.
    pub fn new(stream: S) -> Unsaid<S> {
        Unsaid { stream, status: None, said: false }
    }

    /// Why the connection ended, for whoever asks: `None` if it ended between two requests or in an answer. `begun`: a part of a
    /// head had come.
    pub fn refused(&self, error: &hyper::Error, begun: bool) -> Option<Refused> {
        let refused = |status, words: String| Some(Refused::new(status, words));
        match self.status {
            Some(431) => refused(
                431,
                format!("the head of a request has at most {HEAD_BYTES_MAX} bytes and {HEADERS_MAX} headers"),
            ),
            Some(414) => refused(414, "the path is too long".to_owned()),
            Some(status) => refused(status, out_of_form()),
            None if begun && error.is_timeout() => {
                refused(408, "the head of the request did not come in time".to_owned())
            }
            None if begun && error.is_incomplete_message() => {
                refused(400, "the connection ended within the head of the request".to_owned())
            }
            // Another version of HTTP, of which the library says nothing.
            None if !self.said && error.is_parse() => refused(400, out_of_form()),
            None => None,
        }
    }

    /// Says it, and ends the connection.
    ///
    /// # Errors
    /// Whoever asked is gone.
    pub async fn say(mut self, refused: &Refused) -> io::Result<()> {
        self.stream.write_all(&bytes(refused)).await?;
        self.stream.shutdown().await?;
        let heard = async {
            let (mut rest, mut left) = ([0; 4096], LINGER_BYTES);
            while left > 0 {
                match self.stream.read(&mut rest).await {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    _ => break,
                }
            }
        };
        // Who goes on for longer is reset.
        let _ = timeout(LINGER, heard).await;
        Ok(())
    }
}

fn out_of_form() -> String {
    "the head of the request is not one of HTTP/1.1: a line such as `GET /status HTTP/1.1`, then headers `name: value`".to_owned()
}

/// The answer as it goes over the connection.
fn bytes(refused: &Refused) -> Vec<u8> {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "error": refused.words }).to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Where in what is to be written a refusal of the library's own begins, which is the last that it says, and its status.
fn refusal_in(bytes: &[u8]) -> Option<(usize, u16)> {
    const BEGINS: &[u8] = b"HTTP/1.1 4";
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let at = bytes.windows(BEGINS.len()).rposition(|window| window == BEGINS)?;
    let head = std::str::from_utf8(&bytes[at..]).ok()?;
    let status = head.get(9..12)?.parse().ok().filter(|status| matches!(status, 400 | 414 | 431))?;
    let mut lines = head.split("\r\n");
    let bare = lines.any(|line| line == "content-length: 0") && !head.contains("\r\ncontent-type:");
    bare.then_some((at, status))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unsaid<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = match refusal_in(bytes) {
            Some((0, status)) => {
                self.status = Some(status);
                return Poll::Ready(Ok(bytes.len()));
            }
            // What stands before it goes out first.
            Some((at, _)) => &bytes[..at],
            None => bytes,
        };
        self.said = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.status {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unsaid<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_own_refusals_are_told_from_answers() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: Thu\r\n\r\n";
        assert_eq!(refusal_in(own), Some((0, 431)));
        let before = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".as_slice();
        assert_eq!(refusal_in(&[before, own].concat()), Some((before.len(), 431)));
        for other in [
            before,
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"0\r\n\r\n",
            b"",
        ] {
            assert_eq!(refusal_in(other), None, "{}", other.escape_ascii());
        }
        assert_eq!(refusal_in(&bytes(&Refused::new(400, "no"))), None);
    }
}
