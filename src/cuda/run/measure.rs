//! Times of what plans do not reach: a library's GEMMs, and copies. Operands hold random numbers, because a GEMM of zeros
//! takes less power and so less time.
//!
//! Every function fails with [`crate::Error::Device`] if the device does.

#![allow(unsafe_code, reason = "launches kernels, enqueues GEMMs and copies")]

use std::sync::Arc;

use half::bf16;

use super::gemm_select::{random_bf16, time_ms, times_ms};
use crate::{
    DType, Result,
    cuda::gpu::{
        arguments::AnyDev,
        cublaslt::{GemmDesc, OperandType, Operands, OutputType},
        device::{Device, Launch, Memory, Stream},
        gemm_backend::{GemmAlgorithm, GemmBackend},
        kernels::copy::{COPY, CopyArgs, THREADS},
    },
};

/// Random numbers are made once and copied in chunks of this size.
const CHUNK_BYTES: usize = 16 << 20;
/// Runs of each of a library's algorithms before the fastest is measured.
const TRIALS: usize = 3;
/// Columns of the matrix that is copied.
const COPY_COLS: usize = 1024;

/// Flushes L2 before a measurement: fills memory on the compute stream, which also hides the latency of the launch that is
/// measured.
pub struct L2Flush(Memory);

impl L2Flush {
    /// Allocates `bytes` to fill.
    pub fn new(device: &dyn Device, bytes: usize) -> Result<Self> {
        device.alloc(bytes, "the L2 flush").map(Self)
    }

    /// Queues it.
    ///
    /// # Errors
    /// The device's.
    pub fn enqueue(&self, device: &dyn Device) -> Result<()> {
        device.fill(&self.0, 0..self.0.bytes(), 0)
    }
}

/// Milliseconds of `runs` runs of a library's fastest algorithm for `gemm`, shortest first, each after `flush`.
///
/// # Errors
/// Those of the library if no algorithm runs.
pub fn gemm_times(
    device: &dyn Device,
    library: &Arc<dyn GemmBackend>,
    gemm: &GemmDesc,
    flush: &L2Flush,
    runs: usize,
) -> Result<Vec<f32>> {
    let size = match gemm.operands {
        OperandType::Bf16 => 2,
        OperandType::E4m3 { .. } => 1,
    };
    let out = if gemm.output == OutputType::F32 { 4 } else { 2 };
    let x = noise(device, gemm.m * gemm.x_pitch * size, gemm.operands)?;
    let w = noise(device, gemm.n * gemm.w_pitch * size, gemm.operands)?;
    let y = device.alloc(gemm.m * gemm.y_pitch * out, "a measured GEMM")?;
    let ones = vec![1.0_f32; gemm.m.max(gemm.n)];
    let scales = device.alloc(ones.len() * 4, "the scales of a measured GEMM")?;
    device.h2d(&scales, 0, bytemuck::cast_slice(&ones))?;
    let at = Operands {
        x: x.start(),
        w: w.start(),
        y: y.start(),
        x_scales: scales.start(),
        w_scales: scales.start(),
    };
    let enqueue = |algorithm: &Arc<dyn GemmAlgorithm>| {
        // SAFETY: x, w and y are as large as the sizes and pitches say, the scales as long as the longer side.
        unsafe { algorithm.enqueue() }
    };
    let algorithms = library.clone().algorithms(gemm, &at)?;
    let mut before = || flush.enqueue(device);
    let trial = |algorithm: &Arc<dyn GemmAlgorithm>| {
        time_ms(device, TRIALS, &mut before, || enqueue(algorithm))
    };
    let (algorithm, _) = crate::cuda::gpu::cublaslt::fastest(algorithms, trial)?;
    times_ms(device, runs, &mut || flush.enqueue(device), || {
        enqueue(&algorithm)
    })
}

/// Milliseconds of copies, each list shortest first.
#[derive(Clone, Debug)]
pub struct CopyTimes {
    /// Bytes of each copy.
    pub bytes: usize,
    /// Milliseconds of each run, sorted: pinned host to device, device to device, and both while the other runs.
    pub times: [Vec<f32>; 4],
}

