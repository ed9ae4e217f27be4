//! The calls, one route each. They read, ask the service, and write; they decide nothing.

use super::{Server, problem::Refused};
use crate::{
    provider::Passphrase,
    refusal::Refusal,
    service::{Caller, Service},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use leadglass_keys::wire::{
    self, Hex32, JSON_MEDIA_TYPE, KEYS_MEDIA_TYPE, LINES_MEDIA_TYPE, MAX_RECEIPTS_BYTES, MAX_REQUEST_BYTES,
    ProblemCode, encode_records, json_from, json_to, path,
};
use leadglass_model::EntryId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// One connection's view of the server.
#[derive(Clone)]
pub(super) struct Connection {
    server: Arc<Server>,
    key_hash: [u8; 32],
}

type Reply = Result<Response<Body>, Refused>;

/// The routes for a client with this public key.
pub(super) fn router(server: Arc<Server>, key_hash: [u8; 32]) -> Router {
    Router::new()
        .route(path::HEALTH, get(health))
        .route(path::UNSEAL, post(unseal))
        .route(path::CREATE, post(create))
        .route(path::BIND, post(bind))
        .route(path::UNWRAP, post(unwrap))
        .route(path::ACTORS, post(register_actors))
        .route(path::INDEX, post(index))
        .route(path::RESTRICT, post(restrict))
        .route(path::UNRESTRICT, post(unrestrict))
        .route(path::DESTROY, post(destroy))
        .route(path::RECEIPTS, post(present_receipts))
        .route(path::EPOCH_ADVANCE, post(advance_epoch))
        .route(path::EPOCHS, get(epochs))
        .route(path::TENANTS, get(tenants).post(create_tenant))
        .route(path::ROTATE, post(rotate))
        .route(path::REWRAP, post(rewrap))
        .route(path::SECRETS, post(secret))
        .route(path::MAC, post(mac))
        .route(path::REVOCATIONS, get(revocations))
        .route(path::LOG_COSIGN, post(cosign))
        .route(path::LOG_RESET, post(reset_log))
        .route(path::LOG_READ, post(read_log))
        .route(path::ATTEST, get(attest))
        .route(path::APPROVALS, post(lodge))
        .route(&format!("{}/{{id}}", path::APPROVALS), get(lodged_job).put(answer))
        .route(path::PEOPLE_ENROL, post(enrol_person))
        .fallback(unknown)
        .with_state(Connection { server, key_hash })
}

impl Connection {
    /// Runs a call of an enrolled client on the unsealed service, within its time.
    async fn call<F>(&self, call: impl FnOnce(Arc<Service>, Caller) -> F) -> Reply
    where
        F: Future<Output = Result<Response<Body>, Refusal>>,
    {
        self.told(async {
            let service = self.server.service()?;
            let caller = service.caller(&self.key_hash)?;
            let late = |_| Refusal::new(ProblemCode::Busy, "the call took too long");
            tokio::time::timeout(CALL_WITHIN, call(service, caller)).await.map_err(late)?
        })
        .await
    }

    async fn told(&self, call: impl Future<Output = Result<Response<Body>, Refusal>>) -> Reply {
        let request_id = EntryId::random(self.server.entropy.as_ref()).to_string();
        call.await.map_err(|refusal| Refused { refusal, request_id })
    }
}

async fn health(State(at): State<Connection>) -> Reply {
    at.told(async { Ok(json(&at.server.health())) }).await
}

/// Answered to every client of our authority: while sealed nobody is known, and the passphrase is what counts.
async fn unseal(State(at): State<Connection>, body: Body) -> Reply {
    at.told(async {
        let ask: wire::UnsealRequest = read(body).await?;
        let text = String::from_utf8(ask.passphrase.expose().to_vec())
            .map_err(|_| Refusal::new(ProblemCode::BadRequest, "a passphrase is UTF-8 text"))?;
        at.server.unseal(Some(Passphrase::new(text)?)).await?;
        Ok(json(&at.server.health()))
    })
    .await
}

async fn create(State(at): State<Connection>, body: Body) -> Reply {
    at.call(
        |service, caller| async move { Ok(keys(encode_records(&service.create(&caller, read(body).await?).await?))) },
    )
    .await
}

async fn bind(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move {
        service.bind(&caller, read(body).await?).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn register_actors(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move {
        service.register_actors(&caller, read(body).await?).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn unwrap(State(at): State<Connection>, body: Body) -> Reply {
    at.call(
        |service, caller| async move { Ok(keys(encode_records(&service.unwrap(&caller, read(body).await?).await?))) },
    )
    .await
}

async fn index(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(keys(service.index_keys(&caller, read(body).await?).await?.encode())) })
        .await
}

async fn restrict(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.restrict(&caller, read(body).await?).await?)) }).await
}

async fn unrestrict(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.unrestrict(&caller, read(body).await?).await?)) }).await
}

async fn destroy(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.destroy(&caller, read(body).await?).await?)) }).await
}

