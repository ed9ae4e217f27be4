//! The book: where devices are enrolled, certified and revoked.
//!
//! Each change is recorded in the audit log, then written into the tenant's sealed records, then put on the roll, where the
//! next association finds it; a revoked device's associations end then. If we die between these steps the record decides at
//! the next start: an entry may then speak of a change that was not made, never the reverse.

use super::{
    authority::{Authorities, unreadable},
    doors::Doors,
    enrolment::{BoundKey, Bounds, Enrolment, Wanted, bad, days_between},
    habits::Habits,
    roll::{Entry, Roll},
    x509,
};
use crate::config::{Config, Device};
use anyhow::Context;
use async_trait::async_trait;
use leadglass_engine::{Engine, EnrolmentChange};
use leadglass_model::{
    Administer, Clock, EnrolmentLevel, Fault, Permit, ReceiverId, SystemClock, SystemEntropy, TenantId, UnixMillis,
};
use leadglass_records::{Expected, Table, TenantRecords};
use leadglass_web::{
    CertificateRequest, Certified, DeskError, DeviceDesk, DeviceKey, DeviceView, NewBounds, NewDevice,
};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

/// The devices of a node. Clones share it.
#[derive(Debug, Clone)]
pub struct Book(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    engine: Engine,
    tenants: Vec<Tenant>,
    roll: Arc<Roll>,
    habits: Arc<Habits>,
    /// Devices of the configuration file, for the list.
    configured: Vec<Device>,
    /// Level 0 may be enrolled.
    open_devices: bool,
    /// The authority of the vault's own certificate, PEM.
    server_authority: Option<String>,
    doors: OnceLock<Doors>,
    /// One change at a time.
    turn: Semaphore,
    /// A change that was begun is finished, whether its caller still listens or not.
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Tenant {
    id: TenantId,
    records: TenantRecords,
    authorities: Authorities,
}

impl Book {
    /// Reads all devices; makes the tenants' authorities where there are none yet.
    pub async fn open(
        config: &Config,
        engine: Engine,
        records: Vec<TenantRecords>,
        tasks: TaskTracker,
    ) -> anyhow::Result<Self> {
        let roll = Arc::new(Roll::default());
        let mut tenants = Vec::new();
        for records in records {
            let id = records.tenant();
            for entry in read_all(&records).await? {
                roll.put(entry);
            }
            let authorities = Authorities::open(records.clone(), &SystemClock, &SystemEntropy).await?;
            tenants.push(Tenant { id, records, authorities });
        }
        let configured: Vec<_> = config.devices.iter().map(|device| device.id).collect();
        let records = tenants.iter().map(|tenant| tenant.records.clone()).collect();
        let habits = Habits::open(records, roll.clone(), &configured, Arc::new(SystemClock)).await?;
        let ca = config.dicom.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let server_authority = ca.map(read).transpose()?;
        let book = Self(Arc::new(Shelf {
            engine,
            tenants,
            roll,
            habits: Arc::new(habits),
            configured: config.devices.clone(),
            open_devices: config.dicom.open_devices,
            server_authority,
            doors: OnceLock::new(),
            turn: Semaphore::new(1),
            tasks,
        }));
        book.0.publish();
        Ok(book)
    }

    /// What the gate asks.
    pub fn roll(&self) -> Arc<Roll> {
        self.0.roll.clone()
    }

    /// What whoever takes instances in asks.
    pub fn habits(&self) -> Arc<Habits> {
        self.0.habits.clone()
    }

    /// The certificates of all tenants' authorities, PEM.
    pub fn authorities(&self) -> impl Iterator<Item = &str> {
        self.0.tenants.iter().flat_map(|tenant| &tenant.authorities.certificates).map(String::as_str)
    }

    /// Gives devices the ports that are their own. One that is taken meanwhile is told, and does not keep others out.
    pub async fn open_doors(&self, doors: Doors) {
        for device in self.0.roll.all(|device| device.revoked.is_none()) {
            if let Some(port) = device.port
                && let Err(error) = doors.open(port).await
            {
                tracing::error!(device = device.name, port, "device {}: {error}", device.name);
            }
        }
        let _first = self.0.doors.set(doors);
    }

    /// Says which certificates end soon, once a day until `stop`.
    pub async fn remind(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(REMIND_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = SystemClock.now();
            for device in self.0.roll.all(|device| device.revoked.is_none()) {
                let days = days_left(&device, &self.0.roll, now);
                if let Some(days) = days.filter(|days| *days < SOON_DAYS) {
                    tracing::warn!(
                        device = device.name,
                        days,
                        "the certificate of {} ends in {days} days",
                        device.name
                    );
                }
            }
            self.0.publish();
        }
    }

    /// Runs a change to its end, also when its caller is gone.
    async fn change<T, F>(&self, change: impl FnOnce(Arc<Shelf>) -> F) -> Result<T, DeskError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DeskError>> + Send + 'static,
    {
        let shelf = self.0.clone();
        let work = change(shelf.clone());
        let in_turn = async move {
            let gone = |_| DeskError::new(Fault::Busy, "stopping", "The vault is stopping.");
            let _turn = shelf.turn.acquire().await.map_err(gone)?;
            let done = work.await;
            shelf.publish();
            done
        };
        let broken = |_| DeskError::new(Fault::Broken, "device", "The change broke on our side.");
        self.0.tasks.spawn(in_turn).await.map_err(broken)?
    }
}

#[async_trait]
impl DeviceDesk for Book {
    fn list(&self, permit: &Permit<Administer>) -> Vec<DeviceView> {
        let (shelf, tenant, now) = (&self.0, permit.tenant(), SystemClock.now());
        let mut devices = shelf.roll.all(|device| device.tenant == tenant);
        devices.sort_by_key(|device| (device.revoked.is_some(), device.name.clone(), device.enrolled));
        let seen = |key: &[u8; 32]| shelf.roll.seen(key);
        let configured = shelf.configured.iter().filter(|d| d.tenants.is_empty() || d.tenants.contains(&tenant));
        let mut views: Vec<_> =
            configured.map(view_of_configured).chain(devices.iter().map(|device| device.view(now, seen))).collect();
        for view in &mut views {
            view.usual = shelf.habits.usual(tenant, view.id);
        }
        views
    }

    fn named(&self, tenant: TenantId, id: ReceiverId) -> Option<(String, EnrolmentLevel)> {
        let shelf = &self.0;
        let configured =
            shelf.configured.iter().find(|d| d.id == id && (d.tenants.is_empty() || d.tenants.contains(&tenant)));
        let of_configured = || configured.map(view_of_configured).map(|view| (view.name, view.level));
        let enrolled = shelf.roll.all(|device| device.tenant == tenant && device.id == id);
        enrolled.into_iter().next().map(|device| (device.name.clone(), device.level)).or_else(of_configured)
    }

    async fn add(&self, permit: &Permit<Administer>, new: NewDevice) -> Result<DeviceView, DeskError> {
        let permit: Permit<Administer> = permit.clone();
        self.change(move |shelf| async move { shelf.add(&permit, new).await }).await
    }

    async fn revoke(&self, permit: &Permit<Administer>, id: ReceiverId) -> Result<(), DeskError> {
        let permit: Permit<Administer> = permit.clone();
        self.change(move |shelf| async move { shelf.revoke(&permit, id).await }).await
    }

    async fn bound(
        &self,
        permit: &Permit<Administer>,
        id: ReceiverId,
        new: NewBounds,
    ) -> Result<DeviceView, DeskError> {
        let permit: Permit<Administer> = permit.clone();
        self.change(move |shelf| async move { shelf.bound(&permit, id, new).await }).await
    }

    async fn certify(
        &self,
        permit: &Permit<Administer>,
        id: ReceiverId,
        request: CertificateRequest,
    ) -> Result<Certified, DeskError> {
        let permit: Permit<Administer> = permit.clone();
        self.change(move |shelf| async move { shelf.certify(&permit, id, &request).await }).await
    }
}

impl Shelf {
    async fn add(&self, permit: &Permit<Administer>, new: NewDevice) -> Result<DeviceView, DeskError> {
        let (tenant, now) = (self.tenant(permit)?, SystemClock.now());
        let id = ReceiverId::random(&SystemEntropy);
        let Wanted { mut device, certificate, fingerprint } =
            Wanted::parse(new, id, tenant.id, now, self.open_devices)?;
        device.keys.extend(shown_key(certificate.as_deref(), fingerprint, now)?);
        self.has_room_for(&device)?;
        if let Some(port) = device.port {
            self.doors()?.open(port).await?;
        }
        match self.write(permit, &device, EnrolmentChange::Added, Expected::Absent).await {
            Ok(()) => Ok(device.view(now, |key| self.roll.seen(key))),
            Err(error) => {
                self.close_if_unused(device.port).await;
                Err(error)
            }
        }
    }

    /// Whether a device differs from all others.
    fn has_room_for(&self, new: &Enrolment) -> Result<(), DeskError> {
        let conflict = |code, sentence: String| Err(DeskError::new(Fault::Conflict, code, sentence));
        if self.roll.all(|device| device.tenant == new.tenant).len() >= MAX_DEVICES {
            return conflict(
                "too-many",
                format!("A tenant has at most {MAX_DEVICES} devices, the revoked ones included."),
            );
        }
        let ours = |device: &Enrolment| device.tenant == new.tenant;
        if self.roll.find(|device| ours(device) && device.name == new.name).is_some()
            || self.configured.iter().any(|device| device.name == new.name)
        {
            return conflict("name-taken", format!("There is a device called {} already.", new.name));
        }
        if let Some(key) = new.keys.first() {
            self.is_free(&key.sha256, new.id)?;
        }
        if let Some(port) = new.port
            && self.roll.find(|device| device.port == Some(port)).is_some()
        {
            return conflict("port-taken", format!("Port {port} is another device's own."));
        }
        let twin = |device: &Enrolment| {
            ours(device)
                && !device.level.wants_certificate()
                && (&device.aet, device.address.rule, device.port) == (&new.aet, new.address.rule, new.port)
        };
        if let Some(twin) = self.roll.find(twin).filter(|_| !new.level.wants_certificate()) {
            return conflict("twin", format!("{} has the same title and address already.", twin.device.name));
        }
        Ok(())
    }

    /// A key names one device of one tenant, for ever: a revoked one does not come back under another name, a replaced
    /// one under none.
    fn is_free(&self, sha256: &[u8; 32], id: ReceiverId) -> Result<(), DeskError> {
        if self.roll.is_free(sha256, id) {
            return Ok(());
        }
        let sentence = "This key is another device's, or was one's before it was replaced. Make a new one.";
        Err(DeskError::new(Fault::Conflict, "key-taken", sentence))
    }

    async fn revoke(&self, permit: &Permit<Administer>, id: ReceiverId) -> Result<(), DeskError> {
        let entry = self.roll.by_id(permit.tenant(), id).ok_or_else(DeskError::missing)?;
        let mut device = entry.device;
        if device.revoked.is_some() {
            return Ok(());
        }
        device.revoked = Some(SystemClock.now());
        self.write(permit, &device, EnrolmentChange::Revoked, Expected::Version(entry.version)).await?;
        self.close_if_unused(device.port).await;
        Ok(())
    }

    async fn bound(
        &self,
        permit: &Permit<Administer>,
        id: ReceiverId,
        new: NewBounds,
    ) -> Result<DeviceView, DeskError> {
        let entry = self.roll.by_id(permit.tenant(), id).filter(|entry| entry.device.revoked.is_none());
        let Entry { mut device, version, .. } = entry.ok_or_else(DeskError::missing)?;
        device.bounds = Bounds { most_bytes: new.most_bytes, most_an_hour: new.most_an_hour };
        device.bounds.check()?;
        self.write(permit, &device, EnrolmentChange::Bounded, Expected::Version(version)).await?;
        if new.learn {
            self.habits.forget(device.tenant, id).await?;
        }
        let view = device.view(SystemClock.now(), |key| self.roll.seen(key));
        Ok(DeviceView { usual: self.habits.usual(device.tenant, id), ..view })
    }

    async fn certify(
        &self,
        permit: &Permit<Administer>,
        id: ReceiverId,
        request: &CertificateRequest,
    ) -> Result<Certified, DeskError> {
        let (tenant, now) = (self.tenant(permit)?, SystemClock.now());
        let entry = self.roll.by_id(tenant.id, id).filter(|entry| entry.device.revoked.is_none());
        let Entry { mut device, version, .. } = entry.ok_or_else(DeskError::missing)?;
        if !device.level.wants_certificate() {
            let sentence = "A device of level 0 or 1 has no use for a certificate: revoke it and enrol it with one.";
            return Err(bad("level-key", sentence));
        }
        let mut issued = tenant.authorities.issue(&device.name, &request.csr, now, &SystemEntropy).await?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&issued.sha256, &mut sha256).expect("it was written as 64 digits");
        self.is_free(&sha256, id)?;
        device.bind(BoundKey { sha256, ends: Some(UnixMillis(issued.ends_ms)), own: true }, request.replace);
        self.write(permit, &device, EnrolmentChange::Certified, Expected::Version(version)).await?;
        issued.server_authority = self.server_authority.clone();
        Ok(issued)
    }

    /// The entry first, then the record, then the roll.
    async fn write(
        &self,
        permit: &Permit<Administer>,
        device: &Enrolment,
        change: EnrolmentChange,
        expected: Expected,
    ) -> Result<(), DeskError> {
        let records = &self.tenant(permit)?.records;
        self.engine.record_enrolment(permit, device.id, &device.name, change).await.map_err(|error| {
            tracing::error!(%error, "a change of a device could not be recorded");
            DeskError::new(error.fault(), "audit", "The change could not be recorded, so it was not made.")
        })?;
        let value = Zeroizing::new(device.encode());
        let written = records.put(Table::Devices, device.id.as_bytes(), value, expected).await;
        let version = written.map_err(|error| unreadable(&error))?;
        self.roll.put(Entry::new(device.clone(), version));
        tracing::info!(device = device.name, level = %device.level, "{}: {}", device.name, change.as_str());
        Ok(())
    }

    fn tenant(&self, permit: &Permit<Administer>) -> Result<&Tenant, DeskError> {
        self.tenants.iter().find(|tenant| tenant.id == permit.tenant()).ok_or_else(DeskError::missing)
    }

    fn doors(&self) -> Result<&Doors, DeskError> {
        self.doors.get().ok_or_else(|| DeskError::new(Fault::Busy, "starting", "The vault is starting."))
    }

    async fn close_if_unused(&self, port: Option<u16>) {
        let used = |port| self.roll.find(|device| device.port == Some(port)).is_some();
        if let (Some(port), Some(doors)) = (port.filter(|port| !used(*port)), self.doors.get()) {
            doors.close(port).await;
        }
    }

    fn publish(&self) {
        let now = SystemClock.now();
        let devices = self.roll.all(|device| device.revoked.is_none());
        for level in EnrolmentLevel::ALL {
            let count = u32::try_from(devices.iter().filter(|device| device.level == level).count());
            metrics::gauge!("leadglass_devices", "level" => level.as_str()).set(count.unwrap_or(u32::MAX));
        }
        let first = devices.iter().filter_map(|device| days_left(device, &self.roll, now)).min();
        if let Some(days) = first.and_then(|days| i32::try_from(days).ok()) {
            metrics::gauge!("leadglass_device_certificate_days_left").set(days);
        }
    }
}

