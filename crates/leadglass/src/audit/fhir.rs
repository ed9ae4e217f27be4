//! FHIR R4 `AuditEvent`, one resource a line.

use super::{dicom, words};
use leadglass_audit::EntryLine;
use serde_json::{Value, json};

/// An entry as a resource.
pub(super) fn event(entry: &EntryLine) -> Value {
    let system = if entry.event < 1_000_000 { DCM } else { OWN };
    let mut agents = vec![agent(if entry.actor.is_empty() { "leadglass" } else { &entry.actor }, true, &entry.role)];
    if !entry.client.is_empty() {
        agents.push(agent(&entry.client, false, ""));
    }
    let mut entities = Vec::new();
    if !entry.subject.is_empty() {
        entities.push(entity(&entry.subject, "1", "1"));
    }
    if !entry.study.is_empty() {
        entities.push(entity(&entry.study, "2", "3"));
    }
    let mut resource = json!({
        "resourceType": "AuditEvent",
        "id": entry.entry_id,
        "type": { "system": system, "code": entry.event.to_string(), "display": words::event(entry.event) },
        "action": dicom::action(entry.event).to_string(),
        "recorded": words::time(entry.time_ms),
        "outcome": dicom::outcome(&entry.outcome).to_string(),
        "agent": agents,
        "source": { "observer": { "display": "leadglass" } },
    });
    // FHIR knows no empty lists and texts.
    if !entry.tenant.is_empty() {
        resource["source"]["site"] = json!(entry.tenant);
    }
    if !entities.is_empty() {
        resource["entity"] = Value::Array(entities);
    }
    if !entry.code.is_empty() {
        resource["outcomeDesc"] = json!(entry.code);
    }
    if !entry.purpose.is_empty() {
        resource["purposeOfEvent"] = json!([{ "coding": [{ "system": OWN, "code": entry.purpose }] }]);
    }
    resource
}

fn agent(id: &str, requestor: bool, role: &str) -> Value {
    let mut agent = json!({ "who": { "identifier": { "value": id } }, "requestor": requestor });
    if !role.is_empty() {
        agent["role"] = json!([{ "coding": [{ "system": OWN, "code": role }] }]);
    }
    agent
}

fn entity(id: &str, kind: &str, role: &str) -> Value {
    json!({
        "what": { "identifier": { "value": id } },
        "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": kind },
        "role": { "system": "http://terminology.hl7.org/CodeSystem/object-role", "code": role },
    })
}

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const OWN: &str = "urn:leadglass:audit";
