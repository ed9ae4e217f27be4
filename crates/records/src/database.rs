//! The file under records and tokens.
//!
//! An engine killed while it makes its first file leaves one that does not open; so the file is made under another name,
//! synced and then renamed. Every commit is durable when it returns.

use crate::OpenError;
use redb::{Database, TableDefinition};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// tenant (16) ‖ table (1) ‖ key → sealed value.
pub(crate) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
/// Hash of a token (32) → its row.
pub(crate) const TOKENS: TableDefinition<'static, &[u8; 32], &[u8]> = TableDefinition::new("tokens");

/// Opens the file at `path`; makes it if there is none.
pub(crate) fn open(path: &Path) -> Result<Database, OpenError> {
    if !path.try_exists()? {
        make(path)?;
    }
    Ok(redb::Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(redb::Error::from)?)
}

fn make(path: &Path) -> Result<(), OpenError> {
    let half_made = path.with_extension("new");
    match std::fs::remove_file(&half_made) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    // Made empty first, so that it is never readable for others.
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&half_made)?;
    let database = Database::create(&half_made).map_err(redb::Error::from)?;
    prepare(&database)?;
    drop(database);
    file.sync_all()?;
    std::fs::rename(&half_made, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all()?,
        _ => {}
    }
    Ok(())
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(RECORDS)?;
    write.open_table(TOKENS)?;
    Ok(write.commit()?)
}

const CACHE_BYTES: usize = 32 << 20;
