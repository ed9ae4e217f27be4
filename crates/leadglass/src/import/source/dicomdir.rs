//! What a DICOMDIR lists: the Referenced File IDs of its records, looked up below its folder.
//!
//! A file id is up to eight components of letters, digits and underscore (PS3.10 §8.2, §8.5); discs are mounted in
//! lower case and with extensions too, so a component is looked up as it is written first and in any case then. A
//! component that is a path of its own is refused, a link is not followed.
//!
//! Source: PS3.3 §F.3.2.2 (Directory Record Sequence), (0004,1410) Record In-use Flag, (0004,1500) Referenced File ID.

use super::Found;
use crate::import::item::{Item, Origin, SourceError, open_file};
use leadglass_model::Phi;
use leadglass_tap::{
    Element, Tag, Visitor, Walker, Want,
    part10::{HeadReader, HeadStep},
};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Tells the files of the records in the DICOMDIR at `path`.
pub fn list(path: &Path, mut tell: impl FnMut(Found) -> bool) -> Result<(), SourceError> {
    let base = path.parent().ok_or(SourceError::Gone)?;
    for id in file_ids(path)? {
        let found = match locate(base, id.expose()) {
            Ok((path, bytes)) => Found::Item(Item { origin: Origin::File(Phi::new(path)), bytes }),
            Err(code) => Found::Unreadable(code, id),
        };
        if !tell(found) {
            break;
        }
    }
    Ok(())
}

fn locate(base: &Path, id: &str) -> Result<(PathBuf, u64), &'static str> {
    let mut path = base.to_owned();
    let components: Vec<&str> = id.split('\\').map(|c| c.trim_matches([' ', '\0'])).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fine = |c: &&str| !c.is_empty() && !c.starts_with('.') && c.chars().all(plain);
    if components.len() > MAX_COMPONENTS || !components.iter().all(fine) {
        return Err("bad-file-id");
    }
    for component in components {
        let exact = path.join(component);
        path = if fs::symlink_metadata(&exact).is_ok() { exact } else { in_any_case(&path, component)? };
        let link = fs::symlink_metadata(&path).map(|meta| meta.is_symlink());
        if link.unwrap_or(true) {
            return Err("bad-file-id");
        }
    }
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok((path, meta.len())),
        _ => Err("listed-but-missing"),
    }
}

/// The one entry whose name differs in case only, or by a version that ISO 9660 adds (`;1`).
fn in_any_case(dir: &Path, component: &str) -> Result<PathBuf, &'static str> {
    let entries = fs::read_dir(dir).map_err(|_| "listed-but-missing")?;
    let same = |name: &std::ffi::OsStr| {
        name.to_str().is_some_and(|name| {
            name.split(';').next().is_some_and(|n| n.trim_end_matches('.').eq_ignore_ascii_case(component))
        })
    };
    let mut matching = entries.flatten().filter(|entry| same(&entry.file_name())).map(|entry| entry.path());
    match (matching.next(), matching.next()) {
        (Some(path), None) => Ok(path),
        _ => Err("listed-but-missing"),
    }
}

/// The file ids of all records in use, in their order.
fn file_ids(path: &Path) -> Result<Vec<Phi<String>>, SourceError> {
    let mut file = open_file(path).map_err(|e| SourceError::of(&e))?;
    let (mut head, mut walk) = (HeadReader::new(), None);
    let mut records = Records::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut total = 0_u64;
    loop {
        let length = file.read(&mut piece).map_err(|e| SourceError::of(&e))?;
        let Some(bytes) = piece.get(..length).filter(|b| !b.is_empty()) else { break };
        total += length as u64;
        if total > MAX_BYTES || records.ids.len() > MAX_RECORDS {
            return Err(SourceError::Packed);
        }
        let broken = |_| SourceError::Packed;
        let mut rest = bytes;
        if walk.is_none() {
            let HeadStep::Done { head, used } = head.feed(bytes).map_err(|_| SourceError::Packed)? else { continue };
            let mut walker = Walker::new(head.syntax.encoding, MAX_DEPTH);
            walker.feed(&head.carried, &mut records).map_err(broken)?;
            walk = Some(walker);
            rest = bytes.get(used..).unwrap_or_default();
        }
        if let Some(walker) = &mut walk {
            walker.feed(rest, &mut records).map_err(broken)?;
        }
    }
    walk.ok_or(SourceError::Packed)?.finish().map_err(|_| SourceError::Packed)?;
    Ok(records.ids)
}

