//! The two listeners: HTTPS for everybody, plain HTTP for a proxy on the same host.
//!
//! TLS 1.3 only, hybrid post-quantum key exchange offered first (X25519MLKEM768), certificates read again when their
//! files change. The plain listener refuses any address but a loopback one.

use crate::{
    doorman::{Crowd, Doorman},
    qido::place::{Door, Plain},
};
use axum::Router;
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use leadglass_model::Fault;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where the server's certificate chain and private key lie, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate chain, leaf first.
    pub chain: PathBuf,
    /// Private key, PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// Why a listener could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// Plain HTTP was asked for on an address that others can reach.
    #[error("plain HTTP is only served on a loopback address, and {address} is none")]
    PlainNotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Certificate or key cannot be read or do not fit together.
    #[error("cannot use the certificate {chain}")]
    Certificate {
        /// The file.
        chain: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ServeError {
    /// [`Fault::BadInput`] for what the configuration got wrong, else [`Fault::Broken`].
    pub const fn fault(&self) -> Fault {
        match self {
            Self::PlainNotLoopback { .. } | Self::Certificate { .. } => Fault::BadInput,
            Self::Bind { .. } => Fault::Broken,
        }
    }
}

/// Starts HTTPS on `address` (port 0: any) and gives the bound address. Runs until `stop`, then drains.
pub fn serve_tls(
    address: SocketAddr,
    identity: &Identity,
    routes: Router,
    crowd: Crowd,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    let config = RustlsConfig::from_config(Arc::new(load(identity)?));
    let (listener, bound) = bind(address)?;
    let routes = routes.layer(axum::Extension(Door(bound.port())));
    let handle = Handle::new();
    tasks.spawn(reload_when_changed(identity.clone(), config.clone(), stop.clone()));
    tasks.spawn(drain(handle.clone(), stop));
    tasks.spawn(async move {
        let acceptor = RustlsAcceptor::new(config).acceptor(Doorman::new(crowd));
        let mut server = match axum_server::from_tcp(listener) {
            Ok(server) => server.acceptor(acceptor).handle(handle),
            Err(error) => return tracing::error!(%error, "HTTPS listener failed"),
        };
        limit(server.http_builder());
        if let Err(error) = server.serve(routes.into_make_service_with_connect_info::<SocketAddr>()).await {
            tracing::error!(%error, "HTTPS listener failed");
        }
    });
    Ok(bound)
}

/// Starts plain HTTP on a loopback `address` (port 0: any) and gives the bound address. Runs until `stop`, then drains.
pub fn serve_plain(
    address: SocketAddr,
    routes: Router,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::PlainNotLoopback { address });
    }
    let (listener, bound) = bind(address)?;
    let handle = Handle::new();
    let routes = routes.layer(axum::Extension(Plain)).layer(axum::Extension(Door(bound.port())));
    tasks.spawn(drain(handle.clone(), stop));
    tasks.spawn(async move {
        let mut server = match axum_server::from_tcp(listener) {
            Ok(server) => server.acceptor(Doorman::new(Crowd::default())).handle(handle),
            Err(error) => return tracing::error!(%error, "plain listener failed"),
        };
        limit(server.http_builder());
        if let Err(error) = server.serve(routes.into_make_service_with_connect_info::<SocketAddr>()).await {
            tracing::error!(%error, "plain listener failed");
        }
    });
    Ok(bound)
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|source| ServeError::Bind { address, source })
}

fn limit(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .keep_alive_timeout(KEEP_ALIVE);
}

async fn drain(handle: Handle<SocketAddr>, stop: CancellationToken) {
    stop.cancelled().await;
    handle.graceful_shutdown(Some(DRAIN_TIME));
}

fn load(identity: &Identity) -> Result<rustls::ServerConfig, ServeError> {
    let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let chain = CertificateDer::pem_file_iter(&identity.chain)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&identity.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    };
    read().map_err(|source| ServeError::Certificate { chain: identity.chain.clone(), source })
}

/// Looks at the files' times twice a minute; a file that does not parse leaves the old certificate in use.
async fn reload_when_changed(identity: Identity, config: RustlsConfig, stop: CancellationToken) {
    let mut seen = changed_at(&identity);
    let mut tick = tokio::time::interval(RELOAD_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = changed_at(&identity);
        if now == seen {
            continue;
        }
        match load(&identity) {
            Ok(fresh) => {
                config.reload_from_config(Arc::new(fresh));
                seen = now;
                tracing::info!("TLS certificate read again");
            }
            Err(error) => tracing::warn!(%error, "changed TLS certificate does not read; the old one stays"),
        }
    }
}

fn changed_at(identity: &Identity) -> [Option<SystemTime>; 2] {
    let of = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    [of(&identity.chain), of(&identity.key)]
}

// SECURITY limits: 16 KiB and 64 headers within 10 s; 64 streams a connection.
const HEADER_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
// What a connection of HTTP/1.1 may make us hold before its head is whole; `head::bounded` measures the head itself. Bodies go
// through the same buffer, so it is larger than a head.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
const MAX_STREAMS: u32 = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const DRAIN_TIME: Duration = Duration::from_secs(20);
const RELOAD_EVERY: Duration = Duration::from_secs(30);
