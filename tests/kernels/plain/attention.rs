//! `kernels/common/attention_plain.cu`: heads of many widths, one range of keys and many, with a soft cap and without.

use gallop::{
    DType::{self, Bf16, F32},
    plan::{Attention, Builder, MaskBlock},
};

use super::bench::{Bench, Tolerance, framed_output};
use crate::emulate::{Arg, Memory};

const THREADS: u32 = 128;
const ROWS: usize = 4;

struct Case {
    rows: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    softcap: Option<f32>,
    windows: Vec<MaskBlock>,
}

impl Case {
    fn check(&self, dtype: DType) {
        let (heads, head) = (self.heads, self.head);
        let mut p = Builder::new();
        // q, k and v side by side in one buffer each for queries and keys.
        let width = heads * head;
        let kv_width = self.kv_heads * head;
        let q = p.input("q", [self.rows, width + 16], dtype);
        let q = p.cols(q, 8..8 + width);
        let kv = p.input("kv", [self.keys, 2 * kv_width], dtype);
        let [k, v] = [0, 1].map(|i| p.cols(kv, i * kv_width..(i + 1) * kv_width));
        let y = framed_output(&mut p, &[self.rows, width], dtype);
        let scale = 3.0 / (head as f32).sqrt();
        let op = Attention {
            heads,
            kv_heads: self.kv_heads,
            scale,
            softcap: self.softcap,
            windows: self.windows.clone(),
        };
        p.at(y).attention("a", [q, k, v], op, dtype);
        let tolerance = match dtype {
            F32 => Tolerance::Within(2e-6),
            _ => Tolerance::Rounded,
        };
        let (mut ends, mut ranges) = (Vec::new(), Vec::new());
        for window in &self.windows {
            for _ in window.queries.clone() {
                let pairs = window
                    .keys
                    .iter()
                    .flat_map(|range| [range.start, range.end]);
                ranges.extend(pairs.map(|key| key as i32));
                ends.push(ranges.len() as i32 / 2);
            }
        }
        let (ends, ranges) = (Memory::of_ints(&ends), Memory::of_ints(&ranges));
        let grid = [self.rows.div_ceil(ROWS), heads, 1];
        let kernel = format!("attention_plain_{dtype}");
        Bench::new(p, tolerance).check(&kernel, grid, THREADS, |y, reads| {
            let mut args = vec![y.at];
            args.extend(reads.iter().map(|read| read.at));
            args.extend([&ends, &ranges].map(|table| Arg::Pointer(table.address())));
            let pitches = [reads[0].pitch, reads[1].pitch, reads[2].pitch, y.pitch];
            let sizes = [self.rows, head, heads / self.kv_heads];
            let sizes = sizes.into_iter().chain(pitches).map(|n| n as u32);
            let factors = [scale, self.softcap.unwrap_or(0.0)].map(f32::to_bits);
            args.push(Arg::structure(&sizes.chain(factors).collect::<Vec<_>>()));
            args
        });
    }
}

#[test]
fn attention_of_every_head() {
    for dtype in [Bf16, F32] {
        for head in [8, 24, 256, 264, 640] {
            Case {
                rows: 5,
                keys: 37,
                heads: 4,
                kv_heads: 2,
                head,
                softcap: None,
                windows: vec![MaskBlock::new(0..5, [0..37])],
            }
            .check(dtype);
        }
    }
}

#[test]
fn attention_of_windows_with_a_soft_cap() {
    for dtype in [Bf16, F32] {
        for softcap in [None, Some(1.5)] {
            Case {
                rows: 11,
                keys: 90,
                heads: 2,
                kv_heads: 1,
                head: 32,
                softcap,
                windows: vec![
                    MaskBlock::new(0..3, [5..6]),
                    MaskBlock::new(3..4, [0..32, 40..73, 80..90]),
                    MaskBlock::new(4..11, [1..2, 7..8, 50..83, 84..85]),
                ],
            }
            .check(dtype);
        }
    }
}
