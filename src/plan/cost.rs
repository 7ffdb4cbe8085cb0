//! FLOPs and bytes of each step, from shapes alone.

use std::ops::Range;

use super::{Buf, Op, Plan, Role, build_conv::kernel_extents};

/// Work of a step, a unit of steps, or a plan.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Cost {
    /// Floating-point operations, two per multiply-add, of matmuls, convolutions and attention only. All other ops are
    /// bound by memory bandwidth.
    pub flops: f64,
    /// Bytes of activations read and written once.
    pub activation_bytes: f64,
    /// Bytes of weights read once.
    pub weight_bytes: f64,
}

impl Cost {
    /// All bytes.
    pub fn bytes(&self) -> f64 {
        self.activation_bytes + self.weight_bytes
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |a, b| Self {
            flops: a.flops + b.flops,
            activation_bytes: a.activation_bytes + b.activation_bytes,
            weight_bytes: a.weight_bytes + b.weight_bytes,
        })
    }
}

impl Plan {
    /// Work of step `index`.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn cost(&self, index: usize) -> Cost {
        let step = &self.steps()[index];
        let mut cost = Cost {
            flops: self.flops(index),
            ..Cost::default()
        };
        cost.activation_bytes += self.element_bytes(step.writes);
        for &buf in &step.reads {
            match self.spec(buf).role {
                // Only the rows that ids name are read.
                Role::Weight if matches!(step.op, Op::Embed { .. }) => {
                    cost.weight_bytes += self.element_bytes(step.writes);
                }
                Role::Weight => cost.weight_bytes += self.element_bytes(buf),
                Role::Input | Role::State | Role::Scratch | Role::Output => {
                    cost.activation_bytes += self.element_bytes(buf);
                }
            }
        }
        cost
    }

    /// Work of consecutive steps that run as one kernel: what one step passes to another is not read from memory, and
    /// the buffers `unwritten` are not written.
    ///
    /// # Panics
    /// If there are no such steps.
    pub fn cost_of_unit(&self, steps: Range<usize>, unwritten: &[Buf]) -> Cost {
        let mut cost: Cost = steps.clone().map(|index| self.cost(index)).sum();
        let steps = &self.steps()[steps];
        for (index, step) in steps.iter().enumerate() {
            let handed_on = &mut steps[index + 1..].iter().flat_map(|later| &later.reads);
            let reads = handed_on.filter(|&&read| read == step.writes).count();
            let writes = usize::from(unwritten.contains(&step.writes));
            cost.activation_bytes -= (reads + writes) as f64 * self.element_bytes(step.writes);
        }
        cost
    }

    /// Work of all steps.
    pub fn total_cost(&self) -> Cost {
        (0..self.steps().len()).map(|index| self.cost(index)).sum()
    }

    /// Bytes of all weights as used, each counted once.
    pub fn weight_bytes(&self) -> u64 {
        self.weights()
            .map(|buf| self.element_bytes(buf) as u64)
            .sum()
    }

    fn element_bytes(&self, buf: Buf) -> f64 {
        let spec = self.spec(buf);
        spec.shape.count() as f64 * spec.dtype.size() as f64
    }

    fn flops(&self, index: usize) -> f64 {
        let step = &self.steps()[index];
        let shape = |i: usize| &self.spec(step.reads[i]).shape;
        let written = self.spec(step.writes).shape.count() as f64;
        match &step.op {
            Op::Linear { .. } => 2.0 * written * shape(0).cols() as f64,
            Op::Attention(op) => {
                let pairs: f64 = op
                    .windows
                    .iter()
                    .map(|w| {
                        w.queries.len() as f64 * w.keys.iter().map(|k| k.len() as f64).sum::<f64>()
                    })
                    .sum();
                4.0 * pairs * shape(0).cols() as f64
            }
            Op::Conv3d(_) => {
                let taps: usize = kernel_extents(shape(1).extents()).iter().product();
                2.0 * written * (taps * shape(1)[1]) as f64
            }
            Op::Conv1d(_) => 2.0 * written * (shape(1)[1] * shape(1)[2]) as f64,
            // Every output sample has two contributing taps.
            Op::ConvTranspose1d { .. } => 4.0 * written * shape(1)[0] as f64,
            _ => 0.0,
        }
    }
}
