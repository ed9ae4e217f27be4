//! Colour profiles: what the numbers of a colour picture mean, without what a profile says beside that.
//!
//! A profile may name its maker, its owner, a device and its serial number, in texts and in tags nobody else knows. So none is
//! taken over: what computes colours is read into [`Profile`] (matrix and curves of an RGB input or display profile) and
//! written anew with fixed texts. A profile that computes otherwise (tables of many dimensions, other colour spaces) is left
//! behind, and the instance says so.
//!
//! Source: ICC.1:2022 §7.2 (header), §7.3 (tag table), §8.3, §8.4 (matrix profiles), §10.6 (curv), §10.18 (para), §10.31
//! (XYZ); PS3.3 C.11.15.

mod carrier;
mod embed;
mod write;

pub use embed::{srgb_profile, with_profile};

pub(crate) use carrier::{Carrier, Fate, Segments};

/// Colours of an RGB picture as CIE XYZ under D50: three curves and a matrix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    /// 2 or 4.
    version: u8,
    class: [u8; 4],
    intent: u32,
    white: Xyz,
    /// From the light that was adapted to D50, row by row.
    adaptation: Option<[i32; 9]>,
    /// Red, green, blue.
    primaries: [Xyz; 3],
    curves: [Curve; 3],
}

/// 16.16 fixed point.
type Xyz = [i32; 3];

#[derive(Debug, Clone, PartialEq)]
enum Curve {
    /// Samples between 0 and 65,535; none: identity; one: an exponent in 8.8.
    Sampled(Vec<u16>),
    /// Which formula, and its parameters in 16.16.
    Formula(u16, Vec<i32>),
}

impl Profile {
    /// Reads what computes colours; `None` where something is not as it must be, or computes otherwise.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let size = usize::try_from(long(bytes, 0)?).ok()?;
        let bytes = bytes.get(..size).filter(|bytes| bytes.len() <= MAX_BYTES)?;
        let version = *bytes.get(8)?;
        let class = word(bytes, 12)?;
        let fits = matches!(version, 2 | 4)
            && matches!(&class, b"scnr" | b"mntr")
            && word(bytes, 16)? == *b"RGB "
            && word(bytes, 20)? == *b"XYZ "
            && word(bytes, 36)? == *b"acsp";
        let intent = long(bytes, 64)?;
        let tags = Tags { bytes, count: usize::try_from(long(bytes, HEADER)?).ok()? };
        // Where there are tables, the matrix is the coarser of two answers.
        if !fits || intent > 3 || tags.count > MAX_TAGS || TABLES.iter().any(|name| tags.find(name).is_some()) {
            return None;
        }
        let primaries = [tags.xyz(b"rXYZ")?, tags.xyz(b"gXYZ")?, tags.xyz(b"bXYZ")?];
        // Full red, green and blue are the white of D50, more or less.
        for (axis, white) in D50.into_iter().enumerate() {
            let sum: i64 = primaries.iter().filter_map(|colour| colour.get(axis)).map(|value| i64::from(*value)).sum();
            if (sum - i64::from(white)).abs() > WHITE_TOLERANCE {
                return None;
            }
        }
        let adaptation = match tags.find(b"chad") {
            Some(value) => Some(tags.matrix(value)?),
            None => None,
        };
        Some(Self {
            version,
            class,
            intent,
            white: tags.xyz(b"wtpt")?,
            adaptation,
            primaries,
            curves: [tags.curve(b"rTRC")?, tags.curve(b"gTRC")?, tags.curve(b"bTRC")?],
        })
    }

    /// sRGB (IEC 61966-2-1), adapted to D50.
    pub(crate) fn srgb() -> Self {
        Self {
            version: 4,
            class: *b"mntr",
            intent: 0,
            white: D50,
            adaptation: Some([68_674, 1_502, -3_291, 1_939, 64_912, -1_119, -606, 988, 49_262]),
            primaries: [[28_578, 14_581, 912], [25_241, 46_981, 6_362], [9_376, 3_972, 46_799]],
            curves: std::array::from_fn(|_| Curve::Formula(3, SRGB_CURVE.to_vec())),
        }
    }

    /// The name of its colour space, if it is one of those that PS3.3 C.11.15.1.2 names.
    pub(crate) fn space(&self) -> Option<&'static str> {
        let known = KNOWN.iter().find(|known| {
            let near = |a: &Xyz, b: &Xyz| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= PRIMARY_TOLERANCE);
            let alike = |curve: &Curve| {
                PROBES.iter().all(|x| curve.at(*x).is_some_and(|y| (y - known.curve.at(*x)).abs() <= CURVE_TOLERANCE))
            };
            self.primaries.iter().zip(&known.primaries).all(|(a, b)| near(a, b)) && self.curves.iter().all(alike)
        });
        known.map(|known| known.name)
    }
}

