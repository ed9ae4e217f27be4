//! Who may do what, and for which purpose: one table, no I/O.
//!
//! **Invariant:** every [`Permit`] in the house is made here. A refusal says nothing about what exists.

#![forbid(unsafe_code)]

use leadglass_model::{ActorRef, Administer, Fault, Permit, Purpose, Read, Role, Search, Store, TenantId};
use std::time::Duration;

/// Somebody whose identity was proven: by a token, a certificate, a device entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The controller that this identity belongs to.
    pub tenant: TenantId,
    /// Pseudonym, as it stands in the audit log.
    pub actor: ActorRef,
    /// What the identity is for.
    pub role: Role,
}

/// Policy said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The role never includes this.
    #[error("the role {role} does not include this")]
    Role {
        /// Whose role.
        role: Role,
    },
    /// The role includes it, but not for this purpose.
    #[error("the role {role} may not do this for the purpose {purpose}")]
    Purpose {
        /// Whose role.
        role: Role,
        /// What was named.
        purpose: Purpose,
    },
}

impl Refusal {
    /// Always [`Fault::Denied`].
    pub const fn fault(&self) -> Fault {
        Fault::Denied
    }
}

impl Principal {
    /// To open studies of the own tenant.
    pub fn read(&self, purpose: Purpose) -> Result<Permit<Read>, Refusal> {
        let purposes: &[Purpose] = match self.role {
            Role::Clinician => &[Purpose::Care],
            Role::Dpo => &[Purpose::SubjectRequest, Purpose::LegalClaim, Purpose::StorageCheck],
            Role::Admin | Role::Device => return Err(Refusal::Role { role: self.role }),
        };
        self.within(purposes, purpose)?;
        Ok(Permit::grant(self.tenant, self.actor, self.role, purpose))
    }

    /// To find studies of the own tenant.
    pub fn search(&self, purpose: Purpose) -> Result<Permit<Search>, Refusal> {
        self.read(purpose)?;
        Ok(Permit::grant(self.tenant, self.actor, self.role, purpose))
    }

    /// To bring instances in.
    pub fn store(&self) -> Result<Permit<Store>, Refusal> {
        match self.role {
            Role::Device | Role::Clinician => Ok(Permit::grant(self.tenant, self.actor, self.role, Purpose::Ingest)),
            Role::Dpo | Role::Admin => Err(Refusal::Role { role: self.role }),
        }
    }

    /// To decide on quarantined instances and other matters of the tenant.
    pub fn administer(&self) -> Result<Permit<Administer>, Refusal> {
        match self.role {
            Role::Dpo | Role::Admin => Ok(Permit::grant(self.tenant, self.actor, self.role, Purpose::Quality)),
            Role::Clinician | Role::Device => Err(Refusal::Role { role: self.role }),
        }
    }

    /// How long a browser stays signed in: without use, and in any case. `None`: the role is no person's.
    ///
    /// Source: OWASP session management; shorter for who may decide about others' data.
    pub const fn session_times(&self) -> Option<(Duration, Duration)> {
        const MINUTE: u64 = 60;
        let (idle, absolute) = match self.role {
            Role::Clinician => (30 * MINUTE, 10 * 60 * MINUTE),
            Role::Dpo | Role::Admin => (15 * MINUTE, 4 * 60 * MINUTE),
            Role::Device => return None,
        };
        Some((Duration::from_secs(idle), Duration::from_secs(absolute)))
    }

    /// What this role opens studies for when the request does not say.
    pub const fn usual_purpose(&self) -> Purpose {
        match self.role {
            Role::Dpo => Purpose::SubjectRequest,
            Role::Device => Purpose::Ingest,
            Role::Clinician | Role::Admin => Purpose::Care,
        }
    }

    fn within(&self, allowed: &[Purpose], purpose: Purpose) -> Result<(), Refusal> {
        if allowed.contains(&purpose) { Ok(()) } else { Err(Refusal::Purpose { role: self.role, purpose }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role) -> Principal {
        Principal { tenant: TenantId::from_bytes([1; 16]), actor: ActorRef([2; 16]), role }
    }

    /// The whole table, role by role: read purposes, store, administer.
    #[test]
    fn the_table_is_as_written() {
        use Purpose::*;
        for (role, reads, store, administer) in [
            (Role::Device, &[][..], true, false),
            (Role::Clinician, &[Care][..], true, false),
            (Role::Dpo, &[SubjectRequest, LegalClaim, StorageCheck][..], false, true),
            (Role::Admin, &[][..], false, true),
        ] {
            let who = principal(role);
            for purpose in Purpose::ALL {
                assert_eq!(who.read(purpose).is_ok(), reads.contains(&purpose), "{role} reads for {purpose}");
                assert_eq!(who.search(purpose).is_ok(), reads.contains(&purpose), "{role} searches for {purpose}");
            }
            assert_eq!(who.store().is_ok(), store, "{role} stores");
            assert_eq!(who.administer().is_ok(), administer, "{role} administers");
        }
    }

    #[test]
    fn a_device_has_no_browser_and_who_decides_is_signed_out_sooner() {
        assert_eq!(principal(Role::Device).session_times(), None);
        let times = |role| principal(role).session_times().unwrap();
        assert!(times(Role::Dpo) < times(Role::Clinician) && times(Role::Admin).1 < times(Role::Clinician).1);
    }

    #[test]
    fn a_permit_stays_in_its_tenant() {
        let permit = principal(Role::Clinician).read(Purpose::Care).unwrap();
        assert_eq!(permit.tenant(), TenantId::from_bytes([1; 16]));
    }
}
