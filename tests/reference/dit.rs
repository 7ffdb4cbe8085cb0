//! The denoising network, its ops, the samplers and whole clips in latent space against the reference's numbers;
//! and its plans as text.

use gallop::{
    cpu::Cpu,
    golden::Suite,
    model::dit::{self, Coordinates, DitConfig, History, Pass, Sequence},
    pipeline::{
        Context, QuantizationPolicy,
        denoise::{InitialLatents, Network, Sampling, denoise},
        networks::NetworkConfig,
    },
    plan::{Grid, Role},
    qualify::relative_l2,
    sampler::Method,
    tensor::LayerFormats,
    weights::{self, Synthetic, Variant, Weights},
};

use crate::{golden_cases, replay, snapshot::snapshot};

const GRID: Grid = Grid {
    frames: 3,
    height: 4,
    width: 6,
};

fn config() -> DitConfig {
    DitConfig {
        num_layers: 2,
        hidden_size: 256,
        num_heads_q: 2,
        num_heads_kv: 1,
        text_in_channels: 96,
        mm_layers: vec![0],
        gelu7_layers: vec![0],
        local_attn_layers: vec![1],
        post_norm_layers: vec![1],
        ..DitConfig::released(vec![])
    }
}

#[test]
fn the_network_matches_the_reference() {
    replay("dit", &["dit_forward"], &Cpu);
}

#[test]
fn ops_and_samplers_match_the_reference() {
    let kinds = [
        "rope",
        "ops",
        "sampler_ddim",
        "sampler_unipc",
        "sampler_sde",
    ];
    replay("dit", &kinds, &Cpu);
}

#[test]
fn whole_clips_match_the_reference() {
    replay("dit", &["end_to_end"], &Cpu);
}

#[test]
fn every_kind_of_case_is_replayed_by_some_test() {
    let tests = [
        include_str!("dit.rs"),
        include_str!("text_encoder.rs"),
        include_str!("video_vae.rs"),
        include_str!("audio_vae.rs"),
        include_str!("media.rs"),
        include_str!("tokenizer.rs"),
    ]
    .concat();
    let suites: Vec<_> = ["dit", "text", "vae"]
        .iter()
        .flat_map(|name| golden_cases::suites(name))
        .collect();
    let kinds: std::collections::BTreeSet<&str> = suites
        .iter()
        .flat_map(|s| s.cases())
        .map(|case| case.kind())
        .collect();
    assert!(kinds.len() >= 20, "{kinds:?}");
    // The tokenizer's two kinds have files of their own, which its test names.
    let by_kind =
        |kind: &&str| tests.contains(&format!("\"{kind}\"")) || kind.starts_with("tokenizer");
    let missing: Vec<_> = kinds.into_iter().filter(|kind| !by_kind(kind)).collect();
    assert!(missing.is_empty(), "no test replays {missing:?}");
}

#[test]
fn the_plans_are_as_recorded() {
    let sequence = Sequence {
        grid: GRID,
        audio: 9,
        text: 5,
    };
    snapshot("dit_forward", &dit::forward(&config(), sequence, 1).0);
    let mut pass = Pass {
        config: config(),
        grid: GRID,
        audio: 9,
        text: vec![5],
        window_radius: 1,
        history: History::Noise,
        updates_audio: true,
        has_image: false,
    };
    snapshot("dit_denoise", &dit::denoise(&pass).0);
    pass.text.push(7);
    pass.history = History::Multistep;
    pass.has_image = true;
    snapshot("dit_denoise_guided", &dit::denoise(&pass).0);
}

#[test]
fn the_published_network_is_the_one_of_the_specification() {
    let config = DitConfig::released(Variant::Sr1080p.published().local_layers);
    let grid = Grid {
        frames: 32,
        height: 68,
        width: 120,
    };
    let sequence = Sequence {
        grid,
        audio: 126,
        text: 320,
    };
    let (plan, _) = dit::forward(&config, sequence, 11);
    // All tensors but the table of frequencies, which the host reads.
    assert_eq!(plan.weights().count(), 330);
    assert_eq!(plan.segments().len(), 40);
    assert_eq!(plan.weight_bytes(), 30_642_008_128 - 16 * 4);
    let flops = plan.total_cost().flops;
    assert!((flops / 3.828e15 - 1.0).abs() < 1e-3, "{flops:e}");
    let specs = plan.handles().map(|buf| plan.spec(buf));
    let whole = specs.filter(|spec| spec.part.is_none() && spec.role != Role::Weight);
    let separate_bytes: usize = whole.map(|spec| spec.bytes().next_multiple_of(256)).sum();
    assert!(plan.arena().bytes < separate_bytes / 20);
}

