//! Carries alarms further, to a webhook and by mail: each is tried a few times, and none names a patient.

mod mail;
mod webhook;

use crate::config;
use async_trait::async_trait;
use leadglass_engine::Raised;
use std::time::Duration;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
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

/// Carries alarms, until `stop`: so many one by one, and how many more there were when their time is over. One that nobody takes
/// stands in the log and in the metrics.
pub async fn carry(carrier: Box<dyn Carrier>, mut raised: Receiver<Raised>, stop: CancellationToken) {
    let mut pace = Pace::begin();
    loop {
        let news = tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(pace.end), if pace.held > 0 => Some(pace.next()),
            alarm = raised.recv() => match alarm {
                Ok(alarm) => pace.admit(News::Alarm(alarm)),
                Err(RecvError::Lagged(missed)) => pace.admit(News::More(missed)),
                Err(RecvError::Closed) => return,
            },
        };
        let Some(news) = news else { continue };
        tokio::select! {
            () = stop.cancelled() => return,
            () = insist(&*carrier, &news) => {}
        }
    }
}

/// How often somebody is told: a run of damaged objects must not fill a letter box.
#[derive(Debug)]
struct Pace {
    end: Instant,
    told: u32,
    held: u64,
}

impl Pace {
    fn begin() -> Self {
        Self { end: Instant::now() + AT_ONCE_TIME, told: 0, held: 0 }
    }

    /// What is told now; nothing where it is only counted.
    fn admit(&mut self, news: News) -> Option<News> {
        if Instant::now() >= self.end && self.held == 0 {
            *self = Self::begin();
        }
        if self.told < AT_ONCE {
            self.told += 1;
            return Some(news);
        }
        self.held += match news {
            News::Alarm(_) => 1,
            News::More(missed) => missed,
        };
        None
    }

    /// The time is over, and some were held.
    fn next(&mut self) -> News {
        let held = std::mem::replace(self, Self::begin()).held;
        self.told = 1;
        News::More(held)
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

/// So many are told one by one, within so long.
const AT_ONCE: u32 = 20;
const AT_ONCE_TIME: Duration = Duration::from_secs(600);
/// Between attempts, and after the last.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(0)];
/// One attempt.
const CALL_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_engine::AlarmKind;
    use leadglass_model::{EntryId, UnixMillis};

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_one_by_one_for_a_while_and_then_by_its_number() {
        let alarm =
            || News::Alarm(Raised { kind: AlarmKind::Fork, at: UnixMillis(0), entry: EntryId::from_bytes([0; 16]) });
        let mut pace = Pace::begin();
        let told = (0..AT_ONCE + 5).filter_map(|_| pace.admit(alarm())).count();
        assert_eq!((told, pace.admit(News::More(7))), (AT_ONCE as usize, None));
        tokio::time::advance(AT_ONCE_TIME).await;
        assert_eq!(pace.admit(alarm()), None, "what was held is told first");
        assert_eq!(pace.next(), News::More(13));
        assert_eq!(pace.admit(alarm()), Some(alarm()));
        tokio::time::advance(AT_ONCE_TIME).await;
        assert_eq!((0..AT_ONCE).filter_map(|_| pace.admit(alarm())).count(), AT_ONCE as usize, "another time began");
    }
}
