//! A network loaded once: the same tensor list for plans of any size, programs that share the weights, and which layers
//! are in the slots at which time.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gallop::{
    Result, Tensor,
    cpu::Cpu,
    cuda::{Cuda, Device, device::Stream},
    executor::{Executor, Loaded, Prepare, Program, Residency},
    model::{
        audio_vae,
        dit::{self, History, Pass},
        text_encoder,
        video_vae::{
            VaePrecision,
            turbo::{self, CallShape},
            wan_decoder, wan_encoder,
        },
    },
    pipeline::{miniature, networks::ModelConfigs},
    plan::{Buf, Grid, Plan, TensorList},
    tensor::Format,
    weights::{Info, Origin, Source, Variant, Weights},
};

use crate::{
    emulate::{Policy, device::Emulated},
    harness::{given, step_of},
};

/// Passes of a denoising network over three sizes, one of them guided.
fn passes(networks: &ModelConfigs, variant: Variant) -> Vec<Plan> {
    let sizes = [
        ([2, 2, 2], 5, &[4][..]),
        ([7, 4, 6], 26, &[4]),
        ([9, 6, 4], 34, &[9, 5]),
    ];
    let pass = |([frames, height, width], audio, text): ([usize; 3], usize, &[usize])| Pass {
        config: networks.dit(variant).config.clone(),
        grid: Grid {
            frames,
            height,
            width,
        },
        audio,
        text: text.into(),
        window_radius: 3,
        history: History::Noise,
        updates_audio: audio > 5,
        has_image: audio > 9,
    };
    sizes.map(|size| dit::denoise(&pass(size)).0).into()
}

/// Plans of one network in many sizes, the one that reads the most tensors first.
fn networks() -> Vec<(&'static str, Vec<Plan>)> {
    let networks = miniature::networks();
    let turbo = |frames, height, width, first| {
        let shape = CallShape {
            frames,
            height,
            width,
            first,
        };
        turbo::decoder_call(&networks.turbo, VaePrecision::BF16, shape).0
    };
    let bf16 = VaePrecision::BF16;
    let encoded = |frames, h: usize, w: usize| {
        wan_encoder::encode(&networks.wan, bf16, frames, 16 * h, 16 * w).0
    };
    let decoded = |frames, h, w| wan_decoder::decode(&networks.wan, bf16, frames, h, w).0;
    let distill = passes(&networks, Variant::Distill);
    let in_eight_bits = distill.iter().map(|plan| plan.quantized(|_| Format::FP8));
    let in_eight_bits = in_eight_bits.collect();
    vec![
        ("dit", distill),
        ("dit in 8 bits", in_eight_bits),
        ("dit with local layers", passes(&networks, Variant::Sr1080p)),
        (
            "text",
            [1, 7, 640]
                .map(|n| text_encoder::encode(&networks.text, n, n > 7).0)
                .into(),
        ),
        (
            "turbo",
            vec![
                turbo(7, 3, 2, true),
                turbo(2, 1, 1, false),
                turbo(9, 2, 3, false),
            ],
        ),
        ("wan decoder", vec![decoded(2, 1, 1), decoded(7, 2, 3)]),
        ("wan encoder", vec![encoded(5, 1, 1), encoded(9, 2, 3)]),
        (
            "audio decoder",
            [1, 12, 128]
                .map(|n| audio_vae::decode(&networks.audio, n).0)
                .into(),
        ),
        (
            "audio encoder",
            [2048, 9000, 51_200]
                .map(|n| audio_vae::encode(&networks.audio, n).0)
                .into(),
        ),
    ]
}

#[test]
fn plans_of_one_network_have_one_list_of_tensors() {
    for (name, plans) in networks() {
        let list = TensorList::of(&plans[0]);
        for plan in &plans {
            assert!(TensorList::of(plan) == list, "{name}: another list");
            // Nothing is named that no step reads.
            assert_eq!(plan.weights().count(), list.tensors().len(), "{name}");
        }
        let layers = list.tensors().iter().filter(|t| t.layer.is_some());
        assert!(
            2 * layers.count() > list.tensors().len(),
            "{name}: most tensors belong to a layer"
        );
    }
    // One frame takes no step in time.
    let [few, all] = [1, 5].map(|frames| {
        let networks = miniature::networks();
        let plan = wan_encoder::encode(&networks.wan, VaePrecision::BF16, frames, 16, 16).0;
        TensorList::of(&plan)
    });
    assert!(few != all && all.has_all_of(&few) && !few.has_all_of(&all));
}

/// Counts how often a tensor is read.
struct Counting<S>(S, Arc<AtomicUsize>);

