//! C-ECHO and C-STORE: what arrives, what is answered, what is left after a cut.

use crate::support::*;
use dicom_ul::pdu::{AbortRQServiceProviderReason as AbortReason, AbortRQSource, Pdu};
use leadglass_dimse::{
    CommandSet, Ended, IntakeRefusal, Limits, SMALL_PIECE_BYTES,
    command::{NO_DATA_SET, field, operation},
};
use leadglass_model::{Fault, TenantId};
use std::sync::Arc;
use tokio::{sync::Semaphore, time::timeout};

/// Sends one instance whole; returns the response.
async fn store(wire: &mut Wire<tokio::io::DuplexStream>, message: u16, data: &[u8]) -> CommandSet {
    wire.send(&command_pdu(1, &store_command(message))).await;
    for (n, piece) in data.chunks(10_000).enumerate() {
        let last = if (n + 1) * 10_000 >= data.len() { LAST } else { 0 };
        wire.send(&pdata(&[value(1, DATA | last, piece)])).await;
    }
    wire.response().await
}

#[tokio::test]
async fn an_echo_is_answered_and_the_release_too() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(5, &echo_command(77))).await;
    let response = wire.response().await;
    assert_eq!(response.command_field(), Some(operation::C_ECHO_RQ | operation::RESPONSE));
    assert_eq!(response.us(field::MESSAGE_ID_RESPONDED), Some(77));
    assert_eq!(response.us(field::DATA_SET_TYPE), Some(NO_DATA_SET));
    assert_eq!(response.status(), Some(0));
    wire.release().await;
    assert!(matches!(served.await.unwrap(), Ended::Released));
}

#[tokio::test]
async fn an_instance_arrives_byte_for_byte_with_what_its_command_says() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    let data = content(1_000_000);
    let response = store(&mut wire, 9, &data).await;
    assert_eq!(response.status(), Some(0));
    assert_eq!(response.command_field(), Some(0x8001));
    assert_eq!(response.us(field::MESSAGE_ID_RESPONDED), Some(9));
    assert_eq!(response.affected_sop_instance().unwrap().expose(), INSTANCE);
    assert_eq!(response.affected_sop_class().unwrap().as_str(), CT);
    let stored = vault.intake.stored();
    let (request, bytes) = &stored[0];
    assert_eq!(*bytes, data);
    assert_eq!(request.sop_class.as_str(), CT);
    assert_eq!(request.sop_instance.expose(), INSTANCE);
    assert_eq!(request.transfer_syntax.as_str(), EXPLICIT);
    assert_eq!(request.device.tenant, TenantId::from_bytes([1; 16]));
    assert_eq!(&*request.device.label, "ct-room-1");
    assert_eq!((request.calling_ae.as_str(), request.called_ae.as_str()), ("CT1", "LEADGLASS"));
    assert_eq!(request.move_originator, None);
    wire.release().await;
}

#[tokio::test]
async fn the_transfer_syntax_is_that_of_the_messages_context() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    wire.send(&command_pdu(3, &store_command(1))).await;
    wire.send(&pdata(&[value(3, DATA | LAST, b"implicit")])).await;
    assert_eq!(wire.status().await, 0);
    assert_eq!(vault.intake.stored()[0].0.transfer_syntax.as_str(), IMPLICIT);
}

