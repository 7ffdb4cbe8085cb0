//! Memory and launch of a conformance kernel.

#![allow(unsafe_code, reason = "launches kernels")]

use crate::{
    Result,
    cuda::gpu::{
        arguments::Entry,
        device::{Device, Launch, Memory},
        kernels::conformance::SMEM_BYTES,
    },
};

/// A NaN in every float type.
const POISON: u8 = 0xff;

/// Runs a kernel on one block or one cluster and waits for it.
///
/// # Safety
/// As for [`Device::launch`].
pub(super) unsafe fn run<E: Entry>(device: &dyn Device, entry: &E) -> Result<()> {
    let launch = Launch::new(entry, [E::KERNEL.cluster, 1, 1], SMEM_BYTES as u32)?;
    // SAFETY: the caller's promise.
    unsafe { device.launch(&launch) }?;
    device.synchronize()
}

pub(super) fn upload(device: &dyn Device, bytes: &[u8]) -> Result<Memory> {
    let memory = device.alloc(bytes.len(), "an instruction's input")?;
    device.h2d(&memory, 0, bytes)?;
    Ok(memory)
}

pub(super) fn poisoned(device: &dyn Device, bytes: usize) -> Result<Memory> {
    let memory = device.alloc(bytes, "an instruction's result")?;
    device.fill(&memory, 0..bytes, POISON)?;
    Ok(memory)
}

/// The content of `memory`.
pub(super) fn download<T: bytemuck::Pod>(device: &dyn Device, memory: &Memory) -> Result<Vec<T>> {
    let mut values = vec![T::zeroed(); memory.bytes() / size_of::<T>()];
    device.d2h(memory, 0, bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

pub(super) fn int(size: usize) -> i32 {
    i32::try_from(size).expect("sizes of single instructions are small")
}
