//! The vault's configuration: one TOML file, one typed value, checked at once.
//!
//! The comments on the fields are the manual; `deploy/vault.toml` is a sample that a test parses.

mod alarms;
mod audit;
mod erasure;
mod oidc;
mod peers;
mod sessions;
mod store;

pub use alarms::{Alarms, Email, MailTls};
pub use audit::{Audit, Syslog};
pub use erasure::Erasure;
pub use oidc::Oidc;
pub use peers::{Peer, PeerWay};
pub use sessions::Sessions;
pub use store::{Ack, Store};

use crate::devices::parse_fingerprint;
use anyhow::{Context, bail, ensure};
use leadglass_dimse::{AddressRule, UidRule};
use leadglass_model::{ReceiverId, TenantId};
use leadglass_web::Hosts;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps its journal, index, records and audit tiles. Mode 0700. Nothing readable lies in it.
    pub data: PathBuf,
    /// Where sealed objects lie.
    pub store: Store,
    /// The key service.
    pub keys: Keys,
    /// DICOM listener.
    pub dicom: Dicom,
    /// DICOMweb listener.
    pub http: Http,
    /// OHIF, on an origin of its own. Off unless given; the house's own viewer is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer: Option<Viewer>,
    /// The controllers whose studies this node keeps.
    #[serde(default)]
    pub tenants: Vec<Tenant>,
    /// Who may send. Nobody, until a device stands here.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Bounds on memory, disk and time.
    #[serde(default)]
    pub limits: Limits,
    /// How long a browser stays signed in at most.
    #[serde(default)]
    pub sessions: Sessions,
    /// What has to be so before something is erased.
    #[serde(default)]
    pub erasure: Erasure,
    /// Who hears of alarms, and what is unusual.
    #[serde(default)]
    pub alarms: Alarms,
    /// Where the audit log goes besides this node.
    #[serde(default)]
    pub audit: Audit,
    /// Who vouches for people, beside this vault's own sign-in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oidc: Vec<Oidc>,
    /// Where the data protection officer may have exports brought to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Allows the key service on this very host. Only for evaluation: whoever steals the machine has both halves.
    #[serde(default)]
    pub key_service_on_this_host: bool,
    /// Allows foreign images to be decoded on a kernel without system call filters (seccomp). Whoever breaks a decoder there
    /// is as good as the vault's user; without this, such a kernel makes no pictures.
    #[serde(default)]
    pub decode_without_filter: bool,
}

/// How to reach the key service, and as whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Address of the key service, `host:port`; its certificate bears the host's name or address.
    pub address: String,
    /// The private CA of vault and key service, PEM.
    pub ca: PathBuf,
    /// This node's client certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The DICOM listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dicom {
    /// Address for DICOM in clear, for a network that is trusted.
    pub listen: SocketAddr,
    /// DICOM over TLS. Off unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DicomTls>,
    /// Allows `leadglass device add --level open`: a device that anybody can pass for.
    #[serde(default)]
    pub open_devices: bool,
    /// Ports that belong to one tenant each, in clear: for devices whose called AE title cannot be set. There the port names
    /// the tenant, whatever title is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_ports: Vec<TenantPort>,
    /// Storage SOP classes beyond the standard's that devices may send: a UID, or a root such as `1.2.276.0.*`.
    #[serde(default)]
    pub private_sop_classes: Vec<String>,
    /// Transfer syntaxes beyond the standard's, written in the same way. Their data sets must be explicit VR little endian.
    #[serde(default)]
    pub private_transfer_syntaxes: Vec<String>,
}

/// A DICOM port of one tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantPort {
    /// Address.
    pub listen: SocketAddr,
    /// Whose.
    pub tenant: TenantId,
}

/// DICOM over TLS 1.2 and 1.3 (PS3.15 B.12). A sender must show a certificate of the vault's own authority for devices, or
/// of `client_ca`, over a key that is bound to a device (`leadglass device`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DicomTls {
    /// Address, port 2762 by convention.
    pub listen: SocketAddr,
    /// Certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority of that certificate, PEM: handed to devices together with theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Authorities beside the vault's own that issue devices' certificates, PEM.
    #[serde(default, alias = "clients", skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// The HTTPS listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address for HTTPS.
    pub listen: SocketAddr,
    /// Certificate chain, PEM, leaf first. Read again when it changes.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Address for plain HTTP behind a TLS proxy on the same host. Off unless given, loopback only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<SocketAddr>,
    /// The names and addresses, without ports, under which browsers and programs find this vault; whoever asks for another
    /// host is answered 421. Empty: any, for an evaluation; a foreign page whose name was made to lead here is then taken for
    /// our own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Addresses of TLS proxies in front, `127.0.0.1` for one at `plain`: they are believed whom they name in
    /// `X-Forwarded-For`. Of anybody else that header is not looked at. Without this, attempts to sign in that come through a
    /// proxy are not counted by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<IpAddr>,
    /// Address for `/metrics`, `/readyz` and `/healthz` in clear and without a token, for Prometheus or its agent on this very
    /// host. Off unless given, loopback only. At the other doors `/metrics` wants the token of somebody who may administer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

