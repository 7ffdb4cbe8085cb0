//! Lowered programs: what they compute, fused or not, recorded or not, what they refuse, and their memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gallop::{
    DType::{Bf16, F32, I32},
    Error, Tensor,
    cpu::Cpu,
    cuda::Cuda,
    executor::{Cancel, Executor, Prepare},
    golden,
    plan::{Attention, Buf, Builder, Cost, Dense, MaskBlock, Norm, Op, Plan},
    qualify::{Verdict, cases::TESTS, compare, relative_l2},
    weights::Weights,
};

use crate::{
    emulate::{Policy, device::Emulated},
    golden_cases,
    harness::{Unfused, emulated, given, kernels, no_weights, run_on, step},
    in_memory::InMemory,
};

/// Replays a golden case; false if its file is not here.
fn replay(name: &str, executor: &dyn Executor) -> bool {
    let suites = golden_cases::suites("dit");
    let mut cases = suites.iter().flat_map(golden::Suite::cases);
    let Some(case) = cases.find(|case| case.name() == name && golden_cases::is_here(case)) else {
        println!("{name}: not run, its file is not here");
        return false;
    };
    let start = Instant::now();
    let checks = golden::run(&case, executor).unwrap_or_else(|e| panic!("{name}: {e}"));
    let worst = checks.iter().map(|c| c.ratio()).fold(0.0, f64::max);
    println!(
        "{name} on {}: {} checks in {:.2} s, largest error {worst:.2} of what is allowed",
        executor.name(),
        checks.len(),
        start.elapsed().as_secs_f64()
    );
    let is_output = |what: &str| what.starts_with("out.");
    assert!(checks.iter().any(|check| is_output(&check.what)));
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict() == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{name}: {failed:#?}");
    true
}

#[test]
fn fused_networks_match_the_reference() {
    // The first is in the crate; the others are larger and stored beside it.
    assert!(replay("dit_c_gqa5", &emulated(Policy::Random, 1)));
    replay("dit_a_tiny_v2", &emulated(Policy::Eager, 3));
    replay("dit_b_local_v1", &emulated(Policy::Lazy, 5));
}

#[test]
fn unfused_networks_match_the_reference() {
    assert!(replay("dit_c_gqa5", &Unfused(emulated(Policy::Lazy, 2))));
    replay("dit_a_tiny_v2", &Unfused(emulated(Policy::Random, 4)));
    replay("dit_b_local_v1", &Unfused(emulated(Policy::Eager, 6)));
}

#[test]
fn a_whole_clip_matches_the_reference() {
    assert!(replay("e2e_distill8", &emulated(Policy::Random, 9)));
}

#[test]
fn forty_layers_match_the_reference() {
    assert!(replay("dit_i_deep40", &emulated(Policy::Eager, 10)));
}

#[test]
fn every_op_of_a_step_is_within_the_cost_of_rounding() {
    let plan = step();
    let (weights, inputs) = given(&plan, 1);
    let checks = compare(&plan, &weights, &inputs, &emulated(Policy::Random, 7)).unwrap();
    assert_eq!(checks.len(), 2 * plan.steps().len());
    let worst = checks.iter().map(|c| c.ratio()).fold(0.0, f64::max);
    println!(
        "{} steps, largest error {worst:.2} of what is allowed",
        plan.steps().len()
    );
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict() == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_case_of_the_row_kernels_is_within_the_cost_of_rounding() {
    let mut failed = Vec::new();
    for (seed, case) in TESTS.iter().enumerate() {
        let (plan, _) = case.plan();
        let (weights, inputs) = given(&plan, seed as u64);
        let device = emulated(Policy::Eager, seed as u64);
        let checks = compare(&plan, &weights, &inputs, &device);
        let checks = checks.unwrap_or_else(|e| panic!("{case:?}: {e}"));
        let bad = checks.into_iter().filter(|c| c.verdict() == Verdict::Fail);
        failed.extend(bad.map(|check| (case, check)));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn fused_or_not_recorded_or_not_two_steps_give_the_same_latents() {
    let plan = step();
    let given = given(&plan, 2);
    let latents = |device: Emulated, how: Prepare| {
        let device = Arc::new(device);
        let mut program = run_on(&device, &plan, &how, &given, 2);
        let read = |label| {
            program
                .read(plan.find(label).unwrap())
                .unwrap()
                .to_f32()
                .into_owned()
        };
        let values = ["latent.video", "latent.audio"].map(read);
        (values, kernels(&*program), device.replays())
    };
    let unfused = Prepare {
        fuse: false,
        ..Prepare::default()
    };
    let (plain, apart, _) = latents(Emulated::new(Policy::Lazy, 1), unfused);
    let (fused, together, none) = latents(Emulated::new(Policy::Random, 2), Prepare::default());
    let graphs = Emulated::new(Policy::Eager, 3).with_graphs();
    let (recorded, again, replays) = latents(graphs, Prepare::default());
    assert_eq!(fused, recorded, "order of execution");
    assert_eq!((&together, none), (&again, 0));
    // All weights are on the device and the run is short.
    assert_eq!(replays, 2);
    let swallowed = apart.len() - together.len();
    let count = |names: &[&str], part: &str| names.iter().filter(|n| n.contains(part)).count();
    // Two conditions, two layers: q and k, the gate, the norm in front of the second layer's MLP and both of the first.
    assert_eq!(
        count(&apart, "norm_rope") + count(&apart, "add_rms_norm"),
        0
    );
    assert_eq!(count(&together, "norm_rope"), 8);
    assert_eq!(
        (
            count(&together, "sigmoid_gate"),
            count(&apart, "sigmoid_gate")
        ),
        (0, 4)
    );
    // The activations, and both sums of the layer without norms behind its parts.
    let products = ["gemm_bf16_swiglu7", "gemm_bf16_gelu7", "gemm_bf16_add"];
    assert_eq!(products.map(|name| count(&apart, name)), [0; 3]);
    assert_eq!(products.map(|name| count(&together, name)), [2, 2, 4]);
    assert_eq!(swallowed, 8 + 4 + 8 + count(&together, "add_rms_norm"));
    assert!(count(&together, "add_rms_norm") >= 2, "{together:?}");
    for (fused, plain) in fused.iter().zip(&plain) {
        assert!(relative_l2(fused, plain) < 2e-3);
    }
}

#[test]
fn two_whole_steps_are_as_near_to_no_rounding_as_on_the_cpu() {
    let plan = step();
    let latents = |executor: &dyn Executor, plan: &Plan| {
        let (weights, inputs) = given(plan, 7);
        let mut program = executor
            .load_and_prepare(plan, &weights, &Prepare::default())
            .unwrap();
        for (buf, value) in &inputs {
            program.write(*buf, value).unwrap();
        }
        (0..2).for_each(|_| program.run().unwrap());
        let read = |label| program.read(plan.find(label).unwrap()).unwrap();
        ["latent.video", "latent.audio"].map(read)
    };
    let want = latents(&Cpu, &plan.in_f32());
    let near = latents(&Cpu, &plan);
    let got = latents(&emulated(Policy::Random, 11), &plan);
    for ((want, near), got) in want.iter().zip(&near).zip(&got) {
        let [want, near, got] = [want, near, got].map(Tensor::to_f32);
        let (rounding, error) = (relative_l2(&near, &want), relative_l2(&got, &want));
        println!("off by {error:.2e}, the CPU by {rounding:.2e}");
        assert!(rounding > 0.0 && error <= 1.5 * rounding);
    }
}

#[test]
fn what_is_tapped_is_not_swallowed() {
    let plan = step();
    let given = given(&plan, 3);
    let how = Prepare {
        taps: true,
        ..Prepare::default()
    };
    let mut program = run_on(
        &Arc::new(Emulated::new(Policy::Lazy, 0)),
        &plan,
        &how,
        &given,
        1,
    );
    let names = kernels(&*program);
    assert!(!names.contains(&"norm_rope_bf16") && names.contains(&"sigmoid_gate_bf16"));
    assert!(names.contains(&"add_rms_norm_bf16"), "it writes its sum");
    // A part of a buffer, at the pitch of the whole.
    let is_k = |buf: &Buf| {
        plan.spec(*buf)
            .label
            .ends_with("linear_qkv[0..32, 256..384]")
    };
    let k = plan.handles().find(is_k).unwrap();
    let whole = program.read(plan.root(k)).unwrap();
    let part = program.read(k).unwrap();
    let cols = whole.shape().cols();
    for (row, got) in part.to_f32().chunks_exact(128).enumerate() {
        assert_eq!(got, &whole.to_f32()[row * cols + 256..row * cols + 384]);
    }
}

#[test]
fn ops_without_kernel_are_named_before_anything_is_allocated() {
    let mut p = Builder::new();
    let x = p.input("x", [4, 40], Bf16);
    let y = p.map("first", Op::Copy, x, F32);
    let y = p.map(
        "layers.3.clamp",
        Op::Clamp {
            low: 0.0,
            high: 1.0,
        },
        y,
        F32,
    );
    p.output(y);
    let plan = p.finish();
    let device = Arc::new(Emulated::new(Policy::Lazy, 0));
    let prepared =
        Cuda::new(device.clone()).load_and_prepare(&plan, &no_weights(), &Prepare::default());
    let error = prepared.err().unwrap();
    assert_eq!(
        error.to_string(),
        "`emulator` cannot run clamp at layers.3.clamp (f32 [4, 40] to f32 [4, 40]): there is no kernel for these types; \
         set `device` to cpu"
    );
    assert_eq!((error.exit_code(), device.allocations()), (5, 0));
    assert!(Cuda::new(device).check(&plan, &Prepare::default()).is_err());
}

#[test]
fn types_and_shapes_without_kernel_are_refused() {
    let refusal = |build: &dyn Fn(&mut Builder) -> Buf| {
        let mut p = Builder::new();
        let y = build(&mut p);
        p.output(y);
        let plan = p.finish();
        let error = emulated(Policy::Lazy, 0)
            .check(&plan, &Prepare::default())
            .unwrap_err();
        assert_eq!(error.exit_code(), 5);
        error.to_string()
    };
    let heads = |heads: usize, width: usize| {
        move |p: &mut Builder| {
            let x = p.input("x", [8, heads * width], Bf16);
            let op = Attention {
                heads,
                kv_heads: heads,
                scale: 1.0,
                softcap: None,
                windows: vec![MaskBlock::new(0..8, [0..8])],
            };
            p.attention("a", [x; 3], op, Bf16)
        }
    };
    for width in [20, 1032] {
        assert!(refusal(&heads(2, width)).contains("multiple of 8 columns, at most 1024"));
    }
    let f32_by_bf16 = |p: &mut Builder| {
        let x = p.input("x", [8, 16], F32);
        let dense = Dense {
            rows: 8,
            bias: false,
            weight: Bf16,
            out: F32,
        };
        p.linear("l", x, &[8], dense)
    };
    assert!(
        refusal(&f32_by_bf16).contains("linear at l (f32 [8, 16], bf16 [8, 16] to f32 [8, 8])")
    );
    let odd_norm = |p: &mut Builder| {
        let x = p.input("x", [8, 20], Bf16);
        let norm = Norm {
            width: 20,
            eps: 1e-6,
            weight: Some(F32),
            out: Bf16,
        };
        p.rms_norm("n", x, &[8], norm)
    };
    assert!(refusal(&odd_norm).contains("multiple of 8"));
}

#[test]
fn what_does_not_fit_is_refused_with_numbers_before_anything_is_allocated() {
    let plan = step();
    let (weights, _) = given(&plan, 4);
    let device = Arc::new(Emulated::new(Policy::Lazy, 0).with_capacity(3 << 20));
    let prepared = Cuda::new(device.clone()).load_and_prepare(&plan, &weights, &Prepare::default());
    let error = prepared.err().unwrap();
    assert!(matches!(error, Error::Memory { have_bytes, .. } if have_bytes == 3 << 20));
    let text = error.to_string();
    let fits = text.starts_with("need ")
        && text.contains("of weights with layers streamed and")
        && text.ends_with("; 3.0 MiB free; lower `size` or `seconds`");
    assert!(fits, "{text}");
    assert_eq!((error.exit_code(), device.allocations()), (5, 0));
}

#[test]
fn a_program_frees_its_memory_and_allocates_nothing_when_it_runs() {
    let plan = step();
    let given = given(&plan, 5);
    let device = Arc::new(Emulated::new(Policy::Lazy, 0));
    let free = || gallop::cuda::Device::free_bytes(&*device).unwrap();
    let before = free();
    let mut program = run_on(&device, &plan, &Prepare::default(), &given, 0);
    let (allocations, after) = (device.allocations(), free());
    assert!(allocations == 3 && after < before);
    program.run().unwrap();
    assert_eq!((device.allocations(), free()), (allocations, after));
    drop(program);
    assert_eq!(free(), before);
}

#[test]
fn values_cross_at_any_width_and_type() {
    let mut p = Builder::new();
    let x = p.input("x", [3, 5], F32);
    let state = p.state("s", [3, 5], F32);
    let ids = p.input("ids", [4], I32);
    let rounded = p.map("rounded", Op::Copy, x, Bf16);
    let rows = p.embed("table", ids, [6, 12], 2.0, F32);
    let sum = p.add("sum", state, rounded, F32);
    p.at(state).map("", Op::Copy, sum, F32);
    for buf in [rounded, rows, sum] {
        p.output(buf);
    }
    let plan = p.finish();
    let table: Vec<f32> = (0..72).map(|i| i as f32).collect();
    let weights = [(
        "table.weight".into(),
        Tensor::from_f32([6, 12], &table).cast(Bf16),
    )];
    let weights = Weights::new(Box::new(InMemory(weights.into())));
    let values: Vec<f32> = (0..15).map(|i| 1.0 + i as f32 / 512.0).collect();
    let inputs = vec![
        (x, Tensor::from_f32([3, 5], &values)),
        (ids, Tensor::from_i32([4], &[5, 0, 1, 5])),
    ];
    let device = Arc::new(Emulated::new(Policy::Random, 8));
    let mut program = run_on(&device, &plan, &Prepare::default(), &(weights, inputs), 2);
    let round: Vec<f32> = values.iter().map(|&v| Bf16.round(v)).collect();
    let twice: Vec<f32> = round.iter().map(|v| v + v).collect();
    assert_eq!(program.read(rounded).unwrap().to_f32(), round);
    assert_eq!(
        program.read(sum).unwrap().to_f32(),
        twice,
        "state is zero at first and stays"
    );
    let row = |id: usize| {
        table[id * 12..id * 12 + 12]
            .iter()
            .map(|v| 2.0 * v)
            .collect::<Vec<f32>>()
    };
    assert_eq!(
        program.read(rows).unwrap().to_f32(),
        [5, 0, 1, 5].map(row).concat()
    );
    program.write(state, &Tensor::zeros([3, 5], F32)).unwrap();
    program.run().unwrap();
    assert_eq!(program.read(state).unwrap().to_f32(), round);
}

#[test]
fn a_failing_kernel_is_named_when_every_step_is_waited_for() {
    let mut p = Builder::new();
    let x = p.input("x", [4, 16], Bf16);
    let y = p.map("layers.0.silu", Op::Silu, x, Bf16);
    let y = p.map("layers.0.relu", Op::Relu, y, Bf16);
    p.output(y);
    let plan = p.finish();
    let error = |sync| {
        let device = Emulated::new(Policy::Lazy, 0).failing("silu_bf16");
        let how = Prepare {
            sync,
            ..Prepare::default()
        };
        let cuda = Cuda::new(Arc::new(device));
        let mut program = cuda.load_and_prepare(&plan, &no_weights(), &how).unwrap();
        program.write(x, &Tensor::zeros([4, 16], F32)).unwrap();
        program.run().unwrap_err().to_string()
    };
    assert_eq!(
        error(true),
        "silu at layers.0.silu: an illegal address was used"
    );
    assert!(error(false).starts_with("an illegal address was used"));
}

#[test]
fn a_cancel_stops_the_run_and_the_profile_has_a_time_for_every_launch() {
    let plan = step();
    let given = given(&plan, 6);
    let cancel = Cancel::default();
    let how = Prepare {
        cancel: cancel.clone(),
        profile: true,
        ..Prepare::default()
    };
    let device = Arc::new(Emulated::new(Policy::Lazy, 0));
    let mut program = run_on(&device, &plan, &how, &given, 2);
    let report = program.report();
    assert_eq!(report.runs, 2);
    let mut end = 0;
    for unit in &report.units {
        assert_eq!(unit.steps.start, end);
        end = unit.steps.end;
        // The emulator's clock says a millisecond for everything.
        assert_eq!(unit.times, [Duration::from_millis(1); 2], "{}", unit.label);
        let is_fused = unit.steps.len() > 1;
        assert_eq!(unit.op.contains('+'), is_fused, "{}", unit.op);
        let apart: Cost = unit.steps.clone().map(|step| plan.cost(step)).sum();
        assert_eq!(unit.cost.flops, apart.flops);
        assert_eq!(unit.cost.bytes() < apart.bytes(), is_fused, "{}", unit.op);
    }
    assert_eq!(end, plan.steps().len());
    cancel.cancel();
    assert!(matches!(program.run(), Err(Error::Interrupted)));
}
