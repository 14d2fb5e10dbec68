//! What is known about the machine and about this process. Where a system does not tell, the answer is `None`.

use super::results::Machine;
use std::fs;

/// The machine, for the results.
pub fn describe() -> Machine {
    let system = rustix::system::uname();
    Machine {
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: cores(),
        memory_bytes: kilobytes("/proc/meminfo", "MemTotal"),
        kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that can be had without swapping, in bytes.
pub fn memory_available() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable")
}

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Anonymous memory, in bytes.
    pub anonymous: Option<u64>,
    /// The most memory that was resident, mapped files included, in bytes: since its start, or since [`reset_memory_peak`].
    pub peak: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<usize>,
}

/// What this process holds, or one of the user's others.
pub fn holdings(process: Option<u32>) -> Holdings {
    let folder = process.map_or("/proc/self".to_owned(), |id| format!("/proc/{id}"));
    let status = format!("{folder}/status");
    let open = fs::read_dir(format!("{folder}/fd")).ok().map(Iterator::count);
    let listing = usize::from(process.is_none()); // the one that lists one's own
    Holdings {
        anonymous: kilobytes(&status, "RssAnon"),
        peak: kilobytes(&status, "VmHWM"),
        descriptors: open.map(|open| open.saturating_sub(listing)),
    }
}

impl std::ops::Add for Holdings {
    type Output = Holdings;

    /// Of two processes together. What both map is counted twice, and their peaks as if they fell together.
    fn add(self, other: Holdings) -> Holdings {
        let sum = |(a, b)| a + b;
        Holdings {
            anonymous: self.anonymous.zip(other.anonymous).map(sum),
            peak: self.peak.zip(other.peak).map(sum),
            descriptors: self.descriptors.zip(other.descriptors).map(|(a, b)| a + b),
        }
    }
}

/// Starts a new peak; where that is not possible, peaks count from the start of the process.
pub fn reset_memory_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5"); // refused by some sandboxes: then the older peak stays
}

/// Raises this process' limit of descriptors as far as it may; the limit then, `None` for no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// (busy, total) time of all cores since boot, in ticks: two readings give how busy the machine was between them.
pub fn ticks() -> Option<(u64, u64)> {
    parse_ticks(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    // user nice system idle iowait irq softirq steal; guest time is counted in user already
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = numbers.take(8).map_while(|number| number.parse().ok()).collect();
    let total: u64 = ticks.iter().sum();
    Some((total - ticks.get(3)? - ticks.get(4)?, total))
}

fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let value = field(file, name)?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_ticks_leave_out_idle_and_waiting_for_disks() {
        let stat = "cpu  10 1 20 100 5 2 3 4 50 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse_ticks(stat), Some((40, 145)));
        assert_eq!(parse_ticks("cpu  10 1"), None);
    }
}