/// Copies about `bytes`, `runs` times in each direction, alone and both at once; device copies start after `flush`.
pub fn copy_times(
    device: &dyn Device,
    bytes: usize,
    flush: &L2Flush,
    runs: usize,
) -> Result<CopyTimes> {
    let rows = (bytes / (COPY_COLS * 4)).max(1);
    let bytes = rows * COPY_COLS * 4;
    let from = noise(device, bytes, OperandType::Bf16)?;
    let to = device.alloc(bytes, "measured copies")?;
    let target = device.alloc(bytes, "measured copies")?;
    let mut pinned = device.alloc_pinned(bytes)?;
    let content: Vec<bf16> = random_bf16(CHUNK_BYTES / 2, 7);
    for piece in (*pinned).as_mut().chunks_mut(CHUNK_BYTES) {
        piece.copy_from_slice(&bytemuck::cast_slice(&content)[..piece.len()]);
    }
    let (count, cols) = (rows * COPY_COLS, COPY_COLS as i32);
    let args = CopyArgs {
        y: AnyDev::new(to.dev_mut::<f32>(0, count).address(), DType::F32),
        x: AnyDev::new(from.dev::<f32>(0, count).address(), DType::F32),
        rows: i32::try_from(rows).unwrap_or(i32::MAX),
        cols,
        x_pitch: cols,
        y_pitch: cols,
    };
    let blocks = u32::try_from((count / 8).div_ceil(THREADS)).unwrap_or(u32::MAX);
    let launch = Launch::one_of(COPY, &args, [blocks, 1, 1], 0)?;
    let launch = launch.expect("f32 is copied to f32");
    let on_device = || {
        // SAFETY: both memories have `rows` rows of `COPY_COLS` numbers, and the grid covers them.
        unsafe { device.launch(&launch) }
    };
    let to_device = || {
        // SAFETY: the pinned bytes stay unchanged until `between` has synchronized.
        unsafe { device.h2d_async(&target, 0, (*pinned).as_ref()) }
    };
    let mut times: [Vec<f32>; 4] = Default::default();
    for run in 0..=runs {
        let alone = [
            between((device, flush), &[(Stream::Copy, &to_device)])?[0],
            between((device, flush), &[(Stream::Compute, &on_device)])?[0],
        ];
        let both = between(
            (device, flush),
            &[(Stream::Copy, &to_device), (Stream::Compute, &on_device)],
        )?;
        // The first run warms up.
        for (times, ms) in times.iter_mut().zip(alone.iter().chain(&both)) {
            times.extend((run > 0).then_some(*ms));
        }
    }
    times.iter_mut().for_each(|t| t.sort_by(f32::total_cmp));
    Ok(CopyTimes { bytes, times })
}

/// Enqueues all work at once and gives the milliseconds of each stream. A kernel takes a fortieth of a host copy's time,
/// so beside a copy it is repeated until the copy is about done, and its mean counts.
fn between(
    (device, flush): (&dyn Device, &L2Flush),
    work: &[(Stream, &dyn Fn() -> Result<()>)],
) -> Result<Vec<f32>> {
    const AGAIN: usize = 40;
    let mut marks = Vec::new();
    for (stream, enqueue) in work {
        let [from, to] = [device.event()?, device.event()?];
        if *stream == Stream::Compute {
            flush.enqueue(device)?;
        }
        device.record(&from, *stream)?;
        let times = if *stream == Stream::Compute && work.len() > 1 {
            AGAIN
        } else {
            1
        };
        for _ in 0..times {
            enqueue()?;
        }
        device.record(&to, *stream)?;
        marks.push((from, to, times));
    }
    device.synchronize()?;
    let ms = |(from, to, times): &(_, _, usize)| Ok(device.elapsed_ms(from, to)? / *times as f32);
    marks.iter().map(ms).collect()
}

/// Device memory with random numbers: bf16 between -1 and 1, e4m3 below 2.
fn noise(device: &dyn Device, bytes: usize, of: OperandType) -> Result<Memory> {
    let memory = device.alloc(bytes, "a measurement")?;
    let numbers = random_bf16(CHUNK_BYTES.min(bytes.next_multiple_of(2)) / 2, 1);
    let mut piece: Vec<u8> = bytemuck::cast_slice(&numbers).to_vec();
    if of != OperandType::Bf16 {
        // The lower bytes are uniform noise; without the highest bit of the exponent they are numbers below 2.
        let low: Vec<u8> = piece.iter().step_by(2).map(|byte| byte & 0xbf).collect();
        piece = [&low[..], &low[..]].concat();
    }
    for offset in (0..bytes).step_by(piece.len()) {
        let length = piece.len().min(bytes - offset);
        device.h2d(&memory, offset, &piece[..length])?;
    }
    Ok(memory)
}
