//! The video autoencoders and the stages that run them, against the reference's numbers.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gallop::{
    Error, Result, Tensor,
    cpu::Cpu,
    executor::{Executor, Loaded, Needs, Prepare, Program, required_tensors},
    golden::Suite,
    media::to_u8,
    model::video_vae::{
        Chunks, DecoderCall, TurboConfig, VaePrecision, WanConfig, statistics,
        turbo::{self, CallShape},
        wan_decoder, wan_encoder,
    },
    pipeline::{
        Context,
        decode::{decode_video, decode_wan},
        image::encode_image,
    },
    plan::{Plan, TensorList},
    qualify::relative_l2,
    weights::{Architecture, Synthetic, Weights},
};

use crate::{golden_cases, replay};

#[test]
fn turbo_decoder_matches_the_reference() {
    replay(
        "vae",
        &["turbo_vaed.decode", "turbo_vaed.decoder_call"],
        &Cpu,
    );
}

#[test]
fn wan_encoder_matches_the_reference() {
    replay("vae", &["wan22.encode"], &Cpu);
}

#[test]
fn wan_decoder_matches_the_reference() {
    replay("vae", &["wan22.decode"], &Cpu);
}

/// The published precision's limits and the reference of a case, and its configuration.
struct Small {
    input: Tensor,
    want: Vec<f32>,
    config: serde_json::Value,
    seed: u64,
    relative: f64,
}

fn small(name: &str, input: &str) -> Small {
    let suites = golden_cases::suites("vae");
    let mut cases = suites.iter().flat_map(Suite::cases);
    let case = cases
        .find(|case| case.name() == name && golden_cases::is_here(case))
        .unwrap();
    let tensors = case.tensors().unwrap();
    let input = tensors.get(input).unwrap();
    Small {
        input: input.reshape(&input.shape().extents()[1..]),
        want: tensors.get("ref64").unwrap().to_f32().into_owned(),
        config: case.field("config").unwrap(),
        seed: case.field("weights_seed").unwrap(),
        relative: 1.5 * case.number(&["errors", "up_vs_ref64_rel"]).unwrap(),
    }
}

fn synthetic(plan: &Plan, seed: u64) -> Weights {
    let source = Synthetic::new(Architecture::VideoVae, &required_tensors(plan), seed).unwrap();
    Weights::new(Box::new(source))
}

/// How far bytes `[F, H, W, 3]` are off `want` `[3, F, H, W]`, in relative L2, and how far they may be: by `relative`
/// and by half the width of a byte.
fn errors(frames: &[u8], want: &[f32], relative: f64) -> [f64; 2] {
    let middle = |&byte: &u8| (f32::from(byte) + 0.5) / 127.5 - 1.0;
    let frames: Vec<f32> = frames.iter().map(middle).collect();
    let want: Vec<f32> = want.iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let squares: f64 = want.iter().map(|&v| f64::from(v).powi(2)).sum();
    let rms = (squares / want.len() as f64).sqrt();
    [
        relative_l2(&colours_first(&frames), &want),
        relative + 1.0 / 255.0 / rms,
    ]
}

/// Frames `[F, H, W, 3]` as `[3, F, H, W]`.
fn colours_first(frames: &[f32]) -> Vec<f32> {
    (0..3)
        .flat_map(|colour| frames[colour..].iter().step_by(3).copied())
        .collect()
}

#[test]
fn latents_become_the_frames_of_the_reference() {
    let context = Context::new(&Cpu);
    let case = small("turbo_small_t1", "z");
    let keys = case.config.to_string();
    let config = TurboConfig::parse(keys.as_bytes(), Path::new("index.json")).unwrap();
    let shape = CallShape {
        frames: 2,
        height: 1,
        width: 1,
        first: true,
    };
    let plan = turbo::decoder_call(&config, VaePrecision::BF16, shape).0;
    let mut frames = Vec::new();
    decode_video(
        &context,
        &synthetic(&plan, case.seed),
        &config,
        &case.input,
        &mut |_, _| {},
        &mut |made| {
            frames.extend_from_slice(made.bytes());
            Ok(())
        },
    )
    .unwrap();
    let [off, allowed] = errors(&frames, &case.want, case.relative);
    assert!(off <= allowed, "decode_video: {off}, allowed {allowed}");
}

