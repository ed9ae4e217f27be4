//! The log's entries to an audit repository as they come: syslog over TLS (RFC 5425), DICOM PS3.15 A.6.
//!
//! Syslog has no receipt. What comes closest is the end of a connection (RFC 5425 §4.4): whoever answers our `close_notify` has
//! read all that came before it. So a page of entries goes over a connection of its own, which is ended after it, and only then
//! the cursor is moved, durably. What a receiver had read and not yet written when it died it can still lose; so when it is found
//! away, what was confirmed within the last half minute is sent again.
//!
//! Law: each entry is sent at least once, in the log's order, whatever dies; one that comes twice has the same name.
//! Bound: one page of the log, and the cursors of half a minute.

mod cursor;
mod message;
mod receiver;

pub(crate) use cursor::Cursor;
pub(crate) use receiver::Receiver;

use crate::config::Syslog;
use anyhow::Context;
use leadglass_audit::EntryLine;
use leadglass_engine::Engine;
use leadglass_model::{Clock, SystemClock};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Follows the log and tells a repository.
pub struct Follower {
    engine: Engine,
    receiver: Receiver,
    file: PathBuf,
    cursor: Cursor,
    /// What was confirmed lately: when, and where the cursor stood before.
    lately: VecDeque<(Instant, Cursor)>,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// A page arrived.
    Sent,
    /// The receiver ended the connection in order, with nothing on it.
    Idle,
}

impl Follower {
    /// Goes on where the last one stopped; at the log's beginning with a receiver that was not told before.
    ///
    /// # Errors
    /// The certificates or the cursor cannot be read.
    pub fn open(config: &Syslog, engine: Engine, data: &Path) -> anyhow::Result<Self> {
        let receiver = Receiver::of(config)?;
        let file = Cursor::place(data);
        let kept = Cursor::read(&file)?;
        let cursor = kept.filter(|kept| kept.receiver == receiver.name());
        let cursor = cursor.unwrap_or_else(|| Cursor::beginning(receiver.name()));
        Ok(Self { engine, receiver, file, cursor, lately: VecDeque::new() })
    }

    /// Tells every entry, until `stop`. An outage is waited for, longer and longer, and stands in the metrics.
    pub async fn follow(mut self, stop: CancellationToken) {
        metrics::counter!("leadglass_syslog_failures_total").increment(0);
        metrics::counter!("leadglass_syslog_sent_total").increment(0);
        let work = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.attempt().await {
                    Ok(Attempt::Sent) => pause = FIRST_PAUSE,
                    Ok(Attempt::Idle) => tokio::time::sleep(LOOK_EVERY).await,
                    Err(error) => {
                        metrics::counter!("leadglass_syslog_failures_total").increment(1);
                        tracing::warn!(error = format!("{error:#}"), "the audit repository was not told");
                        if let Err(error) = self.go_back().await {
                            tracing::error!(error = format!("{error:#}"), "the cursor of the audit repository");
                        }
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LAST_PAUSE);
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// One page over one connection.
    async fn attempt(&mut self) -> anyhow::Result<Attempt> {
        let mut page = self.page().await?;
        let mut line = self.receiver.connect().await?;
        while page.is_empty() {
            if let Some(ended) = line.watch(LOOK_EVERY).await {
                return ended.map(|()| Attempt::Idle).context("the audit repository went away");
            }
            page = self.page().await?;
        }
        let mut bytes = Vec::new();
        for entry in &page {
            message::frame(entry, &mut bytes);
        }
        line.send(&bytes).await?;
        line.end().await?;
        let last = page.last().context("a page that is sent holds entries")?;
        let next = Cursor { next: last.seq + 1, entry: last.entry_id.clone(), ..self.cursor.clone() };
        self.lately.push_back((Instant::now(), self.cursor.clone()));
        while self.lately.len() > MOST_LATELY || self.lately.front().is_some_and(|(at, _)| at.elapsed() > DOUBT) {
            self.lately.pop_front();
        }
        self.keep(next).await?;
        metrics::counter!("leadglass_syslog_sent_total").increment(page.len() as u64);
        Ok(Attempt::Sent)
    }

    /// The next entries, and how far behind we are.
    #[allow(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    async fn page(&mut self) -> anyhow::Result<Vec<EntryLine>> {
        self.recognise().await?;
        let (page, size) = self.engine.log_page(self.cursor.next).await?;
        let waited = page.first().map_or(0, |first| SystemClock.now().0.saturating_sub(first.report.time.0));
        metrics::gauge!("leadglass_syslog_lag_entries").set(size.saturating_sub(self.cursor.next) as f64);
        metrics::gauge!("leadglass_syslog_lag_seconds").set(waited as f64 / 1000.0);
        Ok(page.iter().map(EntryLine::from).collect())
    }

    /// A log that does not hold the last entry told in its place is another one, or was put back: it is told from its beginning.
    async fn recognise(&mut self) -> anyhow::Result<()> {
        if self.cursor.known || self.cursor.next == 0 {
            return Ok(());
        }
        let (page, _) = self.engine.log_page(self.cursor.next - 1).await?;
        if page.first().is_some_and(|entry| entry.report.entry_id.to_string() == self.cursor.entry) {
            self.cursor.known = true;
        } else {
            tracing::warn!("the log is not the one that the audit repository was told: it is told from the beginning");
            self.keep(Cursor::beginning(self.receiver.name())).await?;
        }
        Ok(())
    }

    /// What was confirmed lately is told again.
    async fn go_back(&mut self) -> anyhow::Result<()> {
        let back = self.lately.iter().find(|(at, _)| at.elapsed() <= DOUBT).map(|(_, before)| before.clone());
        self.lately.clear();
        match back {
            Some(before) => self.keep(before).await,
            None => Ok(()),
        }
    }

    async fn keep(&mut self, cursor: Cursor) -> anyhow::Result<()> {
        let (file, written) = (self.file.clone(), cursor.clone());
        tokio::task::spawn_blocking(move || written.write(&file)).await??;
        self.cursor = cursor;
        Ok(())
    }
}

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After the first failure; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// What a receiver had confirmed so shortly before it was found away may not have reached its disk.
const DOUBT: Duration = Duration::from_secs(30);
/// Pages that are told again at most: some 30,000 entries.
const MOST_LATELY: usize = 64;
