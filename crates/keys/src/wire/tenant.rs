//! `/v1/tenants`: who there is.

use super::{Few, Word};
use leadglass_model::{TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

/// The most tenants of one installation.
pub const MAX_TENANTS: usize = 1024;

/// Makes a tenant with its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// What the installation calls it.
    pub label: Word,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantInfo {
    /// Its name.
    pub tenant: TenantId,
    /// What the installation calls it.
    pub label: Word,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// The tenants that the client may work for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantList {
    /// Them.
    pub tenants: Few<TenantInfo, MAX_TENANTS>,
}
