//! The modelled cores of one node.
//!
//! The event loop, one thread, goes before everything else: it is served at once and takes its time from the core that
//! is free first. Pool jobs queue for the cores, each on one; the executor takes one block after the other.
//! What a loop takes from a core delays the jobs that start there later, not the one that runs.

use super::queue::Nanos;

/// One node's cores.
pub struct Cpu {
    free_at: Vec<Nanos>,
    loop_free_at: Nanos,
    executor_free_at: Nanos,
    /// How many times as long everything takes.
    pub factor: u64,
    /// Time that the cores spent.
    pub busy: Nanos,
}

impl Cpu {
    /// Idle cores.
    pub fn new(cores: u32) -> Cpu {
        let free_at = vec![0; cores as usize];
        Cpu { free_at, loop_free_at: 0, executor_free_at: 0, factor: 1, busy: 0 }
    }

    /// When the loop can take its next turn.
    pub fn loop_free_at(&self) -> Nanos {
        self.loop_free_at
    }

    /// The loop works for `cost`, from `now` or when it is free: when it is done.
    pub fn turn(&mut self, now: Nanos, cost: Nanos) -> Nanos {
        let cost = cost * self.factor;
        self.busy += cost;
        self.loop_free_at = self.loop_free_at.max(now) + cost;
        let core = self.first_free();
        self.free_at[core] = self.free_at[core].max(now) + cost;
        self.loop_free_at
    }

    /// A pool job of `cost` comes in: when it is done.
    pub fn pool(&mut self, now: Nanos, cost: Nanos) -> Nanos {
        let cost = cost * self.factor;
        self.busy += cost;
        let core = self.first_free();
        self.free_at[core] = self.free_at[core].max(now) + cost;
        self.free_at[core]
    }

    /// A block comes in for execution: when it is done.
    pub fn execute(&mut self, now: Nanos, cost: Nanos) -> Nanos {
        self.executor_free_at = self.pool(self.executor_free_at.max(now), cost);
        self.executor_free_at
    }

    /// The node stopped: whatever ran is gone.
    pub fn stop(&mut self, now: Nanos) {
        self.free_at.fill(now);
        (self.loop_free_at, self.executor_free_at) = (now, now);
    }

    fn first_free(&self) -> usize {
        (0..self.free_at.len()).min_by_key(|&core| self.free_at[core]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_queue_for_cores_blocks_for_each_other_and_the_loop_goes_first() {
        let mut cpu = Cpu::new(2);
        assert_eq!((cpu.pool(0, 10), cpu.pool(0, 20), cpu.pool(5, 10)), (10, 20, 20));
        assert_eq!(cpu.turn(6, 3), 9, "the loop does not wait for jobs");
        assert_eq!(cpu.turn(7, 3), 12, "but for itself");
        let mut cpu = Cpu::new(2);
        assert_eq!((cpu.execute(0, 10), cpu.execute(0, 10)), (10, 20));
        cpu.factor = 3;
        assert_eq!(cpu.turn(30, 2), 36);
        assert_eq!(cpu.busy, 26);
    }
}
