//! Samplers against the reference's trajectories and against textbook facts; noise against its own definition.

use std::fs;

use gallop::sampler::{
    Method, Schedule, StepCoefficients,
    noise::{self, Noise, normal},
    rows, schedule, upsample, zero_snr,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const GOLDEN: &str = "tests/golden/dit";

/// One golden case: its entry in the index and its file.
struct Case {
    entry: Value,
    bytes: Vec<u8>,
}

impl Case {
    fn open(name: &str) -> Self {
        let index: Value =
            serde_json::from_slice(&fs::read(format!("{GOLDEN}/index.json")).unwrap()).unwrap();
        let cases = index["cases"].as_array().unwrap();
        let entry = cases.iter().find(|c| c["name"] == name).unwrap().clone();
        let bytes = fs::read(format!("{GOLDEN}/{}", entry["file"].as_str().unwrap())).unwrap();
        Self { entry, bytes }
    }

    fn words(&self, tensor: &str, dtype: Dtype) -> Vec<[u8; 4]> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(tensor).unwrap();
        assert_eq!(view.dtype(), dtype, "{tensor}");
        view.data()
            .chunks_exact(4)
            .map(|b| b.try_into().unwrap())
            .collect()
    }

    fn f32s(&self, tensor: &str) -> Vec<f32> {
        self.words(tensor, Dtype::F32)
            .into_iter()
            .map(f32::from_le_bytes)
            .collect()
    }

    fn i32s(&self, tensor: &str) -> Vec<i32> {
        self.words(tensor, Dtype::I32)
            .into_iter()
            .map(i32::from_le_bytes)
            .collect()
    }

    /// Holds `found` against the golden by the limit that the index gives.
    fn judge(&self, what: &str, found: &[f32]) {
        let expected = self.f32s(&format!("{what}.ref64"));
        let allowed =
            self.entry["measured"][what.strip_suffix(".out").unwrap_or(what)]["accept_f32_rel_l2"]
                .as_f64()
                .unwrap();
        let error = rel_l2(found, &expected);
        let name = &self.entry["name"];
        assert!(
            error <= allowed,
            "{name} {what}: error {error:.2e}, allowed {allowed:.0e}"
        );
    }
}

fn rel_l2(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut difference, mut size) = (0.0, 0.0);
    for (&f, &e) in found.iter().zip(expected) {
        difference += (f64::from(f) - f64::from(e)).powi(2);
        size += f64::from(e).powi(2);
    }
    (difference / size).sqrt()
}

/// A latent and its history, advanced in f32 as a device does.
struct State {
    x: Vec<f32>,
    c: Vec<f32>,
    m1: Vec<f32>,
    m2: Vec<f32>,
}

impl State {
    fn new(x: Vec<f32>) -> Self {
        let zeros = vec![0.0; x.len()];
        Self {
            x,
            c: zeros.clone(),
            m1: zeros.clone(),
            m2: zeros,
        }
    }

    fn step(&mut self, row: &StepCoefficients, v: &[f32], noise: &[f32]) {
        let m = combine(&row.m, &[&self.x, v]);
        let c = combine(&row.c, &[&self.x, &self.c, &m, &self.m1, &self.m2]);
        self.x = combine(&row.x, &[&c, &m, &self.m1, v, noise]);
        self.m2 = std::mem::replace(&mut self.m1, m);
        self.c = c;
    }
}

fn combine(factors: &[f32], buffers: &[&[f32]]) -> Vec<f32> {
    let sum = |i: usize| factors.iter().zip(buffers).map(|(f, b)| f * b[i]).sum();
    (0..buffers[0].len()).map(sum).collect()
}

#[test]
fn trajectories_are_the_references() {
    for (name, method) in [
        ("sampler_ddim8", Method::Consistency),
        ("sampler_sde8", Method::Sde),
        ("sampler_unipc5", Method::UniPc),
        ("sampler_unipc8", Method::UniPc),
        ("sampler_unipc32", Method::UniPc),
    ] {
        let case = Case::open(name);
        let steps = case.entry["steps"].as_u64().unwrap() as usize;
        let schedule = schedule(steps, case.entry["shift"].as_f64().unwrap()).unwrap();
        assert_eq!(schedule.sigmas, case.f32s("table.sigmas"), "{name}");
        let timesteps: Vec<i32> = schedule.timesteps.iter().map(|&t| t as i32).collect();
        assert_eq!(timesteps, case.i32s("table.timesteps"), "{name}");

        let v = case.f32s("in.v");
        let noise = match method.draws_noise() {
            true => case.f32s("in.noise"),
            false => vec![0.0; v.len()],
        };
        let mut state = State::new(case.f32s("in.x0"));
        let len = state.x.len();
        let mut trajectory = Vec::new();
        for (step, row) in rows(method, &schedule).iter().enumerate() {
            let part = step * len..(step + 1) * len;
            state.step(row, &v[part.clone()], &noise[part]);
            trajectory.extend_from_slice(&state.x);
        }
        case.judge("out.traj", &trajectory);
    }
}

