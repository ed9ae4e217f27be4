//! Random secrets that are shown once: made here, kept as a hash.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_model::Entropy;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What is kept of a secret. 256 random bits need no slow hash.
pub(crate) type SecretHash = [u8; 32];

/// A fresh secret of 256 bits in base64url, and its hash. What it is for separates it from all others.
pub(crate) fn fresh(what_for: &'static str, entropy: &dyn Entropy) -> (Zeroizing<String>, SecretHash) {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    entropy.fill(&mut secret[..]);
    let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
    URL_SAFE_NO_PAD.encode_string(&secret[..], &mut text);
    (text, hash(what_for, &secret[..]))
}

/// The hash of what somebody sent; nothing if it cannot be such a secret.
pub(crate) fn hash_of(what_for: &'static str, text: &str) -> Option<SecretHash> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut secret[..]).ok()?;
    (written == SECRET_BYTES).then(|| hash(what_for, &secret[..]))
}

/// SHA-256("leadglass " ‖ what for ‖ " v1" ‖ 0 ‖ secret).
pub(crate) fn hash(what_for: &'static str, secret: &[u8]) -> SecretHash {
    Sha256::new()
        .chain_update(b"leadglass ")
        .chain_update(what_for)
        .chain_update(b" v1\0")
        .chain_update(secret)
        .finalize()
        .into()
}

const SECRET_BYTES: usize = 32;
/// 32 bytes in base64 without padding.
const TEXT_LEN: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    #[test]
    fn a_secret_is_known_by_its_hash_and_for_its_own_use_only() {
        let (text, hash) = fresh("invitation", &SystemEntropy);
        assert_eq!(hash_of("invitation", &text), Some(hash));
        assert_ne!(hash_of("device", &text), Some(hash));
        for other in ["", &text[1..], &format!("{}!", &text[1..]), &format!("{}x", &*text)] {
            assert_eq!(hash_of("invitation", other), None, "{other}");
        }
    }
}
