//! What a stranger may take of a node, by the address that it comes from, and how long which address is refused.
//!
//! - Upon a connection: it is refused if its address is, or calls at this port more often than its rate, or on the peer port its
//!   network group more often than that of all of them; and one has to make room if its address, or the group around it, holds
//!   as many as it may already.
//! - Upon a proven identity: the connection counts no more towards any of that, and its handshake costs nothing.
//! - Upon a fault of somebody without identity: points for the address; too many, and it is refused for a while, twice
//!   as long each time in a row.
//! - Upon a connection of an address that is refused: one in [`REFUSED_CHANCE`] is let in all the same, at each port. So an honest
//!   peer that shares the address with a stranger is not shut out with it for ten minutes: it calls again and again, and whoever
//!   has proved itself is left alone. To others it costs the node what it would have cost from a fresh address.
//!
//! Why that is fair: an address at which a validator lives, by the configuration or because one has proved itself there
//! lately, is never refused for what others do there, and has a rate of its own that a flood does not use up so easily.
//! What a validator does wrong counts towards its seat and not towards its address. Loopback is everybody's own machine
//! and exempt, unless the configuration says otherwise; private networks have no groups.
//!
//! The table of addresses is bounded. When it is full, the address without a connection that was heard of longest ago is
//! forgotten, a refusal with it. That of groups holds those that have a connection, or had too many a moment ago.

use super::config::*;
use super::pace::{Pace, Rate, Score};
use crate::types::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use thiserror::Error;

/// Addresses in the table that have no connection, at most.
pub const RESTING_MAX: usize = 4096;

/// Ports that strangers come to.
pub const PORTS: usize = 2;
/// The first of them: that of peers.
const PEERS: usize = 0;

/// Why a connection is refused before a byte of it is read, or has to make room.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// Its address is refused for what came from it.
    #[error("its address is refused for now")]
    Refused,
    /// Too many new connections of its address: handshakes with peers, or calls of clients.
    #[error("too many new connections from its address")]
    Rate,
    /// Too many handshakes of its network group.
    #[error("too many new connections from its network")]
    GroupRate,
    /// Too many connections of its address.
    #[error("too many connections from its address")]
    Address,
    /// Too many connections of its network group.
    #[error("too many connections from its network")]
    Group,
}

/// Where somebody comes from: an IPv4 address, or the /64 around an IPv6 address, for a machine has all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

/// The network around an address: its IPv4 /16 or IPv6 /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(IpAddr);

/// What somebody is counted with: all of its group, or, where there are none, all of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// A group.
    Group(Group),
    /// A source without a group.
    Source(Source),
}

impl Source {
    /// The source of an address.
    pub fn of(address: IpAddr) -> Source {
        Source(match address.to_canonical() {
            IpAddr::V6(six) if !six.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)))
            }
            other => other,
        })
    }

    fn is_local(self) -> bool {
        self.0.is_loopback()
    }

    /// What it is counted with.
    pub fn network(self) -> Network {
        self.group().map_or(Network::Source(self), Network::Group)
    }

    /// Its group; none in private networks.
    pub fn group(self) -> Option<Group> {
        match self.0 {
            IpAddr::V4(four) if four.is_private() || four.is_link_local() || four.is_loopback() => None,
            IpAddr::V6(six) if six.is_unique_local() || six.is_unicast_link_local() || six.is_loopback() => {
                None
            }
            IpAddr::V4(four) => {
                Some(Group(IpAddr::V4(Ipv4Addr::from_bits(four.to_bits() & (u32::MAX << 16)))))
            }
            IpAddr::V6(six) => {
                Some(Group(IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 96)))))
            }
        }
    }
}

/// How far an address reaches, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This machine.
    Machine,
    /// A private network.
    Private,
    /// Everywhere.
    World,
}

