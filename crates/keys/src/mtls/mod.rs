//! The key service over HTTP/2 and mutual TLS 1.3: one connection that is kept open.
//!
//! Answers are gathered in buffers that are wiped. What cannot be wiped from here: the copies that TLS and HTTP/2 hold
//! for the moment of a read; a wiping allocator in the program reaches those.

mod body;
mod identity;
mod link;

pub use identity::{IdentityError, IdentityFiles};

use crate::{
    KeyService, RevocationStream, ServiceError,
    wire::{
        self, Approval, ApprovalId, Assertion, Attestation, BindRequest, CosignAnswer, CosignRequest, CreateRequest,
        DestroyRequest, EnrolPerson, Enrolled, EpochAdvance, EpochAdvanced, EpochList, Health, Hex32, IndexPage,
        IndexRequest, LodgedJob, LogPage, LogRead, MAX_ANSWER_BYTES, MAX_BATCH, MacAnswer, MacRequest, NewKey,
        OpenApproval, PresentReceipts, Problem, ReceiptsSeen, RegisterActors, RestrictAnswer, RestrictRequest,
        RevocationLines, SecretRecord, SecretRequest, SignedStatement, TenantList, UnwrapOutcome, UnwrapRequest,
        decode_records, json_from, json_to, path,
    },
};
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, header, uri::Authority};
use http_body_util::{BodyDataStream, Full};
use hyper::body::Incoming;
use leadglass_model::Clock;
use link::Link;
use std::{future::Future, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

/// Where the key service is and who we are.
#[derive(Debug, Clone)]
pub struct MtlsConfig {
    /// Host and port; the host is the name that its certificate must bear.
    pub authority: Authority,
    /// Our identity and the authority we trust.
    pub identity: IdentityFiles,
    /// How long a connection may take to stand, TLS included.
    pub connect_timeout: Duration,
    /// How long a call may take. The revocation stream has it for its head only.
    pub call_timeout: Duration,
}

/// The key service over the network.
pub struct MtlsKeyService {
    link: Link,
    authority: Authority,
    call_timeout: Duration,
}

impl MtlsKeyService {
    /// Reads the identity, so that a wrong path shows at start. Connects with the first call, inside a tokio runtime.
    /// `stop` ends the connection at once: cancel it after whatever needs keys has drained.
    ///
    /// # Errors
    /// Identity files that cannot be read or used, or an authority without a port.
    pub fn new(
        config: MtlsConfig,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, IdentityError> {
        let MtlsConfig { authority, identity, connect_timeout, call_timeout } = config;
        let link = Link::new(&authority, identity, connect_timeout, clock, tasks, stop)?;
        Ok(Self { link, authority, call_timeout })
    }

    async fn post_json<Q: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<A, ServiceError> {
        let answer = self.exchange(Method::POST, path, Some(json_to(request))).await?;
        json_from(&answer, MAX_ANSWER_BYTES).map_err(|source| ServiceError::Answer { source })
    }

    async fn get_json<A: serde::de::DeserializeOwned>(&self, path: &str) -> Result<A, ServiceError> {
        let answer = self.exchange(Method::GET, path, None).await?;
        json_from(&answer, MAX_ANSWER_BYTES).map_err(|source| ServiceError::Answer { source })
    }

    async fn post_for_bytes<Q: serde::Serialize>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        self.exchange(Method::POST, path, Some(json_to(request))).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        self.in_time(async {
            let response = self.head(method, path, body).await?;
            body::collect(response.into_body(), MAX_ANSWER_BYTES).await
        })
        .await
    }

    /// Sends and waits for the head of a success.
    async fn head(
        &self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Response<Incoming>, ServiceError> {
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header(header::CONTENT_TYPE, wire::JSON_MEDIA_TYPE)
            .body(Full::new(body))
            .map_err(|e| ServiceError::Away { source: Arc::new(e) })?;
        let response = self.link.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = body::collect(response.into_body(), wire::MAX_PROBLEM_BYTES).await?;
        match json_from::<Problem>(&body, wire::MAX_PROBLEM_BYTES) {
            Ok(problem) => Err(ServiceError::Refused { problem }),
            Err(_) => Err(ServiceError::Status { status }),
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
        tokio::time::timeout(self.call_timeout, call).await.unwrap_or(Err(ServiceError::TimedOut))
    }
}

#[async_trait::async_trait]
impl KeyService for MtlsKeyService {
    async fn create(&self, request: &CreateRequest) -> Result<Vec<NewKey>, ServiceError> {
        let answer = self.post_for_bytes(path::CREATE, request).await?;
        decode_records(&answer, usize::from(request.count)).map_err(|source| ServiceError::Answer { source })
    }

    async fn bind(&self, request: &BindRequest) -> Result<(), ServiceError> {
        self.post_for_bytes(path::BIND, request).await.map(drop)
    }

    async fn unwrap_keys(&self, request: &UnwrapRequest) -> Result<Vec<UnwrapOutcome>, ServiceError> {
        let answer = self.post_for_bytes(path::UNWRAP, request).await?;
        decode_records(&answer, MAX_BATCH).map_err(|source| ServiceError::Answer { source })
    }

    async fn register_actors(&self, request: &RegisterActors) -> Result<(), ServiceError> {
        self.post_for_bytes(path::ACTORS, request).await.map(drop)
    }

    async fn index_keys(&self, request: &IndexRequest) -> Result<IndexPage, ServiceError> {
        let answer = self.post_for_bytes(path::INDEX, request).await?;
        IndexPage::decode(&answer, request).map_err(|source| ServiceError::Answer { source })
    }

    async fn secret(&self, request: &SecretRequest) -> Result<SecretRecord, ServiceError> {
        let answer = self.post_for_bytes(path::SECRETS, request).await?;
        let mut records = decode_records(&answer, 1).map_err(|source| ServiceError::Answer { source })?;
        records.pop().ok_or(ServiceError::answer("count"))
    }

    async fn mac(&self, request: &MacRequest) -> Result<MacAnswer, ServiceError> {
        self.post_json(path::MAC, request).await
    }

    async fn tenants(&self) -> Result<TenantList, ServiceError> {
        self.get_json(path::TENANTS).await
    }

    async fn revocations(&self, after: Option<u64>) -> Result<RevocationStream, ServiceError> {
        let path = after.map_or_else(|| path::REVOCATIONS.to_owned(), |n| format!("{}?after={n}", path::REVOCATIONS));
        let response = self.in_time(self.head(Method::GET, &path, None)).await?;
        let state = Some((BodyDataStream::new(response.into_body()), RevocationLines::default()));
        // The state is given up with the first error, which ends the stream.
        let batches = futures::stream::unfold(state, async |state| {
            let (mut body, mut lines) = state?;
            match body.next().await? {
                Ok(bytes) => match lines.push(&bytes) {
                    Ok(events) => Some((events.into_iter().map(Ok).collect(), Some((body, lines)))),
                    Err(source) => Some((vec![Err(ServiceError::Answer { source })], None)),
                },
                Err(e) => Some((vec![Err(ServiceError::Lost { source: Arc::new(e) })], None)),
            }
        });
        Ok(batches.flat_map(futures::stream::iter).boxed())
    }

    async fn attest(&self, nonce: Hex32) -> Result<Attestation, ServiceError> {
        self.get_json(&format!("{}?nonce={nonce}", path::ATTEST)).await
    }

    async fn health(&self) -> Result<Health, ServiceError> {
        self.get_json(path::HEALTH).await
    }

    async fn cosign(&self, request: &CosignRequest) -> Result<CosignAnswer, ServiceError> {
        self.post_json(path::LOG_COSIGN, request).await
    }

    async fn read_log(&self, request: &LogRead) -> Result<LogPage, ServiceError> {
        self.post_json(path::LOG_READ, request).await
    }

    async fn restrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError> {
        self.post_json(path::RESTRICT, request).await
    }

    async fn unrestrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError> {
        self.post_json(path::UNRESTRICT, request).await
    }

    async fn destroy(&self, request: &DestroyRequest) -> Result<SignedStatement, ServiceError> {
        self.post_json(path::DESTROY, request).await
    }

    async fn present_receipts(&self, request: &PresentReceipts) -> Result<ReceiptsSeen, ServiceError> {
        self.post_json(path::RECEIPTS, request).await
    }

    async fn advance_epoch(&self, request: &EpochAdvance) -> Result<EpochAdvanced, ServiceError> {
        self.post_json(path::EPOCH_ADVANCE, request).await
    }

    async fn epochs(&self) -> Result<EpochList, ServiceError> {
        self.get_json(path::EPOCHS).await
    }

    async fn open_approval(&self, request: &OpenApproval) -> Result<Approval, ServiceError> {
        self.post_json(path::APPROVALS, request).await
    }

    async fn answer_approval(&self, id: &ApprovalId, assertion: &Assertion) -> Result<Approval, ServiceError> {
        let path = format!("{}/{id}", path::APPROVALS);
        let answer = self.exchange(Method::PUT, &path, Some(json_to(assertion))).await?;
        json_from(&answer, MAX_ANSWER_BYTES).map_err(|source| ServiceError::Answer { source })
    }

    async fn lodged_job(&self, id: &ApprovalId) -> Result<LodgedJob, ServiceError> {
        self.get_json(&format!("{}/{id}", path::APPROVALS)).await
    }

    async fn enrol_person(&self, request: &EnrolPerson) -> Result<Enrolled, ServiceError> {
        self.post_json(path::PEOPLE_ENROL, request).await
    }
}

impl std::fmt::Debug for MtlsKeyService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MtlsKeyService").field("authority", &self.authority).finish_non_exhaustive()
    }
}
