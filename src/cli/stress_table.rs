//! A stress run as people read it.

use super::table::{frame, grouped, milliseconds};
use crate::lab::hostile::{Counts, Door};
use crate::lab::stress::{Bound, Hostile, Part, Saw, Seen, StressDocument, shown};

/// The tables of a stress run.
pub fn stress(document: &StressDocument) -> String {
    let mut out = parts(document);
    out.push_str("\n\n");
    out.push_str(&hostile(&document.hostile));
    let during = document.parts.iter().find(|part| part.name == "during");
    match during.map(|part| &part.seen) {
        Some(Seen::Counted(saw)) => out.push_str(&counted(saw)),
        Some(Seen::Told(_)) => out.push_str(&told(document)),
        None => {}
    }
    if !document.bounds.is_empty() {
        out.push_str("\n\n");
        out.push_str(&bounds(&document.bounds));
    }
    let interrupted = if document.interrupted { ", interrupted" } else { "" };
    let kept = if document.exceeded.is_empty() { "" } else { ", bounds exceeded" };
    let judged = match document.not_judged.len() {
        0 => String::new(),
        1 => ", 1 bound unknown".to_owned(),
        some => format!(", {some} bounds unknown"),
    };
    out.push_str(&format!("\nverdict: {}{kept}{judged}{interrupted}", document.verdict));
    for reason in document.reason.iter().chain(&document.exceeded).chain(&document.not_judged) {
        out.push_str(&format!("\n  {reason}"));
    }
    out
}

fn parts(document: &StressDocument) -> String {
    let unknown = || "unknown".to_owned();
    let micros = |cpu: Option<f64>| cpu.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1}"));
    let row = |part: &Part| {
        vec![
            part.name.to_owned(),
            part.tps.map_or_else(unknown, |tps| grouped(tps.round() as u64)),
            part.p50_ms.map_or_else(unknown, milliseconds),
            part.p99_ms.map_or_else(unknown, milliseconds),
            part.cpu_us_per_tx.node.map_or_else(unknown, |cpu| format!("{cpu:.1}")),
            part.cpu_us_per_tx.nodes.map_or_else(unknown, |cpu| format!("{cpu:.1}")),
            micros(part.cpu_us_per_tx.load),
            micros(part.cpu_us_per_tx.hostile),
            part.memory_bytes.map_or_else(unknown, |bytes| format!("{} MB", grouped(bytes >> 20))),
            part.descriptors.map_or_else(unknown, |open| grouped(open as u64)),
        ]
    };
    let header = [
        "part",
        "tx/s",
        "p50",
        "p99",
        "CPU µs/tx\na node",
        "all nodes",
        "load",
        "hostile",
        "memory\nof a node",
        "descriptors\nof a node",
    ];
    let mut out = frame(&header, header.len(), document.parts.iter().map(row)).to_string();
    let config = &document.config;
    let whom = match config.target.is_empty() {
        true => format!("{} nodes", config.nodes),
        false => config.target.join(", "),
    };
    let load = match config.offered_tps.round() as u64 {
        0 => "no load".to_owned(),
        offered => format!("a load of {} tx/s", grouped(offered)),
    };
    out.push_str(&format!(
        "\n{} hostile peers against {whom} under {load}; memory (anonymous) and descriptors are the most that a node held.",
        grouped(config.peers as u64)
    ));
    out
}

fn hostile(kinds: &[Hostile]) -> String {
    let row = |Hostile { kind, counts }: &Hostile| {
        let ports: Vec<&str> = kind
            .about()
            .doors
            .iter()
            .map(|door| if *door == Door::Peer { "peer" } else { "client" })
            .collect();
        let Counts { peers, connected, held, ended, sent_bytes, requests, answers, rows, admitted, .. } =
            counts;
        let numbers =
            [*peers, *connected, *ended, *held, sent_bytes >> 10, *requests, *answers, *rows, *admitted];
        let numbers = numbers.map(|count| if count == 0 { "–".to_owned() } else { grouped(count) });
        [vec![kind.name().to_owned(), ports.join(", ")], numbers.to_vec()].concat()
    };
    let header = [
        "kind",
        "ports",
        "peers",
        "connected",
        "ended\nby nodes",
        "held\nat the end",
        "KB sent",
        "requests",
        "answers",
        "rows",
        "admitted",
    ];
    frame(&header, header.len(), kinds.iter().map(row)).to_string()
}

fn counted(saw: &Saw) -> String {
    let list = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| {
        let words: Vec<String> =
            counts.map(|(reason, count)| format!("{} {reason}", grouped(count))).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    format!(
        "\nThe nodes accepted {} connections, ended or refused: {}; refused rows: {}; let somebody wait {} times.",
        grouped(saw.accepted),
        list(&mut saw.dismissals()),
        list(&mut saw.refusals()),
        grouped(saw.throttled),
    )
}

fn told(document: &StressDocument) -> String {
    let mut out = String::new();
    for part in &document.parts {
        let Seen::Told(nodes) = &part.seen else { continue };
        for node in nodes {
            let words = match (node.height, node.answer_ms) {
                (Some(height), Some(ms)) => format!(
                    "height {}, {} rows pending, {} validators connected, answered in {}",
                    grouped(height),
                    grouped(node.pending.unwrap_or_default().into()),
                    node.peers.unwrap_or_default(),
                    milliseconds(ms)
                ),
                _ => "did not answer".to_owned(),
            };
            out.push_str(&format!("\n{}: {} {words}", part.name, node.node));
        }
    }
    out
}

fn bounds(bounds: &[Bound]) -> String {
    let row = |bound: &Bound| {
        let limit =
            format!("{} {}{}", if bound.at_most { "≤" } else { "≥" }, shown(Some(bound.limit)), bound.unit);
        let measured = bound
            .measured
            .map_or("unknown".to_owned(), |value| format!("{}{}", shown(Some(value)), bound.unit));
        let kept = match bound.kept {
            Some(true) => "kept",
            Some(false) => "EXCEEDED",
            None => "unknown",
        };
        vec![bound.what.to_owned(), measured, limit, kept.to_owned(), bound.why.clone()]
    };
    let header = ["bound", "measured", "limit", "", "because"];
    frame(&header, 1, bounds.iter().map(row)).to_string()
}
