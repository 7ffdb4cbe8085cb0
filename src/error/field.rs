//! Parameters and remedies as data, so that each front end can use its own names.

use std::fmt;

/// Declares the enum and the name of each variant.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $name:literal)*) => {
        /// A parameter of a request, or an option of the program.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            /// All fields.
            pub const ALL: &[Self] = &[$(Self::$field,)*];

            /// Its name in a JSON request, which never changes.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    /// Content of the clip: picture and speech.
    Prompt "prompt"
    /// What the clip should avoid.
    NegativePrompt "negative_prompt"
    /// File with what the clip should avoid.
    NegativePromptFile "negative_prompt_file"
    /// Folder with the model's files.
    Model "model"
    /// Size of the clip.
    Size "size"
    /// Factor by which decoded frames are enlarged in the file.
    Scale "scale"
    /// Length of the clip.
    Seconds "seconds"
    /// Number of clips of a prompt.
    Count "count"
    /// Seed of all noise.
    Seed "seed"
    /// Image of the first frame.
    Image "input_reference"
    /// Voice track that drives the clip.
    Audio "audio_reference"
    /// Whether the voice track's latent is kept unchanged.
    HoldAudio "hold_audio"
    /// Network of the base pass.
    Variant "variant"
    /// Steps of the base pass.
    Steps "num_inference_steps"
    /// Whether the text encoder's soft-cap is applied.
    Softcap "softcap"
    /// Precomputed text features.
    TextFeatures "text_features"
    /// Network that decodes frames.
    Decoder "decoder"
    /// Formats of the denoising networks' linear layers.
    Precision "precision"
    /// Device that runs the networks.
    Device "device"
    /// Where weights are kept while a GPU runs a network.
    Residency "residency"
    /// Whether a GPU's kernels are launched one by one.
    NoGraph "no_graph"
    /// Whether a GPU runs every step as a kernel of its own.
    NoFuse "no_fuse"
    /// Where the clip is written.
    Output "output"
    /// Where the final latents are written.
    SaveLatents "save_latents"
    /// Where frames and sound are drawn.
    Sheet "sheet"
    /// Encoder of the clip.
    Encoder "encoder"
    /// The ffmpeg program.
    Ffmpeg "ffmpeg"
    /// Colour matrix of the encoded picture.
    Color "color"
    /// Quality of the encoded picture.
    Quality "quality"
    /// Shift of the noise schedule.
    Shift "shift"
    /// Noise level at which the super-resolution pass starts.
    NoiseValue "noise_value"
    /// Address that is listened on.
    Listen "listen"
    /// Folder of the jobs.
    State "state"
    /// Page origin that may call.
    Cors "cors"
    /// Which cases are run.
    Filter "filter"
    /// Formats to compare with.
    Against "against"
    /// Sizes of a network.
    Config "config"
    /// Memory of the GPU to plan for.
    GpuMemory "gpu_memory"
    /// Its peak arithmetic rate.
    GpuTflops "gpu_tflops"
    /// Its memory bandwidth.
    GpuBandwidth "gpu_bandwidth"
}

/// A remedy for an error or a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Set this parameter.
    Give(Field),
    /// Set this parameter to this value.
    Set(Field, &'static str),
    /// Lower one of these.
    Lower(&'static [Field]),
    /// Allow existing files to be replaced.
    Replace,
}

impl Hint {
    /// Use the CPU.
    pub const USE_CPU: Self = Self::Set(Field::Device, "cpu");
    /// Make a smaller or shorter clip.
    pub const SMALLER_CLIP: Self = Self::Lower(&[Field::Size, Field::Seconds]);
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Give(field) => write!(f, "give {}", quoted(*field)),
            Self::Set(field, value) => write!(f, "set {} to {value}", quoted(*field)),
            Self::Lower(fields) => {
                let names: Vec<String> = fields.iter().copied().map(quoted).collect();
                write!(f, "lower {}", names.join(" or "))
            }
            Self::Replace => f.write_str("allow it to be replaced"),
        }
    }
}

/// A parameter in text without a front end.
pub(crate) fn quoted(field: Field) -> String {
    format!("`{}`", field.name())
}

/// Facts and remedy as one line.
pub(crate) fn neutral(facts: String, hint: Option<Hint>) -> String {
    match hint {
        Some(hint) => format!("{facts}; {hint}"),
        None => facts,
    }
}
