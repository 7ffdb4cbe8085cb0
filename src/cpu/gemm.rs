//! Matrix product on one thread, over `matrixmultiply`'s micro-kernels.
//!
//! This is the one place outside the device edges where `unsafe` is allowed: the crate's entry point takes raw
//! pointers. Every product of the CPU executor goes through [`gemm`], which checks the extents first. An element
//! of the result is summed in an order that depends on `k` alone, so callers may cut rows and columns as they like.

/// A matrix in memory: element `(i, j)` at `i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The values.
    pub values: &'a [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `pitch` values.
    pub fn rows(values: &'a [f32], pitch: usize) -> Self {
        Self {
            values,
            row: pitch,
            col: 1,
        }
    }

    /// The transpose of rows of `pitch` values.
    pub fn transposed(values: &'a [f32], pitch: usize) -> Self {
        Self {
            values,
            row: 1,
            col: pitch,
        }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.values.len()
    }
}

/// `c[m, n] = a[m, k] b[k, n]`, c with rows of `pitch` values; adds to c if `accumulate`.
///
/// # Panics
/// If a matrix is smaller than the extents say.
pub fn gemm(
    [m, k, n]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    pitch: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        a.holds(m, k) && b.holds(k, n),
        "operands of a {m}x{k}x{n} product"
    );
    assert!(
        pitch >= n && (m - 1) * pitch + n <= c.len(),
        "result of a {m}x{k}x{n} product"
    );
    let beta = if accumulate { 1.0 } else { 0.0 };
    product([m, k, n], a, b, beta, c.as_mut_ptr(), pitch);
}

#[allow(
    unsafe_code,
    reason = "the GEMM crate's entry point takes raw pointers"
)]
fn product(
    [m, k, n]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    beta: f32,
    c: *mut f32,
    pitch: usize,
) {
    let stride = |s: usize| isize::try_from(s).expect("a stride within a slice");
    let (a_row, a_col) = (stride(a.row), stride(a.col));
    let (b_row, b_col) = (stride(b.row), stride(b.col));
    let (a, b) = (a.values.as_ptr(), b.values.as_ptr());
    // SAFETY: `gemm` bounded every address the product touches: a and b hold m x k and k x n elements at their
    // strides, c is exclusively borrowed there and holds m rows of n at `pitch >= n`, so they do not overlap.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a,
            a_row,
            a_col,
            b,
            b_row,
            b_col,
            beta,
            c,
            stride(pitch),
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_does_not_depend_on_how_the_product_is_cut() {
        let [m, k, n] = [37, 613, 29];
        let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let w: Vec<f32> = (0..n * k).map(|i| value(i + 7)).collect();
        let mut whole = vec![0.0; m * n];
        gemm(
            [m, k, n],
            Matrix::rows(&a, k),
            Matrix::transposed(&w, k),
            &mut whole,
            n,
            false,
        );
        for row in 0..m {
            for col in 0..n {
                let mut one = [0.0];
                let a = Matrix::rows(&a[row * k..], k);
                let w = Matrix::transposed(&w[col * k..], k);
                gemm([1, k, 1], a, w, &mut one, 1, false);
                assert_eq!(
                    one[0].to_bits(),
                    whole[row * n + col].to_bits(),
                    "element {row}, {col}"
                );
            }
        }
    }
}
