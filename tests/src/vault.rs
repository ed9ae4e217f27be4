//! A vault of the test's own: `leadglass up` as a user starts it, in a folder that goes away.
//!
//! The programs are built beforehand (`tests/all` does); nothing is built here, since every test is a process of its own and would
//! wait for the others' build. Only processes that this test started are ever signalled.

use crate::eyes::files_under;
use crate::fixture::Fixture;
use crate::http::{Answer, Ask, Http};
use crate::process::{alive, command_line, kill_9, signal, until};
use crate::scu::{Association, Callers, EXPLICIT_LE, Refused, Response, VERIFICATION};
use crate::{built_programs, part10, scratch};
use serde::Deserialize;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc::sync_channel};
use std::time::Duration;

/// How long a first start may take: it makes keys with a slow password hash.
const START: Duration = Duration::from_secs(120);
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(60);

/// What `up --json` says, and `up.json` holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Up {
    /// Where senders send.
    pub dicom: Dicom,
    /// Where readers read.
    pub http: HttpPlaces,
    /// A token that may read and search in the first tenant.
    pub token: String,
    /// The CA's certificate: a PEM file's path.
    pub ca: String,
    /// The two processes.
    pub pids: Pids,
    /// Where their data lies.
    pub data: DataPlaces,
    /// Further tokens.
    pub tokens: Tokens,
}

/// The DICOM listener.
#[derive(Clone, Debug, Deserialize)]
pub struct Dicom {
    /// Address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Called AE title.
    pub aet: String,
}

/// The HTTP listeners.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpPlaces {
    /// Root: `/readyz`, `/metrics`.
    pub base: String,
    /// DICOMweb root.
    pub dicomweb: String,
    /// The same without TLS, loopback only.
    pub plain_dicomweb: Option<String>,
    /// OHIF's origin, where one is configured.
    pub viewer: Option<String>,
}

/// Process ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Pids {
    /// The vault node.
    pub vault: u32,
    /// The key service.
    pub keyd: u32,
}

/// Folders.
#[derive(Clone, Debug, Deserialize)]
pub struct DataPlaces {
    /// The vault node's own.
    pub vault: PathBuf,
    /// The key service's own.
    pub keyd: PathBuf,
    /// Sealed objects.
    pub objects: PathBuf,
}

/// Tokens by role.
#[derive(Clone, Debug, Deserialize)]
pub struct Tokens {
    /// A clinician of the first tenant.
    pub clinician: String,
    /// Its data protection officer.
    pub dpo: String,
    /// A clinician of another tenant.
    pub other_tenant: String,
}

/// A running vault; stops when dropped.
#[derive(Debug)]
pub struct Vault {
    child: Child,
    scratch: tempfile::TempDir,
    config: Option<PathBuf>,
    /// What it said when it was ready.
    pub up: Up,
    http: Http,
}

impl Vault {
    /// Starts an empty vault and waits until it is ready.
    ///
    /// # Panics
    /// With a sentence, when the programs are missing, older than their source, or do not get ready.
    #[must_use]
    pub fn up() -> Self {
        Self::start(scratch(), None)
    }

    /// As [`Vault::up`] with a configuration file's text for `--config`.
    ///
    /// # Panics
    /// As [`Vault::up`].
    #[must_use]
    pub fn with_config(text: &str) -> Self {
        let scratch = scratch();
        let path = scratch.path().join("config.toml");
        fs::write(&path, text).expect("the scratch folder is writable");
        Self::start(scratch, Some(path))
    }

    fn start(scratch: tempfile::TempDir, config: Option<PathBuf>) -> Self {
        let (child, up) = launch(scratch.path(), config.as_deref());
        let ca = if up.ca.starts_with("-----BEGIN") {
            up.ca.clone().into_bytes()
        } else {
            fs::read(&up.ca).expect("the CA file")
        };
        let http = Http::trusting(Some(&ca));
        let vault = Self { child, scratch, config, up, http };
        vault.wait_ready();
        vault
    }

    /// Stops it in order and starts it again on the same data.
    ///
    /// # Panics
    /// As [`Vault::up`].
    pub fn restart(&mut self) {
        self.stop();
        let (child, up) = launch(self.scratch.path(), self.config.as_deref());
        self.child = child;
        self.up = up;
        self.wait_ready();
    }

    /// Everything under this folder belongs to the two programs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// What the programs wrote: the supervisor to its standard error, the children to `log/`.
    #[must_use]
    pub fn words(&self) -> Vec<u8> {
        words_under(self.scratch.path())
    }

    /// Reads `up.json` again: after a restart of a child its process id is another.
    ///
    /// # Panics
    /// When the file is missing; between two writings it never is.
    #[must_use]
    pub fn now(&self) -> Up {
        let path = self.folder().join("up.json");
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).expect("up.json holds what up said")
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub fn wait_ready(&self) {
        let ready = || {
            self.http.try_get(&format!("{}/readyz", self.up.http.base), Ask::default()).is_some_and(|a| a.status == 200)
        };
        assert!(
            until(START, ready),
            "/readyz did not say 200 within {START:?}\n{}",
            String::from_utf8_lossy(&self.words())
        );
    }

