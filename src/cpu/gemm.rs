//! f32 GEMM on one thread, over the micro-kernels of `matrixmultiply`.
//!
//! This file may use `unsafe`, because that crate's entry point takes raw pointers. Every matmul of the CPU executor
//! goes through [`gemm`], which checks the extents first. The order in which an element is summed depends only on `k`,
//! so callers may split rows and columns freely.

/// A matrix in memory: element `(i, j)` at `i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The values.
    pub values: &'a [f32],
    /// Distance between rows, elements.
    pub row: usize,
    /// Distance between columns, elements.
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major values with rows `pitch` apart.
    pub fn rows(values: &'a [f32], pitch: usize) -> Self {
        Self {
            values,
            row: pitch,
            col: 1,
        }
    }

    /// The transpose of row-major values with rows `pitch` apart.
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

/// `c[m, n] = a[m, k] b[k, n]`, all f32, c row-major with rows `pitch` apart; adds to c if `accumulate`.
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
        "operands of a {m}x{k}x{n} matmul"
    );
    assert!(
        pitch >= n && (m - 1) * pitch + n <= c.len(),
        "result of a {m}x{k}x{n} matmul"
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
