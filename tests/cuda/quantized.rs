//! GEMMs with epilogues, and FP8 layers.

use std::sync::Arc;

use gallop::{
    DType::{Bf16, E4m3, F32},
    Tensor,
    cpu::Cpu,
    cuda::Cuda,
    executor::{Executor, Prepare},
    plan::{Buf, Builder, Norm, Op, Plan, Scale},
    qualify::{Verdict, cases::TESTS, compare, relative_l2},
    tensor::Format,
};

use crate::{
    emulate::{Policy, device::Emulated},
    gemm_epilogue::{ENDS, K, ROWS, runs_as},
    harness::{emulated, given, kernels, run_on, step},
};

#[test]
fn what_ends_in_8_bits_is_one_kernel_and_the_same_bits_as_several() {
    let mut names = Vec::new();
    for (seed, case) in TESTS.iter().enumerate() {
        let (plan, outputs) = case.plan();
        if plan.steps().len() == 1 || plan.spec(*outputs.last().unwrap()).dtype == Bf16 {
            continue;
        }
        let given = given(&plan, seed as u64);
        let results = [true, false].map(|fuse| {
            let how = Prepare {
                fuse,
                ..Prepare::default()
            };
            let device = Arc::new(Emulated::new(Policy::Random, seed as u64));
            let mut program = run_on(&device, &plan, &how, &given, 1);
            let read = |&buf: &Buf| program.read(buf).unwrap().to_f32().into_owned();
            let values: Vec<Vec<f32>> = outputs.iter().map(read).collect();
            (values, kernels(&*program))
        });
        let [(fused, together), (unfused, apart)] = results;
        assert_eq!(apart.len(), plan.steps().len(), "{case:?}");
        assert_eq!(fused, unfused, "{case:?}");
        let [name] = together[..] else {
            panic!("{case:?}: {together:?}");
        };
        names.push(name);
    }
    let want = [
        "row_scale_quantize_bf16",
        "row_scale_quantize_wide_f32",
        "rms_norm_quantize_f32",
        "rms_norm_quantize_bf16",
        "add_rms_norm_quantize_bf16",
        "add_rms_norm_quantize_f32",
        "swiglu7_e4m3",
        "gelu7_e4m3",
    ];
    assert_eq!(names, want);
}

#[test]
fn a_norm_that_somebody_else_reads_is_stored_beside_its_8_bits() {
    let mut p = Builder::new();
    let x = p.input("x", [3, 64], F32);
    let norm = Norm {
        width: 64,
        eps: 1e-6,
        weight: Some(F32),
        out: Bf16,
    };
    let normed = p.rms_norm("norm", x, &[3], norm);
    let scales = p.row_scale("scale", normed);
    let q = p.quantize("q", normed, Scale::Rows(scales));
    let copy = p.map("copy", Op::Copy, normed, F32);
    for buf in [scales, q, copy] {
        p.output(buf);
    }
    let plan = p.finish();
    let device = Arc::new(Emulated::new(Policy::Eager, 0));
    let program = run_on(&device, &plan, &Prepare::default(), &given(&plan, 5), 1);
    let want = [
        "rms_norm_heads_f32",
        "row_scale_quantize_bf16",
        "copy_bf16_f32",
    ];
    assert_eq!(kernels(&*program), want);
}

#[test]
fn an_fp8_gemm_fuses_what_follows_it() {
    let product = |p: &mut Builder, n| {
        let x = p.input("x", [ROWS, K], E4m3);
        let s = p.input("s", [1, ROWS], F32);
        p.scaled_linear("l", x, Scale::Rows(s), &ENDS, (n, Bf16))
    };
    let fixed = Scale::Fixed(8.0);
    runs_as(&["gemm_fp8"], |p| product(p, 72));
    runs_as(&["gemm_fp8_swiglu7"], |p| {
        let u = product(p, 80);
        p.swiglu7("a", u, Bf16)
    });
    runs_as(&["gemm_fp8_gelu7_e4m3"], |p| {
        let u = product(p, 72);
        let a = p.map("a", Op::Gelu7, u, Bf16);
        p.quantize("q", a, fixed)
    });
    runs_as(&["gemm_fp8_swiglu7_e4m3", "gemm_fp8_add"], |p| {
        let u = product(p, 80);
        let a = p.swiglu7("a", u, Bf16);
        let q = p.quantize("q", a, fixed);
        let z = p.input("z", [ROWS, 72], F32);
        let y = p.scaled_linear("down", q, fixed, &ENDS, (72, Bf16));
        p.add("sum", z, y, F32)
    });
}

#[test]
fn every_op_of_a_step_in_8_bits_is_within_the_cost_of_rounding() {
    let plan = step().quantized(|_| Format::FP8);
    let (weights, inputs) = given(&plan, 1);
    let checks = compare(&plan, &weights, &inputs, &emulated(Policy::Random, 7)).unwrap();
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict() == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn two_steps_in_fp8_are_as_near_to_no_rounding_as_on_the_cpu() {
    let plan = step().quantized(|_| Format::FP8);
    let given = given(&plan, 7);
    let latents = |executor: &dyn Executor, plan: &Plan, fuse: bool| {
        let how = Prepare {
            fuse,
            ..Prepare::default()
        };
        let mut program = executor.load_and_prepare(plan, &given.0, &how).unwrap();
        for (buf, value) in &given.1 {
            program.write(*buf, value).unwrap();
        }
        (0..2).for_each(|_| program.run().unwrap());
        let read = |label| program.read(plan.find(label).unwrap()).unwrap();
        let values = ["latent.video", "latent.audio"].map(read);
        (values, kernels(&*program))
    };
    let cuda = Cuda::new(Arc::new(Emulated::new(Policy::Random, 11)));
    let (want, _) = latents(&Cpu, &plan.in_f32(), true);
    let (near, _) = latents(&Cpu, &plan, true);
    let (fused, together) = latents(&cuda, &plan, true);
    let (unfused, _) = latents(&cuda, &plan, false);
    let all = want.iter().zip(&near).zip(fused.iter().zip(&unfused));
    for ((want, near), (fused, unfused)) in all {
        let [want, near, fused, unfused] = [want, near, fused, unfused].map(Tensor::to_f32);
        let rounding = relative_l2(&near, &want);
        for got in [fused, unfused] {
            let error = relative_l2(&got, &want);
            println!("off by {error:.2e}, the CPU by {rounding:.2e}");
            assert!(rounding > 0.0 && error <= 1.5 * rounding);
        }
    }
    let count = |name: &str| together.iter().filter(|n| **n == name).count();
    // Two conditions: a layer of each activation, both sums of the layer without norms behind its parts, q, k and v of both
    // layers and what those norms read.
    assert_eq!(count("gemm_fp8_gelu7_e4m3"), 2, "{together:?}");
    assert_eq!(count("gemm_fp8_swiglu7_e4m3"), 2);
    assert_eq!(count("gemm_fp8_add"), 4);
    assert_eq!(count("gemm_fp8"), 8);
}
