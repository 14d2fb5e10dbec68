//! Progress on standard error: one live line on a terminal; elsewhere one line whenever something else begins.

use super::table::grouped;
use crate::lab::Step;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::io::IsTerminal;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// The live line.
pub struct Live {
    bar: Option<ProgressBar>,
    last: Mutex<Option<Shown>>,
}

/// What tells one line from the next where there is no live one: nodes, kind of step, part.
type Shown = (usize, Discriminant<Step>, &'static str);

impl Live {
    /// Begins. With logs on the same stream a live line would tear them apart: then it prints plain lines.
    pub fn start(logs: bool) -> Live {
        let bar = (std::io::stderr().is_terminal() && !logs).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Live { bar, last: Mutex::new(None) }
    }

    /// Shows what a run is doing.
    pub fn show(&self, nodes: usize, step: Step) {
        let words = words(nodes, step);
        match &self.bar {
            Some(bar) => bar.set_message(words),
            None => {
                let part = if let Step::Part(name, _) = step { name } else { "" };
                let this = Some((nodes, discriminant(&step), part));
                let before = std::mem::replace(&mut *self.last.lock(), this);
                if before != this {
                    eprintln!("throng: {words}");
                }
            }
        }
    }

    /// Clears the line.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn words(nodes: usize, step: Step) -> String {
    let chain = format!("{nodes} node{}", if nodes == 1 { "" } else { "s" });
    match step {
        Step::Keys => "deriving the accounts' keys".to_owned(),
        Step::Starting => format!("{chain}: starting"),
        Step::Probing => format!("{chain}: probing for the rate"),
        Step::Signing(done, total) => {
            format!(
                "{chain}: signing transactions {} {} of {}",
                meter(done, total),
                grouped(done),
                grouped(total)
            )
        }
        Step::WarmingUp => format!("{chain}: warming up"),
        Step::Measuring(tps) if tps > 0.0 => format!("{chain}: measuring, {} tx/s", grouped(tps as u64)),
        Step::Measuring(_) => format!("{chain}: measuring"),
        Step::Part(name, tps) if tps > 0.0 => format!("{chain}: {name}, {} tx/s", grouped(tps as u64)),
        Step::Part(name, _) => format!("{chain}: {name}"),
        Step::Draining => format!("{chain}: letting what is under way settle"),
        Step::Reading => format!("{chain}: reading the chain back"),
    }
}

/// A bar of fixed width.
fn meter(done: u64, total: u64) -> String {
    const WIDTH: u64 = 24;
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH as usize - full))
}
