//! Plans without a model: labels, parts, lifetimes and arena, cost, text, the plans made from a plan.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gallop::{
    DType::{Bf16, E4m3, F32},
    Tensor,
    plan::{
        Attention, Buf, Builder, Conv1d, Conv3d, Dense, Grid, Kernel1d, Kernel3d, MaskBlock, Norm,
        Op, PaddingMode, Plan, Role, Step,
    },
};

use crate::{
    each_case,
    random::Random,
    run::{random_tensors, run},
    snapshot::{compare, snapshot},
};

const DENSE: Dense = Dense {
    rows: 6,
    bias: false,
    weight: Bf16,
    out: Bf16,
};

fn full(heads: usize, kv_heads: usize, rows: usize) -> Attention {
    Attention {
        heads,
        kv_heads,
        scale: 0.5,
        softcap: None,
        windows: vec![MaskBlock {
            queries: 0..rows,
            keys: vec![0..rows],
        }],
    }
}

/// A layer as models write them: norms, parts of a joint projection, attention, a residual.
fn block() -> Plan {
    let mut p = Builder::new();
    let x = p.input("x", [5, 8], F32);
    let norm = Norm {
        width: 8,
        eps: 1e-6,
        weight: Some(F32),
        out: Bf16,
    };
    let out = p.segment("layers.0", |p| {
        let h = p.scope("attention", |p| {
            let h = p.rms_norm("pre_norm", x, &[2, 5], norm);
            let qkv = p.linear("qkv", h, &[2, 5], Dense { rows: 16, ..DENSE });
            let [q, k, v] = [0..8, 8..12, 12..16].map(|range| p.cols(qkv, range));
            let a = p.attention("sdpa", [q, k, v], full(4, 2, 5), Bf16);
            p.linear(
                "proj",
                a,
                &[5],
                Dense {
                    rows: 8,
                    bias: true,
                    weight: F32,
                    out: F32,
                },
            )
        });
        p.add("out", x, h, F32)
    });
    p.output(out);
    p.finish()
}

/// Up to 30 steps over buffers of a few sizes, with parts and destinations.
fn random_plan(random: &mut Random) -> Plan {
    let mut p = Builder::new();
    let mut known: Vec<Buf> = [3, 8]
        .iter()
        .map(|&cols| p.input(&format!("x{cols}"), [4, cols], F32))
        .collect();
    known.push(p.state("history", [4, 8], F32));
    for step in 0..random.within(1..30) {
        let x = known[random.within(0..known.len())];
        let cols = p.shape(x).cols();
        let name = format!("s{step}");
        let made = match random.within(0..5) {
            0 => p.map(&name, Op::Silu, x, if step % 2 == 0 { Bf16 } else { F32 }),
            1 => p.linear(
                &name,
                x,
                &[4],
                Dense {
                    rows: random.within(1..20),
                    ..DENSE
                },
            ),
            2 => p.add(&name, x, x, F32),
            3 => {
                let from = random.within(0..cols);
                let part = p.cols(x, from..random.within(from..cols) + 1);
                p.map(&name, Op::Relu, part, F32)
            }
            _ => {
                let whole = p.assemble(&name, [4, 2 * cols], F32);
                let (left, right) = (p.cols(whole, 0..cols), p.cols(whole, cols..2 * cols));
                p.at(left).map("left", Op::Silu, x, F32);
                p.at(right).map("right", Op::Copy, x, F32);
                whole
            }
        };
        known.push(made);
    }
    let last = known[known.len() - 1];
    p.output(last);
    p.finish()
}

/// Whether `buf` holds something during `step`, by reading all steps: what a lifetime is.
fn is_alive(plan: &Plan, buf: Buf, step: usize) -> bool {
    let spec = plan.spec(buf);
    if spec.part.is_some() || spec.role == Role::Weight {
        return false;
    }
    let touches = |s: &Step| {
        s.reads
            .iter()
            .chain([&s.writes])
            .any(|&other| plan.root(other) == buf)
    };
    let (before, after) = plan.steps().split_at(step);
    let (now, later) = (touches(&after[0]), after.iter().any(touches));
    spec.role != Role::Scratch || now || (before.iter().any(touches) && later)
}

