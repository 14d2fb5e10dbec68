//! How many connections there may be.
//!
//! Upon the last few that there is room for: they are for this machine, so that whoever operates it comes in although others have
//! taken all the rest.

use super::site::group;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Connections beyond the limit that are told so at once; more are closed without a word.
const TURNED_AWAY_MAX: usize = 32;
/// Of those as many of one address: one alone cannot take the places of all.
const TURNED_AWAY_PER_ADDRESS_MAX: usize = 4;
/// The share of all connections that is kept for this machine.
const LOCAL_SHARE: usize = 16;

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
    /// Those inside, and those turned away, by address.
    of: BTreeMap<IpAddr, [usize; 2]>,
}

/// The right to a connection; its end makes room.
#[derive(Debug)]
pub(super) struct Pass {
    door: Arc<Door>,
    address: IpAddr,
    /// Whether the connection is served; else it is only told that there is no room, and how the node is.
    pub served: bool,
}

impl Door {
    /// Nobody is inside.
    pub fn new(inside_max: usize, per_address_max: usize) -> Door {
        Door { inside_max, per_address_max, counts: Mutex::default() }
    }

    /// Lets a connection in; `None`: it is to be closed.
    pub fn enter(self: &Arc<Door>, address: IpAddr) -> Option<Pass> {
        let kept = if address.to_canonical().is_loopback() { 0 } else { self.inside_max / LOCAL_SHARE };
        let address = group(address);
        let mut counts = self.counts.lock();
        let [own, away] = counts.of.get(&address).copied().unwrap_or_default();
        let served = counts.inside + kept < self.inside_max && own < self.per_address_max;
        if served {
            counts.inside += 1;
            counts.of.insert(address, [own + 1, away]);
        } else if counts.turned_away < TURNED_AWAY_MAX && away < TURNED_AWAY_PER_ADDRESS_MAX {
            counts.turned_away += 1;
            counts.of.insert(address, [own, away + 1]);
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
        let place = if self.served { 0 } else { 1 };
        *(if self.served { &mut counts.inside } else { &mut counts.turned_away }) -= 1;
        if let Some(of) = counts.of.get_mut(&self.address) {
            of[place] = of[place].saturating_sub(1);
            if *of == [0; 2] {
                counts.of.remove(&self.address);
            }
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
        let away: Vec<Pass> = (0..4).map(|_| door.enter(address(9)).unwrap()).collect();
        assert!(door.enter(address(9)).is_none(), "it is told often enough");
        let others = (0..TURNED_AWAY_MAX - 4).map(|count| door.enter(address(10 + count as u8 / 4)).unwrap());
        let others: Vec<Pass> = others.collect();
        assert!(others.iter().all(|pass| !pass.served));
        assert!(door.enter(address(99)).is_none(), "so are all together");
        drop((away, others));
        passes.remove(0);
        assert_eq!(door.inside(), 2);
        assert!(door.enter(address(3)).unwrap().served, "who leaves makes room");
        drop(passes);
        assert_eq!(door.inside(), 0);
        assert!(door.counts.lock().of.is_empty());
    }

    #[test]
    fn the_last_places_are_for_this_machine() {
        let door = Arc::new(Door::new(32, 8));
        let remote = (0..40).filter_map(|count| door.enter(IpAddr::from([10, 0, 0, count / 8])));
        let remote: Vec<Pass> = remote.filter(|pass| pass.served).collect();
        assert_eq!(remote.len(), 30);
        let here = ["::1", "::ffff:127.0.0.1"].map(|text| door.enter(text.parse().unwrap()).unwrap());
        assert!(here.iter().all(|pass| pass.served));
    }
}
