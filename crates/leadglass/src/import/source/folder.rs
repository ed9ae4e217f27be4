//! All files below a folder. Links are not followed: they could lead out of it, or in a circle.

use super::{Found, Passed, is_hidden};
use crate::import::item::{Item, Origin, SourceError};
use leadglass_model::Phi;
use std::path::{Path, PathBuf};

/// Tells what lies below `root`, folder by folder in the order of names; `tell` answers whether to go on.
pub fn list(root: &Path, mut tell: impl FnMut(Found) -> bool) -> Result<(), SourceError> {
    // Folders still to do, with their depth.
    let mut rest = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = rest.pop() {
        let entries = match entries(&dir) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(SourceError::of(&error)),
            Err(error) => {
                let found = Found::Unreadable(SourceError::of(&error).code(), shown(&dir));
                if !tell(found) {
                    return Ok(());
                }
                continue;
            }
        };
        let mut folders = Vec::new();
        for (path, what) in entries {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let found = match what {
                What::Link => Found::Passed(Passed::Link),
                What::Special => Found::Passed(Passed::Special),
                What::Folder | What::File(_) if is_hidden(&name) => Found::Passed(Passed::Hidden),
                What::Folder if depth >= MAX_DEPTH => Found::Unreadable("too-deep", shown(&path)),
                What::Folder => {
                    folders.push((path, depth + 1));
                    continue;
                }
                What::File(bytes) => Found::Item(Item { origin: Origin::File(Phi::new(path)), bytes }),
                What::Unreadable(code) => Found::Unreadable(code, shown(&path)),
            };
            if !tell(found) {
                return Ok(());
            }
        }
        rest.extend(folders.into_iter().rev());
    }
    Ok(())
}

enum What {
    Link,
    Special,
    Folder,
    File(u64),
    Unreadable(&'static str),
}

fn entries(dir: &Path) -> std::io::Result<Vec<(PathBuf, What)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let what = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => What::Link,
            Ok(kind) if kind.is_dir() => What::Folder,
            Ok(kind) if kind.is_file() => match entry.metadata() {
                Ok(meta) => What::File(meta.len()),
                Err(error) => What::Unreadable(SourceError::of(&error).code()),
            },
            Ok(_) => What::Special,
            Err(error) => What::Unreadable(SourceError::of(&error).code()),
        };
        all.push((entry.path(), what));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn shown(path: &Path) -> Phi<String> {
    Phi::new(path.display().to_string())
}

/// Folders inside of each other.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_is_listed_whole_and_links_hidden_files_and_pipes_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        for name in ["a", "b/1", "b/c/2", "z", ".hidden", ".git/x", "b/Thumbs.db"] {
            fs::write(root.join(name), "xy").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("b/circle")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut files, mut passed, mut bytes) = (Vec::new(), Vec::new(), 0);
        list(root, |found| {
            match found {
                Found::Item(item) => {
                    bytes += item.bytes;
                    files.push(item.name().unwrap().into_exposed());
                }
                Found::Passed(why) => passed.push(why),
                Found::Unreadable(..) => panic!("all can be read"),
            }
            true
        })
        .unwrap();
        assert_eq!(files, ["a", "z", "1", "2"]);
        assert_eq!(bytes, 8);
        let count = |what| passed.iter().filter(|p| **p == what).count();
        assert_eq!((count(Passed::Hidden), count(Passed::Link), count(Passed::Special)), (3, 1, 1));
    }

    #[test]
    fn who_listens_no_more_ends_the_listing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut told = 0;
        list(dir.path(), |_| {
            told += 1;
            told < 2
        })
        .unwrap();
        assert_eq!(told, 2);
    }
}
