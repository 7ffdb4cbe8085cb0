//! gallop makes video with sound from a prompt: an inference runtime for the HappyHorse-class single-stream
//! audio-video transformer, on the CPU and, with kernels of its own, on NVIDIA GPUs.
//!
//! A model is a function that emits a *plan*, a flat list of ops over named, typed buffers. An *executor* runs plans.
//! The pipeline goes from a request to a file and never asks which executor it has.
//!
//! # Example
//!
//! One second of the built-in miniature, a model of the same architecture at tiny widths, at 64x64 pixels:
//!
//! ```
//! use std::sync::Arc;
//!
//! use gallop::{
//!     device,
//!     executor::Cancel,
//!     pipeline::{
//!         EncodeOptions, Keep, Model, Notice, Progress, Session, Stage,
//!         request::{Request, Size},
//!     },
//! };
//!
//! struct Silent;
//! impl Progress for Silent {
//!     fn report(&self, _stage: Stage, _done: usize, _total: usize) {}
//!     fn notice(&self, _notice: &Notice) {}
//! }
//!
//! # fn main() -> gallop::Result<()> {
//! let executor = device::open("cpu", &device::Options::default())?;
//! let session = Session::new(Arc::from(executor), Model::miniature(), Keep::default());
//! let request = Request {
//!     prompt: "A red ball bounces".into(),
//!     size: Some(Size::Exact(64, 64)),
//!     seconds: Some(1.0),
//!     seed: Some(7),
//!     ..Request::default()
//! };
//! let mut mp4 = Vec::new();
//! let encode = EncodeOptions::default();
//! let report = session.generate_to(&request, &encode, &mut mp4, &Silent, &Cancel::default())?;
//! assert_eq!((report.job.shown(), report.job.frames()), ((64, 64), 25));
//! # Ok(())
//! # }
//! ```
//!
//! # Reading order
//!
//! From a request to an MP4:
//!
//! 1. [`pipeline::request`]: what can be asked for, and how it becomes a [`Job`](pipeline::request::Job).
//! 2. [`pipeline::Session`], a device and a model that make clips, and `src/pipeline/generate.rs`: text, conditions,
//!    denoising, decoding and the file, in order.
//! 3. The stages it calls, one file each in `src/pipeline`: `text.rs`, `conditions.rs`, `denoise.rs`, `upscale.rs`,
//!    `decode.rs`, `sound.rs`; beneath them `src/text` (tokenizer), `src/sampler` (schedules, noise), `src/media`
//!    (pictures, sound, MP4).
//!
//! How a model runs:
//!
//! 4. `src/plan`: ops, builder, costs, lifetimes. `tests/plans/*.txt` are the models' plans as text.
//! 5. `src/model`: DiT, text encoder, video and audio autoencoders as functions that emit plans.
//! 6. [`executor`]: the only door between plans and devices. `src/weights`: where the tensors come from.
//! 7. `src/cpu`: one plain function per op; the truth that every kernel is compared with.
//! 8. `src/cuda`, in rooms: `gpu` (the driver), `lowering` (buffers to addresses), `launch` (a file for each kernel file;
//!    `table.rs` says which kernel runs which ops), `run` (programs). The kernels are in `kernels/`, and `src/device.rs`
//!    decides which executor a name means.
//!
//! Around them: `src/qualify` compares devices, `src/golden` replays the reference's numbers, `src/inspect` says what a
//! request takes, `src/jobs` keeps clips that are asked for until they are made, `src/server` offers that over HTTP,
//! `src/cli` is the program, `src/ffi` the
//! library for other languages.
//!
//! [`pipeline`], [`device`], [`executor`], [`error`] and [`tensor`] are for users of the crate. The other modules are
//! public for the program, tests and benchmarks of this repository and left out of this documentation.

#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod cpu;
#[doc(hidden)]
pub mod cuda;
pub mod device;
pub mod error;
pub mod executor;
#[doc(hidden)]
pub mod ffi;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod inspect;
#[doc(hidden)]
pub mod jobs;
#[doc(hidden)]
pub mod media;
#[doc(hidden)]
pub mod model;
pub mod pipeline;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod qualify;
#[doc(hidden)]
pub mod sampler;
#[cfg(feature = "serve")]
#[doc(hidden)]
pub mod server;
pub mod tensor;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod weights;

pub use error::{Error, Result};
pub use tensor::{DType, Shape, Tensor};
