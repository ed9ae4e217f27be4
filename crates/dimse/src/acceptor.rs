//! The listener: accepts connections, negotiates associations, keeps the limits.

use crate::{
    Caller, DeviceRefusal, Devices, Ended, HandshakeFailure, Limits, Peer, Rejection, Service,
    association::Association,
    connection::{Connection, Patience},
    framing::Frame,
    negotiate::{Agreement, agree, check},
    places::{Place, Places},
};
use dicom_ul::pdu::{AssociationRQ, Pdu};
use leadglass_model::Entropy;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Serves associations on any number of ports, which share limits, devices and services.
pub struct Listener {
    limits: Arc<Limits>,
    devices: Arc<dyn Devices>,
    services: Vec<Arc<dyn Service>>,
    entropy: Arc<dyn Entropy>,
    places: Arc<Places>,
}

/// What a port speaks below DICOM.
#[derive(Clone)]
pub enum Transport {
    /// Nothing: bytes as they are.
    Plain,
    /// TLS; whether a client certificate is wanted is the acceptor's affair.
    Tls(TlsAcceptor),
}

/// Where a connection comes from and arrives.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The peer's address.
    pub address: SocketAddr,
    /// Our port.
    pub local_port: u16,
    /// The certificate the peer proved to hold, DER.
    pub certificate: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Listener {
    /// A listener. `services` are asked in order who serves an abstract syntax.
    pub fn new(
        limits: Limits,
        devices: Arc<dyn Devices>,
        services: Vec<Arc<dyn Service>>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { limits: Arc::new(limits), devices, services, entropy, places: Arc::default() }
    }

    /// Accepts connections until `cancel`; each runs as a task of `tracker`. After `cancel`, associations answer the
    /// message they are in and end: wait for the tracker, for as long as there is time.
    ///
    /// Cancel safety: dropping it stops accepting; associations go on.
    pub async fn run(
        self: Arc<Self>,
        socket: TcpListener,
        transport: Transport,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) {
        let local_port = socket.local_addr().map_or(0, |address| address.port());
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: others have to close first.
                    tracing::warn!(kind = ?error.kind(), "Could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.enter(address.ip(), &self.limits) else {
                count_association("dropped");
                continue;
            };
            let (listener, transport, cancel) = (Arc::clone(&self), transport.clone(), cancel.clone());
            tracker.spawn(async move {
                let origin = Origin { address, local_port, certificate: None };
                listener.attend_tcp(place, stream, transport, origin, cancel).await;
            });
        }
    }

    /// Serves one connection over any stream, and says how it ended.
    ///
    /// Cancel safety: dropping it ends the association without a word; an instance under way is abandoned.
    pub async fn serve<S>(&self, stream: S, origin: Origin, cancel: CancellationToken) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        match self.places.enter(origin.address.ip(), &self.limits) {
            Some(place) => self.attend(place, stream, origin, self.negotiation_deadline(), cancel).await,
            None => Ended::Rejected(Rejection::LocalLimit),
        }
    }

    fn negotiation_deadline(&self) -> Instant {
        Instant::now() + self.limits.negotiation_timeout
    }

    async fn attend_tcp(
        &self,
        place: Place,
        stream: TcpStream,
        transport: Transport,
        mut origin: Origin,
        cancel: CancellationToken,
    ) {
        let until = self.negotiation_deadline();
        // Without it each answer waits for the peer's delayed acknowledgement.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match transport {
            Transport::Plain => {
                self.attend(place, stream, origin, until, cancel).await;
            }
            Transport::Tls(acceptor) => {
                let shaken = tokio::select! {
                    () = cancel.cancelled() => return,
                    shaken = timeout_at(until, acceptor.accept(stream)) => shaken,
                };
                let stream = match shaken {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        let failure = HandshakeFailure::of(&error);
                        self.devices.handshake_failed(origin.address.ip(), origin.local_port, failure);
                        return self.report(None, &Ended::Handshake(error));
                    }
                    Err(_) => return self.report(None, &Ended::NegotiationTimeout),
                };
                let certificates = stream.get_ref().1.peer_certificates();
                origin.certificate = certificates.and_then(<[_]>::first).map(|der| Arc::from(der.as_ref()));
                self.attend(place, stream, origin, until, cancel).await;
            }
        }
    }

    async fn attend<S>(
        &self,
        mut place: Place,
        stream: S,
        origin: Origin,
        until: Instant,
        cancel: CancellationToken,
    ) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut connection = Connection::new(stream, Arc::clone(&self.limits), until, cancel);
        let mut label = None;
        let ended = match self.negotiate(&mut connection, &mut place, origin, until).await {
            Ok((peer, agreement)) => {
                label = Some(Arc::clone(&peer.device.label));
                count_association("accepted");
                let gauge = metrics::gauge!("leadglass_dimse_associations");
                gauge.increment(1);
                let _open = OnDrop(move || gauge.decrement(1));
                let Agreement { contexts, peer_pdu_bytes, .. } = agreement;
                let enrolment = peer.device.enrolment.clone();
                let association =
                    Association::new(&mut connection, Arc::clone(&self.limits), peer, contexts, peer_pdu_bytes);
                tokio::select! {
                    biased;
                    () = enrolment.cancelled() => Ended::Revoked,
                    ended = association.run() => ended,
                }
            }
            Err(ended) => {
                if let Ended::Rejected(rejection) = &ended {
                    count_association("rejected");
                    // The end is reported below; a peer that does not even take this is gone.
                    let _gone = connection.write_control(&Pdu::AssociationRJ(rejection.pdu())).await;
                }
                ended
            }
        };
        self.report(label.as_deref(), &ended);
        // Those who were turned away for want of room may not keep the little room there is.
        let patience = if place.is_seat() { self.limits.artim_timeout } else { WAITING_ROOM_PATIENCE };
        connection.part(&ended, patience.min(self.limits.artim_timeout)).await;
        ended
    }

    async fn negotiate<S>(
        &self,
        connection: &mut Connection<S>,
        place: &mut Place,
        origin: Origin,
        until: Instant,
    ) -> Result<(Arc<Peer>, Agreement), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let request: AssociationRQ = match connection.frame(Patience::Negotiation(until)).await? {
            Frame::Control(Pdu::AssociationRQ(request)) => request,
            Frame::Control(Pdu::AbortRQ { .. }) => return Err(Ended::Aborted),
            _ => return Err(Ended::UnexpectedPdu),
        };
        let (called_ae, calling_ae) = check(&request)?.map_err(Ended::Rejected)?;
        if !place.is_seat() {
            return Err(Ended::Rejected(Rejection::LocalLimit));
        }
        let Origin { address, local_port, certificate } = origin;
        let caller = Caller { called_ae, calling_ae, address: address.ip(), local_port, certificate };
        let device = match timeout_at(until, self.devices.decide(&caller)).await {
            Ok(Ok(device)) => device,
            Ok(Err(DeviceRefusal::CalledUnknown)) => return Err(Ended::Rejected(Rejection::CalledAe)),
            Ok(Err(DeviceRefusal::CallingUnknown)) => return Err(Ended::Rejected(Rejection::CallingAe)),
            Ok(Err(DeviceRefusal::Unavailable)) | Err(_) => return Err(Ended::Rejected(Rejection::Congestion)),
        };
        if !place.sit_for(device.receiver, &self.limits) {
            return Err(Ended::Rejected(Rejection::LocalLimit));
        }
        let agreement = agree(&request, &self.services, &device.allowed);
        connection.write_control(&Pdu::AssociationAC(agreement.answer.clone())).await?;
        let mut name = [0; 4];
        self.entropy.fill(&mut name);
        let Caller { called_ae, calling_ae, .. } = caller;
        let peer = Peer { association: hex::encode(name), address, calling_ae, called_ae, device };
        tracing::debug!(
            device = &*peer.device.label,
            association = peer.association,
            contexts = agreement.contexts.len(),
            "Accepted an association from {}",
            peer.device.label
        );
        Ok((Arc::new(peer), agreement))
    }

    /// A peer that is not enrolled stays nameless: its title is what it claims.
    fn report(&self, device: Option<&str>, ended: &Ended) {
        let (device, end) = (device.unwrap_or("unknown"), ended.word());
        metrics::counter!("leadglass_dimse_ends_total", "end" => end).increment(1);
        match ended.fault() {
            None => tracing::debug!(device, end, "An association with {device} was released"),
            Some(fault) => tracing::warn!(device, end, ?fault, "An association with {device} ended: {ended}"),
        }
    }
}

fn count_association(result: &'static str) {
    metrics::counter!("leadglass_dimse_associations_total", "result" => result).increment(1);
}

/// Runs when it goes out of scope, on unwinding too.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const WAITING_ROOM_PATIENCE: Duration = Duration::from_secs(1);
