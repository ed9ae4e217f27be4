//! One enrolled device: what it is let in by, what it may send, which keys it proves.
//!
//! It lies in the vault's records as JSON, sealed under its tenant's record key; its random id is the record's key.

use leadglass_dimse::{AddressRule, AeTitle, Allowed, UidRule};
use leadglass_model::{EnrolmentLevel, ReceiverId, TenantId, UnixMillis};
use leadglass_web::{DeskError, DeviceKey, DeviceView, NewDevice};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A device of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its random name, in provenance records and audit entries.
    pub id: ReceiverId,
    /// Whose instances it brings.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// What it has to show.
    pub level: EnrolmentLevel,
    /// The title it must call itself; `None`: any.
    pub aet: Option<AeTitle>,
    /// Where it must come from.
    pub address: Address,
    /// The title it must call; `None`: one of its tenant's.
    pub called: Option<AeTitle>,
    /// The port that is its own; `None`: the common ones.
    pub port: Option<u16>,
    /// What it may send.
    pub allowed: Pins,
    /// How much it may send at most.
    pub bounds: Bounds,
    /// The keys it may prove, the newest last.
    pub keys: Vec<BoundKey>,
    /// Hashes of keys that it proved once and that others took the place of, the latest last. They are good for nobody.
    pub past_keys: Vec<[u8; 32]>,
    /// When it was enrolled.
    pub enrolled: UnixMillis,
    /// When that ended.
    pub revoked: Option<UnixMillis>,
}

/// An address rule with its text, as a person wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// For people.
    pub text: String,
    /// For callers.
    pub rule: AddressRule,
}

/// What a device may send, with its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// SOP classes, as written.
    pub sop_classes: Vec<String>,
    /// Transfer syntaxes, as written.
    pub transfer_syntaxes: Vec<String>,
    /// Both, for the negotiation.
    pub rules: Allowed,
}

/// The most that somebody lets a device send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Bytes of one instance's data set.
    pub most_bytes: Option<u64>,
    /// Instances within one hour of the clock.
    pub most_an_hour: Option<u32>,
}

/// A public key that a device is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundKey {
    /// SHA-256 of its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    #[serde(with = "digits")]
    pub sha256: [u8; 32],
    /// When its certificate ends, if a certificate was shown.
    pub ends: Option<UnixMillis>,
    /// Whether the vault's own authority issued that certificate.
    pub own: bool,
}

impl Address {
    fn parse(text: &str) -> Result<Self, DeskError> {
        let rule = text.parse().map_err(|error| bad("address", format!("{text:?}: {error}.")))?;
        Ok(Self { text: text.to_owned(), rule })
    }

    /// Whether it says nothing: every address of a family fits.
    pub fn is_anywhere(&self) -> bool {
        matches!(self.rule, AddressRule::Any | AddressRule::Net { prefix: 0, .. })
    }
}

impl Pins {
    fn parse(sop_classes: Vec<String>, transfer_syntaxes: Vec<String>) -> Result<Self, DeskError> {
        if sop_classes.len() > MAX_PINS || transfer_syntaxes.len() > MAX_PINS {
            return Err(bad("pins", format!("A device has at most {MAX_PINS} SOP classes and transfer syntaxes.")));
        }
        let rules = |texts: &[String]| -> Result<Vec<UidRule>, DeskError> {
            let rule = |text: &String| UidRule::from_str(text).map_err(|e| bad("uid", format!("{text:?}: {e}.")));
            texts.iter().map(rule).collect()
        };
        let rules = Allowed { sop_classes: rules(&sop_classes)?, transfer_syntaxes: rules(&transfer_syntaxes)? };
        Ok(Self { sop_classes, transfer_syntaxes, rules })
    }
}

/// Everything a person says about a device, checked.
pub struct Wanted {
    /// The device, without keys.
    pub device: Enrolment,
    /// The certificate that was shown, PEM.
    pub certificate: Option<String>,
    /// The hash of a key that was named.
    pub fingerprint: Option<[u8; 32]>,
}

