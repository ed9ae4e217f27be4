//! PS3.10 files, read just far enough to take the data set out, and put together.

use crate::scu::padded;

/// The data set of a DICOM file: what follows preamble, `DICM` and the file meta group.
///
/// # Panics
/// When `file` is no DICOM file or its meta group does not open with (0002,0000): an answer that is not a file fails the test.
#[must_use]
pub fn data_set(file: &[u8]) -> &[u8] {
    &file[data_set_start(file)..]
}

/// Where the data set starts.
///
/// # Panics
/// As [`data_set`].
#[must_use]
pub fn data_set_start(file: &[u8]) -> usize {
    assert!(file.len() >= 144 && &file[128..132] == b"DICM", "no DICM after the preamble: {} bytes", file.len());
    assert_eq!(&file[132..140], b"\x02\x00\x00\x00UL\x04\x00", "the meta group opens with its length");
    144 + u32::from_le_bytes(file[140..144].try_into().expect("four bytes")) as usize
}

/// A value of the file meta group as text, without padding.
///
/// # Panics
/// As [`data_set`].
#[must_use]
pub fn meta_text(file: &[u8], element: u16) -> Option<String> {
    let end = data_set_start(file);
    let mut at = 144;
    while at + 8 <= end {
        let number = u16::from_le_bytes([file[at + 2], file[at + 3]]);
        let long = matches!(&file[at + 4..at + 6], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ");
        let (len, value) = if long {
            (u32::from_le_bytes(file[at + 8..at + 12].try_into().expect("four bytes")) as usize, at + 12)
        } else {
            (usize::from(u16::from_le_bytes([file[at + 6], file[at + 7]])), at + 8)
        };
        if number == element {
            let text = String::from_utf8_lossy(&file[value..value + len]).into_owned();
            return Some(text.trim_end_matches(['\0', ' ']).to_owned());
        }
        at = value + len;
    }
    None
}

/// Transfer Syntax UID of a file.
///
/// # Panics
/// When the file names none.
#[must_use]
pub fn transfer_syntax(file: &[u8]) -> String {
    meta_text(file, 0x0010).expect("a file names its transfer syntax")
}

/// A file of a data set, under a head of ours.
///
/// # Panics
/// When a UID is longer than any is.
#[must_use]
pub fn file(sop_class: &str, instance: &str, transfer_syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut meta = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01".to_vec();
    for (element, uid) in [(0x02, sop_class), (0x03, instance), (0x10, transfer_syntax), (0x12, "2.25.1")] {
        let uid = padded(uid);
        meta.extend([2, 0, element, 0, b'U', b'I']);
        meta.extend(u16::try_from(uid.len()).expect("a UID").to_le_bytes());
        meta.extend(uid);
    }
    let len = u32::try_from(meta.len()).expect("a short head").to_le_bytes();
    [&[0; 128][..], b"DICM\x02\0\0\0UL\x04\0", &len, &meta, data_set].concat()
}
