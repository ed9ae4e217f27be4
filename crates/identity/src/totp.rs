//! One-time codes (RFC 6238): SHA-1, 30 seconds, six digits, one step of tolerance either way, each step good once.

use aws_lc_rs::hmac;
use leadglass_model::UnixMillis;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A seed that an authenticator shares, and the last step that was used.
#[derive(Clone, Zeroize, ZeroizeOnDrop, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Totp {
    #[cbor(n(0), with = "minicbor::bytes")]
    seed: [u8; SEED_BYTES],
    /// Steps up to this one are used.
    #[n(1)]
    last: u64,
}

impl Totp {
    pub(crate) const fn new(seed: [u8; SEED_BYTES]) -> Self {
        Self { seed, last: 0 }
    }

    /// The step that a code belongs to, if it is one of those around now and later than the last one that was used.
    pub(crate) fn step_of(&self, code: &str, now: UnixMillis) -> Option<u64> {
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let middle = now.0 / 1_000 / STEP_S;
        let mut found = None;
        // All are looked at, whatever the first says.
        for step in middle.saturating_sub(1)..=middle + 1 {
            let is = code_at(&self.seed, step).as_bytes().ct_eq(digits.as_bytes());
            if bool::from(is) && step > self.last {
                found = found.or(Some(step));
            }
        }
        found
    }

    /// From now on, this step and those before it are used.
    pub(crate) fn use_up(&mut self, step: u64) {
        self.last = self.last.max(step);
    }

    /// The seed as an authenticator wants it typed.
    pub(crate) fn text(&self) -> String {
        base32(&self.seed)
    }

    /// The address that authenticators understand (the "key URI format").
    pub(crate) fn address(&self, login: &str) -> String {
        let label: String = login
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"@.-_".contains(&b) {
                    (b as char).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();
        format!(
            "otpauth://totp/Leadglass:{label}?secret={}&issuer=Leadglass&algorithm=SHA1&digits=6&period=30",
            self.text()
        )
    }
}

/// The code of a step (RFC 4226 §5.3).
fn code_at(seed: &[u8; SEED_BYTES], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, seed);
    let mac = hmac::sign(&key, &step.to_be_bytes());
    let mac = mac.as_ref();
    let at = usize::from(mac[mac.len() - 1] & 0x0f);
    let four = [mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]];
    format!("{:06}", u32::from_be_bytes(four) % 1_000_000)
}

/// RFC 4648 §6, without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// Bytes out of base32 as people type it: small letters, spaces and hyphens do no harm. Nothing if it is not `len` bytes.
pub(crate) fn from_base32(text: &str, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    let (mut held, mut bits) = (0_u32, 0);
    for c in text.bytes().filter(|c| !matches!(c, b' ' | b'-')) {
        let value = ALPHABET.iter().position(|a| *a == c.to_ascii_uppercase())?;
        (held, bits) = (held << 5 | u32::try_from(value).ok()?, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).ok()?);
            held &= (1 << bits) - 1;
        }
        if bytes.len() > len {
            return None;
        }
    }
    (bytes.len() == len && held == 0).then_some(bytes)
}

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// As long as SHA-1's output (RFC 4226 §4, R6).
pub(crate) const SEED_BYTES: usize = 20;
const STEP_S: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: [u8; 20] = *b"12345678901234567890";

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis(seconds * 1_000)
    }

    /// RFC 6238, appendix B, the last six of eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(code_at(&RFC, seconds / 30), code);
            assert_eq!(Totp::new(RFC).step_of(code, at(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_good_for_a_step_either_way_and_once() {
        let mut totp = Totp::new(RFC);
        let code = code_at(&RFC, 1_000);
        for (step, good) in [(998, false), (999, true), (1_000, true), (1_001, true), (1_002, false)] {
            assert_eq!(totp.step_of(&code, at(step * 30)).is_some(), good, "{step}");
        }
        let step = totp.step_of(&code, at(1_000 * 30)).unwrap();
        totp.use_up(step);
        assert_eq!(totp.step_of(&code, at(1_000 * 30)), None, "it was used");
        assert_eq!(totp.step_of(&code_at(&RFC, 999), at(1_000 * 30)), None, "so are those before it");
        assert!(totp.step_of(&code_at(&RFC, 1_001), at(1_000 * 30)).is_some());
        for code in ["", "12345", "1234567", "abcdef"] {
            assert_eq!(totp.step_of(code, at(1_000 * 30)), None, "{code}");
        }
    }

    /// RFC 4648 §10.
    #[test]
    fn base32_goes_there_and_back() {
        for (bytes, text) in [(&b"f"[..], "MY"), (b"fooba", "MZXW6YTB"), (b"foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes), text);
            assert_eq!(from_base32(&text.to_lowercase(), bytes.len()).as_deref(), Some(bytes));
        }
        assert_eq!(from_base32("MZXW6YT1", 5), None);
        assert_eq!(from_base32("MZXW6YTBMZXW6YTB", 5), None);
    }
}
