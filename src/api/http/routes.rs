//! The table of routes: by it requests are led, and from it their description is made.

use super::parse::{Refused, query};
use super::site::Site;
use super::{account, block, description, metrics, rows, stream, transaction};
use crate::api::documents::status_document;
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Height, Seat};
use crate::wire::client::{Reply, Request};
use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use serde_json::{Value, json};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Its name among others.
    pub id: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What else is to be known.
    pub description: &'static str,
    /// Its parameters: those of the path first, in its order.
    pub parameters: &'static [Parameter],
    /// The schema of the request's body, if it has one.
    pub body: Option<&'static str>,
    /// The answers of its own; those that every route gives are added in the description.
    pub answers: &'static [Answer],
    answer: fn(Asked) -> Answering,
}

/// A parameter of a route.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// The schema of its text.
    pub schema: &'static str,
    /// What it stands for.
    pub description: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path: it has to be there.
    Path,
    /// Behind the `?`: it may be there.
    Query,
}

/// An answer that a route gives.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// When it is given.
    pub description: &'static str,
    /// What it holds.
    pub body: Body,
}

/// What an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A JSON document of this schema.
    Json(&'static str),
    /// Text of this media type.
    Text(&'static str),
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Refused>> + Send>>;

/// A request that has found its route.
pub(super) struct Asked {
    pub site: Arc<Site>,
    pub address: IpAddr,
    pub headers: HeaderMap,
    pub body: HttpBody,
    parameters: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Asked {
    /// The text of a parameter of the path.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(found, _)| found == name).map_or("", |(_, text)| text)
    }

    /// The text of a parameter behind the `?`, if it was given.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str())
    }
}

/// Who asked, as an extension of the request.
#[derive(Clone, Copy)]
pub(super) struct Asker(pub IpAddr);

/// The media type of the metrics.
pub(super) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const EVENTS_TYPE: &str = "text/event-stream";

const NUMBER: Parameter = Parameter {
    name: "number",
    place: Place::Path,
    schema: "AccountNumber",
    description: "The account's number.",
};
const ACCOUNT: Parameter = Parameter { name: "account", ..NUMBER };
const BAD: Answer =
    Answer { status: 400, description: "A parameter is out of form or range.", body: Body::Json("Error") };

/// The path that is answered also on connections beyond the limit.
pub(super) const HEALTH: &str = "/health";

/// All routes.
pub static ROUTES: [Route; 10] = [
    Route {
        method: "GET",
        path: HEALTH,
        id: "health",
        summary: "Whether the node follows the chain",
        description: "200 while blocks and, of a validator, its votes come; else 503 with the reason: the disk is full, the \
                      node is behind, no block or no vote for a while (10 s, or 50 message delays of the chain if that is more).",
        parameters: &[],
        body: None,
        answers: &[
            Answer { status: 200, description: "It follows.", body: Body::Json("Health") },
            Answer { status: 503, description: "It does not, and why.", body: Body::Json("Unhealthy") },
        ],
        answer: |asked| Box::pin(async move { health(&asked.site) }),
    },
    Route {
        method: "GET",
        path: "/status",
        id: "status",
        summary: "Where the node stands",
        description: "As `throng status --json` shows it.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, description: "Where it stands.", body: Body::Json("Status") }],
        answer: |asked| Box::pin(status(asked.site)),
    },
    Route {
        method: "GET",
        path: "/metrics",
        id: "metrics",
        summary: "Counters and states for Prometheus",
        description: "The text format, version 0.0.4. Every name begins with `throng_` and is explained by its HELP line.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, description: "The metrics.", body: Body::Text(METRICS_TYPE) }],
        answer: |asked| {
            Box::pin(async move { Ok(text(200, METRICS_TYPE, metrics::page(&asked.site).into())) })
        },
    },
    Route {
        method: "GET",
        path: "/v1/account/{number}",
        id: "account",
        summary: "An account, and its record at the newest checkpoint with a proof",
        description: account::DESCRIPTION,
        parameters: &[NUMBER, account::PROOF],
        body: None,
        answers: account::ANSWERS,
        answer: |asked| Box::pin(account::by_number(asked)),
    },
    Route {
        method: "GET",
        path: "/v1/account/by-key/{key}",
        id: "accountByKey",
        summary: "The account with a key, as by its number",
        description: account::DESCRIPTION,
        parameters: &[
            Parameter {
                name: "key",
                place: Place::Path,
                schema: "Digest",
                description: "Its Ed25519 public key.",
            },
            account::PROOF,
        ],
        body: None,
        answers: account::ANSWERS,
        answer: |asked| Box::pin(account::by_key(asked)),
    },
    Route {
        method: "GET",
        path: "/v1/block/{height}",
        id: "block",
        summary: "A block",
        description: "Blocks that are removed or were never here, for the node began anew at a checkpoint above them, are not found.",
        parameters: &[Parameter {
            name: "height",
            place: Place::Path,
            schema: "HeightOrLatest",
            description: "Its height, or `latest`: the last one that is durable here.",
        }],
        body: None,
        answers: &[
            Answer { status: 200, description: "The block.", body: Body::Json("Block") },
            BAD,
            Answer { status: 404, description: "No such block here.", body: Body::Json("Error") },
        ],
        answer: |asked| Box::pin(block::by_height(asked)),
    },
    Route {
        method: "GET",
        path: "/v1/tx/{account}/{nonce}",
        id: "transaction",
        summary: "Where a transaction stands in the blocks",
        description: transaction::DESCRIPTION,
        parameters: &[
            ACCOUNT,
            Parameter {
                name: "nonce",
                place: Place::Path,
                schema: "Nonce",
                description: "The nonce that it used.",
            },
            transaction::BELOW,
        ],
        body: None,
        answers: &[
            Answer {
                status: 200,
                description: "It has settled: where it stands, or where to go on looking.",
                body: Body::Json("Transaction"),
            },
            BAD,
            Answer {
                status: 404,
                description: "The account has not used this nonce yet, or there is no such account.",
                body: Body::Json("Error"),
            },
        ],
        answer: |asked| Box::pin(transaction::by_nonce(asked)),
    },
    Route {
        method: "POST",
        path: "/v1/tx",
        id: "submit",
        summary: "Submits signed rows",
        description: "Every row is verified and admitted to the mempool, or refused with the reason. `throng send --print` \
                      signs transfers and prints such a body.",
        parameters: &[],
        body: Some("Submission"),
        answers: &[
            Answer { status: 200, description: "What became of the rows.", body: Body::Json("Submitted") },
            Answer { status: 400, description: "The body is no such document.", body: Body::Json("Error") },
            Answer { status: 408, description: "The body did not come in time.", body: Body::Json("Error") },
            Answer { status: 413, description: "The body is too large.", body: Body::Json("Error") },
            Answer {
                status: 415,
                description: "The body is not of type application/json.",
                body: Body::Json("Error"),
            },
        ],
        answer: |asked| Box::pin(rows::submit(asked)),
    },
    Route {
        method: "GET",
        path: "/v1/blocks/stream",
        id: "blocks",
        summary: "Blocks as they become durable",
        description: "Server-sent events. Each `block` event has the height as its id and the schema BlockNotice as its data. \
                      One address has a few listeners at once. \
                      A listener that does not keep up gets an `end` event, {\"reason\": …}, and the stream ends.",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, description: "The events.", body: Body::Text(EVENTS_TYPE) }],
        answer: |asked| Box::pin(async move { listen(&asked.site, asked.address) }),
    },
    Route {
        method: "GET",
        path: "/v1/openapi.json",
        id: "openapi",
        summary: "This description",
        description: "",
        parameters: &[],
        body: None,
        answers: &[Answer {
            status: 200,
            description: "An OpenAPI 3.1 document.",
            body: Body::Json("Description"),
        }],
        answer: |_| Box::pin(async { Ok(json_answer(200, &description::description())) }),
    },
];

