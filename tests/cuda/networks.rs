//! The text encoder and the autoencoders on the emulator, against the reference's numbers.

use std::time::Instant;

use gallop::{
    cpu::Cpu,
    executor::{Executor, Prepare},
    golden,
    model::video_vae::{
        Ports, TurboConfig, VaePrecision, WanConfig,
        turbo::{self, CallShape},
        wan_decoder,
    },
    plan::Plan,
    qualify::{Verdict, relative_l2},
};

use crate::{
    emulate::Policy,
    golden_cases,
    harness::{Unfused, emulated, given, kernels},
};

/// Replays the first case called `name`, and says how long that took.
fn replay(suite: &str, name: &str, policy: Policy) {
    let suites = golden_cases::suites(suite);
    let mut cases = suites.iter().flat_map(golden::Suite::cases);
    let Some(case) = cases.find(|case| case.name() == name && golden_cases::is_here(case)) else {
        println!("{name}: not run, its file is not here");
        return;
    };
    let start = Instant::now();
    let checks = golden::run(&case, &emulated(policy, 1)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let worst = checks.iter().map(|c| c.ratio()).fold(0.0, f64::max);
    println!(
        "{name}: {} checks in {:.2} s, largest error {worst:.2} of what is allowed",
        checks.len(),
        start.elapsed().as_secs_f64()
    );
    let outputs = ["output", "wave", "mean", "features"];
    let is_output = |what: &str| outputs.iter().any(|output| what.starts_with(output));
    assert!(
        checks.iter().any(|check| is_output(&check.what)),
        "{checks:?}"
    );
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict() == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{name}: {failed:#?}");
}

#[test]
fn the_text_encoder_matches_the_reference() {
    replay("text", "enc_c_padded_batch", Policy::Random);
}

#[test]
fn the_fast_video_decoder_matches_the_reference() {
    replay("vae", "turbo_small_t1", Policy::Lazy);
}

/// The kernels that ran, with fusion on and off; in both cases the result is as near to no rounding as the
/// CPU's is.
fn as_near_as_on_the_cpu((plan, ports): (Plan, Ports)) -> [Vec<&'static str>; 2] {
    let (weights, inputs) = given(&plan, 8);
    let run = |executor: &dyn Executor, plan: &Plan| {
        let program = executor.load_and_prepare(plan, &weights, &Prepare::default());
        let mut program = program.unwrap();
        program.write(ports.input, &inputs[0].1).unwrap();
        program.run().unwrap();
        (program.read(ports.output).unwrap(), kernels(&*program))
    };
    let (want, _) = run(&Cpu, &plan.in_f32());
    let (near, _) = run(&Cpu, &plan);
    let rounding = relative_l2(&near.to_f32(), &want.to_f32());
    let fused = run(&emulated(Policy::Random, 12), &plan);
    let apart = run(&Unfused(emulated(Policy::Eager, 13)), &plan);
    [fused, apart].map(|(got, names)| {
        let error = relative_l2(&got.to_f32(), &want.to_f32());
        println!("off by {error:.2e}, the CPU by {rounding:.2e}");
        assert!(rounding > 0.0 && error <= 1.5 * rounding);
        names
    })
}

#[test]
fn the_fast_video_decoder_is_products_and_little_else() {
    let config = TurboConfig {
        widths: vec![128, 72, 64, 16],
        layers: vec![1; 4],
        mid_layers: 1,
        ..TurboConfig::published()
    };
    let shape = CallShape {
        frames: 2,
        height: 1,
        width: 1,
        first: true,
    };
    let made = turbo::decoder_call(&config, VaePrecision::BF16, shape);
    let ops = |name: &str| {
        let steps = made.0.steps().iter();
        steps.filter(|step| step.op.name() == name).count()
    };
    let second = made.0.steps().iter().filter(|step| {
        let label = &made.0.spec(step.writes).label;
        label.ends_with("act2")
    });
    let second = second.count();
    let (convs, doubled, silus, relus) = (
        ops("conv3d"),
        ops("upsample_nearest"),
        ops("silu"),
        ops("relu"),
    );
    let [fused, apart] = as_near_as_on_the_cpu(made);
    let count = |name: &str| fused.iter().filter(|other| **other == name).count();
    assert_eq!(count("conv3d_doubled_bf16"), doubled);
    assert_eq!(count("conv3d_pack_bf16"), convs - doubled);
    assert_eq!(
        (count("rms_silu_bf16"), count("rms_relu_bf16")),
        (silus - second, relus),
        "the second activation of a residual block follows its first convolution"
    );
    // The norm of a shortcut has no activation; every sum follows a convolution.
    let shortcuts = config.widths.len() - 1;
    assert_eq!(count("rms_norm_heads_bf16"), shortcuts);
    assert!(!fused.iter().any(|name| name.starts_with("add")));
    assert!(fused.len() < apart.len() && !apart.contains(&"conv3d_bf16"));
}

#[test]
fn the_video_decoder_is_products_too() {
    let case = golden_cases::suites("vae");
    let mut cases = case.iter().flat_map(golden::Suite::cases);
    let case = cases.find(|case| case.name() == "wan_dec_small_t1");
    let config: WanConfig = case.unwrap().field("config").unwrap();
    let made = wan_decoder::decode(&config, VaePrecision::BF16, 2, 1, 1);
    let [fused, apart] = as_near_as_on_the_cpu(made);
    assert!(fused.contains(&"l2_silu_bf16") && fused.contains(&"conv3d_doubled_bf16"));
    assert!(fused.len() < apart.len() && !apart.contains(&"conv3d_bf16"));
}

#[test]
fn the_video_encoder_matches_the_reference() {
    replay("vae", "wan_enc_small_1f", Policy::Random);
}

#[test]
fn the_video_decoder_matches_the_reference() {
    replay("vae", "wan_dec_small_t1", Policy::Eager);
}

#[test]
fn the_sound_decoder_matches_the_reference() {
    replay("vae", "oob_dec_small_l1", Policy::Lazy);
}

#[test]
fn the_sound_encoder_matches_the_reference() {
    replay("vae", "oob_enc_small_l4", Policy::Random);
}
