//! How a run is ended from outside, cleanly.

use crossbeam::channel::{Receiver, Sender, bounded, never};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The listening end: whoever waits in a run waits on this, so that an interrupt is never slept through.
#[derive(Clone, Debug)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    again: Arc<AtomicBool>,
    signal: Receiver<()>,
}

/// The end that raises an [`Interrupt`].
#[derive(Clone, Debug)]
pub struct Trigger {
    raised: Arc<AtomicBool>,
    again: Arc<AtomicBool>,
    signal: Sender<()>,
}

impl Interrupt {
    /// An interrupt and what raises it.
    pub fn pair() -> (Trigger, Interrupt) {
        let (raised, again): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (sender, receiver) = bounded(1);
        let trigger = Trigger { raised: raised.clone(), again: again.clone(), signal: sender };
        (trigger, Interrupt { raised, again, signal: receiver })
    }

    /// One that is never raised.
    pub fn never() -> Interrupt {
        Interrupt { raised: Arc::default(), again: Arc::default(), signal: never() }
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Relaxed)
    }

    /// Whether it was raised more than once: then nothing that a run finds any more says anything about it.
    pub fn is_raised_again(&self) -> bool {
        self.again.load(Relaxed)
    }

    /// Waits for the span or until it is raised; says whether it was.
    pub fn wait(&self, span: Duration) -> bool {
        if !self.is_raised() {
            // Either answer is told by the flag: a lost trigger ends the wait early, which callers' deadlines bear.
            let _ = self.signal.recv_timeout(span);
        }
        self.is_raised()
    }
}

impl Trigger {
    /// Raises the interrupt; says whether it had been raised before.
    pub fn raise(&self) -> bool {
        let before = self.raised.swap(true, Relaxed);
        self.again.fetch_or(before, Relaxed);
        let _ = self.signal.try_send(()); // full: one is under way already
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_interrupt_ends_every_wait_at_once() {
        let (trigger, interrupt) = Interrupt::pair();
        assert!(!interrupt.is_raised());
        assert!(!trigger.raise());
        let long = Duration::from_secs(3600);
        assert!(interrupt.wait(long) && interrupt.wait(long));
        assert!(!interrupt.is_raised_again());
        assert!(trigger.raise() && interrupt.is_raised_again(), "the second time is told apart");
        assert!(!Interrupt::never().wait(Duration::ZERO));
    }
}
