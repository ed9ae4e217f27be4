//! From stored values to shades: the modality transform and the VOI transform (PS3.3 §C.11.1, §C.11.2).

use serde::{Deserialize, Serialize};

/// How stored values become values that mean something, Hounsfield units for one (PS3.3 §C.11.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Modality {
    /// They are that already.
    Identity,
    /// slope · stored + intercept.
    Rescale {
        /// Rescale Slope (0028,1053).
        slope: f64,
        /// Rescale Intercept (0028,1052).
        intercept: f64,
    },
    /// By a table.
    Lut(Lut),
}

/// How values become shades of a window (PS3.3 §C.11.2.1.2, §C.11.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Window Center (0028,1050).
    pub center: f64,
    /// Window Width (0028,1051): at least 1 for [`Function::Linear`], else above 0.
    pub width: f64,
    /// VOI LUT Function (0028,1056).
    pub function: Function,
}

/// VOI LUT Function (0028,1056).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Function {
    /// LINEAR.
    Linear,
    /// LINEAR_EXACT.
    LinearExact,
    /// SIGMOID.
    Sigmoid,
}

impl Window {
    /// A window that the formulas hold for; `None` for a width that they do not.
    pub fn new(center: f64, width: f64, function: Function) -> Option<Self> {
        let wide = if function == Function::Linear { width >= 1.0 } else { width > 0.0 };
        (center.is_finite() && width.is_finite() && wide).then_some(Self { center, width, function })
    }

    /// The shade of `value`, 0 to 255, not rounded.
    pub(super) fn shade(&self, value: f64) -> f64 {
        let Self { center, width, function } = *self;
        match function {
            Function::Linear => {
                let (center, width) = (center - 0.5, width - 1.0);
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    WHITE
                } else {
                    ((value - center) / width + 0.5) * WHITE
                }
            }
            Function::LinearExact => {
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    WHITE
                } else {
                    ((value - center) / width + 0.5) * WHITE
                }
            }
            Function::Sigmoid => WHITE / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}

/// A table (PS3.3 §C.11.1.1, §C.11.2.1.1).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Lut {
    /// The value that the first entry stands for.
    pub first: i32,
    /// Bits of an entry.
    pub bits: u16,
    /// The entries; never empty.
    pub entries: Vec<u16>,
}

impl std::fmt::Debug for Lut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lut({} from {}, {} bits)", self.entries.len(), self.first, self.bits)
    }
}

impl Lut {
    /// The entry for `value`; values before the first and after the last have those.
    pub(super) fn entry(&self, value: i64) -> u16 {
        let last = self.entries.len().saturating_sub(1);
        let index = usize::try_from(value.saturating_sub(i64::from(self.first))).map_or(0, |index| index.min(last));
        self.entries.get(index).copied().unwrap_or(0)
    }

    /// The entry as a shade, 0 to 255.
    pub(super) fn shade(&self, value: f64) -> f64 {
        let most = f64::from((1_u32 << self.bits.clamp(1, 16)) - 1);
        f64::from(self.entry(whole(value))) / most * WHITE
    }
}

impl Modality {
    /// What a stored value means.
    pub(super) fn value(&self, stored: i64) -> f64 {
        match self {
            Self::Identity => exact(stored),
            Self::Rescale { slope, intercept } => exact(stored) * slope + intercept,
            Self::Lut(lut) => f64::from(lut.entry(stored)),
        }
    }
}

/// Stored values have 32 bits at most.
#[allow(clippy::cast_precision_loss, reason = "an f64 holds 53 bits")]
fn exact(stored: i64) -> f64 {
    stored as f64
}

/// To the nearest whole number, halves upwards.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn whole(value: f64) -> i64 {
    (value + 0.5).floor() as i64
}

/// A shade as a sample.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just before")]
pub(super) fn sample(shade: f64) -> u8 {
    (shade + 0.5).floor().clamp(0.0, WHITE) as u8
}

const WHITE: f64 = 255.0;