/// Bits of the sigmas and the times of the published schedules.
const TABLE_8: [(u32, u32); 8] = [
    (999, 0x3f7ff2e2),
    (972, 0x3f78d563),
    (937, 0x3f6ff0a1),
    (892, 0x3f64818e),
    (833, 0x3f55431e),
    (749, 0x3f3fec54),
    (624, 0x3f1feb83),
    (416, 0x3ed530ea),
];
const TABLE_5: [(u32, u32); 5] = [
    (999, 0x3f7ff2e2),
    (952, 0x3f73c05e),
    (882, 0x3f61d0dd),
    (768, 0x3f44d8e8),
    (555, 0x3f0e24a7),
];
const TABLE_32: [(u32, u32); 32] = [
    (999, 0x3f7ff2e2),
    (993, 0x3f7e4e88),
    (986, 0x3f7c940f),
    (979, 0x3f7ac1ad),
    (972, 0x3f78d563),
    (964, 0x3f76ccf9),
    (955, 0x3f74a5f4),
    (946, 0x3f725d8d),
    (937, 0x3f6ff0a1),
    (927, 0x3f6d5ba9),
    (916, 0x3f6a9aa3),
    (904, 0x3f67a901),
    (892, 0x3f64818e),
    (879, 0x3f611e51),
    (865, 0x3f5d7862),
    (849, 0x3f5987c3),
    (833, 0x3f55431e),
    (814, 0x3f509f7e),
    (795, 0x3f4b8ff1),
    (773, 0x3f46050d),
    (749, 0x3f3fec54),
    (723, 0x3f392f63),
    (694, 0x3f31b2df),
    (661, 0x3f2954fe),
    (624, 0x3f1feb83),
    (583, 0x3f1540ef),
    (535, 0x3f091080),
    (480, 0x3ef60097),
    (416, 0x3ed530ea),
    (340, 0x3eae6b21),
    (249, 0x3e7fcb90),
    (138, 0x3e0e1886),
];

#[test]
fn schedules_have_the_published_bits() {
    for table in [&TABLE_8[..], &TABLE_5, &TABLE_32] {
        let Schedule { sigmas, timesteps } = schedule(table.len(), 5.0).unwrap();
        assert_eq!(sigmas.last(), Some(&0.0));
        let bits = sigmas.iter().map(|s| s.to_bits());
        let found: Vec<(u32, u32)> = timesteps.into_iter().zip(bits).collect();
        assert_eq!(found, table);
    }
}

#[test]
fn every_method_ends_with_its_estimate_of_the_clean_latent() {
    for method in [Method::Consistency, Method::Sde, Method::UniPc] {
        for steps in [1, 2, 3, 5, 8, 32] {
            let all = rows(method, &schedule(steps, 5.0).unwrap());
            assert_eq!(all.len(), steps);
            let last = all.last().unwrap();
            assert_eq!(last.x, [0.0, 1.0, 0.0, 0.0, 0.0], "{method:?} {steps}");
            let finite =
                |r: &StepCoefficients| r.m.iter().chain(&r.c).chain(&r.x).all(|f| f.is_finite());
            assert!(all.iter().all(finite), "{method:?} {steps}");
        }
    }
}