/// Bytes that all buffers would take without sharing memory.
fn separate_bytes(plan: &Plan) -> usize {
    let specs = plan.handles().map(|buf| plan.spec(buf));
    let whole = specs.filter(|spec| spec.part.is_none() && spec.role != Role::Weight);
    whole.map(|spec| spec.bytes().next_multiple_of(256)).sum()
}

#[test]
fn no_two_live_buffers_overlap_in_the_arena() {
    each_case(200, |random| {
        let plan = random_plan(random);
        let arena = plan.arena();
        assert!(arena.bytes <= separate_bytes(&plan));
        for step in 0..plan.steps().len() {
            let alive = plan.handles().filter(|&buf| is_alive(&plan, buf, step));
            let mut places: Vec<(usize, usize)> = alive
                .map(|buf| {
                    let offset = arena.offsets[buf.index()].expect("a live buffer has a place");
                    assert_eq!(offset % 256, 0);
                    (offset, offset + plan.spec(buf).bytes())
                })
                .collect();
            places.sort_unstable();
            assert!(
                places.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                "step {step}: {places:?}\n{plan}"
            );
            assert!(places.last().is_some_and(|last| last.1 <= arena.bytes));
        }
    });
}

#[test]
fn what_a_group_of_steps_touches_overlaps_nothing_and_what_is_not_written_has_no_place() {
    each_case(200, |random| {
        let plan = random_plan(random);
        let mut groups: Vec<Range<usize>> = Vec::new();
        while groups
            .last()
            .is_none_or(|last| last.end < plan.steps().len())
        {
            let start = groups.last().map_or(0, |last| last.end);
            groups.push(start..(start + random.within(1..4)).min(plan.steps().len()));
        }
        let scratch = |buf: &Buf| plan.spec(*buf).role == Role::Scratch;
        let unwritten = plan.steps().first().map(|step| plan.root(step.writes));
        let unwritten: Vec<Buf> = unwritten.into_iter().filter(scratch).collect();
        let arena = plan.arena_of_groups(&groups, &unwritten);
        for group in &groups {
            let alive = |buf: &Buf| group.clone().any(|step| is_alive(&plan, *buf, step));
            let alive = plan.handles().filter(alive);
            let mut places: Vec<(usize, usize)> = alive
                .filter(|buf| !unwritten.contains(buf))
                .map(|buf| {
                    let offset = arena.offsets[buf.index()].expect("a live buffer has a place");
                    (offset, offset + plan.spec(buf).bytes())
                })
                .collect();
            places.sort_unstable();
            assert!(
                places.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                "steps {group:?}: {places:?}\n{plan}"
            );
        }
        let has_no_place = |buf: &Buf| arena.offsets[buf.index()].is_none();
        assert!(unwritten.iter().all(has_no_place));
    });
}

#[test]
fn a_long_chain_needs_the_memory_of_two_links() {
    let mut p = Builder::new();
    let mut x = p.input("x", [64, 64], F32);
    for i in 0..20 {
        x = p.map(&format!("s{i}"), Op::Silu, x, F32);
    }
    p.output(x);
    let plan = p.finish();
    let bytes = 64 * 64 * 4;
    assert_eq!(separate_bytes(&plan), 21 * bytes);
    // Input and output stay for the whole run.
    assert_eq!(plan.arena().bytes, 4 * bytes);
}

#[test]
fn rows_are_padded_to_eight_elements_and_sixteen_bytes() {
    let mut p = Builder::new();
    let x = p.input("x", [3, 13], Bf16);
    assert_eq!((p.spec(x).pitch(), p.spec(x).bytes()), (16, 3 * 16 * 2));
    let x = p.input("q", [3, 17], E4m3);
    assert_eq!((p.spec(x).pitch(), p.spec(x).bytes()), (32, 3 * 32));
}

