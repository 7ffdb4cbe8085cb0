//! Words of the command line for values of the library, with their help.

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    device::GemmChoice,
    executor::Residency,
    pipeline::{
        Color, Stage,
        request::{BaseVariant, VideoDecoder},
    },
    weights::{Component, Variant},
};

/// One value, or all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OneOrAll<T>(pub(super) Option<T>);

/// A value as on the command line.
pub(super) fn word(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("a value that has a word");
    value.get_name().into()
}

macro_rules! choices {
    ($type:ty: $($word:literal $(($help:literal))? => $value:expr,)+) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$($value),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                $(if *self == $value {
                    return Some(PossibleValue::new($word)$(.help($help))?);
                })+
                None
            }
        }
    };
}

choices! { BaseVariant:
    "base" ("32 steps with guidance by a negative prompt") => Self::Base,
    "distill" ("8 steps without guidance") => Self::Distill,
}
choices! { VideoDecoder:
    "turbo" ("The fast decoder") => Self::Turbo,
    "wan" ("The original autoencoder's") => Self::Wan,
}
choices! { Color:
    "bt709" => Self::Bt709,
    "reference" => Self::Reference,
}
choices! { Stage:
    "text" ("Prompt to features") => Self::Text,
    "base" ("One step of the base pass") => Self::Base,
    "sr" ("One step of the super-resolution pass") => Self::SuperResolution,
    "decode" ("One call of the video decoder") => Self::DecodeVideo,
    "audio" ("The audio decoder") => Self::DecodeAudio,
}
choices! { GemmChoice:
    "own" ("This program's kernels") => Self::Own,
    "cublaslt" ("NVIDIA's cuBLASLt wherever it can, even instead of fused kernels") => Self::CublasLt,
    "auto" ("The faster one for each shape; this program's kernels without the library") => Self::Auto,
}
choices! { Residency:
    "auto" ("On the GPU if they fit, else streamed") => Self::Auto,
    "resident" ("On the GPU") => Self::Resident,
    "streamed" ("Copied layer by layer in every run, each layer while the one before is computed") => Self::Streamed,
}
choices! { OneOrAll<Variant>:
    "base" ("32 steps with guidance") => Self(Some(Variant::Base)),
    "distill" ("8 steps without") => Self(Some(Variant::Distill)),
    "540p_sr" ("Super-resolution to 896x512") => Self(Some(Variant::Sr540p)),
    "1080p_sr" ("Super-resolution to 1920x1088") => Self(Some(Variant::Sr1080p)),
    "all" ("All that the folder has") => Self(None),
}
// The four denoising networks have the same sizes and names.
choices! { OneOrAll<Component>:
    "dit" ("A denoising network") => Self(Some(Component::Dit(Variant::Base))),
    "text" ("The text encoder") => Self(Some(Component::TextEncoder)),
    "turbo" ("The fast video decoder") => Self(Some(Component::TurboVae)),
    "wan" ("The full video autoencoder") => Self(Some(Component::WanVae)),
    "audio" ("The audio autoencoder") => Self(Some(Component::AudioVae)),
    "all" ("A whole model folder") => Self(None),
}
