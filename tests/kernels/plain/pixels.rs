//! `kernels/common/pixels.cu`.

use gallop::{
    DType::{self, Bf16, F32},
    plan::{Buf, Builder, PixelOrder},
};

use super::bench::{Bench, Tolerance, framed_input, framed_output};
use crate::emulate::Arg;

const THREADS: usize = 256;

/// `name` from a video of `x` to one of `y`, with `sizes` behind height and width among the arguments.
fn check(
    name: &str,
    x: [usize; 4],
    y: [usize; 4],
    sizes: &[usize],
    op: impl Fn(&mut Builder, Buf) -> Buf,
) {
    for dtype in [Bf16, F32] {
        let rows = y[0] * y[1] * y[2];
        let mut p = Builder::new();
        let from = framed_input(&mut p, &x, dtype);
        let to = framed_output(&mut p, &y, dtype);
        op(p.at(to), from);
        let tolerance = tolerance(name, dtype);
        let grid = [(rows * y[3].div_ceil(8)).div_ceil(THREADS), 1, 1];
        let kernel = format!("{name}_{dtype}");
        Bench::new(p, tolerance).check(&kernel, grid, THREADS as u32, |to, reads| {
            let mut args = vec![to.at, reads[0].at];
            args.push(Arg::ints(&[rows, y[3], y[1], y[2]]));
            args.extend(sizes.iter().map(|&size| Arg::int(size)));
            args.extend([reads[0].pitch, to.pitch].map(Arg::int));
            args
        });
    }
}

/// Only means can be off.
fn tolerance(name: &str, dtype: DType) -> Tolerance {
    match (name, dtype) {
        ("average_down", F32) => Tolerance::Within(1e-6),
        ("average_down", _) => Tolerance::Rounded,
        _ => Tolerance::Within(0.0),
    }
}

#[test]
fn pixels_change_places() {
    for c in [3, 8, 21] {
        check(
            "upsample_nearest",
            [2, 3, 5, c],
            [2, 6, 10, c],
            &[],
            |p, x| p.upsample_nearest("y", x),
        );
        check(
            "frame_shuffle",
            [3, 2, 3, 2 * c],
            [6, 2, 3, c],
            &[],
            |p, x| p.frame_shuffle("y", x),
        );
        for (order, row_step) in [(PixelOrder::RowMajor, 2), (PixelOrder::ColumnMajor, 1)] {
            check(
                "pixel_shuffle",
                [2, 3, 5, 4 * c],
                [2, 6, 10, c],
                &[row_step],
                |p, x| p.pixel_shuffle("y", x, order),
            );
            check(
                "pixel_unshuffle",
                [2, 6, 10, c],
                [2, 3, 5, 4 * c],
                &[row_step],
                |p, x| p.pixel_unshuffle("y", x, order),
            );
        }
    }
}

/// Frames, a factor in time and one in space, and the channels before and after.
const SHORTCUTS: [(usize, usize, usize, [usize; 2]); 6] = [
    (5, 2, 2, [6, 12]),
    (4, 2, 2, [3, 12]),
    (1, 2, 2, [5, 20]),
    (3, 1, 2, [9, 9]),
    (3, 2, 1, [16, 8]),
    (2, 1, 2, [24, 3]),
];

#[test]
fn shortcuts_average() {
    for (t, frames, space, [c, out]) in SHORTCUTS {
        let group = c * frames * space * space / out;
        let down = t.div_ceil(frames);
        let sizes = [frames, space, down * frames - t, group];
        let (x, y) = ([t, 2 * space, 3 * space, c], [down, 2, 3, out]);
        check("average_down", x, y, &sizes, |p, x| {
            p.average_down("y", x, out, [frames, space])
        });
    }
}

#[test]
fn shortcuts_duplicate() {
    for (t, frames, space, [out, c]) in SHORTCUTS {
        let group = out * frames * space * space / c;
        let up = frames * (t - 1) + 1;
        let (x, y) = ([t, 2, 3, c], [up, 2 * space, 3 * space, out]);
        check("duplicate_up", x, y, &[frames, space, group], |p, x| {
            p.duplicate_up("y", x, out, [frames, space])
        });
    }
}
