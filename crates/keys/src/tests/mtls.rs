//! The real client against a small server over loopback, with certificates made here.

use crate::{
    CountedEntropy, FakeKeyService, IdentityError, IdentityFiles, KeyRefusal, KeyService, Keys, MtlsConfig,
    MtlsKeyService, Notice, ServiceError,
    wire::{
        CreateRequest, Few, Hex32, IndexRequest, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Problem, RevocationEvent, Scope,
        SecretName, SecretRequest, UnwrapRequest, WireError, encode_records, json_from, json_to, path,
    },
};
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use leadglass_model::{ActorRef, EntryId, Fault, MockClock, Purpose, SystemClock, TenantId, UnixMillis};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A private authority and the files of one client.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = Self { issuer, dir: TempDir::new().unwrap() };
        std::fs::write(ca.files().ca, ca.issuer.pem()).unwrap();
        ca.issue_client();
        ca
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn issue_client(&self) {
        let (cert, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        std::fs::write(self.files().cert, cert).unwrap();
        std::fs::write(self.files().key, key).unwrap();
    }

    fn files(&self) -> IdentityFiles {
        let at = |name| self.dir.path().join(name);
        IdentityFiles { ca: at("ca.pem"), cert: at("cert.pem"), key: at("key.pem") }
    }
}

/// Answers from a fake over real TLS.
struct Server {
    fake: Arc<FakeKeyService>,
    port: u16,
    connections: Arc<AtomicUsize>,
    /// Ends the connections that stand, not the listener.
    cut: Arc<tokio::sync::Notify>,
    stop: CancellationToken,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    async fn start(ca: &Ca) -> Self {
        Self::start_with(ca, &rustls::version::TLS13).await
    }

