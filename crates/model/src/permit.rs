//! Permits: the proof that policy said yes.

use crate::{ActorRef, Purpose, Role, TenantId};
use std::marker::PhantomData;

/// Something that may be permitted.
pub trait Access: Send + Sync + 'static {}

/// Opening a study's pixels and metadata.
#[derive(Debug, Clone)]
pub enum Read {}
/// Finding studies.
#[derive(Debug, Clone)]
pub enum Search {}
/// Bringing an instance in.
#[derive(Debug, Clone)]
pub enum Store {}
/// Deciding on quarantine, tokens, devices.
#[derive(Debug, Clone)]
pub enum Administer {}
/// Reading the log.
#[derive(Debug, Clone)]
pub enum Audit {}

/// Inviting people, changing their roles, ending their access.
#[derive(Debug, Clone)]
pub enum ManagePeople {}

/// Opening a study in an emergency, without having treated the patient before.
#[derive(Debug, Clone)]
pub enum Emergency {}

/// Looking at what was opened in emergencies, and deciding whether it was right.
#[derive(Debug, Clone)]
pub enum Review {}

/// Restricting what is done with studies (GDPR Art. 18).
#[derive(Debug, Clone)]
pub enum Restrict {}

impl Access for Emergency {}
impl Access for Review {}
impl Access for Restrict {}
impl Access for Read {}
impl Access for Search {}
impl Access for Store {}
impl Access for Administer {}
impl Access for ManagePeople {}
impl Access for Audit {}

/// Policy allowed `actor` to do `A` in `tenant` for `purpose`. Only `policy` makes one (`Permit::grant`).
#[derive(Debug, Clone)]
pub struct Permit<A: Access> {
    tenant: TenantId,
    actor: ActorRef,
    role: Role,
    purpose: Purpose,
    access: PhantomData<fn() -> A>,
}

impl<A: Access> Permit<A> {
    /// To be called by `policy` alone.
    pub const fn grant(tenant: TenantId, actor: ActorRef, role: Role, purpose: Purpose) -> Self {
        Self { tenant, actor, role, purpose, access: PhantomData }
    }

    /// In which tenant. A permit never reaches across.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// Who.
    pub const fn actor(&self) -> ActorRef {
        self.actor
    }
    /// In which role.
    pub const fn role(&self) -> Role {
        self.role
    }
    /// What for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }
}
