//! Sizes of a DiT checkpoint, and which of its layers are special. Reference: `model/dit/dit_module.py`,
//! `TransformerConfig`.

use serde::Deserialize;

/// Size of a head. The rotation, the kernels and all checkpoints have this one.
pub const HEAD: usize = 128;

/// Added to the mean square in every norm.
pub const EPS: f32 = 1e-6;

/// How audio and text tokens are placed in time. Reference: `pipeline/data_proxy.py`, `SingleData.coords_mapping`
/// (`coords_style`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coordinates {
    /// Audio and text stretched over the video's frames: the super-resolution networks.
    V1,
    /// Audio by its own clock, text before time zero: the base networks.
    V2,
}

/// Shape of a DiT, as the published configuration names its fields.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct DitConfig {
    /// Layers.
    pub num_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Size of a head; must be [`HEAD`].
    pub head_dim: usize,
    /// Query heads.
    pub num_heads_q: usize,
    /// Key/value heads.
    pub num_heads_kv: usize,
    /// Channels of a video token.
    pub video_in_channels: usize,
    /// Channels of an audio token.
    pub audio_in_channels: usize,
    /// Width of a text feature.
    pub text_in_channels: usize,
    /// Layers with one set of weights per modality.
    pub mm_layers: Vec<usize>,
    /// Layers whose MLP is not gated.
    pub gelu7_layers: Vec<usize>,
    /// Layers with local attention: a token sees only nearby frames.
    pub local_attn_layers: Vec<usize>,
    /// Layers with two extra norms.
    pub post_norm_layers: Vec<usize>,
    /// One sigmoid gate per query head; every known checkpoint has them.
    pub enable_attn_gating: bool,
}

impl DitConfig {
    /// The published 15B model: 40 layers of width 5120. `local_attn_layers` depends on the network.
    pub fn released(local_attn_layers: Vec<usize>) -> Self {
        Self {
            num_layers: 40,
            hidden_size: 5120,
            head_dim: HEAD,
            num_heads_q: 40,
            num_heads_kv: 8,
            video_in_channels: 192,
            audio_in_channels: 64,
            text_in_channels: 3584,
            mm_layers: vec![0, 1, 2, 3, 36, 37, 38, 39],
            gelu7_layers: vec![0, 1, 2, 3],
            local_attn_layers,
            post_norm_layers: vec![],
            enable_attn_gating: true,
        }
    }

    /// What is impossible about this configuration, if anything.
    ///
    /// # Errors
    /// A sentence with the field, what it must be and what was found.
    pub fn validate(&self) -> Result<(), String> {
        let Self {
            num_heads_q,
            num_heads_kv,
            hidden_size,
            ..
        } = *self;
        let limits = [
            ("num_layers", self.num_layers, 1000),
            ("num_heads_q", num_heads_q, 1000),
            ("text_in_channels", self.text_in_channels, 1 << 16),
        ];
        if let Some((field, value, limit)) = limits
            .into_iter()
            .find(|&(_, n, limit)| n == 0 || n > limit)
        {
            return Err(format!("{field} must be 1 to {limit}; found {value}"));
        }
        if self.head_dim != HEAD {
            return Err(format!("head_dim must be {HEAD}; found {}", self.head_dim));
        }
        if hidden_size != num_heads_q * HEAD {
            return Err(format!(
                "hidden_size must be {HEAD} x num_heads_q; found {hidden_size} and {num_heads_q}"
            ));
        }
        if num_heads_kv == 0 || num_heads_q % num_heads_kv != 0 {
            return Err(format!(
                "num_heads_q must be a multiple of num_heads_kv; found {num_heads_q} and {num_heads_kv}"
            ));
        }
        if self.video_in_channels != 192 || self.audio_in_channels != 64 {
            let (video, audio) = (self.video_in_channels, self.audio_in_channels);
            return Err(format!(
                "video_in_channels must be 192 and audio_in_channels 64; found {video} and {audio}"
            ));
        }
        let lists = [
            &self.mm_layers,
            &self.gelu7_layers,
            &self.local_attn_layers,
            &self.post_norm_layers,
        ];
        if let Some(layer) = lists
            .into_iter()
            .flatten()
            .find(|&&layer| layer >= self.num_layers)
        {
            return Err(format!(
                "layer {layer} is listed; there are {}",
                self.num_layers
            ));
        }
        if !self.enable_attn_gating {
            return Err("enable_attn_gating must be true".into());
        }
        Ok(())
    }

    /// Rows of the joint projection: q, k, v and one gate per query head.
    pub fn qkv_rows(&self) -> usize {
        (self.num_heads_q + 2 * self.num_heads_kv) * HEAD + self.num_heads_q
    }

    /// Width inside the MLP of `layer`: `4 h`; if gated, two thirds of it, rounded down to a multiple of 4.
    pub fn ffn(&self, layer: usize) -> usize {
        if self.is_gelu7(layer) {
            4 * self.hidden_size
        } else {
            8 * self.hidden_size / 3 / 4 * 4
        }
    }

    /// Whether the MLP of `layer` is not gated.
    pub fn is_gelu7(&self, layer: usize) -> bool {
        self.gelu7_layers.contains(&layer)
    }

    /// Whether `layer` has one set of weights per modality.
    pub fn is_per_modality(&self, layer: usize) -> bool {
        self.mm_layers.contains(&layer)
    }
}
