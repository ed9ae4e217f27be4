//! Deadlines on a clock that jumps, and numbers of associations over real sockets.

use crate::support::*;
use dicom_ul::pdu::Pdu;
use leadglass_dimse::{
    Ended, Limits, Rejection, Transport,
    send::{Proposal, Requestor, SendConfig, SendError, connect},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

#[tokio::test(start_paused = true)]
async fn a_silent_peer_has_ten_seconds_to_negotiate() {
    let vault = Vault::new();
    let began = Instant::now();
    let (mut wire, served) = vault.connect();
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    assert_eq!(began.elapsed().as_secs(), 10);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::NegotiationTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_does_not_stretch_the_negotiation() {
    let vault = Vault::new();
    let began = Instant::now();
    let (mut wire, served) = vault.connect();
    let bytes = bytes_of(&Pdu::AssociationRQ(request()));
    for byte in bytes.chunks(1).take(11) {
        wire.send(byte).await;
        sleep(Duration::from_millis(990)).await;
    }
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    assert!(began.elapsed().as_secs() <= 11);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::NegotiationTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_association_without_messages_ends_after_a_minute() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    sleep(Duration::from_secs(59)).await;
    wire.send(&command_pdu(5, &echo_command(1))).await;
    assert_eq!(wire.status().await, 0);
    let began = Instant::now();
    // A command set that drips is no message.
    for _ in 0..3 {
        wire.send(&pdata(&[value(5, COMMAND, &[0])])).await;
        sleep(Duration::from_secs(18)).await;
    }
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    assert_eq!(began.elapsed().as_secs(), 60);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_data_set_that_drips_is_cut_off_and_a_slow_one_is_not() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(29) {
        wire.send(&pdata(&[value(1, DATA, b"x")])).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    assert_eq!(began.elapsed().as_secs(), 30);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::TooSlow));
    assert_eq!((vault.intake.stored().len(), vault.intake.abandoned()), (0, 1));

    // 9,000 bytes a second for five minutes.
    let (mut wire, _served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    for _ in 0..300 {
        wire.send(&pdata(&[value(1, DATA, &[7; 9000])])).await;
        sleep(Duration::from_secs(1)).await;
    }
    wire.send(&pdata(&[value(1, DATA | LAST, b"")])).await;
    assert_eq!(wire.status().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_data_of_a_refused_instance_has_to_keep_the_rate_too() {
    let vault = Vault::new();
    let refusal = leadglass_dimse::IntakeRefusal::new(leadglass_model::Fault::Busy, "journal-full", "Full.");
    vault.intake.refuse_next(Step::Begin, refusal);
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn an_association_lasts_two_hours_at_most() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    let began = Instant::now();
    let last = loop {
        wire.send(&command_pdu(5, &echo_command(1))).await;
        match wire.receive().await.unwrap() {
            Pdu::PData { .. } => sleep(Duration::from_secs(50)).await,
            other => break other,
        }
        if began.elapsed() >= Duration::from_secs(7200) {
            break wire.receive().await.unwrap();
        }
    };
    assert!(matches!(last, Pdu::AbortRQ { .. }));
    assert_eq!(began.elapsed().as_secs(), 7200);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Overdue));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_or_never_closes_is_left() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    // Thousands of questions and no ear: answers fill the pipe, then the questions do.
    let questions = command_pdu(5, &echo_command(1)).repeat(4000);
    let asking = tokio::time::timeout(Duration::from_secs(3600), wire.stream.write_all(&questions)).await;
    assert!(asking.is_err() || asking.unwrap().is_err());
    assert!(matches!(served.await.unwrap(), Ended::WriteTimeout));

    let (mut wire, served) = vault.associate().await;
    let began = Instant::now();
    wire.send(&bytes_of(&Pdu::ReleaseRQ)).await;
    assert!(matches!(served.await.unwrap(), Ended::Released));
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(wire.receive().await, Some(Pdu::ReleaseRP));
}

struct Port {
    vault: Vault,
    address: SocketAddr,
    tracker: TaskTracker,
}

async fn listen(limits: Limits) -> Port {
    let vault = Vault::with(limits, MemoryIntake::default());
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let tracker = TaskTracker::new();
    let run = Arc::clone(&vault.listener).run(socket, Transport::Plain, tracker.clone(), vault.cancel.clone());
    tracker.spawn(run);
    Port { vault, address, tracker }
}

async fn open(port: &Port, calling: &str) -> Result<Requestor<TcpStream>, SendError> {
    let config = SendConfig::new(ae(calling), ae("LEADGLASS"));
    let stream = connect(port.address, Duration::from_secs(10)).await?;
    Requestor::open(stream, &config, &[Proposal::verification()]).await
}

fn is_local_limit(result: Result<Requestor<TcpStream>, SendError>) -> bool {
    matches!(result, Err(SendError::Rejected { transient: true, reason }) if reason.contains("local limit"))
}

#[tokio::test]
async fn one_address_has_so_many_associations_and_no_more() {
    let port = listen(Limits { associations_per_loopback_ip: 2, ..Limits::default() }).await;
    let mut first = open(&port, "A").await.unwrap();
    let mut second = open(&port, "B").await.unwrap();
    assert!(is_local_limit(open(&port, "C").await));
    assert_eq!(first.echo().await.unwrap().0, 0);
    assert_eq!(second.echo().await.unwrap().0, 0);
    first.release().await.unwrap();
    // The place is free once the connection is closed on both sides: the tracker counts it out.
    while port.tracker.len() > 2 {
        tokio::task::yield_now().await;
    }
    open(&port, "C").await.unwrap().release().await.unwrap();
    port.vault.cancel.cancel();
    port.tracker.close();
    port.tracker.wait().await;
}

#[tokio::test]
async fn all_together_and_each_device_have_their_numbers() {
    let many = Limits { associations: 2, associations_per_loopback_ip: 100, ..Limits::default() };
    let port = listen(many).await;
    let _open = (open(&port, "A").await.unwrap(), open(&port, "B").await.unwrap());
    assert!(is_local_limit(open(&port, "C").await));

    let port = listen(Limits { associations_per_ae: 1, ..Limits::default() }).await;
    let _open = (open(&port, "A").await.unwrap(), open(&port, "B").await.unwrap());
    assert!(is_local_limit(open(&port, "A").await));
}

#[tokio::test]
async fn a_full_house_turns_away_with_the_words_of_the_standard() {
    let vault = Vault::with(Limits { associations: 0, ..Limits::default() }, MemoryIntake::default());
    let (mut wire, served) = vault.connect();
    let answer = wire.request(&request()).await.unwrap();
    assert_eq!(bytes_of(&answer)[7..10], [2, 3, 2]);
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Rejected(Rejection::LocalLimit)));
}

#[tokio::test]
async fn a_stopped_listener_lets_go_of_its_port_and_its_peers() {
    let port = listen(Limits::default()).await;
    let mut peer = open(&port, "A").await.unwrap();
    assert_eq!(peer.echo().await.unwrap().0, 0);
    port.vault.cancel.cancel();
    port.tracker.close();
    port.tracker.wait().await;
    assert!(matches!(peer.echo().await, Err(SendError::Aborted | SendError::Connection(_) | SendError::Closed)));
    assert!(TcpListener::bind(port.address).await.is_ok());
}
