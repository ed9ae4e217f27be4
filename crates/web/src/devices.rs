//! Devices: who may send, asked and changed by those who administer. JSON under `/api/v1/devices`.
//!
//! What a device is and what its enrolment means is decided behind [`DeviceDesk`], which the program brings. A private
//! key never passes here: who wants a certificate sends a signing request.

use crate::{App, Problem, app::Caller, small::Small};
use async_trait::async_trait;
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use leadglass_model::{Administer, EnrolmentLevel, Fault, Permit, ReceiverId, TenantId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

/// Keeps the devices of a node. Every change is recorded before it is made and holds at once when it answers.
#[async_trait]
pub trait DeviceDesk: Send + Sync + 'static {
    /// All devices of the permit's tenant, the revoked ones too.
    fn list(&self, permit: &Permit<Administer>) -> Vec<DeviceView>;

    /// What people call a device of the tenant, and what it has to show; `None` for what is no device of it.
    fn named(&self, tenant: TenantId, id: ReceiverId) -> Option<(String, EnrolmentLevel)>;

    /// Enrols a device.
    async fn add(&self, permit: &Permit<Administer>, new: NewDevice) -> Result<DeviceView, DeskError>;

    /// Ends an enrolment, and the device's open associations with it.
    async fn revoke(&self, permit: &Permit<Administer>, id: ReceiverId) -> Result<(), DeskError>;

    /// Sets how much a device may send at most.
    async fn bound(&self, permit: &Permit<Administer>, id: ReceiverId, new: NewBounds)
    -> Result<DeviceView, DeskError>;

    /// Issues a certificate over the public key of a signing request (PKCS#10, PEM).
    async fn certify(
        &self,
        permit: &Permit<Administer>,
        id: ReceiverId,
        request: CertificateRequest,
    ) -> Result<Certified, DeskError>;
}

/// Why a device could not be enrolled, certified or revoked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{sentence}")]
pub struct DeskError {
    /// The kind of failure.
    pub fault: Fault,
    /// A stable word.
    pub code: &'static str,
    /// What helps. It names no patient.
    pub sentence: String,
}

impl DeskError {
    /// An error.
    pub fn new(fault: Fault, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { fault, code, sentence: sentence.into() }
    }

    /// There is no such device of this tenant.
    pub fn missing() -> Self {
        Self::new(Fault::Missing, "not-found", "There is no such device.")
    }

    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        self.fault
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        Self::new(error.fault, error.code, error.sentence)
    }
}

/// A device to be enrolled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// What people call it: `room-3-panoramic`.
    pub name: String,
    /// What it has to show.
    pub level: EnrolmentLevel,
    /// The AE title it must call itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aet: Option<String>,
    /// Where it must come from: an address, a network, `loopback`, `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The AE title it must call; left out: one of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// A port of its own, in clear; the vault opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// SOP classes that it may send, UIDs or roots such as `1.2.840.10008.5.1.4.1.1.1.*`; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sop_classes: Vec<String>,
    /// Transfer syntaxes that it may use, written in the same way; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_syntaxes: Vec<String>,
    /// Bytes of one instance's data set; left out: the vault learns what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_bytes: Option<u64>,
    /// Instances within one hour of the clock; left out: the vault learns what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_an_hour: Option<u32>,
    /// Its certificate, PEM, when another authority issued it; its public key is what counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Instead of the certificate, the SHA-256 of its SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

impl NewDevice {
    /// A device with a name and a level, and nothing else said.
    pub fn named(name: &str, level: EnrolmentLevel) -> Self {
        Self {
            name: name.to_owned(),
            level,
            aet: None,
            address: None,
            called: None,
            port: None,
            sop_classes: Vec::new(),
            transfer_syntaxes: Vec::new(),
            most_bytes: None,
            most_an_hour: None,
            certificate: None,
            fingerprint: None,
        }
    }
}

