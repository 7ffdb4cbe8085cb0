//! Kernels on the CPU: compiles `kernels/*/*.cu` with a C++ compiler against the emulator beside this file, and
//! launches them. It knows nothing about plans and ops.
//!
//! Start with [`Emulator::load`]. `KERNEL_SEED=n` repeats one seed; `KERNEL_SANITIZE=1` builds with the address and
//! undefined-behaviour sanitizers, whose runtime has to be loaded first:
//! `LD_PRELOAD=$(c++ -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0`.

mod compile;
pub(crate) mod device;
mod memory;

use std::{
    env,
    ffi::{c_char, c_int, c_void},
    fmt,
    sync::{Arc, OnceLock},
};

use libloading::{Library, Symbol};
use rayon::prelude::*;

pub(crate) use compile::Edit;
pub(crate) use memory::Memory;

/// When the asynchronous engine (TMA and wgmma) does what it was told to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// Only when no thread can run.
    Lazy = 0,
    /// At once.
    Eager = 1,
    /// Now and then.
    Random = 2,
}

/// The order in which threads and the asynchronous engine take turns; the same run gives the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// 0 is program order.
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KERNEL_SEED={} {:?}", self.seed, self.policy)
    }
}

/// Sizes of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    /// Blocks along x, y and z.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) block: u32,
    /// Blocks of a cluster, along x.
    pub(crate) cluster: u32,
    /// Dynamic shared memory in bytes.
    pub(crate) smem: u32,
    /// Whether FP8 products are summed with 13 fraction bits, as the hardware is reported to do.
    pub(crate) truncate: bool,
}

impl Launch {
    /// Single blocks along x, without dynamic shared memory.
    pub(crate) fn new(grid: usize, block: u32) -> Self {
        Self {
            grid: [u32::try_from(grid).unwrap(), 1, 1],
            block,
            cluster: 1,
            smem: 0,
            truncate: false,
        }
    }
}

/// A kernel argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
    Map(TensorMap),
    /// A structure of ints and floats; what is behind its end is not read.
    Structure([u32; 24]),
}

impl Arg {
    /// A size or a pitch.
    pub(crate) fn int(value: usize) -> Self {
        Self::Int(i32::try_from(value).unwrap())
    }

    /// A structure, by the words of its fields.
    pub(crate) fn structure(fields: &[u32]) -> Self {
        let mut words = [0; 24];
        words[..fields.len()].copy_from_slice(fields);
        Self::Structure(words)
    }

    /// A structure of sizes and pitches.
    pub(crate) fn ints(fields: &[usize]) -> Self {
        let words: Vec<u32> = fields.iter().map(|&n| n.try_into().unwrap()).collect();
        Self::structure(&words)
    }
}

/// A tensor map in the emulator's encoding.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorMap([u64; 16]);

/// Element types of tensor maps, numbered as the driver numbers them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MapType {
    U8 = 0,
    F32 = 7,
    Bf16 = 9,
}

/// Swizzles of tensor maps, numbered as the driver numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Swizzle {
    None = 0,
    B32 = 1,
    B64 = 2,
    B128 = 3,
}

/// Kernels made runnable.
#[derive(Clone)]
pub(crate) struct Emulator {
    libraries: Vec<Arc<Library>>,
}

type Entry = unsafe extern "C" fn(*mut *mut c_void);
type EncodeTensorMap = unsafe extern "C" fn(
    *mut TensorMap,
    c_int,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    *const u32,
    *const u32,
    c_int,
    c_int,
    c_int,
    c_int,
    *mut c_char,
    usize,
) -> c_int;
type RunKernel =
    unsafe extern "C" fn(Entry, *const RawLaunch, *mut *mut c_void, *mut c_char, usize) -> c_int;

/// `EmuLaunch` of `machine.h`.
#[repr(C)]
struct RawLaunch {
    grid: [u32; 3],
    block: u32,
    cluster: u32,
    shared_bytes: u32,
    policy: u32,
    truncate: u32,
    seed: u64,
}

