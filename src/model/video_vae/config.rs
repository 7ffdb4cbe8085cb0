//! Sizes of the two video autoencoders.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

use super::LATENT_CHANNELS;

/// What an up block enlarges, before its residual blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upsample {
    /// Nothing.
    None,
    /// Height and width.
    Space,
    /// Height, width and frames.
    SpaceAndTime,
}

/// Sizes of the TurboVAED decoder; lists run from the latent to the picture.
#[derive(Clone, PartialEq, Debug)]
pub struct TurboConfig {
    /// Channels of each up block; the middle block has those of the first.
    pub widths: Vec<usize>,
    /// Residual blocks of the middle block.
    pub mid_layers: usize,
    /// Residual blocks of each up block.
    pub layers: Vec<usize>,
    /// What each up block enlarges.
    pub upsample: Vec<Upsample>,
    /// Whether the middle block's convolutions are depthwise and pointwise pairs.
    pub mid_depthwise: bool,
    /// Whether those of each up block are.
    pub depthwise: Vec<bool>,
    /// Extent of a depthwise kernel along each axis; odd.
    pub depthwise_kernel: usize,
    /// Added to the mean square in the norm before a shortcut convolution.
    pub shortcut_eps: f32,
    /// Whether the last channels are pixels already; otherwise a convolution and a pixel shuffle follow.
    pub unpatchify: bool,
    /// Latent frames that the first call adds to the video.
    pub first_chunk: usize,
    /// Latent frames that every other call adds.
    pub step: usize,
}

/// Keys of the published file that concern the decoder; lists run from the picture to the latent.
#[derive(Deserialize)]
struct TurboKeys {
    latent_channels: usize,
    out_channels: usize,
    decoder_block_out_channels: Vec<usize>,
    decoder_layers_per_block: Vec<usize>,
    decoder_spatio_temporal_scaling: Vec<bool>,
    decoder_spatio_only: Vec<bool>,
    decoder_is_dw_conv: Vec<bool>,
    decoder_dw_kernel_size: usize,
    #[serde(default)]
    decoder_causal: bool,
    patch_size: usize,
    patch_size_t: usize,
    resnet_norm_eps: f32,
    spatial_compression_ratio: usize,
    temporal_compression_ratio: usize,
    first_chunk_size: usize,
    step_size: usize,
    use_unpatchify: bool,
}

impl TurboConfig {
    /// Largest width, count or extent that is accepted; far above the published ones.
    const LIMIT: usize = 1 << 14;

    /// The published sizes.
    pub fn published() -> Self {
        Self {
            widths: vec![512, 256, 128, 64],
            mid_layers: 3,
            layers: vec![3, 2, 2, 2],
            upsample: vec![
                Upsample::SpaceAndTime,
                Upsample::SpaceAndTime,
                Upsample::Space,
                Upsample::None,
            ],
            mid_depthwise: false,
            depthwise: vec![false; 4],
            depthwise_kernel: 5,
            shortcut_eps: 1e-6,
            unpatchify: true,
            first_chunk: 7,
            step: 7,
        }
    }

    /// Reads the published JSON form; keys that do not concern the decoder are ignored.
    ///
    /// # Errors
    /// [`Error::Weights`] naming `path` if a key is missing or a value is impossible.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let keys: TurboKeys =
            serde_json::from_slice(json).map_err(|e| Error::weights(path, e.to_string()))?;
        keys.problem()
            .map_or(Ok(()), |problem| Err(Error::weights(path, problem)))?;
        let config = keys.reversed();
        config
            .ratio_problem(&keys)
            .map_or(Ok(config), |problem| Err(Error::weights(path, problem)))
    }

    /// Frames per latent frame after the first.
    pub fn temporal_ratio(&self) -> usize {
        let blocks = self.upsample.iter();
        1 << blocks.filter(|&&u| u == Upsample::SpaceAndTime).count()
    }

    /// Pixels per latent row or column.
    pub fn spatial_ratio(&self) -> usize {
        let doublings = self.upsample.iter().filter(|&&u| u != Upsample::None);
        2 << doublings.count()
    }

    fn ratio_problem(&self, keys: &TurboKeys) -> Option<String> {
        let spatial = (self.spatial_ratio(), keys.spatial_compression_ratio);
        let temporal = (self.temporal_ratio(), keys.temporal_compression_ratio);
        let pairs = [
            ("spatial_compression_ratio", spatial),
            ("temporal_compression_ratio", temporal),
        ];
        let (name, (expected, found)) = pairs.into_iter().find(|(_, (a, b))| a != b)?;
        Some(format!(
            "`{name}` must be {expected}, as the up blocks enlarge; found {found}"
        ))
    }
}

