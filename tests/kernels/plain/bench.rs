//! A plan of one step whose kernel is launched by hand: its buffers in memory as the device has them, rows at their
//! pitch, not a number wherever nothing was written.

use gallop::{
    DType, Tensor,
    plan::{Buf, Builder, Plan, Role},
};

use crate::{
    emulate::{Arg, Emulator, Launch, Memory, each_run},
    random::Random,
    run::{Tensors, random_tensors, run},
    tolerance::expected,
};

const POISON: u8 = 0xff;
/// These kernels wait for nothing but each other's threads; few orders of them are enough.
const SEEDS: u64 = 2;

/// How near a kernel must come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tolerance {
    /// Small whole numbers in, the CPU's bits out.
    Whole,
    /// As `tolerance.rs` has it.
    Rounded,
    /// Off by at most this much of the largest value.
    Within(f32),
}

/// Says what is wrong with a result.
type Comparison = Box<dyn Fn(&Tensor) -> Result<(), String> + Sync>;

/// The step with its operands.
pub(crate) struct Bench {
    plan: Plan,
    tensors: Tensors,
    tolerance: Tolerance,
    /// By buffer; nothing for parts and for what is written.
    memories: Vec<Option<Memory>>,
}

/// A buffer as a kernel addresses it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) at: Arg,
    pub(crate) pitch: usize,
}

impl Bench {
    /// The plan of `builder`, whose last step is the one.
    pub(crate) fn new(builder: Builder, tolerance: Tolerance) -> Self {
        let plan = builder.finish();
        let mut tensors = random_tensors(&plan, &mut Random::new(5));
        if matches!(tolerance, Tolerance::Whole) {
            for tensor in tensors.values_mut() {
                let values: Vec<f32> = tensor.to_f32().iter().map(|v| (v * 4.0).round()).collect();
                let dtype = tensor.dtype();
                *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(dtype);
            }
        }
        let memory = |spec: &gallop::plan::Spec| match spec.role {
            Role::Input | Role::Weight if spec.part.is_none() => {
                Some(pitched(&tensors[&spec.label], spec.pitch()))
            }
            _ => None,
        };
        let memories = plan.buffers().iter().map(memory).collect();
        Self {
            plan,
            tensors,
            tolerance,
            memories,
        }
    }

    /// Launches `kernel` in several orders of its threads and compares with the CPU. `args` are made from the places
    /// of the result and of what the step reads.
    pub(crate) fn check(
        &self,
        kernel: &str,
        [x, y, z]: [usize; 3],
        threads: u32,
        args: impl Fn(Place, &[Place]) -> Vec<Arg> + Sync,
    ) {
        let step = &self.plan.steps()[0];
        let root = self.plan.spec(self.plan.root(step.writes));
        let place = |buf: Buf, memory: &Memory| {
            let offset = self.start(buf) * self.plan.spec(buf).dtype.size();
            Place {
                at: Arg::Pointer(memory.address() + offset as u64),
                pitch: self.plan.spec(self.plan.root(buf)).pitch(),
            }
        };
        let memory = |buf| self.memories[self.plan.root(buf).index()].as_ref().unwrap();
        let reads: Vec<Place> = step
            .reads
            .iter()
            .map(|&buf| place(buf, memory(buf)))
            .collect();
        let grid = [x, y, z].map(|blocks| u32::try_from(blocks).unwrap());
        let sizes = Launch {
            grid,
            ..Launch::new(1, threads)
        };
        let compare = self.comparison(step.writes);
        each_run(SEEDS, |run| {
            let written = Memory::poisoned(root.bytes());
            let args = args(place(step.writes, &written), &reads);
            Emulator::load().launch(kernel, &sizes, run, &args)?;
            compare(&self.read(step.writes, &written)?).map_err(|e| format!("{kernel}: {e}"))
        });
    }

