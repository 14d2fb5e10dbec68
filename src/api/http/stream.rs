//! Blocks as they come, for whoever listens: server-sent events.
//!
//! - Upon a block: one text is made of it and shared by all listeners.
//! - Upon a listener whose queue is full: it is let go. It still gets what is in the queue, and then a last event that says why.
//! - Upon a node that cannot be reached: it is tried again, and listeners stay; a gap shows in the heights.

use super::link::Link;
use super::parse::Refused;
use super::site::{Site, group};
use crate::api::documents::notice_document;
use crate::wire::client::{BlockNotice, Reply, Request};
use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};

/// Events that wait for a listener: the node makes at most some fifty blocks a second.
const QUEUE: usize = 256;
/// The wait before the node is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After so long without a block listeners get a comment, so that whatever lies between does not think them dead.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// Why a stream ended.
const ENDS: [&str; 2] = [
    "the node is stopping",
    "too slow: blocks came faster than they were read; listen again, and read blocks that are missing by their height",
];
const STOPPING: u8 = 0;
const TOO_SLOW: u8 = 1;

/// All listeners.
#[derive(Debug)]
pub(super) struct Hub {
    most: usize,
    per_address: usize,
    listeners: Mutex<Vec<Listener>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    address: IpAddr,
    queue: Sender<Bytes>,
    end: Arc<AtomicU8>,
}

/// The body of an answer that goes on.
#[derive(Debug)]
pub(super) struct Events {
    queue: Receiver<Bytes>,
    end: Arc<AtomicU8>,
    ended: bool,
}

impl Hub {
    /// Nobody listens.
    pub fn new(most: usize, per_address: usize) -> Hub {
        Hub { most, per_address, listeners: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// A new listener, if there is room for one of its address.
    pub fn join(&self, address: IpAddr) -> Result<Events, Refused> {
        let address = group(address);
        let mut listeners = self.listeners.lock();
        // Who hung up is found out here too, and not only at the next block.
        listeners.retain(|listener| !listener.queue.is_closed());
        if listeners.len() >= self.most {
            return Err(Refused::busy("as many listen to blocks as may: try again later"));
        }
        if listeners.iter().filter(|listener| listener.address == address).count() >= self.per_address {
            let words = "as many listen to blocks from this address as may: share one stream".to_owned();
            return Err(Refused::new(429, words));
        }
        let ((sender, queue), end) = (channel(QUEUE), Arc::new(AtomicU8::new(STOPPING)));
        listeners.push(Listener { address, queue: sender, end: end.clone() });
        Ok(Events { queue, end, ended: false })
    }

    /// Tells all listeners.
    pub fn publish(&self, event: &Bytes) {
        self.listeners.lock().retain(|listener| match listener.queue.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                listener.end.store(TOO_SLOW, Relaxed);
                self.dropped.fetch_add(1, Relaxed);
                false
            }
        });
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.listeners.lock().clear();
    }

    /// How many listen, and how many were let go because they were too slow.
    pub fn counts(&self) -> (usize, u64) {
        let listening = self.listeners.lock().iter().filter(|listener| !listener.queue.is_closed()).count();
        (listening, self.dropped.load(Relaxed))
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.queue.poll_recv(cx)).unwrap_or_else(|| {
            self.ended = true;
            let why = ENDS[usize::from(self.end.load(Relaxed))];
            format!("event: end\ndata: {}\n\n", serde_json::json!({ "reason": why })).into()
        });
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

/// A block as an event.
pub(super) fn block_event(notice: &BlockNotice) -> Bytes {
    format!("event: block\nid: {}\ndata: {}\n\n", notice.height, notice_document(notice)).into()
}

/// Listens to the node for ever, and tells.
pub(super) async fn feed(site: Arc<Site>) {
    loop {
        let Err(refused) = follow(&site).await;
        tracing::debug!(reason = refused.words, "blocks are not heard of for now");
        sleep(AGAIN).await;
    }
}

async fn follow(site: &Site) -> Result<Infallible, Refused> {
    let patience = site.limits.answer_deadline;
    let late = |_| Refused::busy("the node does not answer on its client port in time");
    let mut link = timeout(patience, Link::open(&site.view, site.node())).await.map_err(late)??;
    link.say(&Request::Subscribe).await?;
    loop {
        match timeout(QUIET_MAX, link.read()).await {
            Ok(Ok(Reply::Block(notice))) => site.hub.publish(&block_event(&notice)),
            Ok(Ok(_)) => {}
            Ok(Err(refused)) => return Err(refused),
            Err(_) => {
                // A read that was given up lost nothing: what had come stays in the link.
                site.hub.publish(&Bytes::from_static(b": no block for a while\n\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn from(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let hub = Hub::new(3, 2);
        let _own = [hub.join(from(1)).unwrap(), hub.join(from(1)).unwrap()];
        assert_eq!(hub.join(from(1)).unwrap_err().status, 429);
        assert!(hub.join(from(2)).is_ok());
    }

    /// What comes without waiting.
    fn read(events: &mut Events) -> Option<String> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(events).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                Some(String::from_utf8(frame.into_data().unwrap().into()).unwrap())
            }
            _ => None,
        }
    }

    #[test]
    fn a_listener_that_does_not_read_gets_a_last_event_that_says_so() {
        let hub = Hub::new(2, 2);
        let (mut slow, mut quick) = (hub.join(from(1)).unwrap(), hub.join(from(1)).unwrap());
        assert_eq!(hub.join(from(2)).unwrap_err().status, 503);
        for number in 0..QUEUE + 3 {
            hub.publish(&format!("{number}").into());
            assert_eq!(read(&mut quick), Some(number.to_string()));
        }
        assert_eq!(hub.counts(), (1, 1));
        assert!((0..QUEUE).all(|number| read(&mut slow) == Some(number.to_string())));
        let last = read(&mut slow).unwrap();
        assert!(
            last.starts_with("event: end\ndata: {\"reason\":\"too slow") && last.ends_with("\n\n"),
            "{last}"
        );
        assert!(Pin::new(&mut slow).is_end_stream() || read(&mut slow).is_none());
        assert!(read(&mut quick).is_none(), "it waits for more");
        hub.close();
        assert!(read(&mut quick).unwrap().contains("the node is stopping"));
    }

    #[test]
    fn who_hung_up_makes_room() {
        let hub = Hub::new(1, 1);
        drop(hub.join(from(1)).unwrap());
        let events = hub.join(from(1)).unwrap();
        assert_eq!(hub.counts(), (1, 0));
        drop(events);
        hub.publish(&Bytes::from_static(b"x"));
        assert_eq!(hub.counts(), (0, 0), "and is no slow listener");
    }
}
