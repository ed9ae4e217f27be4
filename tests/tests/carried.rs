//! What leaves the house by itself: entries of the log to an audit repository, alarms to a webhook and by mail. The receivers are
//! real ones.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::python;
use leadglass_tests::person::{PASSWORD, joined};
use leadglass_tests::process::until;
use leadglass_tests::scratch;
use leadglass_tests::site::{alarms, copy_tree, drained, halt, instance_path, metric, replace_tree, stored};
use leadglass_tests::vault::Vault;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// An authority in `ca.pem`, and a certificate of it for this machine in `server.pem` and `server-key.pem`.
fn certificates(dir: &Path) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Receivers");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    server.distinguished_name.push(DnType::CommonName, "Receiver");
    let signed = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(dir.join("server.pem"), signed.pem()).unwrap();
    fs::write(dir.join("server-key.pem"), key.serialize_pem()).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}

/// rsyslog with TLS, an ordinary process with a configuration of its own. It ends with its value, and not in order.
struct Rsyslog {
    child: Child,
    file: PathBuf,
}

impl Rsyslog {
    fn start(dir: &Path, port: u16) -> Self {
        let at = |name: &str| dir.join(name).display().to_string();
        let text = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"64k\" defaultNetstreamDriver=\"ossl\"\n\
             defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\"\n\
             defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"raw\")\n",
            dir.display(),
            at("ca.pem"),
            at("server.pem"),
            at("server-key.pem"),
            at("received"),
        );
        fs::write(dir.join("rsyslog.conf"), text).unwrap();
        let log = fs::File::options().create(true).append(true).open(dir.join("rsyslog.log")).unwrap();
        let program = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"].into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.expect("rsyslog is missing: run tests/all once"))
            .args(["-n", "-i", "NONE", "-f"])
            .arg(dir.join("rsyslog.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, file: dir.join("received") }
    }

    /// The documents that arrived, with how often.
    fn received(&self) -> BTreeMap<String, usize> {
        let text = fs::read(&self.file).unwrap_or_default();
        let mut documents = BTreeMap::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((head, document)) = line.split_once('\u{feff}') else { continue };
            assert!(
                head.starts_with("<8") && head.contains(" leadglass ") && head.ends_with(" DICOM+RFC3881 - "),
                "{head}"
            );
            *documents.entry(document.to_owned()).or_default() += 1;
        }
        documents
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exported(vault: &Vault) -> BTreeSet<String> {
    let data = vault.folder();
    let words = ["audit", "export", "--format", "dicom", "--data"].map(OsStr::new);
    let output = vault.run(&[&words[..], &[data.as_os_str()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn store(vault: &Vault, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (f, data_set) = Fixture::named("ct-3.dcm").renamed(number);
        assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
        let path = format!("/studies/{}/metadata", f.study);
        assert_eq!(vault.ask(&path, Some(&vault.up.token), "application/dicom+json").status, 200);
    }
    drained(vault);
}

/// The receiver dies and comes back, twice, and so does the vault while it is away.
#[test]
fn every_entry_reaches_the_audit_repository_whoever_dies() {
    let dir = scratch();
    certificates(dir.path());
    let port = free_port();
    let ca = dir.path().join("ca.pem").display().to_string();
    let vault = Vault::with_config(&format!("[audit.syslog]\nhost = \"localhost\"\nport = {port}\nca = {ca:?}\n"));
    let arrived = |rsyslog: &Rsyslog, what: &str| {
        let expected = exported(&vault);
        let missing = || {
            let received = rsyslog.received();
            expected.iter().filter(|document| !received.contains_key(*document)).count()
        };
        let log = || fs::read_to_string(dir.path().join("rsyslog.log")).unwrap_or_default();
        assert!(until(SOON, || missing() == 0), "{what}: {} of {} are missing\n{}", missing(), expected.len(), log());
        expected.len()
    };

    // What was there before the receiver was comes, too; and nothing comes twice as long as nobody dies.
    store(&vault, 1..4);
    let rsyslog = Rsyslog::start(dir.path(), port);
    arrived(&rsyslog, "at first");
    let twice = rsyslog.received().into_iter().filter(|(_, times)| *times > 1).count();
    assert_eq!(twice, 0, "entries came twice");

    drop(rsyslog);
    store(&vault, 4..8);
    assert!(until(SOON, || metric(&vault, "leadglass_syslog_lag_entries") > 0), "the metrics do not show the outage");
    vault.kill_vault();
    store(&vault, 8..10);
    let rsyslog = Rsyslog::start(dir.path(), port);
    arrived(&rsyslog, "after both died");

    store(&vault, 10..14);
    drop(rsyslog);
    let rsyslog = Rsyslog::start(dir.path(), port);
    store(&vault, 14..16);
    let entries = arrived(&rsyslog, "after the second death");
    assert!(entries > 30, "{entries} are few");
    assert!(until(SOON, || metric(&vault, "leadglass_syslog_lag_entries") == 0));

    let data = vault.folder();
    let words = ["doctor", "--json", "--data"].map(OsStr::new);
    let said = vault.run(&[&words[..], &[data.as_os_str()]].concat()).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    let found = said["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == "syslog");
    assert!(found, "{said}");
}

/// A listener for HTTPS that says its port, refuses the first call, and then prints each body as a line.
const LISTENER: &str = r"
import http.server, ssl, sys
class Hook(http.server.BaseHTTPRequestHandler):
    calls = 0
    def do_POST(self):
        Hook.calls += 1
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(503 if Hook.calls == 1 else 204)
        self.end_headers()
        print(Hook.calls, body.decode(), flush=True)
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Hook)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// An object that somebody changed, and that somebody asked for: an alarm.
fn damaged(vault: &Vault) -> Fixture {
    let (f, data_set) = Fixture::named("ct-3.dcm").renamed(1);
    let object = stored(vault, &f, &data_set);
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).unwrap();
    let ask = Ask { token: Some(&vault.up.token), accept: Some("application/dicom"), range: None };
    let came = vault.http().try_get(&format!("{}{}", vault.up.http.dicomweb, instance_path(&f)), ask);
    assert!(came.is_none_or(|answer| answer.status >= 400 || answer.body.len() < data_set.len()));
    f
}

/// A webhook; ends when dropped.
struct Hook {
    child: Child,
    /// A configuration that names it.
    config: String,
    /// What it was told, behind the number of the call.
    told: Receiver<String>,
}

impl Hook {
    fn open(dir: &Path) -> Self {
        certificates(dir);
        let mut child = Command::new(python())
            .args(["-c", LISTENER])
            .args([dir.join("server.pem"), dir.join("server-key.pem")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let ca = dir.join("ca.pem").display().to_string();
        let config = format!("[alarms]\nwebhook = \"https://localhost:{port}/secret-path\"\nwebhook_ca = {ca:?}\n");
        let (tell, told) = sync_channel(64);
        // It ends with the hook, or with whoever listens.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, config, told }
    }

    /// The next call: its number, and the alarm. Nobody of `patients` is named in it.
    fn next(&self, patients: &[Fixture]) -> (u64, String) {
        let line = self.told.recv_timeout(SOON).expect("the hook is told nothing");
        let (call, body) = line.split_once(' ').unwrap();
        let said: Value = serde_json::from_str(body).unwrap();
        assert_eq!(said["source"], "leadglass");
        let mut fields: Vec<_> = said.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(fields, ["alarm", "at_ms", "entry", "source"]);
        for secret in patients.iter().flat_map(|f| [&f.patient_id, &f.study, &f.series, &f.instance]) {
            assert!(!line.contains(secret.as_str()));
        }
        (call.parse().unwrap(), said["alarm"].as_str().unwrap().to_owned())
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The hook's first answer is that it is busy; the alarm comes again, and names nobody.
#[test]
fn an_alarm_reaches_the_webhook_and_names_no_patient() {
    let dir = scratch();
    let hook = Hook::open(dir.path());
    let vault = Vault::with_config(&hook.config);
    let f = damaged(&vault);
    for call in [1, 2] {
        assert_eq!(hook.next(std::slice::from_ref(&f)), (call, "integrity".to_owned()));
    }
    assert!(!String::from_utf8_lossy(&vault.words()).contains("secret-path"), "the address may hold a secret");
}

/// Each is raised by what somebody does, is counted, and is an entry.
#[test]
fn breadth_budgets_and_emergencies_reach_the_webhook_and_a_fork_is_counted_beside_them() {
    const PATIENTS: u64 = 3;
    const BUDGET: u64 = 6;
    let dir = scratch();
    let hook = Hook::open(dir.path());
    let mut vault = Vault::with_config(&format!(
        "care = \"stated\"\n{}patients_per_hour = {PATIENTS}\n[budgets]\nperson_per_hour = {BUDGET}\n",
        hook.config
    ));
    let patients: Vec<Fixture> = (1..=BUDGET + 1)
        .map(|number| {
            let (f, data_set) = Fixture::named("ct-3.dcm").renamed(number);
            assert_eq!(vault.store(&f, &data_set).unwrap().status, 0);
            vault.asked_for(&f.patient_id);
            f
        })
        .collect();
    drained(&vault);
    halt(&vault);
    let older = scratch();
    copy_tree(&vault.up.data.keyd, older.path()).unwrap();
    vault.restart();
    let read = |f: &Fixture| {
        let path = format!("/studies/{}/metadata", f.study);
        vault.ask(&path, Some(&vault.up.tokens.dpo), "application/dicom+json").status
    };
    let counted = |kinds: &[&str]| kinds.iter().map(|kind| alarms(&vault, kind)).collect::<Vec<_>>();
    let kinds = ["unusual-breadth", "budget", "break-glass", "fork"];

    // One patient more than somebody usually sees. The hook was busy at first, and is told again.
    for f in &patients[..3] {
        assert_eq!(read(f), 200);
    }
    assert_eq!(counted(&kinds), [0, 0, 0, 0]);
    assert_eq!(read(&patients[3]), 200);
    assert_eq!(counted(&kinds), [1, 0, 0, 0]);
    for call in [1, 2] {
        assert_eq!(hook.next(&patients), (call, "unusual-breadth".to_owned()));
    }

    // One study more than the budget has.
    for f in &patients[4..6] {
        assert_eq!(read(f), 200);
    }
    assert_ne!(read(&patients[6]), 200);
    assert_eq!(hook.next(&patients), (3, "budget".to_owned()));
    assert_eq!(counted(&kinds), [1, 1, 0, 0]);

    // An emergency.
    {
        let (erika, _, codes) = joined(&vault, "erika");
        let reason = "Bewusstlos eingeliefert, Vorbefund wird gebraucht";
        let body = json!({ "study": patients[0].study, "reason": reason, "password": PASSWORD, "code": codes[0] });
        let opened = erika.ask("POST", "/api/v1/care/emergency", &body);
        assert_eq!(opened.status, 201, "{}", opened.text());
    }
    assert_eq!(hook.next(&patients), (4, "break-glass".to_owned()));
    assert_eq!(counted(&kinds), [1, 1, 1, 0]);

    // The key service's disk of before is put back: its log is not the one that the vault saw.
    halt(&vault);
    replace_tree(older.path(), &vault.up.data.keyd);
    vault.restart();
    assert!(until(SOON, || alarms(&vault, "fork") == 1), "the vault does not notice the older log");
    for kind in kinds {
        assert!(until(SOON, || entries_with(&vault, kind) > 0), "{kind} is in no entry");
    }
}

const MAIL_SERVER: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
mode, certificate, key = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
calls = 0

class Box:
    async def handle_DATA(self, server, session, envelope):
        global calls
        calls += 1
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "call": calls, "tls": session.ssl is not None or mode == "implicit", "login": bool(session.authenticated),
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": message["Subject"],
            "automatic": message["Auto-Submitted"], "text": message.get_content(), "raw": envelope.content.decode(),
        }), flush=True)
        return "451 4.3.2 come again" if calls == 1 else "250 2.0.0 taken"

def authenticate(server, session, envelope, mechanism, login):
    return AuthResult(success=login.login == b"vault" and login.password == b"correct horse")

def conversation():
    if mode == "clear":
        return SMTP(Box())
    starttls = {"tls_context": context, "require_starttls": True} if mode == "starttls" else {"auth_require_tls": False}
    return SMTP(Box(), authenticator=authenticate, auth_required=True, **starttls)

async def main():
    server = await asyncio.get_running_loop().create_server(
        conversation, "127.0.0.1", 0, ssl=context if mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

/// A mail server of somebody else's making, and a vault that is told of it; ends when dropped.
struct Post {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    vault: Vault,
}

impl Post {
    /// `mode` is the server's; the vault's is `tls`.
    fn open(dir: &Path, mode: &str, tls: &str, ca: &Path) -> Self {
        let mut child = Command::new(python())
            .args(["-c", MAIL_SERVER, mode])
            .args([dir.join("server.pem"), dir.join("server-key.pem")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("aiosmtpd is in .venv: run tests/all").unwrap();
        let password = dir.join("password");
        fs::write(&password, "correct horse\n").unwrap();
        let [ca, password] = [ca, &password].map(|path| path.display().to_string());
        let vault = Vault::with_config(&format!(
            "[alarms.email]\nhost = \"127.0.0.1\"\nport = {port}\ntls = {tls:?}\nca = {ca:?}\n\
             from = \"Leadglass <vault@practice.example>\"\nto = [\"it@practice.example\", \"dpo@practice.example\"]\n\
             credentials = {{ user = \"vault\", password = {{ file = {password:?} }} }}\n"
        ));
        Self { child, lines, vault }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server takes it at the second attempt only; by STARTTLS and by TLS from the first byte, with a login.
#[test]
fn an_alarm_reaches_people_by_mail_over_tls_and_names_no_patient() {
    for mode in ["starttls", "implicit"] {
        let dir = scratch();
        certificates(dir.path());
        let mut post = Post::open(dir.path(), mode, mode, &dir.path().join("ca.pem"));
        let f = damaged(&post.vault);
        for call in [1, 2] {
            let line = post.lines.next().unwrap().unwrap();
            let mail: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(mail["call"], call, "{mode}");
            assert_eq!((&mail["tls"], &mail["login"]), (&true.into(), &true.into()), "{mode}: {mail}");
            assert_eq!(mail["from"], "vault@practice.example");
            assert_eq!(mail["to"], serde_json::json!(["it@practice.example", "dpo@practice.example"]));
            assert_eq!(
                (&mail["subject"], &mail["automatic"]),
                (&"Leadglass alarm: integrity".into(), &"auto-generated".into())
            );
            let text = mail["text"].as_str().unwrap();
            assert!(text.contains("integrity") && text.contains("leadglass audit export"), "{text}");
            for secret in [&f.patient_id, &f.study, &f.series, &f.instance] {
                assert!(!line.contains(secret.as_str()), "{mode}");
            }
        }
        assert!(!String::from_utf8_lossy(&post.vault.words()).contains("correct horse"));
    }
}

/// A server that offers no TLS, and one whose authority is another: neither hears of it, and the program's log says so.
#[test]
fn no_mail_goes_to_a_server_that_is_not_proved() {
    let (dir, elsewhere) = (scratch(), scratch());
    certificates(dir.path());
    certificates(elsewhere.path());
    for (mode, tls, ca) in [("clear", "starttls", dir.path()), ("implicit", "implicit", elsewhere.path())] {
        let mut post = Post::open(dir.path(), mode, tls, &ca.join("ca.pem"));
        let _ = damaged(&post.vault);
        let said = || String::from_utf8_lossy(&post.vault.words()).contains("the mail server cannot be told an alarm");
        assert!(until(SOON, said), "{mode}");
        post.child.kill().unwrap();
        assert!(post.lines.next().is_none(), "{mode}: the server got a message");
    }
}
