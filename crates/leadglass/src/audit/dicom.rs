//! DICOM audit messages: the XML of PS3.15 A.5.1, one document a line.

use super::words::{self, escape};
use leadglass_audit::EntryLine;
use std::fmt::Write as _;

/// An entry as an `AuditMessage`.
pub(super) fn message(entry: &EntryLine) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
    let (code, system, name) = coded(entry.event);
    // Writing into a String does not fail.
    let _ = write!(
        xml,
        "<EventIdentification EventActionCode=\"{}\" EventDateTime=\"{}\" EventOutcomeIndicator=\"{}\">\
         <EventID csd-code=\"{code}\" codeSystemName=\"{system}\" originalText=\"{name}\"/>",
        action(entry.event),
        words::time(entry.time_ms),
        outcome(&entry.outcome),
    );
    if !entry.purpose.is_empty() {
        let purpose = escape(&entry.purpose);
        let _ = write!(
            xml,
            "<PurposeOfUse csd-code=\"{purpose}\" codeSystemName=\"99LEADGLASS\" originalText=\"{purpose}\"/>"
        );
    }
    xml.push_str("</EventIdentification>");
    let participant = |xml: &mut String, id: &str, requestor: bool, role: &str| {
        let _ = write!(xml, "<ActiveParticipant UserID=\"{}\" UserIsRequestor=\"{requestor}\">", escape(id));
        if !role.is_empty() {
            let role = escape(role);
            let _ =
                write!(xml, "<RoleIDCode csd-code=\"{role}\" codeSystemName=\"99LEADGLASS\" originalText=\"{role}\"/>");
        }
        xml.push_str("</ActiveParticipant>");
    };
    // At least one participant must be there; what the node did itself it did as the application.
    participant(&mut xml, if entry.actor.is_empty() { "leadglass" } else { &entry.actor }, true, &entry.role);
    if !entry.client.is_empty() {
        participant(&mut xml, &entry.client, false, "");
    }
    xml.push_str("<AuditSourceIdentification AuditSourceID=\"leadglass\"");
    if !entry.tenant.is_empty() {
        let _ = write!(xml, " AuditEnterpriseSiteID=\"{}\"", escape(&entry.tenant));
    }
    xml.push_str("/>");
    let object = |xml: &mut String, id: &str, kind: (u8, u8), code: (&str, &str)| {
        if !id.is_empty() {
            let _ = write!(
                xml,
                "<ParticipantObjectIdentification ParticipantObjectID=\"{}\" ParticipantObjectTypeCode=\"{}\" \
                 ParticipantObjectTypeCodeRole=\"{}\"><ParticipantObjectIDTypeCode csd-code=\"{}\" \
                 codeSystemName=\"99LEADGLASS\" originalText=\"{}\"/><ParticipantObjectName>{}</ParticipantObjectName>\
                 </ParticipantObjectIdentification>",
                escape(id),
                kind.0,
                kind.1,
                code.0,
                code.1,
                // The schema wants a name; nobody's stands here.
                escape(id),
            );
        }
    };
    object(&mut xml, &entry.subject, (1, 1), ("subject-token", "Keyed token of the patient"));
    object(&mut xml, &entry.study, (2, 3), ("study-reference", "Random reference of the study"));
    object(&mut xml, &entry.entry_id, (2, 13), ("entry", "Entry of the tamper-evident log"));
    xml.push_str("</AuditMessage>");
    xml
}

/// Code, system and name of an event: those of PS3.16 CID 400 where there is one.
fn coded(event: u32) -> (u32, &'static str, &'static str) {
    (event, if event < 1_000_000 { "DCM" } else { "99LEADGLASS" }, words::event(event))
}

/// PS3.15 A.5.2: C create, R read, U update, D delete, E execute.
pub(super) const fn action(event: u32) -> char {
    match event {
        110_103 | 110_101 => 'R',
        110_104 | 110_107 => 'C',
        110_105 | 1_000_022 => 'D',
        110_109..=110_111 | 1_000_020 | 1_000_023..=1_000_027 => 'U',
        _ => 'E',
    }
}

/// 0 success, 4 minor failure (refused), 8 serious failure.
pub(super) fn outcome(word: &str) -> u8 {
    match word {
        "success" => 0,
        "refused" => 4,
        _ => 8,
    }
}
