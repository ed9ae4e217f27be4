//! Regions of pixels that are blanked, and where they lie among the bytes (PS3.3 §C.7.6.3.1).
//!
//! Only pixels that lie as they are can be blanked here: in compressed ones no region has bytes of its own.

use crate::{Findings, Shape};
use serde::{Deserialize, Serialize};

/// A rectangle, in pixels from the upper left corner. What reaches past the picture is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Regions of one instance, the same in each of its frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boxes(Vec<Region>);

/// For which pictures which regions. What is not said matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Modality (0008,0060).
    #[serde(default)]
    pub modality: Option<String>,
    /// The beginning of Manufacturer (0008,0070), in letters of any size.
    #[serde(default)]
    pub manufacturer: Option<String>,
    /// The beginning of Manufacturer's Model Name (0008,1090), in letters of any size.
    #[serde(default)]
    pub model: Option<String>,
    /// Rows (0028,0010).
    #[serde(default)]
    pub rows: Option<u32>,
    /// Columns (0028,0011).
    #[serde(default)]
    pub columns: Option<u32>,
    /// What is blanked.
    pub regions: Vec<Region>,
}

/// Rules of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// Why regions cannot be blanked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// More than anybody needs.
    #[error("there are at most {MAX_RULES} rules and {MAX_REGIONS} regions for one picture")]
    TooMany,
}

impl Rules {
    /// Takes them over.
    ///
    /// # Errors
    /// Too many.
    pub fn new(rules: Vec<Rule>) -> Result<Self, BoxError> {
        let many = rules.len() > MAX_RULES || rules.iter().any(|rule| rule.regions.len() > MAX_REGIONS);
        if many { Err(BoxError::TooMany) } else { Ok(Self(rules)) }
    }

    /// What is blanked in an instance: the regions of every rule that matches it.
    ///
    /// # Errors
    /// Too many.
    pub fn boxes(&self, findings: &Findings) -> Result<Boxes, BoxError> {
        let matching = self.0.iter().filter(|rule| rule.matches(findings));
        let regions: Vec<Region> = matching.flat_map(|rule| rule.regions.iter().copied()).collect();
        if regions.len() > MAX_REGIONS { Err(BoxError::TooMany) } else { Ok(Boxes(regions)) }
    }
}

impl Rule {
    fn matches(&self, findings: &Findings) -> bool {
        let begins = |said: &Option<String>, text: &str| {
            said.as_ref()
                .is_none_or(|said| text.get(..said.len()).is_some_and(|start| start.eq_ignore_ascii_case(said)))
        };
        findings.pixels
            && self.modality.as_ref().is_none_or(|said| said == findings.modality())
            && begins(&self.manufacturer, findings.manufacturer())
            && begins(&self.model, findings.model())
            && self.rows.is_none_or(|rows| rows == findings.shape.rows)
            && self.columns.is_none_or(|columns| columns == findings.shape.columns)
    }
}

impl Boxes {
    /// These regions.
    ///
    /// # Errors
    /// Too many.
    pub fn new(regions: Vec<Region>) -> Result<Self, BoxError> {
        if regions.len() > MAX_REGIONS { Err(BoxError::TooMany) } else { Ok(Self(regions)) }
    }

    /// None.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Blanks the bytes of pixels as they go by.
#[derive(Debug)]
pub(crate) struct Blanker {
    boxes: Boxes,
    /// Bytes from one pixel of a row to the next.
    step: u64,
    row_bytes: u64,
    rows: u64,
}

impl Blanker {
    /// `None` where the pixels do not lie so that a region has bytes of its own.
    pub(crate) fn new(boxes: Boxes, shape: Shape) -> Option<Self> {
        let sample = u64::from(shape.bits).checked_div(8)?;
        let samples = u64::from(shape.samples.max(1));
        let step = if shape.planar { sample } else { sample.checked_mul(samples)? };
        let row_bytes = u64::from(shape.columns).checked_mul(step)?;
        let whole = shape.bits.is_multiple_of(8) && !shape.halved && row_bytes > 0 && shape.rows > 0;
        whole.then_some(Self { boxes, step, row_bytes, rows: u64::from(shape.rows) })
    }

