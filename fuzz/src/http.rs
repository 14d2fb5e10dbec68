//! What a request over HTTP may say: the texts of its path and behind it, and its body. What is taken means what it says.

use std::fmt::Write;
use throng::api::http::{Refused, hex_key, number, query, submission};
use throng::types::Kind;
use throng::wire::Rows;
use throng::wire::client::SUBMIT_ROWS_MAX;

/// The first byte says what the rest is: a number (0), a key (1), what stands behind a path (3), or a submission.
pub fn http(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        None => false,
        Some((0, text)) => std::str::from_utf8(text).is_ok_and(a_number),
        Some((1, text)) => std::str::from_utf8(text).is_ok_and(a_key),
        Some((3, text)) => std::str::from_utf8(text).is_ok_and(a_query),
        Some((_, body)) => a_submission(body),
    }
}

fn refused(refused: &Refused) {
    assert!(refused.status == 400 && !refused.words.is_empty());
}

fn a_number(text: &str) -> bool {
    let (least, most) = (3, 1 << 40);
    match number("a number", text, least, most) {
        Ok(found) => {
            assert!((least..=most).contains(&found));
            assert_eq!(found.to_string(), text.trim_start_matches('0'));
            true
        }
        Err(error) => {
            refused(&error);
            false
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn a_key(text: &str) -> bool {
    match hex_key("a key", text) {
        Ok(key) => {
            assert_eq!(hex(&key), text.to_ascii_lowercase());
            true
        }
        Err(error) => {
            refused(&error);
            false
        }
    }
}

fn a_query(text: &str) -> bool {
    let known = ["below", "proof"];
    match query(text, &known) {
        Ok(found) => {
            assert!(found.len() <= known.len() && found.iter().all(|(name, _)| known.contains(name)));
            let again: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(query(&again.join("&"), &known), Ok(found));
            true
        }
        Err(error) => {
            refused(&error);
            false
        }
    }
}

fn a_submission(body: &[u8]) -> bool {
    match submission(body) {
        Ok(found) => {
            let rows = found.rows();
            assert!((1..=SUBMIT_ROWS_MAX).contains(&rows.len()));
            // Written out again it is the same.
            assert_eq!(submission(document(rows).as_bytes()), Ok(found));
            true
        }
        Err(error) => {
            refused(&error);
            false
        }
    }
}

/// Rows as a document.
pub fn document(rows: Rows<'_>) -> String {
    let row = |row: throng::wire::Row<'_>| {
        let effect = row.effect;
        let (kind, to) = match Kind::from_byte(effect.kind) {
            Some(Kind::Open) => {
                ("open", format!("\"key\":\"{}\"", hex(row.key.expect("an open row has a key"))))
            }
            _ => ("transfer", format!("\"to\":{}", effect.to)),
        };
        format!(
            "{{\"kind\":\"{kind}\",\"from\":{},{to},\"amount\":{},\"nonce\":{},\"fee\":{},\"signature\":\"{}\"}}",
            effect.from,
            effect.amount,
            effect.nonce,
            effect.fee,
            hex(&row.witness.0)
        )
    };
    format!("{{\"rows\":[{}]}}", rows.iter().map(row).collect::<Vec<_>>().join(","))
}
