//! What a running service may use of the machine: `/proc/PID/limits`, or our own limits when none runs.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Soft limits; `u64::MAX` is no limit, `None` could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// Whose they are, for sentences.
    pub(super) whose: String,
    /// RLIMIT_CORE, bytes.
    pub(super) core_bytes: Option<u64>,
    /// RLIMIT_NOFILE.
    pub(super) files: Option<u64>,
    /// RLIMIT_MEMLOCK, bytes.
    pub(super) locked_bytes: Option<u64>,
}

impl Limits {
    /// Of the process that serves: `program serve …`, with this configuration if one is given. Without such a process,
    /// those of this shell, which a service started from it would have.
    pub(super) fn of_service(program: &str, config: Option<&Path>) -> Self {
        let config = config.and_then(|path| path.canonicalize().ok());
        let wanted = |words: &[OsString]| serves(words, program, config.as_deref());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let found = processes.map(|entry| entry.path()).find(|dir| command_line(dir).is_some_and(|w| wanted(&w)));
        let (whose, dir) = match found {
            Some(dir) => (format!("the running {program}"), dir),
            None => ("a service started from here".to_owned(), PathBuf::from("/proc/self")),
        };
        Self::parse(whose, &fs::read_to_string(dir.join("limits")).unwrap_or_default())
    }

    fn parse(whose: String, text: &str) -> Self {
        let soft = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            match line.split_whitespace().next()? {
                "unlimited" => Some(u64::MAX),
                number => number.parse().ok(),
            }
        };
        Self {
            whose,
            core_bytes: soft("Max core file size"),
            files: soft("Max open files"),
            locked_bytes: soft("Max locked memory"),
        }
    }
}

fn command_line(process: &Path) -> Option<Vec<OsString>> {
    let bytes = fs::read(process.join("cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect())
}

fn serves(words: &[OsString], program: &str, config: Option<&Path>) -> bool {
    let [first, rest @ ..] = words else { return false };
    let named = Path::new(first).file_name().is_some_and(|name| name == program);
    let serve = rest.iter().any(|word| word == "serve");
    let ours =
        config.is_none_or(|config| rest.iter().any(|word| Path::new(word).canonicalize().is_ok_and(|p| p == config)));
    named && serve && ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        let limits = Limits::parse("x".to_owned(), text);
        assert_eq!((limits.core_bytes, limits.files, limits.locked_bytes), (Some(0), Some(1024), Some(u64::MAX)));
        let none = Limits::parse("x".to_owned(), "");
        assert_eq!((none.core_bytes, none.files, none.locked_bytes), (None, None, None));
    }

    #[test]
    fn a_service_is_known_by_its_program_and_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("vault.toml");
        fs::write(&config, "").unwrap();
        let config = config.canonicalize().unwrap();
        let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
        let path = config.to_str().unwrap();
        let ours = words(&["/usr/bin/leadglass", "serve", "--config", path]);
        assert!(serves(&ours, "leadglass", Some(&config)));
        assert!(!serves(&ours, "leadglass-keyd", None));
        assert!(!serves(&words(&["leadglass", "serve", "--config", "/other"]), "leadglass", Some(&config)));
        assert!(!serves(&words(&["leadglass", "doctor", "--config", path]), "leadglass", Some(&config)));
        assert!(!serves(&[], "leadglass", None));
    }

    #[test]
    fn without_a_service_our_own_limits_are_read() {
        let limits = Limits::of_service("no-such-program", None);
        assert_eq!(limits.whose, "a service started from here");
        assert!(limits.files.is_some_and(|files| files > 0));
    }
}
