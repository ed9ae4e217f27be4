//! What a first start makes, and what every start sets right: certificates, ports, paths, budgets.

use super::{
    home::{Home, Installation},
    keyd::Keyd,
    overrides::{Budgets, Overrides},
    ports::{Ports, local},
    summary::Tokens,
};
use crate::{
    certificate,
    config::{Config, Device, Dicom, DicomTls, Http, Keys, Limits, Store, Tenant},
    files, token,
};
use anyhow::Context;
use leadglass_model::{Clock, ReceiverId, Role, SystemClock, SystemEntropy, TenantId};
use leadglass_records::NewToken;
use std::{fs, path::PathBuf};

/// The AE title of the first tenant.
pub const AET: &str = "LEADGLASS";
/// The AE title of the other.
pub const OTHER_AET: &str = "LEADGLASS2";

/// Makes keys, certificates, tenants, configuration and tokens. A start that is cut off in here begins anew.
pub async fn make(home: &Home, keyd: &Keyd, sample_pending: bool) -> anyhow::Result<Installation> {
    home.begin()?;
    keyd.init(&home.config("unseal.key"), &home.sheet()).await?;
    let page = fs::read_to_string(home.sheet()).context("the recovery sheet is missing")?;
    files::write(&home.sheet(), format!("{SHEET_HEAD}{page}").as_bytes())?;
    keyd.make_authority().await?;
    let ca = fs::read(keyd.authority()).context("the authority's certificate is missing")?;
    files::write(&home.tls("ca.pem"), &ca)?;
    let tenant = keyd.add_tenant("practice").await?;
    let other_tenant = keyd.add_tenant("other-practice").await?;
    certify(home, keyd).await?;
    keyd.enrol_vault(&home.tls("vault.pem")).await?;
    let config = first_config(home, tenant, other_tenant, Ports::PREFERRED);
    write_toml(&home.config("vault.toml"), VAULT_HEAD, &config)?;
    amend_keyd(home, keyd, Ports::PREFERRED, Some(&Budgets::of_up()))?;
    let installation = Installation { tenant, other_tenant, sample_pending };
    tokens(home, &installation).await?;
    home.remember(&installation)?;
    Ok(installation)
}

/// What every start does before the children run: frees ports, renews certificates, takes what `--config` says.
pub async fn settle(home: &Home, keyd: &Keyd, overrides: Option<&Overrides>) -> anyhow::Result<Config> {
    let path = home.config("vault.toml");
    let mut config = Config::read(&path)?;
    let ports = Ports::choose(ports(&config)).context("no free ports on 127.0.0.1")?;
    place(&mut config, home, ports);
    if let Some(overrides) = overrides {
        overrides.put_into(&mut config)?;
    }
    config.check().context("the configuration is not usable")?;
    write_toml(&path, VAULT_HEAD, &config)?;
    amend_keyd(home, keyd, ports, overrides.and_then(Overrides::budgets))?;
    let certificates = [keyd.certificate(), home.tls("server.pem"), home.tls("vault.pem")];
    let fresh =
        |path: &PathBuf| certificate::days_left(path, SystemClock.now()).is_ok_and(|d| d >= RENEWED_DAYS_BEFORE);
    if !certificates.iter().all(fresh) {
        tracing::info!("renewing certificates");
        certify(home, keyd).await?;
    }
    Ok(config)
}

/// The ports in a configuration; 0 where it has none.
pub fn ports(config: &Config) -> Ports {
    Ports {
        dicom: config.dicom.listen.port(),
        dicom_tls: config.dicom.tls.as_ref().map_or(0, |tls| tls.listen.port()),
        https: config.http.listen.port(),
        plain: config.http.plain.map_or(0, |plain| plain.port()),
        keyd: config.keys.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0),
    }
}

