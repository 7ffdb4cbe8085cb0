//! Checkpoints on disk: found, checked, then read; and synthetic weights, made by rule.
//!
//! A [`Source`] gives tensors by name: safetensors files ([`Safetensors`]), torch files ([`TorchFile`]) or a rule
//! ([`Synthetic`]); [`Quantized`] converts some layers of another source to FP8. [`Weights`] checks names, shapes and
//! dtypes of a source against a list of [`TensorSpec`]s before any byte is used. [`Folder`] knows where the published
//! files are. Read [`Weights`] first.
//!
//! Every size in a file is checked before it is used; no file makes this module panic, allocate without bound or run
//! code. It does not know what the tensors mean: that is `model`.

#![warn(clippy::cast_possible_truncation)]

pub mod folder;
pub mod manifest;
mod map;
mod open;
mod origin;
pub mod pickle;
pub mod quantized;
mod random;
mod rules;
pub mod safetensors;
pub mod shards;
pub mod source;
pub mod synthetic;
pub mod torch_zip;
pub mod write;
mod zip;

pub use folder::{Component, Folder, Missing, State, Variant};
pub use manifest::{Manifest, PositionScheme, Properties};
pub use origin::Origin;
pub use quantized::Quantized;
pub use shards::Safetensors;
pub use source::{Info, Selected, Source, TensorSpec, Weights, check_finite, is_finite};
pub use synthetic::{Architecture, Rule, Synthetic};
pub use torch_zip::TorchFile;
pub use write::{Writer, write_checkpoint};
