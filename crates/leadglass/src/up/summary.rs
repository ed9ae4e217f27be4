//! Where to send, where to look, how to stop: one line of JSON for scripts, a page for people.

use super::{
    home::Home,
    setup::{AET, OTHER_AET},
};
use crate::{files, serve::Addresses};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `--json` prints and `up.json` holds. Scripts rely on these names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Where to send.
    pub dicom: DicomAt,
    /// Where to look.
    pub http: HttpAt,
    /// The clinician's token, as in `tokens`.
    pub token: String,
    /// The certificate that vouches for all servers here, PEM.
    pub ca: PathBuf,
    /// Process ids; they change when a child is started again.
    pub pids: Pids,
    /// Where things lie.
    pub data: DataAt,
    /// Bearer tokens.
    pub tokens: Tokens,
    /// A certificate for DICOM over TLS.
    pub client: Client,
    /// The page that sends photos.
    pub photo: String,
}

/// The DICOM listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DicomAt {
    /// Address.
    pub host: String,
    /// Port for DICOM in clear.
    pub port: u16,
    /// AE title of the first tenant.
    pub aet: String,
    /// Port for DICOM over TLS.
    pub tls_port: u16,
}

/// The HTTPS listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAt {
    /// Scheme, host and port.
    pub base: String,
    /// Root of the DICOMweb services.
    pub dicomweb: String,
    /// The same in plain HTTP, on loopback.
    pub plain_dicomweb: String,
    /// OHIF, where it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer: Option<String>,
}

/// Process ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The vault's.
    pub vault: u32,
    /// The key service's.
    pub keyd: u32,
}

/// Directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAt {
    /// The vault's.
    pub vault: PathBuf,
    /// The key service's.
    pub keyd: PathBuf,
    /// Sealed objects.
    pub objects: PathBuf,
}

/// Bearer tokens. Whoever reads them reads studies, so `Debug` is mute.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// A clinician of the first tenant.
    pub clinician: String,
    /// The first tenant's data protection officer.
    pub dpo: String,
    /// A clinician of the other tenant.
    pub other_tenant: String,
    /// An administrator of the first tenant, who sees no patient.
    pub admin: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(‹secret›)")
    }
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Summary {
    /// Of two children that serve.
    pub fn of(home: &Home, tokens: Tokens, at: &Addresses, pids: Pids) -> Self {
        let base = format!("https://{}", at.http);
        let photo = at.plain.map_or_else(|| format!("{base}/photo"), |plain| format!("http://{plain}/photo"));
        let viewer = at.viewer.map(|viewer| format!("https://{viewer}"));
        let plain = at.plain.map_or_else(String::new, |plain| format!("http://{plain}/dicomweb"));
        Self {
            dicom: DicomAt {
                host: at.dicom.ip().to_string(),
                port: at.dicom.port(),
                aet: AET.to_owned(),
                tls_port: at.dicom_tls.map_or(0, |tls| tls.port()),
            },
            http: HttpAt { dicomweb: format!("{base}/dicomweb"), base, plain_dicomweb: plain, viewer },
            token: tokens.clinician.clone(),
            ca: home.tls("ca.pem"),
            pids,
            data: DataAt { vault: home.vault(), keyd: home.keyd(), objects: home.objects() },
            tokens,
            client: Client { cert: home.tls("client.pem"), key: home.tls("client-key.pem") },
            photo,
        }
    }

    /// Of the `up` that runs in `dir`, or ran there last.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("up.json");
        let bytes = std::fs::read(&path)
            .with_context(|| format!("cannot read {}: does `leadglass up` run there?", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} does not parse", path.display()))
    }

    /// Puts it where scripts look.
    pub fn write(&self, home: &Home) -> anyhow::Result<()> {
        files::write_json(&home.up_json(), self)
    }

    /// For people.
    pub fn page(&self, home: &Home, senders: &[String]) -> String {
        let Self { dicom, http, token, ca, .. } = self;
        let (ca, root) = (quoted(ca), quoted(home.root()));
        let mut page = String::new();
        let mut line = |text: String| {
            page.push_str(&text);
            page.push('\n');
        };
        line("Leadglass serves.\n".to_owned());
        line("Send    (any DICOM sender; this one is dcmtk's)".to_owned());
        line(format!("  storescu -aec {} {} {} IMAGE.dcm", dicom.aet, dicom.host, dicom.port));
        line(format!("  leadglass send --data {root} FILES..."));
        line(format!("  DICOM over TLS: port {}, certificate {}", dicom.tls_port, self.client.cert.display()));
        line(format!("  a second practice answers to {OTHER_AET}, to see that neither sees the other's"));
        line(format!("  who may send: {}\n", senders.join("; ")));
        line("Look".to_owned());
        line(format!("  curl --cacert {ca} -H 'Authorization: Bearer {token}' \\"));
        line(format!("    -H 'Accept: application/dicom+json' {}/studies", http.dicomweb));
        line(format!("  plain HTTP, on this machine only: {}", http.plain_dicomweb));
        line(format!("  all tokens and paths: {}\n", home.up_json().display()));
        line("Open    (a browser; sign in with the token above)".to_owned());
        line(format!("  {}", self.photo.trim_end_matches("photo")));
        if let Some(viewer) = &http.viewer {
            line(format!("  OHIF, once you are signed in: {viewer}/"));
        }
        line(String::new());
        line("Photo   (or a PDF, with the token above)".to_owned());
        line(format!("  {}\n", self.photo));
        line("Stop    Ctrl-C; the next `leadglass up` goes on where this one ended.\n".to_owned());
        if home.sheet().exists() {
            line(format!("Recovery sheet: {}", home.sheet().display()));
            line(
                "  Print it or copy it elsewhere, then delete the file: it does not belong on this machine.\n"
                    .to_owned(),
            );
        }
        line(
            "For evaluation only: vault and key service stand on one machine, so a stolen machine has both halves."
                .to_owned(),
        );
        line(format!("Production keeps them apart; `leadglass doctor --data {root}` says what else is not yet safe."));
        page
    }
}

