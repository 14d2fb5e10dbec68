//! The driver's limits, sizes and deadlines: what a person may set, and the constants that bound everything else.

use crate::store;
use crate::types::params::{GUESTS_MAX, RECORD_BYTES_MAX};
use crate::types::regions::{self, UnknownRegion};
use crate::wire::client::{CLIENT_FRAME_BYTES_MAX, SUBMIT_ROWS_MAX};
use crate::wire::{PEER_FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// How long a connection may take from its first sign to an identity (peers) or a hello (clients).
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Strangers on the peer port at once. When full one of the network that has the most of them goes: an honest handshake takes
/// milliseconds.
pub const STRANGERS_MAX: usize = 256;
/// Of them, from one network, whatever is configured.
pub const GROUP_STRANGERS_MAX: usize = STRANGERS_MAX / 4;
/// So many times the rate of handshakes of one address has its whole network.
pub const GROUP_RATE_FACTOR: u64 = 8;
/// Clients that have not said hello at once. When full the oldest of them goes.
pub const SILENT_CLIENTS_MAX: usize = 256;
/// Connections accepted from one listener per turn, so that a flood of them does not hold up the rest.
pub const ACCEPTS_PER_TURN: usize = 64;
/// How long a listener rests when descriptors have run out and even the spare one is gone.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Descriptors of the process that strangers cannot use up, at least; clients leave twice as many, so that validators
/// still come in. Block files need one now and then, and a node that cannot open one stops.
pub const DESCRIPTORS_KEPT_MIN: u64 = 16;
/// The same as a share of the limit: one in so many.
pub const DESCRIPTORS_KEPT_SHARE: u64 = 32;

/// How long an address saves up calls that it does not make.
pub const CALLS_BURST: Duration = Duration::from_secs(4);
/// So many times the rate of new connections goes to an address at which validators live.
pub const KNOWN_RATE_FACTOR: u64 = 8;
/// How long it is remembered that a validator has proved itself at an address.
pub const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// Points at which an address or a seat is refused for a while; one is forgiven each second.
pub const SCORE_MAX: u64 = 100;
/// One in so long is let in of an address that is refused.
pub const REFUSED_CHANCE: Duration = Duration::from_secs(5);
/// How long an address is refused at first; doubles up to [`ADDRESS_REFUSAL_MAX`].
pub const ADDRESS_REFUSAL_MIN: Duration = Duration::from_secs(10);
/// How long an address is refused at most.
pub const ADDRESS_REFUSAL_MAX: Duration = Duration::from_secs(600);
/// How long a validator is refused: no longer than agreement bears, should the fault be this node's own.
pub const SEAT_REFUSAL: Duration = Duration::from_secs(2);
/// What a breach of the protocol's rules by a validator counts.
pub const RULE_POINTS: u64 = 10;
/// What a peer that rested may send at once, in time at its rate.
pub const PEER_BURST: Duration = Duration::from_secs(1);

/// First wait before dialing again; doubles up to [`REDIAL_MAX`].
pub const REDIAL_MIN: Duration = Duration::from_millis(50);
/// Longest wait before dialing again.
pub const REDIAL_MAX: Duration = Duration::from_secs(2);
/// The same for an address in the book at which anybody may answer.
pub const REDIAL_ADDRESS_MIN: Duration = Duration::from_secs(1);
/// The longest wait there.
pub const REDIAL_ADDRESS_MAX: Duration = Duration::from_secs(600);
/// First wait before a name is looked up again; doubles up to [`NAME_WAIT_MAX`].
pub const NAME_WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait before a name is looked up again.
pub const NAME_WAIT_MAX: Duration = Duration::from_secs(30);
/// What a new connection of a seat brings that takes the place of a standing one: after four in a row it is said that its
/// key may be in use twice. A node that came back after a crash has one.
pub const REPLACED_POINTS: u64 = SCORE_MAX / 4;
/// Peers that an observer, or a validator that misses others, chooses from its book, and holds connections to.
pub const OUTBOUND_MAX: usize = 4;
/// After so long without a connection a validator dials also those that should dial it: it may have moved.
pub const DIAL_LOWER_AFTER: Duration = Duration::from_secs(3);
/// How long a peer waits for an answer before it may be asked again where others are, and be told again.
pub const ADDRESSES_EVERY: Duration = Duration::from_secs(60);
/// Bytes and messages per second that are read of a guest, who has nothing to say but what it wants.
pub const GUEST_BYTES_PER_SECOND: usize = 1 << 20;
/// See [`GUEST_BYTES_PER_SECOND`].
pub const GUEST_MESSAGES_PER_SECOND: usize = 500;
/// Bytes written to one guest before the others, and validators, have their turn.
pub const GUEST_WRITE_BUDGET: usize = 64 << 10;
/// What may go out to guests at once after a rest, in time at their rate: about what a vote waits for them.
pub const GUESTS_BURST: Duration = Duration::from_millis(5);
/// Bytes that wait for a guest at most before it is not read from.
pub const GUEST_OUT_PAUSE: usize = 4 << 20;
/// So many blocks that a guest wants count as a message more, since looking them up costs that much: at most 3,900 blocks a
/// second for one, which is a hundred times as many as a chain makes.
pub const BLOCKS_PER_MESSAGE: usize = 8;
/// Questions of clients that may come at once after a rest, in time at their rate.
pub const QUESTIONS_BURST: Duration = Duration::from_millis(100);
/// Who is absent counts as a question more for so many seats.
pub const SEATS_PER_QUESTION: usize = 16;
/// Questions of one client that are answered together when it is its turn: many answers in one write cost little more than one.
/// So many also has an address each second for those who ask for the first time, and does not wait with them.
pub const QUESTIONS_TOGETHER: u64 = 16;
/// How long all together wait at most for what was answered ahead of that rate.
pub const QUESTIONS_DEBT_MAX: Duration = Duration::from_secs(1);
/// How long an address saves up the questions that it has for newcomers.
pub const FIRST_QUESTIONS_BURST: Duration = Duration::from_secs(1);
/// How often it is looked at whether the connections that a node chose bring anything.
pub const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How often the book of addresses is written.
pub const BOOK_EVERY: Duration = Duration::from_secs(120);

/// A connection that stood this long makes the next wait the first one again.
pub const STEADY_AFTER: Duration = Duration::from_secs(2);
/// A connection that has bytes to write and takes none for this long is dropped.
pub const STALL_MAX: Duration = Duration::from_secs(10);
/// How often stalls are looked for.
pub const STALL_CHECK: Duration = Duration::from_secs(1);

/// Bytes read from one peer per turn before the others have theirs.
pub const PEER_READ_BUDGET: usize = 256 << 10;
/// Messages taken from one validator per turn: what else was read of it stays as bytes until its next.
pub const MESSAGES_PER_TURN: usize = 4096;
/// The same for a peer without a seat; it is about what a guest may be ahead of its rate.
pub const GUEST_MESSAGES_PER_TURN: usize = 256;
/// Bytes read from one client per turn: less than one full submission, so that many clients share scarce room.
pub const CLIENT_READ_BUDGET: usize = 64 << 10;
/// What a connection that is not established yet is to be reckoned with, in bytes that are read: an exchange of keys takes
/// as long as some hundred thousand.
pub const HANDSHAKE_LOAD: usize = 128 << 10;
/// A connection with so many bytes to be read or written is worth another thread, if there are several.
pub const LENT_LOAD_MIN: usize = 32 << 10;
/// Bytes written to one connection per turn before the others have theirs.
pub const WRITE_BUDGET: usize = 512 << 10;
/// Encrypted bytes that wait for a peer's socket at most: what an urgent message waits behind.
pub const SEALED_BYTES_MAX: usize = 256 << 10;

/// Bytes of vertices queued for one peer; the newest is dropped when full, the protocol asks again.
pub const VOTES_BYTES_MAX: usize = 8 << 20;
/// Bytes of requests queued for one peer; as above.
pub const REQUESTS_BYTES_MAX: usize = 1 << 20;
/// Bytes of batches queued for one peer; as above. The bytes are shared between peers, not copied for each.
pub const BULK_BYTES_MAX: usize = 32 << 20;

/// Bytes that are on their way to one peer where its link has a delay; as above.
pub const SHAPED_BYTES_MAX: usize = 64 << 20;
/// The longest delay and jitter of a link, in milliseconds.
const SHAPED_MS_MAX: usize = 10_000;
/// The least rate of a link: a larger batch would be under way for longer than its author waits for it.
const SHAPED_RATE_MIN: usize = 16 << 10;

/// Rows that one client may have in ingress: then it is not read from until an answer is due.
pub const CLIENT_ROWS_MAX: usize = 4 * SUBMIT_ROWS_MAX;
/// Rows that one verification task of clients' rows takes at most.
pub const INGRESS_ROWS_MAX: usize = 2 * SUBMIT_ROWS_MAX;
/// Rows of a client that have to be admitted, with no bad signature among them, until it counts as proven: as many as
/// two verification tasks hold, which is about what spoiling one costs.
pub const PROVEN_ROWS: usize = 2 * INGRESS_ROWS_MAX;
/// Rows of newcomers that are verified together at least, while some of them forge: few enough that one bad row costs
/// little, enough that verifying together still pays.
pub const NEWCOMER_ROWS_MIN: usize = 32;
/// Rows of one suspect that are verified together at most, unless one submission has more.
pub const SUSPECT_ROWS_MAX: usize = 256;
/// Rows of all newcomers together in ingress at most; when full, newcomers are not read from until some are answered.
pub const NEWCOMERS_ROOM: usize = 8 * SUBMIT_ROWS_MAX;
/// The same for all suspects.
pub const SUSPECTS_ROOM: usize = 2 * SUBMIT_ROWS_MAX;
/// Bytes of answers that wait for a client at most before it is not read from.
pub const CLIENT_OUT_PAUSE: usize = 64 << 10;
/// Bytes of answers and notices that wait for a client at most: beyond, it is dropped.
pub const CLIENT_OUT_MAX: usize = 1 << 20;

/// Bytes of answers that the system keeps for a client's socket, about: what an honest reader needs for a round trip.
pub const CLIENT_SEND_BUFFER: usize = 128 << 10;
/// A client that says nothing for so long is asked by the system whether it is still there,
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// again and again after so long,
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// and after so many questions without an answer it is gone: so who vanishes without a word keeps no descriptor.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Blocks that wait for the executor at most before clients are not read from.
pub const EXECUTE_BACKLOG_MAX: usize = 256;
/// Blocks handed to the executor's thread at once.
pub const EXECUTE_QUEUE: usize = 4;
/// Requests of one peer that wait for the disk at most; more are dropped, the protocol asks again.
pub const WANTED_PER_PEER: usize = 8;
/// Requests of all peers that wait for the disk at most, of up to 43 KiB each; guests have half of that.
pub const WANTED_TOTAL: usize = 256;
/// How long a stopping node waits for its executor and its disk.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Threads of a verification pool at most.
const VERIFY_THREADS_MAX: usize = 256;
/// Threads that read and write at most.
const NET_THREADS_MAX: usize = 64;
/// Clients at most, whatever is configured: one descriptor each.
const CLIENTS_MAX: usize = 1 << 16;

/// Links that are worse than they are, for experiments on one machine; of all zeros: as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShapeConfig {
    /// How long every message to a validator takes, in milliseconds.
    pub delay_ms: u64,
    /// Up to so many milliseconds more, at random.
    pub jitter_ms: u64,
    /// Regions of the world in which the seats stand in turn: what lies between two of them is added to the delay.
    pub regions: Vec<String>,
    /// Bytes per second to one validator; 0: no limit.
    pub bytes_per_second: u64,
    /// A connection is reset at random, on average after so many seconds; 0: never.
    pub reset_after_s: u64,
}

