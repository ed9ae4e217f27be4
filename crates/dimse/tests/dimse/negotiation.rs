//! What becomes of association requests.

use crate::support::*;
use dicom_ul::pdu::{
    AbortRQServiceProviderReason as AbortReason, AbortRQSource, AssociationAC, AssociationRQ, Pdu,
    PresentationContextResultReason as Reason, RequestorRoles, UserIdentity, UserIdentityType, UserVariableItem,
};
use leadglass_dimse::{Ended, Rejection};

async fn accepted(request: &AssociationRQ) -> AssociationAC {
    let vault = Vault::new();
    let (mut wire, served) = vault.connect();
    let Some(Pdu::AssociationAC(answer)) = wire.request(request).await else { panic!("not accepted") };
    wire.release().await;
    assert!(matches!(served.await.unwrap(), Ended::Released));
    answer
}

fn invalid_parameter() -> Pdu {
    Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(AbortReason::InvalidPduParameter) }
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_the_source_and_reason_of_the_standard() {
    type Change = fn(&mut AssociationRQ);
    // Result, source, reason: PS3.8 Table 9-21.
    let table: [(Change, [u8; 3], Rejection); 9] = [
        (|r| r.protocol_version = 2, [1, 2, 2], Rejection::ProtocolVersion),
        (|r| r.application_context_name = "1.2.3".into(), [1, 1, 2], Rejection::ApplicationContext),
        (|r| r.called_ae_title = "NOBODY".into(), [1, 1, 7], Rejection::CalledAe),
        (|r| r.called_ae_title = "A\\B".into(), [1, 1, 7], Rejection::CalledAe),
        (|r| r.calling_ae_title = "STRANGER".into(), [1, 1, 3], Rejection::CallingAe),
        (|r| r.calling_ae_title = "A\\B".into(), [1, 1, 3], Rejection::CallingAe),
        (|r| r.calling_ae_title = "CONGESTED".into(), [2, 3, 1], Rejection::Congestion),
        (|r| r.calling_ae_title = "HANGS".into(), [2, 3, 1], Rejection::Congestion),
        (|r| r.user_variables = vec![UserVariableItem::MaxLength(7)], [1, 1, 1], Rejection::Unworkable),
    ];
    for (change, code, rejection) in table {
        let vault = Vault::new();
        let (mut wire, served) = vault.connect();
        let mut request = request();
        change(&mut request);
        let answer = wire.request(&request).await.unwrap();
        assert!(matches!(answer, Pdu::AssociationRJ(_)), "{rejection:?}: {answer:?}");
        assert_eq!(bytes_of(&answer)[7..10], code, "{rejection:?}");
        assert_eq!(wire.receive().await, None);
        drop(wire);
        assert!(matches!(served.await.unwrap(), Ended::Rejected(r) if r == rejection), "{rejection:?}");
    }
}

#[tokio::test]
async fn requests_that_break_the_rules_are_aborted() {
    type Change = fn(&mut AssociationRQ);
    let table: [Change; 5] = [
        |r| r.presentation_contexts.clear(),
        |r| r.presentation_contexts[1].id = 1,
        |r| r.presentation_contexts[1].id = 2,
        |r| r.presentation_contexts = (0..200).map(|n| proposed(n | 1, CT, &[IMPLICIT])).collect(),
        |r| r.user_variables = (0..100).map(|_| UserVariableItem::Unknown(0x99, vec![])).collect(),
    ];
    for (row, change) in table.iter().enumerate() {
        let vault = Vault::new();
        let (mut wire, served) = vault.connect();
        let mut request = request();
        change(&mut request);
        assert_eq!(wire.request(&request).await, Some(invalid_parameter()), "row {row}");
        assert_eq!(wire.receive().await, None);
        drop(wire);
        assert!(matches!(served.await.unwrap(), Ended::Request(_) | Ended::Frame(_)), "row {row}");
    }
}

#[tokio::test]
async fn ten_thousand_contexts_are_refused_at_the_header() {
    let vault = Vault::new();
    let (mut wire, served) = vault.connect();
    let mut request = request();
    request.presentation_contexts = (0..10_000).map(|_| proposed(1, CT, &[IMPLICIT, EXPLICIT])).collect();
    let bytes = bytes_of(&Pdu::AssociationRQ(request));
    wire.send(&bytes[..6]).await;
    assert_eq!(wire.receive().await, Some(invalid_parameter()));
    drop(wire);
    assert!(matches!(served.await.unwrap(), Ended::Frame(_)));
}

#[tokio::test]
async fn what_is_no_request_is_aborted() {
    for (bytes, reason) in [
        (bytes_of(&Pdu::ReleaseRQ), AbortReason::UnexpectedPdu),
        (command_pdu(1, &echo_command(1)), AbortReason::UnexpectedPdu),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), AbortReason::UnrecognizedPdu),
        (vec![0x16, 3, 1, 2, 0, 1], AbortReason::UnrecognizedPdu),
    ] {
        let vault = Vault::new();
        let (mut wire, _served) = vault.connect();
        wire.send(&bytes).await;
        let abort = Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) };
        assert_eq!(wire.receive().await, Some(abort));
        assert_eq!(wire.receive().await, None);
    }
}

