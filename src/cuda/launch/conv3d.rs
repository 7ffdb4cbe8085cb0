//! `conv3d.cu`: convolutions of videos as matrix products, and what can be done on the way.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::conv;
use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::{
            arguments::{Dev, DevMut, bf16},
            kernels::conv3d::{
                Conv3dDoubledBf16, Conv3dN64Bf16, Conv3dN128Bf16, Conv3dPackBf16, LINES, MOST_N,
                PACK_THREADS, SMEM_BYTES, STORE_COLS, STORE_LINES, TILE_H, TILE_K, TILE_W,
                WEIGHT_PITCH,
            },
            tensor_map::{Element, Swizzle, TensorMap, TensorMapSpec},
        },
        lowering::{
            arena::View,
            context::{Site, blocks, int},
            work::Sound,
        },
    },
    plan::{Conv3d, Edge, Op},
};

const BYTES: u64 = 2; // of an element

/// Op::Conv3d: as products where the kernel can, else one tap after the other.
pub(in crate::cuda) fn conv3d(site: &mut Site<'_>, geometry: Conv3d) -> Result<Vec<Sound>> {
    match Tiled::new(site, 0, geometry)? {
        Some(tiled) => tiled.launch(site, After::Nothing),
        None => conv::conv3d(site, geometry),
    }
}

/// [Op::Conv3d, Op::Add].
pub(in crate::cuda) fn added(site: &mut Site<'_>) -> Result<Option<Vec<Sound>>> {
    let residual = site.summand();
    let fits = residual.dtype == Bf16 && residual.is_aligned();
    match Tiled::new(site, 0, geometry(&site.steps[0].op))? {
        Some(tiled) if fits => tiled.launch(site, After::Add(residual)).map(Some),
        _ => Ok(None),
    }
}

/// [Op::Conv3d, Op::RmsNorm, Op::Silu] where a tile has all channels of a position.
pub(in crate::cuda) fn normed(site: &mut Site<'_>) -> Result<Option<Vec<Sound>>> {
    let norm = &site.steps[1];
    let Op::RmsNorm { eps, width, .. } = norm.op else {
        panic!("a norm is the second step here");
    };
    let fits = norm.reads.len() == 1 && width <= MOST_N && width.is_multiple_of(8);
    match Tiled::new(site, 0, geometry(&site.steps[0].op))? {
        Some(tiled) if fits && width == tiled.to[3] => {
            tiled.launch(site, After::NormSilu(eps)).map(Some)
        }
        _ => Ok(None),
    }
}

/// [Op::UpsampleNearest, Op::Conv3d] of every frame alone by 3x3 taps.
pub(in crate::cuda) fn doubled(site: &mut Site<'_>) -> Result<Option<Vec<Sound>>> {
    let conv = geometry(&site.steps[1].op);
    let plain = Conv3d::same([1, 3, 3], 0, 0, conv.time_edge);
    match Tiled::new(site, 1, conv)? {
        Some(tiled) if tiled.kernel == [1, 3, 3] && conv == plain => tiled.launch_doubled(site),
        _ => Ok(None),
    }
}

fn geometry(op: &Op) -> Conv3d {
    let Op::Conv3d(conv) = op else {
        panic!("{} is not a convolution", op.name());
    };
    *conv
}

/// What is done where the result is stored.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    /// A residual of y's shape.
    Add(View),
    /// With this added to the mean square.
    NormSilu(f32),
}

/// A convolution that the kernel does.
struct Tiled {
    x: View,
    /// Of x: frames, height, width, inputs.
    from: [usize; 4],
    w: View,
    b: View,
    y: View,
    /// Of y: frames, height, width, outputs.
    to: [usize; 4],
    kernel: [usize; 3],
    before: [usize; 3],
    replicate: bool,
}

