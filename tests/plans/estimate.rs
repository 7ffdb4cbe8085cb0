//! What plans say about the published model: the figures of its tables.

use std::time::Instant;

use gallop::{
    Result,
    device::needs,
    inspect::estimate::{Estimate, GpuSpec, Machine, ResidencyPlan, Scenario, estimate, stages},
    pipeline::{
        QuantizationPolicy, Stage,
        networks::{ModelConfigs, NetworkConfig},
        request::{BaseVariant, Request, Size, VideoDecoder, resolve},
    },
    weights::{Component, Variant},
};

fn published(size: Size, policy: &str, gpu: &str) -> Estimate {
    let networks = ModelConfigs::published();
    let request = Request {
        size: Some(size),
        seconds: Some(5.0),
        seed: Some(0),
        ..Request::default()
    };
    let job = resolve(&request, networks.defaults, None).unwrap();
    let scenario = Scenario {
        text_tokens: 320,
        variant: BaseVariant::Distill,
        steps: None,
        decoder: VideoDecoder::Turbo,
        policy: policy.parse().unwrap(),
    };
    let work = stages(&networks, &job, &scenario).unwrap();
    estimate(&work, Machine::Gpu(GpuSpec::named(gpu).unwrap()), &needs)
}

/// `value` within 0.5 % of `table`.
#[track_caller]
fn assert_close(value: f64, table: f64) {
    assert!(
        (value / table - 1.0).abs() < 0.005,
        "{value:.4e}, not {table:.4e}"
    );
}

fn flops_of_a_run(estimate: &Estimate, stage: Stage) -> f64 {
    let found = estimate.stages.iter().find(|s| s.stage == stage).unwrap();
    found.flops / found.runs as f64
}

#[test]
fn arithmetic_is_that_of_the_published_tables() {
    let start = Instant::now();
    let table = [
        (Size::P256, None, 65.4e12),
        (Size::P540, Some(5.017e14), 261.5e12),
        (Size::P1080, Some(3.828e15), 1191e12),
    ];
    for (size, sr, decode) in table {
        let estimate = published(size, "bf16", "h100");
        assert_close(flops_of_a_run(&estimate, Stage::Base), 1.013e14);
        if let Some(sr) = sr {
            assert_close(flops_of_a_run(&estimate, Stage::SuperResolution), sr);
        }
        let decoded = estimate
            .stages
            .iter()
            .find(|s| s.stage == Stage::DecodeVideo)
            .unwrap();
        assert_close(decoded.flops, decode);
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn weights_have_the_published_number_and_bytes() {
    let required_tensors =
        NetworkConfig::published(Component::Dit(Variant::Base)).required_tensors();
    let parameters: usize = required_tensors.iter().map(|want| want.shape.count()).sum();
    assert_eq!(parameters, 15_299_419_152);
    let bytes: usize = required_tensors
        .iter()
        .map(|want| want.shape.count() * want.dtype.size())
        .sum();
    assert_eq!(bytes, 30_642_008_128);

    let text = NetworkConfig::published(Component::TextEncoder).required_tensors();
    let bytes: usize = text
        .iter()
        .map(|want| want.shape.count() * want.dtype.size())
        .sum();
    assert_eq!((text.len(), bytes), (464, 18_483_411_968));
}

#[test]
fn times_are_near_those_expected_of_good_kernels() {
    let seconds = |estimate: &Estimate, stage| {
        let stage = estimate.stages.iter().find(|s| s.stage == stage).unwrap();
        stage.resident_seconds
    };
    let bf16 = published(Size::P1080, "bf16", "h100");
    assert!(
        (27.0..31.0).contains(&seconds(&bf16, Stage::SuperResolution)),
        "{bf16:#?}"
    );
    assert!(
        (1.1..1.9).contains(&seconds(&bf16, Stage::Base)),
        "{bf16:#?}"
    );
    assert!(
        (2.2..3.2).contains(&seconds(&bf16, Stage::DecodeVideo)),
        "{bf16:#?}"
    );
    let fp8 = published(Size::P1080, "fp8", "h100");
    assert!(seconds(&fp8, Stage::SuperResolution) < seconds(&bf16, Stage::SuperResolution));
}

#[test]
fn what_does_not_fit_is_staged_then_streamed_then_refused() {
    let how = |size, weights, gpu| published(size, weights, gpu).residency;
    assert_eq!(
        how(Size::P1080, "bf16", "h200"),
        Some(ResidencyPlan::Resident)
    );
    assert_eq!(
        how(Size::P1080, "bf16", "h100"),
        Some(ResidencyPlan::Staged)
    );
    assert_eq!(
        how(Size::P256, "bf16", "rtx4090"),
        Some(ResidencyPlan::Streamed)
    );
    assert_eq!(
        how(Size::P256, "fp8", "rtx4090"),
        Some(ResidencyPlan::Staged)
    );
    let mut small = GpuSpec::named("rtx4090").unwrap();
    small.memory_bytes = 2 << 30;
    let estimate = guided(Size::P256, &small).unwrap();
    assert_eq!(estimate.residency, None);
    let base = estimate
        .stages
        .iter()
        .find(|s| s.stage == Stage::Base)
        .unwrap();
    assert_eq!((base.runs, base.tokens.len()), (3, 2));
}

/// Three guided steps and the full decoder.
fn guided(size: Size, gpu: &GpuSpec) -> Result<Estimate> {
    let networks = ModelConfigs::published();
    let request = Request {
        size: Some(size),
        ..Request::default()
    };
    let job = resolve(&request, networks.defaults, None)?;
    let scenario = Scenario {
        text_tokens: 320,
        variant: BaseVariant::Base,
        steps: Some(3),
        decoder: VideoDecoder::Wan,
        policy: QuantizationPolicy::default(),
    };
    let work = stages(&networks, &job, &scenario)?;
    Ok(estimate(&work, Machine::Gpu(gpu.clone()), &needs))
}

#[test]
fn what_no_kernel_can_run_is_named() {
    let all = guided(Size::P1080, &GpuSpec::named("h200").unwrap()).unwrap();
    let [refusal] = &all.refusals[..] else {
        panic!("one op is too large: {:?}", all.refusals);
    };
    assert!(
        refusal.contains(" at ") && refusal.contains("more than kernels count to"),
        "{refusal}"
    );
    assert_eq!(all.residency, None);
    // What it would take is said all the same: more than any GPU has.
    assert!(all.peak_bytes(ResidencyPlan::Streamed) > 100 << 30);
}

#[test]
fn the_published_preset_fits_gpus_of_80_and_48_gigabytes() {
    for (weights, gigabytes) in [("bf16", 80), ("fp8", 48)] {
        let estimate = published(Size::P1080, weights, "h100");
        let staged = estimate.peak_bytes(ResidencyPlan::Staged);
        println!("{weights}: {:.1} GB", staged as f64 / 1e9);
        // The driver, the kernels and the graphs have the rest.
        assert!(
            staged + (2 << 30) < gigabytes * 1_000_000_000,
            "{estimate:#?}"
        );
    }
    // Streamed, both fit the smallest GPU that is named here.
    let estimate = published(Size::P1080, "bf16", "rtx4090");
    assert_eq!(estimate.residency, Some(ResidencyPlan::Streamed));
}
