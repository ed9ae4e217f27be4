//! The scope of a breach (GDPR Art. 33 and 34): whose data somebody could read, and whose only lay there sealed.
//!
//! The key service's log decides, not the vault's: a key that was given out opens its study, whatever the vault says of it.
//! That log is read again from its first entry, and believed only where it leads both to its signed checkpoint and to what
//! this vault saw of it before.
//!
//! What the selectors mean:
//! - an *actor*: keys that were asked for in this pseudonym's name, or under an access of theirs;
//! - a *device*: keys opened under an access that names it as client or actor, and every key of the span that no access
//!   accounts for, because nothing says through what that one was opened;
//! - a *key*: its openings; a study under it that was not opened lay sealed;
//! - a *node*: keys given to this client of the key service. Of this vault itself also what came in during the span, which
//!   it held in clear, and as sealed everything else that lay here.
//!
//! An access in the span (its beginning or its end) counts as an opening of its whole study, also where no key was given out for it:
//! a node shares a lease that stands among its readers. One that began before the span and ended behind it is not seen by that.
//!
//! The key service's log does not tell opening an image from opening its index row: both count. An opened key opens all that
//! lies under it, so what came under it later counts, too.

mod logs;
mod names;
mod tally;

pub use tally::{Counted, Opened, Span, Tally, TooMuch};

use crate::{Engine, KeyLogError, Practice, ReportError, Shared, Unmatched};
use leadglass_audit::ClientRef;
use leadglass_index::IndexError;
use leadglass_model::{ActorRef, Audit, Fault, KeyId, Permit, Phi, Role, StudyRef, UnixMillis};
use std::{collections::HashMap, sync::Arc};

/// Through what data were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// A person or a program, by pseudonym.
    Actor(ActorRef),
    /// A device, as the log names it.
    Device(ClientRef),
    /// A study key.
    Key(KeyId),
    /// A client of the key service: the first 16 bytes of its key's hash.
    Node(ClientRef),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct BreachAsked {
    /// Through what; `None`: this vault as a node.
    pub by: Option<Selector>,
    /// From here.
    pub from: UnixMillis,
    /// To here, exclusive.
    pub to: UnixMillis,
}

/// Whose data were reached, and how far.
#[derive(Debug)]
pub struct BreachScope {
    /// What was asked, with this vault's own name where it was meant.
    pub by: Selector,
    /// From here.
    pub from: UnixMillis,
    /// To here, exclusive.
    pub to: UnixMillis,
    /// When it was computed.
    pub made: UnixMillis,
    /// Everybody concerned, by pseudonym; last those of whom nothing is known any more.
    pub patients: Vec<BreachPatient>,
    /// Openings that this vault's log does not account for. Their studies are among the opened.
    pub unaccounted: Vec<Unmatched>,
    /// Openings of the span that nothing accounts for and that the question did not ask about.
    pub unaccounted_elsewhere: u64,
    /// How often the node was given the index keys, which open names and IDs of all patients.
    pub index_keys: u64,
    /// How many entries of the key service's log were read, all of them.
    pub key_log_entries: u64,
    /// How many of the own.
    pub log_entries: u64,
    /// What the practice says of itself.
    pub practice: Practice,
}

/// A patient in the scope.
#[derive(Debug, Default)]
pub struct BreachPatient {
    /// The pseudonym, 32 hexadecimal digits; `None` for a study without a Patient ID.
    pub subject: Option<String>,
    /// Patient's Name, as far as it is known still.
    pub name: Option<Phi<String>>,
    /// Patient ID.
    pub id: Option<Phi<String>>,
    /// Issuer of Patient ID.
    pub issuer: Option<Phi<String>>,
    /// Studies whose keys were opened.
    pub opened: Vec<OpenedStudy>,
    /// Studies that only lay there sealed.
    pub sealed: Vec<SealedStudy>,
}

/// A study whose key was opened.
#[derive(Debug)]
pub struct OpenedStudy {
    /// Its random name.
    pub study: StudyRef,
    /// Study Instance UID; `None` once it was erased.
    pub uid: Option<Phi<String>>,
    /// SOP Instance UIDs of what lies under the opened keys; `None` once it was erased.
    pub instances: Option<Vec<Phi<String>>>,
    /// What the logs say.
    pub counted: Opened,
}