    /// Ends the vault node as a power cut would and waits until another one is ready.
    ///
    /// # Panics
    /// When nobody starts it again.
    pub fn kill_vault(&self) {
        self.kill(self.now().pids.vault, |p| p.vault);
    }

    /// Ends the key service as a power cut would and waits until another one is there and the vault ready.
    ///
    /// # Panics
    /// When nobody starts it again.
    pub fn kill_keyd(&self) {
        self.kill(self.now().pids.keyd, |p| p.keyd);
    }

    fn kill(&self, pid: u32, which: impl Fn(Pids) -> u32) {
        self.own(pid);
        kill_9(pid);
        assert!(until(START, || which(self.now().pids) != pid), "process {pid} was not started again");
        self.wait_ready();
    }

    /// Waits until a process that somebody killed is gone from `up.json` and the vault is ready again.
    ///
    /// # Panics
    /// When nobody starts it again.
    pub fn wait_restarted(&self, pid: u32) {
        let replaced = || {
            let pids = self.now().pids;
            pids.vault != pid && pids.keyd != pid
        };
        assert!(until(START, replaced), "process {pid} was not started again");
        self.wait_ready();
    }

    /// A process id is only signalled when it is one of ours still.
    fn own(&self, pid: u32) {
        let line = command_line(pid);
        assert!(line.contains("leadglass"), "process {pid} is not ours: {line}");
    }

    /// Whether both processes are those that `up` first named.
    #[must_use]
    pub fn never_died(&self) -> bool {
        self.now().pids == self.up.pids && alive(self.up.pids.vault) && alive(self.up.pids.keyd)
    }

    /// Address of the DICOM listener.
    ///
    /// # Panics
    /// When its host does not resolve.
    #[must_use]
    pub fn dicom(&self) -> SocketAddr {
        (self.up.dicom.host.as_str(), self.up.dicom.port).to_socket_addrs().expect("a host").next().expect("an address")
    }

    /// Who our sender says it is.
    #[must_use]
    pub fn callers(&self) -> Callers {
        Callers { calling: "SYSTEMTEST".to_owned(), called: self.up.dicom.aet.clone() }
    }

    /// An association for these contexts.
    ///
    /// # Errors
    /// When the socket fails; the inner result tells a refusal.
    pub fn associate(&self, wanted: &[(&str, &str)]) -> io::Result<Result<Association, Refused>> {
        Association::open(self.dicom(), &self.callers(), wanted)
    }

    /// Sends a data set over an association of its own.
    ///
    /// # Errors
    /// When anything but a status came back.
    pub fn store(&self, f: &Fixture, data_set: &[u8]) -> io::Result<Response> {
        let mut a = self
            .associate(&[(&f.sop_class, &f.transfer_syntax)])?
            .map_err(|r| io::Error::new(io::ErrorKind::ConnectionRefused, format!("{r:?}")))?;
        let answer = a.store(&f.sop_class, &f.instance, &f.transfer_syntax, &mut &*data_set)?;
        // The object is stored once the answer said so; how the association ends is another matter.
        let _ = a.release();
        Ok(answer)
    }

    /// Sends a fixture as it stands.
    ///
    /// # Panics
    /// When it is not stored.
    pub fn store_fixture(&self, f: &Fixture) {
        let answer = self.store(f, &f.data_set()).unwrap_or_else(|e| panic!("{}: {e}", f.file));
        assert_eq!(answer.status, 0, "{}", f.file);
    }

    /// Whether the vault answers C-ECHO.
    #[must_use]
    pub fn echoes(&self) -> bool {
        let Ok(Ok(mut a)) = self.associate(&[(VERIFICATION, EXPLICIT_LE)]) else { return false };
        let ok = a.echo().is_ok_and(|r| r.status == 0);
        ok && a.release().is_ok()
    }

    /// The client that trusts this vault.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// WADO-RS address of an instance.
    #[must_use]
    pub fn instance_url(&self, f: &Fixture) -> String {
        format!("{}/studies/{}/series/{}/instances/{}", self.up.http.dicomweb, f.study, f.series, f.instance)
    }

    /// GET under the DICOMweb root with a token.
    #[must_use]
    pub fn ask(&self, path: &str, token: Option<&str>, accept: &str) -> Answer {
        self.http.get(&format!("{}{path}", self.up.http.dicomweb), Ask { token, accept: Some(accept), range: None })
    }

    /// The stored file of an instance, single part, or the status that came instead.
    ///
    /// # Errors
    /// The status, when it is not 200.
    pub fn file_of(&self, f: &Fixture) -> Result<Vec<u8>, u16> {
        let ask = Ask { token: Some(&self.up.token), accept: Some("application/dicom"), range: None };
        let answer = self.http.get(&self.instance_url(f), ask);
        if answer.status == 200 { Ok(answer.body) } else { Err(answer.status) }
    }

