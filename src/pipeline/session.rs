//! A session: a device and a model, and what stays of both from one clip to the next.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Context, Draft, EncodeOptions, Model, Output, Progress, Report, WeightCache,
    feature_cache::FeatureCache,
    generate,
    request::{Job, Request},
};
use crate::{
    Result,
    executor::{Cancel, Executor},
    media,
};

/// How much stays from one clip to the next. By default nothing does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// Bytes of the device's memory for weights. With 0 each stage's weights go when it ends, and its files are closed.
    pub weight_bytes: u64,
    /// Bytes of host memory for text features of prompts.
    pub feature_bytes: u64,
}

impl Keep {
    /// Text features of a hundred prompts of the published model.
    const FEATURE_BYTES: u64 = 64 << 20;

    /// Keeps at most `bytes` of weights on the device, and 64 MiB of text features.
    pub fn weights(bytes: u64) -> Self {
        Self {
            weight_bytes: bytes,
            feature_bytes: Self::FEATURE_BYTES,
        }
    }
}

/// A device and a model that make clips one after the other. Weights that were loaded for one clip stay for the next as
/// far as [`Keep`] says; those that were not used for the longest time go first, also when a stage needs their memory.
///
/// ```
/// use std::sync::Arc;
/// use gallop::{
///     cpu::Cpu,
///     executor::Cancel,
///     pipeline::{
///         EncodeOptions, Keep, Model, Notice, Progress, Session, Stage,
///         request::{Request, Size},
///     },
/// };
///
/// struct Silent;
/// impl Progress for Silent {
///     fn report(&self, _: Stage, _: usize, _: usize) {}
///     fn notice(&self, _: &Notice) {}
/// }
///
/// # fn main() -> gallop::Result<()> {
/// let session = Session::new(Arc::new(Cpu), Model::miniature(), Keep::weights(1 << 30));
/// let mut mp4 = Vec::new();
/// let request = Request {
///     prompt: "A red ball bounces on a floor.".into(),
///     size: Some(Size::Exact(32, 32)),
///     seconds: Some(1.0),
///     seed: Some(7),
///     ..Request::default()
/// };
/// let encode = EncodeOptions::default();
/// let report = session.generate_to(&request, &encode, &mut mp4, &Silent, &Cancel::default())?;
/// assert_eq!((report.file.frames, &mp4[4..8]), (25, &b"ftyp"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Session {
    executor: Arc<dyn Executor>,
    model: Model,
    weights: Arc<WeightCache>,
    features: Arc<FeatureCache>,
    /// Locked by the request that is worked on.
    turn: Mutex<()>,
}

impl Session {
    /// Loads nothing yet.
    pub fn new(executor: Arc<dyn Executor>, model: Model, keep: Keep) -> Self {
        Self {
            executor,
            model: if keep.weight_bytes > 0 {
                model.kept_open()
            } else {
                model
            },
            weights: Arc::new(WeightCache::new(keep.weight_bytes)),
            features: Arc::new(FeatureCache::new(keep.feature_bytes)),
            turn: Mutex::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device's name.
    pub fn device(&self) -> String {
        self.executor.name()
    }

    /// Bytes of the device's memory that weights take now.
    pub fn loaded_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// The numbers that `request` will have, and what its sender should know, without making anything. Its picture and its
    /// voice track are read.
    ///
    /// # Errors
    /// [`crate::Error::Request`] and [`crate::Error::Input`].
    pub fn resolve(&self, request: &Request) -> Result<Job> {
        generate::resolve(&self.context(&Cancel::default()), &self.model, request)
    }

    /// Checks that the files of several clips can be written and are apart, so that the last clip does not fail for what
    /// could be known before the first.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn check(&self, clips: &[(Request, Output)]) -> Result<()> {
        let mut there = Vec::new();
        for (request, output) in clips {
            output.open(request, &self.model)?;
            // Of names that are free, equal ones are the caller's.
            there.extend(output.files().into_iter().filter(|path| path.exists()));
        }
        media::check_apart(&there, &[])
    }

    /// Makes the clip that `request` asks for and writes it to files. Requests from several threads wait for one
    /// another.
    ///
    /// # Errors
    /// Of every kind; whatever happens, either all files are left or none.
    pub fn generate(
        &self,
        request: &Request,
        output: &Output,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Report> {
        self.draft(request, output, progress, cancel)?.publish()
    }

    /// The same, nothing published yet.
    ///
    /// # Errors
    /// Of every kind.
    pub fn draft(
        &self,
        request: &Request,
        output: &Output,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Draft> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let context = self.context(cancel);
        generate::draft(&context, &self.model, request, output, progress)
    }

    /// The same, where the bytes of the finished MP4 go to `sink`: none before the whole clip is encoded.
    ///
    /// # Errors
    /// As [`Session::generate`]; [`crate::Error::Request`] for an encoder that writes files alone.
    pub fn generate_to(
        &self,
        request: &Request,
        encode: &EncodeOptions,
        sink: &mut dyn Write,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Report> {
        let output = Output::handed_over(encode.clone());
        let draft = self.draft(request, &output, progress, cancel)?;
        draft.publish_to(sink, "the clip")
    }

    fn context(&self, cancel: &Cancel) -> Context<'_> {
        Context {
            cancel: cancel.clone(),
            loaded: self.weights.clone(),
            features: self.features.clone(),
            ..Context::new(&*self.executor)
        }
    }
}
