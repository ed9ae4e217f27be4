//! A copy of what the vault keeps, taken while it serves: in `DATA/backup/`, until it was carried away.
//!
//! ```text
//!  index      rows as they lie in the index: tenant[16] ‖ row key[33] ‖ length[4] ‖ sealed row
//!  audit/…    the log's files; those that are never written again are links
//!  key-log/…  what was seen of the key service's log
//!  records.redb
//!  vault.toml the configuration, which names files with secrets and holds none
//! ```
//!
//! It lies on the vault's own disk and holds what lies there already: sealed rows, sealed records, the log.

use super::OPERATOR;
use crate::node::Layout;
use anyhow::Context;
use leadglass_engine::Engine;
use leadglass_index::{Index, Mark, RowKey, Table};
use leadglass_model::{Clock, SystemClock, TenantId};
use leadglass_records::Records;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a stage is made from.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The use cases.
    pub engine: Engine,
    /// The index below the catalog.
    pub index: Arc<leadglass_index_sled::SledIndex>,
    /// The records.
    pub records: Records,
    /// Where the vault keeps what.
    pub layout: Layout,
    /// The data directory.
    pub data: PathBuf,
    /// The configuration's file.
    pub config: PathBuf,
    /// The node's tenants.
    pub tenants: Vec<TenantId>,
}

/// A stage that stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Its folder.
    pub dir: PathBuf,
    /// When it was taken, milliseconds since 1970.
    pub taken_ms: u64,
    /// Entries of the log that its index knows of.
    pub tree_size: u64,
    /// Records of the journal that its index holds.
    pub position: u64,
    /// For so long nothing moved on from the journal, milliseconds.
    pub still_ms: u64,
}

impl Desk {
    /// Takes a stage in the place of an older one.
    pub async fn stage(&self) -> anyhow::Result<Stage> {
        let dir = self.data.join("backup");
        clear(&dir)?;
        crate::files::make_dir(&dir)?;
        let still = self.engine.hold_still(OPERATOR).await?;
        let (taken, mark) = (SystemClock.now().0, still.mark);
        self.index_rows(&dir.join(INDEX)).await?;
        let (records, layout, to) = (self.records.clone(), self.layout.clone(), dir.clone());
        let copied = tokio::task::spawn_blocking(move || {
            records.copy_to(&to.join(RECORDS)).context("cannot copy the records")?;
            files_of(&layout.audit, &to.join(AUDIT), |name| name == "tail")?;
            // Small, and not under the hold: what was seen of another's log may be a little older.
            files_of(&layout.key_log, &to.join(KEY_LOG), |_| true)
        });
        copied.await??;
        let still_ms = SystemClock.now().0.saturating_sub(taken);
        drop(still);
        fs::copy(&self.config, dir.join(CONFIG)).context("cannot copy the configuration")?;
        let Mark { tree_size, position } = mark;
        Ok(Stage { dir, taken_ms: taken, tree_size, position, still_ms })
    }

    async fn index_rows(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for tenant in &self.tenants {
            for table in Table::ALL {
                let mut after: Option<RowKey> = None;
                loop {
                    let page =
                        self.index.scan(*tenant, table, None, after, ROWS).await.context("cannot read the index")?;
                    let Some((last, _)) = page.last() else { break };
                    after = Some(*last);
                    tokio::task::block_in_place(|| {
                        page.iter().try_for_each(|(key, row)| {
                            file.write_all(tenant.as_bytes())?;
                            file.write_all(&key.to_bytes())?;
                            let len = u32::try_from(row.len()).map_err(io::Error::other)?;
                            file.write_all(&len.to_be_bytes())?;
                            file.write_all(row)
                        })
                    })?;
                }
            }
        }
        Ok(file.flush()?)
    }
}

/// Links the files below `from`, or copies those that are written again.
fn files_of(from: &Path, to: &Path, is_written_again: impl Fn(&str) -> bool + Copy) -> anyhow::Result<()> {
    crate::files::make_dir(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot look into {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a file of the log has a strange name")?;
        let target = to.join(name);
        if entry.file_type()?.is_dir() {
            files_of(&entry.path(), &target, is_written_again)?;
        } else if name != "lock" && !name.ends_with(".new") {
            let done = if is_written_again(name) {
                fs::copy(entry.path(), &target).map(|_| ())
            } else {
                fs::hard_link(entry.path(), &target)
            };
            match done {
                // A part of a tile that grew: it is in the whole one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.with_context(|| format!("cannot copy {}", entry.path().display()))?,
            }
        }
    }
    Ok(())
}

/// Removes a folder, if it is there.
pub fn clear(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The rows of the index.
pub const INDEX: &str = "index";
/// The log.
pub const AUDIT: &str = "audit";
/// What was seen of the key service's log.
pub const KEY_LOG: &str = "key-log";
/// The records.
pub const RECORDS: &str = "records.redb";
/// The configuration.
pub const CONFIG: &str = "vault.toml";
/// Rows read at a time.
const ROWS: usize = 1_024;