/// Collects (0004,1500) of the records.
#[derive(Default)]
struct Records {
    ids: Vec<Phi<String>>,
    /// Of the record that is open.
    id: Option<Phi<String>>,
    unused: bool,
    tag: Option<Tag>,
    value: Vec<u8>,
}

impl Visitor for Records {
    fn value(&mut self, element: &Element) -> Want {
        self.tag = Some(element.tag);
        self.value.clear();
        let wanted = matches!(element.tag, FILE_ID | IN_USE) && element.len.is_some_and(|len| len <= MAX_FILE_ID_BYTES);
        if wanted { Want::Bytes } else { Want::Nothing }
    }

    fn bytes(&mut self, piece: &[u8]) {
        self.value.extend_from_slice(piece);
    }

    fn value_end(&mut self) {
        match self.tag {
            Some(FILE_ID) => {
                let text = String::from_utf8_lossy(&self.value).trim_matches([' ', '\0']).to_owned();
                self.id = Some(text).filter(|t| !t.is_empty()).map(Phi::new);
            }
            // 0000H: not in use; FFFFH: in use, in either byte order.
            Some(IN_USE) => self.unused = self.value == [0, 0],
            _ => {}
        }
    }

    fn item(&mut self) {
        (self.id, self.unused) = (None, false);
    }

    fn item_end(&mut self) {
        let unused = std::mem::take(&mut self.unused);
        if let Some(id) = self.id.take()
            && !unused
        {
            self.ids.push(id);
        }
    }

    fn sequence(&mut self, _: &Element) {
        // A record with a sequence inside is complete up to its file id: those of group 0004 come first.
        if let Some(id) = self.id.take()
            && !self.unused
        {
            self.ids.push(id);
        }
    }

    fn sequence_end(&mut self) {}
    fn fragments(&mut self, _: &Element) {}
    fn fragment(&mut self, _: u64, _: u32) -> Want {
        Want::Nothing
    }
    fn fragments_end(&mut self, _: u64) {}
}

const FILE_ID: Tag = Tag(0x0004, 0x1500);
const IN_USE: Tag = Tag(0x0004, 0x1410);
const MAX_DEPTH: usize = 16;
const MAX_COMPONENTS: usize = 8;
/// Eight components of sixteen characters; some write longer ones.
const MAX_FILE_ID_BYTES: u32 = 1024;
const MAX_RECORDS: usize = 4_000_000;
const MAX_BYTES: u64 = 4 << 30;
const PIECE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_id_leads_below_its_folder_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("disc");
        fs::create_dir_all(base.join("images")).unwrap();
        fs::write(base.join("images/im1"), "x").unwrap();
        fs::write(base.join("images/IM2.;1"), "xy").unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path(), base.join("OUT")).unwrap();
        assert_eq!(locate(&base, r"IMAGES\IM1").unwrap(), (base.join("images/im1"), 1));
        assert_eq!(locate(&base, "images\\im1\0").unwrap().1, 1);
        assert_eq!(locate(&base, r"IMAGES\IM2").unwrap().1, 2);
        assert_eq!(locate(&base, r"IMAGES\IM3"), Err("listed-but-missing"));
        assert_eq!(locate(&base, "IMAGES"), Err("listed-but-missing"), "a folder is no file");
        for id in [r"..\secret", "../secret", "/etc/passwd", r"OUT\secret", "", r"A\\B", "a b", r"1\2\3\4\5\6\7\8\9"] {
            assert_eq!(locate(&base, id), Err("bad-file-id"), "{id:?}");
        }
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("DICOMDIR");
        for bytes in [&b""[..], b"not DICOM at all, but long enough to look at it", &[0; 1000]] {
            fs::write(&path, bytes).unwrap();
            assert!(list(&path, |_| true).is_err());
        }
    }
}
