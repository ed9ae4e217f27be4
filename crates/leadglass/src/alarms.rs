//! Carries alarms to a webhook: one HTTPS POST each, tried a few times, without any patient's data.

use crate::config::Alarms;
use anyhow::{Context, ensure};
use leadglass_engine::Raised;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Where alarms go.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    address: reqwest::Url,
}

impl Webhook {
    /// The configured one.
    pub fn of(config: &Alarms) -> anyhow::Result<Option<Self>> {
        let Some(address) = &config.webhook else { return Ok(None) };
        let address: reqwest::Url = address.parse().context("alarms.webhook is no address")?;
        ensure!(address.scheme() == "https", "alarms.webhook is told over https only");
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder =
            reqwest::Client::builder().https_only(true).redirect(reqwest::redirect::Policy::none()).timeout(CALL_TIME);
        if let Some(ca) = &config.webhook_ca {
            let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Some(Self { client: builder.build()?, address }))
    }

    /// Carries every alarm, until `stop`. One that nobody takes stands in the log and in the metrics.
    pub async fn carry(self, mut raised: Receiver<Raised>, stop: CancellationToken) {
        loop {
            let alarm = tokio::select! {
                () = stop.cancelled() => return,
                alarm = raised.recv() => alarm,
            };
            let message = match alarm {
                Ok(alarm) => message(&alarm),
                // Too many at once: the newest say enough, and that some are missing is said, too.
                Err(RecvError::Lagged(missed)) => json!({ "source": "leadglass", "alarm": "more", "missed": missed }),
                Err(RecvError::Closed) => return,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tell(&message) => {}
            }
        }
    }

    async fn tell(&self, message: &Value) {
        for pause in PAUSES {
            match self.client.post(self.address.clone()).json(message).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => tracing::warn!(status = %answer.status(), "the webhook did not take an alarm"),
                // The address may hold a secret: it is not repeated.
                Err(error) => tracing::warn!(error = %error.without_url(), "the webhook cannot be reached"),
            }
            tokio::time::sleep(pause).await;
        }
        metrics::counter!("leadglass_webhook_failures_total").increment(1);
    }
}

fn message(alarm: &Raised) -> Value {
    json!({
        "source": "leadglass",
        "alarm": alarm.kind.as_str(),
        "at_ms": alarm.at.0,
        "entry": alarm.entry.to_string(),
    })
}

/// Between attempts, and after the last.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(0)];
const CALL_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_engine::AlarmKind;
    use leadglass_model::{EntryId, UnixMillis};

    #[test]
    fn only_https_is_told_and_a_message_holds_three_things() {
        let config = |webhook: &str| Alarms { webhook: Some(webhook.to_owned()), ..Alarms::default() };
        assert!(Webhook::of(&Alarms::default()).unwrap().is_none());
        assert!(Webhook::of(&config("https://example.org/hook")).unwrap().is_some());
        assert!(Webhook::of(&config("http://example.org/hook")).is_err());
        let alarm = Raised { kind: AlarmKind::Fork, at: UnixMillis(7), entry: EntryId::from_bytes([1; 16]) };
        let text = message(&alarm).to_string();
        assert!(text.contains("\"fork\"") && text.contains("\"at_ms\":7"), "{text}");
    }
}
