//! Rows that come in over HTTP.

use super::parse::{Refused, submission};
use super::routes::{Asked, json_answer};
use super::site::BODY_BYTES_MAX;
use crate::wire::client::{Reply, Request};
use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use serde_json::json;
use std::future::poll_fn;
use std::pin::Pin;
use tokio::time::timeout;

/// Reads the rows, hands them to the node, and tells what became of them.
pub(super) async fn submit(asked: Asked) -> Result<Response, Refused> {
    if !is_json(&asked.headers) {
        return Err(Refused::new(
            415,
            "send the rows as application/json (curl: -H 'content-type: application/json')",
        ));
    }
    let late = |_| Refused::new(408, "the body did not come in time");
    let body = timeout(asked.site.limits.body_deadline, read(asked.body)).await.map_err(late)??;
    let rows = submission(&body)?;
    match asked.site.submit(Request::Submit { id: 1, rows }).await? {
        Reply::Submitted { accepted, refused, .. } => {
            let refused = refused
                .iter()
                .map(|(row, reason)| json!({ "row": row, "reason": reason.name(), "words": reason.words() }));
            let refused: Vec<_> = refused.collect();
            Ok(json_answer(200, &json!({ "accepted": accepted, "refused": refused })))
        }
        _ => Err(Refused::busy("the node gave an answer to another question")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// A whole body, up to its limit.
async fn read(mut body: Body) -> Result<Vec<u8>, Refused> {
    let large =
        || Refused::new(413, format!("a body has at most {BODY_BYTES_MAX} bytes: send fewer rows at once"));
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| Refused::new(400, format!("the body ends too early: {error}")))?;
        // Trailers are of no use here.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
