//! A profile as bytes: with the texts that every profile must have, the same in all, and no time, place or maker.

use super::{Curve, D50, Profile, Xyz};

impl Profile {
    /// A whole profile.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = |text: &str| if self.version == 2 { old_text(text) } else { new_text(text) };
        let description = if self.version == 2 { old_description(DESCRIPTION) } else { new_text(DESCRIPTION) };
        let mut tags = vec![(*b"desc", description), (*b"cprt", text(COPYRIGHT)), (*b"wtpt", xyz(&self.white))];
        if let Some(matrix) = &self.adaptation {
            tags.push((*b"chad", numbers(b"sf32", matrix)));
        }
        for (name, colour) in [b"rXYZ", b"gXYZ", b"bXYZ"].into_iter().zip(&self.primaries) {
            tags.push((*name, xyz(colour)));
        }
        for (name, curve) in [b"rTRC", b"gTRC", b"bTRC"].into_iter().zip(&self.curves) {
            tags.push((*name, curve.bytes()));
        }
        let mut table = number(tags.len()).to_vec();
        let mut values: Vec<u8> = Vec::new();
        let start = HEADER_BYTES + 4 + 12 * tags.len();
        let mut placed: Vec<(usize, &[u8])> = Vec::new();
        for (name, value) in &tags {
            // Curves that are alike are written once.
            let known = placed.iter().find(|(_, known)| known == value).map(|(at, _)| *at);
            let at = known.unwrap_or_else(|| {
                let at = start + values.len();
                values.extend_from_slice(value);
                values.resize(values.len().next_multiple_of(4), 0);
                placed.push((at, value));
                at
            });
            table.extend_from_slice(name);
            table.extend_from_slice(&number(at));
            table.extend_from_slice(&number(value.len()));
        }
        let mut out = self.header(start + values.len());
        out.extend_from_slice(&table);
        out.extend_from_slice(&values);
        out
    }

    fn header(&self, len: usize) -> Vec<u8> {
        let version: [u8; 4] = if self.version == 2 { [2, 0x40, 0, 0] } else { [4, 0x30, 0, 0] };
        // The day on which the century began: a time must be there, and says nothing.
        const TIME: [u8; 12] = [0x07, 0xD0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&number(len));
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&version);
        out.extend_from_slice(&self.class);
        out.extend_from_slice(b"RGB XYZ ");
        out.extend_from_slice(&TIME);
        out.extend_from_slice(b"acsp");
        // Platform, flags, maker, model, attributes.
        out.extend_from_slice(&[0; 24]);
        out.extend_from_slice(&self.intent.to_be_bytes());
        D50.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
        // Creator, digest, what is reserved.
        out.resize(HEADER_BYTES, 0);
        out
    }
}

impl Curve {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Sampled(samples) => {
                let mut out = b"curv\0\0\0\0".to_vec();
                out.extend_from_slice(&number(samples.len()));
                samples.iter().for_each(|sample| out.extend_from_slice(&sample.to_be_bytes()));
                out
            }
            Self::Formula(kind, parameters) => {
                let mut out = b"para\0\0\0\0".to_vec();
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                parameters.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
                out
            }
        }
    }
}

fn xyz(colour: &Xyz) -> Vec<u8> {
    numbers(b"XYZ ", colour)
}

fn numbers(kind: &[u8; 4], numbers: &[i32]) -> Vec<u8> {
    let mut out = [kind.as_slice(), &[0; 4]].concat();
    numbers.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
    out
}

/// textDescriptionType (ICC.1:2001 §6.5.17): ASCII, and no other form.
fn old_description(text: &str) -> Vec<u8> {
    let mut out = b"desc\0\0\0\0".to_vec();
    out.extend_from_slice(&number(text.len() + 1));
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len() + 1 + 8 + 3 + 67, 0);
    out
}

/// textType (§10.24).
fn old_text(text: &str) -> Vec<u8> {
    [b"text\0\0\0\0", text.as_bytes(), b"\0"].concat()
}

/// multiLocalizedUnicodeType (§10.15) of one record.
fn new_text(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut out = b"mluc\0\0\0\0\0\0\0\x01\0\0\0\x0CenUS".to_vec();
    out.extend_from_slice(&number(units.len()));
    out.extend_from_slice(&number(28));
    out.extend_from_slice(&units);
    out
}

/// A profile that is written here has some KiB.
fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

const HEADER_BYTES: usize = 128;
const DESCRIPTION: &str = "Colours as the picture came with them";
const COPYRIGHT: &str = "None";
