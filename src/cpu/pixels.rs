//! Ops that move pixels, frames and channels around, over `[frames, height, width, channels]`.

use super::{arg::Args, elementwise::fill_rows};
use crate::{Shape, plan::PixelOrder};

/// `[T, H, W, C]` to `[T, 2H, 2W, C]`, every pixel four times.
pub(super) fn upsample_nearest(args: &Args<'_>) -> Vec<f32> {
    let x = args[0].view().dense();
    let [t, h, w, c] = video(args[0].shape);
    fill_rows(args, t * 2 * h * 2 * w * c, 2 * w * c, |row, y| {
        let x = &x[row / 2 * w * c..(row / 2 + 1) * w * c];
        for (y, x) in y.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
            y[..c].copy_from_slice(x);
            y[c..].copy_from_slice(x);
        }
    })
}

/// `[T, H, W, 4C]` to `[T, 2H, 2W, C]`.
pub(super) fn pixel_shuffle(args: &Args<'_>, order: PixelOrder) -> Vec<f32> {
    let x = args[0].view().dense();
    let [t, h, w, channels] = video(args[0].shape);
    let c = channels / 4;
    fill_rows(args, t * h * w * channels, 2 * w * c, |row, y| {
        let x = &x[row / 2 * w * channels..(row / 2 + 1) * w * channels];
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let sub = sub_position(order, row % 2, column % 2);
            let cell = &x[column / 2 * channels..];
            let values = cell[sub..].iter().step_by(4);
            y.iter_mut().zip(values).for_each(|(y, &x)| *y = x);
        }
    })
}

/// `[T, 2H, 2W, C]` to `[T, H, W, 4C]`.
pub(super) fn pixel_unshuffle(args: &Args<'_>, order: PixelOrder) -> Vec<f32> {
    let x = args[0].view().dense();
    let [t, h, w, c] = video(args[0].shape);
    fill_rows(args, t * h * w * c, 2 * w * c, |row, y| {
        for (i, pixel) in x[row * 2 * w * c..(row + 1) * 2 * w * c]
            .chunks_exact(c)
            .enumerate()
        {
            let (sub_row, column) = (i / w, i % w);
            let sub = sub_position(order, sub_row, column % 2);
            let cell = y[column / 2 * 4 * c..][sub..].iter_mut().step_by(4);
            cell.zip(pixel).for_each(|(y, &x)| *y = x);
        }
    })
}

fn sub_position(order: PixelOrder, row: usize, column: usize) -> usize {
    match order {
        PixelOrder::RowMajor => 2 * row + column,
        PixelOrder::ColumnMajor => 2 * column + row,
    }
}

/// `[T, H, W, 2C]` to `[2T, H, W, C]`: the first half of the channels is the earlier frame.
pub(super) fn frame_shuffle(args: &Args<'_>) -> Vec<f32> {
    let x = args[0].view().dense();
    let [t, h, w, channels] = video(args[0].shape);
    let c = channels / 2;
    fill_rows(args, t * h * w * channels, h * w * c, |frame, y| {
        let x = &x[frame / 2 * h * w * channels..];
        let half = frame % 2 * c;
        for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(channels)) {
            y.copy_from_slice(&x[half..half + c]);
        }
    })
}

/// Channel `m = ((c frames + frame) space + row) space + column` of a cell gathers its sub-positions; consecutive m
/// are averaged in equal groups. With `frames` 2 and an odd number of frames, a zero frame is put in front.
pub(super) fn average_down(
    args: &Args<'_>,
    [frames, space]: [usize; 2],
    result: &Shape,
) -> Vec<f32> {
    let x = args[0].view().dense();
    let [t, h, w, c] = video(args[0].shape);
    let [out_frames, out_h, out_w, out] = video(result);
    let group = c * frames * space * space / out;
    let missing = out_frames * frames - t;
    fill_rows(args, result.count(), out, |position, y| {
        let (i, j) = (position / out_w % out_h, position % out_w);
        let first = position / (out_h * out_w) * frames;
        for (o, y) in y.iter_mut().enumerate() {
            let values = (o * group..(o + 1) * group).map(|m| {
                let (sub_row, sub_column) = (m / space % space, m % space);
                let frame = first + m / (space * space) % frames;
                let channel = m / (frames * space * space);
                let row = frame.checked_sub(missing).map_or(0.0, |frame| {
                    let pixel = (frame * h + i * space + sub_row) * w + j * space + sub_column;
                    x[pixel * c + channel]
                });
                f64::from(row)
            });
            *y = (values.sum::<f64>() / group as f64) as f32;
        }
    })
}

