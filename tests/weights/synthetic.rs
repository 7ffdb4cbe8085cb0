//! Synthetic checkpoints: the published test vectors bit by bit, and writing them.

use std::fs;

use gallop::{
    DType, Error,
    weights::{
        Architecture, Safetensors, Source, Synthetic, TensorSpec, Weights,
        synthetic::{Rule, fnv1a64, key, mix, rule},
    },
};

use crate::scratch::{Scratch, assert_says, refusal};

/// One published vector: the tensor, and its bits from the start (f32, or the upper half for bf16).
struct Vector {
    network: Architecture,
    name: &'static str,
    shape: &'static [usize],
    seed: u64,
    key: u64,
    /// Bits, or 0 where none are published.
    scale: u32,
    first: &'static [u32],
    last: Option<u32>,
}

const AUDIO_V: &str = "pretransform.model.decoder.layers.1.layers.1.weight_v";
const AUDIO_G: &str = "pretransform.model.decoder.layers.1.layers.1.weight_g";

#[rustfmt::skip]
const VECTORS: &[Vector] = &[
    Vector { network: Architecture::Dit, name: "block.layers.0.attention.linear_qkv.weight", shape: &[21624, 5120], seed: 0,
        key: 0x0dbc_0a76_130d_eb78, scale: 0x3cc6_4bf8,
        first: &[0xbc69, 0xbc7c, 0x3bd2, 0xbc89, 0xbbb1, 0x3c33, 0xbae3, 0xbcb6], last: Some(0x3cac) },
    Vector { network: Architecture::Dit, name: "block.layers.0.attention.linear_qkv.weight", shape: &[21624, 5120], seed: 7,
        key: 0x1f12_3a55_681a_346c, scale: 0x3cc6_4bf8,
        first: &[0xbcaa, 0x3bc8, 0xbc88, 0x3c99, 0xba70, 0x3bbf, 0xbcb0, 0xba1e], last: None },
    Vector { network: Architecture::Dit, name: "block.layers.3.attention.q_norm.weight", shape: &[384], seed: 0,
        key: 0xcf05_6896_c7f4_f493, scale: 0x3e80_0000,
        first: &[0x3ea4_e50e, 0x3f03_7acc, 0x3eda_2ce8, 0x3f1a_dc2c, 0x3f04_4c82, 0x3eb9_82ca, 0x3f30_8da6, 0x3eb9_82e8], last: None },
    Vector { network: Architecture::Dit, name: "block.layers.3.attention.q_norm.weight", shape: &[384], seed: 7,
        key: 0xddab_58b5_bce3_2b87, scale: 0x3e80_0000,
        first: &[0x3f02_285e, 0x3f15_e8a6, 0x3ecc_e734, 0x3eca_6714, 0x3eef_6a5c, 0x3f01_19b6, 0x3ea1_c1e2, 0x3f34_e359], last: None },
    Vector { network: Architecture::Dit, name: "adapter.text_embedder.bias", shape: &[5120], seed: 0,
        key: 0xa834_ab6f_dfec_ee75, scale: 0x3e80_0000,
        first: &[0xbe4e_d5e1, 0x3e55_6ac9, 0x3e18_c4d1, 0x3e6b_ad8f, 0x3dc1_3dfa, 0xbd3e_e4b4, 0xbe25_f6f7, 0xbe10_b96f], last: None },
    Vector { network: Architecture::Dit, name: "block.layers.36.mlp.down_proj.weight", shape: &[15360, 13652], seed: 0,
        key: 0x75f5_d517_9d66_5466, scale: 0x3b72_dff2,
        first: &[0xbb67, 0xba8d, 0x3b4e, 0x3b0e, 0x3a80, 0x3aff, 0xbac7, 0x3b33], last: Some(0xbb71) },
    Vector { network: Architecture::TextEncoder, name: "model.encoder.embed_tokens.weight", shape: &[256_000, 3584], seed: 0,
        key: 0x0b38_32a0_4b7e_6298, scale: 0x3ced_028c,
        first: &[0xbc91, 0xbc5e, 0x3cdb, 0xbbcd, 0x3b43, 0x3b04, 0xbc7f, 0xbc44], last: Some(0x3cc0) },
    Vector { network: Architecture::TextEncoder, name: "model.encoder.layers.0.self_attn.q_proj.weight", shape: &[4096, 3584], seed: 0,
        key: 0x757a_d887_ccc5_11ad, scale: 0x3d6d_028c,
        first: &[0x3d18, 0x3d33, 0xbca3, 0xbd5f, 0x3ca6, 0x3d17, 0x3d5b, 0x3d42], last: Some(0xbd61) },
    Vector { network: Architecture::TextEncoder, name: "model.encoder.layers.0.mlp.down_proj.weight", shape: &[3584, 14336], seed: 0,
        key: 0x5a72_1665_d0ed_f53f, scale: 0x3c6d_028c,
        first: &[0xbc28, 0xb886, 0x3c6b, 0xbc33, 0xbc54, 0x3be7, 0xbc31, 0x3bfa], last: Some(0xbc41) },
    Vector { network: Architecture::TextEncoder, name: "encoder.layers.0.pre_self_attn_layernorm.weight", shape: &[3584], seed: 0,
        key: 0xc81d_824b_c420_5738, scale: 0x3e80_0000,
        first: &[0xbe5b, 0x3e4d, 0xbe3e, 0xbe38, 0x3cfb, 0xbe41, 0xbe56, 0xbe41], last: Some(0xbd3a) },
    Vector { network: Architecture::VideoVae, name: "decoder.conv_in.conv.weight", shape: &[512, 48, 3, 3, 3], seed: 0,
        key: 0xc856_ec72_4dad_e59f, scale: 0x3d45_11a3,
        first: &[0xbc8a_1ecd, 0x3ca2_fb92, 0x3c6e_5bfe, 0x3cce_1472, 0xbce8_ec6b, 0xbd21_25a9], last: Some(0x3bee_ed9e) },
    Vector { network: Architecture::VideoVae, name: "decoder.conv_in.conv.bias", shape: &[512], seed: 0,
        key: 0xe5ff_3e24_a145_710a, scale: 0x3e00_0000,
        first: &[0x3da0_3d37, 0x3c20_1288, 0x3d73_f746, 0xbdfc_5d1d, 0xbde7_2ca7, 0x3d9d_5855], last: Some(0xbc25_2dc8) },
    Vector { network: Architecture::VideoVae, name: "encoder.middle.1.norm.gamma", shape: &[640, 1, 1], seed: 10,
        key: 0x13c9_3957_0b83_753f, scale: 0x3e00_0000,
        first: &[0x3f6e_e9af, 0x3f7d_6d4c, 0x3f83_e0ee, 0x3f67_0273, 0x3f8b_5969, 0x3f8f_b262], last: Some(0x3f7a_6172) },
    Vector { network: Architecture::AudioVae, name: AUDIO_V, shape: &[2048, 1024, 16], seed: 20,
        key: 0x364f_efd5_9bfd_b3be, scale: 0x3c5d_b3d7,
        first: &[0x3bea_2e88, 0xbbf0_2124, 0x3c5b_f8bc, 0xbba6_64e6, 0x3c4b_fcfd, 0x3c52_0fda], last: Some(0xbbc7_da18) },
    Vector { network: Architecture::AudioVae, name: AUDIO_G, shape: &[2048, 1, 1], seed: 20,
        key: 0x364f_fcd5_9bfd_dcdd, scale: 0x3e40_0000,
        first: &[0x3fbc_5ec3, 0x3fc6_3934, 0x3fb0_60ed, 0x3fd6_92c9, 0x3fa8_33c8, 0x3fbe_7c30], last: Some(0x3fab_c1ec) },
    Vector { network: Architecture::AudioVae, name: "pretransform.model.decoder.layers.6.alpha", shape: &[128], seed: 20,
        key: 0x8147_5fb4_2bb6_5bd9, scale: 0x3f00_0000,
        first: &[0xbeeb_c99b, 0xbed7_0d99, 0x3ef1_acd1, 0xbe67_b236, 0xbd3d_83f8, 0x3d24_56e8], last: Some(0x3ec8_625b) },
];

