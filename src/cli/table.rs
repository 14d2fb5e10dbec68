//! Tables for people, and the few honest lines beneath them.

use crate::lab::results::{Document, Run};
use crate::net::ShapeConfig;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use std::fmt::Write;

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds as one reads them.
pub fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.1} s", v / 1000.0),
        v if v >= 100.0 => format!("{v:.0} ms"),
        v => format!("{v:.1} ms"),
    }
}

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
const STYLE: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);

/// A table whose first columns, so many, stand to the right.
pub fn frame(header: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.iter().copied());
    for column in table.column_iter_mut().take(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.add_rows(rows);
    table
}

/// The table of a bench.
pub fn bench(document: &Document) -> String {
    let header = [
        "nodes",
        "tx/s",
        "p50",
        "p99",
        "CPU µs\n/tx/node",
        "sent B\n/tx/node",
        "stored B\n/tx/node",
        "limited\nby",
        "verdict",
    ];
    let mut out = String::new();
    if !document.config.executed {
        let _ = writeln!(
            out,
            "{}: blobs ordered, not executed: no signatures, no execution. tx/s counts blobs that are settled and \
             durable on a quorum.",
            document.config.payload
        ); // a String takes everything
    }
    if document.config.shape != ShapeConfig::default() {
        let _ = writeln!(
            out,
            "Links between nodes are made longer than they are: {}.",
            longer(&document.config.shape)
        );
    }
    if document.config.processes {
        let _ = writeln!(out, "Each node is a process of its own.");
    }
    let _ = writeln!(out, "{}", frame(&header, 7, document.runs.iter().map(row)));
    for run in &document.runs {
        if let Some(reason) = &run.reason {
            let _ = writeln!(out, "n={}: {}: {reason}", run.nodes, run.verdict); // a String takes everything
        }
    }
    for note in notes(document) {
        out.push('\n');
        out.push_str(&note);
    }
    out
}

fn row(run: &Run) -> Vec<String> {
    let nothing = || "–".to_owned();
    let latency = |of: fn(&crate::lab::results::Latency) -> f64| {
        run.latency_ms.as_ref().map_or_else(nothing, |latency| milliseconds(of(latency)))
    };
    let bytes = |of: fn(&crate::lab::results::ByteCost) -> f64| {
        run.bytes_per_tx.as_ref().map_or_else(nothing, |bytes| grouped(of(bytes).round() as u64))
    };
    vec![
        run.nodes.to_string(),
        grouped(run.tps.round() as u64),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        run.cpu_us_per_tx.as_ref().map_or_else(nothing, |cpu| format!("{:.1}", cpu.total)),
        bytes(|bytes| bytes.sent),
        bytes(|bytes| bytes.stored),
        run.limited_by.to_owned(),
        verdict(run),
    ]
}

fn verdict(run: &Run) -> String {
    match run.interrupted {
        true => format!("{}, interrupted after {:.1} s", run.verdict, run.window_s),
        false => run.verdict.to_owned(),
    }
}

