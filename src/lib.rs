//! Throng: a peer-to-peer blockchain engine built to be measured.
//!
//! The folders tell the way of a transaction, and each may use only the folders named before it:
//!
//! | folder | room |
//! | --- | --- |
//! | [`types`] | plain data: accounts, rows, batches, vertices, blocks, committee, genesis |
//! | [`crypto`] | hashing domains, keys, the one signature rule |
//! | [`wire`] | canonical encoding and zero-copy views; the only parser |
//! | [`metrics`] | counters and CPU time by stage |
//! | [`mempool`] | bounded admission, duplicates, fee order, draining |
//! | [`ledger`] | the account table, execution, state root |
//! | [`consensus`] | the DAG of votes: pace, decision, order, settlement |
//! | [`store`] | segment files, recovery, memory-mapped reads |
//! | [`node`] | the machine without I/O that wires the above |
//! | [`audit`] | data directories checked and shown without trusting who wrote them |
//! | [`net`] | the driver: mio, connections, threads, clock |
//! | [`home`] | the files of a node that runs by itself: keys, keyrings, genesis, configuration |
//! | [`sim`] | the virtual world: the same machines under faults, reproducible from a seed |
//! | [`api`] | how people and tools talk to a running node |
//! | [`lab`] | workloads, clusters, measuring |
//! | [`cli`] | commands |
#![warn(missing_docs)]

pub mod api;
pub mod audit;
pub mod cli;
pub mod consensus;
pub mod crypto;
pub mod home;
pub mod lab;
pub mod ledger;
pub mod mempool;
pub mod metrics;
pub mod net;
pub mod node;
pub mod sim;
pub mod store;
pub mod types;
pub mod wire;
