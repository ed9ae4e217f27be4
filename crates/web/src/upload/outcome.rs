//! What became of the files, as JSON.

use super::file::Stored;
use crate::Problem;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use leadglass_engine::IngestError;
use leadglass_imaging::UploadError;
use leadglass_model::Fault;
use serde_json::json;

/// Of one file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is stored: sealed, indexed, audited, durable.
    Stored(Stored),
    /// It is not, and nothing of it is kept.
    Refused(Refusal),
}

/// Why a file was not taken. Constant words, so that nothing of the file is in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    fault: Fault,
    code: &'static str,
    sentence: &'static str,
}

/// Of all files of a form, in their order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Outcome>);

impl Refusal {
    pub(super) const FILE_TOO_LONG: Self = Self {
        fault: Fault::BadInput,
        code: "too-long",
        sentence: "A file may have 64 MiB. Make it smaller and send it again.",
    };
    pub(super) const EMPTY_FILE: Self =
        Self { fault: Fault::BadInput, code: "empty", sentence: "The file is empty. Choose another one." };
    pub(super) const NO_ROOM: Self = Self {
        fault: Fault::Busy,
        code: "busy",
        sentence: "Too much is being sent at the moment. Send it again soon.",
    };
    pub(super) const FIELD_BEHIND_FILE: Self = Self {
        fault: Fault::BadInput,
        code: "fields-first",
        sentence: "All fields of the form must stand before its files.",
    };
    pub(super) const BROKEN_OFF: Self = Self {
        fault: Fault::BadInput,
        code: "broken-off",
        sentence: "The rest of the upload did not arrive. Send it again.",
    };
    pub(super) const KEY_REUSED: Self = Self {
        fault: Fault::Conflict,
        code: "key-reused",
        sentence: "Under this key another file, or the same for another patient or subject, was stored before; that one stays. Send this one under a new key.",
    };
    pub(super) const DECODER: Self = Self {
        fault: Fault::BadInput,
        code: "damaged",
        sentence: "The file cannot be read. Open it, save it anew and send that.",
    };

    /// A stable word for machines and manuals.
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        Self { fault: error.fault(), code: error.code(), sentence: error.advice() }
    }
}

impl From<&IngestError> for Refusal {
    fn from(error: &IngestError) -> Self {
        // Names are derived from keys: what else would be stored under one?
        if matches!(error, IngestError::Different) {
            return Self::KEY_REUSED;
        }
        Self { fault: error.fault(), code: error.code(), sentence: error.advice() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.fault, refusal.code, refusal.sentence)
    }
}

impl Report {
    pub(super) fn push(&mut self, outcome: Outcome) {
        let code = match &outcome {
            Outcome::Stored(_) => "stored",
            Outcome::Refused(refusal) => refusal.code(),
        };
        metrics::counter!("leadglass_uploads_total", "outcome" => code).increment(1);
        self.0.push(outcome);
    }

    /// Files that were told of so far.
    pub(super) fn files(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has_stored(&self) -> bool {
        self.0.iter().any(|outcome| matches!(outcome, Outcome::Stored(_)))
    }
}

impl IntoResponse for Report {
    /// 201 with what became of each file, when one was stored; else the reason why the first was not.
    fn into_response(self) -> Response {
        if let [Outcome::Refused(refusal), ..] = &self.0[..]
            && !self.has_stored()
        {
            return Problem::from(*refusal).into_response();
        }
        let files: Vec<serde_json::Value> = (1_usize..)
            .zip(&self.0)
            .map(|(file, outcome)| match outcome {
                Outcome::Stored(stored) => json!({
                    "file": file,
                    "outcome": "stored",
                    "study": stored.study.expose(),
                    "series": stored.series.expose(),
                    "instance": stored.instance.expose(),
                    "url": format!(
                        "/dicomweb/studies/{}/series/{}/instances/{}",
                        stored.study.expose(), stored.series.expose(), stored.instance.expose(),
                    ),
                }),
                Outcome::Refused(refusal) => json!({
                    "file": file,
                    "outcome": "refused",
                    "code": refusal.code,
                    "detail": refusal.sentence,
                }),
            })
            .collect();
        (StatusCode::CREATED, Json(json!({ "files": files }))).into_response()
    }
}
