//! The file written anew, so that nothing lies in it any more that was deleted.
//!
//! The engine frees the pages of what is deleted or overwritten and leaves their bytes in the file until something else is put
//! there. What was under a deleted key of a patient would lie there with it. So an erasure that deletes such a key has the live
//! rows copied into a new file, which takes the old one's place and name; the old one has no name then, and its blocks are
//! the file system's. What a medium keeps of them is not reached from here.

use crate::{
    RecordError, TenantRecords,
    copy::{copy, copy_hashes},
    database::{self, CACHE_BYTES, SESSIONS, Store},
};
use redb::{Builder, ReadableDatabase};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
};

impl TenantRecords {
    /// Writes the file anew, of all tenants, without what was deleted or overwritten. Others wait meanwhile: about a second for
    /// a hundred thousand rows.
    ///
    /// Cancel safety: it goes on. Killed on the way, the old file stands as it was.
    pub async fn forget_old_bytes(&self) -> Result<(), RecordError> {
        let store = self.store();
        let rewritten = tokio::task::spawn_blocking(move || store.rewrite()).await?;
        Ok(rewritten?)
    }
}

impl Store {
    /// Copies what stands into a new file and goes on with that one. Blocks.
    pub(crate) fn rewrite(&self) -> Result<(), redb::Error> {
        let fresh = self.path.with_extension("rewritten");
        // Nobody begins anything from here; who has begun to write is waited for, who reads goes on with the old file.
        let mut database = self.database.write();
        let Some(old) = &*database else { return Err(redb::Error::PreviousIo) };
        let writer = old.begin_write()?;
        let from = old.begin_read()?;
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(redb::Error::Io(error)),
            _ => {}
        }
        // Made empty first, so that it is never readable for others.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&fresh);
        let file = file.map_err(redb::Error::Io)?;
        let to = Builder::new().set_cache_size(CACHE_BYTES).create(&fresh)?;
        database::prepare(&to)?;
        copy(&from, &to)?;
        copy_hashes(&from, &to, SESSIONS)?;
        file.sync_all().map_err(redb::Error::Io)?;
        // Dying before this, the old file stands; after it, the new one.
        fs::rename(&fresh, &self.path).map_err(redb::Error::Io)?;
        let named = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir).and_then(|dir| dir.sync_all()),
            _ => Ok(()),
        };
        drop(from);
        writer.abort()?;
        *database = Some(to);
        named.map_err(redb::Error::Io)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expected, OpenError, RecordKey, Records, Table, database::RECORDS};
    use leadglass_model::{SystemClock, SystemEntropy, TenantId};
    use redb::ReadableTable;
    use std::{path::Path, sync::Arc};
    use zeroize::Zeroizing;

    fn open(path: &Path) -> Result<Records, OpenError> {
        Records::open(path, Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    /// The sealed values as they lie in the file.
    fn sealed(records: &Records) -> Vec<Vec<u8>> {
        let read = records.store.begin_read().unwrap();
        let table = read.open_table(RECORDS).unwrap();
        table.iter().unwrap().map(|row| row.unwrap().1.value().to_vec()).collect()
    }

    fn lies_in(path: &Path, bytes: &[u8]) -> bool {
        std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    }

    #[tokio::test]
    async fn what_was_deleted_lies_in_the_file_until_it_is_written_anew_and_not_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.redb");
        let records = open(&path).unwrap();
        let own = records.tenant(TenantId::from_bytes([7; 16]), RecordKey::from_bytes([1; 32]));
        let put = async |key: u8, value: &[u8]| {
            let value = Zeroizing::new(value.to_vec());
            own.put(Table::Subjects, &[key], value, Expected::Anything).await.unwrap();
        };
        for key in 0..40 {
            put(key, &[key; 160]).await;
        }
        let before = sealed(&records);
        put(1, b"another").await;
        own.delete(Table::Subjects, &[2]).await.unwrap();
        // The page that a commit frees is not used again by that commit, so the last one is sure to be there still.
        assert!(lies_in(&path, &before[2]), "the engine forgets nothing by itself");

        // Others go on meanwhile, and lose nothing.
        let (writer, rewriting) = (own.clone(), own.clone());
        let writes = tokio::spawn(async move {
            for key in 100..140 {
                let value = Zeroizing::new(vec![key; 160]);
                writer.put(Table::Subjects, &[key], value, Expected::Anything).await.unwrap();
            }
        });
        rewriting.forget_old_bytes().await.unwrap();
        writes.await.unwrap();
        own.forget_old_bytes().await.unwrap();
        let standing = sealed(&records);
        for (key, bytes) in before.iter().enumerate() {
            assert_eq!(lies_in(&path, bytes), standing.contains(bytes), "row {key}");
        }
        assert!(!standing.contains(&before[1]) && !standing.contains(&before[2]));
        assert_eq!(standing.len(), 39 + 40);
        assert!(matches!(open(&path), Err(OpenError::Locked)), "the new file is as locked as the old one was");
        drop((own, rewriting, records));
        assert_eq!(sealed(&open(&path).unwrap()), standing);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
