//! How the frames of a compressed instance become what Explicit VR Little Endian holds.

use super::{PictureError, Whose, outgoing};
use crate::App;
use bytes::Bytes;
use leadglass_engine::Pixels;
use leadglass_imaging::{
    decode::{Coding, DecodeError, Layout},
    render::{Metadata, RenderError},
    work::Job,
};
use leadglass_model::{Phi, TransferSyntaxUid};
use leadglass_tap::{Replaced, Tag, Vr};

/// What one instance needs; it names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decoding {
    coding: Coding,
    layout: Layout,
    /// The transfer syntax cannot hold anything without a loss.
    lossy: bool,
}

impl Decoding {
    /// By the metadata of an instance that is stored in this syntax. `Ok(None)`: it has no pixels, so nothing is to be
    /// decoded. An error: they are not decoded here.
    pub(crate) fn of(json: &Phi<Vec<u8>>, syntax: &TransferSyntaxUid) -> Result<Option<Self>, RenderError> {
        let text = std::str::from_utf8(json.expose()).ok();
        let metadata = Metadata::parse(text.ok_or(RenderError::Undescribed { what: "anything" })?)?;
        if !metadata.has_pixels() {
            return Ok(None);
        }
        let coding = Coding::of(syntax.as_str())?;
        let layout = metadata.layout(coding)?;
        layout.check()?;
        if layout.allocated == 1 {
            return Err(DecodeError::Unsupported { what: "compressed bits" }.into());
        }
        let lossy = matches!(syntax.as_str(), "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51");
        Ok(Some(Self { coding, layout, lossy }))
    }

    /// Bytes of all frames, decoded; `None` where they do not fit into one element (PS3.5 §7.1.1: below 2^32 - 1).
    pub(crate) fn len(&self, frames: u32) -> Option<u32> {
        let all = self.frame_len().checked_mul(u64::from(frames))?;
        u32::try_from(all).ok().filter(|len| *len < u32::MAX - 1)
    }

    fn frame_len(&self) -> u64 {
        Job::Decode(self.coding, self.layout).decoded_bytes()
    }

    /// The header of Pixel Data with so many bytes.
    pub(crate) fn pixel_header(&self, len: u32) -> Bytes {
        let vr = if self.layout.allocated > 8 { Vr::OW } else { Vr::OB };
        let len = len.saturating_add(len % 2);
        [&[0xE0, 0x7F, 0x10, 0x00], &vr.0[..], &[0, 0], &len.to_le_bytes()].concat().into()
    }

    /// What describes the pixels otherwise once they are decoded: colour by pixel and as RGB (PS3.5 §8.2, PS3.3
    /// §C.7.6.3.1). A loss that happened stays known (PS3.3 §C.7.6.1.1.5).
    pub(crate) fn replaced(&self) -> Vec<Replaced> {
        let one = |number, vr: &[u8; 2], value: &[u8], only_if_absent| Replaced {
            tag: Tag(0x0028, number),
            vr: Vr(*vr),
            value: value.to_vec(),
            only_if_absent,
        };
        let mut replaced = Vec::new();
        if self.layout.samples > 1 {
            replaced.push(one(0x0004, b"CS", b"RGB ", false));
            replaced.push(one(0x0006, b"US", &[0, 0], false));
        }
        if self.lossy {
            replaced.push(one(0x2110, b"CS", b"01", true));
        }
        replaced
    }

    /// One frame, decoded by a render worker, of exactly the length that it must have.
    pub(crate) async fn frame(
        &self,
        app: &App,
        whose: Whose,
        pixels: &Pixels,
        number: u32,
    ) -> Result<Bytes, PictureError> {
        let decoded = outgoing::decoded(app, whose, pixels, number, (self.coding, self.layout)).await?;
        if decoded.len() as u64 == self.frame_len() {
            Ok(decoded)
        } else {
            Err(DecodeError::Contradiction { what: "bytes" }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(photometric: &str, samples: u16, allocated: u16, syntax: &str) -> Result<Option<Decoding>, RenderError> {
        let number = |n: u16| serde_json::json!({ "vr": "US", "Value": [n] });
        let json = serde_json::json!({
            "00280002": number(samples),
            "00280004": { "vr": "CS", "Value": [photometric] },
            "00280010": number(3),
            "00280011": number(5),
            "00280100": number(allocated),
            "00280101": number(allocated),
            "00280102": number(allocated - 1),
            "00280103": number(0),
            "7FE00010": { "vr": "OB", "BulkDataURI": "bulkdata/7FE00010" },
        });
        Decoding::of(&Phi::new(json.to_string().into_bytes()), &TransferSyntaxUid::parse(syntax).unwrap())
    }

    #[test]
    fn colour_leaves_as_rgb_by_pixel_and_a_loss_stays_known() {
        let tags = |decoding: &Decoding| decoding.replaced().into_iter().map(|one| one.tag.1).collect::<Vec<_>>();
        let jpeg = of("YBR_FULL_422", 3, 8, "1.2.840.10008.1.2.4.50").unwrap().unwrap();
        assert_eq!(tags(&jpeg), [0x0004, 0x0006, 0x2110]);
        assert_eq!((jpeg.frame_len(), jpeg.len(3)), (45, Some(135)));
        assert_eq!(&jpeg.pixel_header(135)[..], [0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 136, 0, 0, 0]);
        let grey = of("MONOCHROME2", 1, 16, "1.2.840.10008.1.2.4.80").unwrap().unwrap();
        assert_eq!(tags(&grey), [0_u16; 0]);
        assert_eq!((grey.frame_len(), &grey.pixel_header(30)[4..6]), (30, &b"OW"[..]));
        assert_eq!(grey.len(143_165_576), Some(4_294_967_280));
        assert_eq!(grey.len(143_165_577), None, "longer than an element can be");
    }

    #[test]
    fn what_is_not_decoded_here_is_known_beforehand() {
        for (photometric, samples, allocated, syntax) in [
            ("MONOCHROME2", 1, 8, "1.2.840.10008.1.2.4.102"),
            ("MONOCHROME2", 1, 1, "1.2.840.10008.1.2.5"),
            ("MONOCHROME2", 2, 8, "1.2.840.10008.1.2.5"),
            ("CMYK", 3, 8, "1.2.840.10008.1.2.5"),
        ] {
            assert!(of(photometric, samples, allocated, syntax).is_err(), "{photometric} {syntax}");
        }
        let empty = Phi::new(b"{}".to_vec());
        let video = TransferSyntaxUid::parse("1.2.840.10008.1.2.4.102").unwrap();
        assert_eq!(Decoding::of(&empty, &video).unwrap(), None, "what has no pixels needs no decoder");
    }
}
