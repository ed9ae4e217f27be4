//! The machine: clock, swap, core dumps, and what the running services may use of it.

use super::{Finding, limits::Limits};
use crate::config::Config;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// `keyd_here`: the key service is on this host, so its limits are looked at too.
pub(super) fn look(config: &Config, config_file: &Path, keyd_here: bool) -> Vec<Finding> {
    let vault = Limits::of_service("leadglass", Some(config_file));
    let mut findings = vec![
        clock(clock_keeper()),
        swap(fs::read_to_string("/proc/swaps").ok().as_deref(), encrypted),
        dumps(fs::read_to_string("/proc/sys/kernel/core_pattern").ok().as_deref(), &vault),
        files(config, &vault),
        filter(
            fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").ok().as_deref(),
            config.decode_without_filter,
        ),
    ];
    if keyd_here {
        findings.push(locked(&Limits::of_service("leadglass-keyd", None)));
    }
    findings
}

/// Who keeps the clock right, as far as can be told without asking the kernel, which would need `unsafe`.
fn clock_keeper() -> Option<&'static str> {
    let there = |paths: &[&str]| paths.iter().any(|path| Path::new(path).exists());
    if there(&["/run/systemd/timesync/synchronized"]) {
        return Some("systemd-timesyncd");
    }
    if there(&["/run/chrony/chronyd.pid", "/run/chronyd.pid", "/run/chrony/chronyd.sock"]) {
        return Some("chrony");
    }
    if there(&["/run/ntpd.pid", "/run/ntpsec/ntpd.pid", "/var/run/openntpd.sock"]) {
        return Some("ntpd");
    }
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|answer| answer.stdout.starts_with(b"yes")).then_some("the system")
}

fn clock(keeper: Option<&str>) -> Finding {
    match keeper {
        Some(keeper) => Finding::green("clock", format!("The clock is kept right by {keeper}.")),
        None => Finding::yellow("clock-unknown", "Nothing is known to keep this clock right.")
            .why("The times in the audit log, and when a certificate or a token ends, are as good as the clock.")
            .fix("apt install chrony"),
    }
}

/// `/proc/swaps` has a heading and a line for each swap area. zram stays in memory.
fn swap(swaps: Option<&str>, encrypted: impl Fn(&str) -> bool) -> Finding {
    let Some(swaps) = swaps else {
        return Finding::yellow("swap-unknown", "Whether memory is swapped to a disk cannot be told.");
    };
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let open: Vec<&str> =
        areas.filter(|area| !area.starts_with("/dev/zram") && !area.is_empty() && !encrypted(area)).collect();
    if open.is_empty() {
        return Finding::green("no-swap", "No memory is swapped to a disk in clear.");
    }
    Finding::yellow("swap", format!("Swap is on and not encrypted: {}.", open.join(", ")))
        .why("Open images and keys could reach a disk, and stay there.")
        .fix("swapoff -a (and out of /etc/fstab), or MemorySwapMax=0 as in deploy/leadglass.service")
}

