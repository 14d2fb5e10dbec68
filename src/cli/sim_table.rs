//! What `throng sim` prints for people.

use super::table::{frame, grouped, milliseconds};
use crate::sim::{Conviction, Crypto, Latency, NodeReport, RunReport, Verdict};
use std::fmt::Write;

/// One run with a line for each node, or many with a line for each that failed.
pub fn runs(reports: &[RunReport]) -> String {
    match reports {
        [] => "no run was finished".to_owned(),
        [report] => single(report),
        reports => summary(reports),
    }
}

fn single(report: &RunReport) -> String {
    let header = [
        "node",
        "height",
        "round",
        "sent",
        "received",
        "stored",
        "cores\nbusy",
        "crashes",
        "state",
        "region",
    ];
    let mut out = frame(&header, 8, report.places.iter().map(row)).to_string();
    let verdict = report.verdict.words();
    let line = match &report.reason {
        Some(reason) => format!("n={} seed {}: {verdict}: {reason}", report.nodes, report.seed),
        None => format!("n={} seed {}: {verdict}", report.nodes, report.seed),
    };
    let _ = write!(out, "\n{line}\n\n{}", figures(report)); // a String takes everything
    out
}

fn row(node: &NodeReport) -> Vec<String> {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    vec![
        node.node.to_string(),
        grouped(node.height),
        grouped(node.round),
        megabytes(node.sent),
        megabytes(node.received),
        megabytes(node.stored),
        format!("{:.2}", node.cores_busy),
        node.crashes.to_string(),
        if node.lies { format!("{}, lies", node.state) } else { node.state.to_owned() },
        node.region.unwrap_or("–").to_owned(),
    ]
}

fn figures(report: &RunReport) -> String {
    let mut lines = vec![format!(
        "Rows sent {}, settled {} ({}/s), waiting {}, sent again {}; {} blocks in {:.1} virtual s.",
        grouped(report.sent),
        grouped(report.settled),
        grouped(report.tps.round() as u64),
        grouped(report.unsettled),
        grouped(report.repeated),
        grouped(report.height),
        report.virtual_s
    )];
    let told = |latency: &Latency| {
        let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(milliseconds);
        format!("p50 {p50}, p99 {p99}, max {max}")
    };
    if report.sealed_again > 0 {
        lines.push(format!(
            "{} times a node sealed a row that another honest one had sealed.",
            grouped(report.sealed_again)
        ));
    }
    if let Some(rows) = &report.latency_ms {
        lines.push(format!("Row sent to durable on a quorum: {}.", told(rows)));
    }
    if let Some(leaders) = &report.leader_ms {
        lines.push(format!(
            "Leader sent to block durable on a quorum: {}; three message delays are {}.",
            told(leaders),
            milliseconds(report.ideal_ms)
        ));
    }
    if report.faults > 0 {
        let resumed = match report.resumed_s {
            Some(at) => format!("something new had settled at {at:.1} s"),
            None => "nothing new settled after that".to_owned(),
        };
        lines.push(format!(
            "{} {}, the last over at {:.1} s; {resumed}; {} messages lost to them, {} for want of room.",
            report.faults,
            if report.liars.is_empty() { "faults" } else { "faults and lies" },
            report.healed_s,
            grouped(report.messages_lost),
            grouped(report.messages_dropped)
        ));
    }
    if !report.liars.is_empty() {
        lines.push(format!("{}{}.", liars(report), convicted(report)));
    }
    let crypto = match report.crypto {
        Crypto::Real => "every node checks every signature itself",
        Crypto::Cached => {
            "a signature is checked once for all nodes (--crypto real: by each), modelled times are full"
        }
    };
    lines.push(format!(
        "Cryptography: {crypto}. Trace {} over {} events.",
        report.trace_hash,
        grouped(report.events)
    ));
    lines.join("\n")
}

/// Who lies, and whether that is more than agreement bears.
fn liars(report: &RunReport) -> String {
    let nodes: Vec<String> = report.liars.iter().map(u16::to_string).collect();
    let (word, verb) = if nodes.len() == 1 { ("node", "lies") } else { ("nodes", "lie") };
    let beyond = match report.beyond {
        true => ", more than f together with those that forget or never start: nothing is promised",
        false => "",
    };
    let nodes = nodes.join(", ");
    format!("The plan: {word} {nodes} {verb}{beyond}. ")
}

/// Who was convicted first by whom.
fn convicted(report: &RunReport) -> String {
    let proof =
        |c: &Conviction| format!("node {} of {}, by node {} after {:.3} s", c.node, c.kind, c.by, c.at_s);
    match &report.convicted[..] {
        [] => "Nobody was convicted".to_owned(),
        convicted => format!("Convicted: {}", convicted.iter().map(proof).collect::<Vec<_>>().join("; ")),
    }
}

fn summary(reports: &[RunReport]) -> String {
    let mut lines = Vec::new();
    for report in reports.iter().filter(|report| report.verdict != Verdict::Agreed) {
        let reason = report.reason.as_deref().unwrap_or("");
        lines.push(format!("n={} seed {}: {}: {reason}", report.nodes, report.seed, report.verdict.words()));
    }
    let count = |verdict| reports.iter().filter(|report| report.verdict == verdict).count();
    let sum = |of: fn(&RunReport) -> u64| grouped(reports.iter().map(of).sum());
    let crashes = |report: &RunReport| report.places.iter().map(|place| place.crashes).sum();
    let after: Vec<f64> = reports.iter().filter_map(|r| Some((r.resumed_s? - r.healed_s).max(0.0))).collect();
    lines.push(format!(
        "{} runs of n={}: {} agreed, {} no progress, {} diverged",
        reports.len(),
        reports[0].nodes,
        count(Verdict::Agreed),
        count(Verdict::NoProgress),
        count(Verdict::Diverged)
    ));
    let liars: usize = reports.iter().map(|report| report.liars.len()).sum();
    if liars > 0 {
        let convicted: usize = reports.iter().map(|report| report.convicted.len()).sum();
        let runs = reports.iter().filter(|report| !report.liars.is_empty()).count();
        lines.push(format!("{liars} liars in {runs} runs, {convicted} of them convicted"));
    }
    lines.push(format!(
        "{} virtual s, {} blocks, {} rows settled, {} faults, {} crashes; longest time from the last fault to something \
         new settled {:.1} s",
        grouped(reports.iter().map(|report| report.virtual_s).sum::<f64>() as u64),
        sum(|report| report.height),
        sum(|report| report.settled),
        sum(|report| report.faults as u64),
        sum(crashes),
        after.into_iter().fold(0.0, f64::max)
    ));
    lines.join("\n")
}
