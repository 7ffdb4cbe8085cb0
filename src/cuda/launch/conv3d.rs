//! `conv3d.cu`: convolutions of videos as implicit GEMMs, with epilogues.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::{
            arguments::{Dev, DevMut, bf16},
            kernels::conv3d::{
                CONV3D_N64_BF16, CONV3D_N128_BF16, Conv3dArgs, Conv3dDoubledBf16, Conv3dPackBf16,
                LINES, MOST_N, PACK_THREADS, SMEM_BYTES, STORE_COLS, STORE_LINES, TILE_H, TILE_K,
                TILE_W, WEIGHT_PITCH,
            },
            params::ConvShape,
            tensor_map::{Element, Swizzle, TensorMap, TensorMapSpec},
        },
        lowering::{BoundLaunch, DeviceView, LowerCx, axes, blocks, int},
    },
    plan::{Conv3d, Op, PaddingMode, RmsNorm},
};

const BYTES: u64 = 2; // of an element

/// Op::Conv3d: as an implicit GEMM where the kernel can, else tap by tap.
pub(in crate::cuda) fn conv3d(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    Tiled::new(cx, 0, geometry(&cx.steps[0].op))?
        .map(|tiled| tiled.launch(cx, ConvEpilogue::Nothing))
        .transpose()
}

/// [Op::Conv3d, Op::Add].
pub(in crate::cuda) fn added(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let residual = cx.summand();
    let fits = residual.dtype == Bf16 && residual.is_aligned();
    match Tiled::new(cx, 0, geometry(&cx.steps[0].op))? {
        Some(tiled) if fits => tiled.launch(cx, ConvEpilogue::Add(residual)).map(Some),
        _ => Ok(None),
    }
}

/// [Op::Conv3d, Op::RmsNorm, Op::Silu] if a tile has all channels of a position.
pub(in crate::cuda) fn normed(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let norm = &cx.steps[1];
    let &Op::RmsNorm(RmsNorm { eps, width, .. }) = &norm.op else {
        panic!("norm epilogue lowering called with {}", norm.op.name());
    };
    let fits = norm.reads.len() == 1 && width <= MOST_N && width.is_multiple_of(8);
    match Tiled::new(cx, 0, geometry(&cx.steps[0].op))? {
        Some(tiled) if fits && width == tiled.to[3] => {
            tiled.launch(cx, ConvEpilogue::NormSilu(eps)).map(Some)
        }
        _ => Ok(None),
    }
}

/// [Op::UpsampleNearest, Op::Conv3d] with 3x3 taps within each frame.
pub(in crate::cuda) fn doubled(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let conv = geometry(&cx.steps[1].op);
    let plain = Conv3d::same([1, 3, 3], 0, 0, conv.time_padding);
    match Tiled::new(cx, 1, conv)? {
        Some(tiled) if tiled.kernel == [1, 3, 3] && conv == plain => tiled.launch_doubled(cx),
        _ => Ok(None),
    }
}

fn geometry(op: &Op) -> Conv3d {
    let Op::Conv3d(conv) = op else {
        panic!("convolution lowering called with {}", op.name());
    };
    *conv
}

/// What is done to the result before it is stored.
#[derive(Clone, Copy)]
enum ConvEpilogue {
    Nothing,
    /// A residual of y's shape.
    Add(DeviceView),
    /// A norm with this epsilon, and Silu.
    NormSilu(f32),
}

/// A convolution that the kernel can run.
struct Tiled {
    x: DeviceView,
    /// Extents of x: frames, height, width, inputs.
    from: [usize; 4],
    w: DeviceView,
    b: DeviceView,
    y: DeviceView,
    /// Extents of y: frames, height, width, outputs.
    to: [usize; 4],
    kernel: [usize; 3],
    before: [usize; 3],
    replicate: bool,
}

