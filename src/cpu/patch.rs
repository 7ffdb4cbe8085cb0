//! Latents to tokens and back. The two channel orders differ, as in the reference (`pipeline/data_proxy.py`,
//! `MagiDataProxy.img2tokens` and `SingleData.depack_token_sequence`).

use super::arg::Args;
use crate::plan::Grid;

/// `[c, T H W]` to tokens `[T H/2 W/2, 4c]`, channel slowest: column `4c + 2dy + dx`.
pub(super) fn patchify(args: &Args<'_>, grid: Grid) -> Vec<f32> {
    let x = args[0].view();
    let channels = x.rows();
    let mut y = vec![0.0; x.rows() * x.cols()];
    each_position(grid, |token, sub, position| {
        for c in 0..channels {
            y[token * 4 * channels + 4 * c + sub] = x.row(c)[position];
        }
    });
    y
}

/// Tokens `[T H/2 W/2, 4c]`, channel fastest: column `(2dy + dx) channels + c`, to `[c, T H W]`.
pub(super) fn unpatchify(args: &Args<'_>, grid: Grid) -> Vec<f32> {
    let x = args[0].view();
    let channels = x.cols() / 4;
    let positions = grid.positions();
    let mut y = vec![0.0; x.rows() * x.cols()];
    each_position(grid, |token, sub, position| {
        for c in 0..channels {
            y[c * positions + position] = x.row(token)[sub * channels + c];
        }
    });
    y
}

/// Calls `visit(token, 2 dy + dx, position)` for every latent position.
fn each_position(grid: Grid, mut visit: impl FnMut(usize, usize, usize)) {
    let Grid {
        frames,
        height,
        width,
    } = grid;
    for t in 0..frames {
        for y in 0..height {
            for x in 0..width {
                let token = (t * (height / 2) + y / 2) * (width / 2) + x / 2;
                visit(token, 2 * (y % 2) + x % 2, (t * height + y) * width + x);
            }
        }
    }
}
