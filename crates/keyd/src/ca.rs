//! The small certificate authority behind mutual TLS.
//!
//! Its private key stands in the keyring, so a stolen data directory cannot issue. A certificate only gets a client through
//! the handshake; what it may do hangs on the SHA-256 of its public key, enrolled with `client add`. A renewed certificate
//! over the same key pair keeps its enrolment.

use crate::{
    disk::{self, DiskError},
    keyring::{Authority, PrivatePem},
};
use leadglass_model::{Fault, UnixMillis};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, path::Path};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeafKind {
    /// The key service's own, with the names that clients call it by.
    Server {
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
    /// A client's.
    Client,
}

/// A certificate that was issued.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS#8 PEM; the one that was given, or a fresh one.
    pub key_pem: PrivatePem,
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal: what `client add` takes.
    pub key_hash: String,
    /// Until when it is valid.
    pub not_after: UnixMillis,
}

/// Why a certificate could not be issued or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A name that cannot stand in a certificate.
    #[error("a certificate's name is a DNS name or an IP address")]
    Name,
    /// The private key given cannot be read.
    #[error("the private key cannot be read")]
    Key,
    /// The certificate cannot be read.
    #[error("the certificate cannot be read")]
    Certificate,
    /// Making or signing failed.
    #[error("the certificate could not be made")]
    Issue(#[source] rcgen::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl CaError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Name | Self::Key | Self::Certificate => Fault::BadInput,
            Self::Issue(_) => Fault::Broken,
            Self::Disk(source) => source.fault(),
        }
    }
}

/// Makes an authority that is valid for ten years.
pub fn init(label: &str, now: UnixMillis) -> Result<Authority, CaError> {
    let key = KeyPair::generate().map_err(CaError::Issue)?;
    let mut params = params(label, now, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(CaError::Issue)?;
    Ok(Authority { certificate_pem: certificate.pem(), key_pem: PrivatePem(key.serialize_pem().into_boxed_str()) })
}

/// Issues a certificate for 90 days, over a fresh key pair or the one in `existing_key`.
pub fn issue(
    authority: &Authority,
    label: &str,
    kind: &LeafKind,
    existing_key: Option<&Path>,
    now: UnixMillis,
) -> Result<Issued, CaError> {
    let key = match existing_key {
        None => KeyPair::generate().map_err(CaError::Issue)?,
        Some(path) => {
            let bytes = Zeroizing::new(disk::read_bounded(path, MAX_PEM_BYTES)?);
            let pem = std::str::from_utf8(&bytes).map_err(|_| CaError::Key)?;
            KeyPair::from_pem(pem).map_err(|_| CaError::Key)?
        }
    };
    let authority_key = KeyPair::from_pem(&authority.key_pem.0).map_err(|_| CaError::Key)?;
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate_pem, authority_key).map_err(|_| CaError::Certificate)?;
    let mut params = params(label, now, LEAF_DAYS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match kind {
        LeafKind::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        LeafKind::Server { names } => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            for name in names {
                params.subject_alt_names.push(match name.parse::<IpAddr>() {
                    Ok(ip) => SanType::IpAddress(ip),
                    Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|_| CaError::Name)?),
                });
            }
        }
    }
    let not_after = params.not_after;
    let certificate = params.signed_by(&key, &issuer).map_err(CaError::Issue)?;
    let millis = not_after.unix_timestamp().max(0).unsigned_abs().saturating_mul(1000);
    Ok(Issued {
        key_hash: hex::encode(key_hash(certificate.der()).ok_or(CaError::Certificate)?),
        certificate_pem: certificate.pem(),
        key_pem: PrivatePem(key.serialize_pem().into_boxed_str()),
        not_after: UnixMillis(millis),
    })
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo: a client's identity. `None` for bytes that are no certificate.
pub fn key_hash(certificate_der: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate_der).ok()?;
    Some(Sha256::digest(certificate.tbs_certificate.subject_pki.raw).into())
}

/// The identity of the first certificate in a PEM file.
pub fn key_hash_of_file(path: &Path) -> Result<[u8; 32], CaError> {
    let pem = disk::read_bounded(path, MAX_PEM_BYTES)?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| CaError::Certificate)?;
    key_hash(&block.contents).ok_or(CaError::Certificate)
}

fn params(label: &str, now: UnixMillis, days: i64) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(CaError::Issue)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, label);
    params.distinguished_name = name;
    let seconds = i64::try_from(now.0 / 1000).map_err(|_| CaError::Name)?;
    let start = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| CaError::Name)?;
    // Clocks of two hosts differ; an hour back lets both see it as valid.
    params.not_before = start - Duration::hours(1);
    params.not_after = start + Duration::days(days);
    Ok(params)
}

const LEAF_DAYS: i64 = 90;
const AUTHORITY_DAYS: i64 = 3650;
const MAX_PEM_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_certificate_over_the_same_key_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixMillis(1_800_000_000_000);
        let authority = init("test", now).unwrap();
        let first = issue(&authority, "vault", &LeafKind::Client, None, now).unwrap();
        let key = dir.path().join("key.pem");
        disk::replace(&key, first.key_pem.0.as_bytes()).unwrap();
        let again = issue(&authority, "vault", &LeafKind::Client, Some(&key), now.plus_secs(60)).unwrap();
        assert_eq!(first.key_hash, again.key_hash);
        assert_ne!(first.certificate_pem, again.certificate_pem);
        let other = issue(&authority, "vault", &LeafKind::Client, None, now).unwrap();
        assert_ne!(first.key_hash, other.key_hash);
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        let authority = init("test", UnixMillis(1_800_000_000_000)).unwrap();
        let kind = LeafKind::Server { names: vec!["näme".to_owned()] };
        assert!(matches!(issue(&authority, "x", &kind, None, UnixMillis(1_800_000_000_000)), Err(CaError::Name)));
    }
}
