//! What each device usually sends, and what it may send at most.
//!
//! A title and an address can be forged, and a modality can be taken over: neither reads anything, but it could flood the vault. What
//! somebody set for a device is refused beyond. What nobody set is learnt in the device's first fortnight; beyond that it is stored
//! all the same, since a lost image harms a patient, and somebody is told.

use super::{authority::unreadable, enrolment::Bounds, roll::Roll};
use anyhow::Context;
use leadglass_model::{Clock, ReceiverId, TenantId, UnixMillis};
use leadglass_records::{Expected, Table, TenantRecords};
use leadglass_web::{DeskError, DeviceUsual};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// What was seen of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Usual {
    /// When it sent its first instance; it is learnt for a fortnight from then on.
    since: UnixMillis,
    /// Bytes of the largest instance.
    largest: u64,
    /// Instances in the busiest hour.
    busiest: u32,
}

#[derive(Debug)]
struct Habit {
    usual: Usual,
    /// The hour since 1970, and instances in it.
    hour: u64,
    count: u32,
    /// Somebody was told in this hour.
    told: bool,
    /// The row is not what this says.
    unsaved: bool,
}

/// All devices' habits.
pub struct Habits {
    records: Vec<TenantRecords>,
    roll: Arc<Roll>,
    clock: Arc<dyn Clock>,
    devices: Mutex<HashMap<(TenantId, ReceiverId), Habit>>,
    /// Whoever writes rows holds it, so that what was forgotten is not written again.
    writing: tokio::sync::Mutex<()>,
}

/// One instance on its way. Whatever does not arrive, for whosever fault, is no instance and gives its place in the hour back.
pub struct Turn {
    /// It may have no more bytes.
    pub most_bytes: u64,
    habits: Arc<Habits>,
    device: (TenantId, ReceiverId),
    hour: u64,
    has_arrived: bool,
}

/// The device sent as many instances in this hour as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Habits {
    /// Reads what was learnt. `configured`: devices that do not stand on the roll.
    pub async fn open(
        records: Vec<TenantRecords>,
        roll: Arc<Roll>,
        configured: &[ReceiverId],
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let mut devices = HashMap::new();
        for records in &records {
            let tenant = records.tenant();
            let enrolled = roll.all(|device| device.tenant == tenant).into_iter().map(|device| device.id);
            for id in enrolled.chain(configured.iter().copied()) {
                let row = records.get(Table::Settings, &key(id)).await.context("what devices send cannot be read")?;
                if let Some(usual) = row.and_then(|row| serde_json::from_slice(row.value.expose()).ok()) {
                    devices.insert((tenant, id), Habit::of(usual));
                }
            }
        }
        let (devices, writing) = (Mutex::new(devices), tokio::sync::Mutex::default());
        Ok(Self { records, roll, clock, devices, writing })
    }

    /// A device begins one more instance.
    pub fn begin(self: &Arc<Self>, tenant: TenantId, device: ReceiverId) -> Result<Turn, TooMany> {
        let bounds = self.roll.bounds(tenant, device);
        let now = self.clock.now();
        let hour = {
            let mut devices = self.devices.lock();
            let habit = devices.entry((tenant, device)).or_insert_with(|| Habit::of(Usual::begun(now)));
            habit.begin(bounds, now)?;
            habit.hour
        };
        let most_bytes = bounds.most_bytes.unwrap_or(u64::MAX);
        Ok(Turn { most_bytes, habits: self.clone(), device: (tenant, device), hour, has_arrived: false })
    }

    /// What is known of a device; `None` before its first instance.
    pub fn usual(&self, tenant: TenantId, device: ReceiverId) -> Option<DeviceUsual> {
        let now = self.clock.now();
        self.devices.lock().get(&(tenant, device)).map(|Habit { usual, .. }| DeviceUsual {
            since_ms: usual.since.0,
            learning: usual.is_learning(now),
            largest_bytes: usual.largest,
            busiest_hour: usual.busiest,
        })
    }

    /// Learns a device anew: from its next instance on.
    pub async fn forget(&self, tenant: TenantId, device: ReceiverId) -> Result<(), DeskError> {
        let _turn = self.writing.lock().await;
        self.devices.lock().remove(&(tenant, device));
        let Some(records) = self.records.iter().find(|records| records.tenant() == tenant) else { return Ok(()) };
        let gone = records.delete(Table::Settings, &key(device)).await;
        gone.map(drop).map_err(|error| unreadable(&error))
    }

    /// Writes what was learnt, now and then and at `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let stopped = tokio::time::timeout(KEPT_EVERY, stop.cancelled()).await.is_ok();
            self.settle().await;
            if stopped {
                return;
            }
        }
    }

    async fn settle(&self) {
        let _turn = self.writing.lock().await;
        let mut unsaved = Vec::new();
        for (name, habit) in &mut *self.devices.lock() {
            if std::mem::take(&mut habit.unsaved) {
                unsaved.push((*name, habit.usual));
            }
        }
        for ((tenant, device), usual) in unsaved {
            let Some(records) = self.records.iter().find(|records| records.tenant() == tenant) else { continue };
            let value = Zeroizing::new(serde_json::to_vec(&usual).expect("numbers write as JSON"));
            if let Err(error) = records.put(Table::Settings, &key(device), value, Expected::Anything).await {
                tracing::warn!(%error, "what a device usually sends could not be kept");
                if let Some(habit) = self.devices.lock().get_mut(&(tenant, device)) {
                    habit.unsaved = true;
                }
            }
        }
    }
}

