//! The schemas of what comes in and goes out: JSON Schema 2020-12, as OpenAPI 3.1 uses it. Every document names all of its
//! members, and has no other.

use crate::types::params::{ACCOUNTS_MAX, SEATS_MAX};
use crate::wire::client::{Refusal, SUBMIT_ROWS_MAX};
use serde_json::{Map, Value, json};

/// All schemas by name.
pub(super) fn schemas() -> Value {
    let all = [numbers(), health(), account(), block(), transaction(), submission()];
    Value::Object(all.into_iter().flatten().collect())
}

type Schemas = Vec<(String, Value)>;

fn named(schemas: Value) -> Schemas {
    let Value::Object(schemas) = schemas else { return Vec::new() };
    schemas.into_iter().collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object of these members, of which all but `optional` are always there.
fn object(members: &[(&str, Value)], optional: &[&str]) -> Value {
    let required: Vec<&str> =
        members.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn whole(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn hex(bytes: usize) -> Value {
    json!({ "type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", 2 * bytes) })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn list(schema: Value) -> Value {
    json!({ "type": "array", "items": schema })
}

fn numbers() -> Schemas {
    named(json!({
        "AccountNumber": whole(1, ACCOUNTS_MAX as u64 - 1),
        "Number": whole(0, u64::MAX),
        "Nonce": whole(1, u64::MAX),
        "Count": whole(0, u32::MAX.into()),
        "HeightAbove": whole(2, u64::MAX),
        "ProofWish": { "enum": ["required", "none"] },
        "HeightOrLatest": { "oneOf": [whole(1, u64::MAX), { "const": "latest" }] },
        "Seat": whole(0, SEATS_MAX as u64 - 1),
        "Digest": { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" },
        "Hash": hex(32),
        "Bytes": { "type": "string", "pattern": "^([0-9a-f]{2})*$" },
        "Description": { "type": "object", "required": ["openapi", "info", "paths", "components"] },
        "Error": object(&[("error", text())], &[]),
    }))
}

fn health() -> Schemas {
    let height = ("height", reference("Number"));
    let status = [
        ("chain", reference("Hash")),
        ("seat", or_null(reference("Seat"))),
        ("seats", whole(1, SEATS_MAX as u64)),
        height.clone(),
        ("hash", reference("Hash")),
        ("certified", or_null(reference("Number"))),
        ("accounts", reference("Count")),
        ("pending", reference("Count")),
        ("peers", reference("Count")),
    ];
    named(json!({
        "Health": object(&[("status", json!({ "const": "ok" })), height.clone()], &[]),
        // Also said where the height is not known, for too many ask.
        "Unhealthy": object(&[("error", text()), height], &["height"]),
        "Status": object(&status, &[]),
    }))
}

fn account() -> Schemas {
    let members = [
        ("account", reference("AccountNumber")),
        ("key", reference("Hash")),
        ("balance", reference("Number")),
        ("nonce", reference("Number")),
        ("nonce_window", hex(8)),
        ("proof", reference("AccountEvidence")),
        ("no_proof", text()),
    ];
    let evidence = [
        ("height", reference("Number")),
        ("certificate", reference("Bytes")),
        ("block", reference("Bytes")),
        ("slice", reference("Bytes")),
    ];
    let mut account = object(&members, &["proof", "no_proof"]);
    account["oneOf"] = json!([{ "required": ["proof"] }, { "required": ["no_proof"] }]);
    named(json!({ "Account": account, "AccountEvidence": object(&evidence, &[]) }))
}

fn block() -> Schemas {
    let leader =
        [("round", reference("Number")), ("author", reference("Seat")), ("vertex", reference("Hash"))];
    let settled =
        [("author", reference("Seat")), ("sequence", reference("Number")), ("batch", reference("Hash"))];
    let root = or_null(reference("Hash"));
    let roots = [("accounts", root.clone()), ("settlement", root.clone()), ("committee", root)];
    let block = [
        ("height", reference("Number")),
        ("hash", reference("Hash")),
        ("previous", reference("Hash")),
        ("epoch", reference("Count")),
        ("leader", object(&leader, &[])),
        ("time_us", reference("Number")),
        ("accounts", reference("Count")),
        ("settled", list(object(&settled, &[]))),
        ("outcomes", reference("Hash")),
        ("roots", or_null(object(&roots, &[]))),
    ];
    let notice = [
        ("height", reference("Number")),
        ("hash", reference("Hash")),
        ("durable_us", reference("Number")),
        ("batches", reference("Count")),
        ("rows", reference("Count")),
        ("ok", reference("Count")),
    ];
    named(json!({ "Block": object(&block, &[]), "BlockNotice": object(&notice, &[]) }))
}

fn transaction() -> Schemas {
    let place = [
        ("height", reference("Number")),
        ("author", reference("Seat")),
        ("sequence", reference("Number")),
        ("batch", reference("Hash")),
        ("row", reference("Count")),
        ("kind", json!({ "enum": ["transfer", "open"] })),
        ("to", reference("Count")),
        ("key", or_null(reference("Hash"))),
        ("amount", reference("Number")),
        ("fee", reference("Count")),
        ("signature", hex(64)),
    ];
    let transaction = [
        ("account", reference("AccountNumber")),
        ("nonce", reference("Nonce")),
        ("used", or_null(json!({ "const": true }))),
        ("looked_from", reference("Number")),
        ("looked_to", reference("Number")),
        ("below", or_null(reference("Number"))),
        ("places", list(object(&place, &[]))),
        ("note", or_null(text())),
    ];
    named(json!({ "Transaction": object(&transaction, &[]) }))
}

fn submission() -> Schemas {
    let count = || reference("Count");
    let row = |kind: &str, own: (&'static str, Value)| {
        let signature = json!({ "type": "string", "pattern": "^[0-9a-fA-F]{128}$" });
        let members = [
            ("kind", json!({ "const": kind })),
            ("from", count()),
            own,
            ("amount", reference("Number")),
            ("nonce", reference("Number")),
            ("fee", count()),
            ("signature", signature),
        ];
        object(&members, &[])
    };
    let rows = json!({
        "type": "array", "minItems": 1, "maxItems": SUBMIT_ROWS_MAX,
        "items": { "oneOf": [row("transfer", ("to", count())), row("open", ("key", reference("Digest")))] },
    });
    let refused =
        [("row", count()), ("reason", json!({ "enum": Refusal::ALL.map(Refusal::name) })), ("words", text())];
    let submitted = [("accepted", count()), ("refused", list(object(&refused, &[])))];
    named(json!({ "Submission": object(&[("rows", rows)], &[]), "Submitted": object(&submitted, &[]) }))
}
