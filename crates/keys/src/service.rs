//! The key service's calls as a port: [`crate::MtlsKeyService`] is the real one, [`crate::FakeKeyService`] the one of tests.

use crate::{
    ServiceError,
    wire::{
        Approval, ApprovalId, Assertion, Attestation, BindRequest, CosignAnswer, CosignRequest, CreateRequest,
        DestroyRequest, EnrolPerson, Enrolled, EpochAdvance, EpochAdvanced, EpochList, Health, Hex32, IndexPage,
        IndexRequest, LodgedJob, LogPage, LogRead, MacAnswer, MacRequest, NewKey, OpenApproval, PresentReceipts,
        ReceiptsSeen, RegisterActors, RestrictAnswer, RestrictRequest, RevocationEvent, SecretRecord, SecretRequest,
        SignedStatement, TenantList, UnwrapOutcome, UnwrapRequest,
    },
};
use futures::stream::BoxStream;

/// Revocations as they come. It ends with its first error.
pub type RevocationStream = BoxStream<'static, Result<RevocationEvent, ServiceError>>;

/// Raw calls, one method each. No caching, no retries: [`crate::Keys`] does both.
///
/// Cancel safety, all methods: a dropped call may or may not have been carried out by the service.
#[async_trait::async_trait]
pub trait KeyService: Send + Sync + 'static {
    /// Makes study keys.
    async fn create(&self, request: &CreateRequest) -> Result<Vec<NewKey>, ServiceError>;
    /// Gives a created key to a study that exists; repeating it is fine.
    async fn bind(&self, request: &BindRequest) -> Result<(), ServiceError>;
    /// Opens keys; outcomes stand in the order asked.
    async fn unwrap_keys(&self, request: &UnwrapRequest) -> Result<Vec<UnwrapOutcome>, ServiceError>;
    /// Tells the key that this node's session service signs with. It is taken once.
    async fn register_actors(&self, request: &RegisterActors) -> Result<(), ServiceError>;
    /// One page of a tenant's index keys.
    async fn index_keys(&self, request: &IndexRequest) -> Result<IndexPage, ServiceError>;
    /// A tenant's secret.
    async fn secret(&self, request: &SecretRequest) -> Result<SecretRecord, ServiceError>;
    /// An HMAC under a key that stays there.
    async fn mac(&self, request: &MacRequest) -> Result<MacAnswer, ServiceError>;
    /// The tenants this client works for.
    async fn tenants(&self) -> Result<TenantList, ServiceError>;
    /// Revocations after this number; with `None` those from now on. The first event arrives at once.
    async fn revocations(&self, after: Option<u64>) -> Result<RevocationStream, ServiceError>;
    /// What the service says of itself, signed.
    async fn attest(&self, nonce: Hex32) -> Result<Attestation, ServiceError>;
    /// How it is.
    async fn health(&self) -> Result<Health, ServiceError>;
    /// Entries of the service's own log, and its newest checkpoint.
    async fn read_log(&self, request: &LogRead) -> Result<LogPage, ServiceError>;
    /// A witness's signature. A refusal with code `conflict` carries the size that the proof must start from, one with
    /// code `fork` the size that the log contradicts.
    async fn cosign(&self, request: &CosignRequest) -> Result<CosignAnswer, ServiceError>;
    /// Restricts studies (GDPR Art. 18).
    async fn restrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError>;
    /// Lifts restrictions.
    async fn unrestrict(&self, request: &RestrictRequest) -> Result<RestrictAnswer, ServiceError>;
    /// Destroys keys under an approval; the receipt's statement is a [`crate::wire::DestroyStatement`].
    async fn destroy(&self, request: &DestroyRequest) -> Result<SignedStatement, ServiceError>;
    /// Shows receipts of destructions, which a service that was restored carries out again.
    async fn present_receipts(&self, request: &PresentReceipts) -> Result<ReceiptsSeen, ServiceError>;
    /// Ends the epoch under an approval; the same approval again tells how far it is.
    async fn advance_epoch(&self, request: &EpochAdvance) -> Result<EpochAdvanced, ServiceError>;
    /// Every epoch that began, signed.
    async fn epochs(&self) -> Result<EpochList, ServiceError>;
    /// Asks for an approval.
    async fn open_approval(&self, request: &OpenApproval) -> Result<Approval, ServiceError>;
    /// A job that was lodged, as it is to be signed.
    async fn lodged_job(&self, id: &ApprovalId) -> Result<LodgedJob, ServiceError>;
    /// Hands in a person's assertion.
    async fn answer_approval(&self, id: &ApprovalId, assertion: &Assertion) -> Result<Approval, ServiceError>;
    /// Brings a person's passkey, which the key host has to confirm before it counts.
    async fn enrol_person(&self, request: &EnrolPerson) -> Result<Enrolled, ServiceError>;
}