/// The stored bits of a value.
fn bits(value: f32, dtype: DType) -> u32 {
    match dtype {
        DType::Bf16 => value.to_bits() >> 16,
        _ => value.to_bits(),
    }
}

#[test]
fn hashes_are_the_published_ones() {
    assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    assert_eq!(mix(0), 0);
}

#[test]
fn every_published_vector_is_met_bit_by_bit() {
    for v in VECTORS {
        let mut required_tensors = vec![TensorSpec::new(v.name, v.shape, DType::F32)];
        if v.name == AUDIO_G {
            required_tensors.push(TensorSpec::new(AUDIO_V, [2048, 1024, 16], DType::F32));
        }
        let made = Synthetic::new(v.network, &required_tensors, v.seed).unwrap();
        assert_eq!(
            key(&v.network.published(v.name), v.seed),
            v.key,
            "{}",
            v.name
        );
        let sibling = |_: &str| Some([2048, 1024, 16].into());
        let Ok(Rule::Uniform { scale, .. }) =
            rule(v.network, v.name, &required_tensors[0].shape, sibling)
        else {
            panic!("{} has a uniform rule", v.name);
        };
        assert_eq!(scale.to_bits(), v.scale, "{}", v.name);
        let dtype = made.info(v.name).unwrap().dtype;
        let first = made.values(v.name, 0..v.first.len()).unwrap();
        let found: Vec<u32> = first.iter().map(|&value| bits(value, dtype)).collect();
        assert_eq!(found, v.first, "{} seed {}", v.name, v.seed);
        if let Some(last) = v.last {
            let count = required_tensors[0].shape.count();
            let value = made.values(v.name, count - 1..count).unwrap()[0];
            assert_eq!(bits(value, dtype), last, "{} seed {}", v.name, v.seed);
        }
    }
}

