//! Hostile peers against nodes that run already: what these do not tell their clients is not known, and said to be so.

use super::bounds::{self, Recovery};
use super::document::{Cpu, Part, Seen, StressDocument, StressSettings, TargetStatus};
use super::{SETTLE_MAX, check_peers};
use crate::api::Client;
use crate::crypto::{self, SigningKey};
use crate::home::{self, Secret};
use crate::lab::clock::Clock;
use crate::lab::figures;
use crate::lab::flow::Flow;
use crate::lab::generator::{Pace, Running};
use crate::lab::hostile::{Apart, Door, Kind, Plan, Told};
use crate::lab::lane::Lane;
use crate::lab::observe::{Observers, Settled, on_quorum};
use crate::lab::preflight::{self, BadInput, Needs};
use crate::lab::session::SessionError;
use crate::lab::verdict::{self, Verdict};
use crate::lab::workload::Chunk;
use crate::lab::{Interrupt, Step, Watch};
use crate::net::Identity;
use crate::types::{AccountNumber, ChainId, Effect, Genesis, Seat, Time, Witness};
use crate::wire::{chain_id, transaction_digest};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer of a node may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked about.
const LOOK_ABOUT: Duration = Duration::from_millis(100);
/// Accounts of a keyring that send load at most: each is asked for beforehand.
const SENDERS_MAX: u32 = 256;
/// Transfers that are signed between two looks at whether somebody wants it to end.
const ROWS_A_LOOK: usize = 1024;
/// A fee that suffices, where no genesis tells the least.
const FEE: u32 = 1;

/// The settings of a run against nodes that are there.
#[derive(Clone, Debug, Default)]
pub struct TargetConfig {
    /// Addresses of the nodes, for peers or for clients; at least one for clients.
    pub addresses: Vec<String>,
    /// The file of the chain's genesis, for kinds that shake hands.
    pub genesis: Option<PathBuf>,
    /// A keyring with accounts of the chain: then there is a load, and kinds that sign can come.
    pub keys: Option<PathBuf>,
    /// Transactions of the load per second.
    pub rate: f64,
    /// Hostile peers.
    pub peers: usize,
    /// What they do, in turn; `None`: all that is possible with what is known.
    pub kinds: Option<Vec<Kind>>,
    /// How long they stay.
    pub duration: Duration,
    /// How long is measured without them, before and after.
    pub calm: Duration,
    /// `throng` itself.
    pub program: PathBuf,
    /// From which everything is drawn.
    pub seed: u64,
}

impl TargetConfig {
    /// Refuses what cannot be run.
    fn check(&self) -> Result<(), BadInput> {
        preflight::check_duration(self.duration)?;
        preflight::check_calm(self.calm)?;
        check_peers(self.peers)?;
        let (connections, rows) = (self.peers as u64, self.rows());
        Needs { connections, rows, apart: true, ..Needs::default() }.check(&std::env::temp_dir())
    }

    /// Transactions that the load signs beforehand: a second more than all parts take.
    fn rows(&self) -> u64 {
        let seconds = (self.duration + self.calm * 2 + SETTLE_MAX).as_secs_f64() + 1.0;
        if self.keys.is_some() { (self.rate * seconds) as u64 } else { 0 }
    }
}

/// What is known of the target.
struct Target {
    peer_ports: Vec<SocketAddr>,
    client_ports: Vec<SocketAddr>,
    /// Those for clients, as they were named.
    clients: Vec<String>,
    chain: ChainId,
    seats: usize,
    accounts: u32,
    fee: u32,
    senders: Vec<Sender>,
}

/// An account that sends.
struct Sender {
    number: u32,
    key: SigningKey,
    public: [u8; 32],
    nonce: u64,
}