impl Tiled {
    /// The convolution at step `index`, where the first step reads x and the last writes y; `None` if the kernel cannot
    /// run it.
    fn new(cx: &LowerCx<'_>, index: usize, conv: Conv3d) -> Result<Option<Self>> {
        let [w, b] = [1, 2].map(|i| cx.view(cx.steps[index].reads[i]));
        let (x, y) = (cx.read(0), cx.write());
        let kernel @ [kernel_t, kernel_h, kernel_w] =
            cx.kernel_extents(cx.steps[index].reads[1])?;
        // Otherwise some frames of y depend on none of x.
        let sees = conv.time_padding == PaddingMode::Replicate
            || (conv.before[0] < kernel_t && conv.after[0] < kernel_t);
        let rounds = cx.steps.iter().all(|step| cx.dtype(step.writes) == Bf16);
        let fits = [x, w, b].iter().all(|view| view.dtype == Bf16)
            && rounds
            && [x, b, y].iter().all(|view| view.is_aligned())
            && conv.stride == [1; 3]
            && !conv.depthwise
            && (kernel_h <= LINES && kernel_w <= WEIGHT_PITCH && w.pitch == WEIGHT_PITCH)
            && sees;
        if !fits {
            return Ok(None);
        }
        Ok(Some(Self {
            x,
            from: cx.video(cx.steps[0].reads[0])?,
            w,
            b,
            y,
            to: cx.video(cx.steps[cx.steps.len() - 1].writes)?,
            kernel,
            before: conv.before,
            replicate: conv.time_padding == PaddingMode::Replicate,
        }))
    }

    fn launch(&self, cx: &mut LowerCx<'_>, after: ConvEpilogue) -> Result<Vec<BoundLaunch>> {
        let [kernel_t, kernel_h, kernel_w] = self.kernel;
        let (outputs, inputs, runs) = (self.to[3], self.from[3], kernel_t * kernel_h);
        let packed = cx.workspace(self.packed_bytes(runs * kernel_w)?);
        let pack = Conv3dPackBf16 {
            packed: DevMut::new(packed),
            w: self.w.dev(),
            outputs: int(outputs)?,
            inputs: int(inputs)?,
            runs: int(runs)?,
            run: int(kernel_w)?,
            pitch: int(self.pitch())?,
        };
        let pieces = outputs * runs * inputs.div_ceil(8);
        // SAFETY: w has a run of taps for each output, input and row of the kernel, `WEIGHT_PITCH` apart; the workspace
        // has `pitch` elements for each tap and output; the grid has a thread for each eight inputs of a run.
        let mut launches = unsafe { cx.launch(&pack, pack_grid(pieces)?, 0) }?;
        launches.extend(self.multiply(cx, packed, self.y_map(cx, self.y, 1)?, after)?);
        Ok(launches)
    }

    /// Fuses nearest upsampling by 2: reads the input of the upsampling instead of its result, as four convolutions, one
    /// for each parity of row and column of y.
    fn launch_doubled(self, cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
        let [frames, height, width, inputs] = self.from;
        let outputs = self.to[3];
        let packed = cx.workspace(self.packed_bytes(16)?);
        let pack = Conv3dDoubledBf16 {
            packed: DevMut::new(packed),
            w: self.w.dev(),
            outputs: int(outputs)?,
            inputs: int(inputs)?,
            pitch: int(self.pitch())?,
        };
        let pieces = outputs * inputs.div_ceil(8);
        // SAFETY: w has three runs of three taps for each output and input, `WEIGHT_PITCH` apart; the workspace has `pitch`
        // elements for each output and four times four taps; the grid has a thread for each eight inputs.
        let mut launches = unsafe { cx.launch(&pack, pack_grid(pieces)?, 0) }?;
        for (parity, (p, q)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
            let offset = (p * 2 * width + q) * self.y.pitch;
            let part = DeviceView {
                address: self.y.address + offset as u64 * BYTES,
                ..self.y
            };
            let tiled = Self {
                to: [frames, height, width, outputs],
                kernel: [1, 2, 2],
                before: [0, 1 - p, 1 - q],
                ..self
            };
            let taps = packed + (parity * 4 * outputs * self.pitch()) as u64 * BYTES;
            let y_map = tiled.y_map(cx, part, 2)?;
            launches.extend(tiled.multiply(cx, taps, y_map, ConvEpilogue::Nothing)?);
        }
        Ok(Some(launches))
    }

