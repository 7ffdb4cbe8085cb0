//! A model folder: where its components are, and how each is opened.
//!
//! Components are looked for as downloaded: directly in the folder, in sub folders named after their repositories, or in
//! what the hub's programs keep as a cache, of one repository or of several. A manifest ([`super::manifest`]) may name other paths. Finding reads names only, opening reads headers, and
//! [`super::Weights`] checks shapes and types. Read [`find`] first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    manifest::{FILE_NAME, Manifest, ManifestEntry, PositionScheme, Properties},
    open::open_any,
    shards::{Safetensors, is_checkpoint},
    source::{Selected, Source, Weights},
};
use crate::{
    Error, Result,
    error::{GivenFile, human_bytes},
};

/// A denoising network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// 32 steps with guidance.
    Base,
    /// 8 steps without.
    Distill,
    /// Super-resolution to 896x512.
    Sr540p,
    /// Super-resolution to 1920x1088.
    Sr1080p,
}

/// A component of the model that is published separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// A denoising network.
    Dit(Variant),
    /// T5Gemma 9B, encoder half.
    TextEncoder,
    /// The text encoder's tokenizer.json.
    Tokenizer,
    /// The fast video decoder.
    TurboVae,
    /// The full video autoencoder.
    WanVae,
    /// The audio autoencoder.
    AudioVae,
}

/// Whether a component is in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Found {
        /// Its file or folder.
        path: PathBuf,
        /// JSON of its sizes, if there is one.
        config: Option<PathBuf>,
    },
    /// It is missing.
    Missing(Missing),
}

impl State {
    /// Where it is, or is expected.
    pub fn path(&self) -> &Path {
        match self {
            Self::Found { path, .. } => path,
            Self::Missing(missing) => &missing.expected,
        }
    }

    /// The JSON of its sizes, or where it is without one.
    pub fn config_path(&self) -> &Path {
        match self {
            Self::Found {
                config: Some(config),
                ..
            } => config,
            _ => self.path(),
        }
    }
}

/// A component that is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The file or folder that would complete it.
    pub expected: PathBuf,
    /// Repository that publishes it.
    pub published_at: &'static str,
    /// Whether a licence must be accepted there first.
    pub is_gated: bool,
    /// Size of the download, rounded.
    pub bytes: u64,
}

/// A model folder.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    manifest: Manifest,
    states: Vec<(Component, State)>,
}

/// Looks for the components of the model in `dir`. Missing ones are no error.
///
/// # Errors
/// [`Error::Weights`] if `dir` is not a folder, or its manifest is invalid or names a path that does not exist.
pub fn find(dir: &Path) -> Result<Folder> {
    if !dir.is_dir() {
        let found = if dir.exists() { "a file" } else { "nothing" };
        let problem = format!("must be a folder with model files; found {found}");
        return Err(Error::weights(dir, problem));
    }
    let snapshot = snapshot(dir);
    let dir = snapshot.as_deref().unwrap_or(dir);
    let manifest = read_manifest(dir)?;
    let states = Component::ALL
        .iter()
        .map(|&part| Ok((part, part.find(dir, manifest.item(part.key()))?)))
        .collect::<Result<_>>()?;
    Ok(Folder {
        dir: dir.to_path_buf(),
        manifest,
        states,
    })
}

impl Folder {
    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every component, with whether it is there.
    pub fn states(&self) -> &[(Component, State)] {
        &self.states
    }

    /// Whether one component is there.
    pub fn state(&self, part: Component) -> &State {
        let found = self.states.iter().find(|(other, _)| *other == part);
        &found.expect("every part has a state").1
    }

    /// The files that were found: configurations, single files, and all in the folders of several.
    pub fn files(&self) -> Vec<PathBuf> {
        let found = self.states.iter().filter_map(|(_, state)| match state {
            State::Found { path, config } => Some([Some(path), config.as_ref()]),
            State::Missing { .. } => None,
        });
        let mut files = vec![self.dir.join(FILE_NAME)];
        for path in found.flatten().flatten() {
            match fs::read_dir(path) {
                Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
                Err(_) => files.push(path.clone()),
            }
        }
        files
    }

    /// Properties of a denoising network: as published, overridden by the manifest.
    pub fn properties(&self, variant: Variant) -> Properties {
        let published = variant.published();
        match self.manifest.item(variant.key()) {
            Some(item) => item.properties(published),
            None => published,
        }
    }

    /// Text of the JSON file with a component's sizes; `None` if there is none, as for the published denoising
    /// networks.
    ///
    /// # Errors
    /// [`Error::Weights`] if the component is missing or the file cannot be read.
    pub fn config(&self, part: Component) -> Result<Option<String>> {
        let (_, config) = self.found(part)?;
        config.map(read_config).transpose()
    }

    /// Path of tokenizer.json.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing.
    pub fn tokenizer(&self) -> Result<&Path> {
        Ok(self.found(Component::Tokenizer)?.0)
    }

