//! The vault: who gets in, what lies open, what runs out.

use super::{Finding, open_to_others};
use crate::{
    certificate,
    config::{Config, Device, Store},
};
use leadglass_model::{Clock, SystemClock, UnixMillis};
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let now = SystemClock.now();
    let mut findings = Vec::new();
    findings.extend(certificates(config, now));
    findings.extend(private_keys(config));
    findings.extend(directories(config));
    findings.extend(disks(config));
    findings.extend(listeners(config));
    findings.extend(devices(&config.devices));
    findings
}

fn certificates(config: &Config, now: UnixMillis) -> Vec<Finding> {
    let mut paths = vec![
        ("the key service's authority", &config.keys.ca),
        ("the vault towards the key service", &config.keys.certificate),
        ("HTTPS", &config.http.certificate),
    ];
    if let Some(tls) = &config.dicom.tls {
        paths.push(("DICOM over TLS", &tls.certificate));
        paths.extend(tls.client_ca.iter().map(|ca| ("the customer's authority for devices", ca)));
    }
    paths.into_iter().map(|(whose, path)| certificate(whose, path, now)).collect()
}

fn certificate(whose: &str, path: &Path, now: UnixMillis) -> Finding {
    match certificate::days_left(path, now) {
        Ok(days) if days < 0 => {
            Finding::red("certificate-ended", format!("The certificate of {whose} ended {} days ago.", -days))
        }
        Ok(days) if days < SOON_DAYS => {
            Finding::yellow("certificate-ends", format!("The certificate of {whose} ends in {days} days."))
        }
        Ok(days) => Finding::green("certificate", format!("The certificate of {whose} is good for {days} days.")),
        Err(error) => Finding::red("certificate-unusable", format!("The certificate of {whose}: {error:#}.")),
    }
}

fn private_keys(config: &Config) -> Vec<Finding> {
    let mut paths: Vec<&PathBuf> = vec![&config.keys.key, &config.http.key];
    paths.extend(config.dicom.tls.as_ref().map(|tls| &tls.key));
    paths.dedup();
    let finding = |path: &PathBuf| match open_to_others(path) {
        Ok(0) => Finding::green("key-private", format!("{} is its owner's alone.", path.display())),
        Ok(_) => Finding::red(
            "key-readable",
            format!("Others can read the private key {}: chmod 600, and replace the key.", path.display()),
        ),
        Err(error) => Finding::red("key-missing", format!("{} cannot be looked at: {error}.", path.display())),
    };
    paths.into_iter().map(finding).collect()
}

/// Where sealed objects lie, if they lie on a disk of this host.
fn objects(config: &Config) -> Option<&Path> {
    match &config.store {
        Store::Local { path, .. } => Some(path),
        Store::S3(_) => None,
    }
}

fn directories(config: &Config) -> Vec<Finding> {
    let finding = |dir: &Path| match open_to_others(dir) {
        Ok(0) => Finding::green("data-private", format!("{} is its owner's alone.", dir.display())),
        Ok(_) => {
            let open = readable_below(dir);
            let sentence =
                format!("Others can enter {} ({open} files in it are open to them): chmod 700.", dir.display());
            Finding::red("data-open", sentence)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::yellow("data-missing", format!("{} is not there yet; the first start makes it.", dir.display()))
        }
        Err(error) => Finding::red("data-unusable", format!("{} cannot be looked at: {error}.", dir.display())),
    };
    [Some(config.data.as_path()), objects(config)].into_iter().flatten().map(finding).collect()
}

/// Files that others may read, of the first so many that are found.
fn readable_below(dir: &Path) -> usize {
    let (mut rest, mut seen, mut open) = (vec![dir.to_owned()], 0, 0);
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_FILES {
                return open;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => rest.push(entry.path()),
                Ok(kind) if kind.is_file() && open_to_others(&entry.path()).is_ok_and(|bits| bits & 0o044 != 0) => {
                    open += 1
                }
                _ => {}
            }
        }
    }
    open
}

fn disks(config: &Config) -> Vec<Finding> {
    let journal = config.limits.journal_bytes;
    let mut findings = vec![disk("the journal", &config.data, journal.saturating_mul(2))];
    findings.extend(objects(config).map(|dir| disk("sealed objects", dir, journal.max(LITTLE_BYTES))));
    findings
}

/// `wanted`: below it the vault may soon tell senders to wait.
fn disk(what: &str, dir: &Path, wanted: u64) -> Finding {
    // Before the first start the directory's parent says what its disk has.
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let Ok(disk) = statvfs(there) else {
        return Finding::red("disk-unknown", format!("The disk of {} cannot be looked at.", dir.display()));
    };
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let gigabytes = free / 1_000_000_000;
    if free < LITTLE_BYTES {
        Finding::red("disk-full", format!("The disk for {what} has {} MB left.", free / 1_000_000))
    } else if free < wanted {
        Finding::yellow("disk-low", format!("The disk for {what} has {gigabytes} GB left."))
    } else {
        Finding::green("disk", format!("The disk for {what} has {gigabytes} GB left."))
    }
}

