//! `POST /v1/keys/unwrap`: leases on study keys.

use super::{ActorProof, ApprovalId, Few, KeyBytes, MAX_BATCH, Record, WireError, Word, encoding, record::Fields};
use leadglass_model::{ActorRef, EntryId, KeyGen, KeyId, Purpose, StudyRef, TenantId};
use serde::{Deserialize, Serialize};

/// What a lease opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Pixels, metadata and rows. Counted against budgets.
    Object,
    /// Rows only; the study key stays at home.
    Index,
}

/// Asks for leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnwrapRequest {
    /// Whose keys; without it the service looks in all tenants of the client (a reindex meets keys before tenants).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Which, at most [`MAX_BATCH`].
    pub key_ids: Few<KeyId, MAX_BATCH>,
    /// What they shall open.
    pub scope: Scope,
    /// What for.
    pub purpose: Purpose,
    /// For whom: budgets count by it.
    #[serde(with = "encoding::actor")]
    pub actor: ActorRef,
    /// Why, as a code (break-glass asks for one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// The approval that a bulk purpose runs under; without it the service takes any open one that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// That the node's session service says so: what persons open needs it, once the service knows that node's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_proof: Option<ActorProof>,
    /// The vault's audit entry of this access, already durable there: both logs carry it.
    pub audit_entry: EntryId,
}

/// Why one key of a batch does not open. The others of the batch do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyRefusal {
    /// Erased, or on its way there.
    #[error("the key is destroyed")]
    Destroyed,
    /// Processing of the study is restricted (GDPR Art. 18) and the purpose is not one of the exceptions.
    #[error("the study is restricted")]
    Restricted,
    /// No such key for this tenant and client.
    #[error("no such key")]
    Unknown,
    /// This purpose does not open this key: `ingest` after 24 hours, a bulk purpose without an approval that names the study.
    #[error("the purpose does not open this key")]
    NotForThisPurpose,
}

impl KeyRefusal {
    const ALL: [Self; 4] = [Self::Destroyed, Self::Restricted, Self::Unknown, Self::NotForThisPurpose];

    const fn code(self) -> u8 {
        match self {
            Self::Destroyed => 1,
            Self::Restricted => 2,
            Self::Unknown => 3,
            Self::NotForThisPurpose => 4,
        }
    }

    /// Destroyed and unknown look alike to who asks for a study.
    pub const fn fault(self) -> leadglass_model::Fault {
        match self {
            Self::Destroyed | Self::Unknown => leadglass_model::Fault::Missing,
            Self::Restricted | Self::NotForThisPurpose => leadglass_model::Fault::Denied,
        }
    }
}

/// The keys of a lease, by scope.
#[derive(Debug)]
pub enum OpenedKeys {
    /// Scope `object`.
    Object {
        /// The study key.
        key: KeyBytes,
        /// Opens rows.
        index_key: KeyBytes,
        /// Opens the DICOM-JSON of instances.
        meta_key: KeyBytes,
    },
    /// Scope `index`.
    Index {
        /// Opens rows.
        index_key: KeyBytes,
    },
}

/// A key that opened.
#[derive(Debug)]
pub struct Opened {
    /// Its generation.
    pub key_gen: KeyGen,
    /// Whose it is.
    pub tenant: TenantId,
    /// The study it seals.
    pub study_ref: StudyRef,
    /// The keys.
    pub keys: OpenedKeys,
    /// How long they may be held, in seconds. The vault holds them no longer than its own limit either.
    pub lease_s: u32,
}

/// What became of one key id. 156 bytes: `status[1] scope[1] 0000 key_id[16] gen[4] tenant[16] study_ref[16] lease_s[4]
/// key[32] index_key[32] meta_key[32]`; status 0 is opened, others are a refusal and all after the key id is zero.
/// Scope 1 is object, 2 index (study and meta key are zero), 0 with a refusal.
#[derive(Debug)]
pub struct UnwrapOutcome {
    /// Which key was asked for.
    pub key_id: KeyId,
    /// The keys or the reason.
    pub result: Result<Opened, KeyRefusal>,
}

impl Record for UnwrapOutcome {
    const LEN: usize = 4 + 16 + REST;

    fn put(&self, out: &mut Vec<u8>) {
        let (status, scope) = match &self.result {
            Ok(Opened { keys: OpenedKeys::Object { .. }, .. }) => (0, SCOPE_OBJECT),
            Ok(Opened { keys: OpenedKeys::Index { .. }, .. }) => (0, SCOPE_INDEX),
            Err(refusal) => (refusal.code(), 0),
        };
        out.extend_from_slice(&[status, scope, 0, 0]);
        out.extend_from_slice(self.key_id.as_bytes());
        let Ok(opened) = &self.result else {
            out.extend_from_slice(&[0; REST]);
            return;
        };
        out.extend_from_slice(&opened.key_gen.get().to_be_bytes());
        out.extend_from_slice(opened.tenant.as_bytes());
        out.extend_from_slice(opened.study_ref.as_bytes());
        out.extend_from_slice(&opened.lease_s.to_be_bytes());
        match &opened.keys {
            OpenedKeys::Object { key, index_key, meta_key } => {
                for key in [key, index_key, meta_key] {
                    out.extend_from_slice(key.expose());
                }
            }
            OpenedKeys::Index { index_key } => {
                out.extend_from_slice(&[0; 32]);
                out.extend_from_slice(index_key.expose());
                out.extend_from_slice(&[0; 32]);
            }
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, WireError> {
        let [status, scope] = from.array("status, scope")?;
        from.zeros::<2>("reserved")?;
        let key_id = KeyId::from_bytes(from.array("key_id")?);
        if status != 0 {
            let refusal = KeyRefusal::ALL.into_iter().find(|r| r.code() == status);
            let refusal = refusal.ok_or(WireError::Field { field: "status" })?;
            if scope != 0 {
                return Err(WireError::Field { field: "scope" });
            }
            from.zeros::<REST>("keys of a refusal")?;
            return Ok(Self { key_id, result: Err(refusal) });
        }
        let key_gen = from.key_gen("gen")?;
        let tenant = TenantId::from_bytes(from.array("tenant")?);
        let study_ref = StudyRef::from_bytes(from.array("study_ref")?);
        let lease_s = from.u32("lease_s")?;
        let keys = match scope {
            SCOPE_OBJECT => OpenedKeys::Object {
                key: from.real_key("key")?,
                index_key: from.real_key("index_key")?,
                meta_key: from.real_key("meta_key")?,
            },
            SCOPE_INDEX => {
                from.zeros::<32>("key")?;
                let index_key = from.real_key("index_key")?;
                from.zeros::<32>("meta_key")?;
                OpenedKeys::Index { index_key }
            }
            _ => return Err(WireError::Field { field: "scope" }),
        };
        Ok(Self { key_id, result: Ok(Opened { key_gen, tenant, study_ref, keys, lease_s }) })
    }
}

const SCOPE_OBJECT: u8 = 1;
const SCOPE_INDEX: u8 = 2;
/// Bytes of a record after the key id.
const REST: usize = 4 + 16 + 16 + 4 + 3 * 32;