/// Whether a swap area is a device that dm-crypt stands behind. A file is as open as its file system: not known here.
fn encrypted(area: &str) -> bool {
    let Ok(device) = fs::canonicalize(area) else { return false };
    let Some(name) = device.file_name() else { return false };
    let uuid = PathBuf::from("/sys/class/block").join(name).join("dm/uuid");
    fs::read_to_string(uuid).is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

fn dumps(pattern: Option<&str>, vault: &Limits) -> Finding {
    const WHY: &str = "A crash would leave open images, as they are in memory, on a disk or with another program.";
    let piped = pattern.is_some_and(|pattern| pattern.starts_with('|'));
    match vault.core_bytes {
        Some(0) if !piped => Finding::green("no-core-dumps", format!("No core dump is written of {}.", vault.whose)),
        // A program that takes dumps through a pipe gets them whatever the limit says.
        Some(_) if piped => Finding::yellow("core-dumps", "Core dumps go to a program (kernel.core_pattern).")
            .why(WHY)
            .fix("sysctl -w kernel.core_pattern=core, with LimitCORE=0; or Storage=none in coredump.conf"),
        Some(_) => Finding::yellow("core-dumps", format!("Core dumps may be written of {}.", vault.whose))
            .why(WHY)
            .fix("LimitCORE=0, as in deploy/leadglass.service; in a shell: ulimit -c 0"),
        None => Finding::yellow("core-dumps-unknown", "Whether core dumps are written cannot be told."),
    }
}

fn files(config: &Config, vault: &Limits) -> Finding {
    let listeners = 1 + usize::from(config.http.plain.is_some());
    let wanted = (config.limits.associations + listeners * HTTP_CONNECTIONS + OWN_FILES) as u64;
    match vault.files {
        Some(files) if files >= wanted => {
            Finding::green("files", format!("{} may have {files} files and connections open.", capital(&vault.whose)))
        }
        Some(files) => Finding::yellow(
            "files-few",
            format!(
                "{} may have {files} files and connections open; under a flood it wants {wanted}.",
                capital(&vault.whose)
            ),
        )
        .why("At the limit, senders and viewers are cut off, and the journal cannot open its next segment.")
        .fix("LimitNOFILE=8192, as in deploy/leadglass.service; in a shell: ulimit -n 8192"),
        None => Finding::yellow("files-unknown", "How many files may be open cannot be told."),
    }
}

/// Whether what decodes foreign images can be confined. `actions` is what the kernel's filters can do.
fn filter(actions: Option<&str>, allowed: bool) -> Finding {
    const WHY: &str = "An image that breaks its decoder would run code as the vault's user.";
    if actions.is_some_and(|actions| actions.split_whitespace().any(|action| action == "errno")) {
        return Finding::green("decoders-confined", "Foreign images are decoded in processes of few system calls.");
    }
    if allowed {
        return Finding::red(
            "decoders-open",
            "Foreign images are decoded in processes that may call all of the system.",
        )
        .why(WHY)
        .fix("a kernel with CONFIG_SECCOMP_FILTER, and decode_without_filter = false");
    }
    Finding::yellow("no-pictures", "This kernel filters no system calls (seccomp), so no pictures are made.")
        .why(WHY)
        .fix("a kernel with CONFIG_SECCOMP_FILTER; viewers that decode by themselves do without")
}

fn locked(keyd: &Limits) -> Finding {
    match keyd.locked_bytes {
        Some(u64::MAX) => Finding::green("memory-locked", format!("{} may lock its memory.", capital(&keyd.whose))),
        Some(_) => Finding::yellow("memory-not-locked", format!("{} may not lock its memory.", capital(&keyd.whose)))
            .why("Keys could be swapped to a disk.")
            .fix("LimitMEMLOCK=infinity, as in deploy/leadglass-keyd.service; in a shell: ulimit -l unlimited"),
        None => Finding::yellow("memory-lock-unknown", "Whether the key service may lock memory cannot be told."),
    }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Connections that each HTTP listener admits (crates/web/src/serve.rs).
const HTTP_CONNECTIONS: usize = 1024;
/// Journal, index, audit tiles, objects on their way, the key service.
const OWN_FILES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Light, up::tests::vault_config};

    fn limits(core_bytes: u64, files: u64, locked_bytes: u64) -> Limits {
        let (core_bytes, files, locked_bytes) = (Some(core_bytes), Some(files), Some(locked_bytes));
        Limits { whose: "the vault".to_owned(), core_bytes, files, locked_bytes }
    }

    #[test]
    fn swap_in_clear_is_seen_and_zram_and_dm_crypt_are_not_counted() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let judge = |areas: &[&str]| {
            let lines: String = areas.iter().map(|area| format!("{area} partition 8388604 0 -2\n")).collect();
            swap(Some(&format!("{head}{lines}")), |area| area == "/dev/dm-1")
        };
        for (areas, light) in [
            (&[][..], Light::Green),
            (&["/dev/zram0"], Light::Green),
            (&["/dev/dm-1"], Light::Green),
            (&["/dev/sda2"], Light::Yellow),
            (&["/dev/zram0", "/dev/dm-1", "/swapfile"], Light::Yellow),
        ] {
            assert_eq!(judge(areas).light, light, "{areas:?}");
        }
        assert!(judge(&["/dev/dm-1", "/swapfile"]).sentence.ends_with(": /swapfile."));
        assert_eq!(swap(None, |_| true).code, "swap-unknown");
    }

    #[test]
    fn core_dumps_are_seen_through_a_pipe_too() {
        for (pattern, limit, light) in [
            ("core", 0, Light::Green),
            ("core", u64::MAX, Light::Yellow),
            ("|/lib/systemd/systemd-coredump", 0, Light::Yellow),
        ] {
            assert_eq!(dumps(Some(pattern), &limits(limit, 1, 1)).light, light, "{pattern} {limit}");
        }
        let unknown = Limits { core_bytes: None, ..limits(0, 0, 0) };
        assert_eq!(dumps(Some("core"), &unknown).code, "core-dumps-unknown");
    }

    #[test]
    fn files_are_counted_for_every_listener() {
        let mut config = vault_config();
        config.limits.associations = 64;
        config.http.plain = None;
        assert_eq!(files(&config, &limits(0, 1344, 0)).code, "files");
        config.http.plain = Some(([127, 0, 0, 1], 1).into());
        assert_eq!(files(&config, &limits(0, 1344, 0)).code, "files-few");
        assert_eq!(files(&config, &limits(0, 8192, 0)).code, "files");
    }

    #[test]
    fn decoders_that_nothing_confines_are_told_of() {
        assert_eq!(filter(Some("kill_process kill_thread trap errno log allow\n"), true).light, Light::Green);
        assert_eq!(filter(None, false).code, "no-pictures");
        assert_eq!(filter(None, true).light, Light::Red);
    }

    #[test]
    fn only_boundless_locking_is_well() {
        assert_eq!(locked(&limits(0, 0, u64::MAX)).code, "memory-locked");
        assert_eq!(locked(&limits(0, 0, 8 << 20)).code, "memory-not-locked");
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_not_called_well() {
        assert_eq!(clock(None).light, Light::Yellow);
        assert_eq!(clock(Some("chrony")).light, Light::Green);
    }
}
