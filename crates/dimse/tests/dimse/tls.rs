//! The same, under TLS: the certificate a device proves to hold reaches whoever decides about it.

use crate::support::*;
use async_trait::async_trait;
use leadglass_dimse::{
    Caller, DeviceDecision, DeviceRefusal, Devices, Echo, HandshakeFailure, Limits, Listener, Transport,
    send::{Proposal, Requestor, SendConfig, connect},
};
use leadglass_model::SystemEntropy;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
        server::WebPkiClientVerifier,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Remembers the certificate of the last caller, and how handshakes failed.
#[derive(Default)]
struct Doorkeeper(Mutex<Option<Arc<[u8]>>>, Mutex<Vec<HandshakeFailure>>);

struct Shared(Arc<Doorkeeper>);

#[async_trait]
impl Devices for Shared {
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal> {
        self.0.0.lock().unwrap().clone_from(&caller.certificate);
        House::default().decide(caller).await
    }

    fn handshake_failed(&self, _address: IpAddr, _local_port: u16, failure: HandshakeFailure) {
        self.0.1.lock().unwrap().push(failure);
    }
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn identity(name: &str) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    Identity {
        certificate: params.self_signed(&key).unwrap().der().clone(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
    }
}

fn trust(identity: &Identity) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    roots
}

async fn listen(server: &Identity, client: &Identity, devices: Arc<Doorkeeper>) -> SocketAddr {
    let verifier = WebPkiClientVerifier::builder(Arc::new(trust(client))).build().unwrap();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.certificate.clone()], server.key.clone_key())
        .unwrap();
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener =
        Listener::new(Limits::default(), Arc::new(Shared(devices)), vec![Arc::new(Echo)], Arc::new(SystemEntropy));
    let transport = Transport::Tls(TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(Arc::new(listener).run(socket, transport, TaskTracker::new(), CancellationToken::new()));
    address
}

#[tokio::test]
async fn a_device_echoes_under_mutual_tls_and_its_certificate_is_known() {
    let (server, client) = (identity("vault.example"), identity("ct.example"));
    let doorkeeper = Arc::new(Doorkeeper::default());
    let address = listen(&server, &client, Arc::clone(&doorkeeper)).await;
    let config = ClientConfig::builder()
        .with_root_certificates(trust(&server))
        .with_client_auth_cert(vec![client.certificate.clone()], client.key.clone_key())
        .unwrap();
    let plain = connect(address, Duration::from_secs(10)).await.unwrap();
    let name = ServerName::try_from("vault.example").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, plain).await.unwrap();
    let config = SendConfig::new(ae("CT1"), ae("LEADGLASS"));
    let mut requestor = Requestor::open(stream, &config, &[Proposal::verification()]).await.unwrap();
    assert_eq!(requestor.echo().await.unwrap().0, 0);
    requestor.release().await.unwrap();
    let seen = doorkeeper.0.lock().unwrap().clone().unwrap();
    assert_eq!(&seen[..], client.certificate.as_ref());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_shakes_hands_is_left_within_the_negotiation_deadline() {
    let (server, client) = (identity("vault.example"), identity("ct.example"));
    let doorkeeper = Arc::new(Doorkeeper::default());
    let address = listen(&server, &client, Arc::clone(&doorkeeper)).await;
    let mut silent = connect(address, Duration::from_secs(1_000_000)).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(doorkeeper.0.lock().unwrap().is_none());
}

#[tokio::test]
async fn whoever_keeps_the_devices_hears_why_a_handshake_failed() {
    let (server, client, stranger) = (identity("vault.example"), identity("ct.example"), identity("stranger.example"));
    let doorkeeper = Arc::new(Doorkeeper::default());
    let address = listen(&server, &client, Arc::clone(&doorkeeper)).await;
    let trusting = || ClientConfig::builder().with_root_certificates(trust(&server));
    let with = |identity: &Identity| {
        trusting().with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key()).unwrap()
    };
    for config in [trusting().with_no_client_auth(), with(&stranger)] {
        let plain = connect(address, Duration::from_secs(10)).await.unwrap();
        let name = ServerName::try_from("vault.example").unwrap();
        // Under TLS 1.3 the client hears of it after its own part of the handshake.
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, plain).await else { continue };
        let _ended = stream.read(&mut [0; 16]).await;
    }
    let mut plain = connect(address, Duration::from_secs(10)).await.unwrap();
    plain.write_all(b"\x01\x00\x00\x00\x00\x10no TLS at all......").await.unwrap();
    let _ended = plain.read_to_end(&mut Vec::new()).await;
    let heard = doorkeeper.1.lock().unwrap().clone();
    let failures = [HandshakeFailure::NoCertificate, HandshakeFailure::UnknownIssuer, HandshakeFailure::NotTls];
    assert_eq!(heard, failures);
}
