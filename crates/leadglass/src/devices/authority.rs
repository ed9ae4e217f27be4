//! The small certificate authority of a tenant's devices.
//!
//! Its private key lies in the vault's records, sealed under the tenant's record key, and is in memory only while it signs.
//! It has nothing to do with the key service's authority: a device's certificate opens nothing there. A certificate only
//! gets a device through the handshake; who it is hangs on the hash of its key. An authority lasts ten years; when its end
//! comes near a new one is made at a start of the node, and both are trusted until the old one has ended.

use super::{enrolment::bad, x509};
use anyhow::Context;
use leadglass_model::{Clock, Entropy, Fault, UnixMillis};
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use leadglass_web::{Certified, DeskError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, SubjectPublicKeyInfo,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::{Zeroize, Zeroizing};

/// The authorities of one tenant that may still vouch for somebody, PEM, the one that issues last.
#[derive(Debug, Clone)]
pub struct Authorities {
    records: TenantRecords,
    /// Certificates, PEM.
    pub certificates: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    certificate: String,
    /// PKCS#8, PEM.
    key: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Authorities {
    /// Those of a tenant; makes one when there is none that lasts longer than what it issues.
    pub async fn open(records: TenantRecords, clock: &dyn Clock, entropy: &dyn Entropy) -> anyhow::Result<Self> {
        let now = clock.now();
        let found = records.get(Table::Settings, KEY).await.context("the devices' authority cannot be read")?;
        let (mut kept, expected) = match &found {
            Some(record) => (read(record.value.expose())?, Expected::Version(record.version)),
            None => (Vec::new(), Expected::Absent),
        };
        kept.retain(|kept| ends(kept) > now);
        if kept.last().is_none_or(|last| ends(last) < now.plus_secs(RENEWED_DAYS_BEFORE * SECONDS_A_DAY)) {
            kept.push(make(now, entropy).context("the devices' authority cannot be made")?);
            let value = Zeroizing::new(serde_json::to_vec(&kept)?);
            let written = records.put(Table::Settings, KEY, value, expected).await;
            written.context("the devices' authority cannot be kept")?;
        }
        let certificates = kept.iter().map(|kept| kept.certificate.clone()).collect();
        Ok(Self { records, certificates })
    }

    /// Issues a certificate for one year over the key of a signing request.
    pub async fn issue(
        &self,
        name: &str,
        request: &str,
        now: UnixMillis,
        entropy: &dyn Entropy,
    ) -> Result<Certified, DeskError> {
        let key = x509::requested_key(request).ok_or_else(|| {
            bad("csr", "The signing request (PKCS#10, PEM) does not read, or its signature or its key is too weak.")
        })?;
        let found = self.records.get(Table::Settings, KEY).await.map_err(|error| unreadable(&error))?;
        let broken = |what: &str| DeskError::new(Fault::Broken, "authority", format!("The authority {what}."));
        let found = found.ok_or_else(|| broken("is gone from the records"))?;
        let mut kept = read(found.value.expose()).map_err(|_| broken("does not read"))?;
        let last = kept.pop().ok_or_else(|| broken("is empty"))?;
        drop(kept);
        let issued = sign(&last, name, &key, now, entropy).map_err(|error| {
            if matches!(error, rcgen::Error::UnsupportedSignatureAlgorithm) {
                bad(
                    "csr",
                    "The signing request's key is of a kind that is not taken: RSA, ECDSA on P-256 or P-384, Ed25519.",
                )
            } else {
                broken("could not sign")
            }
        })?;
        let shown = x509::shown(issued.der()).ok_or_else(|| broken("issued what is no certificate"))?;
        Ok(Certified {
            certificate: issued.pem(),
            authority: last.certificate.clone(),
            server_authority: None,
            sha256: hex::encode(shown.sha256),
            ends_ms: shown.ends.0,
        })
    }
}

pub(super) fn unreadable(error: &RecordError) -> DeskError {
    tracing::error!(%error, "the records of devices fail");
    DeskError::new(error.fault(), "records", "The vault's records cannot be read or written now.")
}

fn read(value: &[u8]) -> anyhow::Result<Vec<Kept>> {
    serde_json::from_slice(value).ok().context("the devices' authority is in a form that this version does not know")
}

fn ends(kept: &Kept) -> UnixMillis {
    x509::shown_pem(&kept.certificate).map_or(UnixMillis(0), |shown| shown.ends)
}

fn make(now: UnixMillis, entropy: &dyn Entropy) -> anyhow::Result<Kept> {
    let key = KeyPair::generate()?;
    // Two authorities of one name would confuse those who look for an issuer by name.
    let mut mark = [0; 4];
    entropy.fill(&mut mark);
    let mut params = params(&format!("Leadglass devices {}", hex::encode(mark)), now, AUTHORITY_DAYS, entropy)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key)?.pem();
    Ok(Kept { certificate, key: key.serialize_pem() })
}

fn sign(
    authority: &Kept,
    name: &str,
    key: &[u8],
    now: UnixMillis,
    entropy: &dyn Entropy,
) -> Result<rcgen::Certificate, rcgen::Error> {
    let own_key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, own_key)?;
    let mut params = params(name, now, LEAF_DAYS, entropy)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.signed_by(&SubjectPublicKeyInfo::from_der(key)?, &issuer)
}

