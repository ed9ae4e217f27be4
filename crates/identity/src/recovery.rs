//! Recovery codes: ten of them, each good once instead of a one-time code.
//!
//! A code is 80 random bits in base32, in four groups. Kept is a hash over the person and the bits, inside his record.

use crate::{
    secret::{self, SecretHash},
    totp::{base32, from_base32},
};
use leadglass_model::{ActorRef, Entropy};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Fresh codes for a person, and what is kept of them.
pub(crate) fn fresh(person: ActorRef, entropy: &dyn Entropy) -> (Vec<Zeroizing<String>>, Vec<SecretHash>) {
    let one = |_| {
        let mut bits = Zeroizing::new([0; CODE_BYTES]);
        entropy.fill(&mut bits[..]);
        let text = Zeroizing::new(base32(&bits[..]));
        let groups: Vec<&str> = (0..4).map(|at| &text[at * 4..at * 4 + 4]).collect();
        (Zeroizing::new(groups.join("-")), hash(person, &bits[..]))
    };
    (0..CODES).map(one).unzip()
}

/// Which of the kept codes this text is. All are looked at.
pub(crate) fn find(person: ActorRef, kept: &[SecretHash], text: &str) -> Option<usize> {
    let bits = from_base32(text, CODE_BYTES).map(Zeroizing::new);
    let sent = hash(person, bits.as_ref().map_or(&[0; CODE_BYTES][..], |bits| &bits[..]));
    let mut found = None;
    for (at, hash) in kept.iter().enumerate() {
        if bool::from(hash.ct_eq(&sent) & Choice::from(u8::from(bits.is_some()))) {
            found = Some(at);
        }
    }
    found
}

fn hash(person: ActorRef, bits: &[u8]) -> SecretHash {
    secret::hash("recovery", &[&person.0[..], bits].concat())
}

const CODES: usize = 10;
const CODE_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    #[test]
    fn each_of_ten_codes_is_found_however_it_is_typed_and_is_one_persons() {
        let (texts, kept) = fresh(ActorRef([1; 16]), &SystemEntropy);
        assert_eq!((texts.len(), kept.len()), (10, 10));
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(find(ActorRef([1; 16]), &kept, text), Some(at));
            assert_eq!(find(ActorRef([1; 16]), &kept, &text.to_lowercase().replace('-', " ")), Some(at));
            assert_eq!(find(ActorRef([2; 16]), &kept, text), None);
        }
        for text in ["", "123456", "AAAA-AAAA-AAAA-AAAA"] {
            assert_eq!(find(ActorRef([1; 16]), &kept, text), None);
        }
    }
}
