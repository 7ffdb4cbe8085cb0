//! `kernels/sm90/conv3d.cu`, launched as the executor launches it: tails in every dimension, both ends of time, and what is
//! done on the way.

use gallop::{
    DType::Bf16,
    Tensor,
    plan::{Buf, Builder, Conv3d, Kernel3d, Norm, Op, PaddingMode, Plan},
};

use crate::{
    SEEDS,
    emulate::{Emulator, Run, each_run},
    execute::execute,
    random::Random,
    run::{Tensors, random_tensors, run},
    tolerance::expected,
};

/// What is fused with the convolution.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Beside {
    Nothing,
    Doubling,
    Residual,
    Norm,
}

/// A convolution of a video.
pub(crate) struct Case {
    /// Frames, height, width, channels.
    pub(crate) x: [usize; 4],
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 3],
    pub(crate) conv: Conv3d,
    pub(crate) beside: Beside,
}

/// A case with its operands.
pub(crate) struct Prepared {
    plan: Plan,
    y: Buf,
    tensors: Tensors,
    kernels: Vec<&'static str>,
}

impl Case {
    /// With as much padding as keeps the size.
    pub(crate) fn same(
        x: [usize; 4],
        outputs: usize,
        kernel: [usize; 3],
        edge: PaddingMode,
    ) -> Self {
        let before = kernel.map(|extent| extent / 2);
        let conv = Conv3d {
            before,
            after: [0, 1, 2].map(|axis| kernel[axis] - 1 - before[axis]),
            ..Conv3d::same(kernel, 0, 0, edge)
        };
        Self {
            x,
            outputs,
            kernel,
            conv,
            beside: Beside::Nothing,
        }
    }

    /// The input and the result are frames of larger videos.
    fn plan(&self) -> (Plan, Buf) {
        let mut p = Builder::new();
        let [frames, height, width, inputs] = self.x;
        let whole = p.input("x", [frames + 1, height, width, inputs], Bf16);
        let x = p.frames(whole, 1..frames + 1);
        let [kt, kh, kw] = self.kernel;
        let shape = [self.outputs, inputs, kt, kh, kw];
        let kernel = Kernel3d {
            shape: if kt == 1 {
                &[self.outputs, inputs, kh, kw]
            } else {
                &shape
            },
            conv: self.conv,
            weight: Bf16,
            out: Bf16,
        };
        let y = match self.beside {
            Beside::Nothing => p.conv3d("c", x, kernel),
            Beside::Doubling => {
                let doubled = p.upsample_nearest("doubled", x);
                p.conv3d("c", doubled, kernel)
            }
            Beside::Norm => {
                let h = p.conv3d("c", x, kernel);
                let norm = Norm {
                    width: self.outputs,
                    eps: 1e-8,
                    weight: None,
                    out: Bf16,
                };
                let rows = p.shape(h).rows();
                let normed = p.rms_norm("norm", h, &[rows], norm);
                p.map("y", Op::Silu, normed, Bf16)
            }
            Beside::Residual => {
                let h = p.conv3d("c", x, kernel);
                let extents = p.shape(h).clone();
                let residual = p.input("r", extents, Bf16);
                p.add("y", h, residual, Bf16)
            }
        };
        p.output(y);
        (p.finish(), y)
    }

    /// Random operands.
    fn random(&self) -> Prepared {
        let (plan, y) = self.plan();
        let tile = if self.outputs <= 64 {
            "conv3d_n64_bf16"
        } else {
            "conv3d_n128_bf16"
        };
        let kernels = match self.beside {
            Beside::Doubling => vec!["conv3d_doubled_bf16", tile, tile, tile, tile],
            Beside::Nothing | Beside::Residual | Beside::Norm => vec!["conv3d_pack_bf16", tile],
        };
        Prepared {
            tensors: random_tensors(&plan, &mut Random::new(3)),
            plan,
            y,
            kernels,
        }
    }

    /// Small whole numbers, so that sums are exact in any order, and the CPU executor's result.
    pub(crate) fn whole_numbers(&self) -> (Prepared, Tensor) {
        let mut prepared = self.random();
        for tensor in prepared.tensors.values_mut() {
            let values: Vec<f32> = tensor.to_f32().iter().map(|v| (v * 4.0).round()).collect();
            *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(Bf16);
        }
        let program = run(&prepared.plan, &prepared.tensors, false);
        let want = { program }.read(prepared.y).unwrap();
        (prepared, want)
    }
}