#[test]
fn dropping_dead_buffers_changes_no_output() {
    each_case(50, |random| {
        let plan = random_plan(random);
        let tensors = random_tensors(&plan, random);
        let output = plan
            .handles()
            .filter(|&buf| plan.spec(buf).role == Role::Output);
        let output = output.last().expect("one was named");
        let [kept, dropped] =
            [true, false].map(|taps| run(&plan, &tensors, taps).read(output).unwrap());
        assert_eq!(kept.bytes(), dropped.bytes(), "{plan}");
    });
}

#[test]
fn cost_is_what_a_hand_computes() {
    let mut p = Builder::new();
    let x = p.input("x", [4, 8], Bf16);
    p.linear("l", x, &[4], DENSE);
    let qkv = p.input("q", [10, 16], Bf16);
    let windows = vec![
        MaskBlock {
            queries: 0..6,
            keys: vec![0..2, 5..9],
        },
        MaskBlock {
            queries: 6..10,
            keys: vec![0..10],
        },
    ];
    let local = Attention {
        heads: 2,
        kv_heads: 2,
        scale: 1.0,
        softcap: None,
        windows,
    };
    p.attention("a", [qkv, qkv, qkv], local, F32);
    let video = p.input("v", [3, 4, 6, 5], F32);
    let conv = Conv3d::same([3, 3, 3], 2, 0, PaddingMode::Zero);
    p.conv3d(
        "c",
        video,
        Kernel3d {
            shape: &[7, 5, 3, 3, 3],
            conv,
            weight: F32,
            out: F32,
        },
    );
    let sound = p.input("s", [12, 4], F32);
    let weight = p.weight("w", [6, 4, 3], F32);
    p.conv1d(
        "d",
        sound,
        Kernel1d { weight, bias: None },
        Conv1d {
            stride: 2,
            dilation: 1,
            padding: 1,
        },
    );
    let up = p.weight("u", [4, 5, 6], F32);
    let bias = Some(p.weight("ub", [5], F32));
    p.conv_transpose1d("t", sound, Kernel1d { weight: up, bias }, 3);
    p.map("m", Op::Silu, x, F32);
    let plan = p.finish();
    let costs: Vec<_> = (0..plan.steps().len()).map(|i| plan.cost(i)).collect();
    let flops: Vec<f64> = costs.iter().map(|cost| cost.flops).collect();
    let pairs = 6 * 6 + 4 * 10;
    let expected = [
        2 * 4 * 6 * 8,
        // Scores and their product with v, 16 columns over all heads.
        2 * 2 * pairs * 16,
        2 * (3 * 4 * 6 * 7) * (27 * 5),
        2 * (6 * 6) * (4 * 3),
        // 12 samples become 36; each is reached by 6 / 3 = 2 taps.
        2 * (36 * 5) * (2 * 4),
        0,
    ];
    assert_eq!(flops, expected.map(f64::from));
    assert_eq!(
        (costs[0].weight_bytes, costs[0].activation_bytes),
        (96.0, 64.0 + 48.0)
    );
    assert_eq!(plan.total_cost().flops, flops.iter().sum::<f64>());
    let floats = 6 * 4 * 3 + 4 * 5 * 6 + 5 + 7 * 5 * 27 + 7;
    assert_eq!(plan.weight_bytes(), 96 + 4 * floats);
}

/// The message of the panic in `body`.
fn panic_of(body: impl FnOnce(&mut Builder)) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| body(&mut Builder::new())))
        .expect_err("a shape mistake panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()))
        .unwrap_or_default()
}

