//! The measurement of kernels, at sizes that the emulator can run and on its clock.

use std::{mem::take, sync::Arc};

use gallop::{
    executor::Cancel,
    inspect::rates::{Rate, RateShapes, RateTarget, measure},
    plan::Grid,
    qualify::cases::TESTS,
};

use crate::{
    emulate::{Policy, device::Emulated},
    gemm_backend::Host,
};

const SIZES: RateShapes = RateShapes {
    rows: &[70],
    gemms: &[("small", 40, 72)],
    grids: &[Grid {
        frames: 2,
        height: 4,
        width: 6,
    }],
    beside: [3, 5],
    heads: 2,
    row_cases: TESTS.split_at(2).0,
    convolutions: &[[8, 2, 3, 4]],
    copy_bytes: 8192,
    flush_bytes: 4096,
    runs: 2,
};

#[test]
fn every_kernel_is_measured_alone_and_failures_stop_nothing() {
    let mut rates: Vec<Rate> = Vec::new();
    let mut failures = Vec::new();
    let mut measured = |library: bool| {
        let target = RateTarget {
            device: Arc::new(Emulated::new(Policy::Eager, 1)),
            library: library.then(|| Arc::new(Host::of_bf16()) as _),
        };
        measure(
            &target,
            &SIZES,
            "",
            &Cancel::default(),
            &mut |name, rate| {
                match rate {
                    Ok(rate) => rates.push(rate),
                    Err(error) => failures.push(format!("{name}: {error}")),
                }
                Ok(())
            },
        )
        .unwrap();
        (take(&mut rates), take(&mut failures))
    };
    let (own, failed) = measured(false);
    assert!(failed.is_empty(), "{failed:?}");
    for (rate, kernels) in [
        ("gemm/small 70x40x72, own bf16", "gemm_bf16"),
        ("gemm/small 70x40x72, own fp8", "gemm_fp8"),
        ("attention/local of 20 tokens", "attention_bf16"),
    ] {
        let rate = own.iter().find(|r| r.name == rate).unwrap();
        assert!(
            rate.kernels.iter().any(|k| k.starts_with(kernels)),
            "{rate:?}"
        );
        assert!(
            rate.runs == 2 && (1.0..1.1).contains(&rate.median_ms),
            "{rate:?}"
        );
        assert!(rate.flops > 0.0 && rate.floor_ms > 0.0, "{rate:?}");
    }
    assert_eq!(
        own.iter().filter(|r| r.name.starts_with("copy/")).count(),
        4
    );
    assert_eq!(own.len(), 2 + 2 + 2 + 1 + 4);
    let (both, failed) = measured(true);
    assert_eq!(both.len(), own.len() + 1);
    // The library knows no fp8.
    assert!(
        failed.len() == 2 && failed[0].contains("fp8") && failed[0].ends_with("refused"),
        "{failed:?}"
    );
}
