//! Values of flags that take more than a number.

use crate::lab::bench::Rate;
use crate::lab::payload::Payload;
use std::time::Duration;

/// The longest span that a flag takes: a day.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// A span such as `10s`, `1.5s`, `500ms` or `2m`.
pub fn span(text: &str) -> Result<Duration, String> {
    let help = || format!("`{text}` is not a span: write it like 10s, 500ms or 2m");
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(name, seconds)| Some((text.strip_suffix(name)?, seconds)))
        .ok_or_else(help)?;
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(help());
    }
    let seconds = number.trim().parse::<f64>().map_err(|_| help())? * unit;
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= SPAN_MAX => Ok(span),
        _ => Err(format!("`{text}` is too long: at most 24h")),
    }
}

/// A whole number; its limits are checked where they are known.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number, such as 1000"))
}

/// A number of a configuration: a file in TOML has none larger than these.
pub fn setting(text: &str) -> Result<u64, String> {
    let most = i64::MAX.unsigned_abs();
    match count(text) {
        Ok(number) if number > most => Err(format!("`{text}` is too large: at most {most}")),
        number => number,
    }
}

/// `all`, or how many of the newest blocks are kept.
pub fn keep_blocks(text: &str) -> Result<KeepBlocks, String> {
    match (text, setting(text)) {
        ("all", _) => Ok(KeepBlocks(None)),
        (_, Ok(count)) if count > 0 => Ok(KeepBlocks(Some(count))),
        _ => Err(format!(
            "`{text}` is not a number of blocks: write all, or a number from 1 on, such as 10000"
        )),
    }
}

/// How many of the newest blocks are kept, `None` for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepBlocks(pub Option<u64>);

/// A number of 32 bits.
pub fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number from 0 to 4294967295"))
}

/// The first hex digits of a digest, in lower case.
pub fn digits(text: &str) -> Result<String, String> {
    let hex = text.chars().all(|digit| digit.is_ascii_hexdigit());
    if hex && (8..=64).contains(&text.len()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is not the beginning of a digest: give 8 to 64 hex digits"))
    }
}

/// A number of nodes; its limits are checked where they are known.
pub fn nodes(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of nodes, such as 4"))
}

/// `max`, or transactions per second.
pub fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(Rate::PerSecond(rate)),
        _ => Err(format!("`{text}` is not a rate: write max, or transactions per second, such as 5000")),
    }
}

/// Bits per second, such as `1gbit`, `100mbit` or `500kbit`.
pub fn bandwidth(text: &str) -> Result<u64, String> {
    let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)];
    let found = units.into_iter().find_map(|(name, bits)| Some((text.strip_suffix(name)?, bits)));
    let bits = found.and_then(|(number, bits)| Some(number.parse::<f64>().ok()? * bits));
    match bits {
        Some(bits) if (1_000.0..=1e12).contains(&bits) => Ok(bits as u64),
        _ => Err(format!("`{text}` is not a bandwidth: write it like 1gbit, 100mbit or 500kbit")),
    }
}

/// Seeds `A..B`, without `B`.
pub fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, until)| Some(from.parse().ok()?..until.parse().ok()?));
    match range {
        Some(range) if range.start < range.end => Ok(range),
        _ => Err(format!("`{text}` is not a range of seeds: write it like 0..200, the end not included")),
    }
}

/// `transfers`, or `opaque:` and the bytes of a blob; their limits are checked where they are known.
pub fn payload(text: &str) -> Result<Payload, String> {
    let size = text.strip_prefix("opaque:").and_then(|bytes| bytes.parse().ok());
    match (text, size) {
        ("transfers", _) => Ok(Payload::Transfers),
        (_, Some(bytes)) => Ok(Payload::Opaque(bytes)),
        _ => Err(format!("`{text}` is not a payload: write transfers, or opaque:512 for blobs of 512 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        for (text, milliseconds) in
            [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1.5s", 1_500), ("0s", 0), ("1h", 3_600_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused_with_an_example() {
        for text in ["", "10", "s", "-1s", "ten s", "infs", "nans", "1e400s", "10 days", "+1s", "é"] {
            assert!(span(text).is_err_and(|words| words.contains(text)), "{text}");
        }
        assert!(span("25h").is_err_and(|words| words.contains("24h")));
    }

    #[test]
    fn payloads_are_transfers_or_blobs_of_a_size() {
        assert_eq!(payload("transfers"), Ok(Payload::Transfers));
        assert_eq!(payload("opaque:512"), Ok(Payload::Opaque(512)));
        for text in ["", "opaque", "opaque:", "opaque:big", "opaque:-1", "opaque:5000000000", "blobs:5"] {
            assert!(payload(text).is_err_and(|words| words.contains("opaque:512")), "{text}");
        }
    }

    #[test]
    fn blocks_to_keep_are_all_or_a_number_above_zero() {
        assert_eq!(keep_blocks("all"), Ok(KeepBlocks(None)));
        assert_eq!(keep_blocks("1"), Ok(KeepBlocks(Some(1))));
        for text in ["", "0", "-1", "some", "1.5", "9999999999999999999", "99999999999999999999", "ALL"] {
            assert!(keep_blocks(text).is_err_and(|words| words.contains("write all")), "{text}");
        }
        assert_eq!(setting("9223372036854775807"), Ok(i64::MAX as u64));
        assert!(setting("9223372036854775808").is_err_and(|words| words.contains("is too large: at most")));
    }

    #[test]
    fn rates_are_max_or_a_number_above_zero() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("2500"), Ok(Rate::PerSecond(2500.0)));
        for text in ["0", "-5", "NaN", "inf", "fast", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bandwidths_and_ranges_of_seeds_are_read() {
        assert_eq!(bandwidth("1gbit"), Ok(1_000_000_000));
        assert_eq!(bandwidth("2.5mbit"), Ok(2_500_000));
        for text in ["1", "0gbit", "-1gbit", "fastgbit", "NaNmbit", "infgbit", ""] {
            assert!(bandwidth(text).is_err_and(|words| words.contains("100mbit")), "{text}");
        }
        assert_eq!(seeds("3..7"), Ok(3..7));
        for text in ["3", "7..3", "3..3", "a..b", "..", "-1..4"] {
            assert!(seeds(text).is_err_and(|words| words.contains("0..200")), "{text}");
        }
    }
}
