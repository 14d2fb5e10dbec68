//! Hostile peers: they come to the ports of a node as anyone on the network can, and do one kind of harm each.
//!
//! **Owns** the table of kinds ([`KINDS`]), what each of them does on a connection, the event loop that lets thousands of them
//! loose from one process, and that process. **May not** reach into a node: what a node saw of them is read from its counters.
//!
//! - Upon a start: every peer gets a kind, a port and, on this machine, an address of its own, in turn; then all connect, at a
//!   bounded rate.
//! - Upon a connection that a node ends: it is counted, and the peer comes back after a pause, as somebody new.
//! - Upon a socket that takes no bytes: the peer waits. So a flood is as fast as the node lets it be, and holds no memory here.
//! - Upon the end of the line to the process that started them: all hang up.
//!
//! Why they are in a process of their own, and each has a rate: what is to be measured is how nodes bear them, and not how much
//! of a shared machine they burn. Their CPU time is told beside that of the nodes.

mod apart;
mod client;
mod conduct;
mod crowd;
mod peer;
mod rows;
mod stranger;

pub use apart::{Apart, serve};
pub use crowd::{Counts, Crowd, Told, arrival};

use crate::crypto::{self, KeySet, SigningKey};
use crate::home;
use crate::metrics::Dismissal;
use crate::types::ChainId;
use crate::wire::client::Refusal;
use conduct::{Birth, Conduct};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a hostile peer does: [`KINDS`] says it of each.
#[allow(missing_docs, reason = "one table tells it, here and on the command line")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Idle,
    Quiet,
    HalfOpen,
    Churn,
    SlowHandshake,
    SlowRead,
    SlowWrite,
    Garbage,
    Oversize,
    Malformed,
    Identities,
    Flood,
    Duplicate,
    Forged,
    NonceGap,
}

/// The ports of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// For peers.
    Peer,
    /// For clients.
    Client,
}

