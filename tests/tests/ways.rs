//! Every fixture by every way in, to both stores, comes back byte for byte: of a file the file, of a C-STORE the data set.
//!
//! Each way brings instances of its own, so that none is a copy of another's; all ways of a store share one vault.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::devices::{tls_port, told};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{DICOMWEB_CLIENT, Orthanc, PYNETDICOM_TLS, run_python, said, storescu};
use leadglass_tests::recorder::Recorder;
use leadglass_tests::site::{drained, large};
use leadglass_tests::vault::{Vault, program};
use leadglass_tests::weed::{BUCKET, KEY, SECRET, Weed};
use leadglass_tests::{part10, scratch};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A way in.
struct Way {
    name: &'static str,
    /// Brings all files in; gives what of each must come back.
    bring: fn(&Vault, &Path, &[Sent]) -> Vec<Vec<u8>>,
    kept: Kept,
    /// What it can carry: peers that read what they send know no HTJ2K.
    fixtures: fn() -> Vec<Fixture>,
}

/// What of a file is kept.
#[derive(PartialEq)]
enum Kept {
    File,
    DataSet,
}

/// What is sent, and the file that holds it.
struct Sent {
    f: Fixture,
    bytes: Vec<u8>,
    path: PathBuf,
}

const WAYS: [Way; 7] = [
    Way { name: "C-STORE by dcmtk", bring: dcmtk, kept: Kept::DataSet, fixtures: Fixture::all },
    Way {
        name: "C-STORE over TLS by pynetdicom",
        bring: pynetdicom_over_tls,
        kept: Kept::DataSet,
        fixtures: Fixture::all,
    },
    Way { name: "STOW-RS by dicomweb-client", bring: dicomweb_client, kept: Kept::File, fixtures: Fixture::all },
    Way { name: "STOW-RS by curl", bring: curl, kept: Kept::File, fixtures: Fixture::every },
    Way { name: "STOW-RS by Orthanc", bring: orthanc, kept: Kept::File, fixtures: Fixture::all },
    Way { name: "import of a folder", bring: folder, kept: Kept::File, fixtures: Fixture::every },
    Way { name: "import of a ZIP archive", bring: archive, kept: Kept::File, fixtures: Fixture::every },
];

/// Each fixture is a study of its own by each way, and one person reads them all.
const BUDGETS: &str = "[budgets]\nreading_room_per_hour = 2000\nreading_room_per_day = 2000\n";

/// More than two parts of an upload to a bucket.
const LARGE_MIB: u32 = 11;

#[test]
fn every_fixture_by_every_way_comes_back_from_a_folder() {
    every_way_into(&Vault::with_config(BUDGETS));
}

#[test]
fn every_fixture_by_every_way_comes_back_from_a_bucket() {
    let (weed, keys) = (Weed::start(), scratch());
    let file = keys.path().join("credentials");
    fs::write(&file, format!("[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")).unwrap();
    let vault = Vault::with_config(&format!(
        r#"{BUDGETS}
        [store.s3]
        endpoint = "http://{}"
        bucket = "{BUCKET}"
        prefix = "vault"
        part_bytes = {}
        credentials = {{ file = "{}" }}
        "#,
        weed.s3(),
        5 << 20,
        file.display()
    ));
    every_way_into(&vault);
    assert!(weed.bucket().len() >= WAYS.len() * (Fixture::all().len() + 1), "they lie in the bucket");
}

fn every_way_into(vault: &Vault) {
    let mut kept = Vec::new();
    for (number, way) in (1..).zip(&WAYS) {
        let dir = scratch();
        let sent = files(dir.path(), number, &(way.fixtures)());
        let expected = (way.bring)(vault, dir.path(), &sent);
        assert_eq!(expected.len(), sent.len());
        kept.push(sent.into_iter().zip(expected).collect::<Vec<_>>());
    }
    // From where they are kept, and not from what has not got there yet.
    drained(vault);
    for (way, kept) in WAYS.iter().zip(&kept) {
        for (Sent { f, .. }, expected) in kept {
            let file = vault.file_of(f).unwrap_or_else(|status| panic!("{}, {}: status {status}", way.name, f.file));
            let came = if way.kept == Kept::File { &file } else { part10::data_set(&file) };
            assert!(came == expected, "{}, {}: {} bytes, not {}", way.name, f.file, came.len(), expected.len());
        }
    }
    assert!(vault.never_died());
}

/// These fixtures and a large instance under names of this way, as files in `dir`.
fn files(dir: &Path, way: u64, fixtures: &[Fixture]) -> Vec<Sent> {
    let mut all: Vec<(Fixture, Vec<u8>)> =
        (100 * way..).zip(fixtures).map(|(salt, fixture)| fixture.renamed_file(salt)).collect();
    let (big, data_set) = large(way, LARGE_MIB);
    let file = part10::file(&big.sop_class, &big.instance, &big.transfer_syntax, &data_set);
    all.push((Fixture { file: "large.dcm".to_owned(), data_set_offset: file.len() - data_set.len(), ..big }, file));
    all.into_iter()
        .map(|(f, bytes)| {
            let path = dir.join(&f.file);
            fs::write(&path, &bytes).unwrap();
            Sent { f, bytes, path }
        })
        .collect()
}

