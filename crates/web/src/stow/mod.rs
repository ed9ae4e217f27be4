//! STOW-RS: instances come in over HTTP (PS3.18 §10.5).
//!
//! `POST /studies` and `POST /studies/{study}` take PS3.10 files, one as `application/dicom` or many as
//! `multipart/related; type="application/dicom"`: they flow into the engine as they arrive, whatever their length. They also
//! take metadata in DICOM JSON or XML with bulk data beside it; those are held, within [`modelled`]'s bounds, and made into
//! data sets.
//!
//! Each instance succeeds or fails by itself; the answer lists what became of each.

mod door;
mod filing;
mod incoming;
mod media;
mod modelled;
mod multipart;
mod outcome;
mod unstored;

use crate::{App, Problem, accept, app::Caller, pace::BodyError, qido::place::Place};
use axum::{
    Extension,
    extract::{ConnectInfo, Path, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
pub(crate) use door::Door;
use filing::Filing;
use incoming::Incoming;
use leadglass_engine::Source;
use leadglass_model::{Fault, Phi, ReceiverId, StudyUid};
use media::{Form, MediaType};
use modelled::Notation;
use multipart::{Event, Multipart, MultipartError};
use outcome::{Failure, Names, Report};
use std::{net::SocketAddr, sync::Arc};

async fn store(
    State(app): State<App>,
    Extension(door): Extension<Door>,
    caller: Result<Caller, Problem>,
    study: Option<Path<String>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(body);
    let answer = match take(&app, &door, caller, study.map(|Path(uid)| uid), &parts, &mut incoming).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    };
    // Who waits for our word before sending hears it without a body being asked for.
    if !parts.headers.contains_key(header::EXPECT) {
        incoming.drain().await;
    }
    answer
}

async fn take(
    app: &App,
    door: &Door,
    caller: Result<Caller, Problem>,
    study: Option<String>,
    parts: &Parts,
    incoming: &mut Incoming,
) -> Result<Response, Problem> {
    let caller = caller?;
    let permit = caller.store()?;
    let accept = accept::header(&parts.headers).ok_or_else(not_acceptable)?;
    let form = Form::accepted(accept.as_deref()).ok_or_else(not_acceptable)?;
    let study = match study {
        Some(uid) => Some(StudyUid::parse(&uid).map_err(|_| bad("study", "The address does not name a study."))?),
        None => None,
    };
    let shape = Shape::of(&parts.headers)?;
    let _place = door.enter(caller.session).await?;
    let agent = text(&parts.headers, header::USER_AGENT).ok().flatten().unwrap_or("STOW-RS");
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string());
    // Who sends is a person or a service, not a device: its pseudonym names it as a receiver, too.
    let receiver = ReceiverId::from_bytes(permit.actor().0);
    let calling = agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect();
    let source = Arc::new(Source::new(&permit, receiver, Phi::new(calling), Phi::new(address.unwrap_or_default())));

    let mut filing = Filing::new(app.engine.clone(), source, study, door.committing());
    let read = match shape {
        Shape::One => one(incoming, &mut filing).await,
        Shape::Files(reader) => files(incoming, &mut filing, reader).await,
        Shape::Modelled(notation, reader) => {
            let _place = door.model(caller.session).await?;
            modelled::take(incoming, &mut filing, reader, notation).await
        }
    };
    let report = filing.finish().await;
    conclude(read, report, Place::of(parts).root(), form)
}

/// What was stored stays stored, so its sender must hear of it even where the rest of the body was not to be read.
fn conclude(read: Result<(), Problem>, mut report: Report, root: &str, form: Form) -> Result<Response, Problem> {
    match read {
        Err(problem) if !report.has_stored() => return Err(problem),
        Err(_) => report.push(outcome::Outcome::Failed { names: Names::default(), failure: Failure::NOT_UNDERSTOOD }),
        Ok(()) if report.is_empty() => return Err(bad("empty", "The body holds no instance.")),
        Ok(()) => {}
    }
    Ok(report.answer(root, form))
}

