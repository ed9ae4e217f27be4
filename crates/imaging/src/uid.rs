//! UIDs of our own making.

use leadglass_model::Entropy;

/// A fresh UID: `2.25.` and a random UUID as one decimal number (PS3.5 §B.2, ITU-T X.667 §8).
pub fn fresh_uid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    // RFC 9562 §5.4.
    uid_of(bytes, 4)
}

/// The UID of these parts, which are told apart by their lengths: the same parts, the same UID. Nobody finds the parts in
/// it, and nobody who does not know all of them makes it.
pub fn derived_uid(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(DERIVE_CONTEXT);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    // A form of our own (RFC 9562 §5.8).
    uid_of(bytes, 8)
}

/// A UUID of that version, variant 1.
fn uid_of(mut bytes: [u8; 16], version_number: u8) -> String {
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0F) | (version_number << 4);
    *variant = (*variant & 0x3F) | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

/// What BLAKE3 derives for (its key derivation mode): never to be changed, or what was sent before an upgrade and is sent
/// again after it is filed twice.
const DERIVE_CONTEXT: &str = "leadglass upload uid v1";

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{StudyUid, SystemEntropy};

    #[test]
    fn a_fresh_uid_is_one_and_never_twice_the_same() {
        let (a, b) = (fresh_uid(&SystemEntropy), fresh_uid(&SystemEntropy));
        assert!(StudyUid::parse(&a).is_ok() && a.starts_with("2.25.") && a.len() <= 44);
        assert_ne!(a, b);
    }

    #[test]
    fn version_and_variant_are_those_of_random_uuids() {
        struct Ones;
        impl Entropy for Ones {
            fn fill(&self, out: &mut [u8]) {
                out.fill(0xFF);
            }
        }
        let number: u128 = fresh_uid(&Ones)[5..].parse().unwrap();
        assert_eq!(number, 0xFFFF_FFFF_FFFF_4FFF_BFFF_FFFF_FFFF_FFFF);
    }

    #[test]
    fn the_same_parts_make_the_same_uid_for_ever() {
        let uid = derived_uid(&[b"tenant", b"actor", b"instance", b"key", b"1"]);
        assert_eq!(uid, "2.25.104555097348869785287571567374018455035");
        assert!(StudyUid::parse(&uid).is_ok());
        for other in
            [&[&b"tenant"[..], b"actor", b"instance", b"key", b"2"][..], &[b"tenantactor", b"instance", b"key", b"1"]]
        {
            assert_ne!(derived_uid(other), uid);
        }
        let number: u128 = uid[5..].parse().unwrap();
        assert_eq!((number >> 76 & 0xF, number >> 62 & 0b11), (8, 0b10), "version and variant of a form of our own");
    }
}
