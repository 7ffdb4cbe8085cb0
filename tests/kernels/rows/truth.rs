//! Expected result of a case, and the tolerance of a kernel.

use gallop::{
    DType, Tensor,
    plan::{Buf, Op, Plan},
    qualify::cases::{RowCase, RowOp},
};

use crate::{
    random::Random,
    run::{Tensors, random_tensors, run},
    tolerance::{Expected, expected},
};

/// Half a unit in the last place of 1 in f32.
const U: f64 = 1.0 / (1 << 24) as f64;
/// Roundings before the f32 result of a norm: half of those of the sum, since it is under a root (three chunks of eight
/// and then eight halvings), and those of the root, the norm weight and the multiplications.
const NORM_ROUNDINGS: f64 = 32.0 / 2.0 + 8.0;
/// Sizes of a map's arguments: near zero what cancels shows, far away what overflows.
const MAGNITUDES: [f32; 7] = [1.0, 1.0, 1e-2, 1e-6, 10.0, 1e3, 1e30];

/// The criterion.
pub(crate) enum Truth {
    /// The CPU executor's bits: at most one operation on each element, then one rounding.
    Exact(Tensor),
    /// The CPU executor's numbers, within what rounding costs.
    Rounded(Expected),
    /// Each element within a bound of its own.
    Bounded(Vec<(f64, f64)>),
}

/// Tensors for every input and weight of the case.
pub(crate) fn inputs(case: &RowCase, plan: &Plan, seed: u64) -> Tensors {
    let mut random = Random::new(seed);
    let mut tensors = random_tensors(plan, &mut random);
    if let RowOp::Embed { vocabulary, .. } = case.op {
        let ids = (0..case.rows()).map(|_| random.within(0..vocabulary) as i32);
        let ids: Vec<i32> = ids.collect();
        tensors.insert("ids".into(), Tensor::from_i32([ids.len()], &ids));
    }
    if let RowOp::Combine { inputs, groups } = case.op
        && inputs > 1
    {
        forget(case, groups, &mut tensors);
    }
    // Activations bend near zero and are cut off at 7.
    if let Some(u) = tensors.get_mut("u") {
        scale(u, |_| 10.0);
    }
    if let RowOp::Map(_) = case.op
        && let Some(x) = tensors.get_mut("x")
    {
        scale(x, |i| 10.0 * MAGNITUDES[i % MAGNITUDES.len()]);
    }
    tensors
}

/// Input 0 was never written in the first group of rows, where its factor is zero.
fn forget(case: &RowCase, groups: usize, tensors: &mut Tensors) {
    let mut factors = tensors["c"].to_f32().into_owned();
    factors[0] = 0.0;
    let shape = tensors["c"].shape().clone();
    tensors.insert("c".into(), Tensor::from_f32(shape, &factors));
    let mut values = tensors["x0"].to_f32().into_owned();
    values[..case.rows() / groups * case.cols].fill(f32::NAN);
    let shape = [case.rows(), case.cols];
    tensors.insert("x0".into(), Tensor::from_f32(shape, &values));
}

fn scale(tensor: &mut Tensor, by: impl Fn(usize) -> f32) {
    let values = tensor.to_f32();
    let values: Vec<f32> = values.iter().enumerate().map(|(i, v)| v * by(i)).collect();
    *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(tensor.dtype());
}

/// What the case writes to `out`.
pub(crate) fn truth(case: &RowCase, plan: &Plan, out: Buf, tensors: &Tensors) -> Truth {
    let of_cpu = || run(plan, tensors, false).read(out).unwrap();
    let wide = plan.spec(out).dtype == DType::F32;
    match case.op {
        RowOp::RmsNorm { .. } if wide => {
            let bound = |&v: &f32| (f64::from(v), NORM_ROUNDINGS * U * f64::from(v.abs()));
            Truth::Bounded(of_cpu().to_f32().iter().map(bound).collect())
        }
        RowOp::Linear { k, .. } => Truth::Bounded(linear(case, k, tensors)),
        RowOp::Combine { inputs, groups } => Truth::Bounded(combine(case, inputs, groups, tensors)),
        // Its first result, the sum.
        RowOp::AddRmsNorm(_) if wide => Truth::Exact(of_cpu()),
        RowOp::Map(Op::Relu | Op::Clamp { .. })
        | RowOp::Mul
        | RowOp::Add(..)
        | RowOp::Copy(..)
        | RowOp::Patchify(_)
        | RowOp::Unpatchify(_)
        | RowOp::Embed { .. } => Truth::Exact(of_cpu()),
        RowOp::Map(_) => Truth::Bounded(map(plan, out, tensors)),
        RowOp::RmsNorm { .. }
        | RowOp::NormRope
        | RowOp::Rope { .. }
        | RowOp::SigmoidGate { .. }
        | RowOp::SwiGlu7
        | RowOp::AddRmsNorm(_) => Truth::Rounded(expected(plan, out, tensors)),
        op => panic!("{op:?} has tests of its own, to the bit"),
    }
}

