//! Plain data: what the protocol talks about, without behaviour that could fail or wait.
//!
//! Rules of this room:
//! - One word per thing; every index is a type of its own, so that a round never lands in a height.
//! - All integers on the wire are little-endian and all layouts fixed; rows are viewed in place.
//! - Nothing here hashes, signs, parses or reads a clock. Those rooms come later and use this one.

mod account;
mod batch;
mod block;
mod checkpoint;
mod committee;
mod genesis;
mod ids;
pub mod params;
mod record;
pub mod regions;
mod seat_set;
mod time;
mod transaction;
mod vertex;

pub use account::{Account, NONCE_WINDOW};
pub use batch::{BatchHeader, BatchRef, Content};
pub use block::{Block, LeaderRef, Outcome, RootKind};
pub use checkpoint::{Certificate, CheckpointVote};
pub use committee::{Committee, SeatInfo};
pub use genesis::{Genesis, GenesisAccount, GenesisError};
pub use ids::{
    AccountNumber, BatchId, BlockHash, ChainId, Epoch, Height, Key, Root, Round, Seat, Sequence, VertexId,
};
pub use params::{Policy, Rules};
pub use record::{AuthorRecord, SettlementRecord, SlotRecord, Standing};
pub use seat_set::SeatSet;
pub use time::Time;
pub use transaction::{Effect, Kind, Witness};
pub use vertex::{Ack, Parent, Part, Verdict, Vertex, VertexRef};
