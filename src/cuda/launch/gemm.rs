//! `gemm.cuh`: what GEMMs of all types share, the tile list above all.

use std::ops::Range;

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::gemm::{CLUSTER, SHARE_N, SPAN, TILE_M, TILE_N},
            params::{GemmShape, GemmTile},
            tensor_map::{Element, TensorMap, TensorMapSpec},
        },
        lowering::{DeviceView, LowerCx, blocks, int},
    },
    plan::Op,
};

/// Row tiles of a band: all columns of a band come before the next band, so that its activations stay in L2.
const BAND: usize = 8;

/// What is done to a GEMM's result before it is stored.
#[derive(Clone, Copy)]
pub(super) enum Epilogue {
    /// Nothing.
    Store,
    /// The activation, for FP8 multiplied by the factor.
    SwiGlu7(Option<f32>),
    /// The same of gelu7.
    Gelu7(Option<f32>),
    /// The sum with this f32 residual.
    Add(DeviceView),
}

/// The arguments of a GEMM that do not depend on the type of its operands.
pub(super) struct GemmArguments {
    pub(super) x_map: TensorMap,
    pub(super) w_map: TensorMap,
    pub(super) y: DeviceView,
    pub(super) tiles: Dev<GemmTile>,
    pub(super) shape: GemmShape,
    pub(super) grid: [u32; 3],
}

impl GemmArguments {
    /// For x [m, k] and w [groups * n, k], the first two inputs of the first step.
    ///
    /// # Errors
    /// A refusal of parts of buffers that TMA cannot read.
    pub(super) fn new(
        cx: &mut LowerCx<'_>,
        ends: &[usize],
        element: Element,
        epilogue: Epilogue,
    ) -> Result<Self> {
        let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
        cx.check_aligned(&[x, w, y])?;
        let n = w.rows / ends.len();
        let tiles = tiles(ends, n)?;
        let cluster = blocks(CLUSTER)?;
        let room = cx.device().num_sms() / cluster;
        let clusters = blocks(tiles.len())?.min(room).max(1);
        Ok(Self {
            x_map: map(cx, x, element, TILE_M)?,
            w_map: map(cx, w, element, SHARE_N)?,
            y,
            shape: GemmShape {
                num_tiles: int(tiles.len())?,
                m: int(x.rows)?,
                n: int(n)?,
                k: int(x.cols)?,
                y_pitch: int(y.pitch)?,
                z_pitch: match epilogue {
                    Epilogue::Add(z) => int(z.pitch)?,
                    _ => 0,
                },
                factor: match epilogue {
                    Epilogue::SwiGlu7(Some(factor)) | Epilogue::Gelu7(Some(factor)) => factor,
                    _ => 1.0,
                },
            },
            tiles: cx.metadata(&tiles),
            grid: [clusters * cluster, 1, 1],
        })
    }

    /// The map by which the kernel stores y, 64 rows at a time.
    pub(super) fn y_map(&self, cx: &LowerCx<'_>, element: Element) -> Result<TensorMap> {
        map(cx, self.y, element, 64)
    }
}

/// A map of `view` with boxes as wide as the swizzle.
fn map(cx: &LowerCx<'_>, view: DeviceView, element: Element, box_rows: usize) -> Result<TensorMap> {
    let box_cols = SPAN as u64 / element.bytes();
    cx.map(&TensorMapSpec::matrix(
        view.address,
        element,
        [view.rows as u64, view.cols as u64],
        view.pitch as u64,
        [blocks(box_rows)?, blocks(box_cols as usize)?],
    ))
}

/// The epilogue that replaces the steps after a GEMM: an activation function, the same with Op::Quantize, or Op::Add.
/// `None` if no kernel has it: its types are those of the transformer's layers, with results in between in bf16.
pub(super) fn epilogue(cx: &LowerCx<'_>) -> Option<Epilogue> {
    let hidden = &cx.steps[..cx.steps.len() - 1];
    let in_bf16 = hidden.iter().all(|step| cx.dtype(step.writes) == Bf16);
    let rest: Vec<&Op> = cx.steps[1..].iter().map(|step| &step.op).collect();
    let epilogue = match rest[..] {
        [Op::SwiGlu7] => Epilogue::SwiGlu7(None),
        [Op::Gelu7] => Epilogue::Gelu7(None),
        [Op::SwiGlu7, &Op::Quantize { factor }] => Epilogue::SwiGlu7(factor),
        [Op::Gelu7, &Op::Quantize { factor }] => Epilogue::Gelu7(factor),
        [Op::Add] => Epilogue::Add(cx.summand()),
        _ => return None,
    };
    let y = cx.write();
    let fits = match epilogue {
        Epilogue::Add(z) => z.dtype == F32 && y.dtype == F32 && z.is_aligned(),
        Epilogue::SwiGlu7(None) | Epilogue::Gelu7(None) => y.dtype == Bf16,
        Epilogue::SwiGlu7(Some(_)) | Epilogue::Gelu7(Some(_)) | Epilogue::Store => true,
    };
    let is_aligned = [cx.read(0), cx.read(1), y].iter().all(|v| v.is_aligned());
    (in_bf16 && fits && is_aligned).then_some(epilogue)
}

/// The tile list of `n` columns over row groups, small groups first: their tiles wait longest for weights, which at the
/// end nothing would hide.
fn tiles(ends: &[usize], n: usize) -> Result<Vec<GemmTile>> {
    let starts = [0].iter().chain(ends);
    let mut groups: Vec<(usize, Range<usize>)> = starts
        .zip(ends)
        .map(|(&start, &end)| start..end)
        .enumerate()
        .collect();
    groups.sort_by_key(|(_, rows)| rows.len());
    let mut tiles = Vec::new();
    for (group, rows) in groups {
        let starts: Vec<usize> = rows.clone().step_by(CLUSTER * TILE_M).collect();
        for band in starts.chunks(BAND) {
            for col in (0..n).step_by(TILE_N) {
                for &row in band {
                    tiles.push(GemmTile {
                        row: int(row)?,
                        end: int(rows.end)?,
                        col: int(col)?,
                        weight_row: int(group * n + col)?,
                    });
                }
            }
        }
    }
    Ok(tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_lies_in_one_tile_of_its_group() {
        let (ends, n) = ([300, 300, 310, 700], 600);
        let mut seen = vec![0; 700 * n];
        for tile in tiles(&ends, n).unwrap() {
            let [row, end, col, weight] = [tile.row, tile.end, tile.col, tile.weight_row]
                .map(|v| usize::try_from(v).unwrap());
            let group = ends.iter().position(|&end| row < end).unwrap();
            assert_eq!((end, weight), (ends[group], group * n + col));
            for r in row..(row + CLUSTER * TILE_M).min(end) {
                for c in col..(col + TILE_N).min(n) {
                    seen[r * n + c] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }
}
