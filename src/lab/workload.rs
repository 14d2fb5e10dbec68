//! Wallets and signed transfers, drawn from a seed.
//!
//! Account `k` (from 0; its number on the chain is `k + 1`) talks to node `k mod n` and no other: its home
//! ([`crate::types::Committee::home_rank`]) for the first quarter of an hour, so that no row has to be handed on; later some are. A node's accounts take
//! turns, and each counts its nonces up from 1: so a row is named by its node and its index alone, and what stands in
//! a block leads back to the moment when it was meant to be sent.

use super::Interrupt;
use super::payload::Payload;
use crate::crypto::{self, ExposedKey, SigningKey};
use crate::types::{
    AccountNumber, ChainId, Effect, Genesis, GenesisAccount, Key, Policy, Rules, SeatInfo, Time, Witness,
};
use crate::wire::{Rows, transaction_digest};
use rayon::prelude::*;

/// What every account owns at the start: enough for any run's payments and fees.
const BALANCE: u64 = 1_000_000_000;
/// The genesis time of every bench, so that a seed gives the same chain id on any day: the start of 2026, in UTC.
const GENESIS_TIME: Time = Time(1_767_225_600_000_000);
/// Rows signed as one piece of work, and freed as one.
const CHUNK_ROWS: usize = 4096;

/// The keys of all accounts. A published seed gives them, so they are no secrets, and may sign in bulk.
pub struct Wallet {
    seed: u64,
    payload: Payload,
    keys: Vec<ExposedKey>,
}

/// Which account talks to which node, in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Accounts in all.
    pub accounts: u32,
    /// Nodes; at most as many as accounts.
    pub nodes: u32,
}

/// Rows to sign: a node's, from one index on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Whose accounts talk to which node.
    pub partition: Partition,
    /// The node.
    pub node: u32,
    /// The index of the first row.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Signed rows that wait to be sent, as columns.
#[derive(Debug, Default)]
pub struct Chunk {
    effects: Vec<Effect>,
    witnesses: Vec<Witness>,
}

impl Wallet {
    /// Derives the keys of so many accounts, in parallel.
    pub fn derive(seed: u64, accounts: u32) -> Wallet {
        Wallet::derive_unless(seed, accounts, &Interrupt::never()).expect("nothing interrupts it")
    }

    /// The same, which takes minutes for millions of accounts; `None` after an interrupt.
    pub fn derive_unless(seed: u64, accounts: u32, interrupt: &Interrupt) -> Option<Wallet> {
        let key = |account| {
            let go_on = !interrupt.is_raised();
            go_on.then(|| ExposedKey::from_seed(derive(seed, b'a', u64::from(account), 0)))
        };
        let keys = (0..accounts).into_par_iter().map(key).collect::<Option<Vec<_>>>()?;
        Some(Wallet { seed, payload: Payload::Transfers, keys })
    }

    /// The same wallet for clients that send something else than its transfers.
    pub fn sending(self, payload: Payload) -> Wallet {
        Wallet { payload, ..self }
    }

