//! Taking away what uploads left behind: at the start what the last process had begun, and every hour what this one could not
//! give up while the store was away. A bucket charges for parts that nobody sees.

use crate::Shared;
use leadglass_store::SweepReport;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

impl Shared {
    /// Sweeps every hour until the node stops.
    pub(crate) async fn sweep_now_and_then(self: Arc<Self>, stop: CancellationToken) {
        let sweep = || {
            let objects = self.objects.clone();
            async move {
                match objects.sweep_begun().await {
                    Ok(swept) => tell(&swept),
                    // The next one goes on where it stopped.
                    Err(error) => tracing::warn!(%error, "uploads that had died could not be swept"),
                }
            }
        };
        every(SWEEP_EVERY, &stop, sweep).await;
    }
}

/// Notes what was found.
pub(crate) fn tell(swept: &SweepReport) {
    if !swept.removed.is_empty() || swept.unknown_unfinished > 0 {
        tracing::info!(
            removed = swept.removed.len(),
            unknown = swept.unknown_unfinished,
            "uploads that had died were swept"
        );
    }
}

async fn every<F: Future<Output = ()>>(period: Duration, stop: &CancellationToken, work: impl Fn() -> F) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => work().await,
        }
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn it_is_done_every_hour_until_the_node_stops() {
        let (stop, done) = (CancellationToken::new(), AtomicU32::new(0));
        let sweeping = every(SWEEP_EVERY, &stop, || async {
            done.fetch_add(1, Ordering::Relaxed);
        });
        let ending = async {
            tokio::time::sleep(SWEEP_EVERY * 3 + SWEEP_EVERY / 2).await;
            stop.cancel();
        };
        tokio::join!(sweeping, ending);
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }
}
