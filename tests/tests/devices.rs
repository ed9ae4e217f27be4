//! Devices: enrolled, certified and revoked in a running vault, each level with what makes it one, each refusal recorded.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::devices::{audited, device, entries_with, refusals, tls_port, told, try_device};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{said, storescu_with};
use leadglass_tests::scratch;
use leadglass_tests::scu::{Association, Callers, EXPLICIT_LE, Refused, VERIFICATION, pdata, pdv};
use leadglass_tests::site::{drained, metric};
use leadglass_tests::vault::Vault;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Nobody may send but a device that is nowhere: the tests enrol their own.
const NOBODY: &str = "[[devices]]\nname = 'nobody'\naet = 'NOBODY'\naddress = '192.0.2.1'\n";

/// Asks for one association with verification.
fn ask(at: SocketAddr, calling: &str, called: &str) -> Result<Association, Refused> {
    let who = Callers { calling: calling.to_owned(), called: called.to_owned() };
    Association::open(at, &who, &[(VERIFICATION, EXPLICIT_LE)]).unwrap()
}

/// Calling and called AE title not recognised (PS3.8 Table 9-21).
const CALLING: Refused = Refused::Rejected(1, 1, 3);
const CALLED: Refused = Refused::Rejected(1, 1, 7);

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn a_device_is_enrolled_certified_listed_and_revoked_while_the_vault_runs() {
    let (mut vault, scratch) = (Vault::with_config(NOBODY), scratch());
    let f = Fixture::named("ct-1.dcm");
    let send = |vault: &Vault, folder: &Path| {
        let up = told(vault);
        let at = |name: &str| folder.join(name).display().to_string();
        let (key, cert, ca) = (at("ct-1-key.pem"), at("ct-1.pem"), at("ca.pem"));
        let words = ["+tls", &key, &cert, "+cf", &ca];
        storescu_with(&words, scratch.path(), tls_port(&up), "CT1", &vault.up.dicom.aet, &f, &f.path())
    };
    let first = scratch.path().join("first");
    let certify = |folder: &Path, more: &[&str]| {
        let out = folder.display().to_string();
        let words: Vec<&str> = ["certificate", "ct-1", "--out", &out].iter().chain(more).copied().collect();
        device(&vault, &words)
    };

    let added = device(&vault, &["add", "ct-1", "--aet", "CT1"]);
    assert_eq!((added["level"].as_str(), added["keys"].as_array().map(Vec::len)), (Some("certificate"), Some(0)));
    let again = try_device(&vault, &["add", "ct-1"]);
    assert!(!again.status.success() && said(&again).contains("already"), "{}", said(&again));
    let issued = certify(&first, &[]);
    assert_eq!(fs::metadata(first.join("ct-1-key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let sent = send(&vault, &first);
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(vault.data_set_of(&f) == f.data_set());

    let list = device(&vault, &["list"]);
    let ours = list.as_array().unwrap().iter().find(|d| d["name"] == "ct-1").unwrap();
    assert_eq!(ours["keys"][0]["sha256"], issued["sha256"]);
    assert!((363..=365).contains(&ours["keys"][0]["days_left"].as_i64().unwrap()), "{ours}");

    // A second certificate leaves the first one good; one that replaces ends both.
    let (second, third) = (scratch.path().join("second"), scratch.path().join("third"));
    certify(&second, &[]);
    assert!(send(&vault, &first).status.success() && send(&vault, &second).status.success());
    certify(&third, &["--replace"]);
    assert!(!send(&vault, &first).status.success() && !send(&vault, &second).status.success());
    assert!(send(&vault, &third).status.success());

    vault.restart();
    // A key that was replaced does not come back under another name.
    let replaced = issued["sha256"].as_str().unwrap();
    let taken = try_device(&vault, &["add", "ct-2", "--fingerprint", replaced]);
    assert!(!taken.status.success() && said(&taken).contains("another device's"), "{}", said(&taken));
    assert!(send(&vault, &third).status.success(), "it is known after a restart");
    device(&vault, &["revoke", "ct-1"]);
    assert!(!send(&vault, &third).status.success());
    let list = device(&vault, &["list"]);
    assert!(!list.to_string().contains("ct-1") && device(&vault, &["list", "--all"]).to_string().contains("ct-1"));
    vault.restart();
    assert!(!send(&vault, &third).status.success(), "it stays revoked");
    for word in ["device-added", "device-certified", "device-revoked"] {
        assert!(audited(&vault, word), "{word} stands in no entry");
    }
    // Neither the authority's key nor a device's name lies open on the disk.
    for needle in ["PRIVATE KEY", "BEGIN CERTIFICATE", "ct-1"] {
        let records = fs::read(vault.up.data.vault.join("records.redb")).unwrap();
        assert!(!records.windows(needle.len()).any(|w| w == needle.as_bytes()), "{needle} lies in the records");
    }
}

#[test]
fn a_modality_keeps_its_key_and_sends_a_signing_request() {
    let (vault, scratch) = (Vault::with_config(NOBODY), scratch());
    let f = Fixture::named("dx.dcm");
    device(&vault, &["add", "dx"]);
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let (key, csr) = (at("own-key.pem"), at("request.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=any/O=name",
            "-keyout",
            &key,
            "-out",
            &csr,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let issued = device(&vault, &["certificate", "dx", "--csr", &csr, "--out", &at("dx")]);
    assert!(issued["key"].is_null() && !scratch.path().join("dx/dx-key.pem").exists());
    let subject =
        Command::new("openssl").args(["x509", "-noout", "-subject", "-in", &at("dx/dx.pem")]).output().unwrap();
    assert!(said(&subject).contains("dx") && !said(&subject).contains("name"), "{}", said(&subject));
    let (cert, ca) = (at("dx/dx.pem"), at("dx/ca.pem"));
    let words = ["+tls", &key, &cert, "+cf", &ca];
    let sent =
        storescu_with(&words, scratch.path(), tls_port(&told(&vault)), "ANY", &vault.up.dicom.aet, &f, &f.path());
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(vault.data_set_of(&f) == f.data_set());

    fs::write(scratch.path().join("weak.pem"), weak_request(scratch.path())).unwrap();
    for bad in ["weak.pem", "own-key.pem"] {
        let refused = try_device(&vault, &["certificate", "dx", "--csr", &at(bad), "--out", &at("bad")]);
        assert!(!refused.status.success() && said(&refused).contains("signing request"), "{}", said(&refused));
    }
}

fn weak_request(dir: &Path) -> Vec<u8> {
    let out = dir.join("weak-request.pem");
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-keyout"])
        .arg(dir.join("weak-key.pem"))
        .arg("-out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    fs::read(out).unwrap()
}

#[test]
fn level_1_is_title_address_and_called_title_together() {
    let vault = Vault::with_config(NOBODY);
    let (at, aet) = (vault.dicom(), vault.up.dicom.aet.clone());
    assert_eq!(ask(at, "SENSOR", &aet).err(), Some(CALLING), "nobody is enrolled");
    device(&vault, &["add", "sensor", "--level", "address", "--aet", "SENSOR", "--address", "127.0.0.1"]);
    device(&vault, &["add", "far", "--level", "address", "--aet", "FAR", "--address", "192.0.2.0/24"]);
    assert_eq!(ask(at, "SENSOR", &aet).unwrap().echo().unwrap().status, 0, "it may send at once");
    for (calling, called, answer, reason) in [
        ("OTHER", aet.as_str(), CALLING, "ae-unknown"),
        ("FAR", &aet, CALLING, "address-wrong"),
        ("SENSOR", "NOBODY-HERE", CALLED, "called-ae-unknown"),
        ("SENSOR", "LEADGLASS2", CALLING, "ae-unknown"),
    ] {
        let before = refusals(&vault, reason);
        assert_eq!(ask(at, calling, called).err(), Some(answer), "{calling} calls {called}");
        assert_eq!(refusals(&vault, reason), before + 1, "{calling} calls {called}");
        assert!(audited(&vault, reason), "{reason} stands in no entry");
    }
    for (words, code) in [
        (&["add", "x", "--level", "address", "--aet", "X"][..], "address"),
        (&["add", "x", "--level", "address", "--aet", "*", "--address", "127.0.0.1"], "AE title"),
        (&["add", "x", "--level", "open"], "open_devices"),
        (&["add", "x", "--level", "address", "--aet", "SENSOR", "--address", "127.0.0.1"], "sensor"),
        (&["add", "room 3"], "name"),
        (&["revoke", "nobody"], "configuration file"),
        (&["revoke", "never-there"], "no device is called"),
    ] {
        let refused = try_device(&vault, words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {}", said(&refused));
        assert!(said(&refused).contains(code), "{words:?}: {}", said(&refused));
    }
    // A device has nothing to read.
    let mut association = ask(at, "SENSOR", &aet).unwrap();
    assert!(association.context("1.2.840.10008.5.1.4.1.2.2.1", EXPLICIT_LE).is_none());
    association.echo().unwrap();
}

#[test]
fn a_port_of_its_own_opens_with_the_device_and_closes_with_it() {
    let mut vault = Vault::with_config(NOBODY);
    let port = free_port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let words = ["--level", "address", "--aet", "PANO", "--address", "127.0.0.1", "--port"];
    let add = |name, port: u16| {
        let port = port.to_string();
        let words: Vec<&str> = ["add", name].into_iter().chain(words).chain([port.as_str()]).collect();
        try_device(&vault, &words)
    };
    let added = add("pano", port);
    assert!(added.status.success(), "{}", said(&added));
    let taken = add("pano-2", port);
    assert!(said(&taken).contains("another device"), "{}", said(&taken));
    let common = add("pano-3", vault.dicom().port());
    assert!(said(&common).contains("configuration file"), "{}", said(&common));

    assert_eq!(ask(at, "PANO", "WHATEVER").unwrap().echo().unwrap().status, 0, "the port names the tenant");
    assert_eq!(ask(at, "OTHER", "WHATEVER").err(), Some(CALLING));
    assert_eq!(ask(vault.dicom(), "PANO", &vault.up.dicom.aet).err(), Some(CALLING), "and no other port is its");
    assert_eq!(refusals(&vault, "port-wrong"), 1);
    vault.restart();
    assert_eq!(ask(at, "PANO", "WHATEVER").unwrap().echo().unwrap().status, 0, "after a restart, too");
    device(&vault, &["revoke", "pano"]);
    assert!(std::net::TcpStream::connect(at).is_err(), "nobody listens any more");
}

#[test]
fn a_device_sends_only_the_kinds_it_was_enrolled_for() {
    let vault = Vault::with_config(NOBODY);
    let (ct, dx) = (Fixture::named("ct-1.dcm"), Fixture::named("dx.dcm"));
    let sensor = ["--level", "address", "--aet", "CTONLY", "--address", "127.0.0.1", "--sop-class", &ct.sop_class];
    let words: Vec<&str> = ["add", "ct-only"].into_iter().chain(sensor).collect();
    device(&vault, &words);
    let who = Callers { calling: "CTONLY".to_owned(), called: vault.up.dicom.aet.clone() };
    let wanted = [&ct, &dx].map(|f| (f.sop_class.as_str(), f.transfer_syntax.as_str()));
    let mut association = Association::open(vault.dicom(), &who, &wanted).unwrap().unwrap();
    assert!(association.context(&dx.sop_class, &dx.transfer_syntax).is_none(), "its context is refused");
    let data_set = ct.data_set();
    let answer = association.store(&ct.sop_class, &ct.instance, &ct.transfer_syntax, &mut data_set.as_slice()).unwrap();
    assert_eq!(answer.status, 0);
    assert!(vault.data_set_of(&ct) == data_set);
}

#[test]
fn a_device_sends_no_more_and_nothing_larger_than_somebody_set_and_both_are_recorded() {
    let mut vault = Vault::with_config(NOBODY);
    let (ct, dx) = (Fixture::named("ct-1.dcm"), Fixture::named("dx.dcm"));
    let (small, large) = (ct.data_set(), dx.data_set());
    assert!(small.len() < large.len());
    let least = small.len().to_string();
    let known = ["--level", "address", "--aet", "SENSOR", "--address", "127.0.0.1", "--most-bytes", &least];
    let added = device(&vault, &[&["add", "sensor"][..], &known].concat());
    assert_eq!((added["most_bytes"].as_u64(), added["most_an_hour"].as_u64()), (Some(small.len() as u64), None));
    let who = Callers { calling: "SENSOR".to_owned(), called: vault.up.dicom.aet.clone() };
    let send = |vault: &Vault, f: &Fixture, mut data_set: &[u8]| {
        let wanted = [(f.sop_class.as_str(), f.transfer_syntax.as_str())];
        let mut association = Association::open(vault.dicom(), &who, &wanted).unwrap().unwrap();
        association.store(&f.sop_class, &f.instance, &f.transfer_syntax, &mut data_set).unwrap().status
    };
    // To the byte; what is larger has left nothing.
    assert_eq!(send(&vault, &ct, &small), 0);
    assert_eq!((send(&vault, &dx, &large), vault.file_of(&dx).err()), (0xC000, Some(404)));
    // One limit more leaves the other one as it is.
    let both = device(&vault, &["bounds", "sensor", "--most-an-hour", "2"]);
    assert_eq!((both["most_bytes"].as_u64(), both["most_an_hour"].as_u64()), (Some(small.len() as u64), Some(2)));
    device(&vault, &["bounds", "sensor", "--no-limits", "--most-an-hour", "1"]);
    assert!(try_device(&vault, &["bounds", "sensor", "--most-an-hour", "0"]).status.code() == Some(1));
    // The hour may end in between: then one more is let in, and no further one.
    let answers = [send(&vault, &dx, &large), send(&vault, &dx, &large), send(&vault, &dx, &large)];
    assert!(answers.contains(&0xA700), "out of resources, to be sent again later: {answers:?}");
    vault.restart();
    let still = device(&vault, &["bounds", "sensor", "--learn"]);
    assert_eq!((still["most_an_hour"].as_u64(), &still["usual"]), (Some(1), &Value::Null), "learnt anew, and no freer");
    device(&vault, &["bounds", "sensor", "--no-limits"]);
    assert_eq!(send(&vault, &dx, &large), 0, "as it was set last, without a limit");
    assert!(vault.data_set_of(&dx) == large);
    for word in ["device-size", "device-rate", "device-bounded"] {
        assert!(audited(&vault, word), "{word} stands in no entry");
    }
    let list = device(&vault, &["list"]);
    let ours = list.as_array().unwrap().iter().find(|d| d["name"] == "sensor").unwrap();
    assert_eq!(ours["usual"]["learning"], true);
    assert!(ours["usual"]["largest_bytes"].as_u64() >= Some(large.len() as u64), "{ours}");
}

#[test]
fn a_revoked_device_is_cut_off_in_the_middle_of_an_image() {
    let vault = Vault::with_config(NOBODY);
    let f = Fixture::named("ct-1.dcm");
    device(&vault, &["add", "sensor", "--level", "address", "--aet", "SENSOR", "--address", "127.0.0.1"]);
    let who = Callers { calling: "SENSOR".to_owned(), called: vault.up.dicom.aet.clone() };
    let wanted = [(f.sop_class.as_str(), f.transfer_syntax.as_str())];
    let mut association = Association::open(vault.dicom(), &who, &wanted).unwrap().unwrap();
    association.begin_store(&f.sop_class, &f.instance, &f.transfer_syntax).unwrap();
    let context = association.context(&f.sop_class, &f.transfer_syntax).unwrap();
    let data_set = f.data_set();
    association.socket().write_all(&pdata(&[pdv(context, false, false, &data_set[..1000])])).unwrap();
    device(&vault, &["revoke", "sensor"]);
    let mut said = Vec::new();
    association.socket().read_to_end(&mut said).unwrap();
    assert_eq!(said.first(), Some(&0x07), "A-ABORT: {said:?}");
    assert_eq!(vault.file_of(&f).err(), Some(404), "half an image is none");
    assert_eq!(metric(&vault, "leadglass_dimse_ends_total{end=\"revoked\"}"), 1);
}

#[test]
fn a_flood_of_refusals_is_counted_and_does_not_fill_the_log() {
    let vault = Vault::with_config(NOBODY);
    drained(&vault);
    let before = metric(&vault, "leadglass_audit_entries");
    for _ in 0..300 {
        assert_eq!(ask(vault.dicom(), "STRANGER", &vault.up.dicom.aet).err(), Some(CALLING));
    }
    assert_eq!(refusals(&vault, "ae-unknown"), 300);
    assert!(audited(&vault, "ae-unknown"));
    drained(&vault);
    let entries = metric(&vault, "leadglass_audit_entries") - before;
    // One at once, one for each minute that has passed since; metrics and starts add a handful.
    assert!(entries < 30, "{entries} entries for 300 refusals");
    assert!(entries_with(&vault, "ae-unknown") < 10);
}

#[test]
fn a_wrong_token_and_a_wrong_role_are_recorded() {
    let vault = Vault::up();
    let url = format!("{}/api/v1/devices", vault.up.http.base);
    let get = |token| vault.http().get(&url, Ask { token, accept: None, range: None }).status;
    assert_eq!((get(Some("lg_wrong")), get(Some(vault.up.tokens.clinician.as_str()))), (401, 403));
    for reason in ["http-unauthenticated", "http-not-allowed"] {
        assert_eq!(refusals(&vault, reason), 1, "{reason}");
        assert!(audited(&vault, reason), "{reason} stands in no entry");
    }
}

/// SECURITY: a sender of one byte a second would hold a place for days.
#[test]
fn a_sender_that_drips_is_cut_off_and_others_are_served() {
    let vault = Vault::with_config("[limits]\nsender_rate_window = '100ms'\n");
    let f = Fixture::named("ct-1.dcm");
    let wanted = [(f.sop_class.as_str(), f.transfer_syntax.as_str())];
    let mut association = vault.associate(&wanted).unwrap().unwrap();
    association.begin_store(&f.sop_class, &f.instance, &f.transfer_syntax).unwrap();
    let context = association.context(&f.sop_class, &f.transfer_syntax).unwrap();
    association.socket().write_all(&pdata(&[pdv(context, false, false, &f.data_set()[..1])])).unwrap();
    let mut said = Vec::new();
    association.socket().read_to_end(&mut said).unwrap();
    assert_eq!(said.first(), Some(&0x07), "A-ABORT: {said:?}");
    assert_eq!(metric(&vault, "leadglass_dimse_ends_total{end=\"too-slow\"}"), 1);
    vault.store_fixture(&f);
    assert!(vault.data_set_of(&f) == f.data_set());
}