    async fn start_with(ca: &Ca, version: &'static rustls::SupportedProtocolVersion) -> Self {
        let fake = FakeKeyService::new(Arc::new(SystemClock), Arc::new(CountedEntropy::new(3)));
        let (cert, key) = ca.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca.issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self {
            fake: fake.clone(),
            port,
            connections: Arc::default(),
            cut: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (connections, cut, stop) = (server.connections.clone(), server.cut.clone(), server.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, fake, cut, connections) =
                    (acceptor.clone(), fake.clone(), cut.clone(), connections.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    connections.fetch_add(1, Ordering::SeqCst);
                    let cut = cut.notified();
                    let service = hyper::service::service_fn(move |request| answer(fake.clone(), request));
                    let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), service);
                    tokio::select! { _ = serve => {}, () = cut => {} }
                });
            }
        }));
        server
    }

    fn config(&self, ca: &Ca) -> MtlsConfig {
        MtlsConfig {
            authority: format!("localhost:{}", self.port).parse().unwrap(),
            identity: ca.files(),
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(20),
        }
    }

    fn client(&self, ca: &Ca, clock: Arc<MockClock>) -> MtlsKeyService {
        MtlsKeyService::new(self.config(ca), clock, TaskTracker::new(), self.stop.clone()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(fake: Arc<FakeKeyService>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let result = match (&head.method, head.uri.path()) {
        (&Method::POST, path::CREATE) => {
            fake.create(&json_from(&body, MAX_REQUEST_BYTES).unwrap()).await.map(|keys| whole(encode_records(&keys)))
        }
        (&Method::POST, path::UNWRAP) => fake
            .unwrap_keys(&json_from(&body, MAX_REQUEST_BYTES).unwrap())
            .await
            .map(|keys| whole(encode_records(&keys))),
        (&Method::POST, path::INDEX) => {
            fake.index_keys(&json_from(&body, MAX_REQUEST_BYTES).unwrap()).await.map(|page| whole(page.encode()))
        }
        // Answers that no honest service gives.
        (&Method::POST, path::SECRETS) => Ok(whole(vec![0; 3])),
        (&Method::POST, path::MAC) => Ok(whole(vec![b' '; MAX_ANSWER_BYTES + 1])),
        (&Method::GET, path::TENANTS) => fake.tenants().await.map(|list| whole(json_to(&list))),
        (&Method::GET, path::REVOCATIONS) => {
            let after = head.uri.query().and_then(|q| q.strip_prefix("after=")).map(|n| n.parse().unwrap());
            fake.revocations(after).await.map(|events| {
                let frames = events.map(|event| Ok(Frame::data(Bytes::from(event.unwrap().to_line()))));
                Response::new(StreamBody::new(frames).boxed_unsync())
            })
        }
        (&Method::GET, path::ATTEST) => {
            let nonce: Hex32 = head.uri.query().unwrap().strip_prefix("nonce=").unwrap().parse().unwrap();
            fake.attest(nonce).await.map(|said| whole(json_to(&said)))
        }
        _ => Ok(Response::builder().status(StatusCode::IM_A_TEAPOT).body(full(b"no problem body".to_vec())).unwrap()),
    };
    Ok(result.unwrap_or_else(|error| match error {
        ServiceError::Refused { problem } => problem_answer(&problem),
        other => panic!("{other}"),
    }))
}

fn full(bytes: impl AsRef<[u8]> + Send + 'static) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(Bytes::from_owner(bytes)).boxed_unsync()
}

fn whole(bytes: impl AsRef<[u8]> + Send + 'static) -> Answer {
    Response::new(full(bytes))
}

fn problem_answer(problem: &Problem) -> Answer {
    Response::builder().status(problem.status).body(full(json_to(problem))).unwrap()
}

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

fn clock() -> Arc<MockClock> {
    Arc::new(MockClock::at(UnixMillis(1_000_000)))
}

fn create(tenant: TenantId, count: u16) -> CreateRequest {
    CreateRequest { tenant, study_ref: None, count }
}

#[tokio::test]
async fn calls_go_over_one_mutual_tls_connection() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let client = server.client(&ca, clock());
    let tenant = server.fake.add_tenant("practice");
    let keys = client.create(&create(tenant, 256)).await.unwrap();
    assert_eq!(keys.len(), 256);
    let request = UnwrapRequest {
        tenant: Some(tenant),
        key_ids: Few::new(keys.iter().map(|k| k.key_id).collect()).unwrap(),
        scope: Scope::Object,
        purpose: Purpose::Care,
        actor: ActorRef([1; 16]),
        reason: None,
        approval: None,
        actor_proof: None,
        audit_entry: EntryId::from_bytes([2; 16]),
    };
    let page = IndexRequest { tenant, after: None, limit: 200 };
    let (opened, index, tenants) =
        tokio::join!(client.unwrap_keys(&request), client.index_keys(&page), client.tenants());
    assert!(opened.unwrap().iter().zip(&keys).all(|(o, k)| o.key_id == k.key_id && o.result.is_ok()));
    let index = index.unwrap();
    assert_eq!((index.keys.len(), index.more), (200, true));
    assert_eq!(tenants.unwrap().tenants[0].tenant, tenant);
    assert_eq!(
        client.attest(Hex32([7; 32])).await.unwrap().statement,
        format!("{{\"nonce\":\"{}\"}}", "07".repeat(32))
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_comes_with_its_code() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let client = server.client(&ca, clock());
    let error = client.create(&create(TENANT, 1)).await.unwrap_err();
    assert_eq!(error.code(), Some(crate::wire::ProblemCode::NotFound));
    assert_eq!(error.fault(), Fault::Missing);
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, ServiceError::Status { status: 418 }));
}

