//! What `build.rs` writes for `example.cu`, compiled as it would be: the text below must be what the generator gives.

use gallop::{
    DType,
    cuda::{
        arguments::{AnyDev, Arg, Arguments, Dev, DevMut, E4m3, Entry, Instance, Kernel, bf16},
        params::{GemmTile, RowScales},
        tensor_map::TensorMap,
    },
};

// Generated from here on.

/// `example.cu`.
pub mod example {
    use super::*;

    /// `THREADS` of the kernel file.
    pub const THREADS: usize = 256;

    /// Arguments of `scale_bf16`, in the kernel's order.
    #[derive(Clone, Debug)]
    pub struct ScaleBf16 {
        /// `bf16* y`
        pub y: DevMut<bf16>,
        /// `const __grid_constant__ CUtensorMap map_x`
        pub map_x: TensorMap,
        /// `const GemmTile* tiles`
        pub tiles: Dev<GemmTile>,
        /// `long long count`
        pub count: i64,
        /// `int rows`
        pub rows: i32,
        /// `float by`
        pub by: f32,
    }

    impl Entry for ScaleBf16 {
        const KERNEL: Kernel = Kernel {
            module: "example",
            name: "scale_bf16",
            threads: 256,
            cluster: 1,
        };

        fn args(&self) -> Vec<Arg> {
            vec![
                self.y.into(),
                self.map_x.into(),
                self.tiles.into(),
                self.count.into(),
                self.rows.into(),
                self.by.into(),
            ]
        }
    }

    /// Arguments of `scale_e4m3`, in the kernel's order.
    #[derive(Clone, Debug)]
    pub struct ScaleE4m3 {
        /// `e4m3* y`
        pub y: DevMut<E4m3>,
        /// `const float* x`
        pub x: Dev<f32>,
    }

    impl Entry for ScaleE4m3 {
        const KERNEL: Kernel = Kernel {
            module: "example",
            name: "scale_e4m3",
            threads: 512,
            cluster: 2,
        };

        fn args(&self) -> Vec<Arg> {
            vec![
                self.y.into(),
                self.x.into(),
            ]
        }
    }

    /// Arguments of what is made from `fill`, in the kernel's order.
    #[derive(Clone, Debug)]
    pub struct FillArgs {
        /// `Out* y`
        pub y: AnyDev,
        /// `const float* x`
        pub x: Dev<f32>,
        /// `RowScales scales`
        pub scales: RowScales,
        /// `int rows`
        pub rows: i32,
        /// `int pitch`
        pub pitch: i32,
    }

    impl Arguments for FillArgs {
        fn args(&self) -> Vec<Arg> {
            vec![
                self.y.into(),
                self.x.into(),
                Arg::structure(&self.scales),
                self.rows.into(),
                self.pitch.into(),
            ]
        }

        fn types(&self) -> Vec<DType> {
            vec![self.y.dtype()]
        }
    }

    /// What is made from `fill` with `1`.
    pub const FILL: &[Instance<FillArgs>] = &[
        Instance::new(Kernel {
            module: "example",
            name: "fill_bf16",
            threads: 256,
            cluster: 1,
        }, &[DType::Bf16]),
        Instance::new(Kernel {
            module: "example",
            name: "fill_e4m3",
            threads: 256,
            cluster: 1,
        }, &[DType::E4m3]),
    ];

    /// What is made from `fill` with `2`.
    pub const FILL_WIDE_F32: &[Instance<FillArgs>] = &[
        Instance::new(Kernel {
            module: "example",
            name: "fill_wide_f32",
            threads: 512,
            cluster: 1,
        }, &[DType::F32]),
    ];
}

/// All entry points.
pub const KERNELS: &[Kernel] = &[
    example::ScaleBf16::KERNEL,
    example::ScaleE4m3::KERNEL,
    example::FILL[0].kernel,
    example::FILL[1].kernel,
    example::FILL_WIDE_F32[0].kernel,
];