/// What a node's counters show of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// Connections refused or dropped, for one of these reasons.
    Dismissed(&'static [Dismissal]),
    /// Rows refused, for one of these reasons.
    Refused(&'static [Refusal]),
    /// Peers or clients that were not read from for a while, for they asked more than their rate.
    Throttled,
    /// The one or the other: connections dropped for one of these reasons, or, where all together ask more than their rate, not
    /// read from, so that no answers pile up for which they could be dropped.
    Stalled(&'static [Dismissal]),
    /// Connections accepted, beyond one for each peer.
    Accepted,
    /// More than there is room for are refused; fewer are served.
    Crowd,
    /// None: who does nothing wrong is kept. As many are connected at the end as there are.
    Kept,
}

/// A kind in the table.
pub struct About {
    /// Which.
    pub kind: Kind,
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The ports that it comes to, in turn.
    pub doors: &'static [Door],
    /// What nodes show of it.
    pub sign: Sign,
    /// When that shows at the latest: what depends on a deadline shows after it.
    pub shows_after: Duration,
    /// Makes one.
    begin: fn(&Birth<'_>) -> Box<dyn Conduct>,
}

const PEER: &[Door] = &[Door::Peer];
const CLIENT: &[Door] = &[Door::Client];
const BOTH: &[Door] = &[Door::Peer, Door::Client];
/// For what shows at once.
const SOON: Duration = Duration::from_secs(1);
/// For what shows when nothing valid came within the deadline of a handshake.
const HANDSHAKE: Duration = Duration::from_millis(6_500);
/// For what shows when a connection takes no bytes for long.
const STALL: Duration = Duration::from_secs(12);
/// Somebody who does not come to an identity in time, or makes room for another.
const LATE: Sign = Sign::Dismissed(&[Dismissal::Silent, Dismissal::Full]);

/// All kinds.
#[rustfmt::skip]
pub const KINDS: [About; 15] = [
    About { kind: Kind::Idle, name: "idle", doors: BOTH, sign: LATE, shows_after: HANDSHAKE, begin: stranger::idle,
        help: "Connect and say nothing" },
    About { kind: Kind::Quiet, name: "quiet", doors: CLIENT, sign: Sign::Kept, shows_after: SOON, begin: client::quiet,
        help: "Say hello as clients and then nothing: as many as these stay" },
    About { kind: Kind::HalfOpen, name: "half-open", doors: BOTH, sign: LATE, shows_after: HANDSHAKE, begin: stranger::half_open,
        help: "Fall silent in the middle of their first words" },
    About { kind: Kind::Churn, name: "churn", doors: BOTH, sign: Sign::Accepted, shows_after: SOON, begin: stranger::churn,
        help: "Connect and leave at once, by an end or a reset, again and again" },
    About { kind: Kind::SlowHandshake, name: "slow-handshake", doors: PEER, sign: LATE, shows_after: HANDSHAKE, begin: peer::slow_handshake,
        help: "Hold back each step of the handshake, or stop at one of them" },
    About { kind: Kind::SlowRead, name: "slow-read", doors: CLIENT, sign: Sign::Stalled(&[Dismissal::Slow]), shows_after: STALL, begin: client::slow_read,
        help: "Ask for much as clients and read nothing, or a byte a second" },
    About { kind: Kind::SlowWrite, name: "slow-write", doors: BOTH, sign: LATE, shows_after: HANDSHAKE, begin: stranger::slow_write,
        help: "Send what is valid byte by byte" },
    About { kind: Kind::Garbage, name: "garbage", doors: BOTH, sign: Sign::Dismissed(&[Dismissal::Foreign, Dismissal::Oversize, Dismissal::Malformed]), shows_after: SOON, begin: stranger::garbage,
        help: "Send random bytes" },
    About { kind: Kind::Oversize, name: "oversize", doors: BOTH, sign: Sign::Dismissed(&[Dismissal::Oversize]), shows_after: SOON, begin: stranger::oversize,
        help: "Announce more bytes than anything may have" },
    About { kind: Kind::Malformed, name: "malformed", doors: PEER, sign: Sign::Dismissed(&[Dismissal::Malformed]), shows_after: SOON, begin: peer::malformed,
        help: "Shake hands as observers do, then send frames that do not decode" },
    About { kind: Kind::Identities, name: "identities", doors: PEER, sign: Sign::Crowd, shows_after: SOON, begin: peer::identities,
        help: "Come from one address, each with a valid identity of its own" },
    About { kind: Kind::Flood, name: "flood", doors: BOTH, sign: Sign::Throttled, shows_after: SOON, begin: flood,
        help: "Ask what may be asked, as fast as they are let" },
    About { kind: Kind::Duplicate, name: "duplicate", doors: CLIENT, sign: Sign::Refused(&[Refusal::Duplicate]), shows_after: SOON, begin: rows::duplicate,
        help: "Submit one signed transfer over and over, at all nodes: 320 rows a second each" },
    About { kind: Kind::Forged, name: "forged", doors: CLIENT, sign: Sign::Refused(&[Refusal::BadSignature]), shows_after: SOON, begin: rows::forged,
        help: "Submit well-formed transfers with wrong signatures: one row a second each" },
    About { kind: Kind::NonceGap, name: "nonce-gap", doors: CLIENT, sign: Sign::Refused(&[Refusal::BadNonce]), shows_after: SOON, begin: rows::nonce_gap,
        help: "Submit transfers whose nonces lie far ahead: 320 rows a second each" },
];

fn flood(birth: &Birth<'_>) -> Box<dyn Conduct> {
    match birth.door {
        Door::Peer => peer::flood(birth),
        Door::Client => client::flood(birth),
    }
}

impl Kind {
    /// Its line in the table.
    pub fn about(self) -> &'static About {
        &KINDS[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.about().name
    }

    /// All of them.
    pub fn all() -> Vec<Kind> {
        KINDS.iter().map(|about| about.kind).collect()
    }

    /// Whether it speaks as a peer of the chain, whose genesis it has to know for that.
    pub fn needs_genesis(self) -> bool {
        matches!(self, Kind::SlowHandshake | Kind::Malformed | Kind::Identities | Kind::Flood)
    }

    /// Whether it signs for an account.
    pub fn needs_keys(self) -> bool {
        self == Kind::Duplicate
    }
}

/// Who is let loose on whom. Goes to the other process as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What they do, in turn.
    pub kinds: Vec<Kind>,
    /// How many.
    pub peers: usize,
    /// Ports for peers, taken in turn.
    pub peer_ports: Vec<SocketAddr>,
    /// Ports for clients, likewise.
    pub client_ports: Vec<SocketAddr>,
    /// The chain, in hexadecimal digits.
    pub chain: String,
    /// The file of its genesis, for those who speak as peers.
    pub genesis: Option<PathBuf>,
    /// Accounts 1 to this one exist.
    pub accounts: u32,
    /// The fee of a row.
    pub fee: u32,
    /// Accounts with the seeds of their keys in hexadecimal digits, for those who sign.
    pub keys: Vec<(u32, String)>,
    /// From which everything is drawn.
    pub seed: u64,
}

/// The chain as hostile peers see it.
pub struct World {
    chain: ChainId,
    seats: Arc<KeySet>,
    accounts: u32,
    fee: u32,
    keys: Vec<(u32, SigningKey)>,
}

impl World {
    /// Reads what a plan names.
    ///
    /// # Errors
    /// In words: the genesis cannot be read, or digits are none.
    pub fn of(plan: &Plan) -> Result<World, String> {
        let digest = |text: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes)
                .map_err(|error| format!("a digest of the plan: {error}"))?;
            Ok::<_, String>(bytes)
        };
        let genesis =
            plan.genesis.as_deref().map(home::read_genesis).transpose().map_err(|error| error.to_string())?;
        let seats: Vec<[u8; 32]> =
            genesis.iter().flat_map(|genesis| &genesis.seats).map(|seat| seat.key.0).collect();
        let key =
            |(number, seed): &(u32, String)| Ok((*number, crypto::signing_key_from_seed(digest(seed)?)));
        Ok(World {
            chain: ChainId(digest(&plan.chain)?),
            seats: Arc::new(KeySet::new(&seats)),
            accounts: plan.accounts,
            fee: plan.fee,
            keys: plan.keys.iter().map(key).collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