/// Runs hostile peers against nodes that are there.
///
/// # Errors
/// An address at which no node answers, a kind for which something is missing, or a file that cannot be read.
pub fn run(
    config: &TargetConfig,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<StressDocument, SessionError> {
    config.check()?;
    let mut target = Target::find(config, interrupt)?;
    let nodes = target.client_ports.len();
    let kinds = kinds(config, &target)?;
    watch(nodes, Step::Starting);
    let plan = target.plan(config, &kinds);
    let (flow, clock) = (Arc::new(Flow::default()), Clock::system());
    let tell = |done, total| watch(nodes, Step::Signing(done, total));
    let lanes = target.lanes(config.rows(), interrupt, &tell)?;
    let offered = if lanes.is_empty() { 0.0 } else { config.rate };
    let observers = Observers::start(&target.client_ports, &flow).map_err(SessionError::Clients)?;
    let pace = Pace::Rate { start: clock.now(), per_second: config.rate };
    let running = (!lanes.is_empty()).then(|| Running::start(lanes, &flow, clock, pace)).transpose();
    let running = running.map_err(SessionError::Clients)?;
    let sight = Sight { config, target: &target, plan: &plan, flow: &flow, clock, observers: &observers };
    let (mut parts, told, windows, failed) = sight.parts(interrupt, watch)?;
    drop(running);
    let seen = observers.stop();
    let settled = on_quorum(&seen.notices, 1);
    let verdict = match (verdict::divergence(&seen.notices, &[]), failed) {
        (Some(reason), _) => Verdict::Diverged(reason),
        (None, Some(reason)) => Verdict::Failed(reason),
        (None, None) => Verdict::Agreed,
    };
    count(&mut parts, &windows, &settled);
    let recovery = match (&windows[..], parts.first().and_then(|before| before.tps)) {
        ([_, (.., left), (_, end, _)], Some(before)) if offered > 0.0 => {
            Some(Recovery::find(before, *left, *end, &settled))
        }
        _ => None,
    };
    let bounds = match interrupt.is_raised() {
        true => Vec::new(),
        false => bounds::of_target(config, &parts, &told, recovery),
    };
    let recovery_s = recovery.and_then(|recovery| recovery.after_s);
    let settings = StressSettings {
        target: config.addresses.clone(),
        nodes: target.seats,
        peers: config.peers,
        kinds: kinds.iter().map(|kind| kind.name()).collect(),
        duration_s: config.duration.as_secs_f64(),
        calm_s: config.calm.as_secs_f64(),
        accounts: Some(target.accounts.into()),
        seed: config.seed,
        offered_tps: offered,
    };
    Ok(StressDocument::new(settings, parts, &told, recovery_s, bounds, &verdict, interrupt.is_raised()))
}

/// What a run looks at.
struct Sight<'a> {
    config: &'a TargetConfig,
    target: &'a Target,
    plan: &'a Plan,
    flow: &'a Flow,
    clock: Clock,
    observers: &'a Observers,
}

/// From when to when a part was measured, and when nobody was left who belonged to it.
type Window = (Time, Time, Time);
/// The parts, what the hostile peers did, the windows, and why the run ended early, if it did.
type Parts = (Vec<Part>, Told, Vec<Window>, Option<String>);

impl Sight<'_> {
    fn parts(&self, interrupt: &Interrupt, watch: Watch<'_>) -> Result<Parts, SessionError> {
        let Sight { config, target, plan, flow, clock, .. } = self;
        let (mut parts, mut windows, mut told, mut failed) = (Vec::new(), Vec::new(), Told::default(), None);
        for name in ["before", "during", "after"] {
            if name == "after" {
                interrupt.wait(SETTLE_MAX);
            }
            let apart = || Apart::start(&config.program, plan).map_err(SessionError::Hostile);
            let apart = (name == "during").then(apart).transpose()?;
            let (from, load_before, ok_before) = (clock.now(), flow.counts().cpu_ns, self.ok());
            let until = from + if name == "during" { config.duration } else { config.calm };
            while clock.now() < until
                && failed.is_none()
                && !interrupt.wait(LOOK_ABOUT.min(clock.until(until)))
            {
                let rate = figures::per_second(self.ok() - ok_before, clock.now().since(from));
                watch(target.client_ports.len(), Step::Part(name, rate));
                failed = self.broken(apart.as_ref());
            }
            let measured = clock.now();
            let seen = Seen::Told(target.ask());
            let mut cpu =
                Cpu { load: Some((flow.counts().cpu_ns - load_before) as f64 / 1e3), ..Cpu::default() };
            if let Some(apart) = apart {
                told = apart.stop();
                cpu.hostile = Some(told.cpu_us as f64);
            }
            windows.push((from, measured, clock.now()));
            parts.push(Part::of_target(name, measured.since(from), cpu, seen));
            if interrupt.is_raised() || failed.is_some() {
                break;
            }
        }
        Ok((parts, told, windows, failed))
    }

    fn ok(&self) -> u64 {
        self.observers.board().read(|seen| seen.ok.iter().copied().max().unwrap_or(0))
    }

    fn broken(&self, apart: Option<&Apart>) -> Option<String> {
        let lost = || {
            let node = self.observers.board().read(|seen| seen.lost.iter().position(|lost| *lost))?;
            Some(format!("{} ended its client's subscription", self.target.clients[node]))
        };
        let gone = || {
            apart.filter(|apart| apart.is_gone()).map(|_| "the process of the hostile peers ended".to_owned())
        };
        self.flow.broken().or_else(lost).or_else(gone)
    }
}

