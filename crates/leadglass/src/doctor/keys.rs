//! The key service: there, unsealed, elsewhere, and can it come back.

use super::Finding;
use crate::{config::Config, node, up};
use leadglass_keys::{KeyService, MtlsKeyService};
use leadglass_model::{Clock, Fault, SystemClock};
use serde::Deserialize;
use std::{
    fs,
    net::{ToSocketAddrs, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

pub(super) async fn service(config: &Config) -> Vec<Finding> {
    let here = config.key_service_on_this_host || on_this_host(&config.keys.address);
    vec![place(here, &config.keys.address), reach(config).await]
}

fn place(here: bool, address: &str) -> Finding {
    if here {
        Finding::red("same-host", "Vault and key service stand on this one machine.")
            .why("Whoever steals the machine has both halves: for evaluation only.")
            .fix("leadglass-keyd on a host of its own, its address under [keys]")
    } else {
        Finding::green("own-host", format!("The key service is on another host, {address}."))
    }
}

/// Whether an address leads back to this machine: then a socket can be bound to it.
pub(super) fn on_this_host(address: &str) -> bool {
    let found = address.to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    found.iter().any(|address| UdpSocket::bind((address.ip(), 0)).is_ok())
}

async fn reach(config: &Config) -> Finding {
    let address = &config.keys.address;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let service =
        node::mtls(config).and_then(|mtls| Ok(MtlsKeyService::new(mtls, clock, tasks.clone(), stop.clone())?));
    let service = match service {
        Ok(service) => service,
        Err(error) => {
            return Finding::red("key-identity", format!("The identity for the key service is unusable: {error:#}."))
                .why("Without it nothing can be opened, and new studies only as long as keys are left.")
                .fix("leadglass-keyd ca issue client --label vault --out vault (on the key host)");
        }
    };
    let answer = service.health().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match answer {
        Ok(health) if health.sealed => Finding::red("key-service-sealed", "The key service is sealed.")
            .why("Nothing can be opened until somebody unseals it.")
            .fix("leadglass-keyd unseal (on its host)"),
        Ok(health) => {
            Finding::green("key-service", format!("The key service answers, unsealed, version {}.", health.version))
        }
        Err(error) if error.fault() == Fault::Busy => {
            Finding::red("key-service-away", format!("The key service at {address} does not answer: {error}."))
                .why("Nothing can be opened, and new studies only as long as keys are left.")
                .fix("systemctl status leadglass-keyd (on its host); does a firewall stand between?")
        }
        Err(error) => Finding::red("key-service-refuses", format!("The key service at {address} refuses us: {error}."))
            .why("Nothing can be opened, and no new study stored.")
            .fix("leadglass-keyd client list (on its host): is this vault enrolled with this certificate's key?"),
    }
}

/// What the key service says about its own recovery; asked on the key host only.
pub(super) async fn recovery(keyd_data: Option<&Path>) -> Vec<Finding> {
    let Some(data) = keyd_data else {
        let finding = Finding::yellow(
            "recovery-elsewhere",
            "Whether a dead key service could be brought back cannot be told from here.",
        );
        return vec![finding
            .why("Without a fresh backup, its capsule and the printed sheet, a dead key host takes every image with it.")
            .fix("leadglass-keyd doctor (on its host)")];
    };
    match up::keyd_doctor(data).await {
        Ok(json) => match serde_json::from_value::<KeydDiagnosis>(json) {
            Ok(diagnosis) => diagnosis.findings.into_iter().map(KeydFinding::retold).collect(),
            Err(_) => vec![Finding::yellow("recovery-unknown", "The key service's doctor says something unreadable.")],
        },
        Err(error) => {
            vec![Finding::red("recovery-unknown", format!("The key service's doctor could not look: {error:#}."))]
        }
    }
}

/// Whether a recovery sheet still lies on the machine that it is to rescue: in one of these directories, under any name.
pub(super) fn sheets(dirs: &[PathBuf]) -> Vec<Finding> {
    let mut found: Vec<PathBuf> = dirs
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten().take(MOST_FILES))
        .map(|entry| entry.path())
        .filter(|path| is_sheet(path))
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return vec![Finding::green("sheet-away", "No recovery sheet was found on this machine.")];
    }
    let finding = |path: PathBuf| {
        Finding::red("sheet-here", format!("A recovery sheet lies on this machine, in {}.", path.display()))
            .why("With a backup and a capsule it opens every key; and it dies with the machine that it is to rescue.")
            .fix(format!("print it, then: shred -u {}", path.display()))
    };
    found.into_iter().map(finding).collect()
}

/// Known by its secret line (keyd/src/capsule.rs), whatever stands around it.
fn is_sheet(path: &Path) -> bool {
    let small = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < SHEET_BYTES);
    let Some(text) = small.then(|| fs::read(path).ok()).flatten().map(Zeroizing::new) else { return false };
    text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(SECRET_LINE))
}

const SECRET_LINE: &[u8] = b"AGE-SECRET-KEY-1";
/// A sheet is a page.
const SHEET_BYTES: u64 = 64 * 1024;
/// Enough for any directory where a sheet would be put.
const MOST_FILES: usize = 10_000;

#[derive(Debug, Deserialize)]
struct KeydDiagnosis {
    findings: Vec<KeydFinding>,
}

#[derive(Debug, Deserialize)]
struct KeydFinding {
    code: String,
    light: String,
    sentence: String,
}

impl KeydFinding {
    fn retold(self) -> Finding {
        let light = match self.light.as_str() {
            "green" => super::Light::Green,
            "red" => super::Light::Red,
            _ => super::Light::Yellow,
        };
        Finding::new(&format!("keyd-{}", self.code), light, format!("Key service: {}.", self.sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Light;

    #[test]
    fn a_sheet_on_this_machine_is_red_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let look = || sheets(&[dir.path().to_owned(), dir.path().join("missing")]);
        fs::write(dir.path().join("recovery-sheet.txt"), "where the AGE-SECRET-KEY-1 is: in the safe").unwrap();
        assert_eq!(look()[0].light, Light::Green);
        fs::write(dir.path().join("notes"), "A page.\n\nAGE-SECRET-KEY-1QQQ\n").unwrap();
        let found = look();
        assert_eq!((found.len(), found[0].light), (1, Light::Red));
        assert!(found[0].fix.as_ref().unwrap().ends_with("notes"));
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_one() {
        for (address, here) in
            [("127.0.0.1:8460", true), ("localhost:1", true), ("192.0.2.1:8460", false), ("nonsense", false)]
        {
            assert_eq!(on_this_host(address), here, "{address}");
        }
        assert_eq!((place(true, "a:1").light, place(false, "a:1").light), (Light::Red, Light::Green));
    }

    #[test]
    fn the_key_services_findings_keep_their_light() {
        let text = r#"{"light":"red","findings":[{"code":"restore-untried","light":"red","sentence":"no restore was ever tried"}]}"#;
        let diagnosis: KeydDiagnosis = serde_json::from_str(text).unwrap();
        let finding = diagnosis.findings.into_iter().map(KeydFinding::retold).next().unwrap();
        assert_eq!((finding.code.as_str(), finding.light), ("keyd-restore-untried", Light::Red));
    }

    #[tokio::test]
    async fn recovery_that_cannot_be_seen_is_not_called_well() {
        assert_eq!(recovery(None).await[0].light, Light::Yellow);
    }
}
