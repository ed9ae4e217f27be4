//! Erasures: ordered, approved, carried out and certified. Approving is for whoever administers; the rest for the data
//! protection officer. Whom an order is about stands in the body: an address stands in the logs of whatever lies between.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_engine::{
    Cause, EraseError, ErasureId, Ground, Handed, Level, Notice, Order, Recipient, Tell, WhatToErase,
};
use leadglass_model::{Administer, Fault, Permit, Phi, Role, SeriesUid, SopInstanceUid, StudyUid};
use serde::{Deserialize, Serialize};

/// What is ordered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    level: Level,
    #[serde(default)]
    study: Option<String>,
    #[serde(default)]
    series: Option<String>,
    #[serde(default)]
    instance: Option<String>,
    #[serde(default)]
    patient_id: Option<String>,
    #[serde(default)]
    issuer: Option<String>,
    ground: Ground,
    #[serde(default)]
    reason: String,
    /// No retention rule is about it, and who orders it answers for that.
    #[serde(default)]
    no_rule: bool,
}

/// With what it is carried on.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    #[serde(default)]
    approval: Option<String>,
}

/// Whether peers that have copies are told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Telling {
    tell: bool,
}

/// Somebody who has copies.
#[derive(Serialize)]
struct CopiesBody<'a> {
    name: &'a str,
    handed: Handed,
    first_ms: u64,
    last_ms: u64,
    studies: u64,
    instances_at_most: u64,
    instances_known: u64,
    notice: Notice,
    told_at_ms: Option<u64>,
    why: Option<&'a str>,
}

/// An order as JSON. Its reason is for the officer alone.
#[derive(Serialize)]
struct Body<'a> {
    id: ErasureId,
    level: Level,
    ground: Ground,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    no_rule: bool,
    stage: &'static str,
    ordered_by: &'a str,
    ordered_at_ms: u64,
    not_before_ms: u64,
    approvals_needed: usize,
    approved_by: Vec<&'a str>,
    studies: usize,
    instances: u64,
    objects: u64,
    tells_peers: bool,
    key_host_approval: Option<&'a str>,
    ciphertext_deleted_at_ms: Option<u64>,
    done_at_ms: Option<u64>,
}

/// `GET /api/v1/erasures`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let orders = app.engine.erasures(&permit).await.map_err(|e| problem(&e))?;
    let bodies: Vec<Body<'_>> = orders.iter().map(|order| body(order, &permit)).collect();
    Ok(Json(bodies).into_response())
}

/// `POST /api/v1/erasures`
pub(crate) async fn order(State(app): State<App>, caller: Caller, Small(bytes): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let form = || {
        Problem::new(
            Fault::BadInput,
            "erasure",
            r#"Send {"level":"study","study":"UID","ground":"objection","reason":"…"}, with {"level":"series","series":"UID"} or {"level":"instance","instance":"UID"} for a part of it, or {"level":"patient","patient_id":"…",…}; "no_rule":true where no retention rule is about it and you answer for that."#,
        )
    };
    let asked: Asked = serde_json::from_slice(&bytes).map_err(|_| form())?;
    let study = |uid: &str| StudyUid::parse(uid).map_err(|_| Problem::not_found());
    let what = match (asked.level, asked.study, asked.series, asked.instance, asked.patient_id) {
        (Level::Study, Some(uid), None, None, None) => WhatToErase::Study(study(&uid)?),
        (Level::Series, Some(uid), Some(series), None, None) => {
            WhatToErase::Series(study(&uid)?, SeriesUid::parse(&series).map_err(|_| Problem::not_found())?)
        }
        (Level::Instance, Some(uid), None, Some(instance), None) => {
            WhatToErase::Instance(study(&uid)?, SopInstanceUid::parse(&instance).map_err(|_| Problem::not_found())?)
        }
        (Level::Patient, None, None, None, Some(id)) if !id.is_empty() => {
            WhatToErase::Patient { id: Phi::new(id), issuer: asked.issuer.map(Phi::new) }
        }
        _ => return Err(form()),
    };
    if asked.reason.len() > MAX_REASON_BYTES {
        return Err(form());
    }
    let why = Cause { ground: asked.ground, reason: asked.reason, no_rule: asked.no_rule };
    let order = app.engine.order_erasure(&permit, &what, why).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, Json(body(&order, &permit))).into_response())
}

/// `GET /api/v1/erasures/{erasure}`
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let order = app.engine.erasure(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(Json(body(&order, &permit)).into_response())
}

/// `DELETE /api/v1/erasures/{erasure}`: takes back what has not begun.
pub(crate) async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let order = app.engine.withdraw_erasure(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(Json(body(&order, &permit)).into_response())
}