impl TurboKeys {
    fn reversed(&self) -> TurboConfig {
        fn reversed<T: Copy>(list: &[T]) -> Vec<T> {
            list.iter().rev().copied().collect()
        }
        let layers = reversed(&self.decoder_layers_per_block);
        let depthwise = reversed(&self.decoder_is_dw_conv);
        let scaling = self.decoder_spatio_temporal_scaling.iter().rev();
        let upsample = scaling.zip(self.decoder_spatio_only.iter().rev());
        TurboConfig {
            widths: reversed(&self.decoder_block_out_channels),
            mid_layers: layers[0],
            layers: layers[1..].to_vec(),
            upsample: upsample
                .map(|(&scales, &space_only)| match (scales, space_only) {
                    (false, _) => Upsample::None,
                    (true, true) => Upsample::Space,
                    (true, false) => Upsample::SpaceAndTime,
                })
                .collect(),
            mid_depthwise: depthwise[0],
            depthwise: depthwise[1..].to_vec(),
            depthwise_kernel: self.decoder_dw_kernel_size,
            shortcut_eps: self.resnet_norm_eps,
            unpatchify: self.use_unpatchify,
            first_chunk: self.first_chunk_size,
            step: self.step_size,
        }
    }

    /// The first impossible value, in a sentence.
    fn problem(&self) -> Option<String> {
        let blocks = self.decoder_block_out_channels.len();
        if !(1..=16).contains(&blocks) {
            return Some(format!(
                "`decoder_block_out_channels` must have 1 to 16 entries; found {blocks}"
            ));
        }
        let layers = self.decoder_layers_per_block.len();
        let depthwise = self.decoder_is_dw_conv.len();
        let scaling = self.decoder_spatio_temporal_scaling.len();
        let space_only = self.decoder_spatio_only.len();
        let lengths = [
            ("decoder_layers_per_block", layers, blocks + 1),
            ("decoder_is_dw_conv", depthwise, blocks + 1),
            ("decoder_spatio_temporal_scaling", scaling, blocks),
            ("decoder_spatio_only", space_only, blocks),
        ];
        if let Some((name, found, expected)) = lengths.iter().find(|(_, a, b)| a != b) {
            return Some(format!(
                "`{name}` must have {expected} entries; found {found}"
            ));
        }
        self.fixed_problem().or_else(|| self.size_problem())
    }

    /// The first key whose only possible value it does not have, in a sentence.
    fn fixed_problem(&self) -> Option<String> {
        let fixed = [
            ("latent_channels", self.latent_channels, LATENT_CHANNELS),
            ("out_channels", self.out_channels, 3),
            ("patch_size", self.patch_size, 2),
            ("patch_size_t", self.patch_size_t, 1),
        ];
        if let Some((name, found, expected)) = fixed.iter().find(|(_, a, b)| a != b) {
            return Some(format!("`{name}` must be {expected}; found {found}"));
        }
        self.decoder_causal
            .then(|| "`decoder_causal` must be false; found true".to_string())
    }

