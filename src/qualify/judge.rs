//! The error of a result, and whether it is allowed.

/// Whether a check holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The error is within the limit.
    Pass,
    /// It is not.
    Fail,
}

/// The element that is furthest off.
#[derive(Clone, Debug)]
pub struct Worst {
    /// Row-major index.
    pub index: usize,
    /// The value computed.
    pub got: f64,
    /// The value expected.
    pub want: f64,
}

/// One comparison with an expected result.
#[derive(Clone, Debug)]
pub struct Check {
    /// The compared value: `out.video (f32)`.
    pub what: String,
    /// The error, in the measure of `allowed`.
    pub error: f64,
    /// The largest error allowed.
    pub allowed: f64,
    /// The element that is furthest off.
    pub worst: Option<Worst>,
}

impl Check {
    /// Relative L2 error of `got` against `want`, at most `allowed`.
    pub fn relative_l2(what: impl Into<String>, got: &[f32], want: &[f32], allowed: f64) -> Self {
        Self {
            what: what.into(),
            error: relative_l2(got, want),
            allowed,
            worst: worst(got, want),
        }
    }

    /// Largest absolute difference, at most `allowed`; 0 asks for equality.
    pub fn max_abs(what: impl Into<String>, got: &[f32], want: &[f32], allowed: f64) -> Self {
        Self {
            what: what.into(),
            error: max_abs(got, want),
            allowed,
            worst: worst(got, want),
        }
    }

    /// A failed check of a value that could not be computed.
    pub fn failed(what: String) -> Self {
        Self {
            what,
            error: f64::INFINITY,
            allowed: 0.0,
            worst: None,
        }
    }

    /// Fails if the error is beyond the limit or NaN.
    pub fn verdict(&self) -> Verdict {
        if self.error <= self.allowed {
            Verdict::Pass
        } else {
            Verdict::Fail
        }
    }

    /// Error over limit; infinite for an error where the limit is zero.
    pub fn ratio(&self) -> f64 {
        if self.error == 0.0 {
            0.0
        } else {
            self.error / self.allowed
        }
    }
}

/// `|got - want| / |want|` in f64; infinite if the lengths differ or a value is not a number.
pub fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (&got, &want) in got.iter().zip(want) {
        let (got, want) = (f64::from(got), f64::from(want));
        difference += (got - want) * (got - want);
        norm += want * want;
    }
    match (difference, norm) {
        (0.0, _) => 0.0,
        (_, 0.0) => f64::INFINITY,
        _ if difference.is_nan() => f64::INFINITY,
        _ => (difference / norm).sqrt(),
    }
}

/// Largest `|got - want|`; infinite if the lengths differ or a value is not a number.
pub fn max_abs(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let differences = got
        .iter()
        .zip(want)
        .map(|(&got, &want)| (f64::from(got) - f64::from(want)).abs());
    differences.fold(0.0, |max, d| {
        if d.is_nan() {
            f64::INFINITY
        } else {
            max.max(d)
        }
    })
}

fn worst(got: &[f32], want: &[f32]) -> Option<Worst> {
    let difference =
        |&(_, (&got, &want)): &(usize, (&f32, &f32))| (f64::from(got) - f64::from(want)).abs();
    let pairs = got.iter().zip(want).enumerate();
    let (index, (&got, &want)) = pairs.max_by(|a, b| difference(a).total_cmp(&difference(b)))?;
    Some(Worst {
        index,
        got: f64::from(got),
        want: f64::from(want),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_not_a_number_or_of_another_length_passes() {
        let want = [1.0, 2.0, 2.0];
        assert_eq!(
            relative_l2(&[1.0, 2.0, 2.3], &want),
            f64::from(2.3_f32 - 2.0) / 3.0
        );
        for got in [
            &[1.0, 2.0][..],
            &[1.0, f32::NAN, 2.0],
            &[1.0, 2.0, f32::INFINITY],
        ] {
            assert_eq!(
                Check::relative_l2("x", got, &want, 1e9).verdict(),
                Verdict::Fail
            );
            assert_eq!(
                Check::max_abs("x", got, &want, 1e9).verdict(),
                Verdict::Fail
            );
        }
    }
}
