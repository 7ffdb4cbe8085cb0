//! The emulated instructions against what `gallop::qualify` expects of them; a GPU is asked the same.

use gallop::qualify::instructions::{InstructionCase, Kept, cases, kept_bits};

use crate::{
    SEEDS,
    emulate::{Emulator, MapType, Memory, Policy, Run, Swizzle, device::Emulated, each_run},
};

/// Runs one case as `run` says.
pub(crate) fn check(
    case: &InstructionCase,
    emulator: &'static Emulator,
    run: Run,
) -> Result<(), String> {
    let device = Emulated::new(run.policy, run.seed).with_kernels(emulator.clone());
    case.check(&device).map_err(|e| e.to_string())
}

/// The cases whose names begin so.
pub(crate) fn named(start: &str) -> Vec<InstructionCase> {
    let named: Vec<InstructionCase> = cases()
        .into_iter()
        .filter(|case| case.name.starts_with(start))
        .collect();
    assert!(!named.is_empty(), "no case is called {start}");
    named
}

#[test]
fn single_instructions_do_what_they_should() {
    for case in cases() {
        each_run(SEEDS, |run| {
            check(&case, Emulator::load(), run).map_err(|e| format!("{}: {e}", case.name))
        });
    }
}

/// f32 keeps 23 bits below the largest; the emulator's other way of summing 13, as the hardware is reported to.
#[test]
fn the_bits_that_8_bit_sums_keep_are_counted() {
    for (truncates, bits) in [(false, 23), (true, 13)] {
        let device = Emulated::new(Policy::Eager, 0);
        let device = if truncates {
            device.truncating()
        } else {
            device
        };
        let kept = kept_bits(&device).unwrap();
        assert_eq!(kept.len(), 6);
        let is_right = |kept: &Kept| kept.bits == bits;
        assert!(kept.iter().all(is_right), "{truncates}: {kept:?}");
    }
}

#[test]
fn tensor_maps_that_the_driver_would_refuse_are_refused() {
    let memory = Memory::poisoned(65_536);
    let encode = |offset: u64, dims: &[u64], strides: &[u64], sides: &[u32], swizzle| {
        let tensor = (MapType::Bf16, memory.address() + offset);
        Emulator::load()
            .tensor_map(tensor, dims, strides, sides, swizzle)
            .map(|_| ())
    };
    encode(0, &[64, 64], &[128], &[64, 64], Swizzle::B128).unwrap();
    for (problem, result) in [
        (
            "aligned",
            encode(8, &[64, 64], &[128], &[64, 64], Swizzle::B128),
        ),
        (
            "multiple of 16 bytes below",
            encode(0, &[64, 64], &[136], &[64, 64], Swizzle::B128),
        ),
        (
            "wider than the swizzle",
            encode(0, &[256, 64], &[512], &[128, 64], Swizzle::B128),
        ),
        (
            "wider than the swizzle",
            encode(0, &[64, 64], &[128], &[64, 64], Swizzle::B64),
        ),
        (
            "1 to 256",
            encode(0, &[64, 512], &[128], &[64, 257], Swizzle::None),
        ),
        (
            "row of the box",
            encode(0, &[64, 64], &[128], &[4, 64], Swizzle::None),
        ),
        (
            "extent",
            encode(0, &[64, 0], &[128], &[64, 64], Swizzle::None),
        ),
    ] {
        let message = result.unwrap_err();
        assert!(message.contains(problem), "{message}, expected {problem}");
    }
}