/// The inverse arrangement of [`average_down`], every channel repeated over its group; only the last copy of the first
/// frame is kept.
pub(super) fn duplicate_up(
    args: &Args<'_>,
    [frames, space]: [usize; 2],
    result: &Shape,
) -> Vec<f32> {
    let x = args[0].view().dense();
    let [_, h, w, c] = video(args[0].shape);
    let [_, out_h, out_w, out] = video(result);
    let group = out * frames * space * space / c;
    fill_rows(args, result.count(), out, |position, y| {
        let (i, j) = (position / out_w % out_h, position % out_w);
        let frame = position / (out_h * out_w) + frames - 1;
        let x = &x[((frame / frames * h + i / space) * w + j / space) * c..];
        let sub = (frame % frames * space + i % space) * space + j % space;
        for (o, y) in y.iter_mut().enumerate() {
            *y = x[(o * frames * space * space + sub) / group];
        }
    })
}

fn video(shape: &Shape) -> [usize; 4] {
    shape
        .extents()
        .try_into()
        .unwrap_or_else(|_| panic!("{shape} is not [frames, height, width, channels]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        cpu::arg::{Arg, Source, View},
        executor::Cancel,
    };

    fn arg<'a>(shape: &'a Shape, values: &'a [f32]) -> Args<'a> {
        let view = View::new(values, shape.cols(), 0..shape.rows(), 0..shape.cols());
        let arg = Arg {
            shape,
            dtype: DType::F32,
            source: Source::Values(view),
        };
        Args::new(vec![arg], &Cancel::default())
    }

    fn counting(shape: &Shape) -> Vec<f32> {
        (0..shape.count()).map(|i| i as f32).collect()
    }

    #[test]
    fn shuffles_place_each_channel_and_undo_each_other() {
        let cell = Shape::from([1, 1, 1, 8]);
        let pixels = |order| pixel_shuffle(&arg(&cell, &counting(&cell)), order);
        // Rows of two pixels of two channels: pixel (row, column) of channel c is 4c + 2 row + column.
        assert_eq!(
            pixels(PixelOrder::RowMajor),
            [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]
        );
        assert_eq!(
            pixels(PixelOrder::ColumnMajor),
            [0.0, 4.0, 2.0, 6.0, 1.0, 5.0, 3.0, 7.0]
        );
        let (cells, pixels) = (Shape::from([2, 3, 2, 12]), Shape::from([2, 6, 4, 3]));
        for order in [PixelOrder::RowMajor, PixelOrder::ColumnMajor] {
            let x = counting(&cells);
            let y = pixel_shuffle(&arg(&cells, &x), order);
            assert_eq!(pixel_unshuffle(&arg(&pixels, &y), order), x);
        }
    }

    #[test]
    fn frames_come_from_halves_of_the_channels_and_pixels_repeat() {
        let shape = Shape::from([2, 1, 2, 2]);
        let x = counting(&shape);
        assert_eq!(
            frame_shuffle(&arg(&shape, &x)),
            [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
        );
        let one = Shape::from([1, 1, 2, 1]);
        let large = upsample_nearest(&arg(&one, &[3.0, 5.0]));
        assert_eq!(large, [3.0, 3.0, 5.0, 5.0, 3.0, 3.0, 5.0, 5.0]);
    }

    #[test]
    fn averages_of_an_odd_video_start_with_half_a_pair_of_zeros() {
        // One channel to two: the earlier and the later frame of each pair.
        let shape = Shape::from([3, 2, 2, 1]);
        let x = counting(&shape);
        let y = average_down(&arg(&shape, &x), [2, 2], &[2, 1, 1, 2].into());
        assert_eq!(y, [0.0, 1.5, 5.5, 9.5]);
        let means = average_down(&arg(&shape, &x), [1, 2], &[3, 1, 1, 1].into());
        assert_eq!(means, [1.5, 5.5, 9.5]);
    }

    #[test]
    fn duplicates_drop_the_first_copy_of_the_first_frame() {
        let shape = Shape::from([2, 1, 1, 1]);
        let y = duplicate_up(&arg(&shape, &[3.0, 5.0]), [2, 1], &[3, 1, 1, 1].into());
        assert_eq!(y, [3.0, 5.0, 5.0]);
        // Two channels to one: the upper row is the first, the lower the second.
        let shape = Shape::from([1, 1, 1, 2]);
        let y = duplicate_up(&arg(&shape, &[3.0, 5.0]), [1, 2], &[1, 2, 2, 1].into());
        assert_eq!(y, [3.0, 3.0, 5.0, 5.0]);
    }
}
