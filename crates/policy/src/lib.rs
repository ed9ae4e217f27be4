//! Who may do what, and for which purpose: one table, no I/O.
//!
//! **Invariant:** every [`Permit`] in the house is made here. A refusal says nothing about what exists.

#![forbid(unsafe_code)]

mod opening;
mod table;

pub use opening::{CareRule, Facts, Opening, Use, opening, opens_restricted};
pub use table::{MayExport, Rights};

use leadglass_model::{
    Access, ActorRef, Administer, Audit, Emergency, Fault, ManagePeople, Permit, Purpose, Read, Restrict, Review, Role,
    Search, SessionTimes, Store, TenantId,
};

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
    /// What the role may do.
    pub const fn rights(&self) -> Rights {
        Rights::of(self.role)
    }

    /// To open studies of the own tenant.
    pub fn read(&self, purpose: Purpose) -> Result<Permit<Read>, Refusal> {
        self.within(self.rights().opens, purpose)
    }

    /// To find studies of the own tenant.
    pub fn search(&self, purpose: Purpose) -> Result<Permit<Search>, Refusal> {
        self.within(self.rights().finds, purpose)
    }

    /// To take packages out of the house, and which. Whoever hands out opens nothing else with this permit
    /// ([`Facts::ordered`]).
    pub fn export(&self) -> Result<(Permit<Read>, MayExport), Refusal> {
        let exports = self.rights().exports;
        let permit = match exports {
            MayExport::Nothing => return Err(Refusal::Role { role: self.role }),
            MayExport::HandsOut => Permit::grant(self.tenant, self.actor, self.role, Purpose::Care),
            MayExport::One | MayExport::All => self.read(self.usual_purpose())?,
        };
        Ok((permit, exports))
    }

    /// To bring instances in.
    pub fn store(&self) -> Result<Permit<Store>, Refusal> {
        self.if_so(self.rights().stores, Purpose::Ingest)
    }

    /// To decide on quarantined instances and other matters of the tenant.
    pub fn administer(&self) -> Result<Permit<Administer>, Refusal> {
        self.if_so(self.rights().administers, Purpose::Quality)
    }

    /// To read the log of the own tenant.
    pub fn audit(&self) -> Result<Permit<Audit>, Refusal> {
        self.if_so(self.rights().audits, Purpose::Quality)
    }

    /// To invite people, to change their roles and to end their access.
    pub fn manage_people(&self) -> Result<Permit<ManagePeople>, Refusal> {
        self.if_so(matches!(self.role, Role::Admin), Purpose::Quality)
    }

    /// To open studies in an emergency.
    pub fn emergency(&self) -> Result<Permit<Emergency>, Refusal> {
        self.if_so(matches!(self.role, Role::Clinician), Purpose::BreakGlass)
    }

    /// To see what was opened in emergencies, and to decide whether it was right.
    pub fn review(&self) -> Result<Permit<Review>, Refusal> {
        self.if_so(self.rights().audits || self.rights().administers, Purpose::Quality)
    }

    /// To restrict what is done with studies.
    pub fn restrict(&self) -> Result<Permit<Restrict>, Refusal> {
        self.if_so(matches!(self.role, Role::Dpo), Purpose::SubjectRequest)
    }

    /// Whether whoever has this role signs in with a passkey and in no other way.
    pub const fn needs_passkey(&self) -> bool {
        matches!(self.role, Role::Dpo | Role::Admin)
    }

    /// How long a browser stays signed in. `None`: the role has no browser.
    pub const fn session_times(&self) -> Option<SessionTimes> {
        self.rights().signed_in
    }

    /// What this role opens studies for when the request does not say.
    pub const fn usual_purpose(&self) -> Purpose {
        match self.role {
            Role::Dpo => Purpose::SubjectRequest,
            Role::Device => Purpose::Ingest,
            Role::Clinician | Role::Radiographer | Role::Reception | Role::Admin | Role::Auditor | Role::Patient => {
                Purpose::Care
            }
        }
    }

    fn within<A: Access>(&self, allowed: &[Purpose], purpose: Purpose) -> Result<Permit<A>, Refusal> {
        if allowed.is_empty() {
            return Err(Refusal::Role { role: self.role });
        }
        if !allowed.contains(&purpose) {
            return Err(Refusal::Purpose { role: self.role, purpose });
        }
        Ok(Permit::grant(self.tenant, self.actor, self.role, purpose))
    }

    fn if_so<A: Access>(&self, may: bool, purpose: Purpose) -> Result<Permit<A>, Refusal> {
        if !may {
            return Err(Refusal::Role { role: self.role });
        }
        Ok(Permit::grant(self.tenant, self.actor, self.role, purpose))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role) -> Principal {
        Principal { tenant: TenantId::from_bytes([1; 16]), actor: ActorRef([2; 16]), role }
    }

    /// The whole table, role by role: purposes to open and to find, store, administer, audit.
    #[test]
    fn the_table_is_as_written() {
        use Purpose::*;
        let record: &'static [Purpose] = &[SubjectRequest];
        type Row = (Role, &'static [Purpose], &'static [Purpose], bool, bool, bool);
        let table: [Row; 8] = [
            (Role::Device, &[], &[], true, false, false),
            (Role::Clinician, &[Care], &[Care], true, false, false),
            (Role::Radiographer, &[Care], &[], true, false, false),
            (Role::Reception, &[], &[Care], true, false, false),
            (Role::Dpo, record, record, false, true, true),
            (Role::Admin, &[], &[], false, true, false),
            (Role::Auditor, &[], &[], false, false, true),
            (Role::Patient, &[], &[], false, false, false),
        ];
        assert_eq!(table.map(|row| row.0), Role::ALL);
        for (role, opens, finds, store, administer, audit) in table {
            let who = principal(role);
            assert_eq!(who.rights().role, role);
            for purpose in Purpose::ALL {
                assert_eq!(who.read(purpose).is_ok(), opens.contains(&purpose), "{role} opens for {purpose}");
                assert_eq!(who.search(purpose).is_ok(), finds.contains(&purpose), "{role} finds for {purpose}");
            }
            assert_eq!(who.store().is_ok(), store, "{role} stores");
            assert_eq!(who.administer().is_ok(), administer, "{role} administers");
            assert_eq!(who.manage_people().is_ok(), role == Role::Admin, "{role} invites people");
            assert_eq!(who.needs_passkey(), administer, "{role} signs in with a passkey");
            assert_eq!(who.audit().is_ok(), audit, "{role} audits");
            let exports = match role {
                Role::Dpo => Some((MayExport::All, SubjectRequest)),
                Role::Clinician => Some((MayExport::One, Care)),
                Role::Reception => Some((MayExport::HandsOut, Care)),
                _ => None,
            };
            assert_eq!(who.export().ok().map(|(permit, exports)| (exports, permit.purpose())), exports, "{role}");
            assert_eq!(who.emergency().is_ok(), role == Role::Clinician, "{role} opens in emergencies");
            assert_eq!(who.review().is_ok(), audit || administer, "{role} looks at emergencies");
            assert_eq!(who.restrict().is_ok(), role == Role::Dpo, "{role} restricts");
        }
    }

    /// Nobody who runs the house or looks after the log sees a picture.
    #[test]
    fn who_opens_studies_does_not_run_the_house_for_care() {
        for role in Role::ALL {
            let rights = principal(role).rights();
            assert!(!(rights.administers && rights.opens.contains(&Purpose::Care)), "{role}");
            // A radiographer has the names of what he made himself a moment ago from the device.
            let finds = rights.opens.iter().all(|purpose| rights.finds.contains(purpose));
            assert!(finds || role == Role::Radiographer, "{role} finds what it opens");
        }
    }

    #[test]
    fn a_device_has_no_browser_and_who_decides_is_signed_out_sooner() {
        assert_eq!(principal(Role::Device).session_times(), None);
        let times = |role| principal(role).session_times().unwrap();
        assert!(
            times(Role::Dpo) < times(Role::Clinician) && times(Role::Admin).absolute < times(Role::Clinician).absolute
        );
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Device) {
            let SessionTimes { lock, idle, absolute } = times(role);
            assert!(lock < idle && idle < absolute, "{role}: first it is locked, then it ends");
        }
    }

    #[test]
    fn a_permit_stays_in_its_tenant() {
        let permit = principal(Role::Clinician).read(Purpose::Care).unwrap();
        assert_eq!(permit.tenant(), TenantId::from_bytes([1; 16]));
    }
}
