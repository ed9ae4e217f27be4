//! The port: what an index engine must be able to do.

use crate::{RowKey, Table};
use async_trait::async_trait;
use bytes::Bytes;
use leadglass_model::{Fault, Indexed, StudyRef, TenantId};

/// An engine keeps sealed rows. It knows no keys and cannot read one.
#[async_trait]
pub trait Index: Send + Sync + 'static {
    /// Writes all of the batch or nothing; durable when it answers. Engines group what waits into one sync.
    ///
    /// Cancel safety: a dropped future may or may not have committed.
    async fn commit(&self, batch: Batch) -> Result<Indexed, IndexError>;

    /// One row.
    async fn fetch(&self, tenant: TenantId, key: RowKey) -> Result<Option<Bytes>, IndexError>;

    /// These rows, in the order of their keys as given; of the first ones only, where they reach `max_bytes` together. At
    /// least one key is answered for. Engines that can ask for all at once do.
    async fn fetch_many(
        &self,
        tenant: TenantId,
        keys: &[RowKey],
        max_bytes: usize,
    ) -> Result<Vec<Option<Bytes>>, IndexError> {
        let (mut rows, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in keys {
            let row = self.fetch(tenant, *key).await?;
            bytes += row.as_ref().map_or(0, Bytes::len);
            rows.push(row);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(rows)
    }

    /// Up to `limit` rows of a table in key order: of one study or of all, after the key `after`.
    async fn scan(
        &self,
        tenant: TenantId,
        table: Table,
        study: Option<StudyRef>,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Bytes)>, IndexError>;

    /// The mark of the last batch that carried one; zeros before the first.
    async fn mark(&self) -> Result<Mark, IndexError>;
}

/// Changes that become durable together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Rows to write, in order: a later one for the same key wins.
    pub puts: Vec<(TenantId, RowKey, Bytes)>,
    /// Rows to remove, after the writes.
    pub deletes: Vec<(TenantId, RowKey)>,
    /// How far audit tree and journal are with this batch.
    pub mark: Option<Mark>,
}

/// How far the rest of the node is, as stored with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Entries in the audit tree. At start the index may not be ahead of the tree.
    pub tree_size: u64,
    /// The last journal position that the index holds.
    pub position: u64,
}

/// Why the index failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A row does not authenticate, or does not read as its table's row: changed, moved, replayed, or another tenant's.
    #[error("a {table:?} row is not what was written")]
    Corrupt {
        /// In which table.
        table: Table,
    },
    /// The key of a row is not known to this node.
    #[error("the key of a {table:?} row is not known")]
    NoKey {
        /// In which table.
        table: Table,
    },
    /// The row is still on its way from the journal; the change can be made in a moment.
    #[error("a {table:?} row has not reached the index yet")]
    Pending {
        /// In which table.
        table: Table,
    },
    /// No room on the disk.
    #[error("the index has no room")]
    NoSpace,
    /// Another process holds the index.
    #[error("the index is in use by another process")]
    Locked,
    /// The engine failed.
    #[error("the index engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl IndexError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Corrupt { .. } => Fault::Corrupt,
            Self::NoKey { .. } | Self::Pending { .. } | Self::NoSpace => Fault::Busy,
            Self::Locked | Self::Engine(_) => Fault::Broken,
        }
    }
}