impl Curve {
    /// Between 0 and 1.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between two of few samples"
    )]
    fn at(&self, x: f64) -> Option<f64> {
        match self {
            Self::Sampled(samples) => match &samples[..] {
                [] => Some(x),
                [exponent] => Some(x.powf(f64::from(*exponent) / 256.0)),
                samples => {
                    let place = x * (samples.len() - 1) as f64;
                    let below = place.floor();
                    let sample = |at: usize| samples.get(at).map(|value| f64::from(*value) / 65_535.0);
                    let low = sample(below as usize)?;
                    let high = sample(below as usize + 1).unwrap_or(low);
                    Some(low + (high - low) * (place - below))
                }
            },
            Self::Formula(kind, parameters) => {
                let mut values = parameters.iter().map(|value| f64::from(*value) / 65_536.0);
                let g = values.next()?;
                let [a, b, c, d, e, f] = std::array::from_fn(|_| values.next());
                Some(match kind {
                    0 => x.powf(g),
                    1 if x >= -b? / a? => (a? * x + b?).powf(g),
                    1 => 0.0,
                    2 if x >= -b? / a? => (a? * x + b?).powf(g) + c?,
                    2 => c?,
                    3 if x >= d? => (a? * x + b?).powf(g),
                    3 => c? * x,
                    4 if x >= d? => (a? * x + b?).powf(g) + e?,
                    4 => c? * x + f?,
                    _ => return None,
                })
            }
        }
    }
}

/// The tag table and what it points at.
struct Tags<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Tags<'a> {
    fn find(&self, name: &[u8; 4]) -> Option<&'a [u8]> {
        let entries = self.bytes.get(HEADER + 4..)?.as_chunks::<12>().0;
        let entry = entries.iter().take(self.count).find(|entry| entry.starts_with(name))?;
        let (at, len) = (usize::try_from(long(entry, 4)?).ok()?, usize::try_from(long(entry, 8)?).ok()?);
        self.bytes.get(at..at.checked_add(len)?)
    }

    fn xyz(&self, name: &[u8; 4]) -> Option<Xyz> {
        let value = self.find(name).filter(|value| value.starts_with(b"XYZ "))?;
        let xyz = [fixed(value, 8)?, fixed(value, 12)?, fixed(value, 16)?];
        xyz.iter().all(|value| value.unsigned_abs() <= MAX_FIXED).then_some(xyz)
    }

    fn matrix(&self, value: &[u8]) -> Option<[i32; 9]> {
        let mut matrix = [0; 9];
        for (n, cell) in matrix.iter_mut().enumerate() {
            *cell = fixed(value, 8 + 4 * n).filter(|value| value.unsigned_abs() <= MAX_FIXED)?;
        }
        value.starts_with(b"sf32").then_some(matrix)
    }

    fn curve(&self, name: &[u8; 4]) -> Option<Curve> {
        let value = self.find(name)?;
        match &word(value, 0)? {
            b"curv" => {
                let count = usize::try_from(long(value, 8)?).ok().filter(|count| *count <= MAX_SAMPLES)?;
                let samples = value.get(12..12 + 2 * count)?.as_chunks::<2>().0;
                Some(Curve::Sampled(samples.iter().map(|two| u16::from_be_bytes(*two)).collect()))
            }
            b"para" => {
                let kind = u16::from_be_bytes(*value.get(8..10)?.first_chunk()?);
                let count = *[1, 3, 4, 5, 7].get(usize::from(kind))?;
                let parameters: Option<Vec<i32>> = (0..count).map(|n| fixed(value, 12 + 4 * n)).collect();
                let curve = Curve::Formula(kind, parameters?);
                // A parameter of nothing may divide by it.
                PROBES.iter().all(|x| curve.at(*x).is_some_and(f64::is_finite)).then_some(curve)
            }
            _ => None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).map(u32::from_be_bytes)
}

fn fixed(bytes: &[u8], at: usize) -> Option<i32> {
    word(bytes, at).map(i32::from_be_bytes)
}

/// A colour space that has a name.
struct Known {
    name: &'static str,
    primaries: [Xyz; 3],
    curve: KnownCurve,
}

enum KnownCurve {
    Srgb,
    Exponent(f64),
}

impl KnownCurve {
    fn at(&self, x: f64) -> f64 {
        match self {
            Self::Srgb if x <= 0.040_45 => x / 12.92,
            Self::Srgb => ((x + 0.055) / 1.055).powf(2.4),
            Self::Exponent(g) => x.powf(*g),
        }
    }
}

