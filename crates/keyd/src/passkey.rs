//! A passkey's assertion, checked here and nowhere else: W3C Web Authentication Level 2 §7.2, as far as it speaks of a
//! credential that is known. Pure: no row, no clock.
//!
//! What the vault says about an assertion counts for nothing. Where it was made stands in what the browser signed along (type,
//! challenge, origin), by whom in the authenticator's own data, and both under a signature of the enrolled key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_keys::wire::Assertion;
use minicbor::{Decoder, data::Type};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A public key, read from its COSE_Key (RFC 9052 §7, RFC 9053 §2 and §7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// ES256 over P-256: the point, uncompressed.
    Es256([u8; 65]),
    /// EdDSA over Ed25519.
    EdDsa([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256 {
        /// The modulus, big-endian.
        n: Vec<u8>,
        /// The exponent, big-endian.
        e: Vec<u8>,
    },
}

/// What an assertion has to fit.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What the authenticator had to sign.
    pub challenge: &'a [u8; 32],
    /// The relying party.
    pub rp_id: &'a str,
    /// Pages that may ask for it.
    pub origins: &'a [String],
    /// The enrolled key.
    pub public_key: &'a PublicKey,
    /// The sign counter that was seen last.
    pub counter: u32,
}

/// Why an assertion is none. The word goes into the own log; whoever sent it hears one sentence for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `clientDataJSON` is not what a browser writes.
    #[error("client-data")]
    ClientData,
    /// It was made for something else than a signature.
    #[error("type")]
    Type,
    /// It was made for another job, or for another time.
    #[error("challenge")]
    Challenge,
    /// Another page asked for it.
    #[error("origin")]
    Origin,
    /// A page inside another page asked for it.
    #[error("cross-origin")]
    CrossOrigin,
    /// `authenticatorData` is not what an authenticator writes.
    #[error("authenticator-data")]
    AuthenticatorData,
    /// It was made for another relying party.
    #[error("rp-id")]
    RpId,
    /// Nobody touched the authenticator.
    #[error("user-presence")]
    UserPresence,
    /// It did not ask who touches it.
    #[error("user-verification")]
    UserVerification,
    /// The key did not sign this.
    #[error("signature")]
    Signature,
    /// The counter went back: there are two authenticators with one key.
    #[error("counter")]
    Counter,
    /// No passkey that was confirmed here approves this: it is unknown, unconfirmed, or of another tenant or role.
    #[error("credential")]
    Credential,
}

/// What a browser writes (§5.8.1); browsers may add members.
#[derive(Deserialize)]
struct ClientData<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    challenge: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    origin: std::borrow::Cow<'a, str>,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: Option<bool>,
}

/// Checks an assertion; gives the new sign counter.
pub fn check(assertion: &Assertion, expected: &Expected<'_>) -> Result<u32, AssertionError> {
    let client_data = assertion.client_data_json.expose();
    let said: ClientData<'_> = serde_json::from_slice(client_data).map_err(|_| AssertionError::ClientData)?;
    if said.kind != "webauthn.get" {
        return Err(AssertionError::Type);
    }
    if said.challenge != URL_SAFE_NO_PAD.encode(expected.challenge) {
        return Err(AssertionError::Challenge);
    }
    if !expected.origins.iter().any(|origin| *origin == said.origin) {
        return Err(AssertionError::Origin);
    }
    if said.cross_origin == Some(true) {
        return Err(AssertionError::CrossOrigin);
    }
    let data = assertion.authenticator_data.expose();
    let counter = authenticator(data, expected.rp_id)?;
    let mut signed = data.to_vec();
    signed.extend_from_slice(&Sha256::digest(client_data));
    if !expected.public_key.signed(&signed, assertion.signature.expose()) {
        return Err(AssertionError::Signature);
    }
    // An authenticator that does not count says 0 each time (§6.1.1).
    let counts = counter != 0 || expected.counter != 0;
    if counts && counter <= expected.counter { Err(AssertionError::Counter) } else { Ok(counter) }
}

/// `authenticatorData` (§6.1): whose, by whom, and the counter.
fn authenticator(data: &[u8], rp_id: &str) -> Result<u32, AssertionError> {
    let (head, extensions) = data.split_first_chunk::<AUTHENTICATOR_LEN>().ok_or(AssertionError::AuthenticatorData)?;
    let flags = head[32];
    // Extensions exactly where the flag says so; a new credential never.
    if flags & FLAG_ATTESTED != 0 || (flags & FLAG_EXTENSIONS != 0) == extensions.is_empty() {
        return Err(AssertionError::AuthenticatorData);
    }
    if head[..32] != Sha256::digest(rp_id.as_bytes())[..] {
        return Err(AssertionError::RpId);
    }
    if flags & FLAG_PRESENT == 0 {
        return Err(AssertionError::UserPresence);
    }
    if flags & FLAG_VERIFIED == 0 {
        return Err(AssertionError::UserVerification);
    }
    Ok(u32::from_be_bytes([head[33], head[34], head[35], head[36]]))
}

