//! How many connections there may be.

use super::site::group;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Connections beyond the limit that are told so at once; more are closed without a word.
const TURNED_AWAY_MAX: usize = 32;

/// Counts connections.
#[derive(Debug)]
pub(super) struct Door {
    inside_max: usize,
    per_address_max: usize,
    counts: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    inside: usize,
    turned_away: usize,
    /// Those inside, by address.
    of: BTreeMap<IpAddr, usize>,
}

/// The right to a connection; its end makes room.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    address: IpAddr,
    /// Whether the connection is served; else it is only told that there is no room.
    pub served: bool,
}

impl Door {
    /// Nobody is inside.
    pub fn new(inside_max: usize, per_address_max: usize) -> Door {
        Door { inside_max, per_address_max, counts: Mutex::default() }
    }

    /// Lets a connection in; `None`: it is to be closed.
    pub fn enter(self: &Arc<Door>, address: IpAddr) -> Option<Pass> {
        let address = group(address);
        let mut counts = self.counts.lock();
        let own = counts.of.get(&address).copied().unwrap_or(0);
        let served = counts.inside < self.inside_max && own < self.per_address_max;
        if served {
            counts.inside += 1;
            counts.of.insert(address, own + 1);
        } else if counts.turned_away < TURNED_AWAY_MAX {
            counts.turned_away += 1;
        } else {
            return None;
        }
        Some(Pass { door: self.clone(), address, served })
    }

    /// Connections that are served.
    pub fn inside(&self) -> usize {
        self.counts.lock().inside
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.door.counts.lock();
        if !self.served {
            counts.turned_away -= 1;
            return;
        }
        counts.inside -= 1;
        match counts.of.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = counts.of.remove(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_in_all_and_of_one_address() {
        let door = Arc::new(Door::new(3, 2));
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut passes: Vec<Pass> = (0..2).map(|_| door.enter(address(1)).unwrap()).collect();
        assert!(passes.iter().all(|pass| pass.served));
        assert!(!door.enter(address(1)).unwrap().served, "of one address there are two already");
        passes.push(door.enter(address(2)).unwrap());
        assert!(!door.enter(address(3)).unwrap().served, "there are three in all");
        let away: Vec<Pass> = (0..TURNED_AWAY_MAX).map(|_| door.enter(address(9)).unwrap()).collect();
        assert!(door.enter(address(9)).is_none());
        drop(away);
        passes.remove(0);
        assert_eq!(door.inside(), 2);
        assert!(door.enter(address(3)).unwrap().served, "who leaves makes room");
        drop(passes);
        assert_eq!(door.inside(), 0);
        assert!(door.counts.lock().of.is_empty());
    }
}
