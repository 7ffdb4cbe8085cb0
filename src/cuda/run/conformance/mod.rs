//! Runs the kernels of `conformance.cu` and `conformance_wgmma.cu`, each of a single instruction, on host values and
//! returns what they wrote. [`crate::qualify`] knows the expected results.
//!
//! Each function allocates the memory that its kernel needs and checks its arguments, so that all are safe to call. All
//! fail with [`crate::Error::Device`] if the device does.

#![allow(unsafe_code, reason = "launches kernels")]

mod host;
mod wgmma;

use half::bf16;

use crate::{
    Error, Result,
    cuda::gpu::{
        arguments::Entry,
        device::{Device, Memory},
        kernels::conformance::{
            Chain, Conversions, CopyBox1d, CopyBox2d, CopyBox3d, CopyBox4d, CopyBox5d, Functions,
            Lanes, Multicast, Phases, RING_COLS, RING_HALF, Registers, SMEM_BYTES, ShareBox2d,
            ShareBox3d, ShareBox4d, Transposes,
        },
        tensor_map::{Element, Swizzle, TensorMap, TensorMapSpec},
    },
};

pub use wgmma::{WgmmaOperands, gemm};

use host::{download, int, poisoned, run, upload};

/// A box of a tensor.
#[derive(Clone, Debug)]
pub struct Boxed {
    /// Tensor, box and swizzle; the address does not count.
    pub spec: TensorMapSpec,
    /// Start of the box in elements, innermost axis first.
    pub at: Vec<i32>,
}

impl Boxed {
    /// Bytes of the box.
    pub fn bytes(&self) -> usize {
        let count: u32 = self.spec.box_sizes.iter().product();
        count as usize * self.spec.element.bytes() as usize
    }

    /// Bytes from the tensor's first element to behind its last.
    pub fn tensor_bytes(&self) -> usize {
        let spec = &self.spec;
        let (last, outer) = spec.sizes.split_last().expect("a tensor has axes");
        let strides = outer.iter().zip(&spec.strides_bytes);
        let bytes: u64 = strides.map(|(size, stride)| (size - 1) * stride).sum();
        (bytes + last * spec.element.bytes()) as usize
    }

    /// Its tensor map at an address, if the kernels can take a box and a tensor of these sizes.
    fn map(&self, device: &dyn Device, tensor: &Memory) -> Result<TensorMap> {
        self.spec.check()?;
        let fits = self.at.len() == self.spec.sizes.len()
            && self.bytes() <= SMEM_BYTES
            && self.tensor_bytes() <= tensor.bytes();
        if !fits {
            return Err(Error::device(format!("{self:?} cannot be tried")));
        }
        device.tensor_map(&TensorMapSpec {
            address: tensor.start(),
            ..self.spec.clone()
        })
    }
}

/// Loads a box of the tensor with the bytes `from`, inverts its bits, and stores it at the same position of a tensor of
/// 0xff. Returns the shared memory after the load, and that tensor.
pub fn copy_box(device: &dyn Device, of: &Boxed, from: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (from, to) = (upload(device, from)?, poisoned(device, from.len())?);
    let raw = poisoned(device, of.bytes())?;
    let at = upload(device, bytemuck::cast_slice(&of.at))?;
    let (from_map, to_map) = (of.map(device, &from)?, of.map(device, &to)?);
    macro_rules! run {
        ($entry:ident) => {{
            let entry = $entry {
                raw: raw.dev_mut(0, of.bytes()),
                to: to_map,
                from: from_map,
                at: at.dev(0, of.at.len()),
                bytes: int(of.bytes()),
            };
            // SAFETY: `map` checked that the box fits into shared memory and the tensor into its memory; `at` has one
            // number for each axis.
            unsafe { run(device, &entry) }
        }};
    }
    match of.at.len() {
        1 => run!(CopyBox1d),
        2 => run!(CopyBox2d),
        3 => run!(CopyBox3d),
        4 => run!(CopyBox4d),
        _ => run!(CopyBox5d),
    }?;
    Ok((download(device, &raw)?, download(device, &to)?))
}

/// Loads a box of two to four axes into both blocks of a cluster. Returns the shared memory of one, then of the other.
pub fn share_box(device: &dyn Device, of: &Boxed, from: &[u8]) -> Result<Vec<u8>> {
    let (from, raw) = (upload(device, from)?, poisoned(device, 2 * of.bytes())?);
    let at = upload(device, bytemuck::cast_slice(&of.at))?;
    let from_map = of.map(device, &from)?;
    macro_rules! run {
        ($entry:ident) => {{
            let entry = $entry {
                raw: raw.dev_mut(0, 2 * of.bytes()),
                from: from_map,
                at: at.dev(0, of.at.len()),
                bytes: int(of.bytes()),
            };
            // SAFETY: as in `copy_box`; two blocks of one cluster, with as many bytes for each.
            unsafe { run(device, &entry) }
        }};
    }
    match of.at.len() {
        2 => run!(ShareBox2d),
        3 => run!(ShareBox3d),
        4 => run!(ShareBox4d),
        axes => Err(Error::device(format!(
            "boxes of {axes} axes are not shared"
        ))),
    }?;
    download(device, &raw)
}