    /// Tensors of a component under the names that its network has: `model.encoder.*`, whose embedding may have more rows
    /// than required, of the text encoder, `decoder.*` of the fast video decoder, `encoder.*` and `decoder.*` of the
    /// audio autoencoder, the checkpoint's own otherwise.
    ///
    /// # Errors
    /// [`Error::Weights`] if they are missing or a file is damaged. The tokenizer has no tensors.
    pub fn open(&self, part: Component) -> Result<Weights> {
        let (path, _) = self.found(part)?;
        let any_float = |source| Weights::new(source).accepting_any_float();
        let renamed = |source, rename| -> Result<Box<dyn Source>> {
            Ok(Box::new(Selected::new(source, rename)?))
        };
        let stored = || -> Result<Box<dyn Source>> { Ok(Box::new(Safetensors::open(path)?)) };
        Ok(match part {
            Component::Dit(_) | Component::Tokenizer => Weights::new(stored()?),
            Component::TextEncoder => any_float(renamed(stored()?, text_name)?)
                .allowing_more_rows("model.encoder.embed_tokens.weight"),
            Component::TurboVae => any_float(renamed(
                open_any(path, Some("ema_state_dict"))?,
                turbo_name,
            )?),
            Component::WanVae => any_float(open_any(path, None)?),
            Component::AudioVae => Weights::new(renamed(stored()?, audio_name)?),
        })
    }

    fn found(&self, part: Component) -> Result<(&Path, Option<&Path>)> {
        match self.state(part) {
            State::Found { path, config } => Ok((path, config.as_deref())),
            State::Missing(missing) => {
                let licence = match missing.is_gated {
                    true => " (accept its licence there first)",
                    false => "",
                };
                let problem = format!(
                    "is missing; download it from {}{licence}, about {}, or name its path in {FILE_NAME}",
                    missing.published_at,
                    human_bytes(missing.bytes)
                );
                Err(Error::weights(&missing.expected, problem))
            }
        }
    }
}

impl Variant {
    /// Key in the manifest, and the name of the published folder.
    pub fn key(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Distill => "distill",
            Self::Sr540p => "540p_sr",
            Self::Sr1080p => "1080p_sr",
        }
    }

    /// Properties of the published network.
    pub fn published(self) -> Properties {
        let (steps, coordinates, guidance) = match self {
            Self::Base => (32, PositionScheme::V2, 5.0),
            Self::Distill => (8, PositionScheme::V2, 1.0),
            Self::Sr540p | Self::Sr1080p => (5, PositionScheme::V1, 1.0),
        };
        let local_layers = match self {
            Self::Sr1080p => (0..40).filter(|l| *l >= 32 || l % 4 != 3).collect(),
            Self::Base | Self::Distill | Self::Sr540p => Vec::new(),
        };
        Properties {
            steps,
            coordinates,
            local_layers,
            frame_receptive_field: 11,
            guidance,
            shift: 5.0,
        }
    }
}

/// Where a component is published, and the names of its files there.
struct Published {
    repository: &'static str,
    is_gated: bool,
    /// Size of what is needed of it, bytes.
    bytes: u64,
    /// Weights and config by their paths in the repository, in the order in which they are looked for. An empty path
    /// means a folder of safetensors files.
    files: &'static [(&'static str, Option<&'static str>)],
}

impl Component {
    /// All components, in the order in which the stages use them.
    pub const ALL: [Self; 9] = [
        Self::Tokenizer,
        Self::TextEncoder,
        Self::Dit(Variant::Base),
        Self::Dit(Variant::Distill),
        Self::Dit(Variant::Sr540p),
        Self::Dit(Variant::Sr1080p),
        Self::TurboVae,
        Self::WanVae,
        Self::AudioVae,
    ];

