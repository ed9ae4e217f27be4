//! DICOM over TLS (PS3.15 B.12, "BCP 195 RFC 8996, 9325"): TLS 1.2 with ECDHE and an AEAD, and TLS 1.3.
//!
//! A sender must show a certificate of the vault's own authority or of the customer's; that it is good and not past its end
//! is checked here, whose it is at the [gate](super::gate). Sessions are not resumed: a resumed session would not look at
//! the certificate again, and an association lasts longer than a handshake. Neither are they renegotiated, which the TLS
//! library does not know. The vault's own certificate is read again when its file changes.

use super::book::Book;
use crate::config::DicomTls;
use anyhow::Context;
use parking_lot::RwLock;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The certificate that the vault shows.
#[derive(Debug)]
pub struct Identity {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What a TLS port needs: how to accept, and the certificate to look after.
pub fn acceptor(tls: &DicomTls, book: &Book) -> anyhow::Result<(TlsAcceptor, Arc<Identity>)> {
    let mut roots = RootCertStore::empty();
    for pem in book.authorities() {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?).context("the devices' authority is unusable")?;
    }
    if let Some(path) = &tls.client_ca {
        for certificate in certificates(path)? {
            roots.add(certificate).with_context(|| format!("cannot use {}", path.display()))?;
        }
    }
    let identity = Arc::new(Identity::read(tls.certificate.clone(), tls.key.clone())?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.clone());
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config).into(), identity))
}

impl Identity {
    fn read(chain: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let current = RwLock::new(Arc::new(load(&chain, &key)?));
        Ok(Self { chain, key, current })
    }

    /// Looks at the files' times now and then, until `stop`; a file that does not read leaves the old certificate in use.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.changed_at();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = self.changed_at();
            if now == seen {
                continue;
            }
            match load(&self.chain, &self.key) {
                Ok(fresh) => {
                    *self.current.write() = Arc::new(fresh);
                    seen = now;
                    tracing::info!("certificate of DICOM over TLS read again");
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "a changed certificate does not read; the old one stays"
                    );
                }
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        let of = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        [of(&self.chain), of(&self.key)]
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

fn load(chain: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot use {}", key.display()))?;
    let chain = certificates(chain)?;
    Ok(CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())?)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    all.with_context(|| format!("cannot use {}", path.display()))
}

const LOOK_EVERY: Duration = Duration::from_secs(30);
