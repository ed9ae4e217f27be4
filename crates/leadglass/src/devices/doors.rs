//! Ports that devices have of their own: opened when one is enrolled, closed when the last one is revoked.

use anyhow::Context;
use leadglass_dimse::{Listener, Transport};
use leadglass_model::Fault;
use leadglass_web::DeskError;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The listener, and which ports of it are devices' own.
#[derive(Debug)]
pub struct Doors {
    listener: Arc<Listener>,
    /// Where DICOM in clear listens.
    host: IpAddr,
    connections: TaskTracker,
    stop: CancellationToken,
    /// Ports that the configuration file opens.
    fixed: BTreeSet<u16>,
    open: Mutex<HashMap<u16, Door>>,
}

#[derive(Debug)]
struct Door {
    close: CancellationToken,
    runs: JoinHandle<()>,
}

impl Doors {
    /// Doors beside the ports that are open already.
    pub fn new(
        listener: Arc<Listener>,
        host: IpAddr,
        connections: TaskTracker,
        stop: CancellationToken,
        fixed: BTreeSet<u16>,
    ) -> Self {
        Self { listener, host, connections, stop, fixed, open: Mutex::default() }
    }

    /// Opens a port unless it is open. One the configuration file uses is nobody's own.
    pub async fn open(&self, port: u16) -> Result<(), DeskError> {
        if self.fixed.contains(&port) {
            let sentence =
                format!("Port {port} is used by the configuration file; a device's own port is another one.");
            return Err(DeskError::new(Fault::Conflict, "port-taken", sentence));
        }
        if self.open.lock().contains_key(&port) {
            return Ok(());
        }
        let address = SocketAddr::new(self.host, port);
        let socket = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"));
        let socket = socket.map_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "a device's port cannot be opened");
            DeskError::new(Fault::Conflict, "port-taken", format!("{error:#}."))
        })?;
        let close = self.stop.child_token();
        let run = self.listener.clone().run(socket, Transport::Plain, self.connections.clone(), close.clone());
        let runs = self.connections.spawn(run);
        self.open.lock().insert(port, Door { close, runs });
        tracing::info!(port, "opened a device's own port");
        Ok(())
    }

    /// Closes a port; when this answers it can be opened again.
    pub async fn close(&self, port: u16) {
        let door = self.open.lock().remove(&port);
        if let Some(Door { close, runs }) = door {
            close.cancel();
            // It ends at once; a panic in it is told elsewhere.
            let _ended = runs.await;
            tracing::info!(port, "closed a device's own port");
        }
    }
}
