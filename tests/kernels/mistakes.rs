//! The planted mistakes, each with a case that must fail by it.

use gallop::DType;

use crate::{
    conformance,
    find::expect_found,
    planted::{BOX, CHAIN, LANES, MULTICAST, NORM, PHASES, PRODUCT},
    rms_norm,
};

#[test]
fn every_mistake_in_the_norm_is_found() {
    let case = rms_norm::Case {
        x: DType::Bf16,
        rows: 3,
        runs: 1,
        cols: 2056,
        ends: &[1, 3],
    };
    let prepared = case.prepare();
    expect_found("rms_norm.cu", NORM, |emulator, run| {
        prepared.check(emulator, run)
    });
}

#[test]
fn every_mistake_with_single_instructions_is_found() {
    for (file, mistakes, case) in [
        ("conformance.cu", MULTICAST, "clusters/"),
        ("conformance.cu", CHAIN, "barriers/named"),
        ("conformance.cu", PHASES, "barriers/mbarriers"),
        ("conformance.cu", LANES, "warps/lanes"),
        ("conformance.cu", BOX, "boxes/[64, 64] at [0, 2]"),
        (
            "conformance_wgmma.cu",
            PRODUCT,
            "products/bf16_nn 64x64x64 by swizzles [128",
        ),
    ] {
        let case = &conformance::named(case)[0];
        expect_found(file, mistakes, |emulator, run| {
            conformance::check(case, emulator, run)
        });
    }
}
