//! The description of the HTTP interface: OpenAPI 3.1, made of the table of routes and of the schemas.

use super::routes::{Answer, Body, Place, ROUTES, Route};
use super::schemas::schemas;
use serde_json::{Map, Value, json};

/// Answers that every route gives.
const EVERYWHERE: [Answer; 2] = [
    Answer { status: 429, description: "Too many requests from this address.", body: Body::Json("Error") },
    Answer {
        status: 503,
        description: "The node is not ready, or busy, and why.",
        body: Body::Json("Error"),
    },
];

/// The document that `/v1/openapi.json` gives.
pub fn description() -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Throng",
            "summary": "A node of a Throng chain",
            "description": "Amounts, heights and nonces are whole numbers up to 2^64 - 1. Whatever goes wrong is answered in \
                            JSON: {\"error\": …}. Paths that are not listed are answered 404 and methods that a path does not \
                            take 405. Heads of requests that are out of form are answered 400, that are too large 431, and \
                            that have begun but do not come in time 408; then the connection ends. A connection that says \
                            nothing ends without an answer.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": route.description,
        "responses": {},
    });
    let own = |status: u16| route.answers.iter().any(|answer| answer.status == status);
    let general = EVERYWHERE.iter().filter(|answer| !own(answer.status));
    for answer in route.answers.iter().chain(general) {
        operation["responses"][answer.status.to_string()] = response(answer);
    }
    if !route.parameters.is_empty() {
        let parameters = route.parameters.iter().map(|parameter| {
            let (place, required) = match parameter.place {
                Place::Path => ("path", true),
                Place::Query => ("query", false),
            };
            json!({
                "name": parameter.name, "in": place, "required": required, "description": parameter.description,
                "schema": reference(parameter.schema),
            })
        });
        operation["parameters"] = parameters.collect();
    }
    if let Some(schema) = route.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": reference(schema) } } });
    }
    operation
}

fn response(answer: &Answer) -> Value {
    let (media, schema) = match answer.body {
        Body::Json(schema) => ("application/json", reference(schema)),
        Body::Text(media) => (media, json!({ "type": "string" })),
    };
    let mut response =
        json!({ "description": answer.description, "content": { media: { "schema": schema } } });
    if matches!(answer.status, 429 | 503) {
        response["headers"] = json!({ "Retry-After": {
            "description": "After how many seconds it may be worth another try; /health does not say.",
            "schema": { "type": "integer", "minimum": 1, "maximum": u32::MAX },
        } });
    }
    response
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