    /// Blanks what lies in a region of the bytes that stand at `at` of the pixel data.
    pub(crate) fn blank(&self, piece: &mut [u8], at: u64) {
        let end = at.saturating_add(piece.len() as u64);
        let mut row = at.checked_div(self.row_bytes).unwrap_or_default();
        loop {
            let start = row.saturating_mul(self.row_bytes);
            if start >= end {
                return;
            }
            // Frames and planes lie one after the other: each begins again with its first row.
            let y = row.checked_rem(self.rows).unwrap_or_default();
            for region in &self.boxes.0 {
                let within = u64::from(region.y)..u64::from(region.y).saturating_add(u64::from(region.height));
                if !within.contains(&y) {
                    continue;
                }
                let place = |x: u64| start.saturating_add(x.saturating_mul(self.step).min(self.row_bytes));
                let from = place(u64::from(region.x));
                let to = place(u64::from(region.x).saturating_add(u64::from(region.width)));
                let index = |byte: u64| usize::try_from(byte.clamp(at, end).saturating_sub(at)).unwrap_or_default();
                if let Some(bytes) = piece.get_mut(index(from)..index(to)) {
                    bytes.fill(0);
                }
            }
            row = row.saturating_add(1);
        }
    }
}

/// Regions of one picture.
const MAX_REGIONS: usize = 64;
/// Rules of one job.
const MAX_RULES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_tap::Tag;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { rows: 4, columns: 5, samples: 1, bits: 16, planar: false, halved: false };
    const REGION: Region = Region { x: 1, y: 2, width: 2, height: 9 };

    fn blanked(shape: Shape, frames: usize, cut: usize) -> Vec<u8> {
        let blanker = Blanker::new(Boxes::new(vec![REGION]).unwrap(), shape).unwrap();
        let len = (shape.rows * shape.columns * shape.samples * shape.bits / 8) as usize * frames;
        let mut bytes = vec![0xFF; len];
        let mut at = 0;
        for piece in bytes.chunks_mut(cut) {
            blanker.blank(piece, at);
            at += piece.len() as u64;
        }
        bytes
    }

    #[test]
    fn a_region_is_blanked_in_every_frame_and_plane_and_nothing_else() {
        let colour = Shape { samples: 3, bits: 8, ..SHAPE };
        for (shape, frames) in [(SHAPE, 2), (colour, 2), (Shape { planar: true, ..colour }, 2)] {
            let bytes = blanked(shape, frames, 7);
            let (sample, samples) = (shape.bits / 8, shape.samples);
            for (n, byte) in bytes.iter().enumerate() {
                let n = u32::try_from(n).unwrap() / sample;
                let pixel = if shape.planar { n } else { n / samples };
                let (x, y) = (pixel % shape.columns, pixel / shape.columns % shape.rows);
                let inside = (1..3).contains(&x) && y >= 2;
                assert_eq!(*byte == 0, inside, "{shape:?} byte {n} at {x},{y}");
            }
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut(cut in 1_usize..50) {
            prop_assert_eq!(blanked(SHAPE, 3, cut), blanked(SHAPE, 3, 1000));
        }
    }

    #[test]
    fn where_a_region_has_no_bytes_of_its_own_nothing_is_promised() {
        let boxes = Boxes::new(vec![REGION]).unwrap();
        for shape in
            [Shape { bits: 1, ..SHAPE }, Shape { bits: 12, ..SHAPE }, Shape { halved: true, ..SHAPE }, Shape::default()]
        {
            assert!(Blanker::new(boxes.clone(), shape).is_none(), "{shape:?}");
        }
    }

    #[test]
    fn a_rule_matches_what_it_names() {
        let mut findings = Findings { pixels: true, shape: SHAPE, ..Findings::default() };
        findings.note(Tag(0x0008, 0x0060), b"US", false);
        findings.note(Tag(0x0008, 0x0070), b"Acme Medical", false);
        let rule = |rule: Rule| {
            let rules = Rules::new(vec![Rule { regions: vec![REGION], ..rule }]).unwrap();
            !rules.boxes(&findings).unwrap().is_empty()
        };
        assert!(rule(Rule::default()));
        assert!(rule(Rule {
            modality: Some("US".into()),
            manufacturer: Some("ACME".into()),
            rows: Some(4),
            ..Rule::default()
        }));
        assert!(!rule(Rule { modality: Some("CT".into()), ..Rule::default() }));
        assert!(!rule(Rule { columns: Some(6), ..Rule::default() }));
        assert!(!rule(Rule { model: Some("X".into()), ..Rule::default() }));
        assert_eq!(Boxes::new(vec![REGION; 65]), Err(BoxError::TooMany));
    }
}
