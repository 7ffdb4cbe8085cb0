//! FP8 matmuls in plans: the ops against the simplest loops, and the plans made from bf16 ones.

use std::{cell::RefCell, collections::BTreeSet};

use gallop::{
    DType::{Bf16, E4m3, F32},
    Tensor,
    model::dit::{self, DitConfig, History, Pass},
    plan::{Buf, Builder, Dense, Grid, Op, Plan, Role, Scale, Scaling},
    tensor::Format,
};

use crate::{
    each_case,
    random::Random,
    run::{Tensors, random_tensors, run},
    snapshot::snapshot,
};

/// Half a unit in the last place of 1.
const U: f32 = 1.0 / (1 << 24) as f32;

fn result(plan: &Plan, out: Buf, tensors: &Tensors) -> Vec<f32> {
    let mut program = run(plan, tensors, false);
    program.read(out).unwrap().to_f32().into_owned()
}

/// The nearest number that three bits behind the first hold, at most 448, at least multiples of 2^-9; of two equally
/// near the even one. Slow and in f64.
fn nearest(value: f32) -> f32 {
    let size = f64::from(value.abs());
    let exponent = (-6..=8).rev().find(|&e| size >= 2.0_f64.powi(e));
    let unit = 2.0_f64.powi(exponent.unwrap_or(-6) - 3);
    let rounded = (size / unit).round_ties_even() * unit;
    (rounded.min(448.0) as f32).copysign(value)
}

/// Columns of a wider input, so that rows lie further apart than they are long.
fn part(p: &mut Builder, [rows, cols]: [usize; 2], dtype: gallop::DType) -> Buf {
    let whole = p.input("x", [rows, cols + 7], dtype);
    p.cols(whole, 3..cols + 3)
}

fn columns(tensors: &Tensors, cols: usize) -> Vec<Vec<f32>> {
    let x = tensors["x"].to_f32();
    let rows = x.chunks_exact(cols + 7);
    rows.map(|row| row[3..cols + 3].to_vec()).collect()
}

#[test]
fn a_row_is_scaled_to_the_largest_number_and_rounded_to_the_nearest() {
    each_case(30, |random| {
        let [rows, cols] = [random.within(1..9), random.within(1..70)];
        let mut p = Builder::new();
        let x = part(&mut p, [rows, cols], if cols % 2 == 0 { Bf16 } else { F32 });
        let s = p.row_scale("s", x);
        let q = p.quantize("q", x, Scale::Rows(s));
        p.output(s);
        p.output(q);
        let plan = p.finish();
        assert_eq!((plan.spec(s).dtype, plan.spec(q).dtype), (F32, E4m3));
        let mut tensors = random_tensors(&plan, random);
        // The first row is zero.
        let mut values = tensors["x"].to_f32().into_owned();
        values[..cols + 7].fill(0.0);
        let zeroed = Tensor::from_f32([rows, cols + 7], &values).cast(plan.buffers()[0].dtype);
        tensors.insert("x".into(), zeroed);
        let scales: Vec<f32> = columns(&tensors, cols)
            .iter()
            .map(|row| row.iter().fold(0.0, |max: f32, v| max.max(v.abs())) / 448.0)
            .map(|scale| if scale == 0.0 { 1.0 } else { scale })
            .collect();
        assert_eq!(result(&plan, s, &tensors), scales);
        let rows = columns(&tensors, cols);
        let values = rows.iter().zip(&scales);
        let values: Vec<f32> = values
            .flat_map(|(row, s)| row.iter().map(move |x| nearest(x * (1.0 / s))))
            .collect();
        assert_eq!(result(&plan, q, &tensors), values);
        assert!(values[cols..].is_empty() || values.iter().any(|v| v.abs() == 448.0));
    });
}

#[test]
fn a_fixed_factor_cuts_off_what_is_beyond_the_range() {
    let values = [1.0, -56.0, 57.0, 1e9, 1.0 / 8192.0, 1.01 / 8192.0, -0.0];
    let mut p = Builder::new();
    let x = p.input("x", [1, values.len()], F32);
    let q = p.quantize("q", x, Scale::Fixed(8.0));
    p.output(q);
    let plan = p.finish();
    let tensors = [("x".into(), Tensor::from_f32([1, values.len()], &values))];
    // A tie with zero, which is even; a little more is the smallest number.
    let want = [8.0, -448.0, 448.0, 448.0, 0.0, 1.0 / 512.0, -0.0];
    assert_eq!(result(&plan, q, &tensors.into()), want);
}

