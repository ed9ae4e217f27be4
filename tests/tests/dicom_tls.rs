//! The TLS port of the DICOM listener, asked by dcmtk, pynetdicom and openssl: who gets in, who does not and what is said
//! about it, and that what comes in comes back.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::devices::{audited, device, refusals, tls_port, told};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{PYNETDICOM_TLS, dcmtk, echoscu, run_python, said, storescu, storescu_with};
use leadglass_tests::recorder::Recorder;
use leadglass_tests::scratch;
use leadglass_tests::vault::Vault;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn path(value: &serde_json::Value) -> &str {
    value.as_str().expect("a path")
}

/// `echoscu` to the TLS port, with these words about TLS and titles.
fn echo(up: &serde_json::Value, words: &[&str]) -> Output {
    let port = tls_port(up).port().to_string();
    Command::new(dcmtk("echoscu"))
        .args(words)
        .args(["-to", "10", "-ta", "10", "-aec", path(&up["dicom"]["aet"]), "127.0.0.1", &port])
        .stdin(Stdio::null())
        .output()
        .expect("echoscu runs")
}

/// A hospital's own authority, and what it issues.
struct Hospital {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Hospital {
    fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(dir.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// A device's certificate and key, valid until the end of that year.
    fn issue(&self, name: &str, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2015, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let at = |suffix: &str| self.dir.join(format!("{name}{suffix}.pem"));
        fs::write(at(""), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(at("-key"), key.serialize_pem()).unwrap();
        (at("").display().to_string(), at("-key").display().to_string())
    }
}

#[test]
fn only_a_certificate_of_our_own_gets_past_the_tls_port() {
    let (vault, scratch) = (Vault::up(), scratch());
    let up = told(&vault);
    let (ca, cert, key) = (path(&up["ca"]), path(&up["client"]["cert"]), path(&up["client"]["key"]));

    let ours = echo(&up, &["+tls", key, cert, "+cf", ca]);
    assert!(ours.status.success(), "with our certificate: {}", said(&ours));

    let nobody = echo(&up, &["+tla", "+cf", ca]);
    assert!(!nobody.status.success(), "without a certificate: {}", said(&nobody));

    let clear = echo(&up, &[]);
    assert!(!clear.status.success(), "in clear: {}", said(&clear));

    let stranger = Hospital::new(scratch.path(), "stranger");
    let (foreign_cert, foreign_key) = stranger.issue("foreign", 2100);
    let stranger = echo(&up, &["+tls", &foreign_key, &foreign_cert, "+cf", ca]);
    assert!(!stranger.status.success(), "with a stranger's certificate: {}", said(&stranger));

    // The vault's own towards the key service is of another authority, and no device's.
    let tls = vault.folder().join("tls");
    let own = ["vault-key.pem", "vault.pem"].map(|name| tls.join(name).display().to_string());
    let own = echo(&up, &["+tls", &own[0], &own[1], "+cf", ca]);
    assert!(!own.status.success(), "with the vault's own certificate: {}", said(&own));

    // Those who may are served as before, on both ports.
    assert!(echo(&up, &["+tls", key, cert, "+cf", ca]).status.success());
    let plain = echoscu(vault.dicom(), "ECHOSCU", path(&up["dicom"]["aet"]));
    assert!(plain.status.success(), "{}", said(&plain));
    assert!(vault.never_died());

    for (reason, times) in [("no-certificate", 1), ("no-tls", 1), ("certificate-unknown-issuer", 2)] {
        assert!(refusals(&vault, reason) >= times, "{reason}: {}", vault.metrics().text());
        assert!(audited(&vault, reason), "{reason} stands in no entry");
    }
}

/// dcmtk encodes some data sets anew; the recorder witnesses what it really sends.
#[test]
fn every_fixture_sent_by_dcmtk_over_tls_comes_back_as_it_was_sent() {
    let (vault, recorder, scratch) = (Vault::up(), Recorder::listen(), scratch());
    let up = told(&vault);
    let words = ["+tls", path(&up["client"]["key"]), path(&up["client"]["cert"]), "+cf", path(&up["ca"])];
    for f in Fixture::all() {
        let seen = storescu(scratch.path(), recorder.address(), "STORESCU", "RECORDER", &f, &f.path());
        assert!(seen.status.success(), "{} to the recorder: {}", f.file, said(&seen));
        let aet = path(&up["dicom"]["aet"]);
        let sent = storescu_with(&words, scratch.path(), tls_port(&up), "STORESCU", aet, &f, &f.path());
        assert!(sent.status.success(), "{}: {}", f.file, said(&sent));
        let witness = recorder.of(&f.instance).expect("the recorder got it");
        assert!(vault.data_set_of(&f) == witness.data_set, "{}", f.file);
    }
}

#[test]
fn every_fixture_sent_by_pynetdicom_over_tls_1_2_and_1_3_comes_back_byte_for_byte() {
    let fixtures = Fixture::all();
    let vault = Vault::up();
    let up = told(&vault);
    let port = tls_port(&up).port().to_string();
    let paths = [&up["dicom"]["aet"], &up["ca"], &up["client"]["cert"], &up["client"]["key"]].map(path);
    for version in ["TLSv1_3", "TLSv1_2"] {
        let mut arguments = vec![port.clone()];
        arguments.extend(paths.iter().map(|word| (*word).to_owned()));
        arguments.push(version.to_owned());
        arguments.extend(fixtures.iter().map(|f| f.path().display().to_string()));
        let output = run_python(PYNETDICOM_TLS, &arguments);
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        for f in &fixtures {
            assert!(lines.lines().any(|l| l == format!("{} 0000", f.file)), "{} {version}: {}", f.file, said(&output));
            assert!(vault.data_set_of(f) == f.data_set(), "{}", f.file);
        }
    }
}

#[test]
fn old_versions_and_weak_suites_get_no_handshake_and_no_session_is_resumed() {
    let vault = Vault::up();
    let up = told(&vault);
    let address = tls_port(&up).to_string();
    let (ca, cert, key) = (path(&up["ca"]), path(&up["client"]["cert"]), path(&up["client"]["key"]));
    let ask = |words: &[&str]| {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            ca,
            "-cert",
            cert,
            "-key",
            key,
            "-verify_return_error",
        ]);
        command.args(words).stdin(Stdio::null()).output().expect("openssl runs")
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let taken = ask(&[version]);
        assert!(taken.status.success(), "{version}: {}", said(&taken));
        assert!(
            said(&taken).contains("Verification: OK") || said(&taken).contains("Verify return code: 0"),
            "{version}"
        );
    }
    let weak = "DEFAULT@SECLEVEL=0";
    for words in [
        &["-tls1_1", "-cipher", weak][..],
        &["-tls1", "-cipher", weak],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"],
    ] {
        let refused = ask(words);
        assert!(!refused.status.success(), "{words:?}: {}", said(&refused));
    }
    let again = said(&ask(&["-tls1_2", "-reconnect"]));
    assert!(again.contains("New, TLSv1.2") && !again.contains("Reused, TLSv1.2"), "{again}");
    assert!(refusals(&vault, "tls-nothing-in-common") >= 2, "{}", vault.metrics().text());
    assert!(vault.never_died());
}

/// The hospital's authority is trusted by the handshake; who gets in hangs on the key.
#[test]
fn a_customers_certificate_is_good_for_the_device_it_is_bound_to_and_for_nobody_else() {
    let scratch = scratch();
    let hospital = Hospital::new(scratch.path(), "hospital");
    let (bound, bound_key) = hospital.issue("bound", 2100);
    let (other, other_key) = hospital.issue("other", 2100);
    let (expired, expired_key) = hospital.issue("expired", 2020);
    let config = format!("[dicom]\nclient_ca = {:?}\n", scratch.path().join("hospital.pem").display().to_string());
    let vault = Vault::with_config(&config);
    let up = told(&vault);
    let ca = path(&up["ca"]);
    let added = device(&vault, &["add", "ct-1", "--aet", "CT1", "--address", "127.0.0.1", "--certificate", &bound]);
    assert_eq!((added["level_number"].as_u64(), added["keys"][0]["issued_by"].as_str()), (Some(3), Some("other")));

    let ask = |cert: &str, key: &str, calling: &str| echo(&up, &["+tls", key, cert, "+cf", ca, "-aet", calling]);
    let taken = ask(&bound, &bound_key, "CT1");
    assert!(taken.status.success(), "{}", said(&taken));
    device(&vault, &["add", "elsewhere", "--address", "192.0.2.7", "--fingerprint", &fingerprint(&other)]);
    let refused = [
        ("certificate-expired", ask(&expired, &expired_key, "CT1")),
        ("ae-wrong", ask(&bound, &bound_key, "CT2")),
        ("address-wrong", ask(&other, &other_key, "CT1")),
        ("called-ae-wrong", echo_to(&up, "LEADGLASS2", &["+tls", &bound_key, &bound, "+cf", ca, "-aet", "CT1"])),
        ("called-ae-unknown", echo_to(&up, "NOBODY", &["+tls", &bound_key, &bound, "+cf", ca, "-aet", "CT1"])),
    ];
    for (reason, answer) in refused {
        assert!(!answer.status.success(), "{reason}: {}", said(&answer));
        assert_eq!(refusals(&vault, reason), 1, "{reason}: {}", vault.metrics().text());
        assert!(audited(&vault, reason), "{reason} stands in no entry");
    }
    // A key of the hospital that nobody bound, then one that was taken away.
    let (unbound, unbound_key) = hospital.issue("unbound", 2100);
    assert!(!ask(&unbound, &unbound_key, "CT1").status.success());
    assert_eq!(refusals(&vault, "certificate-unbound"), 1);
    device(&vault, &["revoke", "ct-1"]);
    assert!(!ask(&bound, &bound_key, "CT1").status.success());
    assert_eq!(refusals(&vault, "device-revoked"), 1);
    assert!(audited(&vault, "device-revoked"));
    assert!(vault.never_died());
}

/// Every service of DICOM's, asked for over TLS by one sender after the other. Arguments: port, CA, then of each sender its name,
/// calling and called AE title, certificate and key (or two dashes), and a file to store. A line each: what was let in, what it came to.
const EVERY_SERVICE: &str = r#"
import ssl, sys, warnings, pydicom
from pynetdicom import AE
warnings.simplefilter("ignore")
port, ca, file, senders = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
meta = pydicom.dcmread(file, stop_before_pixels=True).file_meta
services = {
    "C-ECHO": "1.2.840.10008.1.1",
    "C-STORE": meta.MediaStorageSOPClassUID,
    "C-FIND": "1.2.840.10008.5.1.4.1.2.2.1",
    "C-MOVE": "1.2.840.10008.5.1.4.1.2.2.2",
    "C-GET": "1.2.840.10008.5.1.4.1.2.2.3",
    "worklist": "1.2.840.10008.5.1.4.31",
    "commitment": "1.2.840.10008.1.20.1",
}
for n in range(0, len(senders), 5):
    name, calling, called, cert, key = senders[n:n + 5]
    for service, uid in services.items():
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        if cert != "-":
            context.load_cert_chain(cert, key)
        ae = AE(ae_title=calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        ae.add_requested_context(uid, meta.TransferSyntaxUID if service == "C-STORE" else "1.2.840.10008.1.2.1")
        association = ae.associate("127.0.0.1", port, ae_title=called, tls_args=(context, "localhost"))
        came = "refused"
        if association.is_established:
            if service == "C-ECHO":
                came = "%04x" % association.send_c_echo().Status
            elif service == "C-STORE":
                came = "%04x" % association.send_c_store(file).Status
            else:
                came = "accepted"
            association.release()
        elif association.is_rejected:
            answer = association.acceptor.primitive
            came = "rejected %s/%s/%s" % (answer.result, answer.result_source, answer.diagnostic)
        print(name, service, came, sep="\t", flush=True)
"#;

/// With a certificate as without: a device sends, and does nothing else; whoever has none of ours does nothing at all.
#[test]
fn by_certificate_too_a_device_sends_and_does_nothing_else() {
    let scratch = scratch();
    let hospital = Hospital::new(scratch.path(), "hospital");
    let stranger = Hospital::new(scratch.path(), "stranger");
    let config = format!("[dicom]\nclient_ca = {:?}\n", scratch.path().join("hospital.pem").display().to_string());
    let vault = Vault::with_config(&config);
    let up = told(&vault);
    let own = path(&up["dicom"]["aet"]).to_owned();
    let certified = ["bound", "revoked", "unbound"].map(|name| hospital.issue(name, 2100));
    for (name, aet, (cert, _)) in [("ct-1", "CT1", &certified[0]), ("ct-2", "CT2", &certified[1])] {
        device(&vault, &["add", name, "--aet", aet, "--address", "127.0.0.1", "--certificate", cert]);
    }
    device(&vault, &["revoke", "ct-2"]);
    let [bound, revoked, unbound] = certified;
    // Of the vault's own authority: one that was replaced, and the one in its place.
    device(&vault, &["add", "ct-3", "--aet", "CT3"]);
    let [replaced, own_one] = ["replaced", "own"].map(|name| {
        let out = scratch.path().join(name);
        device(&vault, &["certificate", "ct-3", "--replace", "--out", out.to_str().unwrap()]);
        ["ct-3.pem", "ct-3-key.pem"].map(|file| out.join(file).display().to_string()).into()
    });
    let none = || ("-".to_owned(), "-".to_owned());
    let senders = [
        ("enrolled", "CT1", own.as_str(), bound.clone()),
        ("another title", "CT9", &own, bound.clone()),
        ("of our own authority", "CT3", &own, own_one),
        ("replaced", "CT3", &own, replaced),
        ("calls another tenant", "CT1", "LEADGLASS2", bound.clone()),
        ("calls nobody", "CT1", "NOBODY-HERE", bound.clone()),
        ("revoked", "CT2", &own, revoked),
        ("unbound", "CT1", &own, unbound),
        ("expired", "CT1", &own, hospital.issue("expired", 2020)),
        ("of a stranger", "CT1", &own, stranger.issue("foreign", 2100)),
        ("without", "CT1", &own, none()),
    ];
    let f = Fixture::named("ct-1.dcm");
    let mut arguments =
        vec![tls_port(&up).port().to_string(), path(&up["ca"]).to_owned(), f.path().display().to_string()];
    for (name, calling, called, (cert, key)) in &senders {
        arguments.extend([*name, calling, called, cert, key].map(str::to_owned));
    }
    let output = run_python(EVERY_SERVICE, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let (mut rows, mut answers) = (0, BTreeMap::<&str, BTreeSet<&str>>::new());
    for line in table.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let served = matches!(cells[..2], ["enrolled" | "of our own authority", "C-ECHO" | "C-STORE"]);
        let is_refused = cells[2].starts_with("refused") || cells[2].starts_with("rejected");
        assert!(if served { cells[2] == "0000" } else { is_refused }, "{line}");
        if !served {
            answers.entry(cells[0]).or_default().insert(cells[2]);
        }
        rows += 1;
    }
    // Whatever one asks for the answer is the same; a key that was taken back is none that is known, another tenant nobody.
    assert!(answers.values().all(|told| told.len() == 1), "{answers:?}");
    let alike = [("revoked", "unbound"), ("replaced", "unbound"), ("calls another tenant", "calls nobody")];
    for (forbidden, absent) in alike {
        assert_eq!(answers[forbidden], answers[absent], "{answers:?}");
    }
    assert_eq!(rows, senders.len() * 7, "{table}");
    assert!(vault.data_set_of(&f) == f.data_set());
    assert!(vault.never_died());
}

fn echo_to(up: &serde_json::Value, called: &str, words: &[&str]) -> Output {
    let mut up = up.clone();
    up["dicom"]["aet"] = called.into();
    echo(&up, words)
}

/// As the help of `device add` says to make it.
fn fingerprint(certificate: &str) -> String {
    let line = format!(
        "openssl x509 -in '{certificate}' -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1"
    );
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell runs");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
