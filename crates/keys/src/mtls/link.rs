//! The one connection: made when needed, shared by all calls, made again when it broke or our certificate changed.

use super::{IdentityError, IdentityFiles, identity::Identity};
use crate::ServiceError;
use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{Request, Response, uri::Authority};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use leadglass_model::{Clock, UnixMillis};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

type Sender = http2::SendRequest<Full<Bytes>>;
type Connecting = Shared<BoxFuture<'static, Result<Sender, ServiceError>>>;

/// Requests wait for one connection attempt together; it runs in a task, so that a caller who leaves does not spoil it.
pub(super) struct Link {
    target: Target,
    files: IdentityFiles,
    state: Arc<Mutex<State>>,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct State {
    connection: Option<Connecting>,
    /// The identity that last could be used: a file caught half written does not cost the connection.
    identity: Identity,
    identity_read_at: UnixMillis,
}

#[derive(Clone)]
struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Link {
    pub(super) fn new(
        authority: &Authority,
        files: IdentityFiles,
        connect_timeout: Duration,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, IdentityError> {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let target = Target {
            name: ServerName::try_from(host.clone()).map_err(|_| IdentityError::Address)?,
            port: authority.port_u16().ok_or(IdentityError::Address)?,
            host,
        };
        let state = State { connection: None, identity: files.load()?, identity_read_at: clock.now() };
        Ok(Self { target, files, state: Arc::new(Mutex::new(state)), connect_timeout, clock, tasks, stop })
    }

    /// Sends over the connection that stands, or over a new one. A request that the old connection surely did not
    /// take is sent once more over a new one; others are never repeated.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ServiceError> {
        self.follow_identity().await;
        let mut request = request;
        let mut fresh = false;
        loop {
            let mut sender = self.sender().await?;
            if let Err(e) = sender.ready().await {
                if fresh {
                    return Err(ServiceError::Away { source: Arc::new(e) });
                }
            } else {
                match sender.try_send_request(request).await {
                    Ok(response) => return Ok(response),
                    Err(mut refused) => match refused.take_message() {
                        Some(unsent) if !fresh => request = unsent,
                        Some(_) => return Err(ServiceError::Away { source: Arc::new(refused.into_error()) }),
                        None => return Err(ServiceError::Lost { source: Arc::new(refused.into_error()) }),
                    },
                }
            }
            fresh = true;
        }
    }

    async fn sender(&self) -> Result<Sender, ServiceError> {
        let connecting = {
            let mut state = self.state.lock();
            let standing = state.connection.as_ref().filter(|c| match c.peek() {
                Some(Ok(sender)) => !sender.is_closed(),
                Some(Err(_)) => false,
                None => true,
            });
            match standing {
                Some(connection) => connection.clone(),
                None => {
                    let connection = self.connect(&state.identity);
                    state.connection = Some(connection.clone());
                    connection
                }
            }
        };
        connecting.await
    }

    fn connect(&self, identity: &Identity) -> Connecting {
        let (target, tls) = (self.target.clone(), TlsConnector::from(identity.config.clone()));
        let (timeout, tasks, stop) = (self.connect_timeout, self.tasks.clone(), self.stop.clone());
        let attempt = self.tasks.spawn(async move {
            let connection = tokio::time::timeout(timeout, handshake(&target, &tls)).await;
            let (sender, driver) = connection.unwrap_or_else(|e| Err(away(e)))?;
            tasks.spawn(async move {
                tokio::select! {
                    ended = driver => match ended {
                        Ok(()) => info!("The connection to the key service ended"),
                        Err(error) => warn!(%error, "The connection to the key service broke"),
                    },
                    () = stop.cancelled() => {}
                }
            });
            Ok(sender)
        });
        async move { attempt.await.unwrap_or_else(|e| Err(away(e))) }.boxed().shared()
    }

    /// Looks at the files now and then; when they changed, the next call uses them. Calls under way keep their connection.
    async fn follow_identity(&self) {
        let now = self.clock.now();
        {
            let mut state = self.state.lock();
            if now.millis_since(state.identity_read_at) < IDENTITY_CHECK_MS {
                return;
            }
            state.identity_read_at = now;
        }
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || files.load()).await {
            Ok(Ok(identity)) => {
                let mut state = self.state.lock();
                if identity.digest != state.identity.digest {
                    info!("The client certificate changed; the next call connects anew");
                    state.identity = identity;
                    state.connection = None;
                }
            }
            Ok(Err(error)) => warn!(%error, "The client certificate cannot be read again; the one in memory stays"),
            Err(_) => warn!("Reading the client certificate was given up"),
        }
    }
}

type Driver = http2::Connection<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, Full<Bytes>, TokioExecutor>;

async fn handshake(target: &Target, tls: &TlsConnector) -> Result<(Sender, Driver), ServiceError> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(away)?;
    tcp.set_nodelay(true).map_err(away)?;
    let stream = tls.connect(target.name.clone(), tcp).await.map_err(away)?;
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(away)
}

fn away(source: impl std::error::Error + Send + Sync + 'static) -> ServiceError {
    ServiceError::Away { source: Arc::new(source) }
}

/// How often the identity files are looked at, in milliseconds.
const IDENTITY_CHECK_MS: u64 = 30_000;
/// A silent peer is asked so often whether it is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// It has so long to say so.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