/// As a shell wants it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::ports::local;

    fn summary(home: &Home) -> Summary {
        let text = |text: &str| text.to_owned();
        let tokens =
            Tokens { clinician: text("lg_c"), dpo: text("lg_d"), other_tenant: text("lg_o"), admin: text("lg_a") };
        let at = Addresses {
            dicom: local(11112),
            dicom_tls: Some(local(12762)),
            http: local(8443),
            plain: Some(local(8042)),
            viewer: None,
            metrics: None,
        };
        Summary::of(home, tokens, &at, Pids { vault: 7, keyd: 8 })
    }

    #[test]
    fn the_json_has_the_names_that_scripts_rely_on() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let at = |name: &str| home.root().join(name);
        let expected = serde_json::json!({
            "dicom": { "host": "127.0.0.1", "port": 11112, "aet": "LEADGLASS", "tls_port": 12762 },
            "http": {
                "base": "https://127.0.0.1:8443",
                "dicomweb": "https://127.0.0.1:8443/dicomweb",
                "plain_dicomweb": "http://127.0.0.1:8042/dicomweb",
            },
            "token": "lg_c",
            "ca": at("tls/ca.pem"),
            "pids": { "vault": 7, "keyd": 8 },
            "data": { "vault": at("vault"), "keyd": at("keyd"), "objects": at("objects") },
            "tokens": { "clinician": "lg_c", "dpo": "lg_d", "other_tenant": "lg_o", "admin": "lg_a" },
            "client": { "cert": at("tls/client.pem"), "key": at("tls/client-key.pem") },
            "photo": "http://127.0.0.1:8042/photo",
        });
        let summary = summary(&home);
        assert_eq!(serde_json::to_value(&summary).unwrap(), expected);
        summary.write(&home).unwrap();
        let text = std::fs::read_to_string(home.up_json()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }

    #[test]
    fn the_page_names_the_sheet_as_long_as_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let page = || summary(&home).page(&home, &["any AE title from loopback".to_owned()]);
        assert!(!page().contains("Recovery sheet"));
        std::fs::write(home.sheet(), "secret").unwrap();
        let page = page();
        assert!(page.contains("Recovery sheet") && page.contains("-aec LEADGLASS 127.0.0.1 11112"), "{page}");
        assert!(page.contains("For evaluation only") && page.contains("any AE title from loopback"));
        assert!(!page.contains("lg_d"), "only the clinician's token is on the screen");
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(quoted(Path::new("/a/b-1.c")), "/a/b-1.c");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn tokens_are_mute_in_debug() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        assert!(!format!("{:?}", summary(&home).tokens).contains("lg_"));
    }
}
