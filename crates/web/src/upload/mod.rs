//! Photos and documents from phones and browsers: `POST /api/v1/uploads`, and the page that sends them.
//!
//! A form says whom and what it is about, then come its files, one after the other. Each file is held in memory, made into
//! an instance by [`leadglass_imaging`] and taken in by the engine like any other; none touches a disk before it is
//! sealed. Each file succeeds or fails by itself.
//!
//! A form may carry a key. Sent again under the same key, the same files are told as stored and not stored twice; another
//! file under a key that was used is refused.
//!
//! The patient is one that the vault knows, or one that is typed: what is typed must not contradict what is known.

mod about;
mod body;
mod file;
mod form;
mod names;
mod outcome;
pub(crate) mod page;
mod patient;

use crate::{App, Problem, app::Caller};
use about::About;
use axum::{
    Extension,
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use body::Incoming;
use file::Filing;
use form::{Form, Next};
use leadglass_engine::Source;
use leadglass_model::{Clock, Phi, ReceiverId, SystemClock};
use names::{FirstTries, Names};
use outcome::{Outcome, Refusal, Report};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::Semaphore;

/// Bounds what all uploads together may hold in memory. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// MiB of files that are held.
    room: Arc<Semaphore>,
    /// MiB that decoders take.
    work: Arc<Semaphore>,
    first_tries: FirstTries,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM_MIB)),
            work: Arc::new(Semaphore::new(WORK_MIB)),
            first_tries: FirstTries::default(),
        }
    }

    /// `POST /api/v1/uploads`
    pub(crate) fn route(&self) -> MethodRouter<App> {
        post(upload).layer(Extension(self.clone()))
    }
}

async fn upload(
    State(app): State<App>,
    Extension(desk): Extension<Desk>,
    caller: Result<Caller, Problem>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let incoming = Incoming::new(body);
    let answer = match take(&app, &desk, caller, &parts, &incoming).await {
        Ok(report) => report.into_response(),
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
    desk: &Desk,
    caller: Result<Caller, Problem>,
    parts: &Parts,
    incoming: &Incoming,
) -> Result<Report, Problem> {
    let caller = caller?;
    let permit = caller.store()?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut form = Form::new(content_type.unwrap_or_default(), incoming.clone()).ok_or_else(not_a_form)?;
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string());
    // Who sends is a person, not a device: the pseudonym names the person as a receiver, too.
    let receiver = ReceiverId::from_bytes(permit.actor().0);
    let calling = Phi::new(CALLING.to_owned());

    let mut about = About::default();
    let first = loop {
        match form.next(&desk.room).await? {
            Next::Text { name, value } => about.set(&name, value.expose())?,
            other => break other,
        }
    };
    if matches!(first, Next::End) {
        return Err(Problem::new(leadglass_model::Fault::BadInput, "no-file", "Choose a picture or a PDF to send."));
    }
    let names = Names::new(&permit, about.key.take());
    let came = desk.first_tries.came(&names, SystemClock.now());
    let subject = patient::find(app, &caller, &permit, about, &names, came).await?;
    // What is made here is whole: whoever sends it again sends the same, or made a mistake.
    let source = Source::new(&permit, receiver, calling, Phi::new(address.unwrap_or_default())).without_corrections();
    let mut filing = Filing::new(app.engine.clone(), permit, source, desk.work.clone(), subject, names);
    let mut report = Report::default();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Next::File(Ok(bytes))) => report.push(filing.file(report.files(), bytes).await),
            Ok(Next::File(Err(refusal))) => report.push(Outcome::Refused(refusal)),
            Ok(Next::End) => return Ok(report),
            // What was stored stays stored, so its sender must hear of it even where the rest was not to be read.
            Ok(Next::Text { .. }) if report.has_stored() => {
                report.push(Outcome::Refused(Refusal::FIELD_BEHIND_FILE));
                return Ok(report);
            }
            Err(_) if report.has_stored() => {
                report.push(Outcome::Refused(Refusal::BROKEN_OFF));
                return Ok(report);
            }
            Ok(Next::Text { .. }) => return Err(Refusal::FIELD_BEHIND_FILE.into()),
            Err(problem) => return Err(problem),
        }
        next = form.next(&desk.room).await;
    }
}

fn not_a_form() -> Problem {
    let sentence = "Send a form: multipart/form-data with the fields first and the files behind them.";
    Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", sentence)
}

/// Who calls, in the audit entry's sealed part and in the file meta: an AE title for what has none.
const CALLING: &str = "UPLOAD";
/// MiB of files that all uploads together may hold: four of the largest.
const ROOM_MIB: usize = 256;
/// MiB that all decoders together may take, and what they made until it is stored: the largest picture that is decoded at
/// all ([`leadglass_imaging::MAX_WORK_BYTES`]), or three of 24 megapixels.
const WORK_MIB: usize = 384;
