//! Cases of the built-in miniature: a prompt through tokenizer, text encoder and all steps to the latents of a clip.

use crate::{
    Result, Tensor,
    executor::Executor,
    pipeline::{self, Context, Model, Notice, Progress, Stage, request::Request},
    qualify::Check,
};

use super::GoldenCase;

struct Silent;

impl Progress for Silent {
    fn report(&self, _: Stage, _: usize, _: usize) {}

    fn notice(&self, _: &Notice) {}
}

/// Compares the meaningful channels with the case's. The tolerance of the index is one and a half times the effect of
/// the reference's roundings. On a CPU with the matmul instructions of the case's, all bits must be equal.
pub(super) fn run(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let request = request(case.field("prompt")?, case.field("seed")?);
    let context = Context::new(executor);
    let made = pipeline::latents(&context, &Model::miniature(), &request, &Silent)?;
    let tensors = case.tensors()?;
    let (video, audio) = (tensors.get("video")?, tensors.get("audio")?);
    let mut checks = vec![
        Check::relative_l2(
            "video",
            &meant(&made.video, VIDEO),
            &meant(video, VIDEO),
            case.number(&["accept_rel_l2", "video"])?,
        ),
        Check::relative_l2(
            "audio",
            &meant(&made.audio, AUDIO),
            &meant(audio, AUDIO),
            case.number(&["accept_rel_l2", "audio"])?,
        ),
    ];
    if executor.name() == "cpu" && has_avx512() {
        let want: String = case.field("sha256")?;
        let is_other = f32::from(u8::from(want != pipeline::hash(&made)));
        checks.push(Check::max_abs("sha256", &[is_other], &[0.0], 0.0));
    }
    Ok(checks)
}

fn request(prompt: String, seed: u64) -> Request {
    Request {
        prompt,
        seed: Some(seed),
        ..Request::default()
    }
}

/// Axis of the channels, and how many of them are meaningful (see `latents.rs` of `tools/miniature/world`).
type Channels = (usize, usize);
const VIDEO: Channels = (0, 33);
const AUDIO: Channels = (1, 16);

fn meant(latents: &Tensor, (axis, count): Channels) -> Vec<f32> {
    let extents = latents.shape().extents();
    let inner: usize = extents[axis + 1..].iter().product();
    let values = latents.to_f32();
    let rows = values.chunks_exact(extents[axis] * inner);
    rows.flat_map(|row| &row[..count * inner])
        .copied()
        .collect()
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cpu::Cpu,
        golden,
        pipeline::{AtomicFile, latents_file::save_latents, publish},
        qualify::{Verdict, relative_l2},
    };

    const CASES: [(&str, &str, u64); 2] = [
        ("red_ball", "A big red ball bounces on a floor.", 7),
        ("blue_star", "一个蓝色的星星在灰色的背景前旋转。", 11),
    ];

    #[test]
    fn channels_that_mean_something_are_those_of_the_world() {
        let of_the_world = [world::latents::VIDEO, world::latents::AUDIO];
        assert_eq!([VIDEO.1, AUDIO.1], of_the_world);
    }

    /// With UPDATE=1 the cases are written anew, from the weights in the program.
    #[test]
    fn the_program_makes_what_its_cases_say() {
        if std::env::var_os("UPDATE").is_some() {
            return write();
        }
        let suites = golden::embedded().unwrap();
        let cases = suites.iter().flat_map(|suite| suite.cases());
        let cases: Vec<_> = cases.filter(|case| case.kind() == "miniature").collect();
        assert_eq!(cases.len(), CASES.len());
        for case in cases {
            let checks = run(&case, &Cpu).unwrap();
            let passes = checks.iter().all(|check| check.verdict() == Verdict::Pass);
            assert!(passes, "{checks:?}");
        }
    }

    /// They differ by more than ten times the effect of rounding, which is half a hundredth.
    #[test]
    fn seeds_differ_and_the_same_seed_does_not() {
        let make = |seed| {
            let request = request("A small green star bounces.".into(), seed);
            let context = Context::new(&Cpu);
            pipeline::latents(&context, &Model::miniature(), &request, &Silent).unwrap()
        };
        let made = [1, 2, 3, 1].map(make);
        let video = |index: usize| meant(&made[index].video, VIDEO);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let off = relative_l2(&video(a), &video(b));
            assert!(off > 0.05, "{a} {b}: {off}");
        }
        assert_eq!(pipeline::hash(&made[0]), pipeline::hash(&made[3]));
    }

    fn write() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/miniature");
        std::fs::create_dir_all(&folder).unwrap();
        let cases: Vec<Value> = CASES
            .into_iter()
            .map(|(name, prompt, seed)| {
                let make = |context: Context<'_>| {
                    let request = request(prompt.into(), seed);
                    pipeline::latents(&context, &Model::miniature(), &request, &Silent).unwrap()
                };
                let rounded = make(Context::new(&Cpu));
                let unrounded = make(Context::new(&Cpu).in_f32());
                let file = format!("{name}.safetensors");
                let mut latents = AtomicFile::create(&folder.join(&file), true).unwrap();
                save_latents(&mut latents, &rounded).unwrap();
                publish(vec![latents]).unwrap();
                let off = |of: fn(&crate::pipeline::denoise::Latents) -> &Tensor, channels| {
                    let both = [&rounded, &unrounded].map(|made| meant(of(made), channels));
                    // The same tolerance factor as the other goldens.
                    1.5 * relative_l2(&both[0], &both[1])
                };
                json!({
                    "name": name,
                    "kind": "miniature",
                    "file": file,
                    "prompt": prompt,
                    "seed": seed,
                    "sha256": pipeline::hash(&rounded),
                    "accept_rel_l2": {
                        "video": off(|latents| &latents.video, VIDEO),
                        "audio": off(|latents| &latents.audio, AUDIO),
                    },
                })
            })
            .collect();
        let index = format!("{:#}\n", json!({ "cases": cases }));
        std::fs::write(folder.join("index.json"), index).unwrap();
    }
}
