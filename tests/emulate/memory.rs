//! Memory that kernels work on: aligned as the device's arena is, with guards that must survive.

use gallop::{DType, Tensor};

/// One unit of alignment.
#[derive(Clone)]
#[repr(align(256))]
struct Line([u8; Line::BYTES]);

impl Line {
    const BYTES: usize = 256;
}

const GUARD: u8 = 0xa5;
/// A NaN in every float type.
const POISON: u8 = 0xff;

/// A run of bytes between two guards.
pub(crate) struct Memory {
    lines: Vec<Line>,
    bytes: usize,
    address: u64,
}

impl Memory {
    /// A copy of a tensor's bytes.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self::with(tensor.bytes())
    }

    /// A copy of `i32` values.
    pub(crate) fn of_ints(values: &[i32]) -> Self {
        Self::with(Tensor::from_i32([values.len()], values).bytes())
    }

    /// A copy of bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self::with(bytes)
    }

    /// Room for an output that is not a number wherever the kernel does not write.
    pub(crate) fn poisoned(bytes: usize) -> Self {
        Self::with(&vec![POISON; bytes])
    }

    fn with(content: &[u8]) -> Self {
        let inner = content.len().div_ceil(Line::BYTES);
        let mut lines = vec![Line([GUARD; Line::BYTES]); inner + 2];
        for (line, part) in lines[1..].iter_mut().zip(content.chunks(Line::BYTES)) {
            line.0[..part.len()].copy_from_slice(part);
        }
        let address = lines[1..].as_mut_ptr() as u64;
        Self {
            lines,
            bytes: content.len(),
            address,
        }
    }

    /// Where it lies.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The bytes, or which guard a kernel wrote over.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let all: Vec<u8> = self.lines.iter().flat_map(|line| line.0).collect();
        let (before, rest) = all.split_at(Line::BYTES);
        let (content, after) = rest.split_at(self.bytes);
        if before.iter().any(|&byte| byte != GUARD) {
            return Err("the kernel wrote in front of a buffer".into());
        }
        if after.iter().any(|&byte| byte != GUARD) {
            return Err("the kernel wrote behind a buffer".into());
        }
        Ok(content.to_vec())
    }

    /// The content as a tensor.
    pub(crate) fn tensor(&self, shape: [usize; 2], dtype: DType) -> Result<Tensor, String> {
        Ok(Tensor::from_bytes(shape, dtype, &self.bytes()?))
    }
}