impl PublicKey {
    /// Reads a COSE_Key. Nothing but the members of its kind may stand in it, each once.
    pub fn parse(cose: &[u8]) -> Option<Self> {
        let mut read = Decoder::new(cose);
        let (mut kind, mut algorithm, mut curve) = (None, None, None);
        let (mut first, mut second, mut third) = (None, None, None);
        for _ in 0..read.map().ok()?? {
            match read.i32().ok()? {
                1 => once(&mut kind, read.i32().ok()?)?,
                3 => once(&mut algorithm, read.i32().ok()?)?,
                -1 if read.datatype().ok()? == Type::Bytes => once(&mut first, read.bytes().ok()?)?,
                -1 => once(&mut curve, read.i32().ok()?)?,
                -2 => once(&mut second, read.bytes().ok()?)?,
                -3 => once(&mut third, read.bytes().ok()?)?,
                _ => return None,
            }
        }
        if read.position() != cose.len() {
            return None;
        }
        match (kind?, algorithm?, curve, first, second, third) {
            (2, -7, Some(1), None, Some(x), Some(y)) if x.len() == 32 && y.len() == 32 => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(x);
                point[33..].copy_from_slice(y);
                Some(Self::Es256(point))
            }
            (1, -8, Some(6), None, Some(x), None) => Some(Self::EdDsa(x.try_into().ok()?)),
            (3, -257, None, Some(n), Some(e), None) if RSA_MODULUS_BYTES.contains(&n.len()) && e.len() <= 8 => {
                Some(Self::Rs256 { n: n.to_vec(), e: e.to_vec() })
            }
            _ => None,
        }
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match self {
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
            Self::EdDsa(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Self::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        checked.is_ok()
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// rpIdHash, flags, signCount.
const AUTHENTICATOR_LEN: usize = 37;
const FLAG_PRESENT: u8 = 0x01;
const FLAG_VERIFIED: u8 = 0x04;
const FLAG_ATTESTED: u8 = 0x40;
const FLAG_EXTENSIONS: u8 = 0x80;
/// RSA from 2,048 to 4,096 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
        },
    };
    use leadglass_keys::wire::Base64Bytes;
    use minicbor::Encoder;

    enum Signer {
        Es256(EcdsaKeyPair),
        EdDsa(Ed25519KeyPair),
        Rs256(RsaKeyPair),
    }

    impl Signer {
        fn all() -> [Self; 3] {
            let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            [
                Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
                Self::EdDsa(Ed25519KeyPair::generate().unwrap()),
                Self::Rs256(rsa),
            ]
        }

        fn sign(&self, message: &[u8]) -> Vec<u8> {
            match self {
                Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
                Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
                Self::Rs256(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                    signature
                }
            }
        }

        fn cose(&self) -> Vec<u8> {
            let mut out = Vec::new();
            let mut write = Encoder::new(&mut out);
            match self {
                Self::Es256(pair) => {
                    let point = pair.public_key().as_ref();
                    write.map(5).unwrap().i8(1).unwrap().i8(2).unwrap().i8(3).unwrap().i8(-7).unwrap();
                    write.i8(-1).unwrap().i8(1).unwrap().i8(-2).unwrap().bytes(&point[1..33]).unwrap();
                    write.i8(-3).unwrap().bytes(&point[33..]).unwrap();
                }
                Self::EdDsa(pair) => {
                    write.map(4).unwrap().i8(1).unwrap().i8(1).unwrap().i8(3).unwrap().i8(-8).unwrap();
                    write.i8(-1).unwrap().i8(6).unwrap().i8(-2).unwrap().bytes(pair.public_key().as_ref()).unwrap();
                }
                Self::Rs256(pair) => {
                    let key = pair.public_key();
                    write.map(4).unwrap().i8(1).unwrap().i8(3).unwrap().i8(3).unwrap().i16(-257).unwrap();
                    write.i8(-1).unwrap().bytes(key.modulus().big_endian_without_leading_zero()).unwrap();
                    write.i8(-2).unwrap().bytes(key.exponent().big_endian_without_leading_zero()).unwrap();
                }
            }
            out
        }
    }

    const CHALLENGE: [u8; 32] = [7; 32];
    const GOOD: u8 = FLAG_PRESENT | FLAG_VERIFIED;

    fn said(kind: &str, challenge: &[u8], origin: &str, more: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#)
    }

    fn data(rp_id: &str, flags: u8, counter: u32) -> Vec<u8> {
        [&Sha256::digest(rp_id)[..], &[flags], &counter.to_be_bytes()].concat()
    }

    fn checked(signer: &Signer, said: &str, data: &[u8], seen: u32) -> Result<u32, AssertionError> {
        let signature = signer.sign(&[data, &Sha256::digest(said)[..]].concat());
        checked_with(signer, said, data, &signature, seen)
    }

