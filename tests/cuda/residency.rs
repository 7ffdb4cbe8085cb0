//! Residency of weights: results of resident and streamed layers, the waits that order them, and their memory.

use std::sync::Arc;

use gallop::{
    DType::{Bf16, F32},
    Error, Tensor,
    cuda::{Cuda, Device, device::Stream},
    error::{Field, Hint},
    executor::{self, Cancel, Executor, Prepare, Program, Residency},
    plan::{Buf, Builder, Dense, Grid, Norm, Plan, Role},
    tensor::Format,
    weights::{Architecture, Source, Synthetic, Weights, quantized},
};

use crate::{
    emulate::{
        Policy,
        device::{Emulated, Kind},
    },
    harness::{given, step_of},
    in_memory::InMemory,
};

/// Bytes of a pinned slot: a layer takes more than there are slots, so that they are used again and again.
const SLOT_BYTES: usize = 7 << 8;

fn how(weights: Residency) -> Prepare {
    Prepare {
        weights,
        ..Prepare::default()
    }
}

/// Layers of a norm, a GEMM and a sum; the sum of a layer and the norm of the next are one kernel, and all use one
/// more weight.
fn layers(count: usize) -> Plan {
    let mut p = Builder::new();
    let mut x = p.input("x", [8, 64], F32);
    let norm = Norm {
        width: 64,
        eps: 1e-6,
        weight: Some(F32),
        out: Bf16,
    };
    let dense = Dense {
        rows: 64,
        bias: false,
        weight: Bf16,
        out: F32,
    };
    for index in 0..count {
        x = p.segment(format_args!("layers.{index}"), |p| {
            let h = p.rms_norm("norm", x, &[8], norm);
            let h = p.linear("proj", h, &[8], dense);
            p.add("out", x, h, F32)
        });
    }
    let y = p.rms_norm("norm", x, &[8], norm);
    p.output(y);
    p.finish()
}

/// Every output after `runs` runs of `program`, each followed by a look at the outputs.
fn outputs(plan: &Plan, program: &mut dyn Program, inputs: &[(Buf, Tensor)]) -> Vec<Vec<f32>> {
    for (buf, value) in inputs {
        program.write(*buf, value).unwrap();
    }
    let mut values = Vec::new();
    for _ in 0..2 {
        program.run().unwrap();
        let kept = |buf: &Buf| {
            let spec = plan.spec(*buf);
            matches!(spec.role, Role::Output | Role::State) && spec.part.is_none()
        };
        for buf in plan.handles().filter(kept) {
            values.push(program.read(buf).unwrap().to_f32().into_owned());
        }
    }
    values
}

fn run(device: Emulated, plan: &Plan, weights: Residency) -> (Arc<Emulated>, Vec<Vec<f32>>) {
    let device = Arc::new(device);
    let given = given(plan, 21);
    let cuda = Cuda::new(device.clone()).copying(SLOT_BYTES);
    let mut program = cuda
        .load_and_prepare(plan, &given.0, &how(weights))
        .unwrap();
    let values = outputs(plan, &mut *program, &given.1);
    (device, values)
}

fn late(queue: Stream) -> Emulated {
    Emulated::new(Policy::Eager, 1).with_late(queue)
}

#[test]
fn streamed_layers_give_the_bits_of_resident_ones() {
    for count in [1, 2, 3, 4] {
        let plan = layers(count);
        let (_, want) = run(late(Stream::Copy), &plan, Residency::Resident);
        assert!(want.concat().iter().all(|v| v.is_finite()));
        for queue in [Stream::Copy, Stream::Compute] {
            for device in [late(queue), late(queue).with_graphs()] {
                let (device, got) = run(device, &plan, Residency::Streamed);
                assert_eq!(got, want, "{count} layers, {queue:?} late");
                assert_eq!(device.queued(), 0);
            }
        }
    }
}

/// Three layers, so that two slots go round.
fn network() -> Plan {
    let grid = Grid {
        frames: 2,
        height: 4,
        width: 4,
    };
    step_of([3, 1], grid, 5)
}