/// Leads requests by the table.
pub(super) fn router(site: &Arc<Site>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let filter = if route.method == "POST" { MethodFilter::POST } else { MethodFilter::GET };
        let site = site.clone();
        let handler = move |parameters: Result<RawPathParams, RawPathParamsRejection>,
                            request: axum::extract::Request| {
            handle(route, site.clone(), parameters, request)
        };
        router = router.route(route.path, on(filter, handler));
    }
    let nowhere =
        || async { refusal(&Refused::new(404, "there is no such path; /v1/openapi.json lists all")) };
    let otherwise = || async { refusal(&Refused::new(405, "this path does not take this method")) };
    router.fallback(nowhere).method_not_allowed_fallback(otherwise)
}

async fn handle(
    route: &'static Route,
    site: Arc<Site>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: axum::extract::Request,
) -> Response {
    let Ok(parameters) = parameters else {
        return refusal(&Refused::new(400, "the path is not in UTF-8"));
    };
    let parameters = parameters.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let (head, body) = request.into_parts();
    let query = match behind(route, head.uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(refused) => return refusal(&refused),
    };
    let Some(Asker(address)) = head.extensions.get::<Asker>().copied() else {
        return refusal(&Refused::busy("who asks is not known"));
    };
    let asked = Asked { site, address, headers: head.headers, body, parameters, query };
    (route.answer)(asked).await.unwrap_or_else(|refused| refusal(&refused))
}

/// What stands behind the `?`. Where nothing may stand, nobody looks: monitors put things there for each other.
fn behind(route: &Route, text: &str) -> Result<Vec<(String, String)>, Refused> {
    let known = route.parameters.iter().filter(|parameter| parameter.place == Place::Query);
    let known: Vec<&str> = known.map(|parameter| parameter.name).collect();
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let found = query(text, &known)?;
    Ok(found.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
}

/// An answer of a media type. What a node says is true of one moment: nobody keeps it.
fn text(status: u16, media: &'static str, body: HttpBody) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer in JSON.
pub(super) fn json_answer(status: u16, document: &Value) -> Response {
    text(status, JSON_TYPE, document.to_string().into())
}

/// A refusal in JSON.
pub(super) fn refusal(refused: &Refused) -> Response {
    let mut answer = json_answer(refused.status, &json!({ "error": refused.words }));
    if matches!(refused.status, 429 | 503) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(refused.again_s));
    }
    answer
}

fn health(site: &Site) -> Result<Response, Refused> {
    let height = site.view.progress().durable;
    Ok(match site.trouble() {
        None => json_answer(200, &json!({ "status": "ok", "height": height })),
        Some(trouble) => json_answer(503, &json!({ "error": trouble, "height": height })),
    })
}

async fn status(site: Arc<Site>) -> Result<Response, Refused> {
    let Reply::Status(status) = site.ask(Request::Status).await? else {
        return Err(Refused::busy("the node gave an answer to another question"));
    };
    let view = &site.view;
    let certified = Some(Height(view.progress().certified)).filter(|height| height.0 > 0);
    let who: (_, Seat, _) = (view.chain(), view.seat(), view.seats());
    Ok(json_answer(200, &status_document(who, &status, certified)))
}

fn listen(site: &Site, address: IpAddr) -> Result<Response, Refused> {
    let events: stream::Events = site.hub.join(address)?;
    Ok(text(200, EVENTS_TYPE, HttpBody::new(events)))
}

/// The bounds of an account's number in a path: 0 is nobody's.
pub(super) const ACCOUNT_BOUNDS: (u64, u64) = (1, ACCOUNTS_MAX as u64 - 1);