/// A sum of products in f64 and what its sum in f32 may be off.
fn sum(terms: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut sum, mut size, mut count) = (0.0, 0.0, 0);
    for term in terms {
        sum += term;
        size += term.abs();
        count += 1;
    }
    (sum, f64::from(count + 8) * U * size)
}

/// What the CPU executor computes in f32, and one unit in the last place of bf16 for each element. The CPU may itself be
/// off by two units of f32 in a factor of the argument.
fn map(plan: &Plan, out: Buf, tensors: &Tensors) -> Vec<(f64, f64)> {
    let exact = run(&plan.in_f32(), tensors, false).read(out).unwrap();
    let cols = exact.shape().cols();
    let x = &tensors["x"];
    let margin = (x.shape().cols() - cols) / 2;
    let (exact, x) = (exact.to_f32(), x.to_f32());
    let x = x.chunks_exact(cols + 2 * margin);
    let x = x.flat_map(|row| &row[margin..margin + cols]);
    let bound = |(&y, &x): (&f32, &f32)| {
        let ulp = 2.0_f64.powf(f64::from(y.abs()).log2().floor() - 7.0);
        (f64::from(y), ulp + 4.0 * U * f64::from(x.abs()))
    };
    exact.iter().zip(x).map(bound).collect()
}

fn values(tensors: &Tensors, label: &str) -> Vec<f64> {
    let tensor = tensors[label].to_f32();
    tensor.iter().map(|&v| f64::from(v)).collect()
}

fn linear(case: &RowCase, k: usize, tensors: &Tensors) -> Vec<(f64, f64)> {
    let (x, w) = (values(tensors, "x"), values(tensors, "linear.weight"));
    let bias = tensors
        .contains_key("linear.bias")
        .then(|| values(tensors, "linear.bias"));
    let x_cols = k + 2 * case.margin;
    let element = |i: usize| {
        let (row, col) = (i / case.cols, i % case.cols);
        let group = case.ends.partition_point(|&end| end <= row);
        let block = group * case.cols + col;
        let x = &x[row * x_cols + case.margin..];
        let products = (0..k).map(|j| x[j] * w[block * k + j]);
        sum(products.chain(bias.as_ref().map(|b| b[block])))
    };
    (0..case.rows() * case.cols).map(element).collect()
}

fn combine(case: &RowCase, inputs: usize, groups: usize, tensors: &Tensors) -> Vec<(f64, f64)> {
    let factors = values(tensors, "c");
    let xs: Vec<_> = (0..inputs)
        .map(|i| values(tensors, &format!("x{i}")))
        .collect();
    let share = case.rows() / groups;
    let element = |at: usize| {
        let group = at / case.cols / share;
        let factor = |i: usize| factors[i * groups + group];
        let used = (0..inputs).filter(|&i| factor(i) != 0.0);
        sum(used.map(|i| factor(i) * xs[i][at]))
    };
    (0..case.rows() * case.cols).map(element).collect()
}

impl Truth {
    /// Whether `got` is right, or which element is not.
    pub(crate) fn check(&self, got: &Tensor) -> Result<(), String> {
        let cols = got.shape().cols();
        let values = got.to_f32();
        let at = |i: usize| format!("row {}, column {}: {}", i / cols, i % cols, values[i]);
        match self {
            Self::Rounded(expected) => expected.check(got),
            Self::Exact(want) => {
                let want = want.to_f32();
                assert_eq!(want.len(), values.len());
                let mut pairs = values.iter().zip(want.iter());
                match pairs.position(|(a, b)| a.to_bits() != b.to_bits()) {
                    None => Ok(()),
                    Some(i) => Err(format!("{}, expected {}", at(i), want[i])),
                }
            }
            Self::Bounded(want) => {
                assert_eq!(want.len(), values.len());
                let off = |&(&got, &(want, bound)): &(&f32, &(f64, f64))| {
                    let error = (f64::from(got) - want).abs();
                    error.is_nan() || error > bound
                };
                match values.iter().zip(want).position(|pair| off(&pair)) {
                    None => Ok(()),
                    Some(i) => Err(format!(
                        "{}, expected {} within {:e}",
                        at(i),
                        want[i].0,
                        want[i].1
                    )),
                }
            }
        }
    }
}