fn listeners(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let clear = config.dicom.listen;
    if !clear.ip().is_loopback() {
        let advice = if config.dicom.tls.is_some() {
            "senders that can should use DICOM over TLS"
        } else {
            "[dicom.tls] is off"
        };
        findings.push(Finding::yellow(
            "dicom-clear",
            format!(
                "DICOM in clear is open on {clear}: whoever taps that network sees the images on their way; {advice}."
            ),
        ));
    }
    findings.push(match config.http.plain {
        Some(plain) => Finding::yellow(
            "plain-http",
            format!(
                "Plain HTTP is open on {plain}: every program on this machine can listen in. Only for a TLS proxy here."
            ),
        ),
        None => Finding::green("https-only", "DICOMweb is served over HTTPS only."),
    });
    findings
}

fn devices(devices: &[Device]) -> Vec<Finding> {
    if devices.is_empty() {
        return vec![Finding::yellow("no-device", "No device is enrolled: nobody can send. Add [[devices]].")];
    }
    let wide = devices.iter().filter_map(|device| {
        let (name, address) = (&device.name, &device.address);
        let any_title = device.aet == "*";
        let any_address = address == "any" || address.ends_with("/0");
        match (any_title, any_address) {
            (true, true) => Some(Finding::red(
                "device-anybody",
                format!("Device {name} is anybody: any AE title from any address. Name both."),
            )),
            (true, false) => {
                Some(Finding::yellow("device-any-title", format!("Device {name} takes any AE title from {address}.")))
            }
            (false, true) => Some(Finding::yellow(
                "device-any-address",
                format!("Device {name} may call from any address: an AE title alone is no proof."),
            )),
            (false, false) => None,
        }
    });
    let wide: Vec<Finding> = wide.collect();
    if wide.is_empty() {
        vec![Finding::green("devices", format!("{} devices are enrolled, each by title and address.", devices.len()))]
    } else {
        wide
    }
}

/// A certificate that ends within so many days wants a hand.
const SOON_DAYS: i64 = 21;
/// A few large studies.
const LITTLE_BYTES: u64 = 1 << 30;
/// Enough to know that something is wrong.
const MOST_FILES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Light, up::tests::vault_config};
    use std::{fs, os::unix::fs::PermissionsExt};

    fn lights(findings: &[Finding], code: &str) -> Vec<Light> {
        findings.iter().filter(|finding| finding.code == code).map(|finding| finding.light).collect()
    }

    #[test]
    fn who_may_send_is_judged_by_title_and_address() {
        let mut config = vault_config();
        let mut judge = |aet: &str, address: &str| {
            config.devices[0].aet = aet.to_owned();
            config.devices[0].address = address.to_owned();
            devices(&config.devices)[0].light
        };
        assert_eq!(judge("*", "any"), Light::Red);
        assert_eq!(judge("*", "0.0.0.0/0"), Light::Red);
        assert_eq!(judge("*", "loopback"), Light::Yellow);
        assert_eq!(judge("CT1", "any"), Light::Yellow);
        assert_eq!(judge("CT1", "10.0.0.7"), Light::Green);
        assert_eq!(devices(&[])[0].light, Light::Yellow);
    }

    #[test]
    fn a_private_key_that_others_can_read_is_red() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = vault_config();
        let key = dir.path().join("key.pem");
        fs::write(&key, "secret").unwrap();
        config.keys.key.clone_from(&key);
        config.http.key.clone_from(&key);
        config.dicom.tls = None;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(lights(&private_keys(&config), "key-readable"), [Light::Red]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(lights(&private_keys(&config), "key-private"), [Light::Green]);
    }

    #[test]
    fn a_data_directory_that_others_can_enter_is_red() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = vault_config();
        config.data = dir.path().join("vault");
        config.store = Store::local(dir.path().join("objects"));
        fs::create_dir(&config.data).unwrap();
        fs::write(config.data.join("x"), "x").unwrap();
        fs::set_permissions(&config.data, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(config.data.join("x"), fs::Permissions::from_mode(0o644)).unwrap();
        let findings = directories(&config);
        assert_eq!(lights(&findings, "data-open"), [Light::Red]);
        assert!(findings[0].sentence.contains("(1 files"), "{}", findings[0].sentence);
        assert_eq!(lights(&findings, "data-missing"), [Light::Yellow]);
    }

    #[test]
    fn plain_listeners_are_named() {
        let mut config = vault_config();
        assert_eq!(lights(&listeners(&config), "plain-http"), [Light::Yellow]);
        config.http.plain = None;
        config.dicom.listen = ([10, 0, 0, 1], 11112).into();
        let findings = listeners(&config);
        assert_eq!(lights(&findings, "https-only"), [Light::Green]);
        assert_eq!(lights(&findings, "dicom-clear"), [Light::Yellow]);
    }

    #[test]
    fn a_certificate_that_is_not_there_is_red() {
        let finding = certificate("nobody", Path::new("does-not-exist.pem"), UnixMillis(0));
        assert_eq!(finding.light, Light::Red);
    }
}