/// OHIF: its files, which `deploy/ohif.sh` installs, and DICOMweb to read, by HTTPS with the certificate of `[http]`. A port
/// of its own is an origin of its own: who is signed in at `[http]` is so there, and OHIF's code reaches nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Viewer {
    /// The folder that it was installed into.
    pub dir: PathBuf,
    /// Address for HTTPS.
    pub listen: SocketAddr,
}

/// A controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// As the key service names it (`leadglass-keyd tenant list`).
    pub id: TenantId,
    /// For people; never leaves the node.
    pub name: String,
    /// AE titles that devices call to reach this tenant.
    pub aets: Vec<String>,
    /// Whom a clinician treats: `practice`, everybody here treats every patient; `stated`, only whose relation is recorded, and
    /// whoever states a reason, which the log keeps sealed.
    #[serde(default)]
    pub care: Care,
    /// What the practice says of itself in an export (GDPR Art. 15(1)): `controller`, `officer`, `purposes`, `recipients`,
    /// `retention`, `authority`, `source`, `transfers`. What is left out is shown as left out.
    #[serde(default, skip_serializing_if = "leadglass_engine::Practice::is_silent")]
    pub practice: leadglass_engine::Practice,
    /// How many years a closed case of the data protection officer is kept, 1 to 30: it proves what was asked and answered,
    /// and names the patient. Five cover the time in which most of Europe lets claims be made.
    #[serde(default = "case_years")]
    pub case_years: u8,
}

const fn case_years() -> u8 {
    leadglass_engine::DEFAULT_CASE_YEARS
}

/// Whom a clinician treats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Care {
    /// Every patient of the tenant.
    #[default]
    Practice,
    /// Whom he is assigned to, whose study he made or is named in, and whoever he states a reason for.
    Stated,
}

impl From<Care> for leadglass_engine::CareRule {
    fn from(care: Care) -> Self {
        match care {
            Care::Practice => Self::Practice,
            Care::Stated => Self::Stated,
        }
    }
}

/// Something that sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// A label for logs and the audit trail, such as `room-3-panoramic`.
    pub name: String,
    /// Random name in provenance records; `leadglass config check` proposes one.
    pub id: ReceiverId,
    /// The AE title it calls itself; `*` takes any.
    pub aet: String,
    /// Where it calls from: an address, a network such as `10.1.2.0/24`, `loopback`, or `any`.
    pub address: String,
    /// SHA-256 of the public key that it proves under TLS; then it does not get in without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Which tenants it may send to; empty: the tenant whose AE title it calls.
    #[serde(default)]
    pub tenants: Vec<TenantId>,
}

/// Bounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest instance, bytes.
    pub instance_bytes: u64,
    /// Most the journal may hold before senders are told to wait, bytes.
    pub journal_bytes: u64,
    /// DICOM associations at one time.
    pub associations: usize,
    /// DICOM associations at one time from one address.
    pub associations_per_address: usize,
    /// DICOM associations at one time of one device.
    pub associations_per_device: usize,
    /// DICOM associations at one time from this very host, where all programs look alike.
    pub associations_from_this_host: usize,
    /// An association that says nothing for so long is ended.
    #[serde(with = "humantime_serde")]
    pub association_idle: Duration,
    /// Inside an instance: the time over which a sender's speed is measured.
    #[serde(with = "humantime_serde")]
    pub sender_rate_window: Duration,
    /// Inside an instance: the least a sender must send, bytes a second; a slower one is cut off.
    pub sender_bytes_per_second: u64,
    /// HTTPS connections at one time from one address, which may be a whole practice's; each listener has 1,024.
    pub http_connections_per_address: usize,
    /// HTTPS connections at one time from this very host, where a proxy may stand that brings everybody's.
    pub http_connections_from_this_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instance_bytes: 8 << 30,
            journal_bytes: 1 << 30,
            associations: 64,
            associations_per_address: 8,
            associations_per_device: 8,
            associations_from_this_host: 8,
            association_idle: Duration::from_secs(60),
            sender_rate_window: Duration::from_secs(30),
            sender_bytes_per_second: 8 * 1024,
            http_connections_per_address: 128,
            http_connections_from_this_host: 1024,
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("{} does not parse", path.display()))?;
        config.check().with_context(|| format!("{} is not usable", path.display()))?;
        Ok(config)
    }

    /// The hosts that this vault answers for; `None` where one of them is none.
    pub fn hosts(&self) -> Option<Hosts> {
        Hosts::parse(&self.http.hosts)
    }

    /// What must hold beyond the types.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.tenants.is_empty(), "no tenant: add [[tenants]] with an id from `leadglass-keyd tenant list`");
        self.store.check()?;
        self.audit.check()?;
        self.sessions.check()?;
        self.alarms.check()?;
        let mut aets = BTreeSet::new();
        for tenant in &self.tenants {
            for aet in &tenant.aets {
                check_aet(aet)?;
                ensure!(aets.insert(aet), "two tenants share the AE title {aet}: a sender could not say whom it means");
            }
        }
        for tenant in &self.tenants {
            let years = leadglass_engine::MIN_CASE_YEARS..=leadglass_engine::MAX_CASE_YEARS;
            ensure!(years.contains(&tenant.case_years), "case_years of a tenant: {} to {}", years.start(), years.end());
        }
        let mut names = BTreeSet::new();
        for device in &self.devices {
            ensure!(names.insert(&device.name), "two devices are called {}", device.name);
            if device.aet != "*" {
                check_aet(&device.aet)?;
            }
            device.address.parse::<AddressRule>().with_context(|| format!("device {}", device.name))?;
            let fingerprint = device.fingerprint.as_deref().map(parse_fingerprint).transpose();
            fingerprint.with_context(|| format!("device {}", device.name))?;
            for tenant in &device.tenants {
                ensure!(self.tenants.iter().any(|t| t.id == *tenant), "device {} names an unknown tenant", device.name);
            }
        }
        let tenants: Vec<TenantId> = self.tenants.iter().map(|tenant| tenant.id).collect();
        let mut providers = BTreeSet::new();
        for provider in &self.oidc {
            provider.check(&tenants)?;
            ensure!(providers.insert(&provider.id), "two of [[oidc]] are called {}", provider.id);
        }
        let mut peers = BTreeSet::new();
        for peer in &self.peers {
            peer.check(&tenants)?;
            ensure!(peers.insert(&peer.name), "two of [[peers]] are called {}", peer.name);
        }
        for port in &self.dicom.tenant_ports {
            let known = self.tenants.iter().any(|tenant| tenant.id == port.tenant);
            ensure!(known, "dicom.tenant_ports: {} names an unknown tenant", port.listen);
        }
        for rule in self.dicom.private_sop_classes.iter().chain(&self.dicom.private_transfer_syntaxes) {
            rule.parse::<UidRule>().with_context(|| format!("{rule:?} under [dicom]"))?;
        }
        if let Some(plain) = self.http.plain {
            ensure!(plain.ip().is_loopback(), "http.plain is {plain}: plain HTTP is served on a loopback address only");
        }
        if let Some(metrics) = self.http.metrics {
            ensure!(
                metrics.ip().is_loopback(),
                "http.metrics is {metrics}: it asks for no token, so it is served on a loopback address only"
            );
        }
        ensure!(
            self.hosts().is_some(),
            "http.hosts: names or addresses such as vault.practice.example, without https:// and port"
        );
        let host = self.keys.address.rsplit_once(':').map_or("", |(host, _)| host);
        let here =
            host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|a| a.is_loopback());
        if here && !self.key_service_on_this_host {
            bail!(
                "the key service is on this host: one stolen machine would have both halves. \
                 For evaluation set key_service_on_this_host = true"
            );
        }
        Ok(())
    }
}

/// PS3.5 §6.2 AE: 1 to 16 characters of the default repertoire, no backslash, no control character, not all spaces.
fn check_aet(aet: &str) -> anyhow::Result<()> {
    let fit = (1..=16).contains(&aet.len())
        && aet.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\')
        && !aet.trim().is_empty();
    ensure!(fit, "{aet:?} is no AE title: 1 to 16 printable ASCII characters without a backslash");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_in_deploy_is_usable_and_shows_the_defaults() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/vault.toml");
        let config = Config::read(Path::new(sample)).unwrap();
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
        assert!(!config.key_service_on_this_host && config.http.plain.is_none());
    }

    #[test]
    fn what_asks_for_no_token_stays_on_this_host_and_hosts_are_hosts() {
        let good = crate::up::tests::vault_config();
        let checked = |change: &dyn Fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().map_err(|error| error.to_string())
        };
        assert_eq!(checked(&|config| config.http.metrics = Some(([127, 0, 0, 1], 9464).into())), Ok(()));
        let public = checked(&|config| config.http.metrics = Some(([10, 0, 0, 1], 9464).into()));
        assert!(public.is_err_and(|error| error.contains("http.metrics is 10.0.0.1:9464")));
        assert_eq!(checked(&|config| config.http.hosts = vec!["vault.example".to_owned()]), Ok(()));
        let origin = checked(&|config| config.http.hosts = vec!["https://vault.example".to_owned()]);
        assert!(origin.is_err_and(|error| error.contains("http.hosts")));
    }

    #[test]
    fn ae_titles_are_checked() {
        assert!(check_aet("LEADGLASS").is_ok());
        for bad in ["", "    ", "SEVENTEEN-LETTERS", "BACK\\SLASH", "UMLÄUT"] {
            assert!(check_aet(bad).is_err(), "{bad}");
        }
    }
}
