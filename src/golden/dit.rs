//! Cases of the DiT alone: one forward pass, its rotation tables, single ops.

use super::{GoldenCase, Tensors};
use crate::{
    DType, Result, Tensor,
    executor::{Executor, Prepare, Program, required_tensors},
    model::dit::{self, Coordinates, DitConfig, ForwardPorts, Sequence},
    plan::{Grid, Plan},
    qualify::Check,
    weights::{Architecture, Synthetic, TensorSpec, Weights},
};

/// Two-dimensional taps with their labels in our plan: residual streams, and values inside a traced layer.
const TRACES: [(&str, &str); 12] = [
    ("attn_pre_norm", "attention.pre_norm"),
    ("qkvg", "attention.linear_qkv"),
    ("q_rot", "attention.q_rope"),
    ("k_rot", "attention.k_rope"),
    ("v", ""),
    ("attn_core", "attention.core"),
    ("attn_gated", "attention.gated"),
    ("attn_out", "attention.linear_proj"),
    ("mlp_pre_norm", "mlp.pre_norm"),
    ("mlp_up", "mlp.up_gate_proj"),
    ("mlp_act", "mlp.activation"),
    ("mlp_out", "mlp.down_proj"),
];

/// The network a case describes, with synthetic weights.
pub(super) fn network(
    case: &GoldenCase<'_>,
    config: &str,
    seed: &str,
) -> Result<(DitConfig, Weights)> {
    let config: DitConfig = case.field(config)?;
    config.validate().map_err(|problem| case.bad(problem))?;
    let sequence = Sequence {
        grid: Grid::new(1, 2, 2),
        audio: 1,
        text: 1,
    };
    let mut all = required_tensors(&dit::forward(&config, sequence, 0).0);
    all.push(TensorSpec::new(dit::BANDS_NAME, [16], DType::F32));
    let weights = Synthetic::new(Architecture::Dit, &all, case.field(seed)?)?;
    Ok((config, Weights::new(Box::new(weights))))
}

pub(super) fn forward(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let (config, weights) = network(case, "config", "weights_seed")?;
    let sequence = sequence(case)?;
    let rope = rope(case, sequence, case.field("coords_style")?)?;
    let (plan, ports) = dit::forward(&config, sequence, case.field("frame_receptive_field")?);
    let residuals: Vec<String> = (0..=config.num_layers).map(residual).collect();
    let plan = plan.keeping(residuals.iter().filter_map(|label| plan.find(label)));
    let mut checks = placement(case, &tensors, sequence)?;
    for (path, plan, limit) in [
        ("f32", plan.in_f32(), "accept_f32_rel_l2"),
        ("bf16", plan, "accept_bf16_rel_l2"),
    ] {
        if path == "f32" && !executor.runs_unrounded() {
            continue;
        }
        let prepare = Prepare {
            taps: path == "f32",
            ..Prepare::default()
        };
        let mut program = executor.load_and_prepare(&plan, &weights, &prepare)?;
        program.write(ports.video, tensors.get("in.video_latent")?)?;
        program.write(ports.audio, tensors.get("in.audio_latent")?)?;
        program.write(ports.text, tensors.get("in.text")?)?;
        program.write(ports.rope, &rope)?;
        program.run()?;
        let mut run = Run {
            case,
            tensors: &tensors,
            plan: &plan,
            program: &mut *program,
            checks: &mut checks,
        };
        run.outputs(&ports, path, limit)?;
        if path == "f32" {
            run.traces(&config)?;
        }
    }
    Ok(checks)
}

fn sequence(case: &GoldenCase<'_>) -> Result<Sequence> {
    let [_, frames, height, width]: [usize; 4] = case.field("latent_shape")?;
    Ok(Sequence {
        grid: Grid::new(frames, height, width),
        audio: case.field("audio_tokens")?,
        text: case.field("text_tokens")?,
    })
}

pub(super) fn rope(
    case: &GoldenCase<'_>,
    sequence: Sequence,
    style: Coordinates,
) -> Result<Tensor> {
    let bands = dit::BANDS.map(f32::from_bits);
    let table = sequence
        .rope_table(style, &bands)
        .map_err(|problem| case.bad(problem))?;
    Ok(Tensor::from_f32([sequence.len(), 96], &table))
}

