//! What a request may say: pure functions from text and bytes to values, each refusal with its status and words.

use crate::types::{Effect, Witness};
use crate::wire::Rows;
use crate::wire::client::{SUBMIT_ROWS_MAX, Submission};
use serde::Deserialize;

/// The most digits of a number: those of 2^64.
const DIGITS_MAX: usize = 20;

/// A request that is not fulfilled: the status, and why in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 400 to 499, or 503.
    pub status: u16,
    /// What is wrong, and what to do.
    pub words: String,
    /// With 429 and 503: after how many seconds it may be worth another try.
    pub again_s: u32,
}

impl Refused {
    /// A refusal with this status.
    pub fn new(status: u16, words: impl Into<String>) -> Refused {
        Refused { status, words: words.into(), again_s: 1 }
    }

    /// The node is not ready, or has too much to do.
    pub fn busy(words: &str) -> Refused {
        Refused::new(503, words)
    }

    /// What is asked for is not there yet, but probably in so many seconds.
    pub fn later(words: String, again_s: u32) -> Refused {
        Refused { again_s, ..Refused::new(503, words) }
    }
}

/// The parameters behind the `?` of a path, `name=value` each, with `&` between them. Values are numbers and words, which have
/// nothing to escape, and so are taken as they stand. `known`: the names that there may be.
///
/// # Errors
/// 400: another name, or one twice.
pub fn query<'a>(text: &'a str, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, Refused> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if !known.contains(&name) {
            let words =
                format!("there is no parameter of this name behind the `?`, but {}", known.join(", "));
            return Err(Refused::new(400, words));
        }
        if found.iter().any(|(before, _)| *before == name) {
            return Err(Refused::new(400, format!("{name} is given twice")));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// A number in decimal digits between two bounds; `what` it is, for the refusal.
///
/// # Errors
/// 400: it is none, or lies outside.
pub fn number(what: &str, text: &str, least: u64, most: u64) -> Result<u64, Refused> {
    let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
    number.ok_or_else(|| Refused::new(400, format!("{what} must be a number between {least} and {most}")))
}

/// A key or digest of 32 bytes in hex digits.
///
/// # Errors
/// 400: it is none.
pub fn hex_key(what: &str, text: &str) -> Result<[u8; 32], Refused> {
    bytes(text).ok_or_else(|| Refused::new(400, format!("{what} must be 64 hex digits")))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// The body of a submission.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rows: Vec<Row>,
}

/// One row of it, as people write it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Row {
    Transfer { from: u32, to: u32, amount: u64, nonce: u64, fee: u32, signature: String },
    Open { from: u32, key: String, amount: u64, nonce: u64, fee: u32, signature: String },
}

