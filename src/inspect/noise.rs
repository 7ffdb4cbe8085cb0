//! Inputs and weights of measurements: random numbers, because a GEMM of zeros takes less power and so less time.

use std::path::PathBuf;

use half::bf16;

use crate::{
    DType, Error, Result, Shape, Tensor,
    executor::required_tensors,
    plan::Plan,
    weights::{Info, Source},
};

/// Rows of the table from which large inputs are gathered on the device.
pub(super) const TABLE_ROWS: usize = 4096;

/// Random numbers between -1 and 1, or row numbers of the tables; a short sequence of them, repeated.
pub(super) fn noise(shape: Shape, dtype: DType) -> Tensor {
    const PIECE: usize = 1 << 20;
    let mut state = 1_u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let piece: Vec<u8> = match dtype {
        DType::Bf16 => {
            let values = (0..PIECE).map(|_| bf16::from_f32(number()).to_bits());
            values.flat_map(u16::to_ne_bytes).collect()
        }
        // Without the highest bit of the exponent: no infinity, and below 2.
        DType::E4m3 => (0..PIECE)
            .map(|_| (number() * 128.0) as i8 as u8 & 0xbf)
            .collect(),
        DType::F32 => (0..PIECE).flat_map(|_| number().to_ne_bytes()).collect(),
        DType::I32 => {
            let rows = TABLE_ROWS.min(shape.count()) as i32;
            (0..PIECE as i32)
                .flat_map(|i| (i % rows).to_ne_bytes())
                .collect()
        }
        _ => vec![0; PIECE],
    };
    let bytes = shape.count() * dtype.size();
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        all.extend_from_slice(&piece[..piece.len().min(bytes - all.len())]);
    }
    Tensor::from_bytes(shape, dtype, &all)
}

/// Noise for every weight that a plan names.
pub(super) struct NoiseWeights(Vec<(String, Info)>);

impl NoiseWeights {
    pub(super) fn of(plan: &Plan) -> Self {
        let specs = required_tensors(plan).into_iter();
        let info = |shape, dtype| Info { shape, dtype };
        Self(
            specs
                .map(|spec| (spec.name, info(spec.shape, spec.dtype)))
                .collect(),
        )
    }
}

impl Source for NoiseWeights {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, info)| info.clone())
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let info = self.info(name);
        let info = info.ok_or_else(|| Error::tensor(self.path(name), name, "is missing"))?;
        Ok(noise(info.shape, info.dtype))
    }

    fn path(&self, _: &str) -> PathBuf {
        "noise".into()
    }
}
