//! Exports: begun, listed, downloaded in pieces, taken back (GDPR Art. 15, 20). For the data protection officer; a clinician
//! takes out one study of his, and the reception hands out what was ordered. Whom one is about stands in the body: an address
//! stands in the logs of whatever lies between.

use crate::{
    App, Problem,
    app::{Caller, denied},
    range::{self, Wanted},
    rendered,
    small::Small,
    wado::insert,
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use leadglass_engine::{
    Delivery, ExportAsked, ExportBy, ExportError, ExportId, ExportView, Previews, RetrieveError, WhatToExport,
};
use leadglass_model::{Fault, Permit, Phi, Read, SeriesUid, SopInstanceUid, StudyUid};
use leadglass_policy::MayExport;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tokio_stream::wrappers::ReceiverStream;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    level: Level,
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
    /// With the report on accesses; unless it says otherwise, for a patient.
    #[serde(default)]
    report: Option<bool>,
    /// In an envelope that a passphrase opens.
    #[serde(default)]
    sealed: bool,
    /// To whom the package will be handed, if to anybody else than the patient.
    #[serde(default)]
    recipient: Option<String>,
    /// An order to the reception: to hand it out.
    #[serde(default)]
    hand_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Patient,
    Study,
    Instance,
}

/// An export that was begun. The passphrase is told this once.
#[derive(Serialize)]
struct Begun<'a> {
    #[serde(flatten)]
    view: &'a ExportView,
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase: Option<&'a str>,
}

/// An export in the list.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    view: &'a ExportView,
    /// Of which studies, as far as they are there.
    study_uids: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn of(view: &'a ExportView, studies: &'a [StudyUid]) -> Self {
        Self { view, study_uids: studies.iter().map(|study| study.expose()).collect() }
    }
}

/// `POST /api/v1/exports`
pub(crate) async fn begin(State(app): State<App>, caller: Caller, Small(body): Small) -> Result<Response, Problem> {
    let by = maker(&app, &caller)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| form())?;
    let report = asked.report.unwrap_or(asked.level == Level::Patient);
    let (sealed, recipient, hand_out) = (asked.sealed, asked.recipient.clone(), asked.hand_out);
    let what = what(asked)?;
    let report = report.then(|| caller.principal.audit()).transpose().map_err(|_| problem(&ExportError::NotYours))?;
    let people = if report.is_some() { people(&app, &by).await? } else { BTreeMap::new() };
    let asked = ExportAsked { what, report, people, sealed, recipient, hand_out };
    let begun = app.engine.begin_export(by, asked).await.map_err(|e| problem(&e))?;
    let passphrase = begun.passphrase.as_ref().map(|words| words.as_str());
    let body = Json(Begun { view: &begun.view, passphrase });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `GET /api/v1/exports`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let by = exporter(&app, &caller)?;
    let found = app.engine.exports(&by).await.map_err(|e| problem(&e))?;
    let lines: Vec<_> = found.iter().map(|(view, studies)| Line::of(view, studies)).collect();
    Ok(Json(lines).into_response())
}

/// `GET /api/v1/exports/{export}`
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let by = exporter(&app, &caller)?;
    Ok(Json(app.engine.export(&by, named(&id)?).await.map_err(|e| problem(&e))?).into_response())
}