impl Prepared {
    /// The result by kernels of `emulator`.
    fn launch(&self, emulator: &Emulator, run: Run) -> Result<Tensor, String> {
        let (got, kernels) = execute(&self.plan, self.y, &self.tensors, emulator, run)?;
        assert_eq!(kernels, self.kernels);
        Ok(got)
    }

    /// Whether the result has the bits of `want`.
    pub(crate) fn check_exactly(
        &self,
        emulator: &Emulator,
        run: Run,
        want: &Tensor,
    ) -> Result<(), String> {
        let got = self.launch(emulator, run)?;
        let (got, want) = (got.to_f32(), want.to_f32());
        let [_, height, width, channels] = *self.plan.spec(self.y).shape.extents() else {
            panic!("y is a video");
        };
        match got.iter().zip(want.iter()).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(at) => Err(format!(
                "wrong numbers: frame {}, line {}, column {}, channel {} is {}, expected {}",
                at / channels / width / height,
                at / channels / width % height,
                at / channels % width,
                at % channels,
                got[at],
                want[at]
            )),
        }
    }
}

#[track_caller]
fn check(case: &Case, seeds: u64) {
    let (prepared, want) = case.whole_numbers();
    each_run(seeds, |run| {
        prepared.check_exactly(Emulator::load(), run, &want)
    });
}

#[test]
fn clips_end_in_copies_or_in_zeros() {
    for edge in [PaddingMode::Zero, PaddingMode::Replicate] {
        check(&Case::same([3, 2, 3, 48], 64, [3; 3], edge), SEEDS);
        for frames in [1, 4] {
            let causal = Case {
                conv: Conv3d::same([3; 3], 2, 0, edge),
                ..Case::same([frames, 2, 2, 8], 12, [3; 3], edge)
            };
            check(&causal, 2);
        }
        check(&Case::same([4, 3, 2, 96], 192, [3, 1, 1], edge), 2);
    }
}

#[test]
fn pictures_end_anywhere_in_a_tile() {
    // Two tiles along each axis, two blocks of inputs, two of outputs, with a tail in each.
    let tails = Case::same([1, 17, 18, 100], 136, [1, 3, 3], PaddingMode::Zero);
    check(&tails, SEEDS);
    check(
        &Case::same([2, 16, 16, 64], 128, [1; 3], PaddingMode::Zero),
        2,
    );
    check(
        &Case::same([1, 1, 1, 1], 1, [3; 3], PaddingMode::Replicate),
        2,
    );
    check(
        &Case::same([1, 33, 3, 256], 3, [1, 1, 5], PaddingMode::Zero),
        2,
    );
    let narrower = Case {
        conv: Conv3d {
            before: [0; 3],
            after: [0, 0, 1],
            ..tails.conv
        },
        ..Case::same([2, 5, 20, 24], 320, [1, 2, 3], PaddingMode::Zero)
    };
    check(&narrower, 2);
}

#[test]
fn what_is_doubled_is_not_written() {
    for x in [[2, 9, 17, 40], [1, 1, 1, 8]] {
        let case = Case {
            beside: Beside::Doubling,
            ..Case::same(x, 72, [1, 3, 3], PaddingMode::Replicate)
        };
        check(&case, 2);
    }
}

#[test]
fn a_residual_is_added_where_the_sum_is_stored() {
    let case = Case {
        beside: Beside::Residual,
        ..Case::same([2, 5, 18, 64], 132, [3, 1, 1], PaddingMode::Replicate)
    };
    check(&case, SEEDS);
}

#[test]
fn results_are_rounded_as_the_cpu_rounds() {
    for (beside, outputs) in [
        (Beside::Nothing, 70),
        (Beside::Doubling, 70),
        (Beside::Residual, 70),
        (Beside::Norm, 40),
        (Beside::Norm, 128),
    ] {
        let case = Case {
            beside,
            ..Case::same([1, 5, 6, 192], outputs, [1, 3, 3], PaddingMode::Zero)
        };
        let prepared = case.random();
        let expected = expected(&prepared.plan, prepared.y, &prepared.tensors);
        each_run(SEEDS, |run| {
            expected.check(&prepared.launch(Emulator::load(), run)?)
        });
    }
}
