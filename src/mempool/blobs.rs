//! Blobs that wait to be sealed: gathered as batches already, in order of arrival, so that each is copied once.

use crate::types::params::OPAQUE_BYTES_MAX;
use crate::wire::{Batch, Blobs, Gathered};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Batches of blobs that wait at most, together 8 MiB. Beyond, blobs are refused and clients not read from.
pub const GATHERED_MAX: usize = 16;

/// The queue of blobs of one node. Blobs of another size than those before begin a new batch, so whoever mixes sizes
/// fills it sooner.
#[derive(Debug, Default)]
pub struct BlobQueue {
    waiting: Mutex<VecDeque<Gathered>>,
}

impl BlobQueue {
    /// Bytes of blobs that find room, if they are of one size.
    pub fn room(&self) -> usize {
        GATHERED_MAX.saturating_sub(self.waiting.lock().len()) * OPAQUE_BYTES_MAX / 2
    }

    /// Takes all blobs, or none of them if there is no room; says which.
    #[must_use]
    pub fn push(&self, blobs: &Blobs) -> bool {
        let mut waiting = self.waiting.lock();
        let mut rest = blobs.column();
        if waiting.len() >= GATHERED_MAX {
            return false;
        }
        if let Some(last) = waiting.back_mut().filter(|last| last.blob_bytes() == blobs.blob_bytes()) {
            rest = &rest[last.gather(rest)..];
        }
        while !rest.is_empty() {
            let mut next = Gathered::new(blobs.blob_bytes());
            rest = &rest[next.gather(rest)..];
            waiting.push_back(next);
        }
        true
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// Whether the oldest batch takes no further blob.
    pub fn is_full(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.len() > 1 || waiting.front().is_some_and(Gathered::is_full)
    }

    /// The oldest blobs, as many as make a batch.
    pub fn take(&self) -> Option<Gathered> {
        self.waiting.lock().pop_front()
    }

    /// The blobs of a batch that can never settle wait again, before all others; also where there is no room, since
    /// they were accepted. A window of batches at most can come back.
    pub fn put_back(&self, batch: &Batch) {
        let mut again = Gathered::new(batch.header.blob_bytes);
        again.gather(batch.blobs());
        if !again.is_empty() {
            self.waiting.lock().push_front(again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signing_key_from_seed;
    use crate::types::{ChainId, Epoch, Seat, Sequence};
    use crate::wire::seal_blobs;

    fn blobs(size: u32, count: usize, tag: u8) -> Blobs {
        Blobs::pack(size, vec![tag; size as usize * count]).unwrap()
    }

    fn seal(blobs: Gathered) -> Batch {
        let slot = (Epoch(0), Seat(0), Sequence(1));
        seal_blobs(&signing_key_from_seed([1; 32]), &ChainId::default(), slot, blobs)
    }

    #[test]
    fn blobs_of_one_size_share_a_batch_and_keep_their_order() {
        let queue = BlobQueue::default();
        assert!(queue.is_empty() && !queue.is_full() && queue.take().is_none());
        assert!(
            queue.push(&blobs(100, 3, 1)) && queue.push(&blobs(100, 2, 2)) && queue.push(&blobs(7, 1, 3))
        );
        assert!(queue.is_full(), "another size ends a batch");
        let first = queue.take().unwrap();
        assert_eq!((first.len(), first.column()), (5, &[[1; 300].as_slice(), &[2; 200]].concat()[..]));
        let batch = seal(first);
        queue.put_back(&batch);
        assert_eq!(queue.take().map(|again| again.column().to_vec()), Some(batch.blobs().to_vec()));
        assert_eq!(queue.take().map(|last| (last.len(), last.blob_bytes())), Some((1, 7)));
        assert!(queue.is_empty());
    }

    #[test]
    fn no_batch_exceeds_its_bytes_and_what_finds_no_room_is_refused_whole() {
        let queue = BlobQueue::default();
        // 1000 bytes do not divide a batch: the rest of each stays empty.
        let many = blobs(1000, 131, 5);
        let mut pushed = 0;
        while queue.room() >= many.column().len() {
            assert!(queue.push(&many));
            pushed += many.len();
        }
        while queue.push(&many) {
            pushed += many.len();
        }
        let mut taken = 0;
        while let Some(gathered) = queue.take() {
            assert!(gathered.column().len() <= OPAQUE_BYTES_MAX);
            taken += gathered.len();
        }
        assert_eq!(taken, pushed);
        assert!(pushed * 1000 > (GATHERED_MAX - 1) * (OPAQUE_BYTES_MAX - 1000));
    }
}
