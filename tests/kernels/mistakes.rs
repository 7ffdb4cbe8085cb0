//! The planted mistakes, each with a case that must fail by it.

use gallop::DType;

use crate::{
    find::expect_found,
    instructions, multicast,
    planted::{BOX, CHAIN, LANES, MULTICAST, NORM, PRODUCT},
    products, rms_norm,
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
fn every_mistake_in_a_cluster_is_found() {
    expect_found("multicast.cu", MULTICAST, multicast::check);
}

#[test]
fn every_mistake_in_a_warp_or_among_warps_is_found() {
    expect_found("instructions.cu", CHAIN, instructions::check_chain);
    expect_found("instructions.cu", LANES, instructions::check_lanes);
}

#[test]
fn every_mistake_with_a_box_is_found() {
    let copied = instructions::plain_box();
    let prepared = copied.prepare();
    expect_found("instructions.cu", BOX, |emulator, run| {
        prepared.check(emulator, run)
    });
}

#[test]
fn every_mistake_with_a_product_is_found() {
    expect_found("instructions.cu", PRODUCT, products::check_plain);
}
