//! One tenant's part of the keyring: KEK, secrets under it, shard keys.

use super::Secret32;
use crate::wrapping::{self, Bound, UnwrapError};
use leadglass_keys::wire::{SecretName, Word};
use leadglass_model::{Entropy, KeyGen, KeyId, TenantId, UnixMillis};
use leadglass_seal::{WRAP_LEN, WrapPurpose};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// One tenant's keys.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct TenantRing {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// What the installation calls it.
    #[n(1)]
    pub label: String,
    /// Since when, milliseconds since 1970.
    #[n(2)]
    pub created_at_ms: u64,
    /// Name of the key-encryption key.
    #[n(3)]
    pub kek_id: KeyId,
    /// The key-encryption key in force.
    #[n(4)]
    pub kek: Versioned,
    /// Secrets, wrapped under the KEK (SVK1, purpose 05).
    #[n(5)]
    pub secrets: Vec<WrappedSecret>,
    /// Shard keys; new study keys hang on the last.
    #[n(6)]
    pub shards: Vec<Shard>,
}

/// A key and its version.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Versioned {
    /// From 1.
    #[n(0)]
    pub version: KeyGen,
    /// The key.
    #[n(1)]
    pub key: Secret32,
}

/// One secret of a tenant.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct WrappedSecret {
    /// What it is called on the wire, or `pepper`.
    #[n(0)]
    pub name: String,
    /// Its random name.
    #[n(1)]
    pub id: KeyId,
    /// Its version.
    #[n(2)]
    pub version: KeyGen,
    /// SVK1.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub wrap: [u8; WRAP_LEN],
}

/// A secret's version and bytes.
pub type OpenedSecret = (KeyGen, Zeroizing<[u8; 32]>);

/// The key that about a thousand studies' keys hang on.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Shard {
    /// Random name.
    #[n(0)]
    pub id: KeyId,
    /// Versions in force, ascending. Two while the shard is re-keyed: the old one goes when no wrap hangs on it.
    #[n(1)]
    pub keys: Vec<Versioned>,
}

impl Shard {
    fn fresh(entropy: &dyn Entropy) -> Self {
        let first = Versioned { version: KeyGen::FIRST, key: Secret32::random(entropy) };
        Self { id: KeyId::random(entropy), keys: vec![first] }
    }

    /// The version that new wraps hang on.
    pub fn newest(&self) -> &Versioned {
        self.keys.last().expect("a shard is made with a key and drops only those that have a successor")
    }

    /// A version, if it is still in force.
    pub fn version(&self, version: KeyGen) -> Option<&Versioned> {
        self.keys.iter().find(|k| k.version == version)
    }

    /// Adds the next version. `None` when a re-keying is under way or no number is left.
    pub fn rekey(&mut self, entropy: &dyn Entropy) -> Option<KeyGen> {
        let [only] = self.keys.as_slice() else { return None };
        let version = KeyGen::new(only.version.get().checked_add(1)?)?;
        self.keys.push(Versioned { version, key: Secret32::random(entropy) });
        Some(version)
    }

    /// Whether two versions are in force.
    pub fn is_rekeying(&self) -> bool {
        self.keys.len() > 1
    }

    /// Drops all versions but the newest. To be called when no wrap hangs on them.
    pub fn drop_old(&mut self) {
        let old = self.keys.len().saturating_sub(1);
        self.keys.drain(..old);
    }
}

impl TenantRing {
    /// A tenant with fresh keys.
    pub fn fresh(label: &Word, now: UnixMillis, entropy: &dyn Entropy) -> Self {
        let mut ring = Self {
            tenant: TenantId::random(entropy),
            label: label.as_str().to_owned(),
            created_at_ms: now.0,
            kek_id: KeyId::random(entropy),
            kek: Versioned { version: KeyGen::FIRST, key: Secret32::random(entropy) },
            secrets: Vec::new(),
            shards: vec![Shard::fresh(entropy)],
        };
        for name in TENANT_SECRETS.iter().map(|n| n.as_str()).chain([PEPPER]) {
            let (id, secret) = (KeyId::random(entropy), Secret32::random(entropy));
            let wrap = wrapping::wrap(&ring.secret_binding(id, KeyGen::FIRST), &ring.kek.key, secret.reveal(), entropy);
            ring.secrets.push(WrappedSecret { name: name.to_owned(), id, version: KeyGen::FIRST, wrap });
        }
        ring
    }