    /// What its clients send.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> u32 {
        self.keys.len() as u32
    }

    /// From which the key of an account, by its number, is derived.
    pub fn key_seed(&self, number: u32) -> [u8; 32] {
        derive(self.seed, b'a', u64::from(number.saturating_sub(1)), 0)
    }

    /// The genesis of a chain of so many nodes over these accounts, and the validators' keys in order.
    pub fn genesis(&self, nodes: u32, policy: Policy) -> (Genesis, Vec<SigningKey>) {
        let validators: Vec<_> = (0..nodes)
            .map(|seat| crypto::signing_key_from_seed(derive(self.seed, b'v', seat.into(), 0)))
            .collect();
        let seats = validators.iter().zip(1..);
        let genesis = Genesis {
            name: format!("bench {nodes} {}", self.seed),
            time: GENESIS_TIME,
            rules: Rules { policy, content: self.payload.content(), ..Rules::of(nodes as usize) },
            seats: seats
                .map(|(key, number)| SeatInfo {
                    key: Key(crypto::public_key(key)),
                    fee_account: AccountNumber(number),
                })
                .collect(),
            accounts: self
                .keys
                .iter()
                .map(|key| GenesisAccount { key: *key.public(), balance: BALANCE })
                .collect(),
        };
        (genesis, validators)
    }

    /// Signs the rows of an order in parallel, in pieces, oldest first; tells of each piece how many rows it had.
    /// After an interrupt the rest is left out.
    pub fn sign(
        &self,
        (chain, rules): (&ChainId, &Rules),
        order: Order,
        interrupt: &Interrupt,
        signed: &(dyn Fn(usize) + Sync),
    ) -> Vec<Chunk> {
        let Order { first, count, .. } = order;
        let pieces = count.div_ceil(CHUNK_ROWS as u64);
        let mut chunks: Vec<_> = (0..pieces)
            .into_par_iter()
            .map(|piece| {
                let from = first + piece * CHUNK_ROWS as u64;
                let until = (from + CHUNK_ROWS as u64).min(first + count);
                if interrupt.is_raised() {
                    return None;
                }
                let chunk =
                    self.sign_piece((chain, rules), Order { first: from, count: until - from, ..order });
                signed(chunk.len());
                Some(chunk)
            })
            .collect();
        let whole = chunks.iter().position(Option::is_none).unwrap_or(chunks.len());
        chunks.drain(..whole).flatten().collect()
    }

    fn sign_piece(&self, (chain, rules): (&ChainId, &Rules), order: Order) -> Chunk {
        let Order { partition, node, first, count } = order;
        let rows = (first..first + count).map(|index| self.row(rules, partition, node, index));
        let effects: Vec<Effect> = rows.collect();
        let key = |number: u32| &self.keys[number as usize - 1];
        let items: Vec<_> = effects
            .iter()
            .map(|effect| {
                let (from, to) = (key(effect.from.get()), key(effect.to.get()));
                (from, transaction_digest(chain, effect, from.public(), to.public()))
            })
            .collect();
        // The chain tells runs with different numbers of nodes apart: no start comes twice.
        let start = crypto::plain(&[&chain.0[..], &derive(self.seed, b'n', first, node)].concat());
        let witnesses = crypto::sign_exposed(&items, &start).into_iter().map(Witness).collect();
        Chunk { effects, witnesses }
    }

    fn row(&self, rules: &Rules, partition: Partition, node: u32, index: u64) -> Effect {
        let (from, nonce) = partition.sender(node, index);
        let draw = mix(mix(self.seed ^ u64::from(node) << 40) ^ index) % u64::from(partition.accounts - 1);
        let to = (u64::from(from) + 1 + draw) % u64::from(partition.accounts); // any account but the sender
        Effect::transfer(from + 1, to as u32 + 1, 1, nonce, rules.fee_min)
    }
}

impl Partition {
    /// How many accounts talk to a node.
    pub fn accounts_of(self, node: u32) -> u32 {
        (self.accounts - node).div_ceil(self.nodes)
    }

    /// The account (from 0) and nonce of a node's row.
    pub fn sender(self, node: u32, index: u64) -> (u32, u64) {
        let of_node = u64::from(self.accounts_of(node));
        (node + self.nodes * (index % of_node) as u32, 1 + index / of_node)
    }

    /// The node and index of the row that an account's number and a nonce name; `None` for what no client here signs.
    pub fn place(self, number: u32, nonce: u64) -> Option<(usize, u64)> {
        let account = number.checked_sub(1).filter(|&account| account < self.accounts)?;
        let node = account % self.nodes;
        let turn = nonce.checked_sub(1)?;
        let index = turn
            .checked_mul(u64::from(self.accounts_of(node)))?
            .checked_add((account / self.nodes).into())?;
        Some((node as usize, index))
    }
}

impl Chunk {
    /// Rows in it.
    pub fn len(&self) -> usize {
        self.effects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// Its rows from one index up to another.
    pub fn rows(&self, from: usize, until: usize) -> Rows<'_> {
        Rows { effects: &self.effects[from..until], keys: &[], witnesses: &self.witnesses[from..until] }
    }
}

impl FromIterator<(Effect, Witness)> for Chunk {
    fn from_iter<I: IntoIterator<Item = (Effect, Witness)>>(rows: I) -> Chunk {
        let (effects, witnesses) = rows.into_iter().unzip();
        Chunk { effects, witnesses }
    }
}

