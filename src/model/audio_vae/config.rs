//! Sizes of an Oobleck autoencoder, from the published `model_config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Result};

/// Largest extents that are accepted: far beyond any published network, small enough that no product overflows.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_STAGES: usize = 16;
const MAX_HOP: usize = 1 << 20;

/// Sizes of encoder and decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioVaeConfig {
    /// Latent channels.
    pub latent_channels: usize,
    /// Channels of the waveform: 2.
    pub wave_channels: usize,
    /// Samples per latent: the product of the strides.
    pub hop: usize,
    /// The encoder's stages, from waveform to latent.
    pub encoder: Stages,
    /// The decoder's stages, in the encoder's order; the decoder runs them from last to first.
    pub decoder: Stages,
}

/// Widths and strides of one half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Channels before stage 0, between the stages and after the last: one more than there are strides.
    pub widths: Vec<usize>,
    /// Ratio of the sample rates around each stage; even.
    pub strides: Vec<usize>,
}

impl AudioVaeConfig {
    /// Reads the text of a `model_config.json`; `path` is for messages.
    /// # Errors
    /// [`Error::Weights`] if it is not JSON, lacks a size or describes another kind of network.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let whole: Value = serde_json::from_str(text)
            .map_err(|e| Error::weights(path, format!("is not valid JSON: {e}")))?;
        let inner = whole
            .pointer("/model/pretransform/config")
            .ok_or_else(|| Error::weights(path, "must hold `model.pretransform.config`"))?;
        Self::from_value(inner, path)
    }

    /// Reads the object `model.pretransform.config` alone.
    ///
    /// # Errors
    /// As [`AudioVaeConfig::parse`].
    pub fn from_value(value: &Value, path: &Path) -> Result<Self> {
        let file = File::deserialize(value)
            .map_err(|e| Error::weights(path, format!("`model.pretransform.config`: {e}")))?;
        file.check().map_err(|problem| {
            Error::weights(path, format!("`model.pretransform.config`: {problem}"))
        })
    }
}

/// The JSON object as published.
#[derive(Deserialize)]
struct File {
    encoder: Half,
    decoder: Half,
    bottleneck: Bottleneck,
    latent_dim: usize,
    downsampling_ratio: usize,
    io_channels: usize,
}

#[derive(Deserialize)]
struct Half {
    r#type: String,
    config: HalfConfig,
}

#[derive(Deserialize)]
struct HalfConfig {
    in_channels: Option<usize>,
    out_channels: Option<usize>,
    channels: usize,
    c_mults: Vec<usize>,
    strides: Vec<usize>,
    latent_dim: usize,
    #[serde(default)]
    use_snake: bool,
    /// Without the key the reference applies a tanh, which we do not have.
    #[serde(default = "yes")]
    final_tanh: bool,
    #[serde(default)]
    use_nearest_upsample: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Bottleneck {
    r#type: String,
}

impl File {
    fn check(self) -> Result<AudioVaeConfig, String> {
        let Self {
            encoder,
            decoder,
            latent_dim,
            io_channels,
            ..
        } = &self;
        expect("bottleneck.type", &self.bottleneck.r#type.as_str(), &"vae")?;
        within("latent_dim", *latent_dim, MAX_CHANNELS / 2)?;
        within("io_channels", *io_channels, MAX_CHANNELS)?;
        let inputs = encoder.config.in_channels.unwrap_or(2);
        let outputs = decoder.config.out_channels.unwrap_or(2);
        expect("encoder.config.in_channels", &inputs, io_channels)?;
        expect("decoder.config.out_channels", &outputs, io_channels)?;
        let (twice, once) = (encoder.config.latent_dim, decoder.config.latent_dim);
        expect("encoder.config.latent_dim", &twice, &(2 * latent_dim))?;
        expect("decoder.config.latent_dim", &once, latent_dim)?;
        let tanh = decoder.config.final_tanh;
        expect("decoder.config.final_tanh", &tanh, &false)?;
        let nearest = decoder.config.use_nearest_upsample;
        expect("decoder.config.use_nearest_upsample", &nearest, &false)?;
        Ok(AudioVaeConfig {
            latent_channels: *latent_dim,
            wave_channels: *io_channels,
            hop: self.downsampling_ratio,
            encoder: encoder.stages("encoder", self.downsampling_ratio)?,
            decoder: decoder.stages("decoder", self.downsampling_ratio)?,
        })
    }
}

impl Half {
    fn stages(&self, name: &str, hop: usize) -> Result<Stages, String> {
        let config = &self.config;
        expect(&format!("{name}.type"), &self.r#type.as_str(), &"oobleck")?;
        let snake = format!("{name}.config.use_snake");
        expect(&snake, &config.use_snake, &true)?;
        let count = config.strides.len();
        let strides = format!("number of {name}.config.strides");
        within(&strides, count, MAX_STAGES)?;
        let multiples = format!("number of {name}.config.c_mults");
        expect(&multiples, &config.c_mults.len(), &count)?;
        let mut product = 1_usize;
        for &stride in &config.strides {
            if stride == 0 || stride % 2 == 1 {
                return Err(format!(
                    "`{name}.config.strides` must be even; found {stride}"
                ));
            }
            product = product.saturating_mul(stride);
        }
        within("downsampling_ratio", hop, MAX_HOP)?;
        expect(&format!("product of {name}.config.strides"), &product, &hop)?;
        let mut widths = Vec::with_capacity(count + 1);
        for &multiple in [1].iter().chain(&config.c_mults) {
            let width = config.channels.saturating_mul(multiple);
            let what = format!("{name}.config.channels times {multiple}");
            within(&what, width, MAX_CHANNELS)?;
            widths.push(width);
        }
        Ok(Stages {
            widths,
            strides: config.strides.clone(),
        })
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("`{what}` must be {expected:?}; found {found:?}"))
    }
}

fn within(what: &str, found: usize, most: usize) -> Result<(), String> {
    if (1..=most).contains(&found) {
        Ok(())
    } else {
        Err(format!("`{what}` must be 1 to {most}; found {found}"))
    }
}
