//! `bytes_bf16` of `kernels/common/pixels.cu`: every bf16 there is.

use gallop::{DType::Bf16, Tensor, plan::Builder};

use crate::{
    emulate::{Emulator, each_run},
    execute::execute,
    run::{Tensors, run},
};

#[test]
fn every_sample_becomes_the_byte_of_the_cpu() {
    for channels in [1, 3, 8, 12] {
        let width = 12 / channels;
        let mut p = Builder::new();
        let video = p.input("x", [2, 5462, width, channels], Bf16);
        let (plan, bytes) = p.finish().in_bytes(video);
        let samples = 2 * 5462 * width * channels;
        let bits: Vec<u8> = (0..samples)
            .flat_map(|i| (i as u16).to_le_bytes())
            .collect();
        let x = Tensor::from_bytes([2, 5462, width, channels], Bf16, &bits);
        let tensors: Tensors = [("x".into(), x)].into();
        let want = run(&plan, &tensors, false).read(bytes).unwrap();
        each_run(1, |run| {
            let (got, kernels) = execute(&plan, bytes, &tensors, Emulator::load(), run)?;
            assert_eq!(kernels, ["bytes_bf16"]);
            let differs = got
                .bytes()
                .iter()
                .zip(want.bytes())
                .position(|(a, b)| a != b);
            differs.map_or(Ok(()), |at| Err(format!("byte {at} is wrong")))
        });
    }
}