#[tokio::test]
async fn each_context_gets_the_first_transfer_syntax_we_take() {
    let mut request = request();
    request.presentation_contexts = vec![
        proposed(1, CT, &["1.2.840.10008.1.2.4.70", EXPLICIT]),
        proposed(7, CT, &["1.2.999.1", EXPLICIT, IMPLICIT]),
        proposed(9, CT, &["1.2.840.113619.5.2"]),
        proposed(11, CT, &["1.2.840.10008.1.2.1.99", EXPLICIT]),
        proposed(13, CT, &["1.2.999.1"]),
        proposed(15, CT, &[]),
        proposed(17, "1.2.840.10008.5.1.4.1.2.2.1", &[IMPLICIT]),
        proposed(19, "1.2.999.7", &[IMPLICIT]),
        proposed(21, "1.2.276.0.7230010.3.1.0.1", &[EXPLICIT]),
        proposed(255, VERIFICATION, &[EXPLICIT]),
        proposed(33, &format!("{CT}\0"), &[&format!("{EXPLICIT}\0")]),
    ];
    let answer = accepted(&request).await;
    let results: Vec<_> = answer
        .presentation_contexts
        .iter()
        .map(|c| (c.id, c.reason.clone(), if c.reason == Reason::Acceptance { c.transfer_syntax.as_str() } else { "" }))
        .collect();
    let expected = vec![
        (1, Reason::Acceptance, "1.2.840.10008.1.2.4.70"),
        (7, Reason::Acceptance, EXPLICIT),
        (9, Reason::Acceptance, "1.2.840.113619.5.2"),
        (11, Reason::Acceptance, "1.2.840.10008.1.2.1.99"),
        (13, Reason::TransferSyntaxesNotSupported, ""),
        (15, Reason::TransferSyntaxesNotSupported, ""),
        (17, Reason::AbstractSyntaxNotSupported, ""),
        (19, Reason::AbstractSyntaxNotSupported, ""),
        (21, Reason::Acceptance, EXPLICIT),
        (255, Reason::Acceptance, EXPLICIT),
        (33, Reason::Acceptance, EXPLICIT),
    ];
    assert_eq!(results, expected);
}

#[tokio::test]
async fn an_answer_advertises_our_pdu_length_and_repeats_the_titles() {
    let answer = accepted(&request()).await;
    assert_eq!(answer.protocol_version, 1);
    assert_eq!((answer.called_ae_title.as_str(), answer.calling_ae_title.as_str()), ("LEADGLASS", "CT1"));
    assert!(answer.user_variables.contains(&UserVariableItem::MaxLength(131_072)));
    assert!(answer.user_variables.iter().any(|item| matches!(item, UserVariableItem::ImplementationClassUID(_))));
}

#[tokio::test]
async fn version_bits_above_the_first_and_padding_do_not_matter() {
    let mut request = request();
    request.protocol_version = 3;
    request.application_context_name.push('\0');
    accepted(&request).await;
}

#[tokio::test]
async fn as_many_contexts_and_transfer_syntaxes_as_the_standard_allows_are_negotiated() {
    let mut request = request();
    let syntaxes: Vec<String> = (50..104).map(|n| format!("1.2.840.10008.1.2.4.{n}")).collect();
    let syntaxes: Vec<&str> = syntaxes.iter().map(String::as_str).collect();
    request.presentation_contexts = (0..128u8).map(|n| proposed(n * 2 + 1, CT, &syntaxes)).collect();
    let answer = accepted(&request).await;
    assert_eq!(answer.presentation_contexts.len(), 128);
    assert!(answer.presentation_contexts.iter().all(|c| c.reason == Reason::Acceptance));
}

#[tokio::test]
async fn roles_and_extended_negotiation_are_answered_and_identities_are_not() {
    let mut request = request();
    let roles = |scu, scp| UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), RequestorRoles { scu, scp });
    request.user_variables = vec![
        UserVariableItem::MaxLength(0),
        roles(true, true),
        UserVariableItem::SopClassExtendedNegotiationSubItem(CT.into(), vec![2, 0, 0, 0, 0, 0]),
        UserVariableItem::SopClassExtendedNegotiationSubItem("1.2.999.7".into(), vec![1]),
        UserVariableItem::Unknown(0x53, vec![0, 8, 0, 8]),
        UserVariableItem::UserIdentityItem(UserIdentity::new(
            true,
            UserIdentityType::UsernamePassword,
            b"CANARY".to_vec(),
            b"NEVER".to_vec(),
        )),
    ];
    let answer = accepted(&request).await;
    assert!(answer.user_variables.contains(&roles(true, false)));
    let extended: Vec<_> = answer
        .user_variables
        .iter()
        .filter(|item| matches!(item, UserVariableItem::SopClassExtendedNegotiationSubItem(..)))
        .collect();
    assert_eq!(extended, [&UserVariableItem::SopClassExtendedNegotiationSubItem(CT.into(), vec![2, 0, 3, 0, 0, 0])]);
    assert!(!answer.user_variables.iter().any(|item| matches!(item, UserVariableItem::Unknown(..))));
}

#[tokio::test]
async fn a_device_sends_only_what_it_was_enrolled_for() {
    let mut request = request();
    request.calling_ae_title = "PINNED".into();
    request.presentation_contexts.push(proposed(7, "1.2.840.10008.5.1.4.1.1.4", &[EXPLICIT]));
    request.presentation_contexts.push(proposed(9, CT, &[IMPLICIT, EXPLICIT]));
    let answer = accepted(&request).await;
    let results: Vec<_> =
        answer.presentation_contexts.iter().map(|c| (c.id, c.reason.clone(), c.transfer_syntax.as_str())).collect();
    let expected = [
        (1, Reason::Acceptance, EXPLICIT),
        (3, Reason::TransferSyntaxesNotSupported, IMPLICIT),
        (5, Reason::Acceptance, IMPLICIT),
        (7, Reason::AbstractSyntaxNotSupported, IMPLICIT),
        (9, Reason::Acceptance, EXPLICIT),
    ];
    assert_eq!(results, expected);
}