/// Columns of the rows that [`multicast`] sums.
pub const MULTICAST_COLS: usize = RING_COLS;

/// The sum of the rows of x `[rounds, 256]`, and twice that sum, by two blocks that share every load.
pub fn multicast(device: &dyn Device, x: &[f32]) -> Result<Vec<f32>> {
    let rounds = x.len() / RING_COLS;
    let from = upload(device, bytemuck::cast_slice(x))?;
    let y = poisoned(device, 2 * RING_COLS * 4)?;
    let spec = TensorMapSpec {
        swizzle: Swizzle::None,
        ..TensorMapSpec::matrix(
            from.start(),
            Element::F32,
            [rounds as u64, RING_COLS as u64],
            RING_COLS as u64,
            [1, RING_HALF as u32],
        )
    };
    let entry = Multicast {
        y: y.dev_mut(0, 2 * RING_COLS),
        x: device.tensor_map(&spec)?,
        rounds: int(rounds),
    };
    // SAFETY: x has `rounds` rows, y a row for each of the two blocks.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// x as four 8x8 matrices through ldmatrix and stmatrix: without transpose, transposed by the first, by the second, by
/// both.
pub fn transposes(device: &dyn Device, x: &[bf16; 256]) -> Result<Vec<bf16>> {
    let x = upload(device, bytemuck::cast_slice(x))?;
    let y = poisoned(device, 4 * 256 * 2)?;
    let entry = Transposes {
        y: y.dev_mut(0, 4 * 256),
        x: x.dev(0, 256),
    };
    // SAFETY: x and y are as large as the kernel's comment says.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// Shuffles and votes of x, eight rows of 32.
pub fn lanes(device: &dyn Device, x: &[i32; 32]) -> Result<Vec<i32>> {
    let x = upload(device, bytemuck::cast_slice(x))?;
    let y = poisoned(device, 8 * 32 * 4)?;
    let entry = Lanes {
        y: y.dev_mut(0, 8 * 32),
        x: x.dev(0, 32),
    };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// The pairs (x, -x) in bf16, then in e4m3; and x rounded to bf16, then to e4m3.
pub fn conversions(device: &dyn Device, x: &[f32]) -> Result<(Vec<i32>, Vec<f32>)> {
    let (count, bytes) = (x.len(), x.len() * 4);
    let x = upload(device, bytemuck::cast_slice(x))?;
    let (pairs, back) = (poisoned(device, 2 * bytes)?, poisoned(device, 2 * bytes)?);
    let entry = Conversions {
        pairs: pairs.dev_mut(0, 2 * count),
        back: back.dev_mut(0, 2 * count),
        x: x.dev(0, count),
        n: int(count),
    };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    Ok((download(device, &pairs)?, download(device, &back)?))
}

/// 2^x, 1 / sqrt(|x|) and 1 / x by the approximate functions, one after the other.
pub fn functions(device: &dyn Device, x: &[f32]) -> Result<Vec<f32>> {
    let count = x.len();
    let x = upload(device, bytemuck::cast_slice(x))?;
    let y = poisoned(device, 3 * count * 4)?;
    let entry = Functions {
        y: y.dev_mut(0, 3 * count),
        x: x.dev(0, count),
        n: int(count),
    };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// Number of threads that arrived, and what each of four warps read after the one before it.
pub fn chain(device: &dyn Device) -> Result<Vec<i32>> {
    let y = upload(device, &[0; 5 * 4])?;
    let entry = Chain { y: y.dev_mut(0, 5) };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// The numbers that one warp handed to another, 32 a round.
pub fn phases(device: &dyn Device, rounds: usize) -> Result<Vec<i32>> {
    let y = poisoned(device, rounds * 32 * 4)?;
    let entry = Phases {
        y: y.dev_mut(0, rounds * 32),
        rounds: int(rounds),
    };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}

/// What the threads of three warpgroups wrote, after one gave registers to the others.
pub fn registers(device: &dyn Device) -> Result<Vec<i32>> {
    let threads = <Registers as Entry>::KERNEL.threads as usize;
    let y = poisoned(device, threads * 4)?;
    let entry = Registers {
        y: y.dev_mut(0, threads),
    };
    // SAFETY: as in `transposes`.
    unsafe { run(device, &entry) }?;
    download(device, &y)
}