/// Fills in what only the whole run tells: throughput, and CPU time for each transaction, which is the time of the part until
/// then.
fn count(parts: &mut [Part], windows: &[Window], settled: &[Settled]) {
    for (part, (from, until, _)) in parts.iter_mut().zip(windows) {
        let ok = figures::in_window(settled, *from, *until).ok;
        part.tps = Some(figures::per_second(ok, until.since(*from)));
        for cpu in [&mut part.cpu_us_per_tx.load, &mut part.cpu_us_per_tx.hostile] {
            *cpu = cpu.filter(|_| ok > 0).map(|micros| micros / ok as f64);
        }
    }
}

/// The kinds that come: those asked for, if all is known that they need; else all that are possible.
fn kinds(config: &TargetConfig, target: &Target) -> Result<Vec<Kind>, BadInput> {
    let lacks = |kind: &Kind| {
        let doors = kind.about().doors;
        let peers =
            doors.contains(&Door::Peer) && target.peer_ports.is_empty() && !doors.contains(&Door::Client);
        match () {
            () if peers => Some("the address of a node for peers, by --target"),
            () if kind.needs_genesis() && config.genesis.is_none() => {
                Some("the chain's genesis, by --genesis")
            }
            () if kind.needs_keys() && target.senders.is_empty() => Some("keys of accounts, by --keys"),
            () => None,
        }
    };
    let Some(asked) = &config.kinds else {
        return Ok(Kind::all().into_iter().filter(|kind| lacks(kind).is_none()).collect());
    };
    match asked.iter().find_map(|kind| Some((kind.name(), lacks(kind)?))) {
        Some((kind, what)) => Err(BadInput::Kind { kind, what }),
        None => Ok(asked.clone()),
    }
}

impl Target {
    /// Asks every address what it is, and the first for the chain.
    fn find(config: &TargetConfig, interrupt: &Interrupt) -> Result<Target, SessionError> {
        let refused =
            |address: &str, reason: String| BadInput::Target { address: address.to_owned(), reason };
        let genesis = config.genesis.as_deref().map(home::read_genesis).transpose();
        let genesis: Option<Genesis> = genesis.map_err(|error| BadInput::File(error.to_string()))?;
        let (mut peer_ports, mut client_ports, mut clients, mut asked) =
            (Vec::new(), Vec::new(), Vec::new(), None);
        for name in &config.addresses {
            let address = name.to_socket_addrs().map_err(|error| refused(name, error.to_string()))?.next();
            let address = address.ok_or_else(|| refused(name, "the name has no address".to_owned()))?;
            // In this order: either port answers a preface at once, and a hello only one of them.
            if speaks_as_peer(address) {
                peer_ports.push(address);
                continue;
            }
            let client = Client::connect(name, PATIENCE).map_err(|error| refused(name, error.to_string()))?;
            let (chain, first) = (client.chain(), asked.get_or_insert(client));
            if first.chain() != chain {
                return Err(refused(name, format!("it is of another chain, {chain}")).into());
            }
            client_ports.push(address);
            clients.push(name.clone());
        }
        let Some(mut client) = asked else { return Err(BadInput::NoClientTarget.into()) };
        let (chain, node) = (client.chain(), clients[0].clone());
        if genesis.as_ref().is_some_and(|genesis| chain_id(genesis) != chain) {
            return Err(refused(
                &node,
                format!("it is of the chain {chain}, which does not begin with this --genesis"),
            )
            .into());
        }
        let status = client.status().map_err(|error| refused(&node, error.to_string()))?;
        // Account 0 is the sentinel: nobody's.
        let accounts = status.accounts.saturating_sub(1);
        let senders = match &config.keys {
            Some(keys) => senders(keys, accounts, &mut client, interrupt)?,
            None => Vec::new(),
        };
        let seats = usize::from(client.seat().1);
        let fee = genesis.map_or(FEE, |genesis| genesis.rules.fee_min);
        Ok(Target { peer_ports, client_ports, clients, chain, seats, accounts, fee, senders })
    }

    fn plan(&self, config: &TargetConfig, kinds: &[Kind]) -> Plan {
        // Those that hostile peers sign for send no load: the last ones.
        let last = self.senders.iter().rev().take(self.hostile_senders());
        Plan {
            kinds: kinds.to_vec(),
            peers: config.peers,
            peer_ports: self.peer_ports.clone(),
            client_ports: self.client_ports.clone(),
            chain: self.chain.to_string(),
            genesis: config.genesis.clone(),
            accounts: self.accounts,
            fee: self.fee,
            keys: last.map(|sender| (sender.number, hex::encode(sender.key.to_bytes()))).collect(),
            seed: config.seed,
        }
    }

    fn hostile_senders(&self) -> usize {
        (self.senders.len() / 2).min(8)
    }