/// The driver's own limits and sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Threads of the verification pool; 0 stands for one per core.
    pub verify_threads: usize,
    /// Threads that read from and write to sockets; the event loop's own is the first of them.
    pub net_threads: usize,
    /// Clients connected at once; more are refused.
    pub clients_max: usize,
    /// Connections of one address at once, of clients and, apart from them, of peers without identity. (Of IPv6 the
    /// network of 64 bits.)
    pub per_address_max: usize,
    /// The same for a network: IPv4 /16, IPv6 /32; of peers without identity never more than a quarter of all. Private networks
    /// are exempt.
    pub per_group_max: usize,
    /// Handshakes per second of one address, and eight times as many of its network; validators that prove themselves do not
    /// count.
    pub handshakes_per_second: usize,
    /// New connections of clients per second of one address.
    pub client_calls_per_second: usize,
    /// Bytes that are read per second from one peer; beyond, it waits.
    pub peer_bytes_per_second: usize,
    /// Messages that are read per second from one peer; beyond, it waits.
    pub peer_messages_per_second: usize,
    /// Questions of all clients together (status, accounts, certificates) that are answered per second; beyond, whoever asks
    /// waits until it is its turn again. (Rows are bounded by the room that they find.)
    pub client_questions_per_second: usize,
    /// Peers without a seat that are served at once: observers, and who only asks.
    pub guests_max: usize,
    /// Bytes that are written per second to all of those together; beyond, they wait, in turn.
    pub guests_bytes_per_second: usize,
    /// Whether the limits for addresses hold for this machine's own too.
    pub limit_local: bool,
    /// Links to other validators.
    pub shape: ShapeConfig,
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig {
            verify_threads: 0,
            net_threads: 1,
            clients_max: 8192,
            per_address_max: 256,
            per_group_max: 2048,
            handshakes_per_second: 20,
            client_calls_per_second: 200,
            peer_bytes_per_second: 256 << 20,
            peer_messages_per_second: 50_000,
            client_questions_per_second: 4_000,
            guests_max: 16,
            guests_bytes_per_second: 128 << 20,
            limit_local: false,
            shape: ShapeConfig::default(),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NetConfigError {
    /// A number lies outside of its range.
    #[error("{name} is {value}, but must lie between {least} and {most}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: usize,
        /// Its least value.
        least: usize,
        /// Its greatest value.
        most: usize,
    },
    /// No such region.
    #[error("shape.regions: {0}")]
    Region(#[from] UnknownRegion),
}

impl NetConfig {
    /// Checks every setting.
    pub fn validate(&self) -> Result<(), NetConfigError> {
        in_range("verify_threads", self.verify_threads, 0, VERIFY_THREADS_MAX)?;
        in_range("net_threads", self.net_threads, 1, NET_THREADS_MAX)?;
        in_range("clients_max", self.clients_max, 1, CLIENTS_MAX)?;
        in_range("per_address_max", self.per_address_max, 1, CLIENTS_MAX)?;
        in_range("per_group_max", self.per_group_max, 1, CLIENTS_MAX)?;
        in_range("guests_max", self.guests_max, 0, GUESTS_MAX - OUTBOUND_MAX)?;
        in_range("handshakes_per_second", self.handshakes_per_second, 1, 1 << 20)?;
        in_range("guests_bytes_per_second", self.guests_bytes_per_second, 1 << 20, usize::MAX)?;
        in_range("client_calls_per_second", self.client_calls_per_second, 1, 1 << 20)?;
        // Less than two of the largest frames a second would not carry the protocol.
        in_range("peer_bytes_per_second", self.peer_bytes_per_second, 2 * PEER_FRAME_BYTES_MAX, usize::MAX)?;
        in_range("peer_messages_per_second", self.peer_messages_per_second, 100, usize::MAX)?;
        in_range("client_questions_per_second", self.client_questions_per_second, 100, usize::MAX)?;
        self.shape.validate()
    }

    /// The threads of the pool, 0 resolved.
    pub fn threads(&self) -> usize {
        match self.verify_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(VERIFY_THREADS_MAX),
            threads => threads,
        }
    }
}

