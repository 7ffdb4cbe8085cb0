//! `kernels/common/norm_silu.cu`: rows that share a warp and rows that fill it.

use gallop::{
    DType::Bf16,
    plan::{Builder, Norm, Op},
};

use crate::{
    emulate::{Emulator, each_run},
    execute::execute,
    random::Random,
    run::random_tensors,
    tolerance::expected,
};

/// These kernels wait for nothing but each other's threads; few orders of them are enough.
const SEEDS: u64 = 2;

#[test]
fn norms_are_rounded_in_front_of_the_activation() {
    for (kernel, activation) in [
        ("rms_silu_bf16", Op::Silu),
        ("rms_relu_bf16", Op::Relu),
        ("l2_silu_bf16", Op::Silu),
    ] {
        for (rows, cols) in [(1, 8), (67, 24), (9, 64), (5, 128), (3, 512), (2, 1000)] {
            let mut p = Builder::new();
            let x = p.input("x", [1, rows, 1, cols], Bf16);
            let normed = if kernel.starts_with("rms") {
                let norm = Norm {
                    width: cols,
                    eps: 1e-8,
                    weight: None,
                    out: Bf16,
                };
                p.rms_norm("norm", x, &[rows], norm)
            } else {
                p.l2_norm("norm", x, &[cols, 1, 1], 1e-12, Bf16)
            };
            let y = p.map("y", activation.clone(), normed, Bf16);
            p.output(y);
            let plan = p.finish();
            let tensors = random_tensors(&plan, &mut Random::new(cols as u64));
            let expected = expected(&plan, y, &tensors);
            each_run(SEEDS, |run| {
                let (got, kernels) = execute(&plan, y, &tensors, Emulator::load(), run)?;
                assert_eq!(kernels, [kernel]);
                expected.check(&got)
            });
        }
    }
}
