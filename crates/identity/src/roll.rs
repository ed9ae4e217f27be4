//! Everybody, in memory: who is asked about at each request is answered without a look at the disk.

use crate::{IdentityError, person::Person, secret::SecretHash};
use leadglass_model::{ActorRef, Phi, TenantId};
use leadglass_records::{MAX_SCAN, PersonRoll, Seat, Table, TenantRecords, TokenGrant};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// A person and the version of his record.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) tenant: TenantId,
    pub(crate) id: ActorRef,
    pub(crate) person: Arc<Person>,
    pub(crate) version: u64,
}

/// The people of all tenants of a node.
#[derive(Default)]
pub struct Roll(RwLock<HashMap<ActorRef, Entry>>);

impl Roll {
    /// Reads everybody.
    ///
    /// # Errors
    /// The records fail, or a person's is not what was written.
    pub async fn load(tenants: &[TenantRecords]) -> Result<Self, IdentityError> {
        let mut all = HashMap::new();
        for records in tenants {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = records.scan(Table::People, after.as_deref(), MAX_SCAN).await?;
                for record in &page {
                    let id = ActorRef(record.key.as_slice().try_into().map_err(|_| IdentityError::Damaged)?);
                    let person = Arc::new(Person::decode(record.value.expose())?);
                    all.insert(id, Entry { tenant: records.tenant(), id, person, version: record.version });
                }
                match page.last() {
                    Some(last) if page.len() == MAX_SCAN => after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(Self(RwLock::new(all)))
    }

    pub(crate) fn put(&self, entry: Entry) {
        self.0.write().insert(entry.id, entry);
    }

    pub(crate) fn get(&self, id: ActorRef) -> Option<Entry> {
        self.0.read().get(&id).cloned()
    }

    /// What somebody is called.
    pub fn name_of(&self, id: ActorRef) -> Option<Phi<String>> {
        Some(self.0.read().get(&id)?.person.name.clone())
    }

    /// The first person who meets a condition.
    pub(crate) fn find(&self, is: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.0.read().values().find(|entry| is(entry)).cloned()
    }

    /// Whether somebody uses the device with this secret.
    pub(crate) fn knows_device(&self, secret: &SecretHash) -> bool {
        let all = self.0.read();
        all.values().any(|entry| entry.person.devices.iter().any(|device| device.secret == *secret))
    }

    /// Everybody of a tenant, by login.
    pub(crate) fn of_tenant(&self, tenant: TenantId) -> Vec<Entry> {
        let mut all: Vec<Entry> = self.0.read().values().filter(|entry| entry.tenant == tenant).cloned().collect();
        all.sort_by(|a, b| a.person.login.cmp(&b.person.login).then(a.id.cmp(&b.id)));
        all
    }
}

impl PersonRoll for Roll {
    fn grant_of(&self, seat: &Seat) -> Option<TokenGrant> {
        let all = self.0.read();
        let person = &all.get(&seat.person).filter(|entry| entry.tenant == seat.tenant)?.person;
        // A session of a device that was lost may have outlived a crash.
        let is_known = person.devices.iter().any(|device| device.id == seat.device);
        is_known.then(|| person.grant(seat.tenant, seat.person)).flatten()
    }

    /// A token ends with its device because it is revoked then; here it goes on though the device be forgotten.
    fn bearer(&self, seat: &Seat) -> Option<TokenGrant> {
        let all = self.0.read();
        let person = &all.get(&seat.person).filter(|entry| entry.tenant == seat.tenant)?.person;
        let may = !person.principal(seat.tenant, seat.person).needs_passkey();
        may.then(|| person.grant(seat.tenant, seat.person)).flatten()
    }
}

impl std::fmt::Debug for Roll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roll")
    }
}
