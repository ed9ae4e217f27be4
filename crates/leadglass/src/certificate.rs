//! How long a certificate is still good for.

use anyhow::{Context, bail};
use leadglass_model::UnixMillis;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;

/// Whole days until the first certificate of a PEM file ends; negative once it has ended. One that is not valid yet is
/// an error: then a clock is wrong.
pub fn days_left(path: &Path, now: UnixMillis) -> anyhow::Result<i64> {
    let der = CertificateDer::from_pem_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else {
        bail!("{} holds no certificate", path.display());
    };
    let now = i64::try_from(now.0 / 1000).context("the clock is wrong")?;
    let validity = certificate.validity();
    if validity.not_before.timestamp() > now {
        bail!("{} is not valid yet: is the clock right?", path.display());
    }
    Ok((validity.not_after.timestamp() - now).div_euclid(SECONDS_A_DAY))
}

/// Who vouches for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// Nobody else: it is self-signed.
    Itself,
    /// The common name of an authority; empty if it has none.
    Another(String),
}

/// Who vouches for the first certificate of a PEM file, by what it says; no signature is checked.
pub fn issuer(path: &Path) -> anyhow::Result<Issuer> {
    let der = CertificateDer::from_pem_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else {
        bail!("{} holds no certificate", path.display());
    };
    if certificate.issuer().as_raw() == certificate.subject().as_raw() {
        return Ok(Issuer::Itself);
    }
    let name = certificate.issuer().iter_common_name().find_map(|name| name.as_str().ok());
    Ok(Issuer::Another(name.unwrap_or_default().to_owned()))
}

const SECONDS_A_DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let first_of_january = UnixMillis(1_767_225_600_000);
        assert_eq!(days_left(&path, first_of_january).unwrap(), 30);
        assert_eq!(days_left(&path, first_of_january.plus_secs(40 * 86_400)).unwrap(), -10);
        assert!(days_left(&path, UnixMillis(0)).is_err());
    }

    #[test]
    fn who_vouches_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let named = |name: &str| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&path, named("host").self_signed(&key).unwrap().pem()).unwrap();
        assert_eq!(issuer(&path).unwrap(), Issuer::Itself);
        let authority = rcgen::Issuer::new(named("Practice CA"), rcgen::KeyPair::generate().unwrap());
        std::fs::write(&path, named("host").signed_by(&key, &authority).unwrap().pem()).unwrap();
        assert_eq!(issuer(&path).unwrap(), Issuer::Another("Practice CA".to_owned()));
    }
}
