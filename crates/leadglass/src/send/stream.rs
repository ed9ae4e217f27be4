//! The way to the receiver: TCP, or TLS over it.

use anyhow::Context;
use leadglass_dimse::send::{SendError, connect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{fmt, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A receiver.
pub(crate) struct Way {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<TlsConnector>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// TCP or TLS: an association does not care.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Way {
    /// Connects.
    ///
    /// Cancel safety: safe.
    pub(crate) async fn open(&self) -> Result<Box<dyn Duplex>, SendError> {
        let stream = connect((self.host.as_str(), self.port), CONNECT_TIME).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| SendError::Connection(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        match timeout(CONNECT_TIME, tls.connect(name, stream)).await {
            Ok(connected) => Ok(Box::new(connected.map_err(SendError::Connection)?)),
            Err(_) => Err(SendError::Timeout),
        }
    }
}

/// TLS 1.2 and 1.3 towards a receiver that `ca` vouches for, with our own certificate where one is given.
pub(crate) fn connector(ca: &Path, own: Option<(&Path, &Path)>) -> anyhow::Result<TlsConnector> {
    let unusable = |path: &Path| format!("cannot use {}", path.display());
    let certificates = |path: &Path| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        all.with_context(|| unusable(path))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| unusable(ca))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).with_context(|| unusable(key))?;
            builder.with_client_auth_cert(certificates(chain)?, private).with_context(|| unusable(chain))?
        }
    };
    Ok(Arc::new(config).into())
}

const CONNECT_TIME: Duration = Duration::from_secs(10);
