//! The relay of deploy/side-car.conf beside a device without TLS, run by stunnel itself.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::devices::{audited, device, tls_port, told};
use leadglass_tests::fixture::Fixture;
use leadglass_tests::peers::{said, storescu};
use leadglass_tests::process::{self, until};
use leadglass_tests::vault::Vault;
use leadglass_tests::{scratch, workspace_root};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a relay may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

struct Relay {
    child: Child,
    at: SocketAddr,
}

impl Drop for Relay {
    fn drop(&mut self) {
        process::signal(self.child.id(), rustix::process::Signal::TERM);
        let _status = self.child.wait();
    }
}

/// The relay as it is handed to an operator, with these addresses and files.
fn relay(folder: &Path, vault: SocketAddr, certificates: &Path) -> Option<Relay> {
    let found = Command::new("stunnel").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        found.is_ok() || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(),
        "stunnel is missing: run tests/all, or install it"
    );
    if found.is_err() {
        eprintln!("stunnel is not on this machine: not looked at");
        return None;
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut text = fs::read_to_string(workspace_root().join("deploy/side-car.conf")).unwrap();
    for (from, to) in [
        ("127.0.0.1:11112", format!("127.0.0.1:{port}")),
        ("vault.practice.example:2762", vault.to_string()),
        ("checkHost = vault.practice.example", "checkHost = localhost".to_owned()),
        ("/etc/leadglass/side-car", certificates.display().to_string()),
    ] {
        assert!(text.contains(from), "deploy/side-car.conf holds {from:?}");
        text = text.replace(from, &to);
    }
    let (config, log) = (folder.join("side-car.conf"), folder.join("relay.log"));
    fs::write(&config, text).unwrap();
    let write = || fs::File::options().create(true).append(true).open(&log).unwrap();
    let child = Command::new("stunnel").arg(&config).stdin(Stdio::null()).stdout(write()).stderr(write()).spawn();
    let relay = Relay { child: child.unwrap(), at: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
    let listens = || TcpStream::connect(relay.at).is_ok();
    assert!(until(PATIENCE, listens), "the relay is up: {}", fs::read_to_string(&log).unwrap());
    Some(relay)
}

#[test]
fn a_device_without_tls_sends_through_a_relay_that_proves_a_key_for_it() {
    let (vault, scratch) = (Vault::up(), scratch());
    let f = Fixture::named("dx.dcm");
    device(&vault, &["add", "panoramic", "--level", "side-car", "--aet", "PANO"]);
    let certificates = scratch.path().join("side-car");
    device(&vault, &["certificate", "panoramic", "--out", &certificates.display().to_string()]);
    let Some(relay) = relay(scratch.path(), tls_port(&told(&vault)), &certificates) else { return };
    let send =
        |to: SocketAddr, calling: &str| storescu(scratch.path(), to, calling, &vault.up.dicom.aet, &f, &f.path());

    let other = send(relay.at, "OTHER");
    assert!(!other.status.success(), "another device behind the relay: {}", said(&other));
    assert!(audited(&vault, "ae-wrong"));
    assert_eq!(vault.file_of(&f).err(), Some(404));
    let sent = send(relay.at, "PANO");
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(vault.data_set_of(&f) == f.data_set(), "byte for byte");

    let list = device(&vault, &["list"]);
    let ours = list.as_array().unwrap().iter().find(|d| d["name"] == "panoramic").unwrap();
    assert_eq!((ours["level"].as_str(), ours["level_number"].as_u64()), (Some("side-car"), Some(2)));
    device(&vault, &["revoke", "panoramic"]);
    assert!(!send(relay.at, "PANO").status.success(), "the relay's key is good for nobody");
    assert!(audited(&vault, "device-revoked"));
}
