//! The 120 bytes in front of a sealed object, and what is derived from them.
//!
//! Source: FORMAT.md §2. Every bit of the header is either checked against a constant, compared with what was asked
//! for, or bound by the commitment.

use crate::{
    derive::{Derived, derive_object},
    error::OpenError,
    key::ObjectRoot,
    range::ChunkSize,
    suite::{Backend, Suite},
};
use leadglass_model::{KeyGen, KeyId, ObjectId, TenantId};
use subtle::ConstantTimeEq;

/// What a sealed object is bound to: whose it is, its name, and the key it lies under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealedName {
    /// The controller; enters the key derivation, stands nowhere in the object.
    pub tenant: TenantId,
    /// The object's name in the bucket.
    pub object_id: ObjectId,
    /// Which key.
    pub key_id: KeyId,
    /// Which generation of it.
    pub key_gen: KeyGen,
}

/// A header that parsed. It is not authenticated yet: only an [`Opener`](crate::Opener) checks the commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    suite: Suite,
    chunk_size: ChunkSize,
    object_id: ObjectId,
    key_id: KeyId,
    key_gen: KeyGen,
}

/// A field of the header that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderField {
    /// Byte 8, the format's version.
    Version,
    /// Byte 9.
    Suite,
    /// Byte 10.
    ChunkSize,
    /// Byte 11.
    Flags,
    /// Bytes 12..14.
    HeaderLen,
    /// Bytes 14..16 and 52..56.
    Reserved,
    /// Bytes 48..52: generation zero.
    KeyGen,
}

impl Header {
    /// Parses the first 120 bytes of a sealed object; more bytes are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let Some((&bytes, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(OpenError::NotSealed);
        };
        if bytes[..8] != MAGIC {
            return Err(OpenError::NotSealed);
        }
        let refuse = |field| Err(OpenError::Header { field });
        if bytes[8] != VERSION {
            return refuse(HeaderField::Version);
        }
        let Some(suite) = Suite::from_number(bytes[9]) else {
            return refuse(HeaderField::Suite);
        };
        let Some(chunk_size) = ChunkSize::read(bytes[10]) else {
            return refuse(HeaderField::ChunkSize);
        };
        if bytes[11] != 0 {
            return refuse(HeaderField::Flags);
        }
        if bytes[12..14] != HEADER_LEN_FIELD {
            return refuse(HeaderField::HeaderLen);
        }
        if bytes[14..16] != [0; 2] || bytes[52..56] != [0; 4] {
            return refuse(HeaderField::Reserved);
        }
        let Some(key_gen) = KeyGen::new(u32::from_be_bytes(field(&bytes, 48))) else {
            return refuse(HeaderField::KeyGen);
        };
        Ok(Self {
            bytes,
            suite,
            chunk_size,
            object_id: ObjectId::from_bytes(field(&bytes, 16)),
            key_id: KeyId::from_bytes(field(&bytes, 32)),
            key_gen,
        })
    }

    /// The 120 bytes, as the index pins them.
    pub const fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }
    /// Cipher suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }
    /// Plaintext bytes of a chunk.
    pub const fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }
    /// The name that the object claims.
    pub const fn object_id(&self) -> ObjectId {
        self.object_id
    }
    /// The key that the object claims to lie under. Who rebuilds an index asks the key service for it.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
    /// The generation of that key.
    pub const fn key_gen(&self) -> KeyGen {
        self.key_gen
    }

    /// Writes a header: the prefix, then the commitment that follows from it.
    pub(crate) fn write(
        root: &impl ObjectRoot,
        name: &SealedName,
        suite: Suite,
        chunk_size: ChunkSize,
        salt: &[u8; 32],
        backend: Backend,
    ) -> (Self, Derived) {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = VERSION;
        bytes[9] = suite.number();
        bytes[10] = chunk_size.log2();
        bytes[12..14].copy_from_slice(&HEADER_LEN_FIELD);
        bytes[16..32].copy_from_slice(name.object_id.as_bytes());
        bytes[32..48].copy_from_slice(name.key_id.as_bytes());
        bytes[48..52].copy_from_slice(&name.key_gen.get().to_be_bytes());
        bytes[56..88].copy_from_slice(salt);
        let derived = derive_object(backend, root.bytes(), &field(&bytes, 0), &name.tenant);
        bytes[88..].copy_from_slice(derived.commitment());
        let header =
            Self { bytes, suite, chunk_size, object_id: name.object_id, key_id: name.key_id, key_gen: name.key_gen };
        (header, derived)
    }

    /// Compares the ids with what was asked for.
    pub(crate) fn check_name(&self, name: &SealedName) -> Result<(), OpenError> {
        if self.object_id != name.object_id {
            return Err(OpenError::WrongObject);
        }
        if self.key_id != name.key_id || self.key_gen != name.key_gen {
            return Err(OpenError::WrongKey);
        }
        Ok(())
    }

    /// Derives the object's key and checks the commitment, in constant time. Nothing is opened before this.
    pub(crate) fn unlock(
        &self,
        root: &impl ObjectRoot,
        tenant: &TenantId,
        backend: Backend,
    ) -> Result<Derived, OpenError> {
        let derived = derive_object(backend, root.bytes(), &field(&self.bytes, 0), tenant);
        if bool::from(derived.commitment().ct_eq(&self.bytes[88..])) {
            Ok(derived)
        } else {
            Err(OpenError::KeyMismatch)
        }
    }
}

/// A fixed field of a fixed-size block.
pub(crate) fn field<const LEN: usize, const OF: usize>(block: &[u8; OF], at: usize) -> [u8; LEN] {
    block[at..at + LEN].try_into().expect("the slice has the asked length")
}

/// Length of the header, bytes.
pub const HEADER_LEN: usize = 120;
/// Length of the part that the key derivation binds, bytes.
pub(crate) const PREFIX_LEN: usize = 88;
/// A byte that is not text, the name, and CR LF SUB LF: what text-mode copying would damage.
const MAGIC: [u8; 8] = *b"\x89SVO\r\n\x1a\n";
const VERSION: u8 = 1;
const HEADER_LEN_FIELD: [u8; 2] = [0, 120];
