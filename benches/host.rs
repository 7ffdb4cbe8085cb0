//! What the host parts reach: conversions and hashes in GB/s, matrix products in GFLOP/s, small plans on the CPU
//! executor, clips written in frames per second. `cargo bench --bench host` prints time and rate; a filter picks one.

#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without documentation"
)]

#[path = "../tests/common/in_memory.rs"]
mod in_memory;

use std::{env, fs, hint::black_box, process, time::Duration};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use gallop::{
    DType, Tensor,
    cpu::{Cpu, Matrix, gemm},
    executor::{Executor, Prepare},
    media::{AtomicFile, Clip, EncodeOptions, FPS, SAMPLES_PER_FRAME, publish, write_clip},
    plan::{Attention, Builder, Conv3d, Dense, Kernel3d, MaskBlock, Norm, PaddingMode, Plan},
    weights::Weights,
};
use in_memory::InMemory;
use sha2::{Digest, Sha256};

/// Values that differ, cost nothing and are the same in every run.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0)
        .collect()
}

fn conversions(c: &mut Criterion) {
    const COUNT: usize = 4 << 20;
    let wide = Tensor::from_f32([COUNT], &values(COUNT));
    let narrow = wide.cast(DType::Bf16);
    let mut out = vec![0.0; COUNT];
    let mut group = c.benchmark_group("convert");
    // Both sides of the copy count, as for any bandwidth.
    group.throughput(Throughput::Bytes(6 * COUNT as u64));
    group.bench_function("bf16_to_f32", |b| {
        b.iter(|| narrow.read_f32(0..COUNT, black_box(&mut out)));
    });
    group.bench_function("f32_to_bf16", |b| {
        b.iter(|| black_box(wide.cast(DType::Bf16)));
    });
    group.finish();
}

fn hashes(c: &mut Criterion) {
    let bytes = vec![0xa5_u8; 16 << 20];
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("sha256", |b| b.iter(|| Sha256::digest(black_box(&bytes))));
    group.finish();
}

/// One thread; the executor runs one such product per core. `m, n, k` as in a linear layer: x `[m, k]`, w `[n, k]`.
fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for [m, n, k] in [
        [16, 256, 256],
        [126, 512, 512],
        [512, 256, 1024],
        [512, 256, 5120],
        [64, 4096, 128],
    ] {
        let (x, w) = (values(m * k), values(n * k));
        let mut y = vec![0.0; m * n];
        // An element is a floating-point operation here: criterion then prints Gelem/s for GFLOP/s.
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{m}x{n}x{k}")), |b| {
            b.iter(|| {
                let (x, w) = (Matrix::rows(&x, k), Matrix::transposed(&w, k));
                gemm([m, k, n], x, w, black_box(&mut y), n, false);
            });
        });
    }
    group.finish();
}

const ROWS: usize = 256;
const WIDTH: usize = 256;
const HEADS: usize = 4;

/// Four transformer layers of 256 columns over 256 rows.
fn small_plan() -> Plan {
    let mut p = Builder::new();
    let mut x = p.input("x", [ROWS, WIDTH], DType::F32);
    let norm = Norm {
        width: WIDTH,
        eps: 1e-6,
        weight: Some(DType::F32),
        out: DType::Bf16,
    };
    let dense = |rows, out| Dense {
        rows,
        bias: false,
        weight: DType::Bf16,
        out,
    };
    let full = Attention {
        heads: HEADS,
        kv_heads: HEADS,
        scale: 0.125,
        softcap: None,
        windows: vec![MaskBlock {
            queries: 0..ROWS,
            keys: vec![0..ROWS],
        }],
    };
    for layer in 0..4 {
        x = p.segment(format_args!("layers.{layer}"), |p| {
            let h = p.rms_norm("attention_norm", x, &[ROWS], norm);
            let qkv = p.linear("qkv", h, &[ROWS], dense(3 * WIDTH, DType::Bf16));
            let parts = [0, 1, 2].map(|i| p.cols(qkv, i * WIDTH..(i + 1) * WIDTH));
            let a = p.attention("attention", parts, full.clone(), DType::Bf16);
            let a = p.linear("proj", a, &[ROWS], dense(WIDTH, DType::F32));
            let x = p.add("attention_out", x, a, DType::F32);
            let h = p.rms_norm("mlp_norm", x, &[ROWS], norm);
            let h = p.linear("up_gate", h, &[ROWS], dense(8 * WIDTH, DType::Bf16));
            let h = p.swiglu7("act", h, DType::Bf16);
            let h = p.linear("down", h, &[ROWS], dense(WIDTH, DType::F32));
            p.add("mlp_out", x, h, DType::F32)
        });
    }
    p.output(x);
    p.finish()
}

