//! The two cipher suites and the two implementations behind them.
//!
//! Law: for equal inputs both backends give equal bytes, and each opens what the other sealed
//! (`tests::wycheproof`, `tests::vectors`).
//! Source: FORMAT.md §2; NIST SP 800-38D (AES-GCM), RFC 8439 (ChaCha20-Poly1305), RFC 5869 (HKDF).

use crate::key::wipe;
use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::ChaCha20Poly1305;
use std::fmt;
use zeroize::Zeroizing;

/// Measures what ciphers cost; only in builds of `benches/null.sh`.
#[cfg(leadglass_null_cipher)]
#[path = "../../../benches/null_cipher.rs"]
mod null;

/// Cipher and key derivation of a sealed object or wrap; its number stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suite {
    /// 01: AES-256-GCM with HKDF-SHA-512.
    #[default]
    Aes256Gcm,
    /// 02: ChaCha20-Poly1305 with HKDF-SHA-512.
    ChaCha20Poly1305,
}

/// Who computes. The bytes are the same; the speed is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Backend {
    /// AWS-LC: hand-written AES-GCM, about 3.7 times the portable one.
    #[default]
    AwsLc,
    /// The RustCrypto crates, and the cross-check of the tests.
    Portable,
}

/// The tag did not fit. Carries nothing, so that nothing leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// One AEAD key, ready for use.
pub(crate) struct Cipher(Inner);

