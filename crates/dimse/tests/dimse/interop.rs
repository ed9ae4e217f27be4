//! dcmtk on the other side, both ways; and our requestor against our own listener.
//!
//! dcmtk's programs are found on PATH; without them these tests fail, for silence would look like success.

use crate::support::*;
use leadglass_dimse::{
    IntakeRefusal, Limits, Transport,
    send::{Outcome, Outgoing, Progress, Proposal, Requestor, SendConfig, SendError, connect, send_files},
};
use leadglass_model::{Fault, SopClassUid, SopInstanceUid, TransferSyntaxUid};
use leadglass_tap::part10::write_head;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A small image: as many attributes as dcmtk wants, and `rows` x 512 pixels of 16 bits.
fn data_set(instance: &str, rows: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let mut element = |group: u16, number: u16, vr: &[u8; 2], value: &[u8]| {
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(vr);
        let odd = value.len() % 2;
        let len = value.len() + odd;
        if vr == b"OW" {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        } else {
            out.extend_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
        }
        out.extend_from_slice(value);
        out.extend(std::iter::repeat_n(if vr == b"UI" { 0 } else { b' ' }, odd));
    };
    element(8, 0x16, b"UI", CT.as_bytes());
    element(8, 0x18, b"UI", instance.as_bytes());
    element(8, 0x60, b"CS", b"CT");
    element(0x10, 0x10, b"PN", b"INVENTED^PATIENT");
    element(0x10, 0x20, b"LO", b"INVENTED-1");
    element(0x20, 0x0D, b"UI", b"1.2.826.0.1.3680043.9.7133.77.2");
    element(0x20, 0x0E, b"UI", b"1.2.826.0.1.3680043.9.7133.77.3");
    element(0x28, 0x02, b"US", &1u16.to_le_bytes());
    element(0x28, 0x04, b"CS", b"MONOCHROME2");
    element(0x28, 0x10, b"US", &rows.to_le_bytes());
    element(0x28, 0x11, b"US", &512u16.to_le_bytes());
    element(0x28, 0x100, b"US", &16u16.to_le_bytes());
    element(0x28, 0x101, b"US", &16u16.to_le_bytes());
    element(0x28, 0x102, b"US", &15u16.to_le_bytes());
    element(0x28, 0x103, b"US", &0u16.to_le_bytes());
    element(0x7FE0, 0x10, b"OW", &content(usize::from(rows) * 1024));
    out
}

fn write_file(directory: &Path, number: u32, rows: u16) -> (PathBuf, Vec<u8>) {
    let instance = format!("{INSTANCE}.{number}");
    let head = write_head(
        &SopClassUid::parse(CT).unwrap(),
        &SopInstanceUid::parse(&instance).unwrap(),
        &TransferSyntaxUid::parse(EXPLICIT).unwrap(),
        None,
    );
    let data = data_set(&instance, rows);
    let path = directory.join(format!("{number}.dcm"));
    std::fs::write(&path, [head, data.clone()].concat()).unwrap();
    (path, data)
}

async fn listen(vault: &Vault) -> SocketAddr {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(Arc::clone(&vault.listener).run(socket, Transport::Plain, TaskTracker::new(), vault.cancel.clone()));
    address
}

