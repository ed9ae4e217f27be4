//! A copy of the file, for backups: as it stood at one moment, while others go on writing.

use crate::{
    OpenError, Records,
    database::{self, RECORDS, TOKENS},
};
use redb::{Database, ReadTransaction, ReadableTable, TableDefinition};
use std::path::Path;

impl Records {
    /// Copies records and tokens, as they stand now, into a new file at `path`, which must not be there. Values are copied as
    /// they lie here: sealed. Sessions stay behind: whoever is in signs in anew where the copy is used. Blocks.
    ///
    /// Dead on the way: the file at `path` is no whole copy; throw it away.
    pub fn copy_to(&self, path: &Path) -> Result<(), OpenError> {
        if path.try_exists()? {
            return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
        }
        let from = self.store.begin_read()?;
        database::make(path)?;
        let to = Database::open(path).map_err(redb::Error::from)?;
        Ok(copy(&from, &to)?)
    }
}

pub(crate) fn copy(from: &ReadTransaction, to: &Database) -> Result<(), redb::Error> {
    let records = from.open_table(RECORDS)?;
    let mut rows = records.iter()?;
    loop {
        let write = to.begin_write()?;
        let mut copied = 0;
        {
            let mut table = write.open_table(RECORDS)?;
            for row in rows.by_ref().take(AT_A_TIME) {
                let (key, value) = row?;
                table.insert(key.value(), value.value())?;
                copied += 1;
            }
        }
        write.commit()?;
        if copied < AT_A_TIME {
            break;
        }
    }
    copy_hashes(from, to, TOKENS)
}

/// Copies a table whose rows are named by a hash.
pub(crate) fn copy_hashes(
    from: &ReadTransaction,
    to: &Database,
    of: TableDefinition<'static, &'static [u8; 32], &'static [u8]>,
) -> Result<(), redb::Error> {
    let write = to.begin_write()?;
    {
        let mut table = write.open_table(of)?;
        for row in from.open_table(of)?.iter()? {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
        }
    }
    Ok(write.commit()?)
}

/// Rows of one transaction: what lies in memory at a time.
const AT_A_TIME: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expected, RecordKey, Table};
    use leadglass_model::{SystemClock, SystemEntropy, TenantId};
    use std::sync::Arc;
    use zeroize::Zeroizing;

    #[tokio::test]
    async fn a_copy_holds_what_stood_there_and_nothing_later() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            |name: &str| Records::open(&dir.path().join(name), Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
        let of = |records: &Records| records.tenant(TenantId::from_bytes([7; 16]), RecordKey::from_bytes([1; 32]));
        let records = open("a.redb");
        let put = async |key: &[u8]| {
            let value = Zeroizing::new(b"value".to_vec());
            of(&records).put(Table::Devices, key, value, Expected::Anything).await.unwrap();
        };
        put(b"before").await;
        records.copy_to(&dir.path().join("b.redb")).unwrap();
        put(b"after").await;
        assert!(records.copy_to(&dir.path().join("b.redb")).is_err(), "a copy goes over nothing");
        let copy = open("b.redb");
        let found = of(&copy).get(Table::Devices, b"before").await.unwrap().unwrap();
        assert_eq!(found.value.expose().as_slice(), b"value");
        assert!(of(&copy).get(Table::Devices, b"after").await.unwrap().is_none());
    }
}
