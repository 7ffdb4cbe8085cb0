//! Parameters and ways out as data, so that each door can call them by its own names.

use std::fmt;

/// The enum with the name of each of its variants.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $name:literal)*) => {
        /// A parameter of a request, or an option of the program.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$field,)*];

            /// Its name in a request's JSON. It stays what it is.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    /// What to show and say.
    Prompt "prompt"
    /// What to steer away from.
    NegativePrompt "negative_prompt"
    /// Folder with the model's files.
    Model "model"
    /// Size of the picture.
    Size "size"
    /// How many times larger than decoded the frames are in the file.
    Scale "scale"
    /// Length of the clip.
    Seconds "seconds"
    /// Seed of all noise.
    Seed "seed"
    /// Picture of the first frame.
    Image "input_reference"
    /// Voice track that drives the clip.
    Audio "audio_reference"
    /// Whether the voice track's latent stays as it is.
    HoldAudio "hold_audio"
    /// Network of the base pass.
    Variant "variant"
    /// Steps of the base pass.
    Steps "num_inference_steps"
    /// Ready text features.
    TextFeatures "text_features"
    /// Network that makes the frames.
    Decoder "decoder"
    /// Formats of the denoising networks' products.
    Precision "precision"
    /// Which device runs.
    Device "device"
    /// Where the weights are while a GPU runs a network.
    Residency "residency"
    /// Where the clip goes.
    Output "output"
    /// Who encodes the clip.
    Encoder "encoder"
    /// Quality of the encoded picture.
    Quality "quality"
    /// Shift of the noise schedule.
    Shift "shift"
    /// Noise level at which the super-resolution pass starts.
    NoiseValue "noise_value"
    /// Which cases run.
    Filter "filter"
    /// Formats to compare with.
    Against "against"
    /// Sizes of a network.
    Config "config"
    /// Memory of a GPU that is planned for.
    GpuMemory "gpu_memory"
    /// Its arithmetic.
    GpuTflops "gpu_tflops"
    /// Its memory rate.
    GpuBandwidth "gpu_bandwidth"
}

/// A way out of an error, or out of what a notice tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Give this parameter.
    Give(Field),
    /// Give this parameter this value.
    Set(Field, &'static str),
    /// Ask for less of one of these.
    Lower(&'static [Field]),
    /// Allow that what is there is replaced.
    Replace,
}

impl Hint {
    /// Do without a GPU.
    pub const USE_CPU: Self = Self::Set(Field::Device, "cpu");
    /// Take less memory.
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

/// A parameter as text of no door's own names it.
pub(crate) fn quoted(field: Field) -> String {
    format!("`{}`", field.name())
}

/// Facts and way out as one line.
pub(crate) fn neutral(facts: String, hint: Option<Hint>) -> String {
    match hint {
        Some(hint) => format!("{facts}; {hint}"),
        None => facts,
    }
}