impl Wanted {
    /// Checks a request. `open` allows level 0.
    pub fn parse(
        new: NewDevice,
        id: ReceiverId,
        tenant: TenantId,
        now: UnixMillis,
        open: bool,
    ) -> Result<Self, DeskError> {
        let NewDevice { name, level, aet, address, called, port, certificate, fingerprint, .. } = new;
        check_name(&name)?;
        let title = |text: Option<String>| -> Result<Option<AeTitle>, DeskError> {
            let parse = |text: String| text.parse().map_err(|e| bad("ae-title", format!("{text:?}: {e}.")));
            text.filter(|text| text != "*").map(parse).transpose()
        };
        let (aet, called) = (title(aet)?, title(called)?);
        let address = Address::parse(address.as_deref().unwrap_or("any"))?;
        if level.wants_certificate() && port.is_some() {
            return Err(bad("port", "A port of its own is for devices without TLS; the key names this one."));
        }
        match level {
            EnrolmentLevel::Open if !open => {
                return Err(bad(
                    "level-open",
                    "Level 0 lets anybody in who can type. Set dicom.open_devices = true if that is what you want.",
                ));
            }
            EnrolmentLevel::Address if aet.is_none() || address.is_anywhere() => {
                return Err(bad("level-address", "Level 1 needs both: the AE title and the address it comes from."));
            }
            EnrolmentLevel::SideCar if aet.is_none() => {
                return Err(bad("level-side-car", "Level 2 needs the AE title of the device behind the relay."));
            }
            _ => {}
        }
        if !level.wants_certificate() && (certificate.is_some() || fingerprint.is_some()) {
            return Err(bad("level-key", "A device with a certificate is of level 2 or 3."));
        }
        if port == Some(0) {
            return Err(bad("port", "Port 0 is none."));
        }
        let fingerprint = fingerprint.as_deref().map(parse_fingerprint).transpose()?;
        let allowed = Pins::parse(new.sop_classes, new.transfer_syntaxes)?;
        let bounds = Bounds { most_bytes: new.most_bytes, most_an_hour: new.most_an_hour };
        bounds.check()?;
        let keys = Vec::new();
        let device = Enrolment {
            id,
            tenant,
            name,
            level,
            aet,
            address,
            called,
            port,
            allowed,
            bounds,
            keys,
            past_keys: Vec::new(),
            enrolled: now,
            revoked: None,
        };
        Ok(Self { device, certificate, fingerprint })
    }
}

impl Bounds {
    /// Zero would be a device that sends nothing.
    pub fn check(&self) -> Result<(), DeskError> {
        if self.most_bytes == Some(0) || self.most_an_hour == Some(0) {
            return Err(bad("bounds", "A device that may send nothing is one to be revoked: bounds begin at 1."));
        }
        Ok(())
    }
}

/// 64 hexadecimal digits, with or without colons.
pub fn parse_fingerprint(text: &str) -> Result<[u8; 32], DeskError> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| {
        bad("fingerprint", "A fingerprint is the SHA-256 of the public key (SubjectPublicKeyInfo, DER): 64 digits.")
    })?;
    Ok(bytes)
}

fn check_name(name: &str) -> Result<(), DeskError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(bad("name", "A device's name is 1 to 48 letters, digits, `-`, `_` and `.`, such as room-3-panoramic."))
}

pub(super) fn bad(code: &'static str, sentence: impl Into<String>) -> DeskError {
    DeskError::new(leadglass_model::Fault::BadInput, code, sentence)
}

impl Enrolment {
    /// Binds a key; with `replace` it is the only one. Keys that are good no longer are remembered.
    pub fn bind(&mut self, key: BoundKey, replace: bool) {
        self.keys.retain(|bound| bound.sha256 != key.sha256);
        // The newest and the one before it: the modality works until somebody has put the new one in.
        let good = if replace { 0 } else { KEYS - 1 };
        let gone = self.keys.drain(..self.keys.len().saturating_sub(good)).map(|bound| bound.sha256);
        self.past_keys.extend(gone);
        let forgotten = self.past_keys.len().saturating_sub(MAX_PAST_KEYS);
        self.past_keys.drain(..forgotten);
        self.keys.push(key);
    }