    /// The stored data set of an instance.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn data_set_of(&self, f: &Fixture) -> Vec<u8> {
        let file = self.file_of(f).unwrap_or_else(|status| panic!("{}: status {status}", f.file));
        part10::data_set(&file).to_vec()
    }

    /// The patient asks for what is hers: until that case is closed the officer may open her studies. The case's name.
    ///
    /// # Panics
    /// When no case is opened.
    pub fn asked_for(&self, patient_id: &str) -> String {
        let case = serde_json::json!({ "type": "access", "patient_id": patient_id, "channel": "letter" });
        let opened = self.officer("/api/v1/cases", &case);
        opened["id"].as_str().expect("a case has a name").to_owned()
    }

    /// Closes a case, so that it keeps nothing any more.
    ///
    /// # Panics
    /// When it is not closed.
    pub fn close_case(&self, case: &str) {
        let closed = self.officer(&format!("/api/v1/cases/{case}/close"), &serde_json::json!({ "reason": "answered" }));
        assert_eq!(closed["state"], "closed");
    }

    fn officer(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let ask = Ask { token: Some(&self.up.tokens.dpo), accept: None, range: None };
        let answer =
            self.http.send("POST", &format!("{}{path}", self.up.http.base), ask, body.to_string().into_bytes());
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> Answer {
        let ask = Ask { token: Some(&self.up.tokens.dpo), accept: None, range: None };
        self.http.get(&format!("{}/metrics", self.up.http.base), ask)
    }

    /// Runs `leadglass` with further arguments, in a folder of the test's own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&OsStr]) -> std::process::Output {
        Command::new(program())
            .args(arguments)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .output()
            .expect("leadglass runs")
    }

    fn stop(&mut self) {
        let pids = self.now().pids;
        signal(self.child.id(), rustix::process::Signal::TERM);
        let ended = until(STOP, || self.child.try_wait().is_ok_and(|s| s.is_some()));
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for pid in [pids.vault, pids.keyd] {
            // Left-overs of a supervisor that was killed; never a stranger who got the number since.
            if alive(pid) && command_line(pid).contains(&*self.scratch.path().to_string_lossy()) {
                kill_9(pid);
            }
        }
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if self.folder().join("up.json").exists() {
            self.stop();
        } else {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(&self.words()));
        }
    }
}

/// Takes the ports that `up` prefers, as far as they are free, and keeps them: a vault of a test must be able to come back to
/// its own port, so it gets one that no other test's vault asks for.
fn keep_preferred_ports() {
    static HELD: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    let mut held = HELD.lock().expect("nobody panics while holding it");
    for port in [11112, 12762, 8443, 8042, 7443] {
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
}

fn launch(folder: &Path, config: Option<&Path>) -> (Child, Up) {
    keep_preferred_ports();
    let words = fs::OpenOptions::new().create(true).append(true).open(folder.join("words.log")).expect("a log file");
    let mut command = Command::new(program());
    command.arg("up").arg("--data").arg(folder.join("data")).args(["--json", "--no-sample"]);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(words)
        .spawn()
        .unwrap_or_else(|e| panic!("{} does not start: {e}", program().display()));
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = out.read_line(&mut line);
        let _ = tell.send(read.map(|_| line));
        // Whatever follows is drained, so that the program never waits for us.
        let _ = io::copy(&mut out, &mut io::sink());
    });
    let line = match told.recv_timeout(START) {
        Ok(Ok(line)) if !line.trim().is_empty() => line,
        other => {
            let _ = child.kill();
            let _ = child.wait();
            panic!("leadglass up gave no line of JSON ({other:?})\n{}", String::from_utf8_lossy(&words_under(folder)));
        }
    };
    let up = serde_json::from_str(&line).unwrap_or_else(|e| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("leadglass up's line is not what was agreed ({e}): {line}")
    });
    (child, up)
}

/// Each log under its name.
fn words_under(folder: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for path in [vec![folder.join("words.log")], files_under(&folder.join("data/log"))].concat() {
        out.extend(format!("\n--- {}\n", path.display()).into_bytes());
        out.extend(fs::read(&path).unwrap_or_default());
    }
    out
}

/// The program under test: `LEADGLASS_BIN`, or the one beside this test.
///
/// # Panics
/// With a sentence, when it is missing or older than its source.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("LEADGLASS_BIN") {
        return given.into();
    }
    const BUILD: &str = "build the programs first: cargo build -p leadglass -p leadglass-keyd (tests/all does)";
    for name in ["leadglass-keyd", "leadglass"] {
        let path = built_programs().join(name);
        let built = fs::metadata(&path)
            .and_then(|m| m.modified())
            .unwrap_or_else(|_| panic!("{} is missing; {BUILD}", path.display()));
        // Beside a program cargo leaves the list of the sources it was made from.
        let sources = fs::read_to_string(path.with_extension("d")).unwrap_or_default();
        for source in sources.split_once(": ").map_or("", |(_, s)| s).split_whitespace() {
            let newer = fs::metadata(source).and_then(|m| m.modified()).is_ok_and(|changed| changed > built);
            assert!(!newer, "{} is older than {source}; {BUILD}", path.display());
        }
    }
    built_programs().join("leadglass")
}
