//! A passkey of one's own, as the key service takes it: there it approves jobs, and the key service checks that itself.

use crate::{IdentityError, Owner, People, passkey::StoredPasskey};
use minicbor::Encoder;
use webauthn_rs::prelude::{COSEAlgorithm, COSEKey, COSEKeyType};

/// What the key service wants to know of a passkey. None of it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPasskey {
    /// What the authenticator calls it.
    pub credential_id: Vec<u8>,
    /// COSE_Key (RFC 9052 §7).
    pub public_key: Vec<u8>,
    /// The relying party that it was made for.
    pub rp_id: String,
}

impl People {
    /// A passkey of his own, to be brought to the key service.
    ///
    /// # Errors
    /// [`IdentityError::StepUp`] if the last sign-in is more than ten minutes ago.
    pub fn public_passkey(&self, owner: &Owner, passkey: &str) -> Result<PublicPasskey, IdentityError> {
        self.is_recent(owner)?;
        let wanted = hex::decode(passkey).map_err(|_| IdentityError::Missing)?;
        let entry = self.entry(owner.seat.person)?;
        let stored = entry.person.passkeys.iter().find(|p| p.id == wanted).ok_or(IdentityError::Missing)?;
        let public_key = cose(stored.open()?.get_public_key()).ok_or(IdentityError::Conflict {
            code: "passkey-kind",
            sentence: "The key service takes no passkeys of this kind; make another one.",
        })?;
        Ok(PublicPasskey { credential_id: wanted, public_key, rp_id: self.rp_id()? })
    }

    /// What a browser is asked with, when he approves a job: the relying party, and his passkeys.
    pub fn passkeys_to_approve(&self, owner: &Owner) -> Result<(String, Vec<Vec<u8>>), IdentityError> {
        let entry = self.entry(owner.seat.person)?;
        let ids = entry.person.passkeys.iter().map(|StoredPasskey { id, .. }| id.clone()).collect();
        Ok((self.rp_id()?, ids))
    }

    fn rp_id(&self) -> Result<String, IdentityError> {
        let (options, _) = self.0.passkeys.ask()?;
        options["publicKey"]["rpId"].as_str().map(str::to_owned).ok_or(IdentityError::Broken)
    }
}

/// Members in the order of their kind, so that one key has one form.
fn cose(key: &COSEKey) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut write = Encoder::new(&mut out);
    let written = match (&key.type_, &key.key) {
        (COSEAlgorithm::ES256, COSEKeyType::EC_EC2(point)) => {
            let head = write.map(5).and_then(|w| w.i8(1)?.i8(2)?.i8(3)?.i8(-7)?.i8(-1)?.i8(1));
            head.and_then(|w| w.i8(-2)?.bytes(&point.x)?.i8(-3)?.bytes(&point.y))
        }
        (COSEAlgorithm::EDDSA, COSEKeyType::EC_OKP(point)) => {
            let head = write.map(4).and_then(|w| w.i8(1)?.i8(1)?.i8(3)?.i8(-8)?.i8(-1)?.i8(6));
            head.and_then(|w| w.i8(-2)?.bytes(&point.x))
        }
        (COSEAlgorithm::RS256, COSEKeyType::RSA(key)) => {
            let head = write.map(4).and_then(|w| w.i8(1)?.i8(3)?.i8(3)?.i16(-257));
            head.and_then(|w| w.i8(-1)?.bytes(&key.n)?.i8(-2)?.bytes(&key.e))
        }
        _ => return None,
    };
    written.is_ok().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use webauthn_rs::prelude::{COSEEC2Key, ECDSACurve};

    #[test]
    fn a_key_is_written_as_authenticators_write_it() {
        let point = COSEEC2Key { curve: ECDSACurve::SECP256R1, x: vec![7; 32], y: vec![8; 32] };
        let key = COSEKey { type_: COSEAlgorithm::ES256, key: COSEKeyType::EC_EC2(point) };
        let written = format!("a5010203262001215820{}225820{}", "07".repeat(32), "08".repeat(32));
        assert_eq!(hex::encode(cose(&key).unwrap()), written);
        let other = COSEKey { type_: COSEAlgorithm::ES384, ..key };
        assert_eq!(cose(&other), None);
    }
}
