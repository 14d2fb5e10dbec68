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

/// Anonymous memory of this process, in bytes.
pub fn memory_anonymous() -> Option<u64> {
    kilobytes("/proc/self/status", "RssAnon")
}

/// The most memory that this process had resident since [`reset_memory_peak`], in bytes.
pub fn memory_peak() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM")
}

/// Starts a new peak; where that is not possible, peaks count from the start of the process.
pub fn reset_memory_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5"); // refused by some sandboxes: then the older peak stays
}

/// Open descriptors of this process.
pub fn descriptors() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)) // less the one that lists them
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
