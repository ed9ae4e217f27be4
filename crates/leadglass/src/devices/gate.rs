//! The gate: decides about every association that is asked for.
//!
//! Who shows a certificate is the device that its key is bound to, whatever it calls itself; who shows none is known by
//! title, address and port together. The tenant is the one whose title is called or whose port it is. A peer hears which
//! title was wrong and nothing finer; the audit log hears the reason.

use super::{
    enrolment::{Enrolment, parse_fingerprint},
    roll::{Entry, Roll},
    x509,
};
use crate::config::Config;
use anyhow::Context;
use async_trait::async_trait;
use leadglass_dimse::{AddressRule, AeTitle, Caller, DeviceDecision, DeviceRefusal, Devices, HandshakeFailure};
use leadglass_engine::{Refusals, Refused};
use leadglass_model::{ActorRef, EnrolmentLevel, Phi, ReceiverId, TenantId};
use std::{net::IpAddr, sync::Arc};

/// Decides who may open an association, and has it recorded when somebody may not.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    refusals: Refusals,
}

/// Titles, ports and devices.
#[derive(Debug)]
pub struct Rules {
    /// Whose AE title is whose.
    tenants: Vec<(AeTitle, TenantId)>,
    /// Ports that name the tenant by themselves.
    ports: Vec<(u16, TenantId)>,
    /// Devices of the configuration file.
    configured: Vec<Configured>,
    /// Devices of the records.
    roll: Arc<Roll>,
}

/// A device of the configuration file.
#[derive(Debug, Clone)]
pub struct Configured {
    label: Arc<str>,
    receiver: ReceiverId,
    aet: Option<AeTitle>,
    address: AddressRule,
    /// The key it must prove.
    key: Option<[u8; 32]>,
    tenants: Vec<TenantId>,
}

/// Why somebody is turned away: what the peer is told, and what the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turned {
    answer: DeviceRefusal,
    reason: &'static str,
    tenant: Option<TenantId>,
    device: Option<ReceiverId>,
}

impl Turned {
    const fn calling(reason: &'static str) -> Self {
        Self { answer: DeviceRefusal::CallingUnknown, reason, tenant: None, device: None }
    }

    const fn called(reason: &'static str) -> Self {
        Self { answer: DeviceRefusal::CalledUnknown, reason, tenant: None, device: None }
    }

    const fn of(self, device: &Enrolment) -> Self {
        Self { tenant: Some(device.tenant), device: Some(device.id), ..self }
    }

    const fn at(self, tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..self }
    }
}

impl Gate {
    /// A gate whose refusals go to the audit log.
    pub const fn new(rules: Rules, refusals: Refusals) -> Self {
        Self { rules, refusals }
    }
}

#[async_trait]
impl Devices for Gate {
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal> {
        self.rules.judge(caller).map_err(|turned| {
            self.refusals.note(Refused {
                tenant: turned.tenant,
                actor: turned.device.map(|device| ActorRef(*device.as_bytes())),
                address: caller.address,
                calling: Phi::new(caller.calling_ae.as_str().to_owned()),
                reason: turned.reason,
            });
            turned.answer
        })
    }

    fn handshake_failed(&self, address: IpAddr, local_port: u16, failure: HandshakeFailure) {
        let tenant = self.rules.tenant_of_port(local_port);
        let calling = Phi::new(String::new());
        self.refusals.note(Refused { tenant, actor: None, address, calling, reason: failure.word() });
    }
}

impl Rules {
    /// Reads a configuration that was checked. `ports` are the bound ports of single tenants.
    pub fn of(config: &Config, ports: Vec<(u16, TenantId)>, roll: Arc<Roll>) -> anyhow::Result<Self> {
        let title = |aet: &str| aet.parse::<AeTitle>().with_context(|| format!("AE title {aet:?}"));
        let mut tenants = Vec::new();
        for tenant in &config.tenants {
            for aet in &tenant.aets {
                tenants.push((title(aet)?, tenant.id));
            }
        }
        let device = |device: &crate::config::Device| {
            Ok(Configured {
                label: device.name.as_str().into(),
                receiver: device.id,
                aet: if device.aet == "*" { None } else { Some(title(&device.aet)?) },
                address: device.address.parse().with_context(|| format!("device {}", device.name))?,
                key: device.fingerprint.as_deref().map(parse_fingerprint).transpose()?,
                tenants: device.tenants.clone(),
            })
        };
        let configured = config.devices.iter().map(device).collect::<anyhow::Result<_>>()?;
        Ok(Self { tenants, ports, configured, roll })
    }

