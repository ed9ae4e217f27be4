//! `leadglass drill`: would the newest backup come back?
//!
//! Its state goes into an empty place of the drill's own, sealed as it is, and is opened there as a vault would: log, records,
//! index. Its objects are read where they lie, every byte, and every instance of the index must have one. Nothing of the
//! running vault is touched, and the place is emptied afterwards.

use super::{
    ATTENTION, Keyhole, bar, carry, open_set, print,
    shelf::{self, Shelf},
    stage, state,
};
use crate::node::{self, Layout};
use anyhow::{Context, ensure};
use leadglass_audit::Log;
use leadglass_index::{Catalog, Query, TenantKeys};
use leadglass_index_sled::{SledIndex, SledOptions};
use leadglass_model::{Clock, Entropy, ObjectId, SystemClock, SystemEntropy, TenantId};
use leadglass_records::{RecordKey, Records, Table};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Proves that the newest backup would come back: restores it into an empty place, checks every object and the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 it would come back, 1 it could not be tried, 3 something is missing or damaged.")]
pub struct Args {
    /// The folder of `leadglass backup`.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    whom: super::Whom,
    /// An empty folder to work in, on any disk. Default: one in the vault's data directory.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// How a drill went. The newest stands in the data directory, for `leadglass doctor`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Drilled {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Of which backup, by the time at which it was taken.
    pub taken_ms: u64,
    /// Whether it would come back.
    pub good: bool,
    /// Objects that were read, and their bytes.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Studies and instances of the index, erased ones not counted.
    pub studies: u64,
    /// Instances.
    pub instances: u64,
    /// Entries of the log, each proved.
    pub log_entries: u64,
    /// Records of all tenants that opened.
    pub records: u64,
    /// Objects of studies that were erased since.
    pub erased_objects: u64,
    /// What is wrong: a word, and which object.
    pub findings: Vec<String>,
}

/// The newest drill of a vault.
pub fn last(data: &Path) -> Option<Drilled> {
    serde_json::from_slice(&fs::read(data.join(REPORT)).ok()?).ok()
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_, config) = args.whom.config()?;
    let shelf = Shelf::open(&args.folder)?;
    let keyhole = Keyhole::ask(&config).await?;
    let scratch = args.scratch.clone().unwrap_or_else(|| config.data.join("drill"));
    if args.scratch.is_some() && scratch.exists() {
        ensure!(fs::read_dir(&scratch)?.next().is_none(), "{} is not empty", scratch.display());
    }
    stage::clear(&scratch)?;
    crate::files::make_dir(&scratch)?;
    let mut drilled = Drilled { at_ms: SystemClock.now().0, ..Drilled::default() };
    let tried = attempt(&shelf, keyhole, &scratch, args.json, &mut drilled).await;
    stage::clear(&scratch)?;
    if let Err(error) = &tried {
        drilled.findings.push(format!("{error:#}"));
    }
    drilled.good = drilled.findings.is_empty();
    shelf::replace(&config.data.join(REPORT), &serde_json::to_vec_pretty(&drilled)?)?;
    if args.json {
        print(&serde_json::to_string(&drilled)?);
    } else {
        drilled.findings.iter().for_each(|finding| print(finding));
        let verdict = if drilled.good { "It would come back" } else { "It would NOT come back whole" };
        eprintln!(
            "{verdict}: {} objects ({} MB), {} studies, {} instances, {} records, {} entries of the log.",
            drilled.objects,
            drilled.object_bytes / 1_000_000,
            drilled.studies,
            drilled.instances,
            drilled.records,
            drilled.log_entries
        );
    }
    Ok(if drilled.good { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

async fn attempt(
    shelf: &Shelf,
    keyhole: Keyhole,
    scratch: &Path,
    quiet: bool,
    drilled: &mut Drilled,
) -> anyhow::Result<()> {
    let set = open_set(shelf, &keyhole.vessel, None)?;
    drilled.taken_ms = set.taken_ms;
    let layout = Layout::under(scratch);
    let put = state::put(scratch, &layout, (&set, shelf, &keyhole), &scratch.join("vault.toml")).await?;
    drilled.erased_objects = put.erased_objects;

    let (dir, seed) = (layout.audit.clone(), keyhole.seed.clone());
    let log = tokio::task::spawn_blocking(move || Log::open(&dir, node::LOG_ORIGIN, seed.expose())).await?;
    drilled.log_entries = log.context("the log of the backup does not hold")?.head().size;
    ensure!(drilled.log_entries >= set.tree_size, "the log of the backup is shorter than its index");

    let there: HashSet<ObjectId> = put.objects.iter().map(|one| one.object).collect();
    let names = instances(&layout, keyhole.tenants, drilled).await?;
    let missing = names.iter().filter(|name| !there.contains(name));
    drilled.findings.extend(missing.map(|name| format!("missing  object {name}")));
    drilled.records = records(&layout, &keyhole.records).await?;

    if set.objects.copied {
        let bar = bar(quiet);
        bar.set_length(put.objects.iter().map(|one| one.len).sum());
        tokio::task::block_in_place(|| {
            for one in &put.objects {
                match carry::check(&shelf.object(one.object), one) {
                    Ok(()) => {
                        drilled.objects += 1;
                        drilled.object_bytes += one.len;
                    }
                    Err(_) => drilled.findings.push(format!("damaged  object {}", one.object)),
                }
                bar.inc(one.len);
            }
        });
        bar.finish_and_clear();
    }
    Ok(())
}

/// Opens the index as a vault does and every row in it; the objects that it names.
async fn instances(layout: &Layout, tenants: Vec<TenantKeys>, drilled: &mut Drilled) -> anyhow::Result<Vec<ObjectId>> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let dir = layout.index.clone();
    let index = tokio::task::spawn_blocking(move || SledIndex::open(&dir, SledOptions::default())).await??;
    let ids: Vec<TenantId> = tenants.iter().map(|keys| keys.tenant).collect();
    let (catalog, report) =
        Catalog::load(Arc::new(index), clock, entropy, tenants).await.context("the index does not load")?;
    let corrupt = report.corrupt_studies + report.corrupt_series;
    ensure!(corrupt == 0, "{corrupt} rows of the index do not open");
    let mut names = Vec::new();
    for tenant in ids {
        let hits = tokio::task::block_in_place(|| catalog.search(tenant, &Query::default()));
        let mut studies: Vec<_> = hits.into_iter().map(|hit| hit.study_ref).collect();
        studies.extend(catalog.quarantined(tenant, None).into_iter().map(|case| case.study_ref));
        drilled.studies += studies.len() as u64;
        for study in studies {
            for row in catalog.instances(tenant, study).await.context("rows of the index do not open")? {
                drilled.instances += 1;
                names.extend(row.earlier.iter().map(|old| old.object_id));
                names.push(row.object_id);
            }
        }
    }
    Ok(names)
}

/// Opens every record.
async fn records(layout: &Layout, keys: &[(TenantId, Arc<leadglass_keys::Secret>)]) -> anyhow::Result<u64> {
    let records = Records::open(&layout.records, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let mut opened = 0;
    for (tenant, key) in keys {
        let own = records.tenant(*tenant, RecordKey::from_bytes(*key.expose()));
        for table in Table::ALL {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = own.scan(table, after.as_deref(), PAGE).await.context("a record does not open")?;
                opened += page.len() as u64;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
            }
        }
    }
    Ok(opened)
}

const REPORT: &str = "drill.json";
const PAGE: usize = 256;
