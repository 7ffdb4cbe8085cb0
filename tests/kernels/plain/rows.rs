//! `kernels/common/channel.cu`, `kernels/common/l2_norm.cu`, `kernels/common/weight_norm.cu`, and what `activation`, `rms_norm`
//! and `rope` have for the text encoder and the autoencoders.

use gallop::{
    DType::{Bf16, F32},
    plan::{Builder, Norm},
};

use super::bench::{Bench, Place, Tolerance, framed_input, framed_output};
use crate::emulate::Arg;

const THREADS: usize = 256;
/// Rows and columns, with tails of a chunk, a warp and a block.
const SIZES: [[usize; 2]; 4] = [[3, 8], [37, 69], [5, 263], [1, 1]];

fn element_grid([rows, cols]: [usize; 2]) -> [usize; 3] {
    [(rows * cols.div_ceil(8)).div_ceil(THREADS), 1, 1]
}

/// y, what is read, rows, columns and the pitches of x and y.
fn element_args(y: Place, reads: &[Place], [rows, cols]: [usize; 2]) -> Vec<Arg> {
    let mut args = vec![y.at];
    args.extend(reads.iter().map(|read| read.at));
    args.extend([rows, cols, reads[0].pitch, y.pitch].map(Arg::int));
    args
}

#[test]
fn snake_of_each_channel() {
    for size in SIZES {
        let mut p = Builder::new();
        let x = framed_input(&mut p, &size, F32);
        let y = framed_output(&mut p, &size, F32);
        p.at(y).snake("s", x);
        let bench = Bench::new(p, Tolerance::Within(3e-7));
        bench.check(
            "snake_f32",
            element_grid(size),
            THREADS as u32,
            |y, reads| element_args(y, reads, size),
        );
    }
}

#[test]
fn affine_map_of_each_channel() {
    for [from, to] in [[F32, F32], [F32, Bf16], [Bf16, F32], [Bf16, Bf16]] {
        for size in SIZES {
            let mut p = Builder::new();
            let x = framed_input(&mut p, &size, from);
            let ab = ["a", "b"].map(|name| p.weight(name, [size[1]], F32));
            let y = framed_output(&mut p, &size, to);
            p.at(y).affine("y", x, ab, to);
            let tolerance = if to == F32 {
                Tolerance::Within(2e-7)
            } else {
                Tolerance::Rounded
            };
            let kernel = format!("affine_{from}_{to}");
            Bench::new(p, tolerance).check(
                &kernel,
                element_grid(size),
                THREADS as u32,
                |y, reads| element_args(y, reads, size),
            );
        }
    }
}

#[test]
fn l2_norm_of_rows() {
    for (dtype, tolerance) in [(Bf16, Tolerance::Rounded), (F32, Tolerance::Within(1e-6))] {
        for size in SIZES {
            let (cols, eps) = (size[1], 1e-12);
            // As checkpoints have them: one element to a row, or one row.
            for gamma in [vec![cols, 1, 1, 1], vec![cols]] {
                let mut p = Builder::new();
                let x = framed_input(&mut p, &size, dtype);
                let y = framed_output(&mut p, &size, dtype);
                p.at(y).l2_norm("n", x, &gamma, eps, dtype);
                let grid = [size[0].div_ceil(THREADS / 32), 1, 1];
                let kernel = format!("l2_norm_{dtype}");
                Bench::new(p, tolerance).check(&kernel, grid, THREADS as u32, |y, reads| {
                    let step = if gamma.len() > 1 { reads[1].pitch } else { 1 };
                    let mut args = vec![y.at, reads[0].at, reads[1].at];
                    args.extend([size[0], cols, step, reads[0].pitch, y.pitch].map(Arg::int));
                    args.push(Arg::Float(eps));
                    args
                });
            }
        }
    }
}

#[test]
fn weight_norm_of_stored_kernels() {
    for shape in [[5, 9, 7], [2, 40, 16], [3, 1, 1], [1, 300, 3]] {
        let mut p = Builder::new();
        let w = p.weight_norm("c", shape);
        p.output(w);
        let bench = Bench::new(p, Tolerance::Within(1e-6));
        bench.check(
            "weight_norm_f32",
            [shape[0], 1, 1],
            THREADS as u32,
            |w, reads| {
                let sizes = [shape[1], shape[2], w.pitch, reads[1].pitch];
                let mut args = vec![w.at, reads[0].at, reads[1].at];
                args.extend(sizes.map(Arg::int));
                args
            },
        );
    }
}

#[test]
fn rms_norm_with_a_bf16_weight_and_without() {
    for weight in [Some(Bf16), None] {
        for cols in [32, 2056, 3584] {
            let (rows, eps) = (5, 1e-6);
            let mut p = Builder::new();
            let x = framed_input(&mut p, &[rows, cols], Bf16);
            let y = framed_output(&mut p, &[rows, cols], Bf16);
            let norm = Norm {
                width: cols,
                eps,
                weight,
                out: Bf16,
            };
            p.at(y).rms_norm("n", x, &[rows], norm);
            let kernel = match weight {
                Some(_) => "rms_norm_rows_bf16_bf16_bf16",
                None => "rms_norm_rows_bf16",
            };
            let bench = Bench::new(p, Tolerance::Rounded);
            let ends = crate::emulate::Memory::of_ints(&[rows as i32]);
            bench.check(kernel, [rows, 1, 1], THREADS as u32, |y, reads| {
                let w = reads.get(1).map_or(Arg::Pointer(0), |read| read.at);
                let mut args = vec![y.at, reads[0].at, w, Arg::Pointer(ends.address())];
                args.extend([rows, 1, cols, reads[0].pitch, y.pitch].map(Arg::int));
                args.push(Arg::Float(eps));
                args
            });
        }
    }
}

#[test]
fn rope_by_a_bf16_table() {
    for (heads, head, half) in [(3, 32, 16), (2, 256, 128), (5, 24, 8)] {
        let rows = 7;
        let mut p = Builder::new();
        let x = framed_input(&mut p, &[rows, heads * head], Bf16);
        let table = p.input("table", [rows, 2 * half], Bf16);
        let y = framed_output(&mut p, &[rows, heads * head], Bf16);
        p.at(y).rope("r", x, table, heads, Bf16);
        let bench = Bench::new(p, Tolerance::Rounded);
        let grid = element_grid([rows, heads * head]);
        bench.check("rope_bf16_bf16", grid, THREADS as u32, |y, reads| {
            let pitches = [reads[0].pitch, y.pitch, reads[1].pitch];
            let mut args = vec![y.at, reads[0].at, reads[1].at];
            args.extend([rows, heads, head, half].map(Arg::int));
            args.extend(pitches.map(Arg::int));
            args
        });
    }
}