    fn judge(&self, caller: &Caller) -> Result<DeviceDecision, Turned> {
        match &caller.certificate {
            Some(certificate) => self.by_certificate(caller, certificate),
            None => self.by_address(caller),
        }
    }

    fn by_certificate(&self, caller: &Caller, certificate: &[u8]) -> Result<DeviceDecision, Turned> {
        let shown = x509::shown(certificate).ok_or(Turned::calling("certificate-bad"))?;
        let Some(entry) = self.roll.by_key(&shown.sha256) else {
            let tenant = self.tenant(caller)?;
            let device =
                self.configured.iter().find(|device| device.key == Some(shown.sha256) && device.is_for(tenant));
            let device = device.ok_or(Turned::calling("certificate-unbound").at(tenant))?;
            return device.admit(caller, tenant).map_err(|turned| turned.at(tenant));
        };
        let device = &entry.device;
        if device.revoked.is_some() {
            return Err(Turned::calling("device-revoked").of(device));
        }
        if self.tenant(caller).map_err(|turned| turned.of(device))? != device.tenant {
            return Err(Turned::called("called-ae-wrong").of(device));
        }
        fits(device, caller).map_err(|turned| turned.of(device))?;
        self.roll.saw(shown.sha256, shown.ends);
        Ok(entry.decision())
    }

    fn by_address(&self, caller: &Caller) -> Result<DeviceDecision, Turned> {
        let port = caller.local_port;
        let own_port = self.roll.find(|device| device.port == Some(port)).map(|entry| entry.device.tenant);
        let tenant = match own_port {
            Some(tenant) => tenant,
            None => self.tenant(caller)?,
        };
        let port = own_port.map(|_| port);
        let here =
            |device: &Enrolment| device.tenant == tenant && device.port == port && !device.level.wants_certificate();
        if let Some(entry) = self.roll.find(|device| here(device) && fits(device, caller).is_ok()) {
            return Ok(entry.decision());
        }
        if own_port.is_none() {
            let mine = self.configured.iter().filter(|device| device.key.is_none() && device.is_for(tenant));
            if let Some(decision) = mine.filter_map(|device| device.admit(caller, tenant).ok()).next() {
                return Ok(decision);
            }
        }
        Err(self.why_not(caller, tenant, here).at(tenant))
    }

    /// The finest reason that can be told for a caller whom no device fits.
    fn why_not(&self, caller: &Caller, tenant: TenantId, here: impl Fn(&Enrolment) -> bool) -> Turned {
        let named = |device: &Enrolment| device.tenant == tenant && device.aet.as_ref() == Some(&caller.calling_ae);
        let nearly = self.roll.find(|device| here(device) && named(device));
        if let Some(entry) = nearly {
            let why = fits(&entry.device, caller).err();
            return why.unwrap_or(Turned::calling("ae-unknown")).of(&entry.device);
        }
        if let Some(entry) = self.roll.find(named) {
            let wants_certificate = entry.device.level.wants_certificate();
            return Turned::calling(if wants_certificate { "no-certificate" } else { "port-wrong" }).of(&entry.device);
        }
        if let Some(entry) = self.roll.find_revoked(named) {
            return Turned::calling("device-revoked").of(&entry.device);
        }
        let mut mine = self.configured.iter().filter(|device| device.is_for(tenant));
        let titled = |device: &Configured| device.aet.as_ref().is_none_or(|aet| *aet == caller.calling_ae);
        if mine.any(|device| titled(device) && !device.address.admits(caller.address)) {
            return Turned::calling("address-wrong");
        }
        Turned::calling("ae-unknown")
    }

    /// Whom a caller means.
    fn tenant(&self, caller: &Caller) -> Result<TenantId, Turned> {
        let by_title = || self.tenants.iter().find(|(aet, _)| *aet == caller.called_ae).map(|(_, tenant)| *tenant);
        self.tenant_of_port(caller.local_port).or_else(by_title).ok_or(Turned::called("called-ae-unknown"))
    }

    fn tenant_of_port(&self, local_port: u16) -> Option<TenantId> {
        self.ports.iter().find(|(port, _)| *port == local_port).map(|(_, tenant)| *tenant)
    }
}