impl Emulator {
    /// Every kernel there is, compiled where its text changed since the last time.
    pub(crate) fn load() -> &'static Self {
        static ALL: OnceLock<Emulator> = OnceLock::new();
        ALL.get_or_init(|| Self {
            libraries: compile::all().iter().map(open).collect(),
        })
    }

    /// The kernels of one file after `edits` to it and to its headers; they stay loaded.
    pub(crate) fn load_edited(source: &str, edits: &[Edit]) -> &'static Self {
        Box::leak(Box::new(Self {
            libraries: vec![open(&compile::edited(source, edits))],
        }))
    }

    /// Runs `kernel` to its end, or to the first mistake that the emulator sees.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        sizes: &Launch,
        run: Run,
        args: &[Arg],
    ) -> Result<(), String> {
        let name = format!("emu_kernel_{kernel}");
        let found = self.libraries.iter().find_map(|library| {
            // SAFETY: K_EXPORT defines every function of this name pattern with this signature.
            let entry: Symbol<'_, Entry> = unsafe { library.get(name.as_bytes()) }.ok()?;
            Some((library, *entry))
        });
        let (library, entry) =
            found.unwrap_or_else(|| panic!("no kernel `{kernel}`: K_EXPORT is missing"));
        // SAFETY: capi.cc defines `emu_launch` with this signature; every library contains it.
        let run_kernel: Symbol<'_, RunKernel> = unsafe { library.get(b"emu_launch") }.unwrap();
        let mut values = args.to_vec();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(value_pointer).collect();
        let raw = RawLaunch {
            grid: sizes.grid,
            block: sizes.block,
            cluster: sizes.cluster,
            shared_bytes: sizes.smem,
            policy: run.policy as u32,
            truncate: sizes.truncate.into(),
            seed: run.seed,
        };
        reported(|error, bytes| {
            // SAFETY: `pointers` has one pointer per argument, each to a value that outlives the call. That their
            // number and types are the kernel's is the test's duty, as it is for a launch on a GPU.
            unsafe { run_kernel(entry, &raw const raw, pointers.as_mut_ptr(), error, bytes) }
        })
    }

    /// A map of the tensor at `address`: extents innermost first, and for each but the innermost its stride in bytes.
    pub(crate) fn tensor_map(
        &self,
        (dtype, address): (MapType, u64),
        dims: &[u64],
        strides: &[u64],
        sides: &[u32],
        swizzle: Swizzle,
    ) -> Result<TensorMap, String> {
        assert!(strides.len() + 1 == dims.len() && sides.len() == dims.len());
        let library = &self.libraries[0];
        // SAFETY: tma.cc defines `emu_tensor_map` with this signature; every library contains it.
        let encode: Symbol<'_, EncodeTensorMap> =
            unsafe { library.get(b"emu_tensor_map") }.unwrap();
        let mut map = TensorMap([0; 16]);
        let rank = u32::try_from(dims.len()).unwrap();
        reported(|error, bytes| {
            // SAFETY: the slices have `rank` entries, `strides` one less, as asserted above; the address is only
            // kept, and what it points to is read by the launches that get the map.
            unsafe {
                encode(
                    &raw mut map,
                    dtype as c_int,
                    rank,
                    address as *mut c_void,
                    dims.as_ptr(),
                    strides.as_ptr(),
                    sides.as_ptr(),
                    [1; 5].as_ptr(),
                    0,
                    swizzle as c_int,
                    0,
                    0,
                    error,
                    bytes,
                )
            }
        })?;
        Ok(map)
    }
}

/// Seeds 0 to `seeds` under every policy, or the seed that `KERNEL_SEED` names.
pub(crate) fn runs(seeds: u64) -> Vec<Run> {
    let named = env::var("KERNEL_SEED").ok();
    let range = match named.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..seeds,
    };
    let policies = [Policy::Lazy, Policy::Eager, Policy::Random];
    range
        .flat_map(|seed| policies.map(|policy| Run { seed, policy }))
        .collect()
}

/// Runs `case` once per run of [`runs`] and names those that fail.
#[track_caller]
pub(crate) fn each_run(seeds: u64, case: impl Fn(Run) -> Result<(), String> + Sync) {
    let failures: Vec<String> = runs(seeds)
        .into_par_iter()
        .filter_map(|run| case(run).err().map(|problem| format!("{run}: {problem}")))
        .collect();
    assert!(
        failures.is_empty(),
        "{} runs fail, the first is\n{}",
        failures.len(),
        failures[0]
    );
}

fn open(path: &std::path::PathBuf) -> Arc<Library> {
    // SAFETY: the library was built from our own sources a moment ago; it has no initialisers beyond libstdc++'s.
    let library = unsafe { Library::new(path) };
    Arc::new(library.unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn value_pointer(arg: &mut Arg) -> *mut c_void {
    match arg {
        Arg::Pointer(value) => (&raw mut *value).cast(),
        Arg::Int(value) => (&raw mut *value).cast(),
        Arg::Long(value) => (&raw mut *value).cast(),
        Arg::Float(value) => (&raw mut *value).cast(),
        Arg::Map(value) => (&raw mut *value).cast(),
        Arg::Structure(value) => (&raw mut *value).cast(),
    }
}

/// The message that a C function of the emulator left if it returned a failure.
fn reported(call: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), String> {
    let mut text = vec![0_u8; 8192];
    if call(text.as_mut_ptr().cast(), text.len()) == 0 {
        return Ok(());
    }
    let end = text
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(text.len());
    Err(String::from_utf8_lossy(&text[..end]).into_owned())
}