/// Debian's dcmtk, not the programs of the same names that Python packages bring.
fn dcmtk(program: &str) -> Command {
    Command::new(Path::new("/usr/bin").join(program))
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("dcmtk is installed")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn echoscu_hears_an_echo_and_a_stranger_does_not() {
    let vault = Vault::new();
    let port = listen(&vault).await.port().to_string();
    let echo = |calling: &str| {
        let mut command = dcmtk("echoscu");
        command.args(["-aet", calling, "-aec", "LEADGLASS", "127.0.0.1", &port]);
        run(command)
    };
    let output = echo("CT1").await;
    assert!(output.status.success(), "{output:?}");
    let output = echo("STRANGER").await;
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(words.contains("Calling AE Title Not Recognized"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_storescu_sends_is_stored_byte_for_byte() {
    let vault = Vault::new();
    let port = listen(&vault).await.port().to_string();
    let directory = tempfile::tempdir().unwrap();
    for (max_pdu, rows) in [("4096", 100), ("16384", 512), ("131072", 2048)] {
        let (path, data) = write_file(directory.path(), 1, rows);
        let mut command = dcmtk("storescu");
        command.args(["--max-send-pdu", max_pdu, "-R", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", &port]);
        let output = run({
            command.arg(path).env("TCP_NODELAY", "1");
            command
        })
        .await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(vault.intake.stored().last().unwrap().1, data, "{max_pdu}");
    }
    assert_eq!(vault.intake.stored().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn storescu_proposes_all_it_knows_and_learns_of_a_refusal() {
    let vault = Vault::new();
    let port = listen(&vault).await.port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let (path, data) = write_file(directory.path(), 2, 64);
    let send = || {
        let mut command = dcmtk("storescu");
        // Without -R: some 60 classes in 120 contexts.
        command.args(["-v", "-aet", "CT1", "-aec", "LEADGLASS", "127.0.0.1", &port]).arg(&path);
        run(command)
    };
    vault.intake.refuse_next(Step::Begin, IntakeRefusal::new(Fault::Busy, "journal-full", "Full."));
    let output = send().await;
    let words = String::from_utf8_lossy(&output.stderr).to_string() + &String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("OutOfResources") || words.contains("A700") || words.contains("a700"), "{words}");
    assert!(vault.intake.stored().is_empty());
    let output = send().await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(vault.intake.stored()[0].1, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn storescp_stores_what_our_requestor_sends() {
    let directory = tempfile::tempdir().unwrap();
    let inbox = directory.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let files: Vec<_> = (1..=3).map(|n| write_file(directory.path(), n, 300)).collect();
    // As a super-server would: storescp gets the accepted connection as its standard input, so no port has to be guessed.
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let output_directory = inbox.clone();
    let scp = tokio::task::spawn_blocking(move || {
        let (connection, _) = socket.accept().unwrap();
        let mut command = dcmtk("storescp");
        command.args(["--inetd", "--bit-preserving", "-aet", "STORESCP", "-od"]).arg(&output_directory);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(connection))).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("dcmtk is installed")
    });
    let mut outgoing = Vec::new();
    for (path, _) in &files {
        outgoing.push(Outgoing::open(path).await.unwrap());
    }
    let config = SendConfig::new(ae("LEADGLASS"), ae("STORESCP"));
    let stream = connect(address, Duration::from_secs(10)).await.unwrap();
    let mut sent = 0;
    let outcomes = send_files(stream, &config, &outgoing, |progress| {
        if let Progress::Sent { bytes, .. } = progress {
            sent += bytes;
        }
    })
    .await
    .unwrap();
    assert!(outcomes.iter().all(Outcome::is_stored), "{outcomes:?}");
    assert_eq!(sent, files.iter().map(|(_, data)| data.len() as u64).sum::<u64>());
    scp.await.unwrap();
    for (_, data) in &files {
        let found = std::fs::read_dir(&inbox)
            .unwrap()
            .any(|entry| std::fs::read(entry.unwrap().path()).unwrap().ends_with(data));
        assert!(found, "an instance is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_requestor_tells_each_file_what_came_of_it() {
    let vault = Vault::new();
    let address = listen(&vault).await;
    let directory = tempfile::tempdir().unwrap();
    let mut outgoing = Vec::new();
    for n in 1..=3 {
        outgoing.push(Outgoing::open(&write_file(directory.path(), n, 20).0).await.unwrap());
    }
    // A class nobody takes, and a file that went away.
    outgoing[1].sop_class = SopClassUid::parse("1.2.999.1").unwrap();
    let mut gone = outgoing[2].clone();
    gone.path = directory.path().join("gone.dcm");
    outgoing.insert(2, gone);
    vault.intake.refuse_next(Step::Finish, IntakeRefusal::new(Fault::Conflict, "class-mismatch", "Mismatch."));
    let config = SendConfig::new(ae("CT1"), ae("LEADGLASS"));
    let stream = connect(address, Duration::from_secs(10)).await.unwrap();
    let mut done = Vec::new();
    let outcomes = send_files(stream, &config, &outgoing, |progress| {
        if let Progress::Done { file, outcome } = progress {
            done.push((file, outcome.is_stored()));
        }
    })
    .await
    .unwrap();
    assert!(matches!(&outcomes[0], Outcome::Answered(answer) if answer.status.0 == 0xA900
        && answer.comment.as_ref().unwrap().starts_with("class-mismatch")));
    assert!(matches!(outcomes[1], Outcome::NotAccepted));
    assert!(matches!(outcomes[2], Outcome::Unreadable(_)));
    assert!(outcomes[3].is_stored());
    assert_eq!(done, [(0, false), (1, false), (2, false), (3, true)]);
    assert_eq!(vault.intake.stored().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_shrinks_under_us_is_never_declared_complete() {
    let vault = Vault::new();
    let address = listen(&vault).await;
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = write_file(directory.path(), 1, 1000);
    let outgoing = vec![Outgoing::open(&path).await.unwrap(); 2];
    std::fs::File::options().write(true).open(&path).unwrap().set_len(500_000).unwrap();
    let config = SendConfig::new(ae("CT1"), ae("LEADGLASS"));
    let stream = connect(address, Duration::from_secs(10)).await.unwrap();
    let outcomes = send_files(stream, &config, &outgoing, |_| {}).await.unwrap();
    assert!(matches!(outcomes[0], Outcome::Unreadable(_)));
    assert!(matches!(outcomes[1], Outcome::Unknown));
    while vault.intake.abandoned() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(vault.intake.stored().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_senders_at_once_are_all_served() {
    let vault = Vault::with(Limits::default(), MemoryIntake::default());
    let address = listen(&vault).await;
    let directory = tempfile::tempdir().unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (path, _) = write_file(directory.path(), n, 700);
        senders.spawn(async move {
            let outgoing = [Outgoing::open(&path).await.unwrap()];
            let config = SendConfig::new(ae(&format!("CT{n}")), ae("LEADGLASS"));
            let stream = connect(address, Duration::from_secs(10)).await.unwrap();
            send_files(stream, &config, &outgoing, |_| {}).await.unwrap()
        });
    }
    while let Some(outcomes) = senders.join_next().await {
        assert!(outcomes.unwrap()[0].is_stored());
    }
    let stored = vault.intake.stored();
    assert_eq!(stored.len(), 8);
    for (request, bytes) in stored {
        assert_eq!(bytes, data_set(request.sop_instance.expose(), 700));
    }
}

#[tokio::test]
async fn a_requestor_without_contexts_or_with_too_many_does_not_begin() {
    let config = SendConfig::new(ae("CT1"), ae("LEADGLASS"));
    for number in [0, 129] {
        let (stream, _other) = tokio::io::duplex(64);
        let proposals = vec![Proposal::verification(); number];
        let opened = Requestor::open(stream, &config, &proposals).await;
        assert!(matches!(opened, Err(SendError::Contexts(n)) if n == number));
    }
}