    fn checked_with(
        signer: &Signer,
        said: &str,
        data: &[u8],
        signature: &[u8],
        seen: u32,
    ) -> Result<u32, AssertionError> {
        let assertion = Assertion {
            credential_id: Base64Bytes::new(b"id").unwrap(),
            client_data_json: Base64Bytes::new(said.as_bytes()).unwrap(),
            authenticator_data: Base64Bytes::new(data).unwrap(),
            signature: Base64Bytes::new(signature).unwrap(),
        };
        let expected = Expected {
            challenge: &CHALLENGE,
            rp_id: "vault.test",
            origins: &["https://vault.test:8443".to_owned()],
            public_key: &PublicKey::parse(&signer.cose()).unwrap(),
            counter: seen,
        };
        check(&assertion, &expected)
    }

    #[test]
    fn every_kind_of_key_signs_and_another_key_or_another_byte_does_not() {
        let good = said("webauthn.get", &CHALLENGE, "https://vault.test:8443", r#","crossOrigin":false,"other":[1]"#);
        let data = data("vault.test", GOOD, 5);
        for (signer, other) in Signer::all().iter().zip(Signer::all()) {
            assert_eq!(checked(signer, &good, &data, 4), Ok(5));
            let message = [&data[..], &Sha256::digest(&good)[..]].concat();
            assert_eq!(checked_with(signer, &good, &data, &other.sign(&message), 4), Err(AssertionError::Signature));
            let mut signature = signer.sign(&message);
            signature[9] ^= 1;
            assert_eq!(checked_with(signer, &good, &data, &signature, 4), Err(AssertionError::Signature));
            assert_eq!(checked_with(signer, &good, &data, &[], 4), Err(AssertionError::Signature));
        }
    }

    #[test]
    fn each_thing_that_does_not_fit_is_refused() {
        use AssertionError as E;
        let signer = &Signer::all()[0];
        let (get, origin) = ("webauthn.get", "https://vault.test:8443");
        let good = said(get, &CHALLENGE, origin, "");
        let said = [
            (said("webauthn.create", &CHALLENGE, origin, ""), E::Type),
            (said(get, &[8; 32], origin, ""), E::Challenge),
            (said(get, &CHALLENGE[..31], origin, ""), E::Challenge),
            (said(get, &CHALLENGE, "https://vault.test", ""), E::Origin),
            (said(get, &CHALLENGE, "https://vault.test:8443.evil.test", ""), E::Origin),
            (said(get, &CHALLENGE, origin, r#","crossOrigin":true"#), E::CrossOrigin),
            (said(get, &CHALLENGE, origin, r#","origin":"https://evil.test""#), E::ClientData),
            ("{}".to_owned(), E::ClientData),
            ("[".repeat(4000), E::ClientData),
        ];
        for (said, error) in said {
            assert_eq!(checked(signer, &said, &data("vault.test", GOOD, 1), 0), Err(error), "{said}");
        }
        let long = [data("vault.test", GOOD, 1), vec![0xa0]].concat();
        let data = [
            (data("evil.test", GOOD, 1), E::RpId),
            (data("vault.test", FLAG_VERIFIED, 1), E::UserPresence),
            (data("vault.test", FLAG_PRESENT, 1), E::UserVerification),
            (data("vault.test", GOOD | FLAG_ATTESTED, 1), E::AuthenticatorData),
            (data("vault.test", GOOD | FLAG_EXTENSIONS, 1), E::AuthenticatorData),
            (data("vault.test", GOOD, 1)[..36].to_vec(), E::AuthenticatorData),
            (long, E::AuthenticatorData),
        ];
        for (data, error) in data {
            assert_eq!(checked(signer, &good, &data, 0), Err(error), "{error}");
        }
    }

    #[test]
    fn a_counter_goes_on_or_is_never_there() {
        let signer = &Signer::all()[0];
        let good = said("webauthn.get", &CHALLENGE, "https://vault.test:8443", "");
        let count = |counter, seen| checked(signer, &good, &data("vault.test", GOOD, counter), seen);
        assert_eq!((count(0, 0), count(1, 0), count(9, 8)), (Ok(0), Ok(1), Ok(9)));
        for (counter, seen) in [(8, 8), (7, 8), (0, 8)] {
            assert_eq!(count(counter, seen), Err(AssertionError::Counter));
        }
    }

    #[test]
    fn a_key_with_anything_else_in_it_is_none() {
        for signer in Signer::all() {
            let good = signer.cose();
            assert!(PublicKey::parse(&good).is_some());
            for cut in 0..good.len() {
                assert_eq!(PublicKey::parse(&good[..cut]), None);
            }
            assert_eq!(PublicKey::parse(&[&good[..], &[0]].concat()), None);
            let mut twice = good.clone();
            twice[0] += 1;
            twice.extend_from_slice(&[3, 0x26]);
            assert_eq!(PublicKey::parse(&twice), None);
        }
    }
}