#[test]
fn sums_of_fp8_products_are_scaled_by_row_and_column() {
    each_case(40, |random| {
        let [m, k, n] = [
            random.within(1..40),
            random.within(1..70),
            random.within(1..30),
        ];
        let first = random.within(0..m + 1);
        let ends = [first, m];
        let by_rows = random.within(0..2) == 1;
        let mut p = Builder::new();
        let x = p.input("x", [m, k], E4m3);
        let scale = if by_rows {
            Scale::Rows(p.input("s", [1, m], F32))
        } else {
            Scale::Fixed(8.0)
        };
        let out = if k % 2 == 0 { F32 } else { Bf16 };
        let y = p.scaled_linear("l", x, scale, &ends, (n, out));
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let at = |label: &str, i: usize| f64::from(tensors[label].to_f32()[i]);
        let got = result(&plan, y, &tensors);
        for (i, got) in got.into_iter().enumerate() {
            let (row, col) = (i / n, i % n);
            let block = usize::from(row >= first) * n + col;
            let scale = at("l.weight_scale", block) * if by_rows { at("s", row) } else { 0.125 };
            let terms = (0..k).map(|j| at("x", row * k + j) * at("l.weight", block * k + j));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
            let (want, rounding) = (sum * scale, if out == Bf16 { 1.0 / 256.0 } else { 0.0 });
            let bound = (k + 8) as f64 * f64::from(U) * size * scale.abs() + want.abs() * rounding;
            let error = (f64::from(got) - want).abs();
            assert!(error <= bound * 1.01, "{row}, {col}: {got} for {want}");
        }
    });
}

/// Two layers, one for each modality with `gelu7`, one with `swiglu7`, and two text conditions.
fn network() -> Plan {
    let config = DitConfig {
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
    };
    let pass = Pass {
        config,
        grid: Grid {
            frames: 3,
            height: 4,
            width: 6,
        },
        audio: 9,
        text: vec![5, 7],
        window_radius: 1,
        history: History::Noise,
        updates_audio: true,
        has_image: false,
    };
    dit::denoise(&pass).0
}

#[test]
fn the_text_of_a_network_in_fp8_is_its_snapshot() {
    let plan = network().quantized(|name| match name {
        "block.layers.0.attention.linear_proj" => Format::Bf16,
        _ => Format::FP8,
    });
    snapshot("dit_denoise_fp8", &plan);
}

#[test]
fn handles_segments_and_all_that_was_not_chosen_stay() {
    let plan = network();
    let names = RefCell::new(BTreeSet::new());
    let none = plan.quantized(|name| {
        names.borrow_mut().insert(name.to_string());
        Format::Bf16
    });
    assert_eq!(names.borrow().len(), 2 * 4, "{names:?}");
    assert_eq!(none.to_string(), plan.to_string());
    let chosen = "block.layers.1.mlp.down_proj";
    let other = plan.quantized(|name| {
        if name == chosen {
            Format::FP8
        } else {
            Format::Bf16
        }
    });
    for buf in plan.handles() {
        let (before, after) = (plan.spec(buf), other.spec(buf));
        assert_eq!((&before.label, before.role), (&after.label, after.role));
        let is_weight = before.label == format!("{chosen}.weight");
        assert_eq!(after.dtype, if is_weight { E4m3 } else { before.dtype });
    }
    for (before, after) in plan.segments().iter().zip(other.segments()) {
        let last = |plan: &Plan, step: usize| plan.steps()[step].writes;
        let (old, new) = (&before.steps, &after.steps);
        assert_eq!(last(&plan, old.start), last(&other, new.start));
        assert_eq!(last(&plan, old.end - 1), last(&other, new.end - 1));
        // The second layer has two more steps, one for each text condition: the factor is fixed.
        let more = if after.label.ends_with(".1") { 2 } else { 0 };
        assert_eq!(new.len(), old.len() + more);
    }
    let scales: Vec<_> = other.weights().skip(plan.weights().count()).collect();
    let [scales] = scales[..] else {
        panic!("one weight has scales, both conditions' steps read it")
    };
    assert_eq!(other.spec(scales).label, format!("{chosen}.weight_scale"));
    assert_eq!(other.spec(scales).shape.extents(), [1, 256]);
}

