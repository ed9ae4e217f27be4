//! Foreign senders: dcmtk, pynetdicom, Orthanc. Each is found on the machine or named as missing; none is skipped in silence.

use crate::fixture::Fixture;
use crate::http::{Ask, Http};
use crate::process::until;
use crate::workspace_root;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// A program of dcmtk; pynetdicom brings some of the same names, so each candidate is asked who it is.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn dcmtk(name: &str) -> PathBuf {
    if let Some(given) = std::env::var_os(format!("LEADGLASS_{}", name.to_uppercase())) {
        return given.into();
    }
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().expect("nobody panics holding it");
    found.entry(name.to_owned()).or_insert_with(|| search(name)).clone()
}

fn search(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .filter(|p| p.is_file())
        .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.stdout.starts_with(b"$dcmtk")))
        .unwrap_or_else(|| panic!("dcmtk's {name} is missing: run tests/all once, or install dcmtk"))
}

fn dcmtk_command(name: &str) -> Command {
    let mut command = Command::new(dcmtk(name));
    // Debian's dcmtk leaves Nagle on otherwise: 40 ms a message.
    command.env("TCP_NODELAY", "1").stdin(Stdio::null());
    command
}

/// `echoscu`.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn echoscu(peer: SocketAddr, calling: &str, called: &str) -> Output {
    dcmtk_command("echoscu")
        .args(["-aet", calling, "-aec", called, &peer.ip().to_string(), &peer.port().to_string()])
        .output()
        .expect("echoscu runs")
}

/// `storescu` of one file, proposing the file's own class and syntax only, so that nothing is converted.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn storescu(scratch: &Path, peer: SocketAddr, calling: &str, called: &str, f: &Fixture, file: &Path) -> Output {
    storescu_with(&[], scratch, peer, calling, called, f, file)
}

/// The same with further words, about TLS for example.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn storescu_with(
    words: &[&str],
    scratch: &Path,
    peer: SocketAddr,
    calling: &str,
    called: &str,
    f: &Fixture,
    file: &Path,
) -> Output {
    let config = scratch.join(format!("{}-{}.cfg", f.instance, peer.port()));
    let text = format!(
        "[[TransferSyntaxes]]\n[Own]\nTransferSyntax1 = {}\n[[PresentationContexts]]\n[Store]\nPresentationContext1 = {}\\Own\n\
         [[Profiles]]\n[Own]\nPresentationContexts = Store\n",
        f.transfer_syntax, f.sop_class
    );
    fs::write(&config, text).expect("the scratch folder is writable");
    dcmtk_command("storescu")
        .args(words)
        .args(["-aet", calling, "-aec", called, "-xf"])
        .arg(&config)
        .args(["Own", &peer.ip().to_string(), &peer.port().to_string()])
        .arg(file)
        .output()
        .expect("storescu runs")
}

/// The Python that has pydicom and pynetdicom: `LEADGLASS_PYTHON`, this checkout's `.venv`, or `python3`.
#[must_use]
pub fn python() -> OsString {
    if let Some(given) = std::env::var_os("LEADGLASS_PYTHON") {
        return given;
    }
    let own = workspace_root().join(".venv/bin/python");
    if own.exists() { own.into() } else { "python3".into() }
}

/// Runs a Python program given as text.
///
/// # Panics
/// When Python cannot be started.
#[must_use]
pub fn run_python(text: &str, arguments: &[String]) -> Output {
    Command::new(python()).arg("-c").arg(text).args(arguments).stdin(Stdio::null()).output().expect("Python runs")
}

/// Sends each file as its raw bytes, one association under TLS each. Prints `file status` lines. Arguments: port, called title, CA,
/// certificate, key, version such as `TLSv1_3`, files.
pub const PYNETDICOM_TLS: &str = r#"
import ssl, sys, warnings, pydicom
from pathlib import Path
from pynetdicom import AE, _config
warnings.simplefilter("ignore")
port, called, ca, cert, key, version = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6]
_config.STORE_SEND_CHUNKED_DATASET = True
context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
context.load_cert_chain(cert, key)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
for name in sys.argv[7:]:
    meta = pydicom.dcmread(name, stop_before_pixels=True).file_meta
    ae = AE(ae_title="PYNETDICOM")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=called, tls_args=(context, "localhost"))
    if not association.is_established:
        print(Path(name).name, "refused", flush=True)
        continue
    status = association.send_c_store(name)
    print(Path(name).name, f"{status.Status:04x}" if "Status" in status else "none", flush=True)
    association.release()
"#;

/// Sends each file by dicomweb-client, keeps what the client made of it, and reads it back. Arguments: DICOMweb root, token, CA, a
/// folder for what was sent, files.
pub const DICOMWEB_CLIENT: &str = r#"
import io, sys, warnings, pydicom, requests
from pathlib import Path
from dicomweb_client.api import DICOMwebClient
warnings.simplefilter("ignore")
url, token, ca, out = sys.argv[1:5]
session = requests.Session()
session.verify, session.trust_env = ca, False
client = DICOMwebClient(url=url, session=session, headers={"Authorization": "Bearer " + token})
sets = [pydicom.dcmread(name) for name in sys.argv[5:]]
for name, data_set in zip(sys.argv[5:], sets):
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data_set)
    (Path(out) / Path(name).name).write_bytes(buffer.getvalue())
