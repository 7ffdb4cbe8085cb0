//! A model: a folder of published files or the built-in miniature, opened part by part when a stage needs it.

use std::{
    any::Any,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    denoise::Network,
    formats::QuantizationPolicy,
    miniature,
    networks::NetworkConfig,
    request::{BaseVariant, Defaults, SrVariant},
};
use crate::{
    Error, Result,
    model::{
        audio_vae, dit, text_encoder,
        video_vae::{TurboConfig, WanConfig},
    },
    text::Tokenizer,
    weights::{
        self, Component, Folder, PositionScheme, Properties, State, Variant, Weights, quantized,
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
    /// What is open, where parts stay open.
    opened: Option<Mutex<Vec<Opened>>>,
}

/// The most parts that stay open: all of a model, and denoising networks in some other formats.
const OPENED_MAX: usize = 16;

/// A part that is open, and in which formats its layers are.
struct Opened {
    part: Component,
    formats: QuantizationPolicy,
    what: Arc<dyn Any + Send + Sync>,
}

/// A part's sizes and tensors.
pub struct ModelPart<C> {
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
            opened: None,
        })
    }

    /// The built-in miniature.
    pub fn miniature() -> Self {
        Self {
            parts: Parts::Miniature,
            opened: None,
        }
    }

    /// The same, where each part stays open: configurations are parsed and files are mapped once.
    #[must_use]
    pub fn kept_open(self) -> Self {
        Self {
            opened: Some(Mutex::default()),
            ..self
        }
    }

    /// The part as it is open, or as `open` opens it.
    fn once<T: Any + Send + Sync>(
        &self,
        part: Component,
        formats: &QuantizationPolicy,
        open: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let Some(opened) = &self.opened else {
            return open().map(Arc::new);
        };
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&Opened| known.part == part && known.formats == *formats;
        if let Some(known) = opened.iter().find(is_it) {
            let what = known.what.clone().downcast::<T>();
            return Ok(what.expect("a part is always opened as one type"));
        }
        let made = Arc::new(open()?);
        if opened.len() == OPENED_MAX {
            opened.remove(0);
        }
        opened.push(Opened {
            part,
            formats: formats.clone(),
            what: made.clone(),
        });
        Ok(made)
    }

    /// The folder, or `miniature`.
    pub fn name(&self) -> String {
        match &self.parts {
            Parts::Folder(folder) => folder.dir().display().to_string(),
            Parts::Miniature => "miniature".into(),
        }
    }

    /// Its name, wherever its folder lies.
    pub fn short_name(&self) -> String {
        match &self.parts {
            Parts::Folder(folder) => {
                let path = folder.dir().canonicalize().unwrap_or_default();
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into()
            }
            Parts::Miniature => self.name(),
        }
    }

    /// Its files, as far as they are found.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match &self.parts {
            Parts::Folder(folder) => folder.files(),
            Parts::Miniature => Vec::new(),
        }
    }

    /// Whether it is the built-in one.
    pub fn is_miniature(&self) -> bool {
        matches!(self.parts, Parts::Miniature)
    }

    /// What it makes when nothing is asked.
    pub fn defaults(&self) -> Defaults {
        match &self.parts {
            Parts::Folder(_) => Defaults::FOLDER,
            Parts::Miniature => miniature::DEFAULTS,
        }
    }

    /// Whether it has what reads pictures, and what reads voice tracks.
    pub fn takes_image_and_audio(&self) -> (bool, bool) {
        match &self.parts {
            Parts::Folder(folder) => {
                let has = |part| matches!(folder.state(part), State::Found { .. });
                (has(Component::WanVae), has(Component::AudioVae))
            }
            Parts::Miniature => (false, false),
        }
    }

    /// How a denoising network is sampled.
    pub fn properties(&self, variant: Variant) -> Properties {
        match &self.parts {
            Parts::Folder(folder) => folder.properties(variant),
            Parts::Miniature => miniature::properties(variant),
        }
    }

    /// A denoising network, its layers in the formats of `policy`.
    ///
    /// # Errors
    /// If it is missing, damaged or not as its configuration says, or `policy` cannot be had of it.
    pub fn network(&self, variant: Variant, policy: &QuantizationPolicy) -> Result<Arc<Network>> {
        self.once(Component::Dit(variant), policy, || {
            self.open_network(variant, policy)
        })
    }

    fn open_network(&self, variant: Variant, policy: &QuantizationPolicy) -> Result<Network> {
        let part = Component::Dit(variant);
        let mut config: dit::DitConfig = self.sizes(part)?.take();
        let properties = self.properties(variant);
        config.local_attn_layers = properties.local_layers;
        let path = self.path(part);
        config
            .validate()
            .map_err(|problem| Error::weights(path, problem))?;
        let weights = self.weights(part, &NetworkConfig::Dit(config.clone()))?;
        let stored = quantized::stored(weights.source());
        let formats = policy.resolve(variant, &config, &stored)?;
        let coordinates = match properties.coordinates {
            PositionScheme::V1 => dit::Coordinates::V1,
            PositionScheme::V2 => dit::Coordinates::V2,
        };
        let window_radius = properties.frame_receptive_field;
        Ok(Network {
            config,
            weights: weights.quantized(formats.clone()),
            coordinates,
            window_radius,
            shift: properties.shift,
            formats,
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        let open = || match &self.parts {
            Parts::Folder(folder) => Tokenizer::open(folder.tokenizer()?),
            Parts::Miniature => Tokenizer::parse(miniature::TOKENIZER, "miniature"),
        };
        self.once(Component::Tokenizer, &QuantizationPolicy::default(), open)
    }

    /// The text encoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn text_encoder(&self) -> Result<Arc<ModelPart<text_encoder::TextEncoderConfig>>> {
        self.part(Component::TextEncoder)
    }

    /// The fast video decoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn turbo(&self) -> Result<Arc<ModelPart<TurboConfig>>> {
        self.part(Component::TurboVae)
    }

    /// The full video autoencoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn wan(&self) -> Result<Arc<ModelPart<WanConfig>>> {
        self.part(Component::WanVae)
    }

    /// The audio autoencoder.
    ///
    /// # Errors
    /// As [`Model::network`].
    pub fn audio(&self) -> Result<Arc<ModelPart<audio_vae::AudioVaeConfig>>> {
        self.part(Component::AudioVae)
    }

    fn part<C: Any + Clone + Send + Sync>(&self, part: Component) -> Result<Arc<ModelPart<C>>> {
        self.once(part, &QuantizationPolicy::default(), || {
            let sizes = self.sizes(part)?;
            let weights = self.weights(part, &sizes)?;
            let config = sizes.take();
            Ok(ModelPart { config, weights })
        })
    }

    fn sizes(&self, part: Component) -> Result<NetworkConfig> {
        match &self.parts {
            Parts::Folder(folder) => NetworkConfig::of(folder, part),
            Parts::Miniature => Ok(miniature::sizes(part)),
        }
    }

    /// Where a part is or should be, for messages.
    fn path(&self, part: Component) -> PathBuf {
        match &self.parts {
            Parts::Folder(folder) => folder.state(part).path().into(),
            Parts::Miniature => "miniature".into(),
        }
    }

    /// Tensors of `part`: those of the folder with nothing missing and nothing left over, or the miniature's.
    fn weights(&self, part: Component, sizes: &NetworkConfig) -> Result<Weights> {
        match &self.parts {
            Parts::Folder(folder) => {
                let weights = folder.open(part)?;
                let all = sizes.stored_specs(weights.source());
                weights.check(&all)?;
                weights.check_nothing_left(&all)?;
                Ok(weights)
            }
            Parts::Miniature => {
                let weights = Weights::new(Box::new(miniature::weights(part)?));
                Ok(weights.accepting_any_float())
            }
        }
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
