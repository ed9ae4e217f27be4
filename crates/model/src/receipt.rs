//! Receipts: values that only the step they prove can make.
//!
//! `Durable` → `Indexed` → `Acknowledged`. Telling a sender "stored" takes an [`Acknowledged`]; holding one is the proof.
//! The makers are named `attest` and stand in `store`, `index` and `journal` only: search for the word to audit them.

use crate::ObjectId;

/// A sealed object that survives power loss in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    object: ObjectId,
    sealed_len: u64,
}

impl Durable {
    /// To be called by a store once the object is durable.
    pub const fn attest(object: ObjectId, sealed_len: u64) -> Self {
        Self { object, sealed_len }
    }

    /// Which object.
    pub const fn object(&self) -> ObjectId {
        self.object
    }

    /// Its length in the store, in bytes.
    pub const fn sealed_len(&self) -> u64 {
        self.sealed_len
    }
}

/// Rows that survive power loss in the index engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed(());

impl Indexed {
    /// To be called by an index engine once a commit is durable.
    pub const fn attest() -> Self {
        Self(())
    }
}

/// Object, index row and audit entry survive power loss together: the sender may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    position: u64,
    standing: Standing,
}

/// Whether what is stored can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It can be read where its UIDs say.
    Visible,
    /// A person is to look at it first.
    SetAside,
}

impl Acknowledged {
    /// To be called by the journal once a record is durable. `position` orders the records of one node.
    pub const fn attest(position: u64) -> Self {
        Self { position, standing: Standing::Visible }
    }

    /// The same, of an instance that nobody can retrieve until a person has decided about it.
    #[must_use]
    pub const fn set_aside(self) -> Self {
        Self { standing: Standing::SetAside, ..self }
    }

    /// Whether the instance is stored where it cannot be retrieved yet: its sender is told success and no address.
    pub const fn is_set_aside(&self) -> bool {
        matches!(self.standing, Standing::SetAside)
    }

    /// Where in the node's journal it lies.
    pub const fn position(&self) -> u64 {
        self.position
    }
}
