//! Eyes for what must not be there: a word in any form a disk or a log might keep it in.
//!
//! Forms: ASCII (upper and lower case alike), UTF-16 little and big endian, base64 (standard and URL alphabets, at each of the three
//! alignments), hex. Looked for in every file's content and name under a folder, also through the end of a truncated file.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::fs;
use std::path::{Path, PathBuf};

/// Words to look for, in all their forms.
#[derive(Debug)]
pub struct Eyes {
    /// (the word, the form's name, bytes; compared without case when `fold`).
    forms: Vec<Form>,
}

#[derive(Debug)]
struct Form {
    word: String,
    name: &'static str,
    bytes: Vec<u8>,
    fold: bool,
}

/// Where a word was found.
#[derive(Debug)]
pub struct Sighting {
    /// File or other place.
    pub place: String,
    /// Which word, in which form.
    pub what: String,
}

impl Eyes {
    /// Eyes for these words.
    #[must_use]
    pub fn for_words(words: &[&str]) -> Self {
        let mut forms = Vec::new();
        for word in words {
            let bytes = word.as_bytes();
            let mut add = |name, bytes: Vec<u8>, fold| forms.push(Form { word: (*word).to_owned(), name, bytes, fold });
            add("ASCII", bytes.to_ascii_lowercase(), true);
            add("UTF-16LE", word.to_ascii_lowercase().encode_utf16().flat_map(u16::to_le_bytes).collect(), true);
            add("UTF-16BE", word.to_ascii_lowercase().encode_utf16().flat_map(u16::to_be_bytes).collect(), true);
            add("hex", bytes.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect(), true);
            for lead in 0..3 {
                let mut shifted = vec![0; lead];
                shifted.extend_from_slice(bytes);
                // Characters that depend on neighbours we do not know are cut off at both ends.
                let (from, to) = ((lead * 8).div_ceil(6), (lead + bytes.len()) * 8 / 6);
                let standard = STANDARD.encode(&shifted)[from..to].to_owned();
                let url = URL_SAFE.encode(&shifted)[from..to].to_owned();
                if url != standard {
                    add("base64url", url.into_bytes(), false);
                }
                add("base64", standard.into_bytes(), false);
            }
        }
        Self { forms }
    }

    /// Every form that stands in these bytes.
    #[must_use]
    pub fn look(&self, place: &str, bytes: &[u8]) -> Vec<Sighting> {
        let folded = bytes.to_ascii_lowercase();
        self.forms
            .iter()
            .filter(|f| find(if f.fold { &folded } else { bytes }, &f.bytes))
            .map(|f| Sighting { place: place.to_owned(), what: format!("{} as {}", f.word, f.name) })
            .collect()
    }

    /// Every sighting in names and contents under a folder.
    ///
    /// # Panics
    /// When a file that stays cannot be read: what was not looked at must not pass.
    #[must_use]
    pub fn look_under(&self, folder: &Path) -> Vec<Sighting> {
        let mut out = Vec::new();
        let mut looked = 0_usize;
        for path in files_under(folder) {
            let shown = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            out.extend(self.look(&format!("name of {shown}"), shown.as_bytes()));
            match fs::read(&path) {
                Ok(bytes) => out.extend(self.look(&shown, &bytes)),
                Err(_) if !path.exists() => continue,
                Err(e) => panic!("{shown}: {e}"),
            }
            looked += 1;
        }
        assert!(looked > 0, "there was nothing to look at under {}", folder.display());
        out
    }
}

/// Regular files under a folder; sockets and pipes hold nothing.
#[must_use]
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(t) if t.is_dir() => out.extend(files_under(&entry.path())),
            Ok(t) if t.is_file() => out.push(entry.path()),
            _ => {}
        }
    }
    out.sort();
    out
}

/// Whether `needle` stands in `hay`: jumps to candidates of its rarest-looking byte, the last.
fn find(hay: &[u8], needle: &[u8]) -> bool {
    let Some((&last, head)) = needle.split_last() else { return false };
    let mut at = head.len();
    while let Some(found) = hay.get(at..).and_then(|rest| rest.iter().position(|&b| b == last)) {
        let end = at + found;
        if &hay[end - head.len()..end] == head {
            return true;
        }
        at = end + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_seen_in_every_form_and_place() {
        let eyes = Eyes::for_words(&["CANARY^NEVER"]);
        let utf16 = |f: fn(u16) -> [u8; 2]| "xCanary^Nevery".encode_utf16().flat_map(f).collect::<Vec<u8>>();
        let mut cases: Vec<Vec<u8>> =
            vec![b"..canary^never..".to_vec(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)];
        for lead in 0..7 {
            let text = format!("{}CANARY^NEVER and more", "k".repeat(lead));
            cases.push(STANDARD.encode(&text).into_bytes());
            cases.push(URL_SAFE.encode(&text).into_bytes());
        }
        cases.push(b"43414E4152595e4e45564552".to_vec());
        for case in cases {
            assert!(!eyes.look("case", &case).is_empty(), "not seen in {:?}", String::from_utf8_lossy(&case));
        }
        assert!(eyes.look("case", b"a canary sings, never mind").is_empty());
    }

    #[test]
    fn a_file_name_counts_as_a_place() {
        let dir = crate::scratch();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/of-CANARY"), b"nothing").unwrap();
        fs::write(dir.path().join("other"), b"nothing").unwrap();
        assert_eq!(Eyes::for_words(&["CANARY"]).look_under(dir.path()).len(), 1);
    }
}
