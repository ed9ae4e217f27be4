//! Peers that break rules: each is cut off with a word, and nothing of theirs is kept.

use crate::support::*;
use dicom_ul::pdu::{AbortRQServiceProviderReason as AbortReason, AbortRQSource, Pdu};
use leadglass_dimse::{
    CommandSet, Ended,
    command::{NO_DATA_SET, field, operation},
};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_breach_ends_the_association_with_its_reason() {
    let first = command_pdu(1, &store_command(1));
    let after = |next: Vec<u8>| [first.clone(), pdata(&[value(1, DATA, b"piece")]), next].concat();
    let response = CommandSet::new(operation::C_STORE_RQ | operation::RESPONSE)
        .with_us(field::MESSAGE_ID_RESPONDED, 1)
        .with_us(field::DATA_SET_TYPE, NO_DATA_SET);
    let nameless = CommandSet::new(operation::C_ECHO_RQ).with_us(field::DATA_SET_TYPE, NO_DATA_SET);
    let table: [(&str, Vec<u8>, AbortReason, &str); 19] = [
        ("data first", pdata(&[value(1, DATA, b"x")]), AbortReason::UnexpectedPdu, "bad-message"),
        (
            "another context in the data",
            after(pdata(&[value(3, DATA, b"x")])),
            AbortReason::UnexpectedPdu,
            "bad-message",
        ),
        ("a second message", after(command_pdu(1, &store_command(2))), AbortReason::UnexpectedPdu, "bad-message"),
        (
            "data inside a command",
            pdata(&[value(1, COMMAND, b"ab"), value(1, DATA, b"x")]),
            AbortReason::UnexpectedPdu,
            "bad-message",
        ),
        (
            "another context in the command",
            pdata(&[value(1, COMMAND, b"ab"), value(3, COMMAND, b"x")]),
            AbortReason::UnexpectedPdu,
            "bad-message",
        ),
        ("an unknown context", command_pdu(9, &echo_command(1)), AbortReason::InvalidPduParameter, "unknown-context"),
        ("an even context", command_pdu(2, &echo_command(1)), AbortReason::InvalidPduParameter, "unknown-context"),
        ("a release in the data", after(bytes_of(&Pdu::ReleaseRQ)), AbortReason::UnexpectedPdu, "unexpected-pdu"),
        (
            "a release in the command",
            [pdata(&[value(1, COMMAND, b"ab")]), bytes_of(&Pdu::ReleaseRQ)].concat(),
            AbortReason::UnexpectedPdu,
            "unexpected-pdu",
        ),
        ("a release answer", bytes_of(&Pdu::ReleaseRP), AbortReason::UnexpectedPdu, "unexpected-pdu"),
        ("a second request", bytes_of(&Pdu::AssociationRQ(request())), AbortReason::UnexpectedPdu, "unexpected-pdu"),
        ("an unknown PDU", vec![0x40, 0, 0, 0, 0, 4], AbortReason::UnrecognizedPdu, "bad-pdu"),
        ("4 GiB", vec![4, 0, 255, 255, 255, 255], AbortReason::InvalidPduParameter, "bad-pdu"),
        ("no value", vec![4, 0, 0, 0, 0, 0], AbortReason::InvalidPduParameter, "bad-pdu"),
        (
            "a value that lies",
            after(vec![4, 0, 0, 0, 0, 6, 255, 255, 255, 255, 1, 0]),
            AbortReason::InvalidPduParameter,
            "bad-pdu",
        ),
        (
            "a command set of garbage",
            pdata(&[value(1, COMMAND | LAST, &[0xFF; 40])]),
            AbortReason::InvalidPduParameter,
            "bad-command",
        ),
        (
            "an empty command set",
            pdata(&[value(1, COMMAND | LAST, b"")]),
            AbortReason::InvalidPduParameter,
            "bad-command",
        ),
        ("a response", command_pdu(1, &response), AbortReason::InvalidPduParameter, "bad-command"),
        ("no message number", command_pdu(5, &nameless), AbortReason::InvalidPduParameter, "bad-command"),
    ];
    for (what, bytes, reason, word) in table {
        let vault = Vault::new();
        let (mut wire, served) = vault.associate().await;
        wire.send(&bytes).await;
        let abort = Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) };
        assert_eq!(wire.receive().await, Some(abort), "{what}");
        assert_eq!(wire.receive().await, None, "{what}");
        drop(wire);
        assert_eq!(served.await.unwrap().word(), word, "{what}");
        assert!(vault.intake.stored().is_empty(), "{what}");
        assert_eq!(vault.intake.abandoned(), vault.intake.begun(), "{what}");
    }
}