/// The rows of a submission in JSON. Their form is the chain's to judge, and their signatures the node's.
///
/// # Errors
/// 400: it is no such document; line, column and what was expected are named.
pub fn submission(body: &[u8]) -> Result<Submission, Refused> {
    let refused = |words: String| Refused::new(400, words);
    let document: Document =
        serde_json::from_slice(body).map_err(|error| refused(format!("body: {error}")))?;
    let count = document.rows.len();
    if !(1..=SUBMIT_ROWS_MAX).contains(&count) {
        return Err(refused(format!("rows has {count} entries, but must have 1 to {SUBMIT_ROWS_MAX}")));
    }
    let (mut effects, mut keys, mut witnesses) =
        (Vec::with_capacity(count), Vec::new(), Vec::with_capacity(count));
    for (place, row) in document.rows.into_iter().enumerate() {
        let wrong = |what: &str| refused(format!("rows[{place}].{what} hex digits"));
        let (effect, signature) = match row {
            Row::Transfer { from, to, amount, nonce, fee, signature } => {
                (Effect::transfer(from, to, amount, nonce, fee), signature)
            }
            Row::Open { from, key, amount, nonce, fee, signature } => {
                keys.push(bytes(&key).ok_or_else(|| wrong("key must be 64"))?);
                (Effect::open(from, amount, nonce, fee), signature)
            }
        };
        effects.push(effect);
        witnesses.push(Witness(bytes(&signature).ok_or_else(|| wrong("signature must be 128"))?));
    }
    let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
    Submission::pack(rows).ok_or_else(|| refused("rows do not fit one submission".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_within_its_bounds() {
        let of = |text| number("height", text, 1, 300);
        assert_eq!((of("1"), of("007"), of("300")), (Ok(1), Ok(7), Ok(300)));
        for text in ["", "0", "301", "+1", "-1", "1.0", " 1", "1e2", "٣", "99999999999999999999999"] {
            let refused = of(text).unwrap_err();
            assert_eq!(
                (refused.status, refused.words.as_str()),
                (400, "height must be a number between 1 and 300")
            );
        }
        assert_eq!(number("nonce", "18446744073709551615", 0, u64::MAX), Ok(u64::MAX));
        assert!(number("nonce", "18446744073709551616", 0, u64::MAX).is_err());
    }

    #[test]
    fn a_query_has_known_names_each_once() {
        let of = |text| query(text, &["below", "proof"]);
        assert_eq!(of(""), Ok(vec![]));
        assert_eq!(of("below=7&proof"), Ok(vec![("below", "7"), ("proof", "")]));
        assert_eq!(of("&proof=a=b&"), Ok(vec![("proof", "a=b")]));
        for (text, says) in [
            ("above=7", "no parameter of this name behind the `?`, but below, proof"),
            ("=7", "no parameter of this name"),
            ("below=7&below=7", "below is given twice"),
        ] {
            let refused = of(text).unwrap_err();
            assert!(refused.status == 400 && refused.words.contains(says), "{refused:?}");
        }
    }

    #[test]
    fn a_submission_has_the_rows_of_its_document() {
        let signature = "0a".repeat(64);
        let transfer = format!(
            r#"{{"kind":"transfer","from":1,"to":2,"amount":3,"nonce":4,"fee":5,"signature":"{signature}"}}"#
        );
        let open = format!(
            r#"{{"kind":"open","from":1,"key":"{}","amount":3,"nonce":5,"fee":100,"signature":"{signature}"}}"#,
            "0b".repeat(32)
        );
        let good = format!(r#"{{"rows":[{open},{transfer}]}}"#);
        let rows = submission(good.as_bytes()).unwrap();
        let rows = rows.rows();
        assert_eq!(rows.effects, [Effect::open(1, 3, 5, 100), Effect::transfer(1, 2, 3, 4, 5)]);
        assert_eq!((rows.keys, rows.witnesses), (&[[11; 32]][..], &[Witness([10; 64]); 2][..]));

        let bad = |from: &str, to: &str| submission(good.replacen(from, to, 1).as_bytes()).unwrap_err();
        for (from, to, says) in [
            ("rows", "row", "unknown field `row`, expected `rows`"),
            ("\"amount\":3", "\"amount\":-3", "invalid value: integer `-3`, expected u64"),
            ("\"fee\":100", "\"fee\":4294967296", "expected u32"),
            ("\"fee\":100", "\"fees\":100", "unknown field `fees`"),
            ("\"fee\":100,", "", "missing field `fee`"),
            ("\"open\"", "\"bond\"", "unknown variant `bond`, expected `transfer` or `open`"),
            ("0b0b", "0b0", "rows[0].key must be 64 hex digits"),
            ("0a0a", "zz", "rows[0].signature must be 128 hex digits"),
            ("]}", "]", "EOF while parsing"),
        ] {
            let refused = bad(from, to);
            assert!(refused.status == 400 && refused.words.contains(says), "{refused:?} instead of {says}");
        }
        assert!(submission(br#"{"rows":[]}"#).unwrap_err().words.contains("must have 1 to 1024"));
        let many = vec![transfer; SUBMIT_ROWS_MAX + 1].join(",");
        assert!(submission(format!(r#"{{"rows":[{many}]}}"#).as_bytes()).is_err());
        assert!(submission(b"\xff").is_err());
    }
}
