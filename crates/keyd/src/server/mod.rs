//! The one port: mutual TLS 1.3, HTTP/2, nothing else. Starts sealed; until it is unsealed it answers health and unseal.

mod control_socket;
mod problem;
mod routes;
mod tls;

pub use tls::TlsError;

use crate::{
    config::{Config, ProviderConfig},
    layout::Layout,
    provider::{Passphrase, SealProvider},
    refusal::Refusal,
    service::{Service, Started},
    setup,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use leadglass_keys::wire::{self, ProblemCode};
use leadglass_model::{Clock, Entropy};
use parking_lot::RwLock;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The server: sealed or not.
pub struct Server {
    layout: Layout,
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    credentials_directory: Option<PathBuf>,
    started: std::time::Instant,
    service: RwLock<Option<Arc<Service>>>,
    unsealing: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The open port.
pub struct Bound {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bound({})", self.addr)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.layout.root().display())
    }
}

impl Server {
    /// A sealed server over a data directory.
    pub fn new(
        layout: Layout,
        config: Config,
        credentials_directory: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Self> {
        Arc::new(Self {
            layout,
            config,
            clock,
            entropy,
            credentials_directory,
            started: std::time::Instant::now(),
            service: RwLock::new(None),
            unsealing: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Cancelled by whoever wants the server to drain and end.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The unsealed service, or the refusal that everybody hears until then.
    pub fn service(&self) -> Result<Arc<Service>, Refusal> {
        self.service.read().clone().ok_or_else(|| Refusal::new(ProblemCode::Sealed, "the key service is sealed"))
    }

    /// Whether it unseals without a hand.
    pub fn unseals_itself(&self) -> bool {
        !matches!(self.config.provider, ProviderConfig::Passphrase { .. })
    }

    /// Unseals, with a passphrase where the provider is one. One attempt at a time: each takes the memory of a stretching.
    pub async fn unseal(self: &Arc<Self>, passphrase: Option<Passphrase>) -> Result<(), Refusal> {
        let _one = self.unsealing.lock().await;
        if self.service.read().is_some() {
            return Ok(());
        }
        let missing = || Refusal::new(ProblemCode::BadRequest, "a passphrase is needed");
        let provider: Box<dyn SealProvider> = setup::provider(
            &self.layout,
            &self.config,
            self.credentials_directory.as_deref(),
            Arc::clone(&self.entropy),
            || passphrase.ok_or_else(missing),
        )?;
        let started = Started {
            layout: self.layout.clone(),
            config: self.config.clone(),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        };
        let opened = tokio::task::spawn_blocking(move || Service::open(started, provider)).await;
        let service = match opened.map_err(Refusal::broken)? {
            Ok(service) => service,
            Err(error) => {
                tracing::error!(alarm = "unseal", error = %error, "The key service was not unsealed");
                return Err(Refusal::from_open(error));
            }
        };
        let backups = Arc::clone(&service).keep_backups(self.stop.clone());
        self.tasks.spawn(backups);
        let epochs = Arc::clone(&service).keep_epochs(self.stop.clone());
        self.tasks.spawn(epochs);
        service.backup_wanted.notify_one();
        *self.service.write() = Some(service);
        tracing::info!("Unsealed");
        Ok(())
    }

    /// What `GET /v1/health` says.
    pub fn health(&self) -> wire::Health {
        let service = self.service.read();
        wire::Health {
            sealed: service.is_none(),
            epoch: service.as_ref().map(|s| s.epoch().number.get()),
            uptime_s: self.started.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Reads the certificates, opens port and control socket: afterwards whoever connects is heard.
    pub async fn bind(self: &Arc<Self>) -> Result<Bound, TlsError> {
        let acceptor = TlsAcceptor::from(tls::server_config(&self.layout)?);
        let listener = TcpListener::bind(self.config.listen).await.map_err(TlsError::Port)?;
        let addr = listener.local_addr().map_err(TlsError::Port)?;
        control_socket::listen(self)?;
        Ok(Bound { listener, acceptor, addr })
    }

    /// Serves until the stop token is cancelled, then lets calls under way finish.
    pub async fn serve(self: Arc<Self>, bound: Bound) {
        let Bound { listener, acceptor, .. } = bound;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "A connection could not be accepted");
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!(limit = MAX_CONNECTIONS, "Too many connections; one was dropped");
                continue;
            };
            let (server, acceptor) = (Arc::clone(&self), acceptor.clone());
            self.tasks.spawn(async move {
                server.connection(acceptor, stream).await;
                drop(place);
            });
        }
        drop(listener);
        self.tasks.close();
        if tokio::time::timeout(DRAIN_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("Connections were still open when the time to drain was over");
        }
        self.service.write().take();
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let _no_delay = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
        let Ok(Ok(stream)) = handshake else {
            tracing::info!("A TLS handshake failed");
            return;
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(key_hash) = certificate.and_then(|c| crate::ca::key_hash(c)) else {
            tracing::warn!("A client's certificate cannot be read");
            return;
        };
        let app = routes::router(Arc::clone(&self), key_hash);
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ended = connection.as_mut() => {}
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ended = connection.await;
            }
        }
    }
}

const MAX_CONNECTIONS: usize = 256;
/// Calls at once on one connection; each holds at most a request of 128 KiB and an answer of 512 KiB.
const MAX_STREAMS: u32 = 64;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
