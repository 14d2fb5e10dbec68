//! Whose rows are verified next, and together with whose.
//!
//! One bad signature makes a whole batch dearer, so who brings one may not share a batch with others. A client's
//! [`Standing`] says with whom it shares:
//!
//! - **Newcomers** share with newcomers. How many rows is found by trial: a batch with a bad row halves the size, a good
//!   one adds [`NEWCOMER_ROWS_MIN`]. So newcomers are cheap while nobody forges, and while somebody comes anew for each
//!   forged row, one such row costs little more than itself.
//! - **Proven** is who had [`PROVEN_ROWS`] rows admitted since its last bad signature. The proven share full batches.
//!   To spoil one, a client has to bring as many rows that pay as two such batches hold, each time.
//! - **Suspect** is who brought a bad signature and is not proven since. Its rows are verified in batches of its own.
//!
//! Standings take turns by the work that they caused: while all have rows waiting, the proven get 8 of 13 parts of the
//! verification time, newcomers 4, suspects 1; what one does not use is the others'. Within a standing clients go round,
//! one submission each, and each client's own order is kept. Nothing is dropped here: what waits is bounded by the room
//! that was there when it was read (see [`super::sockets::Gate`]), of which newcomers and suspects have only a part.
//!
//! A standing belongs to a connection and ends with it. A pure data structure: same calls, same turns.

use super::config::*;
use mio::Token;
use std::collections::{BTreeMap, VecDeque};

/// What a client has shown so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Standing {
    /// Enough good rows since its last bad signature.
    Proven = 0,
    /// No bad signature yet, and few good ones.
    #[default]
    Newcomer = 1,
    /// A bad signature, and few good ones since.
    Suspect = 2,
}

/// Every standing, in the order of its number; where turns are equal, the first goes first.
pub const STANDINGS: [Standing; 3] = [Standing::Proven, Standing::Newcomer, Standing::Suspect];

/// What a unit of work counts by standing: the inverse of its share in verification time.
const PRICES: [u64; 3] = [1, 2, 8];
/// What checking a row costs in a batch in which all are good.
const WORK_GOOD: u64 = 1;
/// What it costs at most in a batch with bad ones, when every row is looked at by itself.
const WORK_BAD: u64 = 8;

/// What is verified together.
#[derive(Debug, PartialEq, Eq)]
pub struct Together<T> {
    /// Of clients of this standing.
    pub standing: Standing,
    /// How many rows.
    pub rows: usize,
    /// Whose, and what.
    pub parts: Vec<(Token, T)>,
}

/// The rows of all clients that wait for verification.
pub struct Turns<T> {
    clients: BTreeMap<Token, Client<T>>,
    /// By standing: the clients with something waiting, each once, the next first.
    rings: [VecDeque<Token>; 3],
    /// By standing: the work done for it, at its price.
    spent: [u64; 3],
    /// What the last one chosen had spent: who has been idle starts from here, and saves nothing up.
    level: u64,
    /// By standing: rows waiting or being verified.
    rows: [usize; 3],
    newcomer_rows: usize,
}

struct Client<T> {
    /// Rows and content of each submission.
    waiting: VecDeque<(usize, T)>,
    /// Rows waiting or being verified.
    rows: usize,
    standing: Standing,
    /// Rows admitted since the last bad signature.
    good: usize,
    gone: bool,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns {
            clients: BTreeMap::new(),
            rings: Default::default(),
            spent: [0; 3],
            level: 0,
            rows: [0; 3],
            newcomer_rows: INGRESS_ROWS_MAX,
        }
    }
}

impl<T> Turns<T> {
    /// A client's submission of so many rows.
    pub fn push(&mut self, client: Token, rows: usize, submission: T) {
        let entry = self.clients.entry(client).or_insert_with(Client::new);
        entry.waiting.push_back((rows, submission));
        entry.rows += rows;
        let (standing, alone) = (entry.standing, entry.waiting.len() == 1);
        self.rows[standing as usize] += rows;
        if alone {
            self.enter(client, standing);
        }
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.rings.iter().all(VecDeque::is_empty)
    }

    /// Rows waiting or being verified, of all clients.
    pub fn rows(&self) -> usize {
        self.rows.iter().sum()
    }

    /// Rows waiting or being verified, of the clients of a standing.
    pub fn rows_of(&self, standing: Standing) -> usize {
        self.rows[standing as usize]
    }

