//! WADO-RS: a study, a series or an instance comes back as it went in (PS3.18 §10.4).

use crate::{
    App, Problem,
    accept::{Accepted, Wrapping},
    app::Caller,
    range::{self, Wanted},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use leadglass_engine::{Instance, RetrieveError, Target};
use leadglass_model::{Fault, SeriesUid, SopInstanceUid, StudyUid};

/// `GET /studies/{study}`
pub(crate) async fn study(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    respond(&app, &caller, &headers, Target::Study(study)).await
}

/// `GET /studies/{study}/series/{series}`
pub(crate) async fn series(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let series = SeriesUid::parse(&series).map_err(|_| Problem::not_found())?;
    respond(&app, &caller, &headers, Target::Series(study, series)).await
}

/// `GET /studies/{study}/series/{series}/instances/{instance}`
pub(crate) async fn instance(
    State(app): State<App>,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let series = SeriesUid::parse(&series).map_err(|_| Problem::not_found())?;
    let instance = SopInstanceUid::parse(&instance).map_err(|_| Problem::not_found())?;
    respond(&app, &caller, &headers, Target::Instance(study, series, instance)).await
}

async fn respond(app: &App, caller: &Caller, headers: &HeaderMap, target: Target) -> Result<Response, Problem> {
    let permit = caller.read()?;
    let accept = match headers.get(header::ACCEPT) {
        Some(value) => Some(value.to_str().map_err(|_| not_acceptable())?),
        None => None,
    };
    let accepted = Accepted::parse(accept).ok_or_else(not_acceptable)?;
    let one = matches!(target, Target::Instance(..));
    if accepted.wrapping == Wrapping::Single && !one {
        return Err(not_acceptable());
    }
    let mut instances = app.engine.locate(&permit, caller.session, &target).await.map_err(|e| problem(&e))?;
    // Part of a study must not look like all of it.
    if instances.iter().any(|instance| !accepted.takes(instance.transfer_syntax())) {
        return Err(not_acceptable());
    }
    if accepted.wrapping == Wrapping::Single && instances.len() == 1 {
        return single(instances.swap_remove(0), headers).await;
    }
    multipart(instances).await
}

/// One `application/dicom` body; `Range: bytes=a-b` is honoured (RFC 9110 §14).
async fn single(instance: Instance, headers: &HeaderMap) -> Result<Response, Problem> {
    let total = instance.len();
    let wanted =
        headers.get(header::RANGE).and_then(|v| v.to_str().ok()).map_or(Wanted::Whole, |v| range::parse(v, total));
    let (status, range) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..total),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Unsatisfiable => {
            let problem = Problem::with_status(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range",
                format!("The instance has {total} bytes."),
            );
            let mut answer = problem.into_response();
            insert(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{total}"));
            return Ok(answer);
        }
    };
    let content_type = content_type(&instance);
    let mut answer = Response::new(Body::from_stream(begun(instance.read(range.clone())).await?));
    *answer.status_mut() = status;
    let out = answer.headers_mut();
    insert(out, header::CONTENT_TYPE, &content_type);
    insert(out, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    insert(out, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        insert(out, header::CONTENT_RANGE, &format!("bytes {}-{}/{total}", range.start, range.end - 1));
    }
    Ok(answer)
}

/// `multipart/related` (RFC 2387), one part an instance. Its length is known before the first byte, so it is told.
async fn multipart(instances: Vec<Instance>) -> Result<Response, Problem> {
    let boundary = boundary();
    let heads: Vec<Bytes> = instances
        .iter()
        .enumerate()
        .map(|(i, instance)| {
            let break_before = if i == 0 { "" } else { "\r\n" };
            let (kind, len) = (content_type(instance), instance.len());
            Bytes::from(format!("{break_before}--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n"))
        })
        .collect();
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let total = instances.iter().map(Instance::len).sum::<u64>()
        + heads.iter().map(|h| h.len() as u64).sum::<u64>()
        + tail.len() as u64;

    let mut parts = heads.into_iter().zip(instances);
    let mut body: Pieces = Box::pin(stream::empty());
    if let Some((head, instance)) = parts.next() {
        let whole = 0..instance.len();
        let first = begun(instance.read(whole)).await?;
        body = Box::pin(stream::once(async move { Ok(head) }).chain(first));
    }
    let rest = stream::iter(parts).flat_map(|(head, instance)| {
        let whole = 0..instance.len();
        stream::once(async move { Ok(head) }).chain(instance.read(whole))
    });
    let body = body.chain(rest).chain(stream::once(async move { Ok(tail) }));
    let mut answer = Response::new(Body::from_stream(body));
    let out = answer.headers_mut();
    insert(out, header::CONTENT_TYPE, &format!("multipart/related; type=\"application/dicom\"; boundary={boundary}"));
    insert(out, header::CONTENT_LENGTH, &total.to_string());
    Ok(answer)
}

/// Waits for the first piece: an instance that cannot be read at all is refused with a reason. What fails later can only
/// break the answer off.
async fn begun(pieces: impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static) -> Result<Pieces, Problem> {
    let mut pieces: Pieces = Box::pin(pieces);
    match pieces.next().await {
        Some(Err(error)) => Err(problem(&error)),
        first => Ok(Box::pin(stream::iter(first).chain(pieces))),
    }
}

type Pieces = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, RetrieveError>> + Send>>;

fn content_type(instance: &Instance) -> String {
    format!("application/dicom; transfer-syntax={}", instance.transfer_syntax())
}

/// Random, so that no instance can hold it on purpose.
fn boundary() -> String {
    let mut bytes = [0; 16];
    leadglass_model::Entropy::fill(&leadglass_model::SystemEntropy, &mut bytes);
    format!("leadglass-{}", hex::encode(bytes))
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("made of digits, UIDs and words"));
}

fn not_acceptable() -> Problem {
    Problem::with_status(
        StatusCode::NOT_ACCEPTABLE,
        "not-acceptable",
        "Instances are served as application/dicom, alone or in multipart/related, in the transfer syntax they came in.",
    )
}

/// What a failed retrieval tells the caller.
pub(crate) fn problem(error: &RetrieveError) -> Problem {
    match error.fault() {
        Fault::Missing => Problem::not_found(),
        _ if error.code() == "over-budget" => {
            Problem::with_status(StatusCode::TOO_MANY_REQUESTS, error.code(), error.advice())
        }
        fault => Problem::new(fault, error.code(), error.advice()),
    }
}
