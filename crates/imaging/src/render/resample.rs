//! A picture larger or smaller: every pixel becomes an average of those around its place, weighted by a triangle.
//!
//! Made smaller, the triangle reaches as far as one pixel of the result does to either side, so that nothing is skipped and
//! lesions of one pixel leave a trace; made larger, it is bilinear interpolation. The same that `BILINEAR` means to Pillow.

/// Resamples `pixels`, row by row, `channels` bytes each.
pub(super) fn resample(
    pixels: &[u8],
    channels: usize,
    (width, height): (usize, usize),
    (out_width, out_height): (usize, usize),
) -> Vec<u8> {
    let stride = width * channels;
    let columns: Vec<Weights> = (0..out_width).map(|at| Weights::of(at, width, out_width)).collect();
    let mut out = Vec::with_capacity(out_width * out_height * channels);
    let mut sums = vec![0.0_f32; stride];
    for at in 0..out_height {
        let rows = Weights::of(at, height, out_height);
        sums.fill(0.0);
        let lines = pixels.chunks_exact(stride.max(1)).skip(rows.first);
        for (weight, line) in rows.weights.iter().zip(lines) {
            sums.iter_mut().zip(line).for_each(|(sum, cell)| *sum += weight * f32::from(*cell));
        }
        for column in &columns {
            let from = sums.get(column.first * channels..).unwrap_or_default();
            for channel in 0..channels {
                let cells = from.iter().skip(channel).step_by(channels);
                out.push(rounded(column.weights.iter().zip(cells).map(|(weight, cell)| weight * cell).sum()));
            }
        }
    }
    out
}

/// What one pixel of the result takes from how much of which, along one side.
struct Weights {
    first: usize,
    /// 1 together.
    weights: Vec<f32>,
}

impl Weights {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a picture's sides are far below 2^24, and what is cast back lies within one"
    )]
    fn of(at: usize, side: usize, out_side: usize) -> Self {
        let ratio = side as f64 / out_side as f64;
        let reach = ratio.max(1.0);
        let centre = (at as f64 + 0.5) * ratio;
        let first = (centre - reach).floor().max(0.0) as usize;
        let end = ((centre + reach).ceil() as usize).clamp(first + 1, side.max(first + 1));
        let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        Self { first, weights: (first..end).map(|at| (weight(at) / sum) as f32).collect() }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn rounded(value: f32) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_down_by_two_weighs_one_three_three_one() {
        // The triangle over eighths: 1, 3, 3, 1; at the edges what there is of it.
        assert_eq!(resample(&[0, 0, 80, 0, 0, 0], 1, (6, 1), (3, 1)), [11, 30, 0]);
        assert_eq!(resample(&[7; 60], 1, (10, 6), (3, 2)), [7; 6]);
    }

    #[test]
    fn a_step_up_interpolates() {
        assert_eq!(resample(&[0, 100], 1, (2, 1), (4, 1)), [0, 25, 75, 100]);
    }

    #[test]
    fn channels_do_not_mix() {
        let picture = [10, 20, 30, 10, 20, 30, 10, 20, 30, 10, 20, 30];
        assert_eq!(resample(&picture, 3, (2, 2), (1, 1)), [10, 20, 30]);
        assert_eq!(resample(&picture, 3, (4, 1), (2, 1)), [10, 20, 30, 10, 20, 30]);
    }

    #[test]
    fn one_bright_pixel_of_a_large_picture_is_not_lost() {
        let mut picture = vec![0; 1_000 * 10];
        *picture.get_mut(5_007).unwrap() = 255;
        let small = resample(&picture, 1, (1_000, 10), (200, 2));
        assert!(small.iter().any(|shade| *shade > 5));
    }
}