fn derive(seed: u64, role: u8, number: u64, node: u32) -> [u8; 32] {
    let mut material = [0; 32];
    material[..10].copy_from_slice(b"throng lab");
    material[11] = role;
    material[12..16].copy_from_slice(&node.to_le_bytes());
    material[16..24].copy_from_slice(&seed.to_le_bytes());
    material[24..].copy_from_slice(&number.to_le_bytes());
    crypto::plain(&material)
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): spreads counters over all values.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Height, Seat};
    use crate::wire::chain_id;

    #[test]
    fn every_row_of_every_node_has_a_sender_of_its_own_and_leads_back() {
        for (accounts, nodes) in [(2, 1), (2, 2), (7, 3), (100, 8), (9, 4)] {
            let partition = Partition { accounts, nodes };
            assert_eq!((0..nodes).map(|node| partition.accounts_of(node)).sum::<u32>(), accounts);
            let mut seen = std::collections::BTreeSet::new();
            for (node, index) in (0..nodes).flat_map(|node| (0..50).map(move |index| (node, index))) {
                let (account, nonce) = partition.sender(node, index);
                assert_eq!(account % nodes, node);
                assert!(seen.insert((account, nonce)));
                assert_eq!(partition.place(account + 1, nonce), Some((node as usize, index)));
            }
        }
    }

    #[test]
    fn accounts_talk_to_their_homes() {
        for nodes in [1, 2, 4, 7] {
            let committee = Wallet::derive(1, 30).genesis(nodes, Policy::Quorum).0.committee();
            let partition = Partition { accounts: 30, nodes };
            for (node, index) in (0..nodes).flat_map(|node| (0..30).map(move |index| (node, index))) {
                let number = AccountNumber(partition.sender(node, index).0 + 1);
                assert_eq!(committee.home_at(number, Height(0), 0), Seat(node as u16));
            }
        }
    }

    #[test]
    fn rows_that_no_client_here_signed_have_no_place() {
        let partition = Partition { accounts: 10, nodes: 4 };
        assert_eq!(partition.place(0, 1), None);
        assert_eq!(partition.place(11, 1), None);
        assert_eq!(partition.place(3, 0), None);
        assert_eq!(partition.place(3, u64::MAX), None);
    }

    #[test]
    fn signed_rows_are_well_formed_and_their_signatures_good() {
        let wallet = Wallet::derive(7, 20);
        let (genesis, _) = wallet.genesis(4, Policy::Quorum);
        genesis.check().unwrap();
        let chain = chain_id(&genesis);
        let partition = Partition { accounts: 20, nodes: 4 };
        let order = Order { partition, node: 3, first: 5, count: 13 };
        let chunks = wallet.sign((&chain, &genesis.rules), order, &Interrupt::never(), &|_| ());
        assert_eq!(chunks.iter().map(Chunk::len).sum::<usize>(), 13);
        let rows = chunks[0].rows(0, 13);
        rows.check(&genesis.rules, 21).unwrap();
        for (offset, (effect, witness)) in rows.effects.iter().zip(rows.witnesses).enumerate() {
            let (from, to) = (effect.from.get(), effect.to.get());
            assert_ne!(from, to);
            assert_eq!(partition.place(from, effect.nonce.get()), Some((3, 5 + offset as u64)));
            let keys = [from, to].map(|number| genesis.accounts[number as usize - 1].key);
            let digest = transaction_digest(&chain, effect, &keys[0], &keys[1]);
            let key = crypto::PreparedKey::new(&keys[0]).unwrap();
            assert!(crypto::verify(&key, &digest, &witness.0));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_chain_and_another_seed_another() {
        let chain = |seed| chain_id(&Wallet::derive(seed, 4).genesis(2, Policy::All).0);
        assert_eq!(chain(1), chain(1));
        assert_ne!(chain(1), chain(2));
    }

    #[test]
    fn an_interrupt_ends_the_derivation_of_keys() {
        let (trigger, interrupt) = Interrupt::pair();
        assert!(Wallet::derive_unless(1, 4, &interrupt).is_some());
        trigger.raise();
        assert!(Wallet::derive_unless(1, u32::MAX, &interrupt).is_none());
    }
}