#[test]
fn a_picture_becomes_the_latent_of_the_reference() {
    let context = Context::new(&Cpu);
    let case = small("wan_enc_small_1f", "video");
    let config: WanConfig = serde_json::from_value(case.config).unwrap();
    let weights = synthetic(
        &wan_encoder::encode(&config, VaePrecision::BF16, 1, 16, 16).0,
        case.seed,
    );
    let [_, _, height, width] = case.input.shape().extents() else {
        panic!("{}", case.input.shape());
    };
    let picture = case.input.reshape([3, *height, *width]);
    let latent = encode_image(&context, &weights, &config, &picture).unwrap();
    let off = relative_l2(&latent.to_f32(), &case.want);
    assert!(off <= case.relative, "encode_image: {off}");
    let crooked = Tensor::from_f32([3, 16, 17], &[0.0; 3 * 16 * 17]);
    let refused = encode_image(&context, &weights, &config, &crooked).unwrap_err();
    assert_eq!(refused.exit_code(), 3, "{refused}");
}

#[test]
fn latents_become_the_frames_of_the_reference_by_the_large_decoder() {
    let context = Context::new(&Cpu);
    let case = small("wan_dec_small_t1", "z");
    let config: WanConfig = serde_json::from_value(case.config).unwrap();
    let weights = synthetic(
        &wan_decoder::decode(&config, VaePrecision::BF16, 1, 1, 1).0,
        case.seed,
    );
    let frames = decode_wan(&context, &weights, &config, &case.input).unwrap();
    let [off, allowed] = errors(frames.bytes(), &case.want, case.relative);
    assert!(off <= allowed, "decode_wan: {off}, allowed {allowed}");
}

/// The CPU, counting the networks it loads and the programs it prepares.
#[derive(Default)]
struct Counting {
    loads: AtomicUsize,
    programs: AtomicUsize,
}

impl Executor for Counting {
    fn name(&self) -> String {
        "counting".into()
    }

    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs> {
        Cpu.check(plan, how)
    }

    fn free_bytes(&self) -> Result<u64> {
        Cpu.free_bytes()
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        Cpu.load(weights, tensors, reserve, how)
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        self.programs.fetch_add(1, Ordering::Relaxed);
        Cpu.prepare(plan, loaded, how)
    }
}

#[test]
fn calls_of_one_shape_share_a_program_and_give_the_video_in_order() {
    let config = TurboConfig {
        widths: vec![16, 8, 8, 8],
        first_chunk: 3,
        step: 2,
        ..TurboConfig::published()
    };
    let shape_of = |call: &DecoderCall| CallShape {
        frames: call.latents.len(),
        height: 2,
        width: 1,
        first: call.first,
    };
    let plan_of = |call| turbo::decoder_call(&config, VaePrecision::BF16, shape_of(call));
    let chunks = Chunks::new(&config, 9);
    let weights = synthetic(&plan_of(&chunks.calls[0]).0, 5);
    let values: Vec<f32> = (0..48 * 9 * 2)
        .map(|i| ((i * 37) % 64) as f32 / 32.0 - 1.0)
        .collect();
    let z = Tensor::from_f32([48, 9, 2, 1], &values);

    let mut expected = Vec::new();
    for call in &chunks.calls {
        let (plan, ports) = plan_of(call);
        let mut program = Cpu
            .load_and_prepare(&plan, &weights, &Prepare::default())
            .unwrap();
        let u = statistics::denormalised(&z, chunks.latents_of(call));
        program.write(ports.input, &u).unwrap();
        program.run().unwrap();
        let kept = call.kept(&program.read(ports.output).unwrap());
        let [frames, height, width, _] = *kept.shape().extents() else {
            panic!("{} is no video", kept.shape());
        };
        expected.extend(to_u8(&colours_first(&kept.to_f32()), frames, height, width));
    }

    let executor = Counting::default();
    let context = Context::new(&executor);
    let (mut frames, mut seen) = (Vec::new(), Vec::new());
    decode_video(
        &context,
        &weights,
        &config,
        &z,
        &mut |done, all| seen.push((done, all)),
        &mut |made| {
            frames.extend_from_slice(made.bytes());
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(frames.len(), 33 * 32 * 16 * 3);
    assert!(
        frames == expected,
        "the video differs from its calls run alone"
    );
    assert_eq!(seen, [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]);
    // First, two in the middle, last.
    assert_eq!(executor.programs.load(Ordering::Relaxed), 3);
    assert_eq!(executor.loads.load(Ordering::Relaxed), 1);

    context.cancel.cancel();
    let stopped = decode_video(&context, &weights, &config, &z, &mut |_, _| {}, &mut |_| {
        Ok(())
    });
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
