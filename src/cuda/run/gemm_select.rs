//! Selects the implementation of each GEMM: our own kernel or an algorithm of a library.
//!
//! The algorithm decides a result's last bits, and a request must give the same bytes in every process. So our own kernel
//! is the default, and [`GemmChoice::CublasLt`] takes the library's first algorithm that runs, the same every time. Only
//! [`GemmChoice::Auto`] picks by measured time.

#![allow(
    unsafe_code,
    reason = "GEMMs are enqueued with raw addresses, as kernels are"
)]

use std::{collections::HashMap, sync::Arc};

use half::bf16;

use crate::{
    Result,
    cuda::{
        gpu::{
            cublaslt::{GemmDesc, Operands},
            device::{Device, Memory, Stream},
            gemm_backend::{GemmAlgorithm, GemmChoice, GemmPolicy},
        },
        lowering::work::{BoundLaunch, Unit},
    },
};

/// Measured runs of each algorithm; the median counts.
const RUNS: usize = 3;
/// The most algorithms of the library that are tried.
const CANDIDATES: usize = 8;
/// Random numbers are copied to the device in chunks of this size.
const CHUNK_BYTES: usize = 16 << 20;

/// Replaces the launches of units whose GEMMs the library is to compute; our own kernel keeps those that the library
/// refuses. Autotuning runs both, with the real weights and random activations, which overwrites the arena.
///
/// # Errors
/// [`crate::Error::Device`] if the device fails.
///
/// # Safety
/// The memory and metadata that the units were lowered for are there, and the content of `arena` may be lost.
pub(in crate::cuda) unsafe fn choose(
    units: &mut [Unit],
    library: &GemmPolicy,
    device: &dyn Device,
    arena: &Memory,
) -> Result<()> {
    // By shape: index of the library's algorithm, none for our own kernel.
    let mut made: HashMap<Vec<GemmDesc>, Option<usize>> = HashMap::new();
    for unit in units.iter_mut().filter(|unit| !unit.gemms.is_empty()) {
        let algorithms = unit
            .gemms
            .iter()
            .map(|(gemm, at)| library.backend.clone().algorithms(gemm, at));
        let Ok(algorithms) = algorithms.collect::<Result<Vec<_>>>() else {
            continue;
        };
        let shape: Vec<GemmDesc> = unit.gemms.iter().map(|(gemm, _)| *gemm).collect();
        let taken = match (made.get(&shape), library.choice) {
            (Some(&taken), _) => taken,
            (None, GemmChoice::Own) => None,
            // SAFETY: the caller's promise.
            (None, GemmChoice::CublasLt) => unsafe { first_that_runs(&algorithms, device) },
            (None, GemmChoice::Auto) => {
                fill(device, arena, &unit.gemms)?;
                // SAFETY: the caller's promise.
                unsafe { fastest(unit, &algorithms, device) }?
            }
        };
        made.insert(shape, taken);
        if let Some(launches) = taken.and_then(|index| nth(&algorithms, index)) {
            unit.launches = launches;
        }
    }
    Ok(())
}

/// Launches of algorithm `index` of each GEMM, if all have one.
fn nth(algorithms: &[Vec<Arc<dyn GemmAlgorithm>>], index: usize) -> Option<Vec<BoundLaunch>> {
    // SAFETY: the algorithms compute what the unit's launches do, at the addresses they were lowered for.
    let launch = |algorithm: &Arc<_>| unsafe { BoundLaunch::by_backend(Arc::clone(algorithm)) };
    let chosen = algorithms.iter().map(|all| all.get(index).map(launch));
    chosen.collect()
}

/// Enqueues all of them.
///
/// # Safety
/// As for [`choose`].
unsafe fn enqueue(launches: &[BoundLaunch], device: &dyn Device) -> Result<()> {
    launches.iter().try_for_each(|launch| {
        // SAFETY: the caller's promise.
        unsafe { launch.enqueue(device) }
    })
}

