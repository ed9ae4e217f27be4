//! Rectification: previewed, ordered, carried on (GDPR Art. 16), by the data protection officer. Whom it is about stands in the
//! body: an address stands in the logs of whatever lies between.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_engine::{
    Attribute, Rectification, RectificationId, RectificationPreview, RectifyError, StudyChange, Truth, WhatToRectify,
};
use leadglass_model::{Administer, Fault, Permit, Phi, Role, SeriesUid, SopInstanceUid, StudyUid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    studies: Vec<String>,
    #[serde(default)]
    patient: Option<Patient>,
    #[serde(default)]
    part: Option<Part>,
    #[serde(default)]
    values: BTreeMap<Attribute, String>,
    #[serde(default)]
    as_patient: Option<Patient>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patient {
    patient_id: String,
    #[serde(default)]
    issuer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    study: String,
    #[serde(default)]
    series: Vec<String>,
    #[serde(default)]
    instances: Vec<String>,
}

#[derive(Serialize)]
struct PreviewBody<'a> {
    digest: &'a str,
    splits: bool,
    studies: Vec<ChangeBody<'a>>,
}

#[derive(Serialize)]
struct ChangeBody<'a> {
    study: &'a str,
    instances: u64,
    changes: Vec<SaidBody<'a>>,
    recipients: &'a [String],
}

#[derive(Serialize)]
struct SaidBody<'a> {
    attribute: Attribute,
    old: &'a str,
    new: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    id: String,
    ordered_by: String,
    ordered_at_ms: u64,
    studies: usize,
    studies_left: usize,
    instances: u64,
    new_study: Option<&'a str>,
    why: Option<&'a str>,
    done_at_ms: Option<u64>,
}

/// `GET /api/v1/rectifications`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let orders = app.engine.rectifications(&permit).await.map_err(|e| problem(&e))?;
    Ok(not_kept(Json(orders.iter().map(body).collect::<Vec<_>>())))
}

/// `POST /api/v1/rectifications/preview`: what would change, and the digest that an order repeats.
pub(crate) async fn preview(State(app): State<App>, caller: Caller, Small(bytes): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let (what, truth, _) = meant(&bytes)?;
    let preview = app.engine.preview_rectification(&permit, &what, &truth).await.map_err(|e| problem(&e))?;
    Ok(not_kept(Json(shown(&preview))))
}

/// `POST /api/v1/rectifications`
pub(crate) async fn order(State(app): State<App>, caller: Caller, Small(bytes): Small) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let (what, truth, asked) = meant(&bytes)?;
    let order = app.engine.rectify(&permit, &what, &truth, &asked.reason, &asked.digest).await;
    let order = order.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, not_kept(Json(body(&order)))).into_response())
}

/// `GET /api/v1/rectifications/{rectification}`
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let order = app.engine.rectification(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(not_kept(Json(body(&order))))
}