#[test]
fn unrounded_values_and_rows_far_in_are_the_published_ones() {
    let name = "block.layers.0.attention.linear_qkv.weight";
    let shape = [21624, 5120].into();
    let qkv = rule(Architecture::Dit, name, &shape, |_| None).unwrap();
    let expected = [
        0xbc69_5173,
        0xbc7c_6c15,
        0x3bd1_9b8b,
        0xbc89_27a0,
        0xbbb0_d22f,
        0x3c33_5765,
        0xbae3_1b89,
        0xbcb6_2cb2,
    ];
    let found: Vec<u32> = (0..8)
        .map(|i| qkv.value(key(name, 0), i).to_bits())
        .collect();
    assert_eq!(found, expected);
    assert_eq!(qkv.value(key(name, 0), 110_714_879).to_bits(), 0x3cac_3765);

    let name = "model.encoder.embed_tokens.weight";
    let required_tensors = [TensorSpec::new(name, [256_000, 3584], DType::Bf16)];
    let made = Synthetic::new(Architecture::TextEncoder, &required_tensors, 0).unwrap();
    let start = 255_999 * 3584;
    let row = made.values(name, start..start + 8).unwrap();
    let found: Vec<u32> = row.iter().map(|value| value.to_bits() >> 16).collect();
    let expected = [
        0xbbf9, 0xbbd1, 0x3c66, 0xbca4, 0x3b3e, 0xbc81, 0xbac5, 0x3c11,
    ];
    assert_eq!(found, expected);
}

/// Name, shape, offset, gain, K and stored type; the scale is `gain * sqrt(3 / K)`.
type Case = (
    Architecture,
    &'static str,
    &'static [usize],
    f32,
    f64,
    f64,
    DType,
);

/// `K` where the scale is the gain itself.
const PLAIN: f64 = 3.0;