impl Reach {
    /// That of an address.
    pub fn of(address: IpAddr) -> Reach {
        let source = Source::of(address);
        match source.group() {
            _ if source.is_local() => Reach::Machine,
            None => Reach::Private,
            Some(_) => Reach::World,
        }
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Without a connection since then.
    used: Time,
    connections: [u32; PORTS],
    calls: [Pace; PORTS],
    /// Questions of clients that ask for the first time.
    first_questions: Pace,
    score: Score,
    refused_until: Time,
    /// From when on one is let in although it is refused, at each port.
    chances: [Time; PORTS],
    /// How long it is refused the next time.
    next_refusal: Duration,
    /// A validator has proved itself here; that is remembered until then.
    known_until: Time,
}

impl Entry {
    fn rests(&self) -> bool {
        self.connections == [0; PORTS]
    }
}

/// What is known of a group.
#[derive(Clone, Copy, Debug, Default)]
struct GroupEntry {
    connections: [u32; PORTS],
    /// Handshakes.
    calls: Pace,
}

impl GroupEntry {
    fn rests(&self, now: Time) -> bool {
        self.connections == [0; PORTS] && self.calls.is_full(now)
    }
}

/// Who may come in.
pub struct Limits {
    per_address_max: u32,
    per_group_max: [u32; PORTS],
    /// New connections, at each port.
    calls: [Rate; PORTS],
    limit_local: bool,
    entries_max: usize,
    validators: BTreeSet<Source>,
    entries: BTreeMap<Source, Entry>,
    /// Entries without a connection, by when they were heard of last.
    resting: BTreeSet<(Time, Source)>,
    groups: BTreeMap<Group, GroupEntry>,
}

impl Limits {
    /// Limits for at most so many connections; validators live at these addresses.
    pub fn new(
        config: &NetConfig,
        connections_max: usize,
        validators: impl Iterator<Item = IpAddr>,
    ) -> Limits {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let rate = |per_second: usize| Rate { per_second: per_second as u64, burst: CALLS_BURST };
        Limits {
            per_address_max: number(config.per_address_max),
            per_group_max: [config.per_group_max.min(GROUP_STRANGERS_MAX), config.per_group_max].map(number),
            calls: [config.handshakes_per_second, config.client_calls_per_second].map(rate),
            limit_local: config.limit_local,
            entries_max: connections_max + RESTING_MAX,
            validators: validators.map(Source::of).collect(),
            entries: BTreeMap::new(),
            resting: BTreeSet::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Validators live at these addresses, and at no others by the configuration.
    pub fn set_validators(&mut self, validators: impl Iterator<Item = IpAddr>) {
        self.validators = validators.map(Source::of).collect();
    }

    /// A connection to a port, which counts from now on if it is let in.
    ///
    /// # Errors
    /// [`Denied::Address`] and [`Denied::Group`]: others may make room, then it may come again.
    pub fn admit(&mut self, address: IpAddr, port: usize, now: Time) -> Result<(), Denied> {
        let Some(source) = self.limited(address) else { return Ok(()) };
        let (per_address_max, rate) = (self.per_address_max, self.rate_of(source, port, now));
        let (sheltered, group_rate) = (self.shelters(source, now), self.group_rate());
        let shut = |entry: &Entry| entry.refused_until > now && entry.chances[port] > now;
        if !sheltered && self.entries.get(&source).is_some_and(shut) {
            return Err(Denied::Refused);
        }
        // Where a validator lives its network is not asked how often it calls.
        let has_rate = port == PEERS && !sheltered;
        let group = source.group();
        if let Some(of_group) = group.and_then(|group| self.groups.get(&group)) {
            if has_rate && !{ of_group.calls }.take(&group_rate, now) {
                return Err(Denied::GroupRate);
            }
            if of_group.connections[port] >= self.per_group_max[port] {
                return Err(Denied::Group);
            }
        }
        self.entry(source, now, |entry| {
            if entry.connections[port] >= per_address_max {
                return Err(Denied::Address);
            }
            if !entry.calls[port].take(&rate, now) {
                return Err(Denied::Rate);
            }
            entry.connections[port] += 1;
            entry.chances[port] = now + REFUSED_CHANCE;
            Ok(())
        })?;
        if let Some(group) = group {
            if self.groups.len() >= self.entries_max && !self.groups.contains_key(&group) {
                self.groups.retain(|_, entry| !entry.rests(now));
                let bare = |(_, entry): &(&Group, &GroupEntry)| entry.connections == [0; PORTS];
                if self.groups.len() >= self.entries_max
                    && let Some(bare) = self.groups.iter().find(bare).map(|(group, _)| *group)
                {
                    self.groups.remove(&bare);
                }
            }
            let entry = self.groups.entry(group).or_default();
            entry.connections[port] += 1;
            if has_rate {
                entry.calls.charge(1, &group_rate, now);
            }
        }
        Ok(())
    }

    /// A connection that counted is gone, or its other side has proved an identity.
    pub fn left(&mut self, address: IpAddr, port: usize, now: Time) {
        let Some(source) = self.limited(address) else { return };
        self.entry(source, now, |entry| entry.connections[port] = entry.connections[port].saturating_sub(1));
        if let Some(group) = source.group()
            && let Some(entry) = self.groups.get_mut(&group)
        {
            entry.connections[port] = entry.connections[port].saturating_sub(1);
            if entry.rests(now) {
                self.groups.remove(&group);
            }
        }
    }

    /// A validator has proved itself at an address: the connection counts no more, and its handshake is paid back.
    pub fn proved(&mut self, address: IpAddr, port: usize, now: Time) {
        self.left(address, port, now);
        let Some(source) = self.limited(address) else { return };
        let (rate, group_rate) = (self.rate_of(source, port, now), self.group_rate());
        if !self.shelters(source, now)
            && let Some(entry) = source.group().and_then(|group| self.groups.get_mut(&group))
        {
            entry.calls.give_back(&group_rate);
        }
        self.entry(source, now, |entry| {
            entry.calls[port].give_back(&rate);
            entry.known_until = now + KNOWN_FOR;
        });
    }

    /// Somebody without identity has done wrong at an address. For how long it is refused, if that begins now.
    pub fn fault(&mut self, address: IpAddr, points: u64, now: Time) -> Option<Duration> {
        let source = self.limited(address).filter(|_| points > 0)?;
        let shelters = self.shelters(source, now);
        self.entry(source, now, |entry| {
            if entry.score.add(points, now) < SCORE_MAX || shelters {
                return None;
            }
            entry.score.clear();
            // Who behaved for as long as it would be refused begins anew.
            let again = now.since(entry.refused_until) < entry.next_refusal;
            let span = if again { entry.next_refusal } else { ADDRESS_REFUSAL_MIN };
            entry.next_refusal = (span * 2).min(ADDRESS_REFUSAL_MAX);
            (entry.refused_until, entry.chances) = (now + span, [now + REFUSED_CHANCE; PORTS]);
            Some(span)
        })
    }

    /// Whether an address has one left of the questions that clients ask for the first time while others wait; it is taken.
    pub fn take_first_question(&mut self, address: IpAddr, now: Time) -> bool {
        let rate = Rate { per_second: QUESTIONS_TOGETHER, burst: FIRST_QUESTIONS_BURST };
        let Some(source) = self.limited(address) else { return true };
        self.entry(source, now, |entry| entry.first_questions.take(&rate, now))
    }

    /// Whether validators live at an address, so that it is not refused.
    pub fn shelters(&self, source: Source, now: Time) -> bool {
        self.validators.contains(&source)
            || self.entries.get(&source).is_some_and(|entry| entry.known_until > now)
    }

    /// Of handshakes of one group.
    fn group_rate(&self) -> Rate {
        let rate = self.calls[PEERS];
        Rate { per_second: rate.per_second.saturating_mul(GROUP_RATE_FACTOR), ..rate }
    }

    fn rate_of(&self, source: Source, port: usize, now: Time) -> Rate {
        let factor = if self.shelters(source, now) { KNOWN_RATE_FACTOR } else { 1 };
        Rate { per_second: self.calls[port].per_second.saturating_mul(factor), ..self.calls[port] }
    }

    /// The source of an address that has limits.
    pub fn limited(&self, address: IpAddr) -> Option<Source> {
        Some(Source::of(address)).filter(|source| self.limit_local || !source.is_local())
    }

    /// Does something to the entry of an address, made if there is none, and keeps the table within its bound.
    fn entry<T>(&mut self, source: Source, now: Time, change: impl FnOnce(&mut Entry) -> T) -> T {
        if self.entries.len() >= self.entries_max
            && !self.entries.contains_key(&source)
            && let Some((_, oldest)) = self.resting.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let entry = self.entries.entry(source).or_default();
        self.resting.remove(&(entry.used, source));
        let result = change(entry);
        entry.used = now;
        if entry.rests() {
            self.resting.insert((now, source));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_700_000_000_000_000);

    fn limits(config: NetConfig, validators: &[&str]) -> Limits {
        Limits::new(&config, 100, validators.iter().map(|address| ip(address)))
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn config() -> NetConfig {
        NetConfig { per_address_max: 3, per_group_max: 5, handshakes_per_second: 10, ..NetConfig::default() }
    }

    #[test]
    fn an_address_and_a_network_hold_only_so_many_connections_at_each_port() {
        let mut limits = limits(config(), &[]);
        let mut admit = |address: &str, port| limits.admit(ip(address), port, NOW);
        for _ in 0..3 {
            assert_eq!(admit("8.8.1.1", 0), Ok(()));
        }
        assert_eq!(admit("8.8.1.1", 0), Err(Denied::Address));
        assert_eq!(admit("8.8.1.1", 1), Ok(()), "the other port has its own count");
        assert_eq!(admit("8.8.2.2", 0), Ok(()));
        assert_eq!(admit("8.8.3.3", 0), Ok(()));
        assert_eq!(admit("8.8.4.4", 0), Err(Denied::Group));
        assert_eq!(admit("8.9.4.4", 0), Ok(()));
        limits.left(ip("8.8.2.2"), 0, NOW);
        assert_eq!(limits.admit(ip("8.8.4.4"), 0, NOW), Ok(()));
        assert_eq!(limits.admit(ip("::ffff:8.8.1.1"), 0, NOW), Err(Denied::Group), "the same in IPv6");
    }

    #[test]
    fn an_ipv6_machine_has_one_64_and_its_network_a_32() {
        let mut limits = limits(config(), &[]);
        let mut admit = |address: &str| limits.admit(ip(address), 0, NOW);
        assert_eq!(admit("2001:db8:1:1::1"), Ok(()));
        assert_eq!(admit("2001:db8:1:1::2"), Ok(()));
        assert_eq!(admit("2001:db8:1:1:9::3"), Ok(()));
        assert_eq!(admit("2001:db8:1:1:8::4"), Err(Denied::Address));
        assert_eq!(admit("2001:db8:2:1::1"), Ok(()));
        assert_eq!(admit("2001:db8:3:1::1"), Ok(()));
        assert_eq!(admit("2001:db8:4:1::1"), Err(Denied::Group));
        assert_eq!(admit("2001:db9:4:1::1"), Ok(()));
    }

    #[test]
    fn a_chain_on_one_machine_or_in_one_private_network_fits() {
        let mut limits = limits(config(), &[]);
        for _ in 0..1000 {
            assert_eq!(limits.admit(ip("127.0.0.1"), 0, NOW), Ok(()));
            assert_eq!(limits.admit(ip("::1"), 0, NOW), Ok(()));
        }
        for host in 0..100 {
            assert_eq!(limits.admit(ip(&format!("10.0.0.{host}")), 0, NOW), Ok(()));
            assert_eq!(limits.admit(ip(&format!("fd00:0:0:{host}::1")), 0, NOW), Ok(()));
        }
        assert_eq!(limits.fault(ip("127.0.0.1"), 1000, NOW), None);
        let mut strict = Limits::new(&NetConfig { limit_local: true, ..config() }, 100, std::iter::empty());
        assert!((0..4).any(|_| strict.admit(ip("127.0.0.1"), 0, NOW) == Err(Denied::Address)));
    }

    #[test]
    fn handshakes_have_a_rate_that_identities_do_not_use_up() {
        let mut limits =
            limits(NetConfig { per_address_max: 1000, per_group_max: 1000, ..config() }, &["8.8.8.8"]);
        let burst = |limits: &mut Limits, address: &str| {
            let admitted = |limits: &mut Limits| {
                let admitted = limits.admit(ip(address), 0, NOW).is_ok();
                limits.left(ip(address), 0, NOW);
                admitted
            };
            (0..900).filter(|_| admitted(limits)).count()
        };
        let most = 10 * CALLS_BURST.as_secs() as usize;
        assert_eq!(burst(&mut limits, "8.1.1.1"), most);
        assert_eq!(limits.admit(ip("8.1.1.1"), 0, NOW), Err(Denied::Rate));
        assert_eq!(limits.admit(ip("8.1.1.1"), 1, NOW), Ok(()), "the other port has its own rate");
        assert_eq!(burst(&mut limits, "8.8.8.8"), most * KNOWN_RATE_FACTOR as usize, "validators live there");
        for _ in 0..10 * most {
            assert_eq!(limits.admit(ip("8.2.2.2"), 0, NOW), Ok(()));
            limits.proved(ip("8.2.2.2"), 0, NOW);
        }
    }

    #[test]
    fn a_network_has_a_rate_of_handshakes_and_a_share_of_strangers_where_no_validator_lives() {
        let many = NetConfig { per_address_max: 9999, per_group_max: 9999, ..config() };
        let mut limits = limits(many, &["8.8.200.1"]);
        let call = |limits: &mut Limits, number: u32, now| {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0808_0000 + number));
            let admitted = limits.admit(address, 0, now);
            if admitted.is_ok() {
                limits.left(address, 0, now);
            }
            admitted
        };
        let most = 10 * (GROUP_RATE_FACTOR * CALLS_BURST.as_secs()) as usize;
        assert_eq!((0..900).filter(|number| call(&mut limits, *number, NOW).is_ok()).count(), most);
        assert_eq!(call(&mut limits, 901, NOW), Err(Denied::GroupRate));
        assert_eq!(limits.admit(ip("8.9.1.1"), 0, NOW), Ok(()), "another network");
        assert_eq!(limits.admit(ip("8.8.1.1"), 1, NOW), Ok(()), "a client");
        assert_eq!(limits.admit(ip("8.8.200.1"), 0, NOW), Ok(()), "a validator lives there");
        // Whoever proves a seat has its call back, and its network too.
        let later = NOW + Duration::from_secs(60);
        for _ in 0..2 * most {
            assert_eq!(limits.admit(ip("8.8.7.7"), 0, later), Ok(()));
            limits.proved(ip("8.8.7.7"), 0, later);
        }
        let strangers = (1000..2000)
            .filter(|number| {
                let address = IpAddr::V4(Ipv4Addr::from_bits(0x0708_0000 + number));
                limits.admit(address, 0, later).is_ok()
            })
            .count();
        assert_eq!(strangers, GROUP_STRANGERS_MAX);
    }

    #[test]
    fn an_address_is_refused_for_longer_each_time_and_forgiven_in_the_end() {
        let mut limits = limits(config(), &[]);
        let (bad, mut now) = (ip("8.8.8.8"), NOW);
        for times in 0..3 {
            assert_eq!(limits.fault(bad, SCORE_MAX - 1, now), None);
            assert_eq!(limits.fault(bad, 1, now), Some(ADDRESS_REFUSAL_MIN * (1 << times)));
            assert_eq!(limits.admit(bad, 1, now), Err(Denied::Refused));
            now = now + ADDRESS_REFUSAL_MIN * (1 << times);
            assert_eq!(limits.admit(bad, 1, now), Ok(()), "it is over");
            limits.left(bad, 1, now);
        }
        now = now + ADDRESS_REFUSAL_MAX;
        assert_eq!(limits.fault(bad, SCORE_MAX, now), Some(ADDRESS_REFUSAL_MIN));
    }

    #[test]
    fn of_an_address_that_is_refused_one_is_let_in_now_and_then() {
        let mut limits = limits(config(), &[]);
        let bad = ip("8.8.8.8");
        limits.fault(bad, SCORE_MAX, NOW);
        limits.fault(bad, SCORE_MAX, NOW);
        for times in 1..=3 {
            let now = NOW + REFUSED_CHANCE * times;
            for port in 0..PORTS {
                let just_before = Time(now.0 - 1);
                assert_eq!(limits.admit(bad, port, just_before), Err(Denied::Refused));
                assert_eq!(limits.admit(bad, port, now), Ok(()), "one at each port");
                assert_eq!(limits.admit(bad, port, now), Err(Denied::Refused));
            }
        }
    }

    #[test]
    fn where_a_validator_lives_nobody_is_refused_for_another() {
        let mut limits = limits(config(), &["8.8.8.8"]);
        for address in ["8.8.8.8", "9.9.9.9"] {
            assert_eq!(limits.admit(ip(address), 0, NOW), Ok(()));
            limits.proved(ip(address), 0, NOW);
            assert_eq!(limits.fault(ip(address), 10 * SCORE_MAX, NOW), None);
            assert_eq!(limits.admit(ip(address), 0, NOW), Ok(()));
        }
        let later = NOW + KNOWN_FOR;
        assert_eq!(limits.fault(ip("9.9.9.9"), SCORE_MAX, later), Some(ADDRESS_REFUSAL_MIN), "none lately");
        assert_eq!(limits.fault(ip("8.8.8.8"), SCORE_MAX, later), None, "the configuration says so");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_rests_longest() {
        let mut limits = limits(config(), &[]);
        let held = ip("7.7.7.7");
        assert_eq!(limits.admit(held, 0, NOW), Ok(()));
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits((11 << 24) + number));
        for number in 0..20_000 {
            limits.fault(address(number), SCORE_MAX, NOW + Duration::from_millis(u64::from(number)));
        }
        let later = NOW + Duration::from_secs(20);
        assert_eq!((limits.entries.len(), limits.resting.len()), (100 + RESTING_MAX, 100 + RESTING_MAX - 1));
        assert!(limits.entries.contains_key(&Source::of(held)), "who is connected is not forgotten");
        assert_eq!(limits.admit(address(1), 0, later), Ok(()), "forgotten");
        assert_eq!(limits.admit(address(19_999), 0, later), Err(Denied::Refused));
        limits.left(held, 0, later);
        limits.left(address(1), 0, later);
        assert!(limits.groups.values().all(|entry| entry.rests(later + Duration::from_secs(1))));
    }
}
