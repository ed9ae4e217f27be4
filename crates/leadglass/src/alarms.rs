//! Carries alarms further, to a webhook and by mail: each is tried a few times, and none names a patient.

mod mail;
mod webhook;

use crate::config;
use async_trait::async_trait;
use leadglass_engine::Raised;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// An alarm.
    Alarm(Raised),
    /// Too many came at once: the newest say enough, and that so many are missing is said, too.
    More(u64),
}

/// A way to somebody.
#[async_trait]
pub trait Carrier: std::fmt::Debug + Send + Sync {
    /// One attempt. Says why it failed where it did; `false`: it is to be tried again.
    async fn tell(&self, news: &News) -> bool;

    /// The counter of what nobody took.
    fn failures(&self) -> metrics::Counter;
}

/// The configured ones.
pub fn carriers(config: &config::Alarms) -> anyhow::Result<Vec<Box<dyn Carrier>>> {
    let webhook = webhook::Webhook::of(config)?.map(|webhook| Box::new(webhook) as Box<dyn Carrier>);
    let mail = config.email.as_ref().map(mail::Mail::of).transpose()?;
    Ok(webhook.into_iter().chain(mail.map(|mail| Box::new(mail) as Box<dyn Carrier>)).collect())
}

/// Carries every alarm, until `stop`. One that nobody takes stands in the log and in the metrics.
pub async fn carry(carrier: Box<dyn Carrier>, mut raised: Receiver<Raised>, stop: CancellationToken) {
    loop {
        let alarm = tokio::select! {
            () = stop.cancelled() => return,
            alarm = raised.recv() => alarm,
        };
        let news = match alarm {
            Ok(alarm) => News::Alarm(alarm),
            Err(RecvError::Lagged(missed)) => News::More(missed),
            Err(RecvError::Closed) => return,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = insist(&*carrier, &news) => {}
        }
    }
}

async fn insist(carrier: &dyn Carrier, news: &News) {
    for pause in PAUSES {
        if carrier.tell(news).await {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    carrier.failures().increment(1);
}

/// Between attempts, and after the last.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(0)];
/// One attempt.
const CALL_TIME: Duration = Duration::from_secs(10);
