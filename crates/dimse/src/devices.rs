//! Who may open an association: the question this crate asks, and the rule for addresses.

use crate::{AeTitle, HandshakeFailure, UidRule, VERIFICATION};
use async_trait::async_trait;
use leadglass_model::{EnrolmentLevel, ReceiverId, TenantId};
use std::{net::IpAddr, str::FromStr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// What is known of a peer when it asks for an association.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whom it calls.
    pub called_ae: AeTitle,
    /// Who it says it is.
    pub calling_ae: AeTitle,
    /// Where it connects from.
    pub address: IpAddr,
    /// The port it connected to: an installation may give each tenant its own.
    pub local_port: u16,
    /// The certificate it proved to hold in the TLS handshake, DER; none on a plain port.
    pub certificate: Option<Arc<[u8]>>,
}

/// A peer that is known.
#[derive(Debug, Clone)]
pub struct DeviceDecision {
    /// The tenant whose instances it brings.
    pub tenant: TenantId,
    /// The device, in provenance records and audit entries.
    pub receiver: ReceiverId,
    /// The device's name as it was enrolled; it may stand in logs.
    pub label: Arc<str>,
    /// What the device had to show.
    pub level: EnrolmentLevel,
    /// What it may send; the rest is refused presentation context by presentation context.
    pub allowed: Arc<Allowed>,
    /// Cancelled when the enrolment ends: the association is aborted then, in the middle of an instance too.
    pub enrolment: CancellationToken,
}

impl DeviceDecision {
    /// A device that may send everything the services take, for as long as it likes.
    pub fn new(tenant: TenantId, receiver: ReceiverId, label: Arc<str>, level: EnrolmentLevel) -> Self {
        Self { tenant, receiver, label, level, allowed: Arc::default(), enrolment: CancellationToken::new() }
    }
}

/// What one device may send: fixed when it is enrolled, so that a stolen name brings no other kind of object in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// SOP classes; empty: all that are stored.
    pub sop_classes: Vec<UidRule>,
    /// Transfer syntaxes; empty: all that are stored.
    pub transfer_syntaxes: Vec<UidRule>,
}

impl Allowed {
    /// Whether a context with this abstract syntax may be accepted. Verification always may.
    pub fn class(&self, uid: &str) -> bool {
        uid == VERIFICATION || self.sop_classes.is_empty() || self.sop_classes.iter().any(|rule| rule.matches(uid))
    }

    /// Whether a context for `class` may use this transfer syntax.
    pub fn transfer_syntax(&self, class: &str, uid: &str) -> bool {
        class == VERIFICATION
            || self.transfer_syntaxes.is_empty()
            || self.transfer_syntaxes.iter().any(|rule| rule.matches(uid))
    }
}

/// Why a peer is turned away; each has its A-ASSOCIATE-RJ (PS3.8 §9.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceRefusal {
    /// Nobody here has that title.
    #[error("the called AE title is not recognised")]
    CalledUnknown,
    /// Nobody with that title, address and certificate is enrolled. Which of the three was wrong is not told.
    #[error("the calling AE title is not recognised")]
    CallingUnknown,
    /// It cannot be decided now; trying again later may help.
    #[error("devices cannot be looked up now")]
    Unavailable,
}

/// Answers whether a peer is enrolled. Given by the program.
#[async_trait]
pub trait Devices: Send + Sync + 'static {
    /// Decides on one caller. It runs inside the negotiation deadline and may be dropped there.
    async fn decide(&self, caller: &Caller) -> Result<DeviceDecision, DeviceRefusal>;

    /// Hears of a peer whose TLS handshake failed: nobody can decide about it, and somebody may want to know. It must
    /// not wait.
    fn handshake_failed(&self, _address: IpAddr, _local_port: u16, _failure: HandshakeFailure) {}
}

/// Which addresses a device may connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRule {
    /// From anywhere.
    Any,
    /// From this machine.
    Loopback,
    /// From a network: the address with its first `prefix` bits.
    Net {
        /// Any address of the network.
        address: IpAddr,
        /// How many leading bits must agree: up to 32 for IPv4, 128 for IPv6.
        prefix: u8,
    },
}

/// Why a text is not an address rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address rule is `any`, `loopback`, an address, or a network such as 192.0.2.0/24")]
pub struct AddressRuleError;

impl AddressRule {
    /// Whether the rule lets `address` in. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match *self {
            Self::Any => true,
            Self::Loopback => address.is_loopback(),
            Self::Net { address: net, prefix } => match (net.to_canonical(), address) {
                (IpAddr::V4(net), IpAddr::V4(a)) => {
                    let shift = 32u32.saturating_sub(prefix.into());
                    (net.to_bits() ^ a.to_bits()).checked_shr(shift).unwrap_or(0) == 0
                }
                (IpAddr::V6(net), IpAddr::V6(a)) => {
                    let shift = 128u32.saturating_sub(prefix.into());
                    (net.to_bits() ^ a.to_bits()).checked_shr(shift).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }
}

impl FromStr for AddressRule {
    type Err = AddressRuleError;

    fn from_str(text: &str) -> Result<Self, AddressRuleError> {
        match text {
            "any" => return Ok(Self::Any),
            "loopback" => return Ok(Self::Loopback),
            _ => {}
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| AddressRuleError)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| AddressRuleError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(AddressRuleError);
        }
        Ok(Self::Net { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_admits_its_addresses_and_no_others() {
        let admits = |rule: &str, address: &str| rule.parse::<AddressRule>().unwrap().admits(address.parse().unwrap());
        assert!(admits("any", "198.51.100.7"));
        assert!(admits("loopback", "127.0.0.3") && admits("loopback", "::1"));
        assert!(admits("loopback", "::ffff:127.0.0.1"));
        assert!(!admits("loopback", "192.0.2.1"));
        assert!(admits("192.0.2.0/24", "192.0.2.255") && !admits("192.0.2.0/24", "192.0.3.0"));
        assert!(admits("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(admits("192.0.2.5", "192.0.2.5") && !admits("192.0.2.5", "192.0.2.4"));
        assert!(admits("0.0.0.0/0", "203.0.113.1") && !admits("0.0.0.0/0", "2001:db8::1"));
        assert!(admits("2001:db8::/33", "2001:db8:7fff::1") && !admits("2001:db8::/33", "2001:db8:8000::1"));
        assert!(admits("::/0", "2001:db8::1"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["", "Any", "192.0.2.0/33", "::/129", "192.0.2/24", "192.0.2.0/", "host.example"] {
            assert_eq!(bad.parse::<AddressRule>(), Err(AddressRuleError), "{bad}");
        }
    }
}
