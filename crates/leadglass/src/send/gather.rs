//! Which files there are to send.

use leadglass_dimse::send::{FileError, Outgoing};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// DICOM files, in the order of their names.
    pub(super) files: Vec<Outgoing>,
    /// How many are no DICOM file with an instance.
    pub(super) skipped: usize,
    /// What cannot be read, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// Looks at files and directories, with all that lies below them. A link to a directory is not followed below the first
/// level: it could lead in a circle.
///
/// Cancel safety: safe, it only reads.
pub(super) async fn gather(paths: Vec<PathBuf>) -> Gathered {
    let mut gathered = Gathered::default();
    let mut rest: Vec<PathBuf> = paths;
    rest.reverse();
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            match entries(&path) {
                Ok(below) => rest.extend(below.into_iter().rev()),
                Err(error) => gathered.unreadable.push((path, error.to_string())),
            }
            continue;
        }
        match Outgoing::open(&path).await {
            Ok(file) if file.sop_class.as_str() == MEDIA_DIRECTORY => gathered.skipped += 1,
            Ok(file) => gathered.files.push(file),
            Err(FileError::Read(error)) => gathered.unreadable.push((path, error.to_string())),
            Err(_) => gathered.skipped += 1,
        }
    }
    gathered
}

fn entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if !(entry.file_type()?.is_symlink() && path.is_dir()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Media Storage Directory Storage: a DICOMDIR is a table of contents, not an instance (PS3.10 §8.6).
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_are_searched_and_what_is_not_dicom_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("x.dcm"), include_bytes!("../../../../fixtures/dx.dcm")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no image").unwrap();
        std::os::unix::fs::symlink(dir.path(), below.join("circle")).unwrap();
        let gathered = gather(vec![dir.path().to_owned(), dir.path().join("gone.dcm")]).await;
        assert_eq!((gathered.files.len(), gathered.skipped, gathered.unreadable.len()), (1, 1, 1));
        assert_eq!(gathered.files[0].data_set_bytes, 39_994);
    }
}
