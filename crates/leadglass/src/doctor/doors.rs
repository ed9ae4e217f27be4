//! Doors: what listens in clear, and who may send.

use super::Finding;
use crate::config::{Config, Device};

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = listeners(config);
    findings.extend(devices(&config.devices));
    findings
}

fn listeners(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ports = config.dicom.tenant_ports.iter().map(|port| port.listen);
    for clear in std::iter::once(config.dicom.listen).chain(ports).filter(|clear| !clear.ip().is_loopback()) {
        let fix = if config.dicom.tls.is_some() {
            "leadglass device add --help: devices that can should use DICOM over TLS; the others on a network of their own"
        } else {
            "[dicom.tls] in the configuration, as in deploy/vault.toml"
        };
        let finding = Finding::yellow("dicom-clear", format!("DICOM in clear is open on {clear}."))
            .why("Whoever taps that network sees the images on their way, and can send under a device's name.");
        findings.push(finding.fix(fix));
    }
    findings.push(match config.http.plain {
        Some(plain) => Finding::yellow("plain-http", format!("Plain HTTP is open on {plain}."))
            .why("Every program on this machine that can listen in sees tokens and images; it is for a TLS front on this host alone.")
            .fix("deploy/Caddyfile in front of it, or take `plain` out of [http]"),
        None => Finding::green("https-only", "DICOMweb is served over HTTPS only."),
    });
    findings.push(if config.http.hosts.is_empty() {
        Finding::yellow("any-host", "The vault answers for whatever host it is asked for.")
            .why("A page of a foreign name that was made to lead here is taken for a page of the vault.")
            .fix(r#"hosts = ["vault.practice.example"] under [http], as in deploy/vault.toml"#)
    } else {
        Finding::green("hosts", format!("The vault answers for {} and no other host.", config.http.hosts.join(", ")))
    });
    findings
}

fn devices(devices: &[Device]) -> Vec<Finding> {
    if devices.is_empty() {
        return vec![
            Finding::yellow(
                "no-device",
                "No device stands in the configuration: only those that were enrolled at run time can send.",
            )
            .fix("leadglass device list, leadglass device add"),
        ];
    }
    let mut findings: Vec<Finding> = devices.iter().filter_map(wide).collect();
    if findings.is_empty() {
        let sentence =
            format!("{} devices stand in the configuration, each by title and address or by a key.", devices.len());
        findings.push(Finding::green("devices", sentence));
    }
    let unproven: Vec<&str> =
        devices.iter().filter(|device| device.fingerprint.is_none()).map(|device| device.name.as_str()).collect();
    if !unproven.is_empty() {
        let (count, some) = (unproven.len(), unproven.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "));
        let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
        findings.push(
            Finding::yellow("device-unproven", format!("Nothing but title and address is proved by {some}{more}."))
                .why("Titles are no secret and an address can be taken over on the same network: images could be slipped in.")
                .fix("leadglass device certificate, then DICOM over TLS; or a network of its own for each"),
        );
    }
    findings
}

/// Whoever proves a key need not be told apart by title and address.
fn wide(device: &Device) -> Option<Finding> {
    const WHY: &str = "Whoever reaches the port can put images into patients' studies.";
    if device.fingerprint.is_some() {
        return None;
    }
    let (name, address) = (&device.name, &device.address);
    let any_title = device.aet == "*";
    let any_address = address == "any" || address.ends_with("/0");
    let finding = match (any_title, any_address) {
        (true, true) => {
            Finding::red("device-anybody", format!("Device {name} is anybody: any AE title from any address."))
        }
        (true, false) => {
            Finding::yellow("device-any-title", format!("Device {name} takes any AE title from {address}."))
        }
        (false, true) => Finding::yellow("device-any-address", format!("Device {name} may call from any address.")),
        (false, false) => return None,
    };
    Some(finding.why(WHY).fix(format!("aet and address of {name} under [[devices]]")))
}

/// So many names are read; more are counted.
const NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Light, up::tests::vault_config};

    fn codes(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn who_may_send_is_judged_by_key_title_and_address() {
        let mut config = vault_config();
        for (aet, address, key, expected) in [
            ("*", "any", false, &["device-anybody", "device-unproven"][..]),
            ("*", "0.0.0.0/0", false, &["device-anybody", "device-unproven"]),
            ("*", "loopback", false, &["device-any-title", "device-unproven"]),
            ("CT1", "any", false, &["device-any-address", "device-unproven"]),
            ("CT1", "10.0.0.7", false, &["devices", "device-unproven"]),
            ("CT1", "any", true, &["devices"]),
        ] {
            let device = &mut config.devices[0];
            device.aet = aet.to_owned();
            device.address = address.to_owned();
            device.fingerprint = key.then(|| "00".repeat(32));
            assert_eq!(codes(&devices(&config.devices)), expected, "{aet} {address} {key}");
        }
        assert_eq!(codes(&devices(&[])), ["no-device"]);
        config.devices[0].fingerprint = None;
        (config.devices[0].aet, config.devices[0].address) = ("*".to_owned(), "any".to_owned());
        assert_eq!(devices(&config.devices)[0].light, Light::Red);
    }

    #[test]
    fn listeners_in_clear_are_named() {
        let mut config = vault_config();
        assert_eq!(codes(&listeners(&config)), ["plain-http", "any-host"]);
        config.http.plain = None;
        config.http.hosts = vec!["vault.example".to_owned()];
        config.dicom.listen = ([10, 0, 0, 1], 11112).into();
        let findings = listeners(&config);
        assert_eq!(codes(&findings), ["dicom-clear", "https-only", "hosts"]);
        assert!(findings[0].sentence.contains("10.0.0.1:11112"));
        config.dicom.tls = None;
        assert!(listeners(&config)[0].fix.as_ref().unwrap().contains("[dicom.tls]"));
    }
}
