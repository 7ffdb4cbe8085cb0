//! Configurations of a model's networks, from JSON, and the formats of stored layers, from headers: enough for `plan`,
//! `inspect` and `synth`, without any weights.

use std::{any::Any, path::Path};

use super::{denoise::Network, request::Defaults, request::Size};
use crate::{
    Error, Result,
    executor::required_tensors,
    model::{
        audio_vae,
        dit::{self, Sequence},
        text_encoder,
        video_vae::{self, TurboConfig, WanConfig, turbo::CallShape},
    },
    plan::Grid,
    tensor::LayerFormats,
    weights::{self, Component, Folder, Properties, Source, State, TensorSpec, Variant, quantized},
};

/// Text encoder as published.
const TEXT_ENCODER: &str = include_str!("published/text_encoder.json");
/// Fast video decoder as published.
const TURBO_VAE: &str = include_str!("published/turbo_vae.json");
/// Audio autoencoder as published.
const AUDIO_VAE: &str = include_str!("published/audio_vae.json");

/// Configuration of one component of a model.
#[derive(Clone, Debug)]
pub enum NetworkConfig {
    /// Of a denoising network.
    Dit(dit::DitConfig),
    /// Of the text encoder.
    Text(text_encoder::TextEncoderConfig),
    /// Of the fast video decoder.
    Turbo(TurboConfig),
    /// Of the full video autoencoder.
    Wan(WanConfig),
    /// Of the audio autoencoder.
    Audio(audio_vae::AudioVaeConfig),
}

impl NetworkConfig {
    /// The configuration of one component.
    ///
    /// # Panics
    /// If it is another component's, a mistake of ours.
    pub(super) fn take<C: Any + Clone>(&self) -> C {
        let config: &dyn Any = match self {
            Self::Dit(config) => config,
            Self::Text(config) => config,
            Self::Turbo(config) => config,
            Self::Wan(config) => config,
            Self::Audio(config) => config,
        };
        let config = config.downcast_ref::<C>().cloned();
        config.unwrap_or_else(|| panic!("another component's sizes: {self:?}"))
    }

    /// Reads the JSON of a component's sizes in the published form; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Weights`] if the text is not JSON or describes another network.
    ///
    /// # Panics
    /// For the tokenizer, which has no sizes.
    pub fn parse(part: Component, text: &str, path: &Path) -> Result<Self> {
        Ok(match part {
            Component::Tokenizer => panic!("a tokenizer has no sizes"),
            Component::Dit(_) => {
                let bad = |problem: String| Error::weights(path, problem);
                let config: dit::DitConfig =
                    serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
                config.validate().map_err(bad)?;
                Self::Dit(config)
            }
            Component::TextEncoder => {
                Self::Text(text_encoder::TextEncoderConfig::parse(text, path)?)
            }
            Component::TurboVae => Self::Turbo(TurboConfig::parse(text.as_bytes(), path)?),
            Component::WanVae => Self::Wan(WanConfig::parse(text.as_bytes(), path)?),
            Component::AudioVae => Self::Audio(audio_vae::AudioVaeConfig::parse(text, path)?),
        })
    }

    /// The published configuration.
    ///
    /// # Panics
    /// For the tokenizer, which has no sizes.
    pub fn published(part: Component) -> Self {
        match part {
            Component::Dit(_) => Self::Dit(dit::DitConfig::released(vec![])),
            Component::WanVae => Self::Wan(WanConfig::published()),
            _ => {
                let text = published_json(part).expect("these parts are published with a JSON");
                Self::parse(part, text, Path::new("published"))
                    .expect("the published sizes are valid")
            }
        }
    }

    /// The configuration of a component in `folder`: from its JSON, or as published if there is none.
    ///
    /// # Errors
    /// [`Error::Weights`] if the component is missing or its JSON is invalid.
    pub fn of(folder: &Folder, part: Component) -> Result<Self> {
        match folder.config(part)? {
            Some(text) => Self::parse(part, &text, folder.state(part).config_path()),
            None if published_json(part).is_none() => Ok(Self::published(part)),
            None => {
                let problem = "has no JSON file with its sizes beside it";
                Err(Error::weights(folder.state(part).config_path(), problem))
            }
        }
    }

    /// Specs of the tensors as `source` stores them: some layers of a denoising network may be quantised.
    pub fn stored_specs(&self, source: &dyn Source) -> Vec<TensorSpec> {
        match self {
            Self::Dit(_) => quantized::stored_specs(self.required_tensors(), source),
            Self::Text(_) | Self::Turbo(_) | Self::Wan(_) | Self::Audio(_) => {
                self.required_tensors()
            }
        }
    }

    /// Specs of all tensors of the component, as the model defines it.
    pub fn required_tensors(&self) -> Vec<TensorSpec> {
        let precision = video_vae::VaePrecision::BF16;
        match self {
            Self::Dit(config) => {
                let grid = Grid::new(1, 2, 2);
                let sequence = Sequence {
                    grid,
                    audio: 1,
                    text: 1,
                };
                let mut all = required_tensors(&dit::forward(config, sequence, 0).0);
                all.push(Network::bands_spec());
                all
            }
            Self::Text(config) => required_tensors(&text_encoder::encode(config, 1, false).0),
            Self::Turbo(config) => {
                let shape = CallShape {
                    frames: 2,
                    height: 1,
                    width: 1,
                    first: false,
                };
                required_tensors(&video_vae::turbo::decoder_call(config, precision, shape).0)
            }
            Self::Wan(config) => {
                let mut all = required_tensors(
                    &video_vae::wan_encoder::encode(config, precision, 5, 16, 16).0,
                );
                all.extend(required_tensors(
                    &video_vae::wan_decoder::decode(config, precision, 2, 1, 1).0,
                ));
                all
            }
            Self::Audio(config) => {
                let mut all = required_tensors(&audio_vae::encode(config, config.hop).0);
                all.extend(required_tensors(&audio_vae::decode(config, 1).0));
                all
            }
        }
    }
}

