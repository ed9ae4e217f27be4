//! `doctor`: what would go wrong, before it does. It names where things lie.

use crate::{backup, config::ProviderConfig, refusal::Refusal, restore, service::Service};
use serde::{Deserialize, Serialize};
use std::{os::unix::fs::MetadataExt, path::Path};

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Light {
    /// As it should be.
    Green,
    /// Works, and is weaker than it could be.
    Yellow,
    /// Keys could be lost or stolen.
    Red,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable word.
    pub code: String,
    /// How bad.
    pub light: Light,
    /// What was found and what to do.
    pub sentence: String,
}

/// All that was looked at, and the worst light.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The worst of all.
    pub light: Light,
    /// One by one.
    pub findings: Vec<Finding>,
}

/// Looks at everything.
pub fn examine(service: &Service) -> Result<Diagnosis, Refusal> {
    let mut findings = vec![
        restore_tried(service),
        newest_backup(service),
        own_disk(service),
        mirror(service),
        provider(service),
        capsule(service),
        suspensions(service),
        authority(service),
    ];
    if service.tenants_awaiting() > 0 {
        findings.push(finding(
            "receipts-awaited",
            Light::Red,
            "restored, and nothing opens until a vault has shown what was erased since: start the vault. Where none is left: \
             `leadglass-keyd approve --readmit receipts`"
                .to_owned(),
        ));
    }
    let light = findings.iter().map(|f| f.light).max().unwrap_or(Light::Green);
    Ok(Diagnosis { light, findings })
}

fn finding(code: &str, light: Light, sentence: String) -> Finding {
    Finding { code: code.to_owned(), light, sentence }
}

fn restore_tried(service: &Service) -> Finding {
    match restore::proof(&service.layout) {
        None => finding(
            "restore-untried",
            Light::Red,
            "no restore was ever tried: run `leadglass-keyd restore --try --sheet FILE` with the printed recovery sheet".to_owned(),
        ),
        Some(proof) if proof.opened.epoch != service.epoch().number.get() => finding(
            "restore-outdated",
            Light::Red,
            "the last restore was tried in an earlier epoch: try one again".to_owned(),
        ),
        Some(proof) => finding(
            "restore-tried",
            Light::Green,
            format!("a restore of {} opened {} keys", proof.source.display(), proof.opened.opened),
        ),
    }
}

fn newest_backup(service: &Service) -> Finding {
    let folder = service.config.backups(&service.layout);
    let path = match backup::newest(&folder) {
        Ok(path) => path,
        Err(_) => {
            let sentence = format!("there is no backup in {}: run `leadglass-keyd backup`", folder.display());
            return finding("backup-missing", Light::Red, sentence);
        }
    };
    let Ok(head) = backup::BackupFile::read(&path).map(|b| b.head) else {
        return finding("backup-unreadable", Light::Red, format!("{} cannot be read", path.display()));
    };
    let age_s = service.clock.now().millis_since(head.taken_at) / 1000;
    if age_s > 2 * service.config.backup_every.as_secs() + 60 {
        return finding("backup-old", Light::Red, format!("the newest backup {} is {age_s} s old", path.display()));
    }
    finding("backup", Light::Green, format!("the newest backup is {}, {age_s} s old", path.display()))
}

fn own_disk(service: &Service) -> Finding {
    let folder = service.config.backups(&service.layout);
    if same_disk(service.layout.root(), &folder) {
        let sentence = format!(
            "backups lie in {}, on the key disk itself: copy them away, or name a folder on another disk",
            folder.display()
        );
        return finding("backup-beside-keys", Light::Yellow, sentence);
    }
    finding("backup-elsewhere", Light::Green, format!("backups lie on another disk, in {}", folder.display()))
}

fn mirror(service: &Service) -> Finding {
    match service.config.mirror(&service.layout) {
        Some(folder) if same_disk(service.layout.root(), &folder) => finding(
            "mirror-beside-keys",
            Light::Yellow,
            format!("the mirror {} lies on the key disk: it dies with it", folder.display()),
        ),
        Some(folder) => finding(
            "mirror",
            Light::Green,
            format!("every key is in the mirror {} before it is used", folder.display()),
        ),
        None => finding(
            "mirror-missing",
            Light::Yellow,
            format!(
                "there is no mirror: a dead key disk loses the keys, and so the images, of up to the last {} s",
                service.config.backup_every.as_secs()
            ),
        ),
    }
}

fn provider(service: &Service) -> Finding {
    let epoch = service.layout.epoch();
    match &service.config.provider {
        ProviderConfig::Passphrase { .. } => finding(
            "provider-passphrase",
            Light::Green,
            format!(
                "the epoch key lies in {}, sealed under the passphrase; key disk, passphrase and bucket together are everything",
                epoch.display()
            ),
        ),
        ProviderConfig::KeyFile { path } if same_disk(service.layout.root(), path) => finding(
            "key-file-beside-keys",
            Light::Yellow,
            format!(
                "the key file {} lies on the key disk: whoever takes the disk has the keys; key disk and bucket together are everything",
                path.display()
            ),
        ),
        ProviderConfig::KeyFile { path } => finding(
            "provider-key-file",
            Light::Green,
            format!(
                "the epoch key lies in {}, sealed under the key file {}; both and the bucket together are everything",
                epoch.display(),
                path.display()
            ),
        ),
        ProviderConfig::Credential { name } => finding(
            "provider-credential",
            Light::Green,
            format!("the epoch key lies in {}, sealed under the systemd credential {name}", epoch.display()),
        ),
    }
}

fn capsule(service: &Service) -> Finding {
    let folder = service.config.capsules(&service.layout);
    let there = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if there {
        finding(
            "capsule",
            Light::Green,
            format!("the recovery capsule lies in {}; keep a copy apart from the backups", folder.display()),
        )
    } else {
        finding(
            "capsule-missing",
            Light::Red,
            format!("there is no recovery capsule in {}: a restore is impossible without it", folder.display()),
        )
    }
}

fn suspensions(service: &Service) -> Finding {
    let suspended = service.suspensions();
    if suspended.is_empty() {
        finding("suspended-none", Light::Green, "nobody is suspended".to_owned())
    } else {
        let sentence = format!("{} persons or nodes are suspended: see `leadglass-keyd approvals`", suspended.len());
        finding("suspended", Light::Yellow, sentence)
    }
}

fn authority(service: &Service) -> Finding {
    if service.keyring().authority.is_none() {
        return finding(
            "ca-missing",
            Light::Yellow,
            "there is no certificate authority: run `leadglass-keyd ca init`".to_owned(),
        );
    }
    if !service.layout.server_certificate().exists() {
        let sentence = "there is no server certificate: run `leadglass-keyd ca issue server`".to_owned();
        return finding("certificate-missing", Light::Yellow, sentence);
    }
    finding(
        "certificate",
        Light::Green,
        format!("the server's certificate lies in {}", service.layout.server_certificate().display()),
    )
}

fn same_disk(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| path.ancestors().find_map(|p| std::fs::metadata(p).ok()).map(|m| m.dev());
    device(a).is_some() && device(a) == device(b)
}
