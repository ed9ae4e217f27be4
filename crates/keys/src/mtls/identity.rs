//! The client's certificate and key, and the authority it trusts.

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

/// Three PEM files. They may be replaced while the program runs: a renewal keeps the key pair, so the identity (the
/// SHA-256 of the SubjectPublicKeyInfo) stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Certificates of the private authority that the key service's certificate must come from.
    pub ca: PathBuf,
    /// Our certificate, and intermediates after it.
    pub cert: PathBuf,
    /// Our private key.
    pub key: PathBuf,
}

/// Why the client's identity cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no PEM of the expected kind.
    #[error("{path} does not hold the PEM that is expected there")]
    Pem {
        /// Which.
        path: PathBuf,
    },
    /// Certificate, key and authority do not make a TLS identity.
    #[error("certificate and key cannot be used")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authority has no port, or its host is no name that a certificate can bear.
    #[error("the key service's address is not host:port")]
    Address,
}

/// What stands in the files.
pub(super) struct Identity {
    pub(super) config: Arc<ClientConfig>,
    /// SHA-256 of the files: says whether they changed.
    pub(super) digest: [u8; 32],
}

impl IdentityFiles {
    /// Reads the files (blocking).
    pub(super) fn load(&self) -> Result<Identity, IdentityError> {
        let (ca, cert, key) = (read(&self.ca)?, read(&self.cert)?, read(&self.key)?);
        let mut hash = Sha256::new();
        for file in [&ca, &cert, &key] {
            hash.update((file.len() as u64).to_be_bytes());
            hash.update(file.as_slice());
        }
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca, &ca)? {
            roots.add(root).map_err(|source| IdentityError::Tls { source })?;
        }
        let chain = certificates(&self.cert, &cert)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| IdentityError::Pem { path: self.key.clone() })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|source| IdentityError::Tls { source })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A connection is kept for hours; a full handshake each time keeps the peer's identity simple.
        config.resumption = Resumption::disabled();
        Ok(Identity { config: Arc::new(config), digest: hash.finalize().into() })
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(IdentityError::Pem { path: path.to_owned() }),
    }
}
