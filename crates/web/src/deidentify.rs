//! De-identification: begun, taken instance by instance or brought to a peer, forgotten (PS3.15 Annex E). For the data
//! protection officer. Whom a job is about stands in the body: an address stands in the logs of whatever lies between.

use crate::{App, Problem, app::Caller, export, small::Small, wado::insert};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt;
use leadglass_engine::{
    DeidentifiedId, DeidentifyAsked, DeidentifyBy, Delivery, HeldBack, NamelessReport, Preset, RegionRule, RegionRules,
    WhatToExport,
};
use leadglass_model::{Fault, Phi, Role, SeriesUid, SopInstanceUid, StudyUid};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    patient_id: Option<String>,
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    study: Option<String>,
    #[serde(default)]
    series: Option<String>,
    #[serde(default)]
    instance: Option<String>,
    preset: Preset,
    /// Regions of pixels that are blanked.
    #[serde(default)]
    regions: Vec<RegionRule>,
    /// UIDs of series and instances at which a person has looked.
    #[serde(default)]
    reviewed: Vec<String>,
}

/// A job that was begun. What is held back is told to whoever may see the patient, and is no part of the report.
#[derive(Serialize)]
struct Begun<'a> {
    id: String,
    report: &'a NamelessReport,
    held: Vec<HeldBody<'a>>,
}

#[derive(Serialize)]
struct HeldBody<'a> {
    study: &'a str,
    series: &'a str,
    instance: &'a str,
    why: &'static str,
    because: String,
}

impl<'a> HeldBody<'a> {
    fn of(one: &'a HeldBack) -> Self {
        let [study, series, instance] = one.uids.expose();
        Self { study, series, instance, why: one.why.word(), because: one.why.sentence() }
    }
}

/// `POST /api/v1/deidentifications`
pub(crate) async fn begin(State(app): State<App>, caller: Caller, Small(body): Small) -> Result<Response, Problem> {
    let by = officer(&caller)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| form())?;
    let rules = RegionRules::new(asked.regions.clone())
        .map_err(|error| Problem::new(Fault::BadInput, "regions", format!("No: {error}.")))?;
    let (preset, reviewed) = (asked.preset, asked.reviewed.iter().cloned().collect());
    let asked = DeidentifyAsked { what: what(asked)?, preset, rules, reviewed };
    let begun = app.engine.deidentify(&by, asked).await.map_err(|e| export::problem(&e))?;
    let held = begun.held.iter().map(HeldBody::of).collect();
    let body = Json(Begun { id: begun.id.to_string(), report: &begun.report, held });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `GET /api/v1/deidentifications/{job}/instances/{number}`: one file, numbered from 0 as in the report.
pub(crate) async fn instance(
    State(app): State<App>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let by = officer(&caller)?;
    let number = number.parse().map_err(|_| Problem::not_found())?;
    let found = app.engine.deidentified_instance(&by, named(&id)?, number).await;
    let (len, pieces) = found.map_err(|e| export::problem(&e))?;
    let mut answer = Response::new(Body::from_stream(pieces));
    let out = answer.headers_mut();
    insert(out, header::CONTENT_TYPE, "application/dicom");
    insert(out, header::CONTENT_LENGTH, &len.to_string());
    insert(out, header::CACHE_CONTROL, "no-store");
    Ok(answer)
}

/// `POST /api/v1/deidentifications/{job}/deliver` with `{"peer":"NAME"}`: brings it to a peer; one JSON object a line:
/// progress, then what came of it. It is called off when the connection ends.
pub(crate) async fn deliver(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    let by = officer(&caller)?;
    let id = named(&id)?;
    let form = |_| {
        let sentence = r#"Send {"peer":"NAME"}, a name of the configuration's [[peers]]."#;
        Problem::new(Fault::BadInput, "deidentification", sentence)
    };
    let To { peer } = serde_json::from_slice(&body).map_err(form)?;
    let told = app.engine.deliver_deidentified(&by, id, &peer).await.map_err(|e| export::problem(&e))?;
    let lines = ReceiverStream::new(told).map(|delivery| {
        let line = match delivery {
            Delivery::Step { done, total } => json!({ "done": done, "total": total }),
            Delivery::End { taken, total, why } => json!({ "taken": taken, "total": total, "why": why }),
        };
        Ok::<_, std::convert::Infallible>(Bytes::from(format!("{line}\n")))
    });
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `DELETE /api/v1/deidentifications/{job}`: forgets its key, and with it the way back.
pub(crate) async fn forget(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let by = officer(&caller)?;
    app.engine.forget_deidentified(&by, named(&id)?).map_err(|e| export::problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Where to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    peer: String,
}

fn officer(caller: &Caller) -> Result<DeidentifyBy, Problem> {
    if caller.principal.role != Role::Dpo {
        let sentence = "Taking names out is for the data protection officer.";
        return Err(Problem::new(Fault::Denied, "not-allowed", sentence));
    }
    Ok(DeidentifyBy { permit: caller.read()?, session: caller.session })
}

fn what(asked: Asked) -> Result<WhatToExport, Problem> {
    let study = |text: &str| StudyUid::parse(text).map_err(|_| Problem::not_found());
    match (asked.patient_id, asked.study, asked.series, asked.instance) {
        (Some(id), None, None, None) if !id.is_empty() => {
            Ok(WhatToExport::Patient { id: Phi::new(id), issuer: asked.issuer.map(Phi::new) })
        }
        (None, Some(uid), None, None) => Ok(WhatToExport::Study(study(&uid)?)),
        (None, Some(uid), Some(series), Some(instance)) => Ok(WhatToExport::Instance(
            study(&uid)?,
            SeriesUid::parse(&series).map_err(|_| Problem::not_found())?,
            SopInstanceUid::parse(&instance).map_err(|_| Problem::not_found())?,
        )),
        _ => Err(form()),
    }
}

fn form() -> Problem {
    Problem::new(
        Fault::BadInput,
        "deidentification",
        r#"Send {"preset":"research|teaching|vendor-support"} with "patient_id", "study", or "study", "series" and "instance"; "regions":[{"modality":"US","regions":[{"x":0,"y":0,"width":800,"height":40}]}] to blank pixels, "reviewed":["UID"] for series and instances at which somebody has looked."#,
    )
}

fn named(id: &str) -> Result<DeidentifiedId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}
