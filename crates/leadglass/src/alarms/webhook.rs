//! Alarms to a webhook: one HTTPS POST each.

use super::{CALL_TIME, Carrier, News};
use crate::config::Alarms;
use anyhow::{Context, ensure};
use async_trait::async_trait;
use serde_json::{Value, json};

/// Where alarms go.
#[derive(Debug)]
pub(super) struct Webhook {
    client: reqwest::Client,
    address: reqwest::Url,
}

impl Webhook {
    /// The configured one.
    pub(super) fn of(config: &Alarms) -> anyhow::Result<Option<Self>> {
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
}

#[async_trait]
impl Carrier for Webhook {
    async fn tell(&self, news: &News) -> bool {
        match self.client.post(self.address.clone()).json(&message(news)).send().await {
            Ok(answer) if answer.status().is_success() => return true,
            Ok(answer) => tracing::warn!(status = %answer.status(), "the webhook did not take an alarm"),
            // The address may hold a secret: it is not repeated.
            Err(error) => tracing::warn!(error = %error.without_url(), "the webhook cannot be reached"),
        }
        false
    }

    fn failures(&self) -> metrics::Counter {
        metrics::counter!("leadglass_webhook_failures_total")
    }
}

fn message(news: &News) -> Value {
    match news {
        News::Alarm(alarm) => json!({
            "source": "leadglass",
            "alarm": alarm.kind.as_str(),
            "at_ms": alarm.at.0,
            "entry": alarm.entry.to_string(),
        }),
        News::More(missed) => json!({ "source": "leadglass", "alarm": "more", "missed": missed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_engine::{AlarmKind, Raised};
    use leadglass_model::{EntryId, UnixMillis};

    #[test]
    fn only_https_is_told_and_a_message_holds_three_things() {
        let config = |webhook: &str| Alarms { webhook: Some(webhook.to_owned()), ..Alarms::default() };
        assert!(Webhook::of(&Alarms::default()).unwrap().is_none());
        assert!(Webhook::of(&config("https://example.org/hook")).unwrap().is_some());
        assert!(Webhook::of(&config("http://example.org/hook")).is_err());
        let alarm = Raised { kind: AlarmKind::Fork, at: UnixMillis(7), entry: EntryId::from_bytes([1; 16]) };
        let text = message(&News::Alarm(alarm)).to_string();
        assert!(text.contains("\"fork\"") && text.contains("\"at_ms\":7"), "{text}");
    }
}
