//! The keyring: every key that rarely changes, in one small file.
//!
//! The file is an SVO1 object under the epoch key E_n, rewritten whole. It holds a sequence number that the key database
//! keeps too: an older keyring, put back to revive a shard key that was dropped, is refused. Key id and generation in the
//! file's header are the epoch's name and number.
//!
//! Order of a rewrite: keyring with sequence n+1 durable → database says n+1. Dying in between leaves a keyring one ahead
//! of its database, which is what the next start expects to be possible.
//!
//! Law: what a start accepts is the newest keyring or nothing (`tests::older_keyring`, `tests/stolen.rs`).

mod secret32;
mod tenant;

pub use secret32::Secret32;
pub use tenant::{OpenedSecret, PEPPER, SHARD_STUDIES, Shard, TenantRing, Versioned, WrappedSecret};

use crate::{disk, disk::DiskError, provider::Epoch};
use leadglass_keys::wire::Word;
use leadglass_model::{Entropy, Fault, KeyId, ObjectId, TenantId, UnixMillis};
use leadglass_seal::{EpochKey, HEADER_LEN, Header, OpenError, Opener, SealOptions, SealedName, Sealer};
use minicbor::{Decode, Encode};
use std::path::Path;
use zeroize::Zeroizing;

/// All that the key service must not lose and must not show.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct Keyring {
    /// Random name of this key service's keyring; never changes.
    #[n(0)]
    pub id: KeyId,
    /// Grows by one at each rewrite.
    #[n(1)]
    pub sequence: u64,
    /// The practices and hospitals.
    #[n(2)]
    pub tenants: Vec<TenantRing>,
    /// Who may call, by the hash of a public key.
    #[n(3)]
    pub clients: Vec<Client>,
    /// Keys of the service itself.
    #[n(4)]
    pub own: OwnKeys,
    /// The certificate authority, once `ca init` made it.
    #[n(5)]
    pub authority: Option<Authority>,
    /// The age recipient of the recovery sheet. Its secret half is on paper.
    #[n(6)]
    pub recovery_recipient: String,
    /// When it was made, milliseconds since 1970.
    #[n(7)]
    pub created_at_ms: u64,
}

/// Keys of the service itself: Ed25519 seeds and one MAC key.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct OwnKeys {
    /// Signs the key service's own log.
    #[n(0)]
    pub log: Secret32,
    /// Signs as witness of the vault's log.
    #[n(1)]
    pub witness: Secret32,
    /// Signs receipts and attestations.
    #[n(2)]
    pub receipt: Secret32,
    /// The vault's log signing seed, handed out as the secret `audit-log`.
    #[n(3)]
    pub audit_log: Secret32,
    /// Authenticates backups.
    #[n(4)]
    pub backup: Secret32,
}

/// A client that may call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Client {
    /// SHA-256 of its SubjectPublicKeyInfo.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub key_hash: [u8; 32],
    /// What people call it.
    #[n(1)]
    pub label: String,
    /// What it may do.
    #[n(2)]
    pub roles: Vec<ClientRole>,
    /// For whom; empty means all tenants.
    #[n(3)]
    pub tenants: Vec<TenantId>,
    /// Since when, milliseconds since 1970.
    #[n(4)]
    pub enrolled_at_ms: u64,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum ClientRole {
    /// Makes and binds study keys.
    #[n(0)]
    Ingest,
    /// Opens, restricts and destroys study keys, reads tenants' secrets, has its log witnessed.
    #[n(1)]
    Vault,
    /// Makes tenants, rotates, resets the log. Opens nothing.
    #[n(2)]
    Admin,
}

/// The small certificate authority behind mutual TLS.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Authority {
    /// Its certificate, PEM.
    #[n(0)]
    pub certificate_pem: String,
    /// Its private key, PKCS#8 PEM.
    #[n(1)]
    pub key_pem: PrivatePem,
}

/// A private key in PEM. Wiped when dropped, mute in `Debug`.
#[derive(Encode, Decode)]
#[cbor(transparent)]
pub struct PrivatePem(#[n(0)] pub Box<str>);

impl Drop for PrivatePem {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivatePem(‹secret›)")
    }
}

