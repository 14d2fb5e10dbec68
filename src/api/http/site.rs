//! What all requests share, and the limits that they meet.

use super::door::Door;
use super::health::{Pulse, patience};
use super::link::Link;
use super::parse::Refused;
use super::rates::Rates;
use super::stream::Hub;
use crate::net::NodeView;
use crate::wire::client::{Reply, Request};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// The most bytes of a request's line and headers.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
/// The most headers of a request.
pub(super) const HEADERS_MAX: usize = 64;
/// The most bytes of a request's body: a full submission in JSON takes about 320 KiB.
pub(super) const BODY_BYTES_MAX: usize = 512 << 10;
/// Questions that wait for the disk at once; one is answered at a time.
const DISK_WAITING_MAX: usize = 16;
/// Submissions on their way to the node at once.
const SUBMITTING_MAX: usize = 32;

/// How much is taken on, and how long anything may take.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address at once. (Of IPv6 the network of 64 bits.)
    pub per_address_max: usize,
    /// Requests per second of one address; it may save up ten seconds of them.
    pub requests_per_second: u32,
    /// Listeners to the stream of blocks at once.
    pub listeners_max: usize,
    /// Of one address at once.
    pub listeners_per_address_max: usize,
    /// Blocks that are looked through for one transaction.
    pub search_blocks_max: u64,
    /// How long the head of a request may take, and a connection may rest between two.
    pub head_deadline: Duration,
    /// How long a body may take.
    pub body_deadline: Duration,
    /// How long an answer may take.
    pub answer_deadline: Duration,
    /// How long a connection may take no bytes that wait for it.
    pub stall_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections_max: 256,
            per_address_max: 16,
            requests_per_second: 100,
            listeners_max: 64,
            listeners_per_address_max: 8,
            search_blocks_max: 1024,
            head_deadline: Duration::from_secs(5),
            body_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(10),
            stall_max: Duration::from_secs(10),
        }
    }
}

/// What was answered so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By the first digit of the status, 2 to 5.
    answers: [AtomicU64; 4],
}

impl Counts {
    /// Counts an answer.
    pub fn answer(&self, status: u16) {
        self.answers[usize::from(status / 100).clamp(2, 5) - 2].fetch_add(1, Relaxed);
    }

    /// The names of all kinds of answers, and how many there were.
    pub fn answers(&self) -> [(&'static str, u64); 4] {
        let read = |at: usize| self.answers[at].load(Relaxed);
        [("2xx", read(0)), ("3xx", read(1)), ("4xx", read(2)), ("5xx", read(3))]
    }
}

/// What all requests share.
pub(super) struct Site {
    pub view: NodeView,
    pub limits: HttpLimits,
    pub door: Arc<Door>,
    pub hub: Hub,
    pub counts: Counts,
    pub pulse: Mutex<Pulse>,
    /// Becomes true when the server stops: connections end after what they are at.
    pub stopping: watch::Sender<bool>,
    rates: Mutex<Rates>,
    disk: Arc<Semaphore>,
    submitting: Semaphore,
    /// A connection to the node's client port for short questions; away while one is asked.
    questions: tokio::sync::Mutex<Option<Link>>,
    began: Instant,
}

impl Site {
    pub fn new(view: NodeView, limits: HttpLimits) -> Site {
        let pulse = Pulse::new(patience(view.rules()), view.seat().taken().is_some());
        Site {
            door: Arc::new(Door::new(limits.connections_max, limits.per_address_max)),
            hub: Hub::new(limits.listeners_max, limits.listeners_per_address_max),
            counts: Counts::default(),
            pulse: Mutex::new(pulse),
            stopping: watch::Sender::new(false),
            rates: Mutex::new(Rates::new(limits.requests_per_second)),
            disk: Arc::new(Semaphore::new(DISK_WAITING_MAX)),
            submitting: Semaphore::new(SUBMITTING_MAX),
            questions: tokio::sync::Mutex::new(None),
            began: Instant::now(),
            view,
            limits,
        }
    }

    /// How long the server has run.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes from the allowance of an address what a request costs.
    pub fn pay(&self, address: IpAddr, cost: u32) -> Result<(), Refused> {
        let paid = self.rates.lock().pay(group(address), cost, self.uptime());
        if paid { Ok(()) } else { Err(Refused::new(429, "too many requests from this address: slow down")) }
    }

    /// Answers a question on the thread that may wait for the disk.
    pub async fn on_disk<T: Send + 'static>(
        &self,
        look: impl FnOnce(&NodeView) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let busy = |_| Refused::busy("the disk is busy with other questions: try again");
        let permit = self.disk.clone().try_acquire_owned().map_err(busy)?;
        let view = self.view.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Kept until the end, also if nobody waits for the answer any more.
            let _permit = permit;
            look(&view)
        });
        answer.await.unwrap_or_else(|_| Err(Refused::busy("the node is stopping")))
    }

    /// Asks the node something short over its client port.
    pub async fn ask(&self, request: Request) -> Result<Reply, Refused> {
        let mut kept = self.questions.lock().await;
        let mut link = match kept.take() {
            Some(link) => link,
            None => Link::open(&self.view, self.node()).await?,
        };
        // If this ends early, the link is gone, and with it an answer that nobody waits for.
        let reply = link.ask(&request).await?;
        *kept = Some(link);
        Ok(reply)
    }

    /// A connection of its own to the node, while there are not too many.
    pub async fn submit(&self, request: Request) -> Result<Reply, Refused> {
        let busy = |_| Refused::busy("too many submissions are on their way: try again");
        let _permit = self.submitting.try_acquire().map_err(busy)?;
        Link::open(&self.view, self.node()).await?.ask(&request).await
    }

    /// Where the node's client port is reached from here.
    pub fn node(&self) -> SocketAddr {
        let mut address = self.view.client_address();
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        address
    }
}

/// Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, which one person commonly has whole.
pub(super) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_person_count_together() {
        let group = |text: &str| group(text.parse().unwrap());
        assert_eq!(group("::ffff:10.0.0.1"), group("10.0.0.1"));
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1"));
        assert_ne!(group("2001:db8:0:1::1"), group("2001:db8::1"));
        assert_ne!(group("10.0.0.1"), group("10.0.0.2"));
    }
}
