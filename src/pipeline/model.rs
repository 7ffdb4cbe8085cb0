//! A model: a folder of published files or the built-in miniature, opened part by part when a stage needs it.

use std::path::{Path, PathBuf};

use super::{
    denoise::Network,
    miniature,
    request::{BaseVariant, Defaults, Size, SrVariant},
};
use crate::{
    Error, Result,
    executor::wants,
    model::{
        audio_vae,
        dit::{self, Sequence},
        text_encoder,
        video_vae::{self, TurboConfig, WanConfig},
    },
    plan::Grid,
    text::Tokenizer,
    weights::{
        self, Component, Coordinates, Folder, Properties, Synthetic, Variant, Want, Weights,
    },
};

/// Where the parts come from.
enum Parts {
    Folder(Box<Folder>),
    Miniature,
}

/// A model, of which nothing is opened yet.
pub struct Model {
    parts: Parts,
}

/// A part's sizes and tensors.
pub struct Part<C> {
    /// Its sizes.
    pub config: C,
    /// Its tensors, checked against the sizes.
    pub weights: Weights,
}

impl Model {
    /// The model in `dir`, laid out as downloaded or as its `gallop.json` says.
    ///
    /// # Errors
    /// If `dir` is no folder or its manifest is bad; parts are looked at when they are opened.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            parts: Parts::Folder(Box::new(weights::folder::find(dir)?)),
        })
    }

    /// The built-in miniature.
    pub fn miniature() -> Self {
        Self {
            parts: Parts::Miniature,
        }
    }

    /// The folder, or `miniature`.
    pub fn name(&self) -> String {
        match &self.parts {
            Parts::Folder(folder) => folder.dir().display().to_string(),
            Parts::Miniature => "miniature".into(),
        }
    }

    /// Whether it is the built-in one, whose weights are untrained.
    pub fn is_miniature(&self) -> bool {
        matches!(self.parts, Parts::Miniature)
    }

    /// What it makes when nothing is asked.
    pub fn defaults(&self) -> Defaults {
        match &self.parts {
            Parts::Folder(_) => Defaults {
                size: Size::P256,
                seconds: 5,
            },
            Parts::Miniature => miniature::DEFAULTS,
        }
    }

    /// How a denoising network is sampled.
    pub fn properties(&self, variant: Variant) -> Properties {
        match &self.parts {
            Parts::Folder(folder) => folder.properties(variant),
            Parts::Miniature if variant == Variant::Sr1080p => Properties {
                local_layers: miniature::LOCAL_LAYERS.to_vec(),
                ..variant.published()
            },
            Parts::Miniature => variant.published(),
        }
    }

    /// A denoising network.
    ///
    /// # Errors
    /// If it is missing, damaged or not as its configuration says.
    pub fn network(&self, variant: Variant) -> Result<Network> {
        let part = Component::Dit(variant);
        let properties = self.properties(variant);
        let (text, path) = self.config(part)?;
        let mut config = match text {
            Some(text) => {
                serde_json::from_str(&text).map_err(|e| Error::weights(&path, e.to_string()))?
            }
            None => dit::Config::released(vec![]),
        };
        config.local_attn_layers = properties.local_layers;
        config
            .validate()
            .map_err(|problem| Error::weights(&path, problem))?;
        let sequence = Sequence {
            grid: Grid {
                frames: 1,
                height: 2,
                width: 2,
            },
            audio: 1,
            text: 1,
        };
        let mut all = wants(&dit::forward(&config, sequence, 0).0);
        all.push(Network::bands_want());
        let weights = self.weights(part, &all, |folder| folder.open_dit(variant))?;
        let coordinates = match properties.coordinates {
            Coordinates::V1 => dit::Coordinates::V1,
            Coordinates::V2 => dit::Coordinates::V2,
        };
        let reach = properties.frame_receptive_field;
        Ok(Network {
            config,
            weights,
            coordinates,
            reach,
            shift: properties.shift,
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        match &self.parts {
            Parts::Folder(folder) => Tokenizer::open(folder.tokenizer()?),
            Parts::Miniature => Tokenizer::parse(miniature::TOKENIZER, "miniature"),
        }
    }

    /// The text encoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn text_encoder(&self) -> Result<Part<text_encoder::Config>> {
        let (text, path) = self.required_config(Component::TextEncoder)?;
        let config = text_encoder::Config::parse(&text, &path)?;
        let all = wants(&text_encoder::encode(&config, 1, false).0);
        let weights = self.weights(Component::TextEncoder, &all, Folder::open_text)?;
        Ok(Part { config, weights })
    }

    /// The fast video decoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn turbo(&self) -> Result<Part<TurboConfig>> {
        let (text, path) = self.required_config(Component::TurboVae)?;
        let config = TurboConfig::parse(text.as_bytes(), &path)?;
        let shape = video_vae::turbo::CallShape {
            frames: 2,
            height: 1,
            width: 1,
            first: false,
        };
        let precision = video_vae::Precision::BF16;
        let all = wants(&video_vae::turbo::decoder_call(&config, precision, shape).0);
        let weights = self.weights(Component::TurboVae, &all, Folder::open_turbo)?;
        Ok(Part { config, weights })
    }

    /// The full video autoencoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn wan(&self) -> Result<Part<WanConfig>> {
        let (text, path) = self.config(Component::WanVae)?;
        let config = match text {
            Some(text) => WanConfig::parse(text.as_bytes(), &path)?,
            None => WanConfig::published(),
        };
        let precision = video_vae::Precision::BF16;
        let mut all = wants(&video_vae::wan_encoder::encode(&config, precision, 5, 16, 16).0);
        all.extend(wants(
            &video_vae::wan_decoder::decode(&config, precision, 2, 1, 1).0,
        ));
        let weights = self.weights(Component::WanVae, &all, Folder::open_wan)?;
        Ok(Part { config, weights })
    }

    /// The audio autoencoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn audio(&self) -> Result<Part<audio_vae::Config>> {
        let (text, path) = self.required_config(Component::AudioVae)?;
        let config = audio_vae::Config::parse(&text, &path)?;
        let mut all = wants(&audio_vae::encode(&config, config.hop).0);
        all.extend(wants(&audio_vae::decode(&config, 1).0));
        let weights = self.weights(Component::AudioVae, &all, Folder::open_audio)?;
        Ok(Part { config, weights })
    }

    /// Tensors of `part`: those of the folder with nothing missing and nothing left over, or synthetic ones.
    fn weights(
        &self,
        part: Component,
        all: &[Want],
        open: impl FnOnce(&Folder) -> Result<Weights>,
    ) -> Result<Weights> {
        match &self.parts {
            Parts::Folder(folder) => {
                let weights = open(folder)?;
                weights.check(all)?;
                weights.check_nothing_left(all)?;
                Ok(weights)
            }
            Parts::Miniature => {
                let synthetic = Synthetic::new(network_of(part), all, miniature::seed(part))?;
                Ok(Weights::new(Box::new(synthetic)))
            }
        }
    }

    /// JSON of a part's sizes, if it has one, and the path to name in messages.
    fn config(&self, part: Component) -> Result<(Option<String>, PathBuf)> {
        match &self.parts {
            Parts::Folder(folder) => {
                let path = match folder.state(part) {
                    weights::State::Found { path, config } => {
                        config.clone().unwrap_or_else(|| path.clone())
                    }
                    weights::State::Missing { expected, .. } => expected.clone(),
                };
                Ok((folder.config(part)?, path))
            }
            Parts::Miniature => Ok((Some(miniature::config(part).into()), "miniature".into())),
        }
    }

    fn required_config(&self, part: Component) -> Result<(String, PathBuf)> {
        let (text, path) = self.config(part)?;
        let text =
            text.ok_or_else(|| Error::weights(&path, "has no JSON file with its sizes beside it"))?;
        Ok((text, path))
    }
}

/// The rule of a part's synthetic weights.
pub fn network_of(part: Component) -> weights::Network {
    match part {
        Component::Dit(_) => weights::Network::Dit,
        Component::Tokenizer | Component::TextEncoder => weights::Network::TextEncoder,
        Component::TurboVae | Component::WanVae => weights::Network::VideoVae,
        Component::AudioVae => weights::Network::AudioVae,
    }
}

impl BaseVariant {
    /// Its part of the model.
    pub fn network(self) -> Variant {
        match self {
            Self::Base => Variant::Base,
            Self::Distill => Variant::Distill,
        }
    }
}

impl SrVariant {
    /// Its part of the model.
    pub fn network(self) -> Variant {
        match self {
            Self::Sr540p => Variant::Sr540p,
            Self::Sr1080p => Variant::Sr1080p,
        }
    }
}
