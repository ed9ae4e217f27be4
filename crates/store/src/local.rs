//! What is particular to a folder of this machine.
//!
//! `LocalFileSystem` writes an object as `NAME#1`, `NAME#2`, … and gives it its name at the end. A process that dies leaves
//! that file, and power loss can bring it back after it was removed.

use crate::name;
use leadglass_model::ObjectId;
use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// The file of an object.
pub(crate) fn file(folder: &Path, id: ObjectId) -> PathBuf {
    let mut path = folder.to_owned();
    path.extend(name::of(id).parts().map(|part| part.as_ref().to_owned()));
    path
}

/// The `n`th temporary name beside an object's file.
pub(crate) fn staged(whole: &Path, n: u64) -> PathBuf {
    let mut name = whole.to_owned().into_os_string();
    name.push(format!("#{n}"));
    name.into()
}

/// Removes what unfinished writes of one object left behind. Answers how many files that were.
pub(crate) fn remove_unfinished(folder: &Path, id: ObjectId) -> io::Result<u64> {
    let whole = file(folder, id);
    let mut removed = 0;
    for n in 1.. {
        match std::fs::remove_file(staged(&whole, n)) {
            Ok(()) => removed += 1,
            // Numbers are taken from 1 upwards, so the first gap ends them; a second one is looked at for good measure.
            Err(e) if e.kind() == io::ErrorKind::NotFound && n > 1 => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(removed)
}

/// All folders that objects lie in: also if they stand there, whoever made them may have died before that was durable.
pub(crate) fn make_folders(folder: &Path) -> io::Result<()> {
    for dir in name::folders() {
        std::fs::create_dir_all(folder.join(dir.as_ref()))?;
    }
    File::open(folder.join(name::root().as_ref()))?.sync_all()?;
    File::open(folder)?.sync_all()
}

/// A file under a temporary name, which must be free.
pub(crate) fn create_staged(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Makes an object that somebody wrote before us durable: its content and its name.
pub(crate) fn sync(folder: &Path, id: ObjectId) -> io::Result<()> {
    let path = file(folder, id);
    File::open(&path)?.sync_all()?;
    sync_folder(folder, id)
}

/// Makes the names beside an object durable. A folder that is not there holds nothing that could come back.
pub(crate) fn sync_folder(folder: &Path, id: ObjectId) -> io::Result<()> {
    match file(folder, id).parent().map(File::open) {
        Some(Ok(dir)) => dir.sync_all(),
        Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Counts unfinished files of objects that are not in `known`.
pub(crate) fn count_unknown_unfinished(folder: &Path, known: &HashSet<ObjectId>) -> io::Result<u64> {
    let mut count = 0;
    let folders = match std::fs::read_dir(folder.join(name::root().as_ref())) {
        Ok(folders) => folders,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    for entry in folders {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(entry.path())? {
            let file = file?.file_name();
            let Some((whole, _)) = file.to_str().and_then(|name| name.split_once('#')) else { continue };
            if whole.parse().is_ok_and(|id| !known.contains(&id)) {
                count += 1;
            }
        }
    }
    Ok(count)
}
