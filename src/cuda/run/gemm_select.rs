//! Matrix products by a library beside our own kernel: what an executor needs of it, and who computes which product.
//!
//! Which algorithm computes a product decides its last bits. So that the same request gives the same bytes in every
//! process, our own kernel computes everything unless somebody asks otherwise: [`GemmChoice::CublasLt`] takes the first
//! algorithm that the library offers and runs, which is the same every time; only [`GemmChoice::Auto`] lets the clock
//! decide.

#![allow(
    unsafe_code,
    reason = "products are queued with addresses, as kernels are"
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

/// Measured runs of each way; the middle one counts.
const RUNS: usize = 3;
/// How many of the library's algorithms are timed.
const CANDIDATES: usize = 8;
/// Random numbers are copied to the device in such pieces.
const CHUNK_BYTES: usize = 16 << 20;

/// Gives units to the library where it is to compute them. Where the clock decides, both are run, on random numbers in
/// the arena, whose content is lost, and on the weights as they are.
///
/// # Errors
/// The device's. A product that the library refuses is ours.
///
/// # Safety
/// The units were lowered for memory and tables that are there, `arena` among it, and nobody needs what that holds.
pub(in crate::cuda) unsafe fn choose(
    units: &mut [Unit],
    library: &GemmPolicy,
    device: &dyn Device,
    arena: &Memory,
) -> Result<()> {
    // By shape: which of the library's ways, none for our own kernel.
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
        if let Some(algorithms) = taken.and_then(|index| nth(&algorithms, index)) {
            // SAFETY: the ways compute what the unit's launches do, at the addresses that they were lowered for.
            let sound = |algorithm| unsafe { BoundLaunch::by_backend(algorithm) };
            unit.launches = algorithms.into_iter().map(sound).collect();
        }
    }
    Ok(())
}

/// The way of each product at one place of the lists, if all have one.
fn nth(
    algorithms: &[Vec<Arc<dyn GemmAlgorithm>>],
    index: usize,
) -> Option<Vec<Arc<dyn GemmAlgorithm>>> {
    algorithms
        .iter()
        .map(|algorithms| algorithms.get(index).cloned())
        .collect()
}

/// Which of the library's ways is the first that it does not refuse when it runs, which it must not do for the first
/// time while a graph is recorded.
///
/// # Safety
/// As for [`choose`].
unsafe fn first_that_runs(
    algorithms: &[Vec<Arc<dyn GemmAlgorithm>>],
    device: &dyn Device,
) -> Option<usize> {
    let runs = |algorithms: Vec<Arc<dyn GemmAlgorithm>>| {
        let queued = algorithms.iter().try_for_each(|algorithm| {
            // SAFETY: the caller's promise.
            unsafe { algorithm.queue() }
        });
        queued.and_then(|()| device.synchronize()).is_ok()
    };
    (0..CANDIDATES).find(|&index| nth(algorithms, index).is_some_and(runs))
}

/// Which of the library's ways takes less time than the unit's own launches, if any does.
///
/// # Safety
/// As for [`choose`].
unsafe fn fastest(
    unit: &Unit,
    algorithms: &[Vec<Arc<dyn GemmAlgorithm>>],
    device: &dyn Device,
) -> Result<Option<usize>> {
    let own = || {
        unit.launches.iter().try_for_each(|sound| {
            // SAFETY: the caller's promise.
            unsafe { sound.queue(device) }
        })
    };
    let (mut least, mut best) = (time_ms(device, RUNS, &mut || Ok(()), own)?, None);
    for index in 0..CANDIDATES {
        let Some(algorithms) = nth(algorithms, index) else {
            break;
        };
        let queue = || {
            algorithms.iter().try_for_each(|algorithm| {
                // SAFETY: the caller's promise.
                unsafe { algorithm.queue() }
            })
        };
        // The library refuses some of its own proposals when they run.
        if let Ok(ms) = time_ms(device, RUNS, &mut || Ok(()), queue)
            && ms < least
        {
            (least, best) = (ms, Some(index));
        }
    }
    Ok(best)
}

/// Fills those factors of some gemms that lie in the arena with random numbers.
fn fill(device: &dyn Device, arena: &Memory, gemms: &[(GemmDesc, Operands)]) -> Result<()> {
    let noise = random_bf16(CHUNK_BYTES / 2, 1);
    for (gemm, at) in gemms {
        let factors = [
            (at.x, gemm.m * gemm.x_pitch * 2),
            (at.w, gemm.n * gemm.w_pitch * 2),
        ];
        for (address, bytes) in factors {
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

/// Numbers of bf16 between -1 and 1, the same for the same seed.
pub(in crate::cuda) fn random_bf16(count: usize, seed: u32) -> Vec<bf16> {
    let mut state = seed;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| number()).collect()
}

/// The middle of the times of `runs` runs.
///
/// # Errors
/// Those of `queue`, or the device's.
pub(in crate::cuda) fn time_ms(
    device: &dyn Device,
    runs: usize,
    before: &mut dyn FnMut() -> Result<()>,
    queue: impl Fn() -> Result<()>,
) -> Result<f32> {
    Ok(times_ms(device, runs, before, queue)?[runs / 2])
}

/// The times of `runs` runs behind one that warms up, shortest first; `before` queues what goes before each.
///
/// # Errors
/// Those of `before` and `queue`, or the device's.
pub(in crate::cuda) fn times_ms(
    device: &dyn Device,
    runs: usize,
    before: &mut dyn FnMut() -> Result<()>,
    queue: impl Fn() -> Result<()>,
) -> Result<Vec<f32>> {
    queue()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let marks = [device.event()?, device.event()?];
        before()?;
        device.record(&marks[0], Stream::Compute)?;
        queue()?;
        device.record(&marks[1], Stream::Compute)?;
        device.finish(&marks[1])?;
        times.push(device.elapsed_ms(&marks[0], &marks[1])?);
    }
    times.sort_by(f32::total_cmp);
    Ok(times)
}