    /// For the list.
    pub fn view(&self, now: UnixMillis, seen: impl Fn(&[u8; 32]) -> Option<UnixMillis>) -> DeviceView {
        let key = |key: &BoundKey| {
            // A renewed certificate over the same key keeps its binding; its end is known once it was shown.
            let ends = seen(&key.sha256).max(key.ends);
            DeviceKey {
                sha256: hex::encode(key.sha256),
                ends_ms: ends.map(|ends| ends.0),
                days_left: ends.map(|ends| days_between(now, ends)),
                issued_by: if key.own { "vault" } else { "other" },
            }
        };
        DeviceView {
            id: self.id,
            name: self.name.clone(),
            level: self.level,
            level_number: self.level.number(),
            aet: self.aet.as_ref().map(|aet| aet.as_str().to_owned()),
            address: self.address.text.clone(),
            called: self.called.as_ref().map(|aet| aet.as_str().to_owned()),
            port: self.port,
            sop_classes: self.allowed.sop_classes.clone(),
            transfer_syntaxes: self.allowed.transfer_syntaxes.clone(),
            most_bytes: self.bounds.most_bytes,
            most_an_hour: self.bounds.most_an_hour,
            usual: None,
            keys: self.keys.iter().map(key).collect(),
            enrolled_ms: Some(self.enrolled.0),
            revoked_ms: self.revoked.map(|at| at.0),
            source: "records",
        }
    }

    /// The record's value.
    pub fn encode(&self) -> Vec<u8> {
        let title = |aet: &Option<AeTitle>| aet.as_ref().map(|aet| aet.as_str().to_owned());
        let row = Row {
            name: self.name.clone(),
            level: self.level,
            aet: title(&self.aet),
            address: self.address.text.clone(),
            called: title(&self.called),
            port: self.port,
            sop_classes: self.allowed.sop_classes.clone(),
            transfer_syntaxes: self.allowed.transfer_syntaxes.clone(),
            most_bytes: self.bounds.most_bytes,
            most_an_hour: self.bounds.most_an_hour,
            keys: self.keys.clone(),
            past_keys: self.past_keys.iter().copied().map(Digest).collect(),
            enrolled: self.enrolled,
            revoked: self.revoked,
        };
        serde_json::to_vec(&row).expect("texts and numbers write as JSON")
    }

    /// Reads a record back; `None` when it is of a form that this version does not know.
    pub fn decode(tenant: TenantId, key: &[u8], value: &[u8]) -> Option<Self> {
        let id = ReceiverId::from_bytes(key.try_into().ok()?);
        let row: Row = serde_json::from_slice(value).ok()?;
        let title = |text: Option<String>| text.map(|text| text.parse::<AeTitle>()).transpose().ok();
        Some(Self {
            id,
            tenant,
            name: row.name,
            level: row.level,
            aet: title(row.aet)?,
            address: Address::parse(&row.address).ok()?,
            called: title(row.called)?,
            port: row.port,
            allowed: Pins::parse(row.sop_classes, row.transfer_syntaxes).ok()?,
            bounds: Bounds { most_bytes: row.most_bytes, most_an_hour: row.most_an_hour },
            keys: row.keys,
            past_keys: row.past_keys.into_iter().map(|Digest(sha256)| sha256).collect(),
            enrolled: row.enrolled,
            revoked: row.revoked,
        })
    }
}

