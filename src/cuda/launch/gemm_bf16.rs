//! `gemm_bf16.cu`: products of bf16, one block of weights for each group of rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use std::ops::Range;

use super::{Sound, blocks, int};
use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        arena::View,
        arguments::Dev,
        kernels::gemm_bf16::{
            GemmBf16, GemmBf16F32, SMEM_BYTES, STORE_COLS, TILE_K, TILE_M, TILE_N,
        },
        lower::Site,
        params::GemmTile,
        tensor_map::{Element, TensorMap, TensorMapSpec},
    },
};

/// Row tiles that are taken together before the next columns, so that their activations stay in L2.
const BAND: usize = 16;

/// Op::Linear of bf16 by bf16, without bias.
pub(in crate::cuda) fn linear(site: &mut Site<'_>, ends: &[usize]) -> Result<Vec<Sound>> {
    let (x, w, y) = (site.read(0), site.read(1), site.write());
    if site.steps[0].reads.len() > 2 {
        return Err(site.refusal("there is no bf16 product with a bias"));
    }
    if (x.dtype, w.dtype) != (Bf16, Bf16) {
        return Err(site.types());
    }
    site.check_aligned(&[x, w, y])?;
    let tiles = tiles(ends, y.cols)?;
    let grid = blocks(tiles.len())?.min(site.device().multiprocessors());
    let (x_map, w_map) = (map(site, x, TILE_M, TILE_K)?, map(site, w, TILE_N, TILE_K)?);
    let (num_tiles, tiles) = (int(tiles.len())?, site.table(&tiles));
    let (n, k, y_pitch) = (int(y.cols)?, int(x.cols)?, int(y.pitch)?);
    let tiles = Dev::new(tiles.address());
    let shared = blocks(SMEM_BYTES)?;
    match y.dtype {
        Bf16 => {
            let y_map = map(site, y, 64, STORE_COLS)?;
            let m = int(y.rows)?;
            let entry = GemmBf16 {
                y: y.dev_mut(),
                y_map,
                x_map,
                w_map,
                tiles,
                num_tiles,
                m,
                n,
                k,
                y_pitch,
            };
            // SAFETY: the maps are of x [m, k], w [groups * n, k] and y [m, n] with the kernel's boxes, and neither read
            // nor write beyond them; the tiles cover y, each inside one group, whose weight rows it names.
            unsafe { site.launch(&entry, [grid, 1, 1], shared) }
        }
        F32 => {
            let entry = GemmBf16F32 {
                y: y.dev_mut(),
                x_map,
                w_map,
                tiles,
                num_tiles,
                m: int(y.rows)?,
                n,
                k,
                y_pitch,
            };
            // SAFETY: as above; y is stored from registers, inside the tile's group and the first n columns.
            unsafe { site.launch(&entry, [grid, 1, 1], shared) }
        }
        _ => Err(site.types()),
    }
}

fn map(site: &Site<'_>, view: View, box_rows: usize, box_cols: usize) -> Result<TensorMap> {
    site.map(&TensorMapSpec::matrix(
        view.address,
        Element::Bf16,
        [view.rows as u64, view.cols as u64],
        view.pitch as u64,
        [blocks(box_rows)?, blocks(box_cols)?],
    ))
}

/// All tiles of `n` columns over row groups, those of small groups first: they need weights of their own and would
/// otherwise come when nothing is left to hide that behind.
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
        let starts: Vec<usize> = rows.clone().step_by(TILE_M).collect();
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
            for r in row..(row + TILE_M).min(end) {
                for c in col..(col + TILE_N).min(n) {
                    seen[r * n + c] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }
}