/// `POST /api/v1/erasures/{erasure}/approve`
pub(crate) async fn approve(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let order = app.engine.approve_erasure(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(Json(body(&order, &permit)).into_response())
}

/// `POST /api/v1/erasures/{erasure}/run`: goes as far as it can; asking again goes on.
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(bytes): Small,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let id = named(&id)?;
    let run: Run = if bytes.is_empty() { Ok(Run::default()) } else { serde_json::from_slice(&bytes) }
        .map_err(|_| Problem::new(Fault::BadInput, "erasure", r#"Send nothing, or {"approval":"…"}."#))?;
    let order = app.engine.run_erasure(&permit, id, run.approval).await.map_err(|e| problem(&e))?;
    Ok(Json(body(&order, &permit)).into_response())
}

/// `GET /api/v1/erasures/{erasure}/certificate`
pub(crate) async fn certificate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let signed = app.engine.erasure_certificate(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(signed)).into_response())
}

/// `GET /api/v1/erasures/{erasure}/recipients`: who has copies (GDPR Art. 19).
pub(crate) async fn recipients(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let found = app.engine.erasure_recipients(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(Json(found.iter().map(copies).collect::<Vec<_>>()).into_response())
}

/// `PUT /api/v1/erasures/{erasure}/recipients` with `{"tell":true}`: has the peers among them told by a rejection note.
pub(crate) async fn tell(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(bytes): Small,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let id = named(&id)?;
    let form = |_| Problem::new(Fault::BadInput, "erasure", r#"Send {"tell":true} or {"tell":false}."#);
    let Telling { tell } = serde_json::from_slice(&bytes).map_err(form)?;
    let tell = if tell { Tell::Peers } else { Tell::Nobody };
    let order = app.engine.tell_recipients(&permit, id, tell).await.map_err(|e| problem(&e))?;
    Ok(Json(body(&order, &permit)).into_response())
}

fn copies(recipient: &Recipient) -> CopiesBody<'_> {
    CopiesBody {
        name: &recipient.name,
        handed: recipient.handed,
        first_ms: recipient.first.0,
        last_ms: recipient.last.0,
        studies: recipient.studies,
        instances_at_most: recipient.instances,
        instances_known: recipient.certain,
        notice: recipient.notice,
        told_at_ms: recipient.told_at.map(|at| at.0),
        why: recipient.why.as_deref(),
    }
}

fn body<'a>(order: &'a Order, permit: &Permit<Administer>) -> Body<'a> {
    Body {
        id: order.id,
        level: order.level,
        ground: order.ground,
        reason: (permit.role() == Role::Dpo).then_some(order.reason.as_str()),
        no_rule: order.no_rule,
        stage: order.stage.as_str(),
        ordered_by: &order.ordered_by,
        ordered_at_ms: order.ordered_at.0,
        not_before_ms: order.not_before.0,
        approvals_needed: order.needs,
        approved_by: order.approvals.iter().map(|given| given.by.as_str()).collect(),
        studies: order.studies.len(),
        instances: order.instances,
        objects: order.objects,
        tells_peers: order.tell,
        key_host_approval: order.key_approval.as_deref(),
        ciphertext_deleted_at_ms: order.ciphertext_deleted_at.map(|at| at.0),
        done_at_ms: order.done_at.map(|at| at.0),
    }
}

fn officer(caller: &Caller) -> Result<Permit<Administer>, Problem> {
    let permit = caller.administer()?;
    if permit.role() == Role::Dpo {
        return Ok(permit);
    }
    Err(Problem::new(Fault::Denied, "not-allowed", "Erasing is for the data protection officer."))
}

fn named(id: &str) -> Result<ErasureId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

fn problem(error: &EraseError) -> Problem {
    let said = matches!(
        error,
        EraseError::TooMany { .. }
            | EraseError::Kept(_)
            | EraseError::NoRule
            | EraseError::OwnOrder
            | EraseError::Begun(_)
            | EraseError::CoolingOff(_)
            | EraseError::NotApproved { .. }
            | EraseError::KeyHost { .. }
            | EraseError::NotTold { .. }
            | EraseError::BeingCorrected
            | EraseError::NotYet
    );
    match error {
        EraseError::Missing => Problem::not_found(),
        error if said => {
            let mut sentence = error.to_string();
            if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
                sentence.replace_range(..1, &first);
            }
            Problem::new(error.fault(), error.code(), format!("{sentence}."))
        }
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "an erasure could not go on");
            Problem::new(error.fault(), error.code(), "The erasure could not go on; run it again.")
        }
    }
}

const MAX_REASON_BYTES: usize = 4096;
