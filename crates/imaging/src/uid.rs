//! UIDs of our own making.

use leadglass_model::Entropy;

/// A fresh UID: `2.25.` and a random UUID as one decimal number (PS3.5 §B.2, ITU-T X.667 §8).
pub fn fresh_uid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    // Version 4, variant 1 (RFC 9562 §5.4).
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0F) | 0x40;
    *variant = (*variant & 0x3F) | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

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
}
