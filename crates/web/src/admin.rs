//! What the terminal asks a running vault: status, quarantine, scrub. JSON, by token, for the roles that administer.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use leadglass_engine::{Case, QuarantineError, Verdict};
use leadglass_model::{Fault, Role, StudyRef, StudyUid};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// `GET /api/v1/status`
pub(crate) async fn status(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let _permit = caller.administer()?;
    Ok(Json(app.engine.readiness()).into_response())
}

/// A case as JSON. The patient is named: who decides must know whom it is about.
#[derive(Serialize)]
struct CaseBody<'a> {
    case: StudyRef,
    reason: &'static str,
    since_ms: u64,
    instances: usize,
    study: &'a str,
    patient_id: Option<&'a str>,
    patient_name: Option<&'a str>,
}

/// `GET /api/v1/quarantine`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let cases = app.engine.quarantined(&permit).await.map_err(|e| problem(&e))?;
    // Who runs the system sees that something waits, and not whom it is about.
    let named = permit.role() == Role::Dpo;
    let bodies: Vec<CaseBody<'_>> = cases.iter().map(|case| body(case, named)).collect();
    Ok(Json(bodies).into_response())
}

fn body(case: &Case, named: bool) -> CaseBody<'_> {
    CaseBody {
        case: case.case,
        reason: case.reason.as_str(),
        since_ms: case.since.0,
        instances: case.instances,
        study: if named { case.study.expose() } else { "" },
        patient_id: case.patient_id.as_ref().filter(|_| named).map(|id| id.expose().as_str()),
        patient_name: case.patient_name.as_ref().filter(|_| named).map(|name| name.expose().as_str()),
    }
}

/// What is decided.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "verdict")]
pub(crate) enum Decision {
    Release,
    Move { study: String },
}

/// `POST /api/v1/quarantine/{case}`
pub(crate) async fn decide(
    State(app): State<App>,
    caller: Caller,
    Path(case): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let decision: Decision = serde_json::from_slice(&body).map_err(|_| {
        let form = r#"Send {"verdict":"release"} or {"verdict":"move","study":"UID"}."#;
        Problem::new(Fault::BadInput, "verdict", form)
    })?;
    let case: StudyRef = case.parse().map_err(|_| Problem::not_found())?;
    let verdict = match decision {
        Decision::Release => Verdict::Release,
        Decision::Move { study } => Verdict::Move(StudyUid::parse(&study).map_err(|_| Problem::not_found())?),
    };
    let instances = app.engine.decide(&permit, case, &verdict).await.map_err(|e| problem(&e))?;
    Ok(Json(json!({ "case": case, "instances": instances })).into_response())
}

/// `POST /api/v1/verify`: one JSON object a line: progress, then the report.
pub(crate) async fn verify(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let (tell, told) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(LINES_AHEAD);
    tokio::spawn(async move {
        let progress = tell.clone();
        let work = app.engine.verify(&permit, move |done, total| {
            // A slow reader misses steps, never the report.
            let _ = progress.try_send(Ok(line(&json!({ "done": done, "total": total }))));
        });
        let last = tokio::select! {
            // Nobody listens any more: the scrub is over.
            () = tell.closed() => return,
            done = work => match done {
                Ok(report) => json!({ "report": report, "clean": report.is_clean() }),
                Err(error) => json!({ "error": format!("{error}") }),
            },
        };
        let _ = tell.send(Ok(line(&last))).await;
    });
    let body = Body::from_stream(ReceiverStream::new(told));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(value: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn problem(error: &QuarantineError) -> Problem {
    match error.fault() {
        Fault::Missing => Problem::not_found(),
        fault => Problem::new(fault, "quarantine", "The decision could not be carried out; asking again goes on."),
    }
}

const LINES_AHEAD: usize = 64;
