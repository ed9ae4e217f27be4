//! PALETTE COLOR: an index into three tables (PS3.3 §C.7.6.3.1.5, §C.7.9.2).

use super::{Lut, RenderError};
use serde::{Deserialize, Serialize};

/// Red, green and blue by index, eight bits each.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Palette {
    /// The index that the first entry stands for.
    first: i32,
    colours: Vec<[u8; 3]>,
}

impl std::fmt::Debug for Palette {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Palette({} from {})", self.colours.len(), self.first)
    }
}

impl Palette {
    /// Of the three tables, which must be equally long and begin at the same index.
    ///
    /// # Errors
    /// [`RenderError::Undescribed`].
    pub fn new(red: &Lut, green: &Lut, blue: &Lut) -> Result<Self, RenderError> {
        let alike = |a: &Lut, b: &Lut| a.first == b.first && a.entries.len() == b.entries.len();
        if !alike(red, green) || !alike(red, blue) || red.entries.is_empty() {
            return Err(RenderError::Undescribed { what: "one palette of three equal tables" });
        }
        let [red_bytes, green_bytes, blue_bytes] = [red, green, blue].map(bytes);
        let colours = red_bytes.zip(green_bytes).zip(blue_bytes).map(|((r, g), b)| [r, g, b]).collect();
        Ok(Self { first: red.first, colours })
    }

    /// The colour of an index; those before the first and after the last have those.
    pub(super) fn colour(&self, index: i64) -> [u8; 3] {
        let last = self.colours.len().saturating_sub(1);
        let at = usize::try_from(index.saturating_sub(i64::from(self.first))).map_or(0, |at| at.min(last));
        self.colours.get(at).copied().unwrap_or_default()
    }
}

/// The upper eight bits of sixteen. Some writers say sixteen and fill eight.
fn bytes(table: &Lut) -> impl Iterator<Item = u8> {
    let wide = table.bits > 8 && table.entries.iter().any(|entry| *entry > 255);
    table.entries.iter().map(move |entry| {
        let [low, high] = entry.to_le_bytes();
        if wide { high } else { low }
    })
}

/// Unrolls a segmented table (PS3.3 §C.7.9.2): discrete runs, lines, and references to earlier segments.
pub(super) fn unroll(words: &[u16], entries: usize) -> Result<Vec<u16>, RenderError> {
    let mut out: Vec<u16> = Vec::with_capacity(entries);
    segments(words, words.len(), entries, &mut out, true)?;
    if out.len() < entries {
        return Err(DAMAGED);
    }
    out.truncate(entries);
    Ok(out)
}

/// Unrolls at most `count` segments.
fn segments(
    words: &[u16],
    count: usize,
    entries: usize,
    out: &mut Vec<u16>,
    references: bool,
) -> Result<(), RenderError> {
    let mut rest = words;
    for _ in 0..count {
        if out.len() >= entries {
            return Ok(());
        }
        match rest {
            [] => return Ok(()),
            // Every segment gives something, or unrolling would have no end.
            [_, 0, ..] => return Err(DAMAGED),
            [0, len, after @ ..] => {
                let (run, after) = after.split_at_checked(usize::from(*len)).ok_or(DAMAGED)?;
                out.extend(run.iter().take(entries - out.len()));
                rest = after;
            }
            [1, len, end, after @ ..] => {
                let start = i64::from(*out.last().ok_or(DAMAGED)?);
                let (steps, rise) = (i64::from(*len), i64::from(*end) - start);
                for step in 1..=steps {
                    // To the nearest, halves upwards.
                    let value = start + (2 * rise * step + steps).div_euclid(2 * steps);
                    out.push(u16::try_from(value).map_err(|_| DAMAGED)?);
                }
                rest = after;
            }
            [2, len, low, high, after @ ..] if references => {
                let at = usize::from(*low) | usize::from(*high) << 16;
                let earlier = words.get(at / 2..).ok_or(DAMAGED)?;
                segments(earlier, usize::from(*len), entries, out, false)?;
                rest = after;
            }
            _ => return Err(DAMAGED),
        }
    }
    Ok(())
}

const DAMAGED: RenderError = RenderError::Undescribed { what: "a palette: its segments are damaged" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_unrolled() {
        // Two discrete values, a line of four up to 50, then the discrete ones again.
        let words = [0, 2, 5, 10, 1, 4, 50, 2, 1, 0, 0];
        assert_eq!(unroll(&words, 8).unwrap(), [5, 10, 20, 30, 40, 50, 5, 10]);
    }

    #[test]
    fn segments_that_lead_nowhere_are_refused() {
        for words in
            [&[0, 0, 0, 4, 1, 2, 3, 4][..], &[0, 1, 7, 1, 0, 9, 0, 3, 1, 2, 3], &[0, 1, 7, 2, 0, 0, 0, 0, 3, 1, 2, 3]]
        {
            assert!(unroll(words, 4).is_err(), "{words:?}: a segment of nothing");
        }
        for words in [&[0, 9, 1][..], &[1, 2, 3], &[2, 1, 90, 0], &[7], &[0, 1, 1]] {
            assert!(unroll(words, 4).is_err(), "{words:?}");
        }
    }

    #[test]
    fn sixteen_bits_become_the_upper_eight() {
        let table = |entries: &[u16]| Lut { first: 2, bits: 16, entries: entries.to_vec() };
        let palette = Palette::new(&table(&[0x1234, 0xff00]), &table(&[0, 0x0100]), &table(&[1, 2])).unwrap();
        assert_eq!(palette.colour(0), [0x12, 0, 1]);
        assert_eq!(palette.colour(9), [0xff, 1, 2]);
    }
}
