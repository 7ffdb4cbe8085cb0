//! How far a job is, and who hears of it.

use std::ffi::{c_int, c_void};

use crate::pipeline::Stage;

/// What a job is doing.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GallopJobStatus {
    /// It waits for its turn.
    Queued = 0,
    /// It is being made.
    Running = 1,
    /// It is made.
    Completed = 2,
    /// It could not be made.
    Failed = 3,
    /// Somebody cancelled it.
    Cancelled = 4,
}

/// Which part of the work a job is at.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GallopStage {
    /// None yet.
    None = 0,
    /// Prompt to features.
    Text = 1,
    /// Picture to latent.
    Image = 2,
    /// Voice track to latent.
    Voice = 3,
    /// Base pass.
    Base = 4,
    /// Super-resolution pass.
    SuperResolution = 5,
    /// Latents to frames.
    DecodeVideo = 6,
    /// Latents to sound.
    DecodeAudio = 7,
    /// Encoding and the MP4.
    Mux = 8,
}

impl From<Stage> for GallopStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Text => Self::Text,
            Stage::Image => Self::Image,
            Stage::Voice => Self::Voice,
            // No preview is asked for.
            Stage::Base | Stage::Preview => Self::Base,
            Stage::SuperResolution => Self::SuperResolution,
            Stage::DecodeVideo => Self::DecodeVideo,
            Stage::DecodeAudio => Self::DecodeAudio,
            Stage::Mux => Self::Mux,
        }
    }
}

/// How far a job is.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GallopJobState {
    /// What it is doing.
    pub status: GallopJobStatus,
    /// Which part of the work it is at.
    pub stage: GallopStage,
    /// Steps of that part that are done.
    pub step: i32,
    /// Steps that it has.
    pub steps: i32,
    /// Per cent of the work that are done; never less than before, and 100 only when the job is completed.
    pub progress: i32,
}

impl GallopJobState {
    /// A job that waits.
    pub(super) const QUEUED: Self = Self {
        status: GallopJobStatus::Queued,
        stage: GallopStage::None,
        step: 0,
        steps: 0,
        progress: 0,
    };
}

/// Hears how far a job is, with the `user` of the request; anything but 0 cancels the job. It comes from threads of the
/// library, for one job from one at a time, until the job has ended. It may call any function but gallop_job_wait, which
/// is refused there, and must neither throw nor jump out. The state lives as long as the call.
pub type GallopProgress =
    Option<unsafe extern "C" fn(state: *const GallopJobState, user: *mut c_void) -> c_int>;
