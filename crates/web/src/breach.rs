//! The scope of a breach: whose data were opened, whose only lay there sealed. For the data protection officer alone, because
//! it names patients. What it is about stands in the body: an address stands in the logs of whatever lies between.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use leadglass_audit::ClientRef;
use leadglass_engine::{
    BREACH_SECS, BreachAsked, BreachError, BreachPatient, BreachScope, KeyLogError, OpenedStudy, SealedStudy, Selector,
};
use leadglass_model::{ActorRef, Fault, Phi, Role, UnixMillis};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    actor: Option<String>,
    device: Option<String>,
    key: Option<String>,
    node: Option<String>,
    from_ms: u64,
    to_ms: u64,
    aware_ms: Option<u64>,
}

/// `POST /api/v1/breach/scope`
pub(crate) async fn scope(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = caller.principal.audit();
    let permit = permit.map_err(|refusal| Problem::new(refusal.fault(), "not-allowed", format!("{refusal}.")))?;
    if permit.role() != Role::Dpo {
        return Err(problem(&BreachError::NotOfficer));
    }
    let asked: Asked = serde_json::from_slice(&sent).map_err(|_| form())?;
    let by = selector(&asked).ok_or_else(form)?;
    let span = BreachAsked { by, from: UnixMillis(asked.from_ms), to: UnixMillis(asked.to_ms) };
    let scope = app.engine.breach_scope(&permit, span).await.map_err(|e| problem(&e))?;
    let body = told(&scope, UnixMillis(asked.aware_ms.unwrap_or(scope.made.0)));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// What was meant; the inner `None` is this vault as a node. `None`: not one thing, or no name of one.
fn selector(asked: &Asked) -> Option<Option<Selector>> {
    let id = |text: &str| {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
    };
    match (&asked.actor, &asked.device, &asked.key, &asked.node) {
        (Some(actor), None, None, None) => Some(Some(Selector::Actor(ActorRef(id(actor)?)))),
        (None, Some(device), None, None) => Some(Some(Selector::Device(ClientRef(id(device)?)))),
        (None, None, Some(key), None) => Some(Some(Selector::Key(key.parse().ok()?))),
        (None, None, None, Some(node)) if node == "this" => Some(None),
        (None, None, None, Some(node)) => Some(Some(Selector::Node(ClientRef(id(node)?)))),
        _ => None,
    }
}

fn told(scope: &BreachScope, aware: UnixMillis) -> Value {
    let (kind, id) = match scope.by {
        Selector::Actor(actor) => ("actor", actor.to_string()),
        Selector::Device(client) => ("device", hex::encode(client.0)),
        Selector::Key(key) => ("key", key.to_string()),
        Selector::Node(client) => ("node", hex::encode(client.0)),
    };
    let deadline = aware.plus_secs(BREACH_SECS);
    json!({
        "by": kind, "id": id, "from_ms": scope.from, "to_ms": scope.to, "made_ms": scope.made,
        "aware_ms": aware, "deadline_ms": deadline, "seconds_left": deadline.millis_since(scope.made) / 1000,
        "patients": scope.patients.iter().map(patient).collect::<Vec<_>>(),
        "unaccounted": scope.unaccounted, "unaccounted_elsewhere": scope.unaccounted_elsewhere,
        "index_keys": scope.index_keys, "key_log_entries": scope.key_log_entries, "log_entries": scope.log_entries,
        "controller": scope.practice.controller, "contact": scope.practice.officer,
    })
}

fn patient(patient: &BreachPatient) -> Value {
    json!({
        "subject": patient.subject, "name": plain(&patient.name), "patient_id": plain(&patient.id),
        "issuer": plain(&patient.issuer),
        "opened": patient.opened.iter().map(opened).collect::<Vec<_>>(),
        "sealed": patient.sealed.iter().map(sealed).collect::<Vec<_>>(),
    })
}

fn opened(study: &OpenedStudy) -> Value {
    let counted = &study.counted;
    let instances = study.instances.as_ref().map(|uids| uids.iter().map(Phi::expose).collect::<Vec<_>>());
    json!({
        "study_ref": study.study.to_string(), "study": plain(&study.uid), "instances": instances,
        "keys": counted.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unwraps": counted.unwraps, "unaccounted": counted.unaccounted, "accesses": counted.accesses, "taken_in": counted.taken_in,
        "first_ms": counted.first, "last_ms": counted.last,
    })
}

fn sealed(study: &SealedStudy) -> Value {
    json!({ "study_ref": study.study.to_string(), "study": plain(&study.uid), "instances": study.instances })
}

fn plain(text: &Option<Phi<String>>) -> Option<&String> {
    text.as_ref().map(Phi::expose)
}

fn form() -> Problem {
    let sentence = r#"Send {"actor":"…","from_ms":0,"to_ms":0}, or "device", "key" or "node" instead of "actor": 32 hexadecimal digits, for this vault "node":"this"."#;
    Problem::new(Fault::BadInput, "form", sentence)
}

fn problem(error: &BreachError) -> Problem {
    let (code, sentence) = match error {
        BreachError::NotOfficer => ("not-allowed", "The scope names patients: it is for the data protection officer."),
        BreachError::Span => ("span", "The span ends before it begins."),
        BreachError::TooMuch(_) => {
            ("too-much", "There is more in this span than can be told at once: ask for a shorter one.")
        }
        BreachError::KeyLog(KeyLogError::Follow(_)) => (
            "key-log-fork",
            "The key service's log is not the one that was seen before. Somebody must look at the key service.",
        ),
        BreachError::KeyLog(_) => ("key-log", "The key service's log cannot be asked for now; ask again."),
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "the scope of a breach could not be computed");
            ("breach", "The logs cannot be asked now; ask again.")
        }
    };
    Problem::new(error.fault(), code, sentence)
}
