//! Other houses that exports may be brought to.

use super::oidc::SecretFile;
use anyhow::{Context, bail, ensure};
use leadglass_dimse::AeTitle;
use leadglass_model::TenantId;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};

/// `[[peers]]`: a house that the data protection officer may have an export brought to: by C-STORE with `host`, `port`
/// and `aet`, or by STOW-RS with `stow`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name here, and in the log: small letters, digits, hyphens.
    pub name: String,
    /// Whose exports may go there. Without it: every tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Its DICOMweb address of studies, as in `https://pacs.example/dicom-web/studies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stow: Option<String>,
    /// With `stow`: where the bearer token lies that it gave us. It is read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretFile>,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its AE title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aet: Option<String>,
    /// Our AE title towards it.
    #[serde(default = "calling")]
    pub calling_aet: String,
    /// The authority that vouches for it, PEM. By C-STORE nothing is encrypted on the way without it; by STOW-RS the
    /// authorities of the system vouch then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate chain towards it, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Says that the network to it is somebody's own: what is not encrypted goes only to this very host otherwise.
    #[serde(default)]
    pub in_clear: bool,
}

/// How a peer is reached.
#[derive(Debug)]
pub enum PeerWay<'a> {
    /// By C-STORE.
    Store {
        /// Its host.
        host: &'a str,
        /// Its port.
        port: u16,
        /// Its AE title.
        aet: &'a str,
    },
    /// By STOW-RS, at this address.
    Stow(reqwest::Url),
}

fn calling() -> String {
    "LEADGLASS".to_owned()
}

impl Peer {
    /// The way to it.
    pub fn way(&self) -> anyhow::Result<PeerWay<'_>> {
        match (&self.stow, &self.host, self.port, &self.aet) {
            (Some(address), None, None, None) => {
                let address = address.parse::<reqwest::Url>();
                let address = address.ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
                Ok(PeerWay::Stow(address.with_context(|| format!("[[peers]] {}: stow is no address", self.name))?))
            }
            (None, Some(host), Some(port), Some(aet)) => Ok(PeerWay::Store { host, port, aet }),
            _ => bail!("[[peers]] {}: name stow, or host, port and aet", self.name),
        }
    }

    /// What must hold beyond the types.
    pub fn check(&self, tenants: &[TenantId]) -> anyhow::Result<()> {
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let named = (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(small);
        ensure!(named, "[[peers]] {:?}: a name is 1 to {MAX_NAME} of a-z, 0-9 and -", self.name);
        let known = self.tenant.is_none_or(|tenant| tenants.contains(&tenant));
        ensure!(known, "[[peers]] {} names an unknown tenant", self.name);
        ensure!(
            self.certificate.is_some() == self.key.is_some(),
            "[[peers]] {}: certificate and key stand together",
            self.name
        );
        let is_here = |host: &str| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        match self.way()? {
            PeerWay::Store { host, aet, .. } => {
                for aet in [aet, &self.calling_aet] {
                    AeTitle::parse(aet).with_context(|| format!("[[peers]] {}", self.name))?;
                }
                ensure!(self.token.is_none(), "[[peers]] {}: a token is for stow", self.name);
                let own = self.key.is_none() || self.ca.is_some();
                ensure!(own, "[[peers]] {}: certificate and key stand beside ca", self.name);
                ensure!(
                    self.ca.is_some() || self.in_clear || is_here(host),
                    "[[peers]] {}: an export would go there in clear; name its ca, or say in_clear = true",
                    self.name
                );
            }
            PeerWay::Stow(address) => {
                let plain = address.username().is_empty() && address.password().is_none() && address.query().is_none();
                ensure!(plain, "[[peers]] {}: stow holds an address and nothing else", self.name);
                ensure!(
                    address.path().ends_with("/studies"),
                    "[[peers]] {}: stow is the address of studies, as in https://pacs.example/dicom-web/studies",
                    self.name
                );
                ensure!(
                    address.scheme() == "https" || self.in_clear || address.host_str().is_some_and(is_here),
                    "[[peers]] {}: an export would go there in clear; use https, or say in_clear = true",
                    self.name
                );
            }
        }
        Ok(())
    }
}

const MAX_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let peer: Peer = toml::from_str(&format!("name = \"p\"\n{text}")).map_err(|error| error.to_string())?;
        peer.check(&[]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_peer_is_reached_one_way_and_never_in_clear_unsaid() {
        for good in [
            "host = \"127.0.0.1\"\nport = 104\naet = \"A\"",
            "host = \"pacs\"\nport = 104\naet = \"A\"\nca = \"ca.pem\"",
            "stow = \"https://pacs.example/dicom-web/studies\"",
            "stow = \"http://[::1]:8042/dicom-web/studies\"",
            "stow = \"http://pacs/studies\"\nin_clear = true\ntoken = { file = \"t\" }",
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "name stow, or host"),
            ("stow = \"https://a/studies\"\nhost = \"b\"\nport = 1\naet = \"B\"", "name stow, or host"),
            ("host = \"pacs\"\nport = 104\naet = \"A\"", "in clear"),
            ("stow = \"http://pacs/studies\"", "in clear"),
            ("stow = \"https://me:secret@pacs/studies\"", "nothing else"),
            ("stow = \"https://pacs/\"", "the address of studies"),
            ("stow = \"pacs\"", "no address"),
            ("stow = \"https://pacs/studies\"\nkey = \"k\"", "stand together"),
            ("host = \"::1\"\nport = 1\naet = \"A\"\ntoken = { file = \"t\" }", "for stow"),
        ] {
            let said = checked(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