    fn comparison(&self, y: Buf) -> Comparison {
        if let Tolerance::Rounded = self.tolerance {
            let expected = expected(&self.plan, y, &self.tensors);
            return Box::new(move |got| expected.check(got));
        }
        let want = run(&self.plan, &self.tensors, false).read(y).unwrap();
        let want = want.to_f32().into_owned();
        let largest = want.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        assert!(largest > 0.0, "a result that could be wrong");
        let allowed = match self.tolerance {
            Tolerance::Within(share) => share * largest,
            _ => 0.0,
        };
        let cols = self.plan.spec(y).shape.cols();
        Box::new(move |got| {
            let mut pairs = got.to_f32().into_owned().into_iter().zip(&want).enumerate();
            // Not a number is never near.
            let near = |got: f32, want: f32| (got - want).abs() <= allowed;
            let differs = pairs.find(|(_, (got, want))| !near(*got, **want));
            differs.map_or(Ok(()), |(at, (got, want))| {
                let (row, col) = (at / cols, at % cols);
                Err(format!("row {row}, column {col}: {got}, expected {want}"))
            })
        })
    }

    /// What was written to `buf`, or where else its buffer was written.
    fn read(&self, buf: Buf, memory: &Memory) -> Result<Tensor, String> {
        let spec = self.plan.spec(buf);
        let pitch = self.plan.spec(self.plan.root(buf)).pitch();
        let (size, cols) = (spec.dtype.size(), spec.shape.cols());
        let mut bytes = memory.bytes()?;
        let mut found = Vec::new();
        for row in 0..spec.shape.rows() {
            let first = (self.start(buf) + row * pitch) * size;
            let written = &mut bytes[first..first + cols * size];
            found.extend_from_slice(written);
            written.fill(POISON);
        }
        match bytes.iter().position(|&byte| byte != POISON) {
            None => Ok(Tensor::from_bytes(spec.shape.clone(), spec.dtype, &found)),
            Some(at) => Err(format!(
                "row {}, column {} was written, which is not the kernel's",
                at / size / pitch,
                at / size % pitch
            )),
        }
    }

    /// Elements in front of `buf`.
    fn start(&self, buf: Buf) -> usize {
        let pitch = self.plan.spec(self.plan.root(buf)).pitch();
        let part = self.plan.spec(buf).part.as_ref();
        part.map_or(0, |part| part.rows.start * pitch + part.cols.start)
    }
}

/// An input of `shape` that is part of a larger one: a video with a frame in front and behind, columns from 8 on.
pub(crate) fn framed_input(p: &mut Builder, shape: &[usize], dtype: DType) -> Buf {
    if let [frames, height, width, channels] = *shape {
        let whole = p.input("x", [frames + 2, height, width, channels], dtype);
        return p.frames(whole, 1..frames + 1);
    }
    let [rows, cols] = [shape[0], shape[1]];
    let whole = p.input("x", [rows, cols.next_multiple_of(8) + 16], dtype);
    p.cols(whole, 8..8 + cols)
}

/// Such a part of an output, for [`Builder::at`].
pub(crate) fn framed_output(p: &mut Builder, shape: &[usize], dtype: DType) -> Buf {
    let mut whole = shape.to_vec();
    if let [frames, _, _, _] = *shape {
        whole[0] += 2;
        let whole = p.assemble("whole", &whole[..], dtype);
        p.output(whole);
        return p.frames(whole, 1..frames + 1);
    }
    let cols = shape[1];
    whole[1] = cols.next_multiple_of(8) + 16;
    let whole = p.assemble("whole", &whole[..], dtype);
    p.output(whole);
    p.cols(whole, 8..8 + cols)
}

/// The same rows, `pitch` elements apart.
fn pitched(tensor: &Tensor, pitch: usize) -> Memory {
    let (rows, cols, dtype) = (tensor.shape().rows(), tensor.shape().cols(), tensor.dtype());
    let mut bytes = Vec::new();
    for row in tensor.bytes().chunks_exact(cols * dtype.size()) {
        bytes.extend_from_slice(row);
        bytes.resize(bytes.len() + (pitch - cols) * dtype.size(), POISON);
    }
    Memory::of(&Tensor::from_bytes([rows, pitch], dtype, &bytes))
}