impl Tiled {
    /// That of step `index`, the first of whose steps reads x and the last of whose writes y; none if the kernel
    /// does not do it.
    fn new(site: &Site<'_>, index: usize, conv: Conv3d) -> Result<Option<Self>> {
        let [w, b] = [1, 2].map(|i| site.view(site.steps[index].reads[i]));
        let (x, y) = (site.read(0), site.write());
        let kernel @ [kernel_t, kernel_h, kernel_w] =
            site.kernel_extents(site.steps[index].reads[1])?;
        // Otherwise some frames of y see none of x.
        let sees = conv.time_edge == Edge::Replicate
            || (conv.before[0] < kernel_t && conv.after[0] < kernel_t);
        let rounds = site
            .steps
            .iter()
            .all(|step| site.dtype(step.writes) == Bf16);
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
            from: site.video(site.steps[0].reads[0])?,
            w,
            b,
            y,
            to: site.video(site.steps[site.steps.len() - 1].writes)?,
            kernel,
            before: conv.before,
            replicate: conv.time_edge == Edge::Replicate,
        }))
    }

    fn launch(&self, site: &mut Site<'_>, after: After) -> Result<Vec<Sound>> {
        let [kernel_t, kernel_h, kernel_w] = self.kernel;
        let (outputs, inputs, runs) = (self.to[3], self.from[3], kernel_t * kernel_h);
        let packed = site.workspace(self.packed_bytes(runs * kernel_w)?);
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
        let mut launches = unsafe { site.launch(&pack, pack_grid(pieces)?, 0) }?;
        launches.extend(self.multiply(site, packed, self.y_map(site, self.y, 1)?, after)?);
        Ok(launches)
    }

    /// What had its height and width doubled is not read but what had not: in four parts, by row and by column of
    /// pixels that came from the same one.
    fn launch_doubled(self, site: &mut Site<'_>) -> Result<Option<Vec<Sound>>> {
        let [frames, height, width, inputs] = self.from;
        let outputs = self.to[3];
        let packed = site.workspace(self.packed_bytes(16)?);
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
        let mut launches = unsafe { site.launch(&pack, pack_grid(pieces)?, 0) }?;
        for (parity, (p, q)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
            let offset = (p * 2 * width + q) * self.y.pitch;
            let part = View {
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
            let y_map = tiled.y_map(site, part, 2)?;
            launches.extend(tiled.multiply(site, taps, y_map, After::Nothing)?);
        }
        Ok(Some(launches))
    }

    /// The products, with weights as packed.
    fn multiply(
        &self,
        site: &Site<'_>,
        packed: u64,
        y_map: TensorMap,
        after: After,
    ) -> Result<Vec<Sound>> {
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
        let grid = [blocks(tiles)?.min(site.device().multiprocessors()), 1, 1];
        let x_map = self.x_map(site)?;
        let w_map = self.w_map(site, packed, tile_n)?;
        let (residual, residual_pitch, eps) = match after {
            After::Nothing => (Dev::new(0), 0, -1.0),
            After::Add(view) => (view.dev::<bf16>(), int(view.pitch)?, -1.0),
            After::NormSilu(eps) => (Dev::new(0), 0, eps),
        };
        macro_rules! launch {
            ($entry:ident) => {{
                let entry = $entry {
                    y_map,
                    x_map,
                    w_map,
                    b: self.b.dev(),
                    residual,
                    residual_pitch,
                    frames: int(self.from[0])?,
                    inputs: int(self.from[3])?,
                    outputs: int(outputs)?,
                    out_height: int(out_height)?,
                    out_width: int(out_width)?,
                    kernel_t: int(self.kernel[0])?,
                    kernel_h: int(self.kernel[1])?,
                    kernel_w: int(self.kernel[2])?,
                    before_t: int(self.before[0])?,
                    before_h: int(self.before[1])?,
                    before_w: int(self.before[2])?,
                    replicate: self.replicate.into(),
                    tiles: int(tiles)?,
                    eps,
                };
                // SAFETY: the maps are of x, of the packed weights and of y with the kernel's boxes, and neither read
                // nor write beyond them; b has an element for each output and rows are padded to 8; a residual has
                // the positions and columns of y, and with a norm one tile has all outputs.
                unsafe { site.launch(&entry, grid, blocks(SMEM_BYTES)?) }
            }};
        }
        if tile_n == MOST_N {
            launch!(Conv3dN128Bf16)
        } else {
            launch!(Conv3dN64Bf16)
        }
    }

    fn x_map(&self, site: &Site<'_>) -> Result<TensorMap> {
        let lines = TILE_H + self.kernel[1] - 1;
        let strides = strides(self.from, self.x.pitch, 1);
        video_map(
            site,
            self.x.address,
            self.from,
            strides,
            [lines, TILE_W, TILE_K],
        )
    }

    /// Every `step`th line and column of `y`.
    fn y_map(&self, site: &Site<'_>, y: View, step: usize) -> Result<TensorMap> {
        let strides = strides(self.to, y.pitch, step);
        video_map(
            site,
            y.address,
            self.to,
            strides,
            [STORE_LINES, TILE_W, STORE_COLS],
        )
    }

    fn w_map(&self, site: &Site<'_>, packed: u64, tile_n: usize) -> Result<TensorMap> {
        let (outputs, inputs) = (self.to[3] as u64, self.from[3] as u64);
        let taps: usize = self.kernel.iter().product();
        let row_bytes = self.pitch() as u64 * BYTES;
        site.map(&TensorMapSpec {
            address: packed,
            element: Element::Bf16,
            sizes: vec![taps as u64, outputs, inputs],
            strides_bytes: vec![outputs * row_bytes, row_bytes],
            box_sizes: vec![1, blocks(tile_n)?, blocks(TILE_K)?],
            swizzle: Swizzle::Bytes128,
        })
    }

    /// Elements from one output's packed weights to the next one's.
    fn pitch(&self) -> usize {
        self.from[3].next_multiple_of(8)
    }

    fn packed_bytes(&self, taps: usize) -> Result<usize> {
        let bytes = taps * self.to[3] * self.pitch() * BYTES as usize;
        int(bytes).map(|_| bytes)
    }
}

/// Bytes from frame to frame, line to line and position to position of a video, of each axis of which in space only
/// every `step`th index counts.
fn strides([_, height, width, _]: [usize; 4], pitch: usize, step: usize) -> Vec<u64> {
    let position = pitch as u64 * BYTES;
    let line = position * (width * step) as u64;
    let step = step as u64;
    vec![line * height as u64 * step, line * step, position * step]
}

fn video_map(
    site: &Site<'_>,
    address: u64,
    sizes: [usize; 4],
    strides_bytes: Vec<u64>,
    [lines, positions, channels]: [usize; 3],
) -> Result<TensorMap> {
    site.map(&TensorMapSpec {
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