    fn size_problem(&self) -> Option<String> {
        let limit = TurboConfig::LIMIT;
        let single = [
            ("decoder_dw_kernel_size", self.decoder_dw_kernel_size),
            ("first_chunk_size", self.first_chunk_size),
            ("step_size", self.step_size),
        ];
        let widths = self.decoder_block_out_channels.iter();
        let layers = self.decoder_layers_per_block.iter();
        let sizes = (single.into_iter())
            .chain(widths.map(|&n| ("decoder_block_out_channels", n)))
            .chain(layers.map(|&n| ("decoder_layers_per_block", n)));
        for (name, n) in sizes {
            if !(1..=limit).contains(&n) {
                return Some(format!("`{name}` must be 1 to {limit}; found {n}"));
            }
        }
        if self.decoder_dw_kernel_size.is_multiple_of(2) {
            let found = self.decoder_dw_kernel_size;
            return Some(format!(
                "`decoder_dw_kernel_size` must be odd; found {found}"
            ));
        }
        let last = self.decoder_block_out_channels[0];
        if !self.use_unpatchify && !last.is_multiple_of(4) {
            return Some(format!(
                "`decoder_block_out_channels` must start with a multiple of 4 for a pixel shuffle; found {last}"
            ));
        }
        let eps = self.resnet_norm_eps;
        (!eps.is_finite() || eps < 0.0)
            .then(|| format!("`resnet_norm_eps` must be a small number, not negative; found {eps}"))
    }
}

/// Sizes of the Wan2.2 autoencoder.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct WanConfig {
    /// Channels of the encoder before its first level.
    pub dim: usize,
    /// Channels of the decoder after its last level.
    pub dec_dim: usize,
    /// Latent channels.
    pub z_dim: usize,
    /// Channels of each encoder level, as multiples of `dim`; the decoder's levels in reverse.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub num_res_blocks: usize,
    /// Whether each encoder level but the last halves the frames; the decoder's levels in reverse.
    pub temporal_downsample: Vec<bool>,
    /// Rows and columns of a patch.
    pub patch_size: usize,
}