/// What the links were made of, in words.
fn longer(shape: &ShapeConfig) -> String {
    let delay = (shape.delay_ms > 0).then(|| format!("{} ms one way", shape.delay_ms));
    let regions =
        (!shape.regions.is_empty()).then(|| format!("nodes in turn in {}", shape.regions.join(", ")));
    [delay, regions].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn notes(document: &Document) -> Vec<String> {
    let runs = &document.runs;
    let mut notes = Vec::new();
    if document.engine.debug {
        notes.push(
            "Built without optimisation: these figures say little; run `cargo run --release -- bench`."
                .into(),
        );
    }
    let each = |of: &dyn Fn(&Run) -> String| runs.iter().map(of).collect::<Vec<_>>().join(", ");
    let measured: Vec<_> = runs.iter().filter_map(|run| Some((run, run.cpu_us_per_tx?))).collect();
    if !document.config.executed {
        let speed = |run: &Run| format!("n={} {:.1}", run.nodes, run.payload_mb_per_s.unwrap_or(0.0));
        notes.push(format!("Blobs settled, MB/s: {}.", each(&speed)));
    }
    if !runs.is_empty() && document.config.executed {
        notes.push(format!(
            "Faulty nodes tolerated, signature checks per transaction in the whole chain: {}.",
            each(&|run| format!("n={} {}, {}", run.nodes, run.faulty_max, run.checks_per_tx))
        ));
    }
    if let Some(rates) = rates(runs) {
        notes.push(rates);
    }
    if !measured.is_empty() && runs.iter().all(|run| run.saturated) {
        let cores = document.machine.cores;
        let share = measured
            .iter()
            .map(|(run, cpu)| format!("n={} {}", run.nodes, grouped(capacity(cpu.total).round() as u64)));
        notes.push(format!(
            "All nodes share this machine's {cores} core{}, so growth shows in the cost per node. With one such core for \
             each node this cost means, in tx/s: {}.",
            if cores == 1 { "" } else { "s" },
            share.collect::<Vec<_>>().join(", ")
        ));
    }
    if runs.iter().any(|run| run.saturated && run.latency_ms.is_some()) {
        notes.push(
            "Latency is saturated: queues were kept full, so it is their length; --rate N measures it at a load."
                .into(),
        );
    }
    let others = |run: &Run| run.cores_busy.machine.map_or(0.0, |machine| machine - run.cores_busy.process);
    if runs.iter().any(|run| others(run) > OTHERS_CORES) {
        notes.push(format!(
            "Other programs kept cores busy meanwhile, which lowers throughput more than it changes costs: {}.",
            each(&|run| format!("n={} {:.1} of {}", run.nodes, others(run).max(0.0), document.machine.cores))
        ));
    }
    let late = |run: &Run| run.latency_ms.filter(|latency| latency.unsettled * 100 > latency.count);
    for (run, latency) in runs.iter().filter_map(|run| Some((run, late(run)?))) {
        notes.push(format!(
            "n={}: of {} transactions that were meant to be sent in the window, {} had not settled when the nodes were \
             stopped; latencies are of the others.",
            run.nodes,
            grouped(latency.count + latency.unsettled),
            grouped(latency.unsettled)
        ));
    }
    for run in runs.iter().filter(|run| run.ran_dry) {
        notes.push(format!(
            "n={}: the signed transactions ran out; the figures are of the {:.1} s before.",
            run.nodes, run.window_s
        ));
    }
    for run in runs.iter().filter(|run| !run.drained && !run.interrupted && run.verdict != "failed") {
        notes.push(format!(
            "n={}: not all accepted transactions had settled on all nodes at the end.",
            run.nodes
        ));
    }
    notes
}

/// Other programs on more cores than this are worth a line.
const OTHERS_CORES: f64 = 0.2;

/// Transactions per second that one core per node could carry at this cost.
fn capacity(cpu_us: f64) -> f64 {
    if cpu_us > 0.0 { 1e6 / cpu_us } else { 0.0 }
}

/// Offered, sent, accepted and committed side by side, where they tell something.
fn rates(runs: &[Run]) -> Option<String> {
    let line = |run: &Run| {
        let [offered, sent, accepted, committed] = [run.offered_tps, run.sent_tps, run.accepted_tps, run.tps]
            .map(|rate| grouped(rate.round() as u64));
        format!("n={} {offered} / {sent} / {accepted} / {committed}", run.nodes)
    };
    (!runs.is_empty()).then(|| {
        let lines: Vec<_> = runs.iter().map(line).collect();
        format!("Offered / sent / accepted / committed, tx/s: {}.", lines.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (10_000, "10,000")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(milliseconds(9.87), "9.9 ms");
        assert_eq!(milliseconds(987.6), "988 ms");
        assert_eq!(milliseconds(12_345.0), "12.3 s");
    }
}
