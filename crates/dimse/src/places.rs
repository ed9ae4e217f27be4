//! Who sits where: the counts behind the association limits.

use crate::{Limits, limits::WAITING_ROOM};
use leadglass_model::ReceiverId;
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, net::IpAddr, sync::Arc};

/// All places of one listener.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    seats: usize,
    waiting: usize,
    by_address: HashMap<IpAddr, usize>,
    by_device: HashMap<ReceiverId, usize>,
}

/// A connection's place, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    kind: Kind,
    device: Option<ReceiverId>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Seat(IpAddr),
    Waiting,
}

impl Places {
    /// A seat when there is one; else a place in the waiting room, from where a connection is only turned away; `None`
    /// when that is full too.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Place> {
        let address = bucket(address);
        let most = if address.is_loopback() { limits.associations_per_loopback_ip } else { limits.associations_per_ip };
        let mut taken = self.0.lock();
        let kind = if taken.seats < limits.associations && count(&taken.by_address, &address) < most {
            taken.seats += 1;
            *taken.by_address.entry(address).or_default() += 1;
            Kind::Seat(address)
        } else if taken.waiting < WAITING_ROOM {
            taken.waiting += 1;
            Kind::Waiting
        } else {
            return None;
        };
        Some(Place { places: Arc::clone(self), kind, device: None })
    }
}

impl Place {
    /// Whether the connection may become an association.
    pub(crate) fn is_seat(&self) -> bool {
        matches!(self.kind, Kind::Seat(_))
    }

    /// Counts the connection for its device; false when the device has all it may have.
    pub(crate) fn sit_for(&mut self, device: ReceiverId, limits: &Limits) -> bool {
        let mut taken = self.places.0.lock();
        if self.device.is_some() || count(&taken.by_device, &device) >= limits.associations_per_ae {
            return false;
        }
        *taken.by_device.entry(device).or_default() += 1;
        self.device = Some(device);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        match self.kind {
            Kind::Seat(address) => {
                taken.seats = taken.seats.saturating_sub(1);
                give_back(&mut taken.by_address, address);
            }
            Kind::Waiting => taken.waiting = taken.waiting.saturating_sub(1),
        }
        if let Some(device) = self.device {
            give_back(&mut taken.by_device, device);
        }
    }
}

/// One household counts once: an IPv6 host owns its /64.
fn bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        other => other,
    }
}

fn count<K: Hash + Eq>(map: &HashMap<K, usize>, key: &K) -> usize {
    map.get(key).copied().unwrap_or(0)
}

fn give_back<K: Hash + Eq>(map: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = map.entry(key) {
        *entry.get_mut() = entry.get().saturating_sub(1);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_then_the_waiting_room_then_the_street() {
        let places = Arc::new(Places::default());
        let limits = Limits { associations: 3, associations_per_ip: 2, ..Limits::default() };
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let first = places.enter(address(1), &limits).unwrap();
        let second = places.enter(address(1), &limits).unwrap();
        assert!(first.is_seat() && second.is_seat());
        assert!(!places.enter(address(1), &limits).unwrap().is_seat(), "two from one address");
        let third = places.enter(address(2), &limits).unwrap();
        assert!(third.is_seat());
        let waiting: Vec<_> = (0..WAITING_ROOM).map(|_| places.enter(address(3), &limits).unwrap()).collect();
        assert!(waiting.iter().all(|place| !place.is_seat()), "three in all");
        assert!(places.enter(address(3), &limits).is_none());
        drop((first, waiting));
        assert!(places.enter(address(1), &limits).unwrap().is_seat());
        drop((second, third));
        let taken = places.0.lock();
        assert_eq!((taken.seats, taken.waiting, taken.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn a_device_has_its_share() {
        let places = Arc::new(Places::default());
        let limits = Limits { associations_per_ae: 1, ..Limits::default() };
        let device = ReceiverId::from_bytes([1; 16]);
        let mut first = places.enter([192, 0, 2, 1].into(), &limits).unwrap();
        let mut second = places.enter([192, 0, 2, 2].into(), &limits).unwrap();
        assert!(first.sit_for(device, &limits));
        assert!(!second.sit_for(device, &limits));
        drop(first);
        assert!(second.sit_for(device, &limits));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let (a, b): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::ffff".parse().unwrap());
        assert_eq!(bucket(a), bucket(b));
        assert_ne!(bucket(a), bucket("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(bucket("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