impl<S: Source> Source for Counting<S> {
    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn info(&self, name: &str) -> Option<Info> {
        self.0.info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.load(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn origin(&self, name: &str) -> Result<Origin> {
        let origin = self.0.origin(name)?;
        if matches!(origin, Origin::Stored(_)) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        Ok(origin)
    }
}

/// The weights of another source.
struct Of(Weights);

impl Source for Of {
    fn names(&self) -> Vec<String> {
        self.0.source().names()
    }

    fn info(&self, name: &str) -> Option<Info> {
        self.0.source().info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        self.0.source().load(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

fn late() -> Emulated {
    Emulated::new(Policy::Eager, 1).with_late(Stream::Copy)
}

/// Two sizes of one network of three layers, so that two slots go round.
fn sizes() -> [Plan; 2] {
    [(2, 5), (3, 9)].map(|(frames, audio)| {
        let grid = Grid {
            frames,
            height: 4,
            width: 4,
        };
        step_of([3, 1], grid, audio)
    })
}

fn how(weights: Residency) -> Prepare {
    Prepare {
        weights,
        ..Prepare::default()
    }
}

fn write(program: &mut dyn Program, inputs: &[(Buf, Tensor)]) {
    for (buf, value) in inputs {
        program.write(*buf, value).unwrap();
    }
}

fn latents(plan: &Plan, program: &mut dyn Program) -> Vec<f32> {
    let read = |label| program.read(plan.find(label).unwrap()).unwrap();
    let [video, audio] = ["latent.video", "latent.audio"].map(read);
    [video.to_f32(), audio.to_f32()].concat()
}

#[test]
fn programs_of_two_sizes_share_weights_that_were_read_once() {
    let plans = sizes();
    let weights = || given(&plans[0], 21).0;
    let inputs = plans.each_ref().map(|plan| given(plan, 22).1);
    let alone: Vec<[Vec<f32>; 2]> = plans
        .iter()
        .zip(&inputs)
        .map(|(plan, inputs)| {
            let cuda = Cuda::new(Arc::new(late()));
            let how = how(Residency::Resident);
            let mut program = cuda.load_and_prepare(plan, &weights(), &how).unwrap();
            write(&mut *program, inputs);
            [(); 2].map(|()| {
                program.run().unwrap();
                latents(plan, &mut *program)
            })
        })
        .collect();
    for residency in [Residency::Resident, Residency::Streamed] {
        let device = Arc::new(late());
        let free = || device.free_bytes().unwrap();
        let before = free();
        let cuda = Cuda::new(device.clone()).copying(2 << 10);
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Weights::new(Box::new(Counting(Of(weights()), reads.clone())));
        let list = TensorList::of(&plans[0]);
        let loaded = cuda.load(&counted, &list, 0, &how(residency)).unwrap();
        assert_eq!(before - free(), loaded.bytes());
        assert_eq!(reads.load(Ordering::Relaxed), list.tensors().len());
        let mut programs = plans.each_ref().map(|plan| {
            let program = cuda.prepare(plan, &loaded, &how(residency));
            program.unwrap()
        });
        for (program, inputs) in programs.iter_mut().zip(&inputs) {
            write(&mut **program, inputs);
        }
        // In turn, so that each finds the slots as the other left them.
        for (index, run) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            programs[index].run().unwrap();
            let got = latents(&plans[index], &mut *programs[index]);
            assert!(got == alone[index][run], "{residency:?}: values differ");
        }
        assert_eq!(reads.load(Ordering::Relaxed), list.tensors().len());
        drop((programs, loaded));
        assert_eq!((free(), device.queued()), (before, 0));
    }
}

#[test]
fn two_programs_that_run_at_once_take_turns_with_the_slots() {
    let [plan, _] = sizes();
    let (weights, inputs) = given(&plan, 23);
    let cuda = Cuda::new(Arc::new(late()));
    let how = how(Residency::Streamed);
    let loaded = cuda
        .load(&weights, &TensorList::of(&plan), 0, &how)
        .unwrap();
    let make = || {
        let mut program = cuda.prepare(&plan, &loaded, &how).unwrap();
        write(&mut *program, &inputs);
        program
    };
    let mut alone = make();
    (0..3).for_each(|_| alone.run().unwrap());
    let want = latents(&plan, &mut *alone);
    let mut both = [make(), make()];
    std::thread::scope(|scope| {
        for program in &mut both {
            scope.spawn(|| (0..3).for_each(|_| program.run().unwrap()));
        }
    });
    for mut program in both {
        assert!(latents(&plan, &mut *program) == want, "values differ");
    }
}

#[test]
fn the_cpu_shares_weights_too_and_owns_none_that_are_mapped() {
    let plans = sizes();
    let inputs = plans.each_ref().map(|plan| given(plan, 22).1);
    let weights = given(&plans[0], 24).0;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Weights::new(Box::new(Counting(
        Of(given(&plans[0], 24).0),
        reads.clone(),
    )));
    let list = TensorList::of(&plans[0]);
    let loaded = Cpu.load(&counted, &list, 0, &Prepare::default()).unwrap();
    let bytes: usize = list
        .tensors()
        .iter()
        .map(|t| (t.spec.shape.count() * t.spec.dtype.size()).next_multiple_of(8))
        .sum();
    assert_eq!(loaded.bytes(), bytes as u64);
    for (plan, inputs) in plans.iter().zip(&inputs) {
        let alone = Cpu.load_and_prepare(plan, &weights, &Prepare::default());
        let shared = Cpu.prepare(plan, &loaded, &Prepare::default());
        let [want, got] = [alone, shared].map(|program| {
            let mut program = program.unwrap();
            write(&mut *program, inputs);
            program.run().unwrap();
            latents(plan, &mut *program)
        });
        assert!(got == want, "values differ");
    }
    assert_eq!(reads.load(Ordering::Relaxed), list.tensors().len());
}

#[test]
#[should_panic(expected = "loaded by this executor")]
fn weights_of_another_device_are_refused() {
    let [plan, _] = sizes();
    let cuda = || Cuda::new(Arc::new(late()));
    let loaded: Arc<dyn Loaded> = cuda()
        .load(
            &given(&plan, 25).0,
            &TensorList::of(&plan),
            0,
            &Prepare::default(),
        )
        .unwrap();
    let _ = cuda().prepare(&plan, &loaded, &Prepare::default());
}

#[test]
#[should_panic(expected = "of one network")]
fn weights_of_another_network_are_refused() {
    let [plan, _] = sizes();
    let grid = Grid {
        frames: 2,
        height: 4,
        width: 4,
    };
    let other = step_of([4, 1], grid, 5);
    let cuda = Cuda::new(Arc::new(late()));
    let list = TensorList::of(&plan);
    let loaded = cuda.load(&given(&plan, 25).0, &list, 0, &Prepare::default());
    let _ = cuda.prepare(&other, &loaded.unwrap(), &Prepare::default());
}
