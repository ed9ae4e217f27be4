//! The progress bar: things, bytes, rate, what remains. On a terminal only.

use super::source::Totals;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use std::{io::IsTerminal, sync::Arc};

/// A bar that may be shown.
#[derive(Debug, Clone)]
pub struct Bar {
    bar: ProgressBar,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    done: u64,
    /// Of each source, as far as it is counted.
    totals: Vec<Totals>,
}

impl Bar {
    /// A bar on standard error, or a mute one.
    pub fn new(sources: usize, mute: bool) -> Self {
        let shown = !mute && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("{bar:30} {msg}  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
                .expect("the template is well-formed: a test draws it");
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style);
        Self { bar, counts: Arc::new(Mutex::new(Counts { done: 0, totals: vec![Totals::default(); sources] })) }
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// A source counted so far; says whether to go on counting.
    pub fn count(&self, source: usize, totals: Totals) -> bool {
        let mut counts = self.counts.lock();
        if let Some(slot) = counts.totals.get_mut(source) {
            *slot = totals;
        }
        self.bar.set_length(counts.totals.iter().map(|t| t.bytes).sum());
        !self.bar.is_finished()
    }

    /// One thing is done.
    pub fn done(&self, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.done += 1;
        let all = counts.totals.iter().map(|t| t.items).sum::<u64>().max(counts.done);
        self.bar.set_message(format!("{} of {all} files", counts.done));
        self.bar.inc(bytes);
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn_and_counts() {
        let bar = Bar::new(2, true);
        assert!(!bar.is_shown());
        assert!(bar.count(1, Totals { items: 2, bytes: 10 }));
        bar.done(5);
        assert_eq!((bar.bar.length(), bar.bar.position()), (Some(10), 5));
        assert_eq!(bar.bar.message(), "1 of 2 files");
        bar.finish();
        assert!(!bar.count(1, Totals::default()));
    }
}