/// What FP8 costs a whole clip of the golden case, as a multiple of what bf16 costs it; both against the run without
/// rounding, of which the network answers small roundings in proportion.
///
/// Where a layer is FP8 the two sides of its matmul are rounded to 4 bits of significand. In bf16 one of them and the result
/// are rounded to 8 bits, in the same number and to the same effect: an error of a weight is one of the result, as large
/// relative to it. So each place costs at most 2^4 times as much, and bf16's own roundings stay: at most 17 times in all.
/// bf16 rounds in places beside products as well (11 results of a layer against 8 sides), so less is to be expected; but
/// less than 4 times would mean that 15 of 16 parts of the error come from those.
#[test]
fn fp8_costs_what_their_rounding_says() {
    let suites = golden_cases::suites("dit");
    let mut cases = suites.iter().flat_map(Suite::cases);
    let case = cases.find(|case| case.name() == "e2e_distill8").unwrap();
    let tensors = case.tensors().unwrap();
    let given = |label: &str| {
        let tensor = tensors.get(label).unwrap();
        tensor.reshape(&tensor.shape().extents()[1..])
    };
    let start = InitialLatents {
        video: given("in.noise.init_video"),
        audio: given("in.noise.init_audio"),
        text: vec![given("in.context")],
        image: None,
    };
    let sampling = Sampling {
        method: Method::Consistency,
        steps: 8,
        guidance: None,
        updates_audio: true,
    };
    let config: DitConfig = case.field("config").unwrap();
    let required_tensors = NetworkConfig::Dit(config.clone()).required_tensors();
    let latents = |rules: &str, context: &Context<'_>| {
        let policy: QuantizationPolicy = rules.parse().unwrap();
        let formats = policy.resolve(Variant::Distill, &config, &LayerFormats::new());
        let formats = formats.unwrap();
        let seed = case.field("weights_seed").unwrap();
        let weights = Synthetic::new(weights::Architecture::Dit, &required_tensors, seed).unwrap();
        let network = Network {
            config: config.clone(),
            weights: Weights::new(Box::new(weights)).quantized(formats.clone()),
            coordinates: Coordinates::V2,
            window_radius: case.field("frame_receptive_field").unwrap(),
            shift: 5.0,
            formats,
        };
        let draw = |name: &str, _: &[usize]| Ok(given(&format!("in.noise.{name}")));
        denoise(context, &network, &start, &sampling, &draw, &mut |_| Ok(())).unwrap()
    };
    let exact = latents("bf16", &Context::new(&Cpu).in_f32());
    let errors = ["bf16", "fp8"].map(|rules| {
        let got = latents(rules, &Context::new(&Cpu));
        [(&got.video, &exact.video), (&got.audio, &exact.audio)]
            .map(|(got, want)| relative_l2(&got.to_f32(), &want.to_f32()))
    });
    for (part, (bf16, fp8)) in ["video", "audio"]
        .iter()
        .zip(errors[0].iter().zip(errors[1]))
    {
        let ratio = fp8 / bf16;
        println!("{part}: relative error {bf16:.4} in bf16, {fp8:.4} in fp8, {ratio:.1} times");
        assert!((4.0..=17.0).contains(&ratio), "{part}: {ratio}");
    }
}

#[test]
fn a_sequence_that_cannot_be_stretched_is_refused() {
    let sequence = Sequence {
        grid: GRID,
        audio: 9,
        text: 1,
    };
    let bands = dit::BANDS.map(f32::from_bits);
    assert!(sequence.rope_table(Coordinates::V1, &bands).is_err());
    assert!(sequence.rope_table(Coordinates::V2, &bands).is_ok());
}
