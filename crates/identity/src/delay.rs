//! Who failed has to wait longer each time, and is never locked out.
//!
//! An attempt counts before its proof is looked at, so that many at once gain nothing; success takes it back. What an
//! account has to wait is the same whether it exists or not. A device that somebody has signed in from before waits for
//! its own failures only: whoever else guesses at the account does not keep its owner out.

use leadglass_model::UnixMillis;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// A login, by the hash of what was typed, from anywhere.
    Login([u8; 32]),
    /// A device that a person used before.
    Device([u8; 16]),
    /// An address.
    Address(IpAddr),
    /// An address that begins with passkeys: whoever stops there has not failed, and costs memory only.
    Begun(IpAddr),
}

impl Counted {
    /// An address as it is counted: of IPv6 a customer's network; this very host not at all, for behind a proxy it is everybody.
    pub(crate) fn address(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            own if own.is_loopback() => None,
            IpAddr::V6(v6) => Some(Self::Address(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)))),
            v4 @ IpAddr::V4(_) => Some(Self::Address(v4)),
        }
    }

    const fn free(&self) -> u32 {
        match self {
            Self::Login(_) | Self::Device(_) => FREE_OF_ONE,
            // A practice has one address.
            Self::Address(_) => FREE_OF_AN_ADDRESS,
            Self::Begun(_) => FREE_BEGINS,
        }
    }

    /// The longest wait.
    const fn longest_ms(&self) -> u64 {
        match self {
            Self::Begun(_) => LONGEST_TO_BEGIN_MS,
            Self::Login(_) | Self::Device(_) | Self::Address(_) => LONGEST_MS,
        }
    }

    /// Beginning with a passkey, as it is counted.
    pub(crate) fn begun(address: IpAddr) -> Option<Self> {
        match Self::address(address)? {
            Self::Address(counted) => Some(Self::Begun(counted)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Attempts {
    number: u32,
    last: UnixMillis,
}

/// Attempts that have not succeeded.
#[derive(Debug, Default)]
pub(crate) struct Delays(HashMap<Counted, Attempts>);

impl Delays {
    /// Counts an attempt at all of these, if none of them has to wait; otherwise answers for how many seconds.
    pub(crate) fn begin(&mut self, all: &[Counted], now: UnixMillis) -> Result<(), u64> {
        let wait = all.iter().filter_map(|counted| self.wait(counted, now)).max();
        if let Some(seconds) = wait {
            return Err(seconds);
        }
        for counted in all {
            self.make_room(now);
            let attempts = self.0.entry(*counted).or_insert(Attempts { number: 0, last: now });
            attempts.number = if now.millis_since(attempts.last) > FORGOTTEN_MS { 1 } else { attempts.number + 1 };
            attempts.last = now;
        }
        Ok(())
    }

    /// The attempt succeeded. An address keeps what others failed from it.
    pub(crate) fn succeeded(&mut self, all: &[Counted]) {
        for counted in all {
            match (counted, self.0.get_mut(counted)) {
                (Counted::Address(_) | Counted::Begun(_), Some(attempts)) => {
                    attempts.number = attempts.number.saturating_sub(1)
                }
                _ => drop(self.0.remove(counted)),
            }
        }
    }

    fn wait(&self, counted: &Counted, now: UnixMillis) -> Option<u64> {
        let attempts = self.0.get(counted)?;
        let over = attempts.number.checked_sub(counted.free())?;
        let wait_ms = (1_000_u64 << over.min(20)).min(counted.longest_ms());
        let since = now.millis_since(attempts.last);
        (since < wait_ms).then(|| (wait_ms - since).div_ceil(1_000))
    }

    /// Forgets who is long gone; if that is not enough, whoever tried last the longest time ago.
    fn make_room(&mut self, now: UnixMillis) {
        if self.0.len() < MOST {
            return;
        }
        self.0.retain(|_, attempts| now.millis_since(attempts.last) <= LONGEST_MS);
        while self.0.len() >= MOST {
            let Some(oldest) = self.0.iter().min_by_key(|(_, a)| a.last).map(|(counted, _)| *counted) else { return };
            self.0.remove(&oldest);
        }
    }
}

/// Attempts at an account or a device before anybody waits: people mistype.
const FREE_OF_ONE: u32 = 4;
const FREE_OF_AN_ADDRESS: u32 = 30;
/// Prompts of passkeys that nobody answered.
const FREE_BEGINS: u32 = 200;
/// At this pace, an address that only begins pushes nobody else's challenge out before it is over.
const LONGEST_TO_BEGIN_MS: u64 = 10 * 1_000;
/// The longest wait.
const LONGEST_MS: u64 = 15 * 60 * 1_000;
const FORGOTTEN_MS: u64 = 60 * 60 * 1_000;
/// Accounts, devices and addresses that are counted at one time.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: [Counted; 1] = [Counted::Login([1; 32])];

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis(1_790_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour_and_end() {
        let mut delays = Delays::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..16 {
            if let Err(seconds) = delays.begin(&LOGIN, at(now)) {
                waits.push(seconds);
                now += seconds;
                delays.begin(&LOGIN, at(now)).unwrap();
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(delays.begin(&[Counted::Login([2; 32])], at(now)).is_ok(), "another account does not wait");
    }

    #[test]
    fn who_succeeds_starts_anew_and_a_known_device_does_not_wait_for_others() {
        let mut delays = Delays::default();
        for _ in 0..FREE_OF_ONE {
            delays.begin(&LOGIN, at(0)).unwrap();
        }
        assert_eq!(delays.begin(&LOGIN, at(0)), Err(1));
        assert_eq!(delays.begin(&[Counted::Device([7; 16])], at(0)), Ok(()));
        delays.begin(&LOGIN, at(1)).unwrap();
        delays.succeeded(&LOGIN);
        for _ in 0..FREE_OF_ONE {
            delays.begin(&LOGIN, at(1)).unwrap();
        }
    }

    #[test]
    fn who_only_begins_is_slowed_down_and_who_goes_on_is_not() {
        let begun = [Counted::begun("192.0.2.1".parse().unwrap()).unwrap()];
        let mut delays = Delays::default();
        for _ in 0..10 * FREE_BEGINS {
            delays.begin(&begun, at(0)).unwrap();
            delays.succeeded(&begun);
        }
        for _ in 0..FREE_BEGINS {
            delays.begin(&begun, at(0)).unwrap();
        }
        assert_eq!(delays.begin(&begun, at(0)), Err(1));
        let mut now = 1;
        for _ in 0..8 {
            delays.begin(&begun, at(now)).unwrap();
            now += LONGEST_TO_BEGIN_MS / 1_000;
        }
        assert_eq!(Counted::begun("127.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn a_flood_of_names_stays_within_bounds() {
        let mut delays = Delays::default();
        for n in 0..2 * MOST as u64 {
            let mut login = [0; 32];
            login[..8].copy_from_slice(&n.to_be_bytes());
            delays.begin(&[Counted::Login(login)], at(n / 1_000)).unwrap();
        }
        assert!(delays.0.len() <= MOST);
    }

    #[test]
    fn an_address_is_a_customers_network_and_this_host_is_nobody() {
        let counted = |text: &str| Counted::address(text.parse().unwrap());
        assert_eq!(counted("127.0.0.1"), None);
        assert_eq!(counted("::1"), None);
        assert_eq!(counted("2001:db8::1"), counted("2001:db8::2"));
        assert_eq!(counted("::ffff:192.0.2.1"), counted("192.0.2.1"));
    }
}
