//! The unsealed key service: what every call works on.
//!
//! One [`Service`] exists from unseal to stop. The keyring is read through an `Arc` that is swapped whole; whoever changes it
//! holds `changing`, writes the new file, lets the database know its number, and swaps. Everything that a call changes is
//! durable before it answers, and so is its log entry: what cannot be logged is not done.

mod actors;
mod approvals;
mod assertions;
mod attest;
mod backups;
mod bind;
mod create;
mod destroy;
mod epoch;
mod escrow;
mod index;
mod maintenance;
mod open;
mod people;
mod receipts;
mod rekey;
mod restrict;
mod revocations;
mod secrets;
mod tenants;
mod unwrap;
mod witness;

#[cfg(test)]
mod erase_tests;

pub use approvals::{ApprovalInfo, Suspension};
pub use backups::Standing;
pub use escrow::EscrowAsk;
pub(crate) use open::{META_LOG, meta_records};
pub use open::{OpenError, Started};
pub use people::{NewOfficer, OfficerInfo};
pub(crate) use receipts::awaited_records;
pub use revocations::RevocationRow;
pub use tenants::NewClient;

use crate::{
    budget::Budgets,
    config::Config,
    keyring::{Client, ClientRole, Keyring},
    layout::Layout,
    provider::{Epoch, SealProvider},
    refusal::Refusal,
    store::{Store, Table},
};
use leadglass_audit::{ClientRef, CodeWord, Event, Log, NewEntry, Outcome};
use leadglass_keys::wire::ProblemCode;
use leadglass_model::{Clock, Entropy, EntryId, TenantId};
use leadglass_seal::EpochKey;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::{Notify, watch};

/// The key service, unsealed.
pub struct Service {
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) provider_kind: &'static str,
    pub(crate) provider_class: char,
    provider: Box<dyn SealProvider>,
    sealing: RwLock<Arc<Sealing>>,
    advancing: Mutex<()>,
    rekeying: Mutex<()>,
    keyring: RwLock<Arc<Keyring>>,
    changing: Mutex<()>,
    pub(crate) store: Store,
    pub(crate) log: Arc<Log>,
    budgets: Mutex<Budgets>,
    counted: std::sync::atomic::AtomicU32,
    suspended: Mutex<HashMap<String, Suspension>>,
    fill: Mutex<HashMap<TenantId, u64>>,
    revoked: watch::Sender<u64>,
    /// Tenants whose vaults have not shown their receipts since a restore.
    awaited: RwLock<HashSet<TenantId>>,
    pub(crate) backup_wanted: Notify,
}

/// The epoch in force and its key.
struct Sealing {
    epoch: Epoch,
    key: EpochKey,
}

/// Who calls: an enrolled client.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client,
}

impl Caller {
    /// Demands a role.
    pub fn needs(&self, role: ClientRole) -> Result<(), Refusal> {
        if self.client.roles.contains(&role) {
            Ok(())
        } else {
            Err(Refusal::new(ProblemCode::Forbidden, "this client's roles do not include the call"))
        }
    }

    /// Whether the client works for a tenant.
    pub fn may(&self, tenant: TenantId) -> bool {
        self.client.tenants.is_empty() || self.client.tenants.contains(&tenant)
    }

    /// The first half of its key's hash, as it stands in the log and names a node.
    pub fn node(&self) -> [u8; 16] {
        let mut node = [0; 16];
        node.copy_from_slice(&self.client.key_hash[..16]);
        node
    }
}

impl Service {
    /// The enrolled client behind a public key, or the refusal that any stranger hears.
    pub fn caller(&self, key_hash: &[u8; 32]) -> Result<Caller, Refusal> {
        match self.keyring().client(key_hash) {
            Some(client) => Ok(Caller { client: client.clone() }),
            None => Err(Refusal::new(ProblemCode::Forbidden, "this client is not enrolled here")),
        }
    }

    /// Refuses a tenant that does not exist or is not the caller's: the two look alike.
    fn tenant_of(&self, caller: &Caller, tenant: TenantId) -> Result<Arc<Keyring>, Refusal> {
        let keyring = self.keyring();
        if caller.may(tenant) && keyring.tenant(tenant).is_some() {
            Ok(keyring)
        } else {
            Err(Refusal::new(ProblemCode::NotFound, "no such tenant for this client"))
        }
    }