#[rustfmt::skip]
const CASES: &[Case] = {
    use DType::{Bf16, F32};
    use Architecture::{AudioVae, Dit, TextEncoder, VideoVae};
    &[
        (Dit, "block.layers.1.attention.linear_proj.weight", &[768, 256], 0.0, 2.0, 256.0, Bf16),
        (Dit, "block.layers.1.mlp.up_gate_proj.weight", &[1360, 256], 0.0, 2.0, 256.0, Bf16),
        (Dit, "block.layers.1.attention.k_norm.weight", &[128], 0.5, 0.25, PLAIN, F32),
        (Dit, "block.layers.1.attention.pre_norm.weight", &[256], 0.0, 0.25, PLAIN, F32),
        (Dit, "block.layers.1.mlp.pre_norm.weight", &[256], 0.0, 0.25, PLAIN, F32),
        (Dit, "block.layers.1.attn_post_norm.weight", &[256], 0.0, 0.25, PLAIN, F32),
        (Dit, "block.layers.1.mlp_post_norm.weight", &[256], 0.0, 0.25, PLAIN, F32),
        (Dit, "final_norm_audio.weight", &[256], 0.0, 0.25, PLAIN, F32),
        (Dit, "final_linear_video.weight", &[192, 256], 0.0, 1.0, 256.0, F32),
        (Dit, "adapter.video_embedder.weight", &[256, 192], 0.0, 1.0, 192.0, F32),
        (TextEncoder, "model.encoder.norm.weight", &[64], 0.0, 0.25, PLAIN, Bf16),
        (TextEncoder, "model.encoder.layers.1.self_attn.v_proj.weight", &[32, 64], 0.0, 1.0, 64.0, Bf16),
        (TextEncoder, "model.encoder.layers.1.mlp.gate_proj.weight", &[128, 64], 0.0, 1.0, 64.0, Bf16),
        (TextEncoder, "model.encoder.layers.1.post_feedforward_layernorm.weight", &[64], 0.0, 0.25, PLAIN, Bf16),
        (VideoVae, "decoder.upsamples.0.upsamples.3.resample.1.weight", &[8, 8, 3, 3], 0.0, 1.0, 72.0, F32),
        (VideoVae, "decoder.x.depthwise_conv.weight", &[8, 1, 5, 5, 5], 0.0, 1.0, 125.0, F32),
        (AudioVae, "decoder.layers.0.weight_g", &[64, 1, 1], 0.75, 0.09375, PLAIN, F32),
        (AudioVae, "decoder.layers.2.layers.3.layers.1.weight_g", &[64, 1, 1], 0.75, 0.09375, PLAIN, F32),
        (AudioVae, "decoder.layers.2.layers.3.layers.3.weight_g", &[64, 1, 1], 0.5, 0.0625, PLAIN, F32),
        (AudioVae, "encoder.layers.2.layers.1.layers.3.weight_g", &[64, 1, 1], 0.5, 0.0625, PLAIN, F32),
        (AudioVae, "encoder.layers.2.layers.4.weight_g", &[64, 1, 1], 0.75, 0.09375, PLAIN, F32),
        // A transposed convolution [72, 36, 4] has the gain 0.75 sqrt(2 * 36 / 72).
        (AudioVae, "decoder.layers.5.layers.1.weight_g", &[72, 1, 1], 0.75, 0.09375, PLAIN, F32),
        // And [32, 64, 8] has 0.75 sqrt(4 * 64 / 32 = 8) = 1.5 sqrt(2).
        (AudioVae, "decoder.layers.4.layers.1.weight_g", &[32, 1, 1], 2.121_320_3,
            0.1875 * std::f64::consts::SQRT_2, PLAIN, F32),
        (AudioVae, "decoder.layers.5.layers.1.bias", &[40], 0.0, 0.0625, PLAIN, F32),
        (AudioVae, "decoder.layers.5.layers.0.beta", &[48], 0.0, 0.5, PLAIN, F32),
    ]
};

#[test]
fn every_kind_of_tensor_has_its_rule() {
    let sibling = |name: &str| match name {
        "decoder.layers.5.layers.1.weight_v" => Some([72, 36, 4].into()),
        "decoder.layers.4.layers.1.weight_v" => Some([32, 64, 8].into()),
        _ => None,
    };
    for &(network, name, shape, offset, gain, k, dtype) in CASES {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the one rounding of the rule"
        )]
        let scale = (gain * (3.0 / k).sqrt()) as f32;
        let expected = Rule::Uniform {
            offset,
            scale,
            dtype,
        };
        let found = rule(network, name, &shape.into(), sibling);
        assert_eq!(found, Ok(expected), "{name}");
    }
    for (network, name) in [
        (
            Architecture::Dit,
            "block.layers.0.attention.linear_qkv.bias",
        ),
        (Architecture::Dit, "adapter.rope.bands"),
        (Architecture::TextEncoder, "model.encoder.extra"),
        (Architecture::VideoVae, "weight"),
        (Architecture::AudioVae, "decoder.layers.1.layers.1.weight_g"),
    ] {
        let error = rule(network, name, &[4].into(), |_| None).unwrap_err();
        assert_says(&error, &["no rule"]);
    }
}

fn tiny() -> Vec<TensorSpec> {
    let mut required_tensors: Vec<TensorSpec> = (0..5)
        .map(|i| {
            TensorSpec::new(
                format!("block.layers.{i}.mlp.down_proj.weight"),
                [33, 17],
                DType::Bf16,
            )
        })
        .collect();
    required_tensors.push(TensorSpec::new(
        "final_norm_video.weight",
        [101],
        DType::F32,
    ));
    required_tensors.push(TensorSpec::new("adapter.rope.bands", [16], DType::F32));
    required_tensors
}

