//! A key service in a temporary directory, its command line, and a bare HTTP/2 client.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use leadglass_keys::wire::{
    CreateRequest, Few, KeyRefusal, NewKey, OpenedKeys, Problem, Scope, UnwrapOutcome, UnwrapRequest, decode_records,
    path,
};
use leadglass_model::{ActorRef, EntryId, KeyId, Purpose, StudyRef, TenantId};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_leadglass-keyd");

/// A data directory with an authority, a tenant and a client called `vault` that has every role.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) tenant: TenantId,
}

/// A running service; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    log: PathBuf,
}

/// One connection.
pub(crate) struct Api(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A host whose `init` gets more options.
    pub(crate) fn with(options: &[&str]) -> Self {
        let mut host = Self { dir: tempfile::tempdir().unwrap(), tenant: TenantId::from_bytes([0; 16]) };
        let (key, sheet) = (host.at("outside/unseal.key"), host.at("sheet.txt"));
        let mut init =
            vec!["init", "--provider", "key-file", "--key-file", &key, "--sheet", &sheet, "--listen", "127.0.0.1:0"];
        init.extend_from_slice(options);
        host.done(&init);
        host.furnish();
        host
    }

    /// Authority, certificates, tenant, client.
    pub(crate) fn furnish(&mut self) {
        self.done(&["ca", "init"]);
        self.done(&["ca", "issue", "server"]);
        self.tenant = self.done(&["tenant", "add", "practice"])["tenant"].as_str().unwrap().parse().unwrap();
        self.client("vault", &["--role", "ingest", "--role", "vault", "--role", "admin"]);
    }

    /// Issues a certificate and enrols its key.
    pub(crate) fn client(&self, label: &str, options: &[&str]) {
        self.certificate(label);
        let cert = self.at(&format!("{label}.pem"));
        let mut add = vec!["client", "add", "--label", label, "--cert", &cert];
        add.extend_from_slice(options);
        self.done(&add);
    }

    pub(crate) fn certificate(&self, label: &str) {
        self.done(&["ca", "issue", "client", "--label", label, "--out", &self.at(label)]);
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(BIN);
        command.arg("--data").arg(self.data()).arg("--json").args(args).stdin(Stdio::null()).env_clear();
        command.output().unwrap()
    }

    /// Begins a command.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = Command::new(BIN);
        command.arg("--data").arg(self.data()).arg("--json").args(args).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs a command that must succeed, and gives its JSON.
    pub(crate) fn done(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail, and gives its exit code and words.
    pub(crate) fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn serve(&self) -> Running {
        let (ready, log) = (self.dir.path().join("ready.json"), self.dir.path().join("serve.log"));
        let _none = fs::remove_file(&ready);
        let stderr = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(BIN);
        command.arg("--data").arg(self.data()).args(["serve", "--ready-file"]).arg(&ready).env_clear();
        let mut child = command.stdin(Stdio::null()).stderr(stderr).spawn().unwrap();
        let addr = loop {
            if let Ok(text) = fs::read(&ready) {
                let value: Value = serde_json::from_slice(&text).unwrap();
                break value["addr"].as_str().unwrap().parse().unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "serve ended: {}", fs::read_to_string(&log).unwrap());
            std::thread::yield_now();
        };
        Running { child, addr, log }
    }

    pub(crate) async fn connect(&self, running: &Running, label: &str) -> Api {
        self.try_connect(running, label).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, running: &Running, label: &str) -> std::io::Result<Api> {
        let dir = self.dir.path();
        let cert = dir.join(format!("{label}.pem"));
        connect(running.addr, &self.data().join("tls/ca.pem"), &cert, &dir.join(format!("{label}-key.pem"))).await
    }

    pub(crate) fn unwrap_request(&self, keys: &[KeyId], purpose: Purpose) -> UnwrapRequest {
        UnwrapRequest {
            tenant: Some(self.tenant),
            key_ids: Few::new(keys.to_vec()).unwrap(),
            scope: Scope::Object,
            purpose,
            actor: ActorRef([5; 16]),
            reason: None,
            approval: None,
            actor_proof: None,
            audit_entry: EntryId::from_bytes([6; 16]),
        }
    }

    pub(crate) async fn create(&self, api: &mut Api, study: Option<StudyRef>, count: u16) -> Vec<NewKey> {
        let request = CreateRequest { tenant: self.tenant, study_ref: study, count };
        let (status, body) = api.post(path::CREATE, &request).await;
        assert_eq!(status, 200, "{body:?}");
        decode_records(&body, 256).unwrap()
    }

    pub(crate) async fn unwrap(&self, api: &mut Api, keys: &[KeyId], purpose: Purpose) -> Vec<UnwrapOutcome> {
        let (status, body) = api.post(path::UNWRAP, &self.unwrap_request(keys, purpose)).await;
        assert_eq!(status, 200, "{body:?}");
        decode_records(&body, 256).unwrap()
    }
}

impl Running {
    /// SIGKILL: nothing in the process gets to run any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Api {
    pub(crate) async fn post(&mut self, path: &str, body: &impl Serialize) -> (u16, Bytes) {
        self.try_post(path, body).await.unwrap()
    }

    pub(crate) async fn try_post(&mut self, path: &str, body: &impl Serialize) -> Result<(u16, Bytes), hyper::Error> {
        let body = Full::new(Bytes::from(serde_json::to_vec(body).unwrap()));
        let request = http::Request::post(format!("https://localhost{path}")).body(body).unwrap();
        let response = self.0.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    pub(crate) async fn put(&mut self, path: &str, body: &impl Serialize) -> (u16, Bytes) {
        let body = Full::new(Bytes::from(serde_json::to_vec(body).unwrap()));
        let request = http::Request::put(format!("https://localhost{path}")).body(body).unwrap();
        let response = self.0.send_request(request).await.unwrap();
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn get(&mut self, path: &str) -> http::Response<hyper::body::Incoming> {
        let request = http::Request::get(format!("https://localhost{path}")).body(Full::default()).unwrap();
        self.0.send_request(request).await.unwrap()
    }

    pub(crate) async fn get_json(&mut self, path: &str) -> Value {
        let response = self.get(path).await;
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    /// A second handle on the same connection.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) fn problem(body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap()
}

/// The study key of an outcome, or why there is none.
pub(crate) fn opened(outcome: &UnwrapOutcome) -> Result<[u8; 32], KeyRefusal> {
    match &outcome.result {
        Ok(opened) => match &opened.keys {
            OpenedKeys::Object { key, .. } => Ok(*key.expose()),
            OpenedKeys::Index { .. } => panic!("scope index gives no study key"),
        },
        Err(refusal) => Err(*refusal),
    }
}

/// Every file under a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, target).unwrap();
    }
}

async fn connect(addr: SocketAddr, ca: &Path, cert: &Path, key: &Path) -> std::io::Result<Api> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (api, connection) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(Api(api))
}
