//! Sequences of operations against a plain list.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// Append these lengths in one call, without waiting.
    Append(Vec<u16>),
    /// Wait until all that was appended is durable.
    Wait,
    /// Close and open again.
    Reopen,
    /// Close, lose this many bytes of the end of the last group, and open again.
    Tear(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => prop::collection::vec(0_u16..3000, 1..8).prop_map(Op::Append),
        2 => Just(Op::Wait),
        1 => Just(Op::Reopen),
        1 => (1_u16..400).prop_map(Op::Tear),
    ]
}

struct World {
    dir: tempfile::TempDir,
    store: Option<Store>,
    told: Told,
    model: Records,
    durable: usize,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap().store;
        let told = start(&mut store);
        Self { dir, store: Some(store), told, model: Records::new(), durable: 0 }
    }

    fn append(&mut self, lengths: &[u16]) {
        let first = self.model.len() as u64;
        let kinds = [RecordKind::Batch, RecordKind::Vertex, RecordKind::Block];
        let records =
            lengths.iter().map(|len| (kinds[*len as usize % 3], payload(*len as u8, *len as usize)));
        self.model.extend(records);
        let new = self.model[first as usize..].iter();
        let appends =
            (first..).zip(new).map(|(number, (kind, bytes))| append_of(number, *kind, bytes)).collect();
        self.store.as_ref().unwrap().append(appends).unwrap();
    }

    fn hear(&mut self, synced: Vec<Synced>) {
        for Synced { number, view } in synced {
            assert_eq!(number, self.durable as u64);
            assert_eq!(view, self.model[self.durable].1);
            self.durable += 1;
        }
    }

    fn wait(&mut self) {
        while self.durable < self.model.len() {
            let synced = self.told.recv().unwrap().unwrap();
            self.hear(synced);
        }
    }

    /// Everything is durable before the store has closed.
    fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
        let rest: Vec<_> = self.told.iter().map(Result::unwrap).collect();
        rest.into_iter().for_each(|synced| self.hear(synced));
        assert_eq!(self.durable, self.model.len());
    }

    fn open(&mut self) -> Option<TornTail> {
        let read = read(self.dir.path()).unwrap();
        let opened = open(self.dir.path()).unwrap();
        let records: Records = opened.records.collect();
        assert_eq!(read, records);
        assert!(records.len() <= self.model.len() && records == self.model[..records.len()]);
        self.model = records;
        self.durable = self.model.len();
        let mut store = opened.store;
        self.told = start(&mut store);
        self.store = Some(store);
        opened.cut
    }

    /// A last record is appended alone, and a piece of its end never reached the disk.
    fn tear(&mut self, lost: u16) {
        self.wait();
        self.append(&[400]);
        self.close();
        let kept = self.model.len() - 1;
        let (file, end) = last_written(self.dir.path());
        let mut bytes = fs::read(&file).unwrap();
        bytes[end - lost as usize..end].fill(0);
        fs::write(&file, bytes).unwrap();
        assert!(self.open().is_some());
        assert_eq!(self.model.len(), kept);
    }
}

/// The segment with the last record, and where that ends.
fn last_written(dir: &Path) -> (PathBuf, usize) {
    let mut used =
        files(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "blk"));
    let last = used.rfind(|(_, bytes)| format::nonzero_end(bytes) > format::SEGMENT_HEAD_BYTES).unwrap();
    let end = format::nonzero_end(&last.1);
    (last.0, end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_is_a_list(ops in prop::collection::vec(op(), 1..24)) {
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Append(lengths) => world.append(&lengths),
                Op::Wait => world.wait(),
                Op::Reopen => {
                    world.close();
                    prop_assert_eq!(world.open(), None);
                }
                Op::Tear(lost) => world.tear(lost),
            }
        }
        world.close();
        prop_assert_eq!(world.open(), None);
    }
}
