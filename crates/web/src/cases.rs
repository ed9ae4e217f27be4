//! Cases of the data protection officer: rights of patients and breaches. Whom a case is about stands in bodies: an
//! address stands in the logs of whatever lies between. The list names nobody; whoever opens a case is recorded.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_engine::{
    CaseError, CaseId, CasePatient, CaseType, Channel, Day, Language, Linked, NewCase, Occasion, RightsCase,
    RightsOutcome, Seen, Stamp,
};
use leadglass_model::{Administer, Fault, Permit, Phi, Role};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// `GET /api/v1/cases`: what is overdue first.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let lines = app.engine.cases(&permit).await.map_err(|e| problem(&e))?;
    let lines = lines.iter().map(|line| {
        json!({
            "id": line.id,
            "type": line.kind,
            "state": line.state,
            "received": line.received,
            "deadline": line.deadline.to_string(),
            "deadline_ms": line.deadline.end().0,
            "overdue": line.overdue,
            "outcome": line.outcome,
            "closed_ms": line.closed_at.map(|at| at.0),
            "kept_until": line.kept_until,
            "expired": line.expired,
        })
    });
    Ok(kept_nowhere(Json(lines.collect::<Vec<_>>())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    #[serde(rename = "type")]
    kind: CaseType,
    patient_id: Option<String>,
    issuer: Option<String>,
    received: Option<Day>,
    at: Option<String>,
    channel: Channel,
}

/// `POST /api/v1/cases`
pub(crate) async fn open(State(app): State<App>, caller: Caller, Small(sent): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let wanted = r#"Send {"type":"access","patient_id":"…","issuer":"…","received":"2026-01-31","channel":"letter"}, or {"type":"breach","received":"2026-01-31","at":"14:05","channel":"email"}. Types: access, rectification, erasure, restriction, portability, objection, breach; channels: letter, email, phone, in-person, portal."#;
    let sent: Opened = read(&sent, wanted)?;
    if sent.patient_id.is_none() && sent.issuer.is_some() {
        return Err(Problem::new(Fault::BadInput, "form", wanted));
    }
    let minute = sent.at.map(|at| minute_of(&at).ok_or_else(|| Problem::new(Fault::BadInput, "form", wanted)));
    let new = NewCase {
        kind: sent.kind,
        patient: sent.patient_id.map(|id| CasePatient { id: Phi::new(id), issuer: sent.issuer.map(Phi::new) }),
        received: sent.received,
        minute: minute.transpose()?,
        channel: sent.channel,
    };
    let case = app.engine.open_case(&permit, new).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, kept_nowhere(Json(told(&case)))).into_response())
}

/// `GET /api/v1/cases/{request}`: all of it. That it was read is recorded.
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    answer(app.engine.case(&permit, id).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    seen: Seen,
    how: String,
}

