//! `leadglass reindex`: the index from the sealed objects and the key service alone. The vault must be stopped.
//!
//! The new index grows beside the old one and takes its place in one rename at the end; the old one is kept under another
//! name. Broken off at any point, the old index is still in its place.

use crate::{
    config::{self, Config},
    files,
    node::{self, KeyPort, Layout},
    objects,
};
use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use leadglass_audit::Log;
use leadglass_engine::{Rebuilt, ReindexError, ReindexPorts, Why};
use leadglass_index::TenantKeys;
use leadglass_index_sled::{SledIndex, SledOptions};
use leadglass_journal::{Journal, JournalError};
use leadglass_keys::{SecretName, wire, wire::ApprovalId};
use leadglass_model::{ActorRef, Clock, Entropy, SystemClock, SystemEntropy};
use leadglass_records::Records;
use leadglass_seal::Secret;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Rebuilds the index from the sealed objects and the key service.
///
/// Every object is opened, so the key host must allow it first: `leadglass-keyd approve --tenant … --purpose storage-check
/// --count STUDIES --for 4h`, once for each tenant. Objects that do not open are listed, left alone, and left out. Exit code 3
/// when there are any.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The vault's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the new index grows: on the disk of the old one, whose place it takes. Default: beside it.
    #[arg(long, value_name = "DIR")]
    data_index: Option<PathBuf>,
    /// The approval to run under, from `leadglass-keyd approve`. Without it, any open one that fits.
    #[arg(long, value_name = "ID", value_parser = approval_id)]
    approval: Option<ApprovalId>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

fn approval_id(text: &str) -> Result<ApprovalId, &'static str> {
    ApprovalId::new(text).ok_or("not the id of an approval")
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::read(&args.config)?;
    ensure!(
        args.approval.is_none() || config.tenants.len() == 1,
        "an approval is one tenant's and this vault has {}: give one for each on the key host and leave --approval out",
        config.tenants.len()
    );
    let layout = Layout::of(&config)?;
    let growing = match &args.data_index {
        Some(dir) => {
            ensure!(is_empty(dir)?, "{} is not empty", dir.display());
            dir.clone()
        }
        // What stands there was given up half-made.
        None => {
            let dir = beside(&layout.index, ".new");
            remove(&dir)?;
            dir
        }
    };
    let rebuilt = match rebuild(&config, &layout, &growing, args.approval, args.json).await {
        Ok(rebuilt) => rebuilt,
        Err(error) => {
            // Half of an index is of no use. What cannot be removed now is removed by the next attempt.
            let _ = remove(&growing);
            return Err(error);
        }
    };

    let erased = count(&rebuilt, Why::Destroyed);
    let failed = rebuilt.left_out.len() - erased;
    ensure!(
        rebuilt.objects > 0,
        "there are no objects in the store: is it the right one? The old index stays in its place"
    );
    ensure!(
        failed as u64 <= rebuilt.instances,
        "{failed} objects do not open and {} do: is it the right key service, and the right store? The old index stays in its \
         place, the new one lies in {}",
        rebuilt.instances,
        growing.display()
    );
    let kept = take_place(&growing, &layout.index)?;
    tell(&rebuilt, kept.as_deref(), args.json);
    Ok(if failed > 0 { ExitCode::from(ATTENTION) } else { ExitCode::SUCCESS })
}

/// Fills an index in `growing`. The locks of records, log and journal are held meanwhile, so that no vault starts.
async fn rebuild(
    config: &Config,
    layout: &Layout,
    growing: &Path,
    approval: Option<ApprovalId>,
    quiet: bool,
) -> anyhow::Result<Rebuilt> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let records = Records::open(&layout.records, clock.clone(), entropy.clone());
    let _records = records.context("cannot open the records: is the vault running?")?;
    let (dir, settings, names) = (layout.journal.clone(), node::journal_config(&config.limits), entropy.clone());
    let journal = tokio::task::spawn_blocking(move || Journal::open(&dir, settings, names)).await?;
    let journal = match journal {
        Err(JournalError::Locked) => bail!("the vault is running; stop it first"),
        opened => opened.context("cannot open the journal")?,
    };

    let KeyPort { keys, tasks, stop } = node::connect(config, &clock)?;
    let seed = node::patiently("the key service", || keys.secret(wire::INSTALLATION, SecretName::AuditLog)).await?;
    let dir = layout.audit.clone();
    let log = tokio::task::spawn_blocking(move || Log::open(&dir, node::LOG_ORIGIN, seed.expose())).await?;
    let log = Arc::new(log.context("cannot open the audit log")?);
    let mut tenants = Vec::new();
    for tenant in &config.tenants {
        let token = node::patiently("the key service", || keys.secret(tenant.id, SecretName::Token)).await?;
        let index_keys = node::index_keys(&keys, tenant.id).await?;
        tenants.push(TenantKeys { tenant: tenant.id, token: Secret::from_bytes(*token.expose()), index_keys });
    }
    if let config::Store::Local { path, .. } = &config.store {
        ensure!(path.is_dir(), "there is no object store in {}", path.display());
    }
    let objects = objects::open(config)?;
    objects::reach(&objects).await?;
    let dir = growing.to_owned();
    let index = tokio::task::spawn_blocking(move || SledIndex::open(&dir, SledOptions::default())).await?;
    let index = Arc::new(index.context("cannot make the new index")?);

    let bar = if quiet || !io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} objects, {eta} left");
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    };
    let told = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let actor = OPERATOR;
    let ports =
        ReindexPorts { keys, objects, journal, index, tenants, log: log.clone(), actor, approval, clock, entropy };
    let done = leadglass_engine::reindex(ports, told).await;
    bar.finish_and_clear();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match done {
        Err(error @ ReindexError::ApprovalNeeded { .. }) => {
            let advice = config.tenants.iter().map(|tenant| {
                format!(
                    "\n  leadglass-keyd approve --tenant {} --purpose storage-check --count STUDIES --for 4h",
                    tenant.id
                )
            });
            let advice: String = advice.collect();
            Err(anyhow::Error::new(error)
                .context(format!("the old index is in its place. On the key host, approve it first:{advice}\n")))
        }
        done => done.context("the index was not rebuilt; the old one is in its place"),
    }
}

