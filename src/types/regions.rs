//! How far the regions of the world are from each other: typical round trips between large cloud regions, in
//! milliseconds, rounded from figures that providers and public meters have shown for years. They change by a few
//! per cent from month to month; a world's answer changes with them by no more.

use thiserror::Error;

/// A name that no region has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no region `{0}`: name some of {list}, or all", list = NAMES.join(", "))]
pub struct UnknownRegion(pub String);

/// The regions by name, in the order of the table.
pub const NAMES: [&str; 10] = [
    "virginia",
    "ohio",
    "oregon",
    "saopaulo",
    "ireland",
    "frankfurt",
    "mumbai",
    "singapore",
    "sydney",
    "tokyo",
];

/// Round trips in ms to the regions before it in the order of [`NAMES`], then within the region itself.
const ROUND_TRIPS_MS: [&[u32]; 10] = [
    &[1],
    &[12, 1],
    &[66, 50, 1],
    &[115, 125, 175, 1],
    &[68, 80, 120, 178, 1],
    &[90, 100, 140, 203, 25, 1],
    &[185, 197, 218, 300, 122, 112, 1],
    &[215, 203, 163, 325, 175, 160, 58, 1],
    &[200, 190, 140, 310, 255, 250, 148, 93, 1],
    &[148, 132, 98, 257, 203, 225, 125, 70, 105, 1],
];

/// The one-way latency between two regions (places in [`NAMES`]), in microseconds.
pub fn one_way_us(a: usize, b: usize) -> u64 {
    u64::from(ROUND_TRIPS_MS[a.max(b)][a.min(b)]) * 500
}

/// The places of named regions; `all` names every one.
pub fn places(names: &[String]) -> Result<Vec<usize>, UnknownRegion> {
    if names == ["all"] {
        return Ok((0..NAMES.len()).collect());
    }
    let place = |name: &String| {
        NAMES.iter().position(|known| known == name).ok_or_else(|| UnknownRegion(name.clone()))
    };
    names.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_plausible() {
        for (row, line) in ROUND_TRIPS_MS.iter().enumerate() {
            assert_eq!(line.len(), row + 1, "{}", NAMES[row]);
            assert_eq!(line[row], 1);
        }
        for (a, b) in (0..10).flat_map(|a| (0..10).map(move |b| (a, b))) {
            assert_eq!(one_way_us(a, b), one_way_us(b, a));
            for over in 0..10 {
                let detour = one_way_us(a, over) + one_way_us(over, b);
                assert!(one_way_us(a, b) <= detour * 13 / 10 + 1000, "{} {}", NAMES[a], NAMES[b]);
            }
        }
    }

    #[test]
    fn names_are_places_and_an_unknown_one_is_refused() {
        assert_eq!(places(&["tokyo".into(), "ohio".into()]).unwrap(), [9, 1]);
        assert_eq!(places(&["all".into()]).unwrap().len(), 10);
        let error = places(&["atlantis".into()]).unwrap_err().to_string();
        assert!(error.contains("atlantis") && error.contains("frankfurt"), "{error}");
    }
}
