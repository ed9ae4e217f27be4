//! Devices as the configuration lists them: title, address, tenant.

use crate::config::Config;
use anyhow::Context;
use async_trait::async_trait;
use leadglass_dimse::{AddressRule, AeTitle, Caller, DeviceDecision, DeviceRefusal, Devices};
use leadglass_model::{EnrolmentLevel, ReceiverId, TenantId};
use std::sync::Arc;

/// The enrolled devices, and whose AE title is whose.
#[derive(Debug)]
pub struct Enrolled {
    tenants: Vec<(AeTitle, TenantId)>,
    /// Ports that name the tenant by themselves.
    ports: Vec<(u16, TenantId)>,
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
    /// Reads a configuration that was checked. `ports` are the bound ports of single tenants.
    pub fn of(config: &Config, ports: Vec<(u16, TenantId)>) -> anyhow::Result<Self> {
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
        Ok(Self { tenants, ports, devices })
    }
}

#[async_trait]
impl Devices for Enrolled {
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal> {
        let by_port = self.ports.iter().find(|(port, _)| *port == caller.local_port).map(|(_, tenant)| tenant);
        let by_title = || self.tenants.iter().find(|(aet, _)| *aet == caller.called_ae).map(|(_, tenant)| tenant);
        let tenant = by_port.or_else(by_title).ok_or(DeviceRefusal::CalledUnknown)?;
        let device = self.devices.iter().find(|device| {
            device.aet.as_ref().is_none_or(|aet| *aet == caller.calling_ae)
                && device.address.admits(caller.address)
                && (device.tenants.is_empty() || device.tenants.contains(tenant))
        });
        let device = device.ok_or(DeviceRefusal::CallingUnknown)?;
        Ok(DeviceDecision::new(*tenant, device.receiver, device.label.clone(), EnrolmentLevel::Address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLED: TenantId = TenantId::from_bytes([1; 16]);
    const PORTED: TenantId = TenantId::from_bytes([2; 16]);

    fn enrolled() -> Enrolled {
        let device = |name: &str, aet: Option<&str>, address: &str, tenants| Device {
            label: name.into(),
            receiver: ReceiverId::from_bytes([9; 16]),
            aet: aet.map(|aet| aet.parse().unwrap()),
            address: address.parse().unwrap(),
            tenants,
        };
        Enrolled {
            tenants: vec![("LEADGLASS".parse().unwrap(), TITLED)],
            ports: vec![(11113, PORTED)],
            devices: vec![
                device("panoramic", Some("PANO"), "10.0.0.0/8", vec![]),
                device("sensor", None, "192.0.2.7", vec![PORTED]),
            ],
        }
    }

    async fn ask(
        called: &str,
        calling: &str,
        address: &str,
        local_port: u16,
    ) -> Result<(TenantId, String), DeviceRefusal> {
        let caller = Caller {
            called_ae: called.parse().unwrap(),
            calling_ae: calling.parse().unwrap(),
            address: address.parse().unwrap(),
            local_port,
            certificate: None,
        };
        enrolled().decide(&caller).await.map(|found| (found.tenant, found.label.to_string()))
    }

    #[tokio::test]
    async fn the_called_title_or_the_port_names_the_tenant() {
        let panoramic = |tenant| Ok((tenant, "panoramic".to_owned()));
        assert_eq!(ask("LEADGLASS", "PANO", "10.1.2.3", 11112).await, panoramic(TITLED));
        assert_eq!(ask("ANYTHING", "PANO", "10.1.2.3", 11113).await, panoramic(PORTED));
        assert_eq!(ask("LEADGLASS", "PANO", "10.1.2.3", 11113).await, panoramic(PORTED), "the port comes first");
        assert_eq!(ask("ANYTHING", "PANO", "10.1.2.3", 11112).await, Err(DeviceRefusal::CalledUnknown));
    }

    #[tokio::test]
    async fn title_address_and_tenant_of_a_device_must_all_fit() {
        assert_eq!(ask("LEADGLASS", "PANO", "192.0.2.7", 11112).await, Err(DeviceRefusal::CallingUnknown));
        assert_eq!(ask("LEADGLASS", "OTHER", "10.1.2.3", 11112).await, Err(DeviceRefusal::CallingUnknown));
        assert_eq!(ask("LEADGLASS", "ANY", "192.0.2.7", 11112).await, Err(DeviceRefusal::CallingUnknown));
        assert_eq!(ask("X", "ANY", "192.0.2.7", 11113).await, Ok((PORTED, "sensor".to_owned())));
    }
}