#[test]
fn tensors_made_whole_and_by_parts_agree_and_bands_are_constants() {
    let required_tensors = tiny();
    let made = Synthetic::new(Architecture::Dit, &required_tensors, 5).unwrap();
    let weights = Weights::new(Box::new(
        Synthetic::new(Architecture::Dit, &required_tensors, 5).unwrap(),
    ));
    weights.check(&required_tensors).unwrap();
    for want in &required_tensors {
        let tensor = weights.load(want).unwrap();
        assert_eq!(tensor.dtype(), want.dtype);
        let parts = made.values(&want.name, 3..want.shape.count()).unwrap();
        assert_eq!(tensor.to_f32()[3..], parts, "{}", want.name);
    }
    let bands = made.values("adapter.rope.bands", 0..16).unwrap();
    for (i, band) in bands.iter().enumerate() {
        let exact = 10_000_f64.powf(-(i as f64) / 16.0);
        let error = (f64::from(*band) - exact).abs() / exact;
        assert!(error <= f64::from(f32::EPSILON) / 2.0, "band {i}: {band}");
    }
    assert_eq!(bands[5].to_bits(), 0x3d66_55c3);
    assert_says(&refusal(made.load("block")), &["`block`", "missing"]);
}

#[test]
fn a_written_checkpoint_holds_the_same_bytes_in_one_file_or_many() {
    let scratch = Scratch::new("synth");
    let required_tensors = tiny();
    let made = Synthetic::new(Architecture::Dit, &required_tensors, 5).unwrap();
    // One tensor is 1122 bytes.
    for (folder, shard_bytes, files) in [
        ("one", u64::MAX, 1),
        ("many", 2500, 3 + 1),
        ("each", 1, 7 + 1),
    ] {
        let folder = scratch.path().join(folder);
        let mut seen = Vec::new();
        let mut progress = |done, total| {
            seen.push((done, total));
            true
        };
        made.write(&folder, shard_bytes, &mut progress).unwrap();
        let total = 5 * 33 * 17 * 2 + 101 * 4 + 16 * 4;
        assert_eq!(seen.last(), Some(&(total, total)));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), files);
        let weights = Weights::new(Box::new(Safetensors::open(&folder).unwrap()));
        weights.check(&required_tensors).unwrap();
        weights.check_nothing_left(&required_tensors).unwrap();
        for want in &required_tensors {
            let read = weights.load(want).unwrap();
            assert_eq!(
                read.bytes(),
                made.load(&want.name).unwrap().bytes(),
                "{}",
                want.name
            );
        }
    }
}

#[test]
fn an_interrupted_writing_is_said() {
    let scratch = Scratch::new("interrupt");
    let made = Synthetic::new(Architecture::Dit, &tiny(), 5).unwrap();
    let result = made.write(scratch.path(), 2500, &mut |done, _| done < 4000);
    assert!(matches!(result, Err(Error::Interrupted)));
}

#[test]
fn given_tensors_take_the_place_of_made_ones() {
    let scratch = Scratch::new("given");
    let required_tensors = tiny();
    let made = |required_tensors: &[TensorSpec], seed| {
        Synthetic::new(Architecture::Dit, required_tensors, seed).unwrap()
    };
    // A file of some tensors, with values of another seed.
    let file = |name: &str, required_tensors: &[TensorSpec]| {
        let folder = scratch.path().join(name);
        let written = made(required_tensors, 9).write(&folder, u64::MAX, &mut |_, _| true);
        written.unwrap();
        Box::new(Safetensors::open(&folder).unwrap())
    };
    let both = made(&required_tensors, 5)
        .with(file("some", &required_tensors[3..6]))
        .unwrap();
    for (i, want) in required_tensors.iter().enumerate() {
        let seed = if (3..6).contains(&i) { 9 } else { 5 };
        let expected = made(&required_tensors, seed).load(&want.name).unwrap();
        let found = both.load(&want.name).unwrap();
        assert_eq!(found.bytes(), expected.bytes(), "{}", want.name);
    }

    let name = &required_tensors[0].name;
    let narrow = [TensorSpec::new(name, [33, 16], DType::Bf16)];
    let foreign = [TensorSpec::new(
        "final_norm_audio.weight",
        [101],
        DType::F32,
    )];
    let refused =
        |kind, required_tensors| refusal(made(&tiny(), 5).with(file(kind, required_tensors)));
    assert_says(&refused("narrow", &narrow), &[name, "[33, 17]", "[33, 16]"]);
    let says = ["final_norm_audio.weight", "not of this network"];
    assert_says(&refused("foreign", &foreign), &says);
}
