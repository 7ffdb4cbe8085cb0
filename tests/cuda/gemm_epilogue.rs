//! GEMMs with what follows them in one kernel.

use std::sync::Arc;

use gallop::{
    DType::{self, Bf16, F32},
    executor::Prepare,
    plan::{Buf, Builder, Dense, Op, Plan, Role, Scale},
};

use crate::{
    emulate::{Policy, device::Emulated},
    harness::{given, kernels, run_on},
};

pub(crate) const ROWS: usize = 140;
pub(crate) const ENDS: [usize; 2] = [9, ROWS];
pub(crate) const K: usize = 64;

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
pub(crate) fn runs_as(names: &[&str], build: impl Fn(&mut Builder) -> Buf) {
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
