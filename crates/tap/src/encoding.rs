//! Transfer syntaxes: what each means for a walker (PS3.5 §10 and Annex A, UIDs from PS3.6 Table A-1).

use leadglass_model::TransferSyntaxUid;

/// How element headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Implicit VR, little endian.
    ImplicitLe,
    /// Explicit VR, little endian.
    ExplicitLe,
    /// Explicit VR, big endian (retired, met in archives).
    ExplicitBe,
}

/// How frames lie in Pixel Data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One after the other, uncompressed (PS3.5 §A.1 to A.3).
    Native,
    /// In fragments (PS3.5 §A.4).
    Encapsulated,
    /// A video stream in fragments that are no frames (PS3.5 §8.2.5 and following).
    Video,
}

/// What a transfer syntax means for reading a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Syntax {
    /// How element headers are written.
    pub encoding: Encoding,
    /// How frames lie.
    pub framing: Framing,
    /// The whole data set is a raw deflate stream (PS3.5 §A.5).
    pub deflated: bool,
}

impl Syntax {
    /// Explicit VR little endian, uncompressed.
    pub const EXPLICIT_LE: Self = Self { encoding: Encoding::ExplicitLe, framing: Framing::Native, deflated: false };
    /// Implicit VR little endian, uncompressed: DICOM's default.
    pub const IMPLICIT_LE: Self = Self { encoding: Encoding::ImplicitLe, framing: Framing::Native, deflated: false };

    /// Looks a transfer syntax up. An unknown or private one is read as explicit VR little endian, encapsulated: PS3.5
    /// §10.1 asks this of all that are not listed.
    pub fn of(uid: &TransferSyntaxUid) -> Self {
        let uid = uid.as_str();
        let explicit = |framing| Self { encoding: Encoding::ExplicitLe, framing, deflated: false };
        match uid.strip_prefix("1.2.840.10008.1.2") {
            Some("") => Self::IMPLICIT_LE,
            Some(".1") => Self::EXPLICIT_LE,
            Some(".2") => Self { encoding: Encoding::ExplicitBe, framing: Framing::Native, deflated: false },
            // Deflated; JPIP referenced, deflated; JPIP HTJ2K referenced, deflated.
            Some(".1.99" | ".4.95" | ".4.205") => {
                Self { encoding: Encoding::ExplicitLe, framing: Framing::Native, deflated: true }
            }
            // MPEG-2, MPEG-4, HEVC; fragmentable forms carry a further component.
            Some(rest) if is_video(rest) => explicit(Framing::Video),
            // SMPTE ST 2110 and JPIP: the pixels are elsewhere.
            _ => explicit(Framing::Encapsulated),
        }
    }
}

fn is_video(rest: &str) -> bool {
    let mut parts = rest.strip_prefix(".4.").into_iter().flat_map(|r| r.split('.'));
    matches!(parts.next(), Some("100" | "101" | "102" | "103" | "104" | "105" | "106" | "107" | "108"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uid: &str) -> Syntax {
        Syntax::of(&TransferSyntaxUid::parse(uid).unwrap())
    }

    #[test]
    fn each_family_is_told_apart() {
        assert_eq!(of("1.2.840.10008.1.2"), Syntax::IMPLICIT_LE);
        assert_eq!(of("1.2.840.10008.1.2.1"), Syntax::EXPLICIT_LE);
        assert_eq!(of("1.2.840.10008.1.2.2").encoding, Encoding::ExplicitBe);
        assert!(of("1.2.840.10008.1.2.1.99").deflated);
        assert_eq!(of("1.2.840.10008.1.2.4.50").framing, Framing::Encapsulated);
        assert_eq!(of("1.2.840.10008.1.2.1.98").framing, Framing::Encapsulated);
        assert_eq!(of("1.2.840.10008.1.2.5").framing, Framing::Encapsulated);
        assert_eq!(
            of("1.2.840.10008.1.2.8.1"),
            of("1.2.3.4"),
            "deflated frames are fragments, not a deflated data set"
        );
        assert_eq!(of("1.2.840.10008.1.2.4.102").framing, Framing::Video);
        assert_eq!(of("1.2.840.10008.1.2.4.102.1").framing, Framing::Video);
        assert_eq!(of("1.2.840.10008.1.20").framing, Framing::Encapsulated);
    }
}