#[tokio::test]
async fn how_a_sender_cuts_its_message_makes_no_difference() {
    let data = content(3000);
    for command_piece in [1, 2, 7, 50, 1000] {
        for data_piece in [1, 2, 3, 7, 100, 2999, 3000] {
            for values_in_pdu in [1, 2, 5, 10_000] {
                let vault = Vault::new();
                let (mut wire, _served) = vault.associate().await;
                let command = store_command(1).encode();
                let commands = command.chunks(command_piece).count();
                let pieces = data.chunks(data_piece).count();
                let last = |n: usize, of: usize| if n + 1 == of { LAST } else { 0 };
                let mut values: Vec<_> = command
                    .chunks(command_piece)
                    .enumerate()
                    .map(|(n, piece)| value(1, COMMAND | last(n, commands), piece))
                    .collect();
                values.extend(
                    data.chunks(data_piece).enumerate().map(|(n, piece)| value(1, DATA | last(n, pieces), piece)),
                );
                // With 10,000 the command set and the data set share one PDU.
                for pdu in values.chunks(values_in_pdu) {
                    wire.send(&pdata(pdu)).await;
                }
                assert_eq!(wire.status().await, 0);
                let cut = format!("{command_piece} {data_piece} {values_in_pdu}");
                assert_eq!(vault.intake.stored()[0].1, data, "{cut}");
            }
        }
    }
}

#[tokio::test]
async fn empty_values_and_an_empty_last_value_are_allowed() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA, b""), value(1, DATA, b"ab"), value(1, DATA, b""), value(1, DATA | LAST, b"")]))
        .await;
    assert_eq!(wire.status().await, 0);
    assert_eq!(vault.intake.stored()[0].1, b"ab");
}

#[tokio::test]
async fn small_and_large_pieces_stay_in_order() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    let data = content(40 * SMALL_PIECE_BYTES);
    wire.send(&command_pdu(1, &store_command(1))).await;
    let mut rest = &data[..];
    for size in [5, SMALL_PIECE_BYTES, 9, SMALL_PIECE_BYTES * 8, SMALL_PIECE_BYTES * 12, 3, 1] {
        let (now, later) = rest.split_at(size);
        wire.send(&pdata(&[value(1, DATA, now)])).await;
        rest = later;
    }
    wire.send(&pdata(&[value(1, DATA | LAST, rest)])).await;
    assert_eq!(wire.status().await, 0);
    assert_eq!(vault.intake.stored()[0].1, data);
}

#[tokio::test]
async fn a_pdu_over_what_we_advertised_but_within_the_limit_is_taken() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    let data = content(262_144 - 6);
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA | LAST, &data)])).await;
    assert_eq!(wire.status().await, 0);
    assert_eq!(vault.intake.stored()[0].1, data);
}

#[tokio::test]
async fn a_refused_instance_is_answered_with_its_status_and_the_next_one_is_stored() {
    let faults = [
        (Fault::BadInput, 0xC000),
        (Fault::Denied, 0x0124),
        (Fault::Missing, 0x0110),
        (Fault::Conflict, 0xA900),
        (Fault::Busy, 0xA700),
        (Fault::Corrupt, 0x0110),
        (Fault::Broken, 0x0110),
    ];
    for step in [Step::Begin, Step::Write, Step::Finish] {
        let vault = Vault::new();
        let (mut wire, _served) = vault.associate().await;
        for (n, (fault, status)) in (1u16..).zip(faults) {
            vault.intake.refuse_next(step, IntakeRefusal::new(fault, "journal-full", "The journal is full."));
            let response = store(&mut wire, n, &content(300_000)).await;
            assert_eq!(response.status(), Some(status), "{step:?} {fault:?}");
            let comment = response.text(field::ERROR_COMMENT).unwrap();
            assert!(comment.starts_with("journal-full ") && comment.len() <= 64, "{comment}");
            assert!(!comment.contains(INSTANCE));
            assert!(vault.intake.stored().is_empty());
        }
        assert_eq!(vault.intake.abandoned(), if step == Step::Write { faults.len() } else { 0 });
        assert_eq!(store(&mut wire, 99, &content(1000)).await.status(), Some(0));
        assert_eq!(vault.intake.stored().len(), 1);
        wire.release().await;
    }
}

