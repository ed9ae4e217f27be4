//! An `age-encryption.org/v1` file under a passphrase (C2SP age), of which every piece can be made again.
//!
//! The secrets are drawn once for an export and kept sealed with it. The same plaintext then gives the same ciphertext, so
//! that a download can go on where it broke off. **Law:** under one [`EnvelopeSecrets`] only one plaintext is ever sealed;
//! whoever makes pieces again has to know that they are the same ones.

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Plaintext bytes sealed together.
pub const CHUNK_LEN: u64 = 64 * 1024;
/// What sealing adds to each.
pub const TAG_LEN: u64 = 16;

/// What is drawn once for a file.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct EnvelopeSecrets {
    /// The file key.
    pub file_key: [u8; 16],
    /// The nonce in front of the payload.
    pub nonce: [u8; 16],
    /// The header, which holds the file key under the passphrase.
    pub header: Vec<u8>,
}

impl std::fmt::Debug for EnvelopeSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnvelopeSecrets")
    }
}

impl EnvelopeSecrets {
    /// From 48 random bytes. Costs 32 MiB for a moment: a passphrase of 96 random bits needs no more. `None` when the
    /// machine lacks them.
    pub fn new(passphrase: &str, random: &[u8; 48]) -> Option<Self> {
        let [mut file_key, mut nonce, mut salt] = [[0; 16]; 3];
        file_key.copy_from_slice(&random[..16]);
        nonce.copy_from_slice(&random[16..32]);
        salt.copy_from_slice(&random[32..]);
        let mut wrapping = Zeroizing::new([0; 32]);
        let params = scrypt::Params::new(LOG_N, 8, 1).ok()?;
        let labelled = [SCRYPT_LABEL, &salt].concat();
        scrypt::scrypt(passphrase.as_bytes(), &labelled, &params, wrapping.as_mut_slice()).ok()?;
        let mut wrapped = file_key.to_vec();
        let key = key(wrapping.as_slice())?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut wrapped).ok()?;
        let (salt, body) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(&wrapped));
        let mut header = format!("{VERSION}\n-> scrypt {salt} {LOG_N}\n{body}\n---").into_bytes();
        let mac_key = derived(&file_key, &[], b"header")?;
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, mac_key.as_slice()), &header);
        header.extend_from_slice(format!(" {}\n", STANDARD_NO_PAD.encode(mac.as_ref())).as_bytes());
        Some(Self { file_key, nonce, header })
    }
}

/// A file of known length, sealed piece by piece.
pub struct Envelope {
    head: Vec<u8>,
    key: LessSafeKey,
    plain_len: u64,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope").field("plain_len", &self.plain_len).finish_non_exhaustive()
    }
}

impl Envelope {
    /// For so many bytes of plaintext. `None`: the machine's cryptography fails.
    pub fn new(secrets: &EnvelopeSecrets, plain_len: u64) -> Option<Self> {
        let payload = derived(&secrets.file_key, &secrets.nonce, b"payload")?;
        let head = [secrets.header.as_slice(), &secrets.nonce].concat();
        Some(Self { head, key: key(payload.as_slice())?, plain_len })
    }

    /// What stands before the first chunk.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes of the sealed file.
    pub fn len(&self) -> u64 {
        self.head.len() as u64 + self.plain_len + self.chunks() * TAG_LEN
    }

    /// Never: there is a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many chunks there are; at least one.
    pub const fn chunks(&self) -> u64 {
        let chunks = self.plain_len.div_ceil(CHUNK_LEN);
        if chunks == 0 { 1 } else { chunks }
    }

    /// The chunk that a byte of the sealed file lies in, or the first for the head.
    pub fn chunk_at(&self, offset: u64) -> u64 {
        (offset.saturating_sub(self.head.len() as u64) / (CHUNK_LEN + TAG_LEN)).min(self.chunks() - 1)
    }

    /// Where a chunk lies in the sealed file.
    pub fn sealed_place(&self, chunk: u64) -> Range<u64> {
        let start = self.head.len() as u64 + chunk * (CHUNK_LEN + TAG_LEN);
        let plain = self.plain_place(chunk);
        start..start + (plain.end - plain.start) + TAG_LEN
    }

    /// Which plaintext it holds.
    pub fn plain_place(&self, chunk: u64) -> Range<u64> {
        let start = (chunk * CHUNK_LEN).min(self.plain_len);
        start..(start + CHUNK_LEN).min(self.plain_len)
    }

    /// Seals a chunk in place. `None`: the machine's cryptography fails.
    pub fn seal(&self, chunk: u64, plain: &mut Vec<u8>) -> Option<()> {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&chunk.to_be_bytes());
        nonce[11] = u8::from(chunk + 1 == self.chunks());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), plain).ok()
    }
}

fn key(bytes: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).ok()?))
}

/// 32 bytes by HKDF-SHA-256 (RFC 5869).
fn derived(key: &[u8], salt: &[u8], info: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let info = [info];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(&info, hkdf::HKDF_SHA256).ok()?.fill(out.as_mut_slice()).ok()?;
    Some(out)
}

const VERSION: &str = "age-encryption.org/v1";
const SCRYPT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
/// Cost: 2^15 blocks of 1 KiB.
const LOG_N: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::SecretString;

    fn random() -> [u8; 48] {
        std::array::from_fn(|n| u8::try_from(n).unwrap())
    }

    fn sealed(plain: &[u8]) -> (Envelope, Vec<u8>) {
        let secrets = EnvelopeSecrets::new("lusab-babad", &random()).unwrap();
        let envelope = Envelope::new(&secrets, plain.len() as u64).unwrap();
        let mut out = envelope.head().to_vec();
        for chunk in 0..envelope.chunks() {
            let place = envelope.plain_place(chunk);
            let mut piece = plain[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()].to_vec();
            envelope.seal(chunk, &mut piece).unwrap();
            assert_eq!(envelope.sealed_place(chunk).start, out.len() as u64);
            out.extend(piece);
            assert_eq!(envelope.sealed_place(chunk).end, out.len() as u64);
            assert_eq!(envelope.chunk_at(out.len() as u64 - 1), chunk);
        }
        (envelope, out)
    }

    #[test]
    fn the_age_program_opens_what_is_sealed_of_any_length() {
        let identity = age::scrypt::Identity::new(SecretString::from("lusab-babad".to_owned()));
        for len in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let plain: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            let (envelope, bytes) = sealed(&plain);
            assert_eq!(envelope.len(), bytes.len() as u64);
            assert!(age::decrypt(&identity, &bytes).unwrap() == plain, "{len}");
        }
    }

    #[test]
    fn another_passphrase_opens_nothing() {
        let identity = age::scrypt::Identity::new(SecretString::from("lusab-babab".to_owned()));
        assert!(age::decrypt(&identity, &sealed(b"plain").1).is_err());
    }
}
