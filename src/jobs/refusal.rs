//! Why a job cannot be had or has failed, in the words of every door.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    error::{Field, Hint},
};

/// The kind of a refusal, a stable word for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The prompt cannot be used.
    InvalidPrompt,
    /// A size that is impossible.
    InvalidSize,
    /// Another value that is impossible.
    InvalidValue,
    /// A parameter that there is not.
    UnknownField,
    /// The picture cannot be used.
    InvalidImage,
    /// The voice track cannot be used.
    InvalidAudio,
    /// Understood, and impossible here.
    UnsupportedFeature,
    /// The key of an earlier request with other content.
    IdempotencyMismatch,
    /// There is no such thing.
    NotFound,
    /// The clip is not made yet, or the server takes no jobs now.
    NotReady,
    /// So many jobs are waiting that no more is taken.
    QueueFull,
    /// A body that is longer than is taken.
    TooLarge,
    /// The disk is full.
    StorageFull,
    /// It does not fit into memory.
    OutOfMemory,
    /// A model file is missing or damaged.
    WeightsMissing,
    /// The clip could not be encoded or written.
    EncoderFailed,
    /// Somebody cancelled it.
    Cancelled,
    /// A fault of the server or its device.
    Internal,
    /// No key, or not a right one.
    InvalidApiKey,
}

impl Code {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidPrompt => "invalid_prompt",
            Self::InvalidSize => "invalid_size",
            Self::InvalidValue => "invalid_value",
            Self::UnknownField => "unknown_field",
            Self::InvalidImage => "invalid_image",
            Self::InvalidAudio => "invalid_audio",
            Self::UnsupportedFeature => "unsupported_feature",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::NotFound => "not_found",
            Self::NotReady => "not_ready",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::StorageFull => "storage_full",
            Self::OutOfMemory => "out_of_memory",
            Self::WeightsMissing => "weights_missing",
            Self::EncoderFailed => "encoder_failed",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::InvalidApiKey => "invalid_api_key",
        }
    }
}

/// Why not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Its kind.
    pub code: Code,
    /// The parameter that it is about.
    pub field: Option<String>,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl Refusal {
    /// About no parameter.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            field: None,
            message: message.into(),
        }
    }

    /// About the parameter `field`; `problem` follows its name.
    pub fn of(code: Code, field: &str, problem: impl fmt::Display) -> Self {
        Self {
            code,
            field: Some(field.into()),
            message: format!("`{field}` {problem}"),
        }
    }

    /// There is no parameter `name`; the nearest of `known` is said if one is near.
    pub fn unknown(name: &str, known: &[&str]) -> Self {
        let shown: String = name.chars().take(80).collect();
        let far = |own: &&&str| strsim::damerau_levenshtein(&shown, own);
        let near = known.iter().min_by_key(far);
        let near = near.filter(|own| far(own) <= 2.max(own.len() / 3));
        let problem = match near {
            Some(own) => format!("is no parameter; did you mean `{own}`?"),
            None => format!("is no parameter; there are {}", known.join(", ")),
        };
        Self::of(Code::UnknownField, &shown, problem)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let (code, field) = match error {
            Error::Request { field, .. } => {
                let code = match field {
                    Field::Size | Field::Scale => Code::InvalidSize,
                    Field::Prompt | Field::NegativePrompt => Code::InvalidPrompt,
                    _ => Code::InvalidValue,
                };
                (code, Some(*field))
            }
            Error::Input { what, .. } => {
                let is = |field: Field| *what == field.name();
                match (is(Field::Image), is(Field::Audio)) {
                    (true, _) => (Code::InvalidImage, Some(Field::Image)),
                    (_, true) => (Code::InvalidAudio, Some(Field::Audio)),
                    _ => (Code::InvalidPrompt, Some(Field::Prompt)),
                }
            }
            Error::Weights { .. } => (Code::WeightsMissing, None),
            Error::Memory { .. } | Error::OutOfMemory { .. } => (Code::OutOfMemory, None),
            Error::Output { .. } if error.code() == "storage_full" => (Code::StorageFull, None),
            Error::Output { .. } => (Code::EncoderFailed, None),
            Error::Interrupted => (Code::Cancelled, None),
            Error::Device { .. } | Error::Failed { .. } => (Code::Internal, None),
        };
        let message = match (error, error.hint()) {
            (Error::Interrupted, _) => "the job was cancelled".into(),
            // What the program's user would be told to allow is not for a client to decide.
            (_, Some(Hint::Replace | Hint::Give(Field::Model) | Hint::Set(Field::Variant, _))) => {
                error.facts(crate::error::quoted)
            }
            _ => error.to_string(),
        };
        Self {
            code,
            field: field.map(|field| field.name().into()),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_kind_and_the_parameter() {
        let of = |error: Error| Refusal::from(&error);
        let refusal = of(Error::request(Field::Size, "must be 32x32").found("1x1"));
        assert_eq!(refusal.code, Code::InvalidSize);
        assert_eq!(refusal.field.as_deref(), Some("size"));
        assert_eq!(refusal.message, "`size` must be 32x32; given 1x1");
        let image = of(Error::input("input_reference", "is a PDF"));
        assert_eq!(image.code, Code::InvalidImage);
        assert_eq!(of(Error::Interrupted).code, Code::Cancelled);
        let full = Error::output_io("a", std::io::ErrorKind::StorageFull.into());
        assert_eq!(of(full).code, Code::StorageFull);
    }

    #[test]
    fn words_are_those_of_the_serialised_form() {
        for code in [Code::InvalidPrompt, Code::QueueFull, Code::InvalidApiKey] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
