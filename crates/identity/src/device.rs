//! A browser or phone of a person: known again by a secret in a cookie of its own, which signs nobody in.

use crate::secret::{self, SecretHash};
use leadglass_model::{Entropy, UnixMillis};
use zeroize::Zeroizing;

/// A device's random name.
pub type DeviceId = [u8; 16];

/// A device as a person's record holds it.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Device {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) id: DeviceId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) secret: SecretHash,
    /// What a person knows it by: "Firefox on Android".
    #[n(2)]
    pub(crate) label: String,
    #[n(3)]
    pub(crate) first: u64,
    #[n(4)]
    pub(crate) last: u64,
}

impl Device {
    /// A device at which this person was not seen before, and the secret for its cookie, unless it has one already: `shared`.
    /// Its name is another one for each person, so that nobody waits for, or loses, what is another's.
    pub(crate) fn fresh(
        agent: &str,
        now: UnixMillis,
        shared: Option<SecretHash>,
        entropy: &dyn Entropy,
    ) -> (Self, Option<Zeroizing<String>>) {
        let (cookie, secret) = match shared {
            Some(hash) => (None, hash),
            None => {
                let (text, hash) = secret::fresh(WHAT_FOR, entropy);
                (Some(text), hash)
            }
        };
        let mut id = [0; 16];
        entropy.fill(&mut id);
        (Self { id, secret, label: label(agent), first: now.0, last: now.0 }, cookie)
    }
}

/// The hash of what a device's cookie says.
pub(crate) fn hash_of(cookie: &str) -> Option<SecretHash> {
    secret::hash_of(WHAT_FOR, cookie)
}

/// Makes room for one more: the one that was not used for the longest time goes.
pub(crate) fn make_room(devices: &mut Vec<Device>) {
    while devices.len() >= MOST {
        let Some(oldest) = devices.iter().enumerate().min_by_key(|(_, device)| device.last).map(|(at, _)| at) else {
            return;
        };
        devices.remove(oldest);
    }
}

/// Words for what a browser says of itself. Nothing of its text is taken over.
fn label(agent: &str) -> String {
    let named = |table: &[(&str, &'static str)], other| {
        table.iter().find(|(mark, _)| agent.contains(mark)).map_or(other, |(_, name)| *name)
    };
    // The order matters: each of them claims to be those after it, too.
    let browser = named(
        &[
            ("Edg", "Edge"),
            ("OPR/", "Opera"),
            ("SamsungBrowser", "Samsung Internet"),
            ("Firefox", "Firefox"),
            ("FxiOS", "Firefox"),
            ("CriOS", "Chrome"),
            ("Chrom", "Chrome"),
            ("Safari", "Safari"),
        ],
        "A program",
    );
    let system = named(
        &[
            ("iPhone", "iPhone"),
            ("iPad", "iPad"),
            ("Android", "Android"),
            ("Windows", "Windows"),
            ("Mac OS", "Mac"),
            ("CrOS", "Chromebook"),
            ("Linux", "Linux"),
        ],
        "an unknown system",
    );
    format!("{browser} on {system}")
}

const WHAT_FOR: &str = "device";
/// Devices of one person.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    #[test]
    fn a_device_is_called_what_people_call_it() {
        for (agent, called) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Mobile Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0",
                "Edge on Windows",
            ),
            ("curl/8.5.0\u{1b}[2J", "A program on an unknown system"),
        ] {
            assert_eq!(label(agent), called);
        }
    }

    #[test]
    fn the_device_that_is_not_used_makes_room() {
        let mut devices: Vec<Device> =
            (0..MOST as u64).map(|n| Device::fresh("", UnixMillis(100 - n), None, &SystemEntropy).0).collect();
        make_room(&mut devices);
        assert_eq!(devices.len(), MOST - 1);
        assert!(devices.iter().all(|device| device.last > 100 - MOST as u64 + 1));
    }
}
