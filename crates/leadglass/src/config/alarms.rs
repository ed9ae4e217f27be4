//! Who hears of alarms, and what is unusual.

use super::oidc::SecretFile;
use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};

/// `[alarms]`. Alarms stand in the program's log, in `leadglass_alarms_total` and in the audit log in any case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alarms {
    /// An address that is told by HTTPS POST: kind, time and the entry's name, no patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The authority of its certificate, PEM, when the system does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_ca: Option<PathBuf>,
    /// Different patients whose studies one person may open in an hour before it may be unusual.
    pub patients_per_hour: usize,
    /// It is unusual when it is more than so many times that person's usual hour.
    pub times_the_usual: usize,
    /// Who is told by mail: kind, time and the entry's name, no patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// `[alarms.email]`: a mail server, and whom it is asked to tell.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Its name or address, as its certificate has it.
    pub host: String,
    /// Its port; unless given 587 with `starttls`, 465 with `implicit`, 25 without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `starttls`, `implicit`, or `none` for a server on this very host. Any other that offers no TLS is told nothing.
    #[serde(default)]
    pub tls: MailTls,
    /// The authority of its certificate, PEM, when the system does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// From whom: `Leadglass <vault@practice.example>`.
    pub from: String,
    /// To whom, one to eight.
    pub to: Vec<String>,
    /// How to sign in there, if it asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<MailCredentials>,
}

/// A login at a mail server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailCredentials {
    /// The name.
    pub user: String,
    /// The password. It is read at the start.
    pub password: SecretFile,
}

/// How the way to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// In clear first, then TLS before anything is said (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// In clear.
    None,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { webhook: None, webhook_ca: None, patients_per_hour: 60, times_the_usual: 3, email: None }
    }
}

impl Alarms {
    /// What must hold beyond the types.
    pub fn check(&self) -> anyhow::Result<()> {
        self.email.as_ref().map_or(Ok(()), Email::check)
    }
}

impl Email {
    /// The port that it is asked at.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            MailTls::Starttls => 587,
            MailTls::Implicit => 465,
            MailTls::None => 25,
        })
    }

    /// Whether the server is on this very host.
    pub fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.host.is_empty(), "alarms.email.host is empty");
        ensure!((1..=MOST_TOLD).contains(&self.to.len()), "alarms.email.to names 1 to {MOST_TOLD}");
        for address in self.to.iter().chain([&self.from]) {
            ensure!(address.parse::<lettre::message::Mailbox>().is_ok(), "alarms.email: {address:?} is no address");
        }
        if self.tls == MailTls::None {
            ensure!(self.is_here(), "alarms.email: tls = \"none\" is for a mail server on this very host");
            ensure!(self.credentials.is_none(), "alarms.email: credentials are not sent in clear");
        }
        Ok(())
    }
}

/// More people are a list of the mail server's.
const MOST_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_in_clear_stays_on_this_host_and_carries_no_password() {
        let checked = |text: &str| {
            let from_to = "from = 'Leadglass <vault@practice.example>'\nto = ['it@practice.example']\n";
            toml::from_str::<Email>(&format!("{from_to}{text}")).unwrap().check().map_err(|error| error.to_string())
        };
        assert_eq!(checked("host = 'mail.practice.example'"), Ok(()));
        assert_eq!(checked("host = '127.0.0.1'\ntls = 'none'"), Ok(()));
        for (bad, word) in [
            ("host = ''", "empty"),
            ("host = 'mail.practice.example'\ntls = 'none'", "this very host"),
            ("host = '::1'\ntls = 'none'\ncredentials = { user = 'v', password = { file = 'p' } }", "in clear"),
        ] {
            assert!(checked(bad).is_err_and(|error| error.contains(word)), "{bad}");
        }
        let to = |to: &str| format!("host = 'm'\nfrom = 'vault@practice.example'\nto = {to}");
        for bad in ["[]", "['nobody']", "['a@b.example\\nBcc: c@d.example']"] {
            assert!(toml::from_str::<Email>(&to(bad)).unwrap().check().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sample_that_is_commented_out_is_one() {
        #[derive(Deserialize)]
        struct Sample {
            alarms: Alarms,
        }
        let (_, after) = include_str!("../../../../deploy/vault.toml").split_once("# [alarms]\n").unwrap();
        let lines = after.lines().map_while(|line| line.strip_prefix("# "));
        let text = lines.fold("[alarms]\n".to_owned(), |text, line| text + line + "\n");
        let sample: Sample = toml::from_str(&text).unwrap();
        sample.alarms.check().unwrap();
        assert!(sample.alarms.webhook.is_some() && sample.alarms.email.unwrap().credentials.is_some(), "{text}");
    }
}
