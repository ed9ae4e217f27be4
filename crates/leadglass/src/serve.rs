//! `leadglass serve`: one vault node.

use crate::{
    activity, alarms,
    audit::syslog,
    backup,
    config::Config,
    devices::{self, Book, Doors, Gate, Rules},
    files,
    intake::Door,
    node::{Layout, Node},
    oidc::Providers,
    patrol::patrol,
    people,
};
use anyhow::Context;
use leadglass_dimse::{Echo, Limits, Listener, Service, Storage, StoragePolicy, Transport};
use leadglass_engine::{Activity, Refusals, Rooms};
use leadglass_model::SystemEntropy;
use leadglass_records::Sessions;
use leadglass_web::{App, Crowd, Fronts, Identity, Origins, Renderer, Site};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Runs a vault node until SIGTERM or SIGINT; a second signal ends it at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file; `deploy/vault.toml` is a sample.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Writes the bound addresses as JSON once everything serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Stops when standard input closes: for a supervisor whose death must not leave a node behind.
    #[arg(long)]
    stdin_guard: bool,
}

/// Where a node serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// DICOM in clear.
    pub dicom: SocketAddr,
    /// DICOM over TLS.
    pub dicom_tls: Option<SocketAddr>,
    /// HTTPS.
    pub http: SocketAddr,
    /// Plain HTTP on loopback.
    pub plain: Option<SocketAddr>,
    /// OHIF, by HTTPS.
    #[serde(default)]
    pub viewer: Option<SocketAddr>,
    /// `/metrics` without a token, on loopback.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .context("the metrics recorder is installed twice")?;
    // `stop` begins the end; work that is tracked finishes what it has begun.
    let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
    let ending = first_word(args.stdin_guard);
    tokio::pin!(ending);
    let node = tokio::select! {
        node = Node::start(&config, stop.clone()) => node?,
        why = &mut ending => {
            tracing::info!("{why}; the node had not started yet");
            return Ok(ExitCode::SUCCESS);
        }
    };

    activity::begun(&node.engine, &node.records.tokens(), &config).await?;
    connections.spawn(activity::watch_clock(node.engine.clone(), stop.clone()));
    let refusals = node.engine.refusals(stop.clone());
    let book = Book::open(&config, node.engine.clone(), node.tenant_records.clone(), connections.clone()).await?;
    let dicom = listen_dicom(&config, &node, &book, &refusals, &connections, &stop).await?;
    let (people, sessions) = people::open(&config, &node, connections.clone()).await?;
    connections.spawn(settle(sessions.clone(), stop.clone()));
    connections.spawn(people::watch(people.clone(), node.engine.clone(), stop.clone()));
    connections.spawn(sum_up(metrics.clone(), stop.clone()));
    for carrier in alarms::carriers(&config.alarms)? {
        connections.spawn(alarms::carry(carrier, node.engine.alarms(), stop.clone()));
    }
    if let Some(repository) = &config.audit.syslog {
        let follower = syslog::Follower::open(repository, node.engine.clone(), &config.data)?;
        connections.spawn(follower.follow(stop.clone()));
    }
    connections.spawn(patrol(node.engine.clone(), node.records.tokens(), stop.clone()));
    let desk = backup::Desk {
        engine: node.engine.clone(),
        index: node.index.clone(),
        records: node.records.clone(),
        layout: Layout::of(&config)?,
        data: config.data.clone(),
        config: args.config.clone(),
        tenants: config.tenants.iter().map(|tenant| tenant.id).collect(),
    };
    connections.spawn(backup::serve(desk, stop.clone()));
    let app = App {
        engine: node.engine.clone(),
        tokens: Arc::new(node.records.tokens()),
        sessions: sessions.clone(),
        sign_in_by_token: config.sessions.take_tokens(),
        people,
        providers: Arc::new(Providers::of(&config)?),
        devices: Arc::new(book),
        refusals,
        origins: Arc::new(Origins {
            hosts: config.hosts().unwrap_or_default(),
            fronts: Fronts::new(config.http.fronts.iter().copied()),
            ..Origins::default()
        }),
        renderer: renderer(config.decode_without_filter),
        decoded: Arc::new(Rooms::new(DECODED_KIB)),
        metrics,
    };
    let origins = app.origins.clone();
    let routes = leadglass_web::routes(app.clone());
    let identity = Identity { chain: config.http.certificate.clone(), key: config.http.key.clone() };
    let crowd = Crowd {
        per_address: config.limits.http_connections_per_address,
        from_this_host: config.limits.http_connections_from_this_host,
    };
    let listen =
        |address, routes| leadglass_web::serve_tls(address, &identity, routes, crowd, &connections, stop.clone());
    let http = listen(config.http.listen, routes.clone())?;
    let plain = match config.http.plain {
        Some(address) => Some(leadglass_web::serve_plain(address, routes, &connections, stop.clone())?),
        None => None,
    };
    let metrics = match config.http.metrics {
        Some(address) => {
            let routes = leadglass_web::monitor_routes(app.clone());
            Some(leadglass_web::serve_plain(address, routes, &connections, stop.clone())?)
        }
        None => None,
    };
    let viewer = match &config.viewer {
        Some(viewer) => {
            let site = tokio::task::block_in_place(|| Site::open(&viewer.dir)).context("cannot serve the viewer")?;
            let routes = leadglass_web::viewer_routes(app, site);
            Some(listen(viewer.listen, routes)?)
        }
        None => None,
    };
    // Each origin names the other; browsers come after both are there.
    let _ = origins.console.set(http.port());
    if let Some(viewer) = viewer {
        let _ = origins.viewer.set(viewer.port());
    }
    let addresses = Addresses { dicom: dicom.0, dicom_tls: dicom.1, http, plain, viewer, metrics };
    tracing::info!(dicom = %addresses.dicom, http = %addresses.http, "the vault serves");
    if let Some(path) = &args.ready_file {
        files::write_json(path, &addresses)?;
    }

    tracing::info!("{}; draining", ending.await);
    stop.cancel();
    connections.close();
    let calm = async {
        connections.wait().await;
        if let Err(error) = node.engine.record_activity(&[Activity::Stopped]).await {
            tracing::warn!(%error, "the end could not be recorded");
        }
        node.finish().await;
    };
    tokio::select! {
        () = calm => tracing::info!("drained"),
        () = second_signal() => tracing::warn!("second signal: ending now; the journal keeps what was acknowledged"),
        () = tokio::time::sleep(DRAIN_TIME) => tracing::warn!("not drained in time; the journal keeps the rest"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes pictures in processes of this very program, as it was when this one started.
fn renderer(unfiltered: bool) -> Renderer {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_RENDER_WORKERS));
    let allowed = unfiltered.then(|| "--unfiltered".into());
    Renderer::new("/proc/self/exe", std::iter::once("render-worker".into()).chain(allowed).collect(), workers)
}

