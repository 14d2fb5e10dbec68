//! A world: nodes, network, disks, clients and faults under one clock. One thread, total order of events; the same
//! plan gives the same trace.

use super::check::{Checks, Violation};
use super::clients::{self, Clients};
use super::config::{Crypto, SimConfig, SimError};
use super::lies::{self, Hand, Liar};
use super::net::Network;
use super::place::Place;
use super::plan::{Plan, What};
use super::queue::{Event, EventQueue, MS, Nanos};
use super::random::{bytes, draw};
use super::report::Conviction;
use super::stats::Stats;
use super::trace::Trace;
use super::work::Verdicts;
use crate::crypto::{SigningKey, public_key, signing_key_from_seed};
use crate::node::Input;
use crate::types::{AccountNumber, Genesis, Key, Rules, Seat, SeatInfo};
use crate::wire::chain_id;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the checkers look at the nodes.
const SAMPLE: Nanos = 100 * MS;
/// The first connections are made within this time.
const FIRST_DIALS: Nanos = 20 * MS;
/// Blocks from checkpoint to checkpoint: often, since runs are short.
const CHECKPOINT_BLOCKS: u64 = 16;
/// The collection depth where nodes are forgetful: vertices are kept on disk for ten times as many rounds.
const FORGETFUL_DEPTH: u64 = 20;
/// Events between two looks at whether the run is to end.
const LOOK: u64 = 1 << 8;
/// The purposes of draws.
const SEAT_KEY: u64 = 1;
pub(super) const NODE_SEED: u64 = 2;
const FIRST_DIAL: u64 = 3;

/// A world in its course.
pub struct World {
    pub(super) plan: Plan,
    pub(super) genesis: Arc<Genesis>,
    pub(super) keys: Vec<SigningKey>,
    /// Those of the seats in order, then those of twins' copies.
    pub(super) places: Vec<Place>,
    /// The layers of those who lie, by place.
    pub(super) liars: BTreeMap<u16, Liar>,
    pub(super) network: Network,
    pub(super) clients: Clients,
    pub(super) queue: EventQueue,
    pub(super) now: Nanos,
    /// Faults that have begun and not ended, by their place in the plan.
    pub(super) active: Vec<usize>,
    pub(super) verdicts: Verdicts,
    pub(super) checks: Checks,
    pub(super) violation: Option<(Nanos, Violation)>,
    pub(super) trace: Trace,
    pub(super) stats: Stats,
    /// Who was convicted first by whom.
    pub(super) convictions: Vec<Conviction>,
}