#[tokio::test]
async fn what_a_command_announces_wrongly_is_refused_with_the_right_status() {
    let base = || CommandSet::new(operation::C_STORE_RQ).with_us(field::MESSAGE_ID, 3).with_us(field::DATA_SET_TYPE, 0);
    let class = |uid: &str| base().with_uid(field::AFFECTED_SOP_CLASS_UID, uid);
    let table = [
        (class(CT), 0x0117, "no instance"),
        (class(CT).with_uid(field::AFFECTED_SOP_INSTANCE_UID, "../../etc/passwd"), 0x0117, "not a UID"),
        (class(CT).with_uid(field::AFFECTED_SOP_INSTANCE_UID, &"1".repeat(65)), 0x0117, "too long"),
        (base().with_uid(field::AFFECTED_SOP_INSTANCE_UID, INSTANCE), 0x0122, "no class"),
        (class("1.2.3").with_uid(field::AFFECTED_SOP_INSTANCE_UID, INSTANCE), 0x0122, "not a storage class"),
        (
            class("1.2.840.10008.5.1.4.1.1.4").with_uid(field::AFFECTED_SOP_INSTANCE_UID, INSTANCE),
            0xA900,
            "the class of another context",
        ),
    ];
    for (command, status, what) in table {
        let vault = Vault::new();
        let (mut wire, _served) = vault.associate().await;
        wire.send(&command_pdu(1, &command)).await;
        wire.send(&pdata(&[value(1, DATA | LAST, b"data")])).await;
        assert_eq!(wire.status().await, status, "{what}");
        assert_eq!(store(&mut wire, 4, b"good").await.status(), Some(0), "{what}");
        wire.release().await;
        assert_eq!(vault.intake.stored().len(), 1);
    }
}

#[tokio::test]
async fn a_store_without_a_data_set_and_operations_of_other_services_are_refused() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1).with_us(field::DATA_SET_TYPE, NO_DATA_SET))).await;
    assert_eq!(wire.status().await, 0xC000);
    // C-ECHO on a storage context, C-FIND with a query, C-STORE on the Verification context.
    wire.send(&command_pdu(1, &echo_command(2))).await;
    assert_eq!(wire.status().await, 0x0211);
    let find = CommandSet::new(operation::C_FIND_RQ).with_us(field::MESSAGE_ID, 3).with_us(field::DATA_SET_TYPE, 0);
    wire.send(&command_pdu(1, &find)).await;
    wire.send(&pdata(&[value(1, DATA | LAST, b"query")])).await;
    let response = wire.response().await;
    assert_eq!((response.command_field(), response.status()), (Some(0x8020), Some(0x0211)));
    wire.send(&command_pdu(5, &store_command(4))).await;
    wire.send(&pdata(&[value(5, DATA | LAST, b"data")])).await;
    assert_eq!(wire.status().await, 0x0211);
    wire.release().await;
    assert!(vault.intake.stored().is_empty());
}

#[tokio::test]
async fn a_cancel_is_ignored_and_a_move_originator_is_passed_on() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.associate().await;
    let cancel = CommandSet::new(operation::C_CANCEL_RQ)
        .with_us(field::MESSAGE_ID_RESPONDED, 1)
        .with_us(field::DATA_SET_TYPE, NO_DATA_SET);
    wire.send(&command_pdu(1, &cancel)).await;
    let command = store_command(2)
        .with_text(field::MOVE_ORIGINATOR, "WORKSTATION")
        .with_us(field::MOVE_ORIGINATOR_MESSAGE_ID, 42);
    wire.send(&command_pdu(1, &command)).await;
    wire.send(&pdata(&[value(1, DATA | LAST, b"data")])).await;
    assert_eq!(wire.status().await, 0);
    let originator = vault.intake.stored()[0].0.move_originator.clone().unwrap();
    assert_eq!((originator.ae, originator.message_id), (ae("WORKSTATION"), 42));
}

