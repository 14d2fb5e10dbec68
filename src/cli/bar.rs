//! A progress bar over the bytes of a directory, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The bar, and when the work began.
pub struct Bar {
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Bar {
    /// Begins. With logs on the same stream a bar would tear them apart: then there is none.
    #[allow(clippy::disallowed_methods, reason = "tells a person how long the work took")]
    pub fn start(doing: &'static str, logs: bool) -> Bar {
        let bar = (std::io::stderr().is_terminal() && !logs).then(|| {
            let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style).with_message(doing)
        });
        Bar { bar, began: Instant::now() }
    }

    /// Shows how far the work has come.
    pub fn show(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Clears the bar; how long the work took.
    pub fn end(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.began.elapsed()
    }
}
