//! A plan's buffers in memory as the device has them: rows at their pitch, not a number wherever nothing was written.

use gallop::{
    DType, Tensor,
    plan::{Buf, Plan, Role},
    qualify::cases::RowCase,
};

use crate::{
    emulate::{Arg, Memory},
    run::Tensors,
};

const POISON: u8 = 0xff;

/// What the kernels of one plan read and write.
pub(crate) struct Arena<'p> {
    plan: &'p Plan,
    /// By buffer; nothing for parts and for what lives between two ops of one kernel.
    memories: Vec<Option<Memory>>,
    ends: Memory,
}

impl<'p> Arena<'p> {
    pub(crate) fn new(case: &RowCase, plan: &'p Plan, tensors: &Tensors) -> Self {
        let memories = plan.buffers().iter().map(|spec| match spec.role {
            _ if spec.part.is_some() => None,
            Role::Scratch => None,
            Role::Output => Some(Memory::poisoned(spec.bytes())),
            Role::Input | Role::Weight | Role::State => {
                Some(pitched(&tensors[&spec.label], spec.pitch()))
            }
        });
        let ends: Vec<i32> = case.ends.iter().map(|&end| end as i32).collect();
        Self {
            plan,
            memories: memories.collect(),
            ends: Memory::of_ints(&ends),
        }
    }

    /// Where `buf` begins.
    pub(crate) fn at(&self, buf: Buf) -> Arg {
        let offset = self.start(buf) * self.plan.spec(buf).dtype.size();
        Arg::Pointer(self.memory(buf).address() + offset as u64)
    }

    /// Elements from row to row of `buf`.
    pub(crate) fn pitch(&self, buf: Buf) -> usize {
        self.plan.spec(self.plan.root(buf)).pitch()
    }

    /// Where the groups of rows end.
    pub(crate) fn ends(&self) -> Arg {
        Arg::Pointer(self.ends.address())
    }

    /// What was written to `buf`, or where else its buffer was written.
    pub(crate) fn read(&self, buf: Buf) -> Result<Tensor, String> {
        let (spec, pitch) = (self.plan.spec(buf), self.pitch(buf));
        let (size, cols) = (spec.dtype.size(), spec.shape.cols());
        let mut bytes = self.memory(buf).bytes()?;
        let mut found = Vec::new();
        for row in 0..spec.shape.rows() {
            let first = (self.start(buf) + row * pitch) * size;
            let written = &mut bytes[first..first + cols * size];
            found.extend_from_slice(written);
            written.fill(POISON);
        }
        if let Some(at) = bytes.iter().position(|&byte| byte != POISON) {
            let (row, col) = (at / size / pitch, at / size % pitch);
            return Err(format!(
                "row {row}, column {col} of `{}` was written, which is not the kernel's",
                spec.label
            ));
        }
        Ok(Tensor::from_bytes(spec.shape.clone(), spec.dtype, &found))
    }

    fn memory(&self, buf: Buf) -> &Memory {
        let root = self.plan.root(buf);
        let memory = self.memories[root.index()].as_ref();
        memory.unwrap_or_else(|| panic!("`{}` is not in memory", self.plan.spec(buf).label))
    }

    /// Elements in front of `buf`.
    fn start(&self, buf: Buf) -> usize {
        let part = self.plan.spec(buf).part.as_ref();
        part.map_or(0, |part| {
            part.rows.start * self.pitch(buf) + part.cols.start
        })
    }
}

/// The same rows, `pitch` elements apart.
fn pitched(tensor: &Tensor, pitch: usize) -> Memory {
    let (rows, cols, dtype) = (tensor.shape().rows(), tensor.shape().cols(), tensor.dtype());
    let mut bytes = Vec::new();
    for row in tensor.bytes().chunks_exact(cols * dtype.size()) {
        bytes.extend_from_slice(row);
        bytes.resize(bytes.len() + (pitch - cols) * dtype.size(), POISON);
    }
    // Ids are counted, never poisoned: a whole number has no value that is none.
    assert!(dtype != DType::I32 || rows == 1);
    Memory::of(&Tensor::from_bytes([rows, pitch], dtype, &bytes))
}
