//! `POST /v1/keys/bind`: a reserve key is to seal into a study that exists.

use leadglass_model::{KeyId, StudyRef, TenantId};
use serde::{Deserialize, Serialize};

/// Gives a created key, once and before its first unwrap, to a study that exists. Binding it again to the same study
/// answers success, so that a lost answer can be repeated; to another study is a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindRequest {
    /// Whose key.
    pub tenant: TenantId,
    /// The key.
    pub key_id: KeyId,
    /// The study.
    pub study_ref: StudyRef,
}