/// `POST /api/v1/rectifications/{rectification}/run`: carries on one that stopped; answers when it is at its end or stopped again.
pub(crate) async fn run(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let order = app.engine.run_rectification(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(not_kept(Json(body(&order))))
}

/// `DELETE /api/v1/rectifications/{rectification}`: gives up what is left of one that cannot come to its end.
pub(crate) async fn give_up(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let order = app.engine.give_up_rectification(&permit, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(not_kept(Json(body(&order))))
}

/// Which images, and what is right of them.
fn meant(bytes: &[u8]) -> Result<(WhatToRectify, Truth, Asked), Problem> {
    let form = || {
        Problem::new(
            Fault::BadInput,
            "rectification",
            r#"Send {"studies":["UID",…]}, {"patient":{"patient_id":"…"}} or {"part":{"study":"UID","series":["UID",…],"instances":["UID",…]}}; with it {"values":{"patient-name":"…",…}} or {"as_patient":{"patient_id":"…"}}; and to order it {"reason":"…","digest":"…"} as the preview said."#,
        )
    };
    let mut asked: Asked = serde_json::from_slice(bytes).map_err(|_| form())?;
    if asked.reason.len() > MAX_REASON_BYTES || asked.digest.len() > MAX_DIGEST_BYTES {
        return Err(form());
    }
    let study = |uid: &String| StudyUid::parse(uid).map_err(|_| form());
    let what = match (asked.studies.as_slice(), asked.patient.take(), asked.part.take()) {
        ([_, ..], None, None) => WhatToRectify::Studies(asked.studies.iter().map(study).collect::<Result<_, _>>()?),
        ([], Some(patient), None) => {
            WhatToRectify::Patient { id: Phi::new(patient.patient_id), issuer: patient.issuer.map(Phi::new) }
        }
        ([], None, Some(part)) => WhatToRectify::Part {
            study: study(&part.study)?,
            series: part
                .series
                .iter()
                .map(|uid| SeriesUid::parse(uid))
                .collect::<Result<_, _>>()
                .map_err(|_| form())?,
            instances: part
                .instances
                .iter()
                .map(|uid| SopInstanceUid::parse(uid))
                .collect::<Result<_, _>>()
                .map_err(|_| form())?,
        },
        _ => return Err(form()),
    };
    let splits = matches!(what, WhatToRectify::Part { .. });
    let truth = match (std::mem::take(&mut asked.values), asked.as_patient.take()) {
        (values, Some(patient)) if values.is_empty() => {
            Truth::Patient { id: Phi::new(patient.patient_id), issuer: patient.issuer.map(Phi::new) }
        }
        // A part may become a study of its own of the same patient.
        (values, None) if !values.is_empty() || splits => {
            Truth::Typed(values.into_iter().map(|(attribute, value)| (attribute, Phi::new(value))).collect())
        }
        _ => return Err(form()),
    };
    Ok((what, truth, asked))
}

fn shown(preview: &RectificationPreview) -> PreviewBody<'_> {
    PreviewBody {
        digest: &preview.digest,
        splits: preview.splits,
        studies: preview.studies.iter().map(change).collect(),
    }
}

fn change(change: &StudyChange) -> ChangeBody<'_> {
    ChangeBody {
        study: change.study.expose(),
        instances: change.instances,
        changes: change
            .changes
            .iter()
            .map(|(attribute, old, new)| SaidBody { attribute: *attribute, old: old.expose(), new: new.expose() })
            .collect(),
        recipients: &change.recipients,
    }
}

fn body(order: &Rectification) -> Body<'_> {
    Body {
        id: order.id.to_string(),
        ordered_by: order.by.to_string(),
        ordered_at_ms: order.at.0,
        studies: order.studies.len(),
        studies_left: order.left.len(),
        instances: order.instances,
        new_study: order.new_study().map(|uid| uid.expose().as_str()),
        why: order.why.as_deref(),
        done_at_ms: order.done_at.map(|at| at.0),
    }
}

/// It names patients: nothing in between keeps it.
fn not_kept(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

fn officer(caller: &Caller) -> Result<Permit<Administer>, Problem> {
    let permit = caller.administer()?;
    if permit.role() == Role::Dpo {
        return Ok(permit);
    }
    Err(Problem::new(Fault::Denied, "not-allowed", "Correcting is for the data protection officer."))
}

fn named(id: &str) -> Result<RectificationId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

/// What a person can do something about is said in its own words.
fn problem(error: &RectifyError) -> Problem {
    match error {
        RectifyError::Missing => Problem::not_found(),
        RectifyError::TooMany
        | RectifyError::Ambiguous
        | RectifyError::Nothing
        | RectifyError::Whole
        | RectifyError::Changed
        | RectifyError::Erased(_)
        | RectifyError::Going
        | RectifyError::Held
        | RectifyError::SetAside
        | RectifyError::Form(_)
        | RectifyError::Unfit { .. } => Problem::new(error.fault(), error.code(), sentence(error)),
        _ => {
            tracing::warn!(%error, "a rectification could not be carried on");
            Problem::new(error.fault(), error.code(), "The rectification could not be carried on; ask again.")
        }
    }
}

fn sentence(error: &RectifyError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// Why, in the officer's words.
const MAX_REASON_BYTES: usize = 4096;
/// The digest of a preview is 64 hexadecimal digits.
const MAX_DIGEST_BYTES: usize = 64;
