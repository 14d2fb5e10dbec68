//! A gap between the chain here and what others have certified, and whether it closes.

use crate::types::Time;
use std::time::Duration;

/// How wide a gap was when it had last shrunk by half, or was first seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    /// In blocks.
    pub(super) blocks: u64,
    pub(super) since: Time,
}

impl Gap {
    /// Looks at a gap of so many blocks. True: it has not shrunk by half for so long.
    pub(super) fn creeps(gap: &mut Option<Gap>, blocks: u64, now: Time, within: Duration) -> bool {
        let seen = gap.get_or_insert(Gap { blocks, since: now });
        if blocks <= seen.blocks / 2 {
            *seen = Gap { blocks, since: now };
        }
        now >= seen.since + within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_creeps_when_it_has_not_shrunk_by_half_for_so_long_whatever_it_did_before() {
        let mut gap = None;
        let mut look = |blocks, at| Gap::creeps(&mut gap, blocks, Time(at), Duration::from_micros(100));
        assert_eq!(
            [(80, 7), (60, 60), (41, 106), (41, 107)].map(|(b, at)| look(b, at)),
            [false, false, false, true]
        );
        // By half, and the span begins anew; growing does not begin it.
        assert_eq!(
            [(40, 110), (90, 150), (21, 209), (21, 210)].map(|(b, at)| look(b, at)),
            [false, false, false, true]
        );
        assert_eq!([(20, 300), (11, 399), (11, 400)].map(|(b, at)| look(b, at)), [false, false, true]);
    }
}
