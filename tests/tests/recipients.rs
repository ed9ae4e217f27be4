//! What goes to other houses by STOW-RS, and who has to hear of it when it is erased (GDPR Art. 19): Orthanc, another
//! Leadglass and dcmtk's storescp are the others.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::entries_with;
use leadglass_tests::eyes::Eyes;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::part10;
use leadglass_tests::peers::{Orthanc, dcmtk, echoscu, free_port, python, run_python, said};
use leadglass_tests::process::{forget_peak, kill_9, peak_bytes, resident_bytes, until};
use leadglass_tests::scratch;
use leadglass_tests::site::{keyd, large, sibling};
use leadglass_tests::vault::{Vault, program};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Reads a rejection note. Prints its title, its patient and what it rejects. Argument: the file.
const READ_NOTE: &str = r#"
import json, sys, pydicom
note = pydicom.dcmread(sys.argv[1])
[evidence] = note.CurrentRequestedProcedureEvidenceSequence
assert evidence.StudyInstanceUID == note.StudyInstanceUID and note.Modality == "KO"
rejected = [item.ReferencedSOPInstanceUID for series in evidence.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
assert sorted(rejected) == sorted(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in note.ContentSequence)
print(json.dumps({"title": note.ConceptNameCodeSequence[0].CodeValue, "patient": str(note.PatientID),
                  "study": note.StudyInstanceUID, "rejected": sorted(rejected)}))
"#;

/// A house that wants a certificate. It has no time at first, takes at most three at once, and never the instance that
/// is named last. Arguments: port, certificate, key, authority, a folder for what it takes, that instance.
const STUBBORN: &str = r#"
import io, json, ssl, sys, warnings, pydicom
from http.server import BaseHTTPRequestHandler, HTTPServer
warnings.simplefilter("ignore")
port, cert, key, ca, folder, refused = sys.argv[1:7]
asked = []

class Studies(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind, boundary = self.headers["Content-Type"].split("; boundary=")
        assert (self.path, kind) == ("/studies", 'multipart/related; type="application/dicom"'), (self.path, kind)
        parts = [part.split(b"\r\n\r\n", 1) for part in body.split(b"--" + boundary.encode())[1:-1]]
        assert all(head == b"\r\nContent-Type: application/dicom" for head, _ in parts)
        asked.append(len(parts))
        if len(asked) == 1:
            return self.answer(503, {})
        if len(parts) > 3:
            return self.answer(413, {})
        taken, failed = [], []
        for _, file in parts:
            uid = pydicom.dcmread(io.BytesIO(file[:-2])).SOPInstanceUID
            item = {"00081155": {"vr": "UI", "Value": [uid]}}
            if uid == refused:
                failed.append(item | {"00081197": {"vr": "US", "Value": [0xA700]}})
            else:
                taken.append(item)
                open(f"{folder}/{uid}", "wb").write(file[:-2])
        told = {"00081199": {"vr": "SQ", "Value": taken}}
        if failed:
            told["00081198"] = {"vr": "SQ", "Value": failed}
        self.answer(202 if failed else 200, told)

    def answer(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
server = HTTPServer(("127.0.0.1", int(port)), Studies)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("open", flush=True)
server.serve_forever()
"#;

/// `leadglass …` of the running vault: exit code, its JSON, all that it said.
fn leadglass(vault: &Vault, words: &[&str], rest: &[&str]) -> (i32, Value, String) {
    let folder = vault.folder();
    let data = ["--data", folder.to_str().unwrap(), "--json"];
    let output = Command::new(program()).args([words, &data, rest].concat()).stdin(Stdio::null()).output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), told, said(&output))
}

fn paper(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn orthanc(dir: &Path) -> Orthanc {
    let further = json!({ "Plugins": [Orthanc::dicomweb_plugin()], "DicomWeb": { "Enable": true } });
    Orthanc::start_with(dir, &[], &further)
}

/// An instance as Orthanc has it.
fn held(vault: &Vault, orthanc: &Orthanc, instance: &str) -> Option<Vec<u8>> {
    let base = orthanc.base();
    let found = vault.http().send("POST", &format!("{base}/tools/lookup"), Ask::default(), instance.into());
    let id = found.json()[0]["ID"].as_str()?.to_owned();
    Some(vault.http().get(&format!("{base}/instances/{id}/file"), Ask::default()).body)
}

/// An authority in `ca.pem`, and certificates of it: this machine's in `server.pem`, ours in `client.pem`, keys beside
/// them.
fn certificates(dir: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Peers");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let authority = Issuer::new(ca, ca_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

/// Another house, which ends when it is dropped.
struct Colleague(Child);

impl Colleague {
    fn open(port: u16, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new(dcmtk("storescp"));
        command.args(["-aet", "COLLEAGUE", "+B", "+xa", "-od"]).arg(folder).arg(port.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        assert!(until(SOON, || echoscu(here, "TEST", "COLLEAGUE").status.success()));
        Self(child)
    }
}

impl Drop for Colleague {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn images_go_to_orthanc_by_stow_as_they_came() {
    let dir = scratch();
    let orthanc = orthanc(dir.path());
    let nobody = free_port();
    let vault = Vault::with_config(&format!(
        "[[peers]]\nname = \"orthanc\"\nstow = \"{}/dicom-web/studies\"\n\
         [[peers]]\nname = \"nobody\"\nstow = \"http://127.0.0.1:{nobody}/studies\"\n",
        orthanc.base()
    ));
    // More than one request takes.
    let (first, first_set) = Fixture::named("ct-1.dcm").renamed(1);
    let mut sent: Vec<(Fixture, Vec<u8>)> = (1..70).map(|n| sibling(&first, &first_set, 100 + n)).collect();
    sent.push((first.clone(), first_set));
    let others = [Fixture::named("dx-jpegll.dcm").renamed(2), Fixture::named("pdf.dcm").renamed(3), large(4, 300)];
    for (f, data_set) in sent.iter().chain(&others) {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
        vault.asked_for(&f.patient_id);
    }
    let to = |peer: &str, f: &Fixture| {
        let study = paper(dir.path(), "study.txt", &f.study);
        leadglass(&vault, &["export"], &["--to", peer, "--study-file", &study])
    };
    let pid = vault.now().pids.vault;
    for (f, count) in [(&first, 70), (&others[0].0, 1), (&others[1].0, 1), (&others[2].0, 1)] {
        forget_peak(pid).unwrap();
        let before = resident_bytes(pid);
        let (code, told, words) = to("orthanc", f);
        assert_eq!((code, &told["taken"], &told["total"]), (0, &json!(count), &json!(count)), "{words}");
        let more = peak_bytes(pid).saturating_sub(before) >> 20;
        assert!(more < 96, "{} took {more} MiB", f.file);
    }
    for (f, data_set) in sent.iter().chain(&others) {
        let file = held(&vault, &orthanc, &f.instance).unwrap_or_else(|| panic!("{} did not arrive", f.file));
        assert!(part10::data_set(&file) == *data_set, "{} arrived otherwise than it came", f.file);
    }
    let (code, told, words) = to("nobody", &first);
    assert_eq!((code, &told["taken"]), (3, &json!(0)), "{words}");
    assert!(told["why"][0].as_str().is_some_and(|why| !why.contains("studies")), "the address is not told: {told}");
}

#[test]
fn a_house_with_little_room_gets_them_in_smaller_requests_and_what_it_refuses_is_said() {
    let dir = scratch();
    certificates(dir.path());
    let port = free_port();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let own = format!("certificate = \"{}\"\nkey = \"{}\"\n", at("client.pem"), at("client-key.pem"));
    let peer = |name: &str, more: &str| {
        let stow = format!("https://127.0.0.1:{port}/studies");
        format!("[[peers]]\nname = \"{name}\"\nstow = \"{stow}\"\nca = \"{}\"\n{more}", at("ca.pem"))
    };
    let vault = Vault::with_config(&format!("{}{}", peer("stubborn", &own), peer("unknown", "")));
    let (first, first_set) = Fixture::named("ct-1.dcm").renamed(1);
    let mut sent: Vec<(Fixture, Vec<u8>)> = (1..7).map(|n| sibling(&first, &first_set, 100 + n)).collect();
    sent.push((first.clone(), first_set));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let (refused, folder) = (&sent[2].0.instance, dir.path().join("taken"));
    fs::create_dir(&folder).unwrap();
    let words = [&port.to_string(), &at("server.pem"), &at("server-key.pem"), &at("ca.pem"), &at("taken"), refused];
    let mut command = Command::new(python());
    command.args(["-c", STUBBORN]).args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut stubborn = Colleague(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(stubborn.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "open");

    vault.asked_for(&first.patient_id);
    let study = paper(dir.path(), "study.txt", &first.study);
    let (code, told, words) = leadglass(&vault, &["export"], &["--to", "unknown", "--study-file", &study]);
    assert_eq!((code, &told["taken"]), (3, &json!(0)), "without a certificate nobody is let in: {words}");
    let (code, told, words) = leadglass(&vault, &["export"], &["--to", "stubborn", "--study-file", &study]);
    assert_eq!((code, &told["taken"], &told["why"]), (3, &json!(6), &json!(["it answered A700"])), "{words}");
    assert_eq!(files(&folder).len(), 6);
    for (f, data_set) in sent.iter().filter(|(f, _)| f.instance != *refused) {
        let file = fs::read(folder.join(&f.instance)).unwrap();
        assert!(part10::data_set(&file) == *data_set, "{} arrived otherwise than it came", f.instance);
    }
}

#[test]
fn another_leadglass_takes_them_with_a_token_also_when_it_dies_meanwhile() {
    let (there, dir) = (Vault::up(), scratch());
    let token = paper(dir.path(), "token", &format!("{}\n", there.up.token));
    let wrong = paper(dir.path(), "wrong", "lgt_nobody");
    let peer = |name: &str, token: &str| {
        let (stow, ca) = (format!("{}/studies", there.up.http.dicomweb), &there.up.ca);
        format!("[[peers]]\nname = \"{name}\"\nstow = \"{stow}\"\nca = \"{ca}\"\ntoken = {{ file = \"{token}\" }}\n")
    };
    let vault = Vault::with_config(&format!("{}{}", peer("sister", &token), peer("stranger", &wrong)));
    let (first, first_set) = Fixture::named("ct-1.dcm").renamed(1);
    let mut sent: Vec<(Fixture, Vec<u8>)> = (1..100).map(|n| sibling(&first, &first_set, 100 + n)).collect();
    sent.push((first.clone(), first_set));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    vault.asked_for(&first.patient_id);
    let study = paper(dir.path(), "study.txt", &first.study);
    let (code, told, words) = leadglass(&vault, &["export"], &["--to", "stranger", "--study-file", &study]);
    assert_eq!((code, &told["taken"], &told["why"]), (3, &json!(0), &json!(["it answered 401"])), "{words}");

    // It dies while it takes them; what is sent again is there once.
    let folder = vault.folder();
    let mut running = Command::new(program())
        .args(["export", "--data", folder.to_str().unwrap(), "--to", "sister", "--study-file", &study])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(until(SOON, || entries_with(&vault, "to-sister") > 0));
    let pid = there.now().pids.vault;
    kill_9(pid);
    let _whatever = running.wait().unwrap();
    there.wait_restarted(pid);
    let (_, exports, _) = leadglass(&vault, &["export", "--list"], &[]);
    let id = exports.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let (code, told, words) = leadglass(&vault, &["export"], &["--to", "sister", "--resume", &id]);
    assert_eq!((code, &told["taken"]), (0, &json!(100)), "{words}");
    for (f, data_set) in &sent {
        assert!(there.data_set_of(f) == *data_set, "{} arrived otherwise than it came", f.instance);
    }
    let found = there.ask(
        &format!("/studies?StudyInstanceUID={}&includefield=00201208", first.study),
        Some(&there.up.token),
        "application/dicom+json",
    );
    assert_eq!(found.json()[0]["00201208"]["Value"][0], 100);
}

#[test]
fn whoever_has_copies_is_named_after_the_erasure_and_peers_get_a_rejection_note() {
    let dir = scratch();
    let (orthanc, port) = (orthanc(dir.path()), free_port());
    let vault = Vault::with_config(&format!(
        "[erasure]\ncooling_off = \"0s\"\napprovals = 0\n\
         [[peers]]\nname = \"clinic\"\nstow = \"{}/dicom-web/studies\"\n\
         [[peers]]\nname = \"colleague\"\nhost = \"127.0.0.1\"\nport = {port}\naet = \"COLLEAGUE\"\n\
         [[peers]]\nname = \"never-asked\"\nhost = \"127.0.0.1\"\nport = {port}\naet = \"COLLEAGUE\"\n",
        orthanc.base()
    ));
    let doomed = Fixture::named("ct-1.dcm").renamed(1);
    let beside = sibling(&doomed.0, &doomed.1, 7);
    let kept = Fixture::named("ct-3.dcm").renamed(2);
    for (f, data_set) in [&doomed, &beside, &kept] {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0);
    }
    let study = paper(dir.path(), "study.txt", &doomed.0.study);
    let case = vault.asked_for(&doomed.0.patient_id);
    let received = dir.path().join("received");
    let open = Colleague::open(port, &received);
    for peer in ["clinic", "colleague"] {
        let (code, _, words) = leadglass(&vault, &["export"], &["--to", peer, "--study-file", &study]);
        assert_eq!(code, 0, "{words}");
    }
    drop(open);
    let (package, named) = (dir.path().join("p.zip"), paper(dir.path(), "to.txt", "Dr. Weber, Ulm\n"));
    let handed = ["--study-file", &study, "--out", package.to_str().unwrap(), "--recipient-file"];
    let names_her = paper(dir.path(), "her.txt", &format!("for {}", doomed.0.patient_id));
    let (code, _, words) = leadglass(&vault, &["export"], &[&handed[..], &[&names_her]].concat());
    assert!(code == 1 && words.contains("holds the patient's"), "{words}");
    assert_eq!(leadglass(&vault, &["export"], &[&handed[..], &[&named]].concat()).0, 0);
    // The patient is told who has copies (Art. 15(1)(c)); whoever else gets a package is not.
    let told = |package: &Path| {
        let read = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('INFO/INFO.HTM').decode())";
        let output = run_python(read, &[package.to_str().unwrap().to_owned()]);
        assert!(output.status.success(), "{}", said(&output));
        let page = String::from_utf8(output.stdout).unwrap();
        ["clinic (", "colleague (", "Dr. Weber, Ulm ("].iter().filter(|name| page.contains(**name)).count()
    };
    let own = dir.path().join("own.zip");
    assert_eq!(leadglass(&vault, &["export"], &["--study-file", &study, "--out", own.to_str().unwrap()]).0, 0);
    assert_eq!((told(&own), told(&package)), (3, 0));

    vault.close_case(&case);
    let ordered = ["--study-file", &study, "--ground", "objection", "--no-rule"];
    let (_, ordered, _) = leadglass(&vault, &["erase", "order"], &ordered);
    let id = ordered["id"].as_str().unwrap();
    let recipients = |more: &[&str]| {
        let (code, found, words) = leadglass(&vault, &["erase", "recipients", id], more);
        assert_eq!(code, 0, "{words}");
        let line = |one: &Value| {
            let text = |field: &str| one[field].as_str().unwrap_or("-").to_owned();
            (text("name"), text("handed"), one["instances_known"].as_u64().unwrap(), text("notice"))
        };
        found.as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    let all = |clinic: &str, colleague: &str| {
        let row = |name: &str, handed: &str, notice: &str| (name.to_owned(), handed.to_owned(), 2, notice.to_owned());
        vec![
            row("clinic", "peer", clinic),
            row("colleague", "peer", colleague),
            row("Dr. Weber, Ulm", "package", "none"),
        ]
    };
    assert_eq!(recipients(&[]), all("none", "none"), "known before anything happens");
    recipients(&["--tell"]);
    let run = || leadglass(&vault, &["erase", "run", id], &[]);
    let (code, waits, _) = run();
    assert_eq!((code, &waits["waits"]), (3, &json!("key-host-approval")));
    assert_eq!(recipients(&[]), all("waiting", "waiting"));
    let approval = waits["detail"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    keyd(&vault.up.data.keyd, &["approve", &approval]);

    // One of them is not there. Everything is erased all the same, and nothing is forgotten when the vault is killed.
    let (code, waits, words) = run();
    assert_eq!((code, &waits["waits"]), (3, &json!("not-told")), "{words}");
    assert_eq!(vault.file_of(&doomed.0).unwrap_err(), 404);
    assert_eq!(recipients(&[]), all("told", "waiting"));
    vault.kill_vault();
    let before = files(&received);
    let open = Colleague::open(port, &received);
    let (code, order, words) = run();
    assert_eq!((code, &order["stage"]), (0, &json!("done")), "{words}");
    drop(open);
    assert_eq!(recipients(&[]), all("told", "told"));

    // Both have the same to read: what is rejected, why, and of whom.
    let came: Vec<PathBuf> = files(&received).difference(&before).cloned().collect();
    let [note] = came.as_slice() else { panic!("{came:?}") };
    let checked = Command::new("dciodvfy").arg("-new").arg(note).output().expect("dciodvfy: install dicom3tools");
    let words = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(words.contains("KeyObjectSelectionDocument") && !words.contains("Error"), "{words}");
    let mut rejected = [doomed.0.instance.clone(), beside.0.instance.clone()];
    rejected.sort();
    let expected =
        json!({ "title": "113039", "patient": doomed.0.patient_id, "study": doomed.0.study, "rejected": rejected });
    let read = |note: &Path| {
        let output = run_python(READ_NOTE, &[note.to_str().unwrap().to_owned()]);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(read(note), expected);
    let base = orthanc.base();
    let series = vault.http().get(&format!("{base}/series?expand"), Ask::default()).json();
    let notes = series.as_array().unwrap().iter().filter(|one| one["MainDicomTags"]["Modality"] == "KO");
    let notes: Vec<&Value> = notes.map(|one| &one["Instances"][0]).collect();
    let [only] = notes.as_slice() else { panic!("{notes:?}") };
    let url = format!("{base}/instances/{}/file", only.as_str().unwrap());
    let at_the_clinic = dir.path().join("clinic.dcm");
    fs::write(&at_the_clinic, vault.http().get(&url, Ask::default()).body).unwrap();
    assert_eq!(read(&at_the_clinic), expected);

    // The certificate says who, and names nobody else; nothing else is left.
    let out = dir.path().join("certificate.json");
    let pdf = dir.path().join("certificate.pdf");
    let to = ["--out", out.to_str().unwrap(), "--pdf", pdf.to_str().unwrap()];
    assert_eq!(leadglass(&vault, &["erase", "certificate", id], &to).0, 0);
    let signed: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    let text: Value = serde_json::from_str(signed["statement"].as_str().unwrap()).unwrap();
    let names: Vec<&Value> = text["copies_with"].as_array().unwrap().iter().map(|with| &with["name"]).collect();
    assert_eq!(names, ["clinic", "colleague", "Dr. Weber, Ulm"]);
    assert!(text["copies_with"][0]["told_at"].is_number() && text["copies_with"][2]["told_at"].is_null());
    let verified = Command::new(program()).args(["certificate", "verify"]).arg(&out).output().unwrap();
    assert_eq!(verified.status.code(), Some(3), "it holds, and no key was compared: {}", said(&verified));
    let eyes = Eyes::for_words(&[&doomed.0.patient_id, &doomed.0.study]);
    assert!(eyes.look("certificate", &fs::read(&out).unwrap()).is_empty());
    assert!(eyes.look_under(&vault.folder()).is_empty() && eyes.look("words", &vault.words()).is_empty());
    for word in ["notice-clinic", "notice-colleague", "tell-peers"] {
        assert!(until(SOON, || entries_with(&vault, word) > 0), "{word} is in no entry");
    }
    assert!(vault.data_set_of(&kept.0) == kept.1);
}
