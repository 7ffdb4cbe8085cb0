//! What is known of a job, and kept on the disk.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{id::JobId, parameters::Parameters, refusal::Refusal, warning::Warning};

/// Where a job stands. The last three are final.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits.
    Queued,
    /// Is worked on.
    InProgress,
    /// Its clip can be read.
    Completed,
    /// It could not be made.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its word in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The numbers that a job was decided to have.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// The model's name.
    pub model: String,
    /// Width in the file, pixels.
    pub width: usize,
    /// Height in the file, pixels.
    pub height: usize,
    /// Frames, 25 per second.
    pub frames: usize,
    /// Length, seconds.
    pub seconds: f64,
    /// Seed of all noise.
    pub seed: u64,
}

impl Resolved {
    /// Pixels of all frames together.
    pub(super) fn volume(&self) -> f64 {
        (self.width * self.height * self.frames) as f64
    }
}

/// A finished clip.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClipFile {
    /// Its length.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Who asked, so that the same request that comes twice is one job.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sender {
    /// The key that the client gave to the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// SHA-256 of what was asked, inputs included.
    pub content: String,
    /// Whoever asked: a hash of key and address.
    pub caller: String,
    /// How often the client says that it has asked before.
    #[serde(skip)]
    pub retries: u32,
}

/// Everything that is kept of a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was asked for, milliseconds since 1970.
    pub created_ms: u64,
    /// When work on it began.
    pub started_ms: Option<u64>,
    /// When it came to its end.
    pub ended_ms: Option<u64>,
    /// How long it was thought to take when it was asked for, milliseconds.
    pub expected_ms: u64,
    /// How often work on it began.
    pub attempts: u32,
    /// What was asked for.
    pub asked: Parameters,
    /// What was decided.
    pub resolved: Resolved,
    /// What the client should know.
    pub warnings: Vec<Warning>,
    /// Why it failed.
    pub error: Option<Refusal>,
    /// Seconds of each stage.
    pub timings: Map<String, Value>,
    /// Time and work of each kind of op: `op`, `kernel`, `calls`, `seconds`, `flops`, `bytes`, `floor_seconds`.
    #[serde(default)]
    pub ops: Vec<Value>,
    /// Whether the clip of the base pass can be read.
    #[serde(default)]
    pub has_preview: bool,
    /// The clip.
    pub file: Option<ClipFile>,
    /// Whoever has this may read the clip.
    pub token: String,
    /// Who asked.
    pub sender: Sender,
}

impl JobRecord {
    /// Names of the files of a job in its folder: the picture and the voice track that were given, the clip, a picture of
    /// it, and the clip before it was refined.
    pub const IMAGE: &str = "input_reference";
    /// See [`JobRecord::IMAGE`].
    pub const AUDIO: &str = "audio_reference";
    /// See [`JobRecord::IMAGE`].
    pub const CLIP: &str = "video.mp4";
    /// See [`JobRecord::IMAGE`].
    pub const THUMBNAIL: &str = "thumbnail.webp";
    /// See [`JobRecord::IMAGE`].
    pub const PREVIEW: &str = "preview.mp4";

    /// The job at its end.
    pub(super) fn ended(&mut self, status: JobStatus, error: Option<Refusal>) {
        self.status = status;
        self.error = error;
        self.ended_ms = Some(now_ms());
    }

    /// Adds what is not said yet.
    pub(super) fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
