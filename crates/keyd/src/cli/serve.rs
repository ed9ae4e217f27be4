//! `serve`.

use super::{args::Serve, print};
use crate::{
    config::Config,
    disk::{self, DirLock, Taken},
    hygiene,
    layout::Layout,
    refusal::Refusal,
    server::Server,
};
use leadglass_keys::wire::ProblemCode;
use leadglass_model::{SystemClock, SystemEntropy};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs the service until a signal, or until stdin closes where that is asked for.
pub(super) fn serve(layout: Layout, credentials: Option<PathBuf>, serve: &Serve) -> Result<(), Refusal> {
    let mut config = Config::read(&serve.config.clone().unwrap_or_else(|| layout.config()))?;
    if let Some(listen) = serve.listen {
        config.listen = listen;
    }
    let _lock = match DirLock::take(layout.root())? {
        Taken::Mine(lock) => lock,
        Taken::Elsewhere => {
            return Err(Refusal::new(ProblemCode::Conflict, "a key service is running on this data directory already"));
        }
    };
    for warning in hygiene::guard() {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(Refusal::broken)?;
    let done = runtime.block_on(run(layout, config, credentials, serve));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    done
}

async fn run(layout: Layout, config: Config, credentials: Option<PathBuf>, serve: &Serve) -> Result<(), Refusal> {
    let server = Server::new(layout, config, credentials, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let stop = server.stop_token();
    watch_signals(stop.clone())?;
    if serve.stdin_guard {
        watch_stdin(stop.clone())?;
    }
    if server.unseals_itself() {
        server.unseal(None).await?;
    } else {
        print::say("The key service is sealed. Unseal it with: leadglass-keyd unseal");
    }
    let bound = server.bind().await.map_err(|error| {
        let sentence = error.to_string();
        let code = match error.fault() {
            leadglass_model::Fault::Missing => ProblemCode::NotFound,
            leadglass_model::Fault::BadInput => ProblemCode::BadRequest,
            leadglass_model::Fault::Conflict => ProblemCode::Conflict,
            _ => ProblemCode::Internal,
        };
        Refusal::new(code, &sentence).because(error)
    })?;
    let addr = bound.addr;
    let ready = serde_json::json!({ "addr": addr, "sealed": server.health().sealed, "pid": std::process::id() });
    tracing::info!(%addr, "Listening");
    if let Some(path) = &serve.ready_file {
        write_ready(path, &ready)?;
    }
    server.serve(bound).await;
    Ok(())
}

fn write_ready(path: &Path, ready: &serde_json::Value) -> Result<(), Refusal> {
    Ok(disk::replace(path, ready.to_string().as_bytes())?)
}

/// The first signal drains, the second ends.
fn watch_signals(stop: CancellationToken) -> Result<(), Refusal> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Refusal::broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Refusal::broken)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(())
}

/// A thread of its own: a blocked read cannot be cancelled and must not hold up the runtime's end.
fn watch_stdin(stop: CancellationToken) -> Result<(), Refusal> {
    let watch = move || {
        let mut stdin = std::io::stdin().lock();
        let mut byte = [0; 64];
        while matches!(stdin.read(&mut byte), Ok(n) if n > 0) {}
        stop.cancel();
    };
    std::thread::Builder::new().name("stdin-guard".to_owned()).spawn(watch).map(drop).map_err(Refusal::broken)
}

/// Commits of the log and the database wait here.
const BLOCKING_THREADS: usize = 32;