/// `DELETE /api/v1/exports/{export}`
pub(crate) async fn take_back(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let by = maker(&app, &caller)?;
    app.engine.drop_export(&by, named(&id)?).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /api/v1/exports/{export}/content`: the file. `Range: bytes=a-` goes on where a download broke off.
pub(crate) async fn content(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let by = exporter(&app, &caller)?;
    let id = named(&id)?;
    let view = app.engine.export(&by, id).await.map_err(|e| problem(&e))?;
    let (total, tag) = (view.bytes, format!("\"{id}\""));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wanted = match (text(header::RANGE), text(header::IF_RANGE)) {
        (Some(range), None) => range::parse(range, total),
        (Some(range), Some(known)) if known == tag => range::parse(range, total),
        _ => Wanted::Whole,
    };
    let range = match wanted {
        Wanted::Whole => 0..total,
        Wanted::Part(range) => range,
        Wanted::Unsatisfiable => {
            let sentence = format!("There are {total} bytes.");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut answer = Problem::with_status(status, "range", sentence).into_response();
            insert(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{total}"));
            return Ok(answer);
        }
    };
    let pieces = app.engine.export_content(by, id, range.clone()).await.map_err(|e| problem(&e))?;
    let mut answer = Response::new(Body::from_stream(pieces));
    let out = answer.headers_mut();
    let (kind, ending) = if view.sealed { ("application/octet-stream", "zip.age") } else { ("application/zip", "zip") };
    insert(out, header::CONTENT_TYPE, kind);
    insert(out, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"export-{id}.{ending}\""));
    insert(out, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    insert(out, header::ACCEPT_RANGES, "bytes");
    insert(out, header::ETAG, &tag);
    insert(out, header::CACHE_CONTROL, "no-store");
    if range != (0..total) {
        insert(out, header::CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(answer)
}

/// `POST /api/v1/exports/{export}/deliver` with `{"peer":"NAME"}`: brings it to a peer; one JSON object a line: progress, then what
/// came of it. It is called off when the connection ends.
pub(crate) async fn deliver(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    let by = maker(&app, &caller)?;
    let id = named(&id)?;
    let form = |_| {
        Problem::new(Fault::BadInput, "export", r#"Send {"peer":"NAME"}, a name of the configuration's [[peers]]."#)
    };
    let To { peer } = serde_json::from_slice(&body).map_err(form)?;
    let told = app.engine.deliver_export(by, id, &peer).await.map_err(|e| problem(&e))?;
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

/// Where to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    peer: String,
}

/// Pictures as the caller may see them.
struct Pictures {
    app: App,
    caller: Caller,
    permit: Permit<Read>,
}

impl Previews for Pictures {
    fn preview(
        &self,
        study: StudyUid,
        series: SeriesUid,
        instance: SopInstanceUid,
    ) -> BoxFuture<'_, Result<Option<Bytes>, RetrieveError>> {
        rendered::preview(&self.app, &self.caller, &self.permit, (study, series, instance)).boxed()
    }
}

fn exporter(app: &App, caller: &Caller) -> Result<ExportBy, Problem> {
    let (permit, exports) = caller.principal.export().map_err(|refusal| denied(&refusal))?;
    let previews = Arc::new(Pictures { app: app.clone(), caller: *caller, permit: permit.clone() });
    Ok(ExportBy { permit, exports, session: caller.session, previews })
}

/// As [`exporter`], for whoever makes packages and says where they go.
fn maker(app: &App, caller: &Caller) -> Result<ExportBy, Problem> {
    let by = exporter(app, caller)?;
    if by.exports == MayExport::HandsOut { Err(problem(&ExportError::NotYours)) } else { Ok(by) }
}

/// Pseudonyms in words, as the report on accesses has them.
async fn people(app: &App, by: &ExportBy) -> Result<BTreeMap<String, String>, Problem> {
    let tenant = by.permit.tenant();
    let tokens = app.tokens.list(Some(tenant)).await;
    let tokens = tokens.map_err(|e| Problem::new(e.fault(), "records", "Names cannot be looked up now."))?;
    let tokens = tokens.into_iter().map(|token| (token.grant.actor.to_string(), token.grant.label));
    let people = app.people.names(tenant).into_iter().map(|(actor, name)| (actor.to_string(), name));
    Ok(tokens.chain(people).collect())
}

fn what(asked: Asked) -> Result<WhatToExport, Problem> {
    let study = |text: &str| StudyUid::parse(text).map_err(|_| Problem::not_found());
    match (asked.level, asked.patient_id, asked.study, asked.series, asked.instance) {
        (Level::Patient, Some(id), None, None, None) if !id.is_empty() => {
            Ok(WhatToExport::Patient { id: Phi::new(id), issuer: asked.issuer.map(Phi::new) })
        }
        (Level::Study, None, Some(uid), None, None) => Ok(WhatToExport::Study(study(&uid)?)),
        (Level::Instance, None, Some(uid), Some(series), Some(instance)) => Ok(WhatToExport::Instance(
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
        "export",
        r#"Send {"level":"patient","patient_id":"…"}, {"level":"study","study":"UID"} or {"level":"instance","study":"UID","series":"UID","instance":"UID"}; "sealed":true for an envelope, "recipient":"…" where it goes to somebody else than the patient; "hand_out":true where the reception hands it out."#,
    )
}

fn named(id: &str) -> Result<ExportId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

pub(crate) fn problem(error: &ExportError) -> Problem {
    match error {
        ExportError::Missing => Problem::not_found(),
        ExportError::Read(error) => crate::wado::problem(error),
        ExportError::TooMany
        | ExportError::NoPeer
        | ExportError::Ambiguous
        | ExportError::Recipient
        | ExportError::RecipientNamesPatient
        | ExportError::Busy
        | ExportError::NotYours
        | ExportError::Changed => {
            let mut sentence = error.to_string();
            if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
                sentence.replace_range(..1, &first);
            }
            Problem::new(error.fault(), error.code(), format!("{sentence}."))
        }
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "an export failed");
            Problem::new(error.fault(), error.code(), "The export failed; try again in a moment.")
        }
    }
}
