//! Plans of the video autoencoders: their text at tiny sizes against snapshots (`UPDATE=1` rewrites them), their
//! tensors and their work at the published sizes against the published figures.

use std::collections::BTreeSet;

use gallop::{
    executor::required_tensors,
    model::video_vae::{
        Chunks, TurboConfig, VaePrecision, WanConfig,
        turbo::{self, CallShape},
        wan_decoder, wan_encoder,
    },
    plan::Plan,
};

use crate::snapshot::snapshot;

/// Number of tensors and of elements that the plans ask for together.
fn tensors(plans: &[&Plan]) -> (usize, usize) {
    let all: BTreeSet<(String, usize)> = plans
        .iter()
        .flat_map(|plan| required_tensors(plan))
        .map(|want| (want.name, want.shape.count()))
        .collect();
    (all.len(), all.iter().map(|(_, count)| count).sum())
}

fn call(frames: usize, height: usize, width: usize, first: bool) -> CallShape {
    CallShape {
        frames,
        height,
        width,
        first,
    }
}

#[test]
fn turbo_plan_is_as_recorded() {
    let config = TurboConfig {
        widths: vec![32, 16, 8, 8],
        ..TurboConfig::published()
    };
    let (plan, _) = turbo::decoder_call(&config, VaePrecision::BF16, call(3, 2, 2, true));
    snapshot("turbo_small", &plan);
}

#[test]
fn wan_encoder_plan_is_as_recorded() {
    let config = WanConfig {
        dim: 8,
        ..WanConfig::published()
    };
    let (plan, _) = wan_encoder::encode(&config, VaePrecision::BF16, 5, 32, 32);
    snapshot("wan_encoder_small", &plan);
}

#[test]
fn published_networks_have_their_tensors() {
    let config = TurboConfig::published();
    let (turbo, _) = turbo::decoder_call(&config, VaePrecision::BF16, call(8, 2, 2, true));
    assert_eq!(tensors(&[&turbo]), (80, 107_122_892));
    let config = WanConfig::published();
    let (encoder, _) = wan_encoder::encode(&config, VaePrecision::BF16, 5, 32, 32);
    let (decoder, _) = wan_decoder::decode(&config, VaePrecision::BF16, 2, 2, 2);
    assert_eq!(tensors(&[&encoder, &decoder]), (196, 704_688_668));
    // A single picture needs no tensor in time.
    let (picture, _) = wan_encoder::encode(&config, VaePrecision::BF16, 1, 32, 32);
    assert_eq!(tensors(&[&encoder]).0 - tensors(&[&picture]).0, 4);
}

/// FLOPs of 5 seconds at 448x256, within half a unit of the published figure's last digit.
#[test]
fn published_networks_cost_what_is_published() {
    let near = |got: f64, tera: f64, digit: f64| {
        let got = got / 1e12;
        assert!(
            (got - tera).abs() <= digit / 2.0,
            "{got} TFLOP, published {tera}"
        );
    };
    let config = TurboConfig::published();
    let calls = Chunks::new(&config, 32).calls;
    let all = calls.iter().map(|c| {
        let shape = call(c.latents.len(), 16, 28, c.first);
        let (plan, _) = turbo::decoder_call(&config, VaePrecision::BF16, shape);
        plan.total_cost().flops
    });
    near(all.sum(), 65.4, 0.1);
    let config = WanConfig::published();
    let (encoder, _) = wan_encoder::encode(&config, VaePrecision::BF16, 1, 256, 448);
    near(encoder.total_cost().flops, 0.53, 0.01);
    let (decoder, _) = wan_decoder::decode(&config, VaePrecision::BF16, 32, 16, 28);
    near(decoder.total_cost().flops, 264.0, 1.0);
}
