//! What is asked of the audit log: its public keys, a patient's access report, whether the logs agree, its entries.
//!
//! For those who may audit. A report names a patient, so it is for the data protection officer alone.

use crate::{App, Problem, app::Caller, small::Small};
use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use leadglass_audit::EntryLine;
use leadglass_engine::{KeyLogError, PatientAsked, ReportError};
use leadglass_model::{Audit, Fault, Permit, Phi, Role, TenantId};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `GET /api/v1/audit/keys`
pub(crate) async fn keys(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let _permit = may_audit(&caller)?;
    Ok(Json(app.engine.log_keys()).into_response())
}

/// Whom the report is about. In the body: an address stands in the logs of whatever lies between.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    patient_id: String,
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    from_ms: Option<u64>,
    #[serde(default)]
    to_ms: Option<u64>,
}

/// `POST /api/v1/audit/report`
pub(crate) async fn report(State(app): State<App>, caller: Caller, Small(body): Small) -> Result<Response, Problem> {
    let permit = may_audit(&caller)?;
    if permit.role() != Role::Dpo {
        let sentence = "A report names a patient: it is for the data protection officer.";
        return Err(Problem::new(Fault::Denied, "not-allowed", sentence));
    }
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| {
        Problem::new(Fault::BadInput, "report", r#"Send {"patient_id":"…","issuer":"…","from_ms":0,"to_ms":0}."#)
    })?;
    let asked = PatientAsked {
        id: Phi::new(asked.patient_id),
        issuer: asked.issuer.map(Phi::new),
        from_ms: asked.from_ms,
        to_ms: asked.to_ms,
    };
    let mut report = app.engine.access_report(&permit, asked).await.map_err(|e| no_report(&e))?;
    report.people = people(&app, permit.tenant()).await?;
    let named = |actor: &String| {
        report.accesses.iter().any(|a| a.actor == *actor) || report.others.iter().any(|o| o.actor == *actor)
    };
    let shown: Vec<String> = report.people.keys().filter(|actor| named(actor)).cloned().collect();
    report.people.retain(|actor, _| shown.contains(actor));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(report)).into_response())
}

/// Pseudonyms in words: people by their names, programs as the tokens' list has them.
async fn people(app: &App, tenant: TenantId) -> Result<BTreeMap<String, String>, Problem> {
    let tokens = app.tokens.list(Some(tenant)).await;
    let tokens = tokens.map_err(|e| Problem::new(e.fault(), "records", "Names cannot be looked up now."))?;
    let tokens = tokens.into_iter().map(|token| (token.grant.actor.to_string(), token.grant.label));
    let people = app.people.names(tenant).into_iter().map(|(actor, name)| (actor.to_string(), name));
    Ok(tokens.chain(people).collect())
}

/// `POST /api/v1/audit/reconcile`
pub(crate) async fn reconcile(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = may_audit(&caller)?;
    app.engine.record_log_use(&permit).await.map_err(|e| no_report(&e))?;
    let found = app.engine.reconcile(&permit).await.map_err(|e| not_matched(&e))?;
    Ok(Json(found).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Period {
    #[serde(default)]
    from_ms: Option<u64>,
    #[serde(default)]
    to_ms: Option<u64>,
}

/// `GET /api/v1/audit/entries?from_ms=&to_ms=`: the tenant's entries and what the node itself did, one JSON object a line.
pub(crate) async fn entries(
    State(app): State<App>,
    caller: Caller,
    period: Result<Query<Period>, QueryRejection>,
) -> Result<Response, Problem> {
    let permit = may_audit(&caller)?;
    let Ok(Query(period)) = period else {
        return Err(Problem::new(Fault::BadInput, "period", "from_ms and to_ms are milliseconds since 1970."));
    };
    app.engine.record_log_use(&permit).await.map_err(|e| no_report(&e))?;
    let tenant = permit.tenant();
    let pages = futures::stream::unfold(Some(0_u64), move |from| {
        let app = app.clone();
        let (first, end) = (period.from_ms.unwrap_or(0), period.to_ms.unwrap_or(u64::MAX));
        async move {
            let from = from?;
            let (page, size) = match app.engine.log_page(from).await {
                Ok(page) => page,
                // The answer breaks off: who counts lines must not take it for whole.
                Err(error) => return Some((Err(std::io::Error::other(error.to_string())), None)),
            };
            let next = page.last().map_or(size, |entry| entry.seq + 1);
            let mut text = String::new();
            for line in page.iter().map(EntryLine::from) {
                if app.engine.is_for(tenant, &line)
                    && (first..end).contains(&line.time_ms)
                    && let Ok(json) = serde_json::to_string(&line)
                {
                    text.push_str(&json);
                    text.push('\n');
                }
            }
            Some((Ok(Bytes::from(text)), (next < size).then_some(next)))
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response())
}

fn may_audit(caller: &Caller) -> Result<Permit<Audit>, Problem> {
    caller.principal.audit().map_err(|refusal| Problem::new(refusal.fault(), "not-allowed", format!("{refusal}.")))
}

fn no_report(error: &ReportError) -> Problem {
    match error.fault() {
        Fault::Missing => Problem::not_found(),
        Fault::Corrupt => Problem::new(
            Fault::Corrupt,
            "audit-log",
            "The log does not verify: nothing is reported from it. `leadglass audit verify` names the fault.",
        ),
        fault => Problem::new(fault, "audit-log", "The log cannot be asked now; ask again."),
    }
}

fn not_matched(error: &KeyLogError) -> Problem {
    match error {
        KeyLogError::Follow(_) => Problem::new(
            Fault::Conflict,
            "key-log-fork",
            "The key service's log is not the one that was seen before. Somebody must look at the key service.",
        ),
        _ => Problem::new(error.fault(), "key-log", "The key service's log cannot be asked for now; ask again."),
    }
}