async fn present_receipts(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move {
        let ask = read_up_to(body, MAX_RECEIPTS_BYTES).await?;
        Ok(json(&service.present_receipts(&caller, ask).await?))
    })
    .await
}

async fn advance_epoch(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.advance_epoch(&caller, read(body).await?).await?)) }).await
}

async fn epochs(State(at): State<Connection>) -> Reply {
    at.call(|service, _caller| async move { Ok(json(&service.epochs()?)) }).await
}

async fn tenants(State(at): State<Connection>) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.tenants(&caller))) }).await
}

async fn create_tenant(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.create_tenant(&caller, read(body).await?).await?)) }).await
}

async fn rotate(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.rotate(&caller, read(body).await?).await?)) }).await
}

async fn rewrap(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.rewrap(&caller, read(body).await?).await?)) }).await
}

async fn secret(State(at): State<Connection>, body: Body) -> Reply {
    at.call(
        |service, caller| async move { Ok(keys(encode_records(&[service.secret(&caller, read(body).await?).await?]))) },
    )
    .await
}

async fn mac(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.mac(&caller, &read(body).await?)?)) }).await
}

#[derive(Deserialize)]
struct After {
    after: Option<u64>,
}

async fn revocations(State(at): State<Connection>, after: Result<Query<After>, QueryRejection>) -> Reply {
    let stopped = at.server.stop_token().cancelled_owned();
    at.call(|service, caller| async move {
        caller.needs(crate::keyring::ClientRole::Vault)?;
        let Ok(Query(After { after })) = after else {
            return Err(Refusal::new(ProblemCode::BadRequest, "after is a number"));
        };
        let lines = futures::StreamExt::map(service.revocations(caller, after), Ok::<_, std::convert::Infallible>);
        let body = Body::from_stream(futures::StreamExt::take_until(lines, stopped));
        Ok(with_type(body, LINES_MEDIA_TYPE))
    })
    .await
}

async fn cosign(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.cosign(&caller, read(body).await?).await?)) }).await
}

async fn read_log(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.read_log(&caller, read(body).await?).await?)) }).await
}

async fn reset_log(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.reset_log(&caller, read(body).await?).await?)) }).await
}

#[derive(Deserialize)]
struct Nonce {
    nonce: Hex32,
}

async fn attest(State(at): State<Connection>, nonce: Result<Query<Nonce>, QueryRejection>) -> Reply {
    at.call(|service, _caller| async move {
        let nonce = nonce.map_err(|_| Refusal::new(ProblemCode::BadRequest, "nonce is 64 hexadecimal digits"))?;
        Ok(json(&service.attest(nonce.nonce)?))
    })
    .await
}

async fn lodge(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.lodge(&caller, read(body).await?).await?)) }).await
}

async fn lodged_job(State(at): State<Connection>, Path(id): Path<String>) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.lodged_job(&caller, &approval_id(&id)?)?)) }).await
}

async fn answer(State(at): State<Connection>, Path(id): Path<String>, body: Body) -> Reply {
    at.call(|service, caller| async move {
        Ok(json(&service.answer(&caller, approval_id(&id)?, read(body).await?).await?))
    })
    .await
}

async fn enrol_person(State(at): State<Connection>, body: Body) -> Reply {
    at.call(|service, caller| async move { Ok(json(&service.enrol_person(&caller, read(body).await?).await?)) }).await
}

fn approval_id(text: &str) -> Result<wire::ApprovalId, Refusal> {
    wire::ApprovalId::new(text).ok_or_else(|| Refusal::new(ProblemCode::NotFound, "no such approval"))
}

async fn unknown(State(at): State<Connection>) -> Reply {
    at.told(async { Err(Refusal::new(ProblemCode::NotFound, "no such call")) }).await
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    read_up_to(body, MAX_REQUEST_BYTES).await
}

async fn read_up_to<T: DeserializeOwned>(body: Body, max_bytes: usize) -> Result<T, Refusal> {
    let unreadable = "the request cannot be read";
    let bytes: Bytes =
        axum::body::to_bytes(body, max_bytes).await.map_err(|_| Refusal::new(ProblemCode::BadRequest, unreadable))?;
    json_from(&bytes, max_bytes).map_err(|error| Refusal::new(ProblemCode::BadRequest, unreadable).because(error))
}

fn json(answer: &impl Serialize) -> Response<Body> {
    let bytes = json_to(answer).to_vec();
    with_type(Body::from(bytes), JSON_MEDIA_TYPE)
}

/// The buffer is wiped when the connection has sent it.
fn keys(records: Zeroizing<Vec<u8>>) -> Response<Body> {
    with_type(Body::from(Bytes::from_owner(Wiped(records))), KEYS_MEDIA_TYPE)
}

struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn with_type(body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The longest call but the revocation stream: a shard's split, or a commit behind others.
const CALL_WITHIN: Duration = Duration::from_secs(30);
