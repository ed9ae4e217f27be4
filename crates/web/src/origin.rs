//! Where a study came from: which devices sent it, how they are known, who else brought something in. What a device that is known
//! by its address alone sent, somebody else may have sent in its name: whoever looks at it sees that.

use crate::{App, Problem, app::Caller, wado};
use axum::{
    Json,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use leadglass_engine::Target;
use leadglass_model::{EnrolmentLevel, StudyUid};
use serde::Serialize;
use std::collections::BTreeMap;

/// A series of a study, and who brought it in.
#[derive(Serialize)]
struct Series {
    series: String,
    from: Vec<Origin>,
}

/// Somebody or something that brought instances in.
#[derive(Serialize)]
struct Origin {
    kind: Kind,
    /// What people call it. `None` for what is not known any more.
    name: Option<String>,
    /// Of a device: what it has to show today.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level_number: Option<u8>,
    instances: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Device,
    Person,
    Program,
    Unknown,
}

/// `GET /api/v1/studies/{study}/origin`: for whoever may open the study; it is the access that its images are read in.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let metadata = app.engine.metadata(&permit, caller.session, &Target::Study(study)).await;
    let metadata = metadata.map_err(|error| wado::problem(&error))?;
    let tenant = permit.tenant();
    let tokens = app.tokens.list(Some(tenant)).await;
    let tokens = tokens.map_err(|e| Problem::new(e.fault(), "records", "Names cannot be looked up now."))?;
    let people: BTreeMap<[u8; 16], String> =
        app.people.names(tenant).into_iter().map(|(actor, name)| (actor.0, name)).collect();
    let programs: BTreeMap<[u8; 16], String> =
        tokens.into_iter().map(|token| (token.grant.actor.0, token.grant.label)).collect();
    let origin = |receiver, instances| {
        let unknown = Origin { kind: Kind::Unknown, name: None, level: None, level_number: None, instances };
        if let Some((name, level)) = app.devices.named(tenant, receiver) {
            let (level, number): (EnrolmentLevel, u8) = (level, level.number());
            let (level, level_number) = (Some(level.as_str()), Some(number));
            return Origin { kind: Kind::Device, name: Some(name), level, level_number, instances };
        }
        let known = |kind, names: &BTreeMap<[u8; 16], String>| Some((kind, names.get(receiver.as_bytes())?.clone()));
        match known(Kind::Person, &people).or_else(|| known(Kind::Program, &programs)) {
            Some((kind, name)) => Origin { kind, name: Some(name), ..unknown },
            None => unknown,
        }
    };
    let series: Vec<Series> = metadata
        .receivers()
        .into_iter()
        .map(|(series, receivers)| Series {
            series: series.expose().to_owned(),
            from: receivers.into_iter().map(|(receiver, instances)| origin(receiver, instances)).collect(),
        })
        .collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(series)).into_response())
}