impl std::fmt::Debug for Habits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Habits")
    }
}

impl Usual {
    const fn begun(since: UnixMillis) -> Self {
        Self { since, largest: 0, busiest: 0 }
    }

    fn is_learning(&self, now: UnixMillis) -> bool {
        now < self.since.plus_secs(LEARNT_FOR_SECONDS)
    }
}

impl Habit {
    const fn of(usual: Usual) -> Self {
        Self { usual, hour: 0, count: 0, told: false, unsaved: false }
    }

    /// One more instance takes its place in the hour.
    fn begin(&mut self, bounds: Bounds, now: UnixMillis) -> Result<(), TooMany> {
        let hour = now.0 / HOUR_MS;
        if self.hour != hour {
            (self.hour, self.count, self.told) = (hour, 0, false);
        }
        if bounds.most_an_hour.is_some_and(|most| self.count >= most) {
            return Err(TooMany);
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// It arrived. `true`: it, or their number, is unusual, and nobody was told in this hour.
    fn arrived(&mut self, bytes: u64, bounds: Bounds, now: UnixMillis) -> bool {
        let Usual { largest, busiest, .. } = self.usual;
        if self.usual.is_learning(now) {
            (self.usual.largest, self.usual.busiest) = (largest.max(bytes), busiest.max(self.count));
            self.unsaved |= (self.usual.largest, self.usual.busiest) != (largest, busiest);
            return false;
        }
        let many = bounds.most_an_hour.is_none() && self.count > busiest.saturating_mul(TIMES).max(NEVER_MANY);
        let large = bounds.most_bytes.is_none() && bytes > largest.saturating_mul(TIMES.into()).max(NEVER_LARGE);
        (many || large) && !std::mem::replace(&mut self.told, true)
    }
}

impl Turn {
    /// Whose it is.
    pub const fn device(&self) -> (TenantId, ReceiverId) {
        self.device
    }

    /// The instance is stored. `true`: it is more than usual, and somebody has to be told.
    pub fn arrived(mut self, bytes: u64) -> bool {
        self.has_arrived = true;
        let bounds = self.habits.roll.bounds(self.device.0, self.device.1);
        let now = self.habits.clock.now();
        self.habits.devices.lock().get_mut(&self.device).is_some_and(|habit| habit.arrived(bytes, bounds, now))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_arrived
            && let Some(habit) = self.habits.devices.lock().get_mut(&self.device)
            && habit.hour == self.hour
        {
            habit.count = habit.count.saturating_sub(1);
        }
    }
}

/// Where it lies among a tenant's settings.
fn key(device: ReceiverId) -> Vec<u8> {
    [b"device-usual:", &device.as_bytes()[..]].concat()
}

/// A device is learnt from its first instance on.
const LEARNT_FOR_SECONDS: u64 = 14 * 24 * 60 * 60;
/// So many times the usual is unusual.
const TIMES: u32 = 4;
/// Instances in an hour that are never too many.
const NEVER_MANY: u32 = 200;
/// Bytes of an instance that are never too large.
const NEVER_LARGE: u64 = 32 << 20;
const HOUR_MS: u64 = 3_600_000;
const KEPT_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{
        super::{enrolment::Wanted, roll::Entry},
        *,
    };
    use leadglass_model::{EnrolmentLevel, MockClock, SystemEntropy};
    use leadglass_records::{RecordKey, Records};
    use leadglass_web::NewDevice;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const CT: ReceiverId = ReceiverId::from_bytes([2; 16]);
    const START: UnixMillis = UnixMillis(1_790_000_000_000);
    const FORTNIGHT: u64 = 14 * 86_400;

    struct House {
        records: TenantRecords,
        clock: Arc<MockClock>,
        roll: Arc<Roll>,
        _dir: tempfile::TempDir,
    }

    fn house(bounds: Bounds) -> House {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(MockClock::at(START));
        let records = Records::open(&dir.path().join("records.redb"), clock.clone(), Arc::new(SystemEntropy)).unwrap();
        let records = records.tenant(TENANT, RecordKey::from_bytes([3; 32]));
        let new = NewDevice {
            most_bytes: bounds.most_bytes,
            most_an_hour: bounds.most_an_hour,
            ..NewDevice::named("ct", EnrolmentLevel::Certificate)
        };
        let roll = Arc::new(Roll::default());
        roll.put(Entry::new(Wanted::parse(new, CT, TENANT, START, false).unwrap().device, 1));
        House { records, clock, roll, _dir: dir }
    }

    impl House {
        async fn habits(&self) -> Arc<Habits> {
            let habits = Habits::open(vec![self.records.clone()], self.roll.clone(), &[], self.clock.clone()).await;
            Arc::new(habits.unwrap())
        }
    }

    /// How many of these instances somebody is told of.
    fn send(habits: &Arc<Habits>, number: u32, bytes: u64) -> usize {
        (0..number).filter(|_| habits.begin(TENANT, CT).unwrap().arrived(bytes)).count()
    }

    #[tokio::test]
    async fn a_device_is_learnt_for_a_fortnight_and_then_told_of_once_an_hour() {
        let house = house(Bounds::default());
        let habits = house.habits().await;
        assert_eq!(habits.usual(TENANT, CT), None);
        assert_eq!(send(&habits, 100, 50 << 20), 0, "nothing is unusual while it is learnt");
        house.clock.advance_secs(FORTNIGHT - 1);
        assert!(habits.usual(TENANT, CT).unwrap().learning);
        house.clock.advance_secs(1);
        let usual = habits.usual(TENANT, CT).unwrap();
        assert_eq!((usual.learning, usual.largest_bytes, usual.busiest_hour), (false, 50 << 20, 100));
        assert_eq!(send(&habits, 400, 200 << 20), 0, "four times as much");
        assert_eq!(send(&habits, 200, 1), 1);
        assert_eq!(send(&habits, 1, 300 << 20), 0, "once an hour");
        house.clock.advance_secs(3_600);
        assert_eq!(send(&habits, 1, (200 << 20) + 1), 1);

        habits.settle().await;
        let again = house.habits().await;
        assert_eq!(again.usual(TENANT, CT), Some(usual), "it outlives a restart");
        again.forget(TENANT, CT).await.unwrap();
        assert_eq!((again.usual(TENANT, CT), house.habits().await.usual(TENANT, CT)), (None, None));
        assert_eq!(send(&again, 1_000, 1 << 30), 0, "it is learnt anew");
    }

    #[tokio::test]
    async fn a_little_is_never_unusual() {
        let house = house(Bounds::default());
        let habits = house.habits().await;
        assert_eq!(send(&habits, 1, 1), 0);
        house.clock.advance_secs(FORTNIGHT);
        assert_eq!(send(&habits, NEVER_MANY, NEVER_LARGE), 0);
        assert_eq!(send(&habits, 1, 1), 1);
    }

    #[tokio::test]
    async fn what_somebody_set_is_refused_beyond_and_told_of_by_nobody_else() {
        let house = house(Bounds { most_bytes: Some(1 << 30), most_an_hour: Some(300) });
        let habits = house.habits().await;
        assert_eq!(send(&habits, 1, 1), 0);
        house.clock.advance_secs(FORTNIGHT);
        assert_eq!(send(&habits, 300, 1 << 30), 0, "the bounds were set by somebody who knows the device");
        assert!(habits.begin(TENANT, CT).is_err());
        house.clock.advance_secs(3_600);
        assert_eq!(habits.begin(TENANT, CT).unwrap().most_bytes, 1 << 30);
    }

    /// A sender that is told to come again, because the vault is full, does not lose its hour by that.
    #[tokio::test]
    async fn what_did_not_arrive_gives_its_place_back_within_its_hour() {
        let house = house(Bounds { most_an_hour: Some(2), ..Bounds::default() });
        let habits = house.habits().await;
        for _ in 0..5 {
            drop(habits.begin(TENANT, CT).unwrap());
        }
        assert_eq!(habits.usual(TENANT, CT).unwrap().busiest_hour, 0, "nothing arrived");
        let under_way = [habits.begin(TENANT, CT).unwrap(), habits.begin(TENANT, CT).unwrap()];
        assert!(habits.begin(TENANT, CT).is_err(), "what is under way counts");
        house.clock.advance_secs(3_600);
        assert_eq!(send(&habits, 1, 1), 0);
        drop(under_way);
        assert_eq!(send(&habits, 1, 1), 0);
        assert!(habits.begin(TENANT, CT).is_err(), "those of the hour before give nothing back in this one");
    }
}
