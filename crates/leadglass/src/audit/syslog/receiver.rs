//! A connection to a repository: TLS 1.2 or 1.3, its certificate under the configured authority, ours if it asks.

use crate::config::Syslog;
use anyhow::{Context, bail};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Who takes the messages.
pub(crate) struct Receiver {
    name: String,
    host: String,
    port: u16,
    server: ServerName<'static>,
    tls: TlsConnector,
}

/// A connection.
pub(crate) struct Line(TlsStream<TcpStream>);

impl Receiver {
    /// The configured one.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub(crate) fn of(config: &Syslog) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.ca)? {
            roots.add(certificate).with_context(|| format!("cannot use {}", config.ca.display()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots);
        let tls = match (&config.certificate, &config.key) {
            (Some(chain), Some(key)) => {
                let secret =
                    PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot use {}", key.display()))?;
                let with = builder.with_client_auth_cert(certificates(chain)?, secret);
                with.with_context(|| format!("{} does not fit {}", key.display(), chain.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        let server = ServerName::try_from(config.host.clone()).context("audit.syslog.host is no name or address")?;
        Ok(Self {
            name: format!("{}:{}", config.host, config.port),
            host: config.host.clone(),
            port: config.port,
            server,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    /// `host:port`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> anyhow::Result<Line> {
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("it cannot be reached")?;
            stream.set_nodelay(true)?;
            self.tls.connect(self.server.clone(), stream).await.context("TLS was not agreed on")
        };
        Ok(Line(timeout(CONNECT_TIME, connect).await.context("it does not answer")??))
    }
}

impl Line {
    /// Looks for so long whether the other side ends the connection: `None`, it did not; an error, it did not do it in order.
    pub(super) async fn watch(&mut self, time: Duration) -> Option<anyhow::Result<()>> {
        let mut said = [0; 64];
        match timeout(time, self.0.read(&mut said)).await {
            Err(_) => None,
            Ok(Ok(0)) => Some(Ok(())),
            // RFC 5425 has nothing to say in this direction.
            Ok(Ok(_)) => Some(Err(anyhow::anyhow!("it talks"))),
            Ok(Err(error)) => Some(Err(error.into())),
        }
    }

    /// Writes all.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        timeout(SEND_TIME, write).await.context("it takes nothing")?.context("the connection broke")
    }

    /// Ends the connection and waits until the other side has read to that end.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let end = async {
            self.0.shutdown().await.context("the connection broke")?;
            let mut said = [0; 64];
            match self.0.read(&mut said).await {
                Ok(0) => Ok(()),
                // Not every receiver says `close_notify`. A system that ends a connection with unread bytes resets it.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
                Ok(_) => bail!("it talks"),
                Err(error) => Err(error).context("the connection broke at its end"),
            }
        };
        timeout(END_TIME, end).await.context("it does not confirm")?
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("cannot use {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate", path.display());
    Ok(certificates)
}

const CONNECT_TIME: Duration = Duration::from_secs(10);
const SEND_TIME: Duration = Duration::from_secs(30);
const END_TIME: Duration = Duration::from_secs(30);