    /// What is to be verified next, as one batch: at least one submission, and no more rows than the standing allows
    /// unless the first alone has more.
    pub fn next(&mut self) -> Option<Together<T>> {
        let waiting = STANDINGS.into_iter().filter(|standing| !self.rings[*standing as usize].is_empty());
        let standing = waiting.min_by_key(|standing| self.spent[*standing as usize])?;
        self.level = self.spent[standing as usize];
        let together = self.gather(standing);
        let work = if standing == Standing::Suspect { WORK_BAD } else { WORK_GOOD };
        self.charge(standing, together.rows, work);
        Some(together)
    }

    fn gather(&mut self, standing: Standing) -> Together<T> {
        let most = match standing {
            Standing::Proven => INGRESS_ROWS_MAX,
            Standing::Newcomer => self.newcomer_rows,
            Standing::Suspect => SUSPECT_ROWS_MAX,
        };
        let mut together = Together { standing, rows: 0, parts: Vec::new() };
        let (ring, alone) = (&mut self.rings[standing as usize], standing == Standing::Suspect);
        while let Some(&token) = ring.front()
            && let Some(client) = self.clients.get_mut(&token)
            && let Some((rows, submission)) =
                client.waiting.pop_front_if(|(rows, _)| together.rows == 0 || together.rows + *rows <= most)
        {
            together.rows += rows;
            together.parts.push((token, submission));
            match (client.waiting.is_empty(), alone) {
                (true, false) => _ = ring.pop_front(),
                (false, false) => ring.rotate_left(1),
                (true, true) => {
                    ring.pop_front();
                    return together;
                }
                (false, true) => {} // the next one is its own, too
            }
        }
        if alone {
            ring.rotate_left(1); // it has more, and the others go first
        }
        together
    }

    fn charge(&mut self, standing: Standing, rows: usize, work: u64) {
        let spent = &mut self.spent[standing as usize];
        *spent = spent.saturating_add(rows as u64 * work * PRICES[standing as usize]);
    }

    /// A batch was verified, with a bad signature in it or without: its standing's next turns follow from that.
    pub fn verified(&mut self, standing: Standing, rows: usize, any_bad: bool) {
        if any_bad && standing != Standing::Suspect {
            self.charge(standing, rows, WORK_BAD - WORK_GOOD);
        }
        if standing == Standing::Newcomer {
            self.newcomer_rows = match any_bad {
                true => (self.newcomer_rows / 2).max(NEWCOMER_ROWS_MIN),
                false => (self.newcomer_rows + NEWCOMER_ROWS_MIN).min(INGRESS_ROWS_MAX),
            };
        }
    }

    /// A client's submission of so many rows was answered: so many were admitted, and whether a signature was bad. Its
    /// new standing, if that has changed.
    pub fn answered(
        &mut self,
        token: Token,
        rows: usize,
        admitted: usize,
        any_bad: bool,
    ) -> Option<Standing> {
        let client = self.clients.get_mut(&token)?;
        client.rows -= rows;
        let before = client.standing;
        self.rows[before as usize] -= rows;
        client.good = if any_bad { 0 } else { client.good.saturating_add(admitted) };
        client.standing = match before {
            _ if any_bad => Standing::Suspect,
            _ if client.good >= PROVEN_ROWS => Standing::Proven,
            Standing::Proven => Standing::Proven,
            other => other,
        };
        let (standing, left, waits) = (client.standing, client.rows, !client.waiting.is_empty());
        if client.gone && left == 0 {
            self.clients.remove(&token);
        }
        if standing == before {
            return None;
        }
        self.rows[before as usize] -= left;
        self.rows[standing as usize] += left;
        if waits {
            self.rings[before as usize].retain(|waiting| *waiting != token);
            self.enter(token, standing);
        }
        Some(standing)
    }

    /// A client has hung up: what it brought is verified all the same, then it is forgotten.
    pub fn left(&mut self, token: Token) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.gone = true;
            if client.rows == 0 {
                self.clients.remove(&token);
            }
        }
    }

    fn enter(&mut self, token: Token, standing: Standing) {
        let ring = &mut self.rings[standing as usize];
        if ring.is_empty() {
            let spent = &mut self.spent[standing as usize];
            *spent = self.level.max(*spent);
        }
        ring.push_back(token);
    }
}

impl<T> Client<T> {
    fn new() -> Client<T> {
        let (standing, waiting) = Default::default();
        Client { waiting, rows: 0, standing, good: 0, gone: false }
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
