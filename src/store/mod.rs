//! store
#![allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    Batch,
    Vertex,
    Block,
}
#[derive(Debug)]
pub struct Append {
    pub number: u64,
    pub kind: RecordKind,
    pub bytes: bytes::Bytes,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreConfig {
    pub segment_bytes: u64,
}
