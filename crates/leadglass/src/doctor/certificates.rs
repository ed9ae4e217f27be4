//! Certificates: how long they are good for, and whether anybody can tell them from an impostor's.

use super::Finding;
use crate::{certificate, config::Config};
use leadglass_model::UnixMillis;
use std::path::Path;

pub(super) fn look(config: &Config, now: UnixMillis) -> Vec<Finding> {
    let mut paths = vec![
        ("the key service's authority", &config.keys.ca),
        ("the vault towards the key service", &config.keys.certificate),
        ("HTTPS", &config.http.certificate),
    ];
    if let Some(tls) = &config.dicom.tls {
        paths.push(("DICOM over TLS", &tls.certificate));
        paths.extend(tls.client_ca.iter().map(|ca| ("the customer's authority for devices", ca)));
    }
    let mut findings: Vec<Finding> = paths.into_iter().map(|(whose, path)| ends(whose, path, now)).collect();
    findings.extend(certificate::issuer(&config.http.certificate).ok().map(issued));
    findings
}

fn ends(whose: &str, path: &Path, now: UnixMillis) -> Finding {
    const WHY: &str = "When it has ended, whoever checks it refuses the connection.";
    match certificate::days_left(path, now) {
        Ok(days) if days < 0 => {
            Finding::red("certificate-ended", format!("The certificate of {whose} ended {} days ago.", -days))
                .why(WHY)
                .fix(renew(path))
        }
        Ok(days) if days < SOON_DAYS => {
            Finding::yellow("certificate-ends", format!("The certificate of {whose} ends in {days} days."))
                .why(WHY)
                .fix(renew(path))
        }
        Ok(days) => Finding::green("certificate", format!("The certificate of {whose} is good for {days} days.")),
        Err(error) => Finding::red("certificate-unusable", format!("The certificate of {whose}: {error:#}.")),
    }
}

fn renew(path: &Path) -> String {
    format!("leadglass-keyd ca issue --help (on the key host), into {}", path.display())
}

/// Who vouches for the certificate that viewers see.
fn issued(issuer: certificate::Issuer) -> Finding {
    match issuer {
        certificate::Issuer::Itself => Finding::yellow("certificate-self-signed", "Nobody but itself vouches for the certificate of HTTPS.")
            .why("People learn to click warnings away, and then an impostor's certificate looks no different.")
            .fix("leadglass-keyd ca issue server --name HOST --out server (on the key host), or a public certificate by deploy/Caddyfile"),
        certificate::Issuer::Another(name) if name == EVALUATION_AUTHORITY => {
            Finding::yellow("certificate-evaluation", "HTTPS shows the certificate of an evaluation, made by `leadglass up`.")
                .why("Its authority lies on this machine; whoever takes the machine can issue certificates that its viewers believe.")
                .fix("leadglass-keyd ca issue server --name HOST --out server (on the key host), or a public certificate by deploy/Caddyfile")
        }
        certificate::Issuer::Another(_) => Finding::green("certificate-issued", "An authority vouches for the certificate of HTTPS."),
    }
}

/// A certificate that ends within so many days wants a hand.
const SOON_DAYS: i64 = 21;
/// As `leadglass up` calls its authority (up/keyd.rs).
const EVALUATION_AUTHORITY: &str = "Leadglass on this machine";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{certificate::Issuer, doctor::Light};

    #[test]
    fn a_certificate_that_is_not_there_is_red() {
        let finding = ends("nobody", Path::new("does-not-exist.pem"), UnixMillis(0));
        assert_eq!(finding.light, Light::Red);
    }

    #[test]
    fn days_are_judged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let first_of_january = UnixMillis(1_767_225_600_000);
        for (day, code) in
            [(0, "certificate"), (38, "certificate"), (39, "certificate-ends"), (60, "certificate-ended")]
        {
            assert_eq!(ends("it", &path, first_of_january.plus_secs(day * 86_400)).code, code, "day {day}");
        }
    }

    #[test]
    fn who_vouches_is_judged() {
        for (issuer, code) in [
            (Issuer::Itself, "certificate-self-signed"),
            (Issuer::Another(EVALUATION_AUTHORITY.to_owned()), "certificate-evaluation"),
            (Issuer::Another("Practice CA".to_owned()), "certificate-issued"),
        ] {
            assert_eq!(issued(issuer).code, code);
        }
    }
}