    /// Key in the manifest.
    pub fn key(self) -> &'static str {
        match self {
            Self::Dit(variant) => variant.key(),
            Self::TextEncoder => "text_encoder",
            Self::Tokenizer => "tokenizer",
            Self::TurboVae => "turbo_vae",
            Self::WanVae => "wan_vae",
            Self::AudioVae => "audio_vae",
        }
    }

    fn published(self) -> Published {
        const DAVINCI: &str = "GAIR/daVinci-MagiHuman";
        const T5GEMMA: &str = "google/t5gemma-9b-9b-ul2";
        const TURBO: Option<&str> = Some("turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json");
        let (repository, is_gated, bytes, files): (_, _, _, &[_]) = match self {
            Self::Dit(Variant::Base) => (DAVINCI, false, 30_642_000_000, &[("base", None)]),
            Self::Dit(Variant::Distill) => (DAVINCI, false, 61_197_700_000, &[("distill", None)]),
            Self::Dit(Variant::Sr540p) => (DAVINCI, false, 61_197_700_000, &[("540p_sr", None)]),
            Self::Dit(Variant::Sr1080p) => (DAVINCI, false, 61_197_700_000, &[("1080p_sr", None)]),
            Self::TextEncoder => (T5GEMMA, true, 18_483_000_000, &[("", Some("config.json"))]),
            Self::Tokenizer => (T5GEMMA, true, 34_000_000, &[("tokenizer.json", None)]),
            Self::TurboVae => (
                DAVINCI,
                false,
                1_868_000_000,
                &[
                    ("turbo_vae/checkpoint-340000.ckpt", TURBO),
                    ("turbo_vae", TURBO),
                ],
            ),
            Self::WanVae => (
                "Wan-AI/Wan2.2-TI2V-5B",
                false,
                2_818_839_170,
                &[("Wan2.2_VAE.pth", None), ("Wan2.2_VAE.safetensors", None)],
            ),
            Self::AudioVae => (
                "stabilityai/stable-audio-open-1.0",
                true,
                4_850_000_000,
                &[("model.safetensors", Some("model_config.json"))],
            ),
        };
        Published {
            repository,
            is_gated,
            bytes,
            files,
        }
    }

    fn find(self, dir: &Path, item: Option<&ManifestEntry>) -> Result<State> {
        let named = |path: &Option<PathBuf>, what: &str| match path {
            Some(path) if dir.join(path).exists() => Ok(Some(dir.join(path))),
            Some(path) => {
                let problem = format!(
                    "names `{}` as `{}.{what}`, which does not exist",
                    path.display(),
                    self.key()
                );
                Err(Error::weights(dir.join(FILE_NAME), problem))
            }
            None => Ok(None),
        };
        let (path, config) = match item {
            Some(item) => (named(&item.path, "path")?, named(&item.config, "config")?),
            None => (None, None),
        };
        let published = self.published();
        if let Some(path) = path {
            let config = config.or_else(|| config_beside(&path, &published));
            return Ok(State::Found { path, config });
        }
        // The repository's own folder first: two repositories have a `model.safetensors`.
        let name = Path::new(published.repository).file_name();
        let cached = format!("models--{}", published.repository.replace('/', "--"));
        let roots = [
            Some(dir.join(name.unwrap_or_default())),
            snapshot(&dir.join(cached)),
            Some(dir.to_path_buf()),
        ];
        let mut expected = None;
        for (file, beside) in published.files {
            for root in roots.iter().flatten() {
                let path = join(root, file);
                if !is_weights(&path) {
                    continue;
                }
                match beside.map(|name| root.join(name)) {
                    Some(beside) if config.is_none() && !beside.is_file() => {
                        expected.get_or_insert(beside);
                    }
                    beside => {
                        let config = config.or(beside);
                        return Ok(State::Found { path, config });
                    }
                }
            }
        }
        Ok(State::Missing(Missing {
            expected: expected.unwrap_or_else(|| join(dir, published.files[0].0)),
            published_at: published.repository,
            is_gated: published.is_gated,
            bytes: published.bytes,
        }))
    }
}

/// `root/file`, without a trailing separator if `file` is empty.
fn join(root: &Path, file: &str) -> PathBuf {
    if file.is_empty() {
        root.to_path_buf()
    } else {
        root.join(file)
    }
}

/// The files of a repository that the hub's programs keep in the cache folder `dir`: the version that `main` was when it
/// was downloaded, or the only one.
fn snapshot(dir: &Path) -> Option<PathBuf> {
    let versions = dir.join("snapshots");
    let mut all = fs::read_dir(&versions).ok()?.flatten();
    let main = GivenFile::Weights.read_text(&dir.join("refs/main"), 1 << 10);
    let name = match main.as_deref().map(str::trim) {
        Ok(name) if name.bytes().all(|byte| byte.is_ascii_hexdigit()) => name.into(),
        _ => all.next().filter(|_| all.next().is_none())?.file_name(),
    };
    Some(versions.join(name)).filter(|path| path.is_dir())
}

fn is_weights(path: &Path) -> bool {
    path.is_file() || (path.is_dir() && is_checkpoint(path))
}

/// The published config of a component whose weights the manifest placed elsewhere, if it is beside them.
fn config_beside(path: &Path, published: &Published) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let name = published.files.iter().find_map(|(_, config)| *config)?;
    let config = folder.join(Path::new(name).file_name()?);
    config.is_file().then_some(config)
}

fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(FILE_NAME);
    if !path.exists() {
        return Ok(Manifest::default());
    }
    Manifest::parse(&path, &read_config(&path)?)
}

fn read_config(path: &Path) -> Result<String> {
    const MAX_BYTES: u64 = 1 << 20;
    GivenFile::Weights.read_text(path, MAX_BYTES)
}

/// Encoder tensors under their full names; encoder-only files leave out `model.`. The decoder half has tensors with
/// the same endings and is skipped.
fn text_name(name: &str) -> Option<String> {
    let rest = name.strip_prefix("model.").unwrap_or(name);
    rest.starts_with("encoder.")
        .then(|| format!("model.{rest}"))
}

/// Decoder tensors under their full names. Data-parallel training left `module.` in front, `decoder.` may be missing,
/// and the feature heads were only for training.
fn turbo_name(name: &str) -> Option<String> {
    let name = name.strip_prefix("module.").unwrap_or(name);
    if name.starts_with("aligned_feature_projection_heads.") {
        return None;
    }
    let rest = name.strip_prefix("decoder.").unwrap_or(name);
    Some(format!("decoder.{rest}"))
}

fn audio_name(name: &str) -> Option<String> {
    name.strip_prefix("pretransform.model.").map(str::to_string)
}