/// `POST /api/v1/cases/{request}/identity`: somebody looked who asks.
pub(crate) async fn identity(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let Checked { seen, how } = read(&sent, r#"Send {"seen":"confirmed","how":"…"}, or not-confirmed."#)?;
    answer(app.engine.check_identity(&permit, id, seen, Phi::new(how)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    months: u8,
    reason: String,
}

/// `POST /api/v1/cases/{request}/extension`: one or two months more.
pub(crate) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let More { months, reason } = read(&sent, r#"Send {"months":2,"reason":"…"}; one or two."#)?;
    answer(app.engine.extend_case(&permit, id, months, Phi::new(reason)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    outcome: RightsOutcome,
    ground: String,
    words: String,
}

/// `POST /api/v1/cases/{request}/decisions`
pub(crate) async fn decide(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let wanted = r#"Send {"outcome":"refused","ground":"17(3)(b)","words":"…"}; granted, refused or partly."#;
    let Decided { outcome, ground, words } = read(&sent, wanted)?;
    answer(app.engine.decide_case(&permit, id, outcome, &ground, Phi::new(words)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    what: Linked,
    id: String,
}

/// `POST /api/v1/cases/{request}/links`: what was made or done for it.
pub(crate) async fn link(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let wanted = r#"Send {"what":"export","id":"…"}; export, erasure, report, hold, restriction or rectification."#;
    let Link { what, id: linked } = read(&sent, wanted)?;
    answer(app.engine.link_case(&permit, id, what, &linked).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    text: String,
}

/// `POST /api/v1/cases/{request}/notes`
pub(crate) async fn note(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let Noted { text } = read(&sent, r#"Send {"text":"…"}."#)?;
    answer(app.engine.note_case(&permit, id, Phi::new(text)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    reason: Option<String>,
}

/// `POST /api/v1/cases/{request}/close`
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let End { reason } = read(&sent, r#"Send {}, or {"reason":"…"} where nothing was decided."#)?;
    answer(app.engine.close_case(&permit, id, reason.map(Phi::new)).await)
}

/// `DELETE /api/v1/cases/{request}`: a closed one whose time is over.
pub(crate) async fn expire(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    app.engine.expire_case(&permit, id).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    occasion: Option<String>,
    language: Option<String>,
}

/// `GET /api/v1/cases/{request}/letter?occasion=refused&language=de`: as text, to be read before it goes out.
pub(crate) async fn letter(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let (permit, id) = (officer(&caller)?, named(&id)?);
    let occasion = match wanted.occasion.as_deref() {
        Some("received") => Some(Occasion::Received),
        Some("identity") => Some(Occasion::Identity),
        Some("extended") => Some(Occasion::Extended),
        Some("granted") => Some(Occasion::Granted),
        Some("refused") => Some(Occasion::Refused),
        _ => None,
    };
    let language = wanted.language.as_deref().unwrap_or("en").parse::<Language>().ok();
    let (Some(occasion), Some(language)) = (occasion, language) else {
        let sentence =
            "Say ?occasion=received, identity, extended, granted or refused, and &language=en, de, it, es or fr.";
        return Err(Problem::new(Fault::BadInput, "letter", sentence));
    };
    let text = app.engine.case_letter(&permit, id, occasion, language).await.map_err(|e| problem(&e))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok(kept_nowhere((kind, text.into_exposed())))
}

fn answer(case: Result<RightsCase, CaseError>) -> Result<Response, Problem> {
    case.map(|case| kept_nowhere(Json(told(&case)))).map_err(|e| problem(&e))
}

/// A case with all that stands in it.
fn told(case: &RightsCase) -> Value {
    let by = |stamp: &Stamp| json!({ "by": stamp.by, "at_ms": stamp.at.0, "entry": stamp.entry });
    let identity = case
        .identity
        .iter()
        .map(|check| json!({ "seen": check.seen, "how": check.how.expose(), "done": by(&check.stamp) }));
    let decisions = case.decisions.iter().map(|decision| {
        json!({
            "outcome": decision.outcome,
            "ground": decision.ground,
            "words": decision.words.expose(),
            "done": by(&decision.stamp),
        })
    });
    let links = case.links.iter().map(|link| json!({ "what": link.what, "id": link.id, "done": by(&link.stamp) }));
    let notes = case.notes.iter().map(|note| json!({ "text": note.text.expose(), "done": by(&note.stamp) }));
    let trail = case
        .trail()
        .into_iter()
        .map(|(step, stamp)| json!({ "step": step, "by": stamp.by, "at_ms": stamp.at.0, "entry": stamp.entry }));
    let patient = case.patient.as_ref();
    json!({
        "id": case.id,
        "type": case.kind,
        "state": case.state(),
        "patient_id": patient.map(|patient| patient.id.expose()),
        "issuer": patient.and_then(|patient| patient.issuer.as_ref()).map(Phi::expose),
        "received": case.received,
        "known_ms": case.known_at.map(|at| at.0),
        "channel": case.channel,
        "deadline": case.deadline().to_string(),
        "deadline_ms": case.deadline().end().0,
        "identity": identity.collect::<Vec<_>>(),
        "extension": case.extension.as_ref().map(|more| {
            json!({ "months": more.months, "reason": more.reason.expose(), "done": by(&more.stamp) })
        }),
        "decisions": decisions.collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
        "closed": case.closed.as_ref().map(|end| {
            json!({ "reason": end.reason.as_ref().map(Phi::expose), "done": by(&end.stamp) })
        }),
        "trail": trail.collect::<Vec<_>>(),
    })
}

pub(crate) fn kept_nowhere(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}

pub(crate) fn read<T: DeserializeOwned>(sent: &[u8], wanted: &'static str) -> Result<T, Problem> {
    serde_json::from_slice(sent).map_err(|_| Problem::new(Fault::BadInput, "form", wanted))
}

fn named(id: &str) -> Result<CaseId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

/// Of `14:05`.
fn minute_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_pair = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let two = |text: &str| is_pair(text).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

pub(crate) fn officer(caller: &Caller) -> Result<Permit<Administer>, Problem> {
    let permit = caller.administer()?;
    if permit.role() == Role::Dpo {
        return Ok(permit);
    }
    Err(Problem::new(Fault::Denied, "not-allowed", "Cases are for the data protection officer."))
}

pub(crate) fn problem(error: &CaseError) -> Problem {
    let sentence = match error {
        CaseError::Missing => return Problem::not_found(),
        CaseError::Form(_)
        | CaseError::Ground(_)
        | CaseError::NotExtendable(_)
        | CaseError::NoLetter(_)
        | CaseError::Kept(_)
        | CaseError::Placeholder { .. }
        | CaseError::PlaceholderMissing(_) => {
            return Problem::new(error.fault(), error.code(), sentence_of(&error.to_string()));
        }
        CaseError::TooMany => "There are too many cases.",
        CaseError::TooLong => "The case has as many steps as a case may have; close it and open another.",
        CaseError::Closed => "The case is closed. Open another.",
        CaseError::NoIdentity => {
            "Confirm first that it is the patient who asks. Who is not recognised is refused by 12(2)."
        }
        CaseError::Undecided => "Nothing was decided: decide, or say why it is closed without.",
        CaseError::NoOutput => "There is no such export, erasure, report, hold, restriction or rectification.",
        CaseError::OtherPatient => {
            "It is about somebody else than the case, or its studies are gone and it cannot be told any more."
        }
        CaseError::NotClosed => "The case is not closed: close it, and it goes when its time is over.",
        CaseError::Changed => "Somebody else changed it at the same time; look at it again.",
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "a case could not be asked or changed");
            "The case cannot be read or changed now; try again."
        }
    };
    Problem::new(error.fault(), error.code(), sentence)
}

/// With a capital letter and a full stop.
fn sentence_of(words: &str) -> String {
    let mut rest = words.chars();
    rest.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), rest.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_two_pairs_of_digits() {
        assert_eq!((minute_of("00:00"), minute_of("23:59"), minute_of("14:05")), (Some(0), Some(1439), Some(845)));
        for bad in ["24:00", "1:05", "14:60", "1405", "", "+1:05", "14:5 "] {
            assert_eq!(minute_of(bad), None, "{bad}");
        }
    }
}