enum Inner {
    #[cfg(leadglass_null_cipher)]
    Null,
    Aws(LessSafeKey),
    Aes(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

/// Length of an authentication tag, bytes.
pub(crate) const TAG_LEN: usize = 16;

impl Suite {
    /// The number in headers.
    pub const fn number(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// The suite with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

impl Cipher {
    pub(crate) fn new(suite: Suite, backend: Backend, key: &[u8; 32]) -> Self {
        #[cfg(leadglass_null_cipher)]
        if backend == Backend::AwsLc {
            return Self(Inner::Null);
        }
        Self(match (backend, suite) {
            (Backend::AwsLc, suite) => {
                let algorithm = match suite {
                    Suite::Aes256Gcm => &AES_256_GCM,
                    Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
                };
                let key = UnboundKey::new(algorithm, key).expect("both algorithms take 32-byte keys");
                Inner::Aws(LessSafeKey::new(key))
            }
            (Backend::Portable, Suite::Aes256Gcm) => Inner::Aes(Box::new(Aes256Gcm::new(key.into()))),
            (Backend::Portable, Suite::ChaCha20Poly1305) => Inner::ChaCha(Box::new(ChaCha20Poly1305::new(key.into()))),
        })
    }

    /// Seals `plain` into `out`, which is longer by one tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], plain: &[u8], out: &mut [u8]) {
        assert_eq!(out.len(), plain.len() + TAG_LEN, "room for ciphertext and tag");
        let (body, tag) = out.split_at_mut(plain.len());
        match &self.0 {
            #[cfg(leadglass_null_cipher)]
            Inner::Null => null::seal(plain, body, tag),
            Inner::Aws(key) => key
                .seal_out_of_place_scatter(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain, body, &[], tag)
                .expect("lengths fit, and a chunk is far below the cipher's limit"),
            Inner::Aes(cipher) => tag.copy_from_slice(&seal_portable(cipher.as_ref(), nonce, aad, plain, body)),
            Inner::ChaCha(cipher) => tag.copy_from_slice(&seal_portable(cipher.as_ref(), nonce, aad, plain, body)),
        }
    }

    /// Opens `sealed` (ciphertext, then tag) into `out`, which is shorter by one tag. On refusal `out` is all zero.
    pub(crate) fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<(), Refused> {
        let split = sealed.len().checked_sub(TAG_LEN).filter(|len| *len == out.len()).ok_or(Refused)?;
        let (body, tag) = sealed.split_at(split);
        let opened = match &self.0 {
            #[cfg(leadglass_null_cipher)]
            Inner::Null => null::open(body, tag, out),
            Inner::Aws(key) => key
                .open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body, tag, out)
                .map_err(|_| Refused),
            Inner::Aes(cipher) => open_portable(cipher.as_ref(), nonce, aad, body, tag, out),
            Inner::ChaCha(cipher) => open_portable(cipher.as_ref(), nonce, aad, body, tag, out),
        };
        if opened.is_err() {
            wipe(out);
        }
        opened
    }

    /// Opens in place; the plaintext is all but the last 16 bytes. On refusal the whole buffer is zero.
    pub(crate) fn open_in_place(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Result<(), Refused> {
        let split = sealed.len().checked_sub(TAG_LEN).ok_or(Refused)?;
        let (body, tag) = sealed.split_at_mut(split);
        let opened = match &self.0 {
            #[cfg(leadglass_null_cipher)]
            Inner::Null => null::check(tag),
            Inner::Aws(key) => key
                .open_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), tag, body)
                .map(|_| ())
                .map_err(|_| Refused),
            Inner::Aes(cipher) => open_portable_in_place(cipher.as_ref(), nonce, aad, body, tag),
            Inner::ChaCha(cipher) => open_portable_in_place(cipher.as_ref(), nonce, aad, body, tag),
        };
        if opened.is_err() {
            wipe(sealed);
        }
        opened
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(‹secret›)")
    }
}

fn seal_portable<C: AeadInOut>(cipher: &C, nonce: [u8; 12], aad: &[u8], plain: &[u8], out: &mut [u8]) -> [u8; TAG_LEN] {
    let buffer = InOutBuf::new(plain, out).expect("both sides have one length");
    let nonce = aes_gcm::aead::Nonce::<C>::try_from(nonce.as_slice()).expect("both ciphers take 12-byte nonces");
    let tag = cipher.encrypt_inout_detached(&nonce, aad, buffer).expect("a chunk is far below the cipher's limit");
    tag.as_slice().try_into().expect("both ciphers give 16-byte tags")
}

fn open_portable<C: AeadInOut>(
    cipher: &C,
    nonce: [u8; 12],
    aad: &[u8],
    body: &[u8],
    tag: &[u8],
    out: &mut [u8],
) -> Result<(), Refused> {
    let buffer = InOutBuf::new(body, out).map_err(|_| Refused)?;
    open_portable_buffer(cipher, nonce, aad, buffer, tag)
}

fn open_portable_in_place<C: AeadInOut>(
    cipher: &C,
    nonce: [u8; 12],
    aad: &[u8],
    body: &mut [u8],
    tag: &[u8],
) -> Result<(), Refused> {
    open_portable_buffer(cipher, nonce, aad, body.into(), tag)
}

fn open_portable_buffer<C: AeadInOut>(
    cipher: &C,
    nonce: [u8; 12],
    aad: &[u8],
    buffer: InOutBuf<'_, '_, u8>,
    tag: &[u8],
) -> Result<(), Refused> {
    let nonce = aes_gcm::aead::Nonce::<C>::try_from(nonce.as_slice()).map_err(|_| Refused)?;
    let tag = aes_gcm::aead::Tag::<C>::try_from(tag).map_err(|_| Refused)?;
    cipher.decrypt_inout_detached(&nonce, aad, buffer, &tag).map_err(|_| Refused)
}

/// HKDF-SHA-512 (RFC 5869): extract with `salt`, expand with the concatenation of `info`. An empty salt stands for
/// 64 zero bytes, as the RFC says. At most 255 × 64 bytes of output.
pub(crate) fn hkdf_sha512<const N: usize>(
    backend: Backend,
    salt: &[u8],
    ikm: &[u8],
    info: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    let mut okm = Zeroizing::new([0; N]);
    hkdf_sha512_into(backend, salt, ikm, info, okm.as_mut());
    okm
}

/// As [`hkdf_sha512`], into a slice.
pub(crate) fn hkdf_sha512_into(backend: Backend, salt: &[u8], ikm: &[u8], info: &[&[u8]], okm: &mut [u8]) {
    match backend {
        Backend::AwsLc => aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA512, salt)
            .extract(ikm)
            .expand(info, OkmLen(okm.len()))
            .and_then(|out| out.fill(okm))
            .expect("the output is at most 255 hashes long"),
        Backend::Portable => hkdf::Hkdf::<sha2::Sha512>::new(Some(salt), ikm)
            .expand_multi_info(info, okm)
            .expect("the output is at most 255 hashes long"),
    }
}

struct OkmLen(usize);

impl aws_lc_rs::hkdf::KeyType for OkmLen {
    fn len(&self) -> usize {
        self.0
    }
}
