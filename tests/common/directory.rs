//! Data directories of played chains.

use super::{Pump, genesis, transfers};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;
use throng::audit::{Options, Verified, verify};
use throng::consensus::Retention;
use throng::node::NodeConfig;
use throng::node::snapshots::fate;
use throng::store::{Append, Errand, Guard, GuardState, Kept, RecordKind, Store, StoreConfig};
use throng::types::{Block, Height, Policy};
use throng::wire::{decode_block, encode_genesis};

/// What a log holds.
pub type Log = Vec<(RecordKind, Bytes)>;

/// Snapshots as often as can be, and of blocks only the newest few kept.
pub const OFTEN: NodeConfig = NodeConfig {
    mempool_rows_max: 32_768,
    snapshot_after_bytes: 1,
    keep_blocks: Some(20),
    vertices_kept: Retention { depths: 10, bytes: 64 << 20 },
    batches_kept: 1 << 15,
};

/// A chain under load for so long, with losses and restarts.
pub fn played(nodes: u16, config: NodeConfig, height: u64) -> Pump {
    let mut pump = Pump::with(genesis(nodes, 8, Policy::Quorum), 11, config);
    pump.link.loss_percent = 2;
    let mut nonce = 1;
    for turn in 0u64.. {
        for account in 1..=8 {
            let rows = transfers(&pump.genesis, account, nonce, 4);
            pump.submit(usize::from((u64::from(account) + turn) as u16 % nodes), &rows);
        }
        nonce += 4;
        let target = (turn + 1) * 12;
        assert!(pump.run(Duration::from_secs(60), |pump| pump.height(0) >= target.min(height)), "{turn}");
        if pump.height(0) >= height {
            return pump;
        }
        if turn % 3 == 2 {
            let seat = (turn as usize / 3) % usize::from(nodes);
            let torn = pump.unsynced(seat) / 2;
            pump.crash(seat, torn);
            pump.run(Duration::from_millis(300), |_| false);
            pump.start(seat);
        }
    }
    unreachable!()
}

pub fn blocks(log: &Log) -> BTreeMap<u64, (usize, Block, Bytes)> {
    let blocks = log.iter().enumerate().filter(|(_, (kind, _))| *kind == RecordKind::Block);
    let decoded = blocks.map(|(at, (_, bytes))| (at, decode_block(bytes).unwrap(), bytes.clone()));
    decoded.map(|(at, block, bytes)| (block.height.0, (at, block, bytes))).collect()
}

/// A directory as the store writes it: small segments, the log of a node, its snapshots; if wanted, pruned as far as these
/// allow.
pub fn written(pump: &mut Pump, seat: usize, pruned: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let genesis = encode_genesis(&pump.genesis);
    let mut store = Store::open(dir.path(), &genesis, &small()).unwrap().store;
    let ((sender, told), (keeper, kept)) = (channel(), channel());
    store.start_keeper(Box::new(move |done| keeper.send(done).unwrap_or_default())).unwrap();
    store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).unwrap();
    let log = pump.log(seat).to_vec();
    for (kind, bytes) in &log {
        store
            .append(vec![Append {
                number: 0,
                kind: *kind,
                bytes: bytes.clone(),
                guard: Some(pump_guard(pump, seat)),
            }])
            .unwrap();
        told.recv().unwrap().unwrap();
    }
    let mut older = None;
    for (height, bytes) in pump.snapshots(seat).clone() {
        let (height, bytes) = (height.0, bytes.clone());
        assert!(store.errand(Errand::Snapshot { height, bytes, kept: older }));
        assert!(matches!(kept.recv().unwrap(), Kept::Snapshot { written: Ok(()), .. }));
        older = Some(height);
    }
    if pruned {
        let first = pump.snapshots(seat).keys().next().unwrap().0;
        let leader = blocks(&log)[&first].1.leader.round;
        assert!(
            store.errand(Errand::Prune(Box::new(fate(Height(first), leader.back(pump.genesis.rules.depth)))))
        );
        let Kept::Pruned(pruned) = kept.recv().unwrap() else { panic!("a pruning") };
        assert!(pruned.unwrap().segments > 3);
    }
    store.close().unwrap();
    dir
}

pub fn pump_guard(pump: &Pump, seat: usize) -> Guard {
    match pump.guard(seat, usize::MAX) {
        GuardState::Intact(guard) => guard,
        other => panic!("{other:?}"),
    }
}

pub fn small() -> StoreConfig {
    StoreConfig { segment_bytes: 16 << 10, payload_bytes_max: 8 << 10, ..StoreConfig::default() }
}

pub fn verified(dir: &Path) -> Verified {
    verify(dir, &Options { from_height: 1, signatures: true, threads: 2 }, &|_, _| false).unwrap()
}
