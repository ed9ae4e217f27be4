//! `/api/v1/keyhost`: jobs that the key service does under a person's approval. For whoever administers and is signed in: the
//! browser signs, this vault shows and carries, the key service checks.
//!
//! **Limit:** this vault draws the page. Whoever owns it can have a person sign a job that the page did not show.

use crate::{
    App, Problem,
    app::Caller,
    people::{self, Own},
    small::Small,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_engine::{KeyHostAnswer, KeyHostError, KeyHostJob, NewKeyHostPasskey};
use leadglass_model::{Fault, Purpose};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    purpose: Purpose,
    studies: u32,
    hours: u64,
}

/// `POST /api/v1/keyhost/approvals`: asks for an approval to open studies in bulk.
pub(crate) async fn lodge(
    State(app): State<App>,
    Own(_): Own,
    caller: Caller,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let form = r#"{"purpose":"subject-request","studies":40,"hours":8}, for at most 168 hours"#;
    let Asked { purpose, studies, hours } = people::read(&body, form)?;
    if studies == 0 || !(1..=MAX_HOURS).contains(&hours) {
        return Err(Problem::new(Fault::BadInput, "form", format!("Send {form}.")));
    }
    let job = app.engine.lodge_key_host_job(&permit, purpose, studies, hours * 3600).await;
    Ok((StatusCode::CREATED, Json(shown(&job.map_err(|e| problem(&e))?))).into_response())
}

/// `GET /api/v1/keyhost/approvals/{approval}`: the job in its parts, and the very text that is signed.
pub(crate) async fn show(
    State(app): State<App>,
    Own(_): Own,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let job = app.engine.key_host_job(&permit, &id).await.map_err(|e| problem(&e))?;
    Ok(Json(shown(&job)).into_response())
}

/// `POST /api/v1/keyhost/approvals/{approval}/passkey`: what a browser is asked to sign.
pub(crate) async fn begin(
    State(app): State<App>,
    Own(owner): Own,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let job = app.engine.key_host_job(&permit, &id).await.map_err(|e| problem(&e))?;
    if job.state != "open" {
        return Err(over());
    }
    let (rp_id, ids) = app.people.passkeys_to_approve(&owner).map_err(|e| people::problem(&e))?;
    let known = |id: &Vec<u8>| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(id) });
    let options = json!({ "publicKey": {
        "challenge": URL_SAFE_NO_PAD.encode(job.challenge),
        "rpId": rp_id,
        "timeout": DIALOG_MS,
        "userVerification": "required",
        "allowCredentials": ids.iter().map(known).collect::<Vec<Value>>(),
    }});
    Ok(Json(json!({ "challenge": job.id, "options": options })).into_response())
}

/// What a browser answers (Web Authentication §5.1), as far as it is signed.
#[derive(Deserialize)]
struct Answered {
    #[serde(rename = "rawId", deserialize_with = "base64url")]
    id: Vec<u8>,
    response: Signed,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(rename = "clientDataJSON", deserialize_with = "base64url")]
    client_data_json: Vec<u8>,
    #[serde(rename = "authenticatorData", deserialize_with = "base64url")]
    authenticator_data: Vec<u8>,
    #[serde(deserialize_with = "base64url")]
    signature: Vec<u8>,
}

/// `PUT /api/v1/keyhost/approvals/{approval}`: hands the signature in.
pub(crate) async fn answer(
    State(app): State<App>,
    Own(owner): Own,
    caller: Caller,
    Path(id): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        answer: Answered,
    }
    let permit = caller.administer()?;
    let Body { answer: Answered { id: credential_id, response } } = people::read(&body, r#"{"answer":{…}}"#)?;
    let Signed { client_data_json, authenticator_data, signature } = response;
    let answer = KeyHostAnswer { credential_id, client_data_json, authenticator_data, signature };
    app.engine.answer_key_host_job(&permit, &id, &answer, owner.address).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/keyhost/passkeys`: brings one of one's own passkeys to the key service, where it counts once it is confirmed.
pub(crate) async fn enrol(
    State(app): State<App>,
    Own(owner): Own,
    caller: Caller,
    Small(body): Small,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        code: String,
        passkey: String,
    }
    let permit = caller.administer()?;
    let New { code, passkey } = people::read(&body, r#"{"code":"…","passkey":"…"}"#)?;
    let public = app.people.public_passkey(&owner, &passkey).map_err(|e| people::problem(&e))?;
    let new = NewKeyHostPasskey {
        code,
        credential_id: public.credential_id,
        public_key: public.public_key,
        rp_id: public.rp_id,
    };
    let fingerprint = app.engine.enrol_at_key_host(&permit, &new, owner.address).await.map_err(|e| problem(&e))?;
    Ok((StatusCode::CREATED, Json(json!({ "fingerprint": fingerprint }))).into_response())
}

fn shown(job: &KeyHostJob) -> Value {
    json!({
        "id": job.id,
        "state": job.state,
        "expires_ms": job.expires_at.0,
        "action": job.action,
        "purpose": job.purpose,
        "studies": job.studies,
        "named": job.named,
        "until_ms": job.until.0,
        "text": job.text,
    })
}

fn base64url<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
    URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64url"))
}

fn over() -> Problem {
    Problem::new(Fault::Conflict, "approval-over", "This job is approved already, or its time is over.")
}

fn problem(error: &KeyHostError) -> Problem {
    match error {
        KeyHostError::Missing => Problem::not_found(),
        KeyHostError::Refused { fault: Fault::Conflict, .. } => over(),
        KeyHostError::Refused { sentence, fault } => {
            Problem::new(*fault, "key-host-refused", format!("The key service says: {sentence}."))
        }
        KeyHostError::BadInput => {
            Problem::new(Fault::BadInput, "form", "What was sent is too long, or nothing that the key service takes.")
        }
        error => {
            tracing::warn!(fault = ?error.fault(), %error, "the key service could not be asked for an approval");
            Problem::new(error.fault(), "key-host", "The key service cannot be asked now; try again soon.")
        }
    }
}

/// A person reaches for a phone meanwhile, and the job waits ten minutes.
const DIALOG_MS: u32 = 300_000;
/// What a passkey approves ends within a week; the key service holds to it.
const MAX_HOURS: u64 = 168;