#[tokio::test]
async fn an_abort_or_a_cut_in_the_middle_leaves_nothing() {
    for abort in [true, false] {
        let vault = Vault::new();
        let (mut wire, served) = vault.associate().await;
        wire.send(&command_pdu(1, &store_command(1))).await;
        for _ in 0..20 {
            wire.send(&pdata(&[value(1, DATA, &content(10_000))])).await;
        }
        if abort {
            wire.send(&bytes_of(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser })).await;
        }
        drop(wire);
        let ended = served.await.unwrap();
        assert!(if abort { matches!(ended, Ended::Aborted) } else { matches!(ended, Ended::Closed) }, "{ended:?}");
        assert!(vault.intake.stored().is_empty());
        assert_eq!(vault.intake.abandoned(), 1);
    }
}

#[tokio::test]
async fn a_peer_that_goes_after_its_data_but_before_the_answer_has_it_stored() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA | LAST, b"data")])).await;
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Broken(_) | Ended::Closed));
    assert_eq!(vault.intake.stored().len(), 1);
    assert_eq!(vault.intake.abandoned(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_behind_holds_the_sender_back_and_its_time_is_not_the_senders() {
    let gate = Arc::new(Semaphore::new(0));
    let vault = Vault::with(Limits::default(), MemoryIntake::behind(Arc::clone(&gate)));
    let (mut wire, _served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    let data = content(2_000_000);
    let pdus: Vec<_> = data.chunks(100_000).map(|piece| pdata(&[value(1, DATA, piece)])).collect();
    let all = pdus.concat();
    // Ten minutes of a store that takes nothing: the socket fills, and nobody is cut off.
    let held = timeout(std::time::Duration::from_secs(600), wire.send(&all)).await;
    assert!(held.is_err(), "nothing held the sender back");
    gate.add_permits(10_000);
    drop(wire);
    let (mut wire, _served) = vault.associate().await;
    assert_eq!(store(&mut wire, 1, &data).await.status(), Some(0));
    assert_eq!(vault.intake.stored()[0].1, data);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_the_message_finish_and_then_ends_the_association() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA, b"first ")])).await;
    // The command is in before the drain begins.
    while vault.intake.begun() == 0 {
        tokio::task::yield_now().await;
    }
    vault.cancel.cancel();
    wire.send(&pdata(&[value(1, DATA | LAST, b"second")])).await;
    assert_eq!(wire.status().await, 0);
    let abort = Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(AbortReason::ReasonNotSpecified) };
    assert_eq!(wire.receive().await, Some(abort));
    assert!(matches!(served.await.unwrap(), Ended::Draining));
    assert_eq!(vault.intake.stored()[0].1, b"first second");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_an_idle_association_at_once() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    vault.cancel.cancel();
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    assert!(matches!(served.await.unwrap(), Ended::Draining));
}

#[tokio::test]
async fn answers_fit_the_peers_pdu_length() {
    let vault = Vault::new();
    let (mut wire, _served) = vault.connect();
    let mut request = request();
    request.user_variables = vec![dicom_ul::pdu::UserVariableItem::MaxLength(128)];
    wire.request(&request).await.unwrap();
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA | LAST, b"data")])).await;
    let mut response = Vec::new();
    loop {
        let pdu = wire.receive().await.unwrap();
        assert!(bytes_of(&pdu).len() <= 128 + 6);
        let Pdu::PData { data } = pdu else { panic!("not P-DATA") };
        assert_eq!(data.len(), 1);
        response.extend_from_slice(&data[0].data);
        if data[0].is_last {
            break;
        }
    }
    assert_eq!(CommandSet::parse(&response).unwrap().status(), Some(0));
}

#[tokio::test]
async fn a_device_that_is_revoked_is_cut_off_in_the_middle_of_an_instance() {
    let vault = Vault::new();
    let (mut wire, served) = vault.associate().await;
    wire.send(&command_pdu(1, &store_command(1))).await;
    wire.send(&pdata(&[value(1, DATA, b"the first half")])).await;
    vault.revoke.cancel();
    assert!(matches!(wire.receive().await, Some(Pdu::AbortRQ { .. })));
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Revoked));
    assert!(vault.intake.stored().is_empty());
}
