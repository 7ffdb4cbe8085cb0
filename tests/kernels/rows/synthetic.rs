//! `kernels/common/synthetic.cu` against the weights that the host makes, bit for bit.

use gallop::{
    DType,
    weights::{
        Architecture, Origin, Rule, Selected, Source, Synthetic, TensorSpec, Weights,
        synthetic::key_from,
    },
};

use super::SEEDS;
use crate::emulate::{Arg, Emulator, Launch, Memory, Run, each_run, runs};

const THREADS: usize = 256;

/// Launches the kernel for a tensor of these rows and columns.
fn fill(
    to: &Memory,
    [rows, cols, pitch]: [usize; 3],
    made: (u64, Rule),
    order: Run,
) -> Result<(), String> {
    let (
        key,
        Rule::Uniform {
            offset,
            scale,
            dtype,
        },
    ) = made
    else {
        panic!("the bands are constants");
    };
    let args = [
        Arg::Pointer(to.address()),
        Arg::Long(key.cast_signed()),
        Arg::Float(offset),
        Arg::Float(scale),
        Arg::int(rows),
        Arg::int(cols),
        Arg::int(pitch),
    ];
    let blocks = (rows * pitch / 8).div_ceil(THREADS);
    let sizes = Launch::new(blocks, THREADS as u32);
    Emulator::load().launch(&format!("synthetic_{dtype}"), &sizes, order, &args)
}

#[test]
fn the_device_makes_the_weights_that_the_host_makes() {
    let required_tensors = [
        TensorSpec::new(
            "block.layers.0.attention.linear_qkv.weight",
            [37, 100],
            DType::Bf16,
        ),
        TensorSpec::new(
            "block.layers.1.mlp.down_proj.weight",
            [300, 13],
            DType::Bf16,
        ),
        TensorSpec::new(
            "block.layers.1.mlp.up_gate_proj.weight",
            [3, 5120],
            DType::Bf16,
        ),
        TensorSpec::new("block.layers.3.attention.q_norm.weight", [384], DType::F32),
        TensorSpec::new("final_norm_video.weight", [21], DType::F32),
        TensorSpec::new("adapter.video_embedder.weight", [1, 1], DType::F32),
        TensorSpec::new("final_linear_video.weight", [9, 2051], DType::F32),
    ];
    let source = Synthetic::new(Architecture::Dit, &required_tensors, 7).unwrap();
    let weights = Weights::new(Box::new(source));
    for want in &required_tensors {
        let tensor = weights.load(want).unwrap();
        let made = rule_of(&weights.origin(want));
        let [rows, cols] = [tensor.shape().rows(), tensor.shape().cols()];
        let (pitch, size) = (cols.next_multiple_of(8), tensor.dtype().size());
        let mut bytes = vec![0; rows * pitch * size];
        for (to, from) in bytes
            .chunks_exact_mut(pitch * size)
            .zip(tensor.bytes().chunks_exact(cols * size))
        {
            to[..from.len()].copy_from_slice(from);
        }
        each_run(SEEDS, |order| {
            let to = Memory::poisoned(bytes.len());
            fill(&to, [rows, cols, pitch], made, order)?;
            match to.bytes()?.iter().zip(&bytes).position(|(a, b)| a != b) {
                None => Ok(()),
                Some(at) => Err(format!("{}: byte {at} differs", want.name)),
            }
        });
    }
}

/// Key and rule of a tensor that is made by one.
fn rule_of(origin: &gallop::Result<Origin>) -> (u64, Rule) {
    match origin {
        Ok(Origin::Rule(key, rule)) => (*key, *rule),
        _ => panic!("not made by a rule"),
    }
}

#[test]
fn rows_from_any_on_are_those_of_the_whole() {
    let want = TensorSpec::new("block.layers.0.mlp.down_proj.weight", [9, 24], DType::Bf16);
    let source = Synthetic::new(Architecture::Dit, std::slice::from_ref(&want), 3).unwrap();
    let (key, rule) = rule_of(&source.origin(&want.name));
    let whole = source.load(&want.name).unwrap();
    for row in [1, 8] {
        let rest = &whole.bytes()[row * 24 * 2..];
        let to = Memory::poisoned(rest.len());
        let order = runs(1)[0];
        fill(
            &to,
            [9 - row, 24, 24],
            (key_from(key, row as u64 * 24), rule),
            order,
        )
        .unwrap();
        assert_eq!(to.bytes().unwrap(), rest);
    }
}

#[test]
fn tensors_under_other_names_keep_their_rules() {
    let name = "block.layers.0.mlp.down_proj.weight";
    let want = [TensorSpec::new(name, [2, 3], DType::Bf16)];
    let made = || Box::new(Synthetic::new(Architecture::Dit, &want, 1).unwrap());
    let shorter = |name: &str| name.strip_prefix("block.").map(Into::into);
    let selected = Selected::new(made(), shorter).unwrap();
    assert_eq!(
        rule_of(&selected.origin("layers.0.mlp.down_proj.weight")),
        rule_of(&made().origin(name))
    );
    assert!(!matches!(selected.origin(name), Ok(Origin::Rule(..))));
}