#[test]
fn sde_steps_without_noise_are_euler_steps() {
    let schedule = schedule(8, 5.0).unwrap();
    let case = Case::open("sampler_sde8");
    let theta = case.f32s("in.theta");
    let renoise = rows(Method::Consistency, &schedule);
    for (step, row) in rows(Method::Sde, &schedule).iter().enumerate() {
        if step == 7 {
            continue;
        }
        let uses_noise = row.x[4] != 0.0;
        assert_eq!(uses_noise, theta[step] == 1.0, "step {step}");
        if uses_noise {
            assert_eq!(*row, renoise[step]);
            continue;
        }
        // x + (sigma' - sigma) v
        let (sigma, next) = (schedule.sigmas[step], schedule.sigmas[step + 1]);
        let mut state = State::new(vec![0.25, -1.5]);
        let v = [0.75, 2.0];
        let euler = combine(&[1.0, next - sigma], &[&state.x, &v]);
        state.step(row, &v, &[9.0; 2]);
        assert!(rel_l2(&state.x, &euler) < 1e-6, "step {step}");
    }
}

/// The relative error of UniPC after three quarters of its steps where the solution is known: data that are a
/// normal distribution of mean 0 and deviation 1/2. There the clean estimate is `alpha spread² / variance x` and
/// the flow is proportional to `sqrt(variance)`, with `variance = alpha² spread² + sigma²`. (Towards the end the
/// steps are wide in lambda however many there are.)
fn error_on_normal_data(steps: usize) -> f64 {
    let spread = 0.5;
    let schedule = schedule(steps, 5.0).unwrap();
    let variance = |sigma: f64| (1.0 - sigma).powi(2) * spread * spread + sigma * sigma;
    let start = variance(f64::from(schedule.sigmas[0]));
    let mut state = State::new(vec![1.0]);
    let rows = rows(Method::UniPc, &schedule);
    for (row, &sigma) in rows.iter().zip(&schedule.sigmas).take(steps * 3 / 4) {
        let sigma = f64::from(sigma);
        let x = f64::from(state.x[0]);
        let clean = (1.0 - sigma) * spread * spread / variance(sigma) * x;
        state.step(row, &[((x - clean) / sigma) as f32], &[0.0]);
    }
    let end = variance(f64::from(schedule.sigmas[steps * 3 / 4]));
    let exact = (end / start).sqrt();
    (f64::from(state.x[0]) / exact - 1.0).abs()
}

#[test]
fn unipc_is_of_second_order() {
    // Four times the steps: 16 times the accuracy for order 2, 4 times for order 1.
    let (coarse, fine) = (error_on_normal_data(16), error_on_normal_data(64));
    assert!(
        fine < coarse / 16.0,
        "16 steps: {coarse:.2e}, 64 steps: {fine:.2e}"
    );
}

#[test]
fn super_resolution_noise_has_the_published_levels() {
    let table = zero_snr::signal_table();
    let golden = Case::open("ops").f32s("zerosnr.signal_table");
    assert_eq!(table.len(), 1000);
    // The reference's square roots are off by up to one ulp, 2^-24, before the last level is subtracted and the
    // result stretched by 1.07; so the differences are absolute, and relative ones grow towards the end.
    let one_ulp = 2f32.powi(-23);
    for (j, (found, expected)) in table.iter().zip(&golden).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= one_ulp,
            "level {j}: {found}, expected {expected}"
        );
    }
    assert_eq!([table[0], table[999]], [golden[0], 0.0]);
    assert_eq!(table[220].to_bits(), 0x3f56c2d5);
    let [a, b] = zero_snr::factors(zero_snr::DEFAULT_NOISE_VALUE).unwrap();
    assert_eq!((a, b), (table[220], 0.544_269_56));
    assert_eq!(zero_snr::factors(0).unwrap(), [1.0, 0.0]);
    assert_eq!(zero_snr::factors(999).unwrap(), [0.0, 1.0]);
    assert_eq!(zero_snr::factors(1000).unwrap_err().exit_code(), 2);
}

#[test]
fn enlarged_latents_are_the_references() {
    let case = Case::open("ops");
    let sizes = case.entry["dims"]["tri"].as_array().unwrap();
    for (i, size) in sizes.iter().enumerate() {
        let side = |end: usize, axis: usize| size[end][axis].as_u64().unwrap() as usize;
        let x = case.f32s(&format!("trilinear{i}.in"));
        let y = upsample(&x, (side(0, 1), side(0, 2)), (side(1, 1), side(1, 2)));
        case.judge(&format!("trilinear{i}.out"), &y);
    }
}

