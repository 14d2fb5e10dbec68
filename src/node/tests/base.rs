//! What a start refuses to begin at, and says why.

use super::anew::{Ahead, HEIGHT, ahead};
use super::*;
use crate::crypto::plain;
use crate::node::base::{BaseError, find};
use crate::node::{OpenError, Snapshots};
use crate::types::{Block, Root, RootKind};
use crate::wire::{decode_record, encode_block, encode_record, record_root};
use zerocopy::IntoBytes;

/// A log and a snapshot beside it.
struct Kept {
    block: Option<Block>,
    record: Option<Bytes>,
    table: Result<Vec<u8>, String>,
}

/// Names in the block what the record and the table have become.
fn name_again(kept: &mut Kept) {
    let (Some(block), Some(record), Ok(table)) = (&mut kept.block, &kept.record, &kept.table) else {
        panic!()
    };
    block.roots[0] = (RootKind::Accounts, Root(plain(table)));
    block.roots[1] = (RootKind::Settlement, record_root(record));
}

/// Begins at what is kept, after something was done to it; what speaks against it.
fn refused(change: impl FnOnce(&mut Kept)) -> String {
    let world = World::new(Policy::Quorum);
    let Ahead { table, record, block, .. } = ahead(&world);
    let table = Ok(table.as_bytes().to_vec());
    let mut kept = Kept { block: Some(block.block), record: Some(record), table };
    change(&mut kept);
    let block = kept.block.map(|block| (RecordKind::Block, Bytes::from(encode_block(&block))));
    let records = kept.record.map(|record| (RecordKind::Settlement, record)).into_iter().chain(block);
    let read =
        |height| if height == HEIGHT { kept.table.clone() } else { panic!("there is no snapshot {height}") };
    let snapshots = Snapshots { heights: vec![HEIGHT], removed: true, read: &read };
    match find(&world.genesis, Seat(0), snapshots, records) {
        Ok(found) => {
            assert!(found.refused.is_empty());
            assert_eq!(found.ready.map(|ready| ready.block.height), Some(HEIGHT));
            String::new()
        }
        Err(OpenError::NoBase { refused, .. }) => refused,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_does_not_fit_its_block_is_refused_with_its_reason() {
    assert_eq!(refused(|_| ()), "");
    let says = |reason: BaseError, change: fn(&mut Kept)| {
        let said = refused(change);
        assert!(said.contains(&format!("{HEIGHT}: {reason}")), "{said}, and not {reason}");
    };
    says(BaseError::NoBlock, |kept| kept.block = None);
    says(BaseError::NoRecord, |kept| kept.record = None);
    says(BaseError::NoRecord, |kept| kept.block.as_mut().unwrap().roots.clear());
    says(BaseError::NoRecord, |kept| {
        // Another record than that which the block names.
        let record = kept.record.as_ref().unwrap();
        let mut other = decode_record(record).unwrap();
        other.time.0 += 1;
        kept.record = Some(encode_record(&other).into());
    });
    says(BaseError::NoRecord, |kept| {
        // One that the block names, of another leader.
        let mut other = decode_record(kept.record.as_ref().unwrap()).unwrap();
        other.leader.author = Seat(1);
        kept.record = Some(encode_record(&other).into());
        name_again(kept);
    });
    says(BaseError::Unreadable("the disk is gone".into()), |kept| {
        kept.table = Err("the disk is gone".into())
    });
    says(BaseError::Table("is no whole number of accounts long"), |kept| {
        kept.table.as_mut().unwrap().pop();
    });
    says(BaseError::Table("has another number of accounts than its block says"), |kept| {
        kept.block.as_mut().unwrap().accounts += 1;
    });
    says(BaseError::Table("does not begin with the accounts of the genesis"), |kept| {
        kept.table.as_mut().unwrap()[0] ^= 1;
        name_again(kept);
    });
    let changed = refused(|kept| kept.table.as_mut().unwrap()[0] ^= 1);
    assert!(changed.contains("the account table has the root"), "{changed}");
    let cut = refused(|kept| {
        let record = kept.record.as_mut().unwrap();
        record.truncate(record.len() - 1);
        name_again(kept);
    });
    assert!(cut.contains("end too early"), "{cut}");
}