async fn listen_dicom(
    config: &Config,
    node: &Node,
    book: &Book,
    refusals: &Refusals,
    connections: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
    let rules = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    let policy = StoragePolicy {
        private_sop_classes: rules(&config.dicom.private_sop_classes)?,
        private_transfer_syntaxes: rules(&config.dicom.private_transfer_syntaxes)?,
    };
    let door = Door { engine: node.engine.clone(), habits: book.habits(), refusals: refusals.clone() };
    connections.spawn(book.habits().keep(stop.clone()));
    let services: Vec<Arc<dyn Service>> = vec![Arc::new(Echo), Arc::new(Storage::new(policy, Arc::new(door)))];
    let limits = Limits {
        associations: config.limits.associations,
        associations_per_ip: config.limits.associations_per_address,
        associations_per_loopback_ip: config.limits.associations_from_this_host,
        associations_per_ae: config.limits.associations_per_device,
        idle_timeout: config.limits.association_idle,
        rate_window: config.limits.sender_rate_window,
        min_bytes_per_second: config.limits.sender_bytes_per_second,
        ..Limits::default()
    };
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let (mut sockets, mut ports) = (Vec::new(), Vec::new());
    for port in &config.dicom.tenant_ports {
        let socket = bind(port.listen).await?;
        ports.push((socket.local_addr()?.port(), port.tenant));
        sockets.push(socket);
    }
    let mut fixed: BTreeSet<u16> = ports.iter().map(|(port, _)| *port).collect();
    let gate = Gate::new(Rules::of(config, ports, book.roll())?, refusals.clone());
    let listener = Arc::new(Listener::new(limits, Arc::new(gate), services, Arc::new(SystemEntropy)));
    for socket in sockets {
        connections.spawn(listener.clone().run(socket, Transport::Plain, connections.clone(), stop.clone()));
    }

    let listen = async |address: SocketAddr, transport| -> anyhow::Result<SocketAddr> {
        let socket = bind(address).await?;
        let bound = socket.local_addr()?;
        let run = listener.clone().run(socket, transport, connections.clone(), stop.clone());
        connections.spawn(run);
        Ok(bound)
    };
    let plain = listen(config.dicom.listen, Transport::Plain).await?;
    let tls = match &config.dicom.tls {
        Some(tls) => {
            let (acceptor, identity) = devices::acceptor(tls, book)?;
            connections.spawn(identity.follow(stop.clone()));
            Some(listen(tls.listen, Transport::Tls(acceptor)).await?)
        }
        None => None,
    };
    fixed.extend([Some(plain), tls].into_iter().flatten().map(|address| address.port()));
    let host = config.dicom.listen.ip();
    book.open_doors(Doors::new(listener.clone(), host, connections.clone(), stop.clone(), fixed)).await;
    connections.spawn(book.clone().remind(stop.clone()));
    Ok((plain, tls))
}

/// Writes when browsers were last used, and forgets those that are signed out, now and then and at the end.
async fn settle(sessions: Sessions, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SETTLE_EVERY);
    loop {
        let over = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        if let Err(error) = sessions.settle().await {
            tracing::warn!(%error, "sessions were not written; they go on from memory");
        }
        if over {
            return;
        }
    }
}

/// Sums up what was measured, or every request would leave its time in memory until somebody looks at the metrics.
async fn sum_up(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SUM_UP_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => metrics.run_upkeep(),
        }
    }
}

/// Waits for the first reason to stop.
async fn first_word(stdin_guard: bool) -> &'static str {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        _ => return "signals cannot be heard",
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = stdin_closed(), if stdin_guard => "standard input closed",
    }
}

async fn second_signal() {
    first_word(false).await;
}

/// A thread of its own: a blocked read of standard input must not hold up the runtime's end.
async fn stdin_closed() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while std::io::Read::read(&mut std::io::stdin(), &mut buffer).is_ok_and(|n| n > 0) {}
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// What a power cut forgets of a session's last use.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
const SUM_UP_EVERY: Duration = Duration::from_secs(5);
/// Longer than any request should take; what is left then is replayed at the next start.
const DRAIN_TIME: Duration = Duration::from_secs(25);
/// Each may take a GiB for a large frame.
const MAX_RENDER_WORKERS: usize = 4;
/// Decoded frames on their way to all clients.
const DECODED_KIB: usize = 384 << 10;
