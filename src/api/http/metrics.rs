//! The metrics page: the text format of Prometheus, version 0.0.4.
//!
//! Every name begins with `throng_`, carries its base unit, and ends in `_total` if it counts. Labels take few values, all known
//! here: no peer and no client can make a new one. A counter begins again at 0 with the process.

use super::site::Site;
use crate::metrics::{Dismissal, Metrics, STAGES};
use crate::wire::client::Refusal;
use std::fmt::{Display, Write};

/// A page under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A family of samples, each with its labels.
    fn family<V: Display>(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP throng_{name} {help}\n# TYPE throng_{name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "throng_{name}{labels} {value}");
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family("counter", name, help, [(String::new(), value)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family("gauge", name, help, [(String::new(), value)]);
    }
}

/// One label. The values come from this program's own lists, and need no escapes.
fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

/// The page as of now.
pub(super) fn page(site: &Site) -> String {
    let mut page = Page::default();
    about(&mut page, site);
    chain(&mut page, site);
    work(&mut page, site.view.metrics());
    http(&mut page, site);
    page.0
}

fn about(page: &mut Page, site: &Site) {
    let view = &site.view;
    let seat = view.seat().taken().map_or("none".to_owned(), |seat| seat.to_string());
    let (version, chain) = (env!("CARGO_PKG_VERSION"), view.chain());
    let labels = format!("{{version=\"{version}\",chain=\"{chain}\",seat=\"{seat}\"}}");
    page.family("gauge", "info", "Who the node is: always 1.", [(labels, 1)]);
    page.gauge(
        "healthy",
        "Whether the node follows the chain, as /health says: 1 or 0.",
        site.trouble().is_none().into(),
    );
    page.gauge("uptime_seconds", "Seconds since the HTTP server started.", site.uptime().as_secs());
}

fn chain(page: &mut Page, site: &Site) {
    let (view, progress) = (&site.view, site.view.progress());
    page.gauge("height", "Height of the last block that is durable here.", progress.durable);
    page.gauge("executed_height", "Height of the last block executed here.", progress.executed);
    page.gauge(
        "certified_height",
        "Height of the newest checkpoint with a certificate here.",
        progress.certified,
    );
    page.gauge("round", "Round of this node's last vertex.", progress.round);
    page.gauge("highest_round", "Highest round of which a vertex is accepted here.", progress.highest);
    page.gauge("committee_seats", "Seats of the committee.", view.seats() as u64);
    page.gauge("peers", "Validators connected, the node itself not counted.", progress.peers as u64);
    page.gauge("accounts", "Accounts of the chain.", view.accounts().saturating_sub(1).into());
    let (own, held) = view.pending();
    page.gauge("mempool_rows", "Rows in the mempool that this node is to seal.", own as u64);
    page.gauge("mempool_held_rows", "Rows in the mempool that were handed on and wait here.", held as u64);
    page.gauge(
        "outstanding_batches",
        "Own batches that are sealed and not settled.",
        progress.outstanding as u64,
    );
    page.gauge("waiting_blocks", "Blocks that wait for execution.", progress.waiting_blocks as u64);
    page.gauge("waiting_vertices", "Vertices that wait for their parents.", progress.waiting_vertices as u64);
    page.gauge(
        "catching_up",
        "Whether the node adopts blocks that others certified: 1 or 0.",
        progress.catching_up.into(),
    );
}

fn work(page: &mut Page, metrics: &Metrics) {
    let seconds = metrics.cpu_ns().map(|ns| ns as f64 / 1e9);
    let stages = STAGES.into_iter().map(|stage| label("stage", stage.name())).zip(seconds);
    page.family("counter", "cpu_seconds_total", "CPU time by stage, in seconds.", stages);
    let read = Metrics::read;
    page.counter(
        "network_sent_bytes_total",
        "Bytes written to peers and clients.",
        read(&metrics.bytes_sent),
    );
    page.counter(
        "network_received_bytes_total",
        "Bytes read from peers and clients.",
        read(&metrics.bytes_received),
    );
    page.counter("stored_bytes_total", "Bytes appended to block files.", read(&metrics.bytes_stored));
    page.gauge("disk_full", "Whether the disk has no room: 1 or 0.", read(&metrics.disk_full));
    page.counter("rows_submitted_total", "Rows that clients submitted.", read(&metrics.rows_submitted));
    page.counter("rows_admitted_total", "Rows admitted to the mempool.", read(&metrics.rows_admitted));
    let refused = Refusal::ALL.map(|why| (label("reason", why.name()), metrics.refused(why)));
    page.family("counter", "rows_refused_total", "Rows refused, by reason.", refused);
    let handed_on = read(&metrics.rows_handed_on);
    page.counter("rows_handed_on_total", "Rows handed on to whose turn it is to seal them.", handed_on);
    let taken_over = read(&metrics.rows_taken_over);
    page.counter("rows_taken_over_total", "Rows that others handed on, admitted.", taken_over);
    let passed_over = read(&metrics.rows_passed_over);
    page.counter(
        "rows_passed_over_total",
        "Rows that others handed on, passed over, each time that one was offered.",
        passed_over,
    );
    let let_go = read(&metrics.rows_let_go);
    page.counter(
        "rows_let_go_total",
        "Rows admitted and let go, for they were not executed in time.",
        let_go,
    );
    page.counter(
        "rows_settled_total",
        "Rows settled by blocks that became durable here.",
        read(&metrics.rows_settled),
    );
    page.counter(
        "rows_ok_total",
        "Of the rows settled the ones with the outcome ok.",
        read(&metrics.rows_ok),
    );
    page.counter(
        "signatures_checked_total",
        "Signatures of rows checked.",
        read(&metrics.signatures_checked),
    );
    page.counter(
        "peer_faults_total",
        "Frames and messages of peers that broke a rule.",
        read(&metrics.peer_faults),
    );
    page.counter(
        "messages_dropped_total",
        "Messages dropped because a queue was full.",
        read(&metrics.messages_dropped),
    );
    let dismissed =
        Dismissal::ALL.into_iter().map(|why| (label("reason", why.name()), metrics.dismissed(why)));
    page.family(
        "counter",
        "connections_dismissed_total",
        "Connections refused or dropped, by reason.",
        dismissed,
    );
}

fn http(page: &mut Page, site: &Site) {
    let answers = site.counts.answers().into_iter().map(|(class, count)| (label("class", class), count));
    page.family("counter", "http_answers_total", "HTTP answers, by class of status.", answers);
    page.gauge("http_connections", "HTTP connections that are served.", site.door.inside() as u64);
    let (listening, dropped) = site.hub.counts();
    page.gauge("http_listeners", "Listeners to the stream of blocks.", listening as u64);
    page.counter("http_listeners_dropped_total", "Listeners let go because they were too slow.", dropped);
}