answer = client.store_instances(sets)
assert len(answer.ReferencedSOPSequence) == len(sets), answer
for data_set in sets:
    back = client.retrieve_instance(data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)
    assert back == data_set, data_set.SOPInstanceUID
print("all", len(sets))
"#;

/// Both outputs of a program, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An Orthanc of the test's own; its REST interface listens on loopback, its DICOM listener is off.
#[derive(Debug)]
pub struct Orthanc {
    child: Child,
    base: String,
    http: Http,
    log: PathBuf,
}

impl Orthanc {
    /// Starts one that knows these peers by name.
    ///
    /// # Panics
    /// When Orthanc is missing or does not answer.
    #[must_use]
    pub fn start(scratch: &Path, peers: &[(&str, &str, SocketAddr)]) -> Self {
        Self::start_with(scratch, peers, &serde_json::json!({}))
    }

    /// As [`Orthanc::start`], with further members of its configuration.
    ///
    /// # Panics
    /// As [`Orthanc::start`].
    #[must_use]
    pub fn start_with(scratch: &Path, peers: &[(&str, &str, SocketAddr)], further: &serde_json::Value) -> Self {
        let port = free_port();
        let modalities: serde_json::Map<String, serde_json::Value> = peers
            .iter()
            .map(|(name, aet, at)| ((*name).to_owned(), serde_json::json!([aet, at.ip().to_string(), at.port()])))
            .collect();
        let mut config = serde_json::json!({
            "Name": "sender", "DicomAet": "ORTHANC", "StorageDirectory": scratch.join("orthanc"), "IndexDirectory": scratch.join("orthanc"),
            "HttpServerEnabled": true, "HttpPort": port, "HttpBindAddresses": ["127.0.0.1"], "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false, "DicomServerEnabled": false, "Plugins": [], "DicomModalities": modalities,
            "DicomScuTimeout": 60, "ConcurrentJobs": 1, "CheckRevisions": false,
        });
        for (member, value) in further.as_object().into_iter().flatten() {
            config[member] = value.clone();
        }
        let path = scratch.join("orthanc.json");
        fs::write(&path, config.to_string()).expect("the scratch folder is writable");
        let words = scratch.join("orthanc.log");
        let log = fs::File::create(&words).expect("a log file");
        let search = std::env::var_os("PATH").unwrap_or_default();
        let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let program = std::env::split_paths(&search)
            .chain(sbin)
            .map(|d| d.join("Orthanc"))
            .find(|p| p.is_file())
            .unwrap_or_else(|| panic!("Orthanc is missing: run tests/all once, or install orthanc"));
        let child = Command::new(program)
            .arg(&path)
            .env("TCP_NODELAY", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Orthanc starts");
        let me = Self { child, base: format!("http://127.0.0.1:{port}"), http: Http::trusting(None), log: words };
        let up = until(Duration::from_secs(60), || {
            me.http.try_get(&format!("{}/system", me.base), Ask::default()).is_some_and(|a| a.status == 200)
        });
        assert!(up, "Orthanc did not answer: {}", fs::read_to_string(scratch.join("orthanc.log")).unwrap_or_default());
        me
    }

    /// The address of its REST interface.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Takes a file in and gives its Orthanc id, or Orthanc's reason not to.
    ///
    /// # Errors
    /// What Orthanc said.
    pub fn upload(&self, file: Vec<u8>) -> Result<String, String> {
        let answer = self.http.send("POST", &format!("{}/instances", self.base), Ask::default(), file);
        if answer.status != 200 {
            return Err(answer.text());
        }
        Ok(answer.json()["ID"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends one instance to a peer; an error is Orthanc's.
    ///
    /// # Errors
    /// What Orthanc said.
    pub fn send(&self, id: &str, peer: &str) -> Result<(), String> {
        let body = serde_json::json!({ "Resources": [id], "Synchronous": true, "Permissive": false }).to_string();
        let answer = self.http.send(
            "POST",
            &format!("{}/modalities/{peer}/store", self.base),
            Ask::default(),
            body.into_bytes(),
        );
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    }
}

impl Orthanc {
    /// The DICOMweb plugin: a configuration that loads it must name it.
    ///
    /// # Panics
    /// When it is missing.
    #[must_use]
    pub fn dicomweb_plugin() -> PathBuf {
        let folders = ["/usr/share/orthanc/plugins", "/usr/lib/orthanc"];
        let file = folders.map(|f| Path::new(f).join("libOrthancDicomWeb.so")).into_iter().find(|p| p.exists());
        file.unwrap_or_else(|| {
            panic!("Orthanc's DICOMweb plugin is missing: run tests/all once, or install orthanc-dicomweb")
        })
    }

    /// Sends instances to a DICOMweb server of the configuration; an error is Orthanc's.
    ///
    /// # Errors
    /// What Orthanc said.
    pub fn stow(&self, ids: &[String], server: &str) -> Result<(), String> {
        let body = serde_json::json!({ "Resources": ids, "Synchronous": true }).to_string();
        let url = format!("{}/dicom-web/servers/{server}/stow", self.base);
        let answer = self.http.send("POST", &url, Ask::default(), body.into_bytes());
        let words = || fs::read_to_string(&self.log).unwrap_or_default();
        if answer.status == 200 { Ok(()) } else { Err(format!("{}\n{}", answer.text(), words())) }
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on now. Orthanc cannot be told to choose one itself.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}
