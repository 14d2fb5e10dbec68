//! Connections of this process to its own client port: those by which the HTTP server brings what others brought it.
//!
//! - Upon such a connection: it is announced by the address that its socket is bound to, before it connects. While that socket
//!   lives, the system gives this address to nobody else, so whoever comes from it is that connection.
//! - Upon a caller from an announced address: limits for addresses do not hold. It stands for as many people as there are, each
//!   of whom the HTTP server has limits for; and what they do is not held against the machine that it runs on.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// All of them that are announced.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits(Arc<Mutex<BTreeSet<SocketAddr>>>);

/// One of them. It lasts as long as this is kept.
#[derive(Debug)]
pub struct Visit {
    visits: Visits,
    from: SocketAddr,
}

impl Visits {
    /// Announces a connection from an address that a socket of this process is bound to.
    pub fn announce(&self, from: SocketAddr) -> Visit {
        self.0.lock().insert(from);
        Visit { visits: self.clone(), from }
    }

    /// Whether a connection from this address is announced.
    pub fn expect(&self, from: &SocketAddr) -> bool {
        self.0.lock().contains(from)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visits.0.lock().remove(&self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_expected_while_it_lasts_and_from_its_own_port_only() {
        let visits = Visits::default();
        let [from, other] = [SocketAddr::from(([10, 0, 0, 7], 5)), SocketAddr::from(([10, 0, 0, 7], 6))];
        let visit = visits.announce(from);
        assert!(visits.expect(&from) && !visits.expect(&other));
        drop(visit);
        assert!(!visits.expect(&from));
    }
}