/// One causal convolution as the video autoencoder has them, 64 channels on 5 frames of 32x32.
fn convolution() -> Plan {
    let mut p = Builder::new();
    let x = p.input("x", [5, 32, 32, 64], DType::Bf16);
    let kernel = Kernel3d {
        shape: &[64, 64, 3, 3, 3],
        conv: Conv3d::same([3; 3], 2, 0, PaddingMode::Zero),
        weight: DType::Bf16,
        out: DType::Bf16,
    };
    let y = p.conv3d("conv", x, kernel);
    p.output(y);
    p.finish()
}

fn plans(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    for (name, plan) in [("four_layers", small_plan()), ("conv3d", convolution())] {
        let tensor = |spec: &gallop::plan::Spec| {
            let scaled: Vec<f32> = values(spec.shape.count())
                .iter()
                .map(|v| v / 16.0)
                .collect();
            Tensor::from_f32(spec.shape.clone(), &scaled).cast(spec.dtype)
        };
        let named = plan.weights().map(|buf| plan.spec(buf));
        let named = named.map(|spec| (spec.label.clone(), tensor(spec)));
        let weights = Weights::new(Box::new(InMemory(named.collect())));
        let mut program = Cpu
            .load_and_prepare(&plan, &weights, &Prepare::default())
            .expect("weights made for the plan");
        let x = plan.find("x").expect("the plan's input");
        program
            .write(x, &tensor(plan.spec(x)))
            .expect("a tensor made for the buffer");
        group.throughput(Throughput::Elements(plan.total_cost().flops as u64));
        group.bench_function(name, |b| {
            b.iter(|| program.run().expect("nobody interrupts"));
        });
    }
    group.finish();
}

/// A second of a slanted gradient that moves two pixels a frame, under noise of 16 levels.
fn pictures(width: usize, height: usize) -> Vec<u8> {
    let mut noise = 1_u32;
    let mut level = |t: usize, y: usize, x: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((x + y + 2 * t) / 8 % 224) as u8 + (noise >> 28) as u8
    };
    let mut rgb = Vec::with_capacity(3 * FPS * width * height);
    for t in 0..FPS {
        for y in 0..height {
            for x in 0..width {
                rgb.extend([level(t, y, x), level(t, x, y), level(t, y, 2 * x)]);
            }
        }
    }
    rgb
}

/// The embedded encoder at its default quality, with sound. One second is one group of pictures, so one thread; longer
/// clips use more.
fn clips(c: &mut Criterion) {
    let mut group = c.benchmark_group("write_clip");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    // An element is a frame: criterion's elem/s are frames per second.
    group.throughput(Throughput::Elements(FPS as u64));
    let path = env::temp_dir().join(format!("gallop-bench-{}.mp4", process::id()));
    let audio = values(2 * FPS * SAMPLES_PER_FRAME);
    for (width, height) in [(448, 256), (1920, 1088)] {
        let frames = pictures(width, height);
        let clip = Clip {
            width,
            height,
            frames: &frames,
            audio: &audio,
        };
        let size = BenchmarkId::from_parameter(format!("{width}x{height}"));
        group.bench_function(size, |b| {
            b.iter(|| {
                let options = EncodeOptions::default();
                let file = AtomicFile::create(&path, true);
                let mut files = vec![file.expect("the temporary folder can be written")];
                write_clip(&mut files, &clip, &options, &mut |_, _| {}, &|| false)
                    .and_then(|_| publish(files))
                    .expect("the temporary folder has room");
            });
        });
    }
    drop(fs::remove_file(&path));
    group.finish();
}

criterion_group! {
    name = host;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = conversions, hashes, products, plans, clips
}
criterion_main!(host);
