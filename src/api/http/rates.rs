//! How much each address may ask.
//!
//! Every address has an allowance that refills with time up to [`SAVED_SECONDS`] of it. Of [`ADDRESSES_MAX`] addresses it is
//! known what they have left; of a further one the account that rested longest is given up, which then begins with a full
//! allowance again: so a bound on memory costs at most what that many addresses may ask anyway. A pure data structure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;
/// An address that rests saves up so many seconds of its rate.
const SAVED_SECONDS: u32 = 10;

/// Allowances by address.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    known: BTreeMap<IpAddr, Allowance>,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: f64,
    /// When that was so.
    at: Duration,
}

impl Rates {
    /// Nobody has asked yet.
    pub fn new(per_second: u32) -> Rates {
        Rates { per_second: per_second.into(), known: BTreeMap::new() }
    }

    /// Takes what a request costs; `false`, and nothing is taken, if there is not so much left. `now` counts from the start.
    pub fn pay(&mut self, address: IpAddr, cost: u32, now: Duration) -> bool {
        let most = self.per_second * f64::from(SAVED_SECONDS);
        let known = self.known.get(&address).copied().unwrap_or(Allowance { left: most, at: now });
        let earned = now.saturating_sub(known.at).as_secs_f64() * self.per_second;
        let left = (known.left + earned).min(most);
        let pays = left >= f64::from(cost);
        let left = if pays { left - f64::from(cost) } else { left };
        if !self.known.contains_key(&address) && self.known.len() >= ADDRESSES_MAX {
            let rested = self.known.iter().min_by_key(|(_, allowance)| allowance.at);
            if let Some(rested) = rested.map(|(address, _)| *address) {
                self.known.remove(&rested);
            }
        }
        self.known.insert(address, Allowance { left, at: now });
        pays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_pays_from_what_it_saved_and_earns_again() {
        let mut rates = Rates::new(5);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let paid = |rates: &mut Rates, address, at: u64| {
            (0..1000).take_while(|_| rates.pay(address, 1, Duration::from_millis(at))).count()
        };
        assert_eq!(paid(&mut rates, one, 0), 50);
        assert_eq!(paid(&mut rates, other, 0), 50, "each has its own");
        assert_eq!(paid(&mut rates, one, 1000), 5);
        assert!(!rates.pay(one, 20, Duration::from_millis(2000)), "what is dear needs more");
        assert_eq!(paid(&mut rates, one, 2000), 5, "and took nothing");
        assert_eq!(paid(&mut rates, one, 3_600_000), 50, "no more than ten seconds are saved up");
    }

    #[test]
    fn of_too_many_addresses_the_one_that_rested_longest_is_forgotten() {
        let mut rates = Rates::new(1);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        (0..ADDRESSES_MAX as u32).for_each(|number| {
            assert!(rates.pay(address(number), 10, Duration::from_millis(number.into())));
        });
        assert!(!rates.pay(address(0), 10, Duration::from_secs(5)));
        assert!(rates.pay(address(u32::MAX), 1, Duration::from_secs(5)));
        assert_eq!(rates.known.len(), ADDRESSES_MAX);
        assert!(rates.known.contains_key(&address(0)) && !rates.known.contains_key(&address(1)));
    }
}