    /// Signs so many transfers, for each node those of some of the accounts.
    fn lanes(
        &mut self,
        rows: u64,
        interrupt: &Interrupt,
        tell: &dyn Fn(u64, u64),
    ) -> Result<Vec<Lane>, SessionError> {
        let count = self.senders.len() - self.hostile_senders();
        if count < 2 || rows == 0 {
            return Ok(Vec::new());
        }
        let (chain, fee, ports) = (self.chain, self.fee, self.client_ports.len());
        let publics: Vec<(u32, [u8; 32])> = self.senders.iter().map(|it| (it.number, it.public)).collect();
        let mut signed: Vec<Vec<(Effect, Witness)>> = vec![Vec::new(); ports];
        for row in 0..rows as usize {
            if row.is_multiple_of(ROWS_A_LOOK) {
                tell(row as u64, rows);
                if interrupt.is_raised() {
                    return Err(SessionError::Interrupted);
                }
            }
            let (place, other) = (row % count, publics[(row + 1) % count]);
            let sender = &mut self.senders[place];
            sender.nonce += 1;
            let effect = Effect::transfer(sender.number, other.0, 1, sender.nonce, fee);
            let digest = transaction_digest(&chain, &effect, &sender.public, &other.1);
            signed[place % ports].push((effect, Witness(crypto::sign(&sender.key, &digest))));
        }
        let lane = |(node, rows): (usize, Vec<(Effect, Witness)>)| {
            let mut lane = Lane::new(node, self.client_ports[node]);
            lane.supply(vec![rows.into_iter().collect::<Chunk>()]);
            lane
        };
        Ok(signed.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).map(lane).collect())
    }

    /// Where every node stands, as it says.
    #[allow(clippy::disallowed_methods, reason = "how long an answer takes is part of it")]
    fn ask(&self) -> Vec<TargetStatus> {
        let ask = |node: &String| {
            let start = std::time::Instant::now();
            let status = Client::connect(node, PATIENCE).and_then(|mut client| client.status()).ok();
            TargetStatus::new(node, status.map(|status| (start.elapsed().as_secs_f64() * 1e3, status)))
        };
        self.clients.iter().map(ask).collect()
    }
}

/// The accounts that a file has keys of, as the chain has them.
fn senders(
    path: &Path,
    accounts: u32,
    client: &mut Client,
    interrupt: &Interrupt,
) -> Result<Vec<Sender>, SessionError> {
    let Secret::Keyring(keyring) =
        home::read_secret(path).map_err(|error| BadInput::File(error.to_string()))?
    else {
        return Err(BadInput::File(format!("{}: it has the key of one account: a load needs a keyring, such as accounts.toml of `throng up --dir`", path.display())).into());
    };
    let mut senders = Vec::new();
    for number in 1..=keyring.accounts().min(accounts).min(SENDERS_MAX) {
        if interrupt.is_raised() {
            return Err(SessionError::Interrupted);
        }
        let account =
            client.account(AccountNumber(number)).map_err(|error| BadInput::File(error.to_string()))?;
        let (Some(account), Some(key)) = (account, keyring.key(number)) else { continue };
        let public = crypto::public_key(&key);
        if public != account.key {
            return Err(BadInput::File(format!(
                "{}: its key of account {number} is not the one that the chain has",
                path.display()
            ))
            .into());
        }
        senders.push(Sender { number, key, public, nonce: account.nonce_high.get() });
    }
    Ok(senders)
}

/// Whether a node speaks there as to a peer: to the preface of another chain it answers with its own.
fn speaks_as_peer(address: SocketAddr) -> bool {
    let stranger = Identity {
        chain: ChainId([0; 32]),
        seat: Seat::NONE,
        key: crypto::signing_key_from_seed([0x1D; 32]),
        seats: Arc::new(crypto::KeySet::new([])),
    };
    let preface = stranger.preface();
    let talk = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&preface)?;
        let mut answer = [0; 16];
        stream.read_exact(&mut answer)?;
        Ok(answer[..8] == preface[..8])
    };
    talk().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_for_a_load_ends_when_it_is_interrupted() {
        let sender = |number: u32| {
            let key = crypto::signing_key_from_seed([number as u8; 32]);
            Sender { number, public: crypto::public_key(&key), key, nonce: 0 }
        };
        let mut target = Target {
            peer_ports: Vec::new(),
            client_ports: vec![([127, 0, 0, 1], 9).into()],
            clients: Vec::new(),
            chain: ChainId([0; 32]),
            seats: 1,
            accounts: 4,
            fee: FEE,
            senders: (1..=4).map(sender).collect(),
        };
        let (trigger, interrupt) = Interrupt::pair();
        let tell = |done, _| {
            if done > 0 {
                trigger.raise();
            }
        };
        // More than anybody waits for.
        let ended = target.lanes(1 << 40, &interrupt, &tell);
        assert!(matches!(ended, Err(SessionError::Interrupted)));
        let lanes = target.lanes(10, &Interrupt::never(), &|_, _| {}).unwrap();
        assert_eq!(lanes.iter().map(Lane::stock).sum::<u64>(), 10);
    }
}
