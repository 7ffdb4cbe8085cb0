//! Tolerance of kernels: twice the error that rounding alone costs the CPU executor, plus one unit in the last place.

use gallop::{
    DType, Tensor,
    plan::{Buf, Plan},
};

use crate::run::{Tensors, run};

/// Fraction bits of the mantissa.
const BF16_DIGITS: i32 = 7;

/// Expected result of an op.
pub(crate) struct Expected {
    /// Computed with every activation in f32.
    pub(crate) exact: Vec<f32>,
    /// The largest error allowed.
    pub(crate) allowed: f32,
    /// Values of a row.
    cols: usize,
}

/// The results of `plan` in its own types and in f32, and so the largest error that a kernel may have.
pub(crate) fn expected(plan: &Plan, out: Buf, tensors: &Tensors) -> Expected {
    let values = |plan: &Plan| {
        run(plan, tensors, false)
            .read(out)
            .unwrap()
            .to_f32()
            .into_owned()
    };
    let digits = if plan.spec(out).dtype == DType::Bf16 {
        BF16_DIGITS
    } else {
        23
    };
    let cols = plan.spec(out).shape.cols();
    Expected::new(&values(plan), values(&plan.in_f32()), digits, cols)
}

impl Expected {
    /// From a result in bf16 that has every rounding of the kernel, and the exact one.
    pub(crate) fn of_bf16(rounded: &[f32], exact: Vec<f32>, cols: usize) -> Self {
        Self::new(rounded, exact, BF16_DIGITS, cols)
    }

    fn new(rounded: &[f32], exact: Vec<f32>, digits: i32, cols: usize) -> Self {
        let largest = exact.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        let pairs = rounded.iter().zip(&exact);
        let rounding = pairs.fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
        let ulp = 2.0_f32.powi(largest.log2().floor() as i32 - digits);
        Self {
            exact,
            allowed: 2.0 * rounding + ulp,
            cols,
        }
    }

    /// Compares `got`, and names the element with the largest error if that exceeds the tolerance.
    pub(crate) fn check(&self, got: &Tensor) -> Result<(), String> {
        let got = got.to_f32();
        assert_eq!(got.len(), self.exact.len());
        let errors = got.iter().zip(&self.exact).map(|(a, b)| (a - b).abs());
        // In this order NaN is the largest.
        let worst = errors.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (index, error) = worst.unwrap();
        if error.is_nan() || error > self.allowed {
            return Err(format!(
                "row {}, column {}: {}, expected {}; off by {error:e}, allowed {:e}",
                index / self.cols,
                index % self.cols,
                got[index],
                self.exact[index],
                self.allowed
            ));
        }
        let (mut product, mut squares) = (0.0, 0.0);
        for (&a, &b) in got.iter().zip(&self.exact) {
            let (a, b) = (f64::from(a), f64::from(b));
            product += a * b;
            squares += a * a + b * b;
        }
        let unlike = 1.0 - 2.0 * product / squares;
        if unlike < 1e-5 {
            Ok(())
        } else {
            Err(format!(
                "the whole is unlike what was expected by {unlike:e}, allowed 1e-5"
            ))
        }
    }
}
