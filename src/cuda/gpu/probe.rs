//! The GPUs that the CUDA driver offers; a missing driver is an answer, not a panic.

#![allow(unsafe_code, reason = "the driver is a C library")]

use cudarc::driver::{
    DriverError, result,
    sys::{self, CUdevice_attribute_enum as Attribute},
};

/// One GPU as its driver describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GpuInfo {
    /// `NVIDIA H200`.
    pub name: String,
    /// Its memory, used or free.
    pub memory_bytes: u64,
    /// The newest CUDA release the driver supports: major, minor.
    pub driver_version: (u32, u32),
    /// Major, minor; 9.0 is Hopper.
    pub compute_capability: (u32, u32),
}

/// All GPUs in the driver's order, at least one.
///
/// # Errors
/// A sentence for the user: no driver, a driver that fails, no GPU.
pub fn gpus() -> Result<Vec<GpuInfo>, String> {
    // SAFETY: opens the driver library, if there is one, and closes it; its initialisers are NVIDIA's and are
    // what every CUDA program runs.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver (libcuda.so.1) on this machine".into());
    }
    result::init().map_err(|e| failed("cuInit", e))?;
    let count = result::device::get_count().map_err(|e| failed("cuDeviceGetCount", e))?;
    if count == 0 {
        return Err("the NVIDIA driver is there, but offers no GPU".into());
    }
    let driver_version = driver_version()?;
    (0..count)
        .map(|ordinal| describe(ordinal, driver_version))
        .collect()
}

fn describe(ordinal: i32, driver_version: (u32, u32)) -> Result<GpuInfo, String> {
    let device = result::device::get(ordinal).map_err(|e| failed("cuDeviceGet", e))?;
    // SAFETY: `device` was returned by `device::get` above.
    let memory = unsafe { result::device::total_mem(device) };
    let attribute = |which| {
        // SAFETY: `device` was returned by `device::get` above.
        let value = unsafe { result::device::get_attribute(device, which) };
        value
            .map(i32::unsigned_abs)
            .map_err(|e| failed("cuDeviceGetAttribute", e))
    };
    Ok(GpuInfo {
        name: result::device::get_name(device).map_err(|e| failed("cuDeviceGetName", e))?,
        memory_bytes: memory.map_err(|e| failed("cuDeviceTotalMem", e))? as u64,
        driver_version,
        compute_capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
    })
}

fn driver_version() -> Result<(u32, u32), String> {
    let mut version = 0;
    // SAFETY: the call writes one int to the pointer, which is a live local.
    let code = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    code.result().map_err(|e| failed("cuDriverGetVersion", e))?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}

fn failed(call: &str, error: DriverError) -> String {
    format!(
        "{call} failed with {:?}; is the driver loaded and does nvidia-smi run?",
        error.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_gpu_gets_a_reason_and_one_with_gets_facts() {
        match gpus() {
            Ok(gpus) => assert!(
                gpus.iter().all(|gpu| gpu.memory_bytes > 1 << 30),
                "{gpus:?}"
            ),
            Err(why) => assert!(why.contains("driver") || why.contains("failed"), "{why}"),
        }
    }
}