impl ShapeConfig {
    /// Checks every setting.
    pub fn validate(&self) -> Result<(), NetConfigError> {
        let within =
            |name, value, most| in_range(name, usize::try_from(value).unwrap_or(usize::MAX), 0, most);
        within("shape.delay_ms", self.delay_ms, SHAPED_MS_MAX)?;
        within("shape.jitter_ms", self.jitter_ms, SHAPED_MS_MAX)?;
        within("shape.reset_after_s", self.reset_after_s, 1 << 20)?;
        if self.bytes_per_second != 0 {
            let rate = usize::try_from(self.bytes_per_second).unwrap_or(usize::MAX);
            in_range("shape.bytes_per_second", rate, SHAPED_RATE_MIN, usize::MAX)?;
        }
        regions::places(&self.regions)?;
        Ok(())
    }
}

/// Refuses a mempool that could not take one whole submission of a client beside what validators may fill (half, and a share of
/// a quarter for each): nobody would be read from.
pub fn check_mempool(rows_max: usize) -> Result<(), NetConfigError> {
    in_range("mempool_rows_max", rows_max, 4 * SUBMIT_ROWS_MAX, usize::MAX)
}

fn in_range(name: &'static str, value: usize, least: usize, most: usize) -> Result<(), NetConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(NetConfigError::Range { name, value, least, most })
    }
}