/// Whole days from `now` to `then`; negative when it is past.
pub fn days_between(now: UnixMillis, then: UnixMillis) -> i64 {
    let millis = i128::from(then.0) - i128::from(now.0);
    i64::try_from(millis.div_euclid(MILLIS_A_DAY)).unwrap_or(i64::MAX)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    level: EnrolmentLevel,
    aet: Option<String>,
    address: String,
    called: Option<String>,
    port: Option<u16>,
    sop_classes: Vec<String>,
    transfer_syntaxes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    most_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    most_an_hour: Option<u32>,
    keys: Vec<BoundKey>,
    /// Records of before there was this field do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past_keys: Vec<Digest>,
    enrolled: UnixMillis,
    revoked: Option<UnixMillis>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Digest(#[serde(with = "digits")] [u8; 32]);

/// 32 bytes as hexadecimal digits.
mod digits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

/// Keys that are good for one device at one time.
const KEYS: usize = 2;
/// Replaced keys that are remembered of one device: a year's each, for a lifetime.
const MAX_PAST_KEYS: usize = 64;
const MAX_NAME: usize = 48;
const MAX_PINS: usize = 64;
const MILLIS_A_DAY: i128 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn parse(new: NewDevice) -> Result<Enrolment, DeskError> {
        let (id, tenant) = (ReceiverId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        Wanted::parse(new, id, tenant, NOW, false).map(|wanted| wanted.device)
    }

    fn of_level(level: EnrolmentLevel) -> NewDevice {
        NewDevice { aet: Some("CT1".into()), address: Some("10.0.0.7".into()), ..NewDevice::named("ct", level) }
    }

    #[test]
    fn each_level_wants_what_makes_it_one() {
        use EnrolmentLevel::{Address, Certificate, Open, SideCar};
        let code = |new: NewDevice| parse(new).map(|_| "").unwrap_or_else(|e| e.code);
        assert_eq!(code(of_level(Address)), "");
        assert_eq!(code(NewDevice { aet: None, ..of_level(Address) }), "level-address");
        assert_eq!(code(NewDevice { aet: Some("*".into()), ..of_level(Address) }), "level-address");
        for anywhere in ["any", "0.0.0.0/0", "::/0"] {
            assert_eq!(code(NewDevice { address: Some(anywhere.into()), ..of_level(Address) }), "level-address");
        }
        assert_eq!(code(NewDevice { fingerprint: Some("00".into()), ..of_level(Address) }), "level-key");
        assert_eq!(code(of_level(Open)), "level-open");
        assert_eq!(code(NewDevice { aet: None, ..of_level(SideCar) }), "level-side-car");
        assert_eq!(code(NewDevice { aet: None, address: None, ..of_level(Certificate) }), "");
        assert_eq!(code(NewDevice { port: Some(11113), ..of_level(Certificate) }), "port");
        assert_eq!(code(NewDevice { name: "room 3".into(), ..of_level(Address) }), "name");
        assert_eq!(code(NewDevice { sop_classes: vec!["CT".into()], ..of_level(Address) }), "uid");
    }

    #[test]
    fn a_device_comes_back_from_its_record() {
        let mut device = parse(NewDevice {
            called: Some("LEADGLASS".into()),
            port: Some(11113),
            sop_classes: vec!["1.2.840.10008.5.1.4.1.1.2".into()],
            transfer_syntaxes: vec!["1.2.840.10008.1.2.4.*".into()],
            ..of_level(EnrolmentLevel::Address)
        })
        .unwrap();
        device.keys.push(BoundKey { sha256: [7; 32], ends: Some(NOW), own: true });
        let value = device.encode();
        assert!(!String::from_utf8_lossy(&value).contains("past_keys"), "a record as it was before there were any");
        assert_eq!(Enrolment::decode(device.tenant, device.id.as_bytes(), &value), Some(device.clone()));
        device.past_keys = vec![[6; 32], [5; 32]];
        device.revoked = Some(NOW);
        let value = device.encode();
        assert_eq!(Enrolment::decode(device.tenant, device.id.as_bytes(), &value), Some(device));
        assert_eq!(Enrolment::decode(TenantId::from_bytes([2; 16]), &[1; 15], &value), None);
    }

    #[test]
    fn keys_that_others_took_the_place_of_are_remembered() {
        let mut device = parse(of_level(EnrolmentLevel::Certificate)).unwrap();
        let key = |n: u8| BoundKey { sha256: [n; 32], ends: Some(NOW), own: true };
        let bound = |device: &Enrolment| device.keys.iter().map(|key| key.sha256[0]).collect::<Vec<_>>();
        let past = |device: &Enrolment| device.past_keys.iter().map(|sha256| sha256[0]).collect::<Vec<_>>();
        for n in 1..=3 {
            device.bind(key(n), false);
        }
        assert_eq!((bound(&device), past(&device)), (vec![2, 3], vec![1]));
        // Another certificate over a key that it has takes nothing from it.
        device.bind(key(2), false);
        assert_eq!((bound(&device), past(&device)), (vec![3, 2], vec![1]));
        device.bind(key(4), true);
        assert_eq!((bound(&device), past(&device)), (vec![4], vec![1, 3, 2]));
        device.bind(key(4), true);
        assert_eq!((bound(&device), past(&device)), (vec![4], vec![1, 3, 2]));
        for n in 5..=100 {
            device.bind(key(n), false);
        }
        assert_eq!(bound(&device), [99, 100]);
        assert_eq!(past(&device), (35..=98).collect::<Vec<_>>(), "the latest 64");
    }

    #[test]
    fn a_fingerprint_may_have_colons() {
        let colons = vec!["ab"; 32].join(":");
        assert_eq!(parse_fingerprint(&colons).unwrap(), [0xab; 32]);
        assert!(parse_fingerprint(&"ab".repeat(31)).is_err() && parse_fingerprint("xyz").is_err());
    }

    #[test]
    fn days_are_whole_and_may_be_past() {
        assert_eq!(days_between(NOW, NOW.plus_secs(86_400 * 3 - 1)), 2);
        assert_eq!(days_between(NOW.plus_secs(1), NOW), -1);
    }
}
