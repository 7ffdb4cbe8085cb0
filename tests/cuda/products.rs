//! Products with what follows them in one kernel, and FP8 layers.

use std::sync::Arc;

use gallop::{
    DType::{self, Bf16, E4m3, F32},
    Tensor,
    cpu::Cpu,
    cuda::Cuda,
    executor::{Executor, Prepare},
    plan::{Buf, Builder, Dense, Op, Plan, Role, Scale},
    qualify::{Verdict, compare, relative_l2},
    tensor::Format,
};

use crate::{
    emulate::{Policy, device::Emulated},
    emulated, given, kernels, run_on, step,
};

const ROWS: usize = 140;
const ENDS: [usize; 2] = [9, ROWS];
const K: usize = 64;

fn dense(rows: usize, out: DType) -> Dense {
    Dense {
        rows,
        bias: false,
        weight: Bf16,
        out,
    }
}

/// What `plan` gives fused and not, and its kernels.
fn both(plan: &Plan, out: Buf) -> [(Vec<f32>, Vec<&'static str>); 2] {
    let given = given(plan, 3);
    [true, false].map(|fuse| {
        let how = Prepare {
            fuse,
            ..Prepare::default()
        };
        let device = Arc::new(Emulated::new(Policy::Random, 5));
        let mut program = run_on(&device, plan, &how, &given, 1);
        let values = program.read(out).unwrap().to_f32().into_owned();
        (values, kernels(&*program))
    })
}

/// Checks that the plan that `build` makes runs as `names`, with the bits that single kernels give.
#[track_caller]
fn runs_as(names: &[&str], build: impl Fn(&mut Builder) -> Buf) {
    let mut p = Builder::new();
    let out = build(&mut p);
    if p.spec(out).role == Role::Scratch {
        p.output(out);
    }
    let plan = p.finish();
    let [(fused, together), (unfused, apart)] = both(&plan, out);
    assert_eq!(together, names);
    assert_eq!(apart.len(), plan.steps().len());
    assert_eq!(fused, unfused, "{names:?}");
}

#[test]
fn a_product_takes_in_what_follows_it() {
    let product = |p: &mut Builder, n| {
        let x = p.input("x", [ROWS, K], Bf16);
        p.linear("l", x, &ENDS, dense(n, Bf16))
    };
    runs_as(&["gemm_bf16_swiglu7"], |p| {
        let u = product(p, 80);
        p.swiglu7("a", u, Bf16)
    });
    runs_as(&["gemm_bf16_gelu7"], |p| {
        let u = product(p, 72);
        p.map("a", Op::Gelu7, u, Bf16)
    });
    runs_as(&["gemm_bf16_add"], |p| {
        let z = p.input("z", [ROWS, 72], F32);
        let y = product(p, 72);
        p.add("sum", z, y, F32)
    });
    runs_as(&["gemm_bf16_add"], |p| {
        let z = p.state("z", [ROWS, 72], F32);
        let y = product(p, 72);
        p.at(z).add("", z, y, F32)
    });
}

#[test]
fn a_product_in_8_bits_takes_in_what_follows_it() {
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
fn what_the_kernels_of_products_do_not_do_is_left_to_others() {
    let product = |p: &mut Builder, out| {
        let x = p.state("x", [ROWS, K], Bf16);
        (x, p.linear("l", x, &ENDS, dense(K, out)))
    };
    runs_as(&["gemm_bf16", "add_bf16_bf16"], |p| {
        let (_, y) = product(p, Bf16);
        p.add("twice", y, y, Bf16)
    });
    runs_as(&["gemm_bf16", "add_bf16_bf16"], |p| {
        let (x, y) = product(p, Bf16);
        p.add("sum", x, y, Bf16)
    });
    runs_as(&["gemm_bf16_f32", "add_f32_f32"], |p| {
        let (_, y) = product(p, F32);
        let z = p.input("z", [ROWS, K], F32);
        p.add("sum", z, y, F32)
    });
    runs_as(&["gemm_bf16", "add_f32_bf16"], |p| {
        let (_, y) = product(p, Bf16);
        p.output(y);
        let z = p.input("z", [ROWS, K], F32);
        p.add("sum", z, y, F32)
    });
    runs_as(&["gemm_bf16_gelu7", "quantize_bf16"], |p| {
        let (_, y) = product(p, Bf16);
        let a = p.map("a", Op::Gelu7, y, Bf16);
        p.quantize("q", a, Scale::Fixed(64.0))
    });
    // The result goes where blocks of the product still read.
    runs_as(&["gemm_bf16", "gelu7_bf16"], |p| {
        let (x, y) = product(p, Bf16);
        p.at(x).map("", Op::Gelu7, y, Bf16)
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
fn two_steps_in_8_bits_are_as_near_to_no_rounding_as_on_the_cpu() {
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