/// Why a keyring file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The file does not open under this epoch key.
    #[error("the keyring does not open")]
    Open(#[source] OpenError),
    /// The file opens and does not decode: another version, or a defect.
    #[error("the keyring cannot be read")]
    Damaged,
    /// The database knows a newer keyring.
    #[error("this keyring is number {found}, the key database knows number {known}: an older keyring is refused")]
    Older {
        /// In the file.
        found: u64,
        /// In the database.
        known: u64,
    },
    /// The database is behind by more than the one step that a crash explains.
    #[error("the key database is older than the keyring ({known} against {found}): restore both together")]
    DatabaseOlder {
        /// In the file.
        found: u64,
        /// In the database.
        known: u64,
    },
    /// The database belongs to another keyring.
    #[error("keyring and key database do not belong together")]
    Stranger,
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl KeyringError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Open(_) | Self::Damaged | Self::Older { .. } | Self::DatabaseOlder { .. } | Self::Stranger => {
                Fault::Corrupt
            }
            Self::Disk(source) => source.fault(),
        }
    }
}

impl Keyring {
    /// A keyring without tenants.
    pub fn fresh(recovery_recipient: String, now: UnixMillis, entropy: &dyn Entropy) -> Self {
        Self {
            id: KeyId::random(entropy),
            sequence: 1,
            tenants: Vec::new(),
            clients: Vec::new(),
            own: OwnKeys {
                log: Secret32::random(entropy),
                witness: Secret32::random(entropy),
                receipt: Secret32::random(entropy),
                audit_log: Secret32::random(entropy),
                backup: Secret32::random(entropy),
            },
            authority: None,
            recovery_recipient,
            created_at_ms: now.0,
        }
    }

    /// The tenant's keys.
    pub fn tenant(&self, tenant: TenantId) -> Option<&TenantRing> {
        self.tenants.iter().find(|t| t.tenant == tenant)
    }

    /// The tenant's keys, to change them.
    pub fn tenant_mut(&mut self, tenant: TenantId) -> Option<&mut TenantRing> {
        self.tenants.iter_mut().find(|t| t.tenant == tenant)
    }

    /// Adds a tenant with a KEK, a first shard and its secrets.
    pub fn add_tenant(&mut self, label: &Word, now: UnixMillis, entropy: &dyn Entropy) -> TenantId {
        let ring = TenantRing::fresh(label, now, entropy);
        let tenant = ring.tenant;
        self.tenants.push(ring);
        tenant
    }

    /// The client with this public key.
    pub fn client(&self, key_hash: &[u8; 32]) -> Option<&Client> {
        self.clients.iter().find(|c| c.key_hash == *key_hash)
    }

    /// A copy to be changed and written: the keyring in force stays as it is until the new one is durable.
    pub fn draft(&self) -> Self {
        let mut copy: Self =
            minicbor::decode(&self.encode()).expect("what a keyring encodes to, a keyring decodes from");
        copy.sequence += 1;
        copy
    }

    /// Seals the keyring under an epoch.
    pub fn seal(&self, epoch: Epoch, key: &EpochKey, entropy: &dyn Entropy) -> Vec<u8> {
        let mut sealed = Vec::new();
        let name = name(ObjectId::random(entropy), epoch);
        let mut sealer = Sealer::begin(key, &name, SealOptions::default(), entropy, &mut sealed);
        sealer.write(&self.encode(), &mut sealed).expect("a keyring is far below the length limit of an object");
        let _stream = sealer.finish(&mut sealed);
        sealed
    }