/// Whether a device may call so, from there.
fn fits(device: &Enrolment, caller: &Caller) -> Result<(), Turned> {
    if device.aet.as_ref().is_some_and(|aet| *aet != caller.calling_ae) {
        return Err(Turned::calling("ae-wrong"));
    }
    if !device.address.rule.admits(caller.address) {
        return Err(Turned::calling("address-wrong"));
    }
    if device.called.as_ref().is_some_and(|aet| *aet != caller.called_ae) {
        return Err(Turned::called("called-ae-wrong"));
    }
    Ok(())
}

impl Entry {
    fn decision(self) -> DeviceDecision {
        let Self { device, enrolment, .. } = self;
        DeviceDecision {
            tenant: device.tenant,
            receiver: device.id,
            label: device.name.into(),
            level: device.level,
            allowed: Arc::new(device.allowed.rules),
            enrolment,
        }
    }
}

impl Configured {
    fn is_for(&self, tenant: TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.contains(&tenant)
    }

    fn admit(&self, caller: &Caller, tenant: TenantId) -> Result<DeviceDecision, Turned> {
        if self.aet.as_ref().is_some_and(|aet| *aet != caller.calling_ae) {
            return Err(Turned::calling("ae-wrong"));
        }
        if !self.address.admits(caller.address) {
            return Err(Turned::calling("address-wrong"));
        }
        Ok(DeviceDecision::new(tenant, self.receiver, self.label.clone(), self.level()))
    }