/// The tokens that stand in `up.json`; issued when they are not there. The vault may not run yet.
pub async fn tokens(home: &Home, installation: &Installation) -> anyhow::Result<Tokens> {
    let path = home.config("tokens.json");
    if let Ok(bytes) = fs::read(&path)
        && let Ok(tokens) = serde_json::from_slice(&bytes)
    {
        return Ok(tokens);
    }
    let table = token::open(&Config::read(&home.config("vault.toml"))?)?;
    let issue = async |tenant: TenantId, role: Role, label: &str| -> anyhow::Result<String> {
        let new = NewToken { tenant, role, label: label.to_owned(), expires: None };
        let (token, _) = table.issue(new).await.context("a token cannot be issued")?;
        Ok(token.reveal().to_owned())
    };
    let tokens = Tokens {
        clinician: issue(installation.tenant, Role::Clinician, "up: clinician").await?,
        dpo: issue(installation.tenant, Role::Dpo, "up: data protection officer").await?,
        other_tenant: issue(installation.other_tenant, Role::Clinician, "up: clinician elsewhere").await?,
        admin: issue(installation.tenant, Role::Admin, "up: administrator").await?,
    };
    files::write_json(&path, &tokens)?;
    Ok(tokens)
}

/// Certificates of the key service, the vault towards it, and the vault towards everybody.
async fn certify(home: &Home, keyd: &Keyd) -> anyhow::Result<()> {
    keyd.issue_server(&home.tls("server.pem"), &home.tls("server-key.pem")).await?;
    keyd.issue_client("vault", &home.tls("vault.pem"), &home.tls("vault-key.pem")).await
}

fn first_config(home: &Home, tenant: TenantId, other_tenant: TenantId, ports: Ports) -> Config {
    let own = |id, name: &str, aet: &str| Tenant {
        id,
        name: name.to_owned(),
        aets: vec![aet.to_owned()],
        care: crate::config::Care::default(),
        practice: leadglass_engine::Practice::default(),
        case_years: leadglass_engine::DEFAULT_CASE_YEARS,
    };
    let mut config = Config {
        data: home.vault(),
        store: Store::local(home.objects()),
        keys: Keys {
            address: local(ports.keyd).to_string(),
            ca: home.tls("ca.pem"),
            certificate: home.tls("vault.pem"),
            key: home.tls("vault-key.pem"),
        },
        dicom: Dicom {
            listen: local(ports.dicom),
            tls: None,
            open_devices: false,
            tenant_ports: Vec::new(),
            private_sop_classes: Vec::new(),
            private_transfer_syntaxes: Vec::new(),
        },
        http: Http {
            listen: local(ports.https),
            certificate: home.tls("server.pem"),
            key: home.tls("server-key.pem"),
            plain: None,
            hosts: Vec::new(),
            fronts: Vec::new(),
            metrics: None,
        },
        viewer: None,
        tenants: vec![own(tenant, "Practice", AET), own(other_tenant, "Other practice", OTHER_AET)],
        devices: vec![Device {
            name: "this-machine".to_owned(),
            id: ReceiverId::random(&SystemEntropy),
            aet: "*".to_owned(),
            address: "loopback".to_owned(),
            fingerprint: None,
            tenants: Vec::new(),
        }],
        limits: Limits { associations_per_device: 64, associations_from_this_host: 64, ..Limits::default() },
        key_service_on_this_host: true,
        decode_without_filter: false,
        sessions: crate::config::Sessions::default(),
        erasure: crate::config::Erasure::default(),
        alarms: crate::config::Alarms::default(),
        audit: crate::config::Audit::default(),
        oidc: Vec::new(),
        peers: Vec::new(),
    };
    place(&mut config, home, ports);
    config
}

/// Paths and ports: the directory may have moved, a port may be taken.
fn place(config: &mut Config, home: &Home, ports: Ports) {
    let (certificate, key, ca) = (home.tls("server.pem"), home.tls("server-key.pem"), home.tls("ca.pem"));
    config.data = home.vault();
    // A place to try things out: its tokens are printed, and nobody has a login yet.
    config.sessions.from_tokens = Some(true);
    if let Store::Local { path, .. } = &mut config.store {
        *path = home.objects();
    }
    config.keys = Keys {
        address: local(ports.keyd).to_string(),
        ca: ca.clone(),
        certificate: home.tls("vault.pem"),
        key: home.tls("vault-key.pem"),
    };
    config.dicom.listen = local(ports.dicom);
    let client_ca = config.dicom.tls.take().and_then(|tls| tls.client_ca);
    config.dicom.tls = Some(DicomTls {
        listen: local(ports.dicom_tls),
        certificate: certificate.clone(),
        key: key.clone(),
        ca: Some(ca),
        client_ca,
    });
    let http = &mut config.http;
    (http.listen, http.plain) = (local(ports.https), Some(local(ports.plain)));
    (http.certificate, http.key) = (certificate, key);
}

