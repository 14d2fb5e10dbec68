//! Handing agreement over: the settlement record of the last emitted leader, and going on from one.
//!
//! Why a record suffices. What is decided, ordered and settled above a leader is a function of the vertices above its
//! floor and of what earlier leaders left behind, and that is:
//!
//! - *Which slots above the floor were output.* Not which twin: a walk that goes through an output vertex finds nothing
//!   new, since all its ancestors above the floor are in slots that were output with it or before.
//! - *The standings* of the seats, from which the leaders of all further rounds follow.
//! - *The counted acks* of unsettled batches, and which sequences are settled: a joiner that lacks two old acks would
//!   settle a batch later than the others, and fork.
//! - *The time* of the last block, which the next one's is not before.
//!
//! What a node concluded about slots above the leader is not in it: that is read from the vertices again.

use super::{Consensus, Dag, Decider, Settlement};
use crate::types::{Genesis, Seat, SettlementRecord};
use thiserror::Error;

/// Why a record cannot be gone on from.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// It belongs to another committee.
    #[error(
        "the settlement record is of epoch {epoch} with {seats} seats, which is not this chain's committee"
    )]
    Committee {
        /// Its epoch.
        epoch: u32,
        /// Its seats.
        seats: usize,
    },
    /// It was written under other rules.
    #[error("the settlement record does not fit the rules of this chain: {0}")]
    Rules(&'static str),
}

impl Consensus {
    /// The record as of the last emitted leader; `None` before the first.
    pub fn record(&self) -> Option<SettlementRecord> {
        let leader = self.leader?;
        Some(SettlementRecord {
            epoch: self.dag.committee().epoch,
            leader,
            time: self.time,
            output: self.dag.output_slots(leader.round),
            standings: self.dag.standings().to_vec(),
            authors: self.settlement.record(),
        })
    }

    /// Agreement from a record on, as seen by a seat (`None`: an onlooker). Given the vertices above the record's floor,
    /// it emits and settles after the record's leader what all others do. Whoever calls must know that the record is the
    /// chain's: that a certified block names its root.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be a record of this chain.
    pub fn from_record(
        genesis: &Genesis,
        record: &SettlementRecord,
        me: Option<Seat>,
    ) -> Result<Consensus, RecordError> {
        let (committee, rules) = (genesis.committee(), &genesis.rules);
        let (epoch, seats) = (record.epoch, record.standings.len());
        if epoch != committee.epoch || seats != committee.size() || record.authors.len() != seats {
            return Err(RecordError::Committee { epoch: epoch.0, seats });
        }
        if record.output.len() as u64 != rules.depth.min(record.leader.round.0) {
            return Err(RecordError::Rules("it tells of another number of rounds than the collection depth"));
        }
        let mut settlement = Settlement::new(&committee, rules.policy, rules.window);
        settlement.restore(&record.authors).map_err(RecordError::Rules)?;
        Ok(Consensus {
            dag: Dag::from_record(committee, rules.depth, me, record),
            decider: Decider::at(record.leader.round),
            settlement,
            depth: rules.depth,
            time: record.time,
            leader: Some(record.leader),
        })
    }

    /// Leaves all behind that lies below a record and goes on from it, with what is accepted here above its floor.
    /// Whoever calls must know that the record is the chain's, and that its leader is not below the last emitted one.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be a record of this chain; then nothing is changed.
    pub fn go_on_from(
        &mut self,
        genesis: &Genesis,
        record: &SettlementRecord,
        me: Option<Seat>,
    ) -> Result<(), RecordError> {
        let mut next = Consensus::from_record(genesis, record, me)?;
        next.dag.take_habits(&self.dag);
        let floor = vec![next.dag.floor(); self.dag.committee().size()];
        for vertex in self.dag.above(&floor, usize::MAX) {
            next.dag.restore(vertex);
        }
        *self = next;
        Ok(())
    }
}
