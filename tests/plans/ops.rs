//! The CPU ops on token rows against the simplest loops in f64, at random sizes.
//!
//! Limits are derived: a sum of k products in f32 is off by at most `(k + 8) 2^-24` of the sum of their magnitudes;
//! what is summed in f64 is off by a few units in the last place of the result.

use gallop::{
    DType::{Bf16, F32, I32},
    Tensor,
    plan::{Attention, Buf, Builder, Dense, Grid, MaskBlock, Norm, Op, Plan},
};

use crate::{
    each_case,
    random::Random,
    run::{Tensors, random_tensors, run},
};

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / (1 << 24) as f64;

/// A plan of one op and what it computed from `tensors`.
fn result(plan: &Plan, out: Buf, tensors: &Tensors) -> Vec<f32> {
    run(plan, tensors, false)
        .read(out)
        .unwrap()
        .to_f32()
        .into_owned()
}

/// Values of the tensor `label`, in f64.
fn wide(tensors: &Tensors, label: &str) -> Vec<f64> {
    tensors[label]
        .to_f32()
        .iter()
        .map(|&v| f64::from(v))
        .collect()
}

/// Each element of `got` within `limit` (value, bound) of `want`.
#[track_caller]
fn close(got: &[f32], want: &[(f64, f64)]) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &(want, bound))) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(
            error <= bound,
            "element {i}: {got}, expected {want} within {bound:e}, off by {error:e}"
        );
    }
}

/// A sum of products with its bound.
fn dot(terms: impl Iterator<Item = f64>, start: f64) -> (f64, f64) {
    let (mut sum, mut size, mut count) = (start, start.abs(), 0);
    for term in terms {
        sum += term;
        size += term.abs();
        count += 1;
    }
    (sum, f64::from(count + 8) * U * size)
}

/// Ends of `groups` runs of rows that together have `rows`; some may be empty.
fn ends(random: &mut Random, groups: usize, rows: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..groups).map(|_| random.within(0..rows + 1)).collect();
    ends.push(rows);
    ends.sort_unstable();
    ends
}

