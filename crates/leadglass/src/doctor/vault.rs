//! What the vault has on its disks: who else can read it, and how much room is left.

use super::{Finding, open_to_others};
use crate::config::{Config, Store};
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = private_keys(config);
    findings.extend(directories(config));
    findings.extend(disks(config));
    findings
}

/// Where sealed objects lie, if they lie on a disk of this host.
fn objects(config: &Config) -> Option<&Path> {
    match &config.store {
        Store::Local { path, .. } => Some(path),
        Store::S3(_) => None,
    }
}

fn private_keys(config: &Config) -> Vec<Finding> {
    let mut paths: Vec<&PathBuf> = vec![&config.keys.key, &config.http.key];
    paths.extend(config.dicom.tls.as_ref().map(|tls| &tls.key));
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| private(path)).collect()
}

fn private(path: &Path) -> Finding {
    match open_to_others(path) {
        Ok(0) => Finding::green("key-private", format!("{} is its owner's alone.", path.display())),
        Ok(_) => Finding::red("key-readable", format!("Others can read the private key {}.", path.display()))
            .why("Who has it can pass for this vault. It may have been read already, so a new one is wanted too.")
            .fix(format!("chmod 600 {}", path.display())),
        Err(error) => Finding::red("key-missing", format!("{} cannot be looked at: {error}.", path.display()))
            .why("Without its keys the vault does not start.")
            .fix("as in deploy/leadglass.service: LoadCredentialEncrypted=, and the path under /run/credentials"),
    }
}

fn directories(config: &Config) -> Vec<Finding> {
    [Some(config.data.as_path()), objects(config)].into_iter().flatten().map(directory).collect()
}

fn directory(dir: &Path) -> Finding {
    match open_to_others(dir) {
        Ok(0) => Finding::green("data-private", format!("{} is its owner's alone.", dir.display())),
        Ok(_) => {
            let open = readable_below(dir);
            Finding::red(
                "data-open",
                format!("Others can enter {} ({open} files in it are open to them).", dir.display()),
            )
            .why("What lies there is sealed, and still tells how many studies come, when, and how large.")
            .fix(format!("chmod -R go= {}", dir.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::yellow("data-missing", format!("{} is not there yet; the first start makes it.", dir.display()))
        }
        Err(error) => Finding::red("data-unusable", format!("{} cannot be looked at: {error}.", dir.display()))
            .why("The vault needs it to store anything.")
            .fix("leadglass doctor, as the account of the vault"),
    }
}

/// Files that others may read, of the first so many that are found.
fn readable_below(dir: &Path) -> usize {
    let (mut rest, mut seen, mut open) = (vec![dir.to_owned()], 0, 0);
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_FILES {
                return open;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => rest.push(entry.path()),
                Ok(kind) if kind.is_file() && open_to_others(&entry.path()).is_ok_and(|bits| bits & 0o044 != 0) => {
                    open += 1
                }
                _ => {}
            }
        }
    }
    open
}

fn disks(config: &Config) -> Vec<Finding> {
    let journal = config.limits.journal_bytes;
    let mut findings = vec![disk("the journal", &config.data, journal.saturating_mul(2))];
    findings.extend(objects(config).map(|path| disk("sealed objects", path, journal.max(LITTLE_BYTES))));
    findings
}

/// `wanted`: below it the vault may soon tell senders to wait.
fn disk(what: &str, dir: &Path, wanted: u64) -> Finding {
    // Before the first start the directory's parent says what its disk has.
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let Ok(disk) = statvfs(there) else {
        return Finding::red("disk-unknown", format!("The disk of {} cannot be looked at.", dir.display()));
    };
    room(what, there, disk.blocks_available().saturating_mul(disk.fragment_size()), wanted)
}

fn room(what: &str, dir: &Path, free: u64, wanted: u64) -> Finding {
    const WHY: &str = "When it is full, senders are told to wait; nothing that was acknowledged is lost.";
    let fix = format!("df -h {}", dir.display());
    let gigabytes = free / 1_000_000_000;
    if free < LITTLE_BYTES {
        let sentence = format!("The disk for {what} has {} MB left.", free / 1_000_000);
        Finding::red("disk-full", sentence).why(WHY).fix(fix)
    } else if free < wanted {
        Finding::yellow("disk-low", format!("The disk for {what} has {gigabytes} GB left.")).why(WHY).fix(fix)
    } else {
        Finding::green("disk", format!("The disk for {what} has {gigabytes} GB left."))
    }
}

/// A few large studies.
const LITTLE_BYTES: u64 = 1 << 30;
/// Enough to know that something is wrong.
const MOST_FILES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Light, up::tests::vault_config};
    use std::{fs, os::unix::fs::PermissionsExt};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_private_key_that_others_can_read_is_red() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = vault_config();
        let key = dir.path().join("key.pem");
        fs::write(&key, "secret").unwrap();
        (config.keys.key, config.http.key, config.dicom.tls) = (key.clone(), key.clone(), None);
        for (bits, code) in [(0o640, "key-readable"), (0o604, "key-readable"), (0o600, "key-private")] {
            mode(&key, bits);
            let codes: Vec<String> = private_keys(&config).into_iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [code], "{bits:o}");
        }
        assert_eq!(private(&dir.path().join("away.pem")).code, "key-missing");
    }

    #[test]
    fn a_data_directory_that_others_can_enter_is_red() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("vault");
        assert_eq!(directory(&data).code, "data-missing");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("x"), "x").unwrap();
        mode(&data, 0o755);
        mode(&data.join("x"), 0o644);
        let finding = directory(&data);
        assert_eq!((finding.code.as_str(), finding.light), ("data-open", Light::Red));
        assert!(finding.sentence.contains("(1 files"), "{}", finding.sentence);
        mode(&data, 0o700);
        assert_eq!(directory(&data).code, "data-private");
    }

    #[test]
    fn room_is_judged_by_what_the_journal_may_take() {
        let judge = |free| room("it", Path::new("."), free, 4 * LITTLE_BYTES).code;
        for (free, code) in [(LITTLE_BYTES - 1, "disk-full"), (LITTLE_BYTES, "disk-low"), (4 * LITTLE_BYTES, "disk")] {
            assert_eq!(judge(free), code, "{free}");
        }
    }
}