/// Checks coordinates, rotation table and mask blocks, where the case has them.
fn placement(case: &GoldenCase<'_>, tensors: &Tensors, sequence: Sequence) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let style = case.field("coords_style")?;
    if tensors.has("pack.coords") {
        let coordinates: Vec<f32> = sequence.coordinates(style).into_iter().flatten().collect();
        checks.push(tensors.max_abs("coordinates", &coordinates, "pack.coords", 0.0)?);
    }
    if tensors.has("rope.ref64") {
        let table = rope(case, sequence, style)?;
        let want = tensors.get("rope.ref64")?.to_f32();
        checks.push(Check::max_abs("rope", &table.to_f32(), &want, 5e-6));
    }
    if tensors.has("mask.q_ranges") {
        let pairs = |t: &Tensor| -> Vec<(i32, i32)> {
            t.to_i32()
                .as_chunks()
                .0
                .iter()
                .map(|&[a, b]| (a, b))
                .collect()
        };
        let queries = pairs(tensors.get("mask.q_ranges")?);
        let keys = pairs(tensors.get("mask.k_ranges")?);
        let count = sequence.len();
        let mut want = vec![0.0; count * count];
        for (&(q0, q1), &(k0, k1)) in queries.iter().zip(&keys) {
            for (q, k) in (q0..q1).flat_map(|q| (k0..k1).map(move |k| (q as usize, k as usize))) {
                want[q * count + k] = 1.0;
            }
        }
        let mut got = vec![0.0; count * count];
        for window in sequence.local(case.field("frame_receptive_field")?) {
            for (q, k) in window
                .queries
                .flat_map(|q| window.keys.iter().cloned().flatten().map(move |k| (q, k)))
            {
                got[q * count + k] = 1.0;
            }
        }
        checks.push(Check::max_abs("windows", &got, &want, 0.0));
    }
    Ok(checks)
}

/// Our label of the residual stream before `layer`.
fn residual(layer: usize) -> String {
    match layer {
        0 => "hidden".into(),
        _ => format!("block.layers.{}.mlp_residual", layer - 1),
    }
}

/// One run of a case, and where its checks go.
struct Run<'a, 'b> {
    case: &'a GoldenCase<'b>,
    tensors: &'a Tensors,
    plan: &'a Plan,
    program: &'a mut dyn Program,
    checks: &'a mut Vec<Check>,
}

impl Run<'_, '_> {
    /// Checks velocities, and the residual stream after each layer for which the case has it.
    fn outputs(&mut self, ports: &ForwardPorts, path: &str, limit: &str) -> Result<()> {
        for (label, buf) in [
            ("out.video", ports.video_velocity),
            ("out.audio", ports.audio_velocity),
        ] {
            let got = self.program.read(buf)?;
            self.compare(label, &got, path, limit)?;
        }
        for layer in 0.. {
            let label = format!("hidden.{layer}");
            if !self.tensors.has(&format!("{label}.ref64")) {
                break;
            }
            let got = self.tap(&residual(layer))?;
            self.compare(&label, &got, path, limit)?;
        }
        Ok(())
    }

    /// Checks the values inside traced layers. The index has no limit for them, so the f32 limit of the outputs is
    /// used.
    fn traces(&mut self, config: &DitConfig) -> Result<()> {
        let limit = self
            .case
            .number(&["measured", "out.video", "accept_f32_rel_l2"])?;
        for layer in 0..config.num_layers {
            for (theirs, ours) in TRACES {
                let label = format!("trace.layer{layer}.{theirs}");
                if !self.tensors.has(&format!("{label}.ref64")) {
                    continue;
                }
                let got = if theirs == "v" {
                    self.values_of_v(config, layer)?
                } else {
                    self.tap(&format!("block.layers.{layer}.{ours}"))?
                };
                self.checks.push(self.tensors.relative_l2(
                    &label,
                    &got.to_f32(),
                    &format!("{label}.ref64"),
                    limit,
                )?);
            }
        }
        Ok(())
    }

    fn values_of_v(&mut self, config: &DitConfig, layer: usize) -> Result<Tensor> {
        let joint = self.tap(&format!("block.layers.{layer}.attention.linear_qkv"))?;
        let start = (config.num_heads_q + config.num_heads_kv) * dit::HEAD;
        let width = config.num_heads_kv * dit::HEAD;
        let rows = joint.to_f32();
        let rows = rows.chunks_exact(joint.shape().cols());
        let v: Vec<f32> = rows
            .flat_map(|row| row[start..start + width].iter().copied())
            .collect();
        Ok(Tensor::from_f32([joint.shape().rows(), width], &v))
    }

    fn tap(&mut self, label: &str) -> Result<Tensor> {
        let buf = self
            .plan
            .find(label)
            .ok_or_else(|| self.case.bad(format!("our plan has no `{label}`")))?;
        self.program.read(buf)
    }

    fn compare(&mut self, label: &str, got: &Tensor, path: &str, limit: &str) -> Result<()> {
        let allowed = self.case.number(&["measured", label, limit])?;
        self.checks.push(self.tensors.relative_l2(
            format!("{label} ({path})"),
            &got.to_f32(),
            &format!("{label}.ref64"),
            allowed,
        )?);
        Ok(())
    }
}
