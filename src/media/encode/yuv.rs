//! RGB frames to the planes of H.264: YCbCr 4:2:0, limited range.
//!
//! Integer arithmetic, so the same frame gives the same planes on every machine. Chroma is sited at the left pixel of
//! each pair, half-way between two rows, which players assume by default.

use crate::media::clip::Color;

/// Fraction bits of a coefficient.
const BITS: u32 = 16;

/// One frame as three planes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Yuv420 {
    /// Luma `[height, width]`, 16 to 235.
    pub y: Vec<u8>,
    /// Blue difference `[height / 2, width / 2]`, 16 to 240.
    pub u: Vec<u8>,
    /// Red difference `[height / 2, width / 2]`, 16 to 240.
    pub v: Vec<u8>,
}

/// An RGB frame u8 `[height, width, 3]` as limited-range YCbCr with the coefficients of `color` (BT.709 or BT.601).
///
/// # Panics
/// If the frame has another length or a size is odd.
pub fn rgb_to_yuv420(rgb: &[u8], width: usize, height: usize, color: Color) -> Yuv420 {
    assert_eq!(rgb.len(), 3 * width * height, "frame of {width}x{height}");
    assert!(
        width.is_multiple_of(2) && height.is_multiple_of(2),
        "4:2:0 needs even sizes, not {width}x{height}"
    );
    let matrix = Matrix::of(color);
    let y = rgb
        .chunks_exact(3)
        .map(|p| project(matrix.y, [p[0], p[1], p[2]].map(i32::from), 1, 16))
        .collect();
    let mut u = Vec::with_capacity(width * height / 4);
    let mut v = Vec::with_capacity(width * height / 4);
    for rows in rgb.chunks_exact(2 * 3 * width) {
        let (upper, lower) = rows.split_at(3 * width);
        for x in (0..width).step_by(2) {
            let left = x.saturating_sub(1);
            let sum = [0, 1, 2].map(|channel| {
                let column = |x: usize| {
                    i32::from(upper[3 * x + channel]) + i32::from(lower[3 * x + channel])
                };
                column(left) + 2 * column(x) + column(x + 1)
            });
            u.push(project(matrix.u, sum, 8, 128));
            v.push(project(matrix.v, sum, 8, 128));
        }
    }
    Yuv420 { y, u, v }
}

/// `offset + weights . rgb / count`, rounded; `rgb` is a sum over `count` pixels.
fn project(weights: [i32; 3], rgb: [i32; 3], count: i32, offset: i32) -> u8 {
    let one = count << BITS;
    let sum = weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2];
    (offset + (sum + one / 2).div_euclid(one)) as u8
}

/// Coefficients of red, green and blue, with [`BITS`] fraction bits.
struct Matrix {
    y: [i32; 3],
    u: [i32; 3],
    v: [i32; 3],
}

impl Matrix {
    fn of(color: Color) -> Self {
        let (kr, kb) = match color {
            Color::Bt709 => (0.2126, 0.0722),
            Color::Reference => (0.299, 0.114),
        };
        let fixed = |value: f64| (value * f64::from(1 << BITS)).round() as i32;
        let luma = 219.0 / 255.0;
        let chroma = 224.0 / 255.0;
        // Green takes the remainder, so that grey has no colour and white is exactly 235.
        let whole = fixed(luma);
        let y = [fixed(luma * kr), 0, fixed(luma * kb)];
        let half = fixed(chroma / 2.0);
        let u_red = -fixed(chroma * kr / (2.0 * (1.0 - kb)));
        let v_blue = -fixed(chroma * kb / (2.0 * (1.0 - kr)));
        Self {
            y: [y[0], whole - y[0] - y[2], y[2]],
            u: [u_red, -half - u_red, half],
            v: [half, -half - v_blue, v_blue],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(rgb: [u8; 3], color: Color) -> [u8; 3] {
        let frame: Vec<u8> = rgb.repeat(4);
        let yuv = rgb_to_yuv420(&frame, 2, 2, color);
        [yuv.y[0], yuv.u[0], yuv.v[0]]
    }

    #[test]
    fn known_colours() {
        let cases = [
            ([0, 0, 0], [16, 128, 128], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128], [235, 128, 128]),
            ([128, 128, 128], [126, 128, 128], [126, 128, 128]),
            ([255, 0, 0], [63, 102, 240], [81, 90, 240]),
            ([0, 255, 0], [173, 42, 26], [145, 54, 34]),
            ([0, 0, 255], [32, 240, 118], [41, 240, 110]),
        ];
        for (rgb, bt709, bt601) in cases {
            assert_eq!(flat(rgb, Color::Bt709), bt709, "{rgb:?} by BT.709");
            assert_eq!(flat(rgb, Color::Reference), bt601, "{rgb:?} by BT.601");
        }
    }
}
