//! Arguments of kernels: typed addresses for the structures that `build.rs` writes, and the form in which a device takes
//! them.

use std::{ffi::c_void, fmt, marker::PhantomData};

use super::tensor_map::TensorMap;
use crate::DType;

/// The kernels' name for [`half::bf16`].
#[allow(non_camel_case_types, reason = "the same name on both sides")]
pub type bf16 = half::bf16;

/// An 8-bit float of 4 exponent and 3 mantissa bits, largest value 448, as a kernel stores it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct E4m3(pub u8);

/// An entry point of a kernel file; `build.rs` writes one for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    /// The kernel file without its ending.
    pub module: &'static str,
    /// The entry point.
    pub name: &'static str,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks of a cluster, side by side along x; 1 without clusters.
    pub cluster: u32,
}

/// An entry point with its arguments.
pub trait Entry {
    /// What is launched.
    const KERNEL: Kernel;

    /// The arguments in the kernel's order.
    fn args(&self) -> Vec<Arg>;
}

/// Arguments of several entry points that are instances of one template.
pub trait Arguments {
    /// The arguments in the kernels' order.
    fn args(&self) -> Vec<Arg>;

    /// Element types of the pointers to template types, in order.
    fn types(&self) -> Vec<DType>;
}

/// An instance of a template, for arguments `A`.
#[derive(Debug)]
pub struct Instance<A> {
    /// What is launched.
    pub kernel: Kernel,
    types: &'static [DType],
    of: PhantomData<fn() -> A>,
}

impl<A: Arguments> Instance<A> {
    /// `kernel`, whose pointers to template types are to `types`.
    pub const fn new(kernel: Kernel, types: &'static [DType]) -> Self {
        Self {
            kernel,
            types,
            of: PhantomData,
        }
    }

    /// The instance of `all` for the element types of `args`, if there is one.
    pub fn find(all: &[Self], args: &A) -> Option<Kernel> {
        let types = args.types();
        let found = all.iter().find(|one| one.types == types)?;
        Some(found.kernel)
    }
}

/// One argument, of the size the kernel expects.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// A pointer.
    Address(u64),
    /// An `int`.
    Int(i32),
    /// A `long long`.
    Long(i64),
    /// A `float`.
    Float(f32),
    /// A tensor map, by value.
    Map(Box<TensorMap>),
    /// A structure of ints and floats, by value.
    Structure(Box<[u32]>),
}

impl Arg {
    /// A structure of `params.h`; these have no padding and at most an int's alignment.
    pub fn structure<T: bytemuck::NoUninit>(value: &T) -> Self {
        Self::Structure(bytemuck::cast_slice(std::slice::from_ref(value)).into())
    }

    /// Pointer to the value, valid while `self` is not moved.
    fn pointer(&self) -> *const c_void {
        match self {
            Self::Address(value) => (&raw const *value).cast(),
            Self::Int(value) => (&raw const *value).cast(),
            Self::Long(value) => (&raw const *value).cast(),
            Self::Float(value) => (&raw const *value).cast(),
            Self::Map(value) => (&raw const **value).cast(),
            Self::Structure(words) => words.as_ptr().cast(),
        }
    }
}

/// The array that `cuLaunchKernel` and the emulator take: one pointer to each value, valid while `args` is borrowed.
/// Both only read through them.
pub fn pointers(args: &[Arg]) -> Vec<*mut c_void> {
    args.iter().map(|arg| arg.pointer().cast_mut()).collect()
}

/// Address of elements that a kernel reads.
pub struct Dev<T> {
    address: u64,
    of: PhantomData<fn() -> T>,
}

/// Address of elements that a kernel writes, or reads and writes.
pub struct DevMut<T> {
    address: u64,
    of: PhantomData<fn() -> T>,
}

/// Address of elements whose type is known when a plan is lowered and selects the kernel.
#[derive(Clone, Copy, Debug)]
pub struct AnyDev {
    address: u64,
    dtype: DType,
}

impl AnyDev {
    /// The elements at `address`; that they are there is the launch's responsibility.
    pub fn new(address: u64, dtype: DType) -> Self {
        Self { address, dtype }
    }

    /// Their type.
    pub fn dtype(self) -> DType {
        self.dtype
    }
}

impl From<AnyDev> for Arg {
    fn from(value: AnyDev) -> Self {
        Self::Address(value.address)
    }
}

macro_rules! address_type {
    ($name:ident) => {
        impl<T> $name<T> {
            /// The elements at `address`; that they are there is the launch's responsibility.
            pub fn new(address: u64) -> Self {
                Self {
                    address,
                    of: PhantomData,
                }
            }

            /// As a number.
            pub fn address(self) -> u64 {
                self.address
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.address)
            }
        }

        impl<T> From<$name<T>> for Arg {
            fn from(value: $name<T>) -> Self {
                Self::Address(value.address)
            }
        }
    };
}

address_type!(Dev);
address_type!(DevMut);

macro_rules! number {
    ($type:ty, $variant:ident) => {
        impl From<$type> for Arg {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    };
}
number!(i32, Int);
number!(i64, Long);
number!(f32, Float);

impl From<TensorMap> for Arg {
    fn from(value: TensorMap) -> Self {
        Self::Map(Box::new(value))
    }
}