    /// The GEMM, with packed weights.
    fn multiply(
        &self,
        cx: &LowerCx<'_>,
        packed: u64,
        y_map: TensorMap,
        after: ConvEpilogue,
    ) -> Result<Vec<BoundLaunch>> {
        let [out_frames, out_height, out_width, outputs] = self.to;
        let tile_n = if outputs <= MOST_N / 2 {
            MOST_N / 2
        } else {
            MOST_N
        };
        let tiles = out_frames
            * out_height.div_ceil(TILE_H)
            * out_width.div_ceil(TILE_W)
            * outputs.div_ceil(tile_n);
        let grid = [blocks(tiles)?.min(cx.device().num_sms()), 1, 1];
        let x_map = self.x_map(cx)?;
        let w_map = self.w_map(cx, packed, tile_n)?;
        let (residual, residual_pitch, eps) = match after {
            ConvEpilogue::Nothing => (Dev::new(0), 0, -1.0),
            ConvEpilogue::Add(view) => (view.dev::<bf16>(), int(view.pitch)?, -1.0),
            ConvEpilogue::NormSilu(eps) => (Dev::new(0), 0, eps),
        };
        let args = Conv3dArgs {
            y_map,
            x_map,
            w_map,
            b: self.b.dev(),
            residual,
            residual_pitch,
            c: self.shape()?,
            tiles: int(tiles)?,
            eps,
        };
        let all = if tile_n == MOST_N {
            CONV3D_N128_BF16
        } else {
            CONV3D_N64_BF16
        };
        // SAFETY: the maps are of x, of the packed weights and of y with the kernel's boxes, and neither read nor write
        // beyond them; b has an element for each output and rows are padded to 8; a residual has the positions and
        // columns of y, and with a norm one tile has all outputs.
        unsafe { cx.launch_one_of(all, &args, grid, blocks(SMEM_BYTES)?) }
    }

    fn shape(&self) -> Result<ConvShape> {
        let ([frames, height, width, inputs], to) = (self.from, self.to);
        Ok(ConvShape {
            size: axes([frames, height, width])?,
            inputs: int(inputs)?,
            out_size: axes([to[0], to[1], to[2]])?,
            outputs: int(to[3])?,
            kernel: axes(self.kernel)?,
            stride: axes([1; 3])?,
            before: axes(self.before)?,
            replicate: self.replicate.into(),
        })
    }

    fn x_map(&self, cx: &LowerCx<'_>) -> Result<TensorMap> {
        let lines = TILE_H + self.kernel[1] - 1;
        let strides = strides(self.from, self.x.pitch, 1);
        let sides = [lines, TILE_W, TILE_K];
        video_map(cx, self.x.address, self.from, strides, sides)
    }

    /// A map of every `step`th line and column of `y`.
    fn y_map(&self, cx: &LowerCx<'_>, y: DeviceView, step: usize) -> Result<TensorMap> {
        let strides = strides(self.to, y.pitch, step);
        let sides = [STORE_LINES, TILE_W, STORE_COLS];
        video_map(cx, y.address, self.to, strides, sides)
    }

    fn w_map(&self, cx: &LowerCx<'_>, packed: u64, tile_n: usize) -> Result<TensorMap> {
        let (outputs, inputs) = (self.to[3] as u64, self.from[3] as u64);
        let taps: usize = self.kernel.iter().product();
        let row_bytes = self.pitch() as u64 * BYTES;
        cx.map(&TensorMapSpec {
            address: packed,
            element: Element::Bf16,
            sizes: vec![taps as u64, outputs, inputs],
            strides_bytes: vec![outputs * row_bytes, row_bytes],
            box_sizes: vec![1, blocks(tile_n)?, blocks(TILE_K)?],
            swizzle: Swizzle::Bytes128,
        })
    }

    /// Elements from one output's packed weights to the next.
    fn pitch(&self) -> usize {
        self.from[3].next_multiple_of(8)
    }

    fn packed_bytes(&self, taps: usize) -> Result<usize> {
        let bytes = taps * self.to[3] * self.pitch() * BYTES as usize;
        int(bytes).map(|_| bytes)
    }
}

/// Strides of a video in bytes, by frame, line and position, where only every `step`th line and column counts.
fn strides([_, height, width, _]: [usize; 4], pitch: usize, step: usize) -> Vec<u64> {
    let position = pitch as u64 * BYTES;
    let line = position * (width * step) as u64;
    let step = step as u64;
    vec![line * height as u64 * step, line * step, position * step]
}

fn video_map(
    cx: &LowerCx<'_>,
    address: u64,
    sizes: [usize; 4],
    strides_bytes: Vec<u64>,
    [lines, positions, channels]: [usize; 3],
) -> Result<TensorMap> {
    cx.map(&TensorMapSpec {
        address,
        element: Element::Bf16,
        sizes: sizes.map(|size| size as u64).into(),
        strides_bytes,
        box_sizes: vec![1, blocks(lines)?, blocks(positions)?, blocks(channels)?],
        swizzle: Swizzle::Bytes128,
    })
}

fn pack_grid(pieces: usize) -> Result<[u32; 3]> {
    int(pieces + PACK_THREADS)?;
    Ok([blocks(pieces.div_ceil(PACK_THREADS))?, 1, 1])
}