/// IEC 61966-2-1; Adobe RGB (1998); SMPTE EG 432-1 with the white of D65 and the curve of sRGB. Adapted to D50.
const KNOWN: [Known; 3] = [
    Known {
        name: "SRGB",
        primaries: [[28_578, 14_581, 912], [25_241, 46_981, 6_362], [9_376, 3_972, 46_799]],
        curve: KnownCurve::Srgb,
    },
    Known {
        name: "ADOBERGB",
        primaries: [[39_960, 20_389, 1_280], [13_453, 41_001, 3_990], [9_777, 4_146, 48_790]],
        curve: KnownCurve::Exponent(2.199_218_75),
    },
    Known {
        name: "DISPLAYP3",
        primaries: [[33_759, 15_808, -69], [19_134, 45_363, 2_749], [10_295, 4_365, 51_387]],
        curve: KnownCurve::Srgb,
    },
];
const SRGB_CURVE: [i32; 5] = [157_286, 62_119, 3_417, 5_072, 2_651];
const D50: Xyz = [63_190, 65_536, 54_061];
/// Two hundredths and a bit.
const WHITE_TOLERANCE: i64 = 1_600;
/// A fifth of a hundredth.
const PRIMARY_TOLERANCE: i32 = 132;
const CURVE_TOLERANCE: f64 = 0.004;
const PROBES: [f64; 6] = [0.02, 0.1, 0.25, 0.5, 0.75, 0.95];
/// Profiles that compute by tables: to the connection space, and in floating point.
const TABLES: [&[u8; 4]; 2] = [b"A2B0", b"D2B0"];
const HEADER: usize = 128;
const MAX_TAGS: usize = 100;
/// Bytes of a profile that is looked at.
pub(crate) const MAX_BYTES: usize = 1 << 20;
const MAX_SAMPLES: usize = 4_096;
/// Colours lie between 0 and 2.
const MAX_FIXED: u32 = 4 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let srgb = Profile::srgb();
        assert_eq!((Profile::read(&srgb.bytes()), srgb.space()), (Some(srgb.clone()), Some("SRGB")));
        let sampled = |exponent: f64| {
            #[allow(clippy::cast_possible_truncation, reason = "at most 65,535")]
            let sample = |n: u32| ((f64::from(n) / 1_023.0).powf(exponent) * 65_535.0) as u16;
            Curve::Sampled((0..1_024).map(sample).collect())
        };
        let adobe = Profile {
            version: 2,
            class: *b"scnr",
            adaptation: None,
            primaries: KNOWN[1].primaries,
            curves: std::array::from_fn(|_| sampled(2.2)),
            ..srgb.clone()
        };
        assert_eq!((Profile::read(&adobe.bytes()), adobe.space()), (Some(adobe.clone()), Some("ADOBERGB")));
        let own = Profile { curves: std::array::from_fn(|_| sampled(1.8)), ..adobe };
        assert_eq!((Profile::read(&own.bytes()), own.space()), (Some(own.clone()), None), "it has no name");
        let p3 = Profile { primaries: KNOWN[2].primaries, ..srgb };
        assert_eq!(p3.space(), Some("DISPLAYP3"));
    }

    #[test]
    fn what_says_more_than_colours_says_it_no_more() {
        let mut given = Profile::srgb().bytes();
        // Maker, model, time and creator in the header; a serial number behind the last tag.
        given[48..56].copy_from_slice(b"CANARY01");
        given[24..36].copy_from_slice(b"CANARY PLACE");
        given[80..84].copy_from_slice(b"CANA");
        given.extend_from_slice(b"text\0\0\0\0CANARY SERIAL 0007\0");
        let len = u32::try_from(given.len()).unwrap();
        given[..4].copy_from_slice(&len.to_be_bytes());
        let kept = Profile::read(&given).unwrap().bytes();
        assert_eq!(kept, Profile::srgb().bytes());
        assert!(!kept.windows(4).any(|window| window == b"CANA"));
    }

    #[test]
    fn what_computes_otherwise_is_not_taken() {
        let good = Profile::srgb().bytes();
        for (what, at, bytes) in [
            ("an output profile", 12, b"prtr"),
            ("grey", 16, b"GRAY"),
            ("another connection space", 20, b"Lab "),
            ("no profile", 36, b"xxxx"),
            ("version 5", 8, &[5, 0, 0, 0]),
            ("tables beside the matrix", HEADER + 4, b"A2B0"),
            ("an unknown intent", 64, &[0, 0, 0, 9]),
            ("more tags than there are", HEADER, &[0, 0, 1, 0]),
            ("longer than it is", 0, &[0, 0, 255, 0]),
        ] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(bytes);
            assert_eq!(Profile::read(&bad), None, "{what}");
        }
        let dark = Profile { primaries: [[0; 3]; 3], ..Profile::srgb() };
        assert_eq!(Profile::read(&dark.bytes()), None, "colours that make no white");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(at in 0_usize..700, to: u8, cut in 0_usize..700) {
            let mut near = Profile::srgb().bytes();
            let at = at % near.len();
            near[at] = to;
            if let Some(profile) = Profile::read(&near) {
                prop_assert_eq!(Profile::read(&profile.bytes()), Some(profile.clone()));
                let _ = profile.space();
            }
            near.truncate(cut);
            let _ = Profile::read(&near);
        }
    }
}
