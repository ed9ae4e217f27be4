//! The index engine's rows, opened with the engine itself while the vault is stopped.

use crate::process::until;
use crate::vault::Vault;
use std::time::Duration;

/// The rows of a stopped vault: `r`, tenant, table, StudyRef, keyed token.
#[derive(Debug)]
pub struct Rows(sled::Db);

impl Rows {
    /// Opens them.
    ///
    /// # Panics
    /// When somebody else has them open.
    #[must_use]
    pub fn of(vault: &Vault) -> Self {
        // A folder that its engine has just left may be locked for a moment more.
        let path = vault.up.data.vault.join("index/rows");
        let mut open = None;
        let opened = until(SOON, || {
            open = sled::Config::new().path(&path).mode(sled::Mode::LowSpace).open().ok();
            open.is_some()
        });
        assert!(opened, "the index is open elsewhere");
        Self(open.expect("it was opened"))
    }

    /// Rows of a table (1 study, 2 series, 3 instance, 4 metadata), in the order of their names.
    ///
    /// # Panics
    /// When the engine cannot read.
    #[must_use]
    pub fn table(&self, number: u8) -> Vec<(sled::IVec, sled::IVec)> {
        let rows = self.0.scan_prefix(b"r").map(|row| row.expect("the engine reads"));
        rows.filter(|(name, _)| name.len() == 50 && name[17] == number).collect()
    }

    /// Writes a row, or removes it.
    ///
    /// # Panics
    /// When the engine cannot write.
    pub fn put(&self, name: &[u8], row: Option<&[u8]>) {
        let done = match row {
            Some(row) => self.0.insert(name, row),
            None => self.0.remove(name),
        };
        done.expect("the engine writes");
    }

    /// Leaves them as they are now.
    ///
    /// # Panics
    /// When the engine cannot write.
    pub fn close(self) {
        self.0.flush().expect("the engine writes");
    }
}

const SOON: Duration = Duration::from_secs(30);
