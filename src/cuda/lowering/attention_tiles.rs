//! The tile list of `kernels/sm90/attention.cu`: which query rows see which keys, in the order that blocks take them.

use std::{cmp::Reverse, ops::Range};

use super::context::int;

use crate::{
    Error, Result,
    cuda::gpu::{
        kernels::attention::{RANGES, TILE_K, TILE_Q},
        params::{AttentionTile, KeyRange},
    },
    plan::MaskBlock,
};

/// Tiles of every query row of every head: at most 128 rows each, all of one mask block.
///
/// Tiles are grouped by key head, so that its keys and values stay in L2. Within a group the tiles with the most keys
/// come first, so that the blocks finish together, and the query heads that share the key head are neighbours.
///
/// # Errors
/// [`Error::Device`] for a mask block without keys or with more than three key ranges, and for rows beyond 2^31.
///
/// # Panics
/// If `heads` is not a multiple of `kv_heads`.
pub fn attention_tiles(
    blocks: &[MaskBlock],
    heads: usize,
    kv_heads: usize,
) -> Result<Vec<AttentionTile>> {
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "{heads} heads, {kv_heads} key heads"
    );
    let mut tiles = Vec::new();
    for block in blocks {
        tiles.extend(tiles_of(block)?);
    }
    tiles.sort_by_key(|tile| Reverse(steps(tile)));
    let shared = heads / kv_heads;
    let mut work = Vec::with_capacity(tiles.len() * heads);
    for kv_head in 0..kv_heads {
        for tile in &tiles {
            for head in kv_head * shared..(kv_head + 1) * shared {
                work.push(AttentionTile {
                    head: int(head)?,
                    kv_head: int(kv_head)?,
                    ..*tile
                });
            }
        }
    }
    Ok(work)
}

/// The tiles of one mask block, without heads.
fn tiles_of(block: &MaskBlock) -> Result<Vec<AttentionTile>> {
    let ranges: Vec<&Range<usize>> = block.keys.iter().filter(|keys| !keys.is_empty()).collect();
    if ranges.is_empty() || ranges.len() > RANGES {
        return Err(Error::device(format!(
            "the attention kernel takes 1 to {RANGES} ranges of keys; queries {:?} see {}",
            block.queries,
            ranges.len()
        )));
    }
    let mut keys = [KeyRange::default(); RANGES];
    for (to, from) in keys.iter_mut().zip(ranges) {
        (to.start, to.end) = (int(from.start)?, int(from.end)?);
    }
    let end = block.queries.end;
    let rows = block.queries.clone().step_by(TILE_Q);
    rows.map(|row| {
        Ok(AttentionTile {
            row: int(row)?,
            end: int(end.min(row + TILE_Q))?,
            keys,
            ..AttentionTile::default()
        })
    })
    .collect()
}

/// Key tiles that the kernel steps through for a tile.
fn steps(tile: &AttentionTile) -> usize {
    let keys = tile.keys.iter();
    keys.map(|keys| keys.start.abs_diff(keys.end).div_ceil(TILE_K as u32) as usize)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key ranges of `tile`, as a mask block has them.
    fn keys(tile: &AttentionTile) -> Vec<Range<usize>> {
        let keys = tile.keys.iter().filter(|keys| keys.start < keys.end);
        keys.map(|keys| keys.start as usize..keys.end as usize)
            .collect()
    }

    /// Frames that see their neighbours and 50 rows of text; text sees everything.
    fn local() -> Vec<MaskBlock> {
        let frame = |i: usize| i * 300..(i + 1) * 300;
        let near = |i: usize| i.saturating_sub(1) * 300..(i + 2).min(5) * 300;
        let mut blocks: Vec<MaskBlock> = (0..5)
            .map(|i| MaskBlock::new(frame(i), [near(i), 1500..1550]))
            .collect();
        blocks.push(MaskBlock::new(1500..1550, [0..1550]));
        blocks
    }

    #[test]
    fn every_row_of_every_head_is_in_one_tile_and_sees_the_keys_of_its_block() {
        let (heads, blocks) = (10, local());
        let tiles = attention_tiles(&blocks, heads, 2).unwrap();
        let mut seen = vec![0; 1550 * heads];
        for tile in &tiles {
            let (rows, head) = (tile.row as usize..tile.end as usize, tile.head as usize);
            assert!(!rows.is_empty() && rows.len() <= TILE_Q, "{tile:?}");
            assert_eq!(tile.kv_head as usize, head / 5);
            let block = blocks
                .iter()
                .find(|w| w.queries.contains(&rows.start))
                .unwrap();
            assert!(rows.end <= block.queries.end, "{tile:?} leaves {block:?}");
            assert_eq!(keys(tile), block.keys);
            rows.for_each(|row| seen[row * heads + head] += 1);
        }
        assert!(seen.iter().all(|&times| times == 1));
    }

    #[test]
    fn one_key_head_after_the_other_the_most_keys_first_and_its_heads_side_by_side() {
        let tiles = attention_tiles(&local(), 10, 2).unwrap();
        for (kv_head, of_one) in tiles.chunks(tiles.len() / 2).enumerate() {
            assert!(of_one.iter().all(|tile| tile.kv_head as usize == kv_head));
            assert!(of_one.is_sorted_by_key(|tile| Reverse(steps(tile))));
            for group in of_one.chunks(5) {
                let of_group = |tile: &AttentionTile| (tile.row, tile.head - group[0].head);
                let rows: Vec<_> = group.iter().map(of_group).collect();
                assert_eq!(rows, (0..5).map(|i| (group[0].row, i)).collect::<Vec<_>>());
            }
        }
        assert_eq!(tiles[0].row, 1500, "the rows that see everything");
        assert_eq!((tiles[5].row, tiles[5].end), (300, 428));
    }

    #[test]
    fn empty_ranges_are_left_out() {
        let block = MaskBlock {
            queries: 0..1,
            keys: vec![3..3, 4..9, 9..9],
        };
        let tiles = attention_tiles(&[block], 1, 1).unwrap();
        assert_eq!(keys(&tiles[0]), [4..9]);
        assert_eq!((tiles[0].keys[0].start, tiles.len()), (4, 1));
    }

    #[test]
    fn what_the_kernel_cannot_do_is_an_error() {
        let work = |queries, keys: &[Range<usize>]| {
            let keys = keys.to_vec();
            let error = attention_tiles(&[MaskBlock { queries, keys }], 1, 1).unwrap_err();
            error.to_string()
        };
        let four = work(0..1, &[0..1, 2..3, 4..5, 6..7]);
        assert!(
            four.contains("1 to 3 ranges of keys; queries 0..1 see 4"),
            "{four}"
        );
        assert!(work(0..1, &[]).contains("see 0"));
        assert!(work(0..1, &[0..1 << 31]).contains("2147483648"));
        assert!(work(1 << 31..(1 << 31) + 1, &[0..1]).contains("2147483648"));
    }
}
