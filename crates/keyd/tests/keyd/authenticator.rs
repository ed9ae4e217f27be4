//! An authenticator in software, and the browser around it, which writes what it is told.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use leadglass_keys::wire::{Assertion, Base64Bytes};
use std::sync::atomic::{AtomicU32, Ordering};

/// One passkey, and where it is used.
pub(crate) struct Authenticator {
    pub(crate) id: Vec<u8>,
    pair: EcdsaKeyPair,
    counter: AtomicU32,
}

/// What the browser says and how the authenticator was touched.
#[derive(Clone, Copy)]
pub(crate) struct Touch<'a> {
    pub(crate) origin: &'a str,
    pub(crate) rp_id: &'a str,
    pub(crate) flags: u8,
}

pub(crate) const RP_ID: &str = "vault.test";
pub(crate) const ORIGIN: &str = "https://vault.test:8443";
/// Present and verified, on the vault's own page.
pub(crate) const GOOD: Touch<'_> = Touch { origin: ORIGIN, rp_id: RP_ID, flags: 0x05 };

impl Authenticator {
    pub(crate) fn new(id: &[u8]) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { id: id.to_vec(), pair, counter: AtomicU32::new(1) }
    }

    /// COSE_Key for ES256.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], &point[1..33], &[0x22, 0x58, 32], &point[33..]].concat()
    }

    pub(crate) fn signs(&self, challenge: &[u8; 32], touch: Touch<'_>) -> Assertion {
        self.signs_at(challenge, touch, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// With that sign counter.
    pub(crate) fn signs_at(&self, challenge: &[u8; 32], touch: Touch<'_>, counter: u32) -> Assertion {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let said = serde_json::json!({
            "type": "webauthn.get", "challenge": challenge, "origin": touch.origin, "crossOrigin": false,
        });
        let said = said.to_string();
        let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
        let data = [hash(touch.rp_id.as_bytes()), vec![touch.flags], counter.to_be_bytes().to_vec()].concat();
        let signed = [data.clone(), hash(said.as_bytes())].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        Assertion {
            credential_id: Base64Bytes::new(&self.id).unwrap(),
            client_data_json: Base64Bytes::new(said.as_bytes()).unwrap(),
            authenticator_data: Base64Bytes::new(&data).unwrap(),
            signature: Base64Bytes::new(signature.as_ref()).unwrap(),
        }
    }
}
