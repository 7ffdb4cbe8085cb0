//! Copies between host tensors and rows on the device, whose pitch may be longer than a row.

use std::ops::Range;

use half::{bf16, f16};

use crate::{
    DType, Result, Tensor,
    cuda::gpu::device::{Device, Memory},
    plan::Spec,
    tensor::e4m3_from_f32,
};

/// The most bytes that are converted on the host at a time.
const CHUNK_BYTES: usize = 32 << 20;

/// Copies `tensor`, which has the elements of `spec`, to byte `offset` of `to`: rounded to the buffer's type, each row
/// padded with zeros to its pitch.
pub(in crate::cuda) fn h2d(
    device: &dyn Device,
    to: &Memory,
    offset: usize,
    spec: &Spec,
    tensor: &Tensor,
) -> Result<()> {
    let (rows, row_bytes) = (spec.shape.rows(), row_bytes(spec));
    if tensor.dtype() == spec.dtype && spec.pitch() == spec.shape.cols() {
        return device.h2d(to, offset, tensor.bytes());
    }
    let step = (CHUNK_BYTES / row_bytes.max(1)).max(1);
    for start in (0..rows).step_by(step) {
        let range = start..(start + step).min(rows);
        let mut bytes = vec![0; range.len() * row_bytes];
        put_rows(spec, tensor, range, &mut bytes);
        device.h2d(to, offset + start * row_bytes, &bytes)?;
    }
    Ok(())
}

/// Bytes from one row of a whole buffer to the next.
pub(in crate::cuda) fn row_bytes(spec: &Spec) -> usize {
    spec.pitch() * spec.dtype.size()
}

/// Writes rows `range` of `tensor` in the buffer's type, each padded with zeros to its pitch.
pub(in crate::cuda) fn put_rows(spec: &Spec, tensor: &Tensor, range: Range<usize>, to: &mut [u8]) {
    let (cols, size) = (spec.shape.cols(), spec.dtype.size());
    let rows = to.chunks_exact_mut(row_bytes(spec).max(1));
    if tensor.dtype() == spec.dtype {
        let stored = &tensor.bytes()[range.start * cols * size..range.end * cols * size];
        for (to, from) in rows.zip(stored.chunks_exact((cols * size).max(1))) {
            to[..from.len()].copy_from_slice(from);
            to[from.len()..].fill(0);
        }
        return;
    }
    let mut values = vec![0.0; range.len() * cols];
    tensor.read_f32(range.start * cols..range.end * cols, &mut values);
    for (to, from) in rows.zip(values.chunks_exact(cols.max(1))) {
        let (to, rest) = to.split_at_mut(cols * size);
        encode(spec.dtype, from, to);
        rest.fill(0);
    }
}

/// Values as little-endian elements; integers saturate.
fn encode(dtype: DType, values: &[f32], to: &mut [u8]) {
    match dtype {
        DType::F32 => put(values, to, f32::to_le_bytes),
        DType::Bf16 => put(values, to, |v| bf16::from_f32(v).to_le_bytes()),
        DType::F16 => put(values, to, |v| f16::from_f32(v).to_le_bytes()),
        DType::E4m3 => put(values, to, |v| [e4m3_from_f32(v)]),
        DType::U8 => put(values, to, |v| (v as u8).to_le_bytes()),
        DType::I16 => put(values, to, |v| (v as i16).to_le_bytes()),
        DType::I32 => put(values, to, |v| (v as i32).to_le_bytes()),
    }
}

fn put<const N: usize>(values: &[f32], to: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    for (to, &value) in to.as_chunks_mut().0.iter_mut().zip(values) {
        *to = bytes(value);
    }
}

/// The values at byte `offset` of `from`: rows of `spec`, `pitch` elements apart; floats as f32.
pub(in crate::cuda) fn d2h(
    device: &dyn Device,
    from: &Memory,
    offset: usize,
    spec: &Spec,
    pitch: usize,
) -> Result<Tensor> {
    let (rows, cols, size) = (spec.shape.rows(), spec.shape.cols(), spec.dtype.size());
    let count = (rows.max(1) - 1) * pitch + cols;
    let mut bytes = vec![0; if rows == 0 { 0 } else { count * size }];
    device.d2h(from, offset, &mut bytes)?;
    if pitch != cols {
        bytes = bytes
            .chunks(pitch * size)
            .flat_map(|row| &row[..cols * size])
            .copied()
            .collect();
    }
    let tensor = Tensor::from_bytes(spec.shape.clone(), spec.dtype, &bytes);
    if spec.dtype == DType::U8 {
        return Ok(tensor);
    }
    Ok(Tensor::from_f32(spec.shape.clone(), &tensor.to_f32()))
}
