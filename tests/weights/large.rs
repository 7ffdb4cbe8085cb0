//! A checkpoint of the real size: opened at once, in little memory.

use std::{
    fs::{self, File},
    io::Write,
    time::{Duration, Instant},
};

use gallop::{
    DType,
    weights::{Safetensors, TensorSpec, Weights},
};

use crate::scratch::Scratch;

/// The tensors of the published networks, by the table of the model's definition.
fn required_tensors() -> Vec<TensorSpec> {
    const HIDDEN: usize = 5120;
    let mut required_tensors = Vec::new();
    let mut want = |name: String, shape: &[usize], dtype| {
        required_tensors.push(TensorSpec::new(name, shape, dtype));
    };
    for (modality, channels) in [("video", 192), ("audio", 64), ("text", 3584)] {
        want(
            format!("adapter.{modality}_embedder.weight"),
            &[HIDDEN, channels],
            DType::F32,
        );
        want(
            format!("adapter.{modality}_embedder.bias"),
            &[HIDDEN],
            DType::F32,
        );
        if modality != "text" {
            want(
                format!("final_norm_{modality}.weight"),
                &[HIDDEN],
                DType::F32,
            );
            want(
                format!("final_linear_{modality}.weight"),
                &[channels, HIDDEN],
                DType::F32,
            );
        }
    }
    want("adapter.rope.bands".into(), &[16], DType::F32);
    for layer in 0..40 {
        let experts = if (4..36).contains(&layer) { 1 } else { 3 };
        let (up, down) = if layer < 4 {
            (20480, 20480)
        } else {
            (27304, 13652)
        };
        let name = |rest: &str| format!("block.layers.{layer}.{rest}.weight");
        want(name("attention.pre_norm"), &[experts * HIDDEN], DType::F32);
        want(
            name("attention.linear_qkv"),
            &[experts * 7208, HIDDEN],
            DType::Bf16,
        );
        want(name("attention.q_norm"), &[experts * 128], DType::F32);
        want(name("attention.k_norm"), &[experts * 128], DType::F32);
        want(
            name("attention.linear_proj"),
            &[experts * HIDDEN, HIDDEN],
            DType::Bf16,
        );
        want(name("mlp.pre_norm"), &[experts * HIDDEN], DType::F32);
        want(
            name("mlp.up_gate_proj"),
            &[experts * up, HIDDEN],
            DType::Bf16,
        );
        want(
            name("mlp.down_proj"),
            &[experts * HIDDEN, down],
            DType::Bf16,
        );
    }
    required_tensors
}

/// Memory that this process occupies, in bytes.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[test]
fn sixty_one_gigabytes_open_in_under_a_second_and_a_hundred_megabytes() {
    const SHARDS: usize = 7;
    let scratch = Scratch::new("large");
    let required_tensors = required_tensors();
    assert_eq!(required_tensors.len(), 331);
    let mut total = 0;
    let mut weight_map = serde_json::Map::new();
    for (number, required_tensors) in required_tensors
        .chunks(required_tensors.len().div_ceil(SHARDS))
        .enumerate()
    {
        let file_name = format!("model-{:05}-of-{SHARDS:05}.safetensors", number + 1);
        let mut header = serde_json::Map::new();
        let mut at = 0;
        for want in required_tensors {
            let end = at + 4 * want.shape.count();
            let entry = serde_json::json!({
                "dtype": "F32", "shape": want.shape.extents(), "data_offsets": [at, end]
            });
            header.insert(want.name.clone(), entry);
            weight_map.insert(want.name.clone(), file_name.clone().into());
            at = end;
        }
        let header = serde_json::to_vec(&header).unwrap();
        let mut file = File::create(scratch.path().join(file_name)).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes())
            .unwrap();
        file.write_all(&header).unwrap();
        // The rest is a hole: it has a size and no blocks.
        file.set_len((8 + header.len() + at) as u64).unwrap();
        total += at;
    }
    assert_eq!(total, 61_197_676_608);
    let index = serde_json::json!({"weight_map": weight_map});
    scratch.file("model.safetensors.index.json", index.to_string().as_bytes());

    let before_bytes = resident_bytes();
    let start = Instant::now();
    let weights = Weights::new(Box::new(Safetensors::open(scratch.path()).unwrap()));
    weights.check(&required_tensors).unwrap();
    weights.check_nothing_left(&required_tensors).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "took {:?}",
        start.elapsed()
    );
    let used = resident_bytes().saturating_sub(before_bytes);
    assert!(used < 100_000_000, "occupies {used} bytes");

    let last = required_tensors.last().unwrap();
    let tensor = weights.load(last).unwrap();
    let mut end = [1.0];
    tensor.read_f32(tensor.count() - 1..tensor.count(), &mut end);
    assert_eq!(end, [0.0]);
    assert_eq!(weights.source().names().len(), 331);
}
