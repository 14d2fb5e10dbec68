//! Asking an HTTP server one thing, for the command line.

use axum::body::{Body, HttpBody};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often it is looked whether whoever asked still waits.
const LOOK: Duration = Duration::from_millis(100);
/// The largest answer that is read: an account with the certificate of the largest committee takes about 150 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a server did not answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection, or no answer in time.
    #[error(
        "cannot ask {address} over HTTP: {reason}; is it the node's HTTP address, and does the node run?"
    )]
    Unreachable {
        /// Who was asked.
        address: String,
        /// Why.
        reason: String,
    },
    /// It answered something else than HTTP, or too much.
    #[error("what listens at {address} is no HTTP server of a node: {reason}")]
    Strange {
        /// Who was asked.
        address: String,
        /// What is strange.
        reason: String,
    },
    /// Whoever asked waits no longer.
    #[error("interrupted")]
    Interrupted,
}

/// Asks for a path at `host:port`: status and body of the answer.
///
/// # Errors
/// [`HttpError`]; after `patience` at the latest, or soon after `over` says that nobody waits.
pub fn get(
    address: &str,
    path: &str,
    patience: Duration,
    over: &dyn Fn() -> bool,
) -> Result<(u16, Vec<u8>), HttpError> {
    let unreachable = |reason: String| HttpError::Unreachable { address: address.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
    let given_up = async {
        while !over() {
            sleep(LOOK).await;
        }
    };
    runtime.block_on(async {
        let (mut asking, mut given_up) = (pin!(timeout(patience, ask(address, path))), pin!(given_up));
        let first = poll_fn(|cx| match asking.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => given_up.as_mut().poll(cx).map(|()| None),
        });
        match first.await {
            Some(answer) => answer.unwrap_or_else(|_| Err(unreachable("no answer in time".to_owned()))),
            None => Err(HttpError::Interrupted),
        }
    })
}

async fn ask(address: &str, path: &str) -> Result<(u16, Vec<u8>), HttpError> {
    let unreachable = |error: std::io::Error| HttpError::Unreachable {
        address: address.to_owned(),
        reason: error.to_string(),
    };
    let strange = |reason: String| HttpError::Strange { address: address.to_owned(), reason };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| strange(error.to_string()))?;
    let request = Request::get(path).header(HOST, address).body(Body::empty());
    let request = request.map_err(|error| strange(error.to_string()))?;
    let mut connection = Box::pin(connection);
    let mut asking = Box::pin(async {
        let answer = sender.send_request(request).await.map_err(|error| strange(error.to_string()))?;
        let (status, mut body) = (answer.status().as_u16(), answer.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = frame.map_err(|error| strange(error.to_string()))?.into_data().unwrap_or_default();
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(strange("its answer is too long".to_owned()));
            }
            bytes.extend_from_slice(&data);
        }
        Ok((status, bytes))
    });
    let mut running = true;
    poll_fn(|cx| {
        // The connection moves the bytes; its end shows in the answer.
        running = running && connection.as_mut().poll(cx).is_pending();
        asking.as_mut().poll(cx)
    })
    .await
}