/// A study that lay there sealed.
#[derive(Debug)]
pub struct SealedStudy {
    /// Its random name.
    pub study: StudyRef,
    /// Study Instance UID; `None` once it was erased.
    pub uid: Option<Phi<String>>,
    /// How many instances; `None` once it was erased.
    pub instances: Option<u64>,
}

/// Why there is no scope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreachError {
    /// It is for the data protection officer.
    #[error("the scope names patients: it is for the data protection officer")]
    NotOfficer,
    /// The span ends before it begins.
    #[error("the span ends before it begins")]
    Span,
    /// More than can be held.
    #[error("the scope is too large")]
    TooMuch(#[from] TooMuch),
    /// The key service's log cannot be followed.
    #[error("the key service's log cannot be used")]
    KeyLog(#[from] KeyLogError),
    /// The own log cannot be read, or the asking not recorded.
    #[error("the own log cannot be used")]
    Log(#[from] ReportError),
    /// The index failed.
    #[error("the index cannot be asked")]
    Index(#[from] IndexError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl BreachError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotOfficer => Fault::Denied,
            Self::Span | Self::TooMuch(_) => Fault::BadInput,
            Self::KeyLog(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Stopping => Fault::Busy,
        }
    }
}

impl Engine {
    /// Whose data somebody could read in a span of time. That it was asked is an entry, durable before anything is told.
    ///
    /// Cancel safety: dropping the future may leave the asking recorded.
    pub async fn breach_scope(&self, permit: &Permit<Audit>, asked: BreachAsked) -> Result<BreachScope, BreachError> {
        self.shared.breach_scope(permit, asked).await
    }
}

impl Shared {
    async fn breach_scope(
        self: &Arc<Self>,
        permit: &Permit<Audit>,
        asked: BreachAsked,
    ) -> Result<BreachScope, BreachError> {
        if permit.role() != Role::Dpo {
            return Err(BreachError::NotOfficer);
        }
        if asked.from >= asked.to {
            return Err(BreachError::Span);
        }
        self.record_asking(permit, asked.by).await?;
        let tenant = permit.tenant();
        // What was seen before is written down, and what is amiss in it is an alarm.
        self.reconcile().await?;
        let me = self.own_name().await?;
        let by = asked.by.unwrap_or(Selector::Node(me));
        let tally = Tally::new(Span { tenant, by, from: asked.from, to: asked.to, me });
        let (tally, key_log_entries) = self.pass_key_log(tally).await?;
        // An access stands in the journal before its key is asked for: behind this, it stands in the tree.
        self.until_drained(self.journal.last().0).await?;
        let shared = self.clone();
        let passed = tokio::task::spawn_blocking(move || shared.pass_own_log(tally));
        let (tally, log_entries) = passed.await.map_err(|_| BreachError::Stopping)??;
        // Only where everything that lay here is asked about: a person's or a device's scope does not grow with the archive.
        let lay_here = match by {
            Selector::Node(node) if node == me => self.lying_here(tenant, asked.to).await?,
            _ => HashMap::new(),
        };
        let counted = tally.finish(&lay_here);
        let (subjects, unaccounted_elsewhere) = (counted.subjects.len(), counted.unaccounted_elsewhere);
        tracing::info!(
            opened = counted.opened.len(),
            sealed = counted.sealed.len(),
            subjects,
            unaccounted_elsewhere,
            "the scope of a breach was computed"
        );
        let (unaccounted, index_keys) = (counted.unaccounted.clone(), counted.index_keys);
        Ok(BreachScope {
            by,
            from: asked.from,
            to: asked.to,
            made: self.clock.now(),
            patients: self.name_patients(tenant, asked, counted).await?,
            unaccounted,
            unaccounted_elsewhere,
            index_keys,
            key_log_entries,
            log_entries,
            practice: self.exports.practices.lock().get(&tenant).cloned().unwrap_or_default(),
        })
    }
}

/// Openings held while the logs pass by: about 200 bytes each.
pub(crate) const MAX_OPENINGS: usize = 500_000;
/// Studies held.
pub(crate) const MAX_SCOPE_STUDIES: usize = 200_000;
