//! The store against real files.

use super::*;
use crossbeam::channel::{Receiver, unbounded};

const CHAIN: [u8; 32] = [7; 32];

fn started(opened: &mut Opened) -> Receiver<Result<Vec<Synced>, StoreError>> {
    let (sender, receiver) = unbounded();
    let told = Box::new(move |result| sender.send(result).unwrap_or_default());
    opened.store.start(told).unwrap();
    receiver
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { segment_bytes: 16384, payload_bytes_max: 4096, ..StoreConfig::default() };
    let mut model = Vec::new();
    for round in 0..3_u64 {
        let mut opened = Store::open(dir.path(), &CHAIN, &config).unwrap();
        assert_eq!(opened.cut, None);
        assert_eq!(opened.records.by_ref().collect::<Vec<_>>(), model);
        let synced = started(&mut opened);
        for number in 0..20_u64 {
            let bytes = Bytes::from(vec![number as u8; (100 * number + round) as usize]);
            model.push((RecordKind::Batch, bytes.clone()));
            opened.store.append(vec![Append { number, kind: RecordKind::Batch, bytes }]).unwrap();
        }
        opened.store.close().unwrap();
        let views: Vec<Synced> = synced.iter().flat_map(Result::unwrap).collect();
        let last = &model[model.len() - 20..];
        assert!(views.iter().map(|synced| &synced.view).eq(last.iter().map(|(_, bytes)| bytes)));
    }
    let read = Store::records(dir.path(), Some(&CHAIN)).unwrap().map(Result::unwrap);
    assert!(read.eq(model));
}
