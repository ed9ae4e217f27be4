//! How things lie in a backup: pieces of up to [`PIECE_BYTES`], each a sealed stream of its own (FORMAT.md, layer A) under a
//! key that follows from a secret of the key service.
//!
//! A piece is called by a keyed hash of its content, so that what did not change since the last backup is there already, and
//! whoever cannot open it cannot tell what it holds. Study rows and records are sealed once more inside.

use anyhow::{Context, ensure};
use leadglass_model::{Entropy, KeyGen, KeyId, ObjectId, TenantId};
use leadglass_seal::{EpochKey, HEADER_LEN, Opener, SealOptions, SealedName, Sealer};
use zeroize::Zeroizing;

/// Seals and opens the pieces of one installation's backups.
pub struct Vessel {
    key: EpochKey,
    naming: Zeroizing<[u8; 32]>,
    key_id: KeyId,
}

impl Vessel {
    /// From the installation's log seed, which the key service lends: no backup opens without it.
    pub fn new(seed: &[u8]) -> Self {
        let naming = Zeroizing::new(blake3::derive_key("leadglass backup 2026 names of pieces", seed));
        let id = blake3::derive_key("leadglass backup 2026 id of the key", seed);
        let mut key_id = [0; 16];
        key_id.copy_from_slice(&id[..16]);
        let key = EpochKey::from_bytes(blake3::derive_key("leadglass backup 2026 sealing key", seed));
        Self { key, naming, key_id: KeyId::from_bytes(key_id) }
    }

    /// What a piece with this content is called.
    pub fn name(&self, plain: &[u8]) -> ObjectId {
        self.named(b"piece", plain)
    }

    /// What a set is called that was taken then: so that an old one is not passed off as a newer.
    pub fn set_name(&self, taken_ms: u64) -> ObjectId {
        self.named(b"set", &taken_ms.to_be_bytes())
    }

    fn named(&self, kind: &[u8], content: &[u8]) -> ObjectId {
        let mut hasher = blake3::Hasher::new_keyed(&self.naming);
        hasher.update(kind).update(&[0]).update(content);
        let mut name = [0; 16];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ObjectId::from_bytes(name)
    }

    /// Seals a piece.
    pub fn seal(&self, name: ObjectId, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 1024 + 2 * HEADER_LEN);
        let mut sealer = Sealer::begin(&self.key, &self.bound(name), SealOptions::default(), entropy, &mut sealed);
        sealer.write(plain, &mut sealed).expect("a piece is far below the length limit of an object");
        let _stream = sealer.finish(&mut sealed);
        sealed
    }

    /// Opens what is called `name`.
    pub fn open(&self, name: ObjectId, mut sealed: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let len = sealed.len() as u64;
        let (header, body) = sealed.split_first_chunk_mut::<HEADER_LEN>().context("it is cut short")?;
        let opener = Opener::pinned(&self.key, &self.bound(name), header, len)?;
        let run = opener.open_run(0, body)?;
        let mut plain = Vec::with_capacity(run.plain_len());
        for slice in run.slices() {
            plain.extend_from_slice(slice);
        }
        Ok(plain)
    }

    /// As [`Vessel::open`], and looks that a piece's content is what its name says.
    pub fn open_piece(&self, name: ObjectId, sealed: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let plain = self.open(name, sealed)?;
        ensure!(self.name(&plain) == name, "it holds something else than its name says");
        Ok(plain)
    }

    fn bound(&self, object_id: ObjectId) -> SealedName {
        SealedName { tenant: TenantId::from_bytes([0; 16]), object_id, key_id: self.key_id, key_gen: KeyGen::FIRST }
    }
}

impl std::fmt::Debug for Vessel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vessel").finish_non_exhaustive()
    }
}

/// Most bytes of a piece's content.
pub const PIECE_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    #[test]
    fn a_piece_opens_under_its_name_and_installation_alone() {
        let vessel = Vessel::new(&[1; 32]);
        let plain = vec![5; 200_000];
        let name = vessel.name(&plain);
        let sealed = vessel.seal(name, &plain, &SystemEntropy);
        assert_eq!(vessel.open_piece(name, sealed.clone()).unwrap(), plain);
        assert!(vessel.open_piece(vessel.name(b"other"), sealed.clone()).is_err());
        assert!(Vessel::new(&[2; 32]).open_piece(name, sealed.clone()).is_err());
        for at in [0, 20, 100, 150, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vessel.open_piece(name, changed).is_err(), "byte {at}");
        }
        assert!(vessel.open_piece(name, sealed[..sealed.len() - 1].to_vec()).is_err());
    }

    #[test]
    fn what_is_equal_is_called_equal_and_only_with_the_same_secret() {
        let vessel = Vessel::new(&[1; 32]);
        assert_eq!(vessel.name(b"x"), vessel.name(b"x"));
        assert_ne!(vessel.name(b"x"), Vessel::new(&[2; 32]).name(b"x"));
        assert_ne!(vessel.set_name(1), vessel.set_name(2));
    }
}
