//! `up --config FILE`: what a person may change of what `up` sets. Kept, so that a second start has it too.

use crate::config::{Alarms, Audit, Care, Config, Device, Erasure, Limits, Oidc, Peer, Sessions, Store, Viewer};
use anyhow::Context;
use leadglass_model::{ReceiverId, SystemEntropy, TenantId};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The file. Everything may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// Who may send, instead of anybody on this machine.
    devices: Option<Vec<Sender>>,
    /// How many studies may be opened.
    budgets: Option<Budgets>,
    /// Private SOP classes and transfer syntaxes.
    dicom: Option<Extras>,
    /// Hosts, and the address for monitoring.
    http: Option<HttpExtras>,
    /// Where sealed objects lie, instead of in the data directory.
    store: Option<Store>,
    /// Bounds of the vault.
    limits: Option<toml::Table>,
    /// OHIF, from the folder that it was installed into.
    viewer: Option<Viewer>,
    /// What has to be so before something is erased.
    erasure: Option<Erasure>,
    /// Whom a clinician treats, in all tenants.
    care: Option<Care>,
    /// Who hears of alarms.
    alarms: Option<Alarms>,
    /// Where the audit log goes.
    audit: Option<Audit>,
    /// How long browsers stay signed in, and by what.
    sessions: Option<Sessions>,
    /// Who vouches for people.
    oidc: Option<Vec<Oidc>>,
    /// Where exports may be brought to.
    peers: Option<Vec<Peer>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sender {
    name: String,
    /// Drawn when it is left out; a later start keeps it by the name.
    id: Option<ReceiverId>,
    aet: String,
    address: String,
    #[serde(default)]
    tenants: Vec<TenantId>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extras {
    private_sop_classes: Option<Vec<String>>,
    private_transfer_syntaxes: Option<Vec<String>>,
    /// Authorities beside the vault's own for devices' certificates.
    client_ca: Option<PathBuf>,
    open_devices: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpExtras {
    hosts: Option<Vec<String>>,
    metrics: Option<SocketAddr>,
}

/// Distinct studies that may be opened in a sliding window, in the key service's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    #[serde(skip_serializing_if = "Option::is_none")]
    person_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person_per_day: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading_room_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading_room_per_day: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading_room: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_per_day: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_check_per_day: Option<u32>,
}

impl Budgets {
    /// Those of `up`: everybody reads like a reading room, and a load test on one node is not held up.
    pub fn of_up() -> Self {
        Self {
            person_per_hour: Some(240),
            person_per_day: Some(2_000),
            reading_room_per_hour: Some(240),
            reading_room_per_day: Some(2_000),
            default_class: Some("reading-room".to_owned()),
            node_per_hour: Some(20_000),
            tenant_per_day: Some(20_000 * 24),
            ..Self::default()
        }
    }

    /// Sets what is given in the key service's configuration; the rest stays.
    pub fn put_into(&self, keyd: &mut toml::Table) -> anyhow::Result<()> {
        let entry = keyd.entry("budgets").or_insert_with(|| toml::Table::new().into());
        let table = entry.as_table_mut().context("[budgets] is no table")?;
        table.extend(toml::Table::try_from(self)?);
        // One class for everybody: a person's own numbers would not be asked.
        let alias = [("person_per_hour", "reading_room_per_hour"), ("person_per_day", "reading_room_per_day")];
        let room = table.get("default_class").and_then(toml::Value::as_str) == Some("reading-room");
        for (person, reading_room) in alias {
            let given = Self::given(self, person).filter(|_| Self::given(self, reading_room).is_none());
            if let Some(value) = given.filter(|_| room) {
                table.insert(reading_room.to_owned(), value);
            }
        }
        Ok(())
    }

    fn given(&self, field: &str) -> Option<toml::Value> {
        toml::Table::try_from(self).ok()?.remove(field)
    }
}

impl Overrides {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} does not parse", path.display()))
    }

    /// The budgets, if it has any.
    pub fn budgets(&self) -> Option<&Budgets> {
        self.budgets.as_ref()
    }

    /// Sets what is given in the vault's configuration; the rest stays.
    pub fn put_into(&self, vault: &mut Config) -> anyhow::Result<()> {
        if let Some(erasure) = &self.erasure {
            vault.erasure = erasure.clone();
        }
        if let Some(alarms) = &self.alarms {
            vault.alarms = alarms.clone();
        }
        if let Some(audit) = &self.audit {
            vault.audit = audit.clone();
        }
        if let Some(sessions) = &self.sessions {
            let from_tokens = sessions.from_tokens.or(vault.sessions.from_tokens);
            vault.sessions = Sessions { from_tokens, ..sessions.clone() };
        }
        if let Some(care) = self.care {
            vault.tenants.iter_mut().for_each(|tenant| tenant.care = care);
        }
        if let Some(HttpExtras { hosts, metrics }) = &self.http {
            vault.http.hosts = hosts.clone().unwrap_or_default();
            vault.http.metrics = *metrics;
        }
        if let Some(senders) = &self.devices {
            let known = std::mem::take(&mut vault.devices);
            let id = |sender: &Sender| {
                let same = known.iter().find(|device| device.name == sender.name).map(|device| device.id);
                sender.id.or(same).unwrap_or_else(|| ReceiverId::random(&SystemEntropy))
            };
            let device = |sender: &Sender| Device {
                name: sender.name.clone(),
                id: id(sender),
                aet: sender.aet.clone(),
                address: sender.address.clone(),
                fingerprint: None,
                tenants: sender.tenants.clone(),
            };
            vault.devices = senders.iter().map(device).collect();
        }
        if let Some(extras) = &self.dicom {
            let set = |list: &mut Vec<String>, given: &Option<Vec<String>>| {
                if let Some(given) = given {
                    list.clone_from(given);
                }
            };
            set(&mut vault.dicom.private_sop_classes, &extras.private_sop_classes);
            set(&mut vault.dicom.private_transfer_syntaxes, &extras.private_transfer_syntaxes);
            if let (Some(tls), Some(ca)) = (&mut vault.dicom.tls, &extras.client_ca) {
                tls.client_ca = Some(ca.clone());
            }
            vault.dicom.open_devices = extras.open_devices.unwrap_or(vault.dicom.open_devices);
        }
        if let Some(store) = &self.store {
            vault.store = store.clone();
        }
        if let Some(viewer) = &self.viewer {
            // The vault runs elsewhere.
            let dir = std::path::absolute(&viewer.dir).context("[viewer] dir")?;
            vault.viewer = Some(Viewer { dir, ..viewer.clone() });
        }
        if let Some(oidc) = &self.oidc {
            vault.oidc.clone_from(oidc);
        }
        if let Some(peers) = &self.peers {
            vault.peers.clone_from(peers);
        }
        if let Some(limits) = &self.limits {
            let mut table = toml::Table::try_from(&vault.limits)?;
            table.extend(limits.clone());
            vault.limits = table.try_into::<Limits>().context("[limits]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::setup::tests::vault_config;

    #[test]
    fn devices_keep_their_random_names_over_a_second_start() {
        let text = "[[devices]]\nname = 'ct'\naet = 'CT1'\naddress = '10.0.0.1'\n[limits]\nassociations = 3\n";
        let overrides: Overrides = toml::from_str(text).unwrap();
        let mut vault = vault_config();
        overrides.put_into(&mut vault).unwrap();
        let first = vault.devices.clone();
        assert_eq!((first.len(), first[0].aet.as_str()), (1, "CT1"));
        assert_eq!((vault.limits.associations, vault.limits.associations_from_this_host), (3, 64));
        overrides.put_into(&mut vault).unwrap();
        assert_eq!(first[0].id, vault.devices[0].id);
    }

    #[test]
    fn budgets_change_what_is_given_and_leave_the_rest() {
        let mut keyd: toml::Table =
            toml::from_str("listen = '127.0.0.1:1'\n[budgets]\nbreak_glass_per_hour = 10\n").unwrap();
        Budgets::of_up().put_into(&mut keyd).unwrap();
        let given: Overrides = toml::from_str("[budgets]\nperson_per_hour = 5\n").unwrap();
        given.budgets().unwrap().put_into(&mut keyd).unwrap();
        let number = |name: &str| keyd["budgets"][name].as_integer();
        assert_eq!(number("person_per_hour"), Some(5));
        assert_eq!(number("reading_room_per_hour"), Some(5), "the one class that counts under up");
        assert_eq!(number("person_per_day"), Some(2_000));
        assert_eq!(number("node_per_hour"), Some(20_000));
        assert_eq!(number("break_glass_per_hour"), Some(10));
    }

    #[test]
    fn a_misspelt_budget_is_refused() {
        assert!(toml::from_str::<Overrides>("[budgets]\nperson_an_hour = 5\n").is_err());
        assert!(toml::from_str::<Overrides>("[tenants]\n").is_err());
    }
}