type Mistake = (&'static str, fn(&mut Builder));

/// Mistakes, and what their messages say.
const MISTAKES: [Mistake; 15] = [
    ("up: groups end at [3], rows 4", |p| {
        let x = p.input("x", [4, 8], F32);
        p.linear("up", x, &[3], DENSE);
    }),
    ("pre_norm: 8 columns in runs of 3", |p| {
        let x = p.input("x", [4, 8], F32);
        p.rms_norm(
            "pre_norm",
            x,
            &[4],
            Norm {
                width: 3,
                eps: 0.0,
                weight: None,
                out: F32,
            },
        );
    }),
    ("res: [4, 8] and [4, 7]", |p| {
        let (x, y) = (p.input("x", [4, 8], F32), p.input("y", [4, 7], F32));
        p.add("res", x, y, F32);
    }),
    ("act: odd width 7", |p| {
        let x = p.input("x", [4, 7], F32);
        p.swiglu7("act", x, F32);
    }),
    ("rot: rows of x and table", |p| {
        let (x, t) = (p.input("x", [4, 8], F32), p.input("t", [5, 4], F32));
        p.rope("rot", x, t, 2, F32);
    }),
    ("sdpa: queries covered", |p| {
        let x = p.input("x", [4, 8], F32);
        p.attention("sdpa", [x, x, x], full(2, 2, 3), F32);
    }),
    ("sdpa: keys [0..5] of 4", |p| {
        let x = p.input("x", [4, 8], F32);
        p.attention("sdpa", [x, x, x], full(2, 2, 5), F32);
    }),
    ("sdpa: 4 heads, 3 key heads", |p| {
        let x = p.input("x", [4, 8], F32);
        p.attention("sdpa", [x, x, x], full(4, 3, 4), F32);
    }),
    ("gate: [4, 8], gate [4, 3]", |p| {
        let (x, g) = (p.input("x", [4, 8], F32), p.input("g", [4, 3], F32));
        p.sigmoid_gate("gate", x, g, F32);
    }),
    ("mix: [2, 1] for 1 of [4, 8]", |p| {
        let (x, c) = (p.input("x", [4, 8], F32), p.input("c", [2, 1], F32));
        p.combine("mix", c, &[x]);
    }),
    ("tokens: positions of [3, 8]", |p| {
        let x = p.input("x", [3, 8], F32);
        p.patchify(
            "tokens",
            x,
            Grid {
                frames: 1,
                height: 2,
                width: 2,
            },
        );
    }),
    ("x cannot be an output", |p| {
        let x = p.input("x", [4, 8], F32);
        p.output(x);
    }),
    ("w is f32 [2], not f32 [3]", |p| {
        p.weight("w", [2], F32);
        p.weight("w", [3], F32);
    }),
    ("rows 3..5, columns 0..8 of x [4, 8]", |p| {
        let x = p.input("x", [4, 8], F32);
        p.rows(x, 3..5);
    }),
    ("x[0..4, 0..4] [4, 4] cannot hold act [4, 8]", |p| {
        let x = p.input("x", [4, 8], F32);
        let half = p.cols(x, 0..4);
        p.at(half).map("act", Op::Silu, x, F32);
    }),
];

#[test]
fn shape_mistakes_panic_with_the_label() {
    for (expected, mistake) in MISTAKES {
        let message = panic_of(mistake);
        assert!(
            message.contains(expected),
            "expected `{expected}`, found `{message}`"
        );
    }
}

#[test]
fn the_text_of_a_plan_is_its_snapshot() {
    snapshot("core_block", &block());
    let folder = std::env::temp_dir().join(format!("gallop-snapshot-{}", std::process::id()));
    let file = folder.join("a.txt");
    assert!(
        compare(&file, "a\n", false)
            .unwrap_err()
            .contains("UPDATE=1")
    );
    compare(&file, "a\nb\n", true).unwrap();
    compare(&file, "a\nb\n", false).unwrap();
    let problem = compare(&file, "a\nc\n", false).unwrap_err();
    assert!(
        problem.contains("a.txt:2") && problem.contains("found    c"),
        "{problem}"
    );
    assert!(
        compare(&file, "a\n", false)
            .unwrap_err()
            .contains("found    the end")
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn labels_follow_scopes_and_segments_cover_their_steps() {
    let plan = block();
    assert_eq!(plan.segments().len(), 1);
    let segment = &plan.segments()[0];
    assert_eq!(
        (segment.label.as_str(), segment.steps.clone()),
        ("layers.0", 0..5)
    );
    let weights: Vec<&str> = plan
        .weights()
        .map(|buf| plan.spec(buf).label.as_str())
        .collect();
    assert_eq!(
        weights,
        [
            "layers.0.attention.pre_norm.weight",
            "layers.0.attention.qkv.weight",
            "layers.0.attention.proj.weight",
            "layers.0.attention.proj.bias"
        ]
    );
    let mut p = Builder::new();
    let x = p.input("x", [2, 8], F32);
    let [a, b] = ["cond", "uncond"].map(|name| p.branch(name, |p| p.linear("up", x, &[2], DENSE)));
    assert_eq!(
        (p.spec(a).label.as_str(), p.spec(b).label.as_str()),
        ("cond.up", "uncond.up")
    );
    assert_eq!(p.finish().weights().count(), 1);
}

#[test]
fn each_step_alone_gives_what_it_gave_in_the_plan() {
    let plan = block();
    each_case(3, |random| {
        let tensors = random_tensors(&plan, random);
        let mut whole = run(&plan, &tensors, true);
        for (index, step) in plan.steps().iter().enumerate() {
            let single = plan.single(index);
            assert_eq!(single.steps().len(), 1);
            let mut given = tensors.clone();
            for &buf in &step.reads {
                let root = plan.root(buf);
                if plan.spec(root).role != Role::Weight {
                    given.insert(plan.spec(root).label.clone(), whole.read(root).unwrap());
                }
            }
            let got = run(&single, &given, false).read(step.writes).unwrap();
            let want = whole.read(step.writes).unwrap();
            assert_eq!(
                got.bytes(),
                want.bytes(),
                "{}",
                plan.spec(step.writes).label
            );
        }
    });
}

#[test]
fn the_f32_twin_rounds_no_activation_and_keeps_weights() {
    let plan = block();
    let twin = plan.in_f32();
    for (spec, other) in plan.buffers().iter().zip(twin.buffers()) {
        let expected = if spec.role == Role::Weight {
            spec.dtype
        } else {
            F32
        };
        assert_eq!(other.dtype, expected, "{}", spec.label);
    }
    each_case(3, |random| {
        let tensors = random_tensors(&plan, random);
        let h = plan.find("layers.0.attention.pre_norm").unwrap();
        let [rounded, exact] =
            [&plan, &twin].map(|plan| run(plan, &tensors, true).read(h).unwrap());
        assert_ne!(rounded.bytes(), exact.bytes());
        assert_eq!(
            rounded.bytes(),
            Tensor::from_f32([5, 8], &exact.cast(Bf16).to_f32()).bytes()
        );
    });
}

#[test]
fn parts_of_parts_are_the_rectangle_they_name() {
    let mut p = Builder::new();
    let x = p.input("x", [6, 10], F32);
    let cols = p.cols(x, 2..9);
    let rows = p.rows(cols, 1..5);
    let inner = p.cols(rows, 1..4);
    let part = p.spec(inner).part.clone().unwrap();
    assert_eq!((part.of, part.rows, part.cols), (x, 1..5, 3..6));
    let read = p.map("read", Op::Copy, inner, F32);
    let whole = p.assemble("whole", [8, 6], F32);
    let right = p.cols(whole, 2..6);
    let corner = p.rows(right, 4..8);
    let corner = p.cols(corner, 1..4);
    p.at(corner).map("write", Op::Copy, read, F32);
    let video = p.input("video", [3, 2, 2], F32);
    let frames = p.frames(video, 1..3);
    assert_eq!(p.shape(frames).extents(), [2, 2, 2]);
    let tail = p.map("tail", Op::Copy, frames, F32);
    let plan = p.finish();
    let count = |n: usize| -> Vec<f32> { (0..n).map(|i| i as f32).collect() };
    let tensors = [
        ("x".to_string(), Tensor::from_f32([6, 10], &count(60))),
        ("video".to_string(), Tensor::from_f32([3, 2, 2], &count(12))),
    ];
    let mut program = run(&plan, &tensors.into(), true);
    let expected: Vec<f32> = (1..5)
        .flat_map(|r| (3..6).map(move |c| (10 * r + c) as f32))
        .collect();
    assert_eq!(*program.read(read).unwrap().to_f32(), expected);
    let mut target = vec![0.0; 48];
    for (i, value) in expected.iter().enumerate() {
        target[(4 + i / 3) * 6 + 3 + i % 3] = *value;
    }
    assert_eq!(*program.read(whole).unwrap().to_f32(), target);
    assert_eq!(*program.read(tail).unwrap().to_f32(), count(12)[4..]);
}