/// Sets what is `up`'s in the key service's own file; the rest stays as `init` wrote it or a person changed it.
fn amend_keyd(home: &Home, keyd: &Keyd, ports: Ports, budgets: Option<&Budgets>) -> anyhow::Result<()> {
    let path = keyd.config();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: toml::Table = toml::from_str(&text).with_context(|| format!("{} does not parse", path.display()))?;
    table.insert("listen".to_owned(), local(ports.keyd).to_string().into());
    let key_file = home.config("unseal.key").to_string_lossy().into_owned();
    if let Some(provider) = table.get_mut("provider").and_then(toml::Value::as_table_mut) {
        provider.insert("path".to_owned(), key_file.into());
    }
    if let Some(budgets) = budgets {
        budgets.put_into(&mut table)?;
    }
    write_toml(&path, KEYD_HEAD, &table)
}

fn write_toml(path: &std::path::Path, head: &str, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = toml::to_string_pretty(value).context("cannot write TOML")?;
    files::write(path, format!("{head}{text}").as_bytes())
}

const VAULT_HEAD: &str =
    "# Written by `leadglass up`, which sets paths and ports at each start; the rest may be changed by hand.\n\n";
const KEYD_HEAD: &str =
    "# `leadglass up` sets listen and the key file's path at each start; the rest may be changed by hand.\n\n";
const SHEET_HEAD: &str = "\
THIS PAGE DOES NOT BELONG ON THIS MACHINE. Print it or copy it elsewhere, then delete this file: together with the key
service's backups it opens everything, and without it a dead key service cannot be brought back.

";
/// A certificate is valid for 90 days; `up` may run for weeks on end.
const RENEWED_DAYS_BEFORE: i64 = 45;

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::Path;

    /// The configuration of a first start, for other tests.
    pub fn vault_config() -> Config {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let tenant = |byte| TenantId::from_bytes([byte; 16]);
        first_config(&home, tenant(1), tenant(2), Ports::PREFERRED)
    }

    #[test]
    fn the_first_configuration_is_usable_and_reads_back() {
        let config = vault_config();
        config.check().unwrap();
        let text = toml::to_string_pretty(&config).unwrap();
        let again: Config = toml::from_str(&text).unwrap();
        again.check().unwrap();
        assert_eq!(again.dicom.listen, local(11112));
        assert_eq!(again.limits.associations_from_this_host, 64);
        assert!(again.key_service_on_this_host);
    }

    #[test]
    fn a_directory_that_moved_takes_its_paths_along() {
        let (before, dir) = (vault_config(), tempfile::tempdir().unwrap());
        let home = Home::at(dir.path()).unwrap();
        let mut config = before.clone();
        let ports = Ports { dicom: 1, dicom_tls: 2, https: 3, plain: 4, keyd: 5 };
        place(&mut config, &home, ports);
        assert_eq!(config.data, home.vault());
        assert_eq!(config.keys.address, "127.0.0.1:5");
        assert_eq!(config.http.plain, Some(local(4)));
        assert_eq!(config.tenants.len(), before.tenants.len());
        assert!(config.http.key.starts_with(home.root()) && config.keys.ca.starts_with(home.root()));
    }

    #[test]
    fn the_key_services_file_keeps_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        fs::create_dir(home.keyd()).unwrap();
        let keyd = Keyd::of(Path::new("leadglass-keyd"), home.keyd());
        let before = "listen = '127.0.0.1:1'\nmirror = '/mnt'\nbackup_every = '1h'\n\
                      [provider]\nkind = 'key-file'\npath = 'old'\n[budgets]\nperson_per_hour = 7\n";
        fs::write(keyd.config(), before).unwrap();
        amend_keyd(&home, &keyd, Ports::PREFERRED, None).unwrap();
        let table: toml::Table = toml::from_str(&fs::read_to_string(keyd.config()).unwrap()).unwrap();
        assert_eq!(table["listen"].as_str(), Some("127.0.0.1:7443"));
        assert_eq!(table["mirror"].as_str(), Some("/mnt"));
        assert_eq!(table["provider"]["path"].as_str(), home.config("unseal.key").to_str());
        assert_eq!(table["budgets"]["person_per_hour"].as_integer(), Some(7));
    }
}
