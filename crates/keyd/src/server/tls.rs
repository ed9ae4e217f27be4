//! TLS 1.3 with client certificates of our own authority, one provider: aws-lc-rs.

use crate::{
    disk::{self, DiskError},
    layout::Layout,
};
use leadglass_model::Fault;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::PathBuf, sync::Arc};
use zeroize::Zeroizing;

/// Why the port does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no server certificate yet.
    #[error("{} is missing: run `leadglass-keyd ca init` and `leadglass-keyd ca issue server`", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A PEM file cannot be read.
    #[error("{} is not the PEM file that it should be", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
    },
    /// rustls does not take certificate and key.
    #[error("certificate and key do not fit")]
    Unfit(#[source] rustls::Error),
    /// The authority's certificate is of no use.
    #[error("the authority's certificate cannot verify clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The port is taken, or not ours to take.
    #[error("the port could not be opened")]
    Port(#[source] std::io::Error),
    /// The control socket could not be made.
    #[error("the control socket could not be made")]
    Control(#[source] std::io::Error),
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl TlsError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing { .. } => Fault::Missing,
            Self::Pem { .. } | Self::Unfit(_) | Self::Verifier(_) => Fault::BadInput,
            Self::Port(_) => Fault::Conflict,
            Self::Control(_) => Fault::Broken,
            Self::Disk(source) => source.fault(),
        }
    }
}

/// The server's side of the handshake.
pub(super) fn server_config(layout: &Layout) -> Result<Arc<ServerConfig>, TlsError> {
    let (ca, chain, key) = (layout.ca_certificate(), layout.server_certificate(), layout.server_key());
    let read = |path: &PathBuf| -> Result<Zeroizing<Vec<u8>>, TlsError> {
        if !path.exists() {
            return Err(TlsError::Missing { path: path.clone() });
        }
        Ok(Zeroizing::new(disk::read_bounded(path, MAX_PEM_BYTES)?))
    };
    let pem = |path: &PathBuf| TlsError::Pem { path: path.clone() };
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().map_err(|_| pem(path))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca)? {
        roots.add(certificate).map_err(TlsError::Unfit)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let private = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|_| pem(&key))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&chain)?, private)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would carry an identity past its revocation of trust; a handshake costs a millisecond.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

const MAX_PEM_BYTES: u64 = 64 * 1024;