fn params(name: &str, now: UnixMillis, days: i64, entropy: &dyn Entropy) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let mut serial = [0; 16];
    entropy.fill(&mut serial);
    // Positive, and of a length that does not vary (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let start = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // Clocks differ; an hour back lets a modality see it as valid at once.
    params.not_before = start - Duration::hours(1);
    params.not_after = start + Duration::days(days);
    Ok(params)
}

/// Where it lies among a tenant's settings.
const KEY: &[u8] = b"device-authority";
/// A device's certificate.
const LEAF_DAYS: i64 = 365;
const AUTHORITY_DAYS: i64 = 3_650;
/// An authority outlives what it issues, with a month to spare.
const RENEWED_DAYS_BEFORE: u64 = 400;
const SECONDS_A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{MockClock, SystemEntropy, TenantId};
    use leadglass_records::{RecordKey, Records};
    use std::{path::Path, sync::Arc};

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn records(dir: &Path) -> TenantRecords {
        let clock = Arc::new(MockClock::at(NOW));
        let records = Records::open(&dir.join("records.redb"), clock, Arc::new(SystemEntropy)).unwrap();
        records.tenant(TenantId::from_bytes([1; 16]), RecordKey::from_bytes([2; 32]))
    }

    fn request() -> String {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
    }

    #[tokio::test]
    async fn an_authority_is_made_once_and_never_lies_open_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let records = records(dir.path());
        let open = async |now| Authorities::open(records.clone(), &MockClock::at(now), &SystemEntropy).await.unwrap();
        let first = open(NOW).await;
        assert_eq!(first.certificates, open(NOW.plus_secs(86_400)).await.certificates);
        let issued = first.issue("ct", &request(), NOW, &SystemEntropy).await.unwrap();
        assert_eq!((issued.ends_ms - NOW.0) / 86_400_000, 365);
        assert_eq!(issued.authority, first.certificates[0]);
        let disk = std::fs::read(dir.path().join("records.redb")).unwrap();
        for needle in [&b"PRIVATE KEY"[..], b"BEGIN CERTIFICATE"] {
            assert!(!disk.windows(needle.len()).any(|w| w == needle));
        }

        let later = open(NOW.plus_secs(9 * 365 * 86_400)).await;
        assert_eq!(later.certificates.len(), 2, "a second one beside the first");
        assert_eq!(later.certificates[0], first.certificates[0]);
        let issued = later.issue("ct", &request(), NOW, &SystemEntropy).await.unwrap();
        assert_eq!(issued.authority, later.certificates[1]);
        let ended = open(NOW.plus_secs(11 * 365 * 86_400)).await;
        assert_eq!(ended.certificates, later.certificates[1..], "the first one has ended");
    }

    #[tokio::test]
    async fn what_is_no_request_gets_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let authorities = Authorities::open(records(dir.path()), &MockClock::at(NOW), &SystemEntropy).await.unwrap();
        let answer = authorities.issue("ct", "no request", NOW, &SystemEntropy).await.unwrap_err();
        assert_eq!((answer.fault, answer.code), (Fault::BadInput, "csr"));
    }
}
