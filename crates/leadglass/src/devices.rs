//! Devices as the configuration lists them: title, address, tenant.

use crate::config::Config;
use anyhow::Context;
use async_trait::async_trait;
use leadglass_dimse::{AddressRule, AeTitle, Caller, DeviceDecision, DeviceRefusal, Devices};
use leadglass_model::{ReceiverId, TenantId};
use std::sync::Arc;

/// The enrolled devices, and whose AE title is whose.
#[derive(Debug)]
pub struct Enrolled {
    tenants: Vec<(AeTitle, TenantId)>,
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    label: Arc<str>,
    receiver: ReceiverId,
    aet: Option<AeTitle>,
    address: AddressRule,
    tenants: Vec<TenantId>,
}

impl Enrolled {
    /// Reads a configuration that was checked.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let title = |aet: &str| aet.parse::<AeTitle>().with_context(|| format!("AE title {aet:?}"));
        let mut tenants = Vec::new();
        for tenant in &config.tenants {
            for aet in &tenant.aets {
                tenants.push((title(aet)?, tenant.id));
            }
        }
        let device = |device: &crate::config::Device| {
            Ok(Device {
                label: device.name.as_str().into(),
                receiver: device.id,
                aet: if device.aet == "*" { None } else { Some(title(&device.aet)?) },
                address: device.address.parse().with_context(|| format!("device {}", device.name))?,
                tenants: device.tenants.clone(),
            })
        };
        let devices = config.devices.iter().map(device).collect::<anyhow::Result<_>>()?;
        Ok(Self { tenants, devices })
    }
}

#[async_trait]
impl Devices for Enrolled {
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal> {
        let called = self.tenants.iter().find(|(aet, _)| *aet == caller.called_ae);
        let (_, tenant) = called.ok_or(DeviceRefusal::CalledUnknown)?;
        let device = self.devices.iter().find(|device| {
            device.aet.as_ref().is_none_or(|aet| *aet == caller.calling_ae)
                && device.address.admits(caller.address)
                && (device.tenants.is_empty() || device.tenants.contains(tenant))
        });
        let device = device.ok_or(DeviceRefusal::CallingUnknown)?;
        Ok(DeviceDecision { tenant: *tenant, receiver: device.receiver, label: device.label.clone() })
    }
}
