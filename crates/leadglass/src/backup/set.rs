//! A set: what one backup holds, as JSON, sealed. Its file is written last; without it there is no backup.

use leadglass_model::{KeyId, ObjectId};
use serde::{Deserialize, Serialize};

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Of this description; 1.
    pub version: u32,
    /// When it was taken, milliseconds since 1970. Studies stored later are not in it.
    pub taken_ms: u64,
    /// Entries of the log that its index knows of.
    pub tree_size: u64,
    /// Records of the journal that its index holds.
    pub position: u64,
    /// Files of the vault's data directory.
    pub files: Vec<SetFile>,
    /// Objects, and the pieces of their list.
    pub objects: ObjectList,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFile {
    /// Where it lies, below the data directory.
    pub path: String,
    /// Its pieces, in order.
    pub pieces: Vec<ObjectId>,
}

/// The objects of a set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectList {
    /// How many.
    pub count: u64,
    /// Sealed bytes of all of them.
    pub bytes: u64,
    /// Whether they lie in the backup. `false`: they lie in a bucket, which keeps versions and copies of its own.
    pub copied: bool,
    /// Pieces of the list: [`Copied`] records, one behind the other.
    pub pieces: Vec<ObjectId>,
}

/// An object that lies in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Which.
    pub object: ObjectId,
    /// Under which key, as its header says.
    pub key: KeyId,
    /// Its bytes.
    pub len: u64,
    /// BLAKE3 of its bytes, as they were copied; zeros where it was not copied.
    pub digest: [u8; 32],
}

impl Copied {
    /// Bytes of one.
    pub const LEN: usize = 72;

    /// As it lies in a list.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(self.object.as_bytes());
        bytes[16..32].copy_from_slice(self.key.as_bytes());
        bytes[32..40].copy_from_slice(&self.len.to_be_bytes());
        bytes[40..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads what [`Copied::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut object, mut key, mut len, mut digest) = ([0; 16], [0; 16], [0; 8], [0; 32]);
        object.copy_from_slice(&bytes[..16]);
        key.copy_from_slice(&bytes[16..32]);
        len.copy_from_slice(&bytes[32..40]);
        digest.copy_from_slice(&bytes[40..]);
        let (object, key) = (ObjectId::from_bytes(object), KeyId::from_bytes(key));
        Self { object, key, len: u64::from_be_bytes(len), digest }
    }

    /// All of a list; what is left over at its end was being written when somebody died.
    pub fn read_all(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks::<{ Self::LEN }>().0.iter().map(Self::from_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_without_what_was_half_written() {
        let one =
            Copied { object: ObjectId::from_bytes([1; 16]), key: KeyId::from_bytes([2; 16]), len: 77, digest: [3; 32] };
        let mut bytes = [one.to_bytes(), one.to_bytes()].concat();
        assert_eq!(Copied::read_all(&bytes), [one, one]);
        bytes.pop();
        assert_eq!(Copied::read_all(&bytes), [one]);
    }
}