#[test]
fn fp8_weights_are_half_the_bytes_and_activations_alone_become_f32() {
    let plan = network();
    let fp8 = plan.quantized(|_| Format::FP8);
    let of_layers = |plan: &Plan, dtype| {
        let specs = plan.weights().map(|buf| plan.spec(buf));
        let matrices = specs.filter(|spec| spec.dtype == dtype);
        matrices.map(|spec| spec.bytes()).sum::<usize>()
    };
    assert_eq!(of_layers(&fp8, Bf16), 0);
    // Columns are multiples of 16 in this network but for the MLP's.
    let saved = plan.weight_bytes() - fp8.weight_bytes();
    let scales: usize = fp8
        .weights()
        .map(|buf| fp8.spec(buf))
        .filter(|spec| spec.label.ends_with("_scale"))
        .map(|spec| spec.shape.count() * 4)
        .sum();
    let bf16: u64 = plan
        .weights()
        .map(|buf| plan.spec(buf))
        .filter(|s| s.dtype == Bf16)
        .map(|s| s.shape.count() as u64 * 2)
        .sum();
    assert_eq!(saved, bf16 / 2 - scales as u64);
    let wide = fp8.in_f32();
    for (spec, wide) in fp8.buffers().iter().zip(wide.buffers()) {
        let kept = spec.role == Role::Weight || !spec.dtype.rounds();
        assert_eq!(
            wide.dtype,
            if kept { spec.dtype } else { F32 },
            "{}",
            spec.label
        );
    }
}

#[test]
fn what_feeds_several_layers_is_quantized_once_and_again_when_it_changes() {
    let dense = Dense {
        rows: 16,
        bias: false,
        weight: Bf16,
        out: Bf16,
    };
    let mut p = Builder::new();
    let x = p.input("x", [3, 16], Bf16);
    let h = p.assemble("h", [3, 16], Bf16);
    p.at(h).map("h", Op::Silu, x, Bf16);
    p.linear("a", h, &[3], dense);
    p.linear("b", h, &[3], dense);
    p.at(h).map("h", Op::Relu, x, Bf16);
    p.linear("c", h, &[3], dense);
    let plan = p.finish().quantized(|name| {
        if name == "d" {
            Format::Bf16
        } else {
            Format::FP8
        }
    });
    let ops: Vec<&str> = plan.steps().iter().map(|step| step.op.name()).collect();
    let quantize = ["row_scale", "quantize", "linear"];
    let first = [
        &["silu"],
        &quantize[..],
        &["linear"],
        &["relu"],
        &quantize[..],
    ];
    assert_eq!(ops, first.concat());
    let scaled = |step: &gallop::plan::Step| matches!(&step.op, Op::Linear { scaling, .. } if *scaling == Scaling::Rows);
    assert_eq!(plan.steps().iter().filter(|step| scaled(step)).count(), 3);
}

/// Each rounding to E4m3 is off by at most half a unit, evenly, and the unit is at least 1/16 and less than 1/8 of the
/// value: so its error is between 1/2 and 1 times `2^-4 / sqrt(3)` of the value, root mean square. Of a product both
/// arguments are rounded, which are independent: `sqrt(2)` times that, of a sum of many products as well.
#[test]
fn the_error_of_a_layer_is_that_of_two_roundings() {
    let [m, k, n] = [32, 2048, 64];
    let dense = Dense {
        rows: n,
        bias: false,
        weight: Bf16,
        out: F32,
    };
    let mut p = Builder::new();
    let x = p.input("x", [m, k], Bf16);
    let y = p.linear("l", x, &[m], dense);
    p.output(y);
    let plan = p.finish();
    let mut tensors = random_tensors(&plan, &mut Random::new(1));
    let exact = result(&plan, y, &tensors);
    let fp8 = plan.quantized(|_| Format::FP8);
    let w = tensors["l.weight"].to_f32().into_owned();
    let rows = w.chunks_exact(k);
    let scales: Vec<f32> = rows
        .map(|row| row.iter().fold(0.0_f32, |max, v| max.max(v.abs())) / 448.0)
        .collect();
    let rows = w.chunks_exact(k).zip(&scales);
    let values: Vec<f32> = rows
        .flat_map(|(row, s)| row.iter().map(move |v| v / s))
        .collect();
    tensors.insert(
        "l.weight".into(),
        Tensor::from_f32([n, k], &values).cast(E4m3),
    );
    tensors.insert("l.weight_scale".into(), Tensor::from_f32([1, n], &scales));
    let got = result(&fp8, y, &tensors);
    let error = gallop::qualify::relative_l2(&got, &exact);
    let most = 2.0_f64.sqrt() / 16.0 / 3.0_f64.sqrt();
    println!("relative error {error:.4} of at most {most:.4}");
    assert!(most / 2.0 < error && error < most, "{error}");
}
