//! Comments inside of compressed pixels, blanked where they lie.
//!
//! A JPEG, JPEG-LS or JPEG 2000 codestream can hold text: comments, EXIF, thumbnails. Their bytes become zeros, so no
//! length and no offset table changes. Only markers are read, byte by byte with what was seen before in two words of
//! state; whatever breaks the rules of a codestream ends the reading of it, and from there on [`Codestream::is_clean`]
//! is false.
//!
//! Source: ITU-T T.81 §B.1.1, T.87 §C, T.800 §A.

/// Reads one stream of fragments.
#[derive(Debug)]
pub(crate) struct Codestream {
    family: Family,
    state: State,
    /// Of the tile-part that is open: bytes to its end; `None` where it reaches to the end of the codestream.
    tile: Option<u64>,
    /// Its length, as far as it went by.
    tile_len: u64,
    /// Segments that were blanked.
    pub(crate) blanked: u64,
    clean: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// JPEG and JPEG-LS.
    Jpeg,
    /// JPEG 2000 and HTJ2K.
    Wavelet,
    /// No text that is known of.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a marker.
    Marker,
    /// Behind FF.
    Code,
    /// The length of a segment: what is known of it.
    LengthHigh(u8),
    LengthLow(u8, u8),
    /// In a segment: which, at which byte of it, of how many.
    Segment {
        code: u8,
        at: u16,
        len: u16,
    },
    /// Coded samples, with the last byte.
    Samples {
        last: u8,
    },
    /// Coded samples of a tile-part: how many are left; `None` up to the end.
    Tile {
        left: Option<u64>,
    },
    /// Behind the end of the image.
    After,
}

impl Codestream {
    /// For a transfer syntax.
    pub(crate) fn of(syntax: &str) -> Self {
        let family = match syntax.strip_prefix("1.2.840.10008.1.2.4.").and_then(|rest| rest.parse::<u16>().ok()) {
            Some(50..=81) => Family::Jpeg,
            Some(90..=93 | 201..=203) => Family::Wavelet,
            _ => Family::Other,
        };
        Self { family, state: State::After, tile: None, tile_len: 0, blanked: 0, clean: true }
    }

    /// Whether everything that went by was understood.
    pub(crate) const fn is_clean(&self) -> bool {
        self.clean
    }

    /// A fragment begins with these bytes: a new image, or more of the last one.
    pub(crate) fn fragment(&mut self, first: [u8; 2]) {
        let starts = match self.family {
            Family::Jpeg => first == [0xFF, 0xD8],
            Family::Wavelet => first == [0xFF, 0x4F],
            Family::Other => false,
        };
        if starts {
            self.state = State::Marker;
            self.tile = None;
        }
    }

