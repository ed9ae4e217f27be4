//! Where a profile stands in a picture's file.

use super::{MAX_BYTES, Profile};
use flate2::read::ZlibDecoder;
use std::{io::Read as _, ops::Range};

/// A profile inside of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// There is none.
    #[default]
    None,
    /// There is something that cannot be one.
    Broken,
    /// In these pieces, one after the other.
    Plain(Vec<Range<usize>>),
    /// Deflated.
    Deflated(Range<usize>),
}

/// What becomes of a picture's profile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// It has none.
    None,
    /// It is left behind.
    Left,
    /// What it computes is kept.
    Kept(Box<Profile>),
}

impl Carrier {
    /// Reads the profile out of the file that was walked through. Takes at most [`MAX_BYTES`] of memory twice.
    pub(crate) fn read(&self, file: &[u8]) -> Fate {
        let bytes = match self {
            Self::None => return Fate::None,
            Self::Broken => None,
            Self::Plain(pieces) if pieces.iter().map(Range::len).sum::<usize>() > MAX_BYTES => None,
            Self::Plain(pieces) => {
                Some(pieces.iter().flat_map(|piece| file.get(piece.clone()).unwrap_or_default()).copied().collect())
            }
            Self::Deflated(at) => inflated(file.get(at.clone()).unwrap_or_default()),
        };
        let profile = bytes.and_then(|bytes: Vec<u8>| Profile::read(&bytes));
        profile.map_or(Fate::Left, |profile| Fate::Kept(Box::new(profile)))
    }

    /// Of PNG (`iCCP`, W3C PNG §11.3.2.3): a name of at most 79 bytes, the method, and deflated bytes. `at` is where `body`
    /// begins.
    pub(crate) fn of_png(body: &[u8], at: usize) -> Self {
        match body.iter().take(80).position(|byte| *byte == 0) {
            Some(end) if body.get(end + 1) == Some(&0) => Self::Deflated(at + end + 2..at + body.len()),
            _ => Self::Broken,
        }
    }
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    ZlibDecoder::new(bytes).take(MAX_BYTES as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() <= MAX_BYTES).then_some(out)
}

/// Application segments of a JPEG that hold a profile (ICC.1 Annex B.4): each says which it is of how many.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    pieces: Vec<(u8, Range<usize>)>,
    count: Option<u8>,
    broken: bool,
}

impl Segments {
    /// Looks at an APP2 segment, whose body begins at `at`.
    pub(crate) fn take(&mut self, body: &[u8], at: usize) {
        let Some(rest) = body.strip_prefix(b"ICC_PROFILE\0") else { return };
        let [number, count, ..] = rest else {
            self.broken = true;
            return;
        };
        let fits = self.count.replace(*count).is_none_or(|before| before == *count)
            && (1..=*count).contains(number)
            && self.pieces.iter().all(|(other, _)| other != number);
        self.broken |= !fits;
        if fits {
            self.pieces.push((*number, at + 14..at + body.len()));
        }
    }

    pub(crate) fn finish(mut self) -> Carrier {
        match self.count {
            None if !self.broken => Carrier::None,
            Some(count) if !self.broken && self.pieces.len() == usize::from(count) => {
                self.pieces.sort_by_key(|(number, _)| *number);
                Carrier::Plain(self.pieces.into_iter().map(|(_, piece)| piece).collect())
            }
            _ => Carrier::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn segments(parts: &[(u8, u8, &[u8])]) -> (Carrier, Vec<u8>) {
        let (mut segments, mut file) = (Segments::default(), Vec::new());
        segments.take(b"another APP2", 0);
        for (number, count, bytes) in parts {
            let body = [b"ICC_PROFILE\0".as_slice(), &[*number, *count], bytes].concat();
            segments.take(&body, file.len());
            file.extend(body);
        }
        (segments.finish(), file)
    }

    #[test]
    fn a_profile_is_put_together_from_the_segments_of_a_jpeg_in_whatever_order() {
        let profile = Profile::srgb();
        let bytes = profile.bytes();
        let (a, b) = bytes.split_at(200);
        let (carrier, file) = segments(&[(2, 2, b), (1, 2, a)]);
        assert_eq!(carrier.read(&file), Fate::Kept(Box::new(profile)));
        assert_eq!(segments(&[]).0.read(b""), Fate::None);
        for bad in [
            &[(1, 2, a)][..],
            &[(1, 2, a), (1, 2, b)],
            &[(1, 2, a), (2, 3, b)],
            &[(0, 2, a), (2, 2, b)],
            &[(1, 0, a)],
            &[(1, 1, b)],
        ] {
            let (carrier, file) = segments(bad);
            assert_eq!(carrier.read(&file), Fate::Left, "{carrier:?}");
        }
    }

    #[test]
    fn a_profile_of_a_png_is_inflated_and_never_far() {
        let body = |bytes: &[u8]| {
            let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            deflated.write_all(bytes).unwrap();
            [b"CANARY\0\0".as_slice(), &deflated.finish().unwrap()].concat()
        };
        let good = body(&Profile::srgb().bytes());
        let file = [b"head".as_slice(), &good].concat();
        assert_eq!(Carrier::of_png(&good, 4).read(&file), Fate::Kept(Box::new(Profile::srgb())));
        let mut bomb = Profile::srgb().bytes();
        bomb.resize(64 << 20, 0);
        let bomb = body(&bomb);
        assert!(bomb.len() < 100_000);
        assert_eq!(Carrier::of_png(&bomb, 0).read(&bomb), Fate::Left);
        assert_eq!(Carrier::of_png(&[7; 100], 0), Carrier::Broken);
        assert_eq!(Carrier::of_png(b"name\0\x01deflated", 0), Carrier::Broken, "another method");
    }
}