    /// What it has to show, as far as the file says.
    fn level(&self) -> EnrolmentLevel {
        match (self.key, self.address) {
            (Some(_), _) => EnrolmentLevel::Certificate,
            (None, AddressRule::Any | AddressRule::Net { prefix: 0, .. }) => EnrolmentLevel::Open,
            (None, _) => EnrolmentLevel::Address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::enrolment::{BoundKey, Wanted};
    use super::*;
    use leadglass_model::UnixMillis;
    use leadglass_web::NewDevice;

    const TITLED: TenantId = TenantId::from_bytes([1; 16]);
    const PORTED: TenantId = TenantId::from_bytes([2; 16]);
    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn configured(name: &str, aet: Option<&str>, address: &str, tenants: Vec<TenantId>) -> Configured {
        Configured {
            label: name.into(),
            receiver: ReceiverId::from_bytes([9; 16]),
            aet: aet.map(|aet| aet.parse().unwrap()),
            address: address.parse().unwrap(),
            key: None,
            tenants,
        }
    }

    fn rules(configured: Vec<Configured>) -> Rules {
        let tenants = vec![("LEADGLASS".parse().unwrap(), TITLED), ("OTHER".parse().unwrap(), PORTED)];
        Rules { tenants, ports: vec![(11113, PORTED)], configured, roll: Arc::default() }
    }

    /// Enrols a device in the first tenant; its id is made of its name.
    fn enrol(rules: &Rules, level: EnrolmentLevel, new: NewDevice, key: Option<[u8; 32]>) -> Enrolment {
        let mut id = [0; 16];
        id[..new.name.len()].copy_from_slice(new.name.as_bytes());
        let new = NewDevice { level, ..new };
        let mut device = Wanted::parse(new, ReceiverId::from_bytes(id), TITLED, NOW, true).unwrap().device;
        device.keys.extend(key.map(|sha256| BoundKey { sha256, ends: None, own: true }));
        rules.roll.put(Entry::new(device.clone(), 1));
        device
    }

    fn named(name: &str) -> NewDevice {
        NewDevice {
            aet: Some("CT1".into()),
            address: Some("10.0.0.7".into()),
            ..NewDevice::named(name, EnrolmentLevel::Address)
        }
    }

    fn caller(called: &str, calling: &str, address: &str, local_port: u16) -> Caller {
        Caller {
            called_ae: called.parse().unwrap(),
            calling_ae: calling.parse().unwrap(),
            address: address.parse().unwrap(),
            local_port,
            certificate: None,
        }
    }

    fn ask(rules: &Rules, caller: &Caller) -> Result<(TenantId, String), &'static str> {
        rules.judge(caller).map(|found| (found.tenant, found.label.to_string())).map_err(|turned| turned.reason)
    }

    fn certificate() -> (Arc<[u8]>, [u8; 32]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        let sha256 = x509::shown(&der).unwrap().sha256;
        (der.into(), sha256)
    }

    #[test]
    fn the_called_title_or_the_port_names_the_tenant() {
        let rules = rules(vec![configured("panoramic", Some("PANO"), "10.0.0.0/8", vec![])]);
        let ask = |called, port| ask(&rules, &caller(called, "PANO", "10.1.2.3", port));
        let panoramic = |tenant| Ok((tenant, "panoramic".to_owned()));
        assert_eq!(ask("LEADGLASS", 11112), panoramic(TITLED));
        assert_eq!(ask("ANYTHING", 11113), panoramic(PORTED));
        assert_eq!(ask("LEADGLASS", 11113), panoramic(PORTED), "the port comes first");
        assert_eq!(ask("ANYTHING", 11112), Err("called-ae-unknown"));
    }

    #[test]
    fn title_address_and_tenant_of_a_device_in_the_file_must_all_fit() {
        let rules = rules(vec![
            configured("panoramic", Some("PANO"), "10.0.0.0/8", vec![]),
            configured("sensor", None, "192.0.2.7", vec![PORTED]),
        ]);
        let ask = |called, calling, address, port| ask(&rules, &caller(called, calling, address, port));
        assert_eq!(ask("LEADGLASS", "PANO", "192.0.2.7", 11112), Err("address-wrong"));
        assert_eq!(ask("LEADGLASS", "OTHER", "10.1.2.3", 11112), Err("ae-unknown"));
        assert_eq!(ask("LEADGLASS", "ANY", "192.0.2.7", 11112), Err("ae-unknown"));
        assert_eq!(ask("X", "ANY", "192.0.2.7", 11113), Ok((PORTED, "sensor".to_owned())));
    }

    #[test]
    fn an_enrolled_device_is_known_by_title_address_and_called_title_together() {
        let rules = rules(vec![]);
        enrol(&rules, EnrolmentLevel::Address, NewDevice { called: Some("LEADGLASS".into()), ..named("ct") }, None);
        let ask = |called, calling, address| ask(&rules, &caller(called, calling, address, 11112));
        assert_eq!(ask("LEADGLASS", "CT1", "10.0.0.7"), Ok((TITLED, "ct".to_owned())));
        assert_eq!(ask("LEADGLASS", "CT1", "10.0.0.8"), Err("address-wrong"));
        assert_eq!(ask("LEADGLASS", "CT2", "10.0.0.7"), Err("ae-unknown"));
        assert_eq!(ask("OTHER", "CT1", "10.0.0.7"), Err("ae-unknown"), "it belongs to one tenant");
        assert_eq!(ask("NOBODY", "CT1", "10.0.0.7"), Err("called-ae-unknown"));
    }

    #[test]
    fn a_port_of_its_own_is_for_its_device_alone() {
        let rules = rules(vec![configured("anybody", None, "any", vec![])]);
        enrol(&rules, EnrolmentLevel::Address, NewDevice { port: Some(11120), ..named("sensor") }, None);
        let ask = |called, calling, port| ask(&rules, &caller(called, calling, "10.0.0.7", port));
        assert_eq!(ask("WHATEVER", "CT1", 11120), Ok((TITLED, "sensor".to_owned())));
        assert_eq!(ask("LEADGLASS", "CT2", 11120), Err("ae-unknown"), "devices of the file stay outside");
        assert_eq!(ask("LEADGLASS", "CT2", 11112), Ok((TITLED, "anybody".to_owned())));
        let alone = self::rules(vec![]);
        enrol(&alone, EnrolmentLevel::Address, NewDevice { port: Some(11120), ..named("sensor") }, None);
        assert_eq!(self::ask(&alone, &caller("LEADGLASS", "CT1", "10.0.0.7", 11112)), Err("port-wrong"));
    }

    #[test]
    fn a_key_names_its_device_and_the_title_is_a_label_unless_it_was_pinned() {
        let rules = rules(vec![configured("anybody", None, "any", vec![])]);
        let (der, sha256) = certificate();
        let free = NewDevice { aet: None, address: None, ..named("free") };
        enrol(&rules, EnrolmentLevel::Certificate, free, Some(sha256));
        let (pinned_der, pinned) = certificate();
        enrol(&rules, EnrolmentLevel::Certificate, named("pinned"), Some(pinned));
        let ask = |certificate: &Arc<[u8]>, called, calling, address| {
            let caller = Caller { certificate: Some(certificate.clone()), ..caller(called, calling, address, 2762) };
            ask(&rules, &caller)
        };
        assert_eq!(ask(&der, "LEADGLASS", "ANY", "203.0.113.9"), Ok((TITLED, "free".to_owned())));
        assert_eq!(ask(&der, "OTHER", "ANY", "203.0.113.9"), Err("called-ae-wrong"));
        assert_eq!(ask(&der, "NOBODY", "ANY", "203.0.113.9"), Err("called-ae-unknown"));
        assert_eq!(ask(&pinned_der, "LEADGLASS", "CT1", "10.0.0.7"), Ok((TITLED, "pinned".to_owned())));
        assert_eq!(ask(&pinned_der, "LEADGLASS", "CT2", "10.0.0.7"), Err("ae-wrong"));
        assert_eq!(ask(&pinned_der, "LEADGLASS", "CT1", "10.0.0.8"), Err("address-wrong"));
        let (stranger, _) = certificate();
        assert_eq!(ask(&stranger, "LEADGLASS", "CT1", "10.0.0.7"), Err("certificate-unbound"));
        assert_eq!(ask(&Arc::from(&b"none"[..]), "LEADGLASS", "CT1", "10.0.0.7"), Err("certificate-bad"));
    }

    #[test]
    fn a_device_with_a_key_does_not_get_in_without_it() {
        let rules = rules(vec![]);
        enrol(&rules, EnrolmentLevel::Certificate, named("ct"), Some([7; 32]));
        assert_eq!(ask(&rules, &caller("LEADGLASS", "CT1", "10.0.0.7", 11112)), Err("no-certificate"));
    }

    #[test]
    fn a_revoked_device_is_refused_and_its_associations_end() {
        let rules = rules(vec![]);
        let (der, sha256) = certificate();
        let mut device = enrol(&rules, EnrolmentLevel::Certificate, named("ct"), Some(sha256));
        let caller = Caller { certificate: Some(der), ..caller("LEADGLASS", "CT1", "10.0.0.7", 2762) };
        let decision = rules.judge(&caller).unwrap();
        assert!(!decision.enrolment.is_cancelled());
        device.revoked = Some(NOW);
        rules.roll.put(Entry::new(device, 2));
        assert!(decision.enrolment.is_cancelled());
        assert_eq!(ask(&rules, &caller), Err("device-revoked"));
        assert_eq!(ask(&rules, &Caller { certificate: None, ..caller }), Err("device-revoked"));
    }

    #[test]
    fn a_second_key_leaves_associations_alone_and_a_lost_one_ends_them() {
        let rules = rules(vec![]);
        let (der, sha256) = certificate();
        let mut device = enrol(&rules, EnrolmentLevel::Certificate, named("ct"), Some(sha256));
        let caller = Caller { certificate: Some(der), ..caller("LEADGLASS", "CT1", "10.0.0.7", 2762) };
        let decision = rules.judge(&caller).unwrap();
        device.keys.push(BoundKey { sha256: [8; 32], ends: None, own: true });
        rules.roll.put(Entry::new(device.clone(), 2));
        assert!(!decision.enrolment.is_cancelled());
        device.keys.remove(0);
        rules.roll.put(Entry::new(device, 3));
        assert!(decision.enrolment.is_cancelled());
        assert_eq!(ask(&rules, &caller), Err("certificate-unbound"));
    }

    #[test]
    fn a_replaced_key_is_good_for_nobody() {
        let rules = rules(vec![]);
        let (der, sha256) = certificate();
        let mut device = enrol(&rules, EnrolmentLevel::Certificate, named("ct"), Some(sha256));
        let (own, other) = (device.id, ReceiverId::from_bytes([9; 16]));
        let free = |id| rules.roll.is_free(&sha256, id);
        assert_eq!((free(own), free(other)), (true, false));
        device.bind(BoundKey { sha256: [8; 32], ends: None, own: true }, true);
        rules.roll.put(Entry::new(device, 2));
        assert_eq!((free(own), free(other)), (false, false));
        let caller = Caller { certificate: Some(der), ..caller("LEADGLASS", "CT1", "10.0.0.7", 2762) };
        assert_eq!(ask(&rules, &caller), Err("certificate-unbound"));
    }
}