    /// Blanks what can hold text of the next bytes.
    pub(crate) fn clean(&mut self, piece: &mut [u8]) {
        if self.family == Family::Other {
            return;
        }
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = self.run(rest);
            let (_, next) = rest.split_at_mut(taken.min(rest.len()));
            rest = next;
        }
    }

    /// Takes at least one byte.
    fn run(&mut self, bytes: &mut [u8]) -> usize {
        match self.state {
            State::Samples { last } => return self.samples(bytes, last),
            State::Tile { left } => {
                let taken =
                    left.map_or(bytes.len(), |left| usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len())));
                let left = left.map(|left| left.saturating_sub(taken as u64));
                self.state = if left == Some(0) { State::Marker } else { State::Tile { left } };
                return taken;
            }
            _ => {}
        }
        let Some(byte) = bytes.first_mut() else { return 1 };
        if let Some(left) = &mut self.tile {
            *left = left.saturating_sub(1);
        }
        self.state = match self.state {
            State::Marker if *byte == 0xFF => State::Code,
            // Not a codestream as the rules have it: nobody knows what it holds.
            State::Marker => {
                self.clean = false;
                State::After
            }
            State::Code => self.code(*byte),
            State::LengthHigh(code) => State::LengthLow(code, *byte),
            State::LengthLow(code, high) => match u16::from_be_bytes([high, *byte]).checked_sub(2) {
                None => {
                    self.clean = false;
                    State::After
                }
                Some(0) => self.behind(code),
                Some(len) => {
                    self.blanked = self.blanked.saturating_add(u64::from(self.holds_text(code)));
                    State::Segment { code, at: 0, len }
                }
            },
            State::Segment { code, at, len } => {
                self.segment(code, at, byte);
                let at = at.saturating_add(1);
                if at == len { self.behind(code) } else { State::Segment { code, at, len } }
            }
            State::After => {
                *byte = 0;
                State::After
            }
            state => state,
        };
        1
    }

    fn code(&self, code: u8) -> State {
        match (self.family, code) {
            // Fill bytes may stand before a marker.
            (_, 0xFF) => State::Code,
            (_, 0xD9) => State::After,
            (Family::Wavelet, 0x93) => match self.tile {
                Some(0) => State::Marker,
                left => State::Tile { left },
            },
            (Family::Wavelet, 0x4F | 0x30..=0x3F) | (Family::Jpeg, 0xD8 | 0x01 | 0xD0..=0xD7) => State::Marker,
            (_, code) => State::LengthHigh(code),
        }
    }

    /// A segment is over.
    const fn behind(&self, code: u8) -> State {
        match (self.family, code) {
            (Family::Jpeg, 0xDA) => State::Samples { last: 0 },
            _ => State::Marker,
        }
    }

    fn segment(&mut self, code: u8, at: u16, byte: &mut u8) {
        if self.family == Family::Wavelet && code == 0x90 {
            self.tile_length(at, *byte);
        }
        let kept = match (self.family, code) {
            // JFIF and Adobe: numbers that a decoder goes by. Behind them a thumbnail may lie.
            (Family::Jpeg, 0xE0) => at < 14,
            (Family::Jpeg, 0xEE) => at < 12,
            // A colour profile.
            (Family::Jpeg, 0xE2) => ICC.get(usize::from(at)).is_some_and(|expected| expected == byte),
            // The colour transform of JPEG-LS: `mrfx` and a number.
            (Family::Jpeg, 0xE8) => at < 6,
            (Family::Wavelet, 0x64) => at < 2,
            _ => !self.holds_text(code),
        };
        if !kept {
            *byte = 0;
        }
    }

    fn holds_text(&self, code: u8) -> bool {
        match self.family {
            Family::Jpeg => matches!(code, 0xE0..=0xEF | 0xFE),
            Family::Wavelet => code == 0x64,
            Family::Other => false,
        }
    }

    /// Start of tile-part: its length counts from the marker on (T.800 §A.4.2).
    fn tile_length(&mut self, at: u16, byte: u8) {
        match at {
            0 => (self.tile, self.tile_len) = (None, 0),
            2..=5 => self.tile_len = self.tile_len.wrapping_shl(8) | u64::from(byte),
            _ => {}
        }
        if at == 5 && self.tile_len > 0 {
            // Marker, length, tile and this field went by: ten bytes.
            self.tile = Some(self.tile_len.saturating_sub(10));
        }
    }

    /// Coded samples up to the next marker.
    fn samples(&mut self, bytes: &mut [u8], mut last: u8) -> usize {
        for (n, byte) in bytes.iter().enumerate() {
            if last == 0xFF && !matches!(byte, 0x00 | 0xD0..=0xD7 | 0xFF) {
                // In JPEG-LS a byte below 80 behind FF is coded samples, too (T.87 §A.1).
                if *byte >= 0x80 {
                    self.state = self.code(*byte);
                    return n.saturating_add(1);
                }
            }
            last = *byte;
        }
        self.state = State::Samples { last };
        bytes.len()
    }
}