#[test]
fn a_streamed_network_gives_the_bits_of_a_resident_one() {
    let plan = network();
    let (_, want) = run(late(Stream::Copy), &plan, Residency::Resident);
    for device in [late(Stream::Copy), late(Stream::Compute).with_graphs()] {
        let (_, got) = run(device, &plan, Residency::Streamed);
        assert!(got == want, "streamed values differ");
    }
}

#[test]
fn what_the_device_makes_and_rounds_are_the_bits_of_the_host() {
    for plan in [network(), network().quantized(|_| Format::FP8)] {
        let (full, formats) = quantized::unquantized_specs(executor::required_tensors(&plan));
        let inputs = given(&plan, 8).1;
        let tensors = || {
            let source = Synthetic::new(Architecture::Dit, &full, 9).unwrap();
            let tensors = full.iter().map(|want| {
                let tensor = source.load(&want.name).unwrap();
                (want.name.clone(), tensor)
            });
            InMemory(tensors.collect())
        };
        let by_rule = || Synthetic::new(Architecture::Dit, &full, 9).unwrap();
        let results = [
            // Streamed layers are made and rounded on the host, what stays is made or copied.
            (Box::new(tensors()) as Box<dyn Source>, Residency::Streamed),
            (Box::new(tensors()), Residency::Resident),
            (Box::new(by_rule()), Residency::Resident),
        ];
        let results = results.map(|(source, residency)| {
            let weights = Weights::new(source).quantized(formats.clone());
            let device = Arc::new(late(Stream::Copy));
            let cuda = Cuda::new(device.clone()).copying(8 * SLOT_BYTES);
            let mut program = cuda
                .load_and_prepare(&plan, &weights, &how(residency))
                .unwrap();
            let launches = device.launches();
            (outputs(&plan, &mut *program, &inputs), launches)
        });
        let [(host, none), (rounded, some), (made, most)] = results;
        assert!(host == rounded && host == made, "values differ");
        assert_eq!((none, some > 0), (0, !formats.is_empty()));
        assert!(most > some);
    }
}

#[test]
fn every_wait_is_needed() {
    let plan = layers(5);
    let (_, want) = run(late(Stream::Copy), &plan, Residency::Streamed);
    // Kernels wait for copies, and a staging slot for the copy that reads it: late copies show a missing wait. Copies wait
    // for the kernels of the layer before the last: late kernels show a missing wait there.
    let kinds = [
        (Kind::Stream(Stream::Compute), Stream::Copy),
        (Kind::Host, Stream::Copy),
        (Kind::Stream(Stream::Copy), Stream::Compute),
    ];
    for (kind, queue) in kinds {
        let (device, _) = run(late(queue), &plan, Residency::Streamed);
        let count = device.waits(kind);
        assert!(count >= 8, "{kind:?}: {count}");
        let harmless = |number: &usize| {
            let (_, got) = run(
                late(queue).ignoring(kind, *number),
                &plan,
                Residency::Streamed,
            );
            got == want
        };
        let found = (0..count).filter(|number| !harmless(number)).count();
        println!("{kind:?}: {found} of {count} missing waits show");
        // The others have a later wait on the same stream that suffices.
        assert!(found >= 8);
    }
}

