//! Alarms by mail (RFC 5321, RFC 5322): one message each, in words that say where to look.

use super::{CALL_TIME, Carrier, News};
use crate::{
    audit,
    config::{Email, MailTls},
};
use anyhow::{Context, ensure};
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use std::fs;
use zeroize::Zeroizing;

/// The mail server, and who is told.
pub(super) struct Mail {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

impl Mail {
    /// The configured one. What lies in files is read now.
    pub(super) fn of(config: &Email) -> anyhow::Result<Self> {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port())
            .timeout(Some(CALL_TIME))
            .tls(tls(config)?);
        if let Some(credentials) = &config.credentials {
            let path = &credentials.password.file;
            let password = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let password = Zeroizing::new(password);
            server = server.credentials(Credentials::new(credentials.user.clone(), password.trim().to_owned()));
        }
        let mailbox = |text: &String| text.parse::<Mailbox>().with_context(|| format!("alarms.email: {text:?}"));
        let to = config.to.iter().map(mailbox).collect::<anyhow::Result<_>>()?;
        Ok(Self { server: server.build(), from: mailbox(&config.from)?, to })
    }

    fn message(&self, news: &News) -> Result<Message, lettre::error::Error> {
        let (subject, text) = words(news);
        // RFC 3834: nobody's absence note answers it.
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let message = Message::builder().from(self.from.clone()).subject(subject).raw_header(automatic);
        let message = self.to.iter().cloned().fold(message, lettre::message::MessageBuilder::to);
        message.header(ContentType::TEXT_PLAIN).body(text)
    }
}

/// TLS always proves the server, by its host's name or address; a server that offers no STARTTLS is not told.
fn tls(config: &Email) -> anyhow::Result<Tls> {
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(ca) = &config.ca {
        let pem = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
        let authority = Certificate::from_pem(&pem).with_context(|| format!("{} is no PEM", ca.display()))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    Ok(match config.tls {
        MailTls::Starttls => Tls::Required(parameters.build()?),
        MailTls::Implicit => Tls::Wrapper(parameters.build()?),
        MailTls::None => {
            ensure!(config.is_here(), "alarms.email: tls = \"none\" only to a server on this very host");
            Tls::None
        }
    })
}

#[async_trait]
impl Carrier for Mail {
    async fn tell(&self, news: &News) -> bool {
        let message = match self.message(news) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "an alarm cannot be written as a mail");
                return false;
            }
        };
        // The timeout above is each answer's; this one is the whole conversation's.
        match tokio::time::timeout(CALL_TIME, self.server.send(message)).await {
            Ok(Ok(_)) => return true,
            // What the server says may repeat an address: its code is enough.
            Ok(Err(error)) => match error.status() {
                Some(code) => tracing::warn!(%code, "the mail server did not take an alarm"),
                None => tracing::warn!(%error, "the mail server cannot be told an alarm"),
            },
            Err(_) => tracing::warn!("the mail server does not answer"),
        }
        false
    }

    fn failures(&self) -> metrics::Counter {
        metrics::counter!("leadglass_email_failures_total")
    }
}

/// Subject and text.
fn words(news: &News) -> (String, String) {
    match news {
        News::Alarm(alarm) => {
            let (kind, at) = (alarm.kind.as_str(), audit::time(alarm.at.0));
            let text = format!(
                "Leadglass raised an alarm.\n\nKind   {kind}\nTime   {at}\nEntry  {}\n\nThe entry is in the audit log: \
                 leadglass audit export. This message names no patient, and neither should an answer to it.\n",
                alarm.entry
            );
            (format!("Leadglass alarm: {kind}"), text)
        }
        News::More(missed) => {
            let text = format!(
                "Leadglass raised {missed} more alarms than could be told one by one. All of them are in the audit log: \
                 leadglass audit export.\n"
            );
            (format!("Leadglass: {missed} more alarms"), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_engine::{AlarmKind, Raised};
    use leadglass_model::{EntryId, UnixMillis};

    #[test]
    fn a_mail_says_what_and_when_and_where_to_look() {
        let alarm = Raised { kind: AlarmKind::Fork, at: UnixMillis(7_000), entry: EntryId::from_bytes([1; 16]) };
        let (subject, text) = words(&News::Alarm(alarm));
        assert_eq!(subject, "Leadglass alarm: fork");
        for word in ["1970-01-01T00:00:07Z", &alarm.entry.to_string(), "leadglass audit export"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(words(&News::More(3)).1.contains("3 more alarms"));
    }
}