#[test]
fn draws_are_named_as_in_the_goldens() {
    let index: Value =
        serde_json::from_slice(&fs::read(format!("{GOLDEN}/index.json")).unwrap()).unwrap();
    let order = |name: &str| -> Vec<String> {
        let cases = index["cases"].as_array().unwrap();
        let case = cases.iter().find(|c| c["name"] == name).unwrap();
        serde_json::from_value(case["noise_draw_order"].clone()).unwrap()
    };
    let mut names = vec![noise::INIT_AUDIO.to_string(), noise::INIT_VIDEO.into()];
    names.extend((0..8).flat_map(|i| [noise::step_video(i), noise::step_audio(i)]));
    names.extend([noise::SR_VIDEO.into(), noise::SR_AUDIO.into()]);
    let full: Vec<String> = names.iter().map(|n| format!("in.noise.{n}")).collect();
    assert_eq!(order("e2e_distill8_sr5"), full);
    assert_eq!(order("e2e_base4_sr5"), [&full[..2], &full[18..]].concat());
}

#[test]
fn noise_is_the_documented_sequence() {
    // Made by a second implementation of the definition.
    let bits =
        |seed, draw, n| -> Vec<u32> { normal(seed, draw, n).iter().map(|x| x.to_bits()).collect() };
    let expected = [
        0x3cb7e0ff, 0xbf2ea928, 0x3e653c7a, 0xbe385084, 0x3f5b508c, 0xc0092f03,
    ];
    assert_eq!(bits(0, "init_video", 6), expected);
    let expected = [
        0xbd90009b, 0xbf9cd841, 0x3f05e724, 0x40193ee2, 0xbf3085ee, 0x3f72e998,
    ];
    assert_eq!(bits(42, "step3.audio", 6), expected);
    assert_eq!(
        bits((1 << 63) - 1, "sr_video", 3),
        [0xbd274869, 0xbf7d90d9, 0x3e87850e]
    );
    assert_eq!(
        Noise::new(1, "init_video").at(1_000_000_000_000).to_bits(),
        0xbf9ba57b
    );
}

#[test]
fn any_slice_of_a_draw_equals_the_whole() {
    let whole = normal(7, noise::INIT_VIDEO, 20_000);
    assert_eq!(normal(7, noise::INIT_VIDEO, 5001), whole[..5001]);
    let draw = Noise::new(7, noise::INIT_VIDEO);
    for (first, len) in [(1, 1), (4095, 2), (4096, 4096), (777, 12_345), (3, 0)] {
        let mut part = vec![0.0; len];
        draw.fill(first as u64, &mut part);
        assert_eq!(part, whole[first..first + len]);
    }
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(
        alone.install(|| normal(7, noise::INIT_VIDEO, 20_000)),
        whole
    );
    assert_ne!(normal(8, noise::INIT_VIDEO, 100), whole[..100]);
    assert_ne!(normal(7, noise::INIT_AUDIO, 100), whole[..100]);
}

#[test]
fn noise_is_standard_normal() {
    const COUNT: usize = 1_000_000;
    let mut x = normal(1, noise::INIT_VIDEO, COUNT);
    let moment = |k: i32| x.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / COUNT as f64;
    // Four standard deviations of each mean.
    for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let allowed = 4.0 * f64::sqrt(variance / COUNT as f64);
        let found = moment(k);
        assert!(
            (found - expected).abs() < allowed,
            "moment {k}: {found}, allowed {expected} ± {allowed}"
        );
    }
    for lag in [1, 2, 128] {
        let sum: f64 = x
            .windows(lag + 1)
            .map(|w| f64::from(w[0]) * f64::from(w[lag]))
            .sum();
        assert!(
            (sum / COUNT as f64).abs() < 4e-3,
            "lag {lag}: {}",
            sum / COUNT as f64
        );
    }
    let other = normal(2, noise::INIT_VIDEO, COUNT);
    let sum: f64 = x
        .iter()
        .zip(&other)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum();
    assert!(
        (sum / COUNT as f64).abs() < 4e-3,
        "seeds 1 and 2: {}",
        sum / COUNT as f64
    );

    // Kolmogorov and Smirnov: the largest distance of the distribution functions, at the level of 1e-4.
    x.sort_by(f32::total_cmp);
    let distance = x
        .iter()
        .enumerate()
        .map(|(i, &x)| (below(f64::from(x)) - (i as f64 + 0.5) / COUNT as f64).abs())
        .fold(0.0, f64::max);
    assert!(
        distance < 2.23 / f64::sqrt(COUNT as f64),
        "distance {distance}"
    );
}

/// The normal distribution function by its series.
fn below(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + density * sum
}