/// It encodes some data sets anew; the recorder witnesses what it really sends.
fn dcmtk(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let recorder = Recorder::listen();
    let send = |Sent { f, path, .. }: &Sent| {
        for (peer, title) in [(recorder.address(), "RECORDER"), (vault.dicom(), &vault.up.dicom.aet)] {
            let done = storescu(dir, peer, "STORESCU", title, f, path);
            assert!(done.status.success(), "{} to {title}: {}", f.file, said(&done));
        }
        recorder.of(&f.instance).unwrap().data_set
    };
    sent.iter().map(send).collect()
}

fn pynetdicom_over_tls(vault: &Vault, _dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let up = told(vault);
    let mut arguments = vec![tls_port(&up).port().to_string()];
    for word in [&up["dicom"]["aet"], &up["ca"], &up["client"]["cert"], &up["client"]["key"]] {
        arguments.push(word.as_str().unwrap().to_owned());
    }
    arguments.push("TLSv1_3".to_owned());
    arguments.extend(paths(sent));
    let done = run_python(PYNETDICOM_TLS, &arguments);
    let lines = String::from_utf8_lossy(&done.stdout).into_owned();
    for Sent { f, .. } in sent {
        assert!(lines.lines().any(|line| line == format!("{} 0000", f.file)), "{}: {}", f.file, said(&done));
    }
    sent.iter().map(|Sent { f, bytes, .. }| bytes[f.data_set_offset..].to_vec()).collect()
}

/// It encodes files anew, and keeps what it sends.
fn dicomweb_client(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    let mut arguments = vec![vault.up.http.dicomweb.clone(), vault.up.token.clone(), vault.up.ca.clone()];
    arguments.push(out.display().to_string());
    arguments.extend(paths(sent));
    let done = run_python(DICOMWEB_CLIENT, &arguments);
    assert!(String::from_utf8_lossy(&done.stdout).contains(&format!("all {}", sent.len())), "{}", said(&done));
    sent.iter().map(|Sent { f, .. }| fs::read(out.join(&f.file)).unwrap()).collect()
}

fn curl(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let body = dir.join("body");
    let mut out = fs::File::create(&body).unwrap();
    for Sent { bytes, .. } in sent {
        out.write_all(b"--b-1\r\nContent-Type: application/dicom\r\n\r\n").unwrap();
        out.write_all(bytes).unwrap();
        out.write_all(b"\r\n").unwrap();
    }
    out.write_all(b"--b-1--\r\n").unwrap();
    let config = dir.join("curl.config");
    fs::write(&config, format!("header = \"Authorization: Bearer {}\"\n", vault.up.token)).unwrap();
    let done = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--cacert", &vault.up.ca, "--config"])
        .arg(&config)
        .args(["--header", "Content-Type: multipart/related; type=\"application/dicom\"; boundary=b-1"])
        .args(["--header", "Accept: application/dicom+json", "--data-binary", &format!("@{}", body.display())])
        .arg(format!("{}/studies", vault.up.http.dicomweb))
        .stdin(Stdio::null())
        .output()
        .expect("curl is missing: run tests/all once, or install curl");
    assert!(done.status.success(), "{}", said(&done));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["00081199"]["Value"].as_array().unwrap().len(), sent.len(), "{}", said(&done));
    whole(sent)
}

fn orthanc(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let further = serde_json::json!({
        "Plugins": [Orthanc::dicomweb_plugin()],
        "HttpsCACertificates": vault.up.ca,
        "DicomWeb": { "Enable": true, "Servers": { "vault": {
            "Url": format!("{}/", vault.up.http.dicomweb),
            "HttpHeaders": { "Authorization": format!("Bearer {}", vault.up.token) },
            "ChunkedTransfers": true, "HasDelete": false,
        } } },
    });
    let orthanc = Orthanc::start_with(dir, &[], &further);
    let upload = |Sent { f, bytes, .. }: &Sent| {
        orthanc.upload(bytes.clone()).unwrap_or_else(|e| panic!("{} to Orthanc: {e}", f.file))
    };
    let ids: Vec<String> = sent.iter().map(upload).collect();
    orthanc.stow(&ids, "vault").unwrap_or_else(|e| panic!("{e}"));
    whole(sent)
}

fn folder(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    let source = dir.join("folder");
    fs::create_dir(&source).unwrap();
    for Sent { f, path, .. } in sent {
        fs::rename(path, source.join(&f.file)).unwrap();
    }
    import(vault, dir, &source, sent.len());
    whole(sent)
}

fn archive(vault: &Vault, dir: &Path, sent: &[Sent]) -> Vec<Vec<u8>> {
    const PACK: &str = r"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:
    for name in sys.argv[2:]:
        z.write(name, 'disc/' + name.rsplit('/', 1)[-1])
";
    let archive = dir.join("all.zip");
    let words: Vec<String> = std::iter::once(archive.display().to_string()).chain(paths(sent)).collect();
    let made: Output = run_python(PACK, &words);
    assert!(made.status.success(), "{}", said(&made));
    import(vault, dir, &archive, sent.len());
    whole(sent)
}

fn import(vault: &Vault, dir: &Path, source: &Path, count: usize) {
    let mut command = Command::new(program());
    command.arg("import").arg("--data").arg(vault.folder()).arg("--ledger").arg(dir.join("ledger"));
    let done = command.arg("--json").arg(source).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["stored"], count, "{report}");
}

fn paths(sent: &[Sent]) -> impl Iterator<Item = String> {
    sent.iter().map(|Sent { path, .. }| path.display().to_string())
}

fn whole(sent: &[Sent]) -> Vec<Vec<u8>> {
    sent.iter().map(|Sent { bytes, .. }| bytes.clone()).collect()
}