/// Days until the last of a device's certificates ends.
fn days_left(device: &Enrolment, roll: &Roll, now: UnixMillis) -> Option<i64> {
    let ends = device.keys.iter().filter_map(|key| roll.seen(&key.sha256).max(key.ends)).max()?;
    Some(days_between(now, ends))
}

/// The key that a person named.
fn shown_key(
    certificate: Option<&str>,
    fingerprint: Option<[u8; 32]>,
    now: UnixMillis,
) -> Result<Option<BoundKey>, DeskError> {
    let Some(pem) = certificate else {
        return Ok(fingerprint.map(|sha256| BoundKey { sha256, ends: None, own: false }));
    };
    let no = || bad("certificate", "The certificate does not read: PEM, the device's own first.");
    let shown = x509::shown_pem(pem).ok_or_else(no)?;
    if shown.ends <= now {
        return Err(bad("certificate", "The certificate has ended."));
    }
    if fingerprint.is_some_and(|sha256| sha256 != shown.sha256) {
        return Err(bad("fingerprint", "The fingerprint is not that of the certificate's key."));
    }
    Ok(Some(BoundKey { sha256: shown.sha256, ends: Some(shown.ends), own: false }))
}

fn view_of_configured(device: &Device) -> DeviceView {
    let (key, anywhere) = (&device.fingerprint, device.address == "any" || device.address.ends_with("/0"));
    let level = match (key, anywhere) {
        (Some(_), _) => EnrolmentLevel::Certificate,
        (None, true) => EnrolmentLevel::Open,
        (None, false) => EnrolmentLevel::Address,
    };
    let key =
        |sha256: &String| DeviceKey { sha256: sha256.clone(), ends_ms: None, days_left: None, issued_by: "other" };
    DeviceView {
        id: device.id,
        name: device.name.clone(),
        level,
        level_number: level.number(),
        aet: Some(device.aet.clone()).filter(|aet| aet != "*"),
        address: device.address.clone(),
        called: None,
        port: None,
        sop_classes: Vec::new(),
        transfer_syntaxes: Vec::new(),
        most_bytes: None,
        most_an_hour: None,
        usual: None,
        keys: device.fingerprint.iter().map(key).collect(),
        enrolled_ms: None,
        revoked_ms: None,
        source: "configuration",
    }
}

async fn read_all(records: &TenantRecords) -> anyhow::Result<Vec<Entry>> {
    let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = records.scan(Table::Devices, after.as_deref(), PAGE).await.context("devices cannot be read")?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.key.clone());
        for record in page {
            let device = Enrolment::decode(records.tenant(), &record.key, record.value.expose());
            let device = device.context("a device's record is in a form that this version does not know")?;
            all.push(Entry::new(device, record.version));
        }
    }
}

/// Devices of one tenant, revoked ones included.
const MAX_DEVICES: usize = 4_096;
const PAGE: usize = 256;
/// A modality's service technician does not come tomorrow.
pub const SOON_DAYS: i64 = 30;
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
