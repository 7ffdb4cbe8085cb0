//! Builder methods of the ops on video `[frames, height, width, channels]` and audio `[samples, channels]`.

use super::{Buf, Builder, Conv1d, Conv3d, Op, PixelOrder, buffer::dotted};
use crate::tensor::DType;

/// A convolution's weight `NAME.weight` and bias `NAME.bias`, its geometry and its types.
#[derive(Clone, Copy, Debug)]
pub struct Kernel3d<'a> {
    /// Shape of the weight as stored: `[out, in, (kt,) kh, kw]`, one input channel if depthwise.
    pub shape: &'a [usize],
    /// Stride and padding.
    pub conv: Conv3d,
    /// Type of weight and bias as used.
    pub weight: DType,
    /// Type of the result.
    pub out: DType,
}

/// A 1D convolution over a weight that another step made or [`Builder::weight`] named.
#[derive(Clone, Copy, Debug)]
pub struct Kernel1d {
    /// `[out, in, k]`, for a transposed convolution `[in, out, k]`.
    pub weight: Buf,
    /// `[out]`.
    pub bias: Option<Buf>,
}

impl Builder {
    /// [`Op::Conv3d`]: x `[T, H, W, in]` to `[T', H', W', out]`.
    #[track_caller]
    pub fn conv3d(&mut self, name: &str, x: Buf, kernel: Kernel3d<'_>) -> Buf {
        let weight = self.weight(&dotted(name, "weight"), kernel.shape, kernel.weight);
        let bias = self.weight(&dotted(name, "bias"), [kernel.shape[0]], kernel.weight);
        let shape = self.video(name, x);
        let (channels, extents) = (kernel.shape[1], kernel_extents(kernel.shape));
        let conv = kernel.conv;
        let expected = if conv.depthwise {
            shape[3] == kernel.shape[0] && channels == 1
        } else {
            shape[3] == channels
        };
        assert!(
            expected,
            "{name}: {:?} over {} channels",
            kernel.shape, shape[3]
        );
        let size = |axis: usize| {
            let padded = shape[axis] + conv.before[axis] + conv.after[axis];
            assert!(
                padded >= extents[axis],
                "{name}: axis {axis} of {shape:?} under a kernel of {}",
                extents[axis]
            );
            (padded - extents[axis]) / conv.stride[axis] + 1
        };
        let result = [size(0), size(1), size(2), kernel.shape[0]].into();
        let reads = vec![x, weight, bias];
        self.emit(name, Op::Conv3d(conv), reads, result, kernel.out)
    }

    /// [`Op::Conv1d`]: x `[n, in]` to `[n', out]`; type kept.
    #[track_caller]
    pub fn conv1d(&mut self, name: &str, x: Buf, kernel: Kernel1d, conv: Conv1d) -> Buf {
        let (shape, dtype) = (self.shape(x).clone(), self.spec(x).dtype);
        let weight = self.shape(kernel.weight).clone();
        assert_eq!(shape.cols(), weight[1], "{name}: {weight} over {shape}");
        let reach = conv.dilation * (weight[2] - 1) + 1;
        let padded = shape.rows() + 2 * conv.padding;
        assert!(
            padded >= reach,
            "{name}: {shape} under a kernel that reaches {reach}"
        );
        let result = [(padded - reach) / conv.stride + 1, weight[0]].into();
        self.emit(name, Op::Conv1d(conv), reads(x, kernel), result, dtype)
    }

    /// [`Op::ConvTranspose1d`]: x `[n, in]` to `[stride n, out]`; type kept.
    #[track_caller]
    pub fn conv_transpose1d(&mut self, name: &str, x: Buf, kernel: Kernel1d, stride: usize) -> Buf {
        let (shape, dtype) = (self.shape(x).clone(), self.spec(x).dtype);
        let weight = self.shape(kernel.weight).clone();
        assert!(
            shape.cols() == weight[0] && weight[2] == 2 * stride,
            "{name}: {weight} over {shape}, stride {stride}"
        );
        let result = [stride * shape.rows(), weight[1]].into();
        let op = Op::ConvTranspose1d { stride };
        self.emit(name, op, reads(x, kernel), result, dtype)
    }

    /// [`Op::WeightNorm`] of `NAME.weight_v` `shape` and `NAME.weight_g`: the weight, f32.
    #[track_caller]
    pub fn weight_norm(&mut self, name: &str, shape: [usize; 3]) -> Buf {
        let v = self.weight(&dotted(name, "weight_v"), shape, DType::F32);
        let g = self.weight(&dotted(name, "weight_g"), [shape[0], 1, 1], DType::F32);
        let name = dotted(name, "weight");
        self.emit(&name, Op::WeightNorm, vec![v, g], shape.into(), DType::F32)
    }