impl WanConfig {
    /// Reads the sizes as JSON with this struct's fields.
    ///
    /// # Errors
    /// [`Error::Weights`] naming `path` if a key is missing or a value is impossible.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let config: Self =
            serde_json::from_slice(json).map_err(|e| Error::weights(path, e.to_string()))?;
        config
            .problem()
            .map_or(Ok(config), |problem| Err(Error::weights(path, problem)))
    }

    /// The published sizes.
    pub fn published() -> Self {
        Self {
            dim: 160,
            dec_dim: 256,
            z_dim: LATENT_CHANNELS,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            temporal_downsample: vec![false, true, true],
            patch_size: 2,
        }
    }

    /// The first impossible value, in a sentence.
    pub fn problem(&self) -> Option<String> {
        let limit = TurboConfig::LIMIT;
        let sizes = [self.dim, self.dec_dim, self.num_res_blocks];
        if sizes
            .iter()
            .chain(&self.dim_mult)
            .any(|n| !(1..=limit).contains(n))
        {
            return Some(format!("sizes must be 1 to {limit}; found {self:?}"));
        }
        let widest = self
            .dim_mult
            .iter()
            .max()
            .map_or(0, |m| m * self.dim.max(self.dec_dim));
        if widest > limit {
            return Some(format!(
                "`dim_mult` must lead to at most {limit} channels; found {widest}"
            ));
        }
        if (self.z_dim, self.patch_size) != (LATENT_CHANNELS, 2) {
            return Some(format!(
                "`z_dim` must be {LATENT_CHANNELS} and `patch_size` 2; found {} and {}",
                self.z_dim, self.patch_size
            ));
        }
        let (levels, flags) = (self.dim_mult.len(), self.temporal_downsample.len());
        (!(1..=16).contains(&levels) || flags + 1 != levels).then(|| {
            format!("`temporal_downsample` must have one entry less than `dim_mult`; found {flags} and {levels}")
        })
    }

    /// Channels in front of and behind each encoder level.
    pub(super) fn encoder_widths(&self) -> Vec<usize> {
        let levels = self.dim_mult.iter().map(|m| m * self.dim);
        std::iter::once(self.dim).chain(levels).collect()
    }

    /// Channels in front of and behind each decoder level.
    pub(super) fn decoder_widths(&self) -> Vec<usize> {
        let levels = self.dim_mult.iter().rev().map(|m| m * self.dec_dim);
        let first = levels.clone().next();
        first.into_iter().chain(levels).collect()
    }

    /// Pixels per latent row or column.
    pub fn spatial_ratio(&self) -> usize {
        self.patch_size << self.temporal_downsample.len()
    }

    /// Frames per latent frame after the first.
    pub fn temporal_ratio(&self) -> usize {
        let doublings = self.temporal_downsample.iter().filter(|&&time| time);
        1 << doublings.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = r#"{
        "latent_channels": 48, "out_channels": 3,
        "decoder_block_out_channels": [64, 128, 256, 512],
        "decoder_layers_per_block": [2, 2, 2, 3, 3],
        "decoder_spatio_temporal_scaling": [false, true, true, true],
        "decoder_spatio_only": [false, true, false, false],
        "decoder_is_dw_conv": [false, false, false, false, false],
        "decoder_dw_kernel_size": 5, "decoder_causal": false,
        "patch_size": 2, "patch_size_t": 1, "resnet_norm_eps": 1e-6, "scaling_factor": 1,
        "spatial_compression_ratio": 16, "temporal_compression_ratio": 4,
        "first_chunk_size": 7, "step_size": 7, "use_unpatchify": true,
        "aligned_blks_indices": [1]
    }"#;

    fn parse(json: &str) -> Result<TurboConfig> {
        TurboConfig::parse(json.as_bytes(), Path::new("turbo.json"))
    }

    #[test]
    fn published_keys_give_the_published_sizes() {
        assert_eq!(parse(PUBLISHED).unwrap(), TurboConfig::published());
        assert_eq!(WanConfig::published().problem(), None);
        assert_eq!(WanConfig::published().spatial_ratio(), 16);
        assert_eq!(WanConfig::published().temporal_ratio(), 4);
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for (from, to, problem) in [
            (r#""latent_channels": 48,"#, "", "missing field"),
            (
                r#""latent_channels": 48"#,
                r#""latent_channels": 16"#,
                "`latent_channels` must be 48",
            ),
            (
                r#""patch_size": 2"#,
                r#""patch_size": 4"#,
                "`patch_size` must be 2",
            ),
            (
                r#""decoder_causal": false"#,
                r#""decoder_causal": true"#,
                "must be false",
            ),
            (
                "[2, 2, 2, 3, 3]",
                "[2, 2, 2, 3]",
                "must have 5 entries; found 4",
            ),
            ("[64, 128, 256, 512]", "[]", "1 to 16 entries"),
            (
                "[64, 128, 256, 512]",
                "[64, 128, 256, 99999999]",
                "found 99999999",
            ),
            (
                "[false, true, true, true]",
                "[false, true, true]",
                "must have 4 entries",
            ),
            (
                "[false, true, true, true]",
                "[true, true, true, true]",
                "must be 32",
            ),
            (
                "[false, true, false, false]",
                "[false, false, false, false]",
                "must be 8",
            ),
            (
                r#""decoder_dw_kernel_size": 5"#,
                r#""decoder_dw_kernel_size": 4"#,
                "must be odd",
            ),
            (
                r#""step_size": 7"#,
                r#""step_size": 0"#,
                "`step_size` must be 1",
            ),
            (r#""step_size": 7"#, r#""step_size": -1"#, "invalid value"),
            ("1e-6", "-1.0", "`resnet_norm_eps`"),
            ("{", "", "turbo.json"),
        ] {
            assert!(PUBLISHED.contains(from), "{from}");
            let error = parse(&PUBLISHED.replace(from, to)).unwrap_err();
            assert_eq!(error.exit_code(), 4);
            let message = error.to_string();
            assert!(message.starts_with("turbo.json: "), "{message}");
            assert!(message.contains(problem), "{message}");
        }
    }

    #[test]
    fn refuses_wan_sizes_that_do_not_fit_together() {
        let published = WanConfig::published();
        for config in [
            WanConfig {
                dim: 0,
                ..published.clone()
            },
            WanConfig {
                z_dim: 16,
                ..published.clone()
            },
            WanConfig {
                patch_size: 1,
                ..published.clone()
            },
            WanConfig {
                dim_mult: vec![],
                ..published.clone()
            },
            WanConfig {
                temporal_downsample: vec![true],
                ..published
            },
        ] {
            assert!(config.problem().is_some(), "{config:?}");
        }
    }
}