/// Why a run was left before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl World {
    /// The world of a plan, before anything happened.
    ///
    /// # Errors
    /// The plan cannot be played.
    pub fn new(plan: Plan) -> Result<World, SimError> {
        plan.check()?;
        let config = &plan.config;
        let copies: Vec<u16> = lies::copies(&plan).into_iter().map(|(_, seat)| seat).collect();
        let network = Network::new(config, &copies)?;
        let account_keys = clients::keys(config);
        let keys: Vec<_> = (0..config.nodes)
            .map(|seat| signing_key_from_seed(bytes(config.seed, SEAT_KEY, seat.into())))
            .collect();
        let genesis = genesis(config, &network, &keys, &account_keys);
        genesis.check().map_err(|error| SimError::Genesis(error.to_string()))?;
        let chain = chain_id(&genesis);
        let seats: Vec<u16> = (0..config.nodes).chain(copies).collect();
        let (silent, liars) = (plan.silent(), plan.liars());
        let place = |&seat: &u16| Place {
            silent: silent.contains(&seat),
            lies: liars.contains(&seat),
            ..Place::new(config, chain.0, seat, seats.len())
        };
        let places: Vec<Place> = seats.iter().map(place).collect();
        let genesis = Arc::new(genesis);
        let layer = |(place, &seat): (u16, &u16)| {
            let key = keys[usize::from(seat)].clone();
            let (genesis, seed) = (genesis.clone(), config.seed);
            let hand = Hand { seat: Seat(seat), key, chain, genesis, seed, leads: false };
            liars.contains(&seat).then(|| (place, Liar::new(hand)))
        };
        let mut world = World {
            clients: Clients::new(config, chain, &genesis, account_keys, !liars.is_empty()),
            checks: Checks::new(&genesis, &liars),
            liars: (0..).zip(&seats).filter_map(layer).collect(),
            verdicts: Verdicts::new(config.crypto),
            stats: Stats::new(config, plan.healed()),
            genesis,
            keys,
            places,
            network,
            queue: EventQueue::default(),
            now: 0,
            active: Vec::new(),
            violation: None,
            trace: Trace::default(),
            convictions: Vec::new(),
            plan,
        };
        let nodes = usize::from(world.plan.config.nodes);
        world.places[nodes..].iter_mut().for_each(|copy| copy.down_until = Nanos::MAX);
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for (fault, number) in self.plan.faults.iter().zip(0..) {
            if let What::Amnesia { age_us, .. } = fault.what {
                self.queue.push((fault.at_us - age_us) * 1000, Event::Copy { fault: number });
            }
            if let What::Late { node } = fault.what {
                let place = &mut self.places[usize::from(node)];
                place.down_until = place.down_until.max((fault.at_us + fault.for_us) * 1000);
            }
            self.queue.push(fault.at_us * 1000, Event::Begin { fault: number });
            self.queue.push((fault.at_us + fault.for_us) * 1000, Event::End { fault: number });
        }
        let nodes = self.plan.config.nodes;
        (0..nodes).for_each(|seat| self.start(seat));
        for (a, b) in (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))) {
            let drawn = draw(self.plan.config.seed, &[FIRST_DIAL, a.into(), b.into()]);
            self.queue.push(super::random::below(drawn, FIRST_DIALS), Event::Dial { a, b });
        }
        self.queue.push(clients::FIRST, Event::Clients);
        self.queue.push(SAMPLE, Event::Sample);
    }

    /// Plays until the run is over or a rule is broken.
    ///
    /// # Errors
    /// `watch` said so.
    pub fn run(&mut self, watch: &dyn Fn(Duration) -> bool) -> Result<(), Interrupted> {
        let mut count: u64 = 0;
        while self.violation.is_none() {
            let Some((at, event)) = self.queue.pop() else { return Ok(()) };
            if at > self.now && self.is_over(at) {
                return Ok(());
            }
            self.now = at;
            self.happen(event);
            count += 1;
            if count.is_multiple_of(LOOK) && watch(Duration::from_nanos(self.now)) {
                return Err(Interrupted);
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Reach(flight) => self.reach(flight),
            Event::Turn { seat, life } => {
                let place = &mut self.places[usize::from(seat)];
                if place.life == life && place.turn_at == Some(now) {
                    place.turn_at = None;
                    self.turn(seat);
                }
            }
            Event::Done { seat, life, work } => {
                if self.places[usize::from(seat)].life == life {
                    self.finish(seat, *work);
                }
            }
            Event::Synced { seat, life, group } => {
                if self.places[usize::from(seat)].life == life {
                    self.synced(seat, group);
                }
            }
            Event::Snapshot { seat, life } => {
                if self.places[usize::from(seat)].life == life {
                    self.snapshot_written(seat);
                }
            }
            Event::Dial { a, b } => self.dial(a, b),
            Event::Lost { seat, peer } => self.lost(seat, peer),
            Event::Clients => self.clients_send(),
            Event::Begin { fault } => self.begin_fault(fault),
            Event::End { fault } => self.end_fault(fault),
            Event::Crash { seat, life, fault } => {
                if self.places[usize::from(seat)].life == life {
                    self.crash_by(seat, fault);
                }
            }
            Event::Late { seat, life, letter } => {
                if self.places[usize::from(seat)].life == life {
                    self.post(seat, letter, now);
                }
            }
            Event::Copy { fault } => self.copy_directory(fault),
            Event::Sample => self.sample(),
        }
    }

    /// Hands something to a node and lets its loop look at it.
    pub(super) fn report(&mut self, seat: u16, input: Input) {
        let place = &mut self.places[usize::from(seat)];
        if place.machine.is_some() {
            place.inputs.push_back(input);
            let at = place.cpu.loop_free_at().max(self.now);
            self.plan_turn_at(seat, at);
        }
    }

    /// Plans the next turn of a node's loop, unless an earlier one is planned.
    pub(super) fn plan_turn(&mut self, seat: u16) {
        let now = self.now;
        let place = &mut self.places[usize::from(seat)];
        if let Some(at) = place.next_turn(now) {
            self.plan_turn_at(seat, at);
        }
    }

    /// The same when it is known that there is something to do at `at`.
    pub(super) fn plan_turn_at(&mut self, seat: u16, at: Nanos) {
        let place = &mut self.places[usize::from(seat)];
        if place.turn_at.is_none_or(|planned| planned > at) {
            place.turn_at = Some(at);
            self.queue.push(at, Event::Turn { seat, life: place.life });
        }
    }

    /// How nodes conduct themselves.
    pub(super) fn node_config(&self) -> crate::node::NodeConfig {
        self.plan.config.node()
    }

    /// The nodes that run, ascending.
    pub(super) fn running(&self) -> Vec<u16> {
        let places = self.places.iter().zip(0..self.plan.config.nodes);
        places.filter_map(|(place, seat)| place.machine.as_ref().map(|_| seat)).collect()
    }

    /// A rule was broken: the first one counts.
    pub(super) fn broken(&mut self, violation: Violation) {
        self.violation.get_or_insert((self.now, violation));
    }

    /// A machine, or the world itself, panicked.
    pub(super) fn panicked(&mut self, words: &str) {
        self.broken(Violation { checker: "panic", words: format!("a machine panicked: {words}") });
    }

    pub(super) fn keeps_decoded(&self) -> bool {
        self.plan.config.crypto == Crypto::Cached
    }

    fn sample(&mut self) {
        for seat in 0..self.plan.config.nodes {
            if let Err(words) = self.check_memory(seat) {
                self.broken(Violation { checker: "memory", words });
            }
        }
        self.stats.events_max = self.stats.events_max.max(self.queue.len());
        self.stats.sampled(self.now, self.places.iter().map(|place| place.progress));
        self.queue.push(self.now + SAMPLE, Event::Sample);
    }

    fn check_memory(&mut self, seat: u16) -> Result<(), String> {
        let config = self.node_config();
        let place = &mut self.places[usize::from(seat)];
        let Some((node, shared)) = place.machine.as_ref().filter(|_| !place.lies) else { return Ok(()) };
        let progress = node.progress();
        let waiting = shared.mempool.len() + shared.mempool.held();
        let holds = super::check::memory::Holds {
            node: node.holdings(),
            mempool: (waiting, config.mempool_rows_max),
            batches_kept: config.batches_kept,
            inbox_bytes: place.inbox_bytes,
        };
        place.note(progress);
        super::check::memory::check(seat, self.plan.config.nodes.into(), &self.genesis.rules, &holds)
    }
}

fn genesis(
    config: &SimConfig,
    network: &Network,
    keys: &[SigningKey],
    account_keys: &[crate::crypto::ExposedKey],
) -> Genesis {
    let seats = keys
        .iter()
        .zip(1..)
        .map(|(key, number)| SeatInfo { key: Key(public_key(key)), fee_account: AccountNumber(number) });
    // The message delay that the timers count in covers the longest way.
    let delay_ms = (network.latency_max() / MS + 1).next_multiple_of(10).max(100);
    let usual = Rules::of(config.nodes.into());
    let rules = Rules {
        policy: config.verify,
        delay_ms: delay_ms as u32,
        checkpoint_blocks: CHECKPOINT_BLOCKS,
        depth: if config.forgetful { FORGETFUL_DEPTH } else { usual.depth },
        ..usual
    };
    Genesis {
        name: format!("sim {} {}", config.nodes, config.seed),
        time: Place::genesis_time(),
        rules,
        seats: seats.collect(),
        accounts: clients::genesis_accounts(account_keys),
    }
}