/// The rules of a component's synthetic weights.
pub fn network_of(part: Component) -> weights::Architecture {
    match part {
        Component::Dit(_) => weights::Architecture::Dit,
        Component::Tokenizer | Component::TextEncoder => weights::Architecture::TextEncoder,
        Component::TurboVae | Component::WanVae => weights::Architecture::VideoVae,
        Component::AudioVae => weights::Architecture::AudioVae,
    }
}

/// The JSON with which a component is published.
pub fn published_json(part: Component) -> Option<&'static str> {
    match part {
        Component::TextEncoder => Some(TEXT_ENCODER),
        Component::TurboVae => Some(TURBO_VAE),
        Component::AudioVae => Some(AUDIO_VAE),
        Component::Tokenizer | Component::Dit(_) | Component::WanVae => None,
    }
}

/// A denoising network.
#[derive(Clone, Debug)]
pub struct Dit {
    variant: Variant,
    /// Its sizes.
    pub config: dit::DitConfig,
    /// How it is sampled.
    pub properties: Properties,
    /// Formats of the layers that its checkpoint has quantised.
    pub stored: LayerFormats,
}

/// Configurations of a whole model.
#[derive(Clone, Debug)]
pub struct ModelConfigs {
    /// The folder, `published` or `miniature`.
    pub name: String,
    /// Defaults of requests.
    pub defaults: Defaults,
    /// Text encoder.
    pub text: text_encoder::TextEncoderConfig,
    /// Fast video decoder.
    pub turbo: TurboConfig,
    /// Full video autoencoder.
    pub wan: WanConfig,
    /// Audio autoencoder.
    pub audio: audio_vae::AudioVaeConfig,
    dits: Vec<Dit>,
}

impl ModelConfigs {
    /// The model with only the first `layers` of each denoising network: full widths in less time.
    #[must_use]
    pub fn cut_to(mut self, layers: usize) -> Self {
        for Dit { config, .. } in &mut self.dits {
            config.num_layers = config.num_layers.min(layers);
            for special in [
                &mut config.mm_layers,
                &mut config.gelu7_layers,
                &mut config.local_attn_layers,
                &mut config.post_norm_layers,
            ] {
                special.retain(|&layer| layer < layers);
            }
        }
        self
    }

    /// The published model.
    pub fn published() -> Self {
        let defaults = Defaults {
            size: Size::P1080,
            scale: 1,
            seconds: 5,
        };
        let all = Self::new(
            "published",
            defaults,
            |part| Ok(NetworkConfig::published(part)),
            Variant::published,
        );
        all.expect("the published sizes are valid")
    }

    /// The model in `folder`; missing components are taken as published.
    ///
    /// # Errors
    /// [`Error::Weights`] if a JSON or the header of a denoising network is invalid.
    pub fn of(folder: &Folder) -> Result<Self> {
        let sizes = |part| match folder.state(part) {
            State::Found { .. } => NetworkConfig::of(folder, part),
            State::Missing(_) => Ok(NetworkConfig::published(part)),
        };
        let name = folder.dir().display().to_string();
        let mut all = Self::new(&name, Defaults::FOLDER, sizes, |variant| {
            folder.properties(variant)
        })?;
        for dit in &mut all.dits {
            if let State::Found { .. } = folder.state(Component::Dit(dit.variant)) {
                dit.stored = quantized::stored(folder.open(Component::Dit(dit.variant))?.source());
            }
        }
        Ok(all)
    }

    /// A denoising network.
    ///
    /// # Panics
    /// Never: there is one of each variant.
    pub fn dit(&self, variant: Variant) -> &Dit {
        let found = self.dits.iter().find(|dit| dit.variant == variant);
        found.expect("there is one of each variant")
    }

    /// The model `name` with the given `sizes` of components and `properties` of denoising networks.
    pub(super) fn new(
        name: &str,
        defaults: Defaults,
        sizes: impl Fn(Component) -> Result<NetworkConfig>,
        properties: impl Fn(Variant) -> Properties,
    ) -> Result<Self> {
        let mut dits = Vec::new();
        for variant in [
            Variant::Base,
            Variant::Distill,
            Variant::Sr540p,
            Variant::Sr1080p,
        ] {
            let mut config: dit::DitConfig = sizes(Component::Dit(variant))?.take();
            let properties = properties(variant);
            config
                .local_attn_layers
                .clone_from(&properties.local_layers);
            config.validate().map_err(|problem| {
                Error::weights(name, format!("`{}`: {problem}", variant.key()))
            })?;
            dits.push(Dit {
                variant,
                config,
                properties,
                stored: LayerFormats::new(),
            });
        }
        Ok(Self {
            name: name.into(),
            defaults,
            text: sizes(Component::TextEncoder)?.take(),
            turbo: sizes(Component::TurboVae)?.take(),
            wan: sizes(Component::WanVae)?.take(),
            audio: sizes(Component::AudioVae)?.take(),
            dits,
        })
    }
}
