//! The key service: there, unsealed, elsewhere, and can it come back.

use super::Finding;
use crate::{config::Config, node, up};
use leadglass_keys::{KeyService, MtlsKeyService};
use leadglass_model::{Clock, Fault, SystemClock};
use serde::Deserialize;
use std::{path::Path, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) async fn service(config: &Config) -> Vec<Finding> {
    let mut findings = vec![if config.key_service_on_this_host {
        Finding::red(
            "same-host",
            "Vault and key service stand on this one machine: whoever steals it has both halves. \
             For evaluation only; put the key service on a host of its own.",
        )
    } else {
        Finding::green("own-host", format!("The key service is on another host, {}.", config.keys.address))
    }];
    findings.push(reach(config).await);
    findings
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
            return Finding::red("key-identity", format!("The identity for the key service is unusable: {error:#}."));
        }
    };
    let answer = service.health().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match answer {
        Ok(health) if health.sealed => Finding::red(
            "key-service-sealed",
            "The key service is sealed: nothing can be opened. Run `leadglass-keyd unseal` on its host.",
        ),
        Ok(health) => {
            Finding::green("key-service", format!("The key service answers, unsealed, version {}.", health.version))
        }
        Err(error) if error.fault() == Fault::Busy => Finding::red(
            "key-service-away",
            format!(
                "The key service at {address} does not answer ({error}): does it run, does a firewall stand between?"
            ),
        ),
        Err(error) => Finding::red("key-service-refuses", format!("The key service at {address} refuses us: {error}.")),
    }
}

/// What the key service says about its own recovery; asked on the key host only.
pub(super) async fn recovery(keyd_data: Option<&Path>) -> Vec<Finding> {
    let elsewhere = "Whether a dead key service could be brought back cannot be told from here: \
                     run `leadglass-keyd doctor` on its host.";
    let Some(data) = keyd_data else { return vec![Finding::yellow("recovery-elsewhere", elsewhere)] };
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

/// Whether the recovery sheet still lies on the machine that it is to rescue.
pub(super) fn sheet(path: &Path) -> Finding {
    if path.exists() {
        let sentence = format!(
            "The recovery sheet lies on this machine, in {}: print it or copy it elsewhere, then delete the file.",
            path.display()
        );
        Finding::red("sheet-here", sentence)
    } else {
        Finding::green("sheet-away", "The recovery sheet is not on this machine.")
    }
}

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
    fn a_sheet_on_this_machine_is_red() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery-sheet.txt");
        assert_eq!(sheet(&path).light, Light::Green);
        std::fs::write(&path, "secret").unwrap();
        assert_eq!(sheet(&path).light, Light::Red);
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