#[test]
fn linear_takes_each_group_of_rows_with_its_weights() {
    each_case(60, |random| {
        let [m, k, n] = [
            random.within(1..40),
            random.within(1..70),
            random.within(1..30),
        ];
        let groups = random.within(1..4);
        let ends = ends(random, groups, m);
        let (before, bias) = (random.within(0..5), random.within(0..2) == 1);
        let mut p = Builder::new();
        // A part, so that rows lie further apart than they are long.
        let whole = p.input("x", [m, before + k + 3], F32);
        let x = p.cols(whole, before..before + k);
        let y = p.linear(
            "l",
            x,
            &ends,
            Dense {
                rows: n,
                bias,
                weight: Bf16,
                out: F32,
            },
        );
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let (x, w) = (wide(&tensors, "x"), wide(&tensors, "l.weight"));
        let b = if bias {
            wide(&tensors, "l.bias")
        } else {
            vec![0.0; groups * n]
        };
        let want: Vec<(f64, f64)> = (0..m * n)
            .map(|i| {
                let (row, col) = (i / n, i % n);
                let block = ends.iter().position(|&end| row < end).unwrap() * n + col;
                let terms =
                    (0..k).map(|j| x[row * (before + k + 3) + before + j] * w[block * k + j]);
                dot(terms, b[block])
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

#[test]
fn linear_is_right_across_the_edges_of_its_tiles() {
    each_case(1, |random| {
        let [m, k, n] = [513, 9, 257];
        let mut p = Builder::new();
        let x = p.input("x", [m, k], F32);
        let y = p.linear(
            "l",
            x,
            &[m],
            Dense {
                rows: n,
                bias: false,
                weight: F32,
                out: F32,
            },
        );
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let (x, w) = (wide(&tensors, "x"), wide(&tensors, "l.weight"));
        let element = |i: usize| dot((0..k).map(|j| x[i / n * k + j] * w[i % n * k + j]), 0.0);
        let want: Vec<(f64, f64)> = (0..m * n).map(element).collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

#[test]
fn a_narrow_result_is_the_wide_one_rounded_once() {
    each_case(20, |random| {
        let mut p = Builder::new();
        let x = p.input("x", [7, 33], F32);
        let [wide, narrow] = [F32, Bf16].map(|out| {
            p.linear(
                "l",
                x,
                &[7],
                Dense {
                    rows: 5,
                    bias: true,
                    weight: F32,
                    out,
                },
            )
        });
        p.output(wide);
        p.output(narrow);
        let plan = p.finish();
        let mut program = run(&plan, &random_tensors(&plan, random), false);
        let [wide, narrow] = [wide, narrow].map(|buf| program.read(buf).unwrap());
        assert_eq!(*wide.cast(Bf16).to_f32(), *narrow.to_f32());
        assert_ne!(*wide.to_f32(), *narrow.to_f32());
    });
}

#[test]
fn rms_norm_divides_each_run_by_its_root_mean_square() {
    each_case(60, |random| {
        let (rows, runs, width) = (
            random.within(1..9),
            random.within(1..4),
            random.within(1..40),
        );
        let cols = runs * width;
        let groups = random.within(1..4);
        let ends = ends(random, groups, rows);
        let weight = (random.within(0..2) == 1).then_some(F32);
        let eps = 1e-6;
        let mut p = Builder::new();
        let whole = p.input("x", [rows, cols + 5], F32);
        let x = p.cols(whole, 2..2 + cols);
        let y = p.rms_norm(
            "n",
            x,
            &ends,
            Norm {
                width,
                eps,
                weight,
                out: F32,
            },
        );
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let x = wide(&tensors, "x");
        let w = if weight.is_some() {
            wide(&tensors, "n.weight")
        } else {
            vec![0.0; groups * width]
        };
        let want: Vec<(f64, f64)> = (0..rows * cols)
            .map(|i| {
                let (row, col) = (i / cols, i % cols);
                let first = row * (cols + 5) + 2 + col / width * width;
                let squares: f64 = x[first..first + width].iter().map(|v| v * v).sum();
                let group = ends.iter().position(|&end| row < end).unwrap();
                let gain = 1.0 + w[group * width + col % width];
                let value = x[first + col % width]
                    / (squares / width as f64 + f64::from(eps)).sqrt()
                    * gain;
                (value, 2.0 * U * value.abs())
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

#[test]
fn l2_norm_scales_rows_to_the_root_of_their_width() {
    each_case(20, |random| {
        let (rows, cols) = (random.within(1..9), random.within(1..40));
        let mut p = Builder::new();
        let x = p.input("x", [rows, cols], F32);
        let y = p.l2_norm("n", x, &[cols, 1, 1], 1e-12, F32);
        p.output(y);
        let plan = p.finish();
        let mut tensors = random_tensors(&plan, random);
        // A row of zeros stays zero: the norm has a floor.
        let mut values = tensors["x"].to_f32().into_owned();
        values[..cols].fill(0.0);
        tensors.insert("x".into(), Tensor::from_f32([rows, cols], &values));
        let (x, w) = (wide(&tensors, "x"), wide(&tensors, "n.gamma"));
        let want: Vec<(f64, f64)> = (0..rows * cols)
            .map(|i| {
                let row = &x[i / cols * cols..][..cols];
                let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
                let value = x[i] / norm * (cols as f64).sqrt() * w[i % cols];
                (value, 2.0 * U * value.abs())
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

#[test]
fn rope_turns_the_first_lanes_of_each_head_and_copies_the_rest() {
    each_case(40, |random| {
        let (rows, heads, half) = (
            random.within(1..9),
            random.within(1..5),
            random.within(1..8),
        );
        let d = 2 * half + random.within(0..5);
        let mut p = Builder::new();
        let whole = p.input("x", [rows, heads * d + 4], F32);
        let x = p.cols(whole, 4..4 + heads * d);
        let table = p.input("table", [rows, 2 * half], F32);
        let y = p.rope("r", x, table, heads, F32);
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let (x, t) = (wide(&tensors, "x"), wide(&tensors, "table"));
        let want: Vec<(f64, f64)> = (0..rows * heads * d)
            .map(|i| {
                let (row, lane) = (i / (heads * d), i % d);
                let at = row * (heads * d + 4) + 4 + i % (heads * d);
                let (sin, cos) = (&t[row * 2 * half..], &t[row * 2 * half + half..]);
                match lane {
                    l if l < half => dot([x[at] * cos[l], -x[at + half] * sin[l]].into_iter(), 0.0),
                    l if l < 2 * half => {
                        let l = l - half;
                        dot([x[at] * cos[l], x[at - half] * sin[l]].into_iter(), 0.0)
                    }
                    _ => (x[at], 0.0),
                }
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

/// Windows that cover `queries` rows in order, each with one to three ranges of `keys`.
fn windows(random: &mut Random, queries: usize, keys: usize) -> Vec<MaskBlock> {
    let mut windows = Vec::new();
    let mut start = 0;
    while start < queries {
        let end = random.within(start + 1..queries + 1);
        let mut cuts: Vec<usize> = (0..2 * random.within(1..4))
            .map(|_| random.within(0..keys + 1))
            .collect();
        cuts.sort_unstable();
        let mut ranges: Vec<_> = cuts
            .chunks_exact(2)
            .map(|pair| pair[0]..pair[1])
            .filter(|r| !r.is_empty())
            .collect();
        if ranges.is_empty() {
            ranges.push(0..keys);
        }
        windows.push(MaskBlock {
            queries: start..end,
            keys: ranges,
        });
        start = end;
    }
    windows
}

#[test]
fn attention_is_one_softmax_over_the_union_of_key_ranges() {
    each_case(60, |random| {
        let (rows, keys, d) = (
            random.within(1..150),
            random.within(1..40),
            random.within(1..20),
        );
        let kv_heads = random.within(1..4);
        let heads = kv_heads * random.within(1..4);
        let softcap = (random.within(0..2) == 1).then_some(2.0);
        let scale = 1.5;
        let windows = windows(random, rows, keys);
        let mut p = Builder::new();
        let [qw, kw] = [heads * d, kv_heads * d];
        let q = p.input("q", [rows, qw], F32);
        let kv = p.input("kv", [keys, 2 * kw], F32);
        let (k, v) = (p.cols(kv, 0..kw), p.cols(kv, kw..2 * kw));
        let op = Attention {
            heads,
            kv_heads,
            scale,
            softcap,
            windows: windows.clone(),
        };
        let y = p.attention("a", [q, k, v], op, F32);
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let (q, kv) = (wide(&tensors, "q"), wide(&tensors, "kv"));
        let element = |i: usize| {
            let (row, head, lane) = (i / qw, i % qw / d, i % d);
            let kv_head = head / (heads / kv_heads);
            let window = windows.iter().find(|w| w.queries.contains(&row)).unwrap();
            let (mut sum, mut total) = (0.0, 0.0);
            for key in window.keys.iter().flat_map(Clone::clone) {
                let product: f64 = (0..d)
                    .map(|j| q[row * qw + head * d + j] * kv[key * 2 * kw + kv_head * d + j])
                    .sum();
                let z = f64::from(scale) * product;
                let z = softcap.map_or(z, |c| f64::from(c) * (z / f64::from(c)).tanh());
                sum += z.exp() * kv[key * 2 * kw + kw + kv_head * d + lane];
                total += z.exp();
            }
            // Values are below 1, so the error is that of the logits (d products, factor 1.5) and of the sum.
            (sum / total, (8 * d + keys + 32) as f64 * U)
        };
        let want: Vec<(f64, f64)> = (0..rows * qw).map(element).collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn the_gate_scales_whole_heads() {
    each_case(20, |random| {
        let (rows, heads, d) = (
            random.within(1..9),
            random.within(1..6),
            random.within(1..9),
        );
        let mut p = Builder::new();
        let (x, gate) = (
            p.input("x", [rows, heads * d], F32),
            p.input("gate", [rows, heads], F32),
        );
        let y = p.sigmoid_gate("g", x, gate, F32);
        p.output(y);
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let (x, gate) = (wide(&tensors, "x"), wide(&tensors, "gate"));
        let scaled = |i: usize| x[i] * sigmoid(gate[i / d]);
        let want: Vec<(f64, f64)> = (0..rows * heads * d)
            .map(|i| (scaled(i), 8.0 * U * scaled(i).abs()))
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

/// Values around the limits of the activations, and far beyond.
const EDGES: [f32; 16] = [
    -1e30, -100.0, -7.5, -7.0, -6.999, -1.0, -1e-6, -0.0, 0.0, 1e-6, 0.5, 6.999, 7.0, 7.001, 20.0,
    1e30,
];

/// `f` in f64 for every edge, within eight units in the last place, or of the smallest value that matters.
#[track_caller]
fn check_map(op: &Op, f: impl Fn(f64) -> f64) {
    let mut p = Builder::new();
    let x = p.input("x", [1, EDGES.len()], F32);
    let y = p.map("y", op.clone(), x, F32);
    p.output(y);
    let tensors = [("x".to_string(), Tensor::from_f32([1, EDGES.len()], &EDGES))].into();
    let want: Vec<(f64, f64)> = EDGES
        .iter()
        .map(|&x| {
            let y = f(f64::from(x));
            // exp of -12 and below is off by the rounding of its argument as well.
            (y, 32.0 * U * y.abs() + 1e-20)
        })
        .collect();
    println!("{}", op.name());
    close(&result(&p.finish(), y, &tensors), &want);
}

#[test]
fn activations_hold_at_and_beyond_their_limits() {
    let gelu7 = |u: f64| u.min(7.0) * sigmoid(1.702 * u.min(7.0));
    check_map(&Op::Gelu7, gelu7);
    check_map(&Op::Silu, |x| x * sigmoid(x));
    check_map(&Op::Relu, |x| x.max(0.0));
    check_map(&Op::Copy, |x| x);
    check_map(
        &Op::Clamp {
            low: -1.0,
            high: 6.5,
        },
        |x| x.clamp(-1.0, 6.5),
    );
    // Every pair of edges: gate and value interleaved.
    let pairs: Vec<f32> = EDGES
        .iter()
        .flat_map(|&a| EDGES.iter().flat_map(move |&b| [a, b]))
        .collect();
    let mut p = Builder::new();
    let u = p.input("u", [EDGES.len(), 2 * EDGES.len()], F32);
    let y = p.swiglu7("y", u, F32);
    p.output(y);
    let tensors = [(
        "u".to_string(),
        Tensor::from_f32([EDGES.len(), 2 * EDGES.len()], &pairs),
    )]
    .into();
    let want: Vec<(f64, f64)> = pairs
        .chunks_exact(2)
        .map(|pair| {
            let (a, b) = (f64::from(pair[0]), f64::from(pair[1]).clamp(-7.0, 7.0));
            (
                gelu7(a) * (b + 1.0),
                40.0 * U * gelu7(a).abs() * (b.abs() + 1.0) + 1e-20,
            )
        })
        .collect();
    close(&result(&p.finish(), y, &tensors), &want);
}

#[test]
fn gelu_tanh_is_the_tanh_form() {
    let mut p = Builder::new();
    let xs: Vec<f32> = (-80..=80).map(|i| i as f32 / 10.0).collect();
    let x = p.input("x", [1, xs.len()], F32);
    let y = p.map("y", Op::GeluTanh, x, F32);
    p.output(y);
    let tensors = [("x".to_string(), Tensor::from_f32([1, xs.len()], &xs))].into();
    let want: Vec<(f64, f64)> = xs
        .iter()
        .map(|&x| {
            let x = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            // Near tanh = -1 one plus tanh cancels, so the error is that of tanh times x.
            (0.5 * x * (1.0 + inner.tanh()), 8.0 * U * x.abs())
        })
        .collect();
    close(&result(&p.finish(), y, &tensors), &want);
}

#[test]
fn combine_weighs_inputs_by_group_and_never_touches_those_of_weight_zero() {
    each_case(30, |random| {
        let (groups, share, cols, inputs) = (
            random.within(1..4),
            random.within(1..5),
            random.within(1..9),
            random.within(1..5),
        );
        let rows = groups * share;
        let mut p = Builder::new();
        let c = p.input("c", [inputs, groups], F32);
        let xs: Vec<Buf> = (0..inputs)
            .map(|i| p.input(&format!("x{i}"), [rows, cols], F32))
            .collect();
        let y = p.combine("y", c, &xs);
        p.output(y);
        let plan = p.finish();
        let mut tensors = random_tensors(&plan, random);
        // The first input is not a number throughout and has weight zero.
        let mut table = tensors["c"].to_f32().into_owned();
        if inputs > 1 {
            table[..groups].fill(0.0);
            tensors.insert(
                "x0".into(),
                Tensor::from_f32([rows, cols], &vec![f32::NAN; rows * cols]),
            );
        }
        tensors.insert("c".into(), Tensor::from_f32([inputs, groups], &table));
        let all: Vec<Vec<f64>> = (0..inputs)
            .map(|i| wide(&tensors, &format!("x{i}")))
            .collect();
        let want: Vec<(f64, f64)> = (0..rows * cols)
            .map(|at| {
                let factor = |i: usize| f64::from(table[i * groups + at / cols / share]);
                let used = (0..inputs).filter(|&i| factor(i) != 0.0);
                dot(used.map(|i| factor(i) * all[i][at]), 0.0)
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}

#[test]
fn sums_products_and_channel_maps() {
    each_case(10, |random| {
        let (rows, cols) = (random.within(1..9), random.within(1..9));
        let mut p = Builder::new();
        let [x, z] = ["x", "z"].map(|name| p.input(name, [rows, cols], F32));
        let [a, b] = ["a", "b"].map(|name| p.input(name, [cols], F32));
        let made = [
            p.add("s", x, z, F32),
            p.mul("m", x, z, F32),
            p.affine("f", x, [a, b], F32),
        ];
        made.iter().for_each(|&buf| p.output(buf));
        let plan = p.finish();
        let tensors = random_tensors(&plan, random);
        let [x, z, a, b] = ["x", "z", "a", "b"].map(|name| wide(&tensors, name));
        let mut program = run(&plan, &tensors, false);
        let got = made.map(|buf| program.read(buf).unwrap().to_f32().into_owned());
        let each = |f: &dyn Fn(usize) -> (f64, f64)| -> Vec<(f64, f64)> {
            (0..rows * cols).map(f).collect()
        };
        close(&got[0], &each(&|i| dot([x[i]].into_iter(), z[i])));
        close(&got[1], &each(&|i| dot([x[i] * z[i]].into_iter(), 0.0)));
        close(
            &got[2],
            &each(&|i| dot([x[i] * a[i % cols]].into_iter(), b[i % cols])),
        );
    });
}

#[test]
fn patches_are_packed_channel_slowest_and_unpacked_channel_fastest() {
    let grid = Grid {
        frames: 2,
        height: 4,
        width: 6,
    };
    let channels = 3;
    let positions = 2 * 4 * 6;
    let mut p = Builder::new();
    let latent = p.input("latent", [channels, positions], F32);
    let tokens = p.input("tokens", [positions / 4, 4 * channels], F32);
    let (packed, unpacked) = (
        p.patchify("in", latent, grid),
        p.unpatchify("out", tokens, grid),
    );
    p.output(packed);
    p.output(unpacked);
    let plan = p.finish();
    let count: Vec<f32> = (0..channels * positions).map(|i| i as f32).collect();
    let tensors = [
        (
            "latent".to_string(),
            Tensor::from_f32([channels, positions], &count),
        ),
        (
            "tokens".to_string(),
            Tensor::from_f32([positions / 4, 4 * channels], &count),
        ),
    ];
    let mut program = run(&plan, &tensors.into(), false);
    let packed = program.read(packed).unwrap().to_f32().into_owned();
    let unpacked = program.read(unpacked).unwrap().to_f32().into_owned();
    for (t, y, x, c) in (0..2).flat_map(|t| {
        (0..4).flat_map(move |y| (0..6).flat_map(move |x| (0..3).map(move |c| (t, y, x, c))))
    }) {
        let position = (t * 4 + y) * 6 + x;
        let token = (t * 2 + y / 2) * 3 + x / 2;
        let (dy, dx) = (y % 2, x % 2);
        let latent_index = c * positions + position;
        assert_eq!(
            packed[token * 12 + 4 * c + 2 * dy + dx],
            latent_index as f32,
            "in {t} {y} {x} {c}"
        );
        assert_eq!(
            unpacked[latent_index],
            (token * 12 + (2 * dy + dx) * 3 + c) as f32,
            "out {t} {y} {x} {c}"
        );
    }
}

#[test]
fn embed_picks_and_scales_rows() {
    each_case(10, |random| {
        let (count, vocabulary, width) = (
            random.within(1..20),
            random.within(1..30),
            random.within(1..9),
        );
        let scale = 3.5;
        let mut p = Builder::new();
        let ids = p.input("ids", [count], I32);
        let y = p.embed("table", ids, [vocabulary, width], scale, F32);
        p.output(y);
        let plan = p.finish();
        let mut tensors = random_tensors(&plan, random);
        let chosen: Vec<i32> = (0..count)
            .map(|_| i32::try_from(random.within(0..vocabulary)).unwrap())
            .collect();
        tensors.insert("ids".into(), Tensor::from_i32([count], &chosen));
        let table = wide(&tensors, "table.weight");
        let row = |i: usize| usize::try_from(chosen[i]).unwrap() * width;
        let want: Vec<(f64, f64)> = (0..count * width)
            .map(|i| {
                dot(
                    [f64::from(scale) * table[row(i / width) + i % width]].into_iter(),
                    0.0,
                )
            })
            .collect();
        close(&result(&plan, y, &tensors), &want);
    });
}