const ICC: &[u8] = b"ICC_PROFILE\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(code: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 2).unwrap();
        [&[0xFF, code][..], &len.to_be_bytes(), value].concat()
    }

    fn cleaned(syntax: &str, bytes: &[u8]) -> (Vec<u8>, bool, u64) {
        let whole = pieces(syntax, bytes, bytes.len());
        for cut in [1, 2, 3, 5] {
            assert_eq!(pieces(syntax, bytes, cut), whole, "cut by {cut}");
        }
        whole
    }

    fn pieces(syntax: &str, bytes: &[u8], cut: usize) -> (Vec<u8>, bool, u64) {
        let mut stream = Codestream::of(syntax);
        let mut out = bytes.to_vec();
        stream.fragment([out[0], out[1]]);
        for piece in out.chunks_mut(cut) {
            stream.clean(piece);
        }
        (out, stream.is_clean(), stream.blanked)
    }

    fn holds(bytes: &[u8]) -> bool {
        bytes.windows(6).any(|window| window == b"CANARY")
    }

    const JPEG: &str = "1.2.840.10008.1.2.4.50";
    const J2K: &str = "1.2.840.10008.1.2.4.90";

    #[test]
    fn comments_and_exif_of_a_jpeg_are_blanked_and_the_image_is_not() {
        let samples = [1, 2, 0xFF, 0x00, 3, 0xFF, 0xD0, 4];
        let bytes = [
            vec![0xFF, 0xD8],
            segment(0xE0, b"JFIF\0\x01\x02\x00\x00\x01\x00\x01\x00\x00"),
            segment(0xE1, b"Exif\0\0CANARY"),
            segment(0xE2, b"MPF\0CANARY"),
            segment(0xFE, b"CANARY"),
            segment(0xC0, b"CANARX"),
            segment(0xDA, b"scan"),
            samples.to_vec(),
            segment(0xFE, b"CANARY between scans"),
            segment(0xDA, b"scan"),
            samples.to_vec(),
            vec![0xFF, 0xD9],
            b"CANARY".to_vec(),
        ]
        .concat();
        let (out, clean, blanked) = cleaned(JPEG, &bytes);
        assert!(clean && !holds(&out) && out.len() == bytes.len());
        assert_eq!(blanked, 5);
        assert!(out.windows(6).any(|w| w == b"CANARX"), "a frame header is no comment");
        assert!(out.windows(9).any(|w| w[..5] == *b"JFIF\0" && w[5] == 1));
        assert_eq!(out.windows(samples.len()).filter(|w| **w == samples).count(), 2);
    }

    #[test]
    fn comments_of_a_wavelet_codestream_are_blanked_in_every_header() {
        let tile = |body: &[u8]| {
            let comment = segment(0x64, b"\0\x01CANARY");
            let len = u32::try_from(12 + comment.len() + 2 + body.len()).unwrap();
            let sot = [&[0, 0][..], &len.to_be_bytes(), &[0, 1]].concat();
            [segment(0x90, &sot), comment, vec![0xFF, 0x93], body.to_vec()].concat()
        };
        let bytes = [
            vec![0xFF, 0x4F],
            segment(0x51, &[7; 38]),
            segment(0x64, b"\0\x01CANARY in the main header"),
            tile(&[0xFF, 0x64, 0x00, 0x09, 1, 2, 3]),
            tile(&[9; 700]),
            vec![0xFF, 0xD9],
        ]
        .concat();
        let (out, clean, blanked) = cleaned(J2K, &bytes);
        assert!(clean && !holds(&out));
        assert_eq!(blanked, 3);
        assert!(out.windows(7).any(|w| w == [0xFF, 0x64, 0x00, 0x09, 1, 2, 3]), "samples stay what they are");
    }

    #[test]
    fn what_is_no_codestream_is_not_clean_and_gives_nothing_away() {
        let (out, clean, _) = cleaned(JPEG, b"\xFF\xD8CANARY");
        assert!(!clean && !holds(&out));
        let (out, _, _) = cleaned(JPEG, b"CANARY without an image");
        assert!(!holds(&out));
        let (out, clean, _) = cleaned("1.2.840.10008.1.2.5", b"run length");
        assert!(clean && out == b"run length");
    }
}