    /// Opens a secret: its version and bytes. `None` when the tenant has none of that name.
    pub fn secret(&self, name: &str) -> Option<Result<OpenedSecret, UnwrapError>> {
        let secret = self.secrets.iter().find(|s| s.name == name)?;
        let opened = wrapping::unwrap(&self.secret_binding(secret.id, secret.version), &self.kek.key, &secret.wrap);
        Some(opened.map(|bytes| (secret.version, bytes)))
    }

    /// Puts a new KEK in place of the old one and rewraps the secrets; the keyring's rewrite makes it one step.
    pub fn rotate_kek(&mut self, entropy: &dyn Entropy) -> Result<KeyGen, UnwrapError> {
        let number = self.kek.version.get().checked_add(1).and_then(KeyGen::new).ok_or(UnwrapError)?;
        let mut opened = Vec::with_capacity(self.secrets.len());
        for secret in &self.secrets {
            opened.push(wrapping::unwrap(
                &self.secret_binding(secret.id, secret.version),
                &self.kek.key,
                &secret.wrap,
            )?);
        }
        self.kek = Versioned { version: number, key: Secret32::random(entropy) };
        for (at, bytes) in opened.iter().enumerate() {
            let binding = self.secret_binding(self.secrets[at].id, self.secrets[at].version);
            self.secrets[at].wrap = wrapping::wrap(&binding, &self.kek.key, bytes, entropy);
        }
        Ok(number)
    }

    /// Adds a shard for the keys to come.
    pub fn split(&mut self, entropy: &dyn Entropy) {
        self.shards.push(Shard::fresh(entropy));
    }

    /// The shard that new keys hang on.
    pub fn open_shard(&self) -> &Shard {
        self.shards.last().expect("a tenant is made with a shard and never loses its last")
    }

    /// A shard by name.
    pub fn shard(&self, id: KeyId) -> Option<&Shard> {
        self.shards.iter().find(|s| s.id == id)
    }

    fn secret_binding(&self, id: KeyId, version: KeyGen) -> Bound {
        Bound {
            purpose: WrapPurpose::Secret,
            tenant: self.tenant,
            wrapping: (self.kek_id, self.kek.version),
            wrapped: (id, version),
        }
    }
}

/// The name of the secret that only `mac` uses.
pub const PEPPER: &str = "pepper";
/// Study keys that hang on one shard key before the next shard begins.
pub const SHARD_STUDIES: u64 = 1000;
const TENANT_SECRETS: [SecretName; 5] =
    [SecretName::Token, SecretName::Record, SecretName::AuditDetail, SecretName::DeviceCa, SecretName::Capture];

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    #[test]
    fn a_rotated_kek_changes_every_wrap_and_no_secret() {
        let mut ring = TenantRing::fresh(&Word::new("x").unwrap(), UnixMillis(1), &SystemEntropy);
        let before: Vec<_> = ring.secrets.iter().map(|s| (s.wrap, *ring.secret(&s.name).unwrap().unwrap().1)).collect();
        assert_eq!(ring.rotate_kek(&SystemEntropy).unwrap().get(), 2);
        for (secret, (wrap, bytes)) in ring.secrets.iter().zip(before) {
            assert_ne!(secret.wrap, wrap);
            assert_eq!(*ring.secret(&secret.name).unwrap().unwrap().1, bytes);
        }
    }

    #[test]
    fn a_shard_is_not_rekeyed_twice_at_once() {
        let mut shard = Shard::fresh(&SystemEntropy);
        assert_eq!(shard.rekey(&SystemEntropy).unwrap().get(), 2);
        assert_eq!(shard.rekey(&SystemEntropy), None);
        shard.drop_old();
        assert_eq!((shard.keys.len(), shard.newest().version.get()), (1, 2));
    }
}
