//! A plan with quantised linear layers: extra steps round their inputs to E4M3.

use std::collections::HashMap;

use super::{Buf, Op, Plan, Role, Scale, Scaling, Spec, Step};
use crate::tensor::{DType, Format, Granularity, Shape};

/// Factors for activations with known bounds, at most 56 and 7: powers of two that map the bound to at most 448.
const OF_SWIGLU7: f32 = 8.0;
const OF_GELU7: f32 = 64.0;

impl Plan {
    /// The plan with each linear layer in the format `format_of(layer)`, where a layer is named by what precedes
    /// `.weight`. Only layers with bf16 weights and no bias are offered. In FP8 the weight becomes E4M3 with an f32
    /// `.weight_scale` `[1, rows]`. The input is scaled per row ([`Op::RowScale`]), or by a constant after a bounded
    /// activation, and rounded ([`Op::Quantize`]) before its first reader. Handles of this plan stay valid.
    #[must_use]
    pub fn quantized(&self, format_of: impl Fn(&str) -> Format) -> Self {
        let mut quantizer = Quantizer {
            plan: Self {
                steps: Vec::with_capacity(self.steps.len()),
                ..self.clone()
            },
            weight_scales: HashMap::new(),
            values: HashMap::new(),
            factors: HashMap::new(),
        };
        let mut starts = Vec::with_capacity(self.steps.len() + 1);
        for step in &self.steps {
            starts.push(quantizer.plan.steps.len());
            match self.layer_name(step).map_or(Format::Bf16, &format_of) {
                Format::Bf16 => quantizer.keep(step.clone()),
                Format::Fp8(Granularity::Row) => quantizer.linear(step.clone()),
            }
        }
        starts.push(quantizer.plan.steps.len());
        let mut plan = quantizer.plan;
        for segment in &mut plan.segments {
            segment.steps = starts[segment.steps.start]..starts[segment.steps.end];
        }
        plan
    }

    /// The name of the linear layer that `step` is, if it can be quantised.
    fn layer_name(&self, step: &Step) -> Option<&str> {
        let (
            Op::Linear {
                scaling: Scaling::None,
                ..
            },
            &[_, weight],
        ) = (&step.op, step.reads.as_slice())
        else {
            return None;
        };
        let spec = self.spec(weight);
        let is_bf16 = spec.role == Role::Weight && spec.dtype == DType::Bf16;
        spec.label.strip_suffix(".weight").filter(|_| is_bf16)
    }
}

/// A plan being rewritten.
struct Quantizer {
    plan: Plan,
    /// Scales of the weights that are E4M3 already.
    weight_scales: HashMap<Buf, Buf>,
    /// The quantised values that exist already.
    values: HashMap<Buf, (Buf, Scale)>,
    /// Results that are scaled by a constant factor.
    factors: HashMap<Buf, f32>,
}

impl Quantizer {
    fn keep(&mut self, step: Step) {
        self.forget(step.writes);
        let factor = match step.op {
            Op::SwiGlu7 => Some(OF_SWIGLU7),
            Op::Gelu7 => Some(OF_GELU7),
            _ => None,
        };
        if let Some(factor) = factor {
            self.factors.insert(step.writes, factor);
        }
        self.plan.steps.push(step);
    }

    fn linear(&mut self, step: Step) {
        let (x, weight) = (step.reads[0], step.reads[1]);
        let (values, scale) = match self.values.get(&x) {
            Some(&done) => done,
            None => self.quantize(x),
        };
        let weight_scales = self.weight_scales(weight);
        let mut reads = vec![values, weight];
        reads.extend(scale.buffer());
        reads.push(weight_scales);
        let Op::Linear { ends, .. } = step.op else {
            unreachable!("only linear layers are offered")
        };
        self.keep(Step {
            op: Op::Linear {
                ends,
                scaling: scale.scaling(),
            },
            reads,
            writes: step.writes,
        });
    }

    /// Emits the steps that quantise `x`, unless they exist.
    fn quantize(&mut self, x: Buf) -> (Buf, Scale) {
        let Spec { label, shape, .. } = self.plan.spec(x).clone();
        let scale = if let Some(&factor) = self.factors.get(&x) {
            Scale::Fixed(factor)
        } else {
            let scales = Shape::from([1, shape.rows()]);
            let scales = self.add(format!("{label}.scale"), scales, DType::F32, Role::Scratch);
            self.plan.steps.push(Step {
                op: Op::RowScale,
                reads: vec![x],
                writes: scales,
            });
            Scale::Rows(scales)
        };
        let values = self.add(format!("{label}.e4m3"), shape, DType::E4m3, Role::Scratch);
        let factor = match scale {
            Scale::Rows(_) => None,
            Scale::Fixed(factor) => Some(factor),
        };
        self.plan.steps.push(Step {
            op: Op::Quantize { factor },
            reads: [x].into_iter().chain(scale.buffer()).collect(),
            writes: values,
        });
        self.values.insert(x, (values, scale));
        (values, scale)
    }

    /// The row scales of `weight`, which becomes E4M3 on first use.
    fn weight_scales(&mut self, weight: Buf) -> Buf {
        if let Some(&scales) = self.weight_scales.get(&weight) {
            return scales;
        }
        let spec = &mut self.plan.buffers[weight.index()];
        spec.dtype = DType::E4m3;
        let label = format!("{}_scale", spec.label);
        let shape = Shape::from([1, spec.shape.rows()]);
        let scales = self.add(label, shape, DType::F32, Role::Weight);
        self.weight_scales.insert(weight, scales);
        scales
    }

    fn add(&mut self, label: String, shape: Shape, dtype: DType, role: Role) -> Buf {
        self.plan.buffers.push(Spec {
            label,
            shape,
            dtype,
            role,
            part: None,
        });
        self.plan
            .handles()
            .last()
            .expect("a buffer was added just now")
    }

    /// Drops what was cached about `written` and everything that shares its storage.
    fn forget(&mut self, written: Buf) {
        let root = self.plan.root(written);
        let plan = &self.plan;
        self.values.retain(|&buf, _| plan.root(buf) != root);
        self.factors.retain(|&buf, _| plan.root(buf) != root);
    }
}