    /// [`Op::Snake`] with `NAME.alpha` and `NAME.beta`; shape and type kept.
    #[track_caller]
    pub fn snake(&mut self, name: &str, x: Buf) -> Buf {
        let (shape, dtype) = (self.shape(x).clone(), self.spec(x).dtype);
        let alpha = self.weight(&dotted(name, "alpha"), [shape.cols()], DType::F32);
        let beta = self.weight(&dotted(name, "beta"), [shape.cols()], DType::F32);
        self.emit(name, Op::Snake, vec![x, alpha, beta], shape, dtype)
    }

    /// [`Op::UpsampleNearest`]: `[T, H, W, C]` to `[T, 2H, 2W, C]`; type kept.
    #[track_caller]
    pub fn upsample_nearest(&mut self, name: &str, x: Buf) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        self.reshaped(name, Op::UpsampleNearest, x, [t, 2 * h, 2 * w, c])
    }

    /// [`Op::PixelShuffle`]: `[T, H, W, 4C]` to `[T, 2H, 2W, C]`; type kept.
    #[track_caller]
    pub fn pixel_shuffle(&mut self, name: &str, x: Buf, order: PixelOrder) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        assert!(c.is_multiple_of(4), "{name}: {c} channels to 2x2 pixels");
        self.reshaped(name, Op::PixelShuffle(order), x, [t, 2 * h, 2 * w, c / 4])
    }

    /// [`Op::PixelUnshuffle`]: `[T, 2H, 2W, C]` to `[T, H, W, 4C]`; type kept.
    #[track_caller]
    pub fn pixel_unshuffle(&mut self, name: &str, x: Buf, order: PixelOrder) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        assert!(
            h.is_multiple_of(2) && w.is_multiple_of(2),
            "{name}: {h}x{w} in 2x2 cells"
        );
        self.reshaped(name, Op::PixelUnshuffle(order), x, [t, h / 2, w / 2, 4 * c])
    }

    /// [`Op::FrameShuffle`]: `[T, H, W, 2C]` to `[2T, H, W, C]`; type kept.
    #[track_caller]
    pub fn frame_shuffle(&mut self, name: &str, x: Buf) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        assert!(c.is_multiple_of(2), "{name}: {c} channels in halves");
        self.reshaped(name, Op::FrameShuffle, x, [2 * t, h, w, c / 2])
    }

    /// [`Op::AverageDown`] to `channels`: `[T, H, W, C]` to `[ceil(T / frames), H / space, W / space, channels]`.
    #[track_caller]
    pub fn average_down(
        &mut self,
        name: &str,
        x: Buf,
        channels: usize,
        [frames, space]: [usize; 2],
    ) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        let fits = h.is_multiple_of(space)
            && w.is_multiple_of(space)
            && (c * frames * space * space).is_multiple_of(channels);
        assert!(
            fits,
            "{name}: {h}x{w}x{c} to {channels} channels in cells of {space}"
        );
        let shape = [t.div_ceil(frames), h / space, w / space, channels];
        self.reshaped(name, Op::AverageDown { frames, space }, x, shape)
    }

    /// [`Op::DuplicateUp`] to `channels`: `[T, H, W, C]` to `[frames (T - 1) + 1, space H, space W, channels]`.
    #[track_caller]
    pub fn duplicate_up(
        &mut self,
        name: &str,
        x: Buf,
        channels: usize,
        [frames, space]: [usize; 2],
    ) -> Buf {
        let [t, h, w, c] = self.video(name, x);
        assert!(
            (channels * frames * space * space).is_multiple_of(c),
            "{name}: {c} channels to {channels}"
        );
        let shape = [frames * (t - 1) + 1, space * h, space * w, channels];
        self.reshaped(name, Op::DuplicateUp { frames, space }, x, shape)
    }

    /// An op that only moves or averages elements: the type is kept.
    #[track_caller]
    fn reshaped(&mut self, name: &str, op: Op, x: Buf, shape: [usize; 4]) -> Buf {
        let dtype = self.spec(x).dtype;
        self.emit(name, op, vec![x], shape.into(), dtype)
    }

    #[track_caller]
    fn video(&self, name: &str, x: Buf) -> [usize; 4] {
        let shape = self.shape(x);
        shape
            .extents()
            .try_into()
            .unwrap_or_else(|_| panic!("{name}: {shape} is not [frames, height, width, channels]"))
    }
}

/// Time, row and column extents of a stored kernel; a 2D one has a single frame.
pub(super) fn kernel_extents(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [_, _, h, w] => [1, h, w],
        [_, _, t, h, w] => [t, h, w],
        _ => panic!("{shape:?} is not a convolution's weight"),
    }
}

fn reads(x: Buf, kernel: Kernel1d) -> Vec<Buf> {
    [x, kernel.weight].into_iter().chain(kernel.bias).collect()
}