#[test]
fn what_fits_is_resident_then_streamed_then_refused() {
    let plan = layers(4);
    let given = given(&plan, 3);
    let prepare = |capacity: usize, weights| {
        let device = Arc::new(Emulated::new(Policy::Eager, 0).with_capacity(capacity));
        let cuda = Cuda::new(device.clone()).copying(SLOT_BYTES);
        let program = cuda.load_and_prepare(&plan, &given.0, &how(weights));
        (program.map(drop), device.allocations())
    };
    let cuda = Cuda::new(Arc::new(Emulated::new(Policy::Eager, 0)));
    let needs = cuda.check(&plan, &Prepare::default()).unwrap();
    let of = |weights: u64| needs.with(weights) as usize;
    let (resident, streamed) = (of(needs.weights), of(needs.streamed_weights));
    assert!(streamed < resident, "{needs:?}");
    assert!(prepare(resident, Residency::Auto).0.is_ok());
    assert!(prepare(resident - 1, Residency::Auto).0.is_ok());
    assert!(prepare(streamed, Residency::Streamed).0.is_ok());
    let refused = [
        (
            resident - 1,
            Residency::Resident,
            Hint::Set(Field::Residency, "streamed"),
        ),
        (streamed - 1, Residency::Auto, Hint::SMALLER_CLIP),
        (streamed - 1, Residency::Streamed, Hint::SMALLER_CLIP),
    ];
    for (capacity, weights, way_out) in refused {
        let (error, allocations) = prepare(capacity, weights);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Memory { have_bytes, .. } if have_bytes == capacity as u64));
        assert_eq!(error.hint(), Some(way_out), "{error}");
        assert_eq!((error.exit_code(), allocations), (5, 0));
    }
}

#[test]
fn what_a_plan_needs_is_what_it_takes() {
    let plan = layers(4);
    let given = given(&plan, 4);
    for weights in [Residency::Resident, Residency::Streamed] {
        let device = Arc::new(Emulated::new(Policy::Eager, 0));
        let free = || device.free_bytes().unwrap();
        let cuda = Cuda::new(device.clone()).copying(SLOT_BYTES);
        let needs = cuda.check(&plan, &how(weights)).unwrap();
        let paper = gallop::cuda::needs(&plan).unwrap();
        // Only tile lists depend on the number of multiprocessors.
        assert_eq!((paper.weights, paper.values), (needs.weights, needs.values));
        assert_eq!(paper.streamed_weights, needs.streamed_weights);
        let before = free();
        let program = cuda
            .load_and_prepare(&plan, &given.0, &how(weights))
            .unwrap();
        let held = match weights {
            Residency::Streamed => needs.streamed_weights,
            Residency::Auto | Residency::Resident => needs.weights,
        };
        assert_eq!(before - free(), needs.with(held), "{weights:?}");
        drop(program);
        assert_eq!(free(), before);
    }
}

#[test]
fn a_cancel_within_a_streamed_run_leaves_nothing_queued() {
    let plan = layers(5);
    let (weights, inputs) = given(&plan, 5);
    for queue in [Stream::Copy, Stream::Compute] {
        let device = Arc::new(late(queue));
        let cancel = Cancel::default();
        let how = Prepare {
            cancel: cancel.clone(),
            ..how(Residency::Streamed)
        };
        let cuda = Cuda::new(device.clone()).copying(SLOT_BYTES);
        let mut program = cuda.load_and_prepare(&plan, &weights, &how).unwrap();
        for (buf, value) in &inputs {
            program.write(*buf, value).unwrap();
        }
        device.cancel_at_launch(device.launches() + 4, &cancel);
        assert!(matches!(program.run(), Err(Error::Interrupted)));
        assert_eq!(device.queued(), 0);
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named_with_its_first_element() {
    let plan = layers(3);
    let (weights, _) = given(&plan, 6);
    for weight in ["layers.0.proj.weight", "norm.weight"] {
        let tensors = plan.weights().map(|buf| {
            let spec = plan.spec(buf);
            let tensor = weights.source().load(&spec.label).unwrap();
            let mut values = tensor.to_f32().into_owned();
            if spec.label == weight {
                values[37] = f32::NAN;
                *values.last_mut().unwrap() = f32::INFINITY;
            }
            let tensor = Tensor::from_f32(spec.shape.clone(), &values);
            (spec.label.clone(), tensor.cast(spec.dtype))
        });
        let bad = Weights::new(Box::new(InMemory(tensors.collect())));
        let device = Arc::new(late(Stream::Copy));
        let cuda = Cuda::new(device.clone()).copying(SLOT_BYTES);
        let outcome = cuda.load_and_prepare(&plan, &bad, &how(Residency::Streamed));
        let error = outcome.and_then(|mut program| program.run()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(weight) && text.contains("element 37 of"),
            "{text}"
        );
        assert_eq!((error.exit_code(), device.queued()), (4, 0));
    }
}