    /// The keyring in force.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read())
    }

    /// The epoch in force.
    pub fn epoch(&self) -> Epoch {
        self.sealing.read().epoch
    }

    fn sealing(&self) -> Arc<Sealing> {
        Arc::clone(&self.sealing.read())
    }

    /// Changes the keyring: file durable, database told, then in force. Blocks.
    ///
    /// If we die after the file and before the database, the next start finds a keyring one ahead and goes on with it.
    pub(crate) fn change_keyring<T>(
        &self,
        change: impl FnOnce(&mut Keyring) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let _changing = self.changing.lock();
        let mut draft = self.keyring().draft();
        let answer = change(&mut draft)?;
        let sealing = self.sealing();
        let sealed = draft.seal(sealing.epoch, &sealing.key, self.entropy.as_ref());
        if let Some(mirror) = self.config.mirror(&self.layout) {
            crate::backup::mirror_keyring(&mirror, &sealed)?;
        }
        crate::disk::replace(&self.layout.keyring(), &sealed)?;
        let sequence = draft.sequence;
        self.store.write_blocking::<(), Refusal, _>(move |tx| {
            Ok(tx.put(Table::Meta, open::META_SEQUENCE, &sequence.to_be_bytes())?)
        })?;
        *self.keyring.write() = Arc::new(draft);
        self.backup_wanted.notify_one();
        Ok(answer)
    }

    /// Appends entries to the own log; durable when it answers.
    pub(crate) async fn report(&self, entries: Vec<NewEntry>) -> Result<(), Refusal> {
        let log = Arc::clone(&self.log);
        let appended = tokio::task::spawn_blocking(move || log.append(entries, None)).await;
        appended.map_err(Refusal::broken)??;
        Ok(())
    }

    /// As [`Service::report`], for callers that may block.
    pub(crate) fn report_blocking(&self, entries: Vec<NewEntry>) -> Result<(), Refusal> {
        self.log.append(entries, None)?;
        Ok(())
    }

    /// An entry about now; fill the rest with struct update syntax.
    pub(crate) fn entry(&self, event: Event, outcome: Outcome) -> NewEntry {
        NewEntry::new(EntryId::random(self.entropy.as_ref()), self.clock.now(), event, outcome)
    }

    /// An entry about a call.
    pub(crate) fn entry_by(&self, caller: &Caller, event: Event, outcome: Outcome) -> NewEntry {
        NewEntry { client: Some(ClientRef(caller.node())), ..self.entry(event, outcome) }
    }

    /// Logs a refused call and gives the refusal on.
    pub(crate) async fn refuse<T>(&self, entry: NewEntry, code: &str, refusal: Refusal) -> Result<T, Refusal> {
        let entry = NewEntry { outcome: Outcome::Refused, code: CodeWord::parse(code), ..entry };
        self.report(vec![entry]).await?;
        Err(refusal)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.keyring().id)
    }
}

/// How many key rows stand in a backup's rows, and how many live ones of them open. One that does not is an error.
pub(crate) fn wraps_that_open(keyring: &Keyring, rows: &[crate::store::Record]) -> Result<(u64, u64), Refusal> {
    use crate::store::{KeyRow, KeyState, StoreError};
    let (mut keys, mut opened) = (0, 0);
    for record in rows.iter().filter(|r| r.table == Table::Keys) {
        let damaged = || StoreError::Damaged { table: Table::Keys };
        let row: KeyRow = crate::store::decode(Table::Keys, &record.value)?;
        let id: [u8; 16] = record.key.as_slice().try_into().map_err(|_| damaged())?;
        keys += 1;
        if row.state == KeyState::Live {
            unwrap::study_key(keyring, leadglass_model::KeyId::from_bytes(id), &row).map_err(Refusal::broken)?;
            opened += 1;
        }
    }
    Ok((keys, opened))
}

/// A lease is 300 s absolute.
pub const LEASE_S: u32 = 300;
