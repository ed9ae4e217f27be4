//! What strace saw of a process: its calls, and which was over before which began.

use std::path::Path;

/// Calls that make content or names durable, and those whose effects they are for.
pub const CALLS: &str =
    "fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,write,writev,pwrite64,pwritev,pwritev2";

/// One call. Times are lines of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments, descriptors with their paths (`strace -y`).
    pub arguments: String,
    /// When it began.
    pub begun: usize,
    /// When it was over.
    pub ended: usize,
    /// Whether it did what was asked.
    pub done: bool,
}

/// All calls that ended, in the order of their beginnings.
#[derive(Clone, Debug)]
pub struct Trace(Vec<Call>);

impl Call {
    /// Whether it writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.name.contains("write")
    }

    /// Whether it gives a file a name.
    #[must_use]
    pub fn names(&self) -> bool {
        self.name.starts_with("rename") || self.name.starts_with("link")
    }

    /// Whether it is on a descriptor of this file or folder.
    #[must_use]
    pub fn is_on(&self, path: &Path) -> bool {
        self.arguments.contains(&format!("<{}>", path.display()))
    }

    /// Whether this path stands in it as a word.
    #[must_use]
    pub fn tells(&self, path: &Path) -> bool {
        self.arguments.contains(&format!("\"{}\"", path.display()))
    }

    /// Whether it makes this file's content or this folder's names durable, alone or with their file system: which is the
    /// one that `disk` is on.
    #[must_use]
    pub fn syncs(&self, path: &Path, disk: &Path) -> bool {
        let alone = matches!(self.name.as_str(), "fsync" | "fdatasync") && self.is_on(path);
        self.done && (alone || self.name == "syncfs" && self.is_on(disk))
    }
}

impl Trace {
    /// Reads what `strace -f -y -o FILE` wrote.
    ///
    /// # Panics
    /// When a line is none of strace's.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut calls = Vec::new();
        let mut open: Vec<(&str, Call)> = Vec::new();
        for (time, line) in text.lines().enumerate() {
            let (pid, rest) =
                line.trim_start().split_once(' ').unwrap_or_else(|| panic!("no line of strace's: {line}"));
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let at = open.iter().position(|(of, _)| *of == pid);
                let (_, mut call) = open.remove(at.unwrap_or_else(|| panic!("what resumes was begun: {line}")));
                let (_, more) = resumed.split_once("resumed>").unwrap_or_else(|| panic!("{line}"));
                call.arguments += more;
                (call.ended, call.done) = (time, is_done(more));
                calls.push(call);
                continue;
            }
            let (name, arguments) = rest.split_once('(').unwrap_or_else(|| panic!("no call: {line}"));
            let call = |arguments: &str, done| Call {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                begun: time,
                ended: time,
                done,
            };
            match arguments.strip_suffix("<unfinished ...>") {
                Some(begun) => open.push((pid, call(begun, false))),
                None => calls.push(call(arguments, is_done(arguments))),
            }
        }
        calls.sort_by_key(|call| call.begun);
        Self(calls)
    }

    /// The calls that fit.
    pub fn calls(&self, fits: impl Fn(&Call) -> bool) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(move |call| fits(call))
    }

    /// The first that fits.
    ///
    /// # Panics
    /// With `what`, when there is none.
    #[must_use]
    pub fn first(&self, what: &str, fits: impl Fn(&Call) -> bool) -> &Call {
        self.0.iter().find(|call| fits(call)).unwrap_or_else(|| panic!("{what}: there is no such call"))
    }
}

/// A result of 0 or more.
fn is_done(line: &str) -> bool {
    line.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_several_threads_are_told_apart() {
        let text = "\
10 write(3</a/f#1>, \"x\"..., 5) = 5
11 fdatasync(3</a/f#1> <unfinished ...>
10 renameat2(AT_FDCWD</>, \"/a/f#1\", AT_FDCWD</>, \"/a/f\", RENAME_NOREPLACE) = -1 EEXIST (File exists)
11 <... fdatasync resumed>)           = 0
10 syncfs(4</a>)                      = 0
10 +++ exited with 0 +++
";
        let trace = Trace::read(text);
        let (file, disk) = (Path::new("/a/f#1"), Path::new("/a"));
        let write = trace.first("a write", |call| call.writes() && call.is_on(file));
        let sync = trace.first("a sync", |call| call.syncs(file, disk));
        assert_eq!((write.ended, sync.begun, sync.ended), (0, 1, 3));
        let rename = trace.first("a rename", |call| call.names() && call.tells(Path::new("/a/f")));
        assert!(!rename.done && rename.begun > sync.begun && rename.ended < sync.ended);
        assert_eq!(trace.calls(|call| call.syncs(file, disk)).count(), 2);
    }
}