/// Index of the library's first algorithm that runs. It is tried here because a refusal while a graph is captured would
/// be too late.
///
/// # Safety
/// As for [`choose`].
unsafe fn first_that_runs(
    algorithms: &[Vec<Arc<dyn GemmAlgorithm>>],
    device: &dyn Device,
) -> Option<usize> {
    let runs = |launches: Vec<BoundLaunch>| {
        // SAFETY: the caller's promise.
        let enqueued = unsafe { enqueue(&launches, device) };
        enqueued.and_then(|()| device.synchronize()).is_ok()
    };
    (0..CANDIDATES).find(|&index| nth(algorithms, index).is_some_and(runs))
}

/// Index of the library's fastest algorithm, if it is faster than the unit's own launches.
///
/// # Safety
/// As for [`choose`].
unsafe fn fastest(
    unit: &Unit,
    algorithms: &[Vec<Arc<dyn GemmAlgorithm>>],
    device: &dyn Device,
) -> Result<Option<usize>> {
    let time = |launches: &[BoundLaunch]| {
        // SAFETY: the caller's promise.
        time_ms(device, RUNS, &mut || Ok(()), || unsafe {
            enqueue(launches, device)
        })
    };
    let (mut least, mut best) = (time(&unit.launches)?, None);
    for (index, launches) in
        (0..CANDIDATES).map_while(|index| Some((index, nth(algorithms, index)?)))
    {
        // The library refuses some of its own algorithms when they run.
        if let Ok(ms) = time(&launches)
            && ms < least
        {
            (least, best) = (ms, Some(index));
        }
    }
    Ok(best)
}

/// Fills the operands that lie in the arena with random numbers.
fn fill(device: &dyn Device, arena: &Memory, gemms: &[(GemmDesc, Operands)]) -> Result<()> {
    let noise = random_bf16(CHUNK_BYTES / 2, 1);
    for (gemm, at) in gemms {
        let operands = [
            (at.x, gemm.m * gemm.x_pitch * 2),
            (at.w, gemm.n * gemm.w_pitch * 2),
        ];
        for (address, bytes) in operands {
            let offset = address.checked_sub(arena.start());
            let offset = offset.and_then(|offset| usize::try_from(offset).ok());
            let Some(offset) = offset.filter(|&offset| offset < arena.bytes()) else {
                continue;
            };
            // The last row of a slice may end before its pitch does.
            let end = (offset + bytes).min(arena.bytes());
            for at in (offset..end).step_by(CHUNK_BYTES) {
                let bytes = CHUNK_BYTES.min(end - at);
                device.h2d(arena, at, &bytemuck::cast_slice(&noise)[..bytes])?;
            }
        }
    }
    Ok(())
}

/// Random bf16 numbers between -1 and 1, the same for the same seed.
pub(in crate::cuda) fn random_bf16(count: usize, seed: u32) -> Vec<bf16> {
    let mut state = seed;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| number()).collect()
}

/// The median time of `runs` runs in milliseconds.
///
/// # Errors
/// Those of [`times_ms`].
pub(in crate::cuda) fn time_ms(
    device: &dyn Device,
    runs: usize,
    before: &mut dyn FnMut() -> Result<()>,
    enqueue: impl Fn() -> Result<()>,
) -> Result<f32> {
    Ok(times_ms(device, runs, before, enqueue)?[runs / 2])
}

/// Times of `runs` runs in milliseconds, shortest first, after one run to warm up; `before` enqueues work ahead of each
/// that is not timed.
///
/// # Errors
/// Those of `before` and `enqueue`; [`crate::Error::Device`] if the device fails.
pub(in crate::cuda) fn times_ms(
    device: &dyn Device,
    runs: usize,
    before: &mut dyn FnMut() -> Result<()>,
    enqueue: impl Fn() -> Result<()>,
) -> Result<Vec<f32>> {
    enqueue()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let marks = [device.event()?, device.event()?];
        before()?;
        device.record(&marks[0], Stream::Compute)?;
        enqueue()?;
        device.record(&marks[1], Stream::Compute)?;
        device.finish(&marks[1])?;
        times.push(device.elapsed_ms(&marks[0], &marks[1])?);
    }
    times.sort_by(f32::total_cmp);
    Ok(times)
}