/// A device as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// Its random name.
    pub id: ReceiverId,
    /// What people call it.
    pub name: String,
    /// What it has to show.
    pub level: EnrolmentLevel,
    /// The same as a number, 0 to 3.
    pub level_number: u8,
    /// The AE title it must call itself; `null`: any.
    pub aet: Option<String>,
    /// Where it must come from.
    pub address: String,
    /// The AE title it must call; `null`: one of the tenant's.
    pub called: Option<String>,
    /// The port of its own.
    pub port: Option<u16>,
    /// SOP classes that it may send; empty: all.
    pub sop_classes: Vec<String>,
    /// Transfer syntaxes that it may use; empty: all.
    pub transfer_syntaxes: Vec<String>,
    /// Bytes that one instance may have; beyond it is refused.
    pub most_bytes: Option<u64>,
    /// Instances that it may send in an hour; beyond they are refused.
    pub most_an_hour: Option<u32>,
    /// What it usually sends; `null` before its first instance.
    pub usual: Option<DeviceUsual>,
    /// The keys it may prove, the newest last.
    pub keys: Vec<DeviceKey>,
    /// When it was enrolled; `null` for one of the configuration file.
    pub enrolled_ms: Option<u64>,
    /// When that ended.
    pub revoked_ms: Option<u64>,
    /// `records`, or `configuration`: then the file is the place to change it.
    pub source: &'static str,
}

/// What a device usually sends, as it was learnt in its first fortnight. Much more of it is stored and is an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceUsual {
    /// Since when it was learnt.
    pub since_ms: u64,
    /// Whether it still is.
    pub learning: bool,
    /// Bytes of the largest instance.
    pub largest_bytes: u64,
    /// Instances in the busiest hour.
    pub busiest_hour: u32,
}

/// How much a device may send from now on.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBounds {
    /// Bytes of one instance's data set; `null` or left out: any.
    #[serde(default)]
    pub most_bytes: Option<u64>,
    /// Instances within one hour of the clock; `null` or left out: any.
    #[serde(default)]
    pub most_an_hour: Option<u32>,
    /// What is usual is learnt anew, for another fortnight.
    #[serde(default)]
    pub learn: bool,
}

/// A key that a device may prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: String,
    /// When its certificate ends, as far as that is known.
    pub ends_ms: Option<u64>,
    /// Whole days until then.
    pub days_left: Option<i64>,
    /// `vault`, or `other`.
    pub issued_by: &'static str,
}

/// What a certificate is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// PKCS#10, PEM. Only its public key is taken, and its signature is checked.
    pub csr: String,
    /// Ends earlier keys of the device at once, instead of leaving the newest of them until its certificate ends.
    #[serde(default)]
    pub replace: bool,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate: String,
    /// The authority that issued it, PEM.
    pub authority: String,
    /// The authority of the vault's own certificate, PEM, when the configuration names it.
    pub server_authority: Option<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: String,
    /// When it ends.
    pub ends_ms: u64,
}

/// `GET /api/v1/devices`
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    Ok(Json(app.devices.list(&permit)).into_response())
}

/// `POST /api/v1/devices`
pub(crate) async fn add(State(app): State<App>, caller: Caller, Small(body): Small) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let new = read(&body, r#"Send {"name":"…","level":"certificate"} and what else the device is known by."#)?;
    let view = app.devices.add(&permit, new).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// `DELETE /api/v1/devices/{id}`
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    app.devices.revoke(&permit, id).await?;
    Ok(Json(json!({ "id": id, "revoked": true })).into_response())
}

/// `PUT /api/v1/devices/{id}/bounds`
pub(crate) async fn bound(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    let new = read(&body, r#"Send {"most_bytes":…,"most_an_hour":…,"learn":false}; null means any."#)?;
    Ok(Json(app.devices.bound(&permit, id, new).await?).into_response())
}

/// `POST /api/v1/devices/{id}/certificate`
pub(crate) async fn certify(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Small(body): Small,
) -> Result<Response, Problem> {
    let permit = caller.administer()?;
    let id = id.parse().map_err(|_| Problem::not_found())?;
    let request = read(&body, r#"Send {"csr":"-----BEGIN CERTIFICATE REQUEST-----…"}."#)?;
    Ok(Json(app.devices.certify(&permit, id, request).await?).into_response())
}

fn read<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let sentence = format!("The request does not read (line {}, column {}). {form}", error.line(), error.column());
        Problem::new(Fault::BadInput, "device", sentence)
    })
}