#[tokio::test]
async fn hostile_answers_are_refused() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let client = server.client(&ca, clock());
    let short = client.secret(&SecretRequest { tenant: TENANT, name: SecretName::Token }).await.unwrap_err();
    assert!(matches!(short, ServiceError::Answer { source: WireError::Field { .. } }));
    let mac = crate::wire::MacRequest {
        tenant: TENANT,
        name: crate::wire::MacName::Pepper,
        data: crate::wire::Base64Bytes::new(b"x").unwrap(),
    };
    let long = client.mac(&mac).await.unwrap_err();
    assert!(matches!(long, ServiceError::Answer { source: WireError::TooLong { .. } }));
    assert_eq!(long.fault(), Fault::Broken);
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let client = server.client(&ca, clock());
    let mut events = client.revocations(None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), RevocationEvent::Beat { seq: 0 });
    server.cut.notify_waiters();
    // The stream's end says that the client has seen the break.
    while let Some(Ok(_)) = events.next().await {}
    client.tenants().await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn revocations_arrive_over_the_stream() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let client = server.client(&ca, clock());
    let tenant = server.fake.add_tenant("practice");
    let study = client.create(&create(tenant, 1)).await.unwrap()[0].study_ref;
    let mut events = client.revocations(None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().seq(), 0);
    server.fake.destroy_study(tenant, study);
    let RevocationEvent::Revoked { seq: 1, revocation } = events.next().await.unwrap().unwrap() else {
        panic!("a revocation")
    };
    assert_eq!(&*revocation.study_refs, [study]);
    let mut again = client.revocations(Some(0)).await.unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().seq(), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_spoilt_one_is_not() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let clock = clock();
    let client = server.client(&ca, clock.clone());
    client.tenants().await.unwrap();
    std::fs::write(ca.files().cert, "half a fi").unwrap();
    clock.advance_secs(60);
    client.tenants().await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    ca.issue_client();
    clock.advance_secs(60);
    client.tenants().await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn strangers_are_not_spoken_to() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = Server::start(&ca).await;
    // The client does not trust the server.
    let error = server.client(&other, clock()).tenants().await.unwrap_err();
    assert!(matches!(error, ServiceError::Away { .. }));
    // The server does not trust the client.
    std::fs::copy(ca.files().ca, other.files().ca).unwrap();
    let error = server.client(&other, clock()).tenants().await.unwrap_err();
    assert!(matches!(error, ServiceError::Away { .. } | ServiceError::Lost { .. }), "{error:?}");
    assert_eq!(server.fake.calls().tenants, 0);
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let ca = Ca::new();
    let server = Server::start_with(&ca, &rustls::version::TLS12).await;
    let error = server.client(&ca, clock()).tenants().await.unwrap_err();
    assert!(matches!(error, ServiceError::Away { .. }));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_waited_for_longer_than_the_limit() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    server.fake.hold();
    let config = MtlsConfig { call_timeout: Duration::from_millis(1), ..server.config(&ca) };
    let client = MtlsKeyService::new(config, clock(), TaskTracker::new(), server.stop.clone()).unwrap();
    let error = client.tenants().await.unwrap_err();
    assert!(matches!(error, ServiceError::TimedOut));
    assert_eq!(error.fault(), Fault::Busy);
}

#[tokio::test]
async fn a_lease_over_the_network_ends_when_the_key_service_says_so() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let tenant = server.fake.add_tenant("practice");
    let client = Arc::new(server.client(&ca, clock()));
    let keys = Keys::start(client, clock(), TaskTracker::new(), server.stop.clone());
    assert!(matches!(keys.revocations().recv().await.unwrap(), Notice::Everything));
    let sealed = keys.sealing_key(tenant, None).await.unwrap();
    let id = sealed.key_id();
    let outcome =
        keys.open(tenant, &[id], Purpose::Care, ActorRef([1; 16]), EntryId::from_bytes([2; 16])).await.unwrap();
    let lease = outcome[&id].clone().unwrap();
    assert_eq!(lease.study_key().reveal(), sealed.study_key().reveal());
    server.fake.destroy_study(tenant, sealed.study_ref());
    lease.ended().await;
    let outcome =
        keys.open(tenant, &[id], Purpose::Care, ActorRef([1; 16]), EntryId::from_bytes([2; 16])).await.unwrap();
    assert_eq!(outcome[&id].as_ref().unwrap_err(), &KeyRefusal::Destroyed);
}

#[tokio::test]
async fn an_identity_that_cannot_be_used_shows_at_start() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let new = |identity: IdentityFiles, authority: &str| {
        let config = MtlsConfig { authority: authority.parse().unwrap(), identity, ..server.config(&ca) };
        MtlsKeyService::new(config, clock(), TaskTracker::new(), server.stop.clone()).map(drop)
    };
    assert!(matches!(new(ca.files(), "localhost"), Err(IdentityError::Address)));
    std::fs::write(ca.files().key, "").unwrap();
    assert!(matches!(new(ca.files(), "localhost:1"), Err(IdentityError::Pem { .. })));
    std::fs::remove_file(ca.files().ca).unwrap();
    assert!(matches!(new(ca.files(), "localhost:1"), Err(IdentityError::Read { .. })));
}
