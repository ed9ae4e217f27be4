//! 32 secret bytes inside the keyring.

use leadglass_model::Entropy;
use leadglass_seal::WrappingKey;
use zeroize::Zeroize;

/// 32 secret bytes. On the heap, so that a moved keyring leaves no copies; wiped when dropped; not `Clone`, mute in `Debug`.
pub struct Secret32(Box<[u8; 32]>);

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret32 {
    /// Fresh random bytes.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut secret = Self(Box::new([0; 32]));
        entropy.fill(secret.0.as_mut_slice());
        secret
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// As a key that wraps others.
    pub fn wrapping(&self) -> WrappingKey {
        WrappingKey::from_bytes(*self.0)
    }
}

impl std::fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret32(‹secret›)")
    }
}

impl<C> minicbor::Encode<C> for Secret32 {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.reveal())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Secret32 {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let bytes = d.bytes()?;
        let mut secret = Self(Box::new([0; 32]));
        if bytes.len() != secret.0.len() {
            return Err(minicbor::decode::Error::message("a secret is 32 bytes").at(at));
        }
        secret.0.copy_from_slice(bytes);
        Ok(secret)
    }
}
