//! A disk for one machine, which can be made to die at any step: at a write, or at the sync after it, of a group or of the
//! guard.

use super::*;
use crate::store::guard::{self, NextSlot, SLOT_BYTES};

/// What is left of a write whose sync did not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    Nothing,
    Half,
    All,
}

#[derive(Clone)]
pub struct Disk {
    pub chain: [u8; 32],
    /// The record log.
    pub log: Vec<(RecordKind, Bytes)>,
    /// The guard's file.
    pub guard: Vec<u8>,
    next: NextSlot,
    /// Writes and syncs so far.
    pub steps: usize,
    /// The step at which it dies, and what is left of the write of that step.
    pub dies_at: Option<(usize, Left)>,
    pub dead: bool,
}

impl Disk {
    pub fn new(chain: crate::types::ChainId) -> Disk {
        let (guard, next) = guard::whole(&chain.0, &Guard::default());
        Disk { chain: chain.0, log: Vec::new(), guard, next, steps: 0, dies_at: None, dead: false }
    }

    /// What the guard says to who opens the disk again.
    pub fn open(&mut self) -> GuardState {
        self.dead = false;
        let found = guard::read(&self.chain, &self.guard).expect("it is ours");
        let Some((content, next)) = found else { return GuardState::Damaged };
        self.next = next;
        GuardState::Intact(content)
    }

    pub fn raise(&mut self, found: &Guard, told: &Guard) {
        if found != told {
            self.put(told, SLOT_BYTES);
        }
    }

    fn put(&mut self, content: &Guard, bytes: usize) {
        let (slot, place) = self.next.write(&self.chain, content);
        self.guard[place..place + bytes].copy_from_slice(&slot[..bytes]);
    }

    /// What is left if the disk dies at this step or the next, which are a write and its sync.
    fn step(&mut self) -> Option<Left> {
        self.steps += 2;
        let (at, left) = self.dies_at?;
        let left = match self.steps.checked_sub(at + 1)? {
            0 => left,
            1 => Left::Nothing,
            _ => return None,
        };
        (self.dead, self.dies_at) = (true, None);
        Some(left)
    }

    /// Writes and syncs a group, then the guard if it is raised. What may be told.
    pub fn write(&mut self, records: Vec<Append>) -> Vec<Append> {
        if self.dead {
            return Vec::new();
        }
        let kept = match self.step() {
            None | Some(Left::All) => records.len(),
            Some(Left::Half) => records.len() / 2,
            Some(Left::Nothing) => 0,
        };
        self.log.extend(records[..kept].iter().map(|record| (record.kind, record.bytes.clone())));
        let raised = records.iter().rev().find_map(|record| record.guard);
        if let Some(content) = raised.filter(|_| !self.dead) {
            match self.step() {
                None | Some(Left::All) => self.put(&content, SLOT_BYTES),
                Some(Left::Half) => self.put(&content, SLOT_BYTES / 2),
                Some(Left::Nothing) => {}
            }
        }
        if self.dead { Vec::new() } else { records }
    }
}
