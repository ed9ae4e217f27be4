//! The vault that an import goes to: its address, its certificate, a token that may store.

use super::stow::Ending;
use anyhow::{Context, bail, ensure};
use reqwest::{Client, Url};
use std::{path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// Which vault, and with which token.
#[derive(Debug, clap::Args)]
pub struct To {
    /// The directory of a running `leadglass up`: address, certificate and token are taken from it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "token_file", "ca"])]
    pub data: Option<PathBuf>,
    /// The vault's address, such as https://vault.example.org.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file that holds a token of the role device or clinician; else the token is taken from LEADGLASS_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authority of the vault's certificate, PEM, when the system does not know it.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// A vault that can be asked.
pub struct Destination {
    /// The client.
    pub http: Client,
    /// Scheme, host and port.
    pub base: String,
    /// The bearer token.
    pub token: Zeroizing<String>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").finish_non_exhaustive()
    }
}

impl To {
    /// Whether any vault is named.
    pub const fn is_given(&self) -> bool {
        self.data.is_some() || self.url.is_some()
    }

    /// Makes the client; nothing is asked yet.
    pub fn resolve(&self) -> anyhow::Result<Destination> {
        let (base, token, ca) = match (&self.data, &self.url) {
            (Some(dir), _) => {
                let up = crate::up::Summary::read(dir)?;
                (up.http.base, Zeroizing::new(up.tokens.clinician), Some(up.ca))
            }
            (None, Some(url)) => (url.clone(), self.token()?, self.ca.clone()),
            (None, None) => bail!("say where to: --data DIR, or --url URL with --token-file FILE"),
        };
        let url = Url::parse(&base).context("the vault's address does not parse")?;
        ensure!(
            url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url),
            "images go to a vault by https only; plain http is for this machine itself"
        );
        let mut builder =
            Client::builder().connect_timeout(CONNECT_TIME).no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = ca {
            let pem = std::fs::read(&ca).with_context(|| format!("cannot read {}", ca.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Destination { http: builder.build()?, base: base.trim_end_matches('/').to_owned(), token })
    }

    fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        let text = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).context("cannot read the token file")?,
            None => {
                let given = std::env::var_os(TOKEN_VARIABLE).and_then(|token| token.into_string().ok());
                given.with_context(|| format!("give --token-file FILE, or the token in {TOKEN_VARIABLE}"))?
            }
        };
        let token = Zeroizing::new(text);
        Ok(Zeroizing::new(token.trim().to_owned()))
    }
}

impl Destination {
    /// Whether anybody is there: a way that broke again and again may be the fault of what was sent.
    ///
    /// Cancel safety: safe.
    pub async fn is_alive(&self) -> bool {
        let asked = self.http.get(format!("{}/healthz", self.base)).timeout(CONNECT_TIME).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until the vault answers, or says why the run cannot begin.
    ///
    /// Cancel safety: safe.
    pub async fn knock(&self, patience: Duration) -> Result<(), Ending> {
        let mut pause = FIRST_PAUSE;
        let begun = tokio::time::Instant::now();
        while !self.is_alive().await {
            if begun.elapsed() + pause > patience {
                return Err(Ending::Away);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }
}

/// This machine by an address that never leaves it.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "LEADGLASS_TOKEN";
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Between two tries.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Between two tries at the most.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_leave_this_machine_by_https_only() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "lg_x\n").unwrap();
        let to = |url: &str| To { data: None, url: Some(url.to_owned()), token_file: Some(token.clone()), ca: None };
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for fine in ["https://vault.example.org/", "http://127.0.0.1:8042", "http://[::1]:1", "http://localhost:1"] {
            assert_eq!(*to(fine).resolve().unwrap().token, "lg_x", "{fine}");
        }
        for refused in ["http://vault.example.org", "ftp://127.0.0.1", "http://10.0.0.1", "vault"] {
            assert!(to(refused).resolve().is_err(), "{refused}");
        }
    }
}