    /// Opens a sealed keyring.
    pub fn open(mut sealed: Vec<u8>, epoch: Epoch, key: &EpochKey) -> Result<Self, KeyringError> {
        let len = sealed.len() as u64;
        let (header, body) = sealed.split_first_chunk_mut::<HEADER_LEN>().ok_or(KeyringError::Damaged)?;
        // The object's own id is fresh at every rewrite and nobody pins it; the sequence number inside tells old from new.
        let parsed = Header::parse(header).map_err(KeyringError::Open)?;
        let name = name(parsed.object_id(), epoch);
        let opener = Opener::pinned(key, &name, header, len).map_err(KeyringError::Open)?;
        let run = opener.open_run(0, body).map_err(KeyringError::Open)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(run.plain_len()));
        for piece in run.slices() {
            plain.extend_from_slice(piece);
        }
        zeroize::Zeroize::zeroize(&mut sealed);
        minicbor::decode(&plain).map_err(|_| KeyringError::Damaged)
    }

    /// Seals the keyring and replaces the file.
    pub fn write(&self, path: &Path, epoch: Epoch, key: &EpochKey, entropy: &dyn Entropy) -> Result<(), KeyringError> {
        Ok(disk::replace(path, &self.seal(epoch, key, entropy))?)
    }

    /// Reads and opens the file.
    pub fn read(path: &Path, epoch: Epoch, key: &EpochKey) -> Result<Self, KeyringError> {
        Self::open(disk::read_bounded(path, MAX_FILE_BYTES)?, epoch, key)
    }

    /// The name of the epoch whose key opens the file. It stands in the header in clear; opening the file proves it.
    pub fn epoch_of(path: &Path) -> Result<KeyId, KeyringError> {
        let sealed = disk::read_bounded(path, MAX_FILE_BYTES)?;
        let header = sealed.first_chunk::<HEADER_LEN>().ok_or(KeyringError::Damaged)?;
        Ok(Header::parse(header).map_err(KeyringError::Open)?.key_id())
    }

    /// Compares with what the database keeps: the same keyring, and never an older one.
    pub fn check_against(&self, known_id: KeyId, known: u64) -> Result<(), KeyringError> {
        let found = self.sequence;
        if self.id != known_id {
            Err(KeyringError::Stranger)
        } else if found < known {
            Err(KeyringError::Older { found, known })
        } else if found > known + 1 {
            Err(KeyringError::DatabaseOlder { found, known })
        } else {
            Ok(())
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for the whole, so that no copy of a shorter buffer stays behind.
        let mut out = Zeroizing::new(Vec::with_capacity(INITIAL_CAPACITY));
        minicbor::encode(self, &mut *out).expect("writing to memory does not fail");
        out
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({}, number {})", self.id, self.sequence)
    }
}

fn name(object_id: ObjectId, epoch: Epoch) -> SealedName {
    SealedName { tenant: TenantId::from_bytes([0; 16]), object_id, key_id: epoch.id, key_gen: epoch.number }
}

/// 1,000 shards are about 60 KB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
const INITIAL_CAPACITY: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{KeyGen, SystemEntropy};

    const EPOCH: Epoch = Epoch { id: KeyId::from_bytes([3; 16]), number: KeyGen::FIRST };

    fn keyring() -> Keyring {
        let mut keyring = Keyring::fresh("age1x".to_owned(), UnixMillis(5), &SystemEntropy);
        keyring.add_tenant(&Word::new("practice").unwrap(), UnixMillis(6), &SystemEntropy);
        keyring
    }

    #[test]
    fn a_sealed_keyring_comes_back_and_holds_none_of_its_keys_in_clear() {
        let (keyring, key) = (keyring(), EpochKey::from_bytes([9; 32]));
        let sealed = keyring.seal(EPOCH, &key, &SystemEntropy);
        assert!(!sealed.windows(32).any(|w| w == keyring.own.receipt.reveal()));
        let again = Keyring::open(sealed, EPOCH, &key).unwrap();
        assert_eq!(again.own.receipt.reveal(), keyring.own.receipt.reveal());
        assert_eq!(again.tenants[0].shards[0].id, keyring.tenants[0].shards[0].id);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let key = EpochKey::from_bytes([9; 32]);
        let sealed = keyring().seal(EPOCH, &key, &SystemEntropy);
        for at in (0..sealed.len()).step_by(7) {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(Keyring::open(flipped, EPOCH, &key).is_err(), "byte {at}");
            assert!(Keyring::open(sealed[..at].to_vec(), EPOCH, &key).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_epochs_key_or_name_opens_nothing() {
        let sealed = keyring().seal(EPOCH, &EpochKey::from_bytes([9; 32]), &SystemEntropy);
        assert!(Keyring::open(sealed.clone(), EPOCH, &EpochKey::from_bytes([8; 32])).is_err());
        let other = Epoch { number: KeyGen::new(2).unwrap(), ..EPOCH };
        assert!(Keyring::open(sealed, other, &EpochKey::from_bytes([9; 32])).is_err());
    }

    #[test]
    fn an_older_keyring_is_refused_and_one_that_a_crash_left_ahead_is_not() {
        let keyring = keyring();
        let (id, at) = (keyring.id, keyring.sequence);
        assert!(keyring.check_against(id, at).is_ok());
        assert!(keyring.check_against(id, at - 1).is_ok());
        assert!(matches!(keyring.check_against(id, at + 1), Err(KeyringError::Older { .. })));
        assert!(matches!(keyring.draft().draft().check_against(id, at), Err(KeyringError::DatabaseOlder { .. })));
        assert!(matches!(keyring.check_against(KeyId::from_bytes([1; 16]), at), Err(KeyringError::Stranger)));
    }
}