#[tokio::test]
async fn a_command_set_has_an_end() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    for _ in 0..9 {
        wire.send(&pdata(&[value(1, COMMAND, &[0; 8000])])).await;
    }
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    drop(wire);
    assert_eq!(served.await.unwrap().word(), "bad-message");
}

#[tokio::test]
async fn a_flood_of_empty_values_is_cut_off() {
    for (control, opening) in [(COMMAND, vec![]), (DATA, command_pdu(1, &store_command(1)))] {
        let vault = Vault::new();
        let (mut wire, served) = vault.associate().await;
        wire.send(&opening).await;
        wire.send(&pdata(&vec![value(1, control, b""); 1000])).await;
        assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
        drop(wire);
        assert_eq!(served.await.unwrap().word(), "bad-message");
    }
}

#[tokio::test]
async fn a_peer_that_goes_on_talking_after_our_abort_still_hears_it() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&[4, 0, 255, 255, 255, 255]).await;
    // More than the pipe holds: it only goes through because it is read away.
    wire.send(&vec![0; 1_000_000]).await;
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Frame(_)));
}

/// A dialogue as a decent peer would send it, PDU by PDU.
fn dialogue() -> Vec<Vec<u8>> {
    vec![
        bytes_of(&Pdu::AssociationRQ(request())),
        command_pdu(5, &echo_command(1)),
        command_pdu(1, &store_command(2)),
        pdata(&[value(1, DATA, &content(5000))]),
        pdata(&[value(1, DATA, &content(100)), value(1, DATA | LAST, &content(7))]),
        command_pdu(3, &store_command(3)),
        pdata(&[value(3, DATA | LAST, &content(300))]),
        bytes_of(&Pdu::ReleaseRQ),
    ]
}

#[tokio::test(start_paused = true)]
async fn random_garbage_neither_panics_nor_hangs() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0x1ead);
    let (mut released, mut cut) = (0, 0);
    for _ in 0..600 {
        let mut pdus = dialogue();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..pdus.len());
            match random.random_range(0..5) {
                0 => drop(pdus.remove(at)),
                1 => pdus.swap(at, 0),
                2 => {
                    let copy = pdus.choose(&mut random).unwrap().clone();
                    pdus.insert(at, copy);
                }
                3 => {
                    let keep = random.random_range(0..=pdus[at].len());
                    pdus[at].truncate(keep);
                }
                _ => {
                    for _ in 0..random.random_range(1..8) {
                        let len = pdus[at].len();
                        if len > 0 {
                            // The first bytes decide the most.
                            let most = if random.random() { len.min(16) } else { len };
                            let byte = random.random_range(0..most);
                            pdus[at][byte] = random.random();
                        }
                    }
                }
            }
            if pdus.is_empty() {
                break;
            }
        }
        let vault = Vault::new();
        let (wire, served) = vault.connect();
        let (mut reading, mut writing) = tokio::io::split(wire.stream);
        let reader = tokio::spawn(async move {
            let mut sink = Vec::new();
            let _until_the_end = reading.read_to_end(&mut sink).await;
        });
        for pdu in pdus {
            if writing.write_all(&pdu).await.is_err() {
                break;
            }
        }
        // The peer now stays silent with the connection open: a deadline has to end it.
        let ended = served.await.expect("no panic");
        if matches!(ended, Ended::Released) {
            released += 1
        } else {
            cut += 1
        }
        assert_eq!(vault.intake.begun(), vault.intake.stored().len() + vault.intake.abandoned());
        drop(writing);
        reader.await.unwrap();
    }
    assert!(released > 50 && cut > 200, "{released} {cut}");
}