/// Puts the new index into the old one's place, in one step. Answers where the old one lies now.
fn take_place(growing: &Path, index: &Path) -> anyhow::Result<Option<PathBuf>> {
    let parent = index.parent().context("the index lies nowhere")?;
    let failed = || format!("cannot put the new index into its place; it lies in {}", growing.display());
    if !index.exists() {
        fs::rename(growing, index).with_context(failed)?;
        sync_dir(parent)?;
        return Ok(None);
    }
    let kept = (1_u32..).map(|n| beside(index, &format!(".old-{n}"))).find(|path| !path.exists());
    let kept = kept.context("there are too many old indexes")?;
    // Exchanged, so that at no moment there is none.
    match renameat2(AT_FDCWD, growing, AT_FDCWD, index, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => fs::rename(growing, &kept).with_context(failed)?,
        // A file system that cannot exchange. Dead between the two renames, a vault finds no index, sees that its journal
        // was trimmed beyond it, and refuses to start; the next reindex brings it back.
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => {
            fs::rename(index, &kept).with_context(failed)?;
            fs::rename(growing, index).with_context(failed)?;
        }
        Err(error) => return Err(error).with_context(failed),
    }
    sync_dir(parent)?;
    Ok(Some(kept))
}

fn tell(rebuilt: &Rebuilt, kept: Option<&Path>, json: bool) {
    if json {
        print(&serde_json::json!({ "rebuilt": rebuilt, "old_index": kept }));
        return;
    }
    eprintln!(
        "{} studies, {} series, {} instances; {} cases of quarantine.",
        rebuilt.studies, rebuilt.series, rebuilt.instances, rebuilt.cases
    );
    if let Some(kept) = kept {
        eprintln!("The old index lies in {}; remove it when all is well.", kept.display());
    }
    let mut reasons: BTreeMap<Why, usize> = BTreeMap::new();
    for out in &rebuilt.left_out {
        *reasons.entry(out.why).or_default() += 1;
        print(&format_args!("{:<10}  object {}", word(out.why), out.object));
    }
    for (why, objects) in reasons {
        eprintln!("{objects} objects are left out: {}.", sentence(why));
    }
}

fn word(why: Why) -> String {
    serde_json::to_value(why).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

const fn sentence(why: Why) -> &'static str {
    match why {
        Why::Destroyed => "their keys were destroyed; they were erased",
        Why::NoKey => "no tenant of this vault has their keys",
        Why::Damaged => "they are not what was sealed; look for a copy in a backup",
        Why::Missing => "they vanished while they were read",
        Why::Unreadable => "the store fails on them; look at its disk",
        Why::Incomplete => "they lack records that the index needs",
        Why::Misfiled => "they belong to another study than their key",
        Why::NotDicom => "their content is no instance that this version reads",
        Why::Unknown => "they are of a kind that this version does not know",
        _ => "for a reason that this program does not know",
    }
}

fn count(rebuilt: &Rebuilt, why: Why) -> usize {
    rebuilt.left_out.iter().filter(|out| out.why == why).count()
}

/// The path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::make_dir(dir)?;
            Ok(true)
        }
        Err(error) => Err(error).with_context(|| format!("cannot look into {}", dir.display())),
    }
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("cannot sync {}", dir.display()))
}

#[allow(clippy::print_stdout, reason = "data goes to standard output")]
fn print(line: &dyn std::fmt::Display) {
    println!("{line}");
}

/// Whoever sits at the vault's terminal, as the logs have it: no token and no device.
const OPERATOR: ActorRef = ActorRef(*b"operator at host");
/// Exit code: done, and something needs a person.
const ATTENTION: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn index(dir: &Path, content: &str) {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("rows"), content).unwrap();
    }

    #[test]
    fn the_new_index_takes_the_place_of_the_old_which_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (place, growing) = (dir.path().join("index"), dir.path().join("index.new"));
        let content = |path: &Path| fs::read_to_string(path.join("rows")).unwrap();
        index(&growing, "1");
        assert_eq!(take_place(&growing, &place).unwrap(), None);
        for round in ["2", "3"] {
            index(&growing, round);
            let kept = take_place(&growing, &place).unwrap().unwrap();
            assert_eq!(content(&place), round);
            assert_eq!(content(&kept), (round.parse::<u32>().unwrap() - 1).to_string());
            assert!(!growing.exists());
        }
        assert!(dir.path().join("index.old-2").is_dir());
    }

    #[test]
    fn a_directory_with_something_in_it_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_empty(&dir.path().join("fresh")).unwrap());
        index(&dir.path().join("used"), "x");
        assert!(!is_empty(&dir.path().join("used")).unwrap());
    }
}
