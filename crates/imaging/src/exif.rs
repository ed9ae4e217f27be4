//! The one thing that is read from EXIF: which side is up.
//!
//! Source: TIFF 6.0 §2 (header, image file directory), EXIF 2.32 §4.6.4 (tag 0x0112). Only the first directory is looked
//! at and no offset is followed from it, so that nothing can go round in circles.

use image::metadata::Orientation;

/// The orientation in an EXIF block (a TIFF file); upright when it says nothing that makes sense.
pub(crate) fn orientation(tiff: &[u8]) -> Orientation {
    read(tiff).and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

fn read(tiff: &[u8]) -> Option<u8> {
    let big = match tiff.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let two = |at: usize| -> Option<u16> {
        let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let four = |at: usize| -> Option<u32> {
        let bytes: [u8; 4] = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = usize::try_from(four(4)?).ok()?;
    let entries = usize::from(two(directory)?).min(MAX_ENTRIES);
    for entry in 0..entries {
        let at = directory.checked_add(2)?.checked_add(entry * ENTRY)?;
        if two(at)? == ORIENTATION {
            // One SHORT, which stands in the entry itself.
            let single = two(at.checked_add(2)?)? == SHORT && four(at.checked_add(4)?)? == 1;
            return single.then(|| two(at.checked_add(8)?)).flatten().and_then(|value| u8::try_from(value).ok());
        }
    }
    None
}

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
/// Bytes of a directory entry.
const ENTRY: usize = 12;
/// The first directory of a camera has about a dozen.
const MAX_ENTRIES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block with one entry in front of the orientation.
    fn block(value: u16, big: bool) -> Vec<u8> {
        let two = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let four = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut out = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        out.extend(four(8));
        out.extend(two(2));
        for (tag, value) in [(0x0100, 640), (0x0112, value)] {
            out.extend(two(tag));
            out.extend(two(3));
            out.extend(four(1));
            out.extend(two(value));
            out.extend([0, 0]);
        }
        // The next directory is this one: nobody follows it.
        out.extend(four(8));
        out
    }

    #[test]
    fn every_value_is_read_in_both_byte_orders() {
        for value in 1..=8 {
            for big in [false, true] {
                assert_eq!(read(&block(value, big)), Some(u8::try_from(value).unwrap()), "{value} {big}");
            }
        }
        for value in [0, 9, 300] {
            assert_eq!(orientation(&block(value, false)), Orientation::NoTransforms, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), flip in 0usize..40, to: u8) {
            let _ = read(&bytes);
            let mut near = block(6, true);
            let at = flip % near.len();
            near[at] = to;
            let _ = read(&near);
        }
    }
}