// The limits must fit one another.
const _: () = {
    assert!(BULK_BYTES_MAX > PEER_FRAME_BYTES_MAX && VOTES_BYTES_MAX > SMALL_FRAME_BYTES_MAX);
    assert!(REQUESTS_BYTES_MAX > SMALL_FRAME_BYTES_MAX);
    assert!(CLIENT_OUT_MAX > CLIENT_OUT_PAUSE && CLIENT_ROWS_MAX >= SUBMIT_ROWS_MAX);
    assert!(CLIENT_FRAME_BYTES_MAX < 1 << 20 && INGRESS_ROWS_MAX >= SUBMIT_ROWS_MAX);
    // Else nobody would ever be read from, or become proven.
    assert!(NEWCOMERS_ROOM >= SUBMIT_ROWS_MAX && SUSPECTS_ROOM >= SUBMIT_ROWS_MAX);
    assert!(NEWCOMER_ROWS_MIN > 0 && NEWCOMER_ROWS_MIN <= INGRESS_ROWS_MAX);
};

/// Whether the store takes every record that the wire lets through, or that a checkpoint brings.
pub fn check_store(store: &store::StoreConfig) -> Result<(), NetConfigError> {
    let value = usize::try_from(store.payload_bytes_max).unwrap_or(usize::MAX);
    in_range("payload_bytes_max", value, PEER_FRAME_BYTES_MAX.max(RECORD_BYTES_MAX), usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_threads_that_cannot_be_are_refused_by_name() {
        let with = |net_threads| NetConfig { net_threads, ..NetConfig::default() }.validate();
        assert_eq!((with(1), with(64)), (Ok(()), Ok(())));
        for wrong in [0, 65, usize::MAX] {
            let words = with(wrong).unwrap_err().to_string();
            assert_eq!(words, format!("net_threads is {wrong}, but must lie between 1 and 64"));
        }
    }
}