/// The whole body is one file.
async fn one(incoming: &mut Incoming, filing: &mut Filing) -> Result<(), Problem> {
    let mut arriving = filing.begin();
    let mut bytes = 0;
    while let Some(piece) = filing.piece(incoming).await? {
        bytes += piece.len();
        arriving.write(piece).await;
    }
    if bytes > 0 {
        filing.file(arriving).await;
    }
    Ok(())
}

/// One file a part.
async fn files(incoming: &mut Incoming, filing: &mut Filing, mut reader: Multipart) -> Result<(), Problem> {
    // A part that is no file is passed over: its failure is noted in its place.
    let mut open = None;
    while let Some(piece) = filing.piece(incoming).await? {
        reader.push(piece);
        while let Some(event) = reader.next()? {
            match event {
                Event::Part(head) => {
                    let media = MediaType::parse(&head.content_type);
                    // Some senders leave a part's type out; the whole says what it is.
                    let is_file = head.content_type.is_empty()
                        || media.is_some_and(|m| matches!(m.essence.as_str(), DICOM | "application/octet-stream"));
                    if is_file && !head.is_encoded {
                        open = Some(filing.begin());
                    } else {
                        filing.fail(Names::default(), Failure::NOT_UNDERSTOOD);
                    }
                }
                Event::Data(data) => {
                    if let Some(arriving) = &mut open {
                        arriving.write(data).await;
                    }
                }
                Event::End => {
                    if let Some(arriving) = open.take() {
                        filing.file(arriving).await;
                    }
                }
            }
        }
    }
    Ok(reader.finish()?)
}

/// What a body is, by its Content-Type.
enum Shape {
    One,
    Files(Multipart),
    Modelled(Notation, Multipart),
}

impl Shape {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let encoding = text(headers, header::CONTENT_ENCODING)?.unwrap_or("identity");
        if !encoding.eq_ignore_ascii_case("identity") {
            return Err(unsupported("The body must not be compressed as a whole."));
        }
        let media = text(headers, header::CONTENT_TYPE)?.and_then(MediaType::parse).unwrap_or_default();
        if media.essence == DICOM {
            return Ok(Self::One);
        }
        if media.essence != "multipart/related" {
            return Err(unsupported(FORMS));
        }
        let inner = media.parameter("type").map(str::to_ascii_lowercase);
        let inner = inner.as_deref().and_then(|t| t.split(';').next()).map(str::trim);
        let reader = || Multipart::new(media.parameter("boundary").unwrap_or_default());
        match inner {
            None | Some(DICOM) => Ok(Self::Files(reader()?)),
            Some("application/dicom+json" | "application/json") => Ok(Self::Modelled(Notation::Json, reader()?)),
            Some("application/dicom+xml" | "application/xml") => Ok(Self::Modelled(Notation::Xml, reader()?)),
            Some(_) => Err(unsupported(FORMS)),
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Problem> {
    let value = headers.get(name).map(|value| value.to_str()).transpose();
    value.map_err(|_| bad("header", "A header holds what is no text."))
}

fn bad(code: &'static str, sentence: &'static str) -> Problem {
    Problem::new(Fault::BadInput, code, sentence)
}

fn unsupported(sentence: &'static str) -> Problem {
    Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", sentence)
}

fn not_acceptable() -> Problem {
    let sentence = "What became of the instances is told as application/dicom+json or application/dicom+xml.";
    Problem::with_status(StatusCode::NOT_ACCEPTABLE, "not-acceptable", sentence)
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        // The sentence is made of constants: no byte of the body is in it.
        Self::new(error.fault(), "multipart", format!("The multipart body cannot be read: {error}."))
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Stalled => {
                Self::with_status(StatusCode::REQUEST_TIMEOUT, "stalled", "The body did not arrive; send it again.")
            }
            BodyError::Broken | BodyError::Wrapping => bad("broken-off", "The body broke off before its end."),
        }
    }
}

const DICOM: &str = "application/dicom";
const FORMS: &str = "Send application/dicom, or multipart/related with the type application/dicom, application/dicom+json or application/dicom+xml.";

/// Characters of a User-Agent that go into the audit entry's sealed part.
const MAX_AGENT: usize = 64;
