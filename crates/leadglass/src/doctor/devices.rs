//! Devices that are enrolled in the vault's records: how weak the weakest is, and whose certificate ends.
//!
//! The records are sealed, so the running vault is asked.

use super::{Finding, running::Running};
use crate::{config::Config, devices::SOON_DAYS};
use serde_json::Value;

/// Nothing where DICOM has no TLS and nobody said how to ask.
pub(super) async fn look(running: &Running, config: &Config) -> Vec<Finding> {
    if config.dicom.tls.is_none() && !running.was_named() {
        return Vec::new();
    }
    match running.list("/api/v1/devices").await {
        Ok(devices) => judge(&devices),
        Err(why) => {
            let sentence = format!("The devices that were enrolled at run time were not looked at: {why}.");
            vec![Finding::yellow("devices-unknown", sentence).fix("leadglass device list")]
        }
    }
}

fn judge(devices: &[Value]) -> Vec<Finding> {
    let enrolled: Vec<&Value> =
        devices.iter().filter(|device| device["source"] == "records" && device["revoked_ms"].is_null()).collect();
    let mut findings = Vec::new();
    for device in &enrolled {
        let name = device["name"].as_str().unwrap_or("?");
        let keys = device["keys"].as_array().into_iter().flatten();
        match keys.filter_map(|key| key["days_left"].as_i64()).max() {
            Some(days) if days < 0 => {
                let sentence = format!("The certificate of device {name} ended {} days ago: it cannot send.", -days);
                let fix = format!("leadglass device certificate {name}");
                findings.push(Finding::red("device-certificate-ended", sentence).fix(fix));
            }
            Some(days) if days < SOON_DAYS => {
                let sentence = format!("The certificate of device {name} ends in {days} days.");
                let fix = format!("leadglass device certificate {name}");
                let why = "When it has ended, the device cannot send.";
                findings.push(Finding::yellow("device-certificate-ends", sentence).why(why).fix(fix));
            }
            _ => {}
        }
        if device["level_number"] == 0 {
            let sentence = format!("Device {name} is of level 0: anybody can pass for it.");
            let why = "Whoever reaches the port can put images into patients' studies.";
            let fix = format!("leadglass device certificate {name}, then DICOM over TLS");
            findings.push(Finding::red("device-open", sentence).why(why).fix(fix));
        }
    }
    if findings.is_empty() && !enrolled.is_empty() {
        let proved = enrolled.iter().filter(|device| device["level_number"].as_u64() >= Some(2)).count();
        let sentence = format!("{} devices are enrolled in the records, {proved} of them by a key.", enrolled.len());
        findings.push(Finding::green("devices-enrolled", sentence));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Light;
    use serde_json::json;

    #[test]
    fn a_certificate_that_ends_soon_and_an_open_device_are_named() {
        let device = |name: &str, level: u8, days: Option<i64>| {
            json!({
                "name": name, "source": "records", "revoked_ms": null, "level_number": level,
                "keys": [{ "days_left": days }],
            })
        };
        let judged = |device| judge(&[device]).into_iter().map(|f| (f.code, f.light)).collect::<Vec<_>>();
        assert_eq!(judged(device("a", 3, Some(300))), [("devices-enrolled".to_owned(), Light::Green)]);
        assert_eq!(judged(device("a", 3, Some(12))), [("device-certificate-ends".to_owned(), Light::Yellow)]);
        assert_eq!(judged(device("a", 3, Some(-1))), [("device-certificate-ended".to_owned(), Light::Red)]);
        assert_eq!(judged(device("a", 0, None)), [("device-open".to_owned(), Light::Red)]);
        let mut revoked = device("a", 3, Some(-1));
        revoked["revoked_ms"] = json!(1);
        assert_eq!(judged(revoked), []);
    }
}
